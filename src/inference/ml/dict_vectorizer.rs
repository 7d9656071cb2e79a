//! `ai.onnx.ml` DictVectorizer, version 1, at the edge of the graph.
//!
//! Owns the vocabulary that says which column of a row a key stands for
//! (<https://onnx.ai/onnx/operators/onnx_aionnxml_DictVectorizer.html>). In ONNX the operator takes a map
//! and makes it a row, with zeros for keys that are not in it. No tensor protocol has maps: so the row
//! is the input, and the vocabulary goes to the signature. Never stands within a graph, which `graph`
//! checks.

use tract_onnx::prelude::{TValue, TVec, TractResult, tvec};

use super::attributes::Attributes;
use super::labels::Labels;
use super::operator::{Form, Operator, rows};

/// Lets the row pass and holds the names of its columns.
#[derive(Debug)]
pub(in crate::inference) struct DictVectorizer {
    vocabulary: Labels,
}

impl DictVectorizer {
    /// The keys, one for each column.
    pub(in crate::inference) fn into_vocabulary(self) -> Labels {
        self.vocabulary
    }
}

impl Operator for DictVectorizer {
    const NAME: &'static str = "DictVectorizer";

    fn parse(attributes: &Attributes<'_>) -> TractResult<Self> {
        let vocabulary = Labels::parse(attributes, "int64_vocabulary", "string_vocabulary")?;
        Ok(Self { vocabulary })
    }

    fn forms(&self, inputs: &[Form]) -> TractResult<TVec<Form>> {
        let input = Self::only(inputs)?;
        rows(Self::NAME, &input.shape, self.vocabulary.len())?;
        Ok(tvec!(input.clone()))
    }

    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = Self::only(inputs)?;
        rows(Self::NAME, input.shape(), self.vocabulary.len())?;
        Ok(tvec!(input))
    }
}
