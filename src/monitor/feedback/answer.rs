//! What a recorded response predicted, and what recorded feedback says was true.
//!
//! Owns the way from what the monitor finds in a body to a class, probabilities or a number for each row, and from
//! the text of a label to a truth for each. Never guesses: what cannot be read as declared is [`Unscored`], with the
//! reason, and is counted. Numbers are taken in the datatype that the response gives them.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ledger::{Said, Truth};
use crate::domain::record::{Outcome, PredictionRecord, Side};
use crate::domain::spec::{
    FieldSource, JsonPointer, LabelTask, LabelsSpec, OutputRef, SliceSource, Step,
};
use crate::monitor::about::About;
use crate::monitor::bodies::{Answered, Found, cell, json_of};
use crate::monitor::values::Cell;
use crate::monitor::waiting::Content;

/// How far a probability may lie beyond 0 and 1: the rounding of a sum of single-precision numbers.
const SLACK: f64 = 1e-5;
/// The longest name of a slice.
const SLICE_BYTES_MAX: usize = 64;

/// The most rows of one prediction that are measured.
pub(super) const ROWS_MAX: usize = 8192;

/// What was predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// A class, and the probability of each.
    Class { class: u16, probabilities: Option<Box<[f64]>> },
    /// A number.
    Value(f64),
    /// Something that a reward is given for.
    Anything,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// Why a prediction cannot be held against its label.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub(super) enum Unscored { $($(#[$doc])* $name,)* }

        impl Unscored {
            /// The word in answers.
            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

reasons! {
    /// The model gave no answer.
    Failed = "failed",
    /// The log does not have the whole body.
    Omitted = "omitted",
    /// It is not what the dialect says, or has a coding that is not known.
    Unreadable = "unreadable",
    /// The declared output is not there.
    Output = "output",
    /// What is declared does not have one value for each row, or there are too many rows.
    Rows = "rows",
    /// It names a class that is not declared.
    Class = "class",
    /// There are no probabilities of the declared classes.
    Probabilities = "probabilities",
    /// It is no finite number.
    Number = "number",
    /// There are more versions than are measured.
    Versions = "versions",
}

/// One value of a response.
#[derive(Debug, Clone, PartialEq)]
enum Scalar {
    Text(String),
    Number(f64),
}

/// What the rows of a prediction say.
pub(super) type Rows = Vec<Result<Answer, Unscored>>;

/// Reads what was predicted, row by row. `about` is what is known of the version.
pub(super) fn read(
    record: &PredictionRecord<'_>,
    labels: &LabelsSpec,
    about: &About,
) -> Result<Rows, Unscored> {
    let is_success =
        (200..300).contains(&record.status) && record.grpc_status.is_none_or(|s| s == 0);
    if record.outcome != Outcome::Ok || !is_success {
        return Err(Unscored::Failed);
    }
    if labels.task == LabelTask::Reward {
        return Ok(vec![Ok(Answer::Anything)]);
    }
    let answered = Answered::of_record(record, about).map_err(|_unseen| Unscored::Omitted)?;
    let response = Response { answered, found: OnceCell::new() };
    let counted = record.batch_size.and_then(|rows| usize::try_from(rows).ok());
    if let Some(rows) = counted.filter(|rows| *rows > 0) {
        return response.rows(labels, Some(rows));
    }
    let rows = response.rows(labels, None);
    let has_any = |rows: &Result<Rows, Unscored>| {
        rows.as_ref().is_ok_and(|rows| rows.iter().any(Result::is_ok))
    };
    if has_any(&rows) {
        return rows;
    }
    // A tensor without a dimension for rows looks like one with as many rows as values.
    let one = response.rows(labels, Some(1));
    if has_any(&one) { one } else { rows }
}

/// The values of one output.
struct Output<'c> {
    cells: Cow<'c, [Cell]>,
    /// Values of a row, as its shape says.
    width: usize,
}

impl Output<'_> {
    /// The values of each of so many rows; `None` if they have not as many each.
    fn split(&self, rows: usize) -> Option<std::slice::Chunks<'_, Cell>> {
        let width = self.cells.len().checked_div(rows)?;
        (width > 0 && width * rows == self.cells.len()).then(|| self.cells.chunks(width))
    }
}

/// A response, read as far as it is asked.
struct Response<'a> {
    answered: Answered<'a>,
    found: OnceCell<Result<(Vec<Found>, bool), Unscored>>,
}

impl Response<'_> {
    /// What each row says; `rows` where their number is known.
    fn rows(&self, labels: &LabelsSpec, rows: Option<usize>) -> Result<Rows, Unscored> {
        match &labels.task {
            LabelTask::Reward => Ok(vec![Ok(Answer::Anything)]),
            LabelTask::Value { output, .. } => {
                let values = self.output(output)?;
                let rows = bounded(rows.unwrap_or(values.cells.len()))?;
                let value = |row: &[Cell]| match one(row)? {
                    Scalar::Number(number) if number.is_finite() => Ok(Answer::Value(number)),
                    Scalar::Number(_) | Scalar::Text(_) => Err(Unscored::Number),
                };
                Ok(values.split(rows).ok_or(Unscored::Rows)?.map(value).collect())
            }
            LabelTask::Classes { names, predicted, probabilities, positive, threshold } => {
                let named = match (predicted, probabilities) {
                    (Some(output), _) => Some(self.output(output)?),
                    // What it leads to may be the only output, and would be taken for classes.
                    (None, Some(OutputRef::Pointer(_))) => None,
                    // In a body of any form, what is no class may look like one.
                    (None, Some(_)) if !self.is_decoded() => None,
                    (None, used) => self.of_width(1, rows, used.as_ref()),
                };
                let is_single = named.as_ref().is_some_and(|named| named.cells.len() == 1);
                let shares = match probabilities {
                    Some(output) => Some(self.output(output)?),
                    None if predicted.is_some() && !self.is_decoded() => None,
                    None => self.of_width(names.len(), rows, predicted.as_ref()).or_else(|| {
                        self.of_width(names.len(), is_single.then_some(1), predicted.as_ref())
                    }),
                };
                let rows = match probabilities {
                    // A list of probabilities does not tell whether two of them are of one row.
                    Some(OutputRef::Pointer(_)) => rows.or_else(|| self.told_rows()),
                    Some(OutputRef::Name(_)) | None => rows,
                };
                let task = Classes { names, positive: *positive, threshold: *threshold };
                task.rows(named.as_ref(), shares.as_ref(), rows)
            }
        }
    }

    /// The values of an output, or at a place of the body.
    fn output(&self, output: &OutputRef) -> Result<Output<'_>, Unscored> {
        match output {
            OutputRef::Name(name) => {
                let output = self.found()?.iter().find(|output| output.name == *name);
                output.map(of_found).ok_or(Unscored::Output)
            }
            OutputRef::Pointer(pointer) => {
                let body = self.answered.json().map_err(|_unseen| Unscored::Unreadable)?;
                let mut cells = Vec::new();
                collect(&body, pointer.steps(), &mut cells);
                if cells.is_empty() {
                    return Err(Unscored::Output);
                }
                Ok(Output { width: 0, cells: cells.into() })
            }
        }
    }

    /// The first output with so many values a row, other than one that is used already.
    fn of_width(
        &self,
        width: usize,
        rows: Option<usize>,
        used: Option<&OutputRef>,
    ) -> Option<Output<'_>> {
        let is_used = |output: &Found| match used {
            Some(OutputRef::Name(name)) => *name == output.name,
            Some(OutputRef::Pointer(_)) | None => false,
        };
        let is_it = |output: &&Found| match rows {
            Some(rows) => output.cells.len() == width.saturating_mul(rows),
            None => output.width == width && !output.cells.is_empty(),
        };
        let found = self.found().ok()?.iter();
        found.filter(|output| !is_used(output)).find(is_it).map(of_found)
    }

    fn found(&self) -> Result<&[Found], Unscored> {
        let read = || self.answered.outputs().map_err(|_unseen| Unscored::Unreadable);
        let found = self.found.get_or_init(read).as_ref().map_err(|why| *why)?;
        Ok(&found.0)
    }

    /// How many rows the outputs have, if they are what the dialect calls so and agree.
    fn told_rows(&self) -> Option<usize> {
        let found = self.found().ok().filter(|_| self.is_decoded())?;
        let rows = |output: &Found| output.cells.len().checked_div(output.width);
        let first = found.first().and_then(rows).filter(|rows| *rows > 0)?;
        found.iter().all(|output| rows(output) == Some(first)).then_some(first)
    }

    /// Whether outputs are what the dialect calls so.
    fn is_decoded(&self) -> bool {
        self.found().is_ok() && matches!(self.found.get(), Some(Ok((_, true))))
    }
}

fn of_found(found: &Found) -> Output<'_> {
    Output { cells: Cow::Borrowed(&found.cells), width: found.width }
}

fn bounded(rows: usize) -> Result<usize, Unscored> {
    if (1..=ROWS_MAX).contains(&rows) { Ok(rows) } else { Err(Unscored::Rows) }
}

/// What is declared about classes.
struct Classes<'l> {
    names: &'l [String],
    positive: Option<u16>,
    threshold: f64,
}

impl Classes<'_> {
    /// The class of each row, and its probabilities.
    fn rows(
        &self,
        named: Option<&Output<'_>>,
        shares: Option<&Output<'_>>,
        rows: Option<usize>,
    ) -> Result<Rows, Unscored> {
        let rows = match (rows, named, shares) {
            (Some(2..), None, None) => return Err(Unscored::Rows),
            (_, None, None) => return Err(Unscored::Output),
            (Some(rows), ..) => rows,
            (None, Some(named), _) => named.cells.len(),
            (None, None, Some(shares)) => self.rows_of_shares(shares),
        };
        let rows = bounded(rows)?;
        let split = |output: Option<&Output<'_>>| -> Result<_, Unscored> {
            let cells = |output: &Output<'_>| -> Result<Vec<Vec<Cell>>, Unscored> {
                let rows = output.split(rows).ok_or(Unscored::Rows)?;
                Ok(rows.map(<[Cell]>::to_vec).collect())
            };
            output.map(cells).transpose()
        };
        let (named, shares) = (split(named)?, split(shares)?);
        let row = |at: usize| {
            let of =
                |all: &Option<Vec<Vec<Cell>>>| all.as_ref().and_then(|all| all.get(at)).cloned();
            self.row(of(&named), of(&shares))
        };
        Ok((0..rows).map(row).collect())
    }

    /// How many rows probabilities without anything else are about.
    fn rows_of_shares(&self, shares: &Output<'_>) -> usize {
        let (len, classes) = (shares.cells.len(), self.names.len().max(1));
        let is_alone = classes == 2 && self.positive.is_some() && shares.width == 1;
        if is_alone || !len.is_multiple_of(classes) { len } else { len / classes }
    }

    fn row(&self, named: Option<Vec<Cell>>, shares: Option<Vec<Cell>>) -> Result<Answer, Unscored> {
        let probabilities = shares.map(|cells| self.shares(&cells)).transpose()?;
        let class = match (named, &probabilities) {
            (Some(cells), _) => class_of(self.names, &one(&cells)?).ok_or(Unscored::Class)?,
            (None, Some(shares)) => most_probable(shares, self.positive, self.threshold),
            (None, None) => return Err(Unscored::Output),
        };
        Ok(Answer::Class { class, probabilities })
    }

    /// The probability of each class.
    fn shares(&self, cells: &[Cell]) -> Result<Box<[f64]>, Unscored> {
        let share = |cell: &Cell| match scalar(cell) {
            Some(Scalar::Number(p)) if (-SLACK..=1.0 + SLACK).contains(&p) => Ok(p.clamp(0.0, 1.0)),
            Some(Scalar::Number(_) | Scalar::Text(_)) | None => Err(Unscored::Probabilities),
        };
        let shares: Vec<f64> = cells.iter().map(share).collect::<Result<_, _>>()?;
        let classes = self.names.len();
        match (shares.as_slice(), self.positive) {
            (all, _) if all.len() == classes => Ok(shares.into_boxed_slice()),
            // The probability of the positive class alone.
            ([p], Some(0)) if classes == 2 => Ok(Box::new([*p, 1.0 - p])),
            ([p], Some(_)) if classes == 2 => Ok(Box::new([1.0 - p, *p])),
            (all, _) if all.len() > classes && all.len().is_multiple_of(classes) => {
                Err(Unscored::Rows)
            }
            _ => Err(Unscored::Probabilities),
        }
    }
}

/// The only value of a row.
fn one(cells: &[Cell]) -> Result<Scalar, Unscored> {
    match cells {
        [one] => scalar(one).ok_or(Unscored::Output),
        [] => Err(Unscored::Output),
        _ => Err(Unscored::Rows),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "whole numbers that name a class or a value are small"
)]
fn scalar(cell: &Cell) -> Option<Scalar> {
    match cell {
        Cell::Number(number) => Some(Scalar::Number(*number)),
        Cell::Integer(integer) => Some(Scalar::Number(*integer as f64)),
        Cell::Boolean(truth) => Some(Scalar::Text(truth.to_string())),
        Cell::Text(text) => Some(Scalar::Text(text.to_string())),
        Cell::Missing | Cell::Wrong => None,
    }
}

/// Reads what is true of each of `rows`; `None` for what is none of the classes, no number, or not about as many
/// rows. A label that is a list of JSON has one for each row, and null for one of which nothing is known.
pub(super) fn truth(
    (value, label): (Option<f64>, Option<&str>),
    rows: usize,
    labels: &LabelsSpec,
) -> Option<Said> {
    if let Some(whole) = truth_of(value, label.map(Cow::Borrowed), labels) {
        return (rows == 1).then_some(Said::One(whole));
    }
    let list: Vec<Value> =
        serde_json::from_str(label.filter(|text| text.starts_with('['))?).ok()?;
    if list.len() != rows {
        return None;
    }
    let of = |one: Value| -> Option<Option<Truth>> {
        let text = match one {
            Value::Null => return Some(None),
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            Value::Array(_) | Value::Object(_) => return None,
        };
        truth_of(None, Some(Cow::Owned(text)), labels).map(Some)
    };
    let truths: Vec<Option<Truth>> = list.into_iter().map(of).collect::<Option<_>>()?;
    match truths.as_slice() {
        [Some(only)] => Some(Said::One(*only)),
        _ => Some(Said::Rows(truths.into_boxed_slice())),
    }
}

/// Reads what is true; `None` for what is none of the classes, or no number.
fn truth_of(value: Option<f64>, label: Option<Cow<'_, str>>, labels: &LabelsSpec) -> Option<Truth> {
    let number = || match label.as_deref()? {
        "true" => Some(1.0),
        "false" => Some(0.0),
        text => text.parse().ok(),
    };
    match &labels.task {
        LabelTask::Classes { names, .. } => {
            let label = label.map(|label| Scalar::Text(label.into_owned()));
            let scalar = label.or_else(|| value.map(Scalar::Number))?;
            class_of(names, &scalar).map(Truth::Class)
        }
        LabelTask::Value { .. } | LabelTask::Reward => {
            value.or_else(number).filter(|value| value.is_finite()).map(Truth::Value)
        }
    }
}

/// The slice that a prediction belongs to; `None` where it has none.
pub(super) fn slice(record: &PredictionRecord<'_>, source: &SliceSource) -> Option<String> {
    let at = |side: &Side<'_>, pointer: &JsonPointer| {
        let body = json_of(&Content::of_side(side).ok()?).ok()?;
        let mut found = Vec::new();
        collect(&body, pointer.steps(), &mut found);
        found.first().and_then(scalar).map(|scalar| match scalar {
            Scalar::Text(text) => text,
            Scalar::Number(number) => number.to_string(),
        })
    };
    let name = match source {
        SliceSource::Session => Some(record.session.to_owned()),
        SliceSource::Field(FieldSource::Header(name)) => {
            let header = record.request.headers.iter().find(|(own, _)| own == name);
            header.map(|(_, value)| (*value).to_owned())
        }
        SliceSource::Field(FieldSource::Request(pointer)) => at(&record.request, pointer),
        SliceSource::Field(FieldSource::Response(pointer)) => at(&record.response, pointer),
    };
    name.filter(|name| !name.is_empty() && name.len() <= SLICE_BYTES_MAX)
}

/// The class that a value names: by its name, or else by its number from 0 on, unless numbers are names here: then
/// one that is none of them is a mistake.
fn class_of(names: &[String], scalar: &Scalar) -> Option<u16> {
    let text = match scalar {
        Scalar::Text(text) => Cow::Borrowed(text.as_str()),
        Scalar::Number(number) => Cow::Owned(number.to_string()),
    };
    let by_name = names.iter().position(|name| *name == text);
    let is_number = |name: &String| name.parse().is_ok_and(f64::is_finite);
    let by_number = || {
        let place = text.parse().ok().filter(|class: &usize| *class < names.len());
        place.filter(|_| !names.iter().any(is_number))
    };
    by_name.or_else(by_number).and_then(|class| u16::try_from(class).ok())
}

/// The first of the most probable classes; of two with a positive one, by the threshold.
fn most_probable(shares: &[f64], positive: Option<u16>, threshold: f64) -> u16 {
    if let (Some(positive), [first, second]) = (positive, shares) {
        let share = if positive == 0 { first } else { second };
        return if *share >= threshold { positive } else { 1 - positive.min(1) };
    }
    let best = (0..).zip(shares).fold((0, f64::NEG_INFINITY), |best, (class, share)| {
        if *share > best.1 { (class, *share) } else { best }
    });
    best.0
}

/// The values at a place, and in what is there, in order. A place under a `*` that has none where the rest of the
/// pointer leads is a missing value, so that those after it do not move up.
fn collect(value: &Value, steps: &[Step], found: &mut Vec<Cell>) {
    let Some((step, rest)) = steps.split_first() else {
        match value {
            Value::Array(items) => items.iter().for_each(|item| collect(item, &[], found)),
            Value::Object(_) => {}
            value => found.push(cell(value)),
        }
        return;
    };
    let mut take = |value: &Value| {
        let before = found.len();
        collect(value, rest, found);
        if *step == Step::Any && found.len() == before {
            found.push(Cell::Missing);
        }
    };
    match value {
        Value::Array(items) => {
            let taken = items.iter().enumerate().filter(|(at, _)| step.takes_index(*at));
            taken.for_each(|(_, item)| take(item));
        }
        Value::Object(members) => {
            let taken = members.iter().filter(|(name, _)| step.takes_name(name));
            taken.for_each(|(_, member)| take(member));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_place_only_where_no_class_is_named_by_one() {
        let of = |names: &[&str], text: &str| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            class_of(&names, &Scalar::Text(text.to_owned()))
        };
        assert_eq!(of(&["good", "bad"], "1"), Some(1));
        assert_eq!(of(&["good", "bad"], "2"), None);
        let stars = ["1", "2", "3", "4", "5"];
        assert_eq!(of(&stars, "5"), Some(4));
        assert_eq!(of(&stars, "0"), None, "no star is none of them");
        assert_eq!(of(&["0.5", "more"], "1"), None);
        assert_eq!(of(&["nan", "inf"], "1"), Some(1), "words");
    }
}
