//! Whether an operator of a graph looks at all rows of a batch together.
//!
//! Owns what can be told from the graph alone: what has the batch in an input and not in its output (all that is
//! reduced along it), softmaxes, products and orders along it, and levels that are chosen for all numbers at once. Such an answer may differ so little between the rows of a
//! trial that only other callers' rows show it. Never runs anything; what the graph does not tell is tried.

use tract_onnx::prelude::{DatumType, TractResult, TypedFact, TypedModel, TypedNode};
use tract_onnx::tract_hir::internal::{Symbol, TDim};
use tract_onnx::tract_hir::tract_core::ops::array::{CumSum, Topk};
use tract_onnx::tract_hir::tract_core::ops::change_axes::InOut;
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, Softmax};

use super::onnx::log_softmax_joins;

/// Operators that choose one scale for all numbers that they get.
const OF_ALL: &[&str] = &["DynamicQuantizeLinear"];

/// The operator of `model` that mixes the rows of `batch`, in words; `None` where none is known to.
pub(super) fn mixing(model: &TypedModel, batch: &Symbol) -> TractResult<Option<String>> {
    for node in model.eval_order()? {
        let (inputs, _) = model.node_facts(node)?;
        let node = model.node(node);
        let for_all = is_for_all(node, batch);
        for (slot, fact) in inputs.iter().enumerate() {
            // Rows that were laid end to end are a multiple of the batch.
            let mut axes = (0..fact.rank()).filter(|axis| is_of(fact.shape.get(*axis), batch));
            if axes.any(|axis| for_all || mixes(node, slot, axis, fact.rank())) {
                let (operator, name) = (node.op.name(), &node.name);
                return Ok(Some(format!(
                    "the operator {operator} (node '{name}') looks at all rows together"
                )));
            }
        }
    }
    Ok(None)
}

/// Whether nothing that a node gives grows with the batch. Sizes themselves are no rows.
fn is_for_all(node: &TypedNode, batch: &Symbol) -> bool {
    node.outputs.iter().all(|output| {
        let fact = &output.fact;
        fact.datum_type != DatumType::TDim && !fact.shape.iter().any(|dim| is_of(Some(dim), batch))
    })
}

/// Whether a dimension grows with the batch.
fn is_of(dim: Option<&TDim>, batch: &Symbol) -> bool {
    dim.is_some_and(|dim| dim.symbols().contains(batch))
}

/// The axes of a tensor along which there is one place for each row.
pub(super) fn axes_of(fact: &TypedFact, batch: &Symbol) -> impl Iterator<Item = usize> {
    let batch = TDim::Sym(batch.clone());
    let axes = fact.shape.iter().enumerate().filter(move |(_, dim)| **dim == batch);
    axes.map(|(axis, _)| axis)
}

/// Whether a node joins the places along one axis of an input.
fn mixes(node: &TypedNode, slot: usize, axis: usize, rank: usize) -> bool {
    if OF_ALL.contains(&&*node.op.name()) {
        return true;
    }
    if let Some(product) = node.op_as::<EinSum>() {
        let found = product.axes.axis((InOut::In(slot), axis));
        return found.is_ok_and(|found| found.outputs.iter().all(|places| places.is_empty()));
    }
    node.op_as::<Reduce>().is_some_and(|op| op.axes.contains(&axis))
        || node.op_as::<Softmax>().is_some_and(|op| op.axes.contains(&axis))
        || log_softmax_joins(&*node.op, axis, rank)
        || node.op_as::<Topk>().is_some_and(|op| slot == 0 && op.axis == axis)
        || node.op_as::<CumSum>().is_some_and(|op| op.axis == axis)
}
