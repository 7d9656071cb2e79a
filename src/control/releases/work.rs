//! Work on versions that takes a while: fetching, checking, loading, looking, deleting.
//!
//! Owns the tasks, one of a kind for each version at a time, how many there may be at once, and the pause after
//! a failure. What versions that serve need never waits for one on trial, and a replay, which others bound, waits
//! for nothing here. A task that nobody wants any more is ended, and what it would have found is lost. Never decides
//! what is to be done.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::Instant;

use super::Key;
use super::guests::Errand;
use super::loaded::Resident;
use crate::control::admission::{Checked, Looked, Shown};
use crate::control::load::NotLoaded;
use crate::domain::ids::Digest;
use crate::domain::lifecycle::evidence::Warmth;
use crate::domain::lifecycle::proof::Fetched;
use crate::domain::lifecycle::stage::Stage;
use crate::domain::lifecycle::time::Steady;
use crate::domain::spec::BackendAddress;

/// Pieces of work in the same room that are done at the same time; the others wait.
const AT_ONCE: usize = 2;
/// The first pause after a failure; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    Fetch,
    Check,
    Warm,
    Load,
    Look,
    /// Servers that have come, and those that answer, are asked who they are.
    Join,
    Replay,
    Delete,
}

impl Task {
    /// Where it is done; `None` where others see to it that it is not too much.
    const fn room(self) -> Option<Room> {
        match self {
            Self::Fetch | Self::Delete => Some(Room::Files),
            Self::Check | Self::Warm => Some(Room::Trial),
            Self::Load => Some(Room::Load),
            Self::Look => Some(Room::Look),
            // Servers that are silent hold up no look at a way back.
            Self::Join => Some(Room::Join),
            Self::Replay => None,
        }
    }

    /// Whether a version at `stage` still wants it.
    pub(super) const fn is_wanted_at(self, stage: &Stage) -> bool {
        match self {
            Self::Fetch => matches!(stage, Stage::Staged(_)),
            Self::Check => matches!(stage, Stage::Validating(_)),
            Self::Warm => matches!(stage, Stage::Warming(_)),
            // One on trial that may have to take over is looked at as well.
            Self::Load | Self::Look => matches!(
                stage,
                Stage::Shadow(_) | Stage::Canary(_) | Stage::Live(_) | Stage::Standby(_)
            ),
            Self::Join => matches!(
                stage,
                Stage::Warming(_)
                    | Stage::Shadow(_)
                    | Stage::Canary(_)
                    | Stage::Live(_)
                    | Stage::Standby(_)
            ),
            Self::Replay => matches!(stage, Stage::Shadow(_)),
            // Once begun it is carried to its end.
            Self::Delete => true,
        }
    }
}

/// What does not get into each other's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    Files,
    Trial,
    Load,
    Look,
    Join,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Found {
    /// A copy, or why there is none and whether the content is another one.
    Fetched(Result<Fetched, (String, bool)>),
    /// The checks, and the version if it was loaded for them.
    Checked(Option<Resident>, Result<Checked, String>),
    /// What the warm-up measured, and the version if it was loaded for it.
    Warmed(Option<Resident>, Result<Warmth, String>),
    /// The version, loaded.
    Loaded(Result<Resident, NotLoaded>),
    /// A fresh look, or why nobody could look.
    Looked(Result<Looked, String>),
    /// What each server was found to be, or why it could not be asked.
    Joined(Vec<(BackendAddress, Errand, Result<Shown, String>)>),
    /// Logged requests were asked again, or why none was.
    Replayed(Result<(), String>),
    /// The artifact is gone, or why not.
    Deleted(Result<(), String>),
}

/// A piece of work that has ended.
#[derive(Debug)]
pub(in crate::control) struct Report {
    pub(super) key: Key,
    pub(super) task: Task,
    pub(super) digest: Digest,
    /// `None`: it panicked.
    pub(super) found: Option<Found>,
}

/// All work under way.
#[derive(Debug)]
pub(super) struct Work {
    tasks: JoinSet<Found>,
    running: BTreeMap<(Key, Task), Running>,
    failed: BTreeMap<(Key, Task), Failures>,
    /// How long earlier attempts have waited for room.
    waited: BTreeMap<(Key, Task), Duration>,
    rooms: BTreeMap<Room, Arc<Semaphore>>,
    /// What was last begun aside.
    aside: Option<JoinHandle<()>>,
}

/// A piece of work under way.
#[derive(Debug)]
struct Running {
    digest: Digest,
    handle: AbortHandle,
    asked: Instant,
    /// When there was room for it.
    began: Arc<OnceLock<Instant>>,
}

/// How things stand with the work on a version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Its artifact is being deleted.
    pub(super) deleting: bool,
    /// It is to be fetched, and there is no room for that yet.
    pub(super) fetch_waits: bool,
    /// The same for its checks.
    pub(super) check_waits: bool,
    /// The same for its warm-up.
    pub(super) warm_waits: bool,
    /// For how long the work of its stage has waited for room, with earlier attempts.
    pub(super) waited: Duration,
}

impl Running {
    /// Whether it still waits for room.
    fn waits(&self) -> bool {
        self.began.get().is_none()
    }

    fn waited(&self) -> Duration {
        let until = self.began.get().copied().unwrap_or_else(Instant::now);
        until.saturating_duration_since(self.asked)
    }
}

/// Failures in a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failures {
    pub(super) attempts: u32,
    /// When the first of them was.
    pub(super) since: Steady,
    /// When it may be tried again.
    until: Instant,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            failed: BTreeMap::new(),
            waited: BTreeMap::new(),
            aside: None,
            rooms: [Room::Files, Room::Trial, Room::Load, Room::Look, Room::Join]
                .into_iter()
                .map(|room| (room, Arc::new(Semaphore::new(AT_ONCE))))
                .collect(),
        }
    }
}

impl Work {
    /// Whether a piece of work may begin now: it is not under way, and the pause after a failure is over.
    pub(super) fn may_begin(&self, key: &Key, task: Task) -> bool {
        let name = (key.clone(), task);
        let rests = self.failed.get(&name).is_some_and(|failed| Instant::now() < failed.until);
        !rests && !self.running.contains_key(&name)
    }

    /// Begins a piece of work; it waits until there is room for it.
    pub(super) fn begin(
        &mut self,
        key: Key,
        task: Task,
        digest: Digest,
        work: impl Future<Output = Found> + Send + 'static,
    ) {
        let room = task.room().and_then(|room| self.rooms.get(&room)).map(Arc::clone);
        let began = Arc::new(OnceLock::new());
        let begins = Arc::clone(&began);
        let handle = self.tasks.spawn(async move {
            let _permit = match room {
                // It is never closed.
                Some(room) => room.acquire_owned().await.ok(),
                None => None,
            };
            let _first = begins.set(Instant::now());
            work.await
        });
        let running = Running { digest, handle, asked: Instant::now(), began };
        self.running.insert((key, task), running);
    }

    /// How things stand with the work on a version at `stage`.
    pub(super) fn standing(&self, key: &Key, stage: &Stage) -> Standing {
        let waited = match stage {
            Stage::Validating(_) => self.waited(key, Task::Check),
            Stage::Warming(_) => self.waited(key, Task::Warm),
            _ => Duration::ZERO,
        };
        let mut standing = Standing { waited, ..Standing::default() };
        for ((_, task), running) in self.running.range(every_task(key)) {
            match task {
                Task::Fetch => standing.fetch_waits = running.waits(),
                Task::Check => standing.check_waits = running.waits(),
                Task::Warm => standing.warm_waits = running.waits(),
                Task::Delete => standing.deleting = true,
                Task::Load | Task::Look | Task::Join | Task::Replay => {}
            }
        }
        standing
    }

    /// How long a piece of work has waited for room, with its earlier attempts.
    fn waited(&self, key: &Key, task: Task) -> Duration {
        let name = (key.clone(), task);
        let before = self.waited.get(&name).copied().unwrap_or_default();
        before + self.running.get(&name).map(Running::waited).unwrap_or_default()
    }

    /// Forgets what has failed and waited of a version at `stage` that does not want it any more: when it wants it
    /// again, that is another matter.
    pub(super) fn forget(&mut self, key: &Key, stage: &Stage) {
        forget_of(&mut self.failed, key, stage);
        forget_of(&mut self.waited, key, stage);
    }

    /// Whether any work of this kind is under way.
    pub(super) fn is_under_way(&self, task: Task) -> bool {
        self.running.keys().any(|(_, running)| *running == task)
    }

    /// Ends what is not wanted any more: `stage` tells where a content is now.
    pub(super) fn drop_unwanted<'a>(
        &mut self,
        stage: impl Fn(&Key, &Digest) -> Option<&'a Stage>,
    ) -> Vec<(Key, Task)> {
        let is_wanted = |(key, task): &(Key, Task), digest: &Digest| {
            *task == Task::Delete
                || stage(key, digest).is_some_and(|stage| task.is_wanted_at(stage))
        };
        let unwanted =
            self.running.iter().filter(|(name, running)| !is_wanted(name, &running.digest));
        let unwanted: Vec<(Key, Task)> = unwanted.map(|(name, _)| name.clone()).collect();
        for name in &unwanted {
            if let Some(running) = self.running.remove(name) {
                running.handle.abort();
            }
            self.failed.remove(name);
            self.waited.remove(name);
        }
        unwanted
    }

    /// Does something small that blocks and of which nothing comes, one after the other.
    pub(super) fn aside(&mut self, job: impl FnOnce() + Send + 'static) {
        let before = self.aside.take();
        self.aside = Some(tokio::spawn(async move {
            if let Some(before) = before {
                drop(before.await);
            }
            drop(tokio::task::spawn_blocking(job).await);
        }));
    }

    /// Waits for the next piece of work that ends; for ever where there is none. Loses nothing when it is
    /// dropped before that.
    pub(super) async fn next(&mut self) -> Report {
        loop {
            let Some(ended) = self.tasks.join_next_with_id().await else {
                std::future::pending::<()>().await;
                continue;
            };
            let (id, found) = match ended {
                Ok((id, found)) => (id, Some(found)),
                Err(error) => (error.id(), None),
            };
            let name = self.running.iter().find(|(_, running)| running.handle.id() == id);
            // What was ended because nobody wanted it is not there any more.
            let Some(name) = name.map(|(name, _)| name.clone()) else { continue };
            let Some(running) = self.running.remove(&name) else { continue };
            *self.waited.entry(name.clone()).or_default() += running.waited();
            let digest = running.digest;
            let (key, task) = name;
            return Report { key, task, digest, found };
        }
    }

    /// Notes how a piece of work ended, at `now`; what has failed in a row.
    pub(super) fn note(&mut self, key: &Key, task: Task, failed: bool, now: Steady) -> Failures {
        let name = (key.clone(), task);
        let first = Failures { attempts: 0, since: now, until: Instant::now() };
        if !failed {
            self.failed.remove(&name);
            return first;
        }
        let before = self.failed.get(&name).copied().unwrap_or(first);
        let attempts = before.attempts.saturating_add(1);
        let until = Instant::now() + pause_after(attempts);
        let failures = Failures { attempts, until, ..before };
        self.failed.insert(name, failures);
        failures
    }
}

/// All that is noted of one version.
fn every_task(key: &Key) -> RangeInclusive<(Key, Task)> {
    (key.clone(), Task::Fetch)..=(key.clone(), Task::Delete)
}

fn forget_of<V>(noted: &mut BTreeMap<(Key, Task), V>, key: &Key, stage: &Stage) {
    // Of nearly all there is nothing.
    let names = noted.range(every_task(key)).map(|(name, _)| name);
    let unwanted: Vec<(Key, Task)> =
        names.filter(|(_, task)| !task.is_wanted_at(stage)).cloned().collect();
    for name in unwanted {
        noted.remove(&name);
    }
}

/// The pause after so many failures in a row.
pub(super) fn pause_after(attempts: u32) -> Duration {
    PAUSE.saturating_mul(1 << attempts.min(8).saturating_sub(1)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ModelName, VersionName};

    fn key(version: &str) -> Key {
        (ModelName::new("m"), VersionName::new(version))
    }

    fn staged() -> Stage {
        serde_json::from_str(r#"{"staged":{}}"#).expect("a stage")
    }

    fn validating() -> Stage {
        let json = r#"{"validating":{"fetched":{"bytes":1,"took_ms":1}}}"#;
        serde_json::from_str(json).expect("a stage")
    }

    fn live() -> Stage {
        serde_json::from_str(r#"{"live":{}}"#).expect("a stage")
    }

    fn digest() -> Digest {
        Digest::new("a")
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_followed_by_pauses_that_grow_to_a_bound() {
        let mut work = Work::default();
        let key = key("v1");
        assert!(work.may_begin(&key, Task::Fetch));
        for attempt in 1..20 {
            let failures = work.note(&key, Task::Fetch, true, Steady(attempt));
            assert_eq!((u64::from(failures.attempts), failures.since), (attempt, Steady(1)));
            assert!(!work.may_begin(&key, Task::Fetch));
            assert!(work.may_begin(&key, Task::Check), "another kind of work is another matter");
            tokio::time::advance(PAUSE_MAX).await;
            assert!(work.may_begin(&key, Task::Fetch));
        }
        work.note(&key, Task::Fetch, true, Steady(30));
        work.note(&key, Task::Fetch, false, Steady(30));
        assert!(work.may_begin(&key, Task::Fetch));
        work.note(&key, Task::Fetch, true, Steady(40));
        work.forget(&key, &staged());
        assert!(!work.may_begin(&key, Task::Fetch), "it is wanted still");
        work.forget(&key, &live());
        assert_eq!(work.note(&key, Task::Fetch, true, Steady(50)).attempts, 1, "a new try");
    }

    #[tokio::test(start_paused = true)]
    async fn what_serves_waits_for_nobody_and_waiting_is_told_apart() {
        let mut work = Work::default();
        for version in ["v1", "v2", "v3"] {
            work.begin(key(version), Task::Check, digest(), std::future::pending());
        }
        work.begin(key("v4"), Task::Replay, digest(), std::future::pending());
        work.begin(key("v5"), Task::Replay, digest(), std::future::pending());
        work.begin(key("v6"), Task::Replay, digest(), std::future::pending());
        for task in [Task::Load, Task::Look, Task::Join, Task::Fetch] {
            work.begin(key("v0"), task, digest(), async { Found::Deleted(Ok(())) });
            let report = work.next().await;
            assert_eq!((report.key, report.task), (key("v0"), task), "it has room of its own");
        }
        tokio::time::advance(Duration::from_secs(240)).await;
        let standing = |version| work.standing(&key(version), &validating());
        assert_eq!(standing("v1"), Standing::default());
        let waited = Duration::from_secs(240);
        assert_eq!(standing("v3"), Standing { check_waits: true, waited, ..Standing::default() });
        assert_eq!(standing("v6"), Standing::default(), "a replay waits for nothing here");
    }

    #[tokio::test]
    async fn work_is_done_a_few_at_a_time_and_what_is_not_wanted_is_never_reported() {
        let mut work = Work::default();
        for version in ["v1", "v2", "v3"] {
            let found = async { Found::Fetched(Err(("no".to_owned(), false))) };
            work.begin(key(version), Task::Fetch, digest(), found);
        }
        work.begin(key("v4"), Task::Fetch, digest(), std::future::pending());
        assert!(!work.may_begin(&key("v4"), Task::Fetch));
        for _ in 0..3 {
            let report = work.next().await;
            assert!(matches!(report.found, Some(Found::Fetched(Err(_)))));
            assert_ne!(report.key, key("v4"));
        }
        assert_eq!(work.drop_unwanted(|_, _| None), [(key("v4"), Task::Fetch)]);
        work.begin(key("v5"), Task::Delete, digest(), async { Found::Deleted(Ok(())) });
        assert_eq!(work.drop_unwanted(|_, _| None), [], "a deletion is carried to its end");
        assert_eq!(work.next().await.key, key("v5"));
    }

    #[tokio::test]
    async fn a_panic_is_reported() {
        let mut work = Work::default();
        work.begin(key("v1"), Task::Look, digest(), async { panic!("a test") });
        assert!(work.next().await.found.is_none());
    }
}
