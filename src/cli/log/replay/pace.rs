//! When each request is due.
//!
//! Owns the schedule. Pure: never looks at a clock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How fast requests are sent again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Speed {
    /// This many times as fast as they were recorded.
    Times(f64),
    /// As fast as answers come back.
    Max,
}

impl FromStr for Speed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let number = text.strip_suffix('x').unwrap_or(text).parse().ok();
        let positive = number.filter(|times: &f64| times.is_finite() && *times > 0.0);
        positive
            .map(Self::Times)
            .ok_or("write how many times as fast, such as 1, 0.5 or 10x, or max")
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(times) => write!(f, "{times}x"),
            Self::Max => f.write_str("max"),
        }
    }
}

/// The schedule of one replay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    speed: Speed,
    first_ts_us: Option<u64>,
}

impl Schedule {
    /// A schedule that starts with the first request.
    pub(super) fn new(speed: Speed) -> Self {
        Self { speed, first_ts_us: None }
    }

    /// When the request that was recorded at `ts_us` is due after the start; `None` for at once. Rows
    /// stand in the order of their ends: one that began before the first is due with it.
    pub(super) fn due(&mut self, ts_us: u64) -> Option<Duration> {
        let Speed::Times(times) = self.speed else { return None };
        let first = *self.first_ts_us.get_or_insert(ts_us);
        let recorded = Duration::from_micros(ts_us.saturating_sub(first));
        // A speed near zero makes a wait that no clock can hold.
        Some(Duration::try_from_secs_f64(recorded.as_secs_f64() / times).unwrap_or(FOREVER))
    }
}

/// Longer than any replay.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_read_and_print_the_same() {
        for (text, speed) in [("1", 1.0), ("10x", 10.0), ("0.5x", 0.5)] {
            assert_eq!(text.parse(), Ok(Speed::Times(speed)));
            assert_eq!(Speed::Times(speed).to_string().parse(), Ok(Speed::Times(speed)));
        }
        assert_eq!("max".parse(), Ok(Speed::Max));
        for text in ["", "x", "0", "-1", "NaN", "inf", "fast"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }

    #[test]
    fn requests_are_due_as_far_apart_as_recorded_divided_by_the_speed() {
        let mut twice = Schedule::new(Speed::Times(2.0));
        assert_eq!(twice.due(1_000_000), Some(Duration::ZERO));
        assert_eq!(twice.due(3_000_000), Some(Duration::from_secs(1)));
        assert_eq!(twice.due(500_000), Some(Duration::ZERO), "began before the first");
        assert_eq!(Schedule::new(Speed::Max).due(7), None);
        let mut slow = Schedule::new(Speed::Times(f64::MIN_POSITIVE));
        slow.due(0);
        assert_eq!(slow.due(u64::MAX), Some(FOREVER));
    }
}
