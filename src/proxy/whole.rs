//! Answers to requests whose bodies are here: copies, and requests that may be asked twice.
//!
//! Owns which way such a request takes to the version that was decided for; they are those of
//! [`exchange`](super::exchange), less the reading of the body. Never decides who answers.

use std::sync::Arc;

use http::request::Parts;

use super::admit::Admitted;
use super::asked::Asked;
use super::body::Pieces;
use super::exchange::{Answer, Exchange};
use super::problem::{Cause, Problem};
use super::{extensions, local, remote, translate};
use crate::domain::routing::TargetIx;
use crate::domain::spec::SpokenDialect;
use crate::protocol::dialect::{Call, Dialect, same_wire};
use crate::snapshot::{RemoteRuntime, RuntimeKind};

/// Gets the answer of `target`, for which the exchange was decided, to a request over REST for a prediction.
pub(super) async fn answer(
    exchange: &mut Exchange,
    target: TargetIx,
    call: Option<Call<'_>>,
    parts: Parts,
    admitted: &Admitted,
    pieces: Pieces,
) -> Result<Answer, Problem> {
    let snapshot = Arc::clone(exchange.held());
    match &snapshot.target(target).kind {
        RuntimeKind::Local(Some(runtime)) => {
            local::answer_whole(exchange, runtime, call, parts, pieces).await
        }
        RuntimeKind::Local(None) => {
            Err(Problem::new(Cause::NoReadyVersion, "the version is not loaded"))
        }
        RuntimeKind::Remote(runtime) => {
            ask_backends(exchange, runtime, call, parts, admitted, pieces).await
        }
    }
}

/// Gets the answer of a backend.
pub(super) async fn ask_backends(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    call: Option<Call<'_>>,
    mut parts: Parts,
    admitted: &Admitted,
    pieces: Pieces,
) -> Result<Answer, Problem> {
    let spoken = spoken(runtime, call.as_ref())?;
    match (call, spoken) {
        (Some(call), Some(spoken)) if !same_wire(&call, spoken) => {
            let form = (call.dialect, call.operation);
            let asked = Asked::whole(exchange, form, &parts.headers, pieces).await?;
            remote::prepare(exchange, &mut parts, admitted);
            translate::predict(exchange, spoken, call.operation, parts, asked).await
        }
        (Some(call), Some(Dialect::OpenInference)) => {
            extensions::answer_whole(exchange, runtime, &call, parts, admitted, pieces).await
        }
        (call, _) => {
            remote::answer_whole(exchange, runtime, call.as_ref(), parts, admitted, pieces).await
        }
    }
}

/// What the backends speak, where that matters: a path of no dialect passes as it is, as everything does where they
/// speak what the client speaks.
pub(super) fn spoken(
    runtime: &RemoteRuntime,
    call: Option<&Call<'_>>,
) -> Result<Option<Dialect>, Problem> {
    match (call, runtime.spoken.declared) {
        (None, _) | (_, SpokenDialect::OfTheClient) => Ok(None),
        (Some(_), _) => {
            let known = runtime.spoken.dialect;
            known.ok_or_else(|| translate::unknown_dialect(runtime)).map(Some)
        }
    }
}
