//! Which of the servers of a version may answer its clients: those that have shown who they are.
//!
//! A version at servers is known by its name, and any server can claim a name. Owns who was let in, who was not and
//! when it is asked again, and the file that remembers it, so that a process that comes back trusts the same servers.
//! Who goes is forgotten: it may come back as another. Never asks a server, and says nothing about servers that an
//! operator has listed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::Key;
use super::work::pause_after;
use crate::control::store::{STATE_DIR, read, replace};
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::spec::BackendAddress;

/// The file below `state/`.
const FILE: &str = "lifecycle/servers.json";
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How long a server that was refused is not asked again.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// What the file has: by model and version, `HOST:PORT` of each server.
type Written = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Guests {
    let_in: BTreeMap<Key, BTreeSet<String>>,
    /// Those that were not let in.
    turned_away: BTreeMap<Key, BTreeMap<String, TurnedAway>>,
    file: Option<PathBuf>,
    /// The file says something else.
    is_stale: bool,
}

#[derive(Debug)]
struct TurnedAway {
    attempts: u32,
    until: Instant,
}

impl Guests {
    /// Reads who was let in before. Blocks.
    pub(super) fn open(data_dir: &Path) -> Self {
        let file = data_dir.join(STATE_DIR).join(FILE);
        let written = read(&file, FILE_BYTES_MAX).and_then(|bytes| {
            let bytes = bytes.unwrap_or_else(|| b"{}".to_vec());
            serde_json::from_slice::<Written>(&bytes).map_err(io::Error::other)
        });
        let written = written.unwrap_or_else(|error| {
            let path = file.display();
            tracing::warn!(%path, %error, "which servers were checked is not known: all are asked again");
            Written::new()
        });
        let models = written.into_iter().flat_map(|(model, versions)| {
            versions.into_iter().map(move |(version, servers)| {
                ((ModelName::new(model.as_str()), VersionName::new(version)), servers)
            })
        });
        Self { let_in: models.collect(), file: Some(file), ..Self::default() }
    }

    /// Whether a server may answer.
    pub(super) fn may_answer(&self, key: &Key, server: &BackendAddress) -> bool {
        self.let_in.get(key).is_some_and(|servers| servers.contains(&server.authority()))
    }

    /// `HOST:PORT` of all that were let in.
    pub(super) fn all(&self, key: &Key) -> BTreeSet<String> {
        self.let_in.get(key).cloned().unwrap_or_default()
    }

    /// Those of `present` that are to be asked who they are now.
    pub(super) fn strangers(&self, key: &Key, present: &[BackendAddress]) -> Vec<BackendAddress> {
        let now = Instant::now();
        let turned_away = self.turned_away.get(key);
        let is_due = |server: &&BackendAddress| {
            let away = turned_away.and_then(|servers| servers.get(&server.authority()));
            away.is_none_or(|away| away.until <= now)
        };
        let strangers = present.iter().filter(|server| !self.may_answer(key, server));
        strangers.filter(is_due).cloned().collect()
    }

    /// Lets a server in.
    pub(super) fn let_in(&mut self, key: &Key, server: &BackendAddress) {
        let name = server.authority();
        if let Some(servers) = self.turned_away.get_mut(key) {
            servers.remove(&name);
        }
        self.is_stale |= self.let_in.entry(key.clone()).or_default().insert(name);
    }

    /// A server is another than it claims to be.
    pub(super) fn refuse(&mut self, key: &Key, server: &BackendAddress) {
        self.turn_away(key, server, |_| REFUSED_PAUSE);
    }

    /// A server could not be asked.
    pub(super) fn missed(&mut self, key: &Key, server: &BackendAddress) {
        self.turn_away(key, server, pause_after);
    }

    fn turn_away(&mut self, key: &Key, server: &BackendAddress, pause: impl Fn(u32) -> Duration) {
        let servers = self.turned_away.entry(key.clone()).or_default();
        let away = servers.entry(server.authority());
        let away = away.or_insert_with(|| TurnedAway { attempts: 0, until: Instant::now() });
        away.attempts = away.attempts.saturating_add(1);
        away.until = Instant::now() + pause(away.attempts);
    }

    /// Forgets the servers of a version that have gone.
    pub(super) fn follow(&mut self, key: &Key, present: &[BackendAddress]) {
        let present: BTreeSet<String> = present.iter().map(BackendAddress::authority).collect();
        if let Some(servers) = self.let_in.get_mut(key) {
            let before = servers.len();
            servers.retain(|server| present.contains(server));
            self.is_stale |= servers.len() != before;
        }
        if let Some(servers) = self.turned_away.get_mut(key) {
            servers.retain(|server, _| present.contains(server));
        }
    }

    /// Forgets all versions but these.
    pub(super) fn retain(&mut self, is_known: impl Fn(&Key) -> bool) {
        let before = self.let_in.len();
        self.let_in.retain(|key, _| is_known(key));
        self.turned_away.retain(|key, _| is_known(key));
        self.is_stale |= self.let_in.len() != before;
    }

    /// Forgets all versions of a model but these.
    pub(super) fn retain_of(&mut self, model: &ModelName, is_known: impl Fn(&VersionName) -> bool) {
        for key in others(&self.let_in, model, &is_known) {
            self.let_in.remove(&key);
            self.is_stale = true;
        }
        for key in others(&self.turned_away, model, &is_known) {
            self.turned_away.remove(&key);
        }
    }

    /// The file, if it has to be written, and what is to be in it. From now on it counts as written.
    pub(super) fn take_news(&mut self) -> Option<(PathBuf, Vec<u8>)> {
        let file = self.file.clone().filter(|_| self.is_stale)?;
        self.is_stale = false;
        let mut written = Written::new();
        for ((model, version), servers) in self.let_in.iter().filter(|(_, it)| !it.is_empty()) {
            let versions = written.entry(model.to_string()).or_default();
            versions.insert(version.to_string(), servers.clone());
        }
        Some((file, serde_json::to_vec(&written).ok()?))
    }
}

/// Versions of a model that are not known any more.
fn others<V>(
    noted: &BTreeMap<Key, V>,
    model: &ModelName,
    is_known: impl Fn(&VersionName) -> bool,
) -> Vec<Key> {
    let first = (model.clone(), VersionName::new(""));
    let of = noted.range(first..).map(|(key, _)| key).take_while(|(of, _)| of == model);
    of.filter(|(_, version)| !is_known(version)).cloned().collect()
}

/// Writes the file. Blocks.
pub(super) fn write((path, bytes): (PathBuf, Vec<u8>)) {
    if let Err(error) = replace(&path, &bytes) {
        let path = path.display();
        tracing::warn!(%path, %error, "which servers were checked is not written: after a start all are asked again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        (ModelName::new("m"), VersionName::new("v1"))
    }

    fn servers(ports: &[u16]) -> Vec<BackendAddress> {
        ports.iter().map(|port| BackendAddress { host: "10.0.0.1".into(), port: *port }).collect()
    }

    #[test]
    fn servers_answer_once_they_were_let_in_and_not_after_they_were_gone() {
        let (mut guests, key, all) = (Guests::default(), key(), servers(&[1, 2]));
        assert_eq!(guests.strangers(&key, &all), all);
        guests.let_in(&key, &all[0]);
        assert!(guests.may_answer(&key, &all[0]) && !guests.may_answer(&key, &all[1]));
        assert_eq!(guests.strangers(&key, &all), servers(&[2]));
        guests.follow(&key, &servers(&[2]));
        guests.follow(&key, &all);
        assert_eq!(guests.strangers(&key, &all), all, "it was away, and may be another");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_was_refused_is_asked_again_after_a_pause() {
        let (mut guests, key, all) = (Guests::default(), key(), servers(&[1, 2]));
        guests.refuse(&key, &all[0]);
        guests.missed(&key, &all[1]);
        assert_eq!(guests.strangers(&key, &all), []);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(guests.strangers(&key, &all), servers(&[2]));
        tokio::time::advance(REFUSED_PAUSE).await;
        assert_eq!(guests.strangers(&key, &all), all);
    }

    #[test]
    fn versions_that_are_gone_are_forgotten_and_those_of_other_models_are_not() {
        let (mut guests, all) = (Guests::default(), servers(&[1]));
        let keys = [("a", "v1"), ("m", "v1"), ("m", "v2"), ("z", "v1")]
            .map(|(model, version)| (ModelName::new(model), VersionName::new(version)));
        keys.iter().for_each(|key| guests.let_in(key, &all[0]));
        guests.refuse(&keys[1], &servers(&[2])[0]);
        guests.retain_of(&ModelName::new("m"), |version| version.as_str() == "v2");
        let kept = keys.each_ref().map(|key| guests.may_answer(key, &all[0]));
        assert_eq!(kept, [true, false, true, true]);
        assert!(guests.turned_away.is_empty());
    }

    #[test]
    fn who_was_let_in_is_let_in_after_a_start_and_a_damaged_file_trusts_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let (key, all) = (key(), servers(&[1]));
        let mut guests = Guests::open(dir.path());
        assert_eq!(guests.take_news(), None);
        guests.let_in(&key, &all[0]);
        write(guests.take_news().expect("news"));
        assert_eq!(guests.take_news(), None, "nothing new");
        assert!(Guests::open(dir.path()).may_answer(&key, &all[0]));
        guests.retain(|_| false);
        write(guests.take_news().expect("news"));
        assert!(!Guests::open(dir.path()).may_answer(&key, &all[0]));
        std::fs::write(dir.path().join("state/lifecycle/servers.json"), "{").unwrap();
        assert!(!Guests::open(dir.path()).may_answer(&key, &all[0]));
    }
}
