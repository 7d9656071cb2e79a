//! Sums along axes, which ReduceSum, ReduceMean, LayerNormalization and others consist of.
//!
//! Owns that sums of integers are as wide as their type and wrap around at its end, as in onnxruntime (tract adds up
//! all integers in 32 bits, so that the sum of two timestamps is neither), and that long sums of floating-point numbers
//! are added up in 64 bits: one by one in 32, a million of them are right to a hundredth. Short ones stay tract's.

use tract_onnx::prelude::tract_ndarray::Axis;
use tract_onnx::prelude::{
    Datum, DatumType, IntoTensor as _, TValue, TVec, Tensor, TractResult, TypedFact, TypedModel,
    f16, tensor1, tvec,
};
use tract_onnx::tract_hir::internal::{
    AxisChangeConsequence, AxisOp, EvalContext, EvalOp, InOut, IntoTValue as _, Op, StaticName,
    TDim, TypedNode, TypedOp,
};
use tract_onnx::tract_hir::internal::{as_op, bail, op_as_typed_op, op_out_of_plan};
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, Reducer};

/// Fewer numbers are added up by tract.
const LONG: usize = 128;
/// How many are added up side by side.
const LANES: usize = 8;

/// What stands for `op`, which reduces a tensor like `input`, where tract's sums are not what is wanted.
pub(super) fn instead_of(op: &dyn TypedOp, input: &TypedFact) -> Option<Box<dyn TypedOp>> {
    let reduce = op.downcast_ref::<Reduce>()?;
    let datum_type = input.datum_type;
    let whole = datum_type.is_signed() || datum_type.is_unsigned();
    match reduce.reducer {
        Reducer::Sum if whole && !datum_type.is_quantized() => {
            Some(Box::new(WholeSum { axes: reduce.axes.clone() }))
        }
        Reducer::Sum | Reducer::MeanOfSquares
            if matches!(datum_type, DatumType::F32 | DatumType::F16) =>
        {
            let lengths = reduce.axes.iter().filter_map(|axis| input.shape.get(*axis));
            let short = lengths.product::<TDim>().as_i64().is_some_and(|len| len < LONG as i64);
            (!short).then(|| Box::new(LongSum(reduce.clone())) as Box<dyn TypedOp>)
        }
        _ => None,
    }
}

/// Adds up integers along axes, which stay with one place each.
#[derive(Debug, Clone, PartialEq, Eq)]
struct WholeSum {
    axes: TVec<usize>,
}

/// Adds up many floating-point numbers along axes, or their squares, of which it is the mean.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LongSum(Reduce);

impl WholeSum {
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

impl LongSum {
    fn sum<T: Datum + Copy + Into<f64>>(
        &self,
        input: &Tensor,
        narrow: fn(f64) -> T,
    ) -> TractResult<Tensor> {
        let mut shape: TVec<usize> = input.shape().into();
        let mut runs: Vec<Run> = Vec::new();
        let mut added = 1;
        for (axis, len) in shape.iter_mut().enumerate() {
            let reduced = self.0.axes.contains(&axis);
            match runs.last_mut() {
                Some(run) if run.reduced == reduced => run.len *= *len,
                _ => runs.push(Run { len: *len, reduced }),
            }
            if reduced {
                added *= *len;
                *len = 1;
            }
        }
        let elements = input.try_as_plain_ram()?.as_slice::<T>()?;
        let mut sums = vec![0.0; shape.iter().product()];
        if !elements.is_empty() {
            match self.0.reducer {
                Reducer::MeanOfSquares => {
                    add(&runs, elements, &mut sums, |x| x.into() * x.into());
                    sums.iter_mut().for_each(|sum| *sum /= added as f64);
                }
                _ => add(&runs, elements, &mut sums, Into::into),
            }
        }
        let sums: Vec<T> = sums.into_iter().map(narrow).collect();
        tensor1(&sums).into_shape(&shape)
    }
}

/// Axes side by side that are all added up, or all kept.
#[derive(Debug, Clone, Copy)]
struct Run {
    len: usize,
    reduced: bool,
}

/// Adds what `wide` makes of the elements of a tensor of these axes to the sums for those that are kept.
fn add<T: Copy>(runs: &[Run], elements: &[T], sums: &mut [f64], wide: impl Fn(T) -> f64 + Copy) {
    match runs {
        [Run { reduced: true, .. }] => {
            let total = total(elements, wide);
            sums.iter_mut().for_each(|sum| *sum += total);
        }
        [] | [Run { reduced: false, .. }] => {
            sums.iter_mut().zip(elements).for_each(|(sum, x)| *sum += wide(*x));
        }
        [Run { len, reduced: true }, rest @ ..] => {
            let pieces = elements.chunks_exact((elements.len() / len).max(1));
            pieces.for_each(|piece| add(rest, piece, sums, wide));
        }
        [Run { len, reduced: false }, rest @ ..] => {
            let pieces = elements.chunks_exact((elements.len() / len).max(1));
            let places = sums.chunks_exact_mut((sums.len() / len).max(1));
            pieces.zip(places).for_each(|(piece, sums)| add(rest, piece, sums, wide));
        }
    }
}

/// The sum of numbers that lie side by side.
fn total<T: Copy>(numbers: &[T], wide: impl Fn(T) -> f64) -> f64 {
    let (groups, rest) = numbers.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for group in groups {
        lanes.iter_mut().zip(group).for_each(|(lane, x)| *lane += wide(*x));
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|x| wide(*x)).sum::<f64>()
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

impl Op for LongSum {
    fn name(&self) -> StaticName {
        self.0.name()
    }

    op_as_typed_op!();
}

impl EvalOp for LongSum {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [input] = &*inputs else { bail!("a sum is of one input") };
        let lengths = self.0.axes.iter().filter_map(|axis| input.shape().get(*axis));
        let sum = match input.datum_type() {
            // tract divides by how many there are.
            _ if (1..LONG).contains(&lengths.product()) => return self.0.eval(context, inputs),
            DatumType::F32 => self.sum::<f32>(input, |sum| sum as f32),
            DatumType::F16 => self.sum::<f16>(input, f16::from_f64),
            other => bail!("a long sum is of numbers of 16 or 32 bits, not of {other:?}"),
        };
        Ok(tvec!(sum?.into_tvalue()))
    }
}

impl TypedOp for LongSum {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.0.output_facts(inputs)
    }

    /// Follows axes that the optimiser moves, as what it stands for does.
    fn change_axes(
        &self,
        model: &TypedModel,
        node: &TypedNode,
        _io: InOut,
        change: &AxisOp,
    ) -> TractResult<Option<AxisChangeConsequence>> {
        let axes = self.0.axes.iter().map(|axis| change.transform_axis(*axis));
        let Some(mut axes) = axes.collect::<Option<TVec<_>>>() else { return Ok(None) };
        axes.sort_unstable();
        let moved = Self(Reduce { axes, reducer: self.0.reducer });
        Ok(Some(AxisChangeConsequence::new(model, node, Some(Box::new(moved)), change)))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::tensor2;

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

    fn long(reducer: Reducer, axes: &[usize], input: &Tensor) -> Tensor {
        let op = LongSum(Reduce { axes: axes.into(), reducer });
        let outputs = op.eval(&EvalContext::out_of_plan(), tvec!(input.clone().into_tvalue()));
        outputs.expect("numbers").remove(0).into_tensor()
    }

    fn floats(tensor: &Tensor) -> Vec<f32> {
        tensor.try_as_plain_ram().expect("plain").as_slice::<f32>().expect("f32").to_vec()
    }

    #[test]
    fn a_million_equal_numbers_have_the_sum_that_they_have() {
        let tenths = tensor1(&vec![0.1_f32; 1_000_000]);
        let found = floats(&long(Reducer::Sum, &[0], &tenths));
        assert!((f64::from(found[0]) - 1e6 * f64::from(0.1_f32)).abs() < 0.01, "{found:?}");
        let found = floats(&long(Reducer::MeanOfSquares, &[0], &tenths));
        assert!((found[0] - 0.01).abs() < 1e-8, "{found:?}");
    }

    #[test]
    fn long_sums_run_along_any_axes() {
        // Whole numbers, of which all sums are exact.
        let shape = [3, 130, 2, 131];
        let count = shape.iter().product();
        let numbers: Vec<f32> = (0..count).map(|at| (at % 7) as f32 - 3.0).collect();
        let input = Tensor::from_shape(&shape, &numbers).expect("agrees");
        for axes in [&[1][..], &[3], &[0, 1], &[1, 2], &[1, 3], &[0, 3], &[0, 1, 2, 3], &[0, 2, 3]]
        {
            for reducer in [Reducer::Sum, Reducer::MeanOfSquares] {
                let found = long(reducer, axes, &input);
                let expected = reducer.reduce(axes, &input).expect("numbers");
                assert_eq!(found.shape(), expected.shape(), "{axes:?}");
                for (found, expected) in floats(&found).iter().zip(floats(&expected)) {
                    assert!((found - expected).abs() <= 1e-5 * expected.abs(), "{axes:?}");
                }
            }
        }
    }

    #[test]
    fn infinities_and_what_is_missing_come_through_long_sums() {
        for number in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            let mut row = vec![1.0_f32; 1000];
            row[500] = number;
            let found = floats(&long(Reducer::Sum, &[0], &tensor1(&row)));
            let same = found[0] == number || found[0].is_nan() && number.is_nan();
            assert!(same, "{found:?} of {number}");
        }
        let nothing = Tensor::zero::<f32>(&[2, 0, 200]).expect("empty");
        assert_eq!(floats(&long(Reducer::Sum, &[2], &nothing)), [0.0_f32; 0]);
        assert_eq!(floats(&long(Reducer::Sum, &[1], &nothing)), [0.0_f32; 400]);
    }

    #[test]
    fn only_what_may_be_long_is_replaced() {
        use tract_onnx::prelude::DatumTypeExt as _;
        use tract_onnx::tract_hir::internal::SymbolScope;

        let scope = SymbolScope::default();
        let replaced = |datum_type: DatumType, len: TDim| {
            let fact = datum_type.fact([TDim::from(3), len]);
            instead_of(&Reduce { axes: tvec!(1), reducer: Reducer::Sum }, &fact).is_some()
        };
        assert!(!replaced(DatumType::F32, 127.into()) && replaced(DatumType::F32, 128.into()));
        assert!(replaced(DatumType::F32, TDim::Sym(scope.sym("T"))));
        assert!(replaced(DatumType::I64, 2.into()) && !replaced(DatumType::F64, 1000.into()));
    }
}
