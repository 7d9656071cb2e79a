//! One client connection that speaks HTTP/2: many exchanges at a time, each with its own clock.
//!
//! Owns the bounds of such a connection (streams, windows, heads, resets), its idle limit and its
//! drain. It is entered when a connection began with the preface (RFC 9113 section 3.4, prior
//! knowledge). Never looks into a request that parses: that is the exchange's, and each stream has one.
//!
//! ```text
//! preface ─▶ Open ──idle, slow head, drain──▶ GOAWAY ─▶ streams end ─▶ closed
//!              └──more resets than a sound client sends──▶ closed at once
//! ```

mod io;
mod state;
mod stream;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use self::io::WatchedIo;
pub(super) use self::io::fuzz_frames;
use self::state::{ConnState, Due};
use self::stream::Streams;
use super::clock::ConnClock;
use super::drain::Drain;
use super::exchange::{self, Peer};
use super::problem::Cause;
use super::worker::Worker;
use crate::telemetry::logging::Throttle;

/// What a client may send beyond what has been read of one request's body.
const STREAM_WINDOW: u32 = 512 * 1024;
/// The same for all streams of a connection together. What was read of bodies is let go again; where they
/// are held whole, `limits.held_bodies` bounds them.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What is held for a client that does not take its answer, by stream.
const SEND_BYTES_MAX: usize = 128 * 1024;
/// Streams that were reset before they were looked at; more end the connection (CVE-2023-44487).
const PENDING_RESETS_MAX: usize = 20;
/// How often a connection is asked for a sign of life, and how long that may take.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIME: Duration = Duration::from_secs(20);
/// How long a connection without streams may stay after its client was told to go.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// Serves a connection to its end; `first` is what was read from it.
pub(super) async fn serve(worker: Arc<Worker>, stream: TcpStream, first: Vec<u8>, peer: Arc<Peer>) {
    let limits = worker.gateway.limits;
    worker.gateway.counters.http2_connections.increment(1);
    let state = Arc::new(ConnState::new(Instant::now(), limits.header_time, limits.idle));
    let streams = Streams::new(Arc::clone(&state));
    let service = {
        let (worker, peer, streams) = (Arc::clone(&worker), Arc::clone(&peer), streams.clone());
        service_fn(move |mut request: Request<Incoming>| {
            let clock = Arc::new(ConnClock::new(Instant::now(), worker.gateway.limits.idle));
            streams.announce(Arc::clone(&clock));
            worker.gateway.counters.http2_streams.increment(1);
            join_cookies(request.headers_mut());
            let context =
                exchange::Context { worker: Arc::clone(&worker), clock, peer: Arc::clone(&peer) };
            exchange::serve(context, request)
        })
    };
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIME);
    let io = WatchedIo::new(stream, Bytes::from(first), Arc::clone(&state));
    let armed = state.due(Instant::now(), None).at();
    let driver = Driver {
        connection: Some(builder.serve_connection(TokioIo::new(io), service)),
        timer: Box::pin(tokio::time::sleep_until(armed.into())),
        armed,
        state,
        drain: Arc::clone(&worker.drain),
        drained: Box::pin(worker.drain.begun()),
        listening: false,
        closing: None,
    };
    match driver.await {
        Ended::Closed(Ok(())) => {}
        Ended::Closed(Err(error)) => {
            tracing::debug!(peer = peer.text(), %error, "an HTTP/2 connection ended early");
        }
        Ended::Resets => {
            static THROTTLE: Throttle = Throttle::new();
            worker.gateway.counters.connections_resets.increment(1);
            if let Some(held_back) = THROTTLE.admit() {
                let peer = peer.text();
                tracing::warn!(
                    peer,
                    held_back,
                    "a client resets most of its streams and is cut off"
                );
            }
        }
        Ended::SlowHead => worker.gateway.counters.error(Cause::HeaderTimeout).increment(1),
    }
}

/// One `cookie` line where HTTP/2 may have several (RFC 9113 section 8.2.3), as routing and backends
/// of HTTP/1.1 expect it.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    if let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) {
        let mut joined = first.as_bytes().to_vec();
        for crumb in std::iter::once(second).chain(crumbs) {
            joined.extend_from_slice(b"; ");
            joined.extend_from_slice(crumb.as_bytes());
        }
        if let Ok(joined) = HeaderValue::from_bytes(&joined) {
            headers.insert(COOKIE, joined);
        }
    }
}

/// How a connection ended.
enum Ended {
    /// By its machinery, or at the end of its time.
    Closed(hyper::Result<()>),
    /// Its client resets too many streams.
    Resets,
    /// A head did not arrive in time.
    SlowHead,
}

/// Polls the connection and its clock together.
struct Driver<S: HttpService<Incoming>, D> {
    /// `None` once it is over.
    connection: Option<http2::Connection<TokioIo<WatchedIo>, S, Streams>>,
    timer: Pin<Box<Sleep>>,
    armed: Instant,
    state: Arc<ConnState>,
    drain: Arc<Drain>,
    drained: Pin<Box<D>>,
    /// The drain knows this task's waker, so that its future need not be polled again.
    listening: bool,
    /// When the client was told to go.
    closing: Option<Instant>,
}

impl<S: HttpService<Incoming>, D> Unpin for Driver<S, D> {}

impl<S, B, D> Future for Driver<S, D>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    D: Future<Output = ()>,
{
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let Some(connection) = &mut this.connection else {
                return Poll::Ready(Ended::Closed(Ok(())));
            };
            let polled = Pin::new(&mut *connection).poll(cx);
            if this.state.is_abused() {
                this.connection = None;
                return Poll::Ready(Ended::Resets);
            }
            if let Poll::Ready(result) = polled {
                return Poll::Ready(Ended::Closed(result));
            }
            if !this.listening {
                // Polled once: either it registers this task, or draining has begun and it is over.
                this.listening = true;
                let _begun = this.drained.as_mut().poll(cx);
            }
            if this.closing.is_none() && this.drain.is_begun() {
                this.closing = Some(Instant::now());
                Pin::new(connection).graceful_shutdown();
                continue;
            }
            let now = Instant::now();
            let due = this.state.due(now, this.closing);
            if due.at() < this.armed {
                arm(&mut this.timer, &mut this.armed, due.at());
            }
            ready!(this.timer.as_mut().poll(cx));
            if due.at() <= now {
                match due {
                    Due::Idle(_) => {
                        this.closing = Some(now);
                        Pin::new(connection).graceful_shutdown();
                    }
                    Due::Head(_) => {
                        this.connection = None;
                        return Poll::Ready(Ended::SlowHead);
                    }
                    Due::Gone(_) => {
                        this.connection = None;
                        return Poll::Ready(Ended::Closed(Ok(())));
                    }
                    Due::Look(_) => {}
                }
            }
            let next = this.state.due(now, this.closing).at();
            arm(&mut this.timer, &mut this.armed, next);
        }
    }
}

fn arm(timer: &mut Pin<Box<Sleep>>, armed: &mut Instant, deadline: Instant) {
    *armed = deadline;
    timer.as_mut().reset(deadline.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_that_came_in_pieces_become_one_line() {
        let mut headers = HeaderMap::new();
        for crumb in ["a=1", "b=2; c=3", "d=4"] {
            headers.append(COOKIE, HeaderValue::from_static(crumb));
        }
        join_cookies(&mut headers);
        let all: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(all, ["a=1; b=2; c=3; d=4"]);
    }
}
