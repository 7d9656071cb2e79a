//! What is loaded of the versions under the life cycle: models in this process, and servers that are asked.
//!
//! Owns that a version counts as loaded for one content only, and which of its servers are there. Never loads
//! anything, and never decides what is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Key;
use super::guests::{Errand, Guests};
use super::sightings::Several;
use crate::control::LoadedModels;
use crate::control::members::{Members, there};
use crate::domain::discovery::Seen;
use crate::domain::ids::{Digest, ModelName, VersionName};
use crate::domain::routing::TargetKind;
use crate::domain::spec::{BackendAddress, BackendsSpec, OnnxSpec, VersionSpec};
use crate::inference::LocalModel;

/// One version that can answer.
#[derive(Debug, Clone)]
pub(super) enum Resident {
    /// In this process.
    Local(Arc<LocalModel>, OnnxSpec),
    /// At servers.
    Remote(Servers),
}

/// The servers of a version.
#[derive(Debug, Clone)]
pub(super) struct Servers {
    pub(super) spec: BackendsSpec,
    /// An operator has said how they are spoken to.
    pub(super) is_named: bool,
}

impl Servers {
    /// Those that are there now, whoever they are; if there are none, those that went last.
    pub(super) fn members(&self, key: &Key, seen: &Seen) -> Vec<BackendAddress> {
        match &self.spec.discovered {
            None => self.spec.addresses.clone(),
            Some(source) => seen.members(source, Some(&there(&key.0, &key.1, &self.spec))),
        }
    }

    /// Those that are there now.
    fn present(&self, key: &Key, seen: &Seen) -> Vec<BackendAddress> {
        match &self.spec.discovered {
            None => self.spec.addresses.clone(),
            Some(source) => seen.present_members(source, Some(&there(&key.0, &key.1, &self.spec))),
        }
    }
}

/// All of them, each with the content that it is.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    residents: BTreeMap<Key, (Digest, Resident)>,
    guests: Guests,
    /// Versions that could answer, and since when they cannot.
    lost: BTreeMap<Key, Option<Instant>>,
}

impl Loaded {
    /// Nothing yet, but for what is known of servers. Blocks.
    pub(super) fn open(data_dir: &Path) -> Self {
        Self { guests: Guests::open(data_dir), ..Self::default() }
    }

    /// A version, if it is loaded with this content.
    pub(super) fn get(&self, key: &Key, digest: &Digest) -> Option<&Resident> {
        let resident = self.residents.get(key).filter(|(loaded, _)| loaded == digest);
        resident.map(|(_, resident)| resident)
    }

    /// Who of the servers of a version are let in or not.
    pub(super) fn guests(&mut self) -> &mut Guests {
        &mut self.guests
    }

    /// Whether a version can answer now. Servers can while some are there that were let in: one that was lost is
    /// asked on only where no other version can stand in.
    pub(super) fn is_ready(&self, key: &Key, digest: &Digest, seen: &Seen) -> bool {
        match self.get(key, digest) {
            None => false,
            Some(Resident::Local(..)) => true,
            Some(Resident::Remote(servers)) => {
                !self.let_in_of(key, servers, servers.present(key, seen)).is_empty()
            }
        }
    }

    /// Whether there is anybody who can be asked for a version: its servers that are there, or those that went last.
    pub(super) fn can_be_asked(&self, key: &Key, digest: &Digest, seen: &Seen) -> bool {
        match self.get(key, digest) {
            Some(Resident::Remote(servers)) => !self.answering(key, servers, seen).is_empty(),
            _ => self.is_ready(key, digest, seen),
        }
    }

    /// The servers that may answer clients: those that are there, or those that went last.
    pub(super) fn answering(
        &self,
        key: &Key,
        servers: &Servers,
        seen: &Seen,
    ) -> Vec<BackendAddress> {
        self.let_in_of(key, servers, servers.members(key, seen))
    }

    fn let_in_of(
        &self,
        key: &Key,
        servers: &Servers,
        mut all: Vec<BackendAddress>,
    ) -> Vec<BackendAddress> {
        if servers.spec.discovered.is_some() {
            all.retain(|server| self.guests.may_answer(key, server));
        }
        all
    }

    /// `HOST:PORT` of the servers that were let in.
    pub(super) fn let_in(&self, key: &Key) -> BTreeSet<String> {
        self.guests.all(key)
    }

    /// How a version is served.
    pub(super) fn spec(&self, key: &Key, resident: &Resident, seen: &Seen) -> VersionSpec {
        match resident {
            Resident::Local(_, spec) => VersionSpec::Onnx(spec.clone()),
            Resident::Remote(servers) => {
                let addresses = self.answering(key, servers, seen);
                VersionSpec::Backends(BackendsSpec { addresses, ..servers.spec.clone() })
            }
        }
    }

    /// Takes servers that were not let in out of those that clients are sent to.
    pub(super) fn keep_out(&self, members: &mut Members) {
        for (kind, servers) in members {
            let TargetKind::Version(model, version) = kind else { continue };
            let key = (model.clone(), version.clone());
            if self.residents.contains_key(&key) {
                servers.retain(|server| self.guests.may_answer(&key, server));
            }
        }
    }

    /// Servers of a version that are to be asked who they are, or still are.
    pub(super) fn errands(
        &self,
        key: &Key,
        digest: &Digest,
        seen: &Seen,
    ) -> Vec<(BackendAddress, Errand)> {
        match self.get(key, digest) {
            Some(Resident::Remote(servers)) if servers.spec.discovered.is_some() => {
                self.guests.errands(key, &servers.members(key, seen))
            }
            _ => Vec::new(),
        }
    }

    /// Notes whether a version can answer now.
    pub(super) fn track(&mut self, key: &Key, is_ready: bool) {
        match self.lost.get_mut(key) {
            Some(since) if is_ready => *since = None,
            Some(since) => {
                since.get_or_insert_with(Instant::now);
            }
            None if is_ready => {
                self.lost.insert(key.clone(), None);
            }
            None => {}
        }
    }

    /// How long a version that could answer cannot.
    pub(super) fn lost_for(&self, key: &Key) -> Option<Duration> {
        self.lost.get(key).copied().flatten().map(|since| since.elapsed())
    }

    /// Notes that a version is loaded.
    pub(super) fn insert(&mut self, key: Key, digest: Digest, resident: Resident) {
        self.residents.insert(key, (digest, resident));
    }

    /// Lets a version go; whether it was there.
    pub(super) fn remove(&mut self, key: &Key) -> bool {
        self.lost.remove(key);
        self.residents.remove(key).is_some()
    }

    /// The servers of discovered versions, as they are seen now; the models of those where that differs from before.
    pub(super) fn meet(&mut self, before: &Seen, seen: &Seen) -> BTreeSet<ModelName> {
        let mut changed = BTreeSet::new();
        let several = Several::of(seen);
        for (key, (_, resident)) in &mut self.residents {
            let Resident::Remote(servers) = resident else { continue };
            if servers.spec.discovered.is_none() {
                continue;
            }
            let had = (servers.members(key, before), servers.present(key, before));
            // What an operator has said holds.
            let found = match servers.is_named {
                true => None,
                false => several.backends_of(seen, key).filter(|found| *found != servers.spec),
            };
            let is_new = found.is_some();
            if let Some(found) = found {
                servers.spec = found;
            }
            let has = (servers.members(key, seen), servers.present(key, seen));
            if is_new || had != has {
                changed.insert(key.0.clone());
            }
            self.guests.follow(key, &has.0);
        }
        changed
    }

    /// The models in this process.
    pub(super) fn models(&self) -> LoadedModels {
        let local =
            self.residents.iter().filter_map(|((model, version), (_, resident))| match resident {
                Resident::Local(loaded, _) => {
                    Some((TargetKind::Version(model.clone(), version.clone()), Arc::clone(loaded)))
                }
                Resident::Remote(_) => None,
            });
        local.collect()
    }

    /// Bytes of those versions of `model` that `stay`, as estimated.
    pub(super) fn memory(&self, model: &ModelName, stay: impl Fn(&VersionName) -> bool) -> u64 {
        let first = (model.clone(), VersionName::new(""));
        let of = self.residents.range(first..).take_while(|((name, _), _)| name == model);
        let of = of.filter(|((_, version), _)| stay(version));
        of.map(|(_, (_, resident))| match resident {
            Resident::Local(loaded, _) => loaded.memory(),
            Resident::Remote(_) => 0,
        })
        .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::discovery::{Answer, Endpoint, Keeper, Listing, Policy};
    use crate::domain::ids::{SourceName, VersionName};

    fn key() -> Key {
        (ModelName::new("m"), VersionName::new("v1"))
    }

    fn digest() -> Digest {
        Digest::new("a")
    }

    fn address(port: u16) -> BackendAddress {
        BackendAddress { host: "10.0.0.1".into(), port }
    }

    /// A view of servers at these ports, all of which serve this.
    fn seen(ports: &[u16], serves: Option<(&str, &str)>) -> Seen {
        let mut keeper = Keeper::new(Policy { shrink_after_ms: 0, confirm_ms: 0 });
        let mut listing = Listing::default();
        for port in ports {
            let serves =
                serves.map(|(model, version)| (ModelName::new(model), VersionName::new(version)));
            let endpoint = Endpoint { serves: serves.into_iter().collect(), ..Endpoint::default() };
            listing.backend(address(*port), endpoint);
        }
        keeper.observe(1, Answer::Whole(listing));
        let sources = [(SourceName::new("fleet"), Arc::new(keeper))];
        Seen::merge(1, 1, sources.into())
    }

    fn named() -> Resident {
        let spec = BackendsSpec {
            discovered: Some(SourceName::new("fleet")),
            remote_model: Some("theirs".to_owned()),
            remote_version: Some("7".to_owned()),
            ..BackendsSpec::default()
        };
        Resident::Remote(Servers { spec, is_named: true })
    }

    #[test]
    fn servers_are_found_by_the_names_that_they_have_for_it() {
        let mut loaded = Loaded::default();
        loaded.insert(key(), digest(), named());
        let (theirs, other) = (seen(&[1], Some(("theirs", "7"))), seen(&[1], Some(("m", "v1"))));
        assert_eq!(loaded.errands(&key(), &digest(), &theirs), [(address(1), Errand::Meet)]);
        assert_eq!(loaded.errands(&key(), &digest(), &other), []);
        loaded.guests().let_in(&key(), &address(1), Errand::Meet, BTreeSet::new());
        assert!(loaded.is_ready(&key(), &digest(), &theirs));
        assert!(!loaded.is_ready(&key(), &digest(), &other));
        let changed = loaded.meet(&theirs, &other);
        assert_eq!(changed, BTreeSet::from([key().0]), "its servers are gone");
        assert_eq!(loaded.meet(&other, &other), BTreeSet::new());
        let Some(Resident::Remote(servers)) = loaded.get(&key(), &digest()) else { panic!("gone") };
        assert_eq!(servers.spec.remote_version.as_deref(), Some("7"), "the operator's word holds");
    }

    #[test]
    fn a_server_that_comes_beside_others_makes_its_model_due() {
        let mut loaded = Loaded::default();
        loaded.insert(key(), digest(), named());
        let [one, two] = [&[1][..], &[1, 2]].map(|ports| seen(ports, Some(("theirs", "7"))));
        assert_eq!(loaded.meet(&one, &two), BTreeSet::from([key().0]), "it is to be asked");
        assert_eq!(loaded.meet(&two, &two), BTreeSet::new());
    }

    #[test]
    fn a_server_that_joins_is_no_member_until_it_is_let_in() {
        let mut loaded = Loaded::default();
        loaded.insert(key(), digest(), named());
        let all = seen(&[1, 2], Some(("theirs", "7")));
        let kind = TargetKind::Version(key().0, key().1);
        let members = |loaded: &Loaded| {
            let mut members = Members::from([(kind.clone(), vec![address(1), address(2)])]);
            loaded.keep_out(&mut members);
            members.remove(&kind).unwrap_or_default()
        };
        assert_eq!(members(&loaded), []);
        assert!(!loaded.is_ready(&key(), &digest(), &all));
        loaded.guests().let_in(&key(), &address(2), Errand::Meet, BTreeSet::new());
        assert_eq!(members(&loaded), [address(2)]);
        let Some(resident) = loaded.get(&key(), &digest()).cloned() else { panic!("gone") };
        let VersionSpec::Backends(spec) = loaded.spec(&key(), &resident, &all) else {
            panic!("it is at servers")
        };
        assert_eq!(spec.addresses, [address(2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_is_lost_only_after_it_could_answer_and_for_as_long_as_it_cannot() {
        let mut loaded = Loaded::default();
        loaded.track(&key(), false);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(loaded.lost_for(&key()), None, "it was never there");
        loaded.track(&key(), true);
        loaded.track(&key(), false);
        tokio::time::advance(Duration::from_secs(20)).await;
        loaded.track(&key(), false);
        assert_eq!(loaded.lost_for(&key()), Some(Duration::from_secs(20)));
        loaded.track(&key(), true);
        assert_eq!(loaded.lost_for(&key()), None);
    }
}
