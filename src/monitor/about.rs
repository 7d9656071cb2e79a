//! What is known about a version that is monitored, as the snapshot's builder tells it.
//!
//! Owns the description, not what follows from it. Never changes: a version that is described anew gets
//! another one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::plan::{self, TensorAbout, Tensors};
use super::store::VersionKey;
use crate::domain::dialect::Dialect;
use crate::domain::spec::{Extractors, JsonPointer, LabelTask, ModelSpec};
use crate::domain::stats::layout::{Layout, Role};
use crate::protocol::tensor::TensorSpec;

/// A description of one version.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct About {
    /// Its inputs, as the model declares them.
    pub inputs: Vec<TensorSpec>,
    /// Its outputs.
    pub outputs: Vec<TensorSpec>,
    /// What the columns of tensors stand for that do not say so themselves: the labels of classes.
    pub columns: BTreeMap<String, Vec<String>>,
    /// It runs in this process: workers take its values from tensors.
    pub is_local: bool,
    /// The sha256 of its artifact.
    pub digest: Option<[u8; 32]>,
    /// The file of its baseline; it need not be there.
    pub baseline: Option<PathBuf>,
    /// What its backends speak.
    pub dialect: Option<Dialect>,
    /// Where a body of the raw dialect has what.
    pub extractors: Option<Extractors>,
    /// Where features are in a request.
    pub features: BTreeMap<String, JsonPointer>,
    /// Where outputs are in a response.
    pub predictions: BTreeMap<String, JsonPointer>,
    /// The classes that it tells apart, where the configuration says so.
    pub classes: Vec<String>,
    /// The version whose baseline serves where this one has none; it may learn one where this is `None`.
    /// A version on trial never learns.
    pub champion: Option<VersionKey>,
}

impl About {
    /// Notes what the configuration says.
    pub fn configured(mut self, model: &ModelSpec) -> Self {
        self.features.clone_from(&model.monitor.features);
        self.predictions.clone_from(&model.monitor.outputs);
        if let Some(LabelTask::Classes { names, .. }) = model.labels.as_ref().map(|it| &it.task) {
            self.classes.clone_from(names);
        }
        self
    }

    /// Where the values of the features of `layout` stand as they are: the feature's place in the layout, the
    /// tensor's among those of its role, and the column.
    pub fn columns(&self, layout: &Layout, role: Role) -> Vec<(usize, usize, usize)> {
        plan::columns(layout, &self.tensors()[plan::place(role)], role)
    }

    /// The tensors, as far as they are declared.
    pub(super) fn tensors(&self) -> Tensors {
        let about = |spec: &TensorSpec| TensorAbout {
            name: spec.name.clone(),
            columns: match self.columns.get(&spec.name) {
                Some(columns) => columns.clone(),
                None => spec.places.clone(),
            },
            width: width(spec),
        };
        [self.inputs.iter().map(about).collect(), self.outputs.iter().map(about).collect()]
    }
}

/// Values of one row of a tensor; `None` where the declaration leaves that open.
fn width(spec: &TensorSpec) -> Option<usize> {
    let sizes = spec.shape.get(1..).unwrap_or_default();
    sizes.iter().try_fold(1usize, |width, size| width.checked_mul(usize::try_from(*size).ok()?))
}
