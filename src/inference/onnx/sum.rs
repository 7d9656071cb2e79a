//! Sums of integers along axes, which ReduceSum, ReduceMean and others consist of.
//!
//! Owns that they are as wide as their type and wrap around at its end, as in onnxruntime. tract adds up all
//! integers in 32 bits, so that the sum of two timestamps is neither. Never adds floating-point numbers.

use tract_onnx::prelude::tract_ndarray::Axis;
use tract_onnx::prelude::{
    Datum, DatumType, IntoTensor as _, TValue, TVec, Tensor, TractResult, TypedFact, tvec,
};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, IntoTValue as _, Op, StaticName, TDim, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, bail, op_as_typed_op, op_out_of_plan};
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, Reducer};

/// Adds up integers along axes, which stay with one place each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::inference) struct WholeSum {
    pub(in crate::inference) axes: TVec<usize>,
}

impl WholeSum {
    /// What stands for `op` where it adds up numbers of that type.
    pub(super) fn instead_of(op: &dyn TypedOp, datum_type: DatumType) -> Option<Self> {
        let reduce = op.downcast_ref::<Reduce>()?;
        let whole = datum_type.is_signed() || datum_type.is_unsigned();
        let sums = reduce.reducer == Reducer::Sum && whole && !datum_type.is_quantized();
        sums.then(|| Self { axes: reduce.axes.clone() })
    }

    fn sum<T: Datum + Copy>(&self, input: &Tensor, add: fn(T, T) -> T) -> TractResult<Tensor> {
        let mut sums = input.to_plain_array_view::<T>()?.to_owned();
        for axis in &self.axes {
            if *axis >= sums.ndim() {
                bail!("a sum along the axis {axis} of the shape {:?}", input.shape());
            }
            let axis = Axis(*axis);
            sums = sums.fold_axis(axis, T::default(), |sum, x| add(*sum, *x)).insert_axis(axis);
        }
        Ok(sums.into_tensor())
    }
}

impl Op for WholeSum {
    fn name(&self) -> StaticName {
        "Sum".into()
    }

    op_as_typed_op!();
}

impl EvalOp for WholeSum {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [input] = &*inputs else { bail!("a sum is of one input") };
        let sum = match input.datum_type() {
            DatumType::I64 => self.sum(input, i64::wrapping_add),
            DatumType::I32 => self.sum(input, i32::wrapping_add),
            DatumType::I16 => self.sum(input, i16::wrapping_add),
            DatumType::I8 => self.sum(input, i8::wrapping_add),
            DatumType::U64 => self.sum(input, u64::wrapping_add),
            DatumType::U32 => self.sum(input, u32::wrapping_add),
            DatumType::U16 => self.sum(input, u16::wrapping_add),
            DatumType::U8 => self.sum(input, u8::wrapping_add),
            other => bail!("a sum is of integers, not of {other:?}"),
        };
        Ok(tvec!(sum?.into_tvalue()))
    }
}

impl TypedOp for WholeSum {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [input] = inputs else { bail!("a sum is of one input") };
        let mut fact = input.without_value();
        for axis in &self.axes {
            fact.shape.set(*axis, TDim::from(1));
        }
        Ok(tvec!(fact))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{tensor1, tensor2};

    use super::*;

    fn sum(axes: &[usize], input: Tensor) -> Tensor {
        let op = WholeSum { axes: axes.into() };
        let outputs = op.eval(&EvalContext::out_of_plan(), tvec!(input.into_tvalue()));
        outputs.expect("integers").remove(0).into_tensor()
    }

    #[test]
    fn sums_are_as_wide_as_their_type() {
        let times = || tensor2(&[[1_700_000_000_000_i64, 1], [1_700_000_000_000, -3]]);
        assert_eq!(sum(&[0], times()), tensor2(&[[3_400_000_000_000_i64, -2]]));
        assert_eq!(sum(&[1], times()), tensor2(&[[1_700_000_000_001_i64], [1_699_999_999_997]]));
        assert_eq!(sum(&[0, 1], times()), tensor2(&[[3_399_999_999_998_i64]]));
        assert_eq!(sum(&[], times()), times());
        assert_eq!(sum(&[0], tensor1(&[3_000_000_000_u32, 7])), tensor1(&[3_000_000_007_u32]));
        assert_eq!(sum(&[0], tensor1(&[i64::MAX, 1])), tensor1(&[i64::MIN]));
    }
}
