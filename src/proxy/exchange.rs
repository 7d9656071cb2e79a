//! One request and its response while the gateway holds them.
//!
//! Owns the stages of an exchange and its one record: received, admitted, decided, answered, and
//! recorded exactly once, whichever way it ends; an exchange that is dropped was cancelled by its
//! client. Never speaks to a backend or a model: [`super::remote`] and [`super::local`] do.

mod context;
mod copy;
mod direct;
mod fallback;
mod promise;
mod record;
mod row;
mod trial;

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{EXPECT, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;

pub(super) use self::context::{Context, Peer};
use self::copy::Copying;
pub(super) use self::copy::copy_of;
pub(super) use self::promise::Promise;
use self::record::HeaderKeys;
pub(super) use self::record::REPLAY;
use self::row::SideNotes;
use super::admit;
use super::body::{ReplyBody, StreamReply, Upload, skip};
use super::capture::Capture;
use super::clock::{ConnClock, Phase};
use super::forward::{REQUEST_ID, TRACEPARENT, TraceContext};
use super::grpc;
use super::held::Holding;
use super::problem::{Cause, Problem};
use super::upstream::Link;
use crate::domain::dialect::Dialect;
use crate::domain::ids::{Entropy, RecordId, VersionName};
use crate::domain::record::{Latency, Outcome, Protocol};
use crate::domain::routing::{self, Decision, ModelIx, TargetIx};
use crate::domain::spec::Durability;
use crate::monitor::Values;
use crate::protocol::dialect::{Operation, Release};
use crate::protocol::grpc::{GRPC_STATUS, status_of};
use crate::protocol::status::GrpcCode;
use crate::protocol::tensor::Tensor;
use crate::snapshot::{BackendGuard, Held, Keep, PolicyIx, RuntimeKind, Snapshot, TargetRuntime};

const PREDICTION_ID: HeaderName = HeaderName::from_static("x-prediction-id");
const MODEL: HeaderName = HeaderName::from_static("x-pointsman-model");
const VERSION: HeaderName = HeaderName::from_static(routing::VERSION_HEADER);
const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout-ms");

/// The most bytes of an `x-request-id` that is taken over.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The time of a client that does not say how long it waits.
const ENDLESS: Duration = Duration::from_secs(365 * 86_400);

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
    /// When it must be over by what the client says, however many messages it has.
    ends: Instant,
    /// The header that should say how long the client waits, and does not.
    unsound_limit: Option<HeaderName>,
    client: IpAddr,
    method: Method,
    uri: Uri,
    request_id: Option<HeaderValue>,
    trace: Option<TraceContext>,
    protocol: Protocol,
    /// The dialect of refusals.
    dialect: Dialect,
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
    pub(super) holding: Holding,
    response: SideNotes,
    status: u16,
    outcome: Outcome,
    problem: Option<Problem>,
    latency: Latency,
    /// Reading the request and writing the answer of a model in this process.
    codec_times: (Option<Duration>, Option<Duration>),
    /// What the monitor counts of an answer of a model in this process.
    values: Option<Box<Values>>,
    backend: Option<BackendGuard>,
    attempt: u8,
    recording: Recording,
    /// What is kept for a version that gets copies.
    copying: Option<Box<Copying>>,
    /// A body of which whoever was asked first got nothing.
    unsent: Option<Box<Incoming>>,
    /// The client's exchange that this one is a copy of.
    parent: Option<RecordId>,
    /// What it consists of was counted piece by piece.
    told_apart: bool,
    /// What is asked, where the path says it.
    operation: Option<Operation>,
    /// The gateway is asked about itself or a model, not for a prediction.
    is_about_itself: bool,
    /// The connection ends with the answer, where it carries one exchange at a time.
    closes: bool,
    /// The client speaks HTTP/2: it can be sent trailers.
    is_http2: bool,
    /// The client speaks gRPC.
    is_grpc: bool,
    /// The status towards such a client, where there is one.
    grpc_status: Option<GrpcCode>,
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
    /// All of it is here, and trailers that follow.
    Trailed(Response<Bytes>, HeaderMap),
    /// Messages of gRPC that follow those of the client.
    Talk(Box<grpc::Talk>),
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
    context.clock.set_unread(!body.is_end_stream());
    let exchange = Box::new(Exchange::received(context, &parts));
    async move { Ok(respond(exchange, parts, body).await) }
}

async fn respond(mut exchange: Box<Exchange>, parts: Parts, body: Incoming) -> Response<ReplyBody> {
    let continues = !parts.headers.contains_key(EXPECT);
    let mut body = Some(body);
    let answered = direct::answer(&mut exchange, parts, &mut body).await;
    if let Some(unread) = body {
        // What is left of it makes the connection unusable, and its client should know.
        exchange.closes = !continues || !skip(&mut exchange, unread).await;
    } else if matches!(answered, Err(_) | Ok(Answer::Whole(_))) {
        // So does what is left where whoever read it has given up.
        exchange.closes = exchange.clock().is_unread();
    }
    match answered {
        Ok(Answer::Whole(response)) => exchange.reply(response, None).await,
        Ok(Answer::Trailed(response, trailers)) => {
            exchange.note_trailers(&trailers);
            exchange.reply(response, Some(trailers)).await
        }
        Ok(Answer::Talk(talk)) => {
            let mut head = grpc::response(Bytes::new()).into_parts().0;
            exchange.note_response(&head.headers, head.status.as_u16());
            exchange.stamp(&mut head.headers);
            let body = grpc::TalkBody::new(exchange, talk);
            Response::from_parts(head, ReplyBody::Talk(Box::new(body)))
        }
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

impl Exchange {
    fn received(context: Context, parts: &Parts) -> Self {
        let gateway = &context.worker.gateway;
        // The head arrived a moment ago; its first byte is what counts as the beginning.
        let began = context.clock.head_began();
        let ts = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (own, unsound_limit) = match own_limit(parts) {
            Ok(own) => (own.unwrap_or(ENDLESS).min(ENDLESS), None),
            Err(header) => (ENDLESS, Some(header)),
        };
        let (ends, deadline) = (began + own, began + own.min(gateway.limits.request_time));
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
            ends,
            unsound_limit,
            client: admit::client_address(context.peer.ip, &parts.headers, &gateway.forwarding),
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            request_id: request_id.cloned(),
            trace: trace.and_then(|value| TraceContext::parse(value.as_bytes())),
            protocol: Protocol::Raw,
            dialect: Dialect::Raw,
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
            holding: Holding::default(),
            response: SideNotes::empty(keep),
            status: 0,
            outcome: Outcome::ClientCancel,
            problem: None,
            latency: Latency::default(),
            codec_times: (None, None),
            values: None,
            backend: None,
            attempt: 0,
            recording: Recording::Owed,
            copying: None,
            unsent: None,
            parent: None,
            told_apart: false,
            operation: None,
            is_about_itself: false,
            closes: false,
            is_http2: parts.version == Version::HTTP_2,
            is_grpc: grpc::is_grpc(parts),
            grpc_status: None,
            context,
        }
    }

    /// Notes what concerns the record in a response head.
    fn note_response(&mut self, headers: &HeaderMap, status: u16) {
        self.status = status;
        if self.is_grpc && (status != 200 || headers.contains_key(GRPC_STATUS)) {
            self.grpc_status = Some(status_of(headers, status));
        }
        self.response = SideNotes::of(headers, self.snapshot.policy(self.policy), self.keep);
        self.copy_response(headers);
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

    /// Notes the end of a response that has trailers.
    pub(super) fn note_trailers(&mut self, trailers: &HeaderMap) {
        if self.is_grpc {
            self.grpc_status = Some(status_of(trailers, 200));
        }
    }

    /// The snapshot that the exchange keeps to its end.
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The same, to be kept beside the exchange.
    pub(super) fn held(&self) -> &Held {
        &self.snapshot
    }

    /// Goes on with the snapshot of now; for an exchange that was decided for no target.
    pub(super) fn renew_snapshot(&mut self) {
        if self.decision.is_none() {
            self.snapshot = self.context.worker.snapshot();
            self.policy = self.snapshot.policies.index_of(None, None);
        }
    }

    /// The target that was decided for.
    pub(super) fn target_index(&self) -> Option<TargetIx> {
        self.decision.map(|decision| decision.target)
    }

    /// Lets the exchange last so long from now on.
    pub(super) fn extend_deadline(&mut self, time: Duration) {
        self.deadline = Instant::now() + time;
        self.wait_until(self.deadline);
    }

    /// Gives what comes next in a stream so long from now on, within what the client allows for all of it.
    pub(super) fn allow(&mut self, time: Duration) {
        self.deadline = self.ends.min(Instant::now() + time);
        self.wait_until(self.deadline);
    }

    /// Whether the client waits no longer.
    pub(super) fn is_given_up(&self) -> bool {
        Instant::now() >= self.ends
    }

    /// Whether the client speaks gRPC.
    pub(super) fn is_grpc(&self) -> bool {
        self.is_grpc
    }

    /// Whether the client can be sent trailers.
    pub(super) fn takes_trailers(&self) -> bool {
        self.is_http2
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

    /// The versions that an answer about the model names: the one that was asked for, else all of them;
    /// each with whether it takes requests.
    pub(super) fn versions_told(&self, release: &Release<'_>) -> Vec<(String, bool)> {
        let Some(decision) = self.decision else { return Vec::new() };
        let table = &self.snapshot.table;
        let versions = decision.model.map(|model| table.model(model).versions());
        let told = |(_, target): &(&VersionName, TargetIx)| {
            *release == Release::Any || *target == decision.target
        };
        let versions = versions.into_iter().flatten().filter(told);
        versions.map(|(name, target)| (name.to_string(), table.target(target).ready)).collect()
    }

    /// Notes how long reading the request and writing the answer took.
    pub(super) fn set_codec_times(&mut self, input: Duration, output: Duration) {
        self.codec_times = (Some(input), Some(output));
    }

    /// Whether the values of an answer of a model in this process are looked at.
    pub(super) fn wants_values(&self) -> bool {
        self.target().is_some_and(|target| target.monitor.is_some()) || self.is_compared()
    }

    /// Notes what the monitor counts.
    pub(super) fn set_values(&mut self, values: Option<Box<Values>>) {
        self.values = values;
    }

    /// How many predictions the request asks for, where that is known.
    pub(super) fn batch_size(&self) -> Option<u32> {
        self.batch_size
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
        // A copy that is given up was nobody's.
        if self.recording == Recording::Done || self.is_copy() {
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

/// How many predictions the inputs of a request ask for: the first dimension of the first.
pub(super) fn rows(inputs: &[Tensor]) -> Option<u32> {
    let rows = inputs.first().and_then(|input| input.shape().first());
    rows.and_then(|&rows| u32::try_from(rows).ok())
}

/// How long the client says it waits, or the header that says something else.
fn own_limit(parts: &Parts) -> Result<Option<Duration>, HeaderName> {
    if let Some(value) = parts.headers.get(&REQUEST_TIMEOUT) {
        let millis = value.to_str().ok().and_then(|text| text.parse().ok());
        return millis.map(|millis| Some(Duration::from_millis(millis))).ok_or(REQUEST_TIMEOUT);
    }
    if grpc::is_grpc(parts) { grpc::timeout(&parts.headers) } else { Ok(None) }
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
