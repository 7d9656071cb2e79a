//! Ground truth: predictions and the labels that come later, joined from the prediction log.
//!
//! Owns the one thread that reads the log for it, and what is known from it: the join store, and the quality of
//! each version. Both are a cache of the log, so that a restart reads it again and comes to the same numbers. Never
//! writes to the log, never touches a request, and costs nothing where no model has `labels`.
//!
//! ```text
//! the log ─▶ thread `quality` ─▶ State: join store ─▶ windows, detectors ─▶ QualityReader: admin API, /metrics
//! ```

mod answer;
mod follow;
mod ledger;
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

pub use self::report::{QualityStats, Query, ReportError, VersionStats};
use self::state::State;
use crate::domain::spec::Intent;
use crate::prediction_log::Recorder;

/// The join of labels in a process.
pub struct QualityMonitor {
    shared: Option<Arc<Shared>>,
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
    /// What was in the log at the start has been read.
    caught_up: AtomicBool,
    ended: AtomicBool,
}

impl QualityMonitor {
    /// Starts to read the log, if any model has labels.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(intent: &Intent, recorder: &Recorder) -> io::Result<Self> {
        let labelled = intent.models.iter();
        let labelled =
            labelled.filter_map(|(name, model)| Some((name.clone(), model.labels.clone()?)));
        let state = State::new(labelled, &intent.feedback);
        if !recorder.is_on() || state.models.is_empty() {
            return Ok(Self { shared: None, thread: Mutex::new(None) });
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            position: AtomicU64::new(0),
            caught_up: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let thread = follow::start(Arc::clone(&shared), &intent.data_dir, recorder.progress())?;
        Ok(Self { shared: Some(shared), thread: Mutex::new(Some(thread)) })
    }

    /// Reads what is known.
    pub fn reader(&self) -> QualityReader {
        QualityReader { shared: self.shared.clone() }
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
}

impl std::fmt::Debug for QualityReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QualityReader").field("on", &self.shared.is_some()).finish()
    }
}
