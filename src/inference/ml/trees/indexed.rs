//! The attributes of TreeEnsemble, version 5.
//!
//! Owns the step from lists that refer to each other by position to a [`Forest`]. Branches and leaves
//! are apart here, a leaf votes for one target, and the members of the sets that branches test for
//! stand in one list, with NaN between the sets. Positions that do not exist, targets that do not exist
//! and cycles are refused with the attribute and the index.

use super::attributes::{NODES_MAX, check_target, check_targets, feature, same_length};
use super::forest::{Branch, Child, Forest, Refusal, Test, Vote};

/// The attributes that describe the trees, as they are in the file.
#[derive(Debug, Clone, Default)]
pub(super) struct IndexedLists<'a> {
    pub(super) roots: &'a [i64],
    pub(super) features: &'a [i64],
    pub(super) modes: Vec<u8>,
    pub(super) splits: Vec<f64>,
    pub(super) true_ids: &'a [i64],
    pub(super) true_leaves: &'a [i64],
    pub(super) false_ids: &'a [i64],
    pub(super) false_leaves: &'a [i64],
    pub(super) missing: &'a [i64],
    pub(super) members: Vec<f64>,
    pub(super) leaf_targets: &'a [i64],
    pub(super) leaf_weights: Vec<f64>,
}

impl IndexedLists<'_> {
    /// Checks everything and links it.
    ///
    /// # Errors
    /// When an attribute is wrong.
    pub(super) fn forest(&self, targets: usize) -> Result<Forest, Refusal> {
        self.check_lengths()?;
        check_targets("n_targets", targets)?;
        let mut sets = self.members.split(|member| member.is_nan());
        let mut forest = Forest {
            branches: Vec::with_capacity(self.features.len()),
            roots: Vec::with_capacity(self.roots.len()),
            votes: Vec::new(),
            vote_ends: Vec::new(),
            sets: Vec::new(),
            targets,
        };
        for (index, mode) in self.modes.iter().enumerate() {
            let test = match mode {
                0 => Test::AtMost,
                1 => Test::Below,
                2 => Test::AtLeast,
                3 => Test::Above,
                4 => Test::Equal,
                5 => Test::NotEqual,
                6 => {
                    let set = sets.next().filter(|set| !set.is_empty()).ok_or_else(|| {
                        let reason = format!("has no set for the branch at {index}");
                        Refusal::new("membership_values", reason)
                    })?;
                    forest.sets.push(set.to_vec());
                    Test::Member(u32::try_from(forest.sets.len() - 1).unwrap_or(u32::MAX))
                }
                other => {
                    let reason = format!("is {other}, which is not a mode");
                    return Err(Refusal::at("nodes_modes", index, reason));
                }
            };
            let passed = ("nodes_truenodeids", self.true_ids, self.true_leaves);
            let failed = ("nodes_falsenodeids", self.false_ids, self.false_leaves);
            forest.branches.push(Branch {
                test,
                feature: feature("nodes_featureids", index, self.features)?,
                value: self.splits.get(index).copied().unwrap_or_default(),
                missing_passes: self.missing.get(index).is_some_and(|tracks| *tracks == 1),
                passed: self.child(passed, index)?,
                failed: self.child(failed, index)?,
            });
        }
        for (index, root) in self.roots.iter().enumerate() {
            let root = position("tree_roots", index, *root, self.features.len())?;
            forest.roots.push(Child::Branch(root));
        }
        if let Some(branch) = forest.cycle() {
            let reason = "is on a path that comes back to it";
            return Err(Refusal::at("nodes_truenodeids", branch as usize, reason));
        }
        let mut votes = Vec::with_capacity(self.leaf_targets.len());
        let leaves = self.leaf_targets.iter().zip(&self.leaf_weights);
        for (leaf, (target, weight)) in (0..).zip(leaves) {
            let target = check_target("leaf_targetids", leaf as usize, *target, targets)?;
            votes.push((leaf, Vote { target, weight: *weight }));
        }
        forest.set_votes(votes.len(), &votes);
        Ok(forest)
    }

    fn check_lengths(&self) -> Result<(), Refusal> {
        let nodes = self.features.len();
        for (attribute, length) in [
            ("nodes_featureids", nodes),
            ("leaf_targetids", self.leaf_targets.len()),
            ("tree_roots", self.roots.len()),
        ] {
            if length == 0 {
                return Err(Refusal::new(attribute, "is empty"));
            }
        }
        for (attribute, length) in [
            ("nodes_featureids", nodes),
            ("leaf_targetids", self.leaf_targets.len()),
            ("tree_roots", self.roots.len()),
            ("membership_values", self.members.len()),
        ] {
            if length > NODES_MAX {
                let reason = format!("has {length} elements, more than {NODES_MAX}");
                return Err(Refusal::new(attribute, reason));
            }
        }
        for (attribute, length) in [
            ("nodes_modes", self.modes.len()),
            ("nodes_splits", self.splits.len()),
            ("nodes_truenodeids", self.true_ids.len()),
            ("nodes_trueleafs", self.true_leaves.len()),
            ("nodes_falsenodeids", self.false_ids.len()),
            ("nodes_falseleafs", self.false_leaves.len()),
        ] {
            same_length(attribute, length, "nodes_featureids", nodes)?;
        }
        if !self.missing.is_empty() {
            let length = self.missing.len();
            same_length("nodes_missing_value_tracks_true", length, "nodes_featureids", nodes)?;
        }
        let leaves = self.leaf_targets.len();
        same_length("leaf_weights", self.leaf_weights.len(), "leaf_targetids", leaves)
    }

    fn child(
        &self,
        (attribute, ids, leaves): (&'static str, &[i64], &[i64]),
        index: usize,
    ) -> Result<Child, Refusal> {
        let id = ids.get(index).copied().unwrap_or_default();
        if leaves.get(index).is_some_and(|leaf| *leaf != 0) {
            position(attribute, index, id, self.leaf_targets.len()).map(Child::Leaf)
        } else {
            position(attribute, index, id, self.features.len()).map(Child::Branch)
        }
    }
}

fn position(
    attribute: &'static str,
    index: usize,
    position: i64,
    count: usize,
) -> Result<u32, Refusal> {
    match u32::try_from(position) {
        Ok(number) if (number as usize) < count => Ok(number),
        _ => {
            let reason = format!("is {position}, but there are {count}");
            Err(Refusal::at(attribute, index, reason))
        }
    }
}
