//! The view over the whole log, with the real writer and the real conversion under it.

use std::path::Path;
use std::time::Instant;

use super::export::{Form, export};
use super::filter::Filter;
use super::totals::totals;
use super::verify::{Beyond, FileReport, Totals, verify};
use super::*;
use crate::domain::ids::RecordId;
use crate::domain::record::{Entry, PredictionRecord};
use crate::domain::spec::{Durability, LogSpec};
use crate::prediction_log::parquet::{catalog, convert_oldest, parquet_dir};
use crate::prediction_log::tests::sample::{record, spec};
use crate::prediction_log::{Item, Offer, Recorder};

/// An hour in the middle of a day, in microseconds since the Unix epoch.
const NOON_US: u64 = 1_700_000_000_000_000;
const HOUR_US: u64 = 3_600_000_000;

/// Record `n` of a log whose records lie a second apart.
fn numbered(n: u64) -> PredictionRecord<'static> {
    let ts_us = NOON_US + n * 1_000_000;
    let mut random = [0; 10];
    random[..8].copy_from_slice(&n.to_le_bytes());
    let mut record = record(ts_us, b"{\"x\": 1}");
    record.record_id = RecordId::from_parts(ts_us / 1000, random);
    record
}

fn write(data_dir: &Path, numbers: std::ops::RangeInclusive<u64>, spec: &LogSpec) {
    let log = data_dir.join("log");
    let recorder = Recorder::open(&log, "edge-1", 1, spec).expect("open");
    for n in numbers {
        assert!(matches!(recorder.offer(0, &numbered(n)), Offer::Queued(_)), "{n}");
    }
    recorder.close();
}

/// Small segments, and a queue that takes everything.
fn roomy() -> LogSpec {
    LogSpec { queue: 64 * 1024 * 1024, ..spec(Durability::Os) }
}

/// A log of `count` records in many small segments, of which the first `converted` are Parquet files.
fn log(count: u64, converted: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), 1..=count, &roomy());
    for _ in 0..converted {
        convert_oldest(dir.path()).expect("a segment to convert");
    }
    dir
}

fn read(log: &mut Log) -> Vec<u64> {
    let mut lsns = Vec::new();
    while let Some(item) = log.next_item().expect("readable") {
        match item {
            Item::Row(row) => {
                let Entry::Prediction(record) = &row.entry else { panic!("{row:?}") };
                assert_eq!(record.ts_us, NOON_US + row.lsn * 1_000_000);
                lsns.push(row.lsn);
            }
            Item::Gap(gap) => panic!("{gap:?}"),
        }
    }
    lsns
}

fn all(count: u64) -> Vec<u64> {
    (1..=count).collect()
}

#[test]
fn segments_and_parquet_files_are_one_stream() {
    for converted in [0, 1, 7] {
        let dir = log(4000, converted);
        assert_eq!(read(&mut Log::open(dir.path()).expect("a log")), all(4000), "{converted}");
        let scope = Scope::of_lsns(1000, 2500);
        let mut part = Log::open_scope(dir.path(), scope).expect("a log");
        assert_eq!(read(&mut part), (1000..=2500).collect::<Vec<_>>());
        let last = last(dir.path(), 3990, &Filter::default()).expect("counted");
        assert_eq!(last.first_lsn + last.skip, 11, "{last:?}");
    }
    let empty = tempfile::tempdir().expect("a directory");
    assert!(matches!(Log::open(empty.path()), Err(LogError::Nothing { .. })));
}

#[test]
fn nothing_is_doubled_or_lost_while_segments_are_converted_under_the_reader() {
    let dir = log(12_000, 0);
    std::thread::scope(|threads| {
        let converter = threads.spawn(|| while convert_oldest(dir.path()).is_some() {});
        let mut passes = 0;
        loop {
            let last = converter.is_finished();
            assert_eq!(read(&mut Log::open(dir.path()).expect("a log")), all(12_000));
            passes += 1;
            if last {
                break;
            }
        }
        assert!(passes > 1);
        converter.join().expect("converted");
    });
    assert!(catalog(&parquet_dir(dir.path())).expect("listed").len() > 3);
    assert_eq!(damage(dir.path()).1.len(), 0);
}

#[test]
fn a_reader_in_the_middle_goes_on_when_its_segment_is_converted() {
    let dir = log(4000, 0);
    let mut reader = Log::open(dir.path()).expect("a log");
    for lsn in 1..=4000 {
        if lsn % 300 == 0 {
            convert_oldest(dir.path());
        }
        let item = reader.next_item().expect("readable");
        assert!(matches!(&item, Some(Item::Row(row)) if row.lsn == lsn), "{lsn}: {item:?}");
    }
    assert_eq!(reader.next_item().expect("readable"), None);
    // And a log that grows is followed across the next conversion.
    write(dir.path(), 4001..=5000, &roomy());
    while convert_oldest(dir.path()).is_some() {}
    assert_eq!(read(&mut reader), (4001..=5000).collect::<Vec<_>>());
}

#[test]
fn times_choose_files_and_lose_no_row() {
    let dir = log(8000, 0);
    while convert_oldest(dir.path()).is_some_and(|done| done < 4000) {}
    for (from, to) in [(1, 8000), (3000, 3600), (3601, 3601), (7000, 9000)] {
        let bounds = (NOON_US + from * 1_000_000, NOON_US + to * 1_000_000);
        let filter =
            Filter { since_us: Some(bounds.0), until_us: Some(bounds.1 + 1), ..Filter::default() };
        let scope = Scope { ts_us: filter.ts_us(), ..Scope::default() };
        let mut reader = Log::open_scope(dir.path(), scope).expect("a log");
        let mut found = Vec::new();
        while let Some(Item::Row(row)) = reader.next_item().expect("readable") {
            if filter.takes(&row) {
                found.push(row.lsn);
            }
        }
        // The segments were written today, far from the times in them: only what is converted counts.
        let converted = log::converted(dir.path()).expect("a cursor");
        let wanted: Vec<u64> = (from..=to.min(converted)).collect();
        assert_eq!(found, wanted, "{from} to {to}");
    }
    assert!(
        catalog(&parquet_dir(dir.path()))
            .expect("listed")
            .iter()
            .any(|f| f.hour.end_us() > NOON_US + HOUR_US)
    );
}

#[test]
fn an_id_is_found_wherever_its_record_is() {
    let dir = log(4000, 5);
    for n in [1, 2, 1999, 3999, 4000] {
        let found = find(dir.path(), numbered(n).record_id).expect("searched");
        assert_eq!(found, Some(n));
    }
    assert_eq!(find(dir.path(), numbered(4001).record_id).expect("searched"), None);
    // Damage before a record does not hide it.
    let segment = segments(dir.path()).pop().expect("a segment");
    flip(&segment, 600);
    let report = damage(dir.path());
    assert_eq!(find(dir.path(), numbered(4000).record_id).expect("searched"), Some(4000));
    let lost = report.1[0].damage[0].lsns.clone().expect("numbers");
    assert_eq!(find(dir.path(), numbered(*lost.start()).record_id).expect("searched"), None);
}

fn segments(data_dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(data_dir.join("log")).expect("listed");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "seg"))
        .collect();
    paths.sort();
    paths
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[at] ^= 0x20;
    std::fs::write(path, bytes).expect("written");
}

/// The totals, and the files with damage.
fn damage(data_dir: &Path) -> (Totals, Vec<FileReport>) {
    let mut damaged = Vec::new();
    let mut report = |file: &FileReport| {
        if !file.damage.is_empty() {
            damaged.push(file.clone());
        }
    };
    let totals = verify(data_dir, &mut report, &mut |_, _| {}).expect("verified");
    (totals, damaged)
}

#[test]
fn a_whole_log_is_clean_and_its_totals_are_right() {
    let dir = log(4000, 5);
    let (verified, damaged) = damage(dir.path());
    assert!(!verified.is_damaged() && damaged.is_empty(), "{verified:?} {damaged:?}");
    assert_eq!(verified.records, 4000);
    let totals = totals(dir.path()).expect("added up");
    assert_eq!((totals.records, totals.missing), (4000, 0));
    assert_eq!((totals.first_lsn, totals.last_lsn), (Some(1), Some(4000)));
    assert_eq!(totals.cursors[0].name, "parquet");
    assert_eq!(totals.cursors[0].position + totals.cursors[0].lag, 4000);
    assert_eq!(totals.cursors[0].ahead, 0);
    assert_eq!(totals.since_us, Some(NOON_US + 1_000_000), "the first record, not its hour");
}

#[test]
fn an_end_that_a_consumer_has_seen_is_missed() {
    let dir = log(4000, 0);
    while convert_oldest(dir.path()).is_some() {}
    let converted = log::converted(dir.path()).expect("a cursor");
    let files = catalog(&parquet_dir(dir.path())).expect("listed");
    let kept = files.iter().map(|file| file.last_lsn).filter(|last| *last < converted).max();
    let kept = kept.expect("several files");
    // The rest of the log lies in the last segment.
    for path in segments(dir.path()) {
        std::fs::remove_file(path).expect("removed");
    }
    let (verified, _) = damage(dir.path());
    assert!(!verified.is_damaged(), "all that a consumer has passed is there: {verified:?}");
    for file in files.iter().filter(|file| file.last_lsn > kept) {
        std::fs::remove_file(&file.path).expect("removed");
    }
    let (verified, _) = damage(dir.path());
    let beyond = Beyond { consumer: "parquet".to_owned(), position: converted, last_lsn: kept };
    assert_eq!(verified.beyond, [beyond]);
    assert!(verified.is_damaged());
    let cursor = &totals(dir.path()).expect("added up").cursors[0];
    assert_eq!((cursor.lag, cursor.ahead), (0, converted - kept));
    // The next start gives no number again, and says by the name of its segment where it begins.
    write(dir.path(), 1..=1, &roomy());
    let (verified, _) = damage(dir.path());
    assert_eq!(verified.beyond, []);
}

#[test]
fn any_flipped_byte_of_a_parquet_file_is_found() {
    let dir = log(1500, 2);
    let file = catalog(&parquet_dir(dir.path())).expect("listed").remove(0);
    let good = std::fs::read(&file.path).expect("read");
    // Among them every byte of the checksum and its name, which stand in the footer.
    let key = b"pointsman.crc32c";
    let key_at = good.windows(key.len()).rposition(|part| part == key).expect("a checksum");
    let mut named = 0;
    let everywhere = (0..good.len()).step_by(good.len() / 60);
    let ends = (key_at..key_at + key.len() + 10).chain(good.len() - 8..good.len());
    for at in everywhere.chain(ends) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&file.path, &bad).expect("written");
        let (totals, damaged) = damage(dir.path());
        assert!(totals.is_damaged() && damaged[0].path == file.path, "byte {at} of {}", good.len());
        assert_eq!((totals.damaged_places, damaged[0].damage.len()), (1, 1), "byte {at}");
        let place = &damaged[0].damage[0];
        assert!(place.what.starts_with("somewhere in the file: "), "byte {at}: {place:?}");
        named += u64::from(place.what.contains("the row groups at offset"));
        // Reading goes on with what can be read.
        let mut reader = Log::open(dir.path()).expect("a log");
        while reader.next_item().expect("no end").is_some() {}
    }
    assert!(named > 0, "where reading fails is told");
    std::fs::write(&file.path, &good).expect("written");
    assert!(!damage(dir.path()).0.is_damaged());
}

#[test]
fn flipped_bytes_and_missing_segments_are_damage_and_told_with_their_place() {
    let dir = log(4000, 0);
    let paths = segments(dir.path());
    let good = std::fs::read(&paths[1]).expect("read");
    flip(&paths[1], 5000);
    let (totals, damaged) = damage(dir.path());
    assert!(totals.is_damaged() && totals.damaged_places == 1);
    let place = &damaged[0].damage[0];
    assert!(damaged[0].path == paths[1] && place.offset <= 5000, "{place:?}");
    assert!(place.offset + place.bytes > 5000, "{place:?}");
    std::fs::write(&paths[1], good).expect("written");
    assert!(!damage(dir.path()).0.is_damaged());
    std::fs::remove_file(&paths[2]).expect("removed");
    let (totals, _) = damage(dir.path());
    assert!(totals.is_damaged() && totals.lost.len() == 1, "{totals:?}");
    // The oldest go by retention: that is no damage.
    for path in &paths[..=1] {
        std::fs::remove_file(path).expect("removed");
    }
    assert!(!damage(dir.path()).0.is_damaged());
}

#[test]
fn exports_hold_every_row_and_never_replace_a_file_unasked() {
    let dir = log(4000, 3);
    for (form, lines) in [
        (Form::Jsonl, 4000),
        (Form::CloudEvents(cloudevents::Settings::default()), 8000),
        (Form::SageMaker, 4000),
    ] {
        let out = tempfile::tempdir().expect("a directory");
        let run = |force| {
            let target = (out.path(), force);
            let filter = Filter::default();
            export(dir.path(), &[Scope::default()], &filter, &form, target, &mut |_| {})
        };
        let summary = run(false).expect("exported");
        assert_eq!((summary.rows, summary.events), (4000, lines), "{form:?}");
        let read: usize = summary
            .files
            .iter()
            .map(|path| std::fs::read_to_string(path).expect("text").lines().count())
            .sum();
        assert_eq!(read as u64, lines);
        assert!(matches!(run(false), Err(ExportError::Exists { .. })));
        let again = run(true).expect("exported");
        assert_eq!(again.files, summary.files);
        assert_eq!(again.replaced, summary.files.len() as u64);
        let left: Vec<_> = std::fs::read_dir(out.path()).expect("listed").collect();
        assert!(left.iter().all(|entry| {
            let name = entry.as_ref().expect("an entry").file_name();
            !name.to_string_lossy().starts_with('.')
        }));
    }
}

#[test]
fn exported_parquet_is_a_catalog_of_the_same_rows() {
    let dir = log(4000, 3);
    let out = tempfile::tempdir().expect("a directory");
    let filter = Filter::default();
    let target = (out.path(), false);
    let summary =
        export(dir.path(), &[Scope::default()], &filter, &Form::Parquet, target, &mut |_| {})
            .expect("exported");
    let files = catalog(out.path()).expect("listed");
    assert_eq!(files.iter().map(|f| f.path.clone()).collect::<Vec<_>>(), summary.files);
    assert!(files.len() >= 2, "one for each hour");
    let mut lsns = Vec::new();
    for file in files {
        let prune = crate::prediction_log::parquet::Prune::default();
        let mut rows =
            crate::prediction_log::parquet::ParquetRows::open(&file.path, &prune).expect("open");
        while let Some(lsn) = rows.advance().expect("readable") {
            lsns.push(lsn);
        }
        let sum = crate::prediction_log::parquet::checksum(&file.path).expect("read");
        assert_eq!(sum, crate::prediction_log::parquet::Checksum::Good);
    }
    assert_eq!(lsns, all(4000));
}

/// How long one id takes in a large log; `--run-ignored` with `POINTSMAN_RECORDS` for more of them.
fn time_of_an_id(count: u64, convert: bool) -> std::time::Duration {
    let dir = tempfile::tempdir().expect("a directory");
    let spec =
        LogSpec { segment: 64 * 1024 * 1024, queue: 256 * 1024 * 1024, ..spec(Durability::Async) };
    write(dir.path(), 1..=count, &spec);
    while convert && convert_oldest(dir.path()).is_some() {}
    let started = Instant::now();
    for n in [1, count / 2, count] {
        assert_eq!(find(dir.path(), numbered(n).record_id).expect("searched"), Some(n));
    }
    assert_eq!(find(dir.path(), numbered(count + 1).record_id).expect("searched"), None);
    started.elapsed() / 4
}

#[test]
fn an_id_in_a_log_of_a_hundred_thousand_is_found_in_a_second() {
    let time = time_of_an_id(100_000, false);
    assert!(time.as_secs_f64() < 1.0, "{time:?}");
}

#[test]
#[ignore = "writes a gigabyte"]
fn an_id_in_a_log_of_a_million_is_found_in_a_second() {
    for convert in [false, true] {
        let time = time_of_an_id(1_000_000, convert);
        eprintln!("one id of a million, converted {convert}: {time:?}");
        assert!(time.as_secs_f64() < 1.0, "{time:?}");
    }
}
