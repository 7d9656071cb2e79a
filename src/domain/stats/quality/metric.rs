//! One metric of a window, with what is known about its error.

use crate::domain::stats::confidence::Interval;

/// What an interval promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntervalKind {
    /// It holds the true value at all times at once, with the chosen probability, at any sample size.
    Sequence,
    /// The same, in the limit of many values.
    AsymptoticSequence,
    /// It holds the value of these very predictions for certain; the width is what the bins hide.
    Certified,
}

impl IntervalKind {
    /// The word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sequence => "confidence_sequence",
            Self::AsymptoticSequence => "asymptotic_confidence_sequence",
            Self::Certified => "certified",
        }
    }
}

/// A metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name, such as `accuracy`.
    pub name: &'static str,
    /// Its value; the middle of a certified interval.
    pub value: f64,
    /// Predictions behind it.
    pub n: u64,
    /// Where the truth lies.
    pub interval: Option<(IntervalKind, Interval)>,
    /// Of a metric that is certain for these predictions: where that of all that could have been made lies.
    pub beyond: Option<Interval>,
}

impl Metric {
    /// A metric without an interval.
    pub(super) fn plain(name: &'static str, value: f64, n: u64) -> Self {
        Self { name, value, n, interval: None, beyond: None }
    }

    /// A metric that is known to lie in an interval.
    pub(super) fn certified(name: &'static str, interval: Interval, n: u64) -> Self {
        let value = f64::midpoint(interval.lower, interval.upper);
        let interval = Some((IntervalKind::Certified, interval));
        Self { name, value, n, interval, beyond: None }
    }

    /// The same metric, certain for these predictions, with what chance may have done.
    pub(super) fn beyond(mut self, interval: Option<Interval>) -> Self {
        self.beyond = interval;
        self
    }

    /// Where the truth lies, chance included; `None` where that is not known.
    pub fn with_chance(&self) -> Option<Interval> {
        match self.interval? {
            (IntervalKind::Certified, _) => self.beyond,
            (IntervalKind::Sequence | IntervalKind::AsymptoticSequence, interval) => Some(interval),
        }
    }

    /// The same metric with a confidence sequence.
    pub(super) fn with(mut self, kind: IntervalKind, interval: Option<Interval>) -> Self {
        self.interval = interval.map(|interval| (kind, interval));
        self
    }
}
