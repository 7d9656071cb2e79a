//! Reads everything and says whether it is what was written.
//!
//! Owns the walk, and what it takes for damage: bytes that a checksum refutes, rows that are in two files, numbers that no
//! file holds and no gap row explains, and an end that consumers have seen and that is not there. What a
//! running gateway is just writing is no damage, and neither are files that it converts, merges or removes meanwhile. Never changes a file.

mod ending;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use self::ending::Ending;
pub use self::report::{Beyond, Damage, FileReport, Totals};
use super::log::{LogError, PARQUET_CURSOR, segments_dir};
use super::ranges::Ranges;
use super::totals::{CursorTotals, cursors};
use crate::domain::record::Entry;
use crate::prediction_log::files::{FileSystem as _, LocalFiles};
use crate::prediction_log::parquet::{
    Checksum, ParquetFile, ParquetReadError, ParquetRows, Prune, catalog, checksum, parquet_dir,
};
use crate::prediction_log::scan::{Scan, Step};
use crate::prediction_log::segment::{self, HEADER_BYTES, LOCK_FILE, Listed};
use crate::prediction_log::{ReadError, row};

/// Rounds in which files that came up meanwhile are read.
const ROUNDS_MAX: u32 = 16;

/// Reads every file below `data_dir`. `report` is told about each file, `progress` about bytes that were
/// read and bytes in all.
///
/// # Errors
/// When there is no log, or a file cannot be read for another reason than damage.
pub fn verify(
    data_dir: &Path,
    report: &mut dyn FnMut(&FileReport),
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Totals, LogError> {
    let dirs = (segments_dir(data_dir), parquet_dir(data_dir));
    if !dirs.0.is_dir() && !dirs.1.is_dir() {
        return Err(LogError::Nothing { path: data_dir.to_owned() });
    }
    // Before anything is read: what a consumer has passed by now has been written.
    let cursors = cursors(&dirs.0, u64::MAX)?;
    let mut all = 0;
    if dirs.0.is_dir() {
        all += segments(&dirs.0)?.iter().map(|listed| listed.bytes).sum::<u64>();
    }
    all += files(&dirs.1)?.iter().map(|file| file.bytes).sum::<u64>();
    let mut walk = Walk {
        report,
        progress,
        read: 0,
        all,
        totals: Totals::default(),
        in_segments: Ranges::default(),
        in_parquet: BTreeMap::new(),
        explained: Ranges::default(),
        skipped: Ranges::default(),
        begun: 0,
        damaged: Ranges::default(),
        again: Totals::default(),
    };
    // Segments first: what is converted meanwhile is then found in the Parquet files.
    if dirs.0.is_dir() {
        walk.segments(&dirs.0)?;
    }
    walk.parquet(&dirs.1)?;
    Ok(walk.finish(cursors))
}

fn segments(dir: &Path) -> Result<Vec<Listed>, ReadError> {
    let listed = segment::list(&LocalFiles, dir);
    listed.map_err(|source| ReadError::List { path: dir.to_owned(), source })
}

fn files(dir: &Path) -> Result<Vec<ParquetFile>, LogError> {
    catalog(dir).map_err(|source| LogError::List { path: dir.to_owned(), source })
}

struct Walk<'a> {
    report: &'a mut dyn FnMut(&FileReport),
    progress: &'a mut dyn FnMut(u64, u64),
    /// Bytes of files that were read, and of all.
    read: u64,
    all: u64,
    totals: Totals,
    in_segments: Ranges,
    /// Of each Parquet file: its rows.
    in_parquet: BTreeMap<PathBuf, Ranges>,
    /// Numbers that gap rows speak of.
    explained: Ranges,
    /// Numbers that the writer left out between two good frames.
    skipped: Ranges,
    /// The number before that of the newest segment's name: what comes before it was given.
    begun: u64,
    /// Numbers in places that are reported as damage already.
    damaged: Ranges,
    /// Rows of Parquet files that are in segments too.
    again: Totals,
}

impl Walk<'_> {
    fn segments(&mut self, dir: &Path) -> Result<(), LogError> {
        let all = segments(dir)?;
        self.begun = all.last().map_or(0, |newest| newest.first_lsn.saturating_sub(1));
        for (index, &listed) in all.iter().enumerate() {
            let path = segment::path(dir, listed.first_lsn);
            // Whoever writes closes one segment before the next has a name.
            let ending = if index + 1 < all.len() { Ending::Closed } else { Ending::Open };
            match self.judged(dir, &path, listed, ending) {
                Ok(report) => {
                    // A file that is used again under another name looks damaged to whoever reads on.
                    if report.damage.is_empty() || path.exists() {
                        self.totals.segments += 1;
                        self.add(&report);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(ReadError::Segment { path, source }.into()),
            }
        }
        Ok(())
    }

    /// Reads a segment; the newest again when its end is not whole and nobody can be writing it.
    fn judged(
        &mut self,
        dir: &Path,
        path: &Path,
        listed: Listed,
        ending: Ending,
    ) -> io::Result<FileReport> {
        let report = self.segment(path, listed, ending)?;
        let unfinished = ending == Ending::Open && report.torn_bytes > 0;
        if unfinished && !LocalFiles.is_locked(&dir.join(LOCK_FILE))? {
            return self.segment(path, listed, Ending::Abandoned);
        }
        Ok(report)
    }

    fn segment(&mut self, path: &Path, listed: Listed, ending: Ending) -> io::Result<FileReport> {
        let mut scan = Scan::new(LocalFiles.open_read(path)?, listed.first_lsn)?;
        let mut report = FileReport { path: path.to_owned(), ..FileReport::default() };
        if scan.header().is_none() {
            report.damage.push(Damage {
                offset: 0,
                bytes: HEADER_BYTES as u64,
                lsns: None,
                what: "the header fails its checksum".to_owned(),
            });
        }
        loop {
            let offset = scan.offset();
            (self.progress)(self.read + offset, self.all);
            match scan.step()? {
                Step::Frame { kind, lsn, payload } => {
                    self.in_segments.insert(lsn);
                    match row::decode_entry(kind, &scan.buffer()[payload]) {
                        Ok((_, entry)) => self.count(&mut report, lsn, &entry),
                        Err(_) => report.unreadable += 1,
                    }
                }
                Step::Damage { bytes: 0, lsns: Some(lsns), .. } => {
                    self.skipped.insert_range(*lsns.start(), *lsns.end());
                }
                Step::Damage { offset, bytes, lsns } => {
                    if let Some(lsns) = &lsns {
                        self.damaged.insert_range(*lsns.start(), *lsns.end());
                    }
                    let what = "bytes that are no intact frame".to_owned();
                    report.damage.push(Damage { offset, bytes, lsns, what });
                }
                Step::End => break,
            }
        }
        if scan.gave_up() {
            let what = "bytes that look like frames and are none, up to the end".to_owned();
            let bytes = listed.bytes.saturating_sub(scan.offset());
            report.damage.push(Damage { offset: scan.offset(), bytes, lsns: None, what });
        } else if !scan.is_sealed() {
            let bytes = scan.torn_bytes()?;
            match ending.damage(&mut scan, bytes)? {
                Some((what, bytes)) => {
                    let (offset, what) = (scan.offset(), what.to_owned());
                    report.damage.push(Damage { offset, bytes, lsns: None, what });
                }
                None => report.torn_bytes = bytes,
            }
        }
        report.bytes = listed.bytes;
        Ok(report)
    }

    fn count(&mut self, report: &mut FileReport, lsn: u64, entry: &Entry<'_>) {
        if lsn > 0 {
            report.first_lsn = report.first_lsn.or(Some(lsn));
            report.last_lsn = Some(lsn);
        }
        match entry {
            Entry::Prediction(_) => report.records += 1,
            Entry::Feedback(_) => report.feedback += 1,
            Entry::Gap(gap) => {
                report.gaps += 1;
                // What one consumer has missed is in the log all the same, unless it was to be kept in
                // Parquet files alone.
                if let (Some((first, last)), "" | PARQUET_CURSOR) = (gap.lsns, gap.consumer) {
                    self.explained.insert_range(first, last);
                }
            }
        }
    }

    /// Adds what a file holds to the totals, and tells about it.
    fn add(&mut self, report: &FileReport) {
        self.read += report.bytes;
        self.totals.bytes += report.bytes;
        self.totals.records += report.records;
        self.totals.feedback += report.feedback;
        self.totals.gaps += report.gaps;
        self.totals.unreadable += report.unreadable;
        self.totals.damaged_places += report.damage.len() as u64;
        self.totals.torn_bytes += report.torn_bytes;
        (self.report)(report);
    }

    /// Reads the Parquet files; again those that came up meanwhile, until nothing is new.
    fn parquet(&mut self, dir: &Path) -> Result<(), LogError> {
        for _ in 0..ROUNDS_MAX {
            let listed = files(dir)?;
            let new: Vec<_> =
                listed.iter().filter(|file| !self.in_parquet.contains_key(&file.path)).collect();
            if new.is_empty() {
                // What was replaced by a merge is in its successor.
                let mut doubled = Ranges::default();
                let mut seen = Ranges::default();
                for file in &listed {
                    let Some(rows) = self.in_parquet.get(&file.path) else { continue };
                    doubled.union(&rows.common(&seen));
                    seen.union(rows);
                }
                self.totals.doubled = doubled.into_vec();
                return Ok(());
            }
            for file in new {
                self.file(file)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, file: &ParquetFile) -> Result<(), LogError> {
        let mut report =
            FileReport { path: file.path.clone(), bytes: file.bytes, ..FileReport::default() };
        let mut rows = Ranges::default();
        let summed = match checksum(&file.path) {
            Ok(Checksum::Good) => None,
            Ok(Checksum::Absent) => Some("its checksum is missing"),
            Ok(Checksum::Bad) => Some("its checksum does not hold"),
            Err(error) => return gone(error),
        };
        let (mut place, mut unreadable) = (None, false);
        let mut found = match self.rows(file, &mut report, &mut rows, &mut place) {
            Ok(found) => found,
            Err(error @ ParquetReadError::Open { .. }) => return gone(error),
            Err(error) => {
                unreadable = true;
                self.damaged.insert_range(file.first_lsn, file.last_lsn);
                Some(crate::telemetry::logging::chain(&error).to_string())
            }
        };
        // One flipped byte is one place, however many of these it fails. The footer tells the row groups,
        // and may be what was changed.
        if let Some((offset, bytes)) = place {
            let failed = found.unwrap_or_default();
            let groups = format!("the row groups at offset {offset}, {bytes} bytes");
            found = Some(format!("reading fails in {groups}: {failed}"));
        }
        if let Some(why) = summed {
            let more = found.map_or_else(String::new, |found| format!("; {found}"));
            found = Some(format!("{why}{more}"));
        }
        if let Some(what) = found {
            let what = format!("somewhere in the file: {what}");
            let lsns = unreadable.then_some(file.first_lsn..=file.last_lsn);
            report.damage.push(Damage { offset: 0, bytes: file.bytes, lsns, what });
        }
        self.totals.parquet_files += 1;
        self.in_parquet.insert(file.path.clone(), rows);
        self.add(&report);
        Ok(())
    }

    /// Reads every row of a file, and holds what it says about itself against them: returns the first
    /// thing that is wrong. `place` is set where reading cannot go on.
    fn rows(
        &mut self,
        file: &ParquetFile,
        report: &mut FileReport,
        found: &mut Ranges,
        place: &mut Option<(u64, u64)>,
    ) -> Result<Option<String>, ParquetReadError> {
        let mut wrong = None;
        let mut rows = ParquetRows::open(&file.path, &Prune::default())?;
        let (wanted, mut read, mut last) = (rows.rows_in_file(), 0, 0);
        loop {
            let lsn = match rows.advance() {
                Ok(Some(lsn)) => lsn,
                Ok(None) => break,
                Err(error) => {
                    *place = rows.place();
                    return Err(error);
                }
            };
            read += 1;
            (self.progress)(self.read + file.bytes * read / wanted.max(1), self.all);
            if lsn > 0 {
                let in_order = lsn > last && (file.first_lsn..=file.last_lsn).contains(&lsn);
                if !in_order {
                    let what = || format!("row {read} has the number {lsn}, after {last}");
                    wrong.get_or_insert_with(what);
                }
                last = last.max(lsn);
                found.insert(lsn);
            }
            match rows.row() {
                Ok(row) => self.count(report, lsn, &row.entry),
                Err(_) => report.unreadable += 1,
            }
            if self.in_segments.contains(lsn) {
                self.totals.converted_twice += 1;
                match rows.row().map(|row| row.entry) {
                    Ok(Entry::Prediction(_)) => self.again.records += 1,
                    Ok(Entry::Feedback(_)) => self.again.feedback += 1,
                    Ok(Entry::Gap(_)) => self.again.gaps += 1,
                    Err(_) => self.again.unreadable += 1,
                }
            }
        }
        if read != wanted {
            wrong.get_or_insert_with(|| format!("{read} rows, and {wanted} in the footer"));
        }
        Ok(wrong)
    }

    fn finish(mut self, cursors: Vec<CursorTotals>) -> Totals {
        let mut present = self.in_segments.clone();
        let mut parquet = Ranges::default();
        self.in_parquet.values().for_each(|rows| parquet.union(rows));
        self.totals.records -= self.again.records;
        self.totals.feedback -= self.again.feedback;
        self.totals.gaps -= self.again.gaps;
        self.totals.unreadable -= self.again.unreadable;
        present.union(&parquet);
        let holes = present.holes();
        let lost = holes.without(&self.explained).without(&self.damaged);
        self.totals.missing = holes.without(&lost).without(&self.damaged).into_vec();
        self.totals.skipped = lost.common(&self.skipped).into_vec();
        self.totals.lost = lost.without(&self.skipped).into_vec();
        // A number is in a name, in a frame, or told to be missing. A damaged end is told already.
        let last = [&present, &self.explained, &self.damaged].into_iter().filter_map(Ranges::last);
        let last_lsn = last.max().unwrap_or(0).max(self.begun);
        let beyond = cursors.into_iter().filter(|cursor| cursor.position > last_lsn);
        let beyond = beyond.map(|of| Beyond { consumer: of.name, position: of.position, last_lsn });
        self.totals.beyond = beyond.collect();
        self.totals
    }
}

/// A file that has gone was merged or removed meanwhile.
fn gone(error: ParquetReadError) -> Result<(), LogError> {
    match &error {
        ParquetReadError::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(error.into()),
    }
}
