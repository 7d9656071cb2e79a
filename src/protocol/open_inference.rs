//! The Open Inference Protocol, version 2, over REST and over gRPC, with Triton's extensions.
//!
//! Owns its paths ([`parse_path`]), bodies ([`Body`], [`Encoded`]), answers about the server and its models,
//! and the messages of the gRPC service ([`grpc`]). Never knows which models exist or what they accept.
//! Written to <https://github.com/kserve/open-inference-protocol> and to what Triton 2.51 does; where Triton
//! answers a malformed request with 500, every error here is the client's.
//!
//! Like Triton it ignores unknown keys and parameters, takes data that is flattened or nested in any
//! way as long as the number of elements is right, and turns a number beyond `f32` into an infinity.

mod body;
mod classification;
mod config;
mod encode;
mod golden;
pub mod grpc;
mod metadata;
mod outputs;
mod parameters;
mod path;
mod repository;
mod request;
mod response;
mod statistics;
mod texts;

#[cfg(test)]
mod binary_tests;
#[cfg(test)]
mod tests;

pub use self::body::{Body, BodyError, HEAD_LENGTH_HEADER};
pub use self::classification::{ClassifyError, classify};
pub use self::config::{
    AllVersions, LatestVersions, ModelConfig, ModelConfigResponse, ModelDynamicBatching,
    ModelInput, ModelOutput, ModelParameter, ModelResponseCache, ModelTransactionPolicy,
    ModelVersionPolicy, PolicyChoice, type_number,
};
pub use self::encode::{
    EncodeError, Encoded, encode_infer_request, encode_infer_response, encode_infer_response_as,
};
pub use self::golden::{GoldenCase, GoldenError, Label, decode_golden_case};
pub use self::metadata::{
    ModelMetadata, PLATFORM_ONNX, decode_model_metadata, encode_error, encode_live,
    encode_model_list, encode_model_metadata, encode_model_ready, encode_ready,
    encode_server_metadata,
};
use self::outputs::CLASSES;
pub use self::outputs::{FormError, OutputForm, OutputForms};
pub(super) use self::parameters::read_parameters;
use self::parameters::{RESERVED_PREFIX, SHARED_MEMORY_PREFIX, kept};
pub(super) use self::path::decode_name;
pub use self::path::{Call, NotOffered, Operation, PathError, RepositoryAction, parse_path};
pub use self::repository::{
    IndexRequest, IndexState, LoadRequest, decode_index_request, decode_load_request, encode_index,
};
pub use self::request::decode_infer_request;
pub(super) use self::request::once;
pub use self::statistics::{
    InferBatchStatistics, InferResponseStatistics, InferStatistics, MemoryUsage, ModelStatistics,
    ModelStatisticsResponse, StatisticDuration, encode_statistics,
};

/// The REST protocol as an OpenAPI 3.1 document.
pub static OPENAPI: &str = include_str!("open_inference/openapi.json");
