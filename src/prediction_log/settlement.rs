//! What became of a worker's records, and who waits to hear it.
//!
//! Owns the order in which one worker's records are settled, once for those who wait for the write and
//! once for those who wait for the sync after it, the ranges that were lost, and the wakers of the
//! tasks that wait. Never allocates per record once its list has grown: the writer wakes
//! one task of the worker, and that task wakes the others on its own thread, so that a group costs
//! one wake across threads and not one a record.

use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Lost ranges that are remembered for tasks that have not asked yet.
const LOST_RANGES_MAX: usize = 64;

/// The record will not be in the log: writing failed, or the log was closed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record could not be written to the prediction log")]
pub struct Lost;

/// The state of one worker's records, which are numbered from 0 in the order of their offers.
#[derive(Debug, Default)]
pub(super) struct Settlement {
    /// For tickets under `async` and `os`.
    pub(super) written: Track,
    /// For tickets under `sync`. Never ahead of `written`.
    pub(super) synced: Track,
}

impl Settlement {
    /// The first record of which something is still to be heard.
    pub(super) fn settled(&self) -> u64 {
        self.synced.settled()
    }

    /// Waits until record `sequence` is written, or synced.
    pub(super) fn wait(&self, sequence: u64, synced: bool) -> Wait<'_> {
        let track = if synced { &self.synced } else { &self.written };
        track.wait(sequence)
    }
}

/// One promise about one worker's records.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// Records before this one are written or lost.
    settled: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    tasks: Vec<(u64, Waker)>,
    /// No task waits for a record before this one.
    oldest: u64,
    /// Lost ranges, in order.
    lost: Vec<Range<u64>>,
    /// Before this record nobody remembers what was lost, so that all is reported lost.
    forgotten: u64,
}

impl Track {
    /// The first record that is not settled.
    pub(super) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    /// Settles the records before `end`: from `lost_from` on they are lost, the others written.
    pub(super) fn settle(&self, lost_from: u64, end: u64) {
        let mut waiting = self.waiting.lock();
        // What was settled before stays as it is.
        let lost_from = lost_from.max(self.settled());
        if lost_from < end {
            waiting.lose(lost_from..end);
        }
        self.settled.store(end, Ordering::Release);
        let first = waiting.take_one(end);
        drop(waiting);
        if let Some(waker) = first {
            waker.wake();
        }
    }

    /// Waits until record `sequence` is settled.
    fn wait(&self, sequence: u64) -> Wait<'_> {
        Wait { track: self, sequence, registered: false }
    }
}

impl Waiting {
    fn lose(&mut self, lost: Range<u64>) {
        match self.lost.last_mut() {
            Some(last) if last.end == lost.start => last.end = lost.end,
            _ => self.lost.push(lost),
        }
        if self.lost.len() > LOST_RANGES_MAX {
            self.forgotten = self.lost.remove(0).end;
        }
    }

    fn outcome(&self, sequence: u64) -> Result<(), Lost> {
        let lost = sequence < self.forgotten
            || self.lost.iter().rev().any(|range| range.contains(&sequence));
        if lost { Err(Lost) } else { Ok(()) }
    }

    fn register(&mut self, sequence: u64, waker: &Waker, registered: bool) {
        if registered && let Some((_, held)) = self.tasks.iter_mut().find(|t| t.0 == sequence) {
            held.clone_from(waker);
            return;
        }
        self.oldest = if self.tasks.is_empty() { sequence } else { self.oldest.min(sequence) };
        self.tasks.push((sequence, waker.clone()));
    }

    fn take_one(&mut self, settled: u64) -> Option<Waker> {
        let index = self.tasks.iter().position(|task| task.0 < settled)?;
        Some(self.tasks.swap_remove(index).1)
    }

    /// Takes the wakers of all records before `settled`.
    fn take_all(&mut self, settled: u64) -> Vec<Waker> {
        if self.tasks.is_empty() || self.oldest >= settled {
            return Vec::new();
        }
        let ready = self.tasks.extract_if(.., |task| task.0 < settled).map(|task| task.1).collect();
        self.oldest = self.tasks.iter().map(|task| task.0).min().unwrap_or(settled);
        ready
    }
}

/// Resolves when a record is settled.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    track: &'a Track,
    sequence: u64,
    registered: bool,
}

impl Future for Wait<'_> {
    type Output = Result<(), Lost>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let track = self.track;
        let mut waiting = track.waiting.lock();
        // Under the lock: either this sees the settlement, or the settlement sees the waker.
        let settled = track.settled();
        if self.sequence >= settled {
            waiting.register(self.sequence, context.waker(), self.registered);
            self.registered = true;
            return Poll::Pending;
        }
        let outcome = waiting.outcome(self.sequence);
        let others = waiting.take_all(settled);
        drop(waiting);
        self.registered = false;
        others.into_iter().for_each(Waker::wake);
        Poll::Ready(outcome)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if !self.registered {
            return;
        }
        // This task may be the one that was woken to wake the others.
        let mut waiting = self.track.waiting.lock();
        waiting.tasks.retain(|task| task.0 != self.sequence);
        let others = waiting.take_all(self.track.settled());
        drop(waiting);
        others.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll(wait: &mut Wait<'_>, count: &Arc<Count>) -> Poll<Result<(), Lost>> {
        let waker = Waker::from(Arc::clone(count));
        Pin::new(wait).poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn one_wake_settles_a_group_even_when_the_woken_task_is_cancelled() {
        for cancel in [false, true] {
            let (settlement, count) = (Track::default(), Arc::new(Count::default()));
            let mut waits: Vec<_> = (0..4).map(|sequence| settlement.wait(sequence)).collect();
            for wait in &mut waits {
                assert_eq!(poll(wait, &count), Poll::Pending);
            }
            settlement.settle(3, 3);
            assert_eq!(count.0.load(Ordering::Relaxed), 1, "one wake by the writer");
            let mut first = waits.remove(0);
            if cancel {
                drop(first);
            } else {
                assert_eq!(poll(&mut first, &count), Poll::Ready(Ok(())));
            }
            assert_eq!(count.0.load(Ordering::Relaxed), 3, "the others by the first");
            assert_eq!(poll(&mut waits[0], &count), Poll::Ready(Ok(())));
            assert_eq!(poll(&mut waits[2], &count), Poll::Pending, "not settled yet");
        }
    }

    #[test]
    fn lost_ranges_are_told_apart_and_forgetting_errs_on_the_side_of_lost() {
        let (settlement, count) = (Track::default(), Arc::new(Count::default()));
        let rounds = 2 * LOST_RANGES_MAX as u64;
        for round in 0..rounds {
            settlement.settle(round * 2 + 1, round * 2 + 2);
        }
        let outcome = |sequence| poll(&mut settlement.wait(sequence), &count);
        assert_eq!(outcome(2 * rounds - 1), Poll::Ready(Err(Lost)));
        assert_eq!(outcome(2 * rounds - 2), Poll::Ready(Ok(())));
        assert_eq!(outcome(1), Poll::Ready(Err(Lost)));
        assert_eq!(outcome(0), Poll::Ready(Err(Lost)), "written, but nobody remembers");
    }
}
