//! Length-prefixed messages: how gRPC puts messages into a body.
//!
//! Owns the five bytes in front of each message (whether it is compressed, and its length). Never
//! compresses, and never holds more of a message than has arrived.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;
use smallvec::SmallVec;

/// The bytes in front of a message.
pub const PREFIX_BYTES: usize = 5;

/// The most that is set aside for a message before its bytes arrive.
const ROOM_MAX: usize = 64 * 1024;

/// One message of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Whether `payload` is compressed as the header `grpc-encoding` says.
    pub compressed: bool,
    /// The message's bytes.
    pub payload: Bytes,
}

/// A body that is not a sequence of messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A first byte that is neither 0 nor 1.
    #[error("a gRPC message starts with byte {0}, expected 0 or 1")]
    Flag(u8),
    /// A message beyond the limit.
    #[error("a gRPC message of {length} bytes is longer than the limit of {limit}")]
    TooLong {
        /// The length of the message.
        length: u32,
        /// The limit.
        limit: usize,
    },
    /// The body ends within a message.
    #[error("the body ends within a gRPC message")]
    Truncated,
}

/// Takes a body apart into messages.
#[derive(Debug)]
pub struct FrameReader {
    limit: usize,
    /// What has arrived and is not yet a whole message; the first piece as it came, others behind it.
    arrived: Arrived,
}

#[derive(Debug)]
enum Arrived {
    /// All in one piece.
    Piece(Bytes),
    /// Copied together.
    Joined(BytesMut),
}

impl FrameReader {
    /// A reader that refuses messages longer than `limit`.
    pub const fn new(limit: usize) -> Self {
        Self { limit, arrived: Arrived::Piece(Bytes::new()) }
    }

    /// Adds a piece of the body. It is copied only if a message starts in an earlier one.
    pub fn push(&mut self, piece: Bytes) {
        if self.buffered().is_empty() {
            self.arrived = Arrived::Piece(piece);
            return;
        }
        let joined = match std::mem::replace(&mut self.arrived, Arrived::Piece(Bytes::new())) {
            Arrived::Piece(first) => {
                let room = self.length_of(&first).unwrap_or(0).min(ROOM_MAX);
                let mut joined = BytesMut::with_capacity(room.max(first.len() + piece.len()));
                joined.extend_from_slice(&first);
                joined
            }
            Arrived::Joined(joined) => joined,
        };
        let mut joined = joined;
        joined.extend_from_slice(&piece);
        self.arrived = Arrived::Joined(joined);
    }

    /// The next whole message, `None` until more has arrived.
    ///
    /// # Errors
    /// When what has arrived cannot become a message within the limit.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((&[flag, length @ ..], _)) = self.buffered().split_first_chunk::<PREFIX_BYTES>()
        else {
            return match self.buffered().first() {
                Some(&flag) if flag > 1 => Err(FrameError::Flag(flag)),
                _ => Ok(None),
            };
        };
        if flag > 1 {
            return Err(FrameError::Flag(flag));
        }
        let length = u32::from_be_bytes(length);
        let too_long = FrameError::TooLong { length, limit: self.limit };
        let size =
            usize::try_from(length).ok().filter(|&size| size <= self.limit).ok_or(too_long)?;
        if self.buffered().len() - PREFIX_BYTES < size {
            return Ok(None);
        }
        let mut frame = match &mut self.arrived {
            Arrived::Piece(piece) => piece.split_to(PREFIX_BYTES + size),
            Arrived::Joined(joined) => joined.split_to(PREFIX_BYTES + size).freeze(),
        };
        let payload = frame.split_off(PREFIX_BYTES);
        Ok(Some(Frame { compressed: flag == 1, payload }))
    }

    /// Checks that the body does not end within a message.
    ///
    /// # Errors
    /// When it does.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.buffered().is_empty() { Ok(()) } else { Err(FrameError::Truncated) }
    }

    /// The bytes that wait for the rest of their message.
    pub fn waiting(&self) -> usize {
        self.buffered().len()
    }

    fn buffered(&self) -> &[u8] {
        match &self.arrived {
            Arrived::Piece(piece) => piece,
            Arrived::Joined(joined) => joined,
        }
    }

    /// The length of the frame that `bytes` begin with.
    fn length_of(&self, bytes: &[u8]) -> Option<usize> {
        let (&[_flag, length @ ..], _) = bytes.split_first_chunk::<PREFIX_BYTES>()?;
        usize::try_from(u32::from_be_bytes(length)).ok()?.checked_add(PREFIX_BYTES)
    }
}

/// A message that is too long for its length to be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message of {0} bytes is longer than gRPC allows")]
pub struct MessageTooLong(pub usize);

/// Encodes one message, not compressed, with its prefix.
///
/// # Errors
/// When it is longer than 4 GiB.
pub fn encode_frame(message: &impl Message) -> Result<Bytes, MessageTooLong> {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + length);
    out.extend_from_slice(&prefix(false, length)?);
    message.encode_raw(&mut out);
    Ok(out.freeze())
}

/// The prefix of a message whose bytes are at hand.
///
/// # Errors
/// When it is longer than 4 GiB.
pub fn prefix(compressed: bool, length: usize) -> Result<[u8; PREFIX_BYTES], MessageTooLong> {
    let written = u32::try_from(length).map_err(|_long| MessageTooLong(length))?;
    let [a, b, c, d] = written.to_be_bytes();
    Ok([u8::from(compressed), a, b, c, d])
}

/// A frame in several pieces, the large ones of which were not copied.
pub type FramePieces = SmallVec<[Bytes; 3]>;

/// The most bytes of a field that are copied to save a piece.
const COPIED_MAX: usize = 8 * 1024;

/// Encodes `message` and behind it `contents`, each as the bytes field with this number.
///
/// # Errors
/// When they are longer than 4 GiB.
pub fn encode_frame_with(
    message: &impl Message,
    field: u32,
    contents: impl IntoIterator<Item = Bytes>,
) -> Result<FramePieces, MessageTooLong> {
    let contents: SmallVec<[Bytes; 2]> = contents.into_iter().collect();
    let size_of = |content: &Bytes| {
        let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
        prost::encoding::key_len(field)
            + prost::encoding::encoded_len_varint(length)
            + content.len()
    };
    let length = message.encoded_len() + contents.iter().map(size_of).sum::<usize>();
    let mut pieces = FramePieces::new();
    let copied = contents.iter().filter(|content| content.len() <= COPIED_MAX).map(size_of);
    let mut out =
        BytesMut::with_capacity(PREFIX_BYTES + message.encoded_len() + copied.sum::<usize>() + 16);
    out.extend_from_slice(&prefix(false, length)?);
    message.encode_raw(&mut out);
    for content in contents {
        prost::encoding::encode_key(field, prost::encoding::WireType::LengthDelimited, &mut out);
        prost::encoding::encode_varint(u64::try_from(content.len()).unwrap_or(u64::MAX), &mut out);
        if content.len() <= COPIED_MAX {
            out.put_slice(&content);
        } else {
            pieces.push(out.split().freeze());
            pieces.push(content);
        }
    }
    if !out.is_empty() {
        pieces.push(out.freeze());
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Note {
        #[prost(string, tag = "1")]
        text: String,
        #[prost(bytes = "bytes", repeated, tag = "6")]
        parts: Vec<Bytes>,
    }

    fn read(limit: usize, pieces: &[&[u8]]) -> Result<Vec<Frame>, FrameError> {
        let mut reader = FrameReader::new(limit);
        let mut frames = Vec::new();
        for piece in pieces {
            reader.push(Bytes::copy_from_slice(piece));
            while let Some(frame) = reader.next_frame()? {
                frames.push(frame);
            }
        }
        reader.finish().map(|()| frames)
    }

    #[test]
    fn what_is_no_message_is_refused_as_early_as_possible() {
        assert_eq!(read(9, &[]), Ok(vec![]));
        assert_eq!(read(9, &[&[2]]), Err(FrameError::Flag(2)));
        assert_eq!(read(9, &[&[0, 0, 0, 0]]), Err(FrameError::Truncated));
        assert_eq!(read(9, &[&[0, 0, 0, 0, 2, 7]]), Err(FrameError::Truncated));
        let too_long = FrameError::TooLong { length: 10, limit: 9 };
        assert_eq!(read(9, &[&[0, 0, 0, 0, 10]]), Err(too_long));
        let empty = Frame { compressed: true, payload: Bytes::new() };
        assert_eq!(read(9, &[&[1, 0, 0, 0, 0]]), Ok(vec![empty]));
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        let mut reader = FrameReader::new(usize::MAX);
        reader.push(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]));
        assert_eq!(reader.next_frame(), Ok(None));
        reader.push(Bytes::from_static(&[1]));
        let Arrived::Joined(joined) = &reader.arrived else { panic!("one piece") };
        assert!(joined.capacity() <= 2 * ROOM_MAX);
    }

    #[test]
    fn a_message_in_one_piece_is_not_copied() {
        let body = encode_frame(&Note { text: "x".into(), parts: vec![] }).expect("short");
        let mut reader = FrameReader::new(100);
        reader.push(body.clone());
        let frame = reader.next_frame().expect("valid").expect("whole");
        assert_eq!(frame.payload.as_ptr(), body[PREFIX_BYTES..].as_ptr());
    }

    proptest! {
        #[test]
        fn messages_survive_any_cut(texts in prop::collection::vec(".{0,40}", 0..4), cuts in prop::collection::vec(0usize..200, 0..6)) {
            let notes: Vec<Note> = texts.into_iter().map(|text| Note { text, parts: vec![] }).collect();
            let body: Vec<u8> = notes.iter().flat_map(|note| encode_frame(note).expect("short")).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
            let frames = read(1000, &pieces).expect("our own output");
            let read: Vec<Note> = frames.into_iter().map(|frame| Note::decode(frame.payload).expect("valid")).collect();
            prop_assert_eq!(read, notes);
        }

        #[test]
        fn contents_behind_a_message_are_its_last_field(text: String, sizes in prop::collection::vec(0usize..20_000, 0..4)) {
            let parts: Vec<Bytes> = sizes.into_iter().map(|size| Bytes::from(vec![7; size])).collect();
            let whole = Note { text: text.clone(), parts: parts.clone() };
            let pieces = encode_frame_with(&Note { text, parts: vec![] }, 6, parts).expect("short");
            prop_assert_eq!(Bytes::from(pieces.concat()), encode_frame(&whole).expect("short"));
        }
    }
}
