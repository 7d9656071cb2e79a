//! What a classifier does to its scores before it returns them.
//!
//! Owns the formulas behind the attribute `post_transform`
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_LinearClassifier.html>, section "Attributes").
//! Never picks the label: that is taken from the scores as they were.

use tract_onnx::prelude::TractResult;

use super::attributes::Attributes;
use super::exponential::{logistic, logistics};

/// The attribute `post_transform`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PostTransform {
    None,
    Softmax,
    Logistic,
    SoftmaxZero,
    Probit,
}

impl PostTransform {
    /// Reads the attribute.
    ///
    /// # Errors
    /// When it names no transform.
    pub(super) fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        const NAME: &str = "post_transform";
        let Some(name) = attributes.text(NAME)? else { return Ok(Self::None) };
        Self::named(name).ok_or_else(|| {
            attributes.refuse(NAME, &format!("names the unknown transform '{name}'"))
        })
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "NONE" => Self::None,
            "SOFTMAX" => Self::Softmax,
            "LOGISTIC" => Self::Logistic,
            "SOFTMAX_ZERO" => Self::SoftmaxZero,
            "PROBIT" => Self::Probit,
            _ => return None,
        })
    }

    /// Transforms the scores of one row.
    pub(super) fn apply(self, scores: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Softmax => softmax(scores),
            Self::Logistic => scores.iter_mut().for_each(|score| *score = logistic(*score)),
            Self::SoftmaxZero => softmax_zero(scores),
            Self::Probit => scores.iter_mut().for_each(|score| *score = probit(*score)),
        }
    }

    /// Transforms the scores of many rows, each `width` long.
    pub(super) fn apply_rows(self, scores: &mut [f32], width: usize) {
        if self == Self::Logistic {
            // Knows no rows, so that many numbers can be transformed at a time.
            let (lanes, rest) = scores.as_chunks_mut::<16>();
            lanes.iter_mut().for_each(|lanes| *lanes = logistics(*lanes));
            self.apply(rest);
        } else {
            scores.chunks_exact_mut(width.max(1)).for_each(|row| self.apply(row));
        }
    }
}

fn softmax(scores: &mut [f32]) {
    // Less the largest, which cancels out, so that no power overflows.
    let largest = largest(scores);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - largest).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// A softmax over the scores that are not zero; those that are stay so.
fn softmax_zero(scores: &mut [f32]) {
    // What onnxruntime takes for zero.
    const ZERO: f32 = 1e-7;
    let largest = largest(scores);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        if score.abs() <= ZERO {
            *score = 0.0;
        } else {
            *score = (*score - largest).exp();
            sum += *score;
        }
    }
    if sum != 0.0 {
        scores.iter_mut().for_each(|score| *score /= sum);
    }
}

fn largest(scores: &[f32]) -> f32 {
    scores.iter().copied().fold(f32::MIN, f32::max)
}

/// The quantile of the normal distribution at `x`, NaN outside of 0 to 1.
fn probit(x: f32) -> f32 {
    std::f32::consts::SQRT_2 * inverse_erf(2.0 * x - 1.0)
}

/// The inverse error function to about three digits, by the formula that onnxruntime uses: S. Winitzki,
/// "A handy approximation for the error function and its inverse" (2008), equation 7 with a = 0.147.
fn inverse_erf(x: f32) -> f32 {
    const A: f32 = 0.147;
    let log = ((1.0 - x) * (1.0 + x)).ln();
    let half = 2.0 / (std::f32::consts::PI * A) + 0.5 * log;
    (-half + (half * half - log / A).sqrt()).sqrt().copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_transformed(transform: &str, scores: &[f32], expected: &[f32]) {
        let mut actual = scores.to_vec();
        PostTransform::named(transform).expect("known").apply(&mut actual);
        for (a, e) in actual.iter().zip(expected) {
            assert!((a - e).abs() <= 1e-6, "{transform} of {scores:?} is {actual:?}");
        }
    }

    #[test]
    fn transforms_agree_with_values_computed_by_hand() {
        assert_transformed("NONE", &[1.0, -2.0], &[1.0, -2.0]);
        assert_transformed("SOFTMAX", &[0.0, 2_f32.ln(), 5_f32.ln()], &[0.125, 0.25, 0.625]);
        assert_transformed("SOFTMAX", &[1000.0, 1000.0], &[0.5, 0.5]);
        assert_transformed("LOGISTIC", &[0.0, 3_f32.ln(), -(3_f32.ln())], &[0.5, 0.75, 0.25]);
        assert_transformed("LOGISTIC", &[-200.0, 200.0], &[0.0, 1.0]);
        assert_transformed("SOFTMAX_ZERO", &[0.0, 1.0, 1.0 + 3_f32.ln()], &[0.0, 0.25, 0.75]);
        assert_transformed("SOFTMAX_ZERO", &[0.0, 0.0], &[0.0, 0.0]);
        assert_transformed("PROBIT", &[0.5], &[0.0]);
        assert!(PostTransform::named("softmax").is_none());
    }

    #[test]
    fn many_rows_get_what_each_gets_alone() {
        for name in ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"] {
            let transform = PostTransform::named(name).expect("known");
            for rows in [0, 1, 5, 6, 40] {
                let scores: Vec<f32> =
                    (0..rows * 3).map(|n| ((n * 37 % 101) as f32 - 50.0) / 7.0).collect();
                let (mut together, mut alone) = (scores.clone(), scores);
                transform.apply_rows(&mut together, 3);
                alone.chunks_exact_mut(3).for_each(|row| transform.apply(row));
                for (a, e) in together.iter().zip(&alone) {
                    let near =
                        a == e || (a - e).abs() <= 3e-7 * e.abs() || (a.is_nan() && e.is_nan());
                    assert!(near, "{name}: {a} is not {e}");
                }
            }
        }
    }

    #[test]
    fn probit_is_the_normal_quantile_to_three_digits() {
        for (x, quantile) in [(0.025, -1.959_96), (0.841_34, 1.0), (0.975, 1.959_96)] {
            assert!((probit(x) - quantile).abs() < 5e-3, "{}", probit(x));
        }
        assert!(probit(1.5).is_nan());
    }

    #[test]
    fn nothing_panics_on_scores_that_are_no_numbers() {
        for name in ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"] {
            let transform = PostTransform::named(name).expect("known");
            transform.apply(&mut []);
            transform.apply(&mut [f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY]);
        }
    }
}
