//! Lines of CSV as rows.
//!
//! Owns whether the first line is a header, and the width of a line.

use csv::{ByteRecord, ReaderBuilder};

use super::column::Sink;
use super::places::Placement;
use super::rows::Columns;
use super::{COLUMNS_MAX, ValueError};
use crate::protocol::json::DecodeError;
use crate::protocol::tensor::Datatype;

/// Reads all lines into `columns`.
pub(super) fn read(
    text: &[u8],
    header: Option<bool>,
    columns: &mut Columns<'_>,
) -> Result<(), DecodeError> {
    let mut lines = Lines::new(text);
    let none = || DecodeError::new(text.len(), ValueError::NoRows);
    let first = lines.next()?.ok_or_else(none)?;
    let at_first = |error| DecodeError::new(0, error);
    let width = first.len();
    let header = match header {
        Some(header) => header,
        None => is_header(&first, text, columns)?,
    };
    let names: Option<Vec<String>> = header.then(|| first.clone());
    let placement = columns.placement(names.as_deref(), width).map_err(at_first)?;
    let mut rows = 0;
    columns.rows = Some(0);
    let mut line = if header { lines.next()? } else { Some(first) };
    while let Some(fields) = line {
        let row = Row { fields: &fields, placement: &placement, names: names.as_deref() };
        row.read(width, columns).map_err(|error| error.at(lines.offset).in_index(rows))?;
        rows += 1;
        columns.rows = Some(rows);
        line = lines.next()?;
    }
    let only_header = || DecodeError::new(text.len(), ValueError::OnlyHeader);
    if rows == 0 { Err(only_header()) } else { Ok(()) }
}

/// One line.
struct Row<'a> {
    fields: &'a [String],
    placement: &'a Placement,
    names: Option<&'a [String]>,
}

/// What is wrong with a line, and in which column.
struct RowError(ValueError, Option<String>);

impl RowError {
    fn at(self, offset: usize) -> DecodeError {
        let error = DecodeError::new(offset, self.0);
        match self.1 {
            Some(column) => error.in_key(&column),
            None => error,
        }
    }
}

impl Row<'_> {
    fn read(&self, width: usize, columns: &mut Columns<'_>) -> Result<(), RowError> {
        let found = self.fields.len();
        if found != width {
            return Err(RowError(ValueError::Width { expected: width, found }, None));
        }
        let name = |index: usize| {
            let named = self.names.and_then(|names| names.get(index)).cloned();
            Some(named.unwrap_or_else(|| index.to_string()))
        };
        let positions = match self.placement {
            Placement::Each(positions) => positions,
            Placement::One(order) => {
                let column = columns.single().map_err(|error| RowError(error, None))?;
                for place in 0..width {
                    let cell = order.as_ref().and_then(|order| order.get(place));
                    let index = cell.copied().unwrap_or(place);
                    let Some(field) = self.fields.get(index) else { continue };
                    column.take_field(field, 1).map_err(|error| RowError(error, name(index)))?;
                }
                column.shape.close(0, width).map_err(|error| RowError(error, None))?;
                column.rows += 1;
                return Ok(());
            }
        };
        for (index, (field, &position)) in self.fields.iter().zip(positions).enumerate() {
            if let Some(column) = columns.columns.get_mut(position) {
                column.take_field(field, 0).map_err(|error| RowError(error, name(index)))?;
                column.rows += 1;
            }
        }
        Ok(())
    }
}

/// Whether a first line is a header, when nobody says so: its fields are the names of the model's
/// tensors, or none of them is a number while the line after it has one. A row of texts for a model that
/// takes nothing else is never one: the `7` behind it may be a text, too.
fn is_header(first: &[String], text: &[u8], columns: &Columns<'_>) -> Result<bool, DecodeError> {
    let is_number = |field: &String| field.trim().is_empty() || field.trim().parse::<f64>().is_ok();
    // A gap, `nan` and `inf` are what a column of texts may have as well.
    let has_digits = |field: &String| field.trim().parse().is_ok_and(f64::is_finite);
    let declared = !columns.columns.is_empty();
    if declared && first.iter().all(|field| columns.has(field)) {
        return Ok(true);
    }
    if first.iter().any(is_number) {
        return Ok(false);
    }
    let numeric = |sink: &Sink| match sink {
        Sink::Typed(data) => !matches!(data.datatype(), Datatype::Bytes | Datatype::Bool),
        Sink::Guess(_) => false,
    };
    if declared && columns.columns.iter().all(|column| numeric(&column.sink)) {
        return Ok(true);
    }
    if declared && !columns.columns.iter().any(|column| numeric(&column.sink)) {
        return Ok(false);
    }
    let mut lines = Lines::new(text);
    lines.next()?;
    Ok(lines.next()?.is_some_and(|second| second.iter().any(has_digits)))
}

/// The lines of a text, blank ones left out.
struct Lines<'a> {
    reader: csv::Reader<&'a [u8]>,
    record: ByteRecord,
    /// Where the last line began.
    offset: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a [u8]) -> Self {
        let reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
        Self { reader, record: ByteRecord::new(), offset: 0 }
    }

    fn next(&mut self) -> Result<Option<Vec<String>>, DecodeError> {
        let offset = usize::try_from(self.reader.position().byte()).unwrap_or(usize::MAX);
        self.offset = offset;
        let bad = |why: String| DecodeError::new(offset, ValueError::Csv(why));
        let more = self.reader.read_byte_record(&mut self.record);
        if !more.map_err(|error| bad(error.to_string()))? {
            return Ok(None);
        }
        if self.record.len() > COLUMNS_MAX {
            return Err(DecodeError::new(
                offset,
                ValueError::TooManyColumns { limit: COLUMNS_MAX },
            ));
        }
        let field = |field: &[u8]| {
            let text = std::str::from_utf8(field);
            text.map(str::to_owned).map_err(|_utf8| bad("not UTF-8".to_owned()))
        };
        self.record.iter().map(field).collect::<Result<_, _>>().map(Some)
    }
}
