//! Segments in files of zeros made ahead: what lies behind the records is nothing, for whoever reads.
//! And what a start reads of a log.

use std::path::Path;
use std::time::{Duration, Instant};

use super::super::files::{FileSystem as _, LocalFiles};
use super::super::*;
use super::faulty::{Faulty, Mode, open};
use super::sample::{copy, eventually, read, read_from, record, spec, wait};
use crate::domain::spec::{Durability, LogSpec};

fn faulty() -> Faulty {
    Faulty::new(Mode::Good).with_spares(true)
}

fn put(recorder: &Recorder, number: u64) {
    assert_eq!(wait(recorder, recorder.offer(0, &record(number, &[5; 1000]))), Ok(()));
}

/// Writes until a segment was opened in a spare, and one record into it; returns the last number.
fn until_prefilled(recorder: &Recorder) -> u64 {
    let mut number = 0;
    eventually("a spare is taken", || {
        number += 1;
        put(recorder, number);
        recorder.stats().segments_prefilled > 0
    });
    number
}

fn sizes(dir: &Path) -> Vec<segment::Listed> {
    segment::list(&LocalFiles, dir).expect("listed")
}

#[test]
fn a_follower_reads_each_record_once_and_no_zeros() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = open(&faulty(), dir.path(), &spec(Durability::Sync)).expect("open");
    let mut follower = LogReader::open(dir.path()).expect("a log");
    let mut number = 0;
    eventually("five segments were made ahead", || {
        number += 1;
        put(&recorder, number);
        let seen = read_from(&mut follower);
        assert_eq!((seen.records, seen.gaps), (vec![(number, number)], Vec::new()));
        recorder.stats().segments_prefilled >= 5
    });
    let open = survey(dir.path()).expect("a survey");
    assert_eq!((open.records, open.torn_bytes, open.damaged_places), (number, 0, 0));
    recorder.close();
    let closed = survey(dir.path()).expect("a survey");
    assert_eq!((closed.records, closed.sealed), (number, closed.segments), "cut to their ends");
    assert!(closed.bytes < number * 3000, "no zeros are left: {closed:?}");
    assert!(!dir.path().join("spare.tmp").exists());
    assert_eq!(read(dir.path()).records.len() as u64, number);
}

#[test]
fn only_sync_makes_spares() {
    for durability in [Durability::Async, Durability::Os] {
        let dir = tempfile::tempdir().expect("a directory");
        let recorder = open(&faulty(), dir.path(), &spec(durability)).expect("open");
        (1..=200).for_each(|number| put(&recorder, number));
        assert_eq!(recorder.close().segments_prefilled, 0);
    }
}

#[test]
fn a_kill_at_any_byte_of_a_frame_leaves_what_was_before_it() {
    let source = tempfile::tempdir().expect("a directory");
    let recorder = open(&faulty(), source.path(), &spec(Durability::Sync)).expect("open");
    let number = until_prefilled(&recorder);
    (number + 1..=number + 4).for_each(|number| put(&recorder, number));
    let killed = tempfile::tempdir().expect("a directory");
    copy(source.path(), killed.path());
    recorder.close();
    let last = *sizes(killed.path()).last().expect("a segment");
    assert_eq!(last.bytes, 64 * 1024, "the segment has its full size from the start");
    let path = segment::path(killed.path(), last.first_lsn);
    let bytes = std::fs::read(&path).expect("read");
    let end = bytes.iter().rposition(|&byte| byte != 0).expect("frames") + 1;
    let mut scan = scan::Scan::new(LocalFiles.open_read(&path).expect("opened"), last.first_lsn)
        .expect("a scan");
    let mut ends = vec![segment::HEADER_BYTES as u64];
    while let scan::Step::Frame { .. } = scan.step().expect("readable") {
        ends.push(scan.offset());
    }
    let boundaries = ends.iter().map(|&end| end as usize);
    let inside = (segment::HEADER_BYTES..end).step_by(97);
    for cut in boundaries.chain(inside) {
        let mut torn = bytes.clone();
        torn[cut..].fill(0);
        let dir = tempfile::tempdir().expect("a directory");
        copy(killed.path(), dir.path());
        let path = segment::path(dir.path(), last.first_lsn);
        std::fs::write(&path, &torn).expect("written");
        // Padding may be zero: a frame that only lacks it is whole.
        let whole = ends.iter().filter(|&&end| torn[..end as usize] == bytes[..end as usize]);
        let whole = last.first_lsn + whole.count() as u64 - 2;
        let contents = read(dir.path());
        assert_eq!((contents.records.len() as u64, contents.gaps), (whole, Vec::new()), "{cut}");
        let is_boundary = ends.contains(&(cut as u64));
        let before = survey(dir.path()).expect("a survey");
        assert!(!is_boundary || before.torn_bytes == 0, "{cut}: {before:?}");

        let recorder = open(&faulty(), dir.path(), &spec(Durability::Sync)).expect("open");
        let recovery = recorder.recovery().clone();
        assert_eq!((recovery.next_lsn, recovery.damaged_places), (whole + 1, 0), "cut at {cut}");
        assert!(!is_boundary || recovery.healed_bytes == 0, "cut at {cut}");
        assert_eq!(recovery.put_aside, None);
        put(&recorder, whole + 1);
        recorder.close();
        let contents = read(dir.path());
        assert_eq!((contents.records.len() as u64, contents.gaps), (whole + 1, Vec::new()));
        let after = survey(dir.path()).expect("a survey");
        assert_eq!(after.sealed, after.segments);
    }
}

#[test]
fn a_segment_of_which_nothing_reached_the_disk_is_no_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = open(&faulty(), dir.path(), &spec(Durability::Sync)).expect("open");
    put(&recorder, 1);
    recorder.close();
    std::fs::write(segment::path(dir.path(), 2), vec![0; 64 * 1024]).expect("written");
    std::fs::write(dir.path().join("spare.tmp"), vec![0; 1000]).expect("written");
    let recorder = open(&faulty(), dir.path(), &spec(Durability::Sync)).expect("open");
    assert!(!dir.path().join("spare.tmp").exists());
    assert_eq!((recorder.recovery().next_lsn, &recorder.recovery().put_aside), (2, &None));
    put(&recorder, 2);
    recorder.close();
    assert_eq!(read(dir.path()).records, [(1, 1), (2, 2)]);
}

#[test]
fn damage_within_a_segment_of_full_size_shows_while_it_is_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = open(&faulty(), dir.path(), &spec(Durability::Sync)).expect("open");
    let number = until_prefilled(&recorder);
    (number + 1..=number + 4).for_each(|number| put(&recorder, number));
    let killed = tempfile::tempdir().expect("a directory");
    copy(dir.path(), killed.path());
    recorder.close();
    let last = *sizes(killed.path()).last().expect("a segment");
    let path = segment::path(killed.path(), last.first_lsn);
    let mut bytes = std::fs::read(&path).expect("read");
    // The first record: its place holds zeros, as if that page had not reached the disk.
    bytes[segment::HEADER_BYTES..segment::HEADER_BYTES + 1024].fill(0);
    std::fs::write(&path, &bytes).expect("written");
    let contents = read(killed.path());
    assert_eq!(contents.records.len() as u64, number + 3);
    let [gap] = contents.gaps.as_slice() else { panic!("{:?}", contents.gaps) };
    assert_eq!(gap.lsns, Some(last.first_lsn..=last.first_lsn));
}

#[test]
fn without_room_for_a_spare_segments_grow() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = faulty();
    // Enough for records, not for as much again in advance.
    files.set_space(300 * 1024);
    let recorder = open(&files, dir.path(), &spec(Durability::Sync)).expect("open");
    (1..=300).for_each(|number| put(&recorder, number));
    let stats = recorder.close();
    assert_eq!((stats.segments_prefilled, stats.write_errors, stats.written), (0, 0, 300));
    assert_eq!(read(dir.path()).gaps, []);
}

#[test]
fn a_start_reads_names_and_the_last_segment() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = open(&faulty(), dir.path(), &spec(Durability::Os)).expect("open");
    (1..=300).for_each(|number| put(&recorder, number));
    recorder.close();
    let listed = sizes(dir.path());
    assert!(listed.len() > 5);
    let files = faulty();
    let aged = LogSpec { retain_age: Some(Duration::from_secs(3600)), ..spec(Durability::Os) };
    let recorder = open(&files, dir.path(), &aged).expect("open");
    let read = files.read();
    assert_eq!(recorder.recovery().next_lsn, 301);
    let (last, earlier) = listed.split_last().expect("segments");
    let of = |listed: &segment::Listed| {
        read.get(&segment::path(dir.path(), listed.first_lsn)).copied().unwrap_or(0)
    };
    assert!(of(last) >= last.bytes, "the last one is read to its end");
    for segment in earlier {
        // The header by recovery, with the seal, and by the retention that asks for the age.
        let headers_and_seal = (2 * segment::HEADER_BYTES + frame::SEAL_BYTES) as u64;
        assert!(of(segment) <= headers_and_seal, "{segment:?}: {}", of(segment));
    }
    recorder.close();
}

/// Says how many records a second one client gets synced, with and without spares, in three rounds
/// each, on the file system of `TMPDIR`.
#[test]
#[ignore = "measures the disk"]
fn syncs_a_second() {
    for round in 0..3 {
        for spares in [false, true] {
            let dir = tempfile::tempdir().expect("a directory");
            let files = Faulty::new(Mode::Good).with_spares(spares);
            let spec = LogSpec { segment: 8 * 1024 * 1024, ..spec(Durability::Sync) };
            let recorder = open(&files, dir.path(), &spec).expect("open");
            let body = vec![7; 16 * 1024];
            let (started, mut records) = (Instant::now(), 0);
            while started.elapsed() < Duration::from_secs(5) {
                records += 1;
                let offer = recorder.offer(0, &record(records, &body));
                assert_eq!(wait(&recorder, offer), Ok(()));
            }
            let rate = records as f64 / started.elapsed().as_secs_f64();
            let made = recorder.close().segments_prefilled;
            eprintln!("round {round}, spares {spares}: {rate:.0}/s, {made} segments made ahead");
        }
    }
}
