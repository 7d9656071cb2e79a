//! A bounded look at a body that passes by.
//!
//! Owns length, hash and kept part of one side's body, as far as the policy asks for them. Long pieces
//! are kept by reference, short ones are copied together; nothing waits. Beside that a body may be kept as a
//! whole, for a copy of its request, as long as `limits.held_bodies` has room to spare. Never changes what passes.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use twox_hash::XxHash3_128;

use super::body::{Gather, Pieces};
use super::held::{HeldBodies, Holding};
use crate::domain::record::{Omission, Payload};
use crate::snapshot::Keep;

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
    keep: Keep,
    bytes: u64,
    chunks: u32,
    hash: Hash,
    omission: Option<Omission>,
    copy: Option<Box<Copied>>,
}

/// All of a body, whatever the policy of the record keeps.
struct Copied {
    gather: Gather,
    bytes: usize,
    limit: usize,
    budget: Arc<HeldBodies>,
    holding: Holding,
    /// It was too long, or there was no room for the next piece.
    is_given_up: bool,
}

impl Copied {
    fn add(&mut self, piece: &Bytes) {
        if self.is_given_up {
            return;
        }
        self.bytes = self.bytes.saturating_add(piece.len());
        if self.bytes <= self.limit && self.holding.add_spare(&self.budget, piece.len() as u64) {
            self.gather.add(piece.clone());
        } else {
            self.is_given_up = true;
            self.gather = Gather::default();
            self.holding = Holding::default();
        }
    }
}

impl std::fmt::Debug for Copied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes)
    }
}

/// One piece is hashed at once; the streaming state, a kilobyte, is made for the second.
#[derive(Debug)]
enum Hash {
    /// Not asked for.
    Off,
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
    /// A capture of a body that has not begun.
    pub(super) fn new(keep: Keep) -> Self {
        Self {
            kept: SmallVec::new(),
            small: BytesMut::new(),
            kept_bytes: 0,
            keep,
            bytes: 0,
            chunks: 0,
            hash: if keep.hash { Hash::Empty } else { Hash::Off },
            omission: None,
            copy: None,
        }
    }

    /// Keeps the whole body as well, if it has at most `limit` bytes and `budget` can spare them as they come.
    /// Before its first piece.
    pub(super) fn copy_too(&mut self, limit: usize, budget: &Arc<HeldBodies>) {
        self.copy = Some(Box::new(Copied {
            gather: Gather::default(),
            bytes: 0,
            limit,
            budget: Arc::clone(budget),
            holding: Holding::default(),
            is_given_up: false,
        }));
    }

    /// The whole body with its room; `None` where it was not asked for, is too long, or found no room.
    pub(super) fn take_copy(&mut self) -> Option<(Pieces, Holding)> {
        let copy = self.copy.take()?;
        (!copy.is_given_up).then(|| (copy.gather.into_pieces(), copy.holding))
    }

    /// Takes note of the next piece.
    pub(super) fn see(&mut self, piece: &Bytes) {
        if piece.is_empty() {
            return;
        }
        self.bytes += piece.len() as u64;
        self.chunks = self.chunks.saturating_add(1);
        self.hash.update(piece);
        if let Some(copy) = &mut self.copy {
            copy.add(piece);
        }
        let room = self.keep.limit.saturating_sub(self.kept_bytes);
        if piece.len() > room {
            self.omission = Some(self.keep.beyond);
            if self.keep.whole_or_nothing {
                self.keep.limit = 0;
                self.forget();
                return;
            }
        }
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

    /// What was kept, in one piece; the capture must be sealed.
    pub(super) fn joined(&self) -> Cow<'_, [u8]> {
        match &*self.kept {
            [] => Cow::Borrowed(&[]),
            [one] => Cow::Borrowed(one),
            several => Cow::Owned(several.concat()),
        }
    }

    /// Puts `body` in the place of what was kept.
    pub(super) fn replace(&mut self, body: Bytes) {
        self.forget();
        self.kept_bytes = body.len();
        self.kept.push(body);
    }

    /// Leaves the body out, its hash too.
    pub(super) fn leave_out(&mut self, because: Omission) {
        self.forget();
        self.keep = Keep::nothing(because);
        self.hash = Hash::Off;
        self.omission = (self.bytes > 0).then_some(because);
    }

    fn forget(&mut self) {
        self.kept.clear();
        self.small = BytesMut::new();
        self.kept_bytes = 0;
    }

    /// The captured part of the body, as far as it is sealed.
    pub(super) fn payload(&self) -> Payload<'_> {
        Payload::Chunks(&self.kept)
    }

    /// The length of the body so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The pieces in which the body came so far.
    pub(super) fn chunks(&self) -> u32 {
        self.chunks
    }

    /// XXH3-128 of the body so far, big-endian; zero where it is not asked for.
    pub(super) fn hash(&self) -> [u8; 16] {
        let hash = match &self.hash {
            Hash::Off => return [0; 16],
            Hash::Empty => XxHash3_128::oneshot(&[]),
            Hash::One(piece) => XxHash3_128::oneshot(piece),
            Hash::Many(streaming) => streaming.0.finish_128(),
        };
        hash.to_be_bytes()
    }

    /// Why the payload is not the whole body, if it is not.
    pub(super) fn omission(&self) -> Option<Omission> {
        self.omission
    }
}

impl Hash {
    fn update(&mut self, piece: &Bytes) {
        match self {
            Self::Off => {}
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

    fn seen(keep: Keep, pieces: &[Vec<u8>]) -> (Capture, Vec<u8>) {
        let mut capture = Capture::new(keep);
        for piece in pieces {
            capture.see(&Bytes::copy_from_slice(piece));
        }
        capture.seal();
        let kept = capture.payload().pieces().flatten().copied().collect();
        (capture, kept)
    }

    proptest! {
        /// However a body is cut, length and hash are those of the whole and the payload is its head,
        /// or nothing where only the whole would do.
        #[test]
        fn captures_do_not_depend_on_the_pieces(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
            limit in 0usize..600,
            hash in any::<bool>(),
            whole_or_nothing in any::<bool>(),
        ) {
            let keep = Keep { limit, hash, beyond: Omission::Policy, whole_or_nothing };
            let (capture, kept) = seen(keep, &pieces);
            let whole = pieces.concat();
            let fits = whole.len() <= limit;
            let head = if fits || !whole_or_nothing { whole.len().min(limit) } else { 0 };
            prop_assert_eq!(capture.bytes(), whole.len() as u64);
            prop_assert_eq!(capture.chunks() as usize, pieces.iter().filter(|p| !p.is_empty()).count());
            let expected = if hash { XxHash3_128::oneshot(&whole).to_be_bytes() } else { [0; 16] };
            prop_assert_eq!(capture.hash(), expected);
            prop_assert_eq!(&kept[..], &whole[..head]);
            prop_assert_eq!(&capture.joined()[..], &kept[..]);
            prop_assert_eq!(capture.omission(), (!fits).then_some(Omission::Policy));
        }
    }

    #[test]
    fn a_copy_is_the_whole_body_whatever_else_is_kept_or_none_at_all() {
        let copied = |limit: usize| {
            let mut capture = Capture::new(Keep::nothing(Omission::Policy));
            capture.copy_too(limit, &Arc::new(HeldBodies::new(0)));
            for piece in ["one", "two", "three"] {
                capture.see(&Bytes::from_static(piece.as_bytes()));
            }
            capture.leave_out(Omission::Unredactable);
            assert!(capture.payload().is_empty());
            let mut copy = || capture.take_copy().map(|(pieces, _)| pieces.concat());
            (copy(), copy())
        };
        assert_eq!(copied(11), (Some(b"onetwothree".to_vec()), None));
        assert_eq!(copied(10), (None, None));
    }

    #[test]
    fn a_copy_that_finds_no_room_is_given_up_and_gives_back_what_it_had() {
        const PIECE: usize = 64 * 1024;
        let budget = Arc::new(HeldBodies::new(8 * PIECE as u64));
        let mut capture = Capture::new(Keep::nothing(Omission::Policy));
        capture.copy_too(usize::MAX, &budget);
        let piece = Bytes::from(vec![0; PIECE]);
        for _ in 0..5 {
            capture.see(&piece);
        }
        assert_eq!(budget.taken(), 4 * PIECE as u64, "the first piece is free");
        capture.see(&piece);
        assert_eq!(budget.taken(), 0);
        capture.see(&piece);
        assert_eq!(budget.taken(), 0, "it does not begin anew");
        assert!(capture.take_copy().is_none());
    }

    #[test]
    fn a_body_that_is_left_out_leaves_its_length_and_nothing_else() {
        let keep = Keep { limit: 9, hash: true, beyond: Omission::Size, whole_or_nothing: false };
        let (mut capture, _) = seen(keep, &[b"secret".to_vec()]);
        capture.leave_out(Omission::Unredactable);
        capture.see(&Bytes::from_static(b"more"));
        assert!(capture.payload().is_empty());
        let left = (capture.bytes(), capture.hash(), capture.omission());
        assert_eq!(left, (10, [0; 16], Some(Omission::Unredactable)));
    }
}
