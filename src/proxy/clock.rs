//! The deadline and the phase of one client connection.
//!
//! Owns what the connection waits for and until when. One timer serves the whole connection: it is
//! armed only when a deadline comes earlier than it already stands, and looks again when it fires,
//! so that a request on a busy connection touches no timer at all.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Waiting for the first byte of a request.
    Idle = 0,
    /// A head is arriving.
    Head = 1,
    /// A request is being served.
    Exchange = 2,
    /// The end of a response is on its way to the socket.
    Flush = 3,
    /// Being closed, whatever comes.
    Closing = 4,
}

/// Shared by the parts of one connection, which all run in one task; the atomics only make it `Send`.
#[derive(Debug)]
pub(super) struct ConnClock {
    base: Instant,
    phase: AtomicU8,
    deadline_us: AtomicU64,
    head_began_us: AtomicU64,
    expired: AtomicBool,
    /// The gateway, not the client, ended the connection.
    cut: AtomicBool,
    /// No byte has come yet.
    fresh: AtomicBool,
    /// The body of the current request has not been read to its end.
    unread: AtomicBool,
}

/// A time limit passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expired;

impl ConnClock {
    pub(super) fn new(now: Instant, idle: Duration) -> Self {
        let clock = Self {
            base: now,
            phase: AtomicU8::new(Phase::Idle as u8),
            deadline_us: AtomicU64::new(0),
            head_began_us: AtomicU64::new(0),
            expired: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            fresh: AtomicBool::new(true),
            unread: AtomicBool::new(false),
        };
        clock.set(Phase::Idle, now + idle);
        clock
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Exchange,
            3 => Phase::Flush,
            _ => Phase::Closing,
        }
    }

    /// Enters a phase that must end before `deadline`.
    pub(super) fn set(&self, phase: Phase, deadline: Instant) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.set_deadline(deadline);
    }

    /// Moves the deadline of the current phase.
    pub(super) fn set_deadline(&self, deadline: Instant) {
        self.deadline_us.store(self.micros(deadline), Ordering::Relaxed);
        self.expired.store(false, Ordering::Relaxed);
    }

    /// Notes the first byte of a head.
    pub(super) fn begin_head(&self, now: Instant, limit: Duration) {
        self.head_began_us.store(self.micros(now), Ordering::Relaxed);
        self.fresh.store(false, Ordering::Relaxed);
        self.set(Phase::Head, now + limit);
    }

    /// When the first byte of the current head came; now for one that came with an earlier request.
    pub(super) fn head_began(&self) -> Instant {
        match self.phase() {
            Phase::Head => {
                self.base + Duration::from_micros(self.head_began_us.load(Ordering::Relaxed))
            }
            Phase::Idle | Phase::Exchange | Phase::Flush | Phase::Closing => Instant::now(),
        }
    }

    /// Whether no byte has come yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh.load(Ordering::Relaxed)
    }

    /// Notes whether there is more of the current request's body to read.
    pub(super) fn set_unread(&self, unread: bool) {
        self.unread.store(unread, Ordering::Relaxed);
    }

    /// Whether the body of the current request has not been read to its end.
    pub(super) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// Notes that the gateway ends the connection because its client does not read.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    pub(super) fn deadline(&self) -> Instant {
        self.base + Duration::from_micros(self.deadline_us.load(Ordering::Relaxed))
    }

    /// Marks the deadline as passed; whoever waits finds it at its next poll.
    pub(super) fn expire(&self) {
        self.expired.store(true, Ordering::Relaxed);
    }

    /// Whether the mark is set; clears it.
    pub(super) fn take_expired(&self) -> bool {
        self.expired.swap(false, Ordering::Relaxed)
    }

    /// Waits for `future` until `deadline`. Must run in the connection's task.
    pub(super) async fn within<F: Future>(
        &self,
        deadline: Instant,
        future: F,
    ) -> Result<F::Output, Expired> {
        self.set_deadline(deadline);
        let mut future = pin!(future);
        std::future::poll_fn(|cx| self.poll_within(cx, future.as_mut())).await
    }

    fn poll_within<F: Future>(
        &self,
        cx: &mut Context<'_>,
        future: Pin<&mut F>,
    ) -> Poll<Result<F::Output, Expired>> {
        match future.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending if self.take_expired() => Poll::Ready(Err(Expired)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_micros()).unwrap_or(u64::MAX)
    }
}
