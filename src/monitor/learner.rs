//! A baseline from the first traffic, as a stopgap.
//!
//! Owns the values until there are enough of them. The baseline is marked `self`: it cannot see a skew
//! between training and serving. Pure.

use std::collections::BTreeMap;

use super::plan::{Tensors, each_value};
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

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Learner {
    columns: BTreeMap<(Role, String), Learned>,
}

#[derive(Debug, Default)]
struct Learned {
    /// Values before the first that shows the type.
    absent: usize,
    column: Option<Column>,
}

impl Learner {
    /// Takes the values of an exchange.
    pub(super) fn learn(&mut self, values: &Values, tensors: &Tensors) {
        each_value(values, tensors, |role, name, value| {
            let key = (role, name.to_owned());
            let room = self.columns.len() < FEATURES_MAX;
            let learned = match self.columns.get_mut(&key) {
                Some(learned) => learned,
                None if room => self.columns.entry(key).or_default(),
                None => return,
            };
            learned.push(name, value);
        });
    }

    /// Rows seen so far.
    pub(super) fn rows(&self) -> usize {
        self.columns.values().map(Learned::len).max().unwrap_or(0)
    }

    /// Whether they are enough.
    pub(super) fn is_full(&self) -> bool {
        self.rows() >= ROWS
    }

    /// The baseline that they make.
    pub(super) fn finish(
        &self,
        key: &VersionKey,
        digest: Option<[u8; 32]>,
    ) -> Result<(BaselineFile, Baseline), BaselineError> {
        let of = |wanted: Role| {
            let own = self.columns.iter().filter(move |((role, _), _)| *role == wanted);
            own.filter_map(|((_, name), learned)| learned.build(name)).collect::<Vec<FeatureFile>>()
        };
        let hex =
            |digest: [u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let file = BaselineFile {
            format: FORMAT,
            model: key.model.to_string(),
            version: key.version.to_string(),
            digest: digest.map(|digest| format!("sha256:{}", hex(digest))),
            n: self.rows() as u64,
            created: None,
            source: Some("the first traffic of this version".to_owned()),
            origin: Origin::Own,
            features: of(Role::Input),
            outputs: of(Role::Output),
            calibration: None,
            metrics: BTreeMap::new(),
            golden: None,
            latency_ms: BTreeMap::new(),
        };
        let baseline = Baseline::try_from(file.clone())?;
        Ok((file, baseline))
    }
}

impl Learned {
    fn push(&mut self, name: &str, value: Value<'_>) {
        if self.len() >= ROWS * 2 {
            return;
        }
        let column = match (&mut self.column, kind_of(name, value)) {
            (Some(column), _) => column,
            (None, None) => {
                self.absent += 1;
                return;
            }
            (None, Some(kind)) => {
                let mut column = Column::new(kind);
                (0..self.absent).for_each(|_| column.push(Value::Missing));
                self.column.insert(column)
            }
        };
        column.push(value);
    }

    fn len(&self) -> usize {
        self.column.as_ref().map_or(self.absent, Column::len)
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
        Value::Number(_) | Value::Integer(_) => Some(KindWord::Numeric),
        Value::Boolean(_) => Some(KindWord::Boolean),
        Value::Missing | Value::Wrong => None,
    }
}
