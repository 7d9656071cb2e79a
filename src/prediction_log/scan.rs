//! Walks the frames of one segment, whatever state it is in.
//!
//! Owns the search for the next good frame after damage, and the one buffer for frames. Never trusts
//! a length, a number or a checksum alone, and never refuses a segment: what cannot be read is
//! reported as damage. Works on a file that grows.

use std::io;
use std::ops::{Range, RangeInclusive};

use super::files::{Source, read_full_at};
use super::frame::{self, ALIGN, FrameHeader};
use super::segment::{self, SegmentHeader};

/// Bytes read at once.
const WINDOW_BYTES: usize = 256 * 1024;
/// A window that had to grow beyond this for one long frame is made small again.
const WINDOW_BYTES_KEPT: usize = 4 * 1024 * 1024;
/// Bytes of candidate frames that one search may sum, as a multiple of the segment's size: crafted
/// bytes cannot make a search quadratic.
const SEARCH_FACTOR: u64 = 8;

static ZEROS: [u8; 4096] = [0; 4096];

/// What lies next in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An intact frame with a number of its own; its payload is at this place of [`Scan::buffer`].
    Frame { kind: u8, lsn: u64, payload: Range<usize> },
    /// Bytes that are no frames, or missing numbers, before a later intact frame.
    Damage { offset: u64, bytes: u64, lsns: Option<RangeInclusive<u64>> },
    /// Nothing intact for now. Ask again when the segment may have grown.
    End,
}

/// A position in a segment.
pub(super) struct Scan {
    source: Box<dyn Source>,
    window: Window,
    header: Option<SegmentHeader>,
    /// Whether nothing stands where the header should be.
    header_blank: bool,
    /// Of the header; where that is damaged, of the first intact frame.
    epoch: Option<u32>,
    first_lsn: u64,
    /// The number that the next record should have.
    expected: u64,
    /// Where the next frame should start.
    at: u64,
    sealed: bool,
    records: u64,
    /// Whether a search ended because it had cost too much.
    gave_up: bool,
    /// From here on a search met nothing but zeros, if anything. Segments are written front to back:
    /// as long as there are zeros where the next frame goes, there are zeros behind it.
    blank_from: Option<u64>,
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut scan = f.debug_struct("Scan");
        scan.field("first_lsn", &self.first_lsn).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Scan {
    /// Starts at the first frame of the segment that is named `first_lsn`.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub(super) fn new(source: Box<dyn Source>, first_lsn: u64) -> io::Result<Self> {
        let mut window = Window::default();
        let header = window.bytes(source.as_ref(), 0, segment::HEADER_BYTES)?;
        let header_blank = header.is_some_and(is_zero);
        let header = header.and_then(SegmentHeader::decode).filter(|h| h.first_lsn == first_lsn);
        Ok(Self {
            source,
            window,
            epoch: header.as_ref().map(|header| header.epoch),
            header,
            header_blank,
            first_lsn,
            expected: first_lsn,
            at: segment::HEADER_BYTES as u64,
            sealed: false,
            records: 0,
            gave_up: false,
            blank_from: None,
        })
    }

    /// The header, unless it is damaged.
    pub(super) fn header(&self) -> Option<&SegmentHeader> {
        self.header.as_ref()
    }

    /// Whether nothing was ever written, or nothing of it reached the disk. To be asked at
    /// [`Step::End`].
    ///
    /// # Errors
    /// When the source cannot be read.
    pub(super) fn is_blank(&mut self) -> io::Result<bool> {
        Ok(self.header_blank && self.records == 0 && self.torn_bytes()? == 0)
    }

    /// The epoch, once a header or a frame has told it.
    pub(super) fn epoch(&self) -> Option<u32> {
        self.epoch
    }

    /// The number that the segment is named after.
    pub(super) fn first_lsn(&self) -> u64 {
        self.first_lsn
    }

    /// One more than the number of the last frame that was passed.
    pub(super) fn next_lsn(&self) -> u64 {
        self.expected
    }

    /// Where the last intact frame that was passed ends.
    pub(super) fn offset(&self) -> u64 {
        self.at
    }

    /// Frames with numbers that were passed.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Whether the seal was passed: nothing comes after it.
    pub(super) fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Whether there may be good frames beyond [`Step::End`], after bytes that were made to look like
    /// frames.
    pub(super) fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// The memory that [`Step::Frame`] points into, until the next step.
    pub(super) fn buffer(&self) -> &[u8] {
        &self.window.buffer
    }

    /// Passes to the next frame or place of damage.
    ///
    /// # Errors
    /// When the source cannot be read; asking again repeats the step.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        loop {
            if self.sealed {
                return Ok(Step::End);
            }
            let mut found = self.intact_at(self.at)?;
            if found.is_none() {
                // The bytes may have been read before they were complete: look once more.
                self.window.forget();
                found = self.intact_at(self.at)?;
            }
            let Some((header, place)) = found else {
                match self.pass_damage()? {
                    Some(step) => return Ok(step),
                    None => continue,
                }
            };
            let passed = last_lsn_before(&header);
            if passed >= self.expected {
                let missing = self.expected..=passed;
                self.expected = passed.saturating_add(1);
                return Ok(Step::Damage { offset: self.at, bytes: 0, lsns: Some(missing) });
            }
            self.epoch = Some(header.epoch);
            self.at += place.len() as u64;
            if header.is_numbered() {
                self.expected = header.lsn.saturating_add(1);
                self.records += 1;
                let from = place.start + frame::HEADER_BYTES;
                let payload = from..from + header.payload_len;
                return Ok(Step::Frame { kind: header.kind, lsn: header.lsn, payload });
            }
            if header.kind == frame::KIND_SEAL {
                self.sealed = true;
            }
        }
    }

    /// Bytes after the last intact frame up to the last one that is not zero. To be asked at
    /// [`Step::End`].
    ///
    /// # Errors
    /// When the source cannot be read.
    pub(super) fn torn_bytes(&mut self) -> io::Result<u64> {
        let (mut at, mut torn) = (self.at, 0);
        loop {
            let chunk = self.window.up_to(self.source.as_ref(), at, WINDOW_BYTES)?;
            if chunk.is_empty() {
                return Ok(torn);
            }
            if !is_zero(chunk)
                && let Some(last) = chunk.iter().rposition(|&byte| byte != 0)
            {
                torn = at + last as u64 + 1 - self.at;
            }
            at += chunk.len() as u64;
        }
    }

    /// Finds the next intact frame after the place where one should have been; `None` when there is one
    /// by now.
    fn pass_damage(&mut self) -> io::Result<Option<Step>> {
        if self.is_known_blank()? {
            return Ok(Some(Step::End));
        }
        if self.find_intact()?.is_none() {
            return Ok(Some(Step::End));
        }
        // Segments are written front to back: what lies before an intact frame is complete now, though
        // it may not have been when it was read.
        self.window.forget();
        if self.intact_at(self.at)?.is_some() {
            return Ok(None);
        }
        let Some((at, header)) = self.find_intact()? else { return Ok(Some(Step::End)) };
        let offset = std::mem::replace(&mut self.at, at);
        let last = last_lsn_before(&header);
        let lsns = (last >= self.expected).then_some(self.expected..=last);
        self.expected = last.saturating_add(1).max(self.expected);
        Ok(Some(Step::Damage { offset, bytes: at - offset, lsns }))
    }

    /// The next intact frame after the place where one should be.
    fn find_intact(&mut self) -> io::Result<Option<(u64, FrameHeader)>> {
        let mut budget = self.source.size()?.saturating_mul(SEARCH_FACTOR);
        let mut candidate = self.at + ALIGN as u64;
        while budget > 0 {
            let Some(at) = self.find_magic(candidate)? else {
                self.blank_from = (self.torn_bytes()? == 0).then_some(self.at);
                return Ok(None);
            };
            if let Some((header, _)) = self.intact_at(at)? {
                return Ok(Some((at, header)));
            }
            let claimed = self.window.bytes(self.source.as_ref(), at, frame::HEADER_BYTES)?;
            let claimed = claimed.and_then(FrameHeader::parse).map_or(0, |h| h.frame_len() as u64);
            budget = budget.saturating_sub(claimed);
            candidate = at + ALIGN as u64;
        }
        self.gave_up = true;
        Ok(None)
    }

    /// Whether nothing was written after the last intact frame since a search found only zeros there.
    /// The file of an open segment may be much longer than what was written to it.
    fn is_known_blank(&mut self) -> io::Result<bool> {
        if self.blank_from.is_none_or(|from| self.at < from) {
            return Ok(false);
        }
        let next = self.window.bytes(self.source.as_ref(), self.at, frame::HEADER_BYTES)?;
        Ok(next.is_some_and(is_zero))
    }

    /// The first place from `from` on, in steps of the alignment, that could be a frame of this
    /// segment.
    fn find_magic(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut from = from;
        loop {
            let (first_lsn, epoch, expected) = (self.first_lsn, self.epoch, self.expected);
            let chunk = self.window.up_to(self.source.as_ref(), from, WINDOW_BYTES)?;
            if chunk.len() < frame::HEADER_BYTES {
                return Ok(None);
            }
            let places = (chunk.len() - frame::HEADER_BYTES) / ALIGN + 1;
            let candidates = if is_zero(chunk) { 0 } else { places };
            for place in (0..candidates).map(|index| index * ALIGN) {
                let at = from + place as u64;
                if FrameHeader::parse(&chunk[place..])
                    .is_some_and(|header| is_plausible(&header, at, first_lsn, expected, epoch))
                {
                    return Ok(Some(at));
                }
            }
            from += (places * ALIGN) as u64;
        }
    }

    /// The intact frame at `at` and its place in the buffer.
    fn intact_at(&mut self, at: u64) -> io::Result<Option<(FrameHeader, Range<usize>)>> {
        let source = self.source.as_ref();
        let Some(bytes) = self.window.bytes(source, at, frame::HEADER_BYTES)? else {
            return Ok(None);
        };
        let plausible = FrameHeader::parse(bytes)
            .filter(|header| is_plausible(header, at, self.first_lsn, self.expected, self.epoch));
        let Some(header) = plausible else { return Ok(None) };
        // A wrong length must not make the window grow: the whole frame has to be there.
        if at + header.frame_len() as u64 > source.size()? {
            return Ok(None);
        }
        let Some(frame) = self.window.bytes(source, at, header.frame_len())? else {
            return Ok(None);
        };
        if !header.is_intact(frame) {
            return Ok(None);
        }
        let start = self.window.place(at);
        Ok(Some((header, start..start + header.frame_len())))
    }
}

/// Whether there is nothing but zeros, compared in long stretches.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|part| part == &ZEROS[..part.len()])
}

/// The number of the last record that lies before a frame.
fn last_lsn_before(header: &FrameHeader) -> u64 {
    header.lsn.saturating_sub(u64::from(header.is_numbered()))
}

/// Whether a frame at `at` can belong here: of this segment's epoch, not older than what was passed,
/// and not further ahead than records fit in the bytes before it.
fn is_plausible(
    header: &FrameHeader,
    at: u64,
    first_lsn: u64,
    expected: u64,
    epoch: Option<u32>,
) -> bool {
    let most = at.saturating_sub(segment::HEADER_BYTES as u64) / frame::HEADER_BYTES as u64;
    let (from, to) = if header.is_numbered() {
        (expected, first_lsn.saturating_add(most))
    } else {
        (expected.saturating_sub(1), first_lsn.saturating_add(most).saturating_sub(1))
    };
    epoch.is_none_or(|epoch| epoch == header.epoch) && (from..=to).contains(&header.lsn)
}

/// A stretch of the source in memory.
#[derive(Debug, Default)]
struct Window {
    buffer: Vec<u8>,
    start: u64,
}

impl Window {
    fn forget(&mut self) {
        self.buffer.clear();
    }

    /// Where offset `at` of the source, which was just asked for, lies in the buffer.
    fn place(&self, at: u64) -> usize {
        usize::try_from(at - self.start).unwrap_or(usize::MAX)
    }

    /// Exactly `len` bytes at `at`; `None` when the source ends before.
    fn bytes(&mut self, source: &dyn Source, at: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let held = at >= self.start && at + len as u64 <= self.start + self.buffer.len() as u64;
        if !held {
            self.fill(source, at, len.max(WINDOW_BYTES))?;
        }
        let place = self.place(at);
        Ok(self.buffer.get(place..place + len))
    }

    /// The bytes at `at`: all that are in the window, or as many as `len` when none are.
    fn up_to(&mut self, source: &dyn Source, at: u64, len: usize) -> io::Result<&[u8]> {
        let end = self.start + self.buffer.len() as u64;
        if at < self.start || at + frame::HEADER_BYTES as u64 > end {
            self.fill(source, at, len)?;
        }
        let place = self.place(at);
        Ok(self.buffer.get(place..).unwrap_or_default())
    }

    fn fill(&mut self, source: &dyn Source, at: u64, len: usize) -> io::Result<()> {
        self.buffer.clear();
        if self.buffer.capacity() > WINDOW_BYTES_KEPT && len <= WINDOW_BYTES {
            self.buffer.shrink_to(WINDOW_BYTES);
        }
        self.start = at;
        self.buffer.resize(len, 0);
        match read_full_at(source, &mut self.buffer, at) {
            Ok(filled) => {
                self.buffer.truncate(filled);
                Ok(())
            }
            Err(error) => {
                self.buffer.clear();
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::prediction_log::frame::KIND_RECORD;

    /// A segment whose middle is being written while it is read: for so many reads, that part is
    /// zeros though what follows is there. (A read is not one instant: it takes page by page.)
    struct Torn {
        bytes: Vec<u8>,
        middle: Range<usize>,
        reads: AtomicU64,
        torn_reads: u64,
    }

    impl Source for Torn {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let mut bytes = self.bytes.clone();
            if self.reads.fetch_add(1, Ordering::Relaxed) < self.torn_reads {
                bytes[self.middle.clone()].fill(0);
            }
            let from = (offset as usize).min(bytes.len());
            let len = buffer.len().min(bytes.len() - from);
            buffer[..len].copy_from_slice(&bytes[from..from + len]);
            Ok(len)
        }

        fn size(&self) -> io::Result<u64> {
            Ok(self.bytes.len() as u64)
        }
    }

    #[test]
    fn a_frame_that_is_being_written_is_no_damage() {
        let header = SegmentHeader { epoch: 9, first_lsn: 1, created_us: 1, node: "n1".to_owned() };
        let mut bytes = header.encode().to_vec();
        let mut ends = Vec::new();
        for lsn in 1..=4 {
            frame::put(&mut bytes, KIND_RECORD, 9, lsn, &[lsn as u8; 100]);
            ends.push(bytes.len());
        }
        // From the second frame's checksum to the middle of the third.
        let middle = ends[0] + 16..ends[1] + 40;
        for torn_reads in 0..12 {
            let reads = AtomicU64::new(0);
            let (bytes, middle) = (bytes.clone(), middle.clone());
            let source = Torn { bytes, middle, reads, torn_reads };
            let mut scan = Scan::new(Box::new(source), 1).expect("readable");
            let mut found = Vec::new();
            let mut damaged = false;
            loop {
                match scan.step().expect("readable") {
                    Step::Frame { lsn, .. } => found.push(lsn),
                    Step::Damage { .. } => damaged = true,
                    Step::End => break,
                }
            }
            // As long as the reads of one step do not all see the torn state.
            let expected = if damaged { vec![1, 4] } else { vec![1, 2, 3, 4] };
            assert_eq!(found, expected, "{torn_reads}");
            assert!(!damaged || torn_reads > 4, "damage after {torn_reads} torn reads");
        }
    }
}
