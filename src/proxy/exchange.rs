//! One request and its response while the gateway holds them.
//!
//! Owns the stages of an exchange and its one record: received, admitted, decided, answered, and
//! recorded exactly once, whichever way it ends; an exchange that is dropped was cancelled by its
//! client. Never speaks to a backend or a model: [`super::remote`] and [`super::local`] do.

mod context;
mod promise;
mod record;
mod row;

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{EXPECT, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use hyper::body::Incoming;

pub(super) use self::context::{Context, Peer};
pub(super) use self::promise::Promise;
use self::record::HeaderKeys;
use self::row::SideNotes;
use super::admit::{self, Admitted};
use super::body::{ReplyBody, StreamReply, Upload, skip};
use super::builtin;
use super::capture::Capture;
use super::clock::{ConnClock, Phase};
use super::forward::{REQUEST_ID, TRACEPARENT, TraceContext};
use super::problem::{Cause, Problem};
use super::upstream::Link;
use super::{feedback, local, remote};
use crate::domain::ids::{Entropy, RecordId};
use crate::domain::record::{Latency, Outcome, Protocol};
use crate::domain::routing::{self, Decision, HeaderSource, ModelCall, ModelIx, RequestView};
use crate::domain::spec::Durability;
use crate::protocol::open_inference::{Call, Operation, parse_path};
use crate::snapshot::{BackendGuard, Held, Keep, PolicyIx, RuntimeKind, TargetRuntime};

const PREDICTION_ID: HeaderName = HeaderName::from_static("x-prediction-id");
const MODEL: HeaderName = HeaderName::from_static("x-pointsman-model");
const VERSION: HeaderName = HeaderName::from_static(routing::VERSION_HEADER);
const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout-ms");

/// The most bytes of an `x-request-id` that is taken over.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The state of one exchange.
pub(super) struct Exchange {
    pub(super) context: Context,
    snapshot: Held,
    id: RecordId,
    /// The id for headers.
    id_header: Option<HeaderValue>,
    entropy: Entropy,
    began: Instant,
    /// When the clock was last read.
    now: Instant,
    ts_us: u64,
    /// When the wall clock was read for `ts_us`, by the clock that measures durations.
    noted_at: Option<Instant>,
    deadline: Instant,
    client: IpAddr,
    method: Method,
    uri: Uri,
    request_id: Option<HeaderValue>,
    trace: Option<TraceContext>,
    protocol: Protocol,
    decision: Option<Decision>,
    /// The model that was asked for, where no version of it could answer.
    asked_for: Option<ModelIx>,
    /// What is recorded.
    policy: PolicyIx,
    /// What the client is promised about the record.
    durability: Durability,
    /// How much of either body is kept.
    keep: Keep,
    keys: HeaderKeys,
    replayed: bool,
    batch_size: Option<u32>,
    request: SideNotes,
    upload: Option<Arc<Upload>>,
    response: SideNotes,
    status: u16,
    outcome: Outcome,
    problem: Option<Problem>,
    latency: Latency,
    backend: Option<BackendGuard>,
    attempt: u8,
    recording: Recording,
    /// The gateway is asked about itself or a model, not for a prediction.
    is_about_itself: bool,
    /// The connection ends with the answer.
    closes: bool,
}

/// Whether an exchange still owes its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recording {
    Owed,
    Done,
    /// The gateway was asked about itself.
    NotOwed,
}

/// What an exchange ends with.
pub(super) enum Answer {
    /// All of it is here.
    Whole(Response<Bytes>),
    /// The body is still coming.
    Stream(Box<Streaming>),
}

/// A response whose body is still coming.
pub(super) struct Streaming {
    pub(super) head: http::response::Parts,
    pub(super) incoming: Incoming,
    pub(super) link: Box<Link>,
    pub(super) idle: Duration,
}

/// Serves one request. Failures become answers; nothing is returned as an error. The exchange exists
/// before the first poll: a client that is gone by then has its record.
pub(super) fn serve(
    context: Context,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ReplyBody>, Infallible>> {
    let (parts, body) = request.into_parts();
    let exchange = Box::new(Exchange::received(context, &parts));
    async move { Ok(respond(exchange, parts, body).await) }
}

async fn respond(mut exchange: Box<Exchange>, parts: Parts, body: Incoming) -> Response<ReplyBody> {
    let continues = !parts.headers.contains_key(EXPECT);
    let mut body = Some(body);
    let answered = answer(&mut exchange, parts, &mut body).await;
    if let Some(unread) = body {
        // What is left of it makes the connection unusable, and its client should know.
        exchange.closes = !continues || !skip(&mut exchange, unread).await;
    }
    match answered {
        Ok(Answer::Whole(response)) => exchange.reply(response).await,
        Ok(Answer::Stream(streaming)) => {
            let Streaming { mut head, incoming, link, idle } = *streaming;
            exchange.note_response(&head.headers, head.status.as_u16());
            exchange.stamp(&mut head.headers);
            let stream = StreamReply::new(exchange, incoming, link, idle);
            Response::from_parts(head, ReplyBody::Stream(Box::new(stream)))
        }
        Err(problem) => exchange.refuse(problem).await,
    }
}

async fn answer(
    exchange: &mut Exchange,
    parts: Parts,
    unread: &mut Option<Incoming>,
) -> Result<Answer, Problem> {
    let uri = parts.uri.clone();
    if uri.path() == feedback::PATH {
        return feedback::answer(exchange, &parts, unread).await;
    }
    let directed = direct(exchange, &parts, &uri);
    if !matches!(directed, Ok(Directed::About(_))) {
        exchange.note_request(&parts.headers);
    }
    let (admitted, call, decision) = match directed? {
        Directed::About(answer) => return Ok(answer),
        Directed::To(admitted, call, decision) => (admitted, call, decision),
    };
    let snapshot = Arc::clone(&exchange.snapshot);
    let runtime = &snapshot.target(decision.target).kind;
    let is_local = matches!(runtime, RuntimeKind::Local(_));
    // A route leads to inferences only; a backend knows its built-in paths on any way to it.
    let call = call.as_ref().filter(|_| !is_local || decision.route.is_none());
    if matches!(call, Some(Call::Model { operation, .. }) if *operation != Operation::Infer) {
        exchange.owes_no_record();
    }
    exchange.await_room().await?;
    match (runtime, unread.take()) {
        (RuntimeKind::Local(Some(runtime)), Some(body)) => {
            local::answer(exchange, runtime, call, &parts, body).await
        }
        (RuntimeKind::Remote(runtime), Some(body)) => {
            remote::answer(exchange, runtime, call, parts, &admitted, body).await
        }
        (_, body) => {
            *unread = body;
            Err(Problem::new(Cause::NoReadyVersion, "the version is not loaded"))
        }
    }
}

/// Where a request leads.
enum Directed<'a> {
    /// To the gateway itself.
    About(Answer),
    /// To a target.
    To(Admitted, Option<Call<'a>>, Decision),
}

/// Admits a request and decides where it leads.
fn direct<'a>(
    exchange: &mut Exchange,
    parts: &Parts,
    uri: &'a Uri,
) -> Result<Directed<'a>, Problem> {
    let gateway = Arc::clone(&exchange.context.worker.gateway);
    let admitted = admit::admit(parts, &gateway.limits)?;
    let call = parse_path(uri.path())
        .map_err(|error| Problem::new(Cause::Malformed, error.to_string()))?;
    if let Some(call) = &call {
        exchange.protocol = Protocol::OpenInferenceRest;
        if matches!(call, Call::ServerLive | Call::ServerReady | Call::ServerMetadata) {
            exchange.is_about_itself = true;
        }
        if let Some(answer) = builtin::about_gateway(&gateway, call, &parts.method)? {
            exchange.owes_no_record();
            return Ok(Directed::About(answer));
        }
    }
    let decision = exchange.decide(parts, &admitted, call.as_ref())?;
    Ok(Directed::To(admitted, call, decision))
}

impl Exchange {
    fn received(context: Context, parts: &Parts) -> Self {
        let gateway = &context.worker.gateway;
        // The head arrived a moment ago; its first byte is what counts as the beginning.
        let began = context.clock.head_began();
        let ts = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let limit = parts
            .headers
            .get(&REQUEST_TIMEOUT)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map_or(gateway.limits.request_time, |ms| {
                gateway.limits.request_time.min(Duration::from_millis(ms))
            });
        let deadline = began + limit;
        context.clock.set(Phase::Exchange, deadline);
        let (id, entropy) = context.worker.mint(u64::try_from(ts.as_millis()).unwrap_or_default());
        let request_id = parts.headers.get(&REQUEST_ID).filter(|value| is_request_id(value));
        let trace = parts.headers.get(&TRACEPARENT);
        let snapshot = context.worker.snapshot();
        let policy = snapshot.policy(PolicyIx::UNDECIDED);
        let (durability, keep) = (policy.durability, policy.keep);
        Self {
            snapshot,
            id,
            id_header: HeaderValue::from_str(id.encode(&mut [0; RecordId::TEXT_LEN])).ok(),
            entropy,
            began,
            now: began,
            ts_us: u64::try_from(ts.as_micros()).unwrap_or_default(),
            noted_at: None,
            deadline,
            client: admit::client_address(context.peer.ip, &parts.headers, &gateway.forwarding),
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            request_id: request_id.cloned(),
            trace: trace.and_then(|value| TraceContext::parse(value.as_bytes())),
            protocol: Protocol::Raw,
            decision: None,
            asked_for: None,
            policy: PolicyIx::UNDECIDED,
            durability,
            keep,
            keys: HeaderKeys::default(),
            replayed: false,
            batch_size: None,
            request: SideNotes::empty(keep),
            upload: None,
            response: SideNotes::empty(keep),
            status: 0,
            outcome: Outcome::ClientCancel,
            problem: None,
            latency: Latency::default(),
            backend: None,
            attempt: 0,
            recording: Recording::Owed,
            is_about_itself: false,
            closes: false,
            context,
        }
    }

    fn decide(
        &mut self,
        parts: &Parts,
        admitted: &Admitted,
        call: Option<&Call<'_>>,
    ) -> Result<Decision, Problem> {
        let host = admitted.authority.as_ref().and_then(|host| host.to_str().ok());
        let view = RequestView {
            method: parts.method.as_str(),
            host: host.map(without_port),
            path: parts.uri.path(),
            query: parts.uri.query(),
            headers: &Head(&parts.headers),
            client: self.client,
            call: match call {
                Some(Call::Model { model, version, .. }) => {
                    Some(ModelCall { model: model.clone(), version: version.clone() })
                }
                _ => None,
            },
        };
        let table = &self.snapshot.table;
        let decision = match routing::decide(table, &view, self.entropy) {
            Ok(decision) => decision,
            Err(no_route) => {
                self.asked_for = no_route.model();
                let route = routing::route_of(table, &view);
                self.policy = self.snapshot.policies.index_of(route, self.asked_for);
                return Err(no_route.into());
            }
        };
        self.policy = self.snapshot.policies.index_of(decision.route, decision.model);
        // A built-in path has a built-in method; a route may use any.
        if let Some(call) = call
            && decision.route.is_none()
            && parts.method.as_str() != call.method()
            && !(parts.method == Method::HEAD && call.method() == "GET")
        {
            let detail = format!("{} is answered to {} only", parts.uri.path(), call.method());
            let allow = if call.method() == "POST" { "POST" } else { builtin::GET };
            return Err(Problem::method(detail, allow));
        }
        let now = self.note_time();
        self.latency.t_route = Some(micros(now.duration_since(self.began)));
        self.decision = Some(decision);
        self.snapshot.target(decision.target).metrics.enter(self.context.worker.index);
        Ok(decision)
    }

    /// Notes what concerns the record in a response head.
    fn note_response(&mut self, headers: &HeaderMap, status: u16) {
        self.status = status;
        self.response = SideNotes::of(headers, self.snapshot.policy(self.policy), self.keep);
    }

    /// The request id for backends; minted from the record's id where the client sent none.
    pub(super) fn request_id_header(&self) -> Option<HeaderValue> {
        self.request_id.clone().or_else(|| self.id_header.clone())
    }

    /// The trace context for backends; begun here where the client sent none.
    pub(super) fn begin_trace(&mut self) -> Option<HeaderValue> {
        if self.trace.is_some() {
            return None;
        }
        let context = self.context.worker.mint_trace();
        self.trace = Some(context);
        context.header()
    }

    /// Reads the clock.
    pub(super) fn note_time(&mut self) -> Instant {
        self.now = Instant::now();
        self.now
    }

    /// When the clock was last read: good enough for limits that are far away.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn clock(&self) -> &ConnClock {
        &self.context.clock
    }

    /// When the whole exchange must be over.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Moves the deadline of the current wait, within the one of the exchange.
    pub(super) fn wait_until(&self, at: Instant) {
        self.context.clock.set_deadline(at.min(self.deadline));
    }

    /// The problem of a wait that took too long: the exchange's own limit, or `cause`.
    pub(super) fn overdue(&self, cause: Cause) -> Problem {
        if Instant::now() >= self.deadline {
            return Problem::new(Cause::RequestTimeout, "the request took too long");
        }
        Problem::new(
            cause,
            match cause {
                Cause::BodyTimeout => "the body of the request stopped arriving",
                Cause::ConnectTimeout => "the backend did not accept the connection in time",
                Cause::IdleTimeout => "the backend stopped in the middle of its answer",
                _ => "the backend did not answer in time",
            },
        )
    }

    pub(super) fn see_request(&mut self, piece: &Bytes) {
        self.request.capture.see(piece);
    }

    pub(super) fn see_response(&mut self, piece: &Bytes) {
        self.response.capture.see(piece);
    }

    /// Hands the request's capture to a body that streams.
    pub(super) fn begin_upload(&mut self, idle: Duration, first_byte: Duration) -> Arc<Upload> {
        let gateway = &self.context.worker.gateway;
        let capture = std::mem::replace(&mut self.request.capture, Capture::new(self.keep));
        let upload = Arc::new(Upload::new(
            Arc::clone(&self.context.clock),
            capture,
            gateway.limits.body,
            (idle, first_byte),
            self.deadline,
        ));
        self.upload = Some(Arc::clone(&upload));
        upload
    }

    /// What went wrong with a body that streams, on the client's side.
    pub(super) fn upload_problem(&self) -> Option<Problem> {
        self.upload.as_ref()?.state().problem.take()
    }

    /// Whether the client owes the next piece of a body that streams.
    pub(super) fn upload_waits_for_client(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.state().waits_for_client)
    }

    pub(super) fn latency(&mut self) -> &mut Latency {
        &mut self.latency
    }

    /// Notes which backend is asked now.
    pub(super) fn ask(&mut self, backend: BackendGuard) {
        self.backend = Some(backend);
        self.attempt = self.attempt.saturating_add(1);
    }

    /// Keeps a backend's connection for later, if it is still good.
    pub(super) fn release(&self, cx: &mut std::task::Context<'_>, mut link: Box<Link>) {
        let worker = Arc::clone(&self.context.worker);
        if let (Some(TargetRuntime { kind: RuntimeKind::Remote(runtime), .. }), Some(guard)) =
            (self.target(), &self.backend)
            && link.settle(cx)
        {
            worker.pool.put(guard.backend(), link, &runtime.keep_alive, self.now);
        }
    }

    pub(super) fn target_kind(&self) -> Option<&routing::TargetKind> {
        self.decision.map(|decision| &self.snapshot.table.target(decision.target).kind)
    }

    /// The names of all versions of the model that was decided for.
    pub(super) fn versions_of_model(&self) -> Vec<String> {
        let model = self.decision.and_then(|decision| decision.model);
        let versions = model.map(|model| self.snapshot.table.model(model).versions());
        versions.into_iter().flatten().map(|(name, _)| name.to_string()).collect()
    }

    pub(super) fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Notes how many predictions the request asks for.
    pub(super) fn set_batch_size(&mut self, size: Option<u32>) {
        self.batch_size = size;
    }

    pub(super) fn target(&self) -> Option<&TargetRuntime> {
        self.decision.map(|decision| self.snapshot.target(decision.target))
    }

    /// Records a response that broke off after its head had been sent.
    pub(super) fn broke_off(&mut self, problem: &Problem) {
        let gateway = &self.context.worker.gateway;
        gateway.counters.error(problem.cause).increment(1);
        self.outcome = problem.cause.outcome();
        self.problem = Some(problem.clone());
        self.record();
        self.leave();
    }

    /// Tells the connection that only the socket is left to wait for.
    pub(super) fn leave(&self) {
        let idle = self.context.worker.gateway.limits.idle;
        self.context.clock.set(Phase::Flush, self.now + idle);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.recording == Recording::Done {
            return;
        }
        let ended_by = if self.context.clock.is_cut() || Instant::now() >= self.deadline {
            Some(Problem::new(Cause::RequestTimeout, "the client took too long to read"))
        } else if self.context.worker.drain.is_cut() {
            Some(Problem::new(Cause::Shutdown, "the gateway ended before the answer was complete"))
        } else {
            None
        };
        self.outcome = match &ended_by {
            Some(problem) => {
                self.context.worker.gateway.counters.error(problem.cause).increment(1);
                problem.cause.outcome()
            }
            None => Outcome::ClientCancel,
        };
        self.problem = ended_by;
        self.record();
    }
}

/// The headers of a request as routing sees them.
struct Head<'a>(&'a HeaderMap);

impl HeaderSource for Head<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }
}

/// The host of an authority, brackets kept.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Whether a client's request id is short visible ASCII.
fn is_request_id(value: &HeaderValue) -> bool {
    !value.is_empty()
        && value.len() <= REQUEST_ID_BYTES_MAX
        && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// Whole microseconds, as records have them.
pub(super) fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
