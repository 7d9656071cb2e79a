//! Reads the rows that are sent again, in a thread of its own.
//!
//! Owns the selection and the end of the log as it was at the start: what the replay itself adds to
//! the log is never sent again. Never holds more than a few rows.

use std::path::Path;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use super::options::Selection;
use super::recorded::{Recorded, Redirect, Skip};
use crate::domain::record::{Entry, PredictionRecord};
use crate::prediction_log::{Item, LogReader, ReadError};

/// Rows that wait to be sent.
const WAITING_MAX: usize = 16;

/// What the thread finds, in the order of the log.
#[derive(Debug)]
pub(super) enum Found {
    /// A request to be sent.
    Request(Box<Recorded>),
    /// A request that cannot be sent.
    Skipped(Skip),
    /// A place where records are missing.
    Gap,
    /// The log cannot be read any further.
    Failed(ReadError),
}

/// The rows of a replay.
pub(super) struct Source {
    /// What is found, and its number in the log; closed at the end.
    pub(super) found: mpsc::Receiver<(u64, Found)>,
    /// The first and the last number that are read.
    pub(super) lsns: (u64, u64),
    thread: JoinHandle<()>,
}

impl Source {
    /// Starts to read `dir`.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) fn start(
        dir: &Path,
        selection: Selection,
        redirect: Redirect,
    ) -> Result<Self, ReadError> {
        let last = last_lsn(LogReader::open_last(dir, 1)?)?;
        let first = first_lsn(LogReader::open(dir)?)?;
        let mut reader = LogReader::open(dir)?;
        let (sender, found) = mpsc::channel(WAITING_MAX);
        let thread = std::thread::spawn(move || {
            let mut left = selection.limit.unwrap_or(u64::MAX);
            // Nobody listens any more once the replay is interrupted.
            while left > 0 && !sender.is_closed() {
                let (lsn, next) = match reader.next_item() {
                    Ok(Some(item)) => match take(&item, last, &selection, &redirect) {
                        Taken::Found(lsn, found) => (lsn, found),
                        Taken::Nothing => continue,
                        Taken::End => return,
                    },
                    Ok(None) => return,
                    Err(error) => (last, Found::Failed(error)),
                };
                left -= u64::from(matches!(next, Found::Request(_)));
                if sender.blocking_send((lsn, next)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { found, lsns: (first, last), thread })
    }

    /// Ends the thread.
    pub(super) fn end(self) {
        drop(self.found);
        let ended = self.thread.join();
        debug_assert!(ended.is_ok(), "the thread does not panic");
    }
}

/// What becomes of one item of the log.
enum Taken {
    Found(u64, Found),
    Nothing,
    End,
}

fn take(item: &Item<'_>, last: u64, selection: &Selection, redirect: &Redirect) -> Taken {
    let row = match item {
        Item::Gap(_) => return Taken::Found(0, Found::Gap),
        Item::Row(row) if row.lsn > last => return Taken::End,
        Item::Row(row) => row,
    };
    let Entry::Prediction(record) = &row.entry else { return Taken::Nothing };
    if !selection.takes(record) {
        return Taken::Nothing;
    }
    match Recorded::new(record, redirect) {
        None => Taken::Nothing,
        Some(Ok(recorded)) => Taken::Found(row.lsn, Found::Request(Box::new(recorded))),
        Some(Err(skip)) => Taken::Found(row.lsn, Found::Skipped(skip)),
    }
}

impl Selection {
    fn takes(&self, record: &PredictionRecord<'_>) -> bool {
        let ts = i64::try_from(record.ts_us).unwrap_or(i64::MAX);
        self.model.as_deref().is_none_or(|model| model == record.decision.model)
            && self.since.is_none_or(|since| since.as_microsecond() <= ts)
            && self.until.is_none_or(|until| ts < until.as_microsecond())
    }
}

fn first_lsn(mut reader: LogReader) -> Result<u64, ReadError> {
    while let Some(item) = reader.next_item()? {
        if let Item::Row(row) = item {
            return Ok(row.lsn);
        }
    }
    Ok(0)
}

fn last_lsn(mut reader: LogReader) -> Result<u64, ReadError> {
    let mut last = 0;
    while let Some(item) = reader.next_item()? {
        if let Item::Row(row) = item {
            last = row.lsn;
        }
    }
    Ok(last)
}
