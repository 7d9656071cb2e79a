//! Operators of the core set whose answer is ours, in graphs as exporters write them.

use prost::Message as _;
use tract_onnx::pb::{AttributeProto, FunctionProto, ModelProto, OperatorSetIdProto};

use super::onnx::{FLOAT, Graph, INT64, int, ints, tensor};
use super::*;

const HALF: i32 = 10;
const DOUBLE: i32 = 11;
const BOOL: i32 = 9;

/// What the only output of `graph` is for these inputs.
fn answer(graph: Graph, inputs: Vec<Tensor>) -> Tensor {
    let model = load_bytes(&graph.encode()).expect("it loads");
    model.infer(inputs, &[]).expect("answers").remove(0)
}

fn floats(tensor: &Tensor) -> &[f32] {
    match tensor.data() {
        TensorData::Fp32(values) => values,
        other => panic!("{other:?}"),
    }
}

fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: 3,
        s: text.as_bytes().to_vec(),
        ..AttributeProto::default()
    }
}

/// One row of 1, 2, 3 and so on.
fn row(length: usize) -> Tensor {
    let values: Vec<f32> = (1_u8..).take(length).map(f32::from).collect();
    fp32("x", &[1, length], &values)
}

fn sliced(start: i64, end: i64, step: i64) -> Graph {
    let graph = Graph::default().input("x", FLOAT, &["N", "T"]);
    let graph = graph.ints("starts", &[1], &[start]).ints("ends", &[1], &[end]);
    let graph = graph.ints("axes", &[1], &[1]).ints("steps", &[1], &[step]);
    let inputs = ["x", "starts", "ends", "axes", "steps"];
    graph.node("Slice", &inputs, "y").output("y", FLOAT, &["N", "U"])
}

#[test]
fn the_bounds_of_a_slice_are_clipped_to_the_length_of_the_request() {
    for (start, end, step, length, expected) in [
        (0, 512, 1, 3, &[1.0_f32, 2.0, 3.0][..]),
        (0, 2, 1, 5, &[1.0, 2.0]),
        (-3, i64::MAX, 1, 5, &[3.0, 4.0, 5.0]),
        (-3, i64::MAX, 1, 1, &[1.0]),
        (0, -2, 1, 1, &[]),
        (0, -2, 1, 5, &[1.0, 2.0, 3.0]),
        (1, i64::MAX, 1, 3, &[2.0, 3.0]),
        (0, i64::MAX, 2, 5, &[1.0, 3.0, 5.0]),
        (-1, i64::MIN, -2, 4, &[4.0, 2.0]),
    ] {
        let answer = answer(sliced(start, end, step), vec![row(length)]);
        assert_eq!(floats(&answer), expected, "[{start}:{end}:{step}] of {length}");
        assert_eq!(answer.shape(), [1, expected.len()]);
    }
}

#[test]
fn the_bounds_of_a_slice_may_come_with_the_request() {
    for (step, bounds, length, expected) in [
        (1, (0, 2), 5, &[1.0_f32, 2.0][..]),
        (1, (-2, 512), 5, &[4.0, 5.0]),
        (1, (3, 1), 5, &[]),
        (2, (0, i64::MAX), 5, &[1.0, 3.0, 5.0]),
        (-1, (-1, i64::MIN), 3, &[3.0, 2.0, 1.0]),
        // What begins before the first element begins at it.
        (-1, (-9, -20), 3, &[1.0]),
        (-1, (-9, 0), 3, &[]),
    ] {
        let graph = Graph::default().input("x", FLOAT, &["N", "T"]);
        let graph = graph.input("starts", INT64, &["1"]).input("ends", INT64, &["1"]);
        let graph = graph.ints("axes", &[1], &[1]).ints("steps", &[1], &[step]);
        let inputs = ["x", "starts", "ends", "axes", "steps"];
        let graph = graph.node("Slice", &inputs, "y").output("y", FLOAT, &["N", "U"]);
        let one = |name: &str, value: i64| {
            Tensor::new(name, &[1][..], TensorData::Int64(vec![value])).expect("agrees")
        };
        let inputs = vec![row(length), one("starts", bounds.0), one("ends", bounds.1)];
        let answer = answer(graph, inputs);
        assert_eq!(floats(&answer), expected, "{bounds:?} in steps of {step} of {length}");
    }
}

#[test]
fn bounds_that_follow_from_constants_are_those_of_the_file() {
    // The start is the sum of two constants.
    let graph = Graph::default().input("x", FLOAT, &["N", "4"]);
    let graph =
        graph.ints("a", &[1], &[-5]).ints("b", &[1], &[-4]).node("Add", &["a", "b"], "start");
    let graph = graph.ints("end", &[1], &[-20]).ints("axis", &[1], &[1]).ints("step", &[1], &[-1]);
    let graph = graph.node("Slice", &["x", "start", "end", "axis", "step"], "y");
    assert_eq!(floats(&answer(graph.output("y", FLOAT, &["N", "1"]), vec![row(4)])), [1.0]);
}

#[test]
fn a_slice_with_a_step_stands_behind_a_reshape() {
    let graph = Graph::default().input("x", FLOAT, &["N", "6"]);
    let graph = graph.ints("view", &[3], &[0, 2, 3]).node("Reshape", &["x", "view"], "v");
    let graph = graph.ints("starts", &[1], &[0]).ints("ends", &[1], &[i64::MAX]);
    let graph = graph.ints("axes", &[1], &[2]).ints("steps", &[1], &[2]);
    let graph = graph.node("Slice", &["v", "starts", "ends", "axes", "steps"], "y");
    let answer = answer(graph.output("y", FLOAT, &["N", "2", "2"]), vec![row(6)]);
    assert_eq!((floats(&answer), answer.shape()), (&[1.0, 3.0, 4.0, 6.0][..], &[1, 2, 2][..]));
}

#[test]
fn a_model_that_keeps_the_first_rows_is_not_batched() {
    let graph = Graph::default().input("x", FLOAT, &["N", "2"]);
    let graph = graph.ints("starts", &[1], &[0]).ints("ends", &[1], &[2]).ints("axes", &[1], &[0]);
    let graph = graph.node("Slice", &["x", "starts", "ends", "axes"], "y");
    let model = load_bytes(&graph.output("y", FLOAT, &["M", "2"]).encode()).expect("it loads");
    assert!(!model.has_batch());
    let answer = |rows: usize| {
        let values: Vec<f32> = (1_u8..).take(2 * rows).map(f32::from).collect();
        model.infer(vec![fp32("x", &[rows, 2], &values)], &[]).expect("answers").remove(0)
    };
    assert_eq!(floats(&answer(1)), [1.0, 2.0]);
    assert_eq!(floats(&answer(3)), [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn a_row_that_is_longer_than_the_table_of_positions_is_the_callers_mistake() {
    let graph = Graph::default().input("x", FLOAT, &["N", "T"]);
    let graph = graph.node("Shape", &["x"], "shape").ints("second", &[1], &[1]);
    let graph = graph.node_with("Gather", &["shape", "second"], "length", Vec::new());
    let graph = graph.floats("table", &[1, 4], &[10.0, 20.0, 30.0, 40.0]);
    let graph = graph.ints("zero", &[1], &[0]).ints("axis", &[1], &[1]);
    let graph = graph.node("Slice", &["table", "zero", "length", "axis"], "positions");
    let graph = graph.node("Add", &["x", "positions"], "y").output("y", FLOAT, &["N", "T"]);
    let model = load_bytes(&graph.encode()).expect("it loads");
    for length in 1..=4 {
        let answer = model.infer(vec![row(length)], &[]).expect("answers").remove(0);
        assert_eq!(floats(&answer), &[11.0, 22.0, 33.0, 44.0][..length]);
    }
    for _ in 0..20 {
        let error = model.infer(vec![row(5)], &[]).expect_err("too long");
        assert!(matches!(error, InferError::Input(_)), "{error}");
    }
}

#[test]
fn a_border_repeats_what_is_inside_whatever_value_is_given() {
    let padded = |mode: &str, pads: &[i64]| {
        let graph = Graph::default().input("x", FLOAT, &["N", "3"]);
        let graph = graph.ints("pads", &[4], pads).floats("value", &[1], &[9.0]);
        let attributes = vec![text("mode", mode)];
        let graph = graph.node_with("Pad", &["x", "pads", "value"], "y", attributes);
        let answer = answer(graph.output("y", FLOAT, &["N", "M"]), vec![row(3)]);
        floats(&answer).to_vec()
    };
    assert_eq!(padded("reflect", &[0, 2, 0, 1]), [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
    assert_eq!(padded("edge", &[0, 2, 0, 1]), [1.0, 1.0, 1.0, 2.0, 3.0, 3.0]);
    assert_eq!(padded("wrap", &[0, 4, 0, 1]), [3.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0]);
    assert_eq!(padded("edge", &[0, -1, 0, 2]), [2.0, 3.0, 3.0, 3.0]);
    assert_eq!(padded("constant", &[0, 1, 0, 1]), [9.0, 1.0, 2.0, 3.0, 9.0]);
    assert_eq!(padded("constant", &[0, -1, 0, 1]), [2.0, 3.0, 9.0]);
    assert_eq!(padded("constant", &[0, 1, 0, -2]), [9.0, 1.0]);
}

#[test]
fn a_row_that_is_too_short_for_its_border_is_the_callers_mistake() {
    let graph = Graph::default().input("x", FLOAT, &["N", "T"]).ints("pads", &[4], &[0, 2, 0, 2]);
    let graph = graph.node_with("Pad", &["x", "pads"], "y", vec![text("mode", "reflect")]);
    let model = load_bytes(&graph.output("y", FLOAT, &["N", "U"]).encode()).expect("it loads");
    let answer = model.infer(vec![row(3)], &[]).expect("long enough").remove(0);
    assert_eq!(floats(&answer), [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]);
    for _ in 0..20 {
        let error = model.infer(vec![row(2)], &[]).expect_err("too short");
        assert!(matches!(error, InferError::Input(_)), "{error}");
    }
}

#[test]
fn indices_below_zero_count_from_the_end_for_every_operator_that_takes_some() {
    let data = || Graph::default().input("x", FLOAT, &["N", "3"]);
    let given = |shape: &[usize], values: &[i64]| {
        Tensor::new("i", shape, TensorData::Int64(values.to_vec())).expect("agrees")
    };
    let expect = |graph: Graph, indices: Tensor, expected: &[f32]| {
        let answer = answer(graph.output("y", FLOAT, &["N", "M"]), vec![row(3), indices]);
        assert_eq!(floats(&answer), expected);
    };
    let axis = |value| vec![int("axis", value)];
    let graph = data().input("i", INT64, &["1"]).node_with("Gather", &["x", "i"], "y", axis(1));
    expect(graph, given(&[1], &[-1]), &[3.0]);
    let graph = data().input("i", INT64, &["N", "1"]);
    let graph = graph.node_with("GatherElements", &["x", "i"], "y", axis(1));
    expect(graph, given(&[1, 1], &[-1]), &[3.0]);
    let graph = data().input("i", INT64, &["N", "2"]).node("GatherND", &["x", "i"], "y");
    expect(graph, given(&[1, 2], &[-1, -2]), &[2.0]);
    let updated = |name: &str, graph: Graph, attributes| {
        graph.node_with(name, &["x", "i", "u"], "y", attributes)
    };
    let graph = data().input("i", INT64, &["N", "1"]).floats("u", &[1, 1], &[7.0]);
    expect(updated("ScatterElements", graph, axis(1)), given(&[1, 1], &[-1]), &[1.0, 2.0, 7.0]);
    let graph = data().input("i", INT64, &["1", "2"]).floats("u", &[1], &[7.0]);
    expect(updated("ScatterND", graph, Vec::new()), given(&[1, 2], &[-1, -3]), &[7.0, 2.0, 3.0]);
}

#[test]
fn constant_indices_below_zero_count_from_the_end_as_well() {
    let data = || Graph::default().input("x", FLOAT, &["N", "3"]);
    let graph = data().ints("i", &[1, 2], &[-1, -2]).node("GatherND", &["x", "i"], "y");
    assert_eq!(floats(&answer(graph.output("y", FLOAT, &["1"]), vec![row(3)])), [2.0]);
    let graph = data().ints("i", &[1, 2], &[-1, -3]).floats("u", &[1], &[7.0]);
    let graph = graph.node("ScatterND", &["x", "i", "u"], "y");
    let answer = answer(graph.output("y", FLOAT, &["N", "3"]), vec![row(3)]);
    assert_eq!(floats(&answer), [7.0, 2.0, 3.0]);
}

#[test]
fn an_index_below_the_first_place_is_the_callers_mistake() {
    let graph = Graph::default().input("x", FLOAT, &["N", "3"]).input("i", INT64, &["N", "2"]);
    let graph = graph.node("GatherND", &["x", "i"], "y").output("y", FLOAT, &["N"]);
    let model = load_bytes(&graph.encode()).expect("it loads");
    let indices = Tensor::new("i", &[1, 2][..], TensorData::Int64(vec![0, -4])).expect("agrees");
    let error = model.infer(vec![row(3), indices], &[]).expect_err("out of range");
    assert!(matches!(error, InferError::Input(_)), "{error}");
}

#[test]
fn zero_times_what_is_missing_is_missing_however_the_zero_is_written() {
    let zero = |name: &str, r#type: i32| AttributeProto {
        name: name.to_owned(),
        r#type,
        floats: if r#type == 6 { vec![0.0] } else { Vec::new() },
        ..AttributeProto::default()
    };
    for attribute in [zero("value_float", 1), zero("value_floats", 6)] {
        let graph = Graph::default().input("x", FLOAT, &["N", "3"]);
        let graph = graph.node_with("Constant", &[], "zero", vec![attribute]);
        let graph = graph.node("Mul", &["x", "zero"], "y").output("y", FLOAT, &["N", "3"]);
        let x = fp32("x", &[1, 3], &[1.0, f32::NAN, f32::INFINITY]);
        let answer = answer(graph, vec![x]);
        assert!(matches!(floats(&answer), [0.0, a, b] if a.is_nan() && b.is_nan()), "{answer:?}");
    }
}

#[test]
fn zeros_of_16_bits_do_not_hide_what_is_missing() {
    let graph = Graph::default().input("x", FLOAT, &["N", "3"]);
    let graph = graph.node_with("Cast", &["x"], "half", vec![int("to", HALF.into())]);
    let graph = graph.constant(tensor("zero", HALF, &[], vec![0, 0]));
    let graph = graph.node("Mul", &["half", "zero"], "product");
    let graph = graph.node_with("Cast", &["product"], "y", vec![int("to", FLOAT.into())]);
    let x = fp32("x", &[1, 3], &[1.0, f32::NAN, f32::INFINITY]);
    let answer = answer(graph.output("y", FLOAT, &["N", "3"]), vec![x]);
    assert!(matches!(floats(&answer), [0.0, a, b] if a.is_nan() && b.is_nan()), "{answer:?}");
}

#[test]
fn a_shape_is_filled_with_zeros_of_32_bits_where_no_value_is_given() {
    let graph = Graph::default().input("x", FLOAT, &["N", "T"]).node("Shape", &["x"], "shape");
    let graph = graph.node("ConstantOfShape", &["shape"], "zeros");
    let graph = graph.node("Sub", &["x", "zeros"], "y").output("y", FLOAT, &["N", "T"]);
    assert_eq!(floats(&answer(graph, vec![row(3)])), [1.0, 2.0, 3.0]);
}

#[test]
fn the_place_of_the_largest_number_is_the_first_where_that_is_missing() {
    let inf = f32::INFINITY;
    for (operator, expected) in [("ArgMax", [0, 2, 1]), ("ArgMin", [0, 0, 0])] {
        let graph = Graph::default().input("x", FLOAT, &["N", "3"]);
        let graph =
            graph.node_with(operator, &["x"], "y", vec![int("axis", 1), int("keepdims", 0)]);
        let model = load_bytes(&graph.output("y", INT64, &["N"]).encode()).expect("it loads");
        let rows = [f32::NAN, f32::NAN, inf, -1.0, f32::NAN, 2.0, -inf, f32::MIN, f32::NAN];
        // Often enough that plans are made for the sizes.
        for _ in 0..40 {
            let found = model.infer(vec![fp32("x", &[3, 3], &rows)], &[]).expect("answers");
            assert_eq!(found[0].data(), &TensorData::Int64(expected.to_vec()), "{operator}");
        }
    }
}

/// Factors of a Gemm, and what it makes of the row 1, 2 times 1, 1 and 0, 1 beside 1, 4.
fn products() -> [(Vec<AttributeProto>, [f32; 2]); 3] {
    let factor = |name: &str, f: f32| AttributeProto {
        name: name.to_owned(),
        r#type: 1,
        f,
        ..AttributeProto::default()
    };
    [
        (Vec::new(), [2.0, 7.0]),
        (vec![factor("alpha", -2.0)], [-1.0, -6.0 + 4.0]),
        (vec![factor("alpha", 0.5), factor("beta", 2.0)], [0.5 + 2.0, 1.5 + 8.0]),
    ]
}

#[test]
fn numbers_of_16_bits_are_multiplied_by_factors_of_16_bits() {
    let halves = |name: &str, dims: &[i64], values: &[f32]| {
        let bytes = values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes());
        tensor(name, HALF, dims, bytes.collect())
    };
    for (attributes, expected) in products() {
        let graph = Graph::default().input("x", FLOAT, &["N", "2"]);
        let graph = graph.node_with("Cast", &["x"], "half", vec![int("to", HALF.into())]);
        let graph = graph.constant(halves("w", &[2, 2], &[1.0, 1.0, 0.0, 1.0]));
        let graph = graph.constant(halves("c", &[2], &[1.0, 4.0]));
        let graph = graph.node_with("Gemm", &["half", "w", "c"], "sum", attributes);
        let graph = graph.node_with("Cast", &["sum"], "y", vec![int("to", FLOAT.into())]);
        let x = fp32("x", &[1, 2], &[1.0, 2.0]);
        assert_eq!(floats(&answer(graph.output("y", FLOAT, &["N", "2"]), vec![x])), expected);
    }
}

#[test]
fn numbers_of_64_bits_are_multiplied_by_factors_of_64_bits() {
    let doubles = |name: &str, dims: &[i64], values: &[f64]| {
        tensor(name, DOUBLE, dims, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    };
    for (attributes, expected) in products() {
        let graph = Graph::default().input("x", DOUBLE, &["N", "2"]);
        let graph = graph.constant(doubles("w", &[2, 2], &[1.0, 1.0, 0.0, 1.0]));
        let graph = graph.constant(doubles("c", &[2], &[1.0, 4.0]));
        let graph = graph.node_with("Gemm", &["x", "w", "c"], "y", attributes);
        let graph = graph.output("y", DOUBLE, &["N", "2"]).encode();
        let model = load_bytes(&graph).expect("it loads");
        let x = Tensor::new("x", &[1, 2][..], TensorData::Fp64(vec![1.0, 2.0])).expect("agrees");
        let found = model.infer(vec![x], &[]).expect("answers");
        assert_eq!(found[0].data(), &TensorData::Fp64(expected.map(f64::from).to_vec()));
    }
}

#[test]
fn numbers_of_64_bits_are_rounded_and_asked_whether_they_are_numbers() {
    let graph =
        |operator: &str| Graph::default().input("x", DOUBLE, &["N"]).node(operator, &["x"], "y");
    let x = vec![f64::NAN, f64::INFINITY, 2.5, -1.0];
    let answers = |graph: Graph, element: i32| {
        let model = load_bytes(&graph.output("y", element, &["N"]).encode()).expect("it loads");
        let x = Tensor::new("x", &[4][..], TensorData::Fp64(x.clone())).expect("agrees");
        model.infer(vec![x], &[]).expect("answers").remove(0)
    };
    let bools = |answer: Tensor| match answer.data() {
        TensorData::Bool(found) => found.iter().map(|x| u8::from(*x)).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(bools(answers(graph("IsNaN"), BOOL)), [1, 0, 0, 0]);
    assert_eq!(bools(answers(graph("IsInf"), BOOL)), [0, 1, 0, 0]);
    for (operator, expected) in [("Round", [2.0, -1.0]), ("LeakyRelu", [2.5, -f64::from(0.01_f32)])]
    {
        let answer = answers(graph(operator), DOUBLE);
        let TensorData::Fp64(found) = answer.data() else { panic!("{answer:?}") };
        assert!(found[0].is_nan(), "{operator}: {found:?}");
        assert_eq!(found[1..], [f64::INFINITY, expected[0], expected[1]], "{operator}");
    }
}

#[test]
fn a_model_that_needs_the_number_of_an_open_dimension_is_refused() {
    let graph = Graph::default().input("x", FLOAT, &["N", "1", "H", "W"]);
    let halves = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
    let graph = graph.node_with("MaxPool", &["x"], "half", halves);
    let graph = graph.node("Shape", &["x"], "sizes");
    let linear = vec![text("mode", "linear")];
    let graph = graph.node_with("Resize", &["half", "", "", "sizes"], "y", linear);
    let graph = graph.output("y", FLOAT, &["N", "1", "H", "W"]);
    match load_bytes(&graph.encode()) {
        // Should a plan ever learn it, it has to answer.
        Ok(model) => {
            let x = fp32("x", &[1, 1, 4, 4], &[1.0; 16]);
            assert_eq!(floats(&model.infer(vec![x], &[]).expect("answers")[0]), [1.0; 16]);
        }
        Err(error) => assert!(error.to_string().contains("Undetermined symbol"), "{error}"),
    }
}

#[test]
fn squares_of_integers_along_open_dimensions_are_answered() {
    let rows = || Graph::default().input("x", INT64, &["N", "T"]).ints("two", &[], &[2]);
    let along = || vec![ints("axes", &[1])];
    for (graph, length, expected) in [
        (rows().node("Mul", &["x", "x"], "y"), "T", &[9_i64, 16, 0, 1][..]),
        (rows().node("Pow", &["x", "two"], "y"), "T", &[9, 16, 0, 1]),
        (rows().node_with("ReduceSumSquare", &["x"], "y", along()), "1", &[26]),
        (rows().node_with("ReduceL2", &["x"], "y", along()), "1", &[5]),
    ] {
        let model = graph.output("y", INT64, &["N", length]).encode();
        let model = load_bytes(&model).expect("it loads");
        let x = TensorData::Int64(vec![3, -4, 1 << 32, i64::MAX]);
        let x = Tensor::new("x", &[1, 4][..], x).expect("agrees");
        for _ in 0..20 {
            let found = model.infer(vec![x.clone()], &[]).expect("answers");
            assert_eq!(found[0].data(), &TensorData::Int64(expected.to_vec()));
        }
    }
}

#[test]
fn a_function_of_the_models_own_is_refused_with_a_way_out() {
    let graph = Graph::default().input("x", FLOAT, &["N"]).node("mine", &["x"], "y");
    let bytes = graph.output("y", FLOAT, &["N"]).encode();
    let mut model = ModelProto::decode(&*bytes).expect("a model");
    let node = model.graph.as_mut().and_then(|graph| graph.node.first_mut()).expect("a node");
    "local".clone_into(&mut node.domain);
    model.opset_import.push(OperatorSetIdProto { domain: "local".to_owned(), version: 1 });
    model.functions.push(FunctionProto {
        name: Some("mine".to_owned()),
        domain: Some("local".to_owned()),
        ..FunctionProto::default()
    });
    let error = load_bytes(&model.encode_to_vec()).map(|_| ()).expect_err("a function");
    assert!(error.to_string().contains("onnx.inliner.inline_local_functions"), "{error}");
}
