//! What is on disk when the process is killed: everything that was counted before the last minute was closed.

use super::*;
use crate::domain::record::{Latency, Outcome};
use crate::monitor::Observation;

/// A thread that is not run: the tests are its clock.
struct Bench {
    dir: tempfile::TempDir,
    versions: Arc<Versions>,
    store: Arc<Store>,
    gatherer: Gatherer,
    first: Minute,
}

impl Bench {
    fn new(memory: u64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let versions = Arc::new(Versions::of(Vec::new(), 1 << 20, 1));
        let store = Arc::new(Store::new(memory));
        let places = Places { data_dir: dir.path().to_owned(), log: None };
        let parts = (Arc::clone(&versions), Arc::clone(&store));
        let mut gatherer = Gatherer::new(parts.0, parts.1, places, Budget::new(0.1), Vec::new());
        gatherer.resume();
        let first = gatherer.open;
        Self { dir, versions, store, gatherer, first }
    }

    fn record(&self, minute: Minute, count: u32) {
        let version = self.versions.named("m", "v1").expect("it is monitored");
        for _ in 0..count {
            let observation = Observation {
                minute,
                outcome: Outcome::Ok,
                status: 200,
                rows: None,
                input: None,
                latency: &Latency::default(),
            };
            version.record(0, &observation, None);
        }
    }

    /// What a process after this one finds: the exchanges of all windows of a length.
    fn found(&self, length: WindowLength) -> u64 {
        let store = Arc::new(Store::new(u64::MAX));
        let places = Places { data_dir: self.dir.path().to_owned(), log: None };
        let mut disk = Disk::open(&places.state()).expect("the directory");
        disk.load(&store).expect("something was kept");
        let windows = store.from(length, Minute(0));
        windows.iter().map(|(_, window)| window.counts.traffic.exchanges()).sum()
    }
}

/// So many seconds after the end of a minute.
fn after(minute: Minute, seconds: u64) -> u64 {
    minute.plus(1).start_us() + seconds * 1_000_000
}

#[test]
fn a_memory_that_is_too_small_takes_no_count_from_the_disk_nor_the_last_minutes_from_rules() {
    let mut bench = Bench::new(1);
    for minute in (0..25).map(|at| bench.first.plus(at)) {
        bench.record(minute, 5);
        bench.gatherer.tick(after(minute, 3));
    }
    let reader = MonitorReader::new(Arc::clone(&bench.store));
    let key = reader.versions().first().cloned().expect("a version");
    let minutes = reader.windows(&key, WindowLength::Minute);
    assert_eq!(minutes.len(), 10);
    assert!(minutes.iter().all(|window| window.counts.traffic.exchanges() == 5));
    assert!(reader.stats().forgotten >= 15);
    for length in WindowLength::ALL {
        assert_eq!(bench.found(length), 125, "{}", length.as_str());
    }
}

#[test]
fn what_is_told_late_is_on_disk_a_second_later() {
    let mut bench = Bench::new(u64::MAX);
    let minute = bench.first;
    bench.record(minute, 5);
    bench.gatherer.tick(after(minute, 3));
    assert_eq!(bench.found(WindowLength::Minute), 5);
    // A worker stood still.
    bench.record(minute, 2);
    bench.gatherer.tick(after(minute, 5));
    assert_eq!(bench.found(WindowLength::Minute), 7);
    let reader = MonitorReader::new(Arc::clone(&bench.store));
    let key = reader.versions().first().cloned().expect("a version");
    let window = reader.window(&key, WindowLength::Minute, minute).expect("it is closed");
    assert_eq!(window.counts.traffic.exchanges(), 7);
}
