//! Threads for models that are too slow for a data-plane worker.
//!
//! Owns the threads and the one queue before them. Each model brings its own bound on how many of its
//! jobs may wait; a job whose deadline has passed or whose caller is gone is not started. Never knows
//! what a job computes, and never kills one that runs.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::contained;

/// A fixed number of threads and the jobs that wait for them.
#[derive(Debug)]
pub struct Executor {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    counters: Counters,
}

/// A job that counts how it ended.
type Job = Box<dyn FnOnce(&Counters) + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
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
    /// Jobs that wait.
    pub queued: usize,
    /// Jobs that run.
    pub running: usize,
    /// Jobs that ran to their end.
    pub finished: u64,
    /// Jobs that found their model's queue full.
    pub refused: u64,
    /// Jobs whose deadline passed while they waited.
    pub expired: u64,
    /// Jobs whose caller was gone before they started.
    pub abandoned: u64,
    /// Jobs that panicked.
    pub panicked: u64,
}

/// How many jobs of one model may wait. Clones share the bound.
#[derive(Debug, Clone)]
pub struct QueueLimit(Arc<Waiting>);

#[derive(Debug)]
struct Waiting {
    max: usize,
    now: AtomicUsize,
}

impl QueueLimit {
    /// At most `max` jobs wait; 0 refuses every job.
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Waiting { max, now: AtomicUsize::new(0) }))
    }

    /// The jobs that wait.
    pub fn waiting(&self) -> usize {
        self.0.now.load(Relaxed)
    }

    fn enter(&self) -> Result<Place, QueueFull> {
        let free = |now: usize| (now < self.0.max).then_some(now + 1);
        match self.0.now.fetch_update(Relaxed, Relaxed, free) {
            Ok(_) => Ok(Place(Arc::clone(&self.0))),
            Err(_full) => Err(QueueFull { limit: self.0.max }),
        }
    }
}

/// One of a model's places in the queue, given back when dropped.
struct Place(Arc<Waiting>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Relaxed);
    }
}

/// As many jobs of this model wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{limit} requests already wait for this model")]
pub struct QueueFull {
    /// The bound.
    pub limit: usize,
}

/// What a job returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<T> {
    /// The job's result.
    pub value: T,
    /// How long the job waited for a thread.
    pub waited: Duration,
}

/// A job that gave no result.
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

/// The result of a job to come. Dropping it takes the job out of the running, if it has not started.
#[derive(Debug)]
#[must_use = "a job whose result nobody awaits is not started"]
pub struct Pending<T>(oneshot::Receiver<Result<Answer<T>, ExecutorError>>);

impl<T> Future for Pending<T> {
    type Output = Result<Answer<T>, ExecutorError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let received = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(received.unwrap_or(Err(ExecutorError::Closed)))
    }
}

impl Executor {
    /// Starts `threads` threads, at least one.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn new(threads: usize) -> io::Result<Self> {
        let executor = Self { shared: Arc::default(), threads: Mutex::default() };
        for number in 0..threads.max(1) {
            let shared = Arc::clone(&executor.shared);
            let thread = std::thread::Builder::new().name(format!("infer-{number}"));
            executor.threads.lock().push(thread.spawn(move || shared.work())?);
        }
        Ok(executor)
    }

    /// Queues `job`, which is started before `deadline` or not at all. Never blocks.
    ///
    /// # Errors
    /// When `queue` is full.
    pub fn submit<T: Send + 'static>(
        &self,
        queue: &QueueLimit,
        deadline: Instant,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Pending<T>, QueueFull> {
        let place = queue.enter().inspect_err(|_full| {
            self.shared.counters.refused.fetch_add(1, Relaxed);
        })?;
        let (sender, receiver) = oneshot::channel();
        let submitted = Instant::now();
        self.shared.push(Box::new(move |counters| {
            drop(place);
            let started = Instant::now();
            let waited = started.duration_since(submitted);
            let result = if sender.is_closed() {
                counters.abandoned.fetch_add(1, Relaxed);
                return;
            } else if started >= deadline {
                counters.expired.fetch_add(1, Relaxed);
                Err(ExecutorError::Expired { waited })
            } else {
                counters.running.fetch_add(1, Relaxed);
                let result = contained(job);
                counters.running.fetch_sub(1, Relaxed);
                let counter = if result.is_ok() { &counters.finished } else { &counters.panicked };
                counter.fetch_add(1, Relaxed);
                result
                    .map(|value| Answer { value, waited })
                    .map_err(|reason| ExecutorError::Panicked { reason })
            };
            // The caller may have gone in the meantime; its result is then of no use.
            drop(sender.send(result));
        }));
        Ok(Pending(receiver))
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

    /// Discards the jobs that wait, whose callers read [`ExecutorError::Closed`], and returns when the
    /// running ones have ended.
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
    /// Queues a job, or drops it when the executor is closed.
    fn push(&self, job: Job) {
        let mut queue = self.queue.lock();
        if !queue.closed {
            self.counters.queued.fetch_add(1, Relaxed);
            queue.jobs.push_back(job);
            drop(queue);
            self.work.notify_one();
        }
    }

    fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        let discarded = std::mem::take(&mut queue.jobs);
        self.counters.queued.fetch_sub(discarded.len(), Relaxed);
        drop(queue);
        self.work.notify_all();
    }

    /// Runs jobs until the executor is closed: the body of each thread.
    fn work(&self) {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                self.counters.queued.fetch_sub(1, Relaxed);
                job(&self.counters);
                queue = self.queue.lock();
            } else if queue.closed {
                return;
            } else {
                self.work.wait(&mut queue);
            }
        }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Queue({} jobs, closed: {})", self.jobs.len(), self.closed)
    }
}

#[cfg(test)]
mod tests;
