//! The `log` commands of the real program, on the log of a gateway that ran.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::support::client::post;
use crate::support::gateway::run_in;
use crate::support::{Backend, Gateway, IRIS_BODY, iris};

const CONFIG: &str = "data_dir = \"data\"\nlisten = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\n";

/// The log of a gateway that answered, proxied and refused ten requests each.
fn recorded() -> tempfile::TempDir {
    let backend = Backend::echo();
    let config = format!("{}{}[log]\ndurability = \"os\"\n", iris(), backend.as_model());
    let gateway = Gateway::start(&config);
    for n in 0..10 {
        let header = format!("x-request-id: r{n}\r\n");
        gateway.request(&post("/v2/models/iris/infer", &header, IRIS_BODY));
        gateway.request(&post("/v2/models/m/infer", "", "a,\"b\"\r\nc"));
        gateway.request(&post("/nowhere", "", ""));
    }
    gateway.stop()
}

fn log(dir: &Path, arguments: &[&str]) -> Output {
    let models = format!("{CONFIG}{}", iris());
    run_in(dir, &[&["log"], arguments].concat(), &models)
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn rows(output: &Output) -> Vec<Value> {
    text(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn rows_are_found_by_every_filter() {
    let dir = recorded();
    let query = |filter: &[&str]| {
        rows(&log(dir.path(), &[&["query", "--format", "json"], filter].concat()))
    };
    assert_eq!(query(&[]).len(), 30);
    for (filter, count) in [
        (["--model", "iris"], 10),
        (["--status", "2xx"], 20),
        (["--status", "404"], 10),
        (["--outcome", "rejected"], 10),
        (["--kind", "inference"], 30),
        (["--kind", "gap"], 0),
        (["--request-id", "r3"], 1),
        (["--since", "1h"], 30),
        (["--until", "1h"], 0),
        (["--limit", "7"], 7),
        (["--where", "status = 404 or request_id in ('r1', 'r2')"], 12),
        (["--where", "path like '/v2/models/i%' and t_total > 0us"], 10),
    ] {
        assert_eq!(query(&filter).len(), count, "{filter:?}");
    }
    let one = &query(&["--request-id", "r5"])[0];
    let id = one["record_id"].as_str().unwrap();
    assert_eq!(&query(&["--id", id])[0], one);
    assert_eq!(one["req_body"], IRIS_BODY);
    let some = &query(&["--id", id, "--columns", "status,model"])[0];
    assert_eq!(*some, serde_json::json!({"status": 200, "model": "iris"}));
    assert_eq!(query(&["--id", "00000000-0000-7000-8000-000000000000"]).len(), 0);
}

#[test]
fn wrong_usage_is_told_with_its_place_and_exit_code_2() {
    let dir = recorded();
    for (arguments, part) in [
        (["query", "--where", "statsu = 1"], "did you mean `status`?"),
        (["query", "--status", "many"], "write `404`, `5xx` or `400-499`"),
        (["query", "--since", "yesterday"], "write `2026-01-31T12:00:00Z`"),
        (["query", "--columns", "modle"], "did you mean `model`?"),
        (["query", "--id", "x"], "a record id is a UUID"),
    ] {
        let output = log(dir.path(), &arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(part), "{message}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(log(empty.path(), &["query"]).status.code(), Some(1));
}

#[test]
fn csv_is_a_table_with_names_and_quotes() {
    let dir = recorded();
    let whole = text(&log(dir.path(), &["query", "--format", "csv"]));
    let mut csv = csv::Reader::from_reader(whole.as_bytes());
    let names = csv.headers().unwrap().clone();
    assert!(names.iter().any(|name| name == "t_total") && !names.iter().any(|n| n == "req_body"));
    assert_eq!(csv.records().map(Result::unwrap).count(), 30);
    let columns = ["query", "--format", "csv", "--model", "m", "--columns", "req_body,status"];
    let bodies = text(&log(dir.path(), &columns));
    let mut csv = csv::Reader::from_reader(bodies.as_bytes());
    let row = csv.records().next().unwrap().unwrap();
    assert_eq!((&row[0], &row[1]), ("a,\"b\"\r\nc", "200"));
}

#[test]
fn human_lines_have_no_bodies_and_tail_counts_what_matches() {
    let dir = recorded();
    let human = text(&log(dir.path(), &["query"]));
    assert_eq!(human.lines().count(), 30);
    assert!(!human.contains("inputs"));
    let tailed = log(dir.path(), &["tail", "-n", "3", "--model", "iris", "--format", "json"]);
    let ids: Vec<_> = rows(&tailed).iter().map(|row| row["request_id"].clone()).collect();
    assert_eq!(ids, ["r7", "r8", "r9"]);
}

fn segment(dir: &Path) -> PathBuf {
    let entries = std::fs::read_dir(dir.join("data/log")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    segments.sort();
    segments.remove(0)
}

#[test]
fn verify_is_clean_and_after_one_flipped_byte_names_segment_and_offset() {
    let dir = recorded();
    let clean = text(&log(dir.path(), &["verify"]));
    assert!(clean.contains("30 records") && clean.contains("no damage"), "{clean}");
    let segment = segment(dir.path());
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[700] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let output = log(dir.path(), &["verify"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    let name = segment.file_name().unwrap().to_string_lossy();
    assert!(told.contains(&format!("{name} at offset 512")), "{told}");
    let output = log(dir.path(), &["verify", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["damage"][0]["offset"], 512);
    assert_eq!(lines.last().unwrap()["damaged"], true);
}

#[test]
fn exports_and_totals_are_printed() {
    let dir = recorded();
    let out = dir.path().join("out");
    for (format, rows) in [("jsonl", 30), ("cloudevents", 30), ("sagemaker", 20), ("parquet", 30)] {
        let target = out.join(format);
        let target = target.to_str().unwrap();
        let told = text(&log(dir.path(), &["export", "--format", format, "--out", target]));
        assert!(told.starts_with(&format!("{rows} rows")), "{format}: {told}");
        let again = log(dir.path(), &["export", "--format", format, "--out", target]);
        assert_eq!(again.status.code(), Some(1), "nothing is replaced unasked");
    }
    let stats = rows(&log(dir.path(), &["stats", "--breakdown", "--format", "json"]));
    assert_eq!(stats[0]["records"], 30);
    let counts = stats[0]["breakdown"].as_array().unwrap();
    assert_eq!(counts.iter().map(|row| row["rows"].as_u64().unwrap()).sum::<u64>(), 30);
}

#[test]
fn commands_read_the_log_of_a_running_gateway() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&format!("{}[log]\ndurability = \"os\"\n", backend.as_model()));
    gateway.post("/v2/models/m/infer", "x");
    let file = gateway.dir.path().join("pointsman.toml");
    let config = std::fs::read_to_string(file).unwrap();
    for command in [&["query"][..], &["verify"], &["stats"], &["tail"]] {
        let output = run_in(gateway.dir.path(), &[&["log"], command].concat(), &config);
        assert!(output.status.success(), "{output:?}");
        assert!(!output.stdout.is_empty());
    }
}
