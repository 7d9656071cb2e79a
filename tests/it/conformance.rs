//! Models answer what the ONNX test data says, or are refused by name.
//!
//! Owns the runner of conformance cases: a folder for each kind, in it one for each case, laid out as the
//! `onnx` package lays out its own (`model.onnx`, `test_data_set_*/input_*.pb`, `output_*.pb`). A small
//! subset is committed in `tests/conformance/cases`; `tests/conformance/run` makes all of them, names
//! their folder in `POINTSMAN_CONFORMANCE` and takes the results from the file that
//! `POINTSMAN_CONFORMANCE_RESULTS` names. Never decides what a refusal is worth: only a wrong answer fails.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use half::f16;
use pointsman::inference::{ArtifactError, InferError, InputError, LoadLimits, LocalModel};
use pointsman::protocol::tensor::{Shape, Tensor, TensorData};
use prost::Message as _;
use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataType;

use crate::support::repository;

/// What came of one case.
enum Outcome {
    /// All data sets, or those for the batch size that the model has: then which it is.
    Passed(String),
    /// Refused when it was loaded: the message.
    Refused(String),
    /// Loaded, but it did not answer: the message.
    Failed(String),
    /// Answered something else: what and where.
    Wrong(String),
}

/// How far a number may be from the expected one.
#[derive(Clone, Copy)]
struct Tolerance {
    /// Of the expected number.
    relative: f64,
    /// Of the largest expected number, or of 1: what is left of numbers that cancel out in FP32.
    cancelled: f64,
}

impl Tolerance {
    /// That of the `onnx` package's own runner for the test data of operators, and a narrow one for
    /// whole models, whose expected answers come from onnxruntime.
    fn of(kind: &str) -> Self {
        match kind {
            "models" | "shipped" | "drawn" | "contrib" => Self { relative: 1e-5, cancelled: 1e-6 },
            // Each number for itself, up to what is no normal number of 32 bits.
            "values" => Self { relative: 1e-5, cancelled: 0.0 },
            _ => Self { relative: 1e-3, cancelled: 1e-6 },
        }
    }

    /// The first number that is too far off, with its place and the expected one.
    fn breach(self, actual: &[f64], expected: &[f64]) -> Option<(usize, f64, f64)> {
        // Beyond, a number says nothing of what others were added up from.
        const HUGE: f64 = 1e20;
        const TINY: f64 = 1e-37;
        let finite = expected.iter().filter(|e| e.abs() < HUGE);
        let largest = finite.fold(1.0_f64, |largest, e| largest.max(e.abs()));
        let near = |a: f64, e: f64| {
            a == e
                || a.is_nan() && e.is_nan()
                || (a - e).abs() <= self.cancelled * largest + self.relative * e.abs() + TINY
        };
        let pairs = actual.iter().zip(expected).enumerate();
        let mut far = pairs.filter(|(_, (a, e))| !near(**a, **e));
        far.next().map(|(at, (a, e))| (at, *a, *e))
    }
}

#[test]
fn no_model_of_the_test_data_answers_wrongly() {
    let root = std::env::var_os("POINTSMAN_CONFORMANCE").map(PathBuf::from);
    let all = root.is_some();
    let root = root.unwrap_or_else(|| repository("tests/conformance/cases"));
    let mut report = String::new();
    let mut wrong = Vec::new();
    let mut passed = 0;
    for kind in folders(&root) {
        for case in folders(&kind) {
            let (kind, name) = (file_name(&kind), file_name(&case));
            let (outcome, message) = match run(&case, Tolerance::of(&kind)) {
                Outcome::Passed(note) => {
                    passed += 1;
                    ("pass", note)
                }
                Outcome::Refused(message) => ("refused", message),
                Outcome::Failed(message) => ("failed", message),
                Outcome::Wrong(message) => {
                    wrong.push(format!("{kind}/{name}: {message}"));
                    ("wrong", message)
                }
            };
            let message = message.replace(['\n', '\t'], " ");
            writeln!(report, "{kind}\t{name}\t{outcome}\t{message}").unwrap();
        }
    }
    if let Some(path) = std::env::var_os("POINTSMAN_CONFORMANCE_RESULTS") {
        std::fs::write(path, report).unwrap();
    } else if !all {
        assert!(report.lines().all(|line| line.contains("\tpass\t")), "{report}");
    }
    assert!(passed > 0, "no cases in {}", root.display());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut folders: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn run(case: &Path, tolerance: Tolerance) -> Outcome {
    let path = case.join("model.onnx");
    let model = match LocalModel::load(&path, &LoadLimits::default()) {
        Ok(model) => model,
        Err(error @ ArtifactError::Trial { .. }) => return Outcome::Failed(error.to_string()),
        Err(error) => {
            let message = error.to_string();
            return Outcome::Refused(
                message.replace(&format!("model file {} ", path.display()), ""),
            );
        }
    };
    let sets = folders(case);
    let mut unfit = Vec::new();
    for set in &sets {
        let inputs = model
            .signature()
            .inputs
            .iter()
            .enumerate()
            .map(|(index, spec)| read(&set.join(format!("input_{index}.pb")), &spec.name));
        let inputs = inputs.collect::<Option<Vec<_>>>();
        let Some(inputs) = inputs else {
            return Outcome::Failed(format!("{}: inputs that no request has", file_name(set)));
        };
        let outputs = match model.infer(inputs, &[]) {
            Ok(outputs) => outputs,
            Err(InferError::Input(error @ InputError::Shape { .. })) => {
                unfit.push(error.to_string());
                continue;
            }
            Err(error) => return Outcome::Failed(error.to_string()),
        };
        for (index, actual) in outputs.iter().enumerate() {
            let expected = read(&set.join(format!("output_{index}.pb")), actual.name());
            let Some(expected) = expected else {
                return Outcome::Wrong(format!("output {index} should be no tensor"));
            };
            if let Some(difference) = difference(actual, &expected, tolerance) {
                return Outcome::Wrong(format!("{} {difference}", file_name(set)));
            }
        }
    }
    match unfit.pop() {
        None => Outcome::Passed(String::new()),
        Some(error) if unfit.len() + 1 == sets.len() => Outcome::Failed(error),
        Some(_) => Outcome::Passed("one row at a time".to_owned()),
    }
}

fn difference(actual: &Tensor, expected: &Tensor, tolerance: Tolerance) -> Option<String> {
    let name = actual.name();
    if (actual.datatype(), actual.shape()) != (expected.datatype(), expected.shape()) {
        return Some(format!(
            "'{name}' is {} {:?}, not {} {:?}",
            actual.datatype(),
            actual.shape(),
            expected.datatype(),
            expected.shape()
        ));
    }
    let far = |actual: &[f64], expected: &[f64]| {
        let breach = tolerance.breach(actual, expected);
        breach.map(|(at, a, e)| format!("'{name}' is {a} at {at}, not {e}"))
    };
    match (actual.data(), expected.data()) {
        (TensorData::Fp32(actual), TensorData::Fp32(expected)) => {
            let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
            far(&wide(actual), &wide(expected))
        }
        (TensorData::Fp64(actual), TensorData::Fp64(expected)) => far(actual, expected),
        (TensorData::Fp16(actual), TensorData::Fp16(expected)) => {
            let wide = |values: &[f16]| values.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
            far(&wide(actual), &wide(expected))
        }
        (actual, expected) if actual == expected => None,
        (actual, expected) => {
            let short =
                |data: &TensorData| format!("{data:?}").chars().take(120).collect::<String>();
            Some(format!("'{name}' is {}, not {}", short(actual), short(expected)))
        }
    }
}

/// A tensor file, `None` where it holds what no protocol carries.
fn read(path: &Path, name: &str) -> Option<Tensor> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let proto = TensorProto::decode(&*bytes).ok()?;
    let raw = &*proto.raw_data;
    let narrow = || proto.int32_data.iter();
    let data = match DataType::try_from(proto.data_type).ok()? {
        DataType::Float => TensorData::Fp32(either(raw, f32::from_le_bytes, &proto.float_data)),
        DataType::Double => TensorData::Fp64(either(raw, f64::from_le_bytes, &proto.double_data)),
        DataType::Float16 => {
            let typed: Vec<_> = narrow().map(|x| f16::from_bits(*x as u16)).collect();
            TensorData::Fp16(either(raw, f16::from_le_bytes, &typed))
        }
        DataType::Int64 => TensorData::Int64(either(raw, i64::from_le_bytes, &proto.int64_data)),
        DataType::Int32 => TensorData::Int32(either(raw, i32::from_le_bytes, &proto.int32_data)),
        DataType::Int16 => {
            let typed: Vec<_> = narrow().map(|x| *x as i16).collect();
            TensorData::Int16(either(raw, i16::from_le_bytes, &typed))
        }
        DataType::Int8 => {
            let typed: Vec<_> = narrow().map(|x| *x as i8).collect();
            TensorData::Int8(either(raw, i8::from_le_bytes, &typed))
        }
        DataType::Uint8 => {
            let typed: Vec<_> = narrow().map(|x| *x as u8).collect();
            TensorData::Uint8(either(raw, u8::from_le_bytes, &typed))
        }
        DataType::Uint16 => {
            let typed: Vec<_> = narrow().map(|x| *x as u16).collect();
            TensorData::Uint16(either(raw, u16::from_le_bytes, &typed))
        }
        DataType::Uint32 => {
            let typed: Vec<_> = proto.uint64_data.iter().map(|x| *x as u32).collect();
            TensorData::Uint32(either(raw, u32::from_le_bytes, &typed))
        }
        DataType::Uint64 => TensorData::Uint64(either(raw, u64::from_le_bytes, &proto.uint64_data)),
        DataType::Bool => {
            let typed: Vec<_> = narrow().map(|x| *x != 0).collect();
            TensorData::Bool(either(raw, |[byte]: [u8; 1]| byte != 0, &typed))
        }
        DataType::String => TensorData::Bytes(proto.string_data),
        _ => return None,
    };
    let shape: Shape = proto.dims.iter().map(|dim| usize::try_from(*dim).unwrap()).collect();
    Some(Tensor::new(name, shape, data).unwrap())
}

fn either<T: Clone, const SIZE: usize>(
    raw: &[u8],
    parse: impl Fn([u8; SIZE]) -> T,
    typed: &[T],
) -> Vec<T> {
    if raw.is_empty() {
        return typed.to_vec();
    }
    raw.as_chunks::<SIZE>().0.iter().map(|bytes| parse(*bytes)).collect()
}
