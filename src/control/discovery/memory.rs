//! What discovery knows, over restarts: `state/discovery.json`.
//!
//! Owns the format of that file. A source whose place is another one than it was starts with nothing. Never
//! trusts the file: names and addresses are checked as if they came from a client.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::leases::{Leases, Registration};
use crate::config::backend_address;
use crate::control::events::{Events, Weight};
use crate::control::store;
use crate::domain::dialect::Dialect;
use crate::domain::discovery::{
    Artifact, Endpoint, Facts, KEPT_MAX, Keeper, Kept, Provenance, Release, Thing,
};
use crate::domain::ids::{ModelName, SourceName, VersionName, is_valid_name};
use crate::domain::spec::{BackendAddress, DiscoveryPlace, DiscoverySpec};

/// The file below `state/`.
const FILE: &str = "discovery.json";
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The format.
const FORMAT: u32 = 1;

/// The file.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
}

/// What the file said.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<String, SourceEntry>);

#[derive(Debug, Serialize, Deserialize)]
struct Whole {
    format: u32,
    sources: BTreeMap<String, SourceEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SourceEntry {
    /// Tells whether the place is the same.
    place: String,
    things: Vec<ThingEntry>,
    registrations: Vec<BackendEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ThingEntry {
    first_seen_ms: u64,
    last_seen_ms: u64,
    absent_since_ms: Option<u64>,
    backend: Option<BackendEntry>,
    artifact: Option<ArtifactEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct BackendEntry {
    address: String,
    serves: Vec<(String, String)>,
    dialect: Option<String>,
    /// Of some of what it serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    provenance: Vec<(String, String, ProvenanceEntry)>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct ProvenanceEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    publisher: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trained_ms: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ArtifactEntry {
    model: String,
    version: String,
    folder: PathBuf,
    digests: BTreeMap<String, String>,
    bytes: u64,
    waits_for: Option<String>,
    #[serde(default)]
    provenance: ProvenanceEntry,
}

impl Memory {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(store::STATE_DIR).join(FILE) }
    }

    /// Reads the file. One that cannot be understood is put aside and told.
    pub(super) fn read(&self, events: &Events, now_ms: u64) -> Known {
        let why = match store::read(&self.path, FILE_BYTES_MAX) {
            Ok(None) => return Known::default(),
            Ok(Some(bytes)) => match serde_json::from_slice::<Whole>(&bytes) {
                Ok(whole) if whole.format == FORMAT => return Known(whole.sources),
                Ok(whole) => format!("it has the format {}", whole.format),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        let aside = match store::put_aside(&self.path) {
            Ok(aside) => format!("it is kept as {}", aside.display()),
            Err(error) => format!("it cannot be put aside: {error}"),
        };
        let words = format!(
            "what was discovered before is not known: {} ({why}); {aside}",
            self.path.display()
        );
        events.tell(now_ms, "discovery.memory", Weight::Alarm, "discovery", &words);
        Known::default()
    }

    /// Replaces the file; returns when it is on the disk.
    pub(super) async fn write(
        &self,
        specs: &BTreeMap<SourceName, DiscoverySpec>,
        keepers: &BTreeMap<SourceName, Arc<Keeper>>,
        leases: &BTreeMap<SourceName, Leases>,
    ) -> io::Result<()> {
        let sources = specs.iter().filter_map(|(name, spec)| {
            let keeper = keepers.get(name)?;
            let things = keeper.things().iter().map(|(thing, kept)| thing_entry(thing, kept));
            let registrations = leases.get(name).into_iter().flat_map(Leases::held);
            let entry = SourceEntry {
                place: mark(&spec.place),
                things: things.collect(),
                registrations: registrations.map(registration_entry).collect(),
            };
            Some((name.to_string(), entry))
        });
        let whole = Whole { format: FORMAT, sources: sources.collect() };
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || {
            store::replace(&path, &serde_json::to_vec(&whole)?)
        });
        written.await.map_err(io::Error::other)?
    }
}

impl Known {
    /// What was known of a source.
    pub(super) fn take(
        &mut self,
        name: &SourceName,
        spec: &DiscoverySpec,
    ) -> (BTreeMap<Thing, Kept>, Vec<Registration>) {
        let Some(entry) = self.0.remove(name.as_str()) else { return Default::default() };
        if entry.place != mark(&spec.place) {
            return Default::default();
        }
        let things = entry.things.into_iter().filter_map(thing).take(KEPT_MAX).collect();
        let registrations = entry.registrations.into_iter().filter_map(registration).collect();
        (things, registrations)
    }
}

/// Tells places apart. Registrations and the environment have no place that could change.
fn mark(place: &DiscoveryPlace) -> String {
    let text = match place {
        DiscoveryPlace::Lease(_) | DiscoveryPlace::Environment(_) => place.kind().to_owned(),
        place => format!("{place:?}"),
    };
    format!("{:016x}", XxHash3_64::oneshot(text.as_bytes()))
}

fn thing_entry(thing: &Thing, kept: &Kept) -> ThingEntry {
    let (mut backend, mut artifact) = (None, None);
    match (thing, &kept.facts) {
        (Thing::Backend(address), Facts::Backend(endpoint)) => {
            let Endpoint { serves, dialect, provenance } = endpoint;
            backend = Some(backend_entry(address, serves.iter(), *dialect, provenance));
        }
        (Thing::Artifact(model, version), Facts::Artifact(facts)) => {
            artifact = Some(ArtifactEntry {
                model: model.to_string(),
                version: version.to_string(),
                folder: facts.folder.clone(),
                digests: facts.digests.iter().map(|(name, d)| (name.clone(), hex(d))).collect(),
                bytes: facts.bytes,
                waits_for: facts.waits_for.clone(),
                provenance: provenance_entry(&facts.provenance),
            });
        }
        (Thing::Backend(_), Facts::Artifact(_)) | (Thing::Artifact(..), Facts::Backend(_)) => {}
    }
    ThingEntry {
        first_seen_ms: kept.first_seen_ms,
        last_seen_ms: kept.last_seen_ms,
        absent_since_ms: kept.absent_since_ms,
        backend,
        artifact,
    }
}

fn backend_entry<'a>(
    address: &BackendAddress,
    serves: impl Iterator<Item = &'a Release>,
    dialect: Option<Dialect>,
    provenance: &BTreeMap<Release, Provenance>,
) -> BackendEntry {
    let said = provenance.iter().map(|((model, version), said)| {
        (model.to_string(), version.to_string(), provenance_entry(said))
    });
    BackendEntry {
        provenance: said.collect(),
        address: format!("http://{}", address.authority()),
        serves: serves.map(|(model, version)| (model.to_string(), version.to_string())).collect(),
        dialect: dialect.map(|dialect| dialect.as_str().to_owned()),
    }
}

fn registration_entry(registration: &Registration) -> BackendEntry {
    let Registration { address, serves, dialect, .. } = registration;
    backend_entry(address, serves.iter(), *dialect, &registration.said())
}

fn provenance_entry(provenance: &Provenance) -> ProvenanceEntry {
    let Provenance { publisher, trained_ms } = provenance.clone();
    ProvenanceEntry { publisher, trained_ms }
}

fn thing(entry: ThingEntry) -> Option<(Thing, Kept)> {
    let (thing, facts) = match (entry.backend, entry.artifact) {
        (Some(backend), None) => {
            let (address, endpoint) = backend_of(backend)?;
            (Thing::Backend(address), Facts::Backend(endpoint))
        }
        (None, Some(artifact)) => {
            let (model, version) = release((artifact.model, artifact.version))?;
            let digest = |(name, text): (String, String)| Some((name, unhex(&text)?));
            let facts = Artifact {
                folder: artifact.folder,
                digests: artifact.digests.into_iter().map(digest).collect::<Option<_>>()?,
                bytes: artifact.bytes,
                waits_for: artifact.waits_for,
                provenance: provenance(artifact.provenance)?,
            };
            (Thing::Artifact(model, version), Facts::Artifact(facts))
        }
        (Some(_), Some(_)) | (None, None) => return None,
    };
    let kept =
        Kept::restored(facts, entry.first_seen_ms, entry.last_seen_ms, entry.absent_since_ms);
    Some((thing, kept))
}

fn registration(entry: BackendEntry) -> Option<Registration> {
    let (address, Endpoint { serves, dialect, provenance }) = backend_of(entry)?;
    Some(Registration {
        source: None,
        address,
        serves: serves.into_iter().next(),
        dialect,
        provenance: provenance.into_values().next().unwrap_or_default(),
    })
}

fn backend_of(entry: BackendEntry) -> Option<(BackendAddress, Endpoint)> {
    let address = backend_address(&entry.address).ok()?;
    let said = |(model, version, said)| Some((release((model, version))?, provenance(said)?));
    let endpoint = Endpoint {
        serves: entry.serves.into_iter().map(release).collect::<Option<_>>()?,
        dialect: entry.dialect.as_deref().and_then(Dialect::parse),
        provenance: entry.provenance.into_iter().map(said).collect::<Option<_>>()?,
    };
    Some((address, endpoint))
}

fn provenance(entry: ProvenanceEntry) -> Option<Provenance> {
    let ProvenanceEntry { publisher, trained_ms } = entry;
    let good = publisher.as_deref().is_none_or(is_valid_name);
    good.then_some(Provenance { publisher, trained_ms })
}

fn release((model, version): (String, String)) -> Option<Release> {
    let good = is_valid_name(&model) && is_valid_name(&version);
    good.then(|| (ModelName::new(model), VersionName::new(version)))
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::discovery::{Answer, Listing, Policy};
    use crate::domain::spec::LeaseSpec;

    fn spec(place: DiscoveryPlace) -> DiscoverySpec {
        DiscoverySpec {
            place,
            model: None,
            version: None,
            ask: false,
            interval: Duration::from_secs(1),
            shrink_after: Duration::ZERO,
        }
    }

    fn address(port: u16) -> BackendAddress {
        BackendAddress { host: "::1".into(), port }
    }

    #[tokio::test]
    async fn what_is_written_comes_back_unless_the_place_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::open(dir.path());
        let memory = Memory::new(dir.path());
        assert!(memory.read(&events, 0).0.is_empty());
        let release = (ModelName::new("fraud"), VersionName::new("v1"));
        let mut listing = Listing::default();
        let provenance = Provenance {
            publisher: Some("nightly".to_owned()),
            trained_ms: Some(1_790_000_000_000),
        };
        let endpoint = Endpoint {
            serves: [release.clone()].into(),
            dialect: Some(Dialect::OpenInference),
            provenance: [(release.clone(), provenance.clone())].into(),
        };
        listing.backend(address(1), endpoint.clone());
        let artifact = Artifact {
            folder: "/m/iris/v2".into(),
            digests: [("model.onnx".to_owned(), [171; 32])].into(),
            bytes: 9,
            waits_for: None,
            provenance: provenance.clone(),
        };
        listing.artifact(ModelName::new("iris"), VersionName::new("v2"), artifact);
        let mut keeper = Keeper::new(Policy { shrink_after_ms: 0, confirm_ms: 0 });
        keeper.observe(5, Answer::Whole(listing));
        let name = SourceName::new("s");
        let lease = LeaseSpec { lease: Duration::from_secs(1), registrations: 9 };
        let registration = Registration {
            source: None,
            address: address(2),
            serves: Some(release),
            dialect: endpoint.dialect,
            provenance,
        };
        let held = Leases::restored(name.clone(), lease, vec![registration.clone()], 0);
        let specs = BTreeMap::from([(name.clone(), spec(DiscoveryPlace::Lease(lease)))]);
        let keepers = BTreeMap::from([(name.clone(), Arc::new(keeper.clone()))]);
        let leases = BTreeMap::from([(name.clone(), held)]);
        memory.write(&specs, &keepers, &leases).await.unwrap();
        let (things, registrations) = memory.read(&events, 0).take(&name, &specs[&name]);
        assert_eq!((&things, registrations), (keeper.things(), vec![registration]));
        let other = spec(DiscoveryPlace::File("/x".into()));
        assert!(memory.read(&events, 0).take(&name, &other).0.is_empty());
    }

    #[tokio::test]
    async fn a_damaged_file_is_put_aside_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::open(dir.path());
        let memory = Memory::new(dir.path());
        for text in ["{\"format\": 1", "{\"format\": 9, \"sources\": {}}"] {
            store::replace(&memory.path, text.as_bytes()).unwrap();
            assert!(memory.read(&events, 0).0.is_empty());
            assert!(!memory.path.exists());
        }
        assert_eq!(events.after(None, 9).len(), 2);
    }
}
