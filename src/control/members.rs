//! Who stands behind the versions and pools whose members are discovered.
//!
//! Owns the way from the view of discovery to addresses. What a server calls a version is its name there.
//! Never removes the last member: the keeper of the source sees to that.

use std::collections::BTreeMap;

use crate::domain::discovery::{Release, Seen};
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::routing::TargetKind;
use crate::domain::spec::{BackendAddress, BackendsSpec, Intent, VersionSpec};

/// The members by target; only of targets whose members are discovered.
pub(super) type Members = BTreeMap<TargetKind, Vec<BackendAddress>>;

/// The members of now.
pub(super) fn members(intent: &Intent, seen: &Seen) -> Members {
    let versions = intent.models.iter().flat_map(|(model, spec)| {
        spec.versions.iter().filter_map(move |(version, spec)| match spec {
            VersionSpec::Backends(spec) => Some((model, version, spec)),
            VersionSpec::Onnx(_) => None,
        })
    });
    let versions = versions.filter_map(|(model, version, spec)| {
        let source = spec.discovered.as_ref()?;
        let found = seen.members(source, Some(&there(model, version, spec)));
        Some((TargetKind::Version(model.clone(), version.clone()), found))
    });
    let pools = intent.pools.iter().filter_map(|(name, spec)| {
        let source = spec.discovered.as_ref()?;
        Some((TargetKind::Pool(name.clone()), seen.members(source, None)))
    });
    versions.chain(pools).collect()
}

/// What the servers of a version call it.
pub(super) fn there(model: &ModelName, version: &VersionName, spec: &BackendsSpec) -> Release {
    let model = spec.remote_model.as_deref().map_or_else(|| model.clone(), ModelName::new);
    let version = spec.remote_version.as_deref().map_or_else(|| version.clone(), VersionName::new);
    (model, version)
}
