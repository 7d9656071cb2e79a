//! One run through a golden set.
//!
//! Owns what is noted of it: how far answers are from the recorded ones, what is no finite number, what is predicted,
//! and whether answers depend on their input at all. Answers are not kept. Never judges.

use std::collections::BTreeMap;
use std::time::Instant;

use super::compare::{self, numbers, texts};
use super::golden::GoldenSet;
use super::prediction::{Prediction, Reading};
use super::runner::{RunError, Runner};
use crate::protocol::tensor::Tensor;

/// The widest output whose columns are followed.
const COLUMNS_MAX: usize = 4096;

/// What was noted.
#[derive(Debug, Default)]
pub(super) struct Tour {
    /// Rows that were asked.
    pub(super) rows: usize,
    /// Cases that were asked.
    pub(super) cases: usize,
    /// Cases whose answer was held against a recorded one.
    pub(super) compared: usize,
    /// The largest difference that was allowed.
    pub(super) largest: f64,
    /// Answers that are not the recorded ones.
    pub(super) differing: Mishaps,
    /// Cases without an answer.
    pub(super) failed: Mishaps,
    /// Answers with something that is no finite number.
    pub(super) unsound: Mishaps,
    /// The first of these, by its place among the cases.
    pub(super) first_unsound: Option<usize>,
    /// For each row with a truth, in order.
    pub(super) predictions: Vec<Option<Prediction>>,
    /// Whether answers depend on their input.
    pub(super) spread: Spread,
}

/// How often something happened, and how it was the first time.
#[derive(Debug, Default)]
pub(super) struct Mishaps {
    pub(super) count: usize,
    pub(super) first: String,
}

impl Mishaps {
    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        if self.count == 0 {
            self.first = what();
        }
        self.count += 1;
    }
}

impl Tour {
    /// Asks the cases of `set`, at most `cases_max`, until `deadline`.
    ///
    /// # Errors
    /// When nobody is there to answer.
    pub(super) async fn make(
        runner: &mut Runner,
        set: &GoldenSet,
        reading: &Reading<'_>,
        (cases_max, deadline): (usize, Instant),
    ) -> Result<Self, String> {
        let mut tour = Self::default();
        let mut previous: &[Tensor] = &[];
        for (place, case) in set.cases.iter().take(cases_max).enumerate() {
            if Instant::now() >= deadline {
                break;
            }
            let golden = &case.golden;
            let names = golden.outputs.iter().map(Tensor::name).collect::<Vec<_>>();
            let ran = match runner.run(&golden.inputs, &names).await {
                Ok(ran) => ran,
                Err(RunError::Unreachable(why)) => return Err(why),
                Err(error) => {
                    tour.cases += 1;
                    tour.rows += golden.rows();
                    tour.failed.note(|| format!("line {}: {error}", case.line));
                    tour.predictions.extend(golden.labels.iter().map(|_| None));
                    if matches!(error, RunError::Overdue(_)) {
                        break;
                    }
                    continue;
                }
            };
            tour.cases += 1;
            tour.rows += golden.rows();
            if let Some(what) = compare::first_unsound(&ran.outputs) {
                tour.first_unsound.get_or_insert(place);
                tour.unsound.note(|| format!("line {}: {what}", case.line));
            }
            if !golden.outputs.is_empty() {
                tour.compared += 1;
                match compare::answers(&ran.outputs, &golden.outputs, set.tolerance) {
                    Ok(difference) => tour.largest = tour.largest.max(difference),
                    Err(what) => tour.differing.note(|| format!("line {}: {what}", case.line)),
                }
            }
            if golden.inputs != previous {
                tour.spread.see(&ran.outputs, golden.rows());
            }
            previous = &golden.inputs;
            let mut predicted = if golden.labels.is_empty() {
                Vec::new().into_iter()
            } else {
                reading.predictions(&ran.outputs, golden.rows()).into_iter()
            };
            tour.predictions.extend(golden.labels.iter().map(|_| predicted.next()));
        }
        Ok(tour)
    }
}

/// Whether answers are always the same.
#[derive(Debug, Default)]
pub(super) struct Spread {
    rows: usize,
    /// Smallest and largest value of each column of each output.
    columns: BTreeMap<String, Vec<(f64, f64)>>,
    words: BTreeMap<String, String>,
    differs: bool,
}

impl Spread {
    /// Takes in the answer to `rows` rows.
    pub(super) fn see(&mut self, outputs: &[Tensor], rows: usize) {
        self.rows += rows;
        for output in outputs {
            let Some(values) = numbers(output.data()) else {
                self.see_texts(output);
                continue;
            };
            let width = values.len().checked_div(rows).unwrap_or(0);
            if width == 0 || width > COLUMNS_MAX || values.len() != width * rows {
                // What has no columns is not followed, and so never called constant.
                self.differs = true;
                continue;
            }
            let name = output.name();
            let fresh = || vec![(f64::INFINITY, f64::NEG_INFINITY); width];
            let columns = self.columns.entry(name.to_owned()).or_insert_with(fresh);
            self.differs |= columns.len() != width;
            for row in values.chunks_exact(width) {
                for ((least, most), value) in columns.iter_mut().zip(row) {
                    (*least, *most) = (least.min(*value), most.max(*value));
                }
            }
        }
    }

    fn see_texts(&mut self, output: &Tensor) {
        for text in texts(output.data()) {
            match self.words.get(output.name()) {
                None => drop(self.words.insert(output.name().to_owned(), text)),
                Some(word) => self.differs |= *word != text,
            }
        }
    }

    /// Rows that were seen.
    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    /// Whether all answers are the same, but for the last digits.
    pub(super) fn is_constant(&self) -> bool {
        let narrow = |(least, most): &(f64, f64)| {
            let size = least.abs().max(most.abs()).max(1e-3);
            most - least <= 1e-6 * size || most < least
        };
        self.rows > 1
            && !self.differs
            && !(self.columns.is_empty() && self.words.is_empty())
            && self.columns.values().flatten().all(narrow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::tensor::TensorData;

    fn seen(rows: &[[f32; 2]]) -> Spread {
        let mut spread = Spread::default();
        for row in rows {
            let data = TensorData::Fp32(row.to_vec());
            spread.see(&[Tensor::new("p", [1, 2].as_slice(), data).expect("agrees")], 1);
        }
        spread
    }

    #[test]
    fn answers_that_never_change_are_constant() {
        assert!(seen(&[[0.3, 0.7], [0.3, 0.7], [0.3, 0.7 + 1e-8]]).is_constant());
        assert!(!seen(&[[0.3, 0.7], [0.3, 0.71]]).is_constant());
        assert!(!seen(&[[0.3, 0.7]]).is_constant(), "one row says nothing");
        assert!(seen(&[[f32::NAN, 0.7], [f32::NAN, 0.7]]).is_constant());
        assert!(!Spread::default().is_constant());
        let mut words = Spread::default();
        for word in ["cat", "cat", "dog"] {
            let data = TensorData::Bytes(vec![word.as_bytes().to_vec()]);
            words.see(&[Tensor::new("y", [1].as_slice(), data).expect("agrees")], 1);
            assert_eq!(words.is_constant(), words.rows() == 2);
        }
    }
}
