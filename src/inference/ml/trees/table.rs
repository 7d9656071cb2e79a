//! An ensemble as a table that is fast to walk.
//!
//! Owns the layout. A step compares one key with one bound and goes on to one of two neighbouring
//! records, without a branch that the processor would have to guess:
//!
//! ```text
//! record  { bound, slot, next }        at = next + (keys[slot] <= bound)
//! leaf    { payload, 0, itself - 1 }   slot 0 holds the key 0: a leaf leads to itself
//! ```
//!
//! What a test compares, and where NaN goes, is in the bound and in the choice of the slot (see
//! `lower`). Records are in the order of a walk that tries the passed child first, so that a path
//! touches few cache lines. A branch that many lead to is stored once for each and what is below it
//! once. Never checks what it is built from: that is done by then.

use super::forest::{Child, Forest};
use super::key::Real;
use super::lower::Ranges;

/// One step, or the end of a path. 12 bytes for features of 32 bits, 16 for those of 64.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Record<K> {
    /// The last key that passes; for a leaf, its payload.
    pub(super) bound: K,
    /// Which key is compared; 0 for a leaf.
    pub(super) slot: u32,
    /// The record for a key that fails; the one for a key that passes follows it.
    pub(super) next: u32,
}

/// A key that a row is reduced to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Slot {
    pub(super) feature: u32,
    /// Whether NaN is below all numbers instead of above.
    pub(super) nan_first: bool,
}

/// What leaves add up, by the form that their votes share.
#[derive(Debug, Clone)]
pub(super) enum Votes<T> {
    /// Each leaf has one vote, all for the same target: the payload is its weight.
    One { target: usize },
    /// Each leaf votes for all targets in order: the payload is the number of its row.
    Rows { weights: Vec<T> },
    /// Anything else: the payload is the leaf's number.
    Lists { ends: Vec<u32>, votes: Vec<(u32, T)> },
}

/// An ensemble, ready to be walked.
#[derive(Debug)]
pub(super) struct Table<T: Real> {
    pub(super) records: Vec<Record<T::Key>>,
    /// The number of trees; their roots are the first records.
    pub(super) trees: usize,
    /// All slots but the one of leaves, number 0.
    pub(super) slots: Vec<Slot>,
    pub(super) votes: Votes<T>,
    pub(super) targets: usize,
    /// The number of features that a row must have.
    pub(super) features: usize,
}

impl<T: Real> Table<T> {
    /// Lays out an ensemble.
    pub(super) fn build(forest: &Forest) -> Self {
        let votes = Votes::of(forest);
        let mut layout = Layout::<T> {
            forest,
            weight_in_leaf: matches!(votes, Votes::One { .. }),
            records: vec![Record::default(); forest.roots.len()],
            slots: Vec::new(),
            placed: vec![None; forest.branches.len()],
            work: Vec::new(),
        };
        let roots = forest.roots.iter().enumerate().rev();
        layout.work.extend(roots.map(|(place, root)| (place, Goal::Child(*root))));
        while let Some((place, goal)) = layout.work.pop() {
            layout.place(place, goal);
        }
        let (records, slots) = layout.finish();
        let features = slots.iter().map(|slot| slot.feature as usize + 1).max().unwrap_or(0);
        let (trees, targets) = (forest.roots.len(), forest.targets);
        Self { records, trees, slots, votes, targets, features }
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let votes = match &self.votes {
            Votes::One { .. } => 0,
            Votes::Rows { weights } => size_of_val(weights.as_slice()),
            Votes::Lists { ends, votes } => {
                size_of_val(ends.as_slice()) + size_of_val(votes.as_slice())
            }
        };
        size_of_val(self.records.as_slice()) + size_of_val(self.slots.as_slice()) + votes
    }
}

/// A table that is being laid out.
struct Layout<'a, T: Real> {
    forest: &'a Forest,
    weight_in_leaf: bool,
    records: Vec<Record<T::Key>>,
    slots: Vec<Slot>,
    /// The first record of each branch that has its place already. Its slot is not yet final.
    placed: Vec<Option<Record<T::Key>>>,
    /// Places that are still empty, and what belongs there.
    work: Vec<(usize, Goal)>,
}

enum Goal {
    Child(Child),
    /// The rest of a test that takes more than one comparison.
    Ranges {
        slot: u32,
        ranges: Vec<(u64, bool)>,
        passed: Child,
        failed: Child,
    },
}

impl<T: Real> Layout<'_, T> {
    fn place(&mut self, place: usize, goal: Goal) {
        let record = match goal {
            Goal::Child(Child::Leaf(leaf)) => self.leaf(place, leaf),
            Goal::Child(Child::Branch(branch)) => match self.branch(place, branch) {
                Some(record) => record,
                None => return,
            },
            Goal::Ranges { slot, ranges, passed, failed } => {
                match self.split(slot, ranges, passed, failed) {
                    Ok(record) => record,
                    Err(only) => return self.work.push((place, Goal::Child(only))),
                }
            }
        };
        if let Some(empty) = self.records.get_mut(place) {
            *empty = record;
        }
    }

    fn leaf(&self, place: usize, leaf: u32) -> Record<T::Key> {
        let bound = if self.weight_in_leaf {
            let vote = self.forest.votes_of(leaf).first();
            T::from_f64(vote.map_or(0.0, |vote| vote.weight)).bits()
        } else {
            T::narrow(u64::from(leaf))
        };
        Record { bound, slot: 0, next: index(place).wrapping_sub(1) }
    }

    /// The record of a branch, or `None` where its test decides nothing and its child comes instead.
    fn branch(&mut self, place: usize, number: u32) -> Option<Record<T::Key>> {
        if let Some(Some(record)) = self.placed.get(number as usize) {
            return Some(*record);
        }
        let branch = *self.forest.branches.get(number as usize)?;
        let Ranges { nan_first, ranges } = Ranges::of::<T>(&branch, &self.forest.sets);
        // Slots are numbered when all are known; until then they are twice the feature and the rule.
        let slot = branch.feature * 2 + u32::from(nan_first);
        match self.split(slot, ranges, branch.passed, branch.failed) {
            Ok(record) => {
                if let Some(placed) = self.placed.get_mut(number as usize) {
                    *placed = Some(record);
                }
                Some(record)
            }
            Err(only) => {
                self.work.push((place, Goal::Child(only)));
                None
            }
        }
    }

    /// The record that cuts `ranges` in two, or where all of them lead to.
    fn split(
        &mut self,
        slot: u32,
        mut ranges: Vec<(u64, bool)>,
        passed: Child,
        failed: Child,
    ) -> Result<Record<T::Key>, Child> {
        let child = |ranges: &[(u64, bool)]| match ranges {
            [] | [(_, false)] => Some(failed),
            [(_, true)] => Some(passed),
            _ => None,
        };
        if let Some(only) = child(&ranges) {
            return Err(only);
        }
        let above = ranges.split_off(ranges.len() / 2);
        let bound = ranges.last().map_or(0, |(end, _)| *end);
        let next = self.records.len();
        self.records.extend([Record::default(); 2]);
        for (place, ranges) in [(next, above), (next + 1, ranges)] {
            let goal = match child(&ranges) {
                Some(child) => Goal::Child(child),
                None => Goal::Ranges { slot, ranges, passed, failed },
            };
            self.work.push((place, goal));
        }
        Ok(Record { bound: T::narrow(bound), slot: slot + 1, next: index(next) })
    }

    /// Numbers the slots that are used, in the order of features.
    fn finish(mut self) -> (Vec<Record<T::Key>>, Vec<Slot>) {
        let used = self.records.iter().map(|record| record.slot).filter(|slot| *slot > 0);
        let mut slots: Vec<u32> = used.collect();
        slots.sort_unstable();
        slots.dedup();
        for record in &mut self.records {
            // Leaves keep 0; the others are in the list.
            if let (1.., Ok(position)) = (record.slot, slots.binary_search(&record.slot)) {
                record.slot = index(position + 1);
            }
        }
        let slot = |slot: &u32| Slot { feature: (slot - 1) / 2, nan_first: (slot - 1) % 2 == 1 };
        self.slots = slots.iter().map(slot).collect();
        (self.records, self.slots)
    }
}

/// A position in a table; tables have fewer than 2^32 records (see `attributes::NODES_MAX`).
fn index(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

impl<T: Real> Votes<T> {
    /// The form that the votes of `forest` share.
    fn of(forest: &Forest) -> Self {
        let targets = forest.targets;
        let leaves = u32::try_from(forest.vote_ends.len()).unwrap_or(u32::MAX);
        let lists = (0..leaves).map(|leaf| forest.votes_of(leaf));
        let first = forest.votes.first().map_or(0, |vote| vote.target);
        if lists.clone().all(|votes| matches!(votes, [vote] if vote.target == first)) {
            return Self::One { target: first as usize };
        }
        let in_order = |votes: &[super::forest::Vote]| {
            let named = votes.iter().map(|vote| vote.target as usize);
            named.eq(0..targets)
        };
        if targets > 1 && lists.clone().all(in_order) {
            let weights = forest.votes.iter().map(|vote| T::from_f64(vote.weight));
            return Self::Rows { weights: weights.collect() };
        }
        let votes = forest.votes.iter().map(|vote| (vote.target, T::from_f64(vote.weight)));
        Self::Lists { ends: forest.vote_ends.clone(), votes: votes.collect() }
    }
}
