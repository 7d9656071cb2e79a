//! What clients are told about models beside predictions: statistics, configuration, the index of the
//! model repository, and loading and unloading.
//!
//! Owns how these follow from the snapshot and the counts. Loading and unloading are decided by the
//! controller, and only where the configuration lets clients ask for it.

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use sha2::{Digest as _, Sha256};

use super::builtin::json;
use super::exchange::{Answer, Exchange};
use super::problem::{Cause, Problem};
use super::remote::read_whole;
use super::translate;
use crate::domain::ids::ModelName;
use crate::domain::routing::{ModelEntry, NoRoute, TargetIx};
use crate::domain::spec::{Secret, StrictStatus};
use crate::protocol::dialect::{Call, Operation, Release};
use crate::protocol::open_inference::grpc::ModelIndex;
use crate::protocol::open_inference::{
    IndexState, InferStatistics, ModelConfig, ModelStatistics, ModelStatisticsResponse,
    PLATFORM_ONNX, RepositoryAction, StatisticDuration, decode_index_request, decode_load_request,
    encode_index, encode_statistics,
};
use crate::protocol::tensor::TensorSpec;
use crate::snapshot::{self, Order, RepositoryError, RuntimeKind, Snapshot};
use crate::telemetry::Sum;

/// How a token is brought (RFC 6750 section 2.1).
const BEARER: &[u8] = b"bearer ";

/// The most rows that a configuration promises for one request; clients that make batches hold to it.
const BATCH_MAX: i32 = 1024;

/// Answers a call over REST.
pub(super) async fn answer(
    exchange: &mut Exchange,
    call: &Call<'_>,
    headers: &HeaderMap,
    unread: &mut Option<Incoming>,
) -> Result<Answer, Problem> {
    let version = match &call.release {
        Release::Any => None,
        Release::Version(name) | Release::Label(name) => Some(name.as_ref()),
    };
    match (call.operation, call.model.as_deref()) {
        (Operation::Statistics, model) => {
            let all = statistics(exchange.snapshot(), model, version)?;
            Ok(json(StatusCode::OK, encode_statistics(&all)))
        }
        (Operation::Config, Some(model)) => {
            let config = config(exchange.snapshot(), model, version)?;
            Ok(json(StatusCode::OK, config.to_json()))
        }
        (Operation::RepositoryIndex, _) => {
            let body = read(exchange, unread).await?;
            let asked = decode_index_request(&body)
                .map_err(|error| Problem::unreadable(error.to_string()))?;
            Ok(json(StatusCode::OK, encode_index(&index(exchange.snapshot(), asked.ready))))
        }
        (Operation::Load | Operation::Unload, Some(model)) => {
            check_right(exchange, headers)?;
            let body = read(exchange, unread).await?;
            let asked = decode_load_request(&body)
                .map_err(|error| Problem::unreadable(error.to_string()))?;
            if asked.config.is_some() {
                return Err(refused("config"));
            }
            let action = match call.operation {
                Operation::Load => RepositoryAction::Load,
                _ => RepositoryAction::Unload,
            };
            match change(exchange, model, action).await {
                Err(problem) if !is_done(exchange, &problem, action) => Err(problem),
                Ok(()) | Err(_) => Ok(Answer::Whole(Response::new(Bytes::new()))),
            }
        }
        (Operation::NotOffered(what), _) => Err(Problem::new(Cause::Unsupported, what.reason())),
        _ => {
            let detail = "this extension of the protocol is not served here";
            Err(Problem::new(Cause::Unsupported, detail))
        }
    }
}

/// Whether a call is one of those.
pub(super) const fn concerns(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Statistics
            | Operation::Config
            | Operation::RepositoryIndex
            | Operation::Load
            | Operation::Unload
            | Operation::NotOffered(_)
    )
}

/// Whether what was asked for is so although it could not be done: to Triton's clients, a model that there is not
/// counts as unloaded.
fn is_done(exchange: &Exchange, problem: &Problem, action: RepositoryAction) -> bool {
    let protocols = &exchange.context.worker.gateway.protocols;
    matches!(action, RepositoryAction::Unload)
        && matches!(problem.cause, Cause::UnknownModel | Cause::UnknownVersion)
        && protocols.strict_status == StrictStatus::Triton
}

/// A parameter of a load that is not taken: it would let the client bring what is run.
pub(super) fn refused(parameter: &str) -> Problem {
    let detail = format!("parameter `{parameter}` is not taken: models are loaded as configured");
    Problem::new(Cause::Forbidden, detail)
}

async fn read(exchange: &mut Exchange, unread: &mut Option<Incoming>) -> Result<Vec<u8>, Problem> {
    match unread.take() {
        Some(body) => Ok(read_whole(exchange, body).await?.concat()),
        None => Ok(Vec::new()),
    }
}

/// Refuses clients that may not load and unload versions.
pub(super) fn check_right(exchange: &Exchange, headers: &HeaderMap) -> Result<(), Problem> {
    let protocols = &exchange.context.worker.gateway.protocols;
    if !protocols.repository {
        let detail = "clients may not load or unload models here: `protocols.repository` is off";
        return Err(Problem::new(Cause::Forbidden, detail));
    }
    match &protocols.repository_token {
        Some(token) if !bears(headers, token) => {
            let detail = "loading and unloading needs the header `authorization: Bearer TOKEN` with \
                          the token of `protocols.repository_token`";
            Err(Problem::new(Cause::Forbidden, detail))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether a request brings the token. Digests are compared, so that the time which that takes tells
/// nothing about the token.
fn bears(headers: &HeaderMap, token: &Secret) -> bool {
    let digest = |bytes: &[u8]| Sha256::digest(bytes);
    headers.get(AUTHORIZATION).is_some_and(|value| {
        let (scheme, given) = value.as_bytes().split_at_checked(BEARER.len()).unwrap_or_default();
        scheme.eq_ignore_ascii_case(BEARER)
            && digest(given.trim_ascii()) == digest(token.expose().as_bytes())
    })
}

/// Has the controller load or unload the versions of a model, for a client with the right to it.
pub(super) async fn change(
    exchange: &Exchange,
    model: &str,
    action: RepositoryAction,
) -> Result<(), Problem> {
    let gateway = &exchange.context.worker.gateway;
    let name = ModelName::new(model);
    let order = match action {
        RepositoryAction::Load => Order::Load(name, None),
        RepositoryAction::Unload => Order::Unload(name, None),
    };
    let done = exchange.clock().within(exchange.deadline(), gateway.repository.order(order)).await;
    let Ok(done) = done else { return Err(exchange.overdue(Cause::QueueTimeout)) };
    done.map_err(|error| {
        let cause = match &error {
            RepositoryError::UnknownModel(_) => Cause::UnknownModel,
            RepositoryError::UnknownVersion(..) => Cause::UnknownVersion,
            RepositoryError::NotHere(_)
            | RepositoryError::Governed(_)
            | RepositoryError::Changed { .. }
            | RepositoryError::NothingHere(_)
            | RepositoryError::Needed(..) => Cause::Refused,
            RepositoryError::Load(_) => Cause::Model,
            RepositoryError::Busy | RepositoryError::Closed => Cause::QueueFull,
        };
        Problem::new(cause, error.to_string())
    })
}

/// The model of this name.
pub(super) fn model_named<'a>(
    snapshot: &'a Snapshot,
    name: &str,
) -> Result<&'a ModelEntry, Problem> {
    let index = snapshot.table.model_named(name).ok_or(NoRoute::UnknownModel)?;
    Ok(snapshot.table.model(index))
}

/// The version that stands for a model where none is named: the one with the largest share of the
/// traffic, the first of several; the first that is ready where none has a share.
pub(super) fn main_version(snapshot: &Snapshot, entry: &ModelEntry) -> Option<TargetIx> {
    let largest = entry.split.shares().iter().rev().max_by_key(|share| share.weight);
    let ready = |target: &TargetIx| snapshot.table.target(*target).ready;
    largest
        .map(|share| share.target)
        .or_else(|| entry.versions().map(|(_, target)| target).find(ready))
}

fn version_named(entry: &ModelEntry, version: &str) -> Result<TargetIx, Problem> {
    entry
        .version_named(version)
        .ok_or_else(|| Problem::new(Cause::UnknownVersion, "the model has no version of this name"))
}

/// The version of this name, or the one that stands for the model.
pub(super) fn target_named(snapshot: &Snapshot, model: &str, version: &str) -> Option<TargetIx> {
    let entry = model_named(snapshot, model).ok()?;
    match version {
        "" => main_version(snapshot, entry),
        version => entry.version_named(version),
    }
}

/// Whether a version, or any version of the model, takes requests. What is not there does not.
pub(super) fn is_ready(snapshot: &Snapshot, model: &str, version: &str) -> bool {
    let Ok(entry) = model_named(snapshot, model) else { return false };
    let ready = |target| snapshot.table.target(target).ready;
    match version {
        "" => entry.versions().any(|(_, target)| ready(target)),
        version => entry.version_named(version).is_some_and(ready),
    }
}

/// What is counted, by version; an empty name of a version means all of them.
pub(super) fn statistics(
    snapshot: &Snapshot,
    model: Option<&str>,
    version: Option<&str>,
) -> Result<ModelStatisticsResponse, Problem> {
    let mut model_stats = Vec::new();
    match model {
        None => {
            for entry in snapshot.table.models() {
                let versions = entry.versions();
                model_stats.extend(
                    versions.map(|(name, target)| counted(snapshot, entry, name.as_str(), target)),
                );
            }
        }
        Some(model) => {
            let entry = model_named(snapshot, model)?;
            let wanted = match version.filter(|version| !version.is_empty()) {
                Some(version) => Some(version_named(entry, version)?),
                None => None,
            };
            let versions = entry.versions();
            let versions = versions.filter(|(_, target)| wanted.is_none_or(|one| one == *target));
            model_stats.extend(
                versions.map(|(name, target)| counted(snapshot, entry, name.as_str(), target)),
            );
        }
    }
    Ok(ModelStatisticsResponse { model_stats })
}

fn counted(
    snapshot: &Snapshot,
    entry: &ModelEntry,
    version: &str,
    target: TargetIx,
) -> ModelStatistics {
    let tally = snapshot.target(target).metrics.tally();
    let time = |sum: Sum| Some(StatisticDuration { count: sum.count, ns: sum.ns });
    // A request that did not have to wait waited for no time: clients look for this count.
    let queue = Sum { count: tally.success.count.max(tally.queue.count), ns: tally.queue.ns };
    ModelStatistics {
        name: entry.name.to_string(),
        version: version.to_owned(),
        last_inference: tally.last_ms,
        inference_count: tally.rows,
        execution_count: tally.infer.count,
        inference_stats: Some(InferStatistics {
            success: time(tally.success),
            fail: time(tally.fail),
            queue: time(queue),
            compute_input: time(tally.input),
            compute_infer: time(tally.infer),
            compute_output: time(tally.output),
            cache_hit: None,
            cache_miss: None,
        }),
        ..ModelStatistics::default()
    }
}

/// Every version and its state.
pub(super) fn index(snapshot: &Snapshot, ready_only: bool) -> Vec<ModelIndex> {
    let entries = snapshot::index(snapshot).into_iter();
    let wanted = entries.filter(|entry| entry.ready || !ready_only);
    wanted
        .map(|entry| {
            let (state, reason) = match entry.ready {
                true => (IndexState::Ready, ""),
                false => (IndexState::Unavailable, "it is not loaded"),
            };
            ModelIndex {
                name: entry.model.to_string(),
                version: entry.version.to_string(),
                state: state.as_str().to_owned(),
                reason: reason.to_owned(),
            }
        })
        .collect()
}

/// What is known about a version.
pub(super) struct Described<'a> {
    pub(super) name: &'a str,
    /// All versions that can be asked for, or the one that was.
    pub(super) versions: Vec<String>,
    pub(super) platform: &'a str,
    pub(super) inputs: &'a [TensorSpec],
    pub(super) outputs: &'a [TensorSpec],
    /// Whether all of them may begin with the same number of rows.
    pub(super) has_batch: bool,
}

/// What a version takes and returns: the one that is named, or the first that is ready.
pub(super) fn described<'a>(
    snapshot: &'a Snapshot,
    model: &str,
    version: Option<&str>,
) -> Result<Described<'a>, Problem> {
    let entry = model_named(snapshot, model)?;
    let (target, versions) = match version.filter(|version| !version.is_empty()) {
        Some(version) => {
            let target = version_named(entry, version)?;
            let own = entry.versions().filter(|(_, one)| *one == target);
            (target, own.map(|(name, _)| name.to_string()).collect())
        }
        None => {
            let target = main_version(snapshot, entry).ok_or_else(|| {
                Problem::new(Cause::NoReadyVersion, "the model has no version that is ready")
            })?;
            (target, entry.versions().map(|(name, _)| name.to_string()).collect())
        }
    };
    let (platform, inputs, outputs, has_batch) = match &snapshot.target(target).kind {
        RuntimeKind::Local(Some(runtime)) => {
            let signature = runtime.model.signature();
            (PLATFORM_ONNX, &*signature.inputs, &*signature.outputs, runtime.model.has_batch())
        }
        RuntimeKind::Local(None) => {
            return Err(Problem::new(Cause::NoReadyVersion, "the version is not loaded"));
        }
        RuntimeKind::Remote(runtime) => match &runtime.spoken.description {
            Some(known) => (known.platform.as_str(), &*known.inputs, &*known.outputs, true),
            None => {
                translate::await_description(runtime)?;
                let detail = "the backends have not told what the model takes and returns";
                return Err(Problem::new(Cause::Unsupported, detail));
            }
        },
    };
    Ok(Described { name: entry.name.as_str(), versions, platform, inputs, outputs, has_batch })
}

/// The configuration of a version, as far as it follows from what it takes and returns.
pub(super) fn config(
    snapshot: &Snapshot,
    model: &str,
    version: Option<&str>,
) -> Result<ModelConfig, Problem> {
    let known = described(snapshot, model, version)?;
    let batch_max = if known.has_batch { BATCH_MAX } else { 0 };
    let config = ModelConfig::of(known.name, known.inputs, known.outputs, batch_max);
    Ok(ModelConfig { platform: known.platform.to_owned(), ..config })
}
