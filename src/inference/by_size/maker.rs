//! How a plan for certain sizes is made of a graph.
//!
//! Owns which of the open dimensions a plan has a size for: the batch alone, while a plan leaves the others open, or where tract
//! cannot, all of them. Finds sizes at which the model runs, and proves it on two rows. Never keeps a plan.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tract_onnx::prelude::{TractResult, TypedModel};

use super::growth::Growth;
use super::kept::Kept;
use super::orders::Orders;
use super::{BySize, PART_MAX};
use crate::inference::compile::{Compiled, Recipe, batch_of, no_rows, numbered};
use crate::inference::convert::Fill;
use crate::inference::form::Form;
use crate::inference::graph::Interface;
use crate::inference::local_model::InferError;
use crate::inference::plans::{BYTES_MAX, PLANS_MAX, Plans};
use crate::inference::shapes::Sizes;
use crate::inference::signature::{Dims, InputError, Signature};
use crate::inference::{rows, sizes};
use crate::protocol::tensor::TensorSpec;

/// No further sizes are tried after that.
const TIME_MAX: Duration = Duration::from_secs(5);
/// Sizes that are tried beside powers of two.
const USUAL: [usize; 3] = [3, 48, 224];

/// What fails so often in the same words when it is compiled does not fail for its sizes.
const SAME_MAX: u32 = 3;

/// What plans are made of.
#[derive(Debug)]
pub(super) struct Maker {
    recipe: Arc<Recipe>,
    interface: Interface,
    dims: Vec<Dims>,
    /// The numbers of the dimensions that a plan has a size for.
    sized: SmallVec<[usize; 4]>,
    /// The constants of a plan for one row, in bytes.
    constants: u64,
}

/// A plan that was seen to run.
struct Tried {
    key: Sizes,
    plans: Plans,
    signature: Signature,
}

/// What fails of a model, and why.
enum Failure {
    OneRow(String),
    TwoRows(String),
}

/// Compiles a model that no plan for any size can be made of, for one row and for two.
///
/// # Errors
/// Says why it cannot be served like this.
pub(in crate::inference) fn compile(
    recipe: Arc<Recipe>,
    interface: &Interface,
) -> Result<Compiled, String> {
    let dims = numbered(interface);
    let count = sizes::count(&dims);
    let batch = sizes::batch_in(&dims);
    let interface = interface.clone();
    let mut maker = Maker { recipe, interface, dims, sized: SmallVec::new(), constants: 0 };
    let mut failure = "no dimension is open".to_owned();
    let all: SmallVec<[usize; 4]> = (0..count).collect();
    let only = batch.map(|batch| SmallVec::from_slice(&[batch])).filter(|only| *only != all);
    for sized in only.into_iter().chain((count > 0).then_some(all)) {
        maker.sized = sized;
        match maker.first() {
            Ok((ordinary, first)) => return maker.compiled(ordinary, first),
            // A plan for one row that leaves the other dimensions open serves them better than one for each size.
            Err(Failure::TwoRows(error)) => return Err(format!("two rows fail: {error}")),
            Err(Failure::OneRow(error)) => failure = error,
        }
    }
    Err(failure)
}

impl Maker {
    /// Plans for sizes at which the model runs, which come first, and for two rows where the batch is open.
    fn first(&self) -> Result<(Sizes, Vec<Tried>), Failure> {
        let (ordinary, fill, one) = self.working().map_err(Failure::OneRow)?;
        let Some(batch) = sizes::batch_in(&self.dims) else { return Ok((ordinary, vec![one])) };
        let mut two_rows = ordinary.clone();
        if let Some(rows) = two_rows.get_mut(batch) {
            *rows = 2;
        }
        let two = self.tried(self.key(&two_rows)).map_err(Failure::TwoRows)?;
        match self.answers(&two, &two_rows, fill) {
            Ok(()) | Err(InferError::Input(InputError::Value { .. })) => {
                Ok((ordinary, vec![one, two]))
            }
            Err(error) => Err(Failure::TwoRows(error.to_string())),
        }
    }

    /// Finds sizes at which the model runs, or else some at which it declines the values.
    fn working(&self) -> Result<(Sizes, Fill, Tried), String> {
        let started = Instant::now();
        let mut choosy = None;
        // A number that no size gives the plan.
        let mut lacking = None;
        let (mut failure, mut times) = (String::new(), 0);
        let mut last: Option<Tried> = None;
        for sizes in sizes::candidates(&self.dims) {
            let usual = |size: &usize| size.is_power_of_two() || USUAL.contains(size);
            if !sizes.iter().all(usual) {
                continue;
            }
            if started.elapsed() > TIME_MAX {
                break;
            }
            let key = self.key(&sizes);
            let tried = match last.take().filter(|tried| tried.key == key) {
                Some(tried) => tried,
                None => match self.tried(key) {
                    Ok(tried) => tried,
                    Err(error) => {
                        times = if error == failure { times + 1 } else { 1 };
                        failure = error;
                        if times == SAME_MAX {
                            break;
                        }
                        continue;
                    }
                },
            };
            for fill in [Fill::Zeros, Fill::Ones] {
                match self.answers(&tried, &sizes, fill) {
                    Ok(()) => return Ok((sizes, fill, tried)),
                    Err(InferError::Input(InputError::Value { .. })) => {
                        choosy.get_or_insert_with(|| (sizes.clone(), fill));
                    }
                    Err(error) => {
                        failure = error.to_string();
                        if sizes::lacks_a_size(&error) {
                            lacking = Some(failure.clone());
                        }
                    }
                }
            }
            last = Some(tried);
        }
        if let Some(failure) = lacking {
            return Err(failure);
        }
        let Some((sizes, fill)) = choosy else { return Err(failure) };
        let tried = self.tried(self.key(&sizes))?;
        Ok((sizes, fill, tried))
    }

    fn tried(&self, key: Sizes) -> Result<Tried, String> {
        let made = self.alone(&key).map_err(|error| format!("{error:#}"))?;
        let (plans, signature) = made;
        Ok(Tried { key, plans, signature: Signature { dims: self.dims.clone(), ..signature } })
    }

    fn answers(&self, tried: &Tried, sizes: &Sizes, fill: Fill) -> Result<(), InferError> {
        sizes::answers(&tried.signature, sizes, fill, |values| {
            tried.plans.run_untried(&self.rest(sizes), values, self.run_bytes())
        })
    }

    /// What is known about the model, with its first plans.
    fn compiled(mut self, ordinary: Sizes, first: Vec<Tried>) -> Result<Compiled, String> {
        const MIB: u64 = 1024 * 1024;
        self.constants = first.first().map_or(0, |tried| tried.plans.constant_bytes());
        // What they are made of counts as one more.
        let affordable = (BYTES_MAX / self.constants.max(1)).saturating_sub(1).min(PLANS_MAX);
        let affordable = usize::try_from(affordable).unwrap_or(0);
        let kept = affordable.saturating_sub(first.len());
        if kept == 0 {
            let mib = self.constants.div_ceil(MIB);
            return Err(format!("its constants have {mib} MiB, too many for several plans"));
        }
        let signature = self.signature(&first).ok_or("it has no plan")?;
        let no_batch = match batch_of(&self.dims) {
            Err(reason) => Some(reason),
            Ok(_) => without_rows(&first).map(|position| no_rows("output", position)),
        };
        let mixing = match no_batch {
            None => first.first().and_then(|tried| self.mixing(&tried.key)),
            Some(_) => None,
        };
        let measured = first.iter().map(|it| (it.key.clone(), self.takes(&it.plans))).collect();
        let growth = Mutex::new(Growth::new(measured, self.run_bytes()));
        let first = first.into_iter().map(|tried| (tried.key, Arc::new(tried.plans))).collect();
        let form = Form::BySize(Arc::new(BySize {
            maker: self,
            first,
            ordinary,
            kept: Mutex::new(Kept::new(kept, BYTES_MAX)),
            handed: Mutex::default(),
            growth,
            orders: Mutex::new(Orders::new()),
            in_parts: OnceLock::new(),
            made: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            crowded: AtomicU64::new(0),
        }));
        let further = Default::default();
        Ok(Compiled { signature, no_batch, mixing, bound: None, form, further })
    }

    /// What the model takes and returns: a dimension of an output is open where it differs between plans.
    fn signature(&self, first: &[Tried]) -> Option<Signature> {
        let [one, others @ ..] = first else { return None };
        let mut signature = one.signature.clone();
        for (input, dims) in signature.inputs.iter_mut().zip(&self.dims) {
            input.shape = Signature::declared(dims);
        }
        for other in others {
            open_up(&mut signature.outputs, &other.signature.outputs);
        }
        if self.sized.len() > 1 || others.is_empty() {
            // Two rows do not show what other dimensions decide.
            let twice: Sizes = one.key.iter().map(|size| size * 2).collect();
            match self.recipe.measure(self.at(&twice)) {
                Ok((_, twice)) => open_up(&mut signature.outputs, &twice.outputs),
                Err(_unknown) => {
                    let dims = signature.outputs.iter_mut().flat_map(|output| &mut output.shape);
                    dims.for_each(|dim| *dim = -1);
                }
            }
        }
        Some(signature)
    }

    /// Which operator mixes the rows, as far as the graphs for some numbers of rows tell.
    fn mixing(&self, key: &Sizes) -> Option<String> {
        let [few, many] = [2, 3].map(|rows| self.graphs(&self.with_rows(key, rows)));
        let (few, many) = match (few, many) {
            (Ok([few, _]), Ok([many, _])) => (few, many),
            (Err(error), _) | (_, Err(error)) => return Some(format!("three rows fail: {error}")),
        };
        let mixing = rows::growing(&few, &many).and_then(|growing| match growing {
            Some(growing) => rows::mixing_along(&many, &growing),
            None => Ok(Some("its graph is not the same for two and for three rows".to_owned())),
        });
        let mixing = mixing.unwrap_or_else(|error| Some(error.to_string()));
        mixing.or_else(|| self.counts(key, &few))
    }

    /// Whether as many rows as a part has make another graph than `few` do. Where they are too many there is no such part.
    fn counts(&self, key: &Sizes, few: &TypedModel) -> Option<String> {
        let [most, _] = self.graphs(&self.with_rows(key, PART_MAX)).ok()?;
        let same = rows::growing(few, &most).is_ok_and(|growing| growing.is_some());
        (!same).then(|| format!("its graph is not the same for two and for {PART_MAX} rows"))
    }

    /// The plan for the sizes of `key`, and what it takes and returns.
    pub(super) fn alone(&self, key: &Sizes) -> TractResult<(Plans, Signature)> {
        self.recipe.alone(self.at(key))
    }

    /// What a plan for the sizes of `key` would take, in bytes, beside the constants that all plans have.
    pub(super) fn measure(&self, key: &Sizes) -> TractResult<u64> {
        let (bytes, _) = self.recipe.measure(self.at(key))?;
        Ok(bytes.saturating_sub(self.constants))
    }

    /// The same of a plan that there is.
    pub(super) fn takes(&self, plans: &Plans) -> u64 {
        plans.takes().saturating_sub(self.constants)
    }

    /// The graph for the sizes of `key`, before and after operators were put into others.
    pub(super) fn graphs(&self, key: &Sizes) -> TractResult<[TypedModel; 2]> {
        self.recipe.graphs(&self.at(key))
    }

    /// What a run may take, in bytes.
    pub(super) fn run_bytes(&self) -> u64 {
        self.recipe.run_bytes()
    }

    /// Why there is no plan for the sizes of `key`, for the caller.
    pub(super) fn refusal(&self, key: &Sizes, why: &str) -> String {
        let sizes: Vec<String> = key.iter().map(ToString::to_string).collect();
        let sizes = sizes.join(" × ");
        format!("it cannot be compiled for the size {sizes} of its open dimensions ({why})")
    }

    fn at(&self, key: &Sizes) -> Interface {
        let size = |number| {
            let place = self.sized.iter().position(|sized| *sized == number)?;
            key.get(place).copied()
        };
        self.interface.sized(&self.dims, size)
    }

    /// The sizes that a plan is made for, of those of all open dimensions.
    pub(super) fn key(&self, sizes: &Sizes) -> Sizes {
        self.sized.iter().filter_map(|number| sizes.get(*number)).copied().collect()
    }

    /// The sizes that a plan leaves open.
    pub(super) fn rest(&self, sizes: &Sizes) -> Sizes {
        let sizes = sizes.iter().enumerate();
        sizes.filter(|(number, _)| !self.sized.contains(number)).map(|(_, size)| *size).collect()
    }

    /// How many rows there are, where the batch is open.
    pub(super) fn rows(&self, sizes: &Sizes) -> Option<usize> {
        sizes.get(sizes::batch_in(&self.dims)?).copied()
    }

    /// The same sizes but for the number of rows.
    pub(super) fn with_rows(&self, key: &Sizes, rows: usize) -> Sizes {
        let batch = sizes::batch_in(&self.dims);
        let place = self.sized.iter().position(|number| Some(*number) == batch);
        let mut key = key.clone();
        if let Some(size) = place.and_then(|place| key.get_mut(place)) {
            *size = rows;
        }
        key
    }
}

/// Opens the dimensions of outputs that are others elsewhere.
fn open_up(outputs: &mut [TensorSpec], elsewhere: &[TensorSpec]) {
    for (output, other) in outputs.iter_mut().zip(elsewhere) {
        for (dim, other) in output.shape.iter_mut().zip(&other.shape) {
            if dim != other {
                *dim = -1;
            }
        }
    }
}

/// The position of an output that does not have one row for each prediction in the plans for one and for two.
fn without_rows(first: &[Tried]) -> Option<usize> {
    let outputs = first.first()?.signature.outputs.len();
    let has_rows = |position: usize| {
        first.iter().zip([1, 2]).all(|(tried, rows)| {
            let output = tried.signature.outputs.get(position);
            output.and_then(|output| output.shape.first()) == Some(&rows)
        })
    };
    (0..outputs).find(|position| !has_rows(*position))
}
