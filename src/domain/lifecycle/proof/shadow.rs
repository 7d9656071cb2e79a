//! The guard between copies of requests and requests of clients.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::{Gate, Stop, Verdict};
use crate::domain::lifecycle::evidence::{ShadowEvidence, Shift};
use crate::domain::lifecycle::policy::ShadowPolicy;

/// A version may answer clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    evidence: ShadowEvidence,
    /// The policy lets it pass without the comparison that it lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unproven: Vec<String>,
}

impl Tried {
    /// What was measured.
    pub fn evidence(&self) -> &ShadowEvidence {
        &self.evidence
    }

    /// What the policy let pass.
    pub fn unproven(&self) -> &[String] {
        &self.unproven
    }

    /// The trial ended without enough evidence, and the policy lets unproven versions answer.
    pub(in crate::domain::lifecycle) fn by_policy(
        evidence: ShadowEvidence,
        lacking: Vec<String>,
    ) -> Self {
        Self { evidence, unproven: lacking }
    }
}

/// That a version agrees too seldom, if that was measured: for it not even the policy lets it pass.
pub fn disagrees(evidence: &ShadowEvidence, policy: &ShadowPolicy) -> Option<Verdict> {
    let high = evidence.agreement_high.filter(|_| policy.pairs > 0)?;
    let why = format!(
        "at most {:.1}% of its answers agree with the champion's, by {} pairs; {:.1}% are asked for",
        high * 100.0,
        evidence.pairs,
        policy.agreement * 100.0
    );
    (high < policy.agreement).then_some(Verdict { gate: Gate::Shadow, why })
}

/// What copies have shown for certain that speaks against a version, however few they were.
pub(super) fn speaks_against(evidence: &ShadowEvidence, policy: &ShadowPolicy) -> Option<String> {
    if evidence.invalid > 0 {
        return Some(invalid(evidence));
    }
    let shifted = evidence.shift.as_ref().filter(|shift| is_shifted(shift, policy));
    let shifted = shifted.map(|shift| spread(shift, policy));
    disagrees(evidence, policy).map(|verdict| verdict.why).or(shifted)
}

fn invalid(evidence: &ShadowEvidence) -> String {
    format!(
        "{} of {} answers to copied requests were no valid output where the champion's was",
        evidence.invalid, evidence.pairs
    )
}

/// Written so that a NaN is.
fn is_shifted(shift: &Shift, policy: &ShadowPolicy) -> bool {
    shift.low.partial_cmp(&policy.shift).is_none_or(Ordering::is_gt)
}

fn spread(shift: &Shift, policy: &ShadowPolicy) -> String {
    format!(
        "answers that are spread as the champion's within {:.1}%; it says {} to {:.1}% of the requests, the champion to \
         {:.1}%",
        policy.shift * 100.0,
        shift.answer,
        shift.theirs * 100.0,
        shift.ours * 100.0
    )
}

/// Whether the comparison on copies lets a version answer clients.
///
/// # Errors
///
/// What is missing, or what disqualifies it.
pub fn may_take_traffic(evidence: &ShadowEvidence, policy: &ShadowPolicy) -> Result<Tried, Stop> {
    if evidence.invalid > 0 {
        return Err(Stop::Fail(Verdict { gate: Gate::Shadow, why: invalid(evidence) }));
    }
    if policy.pairs == 0 {
        return Ok(Tried { evidence: evidence.clone(), unproven: Vec::new() });
    }
    // A few copies that found nobody in are no verdict; as many as are asked for are.
    if evidence.pairs >= policy.pairs
        && let Some(verdict) = disagrees(evidence, policy)
    {
        return Err(Stop::Fail(verdict));
    }
    let mut lacking = Vec::new();
    if evidence.pairs < policy.pairs {
        lacking.push(format!("{} of {} compared pairs", evidence.pairs, policy.pairs));
    }
    match evidence.agreement_low {
        None => lacking.push("a measured agreement".to_owned()),
        Some(low) if low >= policy.agreement => {}
        Some(low) => lacking.push(format!(
            "an agreement of at least {:.3}; its lower bound is {low:.3}",
            policy.agreement
        )),
    }
    match evidence.slower_high {
        None => lacking.push("a measured latency ratio".to_owned()),
        Some(high) if high <= policy.slower => {}
        Some(high) => lacking.push(format!(
            "a p99 latency of at most {:.2} times the champion's; its upper bound is {high:.2}",
            policy.slower
        )),
    }
    // Written so that a NaN lacks.
    if !matches!(evidence.drops.partial_cmp(&policy.drops), Some(order) if order.is_lt()) {
        lacking.push(format!(
            "fewer than {:.1}% dropped copies; it is {:.1}%",
            policy.drops * 100.0,
            evidence.drops * 100.0
        ));
    }
    if let Some(shift) = evidence.shift.as_ref().filter(|shift| is_shifted(shift, policy)) {
        lacking.push(spread(shift, policy));
    }
    if lacking.is_empty() {
        Ok(Tried { evidence: evidence.clone(), unproven: Vec::new() })
    } else {
        Err(Stop::Wait(lacking))
    }
}
