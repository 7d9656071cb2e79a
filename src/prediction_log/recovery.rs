//! Brings a directory of segments into a state in which writing can go on.
//!
//! Owns the torn tail of the last segment, which is all that a killed process can leave behind, and
//! files whose creation was cut short. Never removes a record and never refuses to start because of
//! what a file contains.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use super::files::{FileSystem, SegmentFile, read_full_at, write_all_at};
use super::frame::{self, SEAL_BYTES};
use super::recorder::OpenError;
use super::scan::{Scan, Step};
use super::segment::{self, HEADER_BYTES, Listed, SUSPECT, SegmentHeader, UNFINISHED};
use super::survey::sealed_count;

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
    /// Places of damage before later good records in the last segment; readers report them.
    pub damaged_places: u64,
    /// A file in which nothing could be read, put aside under this name.
    pub put_aside: Option<PathBuf>,
}

/// Heals the last segment; returns what was found and the segments that stay.
pub(super) fn recover(
    files: &dyn FileSystem,
    dir: &Path,
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
    let above = above_earlier(files, dir, &segments).map_err(unreadable)?;
    if let Some(last) = segments.last_mut() {
        let path = segment::path(dir, last.first_lsn);
        let kept = heal(files, &path, last, &mut recovery)
            .map_err(|source| OpenError::Heal { path, source })?;
        if !kept {
            segments.pop();
        }
    }
    recovery.next_lsn = recovery.next_lsn.max(above);
    Ok((recovery, segments))
}

/// The number above all in the segments before the last. One that was given up after a failed sync
/// still holds the records that were about to be written again: readers show those, so that another
/// record with one of their numbers would be hidden.
fn above_earlier(files: &dyn FileSystem, dir: &Path, segments: &[Listed]) -> io::Result<u64> {
    let mut above = 1;
    for earlier in segments.iter().rev().skip(1).take(LOOK_BACK) {
        let source = files.open_read(&segment::path(dir, earlier.first_lsn))?;
        let mut footer = [0; SEAL_BYTES];
        let at = source.size()?.saturating_sub(SEAL_BYTES as u64);
        let len = read_full_at(source.as_ref(), &mut footer, at)?;
        let mut header = [0; HEADER_BYTES];
        let header_len = read_full_at(source.as_ref(), &mut header, 0)?;
        let header = SegmentHeader::decode(&header[..header_len]);
        let epoch = header.filter(|header| header.first_lsn == earlier.first_lsn).map(|h| h.epoch);
        if epoch.is_some()
            && let Some((_, last_lsn)) = sealed_count(&footer[..len], epoch)
        {
            above = above.max(last_lsn.saturating_add(1));
            continue;
        }
        let mut scan = Scan::new(source, earlier.first_lsn)?;
        while scan.step()? != Step::End {}
        above = above.max(scan.next_lsn());
    }
    Ok(above)
}

/// Closes the last segment where its last good frame ends; false when it holds nothing to keep.
fn heal(
    files: &dyn FileSystem,
    path: &Path,
    last: &mut Listed,
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
        return Ok(true);
    }
    recovery.healed_bytes = scan.torn_bytes()?;
    let Some(epoch) = scan.epoch().filter(|_| scan.records() > 0) else {
        // Without a record the next segment has the same name and replaces this one. What cannot
        // even be recognised is kept for people to look at.
        let empty = last.bytes == 0 || scan.is_blank()?;
        if !empty && (scan.header().is_none() || scan.gave_up()) {
            let aside = path.with_file_name(segment::file_name(last.first_lsn) + SUSPECT);
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

fn cut_and_seal(file: &dyn SegmentFile, end: u64, seal: &[u8]) -> io::Result<()> {
    file.set_len(end)?;
    write_all_at(file, &mut [IoSlice::new(seal)], end)?;
    file.sync()
}
