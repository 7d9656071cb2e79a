//! The prediction log in the process: what belongs to it is opened, and closed, together and in order.
//!
//! Owns the recorder, the sinks and the compactor. At the end, the log is closed first, then becomes
//! Parquet files, and then is delivered, each within a limit; what is left is done at the next start.

use std::sync::Arc;
use std::time::Duration;

use super::{LOG_DIR, StartError};
use crate::domain::spec::Intent;
use crate::prediction_log::parquet::{Compactor, parquet_dir};
use crate::prediction_log::{LogPlace, Recorder, Sinks};

/// How long the end of the process may wait for segments to become Parquet files.
const PARQUET_LIMIT: Duration = Duration::from_secs(5);
/// How long the sinks may take for their last attempt when the process ends.
const LAST_DELIVERY: Duration = Duration::from_secs(3);

/// The log and the threads that live on it.
pub(super) struct Log {
    pub(super) recorder: Arc<Recorder>,
    pub(super) sinks: Arc<Sinks>,
    /// `None` where no Parquet files are written.
    pub(super) compactor: Option<Arc<Compactor>>,
}

impl Log {
    /// Opens the log below `data_dir` and starts its threads.
    pub(super) fn open(intent: &Intent, workers: usize) -> Result<Self, StartError> {
        let log_dir = intent.data_dir.join(LOG_DIR);
        let recorder = if intent.records() {
            Recorder::open(&log_dir, &intent.node, workers, &intent.log).map_err(StartError::Log)?
        } else {
            Recorder::off()
        };
        let recorder = Arc::new(recorder);
        let parquet_dir = intent.log.parquet.enabled.then(|| parquet_dir(&intent.data_dir));
        let place =
            LogPlace { log_dir: &log_dir, parquet_dir: parquet_dir.as_deref(), node: &intent.node };
        let sinks = Sinks::start(&intent.sinks, &recorder, place).map_err(StartError::Sink)?;
        let compactor =
            Compactor::start(&recorder, &intent.data_dir, &intent.log, sinks.merge_limit())
                .map_err(StartError::Parquet)?;
        sinks.say_what_is_gone(&recorder);
        Ok(Self { recorder, sinks: Arc::new(sinks), compactor: compactor.map(Arc::new) })
    }

    /// Writes what waits and ends the threads.
    pub(super) fn close(&self) {
        let stats = self.recorder.close();
        if let Some(compactor) = &self.compactor {
            compactor.finish(PARQUET_LIMIT);
        }
        self.sinks.stop(LAST_DELIVERY);
        tracing::info!(
            received = stats.received,
            written = stats.written,
            dropped = stats.dropped.total(),
            "the prediction log is flushed"
        );
    }
}
