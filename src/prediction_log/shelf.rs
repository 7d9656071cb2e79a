//! The closed segments, and which of them may go.
//!
//! Owns retention: by bytes, by age, by free space, and by what the consumers have passed. Never
//! removes the open segment, the newest closed one, or one that a required consumer has not passed;
//! when the disk fills up all the same, the log says `no_space`. Segments that are not Parquet yet
//! wait for that as long as Parquet files can make room instead.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::aside::suspect_path;
use super::clock::Clock;
use super::consumers::Consumers;
use super::files::FileSystem;
use super::gaps::Missing;
use super::segment::{self, Listed};
use super::stats::{Counters, add, set};
use crate::domain::record::GapReason;
use crate::domain::spec::LogSpec;

/// The disk is nearly full when less than this part of the wanted share is free: a fifth.
const CRITICAL_PART: u64 = 5;
/// How often time, free space and consumers are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Damaged segments that are kept aside take this part of the limit at most: a tenth.
const ASIDE_PART: u64 = 10;
/// Where there are Parquet files, segments that are kept for somebody take this part of the limit at
/// most, and go when less than this part of the wanted share is free: half of both. What Parquet files
/// hold is older and goes first.
const PARQUET_PART: u64 = 2;

/// What may stay.
#[derive(Debug, Clone, Copy)]
struct Limits {
    bytes: u64,
    age: Option<Duration>,
    free_permille: u64,
}

/// The segments of a log, the open one aside.
pub(super) struct Shelf {
    files: Arc<dyn FileSystem>,
    dir: PathBuf,
    counters: Arc<Counters>,
    limits: Limits,
    consumers: Arc<Consumers>,
    /// Closed segments, oldest first.
    closed: VecDeque<Listed>,
    /// Consumers register within moments after that.
    opened_at: Instant,
    looked_at: Option<Instant>,
    is_low: bool,
    is_critical: bool,
    is_old: bool,
    clock: Arc<Clock>,
}

impl Shelf {
    /// The shelf of the log in `dir`, with the segments that recovery found.
    pub(super) fn new(
        files: Arc<dyn FileSystem>,
        dir: &Path,
        counters: Arc<Counters>,
        spec: &LogSpec,
        consumers: Arc<Consumers>,
        clock: Arc<Clock>,
        closed: Vec<Listed>,
    ) -> Self {
        let limits = Limits {
            bytes: spec.retain,
            age: spec.retain_age,
            free_permille: u64::from(spec.free.thousandths()),
        };
        Self {
            files,
            dir: dir.to_owned(),
            counters,
            limits,
            consumers,
            closed: closed.into(),
            opened_at: Instant::now(),
            looked_at: None,
            is_low: false,
            is_critical: false,
            is_old: false,
            clock,
        }
    }

    /// Adds a segment that was closed; the place follows from its number.
    pub(super) fn add(&mut self, segment: Listed) {
        self.forget(segment.first_lsn);
        let place = self.closed.partition_point(|held| held.first_lsn < segment.first_lsn);
        self.closed.insert(place, segment);
    }

    /// Forgets a segment whose name was given to another.
    pub(super) fn forget(&mut self, first_lsn: u64) {
        self.closed.retain(|held| held.first_lsn != first_lsn);
    }

    /// Whether there are no closed segments.
    pub(super) fn is_empty(&self) -> bool {
        self.closed.is_empty()
    }

    /// The newest closed segment.
    pub(super) fn newest(&self) -> Option<Listed> {
        self.closed.back().copied()
    }

    /// When to look again even if nothing is written.
    pub(super) fn look_at(&self) -> Option<Instant> {
        let last = self.looked_at.unwrap_or(self.opened_at);
        (self.closed.len() > 1).then(|| last + LOOK_INTERVAL)
    }

    /// Counts what is there; `open` is the size of the open segment, if there is one.
    pub(super) fn count(&self, open: Option<u64>) {
        set(&self.counters.segments, self.closed.len() as u64 + u64::from(open.is_some()));
        set(&self.counters.disk_bytes, self.bytes() + open.unwrap_or(0));
    }

    fn bytes(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|held| held.bytes).sum();
        closed + self.aside_bytes()
    }

    /// The bytes of damaged segments that are kept aside and of nothing else.
    fn aside_bytes(&self) -> u64 {
        let is_closed = |suspect: &Listed| {
            self.closed.binary_search_by_key(&suspect.first_lsn, |held| held.first_lsn).is_ok()
        };
        self.consumers.aside().bytes(|suspect| !is_closed(suspect))
    }

    /// Removes what may go and has to. Returns what optional consumers miss for it.
    pub(super) fn retain(&mut self, open: Option<u64>) -> Vec<Missing> {
        let now = Instant::now();
        if self.looked_at.is_none_or(|at| now.duration_since(at) >= LOOK_INTERVAL) {
            self.looked_at = Some(now);
            self.release_passed();
            self.look();
            self.bound_aside();
        }
        let mut skipped = Vec::new();
        let open_bytes = open.unwrap_or(0);
        while self.is_over(open_bytes) && self.remove_oldest(open_bytes, &mut skipped) {
            self.look();
        }
        self.count(open);
        skipped
    }

    fn is_over(&self, open: u64) -> bool {
        self.bytes() + open > self.room() / self.parts() || self.is_low || self.is_old
    }

    /// What Parquet files that cannot go leave of the limit.
    fn room(&self) -> u64 {
        self.limits.bytes.saturating_sub(self.consumers.held_bytes())
    }

    fn parts(&self) -> u64 {
        if self.consumers.makes_parquet() { PARQUET_PART } else { 1 }
    }

    /// Whether there is too much even when all Parquet files go that can.
    fn is_crowded(&self, open: u64) -> bool {
        self.bytes() + open > self.room() || self.is_critical || self.is_old
    }

    /// Looks at the file system and at the age of the oldest segment.
    fn look(&mut self) {
        if let Ok(space) = self.files.space(&self.dir) {
            set(&self.counters.disk_free, space.free);
            let wanted = space.total.saturating_mul(self.limits.free_permille);
            let free = space.free.saturating_mul(1000);
            self.is_low = free < wanted / self.parts();
            self.is_critical = free < wanted / CRITICAL_PART;
        }
        self.is_old = self.limits.age.is_some_and(|age| self.oldest_age() > Some(age));
    }

    /// How long ago the oldest segment was closed, which is when the next one was created.
    fn oldest_age(&self) -> Option<Duration> {
        self.age_of(&segment::path(&self.dir, self.closed.get(1)?.first_lsn))
    }

    /// How long ago a segment was created.
    fn age_of(&self, path: &Path) -> Option<Duration> {
        let created_us = segment::created_us(self.files.as_ref(), path)?;
        Some(Duration::from_micros(self.clock.now_us().saturating_sub(created_us)))
    }

    /// Removes the segments that all consumers have passed, where Parquet takes their place.
    fn release_passed(&mut self) {
        let Some(passed) = self.consumers.released_up_to() else { return };
        while let (Some(oldest), Some(next)) = (self.closed.front(), self.closed.get(1))
            && next.first_lsn <= passed.saturating_add(1)
        {
            let oldest = *oldest;
            if !self.remove(oldest) {
                return;
            }
        }
    }

    /// Keeps damaged segments within their part of the limit and their age.
    fn bound_aside(&self) {
        while let Some(oldest) = self.consumers.aside().oldest()
            && (self.aside_bytes() > self.limits.bytes / ASIDE_PART || self.is_too_old(oldest))
        {
            self.removed(self.consumers.aside().remove_oldest());
        }
    }

    /// Whether a segment that is kept aside was created too long ago; one whose header is damaged
    /// cannot tell.
    fn is_too_old(&self, suspect: Listed) -> bool {
        let created = || self.age_of(&suspect_path(&self.dir, suspect.first_lsn));
        self.limits.age.is_some_and(|limit| created().is_some_and(|age| age > limit))
    }

    /// Removes the oldest of what may go; false when nothing may. Where the file system itself is
    /// short of room, damaged segments go before good ones.
    fn remove_oldest(&mut self, open: u64, skipped: &mut Vec<Missing>) -> bool {
        if self.is_low && self.consumers.aside().oldest().is_some() {
            self.removed(self.consumers.aside().remove_oldest());
            return true;
        }
        let (Some(&oldest), Some(next)) = (self.closed.front(), self.closed.get(1)) else {
            return false;
        };
        let last_lsn = next.first_lsn - 1;
        let waits = |for_it: Option<u64>| for_it.is_some_and(|position| position < last_lsn);
        if waits(self.consumers.required_up_to())
            || waits(self.consumers.parquet_up_to()) && !self.is_crowded(open)
        {
            return false;
        }
        if !self.remove(oldest) {
            return false;
        }
        for (consumer, position) in self.consumers.skip_to(last_lsn) {
            let first = (position + 1).max(oldest.first_lsn);
            skipped.push(Missing {
                lsns: Some((first, last_lsn)),
                consumer,
                detail: segment::file_name(oldest.first_lsn),
                ..Missing::now(GapReason::Skipped, last_lsn + 1 - first)
            });
        }
        true
    }

    /// Removes the oldest segment's file.
    fn remove(&mut self, oldest: Listed) -> bool {
        let path = segment::path(&self.dir, oldest.first_lsn);
        let removed = self.removed(self.files.remove(&path));
        if removed {
            self.closed.pop_front();
            add(&self.counters.segments_removed, 1);
        }
        removed
    }

    fn removed(&self, result: io::Result<()>) -> bool {
        match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                add(&self.counters.write_errors, 1);
                false
            }
            _ => true,
        }
    }
}
