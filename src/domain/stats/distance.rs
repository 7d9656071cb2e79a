//! How far two distributions over the same bins are apart.
//!
//! Owns the definitions. Each is exact for the bins that it is given, and a lower bound of the same
//! divergence between what was binned. A name alone says little (libraries differ in bins, smoothing
//! and the base of the logarithm), so whoever publishes a distance also publishes its definition, the
//! bins and both counts.

use super::chi2;

/// The definition of [`psi`], published with its value.
pub const PSI_DEFINITION: &str = "sum (p - q) ln(p / q), natural logarithm, shares (count + 0.5) / (n + 0.5 bins), in an empty bin at most the other side's";
/// The definition of [`jensen_shannon`].
pub const JENSEN_SHANNON_DEFINITION: &str =
    "sqrt((KL(p, (p + q) / 2) + KL(q, (p + q) / 2)) / 2), base 2";
/// The definition of [`hellinger`].
pub const HELLINGER_DEFINITION: &str = "sqrt(sum (sqrt(p) - sqrt(q))^2 / 2)";
/// The definition of [`l_infinity`].
pub const L_INFINITY_DEFINITION: &str = "max |p - q|";
/// The definition of [`chi_squared`].
pub const CHI_SQUARED_DEFINITION: &str = "Pearson's statistic of the 2 x bins table, without correction, bins empty on both sides left out";

/// Counts as shares; all zero where there is nothing.
pub fn shares(counts: &[f64]) -> Vec<f64> {
    let total: f64 = counts.iter().sum();
    counts.iter().map(|count| if total > 0.0 { count / total } else { 0.0 }).collect()
}

/// Counts as shares with half a count added to each: Jeffreys' prior. An empty bin then weighs as much
/// as the sample size allows, and no constant has to be chosen.
pub fn jeffreys_shares(counts: &[f64]) -> Vec<f64> {
    let total: f64 = counts.iter().sum::<f64>() + 0.5 * counts.len() as f64;
    counts.iter().map(|count| (count + 0.5) / total).collect()
}

/// The population stability index of two samples, on shares with Jeffreys' prior: Kullback and Leibler's
/// symmetric divergence. Without drift `n m / (n + m)` times it is about chi-squared with one degree
/// of freedom less than bins (Yurdakul 2018, Statistical properties of population stability index).
///
/// The half count keeps logarithms finite. It is no evidence: where a side has nothing in a bin, its share there is
/// taken as no larger than the other side's. Otherwise a bin that is empty on both sides, or rare in a large
/// reference, would be a difference in every small sample. Zero where a side has nothing at all.
pub fn psi(current: &[f64], reference: &[f64]) -> f64 {
    if current.iter().sum::<f64>() <= 0.0 || reference.iter().sum::<f64>() <= 0.0 {
        return 0.0;
    }
    let mut p = jeffreys_shares(current);
    let mut q = jeffreys_shares(reference);
    for ((p, q), (current, reference)) in
        p.iter_mut().zip(&mut q).zip(current.iter().zip(reference))
    {
        if *current == 0.0 {
            *p = p.min(*q);
        }
        if *reference == 0.0 {
            *q = q.min(*p);
        }
    }
    psi_of_shares(&p, &q)
}

/// The population stability index of shares; infinite where one side is empty and the other is not.
pub fn psi_of_shares(p: &[f64], q: &[f64]) -> f64 {
    let term = |(&p, &q): (&f64, &f64)| if p == q { 0.0 } else { (p - q) * (p / q).ln() };
    p.iter().zip(q).map(term).sum()
}

/// Kullback and Leibler's divergence of shares, natural logarithm.
pub fn kullback_leibler(p: &[f64], q: &[f64]) -> f64 {
    let term = |(&p, &q): (&f64, &f64)| if p == 0.0 { 0.0 } else { p * (p / q).ln() };
    p.iter().zip(q).map(term).sum()
}

/// The distance of Jensen and Shannon, base 2: from 0 to 1.
pub fn jensen_shannon(p: &[f64], q: &[f64]) -> f64 {
    let middle: Vec<f64> = p.iter().zip(q).map(|(p, q)| (p + q) / 2.0).collect();
    let nats = (kullback_leibler(p, &middle) + kullback_leibler(q, &middle)) / 2.0;
    (nats / std::f64::consts::LN_2).max(0.0).sqrt()
}

/// Hellinger's distance: from 0 to 1.
pub fn hellinger(p: &[f64], q: &[f64]) -> f64 {
    let squares: f64 = p.iter().zip(q).map(|(p, q)| (p.sqrt() - q.sqrt()).powi(2)).sum();
    (squares / 2.0).sqrt()
}

/// The total variation distance: half the sum of all differences.
pub fn total_variation(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| (p - q).abs()).sum::<f64>() / 2.0
}

/// The largest difference of a share.
pub fn l_infinity(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| (p - q).abs()).fold(0.0, f64::max)
}

/// Pearson's test that two samples come from one distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChiSquared {
    /// The statistic.
    pub statistic: f64,
    /// Its degrees of freedom: one less than the bins that are not empty on both sides.
    pub df: f64,
    /// The probability of so large a statistic without drift.
    pub p: f64,
}

/// Pearson's test on the counts of two samples. Says nothing (`p` is 1) where one of them is empty.
pub fn chi_squared(current: &[f64], reference: &[f64]) -> ChiSquared {
    let (n, m): (f64, f64) = (current.iter().sum(), reference.iter().sum());
    let (mut statistic, mut bins) = (0.0, 0.0);
    if n > 0.0 && m > 0.0 {
        for (&p, &q) in current.iter().zip(reference).filter(|(p, q)| **p + **q > 0.0) {
            // The sum of (observed - expected)^2 / expected over both rows of the column.
            statistic += (p * (m / n).sqrt() - q * (n / m).sqrt()).powi(2) / (p + q);
            bins += 1.0;
        }
    }
    let df = f64::max(bins - 1.0, 0.0);
    let p = if df > 0.0 { chi2::survival(statistic, df) } else { 1.0 };
    ChiSquared { statistic, df, p }
}
