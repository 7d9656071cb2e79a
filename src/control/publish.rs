//! Building snapshots and publishing them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::HeaderValue;
use tokio::sync::Notify;

use super::LoadedModels;
use super::ask::{Known, is_awaited};
use super::enquiry::Spoken;
use super::lanes::Lanes;
use super::members::Members;
use crate::domain::dialect::Dialect;
use crate::domain::ids::{Generation, ModelName, Permille, VersionName};
use crate::domain::routing::{RoutingTable, TableError, TargetKind};
use crate::domain::spec::{
    BackendAddress, BackendsSpec, Balance, Intent, KeepAlive, ModelSpec, OnnxSpec, Timeouts,
    VersionSpec,
};
use crate::inference::LocalModel;
use crate::monitor::{About, Monitor, VersionKey, VersionMonitor, baseline_beside};
use crate::snapshot::{
    self, Backend, LocalRuntime, ModelRuntime, Policies, Publisher, Reader, RemoteRuntime,
    RuntimeKind, Snapshot, TargetRuntime, Trial,
};
use crate::telemetry::{Padded, Registry};

/// Why a snapshot could not be built. A validated intent never fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The routing table breaks an invariant.
    #[error("the routing table cannot be built")]
    Table(#[source] TableError),
    /// A name cannot stand in a header.
    #[error("`{0}` cannot stand in a header")]
    Header(String),
}

/// The writer of the snapshot.
#[derive(Debug)]
pub struct Controller {
    registry: Arc<Registry>,
    monitor: Arc<Monitor>,
    publisher: Publisher,
    generation: Generation,
    kept: Kept,
}

/// What keeps its counts over snapshots.
#[derive(Debug, Default)]
struct Kept {
    backends: BTreeMap<BackendAddress, Arc<Backend>>,
    lanes: Lanes,
    /// What backends have told.
    spoken: Spoken,
    /// Told by requests that must wait until backends describe their model.
    wanted: Arc<Notify>,
    /// Who was discovered.
    members: Members,
    /// Versions that take no requests, whatever stands behind them.
    closed: BTreeSet<TargetKind>,
    /// The counts of versions on trial.
    trials: BTreeMap<ModelName, Arc<Trial>>,
}

impl Kept {
    /// Forgets backends that no snapshot has any more.
    fn forget(&mut self) {
        self.backends.retain(|_, backend| Arc::strong_count(backend) > 1);
    }
}

impl Controller {
    /// A controller that has published generation 0: the targets of `intent`, none of them ready.
    ///
    /// # Errors
    ///
    /// [`PublishError`], never for a validated intent.
    pub fn new(
        intent: &Intent,
        registry: Arc<Registry>,
        monitor: Arc<Monitor>,
    ) -> Result<(Self, Reader), PublishError> {
        let mut kept = Kept::default();
        let generation = Generation(0);
        let first = build(intent, None, (&registry, &monitor), &mut kept, generation)?;
        let (publisher, reader) = snapshot::channel(first);
        Ok((Self { registry, monitor, publisher, generation, kept }, reader))
    }

    /// Notes what backends have told; the next publication says it.
    pub(super) fn learn(&mut self, spoken: &Spoken) {
        self.kept.spoken = spoken.clone();
    }

    /// Told by requests that must wait until backends describe their model.
    pub(super) fn wanted(&self) -> Arc<Notify> {
        Arc::clone(&self.kept.wanted)
    }

    /// Notes who was discovered; the next publication says it. Whether that is new.
    pub(super) fn meet(&mut self, members: Members) -> bool {
        let is_new = self.kept.members != members;
        self.kept.members = members;
        is_new
    }

    /// Notes which versions take no requests; the next publication says it.
    pub(super) fn close(&mut self, closed: BTreeSet<TargetKind>) {
        self.kept.closed = closed;
    }

    /// Notes the counts of the versions on trial; the next publication carries them. A trial that goes on
    /// keeps its counts.
    pub fn count(&mut self, trials: BTreeMap<ModelName, Arc<Trial>>) {
        self.kept.trials = trials;
    }

    /// Publishes `intent` with the models that are loaded; remote versions count as ready.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; the earlier snapshot then stays.
    pub fn publish(
        &mut self,
        intent: &Intent,
        models: &LoadedModels,
    ) -> Result<Generation, PublishError> {
        let generation = Generation(self.generation.0 + 1);
        let counted = (&*self.registry, &*self.monitor);
        let next = build(intent, Some(models), counted, &mut self.kept, generation)?;
        self.publisher.publish(next);
        self.kept.lanes.retain(models);
        self.kept.forget();
        self.generation = generation;
        Ok(generation)
    }
}

/// Builds a snapshot; without `models` nothing in it is ready.
fn build(
    intent: &Intent,
    models: Option<&LoadedModels>,
    (registry, monitor): (&Registry, &Monitor),
    kept: &mut Kept,
    generation: Generation,
) -> Result<Snapshot, PublishError> {
    let (members, closed) = (&kept.members, &kept.closed);
    let ready = |kind: &TargetKind| {
        !closed.contains(kind)
            && models.is_some_and(|models| match version_spec(intent, kind) {
                Some(VersionSpec::Onnx(_)) => models.contains_key(kind),
                // Those whose members are discovered have some, or are not ready.
                Some(VersionSpec::Backends(_)) | None => {
                    members.get(kind).is_none_or(|m| !m.is_empty())
                }
            })
    };
    let table = RoutingTable::build(intent, ready).map_err(PublishError::Table)?;
    let runtime = table
        .targets()
        .iter()
        .map(|target| {
            let kind = runtime_of(intent, &target.kind, models, kept)?;
            let monitor = monitor.version(&target.kind);
            if let Some(monitor) = &monitor {
                describe(monitor, intent, &target.kind, &kind);
            }
            Ok(TargetRuntime {
                kind,
                metrics: registry.target(&target.kind),
                monitor,
                headers: headers_of(&target.kind)?,
            })
        })
        .collect::<Result<_, PublishError>>()?;
    let trial = |name: &ModelName| kept.trials.get(name).map(Arc::clone);
    let counted = table.models().iter().map(|entry| ModelRuntime { trial: trial(&entry.name) });
    let counted = counted.collect();
    let models = table.models().iter().map(|entry| intent.models.get(&entry.name));
    let routes = table.routes().iter().map(|entry| intent.routes.get(&entry.name));
    let policies = Policies::new(
        intent,
        models.map(|model| model.map(|model| &model.recording)),
        routes.map(|route| route.map(|route| &route.recording)),
    );
    Ok(Snapshot { generation, table, runtime, models: counted, policies })
}

fn version_spec<'a>(intent: &'a Intent, kind: &TargetKind) -> Option<&'a VersionSpec> {
    let (_, spec) = model_and_version(intent, kind)?;
    Some(spec)
}

fn model_and_version<'a>(
    intent: &'a Intent,
    kind: &TargetKind,
) -> Option<(&'a ModelSpec, &'a VersionSpec)> {
    let TargetKind::Version(model, version) = kind else { return None };
    let model = intent.models.get(model)?;
    Some((model, model.versions.get(version)?))
}

fn runtime_of(
    intent: &Intent,
    kind: &TargetKind,
    models: Option<&LoadedModels>,
    kept: &mut Kept,
) -> Result<RuntimeKind, PublishError> {
    if let Some((model, version)) = model_and_version(intent, kind) {
        return Ok(match version {
            VersionSpec::Onnx(onnx) => {
                let loaded = models.and_then(|models| models.get(kind));
                RuntimeKind::Local(loaded.map(|loaded| LocalRuntime {
                    model: Arc::clone(loaded),
                    execution: model.execution,
                    lane: kept.lanes.lane(kind, loaded, model.execution, onnx.batch),
                }))
            }
            VersionSpec::Backends(spec) => {
                let how = (model.balance, model.timeouts, model.keep_alive);
                let addresses = kept.members.get(kind).unwrap_or(&spec.addresses);
                let mut runtime = remote(addresses, how, &mut kept.backends);
                let spoken = spoken(spec, kept.spoken.get(kind), &kept.wanted);
                let is_grpc = spoken.dialect == Some(Dialect::OpenInferenceGrpc);
                runtime.http2 = spec.http2 || is_grpc;
                runtime.spoken = Box::new(spoken);
                RuntimeKind::Remote(runtime)
            }
        });
    }
    let pool = match kind {
        TargetKind::Pool(name) => intent.pools.get(name),
        TargetKind::Version(..) => None,
    };
    let Some(pool) = pool else { return Ok(RuntimeKind::Local(None)) };
    let how = (pool.balance, pool.timeouts, pool.keep_alive);
    let addresses = kept.members.get(kind).unwrap_or(&pool.backends);
    let mut runtime = remote(addresses, how, &mut kept.backends);
    runtime.http2 = pool.http2;
    Ok(RuntimeKind::Remote(runtime))
}

/// Tells the monitor what is known about a version, once it can answer.
fn describe(monitor: &VersionMonitor, intent: &Intent, kind: &TargetKind, runtime: &RuntimeKind) {
    let Some((model, version)) = model_and_version(intent, kind) else { return };
    let about = match (version, runtime) {
        (VersionSpec::Onnx(onnx), RuntimeKind::Local(Some(runtime))) => {
            about_local(onnx, &runtime.model)
        }
        (VersionSpec::Backends(_), RuntimeKind::Remote(runtime)) => about_remote(&runtime.spoken),
        (VersionSpec::Onnx(_) | VersionSpec::Backends(_), _) => return,
    };
    let champion = champion(model).filter(|champion| *champion != monitor.key().version);
    let champion =
        champion.map(|version| VersionKey { model: monitor.key().model.clone(), version });
    monitor.describe(About { champion, ..about.configured(model) });
}

/// What is known about a version in this process.
pub fn about_local(onnx: &OnnxSpec, model: &LocalModel) -> About {
    let signature = model.signature();
    let columns = signature.columns.iter();
    About {
        inputs: signature.inputs.clone(),
        outputs: signature.outputs.clone(),
        columns: columns.map(|(name, columns)| (name.clone(), columns.clone())).collect(),
        is_local: true,
        digest: Some(model.digest()),
        baseline: Some(baseline_beside(&onnx.path)),
        ..About::default()
    }
}

/// What is known about a version at backends.
pub fn about_remote(spoken: &snapshot::Spoken) -> About {
    let described = spoken.description.as_deref();
    About {
        inputs: described.map(|known| known.inputs.clone()).unwrap_or_default(),
        outputs: described.map(|known| known.outputs.clone()).unwrap_or_default(),
        dialect: spoken.dialect,
        extractors: spoken.extractors.clone(),
        ..About::default()
    }
}

/// The version with the largest share of a model's traffic; the others are on trial, or standing by.
pub fn champion(model: &ModelSpec) -> Option<VersionName> {
    let shares = model.traffic.iter().filter(|(_, share)| **share > Permille::NONE);
    shares.max_by_key(|(_, share)| **share).map(|(version, _)| version.clone())
}

fn remote(
    addresses: &[BackendAddress],
    (balance, timeouts, keep_alive): (Balance, Timeouts, KeepAlive),
    known: &mut BTreeMap<BackendAddress, Arc<Backend>>,
) -> RemoteRuntime {
    let mut members = Vec::with_capacity(addresses.len());
    for address in addresses {
        let backend = match known.get(address) {
            Some(backend) => Arc::clone(backend),
            None => {
                let Ok(backend) = Backend::new(address.clone()) else {
                    // One name that a source has found must not keep all others from being published.
                    let address = address.authority();
                    tracing::error!(address, "a backend is left out: no header can name it");
                    continue;
                };
                let backend = Arc::new(backend);
                known.insert(address.clone(), Arc::clone(&backend));
                backend
            }
        };
        members.push(backend);
    }
    RemoteRuntime {
        backends: members.into(),
        balance,
        timeouts,
        keep_alive,
        http2: false,
        spoken: Box::default(),
        turn: Padded::default(),
    }
}

/// In which words the backends of a version are spoken to.
fn spoken(spec: &BackendsSpec, known: Option<&Known>, wanted: &Arc<Notify>) -> snapshot::Spoken {
    let told = known.and_then(|known| known.dialect);
    snapshot::Spoken {
        declared: spec.dialect,
        dialect: spec.dialect.declared().or(told),
        names: snapshot::RemoteNames {
            model: spec.remote_model.clone(),
            version: spec.remote_version.clone(),
        },
        description: known.and_then(|known| known.description.clone()).map(Arc::new),
        undescribed: is_awaited(spec, known).then(|| Arc::clone(wanted)),
        extensions: known.and_then(|known| known.extensions),
        path: spec.raw.as_ref().and_then(|raw| raw.path.clone()),
        extractors: spec.raw.as_ref().map(|raw| raw.extractors.clone()),
        container: spec.container,
    }
}

fn headers_of(kind: &TargetKind) -> Result<Option<(HeaderValue, HeaderValue)>, PublishError> {
    let TargetKind::Version(model, version) = kind else { return Ok(None) };
    let value = |name: &str| {
        HeaderValue::from_str(name).map_err(|_invalid| PublishError::Header(name.to_owned()))
    };
    Ok(Some((value(model.as_str())?, value(version.as_str())?)))
}
