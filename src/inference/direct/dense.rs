//! The product of rows with constant weights as an operator.
//!
//! Owns that a row has as many numbers as there are weights for an output. Never multiplies.

use std::sync::Arc;

use tract_onnx::prelude::{DatumTypeExt as _, TValue, TVec, Tensor, TractResult, TypedFact, tvec};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, IntoTValue as _, Op, StaticName, TDim, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, bail, op_as_typed_op, op_out_of_plan};

use super::kernel::{Panels, Places};

/// A product of the last axes with constant weights. Shared by the copies that the optimiser makes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Dense {
    /// How many axes come before them.
    kept: usize,
    panels: Arc<Panels>,
}

impl Eq for Dense {}

impl Dense {
    /// A product of all but `kept` axes with these weights.
    pub(super) fn new(kept: usize, panels: Panels) -> Self {
        Self { kept, panels: Arc::new(panels) }
    }

    fn multiply(&self, input: &Tensor) -> TractResult<Tensor> {
        let (outputs, length) = self.panels.size();
        let mut shape: TVec<usize> = input.shape().into();
        if shape.drain(self.kept.min(input.rank())..).product::<usize>() != length {
            bail!("rows of {length} numbers are multiplied, not {:?}", input.shape());
        }
        shape.push(outputs);
        let numbers = input.try_as_plain_ram()?.as_slice::<f32>()?;
        let steps: Vec<usize> = (0..length).collect();
        let positions: Vec<usize> = (0..numbers.len()).step_by(length).collect();
        let places = Places { steps: &steps, positions: &positions, side_by_side: true };
        let mut output = Tensor::zero::<f32>(&shape)?;
        let mut results = output.try_as_plain_ram_mut()?;
        self.panels.run(numbers, &places, results.as_slice_mut::<f32>()?)?;
        Ok(output)
    }
}

impl Op for Dense {
    fn name(&self) -> StaticName {
        "Dense".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Dense {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [input] = &*inputs else { bail!("a product with weights takes one input") };
        Ok(tvec!(self.multiply(input)?.into_tvalue()))
    }
}

impl TypedOp for Dense {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [input] = inputs else { bail!("a product with weights takes one input") };
        let mut shape: TVec<TDim> = input.shape.iter().take(self.kept).cloned().collect();
        shape.push(self.panels.size().0.into());
        Ok(tvec!(input.datum_type.fact(shape)))
    }

    as_op!();
}
