//! How late labels come, and how to compare two versions although one of them has only its quick labels yet.
//!
//! Owns the counts of a cohort (the predictions of one window) by the age at which their labels came, the curve that
//! says which share of the labels has come by which age, and the comparison over cohorts that both versions have
//! and that are old enough. Never looks at a clock: an age is an argument.
//!
//! A version on trial is young, so that only its quick labels are there. Where quick labels are different from
//! slow ones (a fraud is reported late), comparing all there is would judge the candidate by another question.

use std::time::Duration;

use super::confidence::{self, Interval, Moments};
use super::two_by_two::{Prior, Tally, TwoByTwo};
use serde::{Deserialize, Serialize};

/// The ends of the age buckets, in seconds; what is older falls into one more.
const AGES: [u64; 23] = [
    1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400,
    172_800, 259_200, 432_000, 604_800, 1_209_600,
];

/// The labels below which a cohort says nothing about how late they come.
const LABELS_MIN: u64 = 20;

/// The labels of the predictions of one window, by the age at which they came.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cohort {
    predicted: u64,
    labelled: [u32; AGES.len() + 1],
}

impl Cohort {
    /// Counts a prediction.
    pub fn predict(&mut self) {
        self.predicted += 1;
    }

    /// Counts a label that came so long after its prediction.
    pub fn label(&mut self, after: Duration) {
        if let Some(count) = self.labelled.get_mut(bucket(after)) {
            *count = count.saturating_add(1);
        }
    }

    /// Takes a label back.
    pub fn unlabel(&mut self, after: Duration) {
        if let Some(count) = self.labelled.get_mut(bucket(after)) {
            *count = count.saturating_sub(1);
        }
    }

    /// Adds another cohort.
    pub fn merge(&mut self, other: &Self) {
        self.predicted += other.predicted;
        for (own, other) in self.labelled.iter_mut().zip(&other.labelled) {
            *own = own.saturating_add(*other);
        }
    }

    /// Predictions.
    pub fn predicted(&self) -> u64 {
        self.predicted
    }

    /// Labels.
    pub fn labelled(&self) -> u64 {
        self.labelled.iter().map(|count| u64::from(*count)).sum()
    }

    /// Labels for each prediction; `None` without predictions.
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    pub fn coverage(&self) -> Option<f64> {
        (self.predicted > 0).then(|| self.labelled() as f64 / self.predicted as f64)
    }

    /// The age by which this share of its labels came, at most `window`; `None` where it has too few.
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    fn own_age_of(&self, share: f64, window: Duration) -> Option<Duration> {
        let all = self.labelled();
        if all < LABELS_MIN {
            return None;
        }
        let mut came = 0;
        let reached = self.labelled.iter().position(|count| {
            came += u64::from(*count);
            came as f64 >= share * all as f64
        })?;
        Some(AGES.get(reached).map_or(window, |age| Duration::from_secs(*age)).min(window))
    }
}

fn bucket(after: Duration) -> usize {
    // An age on the edge belongs to the bucket that ends there.
    AGES.partition_point(|age| Duration::from_secs(*age) < after)
}

/// The share of predictions that have a label by an age.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Ages and shares, both rising; no further than the oldest cohort.
    pub points: Vec<(Duration, f64)>,
}

impl Curve {
    /// The curve of cohorts, each with the age of its youngest prediction.
    ///
    /// A cohort says something about an age only if all of it has passed that age. So each step is the share of
    /// those without a label that got one, among the cohorts that are old enough for it, and the curve is the
    /// product of what is left (Kaplan, Meier, JASA 1958): young cohorts count as far as they go.
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    pub fn of<'a>(cohorts: impl Iterator<Item = (Duration, &'a Cohort)> + Clone) -> Self {
        let mut points = Vec::new();
        let mut without = 1.0;
        for (index, end) in AGES.iter().enumerate() {
            let end = Duration::from_secs(*end);
            let (mut waiting, mut came) = (0u64, 0u64);
            for (_, cohort) in cohorts.clone().filter(|(age, _)| *age >= end) {
                let earlier = cohort.labelled.iter().take(index).map(|count| u64::from(*count));
                waiting += cohort.predicted.saturating_sub(earlier.sum());
                came += cohort.labelled.get(index).map_or(0, |count| u64::from(*count));
            }
            if waiting == 0 {
                break;
            }
            without *= 1.0 - (came as f64 / waiting as f64).min(1.0);
            points.push((end, 1.0 - without));
        }
        Self { points }
    }

    /// The age by which this share of all predictions has a label: no more than the rest can still get one.
    fn age_of_all(&self, share: f64) -> Option<Duration> {
        self.points.iter().find(|point| point.1 >= share).map(|point| point.0)
    }
}

/// The age by which `share` of the labels that ever come has come; `None` while that is not known. Cohorts come the
/// oldest first, each with the age of its youngest prediction; later than `window` no label counts.
///
/// A curve that is flat at its end is no sign that no more labels come: those that take a day are not there in the
/// first day, and until then the quick ones would pass for all there are. So an age is known where that share of all
/// *predictions* has its label, in all cohorts or in the older half of them (labels may have stopped since); or else
/// from cohorts that have lived through the whole window, so that nothing about them can change.
pub fn age_of(cohorts: &[(Duration, &Cohort)], share: f64, window: Duration) -> Option<Duration> {
    let all = || cohorts.iter().copied();
    let half = all().map(|(_, cohort)| cohort.predicted).sum::<u64>() / 2;
    let mut before = 0;
    let older = cohorts.iter().take_while(|(_, cohort)| {
        let is_older = before < half;
        before += cohort.predicted;
        is_older
    });
    let older = older.count();
    let certain = |part: &[(Duration, &Cohort)]| Curve::of(part.iter().copied()).age_of_all(share);
    certain(cohorts).or_else(|| certain(cohorts.get(..older)?)).or_else(|| {
        // Windows are kept by the day, so that in the first hour of one the oldest are younger by as much.
        let whole = window.saturating_sub((window / 4).min(Duration::from_secs(3600)));
        let mut over = Cohort::default();
        all().filter(|(age, _)| *age >= whole).for_each(|(_, cohort)| over.merge(cohort));
        over.own_age_of(share, window)
    })
}

/// One interval of the clock: errors among labelled predictions of the control and of the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matched {
    /// How long ago the youngest prediction of the interval was made.
    pub age: Duration,
    /// The control's.
    pub control: Tally,
    /// The candidate's.
    pub candidate: Tally,
}

/// How a candidate's errors compare with the control's.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Intervals that both have, and that are old enough.
    pub intervals: u64,
    /// Intervals that were left out because they are too young.
    pub immature: u64,
    /// Intervals that were left out because one of the two has no labelled prediction there.
    pub unmatched: u64,
    /// What of the control was compared.
    pub control: Tally,
    /// What of the candidate was compared.
    pub candidate: Tally,
    /// The candidate's share of errors less the control's, the latter weighted as if it had got its requests when
    /// the candidate got them.
    pub difference: f64,
    /// An asymptotic confidence sequence for the difference.
    pub interval: Option<Interval>,
    /// The natural logarithm of the evidence that the candidate's errors are more, interval by interval
    /// ([`TwoByTwo`]): it needs no equal rates from one interval to the next.
    pub ln_evidence: f64,
}

/// Compares over intervals, the oldest first, that are at least `mature` old. `None` when there is none to compare.
pub fn compare(
    intervals: &[Matched],
    mature: Duration,
    prior: Prior,
    alpha: f64,
) -> Option<Comparison> {
    let mut test = TwoByTwo::new(prior);
    let (mut immature, mut unmatched) = (0, 0);
    let mut used = Vec::new();
    for interval in intervals {
        if interval.age < mature {
            immature += 1;
        } else if interval.control.total == 0 || interval.candidate.total == 0 {
            unmatched += 1;
        } else {
            test.observe(interval.control, interval.candidate);
            used.push(*interval);
        }
    }
    let standard = standardised(&used)?;
    let candidate = test.candidate();
    let share = candidate.share()?;
    let own = Moments { n: candidate.total, mean: share, variance: share * (1.0 - share) };
    Some(Comparison {
        intervals: used.len() as u64,
        immature,
        unmatched,
        control: test.control(),
        candidate,
        difference: share - standard.mean,
        interval: confidence::difference_of_means(own, standard, alpha),
        ln_evidence: test.ln_evidence(),
    })
}

/// The control's share of errors with the candidate's weights (direct standardisation), as the moments of a sample
/// that would know it as well: its size is such that its standard error is the same.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are below 2^53, and no sample is smaller than nothing"
)]
fn standardised(intervals: &[Matched]) -> Option<Moments> {
    let all = intervals.iter().map(|interval| interval.candidate.total).sum::<u64>() as f64;
    let (mut mean, mut squares) = (0.0, 0.0);
    for interval in intervals {
        let weight = interval.candidate.total as f64 / all;
        mean += weight * interval.control.share()?;
        squares += weight * weight / interval.control.total as f64;
    }
    let n = if squares > 0.0 { (1.0 / squares) as u64 } else { return None };
    Some(Moments { n: n.max(1), mean, variance: mean * (1.0 - mean) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn young_cohorts_count_as_far_as_they_go() {
        let mut old = Cohort::default();
        let mut young = Cohort::default();
        for n in 0..100 {
            old.predict();
            young.predict();
            // Half at once, a quarter within the hour, the rest never.
            if n % 2 == 0 {
                old.label(seconds(1));
                young.label(seconds(1));
            } else if n % 4 == 1 {
                old.label(seconds(3000));
            }
        }
        let both = [(HOUR * 24, &old), (seconds(90), &young)];
        let curve = Curve::of(both.into_iter());
        let share = |age: u64| {
            curve.points.iter().find(|point| point.0 == seconds(age)).map(|point| point.1)
        };
        assert_eq!(share(1), Some(0.5));
        assert_eq!(share(1800), Some(0.5));
        assert_eq!(share(3600), Some(0.75), "the young one cannot know");
        assert_eq!(share(86_400), Some(0.75));
        assert_eq!(share(172_800), None, "nobody is that old");
        assert_eq!(curve.age_of_all(0.7), Some(HOUR));
        assert_eq!(age_of(&both, 0.9, DAY * 7), None, "a quarter may still come");
        assert_eq!(age_of(&both, 0.7, DAY * 7), Some(HOUR), "whatever else comes");
        assert_eq!(age_of(&both, 0.9, DAY), Some(HOUR), "nothing counts after a day");
        assert_eq!((old.coverage(), young.coverage()), (Some(0.75), Some(0.5)));
    }

    #[test]
    fn without_labels_there_is_no_age() {
        let mut cohort = Cohort::default();
        assert_eq!(cohort.coverage(), None);
        cohort.predict();
        let curve = Curve::of([(HOUR, &cohort)].into_iter());
        assert_eq!(curve.points.last().map(|p| p.1), Some(0.0));
        assert_eq!(age_of(&[(HOUR, &cohort)], 0.9, HOUR), None);
    }

    /// Hours up to `now` hours, the oldest first, of `n` predictions each; of these the share `quick` gets its label an
    /// hour later, the share `slow` a day later, and the rest none.
    fn mixture(now: u64, n: u64, quick: f64, slow: f64) -> Vec<(Duration, Cohort)> {
        let of = |share: f64| (share * n as f64).round() as u64;
        let cohort = |age: u64| {
            let mut cohort = Cohort::default();
            (0..n).for_each(|_| cohort.predict());
            let mut come = |count: u64, hours: u64| {
                if age >= hours {
                    (0..count).for_each(|_| cohort.label(HOUR * hours as u32));
                }
            };
            come(of(quick), 1);
            come(of(slow), 24);
            (HOUR * age as u32, cohort)
        };
        (0..now).rev().map(cohort).collect()
    }

    fn mature(cohorts: &[(Duration, Cohort)], window: Duration) -> Option<Duration> {
        let cohorts: Vec<_> = cohorts.iter().map(|(age, cohort)| (*age, cohort)).collect();
        age_of(&cohorts, 0.9, window)
    }

    #[test]
    fn quick_labels_do_not_pass_for_all_before_the_slow_ones_can_be_there() {
        for now in 1..=24 {
            assert_eq!(mature(&mixture(now, 100, 0.1, 0.9), DAY * 7), None, "{now} hours");
        }
        for now in 26..60 {
            assert_eq!(mature(&mixture(now, 100, 0.1, 0.9), DAY * 7), Some(DAY), "{now} hours");
        }
    }

    #[test]
    fn where_many_never_get_a_label_an_age_is_known_after_the_window() {
        for now in [2, 24, 100, 160] {
            assert_eq!(mature(&mixture(now, 100, 0.05, 0.45), DAY * 7), None, "{now} hours");
        }
        assert_eq!(mature(&mixture(169, 100, 0.05, 0.45), DAY * 7), Some(DAY));
    }

    #[test]
    fn labels_that_no_longer_come_do_not_make_an_age_unknown() {
        let mut cohorts = mixture(6, 100, 1.0, 0.0);
        for (_, cohort) in cohorts.iter_mut().skip(4) {
            let predicted = cohort.predicted();
            *cohort = Cohort::default();
            (0..predicted).for_each(|_| cohort.predict());
        }
        cohorts.iter_mut().for_each(|(age, _)| *age += HOUR * 4);
        assert_eq!(mature(&cohorts, DAY * 7), Some(HOUR));
    }

    fn interval(age: u64, control: (u64, u64), candidate: (u64, u64)) -> Matched {
        Matched {
            age: seconds(age),
            control: Tally::new(control.0, control.1),
            candidate: Tally::new(candidate.0, candidate.1),
        }
    }

    /// The candidate got most of its requests in the bad hour: taken together it looks twice as bad, hour by hour
    /// it is as good.
    #[test]
    fn a_bad_hour_is_not_held_against_the_candidate() {
        let hours =
            [interval(7200, (100, 10_000), (1, 100)), interval(3600, (200, 1000), (200, 1000))];
        let found = compare(&hours, HOUR, Prior::of(0.02, 10.0), 0.05).expect("a comparison");
        let naive = found.candidate.share().expect("some") - found.control.share().expect("some");
        assert!(naive > 0.15, "{naive}");
        assert!(found.difference.abs() < 1e-12, "{}", found.difference);
        assert!(found.interval.expect("an interval").contains(0.0));
        assert!(found.ln_evidence < 1.0, "{}", found.ln_evidence);
    }

    #[test]
    fn what_is_young_or_one_sided_is_left_out_and_counted() {
        let hours = [
            interval(9000, (0, 10), (0, 0)),
            interval(8000, (1, 10), (1, 10)),
            interval(60, (0, 10), (10, 10)),
        ];
        let found = compare(&hours, HOUR, Prior::default(), 0.05).expect("a comparison");
        assert_eq!((found.intervals, found.immature, found.unmatched), (1, 1, 1));
        assert_eq!(found.candidate, Tally::new(1, 10));
        assert_eq!(compare(&hours[2..], HOUR, Prior::default(), 0.05), None);
    }

    #[test]
    fn a_worse_candidate_is_found() {
        let hours: Vec<_> =
            (0..24).rev().map(|h| interval(h * 3600, (10, 1000), (8, 100))).collect();
        let found = compare(&hours, HOUR, Prior::of(0.01, 10.0), 0.05).expect("a comparison");
        assert!(found.ln_evidence > 1000f64.ln(), "{}", found.ln_evidence);
        assert!(found.interval.expect("an interval").lower > 0.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_curve_rises_from_nothing_to_at_most_all(
            cohorts in prop::collection::vec(
                (0u64..2_000_000, prop::collection::vec(prop::option::of(0u64..2_000_000), 0..30)), 0..8),
        ) {
            let mut merged = Cohort::default();
            let mut built = Vec::new();
            for (age, labels) in cohorts {
                let mut cohort = Cohort::default();
                for label in labels {
                    cohort.predict();
                    // No label can have come yet that is older than the cohort.
                    if let Some(after) = label.filter(|after| *after <= age) {
                        cohort.label(seconds(after));
                    }
                }
                merged.merge(&cohort);
                built.push((seconds(age), cohort));
            }
            let all: u64 = built.iter().map(|(_, cohort)| cohort.labelled()).sum();
            prop_assert_eq!(merged.labelled(), all);
            let curve = Curve::of(built.iter().map(|(age, cohort)| (*age, cohort)));
            let mut last = 0.0;
            for (_, share) in &curve.points {
                prop_assert!((last..=1.0).contains(share));
                last = *share;
            }
            if let Some(age) = curve.age_of_all(0.9) {
                prop_assert!(curve.points.iter().any(|point| point.0 == age));
            }
        }

        /// Whatever the mixture, an age that is known before the slow labels can be there is not undone by them.
        #[test]
        fn no_age_is_known_too_early(now in 1u64..200, quick in 0u32..=100, never in 0u32..=100) {
            let slow = 100u32.saturating_sub(quick + never);
            let quick = quick.min(100 - never.min(100));
            let cohorts = mixture(now, 100, f64::from(quick) / 100.0, f64::from(slow) / 100.0);
            let all = f64::from(quick + slow);
            if let Some(age) = mature(&cohorts, DAY * 7) {
                let came = if age >= DAY { all } else { f64::from(quick) };
                prop_assert!(age >= HOUR && came >= 0.9 * all, "{age:?}: {came} of {all}");
            }
        }

        #[test]
        fn a_label_that_is_taken_back_leaves_no_trace(after in prop::collection::vec(0u64..2_000_000, 1..20)) {
            let mut cohort = Cohort::default();
            after.iter().for_each(|after| cohort.label(seconds(*after)));
            after.iter().for_each(|after| cohort.unlabel(seconds(*after)));
            prop_assert_eq!(cohort, Cohort::default());
        }
    }
}
