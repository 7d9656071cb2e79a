//! Alarms through the real binary: live, against a baseline that was learned from traffic and against labels; and over the
//! log of the past.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::post;
use crate::support::gateway::command_in;
use crate::support::{Backend, Gateway, IRIS_BODY, eventually, iris};

/// How long an alarm may take: the rest of the first minute, which is not looked at, two whole ones, and a margin.
const MINUTES: Duration = Duration::from_secs(215);

fn ask(gateway: &Gateway, method: &str, path: &str, body: &str) -> Value {
    let reply = gateway.ask(method, path, body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// A service whose answers always name one class.
fn always_yes() -> Backend {
    Backend::replying(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 23\r\n\r\n\
         {\"predictions\":[\"yes\"]}",
    )
}

/// Sends `count` requests with one row, made by `row`; returns the ids of the predictions.
fn send(gateway: &Gateway, count: u32, row: impl Fn(u32) -> Value) -> Vec<String> {
    let mut client = gateway.client();
    let one = |at| {
        let body = json!({ "instances": [row(at)] }).to_string();
        client.send(&post("/v1/models/m:predict", "", &body));
        let reply = client.reply();
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.header("x-prediction-id").unwrap().to_owned()
    };
    (0..count).map(one).collect()
}

/// The evidence of an active alarm of the version, once there is one.
fn active(gateway: &Gateway, alarm: &str) -> Value {
    let until = Instant::now() + MINUTES;
    loop {
        let shown = ask(gateway, "GET", "/api/v1/alarms", "");
        let active = shown["active"].as_array().unwrap();
        if let Some(found) = active.iter().find(|one| one["alarm"] == alarm) {
            assert_eq!((&found["model"], &found["version"]), (&json!("m"), &json!("v1")));
            return found["evidence"].clone();
        }
        assert!(Instant::now() < until, "no {alarm}: {shown}");
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

/// Two that take minutes share the wait: labels that are all wrong, and a field that is gone against a baseline that
/// was learned from the first traffic.
#[test]
fn wrong_labels_and_a_renamed_field_are_told_against_a_baseline_that_was_learned() {
    let backend = always_yes();
    let gateway = Gateway::start(&format!(
        "{}[models.m.labels]\nclasses = [\"no\", \"yes\"]\npredicted = \"/predictions/0\"\n\
         [models.m.alarms]\nquality = {{ accuracy = \"90%\" }}\nschema_shape = {{ for = \"1m\" }}\n\
         [monitor]\ncpu = \"100%\"\n[log]\ndurability = \"os\"\n",
        backend.as_model()
    ));
    // The rows of the baseline, in batches.
    let rows: Vec<Value> =
        (0..500).map(|at| json!({ "age": at % 80, "vip": at % 2 == 0 })).collect();
    let batch = json!({ "instances": rows }).to_string();
    for _ in 0..4 {
        assert_eq!(gateway.post("/v1/models/m:predict", &batch).status, 200);
    }
    let learned = eventually("a baseline is learned", || {
        let path = "/api/v1/models/m/versions/v1/windows?length=minute";
        let baseline = ask(&gateway, "GET", path, "")["baseline"].clone();
        (baseline["state"] == "ready").then_some(baseline)
    });
    assert_eq!(learned["origin"], "self", "{learned}");
    let ids = send(&gateway, 300, |at| json!({ "years": at % 80, "vip": at % 2 == 0 }));
    let lines: String = ids
        .iter()
        .map(|id| format!("{}\n", json!({ "prediction_id": id, "label": "no" })))
        .collect();
    let headers = "content-type: application/x-ndjson\r\n";
    assert_eq!(gateway.request(&post("/v1/feedback", headers, &lines)).status, 200);

    let quality = active(&gateway, "quality");
    assert_eq!(quality["findings"][0]["subject"], "accuracy", "{quality}");
    assert_eq!((quality["value"].as_f64(), quality["limit"].as_f64()), (Some(0.0), Some(0.9)));
    let shape = active(&gateway, "schema_shape");
    assert_eq!(shape["findings"][0]["subject"], "age", "{shape}");
    assert_eq!(shape["findings"][0]["what"], "missing or not a number in 100.0 % of the values");
    gateway.stop();
}

/// So many minutes from now, as a date.
fn minute(ahead: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seconds = i64::try_from(now.as_secs()).unwrap() + ahead * 60;
    jiff::Timestamp::from_second(seconds).unwrap().to_string()
}

/// A class that floods, over the log: the alarm of a running gateway, with another threshold tried on the same traffic.
#[test]
fn a_class_that_floods_is_told_over_the_log_of_the_past() {
    let backend = always_yes();
    let config = |factor: u32| {
        format!(
            "{}[models.m.alarms]\nclass_share = {{ factor = {factor} }}\n[monitor]\ncpu = \"100%\"\n\
             [log]\ndurability = \"os\"\n",
            backend.as_model()
        )
    };
    let gateway = Gateway::start(&config(4));
    let baseline = json!({
        "format": 1, "model": "m", "version": "v1", "n": 5000,
        "features": [{ "name": "age", "kind": "numeric", "edges": [20.0, 40.0, 60.0], "mass": [0.25, 0.25, 0.25, 0.25] }],
        "outputs": [{ "name": "output", "kind": "categorical", "values": ["no", "yes"], "mass": [0.5, 0.5], "other": 0.0 }],
    });
    ask(&gateway, "PUT", "/api/v1/models/m/versions/v1/baseline", &baseline.to_string());
    send(&gateway, 700, |at| json!({ "age": at % 80 }));
    let dir = gateway.stop();

    let (from, to) = (minute(-10), minute(15));
    let replayed = |more: &[&str]| {
        let arguments = ["monitor", "replay", "--alarms", "--from", &from, "--to", &to];
        let output = command_in(dir.path(), &[&arguments, more].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let text = replayed(&["--format", "json"]);
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let class: Vec<&Value> =
        events.iter().filter(|event| event["alarm"] == "class_share").collect();
    assert_eq!(class.len(), 1, "{text}");
    assert_eq!((&class[0]["change"], &class[0]["version"]), (&json!("started"), &json!("v1")));
    let finding = &class[0]["evidence"]["findings"][0];
    assert!(finding["what"].as_str().unwrap().contains("instead of 50.00 %"), "{text}");
    assert!(replayed(&["--model", "m"]).contains("class_share"), "the table");
    // A threshold that this traffic does not reach.
    let path = dir.path().join("pointsman.toml");
    let tried = std::fs::read_to_string(&path).unwrap().replace("factor = 4", "factor = 1000");
    std::fs::write(&path, tried).unwrap();
    assert!(!replayed(&[]).contains("class_share"), "another threshold");
    // Nothing of this is the state of a gateway.
    let kept = std::fs::read_to_string(dir.path().join("data/state/alarms/alarms.json"));
    assert!(!kept.unwrap_or_default().contains("class_share"));
}

/// A client renames its field: a backend that checks its input refuses with 422, a model in this process with 400. The
/// log of the past says so of both, and of no version that answers.
#[test]
fn a_version_that_refuses_every_request_is_told() {
    let strict = Backend::replying(
        "HTTP/1.1 422 Unprocessable Entity\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    );
    let good = always_yes();
    let gateway = Gateway::start(&format!(
        "{}{}[models.good.versions.v1]\nbackends = [\"http://{}\"]\n[log]\ndurability = \"os\"\n",
        strict.as_model(),
        iris(),
        good.address
    ));
    let renamed = IRIS_BODY.replace("\"input\"", "\"inputs_v2\"");
    let row = json!({ "instances": [{ "years": 7 }] }).to_string();
    for _ in 0..60 {
        assert_eq!(gateway.post("/v1/models/m:predict", &row).status, 422);
        assert_eq!(gateway.post("/v1/models/good:predict", &row).status, 200);
        assert_eq!(gateway.post("/v2/models/iris/infer", &renamed).status, 400);
    }
    let dir = gateway.stop();
    let (from, to) = (minute(-10), minute(8));
    let arguments =
        ["monitor", "replay", "--alarms", "--format", "json", "--from", &from, "--to", &to];
    let output = command_in(dir.path(), &arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut refused: Vec<Value> =
        events.filter(|event| event["alarm"] == "rejection_rate").collect();
    refused.sort_by_key(|event| event["model"].to_string());
    let models: Vec<&Value> = refused.iter().map(|event| &event["model"]).collect();
    assert_eq!(models, [&json!("iris"), &json!("m")], "{text}");
    for event in &refused {
        let (change, evidence) = (&event["change"], &event["evidence"]);
        assert_eq!((change, &event["version"]), (&json!("started"), &json!("v1")), "{text}");
        assert_eq!(evidence["value"], 1.0, "{text}");
        assert_eq!(evidence["findings"][0]["what"], "60 of 60 requests", "{text}");
    }
}
