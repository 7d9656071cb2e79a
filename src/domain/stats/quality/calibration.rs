//! Whether what had a probability of 0.7 came true seven times of ten, and how surprised one must be by what came
//! true.
//!
//! Owns the expected calibration error and the logarithmic loss. Definitions: fifteen equal bins of the probability;
//! the error is the mean distance, weighted by how many are in a bin, of the mean probability from the share that
//! came true. The probability is that of the positive class where one is declared, otherwise that of the predicted
//! class (Guo and others, ICML 2017, equation 3).

use serde::{Deserialize, Serialize};

use super::metric::{IntervalKind, Metric};
use super::{Step, count, signed};
use crate::domain::stats::confidence::{self, Moments};
use crate::domain::stats::exact_sum::ExactSum;

/// The number of bins.
const BINS: usize = 15;

/// How probable it was, and how often it came true.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Calibration {
    bins: [Bin; BINS],
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Bin {
    n: u64,
    came_true: u64,
    probability: ExactSum,
}

impl Calibration {
    pub(super) fn step(&mut self, probability: f64, came_true: bool, step: Step) {
        let Some(bin) = self.bins.get_mut(bin(probability)) else { return };
        count(&mut bin.n, step);
        if came_true {
            count(&mut bin.came_true, step);
        }
        signed(&mut bin.probability, probability, step);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (own, other) in self.bins.iter_mut().zip(&other.bins) {
            own.n += other.n;
            own.came_true += other.came_true;
            own.probability.merge(&other.probability);
        }
    }

    /// Predictions.
    pub fn n(&self) -> u64 {
        self.bins.iter().map(|bin| bin.n).sum()
    }

    /// The expected calibration error; 0 without predictions.
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    pub fn ece(&self) -> f64 {
        let mut sum = ExactSum::default();
        for bin in &self.bins {
            // n times the distance of the means is the distance of the sums.
            sum.add((bin.probability.value() - bin.came_true as f64).abs());
        }
        let n = self.n();
        if n == 0 { 0.0 } else { sum.value() / n as f64 }
    }

    /// Each bin as its predictions, those that came true, and the mean probability.
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    pub fn bins(&self) -> impl Iterator<Item = (u64, u64, Option<f64>)> {
        self.bins.iter().map(|bin| {
            let mean = (bin.n > 0).then(|| bin.probability.value() / bin.n as f64);
            (bin.n, bin.came_true, mean)
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a probability is between 0 and 1"
)]
fn bin(probability: f64) -> usize {
    ((probability * 15.0) as usize).min(BINS - 1)
}

/// The logarithmic loss. A probability is taken as at least the distance of 1 to the next number, and at most 1 less
/// that, as scikit-learn takes it; how often that was needed is counted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LogLoss {
    n: u64,
    clipped: u64,
    sum: ExactSum,
    squares: ExactSum,
}

impl LogLoss {
    pub(super) fn step(&mut self, of_truth: f64, step: Step) {
        let clipped = of_truth.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        let loss = -clipped.ln();
        count(&mut self.n, step);
        if (clipped - of_truth).abs() > 0.0 {
            count(&mut self.clipped, step);
        }
        signed(&mut self.sum, loss, step);
        signed(&mut self.squares, loss * loss, step);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.clipped += other.clipped;
        self.sum.merge(&other.sum);
        self.squares.merge(&other.squares);
    }

    /// Predictions that had probabilities.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Predictions whose true class had a probability of nearly 0 or 1.
    pub fn clipped(&self) -> u64 {
        self.clipped
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    pub(super) fn metric(&self, alpha: f64) -> Metric {
        let n = self.n as f64;
        let mean = self.sum.value() / n;
        let variance = (self.squares.value() / n - mean * mean).max(0.0);
        let interval = confidence::mean(Moments { n: self.n, mean, variance }, alpha);
        let interval = interval.map(|interval| interval.clamped(0.0, f64::MAX));
        Metric::plain("log_loss", mean, self.n).with(IntervalKind::AsymptoticSequence, interval)
    }
}
