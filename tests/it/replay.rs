//! `log replay` sends what was recorded again, and tells equal, close, differing and failed answers
//! apart.

use std::path::Path;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pointsman::domain::record::Entry;
use pointsman::domain::spec::LogSpec;
use pointsman::prediction_log::{Item, LogReader, Offer, Recorder, log_dir};
use serde_json::{Value, json};

use crate::support::client::post;
use crate::support::gateway::{command_in, records};
use crate::support::{Backend, Gateway, repository};

/// Two versions of iris; version v1 answers clients.
fn two_versions() -> String {
    let path = |version: &str| {
        repository(&format!("config/models/iris/{version}/model.onnx")).display().to_string()
    };
    format!(
        "[models.iris]\ntraffic = {{ v1 = \"100%\", v2 = \"0%\" }}\n\
         [models.iris.versions.v1]\nonnx = {:?}\n[models.iris.versions.v2]\nonnx = {:?}\n",
        path("v1"),
        path("v2")
    )
}

/// The cases that onnxruntime was asked, and as many wrong ones.
fn record(gateway: &Gateway) -> usize {
    let cases = std::fs::read_to_string(repository("config/models/iris/v1/expected.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&cases).unwrap();
    let mut client = gateway.client();
    for (n, case) in cases.iter().enumerate() {
        let good = json!({ "id": n.to_string(), "inputs": case["inputs"] }).to_string();
        for body in [good.as_str(), "{not json"] {
            client.send(&post("/v2/models/iris/infer", &format!("x-request-id: q{n}\r\n"), body));
            assert!(client.reply().status < 500);
        }
    }
    gateway.wait_for_records(2 * cases.len());
    2 * cases.len()
}

/// As many flowers, each a little different, and every tenth request a wrong one.
fn record_flowers(gateway: &Gateway, count: u64) {
    let mut random = fastrand::Rng::with_seed(4);
    let mut client = gateway.client();
    for n in 0..count {
        let mut size = |from: f64, to: f64| from + random.f64() * (to - from);
        let data = [size(4.3, 7.9), size(2.0, 4.4), size(1.0, 6.9), size(0.1, 2.5)];
        let input = json!({ "name": "input", "datatype": "FP32", "shape": [1, 4], "data": data });
        let good = json!({ "inputs": [input] }).to_string();
        let body = if n % 10 == 9 { "{not json" } else { &good };
        client.send(&post("/v2/models/iris/infer", "", body));
        assert!(client.reply().status < 500);
    }
    gateway.wait_for_records(usize::try_from(count).unwrap());
}

/// Runs `log replay`; the exit code and the report.
fn replay(dir: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let all = [&["log", "replay", "--format", "json", "--speed", "max"], arguments].concat();
    let output = command_in(dir, &all);
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), report)
}

#[test]
fn replayed_against_itself_every_answer_is_equal_and_its_row_is_flagged() {
    let gateway = Gateway::start(&two_versions());
    let sent = record(&gateway);
    let url = format!("http://{}", gateway.data);
    let (code, report) = replay(gateway.dir.path(), &["--url", &url]);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!((&report["sent"], &report["equal"]["count"]), (&json!(sent), &json!(sent)));
    assert_eq!(report["equal"]["of"], json!({ "bytes": sent }));
    assert!(report["replayed_us"]["p50"].as_u64().unwrap() > 0);

    let rows = gateway.wait_for_records(2 * sent);
    let (first, second) = rows.split_at(sent);
    let ids = |rows: &[Value]| {
        let mut ids: Vec<String> = rows.iter().map(|row| row["request_id"].to_string()).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(first), ids(second), "the client's ids are kept");

    let (code, again) = replay(gateway.dir.path(), &["--url", &url]);
    assert_eq!(
        (code, &again["sent"]),
        (Some(0), &json!(sent)),
        "what was replayed is not: {again:#}"
    );
}

#[test]
fn another_version_is_compared_number_by_number() {
    let gateway = Gateway::start(&two_versions());
    let sent = record(&gateway) as u64;
    let url = format!("http://{}", gateway.data);
    let lines = gateway.dir.path().join("lines.jsonl");
    let out = lines.display().to_string();
    let arguments = ["--url", &url, "--to-version", "v2", "--out", &out, "--concurrency", "2"];
    let (code, report) = replay(gateway.dir.path(), &arguments);
    assert_eq!(code, Some(1), "{report:#}");
    let count = |verdict: &str| report[verdict]["count"].as_u64().unwrap();
    let bad = count("differing");
    // Refusals are the same under every version, and so are answers that are certain.
    assert_eq!(report["equal"]["of"]["bytes"], json!(sent / 2), "{report:#}");
    assert!(bad > 0 && bad + count("equal") == sent, "{report:#}");
    let worst = report["worst"]["deviation"].as_f64().unwrap();
    let example = &report["examples"][0];
    assert!(example["pointer"].as_str().unwrap().starts_with("/outputs/"), "{example}");
    assert_eq!(
        (&example["model_version"], &example["replay_model_version"]),
        (&json!("v1"), &json!("v2"))
    );
    assert!(example["replay_record_id"].is_string());

    let lines = std::fs::read_to_string(lines).unwrap();
    assert_eq!(lines.lines().count() as u64, sent);
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["deviation"].as_f64().unwrap_or_default() <= worst);
    }

    // What differs by less than the tolerance is close; labels are never close.
    let arguments =
        ["--url", &url, "--to-version", "v2", "--tolerance", "10", "--ignore", "/outputs/0"];
    let (code, report) = replay(gateway.dir.path(), &arguments);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(report["close"]["count"], json!(bad));

    let arguments = ["--url", &url, "--to-version", "v2", "--allow-differing", "50%"];
    assert_eq!(replay(gateway.dir.path(), &arguments).0, Some(0), "as many are allowed");
}

#[test]
fn a_server_that_is_gone_or_silent_is_a_failure() {
    let gateway = Gateway::start(&two_versions());
    let sent = record(&gateway);
    let url = format!("http://{}", gateway.data);
    let dir = gateway.stop();
    let (code, report) = replay(dir.path(), &["--url", &url]);
    assert_eq!((code, &report["failed"]["of"]), (Some(1), &json!({ "connect": sent })));

    let silent = Backend::script(|connection| {
        connection.request();
        connection.request();
    });
    let url = format!("http://{}", silent.address);
    let (code, report) = replay(dir.path(), &["--url", &url, "--timeout", "50ms", "--limit", "3"]);
    assert_eq!((code, &report["failed"]["of"]), (Some(1), &json!({ "timeout": 3 })));

    let nothing = replay(dir.path(), &["--url", &url, "--model", "nosuch"]);
    assert_eq!(nothing.0, Some(1), "a replay of nothing proves nothing");
}

#[test]
fn the_recorded_pace_is_kept_or_divided() {
    let gateway = Gateway::start(&two_versions());
    let pause = Duration::from_millis(200);
    for _ in 0..4 {
        gateway.post("/v2/models/iris/infer", "{not json");
        std::thread::park_timeout(pause);
    }
    let recorded: usize = records(gateway.dir.path()).len();
    assert_eq!(recorded, 4);
    let url = format!("http://{}", gateway.data);
    let seconds = |speed: &str| {
        let arguments = ["log", "replay", "--format", "json", "--url", &url, "--speed", speed];
        let output = command_in(gateway.dir.path(), &arguments);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (report["seconds"].as_f64().unwrap(), report["recorded_seconds"].as_f64().unwrap())
    };
    let (slow, span) = seconds("1");
    assert!(span >= 0.6 && slow >= span, "{slow} s for {span} s");
    let (fast, _) = seconds("100x");
    assert!(fast < slow / 2.0, "{fast} s instead of {slow} s");
}

/// Writes the predictions of the log below `from` to a new one below `to`, in their order, as if they
/// had come evenly over the last `span`.
fn spread(from: &Path, to: &Path, count: u64, span: Duration) {
    let mut reader = LogReader::open(&log_dir(from)).unwrap();
    let recorder = Recorder::open(&log_dir(to), "n1", 1, &LogSpec::default()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut ts = now - span;
    while let Some(item) = reader.next_item().unwrap() {
        let Item::Row(row) = item else { panic!("a gap") };
        let Entry::Prediction(mut record) = row.entry else { panic!("no prediction") };
        record.ts_us = u64::try_from(ts.as_micros()).unwrap();
        assert!(matches!(recorder.offer(0, &record), Offer::Queued(_)));
        ts += span / u32::try_from(count - 1).unwrap();
    }
    assert_eq!(recorder.close().written, count);
}

#[test]
fn an_hour_of_v1_is_replayed_against_v2_in_seconds_and_the_report_says_what_changed() {
    const HOUR: Duration = Duration::from_secs(3600);
    let total = 2000;
    let gateway = Gateway::start(&two_versions());
    record_flowers(&gateway, total);
    let recorded = gateway.stop();
    let dir = tempfile::tempdir().unwrap();
    spread(&recorded.path().join("data"), &dir.path().join("data"), total, HOUR);

    let gateway = Gateway::start_in(dir, &two_versions());
    let url = format!("http://{}", gateway.data);
    let arguments = ["--url", &url, "--to-version", "v2", "--speed", "1200x"];
    let all = [&["log", "replay", "--format", "json"], &arguments[..]].concat();
    let output = command_in(gateway.dir.path(), &all);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "answers differ: {report:#}");

    let (span, seconds) = (&report["recorded_seconds"], report["seconds"].as_f64().unwrap());
    assert!((span.as_f64().unwrap() - 3600.0).abs() < 1.0, "{span}");
    assert!(seconds >= 3.0, "{seconds} s: the pace is kept, however dense");
    let count = |verdict: &str| report[verdict]["count"].as_u64().unwrap();
    let bad = count("differing");
    assert_eq!((count("equal") + count("close") + bad, count("failed")), (total, 0), "{report:#}");
    // Refusals are the same under every version.
    let refused = total / 10;
    assert!(bad > 0 && count("equal") >= refused, "{report:#}");

    // Who answered, and where answers differ: outputs by name, so that a label that changed is told
    // apart from a score that moved.
    let pair = &report["answered_by"];
    let of_v2 = pair.as_array().unwrap().iter().find(|pair| pair["replay_model_version"] == "v2");
    let of_v2 = of_v2.unwrap_or_else(|| panic!("{pair:#}"));
    assert_eq!((&of_v2["model"], &of_v2["model_version"]), (&json!("iris"), &json!("v1")));
    assert!(
        of_v2["sent"].as_u64().unwrap() >= total - refused && of_v2["differing"] == bad,
        "{pair:#}"
    );
    let places = report["differing_at"].as_object().unwrap();
    let most = places.values().map(|count| count.as_u64().unwrap()).max();
    assert!(most <= Some(bad) && places.keys().all(|place| place.starts_with("/outputs/")));
    assert!(places.keys().any(|place| place.ends_with("/data/*")), "{places:?}");
    let deviations = &report["deviations"];
    assert_eq!(deviations["max"], report["worst"]["deviation"]);
    assert!(deviations["p50"].as_f64() <= deviations["p99"].as_f64());
    assert_eq!(report["tolerance"], json!(1e-6));
    for times in ["recorded_us", "replayed_us"] {
        assert!(report[times]["p50"].as_u64().unwrap() > 0, "{times}");
    }

    let human = command_in(
        gateway.dir.path(),
        &[&["log", "replay"], &arguments[..2], &["--to-version", "v2", "--speed", "max"]].concat(),
    );
    let text = String::from_utf8(human.stdout).unwrap();
    for part in ["iris v1 > v2", "differing at", "/data/*", "p99", "requests/s then"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
}
