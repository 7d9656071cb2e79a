//! The functions that the standard library lacks, or has for one number at a time only.
//!
//! Owns their approximations, each with its source, and that they run with the widest vector instructions of this
//! processor ([`lanes`]). None of these joins a product and a sum, so that all processors compute the same. Never reads
//! more than its arguments.

use pulp::{Arch, NullaryFnOnce};

use crate::inference::ml::{each, exponentials, logistics, pairs, polynomial};

/// How many numbers a function has at a time.
const LANES: usize = 16;

/// The nearest number from `low` to `high`, `high` where they are the wrong way round. NaN stays NaN.
pub(super) fn between<T: PartialOrd>(x: T, low: T, high: T) -> T {
    let raised = if x < low { low } else { x };
    if raised > high { high } else { raised }
}

/// Calls `function` with [`LANES`] numbers at a time.
pub(super) fn lanes(numbers: &mut [f32], function: impl Fn([f32; LANES]) -> [f32; LANES]) {
    Arch::new().dispatch(Lanes { numbers, function });
}

/// Calls [`lanes`] with a function that becomes part of it: vector instructions end where another function begins.
macro_rules! wide {
    ($numbers:expr, $function:path $(, $argument:expr)*) => {
        functions::lanes($numbers, #[inline(always)] |x| $function(x $(, $argument)*))
    };
}
pub(super) use wide;

struct Lanes<'a, F> {
    numbers: &'a mut [f32],
    function: F,
}

impl<F: Fn([f32; LANES]) -> [f32; LANES]> NullaryFnOnce for Lanes<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (full, rest) = self.numbers.as_chunks_mut::<LANES>();
        for lanes in full {
            *lanes = (self.function)(*lanes);
        }
        if rest.is_empty() {
            return;
        }
        let mut last = [0.0; LANES];
        last.iter_mut().zip(&*rest).for_each(|(lane, x)| *lane = *x);
        rest.iter_mut().zip((self.function)(last)).for_each(|(x, lane)| *x = lane);
    }
}

/// The hyperbolic tangent of each: near zero by the polynomial of Cephes (S. L. Moshier, `tanhf`), else by
/// `(1 - exp(-2|x|)) / (1 + exp(-2|x|))`.
#[inline(always)]
pub(super) fn tangents(numbers: [f32; LANES]) -> [f32; LANES] {
    const NEAR: f32 = 0.625;
    const FACTORS: [f32; 5] =
        [-5.704_988_6e-3, 2.063_908_8e-2, -5.373_971_5e-2, 0.133_314_42, -0.333_332_8];
    pairs(numbers, exponentials(each(numbers, |x| -2.0 * x.abs())), |x, power| {
        let square = x * x;
        let sum = polynomial(FACTORS, square);
        let far = ((1.0 - power) / (1.0 + power)).copysign(x);
        if x.abs() < NEAR { sum * square * x + x } else { far }
    })
}

/// The Mish of each. With `w = exp(-|x|)` the tangent is a quotient without differences.
#[inline(always)]
pub(super) fn mishes(numbers: [f32; LANES]) -> [f32; LANES] {
    pairs(numbers, exponentials(each(numbers, |x| -x.abs())), |x, w| {
        let below = w * (w + 2.0);
        let tangent = if x < 0.0 {
            below / (below + 2.0)
        } else {
            (1.0 + 2.0 * w) / (1.0 + 2.0 * w * (1.0 + w))
        };
        x * tangent
    })
}

/// The Swish of each.
#[inline(always)]
pub(super) fn swishes(numbers: [f32; LANES], alpha: f32) -> [f32; LANES] {
    pairs(numbers, logistics(each(numbers, |x| alpha * x)), |x, share| x * share)
}

/// The Gelu with a tangent of each: `(1 + tanh(y)) / 2` is the logistic function of `2 y`. Far below zero `y` needs more
/// digits than the result has.
#[inline(always)]
pub(super) fn tanh_gelus(numbers: [f32; LANES]) -> [f32; LANES] {
    // Twice the square root of 2 / pi.
    const FACTOR: f64 = 1.595_769_121_605_730_7;
    let inner = each(numbers, |x| {
        let x = f64::from(x);
        (FACTOR * (x + 0.044_715 * x * x * x)) as f32
    });
    pairs(numbers, logistics(inner), |x, share| x * share)
}

/// `gamma alpha (exp(x / width) - 1)` below zero, else `gamma x`. Near zero the difference is a polynomial.
#[inline(always)]
pub(super) fn exponential_units(
    numbers: [f32; LANES],
    alpha: f32,
    width: f32,
    gamma: f32,
) -> [f32; LANES] {
    const NEAR: f32 = 0.4;
    // The first terms of the series, from the last one on.
    const SERIES: [f32; 7] = [
        2.480_158_7e-5,
        1.984_127e-4,
        1.388_888_9e-3,
        8.333_334e-3,
        4.166_666_8e-2,
        1.0 / 6.0,
        0.5,
    ];
    let scaled = each(numbers, |x| between(x, f32::NEG_INFINITY, 0.0) / width);
    let less = pairs(scaled, exponentials(scaled), |y, power| {
        if y.abs() < NEAR { polynomial(SERIES, y) * y * y + y } else { power - 1.0 }
    });
    pairs(numbers, less, |x, less| gamma * if x < 0.0 { alpha * less } else { x })
}

/// The error function of each: the rational function of Eigen (`generic_fast_erf_float`), right to a few units
/// of the last digit, between -4 and 4, beyond which it is 1.
#[inline(always)]
pub(super) fn errors(numbers: [f32; LANES]) -> [f32; LANES] {
    const OVER: [f32; 7] = [
        -2.726_142_4e-10,
        2.770_681_5e-8,
        -2.101_024e-6,
        -5.692_506_5e-5,
        -7.349_906_4e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const UNDER: [f32; 5] =
        [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329_3e-3, -1.426_474e-2];
    each(numbers, |number| {
        let x = between(number, -4.0, 4.0);
        let square = x * x;
        let (over, under) = (polynomial(OVER, square), polynomial(UNDER, square));
        let found = between(x * over / under, -1.0, 1.0);
        let found = if number >= 4.0 { 1.0 } else { found };
        if number <= -4.0 { -1.0 } else { found }
    })
}

/// The Gelu of each. Below zero it needs the digits of `1 + erf`, which is the complement: there by the formula of
/// Numerical Recipes (`erfcc`), right to 1.2e-7 of itself.
#[inline(always)]
pub(super) fn gelus(numbers: [f32; LANES]) -> [f32; LANES] {
    const SERIES: [f32; 10] = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_9,
        -1.135_204,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_7,
        -1.265_512_2,
    ];
    let scaled = each(numbers, |x| x * std::f32::consts::FRAC_1_SQRT_2);
    let shares = each(scaled, |x| 1.0 / (1.0 + 0.5 * x.abs()));
    let powers = pairs(shares, numbers, |share, x| polynomial(SERIES, share) - 0.5 * x * x);
    let below = pairs(shares, exponentials(powers), |share, power| share * power);
    let mut results = numbers;
    for ((x, below), error) in results.iter_mut().zip(below).zip(errors(scaled)) {
        let complement = if *x < 0.0 { below } else { 1.0 + error };
        *x *= 0.5 * complement;
    }
    results
}

/// `1 / (1 + exp(-x))`
pub(super) fn logistic(x: f64) -> f64 {
    let power = (-x.abs()).exp();
    (if x < 0.0 { power } else { 1.0 }) / (1.0 + power)
}

/// `ln(1 + exp(x))`
pub(super) fn softened(x: f64) -> f64 {
    between(x, 0.0, f64::INFINITY) + (-x.abs()).exp().ln_1p()
}

/// The error function: the series with positive terms (Abramowitz and Stegun, 7.1.6) up to 2, from there the
/// complement.
pub(super) fn error(x: f64) -> f64 {
    const NEAR: f64 = 2.0;
    if x.abs() >= NEAR {
        return (1.0 - complement(x.abs())).copysign(x);
    }
    const TERMS: u32 = 60;
    let twice = 2.0 * x * x;
    let (mut term, mut sum) = (1.0, 1.0);
    for number in 1..TERMS {
        term *= twice / f64::from(2 * number + 1);
        sum += term;
    }
    x * std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// `1 - erf(x)`: from 2 on the continued fraction (Abramowitz and Stegun, 7.1.14), from its end.
pub(super) fn complement(x: f64) -> f64 {
    const NEAR: f64 = 2.0;
    if x < NEAR {
        return if x > -NEAR { 1.0 - error(x) } else { 2.0 - complement(-x) };
    }
    const DEPTH: u32 = 120;
    let fraction = (1..DEPTH).rev().fold(x, |rest, number| x + 0.5 * f64::from(number) / rest);
    let root = std::f64::consts::FRAC_2_SQRT_PI / 2.0;
    root * (-x * x).exp() / fraction
}
