//! `ai.onnx` ReduceLogSumExp.
//!
//! Owns `m + ln(sum(exp(x - m)))` along axes, with `m` the largest element
//! (<https://onnx.ai/onnx/operators/onnx__ReduceLogSumExp.html>): what naive Bayes and mixture models become
//! probabilities with. tract leaves `m` out, so that the logarithms of everyday likelihoods are infinite.
//! Never works on anything but FP32 and FP64.

use tract_onnx::prelude::{DatumType, TValue, TVec, TractResult, tensor1, tvec};
use tract_onnx::tract_hir::internal::{IntoTValue as _, bail};

use super::reduce::{Axes, Places, Reduction};
use crate::inference::ml::{Attributes, Form, Operator};

/// The logarithm of the sum of the exponentials along some axes.
#[derive(Debug, Clone)]
pub(super) struct ReduceLogSumExp {
    axes: Axes,
}

impl Reduction for ReduceLogSumExp {
    fn axes(&self) -> &Axes {
        &self.axes
    }

    fn along(axes: Axes) -> Self {
        Self { axes }
    }
}

impl Operator for ReduceLogSumExp {
    const NAME: &'static str = "ReduceLogSumExp";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        Ok(Self { axes: Axes::parse(attributes)? })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let Some(input) = inputs.first() else { bail!("ReduceLogSumExp takes an input") };
        if !matches!(input.datum_type, DatumType::F32 | DatumType::F64) {
            bail!("ReduceLogSumExp takes FP32 or FP64, not {:?}", input.datum_type);
        }
        Ok(tvec!(self.axes.form(input)?))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let Some(input) = inputs.first() else { bail!("ReduceLogSumExp takes an input") };
        let way = self.axes.places(input.shape())?;
        let plain = input.try_as_plain_ram()?;
        let output = if input.datum_type() == DatumType::F64 {
            tensor1(&reduce(plain.as_slice::<f64>()?.iter().copied(), &way))
        } else {
            let elements = plain.as_slice::<f32>()?.iter().copied().map(f64::from);
            let singles: Vec<f32> = reduce(elements, &way).into_iter().map(|x| x as f32).collect();
            tensor1(&singles)
        };
        Ok(tvec!(output.into_shape(&way.output)?.into_tvalue()))
    }
}

/// Minus infinity for no elements.
fn reduce(elements: impl Iterator<Item = f64> + Clone, way: &Places) -> Vec<f64> {
    // Largest element, and the sum relative to it.
    let mut places = vec![(f64::NEG_INFINITY, 0.0); way.count()];
    for (element, place) in elements.clone().zip(way.iter()) {
        if let Some((largest, _)) = places.get_mut(place)
            && (element > *largest || element.is_nan())
        {
            *largest = element;
        }
    }
    for (element, place) in elements.zip(way.iter()) {
        if let Some((largest, sum)) = places.get_mut(place) {
            *sum += (element - *largest).exp();
        }
    }
    let whole = |(largest, sum): (f64, f64)| match largest.is_infinite() {
        true => largest,
        false => largest + sum.ln(),
    };
    places.into_iter().map(whole).collect()
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::Tensor;

    use super::*;

    fn rows(columns: usize, elements: &[f32]) -> Vec<f32> {
        let operator = ReduceLogSumExp { axes: Axes::new(&[1], false) };
        let shape = [elements.len() / columns, columns];
        let input = Tensor::from_shape(&shape, elements).expect("agrees");
        let outputs = operator.run(tvec!(input.into())).expect("runs");
        outputs[0].try_as_plain_ram().expect("plain").as_slice::<f32>().expect("f32").to_vec()
    }

    #[test]
    fn likelihoods_of_any_size_have_a_sum() {
        assert_eq!(rows(3, &[-402.7, -96.5, 304.5, -2000.0, -2000.0, -3000.0])[0], 304.5);
        let twice = rows(2, &[-2000.0, -2000.0, 1000.0, 1000.0]);
        let ln_2 = std::f32::consts::LN_2;
        assert_eq!(twice, [ln_2 - 2000.0, ln_2 + 1000.0]);
    }

    #[test]
    fn infinities_and_nan_come_through() {
        let (infinity, nan) = (f32::INFINITY, f32::NAN);
        let found =
            rows(2, &[-infinity, -infinity, infinity, 1.0, nan, 1.0, 1.0, nan, -infinity, 1.0]);
        assert_eq!(&found[..2], [-infinity, infinity]);
        assert!(found[2].is_nan() && found[3].is_nan());
        assert_eq!(found[4], 1.0);
    }
}
