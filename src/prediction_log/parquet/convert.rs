//! Turns one closed segment into Parquet files, one for each hour of its rows.
//!
//! Owns the passes over the segment and the order in which files appear. Never changes a segment, and
//! never leaves a half-written file where readers look: redoing a conversion that was cut short
//! anywhere gives the same files.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;

use super::catalog::{Hour, ParquetFile, file_name, list_hour, split_covered};
use super::disk::Disk;
use super::segments::{Closed, SegmentRows, ts_us};
use super::stamp::stamp;
use super::write::RowWriter;
use crate::domain::record::{Entry, GapReason, GapRecord, SCHEMA_VERSION};
use crate::prediction_log::Row;
use crate::prediction_log::files::FileSystem;
use crate::prediction_log::segment;

/// Hours of one segment that have files of their own. A segment with more of them comes from a clock
/// that went astray; what is left goes with the row before it.
const HOURS_MAX: usize = 64;

/// Why a segment was not converted.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConvertError {
    /// The segment cannot be read.
    #[error("cannot read the segment `{path}`")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A Parquet file cannot be encoded or written.
    #[error("cannot write the Parquet file `{path}`")]
    Encode {
        path: PathBuf,
        #[source]
        source: ParquetError,
    },
    /// The disk refuses.
    #[error("cannot put a Parquet file below `{path}`: is there room, and is it writable?")]
    Disk {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// There is no time left.
    #[error("interrupted")]
    Stopped,
}

/// Called whenever some work is done: makes pauses; false when it is time to stop.
pub(super) type Pace<'a> = &'a mut dyn FnMut() -> bool;

/// What a conversion made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Converted {
    pub(super) rows: u64,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Whether something in the segment could not be read.
    pub(super) damaged: bool,
}

/// Which hour each row goes to; the same at every pass over the same rows.
#[derive(Debug, Default)]
struct Hours {
    known: Vec<Hour>,
    last: Option<Hour>,
}

impl Hours {
    fn of(&mut self, ts_us: u64) -> Hour {
        let hour = Hour::of(ts_us);
        let hour = match self.last {
            Some(last) if self.known.len() >= HOURS_MAX && !self.known.contains(&hour) => last,
            _ => hour,
        };
        if !self.known.contains(&hour) {
            self.known.push(hour);
        }
        self.last = Some(hour);
        hour
    }
}

/// Converts `closed` of the log in `log_dir` and puts its files in place.
pub(super) fn convert(
    files: &dyn FileSystem,
    log_dir: &Path,
    disk: &Disk,
    closed: Closed,
    level: i32,
    pace: Pace<'_>,
) -> Result<Converted, ConvertError> {
    let path = segment::path(log_dir, closed.name);
    let unreadable = |source| ConvertError::Read { path: path.clone(), source };
    let open = || files.open_read(&path).map_err(unreadable);
    let (mut finished, mut converted) = (Vec::new(), Converted::default());
    let mut hours = Vec::new();
    loop {
        let index = finished.len();
        let rows = SegmentRows::new(open()?, closed).map_err(unreadable)?;
        let unfinished = disk.work(&format!("{}.{index}.tmp", closed.first_lsn));
        let pass = Pass { disk, closed, level, hour: hours.get(index).copied(), path: &unfinished };
        let Some(done) = pass.run(rows, &path, pace)? else { break };
        converted.rows += done.rows;
        converted.damaged |= done.damaged;
        hours = done.hours;
        finished.push((done.hour, unfinished));
        if finished.len() >= hours.len() {
            break;
        }
    }
    for (hour, unfinished) in finished {
        converted.files += 1;
        converted.bytes += put(disk, hour, closed, &unfinished)?;
    }
    Ok(converted)
}

/// Stands for `closed`, which cannot be converted, with a gap row in the hour of `now_us`.
pub(super) fn give_up(
    disk: &Disk,
    closed: Closed,
    now_us: u64,
    reason: GapReason,
    detail: &str,
    level: i32,
) -> Result<Converted, ConvertError> {
    let lsns = (closed.first_lsn, closed.last_lsn);
    let records = lsns.1 - lsns.0 + 1;
    let gap =
        GapRecord { ts_us: now_us, reason, lsns: Some(lsns), records, consumer: "parquet", detail };
    let row = Row { lsn: 0, node: "", schema_version: SCHEMA_VERSION, entry: Entry::Gap(gap) };
    let unfinished = disk.work(&format!("{}.gap.tmp", closed.first_lsn));
    let failed = |source| ConvertError::Encode { path: unfinished.clone(), source };
    let out = create(disk, &unfinished)?;
    let mut writer = RowWriter::new(out, level, "", lsns).map_err(failed)?;
    writer.push(&row).map_err(failed)?;
    finish(disk, writer, &unfinished)?;
    let bytes = put(disk, Hour::of(now_us), closed, &unfinished)?;
    Ok(Converted { rows: 1, files: 1, bytes, damaged: true })
}

/// One pass: the rows of one hour.
struct Pass<'a> {
    disk: &'a Disk,
    closed: Closed,
    level: i32,
    /// The first pass takes the hour of the first row.
    hour: Option<Hour>,
    path: &'a Path,
}

/// What a pass found.
struct Passed {
    hour: Hour,
    hours: Vec<Hour>,
    rows: u64,
    damaged: bool,
}

impl Pass<'_> {
    /// `None` for a segment without rows and gaps.
    fn run(
        self,
        mut rows: SegmentRows,
        segment: &Path,
        pace: Pace<'_>,
    ) -> Result<Option<Passed>, ConvertError> {
        let unreadable = |source| ConvertError::Read { path: segment.to_owned(), source };
        let failed = |source| ConvertError::Encode { path: self.path.to_owned(), source };
        let lsns = (self.closed.first_lsn, self.closed.last_lsn);
        let node = rows.node().to_owned();
        let (mut hours, mut wanted) = (Hours::default(), self.hour);
        let mut writer = None;
        while let Some(row) = rows.next_row().map_err(unreadable)? {
            let hour = hours.of(ts_us(&row.entry));
            if hour != *wanted.get_or_insert(hour) {
                continue;
            }
            let writer = match &mut writer {
                Some(writer) => writer,
                none => {
                    let out = create(self.disk, self.path)?;
                    none.insert(RowWriter::new(out, self.level, &node, lsns).map_err(failed)?)
                }
            };
            if writer.push(&row).map_err(failed)? && !pace() {
                return Err(ConvertError::Stopped);
            }
        }
        let (Some(writer), Some(hour)) = (writer, wanted) else { return Ok(None) };
        let (count, damaged) = (writer.rows(), rows.is_damaged());
        finish(self.disk, writer, self.path)?;
        if !pace() {
            return Err(ConvertError::Stopped);
        }
        Ok(Some(Passed { hour, hours: hours.known, rows: count, damaged }))
    }
}

/// Creates an unfinished file.
pub(super) fn create(disk: &Disk, path: &Path) -> Result<BufWriter<File>, ConvertError> {
    let file =
        disk.create(path).map_err(|source| ConvertError::Disk { path: path.to_owned(), source })?;
    Ok(BufWriter::new(file))
}

/// Ends a file and makes it durable.
pub(super) fn finish(
    disk: &Disk,
    writer: RowWriter<BufWriter<File>>,
    path: &Path,
) -> Result<(), ConvertError> {
    let mut out =
        writer.finish().map_err(|source| ConvertError::Encode { path: path.to_owned(), source })?;
    out.flush()
        .and_then(|()| stamp(out.get_ref()))
        .and_then(|()| disk.sync(out.get_ref()))
        .map_err(|source| ConvertError::Disk { path: path.to_owned(), source })
}

/// Puts a finished file in place and removes what it covers; returns its size. A file that covers it
/// is left in peace: the conversion is being redone after its files were merged.
fn put(disk: &Disk, hour: Hour, closed: Closed, unfinished: &Path) -> Result<u64, ConvertError> {
    let dir = disk.root().join(hour.dir());
    let failed = |source| ConvertError::Disk { path: dir.clone(), source };
    let Closed { first_lsn, last_lsn, .. } = closed;
    let path = dir.join(file_name(first_lsn, last_lsn));
    let file = ParquetFile { path, hour, first_lsn, last_lsn, bytes: 0 };
    let there = list_hour(&dir, hour).map_err(failed)?;
    if there.iter().any(|other| other.path != file.path && other.covers(&file)) {
        disk.remove(unfinished).map_err(failed)?;
        return Ok(0);
    }
    disk.publish(unfinished, &file.path).map_err(failed)?;
    let there = list_hour(&dir, hour).map_err(failed)?;
    let bytes = there.iter().find(|other| other.path == file.path).map_or(0, |file| file.bytes);
    for covered in split_covered(there).1 {
        disk.remove(&covered.path).map_err(failed)?;
    }
    Ok(bytes)
}
