//! The whole log as one stream of items in the order of their numbers: Parquet files first, then the
//! segments after them.
//!
//! Owns the seam. Rows up to the position of the cursor `parquet` come from Parquet files, later ones
//! from segments; both lists are made anew when a file has gone or segments were converted meanwhile, and
//! reading goes on after the last number that was returned. So nothing is returned twice and nothing
//! falls between the two, whatever a running gateway converts, merges and removes. Never locks or
//! changes a file. Memory is bounded by one frame, or one batch of each Parquet file whose numbers
//! overlap (those of neighbouring hours).

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use super::merge::{Merge, Merged};
use super::runs::{Run, runs};
use crate::domain::ids::RecordId;
use crate::prediction_log::parquet::{ParquetReadError, catalog, parquet_dir};
use crate::prediction_log::{Gap, Item, LogReader, ReadError, cursor_position};

/// The consumer that turns segments into Parquet files.
pub(super) const PARQUET_CURSOR: &str = "parquet";
/// How often files may go without one row in between, before something else must be wrong.
const REPLANS_MAX: u32 = 64;

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no log.
    #[error(
        "there is no prediction log in `{path}`: is `data_dir` right, and has a gateway recorded there?"
    )]
    Nothing {
        /// The data directory.
        path: PathBuf,
    },
    /// Segments cannot be read.
    #[error(transparent)]
    Segments(#[from] ReadError),
    /// The Parquet directory cannot be listed.
    #[error("cannot list the Parquet files in `{path}`")]
    List {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A Parquet file cannot be opened.
    #[error(transparent)]
    Parquet(#[from] ParquetReadError),
    /// A cursor cannot be read.
    #[error("cannot read the cursor `{PARQUET_CURSOR}` below `{path}`")]
    Cursor {
        /// The log directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Files vanish faster than they can be read.
    #[error("the files of the log in `{path}` are removed faster than they can be read")]
    Vanishing {
        /// The data directory.
        path: PathBuf,
    },
}

/// The part of the log that is wanted. Rows outside of `ts_us` and `ids` may be returned as well, rows
/// outside of `lsns` never are.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The first and the last number.
    pub lsns: Option<(u64, u64)>,
    /// The first and the last `ts`, in microseconds since the Unix epoch.
    pub ts_us: Option<(u64, u64)>,
    /// Record ids, for files that can look them up; empty for all.
    pub ids: Vec<RecordId>,
    /// Only what tells predictions and statements apart is read: the rest of a row may be empty.
    pub names_only: bool,
}

impl Scope {
    /// The numbers `first` to `last`.
    pub fn of_lsns(first: u64, last: u64) -> Self {
        Self { lsns: Some((first, last)), ..Self::default() }
    }

    pub(super) fn last_lsn(&self) -> u64 {
        self.lsns.map_or(u64::MAX, |lsns| lsns.1)
    }
}

/// A position in the whole log.
#[derive(Debug)]
pub struct Log {
    data_dir: PathBuf,
    scope: Scope,
    phase: Phase,
    /// Every row up to this number was returned or is not wanted.
    done: u64,
    /// Plans since the last row.
    replans: u32,
}

#[derive(Debug)]
enum Phase {
    /// Look what there is.
    Plan,
    Parquet(Box<Merge>),
    Segments(Box<Segments>),
    /// Everything in the scope was returned.
    Over,
}

/// Segments, run by run.
#[derive(Debug)]
struct Segments {
    reader: LogReader,
    /// The number before which the run ends.
    end: u64,
    rest: VecDeque<Run>,
}

/// What a step came to.
enum Step {
    /// There is a current item.
    Item,
    /// Look again.
    Again,
    /// Nothing for now.
    Nothing,
}

/// The directory of segments below a data directory.
pub fn segments_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("log")
}

impl Log {
    /// Starts before the oldest record below `data_dir`.
    ///
    /// # Errors
    /// When there is no log.
    pub fn open(data_dir: &Path) -> Result<Self, LogError> {
        Self::open_scope(data_dir, Scope::default())
    }

    /// Starts before the oldest record below `data_dir` that is in `scope`.
    ///
    /// # Errors
    /// When there is no log.
    pub fn open_scope(data_dir: &Path, scope: Scope) -> Result<Self, LogError> {
        let found = [segments_dir(data_dir), parquet_dir(data_dir)];
        if !found.iter().any(|dir| dir.is_dir()) {
            return Err(LogError::Nothing { path: data_dir.to_owned() });
        }
        let done = scope.lsns.map_or(0, |lsns| lsns.0.saturating_sub(1));
        Ok(Self { data_dir: data_dir.to_owned(), scope, phase: Phase::Plan, done, replans: 0 })
    }

    /// The next item; `None` at the end for now. Ask again to follow a log that grows.
    ///
    /// # Errors
    /// When a file cannot be read. A damaged Parquet file is a gap.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, LogError> {
        loop {
            match self.step()? {
                Step::Item => break,
                Step::Again => {}
                Step::Nothing => return Ok(None),
            }
        }
        Ok(match &self.phase {
            Phase::Parquet(merge) => merge.current(),
            Phase::Segments(segments) => segments.reader.current(),
            Phase::Plan | Phase::Over => None,
        })
    }

    /// The number up to which everything was returned.
    pub fn position(&self) -> u64 {
        self.done
    }

    fn step(&mut self) -> Result<Step, LogError> {
        match &mut self.phase {
            Phase::Over => Ok(Step::Nothing),
            Phase::Plan => {
                self.replans += 1;
                if self.replans > REPLANS_MAX {
                    return Err(LogError::Vanishing { path: self.data_dir.clone() });
                }
                self.plan()?;
                Ok(Step::Again)
            }
            Phase::Parquet(merge) => match merge.advance(self.done)? {
                Merged::Row(lsn) => {
                    self.done = self.done.max(lsn);
                    self.replans = 0;
                    Ok(Step::Item)
                }
                Merged::Gap => Ok(Step::Item),
                Merged::Gone => {
                    self.phase = Phase::Plan;
                    Ok(Step::Again)
                }
                Merged::End => {
                    let upto = merge.upto();
                    self.done = self.done.max(upto);
                    self.enter_segments()?;
                    Ok(Step::Again)
                }
            },
            Phase::Segments(_) => self.step_segments(),
        }
    }

    /// Starts with the Parquet files after what was returned, or with the segments if there are none.
    fn plan(&mut self) -> Result<(), LogError> {
        if self.done >= self.scope.last_lsn() {
            self.phase = Phase::Over;
            return Ok(());
        }
        let converted = converted(&self.data_dir)?;
        if converted <= self.done {
            return self.enter_segments();
        }
        let dir = parquet_dir(&self.data_dir);
        let files = catalog(&dir).map_err(|source| LogError::List { path: dir, source })?;
        self.phase = Phase::Parquet(Box::new(Merge::new(files, self.done, converted, &self.scope)));
        Ok(())
    }

    fn enter_segments(&mut self) -> Result<(), LogError> {
        if self.done >= self.scope.last_lsn() {
            self.phase = Phase::Over;
            return Ok(());
        }
        let dir = segments_dir(&self.data_dir);
        if !dir.is_dir() {
            self.phase = Phase::Over;
            return Ok(());
        }
        let mut rest = runs(&dir, self.done, &self.scope)?;
        self.phase = match rest.pop_front() {
            Some(run) => self.open_run(run, rest)?,
            None => Phase::Over,
        };
        Ok(())
    }

    fn open_run(&mut self, run: Run, rest: VecDeque<Run>) -> Result<Phase, LogError> {
        self.done = self.done.max(run.first_lsn.saturating_sub(1));
        let reader = LogReader::open_after(&segments_dir(&self.data_dir), self.done)?;
        Ok(Phase::Segments(Box::new(Segments { reader, end: run.end_lsn, rest })))
    }

    fn step_segments(&mut self) -> Result<Step, LogError> {
        let Phase::Segments(segments) = &mut self.phase else { return Ok(Step::Again) };
        let advanced = segments.reader.advance()?;
        let end = segments.end;
        let found = match segments.reader.current() {
            Some(Item::Row(row)) => Seen::Row(row.lsn),
            Some(Item::Gap(gap)) => Seen::Gap(gap),
            None => Seen::Nothing,
        };
        match found {
            Seen::Row(lsn) if lsn >= end => self.next_run(),
            Seen::Row(lsn) => {
                // Numbers were passed over: they may have been converted under the reader.
                if self.done > 0 && lsn > self.done + 1 && converted(&self.data_dir)? > self.done {
                    self.phase = Phase::Plan;
                    return Ok(Step::Again);
                }
                self.done = lsn;
                self.replans = 0;
                Ok(Step::Item)
            }
            Seen::Gap(gap) => self.gap(&gap, end),
            Seen::Nothing => {
                debug_assert!(!advanced, "an item that was passed is current");
                // What was converted and removed has no successor in the directory any more.
                if converted(&self.data_dir)? > self.done {
                    self.phase = Phase::Plan;
                    return Ok(Step::Again);
                }
                Ok(Step::Nothing)
            }
        }
    }

    /// Whether a gap is one: a segment that was converted and removed, or whose file is used again, looks
    /// like damage to whoever still reads it.
    fn gap(&mut self, gap: &Gap, end: u64) -> Result<Step, LogError> {
        let first = gap.lsns.as_ref().map(|lsns| *lsns.start());
        if first.is_some_and(|first| first >= end) {
            return self.next_run();
        }
        if converted(&self.data_dir)? > self.done || !gap.segment.exists() {
            self.phase = Phase::Plan;
            return Ok(Step::Again);
        }
        if let Some(lsns) = &gap.lsns {
            self.done = self.done.max((*lsns.end()).min(end - 1));
        }
        Ok(Step::Item)
    }

    fn next_run(&mut self) -> Result<Step, LogError> {
        let Phase::Segments(segments) = &mut self.phase else { return Ok(Step::Again) };
        let mut rest = std::mem::take(&mut segments.rest);
        self.phase = match rest.pop_front() {
            Some(run) => self.open_run(run, rest)?,
            None => Phase::Over,
        };
        Ok(Step::Again)
    }
}

/// What a reader of segments shows.
enum Seen {
    Row(u64),
    Gap(Gap),
    Nothing,
}

/// The last number that is in Parquet files.
pub(super) fn converted(data_dir: &Path) -> Result<u64, LogError> {
    let dir = segments_dir(data_dir);
    let position = cursor_position(&dir, PARQUET_CURSOR);
    Ok(position.map_err(|source| LogError::Cursor { path: dir, source })?.unwrap_or(0))
}
