//! The requests of one version that wait for an executor thread.
//!
//! Owns the bounds on them: how many may wait and how many threads may work on them. A version that
//! batches also has a [`Collector`] here, so that requests of two versions can never meet. Never starts
//! a thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;

use super::batch::{self, Member, Ran};
use super::collector::{Batch, Collector, Reason};
use super::pending::{Job, Reply};
use super::{Counters, Shared};
use crate::domain::spec::BatchSpec;
use crate::inference::local_model::{InferError, Likeness, LocalModel, Prepared};

/// Bounds on the requests of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneLimits {
    /// Requests that may wait; 0 refuses every request.
    pub queue: usize,
    /// Threads that may work on them at once; at least one is used.
    pub concurrency: usize,
}

/// The requests of one version that wait. Clones share them.
#[derive(Debug, Clone)]
pub struct Lane(Arc<Inner>);

struct Inner {
    limits: LaneLimits,
    batching: Option<Batching>,
    tally: Tally,
    /// Taken for moments by those who submit and by executor threads between runs.
    state: Mutex<State>,
}

struct Batching {
    model: Arc<LocalModel>,
    spec: BatchSpec,
}

struct State {
    jobs: VecDeque<Job>,
    rows: Collector<Likeness, Member>,
    waiting: usize,
    running: usize,
    /// Whether the lane stands among the turns.
    has_turn: bool,
    /// The earliest timer of the lane.
    timer: Option<Instant>,
}

/// As many requests of this version wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{limit} requests already wait for this model")]
pub struct QueueFull {
    /// The bound.
    pub limit: usize,
}

/// The upper bounds of [`LaneStats::batch_rows`]; what is larger is counted in one more.
pub const BATCH_BOUNDS: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// What is counted about batches.
#[derive(Debug, Default)]
pub(super) struct Tally {
    rows: [AtomicU64; BATCH_BOUNDS.len() + 1],
    rows_sum: AtomicU64,
    full: AtomicU64,
    delay: AtomicU64,
    pub(super) taken_apart: AtomicU64,
}

/// What a lane is doing and has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaneStats {
    /// Requests that wait.
    pub waiting: usize,
    /// Threads that work for it.
    pub running: usize,
    /// Batches by their rows, see [`BATCH_BOUNDS`].
    pub batch_rows: [u64; BATCH_BOUNDS.len() + 1],
    /// Rows in all batches.
    pub rows: u64,
    /// Batches that were full.
    pub full: u64,
    /// Batches that had waited long enough.
    pub delay: u64,
    /// Batches that failed and were run again one by one.
    pub taken_apart: u64,
}

/// What a thread works on.
enum Work {
    Job(Job),
    Batch(Batch<Member>),
}

impl Lane {
    /// A lane whose requests run one by one.
    pub fn new(limits: LaneLimits) -> Self {
        Self::with(limits, None)
    }

    /// A lane whose requests may run together on `model`, whose rows must be independent of each other
    /// ([`LocalModel::check_batching`]).
    pub fn batching(limits: LaneLimits, model: Arc<LocalModel>, spec: BatchSpec) -> Self {
        Self::with(limits, Some(Batching { model, spec }))
    }

    fn with(limits: LaneLimits, batching: Option<Batching>) -> Self {
        let spec = batching.as_ref().map(|batching| batching.spec).unwrap_or_default();
        let state = State {
            jobs: VecDeque::new(),
            rows: Collector::new(spec.max_size, spec.max_delay),
            waiting: 0,
            running: 0,
            has_turn: false,
            timer: None,
        };
        let (tally, state) = (Tally::default(), Mutex::new(state));
        Self(Arc::new(Inner { limits, batching, tally, state }))
    }

    /// Whether requests may run together.
    pub fn batches(&self) -> bool {
        self.0.batching.is_some()
    }

    /// What the lane is doing and has done.
    pub fn stats(&self) -> LaneStats {
        let (waiting, running) = {
            let state = self.0.state.lock();
            (state.waiting, state.running)
        };
        let tally = &self.0.tally;
        LaneStats {
            waiting,
            running,
            batch_rows: std::array::from_fn(|at| {
                tally.rows.get(at).map_or(0, |count| count.load(Relaxed))
            }),
            rows: tally.rows_sum.load(Relaxed),
            full: tally.full.load(Relaxed),
            delay: tally.delay.load(Relaxed),
            taken_apart: tally.taken_apart.load(Relaxed),
        }
    }

    pub(super) fn push_job(&self, job: Job, shared: &Shared) -> Result<(), QueueFull> {
        self.push(shared, |state| state.jobs.push_back(job))
    }

    /// Queues a request that may run with others. One without rows fills a batch of its own.
    pub(super) fn push_rows(
        &self,
        prepared: Prepared,
        reply: Reply<Result<Ran, InferError>>,
        shared: &Shared,
    ) -> Result<(), QueueFull> {
        self.push(shared, |state| {
            let likeness = prepared.likeness();
            let rows = match prepared.rows() {
                0 => self.0.batching.as_ref().map_or(1, |batching| batching.spec.max_size),
                rows => rows,
            };
            state.rows.push(reply.submitted(), likeness, rows, Member { prepared, reply });
        })
    }

    fn push(&self, shared: &Shared, push: impl FnOnce(&mut State)) -> Result<(), QueueFull> {
        let mut state = self.0.state.lock();
        if state.waiting >= self.0.limits.queue {
            shared.counters.refused.fetch_add(1, Relaxed);
            return Err(QueueFull { limit: self.0.limits.queue });
        }
        state.waiting += 1;
        shared.counters.queued.fetch_add(1, Relaxed);
        push(&mut state);
        drop(state);
        self.schedule(shared);
        Ok(())
    }

    /// Sees to it that a thread comes by when there is something to run. A lane that has as many threads
    /// as it may is seen to by the one that ends.
    fn schedule(&self, shared: &Shared) {
        let mut state = self.0.state.lock();
        if state.has_turn || state.running >= self.0.limits.concurrency.max(1) {
            return;
        }
        let now = Instant::now();
        let due = if state.jobs.is_empty() { state.rows.due() } else { Some(now) };
        let Some(due) = due else { return };
        if due <= now {
            state.has_turn = true;
            drop(state);
            shared.turn(self.clone());
        } else if state.timer.is_none_or(|timer| due < timer) {
            state.timer = Some(due);
            drop(state);
            shared.turn_at(due, self.clone());
        }
    }

    /// Runs one job or one batch, if there is any: a thread has come by.
    pub(super) fn take_turn(&self, shared: &Shared) {
        let now = Instant::now();
        let work = {
            let mut state = self.0.state.lock();
            state.has_turn = false;
            if state.timer.is_some_and(|timer| timer <= now) {
                state.timer = None;
            }
            if state.running >= self.0.limits.concurrency.max(1) {
                return;
            }
            let work = state.take(now, &shared.counters);
            state.running += usize::from(work.is_some());
            work
        };
        // What else is ripe is another thread's.
        self.schedule(shared);
        let Some(work) = work else { return };
        let requests = work.requests();
        let counters = &shared.counters;
        counters.running.fetch_add(requests, Relaxed);
        match work {
            Work::Job(job) => job.finish((), now, counters),
            Work::Batch(batch) => self.run(batch, counters),
        }
        counters.running.fetch_sub(requests, Relaxed);
        self.0.state.lock().running -= 1;
        self.schedule(shared);
    }

    fn run(&self, batch: Batch<Member>, counters: &Counters) {
        // A lane without a model gets no rows.
        let Some(batching) = &self.0.batching else { return };
        let tally = &self.0.tally;
        let rows = batch.rows as u64;
        let bucket = BATCH_BOUNDS.partition_point(|bound| *bound < rows);
        if let Some(count) = tally.rows.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        tally.rows_sum.fetch_add(rows, Relaxed);
        let reason = match batch.reason {
            Reason::Full => &tally.full,
            Reason::Delay => &tally.delay,
        };
        reason.fetch_add(1, Relaxed);
        batch::run(&batching.model, batch.items, tally, counters);
    }

    /// Drops what waits: the executor is closed.
    pub(super) fn discard(&self, counters: &Counters) {
        let mut state = self.0.state.lock();
        let jobs = std::mem::take(&mut state.jobs);
        let rows: Vec<Member> = state.rows.drain().collect();
        counters.queued.fetch_sub(jobs.len() + rows.len(), Relaxed);
        state.waiting = 0;
        (state.has_turn, state.timer) = (false, None);
        drop(state);
    }
}

impl State {
    /// The next thing to run; what is no longer wanted is left out and answered.
    fn take(&mut self, now: Instant, counters: &Counters) -> Option<Work> {
        while let Some(job) = self.jobs.pop_front() {
            self.waiting -= 1;
            if let Some(job) = job.admit(now, counters) {
                return Some(Work::Job(job));
            }
        }
        let waiting = &mut self.waiting;
        let batch = self.rows.take(now, |Member { prepared, reply }| {
            *waiting -= 1;
            reply.admit(now, counters).map(|reply| Member { prepared, reply })
        })?;
        Some(Work::Batch(batch))
    }
}

impl Work {
    fn requests(&self) -> usize {
        match self {
            Self::Job(_) => 1,
            Self::Batch(batch) => batch.items.len(),
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("limits", &self.limits).finish_non_exhaustive()
    }
}
