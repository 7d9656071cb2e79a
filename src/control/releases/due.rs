//! Whose turn it is: which models are gone through in a round.
//!
//! Owns that what has happened to a model is looked at in the next round, that models with versions on their way are
//! looked at with each tick, and all others within [`ROUND`] ticks, some with each, so that thousands of versions at
//! rest cost next to nothing. Never knows what is looked for.

use std::collections::BTreeSet;

use crate::domain::ids::ModelName;

/// Ticks within which every model has its turn, however many there are.
const ROUND: usize = 10;
/// Versions that each tick may go through anyway.
const AT_ONCE: usize = 512;

/// Those whose turn it is.
#[derive(Debug, PartialEq)]
pub(super) enum Turn {
    /// Every model there is.
    Everyone,
    /// These.
    Of(BTreeSet<ModelName>),
}

/// Whose turn comes when.
#[derive(Debug)]
pub(super) struct Due {
    /// Something has happened to them.
    changed: BTreeSet<ModelName>,
    /// Something has happened to all.
    everyone: bool,
    /// Some version of theirs is on its way.
    moving: BTreeSet<ModelName>,
    /// A tick has come since the last round: time itself is looked at.
    ticked: bool,
    ticks: usize,
}

impl Default for Due {
    /// Everyone: nothing is known yet.
    fn default() -> Self {
        Self {
            changed: BTreeSet::new(),
            everyone: true,
            moving: BTreeSet::new(),
            ticked: false,
            ticks: 0,
        }
    }
}

impl Due {
    /// Something has happened to a model.
    pub(super) fn mark(&mut self, model: &ModelName) {
        if !self.changed.contains(model) {
            self.changed.insert(model.clone());
        }
    }

    /// Something has happened to all.
    pub(super) fn mark_all(&mut self) {
        self.everyone = true;
    }

    /// Whether any version of a model is on its way.
    pub(super) fn moves(&mut self, model: &ModelName, is_moving: bool) {
        match is_moving {
            false => drop(self.moving.remove(model)),
            true if self.moving.contains(model) => {}
            true => drop(self.moving.insert(model.clone())),
        }
    }

    /// Time has passed. `models` are all of them with their versions.
    pub(super) fn tick<'a>(
        &mut self,
        models: impl Iterator<Item = (&'a ModelName, usize)> + Clone,
    ) {
        self.ticked = true;
        self.ticks = self.ticks.wrapping_add(1);
        let versions: usize = models.clone().map(|(_, versions)| versions.max(1)).sum();
        let round = (versions / AT_ONCE).clamp(1, ROUND);
        let turn = self.ticks % round;
        let theirs = models.enumerate().filter(|(at, _)| at % round == turn);
        self.changed.extend(theirs.map(|(_, (name, _))| name.clone()));
        self.changed.extend(self.moving.iter().cloned());
    }

    /// Whether nobody's turn has come.
    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && !self.everyone && !self.ticked
    }

    /// Those whose turn it is; `None` where there is nothing to look at, time included.
    pub(super) fn take(&mut self) -> Option<Turn> {
        if self.is_empty() {
            return None;
        }
        self.ticked = false;
        let changed = std::mem::take(&mut self.changed);
        Some(match std::mem::replace(&mut self.everyone, false) {
            true => Turn::Everyone,
            false => Turn::Of(changed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(n: usize) -> ModelName {
        ModelName::new(format!("m{n:05}"))
    }

    fn at_rest() -> Due {
        let mut due = Due::default();
        assert_eq!(due.take(), Some(Turn::Everyone), "everyone first");
        due
    }

    fn taken(due: &mut Due) -> BTreeSet<ModelName> {
        match due.take() {
            Some(Turn::Of(names)) => names,
            other => panic!("not everyone: {other:?}"),
        }
    }

    #[test]
    fn few_versions_are_gone_through_with_each_tick() {
        let (mut due, models) = (at_rest(), [model(1), model(2)]);
        assert_eq!(due.take(), None);
        for _ in 0..5 {
            due.tick(models.iter().map(|name| (name, 100)));
            assert_eq!(taken(&mut due).len(), 2);
            assert_eq!(due.take(), None);
        }
    }

    #[test]
    fn of_many_each_has_its_turn_within_a_round_and_those_on_their_way_with_each_tick() {
        let mut due = at_rest();
        let models: Vec<ModelName> = (0..10_000).map(model).collect();
        due.moves(&model(7), true);
        let mut gone_through = BTreeSet::new();
        for _ in 0..ROUND {
            due.tick(models.iter().map(|name| (name, 1)));
            let names = taken(&mut due);
            assert!(names.len() <= models.len() / ROUND + 1, "{}", names.len());
            assert!(names.contains(&model(7)));
            gone_through.extend(names);
        }
        assert_eq!(gone_through.len(), models.len());
        due.moves(&model(7), false);
        let ticks = (0..ROUND).filter(|_| {
            due.tick(models.iter().map(|name| (name, 1)));
            taken(&mut due).contains(&model(7))
        });
        assert_eq!(ticks.count(), 1);
    }

    #[test]
    fn what_has_happened_is_looked_at_once_without_a_tick() {
        let mut due = at_rest();
        due.mark(&model(3));
        assert_eq!(taken(&mut due), BTreeSet::from([model(3)]));
        assert!(due.is_empty());
        due.mark_all();
        assert_eq!(due.take(), Some(Turn::Everyone));
    }

    #[test]
    fn without_a_model_a_tick_still_looks_at_time() {
        let mut due = at_rest();
        due.tick(std::iter::empty());
        assert_eq!(taken(&mut due), BTreeSet::new());
    }
}
