//! Attributes that are wrong on purpose.

use proptest::prelude::*;

use super::super::attributes::{Lists, VoteNames};
use super::super::forest::Forest;
use super::super::indexed::IndexedLists;
use super::super::table::Table;
use super::super::walk::Fold;

const NAMES: VoteNames = VoteNames {
    count: "n_targets",
    tree_ids: "target_treeids",
    node_ids: "target_nodeids",
    targets: "target_ids",
    weights: "target_weights",
};

/// Lists that own their elements, so that they can be spoiled. Two trees of three and five nodes.
#[derive(Debug, Clone)]
struct Owned {
    /// In the order of the fields of [`Lists`]: trees, nodes, features, true, false, missing, and the
    /// trees, nodes and targets of votes.
    integers: [Vec<i64>; 9],
    modes: Vec<Vec<u8>>,
    values: Vec<f64>,
    weights: Vec<f64>,
}

const INTEGER_NAMES: [&str; 9] = [
    "nodes_treeids",
    "nodes_nodeids",
    "nodes_featureids",
    "nodes_truenodeids",
    "nodes_falsenodeids",
    "nodes_missing_value_tracks_true",
    "target_treeids",
    "target_nodeids",
    "target_ids",
];

fn two_trees() -> Owned {
    let modes = ["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_LT", "BRANCH_EQ", "LEAF", "LEAF", "LEAF"];
    Owned {
        integers: [
            vec![0, 0, 0, 1, 1, 1, 1, 1],
            vec![0, 1, 2, 0, 1, 2, 3, 4],
            vec![1, 0, 0, 2, 0, 0, 0, 0],
            vec![1, 0, 0, 1, 3, 0, 0, 0],
            vec![2, 0, 0, 2, 4, 0, 0, 0],
            vec![0, 0, 0, 1, 0, 0, 0, 0],
            vec![0, 0, 1, 1, 1],
            vec![1, 2, 2, 3, 4],
            vec![0, 1, 0, 1, 0],
        ],
        modes: modes.iter().map(|mode| mode.as_bytes().to_vec()).collect(),
        values: vec![0.5, 0.0, 0.0, 1.5, 2.0, 0.0, 0.0, 0.0],
        weights: vec![1.0, 2.0, 3.0, 4.0, 5.0],
    }
}

impl Owned {
    fn forest(&self) -> Result<Forest, String> {
        self.forest_for(2)
    }

    fn forest_for(&self, count: usize) -> Result<Forest, String> {
        let [
            tree_ids,
            node_ids,
            features,
            true_ids,
            false_ids,
            missing,
            vote_trees,
            vote_nodes,
            targets,
        ] = &self.integers;
        let lists = Lists {
            tree_ids,
            node_ids,
            features,
            modes: &self.modes,
            values: self.values.clone(),
            true_ids,
            false_ids,
            missing,
            vote_tree_ids: vote_trees,
            vote_node_ids: vote_nodes,
            vote_targets: targets,
            vote_weights: self.weights.clone(),
        };
        lists.forest(NAMES, count).map_err(|refusal| refusal.to_string())
    }
}

/// Builds and walks whatever got through the checks.
fn walk(forest: &Forest) -> usize {
    let table = Table::<f32>::build(forest);
    let columns = table.features.max(1);
    let mut rows = 0;
    if columns < 1000 {
        table.score(&vec![1.0; columns * 13], columns, Fold::Sum, |_| rows += 1);
    }
    rows
}

#[test]
fn the_sound_lists_are_taken() {
    let forest = two_trees().forest().expect("sound");
    assert_eq!((forest.roots.len(), forest.branches.len(), walk(&forest)), (2, 3, 13));
}

#[test]
fn each_list_of_another_length_is_refused_by_name() {
    for (position, name) in INTEGER_NAMES.into_iter().enumerate() {
        let mut spoiled = two_trees();
        spoiled.integers[position].pop();
        let refusal = spoiled.forest().expect_err("too short");
        // The list that the others are measured by is not the one that is blamed.
        let blamed = match name {
            "nodes_nodeids" => "nodes_treeids",
            "target_ids" => "target_treeids",
            name => name,
        };
        assert!(refusal.starts_with(&format!("{blamed} has ")), "{refusal}");
    }
    let spoil = |spoil: fn(&mut Owned)| {
        let mut spoiled = two_trees();
        spoil(&mut spoiled);
        spoiled.forest().expect_err("spoiled")
    };
    assert_eq!(
        spoil(|o| o.modes.truncate(3)),
        "nodes_modes has 3 elements, but nodes_nodeids has 8"
    );
    assert_eq!(spoil(|o| o.values.clear()), "nodes_values has 0 elements, but nodes_nodeids has 8");
    assert_eq!(spoil(|o| o.weights.clear()), "target_weights has 0 elements, but target_ids has 5");
}

#[test]
fn each_element_that_makes_no_sense_is_refused_by_name_and_index() {
    let cases: [(usize, usize, i64, &str); 9] = [
        (1, 2, 1, "nodes_nodeids at index 2 is 1, which tree 0 has already"),
        (2, 3, -1, "nodes_featureids at index 3 is -1, not a feature from 0 to 16777216"),
        (2, 3, i64::MAX, "nodes_featureids at index 3 is 9223372036854775807, not a feature"),
        (3, 0, 9, "nodes_truenodeids at index 0 is 9, a node that tree 0 does not have"),
        (4, 4, -1, "nodes_falsenodeids at index 4 is -1, a node that tree 1 does not have"),
        (3, 4, 0, "nodes_nodeids at index 3 is on a path that comes back to it"),
        (7, 1, 7, "target_nodeids at index 1 is 7, a node that tree 0 does not have"),
        (8, 4, 2, "target_ids at index 4 is 2, but there are 2 targets or classes"),
        (8, 0, -5, "target_ids at index 0 is -5, but there are 2 targets or classes"),
    ];
    for (list, index, value, reason) in cases {
        let mut spoiled = two_trees();
        spoiled.integers[list][index] = value;
        let refusal = spoiled.forest().expect_err(reason);
        assert!(refusal.starts_with(reason), "{refusal}");
    }
    let mut spoiled = two_trees();
    spoiled.modes[4] = b"BRANCH\xff".to_vec();
    let refusal = spoiled.forest().expect_err("no mode");
    assert_eq!(refusal, r"nodes_modes at index 4 is 'BRANCH\xff', which is not a mode");
}

#[test]
fn votes_of_branches_are_left_out() {
    let mut odd = two_trees();
    odd.integers[7][2] = 0;
    assert_eq!(odd.forest().expect("taken").votes.len(), 4);
}

#[test]
fn with_one_target_the_first_vote_of_a_leaf_counts() {
    let mut odd = two_trees();
    let weights = |forest: Forest| -> Vec<f64> {
        let leaves = 0..forest.vote_ends.len() as u32;
        let votes = leaves.map(|leaf| forest.votes_of(leaf).iter().map(|vote| vote.weight).sum());
        votes.collect()
    };
    odd.integers[6][2] = 0;
    assert_eq!(weights(odd.forest().expect("sound")), [1.0, 5.0, 0.0, 4.0, 5.0]);
    odd.integers[8].fill(0);
    assert_eq!(weights(odd.forest().expect("sound")), [1.0, 5.0, 0.0, 4.0, 5.0]);
    assert_eq!(weights(odd.forest_for(1).expect("sound")), [1.0, 2.0, 0.0, 4.0, 5.0]);
}

proptest! {
    #[test]
    fn spoiled_lists_are_refused_or_walked(
        spoils in proptest::collection::vec((0_usize..12, any::<prop::sample::Index>(), -3_i64..10), 1..6)
    ) {
        let mut owned = two_trees();
        for (list, index, value) in spoils {
            if let Some(list) = owned.integers.get_mut(list) {
                if list.is_empty() { continue; }
                let index = index.index(list.len());
                match value {
                    9 => list.truncate(index),
                    8 => list[index] = i64::MAX,
                    value => list[index] = value,
                }
            } else {
                let index = index.index(owned.modes.len());
                owned.modes[index] = owned.modes[value.unsigned_abs() as usize % 8].clone();
                owned.values[index] = f64::NAN;
            }
        }
        if let Ok(forest) = owned.forest() {
            prop_assert_eq!(walk(&forest), 13);
        }
    }

    #[test]
    fn spoiled_positions_are_refused_or_walked(
        ids in proptest::collection::vec(-1_i64..5, 8),
        leaves in proptest::collection::vec(0_i64..2, 8),
        modes in proptest::collection::vec(0_u8..8, 4),
        roots in proptest::collection::vec(-1_i64..5, 0..4),
        targets in proptest::collection::vec(-1_i64..3, 0..5),
        members in proptest::collection::vec(prop_oneof![Just(f64::NAN), Just(1.0), Just(2.0)], 0..6),
    ) {
        let lists = IndexedLists {
            roots: &roots,
            features: &[0, 1, 2, 0],
            modes,
            splits: vec![0.5, f64::NAN, 1.0, 2.0],
            true_ids: &ids[..4],
            true_leaves: &leaves[..4],
            false_ids: &ids[4..],
            false_leaves: &leaves[4..],
            missing: &[0, 1, 0, 1],
            members,
            leaf_targets: &targets,
            leaf_weights: vec![1.0; targets.len()],
        };
        if let Ok(forest) = lists.forest(2) {
            prop_assert_eq!(walk(&forest), 13);
        }
    }
}

#[test]
fn positions_that_make_no_sense_are_refused_by_name_and_index() {
    let sound = IndexedLists {
        roots: &[0],
        features: &[0, 1],
        modes: vec![0, 6],
        splits: vec![0.5, 0.0],
        true_ids: &[1, 0],
        true_leaves: &[0, 1],
        false_ids: &[1, 0],
        false_leaves: &[1, 1],
        missing: &[],
        members: vec![1.0, 2.0],
        leaf_targets: &[0, 0],
        leaf_weights: vec![1.0, 2.0],
    };
    assert_eq!(walk(&sound.forest(1).expect("sound")), 13);
    let refusal = |lists: IndexedLists<'_>| lists.forest(1).expect_err("spoiled").to_string();
    let sound = || sound.clone();
    for (lists, reason) in [
        (IndexedLists { roots: &[2], ..sound() }, "tree_roots at index 0 is 2, but there are 2"),
        (IndexedLists { roots: &[], ..sound() }, "tree_roots is empty"),
        (IndexedLists { modes: vec![0, 7], ..sound() }, "nodes_modes at index 1 is 7"),
        (IndexedLists { true_ids: &[5, 0], ..sound() }, "nodes_truenodeids at index 0 is 5"),
        (
            IndexedLists { true_ids: &[0, 0], ..sound() },
            "nodes_truenodeids at index 0 is on a path",
        ),
        (
            IndexedLists { members: vec![], ..sound() },
            "membership_values has no set for the branch at 1",
        ),
        (IndexedLists { leaf_targets: &[0, 1], ..sound() }, "leaf_targetids at index 1 is 1"),
        (IndexedLists { splits: vec![], ..sound() }, "nodes_splits has 0 elements"),
    ] {
        let refusal = refusal(lists);
        assert!(refusal.starts_with(reason), "{refusal}");
    }
    let many = sound().forest(1 << 40).expect_err("absurd").to_string();
    assert_eq!(many, "n_targets makes 1099511627776 targets or classes, not 1 to 65536");
}
