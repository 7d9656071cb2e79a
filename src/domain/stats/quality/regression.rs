//! How far numbers were off.
//!
//! Owns the sums of errors (prediction less truth), of their sizes and squares, and of the truth, from which R²
//! follows without the loss of digits that a difference of large sums has.

use serde::{Deserialize, Serialize};

use super::metric::{IntervalKind, Metric};
use super::{Step, count, signed};
use crate::domain::stats::confidence::{self, Interval, Moments};
use crate::domain::stats::exact_sum::ExactSum;

/// The sums.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Regression {
    n: u64,
    /// Predictions that were off by no more than the tolerance.
    within: u64,
    errors: ExactSum,
    sizes: ExactSum,
    squares: ExactSum,
    /// Of the errors' fourth powers: by how much their squares vary.
    fourths: ExactSum,
    truths: ExactSum,
    truth_squares: ExactSum,
    pinball: ExactSum,
}

impl Regression {
    pub(super) fn step(
        &mut self,
        truth: f64,
        predicted: f64,
        quantile: Option<f64>,
        tolerance: Option<f64>,
        step: Step,
    ) {
        let error = predicted - truth;
        count(&mut self.n, step);
        if tolerance.is_some_and(|most| error.abs() <= most) {
            count(&mut self.within, step);
        }
        signed(&mut self.errors, error, step);
        signed(&mut self.sizes, error.abs(), step);
        signed(&mut self.squares, error * error, step);
        signed(&mut self.fourths, (error * error) * (error * error), step);
        signed(&mut self.truths, truth, step);
        match step {
            Step::Add => self.truth_squares.add_product(truth, truth),
            Step::Retract => self.truth_squares.subtract_product(truth, truth),
        }
        if let Some(quantile) = quantile {
            // Too low costs the quantile, too high the rest (Koenker, Bassett 1978).
            let loss = if error < 0.0 { quantile * -error } else { (1.0 - quantile) * error };
            signed(&mut self.pinball, loss, step);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.within += other.within;
        self.errors.merge(&other.errors);
        self.sizes.merge(&other.sizes);
        self.squares.merge(&other.squares);
        self.fourths.merge(&other.fourths);
        self.truths.merge(&other.truths);
        self.truth_squares.merge(&other.truth_squares);
        self.pinball.merge(&other.pinball);
    }

    /// Predictions.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Predictions that were off by no more than the tolerance.
    pub fn within(&self) -> u64 {
        self.within
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    pub(super) fn metrics(&self, quantile: bool, tolerance: bool, alpha: f64) -> Vec<Metric> {
        if self.n == 0 {
            return Vec::new();
        }
        let n = self.n as f64;
        let mean = |sum: &ExactSum| sum.value() / n;
        let (bias, mae, mse) = (mean(&self.errors), mean(&self.sizes), mean(&self.squares));
        let sequence = |mean: f64| {
            let variance = (mse - mean * mean).max(0.0);
            confidence::mean(Moments { n: self.n, mean, variance }, alpha)
        };
        let of_size = sequence(mae).map(|interval| interval.clamped(0.0, f64::MAX));
        let variance = (mean(&self.fourths) - mse * mse).max(0.0);
        let of_squares = confidence::mean(Moments { n: self.n, mean: mse, variance }, alpha);
        let root = |interval: Interval| Interval {
            lower: interval.lower.max(0.0).sqrt(),
            upper: interval.upper.sqrt(),
        };
        let of_squares = of_squares.map(root);
        let mut metrics = vec![
            Metric::plain("bias", bias, self.n)
                .with(IntervalKind::AsymptoticSequence, sequence(bias)),
            Metric::plain("mae", mae, self.n).with(IntervalKind::AsymptoticSequence, of_size),
            Metric::plain("rmse", mse.sqrt(), self.n)
                .with(IntervalKind::AsymptoticSequence, of_squares),
        ];
        metrics.extend(self.r2().map(|r2| Metric::plain("r2", r2, self.n)));
        if quantile {
            metrics.push(Metric::plain("pinball", mean(&self.pinball), self.n));
        }
        if tolerance {
            let within = Metric::plain("within_tolerance", self.within as f64 / n, self.n);
            let interval = confidence::rate(self.within, self.n, alpha);
            metrics.push(within.with(IntervalKind::Sequence, interval));
        }
        metrics
    }

    /// The share of the variance of the truth that is explained; `None` where there is none.
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    fn r2(&self) -> Option<f64> {
        // n times the sum of squares about the mean is n Σy² - (Σy)².
        let n = self.n as f64;
        let mut about_mean = ExactSum::default();
        let mut count = ExactSum::default();
        count.add(n);
        about_mean.add_product_of(&count, &self.truth_squares);
        about_mean.add_product_of(&self.truths.negated(), &self.truths);
        let about_mean = about_mean.value() / n;
        (self.n > 1 && about_mean > 0.0).then(|| 1.0 - self.squares.value() / about_mean)
    }
}
