//! `ai.onnx` GatherND and ScatterND with indices below 0.
//!
//! Owns that those count from the end of their dimension
//! (<https://onnx.ai/onnx/operators/onnx__GatherND.html>), as tract does for the other operators that take
//! indices, but not for these two. Never judges an index that is out of range; that is `guard`'s.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{
    DatumType, DatumTypeExt as _, OutletId, TValue, TVec, Tensor, TractResult, TypedFact,
    TypedModel, tvec,
};
use tract_onnx::tract_hir::infer::{InferenceResult, InferenceRulesOp as _, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, Expansion, IntoTValue as _, Op, StaticName, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, bail, op_as_typed_op, op_out_of_plan};
use tract_onnx::tract_hir::ops::array::{GatherNd, ScatterNd, ScatterReduction};

use super::fits;
use super::wiring::{self, Built, Wiring};

/// An operator of tract that takes indices from the front only.
#[derive(Debug, Clone)]
enum Nd {
    Gather(GatherNd),
    Scatter(ScatterNd),
}

/// Makes indices below 0 those of the same places from the front.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FromFront {
    /// The dimension that the first part of an index is about.
    first: usize,
}

/// Makes GatherND.
pub(super) fn gather(_: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let batch_dims = node.get_attr_opt("batch_dims")?.unwrap_or(0);
    wiring::built(Nd::Gather(GatherNd::new(batch_dims)))
}

/// Makes ScatterND.
pub(super) fn scatter(_: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let reduction = node.get_attr_opt::<&str>("reduction")?.unwrap_or("none");
    wiring::built(Nd::Scatter(ScatterNd::new(ScatterReduction::parse(reduction)?)))
}

/// Wires the step before the operator where there may be an index below 0.
fn from_front(
    prefix: &str,
    model: &mut TypedModel,
    data: OutletId,
    indices: OutletId,
    first: usize,
) -> TractResult<OutletId> {
    if let Some(constant) = &model.outlet_fact(indices)?.konst
        && constant.cast_to::<i64>()?.try_as_plain_ram()?.as_slice::<i64>()?.iter().all(|i| *i >= 0)
    {
        return Ok(indices);
    }
    wiring::node(format!("{prefix}.from_front"), model, FromFront { first }, &[data, indices])
}

/// The indices from the front; along their last dimension they belong to `sizes` in turn.
fn counted(indices: &Tensor, sizes: &[usize]) -> TractResult<Tensor> {
    let mut indices = indices.cast_to::<i64>()?.into_owned();
    let mut plain = indices.try_as_plain_ram_mut()?;
    for (index, &size) in plain.as_slice_mut::<i64>()?.iter_mut().zip(sizes.iter().cycle()) {
        let size = i64::try_from(size)?;
        if (-size..0).contains(index) {
            *index += size;
        }
    }
    Ok(indices)
}

impl Wiring for Nd {
    fn operator(&self) -> StaticName {
        match self {
            Self::Gather(_) => "GatherND".into(),
            Self::Scatter(_) => "ScatterND".into(),
        }
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        match (self, inputs) {
            (Self::Gather(op), [data, indices]) => {
                let indices = from_front(prefix, model, *data, *indices, op.batch_dims)?;
                wiring::node(prefix, model, op.clone(), &[*data, indices])
            }
            (Self::Scatter(op), [data, indices, updates]) => {
                let indices = from_front(prefix, model, *data, *indices, 0)?;
                wiring::only(prefix, &op.wire(prefix, model, &[*data, indices, *updates])?)
            }
            _ => bail!("{} does not take {} inputs", self.operator(), inputs.len()),
        }
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        match self {
            Self::Gather(op) => op.rules(solver, inputs, outputs),
            Self::Scatter(op) => Expansion::rules(op, solver, inputs, outputs),
        }
    }
}

impl Op for FromFront {
    fn name(&self) -> StaticName {
        "IndicesFromFront".into()
    }

    op_as_typed_op!();
}

impl EvalOp for FromFront {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [data, indices] = &*inputs else { bail!("indices are those of data") };
        let parts = indices.shape().last().copied().unwrap_or(0);
        match data.shape().get(self.first..self.first + parts) {
            Some(sizes) => Ok(tvec!(counted(indices, sizes)?.into_tvalue())),
            None => Err(fits::too_deep(parts, data.shape()).into()),
        }
    }
}

impl TypedOp for FromFront {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [_, indices] = inputs else { bail!("indices are those of data") };
        Ok(tvec!(DatumType::I64.fact(indices.shape.clone())))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::tensor2;

    use super::*;

    #[test]
    fn indices_below_zero_count_from_the_end_of_their_dimension() {
        let indices = tensor2(&[[0_i64, -1], [-3, 1], [-4, 2], [3, i64::MIN]]);
        let found = counted(&indices, &[3, 2]).expect("integers");
        // Those that are out of range stay so.
        assert_eq!(found, tensor2(&[[0_i64, 1], [0, 1], [-4, 2], [3, i64::MIN]]));
    }
}
