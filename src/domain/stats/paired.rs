//! Two versions on the same rows, looked at once: which is better, and is one better than chance?
//!
//! Owns tests for a fixed set of rows, such as a golden set: the variance between rows cancels, because both
//! versions saw the same ones. They mean nothing when they are looked at until they please: streams of requests
//! have [`two_by_two`](super::two_by_two). Never decides what follows.

use std::collections::BTreeMap;

use statrs::distribution::{Binomial, ContinuousCDF as _, DiscreteCDF as _, Normal, StudentsT};

/// Rows by who was right about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights {
    /// Both were right.
    pub both: u64,
    /// Only the candidate was.
    pub candidate_only: u64,
    /// Only the control was.
    pub control_only: u64,
    /// Neither was.
    pub neither: u64,
}

impl Rights {
    /// Counts one row.
    pub fn count(&mut self, candidate: bool, control: bool) {
        let cell = match (candidate, control) {
            (true, true) => &mut self.both,
            (true, false) => &mut self.candidate_only,
            (false, true) => &mut self.control_only,
            (false, false) => &mut self.neither,
        };
        *cell += 1;
    }

    /// Rows.
    pub const fn n(&self) -> u64 {
        self.both + self.candidate_only + self.control_only + self.neither
    }

    /// The shares of rows that candidate and control were right about; `None` without rows.
    pub fn shares(&self) -> Option<(f64, f64)> {
        let n = self.n();
        let share = |right: u64| right as f64 / n as f64;
        (n > 0)
            .then(|| (share(self.both + self.candidate_only), share(self.both + self.control_only)))
    }

    /// The probability that an equally good candidate is wrong at least as often where the control is right:
    /// McNemar's test, exact and one-sided. 1 where they never differ.
    pub fn p_worse(&self) -> f64 {
        let differ = self.candidate_only + self.control_only;
        let Some(below) = self.control_only.checked_sub(1) else { return 1.0 };
        Binomial::new(0.5, differ).map_or(1.0, |law| law.sf(below))
    }
}

/// Differences between two versions, one for each row: how much larger the candidate's error is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Differences {
    n: u64,
    mean: f64,
    /// The sum of squared deviations from the mean.
    squares: f64,
}

impl Differences {
    /// Takes the difference of one row (Welford, Technometrics 1962).
    pub fn add(&mut self, difference: f64) {
        self.n += 1;
        let before = difference - self.mean;
        self.mean += before / self.n as f64;
        self.squares += before * (difference - self.mean);
    }

    /// Rows.
    pub const fn n(&self) -> u64 {
        self.n
    }

    /// Their mean; 0 without rows.
    pub const fn mean(&self) -> f64 {
        self.mean
    }

    /// The probability of so large a mean if the true one is 0: Student's paired test, one-sided. 1 with fewer than
    /// two rows.
    pub fn p_larger(&self) -> f64 {
        if self.n < 2 {
            return 1.0;
        }
        let freedom = (self.n - 1) as f64;
        let error = (self.squares / freedom / self.n as f64).sqrt();
        if error <= 0.0 {
            return if self.mean > 0.0 { 0.0 } else { 1.0 };
        }
        StudentsT::new(0.0, 1.0, freedom).map_or(1.0, |law| law.sf(self.mean / error))
    }
}

/// How often each class was predicted for each true class.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agreement {
    n: u64,
    agreed: u64,
    /// By class: how often it was predicted, and how often it was true.
    margins: BTreeMap<String, (u64, u64)>,
}

impl Agreement {
    /// Counts one row.
    pub fn count(&mut self, predicted: &str, truth: &str) {
        self.n += 1;
        self.agreed += u64::from(predicted == truth);
        self.margins.entry(predicted.to_owned()).or_default().0 += 1;
        self.margins.entry(truth.to_owned()).or_default().1 += 1;
    }

    /// Rows.
    pub const fn n(&self) -> u64 {
        self.n
    }

    /// Rows whose prediction is the truth.
    pub const fn agreed(&self) -> u64 {
        self.agreed
    }

    /// The classes that were true at least `often`.
    pub fn classes(&self, often: u64) -> usize {
        self.margins.values().filter(|(_, truth)| *truth >= often).count()
    }

    /// The rows that would agree if predictions had nothing to do with the truth.
    pub fn by_chance(&self) -> f64 {
        let product = |(predicted, truth): &(u64, u64)| *predicted as f64 * *truth as f64;
        self.margins.values().map(product).sum::<f64>() / (self.n.max(1)) as f64
    }

    /// The probability of at least so much agreement if predictions had nothing to do with the truth: the normal
    /// approximation of the permutation test (Hoeffding, Annals of Mathematical Statistics 1951, theorem 4). 1
    /// where all predictions, or all truths, are the same.
    pub fn p_chance(&self) -> f64 {
        if self.n < 2 {
            return 1.0;
        }
        let n = self.n as f64;
        let grand = self.by_chance() / n;
        let mut squares = 0.0;
        for (row, (predicted, of_row)) in &self.margins {
            for (column, (of_column, truth)) in &self.margins {
                let agrees = if row == column { 1.0 } else { 0.0 };
                let deviation = agrees - *of_row as f64 / n - *of_column as f64 / n + grand;
                squares += *predicted as f64 * *truth as f64 * deviation * deviation;
            }
        }
        let error = (squares / (n - 1.0)).sqrt();
        if error <= 1e-9 {
            return 1.0;
        }
        let excess = (self.agreed as f64 - self.by_chance()) / error;
        Normal::standard().sf(excess)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(a: f64, b: f64, within: f64) {
        assert!((a - b).abs() <= within, "{a} is not {b}");
    }

    fn rights(candidate_only: u64, control_only: u64) -> Rights {
        Rights { both: 100, candidate_only, control_only, neither: 3 }
    }

    #[test]
    fn mcnemar_is_that_of_scipy() {
        // scipy.stats.binomtest(control_only, both_sides, 0.5, alternative="greater").pvalue
        for (candidate_only, control_only, p) in [
            (2, 12, 0.006_469_726_562_5),
            (5, 15, 0.020_694_732_666_015_625),
            (10, 10, 0.588_098_526_000_976_6),
            (0, 3, 0.125),
            (7, 0, 1.0),
            (0, 0, 1.0),
        ] {
            near(rights(candidate_only, control_only).p_worse(), p, 1e-12);
        }
        let (candidate, control) = rights(2, 12).shares().expect("rows");
        near(candidate - control, -10.0 / 117.0, 1e-12);
        assert_eq!(Rights::default().shares(), None);
    }

    #[test]
    fn the_paired_test_is_that_of_scipy() {
        // scipy.stats.ttest_1samp([.1, .3, -.1, .2, .05], 0, alternative="greater").pvalue
        let mut differences = Differences::default();
        [0.1, 0.3, -0.1, 0.2, 0.05].into_iter().for_each(|value| differences.add(value));
        near(differences.mean(), 0.11, 1e-12);
        near(differences.p_larger(), P_TTEST, 1e-9);
        let mut same = Differences::default();
        assert!((same.p_larger() - 1.0).abs() < 1e-12, "no rows say nothing");
        [0.2; 5].into_iter().for_each(|value| same.add(value));
        assert!(same.p_larger() < 1e-12, "always worse by the same");
    }

    const P_TTEST: f64 = 0.090_075_913_778_907;

    #[test]
    fn predictions_that_have_nothing_to_do_with_the_truth_are_found() {
        let mut random = Agreement::default();
        for row in 0..300_u32 {
            random.count(&(row * 7 % 3).to_string(), &(row / 100).to_string());
        }
        assert!(random.p_chance() > 0.2, "{}", random.p_chance());
        near(random.by_chance(), 100.0, 1e-9);
        let mut constant = Agreement::default();
        let mut good = Agreement::default();
        for row in 0..300_u32 {
            let truth = (row % 3).to_string();
            constant.count("0", &truth);
            good.count(if row % 5 == 0 { "0" } else { &truth }, &truth);
        }
        near(constant.p_chance(), 1.0, 1e-12);
        assert_eq!((constant.agreed(), constant.classes(5)), (100, 3));
        assert!(good.p_chance() < 1e-12, "{}", good.p_chance());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn being_wrong_more_often_never_looks_better(a in 0u64..200, b in 0u64..200) {
            let (p, worse) = (rights(a, b).p_worse(), rights(a, b + 1).p_worse());
            prop_assert!((0.0..=1.0).contains(&p) && worse <= p + 1e-12);
        }
    }
}
