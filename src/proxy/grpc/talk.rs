//! Calls of many messages: predictions in a stream, health that is watched, reflection.
//!
//! Owns the conversation: one answer to each message, in order, and the trailers at its end. It is one
//! exchange with one record, which holds the messages of both ways; the first message that names a model decides
//! who answers, for all that follow. Each message of a stream of predictions has the time of a request, and the client
//! may rest between them.
//!
//! ```text
//! message ─▶ answer ─▶ message ─▶ answer ─▶ … ─▶ end of the body ─▶ record ─▶ trailers
//!    └─ its framing is not sound, or it does not arrive ───────────▶ record ─▶ trailers with its status
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use http_body::Frame;
use hyper::body::Incoming;
use prost::Message as _;

use super::infer::{Names, names_of, needs_more, spoken};
use super::message::{encoding, framing, pass, plain, reader};
use super::tally::Tally;
use super::{ok_trailers, put_status, serving};
use crate::domain::routing::TargetIx;
use crate::protocol::dialect::{BackendFailure, Dialect, Operation};
use crate::protocol::grpc::health::{HealthCheckRequest, HealthCheckResponse, ServingStatus};
use crate::protocol::grpc::reflection::ServerReflectionRequest;
use crate::protocol::grpc::{FrameReader, MessageTooLong, encode_frame, prefix};
use crate::protocol::open_inference::grpc::{encode_stream_failure, encode_stream_response};
use crate::proxy::admit::Admitted;
use crate::proxy::asked::Asked;
use crate::proxy::body::{BodyBroken, Pieces, RequestBody};
use crate::proxy::coding::Coding;
use crate::proxy::exchange::{Answer, Exchange, Promise, copy_of};
use crate::proxy::names::origin;
use crate::proxy::problem::{Cause, Problem};
use crate::proxy::{local, remote, repository, translate};
use crate::snapshot::{RemoteRuntime, RuntimeKind, Snapshot};

/// How often health that is watched is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long health may be watched, and how long a backend may answer one stream.
const STREAM_TIME: Duration = Duration::from_secs(365 * 86_400);

/// How long a stream of predictions may rest between two messages: what it was decided for is held as long.
const REST_TIME: Duration = Duration::from_secs(600);

/// A conversation that has not begun.
pub(in crate::proxy) struct Talk {
    /// `None` once it has ended.
    incoming: Option<Incoming>,
    reader: FrameReader,
    coding: Coding,
    subject: Subject,
    /// What its predictions came to.
    tally: Tally,
}

/// What it is about.
enum Subject {
    /// Predictions, of which no message has named a model yet that there is.
    Undecided {
        parts: Box<Parts>,
        admitted: Admitted,
        /// What the first message is answered.
        answer: Option<Bytes>,
    },
    /// Predictions of the target that was decided for; the first message is here.
    Infer {
        model: String,
        first: Option<Bytes>,
        /// The head of what each message becomes for a backend that is asked in another dialect.
        onward: Option<Box<Parts>>,
    },
    /// The health of a service.
    Watch {
        service: String,
        last: Option<i32>,
    },
    Reflection,
}

/// What is said next.
enum Said {
    Message(Bytes),
    End(HeaderMap),
    /// The conversation is cut, because its record is not safe.
    Broken,
}

/// What is said next, and who says what follows.
type Saying = Pin<Box<dyn Future<Output = (Box<Talker>, Said)> + Send>>;

/// A conversation that goes on, as the body of a response.
pub(in crate::proxy) struct TalkBody {
    next: Option<Saying>,
    broken: bool,
}

/// Who talks.
struct Talker {
    exchange: Box<Exchange>,
    talk: Box<Talk>,
}

impl TalkBody {
    pub(in crate::proxy) fn new(exchange: Box<Exchange>, talk: Box<Talk>) -> Self {
        let talker = Box::new(Talker { exchange, talk });
        Self { next: Some(Box::pin(talker.say())), broken: false }
    }

    pub(in crate::proxy) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        if self.broken {
            return Poll::Ready(Some(Err(BodyBroken)));
        }
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let (talker, said) = ready!(next.as_mut().poll(cx));
        self.next = None;
        Poll::Ready(match said {
            Said::Message(frame) => {
                self.next = Some(Box::pin(talker.say()));
                Some(Ok(Frame::data(frame)))
            }
            Said::End(trailers) => Some(Ok(Frame::trailers(trailers))),
            Said::Broken => {
                self.broken = true;
                Some(Err(BodyBroken))
            }
        })
    }

    pub(in crate::proxy) fn is_over(&self) -> bool {
        self.next.is_none()
    }
}

impl Talker {
    /// Says what comes next.
    async fn say(mut self: Box<Self>) -> (Box<Self>, Said) {
        match self.next().await {
            Ok(Some(frame)) => {
                self.exchange.see_response(&frame);
                (self, Said::Message(frame))
            }
            Ok(None) => self.end(None).await,
            Err(problem) => self.end(Some(problem)).await,
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        if let Subject::Watch { .. } = self.talk.subject {
            return self.look().await;
        }
        let first = match &mut self.talk.subject {
            Subject::Undecided { answer, .. } => {
                if let Some(answer) = answer.take() {
                    return Ok(Some(answer));
                }
                None
            }
            Subject::Infer { first, .. } => first.take(),
            Subject::Watch { .. } | Subject::Reflection => None,
        };
        let message = match first {
            Some(message) => message,
            None => match self.talk.hear(&mut self.exchange).await? {
                Some(message) => message,
                None => return Ok(None),
            },
        };
        if let Subject::Undecided { parts, admitted, .. } = &self.talk.subject {
            match settled(&mut self.exchange, parts, admitted, &message).await {
                Ok(subject) => self.talk.subject = subject,
                Err(problem) if is_mistake(&problem) => {
                    let id = names_of(&message).map(|names| names.id).unwrap_or_default();
                    return told(&mut self.talk.tally, problem, id).map(Some).map_err(too_long);
                }
                Err(problem) => return Err(problem),
            }
        }
        match &self.talk.subject {
            Subject::Infer { model, onward, .. } => {
                let tally = &mut self.talk.tally;
                predict(&mut self.exchange, tally, model, onward.as_deref(), message)
                    .await
                    .map(Some)
            }
            Subject::Undecided { .. } | Subject::Watch { .. } | Subject::Reflection => {
                // What was true at the beginning is not kept in memory for as long as the client talks.
                self.exchange.renew_snapshot();
                let asked = ServerReflectionRequest::decode(message).map_err(|error| {
                    Problem::new(Cause::BadInput, format!("the message is not valid: {error}"))
                })?;
                let gateway = &self.exchange.context.worker.gateway;
                let reflection = gateway.reflection.as_ref().ok_or_else(|| {
                    Problem::new(Cause::Unsupported, "the definitions of the services are damaged")
                })?;
                framed(&reflection.answer(asked)).map(Some)
            }
        }
    }

    /// The health when it has changed, or the end when the gateway drains.
    async fn look(&mut self) -> Result<Option<Bytes>, Problem> {
        let Subject::Watch { service, last } = &mut self.talk.subject else { return Ok(None) };
        loop {
            if self.exchange.context.worker.drain.is_begun() {
                return Err(Problem::new(Cause::Shutdown, "the gateway ends"));
            }
            // What was true at the beginning neither stays true nor is kept in memory for that long.
            self.exchange.renew_snapshot();
            let now = match serving(&self.exchange, self.exchange.snapshot(), service) {
                Ok(status) => HealthCheckResponse::from(status),
                Err(_unknown) => HealthCheckResponse::from(ServingStatus::ServiceUnknown),
            };
            if *last != Some(now.status) {
                *last = Some(now.status);
                return framed(&now).map(Some);
            }
            let pause = tokio::time::sleep(LOOK_INTERVAL);
            if self.exchange.clock().within(self.exchange.deadline(), pause).await.is_err() {
                return Err(self.exchange.overdue(Cause::IdleTimeout));
            }
        }
    }

    /// Records the exchange and makes the trailers, once the record is safe where that was promised.
    async fn end(mut self: Box<Self>, problem: Option<Problem>) -> (Box<Self>, Said) {
        let mut trailers = ok_trailers();
        if let Some(problem) = &problem {
            trailers.clear();
            put_status(&mut trailers, problem.cause.grpc(), &problem.detail);
        }
        self.exchange.note_trailers(&trailers);
        self.exchange.note_time();
        if self.talk.is_of_predictions() {
            self.exchange.allow(self.exchange.context.worker.gateway.limits.request_time);
            self.talk.tally.tell(&mut self.exchange);
        }
        let problem = problem.or_else(|| self.talk.tally.problem.take());
        let promise = self.exchange.finish_with(problem);
        let safe = match promise {
            Promise::Kept => true,
            Promise::Broken => false,
            Promise::Pending(ticket) => {
                let written = self.exchange.written(ticket);
                let until = self.exchange.deadline();
                self.exchange.clock().within(until, written).await == Ok(true)
            }
        };
        self.exchange.leave();
        if !safe && self.exchange.note_unrecorded() {
            return (self, Said::Broken);
        }
        (self, Said::End(trailers))
    }
}

impl Talk {
    fn is_of_predictions(&self) -> bool {
        matches!(self.subject, Subject::Undecided { .. } | Subject::Infer { .. })
    }

    /// The next message of the client; `None` at the end of its body.
    async fn hear(&mut self, exchange: &mut Exchange) -> Result<Option<Bytes>, Problem> {
        let limits = exchange.context.worker.gateway.limits;
        // What came before is answered.
        exchange.hold_only(self.reader.waiting());
        if self.is_of_predictions() {
            let rests = self.reader.waiting() == 0 && self.incoming.is_some();
            exchange.allow(if rests { REST_TIME } else { limits.request_time });
        }
        loop {
            if let Some(frame) = self.reader.next_frame().map_err(framing)? {
                let message = plain(exchange, frame, self.coding).await?;
                if self.coding != Coding::Identity {
                    exchange.hold(message.len())?;
                }
                return Ok(Some(message));
            }
            let Some(incoming) = &mut self.incoming else {
                self.reader.finish().map_err(framing)?;
                return Ok(None);
            };
            // Between messages a client may take its time; within one it may not.
            let until = match self.reader.waiting() {
                0 => exchange.deadline(),
                _ => exchange.deadline().min(Instant::now() + limits.header_time),
            };
            match pass(exchange, incoming, until).await? {
                Some(piece) => {
                    if self.is_of_predictions() && self.reader.waiting() == 0 {
                        exchange.allow(limits.request_time);
                    }
                    exchange.hold(piece.len())?;
                    exchange.see_request(&piece);
                    self.reader.push(piece);
                }
                None => self.incoming = None,
            }
        }
    }
}

fn framed(message: &impl prost::Message) -> Result<Bytes, Problem> {
    encode_frame(message).map_err(too_long)
}

/// One prediction of a stream. What is wrong with it is told in the answer, and the stream goes on.
async fn predict(
    exchange: &mut Exchange,
    tally: &mut Tally,
    model: &str,
    onward: Option<&Parts>,
    message: Bytes,
) -> Result<Bytes, Problem> {
    let began = Instant::now();
    exchange.begin_message();
    let names = names_of(&message);
    let id = names.as_ref().map(|names| names.id.clone()).unwrap_or_default();
    let answered = async {
        let names = names?;
        let snapshot = Arc::clone(exchange.held());
        let target = exchange.target_index();
        if names.model != model || !leads_to(&snapshot, &names, target) {
            let detail =
                "all messages of a stream must name the model and the version of the first";
            return Err(Problem::new(Cause::BadInput, detail));
        }
        match (target.map(|target| &snapshot.target(target).kind), onward) {
            (Some(RuntimeKind::Local(Some(runtime))), _) => {
                let asked = Asked::message(exchange, message)?;
                local::predict(exchange, runtime, asked).await.map(Ok)
            }
            (Some(RuntimeKind::Remote(runtime)), Some(onward)) => {
                let (spoken, asked) = (spoken(runtime)?, Asked::message(exchange, message)?);
                let (operation, parts) = (Operation::Infer, onward.clone());
                translate::translated(exchange, spoken, operation, parts, asked).await
            }
            _ => Err(Problem::new(Cause::NoReadyVersion, "the version is not loaded")),
        }
    };
    let answered = answered.await;
    exchange.tell_message(began, matches!(answered, Ok(Ok(_))));
    tally.add(exchange);
    let said = match answered {
        Ok(Ok(response)) => encode_stream_response(&response.into_body()),
        Err(problem) if problem.cause == Cause::RequestTimeout && exchange.is_given_up() => {
            return Err(problem);
        }
        Ok(Err(refused)) => told(tally, of_backend(refused.failure), id),
        Err(problem) => told(tally, problem, id),
    };
    said.map_err(too_long)
}

fn too_long(error: MessageTooLong) -> Problem {
    Problem::new(Cause::NoForm, error.to_string())
}

/// The answer to a message that failed; says which request it is about, as Triton does.
fn told(tally: &mut Tally, problem: Problem, id: String) -> Result<Bytes, MessageTooLong> {
    tally.note(&problem);
    encode_stream_failure(problem.detail, id)
}

/// What a backend's refusal of one message counts as.
fn of_backend(failure: BackendFailure) -> Problem {
    let cause = if failure.status.is_client_error() { Cause::BadInput } else { Cause::Model };
    Problem::new(cause, failure.message)
}

/// Whether a message names the version that answers its stream, or none.
fn leads_to(snapshot: &Snapshot, names: &Names, target: Option<TargetIx>) -> bool {
    let entry = repository::model_named(snapshot, &names.model).ok();
    names.version.is_empty()
        || entry.and_then(|entry| entry.version_named(&names.version)) == target
}

/// Whether a message that decides for nobody is answered like any other mistake: the next one may do better.
fn is_mistake(problem: &Problem) -> bool {
    use Cause::{BadInput, NoRoute, TwoVersions, UnknownModel, UnknownVersion};
    matches!(problem.cause, BadInput | NoRoute | TwoVersions | UnknownModel | UnknownVersion)
}

/// Decides by a message that is not the first of its stream who answers it and those that follow.
async fn settled(
    exchange: &mut Exchange,
    parts: &Parts,
    admitted: &Admitted,
    message: &Bytes,
) -> Result<Subject, Problem> {
    exchange.renew_snapshot();
    let names = names_of(message)?;
    let decision = exchange.choose(parts, admitted, Some(names.call()))?;
    exchange.note_request_again(&parts.headers, super::response(Bytes::new()).headers());
    for piece in [prefix(false, message.len()).map_err(too_long)?.to_vec().into(), message.clone()]
    {
        exchange.see_request(&piece);
    }
    exchange.enter(decision);
    exchange.await_room().await?;
    let snapshot = Arc::clone(exchange.held());
    let onward = match &snapshot.target(decision.target).kind {
        RuntimeKind::Local(_) => None,
        RuntimeKind::Remote(_) => {
            let mut parts = copy_of(parts);
            remote::prepare(exchange, &mut parts, admitted);
            Some(Box::new(parts))
        }
    };
    Ok(Subject::Infer { model: names.model, first: None, onward })
}

/// `ModelStreamInfer`.
pub(super) async fn infer(
    exchange: &mut Exchange,
    mut parts: Parts,
    admitted: &Admitted,
    incoming: Incoming,
) -> Result<Answer, Problem> {
    let coding = encoding(&parts.headers)?;
    let mut incoming = incoming;
    let (first, reader, pieces) = first_message(exchange, &mut incoming, coding).await?;
    let talk = |subject, incoming, tally| {
        Ok(Answer::Talk(Box::new(Talk {
            incoming: Some(incoming),
            reader,
            coding,
            subject,
            tally,
        })))
    };
    let decided = names_of(&first).and_then(|names| {
        exchange.choose(&parts, admitted, Some(names.call())).map(|decision| (names, decision))
    });
    exchange.note_request(&parts.headers);
    pieces.iter().for_each(|piece| exchange.see_request(piece));
    let (names, decision) = match decided {
        Ok(decided) => decided,
        Err(problem) if is_mistake(&problem) => {
            let mut tally = Tally::default();
            let id = names_of(&first).map(|names| names.id).unwrap_or_default();
            let answer = Some(told(&mut tally, problem, id).map_err(too_long)?);
            let (parts, admitted) = (Box::new(parts), admitted.clone());
            return talk(Subject::Undecided { parts, admitted, answer }, incoming, tally);
        }
        Err(problem) => return Err(problem),
    };
    exchange.enter(decision);
    exchange.await_room().await?;
    let snapshot = Arc::clone(exchange.held());
    let model = names.model.clone();
    match &snapshot.target(decision.target).kind {
        RuntimeKind::Local(Some(_)) => {
            let subject = Subject::Infer { model, first: Some(first), onward: None };
            talk(subject, incoming, Tally::default())
        }
        RuntimeKind::Local(None) => {
            Err(Problem::new(Cause::NoReadyVersion, "the version is not loaded"))
        }
        RuntimeKind::Remote(runtime) => {
            // Where the names in its messages are others, or the first asks for what the backend does not have, each
            // becomes a request of its own.
            let is_apart = spoken(runtime)? != Dialect::OpenInferenceGrpc
                || names.differ(&runtime.spoken.names)
                || needs_more(runtime, &first);
            remote::prepare(exchange, &mut parts, admitted);
            if is_apart {
                let onward = Some(Box::new(parts));
                let subject = Subject::Infer { model, first: Some(first), onward };
                return talk(subject, incoming, Tally::default());
            }
            parts.uri = origin(&parts.uri);
            pass_through(exchange, runtime, parts, pieces, incoming).await
        }
    }
}

/// Has a backend of gRPC answer the whole stream. Its messages are not told apart: a piece of the client's gives the
/// backend the time of a request, and a piece of the backend's gives both the time of a rest.
async fn pass_through(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    parts: Parts,
    first: Pieces,
    incoming: Incoming,
) -> Result<Answer, Problem> {
    let time = exchange.context.worker.gateway.limits.request_time;
    exchange.allow(STREAM_TIME);
    let upload = exchange.begin_upload(time, time);
    let body = RequestBody::Stream { first, incoming, upload, length: None };
    let mut answer = remote::forward(exchange, runtime, parts, body, false).await?;
    if let Answer::Stream(streaming) = &mut answer {
        streaming.idle = REST_TIME;
    }
    Ok(answer)
}

/// Reads until the first message is whole; with all that was read.
async fn first_message(
    exchange: &mut Exchange,
    incoming: &mut Incoming,
    coding: Coding,
) -> Result<(Bytes, FrameReader, Pieces), Problem> {
    let limits = exchange.context.worker.gateway.limits;
    let mut reader = reader(exchange);
    let mut pieces = Pieces::new();
    loop {
        if let Some(frame) = reader.next_frame().map_err(framing)? {
            return Ok((plain(exchange, frame, coding).await?, reader, pieces));
        }
        // Clients open a stream when they start, and have something to ask later.
        let until = match reader.waiting() {
            0 => exchange.deadline(),
            _ => exchange.deadline().min(Instant::now() + limits.header_time),
        };
        match pass(exchange, incoming, until).await? {
            Some(piece) => {
                exchange.hold(piece.len())?;
                pieces.push(piece.clone());
                reader.push(piece);
            }
            None => {
                reader.finish().map_err(framing)?;
                return Err(Problem::new(Cause::BadInput, "the stream has no message"));
            }
        }
    }
}

/// `Watch`.
pub(super) async fn watch(
    exchange: &mut Exchange,
    parts: &Parts,
    incoming: Incoming,
) -> Result<Answer, Problem> {
    let asked: HealthCheckRequest = super::read_message(exchange, &parts.headers, incoming).await?;
    exchange.extend_deadline(STREAM_TIME);
    let subject = Subject::Watch { service: asked.service, last: None };
    let talk = Talk {
        incoming: None,
        reader: reader(exchange),
        coding: Coding::Identity,
        subject,
        tally: Tally::default(),
    };
    Ok(Answer::Talk(Box::new(talk)))
}

/// `ServerReflectionInfo`.
pub(super) fn reflection(exchange: &Exchange, incoming: Incoming, coding: Coding) -> Talk {
    let subject = Subject::Reflection;
    let reader = reader(exchange);
    Talk { incoming: Some(incoming), reader, coding, subject, tally: Tally::default() }
}
