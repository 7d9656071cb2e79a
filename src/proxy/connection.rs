//! One client connection: the bytes, the HTTP/1.1 machinery, and the time it may take.
//!
//! Owns limits on heads (431, 408), idle and drain behaviour, and the answer to bytes that are not
//! HTTP. A connection that begins with the preface of HTTP/2 goes on in [`super::http2`], and one that is closed
//! while its client still sends a body lingers, so that the answer is not lost. Never looks
//! into a request that parses: that is the exchange's.
//!
//! ```text
//!        first byte          head complete            last byte written
//! Idle ─────────────▶ Head ─────────────▶ Exchange ─▶ Flush ───────────▶ Idle
//!  │ idle limit         │ header_time: 408   │ limits of the exchange
//!  ▼                    ▼                    ▼
//!  close              Closing              504, or closed where the answer had begun
//! ```

mod linger;
mod stream;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use self::stream::ClientStream;
use super::clock::{ConnClock, Phase};
use super::drain::Drain;
use super::problem::{Cause, Problem};
use super::worker::Worker;
use super::{exchange, http2};
use crate::telemetry::logging::Throttle;

/// How long a connection that has carried nothing yet may stay when draining begins.
const FRESH_TIME: Duration = Duration::from_millis(500);
/// How long a connection that is being closed may take to take its last answer.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub(super) async fn serve(worker: Arc<Worker>, stream: TcpStream, peer: SocketAddr) {
    let limits = worker.gateway.limits;
    let clock = Arc::new(ConnClock::new(Instant::now(), limits.idle));
    let stream = ClientStream::new(stream, Arc::clone(&worker.gateway), Arc::clone(&clock));
    let known = Arc::new(exchange::Peer::new(peer));
    let context = exchange::Context {
        worker: Arc::clone(&worker),
        clock: Arc::clone(&clock),
        peer: Arc::clone(&known),
    };
    let service =
        service_fn(move |request: Request<Incoming>| exchange::serve(context.clone(), request));
    let mut builder = http1::Builder::new();
    builder.max_headers(limits.header_count).max_header_size(limits.header_bytes);
    let armed = clock.deadline();
    let driver = Driver {
        connection: Some(builder.serve_connection(TokioIo::new(stream), service)),
        timer: Box::pin(tokio::time::sleep_until(armed.into())),
        armed,
        clock,
        drain: Arc::clone(&worker.drain),
        drained: Box::pin(worker.drain.begun()),
        listening: false,
        draining: false,
    };
    match driver.await {
        Ok(End::Over) => {}
        Ok(End::Http2(stream, first)) => {
            Box::pin(http2::serve(Arc::clone(&worker), stream, first, known)).await;
        }
        Ok(End::Unread(stream)) => Box::pin(linger::linger(&worker, stream)).await,
        Err(error) => tell(&worker, peer, &error),
    }
}

/// Logs a connection that ended badly; the exchange, if there was one, has its record.
fn tell(worker: &Worker, peer: SocketAddr, error: &hyper::Error) {
    static THROTTLE: Throttle = Throttle::new();
    if error.is_parse() {
        worker.gateway.counters.connections_malformed.increment(1);
        if let Some(held_back) = THROTTLE.admit() {
            tracing::info!(%peer, %error, held_back, "a client sent bytes that are not HTTP/1.1");
        }
    } else {
        tracing::debug!(%peer, %error, "a client connection ended early");
    }
}

/// What is left to do when the machinery of HTTP/1.1 has ended.
enum End {
    /// Nothing.
    Over,
    /// The client speaks HTTP/2: its socket and what was read from it.
    Http2(TcpStream, Vec<u8>),
    /// The last answer is on its way, but its client may still be sending the request.
    Unread(TcpStream),
}

/// Polls the connection and its clock together.
struct Driver<S: HttpService<Incoming>, D> {
    /// `None` once it is over.
    connection: Option<http1::Connection<TokioIo<ClientStream>, S>>,
    timer: Pin<Box<Sleep>>,
    armed: Instant,
    clock: Arc<ConnClock>,
    drain: Arc<Drain>,
    drained: Pin<Box<D>>,
    /// The drain knows this task's waker, so that its future need not be polled again.
    listening: bool,
    draining: bool,
}

impl<S: HttpService<Incoming>, D> Unpin for Driver<S, D> {}

impl<S, B, D> Future for Driver<S, D>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    D: Future<Output = ()>,
{
    type Output = hyper::Result<End>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let Some(connection) = &mut this.connection else {
                return Poll::Ready(Ok(End::Over));
            };
            if let Poll::Ready(result) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(this.end(result));
            }
            if !this.listening {
                // Polled once: either it registers this task, or draining has begun and it is over.
                this.listening = true;
                let _begun = this.drained.as_mut().poll(cx);
            }
            if !this.draining && this.drain.is_begun() {
                this.draining = true;
                if this.clock.is_fresh() {
                    // Its client has just come and cannot know; the answer will say `close`.
                    this.clock.set(Phase::Idle, Instant::now() + FRESH_TIME);
                } else {
                    Pin::new(connection).graceful_shutdown();
                    continue;
                }
            }
            let deadline = this.clock.deadline();
            if deadline < this.armed {
                this.arm(deadline);
            }
            ready!(this.timer.as_mut().poll(cx));
            if deadline <= Instant::now() {
                ready!(this.on_deadline(cx));
            }
            this.arm(this.clock.deadline());
        }
    }
}

impl<S, B, D> Driver<S, D>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn arm(&mut self, deadline: Instant) {
        self.armed = deadline;
        self.timer.as_mut().reset(deadline.into());
    }

    /// What the end of the machinery means: it closes without a word on some bytes, and where the client
    /// speaks HTTP/2.
    fn end(&mut self, result: hyper::Result<()>) -> hyper::Result<End> {
        let Some(connection) = self.connection.take() else { return result.map(|()| End::Over) };
        let stream = connection.into_parts().io.into_inner();
        match stream.into_http2() {
            Ok((stream, first)) => Ok(End::Http2(stream, first)),
            // The machinery has closed its side, behind the answer.
            Err(stream) if result.is_ok() && self.clock.is_unread() => {
                Ok(End::Unread(stream.into_socket()))
            }
            Err(stream) => {
                let unsound = result.as_ref().is_err_and(hyper::Error::is_parse);
                if unsound && stream.outside_exchange() && !stream.is_refused() {
                    stream.refuse(&Problem::new(Cause::Malformed, "the request is not HTTP/1.1"));
                }
                result.map(|()| End::Over)
            }
        }
    }

    /// Acts on a deadline that has passed. Ready when the connection has more to do, or is over.
    fn on_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(()) };
        match self.clock.phase() {
            Phase::Idle => {
                self.clock.set(Phase::Closing, Instant::now() + CLOSING_TIME);
                Pin::new(connection).graceful_shutdown();
            }
            Phase::Head => {
                let problem = Problem::new(Cause::HeaderTimeout, "the head did not arrive in time");
                if let Some(connection) = self.connection.take() {
                    connection.into_parts().io.into_inner().refuse(&problem);
                }
            }
            Phase::Exchange => {
                self.clock.expire();
                let over = Pin::new(connection).poll(cx).is_ready();
                // A mark that is still there: nobody is waiting but the client's own socket.
                if over || self.clock.take_expired() {
                    self.clock.cut();
                    self.connection = None;
                }
            }
            Phase::Flush | Phase::Closing => {
                self.clock.cut();
                self.connection = None;
            }
        }
        Poll::Ready(())
    }
}
