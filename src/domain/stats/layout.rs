//! What is counted: the features of a model, and the slots that their values fall into.
//!
//! Owns the cut of each feature into bins, the guard slots for values that have no bin, and the hash
//! that says whether two sets of counts may be added. Never counts anything. A layout never changes;
//! whoever records holds it behind an `Arc`.
//!
//! ```text
//! numeric       (-∞, e0)  [e0, e1)  …  [en, ∞)            | missing  nan  infinite  wrong
//! categorical   value 0   value 1   …  value n    other   | missing  nan  infinite  wrong
//! boolean       false     true      other                 | missing  nan  infinite  wrong
//! ```
//!
//! Numbers are compared at single precision. What a pipeline computed in doubles and what a client
//! sends in floats then fall into the same bin. Bin `i` holds `e[i-1] <= x < e[i]`, as
//! `numpy.searchsorted(edges, x, side="right")` has it; the outer bins are open, so no number is lost.

mod categories;
mod edges;
mod error;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

pub use self::categories::Categories;
pub use self::edges::Edges;
pub use self::error::LayoutError;

/// The bins of a numeric feature where nothing else is asked for: each tenth is six of them.
pub const BINS_DEFAULT: usize = 60;
/// The most bins of a numeric feature: the search takes six steps.
pub const BINS_MAX: usize = 64;
/// The most values of a categorical feature, `other` not counted.
pub const CATEGORIES_MAX: usize = 255;
/// The most features of a layout, inputs and outputs together.
pub const FEATURES_MAX: usize = 4096;
/// The longest name of a feature or a category, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// A value as it was found in a request or a response.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A floating point number.
    Number(f64),
    /// An integer.
    Integer(i64),
    /// A truth value.
    Boolean(bool),
    /// A text.
    Text(&'a str),
    /// Absent, or null.
    Missing,
    /// Of a type that no feature has, such as an object.
    Wrong,
}

/// Slots for what has no bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Guard {
    /// Absent, or null.
    Missing,
    /// Not a number.
    Nan,
    /// Plus or minus infinity.
    Infinite,
    /// Of another type than the feature.
    Wrong,
}

impl Guard {
    /// All guards, in the order of their slots.
    pub const ALL: [Self; 4] = [Self::Missing, Self::Nan, Self::Infinite, Self::Wrong];

    /// The word in files, answers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Nan => "nan",
            Self::Infinite => "infinite",
            Self::Wrong => "wrong",
        }
    }

    /// The guard of a number that has no bin.
    pub(super) const fn of(number: f32) -> Self {
        if number.is_nan() { Self::Nan } else { Self::Infinite }
    }
}

/// Where a value belongs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// In a bin of a numeric feature, with the number that is summed.
    Number(usize, f32),
    /// In a bin of a categorical or boolean feature.
    Category(usize),
    /// In a guard slot.
    Guard(Guard),
}

/// Whether a feature goes into the model or comes out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Part of the request.
    Input,
    /// Part of the answer.
    Output,
}

impl Role {
    /// The word in answers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

/// One counted quantity.
#[derive(Debug, Clone)]
pub struct Feature {
    name: Box<str>,
    role: Role,
    kind: FeatureKind,
}

/// How the values of a feature are cut.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "recording walks the edges; a box is one more miss")]
pub enum FeatureKind {
    /// By edges.
    Numeric(Edges),
    /// By value.
    Categorical(Categories),
    /// False, true, and what is neither.
    Boolean,
}

impl FeatureKind {
    /// The word in files and answers.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Numeric(_) => "numeric",
            Self::Categorical(_) => "categorical",
            Self::Boolean => "boolean",
        }
    }
}

impl Feature {
    /// A feature of this name and cut.
    pub fn new(name: impl Into<Box<str>>, role: Role, kind: FeatureKind) -> Self {
        Self { name: name.into(), role, kind }
    }

    /// The name, unique among the features of its role.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it goes in or comes out.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// How it is cut.
    pub const fn kind(&self) -> &FeatureKind {
        &self.kind
    }

    /// How many bins it has, `other` included, guards not.
    pub fn bins(&self) -> usize {
        match &self.kind {
            FeatureKind::Numeric(edges) => edges.len() + 1,
            FeatureKind::Categorical(categories) => categories.values().len() + 1,
            FeatureKind::Boolean => 3,
        }
    }

    /// How many slots it has: the bins and the guards behind them.
    pub fn slots(&self) -> usize {
        self.bins() + Guard::ALL.len()
    }

    /// The slot of a guard.
    pub fn guard_slot(&self, guard: Guard) -> usize {
        self.bins() + guard as usize
    }

    /// The bin of values that the baseline does not know; numeric features have none.
    pub fn other_bin(&self) -> Option<usize> {
        match self.kind {
            FeatureKind::Numeric(_) => None,
            FeatureKind::Categorical(_) | FeatureKind::Boolean => Some(self.bins() - 1),
        }
    }

    /// Where `value` belongs. A number on a categorical feature counts as the integer that it is, and
    /// 0 and 1 as truth values, because tensors carry codes as numbers; a text never counts as a number.
    pub fn place(&self, value: Value<'_>) -> Place {
        match (&self.kind, value) {
            (_, Value::Missing) => Place::Guard(Guard::Missing),
            (_, Value::Wrong) => Place::Guard(Guard::Wrong),
            (_, Value::Number(number)) if !number.is_finite() => {
                Place::Guard(Guard::of(number as f32))
            }
            (FeatureKind::Numeric(edges), Value::Number(number)) => edges.place(single(number)),
            (FeatureKind::Numeric(edges), Value::Integer(number)) => edges.place(number as f32),
            (FeatureKind::Categorical(categories), value) => {
                let found = match value {
                    Value::Text(text) => categories.of_text(text),
                    Value::Integer(integer) => categories.of_integer(integer),
                    Value::Number(number) => whole(number).and_then(|i| categories.of_integer(i)),
                    Value::Boolean(truth) => {
                        categories.of_text(if truth { "true" } else { "false" })
                    }
                    Value::Missing | Value::Wrong => None,
                };
                Place::Category(found.unwrap_or_else(|| categories.values().len()))
            }
            (FeatureKind::Boolean, Value::Boolean(truth)) => Place::Category(usize::from(truth)),
            (FeatureKind::Boolean, Value::Integer(integer)) => {
                Place::Category(truth(Some(integer)))
            }
            (FeatureKind::Boolean, Value::Number(number)) => Place::Category(truth(whole(number))),
            (FeatureKind::Numeric(_), Value::Boolean(_) | Value::Text(_))
            | (FeatureKind::Boolean, Value::Text(_)) => Place::Guard(Guard::Wrong),
        }
    }
}

/// The number at single precision; what is finite stays so.
pub(super) fn single(number: f64) -> f32 {
    let single = number as f32;
    if single.is_infinite() && number.is_finite() { f32::MAX.copysign(single) } else { single }
}

/// The integer that the number is, `None` between two of them and beyond what doubles count exactly.
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

/// The bin of an integer in a boolean feature.
fn truth(integer: Option<i64>) -> usize {
    match integer {
        Some(0) => 0,
        Some(1) => 1,
        Some(_) | None => 2,
    }
}

/// What two sets of counts must have in common to be added.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayoutHash(u128);

impl LayoutHash {
    /// The bytes, most significant first.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Reads a stored hash back.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for LayoutHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for LayoutHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The features of a model and their slots.
#[derive(Debug, Clone)]
pub struct Layout {
    features: Box<[Feature]>,
    hash: LayoutHash,
}

impl Layout {
    /// A layout of these features, in this order.
    ///
    /// # Errors
    ///
    /// Says which name is there twice, too long, or empty, or that there are too many.
    pub fn new(features: Vec<Feature>) -> Result<Self, LayoutError> {
        if features.len() > FEATURES_MAX {
            return Err(LayoutError::TooManyFeatures { features: features.len() });
        }
        let mut seen = BTreeSet::new();
        for (index, feature) in features.iter().enumerate() {
            if feature.name.is_empty() || feature.name.len() > NAME_BYTES_MAX {
                return Err(LayoutError::NameLength { index, bytes: feature.name.len() });
            }
            if !seen.insert((feature.role, &feature.name)) {
                return Err(LayoutError::DoubledFeature { name: feature.name.clone() });
            }
        }
        let hash = LayoutHash(XxHash3_128::oneshot(&written(&features)));
        Ok(Self { features: features.into(), hash })
    }

    /// The features, in the order of their counts.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// The place of a feature.
    pub fn index_of(&self, role: Role, name: &str) -> Option<usize> {
        self.features.iter().position(|feature| feature.role == role && &*feature.name == name)
    }

    /// Equal for layouts whose counts may be added.
    pub const fn hash(&self) -> LayoutHash {
        self.hash
    }
}

/// All that distinguishes two layouts, as bytes. Texts are led by their length, so that no two
/// layouts are written alike.
fn written(features: &[Feature]) -> Vec<u8> {
    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    }
    let mut out = b"layout 1".to_vec();
    for feature in features {
        text(&mut out, feature.role.as_str());
        text(&mut out, &feature.name);
        text(&mut out, feature.kind.as_str());
        match &feature.kind {
            FeatureKind::Numeric(edges) => {
                out.extend((edges.len() as u64).to_le_bytes());
                out.extend(edges.cuts().iter().flat_map(|cut| cut.to_le_bytes()));
            }
            FeatureKind::Categorical(categories) => {
                out.extend((categories.values().len() as u64).to_le_bytes());
                for value in categories.values() {
                    text(&mut out, value);
                }
            }
            FeatureKind::Boolean => {}
        }
    }
    out
}
