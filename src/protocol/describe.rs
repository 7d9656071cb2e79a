//! What servers say about their models, apart from how it is written.
//!
//! Owns the form in which a backend's metadata and the state of a model's versions are kept, whichever
//! dialect they came in. Never knows a wire format.

use super::infer::InferRequest;
use super::shown::shortened;
use super::tensor::TensorSpec;

/// What a model takes and returns, as a backend tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeclaredModel {
    /// The model's name.
    pub name: String,
    /// The versions that can be asked for; empty where the backend does not tell.
    pub versions: Vec<String>,
    /// What runs it; empty where the backend does not tell.
    pub platform: String,
    /// The inputs.
    pub inputs: Vec<TensorSpec>,
    /// The outputs.
    pub outputs: Vec<TensorSpec>,
}

/// The tensors that a model declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature<'a> {
    /// What it takes.
    pub inputs: &'a [TensorSpec],
    /// What it returns.
    pub outputs: &'a [TensorSpec],
}

impl<'a> Signature<'a> {
    /// The tensors that a backend told; `None` where it did not name any.
    pub fn of(model: &'a DeclaredModel) -> Option<Self> {
        let known = !model.inputs.is_empty();
        known.then_some(Self { inputs: &model.inputs, outputs: &model.outputs })
    }
}

impl Signature<'_> {
    /// What a request asks that the model does not take or return; `None` where it fits.
    pub fn misfit(&self, request: &InferRequest<'_>) -> Option<String> {
        for input in &request.inputs {
            let name = || shortened(input.name());
            let Some(spec) = self.inputs.iter().find(|spec| spec.name == input.name()) else {
                return Some(format!("unexpected inference input '{}'", name()));
            };
            if input.datatype() != spec.datatype {
                let (found, expected) = (input.datatype(), spec.datatype);
                return Some(format!(
                    "inference input '{}' data-type is '{found}', but the model expects '{expected}'",
                    name()
                ));
            }
            let fits = |(size, dim): (&usize, &i64)| *dim < 0 || usize::try_from(*dim) == Ok(*size);
            let shape = input.shape();
            if shape.len() != spec.shape.len() || !shape.iter().zip(&spec.shape).all(fits) {
                let expected = &spec.shape;
                return Some(format!(
                    "inference input '{}' has shape {shape:?}, but the model expects {expected:?}",
                    name()
                ));
            }
        }
        let unknown = |name: &str| !self.outputs.iter().any(|spec| spec.name == name);
        let wanted = request.outputs.iter().find(|output| unknown(&output.name));
        wanted.map(|output| format!("unexpected inference output '{}'", shortened(&output.name)))
    }
}

/// Which extensions of the Open Inference Protocol a backend has, of those that decide what a request
/// for a prediction may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extensions {
    /// Tensors behind the JSON, in both directions.
    pub binary_tensors: bool,
    /// The largest values of an output instead of all of them.
    pub classification: bool,
}

/// The state of one version of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionStatus {
    /// The version's name.
    pub version: String,
    /// Its state.
    pub state: VersionState,
    /// Why it is not available, or empty.
    pub message: String,
}

/// Where a version is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionState {
    /// Known, and nothing is done yet.
    Start,
    /// On its way.
    Loading,
    /// Answers.
    Available,
    /// On its way out.
    Unloading,
    /// Gone, or failed.
    End,
}
