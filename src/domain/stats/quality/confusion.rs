//! Which class was taken for which.
//!
//! Owns the matrix, as the cells that are not empty, and the metrics that follow from it: computed in the order of
//! operations of scikit-learn, so that they agree to the last digit.

use std::collections::BTreeMap;

use super::metric::{IntervalKind, Metric};
use super::{Step, count};
use crate::domain::stats::confidence::{self, Interval};
use serde::{Deserialize, Serialize};

/// The matrix.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Confusion {
    /// By truth and prediction.
    cells: BTreeMap<(u16, u16), u64>,
}

/// What the matrix says about one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassCounts {
    /// It was right to name the class.
    pub hits: u64,
    /// The class was true.
    pub truths: u64,
    /// The class was predicted.
    pub predictions: u64,
}

impl Confusion {
    pub(super) fn step(&mut self, truth: u16, predicted: u16, step: Step) {
        let cell = self.cells.entry((truth, predicted)).or_default();
        count(cell, step);
        if *cell == 0 {
            self.cells.remove(&(truth, predicted));
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (cell, count) in &other.cells {
            *self.cells.entry(*cell).or_default() += count;
        }
    }

    /// The cells that are not empty, as truth, prediction and count.
    pub fn cells(&self) -> impl Iterator<Item = (u16, u16, u64)> {
        self.cells.iter().map(|(&(truth, predicted), &count)| (truth, predicted, count))
    }

    /// Predictions.
    pub fn n(&self) -> u64 {
        self.cells.values().sum()
    }

    /// Predictions that were right.
    pub fn correct(&self) -> u64 {
        self.cells().filter(|(truth, predicted, _)| truth == predicted).map(|cell| cell.2).sum()
    }

    /// The counts of each class that occurs, by class.
    pub fn by_class(&self) -> BTreeMap<u16, ClassCounts> {
        let mut classes: BTreeMap<u16, ClassCounts> = BTreeMap::new();
        for (truth, predicted, count) in self.cells() {
            classes.entry(truth).or_default().truths += count;
            let named = classes.entry(predicted).or_default();
            named.predictions += count;
            if truth == predicted {
                named.hits += count;
            }
        }
        classes
    }

    pub(super) fn bytes(&self) -> usize {
        // A tree's node is about half full.
        self.cells.len() * 2 * size_of::<((u16, u16), u64)>()
    }

    pub(super) fn metrics(&self, positive: Option<u16>, alpha: f64) -> Vec<Metric> {
        let (n, correct) = (self.n(), self.correct());
        if n == 0 {
            return Vec::new();
        }
        let classes = self.by_class();
        let sequence = |name, value, interval| {
            Metric::plain(name, value, n).with(IntervalKind::Sequence, interval)
        };
        let rate = confidence::rate(correct, n, alpha);
        let recalls = classes.values().filter(|class| class.truths > 0);
        let balanced = mean(recalls.map(|class| ratio(class.hits, class.truths)));
        let macro_f1 = mean(classes.values().map(ClassCounts::f1));
        // The rates of all classes hold at once, and so does what follows from them.
        let known = classes.values().filter(|class| class.truths > 0);
        let recall_alpha = alpha / many(known.clone().count());
        let recalls = known.map(|class| within(class.hits, class.truths, recall_alpha));
        let f1s = classes.values().map(|class| class.f1_within(alpha / many(classes.len())));
        let mut metrics = vec![
            sequence("accuracy", ratio(correct, n), rate),
            sequence("balanced_accuracy", balanced, middle(recalls)),
            sequence("macro_f1", macro_f1, middle(f1s)),
            // Each prediction names one class, so that this is the accuracy again.
            sequence("micro_f1", ratio(correct, n), rate),
            Metric::plain("mcc", self.mcc(&classes), n),
        ];
        if let Some(positive) = positive {
            let class = classes.get(&positive).copied().unwrap_or_default();
            metrics.extend([
                sequence(
                    "precision",
                    ratio(class.hits, class.predictions),
                    confidence::rate(class.hits, class.predictions, alpha),
                ),
                sequence(
                    "recall",
                    ratio(class.hits, class.truths),
                    confidence::rate(class.hits, class.truths, alpha),
                ),
                sequence("f1", class.f1(), Some(class.f1_within(alpha))),
            ]);
        }
        metrics
    }

    /// Matthews' coefficient of correlation, for any number of classes (Gorodkin 2004); 0 where one side
    /// names a single class.
    #[expect(clippy::cast_precision_loss, reason = "rounded once at the end, as scikit-learn does")]
    fn mcc(&self, classes: &BTreeMap<u16, ClassCounts>) -> f64 {
        let wide = |x: u64| i128::from(x);
        let (n, correct) = (wide(self.n()), wide(self.correct()));
        let sum = |of: fn(&ClassCounts) -> (u64, u64)| -> i128 {
            classes.values().map(of).map(|(a, b)| wide(a) * wide(b)).sum()
        };
        let both = n * correct - sum(|class| (class.truths, class.predictions));
        let truths = n * n - sum(|class| (class.truths, class.truths));
        let predictions = n * n - sum(|class| (class.predictions, class.predictions));
        let product = truths
            .checked_mul(predictions)
            .map_or_else(|| truths as f64 * predictions as f64, |product| product as f64);
        if product == 0.0 { 0.0 } else { both as f64 / product.sqrt() }
    }
}

impl ClassCounts {
    /// The harmonic mean of precision and recall; 0 where both are.
    fn f1(&self) -> f64 {
        ratio(2 * self.hits, self.truths + self.predictions)
    }

    /// Where it lies: it rises with precision and with recall.
    fn f1_within(&self, alpha: f64) -> Interval {
        let precision = within(self.hits, self.predictions, alpha / 2.0);
        let recall = within(self.hits, self.truths, alpha / 2.0);
        let f1 = |p: f64, r: f64| if p + r > 0.0 { 2.0 * p * r / (p + r) } else { 0.0 };
        Interval {
            lower: f1(precision.lower, recall.lower),
            upper: f1(precision.upper, recall.upper),
        }
    }
}

/// Where a rate lies; anywhere without outcomes.
fn within(successes: u64, n: u64, alpha: f64) -> Interval {
    confidence::rate(successes, n, alpha).unwrap_or(Interval { lower: 0.0, upper: 1.0 })
}

/// The mean of intervals; `None` without any.
fn middle(intervals: impl Iterator<Item = Interval>) -> Option<Interval> {
    let (mut lower, mut upper, mut n) = (0.0, 0.0, 0.0);
    for interval in intervals {
        lower += interval.lower;
        upper += interval.upper;
        n += 1.0;
    }
    (n > 0.0).then(|| Interval { lower: lower / n, upper: upper / n })
}

#[expect(clippy::cast_precision_loss, reason = "classes are few")]
fn many(classes: usize) -> f64 {
    classes.max(1) as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut n) = (0.0, 0.0);
    for value in values {
        sum += value;
        n += 1.0;
    }
    if n > 0.0 { sum / n } else { 0.0 }
}
