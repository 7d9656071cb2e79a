//! Copies of a tensor along an axis: what Expand, Tile, ConstantOfShape and the like become.
//!
//! Owns that there are as many as the file says. Tract takes a broadcast away in front of a product, as if the product
//! repeated it again: the sum over the copies, or their places in the answer, are lost then
//! (`declutter_broadcast` of tract-core 0.23.9). Here only what an operation place by place repeats anyway is taken
//! away. Must see a graph before it is simplified.

use std::collections::HashMap;

use tract_onnx::prelude::{OutletId, TValue, TVec, TractResult, TypedFact, TypedModel, tvec};
use tract_onnx::tract_hir::internal::{
    AxesMapping, AxisChangeConsequence, AxisOp, EvalContext, EvalOp, InOut, Op, StaticName, Symbol,
    TDim, TypedModelPatch, TypedNode, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, op_as_typed_op, op_out_of_plan};
use tract_onnx::tract_hir::tract_core::ops::array::{MultiBroadcastTo, Tile};
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;

use super::bodies::bodies_mut;
use super::wiring;

/// Copies that stay.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Copies {
    /// To a shape.
    Broadcast(MultiBroadcastTo),
    /// So many times along each axis.
    Tile(Tile),
}

/// Has ours stand for the copies in `model`, also in the bodies of loops and branches.
pub(in crate::inference) fn keep(model: &mut TypedModel) {
    for node in model.nodes_mut() {
        if let Some(op) = node.op_as::<MultiBroadcastTo>() {
            node.op = Box::new(Copies::Broadcast(op.clone()));
        } else if let Some(op) = node.op_as::<Tile>() {
            node.op = Box::new(Copies::Tile(op.clone()));
        } else {
            bodies_mut(&mut *node.op).into_iter().for_each(keep);
        }
    }
}

impl Copies {
    fn inner(&self) -> &dyn TypedOp {
        match self {
            Self::Broadcast(op) => op,
            Self::Tile(op) => op,
        }
    }
}

impl Op for Copies {
    fn name(&self) -> StaticName {
        self.inner().name()
    }

    op_as_typed_op!();
}

impl EvalOp for Copies {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.inner().eval(context, inputs)
    }
}

impl TypedOp for Copies {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.inner().output_facts(inputs)
    }

    fn axes_mapping(
        &self,
        inputs: &[&TypedFact],
        outputs: &[&TypedFact],
    ) -> TractResult<AxesMapping> {
        self.inner().axes_mapping(inputs, outputs)
    }

    fn change_axes(
        &self,
        model: &TypedModel,
        node: &TypedNode,
        io: InOut,
        change: &AxisOp,
    ) -> TractResult<Option<AxisChangeConsequence>> {
        let mut changed = self.inner().change_axes(model, node, io, change)?;
        let op = changed.as_mut().and_then(|changed| changed.substitute_op.as_mut());
        if let Some(op) = op
            && let Some(broadcast) = op.downcast_ref::<MultiBroadcastTo>().cloned()
        {
            *op = Box::new(Self::Broadcast(broadcast));
        }
        Ok(changed)
    }

    fn set_symbols(
        &self,
        _source: &TypedModel,
        node: &TypedNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
        sizes: &HashMap<Symbol, TDim>,
    ) -> TractResult<TVec<OutletId>> {
        let with_sizes = |dims: &[TDim]| -> TractResult<TVec<TDim>> {
            dims.iter().map(|dim| dim.substitute_all(sizes)).collect()
        };
        let op = match self {
            Self::Broadcast(op) => {
                Self::Broadcast(MultiBroadcastTo::new(with_sizes(&op.shape)?.into()))
            }
            Self::Tile(op) => Self::Tile(Tile::new(with_sizes(&op.multipliers)?)),
        };
        let inputs: TVec<OutletId> =
            node.inputs.iter().filter_map(|input| mapping.get(input).copied()).collect();
        Ok(tvec!(wiring::node(&node.name, target, op, &inputs)?))
    }

    /// Takes copies away that are none, or that an operation place by place makes anyway.
    fn declutter(
        &self,
        model: &TypedModel,
        node: &TypedNode,
    ) -> TractResult<Option<TypedModelPatch>> {
        let (inputs, outputs) = model.node_facts(node.id)?;
        let (Some(input), Some(output)) = (inputs.first(), outputs.first()) else {
            return Ok(None);
        };
        if input.shape == output.shape {
            return TypedModelPatch::shunt_one_op(model, node);
        }
        let next = node.outputs.first().map(|output| &*output.successors);
        match (self, next) {
            (Self::Broadcast(op), Some([next])) if model.node(next.node).op_is::<TypedBinOp>() => {
                op.declutter(model, node)
            }
            _ => Ok(None),
        }
    }

    as_op!();
}
