//! The sinks in metrics and in the status.
//!
//! Owns how their counters are shown. Changes nothing.

use serde_json::{Value, json};

use super::float;
use crate::prediction_log::{FailureReason, SinkStats};
use crate::telemetry::Registry;

/// Copies what the sinks have counted into the registry.
pub(super) fn metrics(registry: &Registry, sinks: &[SinkStats]) {
    for sink in sinks {
        let name = ("sink", sink.name.as_str());
        let labels = [name];
        for (reason, failures) in FailureReason::ALL.iter().zip(sink.failures) {
            let labels = [name, ("reason", reason.as_str())];
            registry.copy("pointsman_sink_failures_total", &labels, failures);
        }
        let counters = [
            ("pointsman_sink_records_total", sink.delivered),
            ("pointsman_sink_batches_total", sink.batches),
            ("pointsman_sink_retries_total", sink.retries),
            ("pointsman_sink_rejected_records_total", sink.rejected),
            ("pointsman_sink_missing_records_total", sink.missing),
        ];
        for (metric, value) in counters {
            registry.copy(metric, &labels, value);
        }
        let gauges = [
            ("pointsman_sink_lag_records", float(sink.lag_records)),
            ("pointsman_sink_lag_bytes", float(sink.lag_bytes)),
            ("pointsman_sink_lag_seconds", sink.lag.as_secs_f64()),
            ("pointsman_sink_up", f64::from(u8::from(sink.up))),
        ];
        for (metric, value) in gauges {
            registry.set(metric, &labels, value);
        }
    }
}

/// The sinks by name.
pub(super) fn status(sinks: &[SinkStats]) -> Value {
    let sink = |sink: &SinkStats| {
        let value = json!({
            "kind": sink.kind,
            "up": sink.up,
            "last_error": sink.last_error,
            "position": sink.position,
            "lag_records": sink.lag_records,
            "lag_seconds": sink.lag.as_secs_f64(),
            "delivered": sink.delivered,
            "rejected": sink.rejected,
            "missing": sink.missing,
        });
        (sink.name.to_string(), value)
    };
    sinks.iter().map(sink).collect::<serde_json::Map<_, _>>().into()
}
