//! What intervals promise: the exact statistic of the raw values lies in them.

use std::sync::Arc;

use proptest::prelude::*;

use super::golden::{baseline_of, exact_ks, exact_w1};
use crate::domain::stats::baseline::Baseline;
use crate::domain::stats::build::{Column, Numbers, Options};
use crate::domain::stats::counts::Counts;
use crate::domain::stats::drift::yardstick::{Measured, Yardstick};
use crate::domain::stats::layout::Value;

/// Samples with ties, clusters and outliers.
fn samples() -> impl Strategy<Value = Vec<f64>> {
    let value = prop_oneof![
        4 => (-50_i32..50).prop_map(|x| f64::from(x) / 8.0),
        4 => -4.0_f64..4.0,
        2 => Just(0.0),
        1 => -1e6_f64..1e6,
    ];
    prop::collection::vec(value.prop_map(|x| f64::from(x as f32)), 1..400)
}

/// The measure of `current` against a baseline made of `reference`.
fn measured(reference: &[f64], current: &[f64], bins: usize) -> Measured {
    let mut column = Numbers::default();
    reference.iter().for_each(|&x| column.push(Some(x)));
    let options = Options { bins, ..Options::default() };
    let file = baseline_of(Column::Numbers(column).build("x", options), reference.len() as u64);
    let baseline = Baseline::try_from(file).expect("what was built is sound");
    let mut counts = Counts::new(Arc::clone(baseline.layout()));
    current.iter().for_each(|&x| counts.record(0, Value::Number(x)));
    let feature = &baseline.layout().features()[0];
    Yardstick::new(feature, baseline.reference(0).expect("x"), 0.02).measure(&counts.features()[0])
}

proptest! {
    #[test]
    fn the_exact_statistics_lie_in_their_intervals(
        reference in samples(),
        current in samples(),
        bins in prop::sample::select(vec![1_usize, 2, 10, 60, 64]),
    ) {
        let measured = measured(&reference, &current, bins);
        let ks = measured.kolmogorov_smirnov.expect("numbers");
        let w1 = measured.wasserstein.expect("numbers");
        let (exact_ks, exact_w1) = (exact_ks(&current, &reference), exact_w1(&current, &reference));
        prop_assert!(ks.holds(exact_ks), "{exact_ks} is not in {ks:?}");
        prop_assert!(w1.holds(exact_w1), "{exact_w1} is not in {w1:?}");
    }

    #[test]
    fn a_sample_is_at_no_distance_from_itself(reference in samples()) {
        let measured = measured(&reference, &reference, 60);
        prop_assert!(measured.kolmogorov_smirnov.expect("numbers").lower < 1e-12);
        prop_assert!(measured.wasserstein.expect("numbers").lower < 1e-9);
        prop_assert!(measured.psi.abs() < 1e-12);
        prop_assert!(measured.jensen_shannon < 1e-6 && measured.hellinger < 1e-6);
        prop_assert!(measured.p.is_none_or(|p| p > 0.99));
    }
}
