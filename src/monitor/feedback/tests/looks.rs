//! What alarms read: only of predictions whose labels have had the time to come, and how far back the join reaches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::Mutex;

use super::*;
use crate::domain::ids::VersionName;
use crate::domain::stats::two_by_two::Tally;
use crate::domain::stats::window::Minute;
use crate::monitor::feedback::look::{Matured, matured};
use crate::monitor::feedback::{QualityReader, Shared};
use crate::monitor::store::Store as Windows;
use crate::monitor::{MonitorReader, VersionKey};

/// Ten predictions a minute, from second `from` to `to`. Errors are told within seconds, what was right half an hour
/// later, but no label comes after second `last`.
fn run(state: &mut State, from: u64, to: u64, last: u64) {
    let mut told: Vec<(u64, u64)> = (from.saturating_sub(3600)..to)
        .filter(|made| made % 6 == 0)
        .map(|made| (made + if made % 30 == 0 { 20 } else { 1790 }, made))
        .filter(|(at, _)| (from..to.min(last)).contains(at))
        .collect();
    told.sort_unstable();
    let mut told = told.into_iter().peekable();
    for now in from..to {
        if now % 6 == 0 {
            predict(state, &predicted(now, "a", &[0.5, 0.3, 0.2]));
        }
        while let Some((at, made)) = told.next_if(|(at, _)| *at <= now) {
            let truth = if made % 30 == 0 { "b" } else { "a" };
            let about = FeedbackTarget::Prediction(id(made));
            let record = FeedbackRecord { ts_us: NOON + at * SECOND, ..label(about, truth) };
            state.feedback(1_000_000 + made, &record, u64::MAX);
        }
    }
}

impl QualityReader {
    /// One that has seen the version `m/v1` for so many seconds: one in five predictions is an error, which is told at
    /// once; what was right is told half an hour later. Comes with the reader of a monitor that is as far.
    pub(crate) fn of_quick_errors(seconds: u64) -> (MonitorReader, Self) {
        let mut state = state_of(classes());
        run(&mut state, 0, seconds, u64::MAX);
        let shared = Shared {
            state: Mutex::new(state),
            position: AtomicU64::new(0),
            resumed_after: AtomicU64::new(0),
            known_since_ms: Arc::default(),
            caught_up: AtomicBool::new(true),
            ended: AtomicBool::new(false),
        };
        let windows = Arc::new(Windows::new(u64::MAX));
        windows.close(Minute::of_us(NOON + seconds * SECOND));
        let monitor = MonitorReader::new(windows);
        (monitor.clone(), Self { shared: Some(Arc::new(shared)), baselines: monitor })
    }
}

fn look(state: &State, now: u64) -> Matured {
    let key = VersionKey { model: ModelName::new("m"), version: VersionName::new("v1") };
    let open = Minute::of_us(NOON + now * SECOND);
    matured(state, &key, 60, Minute(open.0 - 1)).expect("labels come")
}

#[test]
fn quick_labels_that_are_mostly_errors_are_no_fall_of_the_quality() {
    let mut state = state_of(classes());
    let hours = 6 * 3600;
    run(&mut state, 0, hours, u64::MAX);
    // Of the last half hour all labels that are there are errors.
    let version = &state.models[0].versions[0];
    let mut young = Cell::new(&state.models[0].measure);
    let minutes = version.slice(0).expect("all").of(WindowLength::Minute);
    let since = Minute::of_us(NOON + (hours - 1740) * SECOND);
    minutes.filter(|(start, _)| *start >= since).for_each(|(_, cell)| young.merge(cell));
    let metrics = young.quality.metrics(&state.models[0].measure, ALPHA);
    let accuracy = |metrics: &[crate::domain::stats::quality::Metric]| {
        metrics.iter().find(|metric| metric.name == "accuracy").map(|it| (it.value, it.n))
    };
    assert_eq!(accuracy(&metrics).map(|(value, _)| value), Some(0.0));
    let found = look(&state, hours);
    assert_eq!(found.after, Duration::from_secs(1800));
    assert_eq!(accuracy(&found.metrics), Some((0.8, 600)));
    assert_eq!(found.labelled, Tally::new(600, 600));
    assert_eq!(found.labelled_before.share(), Some(1.0));
}

#[test]
fn labels_that_no_longer_come_are_missed_once_they_should_have_come() {
    let mut state = state_of(classes());
    let (hours, later) = (4 * 3600, 6 * 3600);
    run(&mut state, 0, hours, u64::MAX);
    run(&mut state, hours, later, hours);
    let found = look(&state, later);
    assert_eq!(found.labelled, Tally::new(0, 600));
    let before = found.labelled_before.share().expect("earlier ones");
    assert!(before > 0.5, "{before}");
}

#[test]
fn what_the_memory_does_not_hold_is_known_to_be_gone() {
    let spec = FeedbackSpec { memory: 1 << 20, ..FeedbackSpec::default() };
    let mut state = State::new([(ModelName::new("m"), classes())], &spec);
    (0..600).for_each(|n| predict(&mut state, &predicted(n, "a", &[0.5, 0.3, 0.2])));
    let first = Minute::of_us(NOON);
    assert_eq!((state.dropped, state.known_since(), state.reach()), (0, None, None));
    (600..6000).for_each(|n| predict(&mut state, &predicted(n, "a", &[0.5, 0.3, 0.2])));
    let since = state.known_since().expect("some are gone");
    assert!(since > first && state.dropped > 0);
    let reach = state.reach().expect("it is less than the window");
    assert!(reach > Duration::from_secs(60) && reach < Duration::from_secs(6000), "{reach:?}");
    // All since then are there.
    let held = 6000 - (since.start_us() - NOON) / SECOND;
    assert_eq!(state.store.len() as u64, held);
    // A checkpoint knows it, too.
    let dir = tempfile::tempdir().expect("a directory");
    let own = checkpoint(dir.path(), &state);
    own.write(&own.encode(&state.saved(9)).expect("bytes")).expect("written");
    let mut again = State::new([(ModelName::new("m"), classes())], &spec);
    again.restore(own.read(9).expect("good").expect("there"));
    assert_eq!(again.known_since(), Some(since));
}
