//! A compiled graph and the idle states it runs in.
//!
//! Owns the reuse of states: making one costs an allocation a node, so finished ones are kept for the
//! next call. Never keeps one that failed, panicked, or carries anything from call to call.

use std::collections::HashMap;
use std::sync::OnceLock;

use parking_lot::Mutex;
use tract_onnx::prelude::{
    Arc, TValue, TVec, TractResult, TypedModel, TypedSimplePlan, TypedSimpleState,
};
use tract_onnx::tract_hir::internal::{Symbol, TDim};
use tract_onnx::tract_hir::tract_core::plan::eval;

use super::compile::constant_bytes;
use super::footprint::Watch;
use super::{direct, ml, onnx};

/// A compiled graph. Cheap to share, runs on many threads at once.
#[derive(Debug)]
pub(super) struct Plan {
    plan: Arc<TypedSimplePlan>,
    idle: Mutex<Vec<TypedSimpleState>>,
    /// Whether no operator keeps anything from run to run (loops and recurrent cells do).
    reusable: bool,
    /// What its first run has shown: whether it can run at all. Only plans for certain sizes are asked.
    proof: OnceLock<bool>,
}

/// The most idle states that are kept; more run at once only on machines with more cores.
const IDLE_MAX: usize = 32;

impl Plan {
    /// Optimises `model` for this processor.
    pub(super) fn compile(model: TypedModel) -> TractResult<Self> {
        let mut model = model.into_decluttered()?;
        direct::lower(&mut model)?;
        let plan = TypedSimplePlan::new(model.into_optimized()?)?;
        let state = plan.spawn()?;
        let reusable = state.op_states.iter().all(Option::is_none);
        let (idle, proof) = (Mutex::new(Vec::new()), OnceLock::new());
        Ok(Self { plan, idle, reusable, proof })
    }

    /// Compiles `model` with `symbols` replaced by sizes.
    pub(super) fn specialise(model: &TypedModel, symbols: &[(Symbol, usize)]) -> TractResult<Self> {
        let sizes: HashMap<Symbol, TDim> =
            symbols.iter().map(|(symbol, size)| (symbol.clone(), TDim::from(*size))).collect();
        // What is left when the sizes are known may have its axes in another order.
        let mut model = model.clone();
        direct::lower(&mut model)?;
        let mut model = model.set_symbols(&sizes)?;
        onnx::write_borders_out(&mut model)?;
        Self::compile(model)
    }

    /// What the constants of the graph take, as it runs, in bytes.
    pub(super) fn constant_bytes(&self) -> u64 {
        constant_bytes(self.plan.model())
    }

    /// What our own operators hold, which all plans of a model share, in bytes.
    pub(super) fn shared_bytes(&self) -> u64 {
        let nodes = self.plan.model().nodes().iter();
        nodes.map(|node| ml::held_bytes(node.op.as_ref()) as u64).sum()
    }

    /// Whether it has run, or has failed where another plan has not; `None` before its first run.
    pub(super) fn proof(&self) -> Option<bool> {
        self.proof.get().copied()
    }

    /// Keeps what its first run has shown.
    pub(super) fn prove(&self, runs: bool) {
        // Another thread may have been first, which has seen the same.
        self.proof.get_or_init(|| runs);
    }

    /// Runs the graph once, and ends where `watch` has seen enough.
    pub(super) fn run(
        &self,
        inputs: TVec<TValue>,
        watch: Option<Watch<'_>>,
    ) -> TractResult<TVec<TValue>> {
        let idle = self.idle.lock().pop();
        let mut state = match idle {
            Some(state) => state,
            None => self.plan.spawn()?,
        };
        let outputs = match watch {
            None => state.run(inputs)?,
            Some(mut watch) => state.run_plan_with_eval(inputs, |context, own, node, inputs| {
                watch.look(context.symbols)?;
                eval(context, own, node, inputs)
            })?,
        };
        if self.reusable {
            let mut idle = self.idle.lock();
            if idle.len() < IDLE_MAX {
                idle.push(state);
            }
        }
        Ok(outputs)
    }
}
