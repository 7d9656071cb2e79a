//! Damping of what comes and goes (after the penalties of RFC 2439).
//!
//! Owns one number a thing: each return after an absence adds a penalty that halves with time. A thing
//! whose penalty has reached [`DAMPED_AT`] is not used until it has fallen below [`USED_BELOW`]. Never
//! knows what the thing is.

/// What one return costs.
const RETURN: u32 = 1000;
/// From here on a thing is damped.
const DAMPED_AT: u32 = 2500;
/// Below, it is used again.
const USED_BELOW: u32 = 1000;
/// No penalty grows beyond, so that a thing is used again after three half-lives of rest at most.
const PENALTY_MAX: u32 = 8000;
/// In this time a penalty halves.
const HALF_LIFE_MS: u64 = 60_000;

/// How often a thing has come back lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Damping {
    penalty: u32,
    since_ms: u64,
    damped: bool,
}

impl Damping {
    /// Notes that the thing has come back; whether it is damped from now on and was not before.
    pub(super) fn returned(&mut self, now_ms: u64) -> bool {
        self.penalty = self.penalty_at(now_ms).saturating_add(RETURN).min(PENALTY_MAX);
        self.since_ms = self.since_ms.max(now_ms);
        let before = self.damped;
        self.damped |= self.penalty >= DAMPED_AT;
        self.damped && !before
    }

    /// Lets time pass; whether the thing is used again from now on and was not before.
    pub(super) fn rested(&mut self, now_ms: u64) -> bool {
        let over = self.damped && self.penalty_at(now_ms) < USED_BELOW;
        if over {
            self.penalty = self.penalty_at(now_ms);
            self.since_ms = self.since_ms.max(now_ms);
            self.damped = false;
        }
        over
    }

    /// Whether the thing is not to be used.
    pub fn is_damped(&self) -> bool {
        self.damped
    }

    /// The penalty after it has halved for the time since it was noted.
    fn penalty_at(&self, now_ms: u64) -> u32 {
        let elapsed = now_ms.saturating_sub(self.since_ms);
        let halvings = u32::try_from(elapsed / HALF_LIFE_MS).unwrap_or(u32::MAX);
        let halved = self.penalty.checked_shr(halvings).unwrap_or(0);
        // Within a half-life the penalty falls in a straight line.
        let part = u64::from(halved) * (elapsed % HALF_LIFE_MS) / (2 * HALF_LIFE_MS);
        halved - u32::try_from(part).unwrap_or(halved)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_returns_in_a_row_are_damped_and_rest_ends_it() {
        let mut damping = Damping::default();
        assert!(!damping.returned(0) && !damping.returned(10));
        assert!(damping.returned(20) && damping.is_damped());
        assert!(!damping.rested(60_000), "1500 are left");
        assert!(damping.rested(101_000) && !damping.is_damped());
        assert!(!damping.rested(101_001), "said once");
    }

    #[test]
    fn returns_that_are_far_apart_are_not_flapping() {
        let mut damping = Damping::default();
        for hour in 0..1000 {
            assert!(!damping.returned(hour * 3_600_000));
        }
    }

    proptest! {
        #[test]
        fn rest_always_ends_the_damping(returns in proptest::collection::vec(0_u64..100_000, 0..50)) {
            let mut damping = Damping::default();
            let mut now = 0;
            for step in returns {
                now += step;
                damping.returned(now);
                prop_assert!(damping.penalty <= PENALTY_MAX);
                prop_assert!(damping.penalty_at(now + step) <= damping.penalty_at(now));
            }
            damping.rested(now + 3 * HALF_LIFE_MS + 1);
            prop_assert!(!damping.is_damped());
        }
    }
}
