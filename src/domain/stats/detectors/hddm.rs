//! Drift detection with bounds on averages: Hoeffding's on plain ones, McDiarmid's on those that fade.
//!
//! Owns the cut points below which the mean is believed to have been (Frías-Blanco and others, "Online and
//! non-parametric drift detection methods based on Hoeffding's bounds", IEEE TKDE 2015). Looks for a rise only.

use serde::{Deserialize, Serialize};

use super::Signal;
use super::running::Mean;

const DRIFT: f64 = 0.001;
const WARNING: f64 = 0.005;
/// The weight of the newest value in a fading average.
const LAMBDA: f64 = 0.05;

/// The detector on plain averages.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HddmA {
    all: Mean,
    /// The average when it was believed to be least.
    least: Mean,
    has_drifted: bool,
}

impl HddmA {
    /// Takes the next value, between 0 and 1.
    pub fn observe(&mut self, value: f64) -> Signal {
        if self.has_drifted {
            *self = Self::default();
        }
        self.all.observe(value);
        if self.least.n == 0.0 {
            self.least = self.all;
        }
        let bound = |n: f64| (1.0 / (2.0 * n) * (1.0 / DRIFT).ln()).sqrt();
        if self.least.mean + bound(self.least.n) >= self.all.mean + bound(self.all.n) {
            self.least = self.all;
        }
        let signal = signal(|confidence| self.has_risen(confidence));
        self.has_drifted = signal == Signal::Drift;
        signal
    }

    fn has_risen(&self, confidence: f64) -> bool {
        let (few, all) = (self.least.n, self.all.n);
        // The counts are whole numbers.
        if all - few < 0.5 {
            return false;
        }
        let m = (all - few) / few * (1.0 / all);
        let bound = (m / 2.0 * (2.0 / confidence).ln()).sqrt();
        self.all.mean - self.least.mean >= bound
    }
}

/// An average that fades, and the sum of the squares of its weights.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Fading {
    mean: Option<f64>,
    squares: f64,
}

impl Fading {
    const NONE: Self = Self { mean: None, squares: 1.0 };

    fn observe(&mut self, value: f64) {
        let mean = self.mean.map_or(value, |mean| LAMBDA * value + (1.0 - LAMBDA) * mean);
        self.mean = Some(mean);
        self.squares = LAMBDA * LAMBDA + (1.0 - LAMBDA).powi(2) * self.squares;
    }
}

/// The detector on averages that fade.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HddmW {
    all: Fading,
    before: Fading,
    after: Fading,
    cut: f64,
    has_drifted: bool,
}

impl Default for HddmW {
    fn default() -> Self {
        let none = Fading::NONE;
        Self { all: none, before: none, after: none, cut: f64::INFINITY, has_drifted: false }
    }
}

impl HddmW {
    /// Takes the next value, between 0 and 1.
    pub fn observe(&mut self, value: f64) -> Signal {
        if self.has_drifted {
            *self = Self::default();
        }
        self.all.observe(value);
        let upper = self.all.mean.unwrap_or_default() + mcdiarmid(self.all.squares, DRIFT);
        if upper < self.cut {
            self.cut = upper;
            self.before = self.all;
            self.after = Fading::NONE;
        } else {
            self.after.observe(value);
        }
        let signal = signal(|confidence| self.has_risen(confidence));
        self.has_drifted = signal == Signal::Drift;
        signal
    }

    fn has_risen(&self, confidence: f64) -> bool {
        let (Some(before), Some(after)) = (self.before.mean, self.after.mean) else { return false };
        after - before > mcdiarmid(self.before.squares + self.after.squares, confidence)
    }
}

fn mcdiarmid(squares: f64, confidence: f64) -> f64 {
    (squares * (1.0 / confidence).ln() / 2.0).sqrt()
}

fn signal(has_risen: impl Fn(f64) -> bool) -> Signal {
    if has_risen(DRIFT) {
        Signal::Drift
    } else if has_risen(WARNING) {
        Signal::Warning
    } else {
        Signal::Quiet
    }
}
