//! A body as it came, and what its headers say about it.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::{Dialect, RequestError};

/// A request's or a response's body, together with what its headers say about it.
#[derive(Debug, Clone)]
pub struct Body {
    content: Bytes,
    pub(super) content_type: String,
}

impl Body {
    /// A body that came in `pieces`, after any compression. Reads the headers that `dialect` has.
    ///
    /// # Errors
    /// When a header says that the body has more JSON than there is.
    pub fn new(
        _dialect: Dialect,
        headers: &HeaderMap,
        pieces: impl IntoIterator<Item = Bytes>,
    ) -> Result<Self, RequestError> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let mut content = BytesMut::new();
        pieces.into_iter().for_each(|piece| content.extend_from_slice(&piece));
        Ok(Self { content: content.freeze(), content_type })
    }

    /// The whole body, where no header cuts it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.content
    }
}
