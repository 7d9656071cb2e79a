//! Whether one constant factor explains how a feature differs from its baseline: somebody changed its unit.
//!
//! Owns the estimate of the factor and of its error ([`Ruler`]), what else could explain a difference ([`Change`], with the
//! units that people confuse: [`units`]), and the test over time ([`watch`]). Never counts, and never keeps time.
//!
//! A factor of 1.09 (metres and yards) shifts a feature that is as wide as an exponential one by a population stability
//! index of .007, which is below any margin that ordinary traffic needs. But nothing in nature makes every value the same
//! nine percent larger, for days and at every hour. So the factor is tested by itself. The baseline's distribution
//! function `F` is known at its edges, and straight between them; if every value was multiplied by `a`, the share below
//! an edge `e` is `F(e / a)`. The factor is the one of the greatest likelihood on tenths of the baseline; Fisher's
//! information of these shares says how far off it may be.

pub mod units;
pub mod watch;

use serde::{Deserialize, Serialize};

use super::super::baseline::Reference;
use super::super::chi2;
use super::super::counts::FeatureCounts;
use super::super::distance::psi;
use super::super::groups::Groups;
use super::super::layout::{Feature, FeatureKind};

/// The largest factor, as a logarithm, that is estimated from shares: 2.2. What is larger is no matter of a fine test.
const LN_FACTOR_MAX: f64 = 0.8;
/// The steps of the first search, each way.
const STEPS: i32 = 20;
/// How often an interval is cut by the golden section: .08 becomes a millionth.
const CUTS: u32 = 24;
/// The distance at which shares are differentiated.
const DIFFERENCE: f64 = 0.02;
/// Information, for each value, below which a factor changes next to nothing.
const INFORMATION_MIN: f64 = 0.01;
/// What of a difference a change may leave and still explain it.
const LEFT_MAX: f64 = 0.1;
/// What a factor must leave less than that of known units to be taken before it, and what it costs for each e-fold that it
/// is apart from the ratio of the means: next to nothing, as indexes go.
const FREE: f64 = 0.001;
const APART: f64 = 0.001;
/// So many e-folds apart are means of unlike signs.
const APART_MAX: f64 = 10.0;
/// By how much the distance of smallest and largest value may be another than a change lets expect.
const SPAN: f64 = 5.0;
/// The chance of more than is allowed for, where a change does explain it.
const LEFT_CHANCE: f64 = 1e-3;

/// The baseline of a numeric feature, as a rule for what a factor does to it.
#[derive(Debug, Clone)]
pub struct Ruler {
    /// Where the distribution function is known, and what it is there; both rise.
    known: Box<[(f64, f64)]>,
    /// Where one value has a bin of its own.
    points: Box<[f64]>,
    groups: Groups,
    /// Where each group but the last ends.
    cuts: Box<[f64]>,
    /// The values of the reference in each group, and in all.
    reference: Vec<f64>,
    total: f64,
    mean: Option<f64>,
}

/// A factor, as it is estimated of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Its natural logarithm.
    pub ln_factor: f64,
    /// Fisher's information about it in one value.
    pub information: f64,
}

/// What may have been done to every value: multiplied, and something added.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The factor.
    pub factor: f64,
    /// What is added then.
    pub offset: f64,
    /// The standard error of the factor's logarithm; 0 where that is not known.
    pub error: f64,
}

impl Change {
    /// Only a factor, given by its natural logarithm.
    pub fn by(ln_factor: f64) -> Self {
        Self { factor: ln_factor.exp(), offset: 0.0, error: 0.0 }
    }

    /// What was there before.
    fn undo(self, number: f64) -> f64 {
        (number - self.offset) / self.factor
    }
}

impl Ruler {
    /// The ruler of a feature; `None` for one that is no number, or whose reference does not say where it begins and ends.
    pub fn new(feature: &Feature, reference: &Reference) -> Option<Self> {
        let FeatureKind::Numeric(edges) = feature.kind() else { return None };
        let (counts, total) = (reference.counts(), reference.total());
        let (min, max) = reference.range?;
        let groups = Groups::new(feature, counts);
        let ends: Vec<f64> = edges.cuts().iter().map(|&cut| f64::from(cut)).collect();
        let (first, last) = (ends.first()?, ends.last()?);
        if total <= 0.0 || groups.df() < 1.0 {
            return None;
        }
        let mut below = 0.0;
        let inner = ends.iter().zip(counts).map(|(end, count)| {
            below += count / total;
            (*end, below)
        });
        let mut known = vec![(min.min(*first), 0.0)];
        known.extend(inner);
        known.push((max.max(*last), 1.0));
        // Of two at one place the later one holds: the first and the last bin may be empty.
        known.dedup_by(|later, earlier| {
            let is_same = later.0 <= earlier.0;
            if is_same {
                earlier.1 = later.1;
            }
            is_same
        });
        let cuts = groups.ends().filter_map(|bin| ends.get(bin).copied()).collect();
        let means = reference.means.iter().zip(counts).filter(|(_, count)| **count > 0.0);
        let sum: Option<f64> = means.map(|(mean, count)| Some((*mean)? * count)).sum();
        let reference = groups.expected(counts);
        let mean = sum.map(|sum| sum / total);
        let points = edges.point_masses().iter().map(|&point| f64::from(point)).collect();
        Some(Self { known: known.into(), points, groups, cuts, reference, total, mean })
    }

    /// The values of the reference.
    pub const fn total(&self) -> f64 {
        self.total
    }

    /// The counts of a window, in groups.
    pub fn group(&self, counts: &FeatureCounts) -> Vec<f64> {
        #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
        self.groups.sum(counts.bins(), |count| count as f64)
    }

    /// The share of the reference below a number.
    fn below(&self, number: f64) -> f64 {
        let at = self.known.partition_point(|(place, _)| *place <= number);
        let before = at.checked_sub(1).and_then(|at| self.known.get(at));
        match (before, self.known.get(at)) {
            // Between a value and the next float there is nothing: all of a point mass lies at its place.
            (Some((from, low)), Some((_, high))) if self.points.contains(from) => {
                if number > *from { *high } else { *low }
            }
            (Some((from, low)), Some((to, high))) => {
                low + (high - low) * (number - from) / (to - from)
            }
            (Some((_, share)), None) => *share,
            (None, _) => 0.0,
        }
    }

    /// The shares of the groups after a change. None is zero: the reference does not have all that there is.
    fn shares(&self, change: Change) -> Vec<f64> {
        let least = 0.5 / self.total;
        let mut before = 0.0;
        let ends = self.cuts.iter().map(|cut| self.below(change.undo(*cut)));
        let shares: Vec<f64> = ends
            .chain([1.0])
            .map(|below| {
                let share = (below - before).max(least);
                before = below;
                share
            })
            .collect();
        let sum: f64 = shares.iter().sum();
        shares.into_iter().map(|share| share / sum).collect()
    }

    /// The factor under which these groups are the likeliest; `None` where it is larger than a fine test can tell, or
    /// changes nothing.
    pub fn estimate(&self, groups: &[f64]) -> Option<Estimate> {
        let likelihood = |ln_factor: f64| -> f64 {
            let shares = self.shares(Change::by(ln_factor));
            groups.iter().zip(shares).map(|(count, share)| count * share.ln()).sum()
        };
        let step = LN_FACTOR_MAX / f64::from(STEPS);
        let tried = (-STEPS..=STEPS).map(|at| (at, likelihood(f64::from(at) * step)));
        let (best, _) = tried.max_by(|a, b| a.1.total_cmp(&b.1))?;
        if best.abs() == STEPS {
            return None;
        }
        let ln_factor = climb(f64::from(best) * step, step, likelihood);
        let [less, at, more] = [-DIFFERENCE, 0.0, DIFFERENCE]
            .map(|difference| self.shares(Change::by(ln_factor + difference)));
        let slopes = less.iter().zip(&more).map(|(less, more)| (more - less) / (2.0 * DIFFERENCE));
        let information: f64 = slopes.zip(&at).map(|(slope, share)| slope * slope / share).sum();
        (information >= INFORMATION_MIN).then_some(Estimate { ln_factor, information })
    }

    /// The index of these groups against the reference after a change.
    pub fn left(&self, groups: &[f64], change: Change) -> f64 {
        let expected: Vec<f64> =
            self.shares(change).into_iter().map(|share| share * self.total).collect();
        psi(groups, &expected)
    }

    /// The index of these groups against the reference as it is.
    pub fn difference(&self, groups: &[f64]) -> f64 {
        psi(groups, &self.reference)
    }

    /// An index that chance alone exceeds with probability `chance`.
    fn allowance(&self, groups: &[f64], chance: f64) -> f64 {
        let n: f64 = groups.iter().sum();
        let effective = n * self.total / (n + self.total).max(1.0);
        let df = groups.len().saturating_sub(1) as f64;
        if effective > 0.0 { chi2::upper_quantile(chance, df) / effective } else { f64::INFINITY }
    }

    /// The change that explains how a window differs, if one does: a factor of any size, or degrees of the other scale.
    pub fn explain(&self, counts: &FeatureCounts) -> Option<Change> {
        let groups = self.group(counts);
        let difference = self.difference(&groups);
        let means = counts.mean().zip(self.mean);
        let of_means = means.map(|(now, before)| (now / before).ln()).filter(|ln| ln.is_finite());
        let estimated = self.estimate(&groups).map(|estimate| estimate.ln_factor);
        let free = estimated.into_iter().chain(of_means).map(|ln| (Change::by(ln), FREE));
        let known = units::ln_factors().map(Change::by).chain(units::DEGREES);
        let tried = free.chain(known.map(|change| (change, 0.0)));
        let judged =
            tried.filter(|(change, _)| self.spans(counts, *change)).map(|(change, price)| {
                // Where all lie beyond the last edge only their mean tells one change from another.
                let apart = means.map_or(0.0, |(now, before)| {
                    let ln = (now / (before * change.factor + change.offset)).ln().abs();
                    if ln.is_finite() { ln } else { APART_MAX }
                });
                let left = self.left(&groups, change);
                (left + price + APART * apart, left, change)
            });
        let (_, left, change) = judged.min_by(|a, b| a.0.total_cmp(&b.0))?;
        let chance = self.allowance(&groups, LEFT_CHANCE);
        let is_change = change.factor.ln().abs() > watch::ln_factor_min() || change.offset != 0.0;
        let explains = left <= LEFT_MAX * difference + chance && left < difference / 2.0;
        (difference > chance && is_change && explains).then_some(change)
    }

    /// Whether the values are as far apart as a change would have them, or nearly: a constant is no multiple.
    fn spans(&self, counts: &FeatureCounts, change: Change) -> bool {
        let now = f64::from(counts.max()) - f64::from(counts.min());
        let (first, last) = (self.known.first(), self.known.last());
        let before = last.zip(first).map_or(0.0, |(last, first)| last.0 - first.0);
        (1.0 / SPAN..SPAN).contains(&(now / (before * change.factor)))
    }
}

/// The place of the maximum of `of` within `reach` of `from`, by the golden section.
fn climb(from: f64, reach: f64, of: impl Fn(f64) -> f64) -> f64 {
    let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (from - reach, from + reach);
    let (mut a, mut b) = (high - golden * (high - low), low + golden * (high - low));
    let (mut of_a, mut of_b) = (of(a), of(b));
    for _ in 0..CUTS {
        if of_a < of_b {
            (low, a, of_a) = (a, b, of_b);
            b = low + golden * (high - low);
            of_b = of(b);
        } else {
            (high, b, of_b) = (b, a, of_a);
            a = high - golden * (high - low);
            of_a = of(a);
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests;
