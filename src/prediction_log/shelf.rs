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
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::consumers::Consumers;
use super::files::{FileSystem, read_full_at};
use super::gaps::Missing;
use super::segment::{self, Listed, SUSPECT, SegmentHeader};
use super::stats::{Counters, add, set};
use super::unix_us;
use crate::domain::record::GapReason;
use crate::domain::spec::LogSpec;

/// The disk is nearly full when less than this part of the wanted share is free: a fifth.
const CRITICAL_PART: u64 = 5;
/// How often time, free space and consumers are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

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
    /// What the Parquet files take, told by who writes them.
    parquet_bytes: Arc<AtomicU64>,
    /// Closed segments, oldest first.
    closed: VecDeque<Listed>,
    /// Files in which nothing could be read.
    suspects: VecDeque<(String, u64)>,
    looked_at: Option<Instant>,
    is_low: bool,
    is_critical: bool,
    is_old: bool,
}

impl Shelf {
    /// The shelf of the log in `dir`, with the segments that recovery found.
    pub(super) fn new(
        files: Arc<dyn FileSystem>,
        dir: &Path,
        counters: Arc<Counters>,
        spec: &LogSpec,
        consumers: Arc<Consumers>,
        parquet_bytes: Arc<AtomicU64>,
        closed: Vec<Listed>,
    ) -> Self {
        let limits = Limits {
            bytes: spec.retain,
            age: spec.retain_age,
            free_permille: u64::from(spec.free.thousandths()),
        };
        let mut suspects: Vec<_> = files.list(dir).unwrap_or_default();
        suspects.retain(|(name, _)| name.ends_with(SUSPECT));
        suspects.sort_unstable();
        Self {
            files,
            dir: dir.to_owned(),
            counters,
            limits,
            consumers,
            parquet_bytes,
            closed: closed.into(),
            suspects: suspects.into(),
            looked_at: None,
            is_low: false,
            is_critical: false,
            is_old: false,
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
        let waits =
            self.closed.len() > 1 && (self.limits.age.is_some() || !self.consumers.is_empty());
        if waits { self.looked_at.map(|at| at + LOOK_INTERVAL) } else { None }
    }

    /// Counts what is there; `open` is the size of the open segment, if there is one.
    pub(super) fn count(&self, open: Option<u64>) {
        set(&self.counters.segments, self.closed.len() as u64 + u64::from(open.is_some()));
        set(&self.counters.disk_bytes, self.bytes() + open.unwrap_or(0));
    }

    fn bytes(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|held| held.bytes).sum();
        closed + self.suspects.iter().map(|suspect| suspect.1).sum::<u64>()
    }

    /// Removes what may go and has to. Returns what optional consumers miss for it.
    pub(super) fn retain(&mut self, open: Option<u64>) -> Vec<Missing> {
        let now = Instant::now();
        if self.looked_at.is_none_or(|at| now.duration_since(at) >= LOOK_INTERVAL) {
            self.looked_at = Some(now);
            self.release_passed();
            self.look();
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
        let parquet = self.parquet_bytes.load(Ordering::Relaxed);
        self.bytes() + open + parquet > self.limits.bytes || self.is_low || self.is_old
    }

    /// Whether there is too much even without any Parquet file.
    fn is_crowded(&self, open: u64) -> bool {
        self.bytes() + open > self.limits.bytes || self.is_critical || self.is_old
    }

    /// Looks at the file system and at the age of the oldest segment.
    fn look(&mut self) {
        if let Ok(space) = self.files.space(&self.dir) {
            set(&self.counters.disk_free, space.free);
            let wanted = space.total.saturating_mul(self.limits.free_permille);
            let free = space.free.saturating_mul(1000);
            self.is_low = free < wanted;
            self.is_critical = free < wanted / CRITICAL_PART;
        }
        self.is_old = self.limits.age.is_some_and(|age| self.oldest_age() > Some(age));
    }

    /// How long ago the oldest segment was closed, which is when the next one was created. After a
    /// step of the clock it may seem younger than it is, never older than that step.
    fn oldest_age(&self) -> Option<Duration> {
        let next = self.closed.get(1)?;
        let file = self.files.open_read(&segment::path(&self.dir, next.first_lsn)).ok()?;
        let mut header = [0; segment::HEADER_BYTES];
        read_full_at(file.as_ref(), &mut header, 0).ok()?;
        let created_us = SegmentHeader::decode(&header)?.created_us;
        Some(Duration::from_micros(unix_us().saturating_sub(created_us)))
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

    /// Removes the oldest of what may go; false when nothing may.
    fn remove_oldest(&mut self, open: u64, skipped: &mut Vec<Missing>) -> bool {
        if let Some((name, _)) = self.suspects.front() {
            let removed = self.removed(self.files.remove(&self.dir.join(name)));
            // One that cannot be removed is left alone from now on.
            self.suspects.pop_front();
            return removed || !self.suspects.is_empty() || self.closed.len() > 1;
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
