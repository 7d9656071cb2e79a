//! What is counted about versions: by workers, from bodies, and again from the log after a restart.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::client::post;
use crate::support::gateway::command_in;
use crate::support::{Backend, Client, Gateway, eventually, repository};

/// A baseline of four columns of numbers, and of one score.
fn baseline(model: &str, features: &[&str], digest: Option<&str>) -> Value {
    let numeric = |name: &str| {
        json!({
            "name": name, "kind": "numeric", "edges": [0.5, 2.0, 4.0, 6.0],
            "mass": [0.2, 0.2, 0.2, 0.2, 0.2],
        })
    };
    let features: Vec<Value> = features.iter().map(|name| numeric(name)).collect();
    let mut baseline =
        json!({ "format": 1, "model": model, "version": "v1", "n": 1000, "features": features });
    if let Some(digest) = digest {
        baseline["digest"] = digest.into();
    }
    baseline
}

/// Iris with a baseline beside it, and the configuration that serves it.
fn iris_with(dir: &Path, baseline: &Value) -> String {
    let model = dir.join("model.onnx");
    std::fs::copy(repository("config/models/iris/v1/model.onnx"), &model).unwrap();
    std::fs::write(dir.join("baseline.json"), baseline.to_string()).unwrap();
    format!("[models.iris.versions.v1]\nonnx = {:?}\n", model.display().to_string())
}

/// A backend that speaks the first protocol of KServe.
fn kserve() -> Backend {
    Backend::replying(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 21\r\n\r\n\
         {\"predictions\":[0.5]}",
    )
}

fn admin(gateway: &Gateway, path: &str) -> Value {
    let mut client = Client::connect(gateway.admin);
    client.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
    client.reply().json()
}

/// The windows of a model's version, in full.
fn windows(gateway: &Gateway, model: &str, length: &str) -> Value {
    admin(gateway, &format!("/api/v1/models/{model}/versions/v1/windows?length={length}"))
}

/// What all windows of a length have counted together: exchanges, exchanges seen, and the bins of the
/// first feature.
fn counted(shown: &Value) -> (u64, u64, Vec<u64>) {
    let mut all = (0, 0, vec![0; 5]);
    for window in shown["windows"].as_array().unwrap() {
        all.0 += window["traffic"]["exchanges"].as_u64().unwrap();
        all.1 += window["traffic"]["seen"].as_u64().unwrap();
        for values in window["values"].as_array().unwrap() {
            let bins = values["features"][0]["bins"].as_array().unwrap();
            all.2.iter_mut().zip(bins).for_each(|(sum, count)| *sum += count.as_u64().unwrap());
        }
    }
    all
}

/// Sends `count` requests to either model, over two connections, with the first column at `value`.
fn send(gateway: &Gateway, count: usize, value: f64) {
    let iris = format!(
        r#"{{"inputs":[{{"name":"input","shape":[1,4],"datatype":"FP32","data":[{value},3.5,1.4,0.2]}}]}}"#
    );
    let rows = format!(r#"{{"instances":[{{"age":{value},"country":"de"}}]}}"#);
    let mut clients = [gateway.client(), gateway.client()];
    for at in 0..count {
        let client = &mut clients[at % 2];
        for (path, body) in [("/v2/models/iris/infer", &iris), ("/v1/models/m:predict", &rows)] {
            client.send(&post(path, "", body));
            let reply = client.reply();
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
    }
}

#[test]
fn a_restart_in_the_middle_changes_no_count() {
    let models = tempfile::tempdir().unwrap();
    let beside =
        baseline("iris", &["sepal length", "sepal width", "petal length", "petal width"], None);
    let backend = kserve();
    let config = format!(
        "{}{}[log]\ndurability = \"os\"\n",
        iris_with(models.path(), &beside),
        backend.as_model()
    );
    let dir = tempfile::tempdir().unwrap();
    // What an operator has handed over for a proxied version is kept here.
    let kept = dir.path().join("data/state/monitor/baselines");
    std::fs::create_dir_all(&kept).unwrap();
    std::fs::write(kept.join("m@v1.json"), baseline("m", &["age"], None).to_string()).unwrap();

    let check = |gateway: &Gateway, wanted: (u64, [u64; 5])| {
        for model in ["iris", "m"] {
            eventually(&format!("{model} has counted {wanted:?}"), || {
                let (exchanges, seen, bins) = counted(&windows(gateway, model, "day"));
                assert!(exchanges <= wanted.0, "{model}: {exchanges} of {}", wanted.0);
                (exchanges == wanted.0 && seen == wanted.0 && bins == wanted.1).then_some(())
            });
        }
    };
    let gateway = Gateway::start_in(dir, &config);
    send(&gateway, 30, 1.0);
    // SIGKILL: what was in memory is counted from the log.
    let gateway = Gateway::start_in(gateway.kill(), &config);
    check(&gateway, (30, [0, 30, 0, 0, 0]));
    send(&gateway, 20, 3.0);
    // SIGTERM: what was counted is kept.
    let gateway = Gateway::start_in(gateway.stop(), &config);
    check(&gateway, (50, [0, 30, 20, 0, 0]));
    send(&gateway, 10, 5.0);
    // SIGKILL after a restart: one part is kept, the other is in the log.
    let gateway = Gateway::start_in(gateway.kill(), &config);
    check(&gateway, (60, [0, 30, 20, 10, 0]));
    // And nothing is counted twice when nothing has happened.
    let gateway = Gateway::start_in(gateway.kill(), &config);
    check(&gateway, (60, [0, 30, 20, 10, 0]));

    // The same code over the log, offline, counts the same.
    let dir = gateway.stop();
    let run = command_in(
        dir.path(),
        &["monitor", "replay", "--from", "2d", "--length", "day", "--format", "json"],
    );
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let lines = String::from_utf8(run.stdout).unwrap();
    let shown: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for model in ["iris", "m"] {
        let own: Vec<_> = shown.iter().filter(|window| window["model"] == model).cloned().collect();
        let counted = counted(&json!({ "windows": own }));
        assert_eq!(counted, (60, 60, vec![0, 30, 20, 10, 0]), "{model}: {lines}");
    }

    // What was passed over then is passed over: of a share that was halved twenty times, everything.
    let rates = dir.path().join("data/state/monitor/rates.json");
    std::fs::write(&rates, "[[0, 20]]").unwrap();
    let run = command_in(
        dir.path(),
        &[
            "monitor", "replay", "--from", "2d", "--length", "day", "--format", "json", "--model",
            "m",
        ],
    );
    let lines = String::from_utf8(run.stdout).unwrap();
    let sampled = |line: &str| -> u64 {
        let window: Value = serde_json::from_str(line).unwrap();
        window["traffic"]["unseen"]["sampled"].as_u64().unwrap_or_else(|| panic!("{window}"))
    };
    assert_eq!(lines.lines().map(sampled).sum::<u64>(), 60, "{lines}");
}

#[test]
fn a_baseline_of_another_artifact_is_refused_and_the_version_served() {
    let models = tempfile::tempdir().unwrap();
    let other = format!("sha256:{}", "0a".repeat(32));
    let names = ["a", "b", "c", "d"];
    let wrong = baseline("iris", &names, Some(&other));
    let gateway = Gateway::start(&iris_with(models.path(), &wrong));
    assert_eq!(gateway.post("/v2/models/iris/infer", crate::support::IRIS_BODY).status, 200);
    let shown = windows(&gateway, "iris", "minute");
    assert_eq!(shown["baseline"]["state"], "refused", "{shown}");
    let reason = shown["baseline"]["reason"].as_str().unwrap();
    assert!(reason.contains("baseline.json") && reason.contains(&other), "{reason}");
    assert!(gateway.log().contains("a baseline is refused"), "{}", gateway.log());
    let has = "pointsman_monitor_baseline{model=\"iris\",version=\"v1\"}";
    assert!((gateway.metric(has)).abs() < f64::EPSILON);
}

#[test]
fn a_baseline_with_features_that_the_model_does_not_have_is_refused() {
    let models = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&iris_with(models.path(), &baseline("iris", &["age"], None)));
    let shown = windows(&gateway, "iris", "minute");
    let reason = shown["baseline"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("age") && reason.contains("input[0]"), "{shown}");
}

#[test]
fn windows_are_asked_for_by_a_length_that_there_is() {
    let gateway = Gateway::start(&crate::support::iris());
    let error = windows(&gateway, "iris", "week");
    assert_eq!(error["error"], "`length` is minute, hour or day, not `week`");
    let error = windows(&gateway, "nobody", "day");
    assert_eq!(error["error"], "`nobody/v1` is not monitored");
}

#[test]
fn without_a_baseline_one_is_learned_and_said_to_be() {
    let gateway = Gateway::start(&crate::support::iris());
    let shown = windows(&gateway, "iris", "minute");
    assert_eq!(shown["baseline"]["state"], "learning", "{shown}");
}
