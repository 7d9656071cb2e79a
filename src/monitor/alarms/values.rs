//! What can be said of values against a baseline: the shape of the schema, and where they lie.
//!
//! Owns these readings, and that of the judge's verdicts about drift, which take many windows together.

use crate::domain::stats::alarm::{Evidence, FINDINGS_MAX, Finding, Reading, Rule};
use crate::domain::stats::baseline::{Baseline, Origin, Reference};
use crate::domain::stats::counts::{Counts, FeatureCounts};
use crate::domain::stats::distance::PSI_DEFINITION;
use crate::domain::stats::drift::docket::Judgement;
use crate::domain::stats::drift::report::FeatureReport;
use crate::domain::stats::drift::scale::units;
use crate::domain::stats::groups::expected_unknown;
use crate::domain::stats::layout::{Feature, FeatureKind, Guard, Role};
use crate::domain::stats::rate_band::{CHANCE, shape_limit};
use crate::domain::stats::two_by_two::{Tally, score_above};
use crate::domain::stats::verdict::Outcome;

use super::traffic::{float, minutes};
use crate::monitor::Standing;

/// What a value is instead of one. Missing and not a number are one thing: which of the two a client sends for what
/// it does not have is up to its protocol, and to the library that read the training data.
const SHAPES: [(&[Guard], &str); 3] = [
    (&[Guard::Missing, Guard::Nan], "missing or not a number"),
    (&[Guard::Infinite], "infinite"),
    (&[Guard::Wrong], "of the wrong type"),
];

/// What a constant factor is and how it was decided.
const FACTOR_DEFINITION: &str = "the factor by which every value of the last three days differs from the baseline, \
                                 tested against three percent";

/// What a category is that the baseline does not know.
const UNKNOWN: &str = "unknown to the baseline";

/// A field that is missing, or of another type, far more often than in the baseline: it was renamed, left
/// out, or retyped. `blocks` are the windows that it is looked for in, newest first; `names` tells a few values of a
/// feature that the baseline does not know.
pub(super) fn schema_shape(
    baseline: &Baseline,
    blocks: &[&Counts],
    names: &dyn Fn(usize) -> Vec<String>,
    rule: &Rule,
    minute: u64,
) -> Reading {
    let features = baseline.layout().features();
    // Everything that is watched shares one bound on false alarms.
    let threshold = float((features.len() * (SHAPES.len() + 1)).max(1) as u64) / CHANCE;
    let mut findings = Vec::new();
    let mut enough = 0;
    for (at, (feature, reference)) in features.iter().zip(baseline.references()).enumerate() {
        let seen = || blocks.iter().filter_map(|counts| counts.features().get(at));
        let total = seen().map(FeatureCounts::seen).sum();
        if total < rule.samples {
            continue;
        }
        enough = enough.max(total);
        let mut look = |what: &str, usual: f64, of: &dyn Fn(&FeatureCounts) -> Tally| {
            let is_unknown = what == UNKNOWN;
            let limit = shape_limit(usual, whole(reference.total()));
            let score = score_above(limit, seen().map(of));
            if score < threshold {
                return;
            }
            let mut sum = Tally::default();
            seen().for_each(|seen| sum.merge(of(seen)));
            let value = sum.share().unwrap_or(0.0);
            let mut what = format!("{what} in {:.1} % of the values", value * 100.0);
            let named = if is_unknown { names(at) } else { Vec::new() };
            if !named.is_empty() {
                let named: Vec<String> = named.iter().map(|name| format!("{name:?}")).collect();
                what.push_str(&format!(", such as {}", named.join(", ")));
            }
            // The mean of e-values is one, and one over it is a bound on chance.
            let p = float(blocks.len() as u64) / score;
            findings.push((p, Finding { subject: feature.name().to_owned(), what, value, limit }));
        };
        for (guards, what) in SHAPES {
            let usual = guards.iter().map(|guard| usual_of(reference, *guard)).sum();
            look(what, usual, &|seen| {
                let count = guards.iter().map(|guard| seen.guard(*guard)).sum();
                Tally::new(count, seen.seen())
            });
        }
        if !matches!(feature.kind(), FeatureKind::Numeric(_)) {
            look(UNKNOWN, expected_unknown(reference.counts()), &|seen| {
                Tally::new(seen.bins().last().copied().unwrap_or(0), seen.valid())
            });
        }
    }
    let definition = "the share of values that are missing or of another type, and of unknown categories, \
                      against twice the odds in the baseline and five percent more";
    verdict(findings, enough, definition, rule, minute)
}

/// How often values of the baseline had this shape.
fn usual_of(reference: &Reference, guard: Guard) -> f64 {
    match guard {
        Guard::Missing => reference.missing,
        Guard::Nan => reference.nan,
        Guard::Infinite => reference.infinite,
        Guard::Wrong => 0.0,
    }
}

/// A version whose values are looked at and that has nothing to hold them against.
pub(super) fn baseline_missing(
    standing: Option<&Standing>,
    seen: u64,
    rule: &Rule,
    minute: u64,
) -> Reading {
    let what = match standing {
        Some(Standing::Ready { .. }) => return Reading::Good,
        _ if seen < rule.samples => return Reading::Insufficient,
        Some(Standing::Refused { reason }) => format!("refused: {reason}"),
        Some(Standing::Learning { rows, wanted }) => {
            format!("being learned from traffic: {rows} of {wanted} rows")
        }
        Some(Standing::Absent) | None => "absent".to_owned(),
    };
    Reading::Bad(Evidence {
        definition:
            "exchanges whose values were looked at, without a baseline to hold them against"
                .to_owned(),
        value: float(seen),
        limit: 0.0,
        samples: seen,
        minutes: minutes(minute, rule),
        p: None,
        findings: vec![Finding {
            subject: "baseline.json".to_owned(),
            what,
            value: 0.0,
            limit: 1.0,
        }],
    })
}

/// The name of a class.
pub(super) fn name_of(feature: &Feature, bin: usize) -> &str {
    match feature.kind() {
        FeatureKind::Categorical(categories) => {
            categories.values().get(bin).map_or("(other)", |value| value)
        }
        FeatureKind::Boolean => ["false", "true"].get(bin).copied().unwrap_or("(other)"),
        FeatureKind::Numeric(_) => "",
    }
}

/// A reading from findings and the bounds on their chances; `samples` is 0 where nothing could be decided.
pub(super) fn verdict(
    mut findings: Vec<(f64, Finding)>,
    samples: u64,
    definition: &str,
    rule: &Rule,
    minute: u64,
) -> Reading {
    if samples == 0 {
        return Reading::Insufficient;
    }
    findings.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let Some((p, worst)) = findings.first() else { return Reading::Good };
    Reading::Bad(Evidence {
        definition: definition.to_owned(),
        value: worst.value,
        limit: worst.limit,
        samples,
        minutes: minutes(minute, rule),
        p: Some(*p),
        findings: findings.iter().take(FINDINGS_MAX).map(|(_, finding)| finding.clone()).collect(),
    })
}

/// The index from which drift against the first rows of a model's own traffic is told as any other. Days whose mean goes up
/// and down by .3 of a standard deviation stay below it, whenever the rows were taken (a shift by δ of them has an index of
/// about δ²).
const OWN_INDEX: f64 = 0.5;

/// What the judge concluded last of inputs, or of outputs: it holds for as long as no other window has been judged.
pub(super) fn drift(judgement: &Judgement, role: Role) -> Reading {
    let features = judgement.baseline.layout().features();
    let is_of_role = |report: &&FeatureReport| {
        features.get(report.index).is_some_and(|feature| feature.role() == role)
    };
    let reports = || judgement.report.features.iter().filter(is_of_role);
    if reports().all(|report| report.verdict.outcome == Outcome::Insufficient) {
        return Reading::Insufficient;
    }
    let mut breaches: Vec<&FeatureReport> =
        reports().filter(|report| report.verdict.is_breach()).collect();
    let roles = judgement.report.roles.iter().filter(|it| it.role == role);
    let together: Vec<&str> =
        roles.filter(|it| it.verdict.is_breach()).map(|it| it.role.as_str()).collect();
    if breaches.is_empty() && together.is_empty() {
        return Reading::Good;
    }
    // Where no feature alarms by itself, the strongest are told.
    if breaches.is_empty() {
        breaches.extend(reports());
    }
    let score = |report: &FeatureReport| report.verdict.evidence.score.unwrap_or(0.0);
    breaches.sort_by(|a, b| score(b).total_cmp(&score(a)));
    let finding = |report: &&FeatureReport| {
        let subject = features.get(report.index).map_or("", |feature| feature.name());
        drifted(subject, report)
    };
    let worst = breaches.first();
    let of = if together.is_empty() {
        String::new()
    } else {
        format!(", {}s together", together.join("s and "))
    };
    // Who reads it must know that such a baseline may be a morning.
    let own = match judgement.baseline.origin {
        Origin::Own => {
            format!(", against the first {} rows of its own traffic", judgement.baseline.rows)
        }
        Origin::Data | Origin::SageMaker => String::new(),
    };
    let is_scaled = worst.is_some_and(|report| !report.is_shifted());
    let told = worst.map(finding);
    let definition = match is_scaled {
        true => format!("{FACTOR_DEFINITION}{own}"),
        false => format!("{PSI_DEFINITION}; the evidence of all windows so far{of}{own}"),
    };
    let largest = breaches.iter().map(|report| report.measured.psi).fold(0.0, f64::max);
    let found = match judgement.baseline.origin {
        Origin::Own if largest < OWN_INDEX => Reading::Noted,
        Origin::Own | Origin::Data | Origin::SageMaker => Reading::Bad,
    };
    found(Evidence {
        definition,
        value: told.as_ref().map_or(0.0, |finding| finding.value),
        limit: told.as_ref().map_or(0.0, |finding| finding.limit),
        samples: worst.map_or(0, |report| report.measured.n),
        minutes: (judgement.since.0.into(), judgement.until.0.into()),
        p: worst.and_then(|report| match report.scaled {
            Some(scaled) if is_scaled => Some(scaled.p),
            Some(_) | None => report.measured.p,
        }),
        findings: breaches.iter().take(FINDINGS_MAX).map(finding).collect(),
    })
}

/// What is told of one feature that has drifted.
fn drifted(subject: &str, report: &FeatureReport) -> Finding {
    let change = report.change().map(units::sentence);
    let subject = subject.to_owned();
    if let Some(scaled) = report.scaled.filter(|_| !report.is_shifted()) {
        let what = format!(
            "{}, in each of {} parts of {:.0} values; index {:.4} against the baseline, {:.4} once that is taken into \
             account",
            change.unwrap_or_default(),
            scaled.parts,
            scaled.n,
            scaled.psi.0,
            scaled.psi.1,
        );
        let (value, limit) = (scaled.change.factor, scaled.limit());
        return Finding { subject, what, value, limit };
    }
    let change = change.map(|sentence| format!("; {sentence}")).unwrap_or_default();
    let evidence = &report.verdict.evidence;
    let what = format!(
        "population stability index {:.3} of {} values in {} groups, score {:.3e} of {:.3e}{change}",
        report.measured.psi,
        report.measured.n,
        report.measured.groups,
        evidence.score.unwrap_or(0.0),
        evidence.threshold.unwrap_or(0.0),
    );
    Finding { subject, what, value: report.measured.psi, limit: evidence.margin.unwrap_or(0.0) }
}

/// One reading of several versions: the worst, if there is a bad one, with the names of those that it is said of.
pub(super) fn any_of<'a>(readings: impl Iterator<Item = (&'a str, Reading)>) -> Reading {
    let (mut worst, mut names, mut is_good): (Option<Evidence>, Vec<&str>, bool) =
        (None, Vec::new(), false);
    let mut is_bad = false;
    for (name, reading) in readings {
        let bad = matches!(reading, Reading::Bad(_));
        match reading {
            Reading::Insufficient => {}
            Reading::Good => is_good = true,
            Reading::Bad(evidence) | Reading::Noted(evidence) => {
                names.push(name);
                // What is bad comes before what is only noted.
                let is_worse = |worst: &Evidence| worst.value < evidence.value;
                if bad && !is_bad || bad == is_bad && worst.as_ref().is_none_or(is_worse) {
                    worst = Some(evidence);
                }
                is_bad |= bad;
            }
        }
    }
    match worst {
        Some(mut worst) => {
            worst.definition.push_str("; seen by ");
            worst.definition.push_str(&names.join(", "));
            if is_bad { Reading::Bad(worst) } else { Reading::Noted(worst) }
        }
        None if is_good => Reading::Good,
        None => Reading::Insufficient,
    }
}

/// Values of a reference as a whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count, which is neither negative nor beyond 2^53"
)]
pub(super) const fn whole(count: f64) -> u64 {
    count as u64
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::spec::AlarmRules;
    use crate::domain::stats::alarm::AlarmKind;
    use crate::domain::stats::layout::Value;

    const BASELINE: &str = r#"{
        "format": 1, "model": "m", "version": "v1", "n": 10000,
        "features": [
            {"name": "age", "kind": "numeric", "edges": [20.0, 40.0, 60.0], "mass": [0.25, 0.25, 0.25, 0.25], "missing": 0.02},
            {"name": "income", "kind": "numeric", "edges": [1000.0], "mass": [0.5, 0.5]}
        ],
        "outputs": [{"name": "class", "kind": "categorical", "values": ["no", "yes"], "mass": [0.9, 0.1], "other": 0.0}]
    }"#;

    fn baseline() -> Baseline {
        Baseline::from_json(BASELINE.as_bytes()).expect("a baseline")
    }

    fn rule(kind: AlarmKind) -> Rule {
        AlarmRules::default().rule(kind).expect("a rule").clone()
    }

    /// Counts of rows of age, income and class.
    fn counts<'a>(rows: impl IntoIterator<Item = [Value<'a>; 3]>) -> Counts {
        let mut counts = Counts::new(std::sync::Arc::clone(baseline().layout()));
        for row in rows {
            row.into_iter().enumerate().for_each(|(index, value)| counts.record(index, value));
        }
        counts
    }

    fn row(at: u32, rare: u32) -> [Value<'static>; 3] {
        let class = if at.is_multiple_of(rare) { "yes" } else { "no" };
        [Value::Number(f64::from(at % 80)), Value::Number(f64::from(at)), Value::Text(class)]
    }

    fn shape(counts: &Counts) -> Reading {
        let names = |feature| match feature {
            2 => vec!["NO".to_owned(), "Y\"S".to_owned()],
            _ => Vec::new(),
        };
        schema_shape(&baseline(), &[counts], &names, &rule(AlarmKind::SchemaShape), 100)
    }

    fn subjects(reading: &Reading) -> Vec<&str> {
        match reading {
            Reading::Bad(evidence) | Reading::Noted(evidence) => {
                evidence.findings.iter().map(|finding| finding.subject.as_str()).collect()
            }
            Reading::Good | Reading::Insufficient => Vec::new(),
        }
    }

    #[test]
    fn traffic_as_in_the_baseline_is_good_and_a_little_of_it_is_insufficient() {
        let good = counts((0..2000).map(|at| row(at, 10)));
        assert_eq!(shape(&good), Reading::Good);
        let few = counts((0..50).map(|at| row(at, 10)));
        assert_eq!(shape(&few), Reading::Insufficient);
    }

    #[test]
    fn a_field_that_was_renamed_or_retyped_is_named() {
        let renamed = counts((0..200).map(|at| {
            let [_, income, class] = row(at, 10);
            [Value::Missing, income, class]
        }));
        assert_eq!(subjects(&shape(&renamed)), ["age"]);
        let retyped = counts((0..200).map(|at| {
            let [age, _, class] = row(at, 10);
            [age, Value::Wrong, class]
        }));
        let Reading::Bad(evidence) = shape(&retyped) else { panic!("income is no number") };
        assert_eq!(evidence.findings[0].what, "of the wrong type in 100.0 % of the values");
        assert!(evidence.p.expect("a bound") < 1e-100);
        // Which of the two says that there is no value is up to the client.
        let not_numbers = counts((0..200).map(|at| {
            let [age, income, class] = row(at, 10);
            [if at.is_multiple_of(50) { Value::Number(f64::NAN) } else { age }, income, class]
        }));
        assert_eq!(shape(&not_numbers), Reading::Good);
        let no_answer = counts((0..200).map(|at| {
            let [age, income, _] = row(at, 10);
            [age, income, Value::Missing]
        }));
        assert_eq!(subjects(&shape(&no_answer)), ["class"]);
        // Another encoding of the same classes.
        let shouted = counts((0..200).map(|at| {
            let [age, income, _] = row(at, 10);
            [age, income, Value::Text("NO")]
        }));
        let Reading::Bad(evidence) = shape(&shouted) else { panic!("NO is no class") };
        assert_eq!(
            evidence.findings[0].what,
            r#"unknown to the baseline in 100.0 % of the values, such as "NO", "Y\"S""#
        );
        // Two more missing values of a hundred than in the baseline are no other shape.
        let little = counts((0..200).map(|at| {
            let [age, income, class] = row(at, 10);
            [if at.is_multiple_of(25) { Value::Missing } else { age }, income, class]
        }));
        assert_eq!(shape(&little), Reading::Good);
    }

    #[test]
    fn what_several_versions_see_is_one_alarm_with_their_names() {
        let bad = |value: f64| {
            Reading::Bad(Evidence {
                definition: "index".to_owned(),
                value,
                limit: 0.02,
                samples: 100,
                minutes: (0, 60),
                p: None,
                findings: Vec::new(),
            })
        };
        let of = |readings: Vec<(&'static str, Reading)>| any_of(readings.into_iter());
        let Reading::Bad(found) =
            of(vec![("v1", bad(0.1)), ("v2", Reading::Good), ("v3", bad(0.3))])
        else {
            panic!("two of them are bad")
        };
        assert_eq!((found.value, found.definition.as_str()), (0.3, "index; seen by v1, v3"));
        assert_eq!(of(vec![("v1", Reading::Insufficient), ("v2", Reading::Good)]), Reading::Good);
        assert_eq!(of(vec![("v1", Reading::Insufficient)]), Reading::Insufficient);
        assert_eq!(of(Vec::new()), Reading::Insufficient);
    }

    #[test]
    fn a_baseline_that_is_missing_or_refused_is_told_once_values_are_seen() {
        let rule = rule(AlarmKind::BaselineMissing);
        let look = |standing: &Standing, seen| baseline_missing(Some(standing), seen, &rule, 100);
        let refused = Standing::Refused { reason: "another digest".to_owned() };
        assert_eq!(look(&refused, 10), Reading::Insufficient);
        let Reading::Bad(evidence) = look(&refused, 500) else { panic!("it was refused") };
        assert_eq!(evidence.findings[0].what, "refused: another digest");
        let baseline = std::sync::Arc::new(baseline());
        assert_eq!(look(&Standing::Ready { baseline, of: None }, 500), Reading::Good);
        assert!(matches!(look(&Standing::Absent, 500), Reading::Bad(_)));
    }

    /// Of 2000 rows, 160 had a value that came once: as many will be unknown of any other 2000.
    pub(in crate::monitor::alarms) fn long_tail(role: &str) -> Baseline {
        let values: Vec<String> = (0..162).map(|at| format!("m{at}")).collect();
        let mass: Vec<f64> =
            [1000.0, 840.0].into_iter().chain([1.0; 160]).map(|n| n / 2000.0).collect();
        let file = serde_json::json!({
            "format": 1, "model": "m", "version": "v1", "n": 2000,
            role: [{"name": "merchant", "kind": "categorical", "values": values, "mass": mass, "other": 0.0}],
        });
        Baseline::from_json(file.to_string().as_bytes()).expect("a baseline")
    }

    /// Counts in which one value of so many is new, and the others are as in the baseline.
    pub(in crate::monitor::alarms) fn news(baseline: &Baseline, every: u32) -> Counts {
        let mut counts = Counts::new(std::sync::Arc::clone(baseline.layout()));
        for at in 0..4000_u32 {
            let new = format!("new {at}");
            let known = if at.is_multiple_of(2) { "m0" } else { "m1" };
            let is_new = (at / 2).is_multiple_of(every);
            counts.record(0, Value::Text(if is_new { &new } else { known }));
        }
        counts
    }

    #[test]
    fn values_that_a_baseline_happens_not_to_have_are_no_change_of_the_schema() {
        let baseline = long_tail("features");
        let look = |every: u32| {
            let counts = news(&baseline, every);
            schema_shape(&baseline, &[&counts], &|_| Vec::new(), &rule(AlarmKind::SchemaShape), 60)
        };
        assert_eq!(look(12), Reading::Good, "a twelfth is unknown, as by Good and Turing");
        assert!(matches!(look(4), Reading::Bad(_)), "a quarter is not");
    }
}
