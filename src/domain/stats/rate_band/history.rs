//! What was usual at like hours.
//!
//! Owns the memory of a model's traffic: of each hour of the last five weeks the busiest and the quietest
//! window, and how many of its minutes had requests. What is usual now is what the same hour of the week had, an hour
//! more or less on either side (clocks are changed, people are late); before there is a week, the same
//! hour of the days before, or the last day. The middle of several weeks is taken, so that one outage or
//! one holiday does not become what is usual.
//!
//! The busiest and quietest window rather than an average: traffic that comes in bursts has a wide band by
//! itself, and no assumption about its distribution is needed.
//!
//! A silence is told from chance by an e-value: of a Poisson process that had `k` events in a time `T`, and then none
//! for a time `S`, `(1 + S/T)^k` is 1 on average over both, whatever its rate. So a silence that the like hours make a
//! million times too long has a chance of at most one in a million, their own small number included; and the factors of
//! hours after each other multiply. The events are minutes with requests, not requests: a batch is one. Where such
//! minutes come in a row, they are as many as there would have to be by themselves for that many silences to end.

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
/// Evidence is kept in millionths of a nat.
const NAT: f64 = 1e6;

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
    /// Minutes with requests.
    #[serde(default)]
    busy: u8,
    /// Those of them before which there was a minute without.
    #[serde(default)]
    ends: u8,
    /// Minutes without a request at its end.
    run: u8,
}

impl Hour {
    /// Takes in a look; whether the one before it was without a request.
    fn add(&mut self, look: Look, was_quiet: bool) {
        self.peak = self.peak.max(look.window);
        self.trough = if self.looks == 0 { look.window } else { self.trough.min(look.window) };
        if look.requests == 0 {
            self.run = self.run.saturating_add(1);
        } else {
            self.run = 0;
            self.busy = self.busy.saturating_add(1);
            self.ends = self.ends.saturating_add(u8::from(was_quiet));
        }
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

/// How often there is a minute with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Busy {
    /// Minutes with requests. Of those in a row, fewer.
    pub minutes: u64,
    /// Of so many.
    pub of: u64,
}

impl Busy {
    fn of_hours<'a>(hours: impl IntoIterator<Item = &'a Hour>) -> Self {
        let mut sum = Self::default();
        for hour in hours {
            let (busy, of) = (u64::from(hour.busy), u64::from(hour.looks));
            // As many as end the silences there are; where there is none, nothing speaks against them all.
            let alone = (u64::from(hour.ends) * of).checked_div(of.saturating_sub(busy));
            sum.minutes += alone.map_or(busy, |alone| busy.min(alone));
            sum.of += of;
        }
        sum
    }

    /// Whether there are fewer in the same time.
    const fn is_below(self, other: Self) -> bool {
        self.minutes * other.of < other.minutes * self.of
    }

    /// The logarithm of the e-value of a silence of so many minutes.
    fn nats(self, silent: u64) -> f64 {
        if self.of == 0 {
            0.0
        } else {
            float(self.minutes) * (float(silent) / float(self.of)).ln_1p()
        }
    }

    /// From how many minutes on a silence is one whose chance is at most `chance`; `None` for never.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    pub fn silence(self, chance: f64) -> Option<u64> {
        let minutes = float(self.of) * (-chance.ln() / float(self.minutes)).exp_m1();
        minutes.is_finite().then(|| minutes.ceil() as u64)
    }
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
    /// How often there is a minute with requests.
    pub busy: Busy,
}

/// The memory of one model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// The hour of the last entry, since the Unix epoch.
    newest: u64,
    /// One entry an hour without gaps, the newest last; at most [`HOURS_MAX`].
    hours: VecDeque<Hour>,
    /// Minutes without a request, up to now.
    #[serde(default)]
    quiet: u64,
    /// How unlikely that is, in [`NAT`]ths.
    #[serde(default)]
    doubt: u64,
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
        let was_quiet = self.is_quiet();
        let Some(newest) = self.hours.back_mut() else { return };
        newest.add(look, was_quiet);
        if look.requests > 0 {
            self.doubt = 0;
            return;
        }
        let run = u64::from(newest.run);
        let busy = self.busy(hour).map_or_else(Busy::default, |(_, busy)| busy);
        self.doubt = self.doubt.saturating_add(nats(busy.nats(run) - busy.nats(run - 1)));
    }

    /// Whether the last look was without a request.
    fn is_quiet(&self) -> bool {
        let looked = self.hours.iter().rev().take(2).find(|hour| hour.looks > 0);
        looked.is_some_and(|hour| hour.run > 0)
    }

    /// Forgets hours after this minute: the clock was ahead, and has been set right.
    pub fn set_back(&mut self, minute: u64) {
        while self.newest > minute / HOUR && self.hours.pop_back().is_some() {
            self.newest -= 1;
        }
    }

    /// A bound on the chance that there was no request up to now.
    pub fn silence_bound(&self) -> f64 {
        (-float(self.doubt) / NAT).exp()
    }

    /// What is usual in this minute; `None` before a whole hour was seen.
    pub fn usual(&self, minute: u64) -> Option<Usual> {
        let hour = minute / HOUR;
        let (basis, busy) = self.busy(hour)?;
        let (trough, peak) = match basis {
            Basis::Weeks(_) => self.band(hour, WEEK_HOURS, WEEKS)?,
            Basis::Days(_) => self.band(hour, DAY_HOURS, DAYS)?,
            Basis::Hours(_) => {
                let trough = self.day_before(hour).map(|hour| hour.trough).min()?;
                (trough, self.day_before(hour).map(|hour| hour.peak).max()?)
            }
        };
        Some(Usual { basis, trough, peak, busy })
    }

    /// How often there is a minute with requests, and from which hours that is known.
    fn busy(&self, hour: u64) -> Option<(Basis, Busy)> {
        let weekly = self.least(hour, WEEK_HOURS, WEEKS).map(|(n, busy)| (Basis::Weeks(n), busy));
        let daily = || {
            let (days, least) = self.least(hour, DAY_HOURS, DAYS)?;
            // Before a weekend was seen, a quiet morning is all that tells it.
            let now = self.last_busy(hour)?;
            Some((Basis::Days(days), if now.is_below(least) { now } else { least }))
        };
        let recent = || {
            let hours = self.day_before(hour).map(|hour| Busy::of_hours([&hour]));
            let least = hours.reduce(|least, it| if it.is_below(least) { it } else { least })?;
            Some((Basis::Hours(self.day_before(hour).count() as u64), least))
        };
        weekly.or_else(daily).or_else(recent)
    }

    /// The hours that lie multiples of `period` before `at`.
    fn before(&self, at: u64, period: u64, times: u64) -> Vec<Hour> {
        let befores = (1..=times).filter_map(|time| at.checked_sub(time * period));
        befores.filter_map(|at| self.hour(at)).collect()
    }

    /// The middle of the hours that lie multiples of `period` before `hour`, widened by both neighbours.
    fn band(&self, hour: u64, period: u64, times: u64) -> Option<(u64, u64)> {
        let mut wide = middle(&self.before(hour, period, times))?;
        for side in [hour.checked_sub(1), Some(hour + 1)].into_iter().flatten() {
            if let Some((trough, peak)) = middle(&self.before(side, period, times)) {
                wide = (wide.0.min(trough), wide.1.max(peak));
            }
        }
        Some(wide)
    }

    /// The least busy of the hours that lie multiples of `period` before `hour` and of their neighbours, and how many
    /// there are of the first. Of several, the busiest one is left out: it may have been a test.
    fn least(&self, hour: u64, period: u64, times: u64) -> Option<(u64, Busy)> {
        let busy = |mut hours: Vec<Hour>| {
            hours.sort_unstable_by_key(|hour| hour.busy);
            let keep = if hours.len() > 1 { hours.len() - 1 } else { 1 };
            Busy::of_hours(hours.iter().take(keep))
        };
        let own = self.before(hour, period, times);
        let count = own.len() as u64;
        let sides = [hour.checked_sub(1), Some(hour + 1)].into_iter().flatten();
        let sides = sides.map(|side| self.before(side, period, times));
        let all = std::iter::once(own).chain(sides).filter(|hours| !hours.is_empty()).map(busy);
        let least = all.reduce(|least, it| if it.is_below(least) { it } else { least })?;
        (count > 0).then_some((count, least))
    }

    /// The busier one of the last two hours that had requests.
    fn last_busy(&self, hour: u64) -> Option<Busy> {
        let busy = self.day_before(hour).filter(|hour| hour.busy > 0).take(2);
        let busy = busy.map(|hour| Busy::of_hours([&hour]));
        busy.reduce(|most, it| if most.is_below(it) { it } else { most })
    }

    /// The hours of the day before, the last one first.
    fn day_before(&self, hour: u64) -> impl Iterator<Item = Hour> {
        (1..=DAY_HOURS).filter_map(move |before| self.hour(hour.checked_sub(before)?))
    }

    /// An hour that was looked at long enough.
    fn hour(&self, at: u64) -> Option<Hour> {
        let back = usize::try_from(self.newest.checked_sub(at)?).ok()?;
        let index = self.hours.len().checked_sub(back + 1)?;
        self.hours.get(index).copied().filter(Hour::counts)
    }
}

/// The medians of trough and peak. Of an even number, the wider one.
fn middle(hours: &[Hour]) -> Option<(u64, u64)> {
    let sorted = |of: fn(&Hour) -> u64| {
        let mut values: Vec<u64> = hours.iter().map(of).collect();
        values.sort_unstable();
        values
    };
    let low = hours.len().checked_sub(1)? / 2;
    let high = hours.len() / 2;
    let trough = sorted(|hour| hour.trough).get(low).copied()?;
    Some((trough, sorted(|hour| hour.peak).get(high).copied()?))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
fn nats(nats: f64) -> u64 {
    (nats * NAT) as u64
}

#[expect(clippy::cast_precision_loss, reason = "counts of minutes stay far below 2^53")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
