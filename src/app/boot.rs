//! What stands between a process that runs and one that serves: models load, the sources of discovery
//! are asked, the snapshot is published, readiness goes on. The workers' listeners wait for this service.
//! It then carries out orders about models, and the life cycle of versions, until the process ends.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::ServiceReadyNotifier;
use pingora_core::services::background::BackgroundService;
use tokio::sync::{mpsc, watch};

use super::StartError;
use crate::control::discovery::{Discovery, DiscoveryHandle};
use crate::control::releases::Releases;
use crate::control::{Controller, Loader, Residents, load_models};
use crate::domain::spec::Intent;
use crate::monitor::Monitor;
use crate::proxy::Gateway;
use crate::snapshot::Command;
use crate::telemetry::logging::chain;

/// How long the first answers of the sources of discovery are waited for.
const FIRST_ROUND: Duration = Duration::from_secs(3);

/// What runs in this service.
pub(super) type Parts = (Controller, Releases, mpsc::Receiver<Command>, Discovery);

/// Loads and publishes.
pub(super) struct Boot {
    intent: Arc<Intent>,
    gateway: Arc<Gateway>,
    monitor: Arc<Monitor>,
    controller: Mutex<Option<Parts>>,
    discovery: DiscoveryHandle,
    failure: Arc<Mutex<Option<StartError>>>,
    failed: watch::Sender<bool>,
    never_ready: Mutex<Option<ServiceReadyNotifier>>,
}

impl Boot {
    pub(super) fn new(
        intent: Arc<Intent>,
        gateway: Arc<Gateway>,
        monitor: Arc<Monitor>,
        controller: Parts,
        discovery: DiscoveryHandle,
        failure: Arc<Mutex<Option<StartError>>>,
        failed: watch::Sender<bool>,
    ) -> Self {
        let controller = Mutex::new(Some(controller));
        let never_ready = Mutex::new(None);
        Self { intent, gateway, monitor, controller, discovery, failure, failed, never_ready }
    }

    async fn load_and_publish(
        &self,
        controller: Controller,
        releases: Releases,
    ) -> Result<Residents, StartError> {
        let intent = Arc::clone(&self.intent);
        let loader = Arc::new(Loader::new(&intent));
        let models = tokio::task::spawn_blocking({
            let loader = Arc::clone(&loader);
            move || load_models(&intent, &loader)
        });
        let models = models.await.map_err(|_gone| StartError::Boot)?.map_err(StartError::Models)?;
        if self.intent.discovers() || releases.has_versions() {
            self.discovery.first_round(FIRST_ROUND).await;
        }
        let sight = (self.discovery.watch(), releases);
        let intent = Arc::clone(&self.intent);
        let mut residents = Residents::new(intent, controller, loader, models, sight);
        residents.begin().await.map_err(StartError::Begin)?;
        residents.hear().await;
        // The first exchange is counted by the right baseline.
        let monitor = Arc::clone(&self.monitor);
        tokio::task::spawn_blocking(move || monitor.begin()).await.map_err(|_| StartError::Boot)?;
        Ok(residents)
    }
}

#[async_trait]
impl BackgroundService for Boot {
    async fn start_with_ready_notifier(
        &self,
        mut shutdown: ShutdownWatch,
        ready: ServiceReadyNotifier,
    ) {
        let parts = self.controller.lock().take();
        let Some((controller, releases, mut orders, discovery)) = parts else { return };
        // It ends with the process, or with the last handle.
        drop(tokio::spawn(discovery.run()));
        match self.load_and_publish(controller, releases).await {
            Ok(mut residents) => {
                ready.notify_ready();
                self.gateway.readiness.begin();
                // The controller lives as long as the process: it is the snapshot's only writer.
                tokio::select! {
                    _ended = shutdown.changed() => {}
                    () = residents.serve(&mut orders) => {}
                }
                residents.close();
            }
            Err(error) => {
                if let StartError::Models(errors) = &error {
                    for error in errors {
                        tracing::error!(error = %chain(error), "a model does not load");
                    }
                }
                *self.failure.lock() = Some(error);
                self.failed.send_replace(true);
                // Dropping the notifier would let the workers listen.
                *self.never_ready.lock() = Some(ready);
            }
        }
    }
}
