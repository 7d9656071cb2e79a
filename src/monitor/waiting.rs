//! An exchange of a proxied version that is to be looked into.
//!
//! Owns what is kept of it until then. Its path, its headers and short pieces of its bodies are copied, because what is
//! kept by reference pins the buffer that it was read into: thousands of those cost the workers a fresh page for each
//! request. Never looks inside.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

use crate::domain::record::{Payload, PredictionRecord, Protocol, Side};
use crate::domain::stats::window::{Minute, Unseen};

/// Pieces shorter than this are copied.
const COPY_MAX: usize = 8 * 1024;

/// What is kept of an exchange.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The minute in which it ended.
    pub minute: Minute,
    /// What the client speaks.
    pub protocol: Protocol,
    /// The path that it called, without a query.
    pub path: Box<str>,
    /// What it sent.
    pub request: Content,
    /// What it was sent.
    pub response: Content,
}

/// One side of an exchange.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// `content-type`.
    pub content_type: Option<HeaderValue>,
    /// `content-encoding`.
    pub content_encoding: Option<HeaderValue>,
    /// The whole body.
    pub body: SmallVec<[Bytes; 1]>,
}

impl Content {
    /// The content of a body.
    pub fn new(
        content_type: Option<&HeaderValue>,
        content_encoding: Option<&HeaderValue>,
        body: Payload<'_>,
    ) -> Self {
        let copy = |header: &HeaderValue| HeaderValue::from_bytes(header.as_bytes()).ok();
        let body = match body {
            Payload::Slice(slice) => SmallVec::from_iter([Bytes::copy_from_slice(slice)]),
            Payload::Chunks(chunks) => {
                let kept = |chunk: &Bytes| {
                    if chunk.len() < COPY_MAX {
                        Bytes::copy_from_slice(chunk)
                    } else {
                        chunk.clone()
                    }
                };
                chunks.iter().map(kept).collect()
            }
        };
        Self {
            content_type: content_type.and_then(copy),
            content_encoding: content_encoding.and_then(copy),
            body,
        }
    }

    /// A whole body with what its headers say about it.
    pub fn of(headers: &HeaderMap, body: impl IntoIterator<Item = Bytes>) -> Self {
        Self {
            content_type: headers.get(CONTENT_TYPE).cloned(),
            content_encoding: headers.get(CONTENT_ENCODING).cloned(),
            body: body.into_iter().collect(),
        }
    }

    /// What a record holds of one side.
    ///
    /// # Errors
    ///
    /// When it does not hold it whole.
    pub(super) fn of_side(side: &Side<'_>) -> Result<Self, Unseen> {
        if side.omission.is_some() {
            return Err(Unseen::Omitted);
        }
        let header =
            |text: &str| (!text.is_empty()).then(|| HeaderValue::from_str(text).ok()).flatten();
        let (content_type, content_encoding) =
            (header(side.content_type), header(side.content_encoding));
        Ok(Self::new(content_type.as_ref(), content_encoding.as_ref(), side.body))
    }
}

impl Waiting {
    /// What a record holds of the same.
    ///
    /// # Errors
    ///
    /// When it does not hold both bodies whole.
    pub(super) fn of_record(record: &PredictionRecord<'_>) -> Result<Self, Unseen> {
        Ok(Self {
            minute: Minute::of_exchange(record.ts_us, record.latency.t_total),
            protocol: record.decision.protocol,
            path: record.path.into(),
            request: Content::of_side(&record.request)?,
            response: Content::of_side(&record.response)?,
        })
    }

    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let pieces = self.request.body.iter().chain(&self.response.body);
        size_of::<Self>() + self.path.len() + pieces.map(Bytes::len).sum::<usize>()
    }
}
