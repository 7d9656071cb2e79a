//! Decodes an inference request.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::protocol::infer::{InferRequest, Parameter, Parameters, RequestedOutput};
use crate::protocol::json::{DecodeError, DecodeErrorKind, Number, Reader, Token};
use crate::protocol::tensor::{Datatype, Shape, Tensor, TensorData};

/// Decodes the body of `POST …/infer`.
///
/// # Errors
/// When it is not a request of this protocol; every such error is the client's.
pub fn decode_infer_request(body: &[u8]) -> Result<InferRequest<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let (mut id, mut parameters, mut inputs, mut outputs) = (None, None, None, None);
    reader.object(|reader, key| match key {
        "id" => once("id", reader, &mut id, |reader| reader.string()),
        "parameters" => once("parameters", reader, &mut parameters, read_parameters),
        "inputs" => once("inputs", reader, &mut inputs, read_inputs),
        "outputs" => once("outputs", reader, &mut outputs, read_outputs),
        _ => reader.skip(),
    })?;
    reader.end()?;
    let inputs = inputs
        .ok_or_else(|| DecodeError::new(body.len(), DecodeErrorKind::MissingKey("inputs")))?;
    Ok(InferRequest {
        id,
        parameters: parameters.unwrap_or_default(),
        inputs,
        outputs: outputs.unwrap_or_default(),
    })
}

/// Reads the value of a key that may stand once; `null` counts as absent, as some clients send it.
pub(in crate::protocol) fn once<'a, T>(
    key: &'static str,
    reader: &mut Reader<'a>,
    slot: &mut Option<T>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<(), DecodeError> {
    if slot.is_some() {
        return Err(DecodeError::new(reader.offset(), DecodeErrorKind::DuplicateKey(key)));
    }
    if !reader.null()? {
        *slot = Some(read(reader)?);
    }
    Ok(())
}

fn read_inputs(reader: &mut Reader<'_>) -> Result<Vec<Tensor>, DecodeError> {
    let mut inputs = Vec::with_capacity(1);
    reader.array(|reader| {
        inputs.push(read_input(reader)?);
        Ok(())
    })?;
    Ok(inputs)
}

/// Where the data of an input stands, when it came before the datatype.
struct Deferred<'a>(Reader<'a>);

/// Reads one input. Data that comes after shape and datatype, as all clients send it, is read in one
/// pass; data that comes earlier is skipped and read afterwards.
fn read_input(reader: &mut Reader<'_>) -> Result<Tensor, DecodeError> {
    let start = reader.offset();
    let (mut name, mut shape, mut datatype) = (None, None, None);
    let (mut data, mut deferred, mut parameters) = (None, None, None);
    reader.object(|reader, key| match key {
        "name" => once("name", reader, &mut name, |reader| reader.string()),
        "shape" => once("shape", reader, &mut shape, read_shape),
        "datatype" => once("datatype", reader, &mut datatype, read_datatype),
        "parameters" => once("parameters", reader, &mut parameters, read_parameters),
        "data" => match (datatype, &shape) {
            (Some(datatype), Some(shape)) if deferred.is_none() => {
                once("data", reader, &mut data, |reader| read_data(reader, datatype, shape))
            }
            _ if data.is_some() => {
                Err(DecodeError::new(reader.offset(), DecodeErrorKind::DuplicateKey("data")))
            }
            _ => once("data", reader, &mut deferred, |reader| {
                let here = Deferred(reader.clone());
                reader.skip().map(|()| here)
            }),
        },
        _ => reader.skip(),
    })?;
    let missing = |key| move || DecodeError::new(start, DecodeErrorKind::MissingKey(key));
    let name = name.ok_or_else(missing("name"))?;
    let datatype: Datatype = datatype.ok_or_else(missing("datatype"))?;
    let shape: Shape = shape.ok_or_else(missing("shape"))?;
    if let Some(Deferred(mut reader)) = deferred {
        data = Some(read_data(&mut reader, datatype, &shape).map_err(|e| e.in_key("data"))?);
    }
    let Some(data) = data else {
        return Err(without_data(start, &parameters.unwrap_or_default()));
    };
    Tensor::new(name, shape, data).map_err(|e| DecodeError::new(start, e).in_key("data"))
}

/// Says why there is no data, when the input's parameters tell.
fn without_data(start: usize, parameters: &[(Cow<'_, str>, Parameter<'_>)]) -> DecodeError {
    let has = |prefix: &str| parameters.iter().any(|(key, _)| key.starts_with(prefix));
    let kind = if has("binary_data_size") {
        DecodeErrorKind::Unsupported(
            "the binary tensor data extension is not supported; send the values as JSON in \"data\"",
        )
    } else if has("shared_memory_") {
        DecodeErrorKind::Unsupported(
            "shared memory is not supported; send the values as JSON in \"data\"",
        )
    } else {
        DecodeErrorKind::MissingKey("data")
    };
    DecodeError::new(start, kind)
}

fn read_shape(reader: &mut Reader<'_>) -> Result<Shape, DecodeError> {
    let mut shape = Shape::new();
    reader.array(|reader| {
        let start = reader.offset();
        let dim = match reader.number()? {
            Number::Integer(text) => text.parse().ok(),
            Number::Fraction(_) | Number::Nan | Number::Infinity | Number::NegativeInfinity => None,
        };
        let invalid = || DecodeError::new(start, DecodeErrorKind::InvalidDimension);
        shape.push(dim.ok_or_else(invalid)?);
        Ok(())
    })?;
    Ok(shape)
}

fn read_datatype(reader: &mut Reader<'_>) -> Result<Datatype, DecodeError> {
    let start = reader.offset();
    let name = reader.string()?;
    Datatype::parse(&name).ok_or_else(|| {
        let shown = name.chars().take(TEXT_SHOWN).collect();
        DecodeError::new(start, DecodeErrorKind::UnknownDatatype(shown))
    })
}

fn read_outputs<'a>(reader: &mut Reader<'a>) -> Result<Vec<RequestedOutput<'a>>, DecodeError> {
    let mut outputs = Vec::new();
    reader.array(|reader| {
        let start = reader.offset();
        let (mut name, mut parameters) = (None, None);
        reader.object(|reader, key| match key {
            "name" => once("name", reader, &mut name, |reader| reader.string()),
            "parameters" => once("parameters", reader, &mut parameters, read_parameters),
            _ => reader.skip(),
        })?;
        let parameters: Parameters<'a> = parameters.unwrap_or_default();
        if parameters.iter().any(|(key, _)| key == "classification") {
            let kind =
                DecodeErrorKind::Unsupported("the classification extension is not supported");
            return Err(DecodeError::new(start, kind));
        }
        let missing = || DecodeError::new(start, DecodeErrorKind::MissingKey("name"));
        outputs.push(RequestedOutput { name: name.ok_or_else(missing)?, parameters });
        Ok(())
    })?;
    Ok(outputs)
}

pub(in crate::protocol) fn read_parameters<'a>(
    reader: &mut Reader<'a>,
) -> Result<Parameters<'a>, DecodeError> {
    let mut parameters = Parameters::new();
    reader.object(|reader, key| {
        let start = reader.offset();
        let value = match reader.peek()? {
            Token::String => Parameter::String(reader.string()?),
            Token::Boolean => Parameter::Boolean(reader.boolean()?),
            Token::Number => number_parameter(reader.number()?),
            token @ (Token::Null | Token::Array | Token::Object) => {
                return Err(DecodeError::new(
                    start,
                    DecodeErrorKind::InvalidParameter(token.name()),
                ));
            }
        };
        parameters.push((Cow::Owned(key.to_owned()), value));
        Ok(())
    })?;
    Ok(parameters)
}

fn number_parameter(number: Number<'_>) -> Parameter<'static> {
    match number {
        Number::Integer(text) => match (text.parse(), text.parse()) {
            (Ok(integer), _) => Parameter::Integer(integer),
            (Err(_beyond), Ok(integer)) => Parameter::Unsigned(integer),
            (Err(_), Err(_)) => Parameter::Number(text.parse().unwrap_or(f64::NAN)),
        },
        Number::Fraction(text) => Parameter::Number(text.parse().unwrap_or(f64::NAN)),
        Number::Nan => Parameter::Number(f64::NAN),
        Number::Infinity => Parameter::Number(f64::INFINITY),
        Number::NegativeInfinity => Parameter::Number(f64::NEG_INFINITY),
    }
}

/// Reads the elements, and makes room for as many as the shape says, but never for more than the rest
/// of the body can hold (two bytes an element).
fn read_data(
    reader: &mut Reader<'_>,
    datatype: Datatype,
    shape: &[usize],
) -> Result<TensorData, DecodeError> {
    let declared = shape.iter().fold(1usize, |count, &dim| count.saturating_mul(dim));
    let room = declared.min(reader.remaining() / 2 + 1);
    Ok(match datatype {
        Datatype::Bool => TensorData::Bool(read_elements(reader, room, read_bool)?),
        Datatype::Uint8 => TensorData::Uint8(read_integers(reader, room, datatype)?),
        Datatype::Uint16 => TensorData::Uint16(read_integers(reader, room, datatype)?),
        Datatype::Uint32 => TensorData::Uint32(read_integers(reader, room, datatype)?),
        Datatype::Uint64 => TensorData::Uint64(read_integers(reader, room, datatype)?),
        Datatype::Int8 => TensorData::Int8(read_integers(reader, room, datatype)?),
        Datatype::Int16 => TensorData::Int16(read_integers(reader, room, datatype)?),
        Datatype::Int32 => TensorData::Int32(read_integers(reader, room, datatype)?),
        Datatype::Int64 => TensorData::Int64(read_integers(reader, room, datatype)?),
        Datatype::Fp32 => TensorData::Fp32(read_elements(reader, room, read_f32)?),
        Datatype::Fp64 => TensorData::Fp64(read_elements(reader, room, read_f64)?),
        Datatype::Bytes => TensorData::Bytes(read_elements(reader, room, read_bytes)?),
        Datatype::Fp16 | Datatype::Bf16 => {
            return Err(DecodeError::new(reader.offset(), DecodeErrorKind::NoJsonForm(datatype)));
        }
    })
}

fn read_elements<T>(
    reader: &mut Reader<'_>,
    room: usize,
    read: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut values = Vec::with_capacity(room);
    reader.flattened(|reader| {
        values.push(read(reader)?);
        Ok(())
    })?;
    Ok(values)
}

fn read_integers<T: std::str::FromStr>(
    reader: &mut Reader<'_>,
    room: usize,
    datatype: Datatype,
) -> Result<Vec<T>, DecodeError> {
    read_elements(reader, room, |reader| {
        let start = reader.offset();
        match expect_number(reader, datatype)? {
            Number::Integer("-0") => "0".parse().ok(),
            Number::Integer(text) => text.parse().ok(),
            Number::Fraction(_) => return Err(wrong(start, datatype, "a fraction")),
            Number::Nan | Number::Infinity | Number::NegativeInfinity => {
                return Err(wrong(start, datatype, "NaN or an infinity"));
            }
        }
        .ok_or_else(|| out_of_range(reader, start, datatype))
    })
}

fn read_f32(reader: &mut Reader<'_>) -> Result<f32, DecodeError> {
    let start = reader.offset();
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

/// The most characters of a client's text in a message.
const TEXT_SHOWN: usize = 32;

/// An error about the number that ended where `reader` is.
#[cold]
fn out_of_range(reader: &Reader<'_>, start: usize, datatype: Datatype) -> DecodeError {
    let shown: SmallVec<[u8; TEXT_SHOWN]> =
        reader.read_since(start).iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let mut text: String = shown.iter().take(TEXT_SHOWN).copied().map(char::from).collect();
    if shown.len() > TEXT_SHOWN {
        text.push('…');
    }
    DecodeError::new(start, DecodeErrorKind::OutOfRange { text, datatype })
}
