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
#[derive(Debug, Clone, Copy)]
struct Look {
    numbers: bool,
    truths: bool,
    any: bool,
}

impl Look {
    const NEW: Self = Self { numbers: true, truths: true, any: false };

    fn see(&mut self, field: &str) {
        if field.is_empty() {
            return;
        }
        self.any = true;
        self.numbers &= field.parse::<f64>().is_ok();
        self.truths &= truth(field).is_some();
    }

    const fn kind(self) -> KindWord {
        match self {
            Self { any: true, truths: true, .. } => KindWord::Boolean,
            Self { any: true, numbers: false, .. } => KindWord::Categorical,
            Self { .. } => KindWord::Numeric,
        }
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
    let mut looks = vec![Look::NEW; names.len()];
    each(&mut reader, |record| {
        for (look, field) in looks.iter_mut().zip(record) {
            look.see(field);
        }
        Ok(())
    })?;
    let kinds: Vec<(String, KindWord)> =
        names.iter().cloned().zip(looks.into_iter().map(Look::kind)).collect();
    let mut table = Table::new(&kinds, choice);
    let taken: Vec<bool> = names.iter().map(|name| choice.takes(name)).collect();
    let time = choice.time.as_ref().and_then(|time| names.iter().position(|name| name == time));
    let mut times = Vec::new();
    each(&mut open(path)?, |record| {
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
    Ok(table)
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
