//! Whether an operator of a graph looks at all rows of a batch together.
//!
//! Owns what can be told from the graph alone: what has the batch in an input and not in its output (all that is
//! reduced along it), softmaxes, products and orders along it, levels that are chosen for all numbers at once, and numbers of
//! rows that are computed with. Such an answer may differ so little between the rows of a
//! trial that only other callers' rows show it. Never runs anything; what the graph does not tell is tried.

use std::collections::{HashMap, HashSet};

use tract_onnx::prelude::{
    DatumType, OutletId, TVec, TractResult, TypedFact, TypedModel, TypedNode,
};
use tract_onnx::tract_hir::internal::{Symbol, TDim};
use tract_onnx::tract_hir::tract_core::ops::array::{CumSum, Topk};
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::cast::Cast;
use tract_onnx::tract_hir::tract_core::ops::change_axes::InOut;
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, Softmax};

use super::onnx::log_softmax_joins;

/// Operators that choose one scale for all numbers that they get.
const OF_ALL: &[&str] = &["DynamicQuantizeLinear"];

/// The axes of tensors along which there is one place for each row, or several.
pub(super) type Growing = HashMap<OutletId, TVec<usize>>;

/// The operator of `model` that mixes the rows of `batch`, in words; `None` where none is known to.
pub(super) fn mixing(model: &TypedModel, batch: &Symbol) -> TractResult<Option<String>> {
    let mut growing = Growing::new();
    for node in model.nodes() {
        for (slot, output) in node.outputs.iter().enumerate() {
            // Rows that were laid end to end are a multiple of the batch.
            let dims = output.fact.shape.iter().enumerate();
            let axes = dims.filter(|(_, dim)| dim.symbols().contains(batch)).map(|(axis, _)| axis);
            growing.insert(OutletId::new(node.id, slot), axes.collect());
        }
    }
    match mixing_along(model, &growing)? {
        None => counting(model, batch),
        found => Ok(found),
    }
}

/// The operator of `model` that makes the number of rows, which is a size, a value to compute with, in words.
fn counting(model: &TypedModel, batch: &Symbol) -> TractResult<Option<String>> {
    let mut counts: HashSet<OutletId> = HashSet::new();
    for node in model.eval_order()? {
        let node = model.node(node);
        let counted = node.inputs.iter().any(|input| counts.contains(input));
        for (slot, output) in node.outputs.iter().enumerate() {
            let is_size = output.fact.datum_type == DatumType::TDim;
            // Whole numbers are positions, of which a trial shows where they are.
            let is_value = output.fact.datum_type.is_float() || output.fact.datum_type.is::<bool>();
            let known = output.fact.konst.as_ref().filter(|_| is_size);
            let sizes = known.map(|sizes| sizes.try_as_plain_ram()?.as_slice::<TDim>());
            let of_batch = |sizes: &[TDim]| sizes.iter().any(|size| size.symbols().contains(batch));
            if is_size && sizes.transpose()?.map_or(counted, of_batch) {
                counts.insert(OutletId::new(node.id, slot));
            } else if counted && is_value && (node.op_is::<Cast>() || node.op_is::<TypedBinOp>()) {
                let (operator, name) = (node.op.name(), &node.name);
                return Ok(Some(format!(
                    "the operator {operator} (node '{name}') computes with the number of rows"
                )));
            }
        }
    }
    Ok(None)
}

/// The same of a graph whose dimensions all have sizes.
pub(super) fn mixing_along(model: &TypedModel, growing: &Growing) -> TractResult<Option<String>> {
    for node in model.eval_order()? {
        let node = model.node(node);
        let for_all = is_for_all(node, growing);
        for (slot, input) in node.inputs.iter().enumerate() {
            let rank = model.outlet_fact(*input)?.rank();
            let mut axes = growing.get(input).into_iter().flatten();
            if axes.any(|axis| for_all || mixes(node, slot, *axis, rank)) {
                let (operator, name) = (node.op.name(), &node.name);
                return Ok(Some(format!(
                    "the operator {operator} (node '{name}') looks at all rows together"
                )));
            }
        }
    }
    Ok(None)
}

/// Where `many`, the graph for some number of rows, is larger than `few`, that for another number; `None` where they are not
/// the same operators, or do not have the same constants, so that the number of rows is a value.
pub(super) fn growing(few: &TypedModel, many: &TypedModel) -> TractResult<Option<Growing>> {
    let (few_order, many_order) = (few.eval_order()?, many.eval_order()?);
    if few_order.len() != many_order.len() {
        return Ok(None);
    }
    let mut growing = Growing::new();
    for (few_node, many_node) in few_order.into_iter().zip(many_order) {
        let (few_node, many_node) = (few.node(few_node), many.node(many_node));
        let same = few_node.name == many_node.name && few_node.op.name() == many_node.op.name();
        if !same || few_node.outputs.len() != many_node.outputs.len() {
            return Ok(None);
        }
        for (slot, (one, other)) in few_node.outputs.iter().zip(&many_node.outputs).enumerate() {
            if one.fact.rank() != other.fact.rank() || differ(&one.fact, &other.fact) {
                return Ok(None);
            }
            let dims = one.fact.shape.iter().zip(other.fact.shape.iter()).enumerate();
            let axes = dims.filter(|(_, (one, other))| one != other).map(|(axis, _)| axis);
            growing.insert(OutletId::new(many_node.id, slot), axes.collect());
        }
    }
    Ok(Some(growing))
}

/// Whether two tensors of the same shape are constants with different values. Sizes are no values.
fn differ(one: &TypedFact, other: &TypedFact) -> bool {
    let (Some(first), Some(second)) = (&one.konst, &other.konst) else { return false };
    let alike = first.datum_type() == second.datum_type() && first.shape() == second.shape();
    alike && first.datum_type() != DatumType::TDim && first != second
}

/// Whether nothing that a node gives grows with the batch. Sizes themselves are no rows.
fn is_for_all(node: &TypedNode, growing: &Growing) -> bool {
    node.outputs.iter().enumerate().all(|(slot, output)| {
        let axes = growing.get(&OutletId::new(node.id, slot));
        output.fact.datum_type != DatumType::TDim && axes.is_none_or(|axes| axes.is_empty())
    })
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
