//! A request goes through once, unchanged but for what concerns one hop, and its answer comes back.

use crate::support::client::post;
use crate::support::{Backend, Gateway, eventually, iris};

const INFER: &str = "/v2/models/m/infer";

#[test]
fn a_prediction_is_forwarded_once_with_the_headers_of_one_hop_replaced() {
    let backend = Backend::replying(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nkeep-alive: timeout=5\r\nx-model: a\r\nx-request-id: theirs\r\n\r\nok",
    );
    let gateway = Gateway::start(&backend.as_model());
    let headers = "connection: x-drop\r\nx-drop: 1\r\nx-kept: 1\r\nx-request-id: abc\r\n\
                   x-forwarded-for: 6.6.6.6\r\nx-pointsman-version: v1\r\n";
    let reply = gateway.request(&post(INFER, headers, "body"));
    assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
    assert_eq!(reply.header("x-request-id"), Some("abc"), "the client's id is echoed");
    assert_eq!(reply.header("x-pointsman-model"), Some("m"));
    assert_eq!(reply.header("x-pointsman-version"), Some("v1"));
    assert_eq!(reply.header("x-model"), Some("a"));
    assert_eq!(reply.header("keep-alive"), None);
    assert_eq!(reply.header("x-prediction-id").map(str::len), Some(36));

    let seen = backend.seen();
    assert_eq!(seen.len(), 1);
    let request = &seen[0];
    assert_eq!(request.line(), "POST /v2/models/m/infer HTTP/1.1");
    assert_eq!(request.body, b"body");
    assert_eq!(request.header("host"), Some(backend.address.to_string().as_str()));
    assert_eq!(request.header("x-forwarded-host"), Some("gateway.test"));
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"), "hearsay is replaced");
    assert_eq!(request.header("x-forwarded-proto"), Some("http"));
    assert_eq!(request.header("x-request-id"), Some("abc"));
    assert_eq!(request.header("x-kept"), Some("1"));
    for gone in ["connection", "x-drop", "x-pointsman-version", "expect", "via"] {
        assert_eq!(request.header(gone), None, "{gone}");
    }
    let trace = request.header("traceparent").expect("a trace begins here");
    let record = &gateway.wait_for_records(1)[0];
    assert_eq!(record["trace_id"].as_str(), trace.get(3..35), "the record knows the trace");
    assert_eq!(record["request_id"], "abc");
    assert_eq!(Some(record["record_id"].as_str().unwrap()), reply.header("x-prediction-id"));
}

#[test]
fn connections_are_kept_on_both_sides_and_pipelined_requests_are_answered_in_order() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&backend.as_pool());
    let mut client = gateway.client();
    for body in ["a", "b", "c"] {
        client.send(&post("/x", "", body));
        assert_eq!(client.reply().text(), body);
    }
    assert_eq!(backend.connections(), 1);
    let all: String = ["1", "2", "3", "4"].iter().map(|body| post("/x", "", body)).collect();
    client.send(&all);
    for body in ["1", "2", "3", "4"] {
        assert_eq!(client.reply().text(), body);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn long_bodies_stream_both_ways_with_either_framing() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&backend.as_model());
    let body = "0123456789abcdef".repeat(64 * 1024);
    let reply = gateway.post(INFER, &body);
    assert_eq!((reply.status, reply.body.len()), (200, body.len()));
    assert!(reply.text() == body, "the body came back changed");

    let mut client = gateway.client();
    client.send(&format!("POST {INFER} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"));
    for piece in body.as_bytes().chunks(100_000) {
        client.send(&format!("{:x}\r\n", piece.len()));
        client.send_bytes(piece);
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    let reply = client.reply();
    assert_eq!(reply.status, 200);
    assert!(reply.text() == body, "the chunked body came back changed");
    client.send(&post(INFER, "", "again"));
    assert_eq!(client.reply().text(), "again", "the connection is in step");

    let records = gateway.wait_for_records(3);
    for record in &records[..2] {
        for side in ["req", "resp"] {
            assert_eq!(record[format!("{side}_bytes")], body.len(), "{side}");
            assert_eq!(record[format!("{side}_captured")], 256 * 1024, "{side}");
            assert_eq!(record[format!("{side}_omission")], "size", "{side}");
        }
        assert_eq!(record["req_hash"], record["resp_hash"], "one body, one hash");
    }
}

#[test]
fn a_response_flows_while_it_is_made() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = parking_lot::Mutex::new(wait);
    let backend = Backend::script(move |connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
            connection.send("8\r\ndata: 1\n\r\n");
            wait.lock().recv().unwrap();
            connection.send("8\r\ndata: 2\n\r\n0\r\n\r\n");
        }
    });
    let gateway = Gateway::start(&format!("{}\n[log]\ndurability = \"os\"\n", backend.as_model()));
    let mut client = gateway.client();
    client.send(&post(INFER, "", "x"));
    assert_eq!(client.head().unwrap().0, 200);
    assert_eq!(client.chunk().unwrap(), b"data: 1\n", "before the second event exists");
    go.send(()).unwrap();
    assert_eq!(client.chunk().unwrap(), b"data: 2\n");
    assert_eq!(client.chunk().unwrap(), b"");
    let record = &gateway.records()[0];
    assert_eq!(record["resp_body"], "data: 1\ndata: 2\n", "os: written before the last byte");
    client.send(&post(INFER, "", "x"));
    go.send(()).unwrap();
    assert_eq!(client.reply().text(), "data: 1\ndata: 2\n");
    assert_eq!(backend.connections(), 1, "a connection that streamed is used again");
}

#[test]
fn expect_continue_is_answered_before_the_body_and_not_for_a_refusal() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&format!("{}\n[limits]\nbody = \"4KiB\"\n", backend.as_pool()));
    let mut client = gateway.client();
    client.send("POST /x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n");
    assert_eq!(client.head().unwrap().0, 100);
    client.send("abc");
    assert_eq!(client.reply().text(), "abc");
    let mut client = gateway.client();
    client.send(
        "POST /x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5000\r\n\r\n",
    );
    let (status, headers) = client.head().unwrap();
    assert_eq!(status, 413, "no 100 for a body that is not wanted");
    assert!(
        headers
            .iter()
            .any(|(name, value)| name == "x-pointsman-error" && value == "body_too_large")
    );
}

#[test]
fn responses_without_a_body_keep_their_headers() {
    let backend = Backend::script(|connection| {
        while let Some(request) = connection.request() {
            connection.send(match request.line() {
                line if line.starts_with("HEAD") => {
                    "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n"
                }
                line if line.contains("/304") => "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n",
                _ => "HTTP/1.1 204 No Content\r\n\r\n",
            });
        }
    });
    let gateway = Gateway::start(&backend.as_pool());
    let mut client = gateway.client();
    client.send("HEAD /x HTTP/1.1\r\nhost: a\r\n\r\n");
    let reply = client.reply_to("HEAD");
    assert_eq!((reply.status, reply.header("content-length")), (200, Some("1234")));
    client.send("GET /304 HTTP/1.1\r\nhost: a\r\n\r\n");
    let reply = client.reply();
    assert_eq!((reply.status, reply.header("etag")), (304, Some("\"a\"")));
    client.send("DELETE /x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.reply().status, 204);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn routes_pools_and_pins_lead_where_the_configuration_says() {
    let (one, two) = (Backend::echo(), Backend::echo());
    let config = format!(
        "{}\n[pools.p]\nbackends = [\"http://{}\", \"http://{}\"]\nbalance = \"round_robin\"\n\
         [routes.static]\npath_prefix = \"/static\"\npool = \"p\"\n\
         [routes.legacy]\npath = \"/predict\"\nmethod = \"POST\"\nmodel = \"iris\"\n",
        iris(),
        one.address,
        two.address,
    );
    let gateway = Gateway::start(&config);
    for _ in 0..10 {
        assert_eq!(gateway.request("GET /static/x HTTP/1.1\r\nhost: a\r\n\r\n").status, 200);
    }
    assert_eq!((one.seen().len(), two.seen().len()), (5, 5), "round robin");
    let reply = gateway.post("/predict", crate::support::IRIS_BODY);
    assert_eq!(reply.json()["model_name"], "iris", "a route leads to a model in this process");
    let cases = [
        ("GET /nowhere", 404, "no_route"),
        ("GET /v2/models/nope", 404, "unknown_model"),
        ("GET /v2/models/iris/versions/v9", 404, "unknown_version"),
        ("GET /v2/models/iris/infer", 405, "method_not_allowed"),
        ("GET /predict", 404, "no_route"),
    ];
    for (line, status, error) in cases {
        let reply = gateway.request(&format!("{line} HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert_eq!((reply.status, reply.error()), (status, error), "{line}");
        assert!(reply.json()["error"].is_string(), "{line}");
    }
    let records = gateway.wait_for_records(16);
    let legacy = records
        .iter()
        .find(|record| record["path"] == "/predict" && record["method"] == "POST")
        .unwrap();
    assert_eq!((&legacy["route"], &legacy["model"]), (&"legacy".into(), &"iris".into()));
    gateway.metric_is("pointsman_errors_total{reason=\"no_route\"}", 2.0);
}

#[test]
fn traffic_divides_and_a_caller_keeps_its_version() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let config = format!(
        "[models.m]\ntraffic = {{ a = \"70%\", b = \"30%\" }}\nsticky = \"header:x-user\"\n\
         [models.m.versions.a]\nbackends = [\"http://{}\"]\n\
         [models.m.versions.b]\nbackends = [\"http://{}\"]\n",
        a.address, b.address,
    );
    let gateway = Gateway::start(&config);
    let mut client = gateway.client();
    let mut version_of = |user: usize| {
        client.send(&post(INFER, &format!("x-user: u{user}\r\n"), "x"));
        client.reply().header("x-pointsman-version").unwrap().to_owned()
    };
    let first: Vec<_> = (0..200).map(&mut version_of).collect();
    let second: Vec<_> = (0..200).map(&mut version_of).collect();
    assert_eq!(first, second);
    let share = first.iter().filter(|version| *version == "a").count();
    assert!((110..=170).contains(&share), "{share} of 200 at 70 %");
    let records = gateway.wait_for_records(400);
    assert!(records.iter().all(|record| record["decision_reason"] == "sticky"));
}

#[test]
fn a_stale_connection_costs_no_prediction_and_no_double_request() {
    // The backend closes each connection after its first answer, without saying so.
    let backend = Backend::script(|connection| {
        if connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let gateway = Gateway::start(&backend.as_model());
    let mut client = gateway.client();
    for _ in 0..20 {
        client.send(&post(INFER, "", "x"));
        assert_eq!(client.reply().status, 200);
    }
    assert_eq!(backend.seen().len(), 20);

    // The backend reads the second request of a connection and closes instead of answering.
    let backend = Backend::script(|connection| {
        if connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            connection.request();
        }
    });
    let gateway = Gateway::start(&format!("{}{}", backend.as_model(), backend.as_pool()));
    let mut client = gateway.client();
    client.send(&post(INFER, "", "x"));
    assert_eq!(client.reply().status, 200);
    client.send(&post(INFER, "", "x"));
    assert_eq!(client.reply().status, 200, "a prediction may be asked for again");
    gateway.metric_is("pointsman_retries_total{reason=\"stale\"}", 1.0);
    client.send(&post("/order", "", "x"));
    let reply = client.reply();
    assert_eq!((reply.status, reply.error()), (502, "upstream_reset"), "a plain POST may not");
}

#[test]
fn a_client_that_leaves_takes_its_upstream_request_with_it() {
    let (closed, wait) = std::sync::mpsc::channel();
    let backend = Backend::script(move |connection| {
        if connection.request().is_some() {
            connection.wait_for_close();
            closed.send(()).unwrap();
        }
    });
    let gateway = Gateway::start(&backend.as_model());
    let mut client = gateway.client();
    client.send(&post(INFER, "", "x"));
    eventually("the backend is asked", || (!backend.seen().is_empty()).then_some(()));
    drop(client);
    wait.recv_timeout(crate::support::PATIENCE).expect("the upstream request is cancelled");
    let record = &gateway.wait_for_records(1)[0];
    assert_eq!(record["outcome"], "client_cancel");
    assert_eq!(record["status"], 0);
}

#[test]
fn a_request_whose_client_is_gone_at_once_has_its_record_all_the_same() {
    let gateway = Gateway::start(&iris());
    let rounds = 20;
    for _ in 0..rounds {
        let mut client = gateway.client();
        client.send(&post("/v2/models/iris/infer", "", crate::support::IRIS_BODY));
        client.close();
    }
    let records = gateway.wait_for_records(rounds);
    assert_eq!(records.len(), rounds);
    for record in &records {
        let ended = (record["outcome"].as_str().unwrap(), record["status"].as_u64().unwrap());
        assert!(matches!(ended, ("ok", 200) | ("client_cancel", 0)), "{record}");
    }
}

#[test]
fn a_client_that_breaks_off_in_its_body_is_no_malformed_request() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&backend.as_model());
    for length in [100, 100_000] {
        let mut client = gateway.client();
        client.send(&format!(
            "POST {INFER} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\nabc"
        ));
        client.close();
    }
    let records = gateway.wait_for_records(2);
    assert!(records.iter().all(|record| record["outcome"] == "client_cancel"), "{records:?}");
}
