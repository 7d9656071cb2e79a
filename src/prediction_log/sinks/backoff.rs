//! How long to wait before the next attempt.
//!
//! Owns the pauses: exponential with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS
//! Architecture Blog 2015), so that many gateways do not come back in step. Never sleeps.

use std::time::Duration;

/// The ceiling of the first pause.
const FIRST: Duration = Duration::from_millis(100);
/// The longest time that a destination may ask to be left alone for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The pauses between attempts at one thing.
#[derive(Debug)]
pub struct Backoff {
    ceiling: Duration,
    longest: Duration,
}

impl Backoff {
    /// Pauses of at most `longest`.
    pub fn new(longest: Duration) -> Self {
        Self { ceiling: FIRST.min(longest), longest }
    }

    /// The next pause: anything up to a ceiling that doubles each time, and not less than what the
    /// destination asked for.
    pub fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = ceiling.saturating_mul(2).min(self.longest);
        let jitter = ceiling.mul_f64(fastrand::f64());
        // Jitter on top of what was asked for: others were told the same.
        asked.map_or(jitter, |asked| asked.min(RETRY_AFTER_MAX) + jitter.min(FIRST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_heed_what_was_asked_for() {
        let longest = Duration::from_secs(2);
        let mut backoff = Backoff::new(longest);
        let mut ceiling = FIRST;
        for _ in 0..10 {
            let pause = backoff.pause(None);
            assert!(pause <= ceiling, "{pause:?} above {ceiling:?}");
            ceiling = (ceiling * 2).min(longest);
        }
        assert_eq!(ceiling, longest);
        let asked = Duration::from_secs(30);
        let pause = backoff.pause(Some(asked));
        assert!(asked <= pause && pause <= asked + FIRST, "{pause:?}");
        assert!(backoff.pause(Some(Duration::MAX)) <= RETRY_AFTER_MAX + FIRST);
    }
}
