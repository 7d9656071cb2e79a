//! Data as CSV with a header.
//!
//! Owns what the fields of a column look like: numbers, truth values, or texts. An empty field is a missing
//! value. The file is read twice, first for the kinds.

use std::fs::File;
use std::path::Path;

use csv::StringRecord;

use super::table::{Choice, Table, When};
use crate::domain::stats::baseline::KindWord;
use crate::domain::stats::build::Column;
use crate::domain::stats::layout::Value;

/// What all fields of a column so far can be.
#[derive(Debug, Clone, Default)]
struct Look {
    /// Fields that are not empty, and those of them that are numbers and truth values.
    fields: u64,
    numbers: u64,
    truths: u64,
    /// The first that is no number.
    text: Option<String>,
}

impl Look {
    fn see(&mut self, field: &str) {
        if field.is_empty() {
            return;
        }
        let is_number = field.parse::<f64>().is_ok();
        self.fields += 1;
        self.numbers += u64::from(is_number);
        self.truths += u64::from(truth(field).is_some());
        if !is_number && self.text.is_none() {
            self.text = Some(field.to_owned());
        }
    }

    const fn kind(&self) -> KindWord {
        match self {
            Self { fields: 0, .. } => KindWord::Numeric,
            Self { fields, truths, .. } if *truths == *fields => KindWord::Boolean,
            Self { fields, numbers, .. } if *numbers == *fields => KindWord::Numeric,
            Self { .. } => KindWord::Categorical,
        }
    }

    /// Whether a column of texts is perhaps meant to be one of numbers.
    fn doubt(&self, name: &str) -> Option<String> {
        let text = self.text.as_ref().filter(|_| self.kind() == KindWord::Categorical)?;
        (2 * self.numbers > self.fields).then(|| {
            format!(
                "column `{name}`: {} of {} fields are numbers, but {text:?} is not, so that all are taken as texts; leave \
                 such fields empty if they are missing numbers, or say `--categorical {name}`",
                self.numbers, self.fields
            )
        })
    }
}

fn truth(field: &str) -> Option<bool> {
    match field {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Reads the columns that are chosen.
pub(super) fn read(path: &Path, choice: &Choice) -> Result<Table, String> {
    let mut reader = open(path)?;
    let header = reader.headers().map_err(|error| error.to_string())?;
    let names: Vec<String> = header.iter().map(str::to_owned).collect();
    choice.check(&names)?;
    let mut looks = vec![Look::default(); names.len()];
    each(&mut reader, |record| {
        for (look, field) in looks.iter_mut().zip(record) {
            look.see(field);
        }
        Ok(())
    })?;
    let kinds: Vec<(String, KindWord)> =
        names.iter().cloned().zip(looks.iter().map(Look::kind)).collect();
    let mut table = Table::new(&kinds, choice);
    let is_open = |name: &String| choice.takes(name) && !choice.categorical.contains(name);
    let open = names.iter().zip(&looks).filter(|(name, _)| is_open(name));
    table.doubts = open.filter_map(|(name, look)| look.doubt(name)).collect();
    table.doubts.extend(doubt_header(&names));
    let taken: Vec<bool> = names.iter().map(|name| choice.takes(name)).collect();
    let time = choice.time.as_ref().and_then(|time| names.iter().position(|name| name == time));
    let mut times = Vec::new();
    each(&mut self::open(path)?, |record| {
        let fields = record.iter().zip(&taken).filter(|(_, taken)| **taken);
        for ((field, _), column) in fields.zip(&mut table.columns) {
            push(&mut column.values, field);
        }
        times.extend(time.and_then(|at| record.get(at)).map(when));
        table.rows += 1;
        Ok(())
    })?;
    if time.is_some() {
        table.sort(&times);
    }
    table.doubt(choice);
    Ok(table)
}

/// Whether the first line is perhaps no header, or not one of commas.
fn doubt_header(names: &[String]) -> Option<String> {
    match names {
        [only] => Some(format!(
            "there is one column only, {only:?}: fields of a line are separated by commas"
        )),
        _ if names.iter().all(|name| name.parse::<f64>().is_ok()) => Some(format!(
            "the names of all columns are numbers ({}): the first line has to be a header",
            names.join(", ")
        )),
        _ => None,
    }
}

fn open(path: &Path) -> Result<csv::Reader<File>, String> {
    csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .map_err(|error| error.to_string())
}

fn each(
    reader: &mut csv::Reader<File>,
    mut take: impl FnMut(&StringRecord) -> Result<(), String>,
) -> Result<(), String> {
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| error.to_string())? {
        take(&record)?;
    }
    Ok(())
}

fn push(column: &mut Column, field: &str) {
    let value = match column {
        _ if field.is_empty() => Value::Missing,
        Column::Numbers(_) => field.parse().map_or(Value::Missing, Value::Number),
        Column::Truths(_) => truth(field).map_or(Value::Missing, Value::Boolean),
        Column::Texts(_) => Value::Text(field),
    };
    column.push(value);
}

fn when(field: &str) -> When {
    match field.parse() {
        _ if field.is_empty() => When::Missing,
        Ok(number) => When::Number(number),
        Err(_) => When::Text(field.into()),
    }
}
