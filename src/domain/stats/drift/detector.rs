//! Evidence over time: the e-detector of Shiryaev and Roberts.
//!
//! Owns the sum of evidence for a change at any past window, and when it is over again. With e-values
//! `e_t` the score is `S_t = (S_{t-1} + 1) e_t`, and `S >= A` alarms. As long as each e-value has a
//! mean of at most one given the past, the score less the number of windows never grows on average, so
//! that the windows up to a false alarm are at least `A` on average, and the probability of one within
//! `N` windows is at most `N / A` (Shin, Ramdas and Rinaldo, E-detectors, arXiv 2203.03532).

use serde::{Deserialize, Serialize};

/// The smallest p-value that is believed; e-values stay finite.
const P_MIN: f64 = 1e-300;
/// Scores stop here.
const SCORE_MAX: f64 = 1e300;
/// Quiet windows in a row that end a drift.
const QUIET_WINDOWS: u32 = 3;

/// An e-value from a p-value: `1 / (2 sqrt(p))`, whose mean over uniform p-values is one (Vovk and
/// Wang, E-values: calibration, combination and applications, 2021).
pub fn e_value(p: f64) -> f64 {
    0.5 / p.clamp(P_MIN, 1.0).sqrt()
}

/// An e-value below this makes a quiet window: that of a p-value of one half.
fn quiet() -> f64 {
    e_value(0.5)
}

/// The evidence for a change that is still there.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Detector {
    score: f64,
    is_drifting: bool,
    quiet: u32,
}

/// What a window did to the evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The e-value of the window.
    pub e_value: f64,
    /// The evidence with it.
    pub score: f64,
    /// Whether there is an alarm.
    pub is_drifting: bool,
}

impl Detector {
    /// Takes the e-value of a window into account. An alarm lasts until three windows in a row are
    /// quiet; the evidence then starts anew.
    pub fn observe(&mut self, e_value: f64, threshold: f64) -> Step {
        self.score = ((self.score + 1.0) * e_value).min(SCORE_MAX);
        self.quiet = if e_value < quiet() { self.quiet.saturating_add(1) } else { 0 };
        if self.is_drifting && self.quiet >= QUIET_WINDOWS {
            *self = Self::default();
        } else if self.score >= threshold {
            self.is_drifting = true;
        }
        Step { e_value, score: self.score, is_drifting: self.is_drifting }
    }

    /// Whether it can have come together by [`Self::observe`].
    pub(super) fn is_sound(&self) -> bool {
        (0.0..=SCORE_MAX).contains(&self.score)
    }

    /// The evidence so far.
    pub const fn score(&self) -> f64 {
        self.score
    }

    /// Whether there is an alarm.
    pub const fn is_drifting(&self) -> bool {
        self.is_drifting
    }
}
