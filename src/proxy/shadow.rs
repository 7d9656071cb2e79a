//! Copies of requests for a version on trial, off the way of every client.
//!
//! Owns the thread that asks the version, records its answers with the record ids of the clients' exchanges,
//! and compares them with the champion's. It has the lowest priority, connections of its own, and runs models of this
//! process on [hands](hands) of its own: where the machine is busy it falls behind, and copies are dropped and counted. Workers
//! hand copies over a bounded channel and never wait for it. Each copy is asked only while the snapshot of that moment
//! still has its trial: a kill switch holds for copies, too. Never answers a client.
//!
//! ```text
//! worker: answered ─▶ Gate: due? a place? ─▶ Copy ─▶ channel ─▶ thread `shadow` ─┬─▶ local: run both
//! log ─▶ thread `shadow-log`: rows ─▶ Replay, one at a time ─▶ Copy ─┘           ├─▶ remote: ask
//!                                                                                └─▶ record, compare
//! ```

mod ask;
mod hands;
mod pair;
mod replay;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::request::Parts;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

pub(in crate::proxy) use self::hands::{Hands, HandsTerms, Turn};
use super::body::Pieces;
use super::clock::ConnClock;
use super::exchange::{Context, Exchange, Peer};
use super::held::Holding;
use super::problem::Problem;
use super::worker::Worker;
use super::{Drain, Gateway};
use crate::domain::ids::{Entropy, RecordId};
use crate::domain::record::Outcome;
use crate::domain::routing::{Decision, TargetIx, TargetKind};
use crate::domain::trial::pairs::{Likeness, Pair, PairOutcome};
use crate::monitor::Content;
use crate::snapshot::{Dropped, Held, Pass, ReplayOrder, Replays, Shadow, Snapshot, Trial};

/// The niceness of the thread: requests go first.
const NICE: i32 = 19;
/// Copies that wait for the thread; the gates of all trials together rarely let through more.
const WAITING_MAX: usize = 256;
/// How often unused connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// A request that is asked again, with the answer that its client got.
pub(in crate::proxy) struct Copy {
    pub(super) trial: Arc<Trial>,
    pub(super) snapshot: Held,
    /// Leads to the version that gets copies.
    pub(super) decision: Decision,
    /// The client's exchange.
    pub(super) primary: RecordId,
    pub(super) entropy: Entropy,
    pub(super) client: IpAddr,
    pub(super) parts: Parts,
    pub(super) authority: Option<HeaderValue>,
    pub(super) request: Pieces,
    pub(super) champion: Champion,
    /// When it was chosen to be copied.
    pub(super) chosen: Instant,
    /// When its client had the answer: only then could it be asked.
    pub(super) ready: Instant,
    /// It was read from the log.
    pub(super) replayed: bool,
    pub(super) place: Arc<Place>,
}

/// What a copy takes up: its pass, and the room of its bodies. Given back once nobody works on it any more, a
/// hand that was given up included.
pub(in crate::proxy) struct Place {
    pub(super) _pass: Option<Pass>,
    pub(super) _request: Holding,
    pub(super) _answer: Holding,
}

/// Why a copy has no answer.
#[derive(Debug)]
pub(in crate::proxy) enum Unanswered {
    /// It was not asked, or what came of it says nothing.
    Dropped(Dropped),
    /// It failed.
    Failed(Problem),
}

impl From<Problem> for Unanswered {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

/// What the client got.
pub(in crate::proxy) struct Champion {
    pub(super) target: TargetIx,
    pub(super) content: Content,
    /// Running the model, or waiting for the backend.
    pub(super) took: Option<Duration>,
}

/// The end of the channel that workers have.
pub(in crate::proxy) type Copies = mpsc::Sender<Box<Copy>>;

/// What waits for the thread.
pub(in crate::proxy) struct Ahead {
    copies: mpsc::Receiver<Box<Copy>>,
    replays: mpsc::Receiver<ReplayOrder>,
}

/// The ways to the thread.
pub(in crate::proxy) fn channels() -> (Copies, Replays, Ahead) {
    let (copies, taken) = mpsc::channel(WAITING_MAX);
    let (replays, orders) = Replays::channel();
    (copies, replays, Ahead { copies: taken, replays: orders })
}

impl std::fmt::Debug for Copy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a copy of {}", self.primary)
    }
}

/// The thread, once it runs.
#[derive(Debug)]
pub struct ShadowThread {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl ShadowThread {
    /// Starts the thread. It reads the log below `data_dir` where requests are replayed.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(gateway: &Arc<Gateway>, drain: Arc<Drain>, data_dir: PathBuf) -> io::Result<Self> {
        let ahead = gateway.copies_ahead.lock().take();
        let ahead = ahead.ok_or_else(|| io::Error::other("it was started before"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(hands::HANDS_MAX)
            .thread_name("shadow-hand")
            .on_thread_start(yield_to_requests)
            .build()?;
        // Beyond those of the workers: the slot for everyone else.
        let worker = Worker::new(Arc::clone(gateway), drain, gateway.aside);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("shadow".to_owned()).spawn(move || {
            yield_to_requests();
            runtime.block_on(run(Arc::new(worker), ahead, data_dir, stopped));
            // A model that runs is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { stop, thread })
    }

    /// Gives up what is under way and ends the thread. Before the log is closed.
    pub fn close(self) {
        let _gone = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the thread of copies panicked");
        }
    }
}

fn yield_to_requests() {
    // On Linux this is the priority of this thread alone.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "copies are made with the priority of the gateway");
    }
}

async fn run(
    worker: Arc<Worker>,
    mut ahead: Ahead,
    data_dir: PathBuf,
    mut stopped: oneshot::Receiver<()>,
) {
    let hands = Arc::new(Hands::new());
    // Bounded by the gates of the trials.
    let mut tasks = JoinSet::new();
    // One at a time: the next order waits in its channel.
    let mut replaying = JoinSet::new();
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => return,
            Some(copy) = ahead.copies.recv() => {
                let (worker, hands) = (Arc::clone(&worker), Arc::clone(&hands));
                tasks.spawn(async move { serve(&worker, &hands, *copy).await });
            }
            Some(order) = ahead.replays.recv(), if replaying.is_empty() => {
                let (worker, hands) = (Arc::clone(&worker), Arc::clone(&hands));
                replaying.spawn(replay::carry_out(worker, hands, order, data_dir.clone()));
            }
            Some(_ended) = tasks.join_next() => {}
            Some(_ended) = replaying.join_next() => {}
            _ = sweep.tick() => worker.sweep(),
        }
    }
}

/// Asks the version and compares its answer. Whether it was asked.
async fn serve(worker: &Arc<Worker>, hands: &Hands, copy: Copy) -> bool {
    let Some(shadow) = copy.trial.as_shadow() else { return false };
    let ended = if !is_wanted(&worker.snapshot(), &copy) {
        Err(Dropped::Over)
    } else if copy.ready.elapsed() > shadow.spec().timeout {
        Err(Dropped::Late)
    } else {
        try_version(worker, hands, &copy, shadow).await
    };
    match ended {
        Ok(Tried { likeness, times }) => {
            match likeness {
                Some(likeness) => {
                    shadow.compare(&Pair { likeness, times, replayed: copy.replayed });
                }
                None => shadow.miss(),
            }
            true
        }
        Err(why) => {
            // A replay was not chosen by the gate, and says nothing about its pace.
            if !copy.replayed {
                shadow.gate.drop_one(why);
            }
            false
        }
    }
}

/// Whether a copy is wanted as things are now: its trial goes on, and nothing cuts its version off.
fn is_wanted(now: &Snapshot, copy: &Copy) -> bool {
    let kind = &copy.snapshot.table.target(copy.decision.target).kind;
    let TargetKind::Version(model, _) = kind else { return false };
    let Some(index) = now.table.model_named(model.as_str()) else { return false };
    let entry = now.table.model(index);
    let is_same = |trial: &Arc<Trial>| Arc::ptr_eq(trial, &copy.trial);
    entry.killed.is_none()
        && entry.shadow.is_some_and(|shadow| now.table.target(shadow).kind == *kind)
        && now.model(index).trial.as_ref().is_some_and(is_same)
}

/// What a copy has shown.
struct Tried {
    /// `None` where the answers cannot be compared.
    likeness: Option<Likeness>,
    times: Option<(Duration, Duration)>,
}

async fn try_version(
    worker: &Arc<Worker>,
    hands: &Hands,
    copy: &Copy,
    shadow: &Shadow,
) -> Result<Tried, Dropped> {
    let time = shadow.spec().timeout;
    let now = Instant::now();
    let context = Context {
        worker: Arc::clone(worker),
        clock: Arc::new(ConnClock::new(now, time)),
        peer: Arc::new(Peer::new(SocketAddr::new(copy.client, 0))),
    };
    let mut exchange = Box::new(Exchange::of_copy(context, copy, time));
    let asked = ask::ask(&mut exchange, copy, hands, time).await;
    let took = now.elapsed();
    let (answer, trailers, times) = match asked {
        Ok(asked) => (Ok(asked.response), asked.trailers, asked.times),
        Err(Unanswered::Failed(problem)) => (Err(problem), Default::default(), None),
        Err(Unanswered::Dropped(why)) => return Err(why),
    };
    exchange.end_copy(&answer, &trailers);
    let theirs = exchange.time_of_version().unwrap_or(took);
    let times = times.or_else(|| Some((copy.champion.took?, theirs)));
    let settled = copy.chosen.elapsed();
    let likeness = match &answer {
        Err(problem) if problem.cause.blames_version() => Some(pair::failed(problem).into()),
        // The gateway itself had no room.
        Err(problem) if problem.cause.outcome() == Outcome::Shed => return Err(Dropped::Memory),
        Err(_refused) => Some(PairOutcome::Differs.into()),
        Ok(response) if response.status().is_client_error() => Some(PairOutcome::Differs.into()),
        Ok(response) if !response.status().is_success() || exchange.has_failed() => {
            Some(PairOutcome::Failed.into())
        }
        Ok(response) => {
            let twins = pair::Twins::new(&exchange, copy, response);
            let (tolerance, place) = (shadow.spec().tolerance, Arc::clone(&copy.place));
            let compared = hands.compare(time, move || {
                let compared = twins.compare(tolerance);
                drop(place);
                compared
            });
            compared.await.ok_or(Dropped::Late)?
        }
    };
    if !copy.replayed {
        shadow.gate.settle(settled);
    }
    Ok(Tried { likeness, times })
}
