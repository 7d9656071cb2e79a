//! `ModelInfer`: one prediction.
//!
//! Owns the look at the names in the message, which routing needs, and putting other names in their
//! place for a backend. The rest of the message is not touched on its way to a backend that speaks gRPC, unless it
//! asks for classes that the backend does not make.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use hyper::body::Incoming;
use prost::Message as _;
use prost::encoding::string;

use super::message::{encoding, only_frame, plain, read_unnoted};
use super::well;
use crate::domain::routing::{Decision, ModelCall};
use crate::domain::spec::SpokenDialect;
use crate::protocol::dialect::{Dialect, Operation};
use crate::protocol::grpc::{PREFIX_BYTES, prefix};
use crate::protocol::open_inference::grpc::wants_classes;
use crate::proxy::admit::Admitted;
use crate::proxy::asked::Asked;
use crate::proxy::body::{Pieces, RequestBody};
use crate::proxy::coding::Coding;
use crate::proxy::exchange::{Answer, Exchange, copy_of};
use crate::proxy::names::origin;
use crate::proxy::problem::{Cause, Problem};
use crate::proxy::{local, remote, translate};
use crate::snapshot::{RemoteNames, RemoteRuntime, RuntimeKind};

/// The names in a `ModelInferRequest`; its other fields are passed over.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Names {
    #[prost(string, tag = "1")]
    pub(super) model: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
    #[prost(string, tag = "3")]
    pub(super) id: String,
}

impl Names {
    /// What routing is told.
    pub(super) fn call(&self) -> ModelCall<'_> {
        let version = Some(self.version.as_str()).filter(|version| !version.is_empty());
        ModelCall { model: self.model.as_str().into(), version: version.map(Into::into) }
    }

    /// Whether a backend must be told other names.
    pub(super) fn differ(&self, names: &RemoteNames) -> bool {
        names.model.as_ref().is_some_and(|name| *name != self.model)
            || self.version != names.version.as_deref().unwrap_or_default()
    }
}

/// Gets the answer to one prediction.
pub(super) async fn answer(
    exchange: &mut Exchange,
    parts: Parts,
    admitted: &Admitted,
    incoming: Incoming,
) -> Result<Answer, Problem> {
    let read = read_names(exchange, &parts, incoming).await;
    // The record has what was sent, also where nothing can be made of it.
    let decided = match &read {
        Ok((_, message)) => names_of(message).and_then(|names| {
            let decision = exchange.choose(&parts, admitted, Some(names.call()));
            decision.map(|decision| (decision, names))
        }),
        Err((problem, _)) => Err(problem.clone()),
    };
    exchange.note_request(&parts.headers);
    let (pieces, message) = match read {
        Ok(read) => read,
        Err((problem, pieces)) => {
            pieces.iter().for_each(|piece| exchange.see_request(piece));
            return Err(problem);
        }
    };
    let decided = match decided {
        Ok(decided) => decided,
        Err(problem) => {
            pieces.iter().for_each(|piece| exchange.see_request(piece));
            return Err(problem);
        }
    };
    let (decision, names) = decided;
    exchange.enter(decision);
    exchange.begin_copy(&parts, admitted);
    pieces.iter().for_each(|piece| exchange.see_request(piece));
    exchange.await_room().await?;
    if exchange.may_fall_back(&decision) {
        let tried = serve_tried(exchange, decision, &names, parts, admitted, (pieces, message));
        return Box::pin(tried).await;
    }
    serve(exchange, decision, &names, parts, admitted, pieces, message).await
}

/// Gets the answer to a prediction that is part of a trial, or the other version's where there is none.
async fn serve_tried(
    exchange: &mut Exchange,
    decision: Decision,
    names: &Names,
    mut parts: Parts,
    admitted: &Admitted,
    (pieces, message): (Pieces, Bytes),
) -> Result<Answer, Problem> {
    let began = exchange.note_time();
    let (first, body) = (copy_of(&parts), (pieces.clone(), message.clone()));
    let tried = serve(exchange, decision, names, first, admitted, body.0, body.1).await;
    let Err(problem) = tried else { return tried };
    match exchange.fall_back(began, &problem, &mut parts.headers) {
        Some(second) => serve(exchange, second, names, parts, admitted, pieces, message).await,
        None => Err(problem),
    }
}

/// Reads the body and its message, or says what was read and why it is none.
async fn read_names(
    exchange: &mut Exchange,
    parts: &Parts,
    incoming: Incoming,
) -> Result<(Pieces, Bytes), (Problem, Pieces)> {
    let pieces = match read_unnoted(exchange, incoming).await {
        Ok(pieces) => pieces,
        Err(problem) => return Err((problem, Pieces::new())),
    };
    match message_in(exchange, parts, &pieces).await {
        Ok(message) => Ok((pieces, message)),
        Err(problem) => Err((problem, pieces)),
    }
}

async fn message_in(
    exchange: &mut Exchange,
    parts: &Parts,
    pieces: &Pieces,
) -> Result<Bytes, Problem> {
    let coding = encoding(&parts.headers)?;
    let frame = only_frame(exchange, pieces.iter().cloned())?;
    let message = plain(exchange, frame, coding).await?;
    // Of a frame that came in several pieces, or compressed, there are two copies.
    if pieces.len() > 1 || coding != Coding::Identity {
        exchange.hold(message.len())?;
    }
    Ok(message)
}

/// The names in a message.
pub(super) fn names_of(message: &Bytes) -> Result<Names, Problem> {
    Names::decode(message.clone()).map_err(|error| {
        Problem::new(Cause::BadInput, format!("the message is not valid: {error}"))
    })
}

/// The message of a copy.
pub(in crate::proxy) async fn message_of_copy(
    exchange: &mut Exchange,
    headers: &HeaderMap,
    pieces: &Pieces,
) -> Result<Bytes, Problem> {
    let frame = only_frame(exchange, pieces.iter().cloned())?;
    plain(exchange, frame, encoding(headers)?).await
}

/// Gets the answer to a copy of one prediction.
pub(in crate::proxy) async fn serve_copy(
    exchange: &mut Exchange,
    decision: Decision,
    parts: Parts,
    admitted: &Admitted,
    pieces: Pieces,
) -> Result<Answer, Problem> {
    let message = message_of_copy(exchange, &parts.headers, &pieces).await?;
    let names = names_of(&message)?;
    serve(exchange, decision, &names, parts, admitted, pieces, message).await
}

async fn serve(
    exchange: &mut Exchange,
    decision: Decision,
    names: &Names,
    mut parts: Parts,
    admitted: &Admitted,
    pieces: Pieces,
    message: Bytes,
) -> Result<Answer, Problem> {
    let snapshot = Arc::clone(exchange.held());
    match &snapshot.target(decision.target).kind {
        RuntimeKind::Local(Some(runtime)) => {
            let asked = Asked::message(exchange, message)?;
            local::predict(exchange, runtime, asked).await.map(well)
        }
        RuntimeKind::Local(None) => {
            Err(Problem::new(Cause::NoReadyVersion, "the version is not loaded"))
        }
        RuntimeKind::Remote(runtime) => {
            let spoken = spoken(runtime)?;
            if spoken != Dialect::OpenInferenceGrpc || needs_more(runtime, &message) {
                let asked = Asked::message(exchange, message)?;
                remote::prepare(exchange, &mut parts, admitted);
                let operation = Operation::Infer;
                return translate::predict(exchange, spoken, operation, parts, asked).await;
            }
            let other = &runtime.spoken.names;
            let pieces = if names.differ(other) {
                parts.headers.remove("grpc-encoding");
                parts.headers.remove(CONTENT_LENGTH);
                std::iter::once(renamed(&message, other)?).collect()
            } else {
                pieces
            };
            remote::prepare(exchange, &mut parts, admitted);
            parts.uri = origin(&parts.uri);
            remote::forward(exchange, runtime, parts, RequestBody::whole(pieces), true).await
        }
    }
}

/// What the backends speak, for a client that speaks gRPC.
pub(super) fn spoken(runtime: &RemoteRuntime) -> Result<Dialect, Problem> {
    match (runtime.spoken.declared, runtime.spoken.dialect) {
        (_, Some(dialect)) => Ok(dialect),
        (SpokenDialect::OfTheClient, None) if runtime.http2 => Ok(Dialect::OpenInferenceGrpc),
        (SpokenDialect::OfTheClient, None) => {
            let detail =
                "the backends speak HTTP/1.1, which has no gRPC: a `dialect` must be declared";
            // Asking again does not help.
            Err(Problem::new(Cause::Unsupported, detail))
        }
        (_, None) => Err(translate::unknown_dialect(runtime)),
    }
}

/// Whether a message asks for the classes of an output, of a backend that has told that it does not make them.
pub(super) fn needs_more(runtime: &RemoteRuntime, message: &[u8]) -> bool {
    let lacks = runtime.spoken.extensions.is_some_and(|known| !known.classification);
    lacks && wants_classes(message)
}

/// The same message with other names, framed: of a field that occurs more than once the last counts
/// (<https://protobuf.dev/programming-guides/encoding/#last-one-wins>), so that they are appended.
fn renamed(message: &Bytes, names: &RemoteNames) -> Result<Bytes, Problem> {
    let mut tail = BytesMut::new();
    if let Some(model) = &names.model {
        string::encode(1, model, &mut tail);
    }
    string::encode(2, &names.version.clone().unwrap_or_default(), &mut tail);
    let length = message.len() + tail.len();
    let prefix = prefix(false, length)
        .map_err(|error| Problem::new(Cause::BodyTooLarge, error.to_string()))?;
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + length);
    framed.put_slice(&prefix);
    framed.put_slice(message);
    framed.put_slice(&tail);
    Ok(framed.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::open_inference::grpc::ModelInferRequest;

    #[test]
    fn a_backend_is_told_its_own_names_and_the_rest_stays() {
        let request = ModelInferRequest {
            model_name: "m".into(),
            model_version: "prod".into(),
            id: "42".into(),
            raw_input_contents: vec![Bytes::from_static(b"1234")],
            ..ModelInferRequest::default()
        };
        let message = Bytes::from(request.encode_to_vec());
        let names = names_of(&message).unwrap();
        assert_eq!(names.call().version.as_deref(), Some("prod"));
        let same = RemoteNames { model: None, version: Some("prod".into()) };
        assert!(!names.differ(&same));
        for (model, version) in [(Some("other"), Some("3")), (None, None)] {
            let other =
                RemoteNames { model: model.map(Into::into), version: version.map(Into::into) };
            assert!(names.differ(&other));
            let framed = renamed(&message, &other).unwrap();
            let read = ModelInferRequest::decode(&framed[PREFIX_BYTES..]).unwrap();
            assert_eq!(read.model_name, model.unwrap_or("m"));
            assert_eq!(read.model_version, version.unwrap_or(""));
            assert_eq!(
                (read.id, read.raw_input_contents),
                (request.id.clone(), request.raw_input_contents.clone())
            );
        }
    }
}
