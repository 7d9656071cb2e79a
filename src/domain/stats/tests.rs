//! What the counts and the baseline promise.

mod baselines;
mod building;
mod counting;
mod dockets;
mod drifting;
mod golden;
mod intervals;
mod scipy;
mod sparse;
pub(crate) mod streams;

use std::sync::Arc;

use proptest::prelude::*;

use super::layout::{Categories, Edges, Feature, FeatureKind, Layout, Role};

/// Whether `value` is `wanted`, relative to its size.
fn is_close(value: f64, wanted: f64, slack: f64) -> bool {
    (value - wanted).abs() <= slack * wanted.abs().max(f64::MIN_POSITIVE) || value == wanted
}

/// A list of numbers of a fixture.
fn numbers(json: &serde_json::Value) -> Vec<f64> {
    let list = json.as_array().expect("a list");
    list.iter().map(|number| number.as_f64().expect("a number")).collect()
}

/// A numeric input.
fn numeric(name: &str, edges: &[f64], points: &[f64]) -> Feature {
    let edges = Edges::new(edges, points).expect("edges in order");
    Feature::new(name, Role::Input, FeatureKind::Numeric(edges))
}

/// A categorical input.
fn categorical(name: &str, values: &[&str]) -> Feature {
    let categories = Categories::new(values).expect("different values");
    Feature::new(name, Role::Input, FeatureKind::Categorical(categories))
}

/// One feature of each kind.
fn mixed() -> Arc<Layout> {
    let features = vec![
        numeric("x", &[-1.0, 0.5, 2.0], &[0.0]),
        categorical("country", &["de", "fr", "7"]),
        Feature::new("flag", Role::Input, FeatureKind::Boolean),
    ];
    Arc::new(Layout::new(features).expect("different names"))
}

/// Edges that ascend at single precision.
fn edge_lists() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::btree_set(-1_000_000_i32..1_000_000, 0..63)
        .prop_map(|set| set.into_iter().map(|x| f64::from(x) / 64.0).collect())
}
