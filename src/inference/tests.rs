use std::path::{Path, PathBuf};

use super::*;

mod bounds;
mod by_size;
mod constants;
mod lengths;
mod operators;
mod residence;

#[path = "../../tests/it/support/onnx.rs"]
#[expect(dead_code, reason = "each user of this file needs a part of it")]
pub(crate) mod onnx;

use crate::protocol::open_inference::decode_infer_request;
use crate::protocol::tensor::{Tensor, TensorData};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn load(path: &Path) -> Result<LocalModel, ArtifactError> {
    LocalModel::load(path, &LoadLimits::default())
}

/// Loads a model of the repository.
pub(super) fn load_file(path: &str) -> LocalModel {
    load(&repository(path)).expect(path)
}

/// Loads a model from its bytes.
pub(super) fn load_bytes(bytes: &[u8]) -> Result<LocalModel, ArtifactError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, bytes).expect("written");
    load(&path)
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
    }
}

fn fp32(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(name, shape, TensorData::Fp32(values.to_vec())).expect("agrees")
}

fn refusal(name: &str) -> String {
    let path = repository(&format!("tests/data/models/{name}.onnx"));
    let error = load(&path).map(|_| ()).expect_err(name);
    error.to_string().replace(&path.display().to_string(), "FILE")
}

#[test]
fn a_model_that_cannot_be_served_is_refused_by_name() {
    let cases = [
        ("unsupported_operator", "needs the operator ai.onnx.ml.SVMRanker (node 'price')"),
        ("unsupported_operator_in_branch", "needs the operator ai.onnx.Det (node 'inner')"),
        ("foreign_domain", "needs the operator com.example.Relu (node 'mine')"),
        ("half_input", "takes a tensor of FLOAT16 as input 'x'"),
        ("sequence_input", "takes a sequence as input 'items'"),
        ("sequence_output", "returns a sequence as output 'items'"),
        ("unknown_rank", "does not say how many dimensions input 'x' has"),
        ("no_outputs", "is not a valid ONNX model (it has no outputs)"),
        ("output_twice", "(it has two outputs 'y')"),
        ("input_twice", "(it has two inputs 'x')"),
        ("output_from_nowhere", "(nothing produces the output 'z')"),
        ("input_from_nowhere", "(node 'sum' reads 'w', which nothing produces)"),
        ("shapes_that_clash", "cannot be compiled ("),
    ];
    for (name, message) in cases {
        let refusal = refusal(name);
        assert!(refusal.starts_with("model file FILE "), "{refusal}");
        assert!(refusal.contains(message), "{name}: {refusal}");
    }
}

#[test]
fn files_that_are_no_models_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |bytes: &[u8]| {
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, bytes).expect("written");
        path
    };
    assert!(matches!(load(&folder.path().join("none")), Err(ArtifactError::Missing { .. })));
    assert!(matches!(load(folder.path()), Err(ArtifactError::NotAFile { .. })));
    assert!(matches!(load(&write(b"")), Err(ArtifactError::Empty { .. })));
    for bytes in [&b"<html>not found</html>"[..], b"\x08\x08", &[0xff; 100], &[0; 100]] {
        let error = load(&write(bytes)).map(|_| ()).expect_err("no model");
        assert!(matches!(error, ArtifactError::NotOnnx { .. }), "{error}");
    }
    let limits = LoadLimits { file_bytes: 10, ..LoadLimits::default() };
    let error = LocalModel::load(&write(&[0; 11]), &limits).map(|_| ()).expect_err("too large");
    assert!(matches!(error, ArtifactError::TooLarge { bytes: 11, limit: 10, .. }), "{error}");
}

#[test]
fn a_truncated_file_is_refused_wherever_it_was_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    for model in ["iris/v1", "iris/v2"] {
        let whole = repository(&format!("config/models/{model}/model.onnx"));
        let whole = std::fs::read(whole).expect("readable");
        for cut in 1..whole.len() {
            std::fs::write(&path, &whole[..cut]).expect("written");
            let error = load(&path).map(|_| ()).expect_err("truncated");
            let known =
                matches!(error, ArtifactError::NotOnnx { .. } | ArtifactError::Malformed { .. });
            assert!(known, "cut at {cut} of {}: {error}", whole.len());
        }
    }
}

#[test]
fn a_flipped_byte_never_panics() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    let whole = std::fs::read(repository("config/models/iris/v2/model.onnx")).expect("readable");
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        std::fs::write(&path, &bytes).expect("written");
        if let Ok(model) = load(&path) {
            let _outcome = model.infer(vec![fp32("input", &[1, 4], &[1.0; 4])], &[]);
        }
    }
}

#[test]
fn what_is_known_about_a_model() {
    let model = example("convnet/v1");
    let signature = model.signature();
    let specs = |specs: &[crate::protocol::tensor::TensorSpec]| {
        specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(specs(&signature.inputs), "'input' (FP32 [-1, 1, 8, 8])");
    assert_eq!(specs(&signature.outputs), "'label' (INT64 [-1]), 'probabilities' (FP32 [-1, 10])");
    let bytes = std::fs::read(repository("config/models/convnet/v1/model.onnx")).expect("readable");
    assert_eq!(model.bytes(), bytes.len() as u64);
    let digest: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(&bytes).into();
    assert_eq!(model.digest(), digest);
    let cost = model.cost().expect("measured");
    assert!(!cost.is_zero() && cost < std::time::Duration::from_secs(1));
}

#[test]
fn requests_that_do_not_fit_are_the_clients_fault() {
    let iris = example("iris/v1");
    let x = || fp32("input", &[1, 4], &[5.1, 3.5, 1.4, 0.2]);
    let int =
        Tensor::new("input", [1, 4].as_slice(), TensorData::Int32(vec![0; 4])).expect("agrees");
    let cases = [
        (vec![], "missing inference input 'input' (FP32 [-1, 4])"),
        (vec![x(), x()], "input 'input' already exists in request"),
        (
            vec![fp32("Z", &[1], &[1.0])],
            "unexpected inference input 'Z'; the model takes 'input' (FP32 [-1, 4])",
        ),
        (vec![int], "inference input 'input' data-type is 'INT32', but the model expects 'FP32'"),
        (
            vec![fp32("input", &[4], &[0.0; 4])],
            "inference input 'input' has shape [4], but the model expects [-1, 4]",
        ),
        (
            vec![fp32("input", &[1, 5], &[0.0; 5])],
            "inference input 'input' has shape [1, 5], but the model expects [-1, 4]",
        ),
    ];
    for (inputs, message) in cases {
        let error = iris.infer(inputs, &[]).expect_err(message);
        assert!(matches!(error, InferError::Input(_)));
        assert_eq!(error.to_string(), message);
    }
    for (wanted, message) in [
        (
            vec!["nope"],
            "unexpected inference output 'nope'; the model returns 'label' (INT64 [-1]), 'probabilities' (FP32 [-1, 3])",
        ),
        (vec!["label", "label"], "output 'label' is requested twice"),
    ] {
        let error = iris.infer(vec![x()], &wanted).expect_err(message);
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn outputs_come_in_the_order_they_are_asked_for() {
    let iris = example("iris/v1");
    let x = || vec![fp32("input", &[1, 4], &[5.1, 3.5, 1.4, 0.2])];
    let names = |wanted: &[&str]| {
        let outputs = iris.infer(x(), wanted).expect("answers");
        outputs.iter().map(|output| output.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["label", "probabilities"]);
    assert_eq!(names(&["probabilities", "label"]), ["probabilities", "label"]);
    assert_eq!(names(&["label"]), ["label"]);
}

#[test]
fn several_inputs_are_matched_by_name_and_share_their_batch_size() {
    let model = load(&repository("tests/data/models/two_inputs.onnx")).expect("loads");
    let x = fp32("x", &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let bias = fp32("bias", &[2, 2], &[0.5, 0.5, 10.0, -10.0]);
    for inputs in [vec![x.clone(), bias.clone()], vec![bias, x.clone()]] {
        let outputs = model.infer(inputs, &[]).expect("answers");
        assert_eq!(outputs[0].data(), &TensorData::Fp32(vec![1.5, 2.5, 13.0, -6.0]));
        assert_eq!(outputs[1].data(), &TensorData::Int64(vec![1, 2, 13, -6]));
    }
    let error =
        model.infer(vec![x, fp32("bias", &[1, 2], &[0.0; 2])], &[]).expect_err("2 is not 1");
    let message =
        "inference input 'bias' has size 1 in dimension 0, but must have 2, as input 'x' has";
    assert_eq!(error.to_string(), message);
}

#[test]
fn a_model_that_cannot_take_one_request_answers_the_next() {
    let model = load(&repository("tests/data/models/gather.onnx")).expect("loads");
    let look_up = |indices: &[i64]| {
        let data = TensorData::Int64(indices.to_vec());
        let index = Tensor::new("index", [indices.len()].as_slice(), data).expect("agrees");
        model.infer(vec![index], &[])
    };
    for _ in 0..3 {
        let error = look_up(&[1, 99]).expect_err("beyond the table");
        assert!(matches!(error, InferError::Input(_)), "{error}");
        let outputs = look_up(&[3, 0]).expect("answers");
        assert_eq!(outputs[0].data(), &TensorData::Fp32(vec![3.0, 0.0]));
    }
}

#[test]
fn many_threads_share_a_model() {
    let model = example("iris/v1");
    let cases = expected("iris/v1");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (inputs, outputs) in cases.iter().cycle().take(100) {
                    let actual = model.infer(inputs.clone(), &[]).expect("answers");
                    assert_close(&actual[1], &outputs[1]);
                }
            });
        }
    });
}

#[test]
fn an_empty_batch_gets_an_empty_answer() {
    let empty = |shape: &[usize]| vec![fp32("input", shape, &[])];
    let outputs = example("iris/v1").infer(empty(&[0, 4]), &[]).expect("answers");
    assert_eq!(outputs[0].data(), &TensorData::Int64(vec![]));
    assert_eq!(outputs[1], fp32("probabilities", &[0, 3], &[]));
    let outputs = example("convnet/v1").infer(empty(&[0, 1, 8, 8]), &["probabilities"]);
    assert_eq!(outputs, Ok(vec![fp32("probabilities", &[0, 10], &[])]));
}

#[test]
fn no_elements_do_not_make_room_for_a_huge_dimension() {
    let model = load(&repository("tests/data/models/row_sums.onnx")).expect("loads");
    let sums = |shape: &[usize], values: &[f32]| model.infer(vec![fp32("x", shape, values)], &[]);
    let outputs = sums(&[2, 2], &[1.0, 2.0, 3.0, 4.0]).expect("answers");
    assert_eq!(outputs[0], fp32("y", &[2], &[3.0, 7.0]));
    // Passes the check; tract 0.23 then divides by the number of columns, which is contained.
    assert!(matches!(sums(&[3, 0], &[]), Ok(_) | Err(InferError::Panicked { .. })));
    let error = sums(&[1 << 40, 0], &[]).expect_err("4 TiB of zeros");
    let message =
        "inference input 'x' has no elements but a dimension of 1099511627776, the limit is 65536";
    assert_eq!(error.to_string(), message);
}

#[test]
fn the_cost_of_a_request_grows_with_its_rows() {
    let model = example("iris/v1");
    let rows = |n: usize| vec![fp32("input", &[n, 4], &vec![0.0; n * 4])];
    assert_eq!(model.cost_of(&rows(1)), model.cost());
    assert_eq!(model.cost_of(&rows(0)), model.cost());
    assert_eq!(model.cost_of(&rows(1000)), model.cost().map(|cost| cost * 1000));
}
