//! `ai.onnx` RNN, GRU and LSTM, all versions.
//!
//! Owns recurrent layers (<https://onnx.ai/onnx/operators/onnx__LSTM.html>): one direction, the other or both,
//! all functions, clipping, peepholes, sequences of different lengths, and zeros where no initial state is
//! given. tract has them forwards with the functions by default, needs an initial state where the batch is open,
//! and approximates the gates so that NaN comes out as a number close to -1. Other element types than FP32 are
//! refused. Never keeps a state from one request to the next.

mod cell;
mod function;
mod products;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{DatumType, TValue, TVec, Tensor, TractResult, tvec};
use tract_onnx::tract_hir::internal::{IntoTValue as _, TDim, bail};

use self::cell::{Cell, Step, Weights};
pub(super) use self::cell::{Gru, Lstm, Rnn};
use self::function::Function;
use self::products::products;
use super::wiring::Built;
use crate::inference::ml::{self, Attributes, Form, Operator, Unacceptable};

/// How many rows are multiplied by the input weights at a time, of several steps where a step has fewer.
const ROWS_AT_ONCE: usize = 64;

/// A recurrent layer.
#[derive(Debug)]
pub(super) struct Recurrent<C> {
    directions: Vec<Direction>,
    /// Beyond which the inputs of functions are cut off.
    clip: f32,
    batch_first: bool,
    /// What [`Cell::VARIANT`] says.
    variant: bool,
    /// Which input of the specification each input of the node is.
    present: Vec<usize>,
    cell: PhantomData<C>,
}

/// A way through the sequence.
#[derive(Debug)]
struct Direction {
    backwards: bool,
    functions: Vec<Function>,
}

/// Makes the operator of a node.
pub(super) fn build<C: Cell>(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let mut operator = ml::parse::<Recurrent<C>>(node, context.onnx_operator_set_version)?;
    let names = node.input.iter().enumerate().filter(|(_, name)| !name.is_empty());
    operator.present = names.map(|(position, _)| position).collect();
    Ok((ml::wrap(operator, node), Vec::new()))
}

/// The inputs of the specification.
mod input {
    pub(super) const SEQUENCES: usize = 0;
    pub(super) const WEIGHTS: usize = 1;
    pub(super) const RECURRENCE: usize = 2;
    pub(super) const BIAS: usize = 3;
    pub(super) const LENGTHS: usize = 4;
    pub(super) const STATE: usize = 5;
    pub(super) const CELL_STATE: usize = 6;
    pub(super) const PEEPHOLES: usize = 7;
    pub(super) const NAMES: [&str; 8] =
        ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"];
}

impl<C: Cell> Operator for Recurrent<C> {
    const NAME: &'static str = C::NAME;

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        let ways: &[bool] = match attributes.text("direction")?.unwrap_or("forward") {
            "forward" => &[false],
            "reverse" => &[true],
            "bidirectional" => &[false, true],
            other => return Err(attributes.refuse("direction", &format!("is '{other}'"))),
        };
        let functions = Function::all(attributes, C::DEFAULTS, ways.len())?;
        let directions = ways.iter().zip(functions);
        let direction = |(&backwards, functions)| Direction { backwards, functions };
        // Read from the weights, which cannot contradict themselves.
        attributes.int("hidden_size")?;
        // Of versions before 7; what is wanted follows from the names of the outputs.
        attributes.int("output_sequence")?;
        let clip = attributes.float("clip")?.unwrap_or(f32::INFINITY);
        if clip.is_nan() || clip <= 0.0 {
            return Err(attributes.refuse("clip", &format!("is {clip}, not above 0")));
        }
        // What of the second state is cut off is not said.
        if clip.is_finite() && C::NAME == Lstm::NAME {
            return Err(attributes.refuse("clip", "is not supported"));
        }
        let variant = match C::VARIANT {
            Some(name) => attributes.int(name)?.unwrap_or(0) != 0,
            None => false,
        };
        Ok(Self {
            directions: directions.map(direction).collect(),
            clip,
            batch_first: attributes.int("layout")?.unwrap_or(0) != 0,
            variant,
            present: Vec::new(),
            cell: PhantomData,
        })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        for (input, position) in inputs.iter().zip(&self.present) {
            let wanted = if *position == input::LENGTHS { DatumType::I32 } else { DatumType::F32 };
            if input.datum_type != wanted {
                let name = input::NAMES.get(*position).unwrap_or(&"?");
                bail!("{} takes {wanted:?} as {name}, not {:?}", C::NAME, input.datum_type);
            }
        }
        let shape = |position| {
            let found = self.present.iter().position(|present| *present == position);
            found.and_then(|at| inputs.get(at)).map(|input| &*input.shape)
        };
        let (Some([first, second, _]), Some([_, _, hidden])) =
            (shape(input::SEQUENCES), shape(input::RECURRENCE))
        else {
            bail!("{} takes X and R of rank 3", C::NAME);
        };
        let ways = TDim::from(self.directions.len());
        let hidden = hidden.clone();
        let form = |shape| Form { datum_type: DatumType::F32, shape };
        Ok(if self.batch_first {
            let (batch, length) = (first.clone(), second.clone());
            let state = form(tvec!(batch.clone(), ways.clone(), hidden.clone()));
            tvec!(form(tvec!(batch, length, ways, hidden)), state.clone(), state)
        } else {
            let (length, batch) = (first.clone(), second.clone());
            let state = form(tvec!(ways.clone(), batch.clone(), hidden.clone()));
            tvec!(form(tvec!(length, ways, batch, hidden)), state.clone(), state)
        })
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let given = Given::new(self, &inputs)?;
        let Sizes { length, batch, hidden, .. } = given.sizes;
        let ways = self.directions.len();
        let (all, state) = if self.batch_first {
            ([batch, length, ways, hidden], [batch, ways, hidden])
        } else {
            ([length, ways, batch, hidden], [ways, batch, hidden])
        };
        let mut all = Tensor::zero::<f32>(&all)?;
        let mut last = Tensor::zero::<f32>(&state)?;
        let mut cells = Tensor::zero::<f32>(&state)?;
        {
            let (mut all, mut last, mut cells) = (
                all.try_as_plain_ram_mut()?,
                last.try_as_plain_ram_mut()?,
                cells.try_as_plain_ram_mut()?,
            );
            let mut outputs = Outputs {
                all: all.as_slice_mut()?,
                last: last.as_slice_mut()?,
                cells: cells.as_slice_mut()?,
            };
            for number in 0..ways {
                self.go(number, &given, &mut outputs);
            }
        }
        Ok(tvec!(all.into_tvalue(), last.into_tvalue(), cells.into_tvalue()))
    }
}

/// What is written.
struct Outputs<'a> {
    all: &'a mut [f32],
    last: &'a mut [f32],
    cells: &'a mut [f32],
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    length: usize,
    batch: usize,
    features: usize,
    hidden: usize,
}

/// The inputs, with the numbers of elements that they must have.
struct Given<'a> {
    sizes: Sizes,
    sequences: &'a [f32],
    weights: &'a [f32],
    recurrence: &'a [f32],
    bias: Option<&'a [f32]>,
    /// How many steps each row has.
    lengths: Option<Vec<usize>>,
    state: Option<&'a [f32]>,
    cell_state: Option<&'a [f32]>,
    peepholes: Option<&'a [f32]>,
}

impl<'a> Given<'a> {
    fn new<C: Cell>(layer: &Recurrent<C>, inputs: &'a [TValue]) -> TractResult<Self> {
        let find = |position: usize| {
            let at = layer.present.iter().position(|present| *present == position);
            at.and_then(|at| inputs.get(at))
        };
        let (Some(sequences), Some(recurrence)) = (find(input::SEQUENCES), find(input::RECURRENCE))
        else {
            bail!("{} takes X and R", C::NAME);
        };
        let (&[first, second, features], &[_, _, hidden]) = (sequences.shape(), recurrence.shape())
        else {
            bail!("{} takes X and R of rank 3", C::NAME);
        };
        let (length, batch) = if layer.batch_first { (second, first) } else { (first, second) };
        let sizes = Sizes { length, batch, features, hidden };
        let ways = layer.directions.len();
        let numbers = |position: usize, wanted: usize| -> TractResult<Option<&'a [f32]>> {
            let Some(input) = find(position) else { return Ok(None) };
            let numbers = input.try_as_plain_ram()?.as_slice::<f32>()?;
            if numbers.len() == wanted {
                return Ok(Some(numbers));
            }
            let name = input::NAMES.get(position).unwrap_or(&"?");
            let shape = input.shape();
            let reason = format!(
                "{} takes {wanted} numbers as {name} here, not the shape {shape:?}",
                C::NAME
            );
            Err(Unacceptable::new(reason).into())
        };
        let needed = |position: usize, wanted: usize| match numbers(position, wanted)? {
            Some(numbers) => Ok(numbers),
            None => bail!("{} has no {}", C::NAME, input::NAMES.get(position).unwrap_or(&"?")),
        };
        let rows = ways * C::GATES * hidden;
        let states = ways * batch * hidden;
        let lengths = find(input::LENGTHS).map(|input| steps(input, sizes)).transpose()?;
        Ok(Self {
            sizes,
            sequences: needed(input::SEQUENCES, length * batch * features)?,
            weights: needed(input::WEIGHTS, rows * features)?,
            recurrence: needed(input::RECURRENCE, rows * hidden)?,
            bias: numbers(input::BIAS, 2 * rows)?,
            lengths,
            state: numbers(input::STATE, states)?,
            cell_state: numbers(input::CELL_STATE, states)?,
            peepholes: numbers(input::PEEPHOLES, ways * 3 * hidden)?,
        })
    }

    /// How many steps a row has.
    fn steps(&self, row: usize) -> usize {
        let own = self.lengths.as_ref().and_then(|lengths| lengths.get(row).copied());
        own.unwrap_or(self.sizes.length)
    }
}

/// The lengths of sequences that the caller gives.
fn steps(input: &Tensor, sizes: Sizes) -> TractResult<Vec<usize>> {
    let lengths = input.try_as_plain_ram()?.as_slice::<i32>()?;
    if lengths.len() != sizes.batch {
        let reason = format!("{} lengths for {} sequences", lengths.len(), sizes.batch);
        return Err(Unacceptable::new(reason).into());
    }
    let length = |length: &i32| {
        let fits = usize::try_from(*length).ok().filter(|length| *length <= sizes.length);
        let reason = || format!("a sequence has no {length} steps, but 0 to {}", sizes.length);
        fits.ok_or_else(|| Unacceptable::new(reason()).into())
    };
    lengths.iter().map(length).collect()
}

impl<C: Cell> Recurrent<C> {
    /// Where the numbers of a row begin among all states.
    fn state_at(&self, way: usize, row: usize, sizes: Sizes) -> std::ops::Range<usize> {
        let place = if self.batch_first {
            row * self.directions.len() + way
        } else {
            way * sizes.batch + row
        };
        place * sizes.hidden..(place + 1) * sizes.hidden
    }

    /// Where the numbers of a row at a time begin among all outputs.
    fn output_at(
        &self,
        way: usize,
        row: usize,
        time: usize,
        sizes: Sizes,
    ) -> std::ops::Range<usize> {
        let ways = self.directions.len();
        let place = if self.batch_first {
            (row * sizes.length + time) * ways + way
        } else {
            (time * ways + way) * sizes.batch + row
        };
        place * sizes.hidden..(place + 1) * sizes.hidden
    }

    /// Goes through all sequences in one direction.
    fn go(&self, way: usize, given: &Given<'_>, outputs: &mut Outputs<'_>) {
        let sizes = given.sizes;
        let Sizes { length, batch, features, hidden } = sizes;
        let Some(direction) = self.directions.get(way) else { return };
        if batch == 0 || hidden == 0 {
            return;
        }
        let weights = Weights::new::<C>(way, given, self.variant);
        let step = Step {
            hidden,
            functions: &direction.functions,
            clip: self.clip,
            variant: self.variant,
            weights: &weights,
        };
        let mut states = self.states(way, given.state, sizes);
        let mut cells = self.states(way, given.cell_state, sizes);
        let width = C::GATES * hidden;
        let at_once = (ROWS_AT_ONCE / batch).clamp(1, length.max(1));
        let mut rows = vec![0.0; at_once * batch * features];
        let mut gates = vec![0.0; at_once * batch * width];
        let mut scratch = cell::Scratch::default();
        for first in (0..length).step_by(at_once) {
            let count = at_once.min(length - first);
            self.gather(direction, given, first, count, &mut rows);
            let used = rows.get(..count * batch * features).unwrap_or_default();
            products(used, features, weights.input, &mut gates, &weights.bias);
            for (number, gates) in gates.chunks_exact_mut(batch * width).take(count).enumerate() {
                let number = first + number;
                let before = given.lengths.is_some().then(|| (states.clone(), cells.clone()));
                C::step(&step, gates, &mut states, &mut cells, &mut scratch);
                for row in 0..batch {
                    let own = row * hidden..(row + 1) * hidden;
                    if number >= given.steps(row) {
                        // The sequence has ended: its last state stays.
                        let Some((old_states, old_cells)) = &before else { continue };
                        copy(old_states, own.clone(), &mut states, own.clone());
                        copy(old_cells, own.clone(), &mut cells, own);
                        continue;
                    }
                    let time = direction.time(number, given.steps(row));
                    copy(&states, own, outputs.all, self.output_at(way, row, time, sizes));
                }
            }
        }
        for row in 0..batch {
            let own = row * hidden..(row + 1) * hidden;
            copy(&states, own.clone(), outputs.last, self.state_at(way, row, sizes));
            copy(&cells, own, outputs.cells, self.state_at(way, row, sizes));
        }
    }

    /// The states to begin with, one after the other.
    fn states(&self, way: usize, initial: Option<&[f32]>, sizes: Sizes) -> Vec<f32> {
        let mut states = vec![0.0; sizes.batch * sizes.hidden];
        if let Some(initial) = initial {
            for (row, state) in states.chunks_exact_mut(sizes.hidden).enumerate() {
                let from = initial.get(self.state_at(way, row, sizes)).unwrap_or_default();
                state.iter_mut().zip(from).for_each(|(state, from)| *state = *from);
            }
        }
        states
    }

    /// Copies what the rows have at some steps, one step after the other; zeros for those that have ended.
    fn gather(
        &self,
        direction: &Direction,
        given: &Given<'_>,
        first: usize,
        count: usize,
        rows: &mut [f32],
    ) {
        let Sizes { length, batch, features, .. } = given.sizes;
        let places = (first..first + count).flat_map(|step| (0..batch).map(move |row| (step, row)));
        for ((step, row), to) in places.zip(rows.chunks_exact_mut(features.max(1))) {
            let steps = given.steps(row);
            if step >= steps {
                to.fill(0.0);
                continue;
            }
            let time = direction.time(step, steps);
            let place = if self.batch_first { row * length + time } else { time * batch + row };
            let from = given.sequences.get(place * features..(place + 1) * features);
            to.iter_mut().zip(from.unwrap_or_default()).for_each(|(to, from)| *to = *from);
        }
    }
}

impl Direction {
    /// The time of a step of a sequence of `steps`.
    fn time(&self, step: usize, steps: usize) -> usize {
        if self.backwards { (steps - 1).saturating_sub(step) } else { step }
    }
}

/// Copies a part of some numbers to a part of others.
fn copy(
    from: &[f32],
    these: std::ops::Range<usize>,
    to: &mut [f32],
    there: std::ops::Range<usize>,
) {
    if let (Some(from), Some(to)) = (from.get(these), to.get_mut(there)) {
        to.copy_from_slice(from);
    }
}
