//! The threads that run models of this process for copies, and compare answers.
//!
//! Owns how much of that is done at a time, and what becomes of a run that does not end: a thread cannot be taken
//! out of a model, so that it is left to it, its trial is asked nothing more until it ends, and the next run has
//! another thread. Time in the queue for a thread never counts as the version's. Never knows what a run is.
//!
//! ```text
//! a place? ─▶ thread: the champion ─▶ the version ─▶ done
//!    └ late      └ late: not its fault     └ overdue: its fault, and the thread is left to it
//! ```

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::Unanswered;
use crate::proxy::problem::{Cause, Problem};
use crate::snapshot::{Dropped, Trial};

/// Models that run at a time, and answers that are compared at a time.
const RUNS: usize = 1;
const COMPARISONS: usize = 1;
/// Runs that were given up and have not ended, of all trials together.
const OVERDUE_MAX: usize = 4;
/// Threads for all of it.
pub(super) const HANDS_MAX: usize = RUNS + COMPARISONS + OVERDUE_MAX;
/// Where the champion takes more than this part of the time limit, it is the machine that is slow.
const SLOW_PART: u32 = 4;

/// Threads for copies.
#[derive(Debug)]
pub(in crate::proxy) struct Hands {
    runs: Semaphore,
    comparisons: Semaphore,
    /// Runs that were given up; only the thread of copies locks it.
    overdue: Mutex<Vec<(Arc<Trial>, AbortHandle)>>,
}

/// What a run tells of itself.
pub(in crate::proxy) struct Turn(oneshot::Sender<Option<Duration>>);

impl Turn {
    /// It is the version's turn now; `beside` is how long the champion took. Whether anyone waits for it still.
    pub(in crate::proxy) fn begin(self, beside: Option<Duration>) -> bool {
        self.0.send(beside).is_ok()
    }
}

/// What a run is about.
pub(in crate::proxy) struct HandsTerms<'a> {
    pub(super) trial: &'a Arc<Trial>,
    /// It must have begun by then.
    pub(super) by: Instant,
    /// The longest that the champion or the version may take.
    pub(super) time: Duration,
}

impl Hands {
    pub(super) fn new() -> Self {
        Self {
            runs: Semaphore::new(RUNS),
            comparisons: Semaphore::new(COMPARISONS),
            overdue: Mutex::new(Vec::new()),
        }
    }

    /// Runs the champion and a version on a thread.
    ///
    /// `job` says when it is the version's turn, and ends early where nobody waits any more. What it holds is let go
    /// of when it ends, whoever has given it up.
    pub(in crate::proxy) async fn run<T: Send + 'static>(
        &self,
        terms: HandsTerms<'_>,
        job: impl FnOnce(Turn) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let late = Unanswered::Dropped(Dropped::Late);
        if self.is_occupied(terms.trial) {
            return Err(late);
        }
        let Ok(Ok(_place)) = timeout_at(terms.by, self.runs.acquire()).await else {
            return Err(late);
        };
        let (turn, turned) = oneshot::channel();
        let mut running = tokio::task::spawn_blocking(move || job(Turn(turn)));
        let Ok(turned) = timeout(terms.time, turned).await else {
            self.give_up(terms.trial, running.abort_handle());
            return Err(late);
        };
        match (timeout(terms.time, &mut running).await, turned) {
            (Ok(Ok(made)), _) => Ok(made),
            // The champion's part of it did.
            (Ok(Err(_panicked)), Err(_no_turn)) => Err(late),
            (Ok(Err(_panicked)), Ok(_)) => {
                let detail = "the version panicked on the copy";
                Err(Problem::new(Cause::ModelPanic, detail).into())
            }
            (Err(_elapsed), turned) => {
                self.give_up(terms.trial, running.abort_handle());
                let beside = turned.ok().flatten();
                match beside.is_some_and(|took| took > terms.time / SLOW_PART) {
                    true => Err(late),
                    false => Err(overdue().into()),
                }
            }
        }
    }

    /// Compares two answers on a thread; `None` where that took too long. A panic there is of no answer's making.
    pub(super) async fn compare<T: Default + Send + 'static>(
        &self,
        time: Duration,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let compared = async {
            let _place = self.comparisons.acquire().await.ok()?;
            Some(tokio::task::spawn_blocking(job).await.unwrap_or_default())
        };
        timeout(time, compared).await.ok().flatten()
    }

    /// Whether no thread can be had, or one is still in a run of this trial that was given up.
    fn is_occupied(&self, trial: &Arc<Trial>) -> bool {
        let mut overdue = self.overdue.lock();
        overdue.retain(|(_, run)| !run.is_finished());
        overdue.len() >= OVERDUE_MAX || overdue.iter().any(|(of, _)| Arc::ptr_eq(of, trial))
    }

    fn give_up(&self, trial: &Arc<Trial>, run: AbortHandle) {
        self.overdue.lock().push((Arc::clone(trial), run));
    }
}

/// The problem of a version that did not answer in time.
pub(super) fn overdue() -> Problem {
    Problem::new(Cause::RequestTimeout, "the version did not answer the copy in time")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::domain::ids::VersionName;
    use crate::domain::lifecycle::time::Steady;
    use crate::domain::spec::ShadowSpec;
    use crate::snapshot::TrialKind;

    const TIME: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);

    fn trial() -> Arc<Trial> {
        let spec = ShadowSpec::new(VersionName::new("v2"));
        Arc::new(Trial::new(TrialKind::Shadow(spec), 1, Steady(0)))
    }

    fn terms(trial: &Arc<Trial>, time: Duration) -> HandsTerms<'_> {
        HandsTerms { trial, by: Instant::now() + LONG, time }
    }

    fn is_late<T>(ended: &Result<T, Unanswered>) -> bool {
        matches!(ended, Err(Unanswered::Dropped(Dropped::Late)))
    }

    /// A run that waits until it is let go of, and tells when it has ended.
    fn hanging() -> (mpsc::Sender<()>, mpsc::Receiver<()>, impl FnOnce(Turn) + Send + 'static) {
        let (go, gone) = mpsc::channel::<()>();
        let (end, ended) = mpsc::channel();
        let job = move |turn: Turn| {
            assert!(turn.begin(None));
            let _let_go = gone.recv();
            let _told = end.send(());
        };
        (go, ended, job)
    }

    #[tokio::test]
    async fn a_version_that_hangs_is_blamed_once_and_leaves_the_hands_to_others() {
        let hands = Hands::new();
        let (bad, good) = (trial(), trial());
        let (go, ended, job) = hanging();
        let blamed = hands.run(terms(&bad, TIME), job).await;
        assert!(
            matches!(&blamed, Err(Unanswered::Failed(problem)) if problem.cause == Cause::RequestTimeout)
        );
        let again = hands.run(terms(&bad, LONG), |turn| turn.begin(None)).await;
        assert!(is_late(&again), "it is not asked while it hangs");
        let other = hands.run(terms(&good, LONG), |turn| turn.begin(None)).await;
        assert!(other.is_ok_and(|begun| begun), "others are");
        drop(go);
        tokio::task::spawn_blocking(move || ended.recv_timeout(LONG)).await.unwrap().unwrap();
        while hands.is_occupied(&bad) {
            tokio::task::yield_now().await;
        }
        let back = hands.run(terms(&bad, LONG), |turn| turn.begin(None)).await;
        assert!(back.is_ok());
    }

    #[tokio::test]
    async fn waiting_for_a_hand_and_a_slow_champion_are_nobodys_fault() {
        let hands = Hands::new();
        let (one, two) = (trial(), trial());
        let place = hands.runs.acquire().await.unwrap();
        let soon = HandsTerms { trial: &one, by: Instant::now() + TIME, time: LONG };
        assert!(is_late(&hands.run(soon, |_| ()).await), "there was no hand");
        drop(place);
        let (go, gone) = mpsc::channel::<()>();
        let slow = hands.run(terms(&one, TIME), move |turn| {
            let _let_go = gone.recv();
            turn.begin(None)
        });
        assert!(is_late(&slow.await), "the champion did not end");
        drop(go);
        let (_go, _ended, job) = hanging();
        let slow = hands.run(terms(&two, TIME), move |turn| {
            let Turn(sender) = turn;
            let (inner, _turned) = oneshot::channel();
            let _told = sender.send(Some(TIME));
            job(Turn(inner));
        });
        assert!(is_late(&slow.await), "the champion was as slow");
    }

    #[tokio::test]
    async fn a_panic_is_the_versions_once_it_is_its_turn() {
        let hands = Hands::new();
        let trial = trial();
        let run = hands.run(terms(&trial, LONG), |turn| {
            assert!(turn.begin(None));
            panic!("a test");
        });
        let ended: Result<(), Unanswered> = run.await;
        assert!(
            matches!(&ended, Err(Unanswered::Failed(problem)) if problem.cause == Cause::ModelPanic)
        );
        let run = hands.run(terms(&trial, LONG), |_turn| panic!("a test"));
        let ended: Result<(), Unanswered> = run.await;
        assert!(is_late(&ended));
    }

    #[tokio::test]
    async fn no_more_runs_are_given_up_than_there_are_threads_for() {
        let hands = Hands::new();
        let mut open = Vec::new();
        for _ in 0..OVERDUE_MAX {
            let (go, ended, job) = hanging();
            assert!(hands.run(terms(&trial(), TIME), job).await.is_err());
            open.push((go, ended));
        }
        let ended = hands.run(terms(&trial(), LONG), |_| ()).await;
        assert!(is_late(&ended));
        assert_eq!(hands.compare(LONG, || 7).await, Some(7), "answers are still compared");
        drop(open);
    }
}
