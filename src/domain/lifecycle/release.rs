//! What is known of a version before anyone has asked it anything.
//!
//! Owns provenance, the order of versions, and the numbers of a name like `1.4.2`. Never looks at an
//! artifact.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::time::Wall;
use crate::domain::ids::{Digest, VersionName};

/// What a discovery source tells of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// What it is, by its content.
    pub digest: Digest,
    /// Bytes of the artifact; zero for a version behind backends.
    #[serde(default)]
    pub bytes: u64,
    /// Which source told it, and where it lies.
    pub source: String,
    /// Who made it, by their own word, or else its source and model: releases of one publisher stand or fall together.
    /// None of what the configuration names without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    /// When it was trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_at: Option<Wall>,
    /// An operator named it in the configuration, which counts as an approval.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub named: bool,
}

/// The numbers in a version's name: `v7`, `1.4.2`, `2026-11-26`. Suffixes do not order.
fn numbers(name: &str) -> Option<Vec<u64>> {
    let body = name.strip_prefix(['v', 'V']).unwrap_or(name);
    let separators: &[char] = if body.contains('.') { &['.'] } else { &['-'] };
    let core = if body.contains('.') { body.split('-').next()? } else { body };
    core.split(separators).map(|part| part.parse().ok()).collect()
}

/// Which of two versions is newer, by their names; `None` where names do not tell (then the order in
/// which they were discovered does).
pub fn order_of_names(a: &VersionName, b: &VersionName) -> Option<Ordering> {
    let (a, b) = (numbers(a.as_str())?, numbers(b.as_str())?);
    (a.len() == b.len()).then(|| a.cmp(&b))
}

/// `X`, `Y` and `Z` of a name of that form.
fn semantic(name: &VersionName) -> Option<[u64; 3]> {
    let text = name.as_str();
    if text.contains('.') { numbers(text)?.try_into().ok() } else { None }
}

/// Whether the name says that the version is not meant for clients: `0.Y.Z`.
pub fn is_prerelease(name: &VersionName) -> bool {
    semantic(name).is_some_and(|[release, ..]| release == 0)
}

/// Whether two names say that their interfaces differ: another `Y` in `X.Y.Z`.
pub fn interface_differs(a: &VersionName, b: &VersionName) -> bool {
    match (semantic(a), semantic(b)) {
        (Some([_, a, _]), Some([_, b, _])) => a != b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(a: &str, b: &str) -> Option<Ordering> {
        order_of_names(&VersionName::new(a), &VersionName::new(b))
    }

    #[test]
    fn names_order_by_their_numbers_and_others_do_not_order() {
        assert_eq!(order("v9", "v10"), Some(Ordering::Less));
        assert_eq!(order("1.4.10", "1.4.9"), Some(Ordering::Greater));
        assert_eq!(order("1.4.2-data7", "1.4.2"), Some(Ordering::Equal));
        assert_eq!(order("2026-01-31", "2026-02-01"), Some(Ordering::Less));
        assert_eq!(order("v1", "1.0.0"), None);
        assert_eq!(order("blue", "green"), None);
    }

    #[test]
    fn the_first_number_tells_a_prerelease_and_the_second_the_interface() {
        assert!(is_prerelease(&VersionName::new("0.3.1")));
        assert!(!is_prerelease(&VersionName::new("v0")));
        let differ = |a, b| interface_differs(&VersionName::new(a), &VersionName::new(b));
        assert!(differ("1.4.2", "1.5.0"));
        assert!(!differ("1.4.2", "2.4.0-x"));
        assert!(!differ("v1", "v2"));
        assert!(!differ("2026-01-31", "2026-02-01"));
    }
}
