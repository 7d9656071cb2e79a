//! The thread that reads the prediction log for labels.
//!
//! Owns when it begins: once the versions are described, because how a body is read depends on that. Owns, too, where
//! it begins: after the last row of the checkpoint, or as far back as windows are kept; and when a checkpoint is written.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Shared;
use super::checkpoint::Checkpoint;
use crate::domain::record::Entry;
use crate::monitor::Monitor;
use crate::monitor::about::About;
use crate::monitor::observe::Versions;
use crate::prediction_log::{LogFollower, Progress, Row, Start, follow};

/// How often it is looked whether the versions are described.
const LOOK: Duration = Duration::from_millis(20);

/// How often a checkpoint is written. What came after the last one is read from the log again after a crash.
const EVERY: Duration = Duration::from_secs(300);
/// After so many rows it is looked whether one is due, while much is read.
const ROWS: u64 = 16_384;

/// Starts the thread.
pub(super) fn start(
    shared: Arc<Shared>,
    data_dir: &Path,
    progress: Arc<Progress>,
    monitor: &Monitor,
    checkpoint: Checkpoint,
) -> io::Result<JoinHandle<()>> {
    // Before anything is recorded: what the log holds beyond this was not there when the checkpoint was written.
    let ends = progress.written();
    let (versions, described) = (monitor.versions.clone(), Arc::clone(&monitor.described));
    let mut follower = Follower {
        shared,
        versions,
        described,
        checkpoint,
        position: 0,
        kept: 0,
        since: Instant::now(),
    };
    let data_dir = data_dir.to_owned();
    thread::Builder::new().name("quality".to_owned()).spawn(move || {
        while follower.waits_for_versions() && !progress.has_ended() {
            // Until the log ends, or it is time to look again.
            progress.wait_written(u64::MAX, LOOK);
        }
        let start = follower.resume(ends);
        follow(&data_dir, &progress, start, &mut follower);
        follower.keep();
    })
}

struct Follower {
    shared: Arc<Shared>,
    /// What is known about versions; `None` where nothing is monitored.
    versions: Option<Arc<Versions>>,
    /// They are described.
    described: Arc<AtomicBool>,
    checkpoint: Checkpoint,
    /// Every row up to this number is in the state.
    position: u64,
    /// The same of the last checkpoint, and when that was.
    kept: u64,
    since: Instant,
}

impl Follower {
    /// Takes what the last run has kept, if it is good; says where to go on.
    fn resume(&mut self, ends: u64) -> Start {
        let mut state = self.shared.state.lock();
        match self.checkpoint.read(ends) {
            Ok(Some(saved)) => {
                let position = saved.position;
                (self.position, self.kept) = (position, position);
                self.shared.resumed_after.store(position, Ordering::Relaxed);
                state.restore(saved);
                tracing::info!(after_lsn = position, "the join of labels goes on where it stopped");
                return Start { position, ..Start::default() };
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the checkpoint of labels is of no use: the log is read from the beginning");
            }
        }
        Start { since_us: state.reach_us(unix_us()), ..Start::default() }
    }

    /// Writes a checkpoint, if there is anything new.
    fn keep(&mut self) {
        self.since = Instant::now();
        if self.position == self.kept {
            return;
        }
        // Readers wait for this; the disk, they do not.
        let bytes = self.checkpoint.encode(&self.shared.state.lock().saved(self.position));
        let Some(bytes) = bytes else { return };
        match self.checkpoint.write(&bytes) {
            Ok(()) => self.kept = self.position,
            Err(error) => {
                tracing::warn!(%error, "a checkpoint of labels cannot be written; a restart reads more of the log");
            }
        }
    }

    fn keep_now_and_then(&mut self) {
        if self.since.elapsed() >= EVERY {
            self.keep();
        }
    }

    fn waits_for_versions(&self) -> bool {
        self.versions.is_some() && !self.described.load(Ordering::Acquire) && self.is_wanted()
    }

    /// What is known about a version; nothing about one that is not served any more.
    fn about(&self, model: &str, version: &str) -> Arc<About> {
        let found = self.versions.as_ref().and_then(|versions| versions.find(model, version));
        found.map(|version| version.about()).unwrap_or_default()
    }
}

impl LogFollower for Follower {
    fn name(&self) -> &'static str {
        "the join of labels"
    }

    fn is_wanted(&self) -> bool {
        !self.shared.ended.load(Ordering::Relaxed)
    }

    fn take(&mut self, row: &Row<'_>) {
        match &row.entry {
            Entry::Prediction(record) => {
                let decision = &record.decision;
                let about = self.about(decision.model, decision.model_version);
                self.shared.state.lock().prediction(record, &about, unix_us());
            }
            Entry::Feedback(record) => {
                self.shared.state.lock().feedback(row.lsn, record, unix_us());
            }
            Entry::Gap(_) => {}
        }
        self.position = row.lsn;
        if row.lsn.is_multiple_of(ROWS) {
            self.keep_now_and_then();
        }
    }

    fn reached(&mut self, lsn: u64) {
        self.shared.position.store(lsn, Ordering::Relaxed);
        let since = self.shared.state.lock().known_since();
        let since_ms = since.map_or(0, |minute| minute.start_us() / 1000);
        self.shared.known_since_ms.store(since_ms, Ordering::Relaxed);
        self.shared.caught_up.store(true, Ordering::Relaxed);
        self.position = self.position.max(lsn);
        self.keep_now_and_then();
    }
}

/// The time of the system clock, in microseconds since the Unix epoch.
pub(super) fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
