//! The entry points of the fuzz targets for model files, which the replay of their corpora uses too.

use std::sync::LazyLock;

use prost::Message as _;
use tract_onnx::Onnx;
use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::prelude::{TValue, Tensor, tensor1};

use super::artifact::seal;
use super::{boundary, graph, ml, onnx};

/// Decodes `bytes` as a model and checks its graph, as loading does before tract sees it, and reads the
/// attributes of all operators that are ours. Whether the model would go on to tract.
pub fn fuzz_graph(bytes: &[u8]) -> bool {
    static TRACT: LazyLock<Onnx> = LazyLock::new(|| {
        let mut tract = tract_onnx::onnx();
        ml::register(&mut tract);
        onnx::register(&mut tract);
        tract
    });
    let Ok(mut model) = graph::decode(bytes) else { return false };
    let checked = boundary::flatten(&mut model, bytes)
        .and_then(|_columns| graph::check(&TRACT, &model, bytes));
    if checked.is_ok()
        && let Some(graph) = &model.graph
    {
        let own = model.opset_import.iter().find(|import| import.domain == ml::DOMAIN);
        read_operators(graph, own.map_or(1, |import| import.version));
    }
    checked.is_ok()
}

/// Reads the attributes of our operators in a graph and its branches, whose depth the decoder bounds.
fn read_operators(graph: &GraphProto, version: i64) {
    for node in &graph.node {
        if node.domain == ml::DOMAIN {
            ml::attempt(node, version, &[]);
        }
        for attribute in &node.attribute {
            let branches = attribute.g.iter().chain(&attribute.graphs);
            branches.for_each(|branch| read_operators(branch, version));
        }
    }
}

/// Decodes `bytes`, behind a version, as a node of `ai.onnx.ml`, and runs what can be read on a few rows.
/// Whether it can be read.
pub fn fuzz_operator(bytes: &[u8]) -> bool {
    let Some((version, node)) = bytes.split_first() else { return false };
    let Ok(node) = NodeProto::decode(node) else { return false };
    ml::attempt(&node, i64::from(*version), &trial_inputs())
}

/// Rows of one to four features in every type that the domain takes, with the numbers that matter.
fn trial_inputs() -> Vec<TValue> {
    const NUMBERS: [f32; 8] =
        [0.5, -1.0, 0.0, f32::NAN, f32::INFINITY, 3.0, 1e30, f32::NEG_INFINITY];
    let mut inputs = Vec::new();
    for features in 1..=4 {
        let shape = [NUMBERS.len() / 4, features];
        let numbers: Vec<f32> = NUMBERS.iter().copied().cycle().take(shape[0] * features).collect();
        #[expect(clippy::cast_possible_truncation, reason = "any integer will do")]
        let integers: Vec<i64> = numbers.iter().map(|number| *number as i64).collect();
        let wide: Vec<f64> = numbers.iter().copied().map(f64::from).collect();
        let texts: Vec<String> = integers.iter().map(ToString::to_string).collect();
        let made = [
            Tensor::from_shape(&shape, &numbers),
            Tensor::from_shape(&shape, &integers),
            Tensor::from_shape(&shape, &wide),
            tensor1(&texts).into_shape(&shape),
        ];
        inputs.extend(made.into_iter().flatten().map(TValue::from));
    }
    inputs
}

/// Reads `bytes` as the small files beside a model: its `READY` and its signature.
pub fn fuzz_artifact(bytes: &[u8]) {
    seal::fuzz(bytes);
}
