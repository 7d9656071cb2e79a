//! Segments that are not trusted any more: whatever was written to them stays in the log, once.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::files::{FileSystem as _, LocalFiles, write_all_at};
use super::super::*;
use super::faulty::{Faulty, Mode, open};
use super::sample::{eventually, read, read_from, record, spec, wait};
use crate::domain::record::PredictionRecord;
use crate::domain::spec::{Durability, LogSpec};

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
        let more = read_from(&mut follower);
        assert_eq!(more.gaps, []);
        seen.extend(more.records.into_iter().map(|record| record.1));
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
fn what_is_written_while_a_sync_fails_is_copied_too() {
    for durability in [Durability::Os, Durability::Sync] {
        let dir = tempfile::tempdir().expect("a directory");
        let faults = Faulty::new(Mode::Good);
        let soon = LogSpec { sync_interval: Duration::from_millis(1), ..spec(Durability::Os) };
        let recorder = open(&faults, dir.path(), &soon).expect("open");
        let mut follower = LogReader::open(dir.path()).expect("a log");
        faults.hold_syncs(true);
        for number in 1..=3 {
            assert_eq!(wait(&recorder, recorder.offer(0, &record(number, b"before"))), Ok(()));
        }
        eventually("the background sync waits", || faults.waiting().1 == 1);
        faults.set(Mode::Stalled);
        let durability = Some(durability);
        let during = PredictionRecord { durability, ..record(4, b"during") };
        let during = recorder.offer(0, &during);
        eventually("the write hangs", || faults.waiting().0 == 1);
        faults.hold_syncs(false);
        eventually("the sync has failed", || recorder.stats().write_errors == 1);
        faults.set(Mode::Good);
        assert_eq!(wait(&recorder, during), Ok(()));
        let mut seen = read_from(&mut follower).records;
        eventually("the records are copied", || recorder.stats().rescued >= 3);
        assert_eq!(wait(&recorder, recorder.offer(0, &record(5, b"after"))), Ok(()));
        eventually("all are on the disk", || recorder.stats().durable_lsn == 5);
        let stats = recorder.close();
        assert_eq!((stats.written, stats.not_rescued), (5, 0), "{stats:?}");
        seen.extend(read_from(&mut follower).records);
        let all: Vec<_> = (1..=5).map(|number| (number, number)).collect();
        assert_eq!(seen, all, "a follower passes from the old file to the copy");
        let contents = read(dir.path());
        assert_eq!((contents.records, contents.gaps), (all, Vec::new()));
    }
}

#[test]
fn a_segment_that_was_given_up_is_cut_and_sealed() {
    let dir = tempfile::tempdir().expect("a directory");
    let faults = Faulty::new(Mode::Good);
    let recorder = open(&faults, dir.path(), &spec(Durability::Sync)).expect("open");
    assert_eq!(wait(&recorder, recorder.offer(0, &record(1, b"one"))), Ok(()));
    // Part of the frame is written before the disk is full.
    faults.set(Mode::FullAfterPart);
    assert_eq!(wait(&recorder, recorder.offer(0, &record(2, b"two"))), Err(Lost));
    faults.set(Mode::Good);
    let found = survey(dir.path()).expect("a log");
    assert_eq!((found.segments, found.sealed, found.torn_bytes), (1, 0, 0), "cut, while full");
    let mut number = 2;
    eventually("the log is written again", || {
        number += 1;
        wait(&recorder, recorder.offer(0, &record(number, b"later"))).is_ok()
    });
    faults.set(Mode::FailSyncOnce);
    assert_eq!(wait(&recorder, recorder.offer(0, &record(100, b"again"))), Ok(()));
    let found = survey(dir.path()).expect("a log");
    assert_eq!((found.segments, found.sealed), (3, 1), "the one whose sync has failed");
    recorder.close();
}

/// Writes the segment `first_lsn` with these numbers, and a seal that claims to end with `sealed`.
pub(super) fn segment_of(dir: &Path, first_lsn: u64, numbers: &[u64], sealed: Option<u64>) {
    let epoch = 7 + first_lsn as u32;
    let header = segment::SegmentHeader { epoch, first_lsn, created_us: 1, node: "n1".to_owned() };
    let mut bytes = header.encode().to_vec();
    for &lsn in numbers {
        let place = frame::first_place(lsn, first_lsn) as usize;
        bytes.resize(bytes.len().max(place), 0);
        let row = record(lsn, b"body");
        let len = row::encoded_len(&row, row::Bodies::Keep);
        let payload = row::tests::payload(len, |arena| row::encode(&row, row::Bodies::Keep, arena));
        frame::put(&mut bytes, frame::KIND_RECORD, epoch, lsn, &payload);
    }
    if let Some(last_lsn) = sealed {
        bytes.extend(frame::seal(epoch, last_lsn, numbers.len() as u64));
    }
    let file = LocalFiles.create(&segment::path(dir, first_lsn)).expect("created");
    write_all_at(file.as_ref(), &mut [IoSlice::new(&bytes)], 0).expect("written");
}

fn numbered(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
    numbers.into_iter().map(|number| (number, number)).collect()
}

#[test]
fn what_was_written_again_is_not_hidden_by_damage_in_the_segment_that_was_given_up() {
    // The numbers that the successor holds, and those that are missing in both.
    for (again, missing) in [([3, 4, 5].as_slice(), None), ([4, 5].as_slice(), Some(3..=3))] {
        let dir = tempfile::tempdir().expect("a directory");
        segment_of(dir.path(), 1, &[1, 2, 4], Some(4));
        segment_of(dir.path(), 3, again, Some(5));
        segment_of(dir.path(), 6, &[6], None);
        let contents = read(dir.path());
        let wanted = (1..=6).filter(|number| again.contains(number) || ![3, 4, 5].contains(number));
        assert_eq!(contents.records, numbered(wanted), "{again:?}");
        let gaps: Vec<_> = contents.gaps.into_iter().map(|gap| gap.lsns).collect();
        assert_eq!(gaps, missing.map(Some).into_iter().collect::<Vec<_>>(), "{again:?}");
    }
}

#[test]
fn a_seal_that_claims_more_than_there_is_is_not_believed() {
    let dir = tempfile::tempdir().expect("a directory");
    segment_of(dir.path(), 1, &[1, 2, 3], Some(1 << 50));
    segment_of(dir.path(), 4, &[4], Some(4));
    let recorder = open(&Faulty::new(Mode::Good), dir.path(), &spec(Durability::Os)).expect("open");
    assert_eq!(recorder.recovery().next_lsn, 5);
    assert_eq!(wait(&recorder, recorder.offer(0, &record(5, b""))), Ok(()));
    recorder.close();
    assert_eq!(read(dir.path()).records, numbered(1..=5));
}

#[test]
fn what_only_a_segment_holds_that_was_given_up_is_copied_behind() {
    // The process ended before the group was written again, while that was done, and after it.
    for again in [[].as_slice(), &[3], &[3, 4]] {
        for sealed in [None, Some(4)] {
            let dir = tempfile::tempdir().expect("a directory");
            segment_of(dir.path(), 1, &[1, 2, 3, 4], sealed);
            segment_of(dir.path(), 3, again, None);
            let recorder =
                open(&Faulty::new(Mode::Good), dir.path(), &spec(Durability::Os)).expect("open");
            assert_eq!(recorder.recovery().next_lsn, 5, "{again:?}");
            assert_eq!(wait(&recorder, recorder.offer(0, &record(5, b""))), Ok(()));
            recorder.close();
            let contents = read(dir.path());
            assert_eq!((contents.records, contents.gaps), (numbered(1..=5), Vec::new()));
            // Whoever takes each segment to end where the next one begins finds all as well.
            let listed = segment::list(&LocalFiles, dir.path()).expect("listed");
            for (index, held) in listed.iter().enumerate() {
                let next = listed.get(index + 1).map_or(6, |next| next.first_lsn);
                let path = segment::path(dir.path(), held.first_lsn);
                let source = LocalFiles.open_read(&path).expect("opened");
                let mut scan = scan::Scan::new(source, held.first_lsn).expect("a scan");
                for wanted in held.first_lsn..next {
                    let step = scan.step().expect("readable");
                    let scan::Step::Frame { lsn, .. } = step else { panic!("{step:?}") };
                    assert_eq!(lsn, wanted, "{again:?}, {listed:?}");
                }
            }
        }
    }
}

#[test]
fn who_finds_the_names_unchanged_knows_that_they_are_on_the_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let faults = Faulty::new(Mode::Good);
    let queue = Arc::new(queue::Queue::new(1, &LogSpec::default()));
    let files = Arc::new(faults.clone());
    let started = syncer::Syncer::start(files, dir.path(), queue, Arc::default(), Duration::ZERO);
    let syncer = started.expect("a thread");
    faults.hold_syncs(true);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| syncer.sync_names());
        eventually("the directory is being synced", || faults.waiting().1 == 1);
        let second = scope.spawn(|| syncer.sync_names());
        // It would be done by now, if it did not wait for the first.
        std::thread::park_timeout(Duration::from_millis(50));
        assert!(!second.is_finished());
        faults.hold_syncs(false);
        assert!(first.join().expect("joined").is_err(), "those that waited fail");
        assert!(second.join().expect("joined").is_ok(), "and the other tries itself");
    });
}

#[test]
fn a_copy_says_which_records_could_not_be_read_and_the_old_file_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let all: Vec<u64> = (1..=60).collect();
    segment_of(dir.path(), 1, &all, None);
    let path = segment::path(dir.path(), 1);
    let mut bytes = std::fs::read(&path).expect("read");
    let size = (bytes.len() - segment::HEADER_BYTES) / 60;
    // The first two and a long stretch in the middle.
    for lost in (0..2).chain(5..50) {
        bytes[segment::HEADER_BYTES + lost * size + 100] ^= 1;
    }
    std::fs::write(&path, &bytes).expect("written");
    let whole = syncer::Distrusted { first_lsn: 1, from: 1, to: 60 };
    let saved = rescue::rescue(&LocalFiles, dir.path(), "n1", whole).expect("copied");
    assert_eq!((saved.records, saved.missing), (13, 47));
    let contents = read(dir.path());
    assert_eq!(contents.records, numbered((3..=5).chain(51..=60)));
    let gaps: Vec<_> = contents.gaps.into_iter().map(|gap| gap.lsns).collect();
    assert_eq!(gaps, [Some(1..=2), Some(6..=50)]);
    assert_eq!(std::fs::read(aside::suspect_path(dir.path(), 1)).expect("kept"), bytes);
    assert_eq!(survey(dir.path()).expect("a survey").sealed, 1);
}
