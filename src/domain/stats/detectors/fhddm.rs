//! Fast drift detection with Hoeffding's bound: the mean of a sliding window against its highest.
//!
//! Owns the window (Pesaranghader, Viktor, "Fast Hoeffding drift detection method", ECML 2016). The paper counts
//! right predictions as 1, and so must who uses it: a stream of errors that rises gives no alarm.

use std::collections::VecDeque;

use super::Signal;
use serde::{Deserialize, Serialize};

const WINDOW: usize = 100;
const CONFIDENCE: f64 = 1e-6;

/// The detector.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Fhddm {
    window: VecDeque<f64>,
    total: f64,
    highest: f64,
    has_drifted: bool,
}

impl Fhddm {
    /// Takes the next value.
    #[expect(clippy::cast_precision_loss, reason = "a hundred")]
    pub fn observe(&mut self, value: f64) -> Signal {
        if self.has_drifted {
            *self = Self::default();
        }
        self.window.push_back(value);
        self.total += value;
        if self.window.len() < WINDOW {
            return Signal::Quiet;
        }
        let length = WINDOW as f64;
        let mean = self.total / length;
        self.highest = self.highest.max(mean);
        let bound = ((1.0 / CONFIDENCE).ln() / (2.0 * length)).sqrt();
        self.has_drifted = self.highest - mean > bound;
        self.total -= self.window.pop_front().unwrap_or_default();
        if self.has_drifted { Signal::Drift } else { Signal::Quiet }
    }
}
