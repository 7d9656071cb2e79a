use tempfile::TempDir;

use super::*;
use crate::config;
use crate::domain::lifecycle::proof::Found as LookFound;
use crate::inference::LoadLimits;
use crate::inference::tests::onnx::{self, FLOAT, Graph};

mod local;
mod remote;
mod server;

/// How sure the models are.
const SHARP: f32 = 4.0;

/// Class 0 where `x0 > slope * x1`: `p = softmax(x W)`.
fn classifier(slope: f32) -> Vec<u8> {
    weighted(&[SHARP, -SHARP, -SHARP * slope, SHARP * slope])
}

/// The same with any weights.
fn weighted(weights: &[f32; 4]) -> Vec<u8> {
    Graph::default()
        .input("x", FLOAT, &["N", "2"])
        .floats("w", &[2, 2], weights)
        .node("MatMul", &["x", "w"], "scores")
        .node("Softmax", &["scores"], "p")
        .output("p", FLOAT, &["N", "2"])
        .encode()
}

/// Class 0 where `x0 > x1`, and not a number where `x0` is below `least`.
fn fragile(least: f32) -> Vec<u8> {
    Graph::default()
        .input("x", FLOAT, &["N", "2"])
        .floats("w", &[2, 2], &[SHARP, -SHARP, -SHARP, SHARP])
        .floats("first", &[2, 1], &[1.0, 0.0])
        .floats("least", &[1], &[least])
        .floats("little", &[1], &[1e-9])
        .node("MatMul", &["x", "w"], "scores")
        .node("Softmax", &["scores"], "sure")
        .node("MatMul", &["x", "first"], "x0")
        .node("Sub", &["x0", "least"], "above")
        .node("Sqrt", &["above"], "root")
        .node("Mul", &["root", "little"], "nothing")
        .node("Add", &["sure", "nothing"], "p")
        .output("p", FLOAT, &["N", "2"])
        .encode()
}

/// The classifier behind layers that change nothing and take long.
fn slow(width: usize, layers: usize) -> Vec<u8> {
    let size = i64::try_from(width).expect("small");
    let mut into = vec![0.0; 2 * width];
    (into[0], into[width + 1]) = (1.0, 1.0);
    let mut out = vec![0.0; 2 * width];
    out[..4].copy_from_slice(&[SHARP, -SHARP, -SHARP, SHARP]);
    let same: Vec<f32> =
        (0..width * width).map(|at| if at / width == at % width { 1.0 } else { 0.0 }).collect();
    let mut graph = Graph::default()
        .input("x", FLOAT, &["N", "2"])
        .floats("in", &[2, size], &into)
        .node("MatMul", &["x", "in"], "h0");
    for layer in 0..layers {
        let name = |what: &str, at: usize| format!("{what}{at}");
        graph = graph
            .floats(&name("w", layer), &[size, size], &same)
            .node("MatMul", &[&name("h", layer), &name("w", layer)], &name("m", layer))
            .node("Relu", &[&name("m", layer)], &name("h", layer + 1));
    }
    graph
        .floats("out", &[size, 2], &out)
        .node("MatMul", &[&format!("h{layers}"), "out"], "scores")
        .node("Softmax", &["scores"], "p")
        .output("p", FLOAT, &["N", "2"])
        .encode()
}

/// Rows in the unit square, the same every time.
fn square(rows: usize) -> Vec<[f32; 2]> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..rows).map(|_| [random.f32(), random.f32()]).collect()
}

/// What the classifier answers.
fn sure(row: [f32; 2]) -> [f32; 2] {
    let first = 1.0 / (1.0 + (-2.0 * SHARP * (row[0] - row[1])).exp());
    [first, 1.0 - first]
}

/// A golden set of rows with the answers of the true classifier, or labels alone.
fn golden(rows: usize, answers: bool) -> String {
    let line = |row: [f32; 2]| {
        let mut line = serde_json::json!({
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": row}],
            "labels": [u8::from(row[0] <= row[1])],
        });
        if answers {
            line["outputs"] = serde_json::json!(
                [{"name": "p", "datatype": "FP32", "shape": [1, 2], "data": sure(row)}]
            );
        }
        line.to_string()
    };
    square(rows).into_iter().map(line).collect::<Vec<_>>().join("\n")
}

const BASELINE: &str = r#"{"format":1,"model":"m","version":"v1","n":1000,"features":[
    {"name":"x[0]","kind":"numeric","edges":[0.5],"mass":[0.5,0.5],"min":0,"max":1},
    {"name":"x[1]","kind":"numeric","edges":[0.5],"mass":[0.5,0.5],"min":0,"max":1}]}"#;

/// A version in a folder of its own.
struct Folder {
    dir: TempDir,
}

impl Folder {
    fn new(model: &[u8]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("model.onnx"), model).expect("written");
        Self { dir }
    }

    fn with(self, name: &str, text: &str) -> Self {
        std::fs::write(self.dir.path().join(name), text).expect("written");
        self
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn subject(&self, version: &str) -> Subject {
        let spec = OnnxSpec::new(self.path().join("model.onnx"));
        let card = config::card_of(&spec.path).map(|path| config::load_card(&path));
        let card = card.transpose().expect("a card");
        let file = LocalModel::read(&spec, &LoadLimits::default()).expect("a file");
        let model = Arc::new(file.load(&spec, card.as_ref(), None).expect("a model"));
        subject(version, Where::Local { model, spec })
    }
}

fn subject(version: &str, place: Where) -> Subject {
    Subject { model: ModelName::new("m"), version: VersionName::new(version), place }
}

fn admission(limits: Limits) -> Admission {
    Admission::new(limits, None, Arc::new(Registry::new(1)))
}

/// The checks of a candidate beside a champion.
async fn checked(candidate: &Subject, champion: Option<&Subject>) -> Found {
    let checks = admission(Limits::default()).check(candidate, champion, Steady(5)).await;
    let checks = checks.expect("checks").checks;
    assert_eq!(checks.began, Steady(5));
    Found(checks.checks)
}

/// Checks by their kind.
#[derive(Debug)]
struct Found(Vec<Check>);

impl Found {
    #[track_caller]
    fn of(&self, kind: CheckKind) -> (Outcome, &str) {
        let check = self.0.iter().find(|check| check.kind == kind).expect("a check");
        (check.outcome, check.detail.as_str())
    }

    /// The kinds that ended so.
    fn that(&self, outcome: Outcome) -> Vec<CheckKind> {
        self.0.iter().filter(|check| check.outcome == outcome).map(|check| check.kind).collect()
    }
}
