//! `ai.onnx` QuantizeLinear and DynamicQuantizeLinear.
//!
//! Owns `saturate(round(x / scale) + zero_point)`, rounded to even
//! (<https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>), for 8 and 16 bits. tract multiplies by the
//! reciprocal of the scale, which rounds some numbers to their neighbour, adds the zero point in a type that
//! overflows for what is far out of range, and wants scales that are constants. NaN becomes the lowest level, and
//! an infinite range has the zero point that onnxruntime gives it. Blocks, FP8 and 4 bits are refused. Never quantizes what a graph does not ask for.

use tract_onnx::prelude::{Datum, DatumType, TValue, TVec, Tensor, TractResult, tensor0, tvec};
use tract_onnx::tract_hir::internal::{IntoTValue as _, TDim, bail};

use crate::inference::ml::{Attributes, Form, Operator};

/// With given scales.
#[derive(Debug)]
pub(super) struct QuantizeLinear {
    /// The dimension that has a scale for each of its places; from the end where it is negative.
    axis: i64,
    /// The type of the levels, where no zero point says it.
    levels: DatumType,
}

/// With a scale that follows from the numbers.
#[derive(Debug)]
pub(super) struct DynamicQuantizeLinear;

impl Operator for QuantizeLinear {
    const NAME: &'static str = "QuantizeLinear";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        for name in ["block_size", "precision"] {
            if attributes.int(name)?.is_some_and(|value| value != 0) {
                return Err(attributes.refuse(name, "is not supported"));
            }
        }
        // About FP8, which there is not.
        let _saturate = attributes.int("saturate")?;
        let levels = match attributes.int("output_dtype")?.unwrap_or(0) {
            0 | 2 => DatumType::U8,
            3 => DatumType::I8,
            4 => DatumType::U16,
            5 => DatumType::I16,
            _ => return Err(attributes.refuse("output_dtype", "is not supported")),
        };
        Ok(Self { axis: attributes.int("axis")?.unwrap_or(1), levels })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let [numbers, scale, zero @ ..] = inputs else {
            bail!("QuantizeLinear takes numbers and scales");
        };
        for input in [numbers, scale] {
            if !matches!(input.datum_type, DatumType::F32 | DatumType::F16 | DatumType::I32) {
                bail!("QuantizeLinear takes FP32, FP16 or INT32, not {:?}", input.datum_type);
            }
        }
        let datum_type = zero.first().map_or(self.levels, |zero| zero.datum_type);
        bounds(datum_type)?;
        Ok(tvec!(Form { datum_type, shape: numbers.shape.clone() }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [numbers, scale, zero @ ..] = &*inputs else {
            bail!("QuantizeLinear takes numbers and scales");
        };
        let levels = zero.first().map_or(self.levels, |zero| zero.datum_type());
        let (scales, zeros) = (floats(scale)?, zero.first().map(|zero| floats(zero)).transpose()?);
        let zeros = zeros.unwrap_or_else(|| vec![0.0]);
        let channels = scales.len().max(zeros.len());
        let stride = if channels == 1 { 1 } else { self.stride(numbers.shape(), channels)? };
        if [scales.len(), zeros.len()].iter().any(|length| *length != 1 && *length != channels) {
            bail!("QuantizeLinear has {} scales and {} zero points", scales.len(), zeros.len());
        }
        let at = |list: &[f32], place: usize| {
            let channel = if list.len() == 1 { 0 } else { place / stride % channels };
            list.get(channel).copied().unwrap_or_default()
        };
        let numbers_read = floats(numbers)?;
        let bounds = bounds(levels)?;
        let quantized = numbers_read.iter().enumerate();
        let quantized =
            quantized.map(|(place, x)| level(*x, at(&scales, place), at(&zeros, place), bounds));
        Ok(tvec!(tensor(quantized, levels)?.into_shape(numbers.shape())?.into_tvalue()))
    }
}

impl QuantizeLinear {
    /// How far apart the places of two neighbouring channels are.
    fn stride(&self, shape: &[usize], channels: usize) -> TractResult<usize> {
        let rank = i64::try_from(shape.len())?;
        let axis = usize::try_from(if self.axis < 0 { self.axis + rank } else { self.axis });
        let behind = axis.ok().and_then(|axis| shape.get(axis..)?.split_first());
        match behind {
            Some((length, inner)) if *length == channels => {
                Ok(inner.iter().product::<usize>().max(1))
            }
            _ => bail!("QuantizeLinear has {channels} scales for the shape {shape:?}"),
        }
    }
}

impl Operator for DynamicQuantizeLinear {
    const NAME: &'static str = "DynamicQuantizeLinear";

    fn parse(_: &Attributes<'_>) -> TractResult<Self> {
        Ok(Self)
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let numbers = Self::only(inputs)?;
        if numbers.datum_type != DatumType::F32 {
            bail!("DynamicQuantizeLinear takes FP32, not {:?}", numbers.datum_type);
        }
        let single = |datum_type| Form { datum_type, shape: TVec::<TDim>::new() };
        Ok(tvec!(
            Form { datum_type: DatumType::U8, shape: numbers.shape.clone() },
            single(DatumType::F32),
            single(DatumType::U8),
        ))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let numbers = Self::only(inputs)?;
        let read = floats(&numbers)?;
        // Zero is always within the range; NaN is within none.
        let low = read.iter().copied().fold(0.0, f32::min);
        let high = read.iter().copied().fold(0.0, f32::max);
        let bounds @ (bottom, top) = bounds(DatumType::U8)?;
        let range = (high - low) / (top - bottom);
        let scale = if range > 0.0 { range } else { 1.0 };
        let zero = -low / scale;
        // Of an infinite range with an infinite end there is none; onnxruntime takes the highest level.
        let zero = if zero.is_nan() { top } else { level(zero, 1.0, 0.0, bounds) };
        let quantized = read.iter().map(|x| level(*x, scale, zero, bounds));
        let quantized = tensor(quantized, DatumType::U8)?.into_shape(numbers.shape())?;
        Ok(tvec!(
            quantized.into_tvalue(),
            tensor0(scale).into_tvalue(),
            tensor([zero].into_iter(), DatumType::U8)?.into_shape(&[])?.into_tvalue(),
        ))
    }
}

/// The lowest and the highest level of a type.
fn bounds(levels: DatumType) -> TractResult<(f32, f32)> {
    Ok(match levels {
        DatumType::U8 => (u8::MIN.into(), u8::MAX.into()),
        DatumType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DatumType::U16 => (u16::MIN.into(), u16::MAX.into()),
        DatumType::I16 => (i16::MIN.into(), i16::MAX.into()),
        other => bail!("QuantizeLinear to {other:?} is not supported"),
    })
}

/// The level of a number. What is out of range gets the nearest level, NaN the lowest.
fn level(x: f32, scale: f32, zero: f32, (low, high): (f32, f32)) -> f32 {
    (x / scale).max(low - zero).min(high - zero).round_ties_even() + zero
}

fn floats(tensor: &Tensor) -> TractResult<Vec<f32>> {
    Ok(tensor.cast_to::<f32>()?.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
}

/// Levels, which are whole numbers of their type, in a tensor of rank 1.
fn tensor(quantized: impl Iterator<Item = f32>, levels: DatumType) -> TractResult<Tensor> {
    fn all<T: Datum>(levels: impl Iterator<Item = T>) -> Tensor {
        tract_onnx::prelude::tensor1(&levels.collect::<Vec<T>>())
    }
    Ok(match levels {
        DatumType::U8 => all(quantized.map(|level| level as u8)),
        DatumType::I8 => all(quantized.map(|level| level as i8)),
        DatumType::U16 => all(quantized.map(|level| level as u16)),
        DatumType::I16 => all(quantized.map(|level| level as i16)),
        other => bail!("QuantizeLinear to {other:?} is not supported"),
    })
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::tensor1;

    use super::*;

    fn quantized<T: Datum + Copy>(numbers: Tensor, scale: Tensor, zero: Tensor) -> Vec<T> {
        let operator = QuantizeLinear { axis: 1, levels: DatumType::U8 };
        let inputs = [numbers, scale, zero].map(|tensor| tensor.into_tvalue());
        let outputs = operator.run(inputs.into_iter().collect()).expect("runs");
        outputs[0].try_as_plain_ram().expect("plain").as_slice::<T>().expect("levels").to_vec()
    }

    #[test]
    fn what_is_far_out_of_range_gets_the_nearest_level() {
        let wild = [1e9, -1e9, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, 0.0];
        let signed: Vec<i8> = quantized(tensor1(&wild), tensor0(0.02_f32), tensor0(-4_i8));
        assert_eq!(signed, [127, -128, 127, -128, -128, 127, -4]);
        let unsigned: Vec<u8> = quantized(tensor1(&wild), tensor0(0.02_f32), tensor0(128_u8));
        assert_eq!(unsigned, [255, 0, 255, 0, 0, 255, 128]);
        let wide: Vec<i16> = quantized(tensor1(&wild), tensor0(0.02_f32), tensor0(0_i16));
        assert_eq!(wide, [i16::MAX, i16::MIN, i16::MAX, i16::MIN, i16::MIN, i16::MAX, 0]);
    }

    #[test]
    fn halves_go_to_the_even_level_and_are_found_by_division() {
        let numbers = tensor1(&[0.5_f32, 1.5, 2.5, -0.5, -1.5]);
        let levels: Vec<i8> = quantized(numbers, tensor0(1_f32), tensor0(0_i8));
        assert_eq!(levels, [0, 2, 2, 0, -2]);
        // 4.5 by division; a reciprocal makes it a little more.
        let (x, scale) = (0.45_f32, 0.1_f32);
        let level: Vec<u8> = quantized(tensor1(&[x]), tensor0(scale), tensor0(0_u8));
        assert_eq!(f32::from(level[0]), (x / scale).round_ties_even());
    }

    #[test]
    fn each_channel_has_its_scale() {
        let numbers = Tensor::from_shape(&[2, 2, 2], &[1_f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let (scales, zeros) = (tensor1(&[1_f32, 0.5]), tensor1(&[0_u8, 100]));
        let levels: Vec<u8> = quantized(numbers.expect("agrees"), scales, zeros);
        assert_eq!(levels, [1, 2, 106, 108, 5, 6, 114, 116]);
        let operator = QuantizeLinear { axis: 2, levels: DatumType::U8 };
        assert!(operator.stride(&[2, 2, 3], 2).is_err(), "the axis has another length");
    }

    #[test]
    fn a_scale_that_is_too_small_for_its_type_overflows_nothing() {
        for numbers in [[1e-45_f32, 0.0], [0.0, 0.0], [f32::NAN, 0.0], [f32::MAX, f32::MIN]] {
            let outputs = DynamicQuantizeLinear.run(tvec!(tensor1(&numbers).into_tvalue()));
            let outputs = outputs.expect("runs");
            let scale = outputs[1].cast_to_scalar::<f32>().expect("one");
            assert!(scale > 0.0, "{numbers:?}: {scale}");
        }
        let levels = |numbers: &[f32]| {
            let outputs = DynamicQuantizeLinear.run(tvec!(tensor1(numbers).into_tvalue()));
            let outputs = outputs.expect("runs");
            let levels = outputs[0].try_as_plain_ram().expect("plain");
            let scale = outputs[1].cast_to_scalar::<f32>().expect("one");
            let zero = outputs[2].cast_to_scalar::<u8>().expect("one");
            (levels.as_slice::<u8>().expect("levels").to_vec(), scale, zero)
        };
        let infinity = f32::INFINITY;
        assert_eq!(levels(&[1.0, 2.0, infinity]), (vec![0, 0, 0], infinity, 0));
        assert_eq!(levels(&[1.0, 2.0, -infinity]), (vec![255, 255, 0], infinity, 255));
        assert_eq!(levels(&[infinity, -infinity, 1.0]), (vec![0, 0, 255], infinity, 255));
        assert_eq!(levels(&[3e38, -3e38]), (vec![0, 0], infinity, 0));
        assert_eq!(levels(&[f32::NAN, 1.0, 2.0]).0, [0, 127, 255]);
        let numbers = tensor1(&[0_f32, 2.0, -3.0, -2.5, 1.34, 0.5]);
        let outputs = DynamicQuantizeLinear.run(tvec!(numbers.into_tvalue())).expect("runs");
        let levels = outputs[0].try_as_plain_ram().expect("plain");
        assert_eq!(levels.as_slice::<u8>().expect("u8"), [153, 255, 0, 26, 221, 179]);
    }
}
