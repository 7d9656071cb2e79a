//! How well scores rank the positive above the negative.
//!
//! Owns the two histograms and the areas that they allow. What happens within a bin is not known, so that each area
//! is an interval, which holds the area of the very scores for certain: for the ROC curve it is as wide as
//! the chance that a positive and a negative share a bin. The scores 0 and 1 have bins of their own, in which all
//! are ties, so that nothing is unknown.

use std::iter::Peekable;
use std::slice::Iter;

use super::Step;
use super::scores::{ScoreCell, ScoreCounts};
use crate::domain::stats::confidence::{self, Interval, Moments};
use serde::{Deserialize, Serialize};

/// Scores of the positive class, by truth.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ranking {
    /// Of those that were positive.
    pub positive: ScoreCounts,
    /// Of those that were not.
    pub negative: ScoreCounts,
}

/// A bin that is not empty.
struct Bin {
    positive: u64,
    negative: u64,
    /// All its scores are the same.
    is_point: bool,
}

impl Ranking {
    pub(super) fn step(&mut self, score: f64, is_positive: bool, step: Step) {
        let counts = if is_positive { &mut self.positive } else { &mut self.negative };
        counts.step(score, step);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.positive.merge(&other.positive);
        self.negative.merge(&other.negative);
    }

    /// Scores.
    pub fn n(&self) -> u64 {
        self.positive.n() + self.negative.n()
    }

    pub(super) fn bytes(&self) -> usize {
        self.positive.bytes() + self.negative.bytes()
    }

    /// Bins that are not empty, from the lowest scores up.
    fn bins(&self) -> Vec<Bin> {
        let (mut positive, mut negative) =
            (self.positive.cells().iter().peekable(), self.negative.cells().iter().peekable());
        let mut bins = Vec::new();
        loop {
            let next = match (positive.peek(), negative.peek()) {
                (Some(p), Some(n)) => {
                    if p.bin < n.bin {
                        **p
                    } else {
                        **n
                    }
                }
                (Some(one), None) | (None, Some(one)) => **one,
                (None, None) => return bins,
            };
            let take = |cells: &mut Peekable<Iter<'_, ScoreCell>>| {
                cells.next_if(|cell| cell.bin == next.bin).map_or(0, |cell| cell.count)
            };
            let (positive, negative) = (take(&mut positive), take(&mut negative));
            bins.push(Bin { positive, negative, is_point: next.is_point() });
        }
    }

    /// The area under the ROC curve: the chance that a positive has the higher score, ties counting half. `None`
    /// without both.
    #[expect(clippy::cast_precision_loss, reason = "rounded once at the end")]
    pub fn auc(&self) -> Option<Interval> {
        let (positives, negatives) = (self.positive.n(), self.negative.n());
        if positives == 0 || negatives == 0 {
            return None;
        }
        // All are doubled, so that a tie is one.
        let (mut below, mut lower, mut upper) = (0u128, 0u128, 0u128);
        for bin in self.bins() {
            let (positive, negative) = (u128::from(bin.positive), u128::from(bin.negative));
            let (won, within) = (2 * positive * below, positive * negative);
            lower += won + if bin.is_point { within } else { 0 };
            upper += won + if bin.is_point { within } else { 2 * within };
            below += negative;
        }
        let pairs = (2 * u128::from(positives) * u128::from(negatives)) as f64;
        Some(Interval { lower: lower as f64 / pairs, upper: upper as f64 / pairs })
    }

    /// Where the area under the ROC curve lies of all that could have been predicted: what the bins hide, and chance on
    /// top. The variance of the area is at most `a (1 - a)` over the smaller of the two numbers (Birnbaum and Klose,
    /// Annals of Mathematical Statistics 1957), for which the confidence sequence of a mean is taken.
    pub fn auc_within(&self, alpha: f64) -> Option<Interval> {
        let seen = self.auc()?;
        let area = f64::midpoint(seen.lower, seen.upper);
        let n = self.positive.n().min(self.negative.n());
        let moments = Moments { n, mean: area, variance: area * (1.0 - area) };
        let chance = (confidence::mean(moments, alpha)?.upper - area).max(0.0);
        Some(Interval { lower: seen.lower - chance, upper: seen.upper + chance }.clamped(0.0, 1.0))
    }

    /// The average precision: the area under the precision-recall curve as steps, as scikit-learn has it.
    /// `None` without positives.
    ///
    /// In a bin with `p` positives and `n` negatives, behind `t` true and `f` false ones of higher bins, the `j`-th
    /// positive has a precision of at least `(t+j)/(t+j+f+n)`, and all have at most `(t+p)/(t+p+f)`.
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    pub fn pr_auc(&self) -> Option<Interval> {
        let positives = self.positive.n();
        if positives == 0 {
            return None;
        }
        let (mut trues, mut falses, mut lower, mut upper) = (0.0, 0.0, 0.0, 0.0);
        for bin in self.bins().into_iter().rev() {
            let (p, n) = (bin.positive as f64, bin.negative as f64);
            if bin.is_point {
                let tied = p * (trues + p) / (trues + p + falses + n);
                lower += tied;
                upper += tied;
            } else {
                lower += precision_sum(trues, p, falses + n);
                if p > 0.0 {
                    upper += p * (trues + p) / (trues + p + falses);
                }
            }
            trues += p;
            falses += n;
        }
        let all = positives as f64;
        Some(Interval { lower: (lower / all).min(1.0), upper: (upper / all).min(1.0) })
    }
}

/// At most the sum of `(t+j)/(t+j+f)` for `j` from 1 to `p`, and hardly less: one over a number is convex, so that each
/// term of the sum of `f/(t+f+j)` is at most its integral about `j`.
fn precision_sum(t: f64, p: f64, f: f64) -> f64 {
    if f <= 0.0 {
        return p;
    }
    let from = t + f + 0.5;
    p - f * (p / from).ln_1p()
}
