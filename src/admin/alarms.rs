//! Alarms in metrics and over the admin API.
//!
//! Owns how they are shown. Changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::{Admin, float};
use crate::domain::stats::alarm::{AlarmKey, Event, Severity, Standing};
use crate::monitor::alarms::{AlarmReader, date};
use crate::prediction_log::FailureReason;
use crate::telemetry::Registry;

/// Renders which alarms are active. A series stays at 0 for as long as its alarm is among the last events.
pub(super) fn active(alarms: &AlarmReader, out: &mut String) {
    let mut known: BTreeMap<AlarmKey, (Severity, bool)> = BTreeMap::new();
    for event in alarms.events() {
        known.insert(event.key, (event.severity, false));
    }
    for (key, standing) in alarms.active() {
        known.insert(key, (standing.severity, true));
    }
    let series = known.into_iter().map(|(AlarmKey { model, version, alarm }, (severity, is))| {
        let (alarm, severity) = (alarm.as_str().to_owned(), severity.as_str().to_owned());
        let labels =
            vec![("model", model), ("version", version), ("alarm", alarm), ("severity", severity)];
        (labels, f64::from(u8::from(is)))
    });
    Registry::gauges("pointsman_alarm_active", &series.collect::<Vec<_>>(), out);
}

/// Copies what alarms have counted into the registry.
pub(super) fn metrics(registry: &Registry, alarms: &AlarmReader) {
    let stats = alarms.stats();
    for ((model, alarm), fired) in &stats.fired {
        let labels = [("model", model.as_str()), ("alarm", alarm.as_str())];
        registry.copy("pointsman_alarms_fired_total", &labels, *fired);
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
