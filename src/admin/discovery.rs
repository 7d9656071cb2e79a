//! Discovery, events and registrations on the admin listener.
//!
//! Owns how they are shown, and the bodies of registrations. Judges nothing: what it is asked to change it
//! asks of discovery.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Admin, float};
use crate::config::{backend_address, provenance};
use crate::control::discovery::{DiscoveryHandle, Granted, RegisterError, Registration, standing};
use crate::control::events::EVENTS_MAX;
use crate::domain::dialect::Dialect;
use crate::domain::discovery::{Facts, Keeper, Kept, Sighting, Standing, Thing, What, unusable};
use crate::domain::ids::{ModelName, SourceName, VersionName, is_valid_name};
use crate::telemetry::Registry;

type Reply = (StatusCode, Json<Value>);

/// Events that are shown unless more are asked for.
const EVENTS_SHOWN: usize = 100;
/// The longest body of a registration.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Copies what discovery has counted into the registry.
pub(super) fn metrics(registry: &Registry, discovery: &DiscoveryHandle) {
    let seen = discovery.seen();
    for (name, keeper) in &seen.sources {
        let source = ("source", name.as_str());
        let health = keeper.health();
        let trusted = f64::from(u8::from(health.standing == Standing::Fresh));
        registry.set("pointsman_discovery_trusted", &[source], trusted);
        if let Some(at_ms) = health.trusted_ms {
            let age = float(discovery.now_ms().saturating_sub(at_ms)) / 1e3;
            registry.set("pointsman_discovery_trusted_age_seconds", &[source], age);
        }
        for state in ["present", "damped", "incomplete", "absent"] {
            let count = keeper.things().values().filter(|kept| state_of(kept) == state).count();
            let labels = [source, ("state", state)];
            registry.set("pointsman_discovery_things", &labels, float(count as u64));
        }
        let left_out = health.left_out + health.forgotten;
        registry.copy("pointsman_discovery_left_out_total", &[source], left_out);
    }
    for ((source, result), count) in discovery.counts().answers() {
        let labels = [("source", source.as_str()), ("result", result)];
        registry.copy("pointsman_discovery_answers_total", &labels, count);
    }
    for (reason, count) in discovery.counts().refusals() {
        registry.copy("pointsman_registrations_refused_total", &[("reason", reason)], count);
    }
    registry.copy("pointsman_discovery_unsaved_total", &[], discovery.counts().not_saved());
    registry.copy("pointsman_events_total", &[], discovery.events().total());
    registry.copy("pointsman_events_lost_total", &[], discovery.events().lost());
}

/// `GET /api/v1/discovery`
pub(super) async fn show(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let seen = admin.discovery.seen();
    let sources = seen.sources.iter().map(|(name, keeper)| {
        let spec = admin.discovery.specs().get(name);
        let kind = spec.map_or("configuration", |spec| spec.place.kind());
        (name.to_string(), source(kind, keeper))
    });
    let versions = seen.versions.iter().map(|((model, version), sighting)| {
        let mut shown = sighting_of(sighting);
        shown["model"] = model.as_str().into();
        shown["version"] = version.as_str().into();
        shown
    });
    Json(json!({
        "generation": seen.generation,
        "at_ms": seen.at_ms,
        "trusted": seen.is_trusted(),
        "sources": sources.collect::<Map<_, _>>(),
        "versions": versions.collect::<Vec<_>>(),
    }))
}

fn source(kind: &str, keeper: &Keeper) -> Value {
    let health = keeper.health();
    let (state, since_ms) = match &health.standing {
        Standing::Unasked => ("unasked", None),
        Standing::Fresh => ("fresh", None),
        Standing::Stale(since_ms, why) => (why.as_str(), Some(*since_ms)),
    };
    json!({
        "kind": kind,
        "state": state,
        "since_ms": since_ms,
        "why": standing(keeper),
        "trusted_ms": health.trusted_ms,
        "left_out": health.left_out,
        "forgotten": health.forgotten,
        "things": keeper.things().iter().map(thing).collect::<Vec<_>>(),
    })
}

fn thing((thing, kept): (&Thing, &Kept)) -> Value {
    let mut shown = json!({
        "state": state_of(kept),
        "first_seen_ms": kept.first_seen_ms,
        "last_seen_ms": kept.last_seen_ms,
        "absent_since_ms": kept.absent_since_ms,
    });
    match &kept.facts {
        Facts::Artifact(artifact) => {
            shown["artifact"] = thing.to_string().into();
            shown["folder"] = artifact.folder.to_string_lossy().into();
            shown["waits_for"] = artifact.waits_for.clone().into();
        }
        Facts::Backend(endpoint) => {
            let serves =
                endpoint.serves.iter().map(|(model, version)| format!("{model}/{version}"));
            shown["backend"] = format!("http://{thing}").into();
            shown["serves"] = serves.collect();
            shown["dialect"] = endpoint.dialect.map(|dialect| dialect.as_str()).into();
        }
    }
    shown
}

fn state_of(kept: &Kept) -> &'static str {
    match &kept.facts {
        _ if !kept.is_present() => "absent",
        Facts::Artifact(artifact) if artifact.waits_for.is_some() => "incomplete",
        _ if kept.damping.is_damped() => "damped",
        Facts::Artifact(_) | Facts::Backend(_) => "present",
    }
}

fn sighting_of(sighting: &Sighting) -> Value {
    let mut shown = json!({
        "sources": sighting.sources.iter().map(SourceName::as_str).collect::<Vec<_>>(),
        "trusted": sighting.trusted,
        "first_seen_ms": sighting.first_seen_ms,
        "last_seen_ms": sighting.last_seen_ms,
        "absent_since_ms": sighting.absent_since_ms,
        "disputed_by": sighting.disputed_by.as_ref().map(SourceName::as_str),
    });
    match &sighting.what {
        What::Artifact(artifact) => {
            let digests = artifact.digests.iter().map(|(name, digest)| {
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                (name.clone(), format!("sha256:{hex}").into())
            });
            shown["artifact"] = json!({
                "folder": artifact.folder.to_string_lossy(),
                "bytes": artifact.bytes,
                "complete": artifact.waits_for.is_none(),
                "waits_for": artifact.waits_for,
                "digests": digests.collect::<Map<_, _>>(),
            });
        }
        What::Backends { addresses, dialect, .. } => {
            let addresses = addresses.iter().map(|one| format!("http://{}", one.authority()));
            shown["backends"] = addresses.collect();
            shown["dialect"] = dialect.map(|dialect| dialect.as_str()).into();
        }
    }
    shown
}

/// What of the events is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Span {
    after: Option<u64>,
    limit: Option<usize>,
}

/// `GET /api/v1/events?after=NUMBER&limit=N`
pub(super) async fn events(
    State(admin): State<Arc<Admin>>,
    Query(span): Query<Span>,
) -> Json<Value> {
    let events = admin.discovery.events();
    let most = span.limit.unwrap_or(EVENTS_SHOWN).min(EVENTS_MAX);
    Json(json!({ "total": events.total(), "events": events.after(span.after, most) }))
}

/// The body of a registration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    address: String,
    model: Option<String>,
    version: Option<String>,
    dialect: Option<String>,
    source: Option<String>,
    publisher: Option<String>,
    trained_at: Option<String>,
}

/// `POST /api/v1/registrations`
pub(super) async fn register(State(admin): State<Arc<Admin>>, body: Bytes) -> Reply {
    match registration(&body) {
        Ok(registration) => answer(admin.discovery.register(registration).await),
        Err(words) => (StatusCode::BAD_REQUEST, Json(json!({ "error": words }))),
    }
}

/// `PUT /api/v1/registrations/ID`
pub(super) async fn renew(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Reply {
    answer(admin.discovery.renew(id).await)
}

/// `DELETE /api/v1/registrations/ID`
pub(super) async fn deregister(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Reply {
    answer(admin.discovery.deregister(id).await)
}

fn registration(body: &[u8]) -> Result<Registration, String> {
    if body.len() > BODY_BYTES_MAX {
        return Err(format!("the body has more than {BODY_BYTES_MAX} bytes"));
    }
    let body: Body = serde_json::from_slice(body).map_err(|error| {
        format!("the body is no registration ({error}); send {{\"address\": \"http://HOST:PORT\"}}")
    })?;
    let names = [&body.model, &body.version, &body.source];
    if let Some(bad) = names.into_iter().flatten().find(|name| !is_valid_name(name)) {
        return Err(format!("`{}` is no name", bad.escape_debug()));
    }
    let serves = match (body.model, body.version) {
        (Some(model), Some(version)) => Some((ModelName::new(model), VersionName::new(version))),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err("`model` and `version` go together; send both or neither".to_owned());
        }
    };
    let dialect = match body.dialect {
        None => None,
        Some(word) => {
            let known = Dialect::parse(&word);
            Some(known.ok_or_else(|| format!("no dialect is called `{}`", word.escape_debug()))?)
        }
    };
    let address = backend_address(&body.address)?;
    if let Some(why) = unusable(&address) {
        return Err(why);
    }
    let provenance = provenance(body.publisher.as_deref(), body.trained_at.as_deref())?;
    let source = body.source.map(SourceName::new);
    Ok(Registration { source, address, serves, dialect, provenance })
}

fn answer(done: Result<Granted, RegisterError>) -> Reply {
    match done {
        Ok(granted) => {
            let status = if granted.is_new { StatusCode::CREATED } else { StatusCode::OK };
            let shown = json!({
                "id": granted.id,
                "source": granted.source.as_str(),
                "lease_seconds": granted.lease.as_secs_f64(),
            });
            (status, Json(shown))
        }
        Err(error) => {
            let status = match error {
                RegisterError::NoSource
                | RegisterError::UnknownSource(_)
                | RegisterError::UnknownId => StatusCode::NOT_FOUND,
                RegisterError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, Json(json!({ "error": error.to_string() })))
        }
    }
}
