//! `ai.onnx.ml` Imputer, version 1.
//!
//! Owns the replacement of one value, often NaN, by another for each feature or by one for all
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_Imputer.html>). Every NaN equals a NaN here. Never
//! takes a list whose length fits neither, where onnxruntime takes its first element.

use tract_onnx::prelude::{
    Datum, DatumType, IntoTensor as _, TValue, TVec, Tensor, TractResult, tvec,
};
use tract_onnx::tract_hir::internal::{IntoTValue as _, bail};

use super::attributes::Attributes;
use super::operator::{Form, Operator, check_features};

/// What is replaced, and by what.
#[derive(Debug)]
pub(super) enum Imputer {
    /// FP32 or FP64.
    Floats { replaced: f32, imputed: Vec<f32> },
    /// INT32 or INT64.
    Integers { replaced: i64, imputed: Vec<i64> },
}

impl Operator for Imputer {
    const NAME: &'static str = "Imputer";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        let floats = attributes.floats("imputed_value_floats")?;
        let integers = attributes.ints("imputed_value_int64s")?;
        let float = attributes.float("replaced_value_float")?;
        let integer = attributes.int("replaced_value_int64")?;
        match (floats, integers) {
            ([], []) | ([_, ..], [_, ..]) => Err(attributes.misfit(
                "exactly one of imputed_value_floats and imputed_value_int64s must be given",
            )),
            (floats, []) => {
                Ok(Self::Floats { replaced: float.unwrap_or(0.0), imputed: floats.to_vec() })
            }
            ([], integers) => {
                Ok(Self::Integers { replaced: integer.unwrap_or(0), imputed: integers.to_vec() })
            }
        }
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let input = Self::only(inputs)?;
        match (self, input.datum_type) {
            (Self::Floats { .. }, DatumType::F32 | DatumType::F64)
            | (Self::Integers { .. }, DatumType::I32 | DatumType::I64) => {}
            (Self::Floats { .. }, other) => bail!("Imputer has FP32 values, but gets {other:?}"),
            (Self::Integers { .. }, other) => bail!("Imputer has INT64 values, but gets {other:?}"),
        }
        check_features(Self::NAME, &input.shape, self.len())?;
        Ok(tvec!(input.clone()))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut tensor = Self::only(inputs)?.into_tensor();
        check_features(Self::NAME, tensor.shape(), self.len())?;
        match (self, tensor.datum_type()) {
            (Self::Floats { replaced, imputed }, DatumType::F32) => {
                let missing = |x: f32| x == *replaced || x.is_nan() && replaced.is_nan();
                impute(&mut tensor, imputed, missing, |value| value)?;
            }
            (Self::Floats { replaced, imputed }, _) => {
                let missing = |x: f64| x == f64::from(*replaced) || x.is_nan() && replaced.is_nan();
                impute(&mut tensor, imputed, missing, f64::from)?;
            }
            (Self::Integers { replaced, imputed }, DatumType::I32) => {
                let missing = |x: i32| i64::from(x) == *replaced;
                // Cut off as onnxruntime does; the specification asks for values that fit.
                impute(&mut tensor, imputed, missing, |value| value as i32)?;
            }
            (Self::Integers { replaced, imputed }, _) => {
                impute(&mut tensor, imputed, |x: i64| x == *replaced, |value| value)?;
            }
        }
        Ok(tvec!(tensor.into_tvalue()))
    }
}

impl Imputer {
    fn len(&self) -> usize {
        match self {
            Self::Floats { imputed, .. } => imputed.len(),
            Self::Integers { imputed, .. } => imputed.len(),
        }
    }
}

fn impute<V: Copy, T: Datum + Copy>(
    tensor: &mut Tensor,
    imputed: &[V],
    missing: impl Fn(T) -> bool,
    convert: impl Fn(V) -> T,
) -> TractResult<()> {
    let mut plain = tensor.try_as_plain_ram_mut()?;
    let elements = plain.as_slice_mut::<T>()?;
    for (x, value) in elements.iter_mut().zip(imputed.iter().cycle()) {
        if missing(*x) {
            *x = convert(*value);
        }
    }
    Ok(())
}
