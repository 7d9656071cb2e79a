//! The thread that keeps the Parquet files: what it says about what is gone, and what it keeps.

use std::time::Duration;

use super::*;
use crate::domain::ids::Permille;
use crate::domain::spec::LogSpec;
use crate::prediction_log::aside::suspect_path;
use crate::prediction_log::parquet::Compactor;
use crate::prediction_log::segment;
use crate::prediction_log::tests::sample::{eventually, wait};

fn small() -> LogSpec {
    LogSpec { free: Permille::saturating(0), ..spec(Durability::Os) }
}

fn put(recorder: &Recorder, numbers: std::ops::RangeInclusive<u64>) {
    // Bodies that do not become shorter.
    let mut random = fastrand::Rng::with_seed(*numbers.start());
    for number in numbers {
        let body: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(8000).collect();
        let offer = recorder.offer(0, &sample::record(HOUR_US + number, &body));
        assert_eq!(wait(recorder, offer), Ok(()));
    }
}

fn start(recorder: &Recorder, fixture: &Fixture, spec: &LogSpec) -> Compactor {
    let all = Box::new(|| u64::MAX);
    let started = Compactor::start(recorder, fixture.dir.path(), spec, all).expect("started");
    started.expect("Parquet is on")
}

/// Consumer, reason and numbers.
type GapRow = (String, GapReason, Option<(u64, u64)>);

/// The gap rows in the segments and in the Parquet files.
fn gap_rows(fixture: &Fixture) -> Vec<GapRow> {
    let mut found = Vec::new();
    let mut take = |row: &Row<'_>| {
        if let Entry::Gap(gap) = &row.entry {
            found.push((gap.consumer.to_owned(), gap.reason, gap.lsns));
        }
    };
    let mut reader = LogReader::open(&fixture.log()).expect("a log");
    while let Some(item) = reader.next_item().expect("readable") {
        if let Item::Row(row) = item {
            take(&row);
        }
    }
    for file in catalog(&fixture.root()).expect("listed") {
        let mut rows = ParquetRows::open(&file.path, &Prune::default()).expect("a Parquet file");
        while let Some(row) = rows.next_row().expect("readable") {
            take(&row);
        }
    }
    found
}

#[test]
fn a_sink_of_files_that_misses_one_is_named_in_a_gap_row() {
    let fixture = Fixture::new();
    let tight = LogSpec { retain: 400 * 1024, ..small() };
    let recorder = Recorder::open(&fixture.log(), "n1", 1, &tight).expect("open");
    let lake = recorder.consumers().register_for_files("lake", false).expect("a cursor");
    let compactor = start(&recorder, &fixture, &tight);
    for first in (1..=200).step_by(20) {
        // Never so much at once that segments would have to go before they are converted.
        put(&recorder, first..=first + 19);
        let last_closed = || recorder.progress().closed() + 10 > first + 19;
        eventually("all but the open segment is synced", last_closed);
        let closed = recorder.progress().closed();
        eventually("converted", || recorder.consumers().parquet_up_to() >= Some(closed));
    }
    eventually("files were removed", || compactor.stats().removed > 3);
    eventually("the sink was skipped", || lake.position() > 0);
    recorder.close();
    compactor.finish(Duration::from_secs(30));
    // The gap rows are of the present and lie in another hour.
    let files = catalog(&fixture.root()).expect("listed");
    let of_records = files.iter().filter(|file| file.hour == Hour::of(HOUR_US));
    let oldest = of_records.map(|file| file.first_lsn).min().expect("the newest stay");
    assert_eq!(lake.position(), oldest - 1, "up to what is left, and no further");
    // Rows that tell of the first files may have gone with later ones.
    let mut told: Vec<_> = gap_rows(&fixture)
        .into_iter()
        .filter(|(consumer, reason, _)| consumer == "lake" && *reason == GapReason::Skipped)
        .filter_map(|(_, _, lsns)| lsns)
        .collect();
    // They stand in segments and in the files that were made of these.
    told.sort_unstable();
    told.dedup();
    assert!(!told.is_empty());
    assert!(told.windows(2).all(|two| two[0].1 + 1 == two[1].0), "without holes: {told:?}");
}

#[test]
fn a_segment_that_is_gone_before_it_was_converted_is_told_in_a_gap_row() {
    let fixture = Fixture::new();
    let recorder = Recorder::open(&fixture.log(), "n1", 1, &small()).expect("open");
    put(&recorder, 1..=40);
    eventually("segments are closed", || recorder.progress().closed() > 20);
    let listed = segment::list(&LocalFiles, &fixture.log()).expect("listed");
    let (gone, next) = (listed[1].first_lsn, listed[2].first_lsn);
    std::fs::remove_file(segment::path(&fixture.log(), gone)).expect("removed");
    let compactor = start(&recorder, &fixture, &small());
    recorder.close();
    compactor.finish(Duration::from_secs(30));
    let told = gap_rows(&fixture);
    assert_eq!(told, [(String::new(), GapReason::Missing, Some((gone, next - 1)))]);
    let rows = rows_of(&fixture.root());
    let expected = (1..=40).filter(|number| !(gone..next).contains(number));
    let found: Vec<_> = rows.iter().map(|row| row.0).filter(|&lsn| lsn > 0).collect();
    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[test]
fn a_damaged_segment_becomes_parquet_with_a_gap_row_and_is_kept_aside() {
    let fixture = Fixture::new();
    let recorder = Recorder::open(&fixture.log(), "n1", 1, &small()).expect("open");
    put(&recorder, 1..=40);
    eventually("segments are closed", || recorder.progress().closed() > 20);
    let listed = segment::list(&LocalFiles, &fixture.log()).expect("listed");
    let name = listed[1].first_lsn;
    let path = segment::path(&fixture.log(), name);
    let mut bytes = std::fs::read(&path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    let compactor = start(&recorder, &fixture, &small());
    eventually("it has become Parquet and its name is gone", || !path.exists());
    recorder.close();
    compactor.finish(Duration::from_secs(30));
    assert_eq!(std::fs::read(suspect_path(&fixture.log(), name)).expect("kept"), bytes);
    let told = gap_rows(&fixture);
    let [(_, GapReason::Damaged, Some((first, last)))] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(first == last && (name..listed[2].first_lsn).contains(first), "{told:?}");
    assert_eq!(rows_of(&fixture.root()).iter().filter(|row| row.0 > 0).count(), 39);
}
