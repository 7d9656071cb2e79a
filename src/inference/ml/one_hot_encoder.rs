//! `ai.onnx.ml` OneHotEncoder, version 1.
//!
//! Owns the replacement of each element by ones and zeros along a new last axis: a one at the position of
//! its category (<https://onnx.ai/onnx/operators/onnx_aionnxml_OneHotEncoder.html>). Numbers are cast to
//! integers for that; those that no integer can hold, NaN among them, are no category. As in onnxruntime
//! the last of equal categories counts. Never lets an unknown category pass where `zeros` is 0.

use tract_onnx::prelude::{
    DatumType, TValue, TVec, Tensor, TractError, TractResult, tensor1, tvec,
};
use tract_onnx::tract_hir::internal::{IntoTValue as _, TDim, bail};

use super::attributes::Attributes;
use super::lookup::{Lookup, Precedence};
use super::operator::{Form, Operator, Unacceptable, check_numbers};

/// The categories, and whether others are all zeros.
#[derive(Debug)]
pub(super) struct OneHotEncoder {
    categories: Lookup,
    count: usize,
    zeros: bool,
}

impl Operator for OneHotEncoder {
    const NAME: &'static str = "OneHotEncoder";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        let integers = attributes.ints("cats_int64s")?;
        let texts = attributes.texts("cats_strings")?;
        let zeros = attributes.int("zeros")?.unwrap_or(1) != 0;
        let categories = match (integers, &*texts) {
            (integers, []) if !integers.is_empty() => tensor1(integers),
            ([], texts) if !texts.is_empty() => tensor1(texts),
            _ => {
                let reason = "exactly one of cats_int64s and cats_strings must be given";
                return Err(attributes.misfit(reason));
            }
        };
        let count = categories.len();
        Ok(Self { categories: Lookup::new(&categories, Precedence::Last)?, count, zeros })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let input = Self::only(inputs)?;
        match (self.categories.datum_type(), input.datum_type) {
            (DatumType::String, DatumType::String) => {}
            (DatumType::String, other) => {
                bail!("OneHotEncoder has texts as categories, but gets {other:?}")
            }
            (_, numbers) => check_numbers(Self::NAME, numbers)?,
        }
        let mut shape = input.shape.clone();
        shape.push(TDim::from(self.count));
        Ok(tvec!(Form { datum_type: DatumType::F32, shape }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = Self::only(inputs)?;
        let mut shape: TVec<usize> = input.shape().into();
        shape.push(self.count);
        let mut output = Tensor::zero::<f32>(&shape)?;
        let mut plain = output.try_as_plain_ram_mut()?;
        let mut rows = plain.as_slice_mut::<f32>()?.chunks_exact_mut(self.count);
        self.categories.each(&input, |category| {
            let row = rows.next();
            match category {
                Some(category) => {
                    if let Some(place) = row.and_then(|row| row.get_mut(category)) {
                        *place = 1.0;
                    }
                }
                None if self.zeros => {}
                None => {
                    let reason = format!("an element is none of the {} categories", self.count);
                    return Err(TractError::from(Unacceptable::new(reason)));
                }
            }
            Ok(())
        })?;
        Ok(tvec!(output.into_tvalue()))
    }
}
