//! What is counted about versions on trial.

use crate::domain::routing::{TargetIx, TargetKind};
use crate::snapshot::{Dropped, Snapshot};
use crate::telemetry::Registry;

/// Sets what trials have counted since they began.
pub(super) fn metrics(registry: &Registry, snapshot: &Snapshot) {
    for (entry, runtime) in snapshot.table.models().iter().zip(&snapshot.models) {
        let Some(trial) = &runtime.trial else { continue };
        let model = ("model", entry.name.as_str());
        let name = |target: TargetIx| match &snapshot.table.target(target).kind {
            TargetKind::Version(_, version) => Some(version.as_str()),
            TargetKind::Pool(_) => None,
        };
        let tried = entry.trial.as_ref().and_then(|trial| name(trial.target));
        if let (Some(canary), Some(version)) = (trial.as_canary(), tried) {
            for (arm, count) in ["candidate", "control"].into_iter().zip(canary.requests()) {
                let labels = [model, ("version", version), ("arm", arm)];
                registry.set("pointsman_trial_requests", &labels, super::float(count));
            }
        }
        let copied = entry.shadow.and_then(name);
        if let (Some(shadow), Some(version)) = (trial.as_shadow(), copied) {
            let (agreed, compared, unread) = shadow.counts();
            let pairs = [("agrees", agreed), ("differs", compared - agreed), ("unread", unread)];
            for (outcome, count) in pairs {
                let labels = [model, ("version", version), ("outcome", outcome)];
                registry.set("pointsman_shadow_pairs", &labels, super::float(count));
            }
            for why in Dropped::ALL {
                let labels = [model, ("version", version), ("reason", why.as_str())];
                let count = super::float(shadow.gate.dropped(why));
                registry.set("pointsman_shadow_dropped", &labels, count);
            }
        }
    }
}
