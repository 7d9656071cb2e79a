//! Maps at the edges of a graph, which are served as tensors.
//!
//! Owns the two places where exporters put maps: a ZipMap at the end, whose scores become the output of
//! the same name, and a DictVectorizer at the beginning, whose row becomes the input. What the columns
//! stand for is kept beside the graph. Never touches a graph whose maps are anywhere else: those are
//! refused like every value that is not a tensor.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

use super::graph::{Refusal, outline};
use super::ml::{self, DictVectorizer, Labels, ZipMap};

/// What the columns of an input or output stand for, by its name.
pub(super) type Columns = HashMap<String, Labels>;

/// Turns the maps at the edges of `model` into tensors. `bytes` are those that it was decoded from.
///
/// # Errors
/// When the attributes of such an operator make no sense, or it stands within the graph.
pub(super) fn flatten(model: &mut ModelProto, bytes: &[u8]) -> Result<Columns, Refusal> {
    let mut columns = Columns::new();
    let version = model.opset_import.iter().find(|import| import.domain == ml::DOMAIN);
    let version = version.map_or(1, |import| import.version);
    let Some(graph) = &mut model.graph else { return Ok(columns) };
    let mut dims: Vec<(String, ValueInfoProto)> = Vec::new();
    for node in graph.node.iter().filter(|node| node.domain == ml::DOMAIN) {
        let malformed = |error: tract_onnx::prelude::TractError| {
            Refusal::Malformed(super::shortened(&format!("{error:#}")))
        };
        match &*node.op_type {
            "ZipMap" => {
                let output = at_the_end(graph, node).ok_or_else(|| within(node))?;
                let labels = ml::parse::<ZipMap>(node, version).map_err(malformed)?.into_labels();
                let width = labels.len();
                columns.insert(output.to_owned(), labels);
                dims.push((output.to_owned(), tensor(output, DataType::Float as i32, None, width)));
            }
            "DictVectorizer" => {
                let input = at_the_beginning(graph, node).ok_or_else(|| within(node))?;
                let keys = ml::parse::<DictVectorizer>(node, version).map_err(malformed)?;
                let keys = keys.into_vocabulary();
                let Some(element) = outline::map_values(bytes, input) else { continue };
                // One map is one row.
                dims.push((input.to_owned(), tensor(input, element, Some(1), keys.len())));
                columns.insert(input.to_owned(), keys);
            }
            _ => {}
        }
    }
    let values = graph.input.iter_mut().chain(&mut graph.output);
    for value in values.filter(|value| columns.contains_key(&value.name)) {
        if let Some((_, flat)) = dims.iter().find(|(name, _)| *name == value.name) {
            value.clone_from(flat);
        }
    }
    Ok(columns)
}

fn within(node: &NodeProto) -> Refusal {
    let operator = format!("{}.{} within the graph", ml::DOMAIN, node.op_type);
    Refusal::Operator { operator, node: super::graph::node_name(node) }
}

/// The output of the graph that the node's only output is, if nothing else reads it.
fn at_the_end<'a>(graph: &GraphProto, node: &'a NodeProto) -> Option<&'a str> {
    let [output] = &*node.output else { return None };
    let is_output = graph.output.iter().any(|value| value.name == *output);
    let read = graph.node.iter().any(|other| other.input.contains(output));
    (is_output && !read).then_some(output)
}

/// The input of the graph that the node's only input is, if nothing else reads it.
fn at_the_beginning<'a>(graph: &GraphProto, node: &'a NodeProto) -> Option<&'a str> {
    let [input] = &*node.input else { return None };
    let is_input = graph.input.iter().any(|value| value.name == *input);
    let readers = graph.node.iter().filter(|other| other.input.contains(input)).count();
    (is_input && readers == 1).then_some(input)
}

/// A tensor of rank 2; any number of rows where `rows` does not say.
fn tensor(name: &str, element: i32, rows: Option<i64>, width: usize) -> ValueInfoProto {
    let width = i64::try_from(width).unwrap_or(i64::MAX);
    let dim = |size: i64| Dimension {
        value: Some(dimension::Value::DimValue(size)),
        ..Dimension::default()
    };
    let dims = vec![rows.map_or_else(Dimension::default, dim), dim(width)];
    let shape = Some(TensorShapeProto { dim: dims });
    let tensor = type_proto::Tensor { elem_type: element, shape };
    let kind =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(kind), ..ValueInfoProto::default() }
}
