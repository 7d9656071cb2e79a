//! Answers from backends.
//!
//! Owns the way of one request to a backend and back: choosing one, a connection kept or new, the
//! limits in time, and the two cases in which a request is sent again: when nothing of it was sent,
//! and when a kept connection turned out dead before any byte of a response.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use super::admit::{Admitted, BODY_KEY, BodyLength, too_large};
use super::balance;
use super::body::{self, Gather, Pieces, RequestBody, WHOLE_BYTES_MAX};
use super::coding::Coding;
use super::exchange::{Answer, Exchange, Streaming, micros};
use super::forward::{self, REQUEST_ID, TRACEPARENT};
use super::names::{backend_headers, backend_target};
use super::offload::inflated;
use super::problem::{Cause, Problem};
use super::upstream::{Link, LinkError};
use crate::domain::dialect::Dialect;
use crate::domain::routing::{TargetKind, VERSION_HEADER};
use crate::protocol::dialect::{Call, Operation};
use crate::snapshot::{Backend, RemoteRuntime};

/// The most backends that one request is tried with while none accepts a connection.
const ATTEMPTS_MAX: usize = 3;
/// How often a request may be sent again after a kept connection turned out dead.
const RESENDS_MAX: u32 = 1;

/// Gets the answer of a backend.
pub(super) async fn answer(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    call: Option<&Call<'_>>,
    mut parts: Parts,
    admitted: &Admitted,
    incoming: Incoming,
) -> Result<Answer, Problem> {
    readdress(exchange, runtime, call, &mut parts)?;
    prepare(exchange, &mut parts, admitted);
    let body = match admitted.body {
        BodyLength::Known(length) if length <= WHOLE_BYTES_MAX => {
            RequestBody::whole(read_whole(exchange, incoming).await?)
        }
        length => stream_upload(exchange, runtime, &mut parts, incoming, length),
    };
    let replayable = call.is_some() || parts.method.is_idempotent();
    let is_head = parts.method == Method::HEAD;
    let (response, link) = ask(exchange, runtime, parts, body, replayable).await?;
    receive(exchange, runtime, response, link, is_head).await
}

/// The same, with a body that is here.
pub(super) async fn answer_whole(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    call: Option<&Call<'_>>,
    mut parts: Parts,
    admitted: &Admitted,
    pieces: Pieces,
) -> Result<Answer, Problem> {
    readdress(exchange, runtime, call, &mut parts)?;
    prepare(exchange, &mut parts, admitted);
    forward(exchange, runtime, parts, RequestBody::whole(pieces), true).await
}

/// Makes the target of a request the backend's. What stands behind a pool is not of this gateway: its
/// paths pass as they are.
fn readdress(
    exchange: &Exchange,
    runtime: &RemoteRuntime,
    call: Option<&Call<'_>>,
    parts: &mut Parts,
) -> Result<(), Problem> {
    let named = call.filter(|_| matches!(exchange.target_kind(), Some(TargetKind::Version(..))));
    if call.is_some_and(is_open_inference) {
        forward::say_json(&mut parts.headers);
    }
    parts.uri = backend_target(&parts.uri, named, &runtime.spoken.names);
    backend_headers(&mut parts.headers, named, &runtime.spoken.names)
        .map_err(|error| Problem::new(Cause::Translation, error.to_string()))
}

/// Whether a call is a prediction whose body is JSON unless its head says otherwise.
fn is_open_inference(call: &Call<'_>) -> bool {
    call.dialect == Dialect::OpenInference && call.operation == Operation::Infer
}

/// Sends a request as it is, and passes the answer on.
pub(super) async fn forward(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    parts: Parts,
    body: RequestBody,
    replayable: bool,
) -> Result<Answer, Problem> {
    let (response, link) = ask(exchange, runtime, parts, body, replayable).await?;
    receive(exchange, runtime, response, link, false).await
}

/// Makes a client's head the backend's, but for its target.
pub(super) fn prepare(exchange: &mut Exchange, parts: &mut Parts, admitted: &Admitted) {
    forward::to_backend(
        &mut parts.headers,
        &exchange.context.worker.gateway.forwarding,
        &exchange.context.peer,
        admitted.authority.as_ref(),
    );
    parts.headers.remove(VERSION_HEADER);
    if let Some(id) = exchange.request_id_header() {
        parts.headers.insert(REQUEST_ID, id);
    }
    if let Some(trace) = exchange.begin_trace() {
        parts.headers.insert(TRACEPARENT, trace);
    }
    if exchange.is_grpc() {
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    parts.version = Version::HTTP_11;
}

/// All of a backend's answer, plain.
pub(super) struct Whole {
    pub(super) head: http::response::Parts,
    pub(super) body: Bytes,
    pub(super) trailers: HeaderMap,
}

/// Asks a backend and reads its whole answer, plain, for whoever looks into it.
pub(super) async fn ask_whole(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    request: Request<RequestBody>,
) -> Result<Whole, Problem> {
    let (parts, body) = request.into_parts();
    let (response, mut link) = ask(exchange, runtime, parts, body, true).await?;
    let (head, mut incoming) = response.into_parts();
    check_response(&head)?;
    let idle = runtime.timeouts.idle;
    let (body, trailers) = read_response(exchange, idle, &mut link, &mut incoming).await?;
    drop(incoming);
    keep(exchange, link).await;
    let coding = Coding::of_body(&head.headers)
        .map_err(|_unknown| Problem::new(Cause::Translation, "the backend's answer is coded"))?;
    let body = match coding {
        Coding::Identity => body,
        Coding::Gzip | Coding::Deflate => {
            inflated(exchange, coding, body).await.map_err(|problem| match problem.cause {
                Cause::BadInput | Cause::BodyTooLarge => {
                    Problem::new(Cause::Translation, problem.detail)
                }
                _ => problem,
            })?
        }
    };
    if coding != Coding::Identity {
        exchange.hold(body.len())?;
    }
    Ok(Whole { head, body, trailers })
}

/// Gives the link of an answer that is complete back.
async fn keep(exchange: &Exchange, link: Box<Link>) {
    let mut link = Some(link);
    std::future::poll_fn(|cx| {
        if let Some(link) = link.take() {
            exchange.release(cx, link);
        }
        Poll::Ready(())
    })
    .await;
}

/// Reads a short body to its end.
pub(super) async fn read_whole(
    exchange: &mut Exchange,
    mut incoming: Incoming,
) -> Result<Pieces, Problem> {
    let mut gather = Gather::default();
    let mut seen = 0;
    let limit = exchange.context.worker.gateway.limits.body;
    let idle = exchange.context.worker.gateway.limits.header_time;
    while !incoming.is_end_stream() {
        let deadline = exchange.deadline().min(Instant::now() + idle);
        let next = std::future::poll_fn(|cx| std::pin::Pin::new(&mut incoming).poll_frame(cx));
        match exchange.context.clock.within(deadline, next).await {
            Err(_expired) => return Err(exchange.overdue(Cause::BodyTimeout)),
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err(body::client_body_problem(&error)),
            Ok(Some(Ok(frame))) => {
                // Trailers of a request are not passed on.
                let Ok(data) = frame.into_data() else { continue };
                seen += data.len() as u64;
                if seen > limit {
                    return Err(too_large(limit, BODY_KEY));
                }
                exchange.hold(data.len())?;
                exchange.see_request(&data);
                gather.add(data);
            }
        }
    }
    exchange.clock().set_unread(false);
    Ok(gather.into_pieces())
}

/// Makes a longer body stream, one piece at a time.
fn stream_upload(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    parts: &mut Parts,
    incoming: Incoming,
    length: BodyLength,
) -> RequestBody {
    let length = match length {
        BodyLength::Known(length) => Some(length),
        BodyLength::Unknown => {
            parts.headers.remove(CONTENT_LENGTH);
            None
        }
    };
    let upload = exchange.begin_upload(runtime.timeouts.idle, runtime.timeouts.first_byte);
    RequestBody::Stream { first: Pieces::new(), incoming, upload, length }
}

/// Sends the request until a backend answers, or it may not be sent again.
async fn ask(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    parts: Parts,
    body: RequestBody,
    replayable: bool,
) -> Result<(Response<Incoming>, Box<Link>), Problem> {
    let worker = Arc::clone(&exchange.context.worker);
    let counters = &worker.gateway.counters;
    let mut request = Request::from_parts(parts, body);
    let mut failed: Vec<Arc<Backend>> = Vec::new();
    let mut resent = 0;
    loop {
        let guard = balance::pick(runtime, &failed).begin();
        let backend = Arc::clone(guard.backend());
        exchange.ask(guard);
        let asked = exchange.note_time();
        // After a kept connection turned out dead its siblings are not to be trusted either.
        let mut link = match connect(exchange, runtime, &backend, resent > 0).await {
            Ok(link) => link,
            Err(problem) => {
                failed.push(backend);
                let elsewhere = failed.len() < runtime.backends.len().min(ATTEMPTS_MAX);
                if !elsewhere || problem.cause == Cause::RequestTimeout {
                    exchange.keep_unsent(request.into_body());
                    return Err(problem);
                }
                counters.retries_connect.increment(1);
                exchange.note_retry(asked, &problem);
                continue;
            }
        };
        address(&mut request, &backend, link.is_http2());
        let spare = if link.is_reused() && replayable { copy(&request) } else { None };
        let began = exchange.now();
        let deadline = exchange.deadline().min(began + first_wait(runtime, request.body()));
        let sent = exchange.context.clock.within(deadline, link.send(request)).await;
        request = match sent {
            Ok(Ok(response)) => {
                let now = exchange.note_time();
                exchange.latency().t_ttfb = Some(micros(now.duration_since(began)));
                return Ok((response, link));
            }
            Ok(Err(LinkError::NotSent(unsent))) if resent < RESENDS_MAX => {
                let detail = "a kept connection was closed before the request was sent";
                exchange.note_retry(asked, &Problem::new(Cause::Reset, detail));
                *unsent
            }
            Ok(Err(error)) => match (error, spare) {
                (error @ LinkError::Closed(_), Some(spare)) if resent < RESENDS_MAX => {
                    exchange.note_retry(asked, &failure(exchange, error));
                    spare
                }
                (error, _) => return Err(failure(exchange, error)),
            },
            Err(_expired) => return Err(stalled(exchange)),
        };
        resent += 1;
        counters.retries_stale.increment(1);
    }
}

/// Takes a kept connection, or makes one.
async fn connect(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    backend: &Arc<Backend>,
    fresh_only: bool,
) -> Result<Box<Link>, Problem> {
    let worker = Arc::clone(&exchange.context.worker);
    if !fresh_only {
        let now = exchange.note_time();
        let kept = std::future::poll_fn(|cx| {
            Poll::Ready(if runtime.http2 {
                worker.channels.take(backend, &runtime.keep_alive, now)
            } else {
                worker.pool.take(cx, backend, &runtime.keep_alive, now)
            })
        });
        if let Some(link) = kept.await {
            worker.gateway.upstream_reuses.add(worker.index);
            return Ok(link);
        }
    }
    let began = Instant::now();
    let deadline = exchange.deadline().min(began + runtime.timeouts.connect);
    let opened = if runtime.http2 {
        exchange
            .context
            .clock
            .within(deadline, worker.channels.join(&backend.address, &runtime.keep_alive))
            .await
    } else {
        exchange.context.clock.within(deadline, Link::open(&backend.address)).await
    };
    let now = exchange.note_time();
    exchange.latency().t_upstream_connect = Some(micros(now.duration_since(began)));
    let failed = &worker.gateway.counters.upstream_connects_failed;
    match opened {
        Ok(Ok(link)) => {
            if link.is_reused() {
                worker.gateway.upstream_reuses.add(worker.index);
            } else {
                worker.gateway.counters.upstream_connects.increment(1);
            }
            Ok(link)
        }
        Ok(Err(error)) => {
            failed.increment(1);
            let detail = format!("no connection to the backend: {error}");
            Err(Problem::new(Cause::Connect, detail))
        }
        Err(_expired) => {
            failed.increment(1);
            Err(exchange.overdue(Cause::ConnectTimeout))
        }
    }
}

/// Names the backend in the head: in `Host`, or in the target where HTTP/2 has it.
fn address(request: &mut Request<RequestBody>, backend: &Backend, http2: bool) {
    if !http2 {
        request.headers_mut().insert(HOST, backend.host.clone());
        return;
    }
    request.headers_mut().remove(HOST);
    *request.version_mut() = Version::HTTP_2;
    let mut target = std::mem::take(request.uri_mut()).into_parts();
    target.scheme = Some(Scheme::HTTP);
    target.authority = Some(backend.authority.clone());
    // Both are there and sound, so that only a target of `*` fails, which has no form here.
    *request.uri_mut() = Uri::from_parts(target).unwrap_or_default();
}

/// The same request again, where its body is whole.
fn copy(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let mut again = Request::new(request.body().again()?);
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    Some(again)
}

/// How long to wait at first: for the answer, or for the first movement of a body that streams.
fn first_wait(runtime: &RemoteRuntime, body: &RequestBody) -> Duration {
    match body {
        RequestBody::Whole { .. } => runtime.timeouts.first_byte,
        RequestBody::Stream { .. } => runtime.timeouts.idle,
    }
}

/// What a link's failure means for the client.
fn failure(exchange: &Exchange, error: LinkError) -> Problem {
    if let Some(problem) = exchange.upload_problem() {
        return problem;
    }
    match error {
        LinkError::NotSent(_) => {
            Problem::new(Cause::Reset, "the backend closed every connection before the request")
        }
        LinkError::Closed(error) | LinkError::RequestBody(error) => Problem::new(
            Cause::Reset,
            format!("the backend closed the connection before it answered: {error}"),
        ),
        LinkError::Reset(error) => Problem::new(
            Cause::Reset,
            format!("the backend gave the request up before it answered: {error}"),
        ),
        LinkError::Garbage(error) => {
            Problem::new(Cause::Garbage, format!("the backend's answer is not HTTP: {error}"))
        }
    }
}

/// What a wait for the response head that took too long means: whose turn was it?
fn stalled(exchange: &Exchange) -> Problem {
    if exchange.upload_waits_for_client() {
        return exchange.overdue(Cause::BodyTimeout);
    }
    exchange.overdue(Cause::FirstByteTimeout)
}

/// Makes a backend's response the answer: a short one whole, a longer one as it comes.
async fn receive(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    response: Response<Incoming>,
    mut link: Box<Link>,
    is_head: bool,
) -> Result<Answer, Problem> {
    let (mut head, mut incoming) = response.into_parts();
    check_response(&head)?;
    // The version is that of the gateway, on the client's connection (RFC 9112 section 2.3).
    head.version = Version::HTTP_11;
    forward::to_client(&mut head.headers, &exchange.context.worker.gateway.forwarding);
    let length = if is_head || has_no_body(head.status) {
        Some(0)
    } else {
        incoming.size_hint().exact().filter(|length| *length <= WHOLE_BYTES_MAX)
    };
    let Some(length) = length else {
        exchange.wait_until(exchange.now() + runtime.timeouts.idle);
        let idle = runtime.timeouts.idle;
        return Ok(Answer::Stream(Box::new(Streaming { head, incoming, link, idle })));
    };
    // Trailers may follow a body of HTTP/2 whose length is known, also one of nothing.
    let ended = length == 0 && (is_head || !link.is_http2() || incoming.is_end_stream());
    let (body, trailers) = match ended {
        true => (Bytes::new(), HeaderMap::new()),
        false => read_response(exchange, runtime.timeouts.idle, &mut link, &mut incoming).await?,
    };
    drop(incoming);
    keep(exchange, link).await;
    let response = Response::from_parts(head, body);
    Ok(match trailers.is_empty() || !exchange.takes_trailers() {
        true => Answer::Whole(response),
        false => Answer::Trailed(response, trailers),
    })
}

/// Reads what is still coming of an answer, with its trailers.
pub(super) async fn gather(
    exchange: &mut Exchange,
    streaming: Streaming,
) -> Result<(Response<Bytes>, HeaderMap), Problem> {
    let Streaming { head, mut incoming, mut link, idle } = streaming;
    let (body, trailers) = read_response(exchange, idle, &mut link, &mut incoming).await?;
    drop(incoming);
    keep(exchange, link).await;
    Ok((Response::from_parts(head, body), trailers))
}

/// Refuses what could be read in two ways, or cannot be passed on as what it is.
fn check_response(head: &http::response::Parts) -> Result<(), Problem> {
    let garbage = |detail: &str| Err(Problem::new(Cause::Garbage, detail));
    if head.status.is_informational() {
        return garbage("the backend switched protocols, which it was not asked to");
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            if head.headers.contains_key(CONTENT_LENGTH) {
                return garbage("the backend gave its answer both a length and chunks");
            }
            Ok(())
        }
        (Some(_), _) => garbage("the backend used a transfer coding other than chunked"),
    }
}

/// Reads a response body to its end, with its trailers.
async fn read_response(
    exchange: &mut Exchange,
    idle: Duration,
    link: &mut Link,
    incoming: &mut Incoming,
) -> Result<(Bytes, HeaderMap), Problem> {
    let limit = exchange.context.worker.gateway.limits.body.max(WHOLE_BYTES_MAX);
    let mut whole = Bytes::new();
    let mut trailers = HeaderMap::new();
    let mut joined: Option<BytesMut> = None;
    let mut now = exchange.now();
    loop {
        let deadline = exchange.deadline().min(now + idle);
        let next = std::future::poll_fn(|cx| link.poll_body(cx, incoming));
        match exchange.context.clock.within(deadline, next).await {
            Err(_expired) => return Err(exchange.overdue(Cause::IdleTimeout)),
            Ok(Some(Err(error))) => {
                let detail = format!("the backend broke off in the middle of its answer: {error}");
                return Err(Problem::new(Cause::Reset, detail));
            }
            Ok(Some(Ok(frame))) => {
                let piece = match frame.into_data() {
                    Ok(piece) => piece,
                    Err(frame) => {
                        trailers = frame.into_trailers().unwrap_or_default();
                        continue;
                    }
                };
                let so_far = joined.as_ref().map_or(whole.len(), BytesMut::len);
                if (so_far + piece.len()) as u64 > limit {
                    let detail = "the backend's answer is longer than `limits.body` allows";
                    return Err(Problem::new(Cause::Translation, detail));
                }
                exchange.hold(piece.len())?;
                if whole.is_empty() && joined.is_none() {
                    whole = piece;
                } else {
                    // Rare: a short body that came in several pieces.
                    let joined = joined.get_or_insert_with(|| BytesMut::from(whole.as_ref()));
                    joined.extend_from_slice(&piece);
                }
            }
            Ok(None) => return Ok((joined.map_or(whole, BytesMut::freeze), trailers)),
        }
        if incoming.is_end_stream() {
            return Ok((joined.map_or(whole, BytesMut::freeze), trailers));
        }
        now = Instant::now();
    }
}

fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}
