//! The lists in which a message holds a tensor's data by its type.

use super::messages::InferTensorContents;
use crate::protocol::tensor::{Datatype, TensorData};

/// Lists that do not fit a datatype.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentsError {
    /// Another list than that of the datatype is filled.
    #[error("{datatype} is sent in {expected}, but {found} is filled")]
    WrongList {
        /// The declared datatype.
        datatype: Datatype,
        /// Its list.
        expected: &'static str,
        /// The list that is filled.
        found: &'static str,
    },
    /// A datatype that has no list.
    #[error("{0} is sent in raw contents only")]
    RawOnly(Datatype),
    /// A number outside of the datatype's range.
    #[error("element {element} is {value}, which is out of range for {datatype}")]
    OutOfRange {
        /// The element, from 0.
        element: usize,
        /// What it is.
        value: i64,
        /// The declared datatype.
        datatype: Datatype,
    },
}

/// The list of a datatype, `None` for those that have none.
const fn list_of(datatype: Datatype) -> Option<&'static str> {
    Some(match datatype {
        Datatype::Bool => "bool_contents",
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => "int_contents",
        Datatype::Int64 => "int64_contents",
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => "uint_contents",
        Datatype::Uint64 => "uint64_contents",
        Datatype::Fp32 => "fp32_contents",
        Datatype::Fp64 => "fp64_contents",
        Datatype::Bytes => "bytes_contents",
        Datatype::Fp16 | Datatype::Bf16 => return None,
    })
}

/// The lists by name, with the number of their elements.
fn lists(contents: &InferTensorContents) -> [(&'static str, usize); 8] {
    [
        ("bool_contents", contents.bool_contents.len()),
        ("int_contents", contents.int_contents.len()),
        ("int64_contents", contents.int64_contents.len()),
        ("uint_contents", contents.uint_contents.len()),
        ("uint64_contents", contents.uint64_contents.len()),
        ("fp32_contents", contents.fp32_contents.len()),
        ("fp64_contents", contents.fp64_contents.len()),
        ("bytes_contents", contents.bytes_contents.len()),
    ]
}

/// Whether any list is filled.
pub(super) fn is_set(contents: &InferTensorContents) -> bool {
    lists(contents).iter().any(|&(_, length)| length > 0)
}

/// Takes the list of `datatype`.
pub(super) fn read(
    datatype: Datatype,
    contents: InferTensorContents,
) -> Result<TensorData, ContentsError> {
    let expected = list_of(datatype).ok_or(ContentsError::RawOnly(datatype))?;
    let other = |&&(list, length): &&(&'static str, usize)| length > 0 && list != expected;
    if let Some(&(found, _)) = lists(&contents).iter().find(other) {
        return Err(ContentsError::WrongList { datatype, expected, found });
    }
    Ok(match datatype {
        Datatype::Bool => TensorData::Bool(contents.bool_contents),
        Datatype::Int8 => TensorData::Int8(narrowed(contents.int_contents, datatype)?),
        Datatype::Int16 => TensorData::Int16(narrowed(contents.int_contents, datatype)?),
        Datatype::Int32 => TensorData::Int32(contents.int_contents),
        Datatype::Int64 => TensorData::Int64(contents.int64_contents),
        Datatype::Uint8 => TensorData::Uint8(narrowed(contents.uint_contents, datatype)?),
        Datatype::Uint16 => TensorData::Uint16(narrowed(contents.uint_contents, datatype)?),
        Datatype::Uint32 => TensorData::Uint32(contents.uint_contents),
        Datatype::Uint64 => TensorData::Uint64(contents.uint64_contents),
        Datatype::Fp32 => TensorData::Fp32(contents.fp32_contents),
        Datatype::Fp64 => TensorData::Fp64(contents.fp64_contents),
        Datatype::Bytes => TensorData::Bytes(contents.bytes_contents),
        Datatype::Fp16 | Datatype::Bf16 => return Err(ContentsError::RawOnly(datatype)),
    })
}

/// Elements of a list that is wider than their datatype.
fn narrowed<T, U>(values: Vec<T>, datatype: Datatype) -> Result<Vec<U>, ContentsError>
where
    T: Copy + Into<i64>,
    U: TryFrom<T>,
{
    let narrow = |(element, value): (usize, T)| {
        let out_of_range = |_| ContentsError::OutOfRange { element, value: value.into(), datatype };
        U::try_from(value).map_err(out_of_range)
    };
    values.into_iter().enumerate().map(narrow).collect()
}

/// Fills the list of the data's type. FP16 and BF16, which have none, leave all empty: their tensors are
/// sent in raw contents.
pub(super) fn write(data: TensorData) -> InferTensorContents {
    let mut contents = InferTensorContents::default();
    match data {
        TensorData::Bool(values) => contents.bool_contents = values,
        TensorData::Int8(values) => contents.int_contents = widened(values),
        TensorData::Int16(values) => contents.int_contents = widened(values),
        TensorData::Int32(values) => contents.int_contents = values,
        TensorData::Int64(values) => contents.int64_contents = values,
        TensorData::Uint8(values) => contents.uint_contents = widened(values),
        TensorData::Uint16(values) => contents.uint_contents = widened(values),
        TensorData::Uint32(values) => contents.uint_contents = values,
        TensorData::Uint64(values) => contents.uint64_contents = values,
        TensorData::Fp32(values) => contents.fp32_contents = values,
        TensorData::Fp64(values) => contents.fp64_contents = values,
        TensorData::Bytes(values) => contents.bytes_contents = values,
        TensorData::Fp16(_) | TensorData::Bf16(_) => {}
    }
    contents
}

fn widened<T: Into<U>, U>(values: Vec<T>) -> Vec<U> {
    values.into_iter().map(Into::into).collect()
}
