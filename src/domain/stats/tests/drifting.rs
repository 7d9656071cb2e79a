//! What verdicts promise.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::numeric;
use super::streams::{SplitMix, normals};
use crate::domain::stats::baseline::{Baseline, BaselineFile};
use crate::domain::stats::build::{Column, Numbers, Options};
use crate::domain::stats::counts::Counts;
use crate::domain::stats::drift::detector::{Detector, e_value};
use crate::domain::stats::drift::{Drift, Policy};
use crate::domain::stats::groups::Groups;
use crate::domain::stats::layout::{Layout, Role, Value};
use crate::domain::stats::verdict::Outcome;

/// A baseline of features of standard normal numbers.
pub(super) fn normal_baseline(features: usize, rows: usize) -> Arc<Baseline> {
    normal_baseline_of(100, features, rows)
}

pub(super) fn normal_baseline_of(seed: u64, features: usize, rows: usize) -> Arc<Baseline> {
    let mut file: BaselineFile = serde_json::from_value(json!({
        "format": 1, "model": "m", "version": "v", "n": rows,
    }))
    .expect("the form");
    for feature in 0..features {
        let mut column = Numbers::default();
        normals(seed + feature as u64, rows, 0.0, 1.0).iter().for_each(|&x| column.push(Some(x)));
        let built = Column::Numbers(column).build(&format!("x{feature}"), Options::default());
        if feature + 1 == features && features > 1 {
            file.outputs.push(built);
        } else {
            file.features.push(built);
        }
    }
    Arc::new(Baseline::try_from(file).expect("sound"))
}

pub(super) fn window(
    baseline: &Baseline,
    generator: &mut SplitMix,
    n: usize,
    shift: f64,
) -> Counts {
    let mut counts = Counts::new(Arc::clone(baseline.layout()));
    let features = baseline.layout().features().len();
    for _ in 0..n {
        let row: Vec<f32> = (0..features)
            .map(|feature| (generator.normal() + if feature == 0 { shift } else { 0.0 }) as f32)
            .collect();
        counts.record_row(0, &row);
    }
    counts
}

#[test]
fn too_little_is_insufficient_and_never_a_pass() {
    let baseline = normal_baseline(2, 5000);
    let mut drift = Drift::new(Arc::clone(&baseline), Policy::default());
    let mut generator = SplitMix::new(1);
    assert_eq!(drift.values_min(), 100);
    for n in [0, 1, 99] {
        // Values so far away that any test would see them.
        let report =
            drift.observe(&window(&baseline, &mut generator, n, 50.0)).expect("its layout");
        for feature in &report.features {
            assert_eq!(feature.verdict.outcome, Outcome::Insufficient);
            assert_eq!(feature.verdict.evidence.p, None);
        }
        assert!(report.roles.iter().all(|role| role.verdict.outcome == Outcome::Insufficient));
    }
    let report = drift.observe(&window(&baseline, &mut generator, 100, 0.0)).expect("its layout");
    assert!(report.features.iter().all(|f| f.verdict.outcome == Outcome::Pass));
}

#[test]
fn a_shift_breaches_with_its_evidence_and_only_where_it_is() {
    let baseline = normal_baseline(5, 10_000);
    let mut drift = Drift::new(Arc::clone(&baseline), Policy::default());
    let mut generator = SplitMix::new(2);
    for _ in 0..50 {
        let report = drift.observe(&window(&baseline, &mut generator, 1000, 0.0)).expect("fits");
        assert!(report.features.iter().all(|f| f.verdict.outcome == Outcome::Pass));
    }
    let mut windows = 0;
    let report = loop {
        let report = drift.observe(&window(&baseline, &mut generator, 1000, 0.5)).expect("fits");
        windows += 1;
        if report.features[0].verdict.outcome == Outcome::Breach {
            break report;
        }
    };
    assert!(windows <= 2, "{windows} windows");
    let evidence = &report.features[0].verdict.evidence;
    assert_eq!((evidence.bins, evidence.n, evidence.m), (Some(10), 1000.0, 10_000.0));
    assert!(evidence.p.expect("tested") < 1e-6);
    assert!(evidence.score >= evidence.threshold && evidence.value > evidence.margin);
    assert!(report.features[0].is_discovery);
    assert!(report.features[1..].iter().all(|f| f.verdict.outcome == Outcome::Pass));
    let of = |role: Role| report.roles.iter().find(|r| r.role == role).expect("both roles");
    assert_eq!(of(Role::Input).verdict.outcome, Outcome::Breach);
    assert_eq!(of(Role::Output).verdict.outcome, Outcome::Pass);
    // It is over after three quiet windows, not before.
    let mut quiet = 0;
    while drift.observe(&window(&baseline, &mut generator, 1000, 0.0)).expect("fits").features[0]
        .verdict
        .outcome
        == Outcome::Breach
    {
        quiet += 1;
    }
    assert_eq!(quiet, 2);
}

#[test]
fn a_feature_that_changes_its_unit_by_nine_percent_is_seen() {
    // Metres that became yards: 1 m is 1.0936 yd. Most features are far from zero.
    let rows = 10_000;
    let mut column = Numbers::default();
    normals(7, rows, 20.0, 4.0).iter().for_each(|&x| column.push(Some(x)));
    let mut file: BaselineFile =
        serde_json::from_value(json!({"format": 1, "model": "m", "version": "v", "n": rows}))
            .expect("the form");
    file.features.push(Column::Numbers(column).build("distance", Options::default()));
    let baseline = Arc::new(Baseline::try_from(file).expect("sound"));
    for (n, at_most) in [(100, 12), (1000, 2), (10_000, 1)] {
        let mut drift = Drift::new(Arc::clone(&baseline), Policy::default());
        let mut generator = SplitMix::new(n);
        let mut delay = 0;
        loop {
            let mut counts = Counts::new(Arc::clone(baseline.layout()));
            for _ in 0..n {
                counts.record(0, Value::Number((20.0 + 4.0 * generator.normal()) * 1.0936));
            }
            delay += 1;
            if drift.observe(&counts).expect("fits").features[0].verdict.outcome == Outcome::Breach
            {
                break;
            }
            assert!(delay < 100, "never seen at {n} values a window");
        }
        assert!(delay <= at_most, "{delay} windows of {n}");
    }
}

/// A thousand quarters of daily windows: the bound is one alarm a quarter on average. What longer
/// simulations show, `cargo bench --bench drift_simulation` prints.
#[test]
fn a_thousand_quarters_without_drift_alarm_less_than_promised() {
    let policy = Policy { windows: 90.0, ..Policy::default() };
    let (mut alarms, mut generator) = (0_u32, SplitMix::new(77));
    let baselines: Vec<Arc<Baseline>> =
        (0..10).map(|i| normal_baseline_of(1000 + i, 1, 2000)).collect();
    for quarter in 0..1000 {
        let mut drift = Drift::new(Arc::clone(&baselines[quarter % baselines.len()]), policy);
        let mut was_drifting = false;
        for _ in 0..90 {
            let counts = window(drift.baseline(), &mut generator, 100, 0.0);
            let report = drift.observe(&counts).expect("fits");
            let is_drifting = report.features[0].verdict.outcome == Outcome::Breach
                || report.roles[0].verdict.outcome == Outcome::Breach;
            alarms += u32::from(is_drifting && !was_drifting);
            was_drifting = is_drifting;
        }
    }
    assert!(
        alarms <= 50,
        "{alarms} alarms; the bound is 1000, and a point test would give thousands"
    );
}

#[test]
fn counts_of_another_layout_are_refused() {
    let mut drift = Drift::new(normal_baseline(1, 2000), Policy::default());
    let other = Layout::new(vec![numeric("x0", &[0.0], &[])]).expect("one feature");
    assert!(drift.observe(&Counts::new(Arc::new(other))).is_err());
}

#[test]
fn the_same_windows_after_a_restart_give_the_same_state() {
    let baseline = normal_baseline(3, 5000);
    let mut generator = SplitMix::new(9);
    let windows: Vec<Counts> = (0..30)
        .map(|i| window(&baseline, &mut generator, 300, if i > 20 { 0.3 } else { 0.0 }))
        .collect();
    let mut whole = Drift::new(Arc::clone(&baseline), Policy::default());
    let mut resumed = Drift::new(Arc::clone(&baseline), Policy::default());
    for (index, counts) in windows.iter().enumerate() {
        let wanted = whole.observe(counts).expect("fits");
        if index == 15 {
            let stored = serde_json::to_vec(&resumed.state()).expect("JSON");
            resumed = Drift::new(Arc::clone(&baseline), Policy::default());
            let state: Vec<Detector> = serde_json::from_slice(&stored).expect("the same form");
            assert!(resumed.resume(&state));
        }
        assert_eq!(resumed.observe(counts).expect("fits"), wanted);
    }
    assert!(!whole.resume(&[]), "the state of another model is refused");
}

#[test]
fn tenths_are_six_bins_each() {
    let edges: Vec<f64> = (1..60).map(f64::from).collect();
    let groups = Groups::new(&numeric("x", &edges, &[]), &[100.0; 60]);
    assert_eq!((groups.len(), groups.values_min()), (10, 100));
    assert_eq!(groups.sum(&[1_u64; 60], |count| count as f64), vec![6.0; 10]);
}

proptest! {
    #[test]
    fn evidence_below_one_never_alarms(es in prop::collection::vec(0.0_f64..1.0, 0..200)) {
        let mut detector = Detector::default();
        for (windows, e) in (1_u32..).zip(es) {
            let step = detector.observe(e, 1e3);
            prop_assert!(!step.is_drifting && step.score <= f64::from(windows));
        }
    }
}

#[test]
fn e_values_of_uniform_p_values_average_one() {
    let n = 1_000_000;
    let sum: f64 = (0..n).map(|i| e_value((f64::from(i) + 0.5) / f64::from(n))).sum();
    assert!((sum / f64::from(n) - 1.0).abs() < 1e-3);
}
