//! The log holds exactly one record of every request, whichever way it and the gateway end.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::support::client::post;
use crate::support::gateway::records;
use crate::support::{Backend, Client, Gateway, IRIS_BODY, iris};

/// Sends requests of every kind from four connections; returns the ids that were answered.
fn load(gateway: &Gateway, rounds: usize) -> BTreeSet<String> {
    let answered = Arc::new(Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let answered = Arc::clone(&answered);
            let address = gateway.data;
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for round in 0..rounds {
                    let id = format!("t{thread}-r{round}");
                    let header = format!("x-request-id: {id}\r\n");
                    client.send(&match round % 4 {
                        0 => post("/v2/models/iris/infer", &header, IRIS_BODY),
                        1 => post("/v2/models/m/infer", &header, "proxied"),
                        2 => post("/v2/models/iris/infer", &header, "not json"),
                        _ => post("/nowhere", &header, ""),
                    });
                    let Some(reply) = client.try_reply("POST") else { return };
                    assert_eq!(reply.header("x-request-id"), Some(id.as_str()));
                    answered.lock().insert(id);
                }
            });
        }
    });
    Arc::into_inner(answered).unwrap().into_inner()
}

fn config(backend: &Backend, durability: &str) -> String {
    format!("{}{}[log]\ndurability = \"{durability}\"\n", iris(), backend.as_model())
}

fn request_ids(dir: &std::path::Path) -> Vec<String> {
    let records = records(dir);
    records.iter().map(|record| record["request_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn after_a_drain_there_is_one_record_for_each_request() {
    for durability in ["async", "os", "sync"] {
        let backend = Backend::echo();
        let gateway = Gateway::start(&config(&backend, durability));
        let answered = load(&gateway, 100);
        assert_eq!(answered.len(), 400);
        let dir = gateway.stop();
        let ids = request_ids(dir.path());
        assert_eq!(ids.len(), 400, "{durability}: exactly one each");
        assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), answered, "{durability}");
    }
}

#[test]
fn no_acknowledged_record_is_lost_to_kill_9_in_os_mode() {
    let backend = Backend::echo();
    let config = config(&backend, "os");
    let mut dir = tempfile::tempdir().unwrap();
    let mut known = 0;
    for round in 0..5 {
        let gateway = Gateway::start_in(dir, &config);
        let address = gateway.data;
        let answered = Arc::new(Mutex::new(Vec::new()));
        let ledger = Arc::clone(&answered);
        let client = std::thread::spawn(move || {
            let mut client = Client::connect(address);
            for n in 0.. {
                let id = format!("k{round}-{n}");
                client.send(&post("/v2/models/m/infer", &format!("x-request-id: {id}\r\n"), "x"));
                match client.try_reply("POST") {
                    Some(reply) if !reply.cut => ledger.lock().push(id),
                    _ => return,
                }
            }
        });
        crate::support::eventually("some predictions are answered", || {
            (answered.lock().len() > 50 + 37 * round).then_some(())
        });
        dir = gateway.kill();
        client.join().unwrap();
        let ids: Vec<String> = request_ids(dir.path());
        let found: BTreeSet<_> = ids.iter().cloned().collect();
        assert_eq!(ids.len(), found.len(), "no record stands twice");
        for id in answered.lock().iter() {
            assert!(found.contains(id), "{id} was acknowledged and is gone");
        }
        assert!(ids.len() > known, "earlier records are kept");
        known = ids.len();
    }
}

#[test]
fn what_is_received_is_written_or_counted() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config(&backend, "async"));
    load(&gateway, 50);
    gateway.wait_for_records(200);
    let metric = |name: &str| gateway.metric(&format!("pointsman_log_records_{name}_total"));
    let reasons = ["queue_full", "too_large", "no_space", "io", "closed"];
    let dropped: f64 = reasons
        .iter()
        .map(|reason| {
            gateway.metric(&format!("pointsman_log_records_dropped_total{{reason=\"{reason}\"}}"))
        })
        .sum();
    assert_eq!(metric("received"), 200.0);
    assert_eq!(metric("written") + dropped, 200.0);
}

#[test]
fn bodies_are_text_or_marked_base64_and_headers_are_left_out_unless_asked_for() {
    let backend = Backend::echo();
    let config = format!("{}[log]\nheaders = [\"x-tenant\"]\n", backend.as_model());
    let gateway = Gateway::start(&config);
    gateway.request(&post(
        "/v2/models/m/infer",
        "x-tenant: acme\r\nauthorization: secret\r\n",
        "Grüße",
    ));
    let mut client = gateway.client();
    client.send("POST /v2/models/m/infer HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n");
    client.send_bytes(&[0xff, 0x00, 0xfe]);
    client.reply();
    let mut records = gateway.wait_for_records(2);
    records.sort_by_key(|record| record["ts"].as_str().unwrap().to_owned());
    assert_eq!(
        (&records[0]["req_body"], &records[0]["req_body_encoding"]),
        (&"Grüße".into(), &"utf8".into())
    );
    assert_eq!(records[0]["req_headers"], serde_json::json!({ "x-tenant": "acme" }));
    assert_eq!(
        (&records[1]["req_body"], &records[1]["req_body_encoding"]),
        (&"/wD+".into(), &"base64".into())
    );
    let text = std::fs::read_dir(gateway.dir.path().join("data/log")).unwrap();
    for entry in text.map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        let bytes = std::fs::read(entry.path()).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"secret"), "{:?}", entry.path());
    }
}

#[test]
fn serving_goes_on_when_the_log_cannot_be_written() {
    // Deleting the directory of a running gateway makes its next segment fail.
    let backend = Backend::echo();
    let log = "durability = \"os\"\nsegment = \"1MiB\"\nwhen_full = \"drop\"\nblock = \"1ms\"";
    let gateway = Gateway::start(&format!("{}[log]\n{log}\n", backend.as_model()));
    assert_eq!(gateway.post("/v2/models/m/infer", "x").status, 200);
    std::fs::remove_dir_all(gateway.dir.path().join("data/log")).unwrap();
    let body = "x".repeat(60_000);
    for _ in 0..40 {
        assert_eq!(gateway.post("/v2/models/m/infer", &body).status, 200, "serving goes on");
    }
    let dropped = gateway.metric("pointsman_log_records_dropped_total{reason=\"io\"}");
    assert!(dropped > 0.0, "the loss is counted");
    assert_eq!(gateway.metric("pointsman_log_healthy"), 0.0, "and visible");
}
