//! Loading one model: its card, the first look at it in another process, the model itself.
//!
//! Owns the order of these steps and what a failed one says. Blocks for as long as they take.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::LoadedModels;
use crate::config::{self, Diagnostics};
use crate::domain::routing::TargetKind;
use crate::domain::spec::{Intent, ModelCard, OnnxSpec};
use crate::inference::{
    ArtifactError, Bound, LoadLimits, LocalModel, Remembered, Verdict, VetLimits, vet,
};
use crate::telemetry::logging::chain;

/// A version whose model could not be loaded.
#[derive(Debug, thiserror::Error)]
#[error("model `{target}` cannot be served")]
pub struct LoadError {
    /// The version.
    pub target: TargetKind,
    #[source]
    source: Box<Cause>,
}

impl LoadError {
    /// Whether the artifact is to blame, whoever loads it.
    fn blames_artifact(&self) -> bool {
        match &*self.source {
            Cause::Artifact(error) => error.blames_content(),
            Cause::Card(_) => true,
            Cause::Memory { .. } => false,
        }
    }

    /// Why its signature does not hold, if it is that.
    fn unsigned(&self) -> Option<String> {
        match &*self.source {
            Cause::Artifact(ArtifactError::Signature { reason, .. }) => Some(reason.clone()),
            Cause::Artifact(_) | Cause::Card(_) | Cause::Memory { .. } => None,
        }
    }
}

/// A model that is not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotLoaded {
    /// Why, in words.
    pub(super) why: String,
    /// The artifact is to blame; whatever else it is may pass.
    pub(super) is_artifact: bool,
    /// Why its signature does not hold, if it is that.
    pub(super) unsigned: Option<String>,
}

impl NotLoaded {
    /// Something that says nothing about the artifact.
    pub(super) fn for_now(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_artifact: false, unsigned: None }
    }
}

impl From<&LoadError> for NotLoaded {
    fn from(error: &LoadError) -> Self {
        Self {
            why: chain(error).to_string(),
            is_artifact: error.blames_artifact(),
            unsigned: error.unsigned(),
        }
    }
}

/// Which step failed.
#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error("{}", .0.render_human(false).trim_end())]
    Card(Diagnostics),
    #[error(
        "it takes about {wants} MiB, and loaded models take {held} MiB of the {limit} MiB of \
         `inference.memory`: unload one of them, or raise the limit"
    )]
    Memory { wants: u64, held: u64, limit: u64 },
}

/// Loads models within the bounds of the configuration.
#[derive(Debug)]
pub struct Loader {
    limits: LoadLimits,
    /// What all models may take together.
    memory: Option<u64>,
    /// Absent where models are loaded without a first look.
    vetting: Option<(VetLimits, Remembered)>,
}

impl Loader {
    /// With the bounds of `intent`.
    pub fn new(intent: &Intent) -> Self {
        let spec = &intent.inference;
        let limits = LoadLimits { file_bytes: spec.model_bytes, run_bytes: spec.run_memory };
        let vet = VetLimits { memory: spec.load_memory, time: spec.load_time };
        let remembered = Remembered::new(&intent.data_dir, limits, &vet);
        let memory = spec.memory;
        Self { limits, memory, vetting: spec.isolate.then_some((vet, remembered)) }
    }

    /// Loads the model of `target`.
    ///
    /// # Errors
    ///
    /// [`LoadError`] says which file, what is wrong and what to do.
    pub fn load(&self, target: &TargetKind, onnx: &OnnxSpec) -> Result<LocalModel, LoadError> {
        let fail = |source: Cause| LoadError { target: target.clone(), source: Box::new(source) };
        let began = Instant::now();
        let card = card(onnx).map_err(|found| fail(Cause::Card(found)))?;
        let (model, verdict) =
            self.model(onnx, card.as_ref()).map_err(|error| fail(error.into()))?;
        tracing::info!(
            %target,
            bytes = model.bytes(),
            memory = model.memory(),
            load_memory_peak = verdict.as_ref().map(|verdict| verdict.memory_peak),
            cost_us = model.cost_us(),
            load_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "a model is loaded"
        );
        match model.bound() {
            None => {}
            Some(Bound::Joined(reason)) => tracing::info!(
                %target, reason,
                "the first dimensions of a model's inputs, which have different names, are taken for one batch"
            ),
            Some(Bound::BySize(reason)) => tracing::info!(
                %target, reason, in_parts = model.runs_in_parts(),
                "a model has plans for certain sizes only: others are made when they are asked for"
            ),
            Some(Bound::OneRow(reason)) => tracing::warn!(
                %target, reason,
                "a model is compiled for one row: requests with more are refused"
            ),
        }
        Ok(model)
    }

    /// The sha256 of a model's file as it lies there now; `None` where it cannot be read. Blocks.
    pub(super) fn sha256(&self, onnx: &OnnxSpec) -> Option<[u8; 32]> {
        LocalModel::read(onnx, &self.limits).ok().map(|file| file.sha256())
    }

    /// Checks that a model that was loaded fits beside those that are.
    ///
    /// # Errors
    ///
    /// [`LoadError`] when all together would take more than the configuration allows.
    pub fn admit(
        &self,
        target: &TargetKind,
        model: &LocalModel,
        loaded: &LoadedModels,
    ) -> Result<(), LoadError> {
        const MIB: u64 = 1024 * 1024;
        let Some(limit) = self.memory else { return Ok(()) };
        let held: u64 = loaded.values().map(|model| model.memory()).sum();
        let wants = model.memory();
        if held.saturating_add(wants) <= limit {
            return Ok(());
        }
        // What is asked for is rounded up, so that the sum is not below the limit.
        let (wants, held) = (wants.div_ceil(MIB), held.div_ceil(MIB));
        let source = Box::new(Cause::Memory { wants, held, limit: limit / MIB });
        Err(LoadError { target: target.clone(), source })
    }

    fn model(
        &self,
        onnx: &OnnxSpec,
        card: Option<&ModelCard>,
    ) -> Result<(LocalModel, Option<Verdict>), ArtifactError> {
        let file = LocalModel::read(onnx, &self.limits)?;
        let verdict = match &self.vetting {
            None => None,
            Some((limits, remembered)) => Some(match remembered.find(file.sha256(), card) {
                Some(verdict) => verdict,
                None => {
                    // Read there once more: a card travels as text.
                    let beside = config::card_of(&onnx.path);
                    let verdict = vet(&onnx.path, beside.as_deref(), self.limits, limits)?;
                    remembered.keep(file.sha256(), card, &verdict);
                    verdict
                }
            }),
        };
        let model = file.load(onnx, card, verdict.as_ref())?;
        if onnx.batch.is_some() {
            model.check_batching(&onnx.path)?;
        }
        Ok((model, verdict))
    }
}

/// Loads a model on a thread that ends with it: what a thread has allocated is free for all only then.
///
/// # Errors
///
/// Why it is not loaded, in words, and whether that is its own fault.
pub(super) async fn load_aside(
    loader: Arc<Loader>,
    target: TargetKind,
    onnx: OnnxSpec,
) -> Result<LocalModel, NotLoaded> {
    let (answer, loading) = oneshot::channel();
    let load = move || drop(answer.send(loader.load(&target, &onnx)));
    let thread = std::thread::Builder::new().name("model-loader".to_owned()).spawn(load);
    thread.map_err(|error| NotLoaded::for_now(format!("no thread for it: {error}")))?;
    let loaded = loading.await.map_err(|gone| NotLoaded::for_now(gone.to_string()))?;
    loaded.map_err(|error| NotLoaded::from(&error))
}

/// The card beside the model file.
fn card(onnx: &OnnxSpec) -> Result<Option<ModelCard>, Diagnostics> {
    config::card_of(&onnx.path).map(|path| config::load_card(&path)).transpose()
}
