//! `ai.onnx.ml` SVMRegressor, version 1.
//!
//! Owns the weighted sum over the support vectors, or over the features where there are none, and the
//! side of the one-class machine: 1 or -1
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_SVMRegressor.html>). `post_transform` changes nothing,
//! as in onnxruntime.

use tract_onnx::prelude::{DatumType, TValue, TVec, Tensor, TractResult, tvec};
use tract_onnx::tract_hir::internal::{IntoTValue as _, TDim};

use super::kernel::{Kernel, SupportVectors, weighted};
use crate::inference::ml::attributes::Attributes;
use crate::inference::ml::operator::{Form, Operator, check_numbers, rows};
use crate::inference::ml::post_transform::PostTransform;

/// A machine that answers with a number.
#[derive(Debug)]
pub(in crate::inference::ml) struct SvmRegressor {
    vectors: SupportVectors,
    /// One for each vector.
    weights: Vec<f32>,
    offset: f32,
    one_class: bool,
}

impl Operator for SvmRegressor {
    const NAME: &'static str = "SVMRegressor";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        PostTransform::parse(attributes)?;
        let coefficients = attributes.floats("coefficients")?;
        let vectors = attributes.floats("support_vectors")?;
        let kernel = Kernel::parse(attributes)?;
        let offset = match attributes.floats("rho")? {
            [offset, ..] => *offset,
            [] => return Err(attributes.refuse("rho", "is empty")),
        };
        if coefficients.is_empty() {
            return Err(attributes.refuse("coefficients", "is empty"));
        }
        let supports = attributes.int("n_supports")?.unwrap_or(0);
        let one_class = attributes.int("one_class")?.unwrap_or(0) != 0;
        if supports == 0 {
            // liblinear: the coefficients are those of the features.
            let vectors = SupportVectors::new(Kernel::Linear, coefficients, 1);
            return Ok(Self { vectors, weights: vec![1.0], offset, one_class });
        }
        let count = usize::try_from(supports).unwrap_or(usize::MAX);
        if coefficients.len() != count {
            let reason = format!("has {} elements for {supports} vectors", coefficients.len());
            return Err(attributes.refuse("coefficients", &reason));
        }
        if vectors.is_empty() || !vectors.len().is_multiple_of(count) {
            let reason = format!("has {} elements for {supports} vectors", vectors.len());
            return Err(attributes.refuse("support_vectors", &reason));
        }
        let vectors = SupportVectors::new(kernel, vectors, count);
        Ok(Self { vectors, weights: coefficients.to_vec(), offset, one_class })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let input = Self::only(inputs)?;
        check_numbers(Self::NAME, input.datum_type)?;
        let rows = rows(Self::NAME, &input.shape, self.vectors.features())?;
        Ok(tvec!(Form { datum_type: DatumType::F32, shape: tvec!(rows, TDim::from(1)) }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = Self::only(inputs)?;
        let count = rows(Self::NAME, input.shape(), self.vectors.features())?;
        // Copies only what is not f32 already.
        let input = input.cast_to::<f32>()?;
        let rows = input.try_as_plain_ram()?.as_slice::<f32>()?;
        let mut answers = Tensor::zero::<f32>(&[count, 1])?;
        let mut plain = answers.try_as_plain_ram_mut()?;
        let mut values = Vec::new();
        let places = plain.as_slice_mut::<f32>()?.iter_mut();
        for (place, row) in places.zip(rows.chunks_exact(self.vectors.features())) {
            self.vectors.compare(row, &mut values);
            let score = (weighted(&values, &self.weights) + f64::from(self.offset)) as f32;
            *place = match (self.one_class, score > 0.0) {
                (false, _) => score,
                (true, true) => 1.0,
                (true, false) => -1.0,
            };
        }
        Ok(tvec!(answers.into_tvalue()))
    }

    fn held_bytes(&self) -> usize {
        self.vectors.bytes()
    }
}
