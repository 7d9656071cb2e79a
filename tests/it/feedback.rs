//! Feedback through the real gateway: each item is answered for what became of it, what was accepted is
//! in the log, and nothing is kept twice, however often and from wherever it is sent.

use std::collections::BTreeSet;
use std::path::Path;

use pointsman::domain::record::Entry;
use pointsman::prediction_log::{Item, LogReader, log_dir};
use serde_json::{Value, json};

use crate::support::client::post;
use crate::support::{Gateway, IRIS_BODY, eventually, iris};

const NDJSON: &str = "content-type: application/x-ndjson\r\n";

fn config(more: &str) -> String {
    format!("{}[log]\nfeedback_key = \"header:x-order\"\n{more}", iris())
}

/// Makes a prediction; returns its id.
fn predict(gateway: &Gateway, headers: &str) -> String {
    let reply = gateway.request(&post("/v2/models/iris/infer", headers, IRIS_BODY));
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.header("x-prediction-id").unwrap().to_owned()
}

/// Sends JSON feedback; returns the answer.
fn send(gateway: &Gateway, body: &Value) -> Value {
    let reply = gateway.post("/v1/feedback", &body.to_string());
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

fn status(answer: &Value) -> &str {
    answer["status"].as_str().unwrap()
}

/// The statuses of an array of answers, which must stand in order.
fn statuses(answers: &Value) -> Vec<&str> {
    let answers = answers.as_array().unwrap();
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(answer["index"], index, "{answers:?}");
    }
    answers.iter().map(status).collect()
}

/// The label, or the id, of every feedback row in the log.
fn rows(data_dir: &Path) -> Vec<(String, String)> {
    let mut reader = LogReader::open(&log_dir(data_dir)).unwrap();
    let mut rows = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        if let Item::Row(row) = item
            && let Entry::Feedback(record) = row.entry
        {
            let label = record.label.unwrap_or_default().to_owned();
            rows.push((record.record_id.to_string(), label));
        }
    }
    rows
}

#[test]
fn every_item_is_answered_for_what_became_of_it() {
    let gateway = Gateway::start(&config(""));
    let id = predict(&gateway, "x-request-id: r-1\r\nx-order: o-1\r\n");
    let by_id = json!({ "prediction_id": id, "label": "setosa" });
    let first = send(&gateway, &by_id);
    assert_eq!((status(&first), &first["index"]), ("accepted", &json!(0)));
    let again = send(&gateway, &by_id);
    assert_eq!((status(&again), &again["record_id"]), ("duplicate", &first["record_id"]));
    let uuid4 = "f81d4fae-7dec-41d0-a765-00a0c91e6bf6";
    let answers = send(
        &gateway,
        &json!([
            { "prediction_id": id, "label": "virginica" },
            { "prediction_id": id, "metric": "clicked", "value": 1 },
            { "prediction_id": id, "label": "setosa", "source": "another" },
            { "prediction_id": id, "retract": true },
            { "request_id": "r-1", "label": 7 },
            { "feedback_key": "o-1", "label": true },
            { "feedback_key": "o-1", "label": true },
            { "feedback_key": "o-2", "label": true },
            { "prediction_id": "not an id", "label": "x" },
            { "prediction_id": uuid4, "label": "x" },
            { "prediction_id": "7fffffff-ffff-7fff-bfff-ffffffffffff", "label": "x" },
            { "prediction_id": id },
            7,
        ]),
    );
    let expected = [
        "replaced",
        "accepted",
        "accepted",
        "replaced",
        "accepted",
        "accepted",
        "duplicate",
        "pending",
        "unknown",
        "unknown",
        "unknown",
        "invalid",
        "invalid",
    ];
    assert_eq!(statuses(&answers), expected, "{answers:#}");
    assert!(answers[11]["error"].as_str().unwrap().contains("retract"));
    assert_eq!(answers[8].get("record_id"), None);
    let counted = |status: &str| {
        gateway.metric(&format!("pointsman_feedback_items_total{{status=\"{status}\"}}"))
    };
    assert_eq!((counted("accepted"), counted("duplicate"), counted("unknown")), (5.0, 2.0, 3.0));
    gateway.metric_reaches("pointsman_feedback_names", 1.0);
    let dir = gateway.stop();
    let kept: BTreeSet<String> =
        rows(&dir.path().join("data")).into_iter().map(|row| row.0).collect();
    let mut told: BTreeSet<String> = [&first]
        .into_iter()
        .chain(answers.as_array().unwrap())
        .filter_map(|answer| Some(answer["record_id"].as_str()?.to_owned()))
        .collect();
    told.insert(first["record_id"].as_str().unwrap().to_owned());
    assert_eq!(kept, told, "what was answered as kept is in the log, and nothing else");
}

#[test]
fn lines_are_answered_line_by_line() {
    let gateway = Gateway::start(&config(""));
    let id = predict(&gateway, "");
    let body = format!("{{\"prediction_id\":\"{id}\",\"label\":\"a\"}}\n\n{{broken\n");
    let reply = gateway.request(&post("/v1/feedback", NDJSON, &body));
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/x-ndjson")));
    let text = reply.text();
    let answers: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(statuses(&answers.into()), ["accepted", "invalid"]);
}

#[test]
fn bodies_that_cannot_be_read_are_refused_and_none_of_it_is_a_prediction() {
    let gateway = Gateway::start(&config("[feedback]\nbody = \"1KiB\"\n"));
    let refused = |text: &str, status: u16, reason: &str| {
        let reply = gateway.request(text);
        assert_eq!((reply.status, reply.error()), (status, reason), "{}", reply.text());
    };
    refused(&post("/v1/feedback", "", "{"), 400, "bad_input");
    refused(&post("/v1/feedback", "", "7"), 400, "bad_input");
    refused(&post("/v1/feedback", "content-type: text/plain\r\n", "{}"), 400, "bad_input");
    refused(&post("/v1/feedback", "content-encoding: gzip\r\n", "{}"), 415, "unsupported_encoding");
    refused(&post("/v1/feedback", "", &" ".repeat(2000)), 413, "body_too_large");
    let reply = gateway.request(&post("/v1/feedback", "", &" ".repeat(2000)));
    assert!(reply.text().contains("1024 bytes, which `feedback.body`"), "{}", reply.text());
    refused("GET /v1/feedback HTTP/1.1\r\nhost: a\r\n\r\n", 405, "method_not_allowed");
    let dir = gateway.stop();
    assert_eq!(crate::support::gateway::records(dir.path()), Vec::<Value>::new());
}

#[test]
fn the_smaller_of_two_bounds_counts_and_is_named() {
    let gateway = Gateway::start(&config("[limits]\nbody = \"2KiB\"\n"));
    let long = " ".repeat(3000);
    let chunked = format!(
        "POST /v1/feedback HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nbb8\r\n{long}\r\n0\r\n\r\n"
    );
    for request in [post("/v1/feedback", "", &long), chunked] {
        let reply = gateway.request(&request);
        assert_eq!((reply.status, reply.error()), (413, "body_too_large"));
        assert!(reply.text().contains("2048 bytes, which `limits.body`"), "{}", reply.text());
    }
}

#[test]
fn where_nothing_is_recorded_feedback_is_refused() {
    let gateway = Gateway::start(&format!("{}[log]\ndurability = \"off\"\n", iris()));
    let reply = gateway.post("/v1/feedback", r#"{"feedback_key": "a", "label": "x"}"#);
    assert_eq!((reply.status, reply.error()), (503, "feedback_unavailable"), "{}", reply.text());
}

#[test]
fn feedback_beyond_the_window_is_kept_as_late() {
    let gateway = Gateway::start(&config("[feedback]\nwindow = \"1ms\"\n"));
    let id = predict(&gateway, "");
    let mut labels = 0..;
    let answer = eventually("a prediction older than a millisecond", || {
        let answer = send(&gateway, &json!({ "prediction_id": id, "label": labels.next() }));
        (status(&answer) == "late").then_some(answer)
    });
    assert!(answer["record_id"].is_string(), "{answer}");
}

#[test]
fn what_is_known_survives_kill_9_and_a_restart() {
    let config = config("");
    let gateway = Gateway::start(&config);
    let id = predict(&gateway, "x-order: o-1\r\n");
    let own = json!({ "feedback_key": "o-1", "label": "a", "id": "own-1" });
    let other = json!({ "prediction_id": id, "label": "b" });
    let early = json!({ "feedback_key": "o-9", "label": "c" });
    let before = send(&gateway, &json!([own, other, early]));
    assert_eq!(statuses(&before), ["accepted", "accepted", "pending"]);
    let gateway = Gateway::start_in(gateway.kill(), &config);
    predict(&gateway, "x-order: o-9\r\n");
    let more = json!({ "feedback_key": "o-9", "label": "d" });
    let after = send(&gateway, &json!([own, other, early, more]));
    assert_eq!(statuses(&after), ["duplicate", "duplicate", "duplicate", "replaced"]);
    for index in 0..3 {
        assert_eq!(before[index]["record_id"], after[index]["record_id"]);
    }
    let answer = send(&gateway, &json!({ "feedback_key": "o-9", "metric": "late", "value": 2.5 }));
    assert_eq!(status(&answer), "accepted", "its prediction was made after the first feedback");
    let dir = gateway.stop();
    assert_eq!(rows(&dir.path().join("data")).len(), 5);
}

#[test]
fn what_is_sent_by_many_at_once_is_kept_once() {
    let gateway = Gateway::start(&config("durability = \"os\"\n"));
    let id = predict(&gateway, "");
    let items: Vec<Value> = (0..50)
        .map(|n| json!({ "prediction_id": id, "metric": format!("m{n}"), "label": "x" }))
        .collect();
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let threads = (0..8).map(|thread| {
            let (gateway, mut items) = (&gateway, items.clone());
            // Some send them in the other order: nobody may wait for one who waits for him.
            if thread % 2 == 0 {
                items.reverse();
            }
            scope.spawn(move || send(gateway, &items.into()))
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let all: Vec<&str> = answers.iter().flat_map(statuses).collect();
    assert_eq!(all.iter().filter(|status| **status == "accepted").count(), 50);
    assert_eq!(all.iter().filter(|status| **status == "duplicate").count(), 350);
    let dir = gateway.stop();
    assert_eq!(rows(&dir.path().join("data")).len(), 50);
}

/// The segment with the first record is gone once it is converted and others follow it.
fn has_first_segment(data_dir: &Path) -> bool {
    log_dir(data_dir).join(format!("{:020}.seg", 1)).exists()
}

#[test]
fn what_is_known_survives_the_removal_of_segments() {
    let config = config("");
    let gateway = Gateway::start(&config);
    let id = predict(&gateway, "x-request-id: r-1\r\nx-order: o-1\r\n");
    let other = predict(&gateway, "");
    let told = json!([
        { "prediction_id": id, "label": "a" },
        { "request_id": "r-1", "label": "b" },
        { "feedback_key": "o-1", "label": "c", "id": "own-1" },
        { "feedback_key": "o-9", "value": 0.5, "source": "s" },
    ]);
    let before = send(&gateway, &told);
    assert_eq!(statuses(&before), ["accepted", "accepted", "accepted", "pending"]);
    let mut dir = gateway.stop();
    for _ in 0..2 {
        let gateway = Gateway::start_in(dir, &config);
        predict(&gateway, "");
        dir = gateway.stop();
    }
    let gateway = Gateway::start_in(dir, &config);
    eventually("what was told is in Parquet files only", || {
        predict(&gateway, "");
        (!has_first_segment(&gateway.dir.path().join("data"))).then_some(())
    });
    let after = send(&gateway, &told);
    assert_eq!(statuses(&after), ["duplicate"; 4]);
    for index in 0..4 {
        assert_eq!(before[index]["record_id"], after[index]["record_id"]);
    }
    let more = json!([
        { "prediction_id": other, "label": "a" },
        { "request_id": other, "label": "b" },
        { "prediction_id": id, "label": "d" },
        { "feedback_key": "o-1", "metric": "clicked", "value": 1 },
    ]);
    assert_eq!(
        statuses(&send(&gateway, &more)),
        ["accepted", "accepted", "replaced", "accepted"],
        "predictions of before are known"
    );
}

/// Rows are converted and their segments removed while the index follows the log.
#[test]
fn nothing_is_missed_while_segments_become_parquet_files() {
    let gateway = Gateway::start(&config("segment_age = \"1s\"\n"));
    let mut told = Vec::new();
    send(&gateway, &json!({ "feedback_key": "first", "label": "starts the index" }));
    for round in 1..=3 {
        let key = format!("o-{round}");
        let id = predict(&gateway, &format!("x-order: {key}\r\n"));
        eventually("a segment was converted", || {
            (gateway.metric("pointsman_parquet_segments_total") >= f64::from(round)).then_some(())
        });
        let items = [
            json!({ "prediction_id": id, "label": "x" }),
            json!({ "feedback_key": key, "label": "y" }),
        ];
        assert_eq!(statuses(&send(&gateway, &items.to_vec().into())), ["accepted"; 2]);
        told.extend(items);
    }
    assert_eq!(statuses(&send(&gateway, &told.into())), ["duplicate"; 6]);
}

/// More than the queue holds at once: with patience all of it is kept.
#[test]
fn many_statements_wait_for_room() {
    let more = "queue = \"1MiB\"\nblock = \"10s\"\n[feedback]\nbody = \"32MiB\"\n";
    let gateway = Gateway::start(&config(more));
    let item = |n: usize| {
        let label = format!("{n}-{}", "x".repeat(60 * 1024));
        json!({ "feedback_key": "o-1", "metric": format!("m{n}"), "label": label })
    };
    let items: Value = (0..100).map(item).collect::<Vec<_>>().into();
    assert_eq!(statuses(&send(&gateway, &items)), ["pending"; 100]);
    assert_eq!(statuses(&send(&gateway, &items)), ["duplicate"; 100]);
    let dir = gateway.stop();
    assert_eq!(rows(&dir.path().join("data")).len(), 100);
}

/// What cannot be written is named, what was kept keeps its answer, and all of it can be sent again.
#[test]
fn a_statement_that_is_lost_is_named() {
    let gateway = Gateway::start(&config("segment = \"1MiB\"\nblock = \"10ms\"\n"));
    let item = |n: usize| {
        let label = format!("{n}-{}", "x".repeat(60 * 1024));
        json!({ "feedback_key": "o-1", "metric": format!("m{n}"), "label": label })
    };
    let kept = send(&gateway, &item(0));
    // Deleting the directory of a running gateway makes its next segment fail.
    let log = log_dir(&gateway.dir.path().join("data"));
    std::fs::remove_dir_all(&log).unwrap();
    let post = |body: &Value| gateway.post("/v1/feedback", &body.to_string());
    let lost = (1..60).find(|n| post(&item(*n)).status == 503).expect("the next segment fails");
    let both = json!([item(0), item(lost), { "feedback_key": "o-1" }]);
    let reply = post(&both);
    assert_eq!((reply.status, reply.error()), (503, "feedback_unavailable"));
    let answers = reply.json();
    assert_eq!(statuses(&answers), ["duplicate", "lost", "invalid"]);
    assert_eq!(answers[0]["record_id"], kept["record_id"]);
    assert!(answers[1]["error"].as_str().unwrap().contains("again"));
    assert_eq!(answers[1].get("record_id"), None);
    gateway.metric_reaches("pointsman_feedback_items_total{status=\"lost\"}", 1.0);
    std::fs::create_dir(&log).unwrap();
    let answers = eventually("the log can be written again", || {
        let reply = post(&both);
        (reply.status == 200).then(|| reply.json())
    });
    assert_eq!(answers[0]["status"], "duplicate");
    assert_eq!(answers[1]["status"], "pending");
}
