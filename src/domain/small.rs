//! Short lists in what is kept: `#[serde(with = "crate::domain::small")]`.
//!
//! Owns the form, which is that of any list. Pure.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::{Array, SmallVec};

/// Writes a list.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<A: Array, S: Serializer>(list: &SmallVec<A>, to: S) -> Result<S::Ok, S::Error>
where
    A::Item: Serialize,
{
    to.collect_seq(list)
}

/// Reads a list; what is short takes no memory of its own again.
///
/// # Errors
/// Those of the deserializer.
pub fn deserialize<'de, A: Array, D: Deserializer<'de>>(from: D) -> Result<SmallVec<A>, D::Error>
where
    A::Item: Deserialize<'de>,
{
    Ok(Vec::deserialize(from)?.into_iter().collect())
}
