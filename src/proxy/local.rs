//! Answers from models that run in this process.
//!
//! Owns the way from a request body to a response body: read, decode, run, encode; on the worker for
//! models that were measured to be cheap, on an executor thread for all others. Never loads a model.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_ENCODING;
use http::request::Parts;
use http::{Method, StatusCode};
use hyper::body::Incoming;

use super::body::Pieces;
use super::builtin::json;
use super::exchange::{Answer, Exchange, micros};
use super::problem::{Cause, Problem};
use super::remote::read_whole;
use crate::domain::record::Protocol;
use crate::domain::routing::TargetKind;
use crate::inference::{ExecutorError, InferError, LocalModel, Pending, Prepared, QueueFull, Ran};
use crate::protocol::infer::{InferRequest, InferResponse};
use crate::protocol::open_inference::{
    Call, ModelMetadata, Operation, PLATFORM_ONNX, decode_infer_request, encode_infer_response,
    encode_model_metadata, encode_model_ready,
};
use crate::protocol::tensor::Tensor;
use crate::snapshot::LocalRuntime;

/// The longest body that is decoded on a worker: some tens of microseconds.
const INLINE_BYTES_MAX: usize = 16 * 1024;

/// Gets the answer of a model in this process. `call` is absent where a route led here: every such
/// request is an inference.
pub(super) async fn answer(
    exchange: &mut Exchange,
    runtime: &LocalRuntime,
    call: Option<&Call<'_>>,
    parts: &Parts,
    incoming: Incoming,
) -> Result<Answer, Problem> {
    let Some(TargetKind::Version(model, version)) = exchange.target_kind().cloned() else {
        return Err(Problem::new(Cause::NoRoute, "a pool does not run in this process"));
    };
    match call {
        Some(Call::Model { operation: Operation::Ready, .. }) => {
            Ok(json(StatusCode::OK, encode_model_ready(model.as_str(), true)))
        }
        Some(Call::Model { operation: Operation::Metadata, .. }) => {
            let versions = exchange.versions_of_model();
            let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
            let signature = runtime.model.signature();
            let metadata = ModelMetadata {
                name: model.as_str(),
                versions: &versions,
                platform: PLATFORM_ONNX,
                inputs: &signature.inputs,
                outputs: &signature.outputs,
            };
            Ok(json(StatusCode::OK, encode_model_metadata(&metadata)))
        }
        Some(Call::Model {
            operation:
                Operation::Config
                | Operation::Statistics
                | Operation::Generate
                | Operation::GenerateStream,
            ..
        }) => {
            let detail = "this is not offered for a model in this process";
            Err(Problem::new(Cause::NoRoute, detail))
        }
        _ => {
            exchange.set_protocol(Protocol::OpenInferenceRest);
            if parts.method != Method::POST {
                return Err(Problem::method("a prediction is asked for with POST", "POST"));
            }
            let encoding = parts.headers.get(CONTENT_ENCODING);
            if encoding.is_some_and(|encoding| encoding != "identity") {
                let detail = "a body for a model in this process must not be encoded";
                return Err(Problem::new(Cause::Encoding, detail));
            }
            let body = join(read_whole(exchange, incoming).await?);
            let names = (model.as_str().to_owned(), version.as_str().to_owned());
            let prediction = predict(exchange, runtime, names, body).await?;
            exchange.latency().t_infer = Some(micros(prediction.infer));
            exchange.set_batch_size(prediction.batch);
            Ok(json(StatusCode::OK, prediction.body))
        }
    }
}

/// The outcome of one run.
struct Prediction {
    body: Vec<u8>,
    infer: Duration,
    /// The first dimension of the first input.
    batch: Option<u32>,
}

/// Runs where the cost of the model says.
async fn predict(
    exchange: &mut Exchange,
    runtime: &LocalRuntime,
    (model, version): (String, String),
    body: Bytes,
) -> Result<Prediction, Problem> {
    let limit = runtime.execution.inline_below;
    if runtime.model.cost() < limit && body.len() <= INLINE_BYTES_MAX {
        let request = decode(&body)?;
        if runtime.model.cost_of(&request.inputs) < limit {
            return run(&runtime.model, &model, &version, request);
        }
    }
    let worker = Arc::clone(&exchange.context.worker);
    let executor = &worker.gateway.executor;
    let deadline = exchange.deadline().min(Instant::now() + runtime.execution.queue_time);
    let loaded = Arc::clone(&runtime.model);
    if !runtime.lane.batches() {
        let job = move || run(&loaded, &model, &version, decode(&body)?);
        return answered(exchange, executor.submit(&runtime.lane, deadline, job)).await;
    }
    // What runs together must be decoded before it is put together.
    let (id, prepared) = if body.len() <= INLINE_BYTES_MAX {
        prepare(&loaded, &body)?
    } else {
        let job = move || prepare(&loaded, &body);
        answered(exchange, executor.submit(&runtime.lane, deadline, job)).await?
    };
    let batch = u32::try_from(prepared.rows()).ok();
    let finish = move |result: Result<Ran, InferError>| {
        let Ran { outputs, took } = result.map_err(model_problem)?;
        let body = encode(id.map(Cow::from), &model, &version, outputs)?;
        Ok(Prediction { body, infer: took, batch })
    };
    let pending = executor.submit_rows(&runtime.lane, deadline, prepared, finish);
    answered(exchange, pending).await
}

/// Waits for the executor's answer to `submitted`.
async fn answered<T>(
    exchange: &mut Exchange,
    submitted: Result<Pending<Result<T, Problem>>, QueueFull>,
) -> Result<T, Problem> {
    let pending = submitted
        .map_err(|_full| Problem::new(Cause::QueueFull, "too many requests wait for the model"))?;
    let deadline = exchange.deadline();
    let Ok(answer) = exchange.context.clock.within(deadline, pending).await else {
        return Err(exchange.overdue(Cause::QueueTimeout));
    };
    match answer {
        Ok(answer) => {
            let latency = exchange.latency();
            let waited = latency.t_queue.unwrap_or(0).saturating_add(micros(answer.waited));
            latency.t_queue = Some(waited);
            answer.value
        }
        Err(ExecutorError::Expired { .. }) => {
            Err(Problem::new(Cause::QueueTimeout, "the time in the queue ran out"))
        }
        Err(error @ ExecutorError::Panicked { .. }) => {
            Err(Problem::new(Cause::ModelPanic, error.to_string()))
        }
        Err(error) => Err(Problem::new(Cause::QueueFull, error.to_string())),
    }
}

fn decode(body: &[u8]) -> Result<InferRequest<'_>, Problem> {
    decode_infer_request(body).map_err(|error| Problem::new(Cause::BadInput, error.to_string()))
}

/// Decodes a request and checks that it fits; with its id.
fn prepare(loaded: &LocalModel, body: &[u8]) -> Result<(Option<String>, Prepared), Problem> {
    let request = decode(body)?;
    let wanted: Vec<&str> = request.outputs.iter().map(|output| output.name.as_ref()).collect();
    let prepared = loaded.prepare(request.inputs, &wanted);
    let prepared = prepared.map_err(|error| model_problem(error.into()))?;
    Ok((request.id.map(|id| id.to_string()), prepared))
}

/// Whose fault it is that a model gave no answer.
fn model_problem(error: InferError) -> Problem {
    let cause = match &error {
        InferError::Input(_) => Cause::BadInput,
        InferError::Model { .. } => Cause::Model,
        InferError::Panicked { .. } => Cause::ModelPanic,
    };
    Problem::new(cause, error.to_string())
}

/// Runs and encodes.
fn run(
    loaded: &LocalModel,
    model: &str,
    version: &str,
    request: InferRequest<'_>,
) -> Result<Prediction, Problem> {
    let wanted: Vec<&str> = request.outputs.iter().map(|output| output.name.as_ref()).collect();
    let rows = request.inputs.first().and_then(|input| input.shape().first());
    let batch = rows.and_then(|&rows| u32::try_from(rows).ok());
    let began = Instant::now();
    let outputs = loaded.infer(request.inputs, &wanted).map_err(model_problem)?;
    let infer = began.elapsed();
    let body = encode(request.id, model, version, outputs)?;
    Ok(Prediction { body, infer, batch })
}

fn encode(
    id: Option<Cow<'_, str>>,
    model: &str,
    version: &str,
    outputs: Vec<Tensor>,
) -> Result<Vec<u8>, Problem> {
    let response = InferResponse {
        id,
        model_name: model.into(),
        model_version: version.into(),
        outputs,
        ..InferResponse::default()
    };
    let mut body = Vec::new();
    encode_infer_response(&response, &mut body)
        .map_err(|error| Problem::new(Cause::Model, error.to_string()))?;
    Ok(body)
}

/// One piece out of several; most bodies have one.
fn join(mut pieces: Pieces) -> Bytes {
    if pieces.len() == 1 {
        return pieces.pop().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in &pieces {
        whole.extend_from_slice(piece);
    }
    whole.freeze()
}
