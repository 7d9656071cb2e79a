//! Predictions of backends that speak the Open Inference Protocol as their client does, but may lack an
//! extension of it.
//!
//! Owns whether a request needs what its backend does not have: binary tensors, or classes of outputs.
//! Then it goes through tensors, as if the backend spoke another dialect; else it passes as it is. To
//! tell, a body is read whole first. Never asks a backend what it has.

use http::request::Parts;
use hyper::body::Incoming;

use super::admit::Admitted;
use super::asked::Asked;
use super::body::Pieces;
use super::exchange::{Answer, Exchange};
use super::problem::Problem;
use super::remote::{self, read_whole};
use super::translate::{self, HEAD_LENGTH};
use crate::protocol::dialect::{Call, Dialect, Extensions, Terms};
use crate::protocol::open_inference::OutputForms;
use crate::snapshot::RemoteRuntime;

/// What stands in a body that asks for a form of outputs: parsing what has none of it is spared.
const TELLING: [&str; 2] = ["binary_data", "classification"];

/// Gets the answer of a backend.
pub(super) async fn answer(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    call: &Call<'_>,
    parts: Parts,
    admitted: &Admitted,
    incoming: Incoming,
) -> Result<Answer, Problem> {
    if lacking(runtime).is_none() {
        return remote::answer(exchange, runtime, Some(call), parts, admitted, incoming).await;
    }
    let pieces = read_whole(exchange, incoming).await?;
    answer_whole(exchange, runtime, call, parts, admitted, pieces).await
}

/// What the backends have, where that is not everything.
fn lacking(runtime: &RemoteRuntime) -> Option<Extensions> {
    runtime.spoken.extensions.filter(|known| !(known.binary_tensors && known.classification))
}

/// The same, with a body that is here.
pub(super) async fn answer_whole(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    call: &Call<'_>,
    mut parts: Parts,
    admitted: &Admitted,
    pieces: Pieces,
) -> Result<Answer, Problem> {
    let spoken = Dialect::OpenInference;
    let Some(known) = lacking(runtime) else {
        return remote::answer_whole(exchange, runtime, Some(call), parts, admitted, pieces).await;
    };
    let form = (call.dialect, call.operation);
    let is_binary = parts.headers.contains_key(&HEAD_LENGTH);
    // What cannot be read here is the backend's to refuse, but for what it does not have at all.
    let asked = match Asked::whole(exchange, form, &parts.headers, pieces.clone()) {
        Err(problem) if is_binary && !known.binary_tensors => return Err(problem),
        asked => asked.ok(),
    };
    let must = |asked: &Asked| is_binary && !known.binary_tensors || needs_more(asked, known);
    match asked.filter(must) {
        Some(asked) => {
            remote::prepare(exchange, &mut parts, admitted);
            translate::predict(exchange, runtime, spoken, call.operation, parts, &asked).await
        }
        None => remote::answer_whole(exchange, runtime, Some(call), parts, admitted, pieces).await,
    }
}

/// Whether a request wants outputs in a form that a backend does not have.
fn needs_more(asked: &Asked, known: Extensions) -> bool {
    let told = std::str::from_utf8(asked.head())
        .is_ok_and(|json| TELLING.iter().any(|telling| json.contains(telling)));
    if !told {
        return false;
    }
    let Ok((request, _)) = asked.decode(&Terms::default()) else { return false };
    OutputForms::of(&request).is_ok_and(|forms| {
        forms.wants_binary() && !known.binary_tensors
            || forms.wants_classes() && !known.classification
    })
}
