//! Delayed ground truth.

use crate::domain::ids::RecordId;

/// One statement about an earlier prediction: a true label, a measured value, a reward.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedbackRecord<'a> {
    /// The row's own id.
    pub record_id: RecordId,
    /// The client's id of this statement, empty for none. A statement with the same id, target,
    /// metric and source is the same statement, sent again.
    pub feedback_id: &'a str,
    /// When it arrived, in microseconds since the Unix epoch.
    pub ts_us: u64,
    /// Which prediction it is about.
    pub target: FeedbackTarget<'a>,
    /// The model that predicted, empty if the client did not say.
    pub model: &'a str,
    /// What is stated: `label`, `reward`, `clicked`.
    pub metric: &'a str,
    /// As a number.
    pub value: Option<f64>,
    /// As a text.
    pub label: Option<&'a str>,
    /// Who states it; statements of different sources stand side by side.
    pub source: &'a str,
    /// When the truth became known, in microseconds since the Unix epoch.
    pub observed_us: Option<u64>,
    /// Whether the statement is taken back.
    pub retracted: bool,
}

/// How feedback names its prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeedbackTarget<'a> {
    /// By the `x-prediction-id` of its response.
    Prediction(RecordId),
    /// By the `x-request-id` of its request.
    Request(&'a str),
    /// By the key that the configuration takes from the exchange.
    Key(&'a str),
}
