//! The guards of the way up: what lets a version go on, and what stops it.
//!
//! Each guard turns evidence into a proof or into the reasons why there is none. A [stage](super::stage)
//! is left for one with more exposure only against a proof, and proofs are made here only (or read back
//! from the journal). Nothing that is missing proves anything.

mod absence;
mod canary;
mod shadow;

use serde::{Deserialize, Serialize};

pub use self::absence::{Absence, may_take_over};
pub(in crate::domain::lifecycle) use self::canary::lacking;
pub use self::canary::{Promoted, Stepped, may_promote, may_step, must_stop, standing};
pub use self::shadow::{Tried, disagrees, may_take_traffic};
use super::evidence::{CanaryEvidence, Check, CheckKind, Outcome, ShadowEvidence, Warmth};
use super::policy::{GuardPolicy, ReleasePolicy, ShadowPolicy};
use super::time::Steady;

/// Why a version does not go on.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    /// Something is missing that may still come.
    Wait(Vec<String>),
    /// It never will.
    Fail(Verdict),
}

impl Stop {
    /// Waits for one thing.
    pub(super) fn wait(reason: impl Into<String>) -> Self {
        Self::Wait(vec![reason.into()])
    }
}

/// Why a version was stopped for good: one clause with its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which gate stopped it.
    pub gate: Gate,
    /// The clause.
    pub why: String,
}

/// Where a version was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// The artifact did not come.
    Fetch,
    /// Its content is known to be bad.
    Known,
    /// A check before any traffic.
    Admission,
    /// The warm-up.
    WarmUp,
    /// The trial on copies.
    Shadow,
    /// The trial on clients' requests.
    Canary,
    /// The trial ended without enough evidence.
    Insufficient,
    /// It was live and broke.
    Live,
    /// It stood ready and broke.
    Standby,
    /// An operator rejected it.
    Operator,
    /// The gateway died again and again while it was tried.
    Deaths,
}

impl Gate {
    /// Whether the content is to blame, so that it is never tried again under any name. What was never
    /// shown either way is not.
    pub const fn condemns(self) -> bool {
        match self {
            Self::Known
            | Self::Admission
            | Self::WarmUp
            | Self::Shadow
            | Self::Canary
            | Self::Live
            | Self::Standby
            | Self::Operator => true,
            // A death may be the host's, or somebody's hand.
            Self::Fetch | Self::Insufficient | Self::Deaths => false,
        }
    }

    /// Whether the publisher is to blame.
    pub const fn blames_publisher(self) -> bool {
        !matches!(self, Self::Fetch | Self::Insufficient | Self::Operator | Self::Known)
    }

    /// The words of a sentence.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Fetch => "while fetching",
            Self::Known => "at discovery",
            Self::Admission => "at admission",
            Self::WarmUp => "at warm-up",
            Self::Shadow => "in shadow",
            Self::Canary => "in canary",
            Self::Insufficient => "for want of evidence",
            Self::Live => "while live",
            Self::Standby => "while standby",
            Self::Operator => "by an operator",
            Self::Deaths => "for the gateway's sake",
        }
    }
}

/// The artifact lies here and is what it claims to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    bytes: u64,
    took_ms: u64,
}

impl Fetched {
    /// An artifact whose digest was compared with the announced one by whoever fetched it.
    pub fn verified(bytes: u64, took_ms: u64) -> Self {
        Self { bytes, took_ms }
    }

    /// Bytes of the artifact.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A version has passed all checks before traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    checks: Vec<Check>,
}

impl Admitted {
    /// Every check with its numbers.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Whether recorded answers were compared.
    pub fn golden(&self) -> bool {
        let golden =
            |check: &Check| check.kind == CheckKind::Golden && check.outcome == Outcome::Passed;
        self.checks.iter().any(golden)
    }
}

/// Whether checks let a version load.
///
/// # Errors
///
/// The failed checks, or those that are missing or wait for an approval.
pub fn may_warm(
    checks: &[Check],
    approved: bool,
    policy: &ReleasePolicy,
) -> Result<Admitted, Stop> {
    let told = |check: &Check| format!("{}: {}", check.kind.words(), check.detail);
    let failed: Vec<String> =
        checks.iter().filter(|check| check.outcome == Outcome::Failed).map(told).collect();
    if !failed.is_empty() {
        return Err(Stop::Fail(Verdict { gate: Gate::Admission, why: failed.join("; ") }));
    }
    let ran = |kind: CheckKind| {
        checks.iter().any(|check| check.kind == kind && check.outcome != Outcome::Skipped)
    };
    let why = |kind: &CheckKind| {
        let skipped = checks.iter().find(|check| check.kind == *kind).map(|check| &check.detail);
        let why = skipped.map(|detail| format!(" ({detail})")).unwrap_or_default();
        format!("{}{why}", kind.words())
    };
    let missing: Vec<String> =
        policy.required.iter().filter(|kind| !ran(**kind)).map(why).collect();
    if !missing.is_empty() {
        let why = format!("required checks did not run: {}", missing.join(", "));
        return Err(Stop::Fail(Verdict { gate: Gate::Admission, why }));
    }
    let open: Vec<String> = checks
        .iter()
        .filter(|check| check.outcome == Outcome::NeedsApproval && !approved)
        .map(|check| format!("an operator's approval of {}", told(check)))
        .collect();
    if open.is_empty() { Ok(Admitted { checks: checks.to_vec() }) } else { Err(Stop::Wait(open)) }
}

/// A version is loaded and warm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Warm {
    measured: Warmth,
}

impl Warm {
    /// What was measured.
    pub fn measured(&self) -> &Warmth {
        &self.measured
    }
}

/// The fewest runs of a warm-up.
pub const WARM_RUNS_MIN: u32 = 20;

/// Whether a version is warm.
///
/// # Errors
///
/// What the warm-up lacks.
pub fn is_warm(measured: &Warmth) -> Result<Warm, Stop> {
    if measured.runs < WARM_RUNS_MIN {
        return Err(Stop::wait(format!("{} of {WARM_RUNS_MIN} warm-up runs", measured.runs)));
    }
    if !measured.settled {
        return Err(Stop::wait(format!(
            "a steady latency, {} µs cold and {} µs now",
            measured.cold_us, measured.warm_us
        )));
    }
    Ok(Warm { measured: measured.clone() })
}

/// The first version of a model may answer without a comparison: there is nothing to compare with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct First {
    warm: Warm,
    basis: FirstBasis,
}

/// What speaks for a first version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstBasis {
    /// Recorded answers came out again.
    Golden,
    /// An operator named or approved it.
    Approval,
    /// The policy lets unproven versions live.
    Policy,
}

impl std::fmt::Display for FirstBasis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Golden => "its golden answers",
            Self::Approval => "an operator's word",
            Self::Policy => "the policy's word",
        })
    }
}

impl First {
    /// What speaks for it.
    pub fn basis(&self) -> FirstBasis {
        self.basis
    }
}

/// Whether a warm version may be the first of its model.
///
/// # Errors
///
/// What it waits for.
pub fn may_be_first(
    warm: Warm,
    admitted: &Admitted,
    approved: bool,
    manual: bool,
    policy: &ReleasePolicy,
) -> Result<First, Stop> {
    let basis = match (approved, manual, admitted.golden()) {
        (true, ..) => FirstBasis::Approval,
        (false, true, _) => return Err(Stop::wait("an operator's approval")),
        (false, false, true) => FirstBasis::Golden,
        (false, false, false) if policy.unproven => FirstBasis::Policy,
        (false, false, false) => {
            return Err(Stop::wait("an operator's approval, as it has no golden answers to prove"));
        }
    };
    Ok(First { warm, basis })
}

/// What of a trial that did not come to its end speaks against the version; what is only missing does not.
pub fn measured_against(
    shadow: Option<&ShadowEvidence>,
    canary: Option<&CanaryEvidence>,
    (copies, guard): (&ShadowPolicy, &GuardPolicy),
) -> Option<String> {
    let in_shadow = shadow.and_then(|evidence| shadow::speaks_against(evidence, copies));
    in_shadow.or_else(|| canary.and_then(|evidence| canary::speaks_against(evidence, guard)))
}

/// A version was seen to be sound a short while ago.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sound {
    checked: Steady,
    how: String,
}

impl Sound {
    /// What was checked, and when.
    pub fn told(&self) -> (&str, Steady) {
        (&self.how, self.checked)
    }
}

/// A fresh look at a loaded version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// When it began.
    pub at: Steady,
    /// What it was found to be.
    pub found: Found,
    /// What was done: the end of a sentence.
    pub how: String,
}

/// What a fresh look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// It is as it should be.
    Sound,
    /// It is not.
    Unsound,
    /// There is nothing to check it by.
    Nothing,
}

impl Look {
    /// Whether the version was not as it should be.
    pub fn failed(&self) -> bool {
        self.found == Found::Unsound
    }
}

/// Whether a look proves that a version is sound now.
///
/// # Errors
///
/// Why it does not.
pub fn is_sound(
    look: Option<&Look>,
    now: Steady,
    fresh: std::time::Duration,
) -> Result<Sound, String> {
    let look = look.ok_or("it was never checked")?;
    match look.found {
        Found::Sound => {}
        Found::Unsound => return Err(format!("its last check failed: {}", look.how)),
        Found::Nothing => return Err(format!("there is nothing to check it by: {}", look.how)),
    }
    let age = now.since(look.at);
    if age > fresh {
        return Err(format!("its last check is {} old", super::time::Spell(age)));
    }
    Ok(Sound { checked: look.at, how: look.how.clone() })
}
