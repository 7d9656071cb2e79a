//! The same question where the control's rate is a known bound: is the rate above it, and since when?
//!
//! Owns the limit of the test for a control without end. For a rate of at most `limit`, the likelihood ratio of each
//! larger rate is a supermartingale, and so is a mean of them, whose value is therefore an e-value at any time. The
//! sum of those that begin with each block is an e-detector (Shin, Ramdas, Rinaldo, arXiv 2203.03532): without a change
//! it takes at least `A` looks on average until it reaches `A`.

use super::Tally;

/// How far above the limit the rates lie that evidence is sought for, as parts of the way to 1.
const RATES: [f64; 7] = [1.0 / 32.0, 1.0 / 16.0, 1.0 / 8.0, 1.0 / 4.0, 1.0 / 2.0, 0.8, 0.999];

/// The e-value that the rate of failures is above `limit`.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts are below 2^53, and so is the number of rates"
)]
pub fn evidence_above(limit: f64, seen: Tally) -> f64 {
    let limit = limit.max(1e-9);
    if limit >= 1.0 {
        return 1.0;
    }
    let (failures, rest) = (seen.failures as f64, (seen.total - seen.failures) as f64);
    let ratio = |part: f64| {
        let rate = limit + (1.0 - limit) * part;
        (failures * (rate / limit).ln() + rest * ((1.0 - rate) / (1.0 - limit)).ln()).exp()
    };
    RATES.into_iter().map(ratio).sum::<f64>() / RATES.len() as f64
}

/// The sum of the evidence since each of `blocks`, newest first: the e-detector, as far as the blocks reach.
pub fn score_above(limit: f64, blocks: impl IntoIterator<Item = Tally>) -> f64 {
    let mut since = Tally::default();
    let begin = |block| {
        since.merge(block);
        evidence_above(limit, since)
    };
    blocks.into_iter().map(begin).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The mean of the evidence over all outcomes is at most one, for every rate up to the limit.
        #[test]
        fn it_is_an_e_value(n in 1u64..60, limit in 0.001f64..0.99, part in 0.0f64..=1.0) {
            let p: f64 = limit * part;
            let mut chance = (1.0 - p).powi(i32::try_from(n).unwrap());
            let mut mean = 0.0;
            for k in 0..=n {
                mean += chance * evidence_above(limit, Tally::new(k, n));
                chance *= (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
            }
            prop_assert!(mean <= 1.0 + 1e-9, "{mean}");
        }
    }

    /// 400 streams at the limit itself: the mean number of looks to a score of 100 is at least 100.
    #[test]
    fn without_a_change_it_takes_as_long_as_promised() {
        let mut seed = 7u64;
        let mut random = || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut looks = 0u32;
        for _ in 0..400 {
            let mut window = std::collections::VecDeque::new();
            for _ in 0..2000 {
                looks += 1;
                let failures = (0..20).filter(|_| random() < 0.05).count() as u64;
                window.push_front(Tally::new(failures, 20));
                window.truncate(10);
                if score_above(0.05, window.iter().copied()) >= 100.0 {
                    break;
                }
            }
        }
        assert!(looks / 400 >= 100, "{}", looks / 400);
    }

    #[test]
    fn a_field_that_is_gone_is_seen_at_once_and_a_healthy_past_hides_nothing() {
        let gone = Tally::new(50, 50);
        assert!(score_above(0.08, [gone]) > 1e12);
        let healthy = std::iter::repeat_n(Tally::new(10, 1000), 60);
        assert!(score_above(0.08, healthy.clone()) < 1.0);
        assert!(score_above(0.08, [gone].into_iter().chain(healthy)) > 1e12);
        assert_eq!(evidence_above(1.0, gone), 1.0);
    }
}
