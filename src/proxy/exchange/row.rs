//! The row that an exchange becomes, and the rows of its attempts that failed.

use std::time::Instant;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::trial::is_json;
use super::{Exchange, micros};
use crate::domain::ids::RecordId;
use crate::domain::record::{
    DecisionRow, ERROR_DETAIL_BYTES_MAX, Flags, Kind, Latency, Omission, Payload, PredictionRecord,
    Side,
};
use crate::domain::routing::TargetKind;
use crate::domain::stats::window::Unseen;
use crate::monitor::Content;
use crate::prediction_log::Offer;
use crate::protocol::status::GrpcCode;
use crate::proxy::body::Pieces;
use crate::proxy::capture::Capture;
use crate::proxy::problem::Problem;
use crate::proxy::redact::{Format, Redacted, redact};
use crate::snapshot::{Keep, RecordingPolicy, RuntimeKind};

/// What stands in a record for a detail that may hold what was redacted.
const DETAIL_LEFT_OUT: &str = "left out: it may quote what is redacted";

/// What is noted of one side.
pub(super) struct SideNotes {
    content_type: Option<HeaderValue>,
    content_encoding: Option<HeaderValue>,
    headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) capture: Capture,
    redacted: u16,
}

impl SideNotes {
    pub(super) fn empty(keep: Keep) -> Self {
        Self {
            content_type: None,
            content_encoding: None,
            headers: Vec::new(),
            capture: Capture::new(keep),
            redacted: 0,
        }
    }

    pub(super) fn of(headers: &HeaderMap, policy: &RecordingPolicy, keep: Keep) -> Self {
        let kept = |name: &HeaderName| headers.get(name).map(|value| (name.clone(), value.clone()));
        Self {
            content_type: headers.get(CONTENT_TYPE).cloned(),
            content_encoding: headers.get(CONTENT_ENCODING).cloned(),
            headers: policy.headers.iter().filter_map(kept).collect(),
            ..Self::empty(keep)
        }
    }

    /// Takes out of the captured body what the policy names, or leaves it out whole.
    pub(super) fn redact(&mut self, policy: &RecordingPolicy) {
        if self.capture.omission().is_some() || self.capture.bytes() == 0 {
            return;
        }
        let encoded = self.content_encoding.as_ref().is_some_and(|encoding| encoding != "identity");
        let format = Format::of(self.content_type.as_ref());
        let redacted = if encoded {
            None
        } else {
            redact(&policy.redaction, format, &self.capture.joined()).ok()
        };
        match redacted {
            None => self.capture.leave_out(Omission::Unredactable),
            Some(Redacted { body: None, .. }) => {}
            Some(Redacted { body: Some(body), values }) => {
                self.redacted = values;
                self.capture.replace(body.into());
            }
        }
    }

    /// What the monitor looks into.
    pub(super) fn content(&self) -> Result<Content, Unseen> {
        if self.capture.omission().is_some() {
            return Err(Unseen::Omitted);
        }
        let headers = (self.content_type.as_ref(), self.content_encoding.as_ref());
        Ok(Content::new(headers.0, headers.1, self.capture.payload()))
    }

    /// Whether the body is JSON as it is.
    pub(super) fn is_plain_json(&self) -> bool {
        self.content_encoding.is_none() && is_json(self.content_type.as_ref())
    }

    /// A whole body with what this side says about it.
    pub(super) fn content_of(&self, body: Pieces) -> Content {
        let headers = (self.content_type.clone(), self.content_encoding.clone());
        Content::new(headers.0, headers.1, Payload::Chunks(&body))
    }

    fn side(&self) -> Side<'_> {
        let capture = &self.capture;
        Side {
            content_type: text(self.content_type.as_ref()),
            content_encoding: text(self.content_encoding.as_ref()),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), text(Some(value))))
                .collect(),
            body: capture.payload(),
            bytes: capture.bytes(),
            hash: capture.hash(),
            omission: capture.omission(),
            redacted: self.redacted,
            chunks: capture.chunks(),
        }
    }
}

/// What a row has beside the notes of its exchange.
pub(super) struct Extras<'a> {
    pub(super) sample_rate: f32,
    pub(super) feedback_key: &'a str,
    pub(super) session: &'a str,
    pub(super) clock_stepped: bool,
}

/// Texts that a row borrows and that stand nowhere in the exchange.
struct Scratch {
    id: [u8; RecordId::TEXT_LEN],
    client: String,
}

impl Scratch {
    const EMPTY: Self = Self { id: [0; RecordId::TEXT_LEN], client: String::new() };
}

impl Exchange {
    /// Offers the record to the log; with what became of it, the hash of the body of the request.
    pub(super) fn offer(&self, extras: &Extras<'_>) -> (Offer, [u8; 16]) {
        let mut scratch = Scratch::EMPTY;
        let record = PredictionRecord {
            request: self.request.side(),
            response: self.response.side(),
            sample_rate: extras.sample_rate,
            feedback_key: extras.feedback_key,
            session: extras.session,
            flags: Flags { replayed: self.replayed, clock_stepped: extras.clock_stepped },
            ..self.row(&mut scratch, self.problem.as_ref())
        };
        let worker = &self.context.worker;
        (worker.gateway.recorder.offer(worker.index, &record), record.request.hash)
    }

    /// Offers a row for an attempt at a backend that failed and is followed by another.
    pub(in crate::proxy) fn note_retry(&mut self, began: Instant, problem: &Problem) {
        let now = self.note_time();
        if !self.is_recorded() {
            return;
        }
        let worker = &self.context.worker;
        let offset = micros(began.saturating_duration_since(self.began));
        let ts_us = self.ts_us + u64::from(offset);
        let (record_id, _) = worker.mint(ts_us / 1000);
        let mut request = SideNotes::side(&self.request);
        let upload = self.upload.as_ref().map(|upload| upload.state());
        if let Some(upload) = &upload {
            (request.bytes, request.hash) = (upload.capture.bytes(), upload.capture.hash());
            request.chunks = upload.capture.chunks();
        }
        // The exchange's own row has the body.
        request.body = Payload::Slice(&[]);
        request.headers.clear();
        request.omission = (request.bytes > 0).then_some(Omission::Policy);
        let mut scratch = Scratch::EMPTY;
        let record = PredictionRecord {
            record_id,
            kind: Kind::Retry,
            parent_record_id: Some(self.id),
            ts_us,
            request,
            status: 0,
            grpc_status: None,
            outcome: problem.cause.outcome(),
            latency: Latency {
                t_total: micros(now.saturating_duration_since(began)),
                t_upstream_connect: self.latency.t_upstream_connect,
                ..Latency::default()
            },
            ..self.row(&mut scratch, Some(problem))
        };
        // Nobody waits for it: it stands before the exchange's own row, which is waited for.
        let _counted = worker.gateway.recorder.offer(worker.index, &record);
    }

    /// The row as far as it is the same for the exchange and its attempts, without the two sides.
    fn row<'a>(
        &'a self,
        scratch: &'a mut Scratch,
        problem: Option<&'a Problem>,
    ) -> PredictionRecord<'a> {
        let Scratch { id, client } = scratch;
        let client: &str = if self.client == self.context.peer.ip {
            self.context.peer.text()
        } else {
            *client = self.client.to_canonical().to_string();
            client
        };
        let detail = match problem {
            Some(problem) if problem.cause.may_quote() && self.policy().redacts() => {
                DETAIL_LEFT_OUT
            }
            Some(problem) => &problem.detail,
            None => "",
        };
        PredictionRecord {
            record_id: self.id,
            kind: if self.is_copy() { Kind::Shadow } else { Kind::Inference },
            request_id: match &self.request_id {
                Some(value) => text(Some(value)),
                None => self.id.encode(id),
            },
            trace_id: self.trace.map(|trace| trace.trace_id),
            span_id: self.trace.map(|trace| trace.span_id),
            parent_record_id: self.parent,
            ts_us: self.ts_us,
            decision: self.decision_row(),
            method: self.method.as_str(),
            path: self.uri.path(),
            client,
            request: Side::EMPTY,
            response: Side::EMPTY,
            status: self.status,
            outcome: self.outcome,
            error_code: problem.map_or("", |problem| problem.cause.reason()),
            error_detail: truncated(detail, ERROR_DETAIL_BYTES_MAX),
            latency: self.latency,
            sample_rate: 1.0,
            batch_size: self.batch_size,
            grpc_status: self.grpc_status.map(GrpcCode::number),
            durability: Some(self.durability),
            flags: Flags { replayed: self.replayed, clock_stepped: false },
            feedback_key: "",
            session: "",
        }
    }

    fn decision_row(&self) -> DecisionRow<'_> {
        let table = &self.snapshot.table;
        let mut row = DecisionRow {
            route: "",
            protocol: self.protocol,
            model: "",
            model_version: "",
            model_digest: None,
            backend: self.backend.as_ref().map_or("", |guard| &guard.backend().url),
            reason: "",
            generation: self.snapshot.generation,
            entropy: self.entropy,
            attempt: self.attempt,
        };
        if let Some(model) = self.asked_for {
            row.model = table.model(model).name.as_str();
        }
        let Some(decision) = self.decision else { return row };
        row.route = decision.route.map_or("", |route| table.route(route).name.as_str());
        row.reason = decision.reason.as_str();
        if let TargetKind::Version(model, version) = &table.target(decision.target).kind {
            row.model = model.as_str();
            row.model_version = version.as_str();
        }
        if let RuntimeKind::Local(Some(runtime)) = &self.snapshot.target(decision.target).kind {
            row.backend = "local";
            row.model_digest = Some(runtime.model.digest());
        }
        row
    }
}

/// A header value as text; bytes that are not visible ASCII make it empty.
pub(super) fn text(value: Option<&HeaderValue>) -> &str {
    value.and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The longest head of `text` that is not longer than `limit` bytes.
fn truncated(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}
