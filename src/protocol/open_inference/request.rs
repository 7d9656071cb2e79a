//! Decodes an inference request.

use std::borrow::Cow;

use super::body::Tail;
use super::parameters::{
    BINARY_SIZE, SHARED_MEMORY_PREFIX, kept, read_parameters, request_parameters,
};
use crate::protocol::infer::{InferRequest, Parameter, Parameters, RequestedOutput, parameter};
use crate::protocol::json::{DecodeError, DecodeErrorKind, Number, Reader, read_elements};
use crate::protocol::shown::shortened;
use crate::protocol::tensor::{
    BinaryError, Datatype, SHAPE_RANK_MAX, Shape, Span, TENSORS_MAX, Tensor, TensorData,
    TensorSpec, element_count,
};

/// Decodes the body of `POST …/infer` that is JSON to its end.
///
/// # Errors
/// When it is not a request of this protocol; every such error is the client's.
pub fn decode_infer_request(body: &[u8]) -> Result<InferRequest<'_>, DecodeError> {
    read_request(body, Tail::default())
}

/// Decodes JSON and the tensors behind it.
pub(super) fn read_request<'a>(
    head: &'a [u8],
    mut tail: Tail<'_>,
) -> Result<InferRequest<'a>, DecodeError> {
    let mut reader = Reader::new(head);
    let (mut id, mut parameters, mut inputs, mut outputs) = (None, None, None, None);
    reader.object(|reader, key| match key {
        "id" => once("id", reader, &mut id, |reader| reader.string()),
        "parameters" => once("parameters", reader, &mut parameters, request_parameters),
        "inputs" => once("inputs", reader, &mut inputs, |reader| read_tensors(reader, &mut tail)),
        "outputs" => once("outputs", reader, &mut outputs, read_outputs),
        _ => reader.skip(),
    })?;
    reader.end()?;
    let inputs = inputs
        .ok_or_else(|| DecodeError::new(head.len(), DecodeErrorKind::MissingKey("inputs")))?;
    nothing_left(head, &tail)?;
    Ok(InferRequest {
        id,
        parameters: parameters.unwrap_or_default(),
        inputs,
        outputs: outputs.unwrap_or_default(),
    })
}

/// Checks that every byte behind the JSON belongs to a tensor.
pub(super) fn nothing_left(head: &[u8], tail: &Tail<'_>) -> Result<(), DecodeError> {
    match tail.remaining() {
        0 => Ok(()),
        left => Err(DecodeError::new(head.len(), DecodeErrorKind::BinaryLeft { left })),
    }
}

/// Makes a request out of nothing but the data of `input`.
pub(super) fn decode_raw(
    input: &TensorSpec,
    data: &Span<'_>,
) -> Result<InferRequest<'static>, DecodeError> {
    let name = || input.name.clone();
    let fail = |kind| DecodeError::new(0, kind);
    let open = input.shape.iter().filter(|&&dim| dim < 0).count();
    if open > 1 {
        return Err(fail(DecodeErrorKind::RawShape { tensor: name(), open }));
    }
    let fixed = input.shape.iter().filter_map(|&dim| usize::try_from(dim).ok());
    let fixed = fixed.fold(1, usize::saturating_mul);
    let count = match (input.datatype.size(), open) {
        (None, _) => 1,
        (Some(_), 0) => fixed,
        (Some(size), _) => (data.len() / size).checked_div(fixed).unwrap_or(0) * fixed,
    };
    let size = |error: BinaryError| fail(DecodeErrorKind::Binary { tensor: name(), error });
    let data = match input.datatype {
        Datatype::Bytes => TensorData::Bytes(vec![data.joined().into_owned()]),
        datatype => TensorData::from_binary(datatype, count, data).map_err(size)?,
    };
    let inferred = count.checked_div(fixed).unwrap_or(0);
    let shape: Shape =
        input.shape.iter().map(|&dim| usize::try_from(dim).unwrap_or(inferred)).collect();
    let tensor = Tensor::new(name(), shape, data).map_err(|e| fail(e.into()))?;
    Ok(InferRequest { inputs: vec![tensor], ..InferRequest::default() })
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

/// Reads the inputs of a request or the outputs of a response.
pub(super) fn read_tensors(
    reader: &mut Reader<'_>,
    tail: &mut Tail<'_>,
) -> Result<Vec<Tensor>, DecodeError> {
    let mut tensors = Vec::with_capacity(1);
    reader.array(|reader| {
        if tensors.len() == TENSORS_MAX {
            return Err(DecodeError::new(reader.offset(), DecodeErrorKind::TooManyTensors));
        }
        tensors.push(read_tensor(reader, tail)?);
        Ok(())
    })?;
    Ok(tensors)
}

/// Where the data of a tensor stands, when it came before the datatype.
struct Deferred<'a>(Reader<'a>);

/// Reads one tensor. Data that comes after shape and datatype, as all clients send it, is read in one
/// pass; data that comes earlier is skipped and read afterwards.
fn read_tensor(reader: &mut Reader<'_>, tail: &mut Tail<'_>) -> Result<Tensor, DecodeError> {
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
                once("data", reader, &mut data, |reader| read_elements(reader, datatype, shape))
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
        data = Some(read_elements(&mut reader, datatype, &shape).map_err(|e| e.in_key("data"))?);
    }
    let parameters: Parameters<'_> = parameters.unwrap_or_default();
    let binary = binary_size(start, &parameters)?;
    let data = match (data, binary) {
        (Some(data), None) => data,
        (None, Some(size)) => {
            let behind = |kind| DecodeError::new(start, kind);
            let left = tail.remaining();
            let short =
                || behind(DecodeErrorKind::BinaryShort { tensor: shortened(&name), size, left });
            let span = usize::try_from(size).ok().and_then(|size| tail.take(size));
            let span = span.ok_or_else(short)?;
            let count = element_count(&shape).unwrap_or(usize::MAX);
            let wrong = |error| behind(DecodeErrorKind::Binary { tensor: shortened(&name), error });
            TensorData::from_binary(datatype, count, &span).map_err(wrong)?
        }
        (Some(_), Some(_)) => {
            return Err(DecodeError::new(start, DecodeErrorKind::DataTwice));
        }
        (None, None) => return Err(DecodeError::new(start, DecodeErrorKind::MissingKey("data"))),
    };
    let tensor = Tensor::new(name, shape, data);
    let tensor = tensor.map_err(|e| DecodeError::new(start, e).in_key("data"))?;
    Ok(tensor.with_parameters(kept(parameters)))
}

/// How many bytes of the body are the tensor's, when its data is not in the JSON.
fn binary_size(
    start: usize,
    parameters: &[(Cow<'_, str>, Parameter<'_>)],
) -> Result<Option<u64>, DecodeError> {
    let fail = |kind| DecodeError::new(start, kind).in_key("parameters");
    if parameters.iter().any(|(key, _)| key.starts_with(SHARED_MEMORY_PREFIX)) {
        return Err(fail(DecodeErrorKind::Unsupported(
            "shared memory does not reach across hosts; send the data in the request",
        )));
    }
    let invalid = || fail(DecodeErrorKind::WrongParameter(BINARY_SIZE, "a number of bytes"));
    match parameter(parameters, BINARY_SIZE) {
        None => Ok(None),
        Some(&Parameter::Integer(size)) => size.try_into().map(Some).map_err(|_negative| invalid()),
        Some(_) => Err(invalid()),
    }
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
        if shape.len() == SHAPE_RANK_MAX {
            return Err(DecodeError::new(start, DecodeErrorKind::TooManyDimensions));
        }
        shape.push(dim.ok_or_else(invalid)?);
        Ok(())
    })?;
    Ok(shape)
}

pub(super) fn read_datatype(reader: &mut Reader<'_>) -> Result<Datatype, DecodeError> {
    let start = reader.offset();
    let name = reader.string()?;
    let unknown = || DecodeError::new(start, DecodeErrorKind::UnknownDatatype(shortened(&name)));
    Datatype::parse(&name).ok_or_else(unknown)
}

fn read_outputs<'a>(reader: &mut Reader<'a>) -> Result<Vec<RequestedOutput<'a>>, DecodeError> {
    let mut outputs = Vec::new();
    reader.array(|reader| {
        let start = reader.offset();
        if outputs.len() == TENSORS_MAX {
            return Err(DecodeError::new(start, DecodeErrorKind::TooManyTensors));
        }
        let (mut name, mut parameters) = (None, None);
        reader.object(|reader, key| match key {
            "name" => once("name", reader, &mut name, |reader| reader.string()),
            "parameters" => once("parameters", reader, &mut parameters, read_parameters),
            _ => reader.skip(),
        })?;
        let parameters = parameters.unwrap_or_default();
        let missing = || DecodeError::new(start, DecodeErrorKind::MissingKey("name"));
        outputs.push(RequestedOutput { name: name.ok_or_else(missing)?, parameters });
        Ok(())
    })?;
    Ok(outputs)
}
