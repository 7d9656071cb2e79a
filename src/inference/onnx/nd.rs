//! `ai.onnx` GatherND and ScatterND with indices below 0.
//!
//! Owns that those count from the end of their dimension
//! (<https://onnx.ai/onnx/operators/onnx__GatherND.html>), as tract does for the other operators that take
//! indices, but not for these two. Never judges an index that is out of range; that is `guard`'s.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{
    DatumType, DatumTypeExt as _, OutletId, SpecialOps as _, TValue, TVec, Tensor, TractResult,
    TypedFact, TypedModel, tvec,
};
use tract_onnx::tract_hir::infer::{
    InferenceOp, InferenceResult, InferenceRulesOp as _, Solver, TensorProxy,
};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, Expansion, IntoTValue as _, Op, StaticName, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, bail, expand, op_as_typed_op, op_out_of_plan};
use tract_onnx::tract_hir::ops::array::{GatherNd, ScatterNd, ScatterReduction};

/// GatherND.
#[derive(Debug, Clone)]
struct Gather(GatherNd);

/// ScatterND.
#[derive(Debug, Clone)]
struct Scatter(ScatterNd);

/// Makes indices below 0 those of the same places from the front.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FromFront {
    /// The dimension that the first part of an index is about.
    first: usize,
}

/// Makes GatherND.
pub(super) fn gather(
    _context: &ParsingContext<'_>,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let batch_dims = node.get_attr_opt("batch_dims")?.unwrap_or(0);
    Ok((expand(Gather(GatherNd::new(batch_dims))), Vec::new()))
}

/// Makes ScatterND.
pub(super) fn scatter(
    _context: &ParsingContext<'_>,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let reduction = node.get_attr_opt::<&str>("reduction")?.unwrap_or("none");
    let reduction = ScatterReduction::parse(reduction)?;
    Ok((expand(Scatter(ScatterNd::new(reduction))), Vec::new()))
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
    let wired =
        model.wire_node(format!("{prefix}.from_front"), FromFront { first }, &[data, indices])?;
    match wired.first() {
        Some(output) => Ok(*output),
        None => bail!("indices are one output"),
    }
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

impl Expansion for Gather {
    fn name(&self) -> StaticName {
        "GatherND".into()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let [data, indices] = inputs else { bail!("GatherND takes data and indices") };
        let indices = from_front(prefix, model, *data, *indices, self.0.batch_dims)?;
        model.wire_node(prefix, self.0.clone(), &[*data, indices])
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

impl Expansion for Scatter {
    fn name(&self) -> StaticName {
        "ScatterND".into()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let [data, indices, updates] = inputs else {
            bail!("ScatterND takes data, indices and updates");
        };
        let indices = from_front(prefix, model, *data, *indices, 0)?;
        Expansion::wire(&self.0, prefix, model, &[*data, indices, *updates])
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        Expansion::rules(&self.0, solver, inputs, outputs)
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
            None => bail!("indices of {parts} parts for the shape {:?}", data.shape()),
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
