//! From rows of features to the scores of each target.
//!
//! Owns the walks. A walk waits for memory at each step, so several go side by side: through
//! [`TREES`] trees for one row, or for [`ROWS`] rows through one tree, which is then read once for a
//! whole block of rows. Votes are added in the order of the trees whatever the batch is, so that a row's
//! score does not depend on the rows beside it. Never turns scores into answers; `score` does.

use super::key::Real;
use super::table::{Record, Slot, Table, Votes};

/// How many trees one row walks at a time.
const TREES: usize = 8;
/// How many rows walk a tree at a time.
const ROWS: usize = 8;
/// How many times [`ROWS`] rows share one reading of the table.
const GROUPS: usize = 8;
/// The rows of a block.
const BLOCK: usize = ROWS * GROUPS;

/// The keys of one slot for a block of rows.
type Lane<K> = [[K; ROWS]; GROUPS];

/// How votes for the same target are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    Sum,
    Min,
    Max,
}

/// The scores of one row, before anything is made of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scores<'a, T> {
    pub(super) scores: &'a [T],
    /// Which targets got a vote.
    pub(super) voted: &'a [bool],
}

impl<T: Real> Table<T> {
    /// Hands the scores of each row of `features`, which has `columns` of them, to `finish`, in order.
    /// Rows that are too short for the trees get no votes.
    pub(super) fn score(
        &self,
        features: &[T],
        columns: usize,
        fold: Fold,
        mut finish: impl FnMut(Scores<'_, T>),
    ) {
        if columns < self.features.max(1) {
            return;
        }
        let mut sums = Sums::new(self.targets, fold);
        let (blocks, single) = blocks(features, columns);
        if !blocks.is_empty() {
            let mut keys: Vec<Lane<T::Key>> = vec![Lane::default(); self.slots.len() + 1];
            for block in blocks.chunks(BLOCK * columns) {
                let rows = block.len() / columns;
                fill_lanes(&mut keys, &self.slots, block, columns);
                sums.reset(rows);
                self.walk_block(&keys, rows / ROWS, &mut sums);
                (0..rows).for_each(|row| finish(sums.row(row)));
            }
        }
        if !single.is_empty() {
            let mut keys = vec![T::Key::default(); self.slots.len() + 1];
            for row in single.chunks_exact(columns) {
                fill_keys(&mut keys, &self.slots, row);
                sums.reset(1);
                self.walk_row(&keys, &mut sums);
                finish(sums.row(0));
            }
        }
    }

    /// One row through all trees.
    fn walk_row(&self, keys: &[T::Key], sums: &mut Sums<T>) {
        let mut tree = 0;
        while tree + TREES <= self.trees {
            let start = std::array::from_fn(|lane| (tree + lane) as u32);
            for payload in walk_trees::<_, TREES>(&self.records, keys, start) {
                sums.add(&self.votes, 0, payload);
            }
            tree += TREES;
        }
        while tree < self.trees {
            let [payload] = walk_trees::<_, 1>(&self.records, keys, [tree as u32]);
            sums.add(&self.votes, 0, payload);
            tree += 1;
        }
    }

    /// Full groups of rows through all trees.
    fn walk_block(&self, keys: &[Lane<T::Key>], groups: usize, sums: &mut Sums<T>) {
        for tree in 0..self.trees {
            for group in 0..groups.min(GROUPS) {
                let payloads = walk_rows(&self.records, keys, group, tree as u32);
                for (lane, payload) in payloads.into_iter().enumerate() {
                    sums.add(&self.votes, group * ROWS + lane, payload);
                }
            }
        }
    }
}

/// Splits a batch into what fills groups of rows and what is left over.
fn blocks<T>(features: &[T], columns: usize) -> (&[T], &[T]) {
    let rows = features.len() / columns;
    features.split_at(rows / ROWS * ROWS * columns)
}

fn fill_keys<T: Real>(keys: &mut [T::Key], slots: &[Slot], row: &[T]) {
    for (key, slot) in keys.iter_mut().skip(1).zip(slots) {
        if let Some(feature) = row.get(slot.feature as usize) {
            *key = feature.key_or(nan_key::<T>(*slot));
        }
    }
}

fn fill_lanes<T: Real>(keys: &mut [Lane<T::Key>], slots: &[Slot], rows: &[T], columns: usize) {
    for (lane, slot) in keys.iter_mut().skip(1).zip(slots) {
        let nan = nan_key::<T>(*slot);
        let column = rows.iter().skip(slot.feature as usize).step_by(columns);
        for (key, feature) in lane.as_flattened_mut().iter_mut().zip(column) {
            *key = feature.key_or(nan);
        }
    }
}

fn nan_key<T: Real>(slot: Slot) -> T::Key {
    if slot.nan_first { T::Key::default() } else { T::narrow(T::LAST) }
}

/// The payloads of the leaves that one row reaches from each of `at`.
#[inline]
fn walk_trees<K: Copy + Ord + Default, const N: usize>(
    records: &[Record<K>],
    keys: &[K],
    mut at: [u32; N],
) -> [K; N] {
    loop {
        let mut open = 0;
        for at in &mut at {
            let record = &records[*at as usize];
            open |= record.slot;
            *at = record.next.wrapping_add(u32::from(keys[record.slot as usize] <= record.bound));
        }
        if open == 0 {
            return at.map(|at| records[at as usize].bound);
        }
    }
}

/// The payloads of the leaves that the rows of one group reach in one tree.
#[inline]
fn walk_rows<K: Copy + Ord + Default>(
    records: &[Record<K>],
    keys: &[Lane<K>],
    group: usize,
    root: u32,
) -> [K; ROWS] {
    let mut at = [root; ROWS];
    loop {
        let mut open = 0;
        for (lane, at) in at.iter_mut().enumerate() {
            let record = &records[*at as usize];
            open |= record.slot;
            let key = keys[record.slot as usize][group][lane];
            *at = record.next.wrapping_add(u32::from(key <= record.bound));
        }
        if open == 0 {
            return at.map(|at| records[at as usize].bound);
        }
    }
}

/// What a block of rows has added up so far.
struct Sums<T> {
    targets: usize,
    fold: Fold,
    scores: Vec<T>,
    voted: Vec<bool>,
}

impl<T: Real> Sums<T> {
    fn new(targets: usize, fold: Fold) -> Self {
        Self { targets, fold, scores: Vec::new(), voted: Vec::new() }
    }

    fn reset(&mut self, rows: usize) {
        self.scores.clear();
        self.scores.resize(rows * self.targets, T::ZERO);
        self.voted.clear();
        self.voted.resize(rows * self.targets, false);
    }

    fn row(&self, row: usize) -> Scores<'_, T> {
        let range = row * self.targets..(row + 1) * self.targets;
        Scores {
            scores: self.scores.get(range.clone()).unwrap_or_default(),
            voted: self.voted.get(range).unwrap_or_default(),
        }
    }

    #[inline]
    fn add(&mut self, votes: &Votes<T>, row: usize, payload: T::Key) {
        match votes {
            Votes::One { target } => self.vote(row, *target, T::from_bits(payload)),
            Votes::Rows { weights } => {
                let start = T::widen(payload) as usize * self.targets;
                let weights = weights.get(start..start + self.targets).unwrap_or_default();
                for (target, weight) in weights.iter().enumerate() {
                    self.vote(row, target, *weight);
                }
            }
            Votes::Lists { ends, votes } => {
                let leaf = T::widen(payload) as usize;
                let end = ends.get(leaf).map_or(0, |end| *end as usize);
                let start = leaf.checked_sub(1).and_then(|before| ends.get(before));
                let start = start.map_or(0, |start| *start as usize);
                for (target, weight) in votes.get(start..end).unwrap_or_default() {
                    self.vote(row, *target as usize, *weight);
                }
            }
        }
    }

    #[inline]
    fn vote(&mut self, row: usize, target: usize, weight: T) {
        let place = row * self.targets + target;
        if let (Some(score), Some(voted)) = (self.scores.get_mut(place), self.voted.get_mut(place))
        {
            match self.fold {
                Fold::Sum => *score += weight,
                Fold::Min if !*voted || weight < *score => *score = weight,
                Fold::Max if !*voted || weight > *score => *score = weight,
                Fold::Min | Fold::Max => {}
            }
            *voted = true;
        }
    }
}
