//! Every byte of a small log, and every end that a killed process can leave.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::*;
use crate::domain::record::{GapReason, GapRecord};
use crate::domain::spec::{Durability, LogSpec};
use crate::prediction_log::Recorder;
use crate::prediction_log::frame;
use crate::prediction_log::segment::SegmentHeader;
use crate::prediction_log::tests::sample::{copy, record, spec, wait};

/// Segments of a few records.
fn small() -> LogSpec {
    LogSpec { segment: 1400, ..spec(Durability::Os) }
}

fn write(data_dir: &Path, numbers: RangeInclusive<u64>) {
    let recorder = Recorder::open(&segments_dir(data_dir), "n1", 1, &small()).expect("open");
    for number in numbers {
        assert_eq!(wait(&recorder, recorder.offer(0, &record(number, b"a body"))), Ok(()));
    }
    recorder.close();
}

fn paths(data_dir: &Path) -> Vec<PathBuf> {
    let dir = segments_dir(data_dir);
    let listed = segments(&dir).expect("listed");
    listed.into_iter().map(|listed| segment::path(&dir, listed.first_lsn)).collect()
}

/// The totals, and all places with their files.
fn places(data_dir: &Path) -> (Totals, Vec<(PathBuf, Damage)>) {
    let mut places = Vec::new();
    let mut report = |file: &FileReport| {
        places.extend(file.damage.iter().map(|place| (file.path.clone(), place.clone())));
    };
    let totals = verify(data_dir, &mut report, &mut |_, _| {}).expect("verified");
    (totals, places)
}

/// Where the seal of a closed segment begins.
fn seal_at(bytes: &[u8]) -> usize {
    bytes.len() - frame::SEAL_BYTES
}

/// Where the last record of a closed segment begins.
fn last_record_at(path: &Path) -> usize {
    let first_lsn = segment::number_of(path).expect("a segment");
    let mut scan = Scan::new(LocalFiles.open_read(path).expect("open"), first_lsn).expect("read");
    let mut starts = vec![];
    loop {
        starts.push(scan.offset() as usize);
        match scan.step().expect("read") {
            Step::Frame { .. } => {}
            Step::Damage { .. } => panic!("damage"),
            // The last two are the end of the last record and that of the seal.
            Step::End => return starts[starts.len() - 2],
        }
    }
}

#[test]
fn each_flipped_bit_of_a_closed_log_is_told_with_its_segment_and_place() {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), 1..=5);
    let paths = paths(dir.path());
    assert!(paths.len() >= 3, "{paths:?}");
    assert!(!places(dir.path()).0.is_damaged());
    for path in &paths {
        let good = std::fs::read(path).expect("read");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(path, &bad).expect("written");
            let (totals, places) = places(dir.path());
            let [(file, place)] = places.as_slice() else { panic!("byte {at}: {places:?}") };
            assert!(totals.is_damaged() && file == path, "byte {at}: {places:?}");
            let span = place.offset..=place.offset + place.bytes;
            assert!(span.contains(&(at as u64)), "byte {at}: {place:?}");
            if at >= seal_at(&good) {
                assert_eq!(place.what, "the seal is damaged", "byte {at}");
            }
        }
        std::fs::write(path, &good).expect("written");
    }
}

#[test]
fn a_damaged_seal_keeps_no_gateway_from_starting() {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), 1..=9);
    for path in paths(dir.path()) {
        let good = std::fs::read(&path).expect("read");
        for at in seal_at(&good)..good.len() {
            let again = tempfile::tempdir().expect("a directory");
            let log_dir = segments_dir(again.path());
            std::fs::create_dir(&log_dir).expect("created");
            copy(&segments_dir(dir.path()), &log_dir);
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(log_dir.join(path.file_name().expect("a name")), bad).expect("written");
            write(again.path(), 10..=10);
            let (totals, _) = places(again.path());
            assert_eq!((totals.records, totals.lost), (10, vec![]), "byte {at}");
        }
    }
}

#[test]
fn a_frame_that_was_cut_short_is_clean_and_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), 1..=9);
    let path = paths(dir.path()).pop().expect("a segment");
    let good = std::fs::read(&path).expect("read");
    let (begin, end) = (last_record_at(&path), seal_at(&good));
    // Not a multiple of the alignment, so that all kinds of places come up.
    for cut in (begin + 1..end).step_by(7) {
        for zeros in [0, 100_000] {
            let mut bytes = good[..cut].to_vec();
            bytes.resize(cut + zeros, 0);
            // That few bytes at the end are zeros in whole records too.
            if zeros > 0 && cut + 16 > end {
                continue;
            }
            std::fs::write(&path, bytes).expect("written");
            let (totals, places) = places(dir.path());
            assert!(!totals.is_damaged(), "cut at {cut} before {zeros} zeros: {places:?}");
            let written =
                good[begin..cut].iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
            assert_eq!(totals.torn_bytes, written as u64, "cut at {cut} before {zeros} zeros");
        }
    }
    // The same behind a segment that has a successor was not left by a kill.
    let first = &paths(dir.path())[0];
    let mut bytes = std::fs::read(first).expect("read");
    bytes.truncate(seal_at(&bytes));
    bytes.extend_from_slice(&good[begin..begin + 50]);
    std::fs::write(first, &bytes).expect("written");
    let (totals, places) = places(dir.path());
    assert!(totals.is_damaged() && &places[0].0 == first, "{places:?}");
}

#[test]
fn what_a_gateway_may_be_writing_is_judged_once_nobody_has_the_lock() {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), 1..=9);
    let path = paths(dir.path()).pop().expect("a segment");
    let mut bytes = std::fs::read(&path).expect("read");
    let (begin, end) = (last_record_at(&path), seal_at(&bytes));
    bytes.truncate(end);
    bytes.resize(end + 5000, 0);
    let lock = segments_dir(dir.path()).join(LOCK_FILE);
    // Whole, but for one bit; and no beginning of a frame.
    for at in [begin, begin + 9, begin + 13, begin + 21, begin + 40, end - 9] {
        let mut bad = bytes.clone();
        bad[at] ^= 2;
        std::fs::write(&path, &bad).expect("written");
        let held = LocalFiles.lock(&lock).expect("free");
        let (totals, _) = places(dir.path());
        assert!(!totals.is_damaged() && totals.torn_bytes > 0, "byte {at}: {totals:?}");
        drop(held);
        let (totals, places) = places(dir.path());
        let [(file, place)] = places.as_slice() else { panic!("byte {at}: {places:?}") };
        assert!(file == &path && place.offset == begin as u64, "byte {at}: {place:?}");
        assert!(totals.is_damaged() && totals.torn_bytes == 0);
    }
    // Without a LOCK, as in a copy, nobody holds it.
    std::fs::remove_file(lock).expect("removed");
    assert!(places(dir.path()).0.is_damaged());
}

#[test]
fn numbers_that_the_writer_left_out_need_a_gap_row() {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), 1..=2);
    let log_dir = segments_dir(dir.path());
    let header = SegmentHeader { epoch: 9, first_lsn: 3, created_us: 1, node: "n1".to_owned() };
    let mut bytes = header.encode().to_vec();
    for lsn in [3, 4, 7] {
        frame::put(&mut bytes, frame::KIND_RECORD, 9, lsn, &[1; 200]);
    }
    bytes.extend_from_slice(&frame::seal(9, 7, 3));
    std::fs::write(segment::path(&log_dir, 3), bytes).expect("written");
    let (totals, _) = places(dir.path());
    assert_eq!((&totals.skipped, &totals.lost, &totals.missing), (&vec![5..=6], &vec![], &vec![]));
    assert!(totals.is_damaged());
    let recorder = Recorder::open(&log_dir, "n1", 1, &small()).expect("open");
    recorder.note_gap(&GapRecord {
        ts_us: 1,
        reason: GapReason::Io,
        lsns: Some((5, 6)),
        records: 2,
        consumer: "",
        detail: "",
    });
    recorder.close();
    let (totals, _) = places(dir.path());
    assert_eq!((&totals.skipped, &totals.missing), (&vec![], &vec![5..=6]), "{totals:?}");
    assert!(!totals.is_damaged());
}
