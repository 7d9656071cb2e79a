//! Small ONNX graphs, written by hand. Shared with the unit tests of `inference`.

use prost::Message as _;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

pub(crate) const FLOAT: i32 = 1;
pub(crate) const INT64: i32 = 7;

/// A graph in the making.
#[derive(Default)]
pub(crate) struct Graph(pub(crate) GraphProto);

impl Graph {
    /// Adds an input; a dimension is a number or a name.
    pub(crate) fn input(mut self, name: &str, element: i32, dims: &[&str]) -> Self {
        self.0.input.push(value(name, element, dims));
        self
    }

    /// Adds an output.
    pub(crate) fn output(mut self, name: &str, element: i32, dims: &[&str]) -> Self {
        self.0.output.push(value(name, element, dims));
        self
    }

    /// Adds a node with one output.
    pub(crate) fn node(self, operator: &str, inputs: &[&str], output: &str) -> Self {
        self.node_with(operator, inputs, output, Vec::new())
    }

    pub(crate) fn node_with(
        mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attribute: Vec<AttributeProto>,
    ) -> Self {
        self.0.node.push(NodeProto {
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.to_owned()],
            name: output.to_owned(),
            op_type: operator.to_owned(),
            attribute,
            ..NodeProto::default()
        });
        self
    }

    /// Gives the last node another output.
    pub(crate) fn second_output(mut self, name: &str) -> Self {
        if let Some(node) = self.0.node.last_mut() {
            node.output.push(name.to_owned());
        }
        self
    }

    /// Adds a constant of floats.
    pub(crate) fn floats(self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(tensor(name, FLOAT, dims, raw))
    }

    /// Adds a constant of integers.
    pub(crate) fn ints(self, name: &str, dims: &[i64], values: &[i64]) -> Self {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(tensor(name, INT64, dims, raw))
    }

    pub(crate) fn constant(mut self, tensor: TensorProto) -> Self {
        self.0.initializer.push(tensor);
        self
    }

    /// The bytes of a model file.
    pub(crate) fn encode(self) -> Vec<u8> {
        let opset = OperatorSetIdProto { domain: String::new(), version: 17 };
        let model = ModelProto {
            ir_version: 8,
            opset_import: vec![opset],
            graph: Some(self.0),
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }
}

/// A constant.
pub(crate) fn tensor(name: &str, element: i32, dims: &[i64], raw: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: element,
        raw_data: raw,
        ..TensorProto::default()
    }
}

/// An attribute that is a list of integers.
pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: 7,
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

/// An attribute that is an integer.
pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: 2, i: value, ..AttributeProto::default() }
}

/// A square matrix product repeated `layers` times, `[N, width]` to `[N, width]`: as slow as wished.
pub(crate) fn layers(width: usize, layers: usize) -> Vec<u8> {
    let name = |layer: usize| format!("h{layer}");
    let size = i64::try_from(width).unwrap_or(i64::MAX);
    let mut graph = Graph::default().input("h0", FLOAT, &["N", &width.to_string()]);
    for layer in 0..layers {
        let weights: Vec<f32> = (0..width * width)
            .map(|at| if at / width == (at % width + layer) % width { 1.0 } else { 0.0 })
            .collect();
        let weight = format!("w{layer}");
        graph = graph.floats(&weight, &[size, size], &weights);
        let product = format!("p{layer}");
        graph = graph.node("MatMul", &[&name(layer), &weight], &product);
        graph = graph.node("Relu", &[&product], &name(layer + 1));
    }
    graph.output(&name(layers), FLOAT, &["N", &width.to_string()]).encode()
}

/// Pictures of 2 lines of 3 points that become twice as large, as PyTorch writes `interpolate` to a size: how many there are
/// is computed, of which no plan for any number can be made.
pub(crate) fn pictures() -> Vec<u8> {
    let graph = Graph::default().input("x", FLOAT, &["N", "1", "2", "3"]);
    let graph = graph.ints("zero", &[1], &[0]).ints("two", &[1], &[2]).ints("size", &[2], &[4, 6]);
    graph
        .node("Shape", &["x"], "shape")
        .node("Slice", &["shape", "zero", "two", "zero"], "front")
        .node_with("Concat", &["front", "size"], "sizes", vec![int("axis", 0)])
        .node("Resize", &["x", "", "", "sizes"], "y")
        .output("y", FLOAT, &["N", "1", "4", "6"])
        .encode()
}

/// Rows of `T` numbers in order, how many there are is computed, with the mean of a cube of `T` numbers a side beside them, which is worked out
/// while a plan for `T` is made: as slow as wished.
pub(crate) fn cubes() -> Vec<u8> {
    let graph = Graph::default().input("x", FLOAT, &["N", "T"]);
    let graph = graph.ints("from", &[1], &[1]).ints("to", &[1], &[2]);
    let graph = graph.ints("none", &[], &[0]).ints("step", &[], &[1]);
    let graph = graph.ints("xy", &[2], &[0, 1]).ints("xz", &[2], &[0, 2]).ints("yz", &[2], &[1, 2]);
    graph
        .node("Shape", &["x"], "shape")
        .node("Slice", &["shape", "from", "to"], "length")
        .node_with("TopK", &["x", "length"], "sorted", vec![int("axis", 1)])
        .second_output("places")
        .node("Squeeze", &["length"], "end")
        .node("Range", &["none", "end", "step"], "range")
        .node_with("Cast", &["range"], "side", vec![int("to", FLOAT.into())])
        .node("Unsqueeze", &["side", "xy"], "x3")
        .node("Unsqueeze", &["side", "xz"], "y3")
        .node("Unsqueeze", &["side", "yz"], "z3")
        .node("Add", &["x3", "y3"], "square")
        .node("Add", &["square", "z3"], "cube")
        .node_with("ReduceMean", &["cube"], "mean", vec![int("keepdims", 0)])
        .node("Add", &["sorted", "mean"], "y")
        .output("y", FLOAT, &["N", "T"])
        .encode()
}

fn value(name: &str, element: i32, dims: &[&str]) -> ValueInfoProto {
    let dim = |dim: &&str| {
        let value = match dim.parse::<i64>() {
            Ok(size) => dimension::Value::DimValue(size),
            Err(_name) => dimension::Value::DimParam((*dim).to_owned()),
        };
        Dimension { value: Some(value), ..Dimension::default() }
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: element, shape: Some(shape) };
    let kind =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(kind), ..ValueInfoProto::default() }
}
