//! `log tail` and `log stats`: the prediction log for people and for scripts.
//!
//! Owns how a record is printed: as one aligned line, or as one JSON object with the field names of
//! the record schema. Never writes to the log.

mod replay;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::{Condvar, Mutex};
use serde::{Serialize, Serializer};

use crate::domain::record::{
    Entry, FeedbackRecord, FeedbackTarget, GapRecord, Kind, Payload, PredictionRecord, Side,
};
use crate::domain::spec::Durability;
use crate::prediction_log::{Gap, Item, LogReader, ReadError, Row, Survey, survey};

/// How often a followed log is looked at again.
const POLL: Duration = Duration::from_millis(100);

pub(super) use self::replay::{ReplayArgs, replay};
use super::args::Format;

/// Why the log could not be printed.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    /// The log cannot be read.
    #[error(
        "cannot read the prediction log: is `data_dir` right, and has a gateway recorded there?"
    )]
    Read(#[from] ReadError),
    /// The output cannot be written.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// Prints the last `count` records of the log in `dir`, oldest first, and with `follow` every
/// further one until the output is closed.
///
/// # Errors
/// When the log cannot be read or the output fails; an output that was closed is no failure.
pub(super) fn tail(
    dir: &Path,
    count: u64,
    follow: bool,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), LogError> {
    let mut reader = LogReader::open_last(dir, count)?;
    let mut line = Vec::new();
    loop {
        while let Some(item) = reader.next_item()? {
            line.clear();
            match format {
                Format::Human => human_line(&item, &mut line),
                Format::Json => json_line(&item, &mut line)?,
            }
            if let Some(end) = ended(out.write_all(&line)) {
                return end;
            }
        }
        if let Some(end) = ended(out.flush()) {
            return end;
        }
        if !follow {
            return Ok(());
        }
        wait(POLL);
    }
}

/// Prints what the log in `dir` holds in total.
///
/// # Errors
/// When the log cannot be read or the output fails; an output that was closed is no failure.
pub(super) fn stats(dir: &Path, format: Format, out: &mut dyn Write) -> Result<(), LogError> {
    let survey = survey(dir)?;
    let mut text = match format {
        Format::Human => human_survey(&survey).into_bytes(),
        Format::Json => serde_json::to_vec(&SurveyRow::new(&survey)).map_err(io::Error::from)?,
    };
    text.push(b'\n');
    ended(out.write_all(&text).and_then(|()| out.flush())).unwrap_or(Ok(()))
}

/// Whether output is over, and how: a reader that has gone away is a success.
fn ended(result: io::Result<()>) -> Option<Result<(), LogError>> {
    match result {
        Ok(()) => None,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Some(Ok(())),
        Err(error) => Some(Err(error.into())),
    }
}

/// Lets `time` pass. Nothing announces new records across processes, so that the log is asked again.
fn wait(time: Duration) {
    let never = (Mutex::new(()), Condvar::new());
    never.1.wait_for(&mut never.0.lock(), time);
}

/// Writes one item as a line for people.
fn human_line(item: &Item<'_>, line: &mut Vec<u8>) {
    let text = match item {
        Item::Row(row) => match &row.entry {
            Entry::Prediction(record) => human_record(record),
            Entry::Feedback(feedback) => human_feedback(feedback),
            Entry::Gap(gap) => human_gap_row(gap),
        },
        Item::Gap(gap) => human_gap(gap),
    };
    line.extend(text.into_bytes());
    line.push(b'\n');
}

fn human_record(record: &PredictionRecord<'_>) -> String {
    let decision = &record.decision;
    let target = match (decision.model, decision.model_version) {
        ("", _) => decision.route.to_owned(),
        (model, "") => model.to_owned(),
        (model, version) => format!("{model}/{version}"),
    };
    format!(
        "{}  {:<24} {:>3} {:<14} {:>10.3} ms {:>9} > {:<9} {}",
        timestamp(record.ts_us),
        printable(&target),
        record.status,
        record.outcome.as_str(),
        f64::from(record.latency.t_total) / 1000.0,
        size(record.request.bytes),
        size(record.response.bytes),
        record.record_id,
    )
}

fn human_feedback(feedback: &FeedbackRecord<'_>) -> String {
    let target = match feedback.target {
        FeedbackTarget::Prediction(id) => id.to_string(),
        FeedbackTarget::Request(text) | FeedbackTarget::Key(text) => printable(text),
    };
    let value = feedback.value.map(|value| value.to_string()).unwrap_or_default();
    let label = printable(feedback.label.unwrap_or_default());
    let metric = printable(feedback.metric);
    let taken_back = if feedback.retracted { " (taken back)" } else { "" };
    format!(
        "{}  feedback: {metric} {value}{label}{taken_back} for {target}",
        timestamp(feedback.ts_us)
    )
}

fn human_gap_row(gap: &GapRecord<'_>) -> String {
    let who = if gap.consumer.is_empty() {
        String::new()
    } else {
        format!(" for {}", printable(gap.consumer))
    };
    let lsns = gap.lsns.map(|(first, last)| format!(" ({first} to {last})")).unwrap_or_default();
    format!(
        "{}  -- gap: {}, {} records{lsns}{who} --",
        timestamp(gap.ts_us),
        gap.reason.as_str(),
        gap.records
    )
}

fn human_gap(gap: &Gap) -> String {
    let segment = gap.segment.file_name().unwrap_or_default().to_string_lossy();
    let mut text = format!("-- gap: {} at {segment}:{}", gap.reason.as_str(), gap.offset);
    if let Some(lsns) = &gap.lsns {
        let records = lsns.end().saturating_sub(*lsns.start()).saturating_add(1);
        let known = write!(text, ", {records} records ({} to {})", lsns.start(), lsns.end());
        debug_assert!(known.is_ok(), "writing to a string cannot fail");
    }
    if gap.bytes > 0 {
        text.push_str(", ");
        text.push_str(&size(gap.bytes));
    }
    text + " --"
}

/// Text of a client's making, without characters that could drive a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn timestamp(us: u64) -> String {
    let us = i64::try_from(us).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_microsecond(us) {
        Ok(timestamp) => format!("{timestamp:.6}"),
        Err(_) => jiff::Timestamp::MAX.to_string(),
    }
}

/// A number of bytes in at most five digits and a unit.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 10_000 {
        return format!("{bytes} B");
    }
    let (mut scaled, mut unit) = (bytes as f64 / 1024.0, 0);
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

fn human_survey(survey: &Survey) -> String {
    let number = |lsn: Option<u64>| lsn.map_or_else(|| "-".to_owned(), |lsn| lsn.to_string());
    let rows = [
        ("records", survey.records.to_string()),
        ("first", number(survey.first_lsn)),
        ("last", number(survey.last_lsn)),
        ("segments", format!("{} ({} closed)", survey.segments, survey.sealed)),
        ("bytes", format!("{} ({})", survey.bytes, size(survey.bytes))),
        ("since", survey.created_us.map_or_else(|| "-".to_owned(), timestamp)),
        ("node", printable(&survey.node)),
        ("damaged", survey.damaged_places.to_string()),
        ("torn bytes", survey.torn_bytes.to_string()),
    ];
    let lines = rows.iter().map(|(name, value)| format!("{name:<11} {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn json_line(item: &Item<'_>, line: &mut Vec<u8>) -> Result<(), io::Error> {
    match item {
        Item::Row(row) => match &row.entry {
            Entry::Prediction(record) => {
                serde_json::to_writer(&mut *line, &RecordRow::new(row, record))?;
            }
            Entry::Feedback(feedback) => {
                serde_json::to_writer(&mut *line, &FeedbackRow::new(row, feedback))?;
            }
            Entry::Gap(gap) => serde_json::to_writer(&mut *line, &GapRow::of_row(row, gap))?,
        },
        Item::Gap(gap) => serde_json::to_writer(&mut *line, &GapRow::new(gap))?,
    }
    line.push(b'\n');
    Ok(())
}

/// A record with the names of the schema, in the order in which it is printed.
#[derive(Serialize)]
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
struct Headers<'a>(&'a [(&'a str, &'a str)]);

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
#[derive(Serialize)]
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
#[derive(Serialize)]
struct GapRow {
    kind: &'static str,
    reason: &'static str,
    first_lsn: Option<u64>,
    last_lsn: Option<u64>,
    segment: Option<String>,
    offset: Option<u64>,
    bytes: Option<u64>,
    lsn: Option<u64>,
    ts: Option<String>,
    records: Option<u64>,
    consumer: Option<String>,
    detail: Option<String>,
}

impl GapRow {
    fn new(gap: &Gap) -> Self {
        Self {
            kind: Kind::Gap.as_str(),
            reason: gap.reason.as_str(),
            first_lsn: gap.lsns.as_ref().map(|lsns| *lsns.start()),
            last_lsn: gap.lsns.as_ref().map(|lsns| *lsns.end()),
            segment: Some(gap.segment.display().to_string()),
            offset: Some(gap.offset),
            bytes: Some(gap.bytes),
            lsn: None,
            ts: None,
            records: None,
            consumer: None,
            detail: None,
        }
    }

    fn of_row(row: &Row<'_>, gap: &GapRecord<'_>) -> Self {
        Self {
            kind: Kind::Gap.as_str(),
            reason: gap.reason.as_str(),
            first_lsn: gap.lsns.map(|lsns| lsns.0),
            last_lsn: gap.lsns.map(|lsns| lsns.1),
            segment: None,
            offset: None,
            bytes: None,
            lsn: Some(row.lsn),
            ts: Some(timestamp(gap.ts_us)),
            records: Some(gap.records),
            consumer: text(gap.consumer).map(str::to_owned),
            detail: text(gap.detail).map(str::to_owned),
        }
    }
}

#[derive(Serialize)]
struct SurveyRow<'a> {
    records: u64,
    first_lsn: Option<u64>,
    last_lsn: Option<u64>,
    segments: u64,
    segments_sealed: u64,
    bytes: u64,
    created: Option<String>,
    replica_id: Option<&'a str>,
    damaged_places: u64,
    torn_bytes: u64,
}

impl<'a> SurveyRow<'a> {
    fn new(survey: &'a Survey) -> Self {
        Self {
            records: survey.records,
            first_lsn: survey.first_lsn,
            last_lsn: survey.last_lsn,
            segments: survey.segments,
            segments_sealed: survey.sealed,
            bytes: survey.bytes,
            created: survey.created_us.map(timestamp),
            replica_id: text(&survey.node),
            damaged_places: survey.damaged_places,
            torn_bytes: survey.torn_bytes,
        }
    }
}

fn text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn omission(side: &Side<'_>) -> Option<&'static str> {
    side.omission.map(crate::domain::record::Omission::as_str)
}

/// The captured bytes as text where they are UTF-8, else in base64, and which of the two.
fn body(payload: &Payload<'_>) -> (String, &'static str) {
    let bytes: Vec<u8> = payload.pieces().flatten().copied().collect();
    match String::from_utf8(bytes) {
        Ok(text) => (text, "utf8"),
        Err(error) => (STANDARD.encode(error.as_bytes()), "base64"),
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests;
