//! Whether an operator of a graph looks at all rows of a batch together.
//!
//! Owns what can be told from the graph alone: sums, softmaxes, products and orders along the batch, and
//! levels that are chosen for all numbers at once. Such an answer may differ so little between the rows of a
//! trial that only other callers' rows show it. Never runs anything; what the graph does not tell is tried.

use tract_onnx::prelude::{TractResult, TypedFact, TypedModel, TypedNode};
use tract_onnx::tract_hir::internal::{Symbol, TDim};
use tract_onnx::tract_hir::tract_core::ops::array::{CumSum, Topk};
use tract_onnx::tract_hir::tract_core::ops::change_axes::InOut;
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, Softmax};

use super::onnx::WholeSum;

/// Operators that choose one scale for all numbers that they get.
const OF_ALL: &[&str] = &["DynamicQuantizeLinear"];

/// The operator of `model` that mixes the rows of `batch`, in words; `None` where none is known to.
pub(super) fn mixing(model: &TypedModel, batch: &Symbol) -> TractResult<Option<String>> {
    for node in model.eval_order()? {
        let (inputs, _) = model.node_facts(node)?;
        let node = model.node(node);
        for (slot, fact) in inputs.iter().enumerate() {
            if axes_of(fact, batch).any(|axis| mixes(node, slot, axis)) {
                let (operator, name) = (node.op.name(), &node.name);
                return Ok(Some(format!(
                    "the operator {operator} (node '{name}') looks at all rows together"
                )));
            }
        }
    }
    Ok(None)
}

/// The axes of a tensor along which there is one place for each row.
pub(super) fn axes_of(fact: &TypedFact, batch: &Symbol) -> impl Iterator<Item = usize> {
    let batch = TDim::Sym(batch.clone());
    let axes = fact.shape.iter().enumerate().filter(move |(_, dim)| **dim == batch);
    axes.map(|(axis, _)| axis)
}

/// Whether a node joins the places along one axis of an input.
fn mixes(node: &TypedNode, slot: usize, axis: usize) -> bool {
    if OF_ALL.contains(&&*node.op.name()) {
        return true;
    }
    if let Some(product) = node.op_as::<EinSum>() {
        let found = product.axes.axis((InOut::In(slot), axis));
        return found.is_ok_and(|found| found.outputs.iter().all(|places| places.is_empty()));
    }
    node.op_as::<Reduce>().is_some_and(|op| op.axes.contains(&axis))
        || node.op_as::<WholeSum>().is_some_and(|op| op.axes.contains(&axis))
        || node.op_as::<Softmax>().is_some_and(|op| op.axes.contains(&axis))
        || node.op_as::<Topk>().is_some_and(|op| slot == 0 && op.axis == axis)
        || node.op_as::<CumSum>().is_some_and(|op| op.axis == axis)
}
