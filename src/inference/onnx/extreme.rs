//! `ai.onnx` Max and Min, and Clip between bounds that are computed or no floating-point numbers.
//!
//! Owns that a value which is missing stays missing (IEEE 754-2019, section 9.6: maximum and minimum), as it does in
//! onnxruntime; tract's own drop a NaN.

use half::f16;
use tract_onnx::prelude::{
    Datum, DatumType, IntoTensor as _, TValue, TVec, Tensor, TractResult, tensor0, tensor1, tvec,
};
use tract_onnx::tract_hir::internal::{DimLike as _, IntoTValue as _, TDim, bail};
use tract_onnx::tract_hir::tract_core::broadcast::multi_broadcast;

use super::reduce_extreme::exceeds;
use crate::inference::ml::{Attributes, Form, Operator};

/// The largest of the inputs, element by element, or the smallest.
#[derive(Debug)]
pub(super) struct Extreme<const LARGEST: bool>;

impl<const LARGEST: bool> Operator for Extreme<LARGEST> {
    const NAME: &'static str = if LARGEST { "Max" } else { "Min" };

    fn parse(_attributes: &Attributes<'_>) -> TractResult<Self> {
        Ok(Self)
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let Some(first) = inputs.first() else { bail!("{} takes an input", Self::NAME) };
        let mut datum_type = first.datum_type;
        for other in inputs.iter().map(|input| input.datum_type) {
            datum_type = match (datum_type, other) {
                (one, other) if one == other => one,
                // What follows from sizes is compared with integers.
                (DatumType::TDim, DatumType::I64 | DatumType::I32)
                | (DatumType::I64 | DatumType::I32, DatumType::TDim) => DatumType::TDim,
                (one, other) => {
                    bail!("{} takes tensors of one type, not {one:?} and {other:?}", Self::NAME)
                }
            };
        }
        let shapes: Vec<_> = inputs.iter().map(|input| &input.shape).collect();
        Ok(tvec!(Form { datum_type, shape: multi_broadcast(&shapes)? }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut inputs = inputs.into_iter();
        let Some(first) = inputs.next() else { bail!("{} takes an input", Self::NAME) };
        let mut best = first.into_tensor();
        for other in inputs {
            let of_sizes = [best.datum_type(), other.datum_type()].contains(&DatumType::TDim);
            best = if of_sizes {
                of_dims::<LARGEST>(&best, &other)
            } else {
                extreme::<LARGEST>(best, &other)
            }?;
        }
        Ok(tvec!(best.into_tvalue()))
    }
}

/// What lies between the other inputs.
#[derive(Debug)]
pub(super) struct Clip {
    /// Whether there is a bound below; the last input may be one above.
    pub(super) low: bool,
}

impl Operator for Clip {
    const NAME: &'static str = "Clip";

    fn parse(_attributes: &Attributes<'_>) -> TractResult<Self> {
        Ok(Self { low: false })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let [numbers, bounds @ ..] = inputs else { bail!("Clip takes numbers") };
        let datum_type = numbers.datum_type;
        for bound in bounds {
            if bound.datum_type != datum_type || bound.shape.iter().any(|dim| *dim != TDim::from(1))
            {
                bail!("Clip of {datum_type:?} takes one number of that type as a bound");
            }
        }
        Ok(tvec!(numbers.clone()))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut inputs = inputs.into_iter();
        let Some(numbers) = inputs.next() else { bail!("Clip takes numbers") };
        let mut numbers = numbers.into_tensor();
        let shape: TVec<usize> = numbers.shape().into();
        let low = if self.low { inputs.next() } else { None };
        let end = end_of(numbers.datum_type());
        if let Some(low) = low.or_else(|| Some(end.as_ref()?.0.clone())) {
            numbers = extreme::<true>(numbers, &low)?;
        }
        // Last, so that it counts where the bounds are the wrong way round.
        if let Some(high) = inputs.next().or_else(|| end.map(|(_, high)| high)) {
            numbers = extreme::<false>(numbers, &high)?;
        }
        Ok(tvec!(numbers.into_shape(&shape)?.into_tvalue()))
    }
}

/// The bounds that the specification gives where a file gives none: those of the type, which cut off infinities.
fn end_of(datum_type: DatumType) -> Option<(TValue, TValue)> {
    let (low, high) = match datum_type {
        DatumType::F32 => (tensor0(f32::MIN), tensor0(f32::MAX)),
        DatumType::F64 => (tensor0(f64::MIN), tensor0(f64::MAX)),
        DatumType::F16 => (tensor0(f16::MIN), tensor0(f16::MAX)),
        _ => return None,
    };
    Some((low.into_tvalue(), high.into_tvalue()))
}

/// The larger or smaller of two tensors, element by element.
fn extreme<const LARGEST: bool>(a: Tensor, b: &Tensor) -> TractResult<Tensor> {
    match a.datum_type() {
        DatumType::F32 => extreme_of::<f32, LARGEST>(a, b),
        DatumType::F64 => extreme_of::<f64, LARGEST>(a, b),
        DatumType::F16 => extreme_of::<f16, LARGEST>(a, b),
        DatumType::I64 => extreme_of::<i64, LARGEST>(a, b),
        DatumType::I32 => extreme_of::<i32, LARGEST>(a, b),
        DatumType::I16 => extreme_of::<i16, LARGEST>(a, b),
        DatumType::I8 => extreme_of::<i8, LARGEST>(a, b),
        DatumType::U64 => extreme_of::<u64, LARGEST>(a, b),
        DatumType::U32 => extreme_of::<u32, LARGEST>(a, b),
        DatumType::U16 => extreme_of::<u16, LARGEST>(a, b),
        DatumType::U8 => extreme_of::<u8, LARGEST>(a, b),
        DatumType::TDim => of_dims::<LARGEST>(&a, b),
        other => bail!("numbers are compared, not {other:?}"),
    }
}

/// The same of what tract computes shapes in, which may have no number yet.
fn of_dims<const LARGEST: bool>(a: &Tensor, b: &Tensor) -> TractResult<Tensor> {
    let shape = multi_broadcast(&[a.shape(), b.shape()])?;
    let a = a.cast_to::<TDim>()?.broadcast_to_shape(&shape)?;
    let b = b.cast_to::<TDim>()?.broadcast_to_shape(&shape)?;
    let (a, b) = (a.try_as_plain_ram()?, b.try_as_plain_ram()?);
    let pairs = a.as_slice::<TDim>()?.iter().cloned().zip(b.as_slice::<TDim>()?.iter().cloned());
    let best: Vec<TDim> = pairs.map(|(a, b)| if LARGEST { a.maxi(b) } else { a.mini(b) }).collect();
    tensor1(&best).into_shape(&shape)
}

fn extreme_of<T: Datum + Copy + PartialOrd, const LARGEST: bool>(
    mut a: Tensor,
    b: &Tensor,
) -> TractResult<Tensor> {
    let shape = multi_broadcast(&[a.shape(), b.shape()])?;
    if a.shape() != &*shape {
        a = a.broadcast_to_shape(&shape)?;
    }
    let other;
    let one = b.len() == 1;
    let b = if one || b.shape() == &*shape {
        b
    } else {
        other = b.broadcast_to_shape(&shape)?;
        &other
    };
    let others = b.try_as_plain_ram()?.as_slice::<T>()?.iter().cycle();
    let mut plain = a.try_as_plain_ram_mut()?;
    for (best, other) in plain.as_slice_mut::<T>()?.iter_mut().zip(others) {
        if exceeds::<T, LARGEST>(*other, *best) {
            *best = *other;
        }
    }
    Ok(a)
}

#[cfg(test)]
mod tests {
    use tract_onnx::tract_hir::internal::{SymbolScope, SymbolValues};

    use super::*;

    #[test]
    fn what_is_missing_stays_missing() {
        let values = tensor1(&[f32::NAN, -3.0, 0.5, 7.0, f32::INFINITY]).into_tvalue();
        let others = tensor1(&[1.0, f32::NAN, 1.0, 1.0, 1.0]).into_tvalue();
        let inputs = || tvec!(values.clone(), others.clone());
        for (outputs, expected) in [
            (Extreme::<true>.run(inputs()), [1.0, 7.0, f32::INFINITY]),
            (Extreme::<false>.run(inputs()), [0.5, 1.0, 1.0]),
        ] {
            let output = outputs.unwrap().remove(0);
            let found = output.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec();
            assert!(found[0].is_nan() && found[1].is_nan());
            assert_eq!(found[2..], expected);
        }
    }

    #[test]
    fn shapes_spread_and_types_other_than_floats_are_taken() {
        let column = Tensor::from_shape(&[2, 1], &[1_i64, 5]).unwrap().into_tvalue();
        let row = Tensor::from_shape(&[3], &[0_i64, 3, 9]).unwrap().into_tvalue();
        let outputs = Extreme::<true>.run(tvec!(column, row)).unwrap();
        assert_eq!(outputs[0].shape(), [2, 3]);
        let plain = outputs[0].try_as_plain_ram().unwrap();
        assert_eq!(plain.as_slice::<i64>().unwrap(), [1, 3, 9, 5, 5, 9]);
        let truth = || tensor1(&[true]).into_tvalue();
        assert!(Extreme::<true>.run(tvec!(truth(), truth())).is_err());
    }

    #[test]
    fn sizes_without_a_number_are_compared_with_integers() {
        let scope = SymbolScope::default();
        let rows = TDim::from(scope.sym("N"));
        let sizes = || tensor1(&[rows.clone(), TDim::from(7)]).into_tvalue();
        let integers = || tensor1(&[1_i64, 5]).into_tvalue();
        for inputs in [tvec!(sizes(), integers()), tvec!(integers(), sizes())] {
            let output = Extreme::<true>.run(inputs).unwrap().remove(0);
            let plain = output.try_as_plain_ram().unwrap();
            let [first, second] = plain.as_slice::<TDim>().unwrap() else { panic!("two") };
            assert_eq!(*second, TDim::from(7));
            for (size, largest) in [(0, 1), (1, 1), (9, 9)] {
                let sizes = SymbolValues::default().with(&scope.sym("N"), size);
                assert_eq!(first.eval_to_i64(&sizes).unwrap(), largest);
            }
        }
    }

    #[test]
    fn what_is_missing_lies_between_no_bounds() {
        let numbers = || tensor1(&[f32::NAN, -3.0, 0.5, 7.0]).into_tvalue();
        let bound = |bound: f32| tensor0(bound).into_tvalue();
        let run = |low: bool, inputs: TVec<TValue>| {
            let output = Clip { low }.run(inputs).unwrap().remove(0);
            let found = output.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec();
            assert!(found[0].is_nan());
            found[1..].to_vec()
        };
        assert_eq!(run(true, tvec!(numbers(), bound(-1.0), bound(2.0))), [-1.0, 0.5, 2.0]);
        assert_eq!(run(true, tvec!(numbers(), bound(2.0), bound(-1.0))), [-1.0; 3]);
        assert_eq!(run(true, tvec!(numbers(), bound(1.0))), [1.0, 1.0, 7.0]);
        assert_eq!(run(false, tvec!(numbers(), bound(1.0))), [-3.0, 0.5, 1.0]);
        let wild = tensor1(&[f32::NAN, f32::NEG_INFINITY, 2.0]).into_tvalue();
        assert_eq!(run(false, tvec!(wild, bound(1.0))), [f32::MIN, 1.0]);
    }
}
