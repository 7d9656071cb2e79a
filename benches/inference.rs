//! Times models in this process, one task at a time; the other half of `benches/compare --only inference`.
//!
//! Reads tasks from standard input, a JSON object a line, and answers each with one line. Both sides of
//! the comparison can so take turns on the same rows:
//!
//! ```text
//! {"model": PATH, "input": NAME, "shape": [1, 20], "rows": FILE, "ms": 50}   -> {"ns": 2345.6}
//! {"model": PATH, "input": NAME, "shape": [1, 20], "rows": FILE, "ms": 0}    -> {"outputs": [[...], ...]}
//! ```
//!
//! `FILE` holds 32-bit numbers; runs take the next `shape` of them in turn. What is timed is
//! `LocalModel::infer`, as a request calls it: the checks, both conversions and the run, not the making
//! of the tensors.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark talks, and may end early"
)]

use std::collections::HashMap;
use std::hint::black_box;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pointsman::inference::{LoadLimits, LocalModel};
use pointsman::protocol::tensor::{Tensor, TensorData};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Task {
    model: PathBuf,
    input: String,
    shape: Vec<usize>,
    rows: PathBuf,
    time: Duration,
}

impl Task {
    fn parse(line: &str) -> Self {
        let task: Value = serde_json::from_str(line).expect("a task in JSON");
        let text = |name: &str| task[name].as_str().expect("a text").to_owned();
        let shape = task["shape"].as_array().expect("a shape").iter();
        Self {
            model: text("model").into(),
            input: text("input"),
            shape: shape.map(|size| size.as_u64().expect("a size") as usize).collect(),
            rows: text("rows").into(),
            time: Duration::from_millis(task["ms"].as_u64().expect("milliseconds")),
        }
    }

    /// As many inputs as the rows are enough for, 64 at most.
    fn inputs(&self, numbers: &[f32]) -> Vec<Tensor> {
        let length = self.shape.iter().product::<usize>().max(1);
        let tensor = |numbers: &[f32]| {
            let data = TensorData::Fp32(numbers.to_vec());
            Tensor::new(self.input.clone(), &*self.shape, data).expect("agrees")
        };
        numbers.chunks_exact(length).take(64).map(tensor).collect()
    }
}

/// The nanoseconds that a run takes.
fn time(task: &Task, model: &LocalModel, numbers: &[f32]) -> f64 {
    let (mut runs, mut spent) = (0_u32, Duration::ZERO);
    while spent < task.time {
        let inputs = task.inputs(numbers);
        let start = Instant::now();
        for input in inputs {
            black_box(model.infer(vec![input], &[]).expect("answers"));
            runs += 1;
        }
        spent += start.elapsed();
    }
    spent.as_nanos() as f64 / f64::from(runs)
}

/// What the model answers to the first input.
fn outputs(task: &Task, model: &LocalModel, numbers: &[f32]) -> Vec<Value> {
    let input = task.inputs(numbers).into_iter().next().expect("enough rows");
    let outputs = model.infer(vec![input], &[]).expect("answers");
    let list = |output: &Tensor| match output.data() {
        TensorData::Fp32(values) => json!(values),
        TensorData::Int64(values) => json!(values),
        other => json!(format!("{other:?}")),
    };
    outputs.iter().map(list).collect()
}

fn numbers(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("readable rows");
    let (numbers, _rest) = bytes.as_chunks::<4>();
    numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn main() {
    let mut models: HashMap<PathBuf, LocalModel> = HashMap::new();
    let mut rows: HashMap<PathBuf, Vec<f32>> = HashMap::new();
    for line in std::io::stdin().lines() {
        let task = Task::parse(&line.expect("readable"));
        let model = models.entry(task.model.clone()).or_insert_with(|| {
            LocalModel::load(&task.model, &LoadLimits::default()).expect("a model that loads")
        });
        let numbers = rows.entry(task.rows.clone()).or_insert_with(|| numbers(&task.rows));
        let answer = if task.time.is_zero() {
            json!({ "outputs": outputs(&task, model, numbers) })
        } else {
            json!({ "ns": time(&task, model, numbers) })
        };
        println!("{answer}");
        std::io::stdout().flush().expect("a reader");
    }
}
