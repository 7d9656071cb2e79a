//! Answers are compared with onnxruntime's among the models of `trees/tests/golden.rs`.

use proptest::prelude::*;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};
use tract_onnx::prelude::{IntoTensor as _, Tensor, tvec};

use super::kernel::{Kernel, SupportVectors, weighted};
use super::{SvmClassifier, SvmRegressor};
use crate::inference::ml::operator::{Operator, parse};

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: kind as i32, ..AttributeProto::default() }
}

fn floats(name: &str, values: &[f32]) -> AttributeProto {
    AttributeProto { floats: values.to_vec(), ..attribute(name, AttributeType::Floats) }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: value, ..attribute(name, AttributeType::Int) }
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: value.into(), ..attribute(name, AttributeType::String) }
}

fn node(operator: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: operator.to_owned(),
        output: vec!["y".to_owned()],
        attribute,
        ..NodeProto::default()
    }
}

/// Replaces the attribute of the same name.
fn with(attributes: &[AttributeProto], changed: AttributeProto) -> Vec<AttributeProto> {
    let others = attributes.iter().filter(|attribute| attribute.name != changed.name);
    others.cloned().chain([changed.clone()]).collect()
}

fn regressor() -> Vec<AttributeProto> {
    vec![
        floats("coefficients", &[1.0, -2.0]),
        floats("support_vectors", &[1.0, 0.0, 0.0, 1.0]),
        floats("kernel_params", &[0.5, 1.0, 2.0]),
        text("kernel_type", "POLY"),
        floats("rho", &[0.25]),
        int("n_supports", 2),
    ]
}

fn classifier() -> Vec<AttributeProto> {
    vec![
        ints("classlabels_ints", &[4, 5, 6]),
        ints("vectors_per_class", &[1, 2, 1]),
        floats("support_vectors", &[1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -1.0]),
        floats("coefficients", &[1.0, -1.0, -0.5, -1.0, 0.5, 1.0, 0.5, -0.25]),
        floats("rho", &[0.0, 0.1, -0.1]),
    ]
}

fn refusal<O: Operator>(attributes: Vec<AttributeProto>) -> String {
    parse::<O>(&node(O::NAME, attributes), 1).expect_err("misfit").to_string()
}

fn answer<O: Operator>(attributes: Vec<AttributeProto>, rows: &[f32]) -> Vec<Tensor> {
    let operator = parse::<O>(&node(O::NAME, attributes), 1).expect("fits");
    let input = Tensor::from_shape(&[rows.len() / 2, 2], rows).expect("agrees");
    let outputs = operator.run(tvec!(input.into())).expect("runs");
    outputs.into_iter().map(|value| value.into_tensor()).collect()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.try_as_plain_ram().expect("plain").as_slice().expect("f32").to_vec()
}

#[test]
fn a_regressor_answers_what_a_hand_computes() {
    // (0.5 * 2 + 1)^2 - 2 * (0.5 * 4 + 1)^2 + 0.25
    assert_eq!(numbers(&answer::<SvmRegressor>(regressor(), &[2.0, 4.0])[0]), [-13.75]);
    let one_class = with(&regressor(), int("one_class", 1));
    assert_eq!(numbers(&answer::<SvmRegressor>(one_class, &[2.0, 4.0, 3.0, -2.0])[0]), [-1.0, 1.0]);
    let linear = with(&regressor(), int("n_supports", 0));
    assert_eq!(numbers(&answer::<SvmRegressor>(linear, &[2.0, 4.0])[0]), [-5.75]);
}

#[test]
fn each_two_classes_vote_with_the_vectors_of_both() {
    let outputs = answer::<SvmClassifier>(classifier(), &[2.0, 1.0]);
    // Kernels 2, 1, -2, -1. 4 against 5: 1*2 - 1*1 - 0.5*-2; against 6: 0.5*2 - 1*-1 + 0.1;
    // 5 against 6: 1*1 + 0.5*-2 - 0.25*-1 - 0.1, of which the last coefficient is in the second row.
    let [labels, scores] = outputs.as_slice() else { panic!("two outputs") };
    assert_eq!(scores.shape(), [1, 3]);
    for (actual, expected) in numbers(scores).iter().zip([2.0, 2.1, 0.15]) {
        assert!((actual - expected).abs() < 1e-6, "{scores:?}");
    }
    assert_eq!(labels.try_as_plain_ram().expect("plain").as_slice::<i64>().expect("labels"), [4]);
}

#[test]
fn attributes_of_a_regressor_that_do_not_fit_are_refused_by_name() {
    for (changed, reason) in [
        (floats("coefficients", &[1.0]), "'coefficients' of SVMRegressor 'y' has 1 elements for 2"),
        (floats("coefficients", &[]), "'coefficients' of SVMRegressor 'y' is empty"),
        (floats("support_vectors", &[1.0; 3]), "'support_vectors' of SVMRegressor 'y' has 3"),
        (floats("kernel_params", &[1.0]), "'kernel_params' of SVMRegressor 'y' has 1 elements"),
        (text("kernel_type", "COSINE"), "names the unknown kernel 'COSINE'"),
        (floats("rho", &[]), "'rho' of SVMRegressor 'y' is empty"),
        (int("n_supports", -1), "has 2 elements for -1 vectors"),
        (int("n_supports", i64::MAX), "has 2 elements for 9223372036854775807 vectors"),
    ] {
        let refusal = refusal::<SvmRegressor>(with(&regressor(), changed));
        assert!(refusal.contains(reason), "{refusal}");
    }
}

#[test]
fn attributes_of_a_classifier_that_do_not_fit_are_refused_by_name() {
    for (changed, reason) in [
        (floats("coefficients", &[1.0; 7]), "has 7 elements for 4 vectors and 3 classes"),
        (floats("support_vectors", &[1.0; 7]), "has 7 elements for 4 vectors"),
        (floats("rho", &[1.0, 2.0]), "'rho' of SVMClassifier 'y' has 2 elements for 3 pairs"),
        (floats("prob_a", &[1.0; 3]), "'prob_b' of SVMClassifier 'y' has 0 elements, but prob_a"),
        (ints("vectors_per_class", &[2, 2]), "has 2 elements for 3 classes"),
        (
            ints("vectors_per_class", &[-1, 2, 3]),
            "'vectors_per_class' of SVMClassifier 'y' at index 0",
        ),
        (ints("vectors_per_class", &[i64::MAX, i64::MAX, 3]), "adds up to too many"),
        (ints("classlabels_ints", &[]), "exactly one of classlabels_ints and classlabels_strings"),
        (ints("classlabels_ints", &[0; 2000]), "2000 classes are more than 1024"),
    ] {
        let refusal = refusal::<SvmClassifier>(with(&classifier(), changed));
        assert!(refusal.contains(reason), "{refusal}");
    }
    let mut short = with(&classifier(), floats("prob_a", &[1.0; 2]));
    short.push(floats("prob_b", &[1.0; 2]));
    assert!(refusal::<SvmClassifier>(short).contains("has 2 elements for 3 pairs"));
}

proptest! {
    #[test]
    fn lanes_compute_what_each_vector_gives_alone(
        count in 1_usize..40,
        features in 1_usize..9,
        seed in any::<u64>(),
        kernel in 0..4,
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut draw = |n: usize| (0..n).map(|_| random.f32() - 0.5).collect::<Vec<f32>>();
        let (vectors, row) = (draw(count * features), draw(features));
        let kernel = match kernel {
            0 => Kernel::Linear,
            1 => Kernel::Poly { gamma: 0.5, offset: 1.0, degree: 3.0 },
            2 => Kernel::Rbf { gamma: 0.7 },
            _ => Kernel::Sigmoid { gamma: 0.3, offset: 0.1 },
        };
        let mut values = Vec::new();
        SupportVectors::new(kernel, &vectors, count).compare(&row, &mut values);
        prop_assert_eq!(values.len(), count);
        for (vector, value) in vectors.chunks_exact(features).zip(&values) {
            let dot: f32 = vector.iter().zip(&row).map(|(a, b)| a * b).sum();
            let distance: f32 = vector.iter().zip(&row).map(|(a, b)| (a - b) * (a - b)).sum();
            let expected = match kernel {
                Kernel::Linear => dot,
                Kernel::Poly { gamma, offset, degree } => (gamma * dot + offset).powf(degree),
                Kernel::Rbf { gamma } => (-gamma * distance).exp(),
                Kernel::Sigmoid { gamma, offset } => (gamma * dot + offset).tanh(),
            };
            prop_assert!((value - expected).abs() <= 1e-6 * expected.abs().max(1.0));
        }
        let ones = vec![1.0; count];
        let sum: f64 = values.iter().copied().map(f64::from).sum();
        prop_assert!((weighted(&values, &ones) - sum).abs() < 1e-9);
    }
}
