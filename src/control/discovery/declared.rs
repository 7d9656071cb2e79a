//! What the configuration declares, as a source like any other.
//!
//! Owns its name and its listing, which never changes in one run. Versions whose members are discovered are
//! listed by whoever discovers them.

use super::policy_of;
use crate::domain::discovery::{Answer, Artifact, Endpoint, Keeper, Listing};
use crate::domain::ids::SourceName;
use crate::domain::spec::{BackendsSpec, Intent, OnnxSpec, VersionSpec};
use crate::inference::folder::MODEL_FILE;

/// A name that no source of the configuration can have.
const NAME: &str = "(config)";

/// The source and what it lists; none where nothing is declared.
pub(super) fn declared(intent: &Intent, now_ms: u64) -> Option<(SourceName, Keeper)> {
    let mut listing = Listing::default();
    for (model, spec) in &intent.models {
        for (version, spec) in &spec.versions {
            match spec {
                VersionSpec::Onnx(onnx) => {
                    listing.artifact(model.clone(), version.clone(), artifact(onnx));
                }
                VersionSpec::Backends(BackendsSpec { addresses, dialect, .. }) => {
                    for address in addresses {
                        let serves = [(model.clone(), version.clone())].into();
                        let dialect = dialect.declared();
                        let endpoint = Endpoint { serves, dialect, ..Endpoint::default() };
                        listing.declared(address.clone(), endpoint);
                    }
                }
            }
        }
    }
    if listing.is_empty() {
        return None;
    }
    let mut keeper = Keeper::new(policy_of(std::time::Duration::ZERO));
    keeper.observe(now_ms, Answer::Whole(listing));
    Some((SourceName::new(NAME), keeper))
}

fn artifact(onnx: &OnnxSpec) -> Artifact {
    let name =
        onnx.path.file_name().map_or_else(|| MODEL_FILE.into(), |name| name.to_string_lossy());
    Artifact {
        folder: onnx.path.parent().map(Into::into).unwrap_or_default(),
        digests: onnx.digest.map(|digest| (name.into_owned(), digest)).into_iter().collect(),
        ..Artifact::default()
    }
}
