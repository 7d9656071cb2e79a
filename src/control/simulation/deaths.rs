//! Ends of the process without a farewell, and under whom.
//!
//! Owns its own book of them: since a trial began, when the process died while its version was tried.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::Key;
use crate::domain::ids::ModelName;
use crate::domain::lifecycle::event::Move;
use crate::domain::lifecycle::stage::Edge;
use crate::domain::lifecycle::state::State;
use crate::domain::lifecycle::time::Steady;

/// Deaths further apart are none in a row.
const DAY: Duration = Duration::from_secs(86_400);

/// The book.
#[derive(Default)]
pub(super) struct Deaths {
    of: BTreeMap<Key, Vec<Steady>>,
}

impl Deaths {
    /// The process before has died: whoever was tried then may have brought it about.
    pub(super) fn note(&mut self, state: &State, at: Steady) {
        for (name, model) in state.models() {
            if let Some((candidate, _)) = model.candidate() {
                self.of.entry((name.clone(), candidate.clone())).or_default().push(at);
            }
        }
    }

    /// With another trial of a version its book begins anew.
    pub(super) fn follow(&mut self, model: &ModelName, moves: &[Move]) {
        for m in moves.iter().filter(|m| matches!(m.edge, Edge::Validate(_))) {
            self.of.remove(&(model.clone(), m.version.clone()));
        }
    }

    /// Deaths in a row, the last one of late.
    pub(super) fn in_a_row(&self, key: &Key, now: Steady) -> u32 {
        let mut later = now;
        let row = self.of.get(key).into_iter().flatten().rev().take_while(|at| {
            let is_near = later.since(**at) <= DAY;
            later = **at;
            is_near
        });
        u32::try_from(row.count()).unwrap_or(u32::MAX)
    }
}
