//! The JSON form of a row: one object with the field names of the record schema.
//!
//! Owns the order and the form of the fields, for everything that prints, exports or delivers rows.
//! Never leaves out a field: what a row does not have is `null`.

use std::io;

use serde::{Serialize, Serializer};

use super::text::{base64, hex, timestamp};
use crate::domain::record::{
    Entry, FeedbackRecord, FeedbackTarget, GapRecord, Kind, Omission, Payload, PredictionRecord,
    Side,
};
use crate::domain::spec::Durability;
use crate::prediction_log::{Gap, Item, Row};

/// Appends `item` as one JSON object without a line break.
///
/// # Errors
/// Never in practice: memory is the only thing written to.
pub fn write_item(item: &Item<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    match item {
        Item::Row(row) => write_row(row, out),
        Item::Gap(gap) => Ok(serde_json::to_writer(out, &GapRow::new(gap))?),
    }
}

/// Appends `row` as one JSON object without a line break.
///
/// # Errors
/// Never in practice: memory is the only thing written to.
pub fn write_row(row: &Row<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    match &row.entry {
        Entry::Prediction(record) => {
            serde_json::to_writer(out, &RecordRow::new(row, record))?;
        }
        Entry::Feedback(feedback) => {
            serde_json::to_writer(out, &FeedbackRow::new(row, feedback))?;
        }
        Entry::Gap(gap) => serde_json::to_writer(out, &GapRow::of_row(row, gap))?,
    }
    Ok(())
}

/// A record with the names of the schema, in the order in which it is printed.
#[derive(Debug, Serialize)]
struct RecordRow<'a> {
    lsn: u64,
    record_id: String,
    kind: &'static str,
    request_id: Option<&'a str>,
    trace_id: Option<String>,
    span_id: Option<String>,
    parent_record_id: Option<String>,
    ts: String,
    replica_id: Option<&'a str>,
    route: Option<&'a str>,
    protocol: &'static str,
    model: Option<&'a str>,
    model_version: Option<&'a str>,
    model_digest: Option<String>,
    backend: Option<&'a str>,
    decision_reason: Option<&'a str>,
    weight_epoch: u64,
    /// As text: most readers of JSON keep only 53 bits of a number.
    entropy: String,
    attempt: u8,
    method: Option<&'a str>,
    path: Option<&'a str>,
    client: Option<&'a str>,
    req_content_type: Option<&'a str>,
    req_content_encoding: Option<&'a str>,
    req_headers: Headers<'a>,
    req_body: String,
    req_body_encoding: &'static str,
    req_bytes: u64,
    req_captured: usize,
    req_hash: String,
    req_omission: Option<&'static str>,
    resp_content_type: Option<&'a str>,
    resp_content_encoding: Option<&'a str>,
    resp_headers: Headers<'a>,
    resp_body: String,
    resp_body_encoding: &'static str,
    resp_bytes: u64,
    resp_captured: usize,
    resp_hash: String,
    resp_omission: Option<&'static str>,
    status: u16,
    grpc_status: Option<u8>,
    outcome: &'static str,
    error_code: Option<&'a str>,
    error_detail: Option<&'a str>,
    t_total: u32,
    t_queue: Option<u32>,
    t_route: Option<u32>,
    t_upstream_connect: Option<u32>,
    t_ttfb: Option<u32>,
    t_infer: Option<u32>,
    sample_rate: f32,
    batch_size: Option<u32>,
    durability: Option<&'static str>,
    replayed: bool,
    clock_stepped: bool,
    req_redacted: u16,
    req_chunks: u32,
    resp_redacted: u16,
    resp_chunks: u32,
    feedback_key: Option<&'a str>,
    session: Option<&'a str>,
    schema_version: u16,
}

impl<'a> RecordRow<'a> {
    fn new(row: &Row<'a>, record: &'a PredictionRecord<'a>) -> Self {
        let (decision, latency) = (&record.decision, &record.latency);
        let (request, response) = (&record.request, &record.response);
        let (req_body, req_body_encoding) = body(&request.body);
        let (resp_body, resp_body_encoding) = body(&response.body);
        Self {
            lsn: row.lsn,
            record_id: record.record_id.to_string(),
            kind: record.kind.as_str(),
            request_id: text(record.request_id),
            trace_id: record.trace_id.map(|id| hex(&id)),
            span_id: record.span_id.map(|id| hex(&id)),
            parent_record_id: record.parent_record_id.map(|id| id.to_string()),
            ts: timestamp(record.ts_us),
            replica_id: text(row.node),
            route: text(decision.route),
            protocol: decision.protocol.as_str(),
            model: text(decision.model),
            model_version: text(decision.model_version),
            model_digest: decision.model_digest.map(|digest| hex(&digest)),
            backend: text(decision.backend),
            decision_reason: text(decision.reason),
            weight_epoch: decision.generation.0,
            entropy: decision.entropy.0.to_string(),
            attempt: decision.attempt,
            method: text(record.method),
            path: text(record.path),
            client: text(record.client),
            req_content_type: text(request.content_type),
            req_content_encoding: text(request.content_encoding),
            req_headers: Headers(&request.headers),
            req_body,
            req_body_encoding,
            req_bytes: request.bytes,
            req_captured: request.body.len(),
            req_hash: hex(&request.hash),
            req_omission: omission(request),
            resp_content_type: text(response.content_type),
            resp_content_encoding: text(response.content_encoding),
            resp_headers: Headers(&response.headers),
            resp_body,
            resp_body_encoding,
            resp_bytes: response.bytes,
            resp_captured: response.body.len(),
            resp_hash: hex(&response.hash),
            resp_omission: omission(response),
            status: record.status,
            grpc_status: record.grpc_status,
            outcome: record.outcome.as_str(),
            error_code: text(record.error_code),
            error_detail: text(record.error_detail),
            t_total: latency.t_total,
            t_queue: latency.t_queue,
            t_route: latency.t_route,
            t_upstream_connect: latency.t_upstream_connect,
            t_ttfb: latency.t_ttfb,
            t_infer: latency.t_infer,
            sample_rate: record.sample_rate,
            batch_size: record.batch_size,
            durability: record.durability.map(Durability::as_str),
            replayed: record.flags.replayed,
            clock_stepped: record.flags.clock_stepped,
            req_redacted: request.redacted,
            req_chunks: request.chunks,
            resp_redacted: response.redacted,
            resp_chunks: response.chunks,
            feedback_key: text(record.feedback_key),
            session: text(record.session),
            schema_version: row.schema_version,
        }
    }
}

/// Headers as an object; the values of a name that occurs more than once are joined as RFC 9110
/// section 5.3 allows.
#[derive(Debug)]
pub(super) struct Headers<'a>(pub(super) &'a [(&'a str, &'a str)]);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut joined: Vec<(&str, String)> = Vec::with_capacity(self.0.len());
        for (name, value) in self.0 {
            match joined.iter_mut().find(|(known, _)| known == name) {
                Some((_, values)) => {
                    values.push_str(", ");
                    values.push_str(value);
                }
                None => joined.push((name, (*value).to_owned())),
            }
        }
        serializer.collect_map(joined)
    }
}

/// Feedback with the names of the schema.
#[derive(Debug, Serialize)]
struct FeedbackRow<'a> {
    lsn: u64,
    record_id: String,
    kind: &'static str,
    ts: String,
    replica_id: Option<&'a str>,
    model: Option<&'a str>,
    feedback_id: Option<&'a str>,
    target_record_id: Option<String>,
    target_request_id: Option<&'a str>,
    target_feedback_key: Option<&'a str>,
    metric: &'a str,
    value: Option<f64>,
    label: Option<&'a str>,
    source: Option<&'a str>,
    observed: Option<String>,
    retracted: bool,
}

impl<'a> FeedbackRow<'a> {
    fn new(row: &Row<'a>, feedback: &FeedbackRecord<'a>) -> Self {
        let (mut id, mut request, mut key) = (None, None, None);
        match feedback.target {
            FeedbackTarget::Prediction(target) => id = Some(target.to_string()),
            FeedbackTarget::Request(target) => request = Some(target),
            FeedbackTarget::Key(target) => key = Some(target),
        }
        Self {
            lsn: row.lsn,
            record_id: feedback.record_id.to_string(),
            kind: Kind::Feedback.as_str(),
            ts: timestamp(feedback.ts_us),
            replica_id: text(row.node),
            model: text(feedback.model),
            feedback_id: text(feedback.feedback_id),
            target_record_id: id,
            target_request_id: request,
            target_feedback_key: key,
            metric: feedback.metric,
            value: feedback.value,
            label: feedback.label,
            source: text(feedback.source),
            observed: feedback.observed_us.map(timestamp),
            retracted: feedback.retracted,
        }
    }
}

/// A gap, with the kind that tells it from records.
#[derive(Debug, Serialize)]
struct GapRow {
    kind: &'static str,
    gap_reason: &'static str,
    gap_first_lsn: Option<u64>,
    gap_last_lsn: Option<u64>,
    gap_segment: Option<String>,
    gap_offset: Option<u64>,
    gap_bytes: Option<u64>,
    lsn: Option<u64>,
    ts: Option<String>,
    gap_records: Option<u64>,
    gap_consumer: Option<String>,
    gap_detail: Option<String>,
}

impl GapRow {
    fn new(gap: &Gap) -> Self {
        Self {
            kind: Kind::Gap.as_str(),
            gap_reason: gap.reason.as_str(),
            gap_first_lsn: gap.lsns.as_ref().map(|lsns| *lsns.start()),
            gap_last_lsn: gap.lsns.as_ref().map(|lsns| *lsns.end()),
            gap_segment: Some(gap.segment.display().to_string()),
            gap_offset: Some(gap.offset),
            gap_bytes: Some(gap.bytes),
            lsn: None,
            ts: None,
            gap_records: None,
            gap_consumer: None,
            gap_detail: None,
        }
    }

    fn of_row(row: &Row<'_>, gap: &GapRecord<'_>) -> Self {
        Self {
            kind: Kind::Gap.as_str(),
            gap_reason: gap.reason.as_str(),
            gap_first_lsn: gap.lsns.map(|lsns| lsns.0),
            gap_last_lsn: gap.lsns.map(|lsns| lsns.1),
            gap_segment: None,
            gap_offset: None,
            gap_bytes: None,
            lsn: Some(row.lsn),
            ts: Some(timestamp(gap.ts_us)),
            gap_records: Some(gap.records),
            gap_consumer: text(gap.consumer).map(str::to_owned),
            gap_detail: text(gap.detail).map(str::to_owned),
        }
    }
}

fn text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn omission(side: &Side<'_>) -> Option<&'static str> {
    side.omission.map(Omission::as_str)
}

/// The captured bytes as text where they are UTF-8, else in base64, and which of the two.
pub(super) fn body(payload: &Payload<'_>) -> (String, &'static str) {
    let mut bytes = Vec::with_capacity(payload.len());
    payload.pieces().for_each(|piece| bytes.extend_from_slice(piece));
    match String::from_utf8(bytes) {
        Ok(text) => (text, "utf8"),
        Err(error) => (base64(error.as_bytes()), "base64"),
    }
}
