//! What a client calls, whatever dialect it speaks.
//!
//! Owns the paths of all dialects but those of routes. Names are names here: which version an alias or
//! label means, or which model a call without one, is decided by whoever knows the models.

use std::borrow::Cow;

use http::Method;

use super::Dialect;
use crate::protocol::open_inference::PathError;
use crate::protocol::{kserve_v1, open_inference, sagemaker, tensorflow_serving, torchserve};

/// What a client calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call<'a> {
    /// The dialect of the path. What is common to KServe V1 and TensorFlow Serving counts as the
    /// former; its body may turn out to be the latter's.
    pub dialect: Dialect,
    /// The model, percent-decoded; `None` where the dialect names none or the gateway is meant.
    pub model: Option<Cow<'a, str>>,
    /// Which release of the model.
    pub release: Release<'a>,
    /// What is asked.
    pub operation: Operation,
}

/// Which release of a model a call names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Release<'a> {
    /// None: the choice is the gateway's.
    #[default]
    Any,
    /// This version.
    Version(Cow<'a, str>),
    /// The version that has this label or alias now.
    Label(Cow<'a, str>),
}

/// What is asked of the server or of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Whether the process runs.
    Live,
    /// Whether the server can predict.
    Ready,
    /// What the server is.
    ServerMetadata,
    /// The names of the models.
    ModelList,
    /// A prediction.
    Infer,
    /// A prediction whose answer is labels with scores.
    Classify,
    /// A prediction whose answer is one number for each row.
    Regress,
    /// An explanation of a prediction.
    Explain,
    /// What a model takes and returns.
    Metadata,
    /// Whether a model can predict.
    ModelReady,
    /// The state of a model's versions.
    ModelStatus,
}

impl Operation {
    /// Whether a model runs for it: the calls with a request and a response, which are recorded.
    pub const fn is_inference(self) -> bool {
        match self {
            Self::Infer | Self::Classify | Self::Regress | Self::Explain => true,
            Self::Live
            | Self::Ready
            | Self::ServerMetadata
            | Self::ModelList
            | Self::Metadata
            | Self::ModelReady
            | Self::ModelStatus => false,
        }
    }
}

impl<'a> Call<'a> {
    /// A call about the server.
    pub(in crate::protocol) const fn server(dialect: Dialect, operation: Operation) -> Self {
        Self { dialect, model: None, release: Release::Any, operation }
    }

    /// A call about a model.
    pub(in crate::protocol) const fn model(
        dialect: Dialect,
        model: Cow<'a, str>,
        release: Release<'a>,
        operation: Operation,
    ) -> Self {
        Self { dialect, model: Some(model), release, operation }
    }

    /// The one method that the operation allows (`HEAD` goes where `GET` does).
    pub fn method(&self) -> Method {
        if self.operation.is_inference() { Method::POST } else { Method::GET }
    }
}

/// Reads a path without its query; `Ok(None)` when it belongs to no dialect, which leaves it to the
/// routes.
///
/// # Errors
/// When it does, and a name in it is refused.
pub fn parse_path(path: &str) -> Result<Option<Call<'_>>, PathError> {
    if let Some(call) = open_inference::parse_path(path)? {
        return Ok(of_open_inference(call));
    }
    if let Some(call) = tensorflow_serving::parse_path(path)? {
        return Ok(Some(call));
    }
    if let Some(call) = kserve_v1::parse_path(path) {
        return Ok(Some(call));
    }
    if let Some(call) = torchserve::parse_path(path)? {
        return Ok(Some(call));
    }
    sagemaker::parse_path(path)
}

/// The calls that other dialects have too; the extensions of this one are not among them.
fn of_open_inference(call: open_inference::Call<'_>) -> Option<Call<'_>> {
    use open_inference::Operation as Asked;
    let dialect = Dialect::OpenInference;
    Some(match call {
        open_inference::Call::ServerLive => Call::server(dialect, Operation::Live),
        open_inference::Call::ServerReady => Call::server(dialect, Operation::Ready),
        open_inference::Call::ServerMetadata => Call::server(dialect, Operation::ServerMetadata),
        open_inference::Call::ModelList => Call::server(dialect, Operation::ModelList),
        open_inference::Call::Model { model, version, operation } => {
            let release = version.map_or(Release::Any, Release::Version);
            let operation = match operation {
                Asked::Infer => Operation::Infer,
                Asked::Metadata => Operation::Metadata,
                Asked::Ready => Operation::ModelReady,
                Asked::Config | Asked::Statistics | Asked::Generate | Asked::GenerateStream => {
                    return None;
                }
            };
            Call::model(dialect, model, release, operation)
        }
        open_inference::Call::Statistics
        | open_inference::Call::RepositoryIndex
        | open_inference::Call::Repository { .. }
        | open_inference::Call::NotOffered(_) => return None,
    })
}
