//! What a record costs: encoding, offering on the hot path, and writing.
//!
//! `offer` stops the clock while the writer catches up, so that it shows what a worker pays, not how
//! fast the disk is; `write` shows the writer with its disk.

#![expect(clippy::expect_used, reason = "a benchmark that cannot set up has nothing to measure")]

use std::alloc::System;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pointsman::domain::ids::{Entropy, Generation, RecordId};
use pointsman::domain::record::{
    DecisionRow, Flags, Kind, Latency, Outcome, Payload, PredictionRecord, Protocol, Side,
};
use pointsman::domain::spec::{Durability, LogSpec, Recording};
use pointsman::prediction_log::{Encoder, Offer, Recorder};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

/// Counts allocations, of the writer's thread as well.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Records between two stops of the clock.
const BATCH: u64 = 500;

fn record(body: &[u8]) -> PredictionRecord<'_> {
    let side = |body| Side {
        content_type: "application/json",
        headers: vec![("user-agent", "bench/1.0")],
        body: Payload::Slice(body),
        bytes: body.len() as u64,
        ..Side::EMPTY
    };
    PredictionRecord {
        record_id: RecordId::from_parts(1_700_000_000_123, [1; 10]),
        kind: Kind::Inference,
        request_id: "0190163d-8694-739b-aea5-966c26f8ad91",
        trace_id: Some([1; 16]),
        span_id: Some([2; 8]),
        parent_record_id: None,
        ts_us: 1_700_000_000_123_456,
        decision: DecisionRow {
            route: "",
            protocol: Protocol::OpenInferenceRest,
            model: "fraud",
            model_version: "v7",
            model_digest: None,
            backend: "http://127.0.0.1:9001",
            reason: "weight",
            generation: Generation(1),
            entropy: Entropy(1),
            attempt: 1,
        },
        method: "POST",
        path: "/v2/models/fraud/infer",
        client: "127.0.0.1",
        request: side(body),
        response: side(b"{\"outputs\":[{\"name\":\"y\",\"data\":[1]}]}"),
        status: 200,
        outcome: Outcome::Ok,
        error_code: "",
        error_detail: "",
        latency: Latency { t_total: 900, t_ttfb: Some(700), ..Latency::default() },
        sample_rate: 1.0,
        grpc_status: None,
        batch_size: None,
        durability: None,
        flags: Flags::default(),
        feedback_key: "",
        session: "",
    }
}

fn open(durability: Durability) -> (tempfile::TempDir, Recorder) {
    let dir = tempfile::tempdir().expect("a directory");
    let recording = Recording { durability, ..Recording::default() };
    let spec = LogSpec { recording, retain: 256 << 20, ..LogSpec::default() };
    let recorder = Recorder::open(dir.path(), "bench", 1, &spec).expect("a log");
    (dir, recorder)
}

fn drain(recorder: &Recorder) {
    while recorder.stats().queue_records > 0 {
        std::thread::yield_now();
    }
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for len in [300, 1400, 65_536] {
        let body = vec![b'x'; len];
        let record = record(&body);
        let mut encoder = Encoder::default();
        group.throughput(Throughput::Bytes(encoder.encode(&record) as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| encoder.encode(black_box(&record)));
        });
    }
    group.finish();
}

/// Ends the benchmark if records cost allocations once the buffers have grown: only a group may, which
/// is many records here.
fn offers_do_not_allocate() {
    const ROUNDS: u64 = 20;
    let (_dir, recorder) = open(Durability::Async);
    let body = vec![b'x'; 1400];
    let record = record(&body);
    let round = || {
        for _ in 0..BATCH {
            assert!(matches!(recorder.offer(0, &record), Offer::Queued(_)));
        }
        drain(&recorder);
    };
    (0..ROUNDS).for_each(|_| round());
    let region = Region::new(ALLOCATOR);
    (0..ROUNDS).for_each(|_| round());
    let allocations = region.change().allocations as u64;
    assert!(allocations * 10 < ROUNDS * BATCH, "{allocations} for {} records", ROUNDS * BATCH);
    recorder.close();
}

fn offer(c: &mut Criterion) {
    offers_do_not_allocate();
    let mut group = c.benchmark_group("offer");
    for len in [300, 1400] {
        let body = vec![b'x'; len];
        let record = record(&body);
        let (_dir, recorder) = open(Durability::Async);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter_custom(|offers| {
                let mut spent = Duration::ZERO;
                let mut left = offers;
                while left > 0 {
                    let batch = left.min(BATCH);
                    let started = Instant::now();
                    for _ in 0..batch {
                        let offer = recorder.offer(0, black_box(&record));
                        assert!(matches!(offer, Offer::Queued(_)));
                    }
                    spent += started.elapsed();
                    left -= batch;
                    drain(&recorder);
                }
                spent
            });
        });
        recorder.close();
    }
    group.finish();
}

fn write(c: &mut Criterion) {
    let mut group = c.benchmark_group("write");
    group.sample_size(10);
    for (durability, len) in
        [(Durability::Async, 300), (Durability::Async, 1400), (Durability::Sync, 1400)]
    {
        let body = vec![b'x'; len];
        let record = record(&body);
        let records = (32 << 20) / len as u64;
        let frame = Encoder::default().encode(&record) as u64;
        let (_dir, recorder) = open(durability);
        group.throughput(Throughput::Bytes(records * frame));
        group.bench_function(BenchmarkId::new(durability.as_str(), len), |b| {
            b.iter(|| {
                let mut left = records;
                while left > 0 {
                    // Room is left, so that nothing is dropped however fast this side is.
                    if recorder.stats().queue_bytes > 16 << 20 {
                        std::thread::yield_now();
                        continue;
                    }
                    for _ in 0..left.min(BATCH) {
                        assert!(matches!(recorder.offer(0, &record), Offer::Queued(_)));
                    }
                    left -= left.min(BATCH);
                }
                drain(&recorder);
            });
        });
        assert_eq!(recorder.close().dropped.total(), 0);
    }
    group.finish();
}

criterion_group!(benches, encode, offer, write);
criterion_main!(benches);
