mod categories;
mod edges;
mod features;

use prost::Message as _;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use tract_onnx::prelude::{
    Datum, TVec, Tensor as TractTensor, TractError, TractResult, tensor1, tvec,
};
use tract_onnx::prelude::{
    DatumType, Framework as _, InferenceFact, InferenceModelExt as _, IntoRunnable as _,
    IntoTensor as _,
};

use super::linear_classifier::LinearClassifier;
use super::normalizer::Normalizer;
use super::operator::{Operator, Unacceptable, parse};
use crate::inference::{LoadLimits, LocalModel};
use crate::protocol::tensor::{Tensor, TensorData};

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: kind as i32, ..AttributeProto::default() }
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: value.into(), ..attribute(name, AttributeType::String) }
}

fn floats(name: &str, values: &[f32]) -> AttributeProto {
    AttributeProto { floats: values.to_vec(), ..attribute(name, AttributeType::Floats) }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

fn texts(name: &str, values: &[&str]) -> AttributeProto {
    let strings = values.iter().map(|&value| value.into()).collect();
    AttributeProto { strings, ..attribute(name, AttributeType::Strings) }
}

/// A tensor of two elements, unless `fill` says something else.
fn tensor_attribute(
    name: &str,
    element: DataType,
    fill: impl FnOnce(&mut TensorProto),
) -> AttributeProto {
    let mut proto =
        TensorProto { data_type: element as i32, dims: vec![2], ..TensorProto::default() };
    fill(&mut proto);
    AttributeProto { t: Some(proto), ..attribute(name, AttributeType::Tensor) }
}

/// The operator of a node with the output `y`.
fn operator<O: Operator>(
    name: &str,
    version: i64,
    attributes: Vec<AttributeProto>,
) -> TractResult<O> {
    parse(&node(name, &["y"], attributes), version)
}

fn of<T: Datum + Copy>(shape: &[usize], elements: &[T]) -> TractTensor {
    TractTensor::from_shape(shape, elements).expect("agrees")
}

fn f32s(shape: &[usize], elements: &[f32]) -> TractTensor {
    of(shape, elements)
}

fn words_of(words: &[&str]) -> TractTensor {
    tensor1(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
}

/// What the operator's only output holds.
fn elements<T: Datum + Clone>(operator: &impl Operator, input: TractTensor) -> Vec<T> {
    let outputs = operator.run(tvec!(input.into())).expect("runs");
    outputs[0].try_as_plain_ram().expect("plain").as_slice::<T>().expect("the type").to_vec()
}

fn failure(operator: &impl Operator, input: TractTensor) -> String {
    operator.run(tvec!(input.into())).expect_err("fails").to_string()
}

fn node(operator: &str, outputs: &[&str], attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        input: vec!["x".to_owned()],
        output: outputs.iter().map(|&name| name.to_owned()).collect(),
        op_type: operator.to_owned(),
        domain: "ai.onnx.ml".to_owned(),
        attribute: attributes,
        ..NodeProto::default()
    }
}

fn classifier(labels: &[i64], rows: &[f32], intercepts: &[f32], transform: &str) -> NodeProto {
    let labels = AttributeProto {
        ints: labels.to_vec(),
        ..attribute("classlabels_ints", AttributeType::Ints)
    };
    let mut attributes =
        vec![labels, floats("coefficients", rows), text("post_transform", transform)];
    if !intercepts.is_empty() {
        attributes.push(floats("intercepts", intercepts));
    }
    node("LinearClassifier", &["label", "scores"], attributes)
}

fn normalizer(norm: &str) -> NodeProto {
    node("Normalizer", &["y"], vec![text("norm", norm)])
}

fn value(name: &str, element: DataType, dims: &[Option<i64>]) -> ValueInfoProto {
    let dim = |(axis, size): (usize, &Option<i64>)| Dimension {
        value: Some(match size {
            Some(size) => dimension::Value::DimValue(*size),
            None => dimension::Value::DimParam(format!("d{axis}")),
        }),
        ..Dimension::default()
    };
    let shape = TensorShapeProto { dim: dims.iter().enumerate().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: element as i32, shape: Some(shape) };
    let kind =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(kind), ..ValueInfoProto::default() }
}

/// A graph of one node, whose input `x` has elements of `element` in `dims`.
fn graph(node: NodeProto, element: DataType, dims: &[Option<i64>]) -> ModelProto {
    let mut outputs = Vec::new();
    for name in &node.output {
        let text_labels = node.attribute.iter().any(|at| at.name == "classlabels_strings");
        let element = match name.as_str() {
            "label" if text_labels => DataType::String,
            "label" => DataType::Int64,
            _ => DataType::Float,
        };
        let dims = if name == "label" { vec![None] } else { vec![None; dims.len()] };
        outputs.push(value(name, element, &dims));
    }
    let import = |domain: &str, version| OperatorSetIdProto { domain: domain.to_owned(), version };
    ModelProto {
        ir_version: 8,
        opset_import: vec![import("", 17), import("ai.onnx.ml", 1)],
        graph: Some(GraphProto {
            name: "graph".to_owned(),
            node: vec![node],
            input: vec![value("x", element, dims)],
            output: outputs,
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

fn load(model: &ModelProto) -> LocalModel {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, model.encode_to_vec()).expect("written");
    LocalModel::load(&path, &LoadLimits::default()).expect("loads")
}

fn run(model: &LocalModel, shape: &[usize], data: TensorData) -> Vec<Tensor> {
    model.infer(vec![Tensor::new("x", shape, data).expect("agrees")], &[]).expect("answers")
}

fn classified(node: &NodeProto, rows: usize, features: &[f32]) -> (Vec<i64>, Vec<f32>) {
    let operator = parse::<LinearClassifier>(node, 1).expect("fits");
    let columns = features.len() / rows;
    let input = TractTensor::from_shape(&[rows, columns], features).expect("agrees");
    let outputs = operator.run(tvec!(input.into())).expect("runs");
    let labels = outputs[0].try_as_plain_ram().expect("plain").as_slice().expect("i64").to_vec();
    (labels, numbers(&outputs[1]))
}

fn normalized(norm: &str, columns: usize, elements: &[f32]) -> Vec<f32> {
    let operator = parse::<Normalizer>(&normalizer(norm), 1).expect("known");
    let shape = [elements.len() / columns.max(1), columns];
    let input = TractTensor::from_shape(&shape, elements).expect("agrees");
    let outputs = operator.run(tvec!(input.into())).expect("runs");
    numbers(&outputs[0])
}

fn numbers(tensor: &TractTensor) -> Vec<f32> {
    tensor.try_as_plain_ram().expect("plain").as_slice().expect("f32").to_vec()
}

#[track_caller]
fn assert_near(actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len());
    for (a, e) in actual.iter().zip(expected) {
        assert!((a - e).abs() <= 1e-6 * e.abs().max(1.0), "{actual:?} is not {expected:?}");
    }
}

#[test]
fn scores_and_labels_agree_with_values_computed_by_hand() {
    let rows = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0];
    let plain = classifier(&[7, 8, 9], &rows, &[0.5, 0.0, -1.0], "NONE");
    let (labels, scores) = classified(&plain, 2, &[1.0, 2.0, -1.0, -2.0]);
    assert_eq!(labels, [8, 7]); // 2 and 2: the first of equals
    assert_near(&scores, &[1.5, 2.0, 2.0, -0.5, -2.0, -4.0]);
    let softmax = classifier(&[7, 8], &[1.0, 0.0], &[0.0, 3_f32.ln()], "SOFTMAX");
    let (labels, scores) = classified(&softmax, 1, &[0.0]);
    assert_eq!(labels, [8]);
    assert_near(&scores, &[0.25, 0.75]);
}

#[test]
fn one_row_of_coefficients_scores_the_second_of_two_labels() {
    let answer =
        |transform, x| classified(&classifier(&[4, 6], &[2.0], &[1.0], transform), 1, &[x]);
    // As onnxruntime 1.32 answers.
    for transform in ["NONE", "SOFTMAX", "SOFTMAX_ZERO"] {
        assert_eq!(answer(transform, 1.0), (vec![6], vec![-2.0, 3.0]));
        assert_eq!(answer(transform, -1.0), (vec![4], vec![2.0, -1.0]));
        assert_eq!(answer(transform, -0.375), (vec![6], vec![0.75, 0.25]));
    }
    assert_eq!(answer("NONE", -0.5).0, [4], "a score of 0 is not positive");
    let (labels, scores) = answer("LOGISTIC", (3_f32.ln() - 1.0) / 2.0);
    assert_eq!(labels, [6]);
    assert_near(&scores, &[0.25, 0.75]);
    // Neither intercepts nor `multi_class`: one row is taken for granted.
    assert_eq!(classified(&classifier(&[4, 6], &[1.0, 1.0], &[], "NONE"), 1, &[1.0, 1.0]).0, [6]);
    // One label: whether the score is positive.
    assert_eq!(classified(&classifier(&[4], &[1.0], &[0.0], "NONE"), 2, &[3.0, -3.0]).0, [1, 0]);
}

#[test]
fn attributes_that_do_not_fit_are_refused() {
    let refused =
        |node: &NodeProto| parse::<LinearClassifier>(node, 1).expect_err("misfit").to_string();
    for (node, reason) in [
        (classifier(&[], &[1.0], &[0.0], "NONE"), "exactly one of"),
        (
            classifier(&[1, 2, 3], &[1.0, 2.0], &[0.0, 0.0], "NONE"),
            "2 intercepts do not fit 3 class labels",
        ),
        (classifier(&[1, 2], &[1.0, 2.0, 3.0], &[0.0, 0.0], "NONE"), "do not fill 2 rows"),
        (classifier(&[1, 2], &[], &[0.0], "NONE"), "coefficients"),
        (
            classifier(&[1, 2], &[1.0], &[0.0], "PROBIT"),
            "attribute 'post_transform' of LinearClassifier 'label' is PROBIT",
        ),
        (classifier(&[1, 2], &[1.0], &[0.0], "SQUARE"), "names the unknown transform 'SQUARE'"),
    ] {
        let message = refused(&node);
        assert!(message.contains(reason), "{message}");
    }
    assert!(parse::<Normalizer>(&normalizer("L3"), 1).is_err());
}

#[test]
fn norms_agree_with_values_computed_by_hand() {
    assert_near(&normalized("L1", 2, &[1.0, -3.0, 2.0, 2.0]), &[0.25, -0.75, 0.5, 0.5]);
    assert_near(&normalized("L2", 2, &[3.0, -4.0]), &[0.6, -0.8]);
    assert_near(&normalized("MAX", 2, &[-1.0, 4.0, -2.0, -4.0]), &[-0.25, 1.0, 1.0, 2.0]);
    for norm in ["L1", "L2", "MAX"] {
        assert_near(&normalized(norm, 2, &[0.0, 0.0, 5.0, 0.0]), &[0.0, 0.0, 1.0, 0.0]);
        assert_eq!(normalized(norm, 0, &[]), [0.0; 0]);
    }
    let unnamed = node("Normalizer", &["y"], Vec::new());
    assert_eq!(parse::<Normalizer>(&unnamed, 1).expect("the default"), Normalizer::Max);
}

#[test]
fn inputs_that_are_no_numbers_do_not_panic() {
    let wild = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX];
    for transform in ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"] {
        let node = classifier(&[1, 2], &[1.0, -1.0], &[0.0, 0.0], transform);
        assert_eq!(classified(&node, 4, &wild).0[0], 1, "no score is above NaN");
    }
    for norm in ["L1", "L2", "MAX"] {
        assert_eq!(normalized(norm, 2, &wild).len(), 4);
    }
}

#[test]
fn inputs_of_other_types_are_computed_in_f32() {
    let rows = [1.0, 2.0, -1.0, 0.5];
    let cases = [
        (DataType::Float, TensorData::Fp32(vec![3.0, -2.0])),
        (DataType::Double, TensorData::Fp64(vec![3.0, -2.0])),
        (DataType::Int32, TensorData::Int32(vec![3, -2])),
        (DataType::Int64, TensorData::Int64(vec![3, -2])),
    ];
    for (element, data) in cases {
        let node = classifier(&[5, 3], &rows, &[0.0, 0.0], "NONE");
        let outputs = run(&load(&graph(node, element, &[None, Some(2)])), &[1, 2], data.clone());
        assert_eq!(outputs[0].data(), &TensorData::Int64(vec![5]));
        assert_eq!(outputs[1].data(), &TensorData::Fp32(vec![-1.0, -4.0]));
        let model = load(&graph(normalizer("L1"), element, &[None, Some(2)]));
        assert_eq!(run(&model, &[1, 2], data)[0].data(), &TensorData::Fp32(vec![0.6, -0.4]));
    }
}

#[test]
fn batches_of_any_size_answer_row_by_row() {
    let features: Vec<f32> = (0..32 * 19).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
    let weights: Vec<f32> = (0..3 * 19).map(|i| ((i * 53 % 89) as f32 - 44.0) / 44.0).collect();
    let node = classifier(&[0, 1, 2], &weights, &[0.1, 0.0, -0.1], "SOFTMAX");
    for columns in [Some(19), None] {
        let model = load(&graph(node.clone(), DataType::Float, &[None, columns]));
        assert_eq!(model.cost().is_some(), columns.is_some(), "it takes no row of one column");
        let all = run(&model, &[32, 19], TensorData::Fp32(features.clone()));
        let mut labels = Vec::new();
        let mut scores = Vec::new();
        for row in features.chunks_exact(19) {
            let outputs = run(&model, &[1, 19], TensorData::Fp32(row.to_vec()));
            let (TensorData::Int64(label), TensorData::Fp32(row)) =
                (outputs[0].data(), outputs[1].data())
            else {
                panic!("labels and scores")
            };
            labels.extend_from_slice(label);
            scores.extend_from_slice(row);
        }
        assert_eq!(all[0].data(), &TensorData::Int64(labels));
        assert_eq!(all[1].data(), &TensorData::Fp32(scores));
        let none = run(&model, &[0, 19], TensorData::Fp32(Vec::new()));
        assert_eq!((none[0].shape(), none[1].shape()), ([0].as_slice(), [0, 3].as_slice()));
    }
    let model = load(&graph(node, DataType::Float, &[Some(19)]));
    let one = run(&model, &[19], TensorData::Fp32(features[..19].to_vec()));
    assert_eq!((one[0].shape(), one[1].shape()), ([1].as_slice(), [1, 3].as_slice()));
}

#[test]
fn labels_may_be_texts() {
    let mut node = classifier(&[], &[1.0, -1.0], &[0.0, 0.0], "NONE");
    node.attribute[0] = AttributeProto {
        strings: vec!["up".into(), "down".into()],
        ..attribute("classlabels_strings", AttributeType::Strings)
    };
    let model = load(&graph(node, DataType::Float, &[None, Some(1)]));
    let outputs = run(&model, &[2, 1], TensorData::Fp32(vec![-1.0, 1.0]));
    assert_eq!(outputs[0].data(), &TensorData::Bytes(vec![b"down".to_vec(), b"up".to_vec()]));
}

/// What tract's own operators answer.
fn stock(model: &ModelProto, shape: &[usize], features: &[f32]) -> TVec<TractTensor> {
    let model = tract_onnx::onnx().model_for_proto_model(model).expect("parses");
    let fact = InferenceFact::dt_shape(DatumType::F32, shape);
    let model = model.with_input_fact(0, fact).expect("fits").into_optimized().expect("compiles");
    let input = TractTensor::from_shape(shape, features).expect("agrees");
    let outputs = model.into_runnable().expect("plans").run(tvec!(input.into())).expect("runs");
    outputs.into_iter().map(|value| value.into_tensor()).collect()
}

#[test]
fn answers_are_those_of_the_operators_that_these_replace() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| random.f32() - 0.5).collect() };
    for transform in ["NONE", "SOFTMAX", "LOGISTIC"] {
        for (models, columns, rows) in [(1, 3, 1), (2, 1, 4), (3, 4, 32), (10, 64, 5), (4, 8, 2)] {
            // Of one row of coefficients for two classes tract makes something else than onnxruntime.
            if models == 1 && transform != "LOGISTIC" {
                continue;
            }
            let labels: Vec<i64> = (0..models.max(2)).map(|label| label * 3 - 1).collect();
            let models = usize::try_from(models).expect("few");
            let node = classifier(&labels, &draw(models * columns), &draw(models), transform);
            let features = draw(rows * columns);
            let model = graph(node.clone(), DataType::Float, &[None, None]);
            let expected = stock(&model, &[rows, columns], &features);
            let (labels, scores) = classified(&node, rows, &features);
            let expected_labels = expected[0].try_as_plain_ram().expect("plain");
            assert_eq!(labels, expected_labels.as_slice::<i64>().expect("labels"));
            assert_near(&scores, &numbers(&expected[1]));
        }
    }
    for norm in ["L1", "L2", "MAX"] {
        let mut elements = draw(6 * 5);
        // tract divides by the largest magnitude, onnxruntime by the largest element.
        elements.chunks_exact_mut(5).for_each(|row| row[2] = 0.5);
        let model = graph(normalizer(norm), DataType::Float, &[None, None]);
        let expected = stock(&model, &[6, 5], &elements);
        assert_near(&normalized(norm, 5, &elements), &numbers(&expected[0]));
    }
}
