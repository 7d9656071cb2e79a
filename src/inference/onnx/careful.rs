//! `ai.onnx` Relu, Clip, Max and Min that let NaN through.
//!
//! Owns that a value which is missing stays missing (IEEE 754-2019, section 9.6: maximum and minimum), as it
//! does in onnxruntime. tract's own drop a NaN, so that a missing feature would become a confident score;
//! they are part of its matrix kernels, which these cannot be. So these stand in graphs over tables only,
//! where features go missing and such operators cost little; graphs over images and sequences keep tract's.

use half::f16;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{
    Datum, DatumType, IntoTensor as _, TValue, TVec, Tensor, TractResult, tensor0, tvec,
};
use tract_onnx::tract_hir::infer::InferenceOp;
use tract_onnx::tract_hir::internal::{IntoTValue as _, TDim, bail};
use tract_onnx::tract_hir::tract_core::broadcast::multi_broadcast;

use crate::inference::ml::{self, Attributes, Form, Operator};

/// The largest of the inputs, element by element, or the smallest.
#[derive(Debug)]
pub(super) struct Extreme<const LARGEST: bool>;

/// Zero in place of what is below.
#[derive(Debug)]
pub(super) struct Relu;

/// Bounds in place of what is beyond them.
#[derive(Debug)]
pub(super) struct Clip {
    /// Those of the attributes, which versions before 11 have.
    least: Option<f32>,
    most: Option<f32>,
    /// Which of them are inputs, as later versions have it.
    inputs: [bool; 2],
}

/// Makes a `Clip`.
pub(super) fn clip(
    context: &ParsingContext<'_>,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let mut operator: Clip = ml::parse(node, context.onnx_operator_set_version)?;
    // Inputs that are left out have no name.
    operator.inputs = [1, 2].map(|at| node.input.get(at).is_some_and(|name| !name.is_empty()));
    Ok((ml::wrap(operator, node), Vec::new()))
}

impl<const LARGEST: bool> Operator for Extreme<LARGEST> {
    const NAME: &'static str = if LARGEST { "Max" } else { "Min" };

    fn parse(_attributes: &Attributes<'_>) -> TractResult<Self> {
        Ok(Self)
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let Some(first) = inputs.first() else { bail!("{} takes an input", Self::NAME) };
        let datum_type = first.datum_type;
        if let Some(other) = inputs.iter().find(|input| input.datum_type != datum_type) {
            let other = other.datum_type;
            bail!("{} takes tensors of one type, not {datum_type:?} and {other:?}", Self::NAME);
        }
        let shapes: Vec<_> = inputs.iter().map(|input| &input.shape).collect();
        Ok(tvec!(Form { datum_type, shape: multi_broadcast(&shapes)? }))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut inputs = inputs.into_iter();
        let Some(first) = inputs.next() else { bail!("{} takes an input", Self::NAME) };
        let mut best = first.into_tensor();
        for other in inputs {
            best = extreme::<LARGEST>(best, &other)?;
        }
        Ok(tvec!(best.into_tvalue()))
    }
}

impl Operator for Relu {
    const NAME: &'static str = "Relu";

    fn parse(_attributes: &Attributes<'_>) -> TractResult<Self> {
        Ok(Self)
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        Ok(tvec!(Self::only(inputs)?.clone()))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = Self::only(inputs)?.into_tensor();
        let zero = Tensor::zero_scalar_dt(input.datum_type())?;
        Ok(tvec!(extreme::<true>(input, &zero)?.into_tvalue()))
    }
}

impl Operator for Clip {
    const NAME: &'static str = "Clip";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        let (least, most) = (attributes.float("min")?, attributes.float("max")?);
        Ok(Self { least, most, inputs: [false; 2] })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let Some(input) = inputs.first() else { bail!("Clip takes an input") };
        Ok(tvec!(input.clone()))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut inputs = inputs.into_iter();
        let Some(input) = inputs.next() else { bail!("Clip takes an input") };
        let datum_type = input.datum_type();
        let mut bound = |attribute: Option<f32>, is_input: bool| match (attribute, is_input) {
            (None, false) => Ok(None),
            (Some(bound), false) => Ok(Some(tensor0(bound).cast_to_dt(datum_type)?.into_owned())),
            (_, true) => match inputs.next() {
                Some(bound) => Ok(Some(bound.cast_to_dt(datum_type)?.into_owned())),
                None => bail!("Clip lacks a bound"),
            },
        };
        let [has_least, has_most] = self.inputs;
        let (least, most) = (bound(self.least, has_least)?, bound(self.most, has_most)?);
        let mut output = input.into_tensor();
        if let Some(least) = least {
            output = extreme::<true>(output, &least)?;
        }
        if let Some(most) = most {
            output = extreme::<false>(output, &most)?;
        }
        Ok(tvec!(output.into_tvalue()))
    }
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
        // What tract computes shapes in.
        DatumType::TDim => {
            let a = a.cast_to::<i64>()?.into_owned();
            let output = extreme_of::<i64, LARGEST>(a, &*b.cast_to::<i64>()?)?;
            Ok(output.cast_to::<TDim>()?.into_owned())
        }
        other => bail!("numbers are compared, not {other:?}"),
    }
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
        if super::exceeds::<T, LARGEST>(*other, *best) {
            *best = *other;
        }
    }
    Ok(a)
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::tensor1;

    use super::*;

    fn floats(outputs: &TVec<TValue>) -> Vec<f32> {
        outputs[0].try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
    }

    #[test]
    fn what_is_missing_stays_missing_and_all_else_is_bounded() {
        let values = || tensor1(&[f32::NAN, -3.0, 0.5, 7.0, f32::INFINITY]).into_tvalue();
        let relu = floats(&Relu.run(tvec!(values())).unwrap());
        assert!(relu[0].is_nan());
        assert_eq!(relu[1..], [0.0, 0.5, 7.0, f32::INFINITY]);
        let clip = Clip { least: Some(-1.0), most: None, inputs: [false, true] };
        let clip = floats(&clip.run(tvec!(values(), tensor0(1.0_f32).into_tvalue())).unwrap());
        assert!(clip[0].is_nan());
        assert_eq!(clip[1..], [-1.0, 0.5, 1.0, 1.0]);
        let others = tensor1(&[1.0, f32::NAN, 1.0, 1.0, 1.0]).into_tvalue();
        for (largest, expected) in [(true, [1.0, 7.0, f32::INFINITY]), (false, [0.5, 1.0, 1.0])] {
            let inputs = tvec!(values(), others.clone());
            let outputs =
                if largest { Extreme::<true>.run(inputs) } else { Extreme::<false>.run(inputs) };
            let found = floats(&outputs.unwrap());
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
        let truth = tensor1(&[true]).into_tvalue();
        assert!(Relu.run(tvec!(truth)).is_err());
    }
}
