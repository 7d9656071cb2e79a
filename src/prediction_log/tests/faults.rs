//! A disk that fails, is full, or hangs: serving goes on, every loss is counted, and what was
//! acknowledged can be read.

use std::path::Path;
use std::time::Duration;

use super::super::*;
use super::faulty::{Faulty, Mode, open};
use super::pairs::Unused;
use super::sample::{assert_balanced, eventually, read, record, spec, wait};
use crate::domain::record::Omission;
use crate::domain::record::{Entry, GapReason, PredictionRecord};
use crate::domain::spec::{Durability, LogSpec};

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
fn any_single_failed_call_costs_nothing_where_an_earlier_gateway_recorded_nothing() {
    for durability in [Durability::Os, Durability::Sync] {
        for unused in [Unused::Closed, Unused::Sealed] {
            let prepared = || {
                let dir = tempfile::tempdir().expect("a directory");
                unused.leave(dir.path());
                dir
            };
            let clean = Faulty::new(Mode::Good);
            run(&clean, prepared().path(), durability);
            for call in 1..=clean.calls() {
                let dir = prepared();
                let acknowledged = run(&Faulty::new(Mode::FailOnce(call)), dir.path(), durability);
                assert!(acknowledged.is_none_or(|records| records == 40), "{unused:?}, {call}");
                go_on(dir.path(), durability);
            }
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
