//! Records for tests, and short ways to write and read them.

use std::path::Path;
use std::time::{Duration, Instant};

use super::super::*;
use crate::domain::ids::{Entropy, Generation, RecordId};
use crate::domain::record::{
    DecisionRow, Entry, Flags, GapReason, Kind, Latency, Outcome, Payload, PredictionRecord,
    Protocol, Side,
};
use crate::domain::spec::{Durability, LogSpec, Recording};

/// A record whose id and times tell `number`.
pub(in crate::prediction_log) fn record(number: u64, body: &[u8]) -> PredictionRecord<'_> {
    PredictionRecord {
        record_id: RecordId::from_parts(number, [7; 10]),
        kind: Kind::Inference,
        request_id: "request-1",
        trace_id: Some([3; 16]),
        span_id: None,
        parent_record_id: None,
        ts_us: number,
        decision: DecisionRow {
            route: "",
            protocol: Protocol::OpenInferenceRest,
            model: "iris",
            model_version: "v1",
            model_digest: Some([9; 32]),
            backend: "local",
            reason: "weight",
            generation: Generation(3),
            entropy: Entropy(u64::MAX),
            attempt: 1,
        },
        method: "POST",
        path: "/v2/models/iris/infer",
        client: "127.0.0.1",
        request: Side {
            content_type: "application/json",
            headers: vec![("user-agent", "test")],
            body: Payload::Slice(body),
            bytes: body.len() as u64,
            hash: [5; 16],
            ..Side::EMPTY
        },
        response: Side { body: Payload::Slice(b"{}"), bytes: 2, ..Side::EMPTY },
        status: 200,
        outcome: Outcome::Ok,
        error_code: "",
        error_detail: "",
        latency: Latency { t_total: 1234, t_infer: Some(99), ..Latency::default() },
        sample_rate: 1.0,
        grpc_status: Some(14),
        batch_size: Some(3),
        durability: None,
        flags: Flags::default(),
        feedback_key: "order-1",
        session: "",
    }
}

/// Settings for tests: small, and without pauses.
pub(in crate::prediction_log) fn spec(durability: Durability) -> LogSpec {
    LogSpec {
        recording: Recording { durability, ..Recording::default() },
        queue: 1024 * 1024,
        segment: 64 * 1024,
        flush: Duration::from_millis(1),
        ..LogSpec::default()
    }
}

/// Waits for a record without a runtime.
pub(in crate::prediction_log) fn wait(recorder: &Recorder, offer: Offer) -> Result<(), Lost> {
    let Offer::Queued(ticket) = offer else { panic!("not queued: {offer:?}") };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(recorder.written(ticket))
}

/// Polls `condition` until it holds.
pub(in crate::prediction_log) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::yield_now();
    }
}

/// `received = written + dropped + queued`.
pub(super) fn assert_balanced(stats: &LogStats) {
    assert_eq!(
        stats.received,
        stats.written + stats.dropped.total() + stats.queue_records,
        "{stats:?}"
    );
}

/// Reason, numbers and count of a gap row.
pub(super) type GapRow = (GapReason, Option<(u64, u64)>, u64);

/// What a log holds: numbers and `ts_us` of the records, and the gaps.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) records: Vec<(u64, u64)>,
    pub(super) gaps: Vec<Gap>,
    /// The rows that say what is missing.
    pub(super) gap_rows: Vec<GapRow>,
}

pub(super) fn read(dir: &Path) -> Contents {
    read_from(&mut LogReader::open(dir).expect("a log"))
}

pub(super) fn read_from(reader: &mut LogReader) -> Contents {
    let mut contents = Contents::default();
    while let Some(item) = reader.next_item().expect("readable") {
        match item {
            Item::Row(Row { lsn, entry: Entry::Prediction(record), .. }) => {
                contents.records.push((lsn, record.ts_us));
            }
            Item::Row(Row { entry: Entry::Gap(gap), .. }) => {
                contents.gap_rows.push((gap.reason, gap.lsns, gap.records));
            }
            Item::Row(row) => panic!("no prediction: {row:?}"),
            Item::Gap(gap) => contents.gaps.push(gap),
        }
    }
    contents
}

/// Copies the segments, as a killed process would leave them.
pub(in crate::prediction_log) fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("listed") {
        let entry = entry.expect("an entry");
        if entry.file_name() != "LOCK" {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}

/// The only segment of a log.
pub(in crate::prediction_log) fn only_segment(dir: &Path) -> std::path::PathBuf {
    let names = std::fs::read_dir(dir).expect("listed");
    let mut paths: Vec<_> = names
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    assert_eq!(paths.len(), 1, "{paths:?}");
    paths.remove(0)
}
