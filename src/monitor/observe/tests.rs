//! What workers keep: counts always, values only while somebody learns from them.

use super::*;
use crate::domain::stats::layout::Role;
use crate::protocol::tensor::{Tensor, TensorData};

fn versions(left_out: &[&str]) -> Versions {
    Versions::of(left_out.iter().map(|name| (*name).to_owned()).collect(), 1 << 20, 2)
}

fn values(rows: usize) -> Values {
    let tensor = Tensor::new("x", [rows, 2].as_slice(), TensorData::Fp32(vec![0.5; rows * 2]));
    let mut values = Values::default();
    values.read(Role::Input, &[tensor.expect("a sound tensor")], |_| Some(0));
    values
}

fn record(version: &VersionMonitor, worker: usize, rows: usize) {
    let observation = Observation {
        minute: Minute(1000),
        outcome: Outcome::Ok,
        status: 200,
        rows: None,
        input: None,
        latency: &Latency::default(),
    };
    version.record(worker, &observation, Some(values(rows)));
}

/// The exchanges whose values wait to be learned from, and all that were seen.
fn kept(version: &VersionMonitor) -> (usize, u64) {
    let (mut kept, mut seen) = (0, 0);
    version.take(Minute(1001), |shard| {
        kept += shard.unplanned.len();
        let mut counts = crate::domain::stats::window::WindowCounts::default();
        counts.traffic.add_recorded(&shard.traffic);
        seen += counts.traffic.seen;
    });
    (kept, seen)
}

#[test]
fn values_that_nobody_learns_from_are_not_kept() {
    let versions = versions(&[]);
    let version = versions.named("m", "v1").expect("it is monitored");
    (0..50).for_each(|at| record(&version, at % 2, 2000));
    assert_eq!(kept(&version), (0, 50));
}

#[test]
fn all_workers_together_keep_as_many_rows_as_are_wanted() {
    let versions = versions(&[]);
    let version = versions.named("m", "v1").expect("it is monitored");
    version.want(2000);
    (0..50).for_each(|at| record(&version, at % 2, 900));
    assert_eq!(kept(&version), (3, 50), "the third completes them");
    version.want(2);
    (0..50).for_each(|at| record(&version, at % 2, 1));
    assert_eq!(kept(&version), (2, 50));
    version.want(0);
    record(&version, 0, 1);
    assert_eq!(kept(&version), (0, 1));
}

#[test]
fn what_was_learned_from_makes_room_for_as_much() {
    let versions = versions(&[]);
    let version = versions.named("m", "v1").expect("it is monitored");
    let bytes = values(4000).bytes();
    let fit = UNPLANNED_BYTES / bytes;
    version.want(usize::MAX);
    (0..fit + 50).for_each(|_| record(&version, 0, 4000));
    version.learned(2 * bytes, usize::MAX);
    (0..50).for_each(|_| record(&version, 0, 4000));
    assert_eq!(kept(&version).0, fit + 2);
}

#[test]
fn a_record_names_a_version_that_is_not_loaded() {
    let versions = versions(&["off"]);
    assert!(versions.named("off", "v1").is_none(), "its model is not monitored");
    assert!(versions.named("m", "").is_none() && versions.named("", "").is_none(), "a pool");
    let version = versions.named("m", "v1").expect("it is monitored");
    assert!(!version.is_described());
    assert!(Arc::ptr_eq(&version, &versions.find("m", "v1").expect("it is known")));
}
