//! What the Parquet side counts.
//!
//! Owns the counters that its thread keeps and everyone may read. Never resets one.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// The state of the Parquet files and of the thread that makes them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct ParquetStats { $($(#[$doc])* pub $name: u64,)+ }

        #[derive(Debug, Default)]
        pub(super) struct Counters { $(pub(super) $name: AtomicU64,)+ }

        impl Counters {
            pub(super) fn read(&self) -> ParquetStats {
                ParquetStats { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Parquet files on disk.
    files,
    /// Bytes of Parquet files on disk.
    bytes,
    /// Rows written from segments.
    rows,
    /// Segments converted.
    segments,
    /// CPU time of converting and merging, in microseconds.
    cpu_us,
    /// Closed segments that are not converted yet.
    backlog_segments,
    /// Their bytes.
    backlog_bytes,
    /// Conversions and merges that failed and are tried again.
    failures,
    /// Segments that were passed over with a gap row because they cannot be converted.
    given_up,
    /// Files that were merged into larger ones.
    merged,
    /// Files that were removed to keep within the limits.
    removed,
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

pub(super) fn set(counter: &AtomicU64, value: u64) {
    counter.store(value, Ordering::Relaxed);
}
