use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::stats::layout::{Edges, Feature, FeatureKind, Layout, Role, Value};
use crate::domain::stats::rings::KEPT;

fn latencies() -> impl Strategy<Value = Vec<(u32, Option<u32>, Option<u32>)>> {
    let time = 0u32..20_000_000;
    prop::collection::vec(
        (time.clone(), prop::option::of(time.clone()), prop::option::of(time)),
        0..60,
    )
}

fn recorded(exchanges: &[(u32, Option<u32>, Option<u32>)]) -> Traffic {
    let mut recorder = TrafficRecorder::default();
    for (t_total, t_queue, t_infer) in exchanges {
        let latency = Latency {
            t_total: *t_total,
            t_queue: *t_queue,
            t_infer: *t_infer,
            ..Latency::default()
        };
        recorder.record(Outcome::ALL[*t_total as usize % Outcome::ALL.len()], *t_queue, &latency);
        if t_infer.is_some() { recorder.see() } else { recorder.miss(Unseen::Failed) }
    }
    let mut traffic = Traffic::default();
    traffic.add_recorded(&recorder);
    traffic
}

proptest! {
    /// Two shards that are merged are the one that saw everything, in either order.
    #[test]
    fn shards_add_up_exactly(exchanges in latencies(), at in any::<prop::sample::Index>()) {
        let (a, b) = exchanges.split_at(at.index(exchanges.len() + 1));
        let whole = recorded(&exchanges);
        for (first, second) in [(a, b), (b, a)] {
            let mut merged = recorded(first);
            merged.merge(&recorded(second));
            prop_assert_eq!(&merged, &whole);
        }
        prop_assert_eq!(whole.exchanges(), exchanges.len() as u64);
        let total = whole.latency(Stage::Total);
        prop_assert_eq!(total.sum_us(), exchanges.iter().map(|e| u64::from(e.0)).sum::<u64>());
        let parts = (total.buckets().to_vec(), total.sum_us());
        let stored = LatencyCounts::from_parts(parts.0, parts.1);
        prop_assert_eq!(stored.as_ref(), Some(total));
    }

    /// A quantile is a recorded time to within one percent.
    #[test]
    fn quantiles_are_within_one_percent(
        mut times in prop::collection::vec(1u32..3_000_000_000, 1..200),
        share in 0.0f64..=1.0,
    ) {
        let mut recorder = LatencyRecorder::new();
        times.iter().for_each(|us| recorder.record(*us));
        let mut counts = LatencyCounts::default();
        counts.add_recorded(&recorder);
        times.sort_unstable();
        let rank = ((share * times.len() as f64).ceil() as usize).clamp(1, times.len());
        let exact = f64::from(times[rank - 1]);
        let told = f64::from(counts.quantile_us(share).unwrap());
        prop_assert!(told >= exact && told <= exact * 1.01 + 1.0, "{told} for {exact}");
    }
}

#[test]
fn the_minute_of_an_exchange_is_the_one_in_which_it_ended() {
    assert_eq!(Minute::of_exchange(59_999_999, 0), Minute(0));
    assert_eq!(Minute::of_exchange(59_999_999, 1), Minute(1));
    assert_eq!(Minute(7).start_us(), 420_000_000);
    let minute = Minute(24 * 60 * 3 + 61);
    assert_eq!(WindowLength::Minute.start_of(minute), minute);
    assert_eq!(WindowLength::Hour.start_of(minute), Minute(24 * 60 * 3 + 60));
    assert_eq!(WindowLength::Day.start_of(minute), Minute(24 * 60 * 3));
}

#[test]
fn the_overhead_is_what_neither_the_model_nor_the_queue_took() {
    let latency =
        Latency { t_total: 100, t_queue: Some(10), t_infer: Some(60), ..Latency::default() };
    assert_eq!(Stage::Overhead.of(&latency), Some(30));
    // Clocks of two threads may disagree by a little.
    let latency = Latency { t_total: 50, t_ttfb: Some(51), ..Latency::default() };
    assert_eq!(Stage::Overhead.of(&latency), Some(0));
}

#[test]
fn stored_times_out_of_order_are_refused() {
    assert!(LatencyCounts::from_parts(vec![(2, 1), (1, 1)], 0).is_none());
    assert!(LatencyCounts::from_parts(vec![(1, 0)], 0).is_none());
}

/// A person who tries several baselines in a day sees the values counted by the last.
#[test]
fn the_newest_layout_of_a_window_is_counted() {
    let counts = |name: usize| {
        let name = format!("x{name}");
        let feature = Feature::new(&*name, Role::Input, FeatureKind::Boolean);
        let mut counts = Counts::new(Arc::new(Layout::new(vec![feature]).expect("a layout")));
        counts.record(0, Value::Boolean(true));
        counts
    };
    let mut window = WindowCounts::default();
    (0..LAYOUTS_MAX + 2).for_each(|name| window.add_values(&counts(name)));
    assert_eq!(window.values().len(), LAYOUTS_MAX);
    for name in 2..LAYOUTS_MAX + 2 {
        assert!(window.values_by(counts(name).layout().hash()).is_some(), "{name}");
    }
    window.add_values(&counts(LAYOUTS_MAX + 1));
    let last = window.values_by(counts(LAYOUTS_MAX + 1).layout().hash()).expect("the last");
    assert_eq!(last.features()[0].valid(), 2);
}

/// What the documentation says of the memory of windows.
#[test]
fn five_versions_of_twenty_features_take_about_as_much_as_is_told() {
    let edges: Vec<f64> = (1..60).map(f64::from).collect();
    let feature = |at: usize| {
        let edges = Edges::new(&edges, &[]).expect("they ascend");
        Feature::new(&*format!("x{at}"), Role::Input, FeatureKind::Numeric(edges))
    };
    let layout = Layout::new((0..20).map(feature).collect()).expect("a layout");
    let mut window = WindowCounts::default();
    window.add_values(&Counts::new(Arc::new(layout)));
    let mut recorder = TrafficRecorder::default();
    for at in 0_u32..1000 {
        // From 5 to 10 milliseconds, and a few up to 40.
        let t_ttfb = 5000 + at * 5 + if at.is_multiple_of(50) { at * 30 } else { 0 };
        let latency =
            Latency { t_total: t_ttfb + 60 + at % 40, t_ttfb: Some(t_ttfb), ..Latency::default() };
        recorder.record(Outcome::Ok, None, &latency);
        window.inputs.add(u128::from(at));
    }
    window.traffic.add_recorded(&recorder);
    let (bytes, windows) = (window.bytes(), 5 * KEPT.iter().sum::<usize>());
    assert!((22..29).contains(&(bytes >> 10)), "{bytes}");
    assert!((12..17).contains(&((bytes * windows) >> 20)), "{} in all", bytes * windows);
}
