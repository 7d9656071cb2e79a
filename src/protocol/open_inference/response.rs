//! Encodes the answers: inference, metadata, health and errors.
//!
//! Keys stand in Triton's order; data is always flattened; floats are the shortest text that reads
//! back as the same value, where Triton prints an FP32 as a double.

use crate::protocol::infer::InferResponse;
use crate::protocol::json::{write_f32, write_f64, write_integer, write_string};
use crate::protocol::tensor::{Datatype, Tensor, TensorData, TensorSpec};

/// The platform of an ONNX model, in the protocol's `<project>_<format>` form.
pub const PLATFORM_ONNX: &str = "onnx_onnxv1";

/// What is told about a model.
#[derive(Debug, Clone, Copy)]
pub struct ModelMetadata<'a> {
    /// The model's name.
    pub name: &'a str,
    /// The versions that can be asked for.
    pub versions: &'a [&'a str],
    /// What runs it, such as [`PLATFORM_ONNX`].
    pub platform: &'a str,
    /// The inputs.
    pub inputs: &'a [TensorSpec],
    /// The outputs.
    pub outputs: &'a [TensorSpec],
}

/// An answer that has no form in this protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A datatype that exists in binary form only.
    #[error("output '{output}' is {datatype}, which has no JSON form; ask for binary data")]
    NoJsonForm {
        /// The output.
        output: String,
        /// Its datatype.
        datatype: Datatype,
    },
    /// BYTES that are not text.
    #[error("element {element} of output '{output}' is not UTF-8 and has no JSON form")]
    NotUtf8 {
        /// The output.
        output: String,
        /// The element, from 0.
        element: usize,
    },
}

/// Appends an inference response to `out`.
///
/// # Errors
/// When an element of a BYTES output is not UTF-8, or an output is FP16 or BF16; `out` then ends in the
/// middle.
pub fn encode_infer_response(
    response: &InferResponse<'_>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let elements: usize = response.outputs.iter().map(|output| output.data().len()).sum();
    out.reserve(RESPONSE_BYTES + elements.saturating_mul(ELEMENT_BYTES));
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
    out.extend_from_slice(b",\"outputs\":[");
    try_separated(out, &response.outputs, encode_tensor)?;
    out.extend_from_slice(b"]}");
    Ok(())
}

/// First guesses at the size of a response; a wrong one costs a reallocation.
const RESPONSE_BYTES: usize = 256;
const ELEMENT_BYTES: usize = 12;

fn encode_tensor(out: &mut Vec<u8>, tensor: &Tensor) -> Result<(), EncodeError> {
    out.extend_from_slice(b"{\"name\":");
    write_string(out, tensor.name());
    out.extend_from_slice(b",\"datatype\":");
    write_string(out, tensor.datatype().as_str());
    out.extend_from_slice(b",\"shape\":[");
    separated(out, tensor.shape(), |out, &dim| write_integer(out, dim));
    out.extend_from_slice(b"],\"data\":[");
    match tensor.data() {
        TensorData::Bool(values) => separated(out, values, |out, &value| {
            out.extend_from_slice(if value { b"true" } else { b"false" });
        }),
        TensorData::Uint8(values) => integers(out, values),
        TensorData::Uint16(values) => integers(out, values),
        TensorData::Uint32(values) => integers(out, values),
        TensorData::Uint64(values) => integers(out, values),
        TensorData::Int8(values) => integers(out, values),
        TensorData::Int16(values) => integers(out, values),
        TensorData::Int32(values) => integers(out, values),
        TensorData::Int64(values) => integers(out, values),
        TensorData::Fp16(_) | TensorData::Bf16(_) => {
            let (output, datatype) = (tensor.name().into(), tensor.datatype());
            return Err(EncodeError::NoJsonForm { output, datatype });
        }
        TensorData::Fp32(values) => separated(out, values, |out, &value| write_f32(out, value)),
        TensorData::Fp64(values) => separated(out, values, |out, &value| write_f64(out, value)),
        TensorData::Bytes(values) => {
            let mut element = 0;
            try_separated(out, values, |out, bytes| {
                let not_utf8 =
                    |_utf8| EncodeError::NotUtf8 { output: tensor.name().into(), element };
                write_string(out, std::str::from_utf8(bytes).map_err(not_utf8)?);
                element += 1;
                Ok(())
            })?;
        }
    }
    out.extend_from_slice(b"]}");
    Ok(())
}

fn integers<T: itoa::Integer + Copy>(out: &mut Vec<u8>, values: &[T]) {
    separated(out, values, |out, &value| write_integer(out, value));
}

fn separated<T>(out: &mut Vec<u8>, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item);
    }
}

fn try_separated<T, E>(
    out: &mut Vec<u8>,
    items: &[T],
    mut write: impl FnMut(&mut Vec<u8>, &T) -> Result<(), E>,
) -> Result<(), E> {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item)?;
    }
    Ok(())
}

/// The answer to `GET /v2/models/{model}`.
pub fn encode_model_metadata(metadata: &ModelMetadata<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(RESPONSE_BYTES);
    out.extend_from_slice(b"{\"name\":");
    write_string(&mut out, metadata.name);
    out.extend_from_slice(b",\"versions\":[");
    separated(&mut out, metadata.versions, |out, version| write_string(out, version));
    out.extend_from_slice(b"],\"platform\":");
    write_string(&mut out, metadata.platform);
    out.extend_from_slice(b",\"inputs\":[");
    separated(&mut out, metadata.inputs, encode_spec);
    out.extend_from_slice(b"],\"outputs\":[");
    separated(&mut out, metadata.outputs, encode_spec);
    out.extend_from_slice(b"]}");
    out
}

fn encode_spec(out: &mut Vec<u8>, spec: &TensorSpec) {
    out.extend_from_slice(b"{\"name\":");
    write_string(out, &spec.name);
    out.extend_from_slice(b",\"datatype\":");
    write_string(out, spec.datatype.as_str());
    out.extend_from_slice(b",\"shape\":[");
    integers(out, &spec.shape);
    out.extend_from_slice(b"]}");
}

/// The answer to `GET /v2`; `extensions` names only what is offered, as clients act on it.
pub fn encode_server_metadata(name: &str, version: &str, extensions: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(RESPONSE_BYTES);
    out.extend_from_slice(b"{\"name\":");
    write_string(&mut out, name);
    out.extend_from_slice(b",\"version\":");
    write_string(&mut out, version);
    out.extend_from_slice(b",\"extensions\":[");
    separated(&mut out, extensions, |out, extension| write_string(out, extension));
    out.extend_from_slice(b"]}");
    out
}

/// The answer to `GET /v2/health/live`. The `kserve` client reads this body, `tritonclient` only the
/// status.
pub const fn encode_live(live: bool) -> &'static [u8] {
    if live { b"{\"live\":true}" } else { b"{\"live\":false}" }
}

/// The answer to `GET /v2/health/ready`, see [`encode_live`].
pub const fn encode_ready(ready: bool) -> &'static [u8] {
    if ready { b"{\"ready\":true}" } else { b"{\"ready\":false}" }
}

/// The answer to `GET /v2/models/{model}/ready`.
pub fn encode_model_ready(name: &str, ready: bool) -> Vec<u8> {
    let mut out = b"{\"name\":".to_vec();
    write_string(&mut out, name);
    out.extend_from_slice(if ready { b",\"ready\":true}" } else { b",\"ready\":false}" });
    out
}

/// The body of every error.
pub fn encode_error(message: &str) -> Vec<u8> {
    let mut out = b"{\"error\":".to_vec();
    write_string(&mut out, message);
    out.push(b'}');
    out
}
