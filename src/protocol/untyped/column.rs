//! The values of one tensor, gathered row by row.
//!
//! Owns how one JSON value or one CSV field becomes an element of a datatype, and which datatype a
//! column without a declared one has.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use half::{bf16, f16};

use super::ValueError;
use super::shape::{ValueShape, read_nested};
use super::whole::{Whole, whole};
use crate::protocol::json::{DecodeError, DecodeErrorKind, Number, Reader, Token, out_of_range};
use crate::protocol::shown::shortened;
use crate::protocol::tensor::{Datatype, TensorData};

/// The key of an object that stands for bytes.
pub(super) const BASE64_KEY: &str = "b64";

/// Standard base64; padding may be absent, as some clients leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One tensor in the making.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// The dimensions that the model declares, if it does.
    pub(super) declared: Option<Vec<i64>>,
    pub(super) shape: ValueShape,
    /// The number of values that were read.
    pub(super) rows: usize,
    pub(super) sink: Sink,
}

/// Where the elements go.
#[derive(Debug)]
pub(super) enum Sink {
    /// Into a tensor.
    Typed(TensorData),
    /// Nowhere; they only tell a datatype.
    Guess(Guess),
}

impl Column {
    pub(super) fn new(name: impl Into<String>, declared: Option<Vec<i64>>, sink: Sink) -> Self {
        Self { name: name.into(), declared, shape: ValueShape::default(), rows: 0, sink }
    }

    /// Reads one value, which may be an array of arrays.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        self.read_at(reader, 0)?;
        self.rows += 1;
        Ok(())
    }

    /// Reads a part of a value that stands `level` arrays deep in it.
    pub(super) fn read_at(
        &mut self,
        reader: &mut Reader<'_>,
        level: usize,
    ) -> Result<(), DecodeError> {
        let shape = &mut self.shape;
        /// Pushes what `$read` reads.
        macro_rules! each {
            ($values:ident, $read:expr) => {
                read_nested(reader, shape, level, &mut |reader| {
                    $values.push($read(reader)?);
                    Ok(())
                })
            };
        }
        match &mut self.sink {
            Sink::Guess(guess) => {
                read_nested(reader, shape, level, &mut |reader| guess.see(reader))
            }
            Sink::Typed(data) => match data {
                TensorData::Bool(values) => each!(values, read_bool),
                TensorData::Uint8(values) => each!(values, |r| read_integer(r, Datatype::Uint8)),
                TensorData::Uint16(values) => each!(values, |r| read_integer(r, Datatype::Uint16)),
                TensorData::Uint32(values) => each!(values, |r| read_integer(r, Datatype::Uint32)),
                TensorData::Uint64(values) => each!(values, |r| read_integer(r, Datatype::Uint64)),
                TensorData::Int8(values) => each!(values, |r| read_integer(r, Datatype::Int8)),
                TensorData::Int16(values) => each!(values, |r| read_integer(r, Datatype::Int16)),
                TensorData::Int32(values) => each!(values, |r| read_integer(r, Datatype::Int32)),
                TensorData::Int64(values) => each!(values, |r| read_integer(r, Datatype::Int64)),
                TensorData::Fp16(values) => {
                    each!(values, |r| read_f32(r, Datatype::Fp16).map(f16::from_f32))
                }
                TensorData::Bf16(values) => {
                    each!(values, |r| read_f32(r, Datatype::Bf16).map(bf16::from_f32))
                }
                TensorData::Fp32(values) => each!(values, |r| read_f32(r, Datatype::Fp32)),
                TensorData::Fp64(values) => each!(values, read_f64),
                TensorData::Bytes(values) => each!(values, read_bytes),
            },
        }
    }

    /// Takes one field of CSV, an element that stands `level` arrays deep in its value.
    pub(super) fn take_field(&mut self, field: &str, level: usize) -> Result<(), ValueError> {
        self.shape.element(level)?;
        let text = field.trim();
        let wrong = |datatype| ValueError::Field { field: shortened(field), datatype };
        /// Pushes what the field says, or fails.
        macro_rules! parsed {
            ($values:ident, $datatype:ident) => {
                $values.push(field_integer(text).ok_or_else(|| wrong(Datatype::$datatype))?)
            };
        }
        match &mut self.sink {
            Sink::Guess(guess) => guess.see_field(text)?,
            Sink::Typed(data) => match data {
                TensorData::Bool(values) => {
                    values.push(field_bool(text).ok_or_else(|| wrong(Datatype::Bool))?);
                }
                TensorData::Uint8(values) => parsed!(values, Uint8),
                TensorData::Uint16(values) => parsed!(values, Uint16),
                TensorData::Uint32(values) => parsed!(values, Uint32),
                TensorData::Uint64(values) => parsed!(values, Uint64),
                TensorData::Int8(values) => parsed!(values, Int8),
                TensorData::Int16(values) => parsed!(values, Int16),
                TensorData::Int32(values) => parsed!(values, Int32),
                TensorData::Int64(values) => parsed!(values, Int64),
                TensorData::Fp16(values) => {
                    values.push(f16::from_f32(
                        field_float(text).ok_or_else(|| wrong(Datatype::Fp16))?,
                    ));
                }
                TensorData::Bf16(values) => {
                    values.push(bf16::from_f32(
                        field_float(text).ok_or_else(|| wrong(Datatype::Bf16))?,
                    ));
                }
                TensorData::Fp32(values) => {
                    values.push(field_float(text).ok_or_else(|| wrong(Datatype::Fp32))?);
                }
                TensorData::Fp64(values) => {
                    values.push(field_float(text).ok_or_else(|| wrong(Datatype::Fp64))?);
                }
                TensorData::Bytes(values) => values.push(field.as_bytes().to_vec()),
            },
        }
        Ok(())
    }
}

/// No elements yet.
pub(super) fn empty(datatype: Datatype) -> TensorData {
    match datatype {
        Datatype::Bool => TensorData::Bool(vec![]),
        Datatype::Uint8 => TensorData::Uint8(vec![]),
        Datatype::Uint16 => TensorData::Uint16(vec![]),
        Datatype::Uint32 => TensorData::Uint32(vec![]),
        Datatype::Uint64 => TensorData::Uint64(vec![]),
        Datatype::Int8 => TensorData::Int8(vec![]),
        Datatype::Int16 => TensorData::Int16(vec![]),
        Datatype::Int32 => TensorData::Int32(vec![]),
        Datatype::Int64 => TensorData::Int64(vec![]),
        Datatype::Fp16 => TensorData::Fp16(vec![]),
        Datatype::Bf16 => TensorData::Bf16(vec![]),
        Datatype::Fp32 => TensorData::Fp32(vec![]),
        Datatype::Fp64 => TensorData::Fp64(vec![]),
        Datatype::Bytes => TensorData::Bytes(vec![]),
    }
}

/// What the elements of a column without a declared datatype have been so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Guess {
    kind: Option<Kind>,
    nulls: bool,
    /// The smallest type that holds all integers so far.
    integers: Integers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integer,
    Float,
    Boolean,
    Text,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Integer | Self::Float => "a number",
            Self::Boolean => "a boolean",
            Self::Text => "a string",
        }
    }
}

/// What integers a column has.
#[derive(Debug, Clone, Copy, Default)]
struct Integers {
    negative: bool,
    beyond_i64: bool,
    beyond_u64: bool,
}

impl Guess {
    fn see(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let start = reader.offset();
        let seen = match reader.peek()? {
            Token::Null => reader.null().map(|_| None)?,
            Token::Boolean => reader.boolean().map(|_| Some(Kind::Boolean))?,
            Token::String => reader.string().map(|_| Some(Kind::Text))?,
            Token::Object => read_base64(reader).map(|_| Some(Kind::Text))?,
            Token::Number => match reader.number()? {
                Number::Integer(text) => {
                    self.integers.see(text);
                    Some(Kind::Integer)
                }
                Number::Fraction(_) | Number::Nan | Number::Infinity | Number::NegativeInfinity => {
                    Some(Kind::Float)
                }
            },
            found @ Token::Array => {
                let kind = DecodeErrorKind::WrongType { expected: "a value", found: found.name() };
                return Err(DecodeError::new(start, kind));
            }
        };
        self.add(seen).map_err(|error| DecodeError::new(start, error))
    }

    /// Sees a field of CSV; an empty one is a missing value.
    fn see_field(&mut self, text: &str) -> Result<(), ValueError> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let seen = if text.is_empty() {
            None
        } else if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            self.integers.see(text);
            Some(Kind::Integer)
        } else if text.parse::<f64>().is_ok() {
            Some(Kind::Float)
        } else if field_bool(text).is_some() {
            Some(Kind::Boolean)
        } else {
            Some(Kind::Text)
        };
        self.add(seen)
    }

    fn add(&mut self, seen: Option<Kind>) -> Result<(), ValueError> {
        let Some(seen) = seen else {
            self.nulls = true;
            return match self.kind {
                Some(Kind::Boolean | Kind::Text) => Err(ValueError::Null),
                Some(Kind::Integer | Kind::Float) | None => Ok(()),
            };
        };
        self.kind = Some(match (self.kind, seen) {
            (None, Kind::Boolean | Kind::Text) if self.nulls => return Err(ValueError::Null),
            (None, seen) => seen,
            (Some(kind), seen) if kind == seen => kind,
            (Some(Kind::Integer | Kind::Float), Kind::Integer | Kind::Float) => Kind::Float,
            (Some(kind), seen) => {
                return Err(ValueError::Mixed { expected: kind.name(), found: seen.name() });
            }
        });
        Ok(())
    }

    /// The datatype that holds all of them: the widest of its kind, so that nothing is lost.
    pub(super) const fn datatype(self) -> Datatype {
        match self.kind {
            Some(Kind::Boolean) => Datatype::Bool,
            Some(Kind::Text) => Datatype::Bytes,
            Some(Kind::Integer) if !self.nulls => self.integers.datatype(),
            Some(Kind::Integer | Kind::Float) | None => Datatype::Fp64,
        }
    }
}

impl Integers {
    fn see(&mut self, text: &str) {
        self.negative |= text.starts_with('-') && text != "-0";
        self.beyond_i64 |= text.parse::<i64>().is_err();
        self.beyond_u64 |= self.beyond_i64 && !self.negative && text.parse::<u64>().is_err();
    }

    const fn datatype(self) -> Datatype {
        match self {
            Self { beyond_i64: false, .. } => Datatype::Int64,
            Self { beyond_u64: false, negative: false, .. } => Datatype::Uint64,
            Self { .. } => Datatype::Fp64,
        }
    }
}

fn read_bool(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    expect(reader, Datatype::Bool, Token::Boolean)?;
    reader.boolean()
}

/// Reads a string, or an object that stands for bytes.
fn read_bytes(reader: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    if reader.peek()? == Token::Object {
        return read_base64(reader);
    }
    expect(reader, Datatype::Bytes, Token::String)?;
    reader.string().map(|text| text.into_owned().into_bytes())
}

/// Reads `{"b64":"…"}`.
fn read_base64(reader: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    let start = reader.offset();
    let mut bytes = None;
    reader.object(|reader, key| {
        let start = reader.offset();
        if key != BASE64_KEY || bytes.is_some() {
            return Err(DecodeError::new(start, ValueError::Object));
        }
        let text = reader.string()?;
        let decoded = BASE64.decode(text.as_bytes());
        bytes = Some(decoded.map_err(|_error| DecodeError::new(start, ValueError::Base64))?);
        Ok(())
    })?;
    bytes.ok_or_else(|| DecodeError::new(start, ValueError::Object))
}

/// Reads an integer; a fraction that is zero is let pass, as languages without integers write one.
fn read_integer<T: std::str::FromStr + TryFrom<i128>>(
    reader: &mut Reader<'_>,
    datatype: Datatype,
) -> Result<T, DecodeError> {
    expect(reader, datatype, Token::Number)?;
    let start = reader.offset();
    let value = match reader.number()? {
        Number::Integer("-0") => "0".parse().ok(),
        Number::Integer(text) => text.parse().ok(),
        Number::Fraction(text) => match whole(text) {
            Some(Whole::Integer(value)) => T::try_from(value).ok(),
            Some(Whole::Beyond) => None,
            Some(Whole::Fraction) | None => {
                let error = ValueError::Fraction { text: shortened(text), datatype };
                return Err(DecodeError::new(start, error));
            }
        },
        Number::Nan | Number::Infinity | Number::NegativeInfinity => {
            return Err(wrong(start, datatype, "NaN or an infinity"));
        }
    };
    value.ok_or_else(|| out_of_range(reader, start, datatype))
}

/// A field of CSV as an integer, as [`read_integer`] would take it.
fn field_integer<T: std::str::FromStr + TryFrom<i128>>(text: &str) -> Option<T> {
    text.parse().ok().or_else(|| match whole(text)? {
        Whole::Integer(value) => T::try_from(value).ok(),
        Whole::Beyond | Whole::Fraction => None,
    })
}

/// Reads a float that `f32` can hold; what is beyond it but within a double is an infinity.
fn read_f32(reader: &mut Reader<'_>, datatype: Datatype) -> Result<f32, DecodeError> {
    let start = reader.offset();
    let value = match float(reader, datatype)? {
        Float::Text(text) => {
            let value = text.parse().unwrap_or(f32::NAN);
            let beyond = f32::is_infinite(value) && text.parse().is_ok_and(f64::is_infinite);
            if beyond { None } else { Some(value) }
        }
        Float::Special(value) => Some(value as f32),
    };
    value.ok_or_else(|| out_of_range(reader, start, datatype))
}

fn read_f64(reader: &mut Reader<'_>) -> Result<f64, DecodeError> {
    let start = reader.offset();
    let value = match float(reader, Datatype::Fp64)? {
        Float::Text(text) => text.parse().ok().filter(|value: &f64| value.is_finite()),
        Float::Special(value) => Some(value),
    };
    value.ok_or_else(|| out_of_range(reader, start, Datatype::Fp64))
}

/// A float as it was written.
enum Float<'a> {
    Text(&'a str),
    Special(f64),
}

/// Reads a float; `null` is NaN, the one way to write a missing value that strict JSON has.
fn float<'a>(reader: &mut Reader<'a>, datatype: Datatype) -> Result<Float<'a>, DecodeError> {
    if reader.peek()? == Token::Null {
        return reader.null().map(|_| Float::Special(f64::NAN));
    }
    expect(reader, datatype, Token::Number)?;
    Ok(match reader.number()? {
        Number::Integer(text) | Number::Fraction(text) => Float::Text(text),
        Number::Nan => Float::Special(f64::NAN),
        Number::Infinity => Float::Special(f64::INFINITY),
        Number::NegativeInfinity => Float::Special(f64::NEG_INFINITY),
    })
}

fn expect(reader: &mut Reader<'_>, datatype: Datatype, expected: Token) -> Result<(), DecodeError> {
    let found = reader.peek()?;
    if found == expected { Ok(()) } else { Err(wrong(reader.offset(), datatype, found.name())) }
}

#[cold]
fn wrong(offset: usize, datatype: Datatype, found: &'static str) -> DecodeError {
    DecodeError::new(offset, DecodeErrorKind::WrongElement { datatype, found })
}

/// A field of CSV as a float; an empty one is a missing value.
fn field_float<T: std::str::FromStr + From<f32>>(text: &str) -> Option<T> {
    if text.is_empty() { Some(T::from(f32::NAN)) } else { text.parse().ok() }
}

/// A field of CSV as a boolean.
fn field_bool(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}
