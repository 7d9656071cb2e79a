//! The section of a model's labels.
//!
//! Owns names, ranges, defaults and descriptions. Never does anything with them.

use super::sections::key;
use super::{Absent, Form, Kind, Section};
use crate::domain::stats::quality::CLASSES_MAX;

/// The largest tolerance.
const TOLERANCE_MAX: f64 = 1e60;

/// `[models.NAME.labels]`.
pub(in crate::config) static LABELS: Section = Section {
    what: "the labels",
    doc: "What feedback says about the predictions of a model, so that their quality is measured.",
    keys: &[
        key(
            "classes",
            Kind::List(Form::Prose, 2, CLASSES_MAX),
            Absent::Means("the model does not predict classes"),
            "The names of the classes, in the order of their probabilities. A number that is none of the \
             names counts from 0.",
        ),
        key(
            "predicted",
            Kind::Text(Form::Output),
            Absent::Means("the output with one value, or the most probable class"),
            "Where a response has the predicted class.",
        ),
        key(
            "probabilities",
            Kind::Text(Form::Output),
            Absent::Means("the output with one number for each class, if there is one"),
            "Where a response has the probability of each class, or of the positive one of two.",
        ),
        key(
            "positive",
            Kind::Text(Form::Prose),
            Absent::Means("no class is special"),
            "The class that a yes-or-no question is about: for precision, recall, F1 and the areas \
             under the curves.",
        ),
        key(
            "threshold",
            Kind::Number(0.0, 1.0),
            Absent::Same("0.5"),
            "The probability of the positive class from which it counts as predicted, where a response has \
             nothing but probabilities.",
        ),
        key(
            "value",
            Kind::Text(Form::Output),
            Absent::Means("the model does not predict a number"),
            "Where a response has the predicted number.",
        ),
        key(
            "quantile",
            Kind::Number(0.0, 1.0),
            Absent::Means("no pinball loss"),
            "The quantile that the number predicts.",
        ),
        key(
            "tolerance",
            Kind::Number(0.0, TOLERANCE_MAX),
            Absent::Means("no number counts as wrong"),
            "How far a number may be off and still be right. Only then there are errors to be watched.",
        ),
        key(
            "reward",
            Kind::Flag,
            Absent::Means("feedback states what was true"),
            "Whether feedback is a reward: a number that says what the prediction led to.",
        ),
        key(
            "metric",
            Kind::Text(Form::Prose),
            Absent::Same("label"),
            "The `metric` of the feedback that counts.",
        ),
        key(
            "source",
            Kind::Text(Form::Prose),
            Absent::Means("everybody's"),
            "Whose feedback counts: its `source`.",
        ),
        key(
            "policy",
            Kind::Word(&["latest", "first", "sum"]),
            Absent::Same("latest"),
            "Which of several statements about one prediction counts; `sum` adds up rewards.",
        ),
        key(
            "slice",
            Kind::Text(Form::Slice),
            Absent::Means("all predictions are measured together"),
            "What divides predictions into slices that are measured by themselves as well.",
        ),
        key(
            "slices",
            Kind::Integer(1, 100),
            Absent::Same("20"),
            "The most slices. Predictions of any further one are measured as `other`.",
        ),
        key(
            "detector",
            Kind::Word(&["adwin", "page_hinkley", "ddm", "eddm", "hddm_a", "hddm_w", "fhddm"]),
            Absent::Same("adwin"),
            "What watches the errors for change, label by label.",
        ),
    ],
    exactly_one: &["classes", "value", "reward"],
    at_most_one: &[],
};
