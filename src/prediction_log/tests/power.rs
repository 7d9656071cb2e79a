//! The power fails at every single call: what was acknowledged under `sync` is there afterwards,
//! nothing is invented, and the log goes on.

mod disk;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::disk::{Power, Survives};
use super::super::*;
use super::sample::{record, spec, wait};
use crate::domain::record::{Entry, Payload, PredictionRecord};
use crate::domain::spec::{Durability, LogSpec};

const DIR: &str = "/power/log";
/// Rounds of one run; each offers a record of every durability.
const ROUNDS: u64 = 10;

/// What a run was told before the power failed.
#[derive(Debug, Default)]
struct Told {
    /// Records that were acknowledged under `sync`.
    synced: Vec<u64>,
    /// Records that were acknowledged at all.
    written: Vec<u64>,
}

fn small() -> LogSpec {
    LogSpec {
        segment: 6 * 1024,
        sync_interval: Duration::from_millis(1),
        ..spec(Durability::Async)
    }
}

fn open(power: &Power) -> Result<Recorder, OpenError> {
    Recorder::open_with(Arc::new(power.clone()), Path::new(DIR), "n1", 1, &small())
}

/// The body of a record: long enough for some sectors, and its own.
fn body(number: u64) -> Vec<u8> {
    let len = 100 + number as usize * 617 % 2400;
    (0..len).map(|at| (at as u64 * 31 + number * 7) as u8).collect()
}

fn put(recorder: &Recorder, number: u64, durability: Durability) -> Offer {
    let body = body(number);
    let durability = Some(durability);
    recorder.offer(0, &PredictionRecord { durability, ..record(number, &body) })
}

/// Records until the power fails, or to the end; some syncs fail on the way.
fn run(power: &Power) -> Told {
    let mut told = Told::default();
    let Ok(recorder) = open(power) else { return told };
    for round in 0..ROUNDS {
        // Once under a client's own sync, once more likely in the background.
        if round == 4 || round == 7 {
            power.fail_next_sync();
        }
        let order = match round % 3 {
            0 => [Durability::Async, Durability::Os, Durability::Sync],
            1 => [Durability::Sync, Durability::Os, Durability::Async],
            _ => [Durability::Os, Durability::Sync, Durability::Os],
        };
        let offers: Vec<_> = (round * 3 + 1..).zip(order).collect();
        // All at once in even rounds, so that they share a group; else one by one.
        let mut waiting = Vec::new();
        for (number, durability) in offers {
            waiting.push((number, durability, put(&recorder, number, durability)));
            if round % 2 == 1 {
                settle(&recorder, &mut waiting, &mut told);
            }
        }
        settle(&recorder, &mut waiting, &mut told);
        if power.is_cut() {
            break;
        }
    }
    recorder.close();
    told
}

fn settle(recorder: &Recorder, waiting: &mut Vec<(u64, Durability, Offer)>, told: &mut Told) {
    for (number, durability, offer) in waiting.drain(..) {
        let is_queued = matches!(offer, Offer::Queued(_));
        if durability == Durability::Async || !is_queued || wait(recorder, offer).is_err() {
            continue;
        }
        told.written.push(number);
        if durability == Durability::Sync {
            told.synced.push(number);
        }
    }
}

/// Numbers of the log and of the test of the records that can be read; each is as it was offered.
fn read(power: &Power) -> Vec<(u64, u64)> {
    let mut reader = LogReader::open_with(Arc::new(power.clone()), Path::new(DIR)).expect("a log");
    let mut found = Vec::new();
    while let Some(item) = reader.next_item().expect("readable") {
        if let Item::Row(Row { lsn, entry: Entry::Prediction(record), .. }) = item {
            let Payload::Slice(bytes) = record.request.body else { panic!("no body") };
            assert!(bytes == body(record.ts_us), "{lsn} is not as it was offered");
            found.push((lsn, record.ts_us));
        }
    }
    assert!(found.is_sorted_by(|a, b| a.0 < b.0), "{found:?}");
    found
}

/// Every number of `expected` can be read exactly once.
fn assert_kept(power: &Power, expected: &[u64], what: &str) {
    let found = read(power);
    for number in expected {
        let times = found.iter().filter(|found| found.1 == *number).count();
        assert_eq!(times, 1, "{what}: record {number} of {expected:?}; found {found:?}");
    }
}

/// Starts after a loss of power, records once more under `sync`, and loses the power again.
fn go_on(power: &Power, mut expected: Vec<u64>, what: &str) {
    let number = 1001;
    let recorder = open(power).unwrap_or_else(|error| panic!("{what}: {error}"));
    let offer = put(&recorder, number, Durability::Sync);
    assert_eq!(wait(&recorder, offer), Ok(()), "{what}");
    expected.push(number);
    assert_kept(&power.lose(Survives::Nothing), &expected, what);
    assert_kept(&power.lose(Survives::Some(number)), &expected, what);
    recorder.close();
    assert_kept(&power.lose(Survives::Nothing), &expected, what);
}

/// Checks what one run left, in every way that the power may have failed.
fn check(power: &Power, told: &Told, call: u64) {
    for survives in [Survives::Nothing, Survives::All, Survives::Some(call)] {
        let what = format!("call {call}, {survives:?}");
        let expected = if survives == Survives::All { &told.written } else { &told.synced };
        let after = power.lose(survives);
        go_on(&after, expected.clone(), &what);
        // The power fails once more while the log is being repaired.
        let again = power.lose(survives);
        again.cut_at(call % 12 + 1);
        if let Ok(recorder) = open(&again) {
            recorder.close();
        }
        let after = again.lose(survives);
        assert_kept(&after, expected, &format!("{what}, twice"));
        let recorder = open(&after).unwrap_or_else(|error| panic!("{what}, twice: {error}"));
        recorder.close();
        assert_kept(&after, expected, &format!("{what}, twice"));
    }
}

#[test]
fn the_power_may_fail_at_any_call() {
    let (mut call, mut promised) = (0, 0);
    loop {
        call += 1;
        let power = Power::default();
        power.cut_at(call);
        let told = run(&power);
        promised += told.synced.len();
        check(&power, &told, call);
        if !power.is_cut() {
            break;
        }
    }
    assert!(call > 60 && promised > 200, "{call} calls, {promised} promises");
}
