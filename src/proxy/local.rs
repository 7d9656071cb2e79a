//! Answers from models that run in this process.
//!
//! Owns the way from a request body to a response body: read, decode, run, encode; on the worker for
//! models that were measured to be cheap, on an executor thread for all others. Never loads a model.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use hyper::body::Incoming;

use super::asked::{Asked, Form, joined};
use super::body::Pieces;
use super::builtin::version_status;
use super::exchange::{Answer, Exchange, micros, rows};
use super::offload::{INLINE_BYTES_MAX, offload, outcome};
use super::problem::{Cause, Problem};
use super::shadow::{Hands, HandsTerms, Place, Turn, Unanswered};
use crate::domain::routing::TargetKind;
use crate::domain::stats::layout::Role;
use crate::inference::{
    Held, InferError, InputError, LocalModel, Pending, PlanWait, Prepared, QueueFull, Ran,
    Unplanned,
};
use crate::monitor::Values;
use crate::protocol::dialect::{Call, Dialect, Operation, Signature, Terms, about};
use crate::protocol::infer::{InferRequest, InferResponse};
use crate::protocol::open_inference::{ModelMetadata, PLATFORM_ONNX};
use crate::protocol::tensor::{Tensor, TensorData, TensorSpec};
use crate::snapshot::{Dropped, LocalRuntime};

/// Gets the answer of a model in this process. `call` is absent where a route led here with a path of no
/// dialect: every such request is an inference of the Open Inference Protocol.
pub(super) async fn answer(
    exchange: &mut Exchange,
    runtime: &LocalRuntime,
    call: Option<Call<'_>>,
    parts: Parts,
    incoming: Incoming,
) -> Result<Answer, Problem> {
    if let Some(call) = &call
        && !call.operation.is_inference()
    {
        return about_model(exchange, runtime, call);
    }
    let form = form_of(exchange, call, &parts)?;
    let asked = Asked::read(exchange, form, &parts.headers, incoming).await?;
    predict(exchange, runtime, asked).await.map(Answer::Whole)
}

/// The same for a prediction whose body is here.
pub(super) async fn answer_whole(
    exchange: &mut Exchange,
    runtime: &LocalRuntime,
    call: Option<Call<'_>>,
    parts: Parts,
    pieces: Pieces,
) -> Result<Answer, Problem> {
    let form = form_of(exchange, call, &parts)?;
    let asked = Asked::whole(exchange, form, &parts.headers, pieces).await?;
    predict(exchange, runtime, asked).await.map(Answer::Whole)
}

/// In which form a prediction is asked for.
pub(super) fn form_of(
    exchange: &mut Exchange,
    call: Option<Call<'_>>,
    parts: &Parts,
) -> Result<(Dialect, Operation), Problem> {
    if parts.method != Method::POST {
        return Err(Problem::method("a prediction is asked for with POST", "POST"));
    }
    let form = call
        .map_or((Dialect::OpenInference, Operation::Infer), |call| (call.dialect, call.operation));
    exchange.speaks(form.0);
    Ok(form)
}

/// What a client asks about a model.
fn about_model(
    exchange: &Exchange,
    runtime: &LocalRuntime,
    call: &Call<'_>,
) -> Result<Answer, Problem> {
    let Some(TargetKind::Version(model, _)) = exchange.target_kind() else {
        return Err(not_a_version());
    };
    let versions = exchange.versions_told(&call.release);
    Ok(Answer::Whole(joined(match call.operation {
        Operation::Metadata => {
            let versions: Vec<&str> = versions.iter().map(|(name, _)| name.as_str()).collect();
            let signature = runtime.model.signature();
            about::encode_metadata(
                call,
                &ModelMetadata {
                    name: model.as_str(),
                    versions: &versions,
                    platform: PLATFORM_ONNX,
                    inputs: &signature.inputs,
                    outputs: &signature.outputs,
                },
            )
        }
        Operation::ModelStatus => {
            let states: Vec<_> =
                versions.iter().map(|(name, ready)| version_status(name, *ready)).collect();
            about::encode_status(call, model.as_str(), &states)
        }
        _ => about::encode_readiness(call, true),
    })))
}

fn not_a_version() -> Problem {
    Problem::new(Cause::NoRoute, "a pool does not run in this process")
}

/// The outcome of one run.
struct Prediction {
    response: Response<Bytes>,
    /// Reading, running and writing.
    input: Duration,
    infer: Duration,
    output: Duration,
    /// The first dimension of the first input.
    batch: Option<u32>,
    /// What the monitor counts.
    values: Option<Box<Values>>,
}

/// Gets a prediction, and notes what it took.
pub(super) async fn predict(
    exchange: &mut Exchange,
    runtime: &LocalRuntime,
    asked: Asked,
) -> Result<Response<Bytes>, Problem> {
    let names = Names::of(exchange)?;
    let prediction = run(exchange, runtime, names, asked).await?;
    exchange.latency().t_infer = Some(micros(prediction.infer));
    exchange.set_batch_size(prediction.batch);
    exchange.set_codec_times(prediction.input, prediction.output);
    exchange.set_values(prediction.values);
    let (head, body) = prediction.response.into_parts();
    Ok(Response::from_parts(head, exchange.hold_answer(body)?))
}

/// A prediction for a copy.
pub(super) struct Aside {
    pub(super) response: Response<Bytes>,
    /// How long the champion and the version ran, where both did.
    pub(super) times: Option<(Duration, Duration)>,
}

/// Gets a prediction for a copy, on a hand of the thread that asks: never on a worker or the executor.
/// `beside` is the champion, which is run with the same input to measure both alike. `place` is given back when
/// the hand is done.
pub(super) async fn predict_aside(
    exchange: &mut Exchange,
    (runtime, beside): (&LocalRuntime, Option<&LocalRuntime>),
    asked: Asked,
    (hands, terms): (&Hands, HandsTerms<'_>),
    place: Arc<Place>,
) -> Result<Aside, Unanswered> {
    let names = Names::of(exchange)?;
    let manner = Manner::of(exchange, false);
    let (loaded, beside) = (Arc::clone(&runtime.model), beside.map(|it| Arc::clone(&it.model)));
    let job = move |turn: Turn| -> Option<Result<(Option<Duration>, Prediction), Problem>> {
        let ours = beside.and_then(|champion| time_of(&champion, &asked, manner));
        if !turn.begin(ours) {
            return None;
        }
        let began = Instant::now();
        let made = decode(&loaded, &asked).and_then(|(request, form)| {
            let made = run_here(&loaded, request, manner, began)?;
            made.written(&loaded, &names, &form)
        });
        drop(place);
        Some(made.map(|made| (ours, made)))
    };
    let Some(ran) = hands.run(terms, job).await? else {
        return Err(Unanswered::Dropped(Dropped::Late));
    };
    let (ours, prediction) = ran?;
    exchange.latency().t_infer = Some(micros(prediction.infer));
    exchange.set_batch_size(prediction.batch);
    let times = ours.map(|ours| (ours, prediction.infer));
    Ok(Aside { response: prediction.response, times })
}

/// How long a model takes for what is asked, where it answers it.
fn time_of(model: &LocalModel, asked: &Asked, manner: Manner) -> Option<Duration> {
    let (request, _) = decode(model, asked).ok()?;
    let wanted: Vec<&str> = request.outputs.iter().map(|it| it.name.as_ref()).collect();
    let began = Instant::now();
    model.run(&model.prepare(request.inputs, &wanted).ok()?.at_most(manner.longest)).ok()?;
    Some(began.elapsed())
}

/// What the client sees the model and its version called.
struct Names {
    model: String,
    version: String,
}

impl Names {
    fn of(exchange: &Exchange) -> Result<Self, Problem> {
        let Some(TargetKind::Version(model, version)) = exchange.target_kind() else {
            return Err(not_a_version());
        };
        Ok(Self { model: model.as_str().to_owned(), version: version.as_str().to_owned() })
    }
}

/// How a request is run.
#[derive(Clone, Copy)]
struct Manner {
    /// Whether the monitor counts its values.
    monitored: bool,
    /// How long its answer may be, in bytes.
    longest: u64,
}

impl Manner {
    fn of(exchange: &Exchange, monitored: bool) -> Self {
        Self { monitored, longest: exchange.context.worker.gateway.limits.held_bodies }
    }
}

/// Runs where the cost of the model says.
async fn run(
    exchange: &mut Exchange,
    runtime: &LocalRuntime,
    names: Names,
    asked: Asked,
) -> Result<Prediction, Problem> {
    if exchange.deadline() <= Instant::now() {
        return Err(exchange.overdue(Cause::QueueTimeout));
    }
    let manner = Manner::of(exchange, exchange.wants_values());
    let limit = runtime.execution.inline_below;
    let is_cheap = |cost: Option<Duration>| cost.is_some_and(|cost| cost < limit);
    if is_cheap(runtime.model.cost()) && asked.len() <= INLINE_BYTES_MAX {
        let began = Instant::now();
        let (request, form) = decode(&runtime.model, &asked)?;
        if is_cheap(runtime.model.cost_of(&request.inputs)) {
            let made = run_here(&runtime.model, request, manner, began)?;
            if answer_bytes(&made.outputs) <= INLINE_BYTES_MAX {
                return made.written(&runtime.model, &names, &form);
            }
            let loaded = Arc::clone(&runtime.model);
            return offload(exchange, move || made.written(&loaded, &names, &form)).await;
        }
    }
    let worker = Arc::clone(&exchange.context.worker);
    let executor = &worker.gateway.executor;
    let deadline = exchange.deadline().min(Instant::now() + runtime.execution.queue_time);
    let until = exchange.deadline();
    let loaded = Arc::clone(&runtime.model);
    if !runtime.lane.batches() {
        let job = move || {
            let mut ready = prepare(&loaded, &asked, manner)?;
            match secure(&loaded, &mut ready, until)? {
                Some(wait) => Ok(Came::Waits(wait, Box::new((ready, names)))),
                None => run_ready(&loaded, ready, &names).map(Came::Ran),
            }
        };
        let came = answered(exchange, executor.submit(&runtime.lane, deadline, job)).await?;
        let (wait, parked) = match came {
            Came::Ran(prediction) => return Ok(prediction),
            Came::Waits(wait, parked) => (wait, parked),
        };
        let (ready, names) = *parked;
        let ready = ready.holding(planned(exchange, wait).await?);
        let deadline = exchange.deadline().min(Instant::now() + runtime.execution.queue_time);
        let loaded = Arc::clone(&runtime.model);
        let job = move || run_ready(&loaded, ready, &names);
        return answered(exchange, executor.submit(&runtime.lane, deadline, job)).await;
    }
    // What runs together must be decoded before it is put together.
    let mut ready = if asked.len() <= INLINE_BYTES_MAX {
        prepare(&loaded, &asked, manner)?
    } else {
        let loaded = Arc::clone(&loaded);
        let job = move || prepare(&loaded, &asked, manner);
        answered(exchange, executor.submit(&runtime.lane, deadline, job)).await?
    };
    let mut deadline = deadline;
    if let Some(wait) = secure(&loaded, &mut ready, until)? {
        ready = ready.holding(planned(exchange, wait).await?);
        deadline = until.min(Instant::now() + runtime.execution.queue_time);
    }
    let Ready { id, prepared, form, input, batch, mut values } = ready;
    let finish = move |result: Result<Ran, InferError>| {
        let Ran { outputs, took } = result.map_err(model_problem)?;
        let began = Instant::now();
        see(&mut values, Role::Output, &outputs, &loaded.signature().outputs);
        let response = encode(&loaded, &form, &names, id.as_deref(), outputs)?;
        Ok(Prediction { response, input, infer: took, output: began.elapsed(), batch, values })
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
    outcome(exchange, pending, Cause::ModelPanic).await
}

/// Reads a request as the model's tensors say.
fn decode<'a>(loaded: &LocalModel, asked: &'a Asked) -> Result<(InferRequest<'a>, Form), Problem> {
    let signature = loaded.signature();
    let signature = Signature { inputs: &signature.inputs, outputs: &signature.outputs };
    let (request, form) = asked.decode(&Terms { signature: Some(signature), extractors: None })?;
    asked.check_signature(&request)?;
    Ok((request, form))
}

/// A request that may run together with others.
struct Ready {
    id: Option<String>,
    prepared: Prepared,
    form: Form,
    /// What reading it took.
    input: Duration,
    /// The first dimension of the first input.
    batch: Option<u32>,
    /// What the monitor counts of it.
    values: Option<Box<Values>>,
}

impl Ready {
    fn holding(self, held: Held) -> Self {
        Self { prepared: self.prepared.holding(held), ..self }
    }
}

/// What came of a request's turn on an executor thread.
enum Came {
    Ran(Prediction),
    /// It needs a plan first, for which it waits elsewhere.
    Waits(PlanWait, Box<(Ready, Names)>),
}

/// Sees to it that a request waits for no plan while it has a thread.
fn secure(
    loaded: &LocalModel,
    ready: &mut Ready,
    until: Instant,
) -> Result<Option<PlanWait>, Problem> {
    loaded.secure(&mut ready.prepared, until).map_err(unplanned)
}

/// Waits for a plan, which counts as time in the queue.
async fn planned(exchange: &mut Exchange, wait: PlanWait) -> Result<Held, Problem> {
    let (deadline, began) = (exchange.deadline(), Instant::now());
    let Ok(held) = exchange.context.clock.within(deadline, wait).await else {
        return Err(exchange.overdue(Cause::QueueTimeout));
    };
    let latency = exchange.latency();
    let waited = latency.t_queue.unwrap_or(0).saturating_add(micros(began.elapsed()));
    latency.t_queue = Some(waited);
    held.map_err(unplanned)
}

/// Why a request has no plan.
fn unplanned(error: Unplanned) -> Problem {
    match error {
        Unplanned::Refused { reason } => model_problem(InputError::Value { reason }.into()),
        Unplanned::Crowded => Problem::new(Cause::QueueFull, error.to_string()),
        Unplanned::Gone => Problem::new(Cause::QueueTimeout, error.to_string()),
    }
}

/// Takes what the monitor counts of `tensors`, where it does.
fn see(values: &mut Option<Box<Values>>, role: Role, tensors: &[Tensor], specs: &[TensorSpec]) {
    if let Some(values) = values {
        values.read(role, tensors, |name| specs.iter().position(|spec| spec.name == name));
    }
}

/// Decodes a request and checks that it fits.
fn prepare(loaded: &LocalModel, asked: &Asked, manner: Manner) -> Result<Ready, Problem> {
    let began = Instant::now();
    let (request, form) = decode(loaded, asked)?;
    let wanted: Vec<&str> = request.outputs.iter().map(|output| output.name.as_ref()).collect();
    let mut values = manner.monitored.then(Box::default);
    see(&mut values, Role::Input, &request.inputs, &loaded.signature().inputs);
    let batch = rows(&request.inputs);
    let prepared = loaded.prepare(request.inputs, &wanted);
    let prepared = prepared.map_err(|error| model_problem(error.into()))?.at_most(manner.longest);
    let id = request.id.map(|id| id.to_string());
    Ok(Ready { id, prepared, form, input: began.elapsed(), batch, values })
}

/// Runs a request that was prepared and waits for nothing.
fn run_ready(loaded: &LocalModel, ready: Ready, names: &Names) -> Result<Prediction, Problem> {
    let Ready { id, prepared, form, input, batch, mut values } = ready;
    let began = Instant::now();
    let outputs = loaded.run(&prepared).map_err(model_problem)?;
    let infer = began.elapsed();
    see(&mut values, Role::Output, &outputs, &loaded.signature().outputs);
    Made { id, outputs, input, infer, batch, values }.written(loaded, names, &form)
}

/// Whose fault it is that a model gave no answer.
fn model_problem(error: InferError) -> Problem {
    let cause = match &error {
        InferError::TooLong { bytes, limit } => {
            let detail = format!(
                "the answer would have about {bytes} bytes, and `limits.held_bodies` allows {limit}; ask for less"
            );
            return Problem::new(Cause::BadInput, detail);
        }
        InferError::Input(_) => Cause::BadInput,
        InferError::Model { .. } => Cause::Model,
        InferError::Panicked { .. } => Cause::ModelPanic,
    };
    Problem::new(cause, error.to_string())
}

/// The outputs of a run that was not put together with others, before they are written.
struct Made {
    id: Option<String>,
    outputs: Vec<Tensor>,
    input: Duration,
    infer: Duration,
    batch: Option<u32>,
    values: Option<Box<Values>>,
}

impl Made {
    fn written(
        self,
        loaded: &LocalModel,
        names: &Names,
        form: &Form,
    ) -> Result<Prediction, Problem> {
        let Self { id, outputs, input, infer, batch, values } = self;
        let began = Instant::now();
        let response = encode(loaded, form, names, id.as_deref(), outputs)?;
        Ok(Prediction { response, input, infer, output: began.elapsed(), batch, values })
    }
}

/// Runs what has been decoded since `decoding`.
fn run_here(
    loaded: &LocalModel,
    request: InferRequest<'_>,
    manner: Manner,
    decoding: Instant,
) -> Result<Made, Problem> {
    let mut values = manner.monitored.then(Box::default);
    see(&mut values, Role::Input, &request.inputs, &loaded.signature().inputs);
    let wanted: Vec<&str> = request.outputs.iter().map(|output| output.name.as_ref()).collect();
    let batch = rows(&request.inputs);
    let began = Instant::now();
    let prepared = loaded.prepare(request.inputs, &wanted);
    let prepared = prepared.map_err(|error| model_problem(error.into()))?.at_most(manner.longest);
    let outputs = loaded.run(&prepared).map_err(model_problem)?;
    let ran = Instant::now();
    see(&mut values, Role::Output, &outputs, &loaded.signature().outputs);
    let (input, infer) = (began.duration_since(decoding), ran.duration_since(began));
    let id = request.id.map(|id| id.into_owned());
    Ok(Made { id, outputs, input, infer, batch, values })
}

/// About how long an answer becomes. That it is not too long has been checked by the model, before it was
/// copied.
fn answer_bytes(outputs: &[Tensor]) -> usize {
    const NUMBER_BYTES: usize = 8;
    let bytes = outputs.iter().map(|output| match output.data() {
        TensorData::Bytes(texts) => texts.iter().map(|text| NUMBER_BYTES + text.len()).sum(),
        numbers => numbers.len().saturating_mul(NUMBER_BYTES),
    });
    bytes.sum()
}

fn encode(
    loaded: &LocalModel,
    form: &Form,
    names: &Names,
    id: Option<&str>,
    outputs: Vec<Tensor>,
) -> Result<Response<Bytes>, Problem> {
    let response = InferResponse {
        id: id.map(Into::into),
        model_name: names.model.as_str().into(),
        model_version: names.version.as_str().into(),
        outputs,
        ..InferResponse::default()
    };
    form.encode(response, |output| loaded.labels(output))
}
