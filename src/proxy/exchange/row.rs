//! The row that an exchange becomes.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::Exchange;
use crate::domain::ids::RecordId;
use crate::domain::record::{
    DecisionRow, ERROR_DETAIL_BYTES_MAX, Flags, Kind, PredictionRecord, Side,
};
use crate::domain::routing::TargetKind;
use crate::prediction_log::Offer;
use crate::proxy::LogNotes;
use crate::proxy::capture::Capture;
use crate::snapshot::RuntimeKind;

/// What is noted of one side.
pub(super) struct SideNotes {
    content_type: Option<HeaderValue>,
    content_encoding: Option<HeaderValue>,
    headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) capture: Capture,
}

impl SideNotes {
    pub(super) fn empty(limit: usize) -> Self {
        Self {
            content_type: None,
            content_encoding: None,
            headers: Vec::new(),
            capture: Capture::new(limit),
        }
    }

    pub(super) fn of(headers: &HeaderMap, log: &LogNotes) -> Self {
        let kept = |name: &HeaderName| headers.get(name).map(|value| (name.clone(), value.clone()));
        Self {
            content_type: headers.get(CONTENT_TYPE).cloned(),
            content_encoding: headers.get(CONTENT_ENCODING).cloned(),
            headers: log.headers.iter().filter_map(kept).collect(),
            capture: Capture::new(log.body),
        }
    }

    fn side<'a>(&'a self, capture: &'a Capture) -> Side<'a> {
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
            redacted: 0,
            chunks: 0,
        }
    }
}

impl Exchange {
    /// Offers the record to the log.
    pub(super) fn offer(&self) -> Offer {
        let mut id_text = [0; RecordId::TEXT_LEN];
        let request_id = match &self.request_id {
            Some(value) => text(Some(value)),
            None => self.id.encode(&mut id_text),
        };
        let forwarded_client;
        let client = if self.client == self.context.peer.ip {
            &self.context.peer.text
        } else {
            forwarded_client = self.client.to_canonical().to_string();
            &forwarded_client
        };
        let detail = self.problem.as_ref().map_or("", |problem| &problem.detail);
        let mut upload = self.upload.as_ref().map(|upload| upload.state());
        if let Some(upload) = &mut upload {
            upload.capture.seal();
        }
        let request_body = upload.as_ref().map_or(&self.request.capture, |upload| &upload.capture);
        let record = PredictionRecord {
            record_id: self.id,
            kind: Kind::Inference,
            request_id,
            trace_id: self.trace.map(|trace| trace.trace_id),
            span_id: self.trace.map(|trace| trace.span_id),
            parent_record_id: None,
            ts_us: self.ts_us,
            decision: self.decision_row(),
            method: self.method.as_str(),
            path: self.uri.path(),
            client,
            request: self.request.side(request_body),
            response: self.response.side(&self.response.capture),
            status: self.status,
            outcome: self.outcome,
            error_code: self.problem.as_ref().map_or("", |problem| problem.cause.reason()),
            error_detail: truncated(detail, ERROR_DETAIL_BYTES_MAX),
            latency: self.latency,
            sample_rate: 1.0,
            batch_size: None,
            durability: None,
            flags: Flags::default(),
            feedback_key: "",
            session: "",
        };
        let worker = &self.context.worker;
        worker.gateway.recorder.offer(worker.index, &record)
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
fn text(value: Option<&HeaderValue>) -> &str {
    value.and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The longest head of `text` that is not longer than `limit` bytes.
fn truncated(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}
