//! One version of a model, loaded and ready to answer.
//!
//! Owns the order of the steps from file to answers, and the containment of whatever goes wrong inside of a
//! model. Never blocks in [`LocalModel::infer`]: it computes, on the thread that calls it.

mod trials;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tract_onnx::prelude::{TValue, TVec, Tensor as TractTensor, TractError, TractResult};

use super::artifact::{self, Artifact, ArtifactError, LoadLimits, seal};
use super::by_size::{Held, PlanWait, Secured, Unplanned};
use super::card::FittedCard;
use super::compile::{Bound, CompileError, Compiled};
use super::form::Form;
use super::shapes::Sizes;
use super::signature::{Dim, InputError, Ordered, Signature};
use super::vet::{self, Verdict};
use super::{contained, convert, ml, shortened, sizes, trial, without_values};
use crate::domain::spec::{ModelCard, OnnxSpec};
use crate::protocol::tensor::{Shape, Tensor};

/// No further rows are tried after that, for batches of requests.
const TRIAL_TIME: Duration = Duration::from_mins(2);

/// An ONNX model that answers in this process.
#[derive(Debug)]
pub struct LocalModel {
    signature: Signature,
    digest: [u8; 32],
    /// Of the file alone.
    sha256: [u8; 32],
    bytes: u64,
    further: bool,
    /// One run at batch size 1, where it could be measured.
    cost: Option<Duration>,
    card: FittedCard,
    /// The elements of all inputs at batch size 1.
    row: usize,
    /// Why requests cannot run together, if so.
    no_batch: Option<String>,
    /// Which operator mixes the rows of a batch, if one is known to.
    mixing: Option<String>,
    /// Why no plan takes all sizes that its file leaves open, if so.
    bound: Option<Bound>,
    form: Form,
    /// What the tensors inside of a run may take.
    run_bytes: u64,
    /// Requests that ended in a panic.
    panics: AtomicU64,
}

/// A request that got no answer from the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InferError {
    /// The request does not fit the model: the client's fault.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The answer would be longer than the caller takes: it asks for too much.
    #[error("the answer would have about {bytes} bytes, and {limit} are allowed; ask for less")]
    TooLong {
        /// Numbers as JSON writes them, and texts.
        bytes: u64,
        /// See [`Prepared::at_most`].
        limit: u64,
    },
    /// An operator failed on this input.
    #[error("the model failed: {reason}")]
    Model {
        /// What tract says up to the first tensor that it quotes: shapes, an index perhaps, no elements.
        reason: String,
    },
    /// An operator panicked on this input.
    #[error("the model panicked: {reason}")]
    Panicked {
        /// The message of the panic, up to the first tensor that it quotes.
        reason: String,
    },
}

/// A request that fits the model, in the model's order.
#[derive(Debug, Clone)]
pub struct Prepared {
    inputs: Ordered,
    selected: SmallVec<[usize; 4]>,
    /// The most bytes of the answer.
    longest: u64,
    /// What it has of plans; nothing where it may have them made when it runs.
    held: Option<Held>,
}

/// What requests have in common that may run together: all dimensions but the first, and the outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Likeness {
    shapes: SmallVec<[Shape; 2]>,
    selected: SmallVec<[usize; 4]>,
}

impl Prepared {
    /// The first dimension of the first input; 0 if there is none.
    pub fn rows(&self) -> usize {
        self.inputs.first().and_then(|input| input.shape().first()).copied().unwrap_or(0)
    }

    /// With a bound on the answer, in bytes: it is refused before it is copied out of the model's memory.
    #[must_use]
    pub fn at_most(self, longest: u64) -> Self {
        Self { longest, ..self }
    }

    /// With the plan that it waited for.
    #[must_use]
    pub fn holding(self, held: Held) -> Self {
        Self { held: Some(held), ..self }
    }

    pub(super) fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    /// Whether an input has no elements.
    fn is_empty(&self) -> bool {
        self.inputs.iter().any(|input| input.data().len() == 0)
    }

    pub(super) fn likeness(&self) -> Likeness {
        let shape = |input: &Tensor| input.shape().iter().skip(1).copied().collect();
        Likeness {
            shapes: self.inputs.iter().map(shape).collect(),
            selected: self.selected.clone(),
        }
    }
}

/// A model file that was read and not looked into.
#[derive(Debug)]
pub struct ModelFile {
    artifact: Artifact,
    limits: LoadLimits,
}

impl ModelFile {
    /// The sha256 of the file.
    pub fn sha256(&self) -> [u8; 32] {
        self.artifact.digest
    }

    /// Checks, compiles and warms up the model. Blocks for as long as that takes, milliseconds for small
    /// models. With a `verdict`, it must be about this very artifact.
    ///
    /// # Errors
    /// When something that is asked for does not hold, or the model cannot be served.
    pub fn load(
        self,
        spec: &OnnxSpec,
        card: Option<&ModelCard>,
        verdict: Option<&Verdict>,
    ) -> Result<LocalModel, ArtifactError> {
        let Self { artifact: Artifact { bytes: file, digest: sha256 }, limits } = self;
        let path = spec.path.as_path();
        let compile_error = |reason: &str| ArtifactError::Compile {
            path: path.to_owned(),
            reason: shortened(reason),
        };
        let bytes = file.len() as u64;
        let beside = limits.file_bytes.saturating_sub(bytes);
        let compiled = contained(|| Compiled::new(path, file, beside, limits.run_bytes))
            .map_err(|panic| compile_error(&format!("tract panicked: {panic}")))?
            .map_err(|error| match error {
                CompileError::Artifact(error) => error,
                CompileError::Tract(error) => compile_error(&format!("{error:#}")),
            })?;
        let digest = seal::version_digest(path, sha256, &compiled.further);
        if verdict.is_some_and(|verdict| !vet::is_about(verdict, digest)) {
            return Err(ArtifactError::Changed { path: path.to_owned() });
        }
        seal::check(spec, sha256, &compiled.further, digest)?;
        let mut signature = compiled.signature;
        let card = card.map(|card| FittedCard::new(card, &mut signature)).transpose();
        let card = card.map_err(|reason| ArtifactError::Card { path: path.to_owned(), reason })?;
        let mut model = LocalModel {
            row: 0,
            signature,
            digest,
            sha256,
            bytes,
            further: !compiled.further.is_empty(),
            cost: None,
            card: card.unwrap_or_default(),
            no_batch: compiled.no_batch,
            mixing: compiled.mixing,
            bound: compiled.bound,
            form: compiled.form,
            run_bytes: limits.run_bytes,
            panics: AtomicU64::new(0),
        };
        let row = model.signature.dims.iter().map(|dims| model.ordinary_shape(dims));
        let row = row.map(|shape| shape.into_iter().fold(1, usize::saturating_mul));
        model.row = row.fold(0, usize::saturating_add);
        match model.measure() {
            Ok(cost) => model.cost = Some(cost),
            Err(error) => {
                let reason = error.to_string();
                model.try_sizes(error).map_err(|error| ArtifactError::Trial {
                    path: path.to_owned(),
                    reason: error.to_string(),
                })?;
                let path = path.display();
                tracing::info!(%path, reason, "the cost of a model cannot be measured");
            }
        }
        model.try_parts(path);
        Ok(model)
    }
}

impl LocalModel {
    /// Reads the file of `spec`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(spec: &OnnxSpec, limits: &LoadLimits) -> Result<ModelFile, ArtifactError> {
        let artifact = artifact::read(&spec.path, limits.file_bytes)?;
        Ok(ModelFile { artifact, limits: *limits })
    }

    /// Loads the model file at `path`, with nothing else asked of it.
    ///
    /// # Errors
    /// Those of [`Self::read`] and [`ModelFile::load`].
    pub fn load(path: &Path, limits: &LoadLimits) -> Result<Self, ArtifactError> {
        let spec = OnnxSpec::new(path);
        Self::read(&spec, limits)?.load(&spec, None, None)
    }

    /// Answers one request. `wanted` names the outputs in the order of the answer; empty for all.
    ///
    /// # Errors
    /// When the request does not fit the model, or the model fails on it.
    pub fn infer(&self, inputs: Vec<Tensor>, wanted: &[&str]) -> Result<Vec<Tensor>, InferError> {
        let prepared = self.prepare(inputs, wanted)?;
        self.run(&prepared)
    }

    /// Checks that a request fits the model and puts it into the model's order. Cheap.
    ///
    /// # Errors
    /// When it does not: the client's fault.
    pub fn prepare(&self, inputs: Vec<Tensor>, wanted: &[&str]) -> Result<Prepared, InputError> {
        let selected = self.signature.select_outputs(wanted)?;
        let mut inputs = self.signature.order_inputs(inputs)?;
        self.card.prepare(&mut inputs);
        Ok(Prepared { inputs, selected, longest: u64::MAX, held: None })
    }

    /// Sees to it that a request waits for no plan when it runs. One that needs a plan that is not there waits before, where it
    /// takes no thread, and then [holds](Prepared::holding) it; until when it does so is known here. Never blocks.
    ///
    /// # Errors
    /// When there can be no plan for its sizes, or too many wait.
    pub fn secure(
        &self,
        prepared: &mut Prepared,
        until: Instant,
    ) -> Result<Option<PlanWait>, Unplanned> {
        let sizes = self.sizes_of(prepared.inputs.iter().map(Tensor::shape));
        match self.form.secure(&sizes, until)? {
            Secured::Held(held) => {
                prepared.held = Some(held);
                Ok(None)
            }
            Secured::Wait(wait) => Ok(Some(wait)),
        }
    }

    /// Answers one request that was prepared by this model. One that is not [secured](Self::secure) has the plans made that it
    /// lacks, and may block for as long as that takes.
    ///
    /// # Errors
    /// When the model fails on it.
    pub fn run(&self, prepared: &Prepared) -> Result<Vec<Tensor>, InferError> {
        let answer = self.failing(|| {
            let inputs = prepared.inputs.iter();
            let values = inputs.map(convert::to_tract).collect::<TractResult<TVec<_>>>()?;
            let outputs = self.run_plan(values, prepared.held.as_ref())?;
            check_length(prepared, &outputs)?;
            self.pick(&prepared.selected, |position| Ok(outputs.get(position).cloned()))
        });
        answer.map_err(|error| match error {
            // Some operators have no answer to nothing, which is no failure of the model.
            InferError::Model { reason } | InferError::Panicked { reason }
                if prepared.is_empty() =>
            {
                let reason = format!("there are no elements in one of them ({reason})");
                InputError::Value { reason }.into()
            }
            error => error,
        })
    }

    /// Answers several requests that are alike with one run, each with its own rows of the outputs.
    pub(super) fn run_together(&self, group: &[Prepared]) -> Result<Vec<Vec<Tensor>>, InferError> {
        self.failing(|| {
            let values = (0..self.signature.inputs.len()).map(|position| {
                let parts = group.iter().filter_map(|prepared| prepared.inputs.get(position));
                let parts = parts.map(convert::to_tract).collect::<TractResult<Vec<_>>>()?;
                TractTensor::stack_tensors(0, &parts).map(Into::into)
            });
            let held = group.first().and_then(|prepared| prepared.held.as_ref());
            let outputs = self.run_plan(values.collect::<TractResult<TVec<_>>>()?, held)?;
            // What is too long for one of them together is not when they run one by one.
            group.iter().try_for_each(|prepared| check_length(prepared, &outputs))?;
            let rows: usize = group.iter().map(Prepared::rows).sum();
            if let Some(output) = outputs.iter().find(|o| o.shape().first() != Some(&rows)) {
                let shape = output.shape();
                return Err(TractError::msg(format!("{rows} rows gave an output of {shape:?}")));
            }
            let mut start = 0;
            let answers = group.iter().map(|prepared| {
                let end = start + prepared.rows();
                let rows = |position: usize| {
                    let output = outputs.get(position);
                    output.map(|output| output.slice(0, start, end).map(Into::into)).transpose()
                };
                let answer = self.pick(&prepared.selected, rows);
                start = end;
                answer
            });
            answers.collect()
        })
    }

    /// Runs `f` and sorts what goes wrong in it.
    fn failing<T>(&self, f: impl FnOnce() -> TractResult<T>) -> Result<T, InferError> {
        match contained(f) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(failure(&error)),
            Err(reason) => {
                self.panics.fetch_add(1, Relaxed);
                Err(InferError::Panicked { reason })
            }
        }
    }

    /// Runs the plan that was made for the shapes of `values`, or the general one.
    fn run_plan(&self, values: TVec<TValue>, held: Option<&Held>) -> TractResult<TVec<TValue>> {
        self.form.run(&self.sizes(&values), values, self.run_bytes, held)
    }

    /// The selected outputs out of those that `output` gives by position.
    fn pick(
        &self,
        selected: &[usize],
        mut output: impl FnMut(usize) -> TractResult<Option<TValue>>,
    ) -> TractResult<Vec<Tensor>> {
        let mut picked = Vec::with_capacity(selected.len());
        for &position in selected {
            let spec = self.signature.outputs.get(position);
            if let (Some(spec), Some(value)) = (spec, output(position)?) {
                picked.push(convert::from_tract(spec, &value)?);
            }
        }
        Ok(picked)
    }

    /// Whether requests may run together: every input and output begins with the same open dimension, no
    /// operator is known to mix rows, and they are answered alike alone and in company, which is tried.
    ///
    /// # Errors
    /// [`ArtifactError::Batch`] says what speaks against it.
    pub fn check_batching(&self, path: &Path) -> Result<(), ArtifactError> {
        let refuse = |reason| ArtifactError::Batch { path: path.to_owned(), reason };
        match self.no_batch.as_ref().or(self.mixing.as_ref()) {
            Some(reason) => return Err(refuse(reason.clone())),
            None => trial::rows_are_independent(self, path, TRIAL_TIME).map_err(refuse)?,
        }
        if let Form::BySize(plans) = &self.form {
            plans.run_in_parts();
        }
        Ok(())
    }

    /// What the model takes and returns.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The sha256 of its file.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// The digest of the version: the sha256 of its file, or of all its files.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The time of one run at batch size 1, measured when the model was loaded; `None` where it does not run
    /// on zeros or ones of that size.
    pub fn cost(&self) -> Option<Duration> {
        self.cost
    }

    /// [`Self::cost`] in microseconds.
    pub fn cost_us(&self) -> Option<u64> {
        self.cost.map(|cost| u64::try_from(cost.as_micros()).unwrap_or(u64::MAX))
    }

    /// An upper estimate for one run on `inputs`: [`Self::cost`] for each row, and where a row has open
    /// dimensions too for the square, since each of their places may be held against each other. What decides
    /// whether a request may run on a data-plane worker, so that a cheap model with a huge batch does not.
    /// `None` where nothing tells: values decide sizes, the cost was not measured, or a plan may have to be made first.
    pub fn cost_of(&self, inputs: &[Tensor]) -> Option<Duration> {
        if self.form.is_open() || !self.is_at_hand(inputs) {
            return None;
        }
        let elements: usize = inputs.iter().map(|input| input.data().len()).sum();
        let rows = elements.div_ceil(self.row.max(1)).max(1);
        let times = if self.open_dims() > 1 { rows.saturating_mul(rows) } else { rows };
        Some(self.cost?.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX)))
    }

    /// An estimate of the memory that the model takes, in bytes: the tables of its trees and support
    /// vectors once, its constants once for each plan.
    pub fn memory(&self) -> u64 {
        self.form.memory().max(self.bytes)
    }

    /// The plans that the model holds: the general one, one for single rows, some for frequent sizes; or those for certain
    /// sizes, where there is no general one.
    pub fn plans(&self) -> usize {
        self.form.held()
    }

    pub(super) fn form(&self) -> &Form {
        &self.form
    }

    /// Plans that were made for sizes since the model was loaded.
    pub fn plans_made(&self) -> u64 {
        self.form.made()
    }

    /// The names of the classes of an output, in the order of its places; empty where nobody named them.
    pub fn labels(&self, output: &str) -> &[String] {
        self.signature.columns.get(output).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether all inputs and outputs begin with the same open dimension, one row for each prediction.
    pub fn has_batch(&self) -> bool {
        self.no_batch.is_none()
    }

    /// Requests that waited for a plan for their sizes.
    pub fn plan_waits(&self) -> u64 {
        self.form.waited()
    }

    /// Requests that were turned away because too many waited for plans for their sizes.
    pub fn plan_refusals(&self) -> u64 {
        self.form.crowded()
    }

    /// What became of a model that no plan for all sizes that its file leaves open can be made of, if it is one.
    pub fn bound(&self) -> Option<&Bound> {
        self.bound.as_ref()
    }

    /// Whether requests run in parts, for which there are plans.
    pub fn runs_in_parts(&self) -> bool {
        matches!(&self.form, Form::BySize(plans) if plans.runs_in_parts())
    }

    /// Runs that panicked since the model was loaded; each failed its requests.
    pub fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    /// What `model.toml` says about the contract with callers.
    pub fn interface(&self) -> Option<u32> {
        self.card.interface()
    }

    /// Whether a part of the model lies in further files.
    pub(super) fn has_further_files(&self) -> bool {
        self.further
    }

    /// The size of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The sizes of the open dimensions, by their numbers.
    fn sizes(&self, values: &[TValue]) -> Sizes {
        self.sizes_of(values.iter().map(|value| value.shape()))
    }

    fn sizes_of<'a>(&self, shapes: impl Iterator<Item = &'a [usize]>) -> Sizes {
        let mut sizes = Sizes::new();
        for (dims, shape) in self.signature.dims.iter().zip(shapes) {
            for (dim, &size) in dims.iter().zip(shape) {
                // Numbers are given in the order of their first appearance.
                if *dim == Dim::Free(sizes.len()) {
                    sizes.push(size);
                }
            }
        }
        sizes
    }

    fn open_dims(&self) -> usize {
        sizes::count(&self.signature.dims)
    }
}

/// Tells an input that no operator takes, and an answer that is too long, from an operator that fails.
pub(super) fn failure(error: &TractError) -> InferError {
    let cause = error.root_cause();
    if let Some(unacceptable) = cause.downcast_ref::<ml::Unacceptable>() {
        return InputError::Value { reason: unacceptable.to_string() }.into();
    }
    match cause.downcast_ref::<TooLong>() {
        Some(&TooLong { bytes, limit }) => InferError::TooLong { bytes, limit },
        None => InferError::Model { reason: shortened(&without_values(&format!("{error:#}"))) },
    }
}

/// An answer that is longer than the caller takes, on its way through tract's errors.
#[derive(Debug, thiserror::Error)]
#[error("the answer has {bytes} bytes, {limit} are allowed")]
struct TooLong {
    bytes: u64,
    limit: u64,
}

/// Refuses outputs that are longer than the request takes, as they lie in tract's memory.
fn check_length(prepared: &Prepared, outputs: &[TValue]) -> TractResult<()> {
    let limit = prepared.longest;
    let wanted = prepared.selected.iter().filter_map(|position| outputs.get(*position));
    let bytes = convert::answer_bytes(wanted.map(|output| &**output));
    if bytes > limit { Err(TooLong { bytes, limit }.into()) } else { Ok(()) }
}
