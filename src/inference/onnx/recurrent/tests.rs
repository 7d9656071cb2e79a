//! Layers against the equations written out for single numbers; `tests/conformance` compares with onnxruntime.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};

use super::*;

fn layer<C: Cell>(present: &[usize], attributes: Vec<AttributeProto>) -> TractResult<Recurrent<C>> {
    let node =
        NodeProto { op_type: C::NAME.to_owned(), attribute: attributes, ..NodeProto::default() };
    let mut layer = ml::parse::<Recurrent<C>>(&node, 14)?;
    layer.present = present.to_vec();
    Ok(layer)
}

fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::String.into(),
        s: text.as_bytes().to_vec(),
        ..AttributeProto::default()
    }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int.into(),
        i,
        ..AttributeProto::default()
    }
}

fn tensor(shape: &[usize], numbers: &[f32]) -> TValue {
    Tensor::from_shape(shape, numbers).expect("agrees").into_tvalue()
}

fn numbers(value: &TValue) -> Vec<f32> {
    value.try_as_plain_ram().expect("plain").as_slice::<f32>().expect("f32").to_vec()
}

/// Sequences of three steps in two rows, one feature, one hidden number.
fn run<C: Cell>(layer: &Recurrent<C>, weights: &[f32], more: &[TValue]) -> Vec<Vec<f32>> {
    let rows = weights.len();
    let mut inputs = tvec!(
        tensor(&[3, 2, 1], &[0.5, -1.0, 1.5, 2.0, -0.5, 0.25]),
        tensor(&[1, rows, 1], weights),
        tensor(&[1, rows, 1], &weights.iter().map(|weight| weight / 2.0).collect::<Vec<_>>()),
    );
    inputs.extend(more.iter().cloned());
    let outputs = layer.run(inputs).expect("fits");
    outputs.iter().map(numbers).collect()
}

fn near(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} and {expected}");
    }
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn an_lstm_begins_with_zeros_and_forgets() {
    let layer = layer::<Lstm>(&[0, 1, 2], Vec::new()).expect("by default");
    let found = run(&layer, &[1.0, -0.5, 2.0, 0.25], &[]);
    let expected = |numbers: [f64; 3]| {
        let (mut state, mut cell) = (0.0_f64, 0.0_f64);
        numbers.map(|x| {
            let gate = |weight: f64| weight * x + weight / 2.0 * state;
            let (input, output) = (logistic(gate(1.0)), logistic(gate(-0.5)));
            cell = logistic(gate(2.0)) * cell + input * gate(0.25).tanh();
            state = output * cell.tanh();
            state
        })
    };
    let (first, second) = (expected([0.5, 1.5, -0.5]), expected([-1.0, 2.0, 0.25]));
    near(&found[0], &[first[0], second[0], first[1], second[1], first[2], second[2]]);
    near(&found[1], &[first[2], second[2]]);
}

#[test]
fn a_gru_resets_before_or_after_the_product() {
    for variant in [0, 1] {
        let layer = layer::<Gru>(&[0, 1, 2, 3], vec![int("linear_before_reset", variant)]);
        let bias = [0.1, 0.2, 0.3, -0.1, 0.4, 0.5];
        let bias = tensor(&[1, 6], &bias);
        let found = run(&layer.expect("known"), &[1.0, -0.5, 2.0], &[bias]);
        let mut state = 0.0_f64;
        for (step, x) in [0.5, 1.5, -0.5].into_iter().enumerate() {
            let update = logistic(x + 0.5 * state + 0.1 - 0.1);
            let reset = logistic(-0.5 * x - 0.25 * state + 0.2 + 0.4);
            let held = if variant == 1 { reset * (state + 0.5) } else { reset * state + 0.5 };
            let new = (2.0 * x + 0.3 + held).tanh();
            state = (1.0 - update) * new + update * state;
            near(&found[0][2 * step..=2 * step], &[state]);
        }
    }
}

#[test]
fn sequences_end_at_their_own_length_in_both_directions() {
    for (direction, times) in [("forward", [0, 1]), ("reverse", [1, 0])] {
        let layer = layer::<Rnn>(&[0, 1, 2, 4], vec![text("direction", direction)]);
        let lengths = tract_onnx::prelude::tensor1(&[2_i32, 3]).into_tvalue();
        let found = run(&layer.expect("known"), &[1.0], &[lengths]);
        let row = [0.5_f64, 1.5];
        let first = row[times[0]].tanh();
        let second = (row[times[1]] + 0.5 * first).tanh();
        let all: Vec<f32> = found[0].iter().step_by(2).copied().collect();
        let mut expected = [0.0; 3];
        (expected[times[0]], expected[times[1]]) = (first, second);
        near(&all, &expected);
        near(&found[1][..1], &[second]);
    }
    let layer = layer::<Rnn>(&[0, 1, 2, 4], Vec::new()).expect("by default");
    let lengths = tract_onnx::prelude::tensor1(&[2_i32, 4]).into_tvalue();
    let inputs = tvec!(
        tensor(&[3, 2, 1], &[0.0; 6]),
        tensor(&[1, 1, 1], &[1.0]),
        tensor(&[1, 1, 1], &[1.0]),
        lengths
    );
    let error = layer.run(inputs).expect_err("4 of 3 steps");
    assert!(error.root_cause().is::<Unacceptable>(), "{error}");
}

#[test]
fn what_is_missing_stays_missing_in_its_own_row() {
    fn check<C: Cell>() {
        let layer = layer::<C>(&[0, 1, 2], Vec::new()).expect("by default");
        let weights = [1.0, -0.5, 2.0, 0.25];
        let weights = weights.get(..C::GATES).expect("at most four");
        let inputs = tvec!(
            tensor(&[2, 2, 1], &[f32::NAN, 0.5, 1.0, -1.0]),
            tensor(&[1, C::GATES, 1], weights),
            tensor(&[1, C::GATES, 1], weights),
        );
        let last = numbers(&layer.run(inputs).expect("fits")[1]);
        assert!(last[0].is_nan() && last[1].is_finite(), "{}: {last:?}", C::NAME);
    }
    check::<Rnn>();
    check::<Gru>();
    check::<Lstm>();
}

#[test]
fn functions_that_lack_a_parameter_and_shapes_that_do_not_fit_are_refused() {
    let functions = AttributeProto {
        name: "activations".to_owned(),
        r#type: AttributeType::Strings.into(),
        strings: vec![b"Affine".to_vec()],
        ..AttributeProto::default()
    };
    let error = layer::<Rnn>(&[0, 1, 2], vec![functions]).expect_err("no alpha");
    assert!(error.to_string().contains("'Affine'"), "{error}");
    let layer = layer::<Rnn>(&[0, 1, 2], Vec::new()).expect("by default");
    let weights = || tensor(&[1, 1, 1], &[1.0]);
    let inputs = tvec!(tensor(&[1, 1, 2], &[0.0; 2]), weights(), weights());
    let error = layer.run(inputs).expect_err("two features, one weight");
    assert!(error.to_string().contains("as W here"), "{error}");
}
