//! One step of each kind of recurrent layer.
//!
//! Owns the equations of the specification and the order of the gates in the weights: RNN i, GRU z r h, LSTM
//! i o f c. Never knows of time.

use std::fmt;

use super::Given;
use super::function::Function;
use super::products::products;

/// A kind of layer.
pub(in crate::inference::onnx) trait Cell:
    fmt::Debug + Send + Sync + 'static
{
    /// Its name in the specification.
    const NAME: &'static str;
    /// How many rows of the weights each number of the state has.
    const GATES: usize;
    /// The functions of one direction by default.
    const DEFAULTS: &'static [&'static str];
    /// The attribute that chooses between two sets of equations.
    const VARIANT: Option<&'static str>;

    /// Takes all rows one step further. `gates` has for each row what the input and the bias add to each gate,
    /// and is overwritten; `cells` is the second state of those that have one.
    fn step(
        step: &Step<'_>,
        gates: &mut [f32],
        states: &mut [f32],
        cells: &mut [f32],
        scratch: &mut Scratch,
    );
}

/// A layer with one gate.
#[derive(Debug)]
pub(in crate::inference::onnx) struct Rnn;

/// A layer with a gate for the update, one for the reset, and the new state.
#[derive(Debug)]
pub(in crate::inference::onnx) struct Gru;

/// A layer with a second state, and gates for input, output and forgetting.
#[derive(Debug)]
pub(in crate::inference::onnx) struct Lstm;

/// What does not change from step to step.
pub(in crate::inference::onnx) struct Step<'a> {
    pub(super) hidden: usize,
    pub(super) functions: &'a [Function],
    pub(super) clip: f32,
    pub(super) variant: bool,
    pub(super) weights: &'a Weights<'a>,
}

/// The weights of one direction.
pub(in crate::inference::onnx) struct Weights<'a> {
    pub(super) input: &'a [f32],
    recurrence: &'a [f32],
    /// What is added to each gate.
    pub(super) bias: Vec<f32>,
    /// What a GRU adds to the part of the new state that the reset gate holds back.
    held_bias: &'a [f32],
    /// Of the gates i, o and f.
    peepholes: Option<&'a [f32]>,
}

impl<'a> Weights<'a> {
    pub(super) fn new<C: Cell>(way: usize, given: &Given<'a>, variant: bool) -> Self {
        let hidden = given.sizes.hidden;
        let rows = C::GATES * hidden;
        let bias = given.bias.map(|bias| part(bias, way, 2 * rows));
        let (own, recurrent) = bias.unwrap_or_default().split_at_checked(rows).unwrap_or_default();
        let mut bias = vec![0.0; rows];
        let mut held_bias: &[f32] = &[];
        let mut summed = recurrent;
        if variant && C::NAME == Gru::NAME {
            let gates = 2 * hidden;
            (summed, held_bias) = recurrent.split_at_checked(gates).unwrap_or_default();
        }
        bias.iter_mut().zip(own).for_each(|(sum, bias)| *sum += bias);
        bias.iter_mut().zip(summed).for_each(|(sum, bias)| *sum += bias);
        Self {
            input: part(given.weights, way, rows * given.sizes.features),
            recurrence: part(given.recurrence, way, rows * hidden),
            bias,
            held_bias,
            peepholes: given.peepholes.map(|peepholes| part(peepholes, way, 3 * hidden)),
        }
    }
}

/// The part of numbers that belongs to a direction.
fn part(numbers: &[f32], way: usize, size: usize) -> &[f32] {
    numbers.get(way * size..(way + 1) * size).unwrap_or_default()
}

/// Memory that steps share.
#[derive(Debug, Default)]
pub(in crate::inference::onnx) struct Scratch {
    products: Vec<f32>,
    held: Vec<f32>,
}

impl Step<'_> {
    /// Adds what the states add to all gates of each row.
    fn recur(&self, states: &[f32], gates: &mut [f32], scratch: &mut Scratch) {
        scratch.products.resize(gates.len(), 0.0);
        products(states, self.hidden, self.weights.recurrence, &mut scratch.products, &[]);
        add(gates, &scratch.products);
    }

    /// Applies a function to a gate.
    fn apply(&self, function: usize, numbers: &mut [f32]) {
        if let Some(function) = self.functions.get(function) {
            function.apply(numbers, self.clip);
        }
    }
}

/// Adds numbers to numbers.
fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

impl Cell for Rnn {
    const NAME: &'static str = "RNN";
    const GATES: usize = 1;
    const DEFAULTS: &'static [&'static str] = &["Tanh"];
    const VARIANT: Option<&'static str> = None;

    fn step(
        step: &Step<'_>,
        gates: &mut [f32],
        states: &mut [f32],
        _cells: &mut [f32],
        scratch: &mut Scratch,
    ) {
        step.recur(states, gates, scratch);
        step.apply(0, gates);
        states.copy_from_slice(gates);
    }
}

impl Cell for Gru {
    const NAME: &'static str = "GRU";
    const GATES: usize = 3;
    const DEFAULTS: &'static [&'static str] = &["Sigmoid", "Tanh"];
    const VARIANT: Option<&'static str> = Some("linear_before_reset");

    fn step(
        step: &Step<'_>,
        gates: &mut [f32],
        states: &mut [f32],
        _cells: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let hidden = step.hidden;
        let (all, of_gates) = (step.weights.recurrence, 2 * hidden * hidden);
        let Some((for_gates, for_state)) = all.split_at_checked(of_gates) else { return };
        scratch.products.resize(2 * states.len(), 0.0);
        products(states, hidden, for_gates, &mut scratch.products, &[]);
        // What the reset gate holds back: the states, or what they add to the new one.
        scratch.held.resize(states.len(), 0.0);
        if step.variant {
            products(states, hidden, for_state, &mut scratch.held, step.weights.held_bias);
        } else {
            scratch.held.copy_from_slice(states);
        }
        let rows = gates.chunks_exact_mut(3 * hidden).zip(scratch.held.chunks_exact_mut(hidden));
        for ((gates, held), products) in rows.zip(scratch.products.chunks_exact(2 * hidden)) {
            let Some((gates, _new)) = gates.split_at_mut_checked(2 * hidden) else { continue };
            add(gates, products);
            step.apply(0, gates);
            let reset = gates.iter().skip(hidden);
            held.iter_mut().zip(reset).for_each(|(held, reset)| *held *= reset);
        }
        if !step.variant {
            products(&scratch.held, hidden, for_state, &mut scratch.products, &[]);
            std::mem::swap(&mut scratch.held, &mut scratch.products);
        }
        let rows = gates.chunks_exact_mut(3 * hidden).zip(states.chunks_exact_mut(hidden));
        for ((gates, state), held) in rows.zip(scratch.held.chunks_exact(hidden)) {
            let Some((gates, new)) = gates.split_at_mut_checked(2 * hidden) else { continue };
            add(new, held);
            step.apply(1, new);
            for ((state, new), update) in state.iter_mut().zip(new).zip(gates) {
                *state = (1.0 - *update) * *new + *update * *state;
            }
        }
    }
}

impl Cell for Lstm {
    const NAME: &'static str = "LSTM";
    const GATES: usize = 4;
    const DEFAULTS: &'static [&'static str] = &["Sigmoid", "Tanh", "Tanh"];
    const VARIANT: Option<&'static str> = Some("input_forget");

    fn step(
        step: &Step<'_>,
        gates: &mut [f32],
        states: &mut [f32],
        cells: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let hidden = step.hidden;
        step.recur(states, gates, scratch);
        let rows = gates.chunks_exact_mut(4 * hidden).zip(states.chunks_exact_mut(hidden));
        for ((gates, state), cell) in rows.zip(cells.chunks_exact_mut(hidden)) {
            let mut parts = gates.chunks_exact_mut(hidden);
            let (Some(input), Some(output), Some(forget), Some(new)) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let mut peepholes = step.weights.peepholes.unwrap_or_default().chunks_exact(hidden);
            let (p_input, p_output, p_forget) =
                (peepholes.next(), peepholes.next(), peepholes.next());
            peep(input, p_input, cell);
            step.apply(0, input);
            if step.variant {
                forget.iter_mut().zip(&*input).for_each(|(forget, input)| *forget = 1.0 - input);
            } else {
                peep(forget, p_forget, cell);
                step.apply(0, forget);
            }
            step.apply(1, new);
            let kept = input.iter().zip(&*forget).zip(&*new);
            for (cell, ((input, forget), new)) in cell.iter_mut().zip(kept) {
                *cell = forget * *cell + input * new;
            }
            peep(output, p_output, cell);
            step.apply(0, output);
            state.copy_from_slice(cell);
            step.apply(2, state);
            state.iter_mut().zip(output).for_each(|(state, output)| *state *= *output);
        }
    }
}

/// Adds what a gate sees of the second state.
fn peep(gate: &mut [f32], weights: Option<&[f32]>, cell: &[f32]) {
    let seen = weights.unwrap_or_default().iter().zip(cell);
    gate.iter_mut().zip(seen).for_each(|(gate, (weight, cell))| *gate += weight * cell);
}
