//! What requests can make a model take, and whom it answers together.

use prost::Message as _;
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto, OperatorSetIdProto};

use super::onnx::{FLOAT, Graph, INT64, int, ints};
use super::*;

const STRING: i32 = 8;
const MIB: u64 = 1024 * 1024;

fn int64(name: &str, shape: &[usize], values: &[i64]) -> Tensor {
    Tensor::new(name, shape, TensorData::Int64(values.to_vec())).expect("agrees")
}

pub(super) fn load_within(bytes: &[u8], run_bytes: u64) -> LocalModel {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, bytes).expect("written");
    let limits = LoadLimits { run_bytes, ..LoadLimits::default() };
    LocalModel::load(&path, &limits).expect("loads")
}

/// Numbers from 0 up to the input, and where `pairs`, which of them are the same.
fn counting(pairs: bool) -> Vec<u8> {
    let graph = Graph::default()
        .ints("zero", &[], &[0])
        .ints("one", &[], &[1])
        .ints("front", &[1], &[0])
        .ints("back", &[1], &[1])
        .input("x", INT64, &[])
        .node("Range", &["zero", "x", "one"], "numbers");
    if !pairs {
        return graph.output("numbers", INT64, &["M"]).encode();
    }
    graph
        .node("Unsqueeze", &["numbers", "front"], "across")
        .node("Unsqueeze", &["numbers", "back"], "down")
        .node("Mul", &["across", "down"], "products")
        .output("products", INT64, &["M", "M"])
        .encode()
}

#[test]
fn a_value_that_decides_a_size_is_refused_before_anything_is_made() {
    let model = load_within(&counting(false), MIB);
    assert_eq!(model.cost_of(&[int64("x", &[], &[3])]), None, "never on a worker");
    let count = |to: i64| model.infer(vec![int64("x", &[], &[to])], &[]);
    assert_eq!(count(3).expect("few")[0], int64("numbers", &[3], &[0, 1, 2]));
    assert_eq!(count(-5).expect("none")[0], int64("numbers", &[0], &[]));
    for many in [1_000_000, 100_000_000, (1 << 32) + 3, 10_i64.pow(13), i64::MAX] {
        let error = count(many).expect_err("too many");
        assert!(matches!(error, InferError::Input(InputError::Value { .. })), "{error}");
        assert!(error.to_string().contains("`inference.run_memory` allows 1 MiB"), "{error}");
    }
}

#[test]
fn what_follows_from_such_a_size_counts_before_it_is_made() {
    let model = load_within(&counting(true), MIB);
    let products = |to: i64| model.infer(vec![int64("x", &[], &[to])], &[]);
    assert_eq!(
        products(3).expect("few")[0],
        int64("products", &[3, 3], &[0, 0, 0, 0, 1, 2, 0, 2, 4])
    );
    // The numbers take 80 kB, their products 800 MB.
    for to in [10_000, 10_000, 1_000] {
        let error = products(to).expect_err("too many");
        assert!(error.to_string().contains("for inputs of these values"), "{error}");
    }
    assert_eq!(products(2).expect("goes on")[0], int64("products", &[2, 2], &[0, 0, 0, 1]));
}

/// The graph `body` as an attribute.
pub(super) fn graph(name: &str, body: Graph) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: 5,
        g: Some(body.0),
        ..AttributeProto::default()
    }
}

/// The sums over one axis of the products of all pairs of the numbers `of`.
fn sums_of_pairs(graph: Graph, of: &str) -> Graph {
    graph
        .ints("back", &[1], &[1])
        .node("Unsqueeze", &[of, "back"], "down")
        .node("Mul", &["down", of], "pairs")
        .node_with("ReduceSum", &["pairs", "back"], "sums", vec![int("keepdims", 0)])
        .output("sums", FLOAT, &["T"])
}

/// One row after the other goes through `body`.
fn each_row(body: Graph, element: i32, dims: &[&str], made: &[&str]) -> Vec<u8> {
    let attributes = vec![int("num_scan_inputs", 1), graph("body", body)];
    let graph = Graph::default().input("x", element, dims);
    graph.node_with("Scan", &["x"], "y", attributes).output("y", element, made).encode()
}

#[test]
fn what_is_made_within_a_loop_counts() {
    let body = sums_of_pairs(Graph::default().input("row", FLOAT, &["T"]), "row");
    let model = load_within(&each_row(body, FLOAT, &["2", "T"], &["2", "T"]), MIB);
    let sums = |length: usize| {
        let rows: Vec<f32> =
            (0..2 * length).map(|at| if at < length { 1.0 } else { 2.0 }).collect();
        model.infer(vec![fp32("x", &[2, length], &rows)], &[])
    };
    assert_eq!(sums(3).expect("few")[0], fp32("y", &[2, 3], &[3.0, 3.0, 3.0, 12.0, 12.0, 12.0]));
    // The pairs of a row take 16 MB.
    let error = sums(2000).expect_err("too many");
    assert!(error.to_string().contains("`inference.run_memory` allows 1 MiB"), "{error}");
}

#[test]
fn what_is_made_within_a_branch_counts() {
    const BOOL: i32 = 9;
    let other = Graph::default().node("Neg", &["x"], "less").output("less", FLOAT, &["T"]);
    let branches = vec![
        graph("then_branch", sums_of_pairs(Graph::default(), "x")),
        graph("else_branch", other),
    ];
    let graph = Graph::default().input("x", FLOAT, &["T"]).input("all", BOOL, &[]);
    let graph = graph.node_with("If", &["all"], "y", branches).output("y", FLOAT, &["T"]);
    let model = load_within(&graph.encode(), MIB);
    let run = |all: bool, numbers: &[f32]| {
        let all = Tensor::new("all", &[][..], TensorData::Bool(vec![all])).expect("agrees");
        model.infer(vec![fp32("x", &[numbers.len()], numbers), all], &[])
    };
    assert_eq!(run(true, &[1.0, 2.0]).expect("few")[0], fp32("y", &[2], &[3.0, 6.0]));
    assert_eq!(run(false, &[1.0, 2.0]).expect("few")[0], fp32("y", &[2], &[-1.0, -2.0]));
    let error = run(true, &[1.0; 2000]).expect_err("too many");
    assert!(error.to_string().contains("`inference.run_memory` allows 1 MiB"), "{error}");
}

#[test]
fn an_index_out_of_range_within_a_branch_is_the_callers_mistake() {
    const BOOL: i32 = 9;
    let gather = Graph::default().node("Gather", &["x", "at"], "found");
    let gather = gather.output("found", FLOAT, &["1"]);
    let none = Graph::default().floats("none", &[1], &[0.0]).node("Neg", &["none"], "zero");
    let branches = vec![
        graph("then_branch", gather),
        graph("else_branch", none.output("zero", FLOAT, &["1"])),
    ];
    let graph = Graph::default().input("x", FLOAT, &["T"]).input("at", INT64, &["1"]);
    let graph = graph.input("all", BOOL, &[]).node_with("If", &["all"], "y", branches);
    let model = load_bytes(&graph.output("y", FLOAT, &["1"]).encode()).expect("loads");
    let run = |at: i64| {
        let all = Tensor::new("all", &[][..], TensorData::Bool(vec![true])).expect("agrees");
        let inputs = vec![fp32("x", &[2], &[3.0, 4.0]), int64("at", &[1], &[at]), all];
        model.infer(inputs, &[])
    };
    assert_eq!(run(-1).expect("there")[0], fp32("y", &[1], &[4.0]));
    let error = run(2).expect_err("out of range");
    assert!(matches!(error, InferError::Input(InputError::Value { .. })), "{error}");
}

#[test]
fn a_size_that_values_decide_within_a_loop_is_refused() {
    let body = Graph::default()
        .ints("zero", &[], &[0])
        .ints("one", &[], &[1])
        .ints("front", &[1], &[0])
        .input("to", INT64, &[])
        .node("Range", &["zero", "to", "one"], "numbers")
        .node_with("ReduceSum", &["numbers", "front"], "sum", vec![int("keepdims", 0)])
        .output("sum", INT64, &[]);
    // Of one row there would be no loop.
    let bytes = each_row(body, INT64, &["2"], &["2"]);
    let error = load_bytes(&bytes).map(|_| ()).expect_err("nothing bounds it").to_string();
    assert!(error.contains("Range") && error.contains("only values decide"), "{error}");
}

/// Turns integers into texts of `length` characters.
fn names(length: usize) -> Vec<u8> {
    let texts = |name: &str, texts: &[String]| AttributeProto {
        name: name.to_owned(),
        r#type: 8,
        strings: texts.iter().map(|text| text.clone().into_bytes()).collect(),
        ..AttributeProto::default()
    };
    let values = ["a".repeat(length), "b".repeat(length)];
    let mut graph = Graph::default().input("x", INT64, &["N"]).output("y", STRING, &["N"]);
    graph.0.node.push(NodeProto {
        input: vec!["x".to_owned()],
        output: vec!["y".to_owned()],
        op_type: "LabelEncoder".to_owned(),
        domain: "ai.onnx.ml".to_owned(),
        attribute: vec![ints("keys_int64s", &[0, 1]), texts("values_strings", &values)],
        ..NodeProto::default()
    });
    let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.to_owned(), version };
    let model = ModelProto {
        ir_version: 8,
        opset_import: vec![opset("", 17), opset("ai.onnx.ml", 2)],
        graph: Some(graph.0),
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

#[test]
fn texts_count_with_their_lengths() {
    let model = load_within(&names(1000), MIB);
    let rows = |rows: usize| vec![int64("x", &[rows], &vec![0; rows])];
    let encoded = model.infer(rows(900), &[]).expect("900 kB");
    assert_eq!(encoded[0].data().len(), 900);
    let error = model.infer(rows(1100), &[]).expect_err("1.1 MB");
    assert!(error.to_string().contains("for inputs of these sizes"), "{error}");
}

#[test]
fn an_answer_that_is_too_long_is_refused_before_it_is_copied() {
    let model = load_within(&names(1000), MIB);
    let bounded = |rows: usize, limit| {
        let rows = vec![int64("x", &[rows], &vec![1; rows])];
        model.run(&model.prepare(rows, &[]).expect("fits").at_most(limit))
    };
    assert!(bounded(9, 10_000).is_ok());
    assert_eq!(bounded(10, 10_000), Err(InferError::TooLong { bytes: 10_080, limit: 10_000 }));
    let iris = example("iris/v1");
    let x = vec![fp32("input", &[2, 4], &[1.0; 8])];
    let refused = iris.run(&iris.prepare(x, &["probabilities"]).expect("fits").at_most(47));
    assert_eq!(refused, Err(InferError::TooLong { bytes: 48, limit: 47 }));
}

#[test]
fn a_graph_whose_two_rows_fail_takes_one() {
    let graph = Graph::default()
        .input("x", FLOAT, &["N", "2"])
        .node("Relu", &["x"], "y")
        .node("Shape", &["y"], "shape")
        .output("y", FLOAT, &["N", "2"])
        .output("shape", INT64, &["2"]);
    let model = load_bytes(&graph.encode()).expect("loads");
    let run = |rows: usize| model.infer(vec![fp32("x", &[rows, 2], &vec![1.0; rows * 2])], &[]);
    assert_eq!(run(1).expect("one row")[1], int64("shape", &[2], &[1, 2]));
    match run(2) {
        Ok(outputs) => assert_eq!(outputs[1], int64("shape", &[2], &[2, 2])),
        Err(error) => assert!(matches!(error, InferError::Input(_)), "{error}"),
    }
}

/// Two classes of the rows of `x` by what the last of `nodes` makes of them.
fn labels(nodes: impl FnOnce(Graph) -> Graph) -> Vec<u8> {
    let graph = nodes(Graph::default().input("x", FLOAT, &["N", "2"]));
    graph
        .node_with("ArgMax", &["scores"], "label", vec![int("axis", 1), int("keepdims", 0)])
        .output("label", INT64, &["N"])
        .encode()
}

#[test]
fn rows_that_are_mixed_behind_labels_are_not_batched() {
    let quantized = labels(|mut graph| {
        graph.0.node.push(NodeProto {
            input: vec!["x".to_owned()],
            output: ["levels", "scale", "zero"].map(str::to_owned).to_vec(),
            op_type: "DynamicQuantizeLinear".to_owned(),
            name: "quantize".to_owned(),
            ..NodeProto::default()
        });
        graph.node_with("Cast", &["levels"], "scores", vec![int("to", FLOAT.into())])
    });
    // Shares of the whole batch.
    let shares =
        labels(|graph| graph.node_with("LogSoftmax", &["x"], "scores", vec![int("axis", 0)]));
    let softmax =
        labels(|graph| graph.node_with("Softmax", &["x"], "scores", vec![int("axis", 0)]));
    // More rows than a trial has would change the answer.
    let counted = labels(|graph| {
        let graph = graph.ints("zero", &[], &[0]).floats("many", &[], &[1000.0]);
        let graph = graph.node("Shape", &["x"], "shape").node("Gather", &["shape", "zero"], "rows");
        let graph = graph.node_with("Cast", &["rows"], "count", vec![int("to", FLOAT.into())]);
        let graph = graph.node("Max", &["count", "many"], "factor");
        graph.node("Mul", &["x", "factor"], "scores")
    });
    for (bytes, why) in [
        (counted, "computes with the number of rows"),
        (quantized, "DynamicQuantizeLinear (node 'quantize') looks at all rows together"),
        (softmax, "looks at all rows together"),
        (shares, "LogSoftmax (node 'scores') looks at all rows together"),
    ] {
        let model = load_bytes(&bytes).expect("loads");
        let refusal = model.check_batching("m.onnx".as_ref()).expect_err(why).to_string();
        assert!(refusal.contains(why), "{refusal}");
    }
    let each = labels(|graph| graph.node_with("Softmax", &["x"], "scores", vec![int("axis", 1)]));
    load_bytes(&each).expect("loads").check_batching("m.onnx".as_ref()).expect("row by row");
}

/// The rows of `of` from the last to the first, which nothing but their order shows.
fn reversed(graph: Graph, of: &str) -> Graph {
    graph
        .node("Shape", &["x"], "shape")
        .ints("zero", &[], &[0])
        .ints("one", &[], &[1])
        .node("Gather", &["shape", "zero"], "rows")
        .node("Range", &["zero", "rows", "one"], "places")
        .node("Sub", &["rows", "one"], "last")
        .node("Sub", &["last", "places"], "back")
        .node("Gather", &[of, "back"], "y")
}

#[test]
fn rows_that_change_places_are_found_in_the_trial() {
    let mirrored = reversed(Graph::default().input("x", FLOAT, &["N", "2"]), "x");
    let crossed = Graph::default()
        .input("x", FLOAT, &["N", "2"])
        .ints("view", &[2], &[2, -1])
        .node("Reshape", &["x", "view"], "halves")
        .node_with("Transpose", &["halves"], "y", vec![ints("perm", &[1, 0])]);
    for graph in [mirrored, crossed] {
        let model = load_bytes(&graph.output("y", FLOAT, &["N", "2"]).encode()).expect("loads");
        let refusal = model.check_batching("m.onnx".as_ref()).expect_err("mixed").to_string();
        assert!(refusal.contains("output 'y' of one row depends on the other rows"), "{refusal}");
    }
}

#[test]
fn integers_of_all_sizes_are_tried() {
    const BOOL: i32 = 9;
    // Whether they are large, of another row: small ones are all alike.
    let graph = Graph::default().input("x", INT64, &["N", "1"]).ints("many", &[], &[50]);
    let graph = reversed(graph.node("Greater", &["x", "many"], "large"), "large");
    let model = load_bytes(&graph.output("y", BOOL, &["N", "1"]).encode()).expect("loads");
    let refusal = model.check_batching("m.onnx".as_ref()).expect_err("mixed").to_string();
    assert!(refusal.contains("output 'y' of one row depends on the other rows"), "{refusal}");
    let graph = Graph::default().input("x", INT64, &["N", "1"]).ints("many", &[], &[50]);
    let graph = graph.node("Greater", &["x", "many"], "y").output("y", BOOL, &["N", "1"]);
    let model = load_bytes(&graph.encode()).expect("loads");
    model.check_batching("m.onnx".as_ref()).expect("row by row");
}

/// Counts `x` beside an index `i` of a table of 12. The counts of all rows are laid end to end and each is the largest of
/// its neighbours, if `mixed`.
fn counts_beside_an_index(mixed: bool) -> Vec<u8> {
    let graph = Graph::default().input("x", INT64, &["N", "4"]).input("i", INT64, &["N", "1"]);
    let graph = graph.node_with("Cast", &["x"], "counts", vec![int("to", FLOAT.into())]);
    let window = vec![ints("kernel_shape", &[3]), ints("pads", &[1, 1])];
    let graph = graph
        .ints("line", &[3], &[1, 1, -1])
        .ints("rows", &[2], &[-1, 4])
        .ints("column", &[2], &[-1, 1])
        .floats("table", &[12, 1], &[0.5; 12])
        .node("Reshape", &["counts", "line"], "laid")
        .node_with("MaxPool", &["laid"], "largest", window)
        .node("Reshape", &["largest", "rows"], "pooled")
        .node("Gather", &["table", "i"], "found")
        .node("Reshape", &["found", "column"], "offset");
    let graph = graph.node("Add", &[if mixed { "pooled" } else { "counts" }, "offset"], "y");
    graph.output("y", FLOAT, &["N", "4"]).encode()
}

#[test]
fn integers_lie_apart_beside_an_index_that_does_not() {
    let model = load_bytes(&counts_beside_an_index(true)).expect("loads");
    let refusal = model.check_batching("m.onnx".as_ref()).expect_err("mixed").to_string();
    assert!(refusal.contains("output 'y' of one row depends on the other rows"), "{refusal}");
    let model = load_bytes(&counts_beside_an_index(false)).expect("loads");
    model.check_batching("m.onnx".as_ref()).expect("row by row");
}

#[test]
fn indexes_lie_as_far_apart_as_the_table_has_places() {
    // Whether it is above the middle of the table, of another row: 0 and 1 are not.
    for (places, middle) in [(4_usize, 1), (12, 5), (300, 150)] {
        let table: Vec<f32> = (0..places).map(|at| at as f32).collect();
        let graph = Graph::default().input("x", INT64, &["N", "1"]).ints("middle", &[], &[middle]);
        let graph = graph.floats("table", &[places as i64], &table).node(
            "Gather",
            &["table", "x"],
            "found",
        );
        let graph = graph.node_with("Cast", &["found"], "whole", vec![int("to", INT64.into())]);
        let graph = reversed(graph.node("Greater", &["whole", "middle"], "large"), "large");
        let model = load_bytes(&graph.output("y", 9, &["N", "1"]).encode()).expect("loads");
        let refusal = model.check_batching("m.onnx".as_ref()).expect_err("mixed").to_string();
        assert!(refusal.contains("output 'y' of one row depends on the other rows"), "{refusal}");
    }
}

#[test]
fn an_operator_that_has_no_function_for_a_type_is_refused_by_name() {
    let graph = Graph::default().input("x", INT64, &["N", "T"]);
    let graph = graph.node_with("ReduceLogSum", &["x"], "y", vec![ints("axes", &[1])]);
    let bytes = graph.output("y", INT64, &["N", "1"]).encode();
    let error = load_bytes(&bytes).map(|_| ()).expect_err("no logarithm of integers").to_string();
    assert!(error.contains("the operator Ln (node 'y.ln')"), "{error}");
}

#[test]
fn an_axis_that_is_not_there_is_refused() {
    for (operator, axis) in [("Softmax", 99), ("Softmax", 2), ("Softmax", -3), ("LogSoftmax", 2)] {
        let graph = Graph::default().input("x", FLOAT, &["N", "4"]);
        let graph = graph.node_with(operator, &["x"], "y", vec![int("axis", axis)]);
        let bytes = graph.output("y", FLOAT, &["N", "4"]).encode();
        let error = load_bytes(&bytes).map(|_| ()).expect_err("no such axis").to_string();
        assert!(error.contains(&format!("has the axis {axis}")), "{error}");
    }
}

#[test]
fn a_row_that_nothing_holds_is_refused_in_words() {
    let graph = Graph::default().input("x", FLOAT, &["N", "4611686018427387904"]);
    let graph = graph.node("Relu", &["x"], "y").output("y", FLOAT, &["N", "U"]);
    let error = load_bytes(&graph.encode()).map(|_| ()).expect_err("too large");
    let known = matches!(error, ArtifactError::Trial { .. } | ArtifactError::Compile { .. });
    assert!(known, "{error}");
}

#[test]
fn a_model_of_texts_that_always_fails_is_refused() {
    let graph = Graph::default()
        .floats("picture", &[1, 1, 2, 2], &[0.0; 4])
        .floats("far", &[1, 1, 1, 2], &[1e38, 0.0])
        .input("x", STRING, &["N"])
        .input("at", FLOAT, &["1", "1", "1", "2"])
        .node("Mul", &["at", "zero"], "nowhere")
        .node("Add", &["nowhere", "far"], "place")
        .node("GridSample", &["picture", "place"], "y")
        .node("Identity", &["x"], "z")
        .floats("zero", &[], &[0.0])
        .output("y", FLOAT, &["1", "1", "1", "1"])
        .output("z", STRING, &["N"]);
    let error = load_bytes(&graph.encode()).map(|_| ()).expect_err("it panics on every place");
    let known = matches!(error, ArtifactError::Trial { .. } | ArtifactError::Compile { .. });
    assert!(known, "{error}");
}
