//! Long bodies that are inflated or translated: the worker has time for its other connections.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::post;
use crate::support::{Backend, Gateway, IRIS_BODY, iris};

const INFER: &str = "/v2/models/m/infer";
/// Values of a long body; some seconds of work for a build without optimisation.
const VALUES: usize = 1_000_000;

/// A backend of TensorFlow Serving that predicts `values` numbers, whatever it is asked.
fn predicting(values: usize) -> Backend {
    let body = format!("{{\"predictions\":[{}0.25]}}", "0.125,".repeat(values - 1));
    let reply = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    Backend::serving(reply)
}

/// A gateway of one worker with a model in process and one behind `backend`.
fn gateway(backend: &Backend) -> Gateway {
    let remote = backend.as_model();
    Gateway::start(&format!(
        "workers = 1\n{}{remote}dialect = \"tensorflow_serving\"\n[limits]\nbody = \"32MiB\"\n",
        iris()
    ))
}

fn long_request(values: usize) -> String {
    let data = format!("{}0.5", "0.0625,".repeat(values - 1));
    format!(r#"{{"inputs":[{{"name":"x","shape":[{values}],"datatype":"FP32","data":[{data}]}}]}}"#)
}

/// What short requests of one connection took while `long` was done.
fn beside(gateway: &Gateway, long: impl FnOnce()) -> (Duration, Vec<Duration>) {
    let done = Arc::new(AtomicBool::new(false));
    let short = std::thread::spawn({
        let (done, mut client) = (Arc::clone(&done), gateway.client());
        move || {
            let request = post("/v2/models/iris/infer", "", IRIS_BODY);
            let mut times = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let began = Instant::now();
                client.send(&request);
                assert_eq!(client.reply().status, 200);
                times.push(began.elapsed());
                std::thread::park_timeout(Duration::from_millis(2));
            }
            times
        }
    });
    let began = Instant::now();
    long();
    let took = began.elapsed();
    done.store(true, Ordering::Relaxed);
    (took, short.join().unwrap())
}

/// None of them may have waited for most of the long one, and most for none of it. All share the cores, so that
/// some wait for a part of it.
fn check((took, mut times): (Duration, Vec<Duration>), what: &str) {
    times.sort_unstable();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    eprintln!("{what}: {took:?}; {} beside it, median {median:?}, {slowest:?}", times.len());
    assert!(times.len() > 20 && median < took / 20, "{what}: {took:?}, {times:?}");
    assert!(slowest < took.mul_f64(0.6), "{what}: {took:?}, {times:?}");
}

#[test]
fn short_requests_do_not_wait_for_a_long_one_that_is_translated() {
    let backend = predicting(4);
    let gateway = gateway(&backend);
    let long = long_request(VALUES);
    let one = || {
        let reply = gateway.post(INFER, &long);
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    check(beside(&gateway, one), "a long request");
    let sent = backend.seen().pop().unwrap().body;
    assert!(sent.len() > 7 * (VALUES - 1) && sent.starts_with(b"{"), "{}", sent.len());
    assert_eq!(gateway.metric("pointsman_codec_running"), 0.0);
}

#[test]
fn short_requests_do_not_wait_for_a_long_answer_that_is_translated() {
    let backend = predicting(VALUES);
    let gateway = gateway(&backend);
    let one = || {
        let reply = gateway.post(INFER, &long_request(4));
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.json()["outputs"][0]["shape"][0], VALUES);
    };
    check(beside(&gateway, one), "a long answer");
}

#[test]
fn a_long_body_may_come_compressed() {
    let backend = predicting(4);
    let gateway = gateway(&backend);
    let plain = long_request(100_000);
    let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    coder.write_all(plain.as_bytes()).unwrap();
    let coded = coder.finish().unwrap();
    assert!(coded.len() < 16 * 1024, "{}: it is not known to be long", coded.len());
    for path in [INFER, "/v2/models/iris/infer"] {
        let mut client = gateway.client();
        client.send(&format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
            coded.len()
        ));
        client.send_bytes(&coded);
        let reply = client.reply();
        let expected = if path == INFER { 200 } else { 400 };
        assert_eq!(reply.status, expected, "{}", reply.text());
    }
}
