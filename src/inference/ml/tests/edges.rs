//! Maps at the edges of a graph, and texts through it.

use super::*;
use crate::inference::{ArtifactError, InferError};

/// A graph of several nodes, whose input `x` has elements of `element` in `dims`.
fn chain(
    nodes: Vec<NodeProto>,
    element: DataType,
    dims: &[Option<i64>],
    outputs: Vec<ValueInfoProto>,
) -> ModelProto {
    let mut model = graph(node("Identity", &["none"], Vec::new()), element, dims);
    let graph = model.graph.as_mut().expect("a graph");
    graph.node = nodes;
    graph.output = outputs;
    model
}

fn reading(input: &str, node: NodeProto) -> NodeProto {
    NodeProto { input: vec![input.to_owned()], ..node }
}

fn refused(model: &ModelProto) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, model.encode_to_vec()).expect("written");
    let error: ArtifactError =
        LocalModel::load(&path, &LoadLimits::default()).map(|_| ()).expect_err("refused");
    error.to_string()
}

fn untyped(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: name.to_owned(), ..ValueInfoProto::default() }
}

fn scored(zip: NodeProto, last: Option<NodeProto>, output: &str) -> ModelProto {
    let classifier = classifier(&[7, 8], &[1.0, -1.0], &[0.0, 0.0], "NONE");
    let mut nodes = vec![classifier, reading("scores", zip)];
    nodes.extend(last);
    let outputs = vec![value("label", DataType::Int64, &[None]), untyped(output)];
    chain(nodes, DataType::Float, &[None, Some(1)], outputs)
}

#[test]
fn the_scores_before_a_zip_map_are_the_output_and_its_labels_are_kept() {
    let integers = node("ZipMap", &["maps"], vec![ints("classlabels_int64s", &[7, 8])]);
    let words = node("ZipMap", &["maps"], vec![texts("classlabels_strings", &["lo", "hi"])]);
    for (zip, labels) in [(integers, ["7", "8"]), (words, ["lo", "hi"])] {
        let model = load(&scored(zip, None, "maps"));
        assert_eq!(model.signature().columns["maps"], labels);
        assert_eq!(model.signature().outputs[1].to_string(), "'maps' (FP32 [-1, 2])");
        let outputs = run(&model, &[2, 1], TensorData::Fp32(vec![1.0, -2.0]));
        assert_eq!(outputs[1].name(), "maps");
        assert_eq!(outputs[1].data(), &TensorData::Fp32(vec![1.0, -1.0, -2.0, 2.0]));
    }
}

#[test]
fn a_zip_map_that_cannot_be_left_out_is_refused() {
    let zip = || node("ZipMap", &["maps"], vec![ints("classlabels_int64s", &[7, 8])]);
    let identity = NodeProto { domain: String::new(), ..node("Identity", &["out"], Vec::new()) };
    let message = refused(&scored(zip(), Some(reading("maps", identity)), "out"));
    assert!(message.contains("ai.onnx.ml.ZipMap within the graph (node 'maps')"), "{message}");
    let narrow = node("ZipMap", &["maps"], vec![ints("classlabels_int64s", &[7])]);
    let message = refused(&scored(narrow, None, "maps"));
    assert!(message.contains("ZipMap takes 1 features, not 2"), "{message}");
    let message = refused(&scored(node("ZipMap", &["maps"], Vec::new()), None, "maps"));
    assert!(
        message.contains("exactly one of classlabels_int64s and classlabels_strings"),
        "{message}"
    );
}

#[test]
fn texts_go_in_and_come_out() {
    let encode = node(
        "LabelEncoder",
        &["y"],
        vec![texts("keys_strings", &["ä", ""]), texts("values_strings", &["1", "2"])],
    );
    let mut model = graph(encode, DataType::String, &[None, Some(2)]);
    model.opset_import[1].version = 2;
    model.graph.as_mut().expect("a graph").output =
        vec![value("y", DataType::String, &[None, Some(2)])];
    let model = load(&model);
    let bytes = |words: &[&str]| {
        TensorData::Bytes(words.iter().map(|word| word.as_bytes().to_vec()).collect())
    };
    let outputs = run(&model, &[2, 2], bytes(&["ä", "", "x", "ä"]));
    assert_eq!(outputs[0].data(), &bytes(&["1", "2", "_Unused", "1"]));
    let data = TensorData::Bytes(vec![b"a".to_vec(), vec![0xff]]);
    let error = model.infer(vec![Tensor::new("x", [1, 2].as_slice(), data).expect("agrees")], &[]);
    let error = error.expect_err("no text");
    assert!(matches!(error, InferError::Input(_)));
    assert!(error.to_string().contains("'x' is not UTF-8 in element 1"), "{error}");
}

#[test]
fn a_category_that_the_model_does_not_take_is_the_clients_fault() {
    let attributes = vec![
        ints("cats_int64s", &[1, 2]),
        AttributeProto { i: 0, ..attribute("zeros", AttributeType::Int) },
    ];
    let mut model = graph(node("OneHotEncoder", &["y"], attributes), DataType::Int64, &[None]);
    model.graph.as_mut().expect("a graph").output =
        vec![value("y", DataType::Float, &[None, Some(2)])];
    let model = load(&model);
    let outputs = run(&model, &[2], TensorData::Int64(vec![2, 1]));
    assert_eq!(outputs[0].data(), &TensorData::Fp32(vec![0.0, 1.0, 1.0, 0.0]));
    let input = Tensor::new("x", [1].as_slice(), TensorData::Int64(vec![3])).expect("agrees");
    let error = model.infer(vec![input], &[]).expect_err("unknown");
    assert!(matches!(error, InferError::Input(_)), "{error}");
    assert!(error.to_string().contains("an element is none of the 2 categories"), "{error}");
}

#[test]
fn rows_with_fewer_features_than_trees_look_at_are_the_clients_fault() {
    let stump = vec![
        ints("nodes_treeids", &[0, 0, 0]),
        ints("nodes_nodeids", &[0, 1, 2]),
        ints("nodes_featureids", &[2, 0, 0]),
        texts("nodes_modes", &["BRANCH_LEQ", "LEAF", "LEAF"]),
        floats("nodes_values", &[0.5, 0.0, 0.0]),
        ints("nodes_truenodeids", &[1, 0, 0]),
        ints("nodes_falsenodeids", &[2, 0, 0]),
        ints("target_treeids", &[0, 0]),
        ints("target_nodeids", &[1, 2]),
        ints("target_ids", &[0, 0]),
        floats("target_weights", &[-1.0, 1.0]),
    ];
    let node = node("TreeEnsembleRegressor", &["y"], stump);
    let model = load(&graph(node, DataType::Float, &[None, None]));
    let rows = |columns: usize| {
        let data = TensorData::Fp32(vec![0.0; 2 * columns]);
        Tensor::new("x", [2, columns].as_slice(), data).expect("agrees")
    };
    // Often enough that plans are made for the sizes.
    for _ in 0..40 {
        let found = model.infer(vec![rows(3)], &[]).expect("answers");
        assert_eq!(found[0].data(), &TensorData::Fp32(vec![-1.0, -1.0]));
        for columns in [1, 2] {
            let error = model.infer(vec![rows(columns)], &[]).expect_err("too few");
            assert!(matches!(error, InferError::Input(_)), "{error}");
            assert!(error.to_string().contains("at least 3 features"), "{error}");
        }
    }
}
