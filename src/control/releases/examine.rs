//! The checks, the warm-up and the fresh looks of [`admission`](crate::control::admission), as tasks of the life
//! cycle.
//!
//! Owns who is checked against whom. Never judges what comes of it.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::guests::Errand;
use super::loaded::Resident;
use super::work::{Found, Task};
use super::{Key, Releases};
use crate::control::admission::{Admission, Checked, Limits, Looked, Subject, Where, unsigned};
use crate::control::health::of_look;
use crate::control::load::NotLoaded;
use crate::domain::ids::{Digest, SourceName};
use crate::domain::lifecycle::evidence::{Check, CheckKind, Checks, Outcome};
use crate::domain::lifecycle::observed::Progress;
use crate::domain::spec::{BackendAddress, DiscoveryPlace};

/// Servers of one version that are asked who they are at the same time.
const JOINS_AT_ONCE: usize = 4;

/// Which servers of a version are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// All that are there.
    All,
    /// Those that may answer clients.
    LetIn,
}

impl Releases {
    /// Begins the checks of a version; it is loaded for them if it is not.
    pub(super) fn check(&mut self, key: Key, digest: Digest) -> bool {
        let signer = self.signer(&key);
        let Some(found) = self.loading(&key, &digest, signer) else { return false };
        let began = self.ledger.now().steady;
        let admission = self.admission(&key);
        let champion = self.champion(&key);
        let subject = self.subject_of(&key, Whom::All);
        self.entry(&key.0, &key.1, &digest).checks = Progress::Queued;
        self.work.begin(key, Task::Check, digest, async move {
            let (fresh, resident) = match found.await {
                Ok(found) => found,
                // What does not load is not what it claims to be.
                Err(NotLoaded { why, is_artifact: true, unsigned: reason }) => {
                    let detail = reason.map_or(why, |reason| unsigned(&reason));
                    let check =
                        Check { kind: CheckKind::Identity, outcome: Outcome::Failed, detail };
                    let checks = Checks { began, checks: vec![check] };
                    return Found::Checked(None, Ok(Checked { checks, met: Vec::new() }));
                }
                // A machine without room says nothing about it.
                Err(NotLoaded { why, .. }) => return Found::Checked(None, Err(why)),
            };
            let mut candidate = subject(&resident);
            if let (Where::Local { spec, .. }, Some(_)) = (&mut candidate.place, signer) {
                spec.signature = signer;
            }
            let checks = admission.check(&candidate, champion.as_ref(), began).await;
            Found::Checked(fresh, checks.map_err(|error| error.to_string()))
        });
        false
    }

    /// Begins the warm-up of a version; it is loaded for it if it is not.
    pub(super) fn warm(&mut self, key: Key, digest: Digest) -> bool {
        let Some(found) = self.loading(&key, &digest, None) else { return false };
        let began = self.ledger.now().steady;
        let admission = self.admission(&key);
        let subject = self.subject_of(&key, Whom::LetIn);
        self.entry(&key.0, &key.1, &digest).warmth = Progress::Queued;
        self.work.begin(key, Task::Warm, digest, async move {
            let (fresh, resident) = match found.await {
                Ok(found) => found,
                Err(NotLoaded { why, .. }) => return Found::Warmed(None, Err(why)),
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
        let subject = self.subject_of(&key, Whom::LetIn)(&resident);
        self.work.begin(key, Task::Look, digest, async move {
            let look = admission.look(&subject, at).await;
            Found::Looked(look.map_err(|error| error.to_string()))
        });
        false
    }

    /// Begins to ask servers that have come to a version who they are, and those that answer whether they still are.
    pub(super) fn greet(&mut self, key: &Key, digest: &Digest) {
        let errands = self.loaded.errands(key, digest, &self.seen);
        if errands.is_empty() || !self.work.may_begin(key, Task::Join) {
            return;
        }
        let Some(resident) = self.loaded.get(key, digest) else { return };
        let known = self.subject_of(key, Whom::LetIn)(resident);
        let errands = errands.into_iter().take(JOINS_AT_ONCE).map(|(server, errand)| {
            let others = without(&known, &server);
            (alone(&known, server.clone()), others, server, errand)
        });
        let errands: Vec<_> = errands.collect();
        let admission = Arc::new(self.admission(key));
        self.work.begin(key.clone(), Task::Join, digest.clone(), async move {
            // One that is silent holds no other up.
            let mut asked = JoinSet::new();
            for (subject, others, server, errand) in errands {
                let admission = Arc::clone(&admission);
                asked.spawn(async move {
                    let found = match errand {
                        Errand::Meet => admission.join(&subject, others.as_ref()).await,
                        Errand::Watch => admission.watch(&subject).await,
                    };
                    (server, errand, found.map_err(|error| error.to_string()))
                });
            }
            Found::Joined(asked.join_all().await)
        });
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
        let window = of_look(&looked);
        let entry = self.entry(&key.0, &key.1, digest);
        if let Some((signal, window)) = window {
            entry.health.observe(signal, &window);
        }
        entry.look = Some(looked.look);
    }

    /// The key that must have signed a version, where its source asks for one.
    fn signer(&self, (model, version): &Key) -> Option<[u8; 32]> {
        let known = self.ledger.state().model(model)?.version(version)?;
        let release = known.release();
        if release.named {
            return None;
        }
        // A source may be silent now; what was written down of the release names it.
        let name = release.source.split(' ').next()?;
        match &self.intent.discovery.get(&SourceName::new(name))?.place {
            DiscoveryPlace::Directory(spec) => spec.signature,
            _ => None,
        }
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
        signer: Option<[u8; 32]>,
    ) -> Option<impl Future<Output = Result<(Option<Resident>, Resident), NotLoaded>> + Send + use<>>
    {
        let known = self.loaded.get(key, digest).cloned();
        let loading = match known {
            Some(_) => None,
            None => Some(self.resident(key, digest, self.origin(key, digest)?, signer)),
        };
        Some(async move {
            match (known, loading) {
                (Some(known), _) => Ok((None, known)),
                (None, Some(loading)) => {
                    let loaded = loading.await?;
                    Ok((Some(loaded.clone()), loaded))
                }
                (None, None) => Err(NotLoaded::for_now("it is not loaded")),
            }
        })
    }

    /// The champion that a version is compared with.
    fn champion(&self, key: &Key) -> Option<Subject> {
        let (version, known) = self.ledger.state().model(&key.0)?.champion()?;
        let champion = (key.0.clone(), version.clone());
        let resident = self.loaded.get(&champion, &known.release().digest)?;
        Some(self.subject_of(&champion, Whom::LetIn)(resident))
    }

    /// How a version is shown to the checks.
    fn subject_of(&self, key: &Key, whom: Whom) -> impl Fn(&Resident) -> Subject + Send + use<> {
        let (model, version) = key.clone();
        let seen = Arc::clone(&self.seen);
        let golden = self.policies.of(&model).release.golden.clone();
        let let_in = match whom {
            Whom::All => None,
            Whom::LetIn => Some(self.loaded.let_in(key)),
        };
        move |resident| {
            let place = match resident {
                Resident::Local(model, spec) => {
                    Where::Local { model: Arc::clone(model), spec: spec.clone() }
                }
                Resident::Remote(servers) => {
                    let key = (model.clone(), version.clone());
                    let mut addresses = servers.members(&key, &seen);
                    if let (Some(let_in), Some(_)) = (&let_in, &servers.spec.discovered) {
                        addresses.retain(|server| let_in.contains(&server.authority()));
                    }
                    Where::Remote { addresses, spec: servers.spec.clone(), golden: golden.clone() }
                }
            };
            Subject { model: model.clone(), version: version.clone(), place }
        }
    }
}

/// A version at its other servers, if there are any.
fn without(subject: &Subject, server: &BackendAddress) -> Option<Subject> {
    let mut subject = subject.clone();
    let Where::Remote { addresses, .. } = &mut subject.place else { return None };
    addresses.retain(|other| other != server);
    (!addresses.is_empty()).then_some(subject)
}

/// A version at one of its servers alone.
fn alone(subject: &Subject, server: BackendAddress) -> Subject {
    let mut subject = subject.clone();
    if let Where::Remote { addresses, .. } = &mut subject.place {
        *addresses = vec![server];
    }
    subject
}
