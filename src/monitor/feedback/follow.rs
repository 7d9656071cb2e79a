//! The thread that reads the prediction log for labels.
//!
//! Owns the order: what the log holds, as far back as windows are kept, then what is written. Reads the log as one,
//! Parquet files and segments, so that nothing is missed when segments are converted under it. Never gives up: a log
//! that cannot be read is opened again after a pause.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Shared;
use crate::domain::record::Entry;
use crate::prediction_log::query::{Log, LogError, Scope};
use crate::prediction_log::{Item, Progress};

/// How long the thread sleeps at most before it looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(500);
/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts the thread.
pub(super) fn start(
    shared: Arc<Shared>,
    data_dir: &Path,
    progress: Arc<Progress>,
) -> io::Result<JoinHandle<()>> {
    let since_us = shared.state.lock().reach_us(unix_us());
    let history_end = progress.written();
    let data_dir = data_dir.to_owned();
    let follower = Follower { shared, data_dir, progress, position: 0, history_end, since_us };
    thread::Builder::new().name("quality".to_owned()).spawn(|| follower.run())
}

struct Follower {
    shared: Arc<Shared>,
    data_dir: PathBuf,
    progress: Arc<Progress>,
    /// Every row up to this number was read, or lies too far back.
    position: u64,
    /// The last row that was written before the thread began.
    history_end: u64,
    /// Rows before this time, in microseconds since the Unix epoch, are in no window that is kept.
    since_us: u64,
}

impl Follower {
    fn run(mut self) {
        while self.is_wanted() {
            if let Err(error) = self.read() {
                // Once a second at most: the pause below sees to it.
                tracing::warn!(error = %error, "labels cannot be joined: the prediction log cannot be read");
                // Until the log ends, or the pause is over.
                self.progress.wait_written(u64::MAX, PAUSE);
            }
        }
    }

    fn is_wanted(&self) -> bool {
        !self.shared.ended.load(Ordering::Relaxed) && !self.progress.has_ended()
    }

    /// Reads on until the log ends, nobody asks any more, or reading fails.
    fn read(&mut self) -> Result<(), LogError> {
        if self.position < self.history_end {
            let scope = Scope {
                lsns: Some((self.position + 1, self.history_end)),
                ts_us: Some((self.since_us, u64::MAX)),
                ..Scope::default()
            };
            self.drain(&mut Log::open_scope(&self.data_dir, scope)?)?;
            if !self.is_wanted() {
                return Ok(());
            }
            self.position = self.history_end;
        }
        self.tell(self.history_end);
        self.shared.caught_up.store(true, Ordering::Relaxed);
        let mut log = self.open()?;
        while self.is_wanted() {
            // What is written by now is there to be read.
            let written = self.progress.written();
            self.drain(&mut log)?;
            if self.position < written {
                // Its files may have gone under it; what is not found now either is damaged or removed.
                log = self.open()?;
                self.drain(&mut log)?;
            }
            self.tell(written);
            self.progress.wait_written(written, LOOK);
        }
        Ok(())
    }

    /// Opens what comes after the position.
    fn open(&self) -> Result<Log, LogError> {
        Log::open_scope(&self.data_dir, Scope::of_lsns(self.position + 1, u64::MAX))
    }

    /// Reads what there is.
    fn drain(&mut self, log: &mut Log) -> Result<(), LogError> {
        while let Some(item) = log.next_item()? {
            let Item::Row(row) = item else { continue };
            if row.lsn > self.position {
                match &row.entry {
                    Entry::Prediction(record) => {
                        self.shared.state.lock().prediction(record, unix_us());
                    }
                    Entry::Feedback(record) => {
                        self.shared.state.lock().feedback(row.lsn, record, unix_us());
                    }
                    Entry::Gap(_) => {}
                }
                self.position = row.lsn;
            }
            if !self.is_wanted() {
                break;
            }
        }
        Ok(())
    }

    /// Says up to which row everything is known.
    fn tell(&self, lsn: u64) {
        self.shared.position.store(lsn, Ordering::Relaxed);
    }
}

/// The time of the system clock, in microseconds since the Unix epoch.
pub(super) fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
