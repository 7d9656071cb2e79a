//! Intervals that hold at every look.
//!
//! Owns the bounds on a mean and on a rate from sums alone. A confidence *sequence* contains the true value at all
//! times at once with probability `1 - alpha`, so that it may be read after every request. An interval for one look would be
//! narrower and mean nothing when it is looked at until it pleases; tests hold these against Wilson's.

use statrs::function::gamma::ln_gamma;

/// A closed interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
}

impl Interval {
    /// Whether `x` lies within.
    pub fn contains(self, x: f64) -> bool {
        self.lower <= x && x <= self.upper
    }

    /// The difference `self - other` of two quantities of which each lies in its interval.
    pub fn minus(self, other: Self) -> Self {
        Self { lower: self.lower - other.upper, upper: self.upper - other.lower }
    }

    /// The part of the interval that lies within `[lower, upper]`.
    pub fn clamped(self, lower: f64, upper: f64) -> Self {
        Self { lower: self.lower.clamp(lower, upper), upper: self.upper.clamp(lower, upper) }
    }
}

/// Sums from which a mean is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moments {
    /// Values.
    pub n: u64,
    /// Their mean.
    pub mean: f64,
    /// Their variance, the sum of squares divided by `n`.
    pub variance: f64,
}

/// The sample size at which [`mean`] is tightest.
pub const TIGHTEST_AT: f64 = 100.0;

/// An asymptotic confidence sequence for a mean (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform
/// central limit theory and asymptotic confidence sequences", Annals of Statistics 2024, theorem 2.2), tightest near
/// [`TIGHTEST_AT`] values. It is a limit theorem: below some tens of values it promises nothing. For a rate take
/// [`rate`]. `None` without values, and for an `alpha` outside of (0, 1).
#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
pub fn mean(moments: Moments, alpha: f64) -> Option<Interval> {
    let margin = margin(moments.n as f64, moments.variance, alpha, rho(alpha, TIGHTEST_AT))?;
    Some(Interval { lower: moments.mean - margin, upper: moments.mean + margin })
}

/// The parameter of the mixture that makes the sequence tightest at `n` values (the same, equation 10).
pub fn rho(alpha: f64, n: f64) -> f64 {
    let l = -2.0 * alpha.ln();
    ((l + l.ln() + 1.0) / n).sqrt()
}

fn margin(n: f64, variance: f64, alpha: f64, rho: f64) -> Option<f64> {
    if n < 1.0 || !(alpha > 0.0 && alpha < 1.0) || !rho.is_finite() {
        return None;
    }
    let scale = (n * variance.max(0.0)).mul_add(rho * rho, 1.0);
    Some((scale / (n * n * rho * rho) * (scale / (alpha * alpha)).ln()).sqrt())
}

/// A confidence sequence for the difference `a - b` of two means: each gets half of `alpha`.
pub fn difference_of_means(a: Moments, b: Moments, alpha: f64) -> Option<Interval> {
    Some(mean(a, alpha / 2.0)?.minus(mean(b, alpha / 2.0)?))
}

/// A confidence sequence for a rate: `successes` of `n`. Exact at any sample size.
///
/// The values of `p` against which the uniform mixture of likelihood ratios, a martingale under `p`, stays below
/// `1/alpha` (Robbins, "Statistical methods related to the law of the iterated logarithm", 1970). `None` for an
/// `alpha` outside of (0, 1); without outcomes it is all of `[0, 1]`.
#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
pub fn rate(successes: u64, n: u64, alpha: f64) -> Option<Interval> {
    if !(alpha > 0.0 && alpha < 1.0) || successes > n {
        return None;
    }
    let (k, rest) = (successes as f64, (n - successes) as f64);
    if n == 0 {
        return Some(Interval { lower: 0.0, upper: 1.0 });
    }
    // The logarithm of the beta function.
    let mixture = ln_gamma(k + 1.0) + ln_gamma(rest + 1.0) - ln_gamma(k + rest + 2.0);
    let limit = -alpha.ln();
    let term = |count: f64, p: f64| if count == 0.0 { 0.0 } else { count * p.ln() };
    let is_out = |p: f64| mixture - term(k, p) - term(rest, 1.0 - p) >= limit;
    let peak = k / n as f64;
    // The likelihood falls on both sides of its peak, so that each end is where it crosses the limit.
    let edge = |outer: f64| {
        if !is_out(outer) {
            return outer;
        }
        let (mut out, mut within) = (outer, peak);
        for _ in 0..100 {
            let middle = f64::midpoint(out, within);
            if is_out(middle) { out = middle } else { within = middle }
        }
        out
    };
    Some(Interval { lower: edge(0.0), upper: edge(1.0) })
}

/// A confidence sequence for the difference of two rates `a - b`, each as (successes, outcomes).
pub fn difference_of_rates(a: (u64, u64), b: (u64, u64), alpha: f64) -> Option<Interval> {
    Some(rate(a.0, a.1, alpha / 2.0)?.minus(rate(b.0, b.1, alpha / 2.0)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Wilson's interval for a rate, for one look at a fixed sample (Wilson, JASA 1927). `z` is the normal quantile:
    /// 1.96 for 95 %. `None` without outcomes.
    fn wilson(successes: u64, n: u64, z: f64) -> Option<Interval> {
        if n == 0 || successes > n || !z.is_finite() {
            return None;
        }
        let (k, n) = (successes as f64, n as f64);
        let p = k / n;
        let square = z * z / n;
        let centre = (p + square / 2.0) / (1.0 + square);
        let half = (p * (1.0 - p) / n + square / (4.0 * n)).sqrt() * z / (1.0 + square);
        let lower = if k == 0.0 { 0.0 } else { (centre - half).max(0.0) };
        let upper = if p == 1.0 { 1.0 } else { (centre + half).min(1.0) };
        Some(Interval { lower, upper })
    }

    fn golden(name: &str) -> Vec<(String, Value)> {
        let text =
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/stats/small.json"));
        let whole: Value = serde_json::from_str(text).expect("JSON");
        let part = whole[name].as_object().expect("an object");
        part.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The number behind `key=` in a name of the golden file.
    fn argument(name: &str, key: &str) -> f64 {
        let part = name.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
        part.expect("the argument").parse().expect("a number")
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-12 * b.abs().max(1.0), "{a} is not {b}");
    }

    #[test]
    fn the_sequence_for_means_is_that_of_the_paper() {
        for (name, value) in golden("asymp_cs") {
            let (n, alpha) = (argument(&name, "n"), argument(&name, "a"));
            near(rho(alpha, TIGHTEST_AT), value["rho"].as_f64().expect("a number"));
            let moments = Moments { n: n as u64, mean: 0.5, variance: 0.25 };
            let interval = mean(moments, alpha).expect("an interval");
            near(interval.lower, value["lo"].as_f64().expect("a number"));
            near(interval.upper, value["hi"].as_f64().expect("a number"));
        }
    }

    #[test]
    fn wilson_is_scipys() {
        for (name, value) in golden("wilson95") {
            let (k, n) = name.split_once('/').expect("k/n");
            let z = 1.959_963_984_540_054;
            let found = wilson(k.parse().expect("k"), n.parse().expect("n"), z).expect("one");
            near(found.lower, value[0].as_f64().expect("a number"));
            near(found.upper, value[1].as_f64().expect("a number"));
        }
    }

    #[test]
    fn without_data_nothing_is_claimed() {
        assert_eq!(mean(Moments::default(), 0.05), None);
        assert_eq!(wilson(0, 0, 1.96), None);
        assert_eq!(rate(0, 0, 0.05), Some(Interval { lower: 0.0, upper: 1.0 }));
        for alpha in [0.0, 1.0, -1.0, f64::NAN] {
            assert_eq!(rate(1, 2, alpha), None);
            assert_eq!(mean(Moments { n: 5, mean: 0.0, variance: 1.0 }, alpha), None);
        }
    }

    /// Shows the promise of the sequence: of 400 streams that are looked at after each of 2 000 outcomes, few
    /// ever leave it.
    #[test]
    fn the_sequence_for_rates_holds_at_every_look() {
        let mut state = 1u64;
        let mut left = 0;
        for stream in 0..400u32 {
            let p = f64::from(stream % 9 + 1) / 10.0;
            let mut k = 0;
            let escaped = (1..=2000u64).any(|n| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                k += u64::from(((state >> 11) as f64) < p * 2f64.powi(53));
                // Every look would take long; the martingale is smooth enough for every fifth.
                n % 5 == 0 && !rate(k, n, 0.05).expect("an interval").contains(p)
            });
            left += u32::from(escaped);
        }
        assert!(left <= 20, "{left} of 400 left the sequence; 5 % are allowed");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_sequence_for_rates_contains_what_was_seen(n in 1u64..1_000_000, share in 0f64..=1.0) {
            let k = ((n as f64) * share) as u64;
            let interval = rate(k, n, 0.05).expect("an interval");
            prop_assert!(interval.contains(k as f64 / n as f64));
            prop_assert!(interval.lower >= 0.0 && interval.upper <= 1.0);
            // It is wider than an interval for one look.
            let once = wilson(k, n, 1.96).expect("an interval");
            prop_assert!(interval.lower <= once.lower + 1e-9 && interval.upper >= once.upper - 1e-9);
            // And mirrored with the outcomes.
            let mirrored = rate(n - k, n, 0.05).expect("an interval");
            prop_assert!((1.0 - mirrored.lower - interval.upper).abs() < 1e-9);
        }
    }
}
