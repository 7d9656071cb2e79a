//! Operators of the ONNX core set that are ours because tract answers differently.
//!
//! Owns the replacements, each with the reason at its head, and what is left to tract although it answers
//! some uses wrongly: those uses are refused by name ([`beyond`]). The conformance table
//! (`tests/conformance/TABLE.md`) is where both were found. Never replaces what only is slow.

mod arg_extreme;
mod bit_shift;
mod blocks;
mod bodies;
mod bounded;
mod boxes;
mod cast;
mod copies;
mod einsum;
mod equal;
mod extreme;
mod fits;
mod gemm;
mod guard;
mod kinds;
mod log_softmax;
mod missing;
mod nd;
mod pad;
mod parts;
mod pointwise;
mod product;
mod quantize;
mod recurrent;
mod reduce;
mod reduce_extreme;
mod reduce_log_sum_exp;
mod resize;
mod same;
mod slice;
mod split;
mod sum;
mod turned;
mod typed;
mod unread;
mod whole;
mod windows;
mod wiring;
mod zeros;

use std::sync::LazyLock;

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};
use tract_onnx::tract_hir::internal::bail;

pub(super) use self::bodies::bodies;
pub(super) use self::bounded::bound;
pub(super) use self::copies::keep as keep_copies;
pub(super) use self::guard::guard;
pub(super) use self::log_softmax::joins as log_softmax_joins;
pub(super) use self::pointwise::clip_bounds;
#[cfg(test)]
pub(super) use self::pointwise::relu_for_tests;
use self::reduce_extreme::ReduceExtreme;
use self::reduce_log_sum_exp::ReduceLogSumExp;
pub(super) use self::same::write_out as write_borders_out;
pub(super) use self::turned::set_apart as set_convolutions_apart;
pub(super) use self::typed::check as check_types;
pub(super) use self::unread::beyond;
pub(super) use self::windows::{look as look_at_images, span as window_span};
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
    onnx.op_register.insert("ConstantOfShape", constant_of_shape);
    onnx.op_register.insert("Div", zeros::div);
    let dynamic = build::<quantize::DynamicQuantizeLinear>;
    onnx.op_register.insert("DynamicQuantizeLinear", dynamic);
    onnx.op_register.insert("Einsum", einsum::build);
    onnx.op_register.insert("Elu", pointwise::elu);
    onnx.op_register.insert("Equal", equal::build);
    onnx.op_register.insert("FastGelu", pointwise::fast_gelu);
    onnx.op_register.insert("GRU", recurrent::build::<recurrent::Gru>);
    onnx.op_register.insert("GatherBlockQuantized", blocks::gather);
    onnx.op_register.insert("GatherND", nd::gather);
    onnx.op_register.insert("Gelu", pointwise::gelu);
    onnx.op_register.insert("Gemm", gemm::build);
    onnx.op_register.insert("GlobalMaxPool", build::<reduce_extreme::GlobalMaxPool>);
    onnx.op_register.insert("HardSigmoid", pointwise::hard_sigmoid);
    onnx.op_register.insert("IsInf", kinds::is_inf);
    onnx.op_register.insert("IsNaN", kinds::is_nan);
    onnx.op_register.insert("LSTM", recurrent::build::<recurrent::Lstm>);
    onnx.op_register.insert("LogSoftmax", build::<log_softmax::LogSoftmax>);
    onnx.op_register.insert("MatMul", product::build);
    onnx.op_register.insert("MatMulInteger", product::build);
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
    onnx.op_register.insert("QLinearMatMul", product::quantized);
    onnx.op_register.insert("QuickGelu", pointwise::quick_gelu);
    onnx.op_register.insert("RNN", recurrent::build::<recurrent::Rnn>);
    onnx.op_register.insert("ReduceLogSumExp", reduce::build::<ReduceLogSumExp>);
    onnx.op_register.insert("ReduceMax", reduce::build::<ReduceExtreme<true>>);
    onnx.op_register.insert("ReduceMin", reduce::build::<ReduceExtreme<false>>);
    onnx.op_register.insert("Relu", pointwise::relu);
    onnx.op_register.insert("Resize", resize::build);
    onnx.op_register.insert("Selu", pointwise::selu);
    onnx.op_register.insert("Sigmoid", pointwise::sigmoid);
    onnx.op_register.insert("ScatterND", nd::scatter);
    onnx.op_register.insert("SkipLayerNormalization", skip_normalization);
    onnx.op_register.insert("SkipSimplifiedLayerNormalization", skip_normalization);
    onnx.op_register.insert("Slice", slice::build);
    onnx.op_register.insert("Softmax", log_softmax::softmax);
    onnx.op_register.insert("Softplus", pointwise::softplus);
    onnx.op_register.insert("Split", split::build);
    onnx.op_register.insert("Swish", pointwise::swish);
    onnx.op_register.insert("Tanh", pointwise::tanh);
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

/// Makes the ConstantOfShape of a node: without a value, zeros of 32 bits, where tract takes 64
/// (<https://onnx.ai/onnx/operators/onnx__ConstantOfShape.html>).
fn constant_of_shape(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    const VALUE: &str = "value";
    let mut node = node.clone();
    if !node.attribute.iter().any(|attribute| attribute.name == VALUE) {
        let zero = TensorProto {
            dims: vec![1],
            data_type: DataType::Float.into(),
            float_data: vec![0.0],
            ..TensorProto::default()
        };
        node.attribute.push(AttributeProto {
            name: VALUE.to_owned(),
            r#type: AttributeType::Tensor.into(),
            t: Some(zero),
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
