//! What was usual at like hours.
//!
//! Owns the memory of a model's traffic: of each hour of the last five weeks the busiest and the quietest
//! window and the longest silence in it. What is usual now is what the same hour of the week had, an hour
//! more or less on either side (clocks are changed, people are late); before there is a week, the same
//! hour of the days before, or the last day. The middle of several weeks is taken, so that one outage or
//! one holiday does not become what is usual.
//!
//! The busiest and quietest window rather than an average: traffic that comes in bursts has a wide band by
//! itself, and no assumption about its distribution is needed.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

const HOUR: u64 = 60;
const DAY_HOURS: u64 = 24;
const WEEK_HOURS: u64 = 7 * DAY_HOURS;
/// Hours that are remembered.
const HOURS_MAX: usize = 5 * 7 * 24;
/// How many weeks, or days, are looked back at.
const WEEKS: u64 = 4;
const DAYS: u64 = 6;
/// An hour counts once so many of its minutes were looked at.
const LOOKS_MIN: u8 = 50;

/// What one look saw of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The minute that was closed, since the Unix epoch.
    pub minute: u64,
    /// Requests in that minute.
    pub requests: u64,
    /// Requests in the window that ends with it.
    pub window: u64,
}

/// One hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Hour {
    /// Minutes looked at.
    looks: u8,
    /// Requests of the busiest window.
    peak: u64,
    /// Requests of the quietest window.
    trough: u64,
    /// The longest run of minutes without a request within the hour.
    gap: u8,
    /// The run that is on at its end.
    run: u8,
}

impl Hour {
    fn add(&mut self, look: Look) {
        self.peak = self.peak.max(look.window);
        self.trough = if self.looks == 0 { look.window } else { self.trough.min(look.window) };
        self.run = if look.requests == 0 { self.run.saturating_add(1) } else { 0 };
        self.gap = self.gap.max(self.run);
        self.looks = self.looks.saturating_add(1);
    }

    const fn counts(&self) -> bool {
        self.looks >= LOOKS_MIN
    }
}

/// On what the word "usual" rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The same hour of the week, in so many weeks.
    Weeks(u64),
    /// The same hour of the day, on so many days.
    Days(u64),
    /// So many hours just before.
    Hours(u64),
}

/// What is usual at an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usual {
    /// On what it rests.
    pub basis: Basis,
    /// Requests of a quiet window.
    pub trough: u64,
    /// Requests of a busy window.
    pub peak: u64,
    /// The longest silence within an hour, in minutes; 60 where whole hours are silent.
    pub gap: u64,
}

/// The memory of one model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// The hour of the last entry, since the Unix epoch.
    newest: u64,
    /// One entry an hour without gaps, the newest last; at most [`HOURS_MAX`].
    hours: VecDeque<Hour>,
    /// Minutes without a request, up to now, that were unusual.
    silent: u64,
    /// Minutes without a request, up to now.
    #[serde(default)]
    quiet: u64,
}

impl History {
    /// Takes note whether a minute had requests; `since` is how many minutes ago the last one is known to have been.
    pub fn rest(&mut self, requests: u64, since: Option<u64>) {
        let quiet = if requests == 0 { self.quiet.saturating_add(1) } else { 0 };
        // What was kept may be older than the last request.
        self.quiet = since.map_or(quiet, |since| quiet.min(since));
    }

    /// Minutes without a request, up to now, over restarts.
    pub const fn quiet(&self) -> u64 {
        self.quiet
    }

    /// Takes in a look. One for an hour that has passed is left out.
    pub fn add(&mut self, look: Look) {
        let hour = look.minute / HOUR;
        if self.hours.is_empty() || hour > self.newest + HOURS_MAX as u64 {
            self.hours.clear();
            self.hours.push_back(Hour::default());
            self.newest = hour;
        }
        while self.newest < hour {
            self.newest += 1;
            self.hours.push_back(Hour::default());
            if self.hours.len() > HOURS_MAX {
                self.hours.pop_front();
            }
        }
        if hour < self.newest {
            return;
        }
        if let Some(newest) = self.hours.back_mut() {
            newest.add(look);
        }
        let unusual = self.usual(look.minute).is_some_and(|usual| usual.gap < HOUR);
        self.silent = match (look.requests, unusual) {
            (0, true) => self.silent + 1,
            (0, false) => self.silent,
            _ => 0,
        };
    }

    /// Forgets hours after this minute: the clock was ahead, and has been set right.
    pub fn set_back(&mut self, minute: u64) {
        while self.newest > minute / HOUR && self.hours.pop_back().is_some() {
            self.newest -= 1;
        }
    }

    /// Minutes without a request up to now, those left out in which none were to be expected.
    pub const fn silent(&self) -> u64 {
        self.silent
    }

    /// What is usual in this minute; `None` before a whole hour was seen.
    pub fn usual(&self, minute: u64) -> Option<Usual> {
        let hour = minute / HOUR;
        let weekly = self.like(hour, WEEK_HOURS, WEEKS).map(|(n, usual)| (Basis::Weeks(n), usual));
        let daily = || self.like(hour, DAY_HOURS, DAYS).map(|(n, usual)| (Basis::Days(n), usual));
        let recent = || self.recent(hour).map(|(n, usual)| (Basis::Hours(n), usual));
        let (basis, (trough, peak, gap)) = weekly.or_else(daily).or_else(recent)?;
        Some(Usual { basis, trough, peak, gap })
    }

    /// The middle of the hours that lie multiples of `period` before `hour`, widened by both neighbours.
    fn like(&self, hour: u64, period: u64, times: u64) -> Option<(u64, (u64, u64, u64))> {
        let slot = |at: u64| -> Vec<Hour> {
            let befores = (1..=times).filter_map(|time| at.checked_sub(time * period));
            befores.filter_map(|at| self.hour(at)).collect()
        };
        let own = slot(hour);
        let count = own.len() as u64;
        let sides = [hour.checked_sub(1), Some(hour + 1)];
        let sides = sides.into_iter().flatten().map(slot);
        let mut wide: Option<(u64, u64, u64)> = None;
        for hours in std::iter::once(own).chain(sides) {
            match (middle(&hours), wide) {
                (None, None) => return None,
                (None, Some(_)) => {}
                (Some(middle), None) => wide = Some(middle),
                (Some(m), Some(w)) => wide = Some((w.0.min(m.0), w.1.max(m.1), w.2.max(m.2))),
            }
        }
        wide.map(|wide| (count, wide))
    }

    /// The extremes of the day before.
    fn recent(&self, hour: u64) -> Option<(u64, (u64, u64, u64))> {
        let hours = (1..=DAY_HOURS).filter_map(|before| self.hour(hour.checked_sub(before)?));
        let hours: Vec<Hour> = hours.collect();
        let trough = hours.iter().map(|hour| hour.trough).min()?;
        let peak = hours.iter().map(|hour| hour.peak).max()?;
        let gap = hours.iter().map(|hour| hour.gap).max()?;
        Some((hours.len() as u64, (trough, peak, u64::from(gap))))
    }

    /// An hour that was looked at long enough.
    fn hour(&self, at: u64) -> Option<Hour> {
        let back = usize::try_from(self.newest.checked_sub(at)?).ok()?;
        let index = self.hours.len().checked_sub(back + 1)?;
        self.hours.get(index).copied().filter(Hour::counts)
    }
}

/// The medians of trough, peak and gap. Of an even number, the wider one.
fn middle(hours: &[Hour]) -> Option<(u64, u64, u64)> {
    let sorted = |of: fn(&Hour) -> u64| {
        let mut values: Vec<u64> = hours.iter().map(of).collect();
        values.sort_unstable();
        values
    };
    let low = hours.len().checked_sub(1)? / 2;
    let high = hours.len() / 2;
    Some((
        sorted(|hour| hour.trough).get(low).copied()?,
        sorted(|hour| hour.peak).get(high).copied()?,
        sorted(|hour| u64::from(hour.gap)).get(high).copied()?,
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A Monday, 00:00.
    const MONDAY: u64 = (4 + 7 * 2900) * 1440;

    /// Feeds a model whose requests a minute are a function of the minute since [`MONDAY`].
    fn feed(history: &mut History, minutes: std::ops::Range<u64>, rate: impl Fn(u64) -> u64) {
        for minute in minutes {
            let window = (minute.saturating_sub(4)..=minute).map(&rate).sum();
            history.add(Look { minute: MONDAY + minute, requests: rate(minute), window });
        }
    }

    /// 20 requests a minute on working days from 9 to 17.
    fn office(minute: u64) -> u64 {
        let (day, hour) = (minute / 1440 % 7, minute / 60 % 24);
        if day < 5 && (9..17).contains(&hour) { 20 } else { 0 }
    }

    #[test]
    fn nothing_is_usual_before_an_hour_was_seen() {
        let mut history = History::default();
        feed(&mut history, 0..60, |_| 1);
        assert_eq!(history.usual(MONDAY + 30), None);
        feed(&mut history, 60..61, |_| 1);
        let usual = history.usual(MONDAY + 60).expect("an hour");
        assert_eq!((usual.basis, usual.peak, usual.gap), (Basis::Hours(1), 5, 0));
    }

    #[test]
    fn after_a_week_like_hours_are_compared() {
        let mut history = History::default();
        feed(&mut history, 0..8 * 1440, office);
        // Monday noon, and Sunday noon.
        let noon = history.usual(MONDAY + 7 * 1440 + 12 * 60).expect("a week");
        assert_eq!((noon.basis, noon.trough, noon.peak, noon.gap), (Basis::Weeks(1), 100, 100, 0));
        let sunday = history.usual(MONDAY + 13 * 1440 + 12 * 60);
        let sunday = sunday.expect("a week");
        assert_eq!((sunday.trough, sunday.peak, sunday.gap), (0, 0, 60));
        // The hour next to a silent one is as wide as that.
        let nine = history.usual(MONDAY + 8 * 1440 + 9 * 60).expect("a week");
        assert_eq!((nine.trough, nine.peak, nine.gap), (0, 100, 60));
    }

    #[test]
    fn nights_and_weekends_are_no_silence_once_a_week_was_seen() {
        let mut history = History::default();
        // The first weekend looks like an outage: until then, all days were alike.
        feed(&mut history, 0..7 * 1440 + 9 * 60 + 1, office);
        let mut longest = 0;
        for minute in 7 * 1440 + 9 * 60 + 1..21 * 1440 {
            feed(&mut history, minute..minute + 1, office);
            longest = longest.max(history.silent());
        }
        assert_eq!(longest, 0);
        // An outage at noon of a Tuesday is one.
        feed(&mut history, 21 * 1440..22 * 1440 + 12 * 60, office);
        feed(&mut history, 22 * 1440 + 12 * 60..22 * 1440 + 12 * 60 + 15, |_| 0);
        assert_eq!(history.silent(), 15);
    }

    #[test]
    fn one_outage_does_not_become_what_is_usual() {
        let mut history = History::default();
        let outage = 14 * 1440..15 * 1440;
        feed(&mut history, 0..28 * 1440, |minute| if outage.contains(&minute) { 0 } else { 20 });
        let usual = history.usual(MONDAY + 28 * 1440 + 600).expect("weeks");
        assert_eq!((usual.basis, usual.trough, usual.gap), (Basis::Weeks(4), 100, 0));
    }

    #[test]
    fn hours_in_which_the_gateway_was_down_are_not_counted() {
        let mut history = History::default();
        feed(&mut history, 0..60, |_| 20);
        feed(&mut history, 90..120, |_| 20);
        feed(&mut history, 120..121, |_| 20);
        let usual = history.usual(MONDAY + 120).expect("an hour");
        assert_eq!((usual.basis, usual.gap), (Basis::Hours(1), 0));
    }

    proptest! {
        // Each case writes and reads weeks of hours many times.
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn memory_is_bounded_and_is_kept_over_a_restart(jumps in proptest::collection::vec((0..20_000_u64, 0..5_u64), 1..30)) {
            let mut history = History::default();
            let mut minute = MONDAY;
            for (jump, requests) in jumps {
                minute += jump;
                history.add(Look { minute, requests, window: requests });
                prop_assert!(history.hours.len() <= HOURS_MAX);
                let kept = serde_json::to_string(&history).expect("text");
                let again: History = serde_json::from_str(&kept).expect("a history");
                prop_assert_eq!(&again, &history);
            }
        }
    }
}
