//! `ai.onnx` Pad from version 11 on.
//!
//! Owns that the value to pad with counts in the mode "constant" only
//! (<https://onnx.ai/onnx/operators/onnx__Pad.html>); tract pads with it in any mode. Pads below 0 take places
//! away. Never pads with what is computed while the model runs, and never wraps around.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{Arc, OutletId, SpecialOps as _, TVec, Tensor, TractResult, TypedModel};
use tract_onnx::tract_hir::infer::{InferenceOp, InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{Expansion, StaticName, TDim, bail, expand};
use tract_onnx::tract_hir::tract_core::ops::array::{Pad as Padding, PadMode};

use super::slice::Cut;
use super::stock;

/// From version 11 on the pads are inputs.
const INPUTS_SINCE: i64 = 11;

/// A node of the file; its inputs by position among those that are given.
#[derive(Debug, Clone)]
struct Pad {
    /// What the border repeats, if not a value.
    mode: Option<PadMode>,
    value: Option<usize>,
    axes: Option<usize>,
}

/// Makes the operator of a node.
pub(super) fn build(
    context: &ParsingContext<'_>,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    if context.onnx_operator_set_version < INPUTS_SINCE {
        return stock(context, node);
    }
    let mode = match node.get_attr_opt::<&str>("mode")?.unwrap_or("constant") {
        "constant" => None,
        "reflect" => Some(PadMode::Reflect),
        "edge" => Some(PadMode::Edge),
        other => bail!("the mode '{other}' of Pad is not supported"),
    };
    let given = |position: usize| node.input.get(position).is_some_and(|name| !name.is_empty());
    let (value, axes) = (given(2), given(3));
    let pad = Pad { mode, value: value.then_some(2), axes: axes.then_some(2 + usize::from(value)) };
    Ok((expand(pad), Vec::new()))
}

impl Pad {
    /// What is added before and after each of `rank` dimensions, and whether something is taken away.
    fn pads(
        &self,
        pads: &Tensor,
        axes: Option<&Tensor>,
        rank: usize,
    ) -> TractResult<Vec<[i64; 2]>> {
        let pads = integers(pads)?;
        let count = i64::try_from(rank)?;
        let axes = match axes {
            Some(axes) => integers(axes)?,
            None => (0..count).collect(),
        };
        if pads.len() != 2 * axes.len() {
            bail!("Pad has {} pads for {} axes", pads.len(), axes.len());
        }
        let (before, after) = pads.split_at(axes.len());
        let mut all = vec![[0; 2]; rank];
        for (axis, (before, after)) in axes.iter().zip(before.iter().zip(after)) {
            let place = if *axis < 0 { axis.saturating_add(count) } else { *axis };
            match usize::try_from(place).ok().and_then(|place| all.get_mut(place)) {
                Some(pads) => *pads = [*before, *after],
                None => bail!("Pad has the axis {axis} of a tensor of rank {rank}"),
            }
        }
        if self.mode.is_some() && all.iter().flatten().any(|pad| *pad < 0) {
            bail!("Pad has pads below 0 in a mode other than 'constant', which is not supported");
        }
        Ok(all)
    }

    /// The value to pad with.
    fn mode(&self, model: &TypedModel, inputs: &[OutletId]) -> TractResult<PadMode> {
        if let Some(mode) = &self.mode {
            return Ok(mode.clone());
        }
        let Some(value) = self.value.and_then(|value| inputs.get(value)) else {
            return Ok(PadMode::default());
        };
        match &model.outlet_fact(*value)?.konst {
            Some(value) if value.len() == 1 => {
                let value = Tensor::clone(value).into_shape(&[])?;
                Ok(PadMode::Constant(Arc::new(value)))
            }
            Some(value) => bail!("Pad takes one value to pad with, not {}", value.len()),
            None => bail!("the value of Pad must be a constant"),
        }
    }
}

/// The elements of a list of sizes.
fn integers(tensor: &Tensor) -> TractResult<Vec<i64>> {
    let integers = tensor.cast_to::<i64>()?;
    Ok(integers.try_as_plain_ram()?.as_slice::<i64>()?.to_vec())
}

/// What is left of a dimension that pads below 0 take places from.
fn taken_away(axis: i64, before: i64, after: i64) -> Cut {
    let end = if after < 0 { after } else { i64::MAX };
    Cut::new(axis, before.min(0).saturating_neg(), end)
}

impl Expansion for Pad {
    fn name(&self) -> StaticName {
        "Pad".into()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let [data, pads, ..] = inputs else { bail!("Pad takes data and pads") };
        let constant = |input: &OutletId| match &model.outlet_fact(*input)?.konst {
            Some(constant) => Ok(Arc::clone(constant)),
            None => bail!("the pads and axes of Pad must be constants"),
        };
        let axes = self.axes.and_then(|axes| inputs.get(axes)).map(constant).transpose()?;
        let rank = model.outlet_fact(*data)?.rank();
        let pads = self.pads(&*constant(pads)?, axes.as_deref(), rank)?;
        let mode = self.mode(model, inputs)?;
        let mut output = *data;
        for (axis, [before, after]) in (0..).zip(&pads) {
            if *before < 0 || *after < 0 {
                let cut = taken_away(axis, *before, *after);
                output = cut.wire(&format!("{prefix}.cut-{axis}"), model, output)?;
            }
        }
        let added = |pad: i64| usize::try_from(pad.max(0));
        let pads = pads.iter().map(|[before, after]| Ok((added(*before)?, added(*after)?)));
        let pads = pads.collect::<TractResult<Vec<_>>>()?;
        model.wire_node(prefix, Padding { mode, pads }, &[output])
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let ([data, pads, ..], [output]) = (inputs, outputs) else {
            bail!("Pad takes data and pads and has one output");
        };
        solver.equals(&data.datum_type, &output.datum_type)?;
        solver.equals(&data.rank, &output.rank)?;
        if let Some(value) = self.value.and_then(|value| inputs.get(value)) {
            solver.equals(&data.datum_type, &value.datum_type)?;
        }
        let axes = self.axes.and_then(|axes| inputs.get(axes));
        let given = [Some(pads), axes].into_iter().flatten().map(|input| &input.value);
        let given: Vec<_> = given.collect();
        solver.given(&data.shape, move |solver, shape| {
            solver.given_all(given.clone(), move |solver, values| {
                let [pads, axes @ ..] = &*values else { return Ok(()) };
                let pads = self.pads(pads, axes.first().map(|axes| &**axes), shape.len())?;
                let sizes = shape.iter().zip(pads).map(|(size, [before, after])| {
                    let kept = taken_away(0, before, after).length(size);
                    kept + before.max(0) + after.max(0)
                });
                solver.equals(&output.shape, sizes.collect::<TVec<TDim>>())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::tensor1;

    use super::*;

    fn pad(mode: Option<PadMode>) -> Pad {
        Pad { mode, value: None, axes: None }
    }

    #[test]
    fn pads_belong_to_the_axes_that_are_named() {
        let axes = tensor1(&[-1_i64, 0]);
        let pads = pad(None).pads(&tensor1(&[1_i64, 2, 3, 4]), Some(&axes), 3).expect("fits");
        assert_eq!(pads, [[2, 4], [0, 0], [1, 3]]);
    }

    #[test]
    fn pads_that_do_not_fit_are_refused() {
        let refused = |mode, pads: &[i64], axes: Option<&[i64]>| {
            pad(mode).pads(&tensor1(pads), axes.map(tensor1).as_ref(), 2).is_err()
        };
        assert!(refused(None, &[0, 0], None));
        assert!(refused(None, &[0, 0], Some(&[2])) && refused(None, &[0, 0], Some(&[-3])));
        assert!(refused(Some(PadMode::Reflect), &[0, 0, -1, 0], None));
        assert!(!refused(None, &[0, 0, -1, 0], None));
    }
}
