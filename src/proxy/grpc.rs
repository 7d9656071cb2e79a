//! gRPC towards clients.
//!
//! Owns what makes a request gRPC, its time limit, the calls that no model runs for (about the server,
//! about models, the model repository, health, reflection), and the form of refusals: a head without a
//! body that carries the status (`grpc/doc/PROTOCOL-HTTP2.md`, "Trailers-Only"). Never decides which
//! status an error has: the status table does.
//!
//! ```text
//! path ─▶ Method ─┬─▶ one message ─▶ infer: names ─▶ decide ─┬─▶ local, or translate
//!                 │                                          └─▶ remote: bytes pass
//!                 ├─▶ one message ─▶ an answer from the snapshot
//!                 └─▶ talk: many messages, one exchange
//! ```

mod infer;
mod message;
mod talk;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use hyper::body::Incoming;

pub(super) use self::infer::{message_of_copy, serve_copy};
use self::message::{encoding, read_message};
pub(super) use self::talk::{Talk, TalkBody};
use super::admit::{Admitted, admit};
use super::exchange::{Answer, Exchange};
use super::problem::{Cause, ERROR_HEADER, Problem};
use super::{builtin, repository, translate};
use crate::protocol::dialect::Dialect;
use crate::protocol::grpc::health::{self, HealthCheckRequest, HealthCheckResponse, ServingStatus};
use crate::protocol::grpc::{
    GRPC_MESSAGE, GRPC_STATUS, encode_frame, encode_message, parse_timeout, reflection,
};
use crate::protocol::open_inference::grpc::{
    self as inference, ModelMetadataResponse, ModelRequest, ReadyResponse, RepositoryIndexRequest,
    RepositoryIndexResponse, RepositoryModelRequest, RepositoryModelResponse, ServerLiveResponse,
    ServerMetadataResponse, TensorMetadata,
};
use crate::protocol::open_inference::{ModelConfigResponse, NotOffered, RepositoryAction};
use crate::protocol::status::GrpcCode;
use crate::protocol::tensor::TensorSpec;
use crate::snapshot::{RuntimeKind, Snapshot};

pub(super) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const CONTENT_TYPE_PREFIX: &[u8] = b"application/grpc";

/// Messages in trailers are cut to this many characters.
const MESSAGE_CHARS_MAX: usize = 1024;

/// Whether a request is gRPC: over HTTP/2, with its content type. gRPC-Web is something else.
pub(super) fn is_grpc(parts: &Parts) -> bool {
    parts.version == Version::HTTP_2
        && parts.headers.get(CONTENT_TYPE).is_some_and(|value| {
            let rest = value.as_bytes().strip_prefix(CONTENT_TYPE_PREFIX);
            rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
        })
}

/// Whether the messages of a request that is gRPC are those of protobuf.
fn is_protobuf(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let name = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    [CONTENT_TYPE_PREFIX, b"application/grpc+proto"].contains(&name)
}

/// What the client allows for the whole call.
///
/// # Errors
/// The header, when it does not say that.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, HeaderName> {
    let Some(value) = headers.get(&GRPC_TIMEOUT) else { return Ok(None) };
    parse_timeout(value.as_bytes()).map(Some).ok_or(GRPC_TIMEOUT)
}

/// Writes a status into trailers, or into the head of an answer that has nothing else.
pub(super) fn put_status(headers: &mut HeaderMap, code: GrpcCode, message: &str) {
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(code.number())));
    let short: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    if !short.is_empty()
        && let Ok(message) = HeaderValue::from_str(&encode_message(&short))
    {
        headers.insert(GRPC_MESSAGE, message);
    }
}

/// The code for a refusal that has an HTTP status.
pub(super) const fn code_for(status: StatusCode) -> GrpcCode {
    match status.as_u16() {
        400 | 405 | 406 | 411 | 413 | 414 | 415 | 422 | 431 => GrpcCode::InvalidArgument,
        401 => GrpcCode::Unauthenticated,
        403 => GrpcCode::PermissionDenied,
        404 | 410 => GrpcCode::NotFound,
        408 | 504 => GrpcCode::DeadlineExceeded,
        409 => GrpcCode::Aborted,
        429 => GrpcCode::ResourceExhausted,
        499 => GrpcCode::Cancelled,
        501 => GrpcCode::Unimplemented,
        502 | 503 => GrpcCode::Unavailable,
        500 => GrpcCode::Internal,
        _ => GrpcCode::Unknown,
    }
}

/// The trailers of an answer that went well.
pub(super) fn ok_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    put_status(&mut trailers, GrpcCode::Ok, "");
    trailers
}

/// The answer of messages that went well.
pub(super) fn well(response: Response<Bytes>) -> Answer {
    Answer::Trailed(response, ok_trailers())
}

/// A head with a body of messages.
pub(super) fn response(body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    let content_type = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// The answer that a row of the status table stands for.
pub(super) fn refusal(problem: &Problem) -> Response<Bytes> {
    let mut response = failure(problem.cause.grpc(), &problem.detail);
    let reason = HeaderValue::from_static(problem.cause.reason());
    response.headers_mut().insert(ERROR_HEADER, reason);
    response
}

/// An answer that is only a status.
pub(super) fn failure(code: GrpcCode, message: &str) -> Response<Bytes> {
    let mut response = response(Bytes::new());
    put_status(response.headers_mut(), code, message);
    response
}

/// A call of one of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Of `inference.GRPCInferenceService`.
    Inference(inference::Method),
    /// What Triton's service of that name has beside that.
    NotOffered(NotOffered),
    HealthCheck,
    HealthWatch,
    Reflection,
}

impl Method {
    /// The call of a path; `None` where it is no service of the gateway.
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            health::CHECK_PATH => Some(Self::HealthCheck),
            health::WATCH_PATH => Some(Self::HealthWatch),
            _ if reflection::PATHS.contains(&path) => Some(Self::Reflection),
            _ => inference::Method::parse(path)
                .map(Self::Inference)
                .or_else(|| NotOffered::of_call(path).map(Self::NotOffered)),
        }
    }
}

/// Answers a call.
pub(super) async fn answer(
    exchange: &mut Exchange,
    method: Method,
    parts: Parts,
    ended: bool,
    unread: &mut Option<Incoming>,
) -> Result<Answer, Problem> {
    exchange.speaks(Dialect::OpenInferenceGrpc);
    let gateway = Arc::clone(&exchange.context.worker.gateway);
    let admitted = admit(&parts, &gateway.limits, ended)?;
    if parts.method != http::Method::POST {
        return Err(Problem::method("gRPC is asked for with POST", "POST"));
    }
    if !is_protobuf(&parts.headers) {
        let detail = "messages are read as `application/grpc` or `application/grpc+proto` only";
        return Err(Problem::new(Cause::Media, detail));
    }
    let Some(incoming) = unread.take() else {
        return Err(Problem::new(Cause::Gone, "the body is gone"));
    };
    match method {
        Method::Inference(inference::Method::ModelInfer) => {
            infer::answer(exchange, parts, &admitted, incoming).await
        }
        Method::Inference(inference::Method::ModelStreamInfer) => {
            talk::infer(exchange, parts, &admitted, incoming).await
        }
        Method::NotOffered(what) => {
            exchange.owes_no_record();
            Err(Problem::new(Cause::Unsupported, what.reason()))
        }
        Method::HealthWatch => {
            exchange.owes_no_record();
            talk::watch(exchange, &parts, incoming).await
        }
        Method::Reflection => {
            exchange.owes_no_record();
            let coding = encoding(&parts.headers)?;
            Ok(Answer::Talk(Box::new(talk::reflection(exchange, incoming, coding))))
        }
        Method::HealthCheck => {
            exchange.owes_no_record();
            let asked: HealthCheckRequest =
                read_message(exchange, &parts.headers, incoming).await?;
            let status = serving(exchange, exchange.snapshot(), &asked.service)?;
            reply(&HealthCheckResponse::from(status))
        }
        Method::Inference(inference::Method::ModelReady) => {
            exchange.owes_no_record();
            let asked: ModelRequest = read_message(exchange, &parts.headers, incoming).await?;
            let ready = model_ready(exchange, &asked, parts, &admitted).await;
            reply(&ReadyResponse { ready })
        }
        Method::Inference(call) => {
            exchange.owes_no_record();
            about(exchange, call, &parts.headers, incoming).await
        }
    }
}

/// Whether a service takes requests; a model counts as one, by its name.
fn serving(
    exchange: &Exchange,
    snapshot: &Snapshot,
    service: &str,
) -> Result<ServingStatus, Problem> {
    let ready = exchange.context.worker.gateway.readiness.is_ready();
    let is_ready = if service.is_empty() || gateway_services(exchange).any(|own| own == service) {
        ready
    } else {
        let unknown =
            || Problem::new(Cause::UnknownModel, "there is no service or model of this name");
        let index = snapshot.table.model_named(service).ok_or_else(unknown)?;
        ready && !snapshot.table.model(index).split.shares().is_empty()
    };
    Ok(if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing })
}

fn gateway_services(exchange: &Exchange) -> impl Iterator<Item = &str> {
    let reflection = exchange.context.worker.gateway.reflection.as_ref();
    reflection.into_iter().flat_map(|known| known.services()).map(String::as_str)
}

/// An answer of one message.
fn reply(message: &impl prost::Message) -> Result<Answer, Problem> {
    let frame =
        encode_frame(message).map_err(|error| Problem::new(Cause::NoForm, error.to_string()))?;
    Ok(well(response(frame)))
}

/// Whether a model takes requests; where backends serve it, one of them is asked.
async fn model_ready(
    exchange: &mut Exchange,
    asked: &ModelRequest,
    parts: Parts,
    admitted: &Admitted,
) -> bool {
    let snapshot = Arc::clone(exchange.held());
    if !repository::is_ready(&snapshot, &asked.name, &asked.version) {
        return false;
    }
    let Some(target) = repository::target_named(&snapshot, &asked.name, &asked.version) else {
        return false;
    };
    let RuntimeKind::Remote(runtime) = &snapshot.target(target).kind else { return true };
    let Some(spoken) = runtime.spoken.dialect else {
        return translate::await_description(runtime).is_ok();
    };
    // What cannot be asked is not ready.
    translate::is_ready(exchange, runtime, spoken, &asked.name, parts, admitted)
        .await
        .unwrap_or(false)
}

/// Answers a call that no model runs for.
async fn about(
    exchange: &mut Exchange,
    call: inference::Method,
    headers: &HeaderMap,
    incoming: Incoming,
) -> Result<Answer, Problem> {
    use inference::Method as Call;
    match call {
        Call::ServerLive => reply(&ServerLiveResponse { live: true }),
        Call::ServerReady => {
            let ready = exchange.context.worker.gateway.readiness.is_ready();
            reply(&ReadyResponse { ready })
        }
        Call::ServerMetadata => reply(&ServerMetadataResponse {
            name: builtin::NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: builtin::EXTENSIONS.map(str::to_owned).to_vec(),
        }),
        Call::ModelMetadata => {
            let asked: ModelRequest = read_message(exchange, headers, incoming).await?;
            let snapshot = exchange.snapshot();
            let known = repository::described(snapshot, &asked.name, Some(&asked.version))?;
            let tensors = |specs: &[TensorSpec]| specs.iter().map(tensor).collect();
            reply(&ModelMetadataResponse {
                name: known.name.to_owned(),
                versions: known.versions,
                platform: known.platform.to_owned(),
                inputs: tensors(known.inputs),
                outputs: tensors(known.outputs),
                properties: Default::default(),
            })
        }
        Call::ModelConfig => {
            let asked: ModelRequest = read_message(exchange, headers, incoming).await?;
            let snapshot = exchange.snapshot();
            let config = repository::config(snapshot, &asked.name, Some(&asked.version))?;
            reply(&ModelConfigResponse { config: Some(config) })
        }
        Call::ModelStatistics => {
            let asked: ModelRequest = read_message(exchange, headers, incoming).await?;
            let model = Some(asked.name.as_str()).filter(|name| !name.is_empty());
            reply(&repository::statistics(exchange.snapshot(), model, Some(&asked.version))?)
        }
        Call::RepositoryIndex => {
            let asked: RepositoryIndexRequest = read_message(exchange, headers, incoming).await?;
            let models = repository::index(exchange.snapshot(), asked.ready);
            reply(&RepositoryIndexResponse { models })
        }
        Call::RepositoryModelLoad | Call::RepositoryModelUnload => {
            repository::check_right(exchange, headers)?;
            let asked: RepositoryModelRequest = read_message(exchange, headers, incoming).await?;
            let action = if call == Call::RepositoryModelLoad {
                RepositoryAction::Load
            } else {
                RepositoryAction::Unload
            };
            if action == RepositoryAction::Load
                && let Some(parameter) = asked.parameters.keys().next()
            {
                return Err(repository::refused(parameter));
            }
            repository::change(exchange, asked.model(), action).await?;
            let (model_name, done) = (asked.model().to_owned(), true);
            reply(&RepositoryModelResponse { model_name, done })
        }
        Call::ModelReady | Call::ModelInfer | Call::ModelStreamInfer => {
            Err(Problem::new(Cause::Unsupported, "this is answered elsewhere"))
        }
    }
}

fn tensor(spec: &TensorSpec) -> TensorMetadata {
    TensorMetadata {
        name: spec.name.clone(),
        datatype: spec.datatype.as_str().to_owned(),
        shape: spec.shape.to_vec(),
    }
}
