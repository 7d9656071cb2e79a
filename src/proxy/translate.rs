//! Answers from backends that speak another dialect than the client.
//!
//! Owns the way of one prediction through the tensor form: the client's request is read whole, written
//! anew for the backend, and the backend's answer is written anew for the client. Bodies are bounded by
//! `limits.body` on both ways. What a client asks about a model is answered in this gateway's names.
//! Never chooses whether to translate.

use std::time::Instant;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, TE,
};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::admit::Admitted;
use super::asked::{Asked, joined};
use super::body::RequestBody;
use super::builtin::version_status;
use super::exchange::{Answer, Exchange};
use super::problem::{Cause, Problem};
use super::remote::{self, Whole};
use crate::domain::routing::TargetKind;
use crate::protocol::dialect::{
    AnswerError, Asked as Wanted, BackendFailure, Body, Call, Dialect, EncodeError, Operation,
    Release, Signature, Target, Terms, about, decode_response, encode_request, no_labels, probe,
};
use crate::protocol::grpc::{UnaryError, format_timeout, unary_message};
use crate::protocol::infer::InferResponse;
use crate::protocol::open_inference::{HEAD_LENGTH_HEADER, ModelMetadata, OutputForms};
use crate::snapshot::RemoteRuntime;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
pub(super) const HEAD_LENGTH: HeaderName = HeaderName::from_static(HEAD_LENGTH_HEADER);

/// What the client said about its own body and the form of its answer.
const ABOUT_BODY: [HeaderName; 8] = [
    CONTENT_LENGTH,
    CONTENT_TYPE,
    CONTENT_ENCODING,
    ACCEPT,
    ACCEPT_ENCODING,
    HEAD_LENGTH,
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-accept-encoding"),
];

/// Gets the answer of a backend that speaks `spoken`.
pub(super) async fn answer(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    spoken: Dialect,
    call: &Call<'_>,
    mut parts: Parts,
    admitted: &Admitted,
    incoming: Incoming,
) -> Result<Answer, Problem> {
    if !call.operation.is_inference() {
        return about_model(exchange, runtime, spoken, call, parts, admitted).await;
    }
    let asked =
        Asked::read(exchange, (call.dialect, call.operation), &parts.headers, incoming).await?;
    let operation = call.operation;
    remote::prepare(exchange, &mut parts, admitted);
    predict(exchange, runtime, spoken, operation, parts, &asked).await
}

/// A prediction; `parts` are prepared for the backend.
pub(super) async fn predict(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    spoken: Dialect,
    operation: Operation,
    parts: Parts,
    asked: &Asked,
) -> Result<Answer, Problem> {
    Ok(match translated(exchange, runtime, spoken, operation, parts, asked).await? {
        Ok(response) if exchange.is_grpc() => Answer::Message(response),
        Ok(response) => Answer::Whole(response),
        Err(failure) => Answer::Whole(exchange.failure_response(failure.status, &failure.message)),
    })
}

/// A prediction in the client's form, or the backend's refusal; `parts` are prepared for the backend.
pub(super) async fn translated(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    spoken: Dialect,
    operation: Operation,
    mut parts: Parts,
    asked: &Asked,
) -> Result<Result<Response<Bytes>, BackendFailure>, Problem> {
    let Some(TargetKind::Version(model, version)) = exchange.target_kind().cloned() else {
        return Err(Problem::new(Cause::NoRoute, "a pool has no dialect to translate into"));
    };
    let terms = terms(runtime);
    let (mut request, form) = asked.decode(&terms)?;
    if spoken != Dialect::TensorflowServing {
        asked.check_signature(&request)?;
    }
    // The answer is given its form here.
    OutputForms::take_from(&mut request);
    exchange.note_rows(&request.inputs);
    // Backends of the Open Inference Protocol tell what is wrong by themselves; others guess.
    let is_typed = matches!(spoken, Dialect::OpenInference | Dialect::OpenInferenceGrpc);
    if let Some(signature) = terms.signature.filter(|_| !is_typed)
        && let Some(misfit) = signature.misfit(&request)
    {
        return Err(Problem::new(Cause::BadInput, misfit));
    }
    let target = target(runtime, spoken, model.as_str(), terms);
    let wanted = Wanted::of(&request);
    let outgoing = encode_request(&target, operation, request).map_err(unwritable)?;
    let (head, body) = outgoing.into_parts();
    for name in &ABOUT_BODY {
        parts.headers.remove(name);
    }
    (parts.method, parts.uri) = (head.method, head.uri);
    parts.headers.extend(head.headers);
    if spoken == Dialect::OpenInferenceGrpc {
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
        let left = exchange.deadline().saturating_duration_since(Instant::now());
        if let Ok(timeout) = HeaderValue::from_str(&format_timeout(left)) {
            parts.headers.insert(GRPC_TIMEOUT, timeout);
        }
    }
    let body = RequestBody::whole(body.into_iter().collect());
    let asked = remote::ask_whole(exchange, runtime, Request::from_parts(parts, body));
    let mut whole = asked.await?;
    if spoken == Dialect::OpenInferenceGrpc {
        whole = match message_of(whole)? {
            Ok(whole) => whole,
            Err(failure) => return Ok(Err(failure)),
        };
    }
    let Whole { head, body, .. } = whole;
    let body = Body::new(spoken, &head.headers, [body])
        .map_err(|error| Problem::new(Cause::Translation, error.to_string()))?;
    match decode_response(&target, operation, &wanted, head.status, &body) {
        Ok(response) => {
            let response = InferResponse {
                model_name: model.as_str().into(),
                model_version: version.as_str().into(),
                ..response
            };
            form.encode(response, no_labels).map(Ok)
        }
        Err(AnswerError::Failed(failure)) => Ok(Err(failure)),
        Err(error) => Err(Problem::new(Cause::Translation, error.to_string())),
    }
}

/// The message of a backend's answer over gRPC; its refusal where it has none.
fn message_of(whole: Whole) -> Result<Result<Whole, BackendFailure>, Problem> {
    let (head, status) = (&whole.head.headers, whole.head.status.as_u16());
    match unary_message(status, head, &whole.trailers, &whole.body) {
        Ok(body) => Ok(Ok(Whole { body, ..whole })),
        Err(UnaryError::Failed { code, message }) => {
            let status =
                StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::BAD_GATEWAY);
            Ok(Err(BackendFailure { status, message }))
        }
        Err(error) => {
            let detail = format!("the backend's answer cannot be read: {error}");
            Err(Problem::new(Cause::Translation, detail))
        }
    }
}

fn unsound_path() -> Problem {
    Problem::new(Cause::Translation, "the names of the model cannot stand in a path")
}

/// The refusal of a call while it is not known what the backends speak.
pub(super) fn unknown_dialect() -> Problem {
    let detail = "it is not known yet what the backends speak: none of them has told";
    Problem::new(Cause::UnknownDialect, detail)
}

/// What is known about the model at the backends.
fn terms(runtime: &RemoteRuntime) -> Terms<'_> {
    let description = runtime.spoken.description.as_deref();
    Terms {
        signature: description.and_then(Signature::of),
        extractors: runtime.spoken.extractors.as_ref(),
    }
}

fn target<'a>(
    runtime: &'a RemoteRuntime,
    spoken: Dialect,
    model: &'a str,
    terms: Terms<'a>,
) -> Target<'a> {
    let names = &runtime.spoken.names;
    let release = match &names.version {
        Some(version) => Release::Version(version.as_str().into()),
        None => Release::Any,
    };
    let model = names.model.as_deref().unwrap_or(model);
    Target {
        terms,
        path: runtime.spoken.path.as_deref(),
        binary: runtime.spoken.extensions.is_some_and(|known| known.binary_tensors),
        ..Target::new(spoken, model, release)
    }
}

/// What cannot be written for the backend: the client asks for what its dialect does not have.
fn unwritable(error: EncodeError) -> Problem {
    let cause = match &error {
        EncodeError::NoOperation { .. } => Cause::Unsupported,
        _ => Cause::BadInput,
    };
    Problem::new(cause, error.to_string())
}

/// Whether a call is about one model, which has other names at its backends.
pub(super) const fn concerns_model(operation: Operation) -> bool {
    matches!(operation, Operation::Metadata | Operation::ModelReady | Operation::ModelStatus)
}

/// What a client asks about a model, answered from what its backend says, in the names of this gateway.
async fn about_model(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    spoken: Dialect,
    call: &Call<'_>,
    mut parts: Parts,
    admitted: &Admitted,
) -> Result<Answer, Problem> {
    let Some(TargetKind::Version(model, version)) = exchange.target_kind().cloned() else {
        return Err(Problem::new(Cause::NoRoute, "a pool has no dialect to translate into"));
    };
    if call.operation == Operation::Metadata {
        let Some(known) = runtime.spoken.description.as_deref() else {
            let detail = "the backends have not told what the model takes and returns";
            return Err(Problem::new(Cause::Unsupported, detail));
        };
        let versions = exchange.versions_told(&call.release);
        let versions: Vec<&str> = versions.iter().map(|(name, _)| name.as_str()).collect();
        let metadata = ModelMetadata {
            name: model.as_str(),
            versions: &versions,
            platform: &known.platform,
            inputs: &known.inputs,
            outputs: &known.outputs,
        };
        return Ok(Answer::Whole(joined(about::encode_metadata(call, &metadata))));
    }
    let target = target(runtime, spoken, model.as_str(), Terms::default());
    // Where the dialect has no such question, a backend that is routed to counts as ready.
    let ready = match probe::ready_path(&target) {
        None => true,
        Some(path) => {
            remote::prepare(exchange, &mut parts, admitted);
            for name in &ABOUT_BODY {
                parts.headers.remove(name);
            }
            parts.method = Method::GET;
            parts.uri = path.parse().map_err(|_bad| unsound_path())?;
            let request = Request::from_parts(parts, RequestBody::whole(Default::default()));
            let Whole { head, body, .. } = remote::ask_whole(exchange, runtime, request).await?;
            probe::decode_ready(&target, head.status, &body)
        }
    };
    Ok(Answer::Whole(joined(match call.operation {
        Operation::ModelStatus => {
            let versions = exchange.versions_told(&call.release);
            // The backend was asked about one of them.
            let states = versions.iter().map(|(name, known)| {
                version_status(name, if *name == version.as_str() { ready } else { *known })
            });
            about::encode_status(call, model.as_str(), &states.collect::<Vec<_>>())
        }
        _ => about::encode_readiness(call, ready),
    })))
}
