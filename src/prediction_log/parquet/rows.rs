//! Rows of the log as Arrow batches.
//!
//! Owns which field of a row goes to which column, and what a null means there: a text that is empty
//! in the row, or a column of another kind of row. Never reads or writes a file.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, SchemaRef};

use super::columns::Builders;
use super::schema::schema;
use super::usage::usage;
use crate::domain::ids::RecordId;
use crate::domain::record::{
    Entry, FeedbackRecord, FeedbackTarget, GapRecord, Kind, Payload, PredictionRecord, Side,
};
use crate::domain::spec::Durability;
use crate::prediction_log::Row;

/// Bytes of a row beside its texts and bodies, about.
const ROW_BYTES: usize = 400;

/// Rows that become one batch.
pub(super) struct RowBuilder {
    schema: SchemaRef,
    columns: Builders,
    rows: usize,
    bytes: usize,
    /// A body in several pieces, joined.
    joined: Vec<u8>,
    hex: String,
}

impl RowBuilder {
    pub(super) fn new() -> Self {
        Self {
            schema: schema(),
            columns: Builders::new(),
            rows: 0,
            bytes: 0,
            joined: Vec::new(),
            hex: String::new(),
        }
    }

    /// Rows since the last batch.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of these rows, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a row. One with number 0 stands for what the log itself does not hold: its number is null.
    ///
    /// # Errors
    /// When Arrow refuses a value, which none is known to be.
    pub(super) fn push(&mut self, row: &Row<'_>) -> Result<(), ArrowError> {
        let c = &mut self.columns;
        if row.lsn > 0 {
            c.lsn.append_value(row.lsn);
        }
        c.schema_version.append_value(row.schema_version);
        text(&mut c.replica_id, row.node);
        self.bytes += ROW_BYTES;
        match &row.entry {
            Entry::Prediction(record) => self.prediction(record)?,
            Entry::Feedback(record) => self.feedback(record),
            Entry::Gap(record) => self.gap(record),
        }
        self.rows += 1;
        self.columns.end_row(self.rows);
        Ok(())
    }

    /// The rows as a batch; the builder is empty afterwards.
    ///
    /// # Errors
    /// When the columns do not fit the schema, which they always do.
    pub(super) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        self.bytes = 0;
        let columns: Vec<ArrayRef> = self.columns.finish();
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }

    fn prediction(&mut self, record: &PredictionRecord<'_>) -> Result<(), ArrowError> {
        let (decision, latency) = (&record.decision, &record.latency);
        let c = &mut self.columns;
        uuid(&mut c.record_id, record.record_id);
        c.kind.append_value(record.kind.as_str());
        c.ts.append_value(record.ts_us.cast_signed());
        text(&mut c.request_id, record.request_id);
        for (column, id) in [
            (&mut c.trace_id, record.trace_id.as_ref().map(|id| &id[..])),
            (&mut c.span_id, record.span_id.as_ref().map(|id| &id[..])),
            (&mut c.model_digest, decision.model_digest.as_ref().map(|digest| &digest[..])),
        ] {
            if let Some(id) = id {
                hex(&mut self.hex, id);
                column.append_value(&self.hex);
            }
        }
        if let Some(parent) = record.parent_record_id {
            uuid(&mut c.parent_record_id, parent);
        }
        for (column, value) in [
            (&mut c.route, decision.route),
            (&mut c.protocol, decision.protocol.as_str()),
            (&mut c.model, decision.model),
            (&mut c.model_version, decision.model_version),
            (&mut c.backend, decision.backend),
            (&mut c.decision_reason, decision.reason),
            (&mut c.method, record.method),
            (&mut c.path, record.path),
            (&mut c.client, record.client),
            (&mut c.outcome, record.outcome.as_str()),
            (&mut c.error_code, record.error_code),
            (&mut c.error_detail, record.error_detail),
            (&mut c.durability, record.durability.map_or("", Durability::as_str)),
            (&mut c.feedback_key, record.feedback_key),
            (&mut c.session, record.session),
        ] {
            text(column, value);
        }
        c.weight_epoch.append_value(decision.generation.0);
        c.entropy.append_value(decision.entropy.0);
        c.attempt.append_value(decision.attempt);
        c.status.append_value(record.status);
        c.grpc_status.append_option(record.grpc_status);
        c.t_total.append_value(latency.t_total);
        c.t_queue.append_option(latency.t_queue);
        c.t_route.append_option(latency.t_route);
        c.t_upstream_connect.append_option(latency.t_upstream_connect);
        c.t_ttfb.append_option(latency.t_ttfb);
        c.t_infer.append_option(latency.t_infer);
        c.sample_rate.append_value(record.sample_rate);
        c.batch_size.append_option(record.batch_size);
        c.replayed.append_value(record.flags.replayed);
        c.clock_stepped.append_value(record.flags.clock_stepped);
        let usage = usage(&record.response);
        c.input_tokens.append_option(usage.input_tokens);
        c.output_tokens.append_option(usage.output_tokens);
        self.bytes += record.request_id.len() + record.path.len() + record.error_detail.len();
        self.request(&record.request)?;
        self.response(&record.response)
    }

    fn request(&mut self, side: &Side<'_>) -> Result<(), ArrowError> {
        let body = join(&side.body, &mut self.joined);
        let c = &mut self.columns;
        text(&mut c.req_content_type, side.content_type);
        text(&mut c.req_content_encoding, side.content_encoding);
        self.bytes += headers(&mut c.req_headers, &side.headers)? + body.len();
        if !body.is_empty() {
            c.req_body.append_value(body);
        }
        c.req_bytes.append_value(side.bytes);
        c.req_captured.append_value(captured(body));
        c.req_hash.append_value(side.hash)?;
        text(&mut c.req_omission, side.omission.map_or("", |omission| omission.as_str()));
        c.req_redacted.append_value(side.redacted);
        c.req_chunks.append_value(side.chunks);
        Ok(())
    }

    fn response(&mut self, side: &Side<'_>) -> Result<(), ArrowError> {
        let body = join(&side.body, &mut self.joined);
        let c = &mut self.columns;
        text(&mut c.resp_content_type, side.content_type);
        text(&mut c.resp_content_encoding, side.content_encoding);
        self.bytes += headers(&mut c.resp_headers, &side.headers)? + body.len();
        if !body.is_empty() {
            c.resp_body.append_value(body);
        }
        c.resp_bytes.append_value(side.bytes);
        c.resp_captured.append_value(captured(body));
        c.resp_hash.append_value(side.hash)?;
        text(&mut c.resp_omission, side.omission.map_or("", |omission| omission.as_str()));
        c.resp_redacted.append_value(side.redacted);
        c.resp_chunks.append_value(side.chunks);
        Ok(())
    }

    fn feedback(&mut self, record: &FeedbackRecord<'_>) {
        let c = &mut self.columns;
        uuid(&mut c.record_id, record.record_id);
        c.kind.append_value(Kind::Feedback.as_str());
        c.ts.append_value(record.ts_us.cast_signed());
        match record.target {
            FeedbackTarget::Prediction(id) => uuid(&mut c.target_record_id, id),
            // Even when empty: which of the three it is has to be told.
            FeedbackTarget::Request(id) => c.target_request_id.append_value(id),
            FeedbackTarget::Key(key) => c.target_feedback_key.append_value(key),
        }
        text(&mut c.feedback_id, record.feedback_id);
        text(&mut c.model, record.model);
        text(&mut c.metric, record.metric);
        text(&mut c.source, record.source);
        c.value.append_option(record.value);
        c.label.append_option(record.label);
        c.observed.append_option(record.observed_us.map(u64::cast_signed));
        c.retracted.append_value(record.retracted);
        self.bytes += record.label.map_or(0, str::len) + record.feedback_id.len();
    }

    fn gap(&mut self, record: &GapRecord<'_>) {
        let c = &mut self.columns;
        c.kind.append_value(Kind::Gap.as_str());
        c.ts.append_value(record.ts_us.cast_signed());
        c.gap_reason.append_value(record.reason.as_str());
        c.gap_first_lsn.append_option(record.lsns.map(|(first, _)| first));
        c.gap_last_lsn.append_option(record.lsns.map(|(_, last)| last));
        c.gap_records.append_value(record.records);
        text(&mut c.gap_consumer, record.consumer);
        text(&mut c.gap_detail, record.detail);
    }
}

/// A text; an empty one is left out, which makes it null.
fn text(column: &mut StringBuilder, text: &str) {
    if !text.is_empty() {
        column.append_value(text);
    }
}

fn uuid(column: &mut StringBuilder, id: RecordId) {
    column.append_value(id.encode(&mut [0; RecordId::TEXT_LEN]));
}

fn hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    text.clear();
    text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}

/// Adds headers; returns their bytes.
fn headers(
    column: &mut <super::columns::Headers as super::columns::ColumnType>::Builder,
    headers: &[(&str, &str)],
) -> Result<usize, ArrowError> {
    for (name, value) in headers {
        column.keys().append_value(name);
        column.values().append_value(value);
    }
    column.append(true)?;
    Ok(headers.iter().map(|(name, value)| name.len() + value.len()).sum())
}

fn captured(body: &[u8]) -> u32 {
    u32::try_from(body.len()).unwrap_or(u32::MAX)
}

/// A body in one piece.
fn join<'a>(body: &Payload<'a>, joined: &'a mut Vec<u8>) -> &'a [u8] {
    match body {
        Payload::Slice(slice) => slice,
        Payload::Chunks(chunks) => {
            joined.clear();
            chunks.iter().for_each(|chunk| joined.extend_from_slice(chunk));
            joined
        }
    }
}
