//! Alarms in metrics and over the admin API.
//!
//! Owns how they are shown. Changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::{Admin, float};
use crate::domain::stats::alarm::{AlarmKey, AlarmKind, Event, Standing};
use crate::monitor::alarms::{AlarmReader, date};
use crate::prediction_log::FailureReason;
use crate::telemetry::Registry;

/// Copies the state of alarms into the registry. A series stays at 0 once its alarm was active.
pub(super) fn metrics(registry: &Registry, alarms: &AlarmReader) {
    let stats = alarms.stats();
    let mut active: BTreeMap<(String, AlarmKind), u64> = BTreeMap::new();
    for key in stats.fired.keys() {
        active.insert(key.clone(), 0);
    }
    for (AlarmKey { model, alarm, .. }, _) in alarms.active() {
        *active.entry((model, alarm)).or_default() += 1;
    }
    for ((model, alarm), count) in &active {
        let labels = [("model", model.as_str()), ("alarm", alarm.as_str())];
        registry.set("pointsman_alarm_active", &labels, float(*count));
        let fired = stats.fired.get(&(model.clone(), *alarm)).copied().unwrap_or(0);
        registry.copy("pointsman_alarms_fired_total", &labels, fired);
    }
    registry.copy("pointsman_alarm_write_errors_total", &[], stats.write_errors);
    let Some(calls) = stats.calls else { return };
    for (result, count) in [("delivered", calls.delivered), ("given_up", calls.given_up)] {
        registry.copy("pointsman_alarm_calls_total", &[("result", result)], count);
    }
    for (reason, count) in FailureReason::ALL.iter().zip(calls.failures) {
        let labels = [("reason", reason.as_str())];
        registry.copy("pointsman_alarm_call_failures_total", &labels, count);
    }
    registry.set("pointsman_alarm_calls_waiting", &[], float(calls.waiting));
}

/// `GET /api/v1/alarms`
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let stats = admin.alarms.stats();
    let active = admin.alarms.active();
    let active: Vec<Value> = active.iter().map(|(key, standing)| shown(key, standing)).collect();
    let events: Vec<Value> = admin.alarms.events().iter().rev().map(event).collect();
    let calls = stats.calls.map(|calls| {
        json!({
            "delivered": calls.delivered,
            "given_up": calls.given_up,
            "waiting": calls.waiting,
            "last_error": calls.last_error,
        })
    });
    Json(json!({ "active": active, "events": events, "calls": calls }))
}

/// An active alarm, with why it is.
pub(super) fn shown(key: &AlarmKey, standing: &Standing) -> Value {
    json!({
        "alarm": key.alarm.as_str(),
        "model": key.model,
        "version": key.version,
        "severity": standing.severity.as_str(),
        "since": standing.since.map(date),
        "called": standing.called,
        "runbook": standing.runbook,
        "evidence": standing.evidence,
    })
}

fn event(event: &Event) -> Value {
    json!({
        "at": date(event.minute),
        "change": event.change.as_str(),
        "alarm": event.key.alarm.as_str(),
        "model": event.key.model,
        "version": event.key.version,
        "severity": event.severity.as_str(),
        "since": date(event.since),
        "evidence": event.evidence,
    })
}
