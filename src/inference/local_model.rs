//! One version of a model, loaded and ready to answer.
//!
//! Owns the order of the steps from file to answers, and the containment of whatever goes wrong inside of a
//! model. Never blocks in [`LocalModel::infer`]: it computes, on the thread that calls it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tract_onnx::prelude::{TValue, TVec, Tensor as TractTensor, TractError, TractResult};

use super::artifact::{self, Artifact, ArtifactError, LoadLimits, seal};
use super::card::FittedCard;
use super::compile::{CompileError, Compiled};
use super::convert::Fill;
use super::plans::Plans;
use super::shapes::Sizes;
use super::signature::{Dim, Dims, InputError, Ordered, Signature};
use super::vet::{self, Verdict};
use super::{contained, convert, ml, shortened, trial};
use crate::domain::spec::{ModelCard, OnnxSpec};
use crate::protocol::tensor::{Datatype, Shape, Tensor, TensorSpec};

const MIB: u64 = 1024 * 1024;

/// An ONNX model that answers in this process.
#[derive(Debug)]
pub struct LocalModel {
    signature: Signature,
    digest: [u8; 32],
    bytes: u64,
    further: bool,
    cost: Duration,
    card: FittedCard,
    /// The elements of all inputs at batch size 1.
    row: usize,
    /// Why requests cannot run together, if so.
    no_batch: Option<String>,
    /// Why it takes one row only, if so.
    one_row: Option<String>,
    plans: Arc<Plans>,
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
    /// An operator failed on this input.
    #[error("the model failed: {reason}")]
    Model {
        /// What tract says; may quote shapes.
        reason: String,
    },
    /// An operator panicked on this input.
    #[error("the model panicked: {reason}")]
    Panicked {
        /// The message of the panic.
        reason: String,
    },
}

/// A request that fits the model, in the model's order.
#[derive(Debug, Clone)]
pub struct Prepared {
    inputs: Ordered,
    selected: SmallVec<[usize; 4]>,
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
        let compiled = contained(|| Compiled::new(path, file, beside))
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
        let row = signature.dims.iter().map(|dims| single_shape(dims).iter().product::<usize>());
        let mut model = LocalModel {
            row: row.sum(),
            signature,
            digest,
            bytes,
            further: !compiled.further.is_empty(),
            cost: Duration::MAX,
            card: card.unwrap_or_default(),
            no_batch: compiled.no_batch,
            one_row: compiled.one_row,
            plans: Arc::new(compiled.plans),
            run_bytes: limits.run_bytes,
            panics: AtomicU64::new(0),
        };
        match model.measure() {
            Ok(cost) => model.cost = cost,
            // A graph with more than one open dimension may rightly fail when all of them are 1, and one
            // that takes categories or texts on zeros; it is then taken for expensive.
            Err(_fails) if model.open_dims() > 1 || model.takes_texts() => {}
            Err(InferError::Input(InputError::Value { .. })) => {}
            Err(error) => {
                let reason = error.to_string();
                return Err(ArtifactError::Trial { path: path.to_owned(), reason });
            }
        }
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
        Ok(Prepared { inputs, selected })
    }

    /// Answers one request that was prepared by this model.
    ///
    /// # Errors
    /// When the model fails on it.
    pub fn run(&self, prepared: &Prepared) -> Result<Vec<Tensor>, InferError> {
        let answer = self.failing(|| {
            let inputs = prepared.inputs.iter();
            let values = inputs.map(convert::to_tract).collect::<TractResult<TVec<_>>>()?;
            let outputs = self.run_plan(values)?;
            self.pick(&prepared.selected, |position| Ok(outputs.get(position).cloned()))
        });
        answer.map_err(|error| match error {
            // Some operators have no answer to nothing, which is no failure of the model.
            InferError::Model { reason } if prepared.is_empty() => {
                let reason = format!("there are no rows in them ({reason})");
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
            let outputs = self.run_plan(values.collect::<TractResult<TVec<_>>>()?)?;
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
    fn run_plan(&self, values: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let sizes = self.sizes(&values);
        let bytes = self.plans.peak(&sizes);
        if bytes > self.run_bytes {
            let (needs, limit) = (bytes.div_ceil(MIB), self.run_bytes / MIB);
            let reason = format!(
                "for inputs of these sizes the tensors inside of the model would take about {needs} MiB, \
                 and `inference.run_memory` allows {limit} MiB"
            );
            return Err(ml::Unacceptable::new(reason).into());
        }
        self.plans.run(&sizes, values)
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

    /// Whether requests may run together: every input and output begins with the same open dimension,
    /// and rows are answered alike alone and in company, which is tried.
    ///
    /// # Errors
    /// [`ArtifactError::Batch`] says what speaks against it.
    pub fn check_batching(&self, path: &Path) -> Result<(), ArtifactError> {
        let refuse = |reason| ArtifactError::Batch { path: path.to_owned(), reason };
        match &self.no_batch {
            Some(reason) => Err(refuse(reason.clone())),
            None => trial::rows_are_independent(self).map_err(refuse),
        }
    }

    /// What the model takes and returns.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The digest of the version: the sha256 of its file, or of all its files.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The time of one run at batch size 1, measured when the model was loaded.
    pub fn cost(&self) -> Duration {
        self.cost
    }

    /// An upper estimate for one run on `inputs`: [`Self::cost`] for each row. What decides whether a
    /// request may run on a data-plane worker, so that a cheap model with a huge batch does not.
    pub fn cost_of(&self, inputs: &[Tensor]) -> Duration {
        let elements: usize = inputs.iter().map(|input| input.data().len()).sum();
        let rows = elements.div_ceil(self.row.max(1)).max(1);
        self.cost.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX))
    }

    /// An estimate of the memory that the model takes, in bytes: the tables of its trees and support
    /// vectors once, its constants once for each plan.
    pub fn memory(&self) -> u64 {
        self.plans.memory().max(self.bytes)
    }

    /// The plans that the model holds: the general one, one for single rows, some for frequent sizes.
    pub fn plans(&self) -> usize {
        self.plans.held()
    }

    /// Plans that were made for frequent sizes since the model was loaded.
    pub fn plans_made(&self) -> u64 {
        self.plans.made()
    }

    /// The names of the classes of an output, in the order of its places; empty where nobody named them.
    pub fn labels(&self, output: &str) -> &[String] {
        self.signature.columns.get(output).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether all inputs and outputs begin with the same open dimension, one row for each prediction.
    pub fn has_batch(&self) -> bool {
        self.no_batch.is_none()
    }

    /// Why the model is compiled for one row although the file leaves their number open, if so.
    pub fn one_row(&self) -> Option<&str> {
        self.one_row.as_deref()
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
        let mut sizes = Sizes::new();
        for (dims, value) in self.signature.dims.iter().zip(values) {
            for (dim, &size) in dims.iter().zip(value.shape()) {
                // Numbers are given in the order of their first appearance.
                if *dim == Dim::Free(sizes.len()) {
                    sizes.push(size);
                }
            }
        }
        sizes
    }

    fn takes_texts(&self) -> bool {
        self.signature.inputs.iter().any(|input| input.datatype == Datatype::Bytes)
    }

    fn open_dims(&self) -> usize {
        let number = |dim: &Dim| match dim {
            Dim::Fixed(_) => 0,
            Dim::Free(number) => number + 1,
        };
        self.signature.dims.iter().flatten().map(number).max().unwrap_or(0)
    }

    /// Runs the model at batch size 1 on its sample, or on zeros, which also warms it up. A model that
    /// fails on zeros, as one that divides by an integer does, gets ones.
    fn measure(&self) -> Result<Duration, InferError> {
        self.measure_on(Fill::Zeros).or_else(|error| match error {
            InferError::Input(InputError::Value { .. }) => Err(error),
            _ => self.measure_on(Fill::Ones),
        })
    }

    /// The median of a few runs.
    fn measure_on(&self, fill: Fill) -> Result<Duration, InferError> {
        const RUNS: usize = 7;
        const TIME_MAX: Duration = Duration::from_millis(500);
        let inputs = self.sample(fill).map_err(|error| failure(&error))?;
        let started = Instant::now();
        let mut median = Duration::ZERO;
        for plan in self.plans.first() {
            let mut times = Vec::with_capacity(RUNS);
            for _ in 0..RUNS {
                let start = Instant::now();
                contained(|| plan.run(inputs.clone()))
                    .map_err(|reason| InferError::Panicked { reason })?
                    .map_err(|error| failure(&error))?;
                times.push(start.elapsed());
                if started.elapsed() > TIME_MAX {
                    break;
                }
            }
            times.sort_unstable();
            median = times.get(times.len() / 2).copied().unwrap_or_default();
        }
        Ok(median)
    }

    /// One row of each input: the sample of the card, and `fill` where it has none.
    fn sample(&self, fill: Fill) -> TractResult<TVec<TValue>> {
        let specs = self.signature.inputs.iter().zip(&self.signature.dims).enumerate();
        let row = |(position, (spec, dims)): (usize, (&TensorSpec, &Dims))| {
            let shape = single_shape(dims);
            match self.card.sample(position, spec, &shape) {
                Some(sample) => convert::to_tract(&sample),
                None => convert::filled(spec.datatype, &shape, fill),
            }
        };
        specs.map(row).collect()
    }
}

/// Tells an input that no operator takes from an operator that fails.
fn failure(error: &TractError) -> InferError {
    match error.root_cause().downcast_ref::<ml::Unacceptable>() {
        Some(unacceptable) => InputError::Value { reason: unacceptable.to_string() }.into(),
        None => InferError::Model { reason: shortened(&format!("{error:#}")) },
    }
}

/// The shape of an input whose open dimensions are 1.
fn single_shape(dims: &Dims) -> TVec<usize> {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => *size,
        Dim::Free(_) => 1,
    };
    dims.iter().map(size).collect()
}
