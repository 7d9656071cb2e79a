//! What is measured about versions that run in this process.

use serde_json::{Value, json};

use crate::domain::routing::TargetKind;
use crate::inference::{BATCH_BOUNDS, LaneStats};
use crate::snapshot::{LocalRuntime, RuntimeKind, Snapshot};
use crate::telemetry::{BATCH_ROWS, Registry};

/// The loaded versions of a snapshot.
fn loaded(snapshot: &Snapshot) -> impl Iterator<Item = (&TargetKind, &LocalRuntime)> {
    let targets = snapshot.table.targets().iter().zip(&snapshot.runtime);
    targets.filter_map(|(target, runtime)| match &runtime.kind {
        RuntimeKind::Local(Some(local)) => Some((&target.kind, local)),
        RuntimeKind::Local(None) | RuntimeKind::Remote(_) => None,
    })
}

/// Copies what models and lanes have counted into the registry.
pub(super) fn metrics(registry: &Registry, snapshot: &Snapshot) {
    let targets = snapshot.table.targets().iter().zip(&snapshot.runtime);
    for (target, _) in targets.filter(|(_, it)| matches!(it.kind, RuntimeKind::Local(None))) {
        let TargetKind::Version(model, version) = &target.kind else { continue };
        let own = [("model", model.as_str()), ("version", version.as_str())];
        registry.set("pointsman_model_memory_bytes", &own, 0.0);
        registry.set("pointsman_model_plans", &own, 0.0);
    }
    for (kind, local) in loaded(snapshot) {
        let TargetKind::Version(model, version) = kind else { continue };
        let own = [("model", model.as_str()), ("version", version.as_str())];
        let loaded = &local.model;
        registry.set("pointsman_model_memory_bytes", &own, super::float(loaded.memory()));
        registry.set("pointsman_model_plans", &own, super::float(loaded.plans() as u64));
        registry.copy("pointsman_model_plans_made_total", &own, loaded.plans_made());
        registry.copy("pointsman_model_plan_waits_total", &own, loaded.plan_waits());
        registry.copy("pointsman_model_plan_refusals_total", &own, loaded.plan_refusals());
        registry.copy("pointsman_model_panics_total", &own, loaded.panics());
        if !local.lane.batches() {
            continue;
        }
        let LaneStats { full, delay, taken_apart, .. } = local.lane.stats();
        let [model, version] = own;
        for (reason, count) in [("full", full), ("delay", delay)] {
            let labels = [model, version, ("reason", reason)];
            registry.copy("pointsman_batches_total", &labels, count);
        }
        registry.copy("pointsman_batches_taken_apart_total", &own, taken_apart);
    }
}

/// What is known about a loaded model.
pub(super) fn artifact(local: &LocalRuntime) -> Value {
    let model = &local.model;
    let digest: String = model.digest().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "digest": format!("sha256:{digest}"),
        "bytes": model.bytes(),
        "memory": model.memory(),
        "plans": model.plans(),
        "cost_us": model.cost_us(),
        "interface": model.interface(),
    })
}

/// Renders how many rows ran together.
pub(super) fn batch_rows(snapshot: &Snapshot, out: &mut String) {
    let batching = loaded(snapshot).filter(|(_, local)| local.lane.batches());
    let versions: Vec<_> = batching
        .map(|(kind, local)| {
            let stats = local.lane.stats();
            (kind, stats.batch_rows.to_vec(), stats.rows)
        })
        .collect();
    if !versions.is_empty() {
        Registry::version_histogram(BATCH_ROWS, &BATCH_BOUNDS, &versions, out);
    }
}
