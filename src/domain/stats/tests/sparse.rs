//! What verdicts promise where there is little: few rows of baseline, empty groups, values that are rare or many.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::drifting::{normal_baseline_of, window};
use super::golden::baseline_of;
use super::streams::SplitMix;
use super::{categorical, is_close};
use crate::domain::stats::baseline::Baseline;
use crate::domain::stats::build::{Column, Options, Texts};
use crate::domain::stats::counts::Counts;
use crate::domain::stats::distance::psi;
use crate::domain::stats::drift::detector::e_value;
use crate::domain::stats::drift::yardstick::Yardstick;
use crate::domain::stats::drift::{Drift, Policy};
use crate::domain::stats::groups::{Groups, expected_unknown};
use crate::domain::stats::layout::Value;
use crate::domain::stats::verdict::Outcome;

fn baseline(rows: u64, feature: &Json) -> Arc<Baseline> {
    let file = json!({"format": 1, "model": "m", "version": "v", "n": rows, "features": [feature]});
    Arc::new(Baseline::from_json(&serde_json::to_vec(&file).expect("JSON")).expect("sound"))
}

/// A category of as many values, all alike in how often they are there.
fn many_valued(rows: u64, values: usize) -> Arc<Baseline> {
    let names: Vec<String> = (0..values).map(|value| format!("zip {value}")).collect();
    let mass = vec![1.0 / values as f64; values];
    baseline(
        rows,
        &json!({"name": "zip", "kind": "categorical", "values": names, "mass": mass, "other": 0.0}),
    )
}

/// The mean e-value of windows of `n` values from the baseline's own distribution.
fn mean_e(baseline: &Arc<Baseline>, n: usize, windows: u64) -> f64 {
    let feature = &baseline.layout().features()[0];
    let reference = &baseline.references()[0];
    let yardstick = Yardstick::new(feature, reference, Policy::default().margin);
    let mut generator = SplitMix::new(11);
    let slots = reference.counts().len();
    let mut sum = 0.0;
    for _ in 0..windows {
        let mut counts = Counts::new(Arc::clone(baseline.layout()));
        for _ in 0..n {
            let mut at = generator.uniform() * reference.total();
            let bin = reference.counts().iter().position(|count| {
                at -= count;
                at < 0.0
            });
            let name = format!("zip {}", bin.unwrap_or(slots));
            match slots {
                3 => counts.record(0, Value::Boolean(bin == Some(1))),
                _ => counts.record(0, Value::Text(&name)),
            }
        }
        let measured = yardstick.measure(&counts.features()[0]);
        sum += e_value(measured.p.expect("enough"));
    }
    sum / windows as f64
}

/// The promise rests on it: an e-value has a mean of at most one, however large the baseline and however
/// rare or absent a value is in it.
#[test]
fn without_drift_the_mean_e_value_is_at_most_one_for_booleans_and_categories() {
    for rows in [5000, 50_000, 1_000_000, 20_000_000] {
        for n in [50, 100, 1000] {
            for share in [0.0, 1e-6, 0.0001, 0.001, 0.005, 0.02, 0.5] {
                let boolean = json!({"name": "b", "kind": "boolean", "mass": [1.0 - share, share]});
                let mean = mean_e(&baseline(rows, &boolean), n, 300);
                assert!(mean <= 1.05, "{share} true of {rows} rows, {n} values: {mean}");
            }
        }
        for values in [3, 5, 40, 150] {
            let mean = mean_e(&many_valued(rows, values), 210, 200);
            assert!(mean <= 1.05, "{values} values in {rows} rows: {mean}");
        }
    }
}

#[test]
fn a_feature_that_never_changes_has_not_drifted_and_is_seen_when_it_does() {
    let always = json!({"name": "b", "kind": "boolean", "mass": [1.0, 0.0]});
    let baseline = baseline(1_000_000, &always);
    let mut drift = Drift::new(Arc::clone(&baseline), Policy::default());
    let mut look = |truth: bool, times: usize| {
        let mut counts = Counts::new(Arc::clone(baseline.layout()));
        (0..times).for_each(|_| counts.record(0, Value::Boolean(false)));
        (0..100 - times).for_each(|_| counts.record(0, Value::Boolean(truth)));
        drift.observe(&counts).expect("fits").features[0].clone()
    };
    for _ in 0..200 {
        let report = look(true, 100);
        assert_eq!(report.verdict.outcome, Outcome::Pass);
        assert_eq!((report.measured.psi, report.measured.p), (0.0, Some(1.0)));
    }
    assert!((1..5).any(|_| look(true, 80).verdict.outcome == Outcome::Breach));
}

/// All windows are held against one baseline, whose own error is the same in each.
#[test]
fn a_small_baseline_raises_no_alarm_without_drift() {
    let mut alarms = 0;
    for model in 0..12 {
        let baseline = normal_baseline_of(1000 + 10 * model, 4, 150);
        let mut drift = Drift::new(Arc::clone(&baseline), Policy::default());
        let mut generator = SplitMix::new(5000 + model);
        let is_alarm = (0..150).any(|_| {
            let report = drift.observe(&window(&baseline, &mut generator, 300, 0.0)).expect("fits");
            let features = report.features.iter().map(|feature| &feature.verdict);
            let roles = report.roles.iter().map(|role| &role.verdict);
            features.chain(roles).any(|verdict| verdict.is_breach())
        });
        alarms += u32::from(is_alarm);
    }
    assert_eq!(alarms, 0, "before, one of five such models had one");
    // What is larger than the error of so few rows is still seen.
    let baseline = normal_baseline_of(1000, 4, 150);
    let mut drift = Drift::new(Arc::clone(&baseline), Policy::default());
    let mut generator = SplitMix::new(1);
    let found = (1..10).find(|_| {
        let report = drift.observe(&window(&baseline, &mut generator, 300, 1.5)).expect("fits");
        report.features[0].verdict.is_breach()
    });
    assert!(found.is_some_and(|windows| windows <= 3), "{found:?}");
}

#[test]
fn a_baseline_with_too_few_rows_is_held_against_nothing() {
    let baseline = normal_baseline_of(1, 1, 99);
    let mut drift = Drift::new(Arc::clone(&baseline), Policy::default());
    let report = drift.observe(&window(&baseline, &mut SplitMix::new(2), 1000, 9.0)).expect("fits");
    let feature = &report.features[0];
    assert_eq!(feature.verdict.outcome, Outcome::Insufficient);
    assert_eq!((feature.measured.m, feature.measured.needed), (99.0, 100));
}

#[test]
fn unknown_values_are_a_group_and_rare_ones_share_theirs() {
    let groups = Groups::new(&categorical("x", &["a", "b", "c"]), &[900.0, 99.0, 1.0, 0.0]);
    assert_eq!(groups.sum(&[1.0, 2.0, 4.0, 8.0], |count| count), [1.0, 2.0, 4.0, 8.0]);
    // 150 values with less than a hundredth each are twenty groups of like weight.
    let baseline = many_valued(15_000, 150);
    let reference = baseline.references()[0].counts();
    let groups = Groups::new(&baseline.layout().features()[0], reference);
    let sums = groups.sum(reference, |count| count);
    assert_eq!((groups.len(), groups.df(), groups.values_min()), (21, 19.0, 200));
    assert!(sums[..20].iter().all(|sum| (699.0..=801.0).contains(sum)), "{sums:?}");
    assert_eq!(sums[20], 0.0);
}

#[test]
fn a_category_of_many_values_that_become_unknown_has_drifted() {
    let baseline = many_valued(15_000, 150);
    let mut drift = Drift::new(Arc::clone(&baseline), Policy::default());
    let mut window = |prefix: &str, spread: usize| {
        let mut counts = Counts::new(Arc::clone(baseline.layout()));
        for row in 0..1000 {
            counts.record(0, Value::Text(&format!("{prefix} {}", row % spread)));
        }
        drift.observe(&counts).expect("fits").features[0].verdict.outcome
    };
    assert_eq!(window("zip", 150), Outcome::Pass);
    assert_eq!(window("ZIP", 150), Outcome::Breach, "another encoding");
}

#[test]
fn a_drift_is_not_over_because_the_values_are_missing() {
    let baseline = normal_baseline_of(1, 2, 5000);
    let mut drift = Drift::new(Arc::clone(&baseline), Policy::default());
    let mut generator = SplitMix::new(3);
    let moved = drift.observe(&window(&baseline, &mut generator, 1000, 3.0)).expect("fits");
    assert!(moved.features[0].verdict.is_breach());
    for _ in 0..10 {
        let mut counts = Counts::new(Arc::clone(baseline.layout()));
        for _ in 0..1000 {
            counts.record(0, Value::Missing);
            counts.record(1, Value::Number(generator.normal()));
        }
        let report = drift.observe(&counts).expect("fits");
        assert!(report.features[0].verdict.is_breach(), "nothing says that it is over");
        assert_eq!(report.features[1].verdict.outcome, Outcome::Pass);
        assert_eq!(report.features[0].measured.psi, 0.0, "no values, no index");
    }
}

#[test]
fn versions_share_the_budget_of_their_model() {
    let baseline = normal_baseline_of(1, 2, 5000);
    let threshold = |sharing: usize| {
        let mut drift = Drift::new(Arc::clone(&baseline), Policy::default());
        let counts = window(&baseline, &mut SplitMix::new(4), 200, 0.0);
        let report = drift.observe_as_one_of(sharing, &counts).expect("fits");
        report.features[0].verdict.evidence.threshold.expect("a threshold")
    };
    assert_eq!(threshold(3), 3.0 * threshold(1));
    assert_eq!(threshold(0), threshold(1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_group_that_is_empty_on_both_sides_says_nothing(
        current in prop::collection::vec(1_u32..1000, 2..20),
        scale in 1_u32..10_000,
    ) {
        let ours: Vec<f64> = current.iter().map(|count| f64::from(*count)).collect();
        let theirs: Vec<f64> = ours.iter().map(|count| count * f64::from(scale)).collect();
        let with = |counts: &[f64]| [counts, &[0.0]].concat();
        let difference = psi(&with(&ours), &with(&theirs)) - psi(&ours, &theirs);
        prop_assert!(difference.abs() < 0.01, "{difference}");
    }
}

/// A value with a long tail: about how many merchants or devices there are that come `k` times.
fn tailed(generator: &mut SplitMix, exponent: f64) -> String {
    // The floor of a Pareto number; its tail is that of the zeta law with this exponent.
    let pareto = (1.0 - generator.uniform()).powf(-1.0 / (exponent - 1.0));
    format!("m{}", pareto.min(1e12).floor())
}

/// The alarms and the largest share of unknown values in `windows` windows of the very same traffic.
fn tailed_windows(exponent: f64, rows: u64, n: usize, windows: usize) -> (usize, f64, f64) {
    let mut generator = SplitMix::new(rows + n as u64);
    let mut column = Texts::default();
    (0..rows).for_each(|_| column.push(Some(&tailed(&mut generator, exponent))));
    let built = Column::Texts(column).build("merchant", Options::default());
    let baseline = Arc::new(Baseline::try_from(baseline_of(built, rows)).expect("sound"));
    let expected = expected_unknown(baseline.references()[0].counts());
    let mut drift = Drift::new(Arc::clone(&baseline), Policy::default());
    let (mut alarms, mut unknown) = (0, 0.0_f64);
    for _ in 0..windows {
        let mut counts = Counts::new(Arc::clone(baseline.layout()));
        (0..n).for_each(|_| counts.record(0, Value::Text(&tailed(&mut generator, exponent))));
        let report = drift.observe(&counts).expect("fits");
        alarms += usize::from(report.features[0].verdict.is_breach());
        unknown += report.features[0].measured.unknown.unwrap_or(0.0) / windows as f64;
    }
    (alarms, unknown, expected)
}

#[test]
fn a_category_with_a_long_tail_does_not_drift_by_what_the_baseline_happens_not_to_have() {
    for exponent in [1.3, 1.5, 2.0] {
        for (rows, n) in [(500, 1000), (2000, 1000), (10_000, 1000)] {
            let (alarms, unknown, expected) = tailed_windows(exponent, rows, n, 150);
            let about =
                format!("exponent {exponent}, {rows} rows: {unknown} unknown of {expected}");
            assert_eq!(alarms, 0, "{about}");
            assert!((unknown - expected).abs() < 0.05, "{about}");
        }
    }
}

#[test]
fn rows_of_values_above_the_tail_are_expected_to_be_unknown() {
    let names: Vec<String> = (0..6).map(|at| at.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Two values once, one twice: the next row is unknown in two of 103.
    let reference = [60.0, 30.0, 9.0, 2.0, 1.0, 1.0, 0.0];
    let groups = Groups::new(&categorical("x", &names), &reference);
    assert!(is_close(expected_unknown(&reference), 2.0 / 103.0, 1e-12));
    let expected = groups.expected(&reference);
    assert!(is_close(expected.iter().sum(), 103.0, 1e-12), "nothing is lost: {expected:?}");
    assert!(is_close(*expected.last().expect("a group"), 2.0, 1e-12), "{expected:?}");
    // Where the names are those of the most frequent, the least of them may be missed, too.
    let cut = [400.0, 300.0, 200.0, 8.0, 8.0, 8.0, 76.0];
    assert!(is_close(expected_unknown(&cut), 0.1, 1e-12));
    let ties = [400.0, 300.0, 204.0, 4.0, 3.0, 3.0, 86.0];
    let wanted = (86.0 + 6.0 + 4.0 * 86.0 / (86.0 + 6.0 + 3.0)) / 1000.0;
    assert!(is_close(expected_unknown(&ties), wanted, 1e-12));
    let groups = Groups::new(&categorical("x", &names), &cut);
    let (of_values, of_reference) = (groups.sum(&cut, |count| count), groups.expected(&cut));
    assert_eq!((of_values.last(), of_reference.last()), (Some(&100.0), Some(&100.0)));
    // A file that names the common values only has told what it knows.
    assert!(is_close(expected_unknown(&[50.0, 40.0, 10.0]), 0.1, 1e-12));
}

proptest! {
    #[test]
    fn what_is_expected_adds_up_to_the_reference_and_is_nowhere_negative(
        known in prop::collection::vec(0_u32..30, 1..255),
        other in prop_oneof![Just(0_u32), 0_u32..500],
    ) {
        let names: Vec<String> = (0..known.len()).map(|at| at.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let reference: Vec<f64> = known.iter().chain([&other]).map(|&count| f64::from(count)).collect();
        let groups = Groups::new(&categorical("x", &names), &reference);
        let expected = groups.expected(&reference);
        let (sum, total): (f64, f64) = (expected.iter().sum(), reference.iter().sum());
        prop_assert!((sum - total).abs() < 1e-6, "{sum} of {total}");
        prop_assert!(expected.iter().all(|count| *count >= 0.0));
        prop_assert!(groups.len() <= 21 && (0.0..=1.0).contains(&expected_unknown(&reference)));
    }
}
