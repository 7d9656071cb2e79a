//! One stream: the task that serves it, under the clock of its exchange.
//!
//! Owns the limit in time on a stream, also while nothing polls its body because the client takes
//! nothing. Dropping the task resets the stream.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::time::Sleep;

use super::state::ConnState;
use crate::proxy::clock::{ConnClock, Phase};

/// Starts the tasks of one connection's streams.
#[derive(Clone)]
pub(super) struct Streams {
    state: Arc<ConnState>,
    /// The clock of the stream whose task is started next: the machinery asks for the exchange and
    /// starts its task in one go. Only the connection's own task touches it.
    next: Arc<Mutex<Option<Arc<ConnClock>>>>,
}

impl Streams {
    pub(super) fn new(state: Arc<ConnState>) -> Self {
        Self { state, next: Arc::new(Mutex::new(None)) }
    }

    /// Says which clock the next task has.
    pub(super) fn announce(&self, clock: Arc<ConnClock>) {
        *self.next.lock() = Some(clock);
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        let Some(clock) = self.next.lock().take() else {
            // Not a stream of ours: the second half of a CONNECT, which is refused.
            tokio::spawn(future);
            return;
        };
        self.state.enter();
        let armed = clock.deadline();
        tokio::spawn(StreamTask {
            future: Box::pin(future),
            timer: Box::pin(tokio::time::sleep_until(armed.into())),
            armed,
            clock,
            _open: Open(Arc::clone(&self.state)),
        });
    }
}

/// Counts an open stream.
struct Open(Arc<ConnState>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A stream and its clock.
struct StreamTask<F> {
    future: Pin<Box<F>>,
    timer: Pin<Box<Sleep>>,
    armed: Instant,
    clock: Arc<ConnClock>,
    _open: Open,
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            if this.future.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let deadline = this.clock.deadline();
            if deadline < this.armed {
                this.arm(deadline);
            }
            ready!(this.timer.as_mut().poll(cx));
            if deadline <= Instant::now() {
                let waits = this.clock.phase() == Phase::Exchange;
                if waits {
                    this.clock.expire();
                    if this.future.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(());
                    }
                }
                // A mark that is still there: nobody is waiting but the client's own window.
                if !waits || this.clock.take_expired() {
                    this.clock.cut();
                    return Poll::Ready(());
                }
            }
            this.arm(this.clock.deadline());
        }
    }
}

impl<F> StreamTask<F> {
    fn arm(&mut self, deadline: Instant) {
        self.armed = deadline;
        self.timer.as_mut().reset(deadline.into());
    }
}
