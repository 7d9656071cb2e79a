//! What counts of a version on trial, whatever happens to its stay.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::lifecycle::event::{By, Draft, Move, What};
use crate::domain::lifecycle::evidence::{CanaryEvidence, Metric, ShadowEvidence};
use crate::domain::lifecycle::release::Release;
use crate::domain::lifecycle::stage::Edge;
use crate::domain::lifecycle::time::{Now, Wall};
use crate::domain::routing::Arm;
use crate::domain::trial::pairs::{Pair, PairOutcome};
use crate::snapshot::Answered;

fn model() -> ModelName {
    ModelName::new("m")
}

fn version(name: &str) -> VersionName {
    VersionName::new(name)
}

/// A model whose `v1` is live and whose `v2` is on trial, with what is counted of it.
struct Bench {
    state: State,
    trials: Trials,
    now: Steady,
}

impl Bench {
    fn shadow() -> Self {
        let mut bench = Self { state: State::default(), trials: Trials::new(2), now: Steady(1000) };
        let measured = json!({"began": 1, "runs": 20, "cold_us": 9, "warm_us": 9, "bytes": 1, "settled": true});
        let warm = json!({ "measured": measured });
        let admitted = [
            json!("stage"),
            json!({"validate": {"bytes": 1, "took_ms": 1}}),
            json!({"warm": {"checks": []}}),
        ];
        let first = json!({"begin": {"warm": warm, "basis": "golden"}});
        for (name, last) in [("v1", first), ("v2", json!({ "try": warm }))] {
            let release = Release {
                digest: Digest::new(format!("digest-of-{name}")),
                bytes: 1,
                source: "store".to_owned(),
                publisher: None,
                trained_at: None,
                named: false,
            };
            bench.write(What::Sighted { model: model(), version: version(name), release });
            for edge in admitted.iter().chain([&last]) {
                bench.moves(name, edge);
            }
        }
        bench
    }

    fn canary() -> Self {
        let mut bench = Self::shadow();
        let evidence = ShadowEvidence::default();
        bench.moves("v2", &json!({"expose": [{ "evidence": evidence }, 200]}));
        bench
    }

    fn write(&mut self, what: What) {
        self.now = self.now.after(Duration::from_secs(1));
        let now = Now { steady: self.now, wall: Wall(self.now.0) };
        let event = self.state.stamp(Draft { by: By::Gateway, what }, now);
        self.state.apply(&event).expect("it folds");
        self.trials.follow_all(&self.state, &Policies::default(), self.now);
    }

    fn moves(&mut self, name: &str, edge: &Value) {
        let edge: Edge = serde_json::from_value(edge.clone()).expect("an edge of the journal");
        let moves = vec![Move { version: version(name), edge }];
        self.write(What::Moved { model: model(), moves, why: "a test".to_owned() });
    }

    fn candidate(&self) -> &Version {
        let (_, version) = self.state.model(&model()).and_then(Model::candidate).expect("v2");
        version
    }

    fn trial(&self) -> &Trial {
        self.trials.of(&model()).expect("it is counted").1
    }

    /// So many answers of it, and of its control.
    fn answers(&self, n: u64) {
        for _ in 0..n {
            if let Some(canary) = self.trial().as_canary() {
                let took = Duration::from_millis(5);
                for arm in [Arm::Candidate, Arm::Control] {
                    canary.draw(0, arm, None);
                    let answered = Answered { failed: false, took, invalid: Some(false) };
                    canary.answer(0, arm, &answered);
                }
            }
            if let Some(shadow) = self.trial().as_shadow() {
                let likeness = PairOutcome::Agrees.into();
                shadow.compare(&Pair { likeness, times: None, replayed: false });
            }
        }
    }

    /// What of it is about this stay.
    fn counted(&self) -> u64 {
        let (shadow, canary) = (self.trial().shadow(), self.trial().canary());
        let (began, counted) = match self.candidate().stage() {
            Stage::Canary(_) => (canary.began, canary.responses),
            _ => (shadow.began, shadow.pairs),
        };
        if began >= self.candidate().since() { counted } else { 0 }
    }
}

#[test]
fn more_time_begins_neither_the_counts_nor_the_tests_anew() {
    for mut bench in [Bench::shadow(), Bench::canary()] {
        bench.answers(60);
        let since = bench.candidate().since();
        bench.moves("v2", &json!({"extend": ["100 responses"]}));
        bench.answers(60);
        assert_eq!(bench.counted(), 120, "{:?}", bench.candidate().stage());
        assert_eq!(bench.candidate().since(), since, "it is the same stay");
        assert_eq!(bench.candidate().time_from(), bench.now, "with as much time again");
    }
}

#[test]
fn time_in_which_the_control_is_away_is_watched_from_the_beginning_of_each_stay() {
    let mut bench = Bench::canary();
    let watch = |bench: &mut Bench, is_there: bool| {
        bench.now = bench.now.after(Duration::from_secs(10));
        let ready = |name: &VersionName| is_there || *name != version("v1");
        bench.trials.watch(&bench.state, &model(), ready, bench.now)
    };
    assert_eq!(watch(&mut bench, true), Uncompared::default());
    let seconds = |control_away| Uncompared {
        control_away: Duration::from_secs(control_away),
        ..Uncompared::default()
    };
    assert_eq!(watch(&mut bench, false), seconds(10));
    assert_eq!(watch(&mut bench, true), seconds(20), "it came back at some moment of these");
    assert_eq!(watch(&mut bench, true), seconds(20));
    bench.moves("v2", &json!({"extend": ["100 responses"]}));
    assert_eq!(watch(&mut bench, true), Uncompared::default());
    let none = bench.trials.watch(&bench.state, &ModelName::new("n"), |_| false, bench.now);
    assert_eq!(none, Uncompared::default(), "nothing is on trial");
}

proptest! {
    /// More time never lowers what counts; only another step, another stage and a restart begin it anew. The tests of
    /// rates go on over all steps.
    #[test]
    fn what_was_counted_in_a_stay_counts_to_its_end(
        is_canary: bool,
        happens in prop::collection::vec((0u8..6, 1u64..40), 1..40),
    ) {
        let mut bench = if is_canary { Bench::canary() } else { Bench::shadow() };
        let (mut stay, mut rollout, mut extended) = (0, 0, false);
        for (what, n) in happens {
            match what {
                0 if !extended => {
                    bench.moves("v2", &json!({"extend": ["100 responses"]}));
                    extended = true;
                }
                1 if is_canary => {
                    let evidence = CanaryEvidence::default();
                    bench.moves("v2", &json!({"step": [{ "evidence": evidence }, 200]}));
                    (stay, extended) = (0, false);
                }
                2 if n > 30 => {
                    bench.trials = Trials::new(2);
                    bench.write(What::Recovered);
                    (stay, rollout) = (0, 0);
                }
                _ => {
                    bench.answers(n);
                    (stay, rollout) = (stay + n, rollout + n);
                }
            }
            prop_assert_eq!(bench.counted(), stay);
            let errors = bench.trial().canary().rate(Metric::Errors).map_or(0, |rate| rate.n);
            prop_assert_eq!(errors, if is_canary { rollout } else { 0 });
        }
    }
}
