//! Operators of the ONNX core set that are ours because tract answers differently.
//!
//! Owns the replacements, each with the reason at its head, and what is left to tract although it answers
//! some uses wrongly: those uses are refused by name ([`beyond`]). The conformance table
//! (`tests/conformance/TABLE.md`) is where both were found. Never replaces what only is slow.

mod bit_shift;
mod blocks;
mod bodies;
mod bounded;
mod boxes;
mod cast;
mod extreme;
mod guard;
mod log_softmax;
mod missing;
mod nd;
mod pad;
mod parts;
mod pointwise;
mod quantize;
mod recurrent;
mod reduce;
mod reduce_extreme;
mod reduce_log_sum_exp;
mod slice;
mod sum;
mod unread;
mod wiring;
mod zeros;

use std::sync::LazyLock;

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};
use tract_onnx::prelude::{Tensor, TractResult, tensor0, tensor1};
use tract_onnx::tract_hir::internal::bail;

pub(super) use self::bodies::bodies;
pub(super) use self::bounded::bound;
pub(super) use self::guard::guard;
pub(super) use self::log_softmax::joins as log_softmax_joins;
pub(super) use self::sum::WholeSum;
pub(super) use self::unread::beyond;
use self::wiring::Built;
use super::ml::build;

/// Puts the operators of this module into `onnx`.
pub(super) fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("BiasGelu", pointwise::bias_gelu);
    onnx.op_register.insert("BitShift", build::<bit_shift::BitShift>);
    onnx.op_register.insert("Cast", cast::build);
    onnx.op_register.insert("CastLike", cast::like);
    onnx.op_register.insert("Celu", pointwise::celu);
    onnx.op_register.insert("Clip", pointwise::clip);
    onnx.op_register.insert("Div", zeros::div);
    let dynamic = build::<quantize::DynamicQuantizeLinear>;
    onnx.op_register.insert("DynamicQuantizeLinear", dynamic);
    onnx.op_register.insert("Elu", pointwise::elu);
    onnx.op_register.insert("FastGelu", pointwise::fast_gelu);
    onnx.op_register.insert("GRU", recurrent::build::<recurrent::Gru>);
    onnx.op_register.insert("GatherBlockQuantized", blocks::gather);
    onnx.op_register.insert("GatherND", nd::gather);
    onnx.op_register.insert("Gelu", pointwise::gelu);
    onnx.op_register.insert("GlobalMaxPool", build::<reduce_extreme::GlobalMaxPool>);
    onnx.op_register.insert("HardSigmoid", pointwise::hard_sigmoid);
    onnx.op_register.insert("LSTM", recurrent::build::<recurrent::Lstm>);
    onnx.op_register.insert("LogSoftmax", build::<log_softmax::LogSoftmax>);
    onnx.op_register.insert("MatMulNBits", blocks::mat_mul);
    onnx.op_register.insert("Max", build::<extreme::Extreme<true>>);
    onnx.op_register.insert("Min", build::<extreme::Extreme<false>>);
    onnx.op_register.insert("Mish", pointwise::mish);
    onnx.op_register.insert("Mul", zeros::mul);
    onnx.op_register.insert("NonMaxSuppression", boxes::build);
    onnx.op_register.insert("PRelu", zeros::prelu);
    onnx.op_register.insert("Pad", pad::build);
    onnx.op_register.insert("Pow", pointwise::pow);
    onnx.op_register.insert("QuantizeLinear", build::<quantize::QuantizeLinear>);
    onnx.op_register.insert("QuickGelu", pointwise::quick_gelu);
    onnx.op_register.insert("RNN", recurrent::build::<recurrent::Rnn>);
    onnx.op_register.insert("ReduceLogSumExp", reduce_log_sum_exp::build);
    onnx.op_register.insert("ReduceMax", reduce_extreme::build::<true>);
    onnx.op_register.insert("ReduceMin", reduce_extreme::build::<false>);
    onnx.op_register.insert("Relu", pointwise::relu);
    onnx.op_register.insert("Resize", resize);
    onnx.op_register.insert("Selu", pointwise::selu);
    onnx.op_register.insert("Sigmoid", pointwise::sigmoid);
    onnx.op_register.insert("ScatterND", nd::scatter);
    onnx.op_register.insert("SkipLayerNormalization", skip_normalization);
    onnx.op_register.insert("SkipSimplifiedLayerNormalization", skip_normalization);
    onnx.op_register.insert("Slice", slice::build);
    onnx.op_register.insert("Softplus", pointwise::softplus);
    onnx.op_register.insert("Swish", pointwise::swish);
    onnx.op_register.insert("Tanh", pointwise::tanh);
}

/// Makes the Resize of a node. The nearest pixel of version 10 is the one below
/// (<https://onnx.ai/onnx/operators/onnx__Resize.html>), and for smaller pictures nothing says which; tract takes the
/// one that later versions take.
fn resize(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    const NEAREST_MODE_SINCE: i64 = 11;
    if context.onnx_operator_set_version >= NEAREST_MODE_SINCE {
        return stock(context, node);
    }
    let nearest = node.get_attr_opt::<&str>("mode")?.unwrap_or("nearest") == "nearest";
    let scales = match node.input.get(1) {
        Some(name) if nearest => constant(context, name)?,
        _ => None,
    };
    let grows = |scales: &Tensor| {
        let scales = scales.cast_to::<f32>()?;
        TractResult::Ok(scales.try_as_plain_ram()?.as_slice::<f32>()?.iter().all(|x| *x >= 1.0))
    };
    if nearest && !scales.as_ref().map(grows).transpose()?.unwrap_or(false) {
        bail!(
            "version 10 of Resize does not say which pixels of a smaller picture are the nearest"
        );
    }
    let mut node = node.clone();
    node.attribute.push(AttributeProto {
        name: "nearest_mode".to_owned(),
        r#type: AttributeType::String.into(),
        s: b"floor".to_vec(),
        ..AttributeProto::default()
    });
    stock(context, &node)
}

/// Makes the normalisation of a node of `com.microsoft`: what is added to the variance by default there is less than
/// tract takes
/// (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>).
fn skip_normalization(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    const EPSILON: &str = "epsilon";
    let mut node = node.clone();
    if !node.attribute.iter().any(|attribute| attribute.name == EPSILON) {
        node.attribute.push(AttributeProto {
            name: EPSILON.to_owned(),
            r#type: AttributeType::Float.into(),
            f: 1e-12,
            ..AttributeProto::default()
        });
    }
    stock(context, &node)
}

/// What tract makes of a node whose operator is replaced.
fn stock(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    static STOCK: LazyLock<Onnx> = LazyLock::new(tract_onnx::onnx);
    match STOCK.op_register.0.get(&node.op_type) {
        Some(build) => build(context, node),
        None => bail!("tract has no {}", node.op_type),
    }
}

/// The constant of that name, `None` for what is computed while the model runs.
fn constant(context: &ParsingContext<'_>, name: &str) -> TractResult<Option<Tensor>> {
    for graph in &context.parent_graphs {
        if let Some(tensor) = graph.initializer.iter().find(|tensor| tensor.name == name) {
            return context.load_tensor(tensor).map(Some);
        }
        let is_it = |node: &&NodeProto| node.op_type == "Constant" && node.output == [name];
        if let Some(node) = graph.node.iter().find(is_it) {
            return written(context, node);
        }
    }
    Ok(None)
}

/// What a Constant says in one of its attributes.
fn written(context: &ParsingContext<'_>, node: &NodeProto) -> TractResult<Option<Tensor>> {
    for attribute in &node.attribute {
        let tensor = match (&*attribute.name, &attribute.t) {
            ("value", Some(tensor)) => context.load_tensor(tensor)?,
            ("value_float", _) => tensor0(attribute.f),
            ("value_floats", _) => tensor1(&attribute.floats),
            ("value_int", _) => tensor0(attribute.i),
            ("value_ints", _) => tensor1(&attribute.ints),
            _ => continue,
        };
        return Ok(Some(tensor));
    }
    Ok(None)
}
