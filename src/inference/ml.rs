//! Operators of `ai.onnx.ml` that this crate runs itself.
//!
//! Owns the replacements for tract's own LinearClassifier and Normalizer: tract expands each into half
//! a dozen nodes of its core set, which costs a small model more than its arithmetic. Here each is one
//! node. Never decides which operators may be served, that is `graph`'s. Follows version 1 of the
//! operators (<https://onnx.ai/onnx/operators/index.html#ai-onnx-ml>), and onnxruntime where that says
//! nothing.

mod linear_classifier;
mod normalizer;
mod post_transform;

#[cfg(test)]
mod tests;

use tract_onnx::Onnx;

/// Replaces tract's operators in `onnx` by those of this module.
pub(super) fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("LinearClassifier", linear_classifier::build);
    onnx.op_register.insert("Normalizer", normalizer::build);
}
