//! How versions that serve do: from what the monitor has counted to windows of signals.
//!
//! Owns what counts as a bad window of each [`Signal`], and that no window is told twice. A window with too little
//! in it is gathered with the next ones. Never counts and never decides what follows: [`Health`] follows the windows
//! of a signal, and the life cycle acts on it.
//!
//! ```text
//! closed minutes ─▶ gathered ─▶ errors and slow responses, invalid outputs ─┐
//! judgements of drift ─▶ inputs, outputs ───────────────────────────────────┼─▶ (Signal, Window) ─▶ Health
//! labels, scores ─▶ quality, estimated quality ─────────────────────────────┤
//! a fresh look ─▶ golden answers, or invalid outputs ───────────────────────┤
//! copies for a standby ─▶ agreement; the standby's errors, invalid outputs ─┘
//! ```
//!
//! [`Health`]: crate::domain::lifecycle::health::Health

mod copies;

use std::sync::Arc;
use std::time::Duration;

pub use self::copies::{CopiedWindows, CopyFeed};
use super::admission::Looked;
use crate::domain::lifecycle::health::{Signal, Window};
use crate::domain::lifecycle::policy::GuardPolicy;
use crate::domain::lifecycle::proof::Found;
use crate::domain::lifecycle::time::{Now, Steady};
use crate::domain::record::Outcome;
use crate::domain::spec::{AlarmRules, QualityFloors};
use crate::domain::stats::baseline::Baseline;
use crate::domain::stats::cbpe::Estimate;
use crate::domain::stats::counts::Counts;
use crate::domain::stats::drift::docket::Judgement;
use crate::domain::stats::layout::{Guard, Role};
use crate::domain::stats::quality::{IntervalKind, Metric};
use crate::domain::stats::rate_band::exceeds;
use crate::domain::stats::verdict::Outcome as Drifted;
use crate::domain::stats::window::{
    Minute, Stage, Traffic, Window as Closed, WindowCounts, WindowLength,
};
use crate::monitor::{MonitorReader, QualityReader, VersionKey};

/// Minutes that are gathered until there is enough to judge.
const GATHERED_MAX: u32 = 60;
/// The chance that a window of a sound version is bad; three of five are needed.
const BAD_CHANCE: f64 = 1e-3;
/// The chance that a window of a sound version degrades it by itself.
const CROSSED_CHANCE: f64 = 1e-7;
/// The share of outputs that may be invalid where the baseline has none.
const INVALID_SHARE: f64 = 1e-3;
/// How often quality is looked at, in minutes: labels and scores add up over hours.
const QUALITY_EVERY: u32 = 5;

/// What counts as bad.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// The share of exchanges that may fail by the version's fault.
    pub error_share: f64,
    /// How long the version may take, and the share of responses that may take longer.
    pub slow: Option<(Duration, f64)>,
    /// The least values of metrics on labels.
    pub floors: QualityFloors,
    /// By how much accuracy may be below that of the baseline, where no floor is set.
    pub margin: f64,
    /// The fewest responses, or labels, of a verdict.
    pub samples: u64,
    /// Over how long metrics on labels are taken, in minutes.
    pub label_minutes: u32,
}

impl Rules {
    /// Those of a model's guard and alarms; `slow` is its latency objective.
    pub fn new(guard: &GuardPolicy, alarms: &AlarmRules, slow: Option<(Duration, f64)>) -> Self {
        Self {
            error_share: alarms.limits.error_share,
            slow,
            floors: alarms.limits.floors,
            margin: guard.golden_margin,
            samples: guard.samples,
            label_minutes: WindowLength::Day.minutes(),
        }
    }
}

/// What the monitor knows of one version.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Closed minutes, oldest first.
    pub minutes: Vec<Arc<Closed>>,
    /// The first minute that is not closed.
    pub open: Minute,
    /// What its values are held against.
    pub baseline: Option<Arc<Baseline>>,
    /// What was last concluded about drift.
    pub judgement: Option<Arc<Judgement>>,
    /// Metrics of predictions whose labels have had the time to come; none while it is not known how long that takes.
    pub quality: Vec<Metric>,
    /// The accuracy that scores let expect, and how many there are.
    pub estimate: Option<(Estimate, u64)>,
}

impl View {
    /// Reads what is known of the minutes from `since` on.
    pub fn read(
        monitor: &MonitorReader,
        quality: &QualityReader,
        key: &VersionKey,
        rules: &Rules,
        since: Minute,
    ) -> Self {
        let open = monitor.open();
        let windows = monitor.windows(key, WindowLength::Minute);
        let newer = windows.into_iter().filter(|window| window.start >= since);
        // Labels of errors may come before the others do: of young predictions they say nothing.
        let last = Minute(open.0.saturating_sub(1));
        let matured = quality.matured(key, rules.label_minutes, last);
        Self {
            minutes: newer.collect(),
            open,
            baseline: monitor.baseline(key),
            judgement: monitor.judgement(key),
            quality: matured.map(|matured| matured.metrics).unwrap_or_default(),
            estimate: quality.expected_accuracy(key, rules.label_minutes, open),
        }
    }
}

/// The windows of one version, each told once.
#[derive(Debug)]
pub struct Feed {
    /// The first minute that was not told.
    next: Minute,
    gathered: WindowCounts,
    /// Minutes in it.
    minutes: u32,
    /// The end of the last judgement that was told.
    judged: Minute,
    /// When quality was last told.
    rated: Minute,
    labels: u64,
    scores: u64,
}

impl Feed {
    /// Nothing told yet; what was before `since` never is.
    pub fn new(since: Minute) -> Self {
        Self {
            next: since,
            gathered: WindowCounts::default(),
            minutes: 0,
            judged: since,
            rated: since,
            labels: 0,
            scores: 0,
        }
    }

    /// The first minute that it has not told.
    pub const fn next(&self) -> Minute {
        self.next
    }

    /// The windows that are new in `view`.
    pub fn windows(&mut self, view: &View, rules: &Rules, now: Now) -> Vec<(Signal, Window)> {
        let mut told = Vec::new();
        for window in view.minutes.iter().filter(|window| window.end() <= view.open) {
            if window.start < self.next {
                continue;
            }
            self.next = window.end();
            self.gathered.merge(&window.counts);
            self.minutes += 1;
            if answered(&self.gathered.traffic) >= rules.samples || self.minutes >= GATHERED_MAX {
                let gathered = std::mem::take(&mut self.gathered);
                self.minutes = 0;
                let at = steady(self.next, now);
                told.push((Signal::SloBurn, slo_burn(&gathered.traffic, rules, at)));
                told.extend(invalid_output(&gathered, view.baseline.as_deref(), rules, at));
            }
        }
        if let Some(judgement) = view.judgement.as_ref().filter(|it| it.until > self.judged) {
            self.judged = judgement.until;
            told.extend(drift(judgement, steady(judgement.until, now)));
        }
        if view.open >= self.rated.plus(QUALITY_EVERY) {
            self.rated = view.open;
            told.extend(self.quality(view, rules, steady(view.open, now)));
        }
        told
    }

    fn quality(&mut self, view: &View, rules: &Rules, at: Steady) -> Vec<(Signal, Window)> {
        let mut told = Vec::new();
        let labels = view.quality.iter().map(|metric| metric.n).max().unwrap_or(0);
        // The same labels a second time say nothing new.
        if labels != self.labels {
            self.labels = labels;
            let floors = floors(rules, view.baseline.as_deref());
            told.extend(
                labelled(&view.quality, &floors, rules, at).map(|it| (Signal::Labelled, it)),
            );
        }
        if let Some((estimate, scores)) = view.estimate.filter(|(_, n)| *n != self.scores) {
            self.scores = scores;
            let floor = floors(rules, view.baseline.as_deref());
            let floor = floor.iter().find(|(name, _)| *name == "accuracy").map(|(_, floor)| *floor);
            if let Some(floor) = floor {
                let most = estimate.interval.upper;
                let detail = format!(
                    "scores of {scores} predictions let expect an accuracy of {:.4}, at least \
                     {floor:.4} is wanted",
                    estimate.value
                );
                let bad = (scores >= rules.samples).then_some(most < floor);
                let window = Window { at, bad, crossed: false, samples: scores, detail };
                told.push((Signal::Estimated, window));
            }
        }
        told
    }
}

/// What a fresh look says: a golden set that no longer comes out decides at once, as nothing about it is chance.
/// `None` where there was nothing to look at.
pub fn of_look(looked: &Looked) -> Option<(Signal, Window)> {
    let signal = if looked.golden { Signal::Golden } else { Signal::InvalidOutput };
    let look = &looked.look;
    let failed = look.failed();
    let window = Window {
        at: look.at,
        bad: Some(failed),
        crossed: failed,
        samples: 1,
        detail: look.how.clone(),
    };
    (look.found != Found::Nothing).then_some((signal, window))
}

/// The beginning of a minute in the time of the life cycle.
fn steady(minute: Minute, now: Now) -> Steady {
    let ago = now.wall.0.saturating_sub(minute.start_us() / 1000);
    Steady(now.steady.0.saturating_sub(ago))
}

/// Exchanges that failed by the version's fault.
fn failures(traffic: &Traffic) -> u64 {
    let blamed = [Outcome::ModelError, Outcome::UpstreamError, Outcome::Timeout];
    blamed.iter().map(|outcome| traffic.outcome(*outcome)).sum()
}

/// Exchanges that say something about the version: what the client, or a limit, ended does not.
fn answered(traffic: &Traffic) -> u64 {
    failures(traffic) + traffic.outcome(Outcome::Ok)
}

/// Errors and slow responses against what is allowed.
fn slo_burn(traffic: &Traffic, rules: &Rules, at: Steady) -> Window {
    let (failed, samples) = (failures(traffic), answered(traffic));
    let beyond = |bad: u64, all: u64, share: f64, chance: f64| {
        exceeds(bad, all, share.clamp(0.0, 1.0), chance).is_some()
    };
    let mut detail = format!("{failed} of {samples} failed, {} may", rules.error_share);
    let mut bad = beyond(failed, samples, rules.error_share, BAD_CHANCE);
    let mut crossed = beyond(failed, samples, 2.0 * rules.error_share, CROSSED_CHANCE);
    if let Some((limit, share)) = rules.slow {
        let us = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
        let stages = [Stage::Infer, Stage::Upstream].map(|stage| traffic.latency(stage));
        let slow: u64 = stages.iter().map(|times| times.above(us)).sum();
        let timed: u64 = stages.iter().map(|times| times.count()).sum();
        let ms = limit.as_secs_f64() * 1000.0;
        detail = format!("{detail}; {slow} of {timed} took more than {ms} ms, {share} may");
        bad |= beyond(slow, timed, share, BAD_CHANCE);
        crossed |= beyond(slow, timed, 4.0 * share.max(0.05), CROSSED_CHANCE);
    }
    let bad = (samples >= rules.samples).then_some(bad);
    Window { at, bad, crossed: crossed && bad == Some(true), samples, detail }
}

/// Outputs that are no numbers, infinite, or of another type; `None` where no output is counted.
fn invalid_output(
    counts: &WindowCounts,
    baseline: Option<&Baseline>,
    rules: &Rules,
    at: Steady,
) -> Option<(Signal, Window)> {
    let baseline = baseline?;
    let layout = baseline.layout();
    let values: &Counts = counts.values_by(layout.hash())?;
    let outputs = layout.features().iter().enumerate();
    let outputs = outputs.filter(|(_, feature)| feature.role() == Role::Output);
    let of = |(at, feature): (usize, &crate::domain::stats::layout::Feature)| {
        let counted = values.feature(at)?;
        let guards = [Guard::Nan, Guard::Infinite, Guard::Wrong];
        let invalid: u64 = guards.iter().map(|guard| counted.guard(*guard)).sum();
        let usual = baseline.reference(at).map_or(0.0, |known| known.nan + known.infinite);
        Some((feature.name().to_owned(), invalid, counted.seen(), usual + INVALID_SHARE))
    };
    // The worst output speaks for all.
    let worst = outputs.filter_map(of).max_by_key(|(_, invalid, ..)| *invalid)?;
    let (name, invalid, seen, share) = worst;
    let exceeds = |chance| exceeds(invalid, seen, share.min(1.0), chance).is_some();
    let bad = (seen >= rules.samples).then(|| exceeds(BAD_CHANCE));
    let window = Window {
        at,
        bad,
        crossed: bad == Some(true) && exceeds(CROSSED_CHANCE),
        samples: seen,
        detail: format!("{invalid} of {seen} values of output `{name}` are no valid output"),
    };
    Some((Signal::InvalidOutput, window))
}

/// Drift of inputs and of outputs.
fn drift(judgement: &Judgement, at: Steady) -> Vec<(Signal, Window)> {
    let layout = judgement.baseline.layout();
    let one = |role: Role, signal: Signal| {
        let own = judgement.report.features.iter().filter(|report| {
            layout.features().get(report.index).is_some_and(|feature| feature.role() == role)
        });
        let all = judgement.report.roles.iter().filter(|report| report.role == role);
        let mut verdicts = own.clone().map(|it| &it.verdict).chain(all.map(|it| &it.verdict));
        let breaches = verdicts.clone().filter(|verdict| verdict.is_breach()).count();
        let is_judged = verdicts.any(|verdict| verdict.outcome != Drifted::Insufficient);
        let n = own.clone().map(|it| it.verdict.evidence.n).fold(0.0, f64::max);
        let names: Vec<&str> = own
            .filter(|it| it.verdict.is_breach())
            .filter_map(|it| layout.features().get(it.index).map(|feature| feature.name()))
            .take(3)
            .collect();
        let detail = match breaches {
            0 => format!("no {} has drifted", role.as_str()),
            _ => format!("{breaches} breaches of {}s: {}", role.as_str(), names.join(", ")),
        };
        let window = Window {
            at,
            bad: is_judged.then_some(breaches > 0),
            crossed: false,
            samples: n as u64,
            detail,
        };
        (signal, window)
    };
    vec![one(Role::Input, Signal::InputDrift), one(Role::Output, Signal::OutputDrift)]
}

/// The least values of metrics: those that are set, or accuracy as the pipeline measured it less the margin.
fn floors(rules: &Rules, baseline: Option<&Baseline>) -> Vec<(&'static str, f64)> {
    let set: Vec<_> = rules.floors.set().collect();
    if !set.is_empty() {
        return set;
    }
    let measured = baseline.and_then(|baseline| baseline.metrics.get("accuracy"));
    measured.map(|metric| ("accuracy", metric.value - rules.margin)).into_iter().collect()
}

/// Metrics on labels against their floors; `None` where there is no floor or no metric.
fn labelled(
    metrics: &[Metric],
    floors: &[(&'static str, f64)],
    rules: &Rules,
    at: Steady,
) -> Option<Window> {
    let pairs = floors.iter().filter_map(|(name, floor)| {
        Some((metrics.iter().find(|metric| metric.name == *name)?, *floor))
    });
    // The one that is furthest below its floor, or closest to it.
    let by_excess = |(a, a_floor): &(&Metric, f64), (b, b_floor): &(&Metric, f64)| {
        (most(a) - a_floor).total_cmp(&(most(b) - b_floor))
    };
    let (metric, floor) = pairs.min_by(by_excess)?;
    let below = most(metric) < floor;
    let bad = (metric.n >= rules.samples).then_some(below);
    // A confidence sequence may be looked at as often as one likes.
    let sequence = matches!(metric.interval, Some((IntervalKind::Sequence, _)));
    Some(Window {
        at,
        bad,
        crossed: bad == Some(true) && sequence,
        samples: metric.n,
        detail: format!(
            "{} {:.4} of {} labelled predictions whose labels have had the time to come, at most {:.4}; at least \
             {floor:.4} is wanted",
            metric.name,
            metric.value,
            metric.n,
            most(metric)
        ),
    })
}

/// The most that a metric can be.
fn most(metric: &Metric) -> f64 {
    metric.interval.as_ref().map_or(metric.value, |(_, interval)| interval.upper)
}

#[cfg(test)]
mod tests;
