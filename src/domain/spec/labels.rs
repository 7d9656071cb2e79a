//! The settings of ground truth: what a model's labels say, and how its predictions are read to be held against
//! them.

use super::log::FieldSource;
use super::pointer::JsonPointer;
use crate::domain::stats::detectors;
use crate::domain::stats::quality::Measure;

/// What is known about the labels of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelsSpec {
    /// What is predicted, and where a response has it.
    pub task: LabelTask,
    /// The metric of the feedback that states the truth.
    pub metric: String,
    /// Whose statements count; `None` for everybody's.
    pub source: Option<String>,
    /// Which of several statements about one prediction counts.
    pub policy: LabelPolicy,
    /// What divides predictions into slices.
    pub slice: Option<SliceSource>,
    /// The most slices; what comes later falls into one more.
    pub slices: usize,
    /// What watches the errors for change.
    pub detector: detectors::Kind,
}

/// What is predicted.
#[derive(Debug, Clone, PartialEq)]
pub enum LabelTask {
    /// One of some classes.
    Classes {
        /// Their names.
        names: Vec<String>,
        /// Where the predicted class is; `None` to take the most probable, or what has one value.
        predicted: Option<OutputRef>,
        /// Where the probabilities are; `None` for what has one for each class, if anything has.
        probabilities: Option<OutputRef>,
        /// The class that a yes-or-no question is about.
        positive: Option<u16>,
        /// The probability of the positive class from which it counts as predicted, where a response has
        /// nothing but probabilities of two classes.
        threshold: f64,
    },
    /// A number.
    Value {
        /// Where it is.
        output: OutputRef,
        /// The quantile that it predicts.
        quantile: Option<f64>,
        /// How far it may be off and still be right.
        tolerance: Option<f64>,
    },
    /// Nothing that could be wrong: feedback is a reward.
    Reward,
}

impl LabelsSpec {
    /// What is measured.
    pub fn measure(&self) -> Measure {
        match &self.task {
            LabelTask::Classes { names, positive, .. } => Measure::Classes {
                classes: u16::try_from(names.len()).unwrap_or(u16::MAX),
                positive: *positive,
            },
            LabelTask::Value { quantile, tolerance, .. } => {
                Measure::Values { quantile: *quantile, tolerance: *tolerance }
            }
            LabelTask::Reward => Measure::Rewards,
        }
    }
}

/// Where a response has something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputRef {
    /// The output of this name.
    Name(String),
    /// The values at this place of the JSON body.
    Pointer(JsonPointer),
}

/// What divides predictions into slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SliceSource {
    /// The session that is recorded.
    Session,
    /// A recorded header, or a value of a recorded body.
    Field(FieldSource),
}

/// Which of several statements about one prediction counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LabelPolicy {
    /// The last that came.
    #[default]
    Latest,
    /// The first that came.
    First,
    /// All of them, added up: for rewards.
    Sum,
}

impl LabelPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Latest, Self::First, Self::Sum];

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::First => "first",
            Self::Sum => "sum",
        }
    }
}
