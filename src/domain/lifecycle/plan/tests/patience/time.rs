//! The time that a version on trial has: what more of it gives, and what does not use it up.

use super::deaths::tried;
use super::*;
use crate::domain::lifecycle::event::Scope;
use crate::domain::lifecycle::evidence::{CanaryEvidence, Metric, RateEvidence, ShadowEvidence};
use crate::domain::lifecycle::uncompared::Hindrance::{Control, Itself};
use crate::domain::lifecycle::uncompared::{Stopwatch, hindrance};

const HOUR: Duration = Duration::from_secs(3600);
/// The default of three dwells on a step.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

impl Bench {
    /// `v1` is live, and `v2` on trial on copies for an hour.
    fn shadow() -> Self {
        let mut bench = tried("shadow");
        bench.policies.default.release.shadow.limit = HOUR;
        bench.policies.default.release.unproven = false;
        bench
    }

    fn is_extended(&self) -> bool {
        match self.known("v2").stage() {
            Stage::Shadow(shadow) => shadow.is_extended(),
            Stage::Canary(canary) => canary.is_extended(),
            _ => false,
        }
    }

    /// So many pairs that agree, of all its trial on copies.
    fn pairs(&mut self, pairs: u64) {
        let began = self.known("v2").since();
        self.sees("v2", |seen| {
            seen.shadow = Some(ShadowEvidence {
                began,
                pairs,
                agreement_low: Some(0.95),
                agreement_high: Some(0.99),
                slower_high: (pairs > 550).then_some(1.1),
                ..ShadowEvidence::default()
            });
        });
    }

    /// So many responses on its step, as good as those of its control.
    fn responses(&mut self, responses: u64) {
        let began = self.known("v2").since();
        let rate = RateEvidence {
            metric: Metric::Errors,
            n: responses,
            bad: 0,
            control_n: responses,
            control_bad: 0,
            ln_e: -0.3,
            excess_high: Some(0.012),
        };
        self.sees("v2", |seen| {
            seen.canary = Some(CanaryEvidence {
                began,
                responses,
                rates: vec![rate],
                sample_ratio: Some(0.7),
                ..CanaryEvidence::default()
            });
        });
    }

    /// Time passes, and the controller looks each minute.
    fn lives(&mut self, watch: &mut Stopwatch, time: Duration) {
        let end = self.now.steady.after(time);
        while self.now.steady < end && self.known("v2").stage().is_on_trial() {
            self.passes(MINUTE);
            let ready = |name: &VersionName| {
                self.observed.version(&model(), name).is_some_and(|seen| seen.ready)
            };
            let found = hindrance(&self.state, &model(), ready);
            let uncompared = watch.look(self.known("v2").time_from(), found, self.now.steady);
            self.sees("v2", |seen| seen.uncompared = uncompared);
            self.settle();
        }
    }

    fn answers(&mut self, name: &str, ready: bool) {
        self.sees(name, |seen| seen.ready = ready);
    }

    /// The process ends in good order, and another starts.
    fn starts_again(&mut self) {
        self.write(Draft::own(What::Recovered));
        self.sees("v2", |seen| (seen.shadow, seen.canary) = (None, None));
        self.settle();
    }
}

#[test]
fn three_fifths_of_what_is_asked_for_become_enough_with_as_much_time_again() {
    let (mut bench, mut watch) = (Bench::shadow(), Stopwatch::default());
    bench.pairs(330);
    bench.lives(&mut watch, HOUR + 2 * MINUTE);
    assert!(bench.is_extended());
    bench.pairs(330);
    bench.lives(&mut watch, HOUR - 4 * MINUTE);
    assert_eq!(bench.stage("v2"), "shadow");
    bench.pairs(660);
    bench.lives(&mut watch, MINUTE);
    assert_eq!(bench.stage("v2"), "canary");

    let (mut bench, mut watch) = (tried("canary"), Stopwatch::default());
    bench.responses(120);
    bench.lives(&mut watch, PATIENCE + 2 * MINUTE);
    assert!(bench.is_extended());
    bench.responses(120);
    bench.lives(&mut watch, PATIENCE - 4 * MINUTE);
    let step = |bench: &Bench| match bench.known("v2").stage() {
        Stage::Canary(canary) => canary.step(),
        other => panic!("{other:?}"),
    };
    assert_eq!(step(&bench), 0);
    bench.responses(240);
    bench.lives(&mut watch, MINUTE);
    assert_eq!(step(&bench), 1);
    assert!(!bench.is_extended(), "the next step has its own time");
}

#[test]
fn more_time_is_given_once_and_what_still_lacks_then_is_told_with_all_of_it() {
    let mut bench = Bench::shadow();
    bench.pairs(10);
    bench.lives(&mut Stopwatch::default(), 5 * HOUR);
    let (gate, why) = bench.verdict("v2").expect("it is stopped");
    assert_eq!(gate, Gate::Insufficient);
    assert!(why.starts_with("after 2h 2m it still lacks 10 of 500"), "{why}");
}

#[test]
fn a_restart_within_more_time_takes_none_of_it() {
    for mut bench in [Bench::shadow(), tried("canary")] {
        let once = if bench.stage("v2") == "shadow" { HOUR } else { PATIENCE };
        bench.lives(&mut Stopwatch::default(), once + 2 * MINUTE);
        assert!(bench.is_extended());
        bench.starts_again();
        assert!(bench.is_extended() && bench.known("v2").more().is_none());
        bench.lives(&mut Stopwatch::default(), 2 * once - MINUTE);
        assert!(bench.known("v2").stage().is_on_trial(), "what was counted before it is gone");
        bench.lives(&mut Stopwatch::default(), 3 * MINUTE);
        assert!(!bench.known("v2").stage().is_on_trial());
    }
}

#[test]
fn states_of_before_are_read_and_say_nothing_of_when_more_time_was_given() {
    let mut bench = Bench::shadow();
    bench.lives(&mut Stopwatch::default(), HOUR + 2 * MINUTE);
    let text = serde_json::to_string(&bench.state).expect("JSON");
    assert_eq!(serde_json::from_str::<State>(&text).expect("a state"), bench.state);
    let more = format!(",\"more\":{}", bench.known("v2").more().expect("it has more").0);
    assert_eq!(text.matches(&more).count(), 1, "{text}");
    bench.state = serde_json::from_str(&text.replace(&more, "")).expect("a state of before");
    assert!(bench.is_extended());
    bench.starts_again();
    assert_eq!(bench.known("v2").time_from(), bench.now.steady);
}

/// Its control is away for a day, and all of its time is left when it is back.
#[test]
fn while_its_control_is_away_the_time_of_a_version_stands_still() {
    for mut bench in [Bench::shadow(), tried("canary")] {
        let once = if bench.stage("v2") == "shadow" { HOUR } else { PATIENCE };
        let mut watch = Stopwatch::default();
        bench.lives(&mut watch, once + 2 * MINUTE);
        assert!(bench.is_extended());
        bench.answers("v1", false);
        bench.lives(&mut watch, 24 * HOUR);
        bench.answers("v1", true);
        bench.lives(&mut watch, once - 10 * MINUTE);
        assert!(bench.known("v2").stage().is_on_trial(), "{}", bench.stage("v2"));
        bench.lives(&mut watch, 20 * MINUTE);
        let (gate, why) = bench.verdict("v2").expect("it is stopped");
        assert_eq!(gate, Gate::Insufficient, "nothing came of it afterwards either");
        assert!(why.contains("of it with nothing to compare, it still lacks"), "{why}");
    }
}

#[test]
fn a_step_takes_its_dwell_with_its_control_there() {
    let (mut bench, mut watch) = (tried("canary"), Stopwatch::default());
    bench.answers("v1", false);
    bench.lives(&mut watch, HOUR);
    bench.answers("v1", true);
    bench.responses(5000);
    bench.lives(&mut watch, 8 * MINUTE);
    let step =
        |bench: &Bench| matches!(bench.known("v2").stage(), Stage::Canary(at) if at.step() == 0);
    assert!(step(&bench), "an hour in which nothing was compared is no dwell");
    bench.lives(&mut watch, 4 * MINUTE);
    assert!(!step(&bench));
}

#[test]
fn a_version_that_is_away_itself_is_given_as_much_time_as_it_has_and_no_more() {
    for mut bench in [Bench::shadow(), tried("canary")] {
        let once = if bench.stage("v2") == "shadow" { HOUR } else { PATIENCE };
        let mut watch = Stopwatch::default();
        bench.answers("v2", false);
        bench.lives(&mut watch, 2 * once - 2 * MINUTE);
        assert!(!bench.is_extended());
        bench.lives(&mut watch, 2 * once + 6 * MINUTE);
        assert!(!bench.known("v2").stage().is_on_trial(), "twice the time, and more of it once");
    }
}

#[test]
fn the_time_of_a_version_that_is_cut_off_runs_out() {
    let mut bench = Bench::shadow();
    bench.orders(Command::Kill(Scope::Version(model(), version("v2")), true));
    bench.lives(&mut Stopwatch::default(), 2 * HOUR + 4 * MINUTE);
    assert_eq!(bench.stage("v2"), "quarantined");
}

#[test]
fn where_another_stands_in_the_time_stands_still_as_well() {
    let mut bench = Bench::live();
    bench.publish("v3");
    bench.sees("v3", |seen| seen.checks = Progress::Done(checks()));
    bench.settle();
    bench.sees("v3", |seen| {
        seen.warmth = Progress::Done(warmth(true));
        seen.ready = true;
    });
    bench.settle();
    assert_eq!(bench.stage("v3"), "shadow");
    let found =
        |there: &[&str]| hindrance(&bench.state, &model(), |name| there.contains(&name.as_str()));
    assert_eq!(found(&["v1", "v2", "v3"]), None);
    assert_eq!(found(&["v1", "v3"]), Some(Control), "v1 answers for it");
    assert_eq!(found(&["v3"]), Some(Control));
    assert_eq!(found(&["v1", "v2"]), Some(Itself));
    assert_eq!(found(&[]), Some(Control), "it is no worse than its control");
}
