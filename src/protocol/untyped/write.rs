//! From tensors to rows and columns of JSON.
//!
//! Owns the nesting of arrays. Floats are the shortest text that reads back as the same value, NaN and
//! the infinities are bare tokens, text is a string, and bytes that are not text are
//! `{"b64":"…"}`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::column::BASE64_KEY;
use crate::protocol::json::{write_f32, write_f64, write_integer, write_string};
use crate::protocol::shown::shortened;
use crate::protocol::tensor::{Tensor, TensorData};

/// The most dimensions of a tensor that is written as arrays in arrays.
pub const RANK_MAX: usize = 32;

/// The most empty arrays that a tensor without elements may become.
const EMPTY_ARRAYS_MAX: usize = 65_536;

/// Tensors that have no form as rows or columns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// More dimensions than readers take.
    #[error("'{tensor}' has {rank} dimensions; as nested arrays there may be {RANK_MAX}")]
    Rank {
        /// The tensor.
        tensor: String,
        /// The number of its dimensions.
        rank: usize,
    },
    /// Dimensions without elements that would become very many empty arrays.
    #[error("'{tensor}' has no elements but shape {shape:?}, which is too large as nested arrays")]
    Empty {
        /// The tensor.
        tensor: String,
        /// Its dimensions.
        shape: Vec<usize>,
    },
    /// A request that asks for nothing, in a dialect that has no way to say so.
    #[error("there are no rows to predict, and this backend is asked row by row")]
    NoRows,
    /// A tensor without rows.
    #[error("'{tensor}' is a scalar, which has no rows")]
    Scalar {
        /// The tensor.
        tensor: String,
    },
    /// Tensors that do not have the same number of rows.
    #[error("'{tensor}' has {found} rows, but '{first}' has {expected}; as rows they must agree")]
    Rows {
        /// The tensor.
        tensor: String,
        /// The number of its rows.
        found: usize,
        /// The tensor that it is compared with.
        first: String,
        /// The number of rows of that.
        expected: usize,
    },
}

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    /// As a string where they are text.
    Text,
    /// As base64 always.
    Base64,
}

impl Bytes {
    /// TensorFlow Serving writes what a model calls `…_bytes` as base64 whatever it is.
    fn of(name: &str) -> Self {
        if name.ends_with("_bytes") { Self::Base64 } else { Self::Text }
    }
}

/// Appends a tensor as nested arrays; a scalar is its value.
///
/// # Errors
/// When it has too many dimensions.
pub fn write_tensor(out: &mut Vec<u8>, tensor: &Tensor) -> Result<(), WriteError> {
    check(tensor)?;
    reserve(out, tensor);
    write_elements(out, tensor, tensor.shape(), 0..tensor.data().len());
    Ok(())
}

/// Appends an array with one row each: the value of the one tensor, or an object of all of them by
/// name. `named` writes objects even for one tensor.
///
/// # Errors
/// When the tensors do not have the same number of rows, or one has no rows or too many dimensions.
pub fn write_rows(out: &mut Vec<u8>, tensors: &[Tensor], named: bool) -> Result<(), WriteError> {
    let rows = count_rows(tensors)?;
    if let ([tensor], false) = (tensors, named) {
        return write_tensor(out, tensor);
    }
    tensors.iter().try_for_each(check)?;
    tensors.iter().for_each(|tensor| reserve(out, tensor));
    out.push(b'[');
    for row in 0..rows {
        if row > 0 {
            out.push(b',');
        }
        write_row(out, tensors, row, rows);
    }
    out.push(b']');
    Ok(())
}

/// Whether there is anything to ask a backend that is asked for rows: its answer to none of them could
/// not be told from a broken one.
///
/// # Errors
/// When the inputs have no rows, or not the same number of them.
pub fn check_rows(inputs: &[Tensor]) -> Result<(), WriteError> {
    if count_rows(inputs)? == 0 { Err(WriteError::NoRows) } else { Ok(()) }
}

/// Appends a line of JSON for each row, see [`write_rows`].
///
/// # Errors
/// As [`write_rows`].
pub fn write_lines(out: &mut Vec<u8>, tensors: &[Tensor]) -> Result<(), WriteError> {
    let rows = count_rows(tensors)?;
    tensors.iter().try_for_each(check)?;
    for row in 0..rows {
        if let [tensor] = tensors {
            write_value(out, tensor, row, rows);
        } else {
            write_row(out, tensors, row, rows);
        }
        out.push(b'\n');
    }
    Ok(())
}

/// Appends a line of CSV for each row: the elements of all tensors, flattened, without a header. Text
/// is quoted where it must be; bytes that are not text are base64.
///
/// # Errors
/// As [`write_rows`].
pub fn write_csv(out: &mut Vec<u8>, tensors: &[Tensor]) -> Result<(), WriteError> {
    let rows = count_rows(tensors)?;
    tensors.iter().try_for_each(check)?;
    for row in 0..rows {
        let mut first = true;
        for tensor in tensors {
            let width = tensor.data().len() / rows;
            for element in row * width..(row + 1) * width {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                write_field(out, tensor, element);
            }
        }
        out.push(b'\n');
    }
    Ok(())
}

fn write_field(out: &mut Vec<u8>, tensor: &Tensor, element: usize) {
    let TensorData::Bytes(values) = tensor.data() else {
        return write_elements(out, tensor, &[], element..element + 1);
    };
    let value = values.get(element).map(Vec::as_slice).unwrap_or_default();
    match std::str::from_utf8(value) {
        Ok(text)
            if text.contains(['"', ',', '\n', '\r']) || text.trim() != text || text.is_empty() =>
        {
            out.push(b'"');
            out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
            out.push(b'"');
        }
        Ok(text) => out.extend_from_slice(text.as_bytes()),
        Err(_binary) => out.extend_from_slice(STANDARD.encode(value).as_bytes()),
    }
}

/// Appends one row as an object.
fn write_row(out: &mut Vec<u8>, tensors: &[Tensor], row: usize, rows: usize) {
    out.push(b'{');
    for (at, tensor) in tensors.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_string(out, tensor.name());
        out.push(b':');
        write_value(out, tensor, row, rows);
    }
    out.push(b'}');
}

/// Appends the value of one tensor in one row.
fn write_value(out: &mut Vec<u8>, tensor: &Tensor, row: usize, rows: usize) {
    let width = tensor.data().len() / rows.max(1);
    let shape = tensor.shape().get(1..).unwrap_or_default();
    write_elements(out, tensor, shape, row * width..(row + 1) * width);
}

/// The number of rows that all tensors have; none where there are no tensors.
///
/// # Errors
/// When they differ, or one is a scalar.
pub fn count_rows(tensors: &[Tensor]) -> Result<usize, WriteError> {
    let rows = |tensor: &Tensor| {
        let scalar = || WriteError::Scalar { tensor: shortened(tensor.name()) };
        tensor.shape().first().copied().ok_or_else(scalar)
    };
    let Some(first) = tensors.first() else { return Ok(0) };
    let expected = rows(first)?;
    for tensor in tensors {
        let found = rows(tensor)?;
        if found != expected {
            let (tensor, first) = (shortened(tensor.name()), shortened(first.name()));
            return Err(WriteError::Rows { tensor, found, first, expected });
        }
    }
    Ok(expected)
}

/// Appends an object of whole tensors by name, or the one tensor without its name where `named` does
/// not ask for it.
///
/// # Errors
/// When a tensor has too many dimensions.
pub fn write_columns(out: &mut Vec<u8>, tensors: &[Tensor], named: bool) -> Result<(), WriteError> {
    if let ([tensor], false) = (tensors, named) {
        return write_tensor(out, tensor);
    }
    out.push(b'{');
    for (at, tensor) in tensors.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_string(out, tensor.name());
        out.push(b':');
        write_tensor(out, tensor)?;
    }
    out.push(b'}');
    Ok(())
}

fn check(tensor: &Tensor) -> Result<(), WriteError> {
    let shape = tensor.shape();
    let name = || shortened(tensor.name());
    if shape.len() > RANK_MAX {
        return Err(WriteError::Rank { tensor: name(), rank: shape.len() });
    }
    let arrays = shape.iter().take_while(|&&dim| dim != 0);
    let arrays = arrays.fold(1usize, |count, &dim| count.saturating_mul(dim));
    if tensor.data().is_empty() && arrays > EMPTY_ARRAYS_MAX {
        return Err(WriteError::Empty { tensor: name(), shape: shape.to_vec() });
    }
    Ok(())
}

/// Makes room by a guess at the length of an element; a wrong one costs a reallocation.
fn reserve(out: &mut Vec<u8>, tensor: &Tensor) {
    const ELEMENT_BYTES: usize = 12;
    out.reserve(tensor.data().len().saturating_mul(ELEMENT_BYTES));
}

/// Appends the elements in `range`, nested as `shape` says.
fn write_elements(
    out: &mut Vec<u8>,
    tensor: &Tensor,
    shape: &[usize],
    range: std::ops::Range<usize>,
) {
    /// Appends the elements of one type.
    macro_rules! nested {
        ($values:ident, $write:expr) => {
            nest(out, shape, $values.get(range).unwrap_or_default(), &mut $write)
        };
    }
    /// Appends elements that are copied to be written.
    macro_rules! copied {
        ($values:ident, $write:expr) => {
            nested!($values, |out: &mut Vec<u8>, &value| $write(out, value))
        };
    }
    match tensor.data() {
        TensorData::Bool(values) => copied!(values, |out: &mut Vec<u8>, value: bool| {
            out.extend_from_slice(if value { b"true" } else { b"false" });
        }),
        TensorData::Uint8(values) => copied!(values, write_integer),
        TensorData::Uint16(values) => copied!(values, write_integer),
        TensorData::Uint32(values) => copied!(values, write_integer),
        TensorData::Uint64(values) => copied!(values, write_integer),
        TensorData::Int8(values) => copied!(values, write_integer),
        TensorData::Int16(values) => copied!(values, write_integer),
        TensorData::Int32(values) => copied!(values, write_integer),
        TensorData::Int64(values) => copied!(values, write_integer),
        TensorData::Fp16(values) => {
            copied!(values, |out: &mut Vec<u8>, value: half::f16| write_f32(out, value.to_f32()));
        }
        TensorData::Bf16(values) => {
            copied!(values, |out: &mut Vec<u8>, value: half::bf16| write_f32(out, value.to_f32()));
        }
        TensorData::Fp32(values) => copied!(values, write_f32),
        TensorData::Fp64(values) => copied!(values, write_f64),
        TensorData::Bytes(values) => {
            let bytes = Bytes::of(tensor.name());
            nested!(values, |out: &mut Vec<u8>, v: &Vec<u8>| write_bytes(out, v, bytes));
        }
    }
}

fn write_bytes(out: &mut Vec<u8>, value: &[u8], bytes: Bytes) {
    if let (Ok(text), Bytes::Text) = (std::str::from_utf8(value), bytes) {
        return write_string(out, text);
    }
    out.push(b'{');
    write_string(out, BASE64_KEY);
    out.push(b':');
    write_string(out, &STANDARD.encode(value));
    out.push(b'}');
}

/// The recursion is as deep as the tensor has dimensions, which [`check`] bounds.
fn nest<T>(
    out: &mut Vec<u8>,
    shape: &[usize],
    values: &[T],
    write: &mut impl FnMut(&mut Vec<u8>, &T),
) {
    let Some((&length, inner)) = shape.split_first() else {
        return values.iter().for_each(|value| write(out, value));
    };
    out.push(b'[');
    let width = values.len() / length.max(1);
    for index in 0..length {
        if index > 0 {
            out.push(b',');
        }
        nest(out, inner, values.get(index * width..(index + 1) * width).unwrap_or_default(), write);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_row_by_row_is_not_asked_for_none() {
        let tensor = |shape: &[usize], values| {
            Tensor::new("x", shape, TensorData::Fp32(values)).expect("agrees")
        };
        assert_eq!(check_rows(&[]), Err(WriteError::NoRows));
        assert_eq!(check_rows(&[tensor(&[0, 4], Vec::new())]), Err(WriteError::NoRows));
        assert_eq!(check_rows(&[tensor(&[1], vec![1.0])]), Ok(()));
    }
}
