//! The time by which records become too old.
//!
//! Owns the judgement of steps of the wall clock: retention removes nothing because of a clock that
//! jumps ahead for a while. A clock that goes back is believed at once, because that only makes things
//! younger; one that goes ahead is believed after an hour in which it has stayed there. What is believed
//! is kept in the file `clock` of the log, so that a start does not take a wrong clock for proved. Never
//! used for what records say, nor for the times in the headers of segments: those are the wall clock's.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::files::FileSystem;
use super::segment;
use super::slots::{Magic, Slots};
use super::unix_us;

/// How long the wall clock has to stay ahead before that counts.
const PROBATION: Duration = Duration::from_secs(3600);
/// A wall clock that is corrected a little at a time stays within this of the monotonic one.
const TOLERANCE_US: u64 = 60_000_000;
/// The file below the log's directory: one of [`super::slots`], in microseconds since the Unix epoch.
const FILE: &str = "clock";
const MAGIC: Magic = *b"PNTSMCLK";
/// How often the file is written. It is not synced each time: an older time makes things younger.
const KEEP_INTERVAL: Duration = Duration::from_secs(20);

/// A clock that does not jump ahead.
#[derive(Debug)]
pub(super) struct Clock {
    /// Asked once a second by the writer, and after each segment by who keeps the Parquet files.
    state: Mutex<State>,
    /// Where there is a file that can be written.
    kept: Option<Mutex<Kept>>,
}

/// What the file says.
#[derive(Debug)]
struct Kept {
    slots: Slots,
    at: Instant,
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
    /// Starts with the wall clock, but for the first hour not beyond what the last process that wrote
    /// the log in `dir` has believed: the machine may have been started with a clock that is wrong. A
    /// log without that tells the creation of its newest segment.
    pub(super) fn of_log(files: &dyn FileSystem, dir: &Path) -> Self {
        Self::start(files, dir, unix_us())
    }

    fn start(files: &dyn FileSystem, dir: &Path, wall_us: u64) -> Self {
        let (mut slots, mut known_us) = match Slots::open(&dir.join(FILE), MAGIC) {
            Ok((slots, known_us)) => (Some(slots), known_us),
            Err(error) => {
                tracing::warn!(%error, "the time that retention believes cannot be kept");
                (None, None)
            }
        };
        let is_new = known_us.is_none();
        if is_new {
            let listed = segment::list(files, dir).unwrap_or_default();
            let newest = listed.last().map(|newest| segment::path(dir, newest.first_lsn));
            known_us = newest.and_then(|path| segment::created_us(files, &path));
        }
        let now = Instant::now();
        let state = State::new(wall_us, known_us, now);
        // Before there is a segment of this run: its header will tell what the wall clock says.
        if let Some(slots) = &mut slots
            && let Err(error) = keep(slots, state.believed_us, is_new)
        {
            tracing::warn!(%error, "the time that retention believes is not kept");
        }
        let kept = slots.map(|slots| Mutex::new(Kept { slots, at: now }));
        Self { state: Mutex::new(state), kept }
    }

    /// The time now.
    pub(super) fn now_us(&self) -> u64 {
        self.look(unix_us(), Instant::now())
    }

    fn look(&self, wall_us: u64, now: Instant) -> u64 {
        let believed_us = self.state.lock().look(wall_us, now);
        // Whoever meets another one here need not write as well.
        if let Some(mut kept) = self.kept.as_ref().and_then(Mutex::try_lock)
            && now.saturating_duration_since(kept.at) >= KEEP_INTERVAL
        {
            kept.at = now;
            if let Err(error) = keep(&mut kept.slots, believed_us, false) {
                tracing::debug!(%error, "the time that retention believes is not kept");
            }
        }
        believed_us
    }
}

/// Writes what is believed; a file that was just made is synced.
fn keep(slots: &mut Slots, believed_us: u64, is_new: bool) -> io::Result<()> {
    slots.write(believed_us)?;
    if is_new { slots.sync() } else { Ok(()) }
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
    fn restarts_prove_nothing_to_a_clock_that_is_ahead() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = crate::prediction_log::files::LocalFiles;
        let (month, minute) = (30 * 24 * HOUR_US, HOUR_US / 60);
        let segment = |first_lsn, created_us| {
            let node = "n1".to_owned();
            let header = segment::SegmentHeader { epoch: 1, first_lsn, created_us, node };
            let path = segment::path(dir.path(), first_lsn);
            std::fs::write(path, header.encode()).expect("written");
        };
        // A log of a version that kept no time: the newest segment tells it.
        segment(1, START_US);
        for (run, wall_us) in (2..6).map(|run| (run, START_US + 2 * month + run * minute)) {
            let begun = Instant::now();
            let clock = Clock::start(&files, dir.path(), wall_us);
            // Each run makes a segment under the wrong clock, and is killed at any time.
            segment(run, wall_us);
            for at in [0, 6, 30] {
                let now = begun + Duration::from_secs(at);
                let believed = clock.look(wall_us + at * 1_000_000, now);
                assert!(believed < START_US + HOUR_US * 2, "run {run}: {believed}");
            }
        }
        // In the file is what was believed, which goes on while a process runs.
        let (_, kept) = Slots::open(&dir.path().join(FILE), MAGIC).expect("readable");
        assert!(kept.is_some_and(|kept| kept > START_US && kept < START_US + 2 * HOUR_US));
        // A clock that goes back is believed at once, and that is kept too.
        let clock = Clock::start(&files, dir.path(), START_US - minute);
        assert!(clock.look(START_US - minute, Instant::now()) <= START_US);
        drop(clock);
        let clock = Clock::start(&files, dir.path(), START_US + 2 * month);
        assert!(clock.state.lock().believed_us < START_US);
        // An hour of one process proves it.
        let begun = Instant::now();
        let steps = [0, 3599, 3601];
        let said = steps.map(|s| {
            clock.look(START_US + 2 * month + s * 1_000_000, begun + Duration::from_secs(s))
        });
        assert!(said[1] < START_US + 2 * HOUR_US && said[2] > START_US + 2 * month, "{said:?}");
    }

    #[test]
    fn a_file_that_says_nothing_is_no_obstacle() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = crate::prediction_log::files::LocalFiles;
        std::fs::write(dir.path().join(FILE), b"torn").expect("written");
        let clock = Clock::start(&files, dir.path(), START_US);
        assert_eq!(clock.state.lock().believed_us, START_US);
        let (_, kept) = Slots::open(&dir.path().join(FILE), MAGIC).expect("readable");
        assert_eq!(kept, Some(START_US));
        // Nor is a directory in which it cannot be made.
        let clock = Clock::start(&files, &dir.path().join("none"), START_US);
        assert_eq!(clock.look(START_US + 1, Instant::now()), START_US + 1);
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
