//! `ai.onnx.ml` LinearClassifier, version 1.
//!
//! Owns the scores (features times coefficients plus intercepts) and the label of the highest, the
//! first of equals (<https://onnx.ai/onnx/operators/onnx_aionnxml_LinearClassifier.html>). One row of
//! coefficients for two labels scores the second. What the first gets, the specification does not say;
//! as in onnxruntime it is what is missing to 1, and only LOGISTIC is a transform then: the others are
//! passed over. Never computes in anything but f32, as the output is.

use tract_onnx::prelude::{DatumType, TValue, TVec, Tensor, TractResult, tvec};
use tract_onnx::tract_hir::internal::{IntoTValue as _, TDim};

use super::attributes::Attributes;
use super::labels::Labels;
use super::linear::Model;
use super::operator::{Form, Operator, check_numbers, rows};
use super::post_transform::PostTransform;

/// A linear model with a label for each class.
#[derive(Debug)]
pub(super) struct LinearClassifier {
    models: Vec<Model>,
    /// The length of every model's weights, at least 1.
    features: usize,
    /// The label of each class; two where there is one model.
    labels: Labels,
    /// Whether the only model scores the second of two classes and the first gets what is left.
    alone: bool,
    transform: PostTransform,
}

impl LinearClassifier {
    /// How many scores a row of features gets.
    fn width(&self) -> usize {
        if self.alone { 2 } else { self.models.len() }
    }

    /// Writes the scores of one row of features, before the transform, and returns its class.
    fn classify(&self, features: &[f32], scores: &mut [f32]) -> usize {
        match (self.models.as_slice(), &mut *scores) {
            ([model], [score]) => {
                *score = model.score(features);
                usize::from(*score > 0.0)
            }
            ([model], [first, second]) => {
                *second = model.score(features);
                *first = match self.transform {
                    PostTransform::Logistic => -*second,
                    _ => 1.0 - *second,
                };
                usize::from(*second > 0.0)
            }
            (models, scores) => {
                for (score, model) in scores.iter_mut().zip(models) {
                    *score = model.score(features);
                }
                first_largest(scores)
            }
        }
    }
}

fn first_largest(scores: &[f32]) -> usize {
    let mut best = (0, scores.first().copied().unwrap_or(f32::NAN));
    for (class, &score) in scores.iter().enumerate() {
        if score > best.1 {
            best = (class, score);
        }
    }
    best.0
}

impl Operator for LinearClassifier {
    const NAME: &'static str = "LinearClassifier";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        let labels = Labels::parse(attributes, "classlabels_ints", "classlabels_strings")?;
        let transform = PostTransform::parse(attributes)?;
        let coefficients = attributes.floats("coefficients")?;
        let intercepts = attributes.floats("intercepts")?;
        let multinomial = attributes.int("multi_class")?.unwrap_or(0) != 0;
        let models = match intercepts.len() {
            // How many rows there are is not said; two classes are then taken for one row.
            0 if labels.len() == 2 && !multinomial => 1,
            0 => labels.len(),
            count => count,
        };
        let alone = models == 1 && labels.len() == 2;
        if !alone && models != labels.len() {
            let reason = format!("{models} intercepts do not fit {} class labels", labels.len());
            return Err(attributes.misfit(&reason));
        }
        if coefficients.is_empty() || !coefficients.len().is_multiple_of(models) {
            let reason =
                format!("has {} elements, which do not fill {models} rows", coefficients.len());
            return Err(attributes.refuse("coefficients", &reason));
        }
        if alone && transform == PostTransform::Probit {
            let reason =
                "is PROBIT, which one row of coefficients for two class labels does not have";
            return Err(attributes.refuse("post_transform", reason));
        }
        let features = coefficients.len() / models;
        let models = Model::rows(coefficients, features, intercepts);
        let labels = if labels.len() == 1 { labels.signs() } else { labels };
        Ok(Self { models, features, labels, alone, transform })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let input = Self::only(inputs)?;
        check_numbers(Self::NAME, input.datum_type)?;
        let count = rows(Self::NAME, &input.shape, self.features)?;
        let labels = Form { datum_type: self.labels.datum_type(), shape: tvec!(count.clone()) };
        let shape = tvec!(count, TDim::from(self.width()));
        Ok(tvec!(labels, Form { datum_type: DatumType::F32, shape }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = Self::only(inputs)?;
        let count = rows(Self::NAME, input.shape(), self.features)?;
        // Copies only what is not f32 already.
        let input = input.cast_to::<f32>()?;
        let rows = input.try_as_plain_ram()?.as_slice::<f32>()?.chunks_exact(self.features);
        let mut scores = Tensor::zero::<f32>(&[count, self.width()])?;
        let mut plain = scores.try_as_plain_ram_mut()?;
        let places = plain.as_slice_mut::<f32>()?;
        let classes = rows.zip(places.chunks_exact_mut(self.width()));
        let classes = classes.map(|(row, scores)| self.classify(row, scores));
        let labels = self.labels.pick(classes);
        if !self.alone || self.transform == PostTransform::Logistic {
            self.transform.apply_rows(places, self.width());
        }
        Ok(tvec!(labels.into_tvalue(), scores.into_tvalue()))
    }

    fn longest_text(&self) -> usize {
        self.labels.longest_text()
    }
}
