//! The rows of one closed segment, and what is missing among them.
//!
//! Owns the walk over a segment for conversion. Never returns a row twice: records that an earlier
//! segment held (a group that was written again after a failure) are passed over.

use std::io;
use std::ops::Range;
use std::path::Path;

use crate::domain::record::{Entry, GapReason, GapRecord, SCHEMA_VERSION};
use crate::prediction_log::files::{FileSystem, Source};
use crate::prediction_log::row;
use crate::prediction_log::scan::{Scan, Step};
use crate::prediction_log::segment::{self, Listed};
use crate::prediction_log::{ReadError, Row};

/// A closed segment and the numbers for which it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed {
    /// The number in its name.
    pub(super) name: u64,
    /// The first number that it stands for; smaller than `name` when records before it are missing.
    pub(super) first_lsn: u64,
    /// The last one.
    pub(super) last_lsn: u64,
    /// Its size in bytes.
    pub(super) bytes: u64,
}

/// The segments of `dir` up to number `closed` that hold records after number `done`, oldest first.
///
/// # Errors
/// When the directory cannot be listed.
pub(super) fn backlog(
    files: &dyn FileSystem,
    dir: &Path,
    done: u64,
    closed: u64,
) -> Result<Vec<Closed>, ReadError> {
    let listed = segment::list(files, dir)
        .map_err(|source| ReadError::List { path: dir.to_owned(), source })?;
    Ok(outstanding(&listed, done, closed))
}

/// Where to go on at a start with the cursor at `done`, the first number `oldest` in the segments and
/// the last number `converted` in Parquet files. The cursor may be older than the files, because it is
/// not synced each time, and segments that were converted since may be gone: these are not missing.
/// Where segments are left, their files are made again, because some may not have been put in place.
pub(super) fn resume_at(done: u64, oldest: Option<u64>, converted: u64) -> u64 {
    match oldest {
        Some(oldest) if oldest > done + 1 => done.max(converted.min(oldest - 1)),
        _ => done,
    }
}

/// The bytes of the segments that hold records after number `passed`.
pub(super) fn bytes_beyond(listed: &[Listed], passed: u64) -> u64 {
    let ends = listed.iter().skip(1).map(|next| next.first_lsn - 1).chain([u64::MAX]);
    let beyond = listed.iter().zip(ends).filter(|(_, last_lsn)| *last_lsn > passed);
    beyond.map(|(segment, _)| segment.bytes).sum()
}

fn outstanding(listed: &[Listed], done: u64, closed: u64) -> Vec<Closed> {
    let mut found = Vec::<Closed>::new();
    for (index, segment) in listed.iter().enumerate() {
        let next = listed.get(index + 1).map_or(u64::MAX, |next| next.first_lsn);
        let last_lsn = (next - 1).min(closed);
        if last_lsn <= done || last_lsn < segment.first_lsn {
            continue;
        }
        let first_lsn = match found.last() {
            Some(before) => before.last_lsn + 1,
            // Before anything was converted, older records are not missing but were never wanted.
            None if done == 0 => segment.first_lsn,
            None => done + 1,
        };
        let Listed { first_lsn: name, bytes } = *segment;
        found.push(Closed { name, first_lsn, last_lsn, bytes });
    }
    found
}

/// An item before it borrows the buffer.
enum Found {
    Row { kind: u8, lsn: u64, payload: Range<usize> },
    Gap(GapReason, Option<(u64, u64)>, String),
}

/// The rows of a segment, in order.
pub(super) struct SegmentRows {
    scan: Scan,
    /// The number that the next record should have.
    expected: u64,
    last_lsn: u64,
    /// The end was reached, and what was torn there was told.
    ended: bool,
    /// The `ts` of the last row, which gaps are given; before the first, when the segment was created.
    near_us: u64,
    detail: String,
    /// Something between its records could not be read.
    damaged: bool,
}

impl std::fmt::Debug for SegmentRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentRows").field("scan", &self.scan).finish_non_exhaustive()
    }
}

impl SegmentRows {
    /// Starts before the first row of `closed` in `source`.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub(super) fn new(source: Box<dyn Source>, closed: Closed) -> io::Result<Self> {
        let scan = Scan::new(source, closed.name)?;
        let near_us = scan.header().map_or(0, |header| header.created_us);
        let Closed { first_lsn: expected, last_lsn, .. } = closed;
        Ok(Self {
            scan,
            expected,
            last_lsn,
            ended: false,
            near_us,
            detail: String::new(),
            damaged: false,
        })
    }

    /// The gateway that wrote the segment; empty where its header is damaged.
    pub(super) fn node(&self) -> &str {
        self.scan.header().map_or("", |header| header.node.as_str())
    }

    /// Whether something was met that could not be read.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// The next row, or a gap as a row with number 0; `None` at the end.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub(super) fn next_row(&mut self) -> io::Result<Option<Row<'_>>> {
        let Some(found) = self.find()? else { return Ok(None) };
        let Self { scan, near_us, detail, damaged, .. } = self;
        let node = scan.header().map_or("", |header| header.node.as_str());
        let (reason, lsns) = match found {
            Found::Gap(reason, lsns, text) => {
                *detail = text;
                (reason, lsns)
            }
            Found::Row { kind, lsn, payload } => {
                match row::decode_entry(kind, &scan.buffer()[payload]) {
                    Ok((schema_version, entry)) => {
                        *near_us = ts_us(&entry);
                        return Ok(Some(Row { lsn, node, schema_version, entry }));
                    }
                    Err(error) => {
                        let name = segment::file_name(scan.first_lsn());
                        *detail = format!("{name}, before byte {}: {error}", scan.offset());
                        *damaged = true;
                        (GapReason::Unreadable, Some((lsn, lsn)))
                    }
                }
            }
        };
        let records = lsns.map_or(0, |(first, last)| (last - first).saturating_add(1));
        let gap = GapRecord { ts_us: *near_us, reason, lsns, records, consumer: "", detail };
        Ok(Some(Row { lsn: 0, node, schema_version: SCHEMA_VERSION, entry: Entry::Gap(gap) }))
    }

    fn find(&mut self) -> io::Result<Option<Found>> {
        loop {
            if let Some(gap) = self.missing_before_name() {
                return Ok(Some(gap));
            }
            if self.ended {
                return Ok(self.missing_at_end());
            }
            match self.scan.step()? {
                Step::Frame { kind, lsn, payload } => {
                    if lsn < self.expected || lsn > self.last_lsn {
                        continue;
                    }
                    self.expected = lsn.saturating_add(1);
                    if row::is_known(kind) {
                        return Ok(Some(Found::Row { kind, lsn, payload }));
                    }
                    let detail = format!("{}: kind {kind}", self.place());
                    return Ok(Some(Found::Gap(GapReason::Unreadable, Some((lsn, lsn)), detail)));
                }
                Step::Damage { offset, bytes, lsns } => {
                    let to = lsns.map_or(0, |lsns| *lsns.end()).min(self.last_lsn);
                    let lsns = self.pass_to(to);
                    self.damaged |= bytes > 0;
                    if bytes > 0 || lsns.is_some() {
                        let name = segment::file_name(self.scan.first_lsn());
                        let detail = format!("{name}:{offset}, {bytes} bytes");
                        return Ok(Some(Found::Gap(GapReason::Damaged, lsns, detail)));
                    }
                }
                Step::End => {
                    self.ended = true;
                    let torn = if self.scan.is_sealed() { 0 } else { self.scan.torn_bytes()? };
                    if torn > 0 {
                        let detail = format!("{}, {torn} bytes", self.place());
                        let lsns = self.pass_to(self.last_lsn);
                        self.damaged |= lsns.is_some();
                        return Ok(Some(Found::Gap(GapReason::Damaged, lsns, detail)));
                    }
                }
            }
        }
    }

    /// Counts the numbers up to `to` as passed; which of them had not been.
    fn pass_to(&mut self, to: u64) -> Option<(u64, u64)> {
        let lsns = (to >= self.expected).then_some((self.expected, to));
        self.expected = self.expected.max(to.saturating_add(1));
        lsns
    }

    /// Numbers between the segment before and this one.
    fn missing_before_name(&mut self) -> Option<Found> {
        let lsns = self.pass_to(self.scan.first_lsn().saturating_sub(1))?;
        Some(Found::Gap(GapReason::Missing, Some(lsns), self.place()))
    }

    /// Numbers between the last record and the segment after this one.
    fn missing_at_end(&mut self) -> Option<Found> {
        let lsns = self.pass_to(self.last_lsn)?;
        Some(Found::Gap(GapReason::Missing, Some(lsns), self.place()))
    }

    fn place(&self) -> String {
        format!("{}:{}", segment::file_name(self.scan.first_lsn()), self.scan.offset())
    }
}

/// When a row was recorded.
pub(super) fn ts_us(entry: &Entry<'_>) -> u64 {
    match entry {
        Entry::Prediction(record) => record.ts_us,
        Entry::Feedback(record) => record.ts_us,
        Entry::Gap(record) => record.ts_us,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_cursor_makes_no_gap_of_what_is_converted() {
        assert_eq!(resume_at(100, Some(301), 300), 300);
        assert_eq!(resume_at(100, Some(301), 400), 300, "redone from the oldest segment on");
        assert_eq!(resume_at(100, Some(301), 250), 250, "and what is missing is missing");
        assert_eq!(resume_at(100, Some(50), 300), 100);
        assert_eq!(resume_at(100, None, 300), 100);
        assert_eq!(resume_at(0, Some(1), 0), 0);
    }

    #[test]
    fn segments_that_all_have_passed_do_not_count() {
        let listed = [1, 10, 20].map(|first_lsn| Listed { first_lsn, bytes: first_lsn });
        let bytes = [0, 8, 9, 18, 19, 1000].map(|passed| bytes_beyond(&listed, passed));
        assert_eq!(bytes, [31, 31, 30, 30, 20, 20]);
        assert_eq!(bytes_beyond(&[], 5), 0);
    }

    #[test]
    fn segments_that_are_done_or_open_are_no_backlog() {
        let listed = [1, 10, 20, 30].map(|first_lsn| Listed { first_lsn, bytes: 7 });
        let closed = |name, first_lsn, last_lsn| Closed { name, first_lsn, last_lsn, bytes: 7 };
        assert_eq!(outstanding(&listed, 0, 0), []);
        assert_eq!(
            outstanding(&listed, 0, 29),
            [closed(1, 1, 9), closed(10, 10, 19), closed(20, 20, 29)]
        );
        assert_eq!(outstanding(&listed, 9, 19), [closed(10, 10, 19)]);
        assert_eq!(outstanding(&listed, 29, 29), []);
        // The last one is closed too, once the log has ended.
        assert_eq!(outstanding(&listed, 29, 35), [closed(30, 30, 35)]);
        // Records that were removed before they were converted are missing.
        assert_eq!(outstanding(&listed[2..], 9, 29), [closed(20, 10, 29)]);
        assert_eq!(outstanding(&listed[2..], 0, 29), [closed(20, 20, 29)]);
    }
}
