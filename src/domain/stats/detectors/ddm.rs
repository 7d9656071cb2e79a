//! Drift detection method: the rate of errors against its best.
//!
//! Owns the best rate and its standard error (Gama, Medas, Castillo, Rodrigues, "Learning with drift detection",
//! SBIA 2004). With few errors the best is soon too good: expect early false alarms.

use serde::{Deserialize, Serialize};

use super::Signal;
use super::running::Mean;

const WARM_UP: f64 = 30.0;
const WARNING: f64 = 2.0;
const DRIFT: f64 = 3.0;

/// The detector.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ddm {
    rate: Mean,
    /// The rate and its standard error when their sum was least.
    best: Option<(f64, f64)>,
    has_drifted: bool,
}

impl Ddm {
    /// Takes the next value.
    pub fn observe(&mut self, value: f64) -> Signal {
        if self.has_drifted {
            *self = Self::default();
        }
        self.rate.observe(value);
        let (p, n) = (self.rate.mean, self.rate.n);
        let error = (p * (1.0 - p) / n).max(0.0).sqrt();
        if n <= WARM_UP {
            return Signal::Quiet;
        }
        let best = match self.best {
            Some((rate, spread)) if p + error > rate + spread => (rate, spread),
            _ => *self.best.insert((p, error)),
        };
        let exceeds = |times: f64| p + error > best.0 + times * best.1;
        if exceeds(DRIFT) {
            self.has_drifted = true;
            Signal::Drift
        } else if exceeds(WARNING) {
            Signal::Warning
        } else {
            Signal::Quiet
        }
    }
}
