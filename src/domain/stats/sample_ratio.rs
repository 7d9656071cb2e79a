//! Did each arm get the share of requests that it was meant to get? If not, routing or logging is broken, and
//! nothing that compares the arms can be believed.
//!
//! Owns the two tests: Pearson's chi-squared for a report, and an e-process that may be looked at all the time.
//! Never decides what to do about it.

use statrs::function::gamma::ln_gamma;

use super::chi2;

/// What the planned shares and the counts say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleRatio {
    /// All requests.
    pub n: u64,
    /// Pearson's statistic.
    pub chi2: f64,
    /// The chance of a larger statistic with the planned shares, for one look at a fixed sample.
    pub p_value: f64,
    /// The natural logarithm of the e-value. With the planned shares the chance that the e-value ever reaches
    /// `1/alpha` is at most `alpha`.
    pub ln_evidence: f64,
}

impl SampleRatio {
    /// Whether the counts contradict the plan, at this level and at any number of looks. The level that others
    /// use for this is 0.0001: a wrong alarm stops a release for nothing.
    pub fn is_mismatch(&self, alpha: f64) -> bool {
        self.ln_evidence >= -alpha.ln()
    }
}

/// How much the Dirichlet prior trusts the plan: as much as this many requests do.
const CONCENTRATION: f64 = 1000.0;

/// Compares counts with planned weights, which need not add up to one. `None` where there is nothing to compare:
/// fewer than two arms with a weight, no requests, or weights that are none. A request for an arm without weight
/// contradicts the plan for certain.
///
/// The e-value is the Bayes factor of a Dirichlet mixture about the plan against the plan (Lindon, Malek, "Anytime-valid
/// inference for multinomial count data", NeurIPS 2022).
#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
pub fn sample_ratio(counts: &[u64], weights: &[f64]) -> Option<SampleRatio> {
    if counts.len() != weights.len() || weights.iter().any(|w| !w.is_finite() || *w < 0.0) {
        return None;
    }
    let whole: f64 = weights.iter().sum();
    let n: u64 = counts.iter().sum();
    let arms = weights.iter().filter(|weight| **weight > 0.0).count();
    if arms < 2 || n == 0 {
        return None;
    }
    let all = n as f64;
    let mut statistic = 0.0;
    let mut ln_evidence = ln_gamma(CONCENTRATION) - ln_gamma(CONCENTRATION + all);
    for (&count, weight) in counts.iter().zip(weights) {
        let (count, share) = (count as f64, weight / whole);
        if share > 0.0 {
            let expected = all * share;
            statistic += (count - expected) * (count - expected) / expected;
            let prior = CONCENTRATION * share;
            ln_evidence += ln_gamma(prior + count) - ln_gamma(prior) - count * share.ln();
        } else if count > 0.0 {
            (statistic, ln_evidence) = (f64::INFINITY, f64::INFINITY);
        }
    }
    let p_value =
        if statistic.is_finite() { chi2::survival(statistic, (arms - 1) as f64) } else { 0.0 };
    Some(SampleRatio { n, chi2: statistic, p_value, ln_evidence })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The statistic and the p-value are those of `scipy.stats.chisquare([510, 490], [500, 500])` and of
    /// `chisquare([9000, 600, 400], [9100, 500, 400])`.
    #[test]
    fn the_statistic_is_pearsons() {
        let even = sample_ratio(&[510, 490], &[1.0, 1.0]).expect("two arms");
        assert!((even.chi2 - 0.4).abs() < 1e-12);
        assert!((even.p_value - 0.527_089_256_865_538_1).abs() < 1e-12);
        let three = sample_ratio(&[9000, 600, 400], &[91.0, 5.0, 4.0]).expect("three arms");
        assert!((three.chi2 - 21.098_901_098_901_1).abs() < 1e-9);
        assert!((three.p_value / 2.620_787_684_478_442e-5 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_mismatch_is_seen_and_a_match_is_not() {
        let fair = sample_ratio(&[99_040, 960], &[0.99, 0.01]).expect("two arms");
        assert!(!fair.is_mismatch(1e-4));
        let lost = sample_ratio(&[99_400, 600], &[0.99, 0.01]).expect("two arms");
        assert!(lost.is_mismatch(1e-4) && lost.p_value < 1e-4);
        let stray = sample_ratio(&[100, 100, 1], &[0.5, 0.5, 0.0]).expect("two arms");
        assert!(stray.is_mismatch(1e-9) && stray.p_value == 0.0);
    }

    #[test]
    fn without_two_arms_or_requests_there_is_no_answer() {
        assert_eq!(sample_ratio(&[5, 0], &[1.0, 0.0]), None);
        assert_eq!(sample_ratio(&[0, 0], &[0.5, 0.5]), None);
        assert_eq!(sample_ratio(&[1], &[0.5, 0.5]), None);
        assert_eq!(sample_ratio(&[1, 1], &[0.5, f64::NAN]), None);
    }

    /// Shows the promise of the e-process: of 2 000 fair splits that are looked at 1 000 times, hardly any is
    /// ever called a mismatch at 1 %.
    #[test]
    fn looking_often_does_not_make_a_mismatch() {
        let mut state = 7u64;
        let mut wrong = 0;
        for _ in 0..2000 {
            let mut counts = [0u64; 2];
            let alarmed = (0..1000).any(|_| {
                for _ in 0..5 {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    counts[usize::from(state >> 60 < 2)] += 1;
                }
                sample_ratio(&counts, &[14.0, 2.0]).expect("two arms").is_mismatch(0.01)
            });
            wrong += u32::from(alarmed);
        }
        assert!(wrong <= 20, "{wrong} of 2000 splits; 1 % are allowed");
    }
}
