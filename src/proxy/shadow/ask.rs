//! Asking the version that gets copies, as a client's request would have asked it.
//!
//! Owns which of the ways of [`direct`](crate::proxy::exchange) a copy takes, with its body at hand, and how long it
//! may take. Models of this process run on the hands of the shadow's thread, never on a worker or the executor: the
//! champion's, too, where it is one, so that both times are measured alike.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use tokio::time::timeout;

use super::hands::{Hands, HandsTerms, overdue};
use super::{Copy, Unanswered};
use crate::protocol::dialect::{Call, Dialect, parse_path};
use crate::proxy::admit::{Admitted, BodyLength};
use crate::proxy::asked::Asked;
use crate::proxy::exchange::{Answer, Exchange, copy_of};
use crate::proxy::problem::{Cause, Problem};
use crate::proxy::{grpc, local, remote, whole};
use crate::snapshot::{Dropped, LocalRuntime, RemoteRuntime, RuntimeKind};

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

/// Gets the answer to a copy. The version has `time` for it; waiting for a hand does not count.
pub(super) async fn ask(
    exchange: &mut Exchange,
    copy: &Copy,
    hands: &Hands,
    time: Duration,
) -> Result<Answered, Unanswered> {
    let snapshot = Arc::clone(&copy.snapshot);
    let call = match parse_path(copy.parts.uri.path()) {
        Ok(call) => call.filter(|call| call.operation.is_inference()),
        Err(error) => return Err(Problem::new(Cause::Malformed, error.to_string()).into()),
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
            // Reading is the gateway's own work.
            let asked = timeout(time, read(exchange, call, copy)).await;
            let asked = asked.map_err(|_late| Unanswered::Dropped(Dropped::Late))??;
            ask_local(exchange, (runtime, beside), asked, copy, (hands, time)).await
        }
        RuntimeKind::Local(None) => {
            Err(Problem::new(Cause::NoReadyVersion, "the version is not loaded").into())
        }
        RuntimeKind::Remote(runtime) => {
            let answered = async {
                let answer = ask_remote(exchange, runtime, call, copy).await?;
                gathered(exchange, answer).await
            };
            let answered = timeout(time, answered).await;
            Ok(answered.unwrap_or_else(|_late| Err(overdue()))?)
        }
    }
}

/// What is asked of a model of this process.
async fn read(
    exchange: &mut Exchange,
    call: Option<Call<'_>>,
    copy: &Copy,
) -> Result<Asked, Problem> {
    let headers = &copy.parts.headers;
    if exchange.is_grpc() {
        let message = grpc::message_of_copy(exchange, headers, &copy.request).await?;
        return Asked::message(exchange, message);
    }
    let form = local::form_of(exchange, call, &copy.parts)?;
    Asked::whole(exchange, form, headers, copy.request.clone()).await
}

async fn ask_local(
    exchange: &mut Exchange,
    (runtime, beside): (&LocalRuntime, Option<&LocalRuntime>),
    asked: Asked,
    copy: &Copy,
    (hands, time): (&Hands, Duration),
) -> Result<Answered, Unanswered> {
    let terms = HandsTerms { trial: &copy.trial, by: (copy.ready + time).into(), time };
    let place = Arc::clone(&copy.place);
    let aside =
        local::predict_aside(exchange, (runtime, beside), asked, (hands, terms), place).await?;
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
    let (parts, pieces) = (copy_of(&copy.parts), copy.request.clone());
    if exchange.is_grpc() {
        return grpc::serve_copy(exchange, copy.decision, parts, &admitted, pieces).await;
    }
    whole::ask_backends(exchange, runtime, call, parts, &admitted, pieces).await
}

/// All of an answer.
async fn gathered(exchange: &mut Exchange, answer: Answer) -> Result<Answered, Problem> {
    match answer {
        Answer::Whole(response) => Ok(Answered::of(response)),
        Answer::Trailed(response, trailers) => Ok(Answered { trailers, ..Answered::of(response) }),
        Answer::Stream(streaming) => {
            let (response, trailers) = remote::gather(exchange, *streaming).await?;
            Ok(Answered { trailers, ..Answered::of(response) })
        }
        Answer::Talk(_) => Err(Problem::new(Cause::Unsupported, "streams are not copied")),
    }
}
