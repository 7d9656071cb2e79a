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

mod array_feature_extractor;
mod attributes;
mod binarizer;
mod category_mapper;
mod dict_vectorizer;
mod exponential;
mod feature_vectorizer;
mod imputer;
mod label_encoder;
mod labels;
mod linear;
mod linear_classifier;
mod linear_regressor;
mod lookup;
mod map;
mod normalizer;
mod one_hot_encoder;
mod operator;
mod post_transform;
mod scaler;
mod svm;
mod trees;
mod zip_map;

#[cfg(test)]
mod tests;

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{TValue, TractResult};
use tract_onnx::tract_hir::infer::InferenceOp;
use tract_onnx::tract_hir::internal::TypedOp;

use self::array_feature_extractor::ArrayFeatureExtractor;
pub(super) use self::attributes::Attributes;
use self::binarizer::Binarizer;
use self::category_mapper::CategoryMapper;
pub(super) use self::dict_vectorizer::DictVectorizer;
pub(super) use self::exponential::{each, exponentials, logistics, pairs, polynomial};
use self::feature_vectorizer::FeatureVectorizer;
use self::imputer::Imputer;
use self::label_encoder::LabelEncoder;
pub(super) use self::labels::Labels;
use self::linear_classifier::LinearClassifier;
use self::linear_regressor::LinearRegressor;
use self::normalizer::Normalizer;
use self::one_hot_encoder::OneHotEncoder;
pub(super) use self::operator::{
    Form, Operator, Unacceptable, build, operator, parse, typed, wrap,
};
use self::operator::{Weight, weight};
use self::scaler::Scaler;
use self::svm::{SvmClassifier, SvmRegressor};
use self::trees::{TreeEnsemble, TreeEnsembleClassifier, TreeEnsembleRegressor};
pub(super) use self::zip_map::ZipMap;

/// The name of the domain.
pub(super) const DOMAIN: &str = "ai.onnx.ml";

/// Makes the operator of a node.
type Build =
    fn(&ParsingContext<'_>, &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// What an operator weighs, if it is of a certain type.
type Weigh = fn(&dyn TypedOp) -> Option<Weight>;

/// Reads the attributes of a node and runs it on inputs that it takes; whether it can be read.
type Trial = fn(&NodeProto, i64, &[TValue]) -> bool;

/// What this crate has of the domain.
const OPERATORS: &[(&str, Build, Weigh, Trial)] = &[
    entry::<ArrayFeatureExtractor>(),
    entry::<Binarizer>(),
    entry::<CategoryMapper>(),
    entry::<DictVectorizer>(),
    entry::<FeatureVectorizer>(),
    entry::<Imputer>(),
    entry::<LabelEncoder>(),
    entry::<LinearClassifier>(),
    entry::<LinearRegressor>(),
    entry::<Normalizer>(),
    entry::<OneHotEncoder>(),
    entry::<Scaler>(),
    entry::<SvmClassifier>(),
    entry::<SvmRegressor>(),
    entry::<TreeEnsemble>(),
    entry::<TreeEnsembleClassifier>(),
    entry::<TreeEnsembleRegressor>(),
    entry::<ZipMap>(),
];

const fn entry<O: Operator>() -> (&'static str, Build, Weigh, Trial) {
    (O::NAME, build::<O>, weight::<O>, operator::attempt::<O>)
}

/// Puts the operators of this module into `onnx`.
pub(super) fn register(onnx: &mut Onnx) {
    for (name, build, ..) in OPERATORS {
        onnx.op_register.insert(name, *build);
    }
}

/// What an operator of a typed graph holds beside its constants, in bytes; 0 for those of tract.
pub(super) fn held_bytes(op: &dyn TypedOp) -> usize {
    weigh(op).held_bytes
}

/// The length of the longest text that an operator of a typed graph makes; 0 for those of tract, and those
/// that make none.
pub(super) fn longest_text(op: &dyn TypedOp) -> usize {
    weigh(op).longest_text
}

fn weigh(op: &dyn TypedOp) -> Weight {
    OPERATORS.iter().find_map(|(_, _, weigh, _)| weigh(op)).unwrap_or_default()
}

/// Whether the domain's operator `name` can be run.
pub(super) fn supports(name: &str) -> bool {
    OPERATORS.iter().any(|(own, ..)| *own == name)
}

/// Reads the attributes of a node of this domain and, where that works, runs it on each of `inputs`: for
/// the fuzzer. Whether it can be read.
pub(super) fn attempt(node: &NodeProto, version: i64, inputs: &[TValue]) -> bool {
    let operator = OPERATORS.iter().find(|(own, ..)| *own == node.op_type);
    operator.is_some_and(|(.., attempt)| attempt(node, version, inputs))
}
