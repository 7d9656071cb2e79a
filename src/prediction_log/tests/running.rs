//! The recorder, its writer and a reader at the same time.

use std::sync::Arc;
use std::time::Duration;

use super::super::*;
use super::sample::{assert_balanced, copy, eventually, read, read_from, record, spec, wait};
use crate::domain::record::Entry;
use crate::domain::record::{Omission, Payload};
use crate::domain::spec::{Durability, LogSpec};

#[test]
fn several_workers_lose_nothing_and_every_number_is_given_once() {
    const WORKERS: u64 = 3;
    const EACH: u64 = 2000;
    for durability in [Durability::Async, Durability::Os, Durability::Sync] {
        let dir = tempfile::tempdir().expect("a directory");
        let roomy = LogSpec { queue: 64 << 20, ..spec(durability) };
        let recorder = Recorder::open(dir.path(), "n1", WORKERS as usize, &roomy).expect("open");
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let recorder = &recorder;
                scope.spawn(move || {
                    for number in 0..EACH {
                        let number = worker * EACH + number;
                        let offer = recorder.offer(worker as usize, &record(number, &[1; 300]));
                        assert!(matches!(offer, Offer::Queued(_)), "{offer:?}");
                    }
                });
            }
        });
        let stats = recorder.close();
        assert_balanced(&stats);
        assert_eq!((stats.written, stats.queue_bytes), (WORKERS * EACH, 0));
        assert_eq!(stats.durable_lsn, WORKERS * EACH);
        assert!(stats.segments > 1, "rotation at 64 KiB");
        let contents = read(dir.path());
        assert_eq!(contents.gaps, []);
        let lsns: Vec<_> = contents.records.iter().map(|record| record.0).collect();
        assert_eq!(lsns, (1..=WORKERS * EACH).collect::<Vec<_>>());
        let mut numbers: Vec<_> = contents.records.iter().map(|record| record.1).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..WORKERS * EACH).collect::<Vec<_>>());
        let survey = survey(dir.path()).expect("a log");
        assert_eq!((survey.records, survey.last_lsn), (WORKERS * EACH, Some(WORKERS * EACH)));
        assert_eq!((survey.sealed, survey.bytes), (survey.segments, stats.disk_bytes));
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    for durability in [Durability::Os, Durability::Sync] {
        let dir = tempfile::tempdir().expect("a directory");
        let recorder = Recorder::open(dir.path(), "n1", 1, &spec(durability)).expect("open");
        for number in 1..=60 {
            let offer = recorder.offer(0, &record(number, &[2; 2000]));
            assert_eq!(wait(&recorder, offer), Ok(()));
            // The files as they are now are what a killed process leaves.
            let killed = tempfile::tempdir().expect("a directory");
            copy(dir.path(), killed.path());
            let again = Recorder::open(killed.path(), "n1", 1, &spec(durability)).expect("open");
            assert_eq!(again.recovery().next_lsn, number + 1);
            again.close();
            let expected: Vec<_> = (1..=number).map(|number| (number, number)).collect();
            assert_eq!(read(killed.path()).records, expected);
        }
    }
}

#[test]
fn numbers_go_on_after_each_start_even_when_nothing_is_recorded() {
    let dir = tempfile::tempdir().expect("a directory");
    for round in 0..4u64 {
        let recorder = Recorder::open(dir.path(), "n1", 1, &spec(Durability::Os)).expect("open");
        assert_eq!(recorder.recovery().next_lsn, round + 1);
        recorder.offer(0, &record(round, b""));
        recorder.close();
        let idle = Recorder::open(dir.path(), "n1", 1, &spec(Durability::Os)).expect("open");
        assert_eq!(idle.close().segments, round + 1, "an empty segment is not left behind");
    }
    let lsns: Vec<_> = read(dir.path()).records.iter().map(|record| record.0).collect();
    assert_eq!(lsns, [1, 2, 3, 4]);
}

#[test]
fn a_second_gateway_is_refused_until_the_first_has_ended() {
    let dir = tempfile::tempdir().expect("a directory");
    let open = || Recorder::open(dir.path(), "n1", 1, &spec(Durability::Os));
    let first = open().expect("open");
    let refused = open().expect_err("locked");
    assert!(matches!(&refused, OpenError::InUse { path } if path == dir.path()));
    assert!(refused.to_string().contains("in use by another gateway"), "{refused}");
    drop(first);
    eventually("a dropped recorder lets go", || open().is_ok());
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    std::fs::write(&file, b"").expect("written");
    let below = file.join("log");
    let error = Recorder::open(&below, "n1", 1, &spec(Durability::Os)).expect_err("a file");
    assert!(matches!(&error, OpenError::CreateDirectory { .. }));
    assert!(error.to_string().contains(&below.display().to_string()), "{error}");
    let missing = dir.path().join("a/b/log");
    assert!(matches!(LogReader::open(&missing), Err(ReadError::List { .. })));
    Recorder::open(&missing, "n1", 1, &spec(Durability::Os)).expect("created").close();
}

#[test]
fn off_touches_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("log");
    let recorder = Recorder::off();
    assert!(!recorder.is_on() && recorder.has_room() && recorder.progress().has_ended());
    assert_eq!(recorder.offer(0, &record(1, b"")), Offer::Off);
    assert_eq!(recorder.close().received, 0);
    assert!(!log.exists());
}

#[test]
fn after_closing_records_are_refused_and_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = Recorder::open(dir.path(), "n1", 1, &spec(Durability::Async)).expect("open");
    recorder.offer(0, &record(1, b""));
    recorder.close();
    assert_eq!(recorder.offer(9, &record(2, b"")), Offer::Dropped(DropReason::Closed));
    let stats = recorder.close();
    assert_balanced(&stats);
    assert_eq!((stats.written, stats.dropped.of(DropReason::Closed)), (1, 1));
    assert_eq!(stats.queue_bytes, 0);
}

#[test]
fn a_record_beyond_the_frame_loses_its_bodies_and_then_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let roomy = LogSpec { queue: 1 << 30, ..spec(Durability::Os) };
    let recorder = Recorder::open(dir.path(), "n1", 1, &roomy).expect("open");
    let long = vec![b'x'; frame::PAYLOAD_BYTES_MAX];
    assert!(matches!(recorder.offer(0, &record(1, &long)), Offer::Queued(_)));
    let text = String::from_utf8(long).expect("text");
    let mut hopeless = record(2, b"");
    hopeless.path = &text;
    assert_eq!(recorder.offer(0, &hopeless), Offer::Dropped(DropReason::TooLarge));
    let stats = recorder.close();
    assert_balanced(&stats);
    assert_eq!((stats.written, stats.omitted.of(Omission::Size)), (1, 2));
    let mut reader = LogReader::open(dir.path()).expect("a log");
    let Ok(Some(Item::Row(Row { entry: Entry::Prediction(record), .. }))) = reader.next_item()
    else {
        panic!("a record")
    };
    assert_eq!(record.request.omission, Some(Omission::Size));
    assert_eq!(record.request.body, Payload::Slice(b""));
    assert_eq!(record.request.bytes, frame::PAYLOAD_BYTES_MAX as u64);
}

#[test]
fn a_follower_sees_every_record_across_segments_and_restarts() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut reader: Option<LogReader> = None;
    let mut seen = Vec::new();
    let mut number = 0;
    for _ in 0..3 {
        let recorder = Recorder::open(dir.path(), "n1", 1, &spec(Durability::Os)).expect("open");
        let reader = reader.get_or_insert_with(|| LogReader::open(dir.path()).expect("a log"));
        for _ in 0..150 {
            number += 1;
            let offer = recorder.offer(0, &record(number, &[3; 900]));
            assert_eq!(wait(&recorder, offer), Ok(()));
            let more = read_from(reader);
            assert_eq!(more.gaps, []);
            seen.extend(more.records.into_iter().map(|record| record.1));
            assert_eq!(seen.last(), Some(&number), "seen as soon as it is written");
        }
        recorder.close();
    }
    assert_eq!(seen, (1..=number).collect::<Vec<_>>());
}

#[test]
fn the_last_records_are_found_from_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = Recorder::open(dir.path(), "n1", 1, &spec(Durability::Os)).expect("open");
    for number in 1..=300 {
        recorder.offer(0, &record(number, &[4; 900]));
    }
    eventually("all written", || recorder.stats().written == 300);
    for last in [0, 1, 2, 50, 299, 300, 1000] {
        let mut reader = LogReader::open_last(dir.path(), last).expect("a log");
        let numbers: Vec<_> = read_from(&mut reader).records.iter().map(|r| r.1).collect();
        assert_eq!(numbers, (301 - last.min(300)..=300).collect::<Vec<_>>(), "last {last}");
    }
}

#[test]
fn the_oldest_segments_go_first_and_leave_no_false_gap() {
    let dir = tempfile::tempdir().expect("a directory");
    let small = LogSpec { retain: 200 * 1024, ..spec(Durability::Os) };
    let recorder = Recorder::open(dir.path(), "n1", 1, &small).expect("open");
    for number in 1..=1000 {
        let offer = recorder.offer(0, &record(number, &[5; 900]));
        assert_eq!(wait(&recorder, offer), Ok(()));
        assert!(recorder.stats().disk_bytes <= 200 * 1024 + 64 * 1024);
    }
    let stats = recorder.close();
    assert!(stats.segments_removed > 0 && stats.disk_bytes <= 200 * 1024, "{stats:?}");
    let contents = read(dir.path());
    assert_eq!(contents.gaps, []);
    let first = contents.records[0].1;
    assert!(first > 1);
    let numbers: Vec<_> = contents.records.iter().map(|record| record.1).collect();
    assert_eq!(numbers, (first..=1000).collect::<Vec<_>>());
    let again = Recorder::open(dir.path(), "n1", 1, &small).expect("open");
    assert_eq!(again.recovery().next_lsn, 1001);
}

#[test]
fn tickets_of_many_tasks_resolve_on_a_worker_runtime() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = Recorder::open(dir.path(), "n1", 1, &spec(Durability::Sync)).expect("open");
    let recorder = Arc::new(recorder);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..64u64 {
            let recorder = Arc::clone(&recorder);
            tasks.spawn(async move {
                for number in 0..10 {
                    let offer = recorder.offer(0, &record(task * 10 + number, b"body"));
                    let Offer::Queued(ticket) = offer else { panic!("{offer:?}") };
                    let written = recorder.written(ticket);
                    if number % 3 == 2 {
                        // A client that goes away while it waits.
                        drop(tokio::time::timeout(Duration::from_micros(50), written).await);
                    } else {
                        written.await.expect("written");
                    }
                }
            });
        }
        let all = tokio::time::timeout(Duration::from_secs(60), tasks.join_all());
        all.await.expect("nobody waits for ever");
    });
    assert_eq!(recorder.close().written, 640);
}
