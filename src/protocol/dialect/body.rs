//! A body as it came, and what its headers say about it.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::Dialect;
use crate::protocol::open_inference::{self, BodyError, HEAD_LENGTH_HEADER};
use crate::protocol::sagemaker::Media;

/// A request's or a response's body, together with what its headers say about it. What came in pieces
/// is kept so where the dialect has binary tensors, and copied together where it has not.
#[derive(Debug, Clone)]
pub struct Body {
    pub(super) content: open_inference::Body,
    pub(super) content_type: String,
}

impl Body {
    /// A body that came in `pieces`, after any compression; for gRPC one message without its frame.
    /// Reads the headers that `dialect` has.
    ///
    /// # Errors
    /// When a header says that the body has more JSON than there is.
    pub fn new(
        dialect: Dialect,
        headers: &HeaderMap,
        pieces: impl IntoIterator<Item = Bytes>,
    ) -> Result<Self, BodyError> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let content = match dialect {
            Dialect::OpenInference => {
                let length = headers.get(HEAD_LENGTH_HEADER).map(|value| value.as_bytes());
                open_inference::Body::new(pieces, length)?
            }
            Dialect::Sagemaker => match Media::parse(&content_type) {
                Ok(Media::Binary { json_bytes }) => {
                    let length = json_bytes.to_string();
                    open_inference::Body::new(pieces, Some(length.as_bytes()))?
                }
                Ok(_) | Err(_) => open_inference::Body::new(pieces, None)?,
            },
            Dialect::OpenInferenceGrpc
            | Dialect::KserveV1
            | Dialect::TensorflowServing
            | Dialect::Torchserve
            | Dialect::Raw => open_inference::Body::json(join(pieces)),
        };
        Ok(Self { content, content_type })
    }

    /// The body up to where a header cuts it; all of it where none does.
    pub fn bytes(&self) -> &[u8] {
        self.content.head()
    }

    /// The message of a gRPC body.
    pub(super) fn message(&self) -> Bytes {
        self.content.head().clone()
    }
}

/// One piece out of several; most bodies have one.
fn join(pieces: impl IntoIterator<Item = Bytes>) -> Bytes {
    let mut pieces = pieces.into_iter();
    let Some(first) = pieces.next() else { return Bytes::new() };
    let Some(second) = pieces.next() else { return first };
    let mut whole = BytesMut::from(first);
    whole.extend_from_slice(&second);
    pieces.for_each(|piece| whole.extend_from_slice(&piece));
    whole.freeze()
}
