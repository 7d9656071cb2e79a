//! Bands for counts: how many requests, how large a share of them, and how long without any.
//!
//! Owns the decision whether a count lies outside of a band by more than chance explains. A band is a
//! factor round what is usual: 4 means that four times as much is still within. What is usual comes from a
//! baseline or from [`History`]. Never decides on a few samples.
//!
//! Chance is bounded by Chernoff's bound in Hoeffding's form (W. Hoeffding: "Probability Inequalities for
//! Sums of Bounded Random Variables", JASA 1963, theorem 1): for a binomial count `k` of `n` with
//! `k/n > p`, `P(X >= k) <= exp(-n KL(k/n, p))`. It holds for every `n` and needs no special function; it is
//! larger than the true chance, so an alarm is late rather than wrong. Two counts of events are compared
//! through their sum: given `n + m` events, a Poisson count of `n` is binomial (J. Przyborowski, H.
//! Wilenski: "Homogeneity of results in testing samples from Poisson series", Biometrika 1940).

mod history;

pub use self::history::{Basis, Busy, History, Look, Usual};

/// The chance of a wrong decision that one look may have. Looks come once a minute: one wrong decision
/// in about two years for each thing that is watched.
pub const CHANCE: f64 = 1e-6;

/// Where a count lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// Too few samples to decide.
    Unknown,
    /// Not outside, as far as can be told.
    Within,
    /// Above the band; the bound on the chance of that.
    Above(f64),
    /// Below the band.
    Below(f64),
}

/// A bound on the chance that a binomial count of `n` trials with probability `p` is `k` or more.
pub fn at_least_bound(k: u64, n: u64, p: f64) -> f64 {
    let share = share(k, n);
    if n == 0 || share <= p { 1.0 } else { (-float(n) * divergence(share, p)).exp() }
}

/// A bound on the chance that a binomial count of `n` trials with probability `p` is `k` or fewer.
pub fn at_most_bound(k: u64, n: u64, p: f64) -> f64 {
    at_least_bound(n.saturating_sub(k), n, 1.0 - p)
}

/// Whether `k` of `n` are a larger share than `limit`: by the bound, at the level of `chance`.
pub fn exceeds(k: u64, n: u64, limit: f64, chance: f64) -> Option<f64> {
    Some(at_least_bound(k, n, limit)).filter(|p| *p <= chance)
}

/// Places `now` against what is usual for a span of the same length, with a band of `factor` round it.
/// `now` and both sides of `usual` are counts of events.
pub fn place_count(now: u64, usual: (u64, u64), factor: f64, samples: u64) -> Place {
    let (low, high) = usual;
    // Of all events of two spans, the share of the first one if it had `factor` times as many.
    let ceiling = factor / (factor + 1.0);
    // Half an event more than were seen: none seen does not mean that none can come.
    let above = at_least_bound(now, now.saturating_add(high).saturating_add(1), ceiling);
    if now >= samples && above <= CHANCE {
        return Place::Above(above);
    }
    let below = at_most_bound(now, now.saturating_add(low), 1.0 - ceiling);
    if low >= samples && below <= CHANCE {
        return Place::Below(below);
    }
    if now.max(low) >= samples { Place::Within } else { Place::Unknown }
}

/// Places a share of `k` of `n` against the usual share, with a band of `factor` round its odds: with 4, a
/// share of 1 % may be up to 3.9 %, and one of 50 % up to 80 %. The usual share rests on `usual_n`
/// samples and is taken half a sample off zero and one (Jeffreys). `chance` is that of one side.
pub fn place_share(
    k: u64,
    n: u64,
    usual: f64,
    usual_n: u64,
    factor: f64,
    samples: u64,
    chance: f64,
) -> Place {
    if n < samples {
        return Place::Unknown;
    }
    let (low, high) = share_band(usual, usual_n, factor);
    if let Some(p) = exceeds(k, n, high, chance) {
        return Place::Above(p);
    }
    match at_most_bound(k, n, low) {
        p if p <= chance => Place::Below(p),
        _ => Place::Within,
    }
}

/// The band of a share: see [`place_share`].
pub fn share_band(usual: f64, usual_n: u64, factor: f64) -> (f64, f64) {
    let m = float(usual_n);
    let usual = (usual.clamp(0.0, 1.0) * m + 0.5) / (m + 1.0);
    let odds = usual / (1.0 - usual);
    let share = |odds: f64| odds / (1.0 + odds);
    (share(odds / factor), share(odds * factor))
}

/// By how much a share that comes in must have fallen to be told, or by half of it where it is small: next to all or
/// nothing, a factor of the odds is next to no difference.
const FALL: f64 = 0.05;

/// Places a share of `k` of `n` below the usual one: with `factor` times lower odds, and five points less, or half where it is small.
pub fn place_fall(
    k: u64,
    n: u64,
    (usual, usual_n): (f64, u64),
    factor: f64,
    samples: u64,
) -> Place {
    if n < samples {
        return Place::Unknown;
    }
    match at_most_bound(k, n, fall_limit(usual, usual_n, factor)) {
        p if p <= CHANCE => Place::Below(p),
        _ => Place::Within,
    }
}

/// The limit of [`place_fall`].
pub fn fall_limit(usual: f64, usual_n: u64, factor: f64) -> f64 {
    let (low, _) = share_band(usual, usual_n, factor);
    low.min((usual - FALL).max(usual / 2.0))
}

/// How many times the odds of the baseline a share of values without their usual shape may be, and by how much it may
/// be larger. A point null would be rejected by any difference once there is enough traffic; what is asked is whether a
/// field has changed its shape.
const SHAPE_FACTOR: f64 = 2.0;
const SHAPE_MARGIN: f64 = 0.05;

/// How large the share of values may be that are missing, of another type or unknown, where it usually is so large, by
/// as many values.
pub fn shape_limit(usual: f64, usual_n: u64) -> f64 {
    let (_, band) = share_band(usual, usual_n, SHAPE_FACTOR);
    band.max(usual + SHAPE_MARGIN).min(1.0)
}

/// The Kullback-Leibler divergence of two coins, in nats.
fn divergence(a: f64, b: f64) -> f64 {
    let term = |x: f64, y: f64| match (x > 0.0, y > 0.0) {
        (false, _) => 0.0,
        (true, false) => f64::INFINITY,
        (true, true) => x * (x / y).ln(),
    };
    term(a, b) + term(1.0 - a, 1.0 - b)
}

fn share(k: u64, n: u64) -> f64 {
    if n == 0 { 0.0 } else { float(k.min(n)) / float(n) }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests stay far below 2^53")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `P(X >= k)` of a binomial, summed.
    fn tail(k: u64, n: u64, p: f64) -> f64 {
        let ln_choose = |k: u64| (0..k).map(|i| (float(n - i) / float(i + 1)).ln()).sum::<f64>();
        let mass =
            |k: u64| (ln_choose(k) + float(k) * p.ln() + float(n - k) * (1.0 - p).ln()).exp();
        (k..=n).map(mass).sum()
    }

    proptest! {
        #[test]
        fn the_bounds_are_never_below_the_true_chance(n in 1..200_u64, k in 0..200_u64, p in 0.01..0.99_f64) {
            let k = k.min(n);
            prop_assert!(at_least_bound(k, n, p) >= tail(k, n, p) * (1.0 - 1e-9));
            let at_most = 1.0 - tail(k + 1, n, p);
            prop_assert!(at_most_bound(k, n, p) >= at_most - 1e-9);
        }

        #[test]
        fn more_is_never_less_suspicious(now in 0..2000_u64, more in 0..500_u64, usual in 0..500_u64) {
            let place = |now| place_count(now, (usual, usual), 4.0, 20);
            if matches!(place(now), Place::Above(_)) {
                prop_assert!(matches!(place(now + more), Place::Above(_)));
            }
            if matches!(place(now + more), Place::Below(_)) {
                prop_assert!(matches!(place(now), Place::Below(_)));
            }
        }

        #[test]
        fn counts_within_the_factor_are_within(usual in 0..100_000_u64, part in 0.25..4.0_f64) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test")]
            let now = (float(usual) * part) as u64;
            let place = place_count(now, (usual, usual), 4.0, 20);
            prop_assert!(matches!(place, Place::Within | Place::Unknown), "{place:?}");
        }

        #[test]
        fn a_share_in_its_band_is_within(usual in 0.0..1.0_f64, n in 100..10_000_u64, at in 0.0..1.0_f64) {
            let (low, high) = share_band(usual, 10_000, 4.0);
            prop_assert!(low <= usual.max(1e-5) && usual.min(1.0 - 1e-5) <= high);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test")]
            let k = ((low + (high - low) * at) * float(n)).round() as u64;
            let place = place_share(k, n, usual, 10_000, 4.0, 100, CHANCE);
            prop_assert_eq!(place, Place::Within);
        }
    }

    #[test]
    fn ten_times_as_many_are_seen_and_twice_as_many_are_not() {
        assert!(matches!(place_count(500, (50, 50), 4.0, 100), Place::Above(p) if p > 0.0));
        assert_eq!(place_count(100, (50, 50), 4.0, 100), Place::Within);
        assert!(matches!(place_count(15, (300, 300), 4.0, 100), Place::Below(_)));
        assert_eq!(place_count(0, (3, 3), 4.0, 100), Place::Unknown);
        assert!(
            matches!(place_count(200, (0, 0), 4.0, 100), Place::Above(_)),
            "as if from nowhere"
        );
    }

    #[test]
    fn a_fall_from_all_is_told_from_five_points_on_and_one_of_a_few_by_half() {
        // 144 of 150 where all of 870 were: with a factor alone, the limit would be .998.
        assert_eq!(place_fall(144, 150, (1.0, 870), 2.0, 100), Place::Within);
        assert!(fall_limit(1.0, 870, 2.0) <= 0.95);
        assert!(matches!(place_fall(800, 1000, (1.0, 870), 2.0, 100), Place::Below(_)));
        // The odds are what counts in the middle, and half of the share at the end.
        assert!((fall_limit(0.5, 100_000, 2.0) - 1.0 / 3.0).abs() < 1e-4);
        assert!((fall_limit(0.02, 100_000, 2.0) - 0.01).abs() < 1e-9);
        assert!(matches!(place_fall(0, 5000, (0.02, 100_000), 2.0, 100), Place::Below(_)));
        assert_eq!(place_fall(0, 99, (1.0, 870), 2.0, 100), Place::Unknown);
    }

    #[test]
    fn a_class_that_never_comes_and_one_that_floods_are_seen() {
        assert!(matches!(place_share(0, 2000, 0.1, 5000, 4.0, 100, CHANCE), Place::Below(_)));
        assert_eq!(
            place_share(0, 100, 0.1, 5000, 4.0, 100, CHANCE),
            Place::Within,
            "could be chance"
        );
        assert!(matches!(place_share(300, 1000, 0.01, 5000, 4.0, 100, CHANCE), Place::Above(_)));
        assert_eq!(place_share(3, 50, 0.5, 5000, 4.0, 100, CHANCE), Place::Unknown);
        assert!(matches!(place_share(1000, 1000, 0.5, 5000, 4.0, 100, CHANCE), Place::Above(_)));
    }
}
