//! One array as numpy saves it, `application/x-npy`.
//!
//! Owns the header of the format
//! (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>) and what is not read of it: numbers that
//! are big-endian, arrays that lie column by column, structures, texts and objects. Numbers become the datatype that
//! the model declares.

use super::{ValueError, shape};
use crate::protocol::json::DecodeError;
use crate::protocol::tensor::{
    BinaryError, ConvertError, Datatype, Shape, Span, Tensor, TensorData, TensorSpec, element_count,
};

/// What every array begins with.
const MAGIC: &[u8] = b"\x93NUMPY";
/// The longest header; numpy itself refuses longer ones.
const HEADER_BYTES_MAX: usize = 10_000;
/// The most dimensions; numpy has up to 64.
const DIMS_MAX: usize = 32;

/// An array that is not read. All of these are the fault of who saved it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NpyError {
    /// Something else.
    #[error("the body is no array that numpy has saved: it does not begin with \\x93NUMPY")]
    NoArray,
    /// A format that does not exist yet.
    #[error("the array is of version {0}.{1} of the format, and 1.0, 2.0 and 3.0 are read")]
    Version(u8, u8),
    /// A header that cannot be read.
    #[error("the header of the array {0}")]
    Header(&'static str),
    /// Elements that have no datatype here.
    #[error(
        "the array has elements of type {0:?}; save integers, floats or booleans, the lowest byte first"
    )]
    Elements(String),
    /// Column by column.
    #[error("the array lies column by column; save what numpy.ascontiguousarray makes of it")]
    Columns,
    /// More or fewer bytes than its shape says.
    #[error("the elements of the array: {0}")]
    Size(#[from] BinaryError),
    /// Numbers that the model does not take.
    #[error("the elements of the array: {0}")]
    Convert(#[from] ConvertError),
}

/// Reads an array as the one tensor that the model declares, or as it is where that is not known.
///
/// # Errors
/// When it is none, or none that the model takes.
pub fn npy_tensor(
    body: &[u8],
    specs: Option<&[TensorSpec]>,
    unnamed: &str,
) -> Result<Tensor, DecodeError> {
    let at = |error: ValueError| DecodeError::new(0, error);
    let (found, data) = read(body).map_err(|error| at(error.into()))?;
    let tensor = match specs {
        None => Tensor::new(unnamed, found, data),
        Some([spec]) => {
            let wrong = || ValueError::Shape {
                tensor: spec.name.clone(),
                found: found.to_vec(),
                expected: spec.shape.to_vec(),
            };
            let shape = shape::fit(&found, &spec.shape, true).ok_or_else(wrong).map_err(at)?;
            let data = data.convert(spec.datatype);
            let data = data.map_err(|error| at(NpyError::from(error).into()))?;
            Tensor::new(&*spec.name, shape, data)
        }
        Some(specs) => {
            let takes = specs.iter().map(|spec| spec.name.clone()).collect();
            return Err(at(ValueError::Unnamed { takes }));
        }
    };
    tensor.map_err(|error| DecodeError::new(0, error))
}

fn read(body: &[u8]) -> Result<(Shape, TensorData), NpyError> {
    let (header, elements) = split(body)?;
    let header = Header::read(header).ok_or(NpyError::Header(
        "is not a dictionary with just 'descr', 'fortran_order' and 'shape', of at most 32 dimensions",
    ))?;
    let datatype = datatype(header.descr)
        .ok_or_else(|| NpyError::Elements(header.descr.chars().take(32).collect()))?;
    // Of one dimension both orders are the same.
    if header.columns && header.shape.len() > 1 {
        return Err(NpyError::Columns);
    }
    let count = element_count(&header.shape).unwrap_or(usize::MAX);
    let data = TensorData::from_binary(datatype, count, &Span::from(elements))?;
    Ok((header.shape, data))
}

/// The header, and the elements behind it.
fn split(body: &[u8]) -> Result<(&str, &[u8]), NpyError> {
    let rest = body.strip_prefix(MAGIC).ok_or(NpyError::NoArray)?;
    let short = || NpyError::Header("ends early");
    let (&[major, minor], rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let (length, rest) = match (major, minor) {
        (1, 0) => {
            let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        (2 | 3, 0) => {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
            (usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX), rest)
        }
        _ => return Err(NpyError::Version(major, minor)),
    };
    if length > HEADER_BYTES_MAX {
        return Err(NpyError::Header("is longer than 10000 bytes"));
    }
    let (header, elements) = rest.split_at_checked(length).ok_or_else(short)?;
    let header = std::str::from_utf8(header);
    Ok((header.map_err(|_bytes| NpyError::Header("is no text"))?, elements))
}

/// The datatype of numpy's name for it.
fn datatype(descr: &str) -> Option<Datatype> {
    Some(match descr {
        "|b1" => Datatype::Bool,
        "|u1" => Datatype::Uint8,
        "<u2" => Datatype::Uint16,
        "<u4" => Datatype::Uint32,
        "<u8" => Datatype::Uint64,
        "|i1" => Datatype::Int8,
        "<i2" => Datatype::Int16,
        "<i4" => Datatype::Int32,
        "<i8" => Datatype::Int64,
        "<f2" => Datatype::Fp16,
        "<f4" => Datatype::Fp32,
        "<f8" => Datatype::Fp64,
        _ => return None,
    })
}

/// What a header says: the literal of a dictionary in Python.
#[derive(Debug, PartialEq)]
struct Header<'a> {
    descr: &'a str,
    columns: bool,
    shape: Shape,
}

impl<'a> Header<'a> {
    /// Reads a header; `None` where it is anything else.
    fn read(text: &'a str) -> Option<Self> {
        let (mut descr, mut columns, mut shape) = (None, None, None);
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        while !rest.is_empty() {
            let (key, after) = quoted(rest)?;
            let value = after.trim_start().strip_prefix(':')?.trim_start();
            rest = match key {
                "descr" if descr.is_none() => {
                    let (name, after) = quoted(value)?;
                    descr = Some(name);
                    after
                }
                "fortran_order" if columns.is_none() => {
                    columns = Some(value.starts_with("True"));
                    value.strip_prefix("True").or_else(|| value.strip_prefix("False"))?
                }
                "shape" if shape.is_none() => {
                    let (dims, after) = value.strip_prefix('(')?.split_once(')')?;
                    shape = Some(tuple(dims)?);
                    after
                }
                _ => return None,
            };
            rest = rest.trim_start();
            rest = match rest.strip_prefix(',') {
                Some(more) => more.trim_start(),
                None if rest.is_empty() => rest,
                None => return None,
            };
        }
        Some(Self { descr: descr?, columns: columns?, shape: shape? })
    }
}

/// A text in quotes, and what is behind it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|first| matches!(first, '\'' | '"'))?;
    text.get(1..)?.split_once(quote)
}

/// The dimensions in a tuple.
fn tuple(text: &str) -> Option<Shape> {
    let text = text.trim();
    let text = text.strip_suffix(',').unwrap_or(text);
    if text.is_empty() {
        return Some(Shape::new());
    }
    let mut shape = Shape::new();
    for dim in text.split(',') {
        if shape.len() == DIMS_MAX {
            return None;
        }
        shape.push(dim.trim().parse().ok()?);
    }
    Some(shape)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `numpy.save` writes.
    fn saved(descr: &str, order: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
        let mut header =
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
        while !(MAGIC.len() + 4 + header.len() + 1).is_multiple_of(64) {
            header.push(' ');
        }
        header.push('\n');
        let length = u16::try_from(header.len()).expect("short").to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), elements].concat()
    }

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn spec(datatype: Datatype, shape: &[i64]) -> [TensorSpec; 1] {
        let (name, shape) = ("x".to_owned(), shape.into());
        [TensorSpec { name, datatype, shape, places: Vec::new(), ordered: true }]
    }

    #[test]
    fn an_array_becomes_what_the_model_takes() {
        let body = saved("<f4", "False", "(2, 3)", &bytes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        assert_eq!(&body[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let known = npy_tensor(&body, Some(&spec(Datatype::Fp64, &[-1, 3])), "input").unwrap();
        assert_eq!((known.name(), known.shape()), ("x", &[2, 3][..]));
        assert_eq!(known.data(), &TensorData::Fp64(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let unknown = npy_tensor(&body, None, "input").unwrap();
        assert_eq!((unknown.name(), unknown.datatype()), ("input", Datatype::Fp32));
        let row = saved("<f4", "True", "(3,)", &bytes(&[1.0, 2.0, 3.0]));
        let row = npy_tensor(&row, Some(&spec(Datatype::Fp32, &[-1, 3])), "input").unwrap();
        assert_eq!(row.shape(), [1, 3], "the batch may be implied");
        let lone = npy_tensor(&saved("|b1", "False", "()", &[1]), None, "input").unwrap();
        assert_eq!((lone.shape(), lone.data()), (&[][..], &TensorData::Bool(vec![true])));
    }

    #[test]
    fn later_versions_of_the_header_and_other_quotes_are_read() {
        let header = "{\"shape\": (1,), \"descr\": \"|u1\", \"fortran_order\": False}";
        let length = u32::try_from(header.len()).unwrap().to_le_bytes();
        let body = [MAGIC, &[3, 0], &length, header.as_bytes(), &[7]].concat();
        let read = npy_tensor(&body, None, "input").unwrap();
        assert_eq!(read.data(), &TensorData::Uint8(vec![7]));
    }

    #[test]
    fn what_is_no_such_array_is_refused_with_the_reason() {
        let refused = |body: &[u8]| npy_tensor(body, None, "input").unwrap_err().to_string();
        let of = |descr: &str, order: &str, shape: &str| saved(descr, order, shape, &[0; 16]);
        for (body, clue) in [
            (b"[[1]]".to_vec(), "it does not begin with"),
            (b"\x93NUMPY".to_vec(), "the header of the array ends early"),
            (b"\x93NUMPY\x04\x00".to_vec(), "version 4.0"),
            (b"\x93NUMPY\x01\x00\xff\x00{".to_vec(), "ends early"),
            (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{".to_vec(), "longer than 10000"),
            (of(">f4", "False", "(4,)"), "elements of type \">f4\""),
            (of("|O", "False", "(4,)"), "elements of type \"|O\""),
            (of("<f4", "True", "(2, 2)"), "column by column"),
            (of("<f4", "Perhaps", "(4,)"), "is not a dictionary"),
            (of("<f4", "False", "(4"), "is not a dictionary"),
            (of("<f4", "False", "(-4,)"), "is not a dictionary"),
            (of("<f4", "False", "(4,), 'more': 1"), "is not a dictionary"),
            (of("<f4", "False", "(5,)"), "expected 20 bytes, got 16"),
            (of("<f4", "False", "(99999999999, 99999999999)"), "too many elements"),
            (of("<f4", "False", &format!("({})", "1, ".repeat(33))), "at most 32 dimensions"),
        ] {
            let error = refused(&body);
            assert!(error.contains(clue), "{clue}: {error}");
        }
        let body = saved("<f4", "False", "(1, 2)", &bytes(&[0.5, 1.0]));
        let misfit =
            |spec: &[TensorSpec]| npy_tensor(&body, Some(spec), "input").unwrap_err().to_string();
        assert!(misfit(&spec(Datatype::Int64, &[-1, 2])).contains("element 0 is 0.5"));
        assert!(misfit(&spec(Datatype::Bytes, &[-1, 2])).contains("cannot be converted to BYTES"));
        assert!(misfit(&spec(Datatype::Fp32, &[-1, 3])).contains("has shape [1, 2]"));
        let two = [spec(Datatype::Fp32, &[-1]), spec(Datatype::Fp32, &[-1])].concat();
        assert!(misfit(&two).contains("values without names"));
    }

    proptest! {
        #[test]
        fn any_numbers_in_any_shape_come_back(rows in 0usize..5, columns in 0usize..5, seed: f32) {
            let values = vec![seed; rows * columns];
            let body = saved("<f4", "False", &format!("({rows}, {columns})"), &bytes(&values));
            let read = npy_tensor(&body, None, "input").expect("sound");
            prop_assert_eq!(read.shape(), [rows, columns]);
            let TensorData::Fp32(found) = read.data() else { panic!("floats") };
            prop_assert_eq!(bytes(found), bytes(&values), "bit by bit");
        }

        #[test]
        fn whatever_comes_is_read_or_refused(cut in 0usize..160, at in 0usize..128, byte: u8) {
            let mut body = saved("<f8", "False", "(1, 4)", &[9; 32]);
            body[at] = byte;
            body.truncate(cut);
            if let Err(error) = npy_tensor(&body, None, "input") {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
