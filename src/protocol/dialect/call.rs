//! What a client calls, whatever dialect it speaks.
//!
//! Owns the paths of all dialects but those of routes. Names are names here: which version an alias or
//! label means, or which model a call without one, is decided by whoever knows the models.

use std::borrow::Cow;

use http::Method;

use super::Dialect;
use crate::protocol::open_inference::{NotOffered, PathError, RepositoryAction};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// A model's configuration in Triton's form.
    Config,
    /// The statistics of a model, or of all where none is named.
    Statistics,
    /// The models of the repository and their state.
    RepositoryIndex,
    /// Load a model, or load it again.
    Load,
    /// Stop answering from a model.
    Unload,
    /// A prediction from text.
    Generate,
    /// The same, answered in parts.
    GenerateStream,
    /// An extension that concerns one process, which is not offered.
    NotOffered(NotOffered),
}

impl Operation {
    /// What is asked for, in a message.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Infer => "prediction",
            Self::Classify => "classification",
            Self::Regress => "regression",
            Self::Explain => "explanation",
            Self::Generate | Self::GenerateStream => "generation of text",
            Self::Metadata | Self::ServerMetadata | Self::Config => "description",
            Self::Live | Self::Ready | Self::ModelReady | Self::ModelStatus => "state",
            Self::ModelList | Self::RepositoryIndex => "list of models",
            Self::Statistics => "statistics",
            Self::Load | Self::Unload => "model repository",
            Self::NotOffered(_) => "extension of this kind",
        }
    }

    /// Whether a model runs for it: the calls with a request and a response, which are recorded.
    pub const fn is_inference(self) -> bool {
        match self {
            Self::Infer
            | Self::Classify
            | Self::Regress
            | Self::Explain
            | Self::Generate
            | Self::GenerateStream => true,
            Self::Config
            | Self::Statistics
            | Self::RepositoryIndex
            | Self::Load
            | Self::Unload
            | Self::NotOffered(_)
            | Self::Live
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

    /// The one method that the operation allows (`HEAD` goes where `GET` does). Any will do for what is
    /// not offered.
    pub const fn method(&self) -> Method {
        let posts = matches!(
            self.operation,
            Operation::RepositoryIndex | Operation::Load | Operation::Unload
        );
        if posts || self.operation.is_inference() { Method::POST } else { Method::GET }
    }
}

/// Reads a path without its query; `Ok(None)` when it belongs to no dialect, which leaves it to the
/// routes.
///
/// # Errors
/// When it does, and a name in it is refused.
pub fn parse_path(path: &str) -> Result<Option<Call<'_>>, PathError> {
    if let Some(call) = open_inference::parse_path(path)? {
        return Ok(Some(of_open_inference(call)));
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

fn of_open_inference(call: open_inference::Call<'_>) -> Call<'_> {
    use open_inference::Call as Asked;
    let server = |operation| Call::server(Dialect::OpenInference, operation);
    match call {
        Asked::ServerLive => server(Operation::Live),
        Asked::ServerReady => server(Operation::Ready),
        Asked::ServerMetadata => server(Operation::ServerMetadata),
        Asked::ModelList => server(Operation::ModelList),
        Asked::Statistics => server(Operation::Statistics),
        Asked::RepositoryIndex => server(Operation::RepositoryIndex),
        Asked::NotOffered(what) => server(Operation::NotOffered(what)),
        Asked::Repository { model, action } => {
            let operation = match action {
                RepositoryAction::Load => Operation::Load,
                RepositoryAction::Unload => Operation::Unload,
            };
            Call::model(Dialect::OpenInference, model, Release::Any, operation)
        }
        Asked::Model { model, version, operation } => {
            let release = version.map_or(Release::Any, Release::Version);
            Call::model(Dialect::OpenInference, model, release, of_model(operation))
        }
    }
}

const fn of_model(operation: open_inference::Operation) -> Operation {
    use open_inference::Operation as Asked;
    match operation {
        Asked::Infer => Operation::Infer,
        Asked::Metadata => Operation::Metadata,
        Asked::Ready => Operation::ModelReady,
        Asked::Config => Operation::Config,
        Asked::Statistics => Operation::Statistics,
        Asked::Generate => Operation::Generate,
        Asked::GenerateStream => Operation::GenerateStream,
    }
}
