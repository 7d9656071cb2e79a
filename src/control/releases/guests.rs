//! Which of the servers of a version may answer its clients: those that have shown who they are.
//!
//! A version at servers is known by its name, and any server can claim a name. Owns who was let in, who was not and
//! when each is asked again, and the file that remembers it, so that a process that comes back trusts the same servers.
//! Who goes is forgotten: it may come back as another. So may one that was away while nobody saw it go, or that was
//! started anew at its address: those that were let in are asked again, too. Never asks a server, and says nothing
//! about servers that an operator has listed.
//!
//! ```text
//! stranger ── meet ──▶ let in ─┬─ watch: each minute, or soon after clients were failed ─┬─▶ the same: let in
//!    ▲ a minute                  ├─ meet: each ten minutes                                ├─▶ cannot be asked: meet in 5 s
//!    └── turned away ◀── another ─┴────────────────────────────────────────────────────────┘
//! ```

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
/// How often a server that was let in is asked again who it is.
const WATCHED_EVERY: Duration = Duration::from_secs(60);
/// How often its answers are held against those of the others as well.
const MET_EVERY: Duration = Duration::from_secs(600);
/// How often one is asked that could not be asked the last time.
const DOUBTED_EVERY: Duration = Duration::from_secs(5);
/// How often one is asked while its version fails clients.
const FAILING_EVERY: Duration = Duration::from_secs(10);

/// What the file has: by model and version, `HOST:PORT` of each server with the versions that it said it has.
type Written = BTreeMap<String, BTreeMap<String, BTreeMap<String, BTreeSet<String>>>>;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Guests {
    let_in: BTreeMap<Key, BTreeMap<String, Guest>>,
    /// Those that were not let in.
    turned_away: BTreeMap<Key, BTreeMap<String, TurnedAway>>,
    file: Option<PathBuf>,
    /// The file says something else.
    is_stale: bool,
}

/// What a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    /// Who it is, and whether it answers as the others do.
    Meet,
    /// Who it is.
    Watch,
}

/// One that was let in.
#[derive(Debug, Clone)]
struct Guest {
    /// What it said it has, by its own names; none where it does not say.
    versions: BTreeSet<String>,
    asked: Instant,
    watch_at: Instant,
    meet_at: Instant,
}

impl Guest {
    /// It was asked now, and is to be met at that time.
    fn asked_now(versions: BTreeSet<String>, meet_at: Instant) -> Self {
        let asked = Instant::now();
        Self { versions, asked, watch_at: asked + WATCHED_EVERY, meet_at }
    }

    /// It may have become another since it was asked.
    fn in_doubt(versions: BTreeSet<String>) -> Self {
        Self::asked_now(versions, Instant::now() + DOUBTED_EVERY)
    }

    /// What it is to be asked now.
    fn errand(&self, now: Instant) -> Option<Errand> {
        let meets = (self.meet_at <= now).then_some(Errand::Meet);
        meets.or_else(|| (self.watch_at <= now).then_some(Errand::Watch))
    }
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
                let key = (ModelName::new(model.as_str()), VersionName::new(version));
                // While this process was away they may have become others.
                let guest = |(server, versions)| (server, Guest::in_doubt(versions));
                (key, servers.into_iter().map(guest).collect())
            })
        });
        Self { let_in: models.collect(), file: Some(file), ..Self::default() }
    }

    /// Whether a server may answer.
    pub(super) fn may_answer(&self, key: &Key, server: &BackendAddress) -> bool {
        self.let_in.get(key).is_some_and(|servers| servers.contains_key(&server.authority()))
    }

    /// `HOST:PORT` of all that were let in.
    pub(super) fn all(&self, key: &Key) -> BTreeSet<String> {
        let servers = self.let_in.get(key);
        servers.map(|servers| servers.keys().cloned().collect()).unwrap_or_default()
    }

    /// Those of `present` that are to be asked now, strangers first.
    pub(super) fn errands(
        &self,
        key: &Key,
        present: &[BackendAddress],
    ) -> Vec<(BackendAddress, Errand)> {
        let now = Instant::now();
        let (let_in, turned_away) = (self.let_in.get(key), self.turned_away.get(key));
        let (mut strangers, mut guests) = (Vec::new(), Vec::new());
        for server in present {
            let name = server.authority();
            if let Some(guest) = let_in.and_then(|servers| servers.get(&name)) {
                guests.extend(guest.errand(now).map(|errand| (server.clone(), errand)));
                continue;
            }
            let away = turned_away.and_then(|servers| servers.get(&name));
            if away.is_none_or(|away| away.until <= now) {
                strangers.push((server.clone(), Errand::Meet));
            }
        }
        strangers.append(&mut guests);
        strangers
    }

    /// What a server that was let in says of itself that it did not say then. Its names are its own; that they are other
    /// ones by now is another matter.
    pub(super) fn contradicts(
        &self,
        key: &Key,
        server: &BackendAddress,
        versions: &BTreeSet<String>,
    ) -> Option<String> {
        let before = &self.let_in.get(key)?.get(&server.authority())?.versions;
        let differs = !before.is_empty() && !versions.is_empty() && before != versions;
        let named = |versions: &BTreeSet<String>| {
            versions.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        };
        differs.then(|| {
            format!("it says that it has {}, and said {} before", named(versions), named(before))
        })
    }

    /// Lets a server in, or finds it to be who it was; whether it is a new one.
    pub(super) fn let_in(
        &mut self,
        key: &Key,
        server: &BackendAddress,
        errand: Errand,
        versions: BTreeSet<String>,
    ) -> bool {
        let name = server.authority();
        if let Some(servers) = self.turned_away.get_mut(key) {
            servers.remove(&name);
        }
        let servers = self.let_in.entry(key.clone()).or_default();
        let before = servers.get(&name).filter(|_| errand == Errand::Watch);
        let meet_at = before.map_or_else(|| Instant::now() + MET_EVERY, |before| before.meet_at);
        // One that does not tell any more is still known by what it told.
        let known = servers.get(&name).map(|guest| guest.versions.clone()).unwrap_or_default();
        let says_more = known.is_empty() && !versions.is_empty();
        let versions = if versions.is_empty() { known } else { versions };
        let is_new = servers.insert(name, Guest::asked_now(versions, meet_at)).is_none();
        self.is_stale |= is_new || says_more;
        is_new
    }

    /// A server is another than it claims to be; whether it was let in until now.
    pub(super) fn refuse(&mut self, key: &Key, server: &BackendAddress) -> bool {
        let servers = self.let_in.get_mut(key);
        let was_in = servers.is_some_and(|servers| servers.remove(&server.authority()).is_some());
        self.is_stale |= was_in;
        self.turn_away(key, server, |_| REFUSED_PAUSE);
        was_in
    }

    /// A server could not be asked. One that was let in stays: it may just be busy, and clients find out whether it
    /// answers.
    pub(super) fn missed(&mut self, key: &Key, server: &BackendAddress) {
        let servers = self.let_in.get_mut(key);
        match servers.and_then(|servers| servers.get_mut(&server.authority())) {
            Some(guest) => *guest = Guest::in_doubt(std::mem::take(&mut guest.versions)),
            None => self.turn_away(key, server, pause_after),
        }
    }

    /// A version has failed clients: its servers are asked soon whether they still are who they were.
    pub(super) fn hasten(&mut self, key: &Key) {
        for guest in self.let_in.get_mut(key).into_iter().flat_map(BTreeMap::values_mut) {
            guest.watch_at = guest.watch_at.min(guest.asked + FAILING_EVERY);
        }
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
            servers.retain(|server, _| present.contains(server));
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
            let servers =
                servers.iter().map(|(name, guest)| (name.clone(), guest.versions.clone()));
            versions.insert(version.to_string(), servers.collect());
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

    /// Lets one in that says it has `v1`.
    fn let_in(guests: &mut Guests, key: &Key, server: &BackendAddress, errand: Errand) -> bool {
        guests.let_in(key, server, errand, ["v1".to_owned()].into())
    }

    #[test]
    fn one_that_names_other_versions_than_before_is_another_and_silence_is_none() {
        let (mut guests, key, all) = (Guests::default(), key(), servers(&[1]));
        let says = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let told =
            |guests: &Guests, names: &[&str]| guests.contradicts(&key, &all[0], &says(names));
        assert_eq!(told(&guests, &["v9"]), None, "a stranger has said nothing yet");
        guests.let_in(&key, &all[0], Errand::Meet, says(&[]));
        assert_eq!(told(&guests, &["v1"]), None, "it did not tell");
        guests.let_in(&key, &all[0], Errand::Watch, says(&["v1"]));
        guests.let_in(&key, &all[0], Errand::Watch, says(&[]));
        guests.missed(&key, &all[0]);
        assert_eq!(told(&guests, &["v1"]), None);
        let words = told(&guests, &["v1", "v2"]).expect("another");
        assert_eq!(words, "it says that it has v1, v2, and said v1 before");
    }

    /// The ports of the servers that are to meet us, and of those that are watched.
    fn errands(guests: &Guests, all: &[BackendAddress]) -> (Vec<u16>, Vec<u16>) {
        let due = guests.errands(&key(), all);
        let of = |wanted: Errand| {
            let due = due.iter().filter(move |(_, errand)| *errand == wanted);
            due.map(|(server, _)| server.port).collect()
        };
        (of(Errand::Meet), of(Errand::Watch))
    }

    #[test]
    fn servers_answer_once_they_were_let_in_and_not_after_they_were_gone() {
        let (mut guests, key, all) = (Guests::default(), key(), servers(&[1, 2]));
        assert_eq!(errands(&guests, &all), (vec![1, 2], vec![]));
        assert!(let_in(&mut guests, &key, &all[0], Errand::Meet));
        assert!(guests.may_answer(&key, &all[0]) && !guests.may_answer(&key, &all[1]));
        assert_eq!(errands(&guests, &all), (vec![2], vec![]));
        guests.follow(&key, &servers(&[2]));
        guests.follow(&key, &all);
        assert_eq!(errands(&guests, &all), (vec![1, 2], vec![]), "it was away, and may be another");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_was_refused_is_asked_again_after_a_pause() {
        let (mut guests, key, all) = (Guests::default(), key(), servers(&[1, 2]));
        assert!(!guests.refuse(&key, &all[0]), "it never answered");
        guests.missed(&key, &all[1]);
        assert_eq!(errands(&guests, &all), (vec![], vec![]));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(errands(&guests, &all), (vec![2], vec![]));
        tokio::time::advance(REFUSED_PAUSE).await;
        assert_eq!(errands(&guests, &all), (vec![1, 2], vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_let_in_is_watched_and_met_again_now_and_then() {
        let (mut guests, key, all) = (Guests::default(), key(), servers(&[1]));
        let_in(&mut guests, &key, &all[0], Errand::Meet);
        for minute in 1..10 {
            tokio::time::advance(WATCHED_EVERY).await;
            assert_eq!(errands(&guests, &all), (vec![], vec![1]), "minute {minute}");
            assert!(!let_in(&mut guests, &key, &all[0], Errand::Watch), "it is no new one");
            assert_eq!(errands(&guests, &all), (vec![], vec![]));
        }
        tokio::time::advance(WATCHED_EVERY).await;
        assert_eq!(errands(&guests, &all), (vec![1], vec![]), "its answers are compared as well");
        let_in(&mut guests, &key, &all[0], Errand::Meet);
        assert_eq!(errands(&guests, &all), (vec![], vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_version_fails_clients_its_servers_are_asked_more_often() {
        let (mut guests, key, all) = (Guests::default(), key(), servers(&[1]));
        let_in(&mut guests, &key, &all[0], Errand::Meet);
        guests.hasten(&key);
        assert_eq!(errands(&guests, &all), (vec![], vec![]), "it was asked a moment ago");
        tokio::time::advance(FAILING_EVERY).await;
        assert_eq!(errands(&guests, &all), (vec![], vec![1]));
        let_in(&mut guests, &key, &all[0], Errand::Watch);
        tokio::time::advance(FAILING_EVERY).await;
        assert_eq!(errands(&guests, &all), (vec![], vec![]), "it fails nobody any more");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_cannot_be_asked_stays_and_is_met_as_soon_as_it_is_back() {
        let (mut guests, key, all) = (Guests::default(), key(), servers(&[1]));
        let_in(&mut guests, &key, &all[0], Errand::Meet);
        tokio::time::advance(WATCHED_EVERY).await;
        for _ in 0..3 {
            guests.missed(&key, &all[0]);
            assert!(guests.may_answer(&key, &all[0]), "it may just be busy");
            assert_eq!(errands(&guests, &all), (vec![], vec![]));
            tokio::time::advance(DOUBTED_EVERY).await;
            assert_eq!(errands(&guests, &all), (vec![1], vec![]));
        }
        assert!(guests.refuse(&key, &all[0]), "it has come back as another");
        assert!(!guests.may_answer(&key, &all[0]));
        assert_eq!(errands(&guests, &all), (vec![], vec![]));
    }

    #[test]
    fn versions_that_are_gone_are_forgotten_and_those_of_other_models_are_not() {
        let (mut guests, all) = (Guests::default(), servers(&[1]));
        let keys = [("a", "v1"), ("m", "v1"), ("m", "v2"), ("z", "v1")]
            .map(|(model, version)| (ModelName::new(model), VersionName::new(version)));
        for key in &keys {
            let_in(&mut guests, key, &all[0], Errand::Meet);
        }
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
        let_in(&mut guests, &key, &all[0], Errand::Meet);
        write(guests.take_news().expect("news"));
        assert_eq!(guests.take_news(), None, "nothing new");
        let again = Guests::open(dir.path());
        assert!(again.may_answer(&key, &all[0]));
        let soon = Instant::now() + DOUBTED_EVERY;
        assert!(again.let_in[&key].values().all(|guest| guest.meet_at <= soon), "it is asked soon");
        guests.retain(|_| false);
        write(guests.take_news().expect("news"));
        assert!(!Guests::open(dir.path()).may_answer(&key, &all[0]));
        std::fs::write(dir.path().join("state/lifecycle/servers.json"), "{").unwrap();
        assert!(!Guests::open(dir.path()).may_answer(&key, &all[0]));
    }
}
