//! The records that are written together, and how far that has come.
//!
//! Owns one arena a worker, taken from the workers when the writer collects, one for records that
//! could not be written earlier, and one for the log's own gap rows. Never touches a file.

use std::io::IoSlice;
use std::ops::Range;

use super::arena::Arena;
use crate::domain::spec::Durability;

/// Frames of all workers in the order in which they are written.
#[derive(Debug)]
pub(super) struct Group {
    /// What was held, the workers' lots, gap rows.
    lots: Vec<Arena>,
    at: Position,
    /// The furthest that any attempt has come.
    reached: Position,
}

/// A place before a frame, or at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    lot: usize,
    frame: usize,
}

impl Position {
    const START: Self = Self { lot: 0, frame: 0 };
}

/// How far a group had come, in this attempt and in any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    at: Position,
    reached: Position,
}

impl Mark {
    /// How far this attempt had come.
    pub(super) fn position(self) -> Position {
        self.at
    }
}

/// One arena of a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lot<'a> {
    /// Its frames.
    pub(super) arena: &'a Arena,
    /// How many of them were written.
    pub(super) written: usize,
    /// How many of them are as safe as the group's strongest promise asks.
    pub(super) safe: usize,
}

/// The next frames that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fit {
    /// Where they end.
    pub(super) end: Position,
    /// Their number.
    pub(super) frames: u64,
    /// Their bytes on disk.
    pub(super) bytes: u64,
}

impl Group {
    /// An empty group for as many workers as there are slots.
    pub(super) fn new(slots: usize) -> Self {
        let lots = std::iter::repeat_with(Arena::default).take(slots + 2).collect();
        Self { lots, at: Position::START, reached: Position::START }
    }

    /// The workers' arenas, to be filled while the group is not begun.
    pub(super) fn slots_mut(&mut self) -> &mut [Arena] {
        let end = self.lots.len() - 1;
        &mut self.lots[1..end]
    }

    /// The log's own gap rows.
    pub(super) fn gaps_mut(&mut self) -> &mut Arena {
        let last = self.lots.len() - 1;
        &mut self.lots[last]
    }

    /// The frames of one worker and how far they have come.
    pub(super) fn slot(&self, slot: usize) -> Lot<'_> {
        self.lot(slot + 1)
    }

    /// The frames that were held and how far they have come.
    pub(super) fn held(&self) -> Lot<'_> {
        self.lot(0)
    }

    /// Swaps the frames that were held, which come first.
    pub(super) fn swap_held(&mut self, frames: &mut Arena) {
        std::mem::swap(&mut self.lots[0], frames);
    }

    /// Whether all gap rows are written.
    pub(super) fn gaps_are_written(&self) -> bool {
        let gaps = self.lot(self.lots.len() - 1);
        gaps.written == gaps.arena.len()
    }

    fn lot(&self, index: usize) -> Lot<'_> {
        let arena = &self.lots[index];
        let passed = |at: Position| match at.lot.cmp(&index) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => at.frame,
            std::cmp::Ordering::Greater => arena.len(),
        };
        Lot { arena, written: passed(self.reached), safe: passed(self.at) }
    }

    /// The strongest promise of any frame.
    pub(super) fn strongest(&self) -> Option<Durability> {
        self.lots.iter().filter_map(Arena::strongest).max()
    }

    /// Whether a worker's record is among them that nobody waits for.
    pub(super) fn has_unpromised(&self) -> bool {
        let workers = &self.lots[1..self.lots.len() - 1];
        workers.iter().any(|arena| arena.promised() < arena.len())
    }

    /// Records that somebody waits for.
    pub(super) fn promised(&self) -> u64 {
        self.lots.iter().map(|lot| lot.promised() as u64).sum()
    }

    /// Whether there are no frames at all.
    pub(super) fn is_empty(&self) -> bool {
        self.lots.iter().all(|lot| lot.len() == 0)
    }

    /// All frames.
    pub(super) fn frames(&self) -> u64 {
        self.lots.iter().map(|lot| lot.len() as u64).sum()
    }

    /// Whether all frames are written.
    pub(super) fn is_written(&self) -> bool {
        self.left() == 0
    }

    /// Frames that are not written.
    pub(super) fn left(&self) -> u64 {
        self.spans(self.end()).map(|(_, frames)| frames.len() as u64).sum()
    }

    /// How far the writing has come, to go back there.
    pub(super) fn mark(&self) -> Mark {
        Mark { at: self.at, reached: self.reached }
    }

    /// Goes back to `mark`, as if nothing had been written since.
    pub(super) fn take_back(&mut self, mark: Mark) {
        (self.at, self.reached) = (mark.at, mark.reached);
    }

    /// Sets how far the writing has come.
    pub(super) fn set_position(&mut self, at: Position) {
        self.at = at;
        self.reached = self.reached.max(at);
    }

    /// Frames that were written, but not to a file that can be trusted.
    pub(super) fn doubtful(&self) -> u64 {
        self.spans(self.reached).map(|(_, frames)| frames.len() as u64).sum()
    }

    /// Forgets all frames.
    pub(super) fn clear(&mut self) {
        self.lots.iter_mut().for_each(Arena::clear);
        self.at = Position::START;
        self.reached = Position::START;
    }

    /// The next frames that fit into `room` bytes, and one that does not if there has to be one.
    pub(super) fn fit(&self, room: u64, one_at_least: bool) -> Fit {
        let mut fit = Fit { end: self.at, frames: 0, bytes: 0 };
        for (lot, frames) in self.spans(self.end()) {
            for frame in frames {
                let bytes = fit.bytes + self.lots[lot].frame_size(frame) as u64;
                if bytes > room && !(one_at_least && fit.frames == 0) {
                    return fit;
                }
                let end = Position { lot, frame: frame + 1 };
                fit = Fit { end, frames: fit.frames + 1, bytes };
            }
        }
        fit
    }

    /// Numbers the frames up to `end` and writes their checksums.
    pub(super) fn stamp(&mut self, end: Position, epoch: u32, first_lsn: u64) {
        let spans: Vec<_> = self.spans(end).collect();
        let mut lsn = first_lsn;
        for (lot, frames) in spans {
            let count = frames.len() as u64;
            self.lots[lot].stamp(frames, epoch, lsn);
            lsn += count;
        }
    }

    /// The bytes of the frames up to `end`.
    pub(super) fn pieces(&self, end: Position) -> Vec<IoSlice<'_>> {
        let mut pieces = Vec::with_capacity(2 * self.lots.len());
        for (lot, frames) in self.spans(end) {
            self.lots[lot].gather(frames, &mut pieces);
        }
        pieces
    }

    fn end(&self) -> Position {
        Position { lot: self.lots.len(), frame: 0 }
    }

    /// The frames from here to `end`, lot by lot, without empty lots.
    fn spans(&self, end: Position) -> impl Iterator<Item = (usize, Range<usize>)> {
        let at = self.at;
        let lots = self.lots.iter().enumerate().skip(at.lot);
        lots.take_while(move |&(lot, _)| lot <= end.lot)
            .map(move |(lot, arena)| {
                let from = if lot == at.lot { at.frame } else { 0 };
                let to = if lot == end.lot { end.frame } else { arena.len() };
                (lot, from..to)
            })
            .filter(|(_, frames)| !frames.is_empty())
    }
}
