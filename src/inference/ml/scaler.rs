//! `ai.onnx.ml` Scaler, version 1.
//!
//! Owns `(x - offset) * scale` for each feature
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_Scaler.html>). FP64 is scaled as such and rounded once,
//! as in onnxruntime; everything else is FP32 first. Never guesses which axis holds the features: where
//! there is more than one value, the tensor has rank 1 or 2.

use tract_onnx::prelude::{DatumType, IntoTensor as _, TValue, TVec, TractResult, tensor1, tvec};
use tract_onnx::tract_hir::internal::IntoTValue as _;

use super::attributes::Attributes;
use super::operator::{Form, Operator, check_features, check_numbers};

/// An offset and a factor for each feature, or one pair for all.
#[derive(Debug)]
pub(super) struct Scaler {
    features: Vec<(f32, f32)>,
}

impl Operator for Scaler {
    const NAME: &'static str = "Scaler";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        let (offsets, scales) = (attributes.floats("offset")?, attributes.floats("scale")?);
        if offsets.is_empty() || offsets.len() != scales.len() {
            let (offsets, scales) = (offsets.len(), scales.len());
            let reason =
                format!("offset has {offsets} and scale {scales} elements, which must match");
            return Err(attributes.misfit(&reason));
        }
        Ok(Self { features: offsets.iter().copied().zip(scales.iter().copied()).collect() })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let input = Self::only(inputs)?;
        check_numbers(Self::NAME, input.datum_type)?;
        check_features(Self::NAME, &input.shape, self.features.len())?;
        Ok(tvec!(Form { datum_type: DatumType::F32, shape: input.shape.clone() }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = Self::only(inputs)?;
        check_features(Self::NAME, input.shape(), self.features.len())?;
        if input.datum_type() == DatumType::F64 {
            let elements = input.try_as_plain_ram()?.as_slice::<f64>()?;
            let features = self.features.iter().cycle();
            let scaled = elements
                .iter()
                .zip(features)
                .map(|(x, (offset, scale))| ((x - f64::from(*offset)) * f64::from(*scale)) as f32);
            let output = tensor1(&scaled.collect::<Vec<_>>()).into_shape(input.shape())?;
            return Ok(tvec!(output.into_tvalue()));
        }
        // Reuses the memory of a value that nothing else reads.
        let mut tensor = input.into_tensor();
        if tensor.datum_type() != DatumType::F32 {
            tensor = tensor.cast_to::<f32>()?.into_owned();
        }
        let mut plain = tensor.try_as_plain_ram_mut()?;
        let elements = plain.as_slice_mut::<f32>()?;
        if let [(offset, scale)] = *self.features {
            elements.iter_mut().for_each(|x| *x = (*x - offset) * scale);
        } else {
            for row in elements.chunks_exact_mut(self.features.len()) {
                for (x, (offset, scale)) in row.iter_mut().zip(&self.features) {
                    *x = (*x - offset) * scale;
                }
            }
        }
        Ok(tvec!(tensor.into_tvalue()))
    }
}
