//! Items in the form that was asked for.
//!
//! Owns the choice of columns and the header of CSV (RFC 4180). Never decides which items are printed.

use std::io::{self, Write};

use super::super::args::{FormArgs, RowFormat};
use super::human;
use crate::domain::record::Kind;
use crate::prediction_log::query::column::{Column, Value};
use crate::prediction_log::query::json;
use crate::prediction_log::{Gap, Item};

/// Prints items one after the other.
pub(super) struct Printer {
    format: RowFormat,
    columns: Vec<Column>,
    line: Vec<u8>,
    /// Whether the names of the columns are printed.
    named: bool,
}

impl Printer {
    pub(super) fn new(form: &FormArgs) -> Self {
        let all = || Column::ALL.iter().copied().filter(|column| !column.is_body()).collect();
        let columns = match (form.format, form.columns.is_empty()) {
            (RowFormat::Csv, true) => all(),
            _ => form.columns.clone(),
        };
        Self { format: form.format, columns, line: Vec::new(), named: false }
    }

    /// Prints what stands before the first item.
    pub(super) fn start(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.format != RowFormat::Csv || std::mem::replace(&mut self.named, true) {
            return Ok(());
        }
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record(self.columns.iter().map(|column| column.name()))?;
        csv.flush()
    }

    /// Prints one item.
    pub(super) fn print(&mut self, item: &Item<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.line.clear();
        match (self.format, item) {
            (RowFormat::Csv, item) => self.csv(item)?,
            (RowFormat::Json, item) if self.columns.is_empty() => {
                json::write_item(item, &mut self.line)?;
                self.line.push(b'\n');
            }
            (RowFormat::Json, item) => self.json_columns(item)?,
            (RowFormat::Human, Item::Row(row)) if !self.columns.is_empty() => {
                human::cells(row, &self.columns, &mut self.line);
            }
            (RowFormat::Human, item) => human::line(item, &mut self.line),
        }
        out.write_all(&self.line)
    }

    fn csv(&mut self, item: &Item<'_>) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(&mut self.line);
        for column in &self.columns {
            let value = match item {
                Item::Row(row) => column.value(row),
                Item::Gap(gap) => gap_value(gap, *column),
            };
            csv.write_field(value.cell().as_bytes())?;
        }
        csv.write_record(None::<&[u8]>)?;
        csv.flush()
    }

    /// The JSON form with these columns alone, in their order.
    fn json_columns(&mut self, item: &Item<'_>) -> io::Result<()> {
        let mut whole = Vec::new();
        json::write_item(item, &mut whole)?;
        let mut whole: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&whole)?;
        let chosen: serde_json::Map<_, _> = self
            .columns
            .iter()
            .map(|column| {
                let value = whole.remove(column.name()).unwrap_or_default();
                (column.name().to_owned(), value)
            })
            .collect();
        serde_json::to_writer(&mut self.line, &chosen)?;
        self.line.push(b'\n');
        Ok(())
    }
}

/// A place where something is missing, as a row of the table.
fn gap_value(gap: &Gap, column: Column) -> Value<'_> {
    let number = |number: Option<u64>| number.map_or(Value::Null, |n| Value::Int(n.into()));
    match column {
        Column::Kind => Value::Text(Kind::Gap.as_str().into()),
        Column::GapReason => Value::Text(gap.reason.as_str().into()),
        Column::GapFirstLsn => number(gap.lsns.as_ref().map(|lsns| *lsns.start())),
        Column::GapLastLsn => number(gap.lsns.as_ref().map(|lsns| *lsns.end())),
        Column::GapRecords => number(gap.lsns.as_ref().map(|lsns| lsns.end() - lsns.start() + 1)),
        Column::GapDetail => {
            Value::Text(format!("{}:{}", gap.segment.display(), gap.offset).into())
        }
        _ => Value::Null,
    }
}
