//! Loading and unloading versions while the gateway runs.
//!
//! Owns which versions are loaded. Takes one order after the other; a load runs on a thread of its own and
//! requests go on meanwhile, with the snapshot as it is. Backends are asked beside that: however silent they
//! are, no order waits for them. Publishes who was discovered. Never unloads a version that routing needs.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::ebb::Ebb;
use super::enquiry::Enquiry;
use super::load::Loader;
use super::members::members;
use super::{Controller, LoadedModels};
use crate::domain::discovery::Seen;
use crate::domain::ids::{ModelName, Permille, VersionName};
use crate::domain::routing::TargetKind;
use crate::domain::spec::{Intent, OnnxSpec, RouteTarget, VersionSpec};
use crate::inference::LocalModel;
use crate::snapshot::{Command, Order, RepositoryError};
use crate::telemetry::logging::chain;

/// The controller with what it has loaded.
#[derive(Debug)]
pub struct Residents {
    intent: Arc<Intent>,
    controller: Controller,
    loader: Arc<Loader>,
    models: LoadedModels,
    enquiry: Enquiry,
    seen: watch::Receiver<Arc<Seen>>,
    ebb: Ebb,
}

type Done = Result<(), RepositoryError>;

impl Residents {
    /// `models` are loaded and published.
    pub fn new(
        intent: Arc<Intent>,
        controller: Controller,
        loader: Arc<Loader>,
        models: LoadedModels,
        seen: watch::Receiver<Arc<Seen>>,
    ) -> Self {
        let (enquiry, mut ebb) = (Enquiry::new(&intent), Ebb::default());
        ebb.begin(Instant::now());
        Self { intent, controller, loader, models, enquiry, seen, ebb }
    }

    /// Carries out orders until nobody can give any, and asks backends what they speak in between.
    pub async fn serve(&mut self, orders: &mut mpsc::Receiver<Command>) {
        let mut rounds = tokio::time::interval(self.intent.protocols.ask_interval);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = orders.recv() => {
                    let Some(Command { order, answer }) = command else { return };
                    let done = self.carry_out(order).await;
                    if let Err(error) = &done {
                        tracing::warn!(%error, "an order about a model is not carried out");
                    }
                    // Whoever asked may be gone.
                    drop(answer.send(done));
                }
                Ok(()) = self.seen.changed() => self.meet(),
                _ = rounds.tick(), if !self.enquiry.is_idle() && !self.enquiry.is_asking() => {
                    self.enquiry.begin();
                }
                news = self.enquiry.news(), if self.enquiry.is_asking() => {
                    if news {
                        self.tell();
                    }
                }
                () = self.ebb.turn() => self.ebb.give_back(Instant::now()),
            }
        }
    }

    /// Publishes who was discovered, where that is new.
    fn meet(&mut self) {
        let members = members(&self.intent, &self.seen.borrow_and_update());
        self.enquiry.meet(&members);
        if !self.controller.meet(members) {
            return;
        }
        if let Err(error) = self.publish() {
            tracing::error!(%error, "who was discovered is not published");
        }
    }

    /// Publishes what backends have told.
    fn tell(&mut self) {
        self.controller.learn(self.enquiry.known());
        if let Err(error) = self.publish() {
            tracing::error!(%error, "what backends have told is not published");
        }
    }

    async fn carry_out(&mut self, order: Order) -> Done {
        match order {
            Order::Load(model, version) => {
                for (kind, onnx) in self.versions(&model, version.as_ref())? {
                    self.load(kind, onnx).await?;
                }
            }
            Order::Unload(model, version) => {
                let versions = self.versions(&model, version.as_ref())?;
                if versions.is_empty() {
                    return Err(RepositoryError::NothingHere(model));
                }
                let mut kept = None;
                let mut unloaded = 0;
                for (kind, _) in &versions {
                    match self.unload(kind) {
                        // Of all versions, those that are needed stay.
                        Err(needed @ RepositoryError::Needed(..)) => kept = Some(needed),
                        done => {
                            done?;
                            unloaded += 1;
                        }
                    }
                }
                // An order that can do nothing is not carried out.
                match kept {
                    Some(needed) if unloaded == 0 => return Err(needed),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The versions in this process that an order is about.
    fn versions(
        &self,
        model: &ModelName,
        version: Option<&VersionName>,
    ) -> Result<Vec<(TargetKind, OnnxSpec)>, RepositoryError> {
        let spec = self.intent.models.get(model);
        let spec = spec.ok_or_else(|| RepositoryError::UnknownModel(model.clone()))?;
        let target = |version: &VersionName| TargetKind::Version(model.clone(), version.clone());
        match version {
            None => {
                let local = spec.versions.iter().filter_map(|(version, spec)| match spec {
                    VersionSpec::Onnx(onnx) => Some((target(version), onnx.clone())),
                    VersionSpec::Backends(_) => None,
                });
                Ok(local.collect())
            }
            Some(version) => match spec.versions.get(version) {
                None => Err(RepositoryError::UnknownVersion(model.clone(), version.clone())),
                Some(VersionSpec::Backends(_)) => Err(RepositoryError::NotHere(target(version))),
                Some(VersionSpec::Onnx(onnx)) => Ok(vec![(target(version), onnx.clone())]),
            },
        }
    }

    async fn load(&mut self, kind: TargetKind, onnx: OnnxSpec) -> Done {
        if self.models.contains_key(&kind) {
            return Ok(());
        }
        let loaded = self.load_aside(kind.clone(), onnx).await;
        self.ebb.begin(Instant::now());
        let loaded = loaded?;
        let admitted = self.loader.admit(&kind, &loaded, &self.models);
        admitted.map_err(|error| RepositoryError::Load(chain(&error).to_string()))?;
        self.models.insert(kind.clone(), Arc::new(loaded));
        self.publish().inspect_err(|_| drop(self.models.remove(&kind)))
    }

    /// Loads a model on a thread that ends with it: what a thread has allocated is free for all only then.
    async fn load_aside(
        &self,
        kind: TargetKind,
        onnx: OnnxSpec,
    ) -> Result<LocalModel, RepositoryError> {
        let loader = Arc::clone(&self.loader);
        let (answer, loading) = oneshot::channel();
        let load = move || drop(answer.send(loader.load(&kind, &onnx)));
        let thread = std::thread::Builder::new().name("model-loader".to_owned()).spawn(load);
        thread.map_err(|error| RepositoryError::Load(chain(&error).to_string()))?;
        match loading.await {
            Ok(loaded) => loaded.map_err(|error| RepositoryError::Load(chain(&error).to_string())),
            Err(gone) => Err(RepositoryError::Load(gone.to_string())),
        }
    }

    fn unload(&mut self, kind: &TargetKind) -> Done {
        if let Some(who) = needed_by(&self.intent, kind) {
            return Err(RepositoryError::Needed(kind.clone(), who));
        }
        let Some(model) = self.models.remove(kind) else { return Ok(()) };
        match self.publish() {
            Ok(()) => {
                self.ebb.begin(Instant::now());
                tracing::info!(target = %kind, "a model is unloaded");
                Ok(())
            }
            Err(error) => {
                self.models.insert(kind.clone(), model);
                Err(error)
            }
        }
    }

    fn publish(&mut self) -> Done {
        let published = self.controller.publish(&self.intent, &self.models);
        let generation =
            published.map_err(|error| RepositoryError::Load(chain(&error).to_string()))?;
        tracing::info!(generation = generation.0, "the snapshot is published");
        Ok(())
    }
}

/// Who sends requests to a version without being asked to: a share of the traffic, or a route.
fn needed_by(intent: &Intent, kind: &TargetKind) -> Option<String> {
    let TargetKind::Version(model, version) = kind else { return None };
    let share = intent.models.get(model)?.traffic.get(version).copied();
    if share.is_some_and(|share| share != Permille::NONE) {
        return Some("a share of its model's traffic".to_owned());
    }
    let routes = intent.routes.iter();
    let route = routes.into_iter().find(|(_, route)| match &route.target {
        RouteTarget::Model(to, Some(pinned)) => (to, pinned) == (model, version),
        RouteTarget::Model(_, None) | RouteTarget::Pool(_) => false,
    });
    route.map(|(name, _)| format!("route `{name}`"))
}
