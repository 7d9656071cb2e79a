//! `ai.onnx` MatMul, MatMulInteger and QLinearMatMul of dimensions that only a request tells.
//!
//! Owns that the inner dimensions are the same (<https://onnx.ai/onnx/operators/onnx__MatMul.html>): where a file leaves
//! one open, tract adds up as many products as the shorter one has, and a row with too few or too many features
//! gets an answer. Here that is the caller's mistake. Never multiplies, and never looks at dimensions that are known to be
//! the same.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{OutletId, TValue, TVec, TractResult, TypedFact, TypedModel, tvec};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, Expansion, Op, StaticName, TypedModelPatch, TypedNode, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, bail, op_as_typed_op, op_out_of_plan};

use super::wiring::{self, Built, Wiring};
use crate::inference::ml::Unacceptable;

/// A node of the file.
#[derive(Debug, Clone)]
struct MatMul {
    stock: Box<dyn Expansion>,
    /// Which input is the right operand; the left one is the first.
    right: usize,
}

/// Lets the first of two operands pass where their inner dimensions are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fitting {
    /// The inner axis of each.
    axes: [usize; 2],
}

/// Makes the operator of a node.
pub(super) fn build(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    wiring::built(MatMul { stock: wiring::stock(context, node)?, right: 1 })
}

/// The same where scale and zero point stand between the operands.
pub(super) fn quantized(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    wiring::built(MatMul { stock: wiring::stock(context, node)?, right: 3 })
}

impl Wiring for MatMul {
    fn operator(&self) -> StaticName {
        self.stock.name()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let (Some(&left), Some(&right)) = (inputs.first(), inputs.get(self.right)) else {
            bail!("MatMul takes two operands")
        };
        let (a, b) = (&model.outlet_fact(left)?.shape, &model.outlet_fact(right)?.shape);
        let axes = [a.rank().saturating_sub(1), b.rank().saturating_sub(2)];
        let [of_left, of_right] = axes;
        let mut operands: TVec<OutletId> = inputs.into();
        if a.get(of_left) != b.get(of_right) {
            let name = format!("{prefix}.fitting");
            let fitting = wiring::node(name, model, Fitting { axes }, &[left, right])?;
            operands.first_mut().into_iter().for_each(|left| *left = fitting);
        }
        wiring::only(prefix, &self.stock.wire(prefix, model, &operands)?)
    }

    fn stock(&self) -> Option<&dyn Expansion> {
        Some(&*self.stock)
    }
}

impl Op for Fitting {
    fn name(&self) -> StaticName {
        "MatMul".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Fitting {
    op_out_of_plan!();

    fn eval(
        &self,
        _context: &EvalContext<'_>,
        mut inputs: TVec<TValue>,
    ) -> TractResult<TVec<TValue>> {
        let [left, right] = &*inputs else { bail!("MatMul takes two operands") };
        let [of_left, of_right] = self.axes;
        match (left.shape().get(of_left), right.shape().get(of_right)) {
            (Some(columns), Some(rows)) if columns == rows => {}
            (Some(columns), Some(rows)) => {
                let reason = format!(
                    "the model multiplies {columns} columns by {rows} rows: the sizes of the inputs do not fit"
                );
                return Err(Unacceptable::new(reason).into());
            }
            _ => bail!("MatMul takes vectors and matrices"),
        }
        inputs.truncate(1);
        Ok(inputs)
    }
}

impl TypedOp for Fitting {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [left, ..] = inputs else { bail!("MatMul takes two operands") };
        Ok(tvec!(left.without_value()))
    }

    /// Of sizes that are the same nothing is left to look at.
    fn declutter(
        &self,
        model: &TypedModel,
        node: &TypedNode,
    ) -> TractResult<Option<TypedModelPatch>> {
        let [left, right] = *node.inputs else { bail!("MatMul takes two operands") };
        let [of_left, of_right] = self.axes;
        let (a, b) = (&model.outlet_fact(left)?.shape, &model.outlet_fact(right)?.shape);
        if a.get(of_left) != b.get(of_right) {
            return Ok(None);
        }
        let mut patch = TypedModelPatch::default();
        let left = patch.tap_model(model, left)?;
        patch.shunt_outside(model, node.id.into(), left)?;
        Ok(Some(patch))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::Tensor;
    use tract_onnx::tract_hir::internal::IntoTValue as _;

    use super::*;

    #[test]
    fn operands_that_do_not_fit_are_the_callers_mistake() {
        let run = |left: &[usize], right: &[usize], axes: [usize; 2]| {
            let zeros = |shape| Tensor::zero::<f32>(shape).expect("small").into_tvalue();
            Fitting { axes }.eval(&EvalContext::out_of_plan(), tvec!(zeros(left), zeros(right)))
        };
        let passed = run(&[2, 5], &[5, 3], [1, 0]).expect("fit");
        assert_eq!((passed.len(), passed[0].shape()), (1, &[2, 5][..]));
        assert!(run(&[5], &[4, 5, 3], [0, 1]).is_ok() && run(&[4, 5], &[5], [1, 0]).is_ok());
        for features in [0, 1, 4, 6] {
            let error = run(&[2, features], &[5, 3], [1, 0]).expect_err("other sizes");
            assert!(error.root_cause().is::<Unacceptable>(), "{error}");
        }
    }
}
