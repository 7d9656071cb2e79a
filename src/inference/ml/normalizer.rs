//! `ai.onnx.ml` Normalizer, version 1.
//!
//! Owns the scaling of each row, along the last axis, by its maximum, its L1 or its L2 norm
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_Normalizer.html>). A row whose norm is zero stays as
//! it is. Never touches how elements relate within a row.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{
    DatumExt as _, DatumType, IntoTensor as _, TValue, TVec, TractError, TractResult,
};
use tract_onnx::prelude::{TypedFact, tvec};
use tract_onnx::tract_hir::infer::InferenceOp;
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, IntoTValue as _, Op, StaticName, TypedOp,
};
use tract_onnx::tract_hir::internal::{
    as_op, ensure, inference_wrap, op_as_typed_op, op_out_of_plan,
};

/// What each row is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Normalizer {
    /// The largest element, with its sign.
    Max,
    /// The sum of the magnitudes.
    L1,
    /// The root of the sum of the squares.
    L2,
}

/// Makes the operator of a node.
pub(super) fn build(
    _context: &ParsingContext<'_>,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let norm = Normalizer::parse(node)?;
    let op = inference_wrap(norm, 1, |_op, solver, inputs, outputs| {
        if let ([input], [output]) = (inputs, outputs) {
            solver.equals(&output.datum_type, DatumType::F32)?;
            return solver.equals(&input.shape, &output.shape);
        }
        Err(TractError::msg("Normalizer has one input and one output"))
    });
    Ok((op, Vec::new()))
}

impl Normalizer {
    /// Reads the attribute `norm`.
    pub(super) fn parse(node: &NodeProto) -> TractResult<Self> {
        match node.get_attr_opt::<&str>("norm")?.unwrap_or("MAX") {
            "MAX" => Ok(Self::Max),
            "L1" => Ok(Self::L1),
            "L2" => Ok(Self::L2),
            other => Err(TractError::msg(format!("unknown norm '{other}'"))),
        }
    }

    fn scale(self, row: &mut [f32]) {
        match self {
            Self::Max => divide(row, row.iter().copied().fold(f32::MIN, f32::max)),
            Self::L1 => divide(row, row.iter().map(|x| x.abs()).sum()),
            Self::L2 => {
                let sum: f32 = row.iter().map(|x| x * x).sum();
                if sum != 0.0 {
                    // The root of each quotient, not the quotient of roots: as in onnxruntime, squares
                    // that overflow then show as NaN instead of as 0.
                    row.iter_mut().for_each(|x| *x = (*x * *x / sum).sqrt().copysign(*x));
                }
            }
        }
    }
}

fn divide(row: &mut [f32], norm: f32) {
    if norm != 0.0 {
        row.iter_mut().for_each(|x| *x /= norm);
    }
}

impl Op for Normalizer {
    fn name(&self) -> StaticName {
        "Normalizer".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Normalizer {
    op_out_of_plan!();

    fn eval(
        &self,
        _context: &EvalContext<'_>,
        mut inputs: TVec<TValue>,
    ) -> TractResult<TVec<TValue>> {
        let input = inputs.pop().ok_or_else(|| TractError::msg("Normalizer got no input"))?;
        // Reuses the memory of a value that nothing else reads.
        let mut tensor = input.into_tensor();
        if tensor.datum_type() != DatumType::F32 {
            tensor = tensor.cast_to::<f32>()?.into_owned();
        }
        let columns = tensor.shape().last().copied().unwrap_or(0);
        if columns > 0 {
            let mut plain = tensor.try_as_plain_ram_mut()?;
            let rows = plain.as_slice_mut::<f32>()?.chunks_exact_mut(columns);
            rows.for_each(|row| self.scale(row));
        }
        Ok(tvec!(tensor.into_tvalue()))
    }
}

impl TypedOp for Normalizer {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [input] = inputs else { return Err(TractError::msg("Normalizer takes one input")) };
        ensure!(input.rank() > 0, "Normalizer takes a tensor of rows, not a scalar");
        Ok(tvec!(f32::fact(input.shape.clone())))
    }

    as_op!();
}
