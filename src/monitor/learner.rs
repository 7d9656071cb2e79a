//! A baseline from the first traffic, as a stopgap.
//!
//! Owns the values until there are enough of them. What an exchange does not have is missing in its rows, also in those
//! before the first that has it, as it is once the [plan](super::plan) counts. The baseline is marked `self`: it cannot
//! see a skew between training and serving. Pure.

use std::collections::BTreeMap;

use super::plan::{ROLES, Tensors, each_value, place};
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

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Learner {
    columns: BTreeMap<(Role, String), Learned>,
    /// Rows of each role.
    rows: [usize; 2],
    /// Exchanges so far.
    exchanges: u64,
}

#[derive(Debug, Default)]
struct Learned {
    /// Values before the first that shows the type: missing, wrong, not a number.
    early: Vec<Value<'static>>,
    column: Option<Column>,
    /// The last exchange that has it.
    exchange: u64,
}

impl Learner {
    /// Takes the values of an exchange. With `strict`, what it does not have is missing.
    pub(super) fn learn(&mut self, values: &Values, tensors: &Tensors, strict: bool) {
        self.exchanges += 1;
        let (columns, before) = (&mut self.columns, self.rows);
        each_value(values, tensors, |role, name, value| {
            let key = (role, name.to_owned());
            let room = columns.len() < FEATURES_MAX;
            let learned = match columns.get_mut(&key) {
                Some(learned) => learned,
                None if room => {
                    let learned = columns.entry(key).or_default();
                    learned.pad(name, if strict { before[place(role)] } else { 0 });
                    learned
                }
                None => return,
            };
            learned.exchange = self.exchanges;
            learned.push(name, value);
        });
        let rows = ROLES.map(|role| values.rows_of(role));
        for ((role, name), learned) in &mut self.columns {
            if strict && learned.exchange != self.exchanges {
                learned.pad(name, rows[place(*role)]);
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

    /// The baseline that they make. What no layout takes is left out, whoever sent it: it must not cost the rest.
    pub(super) fn finish(
        &self,
        key: &VersionKey,
        digest: Option<[u8; 32]>,
    ) -> Result<(BaselineFile, Baseline), BaselineError> {
        let of = |wanted: Role| {
            let own = self.columns.iter().filter(move |((role, _), _)| *role == wanted);
            let built = own.filter_map(|((_, name), learned)| learned.build(name));
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
    fn push(&mut self, name: &str, value: Value<'_>) {
        if self.len() >= VALUES_MAX {
            return;
        }
        let column = match (&mut self.column, kind_of(name, value)) {
            (Some(column), _) => column,
            (None, None) => return self.early.push(untyped(value)),
            (None, Some(kind)) => {
                let mut column = Column::new(kind);
                self.early.drain(..).for_each(|value| column.push(value));
                self.column.insert(column)
            }
        };
        column.push(value);
    }

    /// Adds so many that are missing.
    fn pad(&mut self, name: &str, rows: usize) {
        let rows = rows.min(VALUES_MAX.saturating_sub(self.len()));
        (0..rows).for_each(|_| self.push(name, Value::Missing));
    }

    fn len(&self) -> usize {
        self.column.as_ref().map_or(self.early.len(), Column::len)
    }

    fn build(&self, name: &str) -> Option<FeatureFile> {
        Some(self.column.as_ref()?.build(name, Options::default()))
    }
}

/// The kind of a feature, as far as a value shows it. Whole numbers are numbers, but for classes.
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

/// A value that shows no type, without what it borrows.
fn untyped(value: Value<'_>) -> Value<'static> {
    match value {
        Value::Number(number) => Value::Number(number),
        Value::Wrong => Value::Wrong,
        Value::Missing | Value::Integer(_) | Value::Boolean(_) | Value::Text(_) => Value::Missing,
    }
}

#[cfg(test)]
mod tests;
