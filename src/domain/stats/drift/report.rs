//! What a window showed, feature by feature.
//!
//! Owns the report and which of its features it marks. A mark is for reading; alarms come from the
//! detectors, which have a budget over time.

use super::scale::Change;
use super::scale::watch::Scaled;
use super::yardstick::Measured;
use crate::domain::stats::layout::Role;
use crate::domain::stats::verdict::Verdict;

/// One closed window.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The features, in the order of the layout.
    pub features: Vec<FeatureReport>,
    /// Inputs together, and outputs together.
    pub roles: Vec<RoleReport>,
}

/// One feature of a window.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureReport {
    /// The place in the layout.
    pub index: usize,
    /// What was measured.
    pub measured: Measured,
    /// What follows, over all windows so far.
    pub verdict: Verdict,
    /// Whether this window alone marks it, at the false discovery rate of the policy.
    pub is_discovery: bool,
    /// What would explain a drift, if something simple does: a factor, or other degrees.
    pub change: Option<Change>,
    /// The constant factor that was found over the last days. It is a breach by itself.
    pub scaled: Option<Scaled>,
}

impl FeatureReport {
    /// Whether the evidence of the index is a breach, too.
    pub fn is_shifted(&self) -> bool {
        let evidence = &self.verdict.evidence;
        self.scaled.is_none() || self.change.is_some() || evidence.score >= evidence.threshold
    }

    /// What was done to every value, as it seems.
    pub fn change(&self) -> Option<Change> {
        self.scaled.map(|scaled| scaled.change).or(self.change)
    }
}

/// All features of a role together.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleReport {
    /// Inputs or outputs.
    pub role: Role,
    /// What follows, over all windows so far.
    pub verdict: Verdict,
}

/// Which hypotheses are rejected at the false discovery rate `q`: the largest `k` for which the `k`-th
/// smallest p-value is at most `q k / number of tests` (Benjamini and Hochberg 1995). Absent p-values are no
/// tests.
pub fn false_discoveries(ps: &[Option<f64>], q: f64) -> Vec<bool> {
    let mut known: Vec<f64> = ps.iter().flatten().copied().collect();
    known.sort_by(f64::total_cmp);
    let tests = known.len() as f64;
    let limit = (1_u32..)
        .zip(&known)
        .filter(|(rank, p)| **p <= q * f64::from(*rank) / tests)
        .map(|(_, p)| *p)
        .fold(f64::NEG_INFINITY, f64::max);
    ps.iter().map(|p| p.is_some_and(|p| p <= limit)).collect()
}
