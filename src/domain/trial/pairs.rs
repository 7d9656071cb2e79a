//! Two answers to one request: the champion's, which the client got, and that of a version on trial.
//!
//! Owns when two answers agree, and the evidence of many pairs: agreement with a lower bound, and a bound on how much
//! slower the tail has become, which both hold however often they are asked for. One row of each pair is
//! compared, drawn by the request's own entropy: rows of one request have too much in common to count as
//! many. Never reads a body.

use std::time::Duration;

use statrs::function::beta::beta_reg;

use super::shift::{Group, Histograms};
use crate::domain::ids::Entropy;
use crate::domain::lifecycle::evidence::ShadowEvidence;
use crate::domain::lifecycle::time::Steady;
use crate::domain::spec::Tolerance;
use crate::domain::stats::confidence::rate;
use crate::domain::stats::layout::Value;

/// What a pair has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairOutcome {
    /// Both say the same.
    Agrees,
    /// They do not, or the version on trial refused.
    Differs,
    /// The version on trial gave no answer.
    Failed,
    /// The version on trial gave an output that is none, where the champion's is one.
    Invalid,
}

/// What the comparison of two answers gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Likeness {
    /// What it has shown.
    pub outcome: PairOutcome,
    /// What the champion's answer says, and that of the version on trial, where that can be told.
    pub groups: Option<(Group, Group)>,
}

impl From<PairOutcome> for Likeness {
    fn from(outcome: PairOutcome) -> Self {
        Self { outcome, groups: None }
    }
}

/// One pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// What it has shown.
    pub likeness: Likeness,
    /// How long each took, the champion first; `None` where that cannot be compared.
    pub times: Option<(Duration, Duration)>,
    /// The request was read from the log.
    pub replayed: bool,
}

/// What became of pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// All of them.
    pub compared: u64,
    /// Both answers say the same.
    pub agreed: u64,
    /// The version gave an output that is none.
    pub invalid: u64,
    /// The version gave no answer.
    pub failed: u64,
}

impl Tally {
    /// What came after `earlier`, of the same pairs.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            compared: self.compared.saturating_sub(earlier.compared),
            agreed: self.agreed.saturating_sub(earlier.agreed),
            invalid: self.invalid.saturating_sub(earlier.invalid),
            failed: self.failed.saturating_sub(earlier.failed),
        }
    }
}

/// Copies of requests that did not become a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copies {
    /// Requests that were chosen to be copied.
    pub chosen: u64,
    /// How many of them were dropped.
    pub dropped: u64,
}

/// Pairs whose times are not counted: caches fill and connections open.
const UNTIMED: u64 = 20;
/// Times below this count as this: nobody notices, and a ratio of microseconds is noise.
const NOTICEABLE: Duration = Duration::from_millis(1);
/// The share of requests that is faster than the tail that is compared.
const TAIL: f64 = 0.99;
/// The chance that a bound of the tail is wrong, over all looks at it together.
const TAIL_ALPHA: f64 = 0.01;
/// Timed pairs at the first look at the tail: with fewer not even the slowest is known to lie beyond it.
const FIRST_LOOK: u64 = 528;

/// When the tail is looked at. Its bounds hold for one look each, at a number of pairs that is fixed beforehand: with each
/// doubling comes another look, which may err half as often as the one before. In between the last one stands, so that
/// the plan may ask as often as it pleases.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Looks {
    next: u64,
    alpha: f64,
}

impl Default for Looks {
    fn default() -> Self {
        Self { next: FIRST_LOOK, alpha: TAIL_ALPHA / 2.0 }
    }
}

impl Looks {
    /// The chance with which a look at `n` pairs may err; `None` where none is due.
    fn due(&mut self, n: u64) -> Option<f64> {
        let alpha = (n >= self.next).then_some(self.alpha)?;
        *self = Self { next: self.next.saturating_mul(2), alpha: alpha / 2.0 };
        Some(alpha)
    }
}

/// All pairs of one trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs {
    began: Steady,
    tally: Tally,
    replayed: u64,
    timed: u64,
    ours: Times,
    theirs: Times,
    looks: Looks,
    /// The most that the tail can have grown, by the last look.
    slower: Option<f64>,
    histograms: Histograms,
}

impl Pairs {
    /// A trial that begins.
    pub fn new(began: Steady) -> Self {
        Self {
            began,
            tally: Tally::default(),
            replayed: 0,
            timed: 0,
            ours: Times::default(),
            theirs: Times::default(),
            looks: Looks::default(),
            slower: None,
            histograms: Histograms::default(),
        }
    }

    /// Counts a pair.
    pub fn add(&mut self, pair: &Pair) {
        let Likeness { outcome, groups } = &pair.likeness;
        self.tally.compared += 1;
        match outcome {
            PairOutcome::Agrees => self.tally.agreed += 1,
            PairOutcome::Differs => {}
            PairOutcome::Failed => self.tally.failed += 1,
            PairOutcome::Invalid => self.tally.invalid += 1,
        }
        if let Some((ours, theirs)) = groups {
            self.histograms.add(ours, theirs, *outcome == PairOutcome::Agrees);
        }
        self.replayed += u64::from(pair.replayed);
        if let Some((ours, theirs)) = pair.times {
            self.timed += 1;
            if self.timed > UNTIMED {
                self.ours.add(ours);
                self.theirs.add(theirs);
                if let Some(alpha) = self.looks.due(self.theirs.n) {
                    self.slower = self.slower(alpha);
                }
            }
        }
    }

    /// What the pairs say.
    pub fn evidence(&self, copies: Copies) -> ShadowEvidence {
        let Tally { compared, agreed, invalid, .. } = self.tally;
        let bound = rate(agreed, compared, super::BOUND_ALPHA).filter(|_| compared > 0);
        ShadowEvidence {
            began: self.began,
            pairs: compared,
            replayed: self.replayed,
            invalid,
            agreement_low: bound.map(|bound| bound.lower),
            agreement_high: bound.map(|bound| bound.upper),
            slower_high: self.slower,
            drops: copies.dropped as f64 / copies.chosen.max(1) as f64,
            shift: self.histograms.shift(),
        }
    }

    /// The most that the tail can have grown: its upper bound over the lower bound of the champion's.
    fn slower(&self, alpha: f64) -> Option<f64> {
        let theirs = self.theirs.at_most(rank_above(self.theirs.n, TAIL, alpha)?);
        let ours = self.ours.at_least(rank_below(self.ours.n, TAIL, alpha)?);
        Some(theirs.as_secs_f64() / ours.as_secs_f64())
    }

    /// What became of them.
    pub const fn tally(&self) -> Tally {
        self.tally
    }
}

/// Buckets to a doubling of time.
const PER_OCTAVE: u32 = 16;
/// The last bucket begins beyond an hour.
const BUCKETS: usize = 23 * PER_OCTAVE as usize;

/// Counts of times, each known to one part in sixteen of a doubling.
#[derive(Debug, Clone, PartialEq)]
struct Times {
    buckets: Vec<u32>,
    n: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], n: 0 }
    }
}

impl Times {
    fn add(&mut self, time: Duration) {
        let octaves = time.max(NOTICEABLE).as_secs_f64() / NOTICEABLE.as_secs_f64();
        let bucket = (octaves.log2() * f64::from(PER_OCTAVE)).floor() as usize;
        if let Some(count) = self.buckets.get_mut(bucket.min(BUCKETS - 1)) {
            *count = count.saturating_add(1);
            self.n += 1;
        }
    }

    /// The bucket of the value of this rank; the smallest value has the rank 1.
    fn bucket_of(&self, rank: u64) -> usize {
        let mut seen = 0;
        let reaches = |count: &u32| {
            seen += u64::from(*count);
            seen >= rank
        };
        self.buckets.iter().position(reaches).unwrap_or(BUCKETS - 1)
    }

    /// The value of this rank is at most this.
    fn at_most(&self, rank: u64) -> Duration {
        let bucket = self.bucket_of(rank);
        // Times that nobody notices are all alike.
        if bucket == 0 { NOTICEABLE } else { edge(bucket + 1) }
    }

    /// The value of this rank is at least this.
    fn at_least(&self, rank: u64) -> Duration {
        edge(self.bucket_of(rank))
    }
}

/// Where a bucket begins.
fn edge(bucket: usize) -> Duration {
    NOTICEABLE.mul_f64((bucket as f64 / f64::from(PER_OCTAVE)).exp2())
}

/// The smallest rank whose value is above the `share` quantile but for a chance of `alpha`; `None` where even
/// the largest is not.
///
/// The number of values below the quantile has a binomial law, whose distribution function is the
/// regularised incomplete beta function.
fn rank_above(n: u64, share: f64, alpha: f64) -> Option<u64> {
    let from = (n as f64 * share).floor() as u64;
    // The value of rank k lies above the quantile unless k or more values lie below it.
    (from.max(1)..=n).find(|&k| at_least(k, n, share) <= alpha)
}

/// The largest rank whose value is below the `share` quantile but for a chance of `alpha`.
fn rank_below(n: u64, share: f64, alpha: f64) -> Option<u64> {
    let to = (n as f64 * share).ceil() as u64;
    (1..=to.min(n)).rev().find(|&k| at_least(k, n, share) >= 1.0 - alpha)
}

/// The chance of `k` or more successes of `n` with the chance `p` each; `k` is 1 at least.
fn at_least(k: u64, n: u64, p: f64) -> f64 {
    beta_reg(k as f64, (n - k + 1) as f64, p)
}

/// The output of one tensor in one row, of both answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Both<'a> {
    /// The champion's.
    pub ours: Value<'a>,
    /// That of the version on trial.
    pub theirs: Value<'a>,
}

/// Whether two rows agree. Labels, which are what is no fraction, decide where there are any; scores
/// must be within the tolerance where there are none.
pub fn agrees<'a>(row: impl Iterator<Item = Both<'a>>, tolerance: Tolerance) -> bool {
    let (mut labels, mut labels_agree, mut scores_agree) = (false, true, true);
    for both in row {
        let scores = match (both.ours, both.theirs) {
            // In JSON a score that happens to be whole may come without its point.
            (Value::Number(ours), Value::Integer(theirs)) => Some((ours, theirs as f64)),
            (Value::Integer(ours), Value::Number(theirs)) => Some((ours as f64, theirs)),
            (Value::Number(ours), Value::Number(theirs)) => Some((ours, theirs)),
            _ => None,
        };
        match scores {
            Some((ours, theirs)) => scores_agree &= tolerance.allows(ours, theirs),
            None => {
                labels = true;
                labels_agree &= both.ours == both.theirs;
            }
        }
    }
    if labels { labels_agree } else { scores_agree }
}

/// The row of a pair that is compared.
pub fn row_of(entropy: Entropy, rows: usize) -> usize {
    let mixed = entropy.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    usize::try_from(mixed).unwrap_or_default() % rows.max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::stats::tests::streams::SplitMix;

    fn pair(outcome: PairOutcome, ours: u64, theirs: u64) -> Pair {
        let ms = Duration::from_millis;
        let times = Some((ms(ours), ms(theirs)));
        Pair { likeness: outcome.into(), times, replayed: false }
    }

    fn of(pairs: impl Iterator<Item = Pair>) -> ShadowEvidence {
        let mut all = Pairs::new(Steady(3));
        pairs.for_each(|pair| all.add(&pair));
        all.evidence(Copies::default())
    }

    /// The ranks are those of sums of the binomial law itself: `n=500`, `p=0.99`, one in a hundred on each side.
    #[test]
    fn the_ranks_are_those_of_the_binomial_law() {
        assert_eq!(rank_above(500, 0.99, 0.01), Some(500));
        assert_eq!(rank_above(400, 0.99, 0.01), None);
        assert_eq!(rank_below(500, 0.99, 0.01), Some(489));
        assert_eq!(rank_above(10_000, 0.99, 0.01), Some(9923));
        assert_eq!(rank_below(10_000, 0.99, 0.01), Some(9876));
        let (mut looks, mut ranks) = (Looks::default(), Vec::new());
        for n in [527, 528, 1056] {
            let alpha = looks.due(n);
            ranks.push(alpha.map(|alpha| (rank_above(n, TAIL, alpha), rank_below(n, TAIL, alpha))));
        }
        let expected = [(528, 516), (1054, 1035)].map(|(a, b)| Some((Some(a), Some(b))));
        assert_eq!(ranks, [None, expected[0], expected[1]]);
        assert_eq!(rank_above(8448, TAIL, TAIL_ALPHA / 32.0), Some(8394));
        assert_eq!(rank_below(8448, TAIL, TAIL_ALPHA / 32.0), Some(8331));
    }

    #[test]
    fn equal_versions_pass_and_those_twice_as_slow_do_not() {
        let times = |factor: u64| {
            (0..600).map(move |n| pair(PairOutcome::Agrees, 10 + n % 5, factor * (10 + n % 5)))
        };
        let equal = of(times(1));
        assert!(equal.slower_high.is_some_and(|ratio| ratio < 1.2), "{equal:?}");
        assert!(equal.agreement_low.is_some_and(|low| low > 0.98), "{equal:?}");
        let slow = of(times(2));
        assert!(slow.slower_high.is_some_and(|ratio| ratio > 1.8), "{slow:?}");
        assert_eq!((equal.began, equal.pairs), (Steady(3), 600));
    }

    #[test]
    fn what_nobody_notices_is_no_difference() {
        let times = |us: u64| Pair {
            times: Some((Duration::from_micros(10), Duration::from_micros(us))),
            ..pair(PairOutcome::Agrees, 0, 0)
        };
        let evidence = of((0..600).map(|n| times(10 + n)));
        assert_eq!(evidence.slower_high, Some(1.0));
    }

    #[test]
    fn too_few_pairs_claim_nothing_about_the_tail() {
        let evidence = of((0..300).map(|_| pair(PairOutcome::Agrees, 5, 5)));
        assert_eq!(evidence.slower_high, None);
        let none = of(std::iter::empty());
        assert_eq!((none.agreement_low, none.agreement_high), (None, None));
    }

    #[test]
    fn the_tail_is_looked_at_with_each_doubling_and_the_last_look_stands() {
        let mut all = Pairs::new(Steady(0));
        let mut told = Vec::new();
        let (mut before, mut left) = (None, TAIL_ALPHA);
        for n in 1..=UNTIMED + 5000 {
            // Quick at first, and slower and slower.
            all.add(&pair(PairOutcome::Agrees, 10, 10 + n / 100));
            let bound = all.evidence(Copies::default()).slower_high;
            if bound != before {
                told.push(n - UNTIMED);
                left -= all.looks.alpha * 2.0;
                before = bound;
            }
        }
        assert_eq!(told, [528, 1056, 2112, 4224]);
        assert!(left > 0.0, "all looks together err no more than one may");
    }

    /// A version whose tail is just beyond what is allowed, beside a champion that is always as quick: a bound for one look,
    /// asked for after every pair, would let it pass far more often.
    #[test]
    fn a_version_with_a_slow_tail_passes_hardly_ever_however_often_it_is_asked() {
        let passes = |seed: u64| {
            let mut random = SplitMix::new(seed);
            let mut all = Pairs::new(Steady(0));
            (0..UNTIMED + 2200).any(|_| {
                let slow = random.uniform() < 0.0101;
                all.add(&pair(PairOutcome::Agrees, 10, if slow { 100 } else { 10 }));
                all.slower.is_some_and(|ratio| ratio <= 1.5)
            })
        };
        let passed = (0..600).filter(|seed| passes(*seed)).count();
        assert!(passed <= 12, "{passed} of 600");
    }

    #[test]
    fn labels_decide_and_scores_where_there_are_none() {
        let tolerance = Tolerance { absolute: 0.1, relative: 0.0 };
        let both = |ours, theirs| Both { ours, theirs };
        let number = |ours, theirs| both(Value::Number(ours), Value::Number(theirs));
        let label = |ours, theirs| both(Value::Integer(ours), Value::Integer(theirs));
        assert!(agrees([label(1, 1), number(0.9, 0.6)].into_iter(), tolerance));
        assert!(!agrees([label(1, 2), number(0.9, 0.9)].into_iter(), tolerance));
        assert!(agrees([number(0.9, 0.85)].into_iter(), tolerance));
        assert!(!agrees([number(0.9, 0.6)].into_iter(), tolerance));
        assert!(!agrees([number(0.9, f64::NAN)].into_iter(), tolerance));
        assert!(!agrees([both(Value::Text("a"), Value::Missing)].into_iter(), tolerance));
    }

    proptest! {
        #[test]
        fn the_bounds_hold_what_they_bound(
            values in prop::collection::vec(1u64..3_600_000, 500..700),
        ) {
            let mut times = Times::default();
            values.iter().for_each(|ms| times.add(Duration::from_millis(*ms)));
            let mut sorted = values;
            sorted.sort_unstable();
            for rank in [1, sorted.len() / 2, sorted.len()] {
                let value = Duration::from_millis(sorted[rank - 1]);
                let slack = Duration::from_micros(1);
                prop_assert!(times.at_least(rank as u64) <= value + slack);
                prop_assert!(times.at_most(rank as u64) + slack >= value);
            }
        }

        #[test]
        fn the_compared_row_is_one_of_them(entropy: u64, rows in 0usize..100) {
            prop_assert!(row_of(Entropy(entropy), rows) < rows.max(1));
        }
    }
}
