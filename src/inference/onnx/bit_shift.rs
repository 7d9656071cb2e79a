//! `ai.onnx` BitShift, version 11.
//!
//! Owns that bits which are shifted out are gone (<https://onnx.ai/onnx/operators/onnx__BitShift.html>): by the
//! width of the type or more, nothing is left, as in onnxruntime. tract takes the distance modulo the width,
//! or panics, depending on how it is compiled.

use tract_onnx::prelude::{Datum, DatumType, TValue, TVec, Tensor, TractResult, tvec};
use tract_onnx::tract_hir::internal::{IntoTValue, bail};
use tract_onnx::tract_hir::tract_core::broadcast::multi_broadcast;

use crate::inference::ml::{Attributes, Form, Operator};

/// Shifts the bits of unsigned numbers.
#[derive(Debug)]
pub(super) struct BitShift {
    left: bool,
}

impl Operator for BitShift {
    const NAME: &'static str = "BitShift";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        match attributes.text("direction")? {
            Some("LEFT") => Ok(Self { left: true }),
            Some("RIGHT") => Ok(Self { left: false }),
            _ => Err(attributes.refuse("direction", "is neither LEFT nor RIGHT")),
        }
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let [numbers, distances] = inputs else { bail!("BitShift takes numbers and distances") };
        let (datum_type, other) = (numbers.datum_type, distances.datum_type);
        if datum_type != other || !datum_type.is_unsigned() {
            bail!("BitShift takes unsigned integers of one type, not {datum_type:?} and {other:?}");
        }
        let shape = multi_broadcast(&[&numbers.shape, &distances.shape])?;
        Ok(tvec!(Form { datum_type, shape }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [numbers, distances] = &*inputs else { bail!("BitShift takes numbers and distances") };
        let shape = multi_broadcast(&[numbers.shape(), distances.shape()])?;
        let (numbers, distances) =
            (numbers.broadcast_to_shape(&shape)?, distances.broadcast_to_shape(&shape)?);
        let output = match numbers.datum_type() {
            DatumType::U8 => shifted::<u8>(
                numbers,
                &distances,
                match self.left {
                    true => u8::checked_shl,
                    false => u8::checked_shr,
                },
            ),
            DatumType::U16 => shifted::<u16>(
                numbers,
                &distances,
                match self.left {
                    true => u16::checked_shl,
                    false => u16::checked_shr,
                },
            ),
            DatumType::U32 => shifted::<u32>(
                numbers,
                &distances,
                match self.left {
                    true => u32::checked_shl,
                    false => u32::checked_shr,
                },
            ),
            DatumType::U64 => shifted::<u64>(
                numbers,
                &distances,
                match self.left {
                    true => u64::checked_shl,
                    false => u64::checked_shr,
                },
            ),
            other => bail!("BitShift takes unsigned integers, not {other:?}"),
        };
        Ok(tvec!(output?.into_tvalue()))
    }
}

/// Shifts each number by the distance at its place; `shift` has no answer for distances that are too far.
fn shifted<T: Datum + Copy + Default + TryInto<u32>>(
    mut numbers: Tensor,
    distances: &Tensor,
    shift: fn(T, u32) -> Option<T>,
) -> TractResult<Tensor> {
    let distances = distances.try_as_plain_ram()?.as_slice::<T>()?;
    let mut plain = numbers.try_as_plain_ram_mut()?;
    for (number, &distance) in plain.as_slice_mut::<T>()?.iter_mut().zip(distances) {
        let distance = distance.try_into().unwrap_or(u32::MAX);
        *number = shift(*number, distance).unwrap_or_default();
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::tensor1;

    use super::*;

    #[test]
    fn what_is_shifted_out_is_gone() {
        for (left, expected) in [(true, [8_u8, 0, 0, 128]), (false, [0, 0, 0, 0])] {
            let inputs = [tensor1(&[1_u8, 1, 255, 1]), tensor1(&[3_u8, 9, 8, 7])];
            let outputs =
                BitShift { left }.run(inputs.map(IntoTValue::into_tvalue).into_iter().collect());
            let output = outputs.unwrap().remove(0);
            assert_eq!(output.try_as_plain_ram().unwrap().as_slice::<u8>().unwrap(), expected);
        }
    }
}
