//! What it costs to count a value, and to judge a window.

#![expect(clippy::expect_used, reason = "a benchmark may end where its own set-up is wrong")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pointsman::domain::stats::baseline::{Baseline, BaselineFile};
use pointsman::domain::stats::build::{Column, Numbers, Options};
use pointsman::domain::stats::counts::Counts;
use pointsman::domain::stats::drift::{Drift, Policy};
use pointsman::domain::stats::layout::{Categories, Feature, FeatureKind, Layout, Role, Value};

/// Rows of the benchmarks: enough that no branch predictor learns them.
const ROWS: usize = 4096;

/// About normal numbers, always the same.
fn normals(count: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..count).map(|_| (0..12).map(|_| random.f32()).sum::<f32>() - 6.0).collect()
}

/// A baseline of `features` normal features, of 60 bins each.
fn baseline(features: usize) -> Arc<Baseline> {
    let mut file: BaselineFile =
        serde_json::from_str(r#"{"format": 1, "model": "m", "version": "v", "n": 10000}"#)
            .expect("the form of a baseline");
    for feature in 0..features {
        let mut column = Numbers::default();
        normals(10_000).iter().for_each(|&x| column.push(Some(f64::from(x))));
        file.features
            .push(Column::Numbers(column).build(&format!("x{feature}"), Options::default()));
    }
    Arc::new(Baseline::try_from(file).expect("a built baseline is sound"))
}

fn recording(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    for features in [1, 20, 100] {
        let mut counts = Counts::new(Arc::clone(baseline(features).layout()));
        let values = normals(ROWS * features);
        group.throughput(Throughput::Elements(values.len() as u64));
        group.bench_function(format!("rows of {features} floats, 60 bins and sums"), |bencher| {
            bencher.iter(|| {
                for row in black_box(&values).chunks_exact(features) {
                    counts.record_row(0, row);
                }
            });
        });
    }
    let mut counts = Counts::new(Arc::clone(baseline(1).layout()));
    let values = normals(ROWS);
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("values of a body, 60 bins and sums", |bencher| {
        bencher.iter(|| {
            for &number in black_box(&values) {
                counts.record(0, Value::Number(f64::from(number)));
            }
        });
    });
    let names: Vec<String> = (0..100).map(|i| format!("category-{i}")).collect();
    let categories = Categories::new(&names).expect("different names");
    let feature = Feature::new("x", Role::Input, FeatureKind::Categorical(categories));
    let layout = Arc::new(Layout::new(vec![feature]).expect("one feature"));
    let mut counts = Counts::new(layout);
    let mut random = fastrand::Rng::with_seed(1);
    let texts: Vec<&str> = (0..ROWS).map(|_| names[random.usize(..100)].as_str()).collect();
    group.bench_function("texts, 100 categories", |bencher| {
        bencher.iter(|| {
            for text in black_box(&texts) {
                counts.record(0, Value::Text(text));
            }
        });
    });
    group.finish();
}

fn judging(criterion: &mut Criterion) {
    let baseline = baseline(20);
    let mut counts = Counts::new(Arc::clone(baseline.layout()));
    for row in normals(20 * 1000).chunks_exact(20) {
        counts.record_row(0, row);
    }
    let mut group = criterion.benchmark_group("window of 20 features");
    group.bench_function("merge", |bencher| {
        bencher.iter_batched_ref(
            || Counts::new(Arc::clone(baseline.layout())),
            |sum| sum.merge(black_box(&counts)),
            BatchSize::SmallInput,
        );
    });
    let mut drift = Drift::new(Arc::clone(&baseline), Policy::default());
    group.bench_function("judge", |bencher| bencher.iter(|| drift.observe(black_box(&counts))));
    group.finish();
}

criterion_group!(benches, recording, judging);
criterion_main!(benches);
