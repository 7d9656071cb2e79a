//! Where each value of an exchange is counted.
//!
//! Owns the names of what can be counted about a tensor, and the way from them to the features of a
//! layout, found once: counting follows indexes. Never counts.
//!
//! | name | of | what |
//! |---|---|---|
//! | `age` | a column that is named in `model.toml`, or a tensor of one column | its values |
//! | `x[3]` | a tensor of several columns | the values of the fourth |
//! | `p.top_score`, `p.margin` | an output of several columns | the largest value, and how far above the second it is |
//! | `p.top_class` | the same | where the largest is; its label where that is known |
//! | `p.entropy` | the same | of the shares, in nats; of their softmax where they are none |
//! | `x.norm`, `x.projection_0`, …, `x.shape` | a tensor of more than 256 values a row | see [`super::wide`] |

use std::sync::Arc;

use super::values::{Data, Part, Values};
use super::wide::{self, PROJECTIONS};
use crate::domain::stats::counts::Counts;
use crate::domain::stats::layout::{Feature, FeatureKind, Layout, Place, Role, Value};
use crate::domain::stats::strangers::Strangers;

/// The most columns of a tensor that get a name of their own.
const COLUMNS_MAX: usize = wide::WIDTH_MIN;

/// The most rows of an exchange in which values are named.
const NAMED_ROWS_MAX: usize = 64;

/// What is known about a tensor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TensorAbout {
    /// Its name.
    pub(super) name: String,
    /// The names of its columns, or the labels of its classes; empty where they have none.
    pub(super) columns: Vec<String>,
    /// Values of one row; `None` while that is not known.
    pub(super) width: Option<usize>,
}

/// The tensors of a version: inputs, then outputs.
pub(super) type Tensors = [Vec<TensorAbout>; 2];

/// Where a value of a tensor comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Column(usize),
    TopScore,
    TopClass,
    Margin,
    Entropy,
    /// The norm, then the projections.
    Wide(usize),
    Shape,
}

/// How the values of one tensor are counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct TensorPlan {
    /// The first feature of consecutive ones for all columns.
    row: Option<(usize, usize)>,
    /// Column and feature, where they are not consecutive.
    columns: Vec<(usize, usize)>,
    /// What is computed of a row, and its feature.
    computed: Vec<(Source, usize)>,
    labels: Vec<String>,
}

/// How the values of a version are counted.
#[derive(Debug)]
pub(super) struct Plan {
    layout: Arc<Layout>,
    tensors: [Vec<TensorPlan>; 2],
    /// Features that no tensor has.
    nowhere: [Vec<usize>; 2],
    /// Whether any feature is a category.
    has_categories: bool,
}

/// Both roles, in the order of [`Tensors`].
pub(super) const ROLES: [Role; 2] = [Role::Input, Role::Output];

/// The place of a role in [`Tensors`].
pub(super) const fn place(role: Role) -> usize {
    match role {
        Role::Input => 0,
        Role::Output => 1,
    }
}

impl Plan {
    /// How `layout` counts `tensors`.
    pub(super) fn new(layout: Arc<Layout>, tensors: &Tensors) -> Self {
        let mut plans = [0, 1].map(|role: usize| {
            let labels = |about: &TensorAbout| about.columns.clone();
            let of = |about| TensorPlan { labels: labels(about), ..TensorPlan::default() };
            tensors[role].iter().map(of).collect::<Vec<_>>()
        });
        let mut nowhere = [Vec::new(), Vec::new()];
        for role in ROLES {
            let about = &tensors[place(role)];
            let features = layout.features().iter().enumerate();
            let own: Vec<_> = features.filter(|(_, feature)| feature.role() == role).collect();
            let found: Vec<_> = own.iter().map(|(_, f)| resolve(about, role, f.name())).collect();
            let by_position =
                by_position(about, own.len()).filter(|_| found.iter().all(Option::is_none));
            for (position, ((feature, _), source)) in own.into_iter().zip(found).enumerate() {
                let source = match by_position {
                    Some(tensor) => Some((tensor, Source::Column(position))),
                    None => source,
                };
                match source
                    .and_then(|(at, source)| Some((plans[place(role)].get_mut(at)?, source)))
                {
                    None => nowhere[place(role)].push(feature),
                    Some((plan, Source::Column(column))) => plan.columns.push((column, feature)),
                    Some((plan, source)) => plan.computed.push((source, feature)),
                }
            }
        }
        plans.iter_mut().flatten().for_each(TensorPlan::straighten);
        let is_category = |feature: &Feature| matches!(feature.kind(), FeatureKind::Categorical(_));
        let has_categories = layout.features().iter().any(is_category);
        Self { layout, tensors: plans, nowhere, has_categories }
    }

    /// What is counted.
    pub(super) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Whether another one counts the same values in the same way.
    pub(super) fn counts_like(&self, other: &Self) -> bool {
        self.layout.hash() == other.layout.hash()
            && self.tensors == other.tensors
            && self.nowhere == other.nowhere
    }

    /// Whether there are features of a role that no tensor has.
    pub(super) fn leaves_out(&self, role: Role) -> bool {
        !self.nowhere[place(role)].is_empty()
    }

    /// Whether some tensor has the feature at this place of the layout.
    pub(super) fn finds(&self, feature: usize) -> bool {
        !self.nowhere.iter().flatten().any(|nowhere| *nowhere == feature)
    }

    /// Counts the values of one exchange. With `strict`, features that it does not have are missing.
    pub(super) fn count(&self, values: &Values, strict: bool, counts: &mut Counts) {
        for part in &values.parts {
            if let Some(plan) = self.tensors[place(part.role)].get(usize::from(part.tensor)) {
                plan.count(part, counts);
            }
        }
        if strict {
            self.count_missing(values, counts);
        }
    }

    /// Whether there are values that a baseline may not know by name.
    pub(super) const fn has_categories(&self) -> bool {
        self.has_categories
    }

    /// Takes note of values of an exchange that the baseline does not know.
    pub(super) fn name(&self, values: &Values, strangers: &mut Strangers) {
        for part in &values.parts {
            let plans = &self.tensors[place(part.role)];
            let Some(plan) = plans.get(usize::from(part.tensor)) else { continue };
            for (column, at) in &plan.columns {
                let Some(feature) = self.layout.features().get(*at) else { continue };
                if !matches!(feature.kind(), FeatureKind::Categorical(_)) {
                    continue;
                }
                for row in 0..part.rows().min(NAMED_ROWS_MAX) {
                    let value = part.value(row, *column);
                    if let Place::Category(bin) = feature.place(value)
                        && feature.other_bin() == Some(bin)
                    {
                        named(value, |name| strangers.note(*at, name));
                    }
                }
            }
        }
    }

    /// Counts features whose tensor an exchange does not have, once for each of its rows.
    fn count_missing(&self, values: &Values, counts: &mut Counts) {
        for role in ROLES {
            let own = || values.parts.iter().filter(|part| part.role == role);
            let rows = values.rows_of(role);
            let plans = self.tensors[place(role)].iter().enumerate();
            let absent = plans
                .filter(|(tensor, _)| !own().any(|part| usize::from(part.tensor) == *tensor))
                .flat_map(|(_, plan)| plan.features());
            for feature in absent.chain(self.nowhere[place(role)].iter().copied()) {
                (0..rows).for_each(|_| counts.record(feature, Value::Missing));
            }
        }
    }
}

/// The name of a value of a category.
fn named(value: Value<'_>, note: impl FnOnce(&str)) {
    match value {
        Value::Text(text) => note(text),
        Value::Integer(integer) => note(&integer.to_string()),
        Value::Number(number) => note(&number.to_string()),
        Value::Boolean(truth) => note(if truth { "true" } else { "false" }),
        Value::Missing | Value::Wrong => {}
    }
}

impl TensorPlan {
    /// Finds consecutive features for all columns.
    fn straighten(&mut self) {
        self.columns.sort_unstable();
        let Some((0, first)) = self.columns.first().copied() else { return };
        let straight = self.columns.iter().enumerate().all(|(at, pair)| *pair == (at, first + at));
        if straight {
            self.row = Some((first, self.columns.len()));
        }
    }

    /// All features that it fills.
    fn features(&self) -> impl Iterator<Item = usize> {
        let columns = self.columns.iter().map(|(_, feature)| *feature);
        columns.chain(self.computed.iter().map(|(_, feature)| *feature))
    }

    fn count(&self, part: &Part, counts: &mut Counts) {
        match (&part.data, self.row) {
            (Data::Single(numbers), Some((first, width))) if width == part.width => {
                numbers.chunks_exact(width).for_each(|row| counts.record_row(first, row));
            }
            (Data::Wide(rows, shape), _) => return self.count_wide(rows, shape, counts),
            _ => {
                for row in 0..part.rows() {
                    for (column, feature) in &self.columns {
                        counts.record(*feature, part.value(row, *column));
                    }
                }
            }
        }
        if !self.computed.is_empty() {
            (0..part.rows()).for_each(|row| self.count_scores(&part.numbers(row), counts));
        }
    }

    fn count_wide(&self, rows: &[[f32; wide::NUMBERS]], shape: &str, counts: &mut Counts) {
        for row in rows {
            for (source, feature) in &self.computed {
                let value = match source {
                    Source::Wide(number) => row
                        .get(*number)
                        .map_or(Value::Missing, |value| Value::Number((*value).into())),
                    Source::Shape => Value::Text(shape),
                    _ => Value::Wrong,
                };
                counts.record(*feature, value);
            }
        }
    }

    fn count_scores(&self, row: &[f32], counts: &mut Counts) {
        let Some(top) = Top::of(row) else {
            for (_, feature) in &self.computed {
                counts.record(*feature, Value::Number(f64::NAN));
            }
            return;
        };
        for (source, feature) in &self.computed {
            let value = match source {
                Source::TopScore => Value::Number(top.score.into()),
                Source::Margin => Value::Number((top.score - top.second).into()),
                Source::Entropy => Value::Number(entropy(row).into()),
                Source::TopClass => match self.labels.get(top.class) {
                    Some(label) => Value::Text(label),
                    None => Value::Integer(i64::try_from(top.class).unwrap_or(i64::MAX)),
                },
                Source::Column(_) | Source::Wide(_) | Source::Shape => Value::Wrong,
            };
            counts.record(*feature, value);
        }
    }
}

/// The two largest of several numbers.
struct Top {
    class: usize,
    score: f32,
    second: f32,
}

impl Top {
    /// `None` where one of them is not a number, or there are fewer than two.
    fn of(row: &[f32]) -> Option<Self> {
        if row.len() < 2 || row.iter().any(|score| score.is_nan()) {
            return None;
        }
        let mut top = Self { class: 0, score: f32::NEG_INFINITY, second: f32::NEG_INFINITY };
        for (class, &score) in row.iter().enumerate() {
            if score > top.score {
                top = Self { class, score, second: top.score };
            } else if score > top.second {
                top.second = score;
            }
        }
        Some(top)
    }
}

/// The Shannon entropy of shares, in nats; of the softmax of numbers that are none.
fn entropy(row: &[f32]) -> f32 {
    let sum: f32 = row.iter().sum();
    let shares = row.iter().all(|share| *share >= 0.0) && (sum - 1.0).abs() < 0.01;
    if shares {
        let terms = row.iter().filter(|share| **share > 0.0).map(|share| -share * share.ln());
        return terms.sum();
    }
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights = || row.iter().map(|score| (score - top).exp());
    let total: f32 = weights().sum();
    // H = ln Σw - Σ w ln w / Σw, with ln w = score - top.
    let mean: f32 = weights().zip(row).filter(|(w, _)| *w > 0.0).map(|(w, s)| w * (s - top)).sum();
    total.ln() - mean / total
}

/// The tensor whose columns are meant by a layout that names none of them: the only one, if it has as
/// many columns as there are features.
fn by_position(tensors: &[TensorAbout], features: usize) -> Option<usize> {
    let [only] = tensors else { return None };
    (features > 0 && only.columns.is_empty() && only.width.is_none_or(|width| width == features))
        .then_some(0)
}

/// The tensor and the value that a feature of this name is.
fn resolve(tensors: &[TensorAbout], role: Role, name: &str) -> Option<(usize, Source)> {
    tensors.iter().enumerate().find_map(|(at, about)| {
        let source = match about.columns.iter().position(|column| column == name) {
            Some(column) if role == Role::Input => Some(Source::Column(column)),
            _ if about.name == name => Some(Source::Column(0)),
            _ => of_tensor(name.strip_prefix(about.name.as_str())?),
        };
        Some((at, source?))
    })
}

/// Where the values of features stand as they are: the feature's place in the layout, its tensor and its
/// column. What is computed, and what no tensor has, is left out.
pub(super) fn columns(
    layout: &Layout,
    tensors: &[TensorAbout],
    role: Role,
) -> Vec<(usize, usize, usize)> {
    let features = layout.features().iter().enumerate();
    let own: Vec<_> = features.filter(|(_, feature)| feature.role() == role).collect();
    let found: Vec<_> = own.iter().map(|(_, f)| resolve(tensors, role, f.name())).collect();
    let by_position = by_position(tensors, own.len()).filter(|_| found.iter().all(Option::is_none));
    let places = own.into_iter().zip(found).enumerate();
    let column = |(position, ((feature, _), source))| match (by_position, source) {
        (Some(tensor), _) => Some((feature, tensor, position)),
        (None, Some((tensor, Source::Column(column)))) => Some((feature, tensor, column)),
        (None, _) => None,
    };
    places.filter_map(column).collect()
}

/// What the rest of a name after that of its tensor means.
fn of_tensor(rest: &str) -> Option<Source> {
    if let Some(column) = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return column.parse().ok().map(Source::Column);
    }
    match rest {
        ".top_score" => Some(Source::TopScore),
        ".top_class" => Some(Source::TopClass),
        ".margin" => Some(Source::Margin),
        ".entropy" => Some(Source::Entropy),
        ".norm" => Some(Source::Wide(0)),
        ".shape" => Some(Source::Shape),
        _ => {
            let number: usize = rest.strip_prefix(".projection_")?.parse().ok()?;
            (number < PROJECTIONS).then_some(Source::Wide(1 + number))
        }
    }
}

/// Whether a feature of this name is computed of the values of a row.
pub(super) fn is_computed(name: &str) -> bool {
    let rest = name.rfind('.').and_then(|dot| name.get(dot..));
    rest.and_then(of_tensor).is_some_and(|source| source != Source::TopClass)
}

/// The names of everything that can be counted about tensors of one role.
pub(super) fn names(tensors: &[TensorAbout], role: Role) -> Vec<String> {
    tensors.iter().flat_map(|about| names_of(about, role, about.width.unwrap_or(1))).collect()
}

/// The names of what is counted about a tensor of `width` where nothing else is said.
pub(super) fn names_of(about: &TensorAbout, role: Role, width: usize) -> Vec<String> {
    let name = about.name.as_str();
    if width > wide::WIDTH_MIN {
        let projections = (0..PROJECTIONS).map(|number| format!("{name}.projection_{number}"));
        return [format!("{name}.norm")]
            .into_iter()
            .chain(projections)
            .chain([format!("{name}.shape")])
            .collect();
    }
    if width < 2 {
        let column = about.columns.first().filter(|_| role == Role::Input);
        return vec![column.cloned().unwrap_or_else(|| name.to_owned())];
    }
    if role == Role::Output {
        return ["top_score", "top_class", "margin", "entropy"]
            .map(|what| format!("{name}.{what}"))
            .to_vec();
    }
    let column =
        |at: usize| about.columns.get(at).cloned().unwrap_or_else(|| format!("{name}[{at}]"));
    (0..width.min(COLUMNS_MAX)).map(column).collect()
}

/// Hands each value that is counted where nothing else is said to `see`, by the name of its feature:
/// what a baseline is learned from.
pub(super) fn each_value(
    values: &Values,
    tensors: &Tensors,
    mut see: impl FnMut(Role, &str, Value<'_>),
) {
    for part in &values.parts {
        let Some(about) = tensors[place(part.role)].get(usize::from(part.tensor)) else { continue };
        let names = names_of(about, part.role, part.width);
        match &part.data {
            Data::Wide(rows, shape) => {
                for row in rows {
                    let numbers = row.iter().map(|number| Value::Number((*number).into()));
                    let all = numbers.chain([Value::Text(shape)]);
                    names.iter().zip(all).for_each(|(name, value)| see(part.role, name, value));
                }
            }
            _ if part.role == Role::Output && part.width > 1 => {
                for row in 0..part.rows() {
                    let row = part.numbers(row);
                    let Some(top) = Top::of(&row) else {
                        let none = Value::Number(f64::NAN);
                        names.iter().for_each(|name| see(part.role, name, none));
                        continue;
                    };
                    let class = match about.columns.get(top.class) {
                        Some(label) => Value::Text(label),
                        None => Value::Integer(i64::try_from(top.class).unwrap_or(i64::MAX)),
                    };
                    let all = [
                        Value::Number(top.score.into()),
                        class,
                        Value::Number((top.score - top.second).into()),
                        Value::Number(entropy(&row).into()),
                    ];
                    names.iter().zip(all).for_each(|(name, value)| see(part.role, name, value));
                }
            }
            _ => {
                for row in 0..part.rows() {
                    for (column, name) in names.iter().enumerate() {
                        see(part.role, name, part.value(row, column));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
