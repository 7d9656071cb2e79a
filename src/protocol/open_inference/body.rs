//! A body and where its JSON ends.
//!
//! Owns the cut that the binary tensor data extension makes: JSON first, as long as the header
//! `Inference-Header-Content-Length` says, then the tensors in the order in which the JSON names them.
//! Keeps the pieces that came off the socket; only JSON that lies in several is copied together.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::request::{decode_raw, read_request};
use super::response::read_response;
use crate::protocol::infer::{InferRequest, InferResponse};
use crate::protocol::json::DecodeError;
use crate::protocol::tensor::{Span, TensorSpec};

/// The header that says how many bytes of the body, before any compression, are JSON. Its absence means
/// all of them.
pub const HEAD_LENGTH_HEADER: &str = "inference-header-content-length";

/// A request's or a response's body.
#[derive(Debug, Clone, Default)]
pub struct Body {
    head: Bytes,
    tail: SmallVec<[Bytes; 2]>,
    raw: bool,
}

/// A head length that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The header is no number.
    #[error("the header Inference-Header-Content-Length must be a number of bytes")]
    NotANumber,
    /// The JSON would be longer than the body.
    #[error("inference header size should be in range (0, {body}), got: {head}")]
    BeyondBody {
        /// What the header says.
        head: u64,
        /// The length of the body.
        body: usize,
    },
}

impl Body {
    /// A body that came in `pieces` with this value of [`HEAD_LENGTH_HEADER`].
    ///
    /// # Errors
    /// When the value is no number or is larger than the body.
    pub fn new(
        pieces: impl IntoIterator<Item = Bytes>,
        head_length: Option<&[u8]>,
    ) -> Result<Self, BodyError> {
        let pieces: SmallVec<[Bytes; 2]> =
            pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let whole = pieces.iter().map(Bytes::len).sum();
        let Some(value) = head_length else { return Ok(Self::cut(pieces, whole)) };
        let value = std::str::from_utf8(value).map_err(|_utf8| BodyError::NotANumber)?;
        let head: u64 = value.trim_ascii().parse().map_err(|_no| BodyError::NotANumber)?;
        match usize::try_from(head) {
            Ok(length) if length <= whole => {
                Ok(Self { raw: length == 0, ..Self::cut(pieces, length) })
            }
            _ => Err(BodyError::BeyondBody { head, body: whole }),
        }
    }

    /// A body that is JSON to its end.
    pub fn json(body: Bytes) -> Self {
        Self { head: body, ..Self::default() }
    }

    fn cut(mut pieces: SmallVec<[Bytes; 2]>, length: usize) -> Self {
        let head = match pieces.first_mut() {
            Some(first) if first.len() >= length => first.split_to(length),
            _ => {
                let mut head = BytesMut::with_capacity(length);
                for piece in &mut pieces {
                    let part = piece.split_to(piece.len().min(length - head.len()));
                    head.extend_from_slice(&part);
                }
                head.freeze()
            }
        };
        pieces.retain(|piece| !piece.is_empty());
        Self { head, tail: pieces, raw: false }
    }

    /// Whether the body is a raw binary request: nothing but the data of the model's only input.
    pub const fn is_raw(&self) -> bool {
        self.raw
    }

    /// The JSON.
    pub const fn head(&self) -> &Bytes {
        &self.head
    }

    /// Decodes the body of `POST …/infer`.
    ///
    /// # Errors
    /// When it is not a request of this protocol; every such error is the client's.
    pub fn decode_request(&self) -> Result<InferRequest<'_>, DecodeError> {
        read_request(&self.head, self.tail())
    }

    /// Decodes a raw binary request, see [`Body::is_raw`], for the model's only input. A dimension that
    /// `input` leaves open is inferred from the length if it is the only one; BYTES are one element.
    ///
    /// # Errors
    /// When the length does not fit the input.
    pub fn decode_raw_request(
        &self,
        input: &TensorSpec,
    ) -> Result<InferRequest<'static>, DecodeError> {
        let mut tail = self.tail();
        decode_raw(input, &tail.take(tail.remaining).unwrap_or_default())
    }

    /// Decodes a backend's answer to `POST …/infer`.
    ///
    /// # Errors
    /// When it is not a response of this protocol; every such error is the backend's.
    pub fn decode_response(&self) -> Result<InferResponse<'_>, DecodeError> {
        read_response(&self.head, self.tail())
    }

    pub(super) fn tail(&self) -> Tail<'_> {
        let remaining = self.tail.iter().map(Bytes::len).sum();
        Tail { pieces: self.tail.iter(), current: &[], remaining }
    }
}

/// The tensors behind the JSON, read front to back.
#[derive(Debug, Default)]
pub(super) struct Tail<'a> {
    pieces: std::slice::Iter<'a, Bytes>,
    current: &'a [u8],
    remaining: usize,
}

impl<'a> Tail<'a> {
    /// The bytes that are left.
    pub(super) const fn remaining(&self) -> usize {
        self.remaining
    }

    /// The next `length` bytes, `None` when there are fewer.
    pub(super) fn take(&mut self, mut length: usize) -> Option<Span<'a>> {
        self.remaining = self.remaining.checked_sub(length)?;
        let mut span = Span::default();
        while length > 0 {
            if self.current.is_empty() {
                self.current = self.pieces.next()?;
            }
            let (front, back) = self.current.split_at(length.min(self.current.len()));
            span.push(front);
            length -= front.len();
            self.current = back;
        }
        Some(span)
    }
}
