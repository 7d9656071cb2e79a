//! The memory in which one worker's records wait for the writer.
//!
//! Owns encoded frames one after the other in one reused buffer, with long pieces of bodies beside it
//! by reference. Never numbers or writes a frame: the writer thread does, when it takes the arena.

use std::io::IoSlice;
use std::ops::Range;

use bytes::Bytes;

use super::frame::{self, ALIGN, HEADER_BYTES};
use crate::domain::spec::Durability;

/// Pieces longer than this are kept by reference; shorter ones are cheaper to copy.
pub(super) const SPLICE_BYTES_MIN: usize = 16 * 1024;

/// Capacity that an arena always keeps.
const CAPACITY_MIN: usize = 64 * 1024;

/// Frames that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Arena {
    bytes: Vec<u8>,
    frames: Vec<FrameSpan>,
    splices: Vec<Splice>,
    spliced_bytes: usize,
    /// The strongest promise of any frame.
    strongest: Option<Durability>,
    /// Frames that somebody waits for.
    promised: usize,
}

/// Where a frame starts; it ends where the next one starts.
#[derive(Debug, Clone, Copy)]
struct FrameSpan {
    /// Offset in the buffer.
    start: usize,
    /// Index of its first splice.
    splice: usize,
    /// Bytes on disk.
    size: usize,
    /// What was promised.
    promise: Durability,
}

/// A piece of a frame that lies outside the buffer.
#[derive(Debug)]
struct Splice {
    /// The offset in the buffer before which the piece belongs.
    at: usize,
    piece: Bytes,
}

impl Arena {
    /// Number of frames.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Bytes of all frames on disk.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.spliced_bytes
    }

    /// Bytes of frame `index` on disk.
    pub(super) fn frame_size(&self, index: usize) -> usize {
        self.frames[index].size
    }

    /// The strongest promise of any frame; `None` without frames.
    pub(super) fn strongest(&self) -> Option<Durability> {
        self.strongest
    }

    /// Frames that somebody waits for.
    pub(super) fn promised(&self) -> usize {
        self.promised
    }

    /// What was promised of frame `index`.
    pub(super) fn promise(&self, index: usize) -> Durability {
        self.frames[index].promise
    }

    /// Starts a frame; `put` and `splice` add to its payload until [`Arena::end`]. `payload_len` is
    /// what they will add.
    pub(super) fn begin(&mut self, payload_len: usize) {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(CAPACITY_MIN);
        }
        let start = self.bytes.len();
        self.frames.push(FrameSpan {
            start,
            splice: self.splices.len(),
            size: frame::frame_len(payload_len),
            promise: Durability::Async,
        });
        self.bytes.extend_from_slice(&[0; HEADER_BYTES]);
    }

    /// Adds bytes to the payload.
    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds a piece to the payload without copying it.
    pub(super) fn splice(&mut self, piece: Bytes) {
        self.spliced_bytes += piece.len();
        self.splices.push(Splice { at: self.bytes.len(), piece });
    }

    /// Ends the frame that was begun, of which `promise` was promised.
    pub(super) fn end(&mut self, kind: u8, payload_len: usize, promise: Durability) {
        let padding = payload_len.next_multiple_of(ALIGN) - payload_len;
        self.bytes.extend_from_slice(&[0; ALIGN][..padding]);
        self.promise_one(promise);
        if let Some(span) = self.frames.last_mut() {
            span.promise = promise;
            frame::begin(&mut self.bytes[span.start..], kind, payload_len);
            debug_assert_eq!(
                self.bytes.len() - span.start
                    + self.splices[span.splice..].iter().map(|s| s.piece.len()).sum::<usize>(),
                span.size,
                "a frame is as long as announced"
            );
        }
    }

    /// Numbers `frames` from `first_lsn` on and writes their checksums.
    pub(super) fn stamp(&mut self, frames: Range<usize>, epoch: u32, first_lsn: u64) {
        for (index, lsn) in frames.zip(first_lsn..) {
            let start = self.frames[index].start;
            frame::number(&mut self.bytes[start..], epoch, lsn);
            let summed = frame::summed(&self.bytes[start..]);
            let rest = self.pieces(start + HEADER_BYTES, index..index + 1);
            let crc = frame::checksum(std::iter::once(summed).chain(rest));
            frame::set_checksum(&mut self.bytes[start..], crc);
        }
    }

    /// Adds the pieces of `frames`, in order, to `out`.
    pub(super) fn gather<'a>(&'a self, frames: Range<usize>, out: &mut Vec<IoSlice<'a>>) {
        if let Some(span) = self.frames.get(frames.start) {
            let pieces = self.pieces(span.start, frames);
            out.extend(pieces.filter(|piece| !piece.is_empty()).map(IoSlice::new));
        }
    }

    /// Adds frame `index` of `other`; its long pieces are shared, not copied.
    pub(super) fn copy_frame(&mut self, other: &Self, index: usize) {
        let span = other.frames[index];
        let next = other.frames.get(index + 1);
        let end = next.map_or(other.bytes.len(), |next| next.start);
        let splices = span.splice..next.map_or(other.splices.len(), |next| next.splice);
        let start = self.bytes.len();
        self.frames.push(FrameSpan { start, splice: self.splices.len(), ..span });
        self.bytes.extend_from_slice(&other.bytes[span.start..end]);
        for splice in &other.splices[splices] {
            let at = splice.at - span.start + start;
            self.spliced_bytes += splice.piece.len();
            self.splices.push(Splice { at, piece: splice.piece.clone() });
        }
        self.promise_one(span.promise);
    }

    fn promise_one(&mut self, promise: Durability) {
        self.strongest = self.strongest.max(Some(promise));
        self.promised += usize::from(promise.waits());
    }

    /// Forgets all frames and keeps the memory, unless it grew far beyond what was used.
    pub(super) fn clear(&mut self) {
        let used = self.bytes.len();
        self.bytes.clear();
        if self.bytes.capacity() > 16 * CAPACITY_MIN && self.bytes.capacity() / 8 > used {
            self.bytes.shrink_to(CAPACITY_MIN.max(used * 2));
            self.frames.shrink_to(self.frames.len() * 2);
        }
        self.frames.clear();
        self.splices.clear();
        self.spliced_bytes = 0;
        self.strongest = None;
        self.promised = 0;
    }

    /// The pieces of `frames` in order, without what lies before offset `start` of the buffer.
    fn pieces(&self, start: usize, frames: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let next = self.frames.get(frames.end);
        let end = next.map_or(self.bytes.len(), |span| span.start);
        let splices =
            self.frames[frames.start].splice..next.map_or(self.splices.len(), |span| span.splice);
        let splices = &self.splices[splices];
        let last = splices.last().map_or(start, |splice| splice.at);
        let mut at = start;
        let spliced = splices.iter().flat_map(move |splice| {
            let before = &self.bytes[at..splice.at];
            at = splice.at;
            [before, splice.piece.as_ref()]
        });
        spliced.chain(std::iter::once(&self.bytes[last..end]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::FrameHeader;
    use super::*;

    #[test]
    fn gathered_frames_hold_their_splices_in_place() {
        let mut arena = Arena::default();
        let long = Bytes::from(vec![b'x'; 16]);
        for _ in 0..3 {
            arena.begin(8 + 16 + 16);
            arena.put(b"8 bytes.");
            arena.splice(long.clone());
            arena.splice(long.clone());
            arena.end(1, 8 + 16 + 16, Durability::Os);
        }
        let mut copy = Arena::default();
        copy.copy_frame(&arena, 1);
        copy.copy_frame(&arena, 0);
        assert_eq!((copy.len(), copy.size(), copy.strongest()), (2, 2 * 64, arena.strongest()));
        copy.stamp(0..2, 9, 100);
        arena.stamp(0..3, 9, 100);
        let bytes = |arena: &Arena| {
            let mut pieces = Vec::new();
            arena.gather(0..2, &mut pieces);
            pieces.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<_>>()
        };
        assert_eq!(bytes(&copy), bytes(&arena));
        for (from, to) in [(0, 3), (1, 3), (1, 2), (2, 3)] {
            let mut pieces = Vec::new();
            arena.gather(from..to, &mut pieces);
            let bytes = pieces.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<_>>();
            assert_eq!(bytes.len(), 64 * (to - from));
            for (frame, lsn) in bytes.chunks(64).zip(100 + from as u64..) {
                let header = FrameHeader::parse(frame).expect("a header");
                assert!(header.is_intact(frame));
                assert_eq!((header.lsn, header.epoch), (lsn, 9));
                assert_eq!(&frame[24..], b"8 bytes.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
            }
        }
        assert_eq!(arena.size(), 3 * 64);
        arena.clear();
        assert_eq!((arena.len(), arena.size()), (0, 0));
    }
}
