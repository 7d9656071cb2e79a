//! Trying a model on made-up rows, for sizes of its open dimensions at which it runs.
//!
//! Owns which sizes and values are tried. A graph with further open dimensions than the batch may rightly fail
//! where all of them are 1, and at all sizes that are tried, if it takes so many features and no others. Where
//! it takes one row it is tried on two as well. Bounded in time and, by the run's own bound, in memory. Never knows how long
//! a run takes.

use std::time::{Duration, Instant};

use tract_onnx::prelude::{TValue, TVec, TractResult};

use super::contained;
use super::convert::{self, Fill};
use super::local_model::{InferError, failure};
use super::plans::Plans;
use super::shapes::Sizes;
use super::signature::{Dim, Dims, InputError, Signature};

/// The sizes that all dimensions but the batch are given in turn: all up to a usual number of features, then
/// those of pictures and sequences.
const ALIKE_UP_TO: usize = 32;
const ALIKE: [usize; 7] = [48, 64, 128, 224, 256, 384, 512];
/// So many dimensions are also given different sizes, each up to [`DIFFERENT_MAX`].
const DIFFERENT_DIMS: std::ops::RangeInclusive<usize> = 2..=3;
const DIFFERENT_MAX: usize = 3;
/// No further sizes are tried after that.
const TIME_MAX: Duration = Duration::from_secs(5);

/// What a model runs on.
#[derive(Debug)]
pub(super) struct Working {
    sizes: Sizes,
    fill: Fill,
}

/// Why a model was not seen to run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unseen {
    /// It takes other values.
    Choosy,
    /// It fails at every size that was tried.
    Fails,
    /// It fails at every size in the same words, which say nothing about sizes, or asks for the number of a dimension that
    /// stays open: no other size will do.
    Always(InferError),
}

/// Finds sizes at which the general plan runs.
pub(super) fn find(plans: &Plans, signature: &Signature, limit: u64) -> Result<Working, Unseen> {
    let started = Instant::now();
    let mut choosy = false;
    let mut failures = Vec::new();
    for sizes in candidates(&signature.dims) {
        for fill in [Fill::Zeros, Fill::Ones] {
            match run(plans, signature, &sizes, fill, limit) {
                Ok(()) => return Ok(Working { sizes, fill }),
                Err(InferError::Input(InputError::Value { .. })) => choosy = true,
                Err(failure) => failures.push(failure),
            }
        }
        if started.elapsed() > TIME_MAX {
            break;
        }
    }
    // An image may be too small at one size, and a number be missing at all others.
    let lacking = failures.iter().any(lacks_a_size);
    Err(if choosy && !lacking { Unseen::Choosy } else { unseen(failures) })
}

/// What the failures at several sizes, and no others, mean. One size tells nothing, and neither do panics, which are
/// left out: some sizes make one before the failure that all others come to.
fn unseen(mut failures: Vec<InferError>) -> Unseen {
    const FILLS: usize = 2;
    failures.retain(|failure| !matches!(failure, InferError::Panicked { .. }));
    if let Some(at) = failures.iter().position(lacks_a_size) {
        return Unseen::Always(failures.swap_remove(at));
    }
    match &*failures {
        [first @ InferError::Model { .. }, others @ ..]
            if others.len() >= FILLS && others.iter().all(|other| other == first) =>
        {
            Unseen::Always(first.clone())
        }
        _ => Unseen::Fails,
    }
}

/// Whether an operator asks for the number of a dimension that is open, as tract says it. No size gives the
/// general plan one.
pub(super) fn lacks_a_size(failure: &InferError) -> bool {
    matches!(failure, InferError::Model { reason } if reason.contains("Undetermined symbol"))
}

/// What keeps a general plan from being served for all sizes that it leaves open: it takes no two rows, or an operator
/// needs the number of an open dimension. `None` also where no row was found, and other sizes than those that were
/// tried may do.
pub(super) fn shortcoming(plans: &Plans, signature: &Signature, limit: u64) -> Option<String> {
    let two_rows = |error| format!("two rows fail: {error}");
    let batch = batch(signature);
    if batch.is_none() && !are_open(signature) {
        return None;
    }
    let Working { mut sizes, fill } = match find(plans, signature, limit) {
        Ok(working) => working,
        Err(Unseen::Always(error)) if lacks_a_size(&error) => return Some(error.to_string()),
        Err(Unseen::Fails | Unseen::Always(_)) if batch.is_some() && !are_open(signature) => {
            let first = candidates(&signature.dims).into_iter().next()?;
            return run(plans, signature, &first, Fill::Zeros, limit).err().map(two_rows);
        }
        Err(_) => return None,
    };
    *sizes.get_mut(batch?)? = 2;
    match run(plans, signature, &sizes, fill, limit) {
        Ok(()) | Err(InferError::Input(InputError::Value { .. })) => None,
        Err(error) => Some(two_rows(error)),
    }
}

/// The number of the dimension that the first input begins with, where it is open.
fn batch(signature: &Signature) -> Option<usize> {
    batch_in(&signature.dims)
}

/// The number of the dimension that the first of the inputs begins with, where it is open.
pub(super) fn batch_in(dims: &[Dims]) -> Option<usize> {
    match dims.first()?.first()? {
        Dim::Free(number) => Some(*number),
        Dim::Fixed(_) => None,
    }
}

fn run(
    plans: &Plans,
    signature: &Signature,
    sizes: &Sizes,
    fill: Fill,
    limit: u64,
) -> Result<(), InferError> {
    answers(signature, sizes, fill, |values| plans.run_untried(sizes, values, limit))
}

/// Whether `run` gives what `signature` says for a made-up request.
pub(super) fn answers(
    signature: &Signature,
    sizes: &Sizes,
    fill: Fill,
    run: impl FnOnce(TVec<TValue>) -> TractResult<TVec<TValue>>,
) -> Result<(), InferError> {
    let run = || {
        let outputs = run(inputs(signature, sizes, fill)?)?;
        // What shapes decide may still have no number there.
        let mut outputs = signature.outputs.iter().zip(&outputs);
        outputs.try_for_each(|(spec, output)| convert::from_tract(spec, output).map(drop))
    };
    match contained(run) {
        Ok(outcome) => outcome.map_err(|error| failure(&error)),
        Err(reason) => Err(InferError::Panicked { reason }),
    }
}

/// One made-up tensor for each input.
fn inputs(signature: &Signature, sizes: &Sizes, fill: Fill) -> TractResult<TVec<TValue>> {
    let inputs = signature.inputs.iter().zip(&signature.dims).map(|(spec, dims)| {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => *size,
            Dim::Free(number) => sizes.get(*number).copied().unwrap_or(1),
        };
        let shape: TVec<usize> = dims.iter().map(size).collect();
        convert::filled(spec.datatype, &shape, fill)
    });
    inputs.collect()
}

/// Whether other dimensions than the batch are open.
pub(super) fn are_open(signature: &Signature) -> bool {
    let batch = batch(signature);
    let mut dims = signature.dims.iter().flatten();
    dims.any(|dim| matches!(dim, Dim::Free(number) if Some(*number) != batch))
}

/// How many dimensions are open.
pub(super) fn count(dims: &[Dims]) -> usize {
    let number = |dim: &Dim| match dim {
        Dim::Fixed(_) => 0,
        Dim::Free(number) => number + 1,
    };
    dims.iter().flatten().map(number).max().unwrap_or(0)
}

/// Sizes of the open dimensions, by their numbers, beginning with 1 in each. The batch stays 1.
pub(super) fn candidates(dims: &[Dims]) -> Vec<Sizes> {
    let batch = batch_in(dims);
    let count = count(dims);
    let others: Vec<usize> = (0..count).filter(|number| Some(*number) != batch).collect();
    let with = |size_of: &dyn Fn(usize) -> usize| {
        let mut sizes = Sizes::from_elem(1, count);
        for (place, number) in others.iter().enumerate() {
            if let Some(size) = sizes.get_mut(*number) {
                *size = size_of(place);
            }
        }
        sizes
    };
    if others.is_empty() {
        return vec![with(&|_| 1)];
    }
    let alike = (1..=ALIKE_UP_TO).chain(ALIKE);
    let mut all: Vec<Sizes> = alike.map(|size| with(&|_| size)).collect();
    if DIFFERENT_DIMS.contains(&others.len()) {
        let digit = |number: usize, place: usize| {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            number / DIFFERENT_MAX.saturating_pow(place) % DIFFERENT_MAX + 1
        };
        let dims = u32::try_from(others.len()).unwrap_or(u32::MAX);
        let different = 0..DIFFERENT_MAX.saturating_pow(dims);
        let different = different.map(|number| with(&|place| digit(number, place)));
        all.extend(different.filter(|sizes| !all.contains(sizes)).collect::<Vec<_>>());
    }
    all
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;

    fn inputs(dims: &[&[Dim]]) -> Vec<Dims> {
        dims.iter().map(|dims| dims.iter().copied().collect()).collect()
    }

    #[test]
    fn failures_in_the_same_words_at_several_sizes_are_not_about_sizes() {
        let model = |reason: &str| InferError::Model { reason: reason.to_owned() };
        let panic = || InferError::Panicked { reason: "a".to_owned() };
        let always = |reason: &str| Unseen::Always(model(reason));
        assert_eq!(unseen(vec![model("a"), model("a"), model("a")]), always("a"));
        assert_eq!(unseen(vec![model("a"), model("a"), model("b")]), Unseen::Fails);
        assert_eq!(unseen(vec![panic(), model("a"), model("a"), model("a")]), always("a"));
        assert_eq!(unseen(vec![model("a"), model("a"), panic()]), Unseen::Fails, "of one size");
        assert_eq!(unseen(vec![panic(), panic(), panic()]), Unseen::Fails);
        assert_eq!(unseen(vec![model("a"), model("a")]), Unseen::Fails, "of one size");
        assert_eq!(unseen(Vec::new()), Unseen::Fails);
        let open = "Evaluating \"u\" Resize: Undetermined symbol in expression: H";
        assert_eq!(unseen(vec![panic(), model("a"), model(open), model("b")]), always(open));
    }

    #[test]
    fn all_dimensions_but_the_batch_are_given_sizes_alike_and_different_ones() {
        let (batch, one, two) = (Dim::Free(0), Dim::Free(1), Dim::Free(2));
        let fixed = candidates(&inputs(&[&[Dim::Fixed(3)]]));
        assert_eq!(fixed, [Sizes::new()]);
        assert_eq!(candidates(&inputs(&[&[batch, Dim::Fixed(4)]])), [Sizes::from_elem(1, 1)]);
        let sequence = candidates(&inputs(&[&[batch, one]]));
        assert_eq!(sequence.len(), ALIKE_UP_TO + ALIKE.len());
        assert!(sequence.iter().all(|sizes| sizes[0] == 1));
        let two = candidates(&inputs(&[&[batch, one], &[batch, two]]));
        assert_eq!(two.len(), ALIKE_UP_TO + ALIKE.len() + 6);
        let different: Sizes = smallvec![1, 2, 3];
        assert!(two.contains(&different));
        // Where no input begins with an open dimension, there is no batch.
        let open = candidates(&inputs(&[&[Dim::Fixed(1), Dim::Free(0)]]));
        assert_eq!(open.last(), Some(&Sizes::from_elem(512, 1)));
    }
}
