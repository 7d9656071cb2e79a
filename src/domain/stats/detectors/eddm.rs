//! Early drift detection method: the distance between errors against its longest.
//!
//! Owns the mean distance and its spread (Baena-García and others, "Early drift detection method", 2006). The
//! longest is an extreme value, so that a stream without change falls below it again and again: do not use it to
//! wake anybody.

use serde::{Deserialize, Serialize};

use super::Signal;
use super::running::Variance;

const WARM_UP: f64 = 30.0;
const WARNING: f64 = 0.95;
const DRIFT: f64 = 0.9;

/// The detector.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Eddm {
    distances: Variance,
    n: f64,
    errors: f64,
    last_error: f64,
    longest: f64,
    is_warning: bool,
    has_drifted: bool,
}

impl Default for Eddm {
    fn default() -> Self {
        Self {
            distances: Variance::default(),
            n: 0.0,
            errors: 0.0,
            last_error: 0.0,
            longest: -1.0,
            is_warning: false,
            has_drifted: false,
        }
    }
}

impl Eddm {
    /// Takes the next value; anything but 1 is no error.
    pub fn observe(&mut self, value: f64) -> Signal {
        if self.has_drifted {
            *self = Self::default();
        }
        self.n += 1.0;
        if (value - 1.0).abs() < f64::EPSILON {
            self.error();
        }
        match (self.has_drifted, self.is_warning) {
            (true, _) => Signal::Drift,
            (false, true) => Signal::Warning,
            (false, false) => Signal::Quiet,
        }
    }

    fn error(&mut self) {
        self.errors += 1.0;
        self.distances.observe(self.n - self.last_error);
        if self.n > WARM_UP {
            let distance = self.distances.mean.mean + 2.0 * self.distances.variance().sqrt();
            if distance > self.longest {
                self.longest = distance;
            } else if self.errors > WARM_UP {
                let level = distance / self.longest;
                self.has_drifted = level < DRIFT;
                if !self.has_drifted {
                    self.is_warning = level < WARNING;
                }
            }
        }
        self.last_error = self.n;
    }
}
