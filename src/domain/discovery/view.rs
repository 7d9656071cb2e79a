//! The merged view: which versions are seen, where, and by which sources.
//!
//! Owns how the words of several sources about one version come together. A version is absent only when
//! every source that has seen it says so. Never drops one that a keeper still keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::keeper::{Keeper, Kept, Standing};
use super::{Artifact, Facts, Provenance, Release, Thing};
use crate::domain::dialect::Dialect;
use crate::domain::ids::SourceName;
use crate::domain::spec::BackendAddress;

/// Everything that discovery knows, as one value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Counts the views.
    pub generation: u64,
    /// When the view was made.
    pub at_ms: u64,
    /// Every version that some source has seen.
    pub versions: BTreeMap<Release, Sighting>,
    /// The sources, each with what is believed of it.
    pub sources: BTreeMap<SourceName, Arc<Keeper>>,
}

/// One version, as the sources see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// What there is of it.
    pub what: What,
    /// Who sees it, or has seen it.
    pub sources: BTreeSet<SourceName>,
    /// When it was first listed.
    pub first_seen_ms: u64,
    /// When it was last listed.
    pub last_seen_ms: u64,
    /// Since when no source lists it. Only trusted answers make a version absent.
    pub absent_since_ms: Option<u64>,
    /// Whether the last answer of every source that sees it is trusted.
    pub trusted: bool,
    /// A source that says something else about it; what the first one said stands.
    pub disputed_by: Option<SourceName>,
}

/// What there is of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Files.
    Artifact(Artifact),
    /// Prediction servers.
    Backends {
        /// Where they are; if none is there, where they were.
        addresses: BTreeSet<BackendAddress>,
        /// What they are said to speak.
        dialect: Option<Dialect>,
        /// What is said of how it came about.
        provenance: Provenance,
    },
}

impl Seen {
    /// Merges what is believed of all sources.
    pub fn merge(generation: u64, at_ms: u64, sources: BTreeMap<SourceName, Arc<Keeper>>) -> Self {
        let mut versions: BTreeMap<Release, Sighting> = BTreeMap::new();
        for (name, keeper) in &sources {
            for (release, sighting) in sightings(name, keeper) {
                match versions.get_mut(&release) {
                    Some(known) => known.join(sighting),
                    None => drop(versions.insert(release, sighting)),
                }
            }
        }
        Self { generation, at_ms, versions, sources }
    }

    /// Whether the last answer of every source is trusted.
    pub fn is_trusted(&self) -> bool {
        self.sources.values().all(|keeper| keeper.health().standing == Standing::Fresh)
    }

    /// The endpoints of a source that may be used for `release`, or for anything.
    pub fn members(&self, source: &SourceName, release: Option<&Release>) -> Vec<BackendAddress> {
        let keeper = self.sources.get(source);
        let members = keeper.map(|keeper| keeper.members(release)).unwrap_or_default();
        members.into_iter().map(|(address, _)| address.clone()).collect()
    }

    /// Those of them that are there: none where all have gone.
    pub fn present_members(
        &self,
        source: &SourceName,
        release: Option<&Release>,
    ) -> Vec<BackendAddress> {
        let keeper = self.sources.get(source);
        let there = keeper.map(|keeper| keeper.present_members(release)).unwrap_or_default();
        there.into_iter().cloned().collect()
    }
}

/// The versions that one source sees.
fn sightings(name: &SourceName, keeper: &Keeper) -> BTreeMap<Release, Sighting> {
    let trusted = keeper.health().standing == Standing::Fresh;
    let one = |what: What, kept: &Kept| Sighting {
        what,
        sources: BTreeSet::from([name.clone()]),
        first_seen_ms: kept.first_seen_ms,
        last_seen_ms: kept.last_seen_ms,
        absent_since_ms: kept.absent_since_ms,
        trusted,
        disputed_by: None,
    };
    let mut found: BTreeMap<Release, Sighting> = BTreeMap::new();
    let mut add = |release: Release, sighting: Sighting| match found.get_mut(&release) {
        Some(known) => known.join(sighting),
        None => drop(found.insert(release, sighting)),
    };
    for (thing, kept) in keeper.things() {
        match (thing, &kept.facts) {
            (Thing::Artifact(model, version), Facts::Artifact(artifact)) => {
                let what = What::Artifact(artifact.clone());
                add((model.clone(), version.clone()), one(what, kept));
            }
            (Thing::Backend(address), Facts::Backend(endpoint)) => {
                for release in &endpoint.serves {
                    let addresses = BTreeSet::from([address.clone()]);
                    let provenance = endpoint.provenance.get(release).cloned().unwrap_or_default();
                    let dialect = endpoint.dialect;
                    let what = What::Backends { addresses, dialect, provenance };
                    add(release.clone(), one(what, kept));
                }
            }
            (Thing::Artifact(..), Facts::Backend(_)) | (Thing::Backend(_), Facts::Artifact(_)) => {}
        }
    }
    found
}

impl Sighting {
    /// Takes in what is seen elsewhere of the same version.
    fn join(&mut self, other: Self) {
        let absent = (self.absent_since_ms, other.absent_since_ms);
        if !self.what.takes_in(&other.what, absent) {
            // Both cannot be true: what was seen first stands.
            let later = if self.first_seen_ms <= other.first_seen_ms {
                &other.sources
            } else {
                self.what = other.what;
                &self.sources
            };
            self.disputed_by = later.first().cloned();
        }
        self.sources.extend(other.sources);
        self.first_seen_ms = self.first_seen_ms.min(other.first_seen_ms);
        self.last_seen_ms = self.last_seen_ms.max(other.last_seen_ms);
        self.absent_since_ms = match (self.absent_since_ms, other.absent_since_ms) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (None, _) | (_, None) => None,
        };
        self.trusted &= other.trusted;
        self.disputed_by = self.disputed_by.take().or(other.disputed_by);
    }
}

impl What {
    /// Adds what is said elsewhere; `false` when the two cannot both be true. `absent` says of both since
    /// when they are.
    fn takes_in(&mut self, other: &Self, absent: (Option<u64>, Option<u64>)) -> bool {
        let Self::Backends { addresses, dialect, provenance } = self else {
            return *self == *other;
        };
        let Self::Backends { addresses: more, dialect: told, provenance: said } = other else {
            return false;
        };
        match absent {
            // One of them is there: what is gone is not listed beside it.
            (None, Some(_)) => {}
            (Some(_), None) => addresses.clone_from(more),
            (None, None) | (Some(_), Some(_)) => addresses.extend(more.iter().cloned()),
        }
        *dialect = dialect.or(*told);
        provenance.complete(said);
        true
    }
}
