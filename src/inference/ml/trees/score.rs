//! What an ensemble answers, given the scores of its trees.
//!
//! Owns base values, averages, the label of a row and the special rules for two classes. The
//! specification leaves those open; onnxruntime's are followed to the letter, since the converters of
//! scikit-learn, XGBoost and LightGBM were fitted to it. Never walks a tree.

use super::key::Real;
use super::walk::{Fold, Scores};
use crate::inference::ml::post_transform::PostTransform;

/// The attribute `aggregate_function`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

impl Aggregate {
    /// How votes are put together while trees are walked.
    pub(super) fn fold(self) -> Fold {
        match self {
            Self::Sum | Self::Average => Fold::Sum,
            Self::Min => Fold::Min,
            Self::Max => Fold::Max,
        }
    }
}

/// What follows the trees of a regressor.
#[derive(Debug)]
pub(super) struct Regression {
    pub(super) aggregate: Aggregate,
    /// One for each target, or none.
    pub(super) base_values: Vec<f64>,
    pub(super) transform: PostTransform,
}

impl Regression {
    /// Turns the scores of one row into its answer.
    pub(super) fn finish<T: Real>(&self, row: Scores<'_, T>, trees: usize, answer: &mut [T]) {
        let base = self.base_values.iter().map(|value| Some(T::from_f64(*value)));
        let base = base.chain(std::iter::repeat(None));
        for (((place, score), voted), base) in
            answer.iter_mut().zip(row.scores).zip(row.voted).zip(base)
        {
            // Without a vote, onnxruntime leaves out the base value of one of many as well.
            if !voted && row.scores.len() > 1 {
                continue;
            }
            *place = *score;
            if self.aggregate == Aggregate::Average {
                *place /= T::from_count(trees);
            }
            if let Some(base) = base {
                *place += base;
            }
        }
        // onnxruntime has no other transform for a single target.
        if answer.len() > 1 || self.transform == PostTransform::Probit {
            transform(self.transform, answer);
        }
    }
}

/// What follows the trees of a classifier.
#[derive(Debug)]
pub(super) struct Classification {
    /// One for each class or none; one or two for two classes.
    pub(super) base_values: Vec<f64>,
    pub(super) transform: PostTransform,
    /// Whether there are two classes and all votes are for the same one.
    pub(super) one_sided: bool,
    /// Whether no vote is negative.
    pub(super) probabilities: bool,
}

impl Classification {
    /// Turns the scores of one row into those of the answer, and chooses its
    /// class. With one class that is 1 where the score is positive.
    pub(super) fn finish<T: Real>(&self, row: Scores<'_, T>, answer: &mut [T]) -> usize {
        answer.copy_from_slice(row.scores);
        match answer {
            [only] => self.one(only),
            [first, second] => self.two(row.voted, first, second),
            many => self.many(row.voted, many),
        }
    }

    fn base<T: Real>(&self, class: usize) -> T {
        T::from_f64(self.base_values.get(class).copied().unwrap_or_default())
    }

    fn many<T: Real>(&self, voted: &[bool], scores: &mut [T]) -> usize {
        let mut best: Option<(usize, T)> = None;
        for (class, (score, voted)) in scores.iter_mut().zip(voted).enumerate() {
            if !self.base_values.is_empty() {
                *score += self.base(class);
            }
            let counts = *voted || !self.base_values.is_empty();
            if counts && best.is_none_or(|(_, highest)| *score > highest) {
                best = Some((class, *score));
            }
        }
        transform(self.transform, scores);
        best.map_or(0, |(class, _)| class)
    }

    fn one<T: Real>(&self, score: &mut T) -> usize {
        *score += self.base(0);
        let positive = *score > T::ZERO;
        if self.transform == PostTransform::Probit {
            transform(self.transform, std::slice::from_mut(score));
        }
        usize::from(positive)
    }

    fn two<T: Real>(&self, voted: &[bool], first: &mut T, second: &mut T) -> usize {
        let &[first_voted, second_voted] = voted else { return 0 };
        match (self.base_values.len(), second_voted) {
            (0, _) => {}
            // The score of the second class is not used. Not a slip of ours.
            (2.., true) => {
                *second = self.base(1);
                *second += *first;
                *first = negative(*second);
            }
            _ => *first += self.base(0),
        }
        // A class without a vote scores zero, whatever its base value.
        if !first_voted {
            *first = T::ZERO;
        }
        let score = if second_voted { *second } else { *first };
        let threshold = if self.one_sided && self.probabilities { 0.5 } else { 0.0 };
        let positive = score.into() > threshold;
        if second_voted || self.base_values.len() > 1 {
            let mut both = [*first, *second];
            transform(self.transform, &mut both);
            [*first, *second] = both;
        } else {
            self.expand(first, second);
        }
        usize::from(positive)
    }

    /// Makes two scores of the only one there is, which is that of the second class.
    fn expand<T: Real>(&self, first: &mut T, second: &mut T) {
        *second = *first;
        *first = negative(*second);
        if self.transform == PostTransform::Logistic {
            transform(self.transform, std::slice::from_mut(first));
            transform(self.transform, std::slice::from_mut(second));
        } else if self.one_sided && self.probabilities {
            *first += T::from_f64(1.0);
        }
    }
}

fn negative<T: Real>(number: T) -> T {
    T::from_f64(-number.into())
}

/// Applies `post_transform`, in 32 bits as onnxruntime does.
fn transform<T: Real>(transform: PostTransform, scores: &mut [T]) {
    if transform == PostTransform::None {
        return;
    }
    let mut single: smallvec::SmallVec<[f32; 16]> = smallvec::SmallVec::new();
    single.extend(scores.iter().map(|score| (*score).into() as f32));
    transform.apply(&mut single);
    for (score, single) in scores.iter_mut().zip(single) {
        *score = T::from_f64(f64::from(single));
    }
}
