//! What the log counts about itself.
//!
//! Owns the reasons for a dropped record and the plain copy of all counters. Never names a metric:
//! `telemetry` does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::domain::record::{GapReason, Omission};
use crate::domain::spec::Durability;

/// Why a record is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Too many bytes were waiting for the writer.
    QueueFull,
    /// The record is longer than a frame may be, even without its bodies.
    TooLarge,
    /// The disk, or the quota, is full.
    NoSpace,
    /// Writing failed.
    Io,
    /// The log was closed.
    Closed,
}

impl DropReason {
    /// All reasons, in the order of [`Dropped`].
    pub const ALL: [Self; 5] =
        [Self::QueueFull, Self::TooLarge, Self::NoSpace, Self::Io, Self::Closed];

    /// The word in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
            Self::NoSpace => "no_space",
            Self::Io => "io",
            Self::Closed => "closed",
        }
    }

    /// The reason in a gap row; `None` where the log ends before it could say so.
    pub(super) const fn gap(self) -> Option<GapReason> {
        match self {
            Self::QueueFull => Some(GapReason::QueueFull),
            Self::TooLarge => Some(GapReason::TooLarge),
            Self::NoSpace => Some(GapReason::NoSpace),
            Self::Io => Some(GapReason::Io),
            Self::Closed => None,
        }
    }
}

/// Dropped records by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped([u64; DropReason::ALL.len()]);

impl Dropped {
    /// Records dropped for one reason.
    pub const fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Records dropped for any reason.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn add(&mut self, reason: DropReason, records: u64) {
        self.0[reason as usize] += records;
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}

/// Bodies that records do not hold whole, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Omitted([u64; Omission::ALL.len()]);

impl Omitted {
    /// Bodies that are not whole for one reason.
    pub fn of(&self, reason: Omission) -> u64 {
        self.0[index_of(reason)]
    }

    /// Bodies that are not whole for any reason.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn add(&mut self, reason: Omission) {
        self.0[index_of(reason)] += 1;
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}

/// The place of a reason: codes count from 1.
fn index_of(reason: Omission) -> usize {
    usize::from(reason.code()) - 1
}

/// The state of the log at one moment. When nothing is being offered or written,
/// `received = written + dropped.total() + queue_records` holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogStats {
    /// What a record survives where nothing else is said.
    pub durability: Durability,
    /// Records that were offered.
    pub received: u64,
    /// Records that were written, and under `sync` synced.
    pub written: u64,
    /// Records that were dropped.
    pub dropped: Dropped,
    /// Bodies of queued records that are left out or cut, by reason.
    pub omitted: Omitted,
    /// Bytes of records that wait for the writer.
    pub queue_bytes: u64,
    /// Records that wait for the writer.
    pub queue_records: u64,
    /// How long the oldest of them has waited; zero for none.
    pub oldest_waiting: Duration,
    /// How long the oldest written record has waited to be synced to the disk, an upper bound; zero
    /// for none.
    pub oldest_unsynced: Duration,
    /// The number of the last record that was written; 0 for none.
    pub written_lsn: u64,
    /// Records up to this number were synced to the disk by this process; 0 for none.
    pub durable_lsn: u64,
    /// Gap rows that the log has written about itself.
    pub gap_rows: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes of all segment files.
    pub disk_bytes: u64,
    /// Bytes that are free on the file system of the log.
    pub disk_free: u64,
    /// Segment files that were removed: consumed, or to stay within the limits.
    pub segments_removed: u64,
    /// Segments that were opened in a file of zeros made ahead.
    pub segments_prefilled: u64,
    /// Groups that were written.
    pub groups: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Syncs of a segment.
    pub syncs: u64,
    /// Time spent in them.
    pub sync_time: Duration,
    /// Syncs by their time: one count for each bound in [`SYNC_BUCKETS_US`], and one for those beyond.
    pub sync_buckets: [u64; SYNC_BUCKETS_US.len() + 1],
    /// Records in all groups, gap rows included.
    pub group_records: u64,
    /// Records that were copied from a segment on which a background sync had failed.
    pub rescued: u64,
    /// Records of such segments that could not be copied: they may be lost with the power.
    pub not_rescued: u64,
    /// File operations that failed while recording.
    pub write_errors: u64,
    /// Bytes of a torn tail that were cut off when the log was opened.
    pub healed_bytes: u64,
    /// Whether the last attempt to write succeeded.
    pub healthy: bool,
    /// The last failure in words.
    pub last_error: Option<String>,
}

/// The upper bounds of the buckets of [`LogStats::sync_buckets`], in microseconds.
pub const SYNC_BUCKETS_US: [u64; 12] =
    [100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000];

/// The counters that the writer thread alone adds to.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) written: AtomicU64,
    /// Records that could not be written yet and are in no worker's arena any more.
    pub(super) held: AtomicU64,
    lost: [AtomicU64; DropReason::ALL.len()],
    pub(super) gap_rows: AtomicU64,
    pub(super) written_lsn: AtomicU64,
    pub(super) durable_lsn: AtomicU64,
    /// When the oldest record was written that may not be on the disk. Taken when that changes, and
    /// when counts are read.
    pub(super) unsynced_since: Mutex<Option<Instant>>,
    pub(super) segments: AtomicU64,
    pub(super) disk_bytes: AtomicU64,
    pub(super) segments_removed: AtomicU64,
    pub(super) segments_prefilled: AtomicU64,
    pub(super) groups: AtomicU64,
    pub(super) written_bytes: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) sync_us: AtomicU64,
    sync_buckets: [AtomicU64; SYNC_BUCKETS_US.len() + 1],
    pub(super) group_records: AtomicU64,
    pub(super) disk_free: AtomicU64,
    pub(super) rescued: AtomicU64,
    pub(super) not_rescued: AtomicU64,
    pub(super) write_errors: AtomicU64,
}

impl Counters {
    /// Counts a sync.
    pub(super) fn sync_took(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        add(&self.syncs, 1);
        add(&self.sync_us, us);
        let bucket = SYNC_BUCKETS_US.iter().position(|&bound| us <= bound);
        add(&self.sync_buckets[bucket.unwrap_or(SYNC_BUCKETS_US.len())], 1);
    }

    /// Counts records of a group that could not be written.
    pub(super) fn lose(&self, reason: DropReason, records: u64) {
        add(&self.lost[reason as usize], records);
    }

    /// Copies the counters into `stats`.
    pub(super) fn copy_to(&self, stats: &mut LogStats) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        stats.written = load(&self.written);
        stats.queue_records += load(&self.held);
        for reason in DropReason::ALL {
            stats.dropped.add(reason, load(&self.lost[reason as usize]));
        }
        stats.gap_rows = load(&self.gap_rows);
        stats.written_lsn = load(&self.written_lsn);
        stats.durable_lsn = load(&self.durable_lsn);
        let unsynced_since = *self.unsynced_since.lock();
        stats.oldest_unsynced = unsynced_since.map_or(Duration::ZERO, |since| since.elapsed());
        stats.segments = load(&self.segments);
        stats.disk_bytes = load(&self.disk_bytes);
        stats.segments_removed = load(&self.segments_removed);
        stats.segments_prefilled = load(&self.segments_prefilled);
        stats.groups = load(&self.groups);
        stats.written_bytes = load(&self.written_bytes);
        stats.syncs = load(&self.syncs);
        stats.sync_time = Duration::from_micros(load(&self.sync_us));
        stats.sync_buckets = std::array::from_fn(|index| load(&self.sync_buckets[index]));
        stats.group_records = load(&self.group_records);
        stats.disk_free = load(&self.disk_free);
        stats.rescued = load(&self.rescued);
        stats.not_rescued = load(&self.not_rescued);
        stats.write_errors = load(&self.write_errors);
    }
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// Sets a counter.
pub(super) fn set(counter: &AtomicU64, value: u64) {
    counter.store(value, Ordering::Relaxed);
}
