//! How far the log has come, for threads that follow it.
//!
//! Owns the numbers of the last record written and of the last one in a closed segment, and the
//! threads that wait for them to grow. Never makes the writer wait: it takes the lock only when
//! somebody sleeps.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The progress of one log. Numbers are log sequence numbers, 0 for none.
#[derive(Debug, Default)]
pub struct Progress {
    written: AtomicU64,
    closed: AtomicU64,
    ended: AtomicBool,
    sleepers: AtomicUsize,
    /// Held by sleepers while they look, and by the writer for a moment when somebody sleeps.
    turn: Mutex<()>,
    grown: Condvar,
}

impl Progress {
    /// The progress of a log whose last record is `last_lsn`, in closed segments.
    pub(super) fn starting_at(last_lsn: u64) -> Self {
        Self {
            written: AtomicU64::new(last_lsn),
            closed: AtomicU64::new(last_lsn),
            ..Self::default()
        }
    }

    /// The number of the last record written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// The number of the last record in a closed segment. Segments count as closed once they are
    /// synced to the disk, so that what is made of them never knows more than the log after a loss
    /// of power.
    pub fn closed(&self) -> u64 {
        self.closed.load(Ordering::SeqCst)
    }

    /// Blocks until [`Self::written`] is above `after`, the timeout is over or the log has ended;
    /// returns [`Self::written`]. Not for proxy workers.
    pub fn wait_written(&self, after: u64, timeout: Duration) -> u64 {
        self.wait(&self.written, after, timeout)
    }

    /// Blocks until [`Self::closed`] is above `after`, the timeout is over or the log has ended;
    /// returns [`Self::closed`]. Not for proxy workers.
    pub fn wait_closed(&self, after: u64, timeout: Duration) -> u64 {
        self.wait(&self.closed, after, timeout)
    }

    /// Whether the recorder is closed: nothing more will come.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    pub(super) fn set_written(&self, lsn: u64) {
        self.grow(&self.written, lsn);
    }

    pub(super) fn set_closed(&self, lsn: u64) {
        self.grow(&self.closed, lsn);
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn grow(&self, number: &AtomicU64, lsn: u64) {
        if number.fetch_max(lsn, Ordering::SeqCst) < lsn {
            self.wake();
        }
    }

    fn wake(&self) {
        // A sleeper counts itself before it looks, and this looks after the number has grown.
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            let _turn = self.turn.lock();
            self.grown.notify_all();
        }
    }

    fn wait(&self, number: &AtomicU64, after: u64, timeout: Duration) -> u64 {
        let deadline = Instant::now().checked_add(timeout);
        let mut turn = self.turn.lock();
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while number.load(Ordering::SeqCst) <= after && !self.has_ended() {
            match deadline {
                None => self.grown.wait(&mut turn),
                Some(deadline) if self.grown.wait_until(&mut turn, deadline).timed_out() => break,
                Some(_) => {}
            }
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        number.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleepers_are_woken_by_growth_by_time_and_by_the_end() {
        let progress = Progress::starting_at(3);
        assert_eq!((progress.written(), progress.closed()), (3, 3));
        assert_eq!(progress.wait_written(2, Duration::MAX), 3, "there already");
        assert_eq!(progress.wait_closed(3, Duration::from_millis(1)), 3, "the time is over");
        std::thread::scope(|scope| {
            let written = scope.spawn(|| progress.wait_written(3, Duration::MAX));
            let closed = scope.spawn(|| progress.wait_closed(3, Duration::MAX));
            progress.set_written(7);
            assert_eq!(written.join().expect("woken"), 7);
            progress.set_written(6);
            assert_eq!(progress.written(), 7, "never backwards");
            progress.end();
            assert_eq!(closed.join().expect("woken"), 3);
            assert!(progress.has_ended());
        });
    }
}
