//! A bounded look at a body that passes by.
//!
//! Owns length, hash and head of one side's body. Long pieces are kept by reference, short ones are
//! copied together; nothing waits. Never changes what passes.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use twox_hash::XxHash3_128;

use crate::domain::record::{Omission, Payload};

/// Pieces shorter than this are copied together. Each piece that is kept by reference pins the
/// buffer that it was read into: a body of one-byte chunks would pin a buffer a byte.
pub(super) const PIECE_BYTES_MIN: usize = 4 * 1024;

/// The state of a capture.
#[derive(Debug)]
pub(super) struct Capture {
    kept: SmallVec<[Bytes; 2]>,
    /// Short pieces, copied together until they are worth a piece.
    small: BytesMut,
    kept_bytes: usize,
    limit: usize,
    bytes: u64,
    hash: Hash,
}

/// One piece is hashed at once; the streaming state, a kilobyte, is made for the second.
#[derive(Debug)]
enum Hash {
    Empty,
    One(Bytes),
    Many(Box<Streaming>),
}

struct Streaming(XxHash3_128);

impl std::fmt::Debug for Streaming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Streaming")
    }
}

impl Capture {
    /// A capture that keeps up to `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            kept: SmallVec::new(),
            small: BytesMut::new(),
            kept_bytes: 0,
            limit,
            bytes: 0,
            hash: Hash::Empty,
        }
    }

    /// Takes note of the next piece.
    pub(super) fn see(&mut self, piece: &Bytes) {
        if piece.is_empty() {
            return;
        }
        self.bytes += piece.len() as u64;
        self.hash.update(piece);
        let room = self.limit - self.kept_bytes;
        if room > 0 {
            let kept = piece.slice(..piece.len().min(room));
            self.kept_bytes += kept.len();
            if self.kept.is_empty() && self.small.is_empty() || kept.len() >= PIECE_BYTES_MIN {
                self.seal();
                self.kept.push(kept);
            } else {
                self.small.extend_from_slice(&kept);
            }
        }
    }

    /// Makes the payload complete; what comes later begins a new piece.
    pub(super) fn seal(&mut self) {
        if !self.small.is_empty() {
            self.kept.push(self.small.split().freeze());
        }
    }

    /// The captured head of the body, as far as it is sealed.
    pub(super) fn payload(&self) -> Payload<'_> {
        Payload::Chunks(&self.kept)
    }

    /// The length of the body so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// XXH3-128 of the body so far, big-endian.
    pub(super) fn hash(&self) -> [u8; 16] {
        let hash = match &self.hash {
            Hash::Empty => XxHash3_128::oneshot(&[]),
            Hash::One(piece) => XxHash3_128::oneshot(piece),
            Hash::Many(streaming) => streaming.0.finish_128(),
        };
        hash.to_be_bytes()
    }

    /// Why the payload is not the whole body, if it is not.
    pub(super) fn omission(&self) -> Option<Omission> {
        (self.bytes > self.kept_bytes as u64).then_some(Omission::Size)
    }
}

impl Hash {
    fn update(&mut self, piece: &Bytes) {
        match self {
            Self::Empty => *self = Self::One(piece.clone()),
            Self::One(first) => {
                let mut streaming = XxHash3_128::new();
                streaming.write(first);
                streaming.write(piece);
                *self = Self::Many(Box::new(Streaming(streaming)));
            }
            Self::Many(streaming) => streaming.0.write(piece),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However a body is cut, length and hash are those of the whole and the payload is its head.
        #[test]
        fn captures_do_not_depend_on_the_pieces(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
            limit in 0usize..600,
        ) {
            let mut capture = Capture::new(limit);
            for piece in &pieces {
                capture.see(&Bytes::copy_from_slice(piece));
            }
            capture.seal();
            let whole = pieces.concat();
            let kept: Vec<u8> = capture.payload().pieces().flatten().copied().collect();
            prop_assert_eq!(capture.bytes(), whole.len() as u64);
            prop_assert_eq!(capture.hash(), XxHash3_128::oneshot(&whole).to_be_bytes());
            prop_assert_eq!(&kept[..], &whole[..whole.len().min(limit)]);
            prop_assert_eq!(capture.omission().is_some(), whole.len() > limit);
        }
    }
}
