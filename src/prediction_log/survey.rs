//! What a log directory holds in total, without reading all of it.
//!
//! Owns the shortcut over seals: a closed segment tells its count in its last frame, so that only
//! segments without a seal are read. Never locks or changes a file.

use std::io;
use std::path::Path;

use super::files::{FileSystem, LocalFiles, read_full_at};
use super::frame::{self, FrameHeader, KIND_SEAL, SEAL_BYTES};
use super::reader::ReadError;
use super::scan::{Scan, Step};
use super::segment::{self, Listed};

/// The totals of a log directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// Segment files.
    pub segments: u64,
    /// Segment files that were closed.
    pub sealed: u64,
    /// Bytes of all segment files.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// The number of the first record; `None` without records.
    pub first_lsn: Option<u64>,
    /// The number of the last record.
    pub last_lsn: Option<u64>,
    /// The number that the newest segment is named after; 0 without segments.
    pub newest_lsn: u64,
    /// When the oldest segment was created, in microseconds since the Unix epoch.
    pub created_us: Option<u64>,
    /// The gateway that wrote the newest segment.
    pub node: String,
    /// Places of damage in the segments that were read.
    pub damaged_places: u64,
    /// Bytes after the last good record of the newest segment; of a running gateway, usually a group
    /// that is being written.
    pub torn_bytes: u64,
}

/// Adds up the log in `dir`.
///
/// # Errors
/// When the directory or a segment cannot be read.
pub fn survey(dir: &Path) -> Result<Survey, ReadError> {
    let files = LocalFiles;
    let listed = segment::list(&files, dir)
        .map_err(|source| ReadError::List { path: dir.to_owned(), source })?;
    let mut survey = Survey::default();
    for segment in listed {
        let path = segment::path(dir, segment.first_lsn);
        match survey.add(&files, &path, segment) {
            Ok(()) => {}
            // Removed by retention since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ReadError::Segment { path, source }),
        }
    }
    Ok(survey)
}

impl Survey {
    fn add(&mut self, files: &dyn FileSystem, path: &Path, listed: Listed) -> io::Result<()> {
        let source = files.open_read(path)?;
        let bytes = source.size()?;
        let mut footer = [0; SEAL_BYTES];
        let footer_at = bytes.saturating_sub(SEAL_BYTES as u64);
        let footer_len = read_full_at(source.as_ref(), &mut footer, footer_at)?;
        let mut scan = Scan::new(source, listed.first_lsn)?;
        self.segments += 1;
        self.newest_lsn = listed.first_lsn;
        self.bytes += bytes;
        if let Some(header) = scan.header() {
            self.created_us = self.created_us.or(Some(header.created_us));
            self.node.clone_from(&header.node);
        }
        let sealed = sealed_count(&footer[..footer_len], scan.epoch());
        let (records, next_lsn) = match sealed.filter(|&sealed| is_possible(listed, bytes, sealed))
        {
            Some((count, last_lsn)) => {
                self.sealed += 1;
                (count, last_lsn.saturating_add(1))
            }
            None => self.read(&mut scan)?,
        };
        self.records += records;
        if records > 0 {
            self.first_lsn = self.first_lsn.or(Some(listed.first_lsn));
            self.last_lsn = Some(next_lsn - 1);
        }
        Ok(())
    }

    fn read(&mut self, scan: &mut Scan) -> io::Result<(u64, u64)> {
        loop {
            match scan.step()? {
                Step::Frame { .. } => {}
                Step::Damage { .. } => self.damaged_places += 1,
                Step::End => break,
            }
        }
        self.sealed += u64::from(scan.is_sealed());
        self.torn_bytes = if scan.is_sealed() { 0 } else { scan.torn_bytes()? };
        Ok((scan.records(), scan.next_lsn()))
    }
}

/// Whether a segment of `bytes` can hold what its seal says, and under these numbers.
fn is_possible(listed: Listed, bytes: u64, (count, last_lsn): (u64, u64)) -> bool {
    let numbers = last_lsn.saturating_add(1).saturating_sub(listed.first_lsn);
    let frames = bytes.saturating_sub((segment::HEADER_BYTES + SEAL_BYTES) as u64);
    count <= numbers && count <= frames / frame::HEADER_BYTES as u64
}

/// The count and the last number in the seal that ends a segment.
pub(super) fn sealed_count(footer: &[u8], epoch: Option<u32>) -> Option<(u64, u64)> {
    let header = FrameHeader::parse(footer)?;
    let is_seal = header.kind == KIND_SEAL && Some(header.epoch) == epoch;
    let count = frame::seal_count(footer.get(frame::HEADER_BYTES..)?)?;
    (is_seal && header.is_intact(footer)).then_some((count, header.lsn))
}
