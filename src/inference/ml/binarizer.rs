//! `ai.onnx.ml` Binarizer, version 1.
//!
//! Owns the comparison of each element with a threshold: 1 above it, 0 elsewhere
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_Binarizer.html>). NaN is not above anything, where
//! onnxruntime fails. Never changes the element type.

use tract_onnx::prelude::{
    Datum, DatumType, IntoTensor as _, TValue, TVec, Tensor, TractResult, tvec,
};
use tract_onnx::tract_hir::internal::IntoTValue as _;

use super::attributes::Attributes;
use super::operator::{Form, Operator, check_numbers};

/// Tells what is above a threshold.
#[derive(Debug)]
pub(super) struct Binarizer {
    threshold: f32,
}

impl Operator for Binarizer {
    const NAME: &'static str = "Binarizer";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        Ok(Self { threshold: attributes.float("threshold")?.unwrap_or(0.0) })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let input = Self::only(inputs)?;
        check_numbers(Self::NAME, input.datum_type)?;
        Ok(tvec!(input.clone()))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut tensor = Self::only(inputs)?.into_tensor();
        let threshold = f64::from(self.threshold);
        match tensor.datum_type() {
            DatumType::F32 => replace(&mut tensor, |x: f32| f32::from(x > self.threshold))?,
            DatumType::F64 => replace(&mut tensor, |x: f64| f64::from(x > threshold))?,
            DatumType::I32 => replace(&mut tensor, |x: i32| i32::from(f64::from(x) > threshold))?,
            DatumType::I64 => replace(&mut tensor, |x: i64| i64::from(x as f64 > threshold))?,
            other => {
                check_numbers(Self::NAME, other)?;
                let mut integers = tensor.cast_to::<i64>()?.into_owned();
                replace(&mut integers, |x: i64| i64::from(x as f64 > threshold))?;
                tensor = integers.cast_to_dt(other)?.into_owned();
            }
        }
        Ok(tvec!(tensor.into_tvalue()))
    }
}

fn replace<T: Datum + Copy>(tensor: &mut Tensor, binary: impl Fn(T) -> T) -> TractResult<()> {
    let mut plain = tensor.try_as_plain_ram_mut()?;
    plain.as_slice_mut::<T>()?.iter_mut().for_each(|x| *x = binary(*x));
    Ok(())
}
