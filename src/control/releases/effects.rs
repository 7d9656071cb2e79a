//! What is planned, done: the tasks, and what comes of them.
//!
//! Owns how each effect is carried out, and where the answers of a version come from. Doing one again is harmless.
//! Never decides whether it should be done.

use std::sync::Arc;

use super::loaded::Resident;
use super::sightings::{Origin, artifact_of, backends_of};
use super::work::{Found, Report, Task};
use super::{Key, Releases, content};
use crate::control::LoadedModels;
use crate::control::load::load_aside;
use crate::domain::ids::Digest;
use crate::domain::lifecycle::observed::Progress;
use crate::domain::lifecycle::plan::Effect;
use crate::domain::lifecycle::proof::Fetched;
use crate::domain::routing::TargetKind;
use crate::domain::spec::{OnnxSpec, VersionSpec};
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
            Task::Replay => false,
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
            Some(Origin::Stored(_)) => {
                let Some(artifact) = artifact_of(&self.seen, &key, &digest).cloned() else {
                    return self.not_fetched(&key, &digest);
                };
                let store = self.store.clone();
                let copy = move || {
                    let fetched = store.fetch(&model, &version, &artifact);
                    fetched.map_err(|error| (error.to_string(), error.is_corrupt()))
                };
                self.entry(&key.0, &key.1, &digest).fetch = Progress::Running;
                self.work.begin(key, Task::Fetch, digest, async {
                    let copied = tokio::task::spawn_blocking(copy).await;
                    Found::Fetched(copied.unwrap_or_else(|gone| Err((gone.to_string(), false))))
                });
                return false;
            }
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
        let Some(origin) = self.origin(&key, &digest) else { return false };
        if let Origin::Named(VersionSpec::Backends(spec)) | Origin::Backends(spec) = origin {
            self.loaded.insert(key, digest, Resident::Remote(spec));
            return true;
        }
        let loading = self.resident(&key, &digest, origin);
        self.work.begin(key, Task::Load, digest, async { Found::Loaded(loading.await) });
        false
    }

    /// Loads a version, wherever its answers come from.
    pub(super) fn resident(
        &self,
        key: &Key,
        digest: &Digest,
        origin: Origin,
    ) -> impl Future<Output = Result<Resident, String>> + Send + use<> {
        let loader = Arc::clone(&self.loader);
        let kind = TargetKind::Version(key.0.clone(), key.1.clone());
        let digest = digest.clone();
        async move {
            let onnx = match origin {
                Origin::Backends(spec) | Origin::Named(VersionSpec::Backends(spec)) => {
                    return Ok(Resident::Remote(spec));
                }
                Origin::Stored(path) => OnnxSpec::new(path),
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
        // Once begun it counts as gone, so that nothing restores it meanwhile.
        let was_stored = self.stored.remove(&content);
        if !was_stored {
            // What lies elsewhere stays there.
            return self.given_up.insert(content);
        }
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
        self.touch(&key.0);
        if self.digest(&key).as_ref() != Some(&digest) {
            return;
        }
        let (model, version) = &key;
        let found = found.unwrap_or_else(|| panicked(task));
        let failure = match found {
            Found::Fetched(fetched) => self.fetched(&key, &digest, fetched),
            Found::Checked(resident, checks) => {
                let kept = resident.map_or(Ok(()), |it| self.keep(&key, &digest, it, others));
                let checks = kept.and(checks);
                let failure = checks.as_ref().err().cloned();
                let attempts = self.work.note(&key, task, failure.is_some());
                self.entry(model, version, &digest).checks = progress(checks, attempts);
                failure
            }
            Found::Warmed(resident, warmth) => {
                let kept = resident.map_or(Ok(()), |it| self.keep(&key, &digest, it, others));
                let warmth = kept.and(warmth);
                let failure = warmth.as_ref().err().cloned();
                // One that has not settled is warmed again, after a pause as well.
                let again = warmth.as_ref().map_or(true, |warmth| !warmth.settled);
                let attempts = self.work.note(&key, task, again);
                self.entry(model, version, &digest).warmth = progress(warmth, attempts);
                failure
            }
            Found::Loaded(resident) => {
                let kept = resident.and_then(|it| self.keep(&key, &digest, it, others));
                self.work.note(&key, task, kept.is_err());
                kept.err()
            }
            Found::Looked(look) => {
                self.work.note(&key, task, look.is_err());
                look.map(|look| self.looked(&key, &digest, look)).err()
            }
            Found::Replayed(replayed) => {
                self.work.note(&key, task, replayed.is_err());
                replayed.err()
            }
            Found::Deleted(deleted) => {
                self.work.note(&key, task, deleted.is_err());
                // It is still there, and it is tried again.
                if deleted.is_err() {
                    self.stored.insert((key.clone(), digest));
                }
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
        let attempts = self.work.note(key, Task::Fetch, fetched.is_err());
        let (progress, failure) = match fetched {
            Ok(fetched) => {
                self.stored.insert((key.clone(), digest.clone()));
                (Progress::Done(fetched), None)
            }
            Err((why, corrupt)) => {
                (Progress::Failed { attempts, why: why.clone(), corrupt }, Some(why))
            }
        };
        self.entry(&key.0, &key.1, digest).fetch = progress;
        failure
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

/// Whether a file that an operator has named is still the one that was released.
async fn is_still(onnx: &OnnxSpec, digest: &Digest) -> Result<(), String> {
    let path = onnx.path.clone();
    let read = tokio::task::spawn_blocking(move || content::digest_of_file(&path)).await;
    let read = read.map_err(|gone| gone.to_string())?.map_err(|error| error.to_string())?;
    if read.0 == *digest {
        return Ok(());
    }
    let path = onnx.path.display();
    Err(format!("{path} has changed since it was released; give the new content another name"))
}

fn panicked(task: Task) -> Found {
    let why = "the work on it panicked".to_owned();
    match task {
        Task::Fetch => Found::Fetched(Err((why, false))),
        Task::Check => Found::Checked(None, Err(why)),
        Task::Warm => Found::Warmed(None, Err(why)),
        Task::Load => Found::Loaded(Err(why)),
        Task::Look => Found::Looked(Err(why)),
        Task::Replay => Found::Replayed(Err(why)),
        Task::Delete => Found::Deleted(Err(why)),
    }
}

fn progress<T>(result: Result<T, String>, attempts: u32) -> Progress<T> {
    match result {
        Ok(value) => Progress::Done(value),
        Err(why) => Progress::Failed { attempts, why, corrupt: false },
    }
}
