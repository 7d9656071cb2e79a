//! A data plane in the process of the test, for what no configuration can say: a version on trial.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use pingora_core::services::Service as _;
use pointsman::config::{self, Checks};
use pointsman::control::{Controller, LoadedModels, Loader, load_models};
use pointsman::domain::ids::ModelName;
use pointsman::domain::spec::Intent;
use pointsman::inference::Executor;
use pointsman::monitor::Monitor;
use pointsman::prediction_log::Recorder;
use pointsman::proxy::{self, Drain, DrainHandle, Readiness, ShadowThread, WorkerPlan};
use pointsman::snapshot::{Repository, Trial};
use pointsman::telemetry::Registry;
use serde_json::Value;

use super::client::Client;
use super::{eventually, gateway};

const WORKERS: usize = 2;

/// A running data plane with its controller.
pub(crate) struct InProcess {
    pub(crate) data: SocketAddr,
    pub(crate) gateway: Arc<proxy::Gateway>,
    pub(crate) intent: Intent,
    dir: tempfile::TempDir,
    controller: Controller,
    models: LoadedModels,
    recorder: Arc<Recorder>,
    shadow: Option<ShadowThread>,
    drain: DrainHandle,
}

impl InProcess {
    /// Serves `config`, with everything that it names loaded.
    pub(crate) fn start(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pointsman.toml");
        std::fs::write(&file, gateway::with_defaults(config)).unwrap();
        let loaded = config::load(&file, Checks::Full);
        let loaded = loaded.unwrap_or_else(|faults| panic!("{}", faults.render_human(false)));
        let mut intent = loaded.intent;
        // The program that would take a first look at models is another one than this.
        intent.inference.isolate = false;
        let registry = Arc::new(Registry::new(WORKERS));
        let log = intent.data_dir.join("log");
        let recorder = Recorder::open(&log, &intent.node, WORKERS, &intent.log).unwrap();
        let recorder = Arc::new(recorder);
        let sockets = proxy::bind(intent.listen, WORKERS).unwrap();
        let data = sockets.address();
        let monitor = Arc::new(Monitor::new(&intent, WORKERS));
        let (controller, reader) =
            Controller::new(&intent, Arc::clone(&registry), monitor).unwrap();
        let models = load_models(&intent, &Loader::new(&intent)).unwrap();
        let (repository, _orders) = Repository::channel();
        let gateway = Arc::new(proxy::Gateway::new(
            &intent,
            (reader, repository),
            Arc::clone(&recorder),
            (Arc::new(Executor::new(WORKERS).unwrap()), Executor::named("codec", WORKERS).unwrap()),
            Arc::new(Readiness::new(WORKERS)),
            &registry,
        ));
        let (drain, handle) = Drain::new();
        let shadow = ShadowThread::start(&gateway, Arc::clone(&drain), intent.data_dir.clone());
        let mut running = Self {
            data,
            gateway: Arc::clone(&gateway),
            intent,
            dir,
            controller,
            models,
            recorder,
            shadow: Some(shadow.unwrap()),
            drain: handle,
        };
        running.publish(BTreeMap::new());
        for (index, socket) in sockets.into_sockets().enumerate() {
            let mut plan = WorkerPlan::new(index, Arc::clone(&gateway), Arc::clone(&drain), socket);
            std::thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let (_running, shutdown) = tokio::sync::watch::channel(false);
                runtime.block_on(plan.start_service(None, shutdown, 1));
            });
        }
        running
    }

    /// Publishes the intent as it is now.
    pub(crate) fn publish(&mut self, trials: BTreeMap<ModelName, Arc<Trial>>) {
        self.controller.count(trials);
        self.controller.publish(&self.intent, &self.models).unwrap();
    }

    /// A connection of a client.
    pub(crate) fn client(&self) -> Client {
        eventually("the workers listen", || Client::try_connect(self.data))
    }

    /// The records so far, once there are `count` that match.
    pub(crate) fn wait_for(&self, count: usize, matches: impl Fn(&Value) -> bool) -> Vec<Value> {
        eventually("the records are written", || {
            let mut records = gateway::records(self.dir.path());
            records.retain(&matches);
            (records.len() >= count).then_some(records)
        })
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.drain.begin();
        if let Some(shadow) = self.shadow.take() {
            shadow.close();
        }
        self.recorder.close();
    }
}
