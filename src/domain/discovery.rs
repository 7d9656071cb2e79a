//! Discovery: what sources list, what is believed of it, and the view that comes out.
//!
//! Owns the rule that absence is not a decision: an answer that failed, that is empty, or that lacks more
//! than half of what was there takes nothing away, and what is really gone stays in the view with the time
//! since when. Flapping is damped. Pure: `now_ms` is an argument, milliseconds since the Unix epoch on a
//! clock that never goes back within one run. Never asks a source, and never decides what follows from a
//! sighting.
//!
//! ```text
//! answer ─▶ Keeper (one a source: trusted? missed twice? flapping?) ─┐
//! answer ─▶ Keeper ──────────────────────────────────────────────────┴─▶ Seen (versions, sources)
//! ```

mod damping;
mod keeper;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

pub use self::damping::Damping;
pub use self::keeper::{
    Answer, Changes, Health, KEPT_MAX, Keeper, Kept, LISTED_MAX, Policy, Standing, Turn, Why,
};
pub use self::view::{Seen, Sighting, What};
use super::dialect::Dialect;
use super::ids::{ModelName, VersionName};
use super::spec::BackendAddress;

/// A version of a model, by both names.
pub type Release = (ModelName, VersionName);

/// What a source can list, by its identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thing {
    /// The files of a version.
    Artifact(ModelName, VersionName),
    /// A network endpoint.
    Backend(BackendAddress),
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Artifact(model, version) => write!(f, "{model}/{version}"),
            Self::Backend(address) => f.write_str(&address.authority()),
        }
    }
}

/// What is known about a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Facts {
    /// About the files of a version.
    Artifact(Artifact),
    /// About an endpoint.
    Backend(Endpoint),
}

/// The files of a version, as a listing found them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Artifact {
    /// Where they are.
    pub folder: PathBuf,
    /// The sha256 of each file by its name, once they are complete.
    pub digests: BTreeMap<String, [u8; 32]>,
    /// All bytes.
    pub bytes: u64,
    /// What is missing; `None` once the folder is complete.
    pub waits_for: Option<String>,
    /// What is said of how it came about.
    pub provenance: Provenance,
}

/// What is known about an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoint {
    /// The versions that it is said to serve, by the names that it has for them; none where nothing is
    /// said.
    pub serves: BTreeSet<Release>,
    /// What it is said to speak.
    pub dialect: Option<Dialect>,
    /// What is said of how versions that it serves came about.
    pub provenance: BTreeMap<Release, Provenance>,
}

/// What those who made a version say of how it came about. Nobody checks it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    /// Who made it.
    pub publisher: Option<String>,
    /// When it was trained, in milliseconds since the Unix epoch.
    pub trained_ms: Option<u64>,
}

impl Provenance {
    /// Whether nothing is said.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// Takes over from `other` what is not said here.
    fn complete(&mut self, other: &Self) {
        self.publisher = self.publisher.take().or_else(|| other.publisher.clone());
        self.trained_ms = self.trained_ms.or(other.trained_ms);
    }
}

/// What one source has answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    things: BTreeMap<Thing, Facts>,
    /// Why the first endpoint that was left out was.
    refused: Option<String>,
}

impl Listing {
    /// Adds the files of a version.
    pub fn artifact(&mut self, model: ModelName, version: VersionName, artifact: Artifact) {
        self.things.insert(Thing::Artifact(model, version), Facts::Artifact(artifact));
    }

    /// Adds an endpoint that somebody has told of, unless no server of another machine can be at such an address: then
    /// the answer is not whole.
    pub fn backend(&mut self, address: BackendAddress, endpoint: Endpoint) {
        match unusable(&address) {
            None => self.declared(address, endpoint),
            Some(why) => drop(self.refused.get_or_insert(why)),
        }
    }

    /// Adds an endpoint that an operator has named. What is said about one that is there already adds up.
    pub fn declared(&mut self, address: BackendAddress, endpoint: Endpoint) {
        let thing = Thing::Backend(address);
        match self.things.get_mut(&thing) {
            Some(Facts::Backend(known)) => {
                known.serves.extend(endpoint.serves);
                known.provenance.extend(endpoint.provenance);
                known.dialect = endpoint.dialect.or(known.dialect);
            }
            Some(Facts::Artifact(_)) | None => {
                self.things.insert(thing, Facts::Backend(endpoint));
            }
        }
    }

    /// How many things are listed.
    pub fn len(&self) -> usize {
        self.things.len()
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.things.is_empty()
    }

    /// Why an endpoint was left out, if one was.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// The endpoints.
    pub fn backends(&self) -> impl Iterator<Item = (&BackendAddress, &Endpoint)> {
        self.things.iter().filter_map(|(thing, facts)| match (thing, facts) {
            (Thing::Backend(address), Facts::Backend(endpoint)) => Some((address, endpoint)),
            _ => None,
        })
    }

    fn has(&self, thing: &Thing) -> bool {
        self.things.contains_key(thing)
    }

    fn into_things(self) -> impl Iterator<Item = (Thing, Facts)> {
        self.things.into_iter()
    }
}

/// Why no source can tell of a server at such an address; `None` if one can. A name that was made to point there reaches
/// services that trust whoever is on this machine or link, such as the metadata of a cloud.
pub fn unusable(address: &BackendAddress) -> Option<String> {
    let ip = address.host.parse::<IpAddr>().ok()?.to_canonical();
    let what = match ip {
        IpAddr::V4(ip) if ip.is_link_local() => "a link-local address",
        IpAddr::V6(ip) if ip.is_unicast_link_local() => "a link-local address",
        IpAddr::V4(ip) if ip.is_broadcast() => "an address of all",
        ip if ip.is_multicast() => "an address of many",
        ip if ip.is_unspecified() => "no address of one machine",
        IpAddr::V4(_) | IpAddr::V6(_) => return None,
    };
    let at = address.authority();
    Some(format!(
        "{at} is {what}; a server there must be listed in the configuration, as `backends`"
    ))
}
