//! From the bytes of a model file to compiled plans.
//!
//! Owns the translation of declared dimensions, and what the model takes and returns. Contains nothing
//! that goes wrong inside of tract: that is up to the caller.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use prost::Message;
use tract_onnx::prelude::{
    DatumType, InferenceFact, InferenceModel, InferenceModelExt as _, TVec, Tensor, TractResult,
    TypedModel,
};
use tract_onnx::tract_hir::internal::{Factoid as _, Symbol, SymbolScope, TDim, TractError};
use tract_onnx::tract_hir::tract_core::ops::konst::Const;

use super::artifact::ArtifactError;
use super::artifact::external::{self, Further};
use super::footprint::{self, Footprint};
use super::form::Form;
use super::graph::{self, DeclaredDim, Interface, Refusal};
use super::plans::Plans;
use super::signature::{Dim, Dims, Signature};
use super::{boundary, by_size, contained, convert, ml, onnx, rows, shortened, sizes};
use crate::protocol::tensor::TensorSpec;

/// What comes out of compiling a file.
pub(super) struct Compiled {
    pub(super) signature: Signature,
    /// Why requests cannot run together, if so.
    pub(super) no_batch: Option<String>,
    /// Which operator mixes the rows of a batch, if one is known to.
    pub(super) mixing: Option<String>,
    /// Why it does not take all sizes that its file leaves open with one plan, if so.
    pub(super) bound: Option<Bound>,
    pub(super) form: Form,
    /// The files beside the model file that hold a part of it.
    pub(super) further: Further,
}

/// What became of a model that cannot be compiled as its file declares its sizes, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// The inputs begin with dimensions of different names, which are taken for one batch.
    Joined(String),
    /// There are plans for certain sizes only.
    BySize(String),
    /// It takes one row.
    OneRow(String),
}

pub(super) enum CompileError {
    Artifact(ArtifactError),
    Tract(TractError),
}

impl Compiled {
    /// Compiles the model file at `path`, which has these bytes, with at most `limit` bytes beside it, for runs
    /// that take at most `run_bytes`. Each form of the model is dropped as soon as the next is there: the
    /// constants may be large.
    pub(super) fn new(
        path: &Path,
        bytes: Vec<u8>,
        limit: u64,
        run_bytes: u64,
    ) -> Result<Self, CompileError> {
        let refused = |refusal: Refusal| CompileError::Artifact(refusal.at(path));
        let mut proto = graph::decode(&bytes).map_err(refused)?;
        let columns = boundary::flatten(&mut proto, &bytes).map_err(refused)?;
        let mut tract = tract_onnx::onnx();
        ml::register(&mut tract);
        onnx::register(&mut tract);
        let interface = graph::check(&tract, &proto, &bytes).map_err(refused)?;
        let own = proto.graph.iter().flat_map(|graph| &graph.node);
        let own = own.filter(|node| node.domain == ml::DOMAIN).map(Message::encoded_len);
        let rest = bytes.len().saturating_sub(own.sum()) as u64;
        drop(bytes);
        let further = external::take_in(&mut proto, path, limit).map_err(CompileError::Artifact)?;
        let parsed = tract.parse(&proto, None).map_err(CompileError::Tract)?.model;
        drop(proto);
        let given =
            bytes_of(parsed.nodes().iter().filter_map(|node| Some(node.op_as::<Const>()?.val())));
        let unnamed = Mutex::default();
        let recipe = Arc::new(Recipe { parsed, rest, given, run_bytes, unnamed });
        let compiled = Self::for_any_size(&recipe, &interface);
        let mut compiled = compiled.map_err(CompileError::Tract)?;
        compiled.further = further;
        let texts = |(name, labels): (String, ml::Labels)| (name, labels.texts());
        compiled.signature.columns = columns.into_iter().map(texts).collect();
        for input in &mut compiled.signature.inputs {
            if let Some(keys) = compiled.signature.columns.get(&input.name) {
                input.places.clone_from(keys);
            }
        }
        Ok(compiled)
    }

    /// Compiles for any sizes or, where tract cannot or such a plan fails on two rows, for the sizes that are asked for, or
    /// for one row: what depends on the sizes is a constant then.
    fn for_any_size(recipe: &Arc<Recipe>, interface: &Interface) -> TractResult<Self> {
        let error = match recipe.general(interface.clone()) {
            Ok(compiled) => return Ok(compiled),
            Err(error) => error,
        };
        let reason = shortened(&format!("{error:#}"));
        let joined = interface.joined();
        if let Some(Ok(compiled)) = joined.clone().map(|joined| recipe.general(joined)) {
            return Ok(Self { bound: Some(Bound::Joined(reason)), ..compiled });
        }
        match by_size::compile(Arc::clone(recipe), joined.as_ref().unwrap_or(interface)) {
            Ok(compiled) => return Ok(Self { bound: Some(Bound::BySize(reason)), ..compiled }),
            Err(why) => tracing::debug!(why, "there are no plans for certain sizes"),
        }
        match interface.one_row().map(|one_row| recipe.compile(one_row)) {
            Some(Ok(compiled)) => Ok(Self { bound: Some(Bound::OneRow(reason)), ..compiled }),
            Some(Err(_)) | None => Err(error),
        }
    }
}

/// What a model is compiled from.
#[derive(Debug)]
pub(super) struct Recipe {
    parsed: InferenceModel,
    /// The length of the file without our own operators, whose values all plans share.
    rest: u64,
    /// The constants of the file and beside it, in bytes.
    given: u64,
    /// What a run may take.
    run_bytes: u64,
    /// Symbols for dimensions without a name, which all plans share: they are never forgotten. Taken for a moment by those who
    /// make plans.
    unnamed: Mutex<Vec<Symbol>>,
}

/// A graph whose types and shapes are known.
pub(super) struct Typed {
    pub(super) model: TypedModel,
    open: OpenDims,
    dims: Vec<Dims>,
    /// The bytes of all that was constant when the shapes had become known, before it was worked out further.
    folded: u64,
}

impl Recipe {
    /// Compiles for the open dimensions of `interface`, if two rows run where the batch is open, and no operator needs the
    /// number of another.
    fn general(&self, interface: Interface) -> TractResult<Compiled> {
        let compiled = self.compile(interface)?;
        let Form::AnySize(plans) = &compiled.form else { return Ok(compiled) };
        match sizes::shortcoming(plans, &compiled.signature, self.run_bytes) {
            Some(error) => Err(TractError::msg(error)),
            None => Ok(compiled),
        }
    }

    /// Compiles with the open dimensions of `interface`.
    fn compile(&self, interface: Interface) -> TractResult<Compiled> {
        whole(|| {
            let Typed { model, open, dims, folded: _ } = self.typed(&interface)?;
            let no_batch = open.no_batch(&model, &dims)?;
            let batch = open.batch(&dims).and_then(|number| open.symbols.get(number));
            // Before operators are put into others, which do not show what they look at.
            let mixing = batch.map(|(_, batch)| rows::mixing(&model, batch)).transpose()?.flatten();
            let model = self.guarded(model)?;
            let signature = signature(&model, interface, dims)?;
            let bytes = self.constant_bytes(&model);
            let form = Form::AnySize(Arc::new(Plans::new(model, open.into_symbols(), bytes)?));
            let further = Further::default();
            Ok(Compiled { signature, no_batch, mixing, bound: None, form, further })
        })
    }

    /// Compiles the one plan for what `interface` leaves open.
    ///
    /// # Errors
    /// When it cannot be compiled.
    pub(super) fn alone(&self, interface: Interface) -> TractResult<(Plans, Signature)> {
        whole(|| {
            let Typed { model, open, dims, folded } = self.typed(&interface)?;
            let model = self.guarded(model)?;
            let signature = signature(&model, interface, dims)?;
            let bytes = self.constant_bytes(&model);
            Ok((Plans::alone(model, open.into_symbols(), bytes, folded)?, signature))
        })
    }

    /// What a plan for what `interface` leaves open would take, and what making it takes, by the sizes that are known then,
    /// and the shapes of its outputs.
    ///
    /// # Errors
    /// When it cannot be compiled.
    pub(super) fn measure(&self, interface: Interface) -> TractResult<(u64, Signature)> {
        whole(|| {
            let Typed { model, open, dims, folded } = self.typed(&interface)?;
            let model = self.guarded(model)?;
            let symbols = open.into_symbols();
            let ones = vec![1; symbols.len()];
            let peak = Footprint::of(&model, &symbols)?.peak(&ones, 0);
            let bytes = peak.saturating_add(self.constant_bytes(&model).max(folded));
            Ok((bytes, signature(&model, interface, dims)?))
        })
    }

    /// The graph for what `interface` leaves open, before and after operators were put into others.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn graphs(&self, interface: &Interface) -> TractResult<[TypedModel; 2]> {
        whole(|| {
            let Typed { model, .. } = self.typed(interface)?;
            Ok([model.clone(), self.guarded(model)?])
        })
    }

    /// What a run may take, in bytes.
    pub(super) fn run_bytes(&self) -> u64 {
        self.run_bytes
    }

    fn typed(&self, interface: &Interface) -> TractResult<Typed> {
        // A copy shares the constants.
        let mut model = self.parsed.clone();
        let mut open = OpenDims::default();
        let mut unnamed = 0;
        let mut fresh = |prefix: &str| {
            let mut known = self.unnamed.lock();
            let symbol = known.get(unnamed).cloned();
            let symbol = symbol.unwrap_or_else(|| self.parsed.symbols.new_with_prefix(prefix));
            if known.len() == unnamed {
                known.push(symbol.clone());
            }
            unnamed += 1;
            symbol
        };
        let mut dims = Vec::with_capacity(interface.inputs.len());
        for (position, input) in interface.inputs.iter().enumerate() {
            let declared = model.input_fact(position)?.clone();
            let known = |axis| declared.shape.dim(axis).and_then(|dim| dim.concretize());
            let mut facts: TVec<TDim> = TVec::new();
            let mut input_dims = Dims::new();
            for (axis, dim) in input.dims.iter().enumerate() {
                let (dim, fact) = open.translate(dim, axis, known(axis), &mut fresh);
                input_dims.push(dim);
                facts.push(fact);
            }
            let datum_type = convert::datum_type(input.datatype).unwrap_or(DatumType::F32);
            model.set_input_fact(position, InferenceFact::dt_shape(datum_type, facts))?;
            dims.push(input_dims);
        }
        let mut model = model.into_typed()?;
        // What is made for sizes and then added up, say, is gone when that has been worked out.
        let folded = constant_bytes(&model);
        // What is given may be there once more, in another order.
        let made = folded.saturating_sub(self.given.saturating_mul(2));
        footprint::within(made, self.run_bytes, "sizes")?;
        onnx::keep_copies(&mut model);
        onnx::look_at_images(&mut model)?;
        onnx::write_borders_out(&mut model)?;
        onnx::set_convolutions_apart(&mut model)?;
        Ok(Typed { model: model.into_decluttered()?, open, dims, folded })
    }

    fn guarded(&self, mut model: TypedModel) -> TractResult<TypedModel> {
        onnx::guard(&mut model);
        onnx::bound(&mut model, self.run_bytes);
        onnx::check_types(&model)?;
        Ok(model)
    }

    /// Graphs within the graph have constants of their own.
    fn constant_bytes(&self, model: &TypedModel) -> u64 {
        constant_bytes(model).max(self.rest)
    }
}

/// What `f` returns, or the panic that ended it as an error.
fn whole<T>(f: impl FnOnce() -> TractResult<T>) -> TractResult<T> {
    contained(f).unwrap_or_else(|panic| Err(TractError::msg(format!("tract panicked: {panic}"))))
}

/// What the constants of a graph take in memory.
pub(super) fn constant_bytes(model: &TypedModel) -> u64 {
    let outputs = model.nodes().iter().flat_map(|node| &node.outputs);
    bytes_of(outputs.filter_map(|output| output.fact.konst.as_ref()))
}

/// The bytes of tensors of which each counts once.
fn bytes_of<'a>(tensors: impl Iterator<Item = &'a Arc<Tensor>>) -> u64 {
    let mut counted = HashSet::new();
    let distinct = tensors.filter(|tensor| counted.insert(Arc::as_ptr(tensor)));
    distinct.map(|tensor| (tensor.len() * tensor.datum_type().size_of()) as u64).sum()
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

/// The dimensions of the inputs of `interface`, by their numbers.
pub(super) fn numbered(interface: &Interface) -> Vec<Dims> {
    let scope = SymbolScope::default();
    let mut open = OpenDims::default();
    let mut fresh = |prefix: &str| scope.new_with_prefix(prefix);
    let dims = interface.inputs.iter().map(|input| {
        let dims = input.dims.iter().enumerate();
        dims.map(|(axis, dim)| open.translate(dim, axis, None, &mut fresh).0).collect()
    });
    dims.collect()
}

impl OpenDims {
    fn into_symbols(self) -> Vec<Symbol> {
        self.symbols.into_iter().map(|(_, symbol)| symbol).collect()
    }

    /// The number of the dimension that the first input begins with.
    fn batch(&self, inputs: &[Dims]) -> Option<usize> {
        match inputs.first()?.first()? {
            Dim::Free(number) => Some(*number),
            Dim::Fixed(_) => None,
        }
    }

    /// Why requests for `model` cannot run together, if so: some input or output does not begin with the
    /// dimension that all share, or it stands in another place too.
    fn no_batch(&self, model: &TypedModel, inputs: &[Dims]) -> TractResult<Option<String>> {
        let batch = match batch_of(inputs) {
            Ok(batch) => batch,
            Err(reason) => return Ok(Some(reason)),
        };
        let symbol = self.symbols.get(batch).map(|(_, symbol)| TDim::Sym(symbol.clone()));
        for position in 0..model.outputs.len() {
            let fact = model.output_fact(position)?;
            if fact.shape.iter().next() != symbol.as_ref() {
                return Ok(Some(no_rows("output", position)));
            }
        }
        Ok(None)
    }
}

/// The number of the dimension that all inputs begin with, and that stands nowhere else.
///
/// # Errors
/// Says which input has no such dimension.
pub(super) fn batch_of(inputs: &[Dims]) -> Result<usize, String> {
    let first = inputs.first().and_then(|dims| dims.first());
    let Some(Dim::Free(batch)) = first else {
        return Err("its first input has no open first dimension".to_owned());
    };
    for (position, dims) in inputs.iter().enumerate() {
        let leads = dims.first() == Some(&Dim::Free(*batch));
        if !leads || dims.iter().skip(1).any(|dim| *dim == Dim::Free(*batch)) {
            return Err(no_rows("input", position));
        }
    }
    Ok(*batch)
}

/// Why requests cannot run together where an input or output has no batch.
pub(super) fn no_rows(what: &str, position: usize) -> String {
    format!("{what} {position} does not have one row for each prediction")
}

/// The declared inputs, and the outputs with the shapes that tract inferred.
fn signature(model: &TypedModel, interface: Interface, dims: Vec<Dims>) -> TractResult<Signature> {
    let inputs = interface.inputs.into_iter().zip(&dims).map(|(declared, dims)| TensorSpec {
        name: declared.name,
        datatype: declared.datatype,
        shape: Signature::declared(dims),
        places: Vec::new(),
        ordered: true,
    });
    let inputs = inputs.collect();
    let outputs = interface.outputs.into_iter().enumerate().map(|(position, declared)| {
        let fact = model.output_fact(position)?;
        let shape = fact.shape.iter().map(|dim| dim.to_i64().unwrap_or(-1)).collect();
        Ok(TensorSpec {
            name: declared.name,
            datatype: declared.datatype,
            shape,
            places: Vec::new(),
            ordered: true,
        })
    });
    let outputs = outputs.collect::<TractResult<Vec<_>>>()?;
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
