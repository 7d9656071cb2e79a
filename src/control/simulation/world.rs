//! The world outside the process: what is true, and what is only said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::domain::ids::{Digest, ModelName, Permille, VersionName};
use crate::domain::lifecycle::event::Event;
use crate::domain::lifecycle::plan::Policies;
use crate::domain::lifecycle::policy::{EvictPolicy, GuardPolicy, Mode, Policy, Step};
use crate::domain::lifecycle::release::Release;
use crate::domain::lifecycle::time::Wall;

/// A version of a model.
pub(super) type Key = (ModelName, VersionName);

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// What a content really is.
#[derive(Debug, Clone)]
pub(super) struct Truth {
    /// Share of its answers that are errors.
    pub errors: f64,
    /// Share of its answers that are no valid output.
    pub invalid: f64,
    /// It passes the checks before any traffic.
    pub admitted: bool,
    /// It brings golden answers.
    pub golden: bool,
    /// It loads.
    pub loads: bool,
    /// How often it agrees with others.
    pub agreement: f64,
    /// From then on a third of its answers are errors.
    pub breaks_at: Option<u64>,
    /// Whether its golden set shows that it is broken.
    pub shows: bool,
    /// For so long from then on it cannot answer at all.
    pub dies: Option<(u64, u64)>,
}

/// What lies in the store.
#[derive(Debug, Clone)]
pub(super) struct Artifact {
    pub release: Release,
    pub complete_at: u64,
}

/// How the store behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Honest,
    Empty,
    Half,
    Fails,
}

/// Everything outside the process.
pub(super) struct World {
    pub rng: fastrand::Rng,
    /// Milliseconds since the world began.
    pub time: u64,
    /// What the clock of the machine adds to it.
    skew: i64,
    /// When it was last set by hours.
    pub clock_set_at: Option<u64>,
    pub models: Vec<ModelName>,
    pub store: BTreeMap<Key, Artifact>,
    pub truths: BTreeMap<Digest, Truth>,
    /// Fetched artifacts.
    pub disk: BTreeSet<Key>,
    mood: Mood,
    mood_until: u64,
    host_fault_until: u64,
    /// Requests a second.
    rate: f64,
    rate_until: u64,
    published: u64,
    /// Good weather from now on.
    pub clear: bool,
    /// What is on the disk.
    journal: Vec<Event>,
    /// The last event was not written to its end.
    pub torn: bool,
    /// A process has answered requests and taken no leave yet.
    pub served: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let count = if rng.u8(..5) == 0 { 2 } else { 1 };
        Self {
            time: HOUR,
            skew: 0,
            clock_set_at: None,
            models: (0..count).map(|i| ModelName::new(format!("m{i}"))).collect(),
            store: BTreeMap::new(),
            truths: BTreeMap::new(),
            disk: BTreeSet::new(),
            mood: Mood::Honest,
            mood_until: 0,
            host_fault_until: 0,
            rate: 20.0,
            rate_until: 0,
            published: 0,
            clear: false,
            journal: Vec::new(),
            torn: false,
            served: false,
            rng,
        }
    }

    pub(super) fn chance(&mut self, one_in: u32) -> bool {
        !self.clear && self.rng.u32(..one_in) == 0
    }

    pub(super) fn draw_pause(&mut self) -> Duration {
        let millis = match self.rng.u8(..10) {
            0 => self.rng.u64(HOUR..6 * HOUR),
            1..=3 => self.rng.u64(10 * MINUTE..HOUR),
            _ => self.rng.u64(1000..10 * MINUTE),
        };
        Duration::from_millis(millis)
    }

    /// Policies with short times, so that much happens.
    pub(super) fn draw_policies(&mut self) -> Policies {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let mut policy = Policy::default();
        let rng = &mut self.rng;
        let release = &mut policy.release;
        if rng.u8(..6) == 0 {
            release.mode = Mode::Manual;
        }
        release.shadow.pairs = *rng.choice(&[0, 50, 50, 500]).unwrap_or(&50);
        release.shadow.limit = minutes(30);
        let step =
            |thousandths, responses| Step { share: Permille::saturating(thousandths), responses };
        release.steps = vec![step(10, 20), step(50, 50), step(200, 100), step(500, 200)];
        release.dwell = minutes(5);
        release.warming = minutes(90);
        release.validating = minutes(90);
        release.between = minutes(5);
        release.daily = 40;
        release.undo = minutes(rng.u64(30..300));
        release.proving = minutes(120);
        release.unproven = rng.u8(..8) == 0;
        release.standbys = rng.usize(1..3);
        release.deaths = *rng.choice(&[1, 2, 2, 1000]).unwrap_or(&2);
        release.absence = minutes(*rng.choice(&[0, 5, 5, 30]).unwrap_or(&5));
        policy.evict = EvictPolicy {
            ttl: rng.bool().then(|| minutes(60 * rng.u64(2..24))),
            max_age: (rng.u8(..3) == 0).then(|| minutes(60 * 24 * 20)),
            idle: rng.bool().then(|| minutes(60)),
            keep_proven: rng.usize(0..3),
            quarantine: rng.bool().then(|| minutes(60 * 3)),
            grace: minutes(rng.u64(10..120)),
            disk: (rng.u8(..3) == 0).then_some(300),
            memory: (rng.u8(..3) == 0).then_some(250),
            cool_down: minutes(3),
            hourly: 4,
            dry_run: rng.u8(..12) == 0,
            ..EvictPolicy::default()
        };
        policy.guard = GuardPolicy { margin: 0.08, ..GuardPolicy::default() };
        Policies { default: policy, models: BTreeMap::new() }
    }

    pub(super) fn wall(&self) -> Wall {
        const EPOCH: i64 = 1_790_000_000_000;
        let now = EPOCH.saturating_add_unsigned(self.time).saturating_add(self.skew);
        Wall(u64::try_from(now).unwrap_or(0))
    }

    /// Time passes, and with it things happen.
    pub(super) fn advance(&mut self, pause: Duration) {
        self.time += u64::try_from(pause.as_millis()).unwrap_or(0);
        if self.clear {
            self.mood = Mood::Honest;
            self.rate = 20.0;
            return;
        }
        if self.time > self.mood_until {
            self.mood = match self.rng.u8(..10) {
                0 => Mood::Empty,
                1 => Mood::Half,
                2 => Mood::Fails,
                _ => Mood::Honest,
            };
            self.mood_until = self.time + self.rng.u64(MINUTE..6 * HOUR);
        }
        if self.time > self.rate_until {
            self.rate = *self.rng.choice(&[0.0, 0.2, 20.0, 20.0, 50.0, 50.0]).unwrap_or(&5.0);
            self.rate_until = self.time + self.rng.u64(10 * MINUTE..4 * HOUR);
        }
        if self.chance(40) {
            self.host_fault_until = self.time + self.rng.u64(MINUTE..2 * HOUR);
        }
        if self.chance(60) {
            let day = 86_400_000;
            let step = self.rng.i64(-2 * day..2 * day);
            self.skew += step;
            if step.unsigned_abs() >= 2 * HOUR {
                self.clock_set_at = Some(self.time);
            }
        }
        if self.rng.u8(..4) == 0 && self.published < 14 {
            // Pipelines that run wild publish ten in a minute.
            let burst = if self.chance(30) { 10 } else { 1 };
            for _ in 0..burst {
                self.publish();
            }
        }
    }

    /// A pipeline publishes a version.
    fn publish(&mut self) {
        self.published += 1;
        let model = self.rng.choice(&self.models).cloned().unwrap_or_else(|| ModelName::new("m0"));
        let n = self.published;
        let name = match self.rng.u8(..12) {
            0 => format!("0.{n}.0"),
            1 => format!("v{}", self.rng.u64(1..=n)),
            2 => format!("build-{:x}", self.rng.u16(..)),
            _ => format!("v{n}"),
        };
        let known: Vec<Digest> = self.truths.keys().cloned().collect();
        let again = self.chance(10);
        let digest = match self.rng.choice(&known) {
            Some(digest) if again => digest.clone(),
            _ => Digest::new(format!("d{n}")),
        };
        let truth = self.draw_truth();
        self.truths.entry(digest.clone()).or_insert(truth);
        let publishers = ["nightly", "hourly", "alice"];
        let release = Release {
            digest,
            bytes: 100,
            source: "store".to_owned(),
            publisher: Some((*self.rng.choice(&publishers).unwrap_or(&"alice")).to_owned()),
            trained_at: Some(Wall(self.wall().0.saturating_sub(self.rng.u64(..48 * HOUR)))),
            named: self.rng.u8(..6) == 0,
        };
        let late = if self.rng.u8(..3) == 0 { self.rng.u64(..30 * MINUTE) } else { 0 };
        let artifact = Artifact { release, complete_at: self.time + late };
        self.store.insert((model, VersionName::new(name)), artifact);
    }

    fn draw_truth(&mut self) -> Truth {
        let mut truth = Truth {
            errors: 0.01,
            invalid: 0.0,
            admitted: true,
            golden: self.rng.u8(..5) > 0,
            loads: true,
            agreement: 0.97,
            breaks_at: None,
            shows: self.rng.bool(),
            dies: None,
        };
        match self.rng.u8(..16) {
            0 => truth.errors = 0.3,
            1 => truth.errors = 1.0,
            2 => truth.invalid = 0.02,
            3 => truth.admitted = false,
            4 => truth.loads = false,
            5 => truth.agreement = 0.3,
            6..=8 => truth.breaks_at = Some(self.time + self.rng.u64(..24 * HOUR)),
            9 => {
                let from = self.time + self.rng.u64(..12 * HOUR);
                truth.dies = Some((from, from + self.rng.u64(MINUTE..5 * HOUR)));
            }
            _ => {}
        }
        truth
    }

    pub(super) fn truth(&self, digest: &Digest) -> Option<&Truth> {
        self.truths.get(digest)
    }

    pub(super) fn host_fails(&self) -> bool {
        self.time < self.host_fault_until
    }

    pub(super) fn is_broken(&self, digest: &Digest) -> bool {
        self.truth(digest).is_some_and(|truth| truth.breaks_at.is_some_and(|at| at <= self.time))
    }

    pub(super) fn is_dead(&self, digest: &Digest) -> bool {
        let dead = |(from, until)| from <= self.time && self.time < until;
        self.truth(digest).and_then(|truth| truth.dies).is_some_and(dead)
    }

    /// The share of errors in what a content answers now.
    pub(super) fn errors(&self, digest: &Digest) -> f64 {
        let own = self.truth(digest).map_or(1.0, |truth| truth.errors);
        let own = if self.is_broken(digest) { own.max(0.34) } else { own };
        if self.host_fails() { (own + 0.5).min(1.0) } else { own }
    }

    /// The requests of `pause`, at most a few thousand.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    pub(super) fn requests(&self, pause: Duration) -> u64 {
        (self.rate * pause.as_secs_f64()).min(3000.0) as u64
    }

    /// What the store says it has of `model`, if it says anything.
    pub(super) fn listing(&self, model: &ModelName) -> Option<Vec<(VersionName, Artifact)>> {
        let all = self.store.iter().filter(|((of, _), _)| of == model);
        let all = all.map(|((_, version), artifact)| (version.clone(), artifact.clone()));
        match self.mood {
            Mood::Honest => Some(all.collect()),
            Mood::Empty => Some(Vec::new()),
            Mood::Half => Some(all.step_by(2).collect()),
            Mood::Fails => None,
        }
    }

    pub(super) fn is_honest(&self) -> bool {
        self.mood == Mood::Honest
    }

    /// So many of `n` by chance.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an approximate draw"
    )]
    pub(super) fn draw(&mut self, n: u64, p: f64) -> u64 {
        if n <= 40 {
            return (0..n).filter(|_| self.rng.f64() < p).count() as u64;
        }
        let (mean, normal) = (n as f64 * p, (0..12).map(|_| self.rng.f64()).sum::<f64>() - 6.0);
        let drawn = mean + normal * (mean * (1.0 - p)).sqrt();
        // Small means are not normal: the nearest whole number by chance.
        (drawn.max(0.0) + self.rng.f64()).floor().min(n as f64) as u64
    }

    pub(super) fn comes_back(&mut self) -> bool {
        self.clear || self.rng.u8(..3) > 0
    }

    pub(super) fn clear_up(&mut self) {
        self.clear = true;
        self.host_fault_until = 0;
    }

    /// Writes an event and syncs it.
    pub(super) fn append(&mut self, event: Event) {
        self.journal.push(event);
    }

    /// Everything that was written.
    pub(super) fn events(&self) -> &[Event] {
        &self.journal
    }
}
