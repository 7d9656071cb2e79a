//! The operators of `ai.onnx.ml`, which are our own.
//!
//! Owns the domain: tract has few of its operators, and expands those that it has into half a dozen
//! nodes, which costs a small model more than its arithmetic. Here each is one node. An operator is a
//! file that implements [`Operator`] and a line in [`OPERATORS`]. Never decides about other domains, that
//! is `graph`'s. Follows the specification
//! (<https://onnx.ai/onnx/operators/index.html#ai-onnx-ml>), and onnxruntime where that says nothing;
//! each operator's own documentation says where that is.
//!
//! [`Operator`]: operator::Operator

mod attributes;
mod labels;
mod linear_classifier;
mod normalizer;
mod operator;
mod post_transform;
mod svm;
mod trees;

#[cfg(test)]
mod tests;

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::TractResult;
use tract_onnx::tract_hir::infer::InferenceOp;

use self::linear_classifier::LinearClassifier;
use self::normalizer::Normalizer;
use self::operator::{Operator, build};
use self::svm::{SvmClassifier, SvmRegressor};
use self::trees::{TreeEnsemble, TreeEnsembleClassifier, TreeEnsembleRegressor};

/// The name of the domain.
pub(super) const DOMAIN: &str = "ai.onnx.ml";

/// Makes the operator of a node.
type Build =
    fn(&ParsingContext<'_>, &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// What this crate has of the domain.
const OPERATORS: [(&str, Build); 7] = [
    entry::<LinearClassifier>(),
    entry::<Normalizer>(),
    entry::<SvmClassifier>(),
    entry::<SvmRegressor>(),
    entry::<TreeEnsemble>(),
    entry::<TreeEnsembleClassifier>(),
    entry::<TreeEnsembleRegressor>(),
];

/// What is left to tract.
const STOCK: [&str; 3] = ["ArrayFeatureExtractor", "CategoryMapper", "LinearRegressor"];

const fn entry<O: Operator>() -> (&'static str, Build) {
    (O::NAME, build::<O>)
}

/// Puts the operators of this module into `onnx`.
pub(super) fn register(onnx: &mut Onnx) {
    for (name, build) in OPERATORS {
        onnx.op_register.insert(name, build);
    }
}

/// Whether the domain's operator `name` can be run.
pub(super) fn supports(name: &str) -> bool {
    OPERATORS.iter().any(|(own, _)| *own == name) || STOCK.contains(&name)
}
