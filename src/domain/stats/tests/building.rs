//! What a built baseline promises.

use proptest::prelude::*;

use super::golden::baseline_of;
use super::is_close;
use super::streams::{SplitMix, normals};
use crate::domain::stats::baseline::{Baseline, FeatureFile, KindWord};
use crate::domain::stats::build::{Column, Numbers, Options, Texts};
use crate::domain::stats::drift::yardstick::Yardstick;

fn built(values: &[f64], options: Options) -> FeatureFile {
    let mut column = Numbers::default();
    values.iter().for_each(|&x| column.push(Some(x)));
    Column::Numbers(column).build("x", options)
}

proptest! {
    #[test]
    fn any_column_makes_a_sound_feature(
        values in prop::collection::vec(prop::option::of(prop_oneof![
            any::<f64>(),
            (0_i32..40).prop_map(f64::from),
            Just(0.0),
            Just(-0.0),
        ]), 1..500),
        bins in 1_usize..80,
        chunk in 0_usize..100,
    ) {
        let mut column = Numbers::default();
        values.iter().for_each(|&x| column.push(x));
        let options = Options { bins, chunk, ..Options::default() };
        let feature = Column::Numbers(column).build("x", options);
        let finite = values.iter().flatten().filter(|x| x.is_finite()).count() as u64;
        prop_assert_eq!(feature.n, Some(finite));
        let baseline = Baseline::try_from(baseline_of(feature, values.len() as u64))
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(baseline.references()[0].total(), finite as f64);
    }

    #[test]
    fn any_texts_make_a_sound_feature(values in prop::collection::vec("[a-c]{0,3}|[0-9]{1,3}", 1..400)) {
        let mut column = Texts::default();
        values.iter().for_each(|text| column.push(Some(text)));
        let feature = Column::Texts(column).build("x", Options::default());
        prop_assert!(feature.mass.windows(2).all(|w| w[0] >= w[1]), "frequent values come first");
        let baseline = Baseline::try_from(baseline_of(feature, values.len() as u64));
        prop_assert!(baseline.is_ok(), "{:?}", baseline.err());
    }
}

#[test]
fn a_frequent_value_gets_a_bin_of_its_own() {
    let mut generator = SplitMix::new(3);
    let values: Vec<f64> = (0..6000)
        .map(|_| if generator.uniform() < 0.3 { 0.1 } else { generator.normal() })
        .collect();
    let feature = built(&values, Options::default());
    assert_eq!(feature.point_masses, [f64::from(0.1_f32)], "at single precision");
    assert!(feature.mass.iter().any(|mass| (mass - 0.3).abs() < 0.02));
    assert!(feature.edges.len() + 3 <= 64);
}

#[test]
fn discrete_numbers_are_cut_between_them() {
    let values: Vec<f64> = (0..4100).map(|i| f64::from(i % 41)).collect();
    let feature = built(&values, Options::default());
    let full = feature.mass.iter().filter(|mass| **mass > 0.0).count();
    assert_eq!(full, 41, "each value has a bin");
}

#[test]
fn even_edges_are_those_asked_for() {
    let options = Options { bins: 4, even: Some((0.0, 1.0)), ..Options::default() };
    let feature = built(&[0.1, 0.2, 0.9, 1.5], options);
    assert_eq!(feature.edges, [0.25, 0.5, 0.75]);
    assert_eq!(feature.mass, [0.5, 0.0, 0.0, 0.5]);
    assert_eq!(feature.means[1], None);
}

#[test]
fn rare_texts_are_left_to_other() {
    let mut column = Texts::default();
    for i in 0..1000 {
        column.push(Some(&(i % 500).to_string()));
    }
    column.push(None);
    let feature = Column::Texts(column).build("x", Options::default());
    assert_eq!(feature.kind, KindWord::Categorical);
    assert_eq!(feature.values.len(), 255);
    assert!(is_close(feature.other.expect("there"), 490.0 / 1000.0, 1e-12));
    assert!(is_close(feature.missing, 1.0 / 1001.0, 1e-12));
}

#[test]
fn independent_chunks_have_no_more_noise_than_chance() {
    let feature = built(&normals(21, 50_000, 0.0, 1.0), Options::default());
    let noise = feature.noise.expect("fifty chunks");
    assert_eq!(noise.chunk, 1000);
    let baseline = Baseline::try_from(baseline_of(feature, 50_000)).expect("sound");
    let yardstick =
        Yardstick::new(&baseline.layout().features()[0], &baseline.references()[0], 0.02);
    assert!(yardstick.dispersion() < 1.35, "{}", yardstick.dispersion());
    // Nine degrees of freedom: one in ten thousand is above 33.7.
    let own = yardstick.dispersion() * 33.72 / 50_000.0;
    assert!((yardstick.margin(1000) - 0.02 - own).abs() < 1e-6, "{}", yardstick.margin(1000));
}

#[test]
fn what_is_normal_for_a_season_widens_the_margin() {
    let mut generator = SplitMix::new(5);
    let values: Vec<f64> = (0..60_000)
        .map(|i| {
            let season = if i % 10_000 >= 9_000 { 0.8 } else { 0.0 };
            season + generator.normal()
        })
        .collect();
    let feature = built(&values, Options::default());
    let baseline = Baseline::try_from(baseline_of(feature, 60_000)).expect("sound");
    let yardstick =
        Yardstick::new(&baseline.layout().features()[0], &baseline.references()[0], 0.02);
    let margin = yardstick.margin(1000);
    assert!(margin > 0.2 && yardstick.margin(10_000) == margin, "{margin}");
    assert!(yardstick.margin(100) > 9.0 * margin, "small windows vary more");
}

#[test]
fn a_few_rows_have_no_noise() {
    assert_eq!(built(&normals(1, 3000, 0.0, 1.0), Options::default()).noise, None);
}

/// A column of which most rows have nothing has as much noise as one without gaps: none.
#[test]
fn the_noise_of_a_sparse_feature_is_that_of_its_values() {
    let mut generator = SplitMix::new(31);
    let mut column = Numbers::default();
    for _ in 0..50_000 {
        let value = generator.normal();
        column.push((generator.uniform() < 0.2).then_some(value));
    }
    let feature = Column::Numbers(column).build("x", Options::default());
    let noise = feature.noise.expect("fifty chunks");
    assert!((180..=220).contains(&noise.chunk), "{noise:?}");
    let baseline = Baseline::try_from(baseline_of(feature, 50_000)).expect("sound");
    let yardstick =
        Yardstick::new(&baseline.layout().features()[0], &baseline.references()[0], 0.02);
    assert!(yardstick.dispersion() < 1.35, "{}", yardstick.dispersion());
}

/// Merchants of a day come in one chunk and never again: for each chunk they are unknown values, as they will be for a
/// window.
#[test]
fn values_of_one_chunk_alone_are_noise() {
    let built = |bursts: bool| {
        let mut generator = SplitMix::new(41);
        let mut column = Texts::default();
        for row in 0..20_000_u32 {
            let own = bursts && generator.uniform() < 0.1;
            let name = if own {
                format!("day {}", row / 1000)
            } else {
                format!("known {}", (generator.uniform() * 30.0).floor())
            };
            column.push(Some(&name));
        }
        Column::Texts(column).build("x", Options::default()).noise.expect("twenty chunks")
    };
    let (even, bursts) = (built(false), built(true));
    assert!(even.psi_q50 < 0.05, "{even:?}");
    assert!(bursts.psi_q50 > 4.0 * even.psi_q50, "{bursts:?} against {even:?}");
}
