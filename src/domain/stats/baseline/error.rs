//! Why a baseline is refused.

use thiserror::Error;

use super::FILE_BYTES_MAX;
use super::file::FORMAT;
use crate::domain::stats::layout::LayoutError;

/// Why a baseline is refused.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum BaselineError {
    /// The file is too long to be one.
    #[error("the baseline has {bytes} bytes; there may be {FILE_BYTES_MAX}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The file is not JSON of the right form.
    #[error("the baseline is not understood: {message}")]
    Json {
        /// What and where, with line and column.
        message: String,
    },
    /// The file is of another format.
    #[error("`format` is {found}; this version reads {FORMAT}")]
    Format {
        /// What the file says.
        found: u32,
    },
    /// A field of the file as a whole makes no sense.
    #[error("`{field}` {problem}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A feature makes no sense.
    #[error("`{list}[{index}]` ({name:?}): {problem}")]
    Feature {
        /// `features` or `outputs`.
        list: &'static str,
        /// The place in the list.
        index: usize,
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: FeatureProblem,
    },
    /// The features together make no layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The baseline belongs to another artifact.
    #[error(
        "the baseline was made for the artifact {named}, and this one is {artifact}; make a new one \
         with `pointsman baseline`"
    )]
    WrongDigest {
        /// The digest in the file.
        named: String,
        /// The digest of the artifact.
        artifact: String,
    },
    /// The model has no such feature.
    #[error("the baseline has the {role} {name:?}, which the model does not have; it has: {known}")]
    UnknownFeature {
        /// `input` or `output`.
        role: &'static str,
        /// The feature of the baseline.
        name: String,
        /// What the model has.
        known: String,
    },
}

/// What is wrong with a feature.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum FeatureProblem {
    /// Its edges or values.
    #[error(transparent)]
    Cut(#[from] LayoutError),
    /// A list that this kind does not have.
    #[error("a {kind} feature has no `{field}`")]
    Misplaced {
        /// The kind.
        kind: &'static str,
        /// The list.
        field: &'static str,
    },
    /// A list of the wrong length.
    #[error("`{field}` has {found} entries; with these edges or values there are {wanted}")]
    Length {
        /// The list.
        field: &'static str,
        /// Its length.
        found: usize,
        /// The length that it must have.
        wanted: usize,
    },
    /// A number outside of its range.
    #[error("`{field}` is {found}; it must be {wanted}")]
    Number {
        /// The field.
        field: &'static str,
        /// What stands there.
        found: f64,
        /// What may stand there.
        wanted: &'static str,
    },
    /// Shares that do not add up.
    #[error("`mass` (and `other`) add up to {found}; they must add up to 1")]
    Mass {
        /// The sum.
        found: f64,
    },
}
