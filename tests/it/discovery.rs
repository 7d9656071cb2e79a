//! Prediction servers that are found: they become members, and what is missing in an answer stays.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Backend, Client, Gateway, Reply, eventually};

mod catalogue;
mod directory;
mod dns;
#[cfg(feature = "discovery-kubernetes")]
mod kubernetes;
mod leases;

/// A backend that answers everything with its name.
fn named(name: &'static str) -> Backend {
    Backend::script(move |connection| {
        while connection.request().is_some() {
            let length = name.len();
            connection.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{name}"));
        }
    })
}

fn list(backends: &[&Backend]) -> String {
    let entry = |backend: &&Backend| json!({ "address": format!("http://{}", backend.address) });
    Value::Array(backends.iter().map(entry).collect()).to_string()
}

/// Replaces a file as a careful writer does.
fn publish(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, path).unwrap();
}

/// A route to a pool whose members are those of the source `fleet`, and a model of the same.
const FLEET: &str = "
[pools.p]
discovered = \"fleet\"
[routes.all]
path_prefix = \"/x\"
pool = \"p\"
[models.m.versions.v1]
discovered = \"fleet\"
";

/// The admin listener's answer.
fn admin(gateway: &Gateway, method: &str, path: &str, body: &str) -> Reply {
    let mut client = Client::connect(gateway.admin);
    let length = body.len();
    client.send(&format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}"
    ));
    client.reply()
}

fn source(gateway: &Gateway, name: &str) -> Value {
    let shown = admin(gateway, "GET", "/api/v1/discovery", "").json();
    shown["sources"][name].clone()
}

/// The kinds of events so far.
fn events(gateway: &Gateway) -> Vec<(String, String)> {
    let shown = admin(gateway, "GET", "/api/v1/events?limit=1000", "").json();
    let text = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
    let events = shown["events"].as_array().unwrap().iter();
    events.map(|event| (text(event, "kind"), text(event, "words"))).collect()
}

fn wait_for_event(gateway: &Gateway, kind: &str) -> String {
    eventually(kind, || {
        events(gateway).into_iter().find(|(found, _)| found == kind).map(|(_, words)| words)
    })
}

/// Who answers a few requests, all of which succeed; sorted.
fn answers(gateway: &Gateway) -> Vec<String> {
    let mut seen: Vec<String> = (0..8)
        .map(|_| {
            let reply = gateway.request("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
            assert_eq!(reply.status, 200, "{}", reply.text());
            reply.text()
        })
        .collect();
    seen.sort();
    seen.dedup();
    seen
}

fn wait_for_answers(gateway: &Gateway, expected: &[&str]) {
    eventually(&format!("{expected:?} answer"), || (answers(gateway) == expected).then_some(()));
}

fn in_dir(config: &str) -> Gateway {
    Gateway::start(&format!("[discovery.fleet]\n{config}\n{FLEET}"))
}

#[test]
fn members_of_a_file_come_and_go_without_a_failed_request() {
    let (one, two, three) = (named("one"), named("two"), named("three"));
    let dir = tempfile::tempdir().unwrap();
    publish(&dir.path().join("list.json"), &list(&[&one, &two]));
    let config = format!("[discovery.fleet]\nfile = \"list.json\"\n{FLEET}");
    let gateway = Gateway::start_in(dir, &config);
    assert_eq!(answers(&gateway), ["one", "two"], "before the first request");
    let file = gateway.dir.path().join("list.json");
    publish(&file, &list(&[&one, &two, &three]));
    wait_for_answers(&gateway, &["one", "three", "two"]);
    publish(&file, &list(&[&two, &three]));
    wait_for_answers(&gateway, &["three", "two"]);
    let shown = source(&gateway, "fleet");
    assert_eq!((&shown["kind"], &shown["state"]), (&json!("file"), &json!("fresh")), "{shown}");
    let reply = gateway.post("/v2/models/m/infer", "{}");
    assert!(["two", "three"].contains(&reply.text().as_str()), "the model has the same members");
    let gone = wait_for_event(&gateway, "discovery.gone");
    assert!(gone.contains(&one.address.to_string()), "{gone}");
    let series = "pointsman_discovery_things{source=\"fleet\",state=\"present\"}";
    gateway.metric_is(series, 2.0);
}

#[test]
fn an_empty_broken_or_missing_file_changes_nothing_but_the_alarm() {
    let (one, two, three) = (named("one"), named("two"), named("three"));
    let dir = tempfile::tempdir().unwrap();
    let whole = list(&[&one, &two, &three]);
    publish(&dir.path().join("list.json"), &whole);
    let config = format!("[discovery.fleet]\nfile = \"list.json\"\ninterval = \"50ms\"\n{FLEET}");
    let gateway = Gateway::start_in(dir, &config);
    let file = gateway.dir.path().join("list.json");
    let expected = ["one", "three", "two"];
    for (text, state) in [
        ("[]", "empty"),
        (&*list(&[&one]), "shrunken"),
        ("[{\"address\": \"http://127.0.0.1:1", "failed"),
        ("[{\"address\": \"127.0.0.1\"}]", "partial"),
    ] {
        publish(&file, text);
        eventually(state, || (source(&gateway, "fleet")["state"] == state).then_some(()));
        assert_eq!(answers(&gateway), expected, "{state}");
        publish(&file, &whole);
        eventually("fresh", || (source(&gateway, "fleet")["state"] == "fresh").then_some(()));
    }
    std::fs::remove_file(&file).unwrap();
    eventually("failed", || (source(&gateway, "fleet")["state"] == "failed").then_some(()));
    assert_eq!(answers(&gateway), expected);
    let doubted = events(&gateway).into_iter().filter(|(kind, _)| kind == "discovery.doubted");
    let words: Vec<_> = doubted.map(|(_, words)| words).collect();
    assert_eq!(words.len(), 5, "{words:?}");
    assert!(words[0].contains("0 listed, the 3 that are known are kept"), "{words:?}");
    assert_eq!(gateway.metric("pointsman_discovery_trusted{source=\"fleet\"}"), 0.0);
}

#[test]
fn what_is_known_survives_a_kill_while_the_source_is_away() {
    let one = named("one");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("list.json");
    publish(&file, &list(&[&one]));
    let config = format!("[discovery.fleet]\nfile = \"list.json\"\n{FLEET}");
    let gateway = Gateway::start_in(dir, &config);
    assert_eq!(answers(&gateway), ["one"]);
    let state = gateway.dir.path().join("data/state/discovery.json");
    eventually("it is written", || state.exists().then_some(()));
    let dir = gateway.kill();
    std::fs::remove_file(dir.path().join("list.json")).unwrap();
    let gateway = Gateway::start_in(dir, &config);
    assert_eq!(answers(&gateway), ["one"], "the last good set");
    assert_eq!(source(&gateway, "fleet")["state"], "failed");
    let kinds: Vec<String> = events(&gateway).into_iter().map(|(kind, _)| kind).collect();
    assert!(kinds.contains(&"discovery.appeared".to_owned()), "of the first run: {kinds:?}");
}

#[test]
fn without_a_member_requests_are_refused_until_one_is_found() {
    let gateway = in_dir("file = \"list.json\"");
    let refused = gateway.request("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!((refused.status, refused.error()), (503, "empty_pool"));
    let refused = gateway.post("/v2/models/m/infer", "{}");
    assert_eq!((refused.status, refused.error()), (503, "no_ready_version"));
    let one = named("one");
    publish(&gateway.dir.path().join("list.json"), &list(&[&one]));
    eventually("it is found", || {
        let reply = gateway.request("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
        (reply.status == 200).then_some(())
    });
}

#[test]
fn servers_are_asked_which_versions_they_have() {
    let server = Backend::script(|connection| {
        while let Some(request) = connection.request() {
            let body = if request.line().contains("/v2/repository/index") {
                r#"[{"name":"fraud","version":"3","state":"READY"},{"name":"fraud","version":"4","state":"LOADING"}]"#
            } else {
                "{}"
            };
            let length = body.len();
            connection.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"));
        }
    });
    let other = named("not of this protocol");
    let dir = tempfile::tempdir().unwrap();
    publish(&dir.path().join("list.json"), &list(&[&server, &other]));
    let gateway = Gateway::start_in(
        dir,
        "[discovery.fleet]\nfile = \"list.json\"\nask = true\n\
         [models.fraud.versions.v3]\ndiscovered = \"fleet\"\nremote_version = \"3\"\n",
    );
    let shown = admin(&gateway, "GET", "/api/v1/discovery", "").json();
    let versions = shown["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 1, "{shown:#}");
    assert_eq!((&versions[0]["model"], &versions[0]["version"]), (&json!("fraud"), &json!("3")));
    assert_eq!(versions[0]["backends"], json!([format!("http://{}", server.address)]));
}
