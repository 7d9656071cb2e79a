//! Bodies on their way: the request's to a backend, the response's to the client.
//!
//! Owns the two body types that the HTTP machinery pulls. A short request body is whole before it is
//! sent, so that it can be sent again; anything longer streams, one piece at a time, through a
//! capture.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::admit::{BODY_KEY, too_large};
use super::capture::{Capture, PIECE_BYTES_MIN};
use super::clock::ConnClock;
use super::exchange::{Exchange, Promise};
use super::grpc::TalkBody;
use super::problem::{Cause, Problem};
use super::upstream::Link;

/// Bodies up to this length are read whole before they are passed on, in either direction.
pub(super) const WHOLE_BYTES_MAX: u64 = 64 * 1024;

/// How long an answer waits for the rest of a body that nobody asked for.
const SKIP_TIME: Duration = Duration::from_millis(500);

/// Reads a short request body that nobody asked for, for the record, so that the connection can be kept. Returns
/// whether the end was reached; where it is not, the connection [lingers](super::connection).
pub(super) async fn skip(exchange: &mut Exchange, mut body: Incoming) -> bool {
    if body.size_hint().lower() > WHOLE_BYTES_MAX {
        return false;
    }
    let deadline = exchange.deadline().min(exchange.now() + SKIP_TIME);
    let mut left = WHOLE_BYTES_MAX;
    while !body.is_end_stream() {
        let next = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        let frame = match exchange.context.clock.within(deadline, next).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) => return false,
        };
        let Ok(data) = frame.into_data() else { continue };
        let Some(still) = left.checked_sub(data.len() as u64) else { return false };
        left = still;
        exchange.see_request(&data);
    }
    exchange.clock().set_unread(false);
    true
}

/// The pieces of a whole body.
pub(super) type Pieces = SmallVec<[Bytes; 1]>;

/// Gathers the pieces of a body.
#[derive(Default)]
pub(super) struct Gather {
    pieces: Pieces,
    small: BytesMut,
}

impl Gather {
    /// Adds the next piece. The first is kept as it is: most bodies have one.
    pub(super) fn add(&mut self, piece: Bytes) {
        let first = self.pieces.is_empty() && self.small.is_empty();
        if first || piece.len() >= PIECE_BYTES_MIN {
            self.flush();
            self.pieces.push(piece);
        } else {
            self.small.extend_from_slice(&piece);
        }
    }

    /// All that was added.
    pub(super) fn into_pieces(mut self) -> Pieces {
        self.flush();
        self.pieces
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }
}

/// A request body on its way to a backend.
pub(super) enum RequestBody {
    /// All of it.
    Whole { pieces: Pieces, next: usize, length: u64 },
    /// As it arrives from the client, behind what has been read of it.
    Stream { first: Pieces, incoming: Incoming, upload: Arc<Upload>, length: Option<u64> },
}

impl RequestBody {
    pub(super) fn whole(pieces: Pieces) -> Self {
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self::Whole { pieces, next: 0, length }
    }

    /// The same body again, if it is whole.
    pub(super) fn again(&self) -> Option<Self> {
        match self {
            Self::Whole { pieces, .. } => Some(Self::whole(pieces.clone())),
            Self::Stream { .. } => None,
        }
    }
}

/// What is known of a request body that streams; shared with the exchange.
pub(super) struct Upload {
    clock: Arc<ConnClock>,
    limit: u64,
    idle: Duration,
    first_byte: Duration,
    deadline: Instant,
    state: Mutex<UploadState>,
}

/// The part of an upload that changes.
pub(super) struct UploadState {
    /// What has passed.
    pub(super) capture: Capture,
    /// The client owes the next piece.
    pub(super) waits_for_client: bool,
    /// What went wrong on the client's side.
    pub(super) problem: Option<Problem>,
}

impl Upload {
    pub(super) fn new(
        clock: Arc<ConnClock>,
        capture: Capture,
        limit: u64,
        (idle, first_byte): (Duration, Duration),
        deadline: Instant,
    ) -> Self {
        let state = Mutex::new(UploadState { capture, waits_for_client: false, problem: None });
        Self { clock, limit, idle, first_byte, deadline, state }
    }

    /// The state; held for moments only.
    pub(super) fn state(&self) -> parking_lot::MutexGuard<'_, UploadState> {
        self.state.lock()
    }

    fn fail(&self, problem: Problem) -> BodyBroken {
        self.state().problem = Some(problem);
        BodyBroken
    }
}

/// A body cannot go on; why is told where the exchange is answered.
#[derive(Debug)]
pub(super) struct BodyBroken;

impl fmt::Display for BodyBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body broke off")
    }
}

impl std::error::Error for BodyBroken {}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyBroken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        match &mut *self {
            Self::Whole { pieces, next, .. } => {
                let piece = pieces.get(*next).cloned();
                *next += 1;
                Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
            }
            Self::Stream { first, .. } if !first.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(first.remove(0)))))
            }
            Self::Stream { incoming, upload, .. } => poll_upload(cx, incoming, upload),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { pieces, next, .. } => *next >= pieces.len(),
            Self::Stream { first, incoming, .. } => first.is_empty() && incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { length, .. } | Self::Stream { length: Some(length), .. } => {
                SizeHint::with_exact(*length)
            }
            Self::Stream { length: None, .. } => SizeHint::default(),
        }
    }
}

fn poll_upload(
    cx: &mut Context<'_>,
    incoming: &mut Incoming,
    upload: &Arc<Upload>,
) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
    loop {
        let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) else {
            upload.state().waits_for_client = true;
            return Poll::Pending;
        };
        let now = Instant::now();
        let mut state = upload.state();
        state.waits_for_client = false;
        match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                upload.clock.set_deadline(upload.deadline.min(now + upload.idle));
                upload.clock.set_unread(!incoming.is_end_stream());
                state.capture.see(&data);
                if state.capture.bytes() > upload.limit {
                    drop(state);
                    return Poll::Ready(Some(Err(upload.fail(too_large(upload.limit, BODY_KEY)))));
                }
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            // Request trailers are not passed on.
            Some(Ok(Err(_trailers))) => {}
            Some(Err(error)) => {
                drop(state);
                return Poll::Ready(Some(Err(upload.fail(client_body_problem(&error)))));
            }
            None => {
                upload.clock.set_deadline(upload.deadline.min(now + upload.first_byte));
                upload.clock.set_unread(false);
                return Poll::Ready(None);
            }
        }
    }
}

/// What a broken body of the client means.
pub(super) fn client_body_problem(error: &hyper::Error) -> Problem {
    let source = std::error::Error::source(error).and_then(|e| e.downcast_ref::<io::Error>());
    let gone = source.is_some_and(|io| {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        matches!(io.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
    });
    if gone || error.is_incomplete_message() {
        return Problem::new(Cause::Gone, "the client broke off in the middle of its body");
    }
    Problem::new(Cause::Malformed, format!("the body of the request is not sound: {error}"))
}

/// A response body on its way to the client.
pub(super) enum ReplyBody {
    /// All of it, and the trailers behind it.
    Whole { data: Option<Bytes>, trailers: Option<Box<HeaderMap>> },
    /// As it arrives from the backend.
    Stream(Box<StreamReply>),
    /// Messages that follow those of the client.
    Talk(Box<TalkBody>),
}

/// A response that streams, with the exchange that it ends.
pub(super) struct StreamReply {
    exchange: Box<Exchange>,
    incoming: Incoming,
    link: Option<Box<Link>>,
    idle: Duration,
    /// Bytes still to come, where the backend said how many.
    left: Option<u64>,
    ending: Option<Ending>,
    broken: bool,
    done: bool,
}

/// The record is on its way; the last byte waits for it where the durability says so.
struct Ending {
    last: Option<Frame<Bytes>>,
    record: Fate,
}

/// What is known of the record at the end of a stream.
enum Fate {
    Safe,
    Lost,
    /// Resolves to whether it is safe.
    Waiting(Pin<Box<dyn Future<Output = bool> + Send>>),
}

impl StreamReply {
    pub(super) fn new(
        exchange: Box<Exchange>,
        incoming: Incoming,
        link: Box<Link>,
        idle: Duration,
    ) -> Self {
        let left = incoming.size_hint().exact();
        Self {
            exchange,
            incoming,
            link: Some(link),
            idle,
            left,
            ending: None,
            broken: false,
            done: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        if self.ending.is_some() {
            return self.poll_ending(cx);
        }
        if self.broken {
            return Poll::Ready(Some(Err(BodyBroken)));
        }
        if self.done {
            return Poll::Ready(None);
        }
        let Some(link) = &mut self.link else { return Poll::Ready(None) };
        match link.poll_body(cx, &mut self.incoming) {
            Poll::Pending if self.exchange.clock().take_expired() => {
                let problem = self.exchange.overdue(Cause::IdleTimeout);
                self.fail(cx, &problem)
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => self.pass(cx, frame),
            Poll::Ready(Some(Err(error))) => {
                let detail = format!("the backend broke off in the middle of its answer: {error}");
                self.fail(cx, &Problem::new(Cause::Reset, detail))
            }
            Poll::Ready(None) => {
                self.end(cx, None);
                self.poll_ending(cx)
            }
        }
    }

    /// Passes a piece on, or begins the end with what is the last.
    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        frame: Frame<Bytes>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        let Some(data) = frame.data_ref() else {
            if let Some(trailers) = frame.trailers_ref() {
                self.exchange.note_trailers(trailers);
            }
            self.end(cx, Some(frame).filter(|_| self.exchange.takes_trailers()));
            return self.poll_ending(cx);
        };
        self.exchange.see_response(data);
        self.exchange.wait_until(Instant::now() + self.idle);
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        if self.left == Some(0) {
            self.end(cx, Some(frame));
            return self.poll_ending(cx);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    /// Gives the link back, records the exchange and begins to wait for the record.
    fn end(&mut self, cx: &mut Context<'_>, last: Option<Frame<Bytes>>) {
        self.exchange.note_time();
        if let Some(link) = self.link.take() {
            self.exchange.release(cx, link);
        }
        let record = match self.exchange.finish() {
            Promise::Kept => Fate::Safe,
            Promise::Broken => Fate::Lost,
            Promise::Pending(ticket) => Fate::Waiting(Box::pin(self.exchange.written(ticket))),
        };
        self.ending = Some(Ending { last, record });
    }

    fn poll_ending(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        let safe = match self.ending.as_mut().map(|ending| &mut ending.record) {
            None | Some(Fate::Safe) => true,
            Some(Fate::Lost) => false,
            Some(Fate::Waiting(record)) => {
                !self.exchange.clock().take_expired() && ready!(record.as_mut().poll(cx))
            }
        };
        let last = self.ending.take().and_then(|ending| ending.last);
        self.exchange.leave();
        if !safe && self.exchange.note_unrecorded() {
            return self.cut(cx);
        }
        self.done = true;
        Poll::Ready(last.map(Ok))
    }

    /// Records that the response broke off.
    fn fail<T>(&mut self, cx: &Context<'_>, problem: &Problem) -> Poll<T> {
        self.link = None;
        self.exchange.broke_off(problem);
        self.cut(cx)
    }

    /// Cuts the client off at the next poll: what came before is flushed until then, so that it sees
    /// how far the answer got.
    fn cut<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        self.broken = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyBroken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        match &mut *self {
            Self::Whole { data, trailers } => {
                let frame = data.take().map(Frame::data);
                Poll::Ready(
                    frame
                        .or_else(|| trailers.take().map(|trailers| Frame::trailers(*trailers)))
                        .map(Ok),
                )
            }
            Self::Stream(stream) => stream.poll(cx),
            Self::Talk(talk) => talk.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { data, trailers } => data.is_none() && trailers.is_none(),
            Self::Stream(stream) => stream.done,
            Self::Talk(talk) => talk.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { trailers: Some(_), .. } | Self::Talk(_) => SizeHint::default(),
            Self::Whole { data, trailers: None } => {
                SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64))
            }
            Self::Stream(stream) => stream.left.map(SizeHint::with_exact).unwrap_or_default(),
        }
    }
}
