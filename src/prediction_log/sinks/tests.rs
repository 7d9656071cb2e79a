//! The driver against a scripted destination, over a real log with real cursors.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::driver::{Driver, Link, Pace};
use super::rows::Rows;
use super::state::{FailureReason, SinkState};
use super::{Failure, Parcel, Sink, SinkStats, Source as _};
use crate::domain::ids::SinkName;
use crate::domain::record::{Entry, GapReason};
use crate::domain::spec::{Durability, SinkSpec, SinkTarget};
use crate::prediction_log::tests::sample::{eventually, record, spec, wait};
use crate::prediction_log::{Item, LogReader, Recorder, cursor_position};

const NAME: &str = "lake";

fn sink_spec(batch: usize) -> SinkSpec {
    SinkSpec {
        target: SinkTarget::Http { url: String::new(), authorization: None },
        required: false,
        batch,
        batch_bytes: 64 * 1024,
        linger: Duration::from_millis(1),
        timeout: Duration::from_millis(200),
        backoff: Duration::from_millis(2),
    }
}

/// What a destination says to one attempt.
enum Answer {
    Take,
    Fail(FailureReason),
    Hang,
}

#[derive(Default)]
struct Script {
    answers: VecDeque<Answer>,
    /// Records that are refused for good, in whatever company.
    refuses: Vec<u64>,
    /// The records of each attempt that was taken.
    taken: Vec<Vec<u64>>,
    attempts: usize,
}

/// A destination that does what its script says, and takes everything after its end.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

impl Scripted {
    fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let scripted = Self::default();
        scripted.0.lock().answers = answers.into_iter().collect();
        scripted
    }

    fn taken(&self) -> Vec<u64> {
        self.0.lock().taken.concat()
    }
}

impl Sink for Scripted {
    type Content = Vec<u8>;

    async fn deliver(&mut self, parcels: &[Parcel<Vec<u8>>]) -> Result<(), Failure> {
        let answer = {
            let mut script = self.0.lock();
            script.attempts += 1;
            let lsns: Vec<u64> = parcels.iter().map(|parcel| parcel.first_lsn).collect();
            let answer = script.answers.pop_front().unwrap_or(Answer::Take);
            if matches!(answer, Answer::Take) {
                if lsns.iter().any(|lsn| script.refuses.contains(lsn)) {
                    let failure = Failure::passing(FailureReason::Refused, "status 422");
                    return Err(Failure { is_final: true, ..failure });
                }
                script.taken.push(lsns);
            }
            answer
        };
        match answer {
            Answer::Take => Ok(()),
            Answer::Fail(reason) => Err(Failure::passing(reason, "as the script says")),
            Answer::Hang => std::future::pending().await,
        }
    }
}

/// A driver on a thread of its own.
struct Running {
    state: Arc<SinkState>,
    recorder: Arc<Recorder>,
    stop: watch::Sender<Option<Instant>>,
    thread: std::thread::JoinHandle<()>,
}

impl Running {
    fn start(recorder: &Arc<Recorder>, dir: &Path, sink: Scripted, batch: usize) -> Self {
        let cursor = recorder.consumers().register(NAME, false).expect("a cursor");
        let (stop, stopped) = watch::channel(None);
        let state = Arc::new(SinkState::new(SinkName::new(NAME), "http", cursor.position()));
        let spec = sink_spec(batch);
        let source = Rows::new(dir, recorder, &spec, &cursor);
        let link = Link {
            cursor,
            recorder: Arc::clone(recorder),
            state: Arc::clone(&state),
            stop: stopped,
            pace: Pace { timeout: spec.timeout, backoff: spec.backoff },
        };
        let driver = Driver::new(sink, source, link);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let thread = std::thread::spawn(move || driver.run(&runtime));
        Self { state, recorder: Arc::clone(recorder), stop, thread }
    }

    fn stats(&self) -> SinkStats {
        self.state.stats(self.recorder.progress().written())
    }

    /// Waits until nothing is left to deliver.
    fn drained(&self) -> SinkStats {
        eventually("the sink has everything", || self.stats().lag_records == 0);
        self.stats()
    }

    /// Closes the log and ends the driver.
    fn end(self) {
        self.recorder.close();
        self.stop.send_replace(Some(Instant::now() + Duration::from_millis(300)));
        self.thread.join().expect("the driver ends well");
    }
}

fn open(dir: &Path) -> Arc<Recorder> {
    Arc::new(Recorder::open(dir, "node", 1, &spec(Durability::Os)).expect("a log"))
}

/// Records with the numbers that they will have.
fn offer(recorder: &Recorder, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        wait(recorder, recorder.offer(0, &record(number, b"{}"))).expect("written");
    }
}

#[test]
fn every_record_is_delivered_once_and_in_order_while_nothing_fails() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = open(dir.path());
    offer(&recorder, 1..=25);
    let sink = Scripted::default();
    let running = Running::start(&recorder, dir.path(), sink.clone(), 10);
    eventually("the backlog", || running.stats().delivered == 25);
    offer(&recorder, 26..=40);
    let stats = running.drained();
    assert_eq!(sink.taken(), (1..=40).collect::<Vec<_>>());
    assert!(sink.0.lock().taken.iter().all(|batch| batch.len() <= 10));
    assert_eq!((stats.position, stats.delivered, stats.retries), (40, 40, 0));
    assert!(stats.up && stats.lag.is_zero());
    running.end();
    assert_eq!(cursor_position(dir.path(), NAME).expect("readable"), Some(40));
}

#[test]
fn what_may_pass_is_tried_again_with_the_same_records() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = open(dir.path());
    offer(&recorder, 1..=5);
    let busy = (0..20).map(|_| Answer::Fail(FailureReason::Busy));
    let sink = Scripted::answering(busy.chain([Answer::Hang]));
    let running = Running::start(&recorder, dir.path(), sink.clone(), 10);
    let stats = running.drained();
    assert_eq!(sink.taken(), [1, 2, 3, 4, 5]);
    assert_eq!((stats.retries, stats.delivered), (21, 5));
    assert_eq!(stats.failures[FailureReason::Busy as usize], 20);
    assert_eq!(stats.failures[FailureReason::Timeout as usize], 1);
    assert!(stats.up && stats.last_error.is_none());
    running.end();
}

#[test]
fn a_refused_record_is_found_among_the_others_and_gets_a_gap_row() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = open(dir.path());
    offer(&recorder, 1..=33);
    let sink = Scripted::default();
    sink.0.lock().refuses = vec![1, 17, 18, 33];
    let running = Running::start(&recorder, dir.path(), sink.clone(), 33);
    let mut stats = running.drained();
    eventually("the gap rows are passed over, too", || {
        stats = running.stats();
        stats.position >= 37
    });
    let refused = [1, 17, 18, 33];
    let wanted: Vec<u64> = (1..=33).filter(|lsn| !refused.contains(lsn)).collect();
    assert_eq!(sink.taken(), wanted, "in order, each once");
    assert_eq!((stats.rejected, stats.delivered), (4, 29));
    running.end();
    let mut reader = LogReader::open(dir.path()).expect("a log");
    let mut gaps = Vec::new();
    while let Some(item) = reader.next_item().expect("readable") {
        if let Item::Row(row) = item
            && let Entry::Gap(gap) = &row.entry
        {
            assert_eq!((gap.reason, gap.consumer), (GapReason::Rejected, NAME));
            assert_eq!((gap.records, gap.detail), (1, "status 422"));
            gaps.extend(gap.lsns.map(|(first, _)| first));
        }
    }
    assert_eq!(gaps, refused);
}

#[test]
fn what_was_not_acknowledged_comes_again_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = open(dir.path());
    offer(&recorder, 1..=20);
    // The first batch is taken, the second never.
    let failing = (0..10_000).map(|_| Answer::Fail(FailureReason::Connect));
    let sink = Scripted::answering([Answer::Take].into_iter().chain(failing));
    let running = Running::start(&recorder, dir.path(), sink, 10);
    eventually("the first batch", || running.stats().position == 10);
    eventually("the second fails", || !running.stats().up);
    let stats = running.stats();
    assert_eq!(stats.lag_records, 10);
    assert!(stats.lag > Duration::ZERO && stats.lag_bytes > 0, "{stats:?}");
    running.end();
    drop(recorder);
    let recorder = open(dir.path());
    let again = Scripted::default();
    let running = Running::start(&recorder, dir.path(), again.clone(), 10);
    running.drained();
    assert_eq!(again.taken(), (11..=20).collect::<Vec<_>>());
    running.end();
}

#[test]
fn a_lost_cursor_delivers_again_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = open(dir.path());
    offer(&recorder, 1..=10);
    let running = Running::start(&recorder, dir.path(), Scripted::default(), 4);
    running.drained();
    running.end();
    drop(recorder);
    // As after a crash between the acknowledgement and the cursor.
    std::fs::remove_file(dir.path().join("cursors").join(NAME)).expect("there was one");
    let recorder = open(dir.path());
    let sink = Scripted::default();
    let running = Running::start(&recorder, dir.path(), sink.clone(), 4);
    running.drained();
    assert_eq!(sink.taken(), (1..=10).collect::<Vec<_>>());
    running.end();
}

#[test]
fn a_stop_makes_a_last_attempt_and_does_not_wait_for_a_destination_that_hangs() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = open(dir.path());
    let sink = Scripted::default();
    let running = Running::start(&recorder, dir.path(), sink.clone(), 100);
    offer(&recorder, 1..=3);
    running.end();
    assert_eq!(sink.taken(), [1, 2, 3], "what was written before the end");
    drop(recorder);

    let recorder = open(dir.path());
    offer(&recorder, 4..=6);
    let sink = Scripted::answering((0..100).map(|_| Answer::Hang));
    let running = Running::start(&recorder, dir.path(), sink, 100);
    eventually("an attempt", || running.stats().retries > 0);
    let began = Instant::now();
    running.end();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(cursor_position(dir.path(), NAME).expect("readable"), Some(3));
}

#[test]
fn lots_are_cut_by_bytes_and_a_large_record_goes_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = open(dir.path());
    let long = vec![b'x'; 100 * 1024];
    for (number, body) in [(1, &b"{}"[..]), (2, &b"{}"[..]), (3, &long), (4, &b"{}"[..])] {
        wait(&recorder, recorder.offer(0, &record(number, body))).expect("written");
    }
    let cursor = recorder.consumers().register(NAME, false).expect("a cursor");
    let mut rows = Rows::new(dir.path(), &recorder, &sink_spec(100), &cursor);
    let mut next = || {
        let lot = rows.next(true).expect("readable");
        (lot.parcels.iter().map(|parcel| parcel.first_lsn).collect::<Vec<_>>(), lot.done)
    };
    assert_eq!(next(), (vec![1, 2], 2));
    assert_eq!(next(), (vec![3], 3));
    assert_eq!(next(), (vec![4], 4));
    assert_eq!(next(), (vec![], 4));
}

#[test]
fn records_that_are_gone_are_counted_and_passed_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = open(dir.path());
    let body = vec![b'x'; 16 * 1024];
    for number in 1..=40 {
        wait(&recorder, recorder.offer(0, &record(number, &body))).expect("written");
    }
    recorder.consumers().register(NAME, false).expect("a cursor").advance(2).expect("written");
    let mut segments: Vec<_> = std::fs::read_dir(dir.path())
        .expect("listed")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    segments.sort();
    assert!(segments.len() > 3, "{segments:?}");
    for segment in &segments[..2] {
        std::fs::remove_file(segment).expect("removed");
    }
    let left: u64 =
        segments[2].file_stem().expect("a name").to_string_lossy().parse().expect("a number");
    let sink = Scripted::default();
    let running = Running::start(&recorder, dir.path(), sink.clone(), 100);
    let stats = running.drained();
    assert_eq!(stats.missing, left - 3, "numbers 3 to {}", left - 1);
    assert_eq!(sink.taken(), (left..=40).collect::<Vec<_>>());
    running.end();
}
