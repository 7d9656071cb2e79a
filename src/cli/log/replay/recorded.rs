//! Recorded exchanges as they are sent again.
//!
//! Owns which rows can be sent again, why the others cannot, and what is sent for them. Never reads
//! the log or the network.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::compare::{Answer, Body};
use crate::domain::ids::RecordId;
use crate::domain::record::{Kind, Outcome, Payload, PredictionRecord, Side};
use crate::domain::routing::VERSION_HEADER;

/// Marks a request as sent again; its value is the id of the recorded exchange.
const REPLAY_HEADER: HeaderName = HeaderName::from_static("x-pointsman-replay");
const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// What is not escaped in a segment of a path (RFC 3986 section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Recorded headers that belong to the connection or that are set anew.
const NOT_SENT: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// A recorded exchange: its request as it is sent again, and its answer.
#[derive(Debug)]
pub(super) struct Recorded {
    /// Its id.
    pub(super) record_id: RecordId,
    /// The client's id of the request.
    pub(super) request_id: String,
    /// The model that answered, empty for none.
    pub(super) model: String,
    /// The version that answered, empty for none.
    pub(super) model_version: String,
    /// First byte of the request, in microseconds since the Unix epoch.
    pub(super) ts_us: u64,
    /// First byte of the request to last byte of the response, in microseconds.
    pub(super) t_total: u32,
    /// The method.
    pub(super) method: Method,
    /// The path.
    pub(super) uri: Uri,
    /// The headers, without `host`.
    pub(super) headers: HeaderMap,
    /// The body.
    pub(super) body: Bytes,
    status: u16,
    encoding: String,
    answer: Kept,
}

/// What was kept of the recorded answer's body.
#[derive(Debug)]
enum Kept {
    Whole(Bytes),
    Digest { bytes: u64, hash: Option<[u8; 16]> },
}

/// Where requests are sent other than to where they went.
#[derive(Debug, Clone, Default)]
pub(super) struct Redirect {
    /// Another model.
    pub(super) model: Option<String>,
    /// A version that is loaded.
    pub(super) version: Option<String>,
}

/// Why a row is not sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Skip(pub(super) &'static str);

impl Recorded {
    /// What is sent again for a row; `None` for rows that are not requests of clients.
    pub(super) fn new(
        record: &PredictionRecord<'_>,
        redirect: &Redirect,
    ) -> Option<Result<Self, Skip>> {
        (record.kind == Kind::Inference).then(|| Self::try_new(record, redirect))
    }

    fn try_new(record: &PredictionRecord<'_>, redirect: &Redirect) -> Result<Self, Skip> {
        let request = &record.request;
        if record.flags.replayed {
            return Err(Skip("replayed"));
        }
        if record.status == 0 || record.outcome == Outcome::ClientCancel {
            return Err(Skip("unanswered"));
        }
        if let Some(omission) = request.omission {
            return Err(Skip(omission.as_str()));
        }
        if request.redacted > 0 {
            return Err(Skip("redacted"));
        }
        if request.body.len() as u64 != request.bytes {
            return Err(Skip("incomplete"));
        }
        let method = Method::from_bytes(record.method.as_bytes()).map_err(|_| UNSENDABLE)?;
        let path = redirect.path(record.path)?;
        let uri: Uri = path.parse().map_err(|_| UNSENDABLE)?;
        if !path.starts_with('/') || method == Method::CONNECT {
            return Err(UNSENDABLE);
        }
        Ok(Self {
            record_id: record.record_id,
            request_id: record.request_id.to_owned(),
            model: record.decision.model.to_owned(),
            model_version: record.decision.model_version.to_owned(),
            ts_us: record.ts_us,
            t_total: record.latency.t_total,
            method,
            uri,
            headers: headers(record, redirect)?,
            body: bytes(&request.body),
            status: record.status,
            encoding: record.response.content_encoding.to_owned(),
            answer: kept(&record.response),
        })
    }

    /// The recorded answer.
    pub(super) fn answer(&self) -> Answer<'_> {
        let body = match &self.answer {
            Kept::Whole(body) => Body::Whole(body),
            Kept::Digest { bytes, hash } => Body::Digest { bytes: *bytes, hash: *hash },
        };
        Answer { status: self.status, encoding: &self.encoding, body }
    }

    /// The recorded status.
    pub(super) fn status(&self) -> u16 {
        self.status
    }
}

/// A method, path or header that cannot be sent.
const UNSENDABLE: Skip = Skip("unsendable");

fn kept(response: &Side<'_>) -> Kept {
    let whole = response.omission.is_none()
        && response.redacted == 0
        && response.body.len() as u64 == response.bytes;
    if whole {
        return Kept::Whole(bytes(&response.body));
    }
    // Where no hash was taken there are zeros, which no body hashes to in practice.
    let hash = (response.hash != [0; 16]).then_some(response.hash);
    Kept::Digest { bytes: response.bytes, hash }
}

fn bytes(payload: &Payload<'_>) -> Bytes {
    let mut body = Vec::with_capacity(payload.len());
    payload.pieces().for_each(|piece| body.extend_from_slice(piece));
    body.into()
}

fn headers(record: &PredictionRecord<'_>, redirect: &Redirect) -> Result<HeaderMap, Skip> {
    let mut headers = HeaderMap::new();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| UNSENDABLE);
    for (name, text) in &record.request.headers {
        let ours = name.starts_with("x-pointsman-");
        if !ours && !NOT_SENT.contains(name) {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| UNSENDABLE)?;
            headers.append(name, value(text)?);
        }
    }
    let fixed = [
        (CONTENT_TYPE, record.request.content_type),
        (CONTENT_ENCODING, record.request.content_encoding),
        (REQUEST_ID_HEADER, record.request_id),
        (HeaderName::from_static(VERSION_HEADER), redirect.version.as_deref().unwrap_or_default()),
    ];
    for (name, text) in fixed.into_iter().filter(|(_, text)| !text.is_empty()) {
        headers.insert(name, value(text)?);
    }
    headers.insert(REPLAY_HEADER, value(&record.record_id.to_string())?);
    Ok(headers)
}

impl Redirect {
    /// The path with the names of the other model and version, where it has names at all.
    fn path(&self, path: &str) -> Result<String, Skip> {
        let (model, version) = (self.model.as_deref(), self.version.as_deref());
        if model.is_none() && version.is_none() {
            return Ok(path.to_owned());
        }
        let Some((before, rest)) = path.split_once("/models/") else {
            // The version travels in a header; a model that is not in the path cannot be changed.
            return if model.is_some() { Err(Skip("no_model")) } else { Ok(path.to_owned()) };
        };
        let (name, rest) = split_name(rest);
        let mut out = format!("{before}/models/{}", or_escaped(model, name));
        match rest.strip_prefix("/versions/") {
            Some(rest) => {
                let (name, rest) = split_name(rest);
                out.push_str("/versions/");
                out.push_str(&or_escaped(version, name));
                out.push_str(rest);
            }
            None => out.push_str(rest),
        }
        Ok(out)
    }
}

/// A name and what follows it: `/infer`, or `:predict` as TF Serving writes it.
fn split_name(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', ':']).unwrap_or(rest.len()))
}

fn or_escaped(name: Option<&str>, otherwise: &str) -> String {
    let escaped = |name| utf8_percent_encode(name, SEGMENT).to_string();
    name.map_or_else(|| otherwise.to_owned(), escaped)
}

#[cfg(test)]
mod tests;
