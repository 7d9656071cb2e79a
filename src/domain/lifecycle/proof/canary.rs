//! The guards of the trial on requests of clients: what stops it, what lets it grow, what ends it well.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Absence, Gate, Stop, Verdict};
use crate::domain::lifecycle::evidence::{CanaryEvidence, Metric, RateEvidence};
use crate::domain::lifecycle::policy::{GuardPolicy, Step};
use crate::domain::lifecycle::time::Spell;

/// The control slice must fail less often than this for the first failures of a candidate to speak
/// against it: where everything fails, five failures in a row say nothing.
const CONTROL_SOUND: f64 = 0.1;
/// Responses of the control slice from which its rate is known well enough for that.
const CONTROL_KNOWN: u64 = 5;

/// A step was passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stepped {
    evidence: CanaryEvidence,
}

impl Stepped {
    /// What was measured.
    pub fn evidence(&self) -> &CanaryEvidence {
        &self.evidence
    }
}

/// Why a version is live: it has shown that it is not worse than the champion, an operator said so, or nobody else answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Promoted {
    evidence: CanaryEvidence,
    /// An operator promoted it; what was missing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overruled: Option<Vec<String>>,
    /// Nobody else answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    absence: Option<Absence>,
}

impl Promoted {
    /// What was measured.
    pub fn evidence(&self) -> &CanaryEvidence {
        &self.evidence
    }

    /// What was missing when an operator promoted it; `None` if no operator did.
    pub fn overruled(&self) -> Option<&[String]> {
        self.overruled.as_deref()
    }

    /// That nobody else answered, where that promoted it and not its trial.
    pub fn absence(&self) -> Option<&Absence> {
        self.absence.as_ref()
    }

    /// Whether its whole trial speaks for it.
    pub fn is_proof(&self) -> bool {
        self.overruled.is_none() && self.absence.is_none()
    }

    /// Nobody else answers, whatever is missing.
    pub(in crate::domain::lifecycle) fn by_absence(
        evidence: CanaryEvidence,
        absence: Absence,
    ) -> Self {
        Self { evidence, overruled: None, absence: Some(absence) }
    }

    /// An operator promotes it whatever is missing.
    pub(in crate::domain::lifecycle) fn by_order(
        evidence: CanaryEvidence,
        missing: Vec<String>,
    ) -> Self {
        Self { evidence, overruled: Some(missing), absence: None }
    }
}

/// The natural logarithm of the e-value at which a rollout is rolled back: the whole rollout may
/// err with `alpha`, so each of its metrics with an equal part.
fn ln_threshold(evidence: &CanaryEvidence, guard: &GuardPolicy) -> f64 {
    let metrics = u32::try_from(evidence.rates.len().max(1)).unwrap_or(u32::MAX);
    (f64::from(metrics) / guard.alpha).ln()
}

/// What proves that the candidate is broken or worse, if anything does.
pub fn must_stop(evidence: &CanaryEvidence, guard: &GuardPolicy) -> Option<Verdict> {
    let stop = |why: String| Some(Verdict { gate: Gate::Canary, why });
    if let Some(crash) = &evidence.crashed {
        return stop(format!("it died: {crash}"));
    }
    let control_sound = evidence.rate(Metric::Errors).is_some_and(|errors| {
        errors.control_n >= CONTROL_KNOWN
            && errors.control_rate().is_some_and(|rate| rate <= CONTROL_SOUND)
    });
    if evidence.failed_from_start >= guard.first_failures && control_sound {
        return stop(format!(
            "its first {} responses all failed while the control slice is fine",
            evidence.failed_from_start
        ));
    }
    let threshold = ln_threshold(evidence, guard);
    let crossed = evidence.rates.iter().find(|rate| rate.ln_e >= threshold)?;
    stop(format!("{crossed}, at least {:.0}", threshold.exp()))
}

/// What was measured that speaks against a candidate, though it may prove nothing where its control is away.
pub(super) fn speaks_against(evidence: &CanaryEvidence, guard: &GuardPolicy) -> Option<String> {
    let first = evidence.failed_from_start;
    let fails =
        (first >= guard.first_failures).then(|| format!("its first {first} responses all failed"));
    must_stop(evidence, guard).map(|verdict| verdict.why).or(fails)
}

/// What every increase of exposure needs: counts that fit their shares, and a control to compare
/// with.
fn comparable(evidence: &CanaryEvidence, guard: &GuardPolicy) -> Vec<String> {
    let mut lacking = Vec::new();
    match evidence.sample_ratio {
        None => lacking.push("a check of the counts of candidate and control".to_owned()),
        Some(chance) if chance >= guard.sample_ratio => {}
        Some(chance) => lacking.push(format!(
            "counts of candidate and control that fit their shares (chance {chance:.1e}): routing \
             or recording is at fault, so nothing is decided"
        )),
    }
    for metric in &guard.required {
        if evidence.rate(*metric).is_none_or(|rate| rate.n == 0 || rate.control_n == 0) {
            lacking.push(format!("{} of candidate and control", metric.words()));
        }
    }
    // A NaN is no evidence.
    if evidence.rates.iter().any(|rate| rate.ln_e.is_nan()) {
        lacking.push("an e-value that is a number".to_owned());
    }
    lacking
}

/// Whether a candidate may go one step further.
///
/// # Errors
///
/// What the step lacks, or what stops the rollout.
pub fn may_step(
    evidence: &CanaryEvidence,
    step: Step,
    stayed: Duration,
    dwell: Duration,
    guard: &GuardPolicy,
) -> Result<Stepped, Stop> {
    if let Some(verdict) = must_stop(evidence, guard) {
        return Err(Stop::Fail(verdict));
    }
    let mut lacking = Vec::new();
    if evidence.responses < step.responses {
        lacking.push(format!("{} of {} responses", evidence.responses, step.responses));
    }
    if stayed < dwell {
        lacking.push(format!("{} more on this step", Spell(dwell.saturating_sub(stayed))));
    }
    lacking.extend(comparable(evidence, guard));
    if lacking.is_empty() {
        Ok(Stepped { evidence: evidence.clone() })
    } else {
        Err(Stop::Wait(lacking))
    }
}

/// Whether a candidate that has passed its last step is not worse than the champion.
///
/// # Errors
///
/// What the proof lacks.
pub fn may_promote(stepped: &Stepped, guard: &GuardPolicy) -> Result<Promoted, Stop> {
    let evidence = &stepped.evidence;
    let missing = inferior(evidence, guard);
    if missing.is_empty() {
        Ok(Promoted { evidence: evidence.clone(), overruled: None, absence: None })
    } else {
        Err(Stop::Wait(missing))
    }
}

/// Which required metrics have not been shown to be within the margin.
fn inferior(evidence: &CanaryEvidence, guard: &GuardPolicy) -> Vec<String> {
    let mut missing = Vec::new();
    for metric in &guard.required {
        match evidence.rate(*metric).and_then(|rate| rate.excess_high) {
            Some(high) if high <= guard.margin => {}
            Some(high) => missing.push(format!(
                "{} at most {:.2}% above control; the upper bound is {:.2}%",
                metric.words(),
                guard.margin * 100.0,
                high * 100.0
            )),
            None => missing.push(format!("a bound on {}", metric.words())),
        }
    }
    missing
}

/// Everything that a promotion lacks now, for an operator who promotes all the same.
pub(in crate::domain::lifecycle) fn lacking(
    evidence: &CanaryEvidence,
    guard: &GuardPolicy,
) -> Vec<String> {
    let mut all = comparable(evidence, guard);
    all.extend(inferior(evidence, guard));
    all.extend(must_stop(evidence, guard).map(|verdict| verdict.why));
    all
}

/// The numbers of a trial in one clause.
pub fn standing(evidence: &CanaryEvidence) -> String {
    let rates: Vec<String> = evidence.rates.iter().map(RateEvidence::to_string).collect();
    if rates.is_empty() { "no comparison yet".to_owned() } else { rates.join("; ") }
}
