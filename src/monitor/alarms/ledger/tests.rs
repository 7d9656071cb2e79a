//! The ledger: what is told once, forgotten, and kept.

use super::*;
use crate::domain::spec::{AlarmRules, CalledEvents};
use crate::domain::stats::alarm::{Evidence, Reading, Rule};
use crate::domain::stats::rate_band::Look;
use std::time::Duration;

const START: u64 = 29_000_000;

fn webhook(queue: usize) -> WebhookSpec {
    let second = Duration::from_secs(1);
    let url = "http://127.0.0.1:1/".to_owned();
    let events = CalledEvents::All;
    WebhookSpec { url, authorization: None, timeout: second, backoff: second, queue, events }
}

fn model_of(call: &Call) -> &str {
    match &call.what {
        CallWhat::Notice(notice) => &notice.key.model,
        CallWhat::Event(told) => &told.about,
    }
}

fn told(number: u64, is_alarm: bool) -> Told {
    let (kind, about) = ("release.moved".to_owned(), format!("e{number}"));
    let words = "it moved.".to_owned();
    Told { number, at_ms: 1, kind, is_alarm, is_critical: false, about, words }
}

fn rule() -> Rule {
    let rules = AlarmRules::default();
    Rule { hold: 1, ..rules.rule(AlarmKind::StalePipeline).expect("a rule").clone() }
}

/// One bad look at each of the models.
fn bad<'r>(rule: &'r Rule, models: &[&str]) -> Vec<Watch<'r>> {
    let watch = |model: &&str| Watch {
        key: AlarmKey {
            model: (*model).to_owned(),
            version: String::new(),
            alarm: AlarmKind::StalePipeline,
        },
        rule,
        reading: Reading::Bad(Evidence {
            definition: "d".to_owned(),
            value: 2.0,
            limit: 1.0,
            samples: 1,
            minutes: (0, 1),
            p: None,
            findings: Vec::new(),
        }),
    };
    models.iter().map(watch).collect()
}

#[test]
fn after_a_restart_alarms_are_active_and_nobody_is_called_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let rule = rule();
    let ledger = Ledger::open(dir.path(), Some(&webhook(10)));
    assert_eq!(ledger.step(START, bad(&rule, &["a"])).len(), 1);
    drop(ledger);
    let ledger = Arc::new(Ledger::open(dir.path(), Some(&webhook(10))));
    let reader = AlarmReader::new(Arc::clone(&ledger));
    assert_eq!((reader.active().len(), reader.events().len()), (1, 1));
    let call = ledger.next_call().expect("it was not delivered");
    assert_eq!(ledger.step(START + 1, bad(&rule, &["a"])), []);
    ledger.delivered(call.number);
    drop((ledger, reader));
    let ledger = Ledger::open(dir.path(), Some(&webhook(10)));
    assert_eq!(ledger.next_call(), None, "it was delivered");
}

#[test]
fn of_more_calls_than_may_wait_the_oldest_are_given_up_and_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let rule = rule();
    let ledger = Arc::new(Ledger::open(dir.path(), Some(&webhook(2))));
    ledger.step(START, bad(&rule, &["a", "b", "c"]));
    let stats = AlarmReader::new(Arc::clone(&ledger)).stats();
    let calls = stats.calls.expect("a webhook");
    assert_eq!((calls.given_up, calls.waiting, stats.fired.len()), (1, 2, 3));
    assert_eq!(model_of(&ledger.next_call().expect("a call")), "b");
    // Delivering a call that was given up meanwhile changes nothing else.
    ledger.delivered(0);
    assert_eq!(model_of(&ledger.next_call().expect("a call")), "b");
}

#[test]
fn events_are_calls_once_and_make_room_for_alarms() {
    let dir = tempfile::tempdir().expect("a directory");
    let rule = rule();
    let ledger = Ledger::open(dir.path(), Some(&webhook(2)));
    assert_eq!(ledger.last_told(), None);
    assert!(ledger.tell(told(7, false)) && !ledger.tell(told(7, false)));
    assert!(ledger.tell(told(8, true)));
    ledger.step(START, bad(&rule, &["a"]));
    let mut seen = Vec::new();
    while let Some(call) = ledger.next_call() {
        seen.push(model_of(&call).to_owned());
        ledger.delivered(call.number);
    }
    assert_eq!(seen, ["e8", "a"], "the one that is only to be known was given up");
    drop(ledger);
    let ledger = Ledger::open(dir.path(), Some(&webhook(2)));
    assert_eq!(ledger.last_told(), Some(8));
    assert!(!ledger.tell(told(8, true)) && ledger.tell(told(9, false)));
    ledger.save_all();
    drop(ledger);
    let call = Ledger::open(dir.path(), Some(&webhook(2))).next_call().expect("a call");
    assert_eq!((call.number, call.what), (3, CallWhat::Event(told(9, false))));
}

#[test]
fn a_version_that_was_seen_before_is_no_new_one_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let versions =
        |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let ledger = Ledger::open(dir.path(), None);
    assert_eq!(ledger.arrivals("m", START, &versions(&["v1"])), START);
    assert_eq!(ledger.arrivals("m", START + 9, &versions(&["v1", "v2"])), START + 9);
    drop(ledger);
    let ledger = Ledger::open(dir.path(), None);
    assert_eq!(ledger.arrivals("m", START + 99, &versions(&["v2", "v1"])), START + 9);
}

#[test]
fn versions_are_noticed_however_many_there_were() {
    let ledger = Ledger::blank();
    for number in 0..3 * VERSIONS_MAX as u64 {
        let now = START + number;
        let versions = [number, number + 1].map(|number| format!("v{number}"));
        let versions: BTreeSet<String> = versions.into_iter().collect();
        assert_eq!(ledger.arrivals("m", now, &versions), now, "a new one each minute");
    }
    let kept = ledger.state.lock().kept.arrivals["m"].versions.len();
    assert_eq!(kept, VERSIONS_MAX);
    // More at once than are remembered are no stream of new ones.
    let many: BTreeSet<String> = (0..1500).map(|number| format!("w{number}")).collect();
    let first = START + 10_000;
    assert_eq!(ledger.arrivals("m", first, &many), first);
    assert_eq!(ledger.arrivals("m", first + 1, &many), first);
}

/// Minutes of a clock that was a day ahead do not keep anything silent, also not over a restart.
#[test]
fn a_clock_that_was_ahead_is_forgotten() {
    let dir = tempfile::tempdir().expect("a directory");
    let rule = rule();
    let ledger = Ledger::open(dir.path(), None);
    ledger.with_history("a", |history| {
        history.add(Look { minute: START + 1440, requests: 1, window: 1 });
    });
    assert_eq!(ledger.step(START + 1440, bad(&rule, &["a"])).len(), 1);
    drop(ledger);
    let ledger = Ledger::open(dir.path(), None);
    ledger.set_right(START);
    let notices = ledger.step(START, bad(&rule, &["a", "b"]));
    let models: Vec<&str> = notices.iter().map(|one| one.key.model.as_str()).collect();
    assert_eq!(models, ["b"], "the other is known already");
    assert_eq!(ledger.step(START + 1, Vec::new()).len(), 2, "both are over");
    ledger.with_history("a", |history| {
        history.add(Look { minute: START, requests: 1, window: 1 });
        assert!(history.usual(START).is_none());
    });
}

/// After a start minutes are told again that were looked at before it.
#[test]
fn minutes_that_are_told_again_are_no_clock_that_was_ahead() {
    let rule = rule();
    let ledger = Ledger::blank();
    assert_eq!(ledger.step(START, bad(&rule, &["a"])).len(), 1);
    ledger.set_right(START + 1);
    assert_eq!(ledger.step(START - 10, bad(&rule, &["a"])), []);
    assert_eq!(ledger.step(START + 1, bad(&rule, &["a"])), [], "it is known already");
}

#[test]
fn events_are_bounded() {
    let dir = tempfile::tempdir().expect("a directory");
    let rule = rule();
    let ledger = Arc::new(Ledger::open(dir.path(), None));
    let names: Vec<String> = (0..600).map(|n| format!("m{n}")).collect();
    let models: Vec<&str> = names.iter().map(String::as_str).collect();
    ledger.step(START, bad(&rule, &models));
    let reader = AlarmReader::new(Arc::clone(&ledger));
    assert_eq!((reader.events().len(), reader.active().len()), (EVENTS_MAX, 600));
    assert_eq!(ledger.next_call(), None, "nobody takes calls");
}
