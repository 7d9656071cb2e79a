//! Memory that models have left behind goes back to the system.
//!
//! Owns when that is seen to. The allocator (mimalloc) keeps what was freed for a second, in case it is
//! wanted again, and looks for what is older only when a thread ends or much is allocated; a gateway that
//! has loaded or unloaded a model may do neither for hours. So a thread that does nothing else comes and
//! goes soon after, and once more when the requests that held the model have ended. Never frees anything
//! itself.

use std::time::Duration;

use tokio::time::Instant;

/// A little more than the allocator keeps what is free (`purge_delay`, 1000 ms).
const SOON: Duration = Duration::from_millis(1500);
/// How long what comes after may put off the first turn.
const PUT_OFF_MAX: Duration = Duration::from_secs(10);
/// When most requests that were under way have ended.
const LATE: Duration = Duration::from_secs(30);

/// When memory is given back next.
#[derive(Debug, Default)]
pub(super) struct Ebb {
    soon: Option<Instant>,
    late: Option<Instant>,
    /// When models began to come and go, and when the last one did.
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Ebb {
    /// A model came or went.
    pub(super) fn begin(&mut self, now: Instant) {
        // What has just become free would be kept for a second more; but what comes after may have no end.
        let first = *self.first.get_or_insert(now);
        self.last = Some(now);
        self.soon = Some((now + SOON).min(first + PUT_OFF_MAX));
        self.late = Some(now + LATE);
    }

    /// Waits until there may be something to give back; for ever where nothing came or went.
    pub(super) async fn turn(&self) {
        match self.next() {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    fn next(&self) -> Option<Instant> {
        self.soon.into_iter().chain(self.late).min()
    }

    /// Gives back what is free.
    pub(super) fn give_back(&mut self, now: Instant) {
        self.first = None;
        let unseen = self.last.map(|last| last + SOON).filter(|at| *at > now);
        self.soon = self.soon.filter(|at| *at > now).or(unseen);
        self.late = self.late.filter(|at| *at > now);
        // A thread that has allocated nothing ends without a look at what is free.
        let look = || drop(std::hint::black_box(Box::new(0_u64)));
        let thread = std::thread::Builder::new().name("memory-ebb".to_owned()).spawn(look);
        if let Err(error) = thread {
            tracing::debug!(%error, "no thread to give memory back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_has_a_turn_after_the_allocator_lets_go_and_a_late_one() {
        let mut ebb = Ebb::default();
        assert_eq!(ebb.next(), None);
        let began = Instant::now();
        ebb.begin(began);
        let later = began + Duration::from_secs(1);
        ebb.begin(later);
        assert_eq!(ebb.next(), Some(later + SOON));
        ebb.give_back(later + SOON);
        assert_eq!(ebb.next(), Some(later + LATE));
        ebb.give_back(later + LATE);
        assert_eq!(ebb.next(), None);
    }

    #[test]
    fn changes_without_end_do_not_put_off_every_turn() {
        let mut ebb = Ebb::default();
        let began = Instant::now();
        let mut now = began;
        while now < began + PUT_OFF_MAX {
            ebb.begin(now);
            now += Duration::from_secs(1);
        }
        assert_eq!(ebb.next(), Some(began + PUT_OFF_MAX));
        ebb.give_back(began + PUT_OFF_MAX);
        let last = began + PUT_OFF_MAX - Duration::from_secs(1);
        assert_eq!(ebb.next(), Some(last + SOON), "what came last has its turn");
    }
}
