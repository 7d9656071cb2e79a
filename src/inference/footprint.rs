//! What the tensors inside of a run take in memory.
//!
//! Owns an estimate for any sizes of the open dimensions, made from the graph once and evaluated before a
//! run: each tensor counts from the operator that makes it to the last one that reads it. Leaves out what
//! operators take for themselves, and tensors whose sizes only show in a run. Never allocates by what a
//! client says.

use std::collections::HashMap;

use tract_onnx::prelude::{OutletId, TVec, TractResult, TypedModel};
use tract_onnx::tract_hir::internal::{Symbol, SymbolValues, TDim};

/// The tensors of a graph, in the order in which they come and go.
#[derive(Debug)]
pub(super) struct Footprint {
    symbols: Vec<Symbol>,
    /// Different sizes of tensors in bytes.
    bytes: Vec<TDim>,
    steps: Vec<Step>,
}

/// What an operator makes, and what nobody reads after it; positions in [`Footprint::bytes`].
#[derive(Debug, Default, Clone)]
struct Step {
    made: TVec<usize>,
    dropped: TVec<usize>,
}

impl Footprint {
    /// That of `model`, whose open dimensions are `symbols`.
    pub(super) fn of(model: &TypedModel, symbols: &[Symbol]) -> TractResult<Self> {
        let order = model.eval_order()?;
        let mut at = HashMap::new();
        let mut bytes = Vec::new();
        let mut steps = vec![Step::default(); order.len()];
        // For each tensor its size and the last step that reads it.
        let mut tensors: HashMap<OutletId, (usize, usize)> = HashMap::new();
        for (step, &node) in order.iter().enumerate() {
            for input in &model.node(node).inputs {
                if let Some((_, last)) = tensors.get_mut(input) {
                    *last = step;
                }
            }
            for (slot, outlet) in model.node(node).outputs.iter().enumerate() {
                let known = |symbol: &Symbol| symbols.contains(symbol);
                let size = outlet.fact.shape.volume() * outlet.fact.datum_type.size_of();
                if outlet.fact.konst.is_some() || !size.symbols().iter().all(known) {
                    continue;
                }
                let place = *at.entry(size.clone()).or_insert_with(|| {
                    bytes.push(size);
                    bytes.len() - 1
                });
                tensors.insert((node, slot).into(), (place, step));
                if let Some(step) = steps.get_mut(step) {
                    step.made.push(place);
                }
            }
        }
        for output in &model.outputs {
            tensors.remove(output);
        }
        for (place, last) in tensors.into_values() {
            if let Some(step) = steps.get_mut(last) {
                step.dropped.push(place);
            }
        }
        Ok(Self { symbols: symbols.to_vec(), bytes, steps })
    }

    /// The most bytes that are held at a time, where the open dimensions have these sizes.
    pub(super) fn peak(&self, sizes: &[usize]) -> u64 {
        let mut values = SymbolValues::default();
        for (symbol, &size) in self.symbols.iter().zip(sizes) {
            values.set(symbol, i64::try_from(size).unwrap_or(i64::MAX));
        }
        // What cannot be counted is too much.
        let count = |bytes: &TDim| {
            let bytes = bytes.eval_to_i64(&values).ok();
            bytes.map_or(u64::MAX, |bytes| u64::try_from(bytes).unwrap_or(0))
        };
        let bytes: Vec<u64> = self.bytes.iter().map(count).collect();
        let sum = |places: &TVec<usize>| {
            let bytes = places.iter().filter_map(|place| bytes.get(*place));
            bytes.fold(0, |sum: u64, bytes| sum.saturating_add(*bytes))
        };
        let (mut held, mut peak) = (0_u64, 0);
        for step in &self.steps {
            held = held.saturating_add(sum(&step.made));
            peak = peak.max(held);
            held = held.saturating_sub(sum(&step.dropped));
        }
        peak
    }
}
