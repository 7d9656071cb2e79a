//! Special functions that the standard library lacks.
//!
//! Owns the logarithms of the gamma and the beta function. Never panics: outside the domain the answer is NaN.

/// The logarithm of the gamma function, for `x > 0`; relative error below 1e-14.
///
/// Stirling's series (Abramowitz and Stegun 6.1.41) above 12, reached by the recurrence.
pub fn ln_gamma(x: f64) -> f64 {
    const HALF_LN_TWO_PI: f64 = 0.918_938_533_204_672_8;
    if x.is_nan() || x <= 0.0 {
        return f64::NAN;
    }
    let mut shifted = x;
    let mut product = 1.0;
    while shifted < 12.0 {
        product *= shifted;
        shifted += 1.0;
    }
    let inverse = 1.0 / shifted;
    let square = inverse * inverse;
    // B(2n) / (2n (2n - 1)) of the Bernoulli numbers.
    let terms: [f64; 6] =
        [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0];
    let series = terms.iter().rev().fold(0.0, |sum: f64, term| sum.mul_add(square, *term));
    (shifted - 0.5).mul_add(shifted.ln(), HALF_LN_TWO_PI - shifted) + series * inverse
        - product.ln()
}

/// The logarithm of the beta function, for `a, b > 0`.
pub fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// The upper tail of the chi-squared law with `freedom` degrees of freedom: the chance to exceed `x`.
///
/// The regularised incomplete gamma function, by its series below the mean and by the continued
/// fraction above (DLMF 8.7.1 and 8.9.2, the latter evaluated by Lentz's method).
pub fn chi2_upper(x: f64, freedom: u32) -> f64 {
    if x.is_nan() || freedom == 0 {
        return f64::NAN;
    }
    if x <= 0.0 {
        return 1.0;
    }
    let (a, z) = (f64::from(freedom) / 2.0, x / 2.0);
    let front = (a * z.ln() - z - ln_gamma(a)).exp();
    if z < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= z / n;
            sum += term;
        }
        return (1.0 - front * sum).clamp(0.0, 1.0);
    }
    let tiny = 1e-300;
    let mut b = z + 1.0 - a;
    let (mut c, mut d) = (1.0 / tiny, 1.0 / b);
    let mut fraction = d;
    for n in 1..10_000 {
        let n = f64::from(n);
        let numerator = -n * (n - a);
        b += 2.0;
        d = 1.0 / nonzero(numerator.mul_add(d, b), tiny);
        c = nonzero(b + numerator / c, tiny);
        fraction *= c * d;
        if (c * d - 1.0).abs() < 1e-16 {
            break;
        }
    }
    (front * fraction).clamp(0.0, 1.0)
}

fn nonzero(x: f64, tiny: f64) -> f64 {
    if x.abs() < tiny { tiny } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64, relative: f64) {
        assert!((a - b).abs() <= relative * b.abs().max(1.0), "{a} is not {b}");
    }

    #[test]
    fn ln_gamma_is_that_of_the_tables() {
        near(ln_gamma(1.0), 0.0, 1e-14);
        near(ln_gamma(0.5), 0.572_364_942_924_700_1, 1e-14);
        near(ln_gamma(10.0), 12.801_827_480_081_469, 1e-14);
        near(ln_gamma(100.0), 359.134_205_369_575_4, 1e-14);
        near(ln_gamma(1e6), 12_815_504.569_147_612, 1e-14);
        near(ln_gamma(1e-3), 6.907_178_885_383_853, 1e-14);
        assert!(ln_gamma(0.0).is_nan());
        near(ln_beta(2.0, 3.0), (1.0f64 / 12.0).ln(), 1e-14);
    }

    /// The quantiles are scipy's, in `small.json`.
    #[test]
    fn chi2_upper_inverts_the_golden_quantiles() {
        let text =
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/stats/small.json"));
        let golden: serde_json::Value = serde_json::from_str(text).expect("JSON");
        for (name, x) in golden["chi2_ppf"].as_object().expect("an object") {
            let (freedom, q) = name.split_once(",q=").expect("a name");
            let freedom = freedom.trim_start_matches("df=").parse().expect("a number");
            let q: f64 = q.parse().expect("a number");
            let tail = chi2_upper(x.as_f64().expect("a number"), freedom);
            assert!((tail / (1.0 - q) - 1.0).abs() < 1e-9, "{name}: {tail}");
        }
    }
}
