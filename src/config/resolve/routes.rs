//! Routes: their conditions, their targets, and the rules between them.
//!
//! Owns references to models, versions and pools. Never decides which route a request takes.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::diagnostic::{Code, Finding, closest};
use crate::config::form;
use crate::config::keys;
use crate::config::reader::{At, Fields, listed};
use crate::config::source::Place;
use crate::domain::ids::{ModelName, PoolName, RouteName, VersionName};
use crate::domain::spec::{ModelSpec, PathMatch, PoolSpec, RouteMatch, RouteSpec, RouteTarget};

use super::Rules;
use super::models::Declared;
use super::recording::{self, Above, Level};

/// The most names that a help text lists.
const LISTED_MAX: usize = 20;

/// What routes may refer to.
struct Targets<'a> {
    models: &'a BTreeMap<ModelName, Declared<(ModelSpec, Level)>>,
    pools: &'a BTreeMap<PoolName, Declared<PoolSpec>>,
}

impl Rules<'_> {
    /// Reads `[routes.*]`. Routes without a target that exists are left out.
    pub(super) fn routes(
        &self,
        top: &Fields<'_>,
        models: &BTreeMap<ModelName, Declared<(ModelSpec, Level)>>,
        pools: &BTreeMap<PoolName, Declared<PoolSpec>>,
        above: Above<'_>,
    ) -> BTreeMap<RouteName, (RouteSpec, Level)> {
        let targets = Targets { models, pools };
        let mut routes = BTreeMap::new();
        let mut seen: BTreeMap<Conditions, (&str, Place)> = BTreeMap::new();
        let mut used = BTreeSet::new();
        let named = top.named("routes");
        for route in &named {
            let errors = self.context.report.errors();
            let fields = Fields::of(self.context, route, &keys::ROUTE);
            let matches = conditions(&fields);
            let sound = self.context.report.errors() == errors;
            let target = targets.target(&fields, &mut used);
            if sound {
                let first = seen.entry(key_of(&matches)).or_insert((route.name, route.key));
                if first.1 != route.key {
                    let message = format!(
                        "routes `{}` and `{}` have the same conditions",
                        first.0, route.name
                    );
                    let finding = Finding::error(Code::Duplicate, route.key, message);
                    let finding = finding.also(first.1, "the other one is here");
                    top.add(finding.help("one of them could never take a request"));
                }
            }
            let model = match &target {
                Some(RouteTarget::Model(model, _)) => models.get(model),
                Some(RouteTarget::Pool(_)) | None => None,
            };
            let above = match model {
                Some(Declared { spec: (model, _), .. }) => {
                    Above { recording: &model.recording, ..above }
                }
                None => above,
            };
            let level = recording::nested(&fields, above);
            if let Some(target) = target {
                let spec = RouteSpec { matches, target, recording: level.recording.clone() };
                routes.insert(RouteName::new(route.name), (spec, level));
            }
        }
        for (name, pool) in pools {
            if !used.contains(name) && self.context.report.errors() == 0 {
                let message = format!("pool `{name}` is not the target of any route");
                let finding = Finding::warning(Code::NoEffect, pool.key, message);
                top.add(finding.help(format!("add a route with pool = \"{name}\"")));
            }
        }
        routes
    }
}

fn conditions(fields: &Fields<'_>) -> RouteMatch {
    let exact = fields.parse("path", form::path).map(|at| PathMatch::Exact(at.value));
    let prefix = fields.parse("path_prefix", form::path_prefix);
    let prefix = prefix.map(|at| PathMatch::Prefix(at.value));
    let mut headers = BTreeMap::new();
    for (name, value, place) in fields.headers("headers") {
        if name == "host" {
            let message = format!("`{}` must not name `host`", fields.path_of("headers"));
            let finding = Finding::error(Code::Malformed, place, message);
            fields.add(finding.help("write host = \"…\" in the route itself"));
        }
        if headers.insert(name.clone(), value).is_some() {
            let message = format!("header `{name}` is twice in `{}`", fields.path_of("headers"));
            let finding = Finding::error(Code::Duplicate, place, message);
            fields.add(finding.help("upper and lower case make no difference in header names"));
        }
    }
    RouteMatch {
        host: fields.parse("host", form::host).map(|at| at.value),
        path: exact.or(prefix),
        method: fields.word("method", |word| Some(word.to_owned())),
        headers,
    }
}

impl Targets<'_> {
    fn target(&self, fields: &Fields<'_>, used: &mut BTreeSet<PoolName>) -> Option<RouteTarget> {
        let model = fields.text("model").filter(|name| self.knows_model(fields, name));
        let pool = fields.text("pool").filter(|name| self.knows_pool(fields, name));
        let version = fields.text("version");
        if let Some(pool) = pool {
            used.insert(PoolName::new(pool.value));
        }
        if let (Some(version), None, Some(_)) =
            (fields.key_place("version"), fields.key_place("model"), fields.key_place("pool"))
        {
            let message =
                format!("`{}` belongs to `model`, not to `pool`", fields.path_of("version"));
            let finding = Finding::error(Code::Choice, version, message);
            fields.add(finding.help("pools have no versions: leave `version` out"));
        }
        match (model, pool) {
            (Some(model), _) => {
                let version = match version {
                    Some(name) => Some(self.version(fields, &model, &name)?),
                    None => None,
                };
                Some(RouteTarget::Model(ModelName::new(model.value), version))
            }
            (None, Some(pool)) => Some(RouteTarget::Pool(PoolName::new(pool.value))),
            (None, None) => None,
        }
    }

    fn knows_model(&self, fields: &Fields<'_>, name: &At<&str>) -> bool {
        let known = self.models.contains_key(name.value);
        if !known {
            unknown(fields, "model", name, self.models.keys().map(ModelName::as_str));
        }
        known
    }

    fn knows_pool(&self, fields: &Fields<'_>, name: &At<&str>) -> bool {
        let known = self.pools.contains_key(name.value);
        if !known {
            unknown(fields, "pool", name, self.pools.keys().map(PoolName::as_str));
        }
        known
    }

    fn version(
        &self,
        fields: &Fields<'_>,
        model: &At<&str>,
        name: &At<&str>,
    ) -> Option<VersionName> {
        let versions = &self.models.get(model.value)?.spec.0.versions;
        if versions.contains_key(name.value) {
            return Some(VersionName::new(name.value));
        }
        unknown(fields, "version", name, versions.keys().map(VersionName::as_str));
        None
    }
}

fn unknown<'a>(
    fields: &Fields<'_>,
    what: &str,
    name: &At<&str>,
    known: impl Iterator<Item = &'a str> + Clone,
) {
    let message = format!("{what} {} is not declared", name.shown());
    let finding = Finding::error(Code::UnknownReference, name.place, message);
    let close = closest(name.value, known.clone()).filter(|_| !name.hidden);
    let mut known = known.take(LISTED_MAX).peekable();
    fields.add(match (close, known.peek()) {
        (Some(close), _) => finding.help(format!("did you mean `{close}`?")),
        (None, Some(_)) => finding.help(format!("declared: {}", listed(known))),
        (None, None) => finding.help(format!("no {what} is declared")),
    });
}

/// The conditions of a route in a form that can be compared.
type Conditions =
    (Option<String>, Option<(bool, String)>, Option<String>, BTreeMap<String, String>);

fn key_of(matches: &RouteMatch) -> Conditions {
    let path = match &matches.path {
        // Every path starts with a slash, so this prefix is no condition.
        Some(PathMatch::Prefix(prefix)) if prefix == "/" => None,
        Some(PathMatch::Prefix(prefix)) => Some((true, prefix.clone())),
        Some(PathMatch::Exact(path)) => Some((false, path.clone())),
        None => None,
    };
    (matches.host.clone(), path, matches.method.clone(), matches.headers.clone())
}
