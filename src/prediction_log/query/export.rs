//! Rows as files for other tools.
//!
//! Owns the names of files and what is left out of each format, with its count. Files are written aside,
//! synced and renamed, so that what has its name is whole; their names follow from the rows in them, so
//! that the same export makes the same files. Never replaces a file without being told to.

mod files;
mod parquet;
mod sagemaker;

use std::io;
use std::path::{Path, PathBuf};

use self::files::Files;
use super::cloudevents::{self, Settings};
use super::filter::{Filter, ts_us};
use super::json;
use super::log::{Log, LogError, Scope};
use crate::domain::record::{Entry, Kind, PredictionRecord};
use crate::prediction_log::parquet::Hour;
use crate::prediction_log::{Item, Row};

/// Why an export did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A file cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A file of this name is there already.
    #[error("`{path}` exists already: `--force` replaces it")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A Parquet file cannot be built.
    #[error("cannot build the Parquet file `{path}`")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ::parquet::errors::ParquetError,
    },
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// Parquet files with the schema of those below `data_dir/parquet`.
    Parquet,
    /// The JSON form of rows.
    Jsonl,
    /// CloudEvents.
    CloudEvents(Settings),
    /// SageMaker data capture.
    SageMaker,
}

/// What was written and what was not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Rows that were written.
    pub rows: u64,
    /// Events that were written, for formats that make more than one of a row.
    pub events: u64,
    /// The files, in the order of their names.
    pub files: Vec<PathBuf>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Files that were replaced.
    pub replaced: u64,
    /// Rows without the whole of a body: it was longer than what is recorded, or left out.
    pub without_whole_body: u64,
    /// Gap rows, and places where something is missing, that the format has no form for.
    pub gaps_left_out: u64,
    /// Rows of feedback that the format has no form for.
    pub feedback_left_out: u64,
    /// Rows that are no prediction in the sense of the format: no answer with a 2xx status, shadows,
    /// retries.
    pub others_left_out: u64,
}

/// Writes the rows of `scopes` that `filter` takes to files below `out`. `progress` is told numbers.
///
/// # Errors
/// When the log cannot be read or a file cannot be written; files that are whole stay.
pub fn export(
    data_dir: &Path,
    scopes: &[Scope],
    filter: &Filter,
    form: &Form,
    out: (&Path, bool),
    progress: &mut dyn FnMut(u64),
) -> Result<Summary, ExportError> {
    if *form == Form::Parquet {
        return parquet::export(data_dir, scopes, filter, out, progress);
    }
    let mut files = Files::create(out.0, out.1)?;
    let mut summary = Summary::default();
    let mut line = Vec::new();
    for scope in scopes {
        let mut log = Log::open_scope(data_dir, scope.clone())?;
        loop {
            progress(log.position());
            let Some(item) = log.next_item()? else { break };
            let row = match &item {
                Item::Row(row) if filter.takes(row) => row,
                Item::Row(_) => continue,
                Item::Gap(_) => {
                    summary.gaps_left_out += 1;
                    continue;
                }
            };
            line.clear();
            if let Some(folder) = write(row, form, &mut line, &mut summary) {
                summary.rows += 1;
                files.put(&folder, row.lsn, &line)?;
            }
        }
    }
    files.finish(&mut summary)?;
    Ok(summary)
}

/// Appends the lines of a row, and returns the folder where they belong; `None` when it is left out.
fn write(row: &Row<'_>, form: &Form, line: &mut Vec<u8>, summary: &mut Summary) -> Option<PathBuf> {
    let hour = Hour::of(ts_us(&row.entry));
    if let Form::Jsonl = form {
        if let Entry::Prediction(record) = &row.entry {
            summary.without_whole_body += u64::from(lacks_body(record));
        }
        // Memory is the only thing written to.
        json::write_row(row, line).ok()?;
        line.push(b'\n');
        summary.events += 1;
        return Some(hour.dir());
    }
    let record = match &row.entry {
        Entry::Prediction(record) => record,
        Entry::Feedback(_) => {
            summary.feedback_left_out += 1;
            return None;
        }
        Entry::Gap(_) => {
            summary.gaps_left_out += 1;
            return None;
        }
    };
    let folder = match form {
        Form::CloudEvents(settings) => {
            summary.events += cloudevents::write_events(row, record, settings, line) as u64;
            hour.dir()
        }
        _ => {
            let answered = (200..300).contains(&record.status) && record.kind == Kind::Inference;
            if !answered {
                summary.others_left_out += 1;
                return None;
            }
            sagemaker::write(record, line).ok()?;
            summary.events += 1;
            sagemaker::folder(record)
        }
    };
    summary.without_whole_body += u64::from(lacks_body(record));
    Some(folder)
}

fn lacks_body(record: &PredictionRecord<'_>) -> bool {
    record.request.omission.is_some() || record.response.omission.is_some()
}
