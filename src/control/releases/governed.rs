//! Which models the life cycle governs, and what each follows.
//!
//! Owns the rule: a model with `[models.X.release]`, and a model that the configuration does not name at all
//! and a source of discovery does. A model with versions and shares in the configuration and no
//! `release` stays as it is written there. Never looks at a version.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Key;
use crate::domain::ids::ModelName;
use crate::domain::lifecycle::plan::Policies;
use crate::domain::lifecycle::policy::Policy;
use crate::domain::spec::{Intent, RouteTarget};

/// The rule, applied to one configuration.
#[derive(Debug, Clone)]
pub(super) struct Governed {
    intent: Arc<Intent>,
    /// Routes and aliases that lead to a version by its name.
    references: BTreeMap<Key, Vec<String>>,
}

impl Governed {
    pub(super) fn new(intent: Arc<Intent>) -> Self {
        let references = references(&intent);
        Self { intent, references }
    }

    /// Whether the life cycle decides about `model`.
    pub(super) fn has(&self, model: &ModelName) -> bool {
        self.intent.models.get(model).is_none_or(|spec| spec.lifecycle.is_some())
    }

    /// Whether the configuration names `model`, whoever decides about it.
    pub(super) fn is_configured(&self, model: &ModelName) -> bool {
        self.intent.models.contains_key(model)
    }

    /// Models of the configuration.
    pub(super) fn configured(&self) -> impl Iterator<Item = &ModelName> {
        let governed = self.intent.models.iter().filter(|(_, spec)| spec.lifecycle.is_some());
        governed.map(|(name, _)| name)
    }

    /// What each model follows; those that are not configured, the defaults.
    pub(super) fn policies(&self) -> Policies {
        let own = self.intent.models.iter().filter_map(|(name, spec)| {
            let policy = spec.lifecycle.clone()?;
            Some((name.clone(), policy))
        });
        Policies { default: Policy::default(), models: own.collect() }
    }

    /// Routes and aliases that lead to a version by its name.
    pub(super) fn references(&self, key: &Key) -> &[String] {
        self.references.get(key).map_or(&[], Vec::as_slice)
    }
}

fn references(intent: &Intent) -> BTreeMap<Key, Vec<String>> {
    let mut references: BTreeMap<Key, Vec<String>> = BTreeMap::new();
    for (name, route) in &intent.routes {
        if let RouteTarget::Model(model, Some(version)) = &route.target {
            let key = (model.clone(), version.clone());
            references.entry(key).or_default().push(format!("route `{name}`"));
        }
    }
    // A route may stand more than once.
    for of in references.values_mut() {
        of.sort();
        of.dedup();
    }
    for (model, spec) in &intent.models {
        for (alias, version) in &spec.aliases {
            let key = (model.clone(), version.clone());
            references.entry(key).or_default().push(format!("alias `{alias}`"));
        }
    }
    references
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{Checks, load};
    use crate::domain::ids::VersionName;
    use crate::domain::lifecycle::policy::Mode;

    /// The rule over a configuration.
    pub(in crate::control::releases) fn governed(text: &str) -> Governed {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pointsman.toml");
        std::fs::write(&path, format!("listen = \"127.0.0.1:1\"\n{text}")).unwrap();
        let loaded = load(&path, Checks::Offline).unwrap_or_else(|found| panic!("{found}"));
        Governed::new(Arc::new(loaded.intent))
    }

    #[test]
    fn models_with_a_release_and_those_that_nobody_names_are_governed() {
        let governed = governed(
            "[models.plain.versions.v1]\nonnx = \"m.onnx\"\n[models.cycle.release]\nmode = \"manual\"\n",
        );
        let (plain, cycle, other) =
            (ModelName::new("plain"), ModelName::new("cycle"), ModelName::new("other"));
        assert!(!governed.has(&plain) && governed.has(&cycle) && governed.has(&other));
        assert!(governed.is_configured(&plain) && !governed.is_configured(&other));
        let policies = governed.policies();
        assert_eq!(policies.of(&cycle).release.mode, Mode::Manual);
        assert_eq!(policies.of(&other), &Policy::default());
    }

    #[test]
    fn routes_and_aliases_refer_to_versions_by_name() {
        let governed = governed(
            "[models.m]\naliases = { prod = \"v1\" }\n[models.m.release]\n[models.m.versions.v1]\n\
             onnx = \"m.onnx\"\n[routes.r]\npath = \"/x\"\nmodel = \"m\"\nversion = \"v1\"\n",
        );
        let of = |version| governed.references(&(ModelName::new("m"), VersionName::new(version)));
        assert_eq!(of("v1"), ["route `r`", "alias `prod`"]);
        assert_eq!(of("v2"), [""; 0]);
    }
}
