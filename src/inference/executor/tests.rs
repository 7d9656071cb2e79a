mod batches;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn lane(queue: usize) -> Lane {
    Lane::new(LaneLimits { queue, concurrency: usize::MAX })
}

fn later() -> Instant {
    Instant::now() + LONG
}

fn wait<T>(pending: Pending<T>) -> Result<Answer<T>, ExecutorError> {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(pending)
}

/// Occupies the only thread of `executor` until the returned sender is dropped.
fn occupy(executor: &Executor) -> (mpsc::Sender<()>, Pending<()>) {
    let (release, blocked) = mpsc::channel::<()>();
    let (started, running) = mpsc::channel();
    let job = move || {
        started.send(()).expect("the test waits");
        assert!(blocked.recv().is_err(), "released by dropping the sender");
    };
    let pending = executor.submit(&lane(1), later(), job).expect("room");
    running.recv().expect("the job starts");
    (release, pending)
}

#[test]
fn jobs_run_on_other_threads_and_return_their_result() {
    let executor = Executor::new(2).expect("threads");
    let limit = lane(100);
    let here = std::thread::current().id();
    let jobs: Vec<_> = (0..100)
        .map(|i| executor.submit(&limit, later(), move || (i, std::thread::current().id())))
        .collect();
    for (i, job) in jobs.into_iter().enumerate() {
        let (value, thread) = wait(job.expect("room")).expect("runs").value;
        assert_eq!(value, i);
        assert_ne!(thread, here);
    }
    executor.close();
    assert_eq!(executor.stats(), ExecutorStats { finished: 100, ..ExecutorStats::default() });
    assert_eq!(limit.stats().waiting, 0);
}

#[test]
fn a_full_queue_refuses_at_once_and_other_models_have_their_own() {
    let executor = Executor::new(1).expect("a thread");
    let (release, blocker) = occupy(&executor);
    let (mine, other) = (lane(2), lane(1));
    let first = executor.submit(&mine, later(), || 1).expect("room");
    let second = executor.submit(&mine, later(), || 2).expect("room");
    let third = executor.submit(&mine, later(), || 3).map(|_| ());
    assert_eq!(third, Err(QueueFull { limit: 2 }));
    let fourth = executor.submit(&other, later(), || 4).expect("room of its own");
    assert_eq!((executor.stats().queued, executor.stats().running), (3, 1));
    drop(release);
    for (job, value) in [(first, 1), (second, 2), (fourth, 4)] {
        assert_eq!(wait(job).expect("runs").value, value);
    }
    wait(blocker).expect("runs");
    assert_eq!(executor.stats().refused, 1);
    assert!(executor.submit(&lane(0), later(), || ()).is_err());
}

#[test]
fn jobs_whose_deadline_passed_or_whose_caller_left_are_not_started() {
    let executor = Executor::new(1).expect("a thread");
    let (release, blocker) = occupy(&executor);
    let limit = lane(10);
    let late = executor.submit(&limit, Instant::now(), || panic!("started late")).expect("room");
    drop(executor.submit(&limit, later(), || panic!("nobody waits")).expect("room"));
    let last = executor.submit(&limit, later(), || ()).expect("room");
    drop(release);
    wait(blocker).expect("runs");
    assert!(matches!(wait::<()>(late), Err(ExecutorError::Expired { .. })));
    wait(last).expect("runs");
    let stats = executor.stats();
    assert_eq!((stats.expired, stats.abandoned, stats.panicked), (1, 1, 0));
}

#[test]
fn a_panic_costs_its_own_job_only() {
    let executor = Executor::new(1).expect("a thread");
    let limit = lane(10);
    let bad = executor.submit::<()>(&limit, later(), || panic!("boom {}", 1)).expect("room");
    let good = executor.submit(&limit, later(), || 7).expect("room");
    assert_eq!(wait(bad), Err(ExecutorError::Panicked { reason: "boom 1".into() }));
    assert_eq!(wait(good).expect("runs").value, 7);
    assert_eq!(executor.stats().panicked, 1);
    // Its thread is free a moment after the answer.
    let until = Instant::now() + Duration::from_secs(10);
    while executor.stats().running > 0 && Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(executor.stats().running, 0);
}

#[test]
fn closing_ends_the_running_job_and_discards_the_rest() {
    let executor = Arc::new(Executor::new(1).expect("a thread"));
    let (release, blocker) = occupy(&executor);
    let limit = lane(10);
    let waiting = executor.submit(&limit, later(), || 1).expect("room");
    let closing = std::thread::spawn({
        let executor = Arc::clone(&executor);
        move || executor.close()
    });
    assert_eq!(wait(waiting), Err(ExecutorError::Closed));
    assert_eq!(limit.stats().waiting, 0);
    drop(release);
    wait(blocker).expect("ran to its end");
    closing.join().expect("closes");
    let refused = executor.submit(&limit, later(), || 1).expect("room");
    assert_eq!(wait(refused), Err(ExecutorError::Closed));
}
