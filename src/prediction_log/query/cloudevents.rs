//! Rows as CloudEvents, in the form in which KServe's logger sends them.
//!
//! Owns the names of types and extensions, after `pkg/logger/worker.go` and `handler.go` of
//! <https://github.com/kserve/kserve>: a request and a response are two events with one id. Written in
//! the JSON format of CloudEvents 1.0 (structured mode), each event on one line. Unlike KServe, answers
//! other than 200 are events too, and the id is the record's own: a client's id may occur twice.
//! Never changes a body.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::text::{base64, timestamp};
use crate::domain::record::{Omission, PredictionRecord, Side};
use crate::prediction_log::Row;

/// The type of an event that holds a request.
pub const REQUEST_TYPE: &str = "org.kubeflow.serving.inference.request";
/// The type of an event that holds a response.
pub const RESPONSE_TYPE: &str = "org.kubeflow.serving.inference.response";

/// What the rows themselves do not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The source, a URI reference; empty for `/pointsman/NODE`.
    pub source: String,
    /// The namespace of the inference service.
    pub namespace: String,
    /// What follows each event: a line break, or a comma for a batch (the array's brackets and the
    /// last comma are the caller's).
    pub separator: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self { source: String::new(), namespace: "default".to_owned(), separator: b'\n' }
    }
}

/// Appends the events of an exchange: its request, and its response if there was one. Returns how
/// many.
pub fn write_events(
    row: &Row<'_>,
    record: &PredictionRecord<'_>,
    settings: &Settings,
    out: &mut Vec<u8>,
) -> usize {
    let end_us = record.ts_us.saturating_add(u64::from(record.latency.t_total));
    let response = (record.status != 0).then_some((RESPONSE_TYPE, end_us, &record.response));
    let request = (REQUEST_TYPE, record.ts_us, &record.request);
    let mut events = 0;
    for (kind, ts_us, side) in [Some(request), response].into_iter().flatten() {
        let before = out.len();
        let event = Event::new(row, record, settings, kind, ts_us, side);
        if serde_json::to_writer(&mut *out, &event).is_ok() {
            out.push(settings.separator);
            events += 1;
        } else {
            // Cannot happen: everything in an event has a form in JSON.
            out.truncate(before);
        }
    }
    events
}

#[derive(Debug, Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    r#type: &'static str,
    time: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    datacontenttype: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    inferenceservicename: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    component: &'static str,
    endpoint: &'static str,
    /// The request's headers on the allow-list: a JSON object as text, as KServe has it.
    metadata: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    requestid: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    modelversion: &'a str,
    recordkind: &'static str,
    outcome: &'static str,
    statuscode: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    contentencoding: &'a str,
    /// Why the data is not the whole body.
    #[serde(skip_serializing_if = "Option::is_none")]
    omission: Option<&'static str>,
    #[serde(flatten)]
    data: Data,
}

/// The body, in the one of the three forms that keeps it as it is.
#[derive(Debug, Default, Serialize)]
struct Data {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

impl<'a> Event<'a> {
    fn new(
        row: &Row<'_>,
        record: &'a PredictionRecord<'a>,
        settings: &'a Settings,
        kind: &'static str,
        ts_us: u64,
        side: &'a Side<'a>,
    ) -> Self {
        let decision = &record.decision;
        Self {
            specversion: "1.0",
            id: record.record_id.to_string(),
            source: source(settings, row.node),
            r#type: kind,
            time: timestamp(ts_us),
            datacontenttype: side.content_type,
            inferenceservicename: match decision.model {
                "" => decision.route,
                model => model,
            },
            namespace: &settings.namespace,
            component: "predictor",
            endpoint: "default",
            metadata: metadata(&record.request.headers),
            requestid: record.request_id,
            modelversion: decision.model_version,
            recordkind: record.kind.as_str(),
            outcome: record.outcome.as_str(),
            statuscode: record.status,
            contentencoding: side.content_encoding,
            omission: side.omission.map(Omission::as_str),
            data: Data::new(side),
        }
    }
}

/// A node's name becomes one segment of a path.
fn source(settings: &Settings, node: &str) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    const KEPT: &percent_encoding::AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    match settings.source.as_str() {
        "" => format!("/pointsman/{}", utf8_percent_encode(node, KEPT)),
        source => source.to_owned(),
    }
}

fn metadata(headers: &[(&str, &str)]) -> String {
    let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in headers {
        values.entry(name).or_default().push(value);
    }
    serde_json::to_string(&values).unwrap_or_default()
}

impl Data {
    fn new(side: &Side<'_>) -> Self {
        if side.body.is_empty() {
            return Self::default();
        }
        let mut bytes = Vec::with_capacity(side.body.len());
        side.body.pieces().for_each(|piece| bytes.extend_from_slice(piece));
        let plain = side.content_encoding.is_empty();
        let text = if plain { String::from_utf8(bytes) } else { return Self::binary(&bytes) };
        match text {
            Ok(text) if is_json(side.content_type) => match json(text) {
                Ok(value) => Self { data: Some(value), data_base64: None },
                Err(text) => Self::binary(text.as_bytes()),
            },
            Ok(text) => match serde_json::value::to_raw_value(&text) {
                Ok(value) => Self { data: Some(value), data_base64: None },
                Err(_) => Self::binary(text.as_bytes()),
            },
            Err(error) => Self::binary(error.as_bytes()),
        }
    }

    fn binary(bytes: &[u8]) -> Self {
        Self { data: None, data_base64: Some(base64(bytes)) }
    }
}

/// The text as a JSON value on one line; the text itself when it is none.
fn json(text: String) -> Result<Box<RawValue>, String> {
    // Line breaks stand between the tokens of JSON only, never inside a string.
    let line: String =
        text.chars().map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c }).collect();
    RawValue::from_string(line).map_err(|_| text)
}

/// Whether data of this media type is JSON: CloudEvents JSON format 1.0, section 3.1.1.
fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let media_type = media_type.to_ascii_lowercase();
    media_type.ends_with("/json") || media_type.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::domain::record::{Entry, Payload};
    use crate::prediction_log::tests::sample::record;

    fn events(change: impl FnOnce(&mut PredictionRecord<'_>), body: &[u8]) -> Vec<Value> {
        let mut row = record(1_700_000_000_000_000, body);
        change(&mut row);
        let of = Row { lsn: 7, node: "edge 1", schema_version: 1, entry: Entry::Prediction(row) };
        let Entry::Prediction(row) = &of.entry else { panic!("a prediction") };
        let mut out = Vec::new();
        let count = write_events(&of, row, &Settings::default(), &mut out);
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text.lines().count(), count);
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    #[test]
    fn a_request_and_its_response_are_two_events_with_one_id() {
        let events = events(|_| {}, b"{\"x\":\n 1}");
        assert_eq!(events.len(), 2);
        assert_eq!(events[0]["type"], REQUEST_TYPE);
        assert_eq!(events[1]["type"], RESPONSE_TYPE);
        assert_eq!(events[0]["id"], events[1]["id"]);
        for (name, value) in [
            ("specversion", "1.0"),
            ("source", "/pointsman/edge%201"),
            ("time", "2023-11-14T22:13:20.000000Z"),
            ("inferenceservicename", "iris"),
            ("namespace", "default"),
            ("component", "predictor"),
            ("endpoint", "default"),
            ("datacontenttype", "application/json"),
            ("metadata", "{\"user-agent\":[\"test\"]}"),
            ("requestid", "request-1"),
        ] {
            assert_eq!(events[0][name], value, "{name}");
        }
        assert_eq!(events[0]["data"], serde_json::json!({"x": 1}));
        assert_eq!(events[1]["time"], "2023-11-14T22:13:20.001234Z");
        // Without a content type the body is a text.
        assert_eq!(events[1]["data"], "{}");
    }

    #[test]
    fn bodies_that_are_no_json_or_no_text_stay_as_they_are() {
        let cut = events(|row| row.request.omission = Some(Omission::Size), b"{\"x\": ");
        assert_eq!(cut[0]["data_base64"], base64(b"{\"x\": "));
        assert_eq!(cut[0]["omission"], "size");
        assert_eq!(events(|row| row.request.content_type = "", b"\xff")[0]["data_base64"], "/w==");
        let packed = events(|row| row.request.content_encoding = "gzip", b"{}");
        assert_eq!(packed[0]["data_base64"], base64(b"{}"));
        let gone = events(
            |row| {
                row.status = 0;
                row.request.body = Payload::Slice(b"");
            },
            b"",
        );
        assert_eq!(gone.len(), 1);
        assert!(gone[0].get("data").is_none() && gone[0].get("data_base64").is_none());
    }
}
