//! Tests of the Parquet files as a whole: what was recorded is in them, once, wherever the process
//! ends in between.

use std::fs::File;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::catalog::{Hour, catalog, file_name, list, parquet_dir};
use super::convert::{ConvertError, Converted, convert, give_up};
use super::disk::Disk;
use super::read::{ParquetRows, Prune};
use super::segments::{Closed, backlog};
use super::write::RowWriter;
use crate::domain::ids::RecordId;
use crate::domain::record::{
    Entry, FeedbackRecord, FeedbackTarget, GapReason, GapRecord, PredictionRecord,
};
use crate::domain::spec::Durability;
use crate::prediction_log::files::LocalFiles;
use crate::prediction_log::tests::rows;
use crate::prediction_log::tests::sample::{self, spec};
use crate::prediction_log::{Item, LogReader, Offer, Recorder, Row};

mod crash;
mod keeping;
mod merging;
mod speed;

const HOUR_US: u64 = 3_600_000_000;

/// Writes rows as one file.
fn write(path: &Path, rows: &[Row<'_>]) {
    let mut writer =
        RowWriter::new(File::create(path).expect("created"), 1, "n1", (1, 9)).expect("started");
    for row in rows {
        writer.push(row).expect("pushed");
    }
    assert_eq!(writer.rows(), rows.len() as u64);
    writer.finish().expect("finished");
}

fn assert_reads(path: &Path, rows: &[Row<'_>]) {
    let mut reader = ParquetRows::open(path, &Prune::default()).expect("a Parquet file");
    assert_eq!(reader.rows_in_file(), rows.len() as u64);
    for row in rows {
        assert_eq!(reader.next_row().expect("readable").as_ref(), Some(row));
    }
    assert_eq!(reader.next_row().expect("readable"), None);
}

fn row(lsn: u64, entry: Entry<'_>) -> Row<'_> {
    Row { lsn, node: "n1", schema_version: 1, entry }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn predictions_are_read_as_they_were_written(all in prop::collection::vec(rows::parts(), 1..12)) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        let bodies: Vec<_> = all.iter().map(rows::wholes).collect();
        let records = all.iter().zip(&bodies).map(|(parts, wholes)| rows::record(parts, wholes));
        let rows: Vec<_> =
            records.zip(1..).map(|(record, lsn)| row(lsn, Entry::Prediction(record))).collect();
        write(&path, &rows);
        assert_reads(&path, &rows);
    }

    #[test]
    fn feedback_and_gaps_are_read_as_they_were_written(
        ids in any::<([u8; 16], [u8; 16])>(),
        texts in prop::collection::vec(".{0,20}", 5),
        target in 0..3,
        numbers in any::<(u64, Option<u64>, bool, u64)>(),
        value in prop::option::of(any::<f64>().prop_filter("equal to itself", |f| !f.is_nan())),
        label in prop::option::of(".{0,20}"),
        reason in prop::sample::select(GapReason::ALL),
        lsns in any::<Option<(u64, u64)>>(),
    ) {
        let feedback = FeedbackRecord {
            record_id: RecordId::from_bytes(ids.0),
            feedback_id: &texts[0],
            ts_us: numbers.0,
            target: match target {
                0 => FeedbackTarget::Prediction(RecordId::from_bytes(ids.1)),
                1 => FeedbackTarget::Request(&texts[1]),
                _ => FeedbackTarget::Key(&texts[1]),
            },
            model: &texts[2],
            metric: &texts[3],
            value,
            label: label.as_deref(),
            source: &texts[4],
            observed_us: numbers.1,
            retracted: numbers.2,
        };
        let gap = GapRecord {
            ts_us: numbers.0,
            reason,
            lsns,
            records: numbers.3,
            consumer: &texts[0],
            detail: &texts[1],
        };
        let rows = [row(7, Entry::Feedback(feedback)), row(u64::MAX, Entry::Gap(gap.clone())), row(0, Entry::Gap(gap))];
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        write(&path, &rows);
        assert_reads(&path, &rows);
    }
}

#[test]
fn a_file_has_several_row_groups_and_only_those_that_matter_are_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a");
    let body = vec![b'x'; 1024 * 1024];
    let records: Vec<_> = (1..=100).map(|number| sample::record(number * 1000, &body)).collect();
    let all: Vec<_> = records
        .iter()
        .zip(1..)
        .map(|(record, lsn)| row(lsn, Entry::Prediction(record.clone())))
        .collect();
    write(&path, &all);
    assert_reads(&path, &all);

    let found = |prune: &Prune<'_>| {
        let mut reader = ParquetRows::open(&path, prune).expect("a Parquet file");
        let mut found = Vec::new();
        while let Some(row) = reader.next_row().expect("readable") {
            found.push(row.lsn);
        }
        found
    };
    let ids = [records[41].record_id, RecordId::from_bytes([0xaa; 16]), records[99].record_id];
    assert_eq!(found(&Prune { ids: &ids, ..Prune::default() }), [42, 100]);
    assert_eq!(found(&Prune { ids: &ids[1..2], ..Prune::default() }), Vec::<u64>::new());
    for prune in [
        Prune { ts: Some((0, 5000)), ..Prune::default() },
        Prune { lsns: Some((1, 5)), ..Prune::default() },
    ] {
        let found = found(&prune);
        assert!(found.starts_with(&[1, 2, 3, 4, 5]) && found.len() < 50, "{found:?}");
    }
    assert_eq!(
        found(&Prune { ts: Some((101_000, 200_000)), ..Prune::default() }),
        Vec::<u64>::new()
    );
    assert_eq!(
        found(&Prune { ts: Some((101_000, u64::MAX)), ..Prune::default() }),
        Vec::<u64>::new()
    );
}

#[test]
fn damaged_files_are_errors() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a");
    std::fs::write(&path, b"PAR1 but no more").expect("written");
    let error = ParquetRows::open(&path, &Prune::default()).expect_err("no file");
    assert!(error.to_string().contains("cannot read the Parquet file"), "{error}");
}

/// A log and the place of its Parquet files.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn root(&self) -> PathBuf {
        parquet_dir(self.dir.path())
    }

    fn disk(&self) -> Disk {
        Disk::new(&self.root())
    }

    /// Records rows and ends the log.
    fn record(&self, times: &[u64]) {
        let recorder =
            Recorder::open(&self.log(), "n1", 1, &spec(Durability::Async)).expect("open");
        for &ts_us in times {
            let record = PredictionRecord { ts_us, ..sample::record(ts_us, b"body") };
            assert!(matches!(recorder.offer(0, &record), Offer::Queued(_)));
        }
        recorder.close();
    }

    fn backlog(&self, done: u64) -> Vec<Closed> {
        let last = last_lsn(&self.log());
        backlog(&LocalFiles, &self.log(), done, last).expect("listed")
    }

    fn convert(&self, disk: &Disk, closed: Closed) -> Result<Converted, ConvertError> {
        convert(&LocalFiles, &self.log(), disk, closed, 1, &mut || true)
    }

    fn convert_all(&self, disk: &Disk) {
        for closed in self.backlog(0) {
            self.convert(disk, closed).expect("converted");
        }
    }
}

/// The number of the last record of a log.
fn last_lsn(log: &Path) -> u64 {
    let mut reader = LogReader::open(log).expect("a log");
    let mut last = 0;
    while let Some(item) = reader.next_item().expect("readable") {
        if let Item::Row(row) = item {
            last = row.lsn;
        }
    }
    last
}

/// Numbers and times of all rows, as a reader that trusts names sees them: hour by hour.
fn rows_of(root: &Path) -> Vec<(u64, u64)> {
    rows_in(&catalog(root).expect("listed"))
}

/// The same for readers that take every file that there is.
fn rows_of_all_files(root: &Path) -> Vec<(u64, u64)> {
    rows_in(&list(root).expect("listed"))
}

fn rows_in(files: &[super::ParquetFile]) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for file in files {
        let mut reader = ParquetRows::open(&file.path, &Prune::default()).expect("a Parquet file");
        while let Some(row) = reader.next_row().expect("readable") {
            let ts_us = super::segments::ts_us(&row.entry);
            assert_eq!(Hour::of(ts_us), file.hour, "{}", file.path.display());
            assert!((file.first_lsn..=file.last_lsn).contains(&row.lsn) || row.lsn == 0);
            found.push((row.lsn, ts_us));
        }
    }
    found.sort_unstable();
    found
}

/// What `rows_of` has to find for these times.
fn numbered(times: &[u64]) -> Vec<(u64, u64)> {
    (1..).zip(times.iter().copied()).collect()
}

#[test]
fn rows_lie_in_the_hours_of_their_times() {
    let fixture = Fixture::new();
    let times = [HOUR_US + 1, HOUR_US + 2, 3 * HOUR_US, HOUR_US + 3, 2 * HOUR_US];
    fixture.record(&times);
    fixture.convert_all(&fixture.disk());
    let mut names: Vec<_> =
        catalog(&fixture.root()).expect("listed").into_iter().map(|file| file.path).collect();
    names.sort_unstable();
    let wanted = ["01", "02", "03"].map(|hour| {
        fixture.root().join(format!("dt=1970-01-01/hour={hour}")).join(file_name(1, 5))
    });
    assert_eq!(names, wanted);
    assert_eq!(rows_of_all_files(&fixture.root()), numbered(&times));
}

#[test]
fn a_clock_gone_astray_makes_a_bounded_number_of_files() {
    let fixture = Fixture::new();
    let times: Vec<_> = (0..200).map(|hour| hour * HOUR_US).collect();
    fixture.record(&times);
    let converted = fixture.convert(&fixture.disk(), fixture.backlog(0)[0]).expect("converted");
    assert!(converted.rows > 64, "{converted:?}");
    assert_eq!(catalog(&fixture.root()).expect("listed").len(), 64);
}

#[test]
fn what_is_missing_in_a_segment_becomes_a_gap_row_beside_its_neighbour() {
    let fixture = Fixture::new();
    fixture.record(&[HOUR_US, HOUR_US + 1, HOUR_US + 2]);
    let path = sample::only_segment(&fixture.log());
    let mut bytes = std::fs::read(&path).expect("read");
    let middle = bytes.len() * 3 / 5;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    fixture.convert_all(&fixture.disk());
    let files = catalog(&fixture.root()).expect("listed");
    let mut reader = ParquetRows::open(&files[0].path, &Prune::default()).expect("a file");
    let mut gaps = Vec::new();
    let mut lsns = Vec::new();
    while let Some(row) = reader.next_row().expect("readable") {
        match &row.entry {
            Entry::Gap(gap) => gaps.push((row.lsn, gap.reason, gap.lsns, gap.records, gap.ts_us)),
            _ => lsns.push(row.lsn),
        }
    }
    assert_eq!(lsns, [1, 3]);
    assert_eq!(gaps, [(0, GapReason::Damaged, Some((2, 2)), 1, HOUR_US)]);
}

#[test]
fn a_segment_that_is_given_up_leaves_a_gap_row() {
    let fixture = Fixture::new();
    let closed = Closed { name: 5, first_lsn: 5, last_lsn: 9, bytes: 0 };
    let disk = fixture.disk();
    let made = give_up(&disk, closed, HOUR_US, GapReason::Io, "no.seg", 1).expect("written");
    assert_eq!((made.rows, made.files), (1, 1));
    assert_eq!(rows_of(&fixture.root()), [(0, HOUR_US)]);
}

#[test]
fn conversion_stops_when_it_is_told_to_and_leaves_nothing_to_readers() {
    let fixture = Fixture::new();
    fixture.record(&[HOUR_US]);
    let disk = fixture.disk();
    let closed = fixture.backlog(0)[0];
    let stopped = convert(&LocalFiles, &fixture.log(), &disk, closed, 1, &mut || false);
    assert!(matches!(stopped, Err(ConvertError::Stopped)), "{stopped:?}");
    assert_eq!(rows_of(&fixture.root()), Vec::new());
}
