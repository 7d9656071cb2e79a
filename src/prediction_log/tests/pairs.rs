//! Two faults in one run, and directories in which an earlier gateway recorded nothing: whatever was
//! acknowledged is found after a kill and a start.

use std::path::Path;
use std::time::Duration;

use super::super::*;
use super::distrust::segment_of;
use super::faulty::{Faulty, Mode, Op, open};
use super::sample::{assert_balanced, eventually, read, read_from, record, spec, wait};
use crate::domain::record::PredictionRecord;
use crate::domain::spec::{Durability, LogSpec};

/// What a gateway left that recorded nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unused {
    /// No directory.
    Fresh,
    /// What a gateway leaves.
    Closed,
    /// A seal without records.
    Sealed,
}

impl Unused {
    pub(super) fn leave(self, dir: &Path) {
        match self {
            Self::Fresh => {}
            Self::Closed => {
                open(&Faulty::new(Mode::Good), dir, &spec(Durability::Os)).expect("open").close();
            }
            Self::Sealed => segment_of(dir, 1, &[], Some(0)),
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let listed = std::fs::read_dir(dir).expect("listed");
    let mut names: Vec<_> = listed
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    names.sort_unstable();
    names
}

/// The files as they are now, which is what a killed process leaves. Some may go meanwhile.
fn kill(dir: &Path) -> tempfile::TempDir {
    let killed = tempfile::tempdir().expect("a directory");
    for name in names(dir) {
        match std::fs::copy(dir.join(&name), killed.path().join(&name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{name}: {error}"),
            Ok(_) | Err(_) => {}
        }
    }
    killed
}

/// Starts in `dir` and reads all; each of `acknowledged` is there once.
fn assert_found(dir: &Path, acknowledged: &[u64], what: &str) {
    open(&Faulty::new(Mode::Good), dir, &spec(Durability::Os)).expect("open").close();
    let found: Vec<_> = read(dir).records.into_iter().map(|record| record.1).collect();
    for number in acknowledged {
        let times = found.iter().filter(|found| *found == number).count();
        assert_eq!(times, 1, "{what}: {number} of {acknowledged:?}, found {found:?}");
    }
    assert!(names(dir).iter().all(|name| !name.ends_with(".tmp")), "{what}: {:?}", names(dir));
}

fn put(recorder: &Recorder, number: u64, durability: Durability) -> Offer {
    let durability = Some(durability);
    recorder.offer(0, &PredictionRecord { durability, ..record(number, &[6; 300]) })
}

/// Records singly and several at once; what was acknowledged is there after a kill and after a close.
fn run(faults: &Faulty, dir: &Path, what: &str) {
    use Durability::{Async, Os, Sync};
    let quick = LogSpec { segment: 3 * 1024, sync_interval: Duration::ZERO, ..spec(Os) };
    let Ok(recorder) = open(faults, dir, &quick) else { return };
    let (mut number, mut acknowledged) = (0, Vec::new());
    for together in [[Os].as_slice(), &[Sync], &[Async, Sync, Os], &[Os], &[Async, Os, Sync]] {
        let mut waiting = Vec::new();
        for &durability in together {
            number += 1;
            waiting.push((number, durability, put(&recorder, number, durability)));
        }
        for (number, durability, offer) in waiting {
            if !durability.waits() || !matches!(offer, Offer::Queued(_)) {
                continue;
            }
            match wait(&recorder, offer) {
                Ok(()) => acknowledged.push(number),
                // Longer than the first pause of an outage.
                Err(Lost) => std::thread::park_timeout(Duration::from_millis(25)),
            }
        }
    }
    assert_found(kill(dir).path(), &acknowledged, &format!("{what}, killed"));
    assert_balanced(&recorder.close());
    assert_found(dir, &acknowledged, &format!("{what}, closed"));
}

#[test]
fn any_two_failed_calls_cost_nothing_that_was_acknowledged() {
    // Beyond some calls the two faults hardly meet: of these pairs only some are tried.
    const NEAR: u64 = 10;
    for (unused, step) in [(Unused::Fresh, 1), (Unused::Closed, 4), (Unused::Sealed, 4)] {
        let clean = Faulty::new(Mode::Good);
        let dir = tempfile::tempdir().expect("a directory");
        unused.leave(dir.path());
        run(&clean, dir.path(), "clean");
        let calls = clean.calls();
        assert!(calls > 30, "{calls}");
        for first in (1..calls).step_by(step) {
            let near = first + 1..=first + NEAR;
            let far = (first + NEAR + 1..=calls).step_by(7);
            for second in near.chain(far) {
                let dir = tempfile::tempdir().expect("a directory");
                unused.leave(dir.path());
                let faults = Faulty::new(Mode::FailTwice(first, second));
                run(&faults, dir.path(), &format!("{unused:?}, calls {first} and {second}"));
            }
        }
    }
}

#[test]
fn a_name_that_cannot_be_given_costs_nothing_that_was_acknowledged() {
    for unused in [Unused::Fresh, Unused::Closed, Unused::Sealed] {
        for fails in [[Op::Write, Op::Rename].as_slice(), &[Op::Rename], &[Op::Rename, Op::Rename]]
        {
            for durability in [Durability::Os, Durability::Sync] {
                let dir = tempfile::tempdir().expect("a directory");
                unused.leave(dir.path());
                let faults = Faulty::new(Mode::Good);
                let recorder = open(&faults, dir.path(), &spec(durability)).expect("open");
                faults.set(Mode::FailNext(fails));
                let mut acknowledged = Vec::new();
                for number in 1..=3 {
                    if wait(&recorder, put(&recorder, number, durability)).is_ok() {
                        acknowledged.push(number);
                    }
                }
                let what = format!("{unused:?}, {fails:?}, {durability:?}");
                assert_found(kill(dir.path()).path(), &acknowledged, &what);
                recorder.close();
                assert_found(dir.path(), &acknowledged, &what);
            }
        }
    }
}

/// Lets a record for which a client waits for the write share a group with one that is to be synced,
/// behind a record that is written and not synced yet.
fn share_a_group(fails: &'static [Op], before: bool) {
    let dir = tempfile::tempdir().expect("a directory");
    let faults = Faulty::new(Mode::Good);
    let slow = LogSpec { sync_interval: Duration::from_secs(60), ..spec(Durability::Os) };
    let recorder = open(&faults, dir.path(), &slow).expect("open");
    let (mut acknowledged, mut first) = (Vec::new(), None);
    if before {
        faults.set(Mode::Stalled);
        first = Some(put(&recorder, 1, Durability::Os));
        eventually("the write hangs", || faults.waiting().0 == 1);
    }
    let offers = [(2, Durability::Os), (3, Durability::Sync)];
    let offers = offers.map(|(number, durability)| (number, put(&recorder, number, durability)));
    faults.set(Mode::FailNext(fails));
    for (number, offer) in first.map(|offer| (1, offer)).into_iter().chain(offers) {
        if wait(&recorder, offer).is_ok() {
            acknowledged.push(number);
        }
    }
    let mut number = 3;
    eventually("the log is written again", || {
        number += 1;
        wait(&recorder, put(&recorder, number, Durability::Os)).is_ok()
    });
    acknowledged.push(number);
    let what = format!("{fails:?}, {before}");
    assert!(!before || acknowledged.starts_with(&[1, 2]), "{what}: {acknowledged:?}");
    assert_found(kill(dir.path()).path(), &acknowledged, &what);
    recorder.close();
    assert_found(dir.path(), &acknowledged, &what);
}

#[test]
fn what_was_told_to_be_written_stays_when_it_cannot_be_synced_nor_written_again() {
    for fails in [
        [Op::Sync, Op::Create].as_slice(),
        &[Op::Sync, Op::Write],
        &[Op::Sync, Op::Rename],
        &[Op::Sync, Op::Sync],
    ] {
        share_a_group(fails, true);
        share_a_group(fails, false);
    }
}

#[test]
fn starts_without_a_record_leave_nothing_behind() {
    for unused in [Unused::Fresh, Unused::Closed, Unused::Sealed] {
        let dir = tempfile::tempdir().expect("a directory");
        unused.leave(dir.path());
        for _ in 0..4 {
            let recorder =
                open(&Faulty::new(Mode::Good), dir.path(), &spec(Durability::Os)).expect("open");
            assert_eq!(recorder.recovery().next_lsn, 1);
            recorder.close();
            let expected = [segment::file_name(1), "LOCK".to_owned(), "clock".to_owned()];
            assert_eq!(names(dir.path()), expected, "{unused:?}");
        }
        let recorder =
            open(&Faulty::new(Mode::Good), dir.path(), &spec(Durability::Os)).expect("open");
        assert_eq!(wait(&recorder, put(&recorder, 1, Durability::Os)), Ok(()));
        recorder.close();
        assert_eq!(read(dir.path()).records, [(1, 1)]);
    }
}

#[test]
fn a_follower_of_a_log_that_was_closed_empty_sees_what_comes() {
    let dir = tempfile::tempdir().expect("a directory");
    Unused::Closed.leave(dir.path());
    let mut follower = LogReader::open(dir.path()).expect("a log");
    assert_eq!(read_from(&mut follower).records, []);
    let recorder = open(&Faulty::new(Mode::Good), dir.path(), &spec(Durability::Os)).expect("open");
    assert_eq!(wait(&recorder, put(&recorder, 1, Durability::Os)), Ok(()));
    assert_eq!(read_from(&mut follower).records, [(1, 1)]);
    recorder.close();
}
