use std::time::Instant as Wall;

use super::*;
use crate::config::{Checks, load};
use crate::control::discovery::Discovery;
use crate::control::publish::Controller;
use crate::domain::discovery::{Answer, Artifact, Keeper, Listing, Policy};
use crate::domain::ids::SourceName;
use crate::domain::lifecycle::event::{By, Move, Scope};
use crate::domain::lifecycle::observed::Sighting;
use crate::domain::lifecycle::order::{Command, Order};
use crate::domain::lifecycle::proof::{Gate, Verdict};
use crate::domain::lifecycle::release::Release;
use crate::domain::lifecycle::stage::Edge;
use crate::monitor::Monitor;
use crate::snapshot::Reader;

/// What an operator wants, with its data below `dir`.
pub(in crate::control) fn intent(dir: &std::path::Path, text: &str) -> Arc<Intent> {
    let path = dir.join("pointsman.toml");
    let data = dir.join("data");
    let text = format!("listen = \"127.0.0.1:1\"\ndata_dir = \"{}\"\n{text}", data.display());
    std::fs::write(&path, text).unwrap();
    let loaded = load(&path, Checks::Offline).unwrap_or_else(|found| panic!("{found}"));
    Arc::new(loaded.intent)
}

/// The life cycle with everything that it reads, and the controller beside it.
pub(in crate::control) fn open(
    intent: &Arc<Intent>,
) -> (Releases, ReleasesHandle, Discovery, Controller, Reader) {
    let registry = Arc::new(Registry::new(1));
    let monitor = Arc::new(Monitor::new(intent, 1));
    let events = Arc::new(Events::open(&intent.data_dir));
    let (running, discovery) = Discovery::open(intent, Arc::clone(&events));
    let readers = (monitor.reader(), QualityReader::without_labels(monitor.reader()));
    let replays = Replays::channel().0;
    let (releases, handle) =
        Releases::open(intent, Arc::clone(&registry), events, &discovery, readers, replays)
            .unwrap();
    let (controller, reader) = Controller::new(intent, registry, monitor).unwrap();
    (releases, handle, running, controller, reader)
}

impl Releases {
    /// What discovery has seen.
    pub(in crate::control) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }

    /// Wants something else from now on.
    pub(in crate::control) fn want(&mut self, intent: Arc<Intent>) {
        self.intent = intent;
    }

    /// From now on nothing can be written.
    pub(in crate::control) fn fill_the_disk(&mut self) {
        self.ledger.fill_the_disk(&self.intent.data_dir);
    }

    /// A source tells of a version.
    fn sight(&mut self, model: &str, version: &str, source: &str) {
        let release = Release {
            digest: Digest::new(format!("{model}/{version}")),
            bytes: 1,
            source: source.to_owned(),
            publisher: None,
            trained_at: None,
            named: false,
        };
        let name = ModelName::new(model);
        let sightings = Arc::make_mut(&mut self.observed.model_mut(&name).sightings);
        let sighting = Sighting { release, complete: false };
        sightings.insert(VersionName::new(version), sighting);
        self.due.mark(&name);
    }

    async fn settle(&mut self) {
        while self.step().await == Step::Again {}
    }

    fn versions(&self, model: &str) -> usize {
        let state = self.ledger.state();
        state.model(&ModelName::new(model)).map_or(0, |model| model.versions().count())
    }
}

pub(in crate::control) fn kill(scope: Scope, on: bool) -> Order {
    let command = Command::Kill(scope, on);
    Order { who: "ann".into(), why: "a test".into(), expected: None, command }
}

#[tokio::test]
async fn an_event_that_cannot_be_written_is_passed_over_and_what_stands_behind_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut releases, ..) = open(&intent(dir.path(), ""));
    releases.sight("a", "v1", &"x".repeat(2 * 1024 * 1024));
    releases.sight("a", "v2", "store");
    releases.sight("b", "v1", "store");
    releases.settle().await;
    assert_eq!((releases.versions("a"), releases.versions("b")), (1, 1));
    assert_eq!(releases.passed_over.len(), 1, "{:?}", releases.passed_over);
    assert_eq!(releases.ledger.failures(), 1, "it is not tried again and again");
    assert!(releases.rests_until.is_none(), "nothing else waits for it");
}

#[tokio::test]
async fn a_kill_switch_acts_on_a_full_disk_and_is_written_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let intent =
        intent(dir.path(), "[models.m.versions.v1]\nbackends = [\"http://127.0.0.1:2\"]\n");
    let model = ModelName::new("m");
    let (mut releases, ..) = open(&intent);
    releases.news();
    releases.fill_the_disk();
    let order = kill(Scope::Model(model.clone()), true);
    let done = releases.cut_off(&order).unwrap().unwrap();
    let published = releases.news().expect("it acts before it is written");
    assert!(published.intent.models[&model].killed.is_some());
    let done = releases.written(done).await;
    assert!(done.unwritten.is_some(), "{done:?}");
    let again = releases.cut_off(&order).unwrap();
    assert!(matches!(again, Err(NotCarriedOut::Order(_))), "it is so already: {again:?}");
    let off = releases.order(&kill(Scope::Model(model.clone()), false)).await;
    assert!(matches!(off, Err(NotCarriedOut::Journal(_))), "the other way needs the disk: {off:?}");
    assert_eq!(releases.step().await, Step::Rest);
    assert!(releases.ledger.has_waiting());

    releases.ledger.empty_the_disk(&intent.data_dir);
    releases.rests_until = None;
    releases.tick();
    releases.settle().await;
    assert!(!releases.ledger.has_waiting());
    drop(releases);
    let (releases, ..) = open(&intent);
    assert!(releases.ledger.state().model(&model).unwrap().killed().is_some());
}

#[tokio::test]
async fn versions_of_the_configuration_and_models_that_nobody_has_sighted_can_be_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[models.m.versions.v1]\nbackends = [\"http://127.0.0.1:2\"]\n[models.c.release]\n";
    let (mut releases, ..) = open(&intent(dir.path(), text));
    let version = |version| Scope::Version(ModelName::new("m"), VersionName::new(version));
    releases.cut_off(&kill(version("v1"), true)).unwrap().unwrap();
    let published = releases.news().unwrap().intent;
    let killed = |intent: &Intent| {
        intent.models[&ModelName::new("m")].killed_versions.contains_key(&VersionName::new("v1"))
    };
    assert!(killed(&published));
    releases.cut_off(&kill(Scope::Model(ModelName::new("c")), true)).unwrap().unwrap();
    for unknown in [version("v2"), Scope::Model(ModelName::new("d"))] {
        assert!(releases.cut_off(&kill(unknown, true)).unwrap().is_err(), "a slip is no order");
    }
    releases.order(&kill(version("v1"), false)).await.unwrap();
    assert!(!killed(&releases.news().unwrap().intent));
}

#[tokio::test]
async fn what_was_not_published_is_news_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut releases, ..) = open(&intent(dir.path(), ""));
    assert!(releases.news().is_some(), "the first routes");
    assert!(releases.news().is_none());
    releases.not_published();
    assert!(releases.news().is_some());
    assert!(releases.news().is_none());
}

/// What one source shows: this version of `m`, whole.
fn shown(version: &str) -> Arc<Seen> {
    let (model, version) = (ModelName::new("m"), VersionName::new(version));
    let folder = format!("/store/m/{version}").into();
    let digests = BTreeMap::from([("model.onnx".to_owned(), [7; 32])]);
    let mut listing = Listing::default();
    let artifact = Artifact { folder, digests, bytes: 5, ..Artifact::default() };
    listing.artifact(model, version, artifact);
    let mut keeper = Keeper::new(Policy { shrink_after_ms: 0, confirm_ms: 0 });
    keeper.observe(1, Answer::Whole(listing));
    Arc::new(Seen::merge(1, 1, [(SourceName::new("store"), Arc::new(keeper))].into()))
}

#[tokio::test]
async fn names_that_a_source_makes_up_are_remembered_only_while_they_are_shown_or_in_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let (mut releases, ..) = open(&intent(dir.path(), ""));
    let sighted = |releases: &Releases| {
        let seen = &releases.observed.models[&ModelName::new("m")];
        seen.sightings.keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    for n in 0..50 {
        releases.see(shown(&format!("v{n}")));
    }
    assert_eq!(sighted(&releases), ["v49"], "the others have never been taken up");
    releases.settle().await;
    releases.see(shown("v50"));
    releases.settle().await;
    assert_eq!(sighted(&releases), ["v49", "v50"], "absence is no decision");
    for edge in [Edge::Evict("a test".to_owned()), Edge::Delete] {
        releases.see(shown("v51"));
        assert!(sighted(&releases).contains(&"v49".to_owned()), "it can be restored still");
        let moves = vec![Move { version: VersionName::new("v49"), edge }];
        let (model, why) = (ModelName::new("m"), "a test".to_owned());
        let draft = Draft { by: By::Gateway, what: What::Moved { model, moves, why } };
        let written = releases.ledger.append(vec![draft]).await.unwrap();
        assert!(written.iter().all(Result::is_ok), "{written:?}");
    }
    releases.see(Arc::new(Seen::default()));
    assert_eq!(sighted(&releases), ["v50"], "nothing is left of it but its name in the table");
}

/// The longest time for a tick with ten thousand versions at rest, in a debug build on a busy machine.
const TICK_MAX: Duration = TICK;

#[tokio::test]
async fn ten_thousand_versions_at_rest_cost_little_however_they_are_spread() {
    for models in [1, 10_000] {
        let dir = tempfile::tempdir().unwrap();
        let (mut releases, ..) = open(&intent(dir.path(), ""));
        let name = |n: usize| ModelName::new(format!("m{:05}", n % models));
        let began = Wall::now();
        for n in 0..10_000 {
            releases.sight(name(n).as_str(), &format!("v{n}"), "store");
        }
        releases.settle().await;
        let taken_up = began.elapsed();
        // A version that is found and not whole yet is looked at with each tick: these are given up.
        let drafts: Vec<Draft> = (0..10_000).map(|n| rejected(&name(n), n)).collect();
        for part in drafts.chunks(TOGETHER_MAX) {
            match releases.ledger.append(part.to_vec()).await {
                Ok(outcomes) => outcomes.iter().flatten().for_each(|event| releases.follow(event)),
                // On a busy machine it is written a little later.
                Err(LedgerError::Slow) => while releases.ledger.catch_up().await.is_err() {},
                Err(error) => panic!("{error}"),
            }
        }
        releases.rests_until = None;
        releases.settle().await;
        let total: usize =
            releases.ledger.state().models().map(|(_, m)| m.versions().count()).sum();
        assert_eq!(total, 10_000);
        releases.show();
        let began = Wall::now();
        let ticks = 40;
        for _ in 0..ticks {
            releases.tick();
            releases.settle().await;
            drop(releases.news());
            releases.show();
        }
        let tick = began.elapsed() / ticks;
        println!("{models} models: taken up in {taken_up:?}, a tick takes {tick:?}");
        assert!(tick < TICK_MAX, "{models} models: {tick:?}");
    }
}

/// A version that an operator does not want.
fn rejected(model: &ModelName, n: usize) -> Draft {
    let verdict = Verdict { gate: Gate::Operator, why: "a test".to_owned() };
    let edge = Edge::Quarantine(verdict, Vec::new());
    let moves = vec![Move { version: VersionName::new(format!("v{n}")), edge }];
    let by = By::Operator { who: "ann".into(), why: "a test".into() };
    Draft { by, what: What::Moved { model: model.clone(), moves, why: "a test".to_owned() } }
}
