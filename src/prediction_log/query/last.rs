//! Where the last records begin.
//!
//! Owns the way backwards: the log is counted from its end, piece by piece, until enough rows match. Each
//! piece is read once; memory is that of one reader.

use std::path::Path;

use super::filter::Filter;
use super::log::{Log, LogError, Scope, converted, segments_dir};
use super::runs::spans;
use crate::prediction_log::Item;
use crate::prediction_log::parquet::{catalog, parquet_dir};

/// Numbers of a Parquet file that are read in one piece: about a row group.
const PIECE: u64 = 64 * 1024;

/// Where the last records begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// The number from which to read.
    pub first_lsn: u64,
    /// How many rows that match are to be passed over from there.
    pub skip: u64,
}

/// Finds where the last `count` rows begin that `filter` takes; gaps do not count.
///
/// # Errors
/// When a file cannot be read.
pub fn last(data_dir: &Path, count: u64, filter: &Filter) -> Result<Last, LogError> {
    let mut found = 0;
    let mut first_lsn = 1;
    for (first, end) in pieces(data_dir)? {
        let scope = Scope { ts_us: filter.ts_us(), ..Scope::of_lsns(first, end) };
        let mut log = Log::open_scope(data_dir, scope)?;
        while let Some(item) = log.next_item()? {
            if let Item::Row(row) = item {
                found += u64::from(!row.is_gap() && filter.takes(&row));
            }
        }
        first_lsn = first;
        if found >= count {
            break;
        }
    }
    Ok(Last { first_lsn, skip: found.saturating_sub(count) })
}

/// The highest number that a file of the log promises, without reading records; 0 for none.
///
/// # Errors
/// When a directory cannot be listed.
pub fn last_lsn(data_dir: &Path) -> Result<u64, LogError> {
    let dir = segments_dir(data_dir);
    let spans = if dir.is_dir() { spans(&dir)? } else { Vec::new() };
    let segments = spans.last().map_or(0, |span| span.first_lsn);
    Ok(segments.max(converted(data_dir)?))
}

/// First and last numbers of pieces of the log, the newest first.
fn pieces(data_dir: &Path) -> Result<Vec<(u64, u64)>, LogError> {
    let converted = converted(data_dir)?;
    let dir = segments_dir(data_dir);
    let mut firsts: Vec<u64> = if dir.is_dir() {
        spans(&dir)?.iter().map(|span| span.first_lsn).filter(|&lsn| lsn > converted).collect()
    } else {
        Vec::new()
    };
    firsts.push(converted + 1);
    let dir = parquet_dir(data_dir);
    let files = catalog(&dir).map_err(|source| LogError::List { path: dir, source })?;
    let oldest = files.iter().map(|file| file.first_lsn).min();
    let mut at = converted + 1;
    while oldest.is_some_and(|oldest| at > oldest) {
        at = at.saturating_sub(PIECE).max(1);
        firsts.push(at);
    }
    firsts.sort_unstable();
    firsts.dedup();
    let ends = firsts.iter().skip(1).map(|next| next - 1).chain([u64::MAX]);
    let mut pieces: Vec<_> = firsts.iter().copied().zip(ends).collect();
    pieces.reverse();
    Ok(pieces)
}
