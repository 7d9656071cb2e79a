//! How fast segments become Parquet. Not a test of anything; run it optimised:
//! `cargo test --config profile.dev.opt-level=3 --lib parquet::tests::speed -- --ignored --nocapture`.

use std::time::Duration;

use super::super::budget::thread_cpu;
use super::*;
use crate::domain::record::{Payload, Side};
use crate::domain::spec::LogSpec;

/// A body like those of tabular models: numbers that differ from row to row.
fn body(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = String::from("{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"data\":[");
    while text.len() < len {
        text.push_str(&format!("{:.4},", random.f32()));
    }
    text.push_str("0]}]}");
    text.into_bytes()
}

#[test]
#[ignore = "a measurement"]
fn speed_of_conversion() {
    for len in [200, 1024, 16 * 1024] {
        let fixture = Fixture::new();
        let spec = LogSpec { segment: 64 << 20, queue: 256 << 20, ..spec(Durability::Async) };
        let recorder = Recorder::open(&fixture.log(), "n1", 1, &spec).expect("open");
        let bodies: Vec<_> = (0..1000).map(|seed| body(seed, len)).collect();
        for number in 0..((60 << 20) / (len as u64 + 600)) {
            let bytes = &bodies[number as usize % bodies.len()];
            let record = sample::record(1_700_000_000_000_000 + number, bytes);
            let response = Side { body: Payload::Slice(&bytes[..150]), bytes: 150, ..Side::EMPTY };
            let id = RecordId::from_parts(
                number,
                fastrand::u128(..).to_le_bytes()[..10].try_into().expect("10"),
            );
            let record = PredictionRecord { record_id: id, response, ..record };
            assert!(matches!(recorder.offer(0, &record), Offer::Queued(_)));
        }
        recorder.close();
        let disk = fixture.disk();
        let (mut cpu, mut from) = (Duration::ZERO, 0);
        let (mut converted, mut rows) = (0, 0);
        for closed in fixture.backlog(0) {
            let started = thread_cpu();
            let made = fixture.convert(&disk, closed).expect("converted");
            cpu += thread_cpu() - started;
            from += closed.bytes;
            converted += made.bytes;
            rows += made.rows;
        }
        let mib = |bytes: u64| bytes as f64 / 1048576.0;
        eprintln!(
            "body {len}: {rows} rows, {:.0} MiB of segments to {:.1} MiB in {:.2} s of CPU: {:.0} MiB/s, {:.0} rows/s",
            mib(from),
            mib(converted),
            cpu.as_secs_f64(),
            mib(from) / cpu.as_secs_f64(),
            rows as f64 / cpu.as_secs_f64(),
        );
    }
}
