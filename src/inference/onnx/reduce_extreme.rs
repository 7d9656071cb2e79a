//! `ai.onnx` ReduceMax, ReduceMin and GlobalMaxPool.
//!
//! Owns the largest or smallest element along axes, infinities and NaN included
//! (<https://onnx.ai/onnx/operators/onnx__ReduceMax.html>). tract starts from the largest finite number, so
//! that a row of nothing but minus infinity, as masks have them, gets a number. What onnxruntime makes of NaN in a
//! GlobalMaxPool depends on its place. Never knows which axes are reduced: that is [`Axes`].

use tract_onnx::prelude::{
    Datum, DatumType, TValue, TVec, Tensor, TractResult, f16, tensor1, tvec,
};
use tract_onnx::tract_hir::internal::{IntoTValue as _, TDim, bail};

use super::reduce::{Axes, Reduction};
use crate::inference::ml::{Attributes, Form, Operator};

/// The largest of the elements along some axes, or the smallest.
#[derive(Debug, Clone)]
pub(super) struct ReduceExtreme<const LARGEST: bool> {
    axes: Axes,
}

/// The largest of all elements behind the first two dimensions.
#[derive(Debug)]
pub(super) struct GlobalMaxPool;

impl<const LARGEST: bool> Reduction for ReduceExtreme<LARGEST> {
    fn axes(&self) -> &Axes {
        &self.axes
    }

    fn along(axes: Axes) -> Self {
        Self { axes }
    }
}

impl<const LARGEST: bool> Operator for ReduceExtreme<LARGEST> {
    const NAME: &'static str = if LARGEST { "ReduceMax" } else { "ReduceMin" };

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        Ok(Self { axes: Axes::parse(attributes)? })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let Some(input) = inputs.first() else { bail!("{} takes an input", Self::NAME) };
        Ok(tvec!(self.axes.form(input)?))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let Some(input) = inputs.first() else { bail!("{} takes an input", Self::NAME) };
        let output = match input.datum_type() {
            DatumType::F32 => self.reduce(input, f32::NEG_INFINITY, f32::INFINITY),
            DatumType::F64 => self.reduce(input, f64::NEG_INFINITY, f64::INFINITY),
            DatumType::I64 => self.reduce(input, i64::MIN, i64::MAX),
            DatumType::I32 => self.reduce(input, i32::MIN, i32::MAX),
            DatumType::I16 => self.reduce(input, i16::MIN, i16::MAX),
            DatumType::I8 => self.reduce(input, i8::MIN, i8::MAX),
            DatumType::U64 => self.reduce(input, u64::MIN, u64::MAX),
            DatumType::U32 => self.reduce(input, u32::MIN, u32::MAX),
            DatumType::U16 => self.reduce(input, u16::MIN, u16::MAX),
            DatumType::U8 => self.reduce(input, u8::MIN, u8::MAX),
            DatumType::Bool => self.reduce(input, false, true),
            DatumType::TDim => {
                let concrete = input.cast_to::<i64>()?;
                let output = self.reduce(&concrete, i64::MIN, i64::MAX)?;
                Ok(output.cast_to::<TDim>()?.into_owned())
            }
            other => bail!("{} takes numbers, not {other:?}", Self::NAME),
        };
        Ok(tvec!(output?.into_tvalue()))
    }
}

impl<const LARGEST: bool> ReduceExtreme<LARGEST> {
    fn reduce<T: Datum + Copy + PartialOrd>(
        &self,
        input: &Tensor,
        least: T,
        most: T,
    ) -> TractResult<Tensor> {
        let way = self.axes.places(input.shape())?;
        let mut places = vec![if LARGEST { least } else { most }; way.count()];
        let elements = input.try_as_plain_ram()?.as_slice::<T>()?;
        for (&element, place) in elements.iter().zip(way.iter()) {
            if let Some(place) = places.get_mut(place)
                && exceeds::<T, LARGEST>(element, *place)
            {
                *place = element;
            }
        }
        tensor1(&places).into_shape(&way.output)
    }
}

impl GlobalMaxPool {
    /// The dimensions that are pooled.
    const FIRST: usize = 2;
}

impl Operator for GlobalMaxPool {
    const NAME: &'static str = "GlobalMaxPool";

    fn parse(_: &Attributes<'_>) -> TractResult<Self> {
        Ok(Self)
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let mut form = Self::only(inputs)?.clone();
        form.shape.iter_mut().skip(Self::FIRST).for_each(|dim| *dim = TDim::from(1));
        Ok(tvec!(form))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        fn pooled<T: Datum + Copy + PartialOrd>(
            input: &Tensor,
            shape: &[usize],
            size: usize,
            least: T,
        ) -> TractResult<Tensor> {
            let elements = input.try_as_plain_ram()?.as_slice::<T>()?;
            let largest = |part: &[T]| {
                let larger = |best, element| {
                    if exceeds::<T, true>(element, best) { element } else { best }
                };
                part.iter().copied().fold(least, larger)
            };
            let pooled: Vec<T> = match size {
                0 => vec![least; shape.iter().product()],
                size => elements.chunks_exact(size).map(largest).collect(),
            };
            tensor1(&pooled).into_shape(shape)
        }
        let input = Self::only(inputs)?;
        let mut shape: TVec<usize> = input.shape().into();
        let behind = shape.get_mut(Self::FIRST..).unwrap_or_default();
        let size: usize = behind.iter().product();
        behind.fill(1);
        let output = match input.datum_type() {
            DatumType::F32 => pooled(&input, &shape, size, f32::NEG_INFINITY),
            DatumType::F64 => pooled(&input, &shape, size, f64::NEG_INFINITY),
            DatumType::F16 => pooled(&input, &shape, size, f16::NEG_INFINITY),
            other => bail!("GlobalMaxPool takes floating-point numbers, not {other:?}"),
        };
        Ok(tvec!(output?.into_tvalue()))
    }
}

/// Whether `element` takes the place of `best`. NaN takes any and gives none away.
pub(super) fn exceeds<T: PartialOrd, const LARGEST: bool>(element: T, best: T) -> bool {
    #[expect(clippy::eq_op, reason = "what does not equal itself is NaN")]
    let (element_is_nan, best_is_nan) = (element != element, best != best);
    !best_is_nan && (element_is_nan || if LARGEST { element > best } else { element < best })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest(
        axes: &[i64],
        keep: bool,
        shape: &[usize],
        elements: &[f32],
    ) -> (Vec<usize>, Vec<f32>) {
        let operator = ReduceExtreme::<true> { axes: Axes::new(axes, keep) };
        let input = Tensor::from_shape(shape, elements).expect("agrees");
        let outputs = operator.run(tvec!(input.into())).expect("runs");
        let plain = outputs[0].try_as_plain_ram().expect("plain");
        (outputs[0].shape().to_vec(), plain.as_slice::<f32>().expect("f32").to_vec())
    }

    #[test]
    fn infinities_and_nan_come_through() {
        let rows = [f32::NEG_INFINITY, f32::NEG_INFINITY, 1.0, f32::NAN, -1.0, 3.0];
        let (shape, maxima) = largest(&[-1], true, &[3, 2], &rows);
        assert_eq!((shape, maxima[0], maxima[2]), (vec![3, 1], f32::NEG_INFINITY, 3.0));
        assert!(maxima[1].is_nan());
        assert_eq!(largest(&[0], false, &[2, 2], &[1.0, 4.0, 3.0, 2.0]), (vec![2], vec![3.0, 4.0]));
        assert_eq!(largest(&[], false, &[2, 2], &[1.0, 4.0, 3.0, 2.0]), (vec![], vec![4.0]));
        assert_eq!(largest(&[1], false, &[2, 0], &[]), (vec![2], vec![f32::NEG_INFINITY; 2]));
        let smallest = ReduceExtreme::<false> { axes: Axes::new(&[], false) };
        let input = tensor1(&[3_i64, -2, 5]);
        let outputs = smallest.run(tvec!(input.into())).expect("runs");
        assert_eq!(outputs[0].cast_to_scalar::<i64>().expect("one"), -2);
        assert!(smallest.axes.reduced(1).is_ok() && Axes::new(&[1], true).reduced(1).is_err());
    }

    #[test]
    fn a_pool_over_everything_has_the_largest_element_wherever_it_is() {
        let pool = |shape: &[usize], elements: &[f32]| {
            let input = Tensor::from_shape(shape, elements).expect("agrees");
            let outputs = GlobalMaxPool.run(tvec!(input.into())).expect("runs");
            let plain = outputs[0].try_as_plain_ram().expect("plain");
            (outputs[0].shape().to_vec(), plain.as_slice::<f32>().expect("f32").to_vec())
        };
        let (shape, largest) = pool(&[1, 2, 1, 3], &[-5.0, -1.0, -2.0, 4.0, 9.0, 3.0]);
        assert_eq!((shape, largest), (vec![1, 2, 1, 1], vec![-1.0, 9.0]));
        for at in 0..20 {
            let mut row = [-1.0_f32; 20];
            row[at] = f32::NAN;
            assert!(pool(&[1, 1, 20], &row).1[0].is_nan(), "{at}");
        }
        let infinite = [f32::NEG_INFINITY; 4];
        assert_eq!(pool(&[1, 1, 4], &infinite).1, [f32::NEG_INFINITY]);
        assert_eq!(pool(&[2, 2], &[1.0, 2.0, 3.0, 4.0]), (vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]));
        assert_eq!(pool(&[1, 2, 0], &[]), (vec![1, 2, 1], vec![f32::NEG_INFINITY; 2]));
    }
}
