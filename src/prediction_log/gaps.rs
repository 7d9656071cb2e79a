//! The gap rows that the log writes about itself.
//!
//! Owns what is known to be missing and not yet said in the log: at most one row a reason and second,
//! so that an outage does not fill the disk with its own description. Never counts or drops a record.

use std::time::{Duration, Instant};

use super::arena::Arena;
use super::frame::KIND_GAP;
use super::row;
use super::stats::{DropReason, Dropped};
use super::unix_us;
use crate::domain::record::{GapReason, GapRecord};
use crate::domain::spec::Durability;

/// The least time between two rows with one reason.
const INTERVAL: Duration = Duration::from_secs(1);
/// Rows that wait. Beyond it, rows of one reason become one without numbers.
const PENDING_MAX: usize = 256;

/// What is missing and not yet said.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// What the workers had dropped when it was last looked at.
    seen: Dropped,
    pending: Vec<Missing>,
    /// Rows in the group that is being written.
    encoded: Vec<Missing>,
    /// When a row with this reason was last written.
    said: Vec<(GapReason, Instant)>,
}

/// One row to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) reason: GapReason,
    /// When it began, in microseconds since the Unix epoch.
    pub(super) since_us: u64,
    pub(super) lsns: Option<(u64, u64)>,
    pub(super) records: u64,
    pub(super) consumer: String,
    pub(super) detail: String,
}

impl Missing {
    /// So many records that are missing for everyone, noticed now.
    pub(super) fn now(reason: GapReason, records: u64) -> Self {
        let (consumer, detail) = (String::new(), String::new());
        Self { reason, since_us: unix_us(), lsns: None, records, consumer, detail }
    }

    /// Takes `other` in if both can be said in one row.
    fn merge(&mut self, other: &Self, full: bool) -> bool {
        if (self.reason, &self.consumer) != (other.reason, &other.consumer) {
            return false;
        }
        self.lsns = match (self.lsns, other.lsns) {
            (None, None) => None,
            (Some((first, last)), Some((from, to))) if last.checked_add(1) == Some(from) => {
                Some((first, to))
            }
            _ if full => None,
            _ => return false,
        };
        self.records += other.records;
        self.since_us = self.since_us.min(other.since_us);
        true
    }
}

impl Gaps {
    /// Takes note of what the workers have dropped, in total since the start.
    pub(super) fn observe(&mut self, dropped: &Dropped) {
        if *dropped == self.seen {
            return;
        }
        for reason in DropReason::ALL {
            let more = dropped.of(reason) - self.seen.of(reason);
            if let Some(reason) = reason.gap()
                && more > 0
            {
                self.note(Missing::now(reason, more));
            }
        }
        self.seen = *dropped;
    }

    /// Takes note of something that is missing.
    pub(super) fn note(&mut self, missing: Missing) {
        let full = self.pending.len() >= PENDING_MAX;
        if !self.pending.iter_mut().rev().any(|held| held.merge(&missing, full)) {
            self.pending.push(missing);
        }
    }

    /// When the next row may be written; `None` when nothing is missing.
    pub(super) fn due(&self) -> Option<Instant> {
        let due = |missing: &Missing| self.due_of(missing.reason);
        self.pending.iter().map(|missing| due(missing).unwrap_or_else(Instant::now)).min()
    }

    fn due_of(&self, reason: GapReason) -> Option<Instant> {
        self.said.iter().find(|said| said.0 == reason).map(|said| said.1 + INTERVAL)
    }

    /// Writes the rows that are due at `now`, or all, into `arena`, which is empty. To be followed by
    /// [`Self::written`] or [`Self::failed`].
    pub(super) fn encode(&mut self, now: Instant, all: bool, arena: &mut Arena) {
        if self.pending.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        let is_due = |m: &Missing| all || self.due_of(m.reason).is_none_or(|due| due <= now);
        let (due, later): (Vec<_>, Vec<_>) = pending.into_iter().partition(is_due);
        self.pending = later;
        for missing in &due {
            let row = GapRecord {
                ts_us: missing.since_us,
                reason: missing.reason,
                lsns: missing.lsns,
                records: missing.records,
                consumer: &missing.consumer,
                detail: &missing.detail,
            };
            let payload_len = row::gap_len(&row);
            arena.begin(payload_len);
            row::encode_gap(&row, arena);
            arena.end(KIND_GAP, payload_len, Durability::Async);
        }
        self.encoded = due;
    }

    /// The rows that were encoded are in the log; returns how many.
    pub(super) fn written(&mut self) -> u64 {
        let now = Instant::now();
        let rows = self.encoded.len() as u64;
        for missing in self.encoded.drain(..) {
            self.said.retain(|said| said.0 != missing.reason);
            self.said.push((missing.reason, now));
        }
        rows
    }

    /// The rows that were encoded are not in the log.
    pub(super) fn failed(&mut self) {
        let later = std::mem::replace(&mut self.pending, std::mem::take(&mut self.encoded));
        later.into_iter().for_each(|missing| self.note(missing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(gaps: &mut Gaps, now: Instant) -> Vec<Missing> {
        gaps.encode(now, false, &mut Arena::default());
        gaps.encoded.clone()
    }

    #[test]
    fn one_row_a_reason_and_second_says_all_that_is_missing() {
        let (mut gaps, mut dropped) = (Gaps::default(), Dropped::default());
        gaps.observe(&dropped);
        assert_eq!(gaps.due(), None);
        dropped.add(DropReason::QueueFull, 3);
        dropped.add(DropReason::Closed, 9);
        gaps.observe(&dropped);
        dropped.add(DropReason::QueueFull, 2);
        dropped.add(DropReason::TooLarge, 1);
        gaps.observe(&dropped);
        let now = Instant::now();
        let said = rows(&mut gaps, now);
        let counts: Vec<_> = said.iter().map(|m| (m.reason, m.records)).collect();
        assert_eq!(counts, [(GapReason::QueueFull, 5), (GapReason::TooLarge, 1)]);
        gaps.failed();
        assert_eq!(rows(&mut gaps, now), said, "said again after a failure");
        assert_eq!(gaps.written(), 2);
        dropped.add(DropReason::QueueFull, 1);
        gaps.observe(&dropped);
        assert_eq!(rows(&mut gaps, now), [], "not within the same second");
        assert!(gaps.due().is_some_and(|due| due > now));
        assert_eq!(rows(&mut gaps, now + 2 * INTERVAL).len(), 1);
    }

    #[test]
    fn missing_numbers_are_joined_and_bounded() {
        let mut gaps = Gaps::default();
        let lost = |first, last| Missing {
            lsns: Some((first, last)),
            ..Missing::now(GapReason::Io, last - first + 1)
        };
        for missing in [lost(3, 4), lost(5, 5), lost(9, 9)] {
            gaps.note(missing);
        }
        let ranges: Vec<_> = gaps.pending.iter().map(|m| (m.lsns, m.records)).collect();
        assert_eq!(ranges, [(Some((3, 5)), 3), (Some((9, 9)), 1)]);
        (20..2000).step_by(2).for_each(|lsn| gaps.note(lost(lsn, lsn)));
        assert!(gaps.pending.len() <= PENDING_MAX);
        assert_eq!(gaps.pending.iter().map(|m| m.records).sum::<u64>(), 4 + 990);
    }
}
