//! The thread that reads the log for the index.
//!
//! Owns the order: first what the log holds, back as far as index and window reach, then what is written.
//! Reads the log as one, Parquet files and segments, so that nothing is missed when segments are converted
//! and removed under it. Never gives up: a log that cannot be read is opened again after a pause.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::Shared;
use crate::domain::record::Entry;
use crate::domain::spec::FeedbackSpec;
use crate::prediction_log::progress::Progress;
use crate::prediction_log::query::{Log, LogError, Scope};
use crate::prediction_log::{Item, unix_us};

/// How long the thread sleeps at most before it looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(500);

/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts the thread. It ends with the log, or when nobody will ask again.
pub(super) fn start(
    shared: &Arc<Shared>,
    data_dir: &Path,
    spec: &FeedbackSpec,
    progress: &Arc<Progress>,
) -> io::Result<()> {
    let written = progress.written();
    let follower = Follower {
        shared: Arc::downgrade(shared),
        data_dir: data_dir.to_owned(),
        progress: Arc::clone(progress),
        // Each row brings at least one name or statement, so that more would be forgotten again.
        position: written.saturating_sub(spec.index as u64),
        history_end: written,
        since_us: unix_us()
            .saturating_sub(u64::try_from(spec.window.as_micros()).unwrap_or(u64::MAX)),
    };
    thread::Builder::new().name("feedback".to_owned()).spawn(|| follower.run()).map(drop)
}

struct Follower {
    shared: Weak<Shared>,
    data_dir: PathBuf,
    progress: Arc<Progress>,
    /// Every row up to this number was read, or lies too far back.
    position: u64,
    /// The last row that was written before the thread began.
    history_end: u64,
    /// Rows before this time, in microseconds since the Unix epoch, are of no use.
    since_us: u64,
}

impl Follower {
    fn run(mut self) {
        while self.is_wanted() && !self.progress.has_ended() {
            if let Err(error) = self.read() {
                // Once a second at most: the pause below sees to it.
                tracing::warn!(error = %error, "feedback cannot be matched with the prediction log");
                // Until the log ends, or the pause is over.
                self.progress.wait_written(u64::MAX, PAUSE);
            }
        }
    }

    fn is_wanted(&self) -> bool {
        self.shared.upgrade().is_some_and(|shared| !shared.ended.load(Ordering::Relaxed))
    }

    /// Reads on until the log ends, nobody asks any more, or reading fails.
    fn read(&mut self) -> Result<(), LogError> {
        let scope = Scope {
            lsns: Some((self.position + 1, self.history_end)),
            ts_us: Some((self.since_us, u64::MAX)),
            names_only: true,
            ..Scope::default()
        };
        if self.position < self.history_end {
            self.drain(&mut Log::open_scope(&self.data_dir, scope)?)?;
            self.position = self.history_end;
        }
        self.tell(self.history_end);
        let mut log = self.open()?;
        while self.is_wanted() && !self.progress.has_ended() {
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
        let lsns = Some((self.position + 1, u64::MAX));
        Log::open_scope(&self.data_dir, Scope { lsns, names_only: true, ..Scope::default() })
    }

    /// Reads what there is.
    fn drain(&mut self, log: &mut Log) -> Result<(), LogError> {
        while let Some(item) = log.next_item()? {
            let Item::Row(row) = item else { continue };
            let Some(shared) = self.shared.upgrade() else { break };
            match &row.entry {
                Entry::Prediction(record) => shared.index.lock().saw_prediction(record),
                Entry::Feedback(record) => shared.index.lock().saw_feedback(record),
                Entry::Gap(_) => {}
            }
            self.position = self.position.max(row.lsn);
        }
        Ok(())
    }

    /// Says up to which row everything is known.
    fn tell(&self, lsn: u64) {
        if let Some(shared) = self.shared.upgrade() {
            shared.seen.send_replace(Some(lsn));
        }
    }
}
