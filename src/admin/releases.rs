//! Versions under the life cycle, on the admin listener: where each is and why.
//!
//! Owns how they are shown, a page at a time. Decides nothing. Orders are taken [beside it](orders).
//!
//! | method and path below `/api/v1` | |
//! |---|---|
//! | `GET /releases` | every model with its versions, in short: `?limit=` of them, after `?after=MODEL/VERSION` |
//! | `GET /models/{model}/versions` | the versions of one model, as many, after `?after=VERSION` |
//! | `GET /models/{model}/versions/{version}` | one version: why it is where it is, and its evidence |
//! | `POST /models/{model}/versions/{version}/{order}` | promote, rollback, drain, evict, restore, pin, unpin, hold, unhold, approve, reject, kill, unkill |
//! | `POST /models/{model}/{order}` | rollback, kill, unkill |
//! | `POST /{order}` | kill, unkill |
//!
//! Where there is more, `next` is what the next page comes after.

mod orders;

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Admin, float};
use crate::control::releases::View;
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::lifecycle::explain::Explanation;
use crate::domain::lifecycle::stage::{Purpose, Stage};
use crate::domain::lifecycle::state::{Model, Signed, Version};
use crate::domain::lifecycle::time::Steady;
use crate::telemetry::Registry;

type Reply = (StatusCode, Json<Value>);

/// Versions of a page, unless more or fewer are asked for.
const PAGE: usize = 1000;
/// The most versions of a page.
const PAGE_MAX: usize = 10_000;
/// What stands behind all names of versions in the order of pages.
const AFTER_ALL: &str = "~";
/// Stages, in the order of a version's way.
const STAGES: [&str; 12] = [
    "discovered",
    "staged",
    "validating",
    "warming",
    "shadow",
    "canary",
    "live",
    "standby",
    "draining",
    "retired",
    "quarantined",
    "evicted",
];

/// The routes.
pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/api/v1/releases", get(all))
        .route("/api/v1/models/{model}/versions", get(list))
        .route("/api/v1/models/{model}/versions/{version}", get(show))
        .merge(orders::routes())
}

/// Copies what the life cycle knows into the registry.
pub(super) fn metrics(registry: &Registry, view: &View) {
    for (name, model) in view.state.models() {
        let of = ("model", name.as_str());
        let mut counts = STAGES.map(|stage| (stage, 0));
        for (_, known) in model.versions() {
            let word = known.stage().word();
            counts.iter_mut().filter(|(stage, _)| *stage == word).for_each(|(_, n)| *n += 1);
        }
        for (stage, count) in counts {
            let labels = [of, ("stage", stage)];
            registry.set("pointsman_release_versions", &labels, float(count));
        }
        let alerts = float(model.alerts().count() as u64);
        registry.set("pointsman_release_alerts", &[of], alerts);
        let killed = model.killed().is_some() || view.state.killed().is_some();
        registry.set("pointsman_release_killed", &[of], f64::from(u8::from(killed)));
        let share = model.candidate().map_or(0.0, |(_, candidate)| match candidate.stage() {
            Stage::Canary(canary) => f64::from(canary.share().thousandths()) / 1000.0,
            _ => 0.0,
        });
        registry.set("pointsman_release_candidate_ratio", &[of], share);
    }
    for ((model, edge), count) in view.moves.iter() {
        let labels = [("model", model.as_str()), ("edge", *edge)];
        registry.copy("pointsman_release_moves_total", &labels, *count);
    }
    registry.copy("pointsman_release_events_total", &[], view.state.seq());
    registry.copy("pointsman_release_unwritten_total", &[], view.failures);
    registry.copy("pointsman_release_models_left_out_total", &[], view.left_out);
}

/// Which part of a list is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<usize>,
    after: Option<String>,
}

impl Page {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX)
    }
}

/// `GET /api/v1/releases`
async fn all(State(admin): State<Arc<Admin>>, Query(page): Query<Page>) -> Json<Value> {
    Json(releases(&admin.releases.view(), &page))
}

fn releases(view: &View, page: &Page) -> Value {
    // The models before this one were shown, and its versions up to the one behind the slash.
    let after = page.after.as_deref();
    let after = after.map(|after| after.split_once('/').unwrap_or((after, "")));
    let (mut shown, mut next, mut room) = (Map::new(), None::<String>, page.limit());
    for (name, model) in view.state.models() {
        let from = match after {
            Some((last, _)) if name.as_str() < last => continue,
            Some((last, AFTER_ALL)) if name.as_str() == last => continue,
            Some((last, version)) if name.as_str() == last => Some(version),
            _ => None,
        };
        if room == 0 {
            break;
        }
        let (part, last) = short(view, name, model, from, room);
        // A model without versions takes room as well.
        room = room.saturating_sub(part["versions"].as_array().map_or(0, Vec::len).max(1));
        shown.insert(name.to_string(), part);
        match last {
            Some(last) => next = Some(format!("{name}/{last}")),
            None if room == 0 => next = Some(format!("{name}/{AFTER_ALL}")),
            None => next = None,
        }
    }
    let last = view.state.models().last().map(|(name, _)| format!("{name}/{AFTER_ALL}"));
    json!({
        "number": view.state.seq(),
        "killed": signed(view.state.killed(), view.now.steady),
        "models": shown,
        "next": next.filter(|next| Some(next) != last.as_ref()),
    })
}

/// `GET /api/v1/models/MODEL/versions`
async fn list(
    State(admin): State<Arc<Admin>>,
    Path(model): Path<String>,
    Query(page): Query<Page>,
) -> Reply {
    let view = admin.releases.view();
    let name = ModelName::new(model);
    match view.state.model(&name) {
        Some(known) => {
            let after = page.after.as_deref();
            let (mut shown, next) = short(&view, &name, known, after, page.limit());
            shown["next"] = next.map(|next| next.to_string()).into();
            (StatusCode::OK, Json(shown))
        }
        None => unknown(&format!("no version of model `{name}` is under the life cycle")),
    }
}

/// `GET /api/v1/models/MODEL/versions/VERSION`
async fn show(
    State(admin): State<Arc<Admin>>,
    Path((model, version)): Path<(String, String)>,
) -> Reply {
    let view = admin.releases.view();
    let (model, version) = (ModelName::new(model), VersionName::new(version));
    let known = view.state.model(&model).and_then(|known| known.version(&version));
    match known {
        Some(known) => (StatusCode::OK, Json(whole(&view, &model, &version, known))),
        None => {
            unknown(&format!("no version `{version}` of model `{model}` is under the life cycle"))
        }
    }
}

fn unknown(words: &str) -> Reply {
    (StatusCode::NOT_FOUND, Json(json!({ "error": words })))
}

/// A model with a page of its versions, and the last one of them where there are more.
fn short<'v>(
    view: &'v View,
    name: &ModelName,
    model: &'v Model,
    after: Option<&str>,
    limit: usize,
) -> (Value, Option<&'v VersionName>) {
    let is_new = |(version, _): &(&VersionName, &Version)| {
        after.is_none_or(|after| version.as_str() > after)
    };
    let mut rest = model.versions().filter(is_new);
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let last = page.last().map(|(version, _)| *version).filter(|_| rest.next().is_some());
    let explained = view.explain_all(name, page.iter().map(|(version, _)| *version));
    let told = page.iter().zip(explained);
    let versions =
        told.map(|((version, known), (_, why))| in_short(view, name, version, known, Some(&why)));
    let shown = json!({
        "model": name.as_str(),
        "generation": model.generation(),
        "killed": signed(model.killed(), view.now.steady),
        "alerts": model.alerts().map(ToString::to_string).collect::<Vec<_>>(),
        "versions": versions.collect::<Vec<_>>(),
    });
    (shown, last)
}

fn in_short(
    view: &View,
    model: &ModelName,
    name: &VersionName,
    known: &Version,
    explained: Option<&Explanation>,
) -> Value {
    let now = view.now.steady;
    let seen = view.observed.version(model, name);
    let share = match known.stage() {
        Stage::Canary(canary) => Some(f64::from(canary.share().thousandths()) / 1000.0),
        _ => None,
    };
    json!({
        "version": name.as_str(),
        "stage": known.stage().word(),
        "for_seconds": now.since(known.since()).as_secs_f64(),
        "share": share,
        "ready": seen.is_some_and(|seen| seen.ready),
        "in_flight": seen.map_or(0, |seen| seen.in_flight),
        "digest": known.release().digest.as_str(),
        "proven": known.proven().is_some(),
        "pinned": known.pinned().is_some(),
        "held": known.held().is_some(),
        "killed": known.killed().is_some(),
        "approved": known.is_approved(),
        "why": explained.map(|explained| explained.to_string()),
    })
}

fn whole(view: &View, model: &ModelName, name: &VersionName, known: &Version) -> Value {
    let now = view.now.steady;
    let release = known.release();
    let explained = view.explain(model, name);
    let mut shown = in_short(view, model, name, known, explained.as_ref());
    let generation = view.state.model(model).map(Model::generation);
    shown["model"] = model.as_str().into();
    shown["generation"] = generation.into();
    shown["source"] = release.source.as_str().into();
    shown["bytes"] = release.bytes.into();
    shown["publisher"] = release.publisher.clone().into();
    shown["trained_at_ms"] = release.trained_at.map(|at| at.0).into();
    shown["waits_for"] = explained.map(|explained| explained.waits_for).into();
    shown["pinned_by"] = signed(known.pinned(), now);
    shown["held_by"] = signed(known.held(), now);
    shown["killed_by"] = signed(known.killed(), now);
    shown["verdict"] = match known.stage() {
        Stage::Quarantined(quarantined) => json!(quarantined.verdict()),
        _ => Value::Null,
    };
    let checks = match known.stage() {
        Stage::Quarantined(quarantined) => quarantined.checks(),
        Stage::Warming(warming) => match warming.purpose() {
            Purpose::Rollout(admitted) => admitted.checks(),
            Purpose::Undo => &[],
        },
        _ => &[],
    };
    shown["checks"] = json!(checks);
    if let Some(seen) = view.observed.version(model, name) {
        let age = |at: Option<Steady>| at.map(|at| now.since(at).as_secs_f64());
        shown["on_disk"] = seen.on_disk.into();
        shown["last_request_seconds"] = age(seen.last_request).into();
        shown["references"] = json!(seen.references);
        shown["shadow"] = json!(seen.shadow);
        shown["canary"] = json!(seen.canary);
        shown["health"] = json!(seen.health);
        shown["look"] = json!(seen.look);
    }
    shown
}

fn signed(signed: Option<&Signed>, now: Steady) -> Value {
    let Some(signed) = signed else { return Value::Null };
    json!({ "by": signed.told(), "for_seconds": now.since(signed.at).as_secs_f64() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Digest;
    use crate::domain::lifecycle::event::{By, Draft, What};
    use crate::domain::lifecycle::release::Release;
    use crate::domain::lifecycle::state::State as Written;
    use crate::domain::lifecycle::time::Now;

    /// A view of models with so many versions each.
    fn view(models: &[(&str, usize)]) -> View {
        let mut state = Written::default();
        for (model, versions) in models {
            for n in 0..*versions {
                let release = Release {
                    digest: Digest::new(format!("{model}{n}")),
                    bytes: 1,
                    source: "store".to_owned(),
                    publisher: None,
                    trained_at: None,
                    named: false,
                };
                let what = What::Sighted {
                    model: ModelName::new(*model),
                    version: VersionName::new(format!("v{n:05}")),
                    release,
                };
                let event = state.stamp(Draft { by: By::Gateway, what }, Now::default());
                state.apply(&event).unwrap();
            }
        }
        View { state: Arc::new(state), ..View::default() }
    }

    #[test]
    fn pages_have_every_version_once_and_end() {
        let view = view(&[("a", 5), ("b", 1), ("c", 4), ("c.d", 2)]);
        for limit in 1..14 {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let shown = releases(&view, &Page { limit: Some(limit), after });
                let before = found.len();
                for (name, model) in shown["models"].as_object().unwrap() {
                    let versions = model["versions"].as_array().unwrap().iter();
                    found.extend(versions.map(|it| (name.clone(), it["version"].to_string())));
                }
                assert!(found.len() - before <= limit, "{limit}: {shown}");
                after = shown["next"].as_str().map(str::to_owned);
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found.len(), 12, "{limit}: {found:?}");
            assert!(found.is_sorted(), "{limit}: {found:?}");
        }
    }

    #[test]
    fn a_page_of_ten_thousand_versions_is_made_in_one_go() {
        let view = view(&[("m", 10_000)]);
        let began = std::time::Instant::now();
        let shown = releases(&view, &Page { limit: Some(PAGE_MAX), after: None });
        assert_eq!(shown["models"]["m"]["versions"].as_array().unwrap().len(), 10_000);
        // In the square of the versions it took minutes.
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    }
}
