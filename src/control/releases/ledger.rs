//! The journal with its clock: where every change of the life cycle is written before it counts.
//!
//! Owns the open journal, the moment of now, and the way of an event to whoever reads events. Writes and syncs on
//! a thread that may block. Never decides.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::handle::Moves;
use crate::control::events::{Events, Weight};
use crate::control::journal::{Journal, JournalError};
use crate::control::store::STATE_DIR;
use crate::domain::lifecycle::event::{By, Draft, Event, Scope, What};
use crate::domain::lifecycle::explain::sentence;
use crate::domain::lifecycle::stage::{Edge, Rest};
use crate::domain::lifecycle::state::State;
use crate::domain::lifecycle::time::{Now, Wall};

/// The folder below `state/`.
const FOLDER: &str = "lifecycle";

/// Why an event is not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The journal does not take it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The thread that wrote it is gone, and the journal with it.
    #[error("the journal is gone: the thread that wrote it panicked; restart the gateway")]
    Gone,
}

/// The written past of all versions.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Absent only after a panic of the journal.
    journal: Option<Journal>,
    state: Arc<State>,
    began: Now,
    began_at: Instant,
    events: Arc<Events>,
    failures: u64,
    moves: Arc<Moves>,
}

impl Ledger {
    /// Opens the journal below `data_dir`, and writes down that the process has started. Blocks.
    pub(super) fn open(data_dir: &Path, events: Arc<Events>) -> Result<Self, LedgerError> {
        let (mut journal, recovery) = Journal::open(&data_dir.join(STATE_DIR).join(FOLDER))?;
        if recovery.torn > 0 {
            let bytes = recovery.torn;
            tracing::warn!(bytes, "the end of the life cycle's journal was torn and is cut off");
        }
        let began = Now::resumed(journal.state().clock().last, wall());
        let is_first = journal.state().seq() == 0;
        let recovered = journal.append(Draft { by: By::Gateway, what: What::Recovered }, began)?;
        let state = Arc::new(journal.state().clone());
        tracing::info!(
            events = recovery.events,
            number = state.seq(),
            "the life cycle's journal is read"
        );
        let began_at = Instant::now();
        let ledger = Self {
            journal: Some(journal),
            state,
            began,
            began_at,
            events,
            failures: 0,
            moves: Arc::default(),
        };
        if !is_first {
            ledger.tell(&recovered);
        }
        Ok(ledger)
    }

    /// The state that the written events add up to.
    pub(super) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The moment of now.
    pub(super) fn now(&self) -> Now {
        Now { steady: self.began.steady.after(self.began_at.elapsed()), wall: wall() }
    }

    /// Versions that changed their stage since the start.
    pub(super) fn moves(&self) -> Arc<Moves> {
        Arc::clone(&self.moves)
    }

    /// Events that could not be written so far.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// Writes an event down and folds it; it is told only then.
    pub(super) async fn append(&mut self, draft: Draft) -> Result<Event, LedgerError> {
        let now = self.now();
        let Some(mut journal) = self.journal.take() else { return Err(LedgerError::Gone) };
        let written = tokio::task::spawn_blocking(move || {
            let event = journal.append(draft, now);
            let state = event.is_ok().then(|| Arc::new(journal.state().clone()));
            (journal, event, state)
        });
        let Ok((journal, event, state)) = written.await else {
            self.failures += 1;
            return Err(LedgerError::Gone);
        };
        self.journal = Some(journal);
        self.state = state.unwrap_or_else(|| Arc::clone(&self.state));
        let event = event.inspect_err(|_| self.failures += 1)?;
        if let What::Moved { model, moves, .. } = &event.what {
            let counts = Arc::make_mut(&mut self.moves);
            for m in moves {
                *counts.entry((model.clone(), m.edge.word())).or_default() += 1;
            }
        }
        self.tell(&event);
        Ok(event)
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
            What::Alerted { on: true, .. } => ("release.alerted", Weight::Alarm),
            What::Alerted { on: false, .. } => ("release.alerted", Weight::Info),
            What::Forgotten { .. } => ("release.forgotten", Weight::Info),
            What::Recovered => ("release.recovered", Weight::Info),
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
        Ledger::open(dir, Arc::new(Events::open(dir))).unwrap()
    }

    fn kill(on: bool) -> Draft {
        let by = By::Operator { who: "ann".into(), why: "because".into() };
        Draft { by, what: What::Killed { scope: Scope::Model(ModelName::new("m")), on } }
    }

    #[tokio::test]
    async fn what_is_written_is_there_after_a_restart_and_time_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = open(dir.path());
        let event = ledger.append(kill(true)).await.unwrap();
        assert!(ledger.state().model(&ModelName::new("m")).unwrap().killed().is_some());
        let before = ledger.now();
        drop(ledger);
        let again = open(dir.path());
        assert!(again.state().model(&ModelName::new("m")).unwrap().killed().is_some());
        assert!(again.now().steady >= event.at.steady && again.now().wall >= before.wall);
        assert_eq!(again.state().seq(), event.seq + 1, "the restart is an event");
        let told = Events::open(dir.path()).after(None, 99);
        let words: Vec<_> = told.into_iter().map(|one| (one.kind, one.about, one.words)).collect();
        assert_eq!(words[0].0, "release.killed");
        assert_eq!(words[0].1, "m");
        assert_eq!(words[0].2, "model m was cut off (by ann: because).");
    }

    #[tokio::test]
    async fn an_event_that_does_not_fit_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = open(dir.path());
        let seq = ledger.state().seq();
        let what = What::Proven { model: ModelName::new("m"), version: VersionName::new("v") };
        let error = ledger.append(Draft { by: By::Gateway, what }).await.unwrap_err();
        assert!(matches!(error, LedgerError::Journal(_)), "{error}");
        assert_eq!((ledger.state().seq(), ledger.failures()), (seq, 1));
        ledger.append(kill(true)).await.unwrap();
    }
}
