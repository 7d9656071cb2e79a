//! What a life cycle adds to a model's traffic: a version on trial, a version that gets copies, versions and
//! models that are cut off.
//!
//! Owns the meaning of these settings. No file has them: whoever follows the life cycle fills them in, and
//! their defaults change nothing.

use std::time::Duration;

use crate::domain::ids::{Permille, VersionName};

/// A version on trial, and an equal slice of the champion beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialSpec {
    /// The version on trial; it has no share of the traffic beside this one.
    pub candidate: VersionName,
    /// Its share of the requests, at most half: the control slice is as large.
    pub share: Permille,
    /// The salt of its buckets.
    pub salt: u64,
    /// Which step of the rollout this is.
    pub step: u32,
    /// Whether it is asked for what the champion cannot answer.
    pub stands_in: bool,
}

/// Who gets copies of the requests that the champion answers.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowSpec {
    /// The version that gets them; it has no share of the traffic.
    pub version: VersionName,
    /// Copies under way at a time.
    pub concurrency: u32,
    /// Copies a second.
    pub rate: u32,
    /// The share of the requests that may be copied.
    pub share: Permille,
    /// How long after a copy is due it is made whatever the share; `None` where the share is all that counts.
    pub patience: Option<Duration>,
    /// The longest that one of them may take.
    pub timeout: Duration,
    /// How far two scores may lie apart and still agree.
    pub tolerance: Tolerance,
}

impl ShadowSpec {
    /// Copies for `version`, within the default bounds.
    pub fn new(version: VersionName) -> Self {
        Self {
            version,
            concurrency: 8,
            rate: 50,
            share: Permille::ALL,
            patience: None,
            timeout: Duration::from_secs(10),
            tolerance: Tolerance::default(),
        }
    }

    /// A few copies for `version`, which stands by: so many that it is known to answer, also where clients ask so
    /// rarely that the share alone would be next to none.
    pub fn of_standby(version: VersionName, share: Permille) -> Self {
        let patience = Some(Duration::from_secs(10));
        Self { concurrency: 2, rate: 10, share, patience, ..Self::new(version) }
    }
}

/// How far two numbers may lie apart: `|a - b| <= absolute + relative * |a|`, where `a` is the champion's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Whatever the size of the numbers.
    pub absolute: f64,
    /// In parts of the champion's number.
    pub relative: f64,
}

impl Default for Tolerance {
    /// Wide enough for a model that was trained again: a tenth of a probability, and of any other score.
    fn default() -> Self {
        Self { absolute: 0.1, relative: 0.1 }
    }
}

impl Tolerance {
    /// Whether `theirs` is close enough to `ours`. What is no number is close to nothing.
    pub fn allows(self, ours: f64, theirs: f64) -> bool {
        (ours - theirs).abs() <= self.relative.mul_add(ours.abs(), self.absolute)
    }
}

/// Why nobody answers: a kill switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillSpec {
    /// What it cuts off.
    pub scope: KillScope,
    /// Who turned it, and why: the end of a sentence.
    pub why: String,
}

/// What a kill switch cuts off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KillScope {
    /// One version.
    Version,
    /// All versions of a model.
    Model,
    /// All models of the gateway.
    Gateway,
}

impl KillScope {
    /// The noun of a sentence.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Model => "model",
            Self::Gateway => "gateway",
        }
    }
}
