//! From what discovery believes to what the life cycle is told: versions with their content, and how far the
//! listing of their artifacts can be relied upon.
//!
//! Owns the choice of what counts as a sighting: a version whose content is known. A folder that is not complete
//! has no digest yet; discovery says what it waits for. Never takes an absence for anything: what was
//! sighted once stays so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::content;
use super::governed::Governed;
use crate::config::provenance_beside;
use crate::control::discovery::standing;
use crate::domain::dialect::Dialect;
use crate::domain::discovery::{Artifact, Facts, Provenance, Seen, Sighting as Found, Thing, What};
use crate::domain::ids::{Digest, ModelName, SourceName, VersionName};
use crate::domain::lifecycle::observed::{ListingTrust, Sighting};
use crate::domain::lifecycle::release::Release;
use crate::domain::lifecycle::time::Wall;
use crate::domain::spec::{BackendsSpec, Intent, SpokenDialect, VersionSpec};

use super::Key;

/// A version that an operator has named in the configuration.
#[derive(Debug, Clone)]
pub(super) struct Named {
    digest: Digest,
    bytes: u64,
    provenance: Provenance,
}

/// What is known of the sources.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    /// Named versions whose content is known.
    named: BTreeMap<Key, Named>,
    /// By source: when it was last trusted, and how far its listing is.
    trust: BTreeMap<SourceName, (Option<u64>, ListingTrust)>,
    /// Models whose listing is in doubt, and why.
    doubts: BTreeMap<ModelName, String>,
}

impl Sightings {
    /// Reads the content of the versions that operators have named. Blocks for as long as that takes.
    pub(super) fn read_named(intent: &Intent) -> BTreeMap<Key, Named> {
        let governed = intent.models.iter().filter(|(_, spec)| spec.lifecycle.is_some());
        let versions = governed.flat_map(|(model, spec)| {
            spec.versions.iter().map(move |(version, spec)| (model, version, spec))
        });
        let read = versions.filter_map(|(model, version, spec)| {
            let named = match spec {
                VersionSpec::Onnx(onnx) => match content::digest_of_file(&onnx.path) {
                    Ok((digest, bytes)) => {
                        Named { digest, bytes, provenance: provenance_beside(&onnx.path) }
                    }
                    Err(error) => {
                        let path = onnx.path.display();
                        tracing::error!(%model, %version, %path, %error, "a model file cannot be read");
                        return None;
                    }
                },
                VersionSpec::Backends(_) => Named {
                    digest: content::digest_of_backends(model, version),
                    bytes: 0,
                    provenance: Provenance::default(),
                },
            };
            Some(((model.clone(), version.clone()), named))
        });
        read.collect()
    }

    /// Notes what [`Self::read_named`] has found.
    pub(super) fn name(&mut self, named: BTreeMap<Key, Named>) {
        self.named = named;
    }

    /// Notes a view: each listing that is new is a step towards trust, or away from it.
    pub(super) fn look(&mut self, seen: &Seen) {
        for (source, keeper) in &seen.sources {
            let health = keeper.health();
            let (last, trust) = self.trust.entry(source.clone()).or_default();
            if let Some(why) = standing(keeper) {
                trust.observe(Err(&why));
            } else if *last != health.trusted_ms {
                let artifacts = keeper.things().iter().filter(|(thing, kept)| {
                    matches!(thing, Thing::Artifact(..)) && kept.is_present()
                });
                trust.observe(Ok(artifacts.count()));
            }
            *last = health.trusted_ms;
        }
        self.doubts.clear();
        for (source, (_, trust)) in &self.trust {
            // What the configuration declares is listed once and for all.
            let keeper = seen.sources.get(source).filter(|_| !is_configuration(source));
            let (Some(keeper), Some(doubt)) = (keeper, trust.doubt()) else { continue };
            let mut last = None;
            for thing in keeper.things().keys() {
                let Thing::Artifact(model, _) = thing else { continue };
                // The versions of a model stand together.
                if last != Some(model) && !self.doubts.contains_key(model) {
                    self.doubts.insert(model.clone(), format!("{source}: {doubt}"));
                }
                last = Some(model);
            }
        }
    }

    /// Why the listing of a model's artifacts is in doubt; `None` if it is not, or lists none.
    pub(super) fn doubt(&self, model: &ModelName) -> Option<&str> {
        self.doubts.get(model).map(String::as_str)
    }

    /// The sightings of all models under the life cycle.
    pub(super) fn all(
        &self,
        governed: &Governed,
        seen: &Seen,
    ) -> BTreeMap<ModelName, BTreeMap<VersionName, Sighting>> {
        let mut all: BTreeMap<ModelName, BTreeMap<VersionName, Sighting>> = BTreeMap::new();
        let mut add = |key: &Key, sighting: Sighting| {
            all.entry(key.0.clone()).or_default().insert(key.1.clone(), sighting);
        };
        for (key, found) in &seen.versions {
            if governed.has(&key.0)
                && !self.named.contains_key(key)
                && let Some(release) = release_of(key, found)
            {
                add(key, Sighting { release, complete: found.absent_since_ms.is_none() });
            }
        }
        for (key, named) in &self.named {
            let release = Release {
                digest: named.digest.clone(),
                bytes: named.bytes,
                source: "the configuration".to_owned(),
                publisher: named.provenance.publisher.clone(),
                trained_at: named.provenance.trained_ms.map(Wall),
                named: true,
            };
            add(key, Sighting { release, complete: true });
        }
        all
    }
}

fn is_configuration(source: &SourceName) -> bool {
    source.as_str().starts_with('(')
}

/// What a source tells of a version, once its content is known.
fn release_of(key: &Key, found: &Found) -> Option<Release> {
    let source = found.sources.first()?;
    let (digest, bytes, place, said) = match &found.what {
        What::Artifact(artifact) if is_whole(artifact) => {
            let place = format!("{source} ({})", artifact.folder.display());
            // Zero bytes would mean a version at backends.
            let digest = content::digest_of(&artifact.digests);
            (digest, artifact.bytes.max(1), place, &artifact.provenance)
        }
        What::Artifact(_) => return None,
        What::Backends { provenance, .. } => {
            (content::digest_of_backends(&key.0, &key.1), 0, source.to_string(), provenance)
        }
    };
    // Where nobody says who made it, those of one model in one source are taken for one pipeline's.
    let publisher = said.publisher.clone().unwrap_or_else(|| format!("{source}/{}", key.0));
    Some(Release {
        digest,
        bytes,
        source: place,
        publisher: Some(publisher),
        trained_at: said.trained_ms.map(Wall),
        named: false,
    })
}

fn is_whole(artifact: &Artifact) -> bool {
    artifact.waits_for.is_none() && !artifact.digests.is_empty()
}

/// Where the answers of a version come from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Origin {
    /// A file that the gateway has fetched, or has yet to fetch.
    Stored(PathBuf),
    /// A file or servers that an operator has named.
    Named(VersionSpec),
    /// Servers that were discovered.
    Backends(BackendsSpec),
}

/// The folder from which a content can be fetched now.
pub(super) fn artifact_of<'a>(seen: &'a Seen, key: &Key, digest: &Digest) -> Option<&'a Artifact> {
    match &seen.versions.get(key)?.what {
        What::Artifact(artifact) if is_whole(artifact) => {
            (content::digest_of(&artifact.digests) == *digest).then_some(artifact)
        }
        What::Artifact(_) | What::Backends { .. } => None,
    }
}

/// The servers of a discovered version.
pub(super) fn backends_of(seen: &Seen, key: &Key) -> Option<BackendsSpec> {
    Several::of(seen).backends_of(seen, key)
}

/// Models of which one server has several versions, so that it must be told which one is meant.
pub(super) struct Several<'a>(BTreeSet<(&'a SourceName, &'a ModelName)>);

impl<'a> Several<'a> {
    /// Those of a view.
    pub(super) fn of(seen: &'a Seen) -> Self {
        let mut several = BTreeSet::new();
        for (source, keeper) in &seen.sources {
            for kept in keeper.things().values() {
                let Facts::Backend(endpoint) = &kept.facts else { continue };
                let mut models = BTreeSet::new();
                let twice = endpoint.serves.iter().filter(|(model, _)| !models.insert(model));
                several.extend(twice.map(|(model, _)| (source, model)));
            }
        }
        Self(several)
    }

    /// The servers of a discovered version.
    pub(super) fn backends_of(&self, seen: &Seen, key: &Key) -> Option<BackendsSpec> {
        let found = seen.versions.get(key)?;
        let What::Backends { addresses, dialect, .. } = &found.what else { return None };
        let source = found.sources.iter().find(|source| !is_configuration(source))?;
        Some(BackendsSpec {
            addresses: addresses.iter().cloned().collect(),
            discovered: Some(source.clone()),
            dialect: dialect.map_or(SpokenDialect::OfTheClient, SpokenDialect::Declared),
            http2: *dialect == Some(Dialect::OpenInferenceGrpc),
            remote_version: self.0.contains(&(source, &key.0)).then(|| key.1.to_string()),
            ..BackendsSpec::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::discovery::{Answer, Endpoint, Keeper, Listing, Policy};
    use crate::domain::spec::BackendAddress;
    use crate::inference::folder::MODEL_FILE;

    const POLICY: Policy = Policy { shrink_after_ms: 0, confirm_ms: 0 };

    fn key(version: &str) -> Key {
        (ModelName::new("m"), VersionName::new(version))
    }

    fn folder(waits_for: Option<&str>) -> Artifact {
        let digests = match waits_for {
            Some(_) => Default::default(),
            None => [(MODEL_FILE.to_owned(), [7; 32])].into(),
        };
        let waits_for = waits_for.map(str::to_owned);
        let provenance =
            Provenance { publisher: Some("nightly".to_owned()), trained_ms: Some(7000) };
        Artifact { folder: "/store/m/v".into(), digests, bytes: 5, waits_for, provenance }
    }

    /// What is seen of a store with these folders, in answers one after the other.
    fn seen(answers: &[Answer]) -> Vec<Seen> {
        let mut keeper = Keeper::new(POLICY);
        let views = answers.iter().enumerate().map(|(at, answer)| {
            let at = at as u64;
            keeper.observe(at, answer.clone());
            let sources = [(SourceName::new("store"), std::sync::Arc::new(keeper.clone()))];
            Seen::merge(at, at, sources.into())
        });
        views.collect()
    }

    fn governed() -> Governed {
        super::super::governed::tests::governed("[models.m.release]\n")
    }

    #[test]
    fn a_folder_is_sighted_once_its_content_is_known_and_can_be_fetched_then() {
        let mut listing = Listing::default();
        listing.artifact(key("v1").0, key("v1").1, folder(None));
        listing.artifact(key("v2").0, key("v2").1, folder(Some("there is no READY")));
        let views = seen(&[Answer::Whole(listing)]);
        let sightings = Sightings::default().all(&governed(), &views[0]);
        let of_model = &sightings[&key("v1").0];
        assert_eq!(of_model.keys().map(VersionName::as_str).collect::<Vec<_>>(), ["v1"]);
        let release = &of_model[&key("v1").1].release;
        assert_eq!(release.source, "store (/store/m/v)");
        assert_eq!(release.publisher.as_deref(), Some("nightly"));
        assert_eq!(release.trained_at, Some(Wall(7000)));
        assert!(artifact_of(&views[0], &key("v1"), &release.digest).is_some());
        assert!(artifact_of(&views[0], &key("v1"), &Digest::new("other")).is_none());
        assert!(backends_of(&views[0], &key("v1")).is_none());
    }

    #[test]
    fn servers_are_a_version_that_is_told_its_name_where_they_have_several() {
        let server = |port, versions: &[&str]| {
            let serves = versions.iter().map(|version| key(version)).collect();
            let address = BackendAddress { host: "a".into(), port };
            let dialect = Some(Dialect::KserveV1);
            (address, Endpoint { serves, dialect, ..Endpoint::default() })
        };
        let mut listing = Listing::default();
        for (address, endpoint) in [server(1, &["v1"]), server(2, &["v1"])] {
            listing.backend(address, endpoint);
        }
        let views = seen(&[Answer::Whole(listing.clone())]);
        let spec = backends_of(&views[0], &key("v1")).unwrap();
        assert_eq!((spec.addresses.len(), spec.remote_version), (2, None));
        assert_eq!(spec.dialect, SpokenDialect::Declared(Dialect::KserveV1));
        let sightings = Sightings::default().all(&governed(), &views[0]);
        let release = &sightings[&key("v1").0][&key("v1").1].release;
        assert_eq!(release.bytes, 0);
        assert_eq!(release.publisher.as_deref(), Some("store/m"), "nobody says who made it");
        let (address, endpoint) = server(3, &["v1", "v2"]);
        listing.backend(address, endpoint);
        let views = seen(&[Answer::Whole(listing)]);
        let spec = backends_of(&views[0], &key("v1")).unwrap();
        assert_eq!(spec.remote_version.as_deref(), Some("v1"));
    }

    #[test]
    fn a_listing_is_relied_upon_after_two_good_answers_and_not_while_one_is_doubted() {
        let mut listing = Listing::default();
        listing.artifact(key("v1").0, key("v1").1, folder(None));
        let (whole, empty) = (Answer::Whole(listing), Answer::Whole(Listing::default()));
        let views = seen(&[whole.clone(), whole.clone(), empty, whole.clone(), whole]);
        let mut sightings = Sightings::default();
        let doubts = views.iter().map(|view| {
            sightings.look(view);
            sightings.doubt(&key("v1").0).is_some()
        });
        assert_eq!(doubts.collect::<Vec<_>>(), [true, false, true, true, false]);
    }
}
