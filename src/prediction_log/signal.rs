//! How the workers and the writer thread wake each other as rarely as possible.
//!
//! Owns the writer's state: a worker makes a system call only when the writer sleeps without a time
//! limit, or when so much waits that it should not finish its pause. Never holds a lock.
//!
//! ```text
//! BUSY ──nothing waits──► IDLE ──first record, or time──► BUSY
//! BUSY ──collecting──► GATHERING ──time, much waits, or a client waits──► BUSY
//! BUSY ──after a failure──► PAUSED ──time, or a client waits──► BUSY
//! BUSY ──sparing the disk──► RESTING ──time, or much waits──► BUSY
//! ```
//!
//! Both sides use sequentially consistent order: a worker publishes its record and then reads the
//! state; the writer sets the state and then looks for records. One of them sees the other.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::{self, Thread};
use std::time::Instant;

const BUSY: u8 = 0;
const IDLE: u8 = 1;
const GATHERING: u8 = 2;
const RESTING: u8 = 3;
const PAUSED: u8 = 4;

/// The writer's state as the workers see it.
#[derive(Debug)]
pub(super) struct Signal {
    state: AtomicU8,
    closing: AtomicBool,
    writer: OnceLock<Thread>,
    /// Waiting bytes from which on gathering ends early.
    enough_bytes: usize,
}

impl Signal {
    pub(super) fn new(enough_bytes: usize) -> Self {
        Self {
            state: AtomicU8::new(BUSY),
            closing: AtomicBool::new(false),
            writer: OnceLock::new(),
            enough_bytes,
        }
    }

    /// Tells the writer, if it has to know, that a record was published; `waiting_bytes` wait, and a
    /// client does if it is `urgent`.
    #[inline]
    pub(super) fn offered(&self, waiting_bytes: usize, urgent: bool) {
        let enough = waiting_bytes >= self.enough_bytes;
        match self.state.load(Ordering::SeqCst) {
            IDLE => self.rouse(IDLE),
            GATHERING if urgent || enough => self.rouse(GATHERING),
            RESTING if enough => self.rouse(RESTING),
            PAUSED if urgent => self.rouse(PAUSED),
            _ => {}
        }
    }

    /// Wakes a writer that sleeps for want of work: something other than a record waits for it.
    pub(super) fn nudge(&self) {
        self.offered(0, true);
    }

    /// Ends all waiting, now and later.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.state.store(BUSY, Ordering::SeqCst);
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Whether the log is being closed.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Makes the calling thread the one that is woken.
    pub(super) fn attach(&self) {
        self.writer.get_or_init(thread::current);
    }

    /// Sleeps until a record is published or the deadline is over, unless `pending` says that there
    /// is something to do.
    pub(super) fn idle(&self, deadline: Option<Instant>, pending: impl Fn() -> bool) {
        self.state.store(IDLE, Ordering::SeqCst);
        if !pending() && !self.is_closing() {
            while self.state.load(Ordering::SeqCst) == IDLE {
                match deadline {
                    None => thread::park(),
                    Some(deadline) if self.sleep(deadline) => {}
                    Some(_) => break,
                }
            }
        }
        self.state.store(BUSY, Ordering::SeqCst);
    }

    /// Lets records gather until `deadline`, until `enough` says so, or until a client waits.
    pub(super) fn gather(&self, deadline: Instant, enough: impl Fn(usize) -> bool) {
        self.sleep_as(GATHERING, deadline, enough);
    }

    /// Lets records gather until `deadline` or until `enough` says so, even if clients wait.
    pub(super) fn rest(&self, deadline: Instant, enough: impl Fn(usize) -> bool) {
        self.sleep_as(RESTING, deadline, enough);
    }

    /// Sleeps until `deadline` or until a client waits, however much is published.
    pub(super) fn pause(&self, deadline: Instant, urgent: impl Fn() -> bool) {
        while Instant::now() < deadline && !urgent() && !self.is_closing() {
            self.sleep_as(PAUSED, deadline, |_| urgent());
        }
    }

    fn sleep_as(&self, state: u8, deadline: Instant, enough: impl Fn(usize) -> bool) {
        self.state.store(state, Ordering::SeqCst);
        if !enough(self.enough_bytes) {
            while self.state.load(Ordering::SeqCst) == state && self.sleep(deadline) {}
        }
        self.state.store(BUSY, Ordering::SeqCst);
    }

    /// Sleeps once; false when the time is over or the log is being closed.
    fn sleep(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || self.is_closing() {
            return false;
        }
        thread::park_timeout(left);
        true
    }

    #[cold]
    fn rouse(&self, from: u8) {
        let roused = self.state.compare_exchange(from, BUSY, Ordering::SeqCst, Ordering::SeqCst);
        if let (Ok(_), Some(writer)) = (roused, self.writer.get()) {
            writer.unpark();
        }
    }
}
