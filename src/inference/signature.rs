//! What a model takes and returns, and whether a request fits.
//!
//! Owns every complaint about the inputs of a request; all of them are the client's fault. Never runs
//! anything.

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::protocol::shown::shortened;
use crate::protocol::tensor::{Datatype, Tensor, TensorData, TensorSpec};

/// What a model takes and returns, in its own order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The inputs.
    pub inputs: Vec<TensorSpec>,
    /// The outputs.
    pub outputs: Vec<TensorSpec>,
    /// What the columns of an input or output stand for, by its name: the class labels of scores that
    /// the model returns as maps, the keys of a map that it takes.
    pub columns: HashMap<String, Vec<String>>,
    /// The dimensions of each input.
    pub(super) dims: Vec<Dims>,
}

/// The dimensions of one input.
pub(super) type Dims = SmallVec<[Dim; 4]>;

/// One dimension of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dim {
    /// Exactly this size.
    Fixed(usize),
    /// Any size, but the same wherever the same number occurs.
    Free(usize),
}

/// The largest dimension of an input without elements. A dimension is otherwise bounded by the data
/// that came with it; beside a 0 it is not, and a model may allocate by it.
const EMPTY_DIM_MAX: usize = 65_536;

/// Inputs or requested outputs that the model does not have or take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum InputError {
    #[error("unexpected inference input '{input}'; the model takes {takes}")]
    Unexpected { input: String, takes: String },
    #[error("input '{input}' already exists in request")]
    Duplicate { input: String },
    #[error("missing inference input {input}")]
    Missing { input: String },
    #[error("inference input '{input}' data-type is '{found}', but the model expects '{expected}'")]
    Datatype { input: String, found: Datatype, expected: Datatype },
    #[error("inference input '{input}' has shape {found:?}, but the model expects {expected:?}")]
    Shape { input: String, found: Vec<usize>, expected: Vec<i64> },
    #[error(
        "inference input '{input}' has size {found} in dimension {axis}, but must have {expected}, as input \
         '{other}' has"
    )]
    Disagreement { input: String, axis: usize, found: usize, other: String, expected: usize },
    #[error(
        "inference input '{input}' has no elements but a dimension of {found}, the limit is \
         {EMPTY_DIM_MAX}"
    )]
    Empty { input: String, found: usize },
    #[error(
        "inference input '{input}' is not UTF-8 in element {position}, but the model takes texts"
    )]
    Text { input: String, position: usize },
    #[error("the model does not take these values: {reason}")]
    Value { reason: String },
    #[error("unexpected inference output '{output}'; the model returns {returns}")]
    Output { output: String, returns: String },
    #[error("output '{output}' is requested twice")]
    DuplicateOutput { output: String },
}

impl Signature {
    /// The shape of an input with these dimensions, for clients.
    pub(super) fn declared(dims: &Dims) -> SmallVec<[i64; 4]> {
        let dims = dims.iter().map(|dim| match dim {
            Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
            Dim::Free(_) => -1,
        });
        dims.collect()
    }

    /// Puts the inputs of a request into the model's order.
    pub(super) fn order_inputs(&self, inputs: Vec<Tensor>) -> Result<Ordered, InputError> {
        let mut slots: SmallVec<[Option<Tensor>; 4]> = self.inputs.iter().map(|_| None).collect();
        for tensor in inputs {
            let position = self.inputs.iter().position(|spec| spec.name == tensor.name());
            match position.and_then(|position| slots.get_mut(position)) {
                None => {
                    let input = shortened(tensor.name());
                    return Err(InputError::Unexpected { input, takes: list(&self.inputs) });
                }
                Some(Some(_)) => {
                    return Err(InputError::Duplicate { input: tensor.name().to_owned() });
                }
                Some(slot) => *slot = Some(tensor),
            }
        }
        let mut sizes: Seen<'_> = SmallVec::new();
        let mut ordered = Ordered::new();
        for ((spec, dims), slot) in self.inputs.iter().zip(&self.dims).zip(slots) {
            let missing = || InputError::Missing { input: spec.to_string() };
            let tensor = slot.ok_or_else(missing)?;
            check(spec, dims, &tensor, &mut sizes)?;
            ordered.push(tensor);
        }
        Ok(ordered)
    }

    /// The positions of the wanted outputs, in the order of the request; all when none is named.
    pub(super) fn select_outputs(
        &self,
        wanted: &[&str],
    ) -> Result<SmallVec<[usize; 4]>, InputError> {
        if wanted.is_empty() {
            return Ok((0..self.outputs.len()).collect());
        }
        let mut positions = SmallVec::new();
        for name in wanted {
            let position = self.outputs.iter().position(|spec| spec.name == *name);
            let unexpected =
                || InputError::Output { output: shortened(name), returns: list(&self.outputs) };
            let position = position.ok_or_else(unexpected)?;
            if positions.contains(&position) {
                return Err(InputError::DuplicateOutput { output: (*name).to_owned() });
            }
            positions.push(position);
        }
        Ok(positions)
    }
}

/// Inputs in the order of the model.
pub(super) type Ordered = SmallVec<[Tensor; 4]>;

/// What each free dimension was found to be so far, and in which input.
type Seen<'a> = SmallVec<[Option<(usize, &'a str)>; 4]>;

/// Checks one input against what was seen of others.
fn check<'a>(
    spec: &'a TensorSpec,
    dims: &Dims,
    tensor: &Tensor,
    sizes: &mut Seen<'a>,
) -> Result<(), InputError> {
    let input = || spec.name.clone();
    if tensor.datatype() != spec.datatype {
        let (found, expected) = (tensor.datatype(), spec.datatype);
        return Err(InputError::Datatype { input: input(), found, expected });
    }
    let shape = tensor.shape();
    let fits = |(size, dim): (&usize, &Dim)| match dim {
        Dim::Fixed(expected) => size == expected,
        Dim::Free(_) => true,
    };
    if shape.len() != dims.len() || !shape.iter().zip(dims).all(fits) {
        let (found, expected) = (shape.to_vec(), spec.shape.to_vec());
        return Err(InputError::Shape { input: input(), found, expected });
    }
    if let TensorData::Bytes(values) = tensor.data() {
        let text = |value: &Vec<u8>| std::str::from_utf8(value).is_err();
        if let Some(position) = values.iter().position(text) {
            return Err(InputError::Text { input: input(), position });
        }
    }
    let largest = shape.iter().copied().max().unwrap_or(0);
    if shape.contains(&0) && largest > EMPTY_DIM_MAX {
        return Err(InputError::Empty { input: input(), found: largest });
    }
    for (axis, (&found, dim)) in shape.iter().zip(dims).enumerate() {
        let Dim::Free(number) = *dim else { continue };
        if sizes.len() <= number {
            sizes.resize(number + 1, None);
        }
        match sizes.get_mut(number) {
            Some(Some((expected, other))) if *expected != found => {
                let (expected, other) = (*expected, (*other).to_owned());
                let input = input();
                return Err(InputError::Disagreement { input, axis, found, other, expected });
            }
            // The first that has it is named.
            Some(size) => *size = size.or(Some((found, &spec.name))),
            None => {}
        }
    }
    Ok(())
}

fn list(specs: &[TensorSpec]) -> String {
    specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
