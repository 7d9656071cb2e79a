//! One lane for each version that runs in this process, kept over snapshots.
//!
//! Owns when a lane is a new one: when its model or how it runs is another. Requests that wait in an
//! earlier lane are run from there. Never looks into a lane.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::LoadedModels;
use crate::domain::routing::TargetKind;
use crate::domain::spec::{BatchSpec, Execution};
use crate::inference::{Lane, LaneLimits, LocalModel};

/// The lanes of the last snapshot.
#[derive(Debug, Default)]
pub(super) struct Lanes(BTreeMap<TargetKind, Kept>);

#[derive(Debug)]
struct Kept {
    model: Arc<LocalModel>,
    execution: Execution,
    batch: Option<BatchSpec>,
    lane: Lane,
}

impl Lanes {
    /// The lane of `kind`.
    pub(super) fn lane(
        &mut self,
        kind: &TargetKind,
        model: &Arc<LocalModel>,
        execution: Execution,
        batch: Option<BatchSpec>,
    ) -> Lane {
        let same = |kept: &&Kept| {
            Arc::ptr_eq(&kept.model, model) && kept.execution == execution && kept.batch == batch
        };
        if let Some(kept) = self.0.get(kind).filter(same) {
            return kept.lane.clone();
        }
        let limits = LaneLimits {
            queue: execution.queue,
            concurrency: execution.concurrency.unwrap_or(usize::MAX),
        };
        let lane = match batch {
            Some(batch) => Lane::batching(limits, Arc::clone(model), batch),
            None => Lane::new(limits),
        };
        let kept = Kept { model: Arc::clone(model), execution, batch, lane: lane.clone() };
        self.0.insert(kind.clone(), kept);
        lane
    }

    /// Forgets the lanes of versions that are not loaded any more.
    pub(super) fn retain(&mut self, models: &LoadedModels) {
        self.0.retain(|kind, _| models.contains_key(kind));
    }
}
