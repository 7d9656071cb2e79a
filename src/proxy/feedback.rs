//! `POST /v1/feedback`: delayed ground truth, written durably before it is answered.
//!
//! Owns the way from a body to statements in the log and to one answer an item. Never changes a prediction's
//! own row: a statement is a row that refers to it.
//!
//! ```text
//! body ─▶ items ─▶ decide (reserve) ─▶ offer ─▶ synced ─▶ settle ─▶ known? ─▶ answers
//! ```
//!
//! From the first reservation on, a task of its own does the work: a client that goes away leaves
//! no statement half kept.

mod item;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use metrics::Counter;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use self::item::{Item, items};
use super::Gateway;
use super::admit::{BODY_KEY, BodyLength, admit, too_large};
use super::exchange::{Answer, Exchange};
use super::problem::{Cause, ERROR_HEADER, Problem};
use crate::domain::ids::RecordId;
use crate::domain::record::{FeedbackRecord, FeedbackTarget};
use crate::domain::spec::{Durability, Intent, Limits};
use crate::prediction_log::{Decision, Feedback, Offer, Place, Recorder, Standing, Ticket};
use crate::telemetry::Registry;

/// The path.
pub(super) const PATH: &str = "/v1/feedback";

/// Bodies up to this size are read on the worker, in less than a millisecond.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// How long an answer waits for the log to be read back after a start.
const LOAD_TIME: Duration = Duration::from_secs(5);

/// How long the writing of one request's statements may take.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// How long an answer waits for the record of a prediction that was made a moment ago.
const CATCH_UP_TIME: Duration = Duration::from_millis(200);

/// What the data plane needs for feedback.
pub(super) struct Desk {
    pub(super) feedback: Feedback,
    items: Vec<Counter>,
    /// Predictions that were made before this are not joined with labels any more, in milliseconds since the Unix epoch.
    joined_since_ms: OnceLock<Arc<AtomicU64>>,
}

impl Desk {
    pub(super) fn new(intent: &Intent, recorder: &Recorder, registry: &Registry) -> Self {
        let counter = |status: &Status| {
            let labels = [("status", status.as_str())];
            registry.counter("pointsman_feedback_items_total", &labels)
        };
        Self {
            feedback: Feedback::new(&intent.data_dir, intent.feedback.clone(), recorder.progress()),
            items: Status::ALL.iter().map(counter).collect(),
            joined_since_ms: OnceLock::new(),
        }
    }

    /// Says where it is told how far back labels are joined. The first word counts.
    pub(super) fn follow_join(&self, since_ms: Arc<AtomicU64>) {
        let _told_before = self.joined_since_ms.set(since_ms).is_err();
    }

    /// Whether the prediction is one that labels are not joined with any more, for want of memory.
    fn is_beyond_join(&self, target: FeedbackTarget<'_>) -> bool {
        let since_ms = self.joined_since_ms.get().map_or(0, |since| since.load(Ordering::Relaxed));
        let made_ms = || self.feedback.made_ms(target);
        since_ms > 0 && made_ms().is_some_and(|made_ms| made_ms < since_ms)
    }
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Accepted,
    Unmeasured,
    Duplicate,
    Superseded,
    Replaced,
    Pending,
    Late,
    Unknown,
    Invalid,
    Lost,
}

impl Status {
    const ALL: [Self; 10] = [
        Self::Accepted,
        Self::Unmeasured,
        Self::Duplicate,
        Self::Superseded,
        Self::Replaced,
        Self::Pending,
        Self::Late,
        Self::Unknown,
        Self::Invalid,
        Self::Lost,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Unmeasured => "accepted_unmeasured",
            Self::Duplicate => "duplicate",
            Self::Superseded => "superseded",
            Self::Replaced => "replaced",
            Self::Pending => "pending",
            Self::Late => "late",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
            Self::Lost => "lost",
        }
    }
}

/// The form of a request, which is the form of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One JSON object.
    One,
    /// A JSON array.
    Array,
    /// One JSON object a line (`application/x-ndjson`).
    Lines,
}

/// Answers feedback.
pub(super) async fn answer(
    exchange: &mut Exchange,
    parts: &Parts,
    unread: &mut Option<Incoming>,
) -> Result<Answer, Problem> {
    exchange.owes_no_record();
    let worker = Arc::clone(&exchange.context.worker);
    let gateway = Arc::clone(&worker.gateway);
    let bound = Bound::of(&gateway);
    // The length is held against the bound that counts here.
    let ended = unread.as_ref().is_none_or(Incoming::is_end_stream);
    let admitted = admit(parts, &Limits { body: u64::MAX, ..gateway.limits }, ended)?;
    if matches!(admitted.body, BodyLength::Known(length) if length > bound.bytes) {
        return Err(bound.exceeded());
    }
    if parts.method != Method::POST {
        return Err(Problem::method("feedback is given with POST", "POST"));
    }
    let encoding = parts.headers.get(CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(Problem::new(Cause::Encoding, "feedback must not be encoded"));
    }
    let lines = is_lines(parts.headers.get(CONTENT_TYPE))?;
    if !gateway.recorder.is_on() {
        return Err(unavailable("nothing is recorded here: `log.durability` is \"off\""));
    }
    let Some(incoming) = unread.take() else { return Err(unavailable("the body is gone")) };
    let body = read(exchange, incoming, bound).await?;
    let (shape, items) = understand(body, lines).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or_default();
    let statement = |item: Result<Item, String>| match item {
        Ok(item) => Found::Statement(Statement { item, id: worker.mint(now_ms).0, now_ms }),
        Err(why) => Found::Mistake(why),
    };
    let found: Vec<Found> = items.into_iter().map(statement).collect();
    gateway.desk.feedback.start().map_err(|_| unavailable("there is no thread to read the log"))?;
    let index = worker.index;
    let task = tokio::spawn(async move { keep(&gateway, index, found).await });
    let done = match exchange.context.clock.within(exchange.deadline(), task).await {
        Ok(Ok(done)) => done?,
        Ok(Err(_)) => return Err(unavailable("keeping the feedback failed")),
        Err(_expired) => return Err(exchange.overdue(Cause::RequestTimeout)),
    };
    let mut response = render(shape, &done);
    if done.iter().any(|done| done.status == Status::Lost) {
        let cause = Cause::FeedbackUnavailable;
        exchange.context.worker.gateway.counters.error(cause).increment(1);
        *response.status_mut() = cause.status();
        let reason = HeaderValue::from_static(cause.reason());
        response.headers_mut().insert(ERROR_HEADER, reason);
    }
    Ok(Answer::Whole(response))
}

/// Reads the items of a body; a large one on another thread, so that no request waits for it.
async fn understand(
    body: Bytes,
    lines: bool,
) -> Result<(Shape, Vec<Result<Item, String>>), Problem> {
    let understood = if body.len() > INLINE_BYTES_MAX {
        let reading = tokio::task::spawn_blocking(move || items(&body, lines));
        reading.await.map_err(|_| unavailable("reading the feedback failed"))?
    } else {
        items(&body, lines)
    };
    understood.map_err(|why| Problem::new(Cause::BadInput, why))
}

/// The most bytes of a request, and the setting that says so: the smaller of two counts.
#[derive(Debug, Clone, Copy)]
struct Bound {
    bytes: u64,
    key: &'static str,
}

impl Bound {
    fn of(gateway: &Gateway) -> Self {
        let (own, every) = (gateway.desk.feedback.body_bytes_max(), gateway.limits.body);
        if every < own {
            Self { bytes: every, key: BODY_KEY }
        } else {
            Self { bytes: own, key: "feedback.body" }
        }
    }

    fn exceeded(self) -> Problem {
        too_large(self.bytes, self.key)
    }
}

fn unavailable(detail: &str) -> Problem {
    Problem::new(Cause::FeedbackUnavailable, detail)
}

fn is_lines(content_type: Option<&HeaderValue>) -> Result<bool, Problem> {
    let Some(content_type) = content_type else { return Ok(false) };
    let text = content_type.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok(false),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(true),
        _ => Err(Problem::new(
            Cause::BadInput,
            "feedback is application/json or application/x-ndjson",
        )),
    }
}

/// Reads a body within `bound`.
async fn read(
    exchange: &mut Exchange,
    mut incoming: Incoming,
    bound: Bound,
) -> Result<Bytes, Problem> {
    let mut body = BytesMut::new();
    let idle = exchange.context.worker.gateway.limits.header_time;
    while !incoming.is_end_stream() {
        let deadline = exchange.deadline().min(std::time::Instant::now() + idle);
        let next = std::future::poll_fn(|cx| std::pin::Pin::new(&mut incoming).poll_frame(cx));
        match exchange.context.clock.within(deadline, next).await {
            Err(_expired) => return Err(exchange.overdue(Cause::BodyTimeout)),
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err(super::body::client_body_problem(&error)),
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { continue };
                if body.len() as u64 + data.len() as u64 > bound.bytes {
                    return Err(bound.exceeded());
                }
                exchange.hold(data.len())?;
                body.extend_from_slice(&data);
            }
        }
    }
    exchange.clock().set_unread(false);
    Ok(body.freeze())
}

/// An item of a request.
enum Found {
    Statement(Statement),
    Mistake(String),
}

/// An item that was understood, with the id of its row.
struct Statement {
    item: Item,
    id: RecordId,
    now_ms: u64,
}

impl Statement {
    fn record(&self) -> FeedbackRecord<'_> {
        self.item.record(self.id, self.now_ms * 1000)
    }
}

/// What became of an item, and its row.
struct Done {
    status: Status,
    id: Option<RecordId>,
    error: Option<String>,
}

/// Keeps what is new of `found`, and says of each what became of it.
///
/// # Errors
/// `feedback_unavailable` when the log is not read back yet.
async fn keep(gateway: &Gateway, slot: usize, found: Vec<Found>) -> Result<Vec<Done>, Problem> {
    let desk = &gateway.desk;
    if timeout(LOAD_TIME, desk.feedback.loaded()).await.is_err() {
        return Err(unavailable("the log is still being read; send it again later"));
    }
    let work = Work { gateway, slot };
    let mut patience = Patience::new(gateway);
    // What is reserved is always settled, so that a slow write is no reason to stop here.
    let mut fates = Vec::with_capacity(found.len());
    for found in &found {
        fates.push(match found {
            Found::Mistake(_) => Fate::None,
            Found::Statement(statement) => {
                patience.await_room(gateway).await;
                work.begin(statement)
            }
        });
    }
    // What others write waits until our own is settled: two requests must not wait for each other.
    for theirs in [false, true] {
        for (found, fate) in found.iter().zip(&mut fates) {
            if let Found::Statement(statement) = found
                && matches!(fate, Fate::Busy) == theirs
            {
                *fate = work.complete(statement, *fate).await;
            }
        }
    }
    let mut done = Vec::with_capacity(found.len());
    let mut caught_up = false;
    for (found, fate) in found.into_iter().zip(fates) {
        let one = match found {
            Found::Mistake(why) => Done { status: Status::Invalid, id: None, error: Some(why) },
            Found::Statement(statement) => work.tell(&statement, fate, &mut caught_up).await,
        };
        desk.items[one.status as usize].increment(1);
        done.push(one);
    }
    Ok(done)
}

/// How much longer a request waits for room in the log before it offers a statement.
struct Patience {
    /// For one statement; nothing once it was in vain.
    wait: Duration,
    /// For all of them.
    until: Instant,
}

impl Patience {
    fn new(gateway: &Gateway) -> Self {
        Self { wait: gateway.log_block, until: Instant::now() + WRITE_TIME }
    }

    async fn await_room(&mut self, gateway: &Gateway) {
        let until = self.until.min(Instant::now() + self.wait);
        while !gateway.recorder.has_room() {
            let found = timeout_at(until, gateway.recorder.room()).await;
            if found.is_err() || Instant::now() >= until {
                self.wait = Duration::ZERO;
                return;
            }
            // It may have been taken by another already.
            tokio::task::yield_now().await;
        }
    }
}

/// How far a statement has come.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It is not kept.
    None,
    Duplicate(RecordId),
    Superseded(RecordId),
    /// Somebody else is writing the same.
    Busy,
    Waiting {
        place: Place,
        ticket: Ticket,
    },
    Kept {
        place: Place,
    },
    Lost,
}

/// The log and the worker's place in it.
#[derive(Clone, Copy)]
struct Work<'a> {
    gateway: &'a Gateway,
    slot: usize,
}

impl Work<'_> {
    /// Reserves and offers a statement that is new.
    fn begin(self, statement: &Statement) -> Fate {
        let (feedback, record) = (&self.gateway.desk.feedback, statement.record());
        if feedback.standing(record.target, statement.now_ms) == Standing::Impossible {
            return Fate::None;
        }
        let decision = feedback.decide(&record);
        self.offer(&record, decision)
    }

    fn offer(self, record: &FeedbackRecord<'_>, decision: Decision) -> Fate {
        let place = match decision {
            Decision::Duplicate(id) => return Fate::Duplicate(id),
            Decision::Superseded(id) => return Fate::Superseded(id),
            Decision::Busy => return Fate::Busy,
            Decision::New { place } => place,
        };
        match self.gateway.recorder.offer_feedback(self.slot, record, Durability::Sync) {
            Offer::Queued(ticket) => Fate::Waiting { place, ticket },
            Offer::Dropped(_) | Offer::Off => {
                self.gateway.desk.feedback.settle(record, place, false);
                Fate::Lost
            }
        }
    }

    /// Waits for what was begun.
    async fn complete(self, statement: &Statement, fate: Fate) -> Fate {
        let (feedback, record) = (&self.gateway.desk.feedback, statement.record());
        let mut fate = fate;
        loop {
            match fate {
                Fate::Waiting { place, ticket } => {
                    let kept = self.gateway.recorder.written(ticket).await.is_ok();
                    feedback.settle(&record, place, kept);
                    return if kept { Fate::Kept { place } } else { Fate::Lost };
                }
                Fate::Busy => match timeout(WRITE_TIME, feedback.decide_later(&record)).await {
                    Ok(decision) => fate = self.offer(&record, decision),
                    Err(_elapsed) => return Fate::Lost,
                },
                fate => return fate,
            }
        }
    }

    /// Says what became of a statement, once its prediction had the time to become known.
    async fn tell(self, statement: &Statement, fate: Fate, caught_up: &mut bool) -> Done {
        let (feedback, record) = (&self.gateway.desk.feedback, statement.record());
        let standing = || feedback.standing(record.target, statement.now_ms);
        let place = match fate {
            Fate::Kept { place } => place,
            Fate::Duplicate(id) => {
                return Done { status: Status::Duplicate, id: Some(id), error: None };
            }
            Fate::Superseded(id) => {
                let why = "this was stated before, and another statement has taken its place since: if it holds again, \
                           give an `id`, or say when it was found out (`observed_at`)";
                return Done {
                    status: Status::Superseded,
                    id: Some(id),
                    error: Some(why.to_owned()),
                };
            }
            Fate::Lost | Fate::Busy | Fate::Waiting { .. } => {
                let why = "the log could not be written; send it again";
                return Done { status: Status::Lost, id: None, error: Some(why.to_owned()) };
            }
            Fate::None => {
                let why = "this gateway cannot have given this prediction id";
                return Done { status: Status::Unknown, id: None, error: Some(why.to_owned()) };
            }
        };
        if standing() == Standing::Pending && !*caught_up {
            // Rows that were offered before the statement are written with it.
            let _late = timeout(CATCH_UP_TIME, feedback.caught_up()).await.is_err();
            *caught_up = true;
        }
        let status = match standing() {
            Standing::Late => Status::Late,
            _ if place == Place::Behind => {
                let why =
                    "what was stated before was found out later (`observed_at`), and still counts";
                return Done {
                    status: Status::Superseded,
                    id: Some(record.record_id),
                    error: Some(why.to_owned()),
                };
            }
            _ if place == Place::Replaces => Status::Replaced,
            Standing::Known | Standing::Pending
                if self.gateway.desk.is_beyond_join(statement.record().target) =>
            {
                Status::Unmeasured
            }
            Standing::Known => Status::Accepted,
            Standing::Pending | Standing::Impossible => Status::Pending,
        };
        Done { status, id: Some(record.record_id), error: None }
    }
}

/// The answers, in the form of the request.
fn render(shape: Shape, done: &[Done]) -> Response<Bytes> {
    let object = |(index, done): (usize, &Done)| {
        let mut object = json!({ "index": index, "status": done.status.as_str() });
        if let Some(id) = done.id {
            object["record_id"] = id.to_string().into();
        }
        if let Some(error) = &done.error {
            object["error"] = error.as_str().into();
        }
        object
    };
    let objects = done.iter().enumerate().map(object);
    let (content_type, body) = match shape {
        Shape::One => ("application/json", objects.map(|one| one.to_string()).collect()),
        Shape::Array => ("application/json", Value::Array(objects.collect()).to_string()),
        Shape::Lines => {
            ("application/x-ndjson", objects.map(|one| format!("{one}\n")).collect::<String>())
        }
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
