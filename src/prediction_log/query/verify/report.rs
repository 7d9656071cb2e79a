//! What a walk over the log has found.
//!
//! Owns which of it is damage. Never reads a file.

use std::ops::RangeInclusive;
use std::path::PathBuf;

/// What one file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// The number of its first row; `None` without rows.
    pub first_lsn: Option<u64>,
    /// The number of its last row.
    pub last_lsn: Option<u64>,
    /// Predictions.
    pub records: u64,
    /// Rows of feedback.
    pub feedback: u64,
    /// Gap rows.
    pub gaps: u64,
    /// Rows that are whole, but of a kind or schema that this version cannot read.
    pub unreadable: u64,
    /// Places where a checksum, a length or a number is wrong.
    pub damage: Vec<Damage>,
    /// Bytes after the last good frame of a segment that was not closed: of a running gateway, a group
    /// that is being written.
    pub torn_bytes: u64,
}

/// A place that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where in the file, in bytes; with the whole file's `bytes` where no closer place is known.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The rows that are lost by it, as far as numbers tell.
    pub lsns: Option<RangeInclusive<u64>>,
    /// What is wrong.
    pub what: String,
}

/// What all files hold together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    /// Segment files.
    pub segments: u64,
    /// Parquet files.
    pub parquet_files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Predictions, each counted once.
    pub records: u64,
    /// Rows of feedback.
    pub feedback: u64,
    /// Gap rows.
    pub gaps: u64,
    /// Rows that this version cannot read.
    pub unreadable: u64,
    /// Places of damage.
    pub damaged_places: u64,
    /// Rows that are both in a segment and in a Parquet file: those that were converted last. Readers
    /// return them once.
    pub converted_twice: u64,
    /// Numbers that no file holds, and that gap rows explain.
    pub missing: Vec<RangeInclusive<u64>>,
    /// Numbers that the writer left out between two good frames, and no gap row says so: this is damage.
    pub skipped: Vec<RangeInclusive<u64>>,
    /// Numbers that no file holds without a word about it: this is damage.
    pub lost: Vec<RangeInclusive<u64>>,
    /// Rows that are in two Parquet files: this is damage.
    pub doubled: Vec<RangeInclusive<u64>>,
    /// Consumers that have passed numbers beyond the last that is there: the end of the log is lost.
    pub beyond: Vec<Beyond>,
    /// Bytes after the last good frames of segments that were not closed.
    pub torn_bytes: u64,
}

/// A consumer that has come further than the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beyond {
    /// Its name.
    pub consumer: String,
    /// The number up to which it is done.
    pub position: u64,
    /// The last number of the log.
    pub last_lsn: u64,
}

impl Totals {
    /// Whether something is not what was written.
    pub fn is_damaged(&self) -> bool {
        let unexplained = [&self.skipped, &self.lost, &self.doubled];
        self.damaged_places > 0
            || unexplained.iter().any(|lsns| !lsns.is_empty())
            || !self.beyond.is_empty()
    }
}
