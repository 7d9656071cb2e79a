//! What is delivered over HTTP: everything that was acknowledged arrives, whatever the receiver and the
//! gateway do meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::backend::Connection;
use crate::support::client::post;
use crate::support::{Backend, Client, Gateway, eventually, nobody};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn config(backend: &Backend, url: &str, more: &str) -> String {
    format!(
        "{}[log]\ndurability = \"os\"\n[sinks.lake]\nhttp = \"{url}\"\nlinger = \"5ms\"\n\
         backoff = \"50ms\"\n{more}",
        backend.as_model()
    )
}

fn url(receiver: &Backend) -> String {
    format!("http://{}/events?from=test", receiver.address)
}

/// The events of all batches that a receiver saw, in order.
fn events(receiver: &Backend) -> Vec<Value> {
    let batches = receiver.seen();
    let parse = |body: &[u8]| serde_json::from_slice::<Vec<Value>>(body).unwrap();
    batches.iter().flat_map(|request| parse(&request.body)).collect()
}

/// The ids of exchanges whose request and response have both arrived.
fn delivered(receiver: &Backend) -> BTreeSet<String> {
    let mut types: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in events(receiver) {
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        types.entry(text("id")).or_default().insert(text("type"));
    }
    types.into_iter().filter(|(_, types)| types.len() == 2).map(|(id, _)| id).collect()
}

/// Sends predictions and returns their ids.
fn predict(gateway: &Gateway, count: usize) -> BTreeSet<String> {
    let mut client = gateway.client();
    let predict = |_| {
        client.send(&post("/v2/models/m/infer", "content-type: application/json\r\n", "{\"x\":1}"));
        client.reply().header("x-prediction-id").unwrap().to_owned()
    };
    (0..count).map(predict).collect()
}

fn wait_for(receiver: &Backend, wanted: &BTreeSet<String>) {
    eventually("everything arrives", || wanted.is_subset(&delivered(receiver)).then_some(()));
}

/// A receiver that answers the first attempts by `script`, and takes the rest.
fn receiver(script: impl Fn(usize, &mut Connection) -> bool + Send + Sync + 'static) -> Backend {
    let attempts = Arc::new(AtomicUsize::new(0));
    Backend::script(move |connection| {
        while connection.request().is_some() {
            if !script(attempts.fetch_add(1, Ordering::SeqCst), connection) {
                return;
            }
        }
    })
}

#[test]
fn batches_are_cloudevents_with_the_headers_that_were_asked_for() {
    let (backend, receiver) = (Backend::echo(), Backend::replying(OK));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "Bearer token-1").unwrap();
    let more = "authorization = \"${file:token}\"\n";
    let gateway = Gateway::start_in(dir, &config(&backend, &url(&receiver), more));
    let ids = predict(&gateway, 20);
    wait_for(&receiver, &ids);
    let batches = receiver.seen();
    assert_eq!(batches[0].line(), "POST /events?from=test HTTP/1.1");
    let kind = batches[0].header("content-type").unwrap();
    assert!(kind.starts_with("application/cloudevents-batch+json"), "{kind}");
    assert_eq!(batches[0].header("authorization"), Some("Bearer token-1"));
    assert_eq!(receiver.connections(), 1, "kept open");
    let all = events(&receiver);
    assert_eq!(all.len(), 40, "two for each exchange");
    assert_eq!(all[0]["type"], "org.kubeflow.serving.inference.request");
    assert_eq!(all[1]["type"], "org.kubeflow.serving.inference.response");
    assert_eq!(all[0]["inferenceservicename"], "m");
    assert_eq!(all[0]["data"], serde_json::json!({"x": 1}));
    eventually("the lag is gone", || {
        (gateway.metric("pointsman_sink_lag_records{sink=\"lake\"}") == 0.0).then_some(())
    });
    gateway.metric_is("pointsman_sink_records_total{sink=\"lake\"}", 20.0);
    gateway.metric_is("pointsman_sink_up{sink=\"lake\"}", 1.0);
    let mut client = Client::connect(gateway.admin);
    client.send("GET /api/v1/status HTTP/1.1\r\nhost: a\r\n\r\n");
    let status = client.reply_to("GET").json();
    assert_eq!(status["sinks"]["lake"]["delivered"], 20, "{status}");
    assert!(!gateway.log().contains("token-1"));
}

#[test]
fn failures_delays_and_broken_connections_lose_nothing() {
    let backend = Backend::echo();
    let receiver = receiver(|attempt, connection| {
        match attempt {
            0 => connection.send("HTTP/1.1 500 No\r\ncontent-length: 3\r\n\r\nbad"),
            // Closed without an answer.
            1 => return false,
            2 => {
                connection.send("HTTP/1.1 429 Wait\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n");
            }
            // Longer than the timeout.
            3 => connection.wait_for_close(),
            // An answer without an end.
            4 => connection.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n"),
            5 => connection.send("HTTP/1.1 401 Who\r\ncontent-length: 0\r\n\r\n"),
            _ => connection.send(OK),
        }
        !matches!(attempt, 3 | 4)
    });
    let gateway = Gateway::start(&config(&backend, &url(&receiver), "timeout = \"300ms\"\n"));
    let began = Instant::now();
    let ids = predict(&gateway, 50);
    wait_for(&receiver, &ids);
    eventually("it has caught up", || {
        (gateway.metric("pointsman_sink_lag_records{sink=\"lake\"}") == 0.0).then_some(())
    });
    assert!(began.elapsed() >= Duration::from_secs(1), "Retry-After was not heeded");
    for reason in ["failed", "busy", "timeout"] {
        let series = format!("pointsman_sink_failures_total{{sink=\"lake\",reason=\"{reason}\"}}");
        assert!(gateway.metric(&series) >= 1.0, "{reason}");
    }
    assert_eq!(gateway.metric("pointsman_sink_rejected_records_total{sink=\"lake\"}"), 0.0);
    gateway.stop();
}

#[test]
fn a_record_that_is_refused_is_left_out_and_said_so_in_the_log() {
    let backend = Backend::echo();
    let receiver = Backend::script(|connection| {
        while let Some(request) = connection.request() {
            let text = String::from_utf8(request.body).unwrap();
            let answer = match text.contains("poison") {
                true => "HTTP/1.1 422 No\r\ncontent-length: 0\r\n\r\n",
                false => OK,
            };
            connection.send(answer);
        }
    });
    let gateway = Gateway::start(&config(&backend, &url(&receiver), ""));
    let mut ids = predict(&gateway, 10);
    gateway.post("/v2/models/m/infer", "poison");
    ids.extend(predict(&gateway, 10));
    wait_for(&receiver, &ids);
    let rejected = || gateway.metric("pointsman_sink_rejected_records_total{sink=\"lake\"}");
    eventually("the refused one is counted", || (rejected() == 1.0).then_some(()));
    let rows = eventually("the gap row", || {
        let rows = gateway.records();
        rows.iter().any(|row| row["kind"] == "gap").then_some(rows)
    });
    let gap = rows.iter().find(|row| row["kind"] == "gap").unwrap();
    assert!(gap.to_string().contains("rejected") && gap.to_string().contains("lake"), "{gap}");
    gateway.stop();
}

#[test]
fn everything_acknowledged_arrives_though_the_receiver_is_away_and_the_gateway_is_killed() {
    let backend = Backend::echo();
    let nobody_yet = nobody();
    let config = config(&backend, &format!("http://{}/", nobody_yet.address), "batch = 7\n");
    let gateway = Gateway::start(&config);
    let mut wanted = predict(&gateway, 100);
    eventually("the sink is down", || {
        (gateway.metric("pointsman_sink_up{sink=\"lake\"}") == 0.0).then_some(())
    });
    gateway.metric_reaches("pointsman_sink_lag_records{sink=\"lake\"}", 100.0);
    let mut dir = gateway.kill();
    let receiver = Backend::replying_at(nobody_yet.leave(), OK);
    for _ in 0..3 {
        let gateway = Gateway::start_in(dir, &config);
        wanted.extend(predict(&gateway, 60));
        // In the middle of the delivery.
        dir = gateway.kill();
    }
    let gateway = Gateway::start_in(dir, &config);
    wait_for(&receiver, &wanted);
    gateway.stop();
}
