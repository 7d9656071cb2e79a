//! What must not take from the counts, nor make an alarm of nothing: a version beside another, a memory that is too small,
//! a stop, and values that nobody learns from.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::client::post;
use crate::support::{Backend, Client, Clock, Gateway, eventually, repository};

/// A clock at noon, so that no hour and no day ends within a test unless that lets it.
pub(crate) struct Noon {
    clock: Clock,
    ahead: f64,
}

impl Noon {
    pub(crate) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        // A few seconds into a minute, so that the one before is closed.
        let ahead = (12.0 * 3600.0 + 605.0 - now).rem_euclid(86_400.0);
        let noon = Self { clock: Clock::new(), ahead };
        noon.clock.set(noon.ahead, 1.0);
        noon
    }

    /// So many minutes pass at once.
    pub(crate) fn pass(&mut self, minutes: u32) {
        self.ahead += f64::from(minutes) * 60.0;
        self.clock.set(self.ahead, 1.0);
    }

    pub(crate) fn start(&self, config: &str) -> Gateway {
        self.start_in(tempfile::tempdir().unwrap(), config)
    }

    pub(crate) fn start_in(&self, dir: tempfile::TempDir, config: &str) -> Gateway {
        Gateway::start_by(dir, config, &self.clock.environment())
    }
}

fn backend() -> Backend {
    Backend::replying(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 21\r\n\r\n\
         {\"predictions\":[0.5]}",
    )
}

fn hand_over(gateway: &Gateway, model: &str, baseline: &Value) {
    let path = format!("/api/v1/models/{model}/versions/v1/baseline");
    let reply = gateway.ask("PUT", &path, &baseline.to_string());
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// A baseline of numbers for the first version of a model.
fn baseline(model: &str, rows: u32, features: &[String]) -> Value {
    let feature = |name: &String| {
        let edges: Vec<f64> = (1..60).map(f64::from).collect();
        json!({ "name": name, "kind": "numeric", "edges": edges, "mass": vec![1.0 / 60.0; 60] })
    };
    let features: Vec<Value> = features.iter().map(feature).collect();
    json!({ "format": 1, "model": model, "version": "v1", "n": rows, "features": features })
}

/// The windows of one length, the one that is being filled last.
fn windows(gateway: &Gateway, (model, version): (&str, &str), length: &str) -> Value {
    let path = format!("/api/v1/models/{model}/versions/{version}/windows?length={length}");
    let reply = gateway.ask("GET", &path, "");
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// The exchanges of each window that is kept.
fn exchanges(gateway: &Gateway, version: (&str, &str), length: &str) -> Vec<u64> {
    let shown = windows(gateway, version, length);
    let windows = shown["windows"].as_array().unwrap();
    windows.iter().map(|window| window["traffic"]["exchanges"].as_u64().unwrap()).collect()
}

/// Waits until so many exchanges of a version are counted, by minutes, hours and days alike.
fn is_counted(gateway: &Gateway, version: (&str, &str), wanted: u64) {
    for length in ["minute", "hour", "day"] {
        eventually(&format!("{version:?} has {wanted} exchanges by the {length}"), || {
            let counted: u64 = exchanges(gateway, version, length).iter().sum();
            assert!(counted <= wanted, "{version:?}: {counted} of {wanted}");
            (counted == wanted).then_some(())
        });
    }
}

/// The silences that were told, active or over.
fn silences(gateway: &Gateway) -> Vec<Value> {
    let shown = gateway.ask("GET", "/api/v1/alarms", "").json();
    let events = shown["events"].as_array().unwrap().iter();
    events.filter(|event| event["alarm"] == "silence").cloned().collect()
}

fn predict(client: &mut Client, model: &str, headers: &str) {
    let path = format!("/v1/models/{model}:predict");
    client.send(&post(&path, headers, r#"{"instances":[{"a":1.5}]}"#));
    let reply = client.reply();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// Both versions of iris in `dir`, with a baseline beside the second one whose edges do not ascend.
fn iris_with_a_bad_baseline(dir: &Path) -> String {
    let mut config = String::from("[models.iris]\ntraffic = { v1 = \"90%\", v2 = \"10%\" }\n");
    for version in ["v1", "v2"] {
        let model = dir.join(version).join("model.onnx");
        std::fs::create_dir(dir.join(version)).unwrap();
        std::fs::copy(repository(&format!("config/models/iris/{version}/model.onnx")), &model)
            .unwrap();
        let model = model.display().to_string();
        config.push_str(&format!("[models.iris.versions.{version}]\nonnx = {model:?}\n"));
    }
    let feature =
        json!({ "name": "input[0]", "kind": "numeric", "edges": [5, 4], "mass": [0.3, 0.3, 0.4] });
    let bad =
        json!({ "format": 1, "model": "iris", "version": "v2", "n": 1000, "features": [feature] });
    std::fs::write(dir.join("v2/baseline.json"), bad.to_string()).unwrap();
    config
}

/// Whether a champion has a baseline is looked at ten times a second; nothing may come of that for the others.
#[test]
fn a_version_beside_a_champion_without_a_baseline_loses_no_count() {
    let (mut noon, backend, models) = (Noon::new(), backend(), tempfile::tempdir().unwrap());
    let address = backend.address;
    let config = format!(
        "{}[models.m]\ntraffic = {{ v1 = \"60%\", v2 = \"40%\" }}\n\
         [models.m.versions.v1]\nbackends = [\"http://{address}\"]\n\
         [models.m.versions.v2]\nbackends = [\"http://{address}\"]\n[log]\ndurability = \"os\"\n",
        iris_with_a_bad_baseline(models.path()),
    );
    let gateway = noon.start(&config);
    let mut client = gateway.client();
    let (until, mut sent) = (Instant::now() + Duration::from_secs(3), 0);
    while Instant::now() < until {
        for version in ["v1", "v2"] {
            predict(&mut client, "m", &format!("x-pointsman-version: {version}\r\n"));
        }
        sent += 1;
        std::thread::park_timeout(Duration::from_millis(20));
    }
    noon.pass(1);
    for version in ["v1", "v2"] {
        is_counted(&gateway, ("m", version), sent);
    }
    gateway.metric_is("pointsman_monitor_shards_lost_total", 0.0);
    let standing = |model, version| windows(&gateway, (model, version), "day")["baseline"].clone();
    assert_eq!(standing("m", "v1")["state"], "learning");
    assert_eq!(standing("m", "v2")["state"], "absent");
    assert_eq!(standing("iris", "v2")["state"], "refused");
    let told = gateway.log().matches("a baseline is refused").count();
    assert_eq!(told, 1, "{}", gateway.log());

    // Counted again from the log: no more, and no less.
    let gateway = noon.start_in(gateway.kill(), &config);
    for version in ["v1", "v2"] {
        is_counted(&gateway, ("m", version), sent);
    }
}

#[test]
fn who_borrows_the_baseline_of_the_champion_follows_when_that_changes() {
    let backend = backend();
    let address = backend.address;
    let gateway = Gateway::start(&format!(
        "[models.m]\ntraffic = {{ v1 = \"60%\", v2 = \"40%\" }}\n\
         [models.m.versions.v1]\nbackends = [\"http://{address}\"]\n\
         [models.m.versions.v2]\nbackends = [\"http://{address}\"]\n"
    ));
    let stands = |state: &str, rows: Option<u32>| {
        eventually(&format!("the second version is {state}, {rows:?} rows"), || {
            let shown = windows(&gateway, ("m", "v2"), "minute")["baseline"].clone();
            let is_it = shown["state"] == state && shown["rows"] == json!(rows);
            assert!(state != "ready" || !is_it || shown["of"] == "m/v1", "{shown}");
            is_it.then_some(())
        });
    };
    stands("absent", None);
    for rows in [20_000, 777] {
        hand_over(&gateway, "m", &baseline("m", rows, &["a".to_owned()]));
        stands("ready", Some(rows));
        let forgotten = gateway.ask("DELETE", "/api/v1/models/m/versions/v1/baseline", "");
        assert!(forgotten.status < 300, "{}", forgotten.text());
        stands("absent", None);
    }
}

#[test]
fn a_memory_that_is_too_small_takes_no_count_and_makes_no_silence() {
    let (mut noon, backend) = (Noon::new(), backend());
    let address = backend.address;
    let config = format!(
        "[models.big.versions.v1]\nbackends = [\"http://{address}\"]\n\
         [models.small.versions.v1]\nbackends = [\"http://{address}\"]\n\
         [models.small.alarms]\nsilence = {{ after = \"5m\", for = \"1m\" }}\n\
         [monitor]\nmemory = \"1MiB\"\ncpu = \"100%\"\n[log]\ndurability = \"os\"\n"
    );
    let gateway = noon.start(&config);
    // A window of so many features takes more than the half of it.
    let features: Vec<String> = (0..900).map(|at| format!("a{at}")).collect();
    hand_over(&gateway, "big", &baseline("big", 1000, &features));
    let (mut client, mut sent) = (gateway.client(), 0);
    for _minute in 0..13 {
        for _ in 0..3 {
            predict(&mut client, "big", "");
            predict(&mut client, "small", "");
            sent += 1;
        }
        noon.pass(1);
        eventually("the minute is closed", || {
            let day = exchanges(&gateway, ("small", "v1"), "day");
            (day.iter().sum::<u64>() == sent).then_some(())
        });
    }
    gateway.metric_reaches("pointsman_monitor_windows_forgotten_total", 1.0);
    let minutes = exchanges(&gateway, ("small", "v1"), "minute");
    assert!(minutes.len() >= 10 && minutes.iter().all(|count| *count > 0), "{minutes:?}");
    assert_eq!(silences(&gateway), Vec::<Value>::new());
    assert_eq!(gateway.log().matches("`monitor.memory` is too small").count(), 1);

    let gateway = noon.start_in(gateway.kill(), &config);
    for model in ["big", "small"] {
        for length in ["hour", "day"] {
            eventually(&format!("{model} has all of its counts by the {length}"), || {
                let counted = exchanges(&gateway, (model, "v1"), length);
                (counted == [sent]).then_some(())
            });
        }
    }
}

#[test]
fn neither_a_planned_stop_nor_a_sleep_of_the_machine_is_a_silence() {
    let (mut noon, backend) = (Noon::new(), backend());
    let address = backend.address;
    let config = format!(
        "[models.m.versions.v1]\nbackends = [\"http://{address}\"]\n\
         [models.other.versions.v1]\nbackends = [\"http://{address}\"]\n\
         [models.m.alarms]\nsilence = {{ after = \"5m\", for = \"1m\" }}\n\
         [models.other.alarms]\nsilence = {{ enabled = false }}\n"
    );
    // Minutes with a request to each of these models, each until it is closed.
    let minutes = |noon: &mut Noon, gateway: &Gateway, count: u32, models: &[&str]| {
        let mut client = gateway.client();
        for _minute in 0..count {
            models.iter().for_each(|model| predict(&mut client, model, ""));
            let closed = || {
                let shown = windows(gateway, ("other", "v1"), "minute");
                let mut all = shown["windows"].as_array().unwrap().iter();
                all.rfind(|window| window["closed"] == true).map(|window| window["start"].clone())
            };
            let before = closed();
            noon.pass(1);
            eventually("the minute is closed", || (closed() != before).then_some(()));
        }
    };
    let gateway = noon.start(&config);
    minutes(&mut noon, &gateway, 3, &["m", "other"]);
    noon.pass(20);
    minutes(&mut noon, &gateway, 2, &["other"]);
    minutes(&mut noon, &gateway, 1, &["m", "other"]);
    let dir = gateway.stop();
    noon.pass(40);
    let gateway = noon.start_in(dir, &config);
    // Its clients are late.
    minutes(&mut noon, &gateway, 2, &["other"]);
    minutes(&mut noon, &gateway, 2, &["m", "other"]);
    assert_eq!(silences(&gateway), Vec::<Value>::new());
    // A model that gets no requests while the gateway runs is silent.
    minutes(&mut noon, &gateway, 7, &["other"]);
    let told = eventually("the silence is told", || silences(&gateway).pop());
    assert_eq!((&told["model"], &told["change"]), (&json!("m"), &json!("started")), "{told}");
}

/// Values are kept to learn a baseline from, and only for that: not where one was refused.
#[test]
fn values_that_nobody_learns_from_take_no_memory() {
    const ROWS: usize = 2048;
    let (noon, models) = (Noon::new(), tempfile::tempdir().unwrap());
    let model = models.path().join("model.onnx");
    std::fs::copy(repository("config/models/iris/v1/model.onnx"), &model).unwrap();
    let mut other = baseline("iris", 1000, &["input[0]".to_owned()]);
    other["digest"] = format!("sha256:{}", "0a".repeat(32)).into();
    std::fs::write(models.path().join("baseline.json"), other.to_string()).unwrap();
    let gateway = noon.start(&format!(
        "workers = 1\n[models.iris.versions.v1]\nonnx = {:?}\n[log]\ndurability = \"off\"\n",
        model.display().to_string()
    ));
    let values: Vec<u8> = [5.1_f32, 3.5, 1.4, 0.2]
        .iter()
        .cycle()
        .take(ROWS * 4)
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let head = json!({
        "inputs": [{ "name": "input", "datatype": "FP32", "shape": [ROWS, 4],
                     "parameters": { "binary_data_size": values.len() } }],
        "parameters": { "binary_data_output": true },
    })
    .to_string();
    let request = format!(
        "POST /v2/models/iris/infer HTTP/1.1\r\nhost: a\r\ncontent-type: application/octet-stream\r\n\
         inference-header-content-length: {}\r\ncontent-length: {}\r\n\r\n{head}",
        head.len(),
        head.len() + values.len()
    );
    let request = [request.as_bytes(), &values].concat();
    let mut client = gateway.client();
    let mut send = |count: usize| {
        for _ in 0..count {
            client.send_bytes(&request);
            let reply = client.reply();
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
    };
    let resident = || gateway.metric("process_resident_memory_bytes");
    send(50);
    let before = resident();
    // Their values are 72 KiB each, with those of the outputs.
    send(400);
    let grown = (resident() - before) / f64::from(1 << 20);
    assert!(grown < 14.0, "{grown:.1} MiB more after 28 MiB of values");
    let shown = windows(&gateway, ("iris", "v1"), "minute");
    assert_eq!(shown["baseline"]["state"], "refused", "{shown}");
}
