//! What backends speak and serve, as far as they tell.
//!
//! Owns the rounds in which they are asked, each in tasks of its own, and what is known after them. Who has not told
//! what the model takes is asked again soon, and then ever later, unless a request waits for it: servers start
//! after the gateway. Who answers, but again and again describes nothing, is taken for one that never will. An
//! answer that is missing takes nothing back: a backend that is down speaks no other dialect. Never waits
//! in the way of the controller: whoever awaits [`Enquiry::news`] may do something else at any time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ask::{Heard, Known, ask, is_asked, is_awaited};
use super::members::Members;
use crate::domain::routing::TargetKind;
use crate::domain::spec::{BackendsSpec, Intent, VersionSpec};

/// Versions whose backends are asked at the same time.
const ASKED_AT_ONCE: usize = 16;
/// After a round, who has told nothing is asked again after this; then it doubles.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
/// So many answers that describe nothing, one after the other, and so long from the first to the last, make a
/// version one without types.
const NONSENSE_ANSWERS: u32 = 4;
const NONSENSE_TIME: Duration = Duration::from_secs(5);

/// What is known about the backends of versions.
pub(super) type Spoken = BTreeMap<TargetKind, Known>;

/// The versions whose backends are asked, and what is known about them.
#[derive(Debug)]
pub(super) struct Enquiry {
    /// From one round for all to the next.
    interval: Duration,
    /// When all are asked again.
    all: Instant,
    /// When those are who have told nothing, and how long after the last time.
    again: Instant,
    pause: Duration,
    /// When the last round began, and whether the next one was brought forward since.
    begun: Instant,
    hastened: bool,
    /// When the first answer came that describes nothing, and how many did since.
    nonsense: BTreeMap<TargetKind, (Instant, u32)>,
    asked: Vec<(TargetKind, BackendsSpec)>,
    known: Spoken,
    /// Whose turn comes later in this round.
    waiting: VecDeque<(TargetKind, BackendsSpec)>,
    running: JoinSet<(TargetKind, (Known, Heard))>,
}

impl Enquiry {
    /// Nobody was asked yet.
    pub(super) fn new(intent: &Intent) -> Self {
        Self::asking(asked(intent), intent.protocols.ask_interval)
    }

    fn asking(asked: Vec<(TargetKind, BackendsSpec)>, interval: Duration) -> Self {
        let now = Instant::now();
        Self {
            interval,
            all: now,
            again: now,
            pause: AGAIN_FIRST,
            begun: now,
            hastened: false,
            nonsense: BTreeMap::new(),
            asked,
            known: Spoken::new(),
            waiting: VecDeque::new(),
            running: JoinSet::new(),
        }
    }

    /// Asks those of another intent from now on. What is known of versions that are gone is forgotten.
    pub(super) fn follow(&mut self, intent: &Intent) {
        self.asked = asked(intent);
        let asked = &self.asked;
        self.known.retain(|kind, _| asked.iter().any(|(known, _)| known == kind));
        self.nonsense.retain(|kind, _| asked.iter().any(|(known, _)| known == kind));
    }

    /// Whether a request that waits for a description may bring the next round forward.
    pub(super) fn may_hasten(&self) -> bool {
        !self.hastened && !self.is_asking()
    }

    /// Asks soon, once, those whose description a request waits for.
    pub(super) fn hasten(&mut self) {
        self.hastened = true;
        let mut asked = self.asked.iter();
        if asked.any(|(kind, spec)| is_awaited(spec, self.known.get(kind))) {
            self.again = self.again.min(self.begun + AGAIN_FIRST);
        }
    }

    /// Whether there is nobody to ask.
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    /// Asks those who were discovered from now on.
    pub(super) fn meet(&mut self, members: &Members) {
        for (kind, spec) in &mut self.asked {
            let Some(members) = members.get(kind) else { continue };
            if spec.addresses != *members {
                spec.addresses.clone_from(members);
                if !has_told(&self.known, kind) {
                    (self.again, self.pause) = (Instant::now(), AGAIN_FIRST);
                }
            }
        }
    }

    /// When the next round is due.
    pub(super) fn due(&self) -> Instant {
        if self.asked.iter().all(|(kind, _)| has_told(&self.known, kind)) {
            return self.all;
        }
        self.all.min(self.again)
    }

    /// What is known.
    pub(super) fn known(&self) -> &Spoken {
        &self.known
    }

    /// Whether a round is under way.
    pub(super) fn is_asking(&self) -> bool {
        !self.running.is_empty()
    }

    /// Begins to ask all of them or, where their turn has not come, those who have told nothing.
    pub(super) fn begin(&mut self) {
        let now = Instant::now();
        (self.begun, self.hastened) = (now, false);
        let all = self.all <= now;
        if all {
            self.all = now + self.interval;
        }
        self.again = now + self.pause;
        self.pause = self.pause.saturating_mul(2).min(self.interval);
        let asked = self.asked.iter().filter(|(kind, _)| all || !has_told(&self.known, kind));
        self.waiting.extend(asked.cloned());
        self.go_on();
    }

    /// Waits for the next answers of the round; whether they tell anything new. Loses nothing when it is
    /// dropped before that.
    pub(super) async fn news(&mut self) -> bool {
        let mut next = self.running.join_next().await;
        let mut changed = false;
        while let Some(answer) = next {
            if let Ok((kind, answer)) = answer {
                changed |= self.learn(kind, answer);
            }
            self.go_on();
            next = self.running.try_join_next();
        }
        changed
    }

    /// Asks as many at once as may be.
    fn go_on(&mut self) {
        while self.running.len() < ASKED_AT_ONCE
            && let Some((kind, spec)) = self.waiting.pop_front()
        {
            self.running.spawn(async move {
                let known = match &kind {
                    TargetKind::Version(model, _) => ask(&spec, model.as_str()).await,
                    TargetKind::Pool(_) => (Known::declared(&spec), Heard::Silence),
                };
                (kind, known)
            });
        }
    }

    /// Notes what is known; whether that is new.
    fn learn(&mut self, kind: TargetKind, (mut known, heard): (Known, Heard)) -> bool {
        let before = self.known.get(&kind).cloned().unwrap_or_default();
        known.dialect = known.dialect.or(before.dialect);
        if known.dialect == before.dialect {
            known.description = known.description.or_else(|| before.description.clone());
            known.extensions = known.extensions.or(before.extensions);
        }
        let untyped = self.is_untyped(&kind, before.untyped, heard);
        known.untyped = untyped && known.dialect.is_some() && known.description.is_none();
        if known == before {
            return false;
        }
        if known.untyped && !before.untyped {
            tracing::warn!(
                target_version = %kind,
                "its backends answer but do not describe the model: its values have no types from now on"
            );
        }
        // What the configuration says is known without them.
        if known.dialect != before.dialect && !self.is_declared(&kind) {
            let dialect = known.dialect.map_or("unknown", |dialect| dialect.as_str());
            tracing::info!(target_version = %kind, dialect, "it is known what backends speak");
        }
        self.known.insert(kind, known);
        true
    }

    /// Whether a version has no types after another answer.
    fn is_untyped(&mut self, kind: &TargetKind, before: bool, heard: Heard) -> bool {
        match heard {
            Heard::Silence => before,
            Heard::NotYet | Heard::Description => {
                self.nonsense.remove(kind);
                false
            }
            Heard::Nonsense => {
                let now = Instant::now();
                let (first, answers) = self.nonsense.entry(kind.clone()).or_insert((now, 0));
                *answers = answers.saturating_add(1);
                before
                    || (*answers >= NONSENSE_ANSWERS && now.duration_since(*first) >= NONSENSE_TIME)
            }
        }
    }

    /// Whether the configuration says what the backends of a version speak.
    fn is_declared(&self, kind: &TargetKind) -> bool {
        let mut asked = self.asked.iter().filter(|(asked, _)| asked == kind);
        asked.any(|(_, spec)| spec.dialect.declared().is_some())
    }
}

/// Whether the backends of a version have told what it takes.
fn has_told(known: &Spoken, kind: &TargetKind) -> bool {
    known.get(kind).is_some_and(|known| known.description.is_some())
}

/// The versions of `intent` whose backends can be asked.
fn asked(intent: &Intent) -> Vec<(TargetKind, BackendsSpec)> {
    let versions = intent.models.iter().flat_map(|(model, spec)| {
        spec.versions.iter().map(move |(version, spec)| (model, version, spec))
    });
    let asked = versions.filter_map(|(model, version, spec)| match spec {
        VersionSpec::Backends(spec) if is_asked(spec) => {
            Some((TargetKind::Version(model.clone(), version.clone()), spec.clone()))
        }
        VersionSpec::Backends(_) | VersionSpec::Onnx(_) => None,
    });
    asked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dialect::Dialect;
    use crate::domain::ids::{ModelName, VersionName};
    use crate::domain::spec::SpokenDialect;
    use crate::protocol::dialect::{DeclaredModel, Extensions};

    #[test]
    fn silence_takes_nothing_back_and_another_dialect_forgets_what_the_first_told() {
        let kind = || TargetKind::Version(ModelName::new("m"), VersionName::new("v1"));
        let description = Some(DeclaredModel { name: "m".into(), ..DeclaredModel::default() });
        let mut enquiry = Enquiry::asking(Vec::new(), Duration::from_secs(30));
        let extensions = Some(Extensions { binary_tensors: true, classification: false });
        let dialect = Some(Dialect::OpenInference);
        let told = Known { dialect, description: description.clone(), extensions, untyped: false };
        assert!(enquiry.learn(kind(), (told.clone(), Heard::Description)));
        assert!(!enquiry.learn(kind(), (told, Heard::Description)));
        let down = (Known::default(), Heard::Silence);
        assert!(!enquiry.learn(kind(), down), "a backend that is down");
        let partly = Known { dialect, ..Known::default() };
        assert!(!enquiry.learn(kind(), (partly, Heard::Nonsense)), "a part of it");
        assert_eq!(enquiry.known()[&kind()].description, description);
        assert_eq!(enquiry.known()[&kind()].extensions, extensions);
        let other = Known { dialect: Some(Dialect::KserveV1), ..Known::default() };
        assert!(enquiry.learn(kind(), (other.clone(), Heard::Description)));
        assert_eq!(enquiry.known()[&kind()], other);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_told_nothing_is_asked_again_soon_and_then_ever_later() {
        let kind = TargetKind::Version(ModelName::new("m"), VersionName::new("v1"));
        let mut enquiry = Enquiry::asking(
            vec![(kind.clone(), BackendsSpec::new(Vec::new()))],
            Duration::from_secs(30),
        );
        let mut pauses = Vec::new();
        for _ in 0..7 {
            tokio::time::sleep_until(enquiry.due()).await;
            enquiry.begin();
            pauses.push((enquiry.due() - Instant::now()).as_secs_f64().round());
            enquiry.running.abort_all();
        }
        assert_eq!(
            pauses,
            [1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0],
            "a round for all comes in between"
        );
        let description = Some(DeclaredModel::default());
        let told = Known { description, ..Known::default() };
        enquiry.learn(kind, (told, Heard::Description));
        enquiry.begin();
        assert!(enquiry.due() - Instant::now() > Duration::from_secs(14));
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_but_never_describes_the_model_is_taken_for_one_that_never_will() {
        let kind = || TargetKind::Version(ModelName::new("m"), VersionName::new("v1"));
        let mut enquiry = Enquiry::asking(Vec::new(), Duration::from_secs(30));
        let dialect = Some(Dialect::TensorflowServing);
        let mut hear = async |heard, after: u64| {
            tokio::time::advance(Duration::from_secs(after)).await;
            let description = (heard == Heard::Description).then(DeclaredModel::default);
            enquiry.learn(kind(), (Known { dialect, description, ..Known::default() }, heard));
            enquiry.known()[&kind()].untyped
        };
        for (heard, after, untyped) in [
            (Heard::Silence, 60, false),
            (Heard::Nonsense, 0, false),
            (Heard::Nonsense, 1, false),
            (Heard::Nonsense, 1, false),
            (Heard::Nonsense, 1, false),
            // It is being loaded: all begins anew.
            (Heard::NotYet, 60, false),
            (Heard::Nonsense, 60, false),
            (Heard::Nonsense, 60, false),
            (Heard::Silence, 60, false),
            (Heard::Nonsense, 1, false),
            (Heard::Nonsense, 1, true),
            (Heard::Silence, 1, true),
            (Heard::NotYet, 1, false),
            (Heard::Description, 1, false),
            // What was told is known, whatever it says now.
            (Heard::Nonsense, 1, false),
        ] {
            assert_eq!(hear(heard, after).await, untyped, "{heard:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_brings_the_next_round_forward_once() {
        let kind = TargetKind::Version(ModelName::new("m"), VersionName::new("v1"));
        let dialect = SpokenDialect::Declared(Dialect::TensorflowServing);
        let spec = BackendsSpec { dialect, ..BackendsSpec::new(Vec::new()) };
        let mut enquiry = Enquiry::asking(vec![(kind.clone(), spec)], Duration::from_secs(30));
        for _ in 0..4 {
            tokio::time::sleep_until(enquiry.due()).await;
            enquiry.begin();
            enquiry.running = JoinSet::new();
        }
        assert_eq!(enquiry.due() - Instant::now(), Duration::from_secs(8));
        assert!(enquiry.may_hasten());
        enquiry.hasten();
        assert_eq!(enquiry.due() - Instant::now(), AGAIN_FIRST);
        assert!(!enquiry.may_hasten(), "until the next round has begun");
    }
}
