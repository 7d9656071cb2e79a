//! Finds the record with an id, in a log of any size.
//!
//! Owns the order of the search: a record id tells when it was made (UUIDv7), so that the files of that
//! time come first, and all others only when it is not there, because clocks are set. In segments only the
//! frames' heads are looked at; the checksum is computed for the frame that matches. Never trusts a
//! frame that fails it, and searches a segment with damage frame by frame.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::log::{LogError, converted, segments_dir};
use super::runs::{Span, spans};
use crate::domain::ids::RecordId;
use crate::prediction_log::ReadError;
use crate::prediction_log::files::{FileSystem as _, LocalFiles, Source, read_full_at};
use crate::prediction_log::frame::{self, ALIGN, FrameHeader};
use crate::prediction_log::parquet::{
    ParquetFile, ParquetReadError, ParquetRows, Prune, catalog, parquet_dir,
};
use crate::prediction_log::scan::{Scan, Step};
use crate::prediction_log::segment::{self, SegmentHeader};

/// Bytes of a segment that are read at once.
const WINDOW_BYTES: usize = 256 * 1024;
/// Where the record id lies in the payload of a record and of feedback.
const ID_AT: usize = 16;
/// Microseconds of an hour: how far from its time an id is looked for first.
const HOUR_US: u64 = 3_600_000_000;
/// Searches while files are converted under it.
const ATTEMPTS_MAX: u32 = 8;

/// The number of the record with this id; `None` when the log does not hold it.
///
/// # Errors
/// When a file cannot be read.
pub fn find(data_dir: &Path, id: RecordId) -> Result<Option<u64>, LogError> {
    for _ in 0..ATTEMPTS_MAX {
        let before = converted(data_dir)?;
        let found = find_once(data_dir, id)?;
        // What was converted during the search may have been in neither place when it was looked at.
        if found.is_some() || converted(data_dir)? == before {
            return Ok(found);
        }
    }
    Ok(None)
}

fn find_once(data_dir: &Path, id: RecordId) -> Result<Option<u64>, LogError> {
    let ts_us = id.unix_ms().saturating_mul(1000);
    let dir = parquet_dir(data_dir);
    let files = catalog(&dir).map_err(|source| LogError::List { path: dir, source })?;
    let (near, far): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| is_near(file, ts_us));
    if let Some(lsn) = in_files(&near, id)? {
        return Ok(Some(lsn));
    }
    let dir = segments_dir(data_dir);
    let mut segments = if dir.is_dir() { spans(&dir)? } else { Vec::new() };
    segments.sort_by_key(|span| span.distance_us(ts_us));
    if let Some(lsn) = in_segments(&dir, &segments, id)? {
        return Ok(Some(lsn));
    }
    in_files(&far, id)
}

fn is_near(file: &ParquetFile, ts_us: u64) -> bool {
    let end_us = file.hour.end_us();
    ts_us < end_us.saturating_add(HOUR_US) && ts_us.saturating_add(2 * HOUR_US) >= end_us
}

fn in_files(files: &[ParquetFile], id: RecordId) -> Result<Option<u64>, LogError> {
    for file in files {
        match in_file(file, id) {
            Ok(None) => {}
            Ok(found) => return Ok(found),
            Err(ParquetReadError::Open { source, .. })
                if source.kind() == io::ErrorKind::NotFound => {}
            Err(error @ ParquetReadError::Open { .. }) => return Err(error.into()),
            // `log verify` tells about damage; here the other files matter.
            Err(_) => {}
        }
    }
    Ok(None)
}

fn in_file(file: &ParquetFile, id: RecordId) -> Result<Option<u64>, ParquetReadError> {
    let ids = [id];
    let mut rows = ParquetRows::open(&file.path, &Prune { ids: &ids, ..Prune::default() })?;
    rows.advance()
}

/// Searches segments in their order, on all cores.
fn in_segments(dir: &Path, segments: &[Span], id: RecordId) -> Result<Option<u64>, LogError> {
    let (next, found) = (AtomicUsize::new(0), AtomicBool::new(false));
    let result: Mutex<Result<Option<u64>, LogError>> = Mutex::new(Ok(None));
    let search = || {
        while !found.load(Ordering::Relaxed) {
            let Some(span) = segments.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            let path = segment::path(dir, span.first_lsn);
            match in_segment(&path, span.first_lsn, id) {
                Ok(None) => continue,
                Ok(lsn) => *result.lock() = Ok(lsn),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => *result.lock() = Err(ReadError::Segment { path, source }.into()),
            }
            found.store(true, Ordering::Relaxed);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = cores.min(segments.len());
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(search);
        }
        search();
    });
    result.into_inner()
}

/// Searches one segment.
fn in_segment(path: &Path, first_lsn: u64, id: RecordId) -> io::Result<Option<u64>> {
    let source = LocalFiles.open_read(path)?;
    match hop(source.as_ref(), first_lsn, id)? {
        Hopped::Found(lsn) => Ok(Some(lsn)),
        Hopped::Nowhere => Ok(None),
        Hopped::Lost => scan(source, first_lsn, id),
    }
}

/// How a walk over the heads of frames ended.
enum Hopped {
    Found(u64),
    Nowhere,
    /// At bytes that are no frame.
    Lost,
}

/// Walks from head to head.
fn hop(source: &dyn Source, first_lsn: u64, id: RecordId) -> io::Result<Hopped> {
    let mut window = Window { source, bytes: Vec::new(), start: 0 };
    let header = SegmentHeader::decode(window.at(0, segment::HEADER_BYTES)?);
    let Some(header) = header.filter(|header| header.first_lsn == first_lsn) else {
        return Ok(Hopped::Lost);
    };
    let mut at = segment::HEADER_BYTES as u64;
    loop {
        let head = window.at(at, frame::HEADER_BYTES + ID_AT + 16)?;
        let Some(frame) = FrameHeader::parse(head).filter(|frame| frame.epoch == header.epoch)
        else {
            let rest = head.iter().take(ALIGN);
            let is_end = rest.len() == 0 || rest.clone().all(|&byte| byte == 0);
            return Ok(if is_end { Hopped::Nowhere } else { Hopped::Lost });
        };
        if frame.kind == frame::KIND_SEAL {
            return Ok(Hopped::Nowhere);
        }
        let has_id = matches!(frame.kind, frame::KIND_RECORD | frame::KIND_FEEDBACK);
        let own = head.get(frame::HEADER_BYTES + ID_AT..frame::HEADER_BYTES + ID_AT + 16);
        if has_id && own == Some(id.as_bytes().as_slice()) {
            let mut whole = vec![0; frame.frame_len()];
            let len = read_full_at(source, &mut whole, at)?;
            let intact = frame.is_intact(&whole[..len]);
            return Ok(if intact { Hopped::Found(frame.lsn) } else { Hopped::Lost });
        }
        at += frame.frame_len() as u64;
    }
}

/// Searches frame by frame, past damage.
fn scan(source: Box<dyn Source>, first_lsn: u64, id: RecordId) -> io::Result<Option<u64>> {
    let mut scan = Scan::new(source, first_lsn)?;
    loop {
        match scan.step()? {
            Step::Frame { kind, lsn, payload } => {
                let own = scan.buffer()[payload].get(ID_AT..ID_AT + 16);
                let has_id = matches!(kind, frame::KIND_RECORD | frame::KIND_FEEDBACK);
                if has_id && own == Some(id.as_bytes().as_slice()) {
                    return Ok(Some(lsn));
                }
            }
            Step::Damage { .. } => {}
            Step::End => return Ok(None),
        }
    }
}

/// A stretch of a file in memory.
struct Window<'a> {
    source: &'a dyn Source,
    bytes: Vec<u8>,
    start: u64,
}

impl Window<'_> {
    /// The `len` bytes at `at`, or fewer at the end of the file.
    fn at(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let end = self.start + self.bytes.len() as u64;
        if at < self.start || at + len as u64 > end {
            self.bytes.resize(WINDOW_BYTES, 0);
            let filled = read_full_at(self.source, &mut self.bytes, at)?;
            self.bytes.truncate(filled);
            self.start = at;
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        let rest = self.bytes.get(from..).unwrap_or_default();
        Ok(&rest[..len.min(rest.len())])
    }
}
