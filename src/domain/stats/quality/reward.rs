//! What predictions earned.
//!
//! Owns the sums of rewards and of their squares.

use serde::{Deserialize, Serialize};

use super::metric::{IntervalKind, Metric};
use super::{Step, count, signed};
use crate::domain::stats::confidence::{self, Moments};
use crate::domain::stats::exact_sum::ExactSum;

/// The sums.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reward {
    n: u64,
    sum: ExactSum,
    squares: ExactSum,
}

impl Reward {
    pub(super) fn step(&mut self, reward: f64, step: Step) {
        count(&mut self.n, step);
        signed(&mut self.sum, reward, step);
        signed(&mut self.squares, reward * reward, step);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.sum.merge(&other.sum);
        self.squares.merge(&other.squares);
    }

    /// Predictions that were rewarded.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Mean and variance; zeros without rewards.
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    pub fn moments(&self) -> Moments {
        if self.n == 0 {
            return Moments::default();
        }
        let n = self.n as f64;
        let mean = self.sum.value() / n;
        let variance = (self.squares.value() / n - mean * mean).max(0.0);
        Moments { n: self.n, mean, variance }
    }

    pub(super) fn metrics(&self, alpha: f64) -> Vec<Metric> {
        let moments = self.moments();
        if self.n == 0 {
            return Vec::new();
        }
        let interval = confidence::mean(moments, alpha);
        let sum = Metric::plain("reward_sum", self.sum.value(), self.n);
        let mean = Metric::plain("reward", moments.mean, self.n);
        vec![mean.with(IntervalKind::AsymptoticSequence, interval), sum]
    }
}
