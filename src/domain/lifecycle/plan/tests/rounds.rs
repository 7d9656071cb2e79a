use std::sync::Arc;

use super::super::*;
use crate::domain::ids::Digest;
use crate::domain::lifecycle::event::{Alert, By, Mark, Scope};
use crate::domain::lifecycle::observed::Sighting;
use crate::domain::lifecycle::proof::{Fetched, Gate};
use crate::domain::lifecycle::release::Release;
use crate::domain::lifecycle::time::Wall;

fn model(name: &str) -> ModelName {
    ModelName::new(name)
}

fn version(name: &str) -> VersionName {
    VersionName::new(name)
}

fn release(digest: &str) -> Release {
    Release {
        digest: Digest::new(digest),
        bytes: 1,
        source: "store".to_owned(),
        publisher: None,
        trained_at: None,
        named: false,
    }
}

/// A state that events are added to, and what is seen beside it.
struct Case {
    state: State,
    seen: Observed,
    policies: Policies,
    now: Now,
}

impl Case {
    fn new() -> Self {
        let now = Now { steady: Steady(1_000_000), wall: Wall(1_790_000_000_000) };
        let (state, seen) = (State::default(), Observed::default());
        let mut case = Self { state, seen, policies: Policies::default(), now };
        case.add(What::Recovered);
        case
    }

    fn add(&mut self, what: What) {
        let draft = Draft { by: By::Operator { who: "ann".into(), why: "a test".into() }, what };
        let event = self.state.stamp(draft, self.now);
        self.state.apply(&event).unwrap();
    }

    fn sighted(&mut self, of: &str, name: &str, digest: &str) {
        let release = release(digest);
        self.add(What::Sighted { model: model(of), version: version(name), release });
    }

    fn moves(&mut self, of: &str, name: &str, edge: Edge) {
        let moves = vec![Move { version: version(name), edge }];
        self.add(What::Moved { model: model(of), moves, why: "a test".to_owned() });
    }

    /// A source shows this content under a name.
    fn shows(&mut self, of: &str, name: &str, digest: &str) {
        let sighting = Sighting { release: release(digest), complete: true };
        let seen = self.seen.model_mut(&model(of));
        Arc::make_mut(&mut seen.sightings).insert(version(name), sighting);
    }

    fn passes(&mut self, time: Duration) {
        self.now.steady = self.now.steady.after(time);
        self.now.wall.0 += millis(time);
    }

    fn plan(&self) -> Plan {
        plan(&self.state, &self.seen, &self.policies, self.now)
    }

    fn drafts(&self) -> Vec<What> {
        self.plan().drafts.into_iter().map(|draft| draft.what).collect()
    }

    /// Whether what a source shows enters the table next.
    fn takes_up(&self) -> bool {
        matches!(&self.drafts()[..], [What::Sighted { .. }])
    }
}

fn quarantine() -> Edge {
    Edge::Quarantine(Verdict { gate: Gate::Admission, why: "bad".to_owned() }, Vec::new())
}

fn is_sighting(what: &What) -> bool {
    matches!(what, What::Sighted { .. })
}

#[test]
fn what_takes_traffic_away_is_written_before_what_gives_it_and_what_is_told_last() {
    let step = |edge| {
        let moves = vec![Move { version: version("v1"), edge }];
        urgency(&What::Moved { model: model("m"), moves, why: String::new() })
    };
    let proven = urgency(&What::Proven { model: model("m"), version: version("v1") });
    let sighted = urgency(&What::Sighted {
        model: model("m"),
        version: version("v1"),
        release: release("d"),
    });
    let bad = Verdict { gate: Gate::Live, why: "errors".to_owned() };
    let order = [step(Edge::Drain(Rest::Quarantined(bad))), step(Edge::Stage), proven, sighted];
    assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
    // Over all models: the last of the alphabet comes first here.
    let mut case = Case::new();
    for n in 0..100 {
        case.shows("a", &format!("v{n}"), &format!("d{n}"));
    }
    case.sighted("z", "v1", "bad");
    case.moves("z", "v1", quarantine());
    case.sighted("z", "v2", "bad");
    let drafts = case.drafts();
    assert!(matches!(&drafts[0], What::Moved { model: of, .. } if *of == model("z")), "{drafts:?}");
    assert_eq!(drafts.iter().filter(|what| is_sighting(what)).count(), 100);
}

#[test]
fn what_cannot_be_written_keeps_nothing_else_back() {
    let mut case = Case::new();
    case.sighted("a", "v1", "d1");
    case.moves("a", "v1", Edge::Stage);
    case.moves("a", "v1", Edge::Validate(Fetched::verified(1, 1)));
    case.shows("b", "v1", "d1");
    case.shows("b", "v2", "d2");
    let plan = case.plan();
    assert_eq!(plan.drafts.len(), 2);
    assert_eq!(plan.effects, [Effect::Check(model("a"), version("v1"))], "another model's drafts");
    let poison = plan.drafts[0].what.subject();
    let names = vec![&poison.model].into_iter().flatten().collect();
    let passes = |subject: &Subject| *subject == poison;
    let plan = plan_for(names, &case.state, &case.seen, &case.policies, case.now, &passes);
    assert_eq!(plan.drafts.len(), 1);
    assert_ne!(plan.drafts[0].what.subject(), poison);
}

#[test]
fn a_source_cannot_lift_what_an_operator_has_set_by_publishing_again() {
    type Marks<'a> = [(&'a str, fn(bool) -> What); 3];
    let marks: Marks<'_> = [
        ("cut off", |on| What::Killed { scope: Scope::Version(model("m"), version("v1")), on }),
        ("pinned", |on| marked(Mark::Pinned, on)),
        ("held", |on| marked(Mark::Held, on)),
    ];
    for (name, mark) in marks {
        let mut case = Case::new();
        case.sighted("m", "v1", "d1");
        case.moves("m", "v1", quarantine());
        case.shows("m", "v1", "d2");
        assert!(case.takes_up(), "{name}: without a mark its name is free");
        case.add(mark(true));
        let drafts = case.drafts();
        assert!(
            matches!(&drafts[..], [What::Alerted { alert: Alert::Republished(_), on: true, .. }]),
            "{name}: {drafts:?}"
        );
        case.add(mark(false));
        assert!(case.takes_up(), "{name}");
    }
}

fn marked(mark: Mark, on: bool) -> What {
    What::Marked { model: model("m"), version: version("v1"), mark, on }
}

#[test]
fn another_release_under_a_name_that_is_cut_off_is_cut_off() {
    let mut case = Case::new();
    let scope = Scope::Version(model("m"), version("v1"));
    case.add(What::Killed { scope: scope.clone(), on: true });
    let killed = |case: &Case| {
        let model = case.state.model(&model("m")).unwrap();
        (model.killed_version(&version("v1")).is_some(), model.killed_versions().count())
    };
    assert_eq!(killed(&case), (true, 1), "before anybody has seen it");
    case.sighted("m", "v1", "d1");
    assert_eq!(killed(&case), (true, 1));
    case.moves("m", "v1", quarantine());
    case.sighted("m", "v1", "d2");
    assert_eq!(killed(&case), (true, 1));
    case.add(What::Forgotten { model: model("m"), version: version("v1") });
    assert_eq!(killed(&case), (true, 1));
    case.add(What::Killed { scope, on: false });
    assert_eq!(killed(&case), (false, 0));
}

#[test]
fn an_evicted_version_keeps_its_name_while_it_can_be_restored() {
    let mut case = Case::new();
    case.sighted("m", "v1", "d1");
    case.moves("m", "v1", quarantine());
    case.moves("m", "v1", Edge::Evict("it is old".to_owned()));
    case.shows("m", "v1", "d2");
    assert!(!case.drafts().iter().any(is_sighting));
    case.moves("m", "v1", Edge::Delete);
    assert!(case.takes_up());
}

#[test]
fn thousands_that_are_due_and_may_not_go_yet_are_planned_in_no_time() {
    let mut case = Case::new();
    case.policies.default.evict.ttl = Some(Duration::from_secs(60));
    case.policies.default.evict.cool_down = Duration::from_secs(3600);
    case.policies.default.evict.keep_proven = 1;
    for n in 0..9000 {
        let name = format!("v{n}");
        case.sighted("m", &name, &name);
        case.moves("m", &name, Edge::Retire("v9000 is newer".to_owned()));
    }
    case.passes(Duration::from_secs(120));
    case.moves("m", "v0", Edge::Evict("it is old".to_owned()));
    // In the square of the versions it took minutes.
    let drafts = case.drafts();
    assert!(drafts.is_empty(), "{drafts:?}");
    case.passes(Duration::from_secs(3600));
    case.add(What::Ticked);
    let drafts = case.drafts();
    assert!(drafts.len() == 1 && is_eviction(&drafts[0]), "{drafts:?}");
}

#[test]
fn a_full_table_strikes_what_is_deleted_once_no_source_shows_it() {
    let mut case = Case::new();
    for n in 0..9000 {
        let name = format!("v{n}");
        case.sighted("m", &name, &name);
    }
    for edge in [quarantine(), Edge::Evict("it is old".to_owned()), Edge::Delete] {
        case.moves("m", "v0", edge);
    }
    case.shows("m", "v0", "v0");
    let strikes = |case: &Case| {
        let drafts = case.drafts();
        drafts.iter().any(|what| {
            matches!(what, What::Forgotten { version: struck, .. } if *struck == version("v0"))
        })
    };
    assert!(!strikes(&case), "it would be taken up again");
    Arc::make_mut(&mut case.seen.model_mut(&model("m")).sightings).clear();
    assert!(strikes(&case));
}
