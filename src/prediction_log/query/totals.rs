//! What the log holds in total, without reading its records.
//!
//! Owns the sum over segments, which tell their counts in their seals, and Parquet files, which tell theirs
//! in their footers. Never changes a file.

use std::io;
use std::path::{Path, PathBuf};

use super::log::{LogError, converted, segments_dir};
use crate::prediction_log::files::{FileSystem as _, LocalFiles};
use crate::prediction_log::parquet::{ParquetReadError, ParquetRows, Prune, catalog, parquet_dir};
use crate::prediction_log::segment::SUSPECT;
use crate::prediction_log::{Survey, cursor_position, survey};

/// The totals of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    /// The segments.
    pub segments: Survey,
    /// Parquet files.
    pub parquet_files: u64,
    /// Bytes of all Parquet files.
    pub parquet_bytes: u64,
    /// Rows: of Parquet files, and of segments after them.
    pub records: u64,
    /// The number of the first record; `None` without records.
    pub first_lsn: Option<u64>,
    /// The number of the last record.
    pub last_lsn: Option<u64>,
    /// Begin of the time that the log covers, in microseconds since the Unix epoch; of a Parquet file
    /// without statistics, the begin of its hour.
    pub since_us: Option<u64>,
    /// Numbers between the first and the last that no file holds.
    pub missing: u64,
    /// Who reads the log, by name.
    pub cursors: Vec<CursorTotals>,
    /// Files that were set aside, because nothing in them can be read.
    pub suspects: Vec<PathBuf>,
}

/// How far a consumer has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorTotals {
    /// Its name.
    pub name: String,
    /// The last number that is done.
    pub position: u64,
    /// Numbers after it.
    pub lag: u64,
    /// Numbers that it has passed and that the log does not have: the log's end is lost.
    pub ahead: u64,
}

/// Adds up the log below `data_dir`.
///
/// # Errors
/// When there is no log, or a file cannot be read.
pub fn totals(data_dir: &Path) -> Result<Totals, LogError> {
    let (log_dir, parquet_dir) = (segments_dir(data_dir), parquet_dir(data_dir));
    if !log_dir.is_dir() && !parquet_dir.is_dir() {
        return Err(LogError::Nothing { path: data_dir.to_owned() });
    }
    let mut totals = Totals::default();
    let converted = converted(data_dir)?;
    let mut rows = 0;
    let files = catalog(&parquet_dir)
        .map_err(|source| LogError::List { path: parquet_dir.clone(), source })?;
    for file in &files {
        let mut first_ts_us = None;
        match ParquetRows::open(&file.path, &Prune { lsns: Some((0, 0)), ..Prune::default() }) {
            Ok(of) => {
                rows += of.rows_in_file();
                first_ts_us = of.first_ts_us();
            }
            Err(ParquetReadError::Open { source, .. })
                if source.kind() == io::ErrorKind::NotFound => {}
            Err(error @ ParquetReadError::Open { .. }) => return Err(error.into()),
            // `log verify` tells about damage.
            Err(_) => {}
        }
        totals.parquet_files += 1;
        totals.parquet_bytes += file.bytes;
        let hour_us = file.hour.end_us().saturating_sub(3_600_000_000);
        let begin_us = first_ts_us.unwrap_or(hour_us);
        totals.since_us = Some(totals.since_us.map_or(begin_us, |since| since.min(begin_us)));
    }
    if log_dir.is_dir() {
        totals.segments = survey(&log_dir)?;
        totals.suspects = suspects(&log_dir)?;
    }
    let first_file = files.iter().map(|file| file.first_lsn).min();
    let last_file = files.iter().map(|file| file.last_lsn).max();
    let survey = &totals.segments;
    totals.first_lsn = first_file.into_iter().chain(survey.first_lsn).min();
    totals.last_lsn = last_file.into_iter().chain(survey.last_lsn).max();
    totals.since_us = totals.since_us.or(survey.created_us);
    // Segments that were converted and are still there hold rows that were counted already.
    let twice = survey.first_lsn.map_or(0, |first| (converted + 1).saturating_sub(first));
    totals.records = rows + survey.records.saturating_sub(twice);
    let span = totals.first_lsn.zip(totals.last_lsn).map_or(0, |(first, last)| last - first + 1);
    totals.missing = span.saturating_sub(totals.records);
    // An empty segment tells by its name how far the log has come.
    let begun = survey.newest_lsn.saturating_sub(1);
    totals.cursors = cursors(&log_dir, totals.last_lsn.unwrap_or(0).max(begun))?;
    Ok(totals)
}

fn suspects(log_dir: &Path) -> Result<Vec<PathBuf>, LogError> {
    let listed = LocalFiles.list(log_dir).map_err(|source| {
        crate::prediction_log::ReadError::List { path: log_dir.to_owned(), source }
    })?;
    let mut found: Vec<_> = listed
        .into_iter()
        .filter(|(name, _)| name.ends_with(SUSPECT))
        .map(|(name, _)| log_dir.join(name))
        .collect();
    found.sort();
    Ok(found)
}

/// Who reads the log in `log_dir`, which goes up to `last_lsn`.
pub(super) fn cursors(log_dir: &Path, last_lsn: u64) -> Result<Vec<CursorTotals>, LogError> {
    let fail = |source| LogError::Cursor { path: log_dir.to_owned(), source };
    let listed = match LocalFiles.list(&log_dir.join("cursors")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(fail)?,
    };
    let mut found = Vec::new();
    for (name, _) in listed {
        if let Some(position) = cursor_position(log_dir, &name).map_err(fail)? {
            let lag = last_lsn.saturating_sub(position);
            let ahead = position.saturating_sub(last_lsn);
            found.push(CursorTotals { name, position, lag, ahead });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
