//! The settings of alarms: where calls go, and what a model without settings gets.
//!
//! Owns the defaults. Never decides anything: that is [`crate::domain::stats::alarm`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::log::Secret;
use crate::domain::stats::alarm::{AlarmKind, Rule, Severity};

const HOUR: u32 = 60;
const DAY: u32 = 24 * HOUR;

/// `[alarms]`: the gateway's own alarms, and where calls go.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AlarmsSpec {
    /// Where calls are posted; `None` to only log them.
    pub webhook: Option<WebhookSpec>,
    /// The rules for what concerns no model, such as the prediction log.
    pub rules: AlarmRules,
}

/// Where calls are posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSpec {
    /// `http://HOST[:PORT]/PATH`.
    pub url: String,
    /// The value of the header `authorization`.
    pub authorization: Option<Secret>,
    /// How long one attempt takes.
    pub timeout: Duration,
    /// The longest pause between two attempts.
    pub backoff: Duration,
    /// Calls that may wait; beyond, the oldest one is given up.
    pub queue: usize,
    /// Which events of releases and sources are calls, too.
    pub events: CalledEvents,
}

/// Which events of releases and sources are calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CalledEvents {
    /// Every event.
    #[default]
    All,
    /// Those at which somebody should look.
    Alarms,
    /// None.
    None,
}

/// The rules of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmRules {
    rules: BTreeMap<AlarmKind, Switched>,
    /// What is held to be wrong.
    pub limits: AlarmLimits,
}

/// A rule that can be switched off and on again.
#[derive(Debug, Clone, PartialEq)]
pub struct Switched {
    /// Whether it applies.
    pub enabled: bool,
    /// The rule.
    pub rule: Rule,
}

impl AlarmRules {
    /// The rule for a kind, unless it is switched off.
    pub fn rule(&self, kind: AlarmKind) -> Option<&Rule> {
        let switched = self.rules.get(&kind).filter(|switched| switched.enabled);
        switched.map(|switched| &switched.rule)
    }

    /// Every rule, to be changed.
    pub fn all_mut(&mut self) -> impl Iterator<Item = (AlarmKind, &mut Switched)> {
        self.rules.iter_mut().map(|(kind, switched)| (*kind, switched))
    }
}

impl Default for AlarmRules {
    fn default() -> Self {
        let switched = |kind: &AlarmKind| (*kind, Switched { enabled: true, rule: default(*kind) });
        let rules = AlarmKind::ALL.iter().map(switched).collect();
        Self { rules, limits: AlarmLimits::default() }
    }
}

/// What is held to be wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmLimits {
    /// No request for so many minutes is a silence, whatever is usual; `None` to learn what is usual.
    pub silence_after: Option<u32>,
    /// So many times more, or fewer, requests than at like hours.
    pub rate_factor: u32,
    /// The share of all requests that one input may have.
    pub repeat_share: f64,
    /// So many times the odds of a class in the baseline.
    pub class_factor: u32,
    /// The share of exchanges that may fail.
    pub error_share: f64,
    /// The share of requests that may be refused, whatever was usual.
    pub rejected_share: f64,
    /// So many times the usual odds of a refusal.
    pub rejected_factor: u32,
    /// What is promised of the time that exchanges take; `None` where nothing is.
    pub slo: Option<Duration>,
    /// The share of exchanges that keep it.
    pub slo_target: f64,
    /// The least values of metrics of delayed ground truth.
    pub floors: QualityFloors,
    /// Their greatest values.
    pub ceilings: QualityCeilings,
    /// The share of statements that may count for nothing.
    pub labels_lost: f64,
    /// So many times lower may the odds of a label be than before.
    pub labels_factor: u32,
    /// A new version comes at least so often, in minutes; `None` where nothing is promised.
    pub new_version_every: Option<u32>,
    /// How far the log, or its delivery, may be behind.
    pub log_lag: Duration,
}

impl Default for AlarmLimits {
    fn default() -> Self {
        Self {
            silence_after: None,
            rate_factor: 4,
            repeat_share: 0.2,
            class_factor: 4,
            error_share: 0.05,
            rejected_share: 0.2,
            rejected_factor: 4,
            slo: None,
            slo_target: 0.99,
            floors: QualityFloors::default(),
            ceilings: QualityCeilings::default(),
            labels_lost: 0.1,
            labels_factor: 2,
            new_version_every: None,
            log_lag: Duration::from_secs(300),
        }
    }
}

/// The least values of metrics of delayed ground truth; `None` for no floor.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct QualityFloors {
    /// The share of predictions that were right.
    pub accuracy: Option<f64>,
    /// The mean over classes of the share that was found.
    pub balanced_accuracy: Option<f64>,
    /// The harmonic mean of precision and recall, over all classes alike.
    pub macro_f1: Option<f64>,
    /// The same of the positive class.
    pub f1: Option<f64>,
    /// The area under the receiver's curve.
    pub auc: Option<f64>,
    /// The share of numbers that were off by no more than the tolerance.
    pub within_tolerance: Option<f64>,
    /// The mean reward.
    pub reward: Option<f64>,
}

impl QualityFloors {
    /// The floors that are set, by the names of their metrics.
    pub fn set(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let all = [
            ("accuracy", self.accuracy),
            ("balanced_accuracy", self.balanced_accuracy),
            ("macro_f1", self.macro_f1),
            ("f1", self.f1),
            ("auc", self.auc),
            ("within_tolerance", self.within_tolerance),
            ("reward", self.reward),
        ];
        all.into_iter().filter_map(|(name, floor)| Some((name, floor?)))
    }
}

/// The greatest values of metrics of delayed ground truth; `None` for no ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct QualityCeilings {
    /// The logarithmic loss.
    pub log_loss: Option<f64>,
    /// The squared distance of the probabilities from the truth.
    pub brier: Option<f64>,
    /// How far numbers are off, on average.
    pub mae: Option<f64>,
    /// The root of the mean of the squares of that.
    pub rmse: Option<f64>,
}

impl QualityCeilings {
    /// The ceilings that are set, by the names of their metrics.
    pub fn set(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let all = [
            ("log_loss", self.log_loss),
            ("brier", self.brier),
            ("mae", self.mae),
            ("rmse", self.rmse),
        ];
        all.into_iter().filter_map(|(name, ceiling)| Some((name, ceiling?)))
    }
}

/// The rule of a kind, unless it is set.
fn default(kind: AlarmKind) -> Rule {
    use AlarmKind as K;
    use Severity::{Critical, Info, Warning};
    // Severity, window, samples, hold, clear, cool-down.
    let (severity, window, samples, hold, clear, cool_down) = match kind {
        K::Silence => (Critical, 10, 1, 1, 1, HOUR),
        K::RequestRate => (Warning, 5, 100, 2, 5, HOUR),
        K::RepeatedInput => (Warning, 5, 200, 1, 5, HOUR),
        K::ClassShare => (Warning, HOUR, 500, 5, 10, 6 * HOUR),
        K::SchemaShape => (Critical, 10, 100, 2, 5, HOUR),
        K::Drift => (Warning, HOUR, 100, 1, 1, 6 * HOUR),
        K::ErrorRate => (Critical, 5, 50, 2, 5, HOUR),
        K::RejectionRate => (Critical, 10, 20, 2, 5, HOUR),
        K::Latency => (Critical, 5, 100, 2, 5, HOUR),
        K::Quality => (Warning, DAY, 200, 1, 5, 6 * HOUR),
        // Labels come in an order of their own: it is a reason to look.
        K::ErrorChange => (Info, DAY, 1, 1, 5, 6 * HOUR),
        K::Labels => (Warning, HOUR, 100, 1, 5, 6 * HOUR),
        K::BaselineMissing => (Info, HOUR, 100, 10, 1, DAY),
        K::StalePipeline => (Warning, 1, 1, 1, 1, DAY),
        K::LogLag => (Critical, 1, 1, 2, 5, HOUR),
    };
    Rule { severity, window, samples, hold, clear, cool_down, runbook: None, mute: Vec::new() }
}
