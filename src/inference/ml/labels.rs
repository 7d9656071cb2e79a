//! The class labels of a classifier.
//!
//! Owns the pair of attributes `classlabels_*`, of which a file gives one, and the tensor that a choice
//! of classes becomes. Never chooses.

use tract_onnx::prelude::{DatumType, Tensor, TractResult, tensor1};

use super::attributes::Attributes;

/// One label for each class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::inference) enum Labels {
    Integers(Vec<i64>),
    Texts(Vec<String>),
}

impl Labels {
    /// Reads the attribute `integers` or `texts`, whichever is given.
    ///
    /// # Errors
    /// When it is both or neither.
    pub(super) fn parse(
        attributes: &Attributes<'_>,
        integers: &'static str,
        texts: &'static str,
    ) -> TractResult<Self> {
        match (attributes.ints(integers)?, attributes.texts(texts)?) {
            ([], texts) if !texts.is_empty() => Ok(Self::Texts(texts)),
            (integers, texts) if texts.is_empty() && !integers.is_empty() => {
                Ok(Self::Integers(integers.to_vec()))
            }
            _ => {
                Err(attributes
                    .misfit(&format!("exactly one of {integers} and {texts} must be given")))
            }
        }
    }

    /// What onnxruntime answers where the file has one label only: whether the score is positive.
    pub(super) fn signs(&self) -> Self {
        match self {
            Self::Integers(_) => Self::Integers(vec![0, 1]),
            Self::Texts(_) => Self::Texts(vec!["0".to_owned(), "1".to_owned()]),
        }
    }

    /// The number of classes.
    pub(in crate::inference) fn len(&self) -> usize {
        match self {
            Self::Integers(labels) => labels.len(),
            Self::Texts(labels) => labels.len(),
        }
    }

    /// The labels as texts.
    pub(in crate::inference) fn texts(&self) -> Vec<String> {
        match self {
            Self::Integers(labels) => labels.iter().map(ToString::to_string).collect(),
            Self::Texts(labels) => labels.clone(),
        }
    }

    /// The length of the longest text, 0 where they are integers.
    pub(super) fn longest_text(&self) -> usize {
        match self {
            Self::Integers(_) => 0,
            Self::Texts(labels) => labels.iter().map(String::len).max().unwrap_or(0),
        }
    }

    /// The element type of [`Self::pick`].
    pub(super) fn datum_type(&self) -> DatumType {
        match self {
            Self::Integers(_) => DatumType::I64,
            Self::Texts(_) => DatumType::String,
        }
    }

    /// The labels of these classes, in a tensor of rank 1.
    pub(super) fn pick(&self, classes: impl Iterator<Item = usize>) -> Tensor {
        match self {
            Self::Integers(labels) => {
                let label = |class| labels.get(class).copied().unwrap_or_default();
                tensor1(&classes.map(label).collect::<Vec<_>>())
            }
            Self::Texts(labels) => {
                let label = |class| labels.get(class).cloned().unwrap_or_default();
                tensor1(&classes.map(label).collect::<Vec<_>>())
            }
        }
    }
}
