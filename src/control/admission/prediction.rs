//! What an answer predicts, to be held against the truth.
//!
//! Owns the choice of the output: the one that the configuration names for labels; else, where truths are numbers
//! with fractions, the first with one number a row; else the first that has labels, or the place of the largest
//! score, or a score of yes. Never judges.

use std::collections::BTreeMap;

use super::compare::{numbers, texts};
use crate::domain::spec::{LabelTask, OutputRef};
use crate::protocol::open_inference::Label;
use crate::protocol::tensor::{Datatype, Tensor};

/// What is predicted for a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Prediction {
    /// A class, by its name or its place.
    Class(String),
    /// A number.
    Value(f64),
}

/// How predictions are read out of answers.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    task: Option<&'a LabelTask>,
    classes: &'a BTreeMap<String, Vec<String>>,
    /// Truths are numbers, not classes.
    values: bool,
    /// Classes are told by their names.
    by_name: bool,
}

impl<'a> Reading<'a> {
    /// For truths like these.
    pub(super) fn new<'l>(
        labels: impl Iterator<Item = &'l Label> + Clone,
        task: Option<&'a LabelTask>,
        classes: &'a BTreeMap<String, Vec<String>>,
    ) -> Self {
        let is_fraction = |label: &Label| match label {
            Label::Number(number) => number.fract() != 0.0,
            Label::Boolean(_) | Label::Text(_) => false,
        };
        let values = match task {
            Some(LabelTask::Value { .. }) => true,
            Some(LabelTask::Classes { .. }) => false,
            Some(LabelTask::Reward) | None => labels.clone().any(is_fraction),
        };
        let by_name = labels.into_iter().any(|label| matches!(label, Label::Text(_)));
        Self { task, classes, values, by_name }
    }

    /// Whether numbers are predicted.
    pub(super) const fn is_of_values(&self) -> bool {
        self.values
    }

    /// A truth in the form of predictions.
    pub(super) fn truth(&self, label: &Label) -> Prediction {
        match label {
            Label::Number(number) if self.values => Prediction::Value(*number),
            Label::Number(number) => Prediction::Class(number.to_string()),
            Label::Boolean(truth) => Prediction::Class(u8::from(*truth).to_string()),
            Label::Text(text) => Prediction::Class(text.clone()),
        }
    }

    /// What is predicted for each row; empty where the answer has nothing of the kind.
    pub(super) fn predictions(&self, outputs: &[Tensor], rows: usize) -> Vec<Prediction> {
        let named = match self.task {
            Some(
                LabelTask::Classes { predicted: Some(OutputRef::Name(name)), .. }
                | LabelTask::Classes { probabilities: Some(OutputRef::Name(name)), .. }
                | LabelTask::Value { output: OutputRef::Name(name), .. },
            ) => outputs.iter().find(|output| output.name() == name),
            _ => None,
        };
        let width = |output: &Tensor| output.data().len().checked_div(rows);
        let is_float = |output: &Tensor| {
            use Datatype::{Bf16, Fp16, Fp32, Fp64};
            matches!(output.datatype(), Fp16 | Bf16 | Fp32 | Fp64)
        };
        let chosen = named.or_else(|| {
            let labels = |output: &&Tensor| width(output) == Some(1) && !is_float(output);
            let scores = |output: &&Tensor| is_float(output) && width(output) > Some(0);
            let single = |output: &&Tensor| width(output) == Some(1) && is_float(output);
            if self.values {
                return outputs.iter().find(single).or_else(|| outputs.iter().find(labels));
            }
            outputs.iter().find(labels).or_else(|| outputs.iter().find(scores))
        });
        let Some(output) = chosen else { return Vec::new() };
        match width(output) {
            Some(1) if self.values => {
                let numbers = numbers(output.data()).unwrap_or_default();
                numbers.into_iter().map(Prediction::Value).collect()
            }
            Some(1) if is_float(output) => self.answers_of(output),
            Some(1) => self.labels_of(output),
            Some(width) if width > 1 && !self.values => self.largest_of(output, width),
            _ => Vec::new(),
        }
    }

    /// The names of the classes, where classes are told by them.
    fn names(&self, output: &Tensor) -> &[String] {
        match (self.by_name, self.classes.get(output.name()), self.task) {
            (false, ..) => &[],
            (true, Some(known), _) => known,
            (true, None, Some(LabelTask::Classes { names, .. })) => names,
            (true, None, _) => &[],
        }
    }

    /// Labels that stand in the answer.
    fn labels_of(&self, output: &Tensor) -> Vec<Prediction> {
        let names = self.names(output);
        let name = |text: String| {
            let place = text.parse::<usize>().ok();
            let named = place.and_then(|place| names.get(place)).cloned();
            let text = match text.as_str() {
                "true" | "True" if !self.by_name => "1".to_owned(),
                "false" | "False" if !self.by_name => "0".to_owned(),
                _ => text,
            };
            Prediction::Class(named.unwrap_or(text))
        };
        texts(output.data()).into_iter().map(name).collect()
    }

    /// A score of yes, or a label that a dialect without types has written as a number.
    fn answers_of(&self, output: &Tensor) -> Vec<Prediction> {
        let threshold = match self.task {
            Some(LabelTask::Classes { threshold, .. }) => *threshold,
            _ => 0.5,
        };
        let numbers = numbers(output.data()).unwrap_or_default();
        if numbers.iter().all(|number| number.fract() == 0.0) {
            return numbers.into_iter().map(|n| Prediction::Class(n.to_string())).collect();
        }
        let yes = |score: f64| Prediction::Class(u8::from(score >= threshold).to_string());
        numbers.into_iter().map(yes).collect()
    }

    /// The class of the largest score.
    fn largest_of(&self, output: &Tensor, width: usize) -> Vec<Prediction> {
        let names = self.names(output);
        let numbers = numbers(output.data()).unwrap_or_default();
        let largest = |row: &[f64]| {
            let places = row.iter().enumerate();
            let top = places.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(place, _)| place);
            Prediction::Class(names.get(top).cloned().unwrap_or_else(|| top.to_string()))
        };
        numbers.chunks_exact(width).map(largest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::tensor::TensorData;

    fn tensor(name: &str, shape: &[usize], data: TensorData) -> Tensor {
        Tensor::new(name, shape, data).expect("agrees")
    }

    fn class(name: &str) -> Prediction {
        Prediction::Class(name.to_owned())
    }

    #[test]
    fn labels_come_before_scores_and_have_the_form_of_the_truths() {
        let probabilities =
            tensor("p", &[2, 3], TensorData::Fp32(vec![0.1, 0.7, 0.2, 0.5, 0.2, 0.3]));
        let label = tensor("label", &[2], TensorData::Int64(vec![1, 0]));
        let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let classes: BTreeMap<_, _> =
            ["p", "label"].map(|output| (output.to_owned(), names.clone())).into();
        let (places, texts) = ([Label::Number(1.0)], [Label::Text("b".to_owned())]);
        let by_place = Reading::new(places.iter(), None, &classes);
        let by_name = Reading::new(texts.iter(), None, &classes);
        let both = [probabilities.clone(), label];
        assert_eq!(by_place.predictions(&both, 2), [class("1"), class("0")]);
        assert_eq!(by_name.predictions(&both, 2), [class("b"), class("a")]);
        assert_eq!(by_name.predictions(&[probabilities], 2), [class("b"), class("a")]);
        assert_eq!(by_place.truth(&places[0]), class("1"));
    }

    #[test]
    fn a_score_is_an_answer_and_a_fraction_a_value() {
        let score = [tensor("y", &[2, 1], TensorData::Fp32(vec![0.75, 0.25]))];
        let classes = BTreeMap::new();
        let yes = Reading::new([Label::Boolean(true)].iter(), None, &classes);
        assert_eq!(yes.predictions(&score, 2), [class("1"), class("0")]);
        assert_eq!(yes.truth(&Label::Boolean(true)), class("1"));
        let prices = Reading::new([Label::Number(1.0), Label::Number(2.5)].iter(), None, &classes);
        assert!(prices.is_of_values());
        let expected = [Prediction::Value(0.75), Prediction::Value(0.25)];
        assert_eq!(prices.predictions(&score, 2), expected);
    }
}
