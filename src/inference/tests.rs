use std::path::{Path, PathBuf};

use super::*;
use crate::protocol::open_inference::decode_infer_request;
use crate::protocol::tensor::{Tensor, TensorData};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn load(path: &Path) -> Result<LocalModel, ArtifactError> {
    LocalModel::load(path, &LoadLimits::default())
}

fn example(folder: &str) -> LocalModel {
    load(&repository(&format!("config/models/{folder}/model.onnx"))).expect(folder)
}

/// The cases of `expected.json`: inputs and what onnxruntime answered.
fn expected(folder: &str) -> Vec<(Vec<Tensor>, Vec<Tensor>)> {
    let path = repository(&format!("config/models/{folder}/expected.json"));
    let text = std::fs::read_to_string(path).expect("a readable file");
    let cases: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    let tensors = |value: &serde_json::Value| {
        let body = serde_json::json!({ "inputs": value }).to_string();
        decode_infer_request(body.as_bytes()).expect("tensors").inputs
    };
    cases.iter().map(|case| (tensors(&case["inputs"]), tensors(&case["outputs"]))).collect()
}

#[track_caller]
fn assert_close(actual: &Tensor, expected: &Tensor) {
    assert_eq!((actual.name(), actual.shape()), (expected.name(), expected.shape()));
    match (actual.data(), expected.data()) {
        (TensorData::Fp32(actual), TensorData::Fp32(expected)) => {
            for (a, e) in actual.iter().zip(expected) {
                // 1e-5 relative; below 1e-30 both count as zero, where f32 loses its digits.
                assert!((a - e).abs() <= 1e-5 * e.abs() + 1e-30, "{a} is not {e}");
            }
        }
        (actual, expected) => assert_eq!(actual, expected),
    }
}

#[test]
fn models_answer_what_onnxruntime_answers() {
    for folder in ["iris/v1", "iris/v2", "digits/v1", "convnet/v1"] {
        let model = example(folder);
        let cases = expected(folder);
        assert!(cases.len() >= 3 && cases.iter().any(|(inputs, _)| inputs[0].shape()[0] > 1));
        for (inputs, outputs) in cases {
            let actual = model.infer(inputs, &[]).expect(folder);
            assert_eq!(actual.len(), outputs.len());
            for (actual, expected) in actual.iter().zip(&outputs) {
                assert_close(actual, expected);
            }
        }
        println!("{folder}: {:?} {:?}", model.cost(), model.signature());
    }
}
