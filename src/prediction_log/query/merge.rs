//! Several Parquet files as one stream in the order of their numbers.
//!
//! Owns which files are open: those of neighbouring hours overlap, because an exchange belongs to the
//! hour in which it began and is numbered when it ends. Never returns a row twice.

use std::collections::VecDeque;
use std::io;

use super::log::{LogError, Scope};
use crate::domain::ids::RecordId;
use crate::domain::record::{Entry, GapReason};
use crate::prediction_log::parquet::{ParquetFile, ParquetReadError, ParquetRows, Prune};
use crate::prediction_log::{Gap, Item};

/// Microseconds of an hour.
const HOUR_US: u64 = 3_600_000_000;

/// The rows of a list of files.
#[derive(Debug)]
pub(super) struct Merge {
    /// By the number of their first rows, none of them opened yet.
    waiting: VecDeque<ParquetFile>,
    open: Vec<Open>,
    /// Which of the open files has the current row.
    current: Option<usize>,
    /// A file that cannot be read, to be reported.
    damaged: Option<Gap>,
    /// Rows after this number come from elsewhere.
    upto: u64,
    ts_us: Option<(u64, u64)>,
    ids: Vec<RecordId>,
    names_only: bool,
}

#[derive(Debug)]
struct Open {
    rows: ParquetRows,
    file: ParquetFile,
    /// The number of its current row; 0 for a gap without one.
    lsn: u64,
    /// Whether a row after those that were returned before was seen.
    started: bool,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Merged {
    /// A row with this number.
    Row(u64),
    /// A gap that has no number.
    Gap,
    /// A file is not there any more.
    Gone,
    End,
}

impl Merge {
    /// The rows of `files` after number `done` and up to `upto` that may be in `scope`.
    pub(super) fn new(files: Vec<ParquetFile>, done: u64, upto: u64, scope: &Scope) -> Self {
        let upto = upto.min(scope.last_lsn());
        let in_time = |file: &ParquetFile| {
            let end_us = file.hour.end_us();
            scope
                .ts_us
                .is_none_or(|(from, to)| from < end_us && to >= end_us.saturating_sub(HOUR_US))
        };
        let mut waiting: Vec<_> = files
            .into_iter()
            .filter(|file| file.last_lsn > done && file.first_lsn <= upto && in_time(file))
            .collect();
        waiting.sort_by_key(|file| file.first_lsn);
        Self {
            waiting: waiting.into(),
            open: Vec::new(),
            current: None,
            damaged: None,
            upto,
            ts_us: scope.ts_us,
            ids: scope.ids.clone(),
            names_only: scope.names_only,
        }
    }

    pub(super) fn upto(&self) -> u64 {
        self.upto
    }

    /// Passes to the next row; those up to number `done` were returned before.
    pub(super) fn advance(&mut self, done: u64) -> Result<Merged, LogError> {
        if self.damaged.take().is_none()
            && let Some(index) = self.current.take()
        {
            self.pass(index, done);
        }
        loop {
            if self.damaged.is_some() {
                self.current = None;
                return Ok(Merged::Gap);
            }
            let first = self.open.iter().map(|open| open.lsn).min();
            let due =
                self.waiting.front().filter(|file| first.is_none_or(|of| of >= file.first_lsn));
            if due.is_some() {
                let Some(file) = self.waiting.pop_front() else { continue };
                if !self.open_file(file, done)? {
                    return Ok(Merged::Gone);
                }
                continue;
            }
            let Some(first) = first else { return Ok(Merged::End) };
            let Some(index) = self.open.iter().position(|open| open.lsn == first) else {
                return Ok(Merged::End);
            };
            if first != 0 && first <= done {
                // Another file has had it.
                self.pass(index, done);
                continue;
            }
            self.current = Some(index);
            return Ok(if first == 0 { Merged::Gap } else { Merged::Row(first) });
        }
    }

    /// The current row, or the report of what cannot be read.
    pub(super) fn current(&self) -> Option<Item<'_>> {
        if let Some(gap) = &self.damaged {
            return Some(Item::Gap(gap.clone()));
        }
        let open = &self.open[self.current?];
        Some(match open.rows.row() {
            Ok(row) => Item::Row(row),
            // Of a later version.
            Err(_) => Item::Gap(Gap {
                reason: GapReason::Unreadable,
                lsns: (open.lsn > 0).then_some(open.lsn..=open.lsn),
                segment: open.file.path.clone(),
                offset: 0,
                bytes: 0,
            }),
        })
    }

    /// Opens a file and passes to its first row; false when it is gone.
    fn open_file(&mut self, file: ParquetFile, done: u64) -> Result<bool, LogError> {
        let lsns = Some((done.saturating_add(1), self.upto));
        let prune = Prune { ts: self.ts_us, lsns, ids: &self.ids, names_only: self.names_only };
        match ParquetRows::open(&file.path, &prune) {
            Ok(rows) => {
                self.open.push(Open { rows, file, lsn: 0, started: done == 0 });
                self.pass(self.open.len() - 1, done);
                Ok(true)
            }
            Err(ParquetReadError::Open { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(false)
            }
            Err(error @ ParquetReadError::Open { .. }) => Err(error.into()),
            Err(_) => {
                self.damaged = Some(damage(&file, done));
                Ok(true)
            }
        }
    }

    /// Passes to the next wanted row of an open file, and closes the file at its end.
    fn pass(&mut self, index: usize, done: u64) {
        let upto = self.upto;
        let open = &mut self.open[index];
        let more = loop {
            match open.rows.advance() {
                Ok(None) => break false,
                Ok(Some(lsn)) if lsn > upto => break false,
                Ok(Some(0)) => {
                    if open.started || is_after(&open.rows, done) {
                        open.lsn = 0;
                        break true;
                    }
                }
                Ok(Some(lsn)) if lsn <= done => {}
                Ok(Some(lsn)) => {
                    open.started = true;
                    open.lsn = lsn;
                    break true;
                }
                Err(_) => {
                    self.damaged = Some(damage(&open.file, done));
                    break false;
                }
            }
        };
        if !more {
            self.open.swap_remove(index);
        }
    }
}

/// Whether the current row is a gap of numbers after `done`.
fn is_after(rows: &ParquetRows, done: u64) -> bool {
    match rows.row() {
        Ok(row) => match row.entry {
            Entry::Gap(gap) => gap.lsns.is_some_and(|lsns| lsns.1 > done),
            _ => true,
        },
        Err(_) => false,
    }
}

/// What is told about a file that cannot be read on.
fn damage(file: &ParquetFile, done: u64) -> Gap {
    let first = file.first_lsn.max(done + 1);
    Gap {
        reason: GapReason::Damaged,
        lsns: (first <= file.last_lsn).then_some(first..=file.last_lsn),
        segment: file.path.clone(),
        offset: 0,
        bytes: file.bytes,
    }
}
