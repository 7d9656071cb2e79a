//! Functions of one number: `ai.onnx` Sigmoid, Tanh, Relu, Clip, HardSigmoid, Celu, Elu, Selu, Softplus, Mish, Swish,
//! HardSwish, Gelu, Erf, Asinh, Acosh, of FP64 Round and LeakyRelu, and square roots that are written as powers; `com.microsoft` QuickGelu,
//! and BiasGelu and FastGelu, which add a bias first.
//!
//! Owns these functions (<https://onnx.ai/onnx/operators/index.html>) for FP32, FP64 and FP16: right to the last
//! digits over the whole range, and NaN stays NaN. tract approximates Sigmoid, Tanh and Erf by rational
//! functions that end at a few units of 1e-7 where the true value is far smaller, gives a number for NaN, leaves
//! out Celu's factor, takes the logarithm of infinity for the Softplus of 89, and overflows in between for huge
//! numbers; Round and LeakyRelu of FP64 it does not have. Operators that tract puts together of its own functions are found in the graph ([`exact`]). Bounds of
//! Clip that are computed while the model runs are [`extreme`]'s, other element types are left to tract. Never looks
//! at neighbours.

mod bounds;
mod functions;
#[cfg(test)]
mod tests;

use half::f16;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{DatumType, OutletId, Tensor, TractResult, TypedModel};
use tract_onnx::tract_hir::internal::{Expansion as _, StaticName, TypedOp, bail};
use tract_onnx::tract_hir::ops::activations;
use tract_onnx::tract_hir::tract_core::ops::change_axes::wire_with_rank_broadcast;
use tract_onnx::tract_hir::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_hir::tract_core::ops::{math, nn};

use self::functions::{between, wide};
use super::wiring::{self, Built, Wiring, built, node, only};
use crate::inference::ml::logistics;

/// A function of one number. Its constants are finite or infinite, never NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pointwise {
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `(exp(x) - exp(-x)) / (exp(x) + exp(-x))`
    Tanh,
    /// `min(max(x, low), high)`
    Clip { low: Bound, high: Bound },
    /// `max(0, min(1, alpha x + beta))`
    HardSigmoid { alpha: f32, beta: f32 },
    /// `gamma alpha (exp(x / width) - 1)` below zero, else `gamma x`
    Exponential { alpha: f32, width: f32, gamma: f32 },
    /// `ln(1 + exp(x))`
    Softplus,
    /// `x tanh(ln(1 + exp(x)))`
    Mish,
    /// `x / (1 + exp(-alpha x))`
    Swish { alpha: f32 },
    /// `x max(0, min(1, x / 6 + 1 / 2))`
    HardSwish,
    /// `x (1 + erf(x / sqrt(2))) / 2`
    Gelu,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x³))) / 2`
    GeluTanh,
    /// The integral of the normal distribution.
    Erf,
    /// The inverse of the hyperbolic sine.
    Asinh,
    /// The inverse of the hyperbolic cosine.
    Acosh,
    /// `x^(1/2)`, infinite for either infinity as the power is.
    Root,
    /// The nearest whole number, of two the even one.
    Round,
    /// `alpha x` below zero, else `x`
    LeakyRelu { alpha: f32 },
}

impl Eq for Pointwise {}

/// An end of a Clip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bound {
    At(f64),
    /// The end of the numbers that the element type has, as the specification says where none is given.
    OfType,
}

impl Pointwise {
    /// `max(x, 0)`
    pub(super) const RELU: Self = Self::clip_to(0.0, f64::INFINITY);

    /// `min(max(x, low), high)`
    pub(super) const fn clip_to(low: f64, high: f64) -> Self {
        Self::Clip { low: Bound::At(low), high: Bound::At(high) }
    }

    /// `alpha (exp(x) - 1)` below zero, else `x`
    pub(super) const fn elu(alpha: f32) -> Self {
        Self::Exponential { alpha, width: 1.0, gamma: 1.0 }
    }
}

/// A function of the first input, to which the second is added where there is one.
#[derive(Debug, Clone, Copy)]
struct Biased(Pointwise);

/// Makes the Sigmoid of a node.
pub(super) fn sigmoid(_: &ParsingContext<'_>, _: &NodeProto) -> Built {
    built(Pointwise::Sigmoid)
}

/// Makes the Tanh of a node.
pub(super) fn tanh(_: &ParsingContext<'_>, _: &NodeProto) -> Built {
    built(Pointwise::Tanh)
}

/// Makes the Relu of a node.
pub(super) fn relu(_: &ParsingContext<'_>, _: &NodeProto) -> Built {
    built(Pointwise::RELU)
}

/// Makes the HardSigmoid of a node.
pub(super) fn hard_sigmoid(_: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let alpha = number(node, "alpha", 0.2)?;
    let beta = number(node, "beta", 0.5)?;
    built(Pointwise::HardSigmoid { alpha, beta })
}

/// Makes the Elu of a node.
pub(super) fn elu(_: &ParsingContext<'_>, node: &NodeProto) -> Built {
    built(Pointwise::elu(number(node, "alpha", 1.0)?))
}

/// Makes the Celu of a node.
pub(super) fn celu(_: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let alpha = number(node, "alpha", 1.0)?;
    built(Pointwise::Exponential { alpha, width: alpha, gamma: 1.0 })
}

/// Makes the Selu of a node, with the constants of its version 6.
pub(super) fn selu(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    const EXACT_SINCE: i64 = 6;
    let (alpha, gamma) = if context.onnx_operator_set_version < EXACT_SINCE {
        (1.6732, 1.0507)
    } else {
        (1.673_263_2, 1.050_701)
    };
    let (alpha, gamma) = (number(node, "alpha", alpha)?, number(node, "gamma", gamma)?);
    built(Pointwise::Exponential { alpha, width: 1.0, gamma })
}

/// Makes the Softplus of a node.
pub(super) fn softplus(_: &ParsingContext<'_>, _: &NodeProto) -> Built {
    built(Pointwise::Softplus)
}

/// Makes the Mish of a node.
pub(super) fn mish(_: &ParsingContext<'_>, _: &NodeProto) -> Built {
    built(Pointwise::Mish)
}

/// Makes the Swish of a node.
pub(super) fn swish(_: &ParsingContext<'_>, node: &NodeProto) -> Built {
    built(Pointwise::Swish { alpha: number(node, "alpha", 1.0)? })
}

/// Makes the QuickGelu of a node, which is a Swish.
pub(super) fn quick_gelu(_: &ParsingContext<'_>, node: &NodeProto) -> Built {
    built(Pointwise::Swish { alpha: number(node, "alpha", 1.702)? })
}

/// Makes the Gelu of a node; the one with the error function is tract's until it is found in the graph.
pub(super) fn gelu(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    match node.get_attr_opt::<&str>("approximate")? {
        Some("tanh") => built(Pointwise::GeluTanh),
        _ => super::stock(context, node),
    }
}

/// Makes the BiasGelu of a node.
pub(super) fn bias_gelu(_: &ParsingContext<'_>, _: &NodeProto) -> Built {
    built(Biased(Pointwise::Gelu))
}

/// Makes the FastGelu of a node.
pub(super) fn fast_gelu(_: &ParsingContext<'_>, _: &NodeProto) -> Built {
    built(Biased(Pointwise::GeluTanh))
}

/// Makes the Pow of a node: a square root where that is the exponent, else tract's.
pub(super) fn pow(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    built(bounds::Pow(wiring::stock(context, node)?))
}

/// Makes the Clip of a node: the bounds are attributes up to version 10, then inputs.
pub(super) fn clip(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    const INPUTS_SINCE: i64 = 11;
    if context.onnx_operator_set_version >= INPUTS_SINCE {
        return bounds::clip(context, node);
    }
    let bound = |name| match node.get_attr_opt::<f32>(name)? {
        Some(_) => Ok(Bound::At(f64::from(number(node, name, 0.0)?))),
        None => TractResult::Ok(Bound::OfType),
    };
    built(Pointwise::Clip { low: bound("min")?, high: bound("max")? })
}

/// The attribute `name`, which is a number.
fn number(node: &NodeProto, name: &str, default: f32) -> TractResult<f32> {
    let number = node.get_attr_opt(name)?.unwrap_or(default);
    if number.is_nan() {
        bail!("the attribute '{name}' of {} is not a number", node.op_type);
    }
    Ok(number)
}

/// The function of this module that an operator of tract's stands for, if it is one for numbers of this type.
pub(super) fn exact(op: &dyn TypedOp, datum_type: DatumType) -> Option<ElementWiseOp> {
    let found = &op.downcast_ref::<ElementWiseOp>()?.0;
    let wide = datum_type == DatumType::F64;
    let leaky = found.downcast_ref::<nn::LeakyRelu>().filter(|_| wide);
    let function = if let Some(leaky) = leaky {
        Pointwise::LeakyRelu { alpha: leaky.alpha }
    } else if wide && found.is::<math::RoundHalfToEven>() {
        Pointwise::Round
    } else if found.is::<nn::Sigmoid>() {
        Pointwise::Sigmoid
    } else if found.is::<math::Tanh>() {
        Pointwise::Tanh
    } else if found.is::<math::Erf>() {
        Pointwise::Erf
    } else if found.is::<math::Asinh>() {
        Pointwise::Asinh
    } else if found.is::<math::Acosh>() {
        Pointwise::Acosh
    } else if found.is::<nn::HardSwish>() {
        Pointwise::HardSwish
    } else if found.is::<nn::silu::Silu>() {
        Pointwise::Swish { alpha: 1.0 }
    } else if found.is::<nn::gelu_exact::GeluExact>() {
        Pointwise::Gelu
    } else if found.is::<nn::gelu_approximate::GeluApproximate>() {
        Pointwise::GeluTanh
    } else {
        return None;
    };
    Some(ElementWiseOp(Box::new(function), None))
}

/// Between what an operator keeps single-precision numbers, NaN aside, if it is one that does.
pub(in crate::inference) fn clip_bounds(op: &dyn TypedOp) -> Option<(f32, f32)> {
    let found = op.downcast_ref::<ElementWiseOp>().filter(|op| op.1.is_none())?;
    match found.0.downcast_ref::<Pointwise>()? {
        Pointwise::Clip { low, high } => Some(Pointwise::singles_between(*low, *high)),
        _ => None,
    }
}

/// A Relu as it stands in graphs.
#[cfg(test)]
pub(in crate::inference) fn relu_for_tests() -> ElementWiseOp {
    ElementWiseOp(Box::new(Pointwise::RELU), None)
}

impl Wiring for Pointwise {
    fn operator(&self) -> StaticName {
        self.name().into()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let Some(input) = inputs.first() else { bail!("{prefix} has no input") };
        let datum_type = model.outlet_fact(*input)?.datum_type;
        match (datum_type, *self) {
            (DatumType::F32 | DatumType::F64 | DatumType::F16, _) => {
                node(prefix, model, ElementWiseOp(Box::new(*self), None), &[*input])
            }
            (_, Self::Clip { low, high }) => {
                let bound = |bound: Bound| match bound {
                    Bound::At(bound) if bound.is_finite() => Some(bound as f32),
                    Bound::At(_) | Bound::OfType => None,
                };
                let clip = activations::Clip::new(bound(low), bound(high));
                only(prefix, &clip.wire(prefix, model, &[*input])?)
            }
            _ => bail!("{prefix} takes floating-point numbers, not {datum_type:?}"),
        }
    }
}

impl Wiring for Biased {
    fn operator(&self) -> StaticName {
        self.0.operator()
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        if inputs.len() < 2 {
            return self.0.wire(prefix, model, inputs);
        }
        let sum = wire_with_rank_broadcast(format!("{prefix}.bias"), model, math::add(), inputs)?;
        self.0.wire(prefix, model, &sum)
    }
}

impl ElementWiseMiniOp for Pointwise {
    fn name(&self) -> String {
        match self {
            Self::Sigmoid => "Sigmoid",
            Self::Tanh => "Tanh",
            Self::Clip { .. } => "Clip",
            Self::HardSigmoid { .. } => "HardSigmoid",
            Self::Exponential { .. } => "Elu",
            Self::Softplus => "Softplus",
            Self::Mish => "Mish",
            Self::Swish { .. } => "Swish",
            Self::HardSwish => "HardSwish",
            Self::Gelu | Self::GeluTanh => "Gelu",
            Self::Erf => "Erf",
            Self::Asinh => "Asinh",
            Self::Acosh => "Acosh",
            Self::Root => "Sqrt",
            Self::Round => "Round",
            Self::LeakyRelu { .. } => "LeakyRelu",
        }
        .to_owned()
    }

    fn eval_in_place(&self, tensor: &mut Tensor, _: Option<DatumType>) -> TractResult<()> {
        let datum_type = tensor.datum_type();
        let mut plain = tensor.try_as_plain_ram_mut()?;
        match datum_type {
            DatumType::F32 => self.singles(plain.as_slice_mut()?),
            DatumType::F64 => {
                plain.as_slice_mut::<f64>()?.iter_mut().for_each(|x| *x = self.double(*x));
            }
            DatumType::F16 => {
                for half in plain.as_slice_mut::<f16>()? {
                    let mut single = [half.to_f32()];
                    self.singles(&mut single);
                    *half = f16::from_f32(single[0]);
                }
            }
            other => bail!("{} takes floating-point numbers, not {other:?}", self.name()),
        }
        Ok(())
    }
}

impl Pointwise {
    /// The bounds of a Clip for single-precision numbers.
    fn singles_between(low: Bound, high: Bound) -> (f32, f32) {
        let single = |bound, of_type| match bound {
            Bound::At(bound) => bound as f32,
            Bound::OfType => of_type,
        };
        (single(low, f32::MIN), single(high, f32::MAX))
    }

    /// Replaces each number.
    pub(super) fn singles(self, numbers: &mut [f32]) {
        let each: &dyn Fn(f32) -> f32 = match self {
            Self::Sigmoid => return wide!(numbers, logistics),
            Self::Tanh => return wide!(numbers, functions::tangents),
            Self::Mish => return wide!(numbers, functions::mishes),
            Self::Erf => return wide!(numbers, functions::errors),
            Self::Gelu => return wide!(numbers, functions::gelus),
            Self::GeluTanh => return wide!(numbers, functions::tanh_gelus),
            Self::Swish { alpha } => return wide!(numbers, functions::swishes, alpha),
            Self::Exponential { alpha, width, gamma } => {
                return wide!(numbers, functions::exponential_units, alpha, width, gamma);
            }
            Self::Clip { low, high } => {
                let (low, high) = Self::singles_between(low, high);
                return numbers.iter_mut().for_each(|x| *x = between(*x, low, high));
            }
            Self::HardSwish => {
                return numbers.iter_mut().for_each(|x| *x *= between(*x / 6.0 + 0.5, 0.0, 1.0));
            }
            Self::HardSigmoid { alpha, beta } => &move |x| between(alpha * x + beta, 0.0, 1.0),
            Self::Softplus => &|x| between(x, 0.0, f32::INFINITY) + (-x.abs()).exp().ln_1p(),
            // Their squares are too large for the type.
            Self::Asinh | Self::Acosh => &move |x| self.double(f64::from(x)) as f32,
            Self::Root => &|x| if x == f32::NEG_INFINITY { -x } else { x.sqrt() },
            Self::Round => &|x| x.round_ties_even(),
            Self::LeakyRelu { alpha } => &move |x| if x < 0.0 { alpha * x } else { x },
        };
        numbers.iter_mut().for_each(|x| *x = each(*x));
    }

    /// The function of `x`.
    fn double(self, x: f64) -> f64 {
        match self {
            Self::Sigmoid => functions::logistic(x),
            Self::Tanh => x.tanh(),
            Self::Clip { low, high } => {
                let double = |bound, of_type| match bound {
                    Bound::At(bound) => bound,
                    Bound::OfType => of_type,
                };
                between(x, double(low, f64::MIN), double(high, f64::MAX))
            }
            Self::HardSigmoid { alpha, beta } => {
                between(f64::from(alpha) * x + f64::from(beta), 0.0, 1.0)
            }
            Self::Exponential { alpha, width, gamma } if x < 0.0 => {
                f64::from(gamma) * f64::from(alpha) * (x / f64::from(width)).exp_m1()
            }
            Self::Exponential { gamma, .. } => f64::from(gamma) * x,
            Self::Softplus => functions::softened(x),
            Self::Mish => x * functions::softened(x).tanh(),
            Self::Swish { alpha } => x * functions::logistic(f64::from(alpha) * x),
            Self::HardSwish => x * between(x / 6.0 + 0.5, 0.0, 1.0),
            Self::Gelu => 0.5 * x * functions::complement(-x * std::f64::consts::FRAC_1_SQRT_2),
            Self::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                x * functions::logistic(2.0 * inner)
            }
            Self::Erf => functions::error(x),
            Self::Asinh => x.asinh(),
            Self::Acosh => x.acosh(),
            Self::Root if x == f64::NEG_INFINITY => -x,
            Self::Root => x.sqrt(),
            Self::Round => x.round_ties_even(),
            Self::LeakyRelu { alpha } if x < 0.0 => f64::from(alpha) * x,
            Self::LeakyRelu { .. } => x,
        }
    }
}
