//! Constants reach an operator however an exporter writes them. Expected answers are those of onnxruntime.

use tract_onnx::pb::{AttributeProto, TensorProto};

use super::onnx::{FLOAT, Graph, INT64, int, ints, tensor};
use super::*;

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

/// Adds a constant list of integers by that name.
type Integers = fn(Graph, &str, &[i64]) -> Graph;
/// Adds a constant number by that name.
type Number = fn(Graph, &str, f32) -> Graph;

fn under(name: &str, part: &str) -> String {
    format!("{name}.{part}")
}

fn length(values: &[i64]) -> i64 {
    i64::try_from(values.len()).expect("short")
}

/// The attribute of a ConstantOfShape.
fn value(tensor: TensorProto) -> AttributeProto {
    AttributeProto {
        name: "value".to_owned(),
        r#type: 4,
        t: Some(tensor),
        ..AttributeProto::default()
    }
}

const INTEGERS: &[(&str, Integers)] = &[
    ("an initializer", |graph, name, values| graph.ints(name, &[length(values)], values)),
    ("value_ints", |graph, name, values| {
        graph.node_with("Constant", &[], name, vec![ints("value_ints", values)])
    }),
    ("Identity", |graph, name, values| {
        let from = under(name, "from");
        graph.ints(&from, &[length(values)], values).node("Identity", &[&from], name)
    }),
    ("Cast", |graph, name, values| {
        let from = under(name, "from");
        let floats: Vec<f32> = values.iter().map(|value| *value as f32).collect();
        let graph = graph.floats(&from, &[length(values)], &floats);
        graph.node_with("Cast", &[&from], name, vec![int("to", INT64.into())])
    }),
    ("Unsqueeze and Concat", |mut graph, name, values| {
        let axes = under(name, "axes");
        graph = graph.ints(&axes, &[1], &[0]);
        let mut parts = Vec::new();
        for (at, value) in values.iter().enumerate() {
            let (alone, part) = (under(name, &format!("{at}")), under(name, &format!("part-{at}")));
            graph = graph.ints(&alone, &[], &[*value]).node("Unsqueeze", &[&alone, &axes], &part);
            parts.push(part);
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        graph.node_with("Concat", &parts, name, vec![int("axis", 0)])
    }),
    ("Sub", |graph, name, values| {
        let (more, seven) = (under(name, "more"), under(name, "seven"));
        let larger: Vec<i64> = values.iter().map(|value| value + 7).collect();
        let graph = graph.ints(&more, &[length(values)], &larger).ints(&seven, &[], &[7]);
        graph.node("Sub", &[&more, &seven], name)
    }),
    ("ConstantOfShape", |graph, name, values| {
        let shape = under(name, "shape");
        let first = values.first().expect("some");
        let one = tensor("", INT64, &[1], first.to_le_bytes().to_vec());
        let graph = graph.ints(&shape, &[1], &[length(values)]);
        graph.node_with("ConstantOfShape", &[&shape], name, vec![value(one)])
    }),
];

const NUMBERS: &[(&str, Number)] = &[
    ("an initializer", |graph, name, number| graph.floats(name, &[], &[number])),
    ("value_float", |graph, name, number| {
        let attribute = AttributeProto {
            name: "value_float".to_owned(),
            r#type: 1,
            f: number,
            ..AttributeProto::default()
        };
        graph.node_with("Constant", &[], name, vec![attribute])
    }),
    ("Identity", |graph, name, number| {
        let from = under(name, "from");
        graph.floats(&from, &[], &[number]).node("Identity", &[&from], name)
    }),
    ("Cast", |graph, name, number| {
        const DOUBLE: i32 = 11;
        let from = under(name, "from");
        let double = f64::from(number).to_le_bytes().to_vec();
        let graph = graph.constant(tensor(&from, DOUBLE, &[], double));
        graph.node_with("Cast", &[&from], name, vec![int("to", FLOAT.into())])
    }),
    ("Sub", |graph, name, number| {
        let (more, two) = (under(name, "more"), under(name, "two"));
        let graph = graph.floats(&more, &[], &[number + 2.0]).floats(&two, &[], &[2.0]);
        graph.node("Sub", &[&more, &two], name)
    }),
    ("Squeeze of a ConstantOfShape", |graph, name, number| {
        let (shape, filled) = (under(name, "shape"), under(name, "filled"));
        let one = tensor("", FLOAT, &[1], number.to_le_bytes().to_vec());
        let graph = graph.ints(&shape, &[1], &[1]);
        let graph = graph.node_with("ConstantOfShape", &[&shape], &filled, vec![value(one)]);
        graph.node("Squeeze", &[&filled], name)
    }),
];

/// A graph of rows of open length.
fn rows() -> Graph {
    Graph::default().input("x", FLOAT, &["N", "T"])
}

fn run(graph: Graph, shape: &[usize], values: &[f32]) -> Tensor {
    let model = load_bytes(&graph.output("y", FLOAT, &["A", "B"]).encode()).expect("it loads");
    model.infer(vec![fp32("x", shape, values)], &[]).expect("answers").remove(0)
}

#[track_caller]
fn assert_answer(spelling: &str, answer: &Tensor, expected: &[f32]) {
    let TensorData::Fp32(found) = answer.data() else { panic!("{answer:?}") };
    let same = |(a, e): (&f32, &f32)| {
        a == e || a.is_nan() && e.is_nan() || (a - e).abs() <= 1e-6 * e.abs()
    };
    let alike = found.len() == expected.len() && found.iter().zip(expected).all(same);
    assert!(alike, "by {spelling}: {found:?} instead of {expected:?}");
}

#[test]
fn bounds_of_a_slice_are_clipped_however_they_are_written() {
    for (spelling, list) in INTEGERS {
        let graph = list(list(list(rows(), "start", &[-9, -2]), "end", &[9, 9]), "axes", &[0, 1]);
        if *spelling == "ConstantOfShape" {
            continue;
        }
        let graph = graph.node("Slice", &["x", "start", "end", "axes"], "y");
        let model = load_bytes(&graph.output("y", FLOAT, &["A", "B"]).encode()).expect("it loads");
        for (length, expected) in [(5_usize, &[4.0_f32, 5.0][..]), (2, &[1.0, 2.0]), (1, &[1.0])] {
            let row: Vec<f32> = (1_u8..).take(length).map(f32::from).collect();
            let answer = model.infer(vec![fp32("x", &[1, length], &row)], &[]).expect("answers");
            assert_answer(spelling, &answer[0], expected);
        }
    }
}

#[test]
fn reductions_take_their_axes_however_they_are_written() {
    let masked = [-INF, -INF, NAN, 1.0, -3.0, -1.0];
    let filled = [INF, INF, NAN, 1.0, 3.0, 1.0];
    let likelihoods = [1000.0, 1000.0, 999.0, 1.0, -1000.0, -1000.0, -1000.0, -1001.0];
    for (spelling, list) in INTEGERS {
        let reduced = |operator: &str, shape: &[usize], values: &[f32]| {
            let graph = list(rows(), "axes", &[1]);
            let graph = graph.node_with(operator, &["x", "axes"], "y", vec![int("keepdims", 1)]);
            run(graph, shape, values)
        };
        assert_answer(spelling, &reduced("ReduceMax", &[3, 2], &masked), &[-INF, NAN, -1.0]);
        assert_answer(spelling, &reduced("ReduceMin", &[3, 2], &filled), &[INF, NAN, 1.0]);
        let sums = reduced("ReduceLogSumExp", &[2, 4], &likelihoods);
        assert_answer(spelling, &sums, &[1000.862, -998.7857]);
    }
}

#[test]
fn axes_that_come_with_a_request_are_refused_by_name() {
    let graph = rows().input("axes", INT64, &["1"]).node("ReduceMax", &["x", "axes"], "y");
    let graph = graph.output("y", FLOAT, &["A", "B"]);
    let error = load_bytes(&graph.encode()).map(|_| ()).expect_err("not constant").to_string();
    assert!(error.contains("the axes of ReduceMax must be constants"), "{error}");
}

#[test]
fn what_is_missing_stays_missing_between_bounds_however_they_are_written() {
    for (spelling, number) in NUMBERS {
        let graph = number(number(rows(), "low", 0.0), "high", 6.0);
        let graph = graph.node("Clip", &["x", "low", "high"], "y");
        let answer = run(graph, &[1, 4], &[NAN, -1.0, 7.0, 3.0]);
        assert_answer(spelling, &answer, &[NAN, 0.0, 6.0, 3.0]);
        // A bound of which there is only one.
        let graph = number(rows(), "high", 6.0).node("Clip", &["x", "", "high"], "y");
        let answer = run(graph, &[1, 4], &[NAN, -INF, 7.0, 3.0]);
        assert_answer(spelling, &answer, &[NAN, f32::MIN, 6.0, 3.0]);
    }
}

#[test]
fn zeros_do_not_hide_what_is_missing_however_they_are_written() {
    let numbers = [NAN, INF, 0.0, -3.0];
    for (spelling, number) in NUMBERS {
        let with = |operator: &str, inputs: &[&str], value: f32| {
            let graph = number(rows(), "number", value).node(operator, inputs, "y");
            run(graph, &[1, 4], &numbers)
        };
        let answer = with("Mul", &["number", "x"], 0.0);
        assert_answer(spelling, &answer, &[NAN, NAN, 0.0, 0.0]);
        let answer = with("Div", &["number", "x"], 0.0);
        assert_answer(spelling, &answer, &[NAN, 0.0, NAN, 0.0]);
        let answer = with("Div", &["x", "number"], INF);
        assert_answer(spelling, &answer, &[NAN, NAN, 0.0, 0.0]);
        let slopes = number(rows(), "slope", 0.0).node("PRelu", &["x", "slope"], "y");
        let answer = run(slopes, &[1, 4], &[NAN, -INF, 4.0, -3.0]);
        assert_answer(spelling, &answer, &[NAN, NAN, 4.0, 0.0]);
        let power = number(rows(), "exponent", 0.5).node("Pow", &["x", "exponent"], "y");
        let answer = run(power, &[1, 4], &[NAN, -INF, 4.0, -3.0]);
        assert_answer(spelling, &answer, &[NAN, INF, 2.0, NAN]);
    }
}

#[test]
fn zeros_in_the_shape_of_a_request_do_not_hide_what_is_missing() {
    let zero = tensor("", FLOAT, &[1], 0_f32.to_le_bytes().to_vec());
    let graph = rows().node("Shape", &["x"], "shape");
    let graph = graph.node_with("ConstantOfShape", &["shape"], "zeros", vec![value(zero)]);
    let answer = run(graph.node("Mul", &["x", "zeros"], "y"), &[1, 3], &[NAN, INF, 2.0]);
    assert_answer("ConstantOfShape", &answer, &[NAN, NAN, 0.0]);
    let graph = rows().node("Shape", &["x"], "shape").floats("zero", &[1], &[0.0]);
    let graph = graph.node("Expand", &["zero", "shape"], "zeros");
    let answer = run(graph.node("Mul", &["zeros", "x"], "y"), &[2, 1], &[NAN, 2.0]);
    assert_answer("Expand", &answer, &[NAN, 0.0]);
}
