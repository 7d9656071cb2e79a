//! The admin listener: health, metrics, and the state of the gateway.
//!
//! Owns its HTTP surface. Reads everything; what it is asked to change it asks of the controller.

mod alarms;
mod discovery;
mod drift;
mod features;
mod local;
mod models;
mod monitor;
mod pages;
mod quality;
mod releases;
mod sinks;
mod trials;
mod windows;

use std::net::TcpListener;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use parking_lot::Mutex;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use serde_json::{Value, json};

use crate::control::discovery::DiscoveryHandle;
use crate::control::releases::ReleasesHandle;
use crate::domain::record::Omission;
use crate::domain::routing::TargetKind;
use crate::domain::spec::SpokenDialect;
use crate::domain::stats::baseline::FILE_BYTES_MAX;
use crate::domain::stats::window::WindowLength;
use crate::monitor::alarms::AlarmReader;
use crate::monitor::{Monitor, MonitorReader, QualityReader};
use crate::prediction_log::parquet::{Compactor, ParquetStats};
use crate::prediction_log::{DropReason, LogStats, SYNC_BUCKETS_US, Sinks};
use crate::protocol::open_inference::OPENAPI;
use crate::proxy::{Drain, Gateway};
use crate::snapshot::{RuntimeKind, Snapshot};
use crate::telemetry::{LOG_SYNC, Registry};

/// What the admin listener reads.
pub struct Admin {
    gateway: Arc<Gateway>,
    registry: Arc<Registry>,
    compactor: Option<Arc<Compactor>>,
    drain: Arc<Drain>,
    sinks: Arc<Sinks>,
    discovery: DiscoveryHandle,
    releases: ReleasesHandle,
    monitor: MonitorReader,
    /// Takes baselines.
    references: Arc<Monitor>,
    alarms: AlarmReader,
    /// The name of this gateway.
    node: String,
    quality: QualityReader,
    listener: Mutex<Option<TcpListener>>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// Serves on `listener`, which listens already: health is asked for before the gateway is ready.
    pub fn new(
        gateway: Arc<Gateway>,
        registry: Arc<Registry>,
        (compactor, sinks): (Option<Arc<Compactor>>, Arc<Sinks>),
        drain: Arc<Drain>,
        (references, quality, alarms): (Arc<Monitor>, QualityReader, AlarmReader),
        (discovery, releases): (DiscoveryHandle, ReleasesHandle),
        (node, listener): (&str, TcpListener),
    ) -> Self {
        let listener = Mutex::new(Some(listener));
        Self {
            gateway,
            registry,
            compactor,
            drain,
            sinks,
            discovery,
            releases,
            monitor: references.reader(),
            references,
            quality,
            alarms,
            node: node.to_owned(),
            listener,
        }
    }

    /// Copies what other rooms have counted into the registry and renders it.
    fn metrics(&self) -> String {
        let registry = &self.registry;
        let snapshot = self.gateway.snapshots.load();
        let ready = self.gateway.readiness.is_ready();
        registry.set("pointsman_ready", &[], f64::from(u8::from(ready)));
        registry.set("pointsman_snapshot_generation", &[], float(snapshot.generation.0));
        let targets = snapshot.table.targets();
        let versions = || targets.iter().filter(|t| matches!(t.kind, TargetKind::Version(..)));
        for (state, wanted) in [("ready", true), ("unavailable", false)] {
            let count = versions().filter(|target| target.ready == wanted).count();
            registry.set("pointsman_versions", &[("state", state)], float(count as u64));
        }
        dialects(registry, &snapshot);
        registry.set("pointsman_connections", &[], float(self.drain.connections() as u64));
        let reuses = self.gateway.upstream_reuses.sum();
        registry.copy("pointsman_upstream_reuses_total", &[], reuses);
        let sampled_out = self.gateway.sampled_out.sum();
        registry.copy("pointsman_log_sampled_out_total", &[], sampled_out);
        let executor = self.gateway.executor.stats();
        registry.set("pointsman_executor_queued", &[], float(executor.queued as u64));
        registry.set("pointsman_executor_running", &[], float(executor.running as u64));
        let refused = "pointsman_executor_refused_total";
        registry.copy(refused, &[("reason", "full")], executor.refused);
        registry.copy(refused, &[("reason", "expired")], executor.expired);
        registry.copy(refused, &[("reason", "abandoned")], executor.abandoned);
        registry.copy("pointsman_executor_panics_total", &[], executor.panicked);
        let codec = self.gateway.codec_stats();
        registry.set("pointsman_codec_queued", &[], float(codec.queued as u64));
        registry.set("pointsman_codec_running", &[], float(codec.running as u64));
        let refused = "pointsman_codec_refused_total";
        registry.copy(refused, &[("reason", "full")], codec.refused);
        registry.copy(refused, &[("reason", "expired")], codec.expired);
        registry.copy(refused, &[("reason", "abandoned")], codec.abandoned);
        registry.copy("pointsman_codec_panics_total", &[], codec.panicked);
        let held = self.gateway.held_body_bytes();
        registry.set("pointsman_held_body_bytes", &[], float(held));
        let known = self.gateway.feedback_names();
        registry.set("pointsman_feedback_names", &[], float(known as u64));
        let log = self.gateway.recorder.stats();
        log_metrics(registry, &log);
        for consumer in self.gateway.recorder.consumers().stats() {
            let lag = float(log.written_lsn.saturating_sub(consumer.position));
            let name = "pointsman_log_consumer_lag_records";
            registry.set(name, &[("consumer", &consumer.name)], lag);
        }
        sinks::metrics(registry, &self.sinks.stats(log.written_lsn));
        let parquet = self.compactor.as_ref().map(|compactor| compactor.stats());
        parquet_metrics(registry, &parquet.unwrap_or_default());
        monitor_metrics(registry, &self.monitor);
        alarms::metrics(registry, &self.alarms);
        if let Some(stats) = self.quality.stats() {
            quality::metrics(registry, &stats, log.written_lsn);
        }
        local::metrics(registry, &snapshot);
        trials::metrics(registry, &snapshot);
        discovery::metrics(registry, &self.discovery);
        releases::metrics(registry, &self.releases.view());
        let mut out = registry.render();
        local::batch_rows(&snapshot, &mut out);
        drift::metrics(&self.monitor, &mut out);
        alarms::active(&self.alarms, &mut out);
        let (counts, seconds) = (&log.sync_buckets, log.sync_time.as_secs_f64());
        Registry::histogram(LOG_SYNC, &SYNC_BUCKETS_US, counts, seconds, &mut out);
        out
    }

    fn status(&self) -> Value {
        let snapshot = self.gateway.snapshots.load();
        let log = self.gateway.recorder.stats();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "ready": self.gateway.readiness.is_ready(),
            "generation": snapshot.generation.0,
            "connections": self.drain.connections(),
            "models": models(&snapshot),
            "log": {
                "durability": log.durability.as_str(),
                "healthy": log.healthy,
                "last_error": log.last_error,
                "received": log.received,
                "written": log.written,
                "dropped": log.dropped.total(),
                "queued": log.queue_records,
                "written_lsn": log.written_lsn,
                "durable_lsn": log.durable_lsn,
                "gap_rows": log.gap_rows,
                "disk_bytes": log.disk_bytes,
                "disk_free": log.disk_free,
            },
            "sinks": sinks::status(&self.sinks.stats(log.written_lsn)),
        })
    }
}

/// Models with their versions: state, share of traffic, and what stands behind them.
fn models(snapshot: &Snapshot) -> Value {
    let version = |target| {
        let entry = snapshot.table.target(target);
        let backends = match &snapshot.target(target).kind {
            RuntimeKind::Local(_) => json!(["local"]),
            RuntimeKind::Remote(remote) => {
                remote.backends.iter().map(|backend| backend.url.as_str()).collect()
            }
        };
        (entry.ready, backends)
    };
    let model = |entry: &crate::domain::routing::ModelEntry| {
        let versions: serde_json::Map<String, Value> = entry
            .versions()
            .map(|(name, target)| {
                let (ready, backends) = version(target);
                let share = entry.split.shares().iter().find(|share| share.target == target);
                let permille = share.map_or(0, |share| share.weight.thousandths());
                let mut value =
                    json!({ "ready": ready, "permille": permille, "backends": backends });
                if let RuntimeKind::Local(Some(loaded)) = &snapshot.target(target).kind {
                    value["artifact"] = local::artifact(loaded);
                }
                (name.to_string(), value)
            })
            .collect();
        (entry.name.to_string(), json!({ "versions": versions }))
    };
    snapshot.table.models().iter().map(model).collect::<serde_json::Map<_, _>>().into()
}

fn log_metrics(registry: &Registry, log: &LogStats) {
    registry.copy("pointsman_log_records_received_total", &[], log.received);
    registry.copy("pointsman_log_records_written_total", &[], log.written);
    for reason in DropReason::ALL {
        let labels = [("reason", reason.as_str())];
        registry.copy("pointsman_log_records_dropped_total", &labels, log.dropped.of(reason));
    }
    for reason in Omission::ALL {
        let labels = [("reason", reason.as_str())];
        registry.copy("pointsman_log_bodies_omitted_total", &labels, log.omitted.of(*reason));
    }
    registry.copy("pointsman_log_groups_total", &[], log.groups);
    registry.copy("pointsman_log_errors_total", &[], log.write_errors);
    registry.copy("pointsman_log_gap_rows_total", &[], log.gap_rows);
    registry.copy("pointsman_log_group_records_total", &[], log.group_records);
    registry.copy("pointsman_log_written_bytes_total", &[], log.written_bytes);
    registry.copy("pointsman_log_segments_removed_total", &[], log.segments_removed);
    registry.copy("pointsman_log_segments_prefilled_total", &[], log.segments_prefilled);
    let rescued = "pointsman_log_rescued_records_total";
    registry.copy(rescued, &[("result", "copied")], log.rescued);
    registry.copy(rescued, &[("result", "missing")], log.not_rescued);
    let gauges = [
        ("pointsman_log_queue_bytes", log.queue_bytes),
        ("pointsman_log_queue_records", log.queue_records),
        ("pointsman_log_written_lsn", log.written_lsn),
        ("pointsman_log_durable_lsn", log.durable_lsn),
        ("pointsman_log_disk_free_bytes", log.disk_free),
        ("pointsman_log_disk_bytes", log.disk_bytes),
        ("pointsman_log_segments", log.segments),
        ("pointsman_log_healthy", u64::from(log.healthy)),
    ];
    for (name, value) in gauges {
        registry.set(name, &[], float(value));
    }
    let ages = [
        ("pointsman_log_oldest_waiting_seconds", log.oldest_waiting),
        ("pointsman_log_oldest_unsynced_seconds", log.oldest_unsynced),
    ];
    for (name, age) in ages {
        registry.set(name, &[], age.as_secs_f64());
    }
}

fn monitor_metrics(registry: &Registry, reader: &MonitorReader) {
    let monitor = reader.stats();
    registry.set("pointsman_monitor_memory_bytes", &[], float(monitor.memory as u64));
    registry.set("pointsman_monitor_memory_limit_bytes", &[], float(monitor.memory_max as u64));
    registry.set("pointsman_monitor_windows", &[], float(monitor.windows as u64));
    registry.copy("pointsman_monitor_windows_forgotten_total", &[], monitor.forgotten);
    registry.copy("pointsman_monitor_shards_lost_total", &[], monitor.lost);
    registry.set("pointsman_monitor_waiting_bytes", &[], float(monitor.waiting as u64));
    registry.set("pointsman_monitor_learning_bytes", &[], float(monitor.learning as u64));
    registry.copy("pointsman_monitor_baselines_forgotten_total", &[], monitor.baselines_forgotten);
    let share = 1.0 / f64::from(monitor.one_of.max(1));
    registry.set("pointsman_monitor_sampled_ratio", &[], share);
    for (key, standing) in reader.standings() {
        let labels = [("model", key.model.as_str()), ("version", key.version.as_str())];
        let has = standing.baseline().is_some();
        registry.set("pointsman_monitor_baseline", &labels, f64::from(u8::from(has)));
        let last = reader.windows(&key, WindowLength::Minute).pop();
        let share = last.and_then(|window| window.counts.traffic.share_seen());
        if let Some(share) = share {
            registry.set("pointsman_monitor_seen_ratio", &labels, share);
        }
    }
}

fn parquet_metrics(registry: &Registry, parquet: &ParquetStats) {
    let counters = [
        ("pointsman_parquet_rows_total", parquet.rows),
        ("pointsman_parquet_segments_total", parquet.segments),
        ("pointsman_parquet_failures_total", parquet.failures),
        ("pointsman_parquet_given_up_total", parquet.given_up),
        ("pointsman_parquet_merged_total", parquet.merged),
        ("pointsman_parquet_removed_total", parquet.removed),
    ];
    for (name, value) in counters {
        registry.copy(name, &[], value);
    }
    let gauges = [
        ("pointsman_parquet_files", float(parquet.files)),
        ("pointsman_parquet_bytes", float(parquet.bytes)),
        ("pointsman_parquet_backlog_segments", float(parquet.backlog_segments)),
        ("pointsman_parquet_backlog_bytes", float(parquet.backlog_bytes)),
        ("pointsman_parquet_cpu_seconds", float(parquet.cpu_us) / 1e6),
    ];
    for (name, value) in gauges {
        registry.set(name, &[], value);
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are doubles")]
fn float(count: u64) -> f64 {
    count as f64
}

/// The routes.
fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .route(
            "/api/v1/openapi.json",
            get(async || ([(CONTENT_TYPE, "application/json")], OPENAPI)),
        )
        .route("/api/v1/alarms", get(alarms::list))
        .route("/api/v1/monitor", get(monitor::overview))
        .route("/api/v1/models/{model}/monitor", get(monitor::model))
        .route("/api/v1/models/{model}/versions/{version}/monitor", get(monitor::version))
        .route("/api/v1/models/{model}/versions/{version}/series", get(monitor::series))
        .route("/api/v1/models/{model}/versions/{version}/features", get(features::table))
        .route("/api/v1/models/{model}/versions/{version}/features/{feature}", get(features::one))
        .route("/api/v1/models/{model}/drift", get(drift::model))
        .route("/api/v1/models/{model}/versions/{version}/drift", get(drift::version))
        .route(
            "/api/v1/models/{model}/versions/{version}/baseline",
            get(drift::baseline)
                .put(drift::adopt)
                .delete(drift::forget)
                .layer(DefaultBodyLimit::max(FILE_BYTES_MAX)),
        )
        .route("/api/v1/models/{model}/versions/{version}/load", post(models::load))
        .route("/api/v1/models/{model}/versions/{version}/unload", post(models::unload))
        .route("/api/v1/models/{model}/versions/{version}/windows", get(windows::windows))
        .route("/api/v1/discovery", get(discovery::show))
        .route("/api/v1/events", get(discovery::events))
        .route("/api/v1/registrations", post(discovery::register))
        .route("/api/v1/registrations/{id}", put(discovery::renew).delete(discovery::deregister))
        .route("/api/v1/models/{model}/versions/{version}/quality", get(quality::version))
        .merge(releases::routes())
        .layer(from_fn(pages::guard))
        .with_state(admin)
}

async fn readyz(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    if admin.gateway.readiness.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], admin.metrics())
}

async fn status(State(admin): State<Arc<Admin>>) -> Json<Value> {
    Json(admin.status())
}

/// The admin listener as a service of the process.
#[derive(Debug)]
pub struct AdminService(Arc<Admin>);

impl AdminService {
    /// Makes a service of `admin`.
    pub fn new(admin: Admin) -> Self {
        Self(Arc::new(admin))
    }
}

#[async_trait]
impl BackgroundService for AdminService {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let Some(listener) = self.0.listener.lock().take() else { return };
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the admin listener did not start");
                return;
            }
        };
        let ended = async move {
            // An error means that the process ends without asking.
            let _gone = shutdown.changed().await;
        };
        let served =
            axum::serve(listener, router(Arc::clone(&self.0))).with_graceful_shutdown(ended).await;
        if let Err(error) = served {
            tracing::error!(%error, "the admin listener ended");
        }
    }
}

/// Tells of which versions it is known what their backends speak, where these are asked.
fn dialects(registry: &Registry, snapshot: &Snapshot) {
    for (target, runtime) in snapshot.table.targets().iter().zip(&snapshot.runtime) {
        let (TargetKind::Version(model, version), RuntimeKind::Remote(remote)) =
            (&target.kind, &runtime.kind)
        else {
            continue;
        };
        if remote.spoken.declared == SpokenDialect::Asked {
            let labels = [("model", model.as_str()), ("version", version.as_str())];
            let known = f64::from(u8::from(remote.spoken.dialect.is_some()));
            registry.set("pointsman_dialect_known", &labels, known);
        }
    }
}
