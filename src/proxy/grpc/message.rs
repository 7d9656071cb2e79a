//! Messages of gRPC out of a request's body.
//!
//! Owns the bounds on them, compressed and plain. Never knows what is in a message.

use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http::header::HeaderName;
use hyper::body::{Body as _, Incoming};

use crate::protocol::grpc::{Frame, FrameError, FrameReader};
use crate::proxy::admit::{BODY_KEY, too_large};
use crate::proxy::body::{Pieces, client_body_problem};
use crate::proxy::coding::Coding;
use crate::proxy::exchange::Exchange;
use crate::proxy::offload::inflated;
use crate::proxy::problem::{Cause, Problem};

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// How the messages of a request are compressed.
pub(in crate::proxy) fn encoding(headers: &HeaderMap) -> Result<Coding, Problem> {
    match headers.get(&GRPC_ENCODING) {
        None => Ok(Coding::Identity),
        Some(value) => Coding::parse(value.as_bytes()).ok_or_else(|| {
            Problem::new(Cause::Encoding, "`grpc-encoding` is not identity, gzip or deflate")
        }),
    }
}

/// A reader of messages that are as long as a body may be.
pub(in crate::proxy) fn reader(exchange: &Exchange) -> FrameReader {
    let limit = exchange.context.worker.gateway.limits.body;
    FrameReader::new(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// What is wrong with the framing.
pub(in crate::proxy) fn framing(error: FrameError) -> Problem {
    let cause = match &error {
        FrameError::TooLong { .. } => Cause::BodyTooLarge,
        FrameError::Flag(_) | FrameError::Truncated => Cause::BadInput,
    };
    Problem::new(cause, error.to_string())
}

/// A message as it was before it was compressed.
pub(in crate::proxy) async fn plain(
    exchange: &mut Exchange,
    frame: Frame,
    coding: Coding,
) -> Result<Bytes, Problem> {
    match (frame.compressed, coding) {
        (false, _) => Ok(frame.payload),
        (true, Coding::Identity) => {
            let detail = "a message is compressed, but there is no `grpc-encoding`";
            Err(Problem::new(Cause::BadInput, detail))
        }
        (true, coding) => inflated(exchange, coding, frame.payload).await,
    }
}

/// The next piece of a body; `None` at its end.
pub(in crate::proxy) async fn pass(
    exchange: &Exchange,
    incoming: &mut Incoming,
    until: Instant,
) -> Result<Option<Bytes>, Problem> {
    loop {
        let next = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *incoming).poll_frame(cx));
        match exchange.context.clock.within(until, next).await {
            Err(_expired) => return Err(exchange.overdue(Cause::BodyTimeout)),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(client_body_problem(&error)),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Reads a body to its end without noting it for the record.
pub(in crate::proxy) async fn read_unnoted(
    exchange: &mut Exchange,
    mut incoming: Incoming,
) -> Result<Pieces, Problem> {
    let limits = exchange.context.worker.gateway.limits;
    let (mut pieces, mut seen) = (Pieces::new(), 0);
    while !incoming.is_end_stream() {
        let until = exchange.deadline().min(Instant::now() + limits.header_time);
        let Some(piece) = pass(exchange, &mut incoming, until).await? else { break };
        seen += piece.len() as u64;
        if seen > limits.body {
            return Err(too_large(limits.body, BODY_KEY));
        }
        exchange.hold(piece.len())?;
        pieces.push(piece);
    }
    exchange.clock().set_unread(false);
    Ok(pieces)
}

/// The only message of a body.
pub(in crate::proxy) fn only_frame(
    exchange: &Exchange,
    pieces: impl IntoIterator<Item = Bytes>,
) -> Result<Frame, Problem> {
    let mut reader = reader(exchange);
    pieces.into_iter().for_each(|piece| reader.push(piece));
    let frame = reader.next_frame().map_err(framing)?;
    let frame = frame.ok_or_else(|| framing(FrameError::Truncated))?;
    if reader.waiting() > 0 {
        return Err(Problem::new(
            Cause::BadInput,
            "the call takes one message, and there are more",
        ));
    }
    Ok(frame)
}

/// Reads the only message of a body.
pub(in crate::proxy) async fn read_message<M: prost::Message + Default>(
    exchange: &mut Exchange,
    headers: &HeaderMap,
    incoming: Incoming,
) -> Result<M, Problem> {
    let coding = encoding(headers)?;
    let pieces = read_unnoted(exchange, incoming).await?;
    let frame = only_frame(exchange, pieces)?;
    let message = plain(exchange, frame, coding).await?;
    M::decode(message).map_err(|error| {
        Problem::new(Cause::BadInput, format!("the message is not valid: {error}"))
    })
}
