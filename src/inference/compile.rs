//! From the bytes of a model file to compiled plans.
//!
//! Owns the translation of declared dimensions, and what the model takes and returns. Contains nothing
//! that goes wrong inside of tract: that is up to the caller.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use prost::Message;
use tract_onnx::prelude::{
    DatumType, InferenceFact, InferenceModel, InferenceModelExt as _, TVec, TractResult, TypedModel,
};
use tract_onnx::tract_hir::internal::{Factoid as _, Symbol, TDim, TractError};

use super::artifact::ArtifactError;
use super::artifact::external::{self, Further};
use super::graph::{self, DeclaredDim, Interface, Refusal};
use super::plans::Plans;
use super::signature::{Dim, Dims, Signature};
use super::{boundary, contained, convert, ml, onnx, rows, shortened, sizes};
use crate::protocol::tensor::TensorSpec;

/// What comes out of compiling a file.
pub(super) struct Compiled {
    pub(super) signature: Signature,
    /// Why requests cannot run together, if so.
    pub(super) no_batch: Option<String>,
    /// Which operator mixes the rows of a batch, if one is known to.
    pub(super) mixing: Option<String>,
    /// Why it takes one row only, if so.
    pub(super) one_row: Option<String>,
    pub(super) plans: Plans,
    /// The files beside the model file that hold a part of it.
    pub(super) further: Further,
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
        let compiled = Self::for_any_size(parsed, &interface, rest, run_bytes);
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

    /// Compiles for any batch size or, where tract cannot or two rows fail, for one row: what depends on the
    /// size of the batch is a constant then. `rest` is the length of the file without our own operators, whose
    /// values all plans share.
    fn for_any_size(
        parsed: InferenceModel,
        interface: &Interface,
        rest: u64,
        run_bytes: u64,
    ) -> TractResult<Self> {
        // A copy shares the constants.
        let attempt = |interface: Interface| {
            contained(|| Self::from_graph(parsed.clone(), interface, rest, run_bytes))
                .unwrap_or_else(|panic| Err(TractError::msg(format!("tract panicked: {panic}"))))
        };
        let any = attempt(interface.clone()).and_then(|compiled| {
            match sizes::two_rows(&compiled.plans, &compiled.signature, run_bytes) {
                Some(error) => Err(TractError::msg(format!("two rows fail: {error}"))),
                None => Ok(compiled),
            }
        });
        any.or_else(|error| match interface.one_row().map(attempt) {
            Some(Ok(compiled)) => {
                Ok(Self { one_row: Some(shortened(&format!("{error:#}"))), ..compiled })
            }
            Some(Err(_)) | None => Err(error),
        })
    }

    fn from_graph(
        mut model: InferenceModel,
        interface: Interface,
        rest: u64,
        run_bytes: u64,
    ) -> TractResult<Self> {
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
        let mut model = model.into_typed()?;
        onnx::keep_copies(&mut model);
        onnx::look_at_images(&mut model)?;
        let mut model = model.into_decluttered()?;
        let no_batch = open.no_batch(&model, &dims)?;
        let batch = open.batch(&dims).and_then(|number| open.symbols.get(number));
        // Before operators are put into others, which do not show what they look at.
        let mixing = batch.map(|(_, batch)| rows::mixing(&model, batch)).transpose()?.flatten();
        onnx::guard(&mut model);
        onnx::bound(&mut model, run_bytes);
        onnx::check_types(&model)?;
        let signature = signature(&model, interface, dims)?;
        let symbols = open.symbols.into_iter().map(|(_, symbol)| symbol).collect();
        // Graphs within the graph have constants of their own.
        let constants = constant_bytes(&model).max(rest);
        let plans = Plans::new(model, symbols, constants)?;
        Ok(Self { signature, no_batch, mixing, one_row: None, plans, further: Further::default() })
    }
}

/// What the constants of a graph take in memory.
fn constant_bytes(model: &TypedModel) -> u64 {
    let mut counted = HashSet::new();
    let outputs = model.nodes().iter().flat_map(|node| &node.outputs);
    let constants = outputs.filter_map(|output| output.fact.konst.as_ref());
    let distinct = constants.filter(|constant| counted.insert(Arc::as_ptr(constant)));
    let bytes = distinct.map(|constant| constant.len() * constant.datum_type().size_of());
    bytes.sum::<usize>() as u64
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

impl OpenDims {
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
        let Some(batch) = self.batch(inputs) else {
            return Ok(Some("its first input has no open first dimension".to_owned()));
        };
        for (position, dims) in inputs.iter().enumerate() {
            let leads = dims.first() == Some(&Dim::Free(batch));
            if !leads || dims.iter().skip(1).any(|dim| *dim == Dim::Free(batch)) {
                let reason = format!("input {position} does not have one row for each prediction");
                return Ok(Some(reason));
            }
        }
        let symbol = self.symbols.get(batch).map(|(_, symbol)| TDim::Sym(symbol.clone()));
        for position in 0..model.outputs.len() {
            let fact = model.output_fact(position)?;
            if fact.shape.iter().next() != symbol.as_ref() {
                let reason = format!("output {position} does not have one row for each prediction");
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }
}

/// The declared inputs, and the outputs with the shapes that tract inferred.
fn signature(model: &TypedModel, interface: Interface, dims: Vec<Dims>) -> TractResult<Signature> {
    let inputs = interface.inputs.into_iter().zip(&dims).map(|(declared, dims)| {
        let shape = dims.iter().map(|dim| match dim {
            Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
            Dim::Free(_) => -1,
        });
        TensorSpec {
            name: declared.name,
            datatype: declared.datatype,
            shape: shape.collect(),
            places: Vec::new(),
            ordered: true,
        }
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
