//! How an operator that others stand for becomes nodes of tract's.
//!
//! Owns what all of them have in common: the type and the shape of the output follow from those of the inputs, and
//! from the values of some, and nodes are put into the graph as soon as these are known. Operators that
//! compute are `ml::Operator`s. Never knows what an operator does.

use std::fmt;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{
    Arc, DatumType, OutletId, SpecialOps as _, TVec, Tensor, TractResult, TypedModel, tvec,
};
use tract_onnx::tract_hir::infer::{InferenceOp, InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{
    Expansion, StaticName, TDim, TypedModelPatch, TypedNode, TypedOp, bail, expand,
};

/// What is put into tract's register of operators.
pub(super) type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// What the shape of an output has in common with that of the first input, whatever the sizes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    Shape,
    Rank,
    Nothing,
}

/// An operator with one output that is made of others. By default the output is of the type of the first input and
/// has its shape.
pub(super) trait Wiring: fmt::Debug + Clone + Send + Sync + 'static {
    /// Its name in the specification.
    fn operator(&self) -> StaticName;

    /// Puts nodes into `model`; the last one is named `prefix`.
    ///
    /// # Errors
    /// When the operator takes other inputs.
    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId>;

    /// The element type of the output.
    ///
    /// # Errors
    /// When the operator takes other types.
    fn datum_type(&self, inputs: &[DatumType]) -> TractResult<DatumType> {
        match inputs {
            [first, ..] => Ok(*first),
            [] => bail!("{} takes an input", self.operator()),
        }
    }

    /// What is known of the shape before the sizes are.
    fn likeness(&self) -> Likeness {
        Likeness::Shape
    }

    /// The positions of the inputs whose values decide the shape.
    fn deciding(&self) -> TVec<usize> {
        tvec!()
    }

    /// The shape of the output, by that of the first input and the values that decide it.
    ///
    /// # Errors
    /// When they do not fit each other.
    fn shape(&self, first: TVec<TDim>, _values: &[Arc<Tensor>]) -> TractResult<TVec<TDim>> {
        Ok(first)
    }

    /// The operator of tract's that has the same rules, if one has.
    fn stock(&self) -> Option<&dyn Expansion> {
        None
    }

    /// The rules of all of this, for those that have others.
    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        if let Some(stock) = self.stock() {
            return stock.rules(solver, inputs, outputs);
        }
        let ([first, ..], [output]) = (inputs, outputs) else {
            bail!("{} takes an input and has one output", self.operator());
        };
        let types = inputs.iter().map(|input| &input.datum_type);
        solver.given_all(types, move |solver, types| {
            solver.equals(&output.datum_type, self.datum_type(&types)?)
        })?;
        match self.likeness() {
            Likeness::Shape => return solver.equals(&first.shape, &output.shape),
            Likeness::Rank => solver.equals(&first.rank, &output.rank)?,
            Likeness::Nothing => {}
        }
        solver.given(&first.shape, move |solver, shape| {
            let deciding = self.deciding();
            let values = deciding.iter().filter_map(|at| inputs.get(*at)).map(|input| &input.value);
            solver.given_all(values, move |solver, values| {
                solver.equals(&output.shape, self.shape(shape.clone(), &values)?)
            })
        })
    }
}

/// Makes the operator of a node.
pub(super) fn built(operator: impl Wiring) -> Built {
    Ok((expand(Wired(operator)), Vec::new()))
}

/// The operator that tract makes of a node, which it puts together of others.
pub(super) fn stock(
    context: &ParsingContext<'_>,
    node: &NodeProto,
) -> TractResult<Box<dyn Expansion>> {
    let (stock, _) = super::stock(context, node)?;
    match stock.as_op().downcast_ref::<Box<dyn Expansion>>() {
        Some(stock) => Ok(stock.clone()),
        None => bail!("tract's {} is not made of others", node.op_type),
    }
}

/// The constant that is given at `input`, if it is one, however the file has made it.
pub(super) fn constant(model: &TypedModel, input: OutletId) -> TractResult<Option<Arc<Tensor>>> {
    Ok(model.outlet_fact(input)?.konst.clone())
}

/// The elements of a list of sizes, axes or places.
pub(super) fn integers(list: &Tensor) -> TractResult<Vec<i64>> {
    let integers = list.cast_to::<i64>()?;
    Ok(integers.try_as_plain_ram()?.as_slice::<i64>()?.to_vec())
}

/// Puts an operator with one output into `model`.
pub(super) fn node(
    name: impl Into<String>,
    model: &mut TypedModel,
    operator: impl Into<Box<dyn TypedOp>>,
    inputs: &[OutletId],
) -> TractResult<OutletId> {
    let name = name.into();
    only(&name, &model.wire_node(&name, operator, inputs)?)
}

/// `node` with `operator` before its input `slot`, under the name of the node and `what`; `None` where it has no such input.
pub(super) fn in_front(
    model: &TypedModel,
    node: &TypedNode,
    slot: usize,
    what: &str,
    operator: impl Into<Box<dyn TypedOp>>,
) -> TractResult<Option<TypedModelPatch>> {
    let mut patch = TypedModelPatch::new(what);
    let mut inputs = patch.taps(model, &node.inputs)?;
    let Some(input) = inputs.get_mut(slot) else { return Ok(None) };
    let name = format!("{}.{what}", node.name);
    *input = self::node(name, &mut patch.model, operator, &[*input])?;
    let outputs = patch.wire_node(&node.name, node.op.clone(), &inputs)?;
    for (slot, output) in outputs.into_iter().enumerate() {
        patch.shunt_outside(model, OutletId::new(node.id, slot), output)?;
    }
    Ok(Some(patch))
}

/// The only one of the outputs of the node `name`.
pub(super) fn only(name: &str, outputs: &[OutletId]) -> TractResult<OutletId> {
    match outputs {
        [output] => Ok(*output),
        outputs => bail!("{name} has {} outputs instead of one", outputs.len()),
    }
}

#[derive(Debug, Clone)]
struct Wired<W>(W);

impl<W: Wiring> Expansion for Wired<W> {
    fn name(&self) -> StaticName {
        self.0.operator()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        Ok(tvec!(self.0.wire(prefix, model, inputs)?))
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.0.rules(solver, inputs, outputs)
    }
}
