//! The messages of `inference.GRPCInferenceService`.
//!
//! Written by hand to the same fields as `service.proto` beside this file, which the reflection service
//! hands out; a test holds one against the other. Where KServe's and Triton's definitions differ, one
//! message holds the fields of both.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::{Message, Oneof};

/// A request without fields: of `ServerLive`, `ServerReady` and `ServerMetadata`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Empty {}

/// The answer to `ServerLive`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ServerLiveResponse {
    /// Whether the gateway can be talked to.
    #[prost(bool, tag = "1")]
    pub live: bool,
}

/// The answer to `ServerReady` and to `ModelReady`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ReadyResponse {
    /// Whether requests are answered.
    #[prost(bool, tag = "1")]
    pub ready: bool,
}

/// A request about one model: of `ModelReady`, `ModelMetadata`, `ModelConfig` and `ModelStatistics`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ModelRequest {
    /// The model; for statistics, empty for all.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The version; empty leaves the choice to the gateway.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// The answer to `ServerMetadata`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ServerMetadataResponse {
    /// The server's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The server's version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// The extensions that are offered.
    #[prost(string, repeated, tag = "3")]
    pub extensions: Vec<String>,
}

/// The answer to `ModelMetadata`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ModelMetadataResponse {
    /// The model's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The versions that can be asked for.
    #[prost(string, repeated, tag = "2")]
    pub versions: Vec<String>,
    /// What runs it.
    #[prost(string, tag = "3")]
    pub platform: String,
    /// The inputs.
    #[prost(message, repeated, tag = "4")]
    pub inputs: Vec<TensorMetadata>,
    /// The outputs.
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<TensorMetadata>,
    /// Anything else; KServe's addition.
    #[prost(btree_map = "string, string", tag = "6")]
    pub properties: BTreeMap<String, String>,
}

/// What is declared about a tensor.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TensorMetadata {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The name of its datatype.
    #[prost(string, tag = "2")]
    pub datatype: String,
    /// Its dimensions; -1 where any size will do.
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
}

/// The request of `ModelInfer`, and each message of a `ModelStreamInfer` request.
#[derive(Clone, PartialEq, Message)]
pub struct ModelInferRequest {
    /// The model.
    #[prost(string, tag = "1")]
    pub model_name: String,
    /// The version; empty leaves the choice to the gateway.
    #[prost(string, tag = "2")]
    pub model_version: String,
    /// Echoed in the response; empty for none.
    #[prost(string, tag = "3")]
    pub id: String,
    /// Parameters of the whole request.
    #[prost(btree_map = "string, message", tag = "4")]
    pub parameters: BTreeMap<String, InferParameter>,
    /// The inputs.
    #[prost(message, repeated, tag = "5")]
    pub inputs: Vec<InferTensor>,
    /// The outputs that are wanted; empty for all.
    #[prost(message, repeated, tag = "6")]
    pub outputs: Vec<InferRequestedOutput>,
    /// The data of the inputs in binary form, instead of their contents.
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub raw_input_contents: Vec<Bytes>,
}

/// A tensor of a request or a response.
#[derive(Clone, PartialEq, Message)]
pub struct InferTensor {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The name of its datatype.
    #[prost(string, tag = "2")]
    pub datatype: String,
    /// Its dimensions.
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
    /// Its parameters.
    #[prost(btree_map = "string, message", tag = "4")]
    pub parameters: BTreeMap<String, InferParameter>,
    /// Its data, unless that is raw.
    #[prost(message, optional, tag = "5")]
    pub contents: Option<InferTensorContents>,
}

/// An output that is wanted.
#[derive(Clone, PartialEq, Message)]
pub struct InferRequestedOutput {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its parameters.
    #[prost(btree_map = "string, message", tag = "2")]
    pub parameters: BTreeMap<String, InferParameter>,
}

/// The value of a parameter.
#[derive(Clone, PartialEq, Message)]
pub struct InferParameter {
    /// The value.
    #[prost(oneof = "ParameterChoice", tags = "1, 2, 3, 4, 5")]
    pub parameter_choice: Option<ParameterChoice>,
}

/// What a parameter can be; older definitions stop at strings.
#[derive(Clone, PartialEq, Oneof)]
pub enum ParameterChoice {
    /// A boolean.
    #[prost(bool, tag = "1")]
    BoolParam(bool),
    /// An integer.
    #[prost(int64, tag = "2")]
    Int64Param(i64),
    /// A string.
    #[prost(string, tag = "3")]
    StringParam(String),
    /// A number.
    #[prost(double, tag = "4")]
    DoubleParam(f64),
    /// An integer without a sign.
    #[prost(uint64, tag = "5")]
    Uint64Param(u64),
}

/// The data of a tensor by its type; one of the lists is filled.
#[derive(Clone, PartialEq, Message)]
pub struct InferTensorContents {
    /// BOOL.
    #[prost(bool, repeated, tag = "1")]
    pub bool_contents: Vec<bool>,
    /// INT8, INT16 and INT32.
    #[prost(int32, repeated, tag = "2")]
    pub int_contents: Vec<i32>,
    /// INT64.
    #[prost(int64, repeated, tag = "3")]
    pub int64_contents: Vec<i64>,
    /// UINT8, UINT16 and UINT32.
    #[prost(uint32, repeated, tag = "4")]
    pub uint_contents: Vec<u32>,
    /// UINT64.
    #[prost(uint64, repeated, tag = "5")]
    pub uint64_contents: Vec<u64>,
    /// FP32.
    #[prost(float, repeated, tag = "6")]
    pub fp32_contents: Vec<f32>,
    /// FP64.
    #[prost(double, repeated, tag = "7")]
    pub fp64_contents: Vec<f64>,
    /// BYTES.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub bytes_contents: Vec<Vec<u8>>,
}

/// The answer to `ModelInfer`.
#[derive(Clone, PartialEq, Message)]
pub struct ModelInferResponse {
    /// The model that answered.
    #[prost(string, tag = "1")]
    pub model_name: String,
    /// The version that answered.
    #[prost(string, tag = "2")]
    pub model_version: String,
    /// The request's id.
    #[prost(string, tag = "3")]
    pub id: String,
    /// Parameters of the whole response.
    #[prost(btree_map = "string, message", tag = "4")]
    pub parameters: BTreeMap<String, InferParameter>,
    /// The outputs.
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<InferTensor>,
    /// The data of the outputs in binary form, instead of their contents.
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub raw_output_contents: Vec<Bytes>,
}

/// Each message of the answer to `ModelStreamInfer`, as Triton has it.
#[derive(Clone, PartialEq, Message)]
pub struct ModelStreamInferResponse {
    /// Why there is no answer; empty when there is.
    #[prost(string, tag = "1")]
    pub error_message: String,
    /// The answer, with the request's id even when there is an error.
    #[prost(message, optional, tag = "2")]
    pub infer_response: Option<ModelInferResponse>,
}

/// The request of `RepositoryIndex`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RepositoryIndexRequest {
    /// The repository; empty for all.
    #[prost(string, tag = "1")]
    pub repository_name: String,
    /// Only what is ready.
    #[prost(bool, tag = "2")]
    pub ready: bool,
}

/// The answer to `RepositoryIndex`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RepositoryIndexResponse {
    /// One entry a version.
    #[prost(message, repeated, tag = "1")]
    pub models: Vec<ModelIndex>,
}

/// The state of one version.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ModelIndex {
    /// The model.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// `READY`, `UNAVAILABLE`, `LOADING`, `UNLOADING` or `UNKNOWN`.
    #[prost(string, tag = "3")]
    pub state: String,
    /// Why, if it is not ready.
    #[prost(string, tag = "4")]
    pub reason: String,
}

/// The request of `RepositoryModelLoad` and `RepositoryModelUnload`. Triton calls the first field
/// `repository_name` and has the model's name in the second; KServe has the model's name in the first and
/// nothing else. [`RepositoryModelRequest::model`] reads both.
#[derive(Clone, PartialEq, Message)]
pub struct RepositoryModelRequest {
    /// Triton's repository, KServe's model.
    #[prost(string, tag = "1")]
    pub repository_or_model_name: String,
    /// Triton's model.
    #[prost(string, tag = "2")]
    pub model_name: String,
    /// Triton's parameters.
    #[prost(btree_map = "string, message", tag = "3")]
    pub parameters: BTreeMap<String, ModelRepositoryParameter>,
}

/// The value of a parameter about the repository.
#[derive(Clone, PartialEq, Message)]
pub struct ModelRepositoryParameter {
    /// The value.
    #[prost(oneof = "RepositoryParameterChoice", tags = "1, 2, 3, 4")]
    pub parameter_choice: Option<RepositoryParameterChoice>,
}

/// What a parameter about the repository can be.
#[derive(Clone, PartialEq, Oneof)]
pub enum RepositoryParameterChoice {
    /// A boolean.
    #[prost(bool, tag = "1")]
    BoolParam(bool),
    /// An integer.
    #[prost(int64, tag = "2")]
    Int64Param(i64),
    /// A string.
    #[prost(string, tag = "3")]
    StringParam(String),
    /// The contents of a file.
    #[prost(bytes = "bytes", tag = "4")]
    BytesParam(Bytes),
}

/// KServe's answer to `RepositoryModelLoad` and `RepositoryModelUnload`; Triton's has no fields, so that
/// its clients skip these.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RepositoryModelResponse {
    /// The model.
    #[prost(string, tag = "1")]
    pub model_name: String,
    /// Whether it is loaded, or unloaded, now.
    #[prost(bool, tag = "2")]
    pub done: bool,
}

impl RepositoryModelRequest {
    /// The model's name, whichever definition the client was made from.
    pub fn model(&self) -> &str {
        if self.model_name.is_empty() { &self.repository_or_model_name } else { &self.model_name }
    }
}
