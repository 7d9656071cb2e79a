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
mod stamp;
mod stats;
#[cfg(test)]
mod tests;
mod usage;
mod write;

pub use self::catalog::{Hour, ParquetFile, catalog, parquet_dir};
pub use self::compactor::{Compactor, MergeLimit};
pub use self::read::{ParquetReadError, ParquetRows, Prune};
pub(super) use self::stamp::stamp;
pub use self::stamp::{Checksum, checksum};

use self::segments::{Closed, SegmentRows};
pub use self::stats::ParquetStats;
pub(super) use self::write::RowWriter;
use super::files::MemorySource;

/// Converts the oldest closed segment below `data_dir`, moves the cursor and removes the segment, as the
/// gateway does; the last number that is done, or `None` when there is nothing to convert.
#[cfg(test)]
pub(super) fn convert_oldest(data_dir: &std::path::Path) -> Option<u64> {
    use super::files::LocalFiles;
    let log_dir = data_dir.join("log");
    let cursor = super::cursor::Cursor::open(&log_dir, "parquet").expect("a cursor");
    let listed = super::segment::list(&LocalFiles, &log_dir).expect("listed");
    let closed = listed.last().map_or(0, |last| last.first_lsn.saturating_sub(1));
    let outstanding = segments::backlog(&LocalFiles, &log_dir, cursor.position(), closed);
    let next = *outstanding.expect("listed").first()?;
    let disk = disk::Disk::new(&parquet_dir(data_dir));
    convert::convert(&LocalFiles, &log_dir, &disk, next, 1, &mut || true).expect("converted");
    cursor.advance(next.last_lsn).expect("advanced");
    std::fs::remove_file(super::segment::path(&log_dir, next.name)).expect("removed");
    Some(next.last_lsn)
}

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
