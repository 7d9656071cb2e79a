//! Truncation and flipped bits: never a panic, never a wrong record, never a refusal.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::query::verify::verify;
use super::super::*;
use super::sample::{assert_balanced, copy, only_segment, read, record, spec, wait};
use crate::domain::record::GapReason;
use crate::domain::spec::Durability;

/// Writes `count` records and closes the log; returns the bytes of its only segment.
fn written(dir: &Path, count: u64) -> Vec<u8> {
    let recorder = Recorder::open(dir, "n1", 1, &spec(Durability::Async)).expect("open");
    for number in 1..=count {
        recorder.offer(0, &record(number, b"a body"));
    }
    assert_eq!(recorder.close().written, count);
    std::fs::read(only_segment(dir)).expect("a segment")
}

/// Bytes of one frame of [`written`].
fn frame_bytes() -> usize {
    Encoder::default().encode(&record(1, b"a body"))
}

#[test]
fn a_log_cut_at_any_byte_keeps_its_whole_records_and_goes_on() {
    let source = tempfile::tempdir().expect("a directory");
    let (count, size) = (2u64, frame_bytes());
    let bytes = written(source.path(), count);
    let name = only_segment(source.path());
    let name = name.file_name().expect("a name");
    let cuts = (0..segment::HEADER_BYTES).step_by(61).chain(segment::HEADER_BYTES..bytes.len());
    for cut in cuts {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(name), &bytes[..cut]).expect("written");
        let whole = cut.saturating_sub(segment::HEADER_BYTES) / size;
        let whole = (whole as u64).min(count);
        let expected: Vec<_> = (1..=whole).map(|number| (number, number)).collect();
        assert_eq!(read(dir.path()).records, expected, "before recovery, cut at {cut}");

        let recorder = Recorder::open(dir.path(), "n1", 1, &spec(Durability::Async)).expect("open");
        let recovery = recorder.recovery().clone();
        assert_eq!(recovery.next_lsn, whole + 1, "cut at {cut}");
        assert_eq!(recovery.damaged_places, 0);
        recorder.offer(0, &record(whole + 1, b"after"));
        recorder.close();
        let contents = read(dir.path());
        let expected: Vec<_> = (1..=whole + 1).map(|number| (number, number)).collect();
        assert_eq!(contents.records, expected, "after recovery, cut at {cut}");
        assert_eq!(contents.gaps, [], "a torn tail is no gap, cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_costs_one_record_at_most_and_shows() {
    let data = tempfile::tempdir().expect("a directory");
    let log_dir = data.path().join("log");
    let (count, size) = (4u64, frame_bytes());
    let bytes = written(&log_dir, count);
    let path = only_segment(&log_dir);
    let frames_end = segment::HEADER_BYTES + count as usize * size;
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bad).expect("written");
        let hit = at.checked_sub(segment::HEADER_BYTES).map(|at| (at / size) as u64 + 1);
        let hit = hit.filter(|_| at < frames_end);
        let expected: Vec<_> =
            (1..=count).filter(|n| Some(*n) != hit).map(|number| (number, number)).collect();
        let contents = read(&log_dir);
        assert_eq!(contents.records, expected, "byte {at}");
        if hit.is_none() || at % 7 == 0 {
            assert_found(data.path(), at);
        }
        let lsns: Vec<_> = contents.gaps.iter().map(|gap| gap.lsns.clone()).collect();
        match hit {
            Some(lsn) => assert_eq!(lsns, [Some(lsn..=lsn)], "byte {at}"),
            None => assert_eq!(lsns, [], "byte {at}"),
        }
    }
}

/// What costs no record, in the header or the seal, is told all the same. (All bytes of the frames are
/// flipped beside `verify`.)
fn assert_found(data_dir: &Path, at: usize) {
    let mut told = Vec::new();
    let totals = verify(data_dir, &mut |file| told.extend(file.damage.clone()), &mut |_, _| {});
    assert!(totals.expect("verified").is_damaged(), "byte {at}");
    let [place] = told.as_slice() else { panic!("byte {at}: {told:?}") };
    let span = place.offset..=place.offset + place.bytes;
    assert!(span.contains(&(at as u64)), "byte {at}: {place:?}");
}

#[test]
fn a_damaged_middle_is_kept_reported_and_written_after() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut bytes = written(dir.path(), 5);
    let (path, size) = (only_segment(dir.path()), frame_bytes());
    // Records 2 and 3 are overwritten, and the seal is lost.
    let from = segment::HEADER_BYTES + size;
    bytes[from..from + 2 * size].fill(0xaa);
    bytes.truncate(segment::HEADER_BYTES + 5 * size);
    std::fs::write(&path, &bytes).expect("written");
    let recorder = Recorder::open(dir.path(), "n1", 1, &spec(Durability::Os)).expect("open");
    let recovery = recorder.recovery().clone();
    assert_eq!((recovery.next_lsn, recovery.damaged_places, recovery.healed_bytes), (6, 1, 0));
    recorder.offer(0, &record(6, b""));
    assert_balanced(&recorder.close());
    let contents = read(dir.path());
    let numbers: Vec<_> = contents.records.iter().map(|record| record.0).collect();
    assert_eq!(numbers, [1, 4, 5, 6]);
    let [gap] = contents.gaps.as_slice() else { panic!("{:?}", contents.gaps) };
    assert_eq!(gap.lsns, Some(2..=3));
    assert_eq!((gap.offset, gap.bytes), (from as u64, 2 * size as u64));
    assert_eq!((gap.reason, &gap.segment), (GapReason::Damaged, &path));
}

/// The segment of a gateway that was killed after it had acknowledged `count` records, in a directory of
/// its own.
fn killed(count: u64) -> (tempfile::TempDir, Vec<u8>) {
    let source = tempfile::tempdir().expect("a directory");
    let recorder = Recorder::open(source.path(), "n1", 1, &spec(Durability::Os)).expect("open");
    for number in 1..=count {
        assert_eq!(wait(&recorder, recorder.offer(0, &record(number, b"a body"))), Ok(()));
    }
    let dir = tempfile::tempdir().expect("a directory");
    copy(source.path(), dir.path());
    recorder.close();
    let bytes = std::fs::read(only_segment(dir.path())).expect("read");
    (dir, bytes)
}

/// Starts on a segment whose last records are damaged, and checks that `lost` are told and their numbers
/// not given again.
fn assert_told(bad: &[u8], lost: std::ops::RangeInclusive<u64>, what: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = segment::path(dir.path(), 1);
    std::fs::write(&path, bad).expect("written");
    let recorder = Recorder::open(dir.path(), "n1", 1, &spec(Durability::Os)).expect("open");
    let recovery = recorder.recovery().clone();
    assert_eq!(recovery.lost.map(|lost| lost.lsns), Some(lost.clone()), "{what}");
    assert_eq!((recovery.next_lsn, recovery.healed_bytes), (lost.end() + 1, 0), "{what}");
    let kept = std::fs::read(aside::suspect_path(dir.path(), 1)).expect("kept aside");
    let written = bad.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    assert!(kept.starts_with(&bad[..written]), "{what}");
    assert_eq!(wait(&recorder, recorder.offer(0, &record(100, b""))), Ok(()), "{what}");
    recorder.close();
    // Once more: it is told once.
    let recorder = Recorder::open(dir.path(), "n1", 1, &spec(Durability::Os)).expect("open");
    assert_eq!(recorder.recovery().lost, None, "{what}");
    recorder.close();
    let contents = read(dir.path());
    let numbers: Vec<_> = contents.records.iter().map(|record| record.1).collect();
    assert_eq!(numbers, (1..*lost.start()).chain([100]).collect::<Vec<_>>(), "{what}");
    let gaps: Vec<_> = contents.gaps.into_iter().map(|gap| (gap.reason, gap.lsns)).collect();
    assert_eq!(gaps, [(GapReason::Damaged, Some(lost.clone()))], "{what}");
    let count = lost.end() - lost.start() + 1;
    let said = (GapReason::Damaged, Some((*lost.start(), *lost.end())), count);
    assert_eq!(contents.gap_rows, [said], "{what}: the log itself says it");
}

#[test]
fn a_flipped_bit_in_the_last_record_of_a_killed_log_is_told() {
    for count in [1, 3] {
        let (_dir, bytes) = killed(count);
        let from = bytes.len() - frame_bytes();
        let payload = from + frame::HEADER_BYTES;
        for at in (from..payload).chain((payload..bytes.len()).step_by(11)).chain([bytes.len() - 1])
        {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            assert_told(&bad, count..=count, &format!("byte {at} of the last of {count}"));
        }
    }
}

#[test]
fn a_flipped_bit_in_the_last_record_before_zeros_is_told() {
    let (_dir, mut bytes) = killed(3);
    let from = bytes.len() - frame_bytes();
    let body = bytes[from..].windows(6).position(|part| part == b"a body").expect("a body");
    bytes.resize(64 * 1024, 0);
    let header = from..from + frame::HEADER_BYTES;
    for at in header.chain(from + body..from + body + 6) {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        assert_told(&bad, 3..=3, &format!("byte {at}"));
    }
}

#[test]
fn all_damaged_records_at_the_end_are_told() {
    let (_dir, bytes) = killed(4);
    let (end, size) = (bytes.len(), frame_bytes());
    let mut bad = bytes;
    bad[end - 2 * size + 100] ^= 1;
    bad[end - size + 100] ^= 1;
    assert_told(&bad, 3..=4, "both");
    // Behind the damaged record there is the beginning of another, which nobody was promised.
    bad.truncate(end - 50);
    assert_told(&bad, 3..=3, "and a torn one");
}

#[test]
fn zeros_and_stale_frames_after_the_end_are_not_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut bytes = written(dir.path(), 3);
    let size = frame_bytes();
    bytes.truncate(segment::HEADER_BYTES + 2 * size);
    bytes.resize(bytes.len() + 100_000, 0);
    std::fs::write(only_segment(dir.path()), &bytes).expect("written");
    assert_eq!(read(dir.path()).records.len(), 2);
    assert_eq!(survey(dir.path()).expect("a log").torn_bytes, 0);
    // A frame of another epoch, as a recycled file would hold it: intact, but not ours.
    let stale = frame::seal(1, 2, 2);
    let at = segment::HEADER_BYTES + 2 * size;
    bytes[at..at + stale.len()].copy_from_slice(&stale);
    std::fs::write(only_segment(dir.path()), &bytes).expect("written");
    assert_eq!(survey(dir.path()).expect("a log").sealed, 0);
    let recorder = Recorder::open(dir.path(), "n1", 1, &spec(Durability::Os)).expect("open");
    assert_eq!(recorder.recovery().next_lsn, 3);
    // The last byte of the stale seal's payload that is not zero.
    assert_eq!(recorder.recovery().healed_bytes, 33);
}

#[test]
fn a_file_that_is_no_segment_is_put_aside() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(segment::file_name(7));
    std::fs::write(&path, vec![0x55; 5000]).expect("written");
    std::fs::write(dir.path().join("00000000000000000009.seg.tmp"), b"half").expect("written");
    let recorder = Recorder::open(dir.path(), "n1", 1, &spec(Durability::Os)).expect("open");
    let recovery = recorder.recovery().clone();
    assert_eq!(recovery.next_lsn, 7, "the name tells which numbers are taken");
    let aside = recovery.put_aside.expect("put aside");
    assert_eq!(std::fs::read(aside).expect("kept"), vec![0x55; 5000]);
    recorder.offer(0, &record(1, b""));
    recorder.close();
    assert_eq!(read(dir.path()).records, [(7, 1)]);
    let names: BTreeSet<_> = std::fs::read_dir(dir.path())
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    let suspect = format!("{}.suspect", segment::file_name(7));
    let expected = [segment::file_name(7), suspect, "LOCK".to_owned(), "clock".to_owned()];
    assert_eq!(names, expected.into_iter().collect());
}

#[test]
fn arbitrary_bytes_are_searched_without_panic_or_endless_work() {
    let dir = tempfile::tempdir().expect("a directory");
    let good = written(dir.path(), 3);
    assert_eq!(fuzz_segment(&good), 3);
    let mut seed = fastrand::Rng::with_seed(1);
    for _ in 0..500 {
        let mut bytes = good.clone();
        for _ in 0..seed.usize(1..30) {
            let at = seed.usize(..bytes.len());
            bytes[at] = seed.u8(..);
        }
        bytes.truncate(seed.usize(..=bytes.len()));
        assert!(fuzz_segment(&bytes) <= 3);
    }
    // Headers only, each of which claims most of what follows.
    let mut header = [0; frame::HEADER_BYTES];
    frame::begin(&mut header, frame::KIND_RECORD, 500_000);
    frame::number(&mut header, 1, 1);
    let hostile = [vec![0; segment::HEADER_BYTES], header.repeat(40_000)].concat();
    assert_eq!(fuzz_segment(&hostile), 0);
    // A search that gave up may have missed something: nothing is cut off.
    let path = only_segment(dir.path());
    std::fs::write(&path, &hostile).expect("written");
    Recorder::open(dir.path(), "n1", 1, &spec(Durability::Os)).expect("open").close();
    let kept = std::fs::read(path.with_extension("seg.suspect")).expect("put aside");
    assert_eq!(kept, hostile);
}
