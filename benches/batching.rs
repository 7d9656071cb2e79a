//! What running requests together brings: requests/s of a model of about a millisecond, asked by
//! several callers at once, one by one and in batches. The rate is what the executor reaches; the wire
//! is not in it.

#![expect(clippy::expect_used, reason = "a benchmark stops at the first surprise")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pointsman::domain::spec::BatchSpec;
use pointsman::inference::{Executor, Lane, LaneLimits, LoadLimits, LocalModel};
use pointsman::protocol::tensor::{Tensor, TensorData};

#[path = "../tests/it/support/onnx.rs"]
#[expect(dead_code, reason = "each user of this file needs a part of it")]
mod onnx;

const WIDTH: usize = 512;
const CALLERS: u64 = 32;

fn model(dir: &Path) -> Arc<LocalModel> {
    let path = dir.join("model.onnx");
    std::fs::write(&path, onnx::layers(WIDTH, 12)).expect("written");
    let model = LocalModel::load(&path, &LoadLimits::default()).expect("loads");
    model.check_batching(&path).expect("batches");
    Arc::new(model)
}

fn inputs() -> Vec<Tensor> {
    let data = TensorData::Fp32(vec![0.5; WIDTH]);
    vec![Tensor::new("h0", [1, WIDTH].as_slice(), data).expect("agrees")]
}

/// The time of `count` requests of [`CALLERS`] callers, each of which waits for its answers.
fn ask(executor: &Executor, lane: &Lane, model: &Arc<LocalModel>, count: u64) -> Duration {
    let left = AtomicU64::new(count);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                let take = |left: u64| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                    let deadline = Instant::now() + Duration::from_secs(60);
                    let prepared = model.prepare(inputs(), &[]).expect("fits");
                    let rows = if lane.batches() {
                        let finish =
                            |ran: Result<pointsman::inference::Ran, _>| ran.map(|ran| ran.outputs);
                        let pending = executor.submit_rows(lane, deadline, prepared, finish);
                        runtime.block_on(pending.expect("room")).expect("runs").value
                    } else {
                        let model = Arc::clone(model);
                        let pending = executor.submit(lane, deadline, move || model.run(&prepared));
                        runtime.block_on(pending.expect("room")).expect("runs").value
                    };
                    black_box(rows.expect("answers"));
                }
            });
        }
    });
    began.elapsed()
}

fn batching(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let model = model(dir.path());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let executor = Executor::new(threads).expect("threads");
    let limits = LaneLimits { queue: 1000, concurrency: usize::MAX };
    let mut group = criterion.benchmark_group("batching");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    let specs = [None, Some((8, 0)), Some((32, 0)), Some((32, 1))];
    for spec in specs {
        let (name, lane) = match spec {
            None => ("one by one".to_owned(), Lane::new(limits)),
            Some((max_size, delay_ms)) => {
                let spec = BatchSpec { max_size, max_delay: Duration::from_millis(delay_ms) };
                let lane = Lane::batching(limits, Arc::clone(&model), spec);
                (format!("up to {max_size}, {delay_ms} ms"), lane)
            }
        };
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_custom(|count| ask(&executor, &lane, &model, count));
        });
    }
    group.finish();
}

criterion_group!(benches, batching);
criterion_main!(benches);
