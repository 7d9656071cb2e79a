//! Candidate and control, both on requests of clients.
//!
//! Owns the tests of a rollout: one e-process for each rate, bounds on its excess, and the check of the
//! sample ratio. A rollout has one [`Comparison`]; its steps only begin their responses anew.
//!
//! The counts since the last look are one block of each test: how many there are of either arm does not depend
//! on how they came out. Where one arm has none yet, they wait for the other, so that quiet models are
//! judged as sharply as busy ones.

use crate::domain::lifecycle::evidence::{CanaryEvidence, Metric, RateEvidence};
use crate::domain::lifecycle::time::Steady;
use crate::domain::stats::confidence::difference_of_rates;
use crate::domain::stats::sample_ratio::sample_ratio;
use crate::domain::stats::two_by_two::{Prior, Tally, TwoByTwo};

/// What is believed and looked at from the beginning of a rollout on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// The champion's rate of errors before the rollout, as far as known. It costs power where it is
    /// wrong, never validity.
    pub error_rate: f64,
    /// Whether responses have a time by which they count as slow.
    pub watches_time: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self { error_rate: 0.01, watches_time: false }
    }
}

/// The rate that is believed of invalid outputs: they should not occur at all.
const INVALID_RATE: f64 = 0.001;
/// The rate that is believed of slow responses.
const SLOW_RATE: f64 = 0.01;

/// Everything that was counted of one arm since the rollout began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArmCounts {
    /// Independent draws that gave the arm requests: callers, each once, and requests without a caller.
    pub draws: u64,
    /// Responses that say something about the version.
    pub responses: u64,
    /// How many of them are errors.
    pub errors: u64,
    /// How many of them missed their time.
    pub slow: u64,
    /// Outputs that were looked into.
    pub outputs: u64,
    /// How many of them were no valid output.
    pub invalid: u64,
}

impl ArmCounts {
    /// What one rate is made of.
    fn tally(&self, metric: Metric) -> Tally {
        match metric {
            Metric::Errors => Tally::new(self.errors, self.responses),
            Metric::Slow => Tally::new(self.slow, self.responses),
            Metric::Invalid => Tally::new(self.invalid, self.outputs),
            Metric::Labels => Tally::default(),
        }
    }
}

/// What was counted of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arms {
    /// The version on trial.
    pub candidate: ArmCounts,
    /// The slice of the champion that it is compared with.
    pub control: ArmCounts,
}

/// The test of one rate.
#[derive(Debug, Clone, PartialEq)]
struct RateTest {
    metric: Metric,
    test: TwoByTwo,
    /// What the test has taken of the candidate and of the control.
    taken: (Tally, Tally),
}

impl RateTest {
    fn new(metric: Metric, rate: f64) -> Self {
        let none = Tally::default();
        Self { metric, test: TwoByTwo::new(Prior::of(rate, 1.0)), taken: (none, none) }
    }

    fn look(&mut self, arms: &Arms) {
        let since = |now: Tally, taken: Tally| {
            let total = now.total.saturating_sub(taken.total);
            Tally::new(now.failures.saturating_sub(taken.failures), total)
        };
        let (of, against) = (arms.candidate.tally(self.metric), arms.control.tally(self.metric));
        let block = (since(of, self.taken.0), since(against, self.taken.1));
        if block.0.total > 0 && block.1.total > 0 {
            self.test.observe(block.1, block.0);
            self.taken = (of, against);
        }
    }

    fn evidence(&self, arms: &Arms) -> RateEvidence {
        let (of, against) = (arms.candidate.tally(self.metric), arms.control.tally(self.metric));
        let pair = |tally: Tally| (tally.failures, tally.total);
        let known = of.total > 0 && against.total > 0;
        let bound = || difference_of_rates(pair(of), pair(against), super::BOUND_ALPHA);
        RateEvidence {
            metric: self.metric,
            n: of.total,
            bad: of.failures,
            control_n: against.total,
            control_bad: against.failures,
            ln_e: self.test.ln_evidence(),
            excess_high: known.then(bound).flatten().map(|excess| excess.upper),
        }
    }
}

/// A rollout as its counts tell it.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    tests: Vec<RateTest>,
    arms: Arms,
    began: Steady,
    /// Responses of the candidate before the current step.
    before: u64,
}

impl Comparison {
    /// A rollout whose first step begins.
    pub fn new(terms: &Terms, began: Steady) -> Self {
        let mut tests = vec![
            RateTest::new(Metric::Errors, terms.error_rate),
            RateTest::new(Metric::Invalid, INVALID_RATE),
        ];
        if terms.watches_time {
            tests.push(RateTest::new(Metric::Slow, SLOW_RATE));
        }
        Self { tests, arms: Arms::default(), began, before: 0 }
    }

    /// Takes in all that was counted until now.
    pub fn look(&mut self, arms: Arms) {
        self.tests.iter_mut().for_each(|test| test.look(&arms));
        self.arms = arms;
    }

    /// Another step begins: its responses count from here on, the tests go on.
    pub fn begin_step(&mut self, began: Steady) {
        self.began = began;
        self.before = self.arms.candidate.responses;
    }

    /// What the counts say. `failed_from_start` are the responses of the candidate before its first good
    /// one.
    pub fn evidence(&self, failed_from_start: u64, crashed: Option<String>) -> CanaryEvidence {
        let (of, against) = (&self.arms.candidate, &self.arms.control);
        let ratio = sample_ratio(&[of.draws, against.draws], &[1.0, 1.0]);
        CanaryEvidence {
            began: self.began,
            responses: of.responses.saturating_sub(self.before),
            failed_from_start,
            crashed,
            rates: self.tests.iter().map(|test| test.evidence(&self.arms)).collect(),
            // One over an e-value is a p-value that holds at any number of looks.
            sample_ratio: ratio.map(|ratio| (-ratio.ln_evidence).exp().min(1.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arm(responses: u64, errors: u64) -> ArmCounts {
        ArmCounts { draws: responses, responses, errors, outputs: responses, ..Default::default() }
    }

    fn arms(candidate: (u64, u64), control: (u64, u64)) -> Arms {
        Arms { candidate: arm(candidate.0, candidate.1), control: arm(control.0, control.1) }
    }

    fn errors(evidence: &CanaryEvidence) -> &RateEvidence {
        evidence.rate(Metric::Errors).expect("errors are always compared")
    }

    #[test]
    fn a_step_begins_its_responses_anew_and_the_tests_go_on() {
        let mut rollout = Comparison::new(&Terms::default(), Steady(5));
        rollout.look(arms((200, 40), (200, 2)));
        let first = rollout.evidence(0, None);
        assert_eq!((first.began, first.responses), (Steady(5), 200));
        rollout.begin_step(Steady(9));
        rollout.look(arms((250, 50), (250, 2)));
        let second = rollout.evidence(0, None);
        assert_eq!((second.began, second.responses), (Steady(9), 50));
        assert_eq!((errors(&second).n, errors(&second).bad), (250, 50));
        assert!(errors(&second).ln_e > errors(&first).ln_e, "{second:?}");
    }

    #[test]
    fn without_one_of_the_arms_nothing_is_claimed() {
        let mut rollout = Comparison::new(&Terms::default(), Steady(0));
        let nothing = rollout.evidence(0, None);
        assert_eq!((errors(&nothing).excess_high, nothing.sample_ratio), (None, None));
        rollout.look(arms((30, 30), (0, 0)));
        let alone = rollout.evidence(30, None);
        assert_eq!((errors(&alone).excess_high, errors(&alone).ln_e), (None, 0.0));
        assert_eq!(alone.failed_from_start, 30);
    }

    #[test]
    fn counts_that_wait_for_the_other_arm_are_not_lost() {
        let mut rollout = Comparison::new(&Terms::default(), Steady(0));
        let mut counts = ((0, 0), (0, 0));
        // The arms take turns, so that no look sees both grow.
        for _ in 0..60 {
            counts.0 = (counts.0.0 + 1, counts.0.1 + 1);
            rollout.look(arms(counts.0, counts.1));
            counts.1.0 += 1;
            rollout.look(arms(counts.0, counts.1));
        }
        let evidence = rollout.evidence(60, None);
        assert!(errors(&evidence).ln_e > 20.0, "{}", errors(&evidence).ln_e);
    }

    #[test]
    fn slices_that_do_not_fit_are_told_by_draws_and_not_by_requests() {
        let mut rollout = Comparison::new(&Terms::default(), Steady(0));
        let mut busy = arms((9000, 0), (1000, 0));
        (busy.candidate.draws, busy.control.draws) = (1000, 1010);
        rollout.look(busy);
        assert!(rollout.evidence(0, None).sample_ratio.is_some_and(|chance| chance > 0.01));
        rollout.look(arms((9000, 0), (1000, 0)));
        assert!(rollout.evidence(0, None).sample_ratio.is_some_and(|chance| chance < 1e-9));
    }

    #[test]
    fn only_what_has_a_limit_in_time_is_compared_by_it() {
        let timed = Terms { watches_time: true, ..Terms::default() };
        let metrics = |terms: &Terms| -> Vec<Metric> {
            let evidence = Comparison::new(terms, Steady(0)).evidence(0, None);
            evidence.rates.iter().map(|rate| rate.metric).collect()
        };
        assert_eq!(metrics(&Terms::default()), [Metric::Errors, Metric::Invalid]);
        assert_eq!(metrics(&timed), [Metric::Errors, Metric::Invalid, Metric::Slow]);
    }

    proptest! {
        /// However the counts are cut into looks, no count is taken twice and none is lost, and nothing is
        /// ever NaN.
        #[test]
        fn looks_take_every_count_once(
            steps in prop::collection::vec((0u64..20, 0u64..20, 0u64..20, 0u64..20), 1..40),
        ) {
            let mut rollout = Comparison::new(&Terms::default(), Steady(0));
            let mut counts = ((0, 0), (0, 0));
            for (n, bad, control_n, control_bad) in steps {
                counts.0 = (counts.0.0 + n, counts.0.1 + bad.min(n));
                counts.1 = (counts.1.0 + control_n, counts.1.1 + control_bad.min(control_n));
                rollout.look(arms(counts.0, counts.1));
                let evidence = rollout.evidence(0, None);
                let rate = errors(&evidence);
                prop_assert_eq!((rate.n, rate.bad), counts.0);
                prop_assert_eq!((rate.control_n, rate.control_bad), counts.1);
                prop_assert!(rate.ln_e.is_finite());
                let (of, against) = rollout.tests[0].taken;
                let test = &rollout.tests[0].test;
                prop_assert_eq!((test.candidate(), test.control()), (of, against));
            }
        }
    }
}
