//! A factor over time: constant through three days, or none.
//!
//! Owns the days of one feature and what they come to. Parts of a day are windows with enough values; each has a factor of
//! its own. What goes up and down over a day or differs at weekends, and what wanders, has no constant one: that is what
//! the three days and the test for it are for. Never knows which unit it was.
//!
//! ```text
//! window ─▶ factor of its own ─▶ a day ─▶ the last three days together: constant? explained? beyond 3 %? ─▶ Scaled
//!                                   └─▶ a day whose factor is next to one: it is over
//! ```
//!
//! The law: the logarithm of the factor of all three days is about normal; its variance is that of their values and of
//! the baseline's own, both by Fisher's information, times what the parts vary more than chance. Tested is whether it is
//! beyond 3 %, not whether it is 0. Each look takes as much of the budget as its newest day has windows, so that
//! however the looks depend on each other, no more false ones are expected than the budget has. The baseline's own
//! error is the same in all looks, and is in the variance of each.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Change, Estimate, Ruler};
use crate::domain::stats::chi2;
use crate::domain::stats::counts::FeatureCounts;
use crate::domain::stats::window::{Minute, WindowLength};

/// A factor that does not matter.
const FACTOR_MIN: f64 = 1.03;
/// The days through which it must be constant: a weekend has two.
const DAYS: usize = 3;
/// The fewest parts of a day.
const PARTS_MIN: u32 = 4;
/// What the factor of parts may vary by nature, as a standard deviation: hours have different customers.
const NATURE: f64 = 0.01;
/// The chance that parts of a constant factor vary more than is borne.
const VARY_CHANCE: f64 = 1e-3;
/// The same of days, each of which must be beyond [`FACTOR_MIN`], too: a weekend is no new unit.
const DAYS_CHANCE: f64 = 1e-2;
/// What of the difference may be left by it.
const LEFT_MAX: f64 = 0.2;
/// The chance of more than is allowed for beside that.
const LEFT_CHANCE: f64 = 0.01;

/// See [`FACTOR_MIN`], as a logarithm.
pub(super) fn ln_factor_min() -> f64 {
    FACTOR_MIN.ln()
}

/// A constant factor that was found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scaled {
    /// What was done to every value.
    pub change: Change,
    /// A bound on the chance of this factor without any beyond 3 %.
    pub p: f64,
    /// What the bound had to be below.
    pub p_limit: f64,
    /// The index against the baseline, and against the baseline with this factor.
    pub psi: (f64, f64),
    /// The values that it rests on.
    pub n: f64,
    /// How many windows had a factor of their own.
    pub parts: u32,
    /// When they were: the first minute, and the one after the last.
    pub minutes: (Minute, Minute),
}

impl Scaled {
    /// The factor that would not matter, on the same side of one.
    pub fn limit(&self) -> f64 {
        if self.change.factor < 1.0 { 1.0 / FACTOR_MIN } else { FACTOR_MIN }
    }
}

/// Some windows of a feature that are looked at together.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The first minute.
    pub since: Minute,
    /// The minute after the last.
    pub until: Minute,
    /// How many windows.
    pub windows: u32,
    /// Their values.
    pub counts: &'a FeatureCounts,
}

/// What a feature's values are held against.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The baseline.
    pub ruler: &'a Ruler,
    /// By which factor its chunks vary more than independent values would.
    pub dispersion: f64,
    /// What each window brings of the budget.
    pub p_window: f64,
}

/// A day of one feature.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Day {
    since: Minute,
    until: Minute,
    windows: u32,
    parts: u32,
    groups: Vec<f64>,
    /// The weights of its parts, and the sums of the factors' logarithms and of their squares by them.
    weight: f64,
    first: f64,
    second: f64,
    /// A part has no factor.
    is_torn: bool,
}

/// The days of one feature.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Watch {
    day: Day,
    /// The last whole ones, the oldest first.
    days: VecDeque<Day>,
    standing: Option<Scaled>,
}

impl Watch {
    /// What was found and is not over.
    pub const fn standing(&self) -> Option<&Scaled> {
        self.standing.as_ref()
    }

    /// Takes a part into account.
    pub fn hear(&mut self, part: Part<'_>, terms: Terms<'_>) {
        let day = WindowLength::Day.minutes();
        let newest = if self.day.parts > 0 { Some(&self.day) } else { self.days.back() };
        // What lies far apart are no days in a row.
        if newest.is_some_and(|newest| part.since > newest.until.plus(day)) {
            (self.day, self.days) = (Day::default(), VecDeque::new());
        }
        self.day.add(part, terms);
        if self.day.parts < PARTS_MIN || self.day.until < self.day.since.plus(day) {
            return;
        }
        let whole = std::mem::take(&mut self.day);
        if whole.is_as_before(terms) {
            self.standing = None;
        }
        self.days.push_back(whole);
        while self.days.len() > DAYS {
            self.days.pop_front();
        }
        if let Some(found) = self.judge(terms) {
            self.standing = Some(found);
        }
    }

    fn judge(&self, terms: Terms<'_>) -> Option<Scaled> {
        if self.days.len() < DAYS || self.days.iter().any(|day| day.is_torn) {
            return None;
        }
        let mut all = Day::default();
        self.days.iter().for_each(|day| all.merge(day));
        let within: f64 = self.days.iter().map(Day::vary).sum();
        let df = f64::from(all.parts) - DAYS as f64;
        let is_constant = within <= chi2::upper_quantile(VARY_CHANCE, df)
            && self.between() <= chi2::upper_quantile(DAYS_CHANCE, DAYS as f64 - 1.0);
        if !is_constant {
            return None;
        }
        let ruler = terms.ruler;
        let Estimate { ln_factor, information } = ruler.estimate(&all.groups)?;
        let n: f64 = all.groups.iter().sum();
        let more = (within / df).max(1.0);
        let own = NATURE * NATURE / DAYS as f64;
        let error = terms.dispersion * (more / n + 1.0 / ruler.total()) / information + own;
        let error = error.sqrt();
        let beyond = |by: f64| survival(by / error);
        let (far, near) = (ln_factor.abs() + ln_factor_min(), ln_factor.abs() - ln_factor_min());
        let p = beyond(near) + beyond(far);
        let is_beyond = |day: &Day| {
            let own = day.first / day.weight * ln_factor.signum();
            own > ln_factor_min()
        };
        if !self.days.iter().all(is_beyond) {
            return None;
        }
        let newest = self.days.back()?;
        let p_limit = terms.p_window * f64::from(newest.windows);
        let change = Change { error, ..Change::by(ln_factor) };
        let psi = (ruler.difference(&all.groups), ruler.left(&all.groups, change));
        let chance = terms.dispersion * more * ruler.allowance(&all.groups, LEFT_CHANCE);
        let is_explained = psi.1 <= LEFT_MAX * psi.0 + chance && psi.1 < psi.0;
        (p <= p_limit && is_explained).then_some(Scaled {
            change,
            p,
            p_limit,
            psi,
            n,
            parts: all.parts,
            minutes: (all.since, all.until),
        })
    }

    /// How much the days vary, as a chi-squared statistic. They may by nature, as their parts may.
    fn between(&self) -> f64 {
        let (mut weight, mut first, mut second) = (0.0, 0.0, 0.0);
        for day in &self.days {
            let mean = day.first / day.weight;
            let own = 1.0 / (1.0 / day.weight + NATURE * NATURE);
            weight += own;
            first += own * mean;
            second += own * mean * mean;
        }
        second - first * first / weight
    }
}

impl Day {
    /// How much its parts vary, as a chi-squared statistic.
    fn vary(&self) -> f64 {
        self.second - self.first * self.first / self.weight
    }

    fn add(&mut self, part: Part<'_>, terms: Terms<'_>) {
        if self.parts == 0 {
            self.since = part.since;
        }
        self.until = part.until;
        self.windows += part.windows;
        self.parts += 1;
        let groups = terms.ruler.group(part.counts);
        self.add_groups(&groups);
        let Some(Estimate { ln_factor, information }) = terms.ruler.estimate(&groups) else {
            self.is_torn = true;
            return;
        };
        let n: f64 = groups.iter().sum();
        let weight = 1.0 / (terms.dispersion / (n * information) + NATURE * NATURE);
        self.weight += weight;
        self.first += weight * ln_factor;
        self.second += weight * ln_factor * ln_factor;
    }

    fn add_groups(&mut self, groups: &[f64]) {
        self.groups.resize(self.groups.len().max(groups.len()), 0.0);
        self.groups.iter_mut().zip(groups).for_each(|(own, more)| *own += more);
    }

    fn merge(&mut self, other: &Self) {
        if self.parts == 0 {
            self.since = other.since;
        }
        self.until = other.until;
        self.windows += other.windows;
        self.parts += other.parts;
        self.add_groups(&other.groups);
    }

    /// Whether its factor is next to one.
    fn is_as_before(&self, terms: Terms<'_>) -> bool {
        let estimate = terms.ruler.estimate(&self.groups);
        estimate.is_some_and(|estimate| estimate.ln_factor.abs() <= ln_factor_min())
    }
}

/// The probability that a standard normal variable is above `x`.
fn survival(x: f64) -> f64 {
    let half = chi2::survival(x * x, 1.0) / 2.0;
    if x >= 0.0 { half } else { 1.0 - half }
}
