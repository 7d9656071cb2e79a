//! The bytes behind the last good frame of a segment without a seal.
//!
//! Owns the judgement whether somebody was writing there or they were changed since. A write that was
//! cut short leaves the beginning of a frame and nothing, or zeros, behind it; anything else was whole
//! once. Never judges what is read while a gateway may be writing it.

use std::io;

use crate::prediction_log::frame::{self, FrameHeader, HEADER_BYTES, SEAL_BYTES};
use crate::prediction_log::scan::Scan;

/// A disk writes so many bytes at once, or none of them.
const SECTOR_BYTES: u64 = 512;
/// So many zeros at the end of a frame say that it was cut there. Most end in an answer's body.
const ZEROS: u64 = 16;

/// What is known about a segment whose seal was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// There is a later one: it was closed, and what a write that was cut short had left, cut off.
    Closed,
    /// The newest, which a gateway may be writing.
    Open,
    /// The newest, and no gateway writes here.
    Abandoned,
}

impl Ending {
    /// What is wrong with the bytes at the end of `scan`, of which the last one that is not zero is
    /// number `bytes`, and how many they are.
    ///
    /// # Errors
    /// When the segment cannot be read.
    pub(super) fn damage(
        self,
        scan: &mut Scan,
        bytes: u64,
    ) -> io::Result<Option<(&'static str, u64)>> {
        if self == Self::Open || bytes == 0 {
            return Ok(None);
        }
        // Without a header and a frame, the header is reported.
        let Some(epoch) = scan.epoch() else { return Ok(None) };
        let (end, size, next_lsn) = (scan.offset(), scan.size()?, scan.next_lsn());
        let seal = frame::seal(epoch, next_lsn.saturating_sub(1), scan.records());
        let found = scan.peek(SEAL_BYTES)?;
        if is_nearly(found, &seal) {
            return Ok(Some(("the seal is damaged", SEAL_BYTES as u64)));
        }
        if self == Self::Closed {
            return Ok(Some(("bytes behind the last record that are no intact frame", bytes)));
        }
        let written = found.get(..usize::try_from(bytes).unwrap_or(usize::MAX)).unwrap_or(found);
        if found.iter().take(HEADER_BYTES).all(|&byte| byte == 0) {
            // The disk has written a later part first.
            return Ok(None);
        }
        let begins = [next_lsn, next_lsn.saturating_sub(1)].iter().any(|&lsn| {
            let mut header = [0; HEADER_BYTES];
            frame::begin(&mut header, 0, 0);
            frame::number(&mut header, epoch, lsn);
            // Kind, length and checksum are those of a record that is not known.
            let known = (0..3).chain(8..20);
            known.into_iter().all(|at| written.get(at).is_none_or(|&byte| byte == header[at]))
        });
        if !begins {
            return Ok(Some(("bytes behind the last record that do not begin a frame", bytes)));
        }
        let whole = FrameHeader::parse(found).is_some_and(|header| {
            let len = header.frame_len() as u64;
            let (last, frame_end) = (end + bytes, end + len);
            let cut = last.next_multiple_of(SECTOR_BYTES) < frame_end || bytes + ZEROS <= len;
            frame_end <= size && !cut
        });
        Ok(whole.then_some(("a whole frame that fails its checksum", bytes)))
    }
}

/// Whether `found` is as long as the seal and has most of the bytes in it that are not zero.
fn is_nearly(found: &[u8], seal: &[u8; SEAL_BYTES]) -> bool {
    let telling = || seal.iter().zip(found).filter(|(expected, _)| **expected != 0);
    let same = telling().filter(|(expected, found)| expected == found).count();
    found.len() == SEAL_BYTES && same * 2 > telling().count()
}
