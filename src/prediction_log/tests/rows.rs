//! Whatever is written is read back the same.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::arena::SPLICE_BYTES_MIN;
use super::super::row::{self, Bodies, RowError};
use super::super::*;
use super::sample::{self, spec};
use crate::domain::ids::{Entropy, Generation, RecordId};
use crate::domain::record::{
    DecisionRow, Entry, Flags, Kind, Latency, Omission, Outcome, Payload, PredictionRecord,
    Protocol, Side,
};
use crate::domain::spec::Durability;

/// Record, trace, span and parent id, and the model's digest.
type Ids = ([u8; 16], Option<[u8; 16]>, Option<[u8; 8]>, Option<[u8; 16]>, Option<[u8; 32]>);

/// The parts of a record, owned.
#[derive(Debug, Clone)]
pub(in crate::prediction_log) struct Parts {
    ids: Ids,
    words: (Kind, Protocol, Outcome),
    numbers: (u64, u64, u64, u16, u8, f32, u32),
    times: [Option<u32>; 5],
    late: (Option<u32>, Option<Durability>, bool, bool),
    texts: Vec<String>,
    sides: [SideParts; 2],
}

#[derive(Debug, Clone)]
struct SideParts {
    texts: (String, String),
    headers: Vec<(String, String)>,
    chunks: Vec<Bytes>,
    whole: bool,
    bytes: u64,
    hash: [u8; 16],
    omission: Option<Omission>,
    counts: (u16, u32),
}

fn side() -> impl Strategy<Value = SideParts> {
    let chunk = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (SPLICE_BYTES_MIN - 1..SPLICE_BYTES_MIN + 9).prop_map(|len| vec![0x50; len]),
    ];
    (
        (".{0,20}", ".{0,20}"),
        prop::collection::vec((".{0,12}", ".{0,12}"), 0..4),
        prop::collection::vec(chunk.prop_map(Bytes::from), 0..4),
        any::<bool>(),
        any::<u64>(),
        any::<[u8; 16]>(),
        prop::option::of(prop::sample::select(Omission::ALL)),
        any::<(u16, u32)>(),
    )
        .prop_map(|(texts, headers, chunks, whole, bytes, hash, omission, counts)| SideParts {
            texts,
            headers,
            chunks,
            whole,
            bytes,
            hash,
            omission,
            counts,
        })
}

pub(in crate::prediction_log) fn parts() -> impl Strategy<Value = Parts> {
    let rate = (0.0f32..=1.0).boxed();
    (
        any::<Ids>(),
        (
            prop::sample::select(Kind::ALL),
            prop::sample::select(Protocol::ALL),
            prop::sample::select(Outcome::ALL),
        ),
        (any::<u64>(), any::<u64>(), any::<u64>(), any::<u16>(), any::<u8>(), rate, any::<u32>()),
        any::<[Option<u32>; 5]>(),
        (
            any::<Option<u32>>(),
            // A record under `off` is never offered.
            prop::option::of(prop::sample::select(&Durability::ALL[1..])),
            any::<bool>(),
            any::<bool>(),
        ),
        prop::collection::vec(".{0,30}", 13),
        [side(), side()],
    )
        .prop_map(|(ids, words, numbers, times, late, texts, sides)| Parts {
            ids,
            words,
            numbers,
            times,
            late,
            texts,
            sides,
        })
}

/// The record of `parts`; `wholes` holds bodies that are to be given in one piece.
pub(in crate::prediction_log) fn record<'a>(
    parts: &'a Parts,
    wholes: &'a [Vec<u8>; 2],
) -> PredictionRecord<'a> {
    let side = |index: usize| {
        let side = &parts.sides[index];
        Side {
            content_type: &side.texts.0,
            content_encoding: &side.texts.1,
            headers: side.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect(),
            body: match side.whole {
                true => Payload::Slice(&wholes[index]),
                false => Payload::Chunks(&side.chunks),
            },
            bytes: side.bytes,
            hash: side.hash,
            omission: side.omission,
            redacted: side.counts.0,
            chunks: side.counts.1,
        }
    };
    let (record_id, trace_id, span_id, parent, digest) = parts.ids;
    let (ts_us, generation, entropy, status, attempt, sample_rate, t_total) = parts.numbers;
    let [t_queue, t_route, t_upstream_connect, t_ttfb, t_infer] = parts.times;
    let text = |index: usize| parts.texts[index].as_str();
    PredictionRecord {
        record_id: RecordId::from_bytes(record_id),
        kind: parts.words.0,
        request_id: text(0),
        trace_id,
        span_id,
        parent_record_id: parent.map(RecordId::from_bytes),
        ts_us,
        decision: DecisionRow {
            route: text(1),
            protocol: parts.words.1,
            model: text(2),
            model_version: text(3),
            model_digest: digest,
            backend: text(4),
            reason: text(5),
            generation: Generation(generation),
            entropy: Entropy(entropy),
            attempt,
        },
        method: text(6),
        path: text(7),
        client: text(8),
        request: side(0),
        response: side(1),
        status,
        grpc_status: None,
        outcome: parts.words.2,
        error_code: text(9),
        error_detail: text(10),
        latency: Latency { t_total, t_queue, t_route, t_upstream_connect, t_ttfb, t_infer },
        sample_rate,
        batch_size: parts.late.0,
        durability: parts.late.1,
        flags: Flags { replayed: parts.late.2, clock_stepped: parts.late.3 },
        feedback_key: text(11),
        session: text(12),
    }
}

pub(in crate::prediction_log) fn wholes(parts: &Parts) -> [Vec<u8>; 2] {
    [0, 1].map(|index: usize| parts.sides[index].chunks.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn records_are_read_as_they_were_written(all in prop::collection::vec(parts(), 1..12)) {
        let dir = tempfile::tempdir().expect("a directory");
        let bodies: Vec<_> = all.iter().map(wholes).collect();
        let records: Vec<_> = all.iter().zip(&bodies).map(|(p, w)| record(p, w)).collect();
        let recorder = Recorder::open(dir.path(), "n1", 1, &spec(Durability::Async)).expect("open");
        for record in &records {
            prop_assert!(matches!(recorder.offer(0, record), Offer::Queued(_)));
        }
        let stats = recorder.close();
        prop_assert_eq!(stats.written, records.len() as u64);
        let mut reader = LogReader::open(dir.path()).expect("a log");
        for (record, lsn) in records.iter().zip(1..) {
            let item = reader.next_item().expect("readable");
            let entry = Entry::Prediction(record.clone());
            let row = Row { lsn, node: "n1", schema_version: 1, entry };
            prop_assert_eq!(item, Some(Item::Row(row)));
        }
        prop_assert_eq!(reader.next_item().expect("readable"), None);
    }
}

fn payload(record: &PredictionRecord<'_>) -> Vec<u8> {
    let len = row::encoded_len(record, Bodies::Keep);
    row::tests::payload(len, |arena| row::encode(record, Bodies::Keep, arena))
}

#[test]
fn later_versions_may_add_to_both_ends_of_a_row() {
    let record = sample::record(1, b"body");
    let mut bytes = payload(&record);
    // 8 more bytes in the fixed block, and one more variable field at the end.
    bytes.splice(232..232, [0xee; 8]);
    bytes[0..2].copy_from_slice(&2u16.to_le_bytes());
    bytes[2..4].copy_from_slice(&240u16.to_le_bytes());
    bytes[156..160].copy_from_slice(&22u32.to_le_bytes());
    bytes.extend([3, 0, 0, 0, b'n', b'e', b'w']);
    assert_eq!(row::decode(&bytes), Ok((2, record)));
}

#[test]
fn rows_of_the_first_release_are_read() {
    let record = PredictionRecord {
        grpc_status: None,
        batch_size: None,
        durability: None,
        flags: Flags::default(),
        feedback_key: "",
        session: "",
        ..sample::record(1, b"body")
    };
    let mut bytes = payload(&record);
    // A fixed block of 208 bytes, and neither of the two last fields.
    bytes.truncate(bytes.len() - 8);
    bytes.drain(208..232);
    bytes[2..4].copy_from_slice(&208u16.to_le_bytes());
    bytes[156..160].copy_from_slice(&19u32.to_le_bytes());
    assert_eq!(row::decode(&bytes), Ok((1, record)));
}

#[test]
fn short_and_foreign_payloads_are_errors_not_rows() {
    let record = sample::record(1, b"body");
    let bytes = payload(&record);
    for len in 0..bytes.len() {
        assert_eq!(row::decode(&bytes[..len]), Err(RowError::Short), "{len} bytes");
    }
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        row::decode(&bytes).map(|_| ())
    };
    assert_eq!(with(4, 200), Err(RowError::Code("kind")));
    assert_eq!(with(5, 200), Err(RowError::Code("protocol")));
    assert_eq!(with(6, 200), Err(RowError::Code("outcome")));
    assert_eq!(with(38, 200), Err(RowError::Code("omission")));
    assert_eq!(with(236, 0xff), Err(RowError::Text));
}

#[test]
fn long_error_details_are_cut_between_characters() {
    let detail = "é".repeat(600);
    let record = PredictionRecord { error_detail: &detail, ..sample::record(1, b"") };
    let bytes = payload(&record);
    let (_, read) = row::decode(&bytes).expect("a row");
    assert_eq!(read.error_detail, "é".repeat(512));
}
