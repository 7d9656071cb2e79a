//! `ai.onnx.ml` LinearClassifier, version 1.
//!
//! Owns the scores (features times coefficients plus intercepts) and the label of the highest, the
//! first of equals (<https://onnx.ai/onnx/operators/onnx_aionnxml_LinearClassifier.html>). One row of
//! coefficients for two labels scores the second: the first gets the opposite score, or the
//! complementary probability. Never computes in anything but f32, as the output is.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{
    DatumExt as _, DatumType, DatumTypeExt as _, OutletId, SpecialOps as _, TValue, TVec, Tensor,
    TractResult, TypedFact, TypedModel, tensor1, tvec,
};
use tract_onnx::tract_hir::infer::{InferenceOp, InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{
    DimLike as _, EvalContext, EvalOp, Expansion, IntoTValue as _, Op, StaticName, TDim, TypedOp,
};
use tract_onnx::tract_hir::internal::{
    as_op, bail, ensure, expand, op_as_typed_op, op_out_of_plan,
};

use super::post_transform::PostTransform;

/// A linear model with a label for each class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LinearClassifier {
    models: Vec<Model>,
    /// The length of every model's weights, at least 1.
    features: usize,
    /// The label of each class; two where there is one model.
    labels: Labels,
    /// Whether the only model scores the second of two classes and the first is its opposite.
    opposite: bool,
    transform: PostTransform,
}

/// What scores one class.
#[derive(Debug, Clone)]
struct Model {
    weights: Vec<f32>,
    intercept: f32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Labels {
    Integers(Vec<i64>),
    Texts(Vec<String>),
}

/// Makes the operator of a node.
pub(super) fn build(
    _context: &ParsingContext<'_>,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(LinearClassifier::parse(node)?), Vec::new()))
}

impl LinearClassifier {
    /// Reads the attributes.
    pub(super) fn parse(node: &NodeProto) -> TractResult<Self> {
        let labels = Labels::parse(node)?;
        let transform = node.get_attr_opt::<&str>("post_transform")?.unwrap_or("NONE");
        let transform = PostTransform::parse(transform)?;
        let coefficients = node.get_attr_slice::<f32>("coefficients")?;
        let intercepts = node.get_attr_opt_slice::<f32>("intercepts")?.unwrap_or_default();
        let multinomial = node.get_attr_opt::<i64>("multi_class")?.unwrap_or(0) != 0;
        let models = match intercepts.len() {
            // How many rows there are is not said; two classes are then taken for one row.
            0 if labels.len() == 2 && !multinomial => 1,
            0 => labels.len(),
            count => count,
        };
        let opposite = models == 1 && labels.len() == 2;
        ensure!(
            opposite || models == labels.len(),
            "{models} rows of coefficients do not fit {} class labels",
            labels.len()
        );
        ensure!(
            !coefficients.is_empty() && coefficients.len().is_multiple_of(models),
            "{} coefficients do not fill {models} rows",
            coefficients.len()
        );
        if opposite && transform == PostTransform::Probit {
            bail!("PROBIT is not defined for one row of coefficients and two class labels");
        }
        let features = coefficients.len() / models;
        let intercepts = intercepts.iter().copied().chain(std::iter::repeat(0.0));
        let rows = coefficients.chunks_exact(features).zip(intercepts);
        let models = rows.map(|(row, intercept)| Model { weights: row.to_vec(), intercept });
        let labels = if labels.len() == 1 { labels.signs() } else { labels };
        Ok(Self { models: models.collect(), features, labels, opposite, transform })
    }

    /// How many scores a row of features gets.
    fn width(&self) -> usize {
        if self.opposite { 2 } else { self.models.len() }
    }

    /// Writes the scores of one row of features and returns its class.
    fn classify(&self, features: &[f32], scores: &mut [f32]) -> usize {
        let class = match (self.models.as_slice(), &mut *scores) {
            ([model], [score]) => {
                *score = model.score(features);
                usize::from(*score > 0.0)
            }
            ([model], [first, second]) => {
                *second = model.score(features);
                *first = -*second;
                usize::from(*second > 0.0)
            }
            (models, scores) => {
                for (score, model) in scores.iter_mut().zip(models) {
                    *score = model.score(features);
                }
                first_largest(scores)
            }
        };
        self.transform.apply(scores);
        class
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

impl Model {
    fn score(&self, features: &[f32]) -> f32 {
        self.intercept + dot(&self.weights, features)
    }
}

/// Compares bits, so that a model equals itself whatever is in it.
impl PartialEq for Model {
    fn eq(&self, other: &Self) -> bool {
        let bits = |model: &Self| {
            let numbers = model.weights.iter().chain([&model.intercept]);
            numbers.map(|number| number.to_bits()).collect::<Vec<_>>()
        };
        bits(self) == bits(other)
    }
}

impl Eq for Model {}

/// The scalar product. Sums in lanes, which the compiler may run side by side.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    if a_lanes.is_empty() { rest } else { rest + sums.iter().sum::<f32>() }
}

impl Labels {
    fn parse(node: &NodeProto) -> TractResult<Self> {
        let integers = node.get_attr_opt_slice::<i64>("classlabels_ints")?.unwrap_or_default();
        let texts = node.get_attr_opt_vec::<String>("classlabels_strings")?.unwrap_or_default();
        match (integers, texts) {
            ([], texts) if !texts.is_empty() => Ok(Self::Texts(texts)),
            (integers, texts) if texts.is_empty() && !integers.is_empty() => {
                Ok(Self::Integers(integers.to_vec()))
            }
            _ => bail!("exactly one of classlabels_ints and classlabels_strings must be given"),
        }
    }

    /// What onnxruntime answers where the file has one label only: whether the score is positive.
    fn signs(&self) -> Self {
        match self {
            Self::Integers(_) => Self::Integers(vec![0, 1]),
            Self::Texts(_) => Self::Texts(vec!["0".to_owned(), "1".to_owned()]),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Integers(labels) => labels.len(),
            Self::Texts(labels) => labels.len(),
        }
    }

    fn datum_type(&self) -> DatumType {
        match self {
            Self::Integers(_) => DatumType::I64,
            Self::Texts(_) => DatumType::String,
        }
    }
}

/// Becomes one node as soon as the types and shapes are known.
impl Expansion for LinearClassifier {
    fn name(&self) -> StaticName {
        Op::name(self)
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(2)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let ([input], [labels, scores]) = (inputs, outputs) else {
            bail!("LinearClassifier has one input and two outputs");
        };
        solver.equals(&labels.datum_type, self.labels.datum_type())?;
        solver.equals(&scores.datum_type, DatumType::F32)?;
        solver.equals(&labels.rank, 1)?;
        solver.equals(&scores.rank, 2)?;
        solver.equals(&scores.shape[1], TDim::from(self.width()))?;
        solver.equals(&labels.shape[0], &scores.shape[0])?;
        solver.given(&input.rank, move |solver, rank| match rank {
            1 => solver.equals(&labels.shape[0], TDim::from(1)),
            _ => solver.equals(&labels.shape[0], &input.shape[0]),
        })
    }
}

impl Op for LinearClassifier {
    fn name(&self) -> StaticName {
        "LinearClassifier".into()
    }

    op_as_typed_op!();
}

impl EvalOp for LinearClassifier {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [input] = inputs.as_slice() else { bail!("LinearClassifier takes one input") };
        let count = match *input.shape() {
            [columns] if columns == self.features => 1,
            [rows, columns] if columns == self.features => rows,
            ref shape => bail!("LinearClassifier takes {} features, got {shape:?}", self.features),
        };
        // Copies only what is not f32 already.
        let input = input.cast_to::<f32>()?;
        let rows = input.try_as_plain_ram()?.as_slice::<f32>()?.chunks_exact(self.features);
        let mut scores = Tensor::zero::<f32>(&[count, self.width()])?;
        let mut plain = scores.try_as_plain_ram_mut()?;
        let places = plain.as_slice_mut::<f32>()?.chunks_exact_mut(self.width());
        let classes = rows.zip(places).map(|(row, scores)| self.classify(row, scores));
        let labels = match &self.labels {
            Labels::Integers(labels) => {
                let mut chosen = Tensor::zero::<i64>(&[count])?;
                let mut plain = chosen.try_as_plain_ram_mut()?;
                for (place, class) in plain.as_slice_mut::<i64>()?.iter_mut().zip(classes) {
                    *place = labels.get(class).copied().unwrap_or_default();
                }
                chosen
            }
            Labels::Texts(labels) => {
                let label = |class: usize| labels.get(class).cloned().unwrap_or_default();
                tensor1(&classes.map(label).collect::<Vec<_>>())
            }
        };
        Ok(tvec!(labels.into_tvalue(), scores.into_tvalue()))
    }
}

impl TypedOp for LinearClassifier {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [input] = inputs else { bail!("LinearClassifier takes one input") };
        let (count, columns) = match input.shape.dims() {
            [columns] => (TDim::from(1), columns),
            [rows, columns] => (rows.clone(), columns),
            dims => bail!("LinearClassifier takes a tensor of rank 1 or 2, not {}", dims.len()),
        };
        if let Ok(columns) = columns.to_usize() {
            ensure!(
                columns == self.features,
                "LinearClassifier takes {} features, not {columns}",
                self.features
            );
        }
        let scores = f32::fact([count.clone(), TDim::from(self.width())]);
        Ok(tvec!(self.labels.datum_type().fact([count]), scores))
    }

    as_op!();
}
