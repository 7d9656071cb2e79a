//! Slices whose bounds follow from the sizes of a request.
//!
//! Owns the look at those bounds before tract sees them, in the graph as tract has rewritten it: a text that is
//! longer than a table of positions is the caller's mistake, not a failure of the model. Bounds that hold for
//! any size are left alone. Bounds that values decide are clipped, which is `slice`'s, as constant ones are.

use std::collections::HashMap;

use tract_onnx::prelude::{
    OutletId, SpecialOps as _, TValue, TVec, TractResult, TypedFact, TypedModel,
};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, Op, StaticName, Symbol, TDim, TypedModelPatch, TypedNode, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, bail, op_as_typed_op, op_out_of_plan};
use tract_onnx::tract_hir::tract_core::ops::array::Slice;

use crate::inference::ml::Unacceptable;

/// A part of a dimension that may not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Within(Slice);

/// Has the bounds of such slices looked at.
pub(super) fn check(model: &mut TypedModel) {
    let checked: Vec<Option<Within>> = (0..model.nodes().len())
        .map(|node| {
            let node = model.nodes().get(node)?;
            let slice = node.op.downcast_ref::<Slice>()?;
            let fact = model.outlet_fact(*node.inputs.first()?).ok()?;
            let len = fact.shape.get(slice.axis)?;
            (!are_ordered(&slice.start, &slice.end, len)).then(|| Within(slice.clone()))
        })
        .collect();
    for (node, checked) in model.nodes_mut().iter_mut().zip(checked) {
        if let Some(checked) = checked {
            node.op = Box::new(checked);
        }
    }
}

/// Whether `start`, `end` and `len` are in this order, from 0 on, for any sizes of a request.
pub(super) fn are_ordered(start: &TDim, end: &TDim, len: &TDim) -> bool {
    let surely = |room: TDim| room.prove_positive_or_zero() || least_of(&room) >= Some(0);
    surely(start.clone()) && surely(end.clone() - start) && surely(len.clone() - end)
}

/// The least that `dim` can be, if that is easily told. (An open dimension without places is no row, which no
/// request may ask for.)
pub(super) fn least_of(dim: &TDim) -> Option<i64> {
    match dim {
        TDim::Val(number) => Some(*number),
        TDim::Sym(_) => Some(1),
        TDim::Add(terms) => {
            terms.iter().try_fold(0_i64, |sum, term| sum.checked_add(least_of(term)?))
        }
        TDim::MulInt(factor @ 0.., dim) => least_of(dim)?.checked_mul(*factor),
        TDim::Div(dim, divisor) => match (least_of(dim)?, i64::try_from(*divisor).ok()?) {
            (least @ 0.., divisor @ 1..) => Some(least / divisor),
            _ => None,
        },
        TDim::Max(terms) => terms.iter().filter_map(least_of).max(),
        _ => None,
    }
}

impl Op for Within {
    fn name(&self) -> StaticName {
        self.0.name()
    }

    op_as_typed_op!();
}

impl EvalOp for Within {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [input] = &*inputs else { bail!("Slice takes one input") };
        let len = i64::try_from(input.shape().get(self.0.axis).copied().unwrap_or(0))?;
        let start = self.0.start.eval_to_i64(context.symbols)?;
        let end = self.0.end.eval_to_i64(context.symbols)?;
        if !(0 <= start && start <= end && end <= len) {
            let reason = format!(
                "the model takes the places from {start} to before {end} of a dimension that has {len}: the \
                 inputs are too long or too short"
            );
            return Err(Unacceptable::new(reason).into());
        }
        self.0.eval(context, inputs)
    }
}

impl TypedOp for Within {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.0.output_facts(inputs)
    }

    /// Of sizes that are known to fit nothing is left to look at.
    fn declutter(
        &self,
        model: &TypedModel,
        node: &TypedNode,
    ) -> TractResult<Option<TypedModelPatch>> {
        let [input] = *node.inputs else { bail!("Slice takes one input") };
        let len = model.outlet_fact(input)?.shape.get(self.0.axis).cloned();
        if !len.is_some_and(|len| are_ordered(&self.0.start, &self.0.end, &len)) {
            return Ok(None);
        }
        TypedModelPatch::replace_single_op(model, node, &node.inputs, self.0.clone()).map(Some)
    }

    fn set_symbols(
        &self,
        _source: &TypedModel,
        node: &TypedNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
        subs: &HashMap<Symbol, TDim>,
    ) -> TractResult<TVec<OutletId>> {
        let inputs = node.inputs.iter().map(|input| match mapping.get(input) {
            Some(input) => Ok(*input),
            None => bail!("an input of Slice is not there yet"),
        });
        let inputs = inputs.collect::<TractResult<TVec<_>>>()?;
        let slice = Slice {
            axis: self.0.axis,
            start: self.0.start.substitute_all(subs)?,
            end: self.0.end.substitute_all(subs)?,
        };
        target.wire_node(&node.name, Self(slice), &inputs)
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{tensor1, tvec};
    use tract_onnx::tract_hir::internal::{IntoTValue as _, SymbolScope, ToDim as _};

    use super::*;

    #[test]
    fn bounds_that_hold_for_any_size_are_told_from_others() {
        let scope = SymbolScope::default();
        let open = scope.sym("T").to_dim();
        let ordered = are_ordered;
        let number = |number: i64| number.to_dim();
        assert!(ordered(&number(0), &open, &open) && ordered(&number(2), &number(4), &number(9)));
        // What is cut off after a convolution with padding.
        assert!(ordered(&number(0), &open, &(open.clone() + 2)));
        assert!(ordered(&number(0), &(open.clone() - 1), &open));
        assert!(!ordered(&number(0), &open, &number(512)));
        assert!(!ordered(&number(0), &(open.clone() - 2), &open));
    }

    #[test]
    fn a_part_that_is_not_there_is_the_callers_mistake() {
        let run = |start: i64, end: i64| {
            let within = Within(Slice::new(0, start, end));
            let input = tensor1(&[1_i64, 2, 3]).into_tvalue();
            within.eval(&EvalContext::out_of_plan(), tvec!(input))
        };
        assert_eq!(*run(1, 3).expect("there")[0], tensor1(&[2_i64, 3]));
        for (start, end) in [(0, 4), (-1, 2), (2, 1)] {
            let error = run(start, end).expect_err("not there");
            assert!(error.root_cause().is::<Unacceptable>(), "{error}");
        }
    }
}
