//! The answers about the server and its models, and errors.
//!
//! Keys stand in Triton's order. What a backend says about its models is read more kindly than a request:
//! servers differ in what they leave out.

use smallvec::SmallVec;

use super::encode::{integers, separated};
use super::request::{once, read_datatype};
use crate::protocol::describe::DeclaredModel;
use crate::protocol::json::{DecodeError, DecodeErrorKind, Number, Reader, write_string};
use crate::protocol::tensor::TensorSpec;

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

/// A first guess at the size of an answer; a wrong one costs a reallocation.
const ANSWER_BYTES: usize = 256;

/// The answer to `GET /v2/models/{model}`.
pub fn encode_model_metadata(metadata: &ModelMetadata<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(ANSWER_BYTES);
    out.extend_from_slice(b"{\"name\":");
    write_string(&mut out, metadata.name);
    out.extend_from_slice(b",\"versions\":[");
    separated(&mut out, metadata.versions.iter(), |out, version| write_string(out, version));
    out.extend_from_slice(b"],\"platform\":");
    write_string(&mut out, metadata.platform);
    out.extend_from_slice(b",\"inputs\":[");
    separated(&mut out, metadata.inputs.iter(), encode_spec);
    out.extend_from_slice(b"],\"outputs\":[");
    separated(&mut out, metadata.outputs.iter(), encode_spec);
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
    let mut out = Vec::with_capacity(ANSWER_BYTES);
    out.extend_from_slice(b"{\"name\":");
    write_string(&mut out, name);
    out.extend_from_slice(b",\"version\":");
    write_string(&mut out, version);
    out.extend_from_slice(b",\"extensions\":[");
    separated(&mut out, extensions.iter(), |out, extension| write_string(out, extension));
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

/// The answer to `GET /v2/models`, as KServe gives it.
pub fn encode_model_list<'n>(names: impl Iterator<Item = &'n str>) -> Vec<u8> {
    let mut out = b"{\"models\":[".to_vec();
    separated(&mut out, names, write_string);
    out.extend_from_slice(b"]}");
    out
}

/// Decodes a backend's answer to `GET /v2/models/{model}`.
///
/// # Errors
/// When it is not such an answer.
pub fn decode_model_metadata(body: &[u8]) -> Result<DeclaredModel, DecodeError> {
    let mut reader = Reader::new(body);
    let (mut name, mut platform) = (None, None);
    let (mut versions, mut inputs, mut outputs) = (None, None, None);
    reader.object(|reader, key| match key {
        "name" => once("name", reader, &mut name, |reader| reader.string()),
        "platform" => once("platform", reader, &mut platform, |reader| reader.string()),
        "versions" => once("versions", reader, &mut versions, |reader| {
            list(reader, |reader| reader.string().map(String::from))
        }),
        "inputs" => once("inputs", reader, &mut inputs, |reader| list(reader, read_spec)),
        "outputs" => once("outputs", reader, &mut outputs, |reader| list(reader, read_spec)),
        _ => reader.skip(),
    })?;
    reader.end()?;
    let missing = || DecodeError::new(body.len(), DecodeErrorKind::MissingKey("name"));
    Ok(DeclaredModel {
        name: name.ok_or_else(missing)?.into_owned(),
        versions: versions.unwrap_or_default(),
        platform: platform.unwrap_or_default().into_owned(),
        inputs: inputs.unwrap_or_default(),
        outputs: outputs.unwrap_or_default(),
    })
}

fn list<T>(
    reader: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut items = Vec::new();
    reader.array(|reader| {
        items.push(read(reader)?);
        Ok(())
    })?;
    Ok(items)
}

fn read_spec(reader: &mut Reader<'_>) -> Result<TensorSpec, DecodeError> {
    let start = reader.offset();
    let (mut name, mut datatype, mut shape) = (None, None, None);
    reader.object(|reader, key| match key {
        "name" => once("name", reader, &mut name, |reader| reader.string()),
        "datatype" => once("datatype", reader, &mut datatype, read_datatype),
        "shape" => once("shape", reader, &mut shape, read_dims),
        _ => reader.skip(),
    })?;
    let missing = |key| move || DecodeError::new(start, DecodeErrorKind::MissingKey(key));
    Ok(TensorSpec {
        name: name.ok_or_else(missing("name"))?.into_owned(),
        datatype: datatype.ok_or_else(missing("datatype"))?,
        shape: shape.ok_or_else(missing("shape"))?,
        places: Vec::new(),
        ordered: true,
    })
}

/// Dimensions of which any below 0 are open.
fn read_dims(reader: &mut Reader<'_>) -> Result<SmallVec<[i64; 4]>, DecodeError> {
    let dims = list(reader, |reader| {
        let start = reader.offset();
        let dim = match reader.number()? {
            Number::Integer(text) => text.parse::<i64>().ok(),
            Number::Fraction(_) | Number::Nan | Number::Infinity | Number::NegativeInfinity => None,
        };
        let invalid = || DecodeError::new(start, DecodeErrorKind::InvalidDimension);
        Ok(dim.ok_or_else(invalid)?.max(-1))
    })?;
    Ok(dims.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::tensor::Datatype;

    #[test]
    fn what_is_written_about_a_model_reads_back() {
        let spec = |name: &str, datatype, shape: &[i64]| TensorSpec {
            name: name.into(),
            datatype,
            shape: shape.into(),
            places: Vec::new(),
            ordered: true,
        };
        let inputs = [spec("X", Datatype::Fp32, &[-1, 4]), spec("S", Datatype::Bytes, &[])];
        let outputs = [spec("Y", Datatype::Bf16, &[1])];
        let metadata = ModelMetadata {
            name: "a \"model\"",
            versions: &["1", "v2"],
            platform: PLATFORM_ONNX,
            inputs: &inputs,
            outputs: &outputs,
        };
        let declared = decode_model_metadata(&encode_model_metadata(&metadata)).expect("ours");
        assert_eq!(declared.name, "a \"model\"");
        assert_eq!(declared.versions, ["1", "v2"]);
        assert_eq!(declared.platform, PLATFORM_ONNX);
        assert_eq!((&*declared.inputs, &*declared.outputs), (&inputs[..], &outputs[..]));
    }

    #[test]
    fn servers_may_leave_out_what_they_do_not_know() {
        let body =
            br#"{"name":"m","versions":null,"inputs":[],"platform":"","parameters":{"x":1}}"#;
        let declared = decode_model_metadata(body).expect("valid");
        assert_eq!(declared, DeclaredModel { name: "m".into(), ..DeclaredModel::default() });
        assert!(decode_model_metadata(b"{}").is_err());
        let body = br#"{"name":"m","inputs":[{"name":"x","datatype":"FP32","shape":[1.5]}]}"#;
        let error = decode_model_metadata(body).expect_err("a fraction");
        assert_eq!(error.pointer(), "/inputs/0/shape/0");
        assert_eq!(encode_model_list(["a", "b"].into_iter()), br#"{"models":["a","b"]}"#);
    }
}
