//! Loading and unloading versions while the gateway runs, and publishing what follows.
//!
//! Owns which versions of the configuration are loaded, and that the life cycle of the others gets its turns.
//! Takes one order about a model after the other; a load runs on a thread of its own, and requests, the life cycle and
//! its orders go on meanwhile: a kill switch waits for no load. Backends are asked beside that: however silent they
//! are, no order waits for them.
//! Publishes who was discovered. Never unloads a version that routing needs.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::contents::{Contents, hex};
use super::ebb::Ebb;
use super::enquiry::Enquiry;
use super::load::{Loader, load_aside};
use super::members::{Members, members};
use super::releases::{Ask, Happened, NotCarriedOut, Publication, Releases, Step};
use super::{Controller, LoadedModels, PublishError};
use crate::domain::discovery::Seen;
use crate::domain::ids::{ModelName, Permille, VersionName};
use crate::domain::routing::TargetKind;
use crate::domain::spec::{Intent, OnnxSpec, RouteTarget, VersionSpec};
use crate::inference::LocalModel;
use crate::snapshot::{Command, Order, RepositoryError};
use crate::telemetry::logging::chain;

/// Steps of the life cycle without a look at anything else.
const STEPS_MAX: usize = 64;
/// How long the first publication waits for models that were live when the last process ended.
const WAKING_MAX: Duration = Duration::from_secs(120);
/// How long the start waits for what backends tell.
const HEARING_MAX: Duration = Duration::from_secs(1);
/// How often others are shown how things stand while much is changed at once.
const SHOWN_EVERY: Duration = Duration::from_secs(1);

/// Why the gateway cannot begin to serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// What versions have on disk cannot be looked at: what is not known there must not count as gone.
    #[error("the look at the files of versions below `data_dir` did not end: {0}")]
    Disk(String),
    /// A snapshot cannot be built.
    #[error("the configuration cannot be published")]
    Publish(#[from] PublishError),
}

/// The controller with what it has loaded.
#[derive(Debug)]
pub struct Residents {
    /// What the operator wants.
    intent: Arc<Intent>,
    /// What is published: with the versions of the life cycle.
    effective: Intent,
    releases: Releases,
    /// Whether the life cycle has more to do.
    unsettled: bool,
    controller: Controller,
    loader: Arc<Loader>,
    models: LoadedModels,
    contents: Arc<Contents>,
    loading: Option<Loading>,
    enquiry: Enquiry,
    /// Told by requests that must wait until backends describe their model.
    wanted: Arc<Notify>,
    seen: watch::Receiver<Arc<Seen>>,
    ebb: Ebb,
}

type Done = Result<(), RepositoryError>;

/// A model; `None` where it is loaded already, from the file that is there.
type Loaded = Result<Option<LocalModel>, RepositoryError>;

/// An order to load, which runs beside everything else.
struct Loading {
    target: TargetKind,
    model: Pin<Box<dyn Future<Output = Loaded> + Send>>,
    /// Its other versions.
    rest: VecDeque<(TargetKind, OnnxSpec)>,
    answer: oneshot::Sender<Done>,
}

impl std::fmt::Debug for Loading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loading").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Residents {
    /// `models` are loaded.
    pub fn new(
        intent: Arc<Intent>,
        controller: Controller,
        loader: Arc<Loader>,
        models: LoadedModels,
        (seen, releases): (watch::Receiver<Arc<Seen>>, Releases),
    ) -> Self {
        let (enquiry, mut ebb) = (Enquiry::new(&intent), Ebb::default());
        ebb.begin(Instant::now());
        let effective = Intent::clone(&intent);
        let contents = Contents::new(&intent.data_dir, Arc::clone(releases.events()));
        let (unsettled, wanted) = (true, controller.wanted());
        Self {
            intent,
            effective,
            releases,
            unsettled,
            controller,
            loader,
            models,
            contents: Arc::new(contents),
            loading: None,
            enquiry,
            wanted,
            seen,
            ebb,
        }
    }

    /// Takes up what the last process has left, waits for the models that were live, and publishes.
    ///
    /// # Errors
    ///
    /// What is on disk cannot be looked at; or a [`PublishError`], never for a validated intent.
    pub async fn begin(&mut self) -> Result<(), BeginError> {
        // What has changed is told before it answers.
        let loaded = self.models.iter().map(|(version, model)| (version.clone(), model.digest()));
        self.contents.note(loaded.collect()).await;
        self.releases.begin().await.map_err(BeginError::Disk)?;
        let seen = Arc::clone(&self.seen.borrow_and_update());
        self.releases.see(seen);
        self.releases.wake();
        let until = Instant::now() + WAKING_MAX;
        while self.releases.is_waking() {
            match tokio::time::timeout_at(until, self.releases.next()).await {
                Ok(Happened::Ended(report)) => self.releases.absorb(report, &self.models),
                Ok(Happened::Ticked) => {}
                Ok(Happened::Asked(ask)) => self.answer(ask).await,
                Err(_elapsed) => {
                    tracing::error!("not every model that was live is loaded; going on without");
                    break;
                }
            }
        }
        self.releases.news();
        self.take_on(self.releases.publication());
        let members = self.members();
        self.controller.meet(members);
        let all = self.all_models();
        self.releases.begin_to_serve().await;
        let generation = self.controller.publish(&self.effective, &all)?;
        tracing::info!(generation = generation.0, "the snapshot is published");
        self.releases.show();
        Ok(())
    }

    /// Waits until the backends were asked for the first time, but not long for those who are silent.
    pub async fn hear(&mut self) {
        if self.enquiry.is_idle() {
            return;
        }
        self.enquiry.begin();
        let until = Instant::now() + HEARING_MAX;
        while self.enquiry.is_asking()
            && let Ok(news) = tokio::time::timeout_at(until, self.enquiry.news()).await
        {
            if news {
                self.tell();
            }
        }
    }

    /// The process ends: what was told reaches its file, or a second has passed. Blocks.
    pub fn close(&self) {
        self.releases.flush_events();
    }

    /// Carries out orders until nobody can give any, and asks backends what they speak in between.
    pub async fn serve(&mut self, orders: &mut mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                happened = self.releases.next() => self.happen(happened).await,
                // One after the other: what a load ends with is what the next order finds.
                command = orders.recv(), if self.loading.is_none() => match command {
                    Some(command) => self.carry_out(command),
                    None => return,
                },
                loaded = next_load(&mut self.loading) => self.loaded(loaded),
                Ok(()) = self.seen.changed() => self.meet(),
                () = tokio::time::sleep_until(self.enquiry.due()),
                    if !self.enquiry.is_idle() && !self.enquiry.is_asking() =>
                {
                    self.enquiry.begin();
                }
                news = self.enquiry.news(), if self.enquiry.is_asking() => {
                    if news {
                        self.tell();
                    }
                }
                () = self.wanted.notified(), if self.enquiry.may_hasten() => self.enquiry.hasten(),
                () = self.ebb.turn() => self.ebb.give_back(Instant::now()),
                () = std::future::ready(()), if self.unsettled => {}
            }
            self.turn().await;
        }
    }

    async fn happen(&mut self, happened: Happened) {
        self.unsettled = true;
        match happened {
            Happened::Asked(ask) => self.answer(ask).await,
            Happened::Ended(report) => {
                self.releases.absorb(report, &self.models);
                self.ebb.begin(Instant::now());
            }
            Happened::Ticked => self.releases.tick(),
        }
    }

    /// Carries out an order, and answers once what follows from it is published.
    async fn answer(&mut self, ask: Ask) {
        if ask.is_given_up() {
            tracing::info!(who = ask.order.who, "an order is not carried out: nobody waits for it");
            return;
        }
        let Ask { order, answer } = ask;
        // A kill switch acts before it is written: the disk may be full, or slow.
        let done = match self.releases.cut_off(&order) {
            Some(Ok(done)) => {
                // Where this fails it is tried again below.
                drop(self.publish_news());
                Ok(self.releases.written(done).await)
            }
            Some(Err(error)) => Err(error),
            None => self.releases.order(&order).await,
        };
        let published = self.publish_news();
        let done = done.and_then(|done| match published {
            Ok(()) => Ok(done),
            Err(why) => Err(NotCarriedOut::NotPublished(why)),
        });
        self.releases.show();
        if let Err(error) = &done {
            tracing::info!(who = order.who, error = %chain(error), "an order is not carried out");
        }
        // Whoever asked may be gone.
        drop(answer.send(done));
    }

    /// Some steps of the life cycle. What one has written is published before the next, and orders come in between.
    async fn turn(&mut self) {
        if !self.unsettled {
            return;
        }
        let mut shown = Instant::now();
        for _ in 0..STEPS_MAX {
            let step = self.releases.step().await;
            let published = self.publish_news();
            if step == Step::Rest || published.is_err() {
                self.unsettled = false;
                break;
            }
            while let Some(ask) = self.releases.waiting() {
                self.answer(ask).await;
            }
            // Where thousands of versions are taken up it shows how far that has come.
            if shown.elapsed() >= SHOWN_EVERY {
                self.releases.show();
                shown = Instant::now();
            }
        }
        self.releases.show();
        // Discovery and all work on versions live on this thread as well.
        tokio::task::yield_now().await;
    }

    /// Publishes what has changed for requests, if anything has.
    ///
    /// # Errors
    ///
    /// Why it is not published. It is news again then.
    fn publish_news(&mut self) -> Result<(), String> {
        let Some(publication) = self.releases.news() else { return Ok(()) };
        self.take_on(publication);
        let members = self.members();
        self.enquiry.meet(&members);
        self.controller.meet(members);
        self.ebb.begin(Instant::now());
        self.publish().map_err(|error| {
            self.releases.not_published();
            tracing::error!(%error, "the routes of the life cycle are not published");
            error.to_string()
        })
    }

    /// Who is there to answer clients now.
    fn members(&self) -> Members {
        let mut members = members(&self.effective, &self.seen.borrow());
        self.releases.keep_out(&mut members);
        members
    }

    fn take_on(&mut self, Publication { intent, closed, trials }: Publication) {
        self.effective = intent;
        self.enquiry.follow(&self.effective);
        self.controller.close(closed);
        self.controller.count(trials);
    }

    /// Every model that takes requests.
    fn all_models(&self) -> LoadedModels {
        let mut all = self.models.clone();
        all.extend(self.releases.routed());
        all
    }

    /// Publishes who was discovered, where that is new.
    fn meet(&mut self) {
        let seen = Arc::clone(&self.seen.borrow_and_update());
        self.releases.see(seen);
        self.unsettled = true;
        let members = self.members();
        self.enquiry.meet(&members);
        if !self.controller.meet(members) {
            return;
        }
        if let Err(error) = self.publish() {
            self.releases.not_published();
            tracing::error!(%error, "who was discovered is not published");
        }
    }

    /// Publishes what backends have told.
    fn tell(&mut self) {
        self.controller.learn(self.enquiry.known());
        if let Err(error) = self.publish() {
            self.releases.not_published();
            tracing::error!(%error, "what backends have told is not published");
        }
    }

    /// Begins what an order asks for, and ends it unless it is a load.
    fn carry_out(&mut self, Command { order, answer }: Command) {
        let done = match order {
            Order::Load(model, version) => match self.versions(&model, version.as_ref()) {
                Ok(versions) => return self.load(versions.into(), answer),
                Err(error) => Err(error),
            },
            Order::Unload(model, version) => self.unload_all(&model, version.as_ref()),
        };
        finish(done, answer);
    }

    fn unload_all(&mut self, model: &ModelName, version: Option<&VersionName>) -> Done {
        let versions = self.versions(model, version)?;
        if versions.is_empty() {
            return Err(RepositoryError::NothingHere(model.clone()));
        }
        let mut kept = None;
        let mut unloaded = 0;
        for (kind, _) in &versions {
            match self.unload(kind) {
                // Of all versions, those that are needed stay.
                Err(needed @ RepositoryError::Needed(..)) => kept = Some(needed),
                done => {
                    done?;
                    unloaded += 1;
                }
            }
        }
        // An order that can do nothing is not carried out.
        match kept {
            Some(needed) if unloaded == 0 => Err(needed),
            _ => Ok(()),
        }
    }

    /// The versions in this process that an order is about.
    fn versions(
        &self,
        model: &ModelName,
        version: Option<&VersionName>,
    ) -> Result<Vec<(TargetKind, OnnxSpec)>, RepositoryError> {
        if self.releases.governs(model) && self.effective.models.contains_key(model) {
            return Err(RepositoryError::Governed(model.clone()));
        }
        let spec = self.intent.models.get(model);
        let spec = spec.ok_or_else(|| RepositoryError::UnknownModel(model.clone()))?;
        let target = |version: &VersionName| TargetKind::Version(model.clone(), version.clone());
        match version {
            None => {
                let local = spec.versions.iter().filter_map(|(version, spec)| match spec {
                    VersionSpec::Onnx(onnx) => Some((target(version), onnx.clone())),
                    VersionSpec::Backends(_) => None,
                });
                Ok(local.collect())
            }
            Some(version) => match spec.versions.get(version) {
                None => Err(RepositoryError::UnknownVersion(model.clone(), version.clone())),
                Some(VersionSpec::Backends(_)) => Err(RepositoryError::NotHere(target(version))),
                Some(VersionSpec::Onnx(onnx)) => Ok(vec![(target(version), onnx.clone())]),
            },
        }
    }

    /// Begins to load the first of these, or to look whether it is what is loaded; without one, the order is carried
    /// out.
    fn load(&mut self, mut rest: VecDeque<(TargetKind, OnnxSpec)>, answer: oneshot::Sender<Done>) {
        let Some((target, onnx)) = rest.pop_front() else {
            finish(Ok(()), answer);
            return;
        };
        let (loader, version) = (Arc::clone(&self.loader), target.clone());
        let model: Pin<Box<dyn Future<Output = Loaded> + Send>> = match self.models.get(&target) {
            Some(model) => Box::pin(compare(loader, version, onnx, model.sha256())),
            None => Box::pin(load_noted(loader, Arc::clone(&self.contents), version, onnx)),
        };
        self.loading = Some(Loading { target, model, rest, answer });
    }

    /// Takes in a model that an order has asked for, and goes on with the next.
    fn loaded(&mut self, loaded: Loaded) {
        let Some(Loading { target, rest, answer, .. }) = self.loading.take() else { return };
        self.ebb.begin(Instant::now());
        let kept = loaded.and_then(|model| match model {
            Some(model) => self.keep(&target, model),
            None => Ok(()),
        });
        if let Err(error @ RepositoryError::Changed { .. }) = &kept {
            self.contents.tell(&target.to_string(), &error.to_string());
        }
        match kept {
            Ok(()) => self.load(rest, answer),
            Err(error) => finish(Err(error), answer),
        }
    }

    fn keep(&mut self, kind: &TargetKind, loaded: LocalModel) -> Done {
        let mut all = self.releases.models();
        all.extend(self.models.clone());
        let admitted = self.loader.admit(kind, &loaded, &all);
        admitted.map_err(|error| RepositoryError::Load(chain(&error).to_string()))?;
        self.models.insert(kind.clone(), Arc::new(loaded));
        self.publish().inspect_err(|_| drop(self.models.remove(kind)))
    }

    fn unload(&mut self, kind: &TargetKind) -> Done {
        if let Some(who) = needed_by(&self.intent, kind) {
            return Err(RepositoryError::Needed(kind.clone(), who));
        }
        let Some(model) = self.models.remove(kind) else { return Ok(()) };
        match self.publish() {
            Ok(()) => {
                self.ebb.begin(Instant::now());
                tracing::info!(target = %kind, "a model is unloaded");
                Ok(())
            }
            Err(error) => {
                self.models.insert(kind.clone(), model);
                Err(error)
            }
        }
    }

    fn publish(&mut self) -> Done {
        let all = self.all_models();
        let published = self.controller.publish(&self.effective, &all);
        let generation =
            published.map_err(|error| RepositoryError::Load(chain(&error).to_string()))?;
        tracing::info!(generation = generation.0, "the snapshot is published");
        Ok(())
    }
}

/// The end of the load under way; for ever where there is none. Loses nothing when it is dropped before that.
async fn next_load(loading: &mut Option<Loading>) -> Loaded {
    match loading {
        Some(loading) => loading.model.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Loads a version and notes what from.
async fn load_noted(
    loader: Arc<Loader>,
    contents: Arc<Contents>,
    version: TargetKind,
    onnx: OnnxSpec,
) -> Loaded {
    let model = load_aside(loader, version.clone(), onnx).await;
    let model = model.map_err(|error| RepositoryError::Load(error.why))?;
    contents.note(vec![(version, model.digest())]).await;
    Ok(Some(model))
}

/// Looks whether the file of a version is still what it was loaded from. One that is gone is no other.
async fn compare(
    loader: Arc<Loader>,
    version: TargetKind,
    onnx: OnnxSpec,
    loaded: [u8; 32],
) -> Loaded {
    let found = tokio::task::spawn_blocking(move || loader.sha256(&onnx)).await;
    match found.ok().flatten().filter(|found| *found != loaded) {
        None => Ok(None),
        Some(found) => {
            Err(RepositoryError::Changed { version, loaded: hex(&loaded), found: hex(&found) })
        }
    }
}

/// Answers an order about a model.
fn finish(done: Done, answer: oneshot::Sender<Done>) {
    if let Err(error) = &done {
        tracing::warn!(%error, "an order about a model is not carried out");
    }
    // Whoever asked may be gone.
    drop(answer.send(done));
}

/// Who sends requests to a version without being asked to: a share of the traffic, or a route.
fn needed_by(intent: &Intent, kind: &TargetKind) -> Option<String> {
    let TargetKind::Version(model, version) = kind else { return None };
    let share = intent.models.get(model)?.traffic.get(version).copied();
    if share.is_some_and(|share| share != Permille::NONE) {
        return Some("a share of its model's traffic".to_owned());
    }
    let routes = intent.routes.iter();
    let route = routes.into_iter().find(|(_, route)| match &route.target {
        RouteTarget::Model(to, Some(pinned)) => (to, pinned) == (model, version),
        RouteTarget::Model(_, None) | RouteTarget::Pool(_) => false,
    });
    route.map(|(name, _)| format!("route `{name}`"))
}

#[cfg(test)]
mod tests;
