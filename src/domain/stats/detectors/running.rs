//! Means and variances, value by value.
//!
//! Owns the recurrences (Welford 1962), in the order of operations that gives the last digit of the golden values.

use serde::{Deserialize, Serialize};

/// A mean.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Mean {
    pub(super) n: f64,
    pub(super) mean: f64,
}

impl Mean {
    pub(super) fn observe(&mut self, value: f64) {
        self.n += 1.0;
        self.mean += (1.0 / self.n) * (value - self.mean);
    }
}

/// A mean and the sample variance about it.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Variance {
    pub(super) mean: Mean,
    squares: f64,
}

impl Variance {
    pub(super) fn observe(&mut self, value: f64) {
        let before = self.mean.mean;
        self.mean.observe(value);
        self.squares += (value - before) * (value - self.mean.mean);
    }

    pub(super) fn variance(&self) -> f64 {
        if self.mean.n > 1.0 { self.squares / (self.mean.n - 1.0) } else { 0.0 }
    }
}
