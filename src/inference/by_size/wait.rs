//! Waiting for a plan without a thread, or with one.
//!
//! Owns what a request has of plans when it runs, and what it is told where there is none. Never has anything made.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::Thread;
use std::time::Instant;

use tokio::sync::oneshot;

use super::orders::Made;
use crate::inference::plans::Plans;
use crate::inference::shapes::Sizes;

/// The plan that a request needs beside those that are always there, which may give way to others before it runs.
#[derive(Debug, Clone, Default)]
pub struct Held(Option<(Sizes, Arc<Plans>)>);

impl Held {
    pub(super) const fn new(sizes: Sizes, plans: Arc<Plans>) -> Self {
        Self(Some((sizes, plans)))
    }

    /// The plan for `sizes`, if it is that.
    pub(super) fn of(&self, sizes: &Sizes) -> Option<&Arc<Plans>> {
        let (of, plans) = self.0.as_ref()?;
        (of == sizes).then_some(plans)
    }
}

/// Whether a request can run.
#[derive(Debug)]
pub(in crate::inference) enum Secured {
    /// It can.
    Held(Held),
    /// It can when its plan is there.
    Wait(PlanWait),
}

/// Why a request gets no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unplanned {
    /// There can be none for its sizes.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// As many requests as may wait for plans of the model do.
    #[error("too many requests wait for plans for their sizes")]
    Crowded,
    /// It was not made in time.
    #[error("the plan for its sizes was not made")]
    Gone,
}

/// A plan to come. Dropping it gives it up.
#[derive(Debug)]
#[must_use = "a plan that nobody awaits is not made"]
pub struct PlanWait {
    sizes: Sizes,
    made: oneshot::Receiver<Made<Arc<Plans>>>,
}

impl PlanWait {
    pub(super) const fn new(sizes: Sizes, made: oneshot::Receiver<Made<Arc<Plans>>>) -> Self {
        Self { sizes, made }
    }
}

impl Future for PlanWait {
    type Output = Result<Held, Unplanned>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.made).poll(cx)) {
            Ok(Ok(plans)) => Ok(Held::new(self.sizes.clone(), plans)),
            Ok(Err(reason)) => Err(Unplanned::Refused { reason }),
            Err(_closed) => Err(Unplanned::Gone),
        })
    }
}

/// Has this thread wait until then for what another one makes; `None` where that has given it up, or takes longer.
pub(super) fn here<T>(mut made: oneshot::Receiver<T>, until: Instant) -> Option<T> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(made) = Pin::new(&mut made).poll(&mut cx) {
            return made.ok();
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::park_timeout(left);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
