//! Codecs between wire bytes and tensors.
//!
//! Owns the one form of tensors, requests and responses that all dialects share ([`tensor`], [`infer`]), the
//! reader and writer of JSON that are made for numbers ([`json`]), what gRPC puts around messages
//! ([`grpc`]), the words that protocols have for failures ([`status`]), the dialects ([`open_inference`],
//! [`kserve_v1`], [`tensorflow_serving`], [`torchserve`], [`sagemaker`], [`raw`]), the values without types
//! that most of them have ([`untyped`]), and one face for all of them ([`dialect`]). Pure: never does I/O,
//! reads a clock or knows which models exist; what a model accepts is checked by `inference`.

mod describe;
pub mod dialect;
mod envelope;
mod fuzz;
pub mod grpc;
pub mod infer;
pub mod json;
pub mod kserve_v1;
pub mod open_inference;
mod parameters;
mod preference;
pub mod raw;
pub mod sagemaker;
pub(crate) mod shown;
pub mod status;
pub mod tensor;
pub mod tensorflow_serving;
pub mod torchserve;
pub mod untyped;

pub use self::preference::weight;

#[doc(hidden)]
pub use self::fuzz::{
    fuzz_binary_request, fuzz_grpc_body, fuzz_grpc_messages, fuzz_infer_request, fuzz_raw_request,
    fuzz_reflection, fuzz_small_bodies,
};
