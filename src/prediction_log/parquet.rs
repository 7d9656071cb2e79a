//! Parquet files: what the prediction log becomes once its segments are closed.
//!
//! Owns the table and its columns, the files below `data_dir/parquet/`, their conversion from segments,
//! their merging, removal and reading. Never changes a segment, never holds up the writer, and never
//! lets a reader see a row twice or half a file.
//!
//! ```text
//! closed segment ─ convert ─▶ dt=…/hour=…/FIRST-LAST.parquet ─ merge (hour over) ─▶ fewer, larger
//!                                                            └ retention ─▶ removed, oldest first
//! ```

mod budget;
mod catalog;
mod columns;
mod compactor;
mod convert;
mod disk;
mod merge;
mod prune;
mod read;
mod retention;
mod rows;
mod schema;
mod segments;
mod stats;
#[cfg(test)]
mod tests;
mod usage;
mod write;

pub use self::catalog::{Hour, ParquetFile, catalog, parquet_dir};
pub use self::compactor::{Compactor, MergeLimit};
pub use self::read::{ParquetReadError, ParquetRows, Prune};

use self::segments::{Closed, SegmentRows};
pub use self::stats::ParquetStats;
use self::write::RowWriter;

use super::files::MemorySource;

/// Builds a Parquet file in memory from arbitrary bytes as a segment, for fuzzing: must neither panic
/// nor take unbounded time. Returns the number of rows.
#[doc(hidden)]
pub fn fuzz_parquet_rows(bytes: &[u8]) -> u64 {
    let source = Box::new(MemorySource(bytes.to_vec()));
    let closed = Closed { name: 1, first_lsn: 1, last_lsn: 1 << 32, bytes: bytes.len() as u64 };
    let Ok(mut rows) = SegmentRows::new(source, closed) else { return 0 };
    let Ok(mut writer) = RowWriter::new(Vec::new(), 1, "fuzz", (1, 1)) else { return 0 };
    while let Ok(Some(row)) = rows.next_row() {
        if writer.push(&row).is_err() {
            return 0;
        }
    }
    let count = writer.rows();
    writer.finish().map_or(0, |_bytes| count)
}
