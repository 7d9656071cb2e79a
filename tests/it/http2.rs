//! HTTP/2 without TLS beside HTTP/1.1: each stream is an exchange with its own record, and a connection is
//! bounded in everything that a client can make it hold.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::support::http2::{PREFACE, frame};
use crate::support::{
    Backend, Gateway, Http2, Http2Backend, Http2Reply, IRIS_BODY, eventually, iris,
};

const INFER: &str = "/v2/models/iris/infer";

#[test]
fn every_stream_is_an_exchange_with_its_own_record() {
    let gateway = Gateway::start(&format!("{}[log]\ndurability = \"os\"\n", iris()));
    let client = Http2::connect(gateway.data);
    let requests = (0..64).map(|n| {
        let id = format!("r{n}");
        client.post(INFER, &[("x-request-id", &id)], IRIS_BODY)
    });
    let replies = client.together(requests.collect());
    let records = gateway.records();
    assert_eq!(records.len(), 64, "os: written before the answer");
    for (n, reply) in replies.iter().enumerate() {
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("x-request-id"), Some(format!("r{n}").as_str()));
        assert_eq!(reply.header("connection"), None);
        let id = reply.header("x-prediction-id").unwrap();
        let record = records.iter().find(|record| record["record_id"] == id).unwrap();
        assert_eq!(record["request_id"], format!("r{n}"));
        assert_eq!(record["outcome"], "ok");
        assert_eq!(record["req_body"], IRIS_BODY);
    }
    let head = client.call(client.post("/nowhere", &[], ""));
    assert_eq!((head.status, head.header("x-pointsman-error")), (404, Some("no_route")));
    gateway.metric_is("pointsman_http2_connections_total", 1.0);
    gateway.metric_is("pointsman_http2_streams_total", 65.0);
}

#[test]
fn requests_reach_backends_of_http1_with_their_host_cookies_and_bodies() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&backend.as_pool());
    let client = Http2::connect(gateway.data);
    let long = "0123456789abcdef".repeat(64 * 1024);
    let mut request = client.post("/x?y=1", &[("cookie", "a=1"), ("te", "trailers")], long.clone());
    request.headers_mut().append("cookie", HeaderValue::from_static("b=2"));
    let reply = client.call(request);
    assert_eq!((reply.status, reply.body.len()), (200, long.len()));
    assert!(reply.body == long, "the body came back changed");
    let seen = &backend.seen()[0];
    assert_eq!(seen.line(), "POST /x?y=1 HTTP/1.1");
    assert_eq!(seen.header("host"), Some(backend.address.to_string().as_str()));
    assert_eq!(seen.header("x-forwarded-host"), Some(gateway.data.to_string().as_str()));
    assert_eq!(seen.header("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.header("te"), None);
}

fn trailers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(k, v)| ((*k).parse().unwrap(), HeaderValue::from_static(v))).collect()
}

#[test]
fn a_backend_of_http2_shares_a_connection_and_its_trailers_pass() {
    let backend = Http2Backend::start(|request| Http2Reply {
        headers: trailers(&[("content-type", "application/grpc")]),
        body: request.body.clone(),
        trailers: trailers(&[("grpc-status", "5"), ("grpc-message", "not%20there")]),
        ..Http2Reply::default()
    });
    let config = format!(
        "[pools.p]\nbackends = [\"http://{}\"]\nhttp2 = true\n[routes.all]\npath_prefix = \"/\"\npool = \"p\"\n\
         [log]\ndurability = \"os\"\n",
        backend.address
    );
    let gateway = Gateway::start(&config);
    let client = Http2::connect(gateway.data);
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    client.call(client.post("/s/M", &grpc, Bytes::from_static(b"\0\0\0\0\x01x")));
    let requests =
        (0..20).map(|_| client.post("/s/M", &grpc, Bytes::from_static(b"\0\0\0\0\x01x")));
    for reply in client.together(requests.collect()) {
        assert_eq!((reply.status, reply.trailer("grpc-status")), (200, Some("5")));
        assert_eq!(reply.trailer("grpc-message"), Some("not%20there"));
        assert_eq!(&reply.body[..], b"\0\0\0\0\x01x");
        assert_eq!(reply.header("x-pointsman-durability"), Some("os"));
    }
    assert_eq!(backend.connections(), 1);
    let seen = &backend.seen()[0];
    assert_eq!(seen.head.uri.authority().unwrap().as_str(), backend.address.to_string());
    assert_eq!(seen.head.headers.get("te").unwrap(), "trailers");
    let records = gateway.records();
    assert_eq!(records.len(), 21, "written before the trailers");
    assert!(records.iter().all(|record| record["outcome"] == "rejected"), "NOT_FOUND");
}

#[test]
fn refusals_of_grpc_are_heads_that_carry_the_status() {
    let gateway = Gateway::start(&iris());
    let client = Http2::connect(gateway.data);
    let reply = client.call(client.post("/a.B/C", &[("content-type", "application/grpc")], ""));
    assert_eq!((reply.status, reply.header("grpc-status")), (200, Some("12")));
    assert!(reply.body.is_empty() && reply.trailers.is_empty());
    assert_eq!(reply.header("x-pointsman-error"), Some("no_route"));
    let record = &gateway.wait_for_records(1)[0];
    assert_eq!(
        (record["status"].as_u64(), record["outcome"].as_str()),
        (Some(200), Some("rejected"))
    );
}

#[test]
fn the_preface_may_come_in_pieces_and_http1_may_begin_like_it() {
    let gateway = Gateway::start(&iris());
    let mut client = gateway.client();
    for byte in PREFACE {
        client.send_bytes(&[*byte]);
    }
    client.send_bytes(&frame(4, 0, 0, &[]));
    // The answer begins with the gateway's own SETTINGS frame.
    let head = client.bytes(9);
    assert_eq!((head[3], head[4]), (4, 0), "{head:?}");
    let mut client = gateway.client();
    client.send("PRI");
    client.send("NT /x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.reply().error(), "no_route");
    let reply = gateway.request("PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n");
    assert_eq!((reply.status, reply.error()), (400, "malformed_request"));
}

#[test]
fn a_head_that_does_not_end_closes_the_connection() {
    let gateway = Gateway::start(&format!("{}[limits]\nheader_time = \"200ms\"\n", iris()));
    let mut client = gateway.client();
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    // HEADERS without END_HEADERS, and no CONTINUATION.
    bytes.extend(frame(1, 0, 1, &[0x82]));
    let began = Instant::now();
    client.send_bytes(&bytes);
    client.read_to_end();
    assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
    // The connection is counted when it is over, which its client may see first.
    eventually("the timeout is counted", || {
        let timeouts = gateway.metric("pointsman_errors_total{reason=\"header_timeout\"}");
        (timeouts == 1.0).then_some(())
    });
}

#[test]
fn a_request_whose_stream_the_backend_resets_is_not_sent_again() {
    let backend = Http2Backend::start(|request| Http2Reply {
        cut: request.body == "bad",
        body: request.body.clone(),
        ..Http2Reply::default()
    });
    let gateway = Gateway::start(&format!(
        "workers = 1\n[models.m.versions.v1]\nbackends = [\"http://{}\"]\nhttp2 = true\n",
        backend.address
    ));
    let infer = |body: &str| gateway.post("/v2/models/m/infer", body);
    for body in ["good", "bad", "good"] {
        let reply = infer(body);
        let expected = if body == "bad" { (502, "upstream_reset") } else { (200, "") };
        assert_eq!((reply.status, reply.error()), expected, "{body}");
    }
    assert_eq!(backend.seen().len(), 3, "the model was asked once each time");
    assert_eq!(backend.connections(), 1, "the reset of a stream does not end its connection");
    assert_eq!(gateway.metric("pointsman_retries_total{reason=\"stale\"}"), 0.0);
}

#[test]
fn trailers_arrive_behind_a_body_whose_length_was_told() {
    let backend = Http2Backend::start(|request| Http2Reply {
        headers: trailers(&[
            ("content-type", "application/grpc"),
            ("content-length", if request.body.is_empty() { "0" } else { "6" }),
        ]),
        body: request.body.clone(),
        trailers: trailers(&[("grpc-status", if request.body.is_empty() { "5" } else { "0" })]),
        ..Http2Reply::default()
    });
    let gateway = Gateway::start(&format!(
        "[pools.p]\nbackends = [\"http://{}\"]\nhttp2 = true\n\
         [routes.all]\npath_prefix = \"/\"\npool = \"p\"\n",
        backend.address
    ));
    let client = Http2::connect(gateway.data);
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    for (body, status) in [(&b"\0\0\0\0\x01x"[..], "0"), (b"", "5")] {
        let reply = client.call(client.post("/s/M", &grpc, Bytes::from_static(body)));
        assert_eq!((&reply.body[..], reply.trailer("grpc-status")), (body, Some(status)));
    }
    let records = gateway.wait_for_records(2);
    let told = |at: usize| records[at]["grpc_status"].as_u64();
    assert_eq!((told(0), told(1)), (Some(0), Some(5)));
}

#[test]
fn requests_that_come_together_share_a_new_connection() {
    let backend = Http2Backend::start(|_| Http2Reply::default());
    let gateway = Gateway::start(&format!(
        "workers = 1\n[pools.p]\nbackends = [\"http://{}\"]\nhttp2 = true\n\
         [routes.all]\npath_prefix = \"/\"\npool = \"p\"\n",
        backend.address
    ));
    let client = Http2::connect(gateway.data);
    let requests = (0..60).map(|_| client.post("/x", &[], "body"));
    let replies = client.together(requests.collect());
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!((backend.seen().len(), backend.connections()), (60, 1));
    let opened = gateway.metric("pointsman_upstream_connects_total{result=\"ok\"}");
    let shared = gateway.metric("pointsman_upstream_reuses_total");
    assert_eq!((opened, shared), (1.0, 59.0));
}

#[test]
fn a_client_that_resets_what_it_asks_is_cut_off() {
    let gateway =
        Gateway::start(&Backend::script(|connection| connection.wait_for_close()).as_pool());
    let mut client = gateway.client();
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    // :method GET, :scheme http, :path /, :authority a
    let head = [0x82, 0x86, 0x84, 0x41, 0x01, b'a'];
    for stream in (1..2000).step_by(2) {
        bytes.extend(frame(1, 5, stream, &head));
        bytes.extend(frame(3, 0, stream, &[0, 0, 0, 8]));
    }
    client.send_bytes(&bytes);
    client.read_to_end();
    eventually("the connection is counted", || {
        let refused = gateway.metric("pointsman_connections_refused_total{reason=\"resets\"}");
        let malformed = gateway.log().contains("an HTTP/2 connection ended early");
        (refused == 1.0 || malformed).then_some(())
    });
    let upstream = gateway.metric("pointsman_upstream_connects_total{result=\"ok\"}");
    assert!(upstream < 1000.0, "it was not stopped in time: {upstream}");
}

#[test]
fn a_client_that_leaves_has_its_record_and_its_backend_learns_of_it() {
    let (tell, closed) = std::sync::mpsc::channel();
    let tell = parking_lot::Mutex::new(tell);
    let backend = Backend::script(move |connection| {
        connection.request();
        connection.wait_for_close();
        tell.lock().send(()).unwrap();
    });
    let gateway = Gateway::start(&backend.as_pool());
    let client = Http2::connect(gateway.data);
    client.abandon(client.post("/x", &[], "body"));
    closed.recv_timeout(crate::support::PATIENCE).unwrap();
    assert_eq!(gateway.wait_for_records(1)[0]["outcome"], "client_cancel");
}

#[test]
fn limits_of_an_exchange_hold_for_each_stream() {
    let backend = Backend::script(|connection| {
        connection.request();
        connection.wait_for_close();
    });
    let gateway =
        Gateway::start(&format!("{}[limits]\nrequest_time = \"10s\"\n", backend.as_pool()));
    let client = Http2::connect(gateway.data);
    let slow = client.post("/slow", &[("x-request-timeout-ms", "200")], "x");
    let grpc = client.post(
        "/slow",
        &[("content-type", "application/grpc"), ("grpc-timeout", "200m")],
        "x",
    );
    let replies = client.together(vec![slow, grpc]);
    assert_eq!(
        (replies[0].status, replies[0].header("x-pointsman-error")),
        (504, Some("request_timeout"))
    );
    assert_eq!(replies[1].header("grpc-status"), Some("4"));
    let records = gateway.wait_for_records(2);
    assert!(records.iter().all(|record| record["outcome"] == "timeout"));
}

#[test]
fn the_drain_lets_streams_end_and_tells_the_client_to_go() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = parking_lot::Mutex::new(wait);
    let backend = Backend::script(move |connection| {
        connection.request();
        wait.lock().recv().unwrap();
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let gateway = Gateway::start(&backend.as_pool());
    let client = Http2::connect(gateway.data);
    let asked = client.post("/x", &[], "body");
    std::thread::scope(|scope| {
        let reply = scope.spawn(|| client.call(asked));
        eventually("the backend was asked", || (!backend.seen().is_empty()).then_some(()));
        gateway.signal(rustix::process::Signal::TERM);
        eventually("the listeners are closed", || {
            crate::support::Client::try_connect(gateway.data).is_none().then_some(())
        });
        go.send(()).unwrap();
        assert_eq!(reply.join().unwrap().text(), "ok");
    });
    client.wait_for_close();
    let mut gateway = gateway;
    assert!(gateway.wait().success());
}
