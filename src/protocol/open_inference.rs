//! The Open Inference Protocol, version 2, over REST with JSON bodies.
//!
//! Owns its paths ([`parse_path`]), requests ([`decode_infer_request`]) and answers
//! ([`encode_infer_response`], metadata, health, errors). Never knows which models exist or what they
//! accept. Written to <https://github.com/kserve/open-inference-protocol> and to what Triton 2.51
//! does; where Triton answers a malformed request with 500, every error here is the client's.
//!
//! Like Triton it ignores unknown keys and parameters, takes data that is flattened or nested in any
//! way as long as the number of elements is right, and turns a number beyond `f32` into an infinity.

mod path;
mod request;
mod response;

#[cfg(test)]
mod tests;

pub(super) use self::path::decode_name;
pub use self::path::{Call, Operation, PathError, parse_path};
pub use self::request::decode_infer_request;
pub(super) use self::request::{once, read_parameters};
pub use self::response::{
    EncodeError, ModelMetadata, PLATFORM_ONNX, encode_error, encode_infer_response, encode_live,
    encode_model_metadata, encode_model_ready, encode_ready, encode_server_metadata,
};
