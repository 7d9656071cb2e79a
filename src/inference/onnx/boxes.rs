//! `ai.onnx` NonMaxSuppression.
//!
//! Owns that no boxes are chosen where none are asked for, which is what a file without a number says
//! (<https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html>): tract takes 0 for "all". Such a file is refused,
//! such a request is the caller's mistake. A score that is missing is the least, as in onnxruntime; tract's order
//! contradicts itself then, and sorting panics. Never chooses boxes: that is tract's.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{
    IntoTensor as _, OutletId, TValue, TVec, TractResult, TypedFact, TypedModel, tvec,
};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, Expansion, IntoTValue as _, Op, StaticName, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, bail, op_as_typed_op, op_out_of_plan};

use super::wiring::{self, Built, Wiring, constant};
use crate::inference::ml::Unacceptable;

/// A node of the file.
#[derive(Debug, Clone)]
struct NonMaxSuppression(Box<dyn Expansion>);

/// Puts scores in an order, and looks at the number of boxes where it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scores;

/// Makes the operator of a node.
pub(super) fn build(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    if node.input.get(2).is_none_or(String::is_empty) {
        bail!("NonMaxSuppression is not told how many boxes to choose, which means none");
    }
    wiring::built(NonMaxSuppression(wiring::stock(context, node)?))
}

impl Wiring for NonMaxSuppression {
    fn operator(&self) -> StaticName {
        self.0.name()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let [boxes, scores, count, rest @ ..] = inputs else {
            bail!("NonMaxSuppression takes boxes, scores and a number");
        };
        // What follows from sizes is a constant without a number.
        let known = constant(model, *count)?.and_then(|count| count.cast_to_scalar::<i64>().ok());
        if known.is_some_and(|count| count <= 0) {
            bail!("NonMaxSuppression is told to choose no boxes");
        }
        let judged: &[OutletId] = if known.is_none() { &[*scores, *count] } else { &[*scores] };
        let scores = wiring::node(format!("{prefix}.scores"), model, Scores, judged)?;
        let inputs = [&[*boxes, scores, *count][..], rest].concat();
        wiring::only(prefix, &self.0.wire(prefix, model, &inputs)?)
    }

    fn stock(&self) -> Option<&dyn Expansion> {
        Some(&*self.0)
    }
}

impl Op for Scores {
    fn name(&self) -> StaticName {
        "Scores".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Scores {
    op_out_of_plan!();

    fn eval(
        &self,
        _context: &EvalContext<'_>,
        mut inputs: TVec<TValue>,
    ) -> TractResult<TVec<TValue>> {
        if let Some(count) = inputs.get(1)
            && count.cast_to_scalar::<i64>()? <= 0
        {
            let reason = "the model is asked to choose no boxes".to_owned();
            return Err(Unacceptable::new(reason).into());
        }
        inputs.truncate(1);
        let Some(scores) = inputs.pop() else { bail!("NonMaxSuppression takes scores") };
        let mut scores = scores.into_tensor();
        let mut plain = scores.try_as_plain_ram_mut()?;
        let missing = plain.as_slice_mut::<f32>()?.iter_mut().filter(|score| score.is_nan());
        missing.for_each(|score| *score = f32::NEG_INFINITY);
        Ok(tvec!(scores.into_tvalue()))
    }
}

impl TypedOp for Scores {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [scores, ..] = inputs else { bail!("NonMaxSuppression takes scores") };
        Ok(tvec!(scores.without_value()))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::tensor1;

    use super::*;

    #[test]
    fn a_missing_score_is_the_least_and_no_boxes_are_nobodys_wish() {
        let run = |count: i64| {
            let scores = tensor1(&[0.5, f32::NAN, f32::INFINITY]);
            let inputs = tvec!(scores.into_tvalue(), tensor1(&[count]).into_tvalue());
            Scores.eval(&EvalContext::out_of_plan(), inputs)
        };
        let expected = tensor1(&[0.5, f32::NEG_INFINITY, f32::INFINITY]);
        assert_eq!(*run(3).expect("some")[0], expected);
        for count in [0, -1, i64::MIN] {
            let error = run(count).expect_err("none");
            assert!(error.root_cause().is::<Unacceptable>(), "{error}");
        }
    }
}
