//! How often a good version is rolled back, and how soon a bad one.
//!
//! Whole rollouts through the real plan, at one request a time of true rates: traffic of a steady rate, counted
//! by the minute, compared as the counts of a running gateway are.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::ids::{Digest, ModelName, VersionName};
use crate::domain::lifecycle::event::{Move, What};
use crate::domain::lifecycle::evidence::{
    Check, CheckKind, Checks, Outcome, ShadowEvidence, Warmth,
};
use crate::domain::lifecycle::observed::{Observed, ObservedVersion, Progress, Sighting};
use crate::domain::lifecycle::plan::{Policies, plan};
use crate::domain::lifecycle::proof::{Fetched, Found, Gate, Look};
use crate::domain::lifecycle::release::Release;
use crate::domain::lifecycle::stage::{Edge, Rest, Stage};
use crate::domain::lifecycle::state::State;
use crate::domain::lifecycle::time::{Now, Steady, Wall};
use crate::domain::trial::comparison::{ArmCounts, Arms, Comparison, Terms};

/// Requests a minute, of all arms, where nothing else is said.
const RATE: u64 = 3000;
const MINUTE: Duration = Duration::from_secs(60);

/// A rollout of `v2` over `v1` that stands on its first step.
#[derive(Clone)]
struct Rollout {
    state: State,
    observed: Observed,
    policies: Policies,
    now: Now,
    comparison: Comparison,
    /// Over the whole rollout.
    arms: Arms,
    step: usize,
    /// Requests a minute, of all arms.
    rate: u64,
    /// How often it was given more time.
    extended: u32,
}

/// What becomes of the requests that a version gets.
#[derive(Clone, Copy)]
struct Rates {
    /// The share that ends in an error.
    errors: f64,
    /// The share that gives an output with NaN.
    invalid: f64,
}

impl Rates {
    const fn errors(errors: f64) -> Self {
        Self { errors, invalid: 0.0 }
    }
}

/// How a rollout ended, after so many answers of the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Promoted,
    RolledBack,
    Insufficient,
}

fn model() -> ModelName {
    ModelName::new("fraud")
}

fn version(name: &str) -> VersionName {
    VersionName::new(name)
}

impl Rollout {
    fn begin(champion: f64) -> Self {
        let mut rollout = Self {
            state: State::default(),
            observed: Observed::default(),
            policies: Policies::default(),
            now: Now { steady: Steady(1000), wall: Wall(1_790_000_000_000) },
            comparison: Comparison::new(
                &Terms { error_rate: champion, ..Terms::default() },
                Steady(1000),
            ),
            arms: Arms::default(),
            step: 0,
            rate: RATE,
            extended: 0,
        };
        for name in ["v1", "v2"] {
            rollout.publish(name);
            rollout.pass(Duration::from_secs(3600));
            rollout.settle();
        }
        assert!(rollout.is_in_canary(), "v2 is on its first step");
        rollout.comparison.begin_step(rollout.now.steady);
        rollout
    }

    /// A version for which everything before its canary is in order.
    fn publish(&mut self, name: &str) {
        let began = Steady(u64::MAX);
        let digest = Digest::new(format!("digest-of-{name}"));
        let release = Release {
            digest: digest.clone(),
            bytes: 100,
            source: "store".to_owned(),
            publisher: None,
            trained_at: None,
            named: false,
        };
        let check = |kind| Check { kind, outcome: Outcome::Passed, detail: "48 rows".to_owned() };
        let kinds = self.policies.default.release.required.iter().copied();
        let checks = kinds.chain([CheckKind::Golden]).map(check).collect();
        let warmth =
            Warmth { began, runs: 40, cold_us: 900, warm_us: 90, bytes: 100, settled: true };
        let shadow = ShadowEvidence {
            began,
            pairs: 600,
            agreement_low: Some(0.97),
            slower_high: Some(1.1),
            ..ShadowEvidence::default()
        };
        let seen = ObservedVersion {
            digest: Some(digest),
            fetch: Progress::Done(Fetched::verified(100, 3)),
            checks: Progress::Done(Checks { began, checks }),
            warmth: Progress::Done(warmth),
            shadow: Some(shadow),
            look: Some(Look { at: began, found: Found::Sound, how: "the golden set".to_owned() }),
            ready: true,
            on_disk: true,
            ..ObservedVersion::default()
        };
        let entry = self.observed.model_mut(&model());
        let sighting = Sighting { release, complete: true };
        Arc::make_mut(&mut entry.sightings).insert(version(name), sighting);
        *entry.version_mut(&version(name)) = seen;
    }

    fn pass(&mut self, time: Duration) {
        let now = self.now.steady.after(time);
        self.now.wall.0 += now.0 - self.now.steady.0;
        self.now.steady = now;
    }

    /// Folds what is planned until nothing is.
    fn settle(&mut self) -> Option<End> {
        for _ in 0..100 {
            let planned = plan(&self.state, &self.observed, &self.policies, self.now);
            if planned.drafts.is_empty() {
                return None;
            }
            for draft in planned.drafts {
                let event = self.state.stamp(draft, self.now);
                self.state.apply(&event).expect("a planned event folds");
                self.extended += u32::from(extends(&event.what));
                if let Some(end) = end_of(&event.what) {
                    return Some(end);
                }
            }
        }
        panic!("the plan does not settle");
    }

    fn is_in_canary(&self) -> bool {
        let known = self.state.model(&model()).and_then(|model| model.version(&version("v2")));
        known.is_some_and(|version| matches!(version.stage(), Stage::Canary(_)))
    }

    /// A minute of traffic with these rates of errors; how the rollout ended by it.
    fn minute(
        &mut self,
        rng: &mut fastrand::Rng,
        champion: Rates,
        candidate: Rates,
    ) -> Option<End> {
        let model_state = self.state.model(&model()).expect("the model");
        let (_, known) = model_state.candidate().expect("a candidate");
        let Stage::Canary(canary) = known.stage() else { panic!("it is in canary") };
        let (step, since) = (canary.step(), known.since());
        let part = f64::from(canary.share().thousandths()) / 1000.0;
        for _ in 0..self.rate {
            let at = rng.f64();
            if at < part {
                add(&mut self.arms.candidate, rng.f64(), candidate);
            } else if at < 2.0 * part {
                add(&mut self.arms.control, rng.f64(), champion);
            }
        }
        if self.step != step {
            self.comparison.begin_step(since);
            self.step = step;
        }
        self.pass(MINUTE);
        self.comparison.look(self.arms);
        let of = &self.arms.candidate;
        let failed_from_start = if of.errors == of.responses { of.responses } else { 0 };
        let evidence = self.comparison.evidence(failed_from_start, None);
        self.observed.model_mut(&model()).version_mut(&version("v2")).canary = Some(evidence);
        self.settle()
    }

    fn run(&mut self, seed: u64, champion: Rates, candidate: Rates) -> (End, u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..10_000 {
            if let Some(end) = self.minute(&mut rng, champion, candidate) {
                return (end, self.arms.candidate.responses);
            }
        }
        panic!("a rollout does not end");
    }
}

/// Counts one response of a version; what becomes of it is drawn from `at`, between 0 and 1.
fn add(arm: &mut ArmCounts, at: f64, rates: Rates) {
    let (failed, spoilt) = (at < rates.errors, at < rates.errors + rates.invalid);
    arm.draws += 1;
    arm.responses += 1;
    arm.outputs += u64::from(!failed);
    arm.errors += u64::from(failed);
    arm.invalid += u64::from(spoilt && !failed);
}

fn end_of(what: &What) -> Option<End> {
    let What::Moved { moves, .. } = what else { return None };
    moves.iter().find_map(|m| match &m.edge {
        Edge::Promote(_) => Some(End::Promoted),
        Edge::Drain(Rest::Quarantined(verdict)) if verdict.gate == Gate::Insufficient => {
            Some(End::Insufficient)
        }
        Edge::Drain(_) => Some(End::RolledBack),
        _ => None,
    })
}

fn extends(what: &What) -> bool {
    let extends = |m: &Move| matches!(m.edge, Edge::Extend(_));
    matches!(what, What::Moved { moves, .. } if moves.iter().any(extends))
}

/// How many of `runs` rollouts ended well, and after how many answers of the candidate the others ended.
fn rollouts(runs: u64, champion: Rates, candidate: Rates) -> (u64, u64, Vec<u64>) {
    ends_of(&Rollout::begin(champion.errors), runs, champion, candidate)
}

fn ends_of(
    rollout: &Rollout,
    runs: u64,
    champion: Rates,
    candidate: Rates,
) -> (u64, u64, Vec<u64>) {
    let (mut promoted, mut insufficient, mut stopped) = (0, 0, Vec::new());
    for seed in 0..runs {
        match rollout.clone().run(seed, champion, candidate) {
            (End::Promoted, _) => promoted += 1,
            (End::Insufficient, _) => insufficient += 1,
            (End::RolledBack, after) => stopped.push(after),
        }
    }
    stopped.sort_unstable();
    (promoted, insufficient, stopped)
}

#[test]
fn of_a_thousand_rollouts_of_an_equal_version_at_most_one_in_a_hundred_is_rolled_back() {
    let (promoted, insufficient, stopped) =
        rollouts(1000, Rates::errors(0.01), Rates::errors(0.01));
    println!("promoted {promoted}, insufficient {insufficient}, rolled back {}", stopped.len());
    assert!(stopped.len() as u64 + insufficient <= 10, "{insufficient} and {stopped:?}");
}

/// A step lasts half an hour, and its traffic is three fifths of what it takes: without more time nobody would pass, and
/// with counts that begin anew nobody would either.
#[test]
fn more_time_ends_well_for_an_equal_version_that_had_three_fifths_of_its_responses() {
    let rates = Rates::errors(0.01);
    let mut rollout = Rollout::begin(rates.errors);
    let first = &mut rollout.policies.default.release.steps[0];
    (rollout.rate, first.responses) = (1000, 500);
    let (promoted, insufficient, stopped) = ends_of(&rollout, 500, rates, rates);
    println!("promoted {promoted}, insufficient {insufficient}, rolled back {}", stopped.len());
    assert!(stopped.len() as u64 + insufficient <= 5, "{insufficient} and {stopped:?}");
    let extended = (0..5).map(|seed| {
        let mut one = rollout.clone();
        one.run(seed, rates, rates);
        one.extended
    });
    assert!(extended.min() > Some(0), "it takes more time");
}

/// What makes both give NaN now and then (a client's odd row) is nothing that the candidate brought.
#[test]
fn an_equal_version_survives_the_rare_invalid_outputs_that_the_champion_gives_as_well() {
    for invalid in [0.0002, 0.001, 0.01] {
        let rates = Rates { errors: 0.01, invalid };
        let (promoted, insufficient, stopped) = rollouts(500, rates, rates);
        println!("{invalid}: promoted {promoted}, insufficient {insufficient}, {stopped:?}");
        assert!(stopped.len() as u64 + insufficient <= 5, "{invalid}: {insufficient}, {stopped:?}");
    }
}

#[test]
fn outputs_that_only_the_candidate_spoils_stop_it_soon() {
    for (invalid, most) in [(0.005, 6000), (0.02, 1500), (0.2, 200)] {
        let bad = Rates { errors: 0.01, invalid };
        let (promoted, _, stopped) = rollouts(40, Rates::errors(0.01), bad);
        let median = stopped.get(stopped.len() / 2).copied();
        println!("{invalid}: promoted {promoted}, rolled back after {median:?} answers");
        assert!(median.is_some_and(|median| median < most), "{invalid}: {median:?}");
        assert_eq!(promoted, 0, "{invalid}");
    }
}

#[test]
fn versions_with_more_errors_are_rolled_back_soon() {
    println!("| champion | candidate | rolled back | median answers of the candidate | 90% |");
    for (champion, factor, runs, most) in [
        (0.01, 2.0, 40, 12_000),
        (0.01, 3.0, 40, 3000),
        (0.01, 10.0, 40, 400),
        (0.05, 3.0, 20, 800),
    ] {
        let (promoted, _, stopped) =
            rollouts(runs, Rates::errors(champion), Rates::errors(champion * factor));
        let at = |percent: usize| stopped.get(stopped.len() * percent / 100).copied();
        println!(
            "| {:.1}% | {:.1}% | {}% | {:?} | {:?} |",
            champion * 100.0,
            champion * factor * 100.0,
            stopped.len() as u64 * 100 / runs,
            at(50),
            at(90)
        );
        assert!(promoted == 0, "{promoted} with {factor} times the errors were promoted");
        assert!(at(50).is_some_and(|median| median < most), "{factor} times: {:?}", at(50));
    }
}
