//! The tensors between the operators of a graph, as outputs of it.
//!
//! Owns which of them are compared: those of numbers with one place for each row, as far as they are small enough.
//! Never decides which rows are tried.

use tract_onnx::prelude::{
    DatumType, OutletId, TValue, TVec, Tensor as TractTensor, TractError, TractResult, TypedModel,
};
use tract_onnx::tract_hir::internal::{DimLike as _, Symbol, TDim};

use super::near;
use super::rows::{self, Rows};
use crate::inference::local_model::{LocalModel, Prepared};
use crate::inference::plan::Plan;
use crate::inference::rows::axes_of;
use crate::inference::signature::Dim;
use crate::inference::{contained, convert};

/// The most bytes that the tensors between the operators may take for one row.
const TAPPED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The tensors of a graph that have one place for each row, made its outputs.
pub(super) struct Taps {
    plan: Plan,
    /// The axis of the rows, for each output, and the operator that makes it.
    outputs: Vec<(usize, String)>,
}

impl Taps {
    /// Those of `model`; none where its graph is not kept, or cannot be compiled like this.
    pub(super) fn new(model: &LocalModel) -> Option<Self> {
        let (graph, symbols) = model.compiled().source()?;
        let batch = match model.signature().dims.first()?.first()? {
            Dim::Free(number) => symbols.get(*number)?,
            Dim::Fixed(_) => return None,
        };
        let taps = outlets(graph, symbols, batch);
        let (outlets, outputs): (Vec<OutletId>, Vec<_>) = taps.into_iter().unzip();
        if outlets.is_empty() {
            return None;
        }
        let mut tapped = graph.clone();
        let compiled = contained(|| {
            tapped.select_output_outlets(&outlets)?;
            Plan::compile(tapped)
        });
        let failure = match compiled {
            Ok(Ok(plan)) => return Some(Self { plan, outputs }),
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => panic,
        };
        tracing::warn!(failure, "only the outputs of a model are compared in its trial");
        None
    }

    /// Runs rows alone and together and compares what is made of them; false where the model does not take such
    /// rows.
    ///
    /// # Errors
    /// Says which operator mixes them.
    pub(super) fn compare(&self, model: &LocalModel, rows: Rows) -> Result<bool, String> {
        let requests = rows::requests(model, rows)?;
        let alone: Result<Vec<_>, _> =
            requests.iter().map(|request| self.run(std::slice::from_ref(request))).collect();
        let (Ok(alone), Ok(together)) = (alone, self.run(&requests)) else { return Ok(false) };
        let rows = rows.iter().zip(&alone).enumerate();
        for (at, (_, alone)) in rows.filter(|(_, (size, _))| !size.is_missing()) {
            for (((axis, operator), alone), together) in
                self.outputs.iter().zip(alone).zip(&together)
            {
                let row = together.slice(*axis, at, at + 1);
                let alike = row.and_then(|row| near(alone, &row));
                if !alike.map_err(|error| error.to_string())? {
                    return Err(format!(
                        "what the operator {operator} makes of one row depends on the other rows"
                    ));
                }
            }
        }
        Ok(true)
    }

    fn run(&self, requests: &[Prepared]) -> TractResult<TVec<TValue>> {
        let count = requests.first().map_or(0, |request| request.inputs().len());
        let values = (0..count).map(|position| {
            let parts = requests.iter().filter_map(|request| request.inputs().get(position));
            let parts = parts.map(convert::to_tract).collect::<TractResult<Vec<_>>>()?;
            TractTensor::stack_tensors(0, &parts).map(Into::into)
        });
        let values = values.collect::<TractResult<TVec<TValue>>>()?;
        contained(|| self.plan.run(values, None)).map_err(TractError::msg)?
    }
}

/// The tensors of numbers with exactly one axis of rows, that axis, and who makes them.
fn outlets(
    graph: &TypedModel,
    symbols: &[Symbol],
    batch: &Symbol,
) -> Vec<(OutletId, (usize, String))> {
    let of_one = |dim: &TDim| {
        let ones = symbols.iter().map(|symbol| (symbol.clone(), TDim::from(1))).collect();
        dim.substitute_all(&ones).ok().and_then(|dim| dim.to_usize().ok())
    };
    let mut bytes = 0_usize;
    let mut found = Vec::new();
    for node in graph.nodes().iter().filter(|node| !node.inputs.is_empty()) {
        for (slot, outlet) in node.outputs.iter().enumerate() {
            let fact = &outlet.fact;
            let numbers = fact.datum_type.is_float()
                || matches!(fact.datum_type, DatumType::U8 | DatumType::I8 | DatumType::I32);
            let axes: TVec<usize> = axes_of(fact, batch).collect();
            let about = fact.shape.iter().filter(|dim| dim.symbols().contains(batch)).count();
            let ([axis], 1, true, None) = (&*axes, about, numbers, &fact.konst) else { continue };
            let Some(elements) = of_one(&fact.shape.volume()) else { continue };
            bytes = bytes.saturating_add(elements.saturating_mul(fact.datum_type.size_of()));
            if bytes > TAPPED_BYTES_MAX {
                return found;
            }
            let operator = format!("{} (node '{}')", node.op.name(), node.name);
            found.push((OutletId::new(node.id, slot), (*axis, operator)));
        }
    }
    found
}
