//! What delayed ground truth says against the floors of a model.
//!
//! Owns this reading. Metrics and their intervals come from the join of labels; a floor is broken only
//! where the whole interval lies below it, so that a few unlucky predictions are no alarm.

use super::traffic::minutes;
use crate::domain::spec::QualityFloors;
use crate::domain::stats::alarm::{Evidence, Finding, Reading, Rule};
use crate::domain::stats::quality::Metric;

/// A metric that is, for certain or with the confidence of its interval, below its floor.
pub(super) fn quality(
    metrics: &[Metric],
    floors: &QualityFloors,
    rule: &Rule,
    minute: u64,
) -> Reading {
    let mut findings = Vec::new();
    let mut samples = 0;
    for (name, floor) in floors.set() {
        let Some(metric) = metrics.iter().find(|metric| metric.name == name) else { continue };
        if metric.n < rule.samples {
            continue;
        }
        // Without an interval nothing is known about chance.
        let Some(interval) = metric.with_chance() else { continue };
        let most = interval.upper;
        samples = samples.max(metric.n);
        if most < floor {
            let what = format!(
                "{:.4} of {} labelled predictions, at most {most:.4}",
                metric.value, metric.n
            );
            findings.push(Finding {
                subject: name.to_owned(),
                what,
                value: metric.value,
                limit: floor,
            });
        }
    }
    if samples == 0 {
        return Reading::Insufficient;
    }
    findings.sort_by(|a, b| (a.value - a.limit).total_cmp(&(b.value - b.limit)));
    let Some(worst) = findings.first() else { return Reading::Good };
    Reading::Bad(Evidence {
        definition: format!(
            "{} of labelled predictions, below its floor with its whole interval",
            worst.subject
        ),
        value: worst.value,
        limit: worst.limit,
        samples,
        minutes: minutes(minute, rule),
        p: None,
        findings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::AlarmRules;
    use crate::domain::stats::alarm::AlarmKind;
    use crate::domain::stats::confidence::Interval;
    use crate::domain::stats::quality::IntervalKind;

    fn metric(name: &'static str, value: f64, half: f64, n: u64) -> Metric {
        let interval = Interval { lower: value - half, upper: value + half };
        Metric { name, value, n, interval: Some((IntervalKind::Sequence, interval)), beyond: None }
    }

    #[test]
    fn a_floor_is_broken_where_the_whole_interval_lies_below_it() {
        let rules = AlarmRules::default();
        let rule = rules.rule(AlarmKind::Quality).expect("a rule");
        let floors =
            QualityFloors { accuracy: Some(0.9), f1: Some(0.8), ..QualityFloors::default() };
        let look = |metrics: &[Metric]| quality(metrics, &floors, rule, 100_000);
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
        let look = |beyond| quality(&[certain(beyond)], &floors, rule, 100_000);
        assert_eq!(look(None), Reading::Insufficient);
        assert_eq!(look(Some(Interval { lower: 0.75, upper: 0.9 })), Reading::Good);
        let below = look(Some(Interval { lower: 0.79, upper: 0.84 }));
        assert!(matches!(below, Reading::Bad(_)), "{below:?}");
    }
}
