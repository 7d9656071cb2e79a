//! Running a version, wherever it is.
//!
//! Owns that one run at a time is under way, that it has a limit in time, that a version that hangs is not
//! asked again, and how many threads those that hang may take from the process. Never judges an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::remote::Remote;
use crate::inference::{InferError, LocalModel};
use crate::protocol::tensor::Tensor;

/// Runs in this process, of all versions together, that may be under way. The thread of one that hangs is never given
/// back, and it is looked at again and again: the rest of the process needs threads as well.
const RUNS_MAX: usize = 16;
static RUNS: Semaphore = Semaphore::const_new(RUNS_MAX);

/// A version that can be run.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) place: Place,
    /// How long one run may take.
    time: Duration,
    /// It did not come back from a run.
    hangs: bool,
}

/// Where it runs.
#[derive(Debug)]
pub(super) enum Place {
    Local(Arc<LocalModel>),
    Remote(Box<Remote>),
}

/// What a run gave.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    pub(super) outputs: Vec<Tensor>,
    pub(super) took: Duration,
}

/// Why a run gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RunError {
    /// The version does not take the row.
    #[error("{0}")]
    Refused(String),
    /// The version failed.
    #[error("{0}")]
    Failed(String),
    /// Nobody is there to answer, or all are busy: no fault of the version's content.
    #[error("{0}")]
    Unreachable(String),
    /// It takes too long.
    #[error("no answer within {:.1} s", .0.as_secs_f64())]
    Overdue(Duration),
}

impl Runner {
    pub(super) const fn new(place: Place, time: Duration) -> Self {
        Self { place, time, hangs: false }
    }

    /// How long one run may take.
    pub(super) const fn time(&self) -> Duration {
        self.time
    }

    /// Whether the version is in this process.
    pub(super) const fn is_local(&self) -> bool {
        matches!(self.place, Place::Local(_))
    }

    /// Runs one request; `wanted` names outputs where the dialect has no names of its own.
    pub(super) async fn run(
        &mut self,
        inputs: &[Tensor],
        wanted: &[&str],
    ) -> Result<Ran, RunError> {
        if self.hangs {
            return Err(RunError::Overdue(self.time));
        }
        let ran = match &mut self.place {
            Place::Local(model) => {
                run_here(Arc::clone(model), inputs.to_vec(), self.time, &RUNS).await
            }
            Place::Remote(remote) => remote.predict(inputs, wanted, self.time).await,
        };
        // A thread that hangs is never given back.
        self.hangs = self.is_local() && matches!(ran, Err(RunError::Overdue(_)));
        ran
    }
}

/// One run on a thread that may block. Where this is dropped, the run goes on to its end and its answer is lost.
pub(super) async fn run_here(
    model: Arc<LocalModel>,
    inputs: Vec<Tensor>,
    time: Duration,
    runs: &'static Semaphore,
) -> Result<Ran, RunError> {
    let Ok(permit) = runs.try_acquire() else {
        let why = "runs of models do not end, and have taken all threads that checks may take; restart the gateway";
        return Err(RunError::Unreachable(why.to_owned()));
    };
    let run = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let began = Instant::now();
        let outputs = model.infer(inputs, &[]);
        (outputs, began.elapsed())
    });
    let ran = tokio::time::timeout(time, run).await.map_err(|_elapsed| RunError::Overdue(time))?;
    let (outputs, took) = ran.map_err(|gone| RunError::Unreachable(gone.to_string()))?;
    match outputs {
        Ok(outputs) => Ok(Ran { outputs, took }),
        Err(error @ (InferError::Input(_) | InferError::TooLong { .. })) => {
            Err(RunError::Refused(error.to_string()))
        }
        Err(error @ (InferError::Model { .. } | InferError::Panicked { .. })) => {
            Err(RunError::Failed(error.to_string()))
        }
    }
}
