//! A window in full as JSON, for the admin API and the command line.
//!
//! Owns the names of what was counted. Computes nothing but quantiles, and those from merged counts.

use serde_json::{Map, Value, json};

use crate::domain::record::Outcome;
use crate::domain::stats::counts::{Counts, FeatureCounts};
use crate::domain::stats::layout::{Feature, FeatureKind, Guard};
use crate::domain::stats::window::{LatencyCounts, Minute, Stage, Traffic, Unseen, Window};
use crate::prediction_log::query::text::timestamp;

/// The quantiles that are shown.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// Everything that was counted in a window. It is closed if it ends no later than `open`.
pub fn window(window: &Window, open: Minute) -> Value {
    let values: Vec<Value> = window.counts.values().iter().map(values).collect();
    json!({
        "start": timestamp(window.start.start_us()),
        "length": window.length.as_str(),
        "closed": window.end() <= open,
        "traffic": traffic(&window.counts.traffic),
        "values": values,
    })
}

fn traffic(traffic: &Traffic) -> Value {
    let outcomes = Outcome::ALL.iter().map(|outcome| (outcome.as_str(), traffic.outcome(*outcome)));
    let unseen = Unseen::ALL.iter().map(|reason| (reason.as_str(), traffic.not_seen(*reason)));
    let times = Stage::ALL.iter().filter(|stage| traffic.latency(**stage).count() > 0);
    let times = times.map(|stage| (stage.as_str().to_owned(), latency(traffic.latency(*stage))));
    json!({
        "exchanges": traffic.exchanges(),
        "outcomes": counted(outcomes),
        "rows": traffic.rows,
        "seen": traffic.seen,
        "unseen": counted(unseen),
        "latency_us": times.collect::<Map<_, _>>(),
    })
}

fn counted<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> Map<String, Value> {
    counts.map(|(word, count)| (word.to_owned(), count.into())).collect()
}

/// Times in microseconds; each bucket is named by its upper end and at most one percent wide.
fn latency(times: &LatencyCounts) -> Value {
    let mut shown = json!({ "count": times.count(), "sum": times.sum_us() });
    for (name, share) in QUANTILES {
        shown[name] = times.quantile_us(share).into();
    }
    shown["buckets"] = times.buckets().iter().map(|(us, count)| json!([us, count])).collect();
    shown
}

fn values(counts: &Counts) -> Value {
    let features = counts.layout().features().iter().zip(counts.features());
    let features: Vec<Value> = features.map(|(feature, counts)| one(feature, counts)).collect();
    json!({ "layout": counts.layout().hash().to_string(), "features": features })
}

fn one(feature: &Feature, counts: &FeatureCounts) -> Value {
    let guards = Guard::ALL.iter().map(|guard| (guard.as_str(), counts.guard(*guard)));
    let mut shown = json!({
        "name": feature.name(),
        "role": feature.role().as_str(),
        "kind": feature.kind().as_str(),
        "seen": counts.seen(),
        "guards": counted(guards),
        "bins": counts.bins(),
    });
    match feature.kind() {
        FeatureKind::Numeric(edges) => {
            shown["edges"] = edges.cuts().iter().map(|cut| json!(cut)).collect();
            shown["mean"] = counts.mean().into();
            if counts.valid() > 0 {
                (shown["min"], shown["max"]) = (counts.min().into(), counts.max().into());
            }
        }
        FeatureKind::Categorical(categories) => {
            shown["categories"] = categories.values().iter().map(|value| json!(value)).collect();
        }
        FeatureKind::Boolean => {}
    }
    shown
}
