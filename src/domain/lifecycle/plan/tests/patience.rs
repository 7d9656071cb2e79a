mod absence;
mod away;
mod deaths;
mod restarts;
mod time;

use std::sync::Arc;

use super::super::*;
use crate::domain::ids::Digest;
use crate::domain::lifecycle::event::{Alert, By};
use crate::domain::lifecycle::evidence::{Check, CheckKind, Checks, Outcome, Warmth};
use crate::domain::lifecycle::health::{Signal, Window};
use crate::domain::lifecycle::observed::{Capacity, Sighting};
use crate::domain::lifecycle::order::{Command, Order, carry_out};
use crate::domain::lifecycle::proof::{Fetched, Found, Gate, Look};
use crate::domain::lifecycle::release::Release;
use crate::domain::lifecycle::time::{Steady, Wall};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// One model, and what is seen of it.
struct Bench {
    state: State,
    observed: Observed,
    policies: Policies,
    now: Now,
}

fn model() -> ModelName {
    ModelName::new("m")
}

fn version(name: &str) -> VersionName {
    VersionName::new(name)
}

impl Bench {
    fn new() -> Self {
        let now = Now { steady: Steady(1000), wall: Wall(1_790_000_000_000) };
        let (state, observed) = (State::default(), Observed::default());
        let mut bench = Self { state, observed, policies: Policies::default(), now };
        let release = &mut bench.policies.default.release;
        (release.unproven, release.between) = (true, Duration::ZERO);
        bench
    }

    fn known(&self, name: &str) -> &Version {
        let model = self.state.model(&model()).expect("a model");
        model.version(&version(name)).expect("a version")
    }

    /// `v1` is told of, complete, and fetched.
    fn staged() -> Self {
        let mut bench = Self::new();
        bench.publish("v1");
        bench
    }

    /// `v1` stands by, and `v2` is live.
    fn live() -> Self {
        let mut bench = Self::new();
        for name in ["v1", "v2"] {
            bench.publish(name);
            bench.sees(name, |seen| seen.checks = Progress::Done(checks()));
            bench.settle();
            bench.sees(name, |seen| {
                seen.warmth = Progress::Done(warmth(true));
                seen.ready = true;
            });
            bench.settle();
            bench.passes(MINUTE);
        }
        bench.orders(Command::Promote(model(), version("v2")));
        bench.settle();
        assert_eq!((bench.stage("v1"), bench.stage("v2")), ("standby", "live"));
        bench.passes(Duration::from_secs(3600));
        bench
    }

    fn publish(&mut self, name: &str) {
        let release = Release {
            digest: Digest::new(format!("digest-of-{name}")),
            bytes: 100,
            source: "store".to_owned(),
            publisher: None,
            trained_at: None,
            named: false,
        };
        let digest = Some(release.digest.clone());
        let sighting = Sighting { release, complete: true };
        let seen = self.observed.model_mut(&model());
        Arc::make_mut(&mut seen.sightings).insert(version(name), sighting);
        self.sees(name, |seen| {
            seen.digest = digest;
            seen.fetch = Progress::Done(Fetched::verified(100, 3));
            seen.on_disk = true;
            seen.capacity = Some(Capacity::default());
        });
        self.settle();
    }

    fn sees(&mut self, name: &str, change: impl FnOnce(&mut ObservedVersion)) {
        change(self.observed.model_mut(&model()).version_mut(&version(name)));
    }

    fn passes(&mut self, time: Duration) {
        let now = self.now.steady.after(time);
        self.now.wall.0 += now.0 - self.now.steady.0;
        self.now.steady = now;
    }

    fn write(&mut self, draft: Draft) {
        let event = self.state.stamp(draft, self.now);
        self.state.apply(&event).expect("it folds");
    }

    /// Folds what is planned until nothing is; what is to be done then.
    fn settle(&mut self) -> Vec<Effect> {
        for _ in 0..50 {
            let planned = plan(&self.state, &self.observed, &self.policies, self.now);
            if planned.drafts.is_empty() {
                return planned.effects;
            }
            planned.drafts.into_iter().for_each(|draft| self.write(draft));
            self.look_around();
        }
        panic!("the plan does not settle");
    }

    /// What the controller does in each round.
    fn look_around(&mut self) {
        let stages: Vec<(String, Stage)> =
            self.state.model(&model()).map_or_else(Vec::new, |model| {
                let versions = model.versions();
                versions.map(|(name, known)| (name.to_string(), known.stage().clone())).collect()
            });
        for (name, stage) in stages {
            self.sees(&name, |seen| seen.forget_what_is_over(&stage));
        }
    }

    fn orders(&mut self, command: Command) {
        let order =
            Order { who: "ann".to_owned(), why: "a test".to_owned(), expected: None, command };
        let draft = carry_out(&self.state, &self.observed, &self.policies, self.now, &order);
        let draft = draft.unwrap_or_else(|refused| panic!("{refused}"));
        assert!(matches!(draft.by, By::Operator { .. }));
        self.write(draft);
    }

    fn stage(&self, name: &str) -> &'static str {
        let known = self.state.model(&model()).and_then(|model| model.version(&version(name)));
        known.map_or("unknown", |known| known.stage().word())
    }

    /// Why a version was stopped.
    fn verdict(&self, name: &str) -> Option<(Gate, String)> {
        let known = self.state.model(&model())?.version(&version(name))?;
        let Stage::Quarantined(quarantined) = known.stage() else { return None };
        let Verdict { gate, why } = quarantined.verdict();
        Some((*gate, why.clone()))
    }

    /// Windows of errors that degrade a version.
    fn degrades(&mut self, name: &str, signal: Signal) {
        let at = self.now.steady;
        let detail = "300 of 500".to_owned();
        let window = Window { at, bad: Some(true), crossed: true, samples: 500, detail };
        self.sees(name, |seen| seen.health.observe(signal, &window));
    }

    /// A look that began now.
    fn looks(&mut self, name: &str, found: Found) {
        let at = self.now.steady;
        let how = "golden answers".to_owned();
        self.sees(name, |seen| seen.look = Some(Look { at, found, how }));
    }
}

fn checks() -> Checks {
    let check = |kind| Check { kind, outcome: Outcome::Passed, detail: "48 rows".to_owned() };
    Checks { began: Steady(u64::MAX), checks: CheckKind::ALL.map(check).to_vec() }
}

fn warmth(settled: bool) -> Warmth {
    let began = Steady(u64::MAX);
    Warmth { began, runs: 40, cold_us: 900, warm_us: 90, bytes: 100, settled }
}

fn failed<T>(attempts: u32, since: Steady) -> Progress<T> {
    let why = "nobody is there".to_owned();
    Progress::Failed { attempts, since, why, corrupt: false }
}

#[test]
fn servers_that_are_away_for_a_moment_stop_no_version_whatever_the_attempts() {
    let mut bench = Bench::staged();
    assert_eq!(bench.stage("v1"), "validating");
    for attempts in 1..40 {
        bench.passes(7 * SECOND);
        bench.sees("v1", |seen| seen.checks = failed(attempts, Steady(1000)));
        assert_eq!(bench.settle(), [Effect::Check(model(), version("v1"))], "it is tried again");
        assert_eq!(bench.stage("v1"), "validating");
    }
    bench.sees("v1", |seen| seen.checks = Progress::Done(checks()));
    bench.settle();
    assert_eq!(bench.stage("v1"), "warming");
    for attempts in 1..40 {
        bench.passes(7 * SECOND);
        bench.sees("v1", |seen| seen.warmth = failed(attempts, Steady(1000)));
        assert_eq!(bench.settle(), [Effect::Warm(model(), version("v1"))]);
        assert_eq!(bench.stage("v1"), "warming");
    }
}

#[test]
fn what_could_not_be_tried_in_all_its_time_is_stopped_and_not_condemned() {
    for warms in [false, true] {
        let mut bench = Bench::staged();
        if warms {
            bench.sees("v1", |seen| seen.checks = Progress::Done(checks()));
            bench.settle();
            bench.sees("v1", |seen| seen.warmth = failed(9, Steady(1000)));
        } else {
            bench.sees("v1", |seen| seen.checks = failed(9, Steady(1000)));
        }
        bench.passes(6 * MINUTE);
        bench.settle();
        let (gate, why) = bench.verdict("v1").expect("it is stopped");
        assert_eq!(gate, Gate::Insufficient);
        assert!(why.contains("that can be made: nobody is there"), "{why}");
        assert!(!gate.condemns());
    }
}

#[test]
fn a_latency_that_was_measured_and_never_settles_is_the_versions_own() {
    let mut bench = Bench::staged();
    bench.sees("v1", |seen| seen.checks = Progress::Done(checks()));
    bench.settle();
    bench.sees("v1", |seen| {
        seen.warmth = Progress::Done(warmth(false));
        seen.ready = true;
    });
    bench.passes(6 * MINUTE);
    bench.settle();
    assert_eq!(bench.verdict("v1").map(|(gate, _)| gate), Some(Gate::WarmUp));
}

#[test]
fn a_restored_version_is_tried_anew_whatever_failed_before() {
    let mut bench = Bench::staged();
    bench.sees("v1", |seen| seen.checks = failed(9, Steady(1000)));
    bench.passes(6 * MINUTE);
    bench.settle();
    assert_eq!(bench.stage("v1"), "quarantined");
    bench.passes(MINUTE);
    bench.look_around();
    bench.orders(Command::Restore(model(), version("v1")));
    let fetch = Effect::Fetch(model(), version("v1"));
    assert_eq!(bench.settle(), [fetch], "its source may say something else of it now");
    bench.sees("v1", |seen| seen.fetch = Progress::Done(Fetched::verified(100, 0)));
    assert_eq!(bench.settle(), [Effect::Check(model(), version("v1"))]);
    assert_eq!(bench.stage("v1"), "validating");
}

#[test]
fn an_artifact_that_cannot_be_fetched_for_a_moment_is_tried_again() {
    let mut bench = Bench::staged();
    bench.orders(Command::Reject(model(), version("v1")));
    bench.settle();
    bench.sees("v1", |seen| seen.fetch = Progress::Idle);
    bench.orders(Command::Restore(model(), version("v1")));
    let since = bench.now.steady;
    bench.sees("v1", |seen| seen.fetch = failed(9, since));
    assert_eq!(bench.settle(), [Effect::Fetch(model(), version("v1"))]);
    bench.passes(3 * MINUTE);
    bench.settle();
    assert_eq!(bench.verdict("v1").map(|(gate, _)| gate), Some(Gate::Fetch));
}

#[test]
fn time_in_our_own_queue_is_not_the_versions() {
    let mut bench = Bench::staged();
    bench.sees("v1", |seen| seen.checks = Progress::Queued);
    bench.passes(60 * MINUTE);
    assert_eq!(bench.settle(), []);
    assert_eq!(bench.stage("v1"), "validating");
    bench.sees("v1", |seen| {
        seen.checks = Progress::Running;
        seen.waited = 60 * MINUTE;
    });
    bench.passes(4 * MINUTE);
    bench.settle();
    assert_eq!(bench.stage("v1"), "validating");
    bench.passes(2 * MINUTE);
    bench.settle();
    assert_eq!(bench.stage("v1"), "quarantined", "its own time is over");
}

#[test]
fn a_rollback_needs_a_look_at_its_target_that_began_after_the_champion_was_degraded() {
    let mut bench = Bench::live();
    bench.looks("v1", Found::Sound);
    bench.looks("v2", Found::Sound);
    bench.passes(MINUTE);
    bench.degrades("v2", Signal::SloBurn);
    let effects = bench.settle();
    assert_eq!(bench.stage("v2"), "live", "the last look is of before");
    assert_eq!(effects, [Effect::Look(model(), version("v1"))]);
    bench.passes(SECOND);
    bench.looks("v1", Found::Sound);
    bench.settle();
    assert_eq!((bench.stage("v1"), bench.stage("v2")), ("live", "quarantined"));
}

#[test]
fn a_look_that_found_nothing_to_look_at_is_no_way_back() {
    let mut bench = Bench::live();
    bench.degrades("v2", Signal::SloBurn);
    bench.passes(SECOND);
    bench.looks("v1", Found::Nothing);
    bench.settle();
    assert_eq!(bench.stage("v2"), "live");
    let model = bench.state.model(&model()).expect("the model");
    let alert = Alert::NoWayBack(version("v2"));
    assert!(model.alerts().any(|told| *told == alert), "an operator decides");
}

#[test]
fn a_standby_whose_look_fails_stays_until_the_champion_was_found_well_after_it() {
    let mut bench = Bench::live();
    bench.policies.default.release.undo = Duration::ZERO;
    bench.looks("v2", Found::Sound);
    bench.passes(MINUTE);
    bench.looks("v1", Found::Unsound);
    let effects = bench.settle();
    assert_eq!(bench.stage("v1"), "standby", "it may be the host");
    assert_eq!(effects, [Effect::Look(model(), version("v2"))]);
    let mut troubled = Bench {
        state: bench.state.clone(),
        observed: bench.observed.clone(),
        policies: bench.policies.clone(),
        now: bench.now,
    };
    troubled.passes(SECOND);
    troubled.looks("v2", Found::Unsound);
    troubled.settle();
    assert_eq!(troubled.stage("v1"), "standby", "it is the host");
    bench.passes(SECOND);
    bench.looks("v2", Found::Sound);
    bench.settle();
    assert_eq!(bench.verdict("v1").map(|(gate, _)| gate), Some(Gate::Standby));
}

/// Windows of a minute, closed one after the other: `b`ad or `g`ood; `.` where none of this version's has closed.
fn minutes(bench: &mut Bench, of_standby: &str, of_champion: &str) {
    for (standby, champion) in of_standby.chars().zip(of_champion.chars()) {
        bench.passes(MINUTE);
        let at = bench.now.steady;
        for (name, verdict) in [("v1", standby), ("v2", champion)] {
            if verdict != '.' {
                let detail = "300 of 500".to_owned();
                let bad = Some(verdict == 'b');
                let window = Window { at, bad, crossed: false, samples: 500, detail };
                bench.sees(name, |seen| seen.health.observe(Signal::SloBurn, &window));
            }
        }
        bench.looks("v1", Found::Sound);
        bench.looks("v2", Found::Sound);
        bench.settle();
    }
}

#[test]
fn a_standby_that_fails_alike_stays_however_late_the_windows_of_the_champion_close() {
    let mut bench = Bench::live();
    bench.policies.default.release.undo = Duration::ZERO;
    minutes(&mut bench, "gbbbbb", "g.....");
    assert_eq!(bench.stage("v1"), "standby", "nothing is known of the champion meanwhile");
    minutes(&mut bench, "bbb", "bbb");
    assert_eq!((bench.stage("v1"), bench.stage("v2")), ("standby", "live"), "both are degraded");
    let alerts = |bench: &Bench| bench.state.model(&model()).map(|model| model.alerts().count());
    assert!(alerts(&bench) > Some(0), "it is told");
    minutes(&mut bench, "gggggggggggg", "bbbbbbbbbbbb");
    assert_eq!((bench.stage("v1"), bench.stage("v2")), ("live", "quarantined"), "a way back");
}

#[test]
fn a_standby_that_fails_alone_goes_once_the_champion_is_known_to_be_well() {
    let mut bench = Bench::live();
    bench.policies.default.release.undo = Duration::ZERO;
    minutes(&mut bench, "gbbb", "g...");
    assert_eq!(bench.stage("v1"), "standby");
    minutes(&mut bench, "b", "g");
    let (gate, why) = bench.verdict("v1").expect("it goes");
    assert_eq!(gate, Gate::Standby);
    assert!(why.contains("errors and slow responses: 300 of 500"), "{why}");
}

#[test]
fn a_standby_that_fails_alone_stays_where_nothing_is_counted_of_the_champion() {
    let mut bench = Bench::live();
    bench.policies.default.release.undo = Duration::ZERO;
    minutes(&mut bench, "bbbbbb", "......");
    assert_eq!(bench.stage("v1"), "standby");
}

/// A standby gets no requests, so that no window ever heals what it was degraded by.
#[test]
fn what_a_standby_was_degraded_by_long_ago_stands_in_no_rollbacks_way() {
    let mut bench = Bench::live();
    bench.policies.default.release.undo = Duration::ZERO;
    minutes(&mut bench, "gbbbbb", "g.....");
    minutes(&mut bench, "............", "............");
    assert_eq!(bench.stage("v1"), "standby");
    minutes(&mut bench, "......", "bbbbbb");
    assert_eq!((bench.stage("v1"), bench.stage("v2")), ("live", "quarantined"));
}

#[test]
fn few_responses_take_no_standby_away() {
    let mut bench = Bench::live();
    bench.policies.default.release.undo = Duration::ZERO;
    let at = bench.now.steady;
    let detail = "3 of 5".to_owned();
    let window = Window { at, bad: Some(true), crossed: true, samples: 5, detail };
    bench.sees("v1", |seen| seen.health.observe(Signal::SloBurn, &window));
    bench.passes(SECOND);
    bench.looks("v1", Found::Sound);
    bench.looks("v2", Found::Sound);
    bench.settle();
    assert_eq!(bench.stage("v1"), "standby");
}
