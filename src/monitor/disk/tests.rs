use super::*;
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::record::{Latency, Outcome};
use crate::domain::stats::counts::Counts;
use crate::domain::stats::layout::{Edges, Feature, FeatureKind, Role, Value};
use crate::domain::stats::window::{TrafficRecorder, WindowCounts};
use crate::monitor::store::MonitorReader;

fn key(version: &str) -> VersionKey {
    VersionKey { model: ModelName::new("m"), version: VersionName::new(version) }
}

fn layout(features: usize) -> Arc<Layout> {
    let edges: Vec<f64> = (0..59).map(f64::from).collect();
    let feature = |at| {
        let edges = Edges::new(&edges, &[]).unwrap();
        Feature::new(format!("f{at}"), Role::Input, FeatureKind::Numeric(edges))
    };
    Arc::new(Layout::new((0..features).map(feature).collect()).unwrap())
}

/// Exchanges whose times and values follow from their number.
fn counts(layout: &Arc<Layout>, exchanges: u32) -> WindowCounts {
    let mut traffic = TrafficRecorder::default();
    let mut counts = Counts::new(Arc::clone(layout));
    for at in 0..exchanges {
        let latency = Latency { t_total: at * 37 + 5, t_ttfb: Some(at * 30), ..Latency::default() };
        traffic.record(Outcome::Ok, None, &latency);
        traffic.see();
        for feature in 0..layout.features().len() {
            counts.record(feature, Value::Number(f64::from(at % 61) - 0.5));
        }
    }
    let mut window = WindowCounts::default();
    window.traffic.add_recorded(&traffic);
    window.add_values(&counts);
    window
}

/// What a store has of every length: start, exchanges, and the slots of the first feature.
fn content(store: &Arc<Store>) -> Vec<(WindowLength, Minute, u64, Vec<u64>)> {
    let mut all = Vec::new();
    for length in WindowLength::ALL {
        for (_, window) in store.from(length, Minute(0)) {
            let slots = window.counts.values()[0].features()[0].slots().to_vec();
            all.push((length, window.start, window.counts.traffic.exchanges(), slots));
        }
    }
    all
}

fn new_store() -> Arc<Store> {
    Arc::new(Store::new(u64::MAX))
}

/// Three hours around midnight, and a restart after each part of them: nothing changes.
#[test]
fn whatever_was_closed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(2);
    let first = Minute(60 * 24 * 100 - 90);
    let reference = new_store();
    let mut store = new_store();
    let mut disk = Disk::open(dir.path()).unwrap();
    assert_eq!(disk.load(&store), None);
    disk.begin(Resume { lsn: 1, minute: Minute(first.0 - 1) }).unwrap();
    for at in 0..180 {
        let minute = first.plus(at);
        // Some minutes have no traffic.
        let touched: Vec<_> = (at % 7 != 3).then_some(minute).into_iter().collect();
        for minute in &touched {
            let counts = counts(&layout, at % 13 + 1);
            store.add(&key("v1"), *minute, &counts);
            reference.add(&key("v1"), *minute, &counts);
        }
        let open = minute.plus(1);
        reference.close(open);
        store.close(open);
        disk.close(&store, &touched, open, u64::from(at) + 2).unwrap();
        if at % 25 == 24 {
            store = new_store();
            disk = Disk::open(dir.path()).unwrap();
            let resume = disk.load(&store).unwrap();
            let last = if at % 7 == 3 { minute.0 - 1 } else { minute.0 };
            assert_eq!(resume.minute, Minute(last));
            store.close(open);
            assert_eq!(content(&store), content(&reference), "after minute {at}");
        }
    }
    assert_eq!(content(&store), content(&reference));
    let files = disk.files().len();
    assert!(files < 61 + 4 + 3, "{files} files are kept");
}

#[test]
fn open_minutes_are_kept_at_the_end_and_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(1);
    let store = new_store();
    let mut disk = Disk::open(dir.path()).unwrap();
    let (closed, open) = (Minute(1000), Minute(1001));
    store.add(&key("v1"), closed, &counts(&layout, 3));
    disk.close(&store, &[closed], open, 10).unwrap();
    store.add(&key("v1"), open, &counts(&layout, 4));
    disk.park(&store, open, 20).unwrap();

    // A restart finds both; a kill right after it, too.
    for _ in 0..2 {
        let store = new_store();
        let mut disk = Disk::open(dir.path()).unwrap();
        assert_eq!(disk.load(&store), Some(Resume { lsn: 20, minute: closed }));
        let days = store.from(WindowLength::Day, Minute(0));
        assert_eq!(days[0].1.counts.traffic.exchanges(), 7);
    }
    // Once the minute was closed, what was kept of it at the end is over.
    let store = new_store();
    let mut disk = Disk::open(dir.path()).unwrap();
    disk.load(&store);
    store.add(&key("v1"), open, &counts(&layout, 5));
    disk.close(&store, &[], open.plus(1), 30).unwrap();
    let store = new_store();
    assert_eq!(disk.load(&store), Some(Resume { lsn: 30, minute: open }));
    let days = store.from(WindowLength::Day, Minute(0));
    assert_eq!(days[0].1.counts.traffic.exchanges(), 12);
}

/// A stop within the two seconds after a full minute keeps two minutes; one of them is closed before a kill.
#[test]
fn of_two_open_minutes_one_may_be_closed_later() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(1);
    let store = new_store();
    let disk = Disk::open(dir.path()).unwrap();
    disk.begin(Resume { lsn: 1, minute: Minute(999) }).unwrap();
    for minute in [1000, 1001] {
        store.add(&key("v1"), Minute(minute), &counts(&layout, 3));
    }
    disk.park(&store, Minute(1000), 20).unwrap();

    let store = new_store();
    let mut disk = Disk::open(dir.path()).unwrap();
    disk.load(&store);
    disk.close(&store, &[], Minute(1001), 25).unwrap();
    let store = new_store();
    // What came after the stop is counted from the log again, the rest is there.
    assert_eq!(disk.load(&store), Some(Resume { lsn: 20, minute: Minute(1000) }));
    let days = store.from(WindowLength::Day, Minute(0));
    assert_eq!(days[0].1.counts.traffic.exchanges(), 6);
}

#[test]
fn a_damaged_file_is_left_out_and_the_rest_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(1);
    let store = new_store();
    let mut disk = Disk::open(dir.path()).unwrap();
    for minute in [1000, 1001] {
        store.add(&key("v1"), Minute(minute), &counts(&layout, 3));
        disk.close(&store, &[Minute(minute)], Minute(minute + 1), u64::from(minute)).unwrap();
    }
    fs::write(dir.path().join("minute-1001.win"), b"PMWINDOWS1 and then nothing").unwrap();
    let store = new_store();
    // The log is counted from the last minute that can be read.
    assert_eq!(disk.load(&store), Some(Resume { lsn: 1000, minute: Minute(1000) }));
    assert_eq!(store.from(WindowLength::Minute, Minute(0)).len(), 1);
}

#[test]
fn rates_are_remembered_minute_by_minute() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(dir.path()).unwrap();
    disk.note_rate(Minute(10), 2).unwrap();
    disk.note_rate(Minute(20), 1).unwrap();
    let disk = Disk::open(dir.path()).unwrap();
    let told = [9, 10, 19, 20, 500].map(|minute| disk.halvings(Minute(minute)));
    assert_eq!(told, [0, 2, 2, 1, 1]);
}

/// Five versions with twenty features, every ring full: what the manual says that they take.
#[test]
fn all_rings_of_five_versions_take_less_than_fifteen_mebibytes() {
    let layout = layout(20);
    let window = counts(&layout, 100);
    let store = new_store();
    for version in 0..5 {
        let key = key(&format!("v{version}"));
        for day in 0..31 {
            store.add_to(&key, WindowLength::Day, Minute(day * 1440), &window);
        }
        for hour in 0..25 {
            store.add_to(&key, WindowLength::Hour, Minute(30 * 1440 + hour * 60), &window);
        }
        for minute in 0..61 {
            store.add_to(&key, WindowLength::Minute, Minute(30 * 1440 + minute), &window);
        }
    }
    store.close(Minute(30 * 1440));
    let stats = MonitorReader::new(store).stats();
    assert_eq!(stats.windows, 5 * (31 + 25 + 61));
    let mib = stats.memory as f64 / f64::from(1 << 20);
    assert!((8.0..15.0).contains(&mib), "{mib:.1} MiB");
}
