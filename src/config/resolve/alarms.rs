//! Alarms: a rule of a model over one of the gateway over the default.
//!
//! Owns the levels. Never watches anything.

use std::time::Duration;

use crate::config::form;
use crate::config::reader::{At, Fields};
use crate::domain::spec::{
    AlarmLimits, AlarmRules, AlarmsSpec, BackendAddress, CalledEvents, WebhookSpec,
};
use crate::domain::stats::alarm::{AlarmKind, MuteHours, Rule, Severity};

use super::{Peer, Rules};

/// The name that stands for `{model}` where there is none.
const GATEWAY: &str = "gateway";

/// What a level says for every kind.
#[derive(Debug, Clone, Default)]
struct Common {
    runbook: Option<String>,
    mute: Option<Vec<MuteHours>>,
}

impl Common {
    fn of(fields: &Fields<'_>) -> Self {
        let mute = fields.list("mute", form::mute_hours);
        Self {
            runbook: fields.parse("runbook", form::link).map(|at| at.value),
            mute: mute.map(|hours| hours.into_iter().map(|at| at.value).collect()),
        }
    }

    fn apply(self, rule: &mut Rule) {
        if self.runbook.is_some() {
            rule.runbook = self.runbook;
        }
        if let Some(mute) = self.mute {
            rule.mute = mute;
        }
    }
}

impl Rules<'_> {
    /// Reads `[alarms]`. Links still have their placeholders, for the models below.
    pub(super) fn alarms(&mut self, top: &Fields<'_>) -> AlarmsSpec {
        let read = top.table("alarms", |fields| {
            let webhook = webhook(&fields);
            let (spec, address) = webhook.unzip();
            let rules = kinds(&fields, AlarmRules::default(), &[]);
            (AlarmsSpec { webhook: spec, rules }, address)
        });
        let Some((spec, address)) = read else { return AlarmsSpec::default() };
        self.peers.extend(address.map(|address| Peer { what: "webhook", address }));
        spec
    }
}

/// Where calls are posted, and the address that this leads to.
fn webhook(fields: &Fields<'_>) -> Option<(WebhookSpec, At<BackendAddress>)> {
    let authorization = fields.secret("authorization", form::secret);
    let timeout = fields.duration("timeout").unwrap_or(Duration::from_secs(10));
    let backoff = fields.duration("backoff").unwrap_or(Duration::from_secs(60));
    let queue = fields.integer("queue").unwrap_or(1000);
    let events = fields.word("events", |word| match word {
        "all" => Some(CalledEvents::All),
        "alarms" => Some(CalledEvents::Alarms),
        "none" => Some(CalledEvents::None),
        _ => None,
    });
    let At { value: (url, address), place, hidden } = fields.parse("webhook", form::sink_url)?;
    let events = events.unwrap_or_default();
    let spec = WebhookSpec { url, authorization, timeout, backoff, queue, events };
    Some((spec, At { value: address, place, hidden }))
}

/// Reads `[models.NAME.alarms]`, or what `[alarms]` says about all models, over the level above.
pub(super) fn model(fields: &Fields<'_>, above: AlarmRules) -> AlarmRules {
    kinds(fields, above, &[AlarmKind::LogLag])
}

/// Reads the table of each kind, except for those that do not belong here.
fn kinds(fields: &Fields<'_>, mut rules: AlarmRules, without: &[AlarmKind]) -> AlarmRules {
    let common = Common::of(fields);
    let mut limits = rules.limits.clone();
    for (kind, switched) in rules.all_mut() {
        common.clone().apply(&mut switched.rule);
        if without.contains(&kind) {
            continue;
        }
        let read = fields.table(kind.as_str(), |own| {
            let (mut switched, mut limits) = (switched.clone(), limits.clone());
            switched.enabled = own.flag("enabled").unwrap_or(switched.enabled);
            rule(&own, &mut switched.rule);
            limit(kind, &own, &mut limits);
            (switched, limits)
        });
        if let Some(read) = read {
            (*switched, limits) = read;
        }
    }
    rules.limits = limits;
    rules
}

/// Puts names into the links of rules.
pub(super) fn named(mut rules: AlarmRules, model: Option<&str>) -> AlarmRules {
    for (kind, switched) in rules.all_mut() {
        if let Some(link) = &mut switched.rule.runbook {
            let model = model.unwrap_or(GATEWAY);
            *link = link.replace("{alarm}", kind.as_str()).replace("{model}", model);
        }
    }
    rules
}

fn rule(fields: &Fields<'_>, rule: &mut Rule) {
    let minutes = |name: &str, above: u32| fields.duration(name).map_or(above, whole_minutes);
    let severity = |word: &str| Severity::ALL.into_iter().find(|it| it.as_str() == word);
    rule.severity = fields.word("severity", severity).unwrap_or(rule.severity);
    rule.window = minutes("window", rule.window);
    rule.hold = minutes("for", rule.hold);
    rule.clear = minutes("clear", rule.clear);
    rule.cool_down = minutes("cool_down", rule.cool_down);
    let samples = fields.integer("samples").and_then(|samples| u64::try_from(samples).ok());
    rule.samples = samples.unwrap_or(rule.samples);
    Common::of(fields).apply(rule);
}

/// The keys that one kind alone has.
fn limit(kind: AlarmKind, fields: &Fields<'_>, limits: &mut AlarmLimits) {
    let factor = |above: u32| {
        let factor = fields.integer("factor").and_then(|factor| u32::try_from(factor).ok());
        factor.unwrap_or(above)
    };
    // Ratios are read as `f32`; what was written has no more digits.
    let digits = |ratio: f32| (f64::from(ratio) * 1e6).round() / 1e6;
    let fraction = |name: &str| fields.fine_ratio(name).map(|at| digits(at.value));
    let minutes = |name: &str| fields.duration(name).map(whole_minutes);
    match kind {
        AlarmKind::Silence => limits.silence_after = minutes("after").or(limits.silence_after),
        AlarmKind::RequestRate => limits.rate_factor = factor(limits.rate_factor),
        AlarmKind::ClassShare => limits.class_factor = factor(limits.class_factor),
        AlarmKind::RepeatedInput => {
            limits.repeat_share = fraction("share").unwrap_or(limits.repeat_share);
        }
        AlarmKind::ErrorRate => {
            limits.error_share = fraction("share").unwrap_or(limits.error_share);
        }
        AlarmKind::RejectionRate => {
            limits.rejected_share = fraction("share").unwrap_or(limits.rejected_share);
            limits.rejected_factor = factor(limits.rejected_factor);
        }
        AlarmKind::Latency => {
            limits.slo = fields.duration("slo").or(limits.slo);
            limits.slo_target = fraction("target").unwrap_or(limits.slo_target);
        }
        AlarmKind::Quality => {
            let floors = &mut limits.floors;
            floors.accuracy = fraction("accuracy").or(floors.accuracy);
            floors.balanced_accuracy = fraction("balanced_accuracy").or(floors.balanced_accuracy);
            floors.macro_f1 = fraction("macro_f1").or(floors.macro_f1);
            floors.f1 = fraction("f1").or(floors.f1);
            floors.auc = fraction("auc").or(floors.auc);
            floors.within_tolerance = fraction("within_tolerance").or(floors.within_tolerance);
            floors.reward = fields.number("reward").or(floors.reward);
            let ceilings = &mut limits.ceilings;
            ceilings.log_loss = fields.number("log_loss").or(ceilings.log_loss);
            ceilings.brier = fields.number("brier").or(ceilings.brier);
            ceilings.mae = fields.number("mae").or(ceilings.mae);
            ceilings.rmse = fields.number("rmse").or(ceilings.rmse);
        }
        AlarmKind::Labels => {
            limits.labels_lost = fraction("lost").unwrap_or(limits.labels_lost);
            limits.labels_factor = factor(limits.labels_factor);
        }
        AlarmKind::StalePipeline => {
            limits.new_version_every = minutes("every").or(limits.new_version_every);
        }
        AlarmKind::LogLag => limits.log_lag = fields.duration("lag").unwrap_or(limits.log_lag),
        AlarmKind::SchemaShape
        | AlarmKind::Drift
        | AlarmKind::ErrorChange
        | AlarmKind::BaselineMissing => {}
    }
}

/// Minutes, a part of one as a whole one.
fn whole_minutes(duration: Duration) -> u32 {
    let minutes = duration.as_millis().div_ceil(60_000);
    u32::try_from(minutes).unwrap_or(u32::MAX)
}
