//! Loading one model: its card, the first look at it in another process, the model itself.
//!
//! Owns the order of these steps and what a failed one says. Blocks for as long as they take.

use std::time::Instant;

use crate::config::{self, Diagnostics};
use crate::domain::routing::TargetKind;
use crate::domain::spec::{Intent, ModelCard, OnnxSpec};
use crate::inference::{
    ArtifactError, LoadLimits, LocalModel, Remembered, Verdict, VetLimits, vet,
};

/// A version whose model could not be loaded.
#[derive(Debug, thiserror::Error)]
#[error("model `{target}` cannot be served")]
pub struct LoadError {
    /// The version.
    pub target: TargetKind,
    #[source]
    source: Box<Cause>,
}

/// Which step failed.
#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error("{}", .0.render_human(false).trim_end())]
    Card(Diagnostics),
}

/// Loads models within the bounds of the configuration.
#[derive(Debug)]
pub struct Loader {
    limits: LoadLimits,
    /// Absent where models are loaded without a first look.
    vetting: Option<(VetLimits, Remembered)>,
}

impl Loader {
    /// With the bounds of `intent`.
    pub fn new(intent: &Intent) -> Self {
        let spec = &intent.inference;
        let limits = LoadLimits { file_bytes: spec.model_bytes };
        let vet = VetLimits { memory: spec.load_memory, time: spec.load_time };
        let remembered = Remembered::new(&intent.data_dir, limits, &vet);
        Self { limits, vetting: spec.isolate.then_some((vet, remembered)) }
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
            cost_us = u64::try_from(model.cost().as_micros()).unwrap_or(u64::MAX),
            load_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "a model is loaded"
        );
        Ok(model)
    }

    fn model(
        &self,
        onnx: &OnnxSpec,
        card: Option<&ModelCard>,
    ) -> Result<(LocalModel, Option<Verdict>), ArtifactError> {
        let file = LocalModel::read(onnx, &self.limits)?;
        let verdict = match &self.vetting {
            None => None,
            Some((limits, remembered)) => Some(match remembered.find(file.sha256()) {
                Some(verdict) => verdict,
                None => {
                    let verdict = vet(&onnx.path, self.limits, limits)?;
                    remembered.keep(file.sha256(), &verdict);
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

/// The card beside the model file.
fn card(onnx: &OnnxSpec) -> Result<Option<ModelCard>, Diagnostics> {
    config::card_of(&onnx.path).map(|path| config::load_card(&path)).transpose()
}
