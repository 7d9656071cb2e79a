//! `ai.onnx.ml` LinearRegressor, version 1.
//!
//! Owns the values of one or more targets: features times coefficients plus intercepts
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_LinearRegressor.html>). A transform also holds for a
//! single target, as specified; onnxruntime leaves out all but PROBIT there. Never computes in anything
//! but f32, as the output is.

use tract_onnx::prelude::{DatumType, TValue, TVec, Tensor, TractResult, tvec};
use tract_onnx::tract_hir::internal::{IntoTValue as _, TDim};

use super::attributes::Attributes;
use super::linear::Model;
use super::operator::{Form, Operator, check_numbers, rows};
use super::post_transform::PostTransform;

/// A linear model for each target.
#[derive(Debug)]
pub(super) struct LinearRegressor {
    models: Vec<Model>,
    /// The length of every model's weights, at least 1.
    features: usize,
    transform: PostTransform,
}

impl Operator for LinearRegressor {
    const NAME: &'static str = "LinearRegressor";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        let targets = attributes.int("targets")?.unwrap_or(1);
        let coefficients = attributes.floats("coefficients")?;
        let intercepts = attributes.floats("intercepts")?;
        let transform = PostTransform::parse(attributes)?;
        let Some(targets) = usize::try_from(targets).ok().filter(|targets| *targets > 0) else {
            return Err(attributes.refuse("targets", &format!("is {targets}, not at least 1")));
        };
        if coefficients.is_empty() || !coefficients.len().is_multiple_of(targets) {
            let count = coefficients.len();
            let reason = format!("has {count} elements, which do not fill {targets} rows");
            return Err(attributes.refuse("coefficients", &reason));
        }
        if !intercepts.is_empty() && intercepts.len() != targets {
            let reason = format!("has {} elements, not {targets}", intercepts.len());
            return Err(attributes.refuse("intercepts", &reason));
        }
        let features = coefficients.len() / targets;
        Ok(Self { models: Model::rows(coefficients, features, intercepts), features, transform })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let input = Self::only(inputs)?;
        check_numbers(Self::NAME, input.datum_type)?;
        let count = rows(Self::NAME, &input.shape, self.features)?;
        let shape = tvec!(count, TDim::from(self.models.len()));
        Ok(tvec!(Form { datum_type: DatumType::F32, shape }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = Self::only(inputs)?;
        let count = rows(Self::NAME, input.shape(), self.features)?;
        // Copies only what is not f32 already.
        let input = input.cast_to::<f32>()?;
        let rows = input.try_as_plain_ram()?.as_slice::<f32>()?.chunks_exact(self.features);
        let mut values = Tensor::zero::<f32>(&[count, self.models.len()])?;
        let mut plain = values.try_as_plain_ram_mut()?;
        let places = plain.as_slice_mut::<f32>()?;
        for (row, places) in rows.zip(places.chunks_exact_mut(self.models.len())) {
            for (place, model) in places.iter_mut().zip(&self.models) {
                *place = model.score(row);
            }
        }
        self.transform.apply_rows(places, self.models.len());
        Ok(tvec!(values.into_tvalue()))
    }
}
