//! Why there can be no such layout.

use thiserror::Error;

use super::{BINS_MAX, CATEGORIES_MAX, FEATURES_MAX, NAME_BYTES_MAX};

/// Why there can be no such layout.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum LayoutError {
    /// An edge is NaN, infinite, or beyond single precision.
    #[error("`{list}[{index}]` is {number}; it must be finite, and at most 3.4e38 either way")]
    NotFinite {
        /// The list in the file.
        list: &'static str,
        /// The place in the list.
        index: usize,
        /// What stands there.
        number: f64,
    },
    /// Edges are not sorted, or two are one at single precision.
    #[error(
        "`{list}[{index}]` is {after} and follows {before}; `{list}` must ascend, and no two may be \
         equal at single precision"
    )]
    NotAscending {
        /// The list in the file.
        list: &'static str,
        /// The place in the list.
        index: usize,
        /// The number before it.
        before: f64,
        /// What stands there.
        after: f64,
    },
    /// More bins than there may be.
    #[error("`edges` and `point_masses` make {bins} bins; there may be {BINS_MAX}")]
    TooManyBins {
        /// How many there would be.
        bins: usize,
    },
    /// More values than there may be.
    #[error(
        "`values` has {values} entries; there may be {CATEGORIES_MAX}: leave rare ones to `other`"
    )]
    TooManyCategories {
        /// How many there are.
        values: usize,
    },
    /// A value is too long.
    #[error("`values[{index}]` is longer than {NAME_BYTES_MAX} bytes")]
    LongCategory {
        /// The place in the list.
        index: usize,
    },
    /// A value is there twice.
    #[error("`values` has {value:?} twice")]
    DoubledCategory {
        /// The value.
        value: Box<str>,
    },
    /// A name is empty or too long.
    #[error("the name of feature {index} has {bytes} bytes; it must have 1 to {NAME_BYTES_MAX}")]
    NameLength {
        /// The place of the feature.
        index: usize,
        /// The length of its name.
        bytes: usize,
    },
    /// A name is there twice.
    #[error("two features are named {name:?}")]
    DoubledFeature {
        /// The name.
        name: Box<str>,
    },
    /// More features than there may be.
    #[error("there are {features} features; there may be {FEATURES_MAX}")]
    TooManyFeatures {
        /// How many there are.
        features: usize,
    },
}
