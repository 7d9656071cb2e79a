//! Following the log: what it holds, then what is written.
//!
//! Owns the order, and that no row is taken twice or passed over. Reads the log as one, Parquet files and segments, so
//! that nothing is missed when segments are converted and removed under it. Never gives up: a log that cannot be read
//! is opened again after a pause.

use std::path::Path;
use std::time::Duration;

use super::progress::Progress;
use super::query::{Log, LogError, Scope};
use super::reader::{Item, Row};

/// How long a follower sleeps at most before it looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(500);
/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Where a follower begins, and what it wants of a row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Start {
    /// It has seen every row up to this number, or they lie too far back.
    pub position: u64,
    /// Rows of the past before this time, in microseconds since the Unix epoch, are of no use.
    pub since_us: u64,
    /// Names and feedback are enough.
    pub names_only: bool,
}

/// Who follows the log.
pub trait LogFollower {
    /// For the log lines that say that it cannot read.
    fn name(&self) -> &'static str;
    /// Whether anybody wants it to go on.
    fn is_wanted(&self) -> bool;
    /// Takes the next row.
    fn take(&mut self, row: &Row<'_>);
    /// Every row up to `lsn` was taken, or cannot be read any more. The first call says that the past is over.
    fn reached(&mut self, lsn: u64);
}

/// Follows the log below `data_dir` until it ends or nobody wants it any more. Blocks.
pub fn follow(data_dir: &Path, progress: &Progress, start: Start, follower: &mut impl LogFollower) {
    let end = progress.written();
    let mut following = Following { data_dir, progress, start, position: start.position, end };
    while following.is_wanted(follower) {
        if let Err(error) = following.read(follower) {
            // Once a second at most: the pause below sees to it.
            tracing::warn!(error = %error, follower = follower.name(), "the prediction log cannot be followed");
            // Until the log ends, or the pause is over.
            progress.wait_written(u64::MAX, PAUSE);
        }
    }
}

struct Following<'a> {
    data_dir: &'a Path,
    progress: &'a Progress,
    start: Start,
    /// Every row up to this number was taken, or lies too far back.
    position: u64,
    /// The last row of the past.
    end: u64,
}

impl Following<'_> {
    fn is_wanted(&self, follower: &impl LogFollower) -> bool {
        follower.is_wanted() && !self.progress.has_ended()
    }

    /// Reads on until the log ends, nobody asks any more, or reading fails.
    fn read(&mut self, follower: &mut impl LogFollower) -> Result<(), LogError> {
        if self.position < self.end {
            let ts_us = Some((self.start.since_us, u64::MAX));
            let mut past =
                self.open(Scope { ts_us, ..Scope::of_lsns(self.position + 1, self.end) })?;
            self.drain(&mut past, follower)?;
            if !self.is_wanted(follower) {
                return Ok(());
            }
            self.position = self.end;
        }
        follower.reached(self.end);
        let mut log = self.open_rest()?;
        while self.is_wanted(follower) {
            // What is written by now is there to be read.
            let written = self.progress.written();
            self.drain(&mut log, follower)?;
            if self.position < written && self.is_wanted(follower) {
                // Its files may have gone under it; what is not found now either is damaged or removed.
                log = self.open_rest()?;
                self.drain(&mut log, follower)?;
            }
            if !self.is_wanted(follower) {
                return Ok(());
            }
            follower.reached(written);
            self.progress.wait_written(written, LOOK);
        }
        Ok(())
    }

    fn open(&self, scope: Scope) -> Result<Log, LogError> {
        Log::open_scope(self.data_dir, Scope { names_only: self.start.names_only, ..scope })
    }

    /// Opens what comes after the position.
    fn open_rest(&self) -> Result<Log, LogError> {
        self.open(Scope::of_lsns(self.position + 1, u64::MAX))
    }

    /// Takes what there is.
    fn drain(&mut self, log: &mut Log, follower: &mut impl LogFollower) -> Result<(), LogError> {
        while follower.is_wanted()
            && let Some(item) = log.next_item()?
        {
            let Item::Row(row) = item else { continue };
            if row.lsn > self.position {
                self.position = row.lsn;
                follower.take(&row);
            }
        }
        Ok(())
    }
}
