//! Scores between 0 and 1, counted in equal bins.
//!
//! Owns the bins: [`SCORE_BINS`] of them and one each for 0 and for 1, which models that count votes give often. Only
//! those that are not empty take memory.

use serde::{Deserialize, Serialize};

use super::Step;

/// The number of bins. A bin is as wide as the reciprocal, which is exact in binary.
pub const SCORE_BINS: u16 = 1024;

/// A bin that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreCell {
    /// 0 holds the score 0, `SCORE_BINS + 1` the score 1; what lies between holds scores from
    /// `(bin - 1) / SCORE_BINS` up to the next.
    pub bin: u16,
    /// Scores in it.
    pub count: u64,
}

impl ScoreCell {
    /// The least score of the bin.
    pub fn lower(self) -> f64 {
        f64::from(self.bin.saturating_sub(1)) / f64::from(SCORE_BINS)
    }

    /// The end of the bin.
    pub fn upper(self) -> f64 {
        f64::from(self.bin.min(SCORE_BINS)) / f64::from(SCORE_BINS)
    }

    /// Whether all scores in it are the same.
    pub fn is_point(self) -> bool {
        self.bin == 0 || self.bin > SCORE_BINS
    }
}

/// The counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScoreCounts {
    /// Sorted by bin.
    cells: Vec<ScoreCell>,
}

impl ScoreCounts {
    /// Counts a score; what is no score is left out, and the answer is `false`.
    pub fn add(&mut self, score: f64) -> bool {
        self.step(score, Step::Add)
    }

    /// Takes a score back.
    pub fn retract(&mut self, score: f64) -> bool {
        self.step(score, Step::Retract)
    }

    pub(super) fn step(&mut self, score: f64, step: Step) -> bool {
        let Some(bin) = bin(score) else { return false };
        match (self.cells.binary_search_by_key(&bin, |cell| cell.bin), step) {
            (Ok(at), Step::Add) => {
                if let Some(cell) = self.cells.get_mut(at) {
                    cell.count += 1;
                }
            }
            (Ok(at), Step::Retract) => {
                if self.cells.get(at).is_some_and(|cell| cell.count <= 1) {
                    self.cells.remove(at);
                } else if let Some(cell) = self.cells.get_mut(at) {
                    cell.count -= 1;
                }
            }
            (Err(at), Step::Add) => self.cells.insert(at, ScoreCell { bin, count: 1 }),
            (Err(_), Step::Retract) => {}
        }
        true
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: &Self) {
        for cell in &other.cells {
            match self.cells.binary_search_by_key(&cell.bin, |cell| cell.bin) {
                Ok(at) => {
                    if let Some(own) = self.cells.get_mut(at) {
                        own.count += cell.count;
                    }
                }
                Err(at) => self.cells.insert(at, *cell),
            }
        }
    }

    /// The bins that are not empty, from the lowest scores up.
    pub fn cells(&self) -> &[ScoreCell] {
        &self.cells
    }

    /// Scores.
    pub fn n(&self) -> u64 {
        self.cells.iter().map(|cell| cell.count).sum()
    }

    /// Bytes of memory behind the counts.
    pub fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<ScoreCell>()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a score is between 0 and 1"
)]
fn bin(score: f64) -> Option<u16> {
    let is_score = (0.0..=1.0).contains(&score);
    let within = || (score * f64::from(SCORE_BINS)) as u16 + 1;
    is_score.then(|| if score > 0.0 { within() } else { 0 })
}
