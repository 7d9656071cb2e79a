//! A champion that is gone for good: who takes its place, and who does not.

use super::deaths::tried;
use super::*;
use crate::domain::lifecycle::event::{Mark, Scope};
use crate::domain::lifecycle::evidence::{CanaryEvidence, Metric, RateEvidence, ShadowEvidence};
use crate::domain::lifecycle::explain::{explain, sentence};
use crate::domain::lifecycle::observed::Alone;
use crate::domain::lifecycle::policy::Mode;

/// `v1`, which is live, can answer nobody, and `v2` is on trial.
fn left_alone(stage: &str) -> Bench {
    let mut bench = tried(stage);
    bench.goes_away("v1");
    let now = bench.now.steady;
    bench.sees("v1", |seen| {
        (seen.trouble, seen.missed) = (Some("its copy is damaged".to_owned()), Some(now));
    });
    bench
}

impl Bench {
    /// So many minutes, with a look at `v2` in each.
    fn waits(&mut self, minutes: u32, found: Found) {
        for _ in 0..minutes {
            self.passes(MINUTE);
            self.looks("v2", found);
            self.settle();
        }
    }

    fn why(&self, name: &str) -> String {
        let all = (&self.state, &self.observed, &self.policies);
        let told = explain(all.0, all.1, all.2, self.now, &model(), &version(name));
        told.map(|told| told.to_string()).unwrap_or_default()
    }
}

#[test]
fn a_version_on_trial_takes_the_place_of_a_champion_that_answers_nobody_and_is_unproven() {
    for stage in ["canary", "shadow"] {
        let mut bench = left_alone(stage);
        bench.passes(11 * SECOND);
        assert!(bench.settle().contains(&Effect::Look(model(), version("v2"))), "{stage}");
        bench.waits(4, Found::Sound);
        assert_eq!((bench.stage("v1"), bench.stage("v2")), ("live", stage));
        let why = bench.why("v2");
        let told = "to take the place of v1, its control, which has not answered for 4m 11s: 49s more of that";
        assert!(why.contains(told), "{why}");
        bench.passes(MINUTE);
        let planned = plan(&bench.state, &bench.observed, &bench.policies, bench.now);
        let event = bench.state.stamp(planned.drafts[0].clone(), bench.now);
        let told = sentence(&event);
        let words = "m: v2 is live, unproven, by the absence of its champion and v1 stands by: v1 has given no answer for \
                     5m 11s, as its copy is damaged, and no earlier champion stands in; v2 was found sound 1m ago";
        assert!(told.starts_with(words), "{told}");
        bench.settle();
        assert_eq!((bench.stage("v1"), bench.stage("v2")), ("standby", "live"));
        assert_eq!(bench.known("v2").proven(), None);
        bench.comes_back("v1");
        bench.settle();
        assert_eq!(bench.stage("v2"), "live", "the other one is its way back now");
    }
}

#[test]
fn who_was_away_with_the_champion_does_not_win_by_being_back_first() {
    let mut bench = left_alone("canary");
    bench.sees("v2", |seen| seen.back_since = None);
    bench.waits(4, Found::Sound);
    let back = bench.now.steady;
    bench.sees("v2", |seen| seen.back_since = Some(back));
    bench.waits(4, Found::Sound);
    assert_eq!(bench.stage("v2"), "canary", "the champion may be back as soon");
    bench.waits(2, Found::Sound);
    assert_eq!(bench.stage("v2"), "live");
}

#[test]
fn a_newer_release_does_not_remove_the_only_version_that_can_take_over() {
    for stage in ["canary", "shadow"] {
        let mut bench = left_alone(stage);
        bench.passes(11 * SECOND);
        bench.publish("v3");
        bench.settle();
        assert_eq!((bench.stage("v2"), bench.stage("v3")), (stage, "staged"));
        // Nor while it is itself away for a moment.
        bench.goes_away("v2");
        bench.settle();
        assert_eq!((bench.stage("v2"), bench.stage("v3")), (stage, "staged"));
        bench.comes_back("v2");
        bench.waits(6, Found::Sound);
        assert_eq!(bench.stage("v2"), "live", "{stage}");
    }
}

/// What stands against it, and what it is.
type Case = (&'static str, fn(&mut Bench));

#[test]
fn nobody_takes_over_against_somebodys_word_or_with_anything_against_it() {
    let cases: &[Case] = &[
        ("it is held", |b| b.orders(Command::Hold(model(), version("v2"), true))),
        ("its champion is", |b| b.orders(Command::Hold(model(), version("v1"), true))),
        ("it is cut off", |b| {
            b.orders(Command::Kill(Scope::Version(model(), version("v2")), true));
        }),
        ("its champion is cut off", |b| {
            b.orders(Command::Kill(Scope::Version(model(), version("v1")), true));
        }),
        ("its model is", |b| b.orders(Command::Kill(Scope::Model(model()), true))),
        ("all are", |b| b.orders(Command::Kill(Scope::Gateway, true))),
        ("it waits for an operator", |b| b.policies.default.release.mode = Mode::Manual),
        ("never", |b| b.policies.default.release.absence = Duration::ZERO),
        ("the champion is being loaded", |b| b.sees("v1", |seen| seen.trouble = None)),
        ("it is away itself", |b| b.goes_away("v2")),
        ("it fails those who have only it", |b| {
            b.sees("v2", |seen| seen.alone = Alone { answered: 8, failed: 2 });
        }),
        ("copies were answered with nonsense", |b| {
            b.sees("v2", |seen| {
                seen.shadow = Some(ShadowEvidence { pairs: 9, invalid: 1, ..Default::default() });
            });
        }),
        ("all of its first answers were failures", |b| {
            b.sees("v2", |seen| {
                let rate = RateEvidence {
                    metric: Metric::Errors,
                    n: 5,
                    bad: 5,
                    control_n: 0,
                    control_bad: 0,
                    ln_e: 0.0,
                    excess_high: None,
                };
                seen.canary = Some(CanaryEvidence {
                    failed_from_start: 5,
                    rates: vec![rate],
                    ..CanaryEvidence::default()
                });
            });
        }),
    ];
    for (why, stand_against) in cases {
        let mut bench = left_alone("canary");
        stand_against(&mut bench);
        bench.waits(20, Found::Sound);
        assert_ne!(bench.stage("v2"), "live", "{why}");
        assert_eq!(bench.stage("v1"), "live", "{why}");
    }
    for found in [Found::Unsound, Found::Nothing] {
        let mut bench = left_alone("canary");
        bench.waits(20, found);
        assert_eq!(bench.stage("v2"), "canary", "{found:?}");
    }
    let mut bench = left_alone("canary");
    bench.passes(20 * MINUTE);
    bench.settle();
    assert_eq!(bench.stage("v2"), "canary", "nobody has looked at it");
}

#[test]
fn a_champion_that_still_answers_those_who_ask_it_is_not_gone() {
    let mut bench = left_alone("canary");
    for _ in 0..20 {
        let now = bench.now.steady;
        bench.sees("v1", |seen| seen.answered = Some(now));
        bench.waits(1, Found::Sound);
    }
    assert_eq!(bench.stage("v2"), "canary");
    bench.waits(4, Found::Sound);
    assert_eq!(bench.stage("v2"), "live");
}

#[test]
fn nobody_takes_the_place_of_a_champion_whom_nobody_asks() {
    let mut bench = left_alone("shadow");
    bench.sees("v1", |seen| seen.missed = None);
    bench.waits(20, Found::Sound);
    assert_eq!(bench.stage("v2"), "shadow");
    let why = bench.why("v2");
    assert!(why.contains("a client that it gives no answer, 5m more of that"), "{why}");
    let now = bench.now.steady;
    bench.sees("v1", |seen| seen.missed = Some(now));
    bench.waits(4, Found::Sound);
    assert_eq!(bench.stage("v2"), "shadow", "the time begins with the first who asks");
    bench.waits(2, Found::Sound);
    assert_eq!(bench.stage("v2"), "live");
}

#[test]
fn an_approval_and_the_end_of_a_hold_let_it_take_over() {
    let mut bench = left_alone("shadow");
    bench.policies.default.release.mode = Mode::Manual;
    bench.orders(Command::Hold(model(), version("v2"), true));
    bench.waits(9, Found::Sound);
    let why = bench.why("v2");
    assert!(why.contains("to end the hold, an operator's approval"), "{why}");
    bench.orders(Command::Hold(model(), version("v2"), false));
    let what =
        What::Marked { model: model(), version: version("v2"), mark: Mark::Approved, on: true };
    bench.write(Draft::own(what));
    bench.settle();
    assert_eq!(bench.stage("v2"), "live");
}
