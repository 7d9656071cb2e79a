//! The checks, the warm-up and the fresh looks of [`admission`](crate::control::admission), as tasks of the life
//! cycle.
//!
//! Owns who is checked against whom. Never judges what comes of it.

use std::sync::Arc;

use super::loaded::Resident;
use super::work::{Found, Task};
use super::{Key, Releases};
use crate::control::admission::{Admission, Limits, Looked, Subject, Where};
use crate::control::health::of_look;
use crate::domain::ids::Digest;
use crate::domain::lifecycle::evidence::{Check, CheckKind, Checks, Outcome};
use crate::domain::lifecycle::observed::Progress;

impl Releases {
    /// Begins the checks of a version; it is loaded for them if it is not.
    pub(super) fn check(&mut self, key: Key, digest: Digest) -> bool {
        let Some(found) = self.loading(&key, &digest) else { return false };
        let began = self.ledger.now().steady;
        let admission = self.admission(&key);
        let champion = self.champion(&key);
        let subject = self.subject_of(&key);
        self.entry(&key.0, &key.1, &digest).checks = Progress::Running;
        self.work.begin(key, Task::Check, digest, async move {
            let (fresh, resident) = match found.await {
                Ok(found) => found,
                // What does not load is not what it claims to be.
                Err(detail) => {
                    let check =
                        Check { kind: CheckKind::Identity, outcome: Outcome::Failed, detail };
                    return Found::Checked(None, Ok(Checks { began, checks: vec![check] }));
                }
            };
            let candidate = subject(&resident);
            let checks = admission.check(&candidate, champion.as_ref(), began).await;
            Found::Checked(fresh, checks.map_err(|error| error.to_string()))
        });
        false
    }

    /// Begins the warm-up of a version; it is loaded for it if it is not.
    pub(super) fn warm(&mut self, key: Key, digest: Digest) -> bool {
        let Some(found) = self.loading(&key, &digest) else { return false };
        let began = self.ledger.now().steady;
        let admission = self.admission(&key);
        let subject = self.subject_of(&key);
        self.entry(&key.0, &key.1, &digest).warmth = Progress::Running;
        self.work.begin(key, Task::Warm, digest, async move {
            let (fresh, resident) = match found.await {
                Ok(found) => found,
                Err(why) => return Found::Warmed(None, Err(why)),
            };
            let warmth = admission.warm(&subject(&resident), began).await;
            Found::Warmed(fresh, warmth.map_err(|error| error.to_string()))
        });
        false
    }

    /// Begins a fresh look at a version that is loaded.
    pub(super) fn look(&mut self, key: Key, digest: Digest) -> bool {
        let Some(resident) = self.loaded.get(&key, &digest).cloned() else { return false };
        let at = self.ledger.now().steady;
        let admission = self.admission(&key);
        let subject = self.subject_of(&key)(&resident);
        self.work.begin(key, Task::Look, digest, async move {
            let look = admission.look(&subject, at).await;
            Found::Looked(look.map_err(|error| error.to_string()))
        });
        false
    }

    /// Begins to ask logged requests again, where clients ask too rarely.
    pub(super) fn replay(&mut self, key: Key, rows: u64) -> bool {
        let trial = self.trials.shared(&key.0);
        let (Some(trial), Some(digest)) = (trial, self.digest(&key)) else { return false };
        if !self.work.may_begin(&key, Task::Replay) {
            return false;
        }
        let (replays, model) = (self.replays.clone(), key.0.clone());
        self.work.begin(key, Task::Replay, digest, async move {
            let Some(answer) = replays.order(model, trial, rows) else {
                return Found::Replayed(Err("too many replays wait already".to_owned()));
            };
            let replayed = answer.await.unwrap_or_else(|gone| Err(gone.to_string()));
            Found::Replayed(replayed.and_then(|replayed| match replayed.asked {
                0 => Err("no logged request can be asked again".to_owned()),
                _ => Ok(()),
            }))
        });
        false
    }

    /// Takes in a look: it counts by itself, and as a window of its signal.
    pub(super) fn looked(&mut self, key: &Key, digest: &Digest, looked: Looked) {
        let (signal, window) = of_look(&looked);
        let entry = self.entry(&key.0, &key.1, digest);
        entry.health.observe(signal, &window);
        entry.look = Some(looked.look);
    }

    fn admission(&self, (model, _): &Key) -> Admission {
        let labels = self.intent.models.get(model).and_then(|spec| spec.labels.as_ref());
        let limits = Limits::of(self.policies.of(model));
        Admission::new(limits, labels, Arc::clone(&self.registry))
    }

    /// A version that is loaded, or will be: fresh if it was not.
    fn loading(
        &self,
        key: &Key,
        digest: &Digest,
    ) -> Option<impl Future<Output = Result<(Option<Resident>, Resident), String>> + Send + use<>>
    {
        let known = self.loaded.get(key, digest).cloned();
        let loading = match known {
            Some(_) => None,
            None => Some(self.resident(key, digest, self.origin(key, digest)?)),
        };
        Some(async move {
            match (known, loading) {
                (Some(known), _) => Ok((None, known)),
                (None, Some(loading)) => {
                    let loaded = loading.await?;
                    Ok((Some(loaded.clone()), loaded))
                }
                (None, None) => Err("it is not loaded".to_owned()),
            }
        })
    }

    /// The champion that a version is compared with.
    fn champion(&self, key: &Key) -> Option<Subject> {
        let (version, known) = self.ledger.state().model(&key.0)?.champion()?;
        let champion = (key.0.clone(), version.clone());
        let resident = self.loaded.get(&champion, &known.release().digest)?;
        Some(self.subject_of(&champion)(resident))
    }

    /// How a version is shown to the checks.
    fn subject_of(&self, key: &Key) -> impl Fn(&Resident) -> Subject + Send + use<> {
        let (model, version) = key.clone();
        let seen = Arc::clone(&self.seen);
        move |resident| {
            let place = match resident {
                Resident::Local(model, spec) => {
                    Where::Local { model: Arc::clone(model), spec: spec.clone() }
                }
                Resident::Remote(spec) => {
                    let release = (model.clone(), version.clone());
                    let addresses = match &spec.discovered {
                        Some(source) => seen.members(source, Some(&release)),
                        None => spec.addresses.clone(),
                    };
                    Where::Remote { addresses, spec: spec.clone(), folder: None }
                }
            };
            Subject { model: model.clone(), version: version.clone(), place }
        }
    }
}
