//! Encodes inference requests and responses, as JSON or with the tensors in binary form behind it.
//!
//! Keys stand in Triton's order; data is always flattened; floats are the shortest text that reads
//! back as the same value, where Triton prints an FP32 as a double. NaN and the infinities are the bare
//! tokens that Triton and TensorFlow Serving write. Binary tensors are handed on without a copy.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use super::outputs::OutputForms;
use crate::protocol::infer::{InferRequest, InferResponse, Parameter, RequestedOutput};
use crate::protocol::json::{write_f32, write_f64, write_integer, write_string};
use crate::protocol::shown::shortened;
use crate::protocol::tensor::{Datatype, Tensor, TensorData};

/// An answer that has no form in this protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A datatype that exists in binary form only.
    #[error("tensor '{tensor}' is {datatype}, which has no JSON form; ask for binary data")]
    NoJsonForm {
        /// The tensor.
        tensor: String,
        /// Its datatype.
        datatype: Datatype,
    },
    /// BYTES that are not text.
    #[error(
        "element {element} of tensor '{tensor}' is not UTF-8 and has no JSON form; ask for binary data"
    )]
    NotUtf8 {
        /// The tensor.
        tensor: String,
        /// The element, from 0.
        element: usize,
    },
    /// An element of BYTES that is too long for the binary form.
    #[error("tensor '{tensor}': {error}")]
    TooLong {
        /// The tensor.
        tensor: String,
        /// Which element.
        error: crate::protocol::tensor::ElementTooLong,
    },
}

/// An encoded body: JSON, and behind it the tensors that are in binary form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The JSON.
    pub head: Bytes,
    /// The binary tensors, in the order in which the JSON names them.
    pub tensors: SmallVec<[Bytes; 2]>,
    /// Whether the binary extension is used; it may be with tensors that have no bytes.
    pub binary: bool,
}

impl Encoded {
    /// The value of the head length header ([`HEAD_LENGTH_HEADER`](super::HEAD_LENGTH_HEADER)), if it
    /// must be sent.
    pub const fn head_length(&self) -> Option<usize> {
        if self.binary { Some(self.head.len()) } else { None }
    }

    /// The body's media type.
    pub const fn content_type(&self) -> &'static str {
        if self.binary { "application/octet-stream" } else { "application/json" }
    }

    /// The length of the whole body.
    pub fn body_len(&self) -> usize {
        self.tensors.iter().map(Bytes::len).sum::<usize>() + self.head.len()
    }

    /// The body in its order.
    pub fn into_pieces(self) -> impl Iterator<Item = Bytes> {
        std::iter::once(self.head).chain(self.tensors)
    }
}

/// Appends an inference response as JSON to `out`.
///
/// # Errors
/// When an element of a BYTES output is not UTF-8, or an output is FP16 or BF16; `out` then ends in the
/// middle.
pub fn encode_infer_response(
    response: &InferResponse<'_>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let elements: usize = response.outputs.iter().map(|output| output.data().len()).sum();
    out.reserve(HEAD_BYTES + elements.saturating_mul(ELEMENT_BYTES));
    begin_response(response, out);
    try_separated(out, response.outputs.iter(), write_json_tensor)?;
    out.extend_from_slice(b"]}");
    Ok(())
}

/// Encodes an inference response with each output in the form that the client wants.
///
/// # Errors
/// When an output has no such form.
pub fn encode_infer_response_as(
    mut response: InferResponse<'_>,
    forms: &OutputForms,
) -> Result<Encoded, EncodeError> {
    let outputs = std::mem::take(&mut response.outputs);
    let mut out = Vec::with_capacity(HEAD_BYTES);
    begin_response(&response, &mut out);
    let mut encoded = Encoded::default();
    try_separated(&mut out, outputs.into_iter(), |out, tensor| {
        if forms.of_output(tensor.name()).binary {
            write_binary_tensor(out, tensor, &mut encoded)
        } else {
            write_json_tensor(out, &tensor)
        }
    })?;
    out.extend_from_slice(b"]}");
    encoded.head = out.into();
    Ok(encoded)
}

fn begin_response(response: &InferResponse<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some(id) = &response.id {
        out.extend_from_slice(b"\"id\":");
        write_string(out, id);
        out.push(b',');
    }
    out.extend_from_slice(b"\"model_name\":");
    write_string(out, &response.model_name);
    out.extend_from_slice(b",\"model_version\":");
    write_string(out, &response.model_version);
    if !response.parameters.is_empty() {
        out.push(b',');
        write_parameters(out, response.parameters.iter());
    }
    out.extend_from_slice(b",\"outputs\":[");
}

/// Encodes an inference request for a backend, with all tensors in binary form or none. Parameters that
/// say how the client wants the tensors are replaced by what this hop wants; all others are kept.
///
/// # Errors
/// When a tensor has no JSON form and binary is not wanted.
pub fn encode_infer_request(
    request: InferRequest<'_>,
    binary: bool,
) -> Result<Encoded, EncodeError> {
    let mut out = Vec::with_capacity(HEAD_BYTES);
    out.push(b'{');
    if let Some(id) = &request.id {
        out.extend_from_slice(b"\"id\":");
        write_string(&mut out, id);
        out.push(b',');
    }
    let wanted = (Cow::Borrowed("binary_data_output"), Parameter::Boolean(true));
    let parameters = request.parameters.iter().filter(|(key, _)| key != "binary_data_output");
    let parameters: SmallVec<[_; 4]> = parameters.chain(binary.then_some(&wanted)).collect();
    if !parameters.is_empty() {
        write_parameters(&mut out, parameters.into_iter());
        out.push(b',');
    }
    out.extend_from_slice(b"\"inputs\":[");
    let mut encoded = Encoded::default();
    try_separated(&mut out, request.inputs.into_iter(), |out, tensor| {
        if binary {
            write_binary_tensor(out, tensor, &mut encoded)
        } else {
            write_json_tensor(out, &tensor)
        }
    })?;
    out.push(b']');
    if !request.outputs.is_empty() {
        out.extend_from_slice(b",\"outputs\":[");
        separated(&mut out, request.outputs.iter(), write_wanted);
        out.push(b']');
    }
    out.push(b'}');
    encoded.head = out.into();
    Ok(encoded)
}

fn write_wanted(out: &mut Vec<u8>, output: &RequestedOutput<'_>) {
    out.extend_from_slice(b"{\"name\":");
    write_string(out, &output.name);
    let mut parameters =
        output.parameters.iter().filter(|(key, _)| key != "binary_data").peekable();
    if parameters.peek().is_some() {
        out.push(b',');
        write_parameters(out, parameters);
    }
    out.push(b'}');
}

fn write_parameters<'p, 'a: 'p>(
    out: &mut Vec<u8>,
    parameters: impl Iterator<Item = &'p (Cow<'a, str>, Parameter<'a>)>,
) {
    out.extend_from_slice(b"\"parameters\":{");
    separated(out, parameters, write_parameter);
    out.push(b'}');
}

fn write_parameter(out: &mut Vec<u8>, (key, value): &(Cow<'_, str>, Parameter<'_>)) {
    write_string(out, key);
    out.push(b':');
    match value {
        Parameter::String(text) => write_string(out, text),
        Parameter::Integer(value) => write_integer(out, *value),
        Parameter::Unsigned(value) => write_integer(out, *value),
        Parameter::Number(value) => write_f64(out, *value),
        Parameter::Boolean(value) => write_boolean(out, *value),
    }
}

/// First guesses at the size of a body; a wrong one costs a reallocation.
const HEAD_BYTES: usize = 256;
const ELEMENT_BYTES: usize = 12;

fn begin_tensor(out: &mut Vec<u8>, tensor: &Tensor) {
    out.extend_from_slice(b"{\"name\":");
    write_string(out, tensor.name());
    out.extend_from_slice(b",\"datatype\":");
    write_string(out, tensor.datatype().as_str());
    out.extend_from_slice(b",\"shape\":[");
    separated(out, tensor.shape().iter(), |out, &dim| write_integer(out, dim));
    out.extend_from_slice(b"],");
}

fn write_binary_tensor(
    out: &mut Vec<u8>,
    mut tensor: Tensor,
    encoded: &mut Encoded,
) -> Result<(), EncodeError> {
    begin_tensor(out, &tensor);
    let (name, parameters) = (shortened(tensor.name()), tensor.take_parameters());
    let too_long = |error| EncodeError::TooLong { tensor: name, error };
    let bytes = tensor.into_data().into_binary().map_err(too_long)?;
    out.extend_from_slice(b"\"parameters\":{\"binary_data_size\":");
    write_integer(out, bytes.len());
    for parameter in &parameters {
        out.push(b',');
        write_parameter(out, parameter);
    }
    out.extend_from_slice(b"}}");
    encoded.binary = true;
    encoded.tensors.push(bytes);
    Ok(())
}

fn write_json_tensor(out: &mut Vec<u8>, tensor: &Tensor) -> Result<(), EncodeError> {
    begin_tensor(out, tensor);
    if !tensor.parameters().is_empty() {
        write_parameters(out, tensor.parameters().iter());
        out.push(b',');
    }
    out.extend_from_slice(b"\"data\":[");
    match tensor.data() {
        TensorData::Bool(values) => {
            separated(out, values.iter(), |out, &value| write_boolean(out, value));
        }
        TensorData::Uint8(values) => integers(out, values),
        TensorData::Uint16(values) => integers(out, values),
        TensorData::Uint32(values) => integers(out, values),
        TensorData::Uint64(values) => integers(out, values),
        TensorData::Int8(values) => integers(out, values),
        TensorData::Int16(values) => integers(out, values),
        TensorData::Int32(values) => integers(out, values),
        TensorData::Int64(values) => integers(out, values),
        TensorData::Fp16(_) | TensorData::Bf16(_) => {
            let (tensor, datatype) = (shortened(tensor.name()), tensor.datatype());
            return Err(EncodeError::NoJsonForm { tensor, datatype });
        }
        TensorData::Fp32(values) => {
            separated(out, values.iter(), |out, &value| write_f32(out, value));
        }
        TensorData::Fp64(values) => {
            separated(out, values.iter(), |out, &value| write_f64(out, value));
        }
        TensorData::Bytes(values) => {
            try_separated(out, values.iter().enumerate(), |out, (element, bytes)| {
                let not_utf8 =
                    |_utf8| EncodeError::NotUtf8 { tensor: shortened(tensor.name()), element };
                write_string(out, std::str::from_utf8(bytes).map_err(not_utf8)?);
                Ok(())
            })?;
        }
    }
    out.extend_from_slice(b"]}");
    Ok(())
}

fn write_boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

pub(super) fn integers<T: itoa::Integer + Copy>(out: &mut Vec<u8>, values: &[T]) {
    separated(out, values.iter(), |out, &value| write_integer(out, value));
}

/// Writes items with commas between them.
pub(super) fn separated<T>(
    out: &mut Vec<u8>,
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item);
    }
}

fn try_separated<T, E>(
    out: &mut Vec<u8>,
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T) -> Result<(), E>,
) -> Result<(), E> {
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item)?;
    }
    Ok(())
}
