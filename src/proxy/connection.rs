//! One client connection: the bytes, the HTTP/1.1 machinery, and the time it may take.
//!
//! Owns limits on heads (431, 408), idle and drain behaviour, and the answer to bytes that are not
//! HTTP. Never looks into a request that parses: that is the exchange's.
//!
//! ```text
//!        first byte          head complete            last byte written
//! Idle ─────────────▶ Head ─────────────▶ Exchange ─▶ Flush ───────────▶ Idle
//!  │ idle limit         │ header_time: 408   │ limits of the exchange
//!  ▼                    ▼                    ▼
//!  close              Closing              504, or closed where the answer had begun
//! ```

use std::future::Future;
use std::io;
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
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::Gateway;
use super::clock::{ConnClock, Phase};
use super::drain::Drain;
use super::exchange;
use super::problem::{Cause, Problem, raw_response};
use super::worker::Worker;
use crate::telemetry::logging::Throttle;

/// How long a connection that has carried nothing yet may stay when draining begins.
const FRESH_TIME: Duration = Duration::from_millis(500);
/// How long a connection that is being closed may take to take its last answer.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub(super) async fn serve(worker: Arc<Worker>, stream: TcpStream, peer: SocketAddr) {
    let limits = worker.gateway.limits;
    let clock = Arc::new(ConnClock::new(Instant::now(), limits.idle));
    let stream = ClientStream {
        stream,
        gateway: Arc::clone(&worker.gateway),
        clock: Arc::clone(&clock),
        header_time: limits.header_time,
        idle: limits.idle,
        refusal: None,
    };
    let context = exchange::Context {
        worker: Arc::clone(&worker),
        clock: Arc::clone(&clock),
        peer: Arc::new(exchange::Peer::new(peer)),
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
    if let Err(error) = driver.await {
        tell(&worker, peer, &error);
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
    type Output = hyper::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let Some(connection) = &mut this.connection else {
                return Poll::Ready(Ok(()));
            };
            if let Poll::Ready(result) = Pin::new(&mut *connection).poll(cx) {
                if let Err(error) = &result
                    && error.is_parse()
                {
                    this.answer_unanswered();
                }
                return Poll::Ready(result);
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

    /// The machinery closes without a word on some bytes, such as the preface of HTTP/2.
    fn answer_unanswered(&mut self) {
        if let Some(connection) = self.connection.take() {
            let stream = connection.into_parts().io.into_inner();
            if stream.outside_exchange() && stream.refusal.is_none() {
                stream.refuse(&Problem::new(Cause::Malformed, "the request is not HTTP/1.1"));
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

/// The client's socket, watched: the first byte of a head starts its clock, and what the HTTP
/// machinery writes outside an exchange, its bare answer to bytes that are not HTTP, is replaced by
/// an answer of ours.
struct ClientStream {
    stream: TcpStream,
    gateway: Arc<Gateway>,
    clock: Arc<ConnClock>,
    header_time: Duration,
    idle: Duration,
    refusal: Option<Refusal>,
}

/// Our answer to bytes that are not HTTP, as far as it is written.
struct Refusal {
    bytes: Vec<u8>,
    written: usize,
}

impl ClientStream {
    /// Answers without the HTTP machinery, as far as the socket takes it at once, and closes.
    fn refuse(self, problem: &Problem) {
        self.gateway.counters.error(problem.cause).increment(1);
        // A client that does not read its answer has lost it.
        let _not_taken = self.stream.try_write(&raw_response(problem));
    }

    /// Whether what is written now belongs to no exchange.
    fn outside_exchange(&self) -> bool {
        matches!(self.clock.phase(), Phase::Idle | Phase::Head)
    }

    /// Writes the refusal that stands for `bare`, the machinery's own answer.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, bare: &[u8]) -> Poll<io::Result<usize>> {
        let refusal = self.refusal.get_or_insert_with(|| {
            let problem = problem_of(bare);
            self.gateway.counters.error(problem.cause).increment(1);
            Refusal { bytes: raw_response(&problem), written: 0 }
        });
        while refusal.written < refusal.bytes.len() {
            let rest = &refusal.bytes[refusal.written..];
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            refusal.written += written;
        }
        Poll::Ready(Ok(bare.len()))
    }
}

/// What the bare answer of the HTTP machinery means.
fn problem_of(bare: &[u8]) -> Problem {
    match bare.get(9..12) {
        Some(b"431") => {
            Problem::new(Cause::HeadTooLarge, "the head has too many or too long headers")
        }
        Some(b"414") => Problem::new(Cause::TargetTooLong, "the request target is too long"),
        _ => Problem::new(Cause::Malformed, "the request is not HTTP/1.1"),
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before && self.clock.phase() == Phase::Idle {
            self.clock.begin_head(Instant::now(), self.header_time);
        }
        result
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.outside_exchange() {
            return self.poll_refuse(cx, buf);
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.outside_exchange() {
            let bare = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
            return self.poll_refuse(cx, bare);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP socket has nothing to flush; the machinery calls this when its buffer is empty.
        if self.clock.phase() == Phase::Flush {
            self.clock.set(Phase::Idle, Instant::now() + self.idle);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
