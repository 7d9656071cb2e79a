//! What is planned, done: the tasks, and what comes of them.
//!
//! Owns how each effect is carried out, and where the answers of a version come from. Doing one again is harmless.
//! Never decides whether it should be done.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::guests::Errand;
use super::loaded::{Resident, Servers};
use super::sightings::{Origin, artifact_of, backends_of};
use super::store::{Stopper, Store};
use super::work::{Failures, Found, Report, Task};
use super::{Key, Releases, content};
use crate::control::LoadedModels;
use crate::control::admission::{Checked, Met, Shown};
use crate::control::load::{NotLoaded, load_aside};
use crate::domain::discovery::Artifact;
use crate::domain::ids::Digest;
use crate::domain::lifecycle::evidence::Outcome;
use crate::domain::lifecycle::observed::Progress;
use crate::domain::lifecycle::plan::Effect;
use crate::domain::lifecycle::proof::Fetched;
use crate::domain::routing::TargetKind;
use crate::domain::spec::{BackendAddress, OnnxSpec, VersionSpec};
use crate::telemetry::logging::chain;

impl Releases {
    /// Carries out an effect; whether something has changed at once.
    pub(super) fn perform(&mut self, effect: Effect) -> bool {
        let (task, model, version) = match effect {
            Effect::Fetch(model, version) => (Task::Fetch, model, version),
            Effect::Check(model, version) => (Task::Check, model, version),
            Effect::Warm(model, version) => (Task::Warm, model, version),
            Effect::Load(model, version) => (Task::Load, model, version),
            Effect::Look(model, version) => (Task::Look, model, version),
            Effect::Delete(model, version) => (Task::Delete, model, version),
            Effect::Unload(model, version) => return self.unload((model, version)),
            Effect::Replay(model, version, rows) => return self.replay((model, version), rows),
        };
        let key = (model, version);
        let Some(digest) = self.digest(&key) else { return false };
        if !self.work.may_begin(&key, task) {
            return false;
        }
        match task {
            Task::Fetch => self.fetch(key, digest),
            Task::Check => self.check(key, digest),
            Task::Warm => self.warm(key, digest),
            Task::Load => self.load(key, digest),
            Task::Look => self.look(key, digest),
            Task::Delete => self.delete(key, digest),
            Task::Replay | Task::Join => false,
        }
    }

    pub(super) fn digest(&self, (model, version): &Key) -> Option<Digest> {
        let known = self.ledger.state().model(model)?.version(version)?;
        Some(known.release().digest.clone())
    }

    /// Where the answers of a version come from; `None` while no source tells.
    pub(super) fn origin(&self, key: &Key, digest: &Digest) -> Option<Origin> {
        let (model, version) = key;
        let release = self.ledger.state().model(model)?.version(version)?.release();
        if release.named {
            let spec = self.intent.models.get(model)?.versions.get(version)?;
            return Some(Origin::Named(spec.clone()));
        }
        if release.bytes > 0 {
            return Some(Origin::Stored(self.store.model_file(model, version, digest)));
        }
        backends_of(&self.seen, key).map(Origin::Backends)
    }

    fn fetch(&mut self, key: Key, digest: Digest) -> bool {
        let (model, version) = key.clone();
        let bytes = match self.origin(&key, &digest) {
            // What lies elsewhere is used where it is.
            Some(Origin::Named(_) | Origin::Backends(_)) => 0,
            Some(Origin::Stored(_)) => match artifact_of(&self.seen, &key, &digest).cloned() {
                Some(artifact) => {
                    let (store, stopper) = (self.store.clone(), Stopper::default());
                    let stopped = stopper.watched();
                    let copy = move || {
                        let fetched = store.fetch(&model, &version, &artifact, &stopped);
                        fetched.map_err(|error| (error.to_string(), error.is_corrupt()))
                    };
                    self.entry(&key.0, &key.1, &digest).fetch = Progress::Queued;
                    self.work.begin(key, Task::Fetch, digest, async move {
                        let copied = tokio::task::spawn_blocking(copy).await;
                        drop(stopper);
                        Found::Fetched(copied.unwrap_or_else(|gone| Err((gone.to_string(), false))))
                    });
                    return false;
                }
                // It is here, wherever its source is.
                None if self.stored.contains(&(key.clone(), digest.clone())) => {
                    let known = self.ledger.state().model(&model);
                    let known = known.and_then(|model| model.version(&version));
                    known.map_or(0, |known| known.release().bytes)
                }
                None => return self.not_fetched(&key, &digest),
            },
            None => return self.not_fetched(&key, &digest),
        };
        self.given_up.remove(&(key.clone(), digest.clone()));
        self.entry(&key.0, &key.1, &digest).fetch = Progress::Done(Fetched::verified(bytes, 0));
        true
    }

    /// The source that has told of a version does not list it now.
    fn not_fetched(&mut self, key: &Key, digest: &Digest) -> bool {
        let found = Found::Fetched(Err(("no source lists it now".to_owned(), false)));
        let report = Report {
            key: key.clone(),
            task: Task::Fetch,
            digest: digest.clone(),
            found: Some(found),
        };
        self.absorb(report, &LoadedModels::new());
        false
    }

    pub(super) fn load(&mut self, key: Key, digest: Digest) -> bool {
        // Servers that are away come back by themselves: there is nothing to load again.
        if self.loaded.get(&key, &digest).is_some() {
            return false;
        }
        let Some(origin) = self.origin(&key, &digest) else {
            self.is_nowhere(&key, &digest);
            return false;
        };
        if let Some(servers) = servers_of(&origin) {
            self.loaded.insert(key, digest, Resident::Remote(servers));
            return true;
        }
        let loading = self.resident(&key, &digest, origin, None);
        self.work.begin(key, Task::Load, digest, async { Found::Loaded(loading.await) });
        false
    }

    /// Notes that nothing tells where the answers of a version come from.
    fn is_nowhere(&mut self, key: &Key, digest: &Digest) {
        let (model, version) = key;
        let state = self.ledger.state();
        let known = state.model(model).and_then(|model| model.version(version));
        let why = match known.is_some_and(|known| known.release().named) {
            true => "the configuration does not name it any more",
            false => "no source tells of its servers",
        };
        let seen = self.observed.version(model, version);
        if seen.is_none_or(|seen| seen.trouble.as_deref() != Some(why)) {
            self.entry(model, version, digest).trouble = Some(why.to_owned());
        }
    }

    /// Loads a version, wherever its answers come from. A stored one must be signed by `signer`, where there is one.
    pub(super) fn resident(
        &self,
        key: &Key,
        digest: &Digest,
        origin: Origin,
        signer: Option<[u8; 32]>,
    ) -> impl Future<Output = Result<Resident, NotLoaded>> + Send + use<> {
        let (loader, store) = (Arc::clone(&self.loader), self.store.clone());
        let artifact = artifact_of(&self.seen, key, digest).cloned();
        let (key, digest) = (key.clone(), digest.clone());
        async move {
            let kind = TargetKind::Version(key.0.clone(), key.1.clone());
            if let Some(servers) = servers_of(&origin) {
                return Ok(Resident::Remote(servers));
            }
            let onnx = match origin {
                Origin::Backends(_) | Origin::Named(VersionSpec::Backends(_)) => {
                    return Err(NotLoaded::for_now("it is at servers"));
                }
                Origin::Stored(path) => {
                    let stopper = Stopper::default();
                    let stopped = stopper.watched();
                    let whole =
                        move || is_whole(&store, &key, &digest, artifact.as_ref(), &stopped);
                    let whole = tokio::task::spawn_blocking(whole).await;
                    drop(stopper);
                    whole.map_err(|gone| NotLoaded::for_now(gone.to_string()))??;
                    OnnxSpec { signature: signer, ..OnnxSpec::new(path) }
                }
                Origin::Named(VersionSpec::Onnx(onnx)) => {
                    is_still(&onnx, &digest).await?;
                    onnx
                }
            };
            let model = load_aside(loader, kind, onnx.clone()).await?;
            Ok(Resident::Local(Arc::new(model), onnx))
        }
    }

    fn unload(&mut self, key: Key) -> bool {
        let was_there = self.loaded.remove(&key);
        if was_there {
            tracing::info!(model = %key.0, version = %key.1, "a version leaves memory");
        }
        was_there
    }

    fn delete(&mut self, key: Key, digest: Digest) -> bool {
        let content = (key.clone(), digest.clone());
        if !self.stored.contains(&content) {
            // What lies elsewhere stays there.
            return self.given_up.insert(content);
        }
        // Once begun it is not used any more, so that nothing restores it meanwhile.
        let store = self.store.clone();
        let (model, version) = key.clone();
        let content = digest.clone();
        let delete = move || store.delete(&model, &version, &content);
        self.work.begin(key, Task::Delete, digest, async {
            let deleted = tokio::task::spawn_blocking(delete).await;
            Found::Deleted(match deleted {
                Ok(deleted) => deleted.map_err(|error| error.to_string()),
                Err(gone) => Err(gone.to_string()),
            })
        });
        true
    }

    /// Takes in what came of a piece of work. `others` are the models that are loaded besides.
    pub(in crate::control) fn absorb(&mut self, report: Report, others: &LoadedModels) {
        let Report { key, task, digest, found } = report;
        let now = self.ledger.now().steady;
        let found = found.unwrap_or_else(|| panicked(task));
        self.touch(&key.0);
        if matches!(found, Found::Deleted(Ok(()))) {
            self.stored.remove(&(key.clone(), digest.clone()));
        }
        if self.digest(&key).as_ref() != Some(&digest) {
            return;
        }
        let (model, version) = &key;
        let failure = match found {
            Found::Fetched(fetched) => self.fetched(&key, &digest, fetched),
            Found::Checked(resident, checks) => {
                let kept = resident.map_or(Ok(()), |it| self.keep(&key, &digest, it, others));
                let checks = kept.and(checks);
                let failure = checks.as_ref().err().cloned();
                let failures = self.work.note(&key, task, failure.is_some(), now);
                let checks = checks.map(|Checked { checks, met }| {
                    let guests = self.loaded.guests();
                    for Met { address, versions } in met {
                        guests.let_in(&key, &address, Errand::Meet, versions);
                    }
                    checks
                });
                self.entry(model, version, &digest).checks = progress(checks, failures);
                failure
            }
            Found::Warmed(resident, warmth) => {
                let kept = resident.map_or(Ok(()), |it| self.keep(&key, &digest, it, others));
                let warmth = kept.and(warmth);
                let failure = warmth.as_ref().err().cloned();
                // One that has not settled is warmed again, after a pause as well.
                let again = warmth.as_ref().map_or(true, |warmth| !warmth.settled);
                let failures = self.work.note(&key, task, again, now);
                self.entry(model, version, &digest).warmth = progress(warmth, failures);
                failure
            }
            Found::Loaded(resident) => {
                let resident = resident.map_err(|error| error.why);
                let kept = resident.and_then(|it| self.keep(&key, &digest, it, others));
                self.work.note(&key, task, kept.is_err(), now);
                let trouble = kept.err();
                self.entry(model, version, &digest).trouble.clone_from(&trouble);
                trouble
            }
            Found::Looked(look) => {
                self.work.note(&key, task, look.is_err(), now);
                look.map(|look| self.looked(&key, &digest, look)).err()
            }
            Found::Joined(servers) => {
                self.work.note(&key, task, servers.is_empty(), now);
                self.joined(&key, servers);
                None
            }
            Found::Replayed(replayed) => {
                self.work.note(&key, task, replayed.is_err(), now);
                replayed.err()
            }
            Found::Deleted(deleted) => {
                // What is still there is tried again.
                self.work.note(&key, task, deleted.is_err(), now);
                deleted.err()
            }
        };
        if let Some(why) = failure {
            tracing::warn!(%model, %version, ?task, why, "work on a version has failed");
        }
    }

    fn fetched(
        &mut self,
        key: &Key,
        digest: &Digest,
        fetched: Result<Fetched, (String, bool)>,
    ) -> Option<String> {
        let now = self.ledger.now().steady;
        let failures = self.work.note(key, Task::Fetch, fetched.is_err(), now);
        let (progress, failure) = match fetched {
            Ok(fetched) => {
                self.stored.insert((key.clone(), digest.clone()));
                (Progress::Done(fetched), None)
            }
            Err((why, corrupt)) => {
                let Failures { attempts, since, .. } = failures;
                (Progress::Failed { attempts, since, why: why.clone(), corrupt }, Some(why))
            }
        };
        self.entry(&key.0, &key.1, digest).fetch = progress;
        failure
    }

    /// Lets the servers in that have shown who they are, and out those that are another by now.
    fn joined(&mut self, key: &Key, servers: Vec<(BackendAddress, Errand, Result<Shown, String>)>) {
        let (model, version) = key;
        let guests = self.loaded.guests();
        for (server, errand, found) in servers {
            let at = server.authority();
            let found = found.map(|Shown { check, versions }| match check.outcome {
                Outcome::Failed => Err(check.detail),
                _ => match guests.contradicts(key, &server, &versions) {
                    Some(what) => Err(what),
                    None => Ok((check.detail, versions)),
                },
            });
            match found {
                Ok(Err(why)) => {
                    tracing::warn!(%model, %version, server = at, why, "a server gets no requests");
                    if guests.refuse(key, &server) {
                        let words = format!(
                            "{at} is not {model} {version} any more and gets no requests: {why}"
                        );
                        self.ledger.tell_of_server(key, &words);
                    }
                }
                Ok(Ok((how, versions))) => {
                    if guests.let_in(key, &server, errand, versions) {
                        tracing::info!(%model, %version, server = at, how, "a server joins its version");
                    }
                }
                Err(why) => {
                    tracing::info!(%model, %version, server = at, why, "a server cannot be asked who it is");
                    guests.missed(key, &server);
                }
            }
        }
    }

    /// Keeps a version that was loaded, if there is room for it.
    fn keep(
        &mut self,
        key: &Key,
        digest: &Digest,
        resident: Resident,
        others: &LoadedModels,
    ) -> Result<(), String> {
        if let Resident::Local(model, _) = &resident {
            let kind = TargetKind::Version(key.0.clone(), key.1.clone());
            let mut all = self.loaded.models();
            all.extend(others.iter().map(|(kind, model)| (kind.clone(), Arc::clone(model))));
            all.remove(&kind);
            self.loader.admit(&kind, model, &all).map_err(|error| chain(&error).to_string())?;
        }
        self.loaded.insert(key.clone(), digest.clone(), resident);
        Ok(())
    }
}

/// The servers of a version that is at some.
fn servers_of(origin: &Origin) -> Option<Servers> {
    match origin {
        Origin::Backends(spec) => Some(Servers { spec: spec.clone(), is_named: false }),
        Origin::Named(VersionSpec::Backends(spec)) => {
            Some(Servers { spec: spec.clone(), is_named: true })
        }
        Origin::Named(VersionSpec::Onnx(_)) | Origin::Stored(_) => None,
    }
}

/// Whether a stored copy is what was fetched; one that is not is fetched again, if its source has it. Blocks.
fn is_whole(
    store: &Store,
    (model, version): &Key,
    digest: &Digest,
    artifact: Option<&Artifact>,
    stopped: &AtomicBool,
) -> Result<(), NotLoaded> {
    let Err(why) = store.verify(model, version, digest) else { return Ok(()) };
    let Some(artifact) = artifact else {
        return Err(NotLoaded::for_now(format!("{why}, and no source lists it now")));
    };
    tracing::error!(%model, %version, why, "a stored version is damaged and is fetched again");
    let fetched = store.fetch(model, version, artifact, stopped);
    fetched.map(drop).map_err(|error| NotLoaded::for_now(format!("{why}; {error}")))
}

/// Whether a file that an operator has named is still the one that was released.
async fn is_still(onnx: &OnnxSpec, digest: &Digest) -> Result<(), NotLoaded> {
    let path = onnx.path.clone();
    let read = tokio::task::spawn_blocking(move || content::digest_of_file(&path)).await;
    let read = read.map_err(|gone| NotLoaded::for_now(gone.to_string()))?;
    let path = onnx.path.display();
    let read = read.map_err(|error| NotLoaded::for_now(format!("{path}: {error}")))?;
    if read.0 == *digest {
        return Ok(());
    }
    let why = "has changed since it was released; give the new content another name";
    Err(NotLoaded::for_now(format!("{path} {why}")))
}

fn panicked(task: Task) -> Found {
    let why = "the work on it panicked".to_owned();
    match task {
        Task::Fetch => Found::Fetched(Err((why, false))),
        Task::Check => Found::Checked(None, Err(why)),
        Task::Warm => Found::Warmed(None, Err(why)),
        Task::Load => Found::Loaded(Err(NotLoaded::for_now(why))),
        // Whoever was asked is asked again.
        Task::Join => Found::Joined(Vec::new()),
        Task::Look => Found::Looked(Err(why)),
        Task::Replay => Found::Replayed(Err(why)),
        Task::Delete => Found::Deleted(Err(why)),
    }
}

fn progress<T>(result: Result<T, String>, failures: Failures) -> Progress<T> {
    let Failures { attempts, since, .. } = failures;
    match result {
        Ok(value) => Progress::Done(value),
        Err(why) => Progress::Failed { attempts, since, why, corrupt: false },
    }
}
