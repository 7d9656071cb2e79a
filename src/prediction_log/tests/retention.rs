//! What is kept, for whom, and what goes first.

use std::path::Path;
use std::time::Duration;

use super::super::*;
use super::sample::{eventually, read, record, spec, wait};
use crate::domain::ids::Permille;
use crate::domain::record::GapReason;
use crate::domain::spec::{Durability, LogSpec};

fn small() -> LogSpec {
    LogSpec { free: Permille::saturating(0), ..spec(Durability::Os) }
}

fn put(recorder: &Recorder, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let offer = recorder.offer(0, &record(number, &[5; 3000]));
        assert_eq!(wait(recorder, offer), Ok(()));
    }
}

fn segments(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir).expect("listed");
    names
        .filter(|name| name.as_ref().is_ok_and(|n| n.path().extension() == Some("seg".as_ref())))
        .count()
}

#[test]
fn segments_that_all_consumers_have_passed_go_at_once_where_parquet_takes_their_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = Recorder::open(dir.path(), "n1", 1, &small()).expect("open");
    let parquet = recorder.consumers().register("parquet", false).expect("a cursor");
    let sink = recorder.consumers().register("lake", false).expect("a cursor");
    assert!(recorder.consumers().register("lake", false).is_err(), "taken");
    put(&recorder, 1..=200);
    let before = segments(dir.path());
    assert!(before > 5);
    eventually("all are on the disk", || recorder.stats().durable_lsn == 200);
    let closed = recorder.progress().closed();
    assert!(closed >= 100);
    parquet.advance(closed).expect("written");
    sink.advance(100).expect("written");
    eventually("half of them go", || segments(dir.path()) < before);
    let first = read(dir.path()).records[0].0;
    assert!(first > 1 && first <= 101, "nothing that the sink has not passed: {first}");
    sink.advance(closed).expect("written");
    eventually("all but the newest go", || segments(dir.path()) <= 3);
    recorder.close();
}

#[test]
fn required_consumers_hold_and_optional_ones_are_skipped_with_a_gap_row() {
    for required in [true, false] {
        let dir = tempfile::tempdir().expect("a directory");
        let tight = LogSpec { retain: 200 * 1024, ..small() };
        let recorder = Recorder::open(dir.path(), "n1", 1, &tight).expect("open");
        let cursor = recorder.consumers().register("lake", required).expect("a cursor");
        put(&recorder, 1..=300);
        let stats = recorder.close();
        let contents = read(dir.path());
        if required {
            assert_eq!((stats.segments_removed, contents.records.len()), (0, 300));
            assert_eq!(cursor.position(), 0);
            continue;
        }
        assert!(stats.segments_removed > 0 && cursor.position() > 0, "{stats:?}");
        let first = contents.records[0].0;
        assert_eq!(cursor.position(), first - 1);
        // Rows that were removed later told of the earlier ones.
        let (reason, lsns, _) = contents.gap_rows.last().expect("a gap row");
        assert_eq!((*reason, lsns.map(|lsns| lsns.1)), (GapReason::Skipped, Some(first - 1)));
    }
}

#[test]
fn segments_wait_for_parquet_while_its_files_can_make_room_and_are_shed_with_a_gap_row_after_that()
{
    let dir = tempfile::tempdir().expect("a directory");
    let tight = LogSpec { retain: 400 * 1024, ..small() };
    let recorder = Recorder::open(dir.path(), "n1", 1, &tight).expect("open");
    let parquet = recorder.consumers().register("parquet", false).expect("a cursor");
    // Above the half for segments that only wait for somebody; Parquet files can make room.
    put(&recorder, 1..=100);
    assert_eq!((recorder.stats().segments_removed, parquet.position()), (0, 0));
    // Nothing is converted: the limit holds, and the log says what no Parquet file will ever hold.
    for number in 101..=400 {
        put(&recorder, number..=number);
        assert!(recorder.stats().disk_bytes <= 400 * 1024 + 64 * 1024);
    }
    let stats = recorder.close();
    assert!(stats.segments_removed > 0 && stats.disk_bytes <= 400 * 1024, "{stats:?}");
    let contents = read(dir.path());
    let first = contents.records[0].0;
    assert_eq!(parquet.position(), first - 1, "it goes on with what is there");
    let (reason, lsns, _) = contents.gap_rows.last().expect("a gap row");
    assert_eq!((*reason, lsns.map(|lsns| lsns.1)), (GapReason::Skipped, Some(first - 1)));
}

#[test]
fn a_number_that_a_consumer_has_seen_is_never_given_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = Recorder::open(dir.path(), "n1", 1, &small()).expect("open");
    put(&recorder, 1..=3);
    recorder.consumers().register("lake", true).expect("a cursor").advance(3).expect("written");
    recorder.close();
    // The power takes the segment, but not the cursor.
    std::fs::remove_file(dir.path().join(segment::file_name(1))).expect("removed");
    let again = Recorder::open(dir.path(), "n1", 1, &small()).expect("open");
    assert_eq!(again.recovery().next_lsn, 4);
    assert_eq!(again.consumers().register("lake", true).expect("a cursor").position(), 3);
}

#[test]
fn old_segments_go_and_parquet_files_count_against_the_same_limit() {
    let dir = tempfile::tempdir().expect("a directory");
    let aged = LogSpec { retain_age: Some(Duration::from_millis(300)), ..small() };
    let recorder = Recorder::open(dir.path(), "n1", 1, &aged).expect("open");
    put(&recorder, 1..=100);
    eventually("all but the newest go", || segments(dir.path()) <= 2);
    assert!(read(dir.path()).records.last().is_some_and(|last| last.0 == 100));
    recorder.close();

    let dir = tempfile::tempdir().expect("a directory");
    let recorder = Recorder::open(dir.path(), "n1", 1, &small()).expect("open");
    put(&recorder, 1..=100);
    let before = segments(dir.path());
    recorder.consumers().set_held_bytes(u64::MAX / 2);
    put(&recorder, 101..=101);
    eventually("room is made", || segments(dir.path()) < before);
    recorder.close();
}

#[test]
fn a_damaged_segment_is_kept_aside_within_its_part_of_the_limit() {
    let dir = tempfile::tempdir().expect("a directory");
    let suspects = || {
        let listed = segment::list(&files::LocalFiles, dir.path()).expect("listed");
        let kept = |first_lsn| aside::suspect_path(dir.path(), first_lsn);
        let all = (1..=2000).map(kept).filter(|path| path.exists()).count();
        (listed.len(), all)
    };
    // A tenth of it is two segments and a half.
    let limit = LogSpec { retain: 25 * 64 * 1024, ..small() };
    let recorder = Recorder::open(dir.path(), "n1", 1, &limit).expect("open");
    let sink = recorder.consumers().register("lake", false).expect("a cursor");
    let parquet = recorder.consumers().register("parquet", true).expect("a cursor");
    put(&recorder, 1..=200);
    let listed = segment::list(&files::LocalFiles, dir.path()).expect("listed");
    assert!(listed.len() > 8, "{listed:?}");
    let before = std::fs::read(segment::path(dir.path(), listed[3].first_lsn)).expect("read");
    for damaged in [1, 2, 3] {
        recorder.consumers().aside().keep(listed[damaged].first_lsn);
        recorder.consumers().aside().keep(listed[damaged].first_lsn);
    }
    assert_eq!(suspects().1, 3, "each once");
    eventually("all are on the disk", || recorder.stats().durable_lsn == 200);
    parquet.advance(200).expect("written");
    sink.advance(200).expect("written");
    eventually("the consumers have passed all", || suspects().0 <= 2);
    eventually("two are kept", || suspects().1 == 2);
    let kept = aside::suspect_path(dir.path(), listed[3].first_lsn);
    assert_eq!(std::fs::read(kept).expect("kept"), before);
    recorder.close();
    // What is kept is found again, and counts.
    let again = Recorder::open(dir.path(), "n1", 1, &limit).expect("open");
    assert_eq!(again.consumers().aside().bytes(|_| true), listed[2].bytes + listed[3].bytes);
    assert!(again.stats().disk_bytes >= listed[2].bytes + listed[3].bytes);
}

#[test]
fn what_recovery_finds_damaged_is_kept_aside() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = Recorder::open(dir.path(), "n1", 1, &small()).expect("open");
    put(&recorder, 1..=5);
    recorder.close();
    let path = segment::path(dir.path(), 1);
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[5000] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    Recorder::open(dir.path(), "n1", 1, &small()).expect("open").close();
    assert!(aside::suspect_path(dir.path(), 1).exists() && path.exists());
}

#[test]
fn nothing_is_removed_before_those_who_need_it_are_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let roomy = Recorder::open(dir.path(), "n1", 1, &small()).expect("open");
    put(&roomy, 1..=200);
    roomy.close();
    let tight = LogSpec { retain: 100 * 1024, ..small() };
    let recorder = Recorder::open(dir.path(), "n1", 1, &tight).expect("open");
    let cursor = recorder.consumers().register("lake", true).expect("a cursor");
    put(&recorder, 201..=210);
    recorder.close();
    assert_eq!((cursor.position(), read(dir.path()).records.len()), (0, 210));
}

#[test]
fn a_segment_with_records_is_closed_when_its_time_is_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let brief = LogSpec { segment_age: Duration::from_millis(30), ..small() };
    let recorder = Recorder::open(dir.path(), "n1", 1, &brief).expect("open");
    put(&recorder, 1..=1);
    assert_eq!(recorder.progress().wait_closed(0, Duration::from_secs(30)), 1);
    put(&recorder, 2..=2);
    assert_eq!(recorder.progress().wait_closed(1, Duration::from_secs(30)), 2);
    let stats = recorder.close();
    assert_eq!((stats.segments, read(dir.path()).records.len()), (2, 2));
}

#[test]
fn a_reader_starts_after_any_record() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = Recorder::open(dir.path(), "n1", 1, &small()).expect("open");
    put(&recorder, 1..=60);
    recorder.close();
    for lsn in [0, 1, 16, 17, 18, 59, 60, 1000] {
        let mut reader = LogReader::open_after(dir.path(), lsn).expect("a log");
        let contents = super::sample::read_from(&mut reader);
        let found: Vec<_> = contents.records.iter().map(|record| record.0).collect();
        assert_eq!(found, (lsn + 1..=60).collect::<Vec<_>>(), "after {lsn}");
        assert_eq!(contents.gaps, []);
    }
}
