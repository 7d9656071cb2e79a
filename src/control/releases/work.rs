//! Work on versions that takes a while: fetching, checking, loading, looking, deleting.
//!
//! Owns the tasks, one of a kind for each version at a time, how many there may be at once, and the pause after
//! a failure. A task that nobody wants any more is ended, and what it would have found is lost. Never decides
//! what is to be done.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::Key;
use super::loaded::Resident;
use crate::control::admission::Looked;
use crate::domain::ids::Digest;
use crate::domain::lifecycle::evidence::{Checks, Warmth};
use crate::domain::lifecycle::proof::Fetched;
use crate::domain::lifecycle::stage::Stage;

/// Pieces of work that are done at the same time; the others wait.
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
    Replay,
    Delete,
}

impl Task {
    /// Whether a version at `stage` still wants it.
    const fn is_wanted_at(self, stage: &Stage) -> bool {
        match self {
            Self::Fetch => matches!(stage, Stage::Staged(_)),
            Self::Check => matches!(stage, Stage::Validating(_)),
            Self::Warm => matches!(stage, Stage::Warming(_)),
            Self::Load => matches!(
                stage,
                Stage::Shadow(_) | Stage::Canary(_) | Stage::Live(_) | Stage::Standby(_)
            ),
            Self::Look => matches!(stage, Stage::Live(_) | Stage::Standby(_)),
            Self::Replay => matches!(stage, Stage::Shadow(_)),
            // Once begun it is carried to its end.
            Self::Delete => true,
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Found {
    /// A copy, or why there is none and whether the content is another one.
    Fetched(Result<Fetched, (String, bool)>),
    /// The checks, and the version if it was loaded for them.
    Checked(Option<Resident>, Result<Checks, String>),
    /// What the warm-up measured, and the version if it was loaded for it.
    Warmed(Option<Resident>, Result<Warmth, String>),
    /// The version, loaded.
    Loaded(Result<Resident, String>),
    /// A fresh look, or why nobody could look.
    Looked(Result<Looked, String>),
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
    running: BTreeMap<(Key, Task), (Digest, AbortHandle)>,
    failed: BTreeMap<(Key, Task), (u32, Instant)>,
    room: Arc<Semaphore>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            failed: BTreeMap::new(),
            room: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Work {
    /// Whether a piece of work may begin now: it is not under way, and the pause after a failure is over.
    pub(super) fn may_begin(&self, key: &Key, task: Task) -> bool {
        let name = (key.clone(), task);
        let rests = self.failed.get(&name).is_some_and(|(_, until)| Instant::now() < *until);
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
        let room = Arc::clone(&self.room);
        let handle = self.tasks.spawn(async move {
            // It is never closed.
            let _permit = room.acquire_owned().await;
            work.await
        });
        self.running.insert((key, task), (digest, handle));
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
        let unwanted = self.running.iter().filter(|(name, (digest, _))| !is_wanted(name, digest));
        let unwanted: Vec<(Key, Task)> = unwanted.map(|(name, _)| name.clone()).collect();
        for name in &unwanted {
            if let Some((_, handle)) = self.running.remove(name) {
                handle.abort();
            }
            self.failed.remove(name);
        }
        unwanted
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
            let name = self.running.iter().find(|(_, (_, handle))| handle.id() == id);
            // What was ended because nobody wanted it is not there any more.
            let Some(name) = name.map(|(name, _)| name.clone()) else { continue };
            let Some((digest, _)) = self.running.remove(&name) else { continue };
            let (key, task) = name;
            return Report { key, task, digest, found };
        }
    }

    /// Notes how a piece of work ended; how often in a row it has failed.
    pub(super) fn note(&mut self, key: &Key, task: Task, failed: bool) -> u32 {
        let name = (key.clone(), task);
        if !failed {
            self.failed.remove(&name);
            return 0;
        }
        let attempts = self.failed.get(&name).map_or(0, |(attempts, _)| *attempts) + 1;
        let pause = PAUSE.saturating_mul(1 << attempts.min(8).saturating_sub(1)).min(PAUSE_MAX);
        self.failed.insert(name, (attempts, Instant::now() + pause));
        attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ModelName, VersionName};

    fn key(version: &str) -> Key {
        (ModelName::new("m"), VersionName::new(version))
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
            assert_eq!(work.note(&key, Task::Fetch, true), attempt);
            assert!(!work.may_begin(&key, Task::Fetch));
            assert!(work.may_begin(&key, Task::Check), "another kind of work is another matter");
            tokio::time::advance(PAUSE_MAX).await;
            assert!(work.may_begin(&key, Task::Fetch));
        }
        work.note(&key, Task::Fetch, true);
        work.note(&key, Task::Fetch, false);
        assert!(work.may_begin(&key, Task::Fetch));
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
