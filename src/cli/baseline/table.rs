//! A table of data, column by column.
//!
//! Owns which columns are taken and as what, and what is odd about them. Never reads a file.

use crate::domain::stats::baseline::KindWord;
use crate::domain::stats::build::Column;
use crate::domain::stats::layout::CATEGORIES_MAX;

/// The fewest rows of which it is said that texts are nearly as many.
const ROWS_MIN: usize = 20;

/// What was said about columns.
#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    /// Outputs.
    pub(super) outputs: Vec<String>,
    /// Those of them that are scores from 0 to 1.
    pub(super) scores: Vec<String>,
    /// Columns whose numbers are names.
    pub(super) categorical: Vec<String>,
    /// Columns whose numbers are none.
    pub(super) numeric: Vec<String>,
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

    /// Refuses names that the data does not have, and what contradicts itself.
    pub(super) fn check(&self, names: &[String]) -> Result<(), String> {
        let taken = || self.outputs.iter().chain(&self.categorical).chain(&self.numeric);
        let mut chosen = taken().chain(&self.ignored).chain(&self.time);
        if let Some(name) = chosen.find(|name| !names.contains(name)) {
            return Err(format!("there is no column `{name}`; there are: {}", names.join(", ")));
        }
        if let Some(name) = taken().find(|name| !self.takes(name)) {
            return Err(format!("column `{name}` is named as one to take and as one to leave out"));
        }
        match self.numeric.iter().find(|name| self.categorical.contains(name)) {
            Some(name) => Err(format!("column `{name}` cannot be both numeric and categorical")),
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

impl Named {
    /// Whether texts are perhaps none: an id, a free text, or numbers that are written for people.
    fn doubt_texts(&self, choice: &Choice) -> Option<String> {
        let Self { name, values, .. } = self;
        let (different, example) =
            values.different().filter(|_| !choice.categorical.contains(name))?;
        let rows = values.len();
        let what = if rows >= ROWS_MIN && 10 * different >= 9 * rows {
            format!(
                "{different} different texts in {rows} rows, such as {example:?}, have no histogram"
            )
        } else if different > CATEGORIES_MAX {
            format!(
                "of {different} different texts, such as {example:?}, {CATEGORIES_MAX} have a name of their own"
            )
        } else {
            return None;
        };
        Some(format!(
            "column `{name}`: {what}; write numbers without separators and units, leave ids out with `--ignore {name}`, or \
             say `--categorical {name}` if that is meant"
        ))
    }

    /// Whether a score is perhaps none.
    fn doubt_score(&self, choice: &Choice) -> Option<String> {
        let Self { name, values, .. } = self;
        if !choice.scores.contains(name) {
            return None;
        }
        if !matches!(values, Column::Numbers(_)) {
            return Some(format!("column `{name}`: it is said to be a score, and has no numbers"));
        }
        let (outside, example) = values.outside(0.0, 1.0);
        let example = example?;
        Some(format!(
            "column `{name}`: it is said to be a score, and {outside} of its numbers, such as {example}, lie outside of 0 to \
             1 and share the outer bins; say `--output {name}` if it is none"
        ))
    }
}

/// Whether times are perhaps not in order once they are sorted.
fn doubt_times(times: &[When]) -> Option<String> {
    let text = times.iter().find_map(|when| match when {
        When::Text(text) if !is_date(text) => Some(text),
        When::Text(_) | When::Number(_) | When::Missing => None,
    });
    if let Some(text) = text {
        return Some(format!(
            "`--time`: {text:?} is sorted as a text, which is the order of time only for dates like 2026-03-01T12:00:00Z"
        ));
    }
    let is_text = |when: &When| matches!(when, When::Text(_));
    let is_mixed =
        times.iter().any(is_text) && times.iter().any(|when| matches!(when, When::Number(_)));
    is_mixed.then(|| {
        "`--time`: some times are numbers and some are texts; numbers come first".to_owned()
    })
}

/// Whether a text begins like a date that sorts: with year, month and day.
fn is_date(text: &str) -> bool {
    let form = b"dddd-dd-dd";
    let fits =
        |(byte, form): (u8, &u8)| if *form == b'd' { byte.is_ascii_digit() } else { byte == *form };
    text.len() >= form.len() && text.bytes().zip(form).all(fits)
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

    /// Notes what is odd about the values, once all are there.
    pub(super) fn doubt(&mut self, choice: &Choice) {
        for column in &self.columns {
            let doubts = [column.doubt_texts(choice), column.doubt_score(choice)];
            self.doubts.extend(doubts.into_iter().flatten());
        }
    }

    /// Puts the rows into the order of time. Rows of one time stay as they came. Times that do not sort are told.
    pub(super) fn sort(&mut self, times: &[When]) {
        self.doubts.extend(doubt_times(times));
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
