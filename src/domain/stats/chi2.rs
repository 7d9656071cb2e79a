//! The chi-squared distribution, central and non-central.
//!
//! Owns tail probabilities and quantiles. Tails keep their relative precision down to the smallest
//! positive number, because e-values are made of them.

use statrs::function::gamma::{checked_gamma_ur, ln_gamma};

/// How far below the largest term a sum begins, in square roots of its place.
const REACH: f64 = 12.0;
/// The most terms of a sum; enough for a non-centrality of a hundred million.
const TERMS_MAX: u32 = 1 << 20;
/// Tails beyond `exp` of minus this are taken as zero.
const EXPONENT_MAX: f64 = 700.0;

/// Whether a number is above zero; one that is none is not.
fn is_positive(number: f64) -> bool {
    number > 0.0
}

/// The probability that a chi-squared variable of `df` degrees of freedom is above `x`: the regularised
/// upper incomplete gamma function (DLMF 8.2.4).
pub fn survival(x: f64, df: f64) -> f64 {
    if !is_positive(x) || !is_positive(df) {
        return 1.0;
    }
    if x.is_infinite() {
        return 0.0;
    }
    checked_gamma_ur(df / 2.0, x / 2.0).unwrap_or(0.0).clamp(0.0, 1.0)
}

/// The value that a chi-squared variable exceeds with probability `tail`.
pub fn upper_quantile(tail: f64, df: f64) -> f64 {
    if !is_positive(tail) {
        return f64::INFINITY;
    }
    if tail >= 1.0 {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, df.max(1.0));
    while survival(high, df) > tail {
        low = high;
        high *= 2.0;
    }
    // Halving ends when the two are neighbours, after at most the bits of a double.
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return middle;
        }
        if survival(middle, df) > tail {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// The probability that a non-central chi-squared variable is above `x`: the Poisson mixture of central
/// tails, `sum_j w_j Q(df/2 + j, x/2)` with `w_j` the weights of a Poisson variable of mean
/// `noncentrality / 2` (Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions 2, 29.3).
///
/// All terms are positive and are summed upwards, so that nothing cancels.
pub fn noncentral_survival(x: f64, df: f64, noncentrality: f64) -> f64 {
    if !is_positive(noncentrality) {
        return survival(x, df);
    }
    if !is_positive(x) {
        return 1.0;
    }
    if x.is_infinite() {
        return 0.0;
    }
    if x > df + noncentrality && (x.sqrt() - noncentrality.sqrt()).powi(2) / 2.0 > EXPONENT_MAX + df
    {
        return 0.0;
    }
    let (mean, half, shape) = (noncentrality / 2.0, x / 2.0, df / 2.0);
    // Where the largest term is: in the tail, the product of a falling weight and a rising tail peaks
    // between the two means.
    let peak = if half > mean { (mean * half).sqrt() } else { mean };
    let first = (peak - REACH * (peak + 1.0).sqrt()).max(0.0).floor();
    let mut weight = (first * mean.ln() - mean - ln_gamma(first + 1.0)).exp();
    let mut tail = survival(x, df + 2.0 * first);
    let mut step = ((shape + first) * half.ln() - half - ln_gamma(shape + first + 1.0)).exp();
    let (mut sum, mut index) = (0.0, first);
    for _ in 0..TERMS_MAX {
        let term = weight * tail;
        sum += term;
        if index > peak && term <= sum * 1e-17 {
            break;
        }
        // Q(a + 1, y) = Q(a, y) + y^a exp(-y) / Gamma(a + 1).
        tail = (tail + step).min(1.0);
        index += 1.0;
        weight *= mean / index;
        step *= half / (shape + index);
    }
    sum.clamp(0.0, 1.0)
}
