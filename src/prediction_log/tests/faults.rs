//! A disk that fails, is full, or hangs: serving goes on, every loss is counted, and what was
//! acknowledged can be read.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::super::files::{FileSystem, LocalFiles, LockGuard, SegmentFile, Source, Space};
use super::super::*;
use super::sample::{assert_balanced, eventually, read, read_from, record, spec, wait};
use crate::domain::record::Omission;
use crate::domain::record::{Entry, GapReason, PredictionRecord};
use crate::domain::spec::{Durability, LogSpec};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Good,
    /// The call with this number fails once.
    FailOnce(u64),
    /// The call with this number and all later ones fail.
    FailFrom(u64),
    /// Writes take part of what they are given.
    Short,
    /// Writes and creations find no space.
    Full,
    /// Writes take part of what they are given, and then find no space.
    FullAfterPart,
    /// Syncs fail.
    NoSync,
    /// The next sync of a file fails.
    FailSyncOnce,
    /// Writes hang.
    Stalled,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    calls: u64,
    part_written: bool,
    /// What the file system is said to have, if not the truth.
    space: Option<Space>,
    /// Whether spare files are of use.
    spares: bool,
    /// Bytes that were read through handles for reading, by file.
    read: BTreeMap<PathBuf, u64>,
}

/// The real file system with a fault in it.
#[derive(Clone)]
pub(super) struct Faulty(Arc<(Mutex<State>, Condvar)>);

impl Faulty {
    pub(super) fn new(mode: Mode) -> Self {
        let state = State {
            mode,
            calls: 0,
            part_written: false,
            space: None,
            spares: false,
            read: BTreeMap::new(),
        };
        Self(Arc::new((Mutex::new(state), Condvar::new())))
    }

    pub(super) fn set(&self, mode: Mode) {
        let mut state = self.0.0.lock();
        state.mode = mode;
        state.part_written = false;
        self.0.1.notify_all();
    }

    /// Whether spare files are of use.
    pub(super) fn with_spares(self, spares: bool) -> Self {
        self.0.0.lock().spares = spares;
        self
    }

    /// Says how much is free, of twice as much.
    pub(super) fn set_space(&self, free: u64) {
        self.0.0.lock().space = Some(Space { free, total: free * 2 });
    }

    /// Bytes that were read of each file through handles for reading.
    pub(super) fn read(&self) -> BTreeMap<PathBuf, u64> {
        self.0.0.lock().read.clone()
    }

    fn calls(&self) -> u64 {
        self.0.0.lock().calls
    }

    /// Counts a call and fails it if its turn has come.
    fn call(&self) -> io::Result<()> {
        let mut state = self.0.0.lock();
        state.calls += 1;
        let fails = match state.mode {
            Mode::FailOnce(number) => state.calls == number,
            Mode::FailFrom(number) => state.calls >= number,
            _ => false,
        };
        if fails { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    fn no_space(&self) -> io::Result<()> {
        match self.0.0.lock().mode {
            Mode::Full | Mode::FullAfterPart => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn file(&self, file: Box<dyn SegmentFile>) -> Box<dyn SegmentFile> {
        Box::new(FaultyFile { file, faults: self.clone() })
    }
}

struct FaultyFile {
    file: Box<dyn SegmentFile>,
    faults: Faulty,
}

struct CountedSource {
    source: Box<dyn Source>,
    faults: Faulty,
    path: PathBuf,
}

impl Source for CountedSource {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.source.read_at(buffer, offset)?;
        *self.faults.0.0.lock().read.entry(self.path.clone()).or_default() += read as u64;
        Ok(read)
    }

    fn size(&self) -> io::Result<u64> {
        self.source.size()
    }
}

impl Source for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
}

impl SegmentFile for FaultyFile {
    fn write_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.faults.call()?;
        let mut state = self.faults.0.0.lock();
        while state.mode == Mode::Stalled {
            self.faults.0.1.wait(&mut state);
        }
        let part = match state.mode {
            Mode::Short => true,
            Mode::FullAfterPart => !std::mem::replace(&mut state.part_written, true),
            _ => false,
        };
        if !part {
            drop(state);
            self.faults.no_space()?;
            return self.file.write_at(pieces, offset);
        }
        let first = &pieces[0];
        self.file.write_at(&[IoSlice::new(&first[..first.len().div_ceil(3)])], offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.call()?;
        let mut state = self.faults.0.0.lock();
        if matches!(state.mode, Mode::NoSync | Mode::FailSyncOnce) {
            if state.mode == Mode::FailSyncOnce {
                state.mode = Mode::Good;
            }
            return Err(io::Error::from_raw_os_error(5));
        }
        drop(state);
        self.file.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.call()?;
        self.file.set_len(len)
    }

    fn duplicate(&self) -> io::Result<Box<dyn SegmentFile>> {
        Ok(self.faults.file(self.file.duplicate()?))
    }
}

impl FileSystem for Faulty {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        LocalFiles.create_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<LockGuard> {
        self.call()?;
        LocalFiles.lock(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        self.call()?;
        LocalFiles.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        self.call()?;
        self.no_space()?;
        Ok(self.file(LocalFiles.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        self.call()?;
        Ok(self.file(LocalFiles.open(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Source>> {
        self.call()?;
        let (source, faults, path) = (LocalFiles.open_read(path)?, self.clone(), path.to_owned());
        Ok(Box::new(CountedSource { source, faults, path }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call()?;
        LocalFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        LocalFiles.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call()?;
        LocalFiles.sync_dir(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.0.0.lock().space.map_or_else(|| LocalFiles.space(dir), Ok)
    }

    fn overwrites_in_place(&self, _: &Path) -> io::Result<bool> {
        Ok(self.0.0.lock().spares)
    }
}

pub(super) fn open(faults: &Faulty, dir: &Path, spec: &LogSpec) -> Result<Recorder, OpenError> {
    Recorder::open_with(Arc::new(faults.clone()), dir, "n1", 1, spec)
}

/// Offers 40 records one by one and checks every promise at the end; returns how many were
/// acknowledged, unless the log could not even be opened.
fn run(faults: &Faulty, dir: &Path, durability: Durability) -> Option<usize> {
    let recorder = open(faults, dir, &spec(durability)).ok()?;
    let mut acknowledged = Vec::new();
    for number in 1..=40 {
        let offer = recorder.offer(0, &record(number, &[6; 4000]));
        if matches!(offer, Offer::Queued(_)) && wait(&recorder, offer).is_ok() {
            acknowledged.push(number);
        }
    }
    let stats = recorder.close();
    assert_balanced(&stats);
    assert_eq!(stats.written, acknowledged.len() as u64);
    assert_eq!((stats.queue_records, stats.queue_bytes), (0, 0));
    let contents = read(dir);
    let found: Vec<_> = contents.records.iter().map(|record| record.1).collect();
    assert!(found.is_sorted_by(|a, b| a < b), "in order, none twice: {found:?}");
    for number in &acknowledged {
        assert!(found.contains(number), "{number} was acknowledged; found {found:?}");
    }
    for gap in &contents.gaps {
        assert!(gap.lsns.is_none() || found.len() < 40, "{gap:?}");
    }
    Some(acknowledged.len())
}

/// Opens a log again and records once more, whatever is there.
fn go_on(dir: &Path, durability: Durability) {
    let before = if dir.exists() { read(dir).records } else { Vec::new() };
    let recorder = open(&Faulty::new(Mode::Good), dir, &spec(durability)).expect("open");
    assert_eq!(wait(&recorder, recorder.offer(0, &record(1000, b"later"))), Ok(()));
    recorder.close();
    let after = read(dir).records;
    assert_eq!(after[..after.len() - 1], before);
    assert_eq!(after.last().map(|last| last.1), Some(1000));
}

#[test]
fn any_single_failed_call_costs_nothing_that_was_acknowledged() {
    let cases = [(Durability::Os, false), (Durability::Sync, false), (Durability::Sync, true)];
    for (durability, spares) in cases {
        let clean = Faulty::new(Mode::Good).with_spares(spares);
        run(&clean, tempfile::tempdir().expect("a directory").path(), durability);
        assert!(clean.calls() > 50);
        for call in 1..=clean.calls() {
            let dir = tempfile::tempdir().expect("a directory");
            let faults = Faulty::new(Mode::FailOnce(call)).with_spares(spares);
            let acknowledged = run(&faults, dir.path(), durability);
            assert!(acknowledged.is_none_or(|records| records == 40), "appended again: {call}");
            go_on(dir.path(), durability);
        }
    }
}

#[test]
fn a_disk_that_fails_for_good_loses_only_what_was_not_acknowledged() {
    for call in (1..60).step_by(3) {
        let dir = tempfile::tempdir().expect("a directory");
        run(&Faulty::new(Mode::FailFrom(call)), dir.path(), Durability::Os);
        go_on(dir.path(), Durability::Os);
    }
}

#[test]
fn one_failed_write_or_sync_is_appended_again_to_a_fresh_segment() {
    let dir = tempfile::tempdir().expect("a directory");
    let faults = Faulty::new(Mode::Good);
    let recorder = open(&faults, dir.path(), &spec(Durability::Sync)).expect("open");
    assert_eq!(wait(&recorder, recorder.offer(0, &record(1, b"one"))), Ok(()));
    // The write succeeds, the sync after it fails.
    faults.set(Mode::FailOnce(faults.calls() + 2));
    assert_eq!(wait(&recorder, recorder.offer(0, &record(2, b"two"))), Ok(()));
    let stats = recorder.close();
    assert_eq!((stats.written, stats.write_errors, stats.segments), (2, 1, 2));
    assert!(stats.healthy && stats.last_error.is_some(), "{stats:?}");
    let contents = read(dir.path());
    assert_eq!(contents.records, [(1, 1), (2, 2)], "the record of both segments is read once");
    assert_eq!(contents.gaps, []);
}

#[test]
fn short_writes_are_completed() {
    let dir = tempfile::tempdir().expect("a directory");
    run(&Faulty::new(Mode::Short), dir.path(), Durability::Os);
    let contents = read(dir.path());
    assert_eq!((contents.records.len(), contents.gaps), (40, Vec::new()));
}

#[test]
fn a_full_disk_is_told_to_those_who_wait_and_passes() {
    for full in [Mode::Full, Mode::FullAfterPart] {
        let dir = tempfile::tempdir().expect("a directory");
        let faults = Faulty::new(Mode::Good);
        let recorder = open(&faults, dir.path(), &spec(Durability::Os)).expect("open");
        assert_eq!(wait(&recorder, recorder.offer(0, &record(1, b"before"))), Ok(()));
        faults.set(full);
        for number in 2..=5 {
            assert_eq!(wait(&recorder, recorder.offer(0, &record(number, b"full"))), Err(Lost));
        }
        let stats = recorder.stats();
        assert_balanced(&stats);
        assert_eq!(stats.dropped.of(DropReason::NoSpace), 4);
        assert!(!stats.healthy);
        assert!(stats.last_error.is_some_and(|error| error.contains("no storage space")));
        faults.set(Mode::Good);
        let mut number = 5;
        eventually("the log is written again", || {
            number += 1;
            wait(&recorder, recorder.offer(0, &record(number, b"after"))).is_ok()
        });
        let stats = recorder.close();
        assert!(stats.healthy);
        assert_balanced(&stats);
        let contents = read(dir.path());
        let found: Vec<_> = contents.records.iter().map(|record| record.1).collect();
        assert_eq!(found, [1, number]);
        let [gap] = contents.gaps.as_slice() else { panic!("{:?}", contents.gaps) };
        assert_eq!((gap.reason, &gap.lsns), (GapReason::Missing, &Some(2..=number - 1)));
        let said = (GapReason::NoSpace, Some((2, number - 1)), number - 2);
        assert_eq!(contents.gap_rows, [said], "the log itself says what it lacks");
    }
}

#[test]
fn async_holds_records_through_a_short_outage() {
    let dir = tempfile::tempdir().expect("a directory");
    let faults = Faulty::new(Mode::Good);
    let recorder = open(&faults, dir.path(), &spec(Durability::Async)).expect("open");
    faults.set(Mode::Full);
    for number in 1..=20 {
        assert!(matches!(recorder.offer(0, &record(number, b"held")), Offer::Queued(_)));
    }
    eventually("the failure shows", || !recorder.stats().healthy);
    assert_eq!(recorder.stats().queue_records, 20);
    faults.set(Mode::Good);
    eventually("all are written", || recorder.stats().written == 20);
    let stats = recorder.close();
    assert_eq!((stats.dropped.total(), stats.healthy), (0, true));
    assert_eq!(read(dir.path()).records.len(), 20);
}

#[test]
fn async_fills_the_queue_in_an_outage_and_blames_the_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let faults = Faulty::new(Mode::Good);
    let recorder = open(&faults, dir.path(), &spec(Durability::Async)).expect("open");
    faults.set(Mode::Full);
    recorder.offer(0, &record(0, b""));
    eventually("the failure shows", || !recorder.stats().healthy);
    for number in 1..=10_000 {
        recorder.offer(0, &record(number, &[7; 1000]));
    }
    let stats = recorder.close();
    assert_balanced(&stats);
    assert_eq!(stats.written, 0);
    assert_eq!(stats.dropped.of(DropReason::NoSpace), 10_001);
    assert_eq!(stats.queue_bytes, 0);
}

#[test]
fn a_disk_that_hangs_fills_the_queue_to_its_limit_and_no_further() {
    let dir = tempfile::tempdir().expect("a directory");
    let faults = Faulty::new(Mode::Good);
    let limit = 256 * 1024;
    let spec = LogSpec { queue: limit, ..spec(Durability::Async) };
    let recorder = open(&faults, dir.path(), &spec).expect("open");
    faults.set(Mode::Stalled);
    let (mut whole, mut dropped) = (0, 0);
    for number in 1..=2000 {
        match recorder.offer(0, &record(number, &[8; 1000])) {
            Offer::Queued(_) => whole += 1,
            Offer::Dropped(reason) => {
                assert_eq!(reason, DropReason::QueueFull);
                dropped += 1;
            }
            Offer::Off => panic!("it is on"),
        }
        assert!(recorder.stats().queue_bytes <= limit as u64);
    }
    let stats = recorder.stats();
    assert_balanced(&stats);
    assert_eq!((stats.queue_records, stats.dropped.total()), (whole, dropped));
    assert!(stats.omitted.total() > 0 && dropped > 0, "{stats:?}");
    faults.set(Mode::Good);
    assert_eq!(recorder.close().written, whole);
    // Bodies went first, and say so.
    let mut reader = LogReader::open(dir.path()).expect("a log");
    let (mut shed, mut said) = (0, 0);
    while let Some(Item::Row(row)) = reader.next_item().expect("readable") {
        if let Entry::Gap(gap) = &row.entry {
            assert_eq!((gap.reason, gap.lsns), (GapReason::QueueFull, None));
            said += gap.records;
            continue;
        }
        let Entry::Prediction(record) = &row.entry else { panic!("no prediction: {row:?}") };
        let request = &record.request;
        assert_eq!(request.bytes, 1000);
        assert_eq!(request.body.is_empty(), request.omission == Some(Omission::Pressure));
        shed += u64::from(request.body.is_empty());
    }
    // Both sides of these records had a body.
    assert_eq!(2 * shed, stats.omitted.of(Omission::Pressure));
    assert_eq!(said, dropped, "the log itself says what it lacks");
}

#[test]
fn a_background_sync_comes_without_being_asked_for() {
    for durability in [Durability::Async, Durability::Os] {
        let dir = tempfile::tempdir().expect("a directory");
        let recorder = open(&Faulty::new(Mode::Good), dir.path(), &spec(durability)).expect("open");
        let progress = recorder.progress();
        for number in 1..=100 {
            let offer = recorder.offer(0, &record(number, &[1; 2000]));
            assert_eq!(wait(&recorder, offer), Ok(()));
            assert_eq!(progress.written(), number);
        }
        eventually("all are on the disk", || recorder.stats().durable_lsn == 100);
        let closed = progress.wait_closed(0, Duration::from_secs(30));
        assert!(closed > 0 && closed < 100, "segments that are full: {closed}");
        recorder.close();
        assert!(progress.has_ended());
        assert_eq!(progress.closed(), 100);
    }
}

#[test]
fn a_segment_that_cannot_be_synced_is_copied_and_not_synced_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let faults = Faulty::new(Mode::Good);
    let slow = LogSpec { sync_interval: Duration::from_millis(50), ..spec(Durability::Os) };
    let recorder = open(&faults, dir.path(), &slow).expect("open");
    let mut follower = LogReader::open(dir.path()).expect("a log");
    faults.set(Mode::FailSyncOnce);
    let mut seen = Vec::new();
    for number in 1..=30 {
        assert_eq!(wait(&recorder, recorder.offer(0, &record(number, &[1; 500]))), Ok(()));
        seen.extend(read_from(&mut follower).records.into_iter().map(|record| record.1));
    }
    eventually("the records are copied", || recorder.stats().rescued > 0);
    eventually("all are on the disk", || recorder.stats().durable_lsn == 30);
    for number in 31..=40 {
        assert_eq!(wait(&recorder, recorder.offer(0, &record(number, &[1; 500]))), Ok(()));
    }
    let stats = recorder.close();
    assert_eq!((stats.written, stats.not_rescued, stats.write_errors), (40, 0, 1), "{stats:?}");
    seen.extend(read_from(&mut follower).records.into_iter().map(|record| record.1));
    let all: Vec<_> = (1..=40).collect();
    assert_eq!(seen, all, "a follower passes from the old file to the copy");
    let contents = read(dir.path());
    assert_eq!(contents.records.iter().map(|record| record.1).collect::<Vec<_>>(), all);
    assert_eq!(contents.gaps, []);
}

#[test]
fn one_group_holds_records_of_all_modes_and_each_gets_what_it_was_promised() {
    let dir = tempfile::tempdir().expect("a directory");
    let faults = Faulty::new(Mode::Good);
    let recorder = open(&faults, dir.path(), &spec(Durability::Async)).expect("open");
    let offer = |number: u64, durability| {
        recorder.offer(0, &PredictionRecord { durability: Some(durability), ..record(number, b"") })
    };
    // Nothing can be synced: those who wait for the write are told all the same.
    faults.set(Mode::NoSync);
    let offers =
        [offer(1, Durability::Async), offer(2, Durability::Os), offer(3, Durability::Sync)];
    assert_eq!(wait(&recorder, offers[1]), Ok(()));
    assert_eq!(wait(&recorder, offers[2]), Err(Lost));
    assert_eq!(wait(&recorder, offers[0]), Ok(()));
    faults.set(Mode::Good);
    assert_eq!(offer(4, Durability::Off), Offer::Off);
    eventually("the log is written again", || wait(&recorder, offer(5, Durability::Sync)).is_ok());
    let stats = recorder.close();
    assert_balanced(&stats);
    let found = read(dir.path()).records;
    let found: Vec<_> = found.iter().map(|record| record.1).collect();
    assert!(found.starts_with(&[1, 2]) && found.ends_with(&[5]), "{found:?}");
}

#[test]
fn what_nobody_waits_for_is_held_while_what_clients_wait_for_is_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let faults = Faulty::new(Mode::Good);
    let recorder = open(&faults, dir.path(), &spec(Durability::Async)).expect("open");
    faults.set(Mode::Full);
    let mut lost = 0;
    for number in 1..=60 {
        let durability = [Durability::Async, Durability::Os, Durability::Sync][number as usize % 3];
        let record = PredictionRecord { durability: Some(durability), ..record(number, &[1; 50]) };
        let offer = recorder.offer(0, &record);
        if durability.waits() {
            assert_eq!(wait(&recorder, offer), Err(Lost));
            lost += 1;
        }
    }
    assert!(!recorder.has_room(), "no exchange with a promise should start");
    let stats = recorder.stats();
    assert_balanced(&stats);
    assert_eq!((stats.queue_records, stats.dropped.of(DropReason::NoSpace)), (20, lost));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    std::thread::scope(|scope| {
        let room = scope.spawn(|| runtime.block_on(recorder.room()));
        faults.set(Mode::Good);
        room.join().expect("room");
    });
    eventually("the held ones are written", || recorder.stats().written == 20);
    assert!(recorder.has_room());
    let stats = recorder.close();
    assert_balanced(&stats);
    assert_eq!((stats.queue_bytes, stats.queue_records), (0, 0));
    let contents = read(dir.path());
    let numbers: Vec<_> = contents.records.iter().map(|record| record.1).collect();
    assert_eq!(numbers, (1..=20).map(|n| 3 * n).collect::<Vec<_>>());
    let said: u64 = contents.gap_rows.iter().map(|row| row.2).sum();
    assert_eq!(said, lost);
}

#[test]
fn nobody_is_told_before_the_record_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    for (durability, stuck) in [(Durability::Os, Mode::Stalled), (Durability::Sync, Mode::NoSync)] {
        let faults = Faulty::new(Mode::Good);
        let log = dir.path().join(durability.as_str());
        let recorder = open(&faults, &log, &spec(durability)).expect("open");
        faults.set(stuck);
        let offer = recorder.offer(0, &record(1, b""));
        let Offer::Queued(ticket) = offer else { panic!("{offer:?}") };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let waited = runtime.block_on(async {
            let wait = recorder.written(ticket);
            tokio::time::timeout(Duration::from_millis(50), wait).await
        });
        match stuck {
            Mode::NoSync => assert_eq!(waited, Ok(Err(Lost))),
            _ => assert!(waited.is_err(), "still waiting"),
        }
        faults.set(Mode::Good);
        recorder.close();
    }
}
