//! A table from keys to values, with a value for everything else.
//!
//! Owns the replacement of a tensor's elements. Never says what the keys are, an operator does.

use tract_onnx::prelude::{Datum, DatumType, Tensor, TractResult, tensor1};
use tract_onnx::tract_hir::internal::bail;

use super::lookup::{Lookup, Precedence};
use crate::inference::footprint::longest_text;

/// What an element becomes that is not among the keys, where a file does not say.
pub(super) const UNUSED: &str = "_Unused";

/// Keys, the value of each, and at the end of the values the default.
#[derive(Debug)]
pub(super) struct Map {
    keys: Lookup,
    values: Tensor,
}

impl Map {
    /// Joins keys, values and the default, which are all tensors of rank 1.
    pub(super) fn new(
        keys: &Tensor,
        values: &Tensor,
        default: &Tensor,
        precedence: Precedence,
    ) -> TractResult<Self> {
        let values = Tensor::stack_tensors(0, &[values, default])?;
        Ok(Self { keys: Lookup::new(keys, precedence)?, values })
    }

    /// The element type of the keys.
    pub(super) fn key_type(&self) -> DatumType {
        self.keys.datum_type()
    }

    /// The element type of the values.
    pub(super) fn value_type(&self) -> DatumType {
        self.values.datum_type()
    }

    /// The length of the longest value, 0 where they are numbers.
    pub(super) fn longest_text(&self) -> usize {
        longest_text(&self.values)
    }

    /// The value of each element.
    pub(super) fn apply(&self, elements: &Tensor) -> TractResult<Tensor> {
        match self.values.datum_type() {
            DatumType::String => self.pick::<String>(elements),
            DatumType::I64 => self.pick::<i64>(elements),
            DatumType::I32 => self.pick::<i32>(elements),
            DatumType::I16 => self.pick::<i16>(elements),
            DatumType::F32 => self.pick::<f32>(elements),
            DatumType::F64 => self.pick::<f64>(elements),
            other => bail!("values of type {other:?} are not supported"),
        }
    }

    fn pick<T: Datum + Clone + Default>(&self, elements: &Tensor) -> TractResult<Tensor> {
        let values = self.values.try_as_plain_ram()?.as_slice::<T>()?;
        let mut picked = Vec::with_capacity(elements.len());
        self.keys.each(elements, |position| {
            let value =
                position.and_then(|position| values.get(position)).or_else(|| values.last());
            picked.push(value.cloned().unwrap_or_default());
            Ok(())
        })?;
        tensor1(&picked).into_shape(elements.shape())
    }
}
