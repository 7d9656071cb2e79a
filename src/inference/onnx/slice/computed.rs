//! A Slice whose bounds are inputs.
//!
//! Owns what becomes of them: those that are constants, or numbers once shapes are known, are cut as attributes are; those that
//! follow from the sizes of a request are left to tract, and `parts` looks at them; those that values decide
//! are clipped while the model runs ([`Moving`]). tract has no steps for the last ones, nor bounds that must be
//! clipped, and gives their length a symbol of a scope that is gone when the model runs. Axes and steps must be
//! constants.

use std::collections::HashMap;

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{
    Arc, DatumType, OutletId, TValue, TVec, Tensor, TractResult, TypedFact, TypedModel, tvec,
};
use tract_onnx::tract_hir::infer::{InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{
    AxisOp, DimLike as _, EvalContext, EvalOp, Op, StaticName, Symbol, TDim, TypedModelPatch,
    TypedNode, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, bail, op_as_typed_op, op_out_of_plan};
use tract_onnx::tract_hir::tract_core::ops::array::{Slice as Within, StridedSlice};

use super::{Clipped, Cut};
use crate::inference::onnx::bounded::numbers;
use crate::inference::onnx::wiring::{self, Built, Wiring, integers};

/// The inputs of a node, by position among those that are given.
mod input {
    pub(super) const STARTS: usize = 1;
    pub(super) const ENDS: usize = 2;
}

/// A node of the file.
#[derive(Debug, Clone)]
struct Computed {
    axes: Option<usize>,
    steps: Option<usize>,
}

/// Takes the places of a dimension between two bounds that come as inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moving {
    axis: usize,
    step: i64,
    /// How many there are, which nothing but a run tells.
    len: TDim,
}

/// Makes the operator of a node.
pub(super) fn build(node: &NodeProto) -> Built {
    let has = |position: usize| node.input.get(position).is_some_and(|name| !name.is_empty());
    let (axes, steps) = (has(3), has(4));
    let steps = steps.then_some(3 + usize::from(axes));
    wiring::built(Computed { axes: axes.then_some(3), steps })
}

/// Numbers that are known, `None` where some follow from the sizes of a request.
fn known(list: &Tensor) -> TractResult<Option<Vec<i64>>> {
    if list.datum_type() != DatumType::TDim {
        return integers(list).map(Some);
    }
    let list = list.try_as_plain_ram()?.as_slice::<TDim>()?;
    Ok(list.iter().map(TDim::as_i64).collect())
}

impl Computed {
    /// The parts, where all bounds are numbers. `find` has the value of an input.
    fn cuts(&self, find: impl Fn(usize) -> Option<Arc<Tensor>>) -> TractResult<Option<Vec<Cut>>> {
        let list = |position: usize| match find(position) {
            Some(list) => known(&list),
            None => Ok(None),
        };
        let (Some(starts), Some(ends)) = (list(input::STARTS)?, list(input::ENDS)?) else {
            return Ok(None);
        };
        let (axes, steps) = (self.axes.map(list).transpose()?, self.steps.map(list).transpose()?);
        match (axes, steps) {
            (Some(None), _) | (_, Some(None)) => Ok(None),
            (axes, steps) => {
                let (axes, steps) = (axes.flatten(), steps.flatten());
                Cut::all(&starts, &ends, axes.as_deref(), steps.as_deref()).map(Some)
            }
        }
    }

    fn stock(&self) -> StridedSlice {
        StridedSlice {
            optional_axes_input: self.axes,
            optional_steps_input: self.steps,
            begin_mask: 0,
            end_mask: 0,
            shrink_axis_mask: 0,
        }
    }
}

/// Wires the parts between bounds that values decide; `places` are the axis and the step of each.
fn moving(
    prefix: &str,
    model: &mut TypedModel,
    inputs: &[OutletId],
    places: &[Cut],
) -> TractResult<OutletId> {
    let [data, starts, ends, ..] = *inputs else {
        bail!("Slice takes data, starts and ends");
    };
    let rank = model.outlet_fact(data)?.rank();
    let mut output = data;
    for (place, cut) in places.iter().enumerate() {
        let mut one = |name: &str, list: OutletId| {
            let name = format!("{prefix}.{name}-{place}");
            let part = wiring::node(&name, model, Within::new(0, place, place + 1), &[list])?;
            wiring::node(format!("{name}-alone"), model, AxisOp::Rm(0), &[part])
        };
        let (start, end) = (one("start", starts)?, one("end", ends)?);
        let len = TDim::Sym(model.symbols.new_with_prefix("l"));
        let moving = Moving { axis: cut.axis(rank)?, step: cut.step, len };
        let name = format!("{prefix}.part-{place}");
        output = wiring::node(name, model, moving, &[output, start, end])?;
    }
    if output != data {
        model.rename_node(output.node, prefix)?;
    }
    Ok(output)
}

impl Wiring for Computed {
    fn operator(&self) -> StaticName {
        "Slice".into()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let values = inputs.iter().map(|input| Ok(model.outlet_fact(*input)?.konst.clone()));
        let values = values.collect::<TractResult<Vec<_>>>()?;
        let value = |position: usize| values.get(position).cloned().flatten();
        if let Some(cuts) = self.cuts(value)? {
            let Some(data) = inputs.first() else { bail!("Slice takes data") };
            return super::wire(prefix, model, *data, &cuts);
        }
        let constant = |position: Option<usize>| match position.map(value) {
            Some(None) => bail!("the axes and steps of Slice must be constants"),
            Some(Some(list)) => integers(&list).map(Some),
            None => Ok(None),
        };
        let (axes, steps) = (constant(self.axes)?, constant(self.steps)?);
        let count = match inputs.get(input::STARTS) {
            Some(starts) => model.outlet_fact(*starts)?.shape.volume().to_usize()?,
            None => bail!("Slice takes starts"),
        };
        let unknown = vec![0; count];
        let places = Cut::all(&unknown, &unknown, axes.as_deref(), steps.as_deref())?;
        if value(input::STARTS).is_none() || value(input::ENDS).is_none() {
            return moving(prefix, model, inputs, &places);
        }
        if places.iter().any(|cut| cut.step != 1) {
            bail!("steps of Slice between bounds that follow from sizes");
        }
        wiring::node(prefix, model, self.stock(), inputs)
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let ([data, lists @ ..], [output]) = (inputs, outputs) else {
            bail!("Slice takes data and has one output");
        };
        solver.equals(&data.datum_type, &output.datum_type)?;
        solver.equals(&data.rank, &output.rank)?;
        if let Some(axes) = self.axes.and_then(|axes| inputs.get(axes)) {
            // What is not named stays as it is, whatever the bounds are.
            solver.given_2(&axes.value, &data.rank, move |solver, axes, rank| {
                let rank = usize::try_from(rank)?;
                let none = vec![0; axes.len()];
                let cuts = Cut::all(&none, &none, Some(&integers(&axes)?), None)?;
                let named =
                    cuts.iter().map(|cut| cut.axis(rank)).collect::<TractResult<Vec<_>>>()?;
                for axis in (0..rank).filter(|axis| !named.contains(axis)) {
                    solver.equals(&data.shape[axis], &output.shape[axis])?;
                }
                Ok(())
            })?;
        }
        solver.given(&data.shape, move |solver, shape| {
            let values = lists.iter().map(|list| &list.value);
            solver.given_all(values, move |solver, values| {
                let value = |position: usize| values.get(position.checked_sub(1)?).cloned();
                match self.cuts(value)? {
                    Some(cuts) => {
                        let shape = super::shape(shape.clone(), &cuts)?;
                        solver.equals(&output.shape, shape)
                    }
                    None => self.symbolic(solver, output, &shape, &values),
                }
            })
        })
    }
}

impl Computed {
    /// The rules for bounds that follow from the sizes of a request.
    fn symbolic<'r, 'p: 'r>(
        &self,
        solver: &mut Solver<'r>,
        output: &'p TensorProxy,
        shape: &[TDim],
        values: &[Arc<Tensor>],
    ) -> InferenceResult {
        let [starts, ends, ..] = values else { bail!("Slice takes starts and ends") };
        let axes = match self.axes.and_then(|axes| values.get(axes.checked_sub(1)?)) {
            Some(axes) => Some(integers(axes)?),
            None => None,
        };
        let unknown = vec![0; starts.len()];
        let places = Cut::all(&unknown, &unknown, axes.as_deref(), None)?;
        let mut shape: TVec<TDim> = shape.into();
        for (place, cut) in places.iter().enumerate() {
            let axis = cut.axis(shape.len())?;
            if let Some(len) = shape.get_mut(axis) {
                let part = self.stock().prepare_one_dim(place, &*len, starts, ends, &[])?;
                *len = part.soft_len()?;
            }
        }
        solver.equals(&output.shape, shape)
    }
}

impl Op for Moving {
    fn name(&self) -> StaticName {
        "Slice".into()
    }

    fn mints_runtime_symbols(&self) -> bool {
        true
    }

    op_as_typed_op!();
}

impl EvalOp for Moving {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [data, start, end] = &*inputs else { bail!("Slice takes data and two bounds") };
        let bound = |of: &Tensor| match &*numbers(context.symbols, of)? {
            [bound] => Ok(*bound),
            bounds => bail!("Slice has {} bounds where it takes one", bounds.len()),
        };
        let axis = i64::try_from(self.axis)?;
        let cut = Cut { axis, start: bound(start)?, end: bound(end)?, step: self.step };
        Clipped { axis: self.axis, cut }.eval(context, tvec!(data.clone()))
    }
}

impl TypedOp for Moving {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [data, ..] = inputs else { bail!("Slice takes data and two bounds") };
        let mut fact = data.without_value();
        fact.shape.set(self.axis, self.len.clone());
        Ok(tvec!(fact))
    }

    fn set_symbols(
        &self,
        _source: &TypedModel,
        node: &TypedNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
        subs: &HashMap<Symbol, TDim>,
    ) -> TractResult<TVec<OutletId>> {
        let inputs = node.inputs.iter().map(|input| match mapping.get(input) {
            Some(input) => Ok(*input),
            None => bail!("an input of Slice is not there yet"),
        });
        let inputs = inputs.collect::<TractResult<TVec<_>>>()?;
        let len = self.len.substitute_all(subs)?;
        Ok(tvec!(wiring::node(&node.name, target, Self { len, ..self.clone() }, &inputs)?))
    }

    /// Bounds that have become constants are no different from those of the file.
    fn declutter(
        &self,
        model: &TypedModel,
        node: &TypedNode,
    ) -> TractResult<Option<TypedModelPatch>> {
        let [data, start, end] = *node.inputs else { bail!("Slice takes data and two bounds") };
        let bound = |outlet: OutletId| match &model.outlet_fact(outlet)?.konst {
            Some(bound) => Ok(known(bound)?.and_then(|bound| bound.first().copied())),
            None => TractResult::Ok(None),
        };
        let (Some(start), Some(end)) = (bound(start)?, bound(end)?) else { return Ok(None) };
        let cut = Cut { axis: i64::try_from(self.axis)?, start, end, step: self.step };
        let mut patch = TypedModelPatch::default();
        let data = patch.tap_model(model, data)?;
        let output = super::wire(&node.name, &mut patch.model, data, &[cut])?;
        patch.shunt_outside(model, node.id.into(), output)?;
        Ok(Some(patch))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{IntoTensor as _, tensor0, tensor1};
    use tract_onnx::tract_hir::internal::{IntoTValue as _, SymbolScope};

    use super::*;

    #[test]
    fn bounds_that_values_decide_are_clipped() {
        let scope = SymbolScope::default();
        let run = |start: i64, end: i64, step: i64| {
            let len = TDim::Sym(scope.new_with_prefix("l"));
            let inputs = [tensor1(&[0_i64, 1, 2, 3]), tensor0(start), tensor0(end)];
            let inputs = inputs.map(|input| input.into_tvalue()).into_iter().collect();
            let moving = Moving { axis: 0, step, len };
            let outputs = moving.eval(&EvalContext::out_of_plan(), inputs).expect("a part");
            let found = outputs.into_iter().next().expect("one").into_tensor();
            found.try_as_plain_ram().expect("plain").as_slice::<i64>().expect("i64").to_vec()
        };
        assert_eq!(run(1, 3, 1), [1, 2]);
        assert_eq!(run(-2, 9, 1), [2, 3]);
        assert!(run(3, 1, 1).is_empty() && run(7, 9, 1).is_empty());
        assert_eq!(run(0, i64::MAX, 2), [0, 2]);
        assert_eq!(run(-1, i64::MIN, -2), [3, 1]);
        // What begins before the first place begins at it.
        assert_eq!((run(-9, -20, -1), run(-9, 0, -1)), (vec![0], vec![]));
    }

    #[test]
    fn numbers_are_told_from_what_follows_from_sizes() {
        let scope = SymbolScope::default();
        let open = TDim::Sym(scope.sym("T"));
        assert_eq!(known(&tensor1(&[TDim::Val(3)])).expect("a list"), Some(vec![3]));
        assert_eq!(known(&tensor1(&[TDim::Val(3), open])).expect("a list"), None);
        assert_eq!(known(&tensor1(&[1_i32, -2])).expect("a list"), Some(vec![1, -2]));
    }
}
