//! `ai.onnx.ml` Normalizer, version 1.
//!
//! Owns the scaling of each row, along the last axis, by its maximum, its L1 or its L2 norm
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_Normalizer.html>). A row whose norm is zero stays as
//! it is. Never touches how elements relate within a row.

use tract_onnx::prelude::{
    DatumType, IntoTensor as _, TValue, TVec, TractError, TractResult, tvec,
};
use tract_onnx::tract_hir::internal::IntoTValue as _;

use super::attributes::Attributes;
use super::operator::{Form, Operator, check_numbers};

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

impl Normalizer {
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

impl Operator for Normalizer {
    const NAME: &'static str = "Normalizer";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        match attributes.text("norm")?.unwrap_or("MAX") {
            "MAX" => Ok(Self::Max),
            "L1" => Ok(Self::L1),
            "L2" => Ok(Self::L2),
            other => Err(attributes.refuse("norm", &format!("names the unknown norm '{other}'"))),
        }
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let input = Self::only(inputs)?;
        check_numbers(Self::NAME, input.datum_type)?;
        let shape = input.shape.clone();
        if shape.is_empty() {
            return Err(TractError::msg("Normalizer takes a tensor of rows, not a scalar"));
        }
        Ok(tvec!(Form { datum_type: DatumType::F32, shape }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        // Reuses the memory of a value that nothing else reads.
        let mut tensor = Self::only(inputs)?.into_tensor();
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
