//! `ai.onnx.ml` SVMClassifier, version 1.
//!
//! Owns the vote of one class against another, the label of the class with most votes, and the scores:
//! probabilities where the file has sigmoids, else those of the pairs of classes
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_SVMClassifier.html>). Without support vectors it is
//! liblinear's machine: one score for each class.

use tract_onnx::prelude::{DatumType, TValue, TVec, Tensor, TractResult, tvec};
use tract_onnx::tract_hir::internal::{IntoTValue as _, TDim};

use super::kernel::{Kernel, SupportVectors, weighted};
use super::probability;
use crate::inference::ml::attributes::Attributes;
use crate::inference::ml::exponential::logistic;
use crate::inference::ml::labels::Labels;
use crate::inference::ml::operator::{Form, Operator, check_numbers, rows};
use crate::inference::ml::post_transform::PostTransform;

/// The most classes; the scores of a row grow with their square.
const CLASSES_MAX: usize = 1024;

/// A machine that answers with a class.
#[derive(Debug)]
pub(in crate::inference::ml) struct SvmClassifier {
    vectors: SupportVectors,
    machine: Machine,
    labels: Labels,
    transform: PostTransform,
}

#[derive(Debug)]
enum Machine {
    /// Votes between each two classes.
    Pairs(Vec<Pair>, Output),
    /// A vector for each class.
    Classes { offset: f32, threshold: Threshold },
}

/// What decides between two classes.
#[derive(Debug)]
struct Pair {
    first: Side,
    second: Side,
    offset: f32,
}

/// A class, where its support vectors start, and their weights in a pair.
#[derive(Debug)]
struct Side {
    class: usize,
    start: usize,
    weights: Vec<f32>,
}

#[derive(Debug)]
enum Output {
    /// The scores of all pairs as they are.
    Scores,
    /// Probabilities, by the sigmoid of each pair.
    Probabilities { sigmoids: Vec<(f32, f32)> },
}

/// When the second of two classes is chosen although its score is not the larger one.
#[derive(Debug, Clone, Copy)]
enum Threshold {
    /// Never.
    Larger,
    /// When the larger score is at least one half.
    Half,
    /// When the larger score is positive.
    Positive,
}

impl Operator for SvmClassifier {
    const NAME: &'static str = "SVMClassifier";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        let labels = Labels::parse(attributes, "classlabels_ints", "classlabels_strings")?;
        let file = File::read(attributes, labels.len())?;
        let transform = PostTransform::parse(attributes)?;
        let (vectors, machine) =
            if file.supports == 0 { file.classes()? } else { file.pairs(transform)? };
        Ok(Self { vectors, machine, labels, transform })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let input = Self::only(inputs)?;
        check_numbers(Self::NAME, input.datum_type)?;
        let rows = rows(Self::NAME, &input.shape, self.vectors.features())?;
        let labels = Form { datum_type: self.labels.datum_type(), shape: tvec!(rows.clone()) };
        let shape = tvec!(rows, TDim::from(self.width()));
        Ok(tvec!(labels, Form { datum_type: DatumType::F32, shape }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = Self::only(inputs)?;
        let count = rows(Self::NAME, input.shape(), self.vectors.features())?;
        // Copies only what is not f32 already.
        let input = input.cast_to::<f32>()?;
        let rows = input.try_as_plain_ram()?.as_slice::<f32>()?;
        let mut scores = Tensor::zero::<f32>(&[count, self.width()])?;
        let mut plain = scores.try_as_plain_ram_mut()?;
        let places = plain.as_slice_mut::<f32>()?.chunks_exact_mut(self.width());
        let mut scratch = Scratch::default();
        let rows = rows.chunks_exact(self.vectors.features()).zip(places);
        let chosen: Vec<usize> =
            rows.map(|(row, scores)| self.classify(row, scores, &mut scratch)).collect();
        Ok(tvec!(self.labels.pick(chosen.into_iter()).into_tvalue(), scores.into_tvalue()))
    }

    fn held_bytes(&self) -> usize {
        self.vectors.bytes()
    }
}

/// Memory that rows share.
#[derive(Debug, Default)]
struct Scratch {
    values: Vec<f32>,
    scores: Vec<f32>,
    votes: Vec<u32>,
    pairs: Vec<f32>,
    coupling: Vec<f32>,
}

impl SvmClassifier {
    /// How many scores a row of features gets.
    fn width(&self) -> usize {
        match &self.machine {
            Machine::Pairs(pairs, Output::Scores) => pairs.len().max(2),
            Machine::Pairs(_, Output::Probabilities { .. }) | Machine::Classes { .. } => {
                self.labels.len()
            }
        }
    }

    /// Writes the scores of one row of features and returns its class.
    fn classify(&self, row: &[f32], scores: &mut [f32], scratch: &mut Scratch) -> usize {
        self.vectors.compare(row, &mut scratch.values);
        let class = match &self.machine {
            Machine::Classes { offset, threshold } => {
                for (score, value) in scores.iter_mut().zip(&scratch.values) {
                    *score = value + offset;
                }
                threshold.choose(scores)
            }
            Machine::Pairs(pairs, output) => {
                let class = scratch.vote(pairs, self.labels.len());
                match output {
                    Output::Scores => scratch.write(scores, self.transform),
                    Output::Probabilities { sigmoids } => scratch.couple(pairs, sigmoids, scores),
                }
                class
            }
        };
        let only_score = match &self.machine {
            Machine::Pairs(pairs, Output::Scores) => pairs.len() == 1,
            Machine::Pairs(..) | Machine::Classes { .. } => {
                self.labels.len() == 1 && self.transform != PostTransform::Probit
            }
        };
        if !only_score {
            self.transform.apply(scores);
        }
        class
    }
}

impl Scratch {
    /// Scores all pairs and returns the class with most votes, the first of equals.
    fn vote(&mut self, pairs: &[Pair], classes: usize) -> usize {
        self.votes.clear();
        self.votes.resize(classes, 0);
        self.scores.clear();
        for pair in pairs {
            let side = |side: &Side| {
                let end = side.start + side.weights.len();
                let values = self.values.get(side.start..end).unwrap_or_default();
                weighted(values, &side.weights)
            };
            let score = side(&pair.first) + side(&pair.second) + f64::from(pair.offset);
            let winner = if score > 0.0 { &pair.first } else { &pair.second };
            if let Some(votes) = self.votes.get_mut(winner.class) {
                *votes += 1;
            }
            self.scores.push(score as f32);
        }
        let mut best = (0, 0);
        for (class, &votes) in self.votes.iter().enumerate() {
            if votes > best.1 {
                best = (class, votes);
            }
        }
        best.0
    }

    /// Writes the scores of the pairs; the only one is that of the second class, and the first class
    /// gets its opposite.
    fn write(&self, scores: &mut [f32], transform: PostTransform) {
        match (self.scores.as_slice(), scores) {
            ([score], [first, second]) => {
                (*first, *second) = match transform {
                    PostTransform::None => (-score, *score),
                    // What onnxruntime does; the specification does not say what the first class gets.
                    PostTransform::Logistic => (logistic(-score), logistic(*score)),
                    _ => (1.0 - score, *score),
                };
            }
            (pairs, scores) => scores.iter_mut().zip(pairs).for_each(|(place, score)| {
                *place = *score;
            }),
        }
    }

    fn couple(&mut self, pairs: &[Pair], sigmoids: &[(f32, f32)], probabilities: &mut [f32]) {
        let classes = probabilities.len();
        self.pairs.clear();
        self.pairs.resize(classes * classes, 0.0);
        for ((pair, score), (a, b)) in pairs.iter().zip(&self.scores).zip(sigmoids) {
            let probability = probability::of_pair(*score, *a, *b);
            let (first, second) = (pair.first.class, pair.second.class);
            for (row, column, value) in
                [(first, second, probability), (second, first, 1.0 - probability)]
            {
                if let Some(place) = self.pairs.get_mut(row * classes + column) {
                    *place = value;
                }
            }
        }
        probability::couple(&self.pairs, &mut self.coupling, probabilities);
    }
}

impl Threshold {
    /// The class of the highest score, the first of equals, unless a rule chooses the second of two.
    fn choose(self, scores: &[f32]) -> usize {
        let mut best = (0, scores.first().copied().unwrap_or(f32::NAN));
        for (class, &score) in scores.iter().enumerate() {
            if score > best.1 {
                best = (class, score);
            }
        }
        let second = match self {
            Self::Larger => false,
            Self::Half => best.1 >= 0.5,
            Self::Positive => best.1 > 0.0,
        };
        if second { 1 } else { best.0 }
    }
}

/// The attributes of the file.
struct File<'a, 'b> {
    attributes: &'b Attributes<'a>,
    classes: usize,
    coefficients: &'a [f32],
    vectors: &'a [f32],
    per_class: Vec<usize>,
    /// The number of support vectors.
    supports: usize,
    kernel: Kernel,
    offsets: &'a [f32],
    sigmoid_a: &'a [f32],
    sigmoid_b: &'a [f32],
}

impl<'a, 'b> File<'a, 'b> {
    fn read(attributes: &'b Attributes<'a>, classes: usize) -> TractResult<Self> {
        if classes > CLASSES_MAX {
            let reason = format!("{classes} classes are more than {CLASSES_MAX}");
            return Err(attributes.misfit(&reason));
        }
        let coefficients = attributes.floats("coefficients")?;
        if coefficients.is_empty() {
            return Err(attributes.refuse("coefficients", "is empty"));
        }
        let mut per_class = Vec::new();
        for (index, count) in attributes.ints("vectors_per_class")?.iter().enumerate() {
            per_class.push(usize::try_from(*count).map_err(|_negative| {
                attributes.refuse("vectors_per_class", &format!("at index {index} is {count}"))
            })?);
        }
        let supports = per_class.iter().try_fold(0_usize, |sum, count| sum.checked_add(*count));
        let supports = supports
            .ok_or_else(|| attributes.refuse("vectors_per_class", "adds up to too many"))?;
        let file = Self {
            attributes,
            classes,
            coefficients,
            vectors: attributes.floats("support_vectors")?,
            per_class,
            supports,
            kernel: Kernel::parse(attributes)?,
            offsets: attributes.floats("rho")?,
            sigmoid_a: attributes.floats("prob_a")?,
            sigmoid_b: attributes.floats("prob_b")?,
        };
        if file.sigmoid_a.len() == file.sigmoid_b.len() {
            return Ok(file);
        }
        let reason = format!(
            "has {} elements, but prob_a has {}",
            file.sigmoid_b.len(),
            file.sigmoid_a.len()
        );
        Err(attributes.refuse("prob_b", &reason))
    }

    /// liblinear's machine.
    fn classes(&self) -> TractResult<(SupportVectors, Machine)> {
        self.expect("coefficients", self.coefficients.len().is_multiple_of(self.classes), || {
            format!("has {} elements for {} classes", self.coefficients.len(), self.classes)
        })?;
        let &[offset, ..] = self.offsets else {
            return Err(self.attributes.refuse("rho", "is empty"));
        };
        let positive = self.coefficients.iter().all(|weight| *weight >= 0.0);
        let threshold = match (self.classes, self.sigmoid_a, positive) {
            (2, [], true) => Threshold::Half,
            (2, [], false) => Threshold::Positive,
            _ => Threshold::Larger,
        };
        let vectors = SupportVectors::new(Kernel::Linear, self.coefficients, self.classes);
        Ok((vectors, Machine::Classes { offset, threshold }))
    }

    /// libsvm's machine.
    fn pairs(&self, transform: PostTransform) -> TractResult<(SupportVectors, Machine)> {
        let (classes, supports) = (self.classes, self.supports);
        let count = classes * classes.saturating_sub(1) / 2;
        self.expect("vectors_per_class", classes > 1 && self.per_class.len() == classes, || {
            format!("has {} elements for {classes} classes", self.per_class.len())
        })?;
        let fits = !self.vectors.is_empty() && self.vectors.len().is_multiple_of(supports);
        self.expect("support_vectors", fits, || {
            format!("has {} elements for {supports} vectors", self.vectors.len())
        })?;
        let coefficients = supports.checked_mul(classes - 1);
        self.expect("coefficients", coefficients == Some(self.coefficients.len()), || {
            let found = self.coefficients.len();
            format!("has {found} elements for {supports} vectors and {classes} classes")
        })?;
        self.expect("rho", self.offsets.len() >= count, || {
            format!("has {} elements for {count} pairs of classes", self.offsets.len())
        })?;
        let sigmoids = self.sigmoid_a.len();
        self.expect("prob_a", sigmoids == 0 || sigmoids >= count, || {
            format!("has {sigmoids} elements for {count} pairs of classes")
        })?;
        let probit = classes == 2 && sigmoids == 0 && transform == PostTransform::Probit;
        self.expect("post_transform", !probit, || {
            "is PROBIT, which is not defined for the score of a pair".to_owned()
        })?;
        let mut pairs = Vec::with_capacity(count);
        for first in 0..classes {
            for second in first + 1..classes {
                pairs.push(Pair {
                    // A class has no coefficients against itself: those against later ones move up.
                    first: self.side(first, second - 1),
                    second: self.side(second, first),
                    offset: self.offsets.get(pairs.len()).copied().unwrap_or_default(),
                });
            }
        }
        let output = if sigmoids == 0 {
            Output::Scores
        } else {
            let sigmoids = self.sigmoid_a.iter().copied().zip(self.sigmoid_b.iter().copied());
            Output::Probabilities { sigmoids: sigmoids.collect() }
        };
        let vectors = SupportVectors::new(self.kernel, self.vectors, supports);
        Ok((vectors, Machine::Pairs(pairs, output)))
    }

    /// The vectors of a class, weighed by a row of the coefficients.
    fn side(&self, class: usize, row: usize) -> Side {
        let start: usize = self.per_class.iter().take(class).sum();
        let length = self.per_class.get(class).copied().unwrap_or_default();
        let from = row * self.supports + start;
        let weights = self.coefficients.get(from..from + length).unwrap_or_default();
        Side { class, start, weights: weights.to_vec() }
    }

    fn expect(
        &self,
        attribute: &str,
        holds: bool,
        reason: impl FnOnce() -> String,
    ) -> TractResult<()> {
        if holds { Ok(()) } else { Err(self.attributes.refuse(attribute, &reason())) }
    }
}
