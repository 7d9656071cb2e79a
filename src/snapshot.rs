//! The one state that the hot path reads: an immutable [`Snapshot`], replaced as a whole.
//!
//! Owns the swap. Many readers load it once a request; one [`Publisher`] replaces it. Position `i`
//! of the routing table's targets and of [`Snapshot::runtime`] is the same target; so it is with its models
//! and [`Snapshot::models`]. Never decides
//! what is published: that is the controller's.

mod recording;
mod repository;
mod trial;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use http::HeaderValue;
use http::uri::Authority;
use tokio::sync::Notify;

pub use self::recording::{Keep, KeySource, Policies, PolicyIx, RecordingPolicy};
pub use self::repository::{Command, IndexEntry, Order, Repository, RepositoryError, index};
pub use self::trial::{
    Answered, Canary, Dropped, Gate, Pass, ReplayOrder, Replayed, Replays, Shadow, Trial, TrialKind,
};
use crate::domain::dialect::Dialect;
use crate::domain::ids::Generation;
use crate::domain::routing::{ModelIx, RoutingTable, TargetIx};
use crate::domain::spec::{
    BackendAddress, Balance, ContainerForm, Execution, Extractors, KeepAlive, SpokenDialect,
    Timeouts,
};
use crate::inference::{Lane, LocalModel};
use crate::monitor::{About, VersionMonitor};
use crate::protocol::dialect::{DeclaredModel, Extensions};
use crate::telemetry::{Padded, TargetMetrics};

/// Everything that a request needs to find its answer.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts publications.
    pub generation: Generation,
    /// Where requests go.
    pub table: RoutingTable,
    /// What stands behind each target of the table.
    pub runtime: Box<[TargetRuntime]>,
    /// What is counted of each model of the table.
    pub models: Box<[ModelRuntime]>,
    /// What is recorded of exchanges.
    pub policies: Policies,
}

impl Snapshot {
    /// What stands behind `target`.
    pub fn target(&self, target: TargetIx) -> &TargetRuntime {
        &self.runtime[target.position()]
    }

    /// What is counted of `model`.
    pub fn model(&self, model: ModelIx) -> &ModelRuntime {
        &self.models[model.position()]
    }
}

/// What is counted of a model, beside its versions.
#[derive(Debug, Default)]
pub struct ModelRuntime {
    /// The counts of the version on trial; outlives snapshots.
    pub trial: Option<Arc<Trial>>,
}

/// A target with the means to reach it.
#[derive(Debug)]
pub struct TargetRuntime {
    /// How it answers.
    pub kind: RuntimeKind,
    /// What is counted about it; outlives snapshots.
    pub metrics: Arc<TargetMetrics>,
    /// What is monitored about it; outlives snapshots. None for pools, and where nothing is.
    pub monitor: Option<Arc<VersionMonitor>>,
    /// The names of model and version for response headers; none for pools.
    pub headers: Option<(HeaderValue, HeaderValue)>,
}

impl TargetRuntime {
    /// What is known about its answers, for whoever reads them.
    pub fn about(&self) -> Arc<About> {
        if let Some(monitor) = &self.monitor {
            return monitor.about();
        }
        Arc::new(match &self.kind {
            RuntimeKind::Local(Some(local)) => {
                let signature = local.model.signature();
                let (inputs, outputs) = (signature.inputs.clone(), signature.outputs.clone());
                About { inputs, outputs, is_local: true, ..About::default() }
            }
            RuntimeKind::Local(None) => About::default(),
            RuntimeKind::Remote(remote) => {
                let described = remote.spoken.description.as_deref();
                About {
                    inputs: described.map(|known| known.inputs.clone()).unwrap_or_default(),
                    outputs: described.map(|known| known.outputs.clone()).unwrap_or_default(),
                    dialect: remote.spoken.dialect,
                    extractors: remote.spoken.extractors.clone(),
                    ..About::default()
                }
            }
        })
    }
}

/// How a target answers.
#[derive(Debug)]
pub enum RuntimeKind {
    /// In this process; `None` while the model is not loaded.
    Local(Option<LocalRuntime>),
    /// Over the network.
    Remote(RemoteRuntime),
}

/// A version that runs in this process.
#[derive(Debug, Clone)]
pub struct LocalRuntime {
    /// The loaded model.
    pub model: Arc<LocalModel>,
    /// How it runs.
    pub execution: Execution,
    /// The requests of this version that wait for an executor thread.
    pub lane: Lane,
}

/// Backends that answer for a version or a pool.
#[derive(Debug)]
pub struct RemoteRuntime {
    /// The members; at least one, where the target is ready.
    pub backends: Box<[Arc<Backend>]>,
    /// How one is chosen.
    pub balance: Balance,
    /// Limits in time.
    pub timeouts: Timeouts,
    /// Connections between requests.
    pub keep_alive: KeepAlive,
    /// Whether the members are spoken to over HTTP/2.
    pub http2: bool,
    /// In which words.
    pub spoken: Box<Spoken>,
    /// The next turn of the round robin.
    pub turn: Padded<AtomicUsize>,
}

/// In which words the backends of a version are spoken to.
#[derive(Debug, Clone, Default)]
pub struct Spoken {
    /// What the configuration says.
    pub declared: SpokenDialect,
    /// The dialect, as declared or as they told.
    pub dialect: Option<Dialect>,
    /// What they call the model and its version.
    pub names: RemoteNames,
    /// What they told about the model.
    pub description: Option<Arc<DeclaredModel>>,
    /// Where whoever needs that tells so, while they have not told and still may.
    pub undescribed: Option<Arc<Notify>>,
    /// Which extensions they told that they have.
    pub extensions: Option<Extensions>,
    /// The path of a service of the raw dialect.
    pub path: Option<String>,
    /// Where a body of the raw dialect has what.
    pub extractors: Option<Extractors>,
    /// The form in which a SageMaker container takes its values.
    pub container: ContainerForm,
}

/// What backends call a model and its version, where that differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteNames {
    /// The model.
    pub model: Option<String>,
    /// The version; `None` where they are told none.
    pub version: Option<String>,
}

/// One backend; shared by every snapshot that names its address.
pub struct Backend {
    /// Where it is.
    pub address: BackendAddress,
    /// `HOST:PORT`, for the `Host` header.
    pub host: HeaderValue,
    /// The same, for HTTP/2.
    pub authority: Authority,
    /// `http://HOST:PORT`, as in records.
    pub url: String,
    in_flight: Padded<AtomicU32>,
}

impl Backend {
    /// A backend with nothing in flight.
    ///
    /// # Errors
    ///
    /// A host that cannot stand in a header; a validated intent has none.
    pub fn new(address: BackendAddress) -> Result<Self, http::Error> {
        let text = address.authority();
        let host = HeaderValue::from_str(&text)?;
        let authority = Authority::try_from(text.as_str())?;
        let url = format!("http://{text}");
        Ok(Self { address, host, authority, url, in_flight: Padded::default() })
    }

    /// Requests in flight from this gateway.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.0.load(Ordering::Relaxed)
    }

    /// Counts a request until the returned guard is dropped.
    pub fn begin(self: &Arc<Self>) -> BackendGuard {
        self.in_flight.0.fetch_add(1, Ordering::Relaxed);
        BackendGuard { backend: Arc::clone(self) }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} in flight)", self.url, self.in_flight())
    }
}

/// A request in flight to a backend.
#[derive(Debug)]
pub struct BackendGuard {
    backend: Arc<Backend>,
}

impl BackendGuard {
    /// The backend that is asked.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }
}

impl Drop for BackendGuard {
    fn drop(&mut self) {
        self.backend.in_flight.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes the reading and the writing end of the swap.
pub fn channel(first: Snapshot) -> (Publisher, Reader) {
    let swap = Arc::new(arc_swap::ArcSwap::from_pointee(first));
    (Publisher { swap: Arc::clone(&swap) }, Reader { swap })
}

/// Reads the current snapshot.
#[derive(Debug, Clone)]
pub struct Reader {
    swap: Arc<arc_swap::ArcSwap<Snapshot>>,
}

impl Reader {
    /// The current snapshot.
    pub fn load(&self) -> Arc<Snapshot> {
        self.swap.load_full()
    }

    /// A reader for one worker.
    pub fn local(&self) -> LocalReader {
        let held = Arc::new(self.load());
        LocalReader { held, cache: arc_swap::Cache::new(Arc::clone(&self.swap)) }
    }
}

/// A snapshot that one worker's requests hold. The outer count is the worker's own, so that holding
/// and letting go of it touches no cache line of another core.
pub type Held = Arc<Arc<Snapshot>>;

/// Reads the current snapshot for one worker.
#[derive(Debug)]
pub struct LocalReader {
    held: Held,
    cache: arc_swap::Cache<Arc<arc_swap::ArcSwap<Snapshot>>, Arc<Snapshot>>,
}

impl LocalReader {
    /// The current snapshot, to be kept for one request.
    pub fn load(&mut self) -> Held {
        let current = self.cache.load();
        if !Arc::ptr_eq(current, &self.held) {
            self.held = Arc::new(Arc::clone(current));
        }
        Arc::clone(&self.held)
    }
}

/// Replaces the snapshot; there is one.
#[derive(Debug)]
pub struct Publisher {
    swap: Arc<arc_swap::ArcSwap<Snapshot>>,
}

impl Publisher {
    /// Makes `next` what every later request reads.
    pub fn publish(&mut self, next: Snapshot) {
        self.swap.store(Arc::new(next));
    }
}
