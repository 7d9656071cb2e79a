//! An ensemble as a file describes it, checked.
//!
//! Owns the form that all versions of the operators are read into: branches that test one feature,
//! leaves that vote for targets, and the roots of the trees. Every index in it is in range and no path
//! comes back to where it was, so that what is built from it need not look again. Never fast: that is
//! `table`'s.

use std::fmt;

/// Trees whose leaves vote for targets.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Forest {
    pub(super) branches: Vec<Branch>,
    /// The root of each tree, in the order in which votes are added up.
    pub(super) roots: Vec<Child>,
    /// The votes of all leaves, one leaf after the other.
    pub(super) votes: Vec<Vote>,
    /// Where the votes of each leaf end.
    pub(super) vote_ends: Vec<u32>,
    /// The members of each set that a branch tests for.
    pub(super) sets: Vec<Vec<f64>>,
    /// The number of targets or classes, at least 1.
    pub(super) targets: usize,
}

/// A test of one feature, and where to go on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Branch {
    pub(super) feature: u32,
    pub(super) test: Test,
    /// What the feature is compared with; of no meaning for [`Test::Member`].
    pub(super) value: f64,
    /// Whether a feature that is NaN passes, whatever the test says.
    pub(super) missing_passes: bool,
    pub(super) passed: Child,
    pub(super) failed: Child,
}

/// How a feature is compared. NaN fails all tests but [`Test::NotEqual`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    AtMost,
    Below,
    AtLeast,
    Above,
    Equal,
    NotEqual,
    /// Whether it is in the set of this number.
    Member(u32),
}

/// Where a branch leads, by position in [`Forest::branches`] or among the leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Child {
    Branch(u32),
    Leaf(u32),
}

/// What a leaf gives to one target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Vote {
    pub(super) target: u32,
    pub(super) weight: f64,
}

/// Why an ensemble is refused: which attribute is wrong, and what with it, as the end of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) attribute: &'static str,
    pub(super) reason: String,
}

impl Refusal {
    pub(super) fn new(attribute: &'static str, reason: impl Into<String>) -> Self {
        Self { attribute, reason: reason.into() }
    }

    /// The refusal of the element at `index`.
    pub(super) fn at(attribute: &'static str, index: usize, reason: impl fmt::Display) -> Self {
        Self::new(attribute, format!("at index {index} {reason}"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.attribute, self.reason)
    }
}

/// The most targets or classes; what a request costs grows with them, whatever the trees are.
pub(super) const TARGETS_MAX: usize = 65_536;

impl Forest {
    /// The votes of a leaf.
    pub(super) fn votes_of(&self, leaf: u32) -> &[Vote] {
        let leaf = leaf as usize;
        let end = self.vote_ends.get(leaf).map_or(0, |end| *end as usize);
        let start = leaf.checked_sub(1).and_then(|before| self.vote_ends.get(before));
        self.votes.get(start.map_or(0, |start| *start as usize)..end).unwrap_or_default()
    }

    /// Sorts the votes of `leaves` leaves, given with the leaf that each belongs to, by leaf and keeps
    /// their order within each.
    pub(super) fn set_votes(&mut self, leaves: usize, votes: &[(u32, Vote)]) {
        let mut ends = vec![0u32; leaves];
        for (leaf, _) in votes {
            if let Some(end) = ends.get_mut(*leaf as usize) {
                *end += 1;
            }
        }
        let mut total = 0;
        let mut next: Vec<u32> = Vec::with_capacity(leaves);
        for end in &mut ends {
            next.push(total);
            total += *end;
            *end = total;
        }
        let mut sorted = vec![Vote { target: 0, weight: 0.0 }; total as usize];
        for (leaf, vote) in votes {
            if let Some(place) = next.get_mut(*leaf as usize) {
                if let Some(slot) = sorted.get_mut(*place as usize) {
                    *slot = *vote;
                }
                *place += 1;
            }
        }
        self.votes = sorted;
        self.vote_ends = ends;
    }

    /// Finds a branch from which a path leads back to itself.
    pub(super) fn cycle(&self) -> Option<u32> {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            Never,
            OnPath,
            Done,
        }
        let mut seen = vec![Seen::Never; self.branches.len()];
        // Each entry is a branch and how many of its children have been followed.
        let mut path: Vec<(u32, u8)> = Vec::new();
        for root in &self.roots {
            if let Child::Branch(root) = *root {
                path.push((root, 0));
            }
            while let Some((at, followed)) = path.last_mut() {
                let Some(branch) = self.branches.get(*at as usize) else {
                    path.pop();
                    continue;
                };
                let state = seen.get(*at as usize).copied().unwrap_or(Seen::Done);
                let child = match (state, *followed) {
                    (Seen::Done, 0) | (_, 2..) => {
                        set(&mut seen, *at, Seen::Done);
                        path.pop();
                        continue;
                    }
                    (Seen::OnPath, 0) => return Some(*at),
                    (_, 0) => branch.passed,
                    _ => branch.failed,
                };
                set(&mut seen, *at, Seen::OnPath);
                *followed += 1;
                if let Child::Branch(child) = child {
                    path.push((child, 0));
                }
            }
        }
        return None;

        fn set(seen: &mut [Seen], at: u32, state: Seen) {
            if let Some(place) = seen.get_mut(at as usize) {
                *place = state;
            }
        }
    }
}
