//! Threads for models that are too slow for a data-plane worker.
//!
//! Owns the threads, whose turn it is, and when a batch falls due. What waits is kept by the [`Lane`] of
//! its version, which bounds it; lanes that have something to run take turns, so that no model waits for
//! all of another's requests. A request whose deadline has passed or whose caller is gone is not started.
//! Never knows what a job computes, and never kills one that runs.
//!
//! ```text
//! submit ─► lane: jobs, rows by shape ─► turns ─► a thread: one job or one batch ─► Pending
//!                     └── due later ─► timers ──┘
//! ```

mod batch;
mod collector;
mod lane;
mod pending;

use std::cmp::{Ordering as Order, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

pub use self::batch::Ran;
pub use self::lane::{BATCH_BOUNDS, Lane, LaneLimits, LaneStats, QueueFull};
pub use self::pending::{Answer, ExecutorError, Pending};
use super::local_model::{InferError, Prepared};

/// A fixed number of threads and the lanes that wait for them.
#[derive(Debug)]
pub struct Executor {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Held for a few instructions at a time, once or twice a request that takes a model much longer.
    queue: Mutex<Queue>,
    work: Condvar,
    counters: Counters,
}

/// Each lane stands at most once among the turns, and its earliest timer among the timers.
#[derive(Debug, Default)]
struct Queue {
    turns: VecDeque<Lane>,
    timers: BinaryHeap<Reverse<Timer>>,
    closed: bool,
}

/// When a lane has a ripe batch.
#[derive(Debug)]
struct Timer {
    due: Instant,
    lane: Lane,
}

#[derive(Debug, Default)]
struct Counters {
    queued: AtomicUsize,
    running: AtomicUsize,
    finished: AtomicU64,
    refused: AtomicU64,
    expired: AtomicU64,
    abandoned: AtomicU64,
    panicked: AtomicU64,
}

/// What the executor is doing and has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExecutorStats {
    /// Requests that wait.
    pub queued: usize,
    /// Requests that run.
    pub running: usize,
    /// Requests that ran to their end.
    pub finished: u64,
    /// Requests that found their lane full.
    pub refused: u64,
    /// Requests whose deadline passed while they waited.
    pub expired: u64,
    /// Requests whose caller was gone before they started.
    pub abandoned: u64,
    /// Requests that panicked.
    pub panicked: u64,
}

impl Executor {
    /// Starts `threads` threads, at least one.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn new(threads: usize) -> io::Result<Self> {
        Self::named("infer", threads)
    }

    /// The same, with another name for its threads.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn named(name: &str, threads: usize) -> io::Result<Self> {
        let executor = Self { shared: Arc::default(), threads: Mutex::default() };
        for number in 0..threads.max(1) {
            let shared = Arc::clone(&executor.shared);
            let thread = std::thread::Builder::new().name(format!("{name}-{number}"));
            executor.threads.lock().push(thread.spawn(move || shared.work())?);
        }
        Ok(executor)
    }

    /// Queues `job`, which is started before `deadline` or not at all. Never blocks.
    ///
    /// # Errors
    /// When `lane` is full.
    pub fn submit<T: Send + 'static>(
        &self,
        lane: &Lane,
        deadline: Instant,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Pending<T>, QueueFull> {
        let (task, pending) = pending::job(deadline, job);
        lane.push_job(task, &self.shared)?;
        Ok(pending)
    }

    /// Queues `prepared` to be run together with what else waits in the lane and fits, and hands the
    /// outcome to `finish` on an executor thread. What fails together is run again one by one, so that
    /// one caller's input never fails another's. Never blocks.
    ///
    /// # Errors
    /// When `lane` is full.
    pub fn submit_rows<T: Send + 'static>(
        &self,
        lane: &Lane,
        deadline: Instant,
        prepared: Prepared,
        finish: impl FnOnce(Result<Ran, InferError>) -> T + Send + 'static,
    ) -> Result<Pending<T>, QueueFull> {
        let (reply, pending) = pending::reply(deadline, finish);
        lane.push_rows(prepared, reply, &self.shared)?;
        Ok(pending)
    }

    /// What the executor is doing and has done.
    pub fn stats(&self) -> ExecutorStats {
        let counters = &self.shared.counters;
        ExecutorStats {
            queued: counters.queued.load(Relaxed),
            running: counters.running.load(Relaxed),
            finished: counters.finished.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            expired: counters.expired.load(Relaxed),
            abandoned: counters.abandoned.load(Relaxed),
            panicked: counters.panicked.load(Relaxed),
        }
    }

    /// Discards what waits, whose callers read [`ExecutorError::Closed`], and returns when what runs has
    /// ended.
    pub fn close(&self) {
        self.shared.close();
        let threads = std::mem::take(&mut *self.threads.lock());
        let here = std::thread::current().id();
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != here) {
            // Its panics were contained in the job that caused them.
            drop(thread.join());
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Gives `lane` a turn as soon as a thread is free.
    fn turn(&self, lane: Lane) {
        let mut queue = self.queue.lock();
        if queue.closed {
            drop(queue);
            lane.discard(&self.counters);
            return;
        }
        queue.turns.push_back(lane);
        drop(queue);
        self.work.notify_one();
    }

    /// Gives `lane` a turn at `due`.
    fn turn_at(&self, due: Instant, lane: Lane) {
        let mut queue = self.queue.lock();
        if queue.closed {
            drop(queue);
            lane.discard(&self.counters);
            return;
        }
        queue.timers.push(Reverse(Timer { due, lane }));
        drop(queue);
        // Whoever waits for a later timer waits anew.
        self.work.notify_one();
    }

    fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        let turns = std::mem::take(&mut queue.turns);
        let timers = std::mem::take(&mut queue.timers);
        drop(queue);
        let timed = timers.into_iter().map(|Reverse(timer)| timer.lane);
        turns.into_iter().chain(timed).for_each(|lane| lane.discard(&self.counters));
        self.work.notify_all();
    }

    /// Gives lanes their turns until the executor is closed: the body of each thread.
    fn work(&self) {
        let mut queue = self.queue.lock();
        loop {
            let now = Instant::now();
            while queue.timers.peek().is_some_and(|Reverse(timer)| timer.due <= now) {
                if let Some(Reverse(timer)) = queue.timers.pop() {
                    queue.turns.push_back(timer.lane);
                }
            }
            if let Some(lane) = queue.turns.pop_front() {
                let more = !queue.turns.is_empty();
                drop(queue);
                if more {
                    self.work.notify_one();
                }
                lane.take_turn(self);
                queue = self.queue.lock();
            } else if queue.closed {
                return;
            } else if let Some(due) = queue.timers.peek().map(|Reverse(timer)| timer.due) {
                // Waking early or for another's turn is as good as waking in time.
                let _timed_out = self.work.wait_until(&mut queue, due);
            } else {
                self.work.wait(&mut queue);
            }
        }
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> Order {
        self.due.cmp(&other.due)
    }
}

#[cfg(test)]
mod tests;
