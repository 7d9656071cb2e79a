//! Values without names or types of their own: the rows and columns that most dialects send as JSON or
//! CSV.
//!
//! Owns the one way from such values to tensors ([`bind`]) and back ([`write_rows`],
//! [`write_columns`]), for all dialects that do not write names, datatypes and shapes. Never knows a
//! dialect's envelope, or a model beyond the tensors that it declares.
//!
//! Where the model's tensors are known, each value is read as the declared datatype straight from its
//! text: integers keep all 64 bits, `null` is NaN for a float and an error for anything else, and
//! `{"b64":"…"}` is bytes. Where they are not, one pass over the values finds the widest datatype that
//! holds each column (INT64, UINT64, FP64, BOOL or BYTES) and a second one reads them. An error names
//! the row and the column in its JSON pointer.

mod column;
mod names;
mod npy;
mod places;
mod rows;
mod shape;
mod table;
#[cfg(test)]
mod tests;
mod whole;
mod write;

use std::borrow::Cow;
use std::fmt;

pub use self::npy::{NpyError, npy_tensor};
pub use self::write::{
    RANK_MAX, WriteError, check_rows, count_rows, write_columns, write_csv, write_lines,
    write_rows, write_tensor,
};
use super::json::{DecodeError, Reader};
use super::shown::shortened;
use super::tensor::{Datatype, TENSORS_MAX, Tensor, TensorData, TensorSpec};

/// The most columns of rows, of a table or of a data frame: their names are held, and a line whole.
pub(super) const COLUMNS_MAX: usize = 65_536;

/// Values as a document holds them. The readers stand at the value and are not advanced.
#[derive(Debug, Clone)]
pub enum Values<'a> {
    /// An array with one row each.
    Rows {
        /// The array.
        rows: Reader<'a>,
        /// What the rows may be.
        kind: RowKind,
    },
    /// One row after the other, with white space between them.
    Lines(Reader<'a>),
    /// One row each.
    Each(Vec<Reader<'a>>),
    /// Rows as arrays, with the names of their columns given once.
    Split {
        /// The names.
        names: Vec<Cow<'a, str>>,
        /// An array of arrays.
        rows: Reader<'a>,
    },
    /// An object of whole tensors by name, or one whole tensor without a name.
    Columns(Reader<'a>),
    /// Lines of CSV (RFC 4180).
    Csv {
        /// The lines.
        text: &'a [u8],
        /// Whether the first line has the names; `None` leaves that to be found.
        header: Option<bool>,
    },
}

/// What the rows of a document may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// Objects with a tensor's value under each name, or values of the one input.
    Instances,
    /// As [`Self::Instances`], and objects may also hold the cells of one input under names that the
    /// model does not know, in the order of the first row (a data frame).
    Records,
    /// As [`Self::Instances`], and an array that is one row may stand for a batch of it.
    Plain,
}

/// Why values do not become tensors. All of these are the fault of who wrote them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Arrays side by side that differ in length.
    #[error("an array of {found} where the arrays before it have {expected}")]
    Ragged {
        /// The length of the first.
        expected: usize,
        /// The length of this one.
        found: usize,
    },
    /// An array where elements stood before.
    #[error("an array where the values before it are not")]
    Deeper,
    /// An element where arrays stood before.
    #[error("a value where the values before it are arrays")]
    Flatter,
    /// Elements of different types in one column.
    #[error("{found} where {expected} stood before; the values of one tensor have one type")]
    Mixed {
        /// The type so far.
        expected: &'static str,
        /// The type of this one.
        found: &'static str,
    },
    /// A missing value in a column that has no way to say so.
    #[error("null among booleans or strings, which have no missing value")]
    Null,
    /// An object that is not bytes.
    #[error("an object where a value is expected; only {{\"b64\":\"…\"}} is one")]
    Object,
    /// A number that is not whole.
    #[error("{text} has a fraction, and {datatype} has none")]
    Fraction {
        /// The number, shortened.
        text: String,
        /// The declared datatype.
        datatype: Datatype,
    },
    /// Bytes that are not base64.
    #[error("the text of \"b64\" is not base64")]
    Base64,
    /// A field of CSV that the datatype cannot hold.
    #[error("{field:?} is not {datatype}")]
    Field {
        /// The field, shortened.
        field: String,
        /// The declared datatype.
        datatype: Datatype,
    },
    /// A row without one of the columns.
    #[error("column '{column}' is missing")]
    MissingColumn {
        /// The column.
        column: String,
    },
    /// A column that the model, or the rows before, do not have.
    #[error("unexpected column '{column}'; there {}", Takes(takes))]
    UnexpectedColumn {
        /// The column.
        column: String,
        /// The columns that there are.
        takes: Vec<String>,
    },
    /// A column twice in one row.
    #[error("column '{column}' occurs twice")]
    DuplicateColumn {
        /// The column.
        column: String,
    },
    /// More columns than are kept apart.
    #[error("there are more than {limit} columns")]
    TooManyColumns {
        /// The limit.
        limit: usize,
    },
    /// A row with too many or too few cells.
    #[error("a row of {found} where {expected} columns are expected")]
    Width {
        /// The number of columns.
        expected: usize,
        /// The number of cells.
        found: usize,
    },
    /// A row that is not like those before.
    #[error("{found} where the rows before it are {expected}")]
    RowKind {
        /// What the rows were.
        expected: &'static str,
        /// What this one is.
        found: &'static str,
    },
    /// Values without names for a model with several inputs.
    #[error("values without names, but there {}; name them", Takes(takes))]
    Unnamed {
        /// The inputs.
        takes: Vec<String>,
    },
    /// Bytes for a tensor of another datatype.
    #[error("bytes that are not JSON, but the model takes {takes}")]
    Bytes {
        /// What it takes.
        takes: String,
    },
    /// Nothing to predict.
    #[error("there are no rows")]
    NoRows,
    /// A header with nothing behind it.
    #[error("there are no rows: the only line, split at its commas, was read as a header")]
    OnlyHeader,
    /// A place that a pointer names and the document does not have.
    #[error("there is nothing here")]
    Nothing,
    /// A shape that the model does not take.
    #[error("'{tensor}' has shape {found:?}, but {expected:?} is declared")]
    Shape {
        /// The tensor.
        tensor: String,
        /// The shape of the values.
        found: Vec<usize>,
        /// The declared one.
        expected: Vec<i64>,
    },
    /// A line that is not CSV.
    #[error("invalid CSV: {0}")]
    Csv(String),
    /// An array of numpy that is not read.
    #[error(transparent)]
    Npy(#[from] NpyError),
}

/// A list of columns in a sentence.
struct Takes<'a>(&'a [String]);

impl fmt::Display for Takes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 12;
        match self.0 {
            [] => return f.write_str("are none"),
            [one] => return write!(f, "is '{}'", shortened(one)),
            [first, ..] => write!(f, "are '{}'", shortened(first))?,
        }
        for name in self.0.iter().take(SHOWN).skip(1) {
            write!(f, ", '{}'", shortened(name))?;
        }
        match self.0.len().checked_sub(SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, " and {more} more"),
        }
    }
}

/// Turns values into tensors, in the order of `specs`, or of the first row where the tensors are not
/// known. A tensor without a name is called `unnamed`, unless `specs` has its name.
///
/// # Errors
/// When the values are not rectangular, not of the declared datatypes or shapes, or named otherwise.
/// The error's pointer starts at the values.
pub fn bind(
    values: &Values<'_>,
    specs: Option<&[TensorSpec]>,
    unnamed: &str,
) -> Result<Vec<Tensor>, DecodeError> {
    let columns = match specs {
        Some(specs) => rows::Columns::declared(specs),
        None => rows::read(values, rows::Columns::unknown(unnamed))?.guessed(),
    };
    let batch = matches!(values, Values::Rows { kind: RowKind::Plain, .. });
    rows::read(values, columns)?.into_tensors(batch, values.offset())
}

impl Values<'_> {
    /// Where they start in the document.
    fn offset(&self) -> usize {
        match self {
            Self::Rows { rows: reader, .. }
            | Self::Split { rows: reader, .. }
            | Self::Lines(reader)
            | Self::Columns(reader) => reader.offset(),
            Self::Each(rows) => rows.first().map_or(0, Reader::offset),
            Self::Csv { .. } => 0,
        }
    }
}

/// Bytes that came without any form as the one element of the one tensor.
///
/// # Errors
/// When the model declares several tensors, or one that is not of BYTES or takes more than one
/// element.
pub fn bytes_tensor(
    bytes: Vec<u8>,
    specs: Option<&[TensorSpec]>,
    unnamed: &str,
) -> Result<Tensor, DecodeError> {
    let at = |error: ValueError| DecodeError::new(0, error);
    let data = TensorData::Bytes(vec![bytes]);
    let made = match specs {
        None => Tensor::new(unnamed, [1].as_slice(), data),
        Some([spec]) if spec.datatype == Datatype::Bytes => {
            let wrong = || ValueError::Shape {
                tensor: spec.name.clone(),
                found: vec![1],
                expected: spec.shape.to_vec(),
            };
            let shape = shape::fit(&[1], &spec.shape, true).ok_or_else(wrong).map_err(at)?;
            Tensor::new(&*spec.name, shape, data)
        }
        Some([spec]) => return Err(at(ValueError::Bytes { takes: spec.to_string() })),
        Some(specs) => {
            let takes = specs.iter().map(|spec| spec.name.clone()).collect();
            return Err(at(ValueError::Unnamed { takes }));
        }
    };
    made.map_err(|error| DecodeError::new(0, error))
}
