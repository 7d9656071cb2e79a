//! What is tried of a model before it is served.
//!
//! Owns the made-up requests that show that a model runs, how long one row takes, and whether requests may run in parts.
//! Never decides what a failure means to a client.

use std::path::Path;
use std::time::{Duration, Instant};

use tract_onnx::prelude::{TValue, TVec, TractResult};

use super::{InferError, LocalModel, failure};
use crate::inference::convert::{self, Fill};
use crate::inference::form::Form;
use crate::inference::plan::Plan;
use crate::inference::signature::{Dim, Dims, InputError};
use crate::inference::{contained, sizes, trial};
use crate::protocol::tensor::{Tensor, TensorSpec};

/// How long it is tried whether requests may run in parts.
const PARTS_TIME: Duration = Duration::from_secs(5);

impl LocalModel {
    /// Whether a model whose first trial ended with `error` can be served: one that takes categories or texts
    /// may decline zeros, and a graph with other open dimensions than the batch may rightly fail where they
    /// are 1. Of those that fail at every size that is tried too, some take one size only, which nobody declared; but
    /// not those that fail in the same words at all of them, nor those that ask for the number of an open dimension.
    pub(super) fn try_sizes(&self, error: InferError) -> Result<(), InferError> {
        let declined = matches!(error, InferError::Input(InputError::Value { .. }));
        if declined && !sizes::are_open(&self.signature) {
            return Ok(());
        }
        let plans = match &self.form {
            Form::AnySize(plans) => plans,
            // They have run.
            Form::BySize(_) => return Ok(()),
        };
        match sizes::find(plans, &self.signature, self.run_bytes) {
            // What panics where no value is declined may have been out of memory.
            Err(sizes::Unseen::Choosy) if matches!(error, InferError::Panicked { .. }) => {
                Err(error)
            }
            Ok(_) | Err(sizes::Unseen::Choosy) => Ok(()),
            Err(sizes::Unseen::Fails) if sizes::are_open(&self.signature) => {
                tracing::warn!(%error, "a model fails on every trial input; it is served all the same");
                Ok(())
            }
            Err(sizes::Unseen::Always(error)) => Err(error),
            Err(sizes::Unseen::Fails) => Err(error),
        }
    }

    /// Runs the model at batch size 1 on its sample, or on zeros, which also warms it up. A model that
    /// fails on zeros, as one that divides by an integer does, gets ones.
    pub(super) fn measure(&self) -> Result<Duration, InferError> {
        self.measure_on(Fill::Zeros).or_else(|error| match error {
            InferError::Input(InputError::Value { .. }) => Err(error),
            _ => self.measure_on(Fill::Ones),
        })
    }

    /// The median of a few runs.
    fn measure_on(&self, fill: Fill) -> Result<Duration, InferError> {
        const RUNS: usize = 7;
        const TIME_MAX: Duration = Duration::from_millis(500);
        fn sound<T>(f: impl FnOnce() -> TractResult<T>) -> Result<T, InferError> {
            let outcome = contained(f).map_err(|reason| InferError::Panicked { reason })?;
            outcome.map_err(|error| failure(&error))
        }
        // A row may be as large as a file says.
        let inputs = sound(|| self.sample(fill))?;
        let started = Instant::now();
        let median = |run: &dyn Fn(TVec<TValue>) -> TractResult<TVec<TValue>>| {
            let mut times = Vec::with_capacity(RUNS);
            for _ in 0..RUNS {
                let start = Instant::now();
                sound(|| run(inputs.clone()))?;
                times.push(start.elapsed());
                if started.elapsed() > TIME_MAX {
                    break;
                }
            }
            times.sort_unstable();
            Ok(times.get(times.len() / 2).copied().unwrap_or_default())
        };
        let plans = match &self.form {
            Form::AnySize(plans) => plans,
            Form::BySize(_) => return median(&|inputs| self.run_plan(inputs, None)),
        };
        let watched = |plan: &Plan, inputs| plan.run(inputs, plans.watch(0, self.run_bytes));
        let general: Duration = median(&|inputs| watched(plans.general(), inputs))?;
        let Some(plan) = plans.single() else { return Ok(general) };
        let single = median(&|inputs| watched(plan, inputs));
        plan.prove(single.is_ok());
        Ok(single.unwrap_or_else(|error: InferError| {
            tracing::warn!(%error, "the plan for one row is given up: the one for any size runs");
            general
        }))
    }

    /// One row of each input: the sample of the card, and `fill` where it has none.
    fn sample(&self, fill: Fill) -> TractResult<TVec<TValue>> {
        let specs = self.signature.inputs.iter().zip(&self.signature.dims).enumerate();
        let row = |(position, (spec, dims)): (usize, (&TensorSpec, &Dims))| {
            let shape = self.ordinary_shape(dims);
            match self.card.sample(position, spec, &shape) {
                Some(sample) => convert::to_tract(&sample),
                None => convert::filled(spec.datatype, &shape, fill),
            }
        };
        specs.map(row).collect()
    }

    /// Tries whether requests for a model that has plans for certain sizes may run in parts.
    pub(super) fn try_parts(&self, path: &Path) {
        let Form::BySize(plans) = &self.form else { return };
        let against = self.no_batch.clone().or_else(|| self.mixing.clone());
        let against =
            against.map_or_else(|| trial::rows_are_independent(self, path, PARTS_TIME), Err);
        plans.tried();
        match against {
            Ok(()) => plans.run_in_parts(),
            Err(reason) => {
                let path = path.display();
                tracing::info!(%path, reason, "each number of rows gets a plan of its own");
            }
        }
    }

    /// Works out the graph for the sizes that requests may have plans made for, if there are such: what a file has it
    /// make then should not be seen first in a process that must not end.
    pub(in crate::inference) fn explore(&self) {
        if let Form::BySize(plans) = &self.form {
            plans.explore();
        }
    }

    /// The shape of an input at the sizes at which the model is tried: 1 in each open dimension, if that will do.
    pub(in crate::inference) fn ordinary_shape(&self, dims: &Dims) -> TVec<usize> {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => *size,
            Dim::Free(number) => self.form.ordinary(*number),
        };
        dims.iter().map(size).collect()
    }

    /// Whether a request waits for no plan. One that does not fit is told so by whoever runs it.
    pub(super) fn is_at_hand(&self, inputs: &[Tensor]) -> bool {
        if matches!(self.form, Form::AnySize(_)) {
            return true;
        }
        let shape = |spec: &TensorSpec| {
            let input = inputs.iter().find(|input| input.name() == spec.name);
            input.map(Tensor::shape).unwrap_or_default()
        };
        let shapes = self.signature.inputs.iter().map(shape);
        self.form.is_at_hand(&self.sizes_of(shapes))
    }
}
