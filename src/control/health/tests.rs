use super::*;
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::lifecycle::health::{Health, Level};
use crate::domain::lifecycle::proof::{Found, Look};
use crate::domain::lifecycle::time::Wall;
use crate::domain::record::Latency;
use crate::domain::stats::confidence::Interval;
use crate::domain::stats::layout::Value;
use crate::domain::stats::window::TrafficRecorder;

const NOW: Now = Now { steady: Steady(10_000_000), wall: Wall(7_200_000) };

fn rules() -> Rules {
    let slow = Some((Duration::from_millis(50), 0.01));
    Rules::new(&GuardPolicy::default(), &AlarmRules::default(), slow)
}

/// A minute of responses: how many were good, failed, slow, and ended by the client.
fn minute(good: u64, failed: u64, slow: u64, cancelled: u64) -> Arc<WindowCounts> {
    let mut recorder = TrafficRecorder::default();
    let mut add = |count: u64, outcome: Outcome, us: u32| {
        let latency = Latency { t_total: us, t_infer: Some(us), ..Latency::default() };
        (0..count).for_each(|_| recorder.record(outcome, Some(1), &latency));
    };
    add(good, Outcome::Ok, 1_000);
    add(failed, Outcome::ModelError, 1_000);
    add(slow, Outcome::Ok, 80_000);
    add(cancelled, Outcome::ClientCancel, 1_000);
    let mut counts = WindowCounts::default();
    counts.traffic.add_recorded(&recorder);
    Arc::new(counts)
}

fn view(minutes: &[Arc<WindowCounts>]) -> View {
    let closed = |(start, counts): (u32, &Arc<WindowCounts>)| {
        let counts = WindowCounts::clone(counts);
        Arc::new(Closed { start: Minute(start), length: WindowLength::Minute, counts })
    };
    let minutes: Vec<_> = (100..).zip(minutes).map(closed).collect();
    let open = Minute(100 + u32::try_from(minutes.len()).expect("few"));
    View { minutes, open, ..View::default() }
}

fn told(minutes: &[Arc<WindowCounts>]) -> Vec<(Signal, Window)> {
    Feed::new(Minute(100)).windows(&view(minutes), &rules(), NOW)
}

fn level(windows: &[(Signal, Window)], signal: Signal) -> Option<Level> {
    let mut health = Health::default();
    windows.iter().for_each(|(signal, window)| health.observe(*signal, window));
    health.reading(signal).map(|reading| reading.level)
}

#[test]
fn errors_and_slow_responses_degrade_and_what_clients_end_does_not() {
    let good = vec![minute(990, 10, 2, 500); 8];
    assert_eq!(level(&told(&good), Signal::SloBurn), Some(Level::Healthy));
    let failing = vec![minute(900, 100, 0, 0); 3];
    assert_eq!(level(&told(&failing), Signal::SloBurn), Some(Level::Degraded));
    let slow = vec![minute(950, 0, 50, 0); 3];
    assert_eq!(level(&told(&slow), Signal::SloBurn), Some(Level::Degraded));
    let one = told(&[minute(500, 500, 0, 0)]);
    assert_eq!(level(&one, Signal::SloBurn), Some(Level::Degraded), "no chance in that");
    let detail = &one[0].1.detail;
    assert!(detail.starts_with("500 of 1000 failed, 0.05 may"), "{detail}");
}

#[test]
fn minutes_with_little_traffic_are_gathered_and_told_once() {
    let quiet = vec![minute(20, 0, 0, 0); 12];
    let windows = told(&quiet);
    let samples: Vec<u64> = windows.iter().map(|(_, window)| window.samples).collect();
    assert_eq!(samples, [100, 100]);
    // The fifth minute ended with minute 105, which was an hour and a quarter before now.
    let ago = NOW.wall.0 - 105 * 60_000;
    assert_eq!(windows[0].1.at, Steady(NOW.steady.0 - ago));
    let mut feed = Feed::new(Minute(100));
    assert_eq!(feed.windows(&view(&quiet), &rules(), NOW).len(), 2);
    assert_eq!(feed.windows(&view(&quiet), &rules(), NOW).len(), 0, "told already");
    assert_eq!(feed.next(), Minute(112));
    let hardly = told(&vec![minute(1, 0, 0, 0); 60]);
    assert_eq!((hardly.len(), hardly[0].1.bad), (1, None), "an hour with too little");
}

fn baseline() -> Arc<Baseline> {
    let json = br#"{"format":1,"model":"m","version":"v1","n":1000,
        "metrics":{"accuracy":{"value":0.9}},
        "outputs":[{"name":"p","kind":"numeric","edges":[0.5],"mass":[0.5,0.5]}]}"#;
    Arc::new(Baseline::from_json(json).expect("a baseline"))
}

#[test]
fn outputs_that_are_no_numbers_degrade() {
    let baseline = baseline();
    let outputs = |invalid: usize| {
        let mut values = Counts::new(Arc::clone(baseline.layout()));
        for at in 0..1000 {
            let number = if at < invalid { f64::NAN } else { 0.25 };
            values.record(0, Value::Number(number));
        }
        let mut counts = WindowCounts::clone(&minute(1000, 0, 0, 0));
        counts.add_values(&values);
        Arc::new(counts)
    };
    let level = |invalid: usize| {
        let view = View { baseline: Some(Arc::clone(&baseline)), ..view(&[outputs(invalid)]) };
        level(&Feed::new(Minute(100)).windows(&view, &rules(), NOW), Signal::InvalidOutput)
    };
    assert_eq!(level(0), Some(Level::Healthy));
    assert_eq!(level(1), Some(Level::Healthy), "one of a thousand is borne");
    assert_eq!(level(8), Some(Level::Suspect));
    assert_eq!(level(20), Some(Level::Degraded));
}

#[test]
fn labels_below_the_pipelines_own_measure_decide() {
    let accuracy = |value: f64| {
        let interval = Interval { lower: value - 0.01, upper: value + 0.01 };
        let interval = Some((IntervalKind::Sequence, interval));
        vec![Metric { name: "accuracy", value, n: 500, interval, beyond: None }]
    };
    let level = |quality: Vec<Metric>, floors: QualityFloors| {
        let view =
            View { baseline: Some(baseline()), quality, ..view(&vec![minute(0, 0, 0, 0); 6]) };
        let rules = Rules { floors, ..rules() };
        level(&Feed::new(Minute(100)).windows(&view, &rules, NOW), Signal::Labelled)
    };
    let none = QualityFloors::default();
    assert_eq!(level(accuracy(0.875), none), Some(Level::Healthy), "0.88 is wanted, 0.885 may be");
    assert_eq!(level(accuracy(0.85), none), Some(Level::Degraded));
    let set = QualityFloors { accuracy: Some(0.5), ..none };
    assert_eq!(level(accuracy(0.85), set), Some(Level::Healthy));
    assert_eq!(level(Vec::new(), none), None);
}

#[test]
fn quick_labels_that_are_mostly_errors_roll_nothing_back() {
    let key = VersionKey { model: ModelName::new("m"), version: VersionName::new("v1") };
    let floors = QualityFloors { accuracy: Some(0.7), ..QualityFloors::default() };
    let rules = Rules { floors, samples: 20, ..rules() };
    let told = |seconds: u64| {
        let (monitor, quality) = QualityReader::of_quick_errors(seconds);
        let view = View::read(&monitor, &quality, &key, &rules, Minute(0));
        let told = Feed::new(Minute(0)).windows(&view, &rules, NOW);
        told.into_iter().find(|(signal, _)| *signal == Signal::Labelled).map(|(_, window)| window)
    };
    // All that is labelled in the first half hour is an error; how late the others come is not known.
    assert_eq!(told(1700), None);
    let window = told(6 * 3600).expect("labels have had the time to come");
    assert_eq!(window.bad, Some(false));
    assert!(window.detail.starts_with("accuracy 0.8000 of "), "{}", window.detail);
}

#[test]
fn an_estimate_below_the_floor_only_supports() {
    let interval = Interval { lower: 0.6, upper: 0.7 };
    let estimate = Some((Estimate { value: 0.65, interval }, 400));
    let view = View { baseline: Some(baseline()), estimate, ..view(&vec![minute(0, 0, 0, 0); 6]) };
    let mut feed = Feed::new(Minute(100));
    let windows = feed.windows(&view, &rules(), NOW);
    let (signal, window) = windows.last().expect("a window");
    assert_eq!((*signal, window.bad, window.crossed), (Signal::Estimated, Some(true), false));
}

#[test]
fn a_look_that_fails_decides_at_once_and_one_at_nothing_says_nothing() {
    let look = |found, golden| Looked {
        look: Look { at: Steady(4), found, how: "golden answers: 3 of 9".to_owned() },
        golden,
    };
    assert_eq!(of_look(&look(Found::Nothing, false)), None);
    let (signal, window) = of_look(&look(Found::Unsound, true)).expect("a window");
    assert_eq!((signal, window.bad, window.crossed), (Signal::Golden, Some(true), true));
    let (signal, window) = of_look(&look(Found::Sound, false)).expect("a window");
    assert_eq!((signal, window.bad, window.crossed), (Signal::InvalidOutput, Some(false), false));
}
