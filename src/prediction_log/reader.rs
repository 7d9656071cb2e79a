//! Reads the log, record by record, of a gateway that runs or of one that has ended.
//!
//! Owns the order of segments and the report of what is missing. Never locks, changes or refuses a
//! file. Memory is bounded by one frame.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{FileSystem, LocalFiles, read_full_at};
use super::row;
use super::scan::{Scan, Step};
use super::segment::{self, Listed};
use crate::domain::record::{Entry, GapReason};

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The directory cannot be listed.
    #[error("cannot list the prediction log directory `{path}`")]
    List {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A segment cannot be read.
    #[error("cannot read the prediction log segment `{path}`")]
    Segment {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

/// What a log holds.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one at a time on the stack, never collected")]
pub enum Item<'a> {
    /// A row.
    Row(Row<'a>),
    /// A place where something is missing.
    Gap(Gap),
}

/// A row and what the log knows about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<'a> {
    /// Its log sequence number.
    pub lsn: u64,
    /// The gateway that recorded it; empty where the segment's header is damaged.
    pub node: &'a str,
    /// The version of the schema that it was written with.
    pub schema_version: u16,
    /// The row itself.
    pub entry: Entry<'a>,
}

impl Row<'_> {
    /// Whether it stands for missing rows.
    pub fn is_gap(&self) -> bool {
        matches!(self.entry, Entry::Gap(_))
    }
}

/// A place where records are missing or bytes cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// The records that are missing, as far as numbers tell.
    pub lsns: Option<RangeInclusive<u64>>,
    /// The segment.
    pub segment: PathBuf,
    /// Where in the segment, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// A position in the log.
pub struct LogReader {
    files: Arc<dyn FileSystem>,
    dir: PathBuf,
    scan: Option<Scan>,
    /// The segment after which the next one is looked for.
    passed: Option<u64>,
    /// The number that the next record should have.
    expected: Option<u64>,
    /// Records that are passed over before the first is shown.
    skip: u64,
    /// Whether the segment was read to its end once more after the next one had appeared.
    looked_again: bool,
    /// The item that was passed last.
    found: Option<Found>,
}

impl std::fmt::Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// An item before it borrows the buffer.
enum Found {
    Row { kind: u8, lsn: u64, payload: std::ops::Range<usize>, offset: u64 },
    Gap(Gap),
}

impl LogReader {
    /// Starts before the oldest record in `dir`.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn open(dir: &Path) -> Result<Self, ReadError> {
        Self::open_with(Arc::new(LocalFiles), dir)
    }

    pub(super) fn open_with(files: Arc<dyn FileSystem>, dir: &Path) -> Result<Self, ReadError> {
        let dir = dir.to_owned();
        let reader = Self {
            files,
            dir,
            scan: None,
            passed: None,
            expected: None,
            skip: 0,
            looked_again: false,
            found: None,
        };
        reader.segments()?;
        Ok(reader)
    }

    /// Starts before the first record above `lsn`. Only the segment that holds it is searched, by the
    /// numbers in the names.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn open_after(dir: &Path, lsn: u64) -> Result<Self, ReadError> {
        let mut reader = Self::open(dir)?;
        let segments = reader.segments()?;
        // The last segment whose first record is not beyond the wanted one.
        let wanted = lsn.saturating_add(1);
        let holder = segments.iter().rposition(|segment| segment.first_lsn <= wanted);
        if let Some(before) = holder.and_then(|holder| holder.checked_sub(1)) {
            reader.passed = Some(segments[before].first_lsn);
        }
        reader.expected = (lsn > 0).then_some(wanted);
        Ok(reader)
    }

    /// Starts before the last `records` records in `dir`. Only the segments that hold them are read.
    ///
    /// # Errors
    /// When the directory or a segment cannot be read.
    pub fn open_last(dir: &Path, records: u64) -> Result<Self, ReadError> {
        let mut reader = Self::open(dir)?;
        let mut counted = 0;
        let segments = reader.segments()?;
        for (index, listed) in segments.iter().enumerate().rev() {
            let Some(mut scan) = reader.scan_of(listed.first_lsn)? else { continue };
            counted += reader.count(&mut scan)?;
            reader.passed = index.checked_sub(1).map(|before| segments[before].first_lsn);
            if counted >= records {
                break;
            }
        }
        reader.skip = counted.saturating_sub(records);
        Ok(reader)
    }

    /// The next item; `None` at the end for now. Ask again to follow a log that grows.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, ReadError> {
        self.advance()?;
        Ok(self.current())
    }

    /// Passes to the next item, which [`Self::current`] returns; false at the end for now.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub(super) fn advance(&mut self) -> Result<bool, ReadError> {
        self.found = None;
        self.found = loop {
            match self.find()? {
                Some(Found::Row { .. }) if self.skip > 0 => self.skip -= 1,
                Some(Found::Gap(_)) if self.skip > 0 => {}
                found => break found,
            }
        };
        Ok(self.found.is_some())
    }

    /// The item that was passed last.
    pub(super) fn current(&self) -> Option<Item<'_>> {
        let (kind, lsn, payload, offset) = match self.found.as_ref()? {
            Found::Gap(gap) => return Some(Item::Gap(gap.clone())),
            Found::Row { kind, lsn, payload, offset } => (*kind, *lsn, payload.clone(), *offset),
        };
        let scan = self.scan.as_ref()?;
        let bytes = payload.len() as u64;
        Some(match row::decode_entry(kind, &scan.buffer()[payload]) {
            Ok((schema_version, entry)) => {
                let node = scan.header().map_or("", |header| header.node.as_str());
                Item::Row(Row { lsn, node, schema_version, entry })
            }
            Err(_) => Item::Gap(Gap {
                reason: GapReason::Unreadable,
                lsns: Some(lsn..=lsn),
                segment: segment::path(&self.dir, scan.first_lsn()),
                offset,
                bytes,
            }),
        })
    }

    /// Passes to the next record or gap, through as many segments as that takes.
    fn find(&mut self) -> Result<Option<Found>, ReadError> {
        loop {
            let Some(scan) = &mut self.scan else {
                match self.open_next()? {
                    Next::Nothing => return Ok(None),
                    Next::Opened => continue,
                    Next::Missing(gap) => return Ok(Some(Found::Gap(gap))),
                }
            };
            let first_lsn = scan.first_lsn();
            let path = segment::path(&self.dir, first_lsn);
            let offset = scan.offset();
            match scan.step().map_err(|source| ReadError::Segment { path: path.clone(), source })? {
                Step::Frame { kind, lsn, payload } => {
                    // A group that was written again after a failure is in two segments.
                    if self.expected.is_some_and(|expected| lsn < expected) {
                        continue;
                    }
                    self.expected = Some(lsn.saturating_add(1));
                    if row::is_known(kind) {
                        return Ok(Some(Found::Row { kind, lsn, payload, offset }));
                    }
                    let (reason, bytes) = (GapReason::Unreadable, payload.len() as u64);
                    let lsns = Some(lsn..=lsn);
                    return Ok(Some(Found::Gap(Gap {
                        reason,
                        lsns,
                        segment: path,
                        offset,
                        bytes,
                    })));
                }
                Step::Damage { offset, bytes, lsns } => {
                    let reason = GapReason::Damaged;
                    let lsns = match self.successor_within(first_lsn, lsns.as_ref())? {
                        None => lsns.and_then(|lsns| self.not_seen(lsns)),
                        Some(next) => {
                            self.pass(first_lsn);
                            let before = lsns.map(|lsns| *lsns.start()..=next - 1);
                            let lsns = before.and_then(|lsns| self.not_seen(lsns));
                            if lsns.is_none() {
                                continue;
                            }
                            lsns
                        }
                    };
                    if bytes > 0 || lsns.is_some() {
                        let gap = Gap { reason, lsns, segment: path, offset, bytes };
                        return Ok(Some(Found::Gap(gap)));
                    }
                }
                Step::End => match self.leave_segment()? {
                    Left::Stays => return Ok(None),
                    Left::Again => {}
                    Left::Torn(gap) => return Ok(Some(Found::Gap(gap))),
                },
            }
        }
    }

    /// The segment after `first_lsn`, if it begins below the end of `lsns`. A segment that was given up
    /// after a failure has such a one: from there on the records are in that, even if they can be read
    /// in neither.
    fn successor_within(
        &self,
        first_lsn: u64,
        lsns: Option<&RangeInclusive<u64>>,
    ) -> Result<Option<u64>, ReadError> {
        let Some(lsns) = lsns else { return Ok(None) };
        let within =
            |listed: &&Listed| listed.first_lsn > first_lsn && listed.first_lsn <= *lsns.end();
        Ok(self.segments()?.iter().find(within).map(|listed| listed.first_lsn))
    }

    /// Goes on with the segment after this one.
    fn pass(&mut self, first_lsn: u64) {
        self.scan = None;
        self.looked_again = false;
        self.passed = Some(first_lsn);
    }

    /// The part of `lsns` that no earlier segment held; from now on it counts as seen.
    fn not_seen(&mut self, lsns: RangeInclusive<u64>) -> Option<RangeInclusive<u64>> {
        let from = self.expected.unwrap_or(0).max(*lsns.start());
        let rest = from..=*lsns.end();
        if rest.is_empty() {
            return None;
        }
        self.expected = Some(rest.end().saturating_add(1));
        Some(rest)
    }

    /// Leaves the current segment if nothing can come any more.
    fn leave_segment(&mut self) -> Result<Left, ReadError> {
        let segments = self.segments()?;
        let Some(scan) = &mut self.scan else { return Ok(Left::Again) };
        let (first_lsn, offset) = (scan.first_lsn(), scan.offset());
        let path = segment::path(&self.dir, first_lsn);
        let unreadable = |source| ReadError::Segment { path: path.clone(), source };
        let followed = segments.last().is_some_and(|last| last.first_lsn > first_lsn);
        if !scan.is_sealed() && !followed {
            if scan.records() == 0 {
                // A gateway that is started anew replaces a segment without records.
                self.scan = None;
                return Ok(Left::Stays);
            }
            let epoch = scan.epoch();
            return match self.replacement(first_lsn, epoch)? {
                Some(scan) => {
                    // Given up after a failure, and copied: what was seen is not shown again.
                    self.scan = Some(scan);
                    Ok(Left::Again)
                }
                None => Ok(Left::Stays),
            };
        }
        if !scan.is_sealed() && !std::mem::replace(&mut self.looked_again, true) {
            // It may have grown after the step and before the next segment appeared.
            return Ok(Left::Again);
        }
        let bytes = if scan.is_sealed() { 0 } else { scan.torn_bytes().map_err(unreadable)? };
        self.pass(first_lsn);
        if bytes > 0 {
            let reason = GapReason::Damaged;
            return Ok(Left::Torn(Gap { reason, lsns: None, segment: path, offset, bytes }));
        }
        Ok(Left::Again)
    }

    /// Opens the segment after the last one.
    fn open_next(&mut self) -> Result<Next, ReadError> {
        let passed = self.passed;
        let after = |listed: &&Listed| passed.is_none_or(|passed| listed.first_lsn > passed);
        let Some(next) = self.segments()?.iter().find(after).copied() else {
            return Ok(Next::Nothing);
        };
        let Some(scan) = self.scan_of(next.first_lsn)? else {
            // Removed since it was listed.
            self.passed = Some(next.first_lsn);
            return Ok(Next::Opened);
        };
        self.scan = Some(scan);
        let missing = match self.expected {
            Some(expected) if expected < next.first_lsn => expected..=next.first_lsn - 1,
            _ => return Ok(Next::Opened),
        };
        self.expected = Some(next.first_lsn);
        Ok(Next::Missing(Gap {
            reason: GapReason::Missing,
            lsns: Some(missing),
            segment: segment::path(&self.dir, next.first_lsn),
            offset: 0,
            bytes: 0,
        }))
    }

    fn scan_of(&self, first_lsn: u64) -> Result<Option<Scan>, ReadError> {
        let path = segment::path(&self.dir, first_lsn);
        let opened = self.files.open_read(&path).and_then(|source| Scan::new(source, first_lsn));
        match opened {
            Ok(scan) => Ok(Some(scan)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ReadError::Segment { path, source }),
        }
    }

    /// The segment of this name, if it is not the one with this epoch any more.
    fn replacement(&self, first_lsn: u64, epoch: Option<u32>) -> Result<Option<Scan>, ReadError> {
        let path = segment::path(&self.dir, first_lsn);
        let mut header = [0; segment::HEADER_BYTES];
        let read = self
            .files
            .open_read(&path)
            .and_then(|file| read_full_at(file.as_ref(), &mut header, 0));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ReadError::Segment { path, source }),
        }
        let now = segment::SegmentHeader::decode(&header).map(|header| header.epoch);
        if now.is_none() || now == epoch { Ok(None) } else { self.scan_of(first_lsn) }
    }

    /// Records in a segment.
    fn count(&self, scan: &mut Scan) -> Result<u64, ReadError> {
        let mut records = 0;
        loop {
            let step = scan.step().map_err(|source| {
                let path = segment::path(&self.dir, scan.first_lsn());
                ReadError::Segment { path, source }
            })?;
            match step {
                Step::Frame { kind, .. } => records += u64::from(row::is_known(kind)),
                Step::Damage { .. } => {}
                Step::End => return Ok(records),
            }
        }
    }

    fn segments(&self) -> Result<Vec<Listed>, ReadError> {
        segment::list(self.files.as_ref(), &self.dir)
            .map_err(|source| ReadError::List { path: self.dir.clone(), source })
    }
}

/// What comes after a segment.
enum Next {
    Nothing,
    Opened,
    Missing(Gap),
}

/// Whether a segment was left.
enum Left {
    Stays,
    Again,
    Torn(Gap),
}
