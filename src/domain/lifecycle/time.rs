//! The two times of the life cycle: one that only goes forward, and the date.
//!
//! Everything that waits (dwell, cool-down, undo window, age since release) is measured on [`Steady`],
//! so that a clock that is set cannot end a wait. Only what comes with a date from outside, such as the
//! day of training, is compared with [`Wall`], and not while the clock is [in doubt](ClockState).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The most that a stop of the process may count as time passed: nothing else tells how long it was.
pub const DOWNTIME_MAX: Duration = Duration::from_secs(3600);

/// Milliseconds of the life cycle's own time. It never goes back; the journal carries it over
/// restarts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Steady(pub u64);

/// Milliseconds since the Unix epoch, as the clock of the machine tells them.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Wall(pub u64);

/// A moment on both times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Now {
    /// The life cycle's own time.
    pub steady: Steady,
    /// The date.
    pub wall: Wall,
}

impl Steady {
    /// The time from `earlier` to this moment; zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This moment and `wait`.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(millis(wait)))
    }

    /// How long until `self`, seen from `now`; zero once it has come.
    pub fn left(self, now: Self) -> Duration {
        self.since(now)
    }
}

impl Wall {
    /// The time from `earlier` to this date; zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Now {
    /// The moment at which a process starts whose last known moment was `last`. The stop counts by
    /// the date, at most [`DOWNTIME_MAX`], so that a wrong date ends no wait.
    #[must_use]
    pub fn resumed(last: Self, wall: Wall) -> Self {
        let stopped = wall.since(last.wall).min(DOWNTIME_MAX);
        Self { steady: last.steady.after(stopped), wall }
    }

    /// How far the date has moved from where the life cycle's own time says it should be.
    pub fn clock_step(self, earlier: Self) -> Duration {
        let expected =
            earlier.wall.0.saturating_add(self.steady.0.saturating_sub(earlier.steady.0));
        Duration::from_millis(self.wall.0.abs_diff(expected))
    }
}

/// Whether dates can be relied upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClockState {
    /// The last moment that the journal knows.
    pub last: Now,
    /// The clock was set; until then no date decides anything.
    pub doubtful_until: Option<Steady>,
}

impl ClockState {
    /// How much longer dates decide nothing; `None` if they are sound.
    pub fn doubt(&self, now: Now) -> Option<Duration> {
        let left = self.doubtful_until?.left(now.steady);
        (!left.is_zero()).then_some(left)
    }
}

/// Whole milliseconds of `duration`.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration in the two largest units that matter: `3d 4h`, `12m`, `0.4s`.
#[derive(Debug, Clone, Copy)]
pub struct Spell(pub Duration);

impl fmt::Display for Spell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        match (days, hours, minutes, seconds % 60) {
            (0, 0, 0, _) if self.0.subsec_millis() > 0 && seconds < 10 => {
                write!(f, "{:.1}s", self.0.as_secs_f64())
            }
            (0, 0, 0, s) => write!(f, "{s}s"),
            (0, 0, m, 0) => write!(f, "{m}m"),
            (0, 0, m, s) => write!(f, "{m}m {s}s"),
            (0, h, 0, _) => write!(f, "{h}h"),
            (0, h, m, _) => write!(f, "{h}h {m}m"),
            (d, 0, ..) => write!(f, "{d}d"),
            (d, h, ..) => write!(f, "{d}d {h}h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_counts_by_the_date_but_at_most_an_hour_and_never_backwards() {
        let last = Now { steady: Steady(1000), wall: Wall(50_000_000) };
        let resumed = |wall| Now::resumed(last, Wall(wall)).steady.0;
        assert_eq!(resumed(50_000_500), 1500);
        assert_eq!(resumed(49_000_000), 1000);
        assert_eq!(resumed(90_000_000_000), 1000 + 3_600_000);
    }

    #[test]
    fn a_clock_that_is_set_shows_as_a_step_either_way() {
        let last = Now { steady: Steady(0), wall: Wall(86_400_000) };
        let at = |steady, wall| Now { steady: Steady(steady), wall: Wall(wall) };
        assert_eq!(at(1000, 86_401_000).clock_step(last), Duration::ZERO);
        assert_eq!(at(1000, 1000).clock_step(last), Duration::from_secs(86_400));
        assert_eq!(at(1000, 2 * 86_400_000).clock_step(last), Duration::from_secs(86_399));
    }

    #[test]
    fn durations_are_told_in_their_two_largest_units() {
        let told = |ms| Spell(Duration::from_millis(ms)).to_string();
        assert_eq!(told(400), "0.4s");
        assert_eq!(told(59_000), "59s");
        assert_eq!(told(600_000), "10m");
        assert_eq!(told(90_061_000), "1d 1h");
    }
}
