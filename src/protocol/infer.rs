//! The one form of a prediction's request and response between all dialects.
//!
//! Owns what a client asks and what a model answers, apart from how either is written: every dialect
//! decodes to these types and encodes from them, so that any client can be answered by any backend.
//! Never knows a wire format, which models exist or what they accept.
//!
//! The types borrow names and ids from the body that they were decoded from where they can. A dialect
//! without a notion (most have no ids, many no versions) leaves it absent or empty, and ignores it when
//! encoding.

use std::borrow::Cow;

pub use super::parameters::{Parameter, Parameters, parameter};
use super::tensor::Tensor;

/// What a client asks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InferRequest<'a> {
    /// Echoed in the response.
    pub id: Option<Cow<'a, str>>,
    /// Parameters of the whole request, in the order of the body.
    pub parameters: Parameters<'a>,
    /// The inputs, in the order of the body. Nothing says yet that a model accepts them.
    pub inputs: Vec<Tensor>,
    /// The outputs that are wanted; empty for all.
    pub outputs: Vec<RequestedOutput<'a>>,
}

/// An output that is wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestedOutput<'a> {
    /// The output's name.
    pub name: Cow<'a, str>,
    /// Its parameters.
    pub parameters: Parameters<'a>,
}

/// What a model answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InferResponse<'a> {
    /// The request's id.
    pub id: Option<Cow<'a, str>>,
    /// The model that answered.
    pub model_name: Cow<'a, str>,
    /// The version that answered; empty when the backend does not tell.
    pub model_version: Cow<'a, str>,
    /// Parameters of the whole response.
    pub parameters: Parameters<'a>,
    /// The outputs.
    pub outputs: Vec<Tensor>,
}
