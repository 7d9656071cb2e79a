//! The monitor: what happens to each version, window by window.
//!
//! Owns the counts that workers keep, the thread that gathers them, and the windows that are kept, and the
//! join of labels with predictions ([`QualityMonitor`]). Never
//! blocks a worker, and never decides what the counts mean: that is `domain::stats`.
//!
//! ```text
//! worker ─▶ its shard of the minute ─┐  (a lock that only the gatherer's swap contends)
//! worker ─▶ its shard of the minute ─┼─▶ thread `monitor` ─▶ store: minutes, hours, days ─▶ readers
//! worker ─▶ its shard of the minute ─┘        └─▶ followers, once a minute is closed
//! ```
//!
//! A window is keyed by the minute in which an exchange ended. Both numbers that say so stand in its
//! record, so that the prediction log gives the same windows.

mod feedback;
mod gather;
mod observe;
mod store;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

pub use self::feedback::{
    QualityMonitor, QualityReader, QualityStats, Query as QualityQuery, ReportError, VersionStats,
};
pub use self::gather::Follower;
use self::gather::Gatherer;
use self::observe::Versions;
pub use self::observe::{Observation, VersionMonitor};
use self::store::Store;
pub use self::store::{MonitorReader, MonitorStats, VersionKey};
use crate::domain::routing::TargetKind;
use crate::domain::spec::Intent;

/// The monitor of a process.
#[derive(Debug)]
pub struct Monitor {
    /// Absent where nothing is monitored.
    versions: Option<Arc<Versions>>,
    store: Arc<Store>,
    thread: Mutex<Option<(SyncSender<()>, JoinHandle<()>)>>,
}

impl Monitor {
    /// A monitor for `workers` recorders; its thread starts with [`Self::start`].
    pub fn new(intent: &Intent, workers: usize) -> Self {
        let versions = intent.monitor.enabled.then(|| Arc::new(Versions::new(intent, workers)));
        let store = Arc::new(Store::new(intent.monitor.memory));
        Self { versions, store, thread: Mutex::new(None) }
    }

    /// Starts the thread. `followers` are told of every minute that is closed.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(&self, followers: Vec<Box<dyn Follower>>) -> io::Result<()> {
        let Some(versions) = &self.versions else { return Ok(()) };
        let gatherer = Gatherer::new(Arc::clone(versions), Arc::clone(&self.store), followers);
        let (ended, end) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("monitor".to_owned())
            .spawn(move || gatherer.run(&end))?;
        *self.thread.lock() = Some((ended, thread));
        Ok(())
    }

    /// What workers record into for a target; `None` for what is not monitored.
    pub fn version(&self, kind: &TargetKind) -> Option<Arc<VersionMonitor>> {
        self.versions.as_ref()?.version(kind)
    }

    /// Reads what was counted.
    pub fn reader(&self) -> MonitorReader {
        MonitorReader::new(Arc::clone(&self.store))
    }

    /// Gathers what was counted so far and ends the thread. Workers must have ended.
    pub fn close(&self) {
        let Some((ended, thread)) = self.thread.lock().take() else { return };
        drop(ended);
        if thread.join().is_err() {
            tracing::error!("the monitor's thread panicked");
        }
    }
}
