//! The life cycle under a seeded simulator: everything that can go wrong around it does, and the
//! invariants of [`lifecycle`](crate::domain::lifecycle) are held after every step.
//!
//! Owns a world with a clock that is set, a store that lies, backends that break or die, a host that fails
//! for all alike, traffic that stops, operators who change their minds, and a process that is killed
//! between any two steps and in the midst of a write ([`world`]); the controller's loop around the plan
//! ([`process`]); and the invariants, written against what happened in the world and not against the
//! guards ([`checks`]). Everything is drawn from one seed. At the end the weather clears, and nothing
//! may be stuck.
//!
//! `POINTSMAN_SEEDS=100000` runs more seeds, `POINTSMAN_SEED=17` repeats one.

mod checks;
mod counts;
mod deaths;
mod operators;
mod process;
mod statistics;
mod tally;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use self::checks::{Broken, Checks};
use self::process::Process;
use self::world::World;
use crate::domain::lifecycle::explain::sentence;
use crate::domain::lifecycle::plan::Policies;

/// Seeds of one run, over all the tests of this module.
const SEEDS: u64 = 10_000;
/// Tests that share them, so that they run side by side.
const PARTS: u64 = 8;
/// Steps in bad weather.
const STEPS: usize = 45;
/// Hours of good weather at the end.
const CALM: Duration = Duration::from_secs(24 * 3600);

/// How often what happened, over all seeds: a simulation in which nothing happens proves nothing.
pub(super) type Tally = BTreeMap<&'static str, u64>;

/// One seed's whole story.
struct Simulation {
    world: World,
    process: Option<Process>,
    policies: Policies,
    checks: Checks,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let policies = world.draw_policies();
        let checks = Checks::new(&policies.default);
        Self { world, process: None, policies, checks }
    }

    /// One step: time passes, traffic flows, the controller acts, perhaps dies, and may come back.
    fn step(&mut self, pause: Duration) -> Result<(), Broken> {
        self.world.advance(pause);
        if self.process.is_none() && self.world.comes_back() {
            match Process::start(&mut self.world, &mut self.checks)? {
                Some(process) => self.process = Some(process),
                None => return Ok(()),
            }
        }
        let Some(process) = &mut self.process else { return Ok(()) };
        process.traffic(&mut self.world, pause);
        process.look(&mut self.world);
        let lives = process.act(&mut self.world, &self.policies, &mut self.checks)?;
        self.checks.agrees(process)?;
        if !lives {
            self.checks.died(&self.world);
            self.process = None;
        } else if self.world.chance(60) {
            // It is asked to end, and does.
            self.world.served = false;
            self.process = None;
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), Broken> {
        for _ in 0..STEPS {
            let pause = self.world.draw_pause();
            self.step(pause)?;
        }
        self.world.clear_up();
        let mut calm = Duration::ZERO;
        while calm < CALM {
            let pause = Duration::from_secs(7200);
            self.step(pause)?;
            calm += pause;
        }
        let Some(process) = &self.process else {
            return Err(Broken::new("the process does not stay up in good weather"));
        };
        self.checks.at_rest(process, &self.policies, &self.world)
    }
}

/// Runs one seed; an error tells the story.
fn run(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut simulation = Simulation::new(seed);
    let result = simulation.run();
    for (what, times) in simulation.checks.tally() {
        *tally.entry(what).or_default() += times;
    }
    result.map_err(|broken| {
        let events = simulation.world.events();
        let told: Vec<String> = events
            .iter()
            .skip(events.len().saturating_sub(30))
            .map(|event| format!("{:>9}s {}", event.at.steady.0 / 1000, sentence(event)))
            .collect();
        format!(
            "seed {seed}: {broken}\nrepeat with POINTSMAN_SEED={seed}; the last events:\n{}",
            told.join("\n")
        )
    })
}

#[expect(clippy::disallowed_methods, reason = "how many seeds a test runs is no setting")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One part of the seeds.
fn part(part: u64) {
    if let Some(seed) = number("POINTSMAN_SEED") {
        if seed % PARTS == part
            && let Err(story) = run(seed, &mut Tally::new())
        {
            panic!("{story}");
        }
        return;
    }
    let seeds = number("POINTSMAN_SEEDS").unwrap_or(SEEDS);
    let mut tally = Tally::new();
    for seed in (0..seeds).filter(|seed| seed % PARTS == part) {
        if let Err(story) = run(seed, &mut tally) {
            panic!("{story}");
        }
    }
    let missing: Vec<&str> = tally::EXPECTED
        .iter()
        .filter(|what| tally.get(*what).copied().unwrap_or(0) == 0)
        .copied()
        .collect();
    assert!(
        missing.is_empty() || seeds < SEEDS,
        "never happened: {missing:?}; what did: {tally:?}"
    );
}

/// Each part is a test of its own.
macro_rules! parts {
    ($($name:ident $part:literal,)+) => {
        $(#[test]
        fn $name() {
            part($part);
        })+
    };
}

parts! {
    the_invariants_hold_over_every_eighth_seed_from_0 0,
    the_invariants_hold_over_every_eighth_seed_from_1 1,
    the_invariants_hold_over_every_eighth_seed_from_2 2,
    the_invariants_hold_over_every_eighth_seed_from_3 3,
    the_invariants_hold_over_every_eighth_seed_from_4 4,
    the_invariants_hold_over_every_eighth_seed_from_5 5,
    the_invariants_hold_over_every_eighth_seed_from_6 6,
    the_invariants_hold_over_every_eighth_seed_from_7 7,
}

#[test]
fn a_seed_always_tells_the_same_story() {
    let story = |seed| {
        let mut simulation = Simulation::new(seed);
        let ended = simulation.run().is_ok();
        (ended, simulation.world.events().to_vec())
    };
    for seed in 0..5 {
        assert_eq!(story(seed), story(seed), "seed {seed}");
    }
}
