//! What a worker pays for the monitor: taking the values out of decoded tensors, keeping them to the end of
//! the exchange, and counting them, with the traffic of the exchange itself.

#![expect(clippy::expect_used, reason = "a benchmark that cannot set up has nothing to measure")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pointsman::domain::ids::{ModelName, VersionName};
use pointsman::domain::record::{Latency, Outcome};
use pointsman::domain::routing::TargetKind;
use pointsman::domain::spec::Intent;
use pointsman::domain::stats::layout::Role;
use pointsman::domain::stats::window::Minute;
use pointsman::monitor::{About, Monitor, Observation, Places, Values};
use pointsman::protocol::tensor::{Datatype, Tensor, TensorData, TensorSpec};

const FEATURES: usize = 20;

/// A baseline of twenty numeric features with sixty bins each.
fn baseline() -> String {
    let edges: Vec<f64> = (1..60).map(|at| f64::from(at) / 10.0 - 3.0).collect();
    let mass = vec![1.0 / 60.0; 60];
    let features: Vec<_> = (0..FEATURES)
        .map(|at| {
            serde_json::json!({
                "name": format!("x[{at}]"), "kind": "numeric", "edges": edges, "mass": mass,
            })
        })
        .collect();
    serde_json::json!({
        "format": 1, "model": "m", "version": "v1", "n": 1000, "features": features,
    })
    .to_string()
}

fn intent(dir: &std::path::Path) -> Intent {
    let file = dir.join("pointsman.toml");
    let text =
        "listen = \"127.0.0.1:0\"\n[models.m.versions.v1]\nbackends = [\"http://127.0.0.1:9\"]\n";
    std::fs::write(&file, text).expect("a file");
    pointsman::config::load(&file, pointsman::config::Checks::Offline).expect("sound").intent
}

fn counting(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let kept = dir.path().join("state/monitor/baselines");
    std::fs::create_dir_all(&kept).expect("a directory");
    std::fs::write(kept.join("m@v1.json"), baseline()).expect("a file");
    let monitor = Monitor::new(&intent(dir.path()), 1);
    let kind = TargetKind::Version(ModelName::new("m"), VersionName::new("v1"));
    let version = monitor.version(&kind).expect("monitored");
    let shape = [-1, FEATURES as i64];
    let spec = TensorSpec {
        name: "x".to_owned(),
        datatype: Datatype::Fp32,
        shape: shape.into_iter().collect(),
        places: Vec::new(),
        ordered: true,
    };
    let specs = vec![spec];
    version.describe(About { inputs: specs.clone(), is_local: true, ..About::default() });
    let places = Places { data_dir: dir.path().to_owned(), log: None };
    monitor.start(places, Vec::new()).expect("a thread");
    monitor.begin();

    let mut random = fastrand::Rng::with_seed(7);
    let mut group = criterion.benchmark_group("monitor");
    for rows in [1, 16, 256] {
        // A normal distribution, nearly: no branch is predictable.
        let normal = |_| (0..6).map(|_| random.f32()).sum::<f32>() - 3.0;
        let numbers: Vec<f32> = (0..rows * FEATURES).map(normal).collect();
        let tensor = Tensor::new("x", [rows, FEATURES].as_slice(), TensorData::Fp32(numbers));
        let tensors = [tensor.expect("sound")];
        let latency = Latency { t_total: 180, t_infer: Some(20), ..Latency::default() };
        // A minute that is never over, so that nothing is gathered in between.
        let minute = Minute(u32::MAX - 1);
        group.throughput(Throughput::Elements((rows * FEATURES) as u64));
        group.bench_function(BenchmarkId::new("read_and_count", rows), |bencher| {
            bencher.iter(|| {
                let mut values = Values::default();
                values.read(Role::Input, black_box(&tensors), |name| {
                    specs.iter().position(|spec| spec.name == name)
                });
                let observation = Observation {
                    minute,
                    outcome: Outcome::Ok,
                    status: 200,
                    rows: None,
                    input: Some(7),
                    latency: &latency,
                };
                version.record(0, &observation, Some(values));
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).sample_size(30);
    targets = counting
}
criterion_main!(benches);
