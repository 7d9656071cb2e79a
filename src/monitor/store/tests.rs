//! What stays where the memory is too small.

use super::*;
use crate::domain::record::{Latency, Outcome};
use crate::domain::stats::window::TrafficRecorder;

const DAY: u32 = 24 * 60;

fn key(model: &str) -> VersionKey {
    VersionKey { model: ModelName::new(model), version: VersionName::new("v1") }
}

fn counts() -> WindowCounts {
    let mut recorder = TrafficRecorder::default();
    recorder.record(Outcome::Ok, None, &Latency::default());
    let mut counts = WindowCounts::default();
    counts.traffic.add_recorded(&recorder);
    counts
}

/// A month of two models, in a memory of so many thousandths of what that takes.
fn month(thousandths: usize) -> (Arc<Store>, Minute) {
    let open = Minute(DAY * 1000 - 7);
    let mut store = Store::new(u64::MAX);
    for minute in
        (open.0 - 31 * DAY..open.0).filter(|minute| minute % 30 == 0 || *minute + 61 > open.0)
    {
        store.add(&key("big"), Minute(minute), &counts());
        store.add(&key("small"), Minute(minute), &counts());
    }
    store.close(open);
    let bytes = store.kept.lock().bytes;
    store.memory_max = bytes * thousandths / 1000;
    (Arc::new(store), open)
}

#[test]
fn minutes_hours_and_days_reach_back_by_the_same_part_of_their_time() {
    let (store, _) = month(500);
    let shed = store.shed(|_, _| true);
    assert!(shed.windows > 50 && shed.bytes <= shed.bytes_max, "{shed:?}");
    let reader = MonitorReader::new(store);
    for model in ["big", "small"] {
        for length in WindowLength::ALL {
            let kept = reader.windows(&key(model), length).len();
            let all = KEPT[length as usize];
            assert!((all * 2 / 5..=all * 3 / 5).contains(&kept), "{model}: {kept} of {all}");
        }
    }
    assert_eq!(reader.stats().forgotten, shed.windows);
}

#[test]
fn the_last_minutes_and_what_is_being_filled_stay_whatever_the_memory() {
    let (store, open) = month(0);
    let shed = store.shed(|_, _| true);
    assert!(shed.bytes > shed.bytes_max, "{shed:?}");
    let reader = MonitorReader::new(Arc::clone(&store));
    for model in ["big", "small"] {
        let minutes = reader.windows(&key(model), WindowLength::Minute);
        let starts: Vec<u32> = minutes.iter().map(|window| open.0 - window.start.0).collect();
        assert_eq!(starts, (1..=YOUNG).rev().collect::<Vec<_>>());
        assert!(reader.has_all_since(WindowLength::Minute, Minute(open.0 - YOUNG)));
        assert!(!reader.has_all_since(WindowLength::Minute, Minute(open.0 - YOUNG - 1)));
        for length in [WindowLength::Hour, WindowLength::Day] {
            assert!(reader.has_all_since(length, length.start_of(open)));
            assert!(!reader.has_all_since(length, Minute(open.0 - 31 * DAY)));
            assert!(reader.windows(&key(model), length).is_empty());
            assert!(reader.filling(&key(model), length).is_some());
        }
    }
}

#[test]
fn a_window_that_is_not_written_is_not_forgotten() {
    let (store, _) = month(0);
    assert_eq!(store.shed(|_, _| false).windows, 0);
    let (hours, _) = month(0);
    hours.shed(|length, _| length != WindowLength::Hour);
    let reader = MonitorReader::new(hours);
    assert_eq!(reader.windows(&key("big"), WindowLength::Hour).len(), 24);
    assert!(reader.windows(&key("big"), WindowLength::Day).is_empty());
}
