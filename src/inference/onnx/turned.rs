//! Differences and quotients of which a convolution is the second operand.
//!
//! Owns that they stay what they are. Tract puts what is subtracted from the channels of a convolution, or divides them,
//! into its weights, and takes one operand for the other: `c - conv(x)` becomes `c + conv(x)`, and `c / conv(x)` divides by
//! each weight (`declutter_channel_arithmetic_succ` of tract-core 0.23.9). Where the convolution is the first operand it is
//! right. Must see a graph before it is simplified.

use tract_onnx::prelude::{OutletId, TValue, TVec, TractResult, TypedFact, TypedModel, tvec};
use tract_onnx::tract_hir::internal::{AxisOp, EvalContext, EvalOp, Op, StaticName, TypedOp};
use tract_onnx::tract_hir::internal::{as_op, bail, op_as_typed_op, op_out_of_plan};
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::cnn::Conv;
use tract_onnx::tract_hir::tract_core::ops::identity::Identity;
use tract_onnx::tract_hir::tract_core::ops::math::{Div, Sub};

use super::bodies::bodies_mut;
use super::wiring;

/// Hands on what it gets, so that tract does not see from where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Apart;

/// Sets such convolutions in `model` apart, also in the bodies of loops and branches.
pub(in crate::inference) fn set_apart(model: &mut TypedModel) -> TractResult<()> {
    for id in behind_convolutions(model)? {
        if let Some(patch) = wiring::in_front(model, model.node(id), 1, "apart", Apart)? {
            patch.apply(model)?;
        }
    }
    for node in model.nodes_mut() {
        bodies_mut(&mut *node.op).into_iter().try_for_each(set_apart)?;
    }
    Ok(())
}

/// The differences and quotients whose second operand may become a convolution: it is one, or one with which further
/// numbers are computed place by place, all of which tract may put into its weights.
fn behind_convolutions(model: &TypedModel) -> TractResult<Vec<usize>> {
    let mut convolved = vec![false; model.nodes().len()];
    let mut found = Vec::new();
    for id in model.eval_order()? {
        let node = model.node(id);
        let is = |input: &OutletId| convolved.get(input.node).copied().unwrap_or(false);
        let arithmetic = node.op_as::<TypedBinOp>();
        let turned = arithmetic.is_some_and(|op| op.0.is::<Sub>() || op.0.is::<Div>());
        if turned && node.inputs.get(1).is_some_and(is) {
            found.push(id);
        }
        let passes = arithmetic.is_some() || node.op_is::<AxisOp>() || node.op_is::<Identity>();
        let through = node.op_is::<Conv>() || passes && node.inputs.iter().any(is);
        if let Some(convolved) = convolved.get_mut(id) {
            *convolved = through;
        }
    }
    Ok(found)
}

impl Op for Apart {
    fn name(&self) -> StaticName {
        "Apart".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Apart {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(inputs)
    }
}

impl TypedOp for Apart {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [input] = inputs else { bail!("one tensor is set apart") };
        Ok(tvec!(input.without_value()))
    }

    as_op!();
}
