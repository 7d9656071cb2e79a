//! The time by which records become too old.
//!
//! Owns the judgement of steps of the wall clock: retention removes nothing because of a clock that
//! jumps ahead for a while. A clock that goes back is believed at once, because that only makes things
//! younger; one that goes ahead is believed after an hour in which it has stayed there. Never used for
//! what records say: their times are the wall clock's.

use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::files::FileSystem;
use super::segment;
use super::unix_us;

/// How long the wall clock has to stay ahead before that counts.
const PROBATION: Duration = Duration::from_secs(3600);
/// A wall clock that is corrected a little at a time stays within this of the monotonic one.
const TOLERANCE_US: u64 = 60_000_000;

/// A clock that does not jump ahead.
#[derive(Debug)]
pub(super) struct Clock {
    /// Asked once a second by the writer, and after each segment by who keeps the Parquet files.
    state: Mutex<State>,
}

/// All times in microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
struct State {
    /// What was believed, and when.
    believed_us: u64,
    at: Instant,
    /// The wall clock went ahead to more than is believed: by how much, and since when.
    ahead: Option<(u64, Instant)>,
}

impl Clock {
    /// Starts with the wall clock, but for the first hour not beyond the creation of the newest segment
    /// of the log in `dir`: the machine may have been started with a clock that is wrong.
    pub(super) fn of_log(files: &dyn FileSystem, dir: &Path) -> Self {
        let listed = segment::list(files, dir).unwrap_or_default();
        let newest = listed.last().map(|newest| segment::path(dir, newest.first_lsn));
        let known_us = newest.and_then(|path| segment::created_us(files, &path));
        Self { state: Mutex::new(State::new(unix_us(), known_us, Instant::now())) }
    }

    /// The time now.
    pub(super) fn now_us(&self) -> u64 {
        self.state.lock().look(unix_us(), Instant::now())
    }
}

impl State {
    fn new(wall_us: u64, known_us: Option<u64>, at: Instant) -> Self {
        let believed_us = known_us.map_or(wall_us, |known_us| known_us.min(wall_us));
        Self { believed_us, at, ahead: None }
    }

    /// The time to believe when the wall clock says `wall_us` at `now`.
    fn look(&mut self, wall_us: u64, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.at);
        let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let steady_us = self.believed_us.saturating_add(elapsed_us);
        self.at = now;
        let ahead_us = wall_us.saturating_sub(steady_us);
        if ahead_us <= TOLERANCE_US {
            self.ahead = None;
            self.believed_us = wall_us;
            return wall_us;
        }
        // It counts from the time since which it has been ahead by about this much.
        let since = match self.ahead {
            Some((by_us, since)) if by_us.abs_diff(ahead_us) <= TOLERANCE_US => since,
            _ => now,
        };
        self.ahead = Some((ahead_us, since));
        self.believed_us = steady_us;
        if now.saturating_duration_since(since) >= PROBATION {
            self.ahead = None;
            self.believed_us = wall_us;
        }
        self.believed_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: u64 = 3_600_000_000;
    const START_US: u64 = 500_000 * HOUR_US;

    /// Minutes of the monotonic clock, and what the wall clock is off by.
    fn run(state: &mut State, begun: Instant, steps: &[(u64, i64)]) -> Vec<u64> {
        let minute_us = HOUR_US / 60;
        let look = |&(minutes, off_us): &(u64, i64)| {
            let wall_us = (START_US + minutes * minute_us).saturating_add_signed(off_us);
            let believed = state.look(wall_us, begun + Duration::from_secs(60 * minutes));
            (believed + HOUR_US - START_US) / minute_us
        };
        steps.iter().map(look).collect()
    }

    #[test]
    fn a_day_ahead_counts_only_after_an_hour_and_an_hour_back_at_once() {
        let begun = Instant::now();
        let (day, hour) = (24 * HOUR_US as i64, HOUR_US as i64);
        let mut state = State::new(START_US, None, begun);
        // Results are minutes after one hour before the start.
        let steps = [(1, 0), (2, day), (30, day), (40, 0), (50, day), (109, day)];
        assert_eq!(run(&mut state, begun, &steps), [61, 62, 90, 100, 110, 169]);
        assert_eq!(run(&mut state, begun, &[(110, day), (111, day)]), [1610, 1611]);
        assert_eq!(run(&mut state, begun, &[(112, 0), (113, -hour), (114, 0)]), [172, 113, 114]);
    }

    #[test]
    fn a_start_with_a_clock_ahead_of_the_log_is_on_probation_too() {
        let begun = Instant::now();
        let mut state = State::new(START_US, Some(START_US - HOUR_US), begun);
        assert_eq!(run(&mut state, begun, &[(0, 0), (59, 0), (60, 0)]), [0, 59, 120]);
        let mut later = State::new(START_US, Some(START_US + HOUR_US), begun);
        assert_eq!(run(&mut later, begun, &[(0, 0), (1, 0)]), [60, 61], "the log is ahead");
    }

    #[test]
    fn a_clock_that_drifts_is_followed() {
        let begun = Instant::now();
        let mut state = State::new(START_US, None, begun);
        let off: Vec<_> = (1..200).map(|minute| (minute, minute as i64 * 1_000_000)).collect();
        let believed = run(&mut state, begun, &off);
        assert_eq!(believed.last(), Some(&(60 + 199 + 3)));
    }
}
