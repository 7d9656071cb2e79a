//! `ai.onnx.ml` TreeEnsembleClassifier, TreeEnsembleRegressor and TreeEnsemble.
//!
//! Owns decision trees in all their forms: random forests, gradient boosting, isolation forests. A file
//! goes through `attributes` or `indexed`, which check it, and `table`, which lays it out, once; a
//! request goes through `walk` and `score`. `operators` is the side that tract sees.
//!
//! Where the specification says nothing (NaN, ties, labels and scores of two classes, base values),
//! onnxruntime is followed; `score` says how. Scores are added up in the order of the trees and in the
//! precision that onnxruntime uses, so that sums which cancel out agree as well.

mod attributes;
mod forest;
mod indexed;
mod key;
mod lower;
mod operators;
mod score;
mod table;
mod walk;

#[cfg(test)]
mod tests;

pub(super) use self::operators::{TreeEnsemble, TreeEnsembleClassifier, TreeEnsembleRegressor};
