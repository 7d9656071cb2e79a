//! Ground truth: predictions and the labels that come later, joined from the prediction log.
//!
//! Owns the one thread that reads the log for it, and what is known from it: the join store, and the quality of
//! each version. Both are a cache of the log, of which a checkpoint is written now and then: a restart reads the log on from
//! there and comes to the same numbers. Never writes to the log, never touches a request, and costs nothing where no model has `labels`.
//!
//! ```text
//! the log ─▶ thread `quality` ─▶ State: join store ─▶ windows, detectors ─▶ QualityReader: admin API, /metrics
//! ```

mod answer;
mod checkpoint;
mod follow;
mod ledger;
mod look;
mod mature;
mod report;
mod series;
mod state;
mod store;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use self::checkpoint::Checkpoint;
pub use self::look::{ErrorChange, LabelFates, Matured};
pub use self::report::{QualityStats, Query, ReportError, VersionStats};
use self::state::State;
use super::{Monitor, MonitorReader, Places};
use crate::domain::spec::Intent;
use crate::prediction_log::Recorder;

/// The join of labels in a process.
pub struct QualityMonitor {
    shared: Option<Arc<Shared>>,
    /// The baselines of versions, for what their scores let expect.
    baselines: MonitorReader,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for QualityMonitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QualityMonitor").field("on", &self.shared.is_some()).finish_non_exhaustive()
    }
}

/// What the thread and readers share.
struct Shared {
    /// Held for a row at a time, and for a report; no worker ever takes it.
    state: Mutex<State>,
    /// Every row up to this number is in the state.
    position: AtomicU64,
    /// The row after which it went on from a checkpoint; 0 for none.
    resumed_after: AtomicU64,
    /// Predictions that were made before this are not joined any more, in milliseconds since the Unix epoch: there was no
    /// memory for them. 0 where none went before its time.
    known_since_ms: Arc<AtomicU64>,
    /// What was in the log at the start has been read.
    caught_up: AtomicBool,
    ended: AtomicBool,
}

impl QualityMonitor {
    /// Starts to read the log, if any model has labels; the versions are those that `monitor` knows.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(intent: &Intent, recorder: &Recorder, monitor: &Monitor) -> io::Result<Self> {
        let labelled = intent.models.iter();
        let labelled =
            labelled.filter_map(|(name, model)| Some((name.clone(), model.labels.clone()?)));
        let state = State::new(labelled, &intent.feedback);
        let baselines = monitor.reader();
        let places = Places { data_dir: intent.data_dir.clone(), log: None };
        let specs = state.models.iter().map(|model| (&model.name, &model.spec));
        let checkpoint = Checkpoint::new(&places.state(), specs, state.window_us);
        if !recorder.is_on() || state.models.is_empty() {
            checkpoint.remove();
            return Ok(Self { shared: None, baselines, thread: Mutex::new(None) });
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            position: AtomicU64::new(0),
            resumed_after: AtomicU64::new(0),
            known_since_ms: Arc::default(),
            caught_up: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let (own, progress) = (Arc::clone(&shared), recorder.progress());
        let thread = follow::start(own, &intent.data_dir, progress, monitor, checkpoint)?;
        Ok(Self { shared: Some(shared), baselines, thread: Mutex::new(Some(thread)) })
    }

    /// Reads what is known.
    pub fn reader(&self) -> QualityReader {
        QualityReader { shared: self.shared.clone(), baselines: self.baselines.clone() }
    }

    /// Before when predictions are not joined any more for want of memory, in milliseconds since the Unix epoch, as it
    /// is from moment to moment; `None` where no labels are joined.
    pub fn known_since_ms(&self) -> Option<Arc<AtomicU64>> {
        Some(Arc::clone(&self.shared.as_ref()?.known_since_ms))
    }

    /// Ends the thread. The recorder must be closed, or nobody wakes it for half a second.
    pub fn close(&self) {
        if let Some(shared) = &self.shared {
            shared.ended.store(true, Ordering::Relaxed);
        }
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that joins labels panicked");
        }
    }
}

/// Reads what is known about the quality of predictions.
#[derive(Clone)]
pub struct QualityReader {
    shared: Option<Arc<Shared>>,
    baselines: MonitorReader,
}

impl QualityReader {
    /// Where no labels are joined.
    pub fn without_labels(baselines: MonitorReader) -> Self {
        Self { shared: None, baselines }
    }
}

impl std::fmt::Debug for QualityReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QualityReader").field("on", &self.shared.is_some()).finish()
    }
}
