//! The golden values of other libraries: every distance of `distances.json` and of `small.json` that is
//! offered here, and the exact statistics that intervals must hold.

use std::sync::Arc;

use serde_json::Value as Json;

use super::streams::normals;
use super::{is_close, numbers};
use crate::domain::stats::baseline::{Baseline, BaselineFile, FeatureFile, KindWord, Origin};
use crate::domain::stats::counts::Counts;
use crate::domain::stats::distance::{
    chi_squared, hellinger, jensen_shannon, kullback_leibler, l_infinity, psi, psi_of_shares,
    shares, total_variation,
};
use crate::domain::stats::drift::yardstick::Yardstick;
use crate::domain::stats::interval::{Piles, kolmogorov_smirnov, transport};
use crate::domain::stats::layout::Value;
use crate::domain::stats::{build, chi2};

/// What the definitions here and there may differ by: rounding.
const SLACK: f64 = 1e-9;

fn distances() -> Json {
    serde_json::from_str(include_str!("../../../../tests/data/stats/distances.json")).expect("JSON")
}

fn small() -> Json {
    serde_json::from_str(include_str!("../../../../tests/data/stats/small.json")).expect("JSON")
}

/// The streams of the file, by name.
fn current(case: &str) -> Vec<f64> {
    match case {
        "null" => normals(12, 2000, 0.0, 1.0),
        "shift0.1" => normals(13, 2000, 0.1, 1.0),
        "shift0.25" => normals(14, 2000, 0.25, 1.0),
        "shift0.5" => normals(15, 2000, 0.5, 1.0),
        "scale1.5" => normals(16, 2000, 0.0, 1.5),
        "far" => normals(17, 2000, 8.0, 1.0),
        "null_n100" => normals(18, 100, 0.0, 1.0),
        other => panic!("no stream {other}"),
    }
}

/// The quantile of `numpy.quantile`.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, part) = (place.floor() as usize, place.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * part
}

fn ascending(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// How many values lie between each two edges.
fn histogram(values: &[f64], edges: &[f64]) -> Vec<f64> {
    let mut counts = vec![0.0; edges.len() + 1];
    for value in values {
        counts[edges.partition_point(|edge| edge <= value)] += 1.0;
    }
    counts
}

/// Equally wide bins over the range of `over`, as `numpy.histogram` has them.
fn even(over: &[f64], bins: usize) -> Vec<f64> {
    let sorted = ascending(over);
    let (from, to) = (sorted[0], sorted[sorted.len() - 1]);
    (1..bins).map(|k| from + (to - from) * k as f64 / bins as f64).collect()
}

/// The exact two-sample Kolmogorov-Smirnov statistic.
pub(super) fn exact_ks(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ascending(a), ascending(b));
    let at =
        |sorted: &[f64], x: f64| sorted.partition_point(|v| *v <= x) as f64 / sorted.len() as f64;
    a.iter().chain(&b).map(|&x| (at(&a, x) - at(&b, x)).abs()).fold(0.0, f64::max)
}

/// The exact Wasserstein distance.
pub(super) fn exact_w1(a: &[f64], b: &[f64]) -> f64 {
    let pile = |values: &[f64]| {
        let share = 1.0 / values.len() as f64;
        Piles::at(ascending(values).into_iter().map(|x| (x, share)).collect())
    };
    transport(&pile(a), &pile(b))
}

fn check(case: &Json, field: &str, value: f64, slack: f64) {
    let wanted = case[field].as_f64().unwrap_or_else(|| panic!("no {field}"));
    assert!(is_close(value, wanted, slack), "{field}: {value} is not {wanted}");
}

#[test]
fn every_binned_distance_of_the_file_is_met() {
    let file = distances();
    let reference = normals(11, 10_000, 0.0, 1.0);
    check(&file["reference"], "sum", reference.iter().sum(), SLACK);
    let sorted = ascending(&reference);
    for (name, case) in file["cases"].as_object().expect("cases") {
        let values = current(name);
        for bins in [10, 32, 64] {
            let edges: Vec<f64> =
                (1..bins).map(|k| quantile(&sorted, f64::from(k) / f64::from(bins))).collect();
            let (p, q) = (histogram(&values, &edges), histogram(&reference, &edges));
            let (ps, qs) = (shares(&p), shares(&q));
            check(case, &format!("psi_B{bins}_jeffreys"), psi(&p, &q), SLACK);
            let filled = |list: &[f64]| -> Vec<f64> {
                list.iter().map(|&share| if share == 0.0 { 1e-4 } else { share }).collect()
            };
            let smoothed = psi_of_shares(&filled(&ps), &filled(&qs));
            check(case, &format!("psi_B{bins}_eps1e-4"), smoothed, SLACK);
            check(case, &format!("js_dist_base2_B{bins}"), jensen_shannon(&qs, &ps), SLACK);
            check(case, &format!("hellinger_B{bins}"), hellinger(&ps, &qs), SLACK);
            let pearson = chi_squared(&p, &q);
            check(case, &format!("chi2_2sample_B{bins}"), pearson.statistic, SLACK);
            check(case, &format!("chi2_p_B{bins}"), pearson.p, 1e-8);
            let interval = kolmogorov_smirnov(&ps, &qs, |_| false);
            let golden = &case[&format!("ks_binned_B{bins}")];
            check(golden, "lower", interval.lower, SLACK);
            check(golden, "upper", interval.upper, SLACK);
            assert!(interval.holds(case["ks_D"].as_f64().expect("ks_D")));
            check_midpoints(case, bins, &edges, &ascending(&values), &sorted, (&ps, &qs));
        }
    }
}

/// Wasserstein's distance with each bin's mass in its middle: the library's, and what it may be off.
fn check_midpoints(
    case: &Json,
    bins: i32,
    edges: &[f64],
    current: &[f64],
    reference: &[f64],
    (p, q): (&[f64], &[f64]),
) {
    let golden = &case[&format!("w1_mid_B{bins}")];
    let mut ends = vec![current[0].min(reference[0])];
    ends.extend(edges);
    ends.push(current[current.len() - 1].max(reference[reference.len() - 1]));
    let piles = |shares: &[f64]| {
        Piles::at(ends.windows(2).zip(shares).map(|(w, &s)| ((w[0] + w[1]) / 2.0, s)).collect())
    };
    check(golden, "value", transport(&piles(p), &piles(q)), SLACK);
    let widths = ends.windows(2).map(|w| w[1] - w[0]);
    let error: f64 = widths.zip(p.iter().zip(q)).map(|(w, (p, q))| w * (p + q) / 2.0).sum();
    check(golden, "err_bound", error, SLACK);
}

#[test]
fn every_distance_between_samples_is_met_and_lies_in_its_interval() {
    let file = distances();
    let reference = normals(11, 10_000, 0.0, 1.0);
    for bins in [10, 32, 60, 64] {
        let mut column = build::Numbers::default();
        reference.iter().for_each(|&x| column.push(Some(x)));
        let options = build::Options { bins, ..build::Options::default() };
        let feature = build::Column::Numbers(column).build("x", options);
        let baseline = Baseline::try_from(baseline_of(feature, 10_000)).expect("sound");
        for (name, case) in file["cases"].as_object().expect("cases") {
            let values = current(name);
            if bins == 10 {
                check(case, "ks_D", exact_ks(&values, &reference), SLACK);
                check(case, "w1", exact_w1(&values, &reference), 1e-9);
            }
            let mut counts = Counts::new(Arc::clone(baseline.layout()));
            values.iter().for_each(|&x| counts.record(0, Value::Number(x)));
            let yardstick = Yardstick::new(
                &baseline.layout().features()[0],
                baseline.reference(0).expect("x"),
                0.02,
            );
            let measured = yardstick.measure(&counts.features()[0]);
            let ks = measured.kolmogorov_smirnov.expect("a number");
            let w1 = measured.wasserstein.expect("a number");
            assert!(ks.holds(case["ks_D"].as_f64().expect("ks_D")), "{name} {ks:?}");
            // What was counted are floats, whose distance differs by their rounding.
            let exact = case["w1"].as_f64().expect("w1");
            assert!(w1.lower - 1e-6 <= exact && exact <= w1.upper + 1e-6, "{name} {w1:?} {exact}");
            let width = 1.0 / bins as f64 + 1e-3;
            assert!(
                ks.upper - ks.lower <= width,
                "{name}: the gap is a bin's mass at most: {ks:?}"
            );
            if bins == 10 {
                check(case, "psi_B10_jeffreys", measured.psi, SLACK);
                check(case, "js_dist_base2_B10", measured.jensen_shannon, SLACK);
            }
        }
    }
}

#[test]
fn the_definitions_of_other_libraries_differ_in_bins_and_smoothing_only() {
    let file = distances();
    let reference = normals(11, 10_000, 0.0, 1.0);
    for (name, case) in file["cases"].as_object().expect("cases") {
        let values = current(name);
        let pooled: Vec<f64> = reference.iter().chain(&values).copied().collect();
        let bins = |field: &str| case[field].as_u64().expect("a number") as usize;
        let edges = even(&pooled, bins("evidently_nbins"));
        let (p, q) = (shares(&histogram(&reference, &edges)), shares(&histogram(&values, &edges)));
        let filled = |list: &[f64]| -> Vec<f64> {
            let least = list.iter().copied().filter(|s| *s > 0.0).fold(1.0, f64::min);
            let fill = if least <= 1e-4 { least / 1e6 } else { 1e-4 };
            list.iter().map(|&share| if share == 0.0 { fill } else { share }).collect()
        };
        check(case, "evidently_0_7_23_psi", psi_of_shares(&filled(&p), &filled(&q)), SLACK);
        let nats = jensen_shannon(&p, &q) * std::f64::consts::LN_2.sqrt();
        check(case, "evidently_js_dist_basee", nats, SLACK);
        let edges = even(&reference, bins("nannyml_nbins_doane"));
        let (from, to) = (
            reference.iter().copied().fold(f64::MAX, f64::min),
            reference.iter().copied().fold(f64::MIN, f64::max),
        );
        let inside: Vec<f64> = values.iter().copied().filter(|x| (from..=to).contains(x)).collect();
        let total = values.len() as f64;
        let mut q: Vec<f64> = histogram(&inside, &edges).iter().map(|c| c / total).collect();
        let mut p = shares(&histogram(&reference, &edges));
        p.push(0.0);
        q.push(1.0 - inside.len() as f64 / total);
        check(case, "nannyml_0_13_1_js_dist_base2", jensen_shannon(&p, &q), SLACK);
    }
}

#[test]
fn the_small_golden_values_are_met() {
    let file = small();
    let case = &file["vec"];
    let (p, q) = (numbers(&case["p"]), numbers(&case["q"]));
    check(case, "psi", psi_of_shares(&p, &q), 1e-12);
    check(case, "kl_pq", kullback_leibler(&p, &q), 1e-12);
    check(case, "js_dist_2", jensen_shannon(&p, &q), 1e-12);
    check(case, "js_dist_e", jensen_shannon(&p, &q) * std::f64::consts::LN_2.sqrt(), 1e-12);
    check(case, "js_div_2", jensen_shannon(&p, &q).powi(2), 1e-12);
    check(case, "hellinger", hellinger(&p, &q), 1e-12);
    check(case, "tvd", total_variation(&p, &q), 1e-12);
    check(case, "linf", l_infinity(&p, &q), 1e-12);
    // a, b, c of aabaab and bacccc.
    let pearson = chi_squared(&[1.0, 1.0, 4.0], &[4.0, 2.0, 0.0]);
    check(&file["frouros_chi2"], "statistic", pearson.statistic, 1e-12);
    check(&file["frouros_chi2"], "p", pearson.p, 1e-6);
    for (name, wanted) in file["chi2_ppf"].as_object().expect("quantiles") {
        let (df, share) = name.trim_start_matches("df=").split_once(",q=").expect("two numbers");
        let tail = 1.0 - share.parse::<f64>().expect("a number");
        let value = chi2::upper_quantile(tail, df.parse().expect("a number"));
        assert!(is_close(value, wanted.as_f64().expect("a number"), 1e-9), "{name}: {value}");
    }
}

/// A baseline of one feature.
pub(super) fn baseline_of(feature: FeatureFile, n: u64) -> BaselineFile {
    BaselineFile {
        format: 1,
        model: "m".to_owned(),
        version: "v".to_owned(),
        digest: None,
        n,
        created: None,
        source: None,
        origin: Origin::Data,
        features: vec![feature],
        outputs: Vec::new(),
        calibration: None,
        metrics: Default::default(),
        golden: None,
        latency_ms: Default::default(),
    }
}

#[test]
fn a_column_of_one_kind_makes_a_feature_of_that_kind() {
    for kind in [KindWord::Numeric, KindWord::Categorical, KindWord::Boolean] {
        let mut column = build::Column::new(kind);
        for value in [Value::Integer(0), Value::Integer(1), Value::Missing, Value::Integer(1)] {
            column.push(value);
        }
        let feature = column.build("x", build::Options::default());
        assert_eq!((feature.kind, feature.n, feature.missing), (kind, Some(3), 0.25));
        let baseline = Baseline::try_from(baseline_of(feature, 4)).expect("sound");
        assert_eq!(baseline.reference(0).expect("x").total(), 3.0);
    }
}
