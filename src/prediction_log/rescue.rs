//! Copies records out of a segment that cannot be trusted.
//!
//! Owns the copy: a segment of its own, complete and synced before it gets its name. The kernel may
//! have marked pages clean that it could not write, so that syncing the old file again would prove
//! nothing; what reads back with the right checksum can be written elsewhere. Never changes the old
//! file, except by taking its name when the copy holds all that it held.

use std::io::{self, IoSlice};
use std::path::Path;

use super::aside::suspect_path;
use super::files::{FileSystem, SegmentFile, write_all_at};
use super::frame;
use super::scan::{Scan, Step};
use super::segment::{self, Listed, SegmentHeader, UNFINISHED};
use super::syncer::Distrusted;
use super::unix_us;

/// Bytes that are copied at once.
const BATCH_BYTES: usize = 1024 * 1024;

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) segment: Listed,
    pub(super) records: u64,
    /// Records that could not be read back.
    pub(super) missing: u64,
}

/// Copies the records that `distrusted` names, and those behind them: a client may have been told that
/// one of these is written, though the writer could not write it again for the sync that another asked
/// for.
pub(super) fn rescue(
    files: &dyn FileSystem,
    dir: &Path,
    node: &str,
    distrusted: Distrusted,
) -> io::Result<Saved> {
    let old = segment::path(dir, distrusted.first_lsn);
    let mut scan = Scan::new(files.open_read(&old)?, distrusted.first_lsn)?;
    let name = segment::file_name(distrusted.from);
    let unfinished = dir.join(name.clone() + UNFINISHED);
    let saved = copy(files.create(&unfinished)?.as_ref(), node, &mut scan, distrusted)
        .and_then(|saved| keep_what_is_lost(files, dir, distrusted, saved).map(|()| saved))
        .and_then(|saved| files.rename(&unfinished, &dir.join(name)).map(|()| saved))
        .and_then(|saved| files.sync_dir(dir).map(|()| saved));
    if saved.is_err() {
        // The next start removes what stays.
        drop(files.remove(&unfinished));
    }
    saved
}

/// Keeps a file aside that is about to lose its name to a copy that lacks some of its records.
fn keep_what_is_lost(
    files: &dyn FileSystem,
    dir: &Path,
    distrusted: Distrusted,
    saved: Saved,
) -> io::Result<()> {
    if saved.missing == 0 || distrusted.from != distrusted.first_lsn {
        return Ok(());
    }
    let old = segment::path(dir, distrusted.first_lsn);
    match files.link(&old, &suspect_path(dir, distrusted.first_lsn)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn copy(
    file: &dyn SegmentFile,
    node: &str,
    scan: &mut Scan,
    distrusted: Distrusted,
) -> io::Result<Saved> {
    let header = SegmentHeader {
        epoch: fastrand::u32(..),
        first_lsn: distrusted.from,
        created_us: unix_us(),
        node: node.to_owned(),
    };
    let (mut batch, mut end, mut records) = (header.encode().to_vec(), 0, 0);
    let (mut last, mut wanted) = (distrusted.from - 1, 0);
    loop {
        let step = scan.step()?;
        if batch.len() >= BATCH_BYTES || step == Step::End {
            write_all_at(file, &mut [IoSlice::new(&batch)], end)?;
            end += batch.len() as u64;
            batch.clear();
        }
        match step {
            Step::Frame { kind, lsn, payload } if distrusted.from <= lsn => {
                let place = end + batch.len() as u64;
                let first = frame::first_place(lsn, distrusted.from);
                let missing = usize::try_from(first.saturating_sub(place)).unwrap_or(0);
                batch.resize(batch.len() + missing, 0);
                frame::put(&mut batch, kind, header.epoch, lsn, &scan.buffer()[payload]);
                (records, last) = (records + 1, lsn);
                wanted += u64::from(lsn <= distrusted.to);
            }
            Step::Frame { .. } | Step::Damage { .. } => {}
            Step::End => break,
        }
    }
    let seal = frame::seal(header.epoch, last, records);
    write_all_at(file, &mut [IoSlice::new(&seal)], end)?;
    file.sync()?;
    let bytes = end + seal.len() as u64;
    let missing = (distrusted.to - distrusted.from + 1).saturating_sub(wanted);
    let segment = Listed { first_lsn: distrusted.from, bytes };
    Ok(Saved { segment, records: wanted, missing })
}
