//! What the commands print.

use std::io::{self, Write};
use std::path::Path;

use serde_json::Value;

use super::super::args::{FormArgs, Format, RowFormat, TailArgs};
use super::*;
use crate::domain::ids::{Entropy, Generation, RecordId};
use crate::domain::record::{
    DecisionRow, Flags, Kind, Latency, Outcome, Payload, PredictionRecord, Protocol, Side,
};
use crate::domain::spec::{Durability, LogSpec, Recording};
use crate::prediction_log::Recorder;

fn record<'a>(model: &'a str, body: &'a [u8]) -> PredictionRecord<'a> {
    PredictionRecord {
        record_id: RecordId::from_parts(1_700_000_000_123, [1; 10]),
        kind: Kind::Inference,
        request_id: "r1",
        trace_id: Some([0xab; 16]),
        span_id: None,
        parent_record_id: None,
        ts_us: 1_700_000_000_123_456,
        decision: DecisionRow {
            route: "",
            protocol: Protocol::OpenInferenceRest,
            model,
            model_version: "v1",
            model_digest: None,
            backend: "local",
            reason: "weight",
            generation: Generation(2),
            entropy: Entropy(u64::MAX),
            attempt: 1,
        },
        method: "POST",
        path: "/v2/models/iris/infer",
        client: "127.0.0.1",
        request: Side {
            content_type: "application/json",
            headers: vec![("accept", "a"), ("x", "1"), ("accept", "b")],
            body: Payload::Slice(body),
            bytes: body.len() as u64,
            ..Side::EMPTY
        },
        response: Side { omission: Some(crate::domain::record::Omission::Policy), ..Side::EMPTY },
        status: 200,
        outcome: Outcome::Ok,
        error_code: "",
        error_detail: "",
        latency: Latency { t_total: 1500, t_infer: Some(20), ..Latency::default() },
        sample_rate: 0.1,
        grpc_status: None,
        batch_size: None,
        durability: Some(Durability::Os),
        flags: Flags::default(),
        feedback_key: "order-1",
        session: "",
    }
}

fn log(records: &[PredictionRecord<'_>]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let spec = LogSpec {
        recording: Recording { durability: Durability::Os, ..Recording::default() },
        ..LogSpec::default()
    };
    let recorder = Recorder::open(&dir.path().join("log"), "edge-1", 1, &spec).expect("open");
    for record in records {
        recorder.offer(0, record);
    }
    recorder.close();
    dir
}

fn tail(
    dir: &Path,
    count: u64,
    follow: bool,
    format: RowFormat,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let form = FormArgs { format, columns: Vec::new() };
    let args = TailArgs { follow, lines: count, form, filter: FilterArgs::default() };
    tail::tail(dir, &args, &Filter::default(), out)
}

fn tailed(dir: &Path, count: u64, format: RowFormat) -> String {
    let mut out = Vec::new();
    tail(dir, count, false, format, &mut out).expect("printed");
    String::from_utf8(out).expect("text")
}

#[test]
fn json_rows_have_the_names_of_the_schema() {
    let dir = log(&[record("iris", b"{\"x\": 1}"), record("iris", b"\xff\xfe")]);
    let text = tailed(dir.path(), 2, RowFormat::Json);
    let rows: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let row = &rows[0];
    assert_eq!(row["record_id"], record("", b"").record_id.to_string());
    for (name, value) in [
        ("kind", "inference"),
        ("replica_id", "edge-1"),
        ("ts", "2023-11-14T22:13:20.123456Z"),
        ("trace_id", "abababababababababababababababab"),
        ("entropy", "18446744073709551615"),
        ("outcome", "ok"),
        ("req_body", "{\"x\": 1}"),
        ("req_body_encoding", "utf8"),
        ("resp_omission", "policy"),
    ] {
        assert_eq!(row[name], value, "{name}");
    }
    assert_eq!(row["req_headers"], serde_json::json!({"accept": "a, b", "x": "1"}));
    assert_eq!((&row["lsn"], &row["weight_epoch"]), (&1.into(), &2.into()));
    assert_eq!((&row["t_infer"], &row["t_queue"]), (&20.into(), &Value::Null));
    assert_eq!(row["span_id"], Value::Null);
    assert_eq!(row["error_code"], Value::Null);
    assert!(text.contains("\"sample_rate\":0.1,"), "{text}");
    assert_eq!(rows[1]["req_body"], "//4=");
    assert_eq!(rows[1]["req_body_encoding"], "base64");
}

#[test]
fn human_rows_are_one_safe_line_each() {
    let dir = log(&[record("iris", b"1234"), record("\x1b[2J\n", b"")]);
    let text = tailed(dir.path(), 10, RowFormat::Human);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("2023-11-14T22:13:20.123456Z  iris/v1"), "{text}");
    assert!(lines[0].contains(" 200 ok") && lines[0].contains("1.500 ms"), "{text}");
    assert!(!text.contains('\x1b'));
    assert_eq!(tailed(dir.path(), 1, RowFormat::Human).lines().count(), 1);
}

#[test]
fn totals_are_printed_in_both_formats() {
    let dir = log(&[record("iris", b""), record("iris", b"")]);
    let mut out = Vec::new();
    stats::stats(dir.path(), false, Format::Json, &mut out).expect("printed");
    let row: Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!((&row["records"], &row["last_lsn"]), (&2.into(), &2.into()));
    assert_eq!((&row["segments"], &row["segments_sealed"]), (&1.into(), &1.into()));
    out.clear();
    stats::stats(dir.path(), false, Format::Human, &mut out).expect("printed");
    assert!(String::from_utf8(out).expect("text").starts_with("records     2\n"));
}

/// An output that is closed after a first write.
struct Closing(bool);

impl Write for Closing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match std::mem::replace(&mut self.0, true) {
            false => Ok(bytes.len()),
            true => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_output_ends_even_a_followed_log() {
    let dir = log(&[record("iris", b""), record("iris", b"")]);
    let error =
        tail(dir.path(), 2, true, RowFormat::Json, &mut Closing(false)).expect_err("closed");
    assert!(
        matches!(error, CommandError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    );
    let missing = dir.path().join("missing");
    let error = tail(&missing, 1, false, RowFormat::Json, &mut Vec::new()).expect_err("missing");
    assert!(matches!(error, CommandError::Log(_)));
}
