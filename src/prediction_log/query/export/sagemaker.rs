//! Rows as SageMaker's data capture writes them.
//!
//! Owns the names in that format: one JSON object a line with `captureData`, `eventMetadata` and
//! `eventVersion`, in files below `ENDPOINT/VARIANT/YYYY/MM/DD/HH/`, as the developer guide of Amazon
//! SageMaker describes under "Data capture". The model is the endpoint, the version the variant. Never
//! changes a body: what is no text is base64.

use std::io;
use std::path::PathBuf;

use serde::Serialize;

use crate::domain::ids::is_valid_name;
use crate::domain::record::{PredictionRecord, Side};
use crate::prediction_log::parquet::Hour;
use crate::prediction_log::query::json::body;
use crate::prediction_log::query::text::base64;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    capture_data: CaptureData<'a>,
    event_metadata: EventMetadata<'a>,
    event_version: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CaptureData<'a> {
    endpoint_input: Data<'a>,
    endpoint_output: Data<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    observed_content_type: &'a str,
    mode: &'static str,
    data: String,
    encoding: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EventMetadata<'a> {
    event_id: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    inference_id: &'a str,
    inference_time: String,
}

/// Appends the line of an exchange.
pub(super) fn write(record: &PredictionRecord<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    let seconds = i64::try_from(record.ts_us / 1_000_000).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    let line = Line {
        capture_data: CaptureData {
            endpoint_input: Data::new(&record.request, "INPUT"),
            endpoint_output: Data::new(&record.response, "OUTPUT"),
        },
        event_metadata: EventMetadata {
            event_id: record.record_id.to_string(),
            inference_id: record.request_id,
            inference_time: time.to_string(),
        },
        event_version: "0",
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.push(b'\n');
    Ok(())
}

impl<'a> Data<'a> {
    fn new(side: &'a Side<'_>, mode: &'static str) -> Self {
        let media_type = side.content_type.split(';').next().unwrap_or_default().trim();
        let encoding = match media_type.to_ascii_lowercase().as_str() {
            json if json.ends_with("/json") || json.ends_with("+json") => "JSON",
            "text/csv" => "CSV",
            _ => "BASE64",
        };
        let (data, encoding) = match body(&side.body) {
            (text, "utf8") if encoding != "BASE64" && side.content_encoding.is_empty() => {
                (text, encoding)
            }
            (text, "utf8") => (base64(text.as_bytes()), "BASE64"),
            (packed, _) => (packed, "BASE64"),
        };
        Self { observed_content_type: side.content_type, mode, data, encoding }
    }
}

/// Where the line of an exchange belongs.
pub(super) fn folder(record: &PredictionRecord<'_>) -> PathBuf {
    let name = |name: &'_ str| {
        if is_valid_name(name) { name.to_owned() } else { "none".to_owned() }
    };
    let model = match record.decision.model {
        "" => record.decision.route,
        model => model,
    };
    let folder = PathBuf::from(name(model)).join(name(record.decision.model_version));
    folder.join(Hour::of(record.ts_us).path())
}
