//! Whose baseline a version is held against, and what it costs to find that out.

use super::*;
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::record::{Latency, Outcome};
use crate::domain::routing::TargetKind;
use crate::domain::stats::window::{Minute, WindowCounts};
use crate::monitor::{MonitorReader, Observation};

fn key(version: &str) -> VersionKey {
    VersionKey { model: ModelName::new("m"), version: VersionName::new(version) }
}

/// The content of a `baseline.json` for the champion.
fn json(rows: u64) -> Vec<u8> {
    let text = r#"{"format": 1, "model": "m", "version": "v1", "n": ROWS,
        "features": [{"name": "x", "kind": "numeric", "edges": [1.0], "mass": [0.5, 0.5]}]}"#;
    text.replace("ROWS", &rows.to_string()).into_bytes()
}

fn reader(store: &Arc<Store>) -> MonitorReader {
    MonitorReader::new(Arc::clone(store))
}

/// A champion, and a version on trial beside it.
struct Pair {
    _dir: tempfile::TempDir,
    versions: Versions,
    store: Arc<Store>,
    references: References,
    champion: Arc<VersionMonitor>,
    trial: Arc<VersionMonitor>,
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let versions = Versions::of(Vec::new(), 1 << 20, 1);
        let version = |name: &str, champion: Option<&str>| {
            let kind = TargetKind::Version(ModelName::new("m"), VersionName::new(name));
            let version = versions.version(&kind).expect("it is monitored");
            version.describe(About { champion: champion.map(key), ..About::default() });
            version
        };
        let (champion, trial) = (version("v1", None), version("v2", Some("v1")));
        let references = References::new(dir.path());
        Self {
            _dir: dir,
            versions,
            store: Arc::new(Store::new(u64::MAX)),
            references,
            champion,
            trial,
        }
    }

    fn settle(&mut self) {
        self.references.settle(&self.versions, &self.store);
    }

    fn standing(&self, version: &str) -> Standing {
        reader(&self.store).standing(&key(version)).expect("it is known")
    }

    /// The rows of the baseline of the version on trial, and whose it is.
    fn borrowed(&self) -> (u64, Option<VersionKey>) {
        match self.standing("v2") {
            Standing::Ready { baseline, of } => (baseline.rows, of),
            standing => panic!("{}", standing.as_str()),
        }
    }
}

#[test]
fn a_version_on_trial_loses_no_count_while_its_champion_has_no_baseline() {
    let mut pair = Pair::new();
    for _tick in 0..60 {
        pair.settle();
        let observation = Observation {
            minute: Minute(1000),
            outcome: Outcome::Ok,
            status: 200,
            rows: None,
            input: None,
            latency: &Latency::default(),
        };
        pair.trial.record(0, &observation, None);
    }
    assert_eq!(pair.standing("v1").as_str(), "learning");
    assert_eq!(pair.standing("v2").as_str(), "absent");
    let (mut shards, mut failed) = (0, 0);
    pair.trial.take(Minute(1001), |shard| {
        shards += 1;
        let mut counts = WindowCounts::default();
        counts.traffic.add_recorded(&shard.traffic);
        failed += counts.traffic.exchanges();
    });
    assert_eq!((shards, failed, pair.versions.room.lost()), (1, 60, 0));
}

#[test]
fn a_baseline_that_is_refused_is_read_and_told_once() {
    let mut pair = Pair::new();
    let path = pair.references.shelf.baseline(&key("v2"));
    crate::monitor::disk::write_whole(&path, b"{}").expect("it is written");
    pair.settle();
    assert_eq!(pair.standing("v2").as_str(), "refused");
    // Who reads it again says it again, ten times a second.
    fs::write(&path, String::from_utf8_lossy(&json(9)).replace("v1", "v2")).expect("a file");
    pair.settle();
    assert_eq!(pair.standing("v2").as_str(), "refused");
    // A champion that gets one does not take the place of what was refused.
    let champion = Arc::clone(&pair.champion);
    pair.references.adopt(&champion, &json(10_000), &pair.store).expect("it is sound");
    pair.settle();
    assert_eq!(pair.standing("v2").as_str(), "refused");
}

#[test]
fn who_borrows_a_baseline_follows_when_it_is_replaced_or_forgotten() {
    let mut pair = Pair::new();
    let champion = Arc::clone(&pair.champion);
    pair.settle();
    for rows in [20_000, 777] {
        pair.references.adopt(&champion, &json(rows), &pair.store).expect("it is sound");
        pair.settle();
        assert_eq!(pair.borrowed(), (rows, Some(key("v1"))));
        assert!(pair.trial.plan().is_some(), "and is counted by it");
    }
    pair.references.forget(&champion, &pair.store).expect("there is one");
    pair.settle();
    assert_eq!(pair.standing("v1").as_str(), "learning");
    assert_eq!(pair.standing("v2").as_str(), "absent");
    assert!(pair.trial.plan().is_none());
}

#[test]
fn a_version_of_which_only_the_name_is_known_learns_nothing() {
    let mut pair = Pair::new();
    let named = pair.versions.named("m", "v3").expect("it is monitored");
    pair.settle();
    assert!(reader(&pair.store).standing(&key("v3")).is_none());
    named.describe(About { champion: Some(key("v1")), ..About::default() });
    pair.settle();
    assert_eq!(pair.standing("v3").as_str(), "absent");
}
