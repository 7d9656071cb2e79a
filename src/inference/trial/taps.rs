//! The tensors between the operators of a graph, as outputs of it.
//!
//! Owns which of them are compared: those of numbers with one place for each row, as far as they are small enough.
//! Never decides which rows are tried.

use tract_onnx::prelude::{
    DatumType, OutletId, TValue, TVec, Tensor as TractTensor, TractError, TractResult, TypedFact,
    TypedModel,
};
use tract_onnx::tract_hir::internal::{DimLike as _, Symbol, TDim};

use super::near;
use super::rows::{self, REQUESTS, Rows};
use crate::inference::form::Form;
use crate::inference::local_model::{LocalModel, Prepared};
use crate::inference::plan::Plan;
use crate::inference::signature::Dim;
use crate::inference::{contained, convert};

/// The most bytes that the tensors between the operators may take for one row.
const TAPPED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The tensors of a graph that have one place for each row, made its outputs.
pub(super) struct Taps {
    plan: Plan,
    /// The axis of the rows, for each output, and the operator that makes it.
    outputs: Vec<(usize, String)>,
    /// Whether the plan takes as many rows as there are requests, and no others.
    is_sized: bool,
}

impl Taps {
    /// Those of `model`; none where its graph is not kept, or cannot be compiled like this.
    pub(super) fn new(model: &LocalModel) -> Option<Self> {
        let (mut tapped, taps) = match model.form() {
            Form::AnySize(plans) => {
                let (graph, symbols) = plans.source()?;
                let batch = match model.signature().dims.first()?.first()? {
                    Dim::Free(number) => symbols.get(*number)?,
                    Dim::Fixed(_) => return None,
                };
                (graph.clone(), outlets(graph, symbols, |_, fact| axis_of(fact, batch)))
            }
            Form::BySize(plans) => match plans.graph(REQUESTS) {
                Ok((graph, growing)) => {
                    let axis = |id, fact: &TypedFact| only_axis(growing.get(&id)?, fact);
                    let taps = outlets(&graph, &[], axis);
                    (graph, taps)
                }
                Err(error) => {
                    unseen(&format!("{error:#}"));
                    return None;
                }
            },
        };
        let is_sized = matches!(model.form(), Form::BySize(_));
        let (outlets, outputs): (Vec<OutletId>, Vec<_>) = taps.into_iter().unzip();
        if outlets.is_empty() {
            return None;
        }
        let compiled = contained(|| {
            tapped.select_output_outlets(&outlets)?;
            Plan::compile(tapped)
        });
        let failure = match compiled {
            Ok(Ok(plan)) => return Some(Self { plan, outputs, is_sized }),
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => panic,
        };
        unseen(&failure);
        None
    }

    /// Runs rows alone and together and compares what is made of them; false where the model does not take such
    /// rows.
    ///
    /// # Errors
    /// Says which operator mixes them.
    pub(super) fn compare(&self, model: &LocalModel, rows: Rows) -> Result<bool, String> {
        let requests = rows::requests(model, rows)?;
        // A plan for so many rows gets as many of the same, which is company of which nothing shows.
        let times = if self.is_sized { REQUESTS } else { 1 };
        let alone = requests.iter().map(|request| self.run(&vec![request; times]));
        let alone: Result<Vec<_>, _> = alone.collect();
        let requests: Vec<&Prepared> = requests.iter().collect();
        let (Ok(alone), Ok(together)) = (alone, self.run(&requests)) else { return Ok(false) };
        let rows = rows.iter().zip(&alone).enumerate();
        for (at, (_, alone)) in rows.filter(|(_, (size, _))| !size.is_missing()) {
            for (((axis, operator), alone), together) in
                self.outputs.iter().zip(alone).zip(&together)
            {
                let alone = alone.slice(*axis, 0, 1);
                let row = together.slice(*axis, at, at + 1);
                let alike = alone.and_then(|alone| near(&alone, &row?));
                if !alike.map_err(|error| error.to_string())? {
                    return Err(format!(
                        "what the operator {operator} makes of one row depends on the other rows"
                    ));
                }
            }
        }
        Ok(true)
    }

    fn run(&self, requests: &[&Prepared]) -> TractResult<TVec<TValue>> {
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

fn unseen(failure: &str) {
    tracing::warn!(failure, "only the outputs of a model are compared in its trial");
}

/// The axis along which there is one place for each row, if no other grows with them.
fn axis_of(fact: &TypedFact, batch: &Symbol) -> Option<usize> {
    let about = fact.shape.iter().filter(|dim| dim.symbols().contains(batch)).count();
    let batch = TDim::Sym(batch.clone());
    let axis = fact.shape.iter().position(|dim| *dim == batch)?;
    (about == 1).then_some(axis)
}

/// The same where the graph is one for as many rows as there are requests.
fn only_axis(growing: &[usize], fact: &TypedFact) -> Option<usize> {
    match growing {
        [axis] if *fact.shape.get(*axis)? == TDim::from(REQUESTS) => Some(*axis),
        _ => None,
    }
}

/// The tensors of numbers with exactly one axis of rows, that axis, and who makes them.
fn outlets(
    graph: &TypedModel,
    symbols: &[Symbol],
    axis: impl Fn(OutletId, &TypedFact) -> Option<usize>,
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
            let id = OutletId::new(node.id, slot);
            let numbers = fact.datum_type.is_float()
                || matches!(fact.datum_type, DatumType::U8 | DatumType::I8 | DatumType::I32);
            let (Some(axis), true, None) = (axis(id, fact), numbers, &fact.konst) else { continue };
            let Some(elements) = of_one(&fact.shape.volume()) else { continue };
            bytes = bytes.saturating_add(elements.saturating_mul(fact.datum_type.size_of()));
            if bytes > TAPPED_BYTES_MAX {
                return found;
            }
            let operator = format!("{} (node '{}')", node.op.name(), node.name);
            found.push((id, (axis, operator)));
        }
    }
    found
}
