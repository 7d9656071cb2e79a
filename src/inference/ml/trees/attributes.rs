//! The attributes of TreeEnsembleClassifier and TreeEnsembleRegressor, versions 1 and 3.
//!
//! Owns the step from parallel lists to a [`Forest`]: a node is named by its tree and its number in it,
//! and the first one listed of a tree is its root. Lists of different lengths, unknown nodes, targets
//! that do not exist and cycles are refused with the attribute and the index. Votes of nodes that are
//! not leaves are left out, and with one target the first vote of a leaf counts, as in onnxruntime; some
//! converters write such votes.

use std::collections::{HashMap, HashSet};
use std::mem;

use super::forest::{Branch, Child, Forest, Refusal, TARGETS_MAX, Test, Vote};

/// The most nodes and members of sets; more would overflow the indices of a table.
pub(super) const NODES_MAX: usize = 1 << 28;
/// The largest number of a feature.
pub(super) const FEATURE_MAX: i64 = 1 << 24;

/// The mode of a node that is no branch.
const LEAF: &[u8] = b"LEAF";

/// The attributes that describe the trees, as they are in the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Lists<'a> {
    pub(super) tree_ids: &'a [i64],
    pub(super) node_ids: &'a [i64],
    pub(super) features: &'a [i64],
    pub(super) modes: &'a [Vec<u8>],
    pub(super) values: Vec<f64>,
    pub(super) true_ids: &'a [i64],
    pub(super) false_ids: &'a [i64],
    pub(super) missing: &'a [i64],
    pub(super) vote_tree_ids: &'a [i64],
    pub(super) vote_node_ids: &'a [i64],
    pub(super) vote_targets: &'a [i64],
    pub(super) vote_weights: Vec<f64>,
}

/// The names of the attributes about votes, which differ between the two operators.
#[derive(Debug, Clone, Copy)]
pub(super) struct VoteNames {
    /// What says how many targets or classes there are.
    pub(super) count: &'static str,
    pub(super) tree_ids: &'static str,
    pub(super) node_ids: &'static str,
    pub(super) targets: &'static str,
    pub(super) weights: &'static str,
}

impl Lists<'_> {
    /// Checks everything and links it.
    ///
    /// # Errors
    /// When an attribute is wrong.
    pub(super) fn forest(&self, names: VoteNames, targets: usize) -> Result<Forest, Refusal> {
        self.check_lengths(names)?;
        check_targets(names.count, targets)?;
        let mut places = HashMap::with_capacity(self.node_ids.len());
        let mut roots: Vec<usize> = Vec::new();
        let mut trees = HashSet::new();
        let mut children = Vec::with_capacity(self.node_ids.len());
        let (mut branches, mut leaves) = (0, 0);
        for (index, (tree, node)) in self.tree_ids.iter().zip(self.node_ids).enumerate() {
            if places.insert((*tree, *node), index).is_some() {
                let reason = format!("is {node}, which tree {tree} has already");
                return Err(Refusal::at("nodes_nodeids", index, reason));
            }
            if trees.insert(*tree) {
                roots.push(index);
            }
            let is_leaf = self.modes.get(index).is_some_and(|mode| mode == LEAF);
            let (count, child): (&mut u32, fn(u32) -> Child) =
                if is_leaf { (&mut leaves, Child::Leaf) } else { (&mut branches, Child::Branch) };
            children.push(child(*count));
            *count += 1;
        }
        let find = |attribute, index: usize, node: i64| {
            let tree = self.tree_ids.get(index).copied().unwrap_or_default();
            let found = places.get(&(tree, node)).and_then(|place| children.get(*place));
            found.copied().ok_or_else(|| {
                let reason = format!("is {node}, a node that tree {tree} does not have");
                Refusal::at(attribute, index, reason)
            })
        };
        let mut forest = Forest {
            branches: Vec::with_capacity(branches as usize),
            roots: roots.iter().filter_map(|root| children.get(*root).copied()).collect(),
            votes: Vec::new(),
            vote_ends: Vec::new(),
            sets: Vec::new(),
            targets,
        };
        let mut origins = Vec::with_capacity(branches as usize);
        for (index, mode) in self.modes.iter().enumerate() {
            if mode == LEAF {
                continue;
            }
            forest.branches.push(Branch {
                test: test(index, mode)?,
                feature: feature("nodes_featureids", index, self.features)?,
                value: self.values.get(index).copied().unwrap_or_default(),
                missing_passes: self.missing.get(index).is_some_and(|tracks| *tracks == 1),
                passed: find("nodes_truenodeids", index, at(self.true_ids, index))?,
                failed: find("nodes_falsenodeids", index, at(self.false_ids, index))?,
            });
            origins.push(index);
        }
        if let Some(branch) = forest.cycle() {
            let index = origins.get(branch as usize).copied().unwrap_or_default();
            return Err(Refusal::at("nodes_nodeids", index, "is on a path that comes back to it"));
        }
        self.link_votes(names, &places, &children, leaves as usize, &mut forest)?;
        Ok(forest)
    }

    fn check_lengths(&self, names: VoteNames) -> Result<(), Refusal> {
        let nodes = self.node_ids.len();
        if nodes == 0 {
            return Err(Refusal::new("nodes_nodeids", "is empty"));
        }
        if nodes > NODES_MAX {
            let reason = format!("has {nodes} elements, more than {NODES_MAX}");
            return Err(Refusal::new("nodes_nodeids", reason));
        }
        for (attribute, length) in [
            ("nodes_treeids", self.tree_ids.len()),
            ("nodes_featureids", self.features.len()),
            ("nodes_modes", self.modes.len()),
            ("nodes_values", self.values.len()),
            ("nodes_truenodeids", self.true_ids.len()),
            ("nodes_falsenodeids", self.false_ids.len()),
        ] {
            same_length(attribute, length, "nodes_nodeids", nodes)?;
        }
        if !self.missing.is_empty() {
            let length = self.missing.len();
            same_length("nodes_missing_value_tracks_true", length, "nodes_nodeids", nodes)?;
        }
        let votes = self.vote_targets.len();
        if votes > NODES_MAX {
            let reason = format!("has {votes} elements, more than {NODES_MAX}");
            return Err(Refusal::new(names.targets, reason));
        }
        same_length(names.tree_ids, self.vote_tree_ids.len(), names.targets, votes)?;
        same_length(names.node_ids, self.vote_node_ids.len(), names.targets, votes)?;
        same_length(names.weights, self.vote_weights.len(), names.targets, votes)
    }

    fn link_votes(
        &self,
        names: VoteNames,
        places: &HashMap<(i64, i64), usize>,
        children: &[Child],
        leaves: usize,
        forest: &mut Forest,
    ) -> Result<(), Refusal> {
        let mut votes = Vec::with_capacity(self.vote_targets.len());
        let mut voted = vec![false; leaves];
        let ids = self.vote_tree_ids.iter().zip(self.vote_node_ids);
        let given = ids.zip(self.vote_targets.iter().zip(&self.vote_weights));
        for (index, ((tree, node), (target, weight))) in given.enumerate() {
            let target = check_target(names.targets, index, *target, forest.targets)?;
            let place = places.get(&(*tree, *node)).ok_or_else(|| {
                let reason = format!("is {node}, a node that tree {tree} does not have");
                Refusal::at(names.node_ids, index, reason)
            })?;
            if let Some(Child::Leaf(leaf)) = children.get(*place) {
                let again =
                    voted.get_mut(*leaf as usize).is_some_and(|has| mem::replace(has, true));
                if again && forest.targets == 1 {
                    continue;
                }
                votes.push((*leaf, Vote { target, weight: *weight }));
            }
        }
        forest.set_votes(leaves, &votes);
        Ok(())
    }
}

fn test(index: usize, mode: &[u8]) -> Result<Test, Refusal> {
    Ok(match mode {
        b"BRANCH_LEQ" => Test::AtMost,
        b"BRANCH_LT" => Test::Below,
        b"BRANCH_GTE" => Test::AtLeast,
        b"BRANCH_GT" => Test::Above,
        b"BRANCH_EQ" => Test::Equal,
        b"BRANCH_NEQ" => Test::NotEqual,
        other => {
            let reason = format!("is '{}', which is not a mode", other.escape_ascii());
            return Err(Refusal::at("nodes_modes", index, reason));
        }
    })
}

/// The feature that node `index` tests.
pub(super) fn feature(
    attribute: &'static str,
    index: usize,
    features: &[i64],
) -> Result<u32, Refusal> {
    let number = at(features, index);
    match u32::try_from(number) {
        Ok(feature) if number <= FEATURE_MAX => Ok(feature),
        _ => {
            let reason = format!("is {number}, not a feature from 0 to {FEATURE_MAX}");
            Err(Refusal::at(attribute, index, reason))
        }
    }
}

/// A target of a vote.
pub(super) fn check_target(
    attribute: &'static str,
    index: usize,
    target: i64,
    targets: usize,
) -> Result<u32, Refusal> {
    match u32::try_from(target) {
        Ok(number) if (number as usize) < targets => Ok(number),
        _ => {
            let reason = format!("is {target}, but there are {targets} targets or classes");
            Err(Refusal::at(attribute, index, reason))
        }
    }
}

/// Refuses lists that do not belong together.
pub(super) fn same_length(
    attribute: &'static str,
    length: usize,
    other: &str,
    expected: usize,
) -> Result<(), Refusal> {
    if length == expected {
        return Ok(());
    }
    let reason = format!("has {length} elements, but {other} has {expected}");
    Err(Refusal::new(attribute, reason))
}

/// Refuses no targets and absurdly many.
pub(super) fn check_targets(attribute: &'static str, targets: usize) -> Result<(), Refusal> {
    if (1..=TARGETS_MAX).contains(&targets) {
        return Ok(());
    }
    let reason = format!("makes {targets} targets or classes, not 1 to {TARGETS_MAX}");
    Err(Refusal::new(attribute, reason))
}

fn at(list: &[i64], index: usize) -> i64 {
    list.get(index).copied().unwrap_or_default()
}
