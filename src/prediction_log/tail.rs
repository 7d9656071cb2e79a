//! What stands behind the last intact frame of a segment that nobody closed.
//!
//! Owns the difference between a write that was cut short and a record that was whole and is damaged.
//! A killed process leaves the beginning of a frame, and behind it nothing or zeros; a frame that goes
//! to its end was written whole, and may have been acknowledged. Never changes the file. After a loss
//! of power a frame may have its end and lack its middle: that counts as damage too.

use std::io;
use std::ops::RangeInclusive;

use super::files::{Source, read_full_at};
use super::frame::{self, ALIGN, HEADER_BYTES, PAYLOAD_BYTES_MAX};
use super::row;

/// Bytes of zeros that a frame may end with, where only its length is damaged.
const ZEROS_MAX: u64 = 32;

/// Records that were whole and are damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damaged {
    pub(super) lsns: RangeInclusive<u64>,
    pub(super) epoch: u32,
    /// Where something else may be written.
    pub(super) end: u64,
}

/// The end of a segment.
pub(super) struct Tail<'a> {
    pub(super) source: &'a dyn Source,
    /// Where the last intact frame ends.
    pub(super) at: u64,
    /// Where the zeros begin that the file ends with, if any.
    pub(super) written: u64,
    pub(super) epoch: u32,
    /// The number that the next record should have.
    pub(super) expected: u64,
}

impl Tail<'_> {
    /// The damaged records; `None` when there is nothing but a write that was cut short.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub(super) fn damaged(&self) -> io::Result<Option<Damaged>> {
        let (mut at, mut lsn) = (self.at, self.expected);
        while let Some(end) = self.end_of(at, lsn)? {
            (at, lsn) = (end, lsn.saturating_add(1));
        }
        // Nothing that stands there is cut off or written over.
        let end = at.max(self.written).next_multiple_of(ALIGN as u64);
        let lsns = self.expected..=lsn.saturating_sub(1);
        Ok((lsn > self.expected).then_some(Damaged { lsns, epoch: self.epoch, end }))
    }

    /// Where the frame at `at` ends, if it is that of record `lsn` and goes to its end.
    fn end_of(&self, at: u64, lsn: u64) -> io::Result<Option<u64>> {
        let mut header = [0; HEADER_BYTES];
        let is_there = read_full_at(self.source, &mut header, at)? == HEADER_BYTES;
        if !is_there || !frame::resembles(&header, self.epoch, lsn, row::is_known) {
            return Ok(None);
        }
        let payload_len = frame::payload_len(&header) as u64;
        let (content, size) = (at + HEADER_BYTES as u64 + payload_len, self.source.size()?);
        let end = content.next_multiple_of(ALIGN as u64);
        if payload_len <= PAYLOAD_BYTES_MAX as u64 && end <= size {
            let empty = self.empty_at_end(at, content)?;
            if self.written + empty >= content || size == end {
                return Ok(Some(end));
            }
        }
        self.end_by_checksum(at, size)
    }

    /// Zeros at the end of a payload that say that its last fields are empty.
    fn empty_at_end(&self, at: u64, content: u64) -> io::Result<u64> {
        let from = at + HEADER_BYTES as u64;
        if self.written >= content {
            return Ok(0);
        }
        let mut payload = vec![0; usize::try_from(content - from).unwrap_or(0)];
        let len = read_full_at(self.source, &mut payload, from)?;
        Ok(row::empty_at_end(&payload[..len]) as u64)
    }

    /// As [`Self::end_of`], for a frame that is intact but for the length in its header: with the right
    /// one its checksum holds.
    fn end_by_checksum(&self, at: u64, size: u64) -> io::Result<Option<u64>> {
        let longest = (self.written.next_multiple_of(ALIGN as u64) + ZEROS_MAX).min(size);
        let len = longest.saturating_sub(at).min((HEADER_BYTES + PAYLOAD_BYTES_MAX) as u64);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let len = read_full_at(self.source, &mut bytes, at)?;
        bytes.truncate(len);
        let shortest = usize::try_from(self.written.saturating_sub(at)).unwrap_or(usize::MAX);
        let ends = (HEADER_BYTES..=len).filter(|end| end % ALIGN == 0 && *end >= shortest);
        Ok(ends
            .into_iter()
            .find(|&end| frame::is_intact_but_length(&mut bytes[..end]))
            .map(|end| at + end as u64))
    }
}
