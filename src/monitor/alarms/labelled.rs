//! What delayed ground truth says against the floors and ceilings of a model.
//!
//! Owns this reading, and that of the detector on the errors. Metrics and their intervals come from the join of labels;
//! a bound is broken only where the whole interval lies beyond it, so that a few unlucky predictions are no alarm.

use jiff::Timestamp;

use super::traffic::{float, minutes};
use crate::domain::spec::AlarmLimits;
use crate::domain::stats::alarm::{Evidence, FINDINGS_MAX, Finding, Reading, Rule};
use crate::domain::stats::quality::Metric;
use crate::monitor::ErrorChange;

/// A metric that is, with the confidence of its interval, below its floor or above its ceiling.
pub(super) fn quality(
    metrics: &[Metric],
    limits: &AlarmLimits,
    rule: &Rule,
    minute: u64,
) -> Reading {
    let floors = limits.floors.set().map(|(name, floor)| (name, floor, true));
    let ceilings = limits.ceilings.set().map(|(name, ceiling)| (name, ceiling, false));
    let mut findings = Vec::new();
    let mut samples = 0;
    for (name, bound, is_floor) in floors.chain(ceilings) {
        let Some(metric) = metrics.iter().find(|metric| metric.name == name) else { continue };
        if metric.n < rule.samples {
            continue;
        }
        // Without an interval nothing is known about chance.
        let Some(interval) = metric.with_chance() else { continue };
        samples = samples.max(metric.n);
        // How far the interval is beyond the bound, in parts of the bound.
        let (beyond, nearest, word) = match is_floor {
            true => (bound - interval.upper, interval.upper, "at most"),
            false => (interval.lower - bound, interval.lower, "at least"),
        };
        if beyond > 0.0 {
            let what = format!(
                "{:.4} of {} labelled predictions, {word} {nearest:.4}",
                metric.value, metric.n
            );
            let (subject, value) = (name.to_owned(), metric.value);
            let finding = Finding { subject, what, value, limit: bound };
            findings.push((beyond / bound.abs().max(f64::MIN_POSITIVE), is_floor, finding));
        }
    }
    if samples == 0 {
        return Reading::Insufficient;
    }
    findings.sort_by(|a, b| b.0.total_cmp(&a.0));
    let Some((_, is_floor, worst)) = findings.first() else { return Reading::Good };
    let side = if *is_floor { "below its floor" } else { "above its ceiling" };
    Reading::Bad(Evidence {
        definition: format!(
            "{} of labelled predictions whose labels have had the time to come, {side} with its whole interval",
            worst.subject
        ),
        value: worst.value,
        limit: worst.limit,
        samples,
        minutes: minutes(minute, rule),
        p: None,
        findings: findings.into_iter().map(|(_, _, finding)| finding).collect(),
    })
}

/// The detector has seen the errors become more, in the rule's window. Where it does not know which way they went,
/// any change counts.
pub(super) fn error_change(changes: &[ErrorChange], rule: &Rule, minute: u64) -> Reading {
    let (first, after) = minutes(minute, rule);
    let is_worse = |change: &&ErrorChange| change.errors.is_none_or(|(before, now)| now > before);
    let recent = changes.iter().rev().filter(|change| (first..after).contains(&change.minute));
    let worse: Vec<&ErrorChange> = recent.filter(is_worse).collect();
    let Some(last) = worse.first() else { return Reading::Good };
    let (before, now) = last.errors.unwrap_or((0.0, 0.0));
    let finding = |change: &&ErrorChange| Finding {
        subject: change.detector.to_owned(),
        what: match change.errors {
            Some((before, now)) => format!(
                "errors from {:.2} % to {:.2} %, {}",
                before * 100.0,
                now * 100.0,
                place(change)
            ),
            None => format!("a change {}", place(change)),
        },
        value: change.errors.map_or(0.0, |(_, now)| now),
        limit: change.errors.map_or(0.0, |(before, _)| before),
    };
    Reading::Bad(Evidence {
        definition: "the share of errors among predictions in the order in which they were made, each once its labels have \
                     had the time to come, after a change that the detector has seen, against the share before it"
            .to_owned(),
        value: now,
        limit: before,
        samples: last.labels,
        minutes: (first, after),
        p: None,
        findings: worse.iter().take(FINDINGS_MAX).map(finding).collect(),
    })
}

/// Where in the stream a change was seen.
fn place(change: &ErrorChange) -> String {
    let us = i64::try_from(change.predicted.start_us()).unwrap_or(i64::MAX);
    let made = Timestamp::from_microsecond(us).map(|time| time.to_string()).unwrap_or_default();
    format!("at label {}, of a prediction made at {made}", change.labels)
}

/// The share of labels that come, of predictions that are as old as those before them were.
pub(super) struct Coverage {
    /// Predictions with a label, and all.
    pub(super) now: (u64, u64),
    /// The same before.
    pub(super) before: (u64, u64),
}

/// Far fewer predictions get a label than before, although they have had the time.
pub(super) fn coverage(
    coverage: &Coverage,
    limits: &AlarmLimits,
    rule: &Rule,
    minute: u64,
) -> Reading {
    use crate::domain::stats::rate_band::{Place, fall_limit, place_fall};
    let ((labelled, n), (labelled_before, m)) = (coverage.now, coverage.before);
    if m < rule.samples || labelled_before == 0 {
        return Reading::Insufficient;
    }
    let (usual, factor) = (float(labelled_before) / float(m), f64::from(limits.labels_factor));
    let p = match place_fall(labelled, n, (usual, m), factor, rule.samples) {
        Place::Unknown => return Reading::Insufficient,
        Place::Within | Place::Above(_) => return Reading::Good,
        Place::Below(p) => p,
    };
    let value = super::traffic::share(labelled, n);
    Reading::Bad(Evidence {
        definition: format!(
            "the share of predictions with a label, once nine tenths of the labels should be there, against the odds of \
             earlier ones divided by {factor}, and at least five points less"
        ),
        value,
        limit: fall_limit(usual, m, factor),
        samples: n,
        minutes: minutes(minute, rule),
        p: Some(p),
        findings: vec![Finding {
            subject: "coverage".to_owned(),
            what: format!("{labelled} of {n}, before {labelled_before} of {m}"),
            value,
            limit: usual,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::{AlarmRules, QualityCeilings, QualityFloors};
    use crate::domain::stats::alarm::AlarmKind;
    use crate::domain::stats::confidence::Interval;
    use crate::domain::stats::quality::IntervalKind;
    use crate::domain::stats::window::Minute;

    fn metric(name: &'static str, value: f64, half: f64, n: u64) -> Metric {
        let interval = Interval { lower: value - half, upper: value + half };
        Metric { name, value, n, interval: Some((IntervalKind::Sequence, interval)), beyond: None }
    }

    fn rule(kind: AlarmKind) -> Rule {
        AlarmRules::default().rule(kind).expect("a rule").clone()
    }

    fn held(floors: QualityFloors, ceilings: QualityCeilings) -> AlarmLimits {
        AlarmLimits { floors, ceilings, ..AlarmLimits::default() }
    }

    #[test]
    fn a_floor_is_broken_where_the_whole_interval_lies_below_it() {
        let rule = rule(AlarmKind::Quality);
        let floors =
            QualityFloors { accuracy: Some(0.9), macro_f1: Some(0.8), ..QualityFloors::default() };
        let limits = held(floors, QualityCeilings::default());
        let look = |metrics: &[Metric]| quality(metrics, &limits, &rule, 100_000);
        assert_eq!(look(&[]), Reading::Insufficient);
        assert_eq!(look(&[metric("accuracy", 0.1, 0.01, 199)]), Reading::Insufficient);
        assert_eq!(look(&[metric("accuracy", 0.88, 0.03, 500)]), Reading::Good);
        let Reading::Bad(evidence) =
            look(&[metric("accuracy", 0.85, 0.03, 500), metric("macro_f1", 0.5, 0.1, 500)])
        else {
            panic!("both are below")
        };
        let subjects: Vec<_> = evidence.findings.iter().map(|it| it.subject.as_str()).collect();
        assert_eq!(subjects, ["macro_f1", "accuracy"]);
        assert_eq!((evidence.limit, evidence.samples), (0.8, 500));
        // What is certain of these predictions alone says nothing about chance.
        let certain = |beyond| Metric {
            interval: Some((IntervalKind::Certified, Interval { lower: 0.82, upper: 0.83 })),
            beyond,
            ..metric("auc", 0.825, 0.0, 500)
        };
        let floors = QualityFloors { auc: Some(0.85), ..QualityFloors::default() };
        let limits = held(floors, QualityCeilings::default());
        let look = |beyond| quality(&[certain(beyond)], &limits, &rule, 100_000);
        assert_eq!(look(None), Reading::Insufficient);
        assert_eq!(look(Some(Interval { lower: 0.75, upper: 0.9 })), Reading::Good);
        let below = look(Some(Interval { lower: 0.79, upper: 0.84 }));
        assert!(matches!(below, Reading::Bad(_)), "{below:?}");
    }

    #[test]
    fn a_ceiling_is_broken_where_the_whole_interval_lies_above_it() {
        let rule = rule(AlarmKind::Quality);
        let ceilings =
            QualityCeilings { mae: Some(2.0), rmse: Some(3.0), ..QualityCeilings::default() };
        let limits = held(QualityFloors::default(), ceilings);
        let look = |mae: f64, rmse: f64| {
            let metrics = [metric("mae", mae, 0.2, 500), metric("rmse", rmse, 0.2, 500)];
            quality(&metrics, &limits, &rule, 100_000)
        };
        assert_eq!(look(2.1, 3.1), Reading::Good);
        assert_eq!(look(0.1, 0.1), Reading::Good);
        let Reading::Bad(evidence) = look(2.1, 4.0) else { panic!("the root is above") };
        assert_eq!((evidence.findings.len(), evidence.limit), (1, 3.0));
        assert!(evidence.definition.contains("above its ceiling"), "{}", evidence.definition);
        assert_eq!(
            evidence.findings[0].what,
            "4.0000 of 500 labelled predictions, at least 3.8000"
        );
    }

    #[test]
    fn a_change_for_the_worse_is_told_for_a_window_and_one_for_the_better_is_not() {
        let rule = rule(AlarmKind::ErrorChange);
        let change = |minute, errors| ErrorChange {
            detector: "adwin",
            minute,
            predicted: Minute(1_000_000),
            labels: 900,
            errors,
        };
        let look = |changes: &[ErrorChange], minute| error_change(changes, &rule, minute);
        assert_eq!(look(&[], 50_000), Reading::Good);
        let all = [change(40_000, Some((0.05, 0.2))), change(40_100, Some((0.2, 0.05)))];
        let Reading::Bad(evidence) = look(&all, 40_200) else { panic!("it was for the worse") };
        assert_eq!((evidence.value, evidence.limit, evidence.findings.len()), (0.2, 0.05, 1));
        let what = &evidence.findings[0].what;
        assert_eq!(
            what,
            "errors from 5.00 % to 20.00 %, at label 900, of a prediction made at 1971-11-26T10:40:00Z"
        );
        assert_eq!(look(&all[1..], 40_200), Reading::Good);
        assert_eq!(look(&all, 40_000 + 1440), Reading::Good, "a day ago");
        assert!(matches!(look(&[change(40_000, None)], 40_200), Reading::Bad(_)));
    }

    #[test]
    fn labels_that_no_longer_come_are_told_and_few_that_always_were_few_are_not() {
        let rule = rule(AlarmKind::Labels);
        let look = |now, before| {
            let limits = AlarmLimits::default();
            coverage(&Coverage { now, before }, &limits, &rule, 100_000)
        };
        assert_eq!(look((0, 50), (4000, 5000)), Reading::Insufficient);
        assert_eq!(look((0, 5000), (0, 5000)), Reading::Insufficient, "none ever came");
        assert_eq!(look((100, 5000), (100, 5000)), Reading::Good);
        assert_eq!(look((390, 500), (4000, 5000)), Reading::Good);
        assert_eq!(look((144, 150), (870, 870)), Reading::Good, "that is four points");
        let Reading::Bad(evidence) = look((100, 500), (4000, 5000)) else { panic!("far fewer") };
        assert_eq!(evidence.findings[0].what, "100 of 500, before 4000 of 5000");
    }
}
