//! Brings a directory of segments into a state in which writing can go on.
//!
//! Owns the torn tail of the last segment, which is all that a killed process can leave behind, records
//! that only a segment holds which was given up, and files whose creation was cut short. Never removes a
//! record, never gives the number of one that was damaged again, and never refuses to start because of
//! what a file contains.

use std::io::{self, IoSlice};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::aside::suspect_path;
use super::files::{FileSystem, SegmentFile, Source, read_full_at, write_all_at};
use super::frame::{self, SEAL_BYTES};
use super::gaps::Missing;
use super::recorder::OpenError;
use super::rescue::rescue;
use super::scan::{Scan, Step};
use super::segment::{self, HEADER_BYTES, Listed, SegmentHeader, UNFINISHED};
use super::survey::sealed_count;
use super::syncer::Distrusted;
use super::tail::{Damaged, Tail};
use crate::domain::record::GapReason;

/// Segments before the last one whose numbers are looked at: more than a failed group and its second
/// try leave behind.
const LOOK_BACK: usize = 8;

/// What was found when the log was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// The number that the next record gets.
    pub next_lsn: u64,
    /// Segments that were there.
    pub segments: u64,
    /// Bytes of a torn tail that were cut off.
    pub healed_bytes: u64,
    /// Records at the end of the last segment that were whole and are damaged. Their numbers are not
    /// given again.
    pub lost: Option<LostTail>,
    /// Places of damage before later good records in the last segment; readers report them.
    pub damaged_places: u64,
    /// A file in which nothing could be read, put aside under this name.
    pub put_aside: Option<PathBuf>,
}

/// Records that were whole and are damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostTail {
    /// Their numbers.
    pub lsns: RangeInclusive<u64>,
    /// The segment.
    pub segment: PathBuf,
    /// Where in the segment, in bytes.
    pub offset: u64,
}

impl LostTail {
    /// What the log is to say about it.
    pub(super) fn missing(&self) -> Missing {
        let (first, last) = (*self.lsns.start(), *self.lsns.end());
        let name = self.segment.file_name().unwrap_or_default().display();
        Missing {
            lsns: Some((first, last)),
            detail: format!("{name}:{}, at the end when the gateway started", self.offset),
            ..Missing::now(GapReason::Damaged, last.saturating_sub(first).saturating_add(1))
        }
    }
}

/// Heals the last segment of the log of `node`; returns what was found and the segments that stay.
pub(super) fn recover(
    files: &dyn FileSystem,
    dir: &Path,
    node: &str,
) -> Result<(Recovery, Vec<Listed>), OpenError> {
    let unreadable = |source| OpenError::List { path: dir.to_owned(), source };
    for (name, _) in files.list(dir).map_err(unreadable)? {
        if name.ends_with(UNFINISHED) {
            let path = dir.join(name);
            files.remove(&path).map_err(|source| OpenError::Heal { path, source })?;
        }
    }
    let mut segments = segment::list(files, dir).map_err(unreadable)?;
    let mut recovery =
        Recovery { next_lsn: 1, segments: segments.len() as u64, ..Recovery::default() };
    let furthest = furthest_earlier(files, dir, &segments).map_err(unreadable)?;
    if let Some(last) = segments.last_mut() {
        let path = segment::path(dir, last.first_lsn);
        let failed = |source| OpenError::Heal { path: path.clone(), source };
        let held = furthest.map_or(0, |(_, next_lsn)| next_lsn);
        let kept = heal(files, &path, last, held, &mut recovery).map_err(failed)?;
        if recovery.damaged_places > 0 {
            keep_aside(files, dir, last.first_lsn);
        }
        if !kept {
            segments.pop();
        }
        if let Some((earlier, next_lsn)) = furthest
            && next_lsn > recovery.next_lsn
        {
            if !kept && recovery.put_aside.is_none() {
                // What is named after its first number must not stand for what others hold.
                files.remove(&path).map_err(failed)?;
            }
            let (from, to) = (recovery.next_lsn, next_lsn - 1);
            recovery.next_lsn = next_lsn;
            let given_up = Distrusted { first_lsn: earlier, from, to };
            segments.extend(copy_behind(files, dir, node, given_up));
        }
    }
    Ok((recovery, segments))
}

/// Gives a damaged segment a second name, under which it stays whatever becomes of the first.
fn keep_aside(files: &dyn FileSystem, dir: &Path, first_lsn: u64) {
    match files.link(&segment::path(dir, first_lsn), &suspect_path(dir, first_lsn)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            tracing::warn!(%error, first_lsn, "a damaged segment is not kept aside");
        }
        Ok(()) | Err(_) => {}
    }
}

/// Copies records that only a segment holds which was given up, behind the last segment: whoever reads
/// takes a segment's numbers to end where the next one's begin.
fn copy_behind(
    files: &dyn FileSystem,
    dir: &Path,
    node: &str,
    given_up: Distrusted,
) -> Option<Listed> {
    match rescue(files, dir, node, given_up) {
        Ok(saved) => Some(saved.segment),
        Err(error) => {
            // They can still be read where they are, for as long as that segment stays.
            tracing::warn!(%error, "records of a segment that was given up are not copied");
            None
        }
    }
}

/// The segment before the last that goes furthest beyond the one after it, and the number above all in
/// it. One that was given up after a failed sync still holds the records that were about to be written
/// again: readers show those, so that another record with one of their numbers would be hidden.
fn furthest_earlier(
    files: &dyn FileSystem,
    dir: &Path,
    segments: &[Listed],
) -> io::Result<Option<(u64, u64)>> {
    let mut furthest = None;
    let pairs = segments.iter().zip(segments.iter().skip(1)).rev();
    for (earlier, following) in pairs.take(LOOK_BACK) {
        let path = segment::path(dir, earlier.first_lsn);
        let source = files.open_read(&path)?;
        if sealed_below(source.as_ref(), *earlier, following.first_lsn)? {
            continue;
        }
        let mut scan = Scan::new(source, earlier.first_lsn)?;
        while scan.step()? != Step::End {}
        if scan.next_lsn() > following.first_lsn
            && furthest.is_none_or(|(_, next_lsn)| next_lsn < scan.next_lsn())
        {
            furthest = Some((earlier.first_lsn, scan.next_lsn()));
        }
    }
    Ok(furthest)
}

/// Whether a segment is sealed and ends below `following`, as all do that were closed in good order.
/// What a seal says beyond that is not believed without the records.
fn sealed_below(source: &dyn Source, listed: Listed, following: u64) -> io::Result<bool> {
    let mut footer = [0; SEAL_BYTES];
    let at = source.size()?.saturating_sub(SEAL_BYTES as u64);
    let len = read_full_at(source, &mut footer, at)?;
    let mut header = [0; HEADER_BYTES];
    let header_len = read_full_at(source, &mut header, 0)?;
    let header = SegmentHeader::decode(&header[..header_len]);
    let epoch = header.filter(|header| header.first_lsn == listed.first_lsn).map(|h| h.epoch);
    let sealed = epoch.and_then(|epoch| sealed_count(&footer[..len], Some(epoch)));
    Ok(sealed.is_some_and(|(_, last_lsn)| last_lsn < following))
}

/// Closes the last segment where its last good frame ends; false when it holds nothing to keep. Another
/// segment holds what is numbered below `held`.
fn heal(
    files: &dyn FileSystem,
    path: &Path,
    last: &mut Listed,
    held: u64,
    recovery: &mut Recovery,
) -> io::Result<bool> {
    let mut scan = Scan::new(files.open_read(path)?, last.first_lsn)?;
    loop {
        match scan.step()? {
            Step::Frame { .. } => {}
            Step::Damage { .. } => recovery.damaged_places += 1,
            Step::End => break,
        }
    }
    recovery.next_lsn = scan.next_lsn();
    if scan.is_sealed() {
        // The next segment takes the name of one without records.
        return Ok(scan.next_lsn() > last.first_lsn);
    }
    recovery.healed_bytes = scan.torn_bytes()?;
    if scan.next_lsn() >= held
        && let Some(damaged) = damaged_at_end(files, path, &mut scan)?
    {
        let seal = frame::seal(damaged.epoch, *damaged.lsns.end(), scan.records());
        cut_and_seal(files.open(path)?.as_ref(), damaged.end, &seal)?;
        last.bytes = damaged.end + SEAL_BYTES as u64;
        recovery.healed_bytes = 0;
        recovery.damaged_places += 1;
        recovery.next_lsn = damaged.lsns.end().saturating_add(1);
        let (segment, offset) = (path.to_owned(), scan.offset());
        recovery.lost = Some(LostTail { lsns: damaged.lsns, segment, offset });
        return Ok(true);
    }
    let Some(epoch) = scan.epoch().filter(|_| scan.records() > 0) else {
        // Without a record the next segment has the same name and replaces this one. What cannot
        // even be recognised is kept for people to look at.
        let empty = last.bytes == 0 || scan.is_blank()?;
        if !empty && (scan.header().is_none() || scan.gave_up()) {
            let aside = path.with_extension("seg.suspect");
            files.rename(path, &aside)?;
            recovery.healed_bytes = 0;
            recovery.put_aside = Some(aside);
        }
        return Ok(false);
    };
    if scan.gave_up() {
        // There may be more than was found: nothing is cut off.
        recovery.healed_bytes = 0;
        return Ok(true);
    }
    let seal = frame::seal(epoch, scan.next_lsn() - 1, scan.records());
    let file = files.open(path)?;
    cut_and_seal(file.as_ref(), scan.offset(), &seal)?;
    last.bytes = scan.offset() + SEAL_BYTES as u64;
    Ok(true)
}

/// What is damaged behind the last intact frame.
fn damaged_at_end(
    files: &dyn FileSystem,
    path: &Path,
    scan: &mut Scan,
) -> io::Result<Option<Damaged>> {
    let (Some(epoch), false) = (scan.epoch(), scan.gave_up()) else { return Ok(None) };
    let written = scan.offset() + scan.torn_bytes()?;
    let (at, expected) = (scan.offset(), scan.next_lsn());
    let source = files.open_read(path)?;
    Tail { source: source.as_ref(), at, written, epoch, expected }.damaged()
}

fn cut_and_seal(file: &dyn SegmentFile, end: u64, seal: &[u8]) -> io::Result<()> {
    file.set_len(end)?;
    write_all_at(file, &mut [IoSlice::new(seal)], end)?;
    file.sync()
}
