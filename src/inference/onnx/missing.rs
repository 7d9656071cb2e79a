//! NaN in operators of tract that compare: MaxPool, TopK, and ScatterElements and ScatterND with `min` or `max`.
//!
//! Owns that a maximum or minimum of numbers of which one is missing is missing, as it is in NumPy and PyTorch, and
//! that NaN counts as the largest number when numbers are put in order, as in onnxruntime; the specification says
//! neither. tract's comparisons are false for NaN, so that it vanishes, and an order that contradicts itself makes
//! sorting panic. Never costs more than a look at the numbers where none is missing.

use tract_onnx::prelude::{Datum, DatumType, IntoTensor as _, TValue, TVec, Tensor, TractResult};
use tract_onnx::tract_hir::internal::{EvalContext, IntoTValue as _, TypedOp, bail};

/// Whether a floating-point number of a tensor is missing.
pub(super) fn any(tensor: &Tensor) -> TractResult<bool> {
    let plain = tensor.try_as_plain_ram()?;
    Ok(match tensor.datum_type() {
        DatumType::F32 => plain.as_slice::<f32>()?.iter().any(|x| x.is_nan()),
        DatumType::F64 => plain.as_slice::<f64>()?.iter().any(|x| x.is_nan()),
        _ => false,
    })
}

/// Runs an operator that finds extremes and puts NaN where one took part. `at` are the inputs that are compared.
///
/// What takes part where is found by the operator itself, on ones where a number is missing and zeros elsewhere; the
/// signs are turned where it finds the least.
pub(super) fn spread(
    op: &dyn TypedOp,
    context: &EvalContext<'_>,
    inputs: TVec<TValue>,
    at: &[usize],
    least: bool,
) -> TractResult<TVec<TValue>> {
    let compared = |position: &usize| inputs.get(*position).map_or(Ok(false), |input| any(input));
    if !at.iter().map(compared).collect::<TractResult<Vec<_>>>()?.contains(&true) {
        return op.eval(context, inputs);
    }
    let mark = if least { -1.0 } else { 1.0 };
    let mut marks = inputs.clone();
    for (position, input) in marks.iter_mut().enumerate() {
        if at.contains(&position) {
            *input = marked(input, mark)?.into_tvalue();
        }
    }
    let (mut outputs, marks) = (op.eval(context, inputs)?, op.eval(context, marks)?);
    if let (Some(output), Some(marks)) = (outputs.first_mut(), marks.first()) {
        *output = spoil(output.clone().into_tensor(), marks, mark)?.into_tvalue();
    }
    Ok(outputs)
}

/// `mark` where a number is missing, zero elsewhere.
fn marked(tensor: &Tensor, mark: f32) -> TractResult<Tensor> {
    fn marks<T: Datum + Copy>(
        tensor: &Tensor,
        missing: impl Fn(T) -> bool,
        mark: T,
        none: T,
    ) -> TractResult<Tensor> {
        let numbers = tensor.try_as_plain_ram()?.as_slice::<T>()?;
        let marks = numbers.iter().map(|x| if missing(*x) { mark } else { none });
        Tensor::from_shape(tensor.shape(), &marks.collect::<Vec<T>>())
    }
    match tensor.datum_type() {
        DatumType::F32 => marks(tensor, f32::is_nan, mark, 0.0),
        DatumType::F64 => marks(tensor, f64::is_nan, f64::from(mark), 0.0),
        _ => Ok(tensor.clone()),
    }
}

/// Puts NaN where `marks` are `mark`. Windows in the padding have neither that nor zero.
fn spoil(mut tensor: Tensor, marks: &Tensor, mark: f32) -> TractResult<Tensor> {
    fn put<T: Datum + Copy + PartialEq>(
        tensor: &mut Tensor,
        marks: &Tensor,
        mark: T,
        missing: T,
    ) -> TractResult<()> {
        let marks = marks.try_as_plain_ram()?.as_slice::<T>()?;
        let mut plain = tensor.try_as_plain_ram_mut()?;
        let numbers = plain.as_slice_mut::<T>()?.iter_mut().zip(marks);
        numbers.filter(|(_, found)| **found == mark).for_each(|(number, _)| *number = missing);
        Ok(())
    }
    match tensor.datum_type() {
        DatumType::F32 => put::<f32>(&mut tensor, marks, mark, f32::NAN)?,
        DatumType::F64 => put::<f64>(&mut tensor, marks, f64::from(mark), f64::NAN)?,
        _ => {}
    }
    Ok(tensor)
}

/// Runs an operator that puts numbers in order on integers that are in the same order, with NaN above all others.
pub(super) fn ordered(
    op: &dyn TypedOp,
    context: &EvalContext<'_>,
    mut inputs: TVec<TValue>,
) -> TractResult<TVec<TValue>> {
    let Some(numbers) = inputs.first_mut() else { bail!("{} has an input", op.name()) };
    if !any(numbers)? {
        return op.eval(context, inputs);
    }
    let datum_type = numbers.datum_type();
    *numbers = keys(numbers)?.into_tvalue();
    let mut outputs = op.eval(context, inputs)?;
    if let Some(output) = outputs.first_mut() {
        *output = from_keys(output, datum_type)?.into_tvalue();
    }
    Ok(outputs)
}

/// The numbers as integers in the same order.
fn keys(tensor: &Tensor) -> TractResult<Tensor> {
    let plain = tensor.try_as_plain_ram()?;
    match tensor.datum_type() {
        DatumType::F32 => {
            let keys = plain.as_slice::<f32>()?.iter().map(|x| match x {
                x if x.is_nan() => i32::MAX,
                // Both zeros are equal.
                x => turned((*x + 0.0).to_bits().cast_signed()),
            });
            Tensor::from_shape(tensor.shape(), &keys.collect::<Vec<i32>>())
        }
        DatumType::F64 => {
            let keys = plain.as_slice::<f64>()?.iter().map(|x| match x {
                x if x.is_nan() => i64::MAX,
                x => turned_wide((*x + 0.0).to_bits().cast_signed()),
            });
            Tensor::from_shape(tensor.shape(), &keys.collect::<Vec<i64>>())
        }
        other => bail!("{other:?} has no missing numbers"),
    }
}

/// The numbers that integers stand for.
fn from_keys(tensor: &Tensor, datum_type: DatumType) -> TractResult<Tensor> {
    let plain = tensor.try_as_plain_ram()?;
    match datum_type {
        DatumType::F32 => {
            let numbers = plain.as_slice::<i32>()?.iter().map(|key| match *key {
                i32::MAX => f32::NAN,
                key => f32::from_bits(turned(key).cast_unsigned()),
            });
            Tensor::from_shape(tensor.shape(), &numbers.collect::<Vec<f32>>())
        }
        _ => {
            let numbers = plain.as_slice::<i64>()?.iter().map(|key| match *key {
                i64::MAX => f64::NAN,
                key => f64::from_bits(turned_wide(key).cast_unsigned()),
            });
            Tensor::from_shape(tensor.shape(), &numbers.collect::<Vec<f64>>())
        }
    }
}

/// The bits of a number as an integer in the same order, and back: those of negative numbers are in the opposite one.
const fn turned(bits: i32) -> i32 {
    if bits < 0 { bits ^ i32::MAX } else { bits }
}

/// The same for 64 bits.
const fn turned_wide(bits: i64) -> i64 {
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{tensor1, tensor2, tvec};
    use tract_onnx::tract_hir::internal::ToDim as _;
    use tract_onnx::tract_hir::tract_core::ops::array::{ScatterElements, ScatterReduction, Topk};

    use super::*;

    #[test]
    fn numbers_and_their_keys_are_in_the_same_order() {
        let numbers = [f32::NEG_INFINITY, -3.5, -1e-40, 0.0, 1e-40, 2.0, f32::INFINITY, f32::NAN];
        let keys = keys(&tensor1(&numbers)).expect("floats");
        assert!(keys.try_as_plain_ram().unwrap().as_slice::<i32>().unwrap().is_sorted());
        let back = from_keys(&keys, DatumType::F32).expect("keys");
        let back = back.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap();
        assert!(back[7].is_nan());
        assert_eq!(back[..7], numbers[..7]);
    }

    #[test]
    fn what_is_missing_is_the_largest_in_any_order() {
        let numbers = || tensor2(&[[1.0_f64, f64::NAN, -2.0, f64::INFINITY]]).into_tvalue();
        for (largest, places) in [(true, [[1_i64, 3]]), (false, [[2, 0]])] {
            let op = Topk { axis: 1, largest, fallback_k: 2.to_dim() };
            let inputs = tvec!(numbers(), tensor1(&[2_i64]).into_tvalue());
            let outputs = ordered(&op, &EvalContext::out_of_plan(), inputs).expect("numbers");
            assert_eq!(*outputs[1], tensor2(&places));
            assert_eq!(any(&outputs[0]).expect("floats"), largest);
        }
    }

    #[test]
    fn an_extreme_with_something_missing_is_missing() {
        for (reduction, least) in [(ScatterReduction::Min, true), (ScatterReduction::Max, false)] {
            let op = ScatterElements { axis: 0, reduction };
            let run = |data: [f32; 3], updates: [f32; 2]| {
                let inputs = tvec!(
                    tensor1(&data).into_tvalue(),
                    tensor1(&[0_i64, 2]).into_tvalue(),
                    tensor1(&updates).into_tvalue(),
                );
                let context = EvalContext::out_of_plan();
                let outputs = spread(&op, &context, inputs, &[0, 2], least).expect("numbers");
                outputs[0].try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
            };
            let found = run([1.0, f32::NAN, 3.0], [f32::NAN, 7.0]);
            assert!(found[0].is_nan() && found[1].is_nan(), "{found:?}");
            assert_eq!(found[2], if least { 3.0 } else { 7.0 });
            assert!(run([f32::NAN, 1.0, 2.0], [0.0, 0.0])[0].is_nan());
        }
    }
}
