//! Every metric of the gateway: names, kinds, help texts and labels.
//!
//! Owns the registry and the only places where a metric name is written. Counters on the request
//! path are handles that were made when a snapshot was built; counters that other rooms keep are
//! copied in when `/metrics` is read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder as _, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use parking_lot::Mutex;

use super::latency::LatencyShards;
use super::process;
use super::shards::TargetShard;
use super::tally::{Ended, Tally};
use crate::domain::record::Outcome;
use crate::domain::routing::TargetKind;

/// Requests answered or refused for a target, by outcome.
pub const REQUESTS: &str = "pointsman_requests_total";
/// Requests being served now, per target.
pub const IN_FLIGHT: &str = "pointsman_requests_in_flight";
/// From the first byte of a request to the end of its response.
pub const DURATION: &str = "pointsman_request_duration_seconds";
/// The part of the duration that was spent in the model or at the backend.
pub const STAGE: &str = "pointsman_stage_duration_seconds";
/// Answers that the gateway made itself, by the reason in `x-pointsman-error`.
pub const ERRORS: &str = "pointsman_errors_total";

/// Rows that ran together, per version.
pub const BATCH_ROWS: &str = "pointsman_batch_rows";

/// Checks of versions before any traffic.
pub const ADMISSION_CHECKS: &str = "pointsman_admission_checks_total";
/// Fresh looks at loaded versions.
pub const ADMISSION_LOOKS: &str = "pointsman_admission_looks_total";
/// Servers that have come to a version that answers clients.
pub const ADMISSION_SERVERS: &str = "pointsman_admission_servers_total";

/// Syncs of a segment of the prediction log.
pub const LOG_SYNC: &str = "pointsman_log_sync_seconds";

/// The name, kind, label names and help text of a metric.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// The exported name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says, with the unit.
    pub help: &'static str,
}

/// Builds the table of definitions.
macro_rules! definitions {
    ($($kind:ident $name:expr, [$($label:literal),*], $help:literal;)+) => {
        /// Every metric, in the order of the documentation.
        pub const ALL: &[Definition] = &[$(Definition {
            name: $name, kind: stringify!($kind), labels: &[$($label),*], help: $help,
        },)+];
    };
}

definitions! {
    counter REQUESTS, ["model", "version", "pool", "outcome"], "Exchanges with a target, by how they ended.";
    gauge IN_FLIGHT, ["model", "version", "pool"], "Requests being served now.";
    histogram DURATION, ["model", "version", "pool"], "First byte of the request to the last byte of the response, in seconds.";
    histogram STAGE, ["model", "version", "pool", "stage"], "Time in one stage, in seconds: queue and infer (in process), upstream (to the response head), overhead (what is left of the whole, with the body that a backend sends).";
    counter ERRORS, ["reason"], "Answers that the gateway made itself, by the reason in x-pointsman-error.";
    gauge "pointsman_ready", [], "1 while /readyz answers 200.";
    gauge "pointsman_snapshot_generation", [], "The number of the published snapshot.";
    gauge "pointsman_versions", ["state"], "Versions by state: ready or unavailable.";
    gauge "pointsman_dialect_known", ["model", "version"], "1 once the backends of a version with dialect = \"ask\" have told what they speak, 0 until then.";
    gauge "pointsman_trial_requests", ["model", "version", "arm"], "Requests that fell to a version on trial (candidate) or to the slice that it is compared with (control), since the trial began.";
    gauge "pointsman_shadow_pairs", ["model", "version", "outcome"], "Answers to copies of requests, by how they compare with the champion's, since the trial began: agrees, differs or unread.";
    gauge "pointsman_shadow_dropped", ["model", "version", "reason"], "Requests that were chosen to be copied and did not become a pair, since the trial began: busy, memory, late, or over (the trial had ended, or a kill switch cut it off).";
    gauge "pointsman_connections", [], "Open client connections.";
    counter "pointsman_connections_accepted_total", [], "Client connections accepted.";
    counter "pointsman_connections_refused_total", ["reason"], "Client connections closed before a request was served: limit or malformed; or because most of its streams were reset: resets.";
    counter "pointsman_connections_lingered_total", ["end"], "Client connections that ended with an answer before the request's body had come: the rest of it was read and dropped (read), it was too long or too slow for that (cut), or too many connections were open to wait for it (full).";
    counter "pointsman_http2_connections_total", [], "Client connections that speak HTTP/2.";
    counter "pointsman_http2_streams_total", [], "Requests that came over HTTP/2.";
    gauge "pointsman_held_body_bytes", [], "Bytes of bodies that are held whole now, but for the first 64 KiB of each exchange; limits.held_bodies bounds them.";
    counter "pointsman_upstream_connects_total", ["result"], "Connections opened to backends: ok or failed.";
    counter "pointsman_upstream_reuses_total", [], "Requests sent on a kept backend connection.";
    counter "pointsman_retries_total", ["reason"], "Requests sent again: connect (nothing was sent), stale (a kept connection turned out dead) or fallback (a version on trial failed, and the champion was asked; or the champion could not be reached, and the version on trial was).";
    gauge "pointsman_executor_queued", [], "Requests that wait for an executor thread.";
    gauge "pointsman_executor_running", [], "Requests that executor threads work on.";
    counter "pointsman_executor_refused_total", ["reason"], "Requests that the executor did not run: full, expired or abandoned.";
    histogram BATCH_ROWS, ["model", "version"], "Rows that an executor thread ran together, for versions with `batch`.";
    counter "pointsman_batches_total", ["model", "version", "reason"], "Batches: full, or delay (the oldest request had waited long enough).";
    counter "pointsman_batches_taken_apart_total", ["model", "version"], "Batches that failed and were run again one by one.";
    gauge "pointsman_model_memory_bytes", ["model", "version"], "An estimate of what a loaded model takes: the tables of its trees once, its constants once for each of its plans; 0 once unloaded.";
    gauge "pointsman_model_plans", ["model", "version"], "Compiled plans of a loaded model: the general one, one for single rows, some for frequent sizes; or those for certain sizes.";
    counter "pointsman_model_plans_made_total", ["model", "version"], "Plans made for frequent sizes, or for those that were asked for, while the gateway ran.";
    counter "pointsman_model_plan_waits_total", ["model", "version"], "Requests that waited for a plan for their sizes, of a model without one for any size.";
    counter "pointsman_model_plan_refusals_total", ["model", "version"], "Requests that were turned away because too many others waited for a plan for their sizes.";
    counter "pointsman_model_panics_total", ["model", "version"], "Runs of a model that panicked since it was loaded; each failed its requests.";
    counter "pointsman_executor_panics_total", [], "Panics of executor threads outside of models; each failed one request.";
    gauge "pointsman_codec_queued", [], "Long bodies that wait to be inflated, or read and written anew, off the workers.";
    gauge "pointsman_codec_running", [], "Long bodies that are being worked on.";
    counter "pointsman_codec_refused_total", ["reason"], "Long bodies that were not worked on: full, expired or abandoned.";
    counter "pointsman_codec_panics_total", [], "Panics on long bodies; each failed one request.";
    counter "pointsman_log_records_received_total", [], "Records offered to the prediction log.";
    counter "pointsman_log_records_written_total", [], "Records written to segments.";
    counter "pointsman_log_records_dropped_total", ["reason"], "Records lost. received = written + dropped + queued.";
    counter "pointsman_log_sampled_out_total", [], "Exchanges that were not offered to the log, because the sample left them out.";
    counter "pointsman_log_bodies_omitted_total", ["reason"], "Bodies that records hold in part or not at all, by reason; pressure means that the log was falling behind.";
    gauge "pointsman_log_queue_bytes", [], "Bytes of records that wait for the writer.";
    gauge "pointsman_log_queue_records", [], "Records that wait for the writer.";
    gauge "pointsman_log_oldest_waiting_seconds", [], "How long the oldest record has waited for the writer, or under sync for its sync; 0 for none.";
    gauge "pointsman_log_oldest_unsynced_seconds", [], "How long the oldest written record has waited to be synced to the disk; 0 for none.";
    gauge "pointsman_log_written_lsn", [], "The sequence number of the last record written; 0 for none.";
    gauge "pointsman_log_durable_lsn", [], "Records up to this sequence number are synced to the disk; 0 for none.";
    gauge "pointsman_log_disk_free_bytes", [], "Free bytes on the file system of the log.";
    gauge "pointsman_log_consumer_lag_records", ["consumer"], "Records written that a consumer has not passed.";
    counter "pointsman_log_gap_rows_total", [], "Gap rows that the log has written about records it lost or consumers that were skipped.";
    counter "pointsman_log_group_records_total", [], "Records in all groups, gap rows included.";
    counter "pointsman_log_written_bytes_total", [], "Bytes of records written.";
    counter "pointsman_log_segments_removed_total", [], "Segments removed: consumed, or to stay within the limits.";
    counter "pointsman_log_segments_prefilled_total", [], "Segments opened in a file of zeros made ahead.";
    counter "pointsman_log_rescued_records_total", ["result"], "Records of segments on which a background sync failed: copied, or missing (may be lost with the power).";
    histogram LOG_SYNC, [], "Syncs of a segment, in seconds.";
    gauge "pointsman_log_disk_bytes", [], "Bytes of segments on disk.";
    gauge "pointsman_log_segments", [], "Segment files on disk.";
    counter "pointsman_log_groups_total", [], "Groups of records written at once.";
    counter "pointsman_log_errors_total", [], "Failed writes and syncs of segments.";
    gauge "pointsman_log_healthy", [], "1 while the last write succeeded.";
    counter "pointsman_feedback_items_total", ["status"], "Items of POST /v1/feedback: accepted, accepted_unmeasured, duplicate, superseded, replaced, pending, late, unknown, invalid or lost.";
    gauge "pointsman_feedback_names", [], "Names of predictions that are remembered for the answer to feedback; 0 until the first feedback.";
    gauge "pointsman_alarm_active", ["model", "version", "alarm", "severity"], "1 while an alarm is active, 0 while it is one of the last events; the version is empty for those of a model as a whole, the model for those of the gateway.";
    counter "pointsman_alarms_fired_total", ["model", "alarm"], "Times that an alarm became active, whether or not someone was called.";
    counter "pointsman_alarm_calls_total", ["result"], "Calls of the webhook: delivered, or given_up (refused for good, or more than may wait).";
    counter "pointsman_alarm_call_failures_total", ["reason"], "Attempts to deliver a call that failed, by reason.";
    gauge "pointsman_alarm_calls_waiting", [], "Calls that wait for the webhook.";
    counter "pointsman_alarm_write_errors_total", [], "Times that the state of alarms could not be written down.";
    counter "pointsman_sink_records_total", ["sink"], "Records that a sink acknowledged, those that were sent again included.";
    counter "pointsman_sink_batches_total", ["sink"], "Deliveries that a sink acknowledged.";
    counter "pointsman_sink_retries_total", ["sink"], "Deliveries that were tried again.";
    counter "pointsman_sink_failures_total", ["sink", "reason"], "Failed attempts of a sink, by reason.";
    counter "pointsman_sink_rejected_records_total", ["sink"], "Records that a sink refused for good; each has a gap row.";
    counter "pointsman_sink_missing_records_total", ["sink"], "Records that were gone or unreadable before a sink had taken them.";
    gauge "pointsman_sink_lag_records", ["sink"], "Records in the log behind a sink's position.";
    gauge "pointsman_sink_lag_bytes", ["sink"], "Bytes behind a sink's position: an estimate from the mean length of what it took.";
    gauge "pointsman_sink_lag_seconds", ["sink"], "Age of the oldest record that a sink has not taken.";
    gauge "pointsman_sink_up", ["sink"], "1 while the last attempt of a sink succeeded.";
    gauge "pointsman_discovery_trusted", ["source"], "1 while the last answer of a source is trusted, 0 while the last good set is kept instead.";
    gauge "pointsman_discovery_trusted_age_seconds", ["source"], "How long ago the last trusted answer of a source was; absent until the first.";
    counter "pointsman_discovery_answers_total", ["source", "result"], "Answers of a source, by what they were worth: trusted, empty, shrunken, partial or failed.";
    gauge "pointsman_discovery_things", ["source", "state"], "Servers and folders that a source has listed, by state: present, damped, incomplete or absent.";
    counter "pointsman_discovery_left_out_total", ["source"], "Servers and folders of a source beyond the bounds: listed and left out, or forgotten.";
    counter ADMISSION_CHECKS, ["check", "outcome"], "Checks of versions before any traffic, by what was checked and how it ended: passed, failed, skipped or needs_approval.";
    counter ADMISSION_LOOKS, ["outcome"], "Fresh looks at loaded versions, by how they ended: passed, failed or skipped.";
    counter ADMISSION_SERVERS, ["outcome"], "Servers that were asked whether they may answer for a version, when they came and now and then, by how that ended: passed or failed.";
    counter "pointsman_registrations_refused_total", ["reason"], "Registrations, renewals and removals that were refused: full, unknown, source, unsaved, busy or closed.";
    gauge "pointsman_release_versions", ["model", "stage"], "Versions under the life cycle, by stage: discovered, staged, validating, warming, shadow, canary, live, standby, draining, retired, quarantined or evicted.";
    counter "pointsman_release_moves_total", ["model", "edge"], "Versions that changed their stage since the start, by the way they went, such as promote or quarantine.";
    gauge "pointsman_release_candidate_ratio", ["model"], "The share of the requests that the version on trial answers; 0 where there is none.";
    gauge "pointsman_release_alerts", ["model"], "Conditions of a model that someone should know of, such as a version that is overdue.";
    gauge "pointsman_release_killed", ["model"], "1 while a kill switch of the model or of the gateway is on.";
    counter "pointsman_release_events_total", [], "Events in the journal of the life cycle, over restarts.";
    counter "pointsman_release_unwritten_total", [], "Times that events of the life cycle could not be written down, so that nothing changed but by a kill switch.";
    counter "pointsman_release_models_left_out_total", [], "Times that a source has named a model for which the table of models has no room.";
    counter "pointsman_discovery_unsaved_total", [], "Attempts to write what discovery knows that failed; they are made again.";
    counter "pointsman_events_total", [], "Events since the first start.";
    counter "pointsman_events_lost_total", [], "Events that could not be written below `data_dir`.";
    gauge "pointsman_parquet_files", [], "Parquet files on disk.";
    gauge "pointsman_parquet_bytes", [], "Bytes of Parquet files on disk.";
    counter "pointsman_parquet_rows_total", [], "Rows written from segments to Parquet files.";
    counter "pointsman_parquet_segments_total", [], "Segments converted to Parquet files.";
    gauge "pointsman_parquet_cpu_seconds", [], "CPU time of converting and merging since the start, in seconds.";
    gauge "pointsman_parquet_backlog_segments", [], "Closed segments that are not converted yet; growing for long means that converting falls behind.";
    gauge "pointsman_parquet_backlog_bytes", [], "Bytes of these segments.";
    counter "pointsman_parquet_failures_total", [], "Failed conversions, merges and removals of Parquet files; they are tried again.";
    counter "pointsman_parquet_given_up_total", [], "Segments that cannot be converted and were passed over with a gap row.";
    counter "pointsman_parquet_merged_total", [], "Parquet files merged into larger ones.";
    counter "pointsman_parquet_removed_total", [], "Parquet files removed to keep within the limits.";
    gauge "pointsman_monitor_memory_bytes", [], "Bytes of the windows that the monitor keeps.";
    gauge "pointsman_monitor_memory_limit_bytes", [], "The most that they may take: `monitor.memory`.";
    gauge "pointsman_monitor_windows", [], "Windows that the monitor keeps: minutes, hours and days of all versions.";
    counter "pointsman_monitor_windows_forgotten_total", [], "Windows forgotten before their time, to stay within the memory.";
    counter "pointsman_monitor_shards_lost_total", [], "Counts of a minute of one worker and version that were lost, because the monitor did not gather them in time.";
    gauge "pointsman_monitor_waiting_bytes", [], "Bytes of bodies of proxied versions that wait to be looked into.";
    gauge "pointsman_monitor_learning_bytes", [], "Bytes of the rows that baselines are being learned from, of all versions.";
    counter "pointsman_monitor_baselines_forgotten_total", [], "Files of baselines, or of rows to learn one from, removed because their version was not served for a month, or there were too many of such.";
    gauge "pointsman_monitor_sampled_ratio", [], "The share of the exchanges of proxied versions that is looked into: 1, a half, a quarter, …";
    gauge "pointsman_monitor_seen_ratio", ["model", "version"], "Of the answers of the last minute that had some, the share whose values were counted.";
    gauge "pointsman_drift_breaches", ["model", "version"], "Features, and roles taken together, whose drift is in breach.";
    gauge "pointsman_feature_psi", ["model", "version", "role", "feature"], "Population stability index of the last judged window; of the ten features with the strongest evidence, as all of pointsman_feature.";
    gauge "pointsman_feature_psi_p", ["model", "version", "role", "feature"], "The probability of so large an index at the margin.";
    gauge "pointsman_feature_ks_lower", ["model", "version", "role", "feature"], "The Kolmogorov-Smirnov statistic is at least this.";
    gauge "pointsman_feature_ks_upper", ["model", "version", "role", "feature"], "The Kolmogorov-Smirnov statistic is at most this.";
    gauge "pointsman_feature_wasserstein_lower", ["model", "version", "role", "feature"], "Wasserstein's distance is at least this.";
    gauge "pointsman_feature_wasserstein_upper", ["model", "version", "role", "feature"], "Wasserstein's distance is at most this.";
    gauge "pointsman_feature_values", ["model", "version", "role", "feature"], "Values of the last judged window.";
    gauge "pointsman_feature_missing_ratio", ["model", "version", "role", "feature"], "The share of values that were missing.";
    gauge "pointsman_feature_factor", ["model", "version", "role", "feature"], "The constant factor between the values of the last three days and the baseline, where there is one.";
    gauge "pointsman_feature_breach", ["model", "version", "role", "feature"], "1 if the drift of the feature is in breach.";
    gauge "pointsman_monitor_baseline", ["model", "version"], "1 if a version has a baseline that it is held against.";
    gauge "pointsman_quality", ["model", "version", "metric"], "The quality of predictions that have their label, over the join window, and the share that has one (coverage).";
    counter "pointsman_quality_changes_total", ["model", "version"], "Changes of the error rate that the detector has seen since the start of the log that was read.";
    counter "pointsman_labels_total", ["model", "status"], "Feedback about predictions of models with labels, by what became of it: joined, replaced, retracted, unchanged, late, unscorable, invalid or excess.";
    counter "pointsman_labels_unmatched_total", [], "Feedback that found no prediction of a model with labels.";
    gauge "pointsman_labels_waiting", [], "Feedback that waits for its prediction.";
    gauge "pointsman_labels_predictions", [], "Predictions that may still get or change a label.";
    counter "pointsman_labels_predictions_dropped_total", [], "Predictions dropped before the join window was over, to stay within the memory.";
    counter "pointsman_labels_windows_forgotten_total", [], "Windows of quality dropped before their time, to stay within the memory.";
    gauge "pointsman_labels_memory_bytes", [], "Bytes of predictions that may still get a label and of windows of quality, about.";
    gauge "pointsman_labels_memory_limit_bytes", [], "The most that they may take: `feedback.memory`.";
    gauge "pointsman_labels_lag_records", [], "Records of the log that are not taken into account yet.";
    gauge "pointsman_build_info", ["version"], "Always 1.";
    gauge "process_resident_memory_bytes", [], "Resident memory in bytes.";
    counter process::CPU_SECONDS, [], "User and system time in seconds.";
    gauge "process_open_fds", [], "Open file descriptors.";
    gauge "process_start_time_seconds", [], "Start of the process since the Unix epoch in seconds.";
}

/// What identifies a target in labels: a version of a model, or a pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetLabels {
    model: String,
    version: String,
    pool: String,
}

impl TargetLabels {
    /// The labels of `kind`.
    pub fn of(kind: &TargetKind) -> Self {
        match kind {
            TargetKind::Version(model, version) => {
                Self { model: model.to_string(), version: version.to_string(), pool: String::new() }
            }
            TargetKind::Pool(pool) => {
                Self { model: String::new(), version: String::new(), pool: pool.to_string() }
            }
        }
    }

    fn labels(&self, extra: Option<(&'static str, &'static str)>) -> Vec<Label> {
        let own = [("model", &self.model), ("version", &self.version), ("pool", &self.pool)]
            .map(|(name, value)| Label::new(name, value.clone()));
        own.into_iter().chain(extra.map(|(k, v)| Label::new(k, v))).collect()
    }

    /// The inner part of the braces; names are checked where they enter and need no escaping.
    fn text(&self) -> String {
        format!("model=\"{}\",version=\"{}\",pool=\"{}\"", self.model, self.version, self.pool)
    }
}

/// What is counted about one target; shared by all snapshots that have the target.
#[derive(Debug)]
pub struct TargetMetrics {
    shards: Box<[TargetShard]>,
    /// First byte of the request to the end of the response.
    pub duration: LatencyShards,
    /// Waiting for an executor thread.
    pub queue: LatencyShards,
    /// Running in process.
    pub infer: LatencyShards,
    /// From the request being sent to the head of the backend's response.
    pub upstream: LatencyShards,
    /// What is left of the whole.
    pub overhead: LatencyShards,
}

impl TargetMetrics {
    /// Counts the end of an exchange on `worker`.
    pub fn ended(&self, worker: usize, outcome: Outcome) {
        let outcomes = &self.shard(worker).outcomes;
        if let Some(counter) = outcomes.get(usize::from(outcome.code()) - 1) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an exchange for the statistics that clients ask for.
    pub fn tell(&self, worker: usize, ended: &Ended) {
        self.shard(worker).tally.add(ended);
    }

    /// These statistics, summed.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.shards.iter().for_each(|shard| shard.tally.add_to(&mut tally));
        tally
    }

    /// Counts a request in flight; [`Self::leave`] ends it.
    pub fn enter(&self, worker: usize) {
        self.shard(worker).in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends what [`Self::enter`] began.
    pub fn leave(&self, worker: usize) {
        self.shard(worker).in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    fn shard(&self, worker: usize) -> &TargetShard {
        &self.shards[worker % self.shards.len()]
    }

    /// Requests that it holds.
    pub fn in_flight(&self) -> i64 {
        self.shards.iter().map(|shard| shard.in_flight.load(Ordering::Relaxed)).sum()
    }

    /// Exchanges that have ended so.
    pub fn outcomes(&self, outcome: Outcome) -> u64 {
        let index = usize::from(outcome.code()) - 1;
        let counters = self.shards.iter().filter_map(|shard| shard.outcomes.get(index));
        counters.map(|counter| counter.load(Ordering::Relaxed)).sum()
    }
}

/// All metrics of the process.
pub struct Registry {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    workers: usize,
    targets: Mutex<BTreeMap<TargetLabels, Arc<TargetMetrics>>>,
    started: Instant,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("workers", &self.workers).finish_non_exhaustive()
    }
}

impl Registry {
    /// A registry for `workers` recorders of latency.
    pub fn new(workers: usize) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        for definition in ALL {
            let name = SharedString::const_str(definition.name);
            let help = SharedString::const_str(definition.help);
            match definition.kind {
                "counter" => recorder.describe_counter(name.into(), None::<Unit>, help),
                "gauge" => recorder.describe_gauge(name.into(), None::<Unit>, help),
                _ => {}
            }
        }
        let targets = Mutex::new(BTreeMap::new());
        Self { recorder, handle, workers, targets, started: Instant::now() }
    }

    /// How many workers record.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// A counter of [`ALL`].
    pub fn counter(&self, name: &'static str, labels: &[(&'static str, &'static str)]) -> Counter {
        let labels = labels.iter().map(|(k, v)| Label::new(*k, *v)).collect();
        self.register_counter(name, labels)
    }

    /// Sets a gauge of [`ALL`].
    pub fn set(&self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        let labels = labels.iter().map(|(k, v)| Label::new(*k, (*v).to_owned())).collect();
        self.register_gauge(name, labels).set(value);
    }

    /// Sets a counter of [`ALL`] to what another room has counted.
    pub fn copy(&self, name: &'static str, labels: &[(&'static str, &str)], value: u64) {
        let labels = labels.iter().map(|(k, v)| Label::new(*k, (*v).to_owned())).collect();
        self.register_counter(name, labels).absolute(value);
    }

    /// The metrics of a target, made at its first mention.
    pub fn target(&self, kind: &TargetKind) -> Arc<TargetMetrics> {
        let labels = TargetLabels::of(kind);
        let mut targets = self.targets.lock();
        if let Some(known) = targets.get(&labels) {
            return Arc::clone(known);
        }
        let shards = || LatencyShards::new(self.workers);
        let metrics = Arc::new(TargetMetrics {
            shards: (0..self.workers.max(1)).map(|_| TargetShard::default()).collect(),
            duration: shards(),
            queue: shards(),
            infer: shards(),
            upstream: shards(),
            overhead: shards(),
        });
        targets.insert(labels, Arc::clone(&metrics));
        metrics
    }

    /// The metrics of a target, if it was ever mentioned.
    pub fn find(&self, kind: &TargetKind) -> Option<Arc<TargetMetrics>> {
        self.targets.lock().get(&TargetLabels::of(kind)).map(Arc::clone)
    }

    /// Everything in the Prometheus text format, version 0.0.4.
    pub fn render(&self) -> String {
        self.set("pointsman_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        process::measure(self, self.started);
        let targets: Vec<_> =
            self.targets.lock().iter().map(|(k, v)| (k.clone(), Arc::clone(v))).collect();
        for (labels, target) in &targets {
            #[expect(clippy::cast_precision_loss, reason = "requests in flight are few")]
            let in_flight = target.in_flight() as f64;
            self.register_gauge(IN_FLIGHT, labels.labels(None)).set(in_flight);
            for outcome in Outcome::ALL {
                let labels = labels.labels(Some(("outcome", outcome.as_str())));
                self.register_counter(REQUESTS, labels).absolute(target.outcomes(*outcome));
            }
        }
        let mut out = self.handle.render();
        head(&mut out, process::CPU_SECONDS, "counter");
        out.push_str(&format!("{} {:.2}\n", process::CPU_SECONDS, process::cpu_seconds()));
        head(&mut out, DURATION, "histogram");
        for (labels, target) in &targets {
            target.duration.render(DURATION, &labels.text(), &mut out);
        }
        head(&mut out, STAGE, "histogram");
        for (labels, target) in &targets {
            let stages = [
                ("queue", &target.queue),
                ("infer", &target.infer),
                ("upstream", &target.upstream),
                ("overhead", &target.overhead),
            ];
            for (stage, shards) in stages {
                if !shards.is_empty() {
                    let labels = format!("{},stage=\"{stage}\"", labels.text());
                    shards.render(STAGE, &labels, &mut out);
                }
            }
        }
        out
    }

    /// Renders a histogram of counts that another room keeps for versions: the upper bounds of its
    /// buckets, and for each version the count of each bucket and of what is beyond, and the sum.
    pub fn version_histogram(
        name: &str,
        bounds: &[u64],
        versions: &[(&TargetKind, Vec<u64>, u64)],
        out: &mut String,
    ) {
        head(out, name, "histogram");
        for (kind, counts, sum) in versions {
            let TargetKind::Version(model, version) = kind else { continue };
            let labels = format!("model=\"{model}\",version=\"{version}\"");
            let mut total = 0;
            for (index, count) in counts.iter().enumerate() {
                total += count;
                let bound = bounds.get(index).map_or_else(|| "+Inf".to_owned(), u64::to_string);
                out.push_str(&format!("{name}_bucket{{{labels},le=\"{bound}\"}} {total}\n"));
            }
            out.push_str(&format!(
                "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {total}\n"
            ));
        }
    }

    /// Renders a gauge whose series come and go: the labels and the value of each. Values of labels are
    /// escaped.
    pub fn gauges(name: &str, series: &[(Vec<(&str, String)>, f64)], out: &mut String) {
        if series.is_empty() {
            return;
        }
        head(out, name, "gauge");
        let escaped =
            |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        for (labels, value) in series {
            let labels: Vec<String> = labels
                .iter()
                .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
                .collect();
            out.push_str(&format!("{name}{{{}}} {value}\n", labels.join(",")));
        }
    }

    /// Renders a histogram that another room keeps: the upper bounds of its buckets in microseconds,
    /// the count of each and of those beyond, and the sum in seconds.
    pub fn histogram(name: &str, bounds_us: &[u64], counts: &[u64], sum: f64, out: &mut String) {
        head(out, name, "histogram");
        let mut total = 0;
        for (index, count) in counts.iter().enumerate() {
            total += count;
            let bound = bounds_us.get(index).map_or_else(
                || "+Inf".to_owned(),
                |us| std::time::Duration::from_micros(*us).as_secs_f64().to_string(),
            );
            out.push_str(&format!("{name}_bucket{{le=\"{bound}\"}} {total}\n"));
        }
        out.push_str(&format!("{name}_sum {sum}\n{name}_count {total}\n"));
    }

    fn register_counter(&self, name: &'static str, labels: Vec<Label>) -> Counter {
        debug_assert!(is_defined(name, "counter"), "counter {name} is not in the table");
        self.recorder.register_counter(&Key::from_parts(name, labels), &METADATA)
    }

    fn register_gauge(&self, name: &'static str, labels: Vec<Label>) -> Gauge {
        debug_assert!(is_defined(name, "gauge"), "gauge {name} is not in the table");
        self.recorder.register_gauge(&Key::from_parts(name, labels), &METADATA)
    }
}

static METADATA: Metadata<'static> = Metadata::new("pointsman", Level::INFO, None);

fn is_defined(name: &str, kind: &str) -> bool {
    ALL.iter().any(|definition| definition.name == name && definition.kind == kind)
}

/// The two lines above a metric that the recorder does not keep: its values are no integers.
fn head(out: &mut String, name: &str, kind: &str) {
    let help = ALL.iter().find(|d| d.name == name).map_or("", |d| d.help);
    out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ModelName, VersionName};
    use std::time::Duration;

    #[test]
    fn a_target_keeps_its_counts_over_snapshots_and_is_rendered_once() {
        let registry = Registry::new(2);
        let kind = TargetKind::Version(ModelName::new("iris"), VersionName::new("v1"));
        registry.target(&kind).ended(0, Outcome::Ok);
        let again = registry.target(&kind);
        again.ended(1, Outcome::Ok);
        again.duration.record(1, Duration::from_millis(2));
        let text = registry.render();
        let expected =
            "pointsman_requests_total{model=\"iris\",version=\"v1\",pool=\"\",outcome=\"ok\"} 2";
        assert!(text.contains(expected), "{text}");
        assert_eq!(text.matches("# TYPE pointsman_request_duration_seconds").count(), 1);
        assert!(text.contains("pointsman_build_info{version="), "{text}");
    }

    #[test]
    fn names_are_unique_prefixed_and_in_base_units() {
        let mut seen = std::collections::BTreeSet::new();
        for definition in ALL {
            let name = definition.name;
            assert!(seen.insert(name), "{name} is defined twice");
            assert!(name.starts_with("pointsman_") || name.starts_with("process_"), "{name}");
            assert_eq!(definition.kind == "counter", name.ends_with("_total"), "{name}");
            assert!(!name.contains("_ms") && !name.contains("_us"), "{name}: base units");
            for label in definition.labels {
                assert!(!matches!(*label, "path" | "id" | "key"), "{name} has label {label}");
            }
        }
    }
}
