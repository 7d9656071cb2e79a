//! `ai.onnx` ArgMax and ArgMin of floating-point numbers.
//!
//! Owns which place is named where numbers are missing or infinite: the first one stays until a number is larger or
//! smaller than the one there, so that NaN is never chosen and never beaten, as in onnxruntime; the specification
//! (<https://onnx.ai/onnx/operators/onnx__ArgMax.html>) does not say. tract begins with the least finite number, which lets
//! another place win. Integers stay tract's. Never looks along more than one axis, which no file asks for.

use tract_onnx::prelude::tract_ndarray::{ArrayView1, Axis};
use tract_onnx::prelude::{
    Datum, DatumType, IntoTensor as _, TValue, TVec, Tensor, TractResult, TypedFact, TypedModel,
    f16, tvec,
};
use tract_onnx::tract_hir::internal::{
    AxisChangeConsequence, AxisOp, EvalContext, EvalOp, InOut, IntoTValue as _, Op, StaticName,
    TypedNode, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, bail, op_as_typed_op, op_out_of_plan};
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, Reducer};

/// What stands for `op`, which reduces a tensor like `input`, where it looks for the place of an extreme.
pub(super) fn instead_of(op: &dyn TypedOp, input: &TypedFact) -> Option<Box<dyn TypedOp>> {
    let reduce = op.downcast_ref::<Reduce>()?;
    let [axis] = *reduce.axes else { return None };
    let (largest, last) = match reduce.reducer {
        Reducer::ArgMax(last) => (true, last),
        Reducer::ArgMin(last) => (false, last),
        _ => return None,
    };
    let arg_extreme = ArgExtreme { axis, largest, last };
    input.datum_type.is_float().then(|| Box::new(arg_extreme) as Box<dyn TypedOp>)
}

/// The place of the largest number along an axis, which stays with one place, or of the smallest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ArgExtreme {
    axis: usize,
    largest: bool,
    /// Whether it is the last of equal ones.
    last: bool,
}

impl ArgExtreme {
    fn find<T: Datum + Copy + PartialOrd>(&self, input: &Tensor) -> TractResult<Tensor> {
        let numbers = input.to_plain_array_view::<T>()?;
        if self.axis >= numbers.ndim() {
            bail!("{} along the axis {} of the shape {:?}", self.name(), self.axis, input.shape());
        }
        let axis = Axis(self.axis);
        let place = |lane: ArrayView1<'_, T>| match (self.largest, self.last) {
            (true, false) => place(lane, |x, best| x > best),
            (true, true) => place(lane, |x, best| x >= best),
            (false, false) => place(lane, |x, best| x < best),
            (false, true) => place(lane, |x, best| x <= best),
        };
        Ok(numbers.map_axis(axis, place).insert_axis(axis).into_tensor())
    }
}

/// The place of the number that none behind it `beats`.
fn place<T: Copy>(lane: ArrayView1<'_, T>, beats: impl Fn(T, T) -> bool) -> i64 {
    let mut numbers = (0_i64..).zip(lane.iter().copied());
    let first = numbers.next();
    let best = first.map(|first| {
        numbers.fold(first, |best, other| if beats(other.1, best.1) { other } else { best })
    });
    best.map_or(0, |(place, _)| place)
}

impl Op for ArgExtreme {
    fn name(&self) -> StaticName {
        if self.largest { "ArgMax" } else { "ArgMin" }.into()
    }

    op_as_typed_op!();
}

impl EvalOp for ArgExtreme {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [input] = &*inputs else { bail!("{} takes one input", self.name()) };
        let places = match input.datum_type() {
            DatumType::F32 => self.find::<f32>(input),
            DatumType::F64 => self.find::<f64>(input),
            DatumType::F16 => self.find::<f16>(input),
            other => bail!("{} is of floating-point numbers, not of {other:?}", self.name()),
        };
        Ok(tvec!(places?.into_tvalue()))
    }
}

impl TypedOp for ArgExtreme {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [input] = inputs else { bail!("{} takes one input", self.name()) };
        let reducer =
            if self.largest { Reducer::ArgMax(self.last) } else { Reducer::ArgMin(self.last) };
        Reduce { axes: tvec!(self.axis), reducer }.output_facts(&[input])
    }

    /// Follows an axis that the optimiser moves, as what it stands for does.
    fn change_axes(
        &self,
        model: &TypedModel,
        node: &TypedNode,
        _io: InOut,
        change: &AxisOp,
    ) -> TractResult<Option<AxisChangeConsequence>> {
        let Some(axis) = change.transform_axis(self.axis) else { return Ok(None) };
        let moved = Self { axis, ..self.clone() };
        Ok(Some(AxisChangeConsequence::new(model, node, Some(Box::new(moved)), change)))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{DatumTypeExt as _, tensor1, tensor2};

    use super::*;

    const NAN: f64 = f64::NAN;
    const INF: f64 = f64::INFINITY;

    fn found(axis: usize, largest: bool, last: bool, input: &Tensor) -> Tensor {
        let op = ArgExtreme { axis, largest, last };
        let outputs = op.eval(&EvalContext::out_of_plan(), tvec!(input.clone().into_tvalue()));
        outputs.expect("numbers").remove(0).into_tensor()
    }

    #[test]
    fn what_is_missing_is_beaten_by_nothing_and_beats_nothing() {
        for (row, [largest, last_largest, smallest, last_smallest]) in [
            ([NAN, 1.0, 2.0], [0_i64, 0, 0, 0]),
            ([NAN, NAN, INF], [0, 0, 0, 0]),
            ([1.0, NAN, 2.0], [2, 2, 0, 0]),
            ([1.0, NAN, 1.0], [0, 2, 0, 2]),
            ([2.0, NAN, 1.0], [0, 0, 2, 2]),
            ([-INF, -INF, -INF], [0, 2, 0, 2]),
            ([-INF, f64::MIN, NAN], [1, 1, 0, 0]),
            ([INF, f64::MAX, INF], [0, 2, 1, 1]),
            ([0.0, -0.0, 0.0], [0, 2, 0, 2]),
        ] {
            for datum_type in [DatumType::F64, DatumType::F32, DatumType::F16] {
                let input = tensor1(&row).cast_to_dt(datum_type).expect("floats").into_owned();
                for (largest, last, expected) in [
                    (true, false, largest),
                    (true, true, last_largest),
                    (false, false, smallest),
                    (false, true, last_smallest),
                ] {
                    // The largest finite numbers are infinite in half the bits.
                    if datum_type == DatumType::F64 || row.iter().all(|x| x.abs() != f64::MAX) {
                        let places = found(0, largest, last, &input);
                        assert_eq!(places, tensor1(&[expected]), "{row:?} {largest} {last}");
                    }
                }
            }
        }
    }

    #[test]
    fn places_are_those_along_the_axis() {
        let input = tensor2(&[[1_f32, 5.0, 2.0], [7.0, 0.0, 2.0]]);
        assert_eq!(found(1, true, false, &input), tensor2(&[[1_i64], [0]]));
        assert_eq!(found(0, true, true, &input), tensor2(&[[1_i64, 0, 1]]));
        assert_eq!(found(0, false, false, &input), tensor2(&[[0_i64, 1, 0]]));
        let nothing = Tensor::zero::<f32>(&[0, 3]).expect("empty");
        assert_eq!(found(1, true, false, &nothing).shape(), [0, 1]);
    }

    #[test]
    fn only_the_places_of_floating_point_numbers_are_replaced() {
        let replaced = |reducer: Reducer, axes: &[usize], datum_type: DatumType| {
            let fact = datum_type.fact([2, 3]);
            instead_of(&Reduce { axes: axes.into(), reducer }, &fact).is_some()
        };
        assert!(replaced(Reducer::ArgMax(false), &[1], DatumType::F32));
        assert!(replaced(Reducer::ArgMin(true), &[0], DatumType::F64));
        assert!(!replaced(Reducer::ArgMax(false), &[1], DatumType::I64));
        assert!(!replaced(Reducer::ArgMax(false), &[0, 1], DatumType::F32));
        assert!(!replaced(Reducer::Max, &[1], DatumType::F32));
    }
}
