//! A baseline from the first traffic, as a stopgap.
//!
//! Owns the values until there are enough of them, and the bound on what they take ([`BYTES_MAX`]). What an exchange does
//! not have is missing in its rows, also in those before the first that has it, as it is once the [plan](super::plan)
//! counts. Outputs of a few whole numbers are classes. The baseline is marked `self`: it cannot see a skew between
//! training and serving. Pure; what is kept of it on disk is the [shelf](super::shelf)'s.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::{ROLES, Tensors, each_value, is_computed, place};
use super::store::VersionKey;
use super::values::Values;
use crate::domain::stats::baseline::{
    Baseline, BaselineError, BaselineFile, FORMAT, FeatureFile, KindWord, Origin,
};
use crate::domain::stats::build::{Column, Options};
use crate::domain::stats::layout::{Role, Value};

/// Rows that make a baseline.
pub(super) const ROWS: usize = 2000;
/// The most features of a baseline that is learned.
const FEATURES_MAX: usize = 512;

/// The most values of one column.
const VALUES_MAX: usize = ROWS * 2;
/// The most bytes of different texts in all columns; what comes then has no name of its own.
const TEXTS_BYTES_MAX: usize = 4 << 20;
/// What a column takes beside its values, at most: its name, and the place in the map.
const COLUMN_BYTES: usize = 512;
/// The most bytes that the rows of one version take, about: a value is a single float, or the code of a text.
pub(super) const BYTES_MAX: usize =
    FEATURES_MAX * (VALUES_MAX * 4 + COLUMN_BYTES) + TEXTS_BYTES_MAX;

/// What was seen so far.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Learner {
    columns: BTreeMap<(Role, String), Learned>,
    /// Rows of each role.
    rows: [usize; 2],
    /// Exchanges so far.
    exchanges: u64,
    /// Bytes of texts.
    texts: usize,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Learned {
    /// Values before the first that shows the type, which are none: their order does not matter to a column that is too
    /// short to have chunks.
    early: Early,
    column: Option<Column>,
    /// The last exchange that has it.
    exchange: u64,
}

/// How many values were absent or of the wrong type, and how many not a number.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Early {
    absent: usize,
    nan: usize,
}

impl Learner {
    /// Takes the values of an exchange. With `strict`, what it does not have is missing.
    pub(super) fn learn(&mut self, values: &Values, tensors: &Tensors, strict: bool) {
        self.exchanges += 1;
        let (columns, before) = (&mut self.columns, self.rows);
        let mut room = TEXTS_BYTES_MAX.saturating_sub(self.texts);
        each_value(values, tensors, |role, name, value| {
            let key = (role, name.to_owned());
            let has_place = columns.len() < FEATURES_MAX;
            let learned = match columns.get_mut(&key) {
                Some(learned) => learned,
                None if has_place => {
                    let learned = columns.entry(key).or_default();
                    learned.pad(if strict { before[place(role)] } else { 0 });
                    learned
                }
                None => return,
            };
            learned.exchange = self.exchanges;
            learned.push(name, value, &mut room);
        });
        self.texts = TEXTS_BYTES_MAX - room;
        let rows = ROLES.map(|role| values.rows_of(role));
        for ((role, _), learned) in &mut self.columns {
            if strict && learned.exchange != self.exchanges {
                learned.pad(rows[place(*role)]);
            }
        }
        for (own, new) in self.rows.iter_mut().zip(rows) {
            *own += new;
        }
    }

    /// Rows seen so far.
    pub(super) fn rows(&self) -> usize {
        self.columns.values().map(Learned::len).max().unwrap_or(0)
    }

    /// Whether they are enough.
    pub(super) fn is_full(&self) -> bool {
        self.rows() >= ROWS
    }

    /// The bytes that they take, about: at most [`BYTES_MAX`].
    pub(super) fn bytes(&self) -> usize {
        let columns = self.columns.values();
        let values = columns.map(|learned| learned.column.as_ref().map_or(0, Column::bytes));
        self.columns.len() * COLUMN_BYTES + values.sum::<usize>()
    }

    /// Whether the parts fit each other and the bounds: not always so of what was read.
    pub(super) fn is_sound(&self) -> bool {
        let is_sound = |learned: &Learned| {
            learned.len() <= VALUES_MAX && learned.column.as_ref().is_none_or(Column::is_sound)
        };
        self.columns.len() <= FEATURES_MAX
            && self.texts <= TEXTS_BYTES_MAX
            && self.columns.values().all(is_sound)
    }

    /// The baseline that they make of a version whose model may have declared its `classes`. What no layout takes is left
    /// out, whoever sent it: it must not cost the rest.
    pub(super) fn finish(
        &self,
        key: &VersionKey,
        digest: Option<[u8; 32]>,
        classes: &[String],
    ) -> Result<(BaselineFile, Baseline), BaselineError> {
        let of = |wanted: Role| {
            let own = self.columns.iter().filter(move |((role, _), _)| *role == wanted);
            let built = own.filter_map(|((role, name), learned)| {
                // What was computed of several numbers is a number, whatever it looks like.
                let may_be_class = *role == Role::Output && !is_computed(name);
                learned.build(name, may_be_class.then_some(classes))
            });
            built.filter(|file| is_sound(file, wanted)).collect::<Vec<FeatureFile>>()
        };
        let hex =
            |digest: [u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let file = BaselineFile {
            model: key.model.to_string(),
            version: key.version.to_string(),
            digest: digest.map(|digest| format!("sha256:{}", hex(digest))),
            n: self.rows() as u64,
            source: Some("the first traffic of this version".to_owned()),
            features: of(Role::Input),
            outputs: of(Role::Output),
            ..empty()
        };
        let baseline = Baseline::try_from(file.clone())?;
        Ok((file, baseline))
    }
}

/// A baseline without features.
fn empty() -> BaselineFile {
    BaselineFile {
        format: FORMAT,
        model: String::new(),
        version: String::new(),
        digest: None,
        n: 0,
        created: None,
        source: None,
        origin: Origin::Own,
        features: Vec::new(),
        outputs: Vec::new(),
        calibration: None,
        metrics: BTreeMap::new(),
        golden: None,
        latency_ms: BTreeMap::new(),
    }
}

/// Whether a baseline of this feature alone would be taken.
fn is_sound(feature: &FeatureFile, role: Role) -> bool {
    let mut file = BaselineFile { n: 1, model: "m".to_owned(), version: "v".to_owned(), ..empty() };
    match role {
        Role::Input => file.features.push(feature.clone()),
        Role::Output => file.outputs.push(feature.clone()),
    }
    Baseline::try_from(file).is_ok()
}

impl Learned {
    fn push(&mut self, name: &str, value: Value<'_>, room: &mut usize) {
        if self.len() >= VALUES_MAX {
            return;
        }
        let column = match (&mut self.column, kind_of(name, value)) {
            (Some(column), _) => column,
            (None, Some(kind)) => self.column.insert(self.early.column(kind)),
            (None, None) => return self.early.note(value),
        };
        column.push_within(value, room);
    }

    /// Adds so many that are missing.
    fn pad(&mut self, rows: usize) {
        let rows = rows.min(VALUES_MAX.saturating_sub(self.len()));
        match &mut self.column {
            None => self.early.absent += rows,
            Some(column) => (0..rows).for_each(|_| column.push(Value::Missing)),
        }
    }

    fn len(&self) -> usize {
        let early = self.early.absent.saturating_add(self.early.nan);
        self.column.as_ref().map_or(early, Column::len)
    }

    /// `classes` are those that its numbers may be, where it may have classes at all.
    fn build(&self, name: &str, classes: Option<&[String]>) -> Option<FeatureFile> {
        let column = self.column.as_ref()?;
        let are_classes = classes.and_then(|classes| {
            column.classes(|class| classes.iter().any(|known| *known == class.to_string()))
        });
        Some(are_classes.as_ref().unwrap_or(column).build(name, Options::default()))
    }
}

impl Early {
    fn note(&mut self, value: Value<'_>) {
        match value {
            Value::Number(_) => self.nan += 1,
            Value::Missing
            | Value::Wrong
            | Value::Integer(_)
            | Value::Boolean(_)
            | Value::Text(_) => self.absent += 1,
        }
    }

    /// A column that begins with these values.
    fn column(self, kind: KindWord) -> Column {
        let mut column = Column::new(kind);
        (0..self.absent).for_each(|_| column.push(Value::Missing));
        (0..self.nan).for_each(|_| column.push(Value::Number(f64::NAN)));
        column
    }
}

/// The kind of a feature, as far as a value shows it. Whole numbers are numbers until all of them are there, but for the
/// class of the largest score.
fn kind_of(name: &str, value: Value<'_>) -> Option<KindWord> {
    match value {
        Value::Text(_) => Some(KindWord::Categorical),
        Value::Integer(_) if name.ends_with(".top_class") => Some(KindWord::Categorical),
        Value::Number(number) if number.is_nan() => None,
        Value::Number(_) | Value::Integer(_) => Some(KindWord::Numeric),
        Value::Boolean(_) => Some(KindWord::Boolean),
        Value::Missing | Value::Wrong => None,
    }
}

#[cfg(test)]
mod tests;
