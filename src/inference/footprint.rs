//! What the tensors inside of a run take in memory.
//!
//! Owns an estimate for any sizes of the open dimensions and lengths of texts, made from the graph once: each
//! tensor counts from the operator that makes it to the last one that reads it, those in the bodies of loops and
//! branches while these run. It is evaluated before a run, and again within it ([`Watch`]) whenever an operator has
//! decided a size by the values that it got. Leaves out what operators take for themselves. Never allocates by
//! what a client says.

use std::collections::HashMap;

use tract_onnx::prelude::{DatumType, OutletId, TVec, Tensor, TractResult, TypedFact, TypedModel};
use tract_onnx::tract_hir::internal::{Symbol, SymbolValues, TDim, bail};

use super::ml::{self, Unacceptable};
use super::onnx::bodies;

const MIB: u64 = 1024 * 1024;
/// The most bytes of a text that an operator of tract writes: those of a number.
const NUMBER_TEXT: usize = 32;

/// The tensors of a graph, in the order in which they come and go.
#[derive(Debug)]
pub(super) struct Footprint {
    symbols: Vec<Symbol>,
    /// Sizes that no input shows: an operator decides them by its values.
    late: Vec<Symbol>,
    /// Different sizes of tensors.
    sizes: Vec<Size>,
    steps: Vec<Step>,
}

/// The size of a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Size {
    elements: TDim,
    /// What an element takes, without those of its bytes that were given.
    bytes: usize,
    /// Whether elements may be texts of the request.
    given: bool,
}

/// What an operator makes, and what nobody reads after it; positions in [`Footprint::sizes`].
#[derive(Debug, Default, Clone)]
struct Step {
    made: TVec<usize>,
    dropped: TVec<usize>,
}

/// The texts of a tensor.
#[derive(Debug, Clone, Copy)]
struct Texts {
    /// The longest that the graph knows.
    longest: usize,
    /// Whether they may be texts of the request.
    given: bool,
}

impl Footprint {
    /// That of `model`, whose open dimensions are `symbols`.
    ///
    /// # Errors
    /// When values decide a size within the body of a loop or a branch, which no run could be stopped for.
    pub(super) fn of(model: &TypedModel, symbols: &[Symbol]) -> TractResult<Self> {
        let mut footprint = Self {
            symbols: symbols.to_vec(),
            late: Vec::new(),
            sizes: Vec::new(),
            steps: Vec::new(),
        };
        footprint.enter(model, &mut HashMap::new(), None)?;
        Ok(footprint)
    }

    /// Adds the steps of `model`: all of the graph, or what runs within the operator `within`. At the end nothing but
    /// the outputs of the graph is held.
    fn enter(
        &mut self,
        model: &TypedModel,
        places: &mut HashMap<Size, usize>,
        within: Option<&str>,
    ) -> TractResult<()> {
        // For each tensor its size and the last step that reads it.
        let mut tensors: HashMap<OutletId, (usize, usize)> = HashMap::new();
        let mut texts = HashMap::new();
        for node in model.eval_order()? {
            let node = model.node(node);
            let step = self.steps.len();
            self.steps.push(Step::default());
            for slot in 0..node.outputs.len() {
                let id = OutletId::new(node.id, slot);
                let Some(size) = size_of(model, id, &mut texts, within.is_some())? else {
                    continue;
                };
                if let Some(body) = within
                    && self.decides_late(&size)
                {
                    let (operator, name) = (node.op.name(), &node.name);
                    bail!(
                        "the operator {operator} (node '{name}') in the body of {body} makes a tensor whose size \
                         only values decide, which is not supported there"
                    );
                }
                let place = match places.get(&size) {
                    Some(place) => *place,
                    None => {
                        let place = self.add(size.clone());
                        places.insert(size, place);
                        place
                    }
                };
                tensors.insert(id, (place, step));
                if let Some(step) = self.steps.get_mut(step) {
                    step.made.push(place);
                }
            }
            for body in bodies(&*node.op) {
                let name = format!("{} (node '{}')", node.op.name(), node.name);
                self.enter(body, places, Some(&name))?;
            }
            let last = self.steps.len().saturating_sub(1);
            for input in &node.inputs {
                if let Some((_, read)) = tensors.get_mut(input) {
                    *read = last;
                }
            }
        }
        let end = self.steps.len().saturating_sub(1);
        for output in &model.outputs {
            match within {
                // Handed over, or copied, when the body is through.
                Some(_) => {
                    if let Some((_, read)) = tensors.get_mut(output) {
                        *read = end;
                    }
                }
                None => {
                    tensors.remove(output);
                }
            }
        }
        for (place, last) in tensors.into_values() {
            if let Some(step) = self.steps.get_mut(last) {
                step.dropped.push(place);
            }
        }
        Ok(())
    }

    /// Whether nothing that is known yet tells a size.
    fn decides_late(&self, size: &Size) -> bool {
        let known = |symbol: &Symbol| self.symbols.contains(symbol) || self.late.contains(symbol);
        !size.elements.symbols().iter().all(known)
    }

    fn add(&mut self, size: Size) -> usize {
        for symbol in size.elements.symbols() {
            if !self.symbols.contains(&symbol) && !self.late.contains(&symbol) {
                self.late.push(symbol);
            }
        }
        self.sizes.push(size);
        self.sizes.len() - 1
    }

    /// How many dimensions are open.
    pub(super) fn symbols(&self) -> usize {
        self.symbols.len()
    }

    /// Whether values decide the size of a tensor.
    pub(super) fn is_open(&self) -> bool {
        !self.late.is_empty()
    }

    /// The most bytes that are held at a time, where the open dimensions have these sizes and the longest text
    /// of the request is `longest`. What values decide is not in it.
    pub(super) fn peak(&self, sizes: &[usize], longest: usize) -> u64 {
        let mut values = SymbolValues::default();
        for (symbol, &size) in self.symbols.iter().zip(sizes) {
            values.set(symbol, i64::try_from(size).unwrap_or(i64::MAX));
        }
        self.peak_of(&values, longest)
    }

    fn peak_of(&self, values: &SymbolValues, longest: usize) -> u64 {
        let count = |size: &Size| {
            let elements = match size.elements.eval_to_i64(values) {
                Ok(elements) => u64::try_from(elements).unwrap_or(0),
                Err(_) if size.elements.symbols().iter().any(|it| values.get(it).is_none()) => 0,
                // What cannot be counted is too much.
                Err(_) => u64::MAX,
            };
            let given = if size.given { longest } else { 0 };
            elements.saturating_mul(size.bytes.saturating_add(given) as u64)
        };
        let bytes: Vec<u64> = self.sizes.iter().map(count).collect();
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

/// The size of a tensor, none where the graph holds it, or where it is given to a body, which is held outside of it.
/// Notes its texts.
fn size_of(
    model: &TypedModel,
    id: OutletId,
    texts: &mut HashMap<OutletId, Texts>,
    in_body: bool,
) -> TractResult<Option<Size>> {
    let fact = model.outlet_fact(id)?;
    let held = texts_of(model, id, fact, texts);
    texts.extend(held.map(|held| (id, held)));
    if fact.konst.is_some() || in_body && model.node(id.node).inputs.is_empty() {
        return Ok(None);
    }
    Ok(Some(Size {
        elements: fact.shape.volume(),
        bytes: fact.datum_type.size_of() + held.map_or(0, |held| held.longest),
        given: held.is_some_and(|held| held.given),
    }))
}

/// What is known about the texts of a tensor, if it has some.
fn texts_of(
    model: &TypedModel,
    id: OutletId,
    fact: &TypedFact,
    known: &HashMap<OutletId, Texts>,
) -> Option<Texts> {
    if fact.datum_type != DatumType::String {
        return None;
    }
    if let Some(constant) = &fact.konst {
        return Some(Texts { longest: longest_text(constant), given: false });
    }
    let node = model.node(id.node);
    let own = ml::longest_text(node.op.as_ref());
    let from = node.inputs.iter().filter_map(|input| known.get(input));
    let passed = from.fold(None, |all: Option<Texts>, one| {
        let all = all.unwrap_or(Texts { longest: 0, given: false });
        Some(Texts { longest: all.longest.max(one.longest), given: all.given || one.given })
    });
    Some(match (own, passed) {
        // Its inputs are keys, its outputs are values.
        (longest @ 1.., _) => Texts { longest, given: false },
        (0, Some(passed)) => passed,
        (0, None) if node.inputs.is_empty() => Texts { longest: 0, given: true },
        (0, None) => Texts { longest: NUMBER_TEXT, given: false },
    })
}

/// The length of the longest text in a tensor, 0 for one of numbers.
pub(super) fn longest_text(tensor: &Tensor) -> usize {
    if tensor.datum_type() != DatumType::String {
        return 0;
    }
    let plain = tensor.try_as_plain_ram();
    let texts = plain.as_ref().ok().and_then(|plain| plain.as_slice::<String>().ok());
    texts.and_then(|texts| texts.iter().map(String::len).max()).unwrap_or(0)
}

/// Keeps an eye on a run in which values decide sizes.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    footprint: &'a Footprint,
    longest: usize,
    limit: u64,
    /// How many of the late sizes are known.
    decided: usize,
}

impl<'a> Watch<'a> {
    /// On a run that may take `limit` bytes, where the longest text of the request is `longest`.
    pub(super) fn new(footprint: &'a Footprint, longest: usize, limit: u64) -> Self {
        Self { footprint, longest, limit, decided: 0 }
    }

    /// Whether the run may go on, by the sizes that are known by now.
    ///
    /// # Errors
    /// [`Unacceptable`] when the tensors to come would take more than the limit.
    pub(super) fn look(&mut self, sizes: &SymbolValues) -> TractResult<()> {
        let known = |symbol: &&Symbol| sizes.get(symbol).is_some();
        let decided = self.footprint.late.iter().filter(known).count();
        if decided == self.decided {
            return Ok(());
        }
        self.decided = decided;
        within(self.footprint.peak_of(sizes, self.longest), self.limit, "values")
    }
}

/// Refuses a run that would take more than `limit` bytes, for inputs of such `what`.
///
/// # Errors
/// [`Unacceptable`] then.
pub(super) fn within(bytes: u64, limit: u64, what: &str) -> TractResult<()> {
    if bytes <= limit {
        return Ok(());
    }
    if bytes == u64::MAX {
        let reason =
            format!("the {what} of the inputs do not fit each other, or are beyond counting");
        return Err(Unacceptable::new(reason).into());
    }
    let (needs, limit) = (bytes.div_ceil(MIB), limit / MIB);
    let reason = format!(
        "for inputs of these {what} the tensors inside of the model would take about {needs} MiB, and \
         `inference.run_memory` allows {limit} MiB"
    );
    Err(Unacceptable::new(reason).into())
}
