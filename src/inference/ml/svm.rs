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

pub(super) use self::classifier::SvmClassifier;
pub(super) use self::regressor::SvmRegressor;
