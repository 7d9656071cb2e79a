//! Ends of the gateway without a farewell: whom they count against, and what follows.

use super::*;
use crate::domain::lifecycle::event::Event;

const DAY: Duration = Duration::from_secs(86_400);

/// `v1` is live, and `v2` on trial at `stage`.
pub(super) fn tried(stage: &str) -> Bench {
    let mut bench = Bench::new();
    let shadow = &mut bench.policies.default.release.shadow;
    (shadow.limit, shadow.pairs) = (100 * DAY, if stage == "canary" { 0 } else { 500 });
    for name in ["v1", "v2"] {
        bench.publish(name);
        if bench.stage(name) == stage {
            return bench;
        }
        bench.sees(name, |seen| seen.checks = Progress::Done(checks()));
        bench.settle();
        if name == "v2" && bench.stage(name) == stage {
            return bench;
        }
        bench.sees(name, |seen| {
            seen.warmth = Progress::Done(warmth(true));
            seen.ready = true;
        });
        bench.settle();
        bench.passes(MINUTE);
    }
    assert_eq!((bench.stage("v1"), bench.stage("v2")), ("live", stage));
    bench
}

impl Bench {
    /// The process dies while it serves, and another starts.
    fn dies(&mut self) {
        let among = self.state.among_the_untried(self.now.steady);
        self.starts();
        self.write(Draft::own(What::Died { among }));
        self.settle();
    }

    fn starts(&mut self) {
        self.write(Draft::own(What::Recovered));
    }

    fn deaths(&self, name: &str) -> u32 {
        let known = self.state.model(&model()).and_then(|model| model.version(&version(name)));
        known.expect("it is known").deaths(self.now.steady)
    }

    fn tells_of_deaths(&self, name: &str) -> bool {
        let alert = Alert::Deaths(version(name));
        self.state.model(&model()).is_some_and(|model| model.alerts().any(|told| *told == alert))
    }
}

#[test]
fn two_deaths_stop_a_version_wherever_it_is_tried_and_do_not_condemn_it() {
    for stage in ["validating", "warming", "shadow", "canary"] {
        // The first of its model is as dangerous as any other.
        let (mut bench, name) = match stage {
            "validating" => (Bench::staged(), "v1"),
            _ => (tried(stage), "v2"),
        };
        bench.dies();
        assert_eq!((bench.stage(name), bench.deaths(name)), (stage, 1), "once may be chance");
        bench.passes(3 * 60 * MINUTE);
        bench.dies();
        let (gate, why) = bench.verdict(name).unwrap_or_else(|| panic!("{stage}: it is stopped"));
        assert_eq!(gate, Gate::Deaths);
        assert!(!gate.condemns() && gate.blames_publisher());
        assert!(
            why.contains("without a farewell 2 times in a row") && why.contains(stage),
            "{why}"
        );
        bench.sees(name, |seen| seen.fetch = Progress::Done(Fetched::verified(100, 3)));
        bench.orders(Command::Restore(model(), version(name)));
        bench.settle();
        assert_eq!(bench.deaths(name), 0, "{stage}: another trial begins anew");
        assert_ne!(bench.stage(name), "quarantined", "{stage}");
    }
}

#[test]
fn deaths_far_apart_and_ends_in_good_order_count_against_nobody() {
    let mut bench = tried("shadow");
    bench.dies();
    bench.passes(DAY + SECOND);
    bench.dies();
    assert_eq!((bench.stage("v2"), bench.deaths("v2")), ("shadow", 1));
    for _ in 0..5 {
        bench.passes(MINUTE);
        bench.starts();
        bench.settle();
    }
    assert_eq!((bench.stage("v2"), bench.deaths("v2")), ("shadow", 1));
    bench.policies.default.release.deaths = 3;
    bench.dies();
    assert_eq!(bench.stage("v2"), "shadow", "as the policy says");
    bench.dies();
    assert_eq!(bench.verdict("v2").map(|(gate, _)| gate), Some(Gate::Deaths));
}

#[test]
fn a_live_version_stays_whatever_dies_and_is_told_of_while_it_is_new() {
    let mut bench = Bench::live();
    for _ in 0..3 {
        bench.dies();
        assert_eq!(bench.stage("v2"), "live");
    }
    assert!(bench.tells_of_deaths("v2"));
    assert_eq!(bench.deaths("v1"), 0, "one that stands by has lived long enough");
    bench.passes(DAY + SECOND);
    bench.settle();
    assert!(!bench.tells_of_deaths("v2"));
    bench.dies();
    bench.dies();
    assert!(!bench.tells_of_deaths("v2"), "it is not new any more");
}

#[test]
fn what_is_brought_back_and_kills_the_gateway_rests_again() {
    let mut bench = Bench::live();
    bench.policies.default.release.undo = Duration::ZERO;
    bench.orders(Command::Drain(model(), version("v1")));
    bench.sees("v1", |seen| (seen.ready, seen.warmth) = (false, Progress::Idle));
    bench.settle();
    bench.orders(Command::Restore(model(), version("v1")));
    bench.dies();
    assert_eq!(bench.stage("v1"), "warming");
    bench.dies();
    assert_eq!((bench.stage("v1"), bench.stage("v2")), ("retired", "live"));
}

#[test]
fn journals_of_before_are_read_and_say_of_no_death() {
    let line = r#"{"v":1,"seq":1,"at":{"steady":5,"wall":7},"by":"gateway","what":"recovered"}"#;
    let event: Event = serde_json::from_str(line).expect("an event of before");
    let mut state = State::default();
    state.apply(&event).expect("it folds");
    let mut bench = tried("shadow");
    let before = serde_json::to_string(&bench.state).expect("JSON");
    assert!(!before.contains("deaths"), "nothing is written where there was none");
    bench.dies();
    let after = serde_json::to_string(&bench.state).expect("JSON");
    let again: State = serde_json::from_str(&after).expect("a state");
    assert_eq!(again, bench.state);
    assert!(after.contains("deaths"));
}

#[test]
fn a_death_names_who_was_tried_and_not_all_of_thousands() {
    let bench = tried("shadow");
    let told = bench.state.among_the_untried(bench.now.steady);
    assert_eq!(told, "on trial, or live for less than a day: m v1 (live), m v2 (shadow)");
    assert_eq!(State::default().among_the_untried(Steady(0)), "no version was on trial");
    let mut many = Bench::new();
    for n in 0..20 {
        let model = ModelName::new(format!("m{n:02}"));
        let release = Release {
            digest: Digest::new("a digest"),
            bytes: 1,
            source: "store".to_owned(),
            publisher: None,
            trained_at: None,
            named: false,
        };
        let sighted = What::Sighted { model: model.clone(), version: version("v1"), release };
        many.write(Draft::own(sighted));
        for edge in [Edge::Stage, Edge::Validate(Fetched::verified(1, 1))] {
            let moves = vec![Move { version: version("v1"), edge }];
            let (model, why) = (model.clone(), "a test".to_owned());
            many.write(Draft::own(What::Moved { model, moves, why }));
        }
    }
    let told = many.state.among_the_untried(many.now.steady);
    assert!(told.ends_with("m07 v1 (validating), 12 more"), "{told}");
}
