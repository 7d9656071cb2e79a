//! The model configuration extension: how a model is set up, in Triton's terms.
//!
//! Owns the part of Triton's `ModelConfig` that clients read (`perf_analyzer` asks for it before
//! anything else), in JSON and in gRPC, as one set of types. The parts about devices and files of a
//! Triton server have no meaning here and are left out; clients take their absence for the default.

use std::collections::BTreeMap;

use prost::{Message, Oneof};
use serde_json::{Map, Value, json};

use crate::protocol::tensor::{Datatype, TensorSpec};

/// The answer to `ModelConfig` over gRPC.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ModelConfigResponse {
    /// The configuration.
    #[prost(message, optional, tag = "1")]
    pub config: Option<ModelConfig>,
}

/// How a model is set up.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ModelConfig {
    /// The model's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What its files are, in the words of the model's metadata.
    #[prost(string, tag = "2")]
    pub platform: String,
    /// What runs it, where that is told; clients take an empty one as well.
    #[prost(string, tag = "17")]
    pub backend: String,
    /// Which versions answer.
    #[prost(message, optional, tag = "3")]
    pub version_policy: Option<ModelVersionPolicy>,
    /// The most rows of one request; 0 when the first dimension is not a batch.
    #[prost(int32, tag = "4")]
    pub max_batch_size: i32,
    /// The inputs, without their batch dimension.
    #[prost(message, repeated, tag = "5")]
    pub input: Vec<ModelInput>,
    /// The outputs, without their batch dimension.
    #[prost(message, repeated, tag = "6")]
    pub output: Vec<ModelOutput>,
    /// Set when requests are put together into one run.
    #[prost(message, optional, tag = "11")]
    pub dynamic_batching: Option<ModelDynamicBatching>,
    /// Anything else.
    #[prost(btree_map = "string, message", tag = "14")]
    pub parameters: BTreeMap<String, ModelParameter>,
    /// How many responses a request has.
    #[prost(message, optional, tag = "19")]
    pub model_transaction_policy: Option<ModelTransactionPolicy>,
    /// Set when answers may come from a cache.
    #[prost(message, optional, tag = "24")]
    pub response_cache: Option<ModelResponseCache>,
}

/// Which versions answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ModelVersionPolicy {
    /// One of Triton's policies.
    #[prost(oneof = "PolicyChoice", tags = "1, 2")]
    pub policy_choice: Option<PolicyChoice>,
}

/// Triton's policies, as far as they can be told from outside.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum PolicyChoice {
    /// The newest ones.
    #[prost(message, tag = "1")]
    Latest(LatestVersions),
    /// All of them.
    #[prost(message, tag = "2")]
    All(AllVersions),
}

/// The newest versions.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LatestVersions {
    /// How many.
    #[prost(uint32, tag = "1")]
    pub num_versions: u32,
}

/// All versions.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct AllVersions {}

/// An input.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ModelInput {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The datatype by number, see [`type_number`].
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    /// Its dimensions; -1 where any size will do.
    #[prost(int64, repeated, tag = "4")]
    pub dims: Vec<i64>,
    /// Whether requests may leave it out.
    #[prost(bool, tag = "8")]
    pub optional: bool,
}

/// An output.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ModelOutput {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The datatype by number, see [`type_number`].
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    /// Its dimensions; -1 where any size will do.
    #[prost(int64, repeated, tag = "3")]
    pub dims: Vec<i64>,
    /// The file with the names of its classes; tells a client that it has some.
    #[prost(string, tag = "4")]
    pub label_filename: String,
}

/// How requests are put together.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ModelDynamicBatching {
    /// The sizes that are aimed at.
    #[prost(int32, repeated, tag = "1")]
    pub preferred_batch_size: Vec<i32>,
    /// How long the first request waits for others.
    #[prost(uint64, tag = "2")]
    pub max_queue_delay_microseconds: u64,
}

/// A parameter of the model.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ModelParameter {
    /// Its value.
    #[prost(string, tag = "1")]
    pub string_value: String,
}

/// How many responses a request has.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ModelTransactionPolicy {
    /// Any number instead of one.
    #[prost(bool, tag = "1")]
    pub decoupled: bool,
}

/// Whether answers may come from a cache.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ModelResponseCache {
    /// They may.
    #[prost(bool, tag = "1")]
    pub enable: bool,
}

/// The number of a datatype in Triton's `DataType`.
pub const fn type_number(datatype: Datatype) -> i32 {
    match datatype {
        Datatype::Bool => 1,
        Datatype::Uint8 => 2,
        Datatype::Uint16 => 3,
        Datatype::Uint32 => 4,
        Datatype::Uint64 => 5,
        Datatype::Int8 => 6,
        Datatype::Int16 => 7,
        Datatype::Int32 => 8,
        Datatype::Int64 => 9,
        Datatype::Fp16 => 10,
        Datatype::Fp32 => 11,
        Datatype::Fp64 => 12,
        Datatype::Bytes => 13,
        Datatype::Bf16 => 14,
    }
}

/// The name of a number of [`type_number`] in JSON.
fn type_name(number: i32) -> String {
    let datatype = Datatype::ALL.into_iter().find(|&datatype| type_number(datatype) == number);
    match datatype {
        None => "TYPE_INVALID".to_owned(),
        Some(Datatype::Bytes) => "TYPE_STRING".to_owned(),
        Some(datatype) => format!("TYPE_{datatype}"),
    }
}

impl ModelConfig {
    /// The configuration of a model with these inputs and outputs. `batch_max` is the most rows of a
    /// request; it counts only if every input and output has an open first dimension, which then is the
    /// batch and is left out of the dimensions.
    pub fn of(name: &str, inputs: &[TensorSpec], outputs: &[TensorSpec], batch_max: i32) -> Self {
        let open = |spec: &TensorSpec| spec.shape.first() == Some(&-1);
        let batches = batch_max > 0 && inputs.iter().chain(outputs).all(open);
        let dims =
            |spec: &TensorSpec| spec.shape.iter().skip(usize::from(batches)).copied().collect();
        let input = inputs.iter().map(|spec| ModelInput {
            name: spec.name.clone(),
            data_type: type_number(spec.datatype),
            dims: dims(spec),
            optional: false,
        });
        let output = outputs.iter().map(|spec| ModelOutput {
            name: spec.name.clone(),
            data_type: type_number(spec.datatype),
            dims: dims(spec),
            label_filename: String::new(),
        });
        Self {
            name: name.to_owned(),
            version_policy: Some(ModelVersionPolicy {
                policy_choice: Some(PolicyChoice::All(AllVersions {})),
            }),
            max_batch_size: if batches { batch_max } else { 0 },
            input: input.collect(),
            output: output.collect(),
            model_transaction_policy: Some(ModelTransactionPolicy { decoupled: false }),
            ..Self::default()
        }
    }

    /// Encodes the answer to `GET …/config`.
    pub fn to_json(&self) -> Vec<u8> {
        let policy = match self.version_policy.as_ref().and_then(|p| p.policy_choice.as_ref()) {
            Some(PolicyChoice::Latest(latest)) => {
                json!({ "latest": { "num_versions": latest.num_versions } })
            }
            Some(PolicyChoice::All(_)) | None => json!({ "all": {} }),
        };
        let input = self.input.iter().map(|input| {
            json!({
                "name": input.name, "data_type": type_name(input.data_type), "format": "FORMAT_NONE",
                "dims": input.dims, "is_shape_tensor": false, "allow_ragged_batch": false,
                "optional": input.optional,
            })
        });
        let output = self.output.iter().map(|output| {
            json!({
                "name": output.name, "data_type": type_name(output.data_type), "dims": output.dims,
                "label_filename": output.label_filename, "is_shape_tensor": false,
            })
        });
        let parameter = |(key, value): (&String, &ModelParameter)| {
            (key.clone(), json!({ "string_value": value.string_value }))
        };
        let mut config = json!({
            "name": self.name, "platform": self.platform, "backend": self.backend,
            "version_policy": policy, "max_batch_size": self.max_batch_size,
            "input": input.collect::<Value>(), "output": output.collect::<Value>(),
            "parameters": self.parameters.iter().map(parameter).collect::<Map<_, _>>(),
        });
        if let Some(batching) = &self.dynamic_batching {
            config["dynamic_batching"] = json!({
                "preferred_batch_size": batching.preferred_batch_size,
                "max_queue_delay_microseconds": batching.max_queue_delay_microseconds,
            });
        }
        if let Some(policy) = self.model_transaction_policy {
            config["model_transaction_policy"] = json!({ "decoupled": policy.decoupled });
        }
        if let Some(cache) = self.response_cache {
            config["response_cache"] = json!({ "enable": cache.enable });
        }
        config.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, datatype: Datatype, shape: &[i64]) -> TensorSpec {
        TensorSpec {
            name: name.into(),
            datatype,
            shape: shape.into(),
            places: Vec::new(),
            ordered: true,
        }
    }

    #[test]
    fn the_batch_dimension_is_left_out_where_all_have_one() {
        let inputs = [spec("X", Datatype::Fp32, &[-1, 4])];
        let outputs = [spec("label", Datatype::Bytes, &[-1]), spec("p", Datatype::Bf16, &[-1, 3])];
        let config = ModelConfig::of("iris", &inputs, &outputs, 64);
        let json: Value = serde_json::from_slice(&config.to_json()).expect("valid JSON");
        assert_eq!(json["max_batch_size"], 64);
        assert_eq!(json["input"][0]["dims"], json!([4]));
        assert_eq!(json["input"][0]["data_type"], "TYPE_FP32");
        assert_eq!(json["output"][0]["data_type"], "TYPE_STRING");
        assert_eq!(json["output"][0]["dims"], json!([]));
        assert_eq!(json["output"][1]["data_type"], "TYPE_BF16");
        assert_eq!(json["model_transaction_policy"]["decoupled"], false);
        assert!(json.get("dynamic_batching").is_none());

        let fixed = [spec("X", Datatype::Int64, &[1, 4])];
        let config = ModelConfig::of("m", &fixed, &outputs, 64);
        assert_eq!((config.max_batch_size, &*config.input[0].dims), (0, [1, 4].as_slice()));
        assert_eq!(ModelConfig::of("m", &inputs, &outputs, 0).input[0].dims, [-1, 4]);
    }

    #[test]
    fn optional_parts_are_written_when_they_are_there() {
        let parameter = ModelParameter { string_value: "v\"".into() };
        let config = ModelConfig {
            dynamic_batching: Some(ModelDynamicBatching {
                preferred_batch_size: vec![8],
                max_queue_delay_microseconds: 100,
            }),
            response_cache: Some(ModelResponseCache { enable: true }),
            parameters: BTreeMap::from([("k".into(), parameter)]),
            version_policy: Some(ModelVersionPolicy {
                policy_choice: Some(PolicyChoice::Latest(LatestVersions { num_versions: 2 })),
            }),
            ..ModelConfig::default()
        };
        let json: Value = serde_json::from_slice(&config.to_json()).expect("valid JSON");
        assert_eq!(json["dynamic_batching"]["preferred_batch_size"], json!([8]));
        assert_eq!(json["response_cache"]["enable"], true);
        assert_eq!(json["parameters"]["k"]["string_value"], "v\"");
        assert_eq!(json["version_policy"]["latest"]["num_versions"], 2);
    }

    #[test]
    fn every_datatype_has_its_own_number() {
        let mut numbers: Vec<i32> = Datatype::ALL.into_iter().map(type_number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=14).collect::<Vec<_>>());
        assert_eq!(type_name(0), "TYPE_INVALID");
    }
}
