//! What was measured of a version. The life cycle judges these numbers and never computes one: the
//! statistics are those of the monitor.
//!
//! A number that is missing is `None` and never counts in favour of more traffic. Evidence says when it
//! began: what began before a version came to its stage says nothing about that stage.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::time::Steady;

/// What a check before any traffic looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// The artifact is the one that was announced and loads; backends serve what they claim to.
    Identity,
    /// Names, types and shapes are those of the champion.
    Interface,
    /// Rows at the edges of the value range give finite answers.
    Probes,
    /// The same row gives the same answer twice.
    Determinism,
    /// A batch gives what its rows give one by one.
    Batch,
    /// Recorded answers come out again, within tolerance.
    Golden,
    /// The metric on the golden set is not worse than the champion's.
    GoldenMetric,
    /// Answers depend on the input.
    Collapse,
    /// Answers come within the budget.
    Latency,
    /// The baseline beside the artifact is sound.
    Baseline,
}

impl CheckKind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Identity,
        Self::Interface,
        Self::Probes,
        Self::Determinism,
        Self::Batch,
        Self::Golden,
        Self::GoldenMetric,
        Self::Collapse,
        Self::Latency,
        Self::Baseline,
    ];

    /// The word in the configuration, in the journal and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Interface => "interface",
            Self::Probes => "probes",
            Self::Determinism => "determinism",
            Self::Batch => "batch",
            Self::Golden => "golden",
            Self::GoldenMetric => "golden_metric",
            Self::Collapse => "collapse",
            Self::Latency => "latency",
            Self::Baseline => "baseline",
        }
    }

    /// The words of a sentence.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Interface => "interface",
            Self::Probes => "probe rows",
            Self::Determinism => "determinism",
            Self::Batch => "batch equals singles",
            Self::Golden => "golden answers",
            Self::GoldenMetric => "golden metric",
            Self::Collapse => "collapse",
            Self::Latency => "latency",
            Self::Baseline => "baseline",
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It failed.
    Failed,
    /// It could not be made; the detail says why.
    Skipped,
    /// It found a declared change that an operator has to accept.
    NeedsApproval,
}

impl Outcome {
    /// The word in the journal and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::NeedsApproval => "needs_approval",
        }
    }
}

/// One check with its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at.
    pub kind: CheckKind,
    /// How it ended.
    pub outcome: Outcome,
    /// The numbers, as the end of a sentence.
    pub detail: String,
}

/// The checks before any traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checks {
    /// When they began.
    pub began: Steady,
    /// Each with its numbers.
    pub checks: Vec<Check>,
}

/// What the warm-up measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Warmth {
    /// When the warm-up began.
    pub began: Steady,
    /// Runs on each worker.
    pub runs: u32,
    /// Median latency of the first runs and of the last, in microseconds.
    pub cold_us: u64,
    /// Median latency once warm, in microseconds.
    pub warm_us: u64,
    /// Bytes of memory that loading took.
    pub bytes: u64,
    /// Whether latency had settled.
    pub settled: bool,
}

/// What the trial on copies of requests measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ShadowEvidence {
    /// When the comparison began.
    pub began: Steady,
    /// Pairs of answers compared.
    pub pairs: u64,
    /// How many of them came from replaying logged requests.
    pub replayed: u64,
    /// Answers of the candidate that were no valid output where the champion's was.
    pub invalid: u64,
    /// Lower confidence bound of the agreement.
    pub agreement_low: Option<f64>,
    /// Its upper confidence bound.
    #[serde(default)]
    pub agreement_high: Option<f64>,
    /// Upper confidence bound of the candidate's p99 latency over the champion's.
    pub slower_high: Option<f64>,
    /// Share of copies that were dropped under load.
    #[serde(with = "number")]
    pub drops: f64,
    /// The answer whose share differs most for certain from the champion's; `None` where nothing was compared.
    #[serde(default)]
    pub shift: Option<Shift>,
}

/// An answer that a version gives more or less often than the champion does to the same requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// The answer, as the object of a sentence.
    pub answer: String,
    /// The champion's share.
    pub ours: f64,
    /// The version's share.
    pub theirs: f64,
    /// Lower confidence bound of the difference of the two, whichever is larger.
    pub low: f64,
}

/// A rate that is compared between candidate and control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Responses that are errors.
    Errors,
    /// Responses whose output is no valid output.
    Invalid,
    /// Responses that missed the latency objective.
    Slow,
    /// Predictions that labels proved wrong.
    Labels,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Errors, Self::Invalid, Self::Slow, Self::Labels];

    /// The word in the configuration and in programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Invalid => "invalid",
            Self::Slow => "slow",
            Self::Labels => "labels",
        }
    }

    /// The words of a sentence.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Invalid => "invalid outputs",
            Self::Slow => "slow responses",
            Self::Labels => "wrong predictions",
        }
    }
}

/// The counts of one metric over a rollout, with what the sequential test says of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RateEvidence {
    /// Which rate.
    pub metric: Metric,
    /// Responses of the candidate.
    pub n: u64,
    /// How many of them count against it.
    pub bad: u64,
    /// Responses of the control slice.
    pub control_n: u64,
    /// How many of them count against it.
    pub control_bad: u64,
    /// Natural logarithm of the e-value that the candidate is worse.
    #[serde(with = "number")]
    pub ln_e: f64,
    /// Upper confidence bound of the candidate's rate less the control's.
    pub excess_high: Option<f64>,
}

impl RateEvidence {
    /// The rate of the control slice, as far as known.
    #[expect(clippy::cast_precision_loss, reason = "a rate of counts, for a comparison")]
    pub fn control_rate(&self) -> Option<f64> {
        (self.control_n > 0).then(|| self.control_bad as f64 / self.control_n as f64)
    }
}

impl fmt::Display for RateEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} of {} against {} of {} in control, e-value {}",
            self.metric.words(),
            self.bad,
            self.n,
            self.control_bad,
            self.control_n,
            Exponent(self.ln_e),
        )
    }
}

/// `exp(x)` in a form that does not overflow.
struct Exponent(f64);

impl fmt::Display for Exponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log10 = self.0 / std::f64::consts::LN_10;
        if log10.abs() < 6.0 { write!(f, "{:.3}", self.0.exp()) } else { write!(f, "1e{log10:.0}") }
    }
}

/// What the trial on requests of clients measured since the current step began; rates are those of
/// the whole rollout.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CanaryEvidence {
    /// When the counts of this step began.
    pub began: Steady,
    /// Responses of the candidate on this step.
    pub responses: u64,
    /// Responses of the candidate before its first good one.
    pub failed_from_start: u64,
    /// What killed the candidate: memory, a panic, all its backends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crashed: Option<String>,
    /// Rates with their tests.
    pub rates: Vec<RateEvidence>,
    /// The chance of the counts of candidate and control, were they drawn by their shares.
    pub sample_ratio: Option<f64>,
}

impl CanaryEvidence {
    /// The evidence of one metric.
    pub fn rate(&self, metric: Metric) -> Option<&RateEvidence> {
        self.rates.iter().find(|rate| rate.metric == metric)
    }
}

/// Numbers in the journal. JSON has no word for infinity and NaN; as `null` they come back as NaN,
/// which never speaks for more traffic, and the line stays readable.
mod number {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(*value).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }
}
