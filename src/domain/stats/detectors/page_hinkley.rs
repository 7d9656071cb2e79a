//! The test of Page and Hinkley: a sum of deviations from the mean that strays.
//!
//! Owns the two sums, upwards and downwards, which fade (Page, "Continuous inspection schemes", Biometrika 1954).

use serde::{Deserialize, Serialize};

use super::Signal;
use super::running::Mean;

/// How it looks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PageHinkleySettings {
    /// Values before the first alarm.
    pub warm_up: u32,
    /// Deviations that do not count, in units of the values.
    pub delta: f64,
    /// How far a sum may stray, in units of the values.
    pub threshold: f64,
    /// How much of a sum is left after one value.
    pub fading: f64,
}

impl Default for PageHinkleySettings {
    fn default() -> Self {
        Self { warm_up: 30, delta: 0.005, threshold: 50.0, fading: 1.0 - 0.0001 }
    }
}

/// The detector.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PageHinkley {
    settings: PageHinkleySettings,
    mean: Mean,
    up: f64,
    up_min: f64,
    down: f64,
    down_max: f64,
    has_drifted: bool,
}

impl Default for PageHinkley {
    fn default() -> Self {
        Self::new(PageHinkleySettings::default())
    }
}

impl PageHinkley {
    /// Has seen nothing.
    pub fn new(settings: PageHinkleySettings) -> Self {
        Self {
            settings,
            mean: Mean::default(),
            up: 0.0,
            up_min: f64::INFINITY,
            down: 0.0,
            down_max: -1.0,
            has_drifted: false,
        }
    }

    /// Takes the next value.
    pub fn observe(&mut self, value: f64) -> Signal {
        if self.has_drifted {
            *self = Self::new(self.settings);
        }
        let PageHinkleySettings { warm_up, delta, threshold, fading } = self.settings;
        self.mean.observe(value);
        let deviation = value - self.mean.mean;
        self.up = fading * self.up + deviation - delta;
        self.down = fading * self.down + deviation + delta;
        self.up_min = self.up_min.min(self.up);
        self.down_max = self.down_max.max(self.down);
        if self.mean.n >= f64::from(warm_up) {
            let strayed = (self.up - self.up_min).max(self.down_max - self.down);
            self.has_drifted = strayed > threshold;
        }
        if self.has_drifted { Signal::Drift } else { Signal::Quiet }
    }
}
