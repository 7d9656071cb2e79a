//! How much of a core the Parquet thread may take.
//!
//! Owns the measure: the thread's own CPU time. While the thread keeps up it takes no more than its
//! share of one core; the further it falls behind, the more it may take, up to a whole one.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::domain::ids::Permille;

/// Segments that may wait before the share grows.
const BACKLOG_CALM: u64 = 2;
/// Segments with which the share is a whole core.
const BACKLOG_FULL: u64 = 10;

/// The CPU time that the calling thread has used.
pub(super) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Work against time.
#[derive(Debug)]
pub(super) struct Budget {
    thousandths: u64,
    paid: Duration,
}

impl Budget {
    /// The share for a thread with so many segments to convert, from now on.
    pub(super) fn new(share: Permille, backlog: u64) -> Self {
        Self { thousandths: thousandths(share, backlog), paid: thread_cpu() }
    }

    /// How long to pause for the work since the last time this was asked.
    pub(super) fn owed(&mut self) -> Duration {
        let now = thread_cpu();
        let used = now.saturating_sub(std::mem::replace(&mut self.paid, now));
        let owed = used.as_micros() * u128::from(1000 - self.thousandths);
        let owed = owed / u128::from(self.thousandths.max(1));
        Duration::from_micros(u64::try_from(owed).unwrap_or(u64::MAX))
    }
}

fn thousandths(share: Permille, backlog: u64) -> u64 {
    let share = u64::from(share.thousandths()).max(1);
    let beyond = backlog.clamp(BACKLOG_CALM, BACKLOG_FULL) - BACKLOG_CALM;
    share + (1000 - share) * beyond / (BACKLOG_FULL - BACKLOG_CALM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_opens_up_with_the_backlog() {
        let quarter = Permille::saturating(250);
        assert_eq!(thousandths(quarter, 0), 250);
        assert_eq!(thousandths(quarter, 2), 250);
        assert_eq!(thousandths(quarter, 6), 625);
        assert_eq!(thousandths(quarter, 10), 1000);
        assert_eq!(thousandths(quarter, u64::MAX), 1000);
        assert_eq!(thousandths(Permille::NONE, 0), 1);
    }

    #[test]
    fn a_quarter_of_a_core_pauses_three_times_as_long_as_it_works() {
        let mut budget = Budget::new(Permille::saturating(250), 0);
        let from = budget.paid;
        while thread_cpu() - from < Duration::from_millis(2) {}
        let owed = budget.owed();
        assert!(owed >= Duration::from_millis(6), "{owed:?}");
        assert!(Budget::new(Permille::ALL, 0).owed().is_zero());
    }
}
