//! Models that converters export and graphs of one node, compared with what onnxruntime answered.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::inference::{LoadLimits, LocalModel};
use crate::protocol::tensor::{Tensor, TensorData};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/trees").join(folder);
    let files =
        std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("readable").path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|e| e == "onnx")).collect();
    files.sort();
    files
}

/// A number, or a text where JSON has no form for it.
fn number(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).expect("a number")
}

fn tensor(value: &Value) -> Tensor {
    let data = value["data"].as_array().expect("a list");
    let data = match value["datatype"].as_str().expect("a type") {
        "FP32" => TensorData::Fp32(data.iter().map(|value| number(value) as f32).collect()),
        "FP64" => TensorData::Fp64(data.iter().map(number).collect()),
        "INT64" => {
            TensorData::Int64(data.iter().map(|value| value.as_i64().expect("i64")).collect())
        }
        "BYTES" => TensorData::Bytes(
            data.iter().map(|value| value.as_str().expect("text").as_bytes().to_vec()).collect(),
        ),
        other => panic!("{other}"),
    };
    let shape = value["shape"].as_array().expect("a list").iter();
    let shape: Vec<usize> = shape.map(|size| size.as_u64().expect("a size") as usize).collect();
    Tensor::new(value["name"].as_str().expect("a name"), &*shape, data).expect("agrees")
}

fn tensors(value: &Value) -> Vec<Tensor> {
    value.as_array().expect("a list").iter().map(tensor).collect()
}

/// The first place where the two differ by more than 1e-5 of what is expected; for a machine whose terms
/// cancel out, of the largest number, since onnxruntime adds them up in 32 bits and we in 64.
fn difference(actual: &Tensor, expected: &Tensor, machine: bool) -> Option<String> {
    if (actual.name(), actual.shape()) != (expected.name(), expected.shape()) {
        return Some(format!("{}: {actual:?} has another shape than {expected:?}", actual.name()));
    }
    let floats = |tensor: &Tensor| match tensor.data() {
        TensorData::Fp32(values) => Some(values.iter().copied().map(f64::from).collect()),
        TensorData::Fp64(values) => Some(values.clone()),
        _ => None,
    };
    match (floats(actual), floats(expected)) {
        (Some::<Vec<f64>>(a), Some::<Vec<f64>>(e)) => {
            let largest = e.iter().copied().filter(|e| e.is_finite()).fold(0.0, f64::max);
            let near = |a: f64, e: f64| {
                let scale = if machine { largest } else { e.abs() };
                a == e || (a.is_nan() && e.is_nan()) || (a - e).abs() <= 1e-5 * scale + 1e-7
            };
            let place = a.iter().zip(&e).position(|(a, e)| !near(*a, *e))?;
            Some(format!("{}[{place}]: {} is not {}", actual.name(), a[place], e[place]))
        }
        _ if actual.data() == expected.data() => None,
        _ => Some(format!("{:?} is not {:?}", actual.data(), expected.data())),
    }
}

/// What is wrong with the model at `path`, if anything.
fn judge(path: &Path) -> Result<(), String> {
    let case = std::fs::read_to_string(path.with_extension("json")).expect("answers");
    let case: Value = serde_json::from_str(&case).expect("JSON");
    let model =
        LocalModel::load(path, &LoadLimits::default()).map_err(|error| error.to_string())?;
    let inputs = tensors(&case["inputs"]);
    let outputs = model.infer(inputs, &[]).map_err(|error| error.to_string())?;
    let expected = tensors(&case["outputs"]);
    if outputs.len() != expected.len() {
        return Err(format!("{} outputs instead of {}", outputs.len(), expected.len()));
    }
    let machine = path.file_name().is_some_and(|name| name.to_string_lossy().contains("sv"));
    let mut differences =
        outputs.iter().zip(&expected).filter_map(|(a, e)| difference(a, e, machine));
    differences.next().map_or(Ok(()), Err)
}

#[track_caller]
fn agree(folder: &str, at_least: usize) {
    let files = files(folder);
    assert!(files.len() >= at_least, "only {} files", files.len());
    let mut wrong = Vec::new();
    for path in &files {
        if let Err(reason) = judge(path) {
            let name = path.file_stem().unwrap_or_default().display();
            wrong.push(format!("{name}: {reason}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), files.len(), wrong.join("\n"));
}

#[test]
fn fitted_models_answer_what_onnxruntime_answers() {
    agree("fitted", 55);
}

#[test]
fn nodes_that_no_converter_writes_answer_what_onnxruntime_answers() {
    agree("made", 140);
}
