//! What is loaded of the versions under the life cycle: models in this process, and servers that are asked.
//!
//! Owns that a version counts as loaded for one content only. Never loads anything, and never decides what
//! is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Key;
use super::sightings::Several;
use crate::control::LoadedModels;
use crate::domain::discovery::Seen;
use crate::domain::ids::{Digest, ModelName, VersionName};
use crate::domain::routing::TargetKind;
use crate::domain::spec::{BackendsSpec, OnnxSpec, VersionSpec};
use crate::inference::LocalModel;

/// One version that can answer.
#[derive(Debug, Clone)]
pub(super) enum Resident {
    /// In this process.
    Local(Arc<LocalModel>, OnnxSpec),
    /// At servers.
    Remote(BackendsSpec),
}

impl Resident {
    /// How the version is served.
    pub(super) fn spec(&self) -> VersionSpec {
        match self {
            Self::Local(_, spec) => VersionSpec::Onnx(spec.clone()),
            Self::Remote(spec) => VersionSpec::Backends(spec.clone()),
        }
    }
}

/// All of them, each with the content that it is.
#[derive(Debug, Default)]
pub(super) struct Loaded(BTreeMap<Key, (Digest, Resident)>);

impl Loaded {
    /// A version, if it is loaded with this content.
    pub(super) fn get(&self, key: &Key, digest: &Digest) -> Option<&Resident> {
        self.0.get(key).filter(|(loaded, _)| loaded == digest).map(|(_, resident)| resident)
    }

    /// Whether a version can answer now. Servers can while some are there.
    pub(super) fn is_ready(&self, key: &Key, digest: &Digest, seen: &Seen) -> bool {
        match self.get(key, digest) {
            None => false,
            Some(Resident::Local(..)) => true,
            Some(Resident::Remote(spec)) => has_servers(key, spec, seen),
        }
    }

    /// Notes that a version is loaded.
    pub(super) fn insert(&mut self, key: Key, digest: Digest, resident: Resident) {
        self.0.insert(key, (digest, resident));
    }

    /// Lets a version go; whether it was there.
    pub(super) fn remove(&mut self, key: &Key) -> bool {
        self.0.remove(key).is_some()
    }

    /// The servers of discovered versions, as they are seen now; the models of those where that differs from before.
    pub(super) fn meet(&mut self, before: &Seen, seen: &Seen) -> BTreeSet<ModelName> {
        let mut changed = BTreeSet::new();
        let several = Several::of(seen);
        for (key, (_, resident)) in &mut self.0 {
            let Resident::Remote(spec) = resident else { continue };
            if spec.discovered.is_none() {
                continue;
            }
            let had = has_servers(key, spec, before);
            let now = several.backends_of(seen, key).filter(|now| now != spec);
            let is_new = now.is_some();
            *spec = now.unwrap_or_else(|| std::mem::take(spec));
            if is_new || had != has_servers(key, spec, seen) {
                changed.insert(key.0.clone());
            }
        }
        changed
    }

    /// The models in this process.
    pub(super) fn models(&self) -> LoadedModels {
        let local = self.0.iter().filter_map(|((model, version), (_, resident))| match resident {
            Resident::Local(loaded, _) => {
                Some((TargetKind::Version(model.clone(), version.clone()), Arc::clone(loaded)))
            }
            Resident::Remote(_) => None,
        });
        local.collect()
    }

    /// Bytes of the versions of `model`, as estimated.
    pub(super) fn memory(&self, model: &ModelName) -> u64 {
        let first = (model.clone(), VersionName::new(""));
        let of = self.0.range(first..).take_while(|((name, _), _)| name == model);
        of.map(|(_, (_, resident))| match resident {
            Resident::Local(loaded, _) => loaded.memory(),
            Resident::Remote(_) => 0,
        })
        .sum()
    }
}

fn has_servers(key: &Key, spec: &BackendsSpec, seen: &Seen) -> bool {
    match &spec.discovered {
        None => !spec.addresses.is_empty(),
        Some(source) => !seen.members(source, Some(key)).is_empty(),
    }
}
