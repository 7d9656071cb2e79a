//! What a model takes and returns: its signature definitions.

use serde_json::{Map, Value};
use smallvec::SmallVec;

use crate::protocol::describe::DeclaredModel;
use crate::protocol::json::{write_integer, write_string};
use crate::protocol::tensor::{Datatype, TensorSpec};

/// The signature that is used when a request names none.
const DEFAULT_SIGNATURE: &str = "serving_default";

/// The names of the datatypes in TensorFlow.
const DATATYPES: [(Datatype, &str); 14] = [
    (Datatype::Bool, "DT_BOOL"),
    (Datatype::Uint8, "DT_UINT8"),
    (Datatype::Uint16, "DT_UINT16"),
    (Datatype::Uint32, "DT_UINT32"),
    (Datatype::Uint64, "DT_UINT64"),
    (Datatype::Int8, "DT_INT8"),
    (Datatype::Int16, "DT_INT16"),
    (Datatype::Int32, "DT_INT32"),
    (Datatype::Int64, "DT_INT64"),
    (Datatype::Fp16, "DT_HALF"),
    (Datatype::Bf16, "DT_BFLOAT16"),
    (Datatype::Fp32, "DT_FLOAT"),
    (Datatype::Fp64, "DT_DOUBLE"),
    (Datatype::Bytes, "DT_STRING"),
];

/// Appends the answer to `GET …/metadata`.
pub fn encode_metadata(
    name: &str,
    version: &str,
    inputs: &[TensorSpec],
    outputs: &[TensorSpec],
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"model_spec\":{\"name\":");
    write_string(out, name);
    out.extend_from_slice(b",\"signature_name\":\"\",\"version\":");
    write_string(out, version);
    out.extend_from_slice(b"},\"metadata\":{\"signature_def\":{\"signature_def\":{");
    write_string(out, DEFAULT_SIGNATURE);
    out.extend_from_slice(b":{\"inputs\":");
    write_specs(out, inputs);
    out.extend_from_slice(b",\"outputs\":");
    write_specs(out, outputs);
    out.extend_from_slice(b",\"method_name\":\"tensorflow/serving/predict\"}}}}}");
}

fn write_specs(out: &mut Vec<u8>, specs: &[TensorSpec]) {
    out.push(b'{');
    for (at, spec) in specs.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_string(out, &spec.name);
        out.extend_from_slice(b":{\"dtype\":");
        let dtype = DATATYPES.iter().find(|(datatype, _)| *datatype == spec.datatype);
        write_string(out, dtype.map_or("DT_INVALID", |(_, name)| name));
        out.extend_from_slice(b",\"tensor_shape\":{\"dim\":[");
        for (at, dim) in spec.shape.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"{\"size\":\"" } else { b",{\"size\":\"" });
            write_integer(out, *dim);
            out.extend_from_slice(b"\",\"name\":\"\"}");
        }
        out.extend_from_slice(b"],\"unknown_rank\":false},\"name\":");
        write_string(out, &format!("{}:0", spec.name));
        out.push(b'}');
    }
    out.push(b'}');
}

/// Decodes the answer to `GET …/metadata`: the signature of this name, else the default one, else the
/// first with inputs. `None` when there is none, or one of its tensors has no known datatype or rank.
pub fn decode_metadata(body: &[u8], signature: Option<&str>) -> Option<DeclaredModel> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let text = |pointer| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let signatures = document.pointer("/metadata/signature_def/signature_def")?.as_object()?;
    let has_inputs = |value: &&Value| {
        value.get("inputs").and_then(Value::as_object).is_some_and(|inputs| !inputs.is_empty())
    };
    let chosen = match signature {
        Some(name) => signatures.get(name)?,
        None => {
            signatures.get(DEFAULT_SIGNATURE).or_else(|| signatures.values().find(has_inputs))?
        }
    };
    let version = text("/model_spec/version");
    Some(DeclaredModel {
        name: text("/model_spec/name").to_owned(),
        versions: if version.is_empty() { vec![] } else { vec![version.to_owned()] },
        platform: "tensorflow_savedmodel".to_owned(),
        inputs: specs(chosen.get("inputs")?.as_object()?)?,
        outputs: specs(chosen.get("outputs")?.as_object()?)?,
    })
}

/// The tensors of a map, whose order says nothing: it may differ from one replica, and one answer, to
/// the next. They stand by name, so that what is written in their order is the same for all.
fn specs(tensors: &Map<String, Value>) -> Option<Vec<TensorSpec>> {
    let specs: Option<Vec<_>> = tensors.iter().map(|(name, info)| spec(name, info)).collect();
    specs.map(|mut specs| {
        specs.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        specs
    })
}

fn spec(name: &str, info: &Value) -> Option<TensorSpec> {
    let dtype = info.get("dtype")?.as_str()?;
    let (datatype, _) = *DATATYPES.iter().find(|(_, own)| *own == dtype)?;
    let shape = info.get("tensor_shape")?;
    if shape.get("unknown_rank").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    let dims = shape.get("dim").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let size = |dim: &Value| match dim.get("size")? {
        Value::String(size) => size.parse().ok(),
        size => size.as_i64(),
    };
    let shape: Option<SmallVec<[i64; 4]>> = dims.iter().map(size).collect();
    Some(TensorSpec {
        name: name.to_owned(),
        datatype,
        shape: shape?,
        places: Vec::new(),
        ordered: false,
    })
}
