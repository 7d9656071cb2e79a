//! Requests that run together are answered as if each had run alone.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::onnx::{cubes, layers, pictures};
use crate::support::{Client, Gateway, client, eventually};

const INFER: &str = "/v2/models/net/infer";

/// A gateway with a model whose answer is its input shifted by its layers, on the executor.
fn gateway(settings: &str) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("net.onnx"), layers(64, 3)).unwrap();
    let config = format!(
        "[models.net]\nexecution = {{ inline_below = \"0s\", queue = 64 }}\n\
         [models.net.versions.v1]\nonnx = \"net.onnx\"\n{settings}"
    );
    Gateway::start_in(dir, &config)
}

fn body(id: &str, rows: usize, hot: usize) -> String {
    let data: Vec<u8> =
        (0..rows * 64).map(|at| u8::from(at % 64 == (hot + at / 64) % 64)).collect();
    let input = json!({ "name": "h0", "shape": [rows, 64], "datatype": "FP32", "data": data });
    json!({ "id": id, "inputs": [input] }).to_string()
}

/// Where the ones of an answer are, one for each row.
fn hot(answer: &Value) -> Vec<usize> {
    let data = answer["outputs"][0]["data"].as_array().unwrap();
    let rows = data.chunks(64);
    rows.map(|row| row.iter().position(|value| value.as_f64() == Some(1.0)).unwrap()).collect()
}

#[test]
fn many_clients_share_batches_and_each_gets_its_own_answer() {
    let gateway = gateway("batch = { max_size = 8, max_delay = \"20ms\" }\n");
    // The layers shift by 0, 1 and 2.
    let shift = |hot: usize| (hot + 64 - 3) % 64;
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut client = gateway.client();
                for round in 0..20 {
                    let (id, rows) = (format!("{caller}-{round}"), 1 + (caller + round) % 3);
                    client.send(&client::post(INFER, "", &body(&id, rows, caller * 7 + round)));
                    let reply = client.reply();
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    let answer = reply.json();
                    assert_eq!(answer["id"], id.as_str());
                    let expected: Vec<usize> =
                        (0..rows).map(|row| shift(caller * 7 + round + row)).collect();
                    assert_eq!(hot(&answer), expected, "{id}");
                }
            });
        }
    });
    let labels = "{model=\"net\",version=\"v1\"}";
    let batches = gateway.metric(&format!("pointsman_batch_rows_count{labels}"));
    let rows = gateway.metric(&format!("pointsman_batch_rows_sum{labels}"));
    assert!(batches < 160.0 && rows > 160.0, "{batches} batches of {rows} rows");
    let below = "pointsman_batch_rows_bucket{model=\"net\",version=\"v1\",le=\"8\"}";
    assert_eq!(gateway.metric(below).to_bits(), batches.to_bits(), "none is larger than asked");
    let records = gateway.wait_for_records(160);
    assert!(
        records.iter().all(|record| record["t_queue"].is_u64() && record["batch_size"].is_u64())
    );
}

#[test]
fn a_client_that_leaves_is_not_run_and_bad_input_hurts_no_one() {
    let gateway = gateway("batch = { max_size = 64, max_delay = \"300ms\" }\n");
    let mut leaving = gateway.client();
    leaving.send(&client::post(INFER, "", &body("gone", 1, 0)));
    eventually("the request waits", || {
        (gateway.metric("pointsman_executor_queued") > 0.0).then_some(())
    });
    leaving.close();
    let mut staying = gateway.client();
    staying.send(&client::post(INFER, "", &body("stays", 1, 5)));
    let wrong = body("wrong", 1, 0).replace("[1,64]", "[2,32]");
    let refused = gateway.post(INFER, &wrong);
    assert_eq!((refused.status, refused.error()), (400, "bad_input"), "{}", refused.text());
    let answer = staying.reply();
    assert_eq!((answer.status, answer.json()["id"].as_str()), (200, Some("stays")));
    let rows = "pointsman_batch_rows_sum{model=\"net\",version=\"v1\"}";
    assert_eq!(gateway.metric(rows).to_bits(), 1f64.to_bits(), "the one that left is not run");
    let abandoned = "pointsman_executor_refused_total{reason=\"abandoned\"}";
    assert_eq!(gateway.metric(abandoned).to_bits(), 1f64.to_bits());
}

#[test]
fn a_large_body_is_answered_like_a_small_one() {
    let gateway = gateway("batch = { max_size = 300, max_delay = \"1ms\" }\n");
    let large = body("large", 200, 9);
    assert!(large.len() > 16 * 1024, "too large to be decoded on a worker");
    let reply = gateway.post(INFER, &large);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let expected: Vec<usize> = (0..200).map(|row| (9 + row + 64 - 3) % 64).collect();
    assert_eq!(hot(&reply.json()), expected);
    let wrong = gateway.post(INFER, &large.replace("FP32", "INT8"));
    assert_eq!((wrong.status, wrong.error()), (400, "bad_input"), "{}", wrong.text());
}

#[test]
fn a_request_that_cannot_wait_so_long_is_told() {
    let gateway = gateway(
        "batch = { max_size = 64, max_delay = \"1s\" }\n[limits]\nrequest_time = \"200ms\"\n",
    );
    let reply = gateway.post(INFER, &body("late", 1, 0));
    assert!(matches!(reply.status, 503 | 504), "{} {}", reply.status, reply.text());
}

#[test]
fn a_queue_has_an_end() {
    let gateway = gateway("batch = { max_size = 1000, max_delay = \"1s\" }\n");
    let mut clients: Vec<Client> = (0..80).map(|_| gateway.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&client::post(INFER, "", &body(&number.to_string(), 1, number)));
    }
    let statuses: Vec<u16> = clients.iter_mut().map(|client| client.reply().status).collect();
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(200), count(503)), (64, 16), "{statuses:?}");
}

/// So many pictures whose points all have the number of the picture, and how large they become.
fn numbered(rows: usize, first: usize) -> (String, Vec<f64>) {
    let points = |count: usize| (0..rows * count).map(move |at| (first + at / count) as f64);
    let data: Vec<f64> = points(6).collect();
    let input = json!({ "name": "x", "shape": [rows, 1, 2, 3], "datatype": "FP32", "data": data });
    (json!({ "inputs": [input] }).to_string(), points(24).collect())
}

#[test]
fn a_model_with_plans_for_certain_sizes_takes_all_of_them_together_too() {
    for batch in ["", "batch = { max_size = 16, max_delay = \"5ms\" }\n"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("net.onnx"), pictures()).unwrap();
        let config = format!("[models.net.versions.v1]\nonnx = \"net.onnx\"\n{batch}");
        let gateway = Gateway::start_in(dir, &config);
        let metadata = gateway.request("GET /v2/models/net HTTP/1.1\r\nhost: a\r\n\r\n").json();
        assert_eq!(metadata["outputs"][0]["shape"], json!([-1, 1, 4, 6]));
        std::thread::scope(|scope| {
            for caller in 0..4 {
                let gateway = &gateway;
                scope.spawn(move || {
                    for rows in [1, 2, 3, 8, 5, 33, 100] {
                        let (body, expected) = numbered(rows, caller * 1000);
                        let reply = gateway.post(INFER, &body);
                        assert_eq!(reply.status, 200, "{rows}: {}", reply.text());
                        let answer = reply.json();
                        let found = answer["outputs"][0]["data"].as_array().unwrap();
                        let found: Vec<f64> = found.iter().filter_map(Value::as_f64).collect();
                        assert_eq!(found, expected, "{rows} rows of caller {caller}");
                    }
                });
            }
        });
        let labels = "{model=\"net\",version=\"v1\"}";
        eventually("larger parts are made", || {
            let made = gateway.metric(&format!("pointsman_model_plans_made_total{labels}"));
            (made >= 1.0).then_some(())
        });
        let plans = gateway.metric(&format!("pointsman_model_plans{labels}"));
        let waits = gateway.metric(&format!("pointsman_model_plan_waits_total{labels}"));
        assert!(plans <= 8.0, "{plans} plans");
        assert_eq!(waits.to_bits(), 0f64.to_bits(), "parts of one row and of two are always there");
        assert_eq!(gateway.metric("pointsman_executor_panics_total").to_bits(), 0f64.to_bits());
    }
}

#[test]
fn other_models_are_answered_while_plans_are_made() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("slow.onnx"), cubes()).unwrap();
    std::fs::write(dir.path().join("net.onnx"), layers(64, 1)).unwrap();
    let models = ["slow", "net"].map(|name| {
        format!(
            "[models.{name}]\nexecution = {{ inline_below = \"0s\" }}\n\
             [models.{name}.versions.v1]\nonnx = \"{name}.onnx\"\n"
        )
    });
    let gateway = Gateway::start_in(dir, &format!("[inference]\nthreads = 1\n{}", models.concat()));
    let row = |length: usize| {
        let input = json!({ "name": "x", "shape": [1, length], "datatype": "FP32", "data": vec![1; length] });
        json!({ "inputs": [input] }).to_string()
    };
    let rows = json!({ "name": "h0", "shape": [1, 64], "datatype": "FP32", "data": vec![1; 64] });
    let other = json!({ "inputs": [rows] }).to_string();
    std::thread::scope(|scope| {
        let slow: Vec<_> = [230, 240]
            .into_iter()
            .map(|length| {
                let gateway = &gateway;
                let body = row(length);
                scope.spawn(move || gateway.post("/v2/models/slow/infer", &body).status)
            })
            .collect();
        let labels = "{model=\"slow\",version=\"v1\"}";
        eventually("they wait for plans", || {
            let waits = gateway.metric(&format!("pointsman_model_plan_waits_total{labels}"));
            (waits >= 2.0).then_some(())
        });
        let mut answered = 0;
        while !slow.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let began = Instant::now();
            assert_eq!(gateway.post(INFER, &other).status, 200);
            assert!(began.elapsed() < Duration::from_secs(2), "{answered} were answered");
            answered += 1;
        }
        assert!(answered > 3, "plans were made meanwhile");
        assert!(slow.into_iter().all(|slow| slow.join().unwrap() == 200));
    });
    let made = gateway.metric("pointsman_model_plans_made_total{model=\"slow\",version=\"v1\"}");
    assert!(made >= 2.0);
}
