//! Every event is one sentence, and everybody is told the same one: the API, the command line, the log, the webhook.

use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::support::Backend;

/// The alerts that came.
pub(super) type Alerts = Arc<Mutex<Vec<Value>>>;

/// A receiver of calls that keeps their alerts, and is down when a test says so.
pub(super) fn receiver() -> (Backend, Alerts, Arc<Mutex<bool>>) {
    let alerts = Alerts::default();
    let down = Arc::new(Mutex::new(false));
    let (kept, is_down) = (Arc::clone(&alerts), Arc::clone(&down));
    let backend = Backend::script(move |connection| {
        while let Some(request) = connection.request() {
            if *is_down.lock() {
                connection.send("HTTP/1.1 503 Down\r\ncontent-length: 0\r\n\r\n");
                continue;
            }
            let call: Value = serde_json::from_slice(&request.body).unwrap();
            kept.lock().extend(call["alerts"].as_array().unwrap().iter().cloned());
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    (backend, alerts, down)
}

/// The sentences that came by the webhook, each once, in their order.
pub(super) fn sentences(alerts: &Mutex<Vec<Value>>) -> Vec<(String, String)> {
    let mut seen = std::collections::BTreeSet::new();
    let alerts = alerts.lock();
    let fresh = alerts.iter().filter(|alert| seen.insert(alert["fingerprint"].to_string()));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    fresh
        .map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["annotations"]["summary"])))
        .collect()
}

#[test]
fn every_event_of_a_release_is_told_alike_by_the_api_the_command_line_the_log_and_the_webhook() {
    let (backend, alerts, down) = receiver();
    let store = Store::start(&format!(
        "[models.m.release]\n[alarms]\nwebhook = \"http://{}/hook\"\nbackoff = \"100ms\"\n",
        backend.address
    ));
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    store.ordered("models/m/versions/v1/kill");
    let of_the_api = |store: &Store| {
        let events = store.events().into_iter().filter(|(kind, _)| kind.starts_with("release."));
        events.collect::<Vec<_>>()
    };
    let expected = of_the_api(&store);
    assert!(expected.iter().any(|(_, words)| words == "m v1 was cut off (by ann: a test)."));
    assert!(expected.len() >= 5, "{expected:?}");
    let came = |alerts: &Mutex<Vec<Value>>| {
        let all = sentences(alerts).into_iter().filter(|(kind, _)| kind.starts_with("release."));
        all.collect::<Vec<_>>()
    };
    eventually("the webhook has all of them", || (came(&alerts) == expected).then_some(()));
    let cut =
        alerts.lock().iter().find(|it| it["labels"]["alertname"] == "release.killed").cloned();
    let cut = cut.unwrap();
    assert_eq!(
        (&cut["labels"]["model"], &cut["labels"]["version"], &cut["labels"]["severity"]),
        (&json!("m"), &json!("v1"), &json!("warning"))
    );
    let log = store.gateway.log();
    let (ok, printed) = store.command(&["events", "--kind", "release."]);
    assert!(ok, "{printed}");
    for (_, words) in &expected {
        assert!(printed.contains(words), "{words}: {printed}");
        assert!(log.contains(&words.replace('"', "\\\"")), "{words}: {log}");
    }
    let (ok, one) = store.command(&["events", "m/v1", "-n", "1", "--format", "json"]);
    assert!(ok && one.contains("was cut off") && one.lines().count() == 1, "{one}");

    // What could not be told before the process died is told after it.
    *down.lock() = true;
    store.ordered("models/m/versions/v1/unkill");
    // An order does not wait for the file of events.
    let file = store.gateway.dir.path().join("data/state/events.jsonl");
    eventually("it is in the file", || {
        std::fs::read_to_string(&file).ok()?.contains("takes traffic again").then_some(())
    });
    let store = store.killed_and_started_again();
    *down.lock() = false;
    let expected = of_the_api(&store);
    assert!(
        expected.iter().any(|(_, words)| words == "m v1 takes traffic again (by ann: a test).")
    );
    eventually("nothing is missing", || {
        let came = came(&alerts);
        expected.iter().all(|event| came.contains(event)).then_some(())
    });
}
