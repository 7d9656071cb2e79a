//! Dividing a model's traffic over its versions.
//!
//! Weighted rendezvous hashing: each version draws `-ln(u) / weight` from a hash of the key and its
//! own name, and the smallest draw wins (Schindelhauer and Schomaker, "Weighted distributed hash
//! tables", SPAA 2005). The share of each version is its weight, and a change of weights moves only
//! the keys that the change requires: raising a candidate moves keys to it from the others, and
//! never between the others.

use twox_hash::XxHash3_64;

use super::table::TargetIx;
use crate::domain::ids::{Entropy, Permille};

/// What a draw is made from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key<'a> {
    Sticky(&'a str),
    Entropy(Entropy),
}

/// The versions that take traffic now, with their weights.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Split {
    shares: Box<[Share]>,
}

/// One version's part of a split.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// The version's target.
    pub target: TargetIx,
    /// Its weight; never zero.
    pub weight: Permille,
    /// A hash of the version's name: stable over restarts, whatever the order in the file.
    seed: u64,
}

impl Split {
    /// Builds a split from versions that are ready; those without weight are left out.
    pub(super) fn new<'a>(versions: impl Iterator<Item = (&'a str, TargetIx, Permille)>) -> Self {
        let shares = versions
            .filter(|(_, _, weight)| *weight > Permille::NONE)
            .map(|(name, target, weight)| Share {
                target,
                weight,
                seed: XxHash3_64::oneshot(name.as_bytes()),
            })
            .collect();
        Self { shares }
    }

    /// The versions with traffic.
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// Draws a version; the split must not be empty.
    pub(super) fn pick(&self, key: Key<'_>) -> TargetIx {
        if let [only] = &*self.shares {
            return only.target;
        }
        let draw = |share: &Share| {
            let hash = match key {
                Key::Sticky(text) => XxHash3_64::oneshot_with_seed(share.seed, text.as_bytes()),
                Key::Entropy(Entropy(bits)) => {
                    XxHash3_64::oneshot_with_seed(share.seed, &bits.to_le_bytes())
                }
            };
            -unit_interval(hash).ln() / f64::from(share.weight.thousandths())
        };
        let mut best = (self.shares[0].target, f64::INFINITY);
        for share in &self.shares {
            let draw = draw(share);
            if draw < best.1 {
                best = (share.target, draw);
            }
        }
        best.0
    }
}

/// Maps 64 uniform bits to the open interval (0, 1), exact in 53 bits.
fn unit_interval(bits: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let numerator = (bits >> 11) as f64 + 0.5;
    numerator / (1u64 << 53) as f64
}
