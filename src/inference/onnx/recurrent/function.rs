//! The functions of recurrent layers.
//!
//! Owns which there are and what their parameters are by default
//! (<https://onnx.ai/onnx/operators/onnx__LSTM.html>, `activations`). ThresholdedRelu is left out: onnxruntime and the
//! specification do not agree about it. Never judges how many a layer needs.

use tract_onnx::prelude::TractResult;

use crate::inference::ml::Attributes;
use crate::inference::onnx::pointwise::Pointwise;

/// A function of each number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::inference::onnx) enum Function {
    /// One that is an operator too.
    Operator(Pointwise),
    /// `alpha x + beta`
    Affine { alpha: f32, beta: f32 },
    /// `alpha tanh(beta x)`
    ScaledTanh { alpha: f32, beta: f32 },
    /// `x`, or `alpha x` below zero
    LeakyRelu { alpha: f32 },
    /// `x / (1 + |x|)`
    Softsign,
}

impl Function {
    /// The functions of each direction: those that the file names, else the default ones.
    pub(super) fn all(
        attributes: &Attributes<'_>,
        defaults: &[&str],
        directions: usize,
    ) -> TractResult<Vec<Vec<Self>>> {
        let mut names = attributes.texts("activations")?;
        // Both are used up in the order of the functions that have them.
        let mut alphas = attributes.floats("activation_alpha")?.iter().copied();
        let mut betas = attributes.floats("activation_beta")?.iter().copied();
        if names.is_empty() {
            let defaults = defaults.iter().cycle().take(defaults.len() * directions);
            names = defaults.map(|&name| name.to_owned()).collect();
        }
        if names.len() != defaults.len() * directions {
            let (found, needed) = (names.len(), defaults.len() * directions);
            let reason = format!("names {found} functions, not {needed}");
            return Err(attributes.refuse("activations", &reason));
        }
        let mut functions = Vec::with_capacity(names.len());
        for name in &names {
            let Some(function) = Self::named(name, &mut alphas, &mut betas) else {
                let reason = format!("names '{name}', which is no function or lacks a parameter");
                return Err(attributes.refuse("activations", &reason));
            };
            functions.push(function);
        }
        Ok(functions.chunks(defaults.len()).map(<[Self]>::to_vec).collect())
    }

    fn named(
        name: &str,
        alphas: &mut impl Iterator<Item = f32>,
        betas: &mut impl Iterator<Item = f32>,
    ) -> Option<Self> {
        let mut alpha = |default: Option<f32>| alphas.next().or(default).filter(|x| !x.is_nan());
        let mut beta = |default: Option<f32>| betas.next().or(default).filter(|x| !x.is_nan());
        Some(match &*name.to_ascii_lowercase() {
            "sigmoid" => Self::Operator(Pointwise::Sigmoid),
            "tanh" => Self::Operator(Pointwise::Tanh),
            "relu" => Self::Operator(Pointwise::RELU),
            "softplus" => Self::Operator(Pointwise::Softplus),
            "hardsigmoid" => {
                let (alpha, beta) = (alpha(Some(0.2))?, beta(Some(0.5))?);
                Self::Operator(Pointwise::HardSigmoid { alpha, beta })
            }
            "elu" => Self::Operator(Pointwise::elu(alpha(Some(1.0))?)),
            "leakyrelu" => Self::LeakyRelu { alpha: alpha(Some(0.01))? },
            "softsign" => Self::Softsign,
            // No operators, so nothing says what they are by default.
            "affine" => Self::Affine { alpha: alpha(None)?, beta: beta(None)? },
            "scaledtanh" => Self::ScaledTanh { alpha: alpha(None)?, beta: beta(None)? },
            _ => return None,
        })
    }

    /// Replaces each number, of which none counts as more than `clip` or less than its opposite.
    pub(super) fn apply(self, numbers: &mut [f32], clip: f32) {
        if clip.is_finite() {
            Pointwise::clip_to(f64::from(-clip), f64::from(clip)).singles(numbers);
        }
        let each: &dyn Fn(f32) -> f32 = match self {
            Self::Operator(operator) => return operator.singles(numbers),
            Self::ScaledTanh { alpha, beta } => {
                numbers.iter_mut().for_each(|x| *x *= beta);
                Pointwise::Tanh.singles(numbers);
                &move |x| alpha * x
            }
            Self::Affine { alpha, beta } => &move |x| alpha * x + beta,
            Self::LeakyRelu { alpha } => &move |x| if x < 0.0 { alpha * x } else { x },
            Self::Softsign => &|x| x / (1.0 + x.abs()),
        };
        numbers.iter_mut().for_each(|x| *x = each(*x));
    }
}
