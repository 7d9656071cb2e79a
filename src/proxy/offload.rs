//! Work on long bodies, off the workers.
//!
//! Owns the threads that inflate, read and write bodies so long that the other connections of a worker
//! would have to wait, and the bound on what waits for them. The threads are not those of the executor,
//! so that a body never waits for a slow model. Never knows what the work is.

use bytes::Bytes;

use super::coding::{Coding, inflate};
use super::exchange::{Exchange, micros};
use super::problem::{Cause, Problem};
use crate::inference::{Executor, ExecutorError, ExecutorStats, Lane, LaneLimits, Pending};

/// The longest body that is read or written anew on a worker: at some nanoseconds a byte of JSON, a tenth
/// of a millisecond. To hand a shorter one over and to be woken for its answer would take as long.
pub(super) const INLINE_BYTES_MAX: usize = 16 * 1024;

/// The most pieces of work that wait; what they are about is bounded by `limits.held_bodies`.
const QUEUE_MAX: usize = 1024;

/// The threads for long bodies.
#[derive(Debug)]
pub(super) struct Codec {
    executor: Executor,
    lane: Lane,
}

impl Codec {
    pub(super) fn new(executor: Executor) -> Self {
        let limits = LaneLimits { queue: QUEUE_MAX, concurrency: usize::MAX };
        Self { executor, lane: Lane::new(limits) }
    }

    pub(super) fn stats(&self) -> ExecutorStats {
        self.executor.stats()
    }
}

/// Has `work` done on another thread.
pub(super) async fn offload<T: Send + 'static>(
    exchange: &mut Exchange,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let codec = &exchange.context.worker.gateway.codec;
    let submitted = codec.executor.submit(&codec.lane, exchange.deadline(), work);
    let pending = submitted.map_err(|_full| {
        Problem::new(Cause::Overloaded, "too many long bodies wait to be read; try again")
    })?;
    outcome(exchange, pending, Cause::Panicked).await
}

/// The same for a body of `bytes`: a short one is worked on here.
pub(super) async fn offload_long<T: Send + 'static>(
    exchange: &mut Exchange,
    bytes: usize,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if bytes <= INLINE_BYTES_MAX { work() } else { offload(exchange, work).await }
}

/// A body as it was before it was compressed.
pub(super) async fn inflated(
    exchange: &mut Exchange,
    coding: Coding,
    body: Bytes,
) -> Result<Bytes, Problem> {
    let limit = exchange.context.worker.gateway.limits.body;
    // How long it becomes is not known before it is there.
    let short = limit.min(INLINE_BYTES_MAX as u64);
    if body.len() <= INLINE_BYTES_MAX {
        match inflate(coding, &body, short) {
            Err(problem) if problem.cause == Cause::BodyTooLarge && short < limit => {}
            inflated => return inflated,
        }
    }
    offload(exchange, move || inflate(coding, &body, limit)).await
}

/// Waits for what a thread makes of something; `panicked` is what a panic counts as.
pub(super) async fn outcome<T>(
    exchange: &mut Exchange,
    pending: Pending<Result<T, Problem>>,
    panicked: Cause,
) -> Result<T, Problem> {
    let deadline = exchange.deadline();
    let Ok(answer) = exchange.context.clock.within(deadline, pending).await else {
        return Err(exchange.overdue(Cause::QueueTimeout));
    };
    match answer {
        Ok(answer) => {
            let latency = exchange.latency();
            let waited = latency.t_queue.unwrap_or(0).saturating_add(micros(answer.waited));
            latency.t_queue = Some(waited);
            answer.value
        }
        Err(ExecutorError::Expired { .. }) => {
            Err(Problem::new(Cause::QueueTimeout, "the time in the queue ran out"))
        }
        Err(error @ ExecutorError::Panicked { .. }) => {
            Err(Problem::new(panicked, error.to_string()))
        }
        Err(error) => Err(Problem::new(Cause::QueueFull, error.to_string())),
    }
}
