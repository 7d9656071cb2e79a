//! What a look leaves out: minutes in which the gateway was down, and versions that were replaced.

use std::collections::BTreeMap;

use super::*;
use crate::domain::ids::{Permille, VersionName};
use crate::domain::record::{Latency, Outcome};
use crate::domain::spec::{BackendsSpec, Intent, ModelSpec, VersionSpec, examples};
use crate::domain::stats::baseline::Origin;
use crate::domain::stats::drift::Policy;
use crate::domain::stats::drift::docket::{Docket, Judgement};
use crate::domain::stats::layout::{Role, Value};
use crate::domain::stats::window::TrafficRecorder;
use crate::monitor::alarms::{AlarmReader, Alarms};
use crate::monitor::store::Store;

const BASELINE: &str = r#"{"format": 1, "model": "m", "version": "v1", "n": 50000,
    "features": [{"name": "x", "kind": "categorical", "values": ["a", "b"], "mass": [0.5, 0.5], "other": 0.0}],
    "outputs": [{"name": "y", "kind": "categorical", "values": ["a", "b"], "mass": [0.5, 0.5], "other": 0.0}]}"#;

fn key(version: &str) -> VersionKey {
    VersionKey { model: ModelName::new("m"), version: VersionName::new(version) }
}

/// One model with one version, everything else as it comes.
fn intent() -> Intent {
    let versions =
        BTreeMap::from([(VersionName::new("v1"), VersionSpec::Backends(BackendsSpec::default()))]);
    let model = ModelSpec {
        versions,
        traffic: BTreeMap::from([(VersionName::new("v1"), Permille::ALL)]),
        ..examples::model()
    };
    Intent { models: BTreeMap::from([(ModelName::new("m"), model)]), ..examples::intent() }
}

struct Bench {
    store: Arc<Store>,
    reader: MonitorReader,
    watch: AlarmWatch,
    alarms: AlarmReader,
}

impl Bench {
    fn new() -> Self {
        Self::remembering(u64::MAX)
    }

    /// With so many bytes for windows.
    fn remembering(memory: u64) -> Self {
        let store = Arc::new(Store::new(memory));
        let reader = MonitorReader::new(Arc::clone(&store));
        let quality = QualityReader::without_labels(reader.clone());
        let (watch, alarms) = Alarms::rehearse(&intent(), quality);
        Self { store, reader, watch, alarms }
    }

    /// Adds requests, and closes their minute at `open`.
    fn minute(&mut self, at: Minute, open: Minute, requests: &[(&str, u32)]) {
        for (version, requests) in requests {
            let mut recorder = TrafficRecorder::default();
            (0..*requests).for_each(|_| recorder.record(Outcome::Ok, None, &Latency::default()));
            let mut counts = WindowCounts::default();
            counts.traffic.add_recorded(&recorder);
            self.store.add(&key(version), at, &counts);
        }
        self.store.close(open);
        self.watch.closed(at, &self.reader);
    }

    fn active(&self) -> Vec<(String, AlarmKind)> {
        self.alarms.active().into_iter().map(|(key, _)| (key.version, key.alarm)).collect()
    }
}

#[test]
fn a_planned_stop_is_no_silence_and_no_part_of_what_is_usual() {
    let mut bench = Bench::new();
    let now = Minute::of_us(unix_us());
    let stopped = Minute(now.0 - 30);
    for at in (0..240).rev() {
        let minute = Minute(stopped.0 - 1 - at);
        bench.minute(minute, minute.plus(1), &[("v1", 20)]);
    }
    let before = bench.watch.ledger.with_history("m", |history| history.clone());
    // Another process: minutes of the downtime are closed, then those in which it serves.
    bench.watch.resumed(&bench.reader);
    (stopped.0..=now.0).for_each(|at| bench.minute(Minute(at), now.plus(1), &[]));
    let after = bench.watch.ledger.with_history("m", |history| history.clone());
    assert_eq!(after, before, "minutes of the downtime are no looks");
    for at in 1..5 {
        bench.minute(now.plus(at), now.plus(at + 1), &[("v1", 20)]);
        assert_eq!(bench.active(), []);
    }
    // Silence of a process that runs is still told.
    (5..22).for_each(|at| bench.minute(now.plus(at), now.plus(at + 1), &[]));
    assert_eq!(bench.active(), [(String::new(), AlarmKind::Silence)]);
}

#[test]
fn minutes_in_which_the_machine_slept_are_no_silence() {
    let mut bench = Bench::new();
    let first = Minute(600_000);
    let serve = |bench: &mut Bench, minutes: std::ops::Range<u32>, requests: u32| {
        for at in minutes.map(|at| first.plus(at)) {
            bench.minute(at, at.plus(1), &[("v1", requests)]);
        }
    };
    serve(&mut bench, 0..240, 20);
    let before = bench.watch.ledger.with_history("m", |history| history.clone());
    // It wakes up, and half an hour is closed at once. The same where the clock was set ahead.
    (240..270).for_each(|at| bench.minute(first.plus(at), first.plus(270), &[]));
    let after = bench.watch.ledger.with_history("m", |history| history.clone());
    assert_eq!((bench.active(), after), (Vec::new(), before));
    serve(&mut bench, 270..280, 20);
    assert_eq!(bench.active(), []);
    serve(&mut bench, 280..297, 0);
    assert_eq!(bench.active(), [(String::new(), AlarmKind::Silence)], "this is one");
}

#[test]
fn a_window_that_the_memory_does_not_reach_back_to_says_nothing_about_the_rate() {
    for (window, reaches) in [(10, true), (30, false)] {
        let mut bench = Bench::remembering(0);
        let rules = bench.watch.models.get_mut(&ModelName::new("m")).expect("it is watched");
        for (_, switched) in rules.all_mut().filter(|(kind, _)| *kind == AlarmKind::RequestRate) {
            switched.rule.window = window;
        }
        let first = Minute(600_000);
        for at in 0..150 {
            bench.minute(first.plus(at), first.plus(at + 1), &[("v1", 20)]);
            bench.store.shed(|_, _| true);
        }
        let now = u64::from(first.0) + 149;
        let usual = bench.watch.ledger.with_history("m", |history| history.usual(now));
        assert_eq!(usual.map(|usual| usual.trough), reaches.then_some(200), "{window} minutes");
    }
}

/// What is concluded of hours in which so many of a hundred values are the first one.
fn judged(share: u32) -> Judgement {
    judged_against(Origin::Data, share)
}

/// The same against a baseline of this origin.
fn judged_against(origin: Origin, share: u32) -> Judgement {
    let mut baseline = Baseline::from_json(BASELINE.as_bytes()).expect("a baseline");
    baseline.origin = origin;
    let baseline = Arc::new(baseline);
    let mut docket = Docket::new(Arc::clone(&baseline), Policy::default());
    let mut last = None;
    for hour in 0..6 {
        let mut values = Counts::new(Arc::clone(baseline.layout()));
        for row in 0..1000 {
            let value = Value::Text(if row % 100 < share { "a" } else { "b" });
            (0..2).for_each(|feature| values.record(feature, value));
        }
        let mut counts = WindowCounts::default();
        counts.add_values(&values);
        let start = Minute(600_000 + hour * 60);
        let window = Window { start, length: WindowLength::Hour, counts };
        last = docket.hear(&window, 1).or(last);
    }
    last.expect("there are enough")
}

#[test]
fn drift_against_own_traffic_is_noted_until_it_is_plain() {
    let of = |origin, share| values::drift(&judged_against(origin, share), Role::Input);
    assert!(matches!(of(Origin::Data, 65), Reading::Bad(_)));
    let Reading::Noted(evidence) = of(Origin::Own, 65) else { panic!("an index of about .09") };
    assert!(evidence.definition.ends_with("rows of its own traffic"), "{}", evidence.definition);
    assert!(matches!(of(Origin::Own, 95), Reading::Bad(_)), "an index beyond 1");
    let both = [("v1", of(Origin::Own, 65)), ("v2", of(Origin::Data, 65))];
    assert!(matches!(values::any_of(both.into_iter()), Reading::Bad(_)));
    assert!(matches!(values::any_of([("v1", of(Origin::Own, 65))].into_iter()), Reading::Noted(_)));
}

#[test]
fn drift_of_a_version_that_was_replaced_ends_and_hides_no_other() {
    let mut bench = Bench::new();
    let (drifted, sound) = (judged(95), judged(50));
    assert!(drifted.breaches() > 0 && sound.breaches() == 0);
    let first = Minute(600_000);
    bench.reader.judge(&key("v1"), drifted.clone());
    (0..5).map(|at| first.plus(at)).for_each(|at| bench.minute(at, at.plus(1), &[("v1", 20)]));
    let drift = |version: &str| (version.to_owned(), AlarmKind::Drift);
    assert_eq!(bench.active(), [drift(""), drift("v1")], "of inputs, and of outputs");
    // A night without traffic is no evidence.
    let night = first.plus(5 * 60);
    (0..5).map(|at| night.plus(at)).for_each(|at| bench.minute(at, at.plus(1), &[]));
    assert!(bench.active().contains(&drift("")) && bench.active().contains(&drift("v1")));
    // Another version takes all traffic, and its own baseline says that nothing has drifted.
    bench.reader.judge(&key("v2"), sound);
    let later = first.plus(6 * 60);
    (0..10).map(|at| later.plus(at)).for_each(|at| bench.minute(at, at.plus(1), &[("v2", 20)]));
    let active = bench.active();
    assert!(active.iter().all(|(_, alarm)| *alarm != AlarmKind::Drift), "{active:?}");
    // Then the inputs drift from that as well.
    bench.reader.judge(&key("v2"), drifted);
    let later = first.plus(7 * 60);
    (0..5).map(|at| later.plus(at)).for_each(|at| bench.minute(at, at.plus(1), &[("v2", 20)]));
    let active = bench.active();
    assert!(active.contains(&drift("")) && active.contains(&drift("v2")), "{active:?}");
    assert!(!active.contains(&drift("v1")), "{active:?}");
}
