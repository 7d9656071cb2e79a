//! One connection to a backend, or one stream of a connection that several requests share.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::channel::Lease;
use super::stream::BackendStream;
use crate::domain::spec::BackendAddress;
use crate::proxy::body::RequestBody;

/// The most bytes of a response head.
pub(super) const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// The most headers of a response.
const HEADERS_MAX: usize = 128;

/// A connection with its HTTP machinery, or its share in one.
pub(in crate::proxy) struct Link {
    wire: Wire,
    opened: Instant,
    idle_since: Instant,
    /// What the backend's `Keep-Alive: timeout` promises.
    idle_limit: Option<Duration>,
    requests: u32,
}

/// How a link speaks.
#[expect(clippy::large_enum_variant, reason = "a link is boxed as a whole")]
enum Wire {
    /// HTTP/1.1. Nothing runs in the background: whoever holds the link polls it.
    Http1 {
        sender: SendRequest<RequestBody>,
        connection: Option<Connection<TokioIo<BackendStream>, RequestBody>>,
    },
    /// A stream of HTTP/2; the connection has a task of its own.
    Http2 { sender: http2::SendRequest<RequestBody>, _lease: Lease },
}

/// Why a request got no response head.
pub(in crate::proxy) enum LinkError {
    /// The connection was found dead before anything of the request was written.
    NotSent(Box<Request<RequestBody>>),
    /// The connection ended before any byte of a response.
    Closed(hyper::Error),
    /// The backend reset the request's own stream; the connection may go on.
    Reset(hyper::Error),
    /// The response is not HTTP.
    Garbage(hyper::Error),
    /// The client's body broke off while it was sent.
    RequestBody(hyper::Error),
}

/// Connects to a backend.
///
/// # Errors
///
/// The system's; a name that does not resolve is `NotFound` or similar.
pub(super) async fn connect(address: &BackendAddress) -> io::Result<TcpStream> {
    let stream = match address.socket_addr() {
        Some(address) => TcpStream::connect(address).await?,
        // Resolved on tokio's blocking pool; the system's resolver order is kept.
        None => TcpStream::connect((address.host.as_str(), address.port)).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Link {
    /// Opens a connection of HTTP/1.1.
    ///
    /// # Errors
    ///
    /// Those of [`connect`].
    pub(in crate::proxy) async fn open(address: &BackendAddress) -> io::Result<Box<Self>> {
        let stream = connect(address).await?;
        let (sender, connection) = Builder::new()
            .max_header_size(HEAD_BYTES_MAX as usize)
            .max_headers(HEADERS_MAX)
            .handshake(TokioIo::new(BackendStream::new(stream)))
            .await
            .map_err(io::Error::other)?;
        Ok(Self::new(Wire::Http1 { sender, connection: Some(connection) }, 0))
    }

    /// One more stream of a connection that has carried `requests` before.
    pub(super) fn stream(
        sender: http2::SendRequest<RequestBody>,
        lease: Lease,
        requests: u32,
    ) -> Box<Self> {
        Self::new(Wire::Http2 { sender, _lease: lease }, requests)
    }

    fn new(wire: Wire, requests: u32) -> Box<Self> {
        let now = Instant::now();
        Box::new(Self { wire, opened: now, idle_since: now, idle_limit: None, requests })
    }

    /// Whether earlier requests used this connection.
    pub(in crate::proxy) fn is_reused(&self) -> bool {
        self.requests > 0
    }

    /// Whether the link speaks HTTP/2.
    pub(in crate::proxy) fn is_http2(&self) -> bool {
        matches!(self.wire, Wire::Http2 { .. })
    }

    /// Sends a request and waits for the head of the response.
    pub(in crate::proxy) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, LinkError> {
        self.requests = self.requests.saturating_add(1);
        let result = match &mut self.wire {
            Wire::Http1 { sender, connection } => {
                let mut response = pin!(sender.try_send_request(request));
                std::future::poll_fn(|cx| {
                    drive(connection, cx);
                    response.as_mut().poll(cx)
                })
                .await
            }
            Wire::Http2 { sender, .. } => sender.try_send_request(request).await,
        };
        match result {
            Ok(response) => {
                self.idle_limit = keep_alive_timeout(&response);
                Ok(response)
            }
            Err(mut error) => Err(match error.take_message() {
                Some(request) => LinkError::NotSent(Box::new(request)),
                None => classify(error.into_error()),
            }),
        }
    }

    /// Polls the next piece, or the trailers, of a response body that this link carries.
    pub(in crate::proxy) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Incoming,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Wire::Http1 { connection, .. } = &mut self.wire else {
            return Pin::new(body).poll_frame(cx);
        };
        // The first round tells the connection that bytes are wanted, the second takes them.
        for _ in 0..2 {
            if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
                return Poll::Ready(frame);
            }
            drive(connection, cx);
        }
        Poll::Pending
    }

    /// Lets the connection finish the last exchange and says whether it can carry another one. A
    /// stream cannot: its connection is kept by others.
    pub(in crate::proxy) fn settle(&mut self, cx: &mut Context<'_>) -> bool {
        let Wire::Http1 { sender, connection } = &mut self.wire else { return false };
        drive(connection, cx);
        connection.is_some() && sender.is_ready()
    }

    pub(super) fn rest(&mut self, now: Instant) {
        self.idle_since = now;
    }

    /// Whether the link is too old, or too long unused, to be trusted with a request.
    pub(super) fn is_stale(&self, now: Instant, idle: Duration, age: Duration) -> bool {
        let idle = self.idle_limit.map_or(idle, |limit| limit.min(idle));
        now.duration_since(self.idle_since) >= idle || now.duration_since(self.opened) >= age
    }
}

/// Polls the connection's own work; a connection that ended is dropped.
fn drive(
    connection: &mut Option<Connection<TokioIo<BackendStream>, RequestBody>>,
    cx: &mut Context<'_>,
) {
    // An error also reaches the response future, which is where it is handled.
    if connection.as_mut().is_some_and(|c| Pin::new(c).poll(cx).is_ready()) {
        *connection = None;
    }
}

fn classify(error: hyper::Error) -> LinkError {
    if error.is_parse() {
        LinkError::Garbage(error)
    } else if error.is_user() || error.is_body_write_aborted() {
        LinkError::RequestBody(error)
    } else if is_reset(&error) {
        LinkError::Reset(error)
    } else {
        LinkError::Closed(error)
    }
}

/// Whether a backend of HTTP/2 gave up on one request that it may have begun to work on. Of one that it refused it
/// says that it did not (RFC 9113 section 8.7).
fn is_reset(error: &hyper::Error) -> bool {
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.is_reset() && cause.is_remote() && cause.reason() != Some(h2::Reason::REFUSED_STREAM)
    })
}

/// The idle limit that the backend states, less a second for the way.
fn keep_alive_timeout<B>(response: &Response<B>) -> Option<Duration> {
    let value = response.headers().get("keep-alive")?.to_str().ok()?;
    let seconds = value
        .split(',')
        .find_map(|part| part.trim().strip_prefix("timeout="))?
        .parse::<u64>()
        .ok()?;
    Some(Duration::from_secs(seconds.saturating_sub(1)))
}
