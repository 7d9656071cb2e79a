//! Answers from backends that speak another dialect than the client.
//!
//! Owns the way of one prediction through the tensor form: the client's request is read whole, written
//! anew for the backend, and the backend's answer is written anew for the client. Bodies are bounded by
//! `limits.body` on both ways. What a client asks about a model is answered in this gateway's names.
//! Never chooses whether to translate.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName,
    RETRY_AFTER, TE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::admit::Admitted;
use super::asked::{Asked, Form, joined};
use super::body::RequestBody;
use super::builtin::version_status;
use super::exchange::{Answer, Exchange, rows};
use super::grpc;
use super::offload::offload_long;
use super::problem::{Cause, Problem};
use super::remote::{self, Whole};
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::routing::{TargetIx, TargetKind};
use crate::protocol::dialect::{
    AnswerError, Asked as Wanted, BackendFailure, Body, Call, Dialect, EncodeError, Operation,
    Pieces, Release, Signature, Target, Terms, about, decode_response, encode_request, no_labels,
    probe,
};
use crate::protocol::grpc::{UnaryError, format_timeout, unary_message};
use crate::protocol::infer::{InferRequest, InferResponse};
use crate::protocol::open_inference::{HEAD_LENGTH_HEADER, ModelMetadata, OutputForms};
use crate::protocol::shown::shortened;
use crate::protocol::status::GrpcCode;
use crate::protocol::tensor::Tensor;
use crate::snapshot::{Held, RemoteRuntime, RuntimeKind};

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
    predict(exchange, spoken, operation, parts, asked).await
}

/// A prediction; `parts` are prepared for the backend.
pub(super) async fn predict(
    exchange: &mut Exchange,
    spoken: Dialect,
    operation: Operation,
    parts: Parts,
    asked: Asked,
) -> Result<Answer, Problem> {
    let said = translated(exchange, spoken, operation, parts, asked).await?;
    Ok(match said {
        Ok(response) if exchange.is_grpc() => grpc::well(response),
        Ok(response) => Answer::Whole(response),
        Err(Refused { failure, retry_after }) => {
            let mut response = exchange.failure_response(failure.status, &failure.message);
            if let Some(retry_after) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, retry_after);
            }
            Answer::Whole(response)
        }
    })
}

/// What a backend said instead of an answer.
pub(super) struct Refused {
    pub(super) failure: BackendFailure,
    /// When it may be asked again.
    retry_after: Option<HeaderValue>,
}

impl Refused {
    /// Refuses a redirection, which leads to a place that the client does not know.
    fn of(failure: BackendFailure, headers: &HeaderMap) -> Result<Self, Problem> {
        if failure.status.is_redirection() {
            let detail = "the backend redirects the request, which is not followed";
            return Err(Problem::new(Cause::Garbage, detail));
        }
        Ok(Self { failure, retry_after: headers.get(RETRY_AFTER).cloned() })
    }
}

/// A prediction in the client's form, or the backend's refusal; `parts` are prepared for the backend.
pub(super) async fn translated(
    exchange: &mut Exchange,
    spoken: Dialect,
    operation: Operation,
    mut parts: Parts,
    asked: Asked,
) -> Result<Result<Response<Bytes>, Refused>, Problem> {
    let translator = Arc::new(Translator::of(exchange, spoken, operation)?);
    if !(is_typed(asked.dialect()) && is_typed(spoken)) {
        await_description(translator.runtime()?)?;
    }
    let Outgoing { head, body, rows, form, wanted } = {
        let translator = Arc::clone(&translator);
        offload_long(exchange, asked.len(), move || translator.request(&asked)).await?
    };
    exchange.set_batch_size(rows);
    for name in &ABOUT_BODY {
        parts.headers.remove(name);
    }
    (parts.method, parts.uri) = (head.method, head.uri);
    parts.headers.extend(head.headers);
    if spoken == Dialect::OpenInferenceGrpc {
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
        let left = exchange.deadline().saturating_duration_since(Instant::now());
        if let Ok(timeout) = HeaderValue::from_str(&format_timeout(left)) {
            parts.headers.insert(grpc::GRPC_TIMEOUT, timeout);
        }
    }
    let body = RequestBody::whole(body.into_iter().collect());
    let request = Request::from_parts(parts, body);
    let mut whole = remote::ask_whole(exchange, translator.runtime()?, request).await?;
    if spoken == Dialect::OpenInferenceGrpc {
        whole = match message_of(whole)? {
            Ok(whole) => whole,
            Err(failure) => return Refused::of(failure, &HeaderMap::new()).map(Err),
        };
    }
    let length = whole.body.len();
    let said = offload_long(exchange, length, move || translator.answer(whole, &form, &wanted));
    match said.await? {
        Ok(response) => {
            let (head, body) = response.into_parts();
            Ok(Ok(Response::from_parts(head, exchange.hold_answer(body)?)))
        }
        Err(refused) => Ok(Err(refused)),
    }
}

/// Writes what a client asks anew for a backend, and the backend's answer anew for the client. Holds what
/// that takes, so that it can be done by any thread.
struct Translator {
    snapshot: Held,
    target: TargetIx,
    model: ModelName,
    version: VersionName,
    spoken: Dialect,
    operation: Operation,
}

/// A request in the backend's form, and what the answer will need.
struct Outgoing {
    head: Parts,
    body: Pieces,
    /// The predictions that are asked for.
    rows: Option<u32>,
    form: Form,
    wanted: Wanted,
}

impl Translator {
    /// For the version that was decided for.
    fn of(exchange: &Exchange, spoken: Dialect, operation: Operation) -> Result<Self, Problem> {
        let (Some(target), Some(TargetKind::Version(model, version))) =
            (exchange.target_index(), exchange.target_kind().cloned())
        else {
            return Err(not_a_version());
        };
        let snapshot = Arc::clone(exchange.held());
        Ok(Self { snapshot, target, model, version, spoken, operation })
    }

    fn runtime(&self) -> Result<&RemoteRuntime, Problem> {
        match &self.snapshot.target(self.target).kind {
            RuntimeKind::Remote(runtime) => Ok(runtime),
            RuntimeKind::Local(_) => Err(not_a_version()),
        }
    }

    /// Reads `asked` and writes it anew.
    fn request(&self, asked: &Asked) -> Result<Outgoing, Problem> {
        let runtime = self.runtime()?;
        let terms = terms(runtime);
        let (mut request, mut form) = asked.decode(&terms)?;
        if self.spoken != Dialect::TensorflowServing {
            asked.check_signature(&request)?;
        }
        check_names(&request)?;
        // Backends of the Open Inference Protocol tell what is wrong by themselves; others guess.
        let is_typed = is_typed(self.spoken);
        let makes_classes = is_typed
            && runtime.spoken.extensions.is_some_and(|extensions| extensions.classification);
        // The answer is given its form here; but classes are made by whoever knows their names.
        OutputForms::take_from(&mut request, makes_classes);
        if makes_classes {
            form.leave_classes();
        }
        if let Some(signature) = terms.signature.filter(|_| !is_typed)
            && let Some(misfit) = signature.misfit(&request)
        {
            return Err(Problem::new(Cause::BadInput, misfit));
        }
        let rows = rows(&request.inputs);
        let target = target(runtime, self.spoken, self.model.as_str(), terms);
        let wanted = form.wanted(&request);
        let outgoing = encode_request(&target, self.operation, request).map_err(unwritable)?;
        let (head, body) = outgoing.into_parts();
        Ok(Outgoing { head, body, rows, form, wanted })
    }

    /// Reads a backend's answer and writes it anew.
    fn answer(
        &self,
        Whole { head, body, .. }: Whole,
        form: &Form,
        wanted: &Wanted,
    ) -> Result<Result<Response<Bytes>, Refused>, Problem> {
        let runtime = self.runtime()?;
        let target = target(runtime, self.spoken, self.model.as_str(), terms(runtime));
        let body = Body::new(self.spoken, &head.headers, [body])
            .map_err(|error| Problem::new(Cause::Translation, error.to_string()))?;
        match decode_response(&target, self.operation, wanted, head.status, &body) {
            Ok(response) => {
                let response = InferResponse {
                    model_name: self.model.as_str().into(),
                    model_version: self.version.as_str().into(),
                    ..response
                };
                form.encode(response, no_labels).map(Ok)
            }
            Err(AnswerError::Failed(failure)) => Refused::of(failure, &head.headers).map(Err),
            // What is not known of the model was the client's to know.
            Err(AnswerError::MissingOutput(name)) if !has_output(runtime, &name) => {
                let detail = format!("the model has no output '{}'", shortened(&name));
                Err(Problem::new(Cause::BadInput, detail))
            }
            Err(error) => Err(Problem::new(Cause::Translation, error.to_string())),
        }
    }
}

/// Refuses what names one thing twice: dialects with keys for names would lose one of them.
fn check_names(request: &InferRequest<'_>) -> Result<(), Problem> {
    let inputs = request.inputs.iter().map(Tensor::name);
    let outputs = request.outputs.iter().map(|output| output.name.as_ref());
    match (twice(inputs), twice(outputs)) {
        (Some(name), _) => {
            let name = shortened(name);
            Err(Problem::new(Cause::BadInput, format!("there are two inputs '{name}'")))
        }
        (_, Some(name)) => {
            let name = shortened(name);
            Err(Problem::new(Cause::BadInput, format!("the output '{name}' is asked for twice")))
        }
        (None, None) => Ok(()),
    }
}

/// A name that stands twice.
fn twice<'n>(mut names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let mut seen = HashSet::new();
    names.find(|name| !seen.insert(*name))
}

/// Whether the backends have told of this output.
fn has_output(runtime: &RemoteRuntime, name: &str) -> bool {
    let known = runtime.spoken.description.as_deref();
    known.is_some_and(|known| known.outputs.iter().any(|output| output.name == name))
}

fn not_a_version() -> Problem {
    Problem::new(Cause::NoRoute, "a pool has no dialect to translate into")
}

/// The message of a backend's answer over gRPC; its refusal where it has none.
fn message_of(whole: Whole) -> Result<Result<Whole, BackendFailure>, Problem> {
    let (head, status) = (&whole.head.headers, whole.head.status.as_u16());
    match unary_message(status, head, &whole.trailers, &whole.body) {
        Ok(body) => Ok(Ok(Whole { body, ..whole })),
        Err(UnaryError::Failed { code, message }) => {
            let status = match code {
                GrpcCode::ResourceExhausted if is_about_length(&message) => {
                    StatusCode::PAYLOAD_TOO_LARGE
                }
                _ => StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::BAD_GATEWAY),
            };
            Ok(Err(BackendFailure { status, message }))
        }
        Err(error) => {
            let detail = format!("the backend's answer cannot be read: {error}");
            Err(Problem::new(Cause::Translation, detail))
        }
    }
}

/// Whether a server of gRPC says that the message is too long for it, in the words of gRPC's libraries: the code is
/// that of a client that asks too often, but this one should not come again.
fn is_about_length(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["received message larger than max", "grpc message exceeds maximum size"]
        .iter()
        .any(|words| message.contains(words))
}

fn unsound_path() -> Problem {
    Problem::new(Cause::Translation, "the names of the model cannot stand in a path")
}

/// Whether the values of a dialect say what they are.
const fn is_typed(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::OpenInference | Dialect::OpenInferenceGrpc)
}

/// Refuses what needs the description of a model while its backends may still give one: with guesses instead, the same
/// request would be answered with other names and datatypes a moment later. Says that it is needed.
pub(super) fn await_description(runtime: &RemoteRuntime) -> Result<(), Problem> {
    let Some(wanted) = &runtime.spoken.undescribed else { return Ok(()) };
    wanted.notify_one();
    let detail =
        "it is not known yet what the model takes and returns: its backends have not described it";
    Err(Problem::new(Cause::UnknownDialect, detail))
}

/// The refusal of a call while it is not known what the backends speak. Says that it is needed.
pub(super) fn unknown_dialect(runtime: &RemoteRuntime) -> Problem {
    if let Some(wanted) = &runtime.spoken.undescribed {
        wanted.notify_one();
    }
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
        container: runtime.spoken.container,
        named: names.model.is_some(),
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

/// Whether a backend has described its model, or never will, and says that it can predict. Where the dialect has no such question, one that is routed
/// to counts as ready.
pub(super) async fn is_ready(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    spoken: Dialect,
    model: &str,
    mut parts: Parts,
    admitted: &Admitted,
) -> Result<bool, Problem> {
    // Where its predictions have to wait.
    if await_description(runtime).is_err() {
        return Ok(false);
    }
    let target = target(runtime, spoken, model, Terms::default());
    let call = match spoken {
        Dialect::OpenInferenceGrpc => probe::ready_call(&target),
        _ => probe::ready_path(&target).map(|path| (path, Bytes::new())),
    };
    let Some((path, body)) = call else { return Ok(true) };
    remote::prepare(exchange, &mut parts, admitted);
    for name in &ABOUT_BODY {
        parts.headers.remove(name);
    }
    parts.uri = path.parse().map_err(|_bad| unsound_path())?;
    parts.method = if body.is_empty() { Method::GET } else { Method::POST };
    if spoken == Dialect::OpenInferenceGrpc {
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    }
    let pieces = (!body.is_empty()).then_some(body).into_iter().collect();
    let request = Request::from_parts(parts, RequestBody::whole(pieces));
    let whole = remote::ask_whole(exchange, runtime, request).await?;
    Ok(match spoken {
        Dialect::OpenInferenceGrpc => {
            message_of(whole)?.is_ok_and(|whole| probe::decode_ready_answer(whole.body))
        }
        _ => probe::decode_ready(&target, whole.head.status, &whole.body),
    })
}

/// What a client asks about a model, answered from what its backend says, in the names of this gateway.
async fn about_model(
    exchange: &mut Exchange,
    runtime: &RemoteRuntime,
    spoken: Dialect,
    call: &Call<'_>,
    parts: Parts,
    admitted: &Admitted,
) -> Result<Answer, Problem> {
    let Some(TargetKind::Version(model, version)) = exchange.target_kind().cloned() else {
        return Err(not_a_version());
    };
    if call.operation == Operation::Metadata {
        let Some(known) = runtime.spoken.description.as_deref() else {
            await_description(runtime)?;
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
    let ready = is_ready(exchange, runtime, spoken, model.as_str(), parts, admitted).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_too_long_is_told_from_a_client_that_asks_too_often() {
        for (message, status) in [
            ("SERVER: Received message larger than max (9600032 vs. 4194304)", 413),
            ("grpc: received message larger than max (5 vs. 4)", 413),
            ("gRPC message exceeds maximum size 4194304: 9600032", 413),
            ("too many requests", 429),
        ] {
            let mut head = Response::new(()).into_parts().0;
            head.headers.insert("grpc-status", HeaderValue::from_static("8"));
            head.headers.insert("grpc-message", HeaderValue::from_static(message));
            let whole = Whole { head, body: Bytes::new(), trailers: HeaderMap::new() };
            let Ok(Err(failure)) = message_of(whole) else { panic!("it is a refusal") };
            assert_eq!((failure.status.as_u16(), failure.message.as_str()), (status, message));
        }
    }
}
