//! One face for all dialects: what a client calls, and any request and answer in and out.
//!
//! Owns the choice of the codec, nothing else: each dialect is a module of its own, and what passes
//! between them is [`InferRequest`](super::infer::InferRequest) and
//! [`InferResponse`](super::infer::InferResponse). Never knows which models exist, resolves an alias, or
//! decides a status.
//!
//! # How it is used
//!
//! ```text
//!  client                                                                    backend
//!    │  parse_path ─► Call ─► (routing) ─► Target                               │
//!    │  Body::new ─► decode_request ─► Decoded{request, form}                   │
//!    │                                    └─► encode_request ─► http::Request ─►│
//!    │                                        decode_response ◄─ Body, status ◄─│
//!    │◄─ http::Response ◄─ encode_response(form, response)                      │
//!    │◄─ http::Response ◄─ encode_failure(dialect, status, message)             │
//! ```
//!
//! 1. [`parse_path`] says which dialect a path belongs to, which model and release it names and what it
//!    asks. Names are resolved by the caller. Routes decide for [`Dialect::Raw`], which has no paths; the
//!    paths of gRPC are [`Method`](super::open_inference::grpc::Method)'s, as its model stands in the
//!    message.
//! 2. Where the backend speaks what the client speaks ([`same_wire`]) the bytes may pass untouched.
//!    Otherwise [`decode_request`] reads the request. Dialects without types need the model's
//!    [`Signature`] to read values as what the model takes; without one they are read as the widest
//!    type. What else is declared about an endpoint stands in its [`Terms`].
//! 3. A model in this process takes the request's inputs. For a backend, [`encode_request`] makes the
//!    whole request but the authority, and [`decode_response`] reads the answer by what was [`Asked`],
//!    or says why the backend failed.
//! 4. [`encode_response`] writes an answer in the form of the request. The caller puts the names of the
//!    model and the version that it wants the client to see into the response.
//! 5. Calls that run no model ([`Operation::is_inference`]) are answered by the functions of
//!    [`about`]; [`probe`] has what a backend is asked to find out what it serves.

use bytes::Bytes;
use smallvec::SmallVec;

pub mod about;
mod backend;
mod body;
mod by_row;
mod call;
mod client;
mod failure;
mod fuzz;
pub mod probe;
#[cfg(test)]
mod tests;
mod v2;
mod weight;

pub use self::backend::{
    AnswerError, Asked, Target, decode_response, encode_request, name_container,
};
pub use self::body::Body;
pub use self::call::{Call, Operation, Release, parse_path};
pub use self::client::{
    Decoded, EncodeError, Form, RequestError, decode_request, encode_response, no_labels,
};
pub use self::failure::{BackendFailure, decode_failure, encode_failure};
#[doc(hidden)]
pub use self::fuzz::{fuzz_answer, fuzz_request};
pub use self::weight::swelling;
pub use super::describe::{DeclaredModel, Extensions, Signature, VersionState, VersionStatus};
pub use super::open_inference::{BodyError, NotOffered, PathError};
pub use super::sagemaker::Form as SagemakerForm;
pub use crate::domain::dialect::Dialect;
pub use crate::domain::spec::{ContainerForm, Extractors};

/// A body that is sent, in its order; one piece but for binary tensors, which are not copied.
pub type Pieces = SmallVec<[Bytes; 2]>;

/// What is declared or known about the endpoint that speaks a dialect.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms<'a> {
    /// The tensors of the model.
    pub signature: Option<Signature<'a>>,
    /// Where a raw body has what.
    pub extractors: Option<&'a Extractors>,
}

/// Whether a call and its answer can pass as they are where the backend speaks `backend`. A prediction on the path that
/// KServe V1 and TensorFlow Serving share is in whichever of the two the backend speaks; in all else they differ.
pub fn same_wire(call: &Call<'_>, backend: Dialect) -> bool {
    let is_shared = call.dialect == Dialect::KserveV1 && call.operation == Operation::Infer;
    call.dialect == backend || (is_shared && backend == Dialect::TensorflowServing)
}
