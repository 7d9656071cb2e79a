//! Reads the elements of a tensor, whatever their datatype.

use super::decimal::Decimal;
use super::{DecodeError, DecodeErrorKind, Number, Reader, Token};
use crate::protocol::shown::shortened;
use crate::protocol::tensor::{Datatype, TensorData};

/// Reads an array, flattened or nested in any way, as elements of `datatype`; `null` is NaN for a float, as writers
/// put it that keep to RFC 8259, and nothing else. Makes room for as many as
/// `shape` says, but never for more than the rest of the document can hold (two bytes an element); how
/// many there are is left to the caller.
///
/// # Errors
/// When it is not an array of such elements.
pub fn read_elements(
    reader: &mut Reader<'_>,
    datatype: Datatype,
    shape: &[usize],
) -> Result<TensorData, DecodeError> {
    let declared = shape.iter().fold(1usize, |count, &dim| count.saturating_mul(dim));
    let room = declared.min(reader.remaining() / 2 + 1);
    Ok(match datatype {
        Datatype::Bool => TensorData::Bool(read_each(reader, room, read_bool)?),
        Datatype::Uint8 => TensorData::Uint8(read_integers(reader, room, datatype)?),
        Datatype::Uint16 => TensorData::Uint16(read_integers(reader, room, datatype)?),
        Datatype::Uint32 => TensorData::Uint32(read_integers(reader, room, datatype)?),
        Datatype::Uint64 => TensorData::Uint64(read_integers(reader, room, datatype)?),
        Datatype::Int8 => TensorData::Int8(read_integers(reader, room, datatype)?),
        Datatype::Int16 => TensorData::Int16(read_integers(reader, room, datatype)?),
        Datatype::Int32 => TensorData::Int32(read_integers(reader, room, datatype)?),
        Datatype::Int64 => TensorData::Int64(read_integers(reader, room, datatype)?),
        Datatype::Fp32 => {
            TensorData::Fp32(read_numbers(reader, room, |decimal| decimal.to_f32(), read_f32)?)
        }
        Datatype::Fp64 => {
            TensorData::Fp64(read_numbers(reader, room, |decimal| decimal.to_f64(), read_f64)?)
        }
        Datatype::Bytes => TensorData::Bytes(read_each(reader, room, read_bytes)?),
        Datatype::Fp16 | Datatype::Bf16 => {
            return Err(DecodeError::new(reader.offset(), DecodeErrorKind::NoJsonForm(datatype)));
        }
    })
}

/// Reads elements one by one.
fn read_each<T>(
    reader: &mut Reader<'_>,
    room: usize,
    read: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut values = Vec::with_capacity(room);
    reader.flattened_into(&mut values, |_reader, _values| 0, read)?;
    Ok(values)
}

/// Reads numbers the fast way as long as that goes, and those that it does not take the slow way.
fn read_numbers<T>(
    reader: &mut Reader<'_>,
    room: usize,
    fast: impl Fn(Decimal<'_>) -> Option<T>,
    slow: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut values = Vec::with_capacity(room);
    reader.flattened_into(
        &mut values,
        |reader, values| reader.quick_numbers(values, &fast),
        |reader| reader.quick_number(&fast).map_or_else(|| slow(reader), Ok),
    )?;
    Ok(values)
}

fn read_integers<T: std::str::FromStr + TryFrom<i128>>(
    reader: &mut Reader<'_>,
    room: usize,
    datatype: Datatype,
) -> Result<Vec<T>, DecodeError> {
    read_numbers(
        reader,
        room,
        |decimal| decimal.to_integer(),
        |reader| {
            let start = reader.offset();
            match expect_number(reader, datatype)? {
                Number::Integer("-0") => "0".parse().ok(),
                Number::Integer(text) => text.parse().ok(),
                Number::Fraction(text) if reader.is_lenient() => whole(text),
                Number::Fraction(_) => return Err(wrong(start, datatype, "a fraction")),
                Number::Nan | Number::Infinity | Number::NegativeInfinity => {
                    return Err(wrong(start, datatype, "NaN or an infinity"));
                }
            }
            .ok_or_else(|| out_of_range(reader, start, datatype))
        },
    )
}

/// The integer that a number with a fraction or an exponent is, as in `1.0`.
fn whole<T: TryFrom<i128>>(text: &str) -> Option<T> {
    // Beyond, neighbouring integers are the same number.
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    let number: f64 = text.parse().ok()?;
    let is_whole = number.fract() == 0.0 && number.abs() <= LIMIT;
    is_whole.then(|| T::try_from(number as i128).ok()).flatten()
}

fn read_f32(reader: &mut Reader<'_>) -> Result<f32, DecodeError> {
    let start = reader.offset();
    if reader.null()? {
        return Ok(f32::NAN);
    }
    let value = match expect_number(reader, Datatype::Fp32)? {
        Number::Integer(text) | Number::Fraction(text) => {
            let value = text.parse().unwrap_or(f32::NAN);
            // Beyond f32 but within f64 is an infinity, as for Triton; beyond both is a mistake.
            let beyond = f32::is_infinite(value) && text.parse().is_ok_and(f64::is_infinite);
            if beyond { None } else { Some(value) }
        }
        Number::Nan => Some(f32::NAN),
        Number::Infinity => Some(f32::INFINITY),
        Number::NegativeInfinity => Some(f32::NEG_INFINITY),
    };
    value.ok_or_else(|| out_of_range(reader, start, Datatype::Fp32))
}

fn read_f64(reader: &mut Reader<'_>) -> Result<f64, DecodeError> {
    let start = reader.offset();
    if reader.null()? {
        return Ok(f64::NAN);
    }
    let value = match expect_number(reader, Datatype::Fp64)? {
        Number::Integer(text) | Number::Fraction(text) => {
            text.parse().ok().filter(|value: &f64| value.is_finite())
        }
        Number::Nan => Some(f64::NAN),
        Number::Infinity => Some(f64::INFINITY),
        Number::NegativeInfinity => Some(f64::NEG_INFINITY),
    };
    value.ok_or_else(|| out_of_range(reader, start, Datatype::Fp64))
}

fn read_bool(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    expect_element(reader, Datatype::Bool, Token::Boolean)?;
    reader.boolean()
}

fn read_bytes(reader: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    expect_element(reader, Datatype::Bytes, Token::String)?;
    reader.string().map(|text| text.into_owned().into_bytes())
}

fn expect_number<'a>(
    reader: &mut Reader<'a>,
    datatype: Datatype,
) -> Result<Number<'a>, DecodeError> {
    expect_element(reader, datatype, Token::Number)?;
    reader.number()
}

fn expect_element(
    reader: &mut Reader<'_>,
    datatype: Datatype,
    expected: Token,
) -> Result<(), DecodeError> {
    let found = reader.peek()?;
    if found == expected { Ok(()) } else { Err(wrong(reader.offset(), datatype, found.name())) }
}

#[cold]
fn wrong(offset: usize, datatype: Datatype, found: &'static str) -> DecodeError {
    DecodeError::new(offset, DecodeErrorKind::WrongElement { datatype, found })
}

/// An error about the number that ended where `reader` is.
#[cold]
pub(in crate::protocol) fn out_of_range(
    reader: &Reader<'_>,
    start: usize,
    datatype: Datatype,
) -> DecodeError {
    let text = shortened(String::from_utf8_lossy(reader.read_since(start)).trim());
    DecodeError::new(start, DecodeErrorKind::OutOfRange { text, datatype })
}
