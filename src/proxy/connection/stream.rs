//! A client's socket, watched: the first byte of a head starts its clock, the preface of HTTP/2 is
//! recognised, and what the HTTP machinery writes outside an exchange, its bare answer to bytes that
//! are not HTTP, is replaced by an answer of ours.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::proxy::Gateway;
use crate::proxy::clock::{ConnClock, Phase};
use crate::proxy::problem::{Cause, Problem, raw_response};

/// The first bytes of a client that speaks HTTP/2 (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client's socket under the machinery of HTTP/1.1.
pub(super) struct ClientStream {
    stream: TcpStream,
    gateway: Arc<Gateway>,
    clock: Arc<ConnClock>,
    header_time: Duration,
    idle: Duration,
    opening: Opening,
    refusal: Option<Refusal>,
}

/// What the first bytes have told.
enum Opening {
    /// So far they are the beginning of the preface, or there are none.
    Open(Vec<u8>),
    /// They are not: these are still to be handed on, mostly none.
    Http1(Vec<u8>),
    /// All that was read, the preface first.
    Http2(Vec<u8>),
}

/// Our answer to bytes that are not HTTP, as far as it is written.
struct Refusal {
    bytes: Vec<u8>,
    written: usize,
}

impl ClientStream {
    pub(super) fn new(stream: TcpStream, gateway: Arc<Gateway>, clock: Arc<ConnClock>) -> Self {
        let limits = gateway.limits;
        Self {
            stream,
            gateway,
            clock,
            header_time: limits.header_time,
            idle: limits.idle,
            opening: Opening::Open(Vec::new()),
            refusal: None,
        }
    }

    /// The socket and what was read from it, if its client speaks HTTP/2.
    pub(super) fn into_http2(self) -> Result<(TcpStream, Vec<u8>), Box<Self>> {
        match self.opening {
            Opening::Http2(first) => Ok((self.stream, first)),
            Opening::Open(_) | Opening::Http1(_) => Err(Box::new(self)),
        }
    }

    /// The socket alone.
    pub(super) fn into_socket(self) -> TcpStream {
        self.stream
    }

    /// Whether the client has been refused on this connection.
    pub(super) fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    /// Reads while it is not known what the client speaks.
    fn poll_opening(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Opening::Open(seen) = &mut self.opening else { return Poll::Ready(Ok(())) };
        let before = buf.filled().len();
        loop {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            let new = &buf.filled()[before..];
            if !new.is_empty() && self.clock.phase() == Phase::Idle {
                self.clock.begin_head(Instant::now(), self.header_time);
            }
            if seen.is_empty() && !begins_preface(new) {
                // Nothing was held back: what was read stays where it is.
                self.opening = Opening::Http1(Vec::new());
                return Poll::Ready(Ok(()));
            }
            let at_end = new.is_empty();
            seen.extend_from_slice(new);
            buf.set_filled(before);
            if seen.starts_with(PREFACE) {
                self.opening = Opening::Http2(std::mem::take(seen));
                return Poll::Ready(Err(io::Error::other("the client speaks HTTP/2")));
            }
            if at_end || !begins_preface(seen) {
                self.opening = Opening::Http1(std::mem::take(seen));
                self.hand_on(buf);
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Hands on what was held back, as far as there is room.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        if let Opening::Http1(held) = &mut self.opening {
            let taken = held.len().min(buf.remaining());
            buf.put_slice(&held[..taken]);
            held.drain(..taken);
        }
    }

    /// Answers without the HTTP machinery, as far as the socket takes it at once, and closes.
    pub(super) fn refuse(self, problem: &Problem) {
        self.gateway.counters.error(problem.cause).increment(1);
        // A client that does not read its answer has lost it.
        let _not_taken = self.stream.try_write(&raw_response(problem));
    }

    /// Whether what is written now belongs to no exchange.
    pub(super) fn outside_exchange(&self) -> bool {
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

/// Whether `bytes` may be the beginning of the preface, or are it and more.
fn begins_preface(bytes: &[u8]) -> bool {
    let common = bytes.len().min(PREFACE.len());
    common > 0 && bytes[..common] == PREFACE[..common]
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
        match &self.opening {
            Opening::Http1(held) if held.is_empty() => {}
            Opening::Http1(_) => {
                self.hand_on(buf);
                return Poll::Ready(Ok(()));
            }
            Opening::Open(_) | Opening::Http2(_) => return self.poll_opening(cx, buf),
        }
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
        if matches!(self.opening, Opening::Http2(_)) {
            // The machinery of HTTP/1.1 ends, the connection does not.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
