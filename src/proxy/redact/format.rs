//! Where the JSON documents stand in a body.
//!
//! Owns the three forms of bodies that can be redacted, and cutting them into documents: one
//! document, one a line, or one an event. Never looks into a document.

use std::ops::Range;

use http::HeaderValue;

use super::Unredactable;
use crate::domain::spec::{JsonPointer, RedactRule, Redaction, RedactionKind, Secret};

/// How a body holds its JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Format {
    /// One document (RFC 8259).
    Document,
    /// One document a line, as in <https://jsonlines.org>.
    Lines,
    /// Server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>) with
    /// one document in each `data` field.
    Events,
}

/// What some servers send as the last event; no document, and nothing is in it.
const DONE: &[u8] = b"[DONE]";

impl Format {
    pub(super) const ALL: [Self; 3] = [Self::Document, Self::Lines, Self::Events];

    /// The format of a body with this `content-type`; one document where it says nothing of the kind,
    /// as a body that is none is found out when it is read.
    pub(in crate::proxy) fn of(content_type: Option<&HeaderValue>) -> Self {
        let text = content_type.map(HeaderValue::as_bytes).unwrap_or_default();
        let end = text.iter().position(|&byte| byte == b';').unwrap_or(text.len());
        let essence = text.get(..end).unwrap_or_default().trim_ascii();
        let is = |word: &str| essence.eq_ignore_ascii_case(word.as_bytes());
        if is("text/event-stream") {
            return Self::Events;
        }
        let lines = [
            "application/x-ndjson",
            "application/ndjson",
            "application/jsonl",
            "application/jsonlines",
        ];
        if lines.into_iter().any(is) { Self::Lines } else { Self::Document }
    }

    /// Calls `each` with the place of every document.
    ///
    /// # Errors
    /// What `each` returns, and [`Unredactable`] for events with anything that is not understood.
    pub(super) fn documents(
        self,
        body: &[u8],
        mut each: impl FnMut(Range<usize>) -> Result<(), Unredactable>,
    ) -> Result<(), Unredactable> {
        if self == Self::Document {
            return if body.trim_ascii().is_empty() { Ok(()) } else { each(0..body.len()) };
        }
        let mut start = 0;
        for line in body.split(|&byte| byte == b'\n') {
            let end = start + line.len();
            let document = match self {
                Self::Events => data_of(line)?.map(|offset| start + offset..end),
                Self::Document | Self::Lines => Some(start..end),
            };
            if let Some(document) = document
                && body.get(document.clone()).is_some_and(|text| !text.trim_ascii().is_empty())
            {
                each(document)?;
            }
            start = end + 1;
        }
        Ok(())
    }
}

/// Where the document of a line of an event stream begins, if it has one.
fn data_of(line: &[u8]) -> Result<Option<usize>, Unredactable> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // A carriage return ends a line as well: what stands behind one would be passed over.
    if line.contains(&b'\r') {
        return Err(Unredactable);
    }
    let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
    let value = line.get(colon + 1..).unwrap_or_default();
    match line.get(..colon).unwrap_or_default() {
        b"data" if value.trim_ascii() == DONE => Ok(None),
        b"data" => Ok(Some((colon + 1).min(line.len()))),
        // An empty line, or a comment.
        b"" | b"event" | b"id" | b"retry" => Ok(None),
        _ => Err(Unredactable),
    }
}

/// Rules of every kind, for fuzzing.
pub(super) fn fuzz_redaction() -> Redaction {
    let rule = |pointer: &str, kind| {
        let pointer = JsonPointer::parse(pointer).ok()?;
        Some(RedactRule { pointer, kind })
    };
    let rules = [
        rule("/a", RedactionKind::Drop),
        rule("/b/*", RedactionKind::Hash),
        rule("/*/c", RedactionKind::Mask),
        rule("/d/0", RedactionKind::Drop),
    ];
    Redaction { rules: rules.into_iter().flatten().collect(), key: Some(Secret::new("key")) }
}
