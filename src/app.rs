//! The composition root: from a checked configuration to a running process, and to its end.
//!
//! Owns the order of things: what is opened first, what waits for what, and how the process drains.
//! It is the only room that knows all others.
//!
//! ```text
//! log ─▶ sockets (bound) ─▶ admin listens ─▶ models load ─▶ publish ─▶ workers listen ─▶ ready
//! SIGTERM: not ready ─▶ drain.delay ─▶ listeners close ─▶ in flight ends, or drain.timeout ─▶
//!          log flushed ─▶ sinks' last attempt ─▶ exit 0            (a second signal, or SIGINT: straight to the log)
//! ```

mod boot;
mod log;
mod signals;

use std::sync::Arc;

use parking_lot::Mutex;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::background::background_service;

use self::boot::Boot;
use self::log::Log;
use self::signals::Signals;
use crate::admin::{Admin, AdminService};
use crate::control::discovery::{Discovery, DiscoveryHandle};
use crate::control::events::Events;
use crate::control::releases::{LedgerError, Releases, ReleasesHandle, take_leave};
use crate::control::{BeginError, Controller, LoadError, PublishError};
use crate::domain::spec::Intent;
use crate::inference::Executor;
use crate::monitor::alarms::{Alarms, AlarmsError, LogSight};
use crate::monitor::{Monitor, Places, QualityMonitor};
use crate::prediction_log::{OpenError, Recorder, SinkError};
use crate::proxy::{
    BoundSockets, Drain, DrainHandle, Gateway, ListenError, Readiness, ShadowThread, WorkerPlan,
};
use crate::snapshot::Repository;
use crate::telemetry::{Registry, logging};

/// Where the prediction log lies below `data_dir`.
pub const LOG_DIR: &str = "log";

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The log level is not understood.
    #[error("logging cannot start")]
    Logging(#[source] logging::BadFilter),
    /// The prediction log cannot be opened.
    #[error("the prediction log cannot be opened")]
    Log(#[source] OpenError),
    /// A sink does not start.
    #[error("the prediction log cannot be delivered")]
    Sink(#[source] SinkError),
    /// The thread that makes Parquet files cannot start.
    #[error(
        "the prediction log cannot become Parquet files: make `data_dir` writable, or set `enabled = false` in [log.parquet]"
    )]
    Parquet(#[source] std::io::Error),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A snapshot cannot be built.
    #[error("the configuration cannot be published")]
    Publish(#[source] PublishError),
    /// What was there before cannot be taken up.
    #[error(transparent)]
    Begin(BeginError),
    /// Models cannot be served.
    #[error("{} of the models cannot be served", .0.len())]
    Models(Vec<LoadError>),
    /// The system gives no thread.
    #[error("no threads for the executor")]
    Executor(#[source] std::io::Error),
    /// The monitor's thread cannot start.
    #[error("no thread for the monitor")]
    Monitor(#[source] std::io::Error),
    /// The thread that asks versions on trial cannot start.
    #[error("no thread for copies of requests")]
    Shadow(#[source] std::io::Error),
    /// What is written about the life cycle of versions cannot be taken up.
    #[error("the life cycle of versions cannot go on")]
    Releases(#[source] LedgerError),
    /// Nobody can be called.
    #[error("alarms cannot be delivered")]
    Alarms(#[from] AlarmsError),
    /// A worker thread is gone.
    #[error("loading the models did not end")]
    Boot,
}

/// A gateway with everything open and nothing running.
pub struct App {
    intent: Arc<Intent>,
    gateway: Arc<Gateway>,
    registry: Arc<Registry>,
    log: Log,
    monitor: Arc<Monitor>,
    alarms: Alarms,
    quality: QualityMonitor,
    controller: boot::Parts,
    discovery: DiscoveryHandle,
    releases: ReleasesHandle,
    data: BoundSockets,
    admin: BoundSockets,
    drain: (Arc<Drain>, DrainHandle),
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("data", &self.data.address()).finish_non_exhaustive()
    }
}

impl App {
    /// Opens the log and binds the sockets.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what could not be had.
    pub fn build(intent: Intent) -> Result<Self, StartError> {
        logging::start(&intent.telemetry).map_err(StartError::Logging)?;
        logging::catch_panics();
        let workers = intent.workers.unwrap_or_else(cores);
        let registry = Arc::new(Registry::new(workers));
        let log = Log::open(&intent, workers)?;
        let data = crate::proxy::bind(intent.listen, workers)?;
        let admin = crate::proxy::bind(intent.admin, 1)?;
        let threads = intent.inference.threads.unwrap_or_else(cores);
        let executor = Executor::new(threads).map_err(StartError::Executor)?;
        let codec = Executor::named("codec", workers).map_err(StartError::Executor)?;
        let monitor = Arc::new(Monitor::new(&intent, workers));
        let quality =
            QualityMonitor::start(&intent, &log.recorder, &monitor).map_err(StartError::Monitor)?;
        let places = Places {
            data_dir: intent.data_dir.clone(),
            log: intent.records().then(|| log.recorder.progress()),
        };
        let alarms = Alarms::start(&intent)?;
        let sight = LogSight::new(Arc::clone(&log.recorder), Arc::clone(&log.sinks));
        let watch = Box::new(alarms.watch(&intent, sight, quality.reader()));
        monitor.start(places, vec![watch]).map_err(StartError::Monitor)?;
        let (controller, snapshots) =
            Controller::new(&intent, Arc::clone(&registry), Arc::clone(&monitor))
                .map_err(StartError::Publish)?;
        let (repository, orders) = Repository::channel();
        let intent = Arc::new(intent);
        let events = Arc::new(Events::open(&intent.data_dir).told_to(alarms.teller()));
        let (running, discovery) = Discovery::open(&intent, Arc::clone(&events));
        let gateway = Arc::new(Gateway::new(
            &intent,
            (snapshots, repository),
            Arc::clone(&log.recorder),
            (Arc::new(executor), codec),
            Arc::new(Readiness::new(workers)),
            &registry,
        ));
        if let Some(since_ms) = quality.known_since_ms() {
            gateway.follow_join(since_ms);
        }
        let readers = (monitor.reader(), quality.reader());
        let (cycle, releases) = Releases::open(
            &intent,
            Arc::clone(&registry),
            events,
            &discovery,
            readers,
            gateway.replays().clone(),
        )
        .map_err(StartError::Releases)?;
        let controller = (controller, cycle, orders, running);
        let drain = Drain::new();
        Ok(Self {
            intent,
            gateway,
            registry,
            log,
            monitor,
            quality,
            alarms,
            controller,
            discovery,
            releases,
            data,
            admin,
            drain,
        })
    }

    /// Runs to the end of the process.
    ///
    /// # Errors
    ///
    /// [`StartError`] when the models cannot be served.
    pub fn run(self) -> Result<(), StartError> {
        let Self {
            intent,
            gateway,
            registry,
            log,
            monitor,
            alarms,
            quality,
            controller,
            discovery,
            releases,
            data,
            admin,
            drain,
        } = self;
        let (drain, handle) = drain;
        tell_start(&intent, data.address(), admin.address(), &log.recorder);
        let mut server = Server::new_with_opt_and_conf(None, server_conf());
        server.bootstrap();

        let failure = Arc::new(Mutex::new(None));
        let (failed, failures) = tokio::sync::watch::channel(false);
        let boot = Boot::new(
            Arc::clone(&intent),
            Arc::clone(&gateway),
            Arc::clone(&monitor),
            controller,
            discovery.clone(),
            Arc::clone(&failure),
            failed,
        );
        let boot = server.add_service(background_service("boot", boot));
        for socket in admin.into_sockets() {
            let listener = socket.listen()?;
            let admin = Admin::new(
                Arc::clone(&gateway),
                Arc::clone(&registry),
                (log.compactor.clone(), Arc::clone(&log.sinks)),
                Arc::clone(&drain),
                (Arc::clone(&monitor), quality.reader(), alarms.reader()),
                (discovery.clone(), releases.clone()),
                (&intent.node, listener),
            );
            server.add_service(background_service("admin", AdminService::new(admin)));
        }
        for (index, socket) in data.into_sockets().enumerate() {
            let plan = WorkerPlan::new(index, Arc::clone(&gateway), Arc::clone(&drain), socket);
            server.add_service(plan).add_dependency(&boot);
        }
        let shadow = ShadowThread::start(&gateway, drain, intent.data_dir.clone());
        let shadow = shadow.map_err(StartError::Shadow)?;
        let signals = Signals::new(Arc::clone(&gateway), handle, &intent, failures);
        server.run(RunArgs { shutdown_signal: Box::new(signals) });

        take_leave(&intent.data_dir);
        shadow.close();
        log.close();
        monitor.close();
        alarms.close();
        quality.close();
        // An executor thread may be in the middle of a model; it ends with the process.
        std::mem::forget(gateway);
        match failure.lock().take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Cores that this process may use: its affinity and its cgroup's quota count.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// One current-thread runtime a service; the drain is ours, so that nothing here waits a fixed time.
fn server_conf() -> ServerConf {
    ServerConf {
        threads: 1,
        work_stealing: false,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    }
}

fn tell_start(
    intent: &Intent,
    data: std::net::SocketAddr,
    admin: std::net::SocketAddr,
    recorder: &Recorder,
) {
    let recovery = recorder.recovery();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        node = intent.node,
        listen = %data,
        admin = %admin,
        data_dir = %intent.data_dir.display(),
        durability = intent.log.recording.durability.as_str(),
        "pointsman starts"
    );
    if recovery.healed_bytes > 0 {
        tracing::warn!(
            bytes = recovery.healed_bytes,
            next_lsn = recovery.next_lsn,
            "the end of the prediction log was torn and is healed"
        );
    }
    if let Some(lost) = &recovery.lost {
        tracing::warn!(
            segment = %lost.segment.display(),
            offset = lost.offset,
            first_lsn = lost.lsns.start(),
            last_lsn = lost.lsns.end(),
            "the last records of the prediction log are damaged; the segment is kept aside"
        );
    }
}
