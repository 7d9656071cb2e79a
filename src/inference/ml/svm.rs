//! `ai.onnx.ml` SVMClassifier and SVMRegressor, version 1.
//!
//! Owns support vector machines as libsvm and liblinear fit them: all kernels (`kernel`), the votes of
//! one class against another (`classifier`), the probabilities that Platt's sigmoids and the coupling of
//! pairs make of them (`probability`), regression and the one-class machine (`regressor`). Where the
//! specification says nothing, onnxruntime is followed.

mod classifier;
mod kernel;
mod probability;
mod regressor;

#[cfg(test)]
mod tests;

use tract_onnx::prelude::{TractError, TractResult};

pub(super) use self::classifier::SvmClassifier;
pub(super) use self::regressor::SvmRegressor;

/// The number of rows in a tensor of features.
///
/// # Errors
/// When it has another rank than 1 or 2, or another number of features.
fn count(name: &str, shape: &[usize], features: usize) -> TractResult<usize> {
    match *shape {
        [columns] if columns == features => Ok(1),
        [rows, columns] if columns == features => Ok(rows),
        ref shape => {
            Err(TractError::msg(format!("{name} takes {features} features, got {shape:?}")))
        }
    }
}
