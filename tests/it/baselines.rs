//! Baselines that are learned: what a stop leaves of them, classes that are numbers, and what nobody comes for any more.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::client::post;
use crate::support::gateway::command_in;
use crate::support::{Backend, Gateway, eventually};
use crate::windows::Noon;

/// How a version stands with its baseline.
fn standing(gateway: &Gateway, model: &str) -> Value {
    let path = format!("/api/v1/models/{model}/versions/v1/windows?length=minute");
    gateway.ask("GET", &path, "").json()["baseline"].clone()
}

fn has_learned(gateway: &Gateway, rows: u64) {
    eventually(&format!("{rows} rows are learned"), || {
        let shown = standing(gateway, "m");
        (shown == json!({ "state": "learning", "rows": rows, "wanted": 2000 })).then_some(())
    });
}

/// Sends requests of 100 rows each.
fn send(gateway: &Gateway, requests: usize) {
    let row = |at: usize| format!(r#"{{"a":{}.5,"b":"{}"}}"#, at % 17, at % 3);
    let rows: Vec<String> = (0..100).map(row).collect();
    let body = format!(r#"{{"instances":[{}]}}"#, rows.join(","));
    let mut client = gateway.client();
    for _ in 0..requests {
        client.send(&post("/v1/models/m:predict", "", &body));
        assert_eq!(client.reply().status, 200);
    }
}

fn kept(dir: &Path, name: &str) -> PathBuf {
    dir.join("data/state/monitor/baselines").join(name)
}

/// One model that is proxied, all of whose bodies are looked into.
fn config(backend: &Backend) -> String {
    format!("{}[monitor]\ncpu = \"100%\"\n", backend.as_model())
}

fn scores() -> Backend {
    Backend::replying(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 21\r\n\r\n\
         {\"predictions\":[0.5]}",
    )
}

#[test]
fn what_was_learned_outlasts_stops_and_kills() {
    let (mut noon, backend) = (Noon::new(), scores());
    let config = config(&backend);
    let gateway = noon.start(&config);
    send(&gateway, 6);
    has_learned(&gateway, 600);
    assert!(gateway.metric("pointsman_monitor_learning_bytes") > 600.0 * 4.0);
    // Two planned stops, and a kill right after.
    let gateway = noon.start_in(gateway.stop(), &config);
    has_learned(&gateway, 600);
    send(&gateway, 4);
    has_learned(&gateway, 1000);
    let gateway = noon.start_in(gateway.stop(), &config);
    let gateway = noon.start_in(gateway.kill(), &config);
    has_learned(&gateway, 1000);
    // A minute that was closed is on disk, and the one that was open comes from the log.
    noon.pass(1);
    eventually("the minute is closed", || {
        let path = "/api/v1/models/m/versions/v1/windows?length=minute";
        let shown = gateway.ask("GET", path, "").json();
        let mut windows = shown["windows"].as_array().unwrap().iter();
        windows.any(|window| window["closed"] == true).then_some(())
    });
    send(&gateway, 5);
    has_learned(&gateway, 1500);
    let gateway = noon.start_in(gateway.kill(), &config);
    has_learned(&gateway, 1500);
    send(&gateway, 5);
    eventually("it is learned", || (standing(&gateway, "m")["state"] == "ready").then_some(()));
    gateway.metric_is("pointsman_monitor_learning_bytes", 0.0);
    let shown = gateway.ask("GET", "/api/v1/models/m/versions/v1/baseline", "").json();
    assert_eq!((&shown["n"], &shown["origin"]), (&json!(2000), &json!("self")));
    let dir = gateway.stop();
    assert!(kept(dir.path(), "m@v1.json").exists());
    assert!(!kept(dir.path(), "m@v1.rows").exists());
    let gateway = noon.start_in(dir, &config);
    assert_eq!(standing(&gateway, "m")["state"], "ready");
}

#[test]
fn rows_that_are_damaged_are_told_and_learning_begins_anew() {
    let (noon, backend) = (Noon::new(), scores());
    let config = config(&backend);
    let gateway = noon.start(&config);
    send(&gateway, 6);
    has_learned(&gateway, 600);
    let dir = gateway.stop();
    let path = kept(dir.path(), "m@v1.rows");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let gateway = noon.start_in(dir, &config);
    has_learned(&gateway, 0);
    let told = "rows that a baseline was being learned from are left aside";
    assert_eq!(gateway.log().matches(told).count(), 1, "{}", gateway.log());
    assert!(gateway.log().contains("it is damaged"), "{}", gateway.log());
    send(&gateway, 7);
    has_learned(&gateway, 700);
    let gateway = noon.start_in(gateway.stop(), &config);
    has_learned(&gateway, 700);
}

/// A classifier that answers numbers: 0, 1 and 2, of which the 1 can stay away.
struct Classifier {
    backend: Backend,
    is_gone: Arc<AtomicBool>,
}

impl Classifier {
    fn new() -> Self {
        let is_gone = Arc::new(AtomicBool::new(false));
        let gone = Arc::clone(&is_gone);
        let backend = Backend::script(move |connection| {
            while connection.request().is_some() {
                let other = if gone.load(Ordering::Relaxed) { "0" } else { "1" };
                let body = [
                    r#"{"predictions":["#,
                    &format!("0,0,{other},2,0,{other},0,0,2,{other},"),
                    "0]}",
                ]
                .concat();
                connection.send(&format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                ));
            }
        });
        Self { backend, is_gone }
    }
}

#[test]
fn classes_that_are_numbers_are_classes_and_one_that_is_gone_is_told_within_minutes() {
    let (mut noon, classifier) = (Noon::new(), Classifier::new());
    let gateway = noon.start(&config(&classifier.backend));
    let mut client = gateway.client();
    // Minutes of 660 answers, each until it is closed.
    let mut minutes = |count: usize| {
        for _minute in 0..count {
            for _ in 0..60 {
                client.send(&post("/v1/models/m:predict", "", r#"{"instances":[{"a":1.5}]}"#));
                assert_eq!(client.reply().status, 200);
            }
            let path = "/api/v1/models/m/versions/v1/windows?length=minute&last=1";
            let closed = || {
                let shown = gateway.ask("GET", path, "").json();
                let windows = shown["windows"].as_array().unwrap().clone();
                windows.iter().rfind(|it| it["closed"] == true).map(|it| it["start"].clone())
            };
            let before = closed();
            noon.pass(1);
            eventually("the minute is closed", || (closed() != before).then_some(()));
        }
    };
    minutes(4);
    let shown = gateway.ask("GET", "/api/v1/models/m/versions/v1/baseline", "").json();
    let output = &shown["outputs"][0];
    assert_eq!(
        (&output["kind"], &output["values"]),
        (&json!("categorical"), &json!(["0", "1", "2"]))
    );
    assert_eq!(shown["features"][0]["kind"], "numeric", "{shown}");
    minutes(25);
    let alarms = || {
        let shown = gateway.ask("GET", "/api/v1/alarms", "").json();
        let active = shown["active"].as_array().unwrap().clone();
        active.into_iter().find(|alarm| alarm["alarm"] == "class_share")
    };
    assert_eq!(alarms(), None);
    classifier.is_gone.store(true, Ordering::Relaxed);
    minutes(12);
    let told = eventually("the class is missed", alarms);
    let finding = &told["evidence"]["findings"][0];
    assert_eq!(finding["subject"], "output=1", "{told}");
    assert!(told["evidence"]["definition"].as_str().unwrap().contains("in 5 minutes"), "{told}");
}

/// What was handed over for a version that is not served any more is forgotten after a month, and what is served stays.
#[test]
fn a_baseline_that_nobody_comes_for_is_forgotten() {
    let (mut noon, backend) = (Noon::new(), scores());
    let address = backend.address;
    let of = |versions: &[&str]| {
        let version = |name: &&str| {
            format!("[models.m.versions.{name}]\nbackends = [\"http://{address}\"]\n")
        };
        versions.iter().map(version).collect::<String>()
    };
    let both = of(&["v1", "v2"]) + "[models.m]\ntraffic = { v1 = \"60%\", v2 = \"40%\" }\n";
    let baseline = |version: &str| {
        json!({ "format": 1, "model": "m", "version": version, "n": 1000,
                "features": [{ "name": "a", "kind": "numeric", "edges": [0.5], "mass": [0.5, 0.5] }] })
        .to_string()
    };
    let gateway = noon.start(&both);
    for version in ["v1", "v2"] {
        let path = format!("/api/v1/models/m/versions/{version}/baseline");
        let reply = gateway.ask("PUT", &path, &baseline(version));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let dir = gateway.stop();
    let (served, gone) = (kept(dir.path(), "m@v1.json"), kept(dir.path(), "m@v2.json"));
    noon.pass(40 * 24 * 60);
    let gateway = noon.start_in(dir, &of(&["v1"]));
    assert_eq!(standing(&gateway, "m")["state"], "ready");
    assert!(gateway.log().contains("a baseline is taken up that nobody needed for days"));
    // Whoever is served may be found a while after the start.
    let closed = || gateway.ask("GET", "/api/v1/monitor?last=minute", "").json()["until"].clone();
    for minutes in [55, 1] {
        let before = closed();
        noon.pass(minutes);
        eventually("minutes are closed", || (closed() != before).then_some(()));
    }
    // What is looked through at the full hour was, before the last of them.
    assert!(gone.exists());
    noon.pass(60);
    gateway.metric_reaches("pointsman_monitor_baselines_forgotten_total", 1.0);
    assert!(served.exists() && !gone.exists());
}

/// What `pointsman baseline` says of data, with these arguments.
fn told(dir: &Path, data: &str, arguments: &[&str]) -> (Option<i32>, String, Value) {
    let file = dir.join("data.csv");
    std::fs::write(&file, data).unwrap();
    let file = file.display().to_string();
    let all = [&["baseline", "m", "v1", "--data", &file], arguments].concat();
    let output = command_in(dir, &all);
    let told = String::from_utf8(output.stderr).unwrap();
    let made = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), told, made)
}

fn rows(head: &str, count: u32, row: impl Fn(u32) -> String) -> String {
    let rows = (0..count).map(|at| row(at) + "\n");
    std::iter::once(format!("{head}\n")).chain(rows).collect()
}

#[test]
fn data_that_is_perhaps_not_what_was_meant_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let warned = |data: &str, arguments: &[&str], words: &[&str]| {
        let (code, told, _) = told(dir.path(), data, arguments);
        assert_eq!(code, Some(0), "{told}");
        words.iter().for_each(|words| assert!(told.contains(words), "{words}: {told}"));
        told
    };
    let semicolons = rows("age;land", 3000, |at| format!("{at};de"));
    warned(
        &semicolons,
        &[],
        &["there is one column only, \"age;land\": fields of a line are separated by commas"],
    );
    let headless = rows("1,2", 3000, |at| format!("{},{}", at % 9, at % 7));
    warned(
        &headless,
        &[],
        &["the names of all columns are numbers (1, 2): the first line has to be a header"],
    );
    let money = rows("paid,x", 3000, |at| format!("\"{},{:03}.50\",{}", at + 1, at % 1000, at % 9));
    let many = "3000 different texts in 3000 rows, such as \"1,000.50\", have no histogram";
    warned(&money, &[], &["column `paid`: ", many, "--ignore paid"]);
    let silent = warned(&money, &["--categorical", "paid"], &[]);
    assert!(!silent.contains("different texts"), "{silent}");
    let shops = rows("shop,x", 3000, |at| format!("s{},{}", at % 300, at % 9));
    warned(&shops, &[], &["of 300 different texts, such as \"s0\", 255 have a name of their own"]);
    let scores = rows("p,x", 3000, |at| format!("{},{}", f64::from(at % 11) / 10.0, at % 9));
    assert_eq!(warned(&scores, &["--score", "p"], &[]), "");
    let ages = rows("age,x", 3000, |at| format!("{},{}", at % 70, at % 9));
    warned(
        &ages,
        &["--score", "age"],
        &["column `age`: it is said to be a score, and 2914 of its numbers, such as 2,"],
    );
    let dates = rows("at,x", 3000, |at| format!("{:02}/01/2026,{}", at % 28 + 1, at % 9));
    warned(&dates, &["--time", "at"], &["`--time`: \"01/01/2026\" is sorted as a text"]);
    let iso = rows("at,x", 3000, |at| format!("2026-01-{:02}T00:00:00Z,{}", at % 28 + 1, at % 9));
    assert_eq!(warned(&iso, &["--time", "at"], &[]), "");
    for (arguments, words) in [
        (
            &["--output", "x", "--ignore", "x"][..],
            "column `x` is named as one to take and as one to leave out",
        ),
        (
            &["--numeric", "x", "--categorical", "x"],
            "column `x` cannot be both numeric and categorical",
        ),
    ] {
        let (code, told, _) = told(dir.path(), &iso, arguments);
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn outputs_of_a_few_whole_numbers_are_classes_unless_they_are_said_to_be_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let data = rows("x,class,count,amount", 3000, |at| {
        format!("{},{},{},{}", at % 3, at % 3, at % 40, f64::from(at % 3) / 2.0)
    });
    let outputs = ["--output", "class", "--output", "count", "--output", "amount"];
    let kinds = |more: &[&str]| {
        let (code, told, made) = told(dir.path(), &data, &[&outputs[..], more].concat());
        assert_eq!(code, Some(0), "{told}");
        let of = |role: &str| {
            let all = made[role].as_array().unwrap().clone();
            all.iter().map(|it| it["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        (of("features"), of("outputs"))
    };
    let numeric = || vec!["numeric".to_owned()];
    assert_eq!(kinds(&[]).0, numeric(), "inputs stay numbers");
    assert_eq!(kinds(&[]).1, ["categorical", "numeric", "numeric"]);
    assert_eq!(kinds(&["--numeric", "class"]).1, ["numeric"; 3]);
    assert_eq!(kinds(&["--categorical", "count"]).1, ["categorical", "categorical", "numeric"]);
}
