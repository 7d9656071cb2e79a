//! Asking the version that gets copies, as a client's request would have asked it.
//!
//! Owns which of the ways of [`direct`](crate::proxy::exchange) a copy takes, with its body at hand. Models of
//! this process run on the hands of the shadow's thread, never on a worker or the executor: the champion's, too, where
//! it is one, so that both times are measured alike.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};

use super::Copy;
use crate::domain::routing::Decision;
use crate::domain::spec::SpokenDialect;
use crate::protocol::dialect::{Call, Dialect, Operation, Release, parse_path, same_wire};
use crate::proxy::admit::{Admitted, BodyLength};
use crate::proxy::asked::Asked;
use crate::proxy::exchange::{Answer, Exchange, copy_of};
use crate::proxy::problem::{Cause, Problem};
use crate::proxy::{extensions, grpc, local, remote, translate};
use crate::snapshot::{LocalRuntime, RemoteRuntime, RuntimeKind};

/// The answer to a copy.
pub(super) struct Answered {
    pub(super) response: Response<Bytes>,
    pub(super) trailers: HeaderMap,
    /// How long the champion and the version took, where both were run side by side.
    pub(super) times: Option<(Duration, Duration)>,
}

impl Answered {
    fn of(response: Response<Bytes>) -> Self {
        Self { response, trailers: HeaderMap::new(), times: None }
    }
}

/// The problem of a version that did not answer in time.
pub(super) fn overdue() -> Problem {
    Problem::new(Cause::RequestTimeout, "the version did not answer the copy in time")
}

/// Gets the answer to a copy.
pub(super) async fn ask(exchange: &mut Exchange, copy: &Copy) -> Result<Answered, Problem> {
    let snapshot = Arc::clone(&copy.snapshot);
    let call = match parse_path(copy.parts.uri.path()) {
        Ok(call) => call.filter(|call| call.operation.is_inference()),
        Err(error) => return Err(Problem::new(Cause::Malformed, error.to_string())),
    };
    if exchange.is_grpc() {
        exchange.speaks(Dialect::OpenInferenceGrpc);
    } else if let Some(call) = &call {
        exchange.speaks(call.dialect);
    }
    match &snapshot.target(copy.decision.target).kind {
        RuntimeKind::Local(Some(runtime)) => {
            let beside = match &snapshot.target(copy.champion.target).kind {
                RuntimeKind::Local(Some(champion)) => Some(champion),
                RuntimeKind::Local(None) | RuntimeKind::Remote(_) => None,
            };
            ask_local(exchange, (runtime, beside), call, copy).await
        }
        RuntimeKind::Local(None) => {
            Err(Problem::new(Cause::NoReadyVersion, "the version is not loaded"))
        }
        RuntimeKind::Remote(runtime) => {
            let answer = ask_remote(exchange, runtime, call, copy).await?;
            whole(exchange, answer).await
        }
    }
}

async fn ask_local(
    exchange: &mut Exchange,
    (runtime, beside): (&LocalRuntime, Option<&LocalRuntime>),
    call: Option<Call<'_>>,
    copy: &Copy,
) -> Result<Answered, Problem> {
    let asked = if exchange.is_grpc() {
        Asked::message(grpc::message_of_copy(exchange, &copy.parts.headers, &copy.request)?)?
    } else if copy.parts.method == Method::POST {
        let (dialect, operation) = call
            .map_or((Dialect::OpenInference, Operation::Infer), |call| {
                (call.dialect, call.operation)
            });
        exchange.speaks(dialect);
        let headers = &copy.parts.headers;
        Asked::whole(exchange, (dialect, operation), headers, copy.request.clone())?
    } else {
        return Err(Problem::method("a prediction is asked for with POST", "POST"));
    };
    let aside = local::predict_aside(exchange, runtime, beside, asked).await?;
    let trailers = if exchange.is_grpc() { grpc::ok_trailers() } else { HeaderMap::new() };
    Ok(Answered { response: aside.response, trailers, times: aside.times })
}

async fn ask_remote(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    call: Option<Call<'_>>,
    copy: &Copy,
) -> Result<Answer, Problem> {
    let length = copy.request.iter().map(|piece| piece.len() as u64).sum();
    let admitted = Admitted { authority: copy.authority.clone(), body: BodyLength::Known(length) };
    let parts = copy_of(&copy.parts);
    let pieces = copy.request.clone();
    if exchange.is_grpc() {
        let decision: Decision = copy.decision;
        return grpc::serve_copy(exchange, decision, parts, &admitted, pieces).await;
    }
    let spoken = match (call.as_ref(), runtime.spoken.declared) {
        (None, _) | (_, SpokenDialect::OfTheClient) => None,
        (Some(_), _) => Some(runtime.spoken.dialect.ok_or_else(translate::unknown_dialect)?),
    };
    match (call, spoken) {
        (Some(call), Some(spoken)) if !same_wire(call.dialect, spoken) => {
            let form = (call.dialect, call.operation);
            let asked = Asked::whole(exchange, form, &parts.headers, pieces)?;
            let mut parts = parts;
            remote::prepare(exchange, &mut parts, &admitted);
            translate::predict(exchange, runtime, spoken, call.operation, parts, &asked).await
        }
        (Some(mut call), Some(Dialect::OpenInference)) => {
            // The client may have named the champion by its path.
            call.release = Release::Any;
            extensions::answer_whole(exchange, runtime, &call, parts, &admitted, pieces).await
        }
        (call, _) => {
            remote::answer_whole(exchange, runtime, call.as_ref(), parts, &admitted, pieces).await
        }
    }
}

/// All of an answer.
async fn whole(exchange: &mut Exchange, answer: Answer) -> Result<Answered, Problem> {
    match answer {
        Answer::Whole(response) => Ok(Answered::of(response)),
        Answer::Message(response) => {
            Ok(Answered { trailers: grpc::ok_trailers(), ..Answered::of(response) })
        }
        Answer::Stream(streaming) => {
            let (response, trailers) = remote::gather(exchange, *streaming).await?;
            Ok(Answered { trailers, ..Answered::of(response) })
        }
        Answer::Talk(_) => Err(Problem::new(Cause::Unsupported, "streams are not copied")),
    }
}
