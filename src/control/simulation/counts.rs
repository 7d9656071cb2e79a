//! What is counted of versions on trial in a simulation.

use crate::domain::lifecycle::evidence::{CanaryEvidence, ShadowEvidence};
use crate::domain::lifecycle::time::Steady;
use crate::domain::trial::comparison::{ArmCounts, Arms, Comparison, Terms};

#[expect(clippy::cast_precision_loss, reason = "a bound for a test")]
pub(super) fn compare(evidence: &mut ShadowEvidence, agreement: f64) {
    let noise = 1.0 / (evidence.pairs.max(1) as f64).sqrt();
    evidence.agreement_low = (evidence.pairs >= 30).then_some(agreement - noise);
    evidence.agreement_high = (evidence.pairs >= 30).then_some((agreement + noise).min(1.0));
    evidence.slower_high = (evidence.pairs >= 30).then_some(1.1);
}

/// What was counted of a rollout.
pub(super) struct Rollout {
    pub comparison: Comparison,
    arms: Arms,
    failed_from_start: u64,
}

impl Rollout {
    pub(super) fn new(began: Steady) -> Self {
        let comparison = Comparison::new(&Terms::default(), began);
        Self { comparison, arms: Arms::default(), failed_from_start: 0 }
    }

    /// Counts `n` answers of each arm.
    pub(super) fn count(&mut self, n: u64, bad: u64, faults: u64, control_bad: u64) {
        let add = |arm: &mut ArmCounts, errors: u64, invalid: u64| {
            arm.draws += n;
            arm.responses += n;
            arm.outputs += n;
            arm.errors += errors;
            arm.invalid += invalid;
        };
        if self.arms.candidate.responses == self.failed_from_start {
            self.failed_from_start += if bad == n { n } else { bad.min(2) };
        }
        add(&mut self.arms.candidate, bad, faults);
        add(&mut self.arms.control, control_bad, 0);
        self.comparison.look(self.arms);
    }

    pub(super) fn evidence(&self, crashed: Option<String>) -> CanaryEvidence {
        self.comparison.evidence(self.failed_from_start, crashed)
    }
}
