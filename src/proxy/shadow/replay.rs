//! Logged requests, asked again of the version that gets copies: where clients ask too rarely.
//!
//! Owns which rows of the log can be asked again: those that the champion answered, whose bodies are whole and have
//! nothing taken out. The log is read on a thread of its own, as fast as rows are asked. Each row is asked by the
//! routes of its moment, so that a replay keeps no model in memory, and ends with its trial. Never changes the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};

use super::{Champion, Copy, Hands, Place, serve, yield_to_requests};
use crate::domain::ids::{Entropy, ModelName, RecordId, VersionName};
use crate::domain::record::{Entry, Kind, Outcome, PredictionRecord, Protocol, Side};
use crate::domain::routing::{Decision, ModelIx, Reason, TargetIx, TargetKind};
use crate::monitor::Content;
use crate::prediction_log::Item;
use crate::prediction_log::query::filter::Filter;
use crate::prediction_log::query::{Log, LogError, Scope, last};
use crate::proxy::body::Pieces;
use crate::proxy::exchange::REPLAY;
use crate::proxy::forward::REQUEST_ID;
use crate::proxy::held::Holding;
use crate::proxy::worker::Worker;
use crate::snapshot::{Held, ReplayOrder, Replayed, RuntimeKind, Snapshot, Trial};

/// Rows that wait to be asked.
const AHEAD: usize = 16;

/// Replays the last requests of a model, and tells how many.
pub(super) async fn carry_out(
    worker: Arc<Worker>,
    hands: Arc<Hands>,
    mut order: ReplayOrder,
    data_dir: PathBuf,
) {
    let replayed = tokio::select! {
        replayed = replay(worker, hands, &order.model, (&order.trial, order.rows), data_dir) => replayed,
        // Nobody wants to know any more.
        () = order.done.closed() => return,
    };
    let _gone = order.done.send(replayed);
}

async fn replay(
    worker: Arc<Worker>,
    hands: Arc<Hands>,
    model: &ModelName,
    (trial, rows): (&Arc<Trial>, u64),
    data_dir: PathBuf,
) -> Result<Replayed, String> {
    let over = || "no version of the model gets copies now".to_owned();
    let places = Places::of(&worker.snapshot(), model, trial).ok_or_else(over)?;
    let champion = places.champion_name.clone();
    let concurrency = match (places.is_local, trial.as_shadow()) {
        // It would only wait for the hand.
        (true, _) | (_, None) => 1,
        (false, Some(shadow)) => shadow.spec().concurrency.max(1) as usize,
    };
    let (send, mut found) = mpsc::channel(AHEAD);
    let (told, read) = oneshot::channel();
    let names = (model.clone(), champion.clone());
    std::thread::Builder::new()
        .name("shadow-log".to_owned())
        .spawn(move || {
            yield_to_requests();
            // Nobody may want to know any more.
            let _gone = told.send(find(&data_dir, &names, rows, &send));
        })
        .map_err(|error| format!("there is no thread to read the log: {error}"))?;
    let mut tasks = JoinSet::new();
    let mut replayed = Replayed::default();
    let mut count = |ended: Option<Result<bool, JoinError>>| match ended {
        Some(Ok(true)) => replayed.asked += 1,
        Some(Ok(false) | Err(_)) => replayed.passed_over += 1,
        None => {}
    };
    while let Some(logged) = found.recv().await {
        while tasks.len() >= concurrency {
            count(tasks.join_next().await);
        }
        // The routes may have changed meanwhile.
        let snapshot = worker.snapshot();
        let places = Places::of(&snapshot, model, trial);
        let places = places.filter(|now| now.champion_name == champion).ok_or_else(over)?;
        let copy = logged.copy(snapshot, &places, Arc::clone(trial));
        let (worker, hands) = (Arc::clone(&worker), Arc::clone(&hands));
        tasks.spawn(async move { serve(&worker, &hands, copy).await });
    }
    while !tasks.is_empty() {
        count(tasks.join_next().await);
    }
    match read.await {
        Ok(Ok(passed_over)) => {
            replayed.passed_over += passed_over;
            Ok(replayed)
        }
        Ok(Err(error)) => Err(format!("the log cannot be read: {error}")),
        Err(_panicked) => Err("the log cannot be read".to_owned()),
    }
}

/// Who is asked, beside whom, as things are at one moment.
struct Places {
    model: ModelIx,
    champion: TargetIx,
    champion_name: VersionName,
    shadow: TargetIx,
    /// The version runs in this process.
    is_local: bool,
}

impl Places {
    /// `None` where the trial is over, or nobody gets copies.
    fn of(snapshot: &Snapshot, model: &ModelName, trial: &Arc<Trial>) -> Option<Self> {
        let index = snapshot.table.model_named(model.as_str())?;
        let goes_on = snapshot.model(index).trial.as_ref().is_some_and(|it| Arc::ptr_eq(it, trial));
        let entry = snapshot.table.model(index);
        let shadow = entry.shadow.filter(|_| goes_on && entry.killed.is_none())?;
        let champion = entry.split.shares().iter().max_by_key(|share| share.weight)?.target;
        let TargetKind::Version(_, name) = &snapshot.table.target(champion).kind else {
            return None;
        };
        let is_local = matches!(snapshot.target(shadow).kind, RuntimeKind::Local(_));
        Some(Self { model: index, champion, champion_name: name.clone(), shadow, is_local })
    }
}

/// A request that can be asked again.
struct Logged {
    record_id: RecordId,
    entropy: Entropy,
    client: std::net::IpAddr,
    parts: Parts,
    request: Pieces,
    content: Content,
    took: Option<Duration>,
}

/// Sends the last `rows` requests that the champion answered; how many of them cannot be asked again.
fn find(
    data_dir: &Path,
    (model, champion): &(ModelName, VersionName),
    rows: u64,
    send: &mpsc::Sender<Box<Logged>>,
) -> Result<u64, LogError> {
    let filter = Filter {
        models: vec![model.to_string()],
        versions: vec![champion.to_string()],
        statuses: vec![200..=299],
        outcomes: vec![Outcome::Ok],
        kinds: vec![Kind::Inference],
        ..Filter::default()
    };
    let from = last(data_dir, rows, &filter)?;
    let mut log = Log::open_scope(data_dir, Scope::of_lsns(from.first_lsn, u64::MAX))?;
    let (mut skip, mut left, mut passed_over) = (from.skip, rows, 0);
    while left > 0
        && !send.is_closed()
        && let Some(item) = log.next_item()?
    {
        let Item::Row(row) = item else { continue };
        if !filter.takes(&row) {
            continue;
        }
        if skip > 0 {
            skip -= 1;
            continue;
        }
        left -= 1;
        let Entry::Prediction(record) = &row.entry else { continue };
        match Logged::of(record) {
            Some(logged) => {
                if send.blocking_send(Box::new(logged)).is_err() {
                    // Nobody takes it any more: the trial or the gateway ends.
                    break;
                }
            }
            None => passed_over += 1,
        }
    }
    Ok(passed_over)
}

impl Logged {
    /// A row, if all of it is there.
    fn of(record: &PredictionRecord<'_>) -> Option<Self> {
        if record.flags.replayed {
            return None;
        }
        let request = whole(&record.request)?;
        let response = whole(&record.response)?;
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = Method::from_bytes(record.method.as_bytes()).ok()?;
        parts.uri = record.path.parse::<Uri>().ok().filter(|uri| uri.path().starts_with('/'))?;
        parts.headers = headers(record)?;
        if record.decision.protocol == Protocol::OpenInferenceGrpc {
            parts.version = Version::HTTP_2;
        }
        let us = record.latency.t_infer.or(record.latency.t_ttfb);
        Some(Self {
            record_id: record.record_id,
            entropy: record.decision.entropy,
            client: record.client.parse().ok()?,
            parts,
            request: std::iter::once(request).filter(|body| !body.is_empty()).collect(),
            content: Content::of(&headers_of(&record.response)?, [response]),
            took: us.map(|us| Duration::from_micros(us.into())),
        })
    }

    /// The same as a copy.
    fn copy(self, snapshot: Held, places: &Places, trial: Arc<Trial>) -> Copy {
        let Self { record_id, entropy, client, parts, request, content, took } = self;
        let (model, target) = (Some(places.model), places.shadow);
        let now = Instant::now();
        Copy {
            trial,
            snapshot,
            decision: Decision { route: None, model, target, reason: Reason::Shadow },
            primary: record_id,
            entropy,
            client,
            parts,
            authority: None,
            request,
            champion: Champion { target: places.champion, content, took },
            chosen: now,
            ready: now,
            replayed: true,
            place: Arc::new(Place {
                _pass: None,
                _request: Holding::default(),
                _answer: Holding::default(),
            }),
        }
    }
}

/// A body that is whole and unchanged.
fn whole(side: &Side<'_>) -> Option<Bytes> {
    let is_whole = side.omission.is_none() && side.redacted == 0;
    let body: Vec<u8> = side.body.pieces().flatten().copied().collect();
    (is_whole && body.len() as u64 == side.bytes).then(|| body.into())
}

/// What a side says about its body.
fn headers_of(side: &Side<'_>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let about = [(CONTENT_TYPE, side.content_type), (CONTENT_ENCODING, side.content_encoding)];
    for (name, text) in about.into_iter().filter(|(_, text)| !text.is_empty()) {
        headers.insert(name, HeaderValue::from_str(text).ok()?);
    }
    Some(headers)
}

/// The head of a request, as far as it was recorded.
fn headers(record: &PredictionRecord<'_>) -> Option<HeaderMap> {
    let mut headers = headers_of(&record.request)?;
    for (name, text) in &record.request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        if !headers.contains_key(&name) && !name.as_str().starts_with("x-pointsman-") {
            headers.append(name, HeaderValue::from_str(text).ok()?);
        }
    }
    headers.insert(REQUEST_ID, HeaderValue::from_str(record.request_id).ok()?);
    headers.insert(REPLAY, HeaderValue::from_str(&record.record_id.to_string()).ok()?);
    Some(headers)
}
