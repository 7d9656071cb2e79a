//! The process: the loop that the controller runs around the plan, with what it holds in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::checks::{Broken, Checks};
use super::counts::{Rollout, compare};
use super::operators;
use super::world::{Key, Truth, World};
use crate::domain::ids::{Digest, ModelName, VersionName};
use crate::domain::lifecycle::event::{By, Draft, Event, What};
use crate::domain::lifecycle::evidence::{
    Check, CheckKind, Checks as CheckList, Outcome, ShadowEvidence, Warmth,
};
use crate::domain::lifecycle::explain::sentence;
use crate::domain::lifecycle::exposure::{Exposure, exposure};
use crate::domain::lifecycle::health::{Signal, Window};
use crate::domain::lifecycle::observed::{
    Capacity, ListingTrust, Observed, ObservedVersion, Progress, Sighting,
};
use crate::domain::lifecycle::plan::{Effect, Policies, plan};
use crate::domain::lifecycle::proof::{Fetched, Found, Look};
use crate::domain::lifecycle::stage::Stage;
use crate::domain::lifecycle::state::State;
use crate::domain::lifecycle::time::{Now, Steady};
use crate::domain::lifecycle::uncompared::{Stopwatch, hindrance};

/// Rounds of one step: what is not settled then waits for the next.
const ROUNDS: usize = 40;

/// What a running process holds.
pub(super) struct Process {
    pub state: State,
    pub seen: Observed,
    /// The routes that requests follow.
    pub published: BTreeMap<ModelName, Exposure>,
    trust: BTreeMap<ModelName, ListingTrust>,
    /// Candidates whose answers are counted, with the step.
    counting: BTreeMap<ModelName, (VersionName, usize)>,
    /// What was counted of their rollouts.
    rollouts: BTreeMap<ModelName, Rollout>,
    /// For how long candidates could not be compared.
    watches: BTreeMap<ModelName, Stopwatch>,
    /// Requests and errors of versions that serve, in windows that are not closed.
    gathered: BTreeMap<Key, (u64, u64)>,
    /// When the last window of each closed, and whether it was bad.
    pub windows: BTreeMap<Key, (Steady, bool)>,
    began: Now,
    began_at: u64,
    /// The last order overruled the guard.
    pub forced: bool,
    /// How long ago the clock was set by hours.
    pub clock_set: Option<Duration>,
}

/// The process was killed.
struct Killed;

type Step<T> = Result<Result<T, Killed>, Broken>;

impl Process {
    /// A process starts on what is written; `None` if it is killed again at once.
    pub(super) fn start(world: &mut World, checks: &mut Checks) -> Result<Option<Self>, Broken> {
        // What was not written to its end does not count.
        world.torn = false;
        let mut state = State::default();
        for event in world.events() {
            state.apply(event).map_err(|error| Broken::new(format!("I8: {error}")))?;
        }
        let began = Now::resumed(state.clock().last, world.wall());
        let mut process = Self {
            state,
            seen: Observed { began: began.steady, ..Observed::default() },
            published: BTreeMap::new(),
            trust: BTreeMap::new(),
            counting: BTreeMap::new(),
            rollouts: BTreeMap::new(),
            watches: BTreeMap::new(),
            gathered: BTreeMap::new(),
            windows: BTreeMap::new(),
            began,
            began_at: world.time,
            forced: false,
            clock_set: None,
        };
        let among = process.state.among_the_untried(began.steady);
        let died = world.served.then_some(What::Died { among });
        for what in [Some(What::Recovered), died].into_iter().flatten() {
            if process.record(world, checks, Draft { by: By::Gateway, what })?.is_err() {
                return Ok(None);
            }
        }
        world.served = true;
        Ok(Some(process))
    }

    pub(super) fn now(&self, world: &World) -> Now {
        let up = Duration::from_millis(world.time - self.began_at);
        Now { steady: self.began.steady.after(up), wall: world.wall() }
    }

    /// Requests are answered along the published routes, and counted.
    pub(super) fn traffic(&mut self, world: &mut World, pause: Duration) {
        let now = self.now(world).steady;
        let n = world.requests(pause);
        for (model, routes) in self.published.clone() {
            let Some(champion) = routes.champion.as_ref() else { continue };
            let Some(control) = self.digest(&model, champion) else { continue };
            let p = world.errors(&control);
            self.seen.model_mut(&model).version_mut(champion).last_request = Some(now);
            self.count(world, (&model, champion), n, p);
            // Some callers ask for an earlier version by its name.
            let asked = self.state.model(&model).map(|entry| entry.standbys()).unwrap_or_default();
            let asked: Vec<(VersionName, Digest)> = asked
                .into_iter()
                .map(|(standby, known)| (standby.clone(), known.release().digest.clone()))
                .collect();
            for (standby, digest) in asked {
                let p = world.errors(&digest);
                self.count(world, (&model, &standby), n, p);
            }
            let digest = |version: &VersionName| self.digest(&model, version);
            let on_trial = routes.candidate.as_ref().and_then(|it| digest(&it.version));
            let copied = routes.shadow.as_ref().and_then(digest);
            let seen = self.seen.model_mut(&model);
            if let Some(candidate) = routes.candidate.as_ref().filter(|it| it.is_compared) {
                let part = world.draw(n, f64::from(candidate.share.thousandths()) / 1000.0);
                let Some(digest) = on_trial else { continue };
                let against = world.draw(part, p);
                let (q, faults) = (
                    world.errors(&digest),
                    world.truth(&digest).map_or(0.0, |truth| truth.invalid),
                );
                let bad = world.draw(part, q);
                let faults = world.draw(part, faults);
                let lost = world.chance(12);
                let skewed = world.chance(40);
                let entry = seen.version_mut(&candidate.version);
                let Some(canary) = &mut entry.canary else { continue };
                let new = || Rollout::new(canary.began);
                let rollout = self.rollouts.entry(model.clone()).or_insert_with(new);
                rollout.count(part, bad, faults, against);
                *canary = rollout.evidence(canary.crashed.take());
                canary.sample_ratio = Some(if skewed { 1e-9 } else { 0.4 });
                if lost {
                    canary.sample_ratio = None;
                    for rate in &mut canary.rates {
                        rate.excess_high = None;
                    }
                }
            }
            if let Some(shadow) = &routes.shadow
                && let Some(digest) = copied
                && let Some(truth) = world.truth(&digest).cloned()
            {
                let pairs = n.min(400);
                let invalid = world.draw(pairs, truth.invalid);
                let entered = entered(&self.state, &model, shadow);
                let entry = seen.version_mut(shadow);
                let evidence = since(&mut entry.shadow, entered, now);
                evidence.pairs += pairs;
                evidence.invalid += invalid;
                compare(evidence, truth.agreement);
            }
        }
    }

    /// Counts what a version that serves has answered. Its window closes once there is enough in it, and not at the same
    /// moment as those of others.
    fn count(
        &mut self,
        world: &mut World,
        (model, version): (&ModelName, &VersionName),
        n: u64,
        p: f64,
    ) {
        let key = (model.clone(), version.clone());
        let gathered = self.gathered.entry(key.clone()).or_default();
        *gathered = (gathered.0 + n, gathered.1 + world.draw(n, p));
        if gathered.0 < 100 || world.chance(3) {
            return;
        }
        let (n, errors) = std::mem::take(gathered);
        let (at, is_bad) = (self.now(world).steady, errors * 20 > n * 3);
        let detail = format!("{errors} of {n} are errors");
        let window = Window { at, bad: Some(is_bad), crossed: false, samples: n, detail };
        self.seen.model_mut(model).version_mut(version).health.observe(Signal::SloBurn, &window);
        self.windows.insert(key, (at, is_bad));
    }

    /// The process looks around: the store, its versions, what they hold.
    pub(super) fn look(&mut self, world: &mut World) {
        let now = self.now(world).steady;
        for model in world.models.clone() {
            let trust = self.trust.entry(model.clone()).or_default();
            let listing = world.listing(&model);
            trust.observe(listing.as_ref().map(Vec::len).ok_or("the store does not answer"));
            let seen = self.seen.model_mut(&model);
            seen.listing_doubt = trust.doubt().map(str::to_owned);
            // Absence is no decision: what was seen stays seen.
            for (version, artifact) in listing.into_iter().flatten() {
                let complete = artifact.complete_at <= world.time;
                let sighting = Sighting { release: artifact.release, complete };
                Arc::make_mut(&mut seen.sightings).insert(version, sighting);
            }
            let Some(entry) = self.state.model(&model) else { continue };
            let routes = self.published.get(&model).cloned().unwrap_or_default();
            let (mut disk, mut memory) = (0, 0);
            for (version, known) in entry.versions() {
                let key = (model.clone(), version.clone());
                let digest = &known.release().digest;
                let at = seen.version_mut(version);
                if at.digest.as_ref() != Some(digest) {
                    *at = ObservedVersion { digest: Some(digest.clone()), ..Default::default() };
                }
                at.forget_what_is_over(known.stage());
                at.on_disk = world.disk.contains(&key);
                disk += if at.on_disk { known.release().bytes } else { 0 };
                memory += if at.ready { known.release().bytes } else { 0 };
                if world.is_dead(digest) && at.ready {
                    at.ready = false;
                    if let Some(canary) = &mut at.canary {
                        canary.crashed = Some("all its backends are gone".to_owned());
                    }
                }
                at.note_ready(at.ready, (!at.ready).then_some(now), now);
                // Somebody asks all the time.
                at.missed = at.away_since;
                // How much each can take is no matter of this world.
                at.capacity = Some(Capacity::default());
                at.in_flight = match routes.reaches(version) {
                    true => world.rng.u64(..4),
                    false => world.rng.u64(..=at.in_flight),
                };
                if world.clear {
                    at.references.clear();
                    at.in_flight = at.in_flight.min(u64::from(routes.reaches(version)));
                } else if world.chance(200) {
                    at.references = vec!["alias `prod`".to_owned()];
                } else if world.chance(10) {
                    at.references.clear();
                }
                if world.chance(300) {
                    at.last_request = Some(now);
                }
            }
            seen.disk = disk;
            seen.memory = memory;
            if let Some((version, known)) = entry.candidate() {
                let ready = |version: &VersionName| {
                    seen.versions.get(version).is_some_and(|seen| seen.ready)
                };
                let found = hindrance(&self.state, &model, ready);
                let watch = self.watches.entry(model.clone()).or_default();
                seen.version_mut(version).uncompared = watch.look(known.time_from(), found, now);
            }
        }
        self.seen.lease_taken = world.chance(20);
        self.clock_set = world.clock_set_at.map(|at| Duration::from_millis(world.time - at));
    }

    /// Plans, writes down, publishes and acts until nothing is left to do; `false` if it was killed.
    pub(super) fn act(
        &mut self,
        world: &mut World,
        policies: &Policies,
        checks: &mut Checks,
    ) -> Result<bool, Broken> {
        if self.publish(world, checks)?.is_err() {
            return Ok(false);
        }
        for _ in 0..ROUNDS {
            let now = self.now(world);
            let planned = plan(&self.state, &self.seen, policies, now);
            if world.rng.u8(..32) == 0 && planned != plan(&self.state, &self.seen, policies, now) {
                return Err(Broken::new("a plan differs from the same plan"));
            }
            let idle = planned.drafts.is_empty() && planned.effects.is_empty();
            for draft in planned.drafts {
                if self.settle(world, checks, draft)?.is_err() {
                    return Ok(false);
                }
            }
            for effect in planned.effects {
                if world.chance(400) {
                    return Ok(false);
                }
                self.perform(world, checks, effect)?;
            }
            if self.publish(world, checks)?.is_err() {
                return Ok(false);
            }
            // An order is carried out on what is now, not on what was planned with.
            let order = operators::draw(world, self, policies);
            if idle && order.is_none() {
                break;
            }
            if let Some(order) = order {
                if self.settle(world, checks, order)?.is_err() {
                    return Ok(false);
                }
                self.forced = false;
            }
        }
        Ok(true)
    }

    /// Writes a draft down and publishes what follows from it.
    fn settle(&mut self, world: &mut World, checks: &mut Checks, draft: Draft) -> Step<()> {
        match self.record(world, checks, draft)? {
            Ok(()) => self.publish(world, checks),
            Err(Killed) => Ok(Err(Killed)),
        }
    }

    /// Writes a draft down and folds it.
    fn record(&mut self, world: &mut World, checks: &mut Checks, draft: Draft) -> Step<()> {
        if world.chance(400) {
            return Ok(Err(Killed));
        }
        let event = self.state.stamp(draft, self.now(world));
        if world.chance(400) {
            world.torn = true;
            return Ok(Err(Killed));
        }
        if world.rng.u8(..8) == 0 {
            reads_back(&event)?;
        }
        checks.written(self, &event)?;
        world.append(event.clone());
        let had = champions(&self.state);
        if let Err(error) = self.state.apply(&event) {
            return Err(Broken::new(format!("a planned event does not fold: {error}: {event:?}")));
        }
        // From here on it is written, whether or not the process lives to know.
        checks.folded(&had, &self.state, &event)?;
        if world.chance(400) {
            return Ok(Err(Killed));
        }
        Ok(Ok(()))
    }

    /// Publishes the routes that the state says.
    fn publish(&mut self, world: &mut World, checks: &mut Checks) -> Step<()> {
        let now = self.now(world).steady;
        let models: Vec<ModelName> = self.state.models().map(|(name, _)| name.clone()).collect();
        for model in models {
            let ready = |version: &VersionName| {
                self.seen.version(&model, version).is_some_and(|seen| seen.ready)
            };
            let routes = exposure(&self.state, &model, ready);
            checks.published(self, &model, &routes, now)?;
            self.start_counting(&model, &routes, now);
            self.published.insert(model, routes);
            if world.chance(4000) {
                return Ok(Err(Killed));
            }
        }
        Ok(Ok(()))
    }

    /// Counts begin anew with each step of a candidate.
    fn start_counting(&mut self, model: &ModelName, routes: &Exposure, now: Steady) {
        let Some(candidate) = &routes.candidate else {
            if self.state.model(model).is_none_or(|model| model.candidate().is_none()) {
                self.counting.remove(model);
            }
            return;
        };
        let version = self.state.model(model).and_then(|model| model.version(&candidate.version));
        let Some(Stage::Canary(canary)) = version.map(|version| version.stage()) else { return };
        let key = (candidate.version.clone(), canary.step());
        let last = self.counting.insert(model.clone(), key.clone());
        if last.as_ref() == Some(&key) {
            return;
        }
        let entry = self.seen.model_mut(model).version_mut(&candidate.version);
        match self.rollouts.get_mut(model) {
            Some(rollout) if last.is_some_and(|(version, _)| version == candidate.version) => {
                rollout.comparison.begin_step(now);
            }
            _ => {
                self.rollouts.insert(model.clone(), Rollout::new(now));
            }
        }
        entry.canary = self.rollouts.get(model).map(|rollout| rollout.evidence(None));
    }

    /// Does what is planned, as well as the world lets it.
    fn perform(
        &mut self,
        world: &mut World,
        checks: &mut Checks,
        effect: Effect,
    ) -> Result<(), Broken> {
        let now = self.now(world).steady;
        match effect {
            Effect::Fetch(model, version) => self.fetch(world, (model, version)),
            Effect::Check(model, version) => {
                let Some(truth) = self.truth(world, &model, &version) else { return Ok(()) };
                let list = checks_of(truth.admitted, truth.golden, world.rng.u8(..20) == 0);
                if !world.chance(5) {
                    self.entry(&model, &version).checks =
                        Progress::Done(CheckList { began: now, checks: list });
                }
            }
            Effect::Warm(model, version) | Effect::Load(model, version) => {
                self.load(world, (model, version));
            }
            Effect::Replay(model, version, rows) => {
                let Some(truth) = self.truth(world, &model, &version) else { return Ok(()) };
                let invalid = world.draw(rows, truth.invalid);
                let entered = entered(&self.state, &model, &version);
                let evidence = since(&mut self.entry(&model, &version).shadow, entered, now);
                evidence.pairs += rows;
                evidence.replayed += rows;
                evidence.invalid += invalid;
                compare(evidence, truth.agreement);
            }
            Effect::Look(model, version) => self.check_again(world, checks, (model, version)),
            Effect::Unload(model, version) => {
                checks.unloads(self, &model, &version)?;
                self.entry(&model, &version).ready = false;
            }
            Effect::Delete(model, version) => {
                checks.deletes(self, &model, &version)?;
                self.entry(&model, &version).on_disk = false;
                Arc::make_mut(&mut self.seen.model_mut(&model).sightings).remove(&version);
                let trust = self.trust.entry(model.clone()).or_default();
                let key = (model, version);
                world.disk.remove(&key);
                if world.is_honest() {
                    world.store.remove(&key);
                    trust.removed();
                }
            }
        }
        Ok(())
    }

    fn load(&mut self, world: &mut World, key: Key) {
        let now = self.now(world).steady;
        let Some(digest) = self.digest(&key.0, &key.1) else { return };
        let loads = world.truth(&digest).is_some_and(|truth| truth.loads)
            && !world.is_dead(&digest)
            && world.disk.contains(&key);
        let (slow, settled) = (world.chance(6), !world.chance(6));
        let seen = self.entry(&key.0, &key.1);
        if !loads {
            seen.warmth = failed_again(&seen.warmth, now, "the graph cannot be read");
            seen.trouble = Some("the graph cannot be read".to_owned());
        } else if !slow {
            seen.ready = true;
            seen.warmth = Progress::Done(Warmth {
                began: now,
                runs: 20,
                cold_us: 900,
                warm_us: 90,
                bytes: 100,
                settled,
            });
        }
    }

    /// Runs the golden set again.
    fn check_again(&mut self, world: &World, checks: &mut Checks, key: Key) {
        let now = self.now(world).steady;
        let Some(digest) = self.digest(&key.0, &key.1) else { return };
        let shows = world.truth(&digest).is_some_and(|truth| truth.shows);
        let broken = world.is_broken(&digest) && shows;
        let passed = !broken && !world.host_fails() && !world.is_dead(&digest);
        let how = "the golden set was run again".to_owned();
        let seen = self.entry(&key.0, &key.1);
        let found = if passed { Found::Sound } else { Found::Unsound };
        seen.look = Some(Look { at: now, found, how: how.clone() });
        let window =
            Window { at: now, bad: Some(!passed), crossed: false, samples: 50, detail: how };
        seen.health.observe(Signal::Golden, &window);
        checks.looked(key, now, passed);
    }

    fn truth(&self, world: &World, model: &ModelName, version: &VersionName) -> Option<Truth> {
        world.truth(&self.digest(model, version)?).cloned()
    }

    fn fetch(&mut self, world: &mut World, key: Key) {
        let now = self.now(world).steady;
        let fails = !world.is_honest() || world.chance(8) || !world.store.contains_key(&key);
        let seen = self.entry(&key.0, &key.1);
        if fails {
            seen.fetch = failed_again(&seen.fetch, now, "the store does not answer");
        } else {
            seen.fetch = Progress::Done(Fetched::verified(100, 3));
            world.disk.insert(key);
        }
    }

    fn digest(&self, model: &ModelName, version: &VersionName) -> Option<Digest> {
        Some(self.state.model(model)?.version(version)?.release().digest.clone())
    }

    fn entry(&mut self, model: &ModelName, version: &VersionName) -> &mut ObservedVersion {
        let digest = self.digest(model, version);
        let entry = self.seen.model_mut(model).version_mut(version);
        if entry.digest != digest {
            *entry = ObservedVersion { digest, ..Default::default() };
        }
        entry
    }
}

/// Work that has failed once more.
fn failed_again<T>(before: &Progress<T>, now: Steady, why: &str) -> Progress<T> {
    let (attempts, since) = match before {
        Progress::Failed { attempts, since, .. } => (*attempts + 1, *since),
        _ => (1, now),
    };
    Progress::Failed { attempts, since, why: why.to_owned(), corrupt: false }
}

/// I8: a line of JSON says the same as the event.
fn reads_back(event: &Event) -> Result<(), Broken> {
    let line = serde_json::to_string(event).map_err(|error| Broken::new(error.to_string()))?;
    let read: Event =
        serde_json::from_str(&line).map_err(|error| Broken::new(format!("I8: {error}: {line}")))?;
    let same = sentence(event) == sentence(&read) && !line.contains('\n');
    if same { Ok(()) } else { Err(Broken::new(format!("I8: it reads back otherwise: {line}"))) }
}

/// Models that somebody answers for.
fn champions(state: &State) -> Vec<ModelName> {
    let led = state.models().filter(|(_, model)| model.champion().is_some());
    led.map(|(name, _)| name.clone()).collect()
}

/// When a version came to its stage.
fn entered(state: &State, model: &ModelName, version: &VersionName) -> Steady {
    let known = state.model(model).and_then(|model| model.version(version));
    known.map_or(Steady(0), |version| version.since())
}

/// The evidence of this stay in shadow.
fn since(
    evidence: &mut Option<ShadowEvidence>,
    entered: Steady,
    now: Steady,
) -> &mut ShadowEvidence {
    if evidence.as_ref().is_some_and(|evidence| evidence.began < entered) {
        *evidence = None;
    }
    evidence.get_or_insert(ShadowEvidence { began: now, ..ShadowEvidence::default() })
}

/// What the checks before any traffic find.
fn checks_of(admitted: bool, golden: bool, asks: bool) -> Vec<Check> {
    let check = |kind, outcome| Check { kind, outcome, detail: "48 rows".to_owned() };
    let interface = if asks { Outcome::NeedsApproval } else { Outcome::Passed };
    let probes = if admitted { Outcome::Passed } else { Outcome::Failed };
    vec![
        check(CheckKind::Identity, Outcome::Passed),
        check(CheckKind::Interface, interface),
        check(CheckKind::Probes, probes),
        check(CheckKind::Determinism, Outcome::Passed),
        check(CheckKind::Latency, Outcome::Passed),
        check(CheckKind::Golden, if golden { Outcome::Passed } else { Outcome::Skipped }),
    ]
}
