//! What the quality ought to be, before any label has come.
//!
//! Owns the estimate from calibrated scores alone (confidence-based performance estimation: NannyML's name for the
//! expected confusion matrix). If a score of 0.8 comes true eight times of ten, then a prediction with that score is
//! right eight times of ten. It is an **estimate**: it cannot see that the world has changed under the model, and it
//! is only as good as the calibration. It warns; it never decides.

use super::confidence::Interval;
use super::quality::{ScoreCell, ScoreCounts};

/// The most points of a calibration.
const POINTS_MAX: usize = 4096;

/// From a score to the chance that it comes true: straight lines between points, as scikit-learn's isotonic
/// regression predicts, and level beyond them.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrator {
    points: Vec<(f64, f64)>,
}

/// Why points are no calibration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationError {
    /// There must be as many scores as chances, at least one and at most 4096.
    #[error("a calibration needs as many `x` as `y`, at least 1 and at most 4096")]
    Length,
    /// A number is none, or beyond 0 and 1.
    #[error("`x` and `y` of a calibration lie between 0 and 1 (at index {0})")]
    Range(usize),
    /// One of the two falls.
    #[error("`x` of a calibration must rise and `y` must not fall (at index {0})")]
    Order(usize),
}

impl Calibrator {
    /// Scores are chances already.
    pub fn identity() -> Self {
        Self { points: vec![(0.0, 0.0), (1.0, 1.0)] }
    }

    /// Takes the points of an isotonic regression.
    ///
    /// # Errors
    /// When they are no rising line between 0 and 1.
    pub fn new(x: &[f64], y: &[f64]) -> Result<Self, CalibrationError> {
        if x.len() != y.len() || x.is_empty() || x.len() > POINTS_MAX {
            return Err(CalibrationError::Length);
        }
        let points: Vec<(f64, f64)> = x.iter().copied().zip(y.iter().copied()).collect();
        let is_share = |value: f64| (0.0..=1.0).contains(&value);
        if let Some(at) = points.iter().position(|(x, y)| !is_share(*x) || !is_share(*y)) {
            return Err(CalibrationError::Range(at));
        }
        let rises = |pair: &[(f64, f64)]| match pair {
            [(x, y), (next_x, next_y)] => x < next_x && y <= next_y,
            _ => true,
        };
        match points.windows(2).position(|pair| !rises(pair)) {
            Some(at) => Err(CalibrationError::Order(at + 1)),
            None => Ok(Self { points }),
        }
    }

    /// The chance behind a score.
    pub fn chance(&self, score: f64) -> f64 {
        let at = self.points.partition_point(|point| point.0 <= score);
        let before = at.checked_sub(1).and_then(|before| self.points.get(before));
        match (before, self.points.get(at)) {
            (Some((x, y)), Some((next_x, next_y))) => {
                y + (next_y - y) * ((score - x) / (next_x - x))
            }
            (Some((_, y)), None) | (None, Some((_, y))) => *y,
            (None, None) => score,
        }
    }

    /// The chances of the scores in a bin: the line rises.
    fn of(&self, cell: ScoreCell) -> Interval {
        Interval { lower: self.chance(cell.lower()), upper: self.chance(cell.upper()) }
    }
}

/// An estimate. Its interval holds, for certain, what the same estimate from the very scores would be; it says nothing
/// about how right the calibration is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// What the bins hide.
    pub interval: Interval,
}

/// What is to be expected of a yes-or-no model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// The share that is right.
    pub accuracy: Estimate,
    /// The harmonic mean of precision and recall of the positive class.
    pub f1: f64,
    /// The area under the ROC curve; `None` if one of the classes is not expected at all.
    pub auc: Option<f64>,
}

/// Estimates the quality of predictions by their scores for the positive class; those from `threshold` on were
/// predicted to be positive. `None` without scores.
#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
pub fn expected(scores: &ScoreCounts, calibrator: &Calibrator, threshold: f64) -> Option<Expected> {
    let n = scores.n() as f64;
    if scores.cells().is_empty() {
        return None;
    }
    let (mut value, mut lower, mut upper) = (0.0, 0.0, 0.0);
    let (mut hits, mut predicted, mut positives) = (0.0, 0.0, 0.0);
    let (mut below, mut wins) = (0.0, 0.0);
    for cell in scores.cells() {
        let count = cell.count as f64;
        let chance = calibrator.of(*cell);
        let middle = f64::midpoint(chance.lower, chance.upper);
        let as_negative = Interval { lower: 1.0 - chance.upper, upper: 1.0 - chance.lower };
        // A bin that the threshold cuts holds predictions of both kinds.
        let right = if cell.lower() >= threshold {
            chance
        } else if cell.upper() <= threshold {
            as_negative
        } else {
            Interval {
                lower: chance.lower.min(as_negative.lower),
                upper: chance.upper.max(as_negative.upper),
            }
        };
        let is_positive = f64::midpoint(cell.lower(), cell.upper()) >= threshold;
        value += count * if is_positive { middle } else { 1.0 - middle };
        lower += count * right.lower;
        upper += count * right.upper;
        if is_positive {
            hits += count * middle;
            predicted += count;
        }
        positives += count * middle;
        let (positive, negative) = (count * middle, count * (1.0 - middle));
        wins += positive * (below + negative / 2.0);
        below += negative;
    }
    let interval = Interval { lower: lower / n, upper: upper / n };
    let accuracy = Estimate { value: value / n, interval };
    let named = predicted + positives;
    let f1 = if named > 0.0 { 2.0 * hits / named } else { 0.0 };
    let pairs = positives * below;
    Some(Expected { accuracy, f1, auc: (pairs > 0.0).then(|| wins / pairs) })
}

/// Estimates the accuracy of a model of several classes by the probability of the class that it named.
#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
pub fn expected_accuracy(confidences: &ScoreCounts, calibrator: &Calibrator) -> Option<Estimate> {
    if confidences.cells().is_empty() {
        return None;
    }
    let n = confidences.n() as f64;
    let (mut lower, mut upper) = (0.0, 0.0);
    for cell in confidences.cells() {
        let chance = calibrator.of(*cell);
        lower += cell.count as f64 * chance.lower;
        upper += cell.count as f64 * chance.upper;
    }
    let interval = Interval { lower: lower / n, upper: upper / n };
    Some(Estimate { value: f64::midpoint(interval.lower, interval.upper), interval })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn number(value: &Value) -> f64 {
        value.as_str().expect("a text").parse().expect("a number")
    }

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().expect("a list").iter().map(number).collect()
    }

    /// `tests/data/stats/cbpe.json`: an isotonic regression of scikit-learn, and the expected confusion matrix and
    /// curve score by score with numpy (`cbpe_golden.py`).
    #[test]
    fn the_estimate_is_that_of_the_scores_themselves() {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/stats/cbpe.json"));
        let golden: Value = serde_json::from_str(text).expect("JSON");
        let calibrator =
            Calibrator::new(&numbers(&golden["x"]), &numbers(&golden["y"])).expect("one");
        let mut scores = ScoreCounts::default();
        for score in numbers(&golden["scores"]) {
            assert!(scores.add(score));
        }
        for (score, chance) in numbers(&golden["probes"]).iter().zip(numbers(&golden["chances"])) {
            assert!((calibrator.chance(*score) - chance).abs() < 1e-14, "{score}");
        }
        let found = expected(&scores, &calibrator, 0.5).expect("scores");
        let wanted = number(&golden["accuracy"]);
        assert!(found.accuracy.interval.contains(wanted), "{wanted} is not in {found:?}");
        assert!((found.accuracy.value - wanted).abs() < 1e-3, "{found:?}");
        assert!((found.f1 - number(&golden["f1"])).abs() < 2e-3, "{found:?}");
        assert!((found.auc.expect("both") - number(&golden["auc"])).abs() < 2e-3, "{found:?}");
        // Labels that were drawn with these chances agree.
        assert!((found.accuracy.value - number(&golden["drawn_accuracy"])).abs() < 0.02);
        let certain = expected_accuracy(&scores, &Calibrator::identity()).expect("scores");
        assert!(certain.interval.contains(number(&golden["mean_score"])));
    }

    /// `tests/data/stats/cbpe_nannyml.json`: NannyML's data, and the numbers of NannyML's own tests.
    #[test]
    fn what_is_expected_of_nannymls_data_is_what_nannyml_expects() {
        let text = include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/stats/cbpe_nannyml.json"
        ));
        let golden: Value = serde_json::from_str(text).expect("JSON");
        let calibrator =
            Calibrator::new(&numbers(&golden["x"]), &numbers(&golden["y"])).expect("one");
        for chunk in golden["chunks"].as_array().expect("chunks") {
            let counts = chunk["counts"].as_array().expect("counts").iter();
            let counts = counts.map(|count| count.as_u64().expect("a count"));
            let (mut scores, mut n, mut exact) = (ScoreCounts::default(), 0, 0.0);
            let threshold = number(&chunk["threshold"]);
            for (score, count) in numbers(&chunk["scores"]).into_iter().zip(counts) {
                (0..count).for_each(|_| assert!(scores.add(score)));
                let chance = calibrator.chance(score);
                exact += count as f64 * if score >= threshold { chance } else { 1.0 - chance };
                n += count;
            }
            let found = expected(&scores, &calibrator, threshold).expect("scores");
            let (accuracy, auc) = (number(&chunk["accuracy"]), number(&chunk["roc_auc"]));
            // Score by score it is the same number; bins hide a little, and say how much.
            assert!((exact / n as f64 - accuracy).abs() < 1e-12, "{exact} {n} {accuracy}");
            assert!(found.accuracy.interval.contains(accuracy), "{accuracy} {found:?}");
            assert!((found.accuracy.value - accuracy).abs() < 5e-4, "{accuracy} {found:?}");
            assert!((found.auc.expect("both") - auc).abs() < 5e-4, "{auc} {found:?}");
        }
    }

    #[test]
    fn points_that_are_no_calibration_are_refused() {
        let refused = |x: &[f64], y: &[f64]| Calibrator::new(x, y).expect_err("no calibration");
        assert_eq!(refused(&[], &[]), CalibrationError::Length);
        assert_eq!(refused(&[0.1], &[0.1, 0.2]), CalibrationError::Length);
        assert_eq!(refused(&[0.1, f64::NAN], &[0.1, 0.2]), CalibrationError::Range(1));
        assert_eq!(refused(&[0.1, 0.2], &[0.1, 1.2]), CalibrationError::Range(1));
        assert_eq!(refused(&[0.2, 0.2], &[0.1, 0.2]), CalibrationError::Order(1));
        assert_eq!(refused(&[0.1, 0.2], &[0.3, 0.2]), CalibrationError::Order(1));
        let one = Calibrator::new(&[0.5], &[0.4]).expect("a level line");
        assert_eq!((one.chance(0.0), one.chance(1.0)), (0.4, 0.4));
    }

    #[test]
    fn without_scores_nothing_is_expected() {
        let (none, identity) = (ScoreCounts::default(), Calibrator::identity());
        assert_eq!(expected(&none, &identity, 0.5), None);
        assert_eq!(expected_accuracy(&none, &identity), None);
    }
}
