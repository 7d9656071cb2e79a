//! One version of a model, loaded and ready to answer.
//!
//! Owns the steps from file to compiled plans and the containment of whatever goes wrong inside of a
//! model. Never blocks in [`LocalModel::infer`]: it computes, on the thread that calls it.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tract_onnx::Onnx;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{
    DatumType, InferenceFact, InferenceModelExt as _, TValue, TVec, TractError, TractResult,
    TypedModel,
};
use tract_onnx::tract_hir::internal::{Factoid as _, Symbol, TDim};

use super::artifact::{self, ArtifactError, LoadLimits};
use super::graph::{self, DeclaredDim, Interface, Refusal};
use super::plan::Plan;
use super::signature::{Dim, Dims, InputError, Signature};
use super::{boundary, contained, convert, ml, shortened};
use crate::protocol::tensor::{Datatype, Tensor, TensorSpec};

/// An ONNX model that answers in this process.
#[derive(Debug)]
pub struct LocalModel {
    signature: Signature,
    digest: [u8; 32],
    bytes: u64,
    cost: Duration,
    /// The elements of all inputs at batch size 1.
    row: usize,
    /// Takes inputs of any size.
    general: Plan,
    /// Compiled for batch size 1, which is what most requests have.
    single: Option<Plan>,
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

impl LocalModel {
    /// Reads, checks, compiles and warms up the model at `path`. Blocks for as long as that takes,
    /// milliseconds for small models.
    ///
    /// # Errors
    /// When the file cannot be read or the model in it cannot be served.
    pub fn load(path: &Path, limits: &LoadLimits) -> Result<Self, ArtifactError> {
        let artifact = artifact::read(path, limits.file_bytes)?;
        let compile_error = |reason: &str| ArtifactError::Compile {
            path: path.to_owned(),
            reason: shortened(reason),
        };
        let model = contained(|| Compiled::new(&artifact.bytes))
            .map_err(|panic| compile_error(&format!("tract panicked: {panic}")))?
            .map_err(|error| match error {
                CompileError::Refused(refusal) => refusal.at(path),
                CompileError::Tract(error) => compile_error(&format!("{error:#}")),
            })?;
        let row =
            model.signature.dims.iter().map(|dims| single_shape(dims).iter().product::<usize>());
        let mut model = Self {
            row: row.sum(),
            signature: model.signature,
            digest: artifact.digest,
            bytes: artifact.bytes.len() as u64,
            cost: Duration::MAX,
            general: model.general,
            single: model.single,
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

    /// Answers one request. `wanted` names the outputs in the order of the answer; empty for all.
    ///
    /// # Errors
    /// When the request does not fit the model, or the model fails on it.
    pub fn infer(&self, inputs: Vec<Tensor>, wanted: &[&str]) -> Result<Vec<Tensor>, InferError> {
        let selected = self.signature.select_outputs(wanted)?;
        let inputs = self.signature.order_inputs(inputs)?;
        let single = self.single.as_ref().filter(|_| self.is_single(&inputs));
        let plan = single.unwrap_or(&self.general);
        let run = || -> TractResult<Vec<Tensor>> {
            let values = inputs.iter().map(convert::to_tract).collect::<TractResult<TVec<_>>>()?;
            let outputs = plan.run(values)?;
            let pick = |position: &usize| {
                let spec = self.signature.outputs.get(*position);
                let output = spec.zip(outputs.get(*position));
                output.map(|(spec, value)| convert::from_tract(spec, value))
            };
            selected.iter().filter_map(pick).collect()
        };
        match contained(run) {
            Ok(Ok(outputs)) => Ok(outputs),
            Ok(Err(error)) => Err(failure(&error)),
            Err(reason) => Err(InferError::Panicked { reason }),
        }
    }

    /// What the model takes and returns.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The sha256 of the file.
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

    /// The size of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether every open dimension of `inputs` is 1.
    fn is_single(&self, inputs: &[Tensor]) -> bool {
        self.signature.dims.iter().zip(inputs).all(|(dims, input)| {
            dims.iter().zip(input.shape()).all(|(dim, &size)| match dim {
                Dim::Fixed(_) => true,
                Dim::Free(_) => size == 1,
            })
        })
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

    /// Runs the model on zeros at batch size 1, which also warms it up; the median of a few runs.
    fn measure(&self) -> Result<Duration, InferError> {
        const RUNS: usize = 7;
        const TIME_MAX: Duration = Duration::from_millis(500);
        let inputs = self.zeros().map_err(|error| failure(&error))?;
        let plans = [Some(&self.general), self.single.as_ref()];
        let started = Instant::now();
        let mut median = Duration::ZERO;
        for plan in plans.into_iter().flatten() {
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

    fn zeros(&self) -> TractResult<TVec<TValue>> {
        let specs = self.signature.inputs.iter().zip(&self.signature.dims);
        let zero =
            |(spec, dims): (&TensorSpec, &Dims)| convert::zeros(spec.datatype, &single_shape(dims));
        specs.map(zero).collect()
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

/// What comes out of compiling a file.
struct Compiled {
    signature: Signature,
    general: Plan,
    single: Option<Plan>,
}

enum CompileError {
    Refused(Refusal),
    Tract(TractError),
}

impl Compiled {
    fn new(bytes: &[u8]) -> Result<Self, CompileError> {
        let mut proto = graph::decode(bytes).map_err(CompileError::Refused)?;
        let columns = boundary::flatten(&mut proto, bytes).map_err(CompileError::Refused)?;
        let mut onnx = tract_onnx::onnx();
        ml::register(&mut onnx);
        let interface = graph::check(&onnx, &proto, bytes).map_err(CompileError::Refused)?;
        let mut compiled =
            Self::from_graph(&onnx, &proto, interface).map_err(CompileError::Tract)?;
        let texts = |(name, labels): (String, ml::Labels)| (name, labels.texts());
        compiled.signature.columns = columns.into_iter().map(texts).collect();
        Ok(compiled)
    }

    fn from_graph(onnx: &Onnx, proto: &ModelProto, interface: Interface) -> TractResult<Self> {
        let mut model = onnx.parse(proto, None)?.model;
        let mut open = OpenDims::default();
        let mut dims = Vec::with_capacity(interface.inputs.len());
        for (position, input) in interface.inputs.iter().enumerate() {
            let declared = model.input_fact(position)?.clone();
            let known = |axis| declared.shape.dim(axis).and_then(|dim| dim.concretize());
            let mut facts: TVec<TDim> = TVec::new();
            let mut input_dims = Dims::new();
            for (axis, dim) in input.dims.iter().enumerate() {
                let (dim, fact) = open.translate(dim, axis, known(axis), &mut |prefix| {
                    model.symbols.new_with_prefix(prefix)
                });
                input_dims.push(dim);
                facts.push(fact);
            }
            let datum_type = convert::datum_type(input.datatype).unwrap_or(DatumType::F32);
            model.set_input_fact(position, InferenceFact::dt_shape(datum_type, facts))?;
            dims.push(input_dims);
        }
        let model = model.into_typed()?.into_decluttered()?;
        let signature = signature(&model, interface, dims)?;
        let single = if open.symbols.is_empty() {
            None
        } else {
            let ones: Vec<_> = open.symbols.iter().map(|(_, symbol)| (symbol.clone(), 1)).collect();
            // Only an optimisation: a graph that cannot be specialised still runs as it is.
            contained(|| Plan::specialise(&model, &ones)).ok().and_then(Result::ok)
        };
        Ok(Self { signature, general: Plan::compile(model)?, single })
    }
}

/// The open dimensions found so far, each with its name; its position is its number.
#[derive(Default)]
struct OpenDims {
    symbols: Vec<(String, Symbol)>,
}

impl OpenDims {
    /// Turns a declared dimension into ours and tract's. Outermost dimensions without a name are taken
    /// to be the batch, which all inputs share; what tract made of a name is kept where it is an
    /// expression.
    fn translate(
        &mut self,
        declared: &DeclaredDim,
        axis: usize,
        known: Option<TDim>,
        fresh: &mut dyn FnMut(&str) -> Symbol,
    ) -> (Dim, TDim) {
        let name = match declared {
            DeclaredDim::Fixed(size) => return (Dim::Fixed(*size), TDim::from(*size)),
            DeclaredDim::Named(name) => name.clone(),
            DeclaredDim::Unknown if axis == 0 => String::new(),
            DeclaredDim::Unknown => format!("?{}", self.symbols.len()),
        };
        if let Some(number) = self.symbols.iter().position(|(known, _)| *known == name) {
            let symbol = self.symbols.get(number).map(|(_, symbol)| symbol.clone());
            let dim = symbol.map_or(TDim::Val(1), TDim::Sym);
            return (Dim::Free(number), dim);
        }
        let symbol = match known {
            Some(TDim::Sym(symbol)) => symbol,
            Some(_) | None => fresh("d"),
        };
        self.symbols.push((name, symbol.clone()));
        (Dim::Free(self.symbols.len() - 1), TDim::Sym(symbol))
    }
}

/// The declared inputs, and the outputs with the shapes that tract inferred.
fn signature(model: &TypedModel, interface: Interface, dims: Vec<Dims>) -> TractResult<Signature> {
    let inputs = interface.inputs.into_iter().zip(&dims).map(|(declared, dims)| {
        let shape = dims.iter().map(|dim| match dim {
            Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
            Dim::Free(_) => -1,
        });
        TensorSpec { name: declared.name, datatype: declared.datatype, shape: shape.collect() }
    });
    let inputs = inputs.collect();
    let outputs = interface.outputs.into_iter().enumerate().map(|(position, declared)| {
        let fact = model.output_fact(position)?;
        let shape = fact.shape.iter().map(|dim| dim.to_i64().unwrap_or(-1)).collect();
        Ok(TensorSpec { name: declared.name, datatype: declared.datatype, shape })
    });
    let outputs = outputs.collect::<TractResult<_>>()?;
    Ok(Signature { inputs, outputs, columns: HashMap::new(), dims })
}

impl Refusal {
    /// The error about the file at `path`.
    fn at(self, path: &Path) -> ArtifactError {
        let path = path.to_owned();
        match self {
            Self::NotOnnx(reason) => ArtifactError::NotOnnx { path, reason },
            Self::Malformed(reason) => ArtifactError::Malformed { path, reason },
            Self::Operator { operator, node } => {
                ArtifactError::UnsupportedOperator { path, operator, node }
            }
            Self::Input { input, found } => ArtifactError::UnsupportedInput { path, input, found },
            Self::Output { output, found } => {
                ArtifactError::UnsupportedOutput { path, output, found }
            }
            Self::UnknownRank { input } => ArtifactError::UnknownRank { path, input },
        }
    }
}
