//! How good predictions were, once the truth is known.
//!
//! Owns the sums of every quality metric. Each is exact, so that a label that is corrected can be taken back without
//! a trace, labels may come in any order, and windows merge into longer ones as if they had been counted
//! together. Never keeps a prediction: who wants to take one back has to say what it was.
//!
//! ```text
//! Scored (truth, answer) ─▶ Quality::add / retract ─▶ merge over windows ─▶ metrics with intervals
//! ```

use serde::{Deserialize, Serialize};

mod calibration;
mod confusion;
mod metric;
mod ranking;
mod regression;
mod reward;
mod scores;

pub use self::calibration::{Calibration, LogLoss};
pub use self::confusion::Confusion;
pub use self::metric::{IntervalKind, Metric};
pub use self::ranking::Ranking;
pub use self::regression::Regression;
pub use self::reward::Reward;
pub use self::scores::{SCORE_BINS, ScoreCell, ScoreCounts};
use super::confidence::{self, Moments};
use super::exact_sum::{ExactSum, TERM_MAX};
use super::two_by_two::Tally;

/// The most classes of a model whose quality is measured.
pub const CLASSES_MAX: usize = 1024;

/// What is measured of a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Measure {
    /// It names a class of several.
    Classes {
        /// How many.
        classes: u16,
        /// The class whose probability ranks the predictions, of a yes-or-no question.
        positive: Option<u16>,
    },
    /// It gives a number.
    Values {
        /// The quantile that is predicted, for the pinball loss.
        quantile: Option<f64>,
        /// How far a prediction may be off and still be right.
        tolerance: Option<f64>,
    },
    /// What it said led to a reward.
    Rewards,
}

/// A prediction whose truth is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scored<'a> {
    /// A class.
    Class {
        /// The true one.
        truth: u16,
        /// The predicted one.
        predicted: u16,
        /// The probability of each class, if the model gives them.
        probabilities: Option<&'a [f64]>,
    },
    /// A number.
    Value {
        /// The true one.
        truth: f64,
        /// The predicted one.
        predicted: f64,
    },
    /// A reward.
    Reward(f64),
}

/// Why a prediction cannot be scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unscorable {
    /// A class of another model, or a number where a class is due.
    #[error("it is not of the kind that is measured")]
    Kind,
    /// A class beyond the last.
    #[error("it names a class that is not declared")]
    Class,
    /// Too few or too many probabilities, or one that is none.
    #[error("its probabilities are not one for each class, each between 0 and 1")]
    Probabilities,
    /// Not finite, or beyond what sums can hold.
    #[error("it is not a finite number below 1e120")]
    Number,
}

impl Scored<'_> {
    /// Checks that the prediction can be scored under `measure`.
    ///
    /// # Errors
    /// [`Unscorable`] says why not.
    pub fn check(&self, measure: &Measure) -> Result<(), Unscorable> {
        let is_number = |x: f64| x.is_finite() && x.abs() <= TERM_MAX;
        match (self, measure) {
            (Self::Class { truth, predicted, probabilities }, Measure::Classes { classes, .. }) => {
                if truth >= classes || predicted >= classes {
                    return Err(Unscorable::Class);
                }
                let fits = probabilities.is_none_or(|all| {
                    all.len() == usize::from(*classes)
                        && all.iter().all(|p| (0.0..=1.0).contains(p))
                });
                if fits { Ok(()) } else { Err(Unscorable::Probabilities) }
            }
            (Self::Value { truth, predicted }, Measure::Values { .. }) => {
                // Their difference is squared.
                let fits = [truth, predicted].iter().all(|x| x.abs() <= TERM_MAX.sqrt());
                if fits { Ok(()) } else { Err(Unscorable::Number) }
            }
            (Self::Reward(reward), Measure::Rewards) => {
                if is_number(reward * reward) {
                    Ok(())
                } else {
                    Err(Unscorable::Number)
                }
            }
            _ => Err(Unscorable::Kind),
        }
    }

    /// Whether the prediction was wrong; `None` where that has no meaning.
    pub fn is_error(&self, measure: &Measure) -> Option<bool> {
        match (self, measure) {
            (Self::Class { truth, predicted, .. }, Measure::Classes { .. }) => {
                Some(truth != predicted)
            }
            (Self::Value { truth, predicted }, Measure::Values { tolerance: Some(most), .. }) => {
                Some((truth - predicted).abs() > *most)
            }
            _ => None,
        }
    }
}

/// The sums of one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Quality {
    /// Of classes.
    Classes(Box<Classes>),
    /// Of numbers.
    Values(Box<Regression>),
    /// Of rewards.
    Rewards(Reward),
}

/// The sums of classes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Classes {
    /// Which class was taken for which.
    pub confusion: Confusion,
    /// The logarithmic loss.
    pub log_loss: LogLoss,
    /// The squared distance of the probabilities from the truth.
    pub brier: ExactSum,
    /// The squares of these: by how much they vary.
    pub brier_squares: ExactSum,
    /// How often what had a probability came true.
    pub calibration: Calibration,
    /// The positive class's scores, by truth.
    pub ranking: Ranking,
}

/// Whether a prediction comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Add,
    Retract,
}

/// Two kinds of sums that cannot be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("quality of one kind cannot be merged with that of another")]
pub struct Unlike;

impl Quality {
    /// Has seen nothing.
    pub fn new(measure: &Measure) -> Self {
        match measure {
            Measure::Classes { .. } => Self::Classes(Box::default()),
            Measure::Values { .. } => Self::Values(Box::default()),
            Measure::Rewards => Self::Rewards(Reward::default()),
        }
    }

    /// Counts a prediction.
    ///
    /// # Errors
    /// [`Unscorable`]; then nothing was counted.
    pub fn add(&mut self, measure: &Measure, scored: &Scored<'_>) -> Result<(), Unscorable> {
        self.step(measure, scored, Step::Add)
    }

    /// Takes a prediction back that was counted.
    ///
    /// # Errors
    /// [`Unscorable`]; then it cannot have been counted, and nothing was taken back.
    pub fn retract(&mut self, measure: &Measure, scored: &Scored<'_>) -> Result<(), Unscorable> {
        self.step(measure, scored, Step::Retract)
    }

    fn step(
        &mut self,
        measure: &Measure,
        scored: &Scored<'_>,
        step: Step,
    ) -> Result<(), Unscorable> {
        scored.check(measure)?;
        match (self, scored, measure) {
            (
                Self::Classes(sums),
                Scored::Class { truth, predicted, probabilities },
                Measure::Classes { positive, .. },
            ) => {
                sums.step(*truth, *predicted, *probabilities, *positive, step);
                Ok(())
            }
            (
                Self::Values(sums),
                Scored::Value { truth, predicted },
                Measure::Values { quantile, tolerance },
            ) => {
                sums.step(*truth, *predicted, *quantile, *tolerance, step);
                Ok(())
            }
            (Self::Rewards(sums), Scored::Reward(reward), Measure::Rewards) => {
                sums.step(*reward, step);
                Ok(())
            }
            _ => Err(Unscorable::Kind),
        }
    }

    /// Adds the sums of another window.
    ///
    /// # Errors
    /// [`Unlike`] when the other is of another kind.
    pub fn merge(&mut self, other: &Self) -> Result<(), Unlike> {
        match (self, other) {
            (Self::Classes(sums), Self::Classes(other)) => sums.merge(other),
            (Self::Values(sums), Self::Values(other)) => sums.merge(other),
            (Self::Rewards(sums), Self::Rewards(other)) => sums.merge(other),
            _ => return Err(Unlike),
        }
        Ok(())
    }

    /// Predictions that were counted.
    pub fn n(&self) -> u64 {
        match self {
            Self::Classes(sums) => sums.confusion.n(),
            Self::Values(sums) => sums.n(),
            Self::Rewards(sums) => sums.n(),
        }
    }

    /// Wrong predictions among all; `None` where that has no meaning.
    pub fn errors(&self, measure: &Measure) -> Option<Tally> {
        match (self, measure) {
            (Self::Classes(sums), _) => {
                let n = sums.confusion.n();
                Some(Tally::new(n - sums.confusion.correct(), n))
            }
            (Self::Values(sums), Measure::Values { tolerance: Some(_), .. }) => {
                Some(Tally::new(sums.n() - sums.within(), sums.n()))
            }
            _ => None,
        }
    }

    /// Every metric that these sums give, each with its interval at level `alpha`.
    pub fn metrics(&self, measure: &Measure, alpha: f64) -> Vec<Metric> {
        match (self, measure) {
            (Self::Classes(sums), Measure::Classes { positive, .. }) => {
                sums.metrics(*positive, alpha)
            }
            (Self::Values(sums), Measure::Values { quantile, tolerance }) => {
                sums.metrics(quantile.is_some(), tolerance.is_some(), alpha)
            }
            (Self::Rewards(sums), Measure::Rewards) => sums.metrics(alpha),
            _ => Vec::new(),
        }
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        let inner = match self {
            Self::Classes(sums) => {
                size_of::<Classes>() + sums.confusion.bytes() + sums.ranking.bytes()
            }
            Self::Values(_) => size_of::<Regression>(),
            Self::Rewards(_) => 0,
        };
        size_of::<Self>() + inner
    }
}

impl Classes {
    fn step(
        &mut self,
        truth: u16,
        predicted: u16,
        probabilities: Option<&[f64]>,
        positive: Option<u16>,
        step: Step,
    ) {
        self.confusion.step(truth, predicted, step);
        let Some(probabilities) = probabilities else { return };
        let of = |class: u16| probabilities.get(usize::from(class)).copied().unwrap_or_default();
        self.log_loss.step(of(truth), step);
        let squares = match positive {
            // Of a yes-or-no question it is the square of one distance; both are the same.
            Some(positive) if probabilities.len() == 2 => {
                square(f64::from(u8::from(truth == positive)) - of(positive))
            }
            _ => (0..)
                .zip(probabilities)
                .fold(0.0, |sum, (class, p)| sum + square(f64::from(u8::from(truth == class)) - p)),
        };
        signed(&mut self.brier, squares, step);
        signed(&mut self.brier_squares, square(squares), step);
        if let Some(positive) = positive {
            self.ranking.step(of(positive), truth == positive, step);
            self.calibration.step(of(positive), truth == positive, step);
        } else {
            self.calibration.step(of(predicted), truth == predicted, step);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.confusion.merge(&other.confusion);
        self.log_loss.merge(&other.log_loss);
        self.brier.merge(&other.brier);
        self.brier_squares.merge(&other.brier_squares);
        self.calibration.merge(&other.calibration);
        self.ranking.merge(&other.ranking);
    }

    fn metrics(&self, positive: Option<u16>, alpha: f64) -> Vec<Metric> {
        let mut metrics = self.confusion.metrics(positive, alpha);
        let n = self.log_loss.n();
        if n > 0 {
            metrics.push(self.log_loss.metric(alpha));
            metrics.push(self.brier_metric(n, alpha));
            metrics.push(Metric::plain("ece", self.calibration.ece(), n));
        }
        let certified = [
            ("auc", self.ranking.auc(), self.ranking.auc_within(alpha)),
            ("pr_auc", self.ranking.pr_auc(), None),
        ];
        metrics.extend(certified.into_iter().filter_map(|(name, interval, beyond)| {
            Some(Metric::certified(name, interval?, self.ranking.n()).beyond(beyond))
        }));
        metrics
    }
}

impl Classes {
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    fn brier_metric(&self, n: u64, alpha: f64) -> Metric {
        let mean = self.brier.value() / n as f64;
        let variance = (self.brier_squares.value() / n as f64 - mean * mean).max(0.0);
        let interval = confidence::mean(Moments { n, mean, variance }, alpha);
        // Probabilities that add up to one are at most the root of two from the truth.
        let interval = interval.map(|interval| interval.clamped(0.0, 2.0));
        Metric::plain("brier", mean, n).with(IntervalKind::AsymptoticSequence, interval)
    }
}

fn square(x: f64) -> f64 {
    x * x
}

/// Adds a term, or takes it back.
fn signed(sum: &mut ExactSum, term: f64, step: Step) {
    match step {
        Step::Add => sum.add(term),
        Step::Retract => sum.subtract(term),
    }
}

/// Counts one, or takes it back.
fn count(counter: &mut u64, step: Step) {
    *counter = match step {
        Step::Add => counter.saturating_add(1),
        Step::Retract => counter.saturating_sub(1),
    };
}

#[cfg(test)]
mod tests;
