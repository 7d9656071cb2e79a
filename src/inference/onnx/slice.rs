//! `ai.onnx` Slice.
//!
//! Owns bounds that are clipped to the dimension that a request has
//! (<https://onnx.ai/onnx/operators/onnx__Slice.html>). tract takes those of an open dimension as they are, so
//! that `x[:, :512]` fails for shorter rows, and cannot move a step past a Reshape. What surely lies within its
//! dimension becomes tract's own operator, which its optimiser knows. Bounds that are inputs are [`computed`]'s,
//! constant or not.

mod computed;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::tract_ndarray::{Axis, Slice as Range};
use tract_onnx::prelude::{
    Arc, Datum, IntoTensor as _, OutletId, TValue, TVec, Tensor, TractResult, TypedFact,
    TypedModel, f16, tvec,
};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, IntoTValue as _, Op, StaticName, TDim, TypedOp,
};
use tract_onnx::tract_hir::internal::{
    as_op, bail, dispatch_datum, op_as_typed_op, op_out_of_plan,
};
use tract_onnx::tract_hir::tract_core::ops::array::Slice as Within;

use super::parts::{are_ordered, least_of};
use super::wiring::{self, Built, Likeness, Wiring};

/// From version 10 on the bounds are inputs.
const INPUTS_SINCE: i64 = 10;
/// Bounds that are farther away stand for "as far as it goes".
const FAR: i64 = i32::MAX as i64;
const FAR_BELOW: i64 = -FAR;
const NEAR_BELOW: i64 = FAR_BELOW + 1;

/// A node of the file whose bounds are attributes.
#[derive(Debug, Clone)]
struct Slice {
    cuts: Vec<Cut>,
}

/// The part of one dimension, as the file says it: bounds below 0 count from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    /// In the file it may count from the end as well.
    axis: i64,
    start: i64,
    end: i64,
    step: i64,
}

/// Takes a part of a dimension whose size only a request knows, or one with gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Clipped {
    axis: usize,
    cut: Cut,
}

/// Makes the operator of a node.
pub(super) fn build(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    if context.onnx_operator_set_version >= INPUTS_SINCE {
        return computed::build(node);
    }
    let starts = node.get_attr_vec::<i64>("starts")?;
    let ends = node.get_attr_vec::<i64>("ends")?;
    let axes = node.get_attr_opt_vec::<i64>("axes")?;
    wiring::built(Slice { cuts: Cut::all(&starts, &ends, axes.as_deref(), None)? })
}

impl Cut {
    /// Those of parallel lists.
    fn all(
        starts: &[i64],
        ends: &[i64],
        axes: Option<&[i64]>,
        steps: Option<&[i64]>,
    ) -> TractResult<Vec<Self>> {
        let count = starts.len();
        let fits = |list: Option<&[i64]>| list.is_none_or(|list| list.len() == count);
        if !(fits(Some(ends)) && fits(axes) && fits(steps)) {
            bail!("the starts, ends, axes and steps of Slice have different lengths");
        }
        let at =
            |list: Option<&[i64]>, place: usize| list.and_then(|list| list.get(place).copied());
        let bounds = starts.iter().zip(ends).enumerate();
        let cuts = bounds.map(|(place, (&start, &end))| {
            let axis = at(axes, place).unwrap_or(i64::try_from(place)?);
            match at(steps, place).unwrap_or(1) {
                0 => bail!("a step of Slice is 0"),
                step => Ok(Self { axis, start, end, step }),
            }
        });
        cuts.collect()
    }

    /// The dimension of `rank` that it is about.
    fn axis(&self, rank: usize) -> TractResult<usize> {
        let count = i64::try_from(rank)?;
        let axis = if self.axis < 0 { self.axis.saturating_add(count) } else { self.axis };
        match usize::try_from(axis) {
            Ok(axis) if axis < rank => Ok(axis),
            _ => bail!("Slice has the axis {} of a tensor of rank {rank}", self.axis),
        }
    }

    /// The first place of `len` and the one to stop before, which a step below 0 reaches from above.
    fn clipped(&self, len: i64) -> (i64, i64) {
        let (lowest, highest) = if self.step > 0 { (0, len) } else { (-1, len - 1) };
        let clip = |bound: i64, lowest: i64| {
            let place = if bound < 0 { bound.saturating_add(len) } else { bound };
            place.max(lowest).min(highest)
        };
        (clip(self.start, 0), clip(self.end, lowest))
    }

    /// The number of places from `first` on to before `stop`.
    fn count(&self, first: i64, stop: i64) -> i64 {
        let span = if self.step > 0 { stop - first } else { first - stop };
        let step = self.step.saturating_abs();
        // Rounded up, and a step may be as large as a number can be.
        let span = span.max(0);
        span / step + i64::from(span % step != 0)
    }

    /// Its bounds in a dimension of `len` places if they surely lie within it, in order, and without gaps.
    fn within(&self, len: &TDim) -> Option<(TDim, TDim)> {
        if self.step != 1 {
            return None;
        }
        if let Some(len) = len.as_i64() {
            let (first, stop) = self.clipped(len);
            return Some((first.into(), stop.max(first).into()));
        }
        let place = |bound: i64| match bound {
            ..=FAR_BELOW => TDim::from(0),
            FAR.. => len.clone(),
            NEAR_BELOW..0 => len.clone() + bound,
            _ => TDim::from(bound),
        };
        let (start, end) = (place(self.start), place(self.end));
        are_ordered(&start, &end, len).then_some((start, end))
    }

    /// The number of places that it takes out of `len`.
    fn length(&self, len: &TDim) -> TDim {
        if let Some(len) = len.as_i64() {
            let (first, stop) = self.clipped(len);
            return self.count(first, stop).into();
        }
        if let Some((start, end)) = self.within(len) {
            return end - start;
        }
        let (lowest, highest) =
            if self.step > 0 { (0, len.clone()) } else { (-1, len.clone() - 1) };
        let least = |a: TDim, b: TDim| TDim::Min(vec![a, b]).simplify();
        let most = |a: TDim, b: TDim| TDim::Max(vec![a, b]).simplify();
        let clip = |bound: i64, lowest: i64| match bound {
            ..=FAR_BELOW => TDim::from(lowest),
            FAR.. => highest.clone(),
            NEAR_BELOW..0 => most(len.clone() + bound, lowest.into()),
            0 if self.step > 0 => TDim::from(0),
            _ => least(bound.into(), highest.clone()),
        };
        let (first, stop) = (clip(self.start, 0), clip(self.end, lowest));
        let span = if self.step > 0 { stop - &first } else { first - &stop };
        let span = if least_of(&span) >= Some(0) { span } else { most(span, TDim::from(0)) };
        match self.step.unsigned_abs() {
            1 => span,
            step => (span + i64::try_from(step - 1).unwrap_or(i64::MAX)) / step,
        }
    }

    /// Wires it behind `input`.
    fn wire(&self, name: &str, model: &mut TypedModel, input: OutletId) -> TractResult<OutletId> {
        let shape = &model.outlet_fact(input)?.shape;
        let axis = self.axis(shape.rank())?;
        let Some(len) = shape.get(axis).cloned() else { bail!("Slice has no axis {axis}") };
        match self.within(&len) {
            Some((start, end)) if start == TDim::from(0) && end == len => Ok(input),
            Some((start, end)) => wiring::node(name, model, Within { axis, start, end }, &[input]),
            None => wiring::node(name, model, Clipped { axis, cut: *self }, &[input]),
        }
    }
}

/// Wires all parts behind `data`; the last one is named `prefix`.
fn wire(
    prefix: &str,
    model: &mut TypedModel,
    data: OutletId,
    cuts: &[Cut],
) -> TractResult<OutletId> {
    let mut output = data;
    for (place, cut) in cuts.iter().enumerate() {
        output = cut.wire(&format!("{prefix}.cut-{place}"), model, output)?;
    }
    if output != data {
        model.rename_node(output.node, prefix)?;
    }
    Ok(output)
}

/// What is left of a shape.
fn shape(mut shape: TVec<TDim>, cuts: &[Cut]) -> TractResult<TVec<TDim>> {
    for cut in cuts {
        let axis = cut.axis(shape.len())?;
        if let Some(len) = shape.get_mut(axis) {
            *len = cut.length(len);
        }
    }
    Ok(shape)
}

impl Wiring for Slice {
    fn operator(&self) -> StaticName {
        "Slice".into()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let [data, ..] = inputs else { bail!("Slice takes data") };
        wire(prefix, model, *data, &self.cuts)
    }

    fn likeness(&self) -> Likeness {
        Likeness::Rank
    }

    fn shape(&self, data: TVec<TDim>, _values: &[Arc<Tensor>]) -> TractResult<TVec<TDim>> {
        shape(data, &self.cuts)
    }
}

impl Op for Clipped {
    fn name(&self) -> StaticName {
        "Slice".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Clipped {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [input] = &*inputs else { bail!("Slice takes one input") };
        let Some(&len) = input.shape().get(self.axis) else {
            bail!("Slice of the axis {} of {:?}", self.axis, input.shape());
        };
        let (first, stop) = self.cut.clipped(i64::try_from(len)?);
        let range = match (self.cut.count(first, stop), self.cut.step) {
            (0, _) => Range::new(0, Some(0), 1),
            (count, 1) => {
                let (first, count) = (usize::try_from(first)?, usize::try_from(count)?);
                let part = input.slice(self.axis, first, first + count)?;
                return Ok(tvec!(part.into_tvalue()));
            }
            (_, 2..) => {
                let (first, stop) = (isize::try_from(first)?, isize::try_from(stop)?);
                Range::new(first, Some(stop), step_of(self.cut))
            }
            // There a step below 0 begins at the end of the range.
            _ => {
                let (first, stop) = (isize::try_from(first)?, isize::try_from(stop)?);
                Range::new(stop + 1, Some(first + 1), step_of(self.cut))
            }
        };
        let axis = Axis(self.axis);
        let part = dispatch_datum!(taken(input.datum_type())(input, axis, range))?;
        Ok(tvec!(part.into_tvalue()))
    }
}

/// The step, which is never as large as an index can be.
fn step_of(cut: Cut) -> isize {
    let farthest = FAR as isize;
    isize::try_from(cut.step).unwrap_or(farthest).clamp(-farthest, farthest)
}

/// A copy of a part of the elements.
fn taken<T: Datum>(input: &Tensor, axis: Axis, range: Range) -> TractResult<Tensor> {
    let elements = input.to_plain_array_view::<T>()?;
    Ok(elements.slice_axis(axis, range).to_owned().into_tensor())
}

impl TypedOp for Clipped {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [input] = inputs else { bail!("Slice takes one input") };
        let mut fact = input.without_value();
        let Some(len) = fact.shape.get(self.axis).cloned() else {
            bail!("Slice of the axis {} of a tensor of rank {}", self.axis, fact.rank());
        };
        fact.shape.set(self.axis, self.cut.length(&len));
        Ok(tvec!(fact))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{tensor1, tensor2};
    use tract_onnx::tract_hir::internal::{SymbolScope, SymbolValues, ToDim as _};

    use super::*;

    const BOUNDS: [i64; 14] =
        [i64::MIN, i64::MIN + 1, FAR_BELOW, -9, -4, -2, -1, 0, 1, 2, 4, 9, FAR, i64::MAX];

    /// The places that the specification takes out of `len`.
    fn places(cut: Cut, len: i64) -> Vec<i64> {
        let place = |bound: i64| if bound < 0 { bound.saturating_add(len) } else { bound };
        let (start, end) = (place(cut.start), place(cut.end));
        if cut.step > 0 {
            let step = usize::try_from(cut.step).expect("positive");
            (start.clamp(0, len)..end.clamp(0, len)).step_by(step).collect()
        } else {
            let step = usize::try_from(-cut.step).expect("positive");
            let from = if len == 0 { -1 } else { start.clamp(0, len - 1) };
            let to = if len == 0 { -1 } else { end.clamp(-1, len - 1) };
            (to + 1..=from).rev().step_by(step).collect()
        }
    }

    fn every_cut() -> impl Iterator<Item = Cut> {
        let bounds = BOUNDS.iter().flat_map(|start| BOUNDS.iter().map(move |end| (*start, *end)));
        bounds.flat_map(|(start, end)| {
            [1, 2, 3, -1, -2].map(|step| Cut { axis: 1, start, end, step })
        })
    }

    #[test]
    fn places_are_those_of_the_specification_for_any_length() {
        for cut in every_cut() {
            for len in [0_usize, 1, 2, 3, 5, 8] {
                let row: Vec<i64> = (0..).take(len).collect();
                let input = tensor1(&row).into_shape(&[1, len]).expect("a row");
                let clipped = Clipped { axis: 1, cut };
                let context = EvalContext::out_of_plan();
                let outputs = clipped.eval(&context, tvec!(input.into_tvalue())).expect("answers");
                let expected = places(cut, row.len() as i64);
                let found = outputs[0].try_as_plain_ram().expect("plain");
                assert_eq!(found.as_slice::<i64>().expect("integers"), expected, "{cut:?} {len}");
            }
        }
    }

    #[test]
    fn the_length_of_an_open_dimension_is_told_before_a_request_comes() {
        let scope = SymbolScope::default();
        let symbol = scope.sym("T");
        for (shift, open) in [(0, symbol.to_dim()), (2, symbol.to_dim() + 2)] {
            for cut in every_cut() {
                let length = cut.length(&open);
                for len in [1_i64, 2, 3, 5, 8, 20] {
                    let mut values = SymbolValues::default();
                    values.set(&symbol, len);
                    let found = length.eval_to_i64(&values).expect("a number");
                    let expected = places(cut, len + shift).len() as i64;
                    assert_eq!(found, expected, "{cut:?} of {open} = {}: {length}", len + shift);
                }
            }
        }
    }

    #[test]
    fn what_surely_lies_within_is_left_to_tract() {
        let scope = SymbolScope::default();
        let open = scope.sym("T").to_dim();
        let within = |start, end, len: &TDim| Cut { axis: 0, start, end, step: 1 }.within(len);
        assert_eq!(within(0, 512, &open), None);
        assert_eq!(within(-3, i64::MAX, &open), None);
        assert_eq!(within(1, -1, &open), None, "of one place nothing is left");
        assert_eq!(within(0, i64::MAX, &open), Some((0.to_dim(), open.clone())));
        assert_eq!(within(1, i64::MAX, &open), Some((1.to_dim(), open.clone())));
        assert_eq!(within(-1, i64::MAX, &open), Some((open.clone() - 1, open.clone())));
        assert_eq!(within(0, 1, &open), Some((0.to_dim(), 1.to_dim())));
        let padded = open.clone() + 2;
        assert_eq!(within(0, -2, &padded), Some((0.to_dim(), open)));
        assert_eq!(within(-2, 9, &5.to_dim()), Some((3.to_dim(), 5.to_dim())));
        assert_eq!(within(4, 2, &5.to_dim()), Some((4.to_dim(), 4.to_dim())));
    }

    #[test]
    fn texts_are_taken_with_gaps_as_well() {
        let input = tensor2(&[["a", "b", "c"], ["d", "e", "f"]].map(|row| row.map(str::to_owned)));
        let clipped = Clipped { axis: 1, cut: Cut { axis: 1, start: -1, end: -9, step: -2 } };
        let context = EvalContext::out_of_plan();
        let outputs = clipped.eval(&context, tvec!(input.into_tvalue())).expect("answers");
        let expected = tensor2(&[["c", "a"], ["f", "d"]].map(|row| row.map(str::to_owned)));
        assert_eq!(*outputs[0], expected);
    }

    #[test]
    fn lists_that_do_not_fit_are_refused() {
        assert!(Cut::all(&[0], &[1, 2], None, None).is_err());
        assert!(Cut::all(&[0], &[1], Some(&[0, 1]), None).is_err());
        assert!(Cut::all(&[0], &[1], None, Some(&[0])).is_err());
        let of = |axis| Cut { axis, start: 0, end: 1, step: 1 }.axis(2);
        assert!(of(2).is_err() && of(-3).is_err());
        assert_eq!(of(-1).expect("there"), 1);
    }
}
