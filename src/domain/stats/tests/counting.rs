use std::sync::Arc;

use proptest::prelude::*;

use super::{categorical, edge_lists, mixed, numeric};
use crate::domain::stats::counts::{Counts, FeatureCounts};
use crate::domain::stats::layout::{
    Categories, Edges, Feature, FeatureKind, Guard, Layout, LayoutError, Place, Role, Value,
};

/// Any value that a request can hold.
fn values() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        any::<f64>().prop_map(Value::Number),
        (-3.0..3.0).prop_map(Value::Number),
        any::<i64>().prop_map(Value::Integer),
        (-2_i64..9).prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Boolean),
        prop::sample::select(vec!["de", "fr", "7", "at", "", "true"]).prop_map(Value::Text),
        Just(Value::Missing),
        Just(Value::Wrong),
    ]
}

/// The counts of these values, one feature after the other.
fn counted<'a>(layout: &Arc<Layout>, values: impl IntoIterator<Item = &'a Value<'a>>) -> Counts {
    let mut counts = Counts::new(Arc::clone(layout));
    for (index, value) in values.into_iter().enumerate() {
        counts.record(index % 3, *value);
    }
    counts
}

proptest! {
    #[test]
    fn a_number_falls_between_its_edges(edges in edge_lists(), number in any::<f32>()) {
        prop_assume!(number.is_finite());
        let cut = Edges::new(&edges, &[]).expect("ascending");
        let below = edges.iter().filter(|&&edge| edge as f32 <= number).count();
        prop_assert_eq!(cut.bin(number), below);
    }

    #[test]
    fn every_edge_belongs_to_the_bin_that_it_opens(edges in edge_lists()) {
        let cut = Edges::new(&edges, &[]).expect("ascending");
        for (index, &edge) in edges.iter().enumerate() {
            prop_assert_eq!(cut.bin(edge as f32), index + 1);
            prop_assert_eq!(cut.bin((edge as f32).next_down()), index);
        }
    }

    #[test]
    fn nothing_is_lost(values in prop::collection::vec(values(), 0..200)) {
        let layout = mixed();
        let counts = counted(&layout, &values);
        let seen: u64 = counts.features().iter().map(FeatureCounts::seen).sum();
        prop_assert_eq!(seen, values.len() as u64);
    }

    #[test]
    fn shards_merged_in_any_order_equal_one_stream(
        values in prop::collection::vec((values(), 0_usize..3, 0_usize..4), 0..300),
    ) {
        let layout = mixed();
        let mut one = Counts::new(Arc::clone(&layout));
        let mut shards: Vec<Counts> = (0..4).map(|_| Counts::new(Arc::clone(&layout))).collect();
        for (value, feature, shard) in &values {
            one.record(*feature, *value);
            shards[*shard].record(*feature, *value);
        }
        for order in [[0, 1, 2, 3], [3, 1, 0, 2]] {
            let mut merged = Counts::new(Arc::clone(&layout));
            for shard in order {
                merged.merge(&shards[shard]).expect("one layout");
            }
            for (ours, theirs) in merged.features().iter().zip(one.features()) {
                prop_assert_eq!(ours.slots(), theirs.slots());
                prop_assert_eq!((ours.min(), ours.max()), (theirs.min(), theirs.max()));
                for (sum, wanted) in ours.sums().iter().zip(theirs.sums()) {
                    let slack = 1e-12 * f64::from(f32::MAX).min(wanted.abs() + 1e30);
                    prop_assert!((sum - wanted).abs() <= slack, "{sum} is not {wanted}");
                }
            }
        }
    }

    #[test]
    fn a_row_of_floats_counts_as_its_values_do(row in prop::collection::vec(any::<f32>(), 0..6)) {
        let layout = mixed();
        let (mut rows, mut singly) =
            (Counts::new(Arc::clone(&layout)), Counts::new(Arc::clone(&layout)));
        rows.record_row(1, &row);
        for (index, number) in row.iter().enumerate() {
            singly.record(1 + index, Value::Number(f64::from(*number)));
        }
        prop_assert_eq!(rows.features(), singly.features());
    }
}

#[test]
fn values_find_their_bins() {
    let layout = mixed();
    let place = |feature: usize, value| layout.features()[feature].place(value);
    // -1, 0, the float after 0, .5, 2: the point mass at zero has a bin of its own.
    assert_eq!(place(0, Value::Number(-0.5)), Place::Number(1, -0.5));
    assert_eq!(place(0, Value::Number(0.0)), Place::Number(2, 0.0));
    assert_eq!(place(0, Value::Number(-0.0)), Place::Number(2, 0.0));
    assert_eq!(place(0, Value::Number(1e-30)), Place::Number(3, 1e-30));
    assert_eq!(place(0, Value::Integer(2)), Place::Number(5, 2.0));
    assert_eq!(place(0, Value::Number(1e300)), Place::Number(5, f32::MAX));
    assert_eq!(place(0, Value::Number(f64::NAN)), Place::Guard(Guard::Nan));
    assert_eq!(place(0, Value::Number(f64::NEG_INFINITY)), Place::Guard(Guard::Infinite));
    assert_eq!(place(0, Value::Text("1")), Place::Guard(Guard::Wrong));
    assert_eq!(place(0, Value::Boolean(true)), Place::Guard(Guard::Wrong));
    assert_eq!(place(0, Value::Missing), Place::Guard(Guard::Missing));
    assert_eq!(place(1, Value::Text("fr")), Place::Category(1));
    assert_eq!(place(1, Value::Text("at")), Place::Category(3));
    assert_eq!(place(1, Value::Integer(7)), Place::Category(2));
    assert_eq!(place(1, Value::Number(7.0)), Place::Category(2));
    assert_eq!(place(1, Value::Number(7.5)), Place::Category(3));
    assert_eq!(place(1, Value::Wrong), Place::Guard(Guard::Wrong));
    assert_eq!(place(2, Value::Boolean(true)), Place::Category(1));
    assert_eq!(place(2, Value::Number(0.0)), Place::Category(0));
    assert_eq!(place(2, Value::Integer(5)), Place::Category(2));
    assert_eq!(place(2, Value::Text("true")), Place::Guard(Guard::Wrong));
}

#[test]
fn counts_of_unlike_layouts_are_not_added() {
    let edges =
        |edges: &[f64]| Arc::new(Layout::new(vec![numeric("x", edges, &[])]).expect("one feature"));
    let mut ours = Counts::new(edges(&[0.0, 1.0]));
    ours.record(0, Value::Number(0.5));
    let before = ours.features().to_vec();
    for other in [
        edges(&[0.0, 1.5]),
        edges(&[0.0]),
        Arc::new(Layout::new(vec![numeric("y", &[0.0, 1.0], &[])]).expect("one feature")),
        Arc::new(Layout::new(vec![categorical("x", &["0", "1"])]).expect("one feature")),
    ] {
        assert!(ours.merge(&Counts::new(other)).is_err());
    }
    assert_eq!(ours.features(), before);
    assert!(ours.merge(&Counts::new(edges(&[0.0, 1.0]))).is_ok(), "equal layouts are alike");
}

#[test]
fn the_hash_tells_names_and_values_apart_wherever_they_are_split() {
    let hash =
        |values: &[&str]| Layout::new(vec![categorical("x", values)]).expect("one feature").hash();
    assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
    let roles = [Role::Input, Role::Output].map(|role| {
        let feature = Feature::new("x", role, FeatureKind::Boolean);
        Layout::new(vec![feature]).expect("one feature").hash()
    });
    assert_ne!(roles[0], roles[1]);
}

#[test]
fn stored_counts_come_back_only_to_their_layout() {
    let layout = mixed();
    let values = [Value::Number(0.25), Value::Text("de"), Value::Boolean(false)];
    let counts = counted(&layout, &values);
    let parts: Vec<FeatureCounts> = counts
        .features()
        .iter()
        .map(|f| FeatureCounts::from_parts(f.slots().into(), f.sums().into(), f.min(), f.max()))
        .collect();
    let restored = Counts::restore(Arc::clone(&layout), parts.clone()).expect("its own layout");
    assert_eq!(restored.features(), counts.features());
    assert!(Counts::restore(Arc::clone(&layout), parts[..2].to_vec()).is_err());
    let reversed: Vec<FeatureCounts> = parts.into_iter().rev().collect();
    assert!(Counts::restore(layout, reversed).is_err());
}

#[test]
fn cleared_counts_are_as_new() {
    let layout = mixed();
    let mut counts = counted(&layout, &[Value::Number(1.0), Value::Missing, Value::Wrong]);
    assert!(!counts.is_empty());
    counts.clear();
    assert!(counts.is_empty());
    assert_eq!(counts.features(), Counts::new(layout).features());
}

#[test]
fn edges_out_of_order_are_refused_with_their_place() {
    let refused = |edges: &[f64]| Edges::new(edges, &[]).expect_err("refused");
    assert_eq!(
        refused(&[0.0, 2.0, 1.0]),
        LayoutError::NotAscending { list: "edges", index: 2, before: 2.0, after: 1.0 }
    );
    assert!(matches!(refused(&[0.0, 0.0]), LayoutError::NotAscending { index: 1, .. }));
    // Two doubles that are one float.
    assert!(matches!(refused(&[0.1, 0.100_000_000_1]), LayoutError::NotAscending { .. }));
    assert!(matches!(refused(&[0.0, f64::NAN]), LayoutError::NotFinite { index: 1, .. }));
    assert!(matches!(refused(&[1e300]), LayoutError::NotFinite { index: 0, .. }));
    let many: Vec<f64> = (0..64).map(f64::from).collect();
    assert_eq!(refused(&many), LayoutError::TooManyBins { bins: 65 });
    assert!(Edges::new(&many[..63], &[]).is_ok());
}

#[test]
fn categories_and_names_are_bounded_and_different() {
    assert!(matches!(
        Categories::new(&["a", "b", "a"]),
        Err(LayoutError::DoubledCategory { value }) if &*value == "a"
    ));
    let many: Vec<String> = (0..256).map(|i| i.to_string()).collect();
    assert!(matches!(Categories::new(&many), Err(LayoutError::TooManyCategories { values: 256 })));
    let categories = Categories::new(&many[..255]).expect("as many as there may be");
    let feature = Feature::new("x", Role::Input, FeatureKind::Categorical(categories));
    for (bin, value) in many[..255].iter().enumerate() {
        assert_eq!(feature.place(Value::Text(value)), Place::Category(bin));
        assert_eq!(feature.place(Value::Integer(bin as i64)), Place::Category(bin));
    }
    let twice = vec![numeric("x", &[], &[]), categorical("x", &[])];
    assert!(matches!(Layout::new(twice), Err(LayoutError::DoubledFeature { .. })));
    assert!(matches!(
        Layout::new(vec![numeric("", &[], &[])]),
        Err(LayoutError::NameLength { index: 0, bytes: 0 })
    ));
}
