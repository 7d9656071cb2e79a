//! `ai.onnx` Sigmoid, Tanh, Relu, Clip, HardSigmoid, Celu, Softplus, Mish, and the Gelu with a tangent.
//!
//! Owns these functions of one number (<https://onnx.ai/onnx/operators/index.html>) for FP32, FP64 and FP16:
//! right to the last digits over the whole range, and NaN stays NaN. tract approximates Sigmoid and Tanh by
//! rational functions that end at a few units of 1e-7 where the true value is far smaller, gives a number for
//! NaN, leaves out Celu's factor, and takes the logarithm of infinity for the Softplus of 89. Bounds of Clip that are computed while the model runs, and other element
//! types, are left to tract. Never looks at neighbours.

use half::f16;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{
    DatumType, OutletId, SpecialOps as _, TVec, Tensor, TractResult, TypedModel,
};
use tract_onnx::tract_hir::infer::{InferenceOp, InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{Expansion, StaticName, bail, expand};
use tract_onnx::tract_hir::ops::activations;
use tract_onnx::tract_hir::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};

use crate::inference::ml::{exponentials, logistics};

/// A function of one number. Its constants are finite or infinite, never NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pointwise {
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `(exp(x) - exp(-x)) / (exp(x) + exp(-x))`
    Tanh,
    /// `min(max(x, low), high)`
    Clip { low: f64, high: f64 },
    /// `max(0, min(1, alpha x + beta))`
    HardSigmoid { alpha: f32, beta: f32 },
    /// `max(0, x) + min(0, alpha (exp(x / alpha) - 1))`
    Celu { alpha: f32 },
    /// `ln(1 + exp(x))`
    Softplus,
    /// `x tanh(ln(1 + exp(x)))`
    Mish,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x³))) / 2`
    GeluTanh,
}

impl Eq for Pointwise {}

/// Makes the Sigmoid of a node.
pub(super) fn sigmoid(_: &ParsingContext<'_>, _: &NodeProto) -> Built {
    Ok((expand(Pointwise::Sigmoid), Vec::new()))
}

/// Makes the Tanh of a node.
pub(super) fn tanh(_: &ParsingContext<'_>, _: &NodeProto) -> Built {
    Ok((expand(Pointwise::Tanh), Vec::new()))
}

/// Makes the Relu of a node.
pub(super) fn relu(_: &ParsingContext<'_>, _: &NodeProto) -> Built {
    Ok((expand(Pointwise::Clip { low: 0.0, high: f64::INFINITY }), Vec::new()))
}

/// Makes the HardSigmoid of a node.
pub(super) fn hard_sigmoid(_: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let alpha = number(node, "alpha", 0.2)?;
    let beta = number(node, "beta", 0.5)?;
    Ok((expand(Pointwise::HardSigmoid { alpha, beta }), Vec::new()))
}

/// Makes the Celu of a node.
pub(super) fn celu(_: &ParsingContext<'_>, node: &NodeProto) -> Built {
    Ok((expand(Pointwise::Celu { alpha: number(node, "alpha", 1.0)? }), Vec::new()))
}

/// Makes the Softplus of a node.
pub(super) fn softplus(_: &ParsingContext<'_>, _: &NodeProto) -> Built {
    Ok((expand(Pointwise::Softplus), Vec::new()))
}

/// Makes the Mish of a node.
pub(super) fn mish(_: &ParsingContext<'_>, _: &NodeProto) -> Built {
    Ok((expand(Pointwise::Mish), Vec::new()))
}

/// Makes the Gelu of a node; the one with the error function is tract's.
pub(super) fn gelu(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    match node.get_attr_opt::<&str>("approximate")? {
        Some("tanh") => Ok((expand(Pointwise::GeluTanh), Vec::new())),
        _ => super::stock(context, node),
    }
}

/// Makes the Clip of a node: the bounds are attributes up to version 10, then inputs.
pub(super) fn clip(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    const INPUTS_SINCE: i64 = 11;
    let infinite = f64::INFINITY;
    let (low, high) = if context.onnx_operator_set_version < INPUTS_SINCE {
        let low = number(node, "min", f32::NEG_INFINITY)?;
        let high = number(node, "max", f32::INFINITY)?;
        (f64::from(low), f64::from(high))
    } else {
        match (bound(context, node, 1, -infinite)?, bound(context, node, 2, infinite)?) {
            (Some(low), Some(high)) => (low, high),
            _ => return super::stock(context, node),
        }
    };
    Ok((expand(Pointwise::Clip { low, high }), Vec::new()))
}

/// What is put into tract's register of operators.
type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// The attribute `name`, which is a number.
fn number(node: &NodeProto, name: &str, default: f32) -> TractResult<f32> {
    let number = node.get_attr_opt(name)?.unwrap_or(default);
    if number.is_nan() {
        bail!("the attribute '{name}' of {} is not a number", node.op_type);
    }
    Ok(number)
}

/// The bound that the input at `position` is, `None` where it is no floating-point constant.
fn bound(
    context: &ParsingContext<'_>,
    node: &NodeProto,
    position: usize,
    default: f64,
) -> TractResult<Option<f64>> {
    let Some(name) = node.input.get(position).filter(|name| !name.is_empty()) else {
        return Ok(Some(default));
    };
    let Some(constant) = super::constant(context, name)? else { return Ok(None) };
    if constant.len() != 1 || !constant.datum_type().is_float() {
        return Ok(None);
    }
    let bound = constant.cast_to::<f64>()?.try_as_plain_ram()?.as_slice::<f64>()?.first().copied();
    Ok(bound.filter(|bound| !bound.is_nan()))
}

impl Expansion for Pointwise {
    fn name(&self) -> StaticName {
        ElementWiseMiniOp::name(self).into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let ([input, ..], [output]) = (inputs, outputs) else {
            bail!("{} has an input and one output", ElementWiseMiniOp::name(self));
        };
        solver.equals(&input.datum_type, &output.datum_type)?;
        solver.equals(&input.shape, &output.shape)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let Some(input) = inputs.first() else { bail!("{prefix} has no input") };
        let datum_type = model.outlet_fact(*input)?.datum_type;
        match (datum_type, *self) {
            (DatumType::F32 | DatumType::F64 | DatumType::F16, _) => {
                model.wire_node(prefix, ElementWiseOp(Box::new(*self), None), &[*input])
            }
            (_, Self::Clip { low, high }) => {
                let bound = |bound: f64| bound.is_finite().then_some(bound as f32);
                activations::Clip::new(bound(low), bound(high)).wire(prefix, model, &[*input])
            }
            _ => bail!("{prefix} takes floating-point numbers, not {datum_type:?}"),
        }
    }
}

impl ElementWiseMiniOp for Pointwise {
    fn name(&self) -> String {
        match self {
            Self::Sigmoid => "Sigmoid",
            Self::Tanh => "Tanh",
            Self::Clip { .. } => "Clip",
            Self::HardSigmoid { .. } => "HardSigmoid",
            Self::Celu { .. } => "Celu",
            Self::Softplus => "Softplus",
            Self::Mish => "Mish",
            Self::GeluTanh => "Gelu",
        }
        .to_owned()
    }

    fn eval_in_place(&self, tensor: &mut Tensor, _: Option<DatumType>) -> TractResult<()> {
        let datum_type = tensor.datum_type();
        let mut plain = tensor.try_as_plain_ram_mut()?;
        match datum_type {
            DatumType::F32 => self.singles(plain.as_slice_mut()?),
            DatumType::F64 => self.doubles(plain.as_slice_mut()?),
            DatumType::F16 => {
                for half in plain.as_slice_mut::<f16>()? {
                    let mut single = [half.to_f32()];
                    self.singles(&mut single);
                    *half = f16::from_f32(single[0]);
                }
            }
            other => bail!("{} takes floating-point numbers, not {other:?}", Expansion::name(self)),
        }
        Ok(())
    }
}

impl Pointwise {
    fn singles(self, numbers: &mut [f32]) {
        match self {
            Self::Sigmoid => lanes(numbers, logistics),
            Self::Tanh => lanes(numbers, tangents),
            Self::Clip { low, high } => {
                let (low, high) = (low as f32, high as f32);
                numbers.iter_mut().for_each(|x| *x = between(*x, low, high));
            }
            Self::HardSigmoid { alpha, beta } => {
                numbers.iter_mut().for_each(|x| *x = between(alpha * *x + beta, 0.0, 1.0));
            }
            Self::Celu { alpha } => {
                let celu = |x: f32| if x < 0.0 { alpha * (x / alpha).exp_m1() } else { x };
                numbers.iter_mut().for_each(|x| *x = celu(*x));
            }
            Self::Softplus => {
                let softened = |x: f32| between(x, 0.0, f32::INFINITY) + (-x.abs()).exp().ln_1p();
                numbers.iter_mut().for_each(|x| *x = softened(*x));
            }
            Self::Mish => lanes(numbers, mishes),
            Self::GeluTanh => lanes(numbers, gelus),
        }
    }

    fn doubles(self, numbers: &mut [f64]) {
        numbers.iter_mut().for_each(|x| *x = self.double(*x));
    }

    fn double(self, x: f64) -> f64 {
        match self {
            Self::Sigmoid => logistic(x),
            Self::Tanh => x.tanh(),
            Self::Clip { low, high } => between(x, low, high),
            Self::HardSigmoid { alpha, beta } => {
                between(f64::from(alpha) * x + f64::from(beta), 0.0, 1.0)
            }
            Self::Celu { alpha } if x < 0.0 => f64::from(alpha) * (x / f64::from(alpha)).exp_m1(),
            Self::Celu { .. } => x,
            Self::Softplus => softened(x),
            Self::Mish => between(x, SMALLEST, f64::INFINITY) * softened(x).tanh(),
            Self::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                between(x, SMALLEST, f64::INFINITY) * logistic(2.0 * inner)
            }
        }
    }
}

/// Far below all numbers whose Mish or Gelu is not zero: infinity times zero is none.
const SMALLEST: f64 = -1e6;

/// The Mish of each. With `w = exp(-|x|)` the tangent is a quotient without differences.
fn mishes<const LANES: usize>(numbers: [f32; LANES]) -> [f32; LANES] {
    let powers = exponentials(numbers.map(|x| -x.abs()));
    std::array::from_fn(|lane| {
        let (x, w) = (numbers[lane], powers[lane]);
        let below = w * (w + 2.0);
        let tangent = if x < 0.0 {
            below / (below + 2.0)
        } else {
            (1.0 + 2.0 * w) / (1.0 + 2.0 * w * (1.0 + w))
        };
        between(x, SMALLEST as f32, f32::INFINITY) * tangent
    })
}

/// The Gelu of each: `(1 + tanh(y)) / 2` is the logistic function of `2 y`.
fn gelus<const LANES: usize>(numbers: [f32; LANES]) -> [f32; LANES] {
    // Twice the square root of 2 / pi.
    const FACTOR: f32 = 1.595_769;
    let shares = logistics(numbers.map(|x| FACTOR * (x + 0.044_715 * x * x * x)));
    std::array::from_fn(|lane| {
        between(numbers[lane], SMALLEST as f32, f32::INFINITY) * shares[lane]
    })
}

/// `1 / (1 + exp(-x))`
fn logistic(x: f64) -> f64 {
    let power = (-x.abs()).exp();
    (if x < 0.0 { power } else { 1.0 }) / (1.0 + power)
}

/// `ln(1 + exp(x))`
fn softened(x: f64) -> f64 {
    between(x, 0.0, f64::INFINITY) + (-x.abs()).exp().ln_1p()
}

/// The nearest number from `low` to `high`, `high` where they are the wrong way round. NaN stays NaN.
fn between<T: PartialOrd>(x: T, low: T, high: T) -> T {
    let raised = if x < low { low } else { x };
    if raised > high { high } else { raised }
}

/// Calls `function` with eight numbers at a time.
fn lanes(numbers: &mut [f32], function: impl Fn([f32; 8]) -> [f32; 8]) {
    let (full, rest) = numbers.as_chunks_mut::<8>();
    full.iter_mut().for_each(|lanes| *lanes = function(*lanes));
    let mut last = [0.0; 8];
    last.iter_mut().zip(&*rest).for_each(|(lane, x)| *lane = *x);
    rest.iter_mut().zip(function(last)).for_each(|(x, lane)| *x = lane);
}

/// The hyperbolic tangent of each: near zero by the polynomial of Cephes (S. L. Moshier, `tanhf`), else by
/// `(1 - exp(-2|x|)) / (1 + exp(-2|x|))`.
fn tangents<const LANES: usize>(numbers: [f32; LANES]) -> [f32; LANES] {
    const NEAR: f32 = 0.625;
    const POLYNOMIAL: [f32; 5] =
        [-5.704_988_6e-3, 2.063_908_8e-2, -5.373_971_5e-2, 0.133_314_42, -0.333_332_8];
    let powers = exponentials(numbers.map(|x| -2.0 * x.abs()));
    std::array::from_fn(|lane| {
        let (x, power) = (numbers[lane], powers[lane]);
        let square = x * x;
        let sum = POLYNOMIAL.into_iter().fold(0.0, |sum, factor| sum * square + factor);
        let far = ((1.0 - power) / (1.0 + power)).copysign(x);
        if x.abs() < NEAR { sum * square * x + x } else { far }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(function: Pointwise, x: f32) -> f32 {
        let mut tensor = Tensor::from_shape(&[1], &[x]).expect("agrees");
        function.eval_in_place(&mut tensor, None).expect("a float");
        tensor.try_as_plain_ram().expect("plain").as_slice::<f32>().expect("f32")[0]
    }

    #[test]
    fn all_digits_are_right_over_the_whole_range() {
        type Exact = fn(f64) -> f64;
        let functions: [(Pointwise, Exact); 6] = [
            (Pointwise::Softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
            (Pointwise::Mish, |x| x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh()),
            (Pointwise::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
            (Pointwise::Tanh, f64::tanh),
            (Pointwise::Celu { alpha: 2.0 }, |x| x.max(0.0) + (2.0 * (x / 2.0).exp_m1()).min(0.0)),
            (Pointwise::HardSigmoid { alpha: 0.25, beta: 0.5 }, |x| {
                (0.25 * x + 0.5).clamp(0.0, 1.0)
            }),
        ];
        for (function, exact) in functions {
            for step in -8600..8600 {
                let x = step as f32 / 100.0;
                let expected = exact(f64::from(x));
                let difference = (f64::from(applied(function, x)) - expected).abs();
                assert!(difference <= 5e-7 * expected.abs(), "{function:?} of {x}: {difference:e}");
            }
        }
        for (x, expected) in
            [(-100.0, 0.0), (-10.0, 0.0), (-3.0, -0.003_637_392), (0.5, 0.345_714), (89.0, 89.0)]
        {
            let found = f64::from(applied(Pointwise::GeluTanh, x as f32));
            let difference = (found - expected).abs();
            assert!(difference <= 1e-6 * expected.abs() + 1e-30, "Gelu of {x}: {found}");
        }
        let mut many: Vec<f32> = (-20..21).map(|x| x as f32).collect();
        let alone: Vec<f32> = many.iter().map(|x| applied(Pointwise::Tanh, *x)).collect();
        Pointwise::Tanh.singles(&mut many);
        assert_eq!(many, alone, "lanes and what is left of them agree");
    }

    #[test]
    fn nan_stays_and_infinities_end_at_the_limits() {
        let infinity = f32::INFINITY;
        let clip = Pointwise::Clip { low: 0.0, high: 6.0 };
        let limits = [
            (Pointwise::Sigmoid, 0.0, 1.0),
            (Pointwise::Tanh, -1.0, 1.0),
            (clip, 0.0, 6.0),
            (Pointwise::HardSigmoid { alpha: 0.2, beta: 0.5 }, 0.0, 1.0),
            (Pointwise::Celu { alpha: 1.5 }, -1.5, infinity),
            (Pointwise::Softplus, 0.0, infinity),
            (Pointwise::Mish, 0.0, infinity),
            (Pointwise::GeluTanh, 0.0, infinity),
        ];
        for (function, least, most) in limits {
            assert!(applied(function, f32::NAN).is_nan(), "{function:?}");
            let found = (applied(function, -infinity), applied(function, infinity));
            assert_eq!(found, (least, most), "{function:?}");
            let mut doubles = [f64::NAN, f64::NEG_INFINITY];
            function.doubles(&mut doubles);
            assert!(doubles[0].is_nan() && doubles[1] == f64::from(least), "{function:?}");
        }
        let crossed = Pointwise::Clip { low: 3.0, high: 1.0 };
        assert_eq!([0.0, 2.0, 4.0].map(|x| applied(crossed, x)), [1.0; 3]);
    }
}
