//! What bounds the copies of a trial: so many under way at a time, so many a second, a share of the requests, which grows
//! where that would be none for long, and fewer where the version takes long.
//!
//! Owns the choice of requests that are copied, and the count of those that were chosen and dropped all the
//! same. Never waits: what does not fit is not copied.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::domain::ids::{Entropy, Permille};
use crate::domain::trial::pairs::Copies;

/// Why a chosen request was not copied, or its copy not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// As many copies as may be are under way.
    Busy,
    /// Its bodies are too long, or there is no room for them.
    Memory,
    /// The copy waited too long to be asked, or the gateway ended.
    Late,
    /// The trial was over, or a kill switch cut the version off. Says nothing about how much is copied.
    Over,
}

impl Dropped {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Busy, Self::Memory, Self::Late, Self::Over];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Memory => "memory",
            Self::Late => "late",
            Self::Over => "over",
        }
    }
}

/// What lets copies through. Workers only read it but for the moments in which a copy is due.
#[derive(Debug)]
pub struct Gate {
    made: Instant,
    concurrency: u32,
    share: Permille,
    /// How long after a copy is due it is made whatever the share, in microseconds.
    patience: Option<u64>,
    /// The shortest time between two copies, in microseconds.
    interval_min: u64,
    /// The time between two copies now.
    interval: AtomicU64,
    /// When the next one is due, in microseconds since it was made.
    due: AtomicU64,
    under_way: Arc<AtomicU32>,
    chosen: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
}

/// Leave for one copy, given back when dropped.
#[derive(Debug)]
pub struct Pass(Arc<AtomicU32>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// How much of the places a steady stream of copies fills.
const FILL: f64 = 0.75;

impl Gate {
    pub(super) fn new(
        concurrency: u32,
        rate: u32,
        share: Permille,
        patience: Option<Duration>,
    ) -> Self {
        let interval_min = 1_000_000 / u64::from(rate.max(1));
        Self {
            made: Instant::now(),
            concurrency: concurrency.max(1),
            share,
            patience: patience.map(micros),
            interval_min,
            interval: AtomicU64::new(interval_min),
            due: AtomicU64::new(0),
            under_way: Arc::default(),
            chosen: AtomicU64::new(0),
            dropped: Default::default(),
        }
    }

    /// Whether the request of now is copied. `None` where it is not one of those that may be, none is due, or there is
    /// no place.
    pub fn choose(&self, now: Instant, entropy: Entropy) -> Option<Pass> {
        let now = micros(now.saturating_duration_since(self.made));
        let due = self.due.load(Relaxed);
        if now < due || !(self.may_copy(entropy) || self.is_overdue(now, due)) {
            return None;
        }
        let next = now + self.interval.load(Relaxed);
        // Another worker was faster.
        self.due.compare_exchange(due, next, Relaxed, Relaxed).ok()?;
        self.chosen.fetch_add(1, Relaxed);
        let more = |under_way: u32| (under_way < self.concurrency).then_some(under_way + 1);
        if self.under_way.fetch_update(Relaxed, Relaxed, more).is_err() {
            self.drop_one(Dropped::Busy);
            return None;
        }
        Some(Pass(Arc::clone(&self.under_way)))
    }

    /// Whether a request falls into the share that may be copied.
    fn may_copy(&self, entropy: Entropy) -> bool {
        // Another mixture than those that draw a version and a row.
        let drawn = (entropy.0 ^ (entropy.0 >> 31)).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32;
        drawn % 1000 < u64::from(self.share.thousandths())
    }

    /// Whether none was made for so long that the share is too small for what clients ask.
    fn is_overdue(&self, now: u64, due: u64) -> bool {
        self.patience.is_some_and(|patience| now.saturating_sub(due) >= patience)
    }

    /// A chosen request has not become a pair.
    pub fn drop_one(&self, why: Dropped) {
        if let Some(count) = self.dropped.get(why as usize) {
            count.fetch_add(1, Relaxed);
        }
        if why == Dropped::Over {
            return;
        }
        // Whatever the reason, there is too much.
        let slower = self.interval.load(Relaxed).saturating_mul(2).min(SLOWEST);
        self.interval.store(slower, Relaxed);
    }

    /// A copy took so long from its choice to its end: the next ones follow as fast as that allows.
    pub fn settle(&self, took: Duration) {
        let places = f64::from(self.concurrency) * FILL;
        let sustained = (took.as_secs_f64() * 1e6 / places) as u64;
        let (was, goal) = (self.interval.load(Relaxed), sustained.max(self.interval_min));
        // An eighth of the way, so that one slow answer does not count for all.
        let next = was - was / 8 + goal / 8;
        self.interval.store(next.clamp(self.interval_min, SLOWEST), Relaxed);
    }

    /// How many were chosen, and how many of them dropped for want of room or time.
    pub fn copies(&self) -> Copies {
        let reasons = Dropped::ALL.into_iter().filter(|why| *why != Dropped::Over);
        let dropped = reasons.map(|why| self.dropped(why)).sum();
        Copies { chosen: self.chosen.load(Relaxed), dropped }
    }

    /// How many were dropped for one reason.
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped.get(why as usize).map_or(0, |count| count.load(Relaxed))
    }
}

/// The longest time between two copies, in microseconds.
const SLOWEST: u64 = 10_000_000;

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_under_way_than_may_be_and_each_drop_counts() {
        let gate = Gate::new(2, 1_000_000, Permille::ALL, None);
        let from = gate.made;
        let at = |ms: u64| from + Duration::from_millis(ms);
        let choose = |ms: u64| gate.choose(at(ms), Entropy(0));
        let (first, second) = (choose(1), choose(2));
        assert!(first.is_some() && second.is_some());
        assert!(choose(3).is_none());
        assert_eq!(gate.copies(), Copies { chosen: 3, dropped: 1 });
        assert_eq!(gate.dropped(Dropped::Busy), 1);
        drop(first);
        assert!(choose(4).is_some());
    }

    #[test]
    fn no_larger_share_of_the_requests_is_copied() {
        let gate = Gate::new(1_000_000, 1_000_000, Permille::saturating(10), None);
        let mut random = fastrand::Rng::with_seed(3);
        let from = gate.made;
        let drawn = |n: u64| gate.choose(from + Duration::from_millis(n), Entropy(random.u64(..)));
        let copied = (1..=100_000).map(drawn).filter(Option::is_some).count();
        assert!((800..=1200).contains(&copied), "{copied} of 100000");
        assert_eq!(gate.copies().dropped, 0, "the others were never chosen");
        let none = Gate::new(8, 50, Permille::NONE, None);
        assert!(none.choose(from + Duration::from_secs(1), Entropy(0)).is_none());
    }

    #[test]
    fn where_clients_ask_rarely_a_copy_is_made_in_time_whatever_the_share() {
        let patience = Some(Duration::from_secs(10));
        let gate = Gate::new(2, 10, Permille::saturating(1), patience);
        let mut random = fastrand::Rng::with_seed(5);
        let from = gate.made;
        let mut copied = 0;
        // One request a second for an hour: a thousandth would be three or four.
        for second in 0..3600 {
            let pass = gate.choose(from + Duration::from_secs(second), Entropy(random.u64(..)));
            copied += u64::from(pass.is_some());
            gate.settle(Duration::from_millis(5));
        }
        assert!((320..=370).contains(&copied), "{copied} of 3600");
    }

    #[test]
    fn what_a_kill_switch_drops_is_counted_and_slows_nothing_down() {
        let gate = Gate::new(2, 100, Permille::ALL, None);
        gate.drop_one(Dropped::Over);
        assert_eq!((gate.dropped(Dropped::Over), gate.copies().dropped), (1, 0));
        assert_eq!(gate.interval.load(Relaxed), gate.interval_min);
        gate.drop_one(Dropped::Late);
        assert_eq!(gate.copies().dropped, 1);
        assert!(gate.interval.load(Relaxed) > gate.interval_min);
    }

    #[test]
    fn copies_are_no_denser_than_the_rate() {
        let gate = Gate::new(8, 100, Permille::ALL, None);
        let from = gate.made;
        let chosen = (0..1000)
            .filter(|ms| gate.choose(from + Duration::from_millis(*ms), Entropy(*ms)).is_some());
        assert_eq!(chosen.count(), 100);
        assert_eq!(gate.copies().dropped, 0, "what is not due is not dropped");
    }

    /// A version that takes 300 ms can be asked 6 times a second by two at a time: the gate finds that out, and
    /// after that hardly drops one.
    #[test]
    fn slow_versions_get_fewer_copies_rather_than_drops() {
        let gate = Gate::new(2, 1000, Permille::ALL, None);
        let from = gate.made;
        let mut under_way: Vec<(u64, Pass)> = Vec::new();
        let mut early = Copies::default();
        for ms in 0..60_000u64 {
            while let Some(at) = under_way.iter().position(|(ends, _)| *ends <= ms) {
                under_way.remove(at);
                gate.settle(Duration::from_millis(300));
            }
            if let Some(pass) = gate.choose(from + Duration::from_millis(ms), Entropy(ms)) {
                under_way.push((ms + 300, pass));
            }
            if ms == 10_000 {
                early = gate.copies();
            }
        }
        let all = gate.copies();
        let (chosen, dropped) = (all.chosen - early.chosen, all.dropped - early.dropped);
        assert!(chosen > 100, "{chosen} in 50 s");
        assert!(dropped * 20 <= chosen, "{dropped} of {chosen}");
    }
}
