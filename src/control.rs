//! The controller: from intent to a published snapshot.
//!
//! Owns loading models and publishing snapshots, at the start and when an order says so; it is the only
//! writer of the snapshot. Never serves a request and never imports `proxy`.

pub mod admission;
mod ask;
mod contents;
pub mod discovery;
mod ebb;
mod enquiry;
pub mod events;
mod fetch;
pub mod health;
pub mod journal;
mod lanes;
mod load;
mod members;
mod publish;
pub mod releases;
mod repository;
#[cfg(test)]
mod simulation;
pub mod steady;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

pub use self::load::{LoadError, Loader};
pub use self::publish::{Controller, PublishError, about_local, about_remote, champion};
pub use self::repository::{BeginError, Residents};
pub use self::store::STATE_DIR;
use crate::domain::routing::TargetKind;
use crate::domain::spec::{Intent, OnnxSpec, VersionSpec};
use crate::inference::LocalModel;

/// Models that are loaded, by the version that they answer for.
pub type LoadedModels = BTreeMap<TargetKind, Arc<LocalModel>>;

/// Loads every in-process model of `intent`, on as many threads as the machine gives. Blocks.
///
/// # Errors
///
/// All models that could not be loaded.
pub fn load_models(intent: &Intent, loader: &Loader) -> Result<LoadedModels, Vec<LoadError>> {
    let wanted: Vec<(TargetKind, &OnnxSpec)> = intent
        .models
        .iter()
        // Those under the life cycle are loaded when it says so.
        .filter(|(_, spec)| spec.lifecycle.is_none())
        .flat_map(|(model, spec)| {
            spec.versions.iter().filter_map(|(version, spec)| match spec {
                VersionSpec::Onnx(onnx) => {
                    Some((TargetKind::Version(model.clone(), version.clone()), onnx))
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
                    let Some((target, onnx)) = next.lock().next() else { return };
                    let result = loader.load(&target, onnx);
                    let mut done = done.lock();
                    let result = result
                        .and_then(|model| loader.admit(&target, &model, &done.0).map(|()| model));
                    match result {
                        Ok(model) => drop(done.0.insert(target, Arc::new(model))),
                        Err(error) => done.1.push(error),
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
