//! Versions that come to answer clients by themselves: through the built program, with real models.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::gateway::command_in;
use crate::support::onnx::{FLOAT, Graph};
use crate::support::{Client, Clock, Gateway, Mood, Reply, Server, eventually};

mod artifacts;
mod away;
mod deaths;
mod eviction;
mod golden;
mod kills;
mod orders;
mod past;
mod recovery;
mod rollout;
mod scenarios;
mod servers;
mod standby;
mod told;

/// A model directory that is looked at often, and one model whose releases are quick.
const QUICK: &str = "
[discovery.store]
directory = \"models\"
interval  = \"100ms\"
settle    = \"0s\"
";

/// A gateway with a model directory beside its configuration.
struct Store {
    gateway: Gateway,
    config: String,
}

impl Store {
    fn start(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("models")).unwrap();
        Self::start_in(dir, more)
    }

    fn start_in(dir: tempfile::TempDir, more: &str) -> Self {
        let config = format!("{QUICK}{more}");
        Self { gateway: Gateway::start_in(dir, &config), config }
    }

    /// One whose time of day is that of `clock`.
    fn start_at(clock: &Clock, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("models")).unwrap();
        let config = format!("{QUICK}{more}");
        Self { gateway: Gateway::start_by(dir, &config, &clock.environment()), config }
    }

    /// SIGKILL, and another process on what is left.
    fn killed_and_started_again(self) -> Self {
        let dir = self.gateway.kill();
        Self { gateway: Gateway::start_in(dir, &self.config), config: self.config }
    }

    /// SIGTERM, the end, and another process on what is left.
    fn ended_and_started_again(self) -> Self {
        let dir = self.gateway.stop();
        Self { gateway: Gateway::start_in(dir, &self.config), config: self.config }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.gateway.dir.path().join("models").join(name)
    }

    /// Publishes a version as a careful pipeline does: written beside, renamed into place.
    fn publish(&self, name: &str, files: &[(&str, &[u8])]) {
        let folder = self.folder(name);
        let next = folder.with_extension("tmp");
        std::fs::create_dir_all(&next).unwrap();
        for (file, content) in files {
            std::fs::write(next.join(file), content).unwrap();
        }
        std::fs::rename(&next, &folder).unwrap();
    }

    /// Publishes a model that multiplies the sum of its inputs, with golden answers.
    fn publish_sum(&self, name: &str, factor: f32) {
        let golden = golden(factor);
        let files: [(&str, &[u8]); 2] =
            [("model.onnx", &sum_times(factor)), ("golden.jsonl", golden.as_bytes())];
        self.publish(name, &files);
    }

    fn version(&self, version: &str) -> Option<Value> {
        let reply = self.get(&format!("/api/v1/models/m/versions/{version}"));
        (reply.status == 200).then(|| reply.json())
    }

    /// Waits until a version is at a stage, and returns what is shown of it then.
    fn wait_for(&self, version: &str, stage: &str) -> Value {
        let mut last = Value::Null;
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(&format!("{version} is {stage}"), || {
                last = self.version(version)?;
                (last["stage"] == stage).then(|| last.clone())
            })
        }));
        found.unwrap_or_else(|_| panic!("{version} is not {stage}: {last:#}"))
    }

    /// Waits until the sentence about a version has this in it.
    fn wait_for_words(&self, version: &str, words: &str) -> String {
        eventually(&format!("{version}: {words}"), || {
            let why = self.version(version)?["why"].as_str().unwrap_or_default().to_owned();
            why.contains(words).then_some(why)
        })
    }

    /// Approves `v1`, the first of its model, and waits until it is live.
    fn approve_first(&self) {
        self.wait_for_words("v1", "an operator's approval");
        self.ordered("models/m/versions/v1/approve");
        self.wait_for("v1", "live");
    }

    fn get(&self, path: &str) -> Reply {
        let mut client = Client::connect(self.gateway.admin);
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        client.reply_to("GET")
    }

    fn order(&self, path: &str, body: &Value) -> Reply {
        let mut client = Client::connect(self.gateway.admin);
        let body = body.to_string();
        let length = body.len();
        client.send(&format!(
            "POST /api/v1/{path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        ));
        client.reply()
    }

    /// Gives an order that must be carried out.
    fn ordered(&self, path: &str) -> Value {
        let reply = self.order(path, &json!({ "who": "ann", "why": "a test" }));
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json()
    }

    /// Gives an order that overrules everything but use.
    fn forced(&self, path: &str) -> Value {
        let reply = self.order(path, &json!({ "who": "ann", "why": "a test", "force": true }));
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json()
    }

    /// A command of the program, for this gateway.
    fn command(&self, arguments: &[&str]) -> (bool, String) {
        let file = self.gateway.dir.path().join("pointsman.toml");
        // The gateway has taken any free port; the command must know which.
        let text = std::fs::read_to_string(&file).unwrap();
        let admin = format!("admin = \"{}\"", self.gateway.admin);
        std::fs::write(&file, text.replace("admin = \"127.0.0.1:0\"", &admin)).unwrap();
        let output = command_in(self.gateway.dir.path(), arguments);
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    /// The answer of the model, and the version that gave it.
    fn predict(&self) -> (u16, Option<f64>, String) {
        let reply = self.gateway.post("/v2/models/m/infer", BODY);
        let version = reply.header("x-pointsman-version").unwrap_or_default().to_owned();
        let value = (reply.status == 200).then(|| reply.json()["outputs"][0]["data"][0].as_f64());
        // The models compute with less precision than is compared here.
        let rounded = value.flatten().map(|value| (value * 1000.0).round() / 1000.0);
        (reply.status, rounded, version)
    }

    fn events(&self) -> Vec<(String, String)> {
        let shown = self.get("/api/v1/events?limit=1000").json();
        let text = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
        let events = shown["events"].as_array().unwrap().iter();
        events.map(|event| (text(event, "kind"), text(event, "words"))).collect()
    }
}

/// A request whose inputs add up to 10.
const BODY: &str = r#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#;

/// A model that multiplies the sum of its four inputs.
fn sum_times(factor: f32) -> Vec<u8> {
    Graph::default()
        .input("x", FLOAT, &["N", "4"])
        .floats("w", &[4, 1], &[factor; 4])
        .node("MatMul", &["x", "w"], "y")
        .output("y", FLOAT, &["N", "1"])
        .encode()
}

/// What it answers, as recorded by its pipeline.
fn golden(factor: f32) -> String {
    let line = |row: usize| {
        let inputs: Vec<f32> = (0..4).map(|at| ((row * 7 + at * 3) % 11) as f32 / 2.0).collect();
        let output: f32 = inputs.iter().map(|value| value * factor).sum();
        let tensor = |name: &str, width: usize, data: Value| json!({ "name": name, "shape": [1, width], "datatype": "FP32", "data": data });
        json!({
            "inputs": [tensor("x", 4, json!(inputs))],
            "outputs": [tensor("y", 1, json!([output]))],
        })
        .to_string()
    };
    (0..40).map(|row| line(row) + "\n").collect()
}

#[test]
fn a_first_version_with_golden_answers_goes_live_by_itself_and_says_why() {
    let store = Store::start("[models.m.release]\n");
    assert_eq!(store.predict().0, 503, "nobody answers yet");
    store.publish_sum("m/v1", 2.0);
    let live = store.wait_for("v1", "live");
    assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
    let why = live["why"].as_str().unwrap();
    assert!(why.starts_with("v1 has been live for") && why.contains("unproven"), "{why}");
    let told: Vec<String> = store.events().into_iter().map(|(_, words)| words).collect();
    let has = |words: &str| told.iter().any(|told| told.contains(words));
    assert!(has("told of m v1"), "{told:?}");
    assert!(has("v1 is live, the first of its model, on its golden answers"), "{told:?}");
    let stage = "pointsman_release_versions{model=\"m\",stage=\"live\"}";
    store.gateway.metric_is(stage, 1.0);
    let moves = "pointsman_release_moves_total{model=\"m\",edge=\"begin\"}";
    store.gateway.metric_is(moves, 1.0);
    let copies = store.gateway.dir.path().join("data/models/m/v1");
    assert_eq!(std::fs::read_dir(copies).unwrap().count(), 1, "it is fetched");
}

#[test]
fn a_model_that_no_configuration_names_waits_for_an_operator_unless_it_proves_itself() {
    let store = Store::start("");
    store.publish("m/v1", &[("model.onnx", &sum_times(3.0))]);
    let why = store.wait_for_words("v1", "an operator's approval");
    assert!(why.contains("no golden answers"), "{why}");
    let unknown = store.gateway.post("/v2/models/m/infer", BODY);
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    let done = store.ordered("models/m/versions/v1/approve");
    assert!(
        done["event"].as_str().unwrap().contains("m v1 was approved (by ann: a test)"),
        "{done}"
    );
    store.wait_for("v1", "live");
    assert_eq!(store.predict(), (200, Some(30.0), "v1".to_owned()));
}

#[test]
fn bad_versions_are_stopped_before_any_request_and_say_why() {
    let store = Store::start("[models.m.release]\nbetween = \"0s\"\nfailures = 100\n");
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    // (a) its golden answers are not its own.
    let wrong = golden(5.0);
    store.publish("m/v2", &[("model.onnx", &sum_times(2.1)), ("golden.jsonl", wrong.as_bytes())]);
    // (b) another interface.
    let other = Graph::default()
        .input("z", FLOAT, &["N", "3"])
        .node("Relu", &["z"], "y")
        .output("y", FLOAT, &["N", "3"])
        .encode();
    // (c) not a model at all.
    let cases = [("v2", "golden answers"), ("v3", "interface"), ("v4", "identity")];
    for (version, gate) in cases {
        match version {
            "v3" => store.publish("m/v3", &[("model.onnx", &other)]),
            "v4" => store.publish("m/v4", &[("model.onnx", b"no model")]),
            _ => {}
        }
        let shown = store.wait_for(version, "quarantined");
        let why = shown["why"].as_str().unwrap();
        assert!(why.contains("stopped at admission") && why.contains(gate), "{why}");
        assert_eq!(
            store.predict(),
            (200, Some(20.0), "v1".to_owned()),
            "clients see nothing of it"
        );
    }
    // The same content under another name is not tried again.
    store.publish("m/v5", &[("model.onnx", b"no model")]);
    let again = store.wait_for("v5", "quarantined");
    assert!(again["why"].as_str().unwrap().contains("its content is that of v4"), "{again:#}");
    assert!(store.events().iter().any(|(kind, _)| kind == "release.stopped"));
}

#[test]
fn versions_that_an_operator_names_are_approved_and_their_files_stay_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("models")).unwrap();
    std::fs::write(dir.path().join("sum.onnx"), sum_times(4.0)).unwrap();
    let config = "[models.m]\naliases = { prod = \"v1\" }\n[models.m.release]\n\
                  [models.m.versions.v1]\nonnx = \"sum.onnx\"\n";
    let store = Store::start_in(dir, config);
    store.wait_for("v1", "live");
    assert_eq!(store.predict(), (200, Some(40.0), "v1".to_owned()));
    let named = store.gateway.post("/v2/models/m/versions/prod/infer", BODY);
    assert_eq!(named.status, 200, "{}", named.text());
    let refused = store.order("models/m/versions/v1/unload", &json!({}));
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(!store.gateway.dir.path().join("data/models/m").exists(), "it is not copied");
}
