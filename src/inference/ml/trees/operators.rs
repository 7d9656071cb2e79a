//! The operators that tract sees.
//!
//! Owns the attributes that are not about trees, and the tensors. A table is laid out when the type of
//! the features is known: in 64 bits where they, or any number in the file, are, else in 32.

use std::sync::OnceLock;

use parking_lot::Mutex;
use tract_onnx::prelude::{Datum, DatumType, TValue, TVec, Tensor, TractError, TractResult, tvec};
use tract_onnx::tract_hir::internal::{DimLike as _, IntoTValue as _, TDim, bail};

use super::attributes::{Lists, VoteNames};
use super::forest::{Forest, Refusal};
use super::indexed::IndexedLists;
use super::key::Real;
use super::score::{Aggregate, Classification, Regression};
use super::table::Table;
use super::walk::Scores;
use crate::inference::ml::attributes::Attributes;
use crate::inference::ml::labels::Labels;
use crate::inference::ml::operator::{Form, Operator, Unacceptable, check_numbers};
use crate::inference::ml::post_transform::PostTransform;

/// Trees that classify (<https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleClassifier.html>).
#[derive(Debug)]
pub(in crate::inference::ml) struct TreeEnsembleClassifier {
    ensemble: Ensemble,
    classes: usize,
    labels: Labels,
    classification: Classification,
}

/// Trees with numbers for answers
/// (<https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleRegressor.html>).
#[derive(Debug)]
pub(in crate::inference::ml) struct TreeEnsembleRegressor {
    ensemble: Ensemble,
    regression: Regression,
}

/// The successor of both, which may test whether a feature is in a set
/// (<https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html>).
#[derive(Debug)]
pub(in crate::inference::ml) struct TreeEnsemble {
    ensemble: Ensemble,
    regression: Regression,
}

const CLASS_NAMES: VoteNames = VoteNames {
    count: "classlabels_int64s",
    tree_ids: "class_treeids",
    node_ids: "class_nodeids",
    targets: "class_ids",
    weights: "class_weights",
};

const TARGET_NAMES: VoteNames = VoteNames {
    count: "n_targets",
    tree_ids: "target_treeids",
    node_ids: "target_nodeids",
    targets: "target_ids",
    weights: "target_weights",
};

impl Operator for TreeEnsembleClassifier {
    const NAME: &'static str = "TreeEnsembleClassifier";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        let labels = Labels::parse(attributes, "classlabels_int64s", "classlabels_strings")?;
        let classes = labels.len();
        let mut wide = false;
        let lists = lists(attributes, CLASS_NAMES, "class_weights_as_tensor", &mut wide)?;
        let base_values = base_values(attributes, &mut wide)?;
        let most = if classes == 1 { 1 } else { 2 };
        let fits = base_values.is_empty() || base_values.len() == classes;
        if !fits && (classes > 2 || base_values.len() > most) {
            let reason = format!("has {} values for {classes} classes", base_values.len());
            return Err(attributes.refuse("base_values", &reason));
        }
        let forest = lists.forest(CLASS_NAMES, classes).map_err(refused(attributes))?;
        let first = lists.vote_targets.first();
        let one_target = first.is_some() && lists.vote_targets.iter().all(|id| Some(id) == first);
        let classification = Classification {
            transform: PostTransform::parse(attributes)?,
            one_sided: classes == 2 && one_target,
            probabilities: !lists.vote_weights.iter().any(|weight| *weight < 0.0),
            base_values,
        };
        let labels = match (&labels, classes) {
            (Labels::Texts(_), 1) => {
                let reason = "has one label, but a score that is not positive needs another";
                return Err(attributes.refuse("classlabels_strings", reason));
            }
            // onnxruntime has no use for the numbers of the file here.
            (Labels::Integers(_), 1 | 2) if !classification.one_sided => labels.signs(),
            _ => labels,
        };
        // onnxruntime leaves the other score unset.
        if classification.one_sided
            && first == Some(&0)
            && classification.base_values.len() < 2
            && classification.transform == PostTransform::Probit
        {
            let reason = "is PROBIT, which is not defined for votes for the first of two classes";
            return Err(attributes.refuse("post_transform", reason));
        }
        Ok(Self { ensemble: Ensemble::new(forest, wide), classes, labels, classification })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let input = Self::only(inputs)?;
        check_numbers(Self::NAME, input.datum_type)?;
        let rows = self.ensemble.rows(Self::NAME, input)?;
        let labels = Form { datum_type: self.labels.datum_type(), shape: tvec!(rows.clone()) };
        let shape = tvec!(rows, TDim::from(self.classes));
        Ok(tvec!(labels, Form { datum_type: DatumType::F32, shape }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = Self::only(inputs)?;
        let mut chosen = Vec::new();
        let scores = match self.ensemble.table(input.datum_type()) {
            AnyTable::Single(table) => self.answer(table, &input, &mut chosen)?,
            AnyTable::Double(table) => self.answer(table, &input, &mut chosen)?,
        };
        let labels = self.labels.pick(chosen.into_iter());
        Ok(tvec!(labels.into_tvalue(), into_type(scores, DatumType::F32)?))
    }

    fn held_bytes(&self) -> usize {
        self.ensemble.held_bytes()
    }

    fn longest_text(&self) -> usize {
        self.labels.longest_text()
    }
}

impl TreeEnsembleClassifier {
    fn answer<T: Real + Datum>(
        &self,
        table: &Table<T>,
        input: &Tensor,
        chosen: &mut Vec<usize>,
    ) -> TractResult<Tensor> {
        score(table, input, Aggregate::Sum, |row, answer| {
            chosen.push(self.classification.finish(row, answer));
        })
    }
}

impl Operator for TreeEnsembleRegressor {
    const NAME: &'static str = "TreeEnsembleRegressor";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        let mut wide = false;
        let targets = targets(attributes)?;
        let lists = lists(attributes, TARGET_NAMES, "target_weights_as_tensor", &mut wide)?;
        let base_values = base_values(attributes, &mut wide)?;
        if !base_values.is_empty() && base_values.len() != targets {
            let reason = format!("has {} values for {targets} targets", base_values.len());
            return Err(attributes.refuse("base_values", &reason));
        }
        let forest = lists.forest(TARGET_NAMES, targets).map_err(refused(attributes))?;
        let aggregate = match attributes.text("aggregate_function")?.unwrap_or("SUM") {
            "SUM" => Aggregate::Sum,
            "AVERAGE" => Aggregate::Average,
            "MIN" => Aggregate::Min,
            "MAX" => Aggregate::Max,
            other => {
                let reason = format!("names the unknown function '{other}'");
                return Err(attributes.refuse("aggregate_function", &reason));
            }
        };
        let transform = PostTransform::parse(attributes)?;
        let regression = Regression { aggregate, base_values, transform };
        Ok(Self { ensemble: Ensemble::new(forest, wide), regression })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let input = Self::only(inputs)?;
        check_numbers(Self::NAME, input.datum_type)?;
        let rows = self.ensemble.rows(Self::NAME, input)?;
        let shape = tvec!(rows, TDim::from(self.ensemble.targets));
        Ok(tvec!(Form { datum_type: DatumType::F32, shape }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let answer = self.ensemble.regress(&self.regression, &*Self::only(inputs)?)?;
        Ok(tvec!(into_type(answer, DatumType::F32)?))
    }

    fn held_bytes(&self) -> usize {
        self.ensemble.held_bytes()
    }
}

impl Operator for TreeEnsemble {
    const NAME: &'static str = "TreeEnsemble";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        let mut wide = false;
        let targets = targets(attributes)?;
        let modes = attributes.tensor("nodes_modes")?.unwrap_or_default();
        let modes = modes.try_as_plain_ram()?.as_slice::<u8>();
        let modes = modes.map_err(|_error| attributes.refuse("nodes_modes", "is not of bytes"))?;
        attributes.tensor("nodes_hitrates")?;
        let lists = IndexedLists {
            roots: attributes.ints("tree_roots")?,
            features: attributes.ints("nodes_featureids")?,
            modes: modes.to_vec(),
            splits: tensor(attributes, "nodes_splits", &mut wide)?.unwrap_or_default(),
            true_ids: attributes.ints("nodes_truenodeids")?,
            true_leaves: attributes.ints("nodes_trueleafs")?,
            false_ids: attributes.ints("nodes_falsenodeids")?,
            false_leaves: attributes.ints("nodes_falseleafs")?,
            missing: attributes.ints("nodes_missing_value_tracks_true")?,
            members: tensor(attributes, "membership_values", &mut wide)?.unwrap_or_default(),
            leaf_targets: attributes.ints("leaf_targetids")?,
            leaf_weights: tensor(attributes, "leaf_weights", &mut wide)?.unwrap_or_default(),
        };
        let forest = lists.forest(targets).map_err(refused(attributes))?;
        let aggregate = match attributes.int("aggregate_function")?.unwrap_or(1) {
            0 => Aggregate::Average,
            1 => Aggregate::Sum,
            2 => Aggregate::Min,
            3 => Aggregate::Max,
            other => {
                let reason = format!("is {other}, not 0 to 3");
                return Err(attributes.refuse("aggregate_function", &reason));
            }
        };
        let transform = match attributes.int("post_transform")?.unwrap_or(0) {
            0 => PostTransform::None,
            1 => PostTransform::Softmax,
            2 => PostTransform::Logistic,
            3 => PostTransform::SoftmaxZero,
            4 => PostTransform::Probit,
            other => {
                let reason = format!("is {other}, not 0 to 4");
                return Err(attributes.refuse("post_transform", &reason));
            }
        };
        let regression = Regression { aggregate, base_values: Vec::new(), transform };
        Ok(Self { ensemble: Ensemble::new(forest, wide), regression })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let input = Self::only(inputs)?;
        if !input.datum_type.is_float() {
            bail!("TreeEnsemble takes FP16, FP32 or FP64, not {:?}", input.datum_type);
        }
        let rows = self.ensemble.rows(Self::NAME, input)?;
        let shape = tvec!(rows, TDim::from(self.ensemble.targets));
        Ok(tvec!(Form { datum_type: input.datum_type, shape }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = Self::only(inputs)?;
        let answer = self.ensemble.regress(&self.regression, &input)?;
        Ok(tvec!(into_type(answer, input.datum_type())?))
    }

    fn held_bytes(&self) -> usize {
        self.ensemble.held_bytes()
    }
}

/// The trees of an operator, and the table that they become.
#[derive(Debug)]
struct Ensemble {
    /// What the table is built from; gone when it is. Locked once for each form of the operator.
    forest: Mutex<Option<Forest>>,
    table: OnceLock<AnyTable>,
    /// Whether the file has numbers of 64 bits.
    wide: bool,
    targets: usize,
}

#[derive(Debug)]
enum AnyTable {
    Single(Table<f32>),
    Double(Table<f64>),
}

impl Ensemble {
    fn new(forest: Forest, wide: bool) -> Self {
        let targets = forest.targets;
        Self { forest: Mutex::new(Some(forest)), table: OnceLock::new(), wide, targets }
    }

    /// The table for features of this type, which is the same in all calls.
    fn table(&self, features: DatumType) -> &AnyTable {
        self.table.get_or_init(|| {
            let forest = self.forest.lock().take().unwrap_or_default();
            if self.wide || features == DatumType::F64 {
                AnyTable::Double(Table::build(&forest))
            } else {
                AnyTable::Single(Table::build(&forest))
            }
        })
    }

    fn held_bytes(&self) -> usize {
        match self.table.get() {
            Some(AnyTable::Single(table)) => table.bytes(),
            Some(AnyTable::Double(table)) => table.bytes(),
            None => 0,
        }
    }

    /// The number of rows in a tensor of this form.
    fn rows(&self, name: &str, input: &Form) -> TractResult<TDim> {
        let features = match self.table(input.datum_type) {
            AnyTable::Single(table) => table.features,
            AnyTable::Double(table) => table.features,
        };
        let (rows, columns) = match &*input.shape {
            [columns] => (TDim::from(1), columns),
            [rows, columns] => (rows.clone(), columns),
            shape => bail!("{name} takes a tensor of rank 1 or 2, not {}", shape.len()),
        };
        match columns.to_usize() {
            Ok(columns) if columns < features => {
                let reason = format!("{name} takes at least {features} features, not {columns}");
                Err(Unacceptable::new(reason).into())
            }
            Ok(_) | Err(_) => Ok(rows),
        }
    }

    fn regress(&self, regression: &Regression, input: &Tensor) -> TractResult<Tensor> {
        let aggregate = regression.aggregate;
        match self.table(input.datum_type()) {
            AnyTable::Single(table) => score(table, input, aggregate, |row, answer| {
                regression.finish(row, table.trees, answer);
            }),
            AnyTable::Double(table) => score(table, input, aggregate, |row, answer| {
                regression.finish(row, table.trees, answer);
            }),
        }
    }
}

/// Walks all rows of `input` and collects what `finish` makes of each.
fn score<T: Real + Datum>(
    table: &Table<T>,
    input: &Tensor,
    aggregate: Aggregate,
    mut finish: impl FnMut(Scores<'_, T>, &mut [T]),
) -> TractResult<Tensor> {
    let (rows, columns) = match *input.shape() {
        [columns] => (1, columns),
        [rows, columns] => (rows, columns),
        ref shape => bail!("trees take a tensor of rank 1 or 2, not {shape:?}"),
    };
    let least = table.features.max(1);
    if columns < least {
        let reason = format!("trees take at least {least} features, not {columns}");
        return Err(Unacceptable::new(reason).into());
    }
    // Copies only what is of another type.
    let input = input.cast_to::<T>()?;
    let features = input.try_as_plain_ram()?.as_slice::<T>()?;
    let mut answers = Tensor::zero_dt(T::datum_type(), &[rows, table.targets])?;
    let mut plain = answers.try_as_plain_ram_mut()?;
    let mut places = plain.as_slice_mut::<T>()?.chunks_exact_mut(table.targets);
    table.score(features, columns, aggregate.fold(), |row| {
        if let Some(place) = places.next() {
            finish(row, place);
        }
    });
    Ok(answers)
}

fn into_type(tensor: Tensor, datum_type: DatumType) -> TractResult<TValue> {
    if tensor.datum_type() == datum_type {
        return Ok(tensor.into_tvalue());
    }
    Ok(tensor.cast_to_dt(datum_type)?.into_owned().into_tvalue())
}

fn refused<'a>(attributes: &'a Attributes<'_>) -> impl Fn(Refusal) -> TractError + 'a {
    |refusal| attributes.refuse(refusal.attribute, &refusal.reason)
}

/// The attributes about trees.
fn lists<'a>(
    attributes: &Attributes<'a>,
    names: VoteNames,
    wide_weights: &'static str,
    wide: &mut bool,
) -> TractResult<Lists<'a>> {
    // How often a branch was taken while the trees were fitted. Of no use here.
    attributes.floats("nodes_hitrates")?;
    attributes.tensor("nodes_hitrates_as_tensor")?;
    Ok(Lists {
        tree_ids: attributes.ints("nodes_treeids")?,
        node_ids: attributes.ints("nodes_nodeids")?,
        features: attributes.ints("nodes_featureids")?,
        modes: attributes.bytes("nodes_modes")?,
        values: numbers(attributes, "nodes_values", "nodes_values_as_tensor", wide)?,
        true_ids: attributes.ints("nodes_truenodeids")?,
        false_ids: attributes.ints("nodes_falsenodeids")?,
        missing: attributes.ints("nodes_missing_value_tracks_true")?,
        vote_tree_ids: attributes.ints(names.tree_ids)?,
        vote_node_ids: attributes.ints(names.node_ids)?,
        vote_targets: attributes.ints(names.targets)?,
        vote_weights: numbers(attributes, names.weights, wide_weights, wide)?,
    })
}

fn targets(attributes: &Attributes<'_>) -> TractResult<usize> {
    let targets = attributes.int("n_targets")?.unwrap_or(1);
    let reason = || attributes.refuse("n_targets", &format!("is {targets}"));
    usize::try_from(targets).map_err(|_negative| reason())
}

fn base_values(attributes: &Attributes<'_>, wide: &mut bool) -> TractResult<Vec<f64>> {
    numbers(attributes, "base_values", "base_values_as_tensor", wide)
}

/// Numbers from whichever of two attributes is given.
fn numbers(
    attributes: &Attributes<'_>,
    name: &'static str,
    tensor_name: &'static str,
    wide: &mut bool,
) -> TractResult<Vec<f64>> {
    let floats = attributes.floats(name)?;
    match tensor(attributes, tensor_name, wide)? {
        Some(numbers) if floats.is_empty() => Ok(numbers),
        Some(numbers) if !numbers.is_empty() => {
            Err(attributes.misfit(&format!("both {name} and {tensor_name} are given")))
        }
        Some(_) | None => Ok(floats.iter().copied().map(f64::from).collect()),
    }
}

/// The numbers of a tensor. Sets `wide` where they have 64 bits.
fn tensor(
    attributes: &Attributes<'_>,
    name: &'static str,
    wide: &mut bool,
) -> TractResult<Option<Vec<f64>>> {
    let Some(tensor) = attributes.tensor(name)? else { return Ok(None) };
    match tensor.datum_type() {
        DatumType::F64 => *wide = true,
        DatumType::F16 | DatumType::F32 => {}
        other => return Err(attributes.refuse(name, &format!("is of {other:?}"))),
    }
    let numbers = tensor.cast_to::<f64>()?;
    Ok(Some(numbers.try_as_plain_ram()?.as_slice::<f64>()?.to_vec()))
}
