//! Operators of the ONNX core set that are ours because tract answers differently.
//!
//! Owns the replacements, each with the reason at its head, and what is left to tract although it answers
//! some uses wrongly: those uses are refused by name ([`beyond`]). The conformance table
//! (`tests/conformance/TABLE.md`) is where both were found. Never replaces what only is slow.

mod bit_shift;
mod cast;
mod extreme;
mod log_softmax;
mod mul;
mod reduce_extreme;

use std::sync::LazyLock;

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{AttributeProto, NodeProto};
use tract_onnx::prelude::TractResult;
use tract_onnx::tract_hir::infer::InferenceOp;
use tract_onnx::tract_hir::internal::bail;

use super::ml::build;

/// Puts the operators of this module into `onnx`.
pub(super) fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("BitShift", build::<bit_shift::BitShift>);
    onnx.op_register.insert("Cast", cast::build);
    onnx.op_register.insert("LogSoftmax", build::<log_softmax::LogSoftmax>);
    onnx.op_register.insert("Max", build::<extreme::Extreme<true>>);
    onnx.op_register.insert("Min", build::<extreme::Extreme<false>>);
    onnx.op_register.insert("Mul", mul::build);
    onnx.op_register.insert("ReduceMax", reduce_extreme::build::<true>);
    onnx.op_register.insert("ReduceMin", reduce_extreme::build::<false>);
}

/// What tract makes of a node whose operator is replaced.
fn stock(
    context: &ParsingContext<'_>,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    static STOCK: LazyLock<Onnx> = LazyLock::new(tract_onnx::onnx);
    match STOCK.op_register.0.get(&node.op_type) {
        Some(build) => build(context, node),
        None => bail!("tract has no {}", node.op_type),
    }
}

/// An attribute or input of an operator that tract leaves out of account.
struct Unread {
    operators: &'static [&'static str],
    attribute: &'static str,
    /// Whether the attribute says what tract does anyway.
    harmless: fn(&AttributeProto) -> bool,
}

const UNREAD: &[Unread] = &[
    Unread {
        operators: &["RNN", "GRU", "LSTM"],
        attribute: "direction",
        harmless: |attribute| attribute.s != b"reverse",
    },
    Unread { operators: &["RNN", "GRU", "LSTM"], attribute: "clip", harmless: |_| false },
    Unread {
        operators: &["LSTM"],
        attribute: "input_forget",
        harmless: |attribute| attribute.i == 0,
    },
    Unread {
        operators: &["SpaceToDepth"],
        attribute: "mode",
        harmless: |attribute| attribute.s == b"DCR",
    },
    Unread { operators: &["Swish"], attribute: "alpha", harmless: |attribute| attribute.f == 1.0 },
    Unread {
        operators: &["Attention"],
        attribute: "left_window_size",
        harmless: |attribute| attribute.i < 0,
    },
    Unread {
        operators: &["Attention"],
        attribute: "right_window_size",
        harmless: |attribute| attribute.i < 0,
    },
];

/// What the node asks for that tract would leave out of account, `None` if there is nothing.
pub(super) fn beyond(node: &NodeProto) -> Option<String> {
    let operator = node.op_type.as_str();
    for unread in UNREAD.iter().filter(|unread| unread.operators.contains(&operator)) {
        let attribute = node.attribute.iter().find(|attribute| attribute.name == unread.attribute);
        if attribute.is_some_and(|attribute| !(unread.harmless)(attribute)) {
            return Some(format!("its attribute '{}'", unread.attribute));
        }
    }
    let has_input = |position: usize| node.input.get(position).is_some_and(|name| !name.is_empty());
    let causal = |attribute: &AttributeProto| attribute.name == "is_causal" && attribute.i != 0;
    // The mask of what comes later starts at the past there, not at the query.
    let with_past = operator == "Attention" && has_input(4) && node.attribute.iter().any(causal);
    with_past.then(|| "a causal mask and past keys together".to_owned())
}
