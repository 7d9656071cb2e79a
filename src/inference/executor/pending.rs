//! The result of a request to come, and the other end of it.
//!
//! Owns the way back to the caller: whether it is still there, and what it reads when its request was
//! not run.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Counters;
use crate::inference::contained;

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<T> {
    /// The result.
    pub value: T,
    /// How long the request waited for a thread, and for others to run with.
    pub waited: Duration,
}

/// A request that gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecutorError {
    /// Its deadline passed before a thread was free.
    #[error("the deadline passed after {waited:?} in the queue")]
    Expired {
        /// How long it waited.
        waited: Duration,
    },
    /// It panicked.
    #[error("the job panicked: {reason}")]
    Panicked {
        /// The message of the panic.
        reason: String,
    },
    /// The executor is closed.
    #[error("the executor is closed")]
    Closed,
}

/// The result of a request to come. Dropping it takes the request out of the running, if it has not
/// started.
#[derive(Debug)]
#[must_use = "a request whose result nobody awaits is not started"]
pub struct Pending<T>(oneshot::Receiver<Result<Answer<T>, ExecutorError>>);

impl<T> Future for Pending<T> {
    type Output = Result<Answer<T>, ExecutorError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let received = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(received.unwrap_or(Err(ExecutorError::Closed)))
    }
}

/// The other end: something that wants `I` to make a result of it. Dropping it tells the caller that the
/// executor is closed.
pub(super) struct Reply<I> {
    deadline: Instant,
    submitted: Instant,
    way: Box<dyn Way<I>>,
}

/// A job that needs nothing to run.
pub(super) type Job = Reply<()>;

/// Makes a reply that hands its input to `finish`.
pub(super) fn reply<I, T: Send + 'static>(
    deadline: Instant,
    finish: impl FnOnce(I) -> T + Send + 'static,
) -> (Reply<I>, Pending<T>) {
    let (sender, receiver) = oneshot::channel();
    let way = Box::new(Sender { sender, finish });
    (Reply { deadline, submitted: Instant::now(), way }, Pending(receiver))
}

/// Makes a reply of a job.
pub(super) fn job<T: Send + 'static>(
    deadline: Instant,
    job: impl FnOnce() -> T + Send + 'static,
) -> (Job, Pending<T>) {
    reply(deadline, move |()| job())
}

impl<I> Reply<I> {
    pub(super) const fn submitted(&self) -> Instant {
        self.submitted
    }

    /// Gives itself back if it is still wanted at `now`. Counts what is not, and answers it.
    pub(super) fn admit(self, now: Instant, counters: &Counters) -> Option<Self> {
        counters.queued.fetch_sub(1, Relaxed);
        if self.way.is_gone() {
            counters.abandoned.fetch_add(1, Relaxed);
            return None;
        }
        if now >= self.deadline {
            counters.expired.fetch_add(1, Relaxed);
            let waited = now.saturating_duration_since(self.submitted);
            self.way.refuse(ExecutorError::Expired { waited });
            return None;
        }
        Some(self)
    }

    /// Makes the result of `input` and hands it over; `started` says when the wait was over.
    pub(super) fn finish(self, input: I, started: Instant, counters: &Counters) {
        let waited = started.saturating_duration_since(self.submitted);
        let well = self.way.finish(input, waited);
        let counter = if well { &counters.finished } else { &counters.panicked };
        counter.fetch_add(1, Relaxed);
    }
}

/// A reply without the type of its result.
trait Way<I>: Send {
    fn is_gone(&self) -> bool;
    fn refuse(self: Box<Self>, error: ExecutorError);
    /// Whether there was no panic.
    fn finish(self: Box<Self>, input: I, waited: Duration) -> bool;
}

struct Sender<T, F> {
    sender: oneshot::Sender<Result<Answer<T>, ExecutorError>>,
    finish: F,
}

impl<I, T: Send, F: FnOnce(I) -> T + Send> Way<I> for Sender<T, F> {
    fn is_gone(&self) -> bool {
        self.sender.is_closed()
    }

    fn refuse(self: Box<Self>, error: ExecutorError) {
        // The caller may have gone in the meantime.
        drop(self.sender.send(Err(error)));
    }

    fn finish(self: Box<Self>, input: I, waited: Duration) -> bool {
        let Self { sender, finish } = *self;
        let result = contained(|| finish(input))
            .map(|value| Answer { value, waited })
            .map_err(|reason| ExecutorError::Panicked { reason });
        let well = result.is_ok();
        // The caller may have gone in the meantime; its result is then of no use.
        drop(sender.send(result));
        well
    }
}
