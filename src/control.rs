//! The controller: from intent to a published snapshot.
//!
//! Owns loading models and publishing snapshots; it is the only writer of the snapshot. Never serves
//! a request and never imports `proxy`.

mod publish;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

pub use self::publish::{Controller, PublishError};
use crate::domain::routing::TargetKind;
use crate::domain::spec::{Intent, VersionSpec};
use crate::inference::{ArtifactError, LoadLimits, LocalModel};

/// Models that are loaded, by the version that they answer for.
pub type LoadedModels = BTreeMap<TargetKind, Arc<LocalModel>>;

/// A version whose model could not be loaded.
#[derive(Debug, thiserror::Error)]
#[error("model `{target}` cannot be served")]
pub struct LoadError {
    /// The version.
    pub target: TargetKind,
    #[source]
    source: ArtifactError,
}

/// Loads every in-process model of `intent`, on as many threads as the machine gives. Blocks.
///
/// # Errors
///
/// All models that could not be loaded.
pub fn load_models(intent: &Intent) -> Result<LoadedModels, Vec<LoadError>> {
    let wanted: Vec<(TargetKind, &Path)> = intent
        .models
        .iter()
        .flat_map(|(model, spec)| {
            spec.versions.iter().filter_map(|(version, spec)| match spec {
                VersionSpec::Onnx(path) => {
                    Some((TargetKind::Version(model.clone(), version.clone()), path.as_path()))
                }
                VersionSpec::Backends(_) => None,
            })
        })
        .collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(wanted.len());
    let next = Mutex::new(wanted.into_iter());
    let done = Mutex::new((LoadedModels::new(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some((target, path)) = next.lock().next() else { return };
                    let result = load(&target, path);
                    let mut done = done.lock();
                    match result {
                        Ok(model) => drop(done.0.insert(target, Arc::new(model))),
                        Err(source) => done.1.push(LoadError { target, source }),
                    }
                }
            });
        }
    });
    let (models, mut errors) = done.into_inner();
    if errors.is_empty() {
        return Ok(models);
    }
    errors.sort_by(|a, b| a.target.cmp(&b.target));
    Err(errors)
}

fn load(target: &TargetKind, path: &Path) -> Result<LocalModel, ArtifactError> {
    let began = Instant::now();
    let model = LocalModel::load(path, &LoadLimits::default())?;
    tracing::info!(
        %target,
        bytes = model.bytes(),
        cost_us = u64::try_from(model.cost().as_micros()).unwrap_or(u64::MAX),
        load_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "a model is loaded"
    );
    Ok(model)
}
