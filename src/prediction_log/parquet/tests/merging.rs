//! Merging gives fewer files with the same rows, wherever the process ends; so does the thread.

use std::time::Duration;

use super::super::compactor::Compactor;
use super::super::merge::{Mergeable, groups, merge, recover, waiting};
use super::*;
use crate::domain::spec::LogSpec;

const TIMES: [u64; 6] =
    [HOUR_US, HOUR_US + 1, HOUR_US + 2, HOUR_US + 3, 2 * HOUR_US, 2 * HOUR_US + 1];
const ALL: Mergeable =
    Mergeable { now_us: 100 * HOUR_US, up_to_lsn: u64::MAX, file_bytes: u64::MAX };

/// A log of which each two rows are a file.
fn fixture() -> Fixture {
    let fixture = Fixture::new();
    let disk = fixture.disk();
    for (index, times) in TIMES.chunks(2).enumerate() {
        fixture.record(times);
        let done = 2 * index as u64;
        for closed in fixture.backlog(done) {
            fixture.convert(&disk, closed).expect("converted");
        }
    }
    assert_eq!(list(&fixture.root()).expect("listed").len(), 3);
    fixture
}

fn merge_all(disk: &Disk) -> Result<(), super::super::merge::MergeError> {
    for group in waiting(disk, ALL, &[]).expect("listed") {
        assert!(merge(disk, &group, 1, &mut || true)?);
    }
    Ok(())
}

#[test]
fn a_merge_that_ended_anywhere_neither_loses_nor_doubles_a_row() {
    for no_exchange in [false, true] {
        for steps in 0.. {
            let fixture = fixture();
            let mut disk = fixture.disk();
            disk.no_exchange = no_exchange;
            disk.steps.set(Some(steps));
            let ended = merge_all(&disk).is_err();
            assert_eq!(rows_of(&fixture.root()), numbered(&TIMES), "after {steps} steps");
            if !no_exchange {
                assert_eq!(rows_of_all_files(&fixture.root()), numbered(&TIMES));
            }
            let disk = fixture.disk();
            recover(&disk).expect("recovered");
            assert_eq!(rows_of_all_files(&fixture.root()), numbered(&TIMES));
            merge_all(&disk).expect("merged");
            assert_eq!(rows_of_all_files(&fixture.root()), numbered(&TIMES));
            assert_eq!(list(&fixture.root()).expect("listed").len(), 2);
            assert!(!disk.work("").exists());
            if !ended {
                assert!(steps > 5, "only {steps} steps");
                break;
            }
        }
    }
}

#[test]
fn only_files_of_hours_that_are_over_and_that_nobody_needs_are_merged() {
    let fixture = fixture();
    let files = catalog(&fixture.root()).expect("listed");
    assert_eq!(groups(&files, ALL).len(), 1);
    for nothing in [
        Mergeable { now_us: 2 * HOUR_US + 1, ..ALL },
        Mergeable { up_to_lsn: 3, ..ALL },
        Mergeable { file_bytes: 10, ..ALL },
    ] {
        assert_eq!(groups(&files, nothing), Vec::<Vec<_>>::new(), "{nothing:?}");
    }
}

#[test]
fn conversion_done_again_after_a_merge_changes_nothing() {
    let fixture = fixture();
    let disk = fixture.disk();
    merge_all(&disk).expect("merged");
    fixture.convert_all(&disk);
    assert_eq!(rows_of_all_files(&fixture.root()), numbered(&TIMES));
}

#[test]
fn everything_is_converted_once_the_log_has_ended_and_old_files_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = crate::prediction_log::log_dir(dir.path());
    let spec = LogSpec { ..spec(Durability::Async) };
    let recorder = Recorder::open(&log, "n1", 1, &spec).expect("open");
    let compactor = Compactor::start(&recorder, dir.path(), &spec, Box::new(|| u64::MAX))
        .expect("started")
        .expect("on");
    let body = vec![b'x'; 10_000];
    let now = crate::prediction_log::unix_us();
    for number in 0..50 {
        let record = sample::record(now + number, &body);
        assert!(matches!(recorder.offer(0, &record), Offer::Queued(_)));
    }
    recorder.close();
    compactor.finish(Duration::from_secs(30));
    let stats = compactor.stats();
    assert_eq!((stats.rows, stats.failures, stats.backlog_segments), (50, 0, 0), "{stats:?}");
    let root = parquet_dir(dir.path());
    assert_eq!(rows_of_all_files(&root).len(), 50);
    assert_eq!(stats.files, list(&root).expect("listed").len() as u64);

    // A start with nothing to do keeps to the limits.
    drop(recorder);
    let spec = LogSpec { retain: 1, ..spec };
    let recorder = Recorder::open(&log, "n1", 1, &spec).expect("open");
    let compactor = Compactor::start(&recorder, dir.path(), &spec, Box::new(|| u64::MAX))
        .expect("started")
        .expect("on");
    recorder.close();
    compactor.finish(Duration::from_secs(30));
    assert_eq!(rows_of_all_files(&root), Vec::new());
    assert!(compactor.stats().removed > 0);
}
