//! Logged requests, asked again of the version that gets copies: where clients ask too rarely.
//!
//! Owns which rows of the log can be asked again: those that the champion answered, whose bodies are whole and have
//! nothing taken out. The log is read on a hand of the shadow's thread. Never changes the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Champion, Copy, serve};
use crate::domain::record::{Entry, Kind, Outcome, PredictionRecord, Protocol, Side};
use crate::domain::routing::{Decision, ModelIx, Reason, TargetIx, TargetKind};
use crate::monitor::Content;
use crate::prediction_log::Item;
use crate::prediction_log::query::filter::Filter;
use crate::prediction_log::query::{Log, LogError, Scope, last};
use crate::proxy::exchange::REPLAY;
use crate::proxy::forward::REQUEST_ID;
use crate::proxy::held::Holding;
use crate::proxy::worker::Worker;
use crate::snapshot::{Held, ReplayOrder, Replayed, Trial};

/// Rows that wait to be asked.
const AHEAD: usize = 16;

/// Replays the last requests of a model, and tells how many.
pub(super) async fn carry_out(worker: Arc<Worker>, order: ReplayOrder, data_dir: PathBuf) {
    let ReplayOrder { model, trial, rows, done } = order;
    let snapshot = worker.snapshot();
    let found = snapshot.table.model_named(model.as_str()).and_then(|index| {
        let entry = snapshot.table.model(index);
        let champion = entry.split.shares().iter().max_by_key(|share| share.weight)?.target;
        Some((index, champion, entry.shadow?))
    });
    let (Some(places), Some(shadow)) = (found, trial.as_shadow()) else {
        let _gone = done.send(Err("no version of the model gets copies now".to_owned()));
        return;
    };
    let (send, mut requests) = mpsc::channel(AHEAD);
    let concurrency = shadow.spec().concurrency.max(1) as usize;
    let source = Source { snapshot, places, trial: Arc::clone(&trial) };
    let reading = tokio::task::spawn_blocking(move || source.read(&data_dir, rows, &send));
    let mut tasks = JoinSet::new();
    let mut asked = 0;
    while let Some(copy) = requests.recv().await {
        while tasks.len() >= concurrency {
            let _ended = tasks.join_next().await;
        }
        asked += 1;
        tasks.spawn(serve(Arc::clone(&worker), copy));
    }
    while tasks.join_next().await.is_some() {}
    let _gone = done.send(match reading.await {
        Ok(Ok(passed_over)) => Ok(Replayed { asked, passed_over }),
        Ok(Err(error)) => Err(format!("the log cannot be read: {error}")),
        Err(_panicked) => Err("the log cannot be read".to_owned()),
    });
}

/// Where copies come from and go to.
struct Source {
    snapshot: Held,
    /// The model, its champion, and the version that gets copies.
    places: (ModelIx, TargetIx, TargetIx),
    trial: Arc<Trial>,
}

impl Source {
    /// Sends the last `rows` requests that the champion answered; how many of them cannot be asked again.
    fn read(
        &self,
        data_dir: &Path,
        rows: u64,
        send: &mpsc::Sender<Box<Copy>>,
    ) -> Result<u64, LogError> {
        let TargetKind::Version(model, champion) = &self.snapshot.table.target(self.places.1).kind
        else {
            return Ok(0);
        };
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
            match self.copy(record) {
                Some(copy) => {
                    if send.blocking_send(Box::new(copy)).is_err() {
                        // Nobody takes it any more: the gateway ends.
                        break;
                    }
                }
                None => passed_over += 1,
            }
        }
        Ok(passed_over)
    }

    /// A row as a copy, if all of it is there.
    fn copy(&self, record: &PredictionRecord<'_>) -> Option<Copy> {
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
        let (model, champion, target) = self.places;
        let content = Content::of(&headers_of(&record.response)?, [response]);
        Some(Copy {
            trial: Arc::clone(&self.trial),
            snapshot: Arc::clone(&self.snapshot),
            decision: Decision { route: None, model: Some(model), target, reason: Reason::Shadow },
            primary: record.record_id,
            entropy: record.decision.entropy,
            client: record.client.parse().ok()?,
            parts,
            authority: None,
            request: std::iter::once(request).filter(|body| !body.is_empty()).collect(),
            champion: Champion {
                target: champion,
                content,
                took: us.map(|us| Duration::from_micros(us.into())),
            },
            chosen: Instant::now(),
            replayed: true,
            pass: None,
            _holding: Holding::default(),
        })
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
