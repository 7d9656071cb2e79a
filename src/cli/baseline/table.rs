//! A table of data, column by column.
//!
//! Owns which columns are taken and as what. Never reads a file.

use crate::domain::stats::baseline::KindWord;
use crate::domain::stats::build::Column;

/// What was said about columns.
#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    /// Outputs.
    pub(super) outputs: Vec<String>,
    /// Columns whose numbers are names.
    pub(super) categorical: Vec<String>,
    /// Columns that are left out.
    pub(super) ignored: Vec<String>,
    /// The column that says when.
    pub(super) time: Option<String>,
}

impl Choice {
    /// Whether a column is counted.
    pub(super) fn takes(&self, name: &str) -> bool {
        self.time.as_deref() != Some(name) && !self.ignored.iter().any(|ignored| ignored == name)
    }

    /// The kind of a column that looks like `found`.
    pub(super) fn kind(&self, name: &str, found: KindWord) -> KindWord {
        let is_categorical = self.categorical.iter().any(|categorical| categorical == name);
        if is_categorical { KindWord::Categorical } else { found }
    }

    /// Refuses names that the data does not have.
    pub(super) fn check(&self, names: &[String]) -> Result<(), String> {
        let chosen =
            self.outputs.iter().chain(&self.categorical).chain(&self.ignored).chain(&self.time);
        match chosen.into_iter().find(|name| !names.contains(name)) {
            Some(name) => {
                Err(format!("there is no column `{name}`; there are: {}", names.join(", ")))
            }
            None => Ok(()),
        }
    }
}

/// A column of the table.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) is_output: bool,
    pub(super) values: Column,
}

/// All columns that are counted.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) rows: u64,
    pub(super) columns: Vec<Named>,
    /// What was taken otherwise than it was perhaps meant.
    pub(super) doubts: Vec<String>,
}

/// When a row was.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum When {
    /// A number, such as a Unix time.
    Number(f64),
    /// A text that sorts, such as RFC 3339.
    Text(Box<str>),
    /// Nothing: before all others.
    Missing,
}

impl Table {
    /// Empty columns of these names and kinds.
    pub(super) fn new(columns: &[(String, KindWord)], choice: &Choice) -> Self {
        let column = |(name, kind): &(String, KindWord)| Named {
            is_output: choice.outputs.contains(name),
            values: Column::new(choice.kind(name, *kind)),
            name: name.clone(),
        };
        let taken = columns.iter().filter(|(name, _)| choice.takes(name));
        Self { rows: 0, columns: taken.map(column).collect(), doubts: Vec::new() }
    }

    /// Puts the rows into the order of time. Rows of one time stay as they came.
    pub(super) fn sort(&mut self, times: &[When]) {
        let mut order: Vec<usize> = (0..times.len()).collect();
        let rank = |when: &When| match when {
            When::Missing => 0,
            When::Number(_) => 1,
            When::Text(_) => 2,
        };
        let compare = |a: &When, b: &When| match (a, b) {
            (When::Number(a), When::Number(b)) => a.total_cmp(b),
            (When::Text(a), When::Text(b)) => a.cmp(b),
            (a, b) => rank(a).cmp(&rank(b)),
        };
        order.sort_by(|a, b| match (times.get(*a), times.get(*b)) {
            (Some(a), Some(b)) => compare(a, b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        });
        for column in &mut self.columns {
            column.values.reorder(&order);
        }
    }
}
