//! What an ONNX graph asks for, checked before tract sees it.
//!
//! Owns which operators, inputs and outputs can be served, so that a refusal names the culprit instead
//! of failing somewhere in type inference. Never changes the graph. Follows the ONNX specification,
//! IR version 8 (<https://onnx.ai/onnx/repo-docs/IR.html>).

use std::collections::HashSet;

use prost::Message as _;
use tract_onnx::Onnx;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::type_proto;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto};

use super::signature::{Dim, Dims};
use super::{ml, onnx};
use crate::protocol::tensor::Datatype;

/// A value that the graph takes or returns.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) datatype: Datatype,
    /// The declared dimensions; empty for outputs, whose shape tract infers.
    pub(super) dims: Vec<DeclaredDim>,
}

/// A dimension as the file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DeclaredDim {
    Fixed(usize),
    /// The same name stands for the same size.
    Named(String),
    Unknown,
}

/// What the graph takes and returns, in the file's order.
#[derive(Debug, Clone)]
pub(super) struct Interface {
    pub(super) inputs: Vec<Declared>,
    pub(super) outputs: Vec<Declared>,
}

impl Interface {
    /// The same for one row: what the first input begins with is 1, wherever it stands. `None` where that
    /// dimension has a size.
    pub(super) fn one_row(&self) -> Option<Self> {
        let batch = self.inputs.first()?.dims.first()?;
        if matches!(batch, DeclaredDim::Fixed(_)) {
            return None;
        }
        let mut one = self.clone();
        for input in &mut one.inputs {
            for (axis, dim) in input.dims.iter_mut().enumerate() {
                // Outermost dimensions without a name are taken to be the batch.
                if dim == batch && (axis == 0 || *dim != DeclaredDim::Unknown) {
                    *dim = DeclaredDim::Fixed(1);
                }
            }
        }
        Some(one)
    }

    /// The same with one batch for all inputs: every open dimension that an input begins with is the first of them.
    /// `None` where they are the same as it is.
    pub(super) fn joined(&self) -> Option<Self> {
        let is_open = |dim: &&DeclaredDim| !matches!(dim, DeclaredDim::Fixed(_));
        let leading = || self.inputs.iter().filter_map(|input| input.dims.first()).filter(is_open);
        let batch = leading().next()?.clone();
        if leading().all(|dim| *dim == batch) {
            return None;
        }
        let mut joined = self.clone();
        for input in &mut joined.inputs {
            if let Some(dim) = input.dims.first_mut().filter(|dim| is_open(&&**dim)) {
                dim.clone_from(&batch);
            }
        }
        Some(joined)
    }

    /// The same with `sizes` for those of the open dimensions that have one, by the numbers in `dims`.
    pub(super) fn sized(&self, dims: &[Dims], size: impl Fn(usize) -> Option<usize>) -> Self {
        let mut sized = self.clone();
        for (input, dims) in sized.inputs.iter_mut().zip(dims) {
            for (declared, dim) in input.dims.iter_mut().zip(dims) {
                if let Dim::Free(number) = dim
                    && let Some(size) = size(*number)
                {
                    *declared = DeclaredDim::Fixed(size);
                }
            }
        }
        sized
    }
}

/// Why a graph is refused; the path is added by the caller.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NotOnnx(String),
    Malformed(String),
    Operator { operator: String, node: String },
    Input { input: String, found: String },
    Output { output: String, found: String },
    UnknownRank { input: String },
}

/// The operators of `com.microsoft` that stock tract has. Others of that domain share a name with an
/// ONNX operator but not its meaning, and tract looks operators up by name alone.
const CONTRIB_OPERATORS: [&str; 11] = [
    "BiasGelu",
    "FastGelu",
    "GatherBlockQuantized",
    "Gelu",
    "GroupQueryAttention",
    "MatMulNBits",
    "MultiHeadAttention",
    "QuickGelu",
    "RotaryEmbedding",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
];

/// The newest versions of `ai.onnx` and `ai.onnx.ml` that the conformance table covers.
const NEWEST: (i64, i64) = (28, 5);

/// Decodes a model file.
pub(super) fn decode(bytes: &[u8]) -> Result<ModelProto, Refusal> {
    let model = ModelProto::decode(bytes).map_err(|error| Refusal::NotOnnx(error.to_string()))?;
    match &model.graph {
        None => Err(Refusal::NotOnnx("it has no graph".to_owned())),
        Some(_) if model.opset_import.is_empty() => {
            Err(Refusal::NotOnnx("it names no operator set".to_owned()))
        }
        Some(_) => Ok(model),
    }
}

/// Checks that `tract` can serve the graph and lists what it takes and returns. `bytes` are those that
/// `model` was decoded from.
pub(super) fn check(tract: &Onnx, model: &ModelProto, bytes: &[u8]) -> Result<Interface, Refusal> {
    let no_graph = || Refusal::NotOnnx("it has no graph".to_owned());
    let graph = model.graph.as_ref().ok_or_else(no_graph)?;
    let constants: HashSet<&str> = graph.initializer.iter().map(|tensor| &*tensor.name).collect();
    let is_input = |value: &&ValueInfoProto| !constants.contains(&*value.name);
    let inputs = graph.input.iter().filter(is_input).map(|value| check_input(value, bytes));
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    check_versions(model)?;
    check_operators(tract, model, graph)?;
    check_wiring(graph)?;
    let outputs = graph.output.iter().map(|value| check_output(value, bytes));
    let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
    Ok(Interface { inputs, outputs })
}

fn check_input(value: &ValueInfoProto, bytes: &[u8]) -> Result<Declared, Refusal> {
    let name = value.name.clone();
    let refuse = |found| Refusal::Input { input: value.name.clone(), found };
    let Some(tensor) = tensor_type(value.r#type.as_ref()) else {
        return Err(refuse(outline::kind(bytes, &name)));
    };
    let datatype = datatype(tensor.elem_type)
        .ok_or_else(|| refuse(format!("a tensor of {}", element_name(tensor.elem_type))))?;
    let Some(shape) = &tensor.shape else { return Err(Refusal::UnknownRank { input: name }) };
    let dims = shape.dim.iter().map(|dim| match &dim.value {
        Some(dimension::Value::DimValue(size)) => {
            usize::try_from(*size).map_or(DeclaredDim::Unknown, DeclaredDim::Fixed)
        }
        // Some exporters write a question mark for every size that they do not know.
        Some(dimension::Value::DimParam(name)) if !name.is_empty() && name != "?" => {
            DeclaredDim::Named(name.clone())
        }
        Some(dimension::Value::DimParam(_)) | None => DeclaredDim::Unknown,
    });
    Ok(Declared { name, datatype, dims: dims.collect() })
}

fn check_output(value: &ValueInfoProto, bytes: &[u8]) -> Result<Declared, Refusal> {
    let name = value.name.clone();
    let refuse = |found| Refusal::Output { output: value.name.clone(), found };
    let Some(tensor) = tensor_type(value.r#type.as_ref()) else {
        return Err(refuse(outline::kind(bytes, &name)));
    };
    let datatype = datatype(tensor.elem_type)
        .ok_or_else(|| refuse(format!("a tensor of {}", element_name(tensor.elem_type))))?;
    Ok(Declared { name, datatype, dims: Vec::new() })
}

fn tensor_type(value: Option<&TypeProto>) -> Option<&type_proto::Tensor> {
    value?.value.as_ref().map(|type_proto::Value::TensorType(tensor)| tensor)
}

/// The wire datatype of an ONNX element type, `None` where JSON has no form for it.
fn datatype(element: i32) -> Option<Datatype> {
    Some(match DataType::try_from(element).ok()? {
        DataType::Bool => Datatype::Bool,
        DataType::Uint8 => Datatype::Uint8,
        DataType::Uint16 => Datatype::Uint16,
        DataType::Uint32 => Datatype::Uint32,
        DataType::Uint64 => Datatype::Uint64,
        DataType::Int8 => Datatype::Int8,
        DataType::Int16 => Datatype::Int16,
        DataType::Int32 => Datatype::Int32,
        DataType::Int64 => Datatype::Int64,
        DataType::Float => Datatype::Fp32,
        DataType::Double => Datatype::Fp64,
        DataType::String => Datatype::Bytes,
        _ => return None,
    })
}

fn element_name(element: i32) -> String {
    DataType::try_from(element).map_or_else(
        |_unknown| format!("elements of the unknown type {element}"),
        |element| format!("{element:?}").to_uppercase(),
    )
}

/// Checks that operators mean what they meant in the newest version that the conformance table covers.
fn check_versions(model: &ModelProto) -> Result<(), Refusal> {
    for import in &model.opset_import {
        let (name, newest) = match import.domain.as_str() {
            "" | "ai.onnx" => ("ai.onnx", NEWEST.0),
            ml::DOMAIN => (ml::DOMAIN, NEWEST.1),
            _ => continue,
        };
        if !(1..=newest).contains(&import.version) {
            return Err(Refusal::Malformed(format!(
                "it asks for version {} of the operators of {name}, and 1 to {newest} are known: convert it with \
                 onnx.version_converter",
                import.version
            )));
        }
    }
    Ok(())
}

/// Finds the first node, in any branch or loop body, that cannot be run.
///
/// Recursion is bounded: the protobuf decoder refuses messages nested more than 100 deep.
fn check_operators(tract: &Onnx, model: &ModelProto, graph: &GraphProto) -> Result<(), Refusal> {
    for node in &graph.node {
        let domain = if node.domain == "ai.onnx" { "" } else { node.domain.as_str() };
        let name = node.op_type.as_str();
        let known = tract.op_register.0.contains_key(name);
        let supported = match domain {
            "" => known && !ml::supports(name),
            ml::DOMAIN => ml::supports(name),
            "com.microsoft" => known && CONTRIB_OPERATORS.contains(&name),
            _ => false,
        };
        if !supported {
            let domain = if domain.is_empty() { "ai.onnx" } else { domain };
            let within = model.functions.iter().any(|function| {
                function.name.as_deref() == Some(name) && function.domain.as_deref() == Some(domain)
            });
            let hint = if within {
                ", a function of the model's own that onnx.inliner.inline_local_functions takes apart"
            } else {
                ""
            };
            let operator = format!("{domain}.{name}{hint}");
            return Err(Refusal::Operator { operator, node: node_name(node) });
        }
        if domain != ml::DOMAIN
            && let Some(what) = onnx::beyond(node)
        {
            let domain = if domain.is_empty() { "ai.onnx" } else { domain };
            let operator = format!("{domain}.{name} with {what}");
            return Err(Refusal::Operator { operator, node: node_name(node) });
        }
        let same = |import: &str| import == domain || (domain.is_empty() && import == "ai.onnx");
        if !model.opset_import.iter().any(|import| same(&import.domain)) {
            let reason = format!("it uses the domain '{domain}' without importing it");
            return Err(Refusal::Malformed(reason));
        }
        for attribute in &node.attribute {
            let bodies = attribute.g.iter().chain(&attribute.graphs);
            bodies.into_iter().try_for_each(|body| check_operators(tract, model, body))?;
        }
    }
    Ok(())
}

/// Checks that there are outputs, that names are given once, and that every value of the outer graph comes from
/// somewhere.
fn check_wiring(graph: &GraphProto) -> Result<(), Refusal> {
    if graph.output.is_empty() {
        return Err(Refusal::Malformed("it has no outputs".to_owned()));
    }
    for (what, declared) in [("inputs", &graph.input), ("outputs", &graph.output)] {
        let mut names = HashSet::new();
        if let Some(twice) = declared.iter().find(|value| !names.insert(&*value.name)) {
            return Err(Refusal::Malformed(format!("it has two {what} '{}'", twice.name)));
        }
    }
    let mut values: HashSet<&str> = HashSet::new();
    values.extend(graph.input.iter().map(|value| &*value.name));
    // An input with a default is both.
    values.extend(graph.initializer.iter().map(|tensor| &*tensor.name));
    for node in &graph.node {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if !values.insert(name) {
                let node = node_name(node);
                let reason =
                    format!("node '{node}' makes '{name}', which something else makes too");
                return Err(Refusal::Malformed(reason));
            }
        }
    }
    for node in &graph.node {
        let absent = |name: &&String| !name.is_empty() && !values.contains(&***name);
        if let Some(name) = node.input.iter().find(absent) {
            let node = node_name(node);
            return Err(Refusal::Malformed(format!(
                "node '{node}' reads '{name}', which nothing produces"
            )));
        }
    }
    match graph.output.iter().find(|output| !values.contains(&*output.name)) {
        None => Ok(()),
        Some(output) => {
            Err(Refusal::Malformed(format!("nothing produces the output '{}'", output.name)))
        }
    }
}

/// The node's name, or its first output where it has none.
pub(super) fn node_name(node: &NodeProto) -> String {
    if node.name.is_empty() {
        node.output.first().cloned().unwrap_or_default()
    } else {
        node.name.clone()
    }
}

/// The part of the ONNX schema that tract's own decoder leaves out: values that are not tensors.
pub(super) mod outline {
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    struct Model {
        #[prost(message, optional, tag = "7")]
        graph: Option<Graph>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Graph {
        #[prost(message, repeated, tag = "11")]
        input: Vec<Value>,
        #[prost(message, repeated, tag = "12")]
        output: Vec<Value>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Value {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(message, optional, tag = "2")]
        kind: Option<Kind>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Kind {
        #[prost(message, optional, tag = "1")]
        tensor: Option<Element>,
        #[prost(message, optional, tag = "4")]
        sequence: Option<Any>,
        #[prost(message, optional, boxed, tag = "5")]
        map: Option<Box<Map>>,
        #[prost(message, optional, tag = "8")]
        sparse_tensor: Option<Any>,
        #[prost(message, optional, tag = "9")]
        optional: Option<Any>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Map {
        #[prost(message, optional, boxed, tag = "2")]
        value: Option<Box<Kind>>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Element {
        #[prost(int32, tag = "1")]
        kind: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Any {}

    fn find(bytes: &[u8], name: &str) -> Kind {
        let graph = Model::decode(bytes).ok().and_then(|model| model.graph).unwrap_or_default();
        let mut values = graph.input.into_iter().chain(graph.output);
        let kind = values.find(|value| value.name == name).and_then(|value| value.kind);
        kind.unwrap_or_default()
    }

    /// The element type of the values of the map that the input `name` is, `None` if it is none.
    pub(in crate::inference) fn map_values(bytes: &[u8], name: &str) -> Option<i32> {
        Some(find(bytes, name).map?.value?.tensor?.kind)
    }

    /// What kind of value the input or output `name` is.
    pub(super) fn kind(bytes: &[u8], name: &str) -> String {
        match find(bytes, name) {
            Kind { sequence: Some(_), .. } => "a sequence",
            Kind { map: Some(_), .. } => "a map",
            Kind { sparse_tensor: Some(_), .. } => "a sparse tensor",
            Kind { optional: Some(_), .. } => "an optional value",
            Kind { .. } => "a value without a type",
        }
        .to_owned()
    }
}
