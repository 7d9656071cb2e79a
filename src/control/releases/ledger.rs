//! The journal with its clock: where every change of the life cycle is written before it counts.
//!
//! Owns the way to the journal, the moment of now, what waits for the journal, and the way of an event to whoever reads
//! events. Never decides.
//!
//! A kill switch that is put on counts at once: it is folded here, and written as soon as the journal takes it. So
//! is the start of the process, so that a full disk does not keep the gateway from what it can read. Everything else
//! counts once it is written, and what waits is written before it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Key;
use super::handle::Moves;
use crate::control::events::{Events, Weight};
use crate::control::journal::{Entry, Gone, Journal, JournalError, UnderWay, Writer, Written};
use crate::control::store::STATE_DIR;
use crate::domain::lifecycle::event::{By, Draft, Event, Scope, What};
use crate::domain::lifecycle::explain::sentence;
use crate::domain::lifecycle::stage::{Edge, Rest};
use crate::domain::lifecycle::state::{FoldError, State};
use crate::domain::lifecycle::time::{Now, Steady, Wall};
use crate::telemetry::logging::chain;

/// The folder below `state/`.
const FOLDER: &str = "lifecycle";
/// How long a write is waited for. It goes on after that.
const WRITE_MAX: Duration = Duration::from_secs(2);

/// Why an event is not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The journal does not take it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The system gives no thread to write on.
    #[error("no thread for the journal")]
    Thread(#[source] std::io::Error),
    /// The thread that wrote it is gone, and the journal with it.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// The disk takes its time: the event may be written yet.
    #[error(
        "the disk has not answered for {} s: it may be written yet; look before you try again",
        WRITE_MAX.as_secs()
    )]
    Slow,
}

/// What came of the events that were given together.
pub(super) type Outcomes = Vec<Result<Event, LedgerError>>;

/// The written past of all versions.
#[derive(Debug)]
pub(super) struct Ledger {
    writer: Writer,
    /// What the written events add up to.
    written: Arc<State>,
    /// The same with what waits.
    state: Arc<State>,
    /// What counts already and is not written yet.
    waiting: Vec<Entry>,
    /// Events of a write that took its time: they count, and whoever gave them was told that they may not.
    late: Vec<Event>,
    /// A write that has not ended, and how many of those that wait are in it.
    under_way: Option<(UnderWay, usize)>,
    began: Now,
    began_at: Instant,
    events: Arc<Events>,
    failures: u64,
    trouble: Option<String>,
    moves: Arc<Moves>,
}

impl Ledger {
    /// Opens the journal below `data_dir`, and writes down that the process has started, and whether the one before
    /// has `died`. Blocks.
    pub(super) fn open(
        data_dir: &Path,
        events: Arc<Events>,
        died: bool,
    ) -> Result<Self, LedgerError> {
        let (mut journal, recovery) = Journal::open(&data_dir.join(STATE_DIR).join(FOLDER))?;
        if recovery.torn > 0 {
            let bytes = recovery.torn;
            tracing::warn!(bytes, "the end of the life cycle's journal was torn and is cut off");
        }
        let began = Now::resumed(journal.state().clock().last, wall());
        let is_first = journal.state().seq() == 0;
        let own = |what| Draft { by: By::Gateway, what };
        let among = died.then(|| journal.state().among_the_untried(began.steady));
        let death = among.map(|among| own(What::Died { among }));
        // Together: a death that is counted is counted once.
        let start: Vec<Entry> = [Some(own(What::Recovered)), death]
            .into_iter()
            .flatten()
            .map(|it| (it, began))
            .collect();
        let mut waiting = Vec::new();
        if let Err(error) = journal.append(&start) {
            tracing::error!(
                error = %chain(&error),
                "the start is not written to the life cycle's journal; the gateway goes on with what it has read, and \
                 nothing changes but by a kill switch until there is room"
            );
            waiting.clone_from(&start);
        }
        let written = Arc::clone(journal.state());
        tracing::info!(
            events = recovery.events,
            number = written.seq(),
            "the life cycle's journal is read"
        );
        let mut ledger = Self {
            writer: Writer::start(journal).map_err(LedgerError::Thread)?,
            state: Arc::clone(&written),
            written,
            waiting: Vec::new(),
            late: Vec::new(),
            under_way: None,
            began,
            began_at: Instant::now(),
            events,
            failures: 0,
            trouble: None,
            moves: Arc::default(),
        };
        ledger.waiting = waiting;
        ledger.fold_waiting();
        for (draft, at) in start.into_iter().filter(|_| !is_first) {
            ledger.tell(&ledger.state.stamp(draft, at));
        }
        Ok(ledger)
    }

    /// Waits until what was told is in its file. Blocks.
    pub(super) fn events(&self) -> &Arc<Events> {
        &self.events
    }

    pub(super) fn flush_events(&self) {
        self.events.flush();
    }

    /// What the events add up to that count.
    pub(super) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The moment of now.
    pub(super) fn now(&self) -> Now {
        Now { steady: self.began.steady.after(self.began_at.elapsed()), wall: wall() }
    }

    /// When the process started.
    pub(super) fn began(&self) -> Steady {
        self.began.steady
    }

    /// Versions that changed their stage since the start.
    pub(super) fn moves(&self) -> Arc<Moves> {
        Arc::clone(&self.moves)
    }

    /// Events that could not be written so far.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// Whether something counts that is not written yet.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes events down together and folds them; they are told only then. Those that do not fit are left out. What
    /// waits is written before them.
    ///
    /// # Errors
    ///
    /// None of them is written, or it is not known yet whether they are. An error beside others is about its event.
    pub(super) async fn append(&mut self, drafts: Vec<Draft>) -> Result<Outcomes, LedgerError> {
        let written = self.write(drafts).await;
        if written.is_err() {
            self.failures += 1;
        }
        written
    }

    async fn write(&mut self, drafts: Vec<Draft>) -> Result<Outcomes, LedgerError> {
        // What came of an earlier write is no matter of this one, unless it has not ended yet.
        match self.ended().await {
            Err(error @ (LedgerError::Slow | LedgerError::Gone(_))) => return Err(error),
            Err(_refused) => {}
            Ok(outcomes) => self.late.extend(outcomes.into_iter().flatten()),
        }
        let now = self.now();
        let waiting = self.waiting.len();
        let mut entries = self.waiting.clone();
        entries.extend(drafts.into_iter().map(|draft| (draft, now)));
        if entries.is_empty() {
            return Ok(Outcomes::new());
        }
        self.under_way = Some((self.writer.begin(entries)?, waiting));
        self.ended().await
    }

    /// Writes down what waits.
    pub(super) async fn catch_up(&mut self) -> Result<(), LedgerError> {
        match self.under_way.is_some() || self.has_waiting() {
            true => self.append(Vec::new()).await.map(drop),
            false => Ok(()),
        }
    }

    /// Events that were written after those who gave them had waited long enough: what follows from them is to come.
    pub(super) fn take_late(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.late)
    }

    /// Has an event count at once, before it is written.
    ///
    /// # Errors
    ///
    /// It does not fit.
    pub(super) fn count_at_once(&mut self, draft: Draft) -> Result<Event, FoldError> {
        let now = self.now();
        let event = self.state.stamp(draft.clone(), now);
        let mut state = State::clone(&self.state);
        state.apply(&event)?;
        self.state = Arc::new(state);
        self.waiting.push((draft, now));
        self.tell(&event);
        Ok(event)
    }

    /// Waits for the write under way, and takes in what came of it.
    async fn ended(&mut self) -> Result<Outcomes, LedgerError> {
        let Some((written, waiting)) = &mut self.under_way else { return Ok(Outcomes::new()) };
        let waiting = *waiting;
        let Ok(ended) = tokio::time::timeout(WRITE_MAX, written).await else {
            return Err(LedgerError::Slow);
        };
        self.under_way = None;
        let Written { outcomes, state, trouble } = ended.map_err(|_gone| Gone)?;
        if trouble.is_some() && trouble != self.trouble {
            tracing::error!(error = trouble, "the life cycle's journal grows beyond its bound");
        }
        self.trouble = trouble;
        self.written = state;
        // Those that waited count since they were given, whatever the journal says of them.
        let mut outcomes = outcomes.inspect_err(|_| self.fold_waiting())?.into_iter();
        self.waiting.drain(..waiting.min(self.waiting.len()));
        for refused in outcomes.by_ref().take(waiting).filter_map(Result::err) {
            tracing::error!(error = %chain(&refused), "what has counted for a while is not written");
        }
        self.fold_waiting();
        let outcomes: Outcomes = outcomes.map(|it| it.map_err(LedgerError::from)).collect();
        for outcome in &outcomes {
            match outcome {
                Ok(event) => self.count(event),
                Err(_refused) => self.failures += 1,
            }
        }
        Ok(outcomes)
    }

    /// What waits is folded upon what is written.
    fn fold_waiting(&mut self) {
        if self.waiting.is_empty() {
            self.state = Arc::clone(&self.written);
            return;
        }
        let mut state = State::clone(&self.written);
        for (draft, at) in &self.waiting {
            let event = state.stamp(draft.clone(), *at);
            if let Err(error) = state.apply(&event) {
                tracing::error!(%error, "what has counted for a while does not fit any more");
            }
        }
        self.state = Arc::new(state);
    }

    fn count(&mut self, event: &Event) {
        if let What::Moved { model, moves, .. } = &event.what {
            let counts = Arc::make_mut(&mut self.moves);
            for m in moves {
                *counts.entry((model.clone(), m.edge.word())).or_default() += 1;
            }
        }
        self.tell(event);
    }

    /// Tells that a server of a version has become another.
    pub(super) fn tell_of_server(&self, (model, version): &Key, words: &str) {
        let (kind, about) = ("release.server_changed", format!("{model}/{version}"));
        self.events.tell(self.now().wall.0, kind, Weight::Alarm, &about, words);
    }

    /// Tells of an event, unless it only says that time passes.
    fn tell(&self, event: &Event) {
        let (kind, weight) = match &event.what {
            What::Ticked => return,
            What::Sighted { .. } => ("release.sighted", Weight::Info),
            What::Moved { moves, .. } if moves.iter().any(|m| is_stopped(&m.edge)) => {
                ("release.stopped", Weight::Alarm)
            }
            What::Moved { .. } => ("release.moved", Weight::Info),
            What::Proven { .. } => ("release.proven", Weight::Info),
            What::Marked { .. } => ("release.marked", Weight::Info),
            What::Killed { .. } => ("release.killed", Weight::Alarm),
            What::Alerted { on: true, alert, .. } if alert.is_critical() => {
                ("release.alerted", Weight::Critical)
            }
            What::Alerted { on: true, .. } => ("release.alerted", Weight::Alarm),
            What::Alerted { on: false, .. } => ("release.alerted", Weight::Info),
            What::Forgotten { .. } => ("release.forgotten", Weight::Info),
            What::Recovered => ("release.recovered", Weight::Info),
            What::Died { .. } => ("release.died", Weight::Alarm),
            What::ClockSet { .. } => ("release.clock_set", Weight::Alarm),
        };
        self.events.tell(event.at.wall.0, kind, weight, &about(&event.what), &sentence(event));
    }
}

/// Whether a version is stopped for good on this way.
fn is_stopped(edge: &Edge) -> bool {
    matches!(edge, Edge::Quarantine(..) | Edge::Drain(Rest::Quarantined(_)))
}

/// The model and, where there is one, the version that an event is about.
fn about(what: &What) -> String {
    let model = what.model().map_or_else(|| "gateway".to_owned(), ToString::to_string);
    let version = match what {
        What::Sighted { version, .. }
        | What::Proven { version, .. }
        | What::Marked { version, .. }
        | What::Forgotten { version, .. } => Some(version),
        What::Killed { scope: Scope::Version(_, version), .. } => Some(version),
        What::Moved { moves, .. } => moves.first().map(|first| &first.version),
        What::Killed { .. }
        | What::Alerted { .. }
        | What::Recovered
        | What::Died { .. }
        | What::ClockSet { .. }
        | What::Ticked => None,
    };
    version.map_or_else(|| model.clone(), |version| format!("{model}/{version}"))
}

fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ModelName, VersionName};

    fn open(dir: &Path) -> Ledger {
        Ledger::open(dir, Arc::new(Events::open(dir)), false).unwrap()
    }

    fn kill(on: bool) -> Draft {
        let by = By::Operator { who: "ann".into(), why: "because".into() };
        Draft { by, what: What::Killed { scope: Scope::Model(ModelName::new("m")), on } }
    }

    impl Ledger {
        /// From now on nothing can be written.
        pub(in crate::control) fn fill_the_disk(&mut self, data_dir: &Path) {
            let (journal, _) = Journal::open(&data_dir.join(STATE_DIR).join(FOLDER)).unwrap();
            self.writer = Writer::start(journal.read_only()).unwrap();
        }

        /// There is room again.
        pub(in crate::control) fn empty_the_disk(&mut self, data_dir: &Path) {
            let (journal, _) = Journal::open(&data_dir.join(STATE_DIR).join(FOLDER)).unwrap();
            self.writer = Writer::start(journal).unwrap();
        }
    }

    /// Writes one event down.
    async fn add(ledger: &mut Ledger, draft: Draft) -> Result<Event, LedgerError> {
        ledger.append(vec![draft]).await?.pop().unwrap()
    }

    fn is_killed(ledger: &Ledger) -> bool {
        ledger.state().model(&ModelName::new("m")).is_some_and(|model| model.killed().is_some())
    }

    #[tokio::test]
    async fn what_is_written_is_there_after_a_restart_and_time_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = open(dir.path());
        let event = add(&mut ledger, kill(true)).await.unwrap();
        assert!(is_killed(&ledger));
        let before = ledger.now();
        drop(ledger);
        let again = open(dir.path());
        assert!(is_killed(&again));
        assert!(again.now().steady >= event.at.steady && again.now().wall >= before.wall);
        assert_eq!(again.state().seq(), event.seq + 1, "the restart is an event");
        let told = again.events.after(None, 99);
        let words: Vec<_> = told.into_iter().map(|one| (one.kind, one.about, one.words)).collect();
        assert_eq!(words[0].0, "release.killed");
        assert_eq!(words[0].1, "m");
        assert_eq!(words[0].2, "model m was cut off (by ann: because).");
    }

    #[tokio::test]
    async fn a_death_is_written_with_the_start_after_it_and_told() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        let again = Ledger::open(dir.path(), Arc::new(Events::open(dir.path())), true).unwrap();
        assert_eq!(again.state().seq(), 3, "a start, and a start after a death");
        let told = again.events.after(None, 99).pop().unwrap();
        assert_eq!((told.kind.as_str(), told.weight), ("release.died", Weight::Alarm));
        assert!(told.words.contains("no version was on trial"), "{}", told.words);
    }

    #[tokio::test]
    async fn events_that_do_not_fit_change_nothing_and_do_not_keep_the_others_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = open(dir.path());
        let seq = ledger.state().seq();
        let what = What::Proven { model: ModelName::new("m"), version: VersionName::new("v") };
        let odd = Draft { by: By::Gateway, what };
        let outcomes = ledger.append(vec![odd, kill(true)]).await.unwrap();
        let fold = |it: &Result<_, LedgerError>| {
            matches!(it, Err(LedgerError::Journal(JournalError::Fold(_))))
        };
        assert!(fold(&outcomes[0]), "{outcomes:?}");
        assert!(outcomes[1].is_ok() && is_killed(&ledger));
        assert_eq!((ledger.state().seq(), ledger.failures()), (seq + 1, 1));
    }

    #[tokio::test]
    async fn what_counts_at_once_is_written_with_the_next_event_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = open(dir.path());
        let event = ledger.count_at_once(kill(true)).unwrap();
        assert!(is_killed(&ledger) && ledger.has_waiting());
        let next = add(&mut ledger, kill(false)).await.unwrap();
        assert_eq!(next.seq, event.seq + 1);
        assert!(!is_killed(&ledger) && !ledger.has_waiting());
        ledger.count_at_once(kill(true)).unwrap();
        ledger.catch_up().await.unwrap();
        drop(ledger);
        assert!(is_killed(&open(dir.path())));
    }

    #[tokio::test]
    async fn what_is_written_late_counts_and_is_told_to_whoever_comes_next() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = open(dir.path());
        // As if whoever gave it had waited long enough.
        let now = ledger.now();
        ledger.under_way = Some((ledger.writer.begin(vec![(kill(true), now)]).unwrap(), 0));
        let next = add(&mut ledger, kill(false)).await.unwrap();
        let late: Vec<u64> = ledger.take_late().iter().map(|event| event.seq).collect();
        assert_eq!(late, [next.seq - 1]);
        assert!(ledger.take_late().is_empty());
    }

    #[tokio::test]
    async fn what_counts_at_once_counts_though_nothing_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = open(dir.path());
        let seq = ledger.state().seq();
        ledger.fill_the_disk(dir.path());
        let event = ledger.count_at_once(kill(true)).unwrap();
        assert_eq!(event.seq, seq + 1);
        let error = ledger.catch_up().await.unwrap_err();
        assert!(matches!(error, LedgerError::Journal(JournalError::Io { .. })), "{error}");
        assert!(is_killed(&ledger) && ledger.has_waiting());
        assert!(add(&mut ledger, kill(false)).await.is_err(), "the other way needs the journal");
        assert!(is_killed(&ledger));
    }
}
