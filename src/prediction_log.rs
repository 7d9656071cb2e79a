//! The prediction log: every exchange as one checksummed record in segment files.
//!
//! Owns the recorder that the data plane offers records to, the thread that writes them, the files,
//! their recovery and their reading. Never blocks or fails an exchange, never changes a record, and
//! never leaves one out without counting it. Imports only `domain` and `telemetry`.
#![doc = include_str!("docs/prediction-log.md")]

mod appender;
mod arena;
mod aside;
mod cadence;
mod clock;
mod consumers;
mod cursor;
mod feedback;
mod files;
mod follow;
mod frame;
mod gaps;
mod group;
pub mod parquet;
mod progress;
pub mod query;
mod queue;
mod reader;
mod recorder;
mod recovery;
mod rescue;
mod row;
mod scan;
mod segment;
mod settlement;
mod shelf;
mod signal;
mod sinks;
mod slots;
mod spare;
mod stats;
mod survey;
mod syncer;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

#[doc(hidden)]
pub use parquet::fuzz_parquet_rows;

pub use appender::log_dir;
pub use consumers::{ConsumerStats, Consumers};
pub use cursor::{Cursor, cursor_position};
pub use feedback::{Decision, Feedback, Place, Standing};
pub use follow::{LogFollower, Start, follow};
pub use progress::Progress;
pub use reader::{Gap, Item, LogReader, ReadError, Row};
pub use recorder::{Offer, OpenError, Recorder, Ticket};
pub use recovery::{LostTail, Recovery};
pub use row::RowError;
pub use settlement::Lost;
pub use sinks::{
    Backoff, Failure, FailureReason, HttpPost, LogPlace, PostError, SinkError, SinkStats, Sinks,
};
pub use stats::{DropReason, Dropped, LogStats, Omitted, SYNC_BUCKETS_US};
pub use survey::{Survey, survey};

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::record::PredictionRecord;
use crate::domain::spec::Durability;

/// The time of the system clock, in microseconds since the Unix epoch.
fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Encodes records into a buffer of its own, for benchmarks.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Encoder(arena::Arena);

impl Encoder {
    /// Encodes one record in place of the last one; returns the bytes of its frame.
    #[doc(hidden)]
    pub fn encode(&mut self, record: &PredictionRecord<'_>) -> usize {
        self.0.clear();
        let payload_len = row::encoded_len(record, row::Bodies::Keep);
        self.0.begin(payload_len);
        row::encode(record, row::Bodies::Keep, &mut self.0);
        self.0.end(frame::KIND_RECORD, payload_len, Durability::Async);
        self.0.size()
    }
}

/// Reads arbitrary bytes as a segment, for fuzzing: must neither panic nor take unbounded time.
/// Returns the number of rows.
#[doc(hidden)]
pub fn fuzz_segment(bytes: &[u8]) -> u64 {
    let source = Box::new(files::MemorySource(bytes.to_vec()));
    let Ok(mut scan) = scan::Scan::new(source, 1) else { return 0 };
    let mut rows = 0;
    loop {
        match scan.step() {
            Ok(scan::Step::Frame { payload, .. }) => {
                rows += u64::from(row::decode(&scan.buffer()[payload]).is_ok());
            }
            Ok(scan::Step::Damage { .. }) => {}
            Ok(scan::Step::End) | Err(_) => break,
        }
    }
    // Neither may the torn tail be longer than what there is.
    debug_assert!(scan.torn_bytes().is_ok_and(|torn| torn <= bytes.len() as u64));
    rows
}
