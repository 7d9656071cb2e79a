//! What one client may ask for, and what it is told beyond that.

use std::time::{Duration, Instant};

use crate::support::client::post;
use crate::support::{Backend, Client, Gateway, eventually};

#[test]
fn heads_that_are_too_long_or_too_many_are_431() {
    let backend = Backend::echo();
    let config =
        format!("{}[limits]\nheader_bytes = \"8KiB\"\nheader_count = 20\n", backend.as_pool());
    let gateway = Gateway::start(&config);
    let long = format!("x-long: {}\r\n", "a".repeat(9000));
    let many: String = (0..21).map(|n| format!("x-{n}: 1\r\n")).collect();
    for headers in [long, many] {
        let mut client = gateway.client();
        client.send(&post("/x", &headers, ""));
        let reply = client.reply();
        assert_eq!((reply.status, reply.error()), (431, "head_too_large"));
        assert!(client.is_closed());
    }
    let fine: String = (0..15).map(|n| format!("x-{n}: 1\r\n")).collect();
    assert_eq!(gateway.request(&post("/x", &fine, "")).status, 200);
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn bodies_over_the_limit_are_413_with_either_framing() {
    let backend = Backend::echo();
    let config = format!("{}[limits]\nbody = \"100KiB\"\n", backend.as_pool());
    let gateway = Gateway::start(&config);
    let reply = gateway.post("/x", &"a".repeat(102_401));
    assert_eq!((reply.status, reply.error()), (413, "body_too_large"));
    assert!(backend.seen().is_empty());

    let mut client = gateway.client();
    client.send("POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    for _ in 0..30 {
        client.send(&format!("1000\r\n{}\r\n", "a".repeat(4096)));
    }
    let reply = client.reply();
    assert_eq!((reply.status, reply.error()), (413, "body_too_large"));
    assert!(backend.seen().is_empty(), "the backend saw no complete request");
    assert_eq!(gateway.post("/x", &"a".repeat(102_400)).status, 200);
}

/// The head of a request whose body is `length` bytes long, and `sent` bytes of that.
fn unfinished(length: usize, sent: usize) -> String {
    let head =
        "POST /v2/models/iris/infer HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    format!("{head}content-length: {length}\r\n\r\n{}", " ".repeat(sent))
}

#[test]
fn bodies_that_are_held_whole_share_a_budget() {
    const MIB: usize = 1024 * 1024;
    let limits = "[limits]\nbody = \"4MiB\"\nheld_bodies = \"4MiB\"\n";
    let gateway = Gateway::start(&format!("{}{limits}", crate::support::iris()));
    let held = || gateway.metric("pointsman_held_body_bytes");
    let mut first = gateway.client();
    first.send(&unfinished(4 * MIB, 3 * MIB));
    eventually("the body is held", || (held() >= (2.8 * MIB as f64)).then_some(()));
    let mut second = gateway.client();
    second.send(&unfinished(4 * MIB, 2 * MIB));
    let reply = second.reply();
    assert_eq!((reply.status, reply.error()), (503, "overloaded"), "{}", reply.text());
    gateway.metric_reaches("pointsman_errors_total{reason=\"overloaded\"}", 1.0);
    let short = gateway.post("/v2/models/iris/infer", crate::support::IRIS_BODY);
    assert_eq!(short.status, 200, "short bodies pass: {}", short.text());
    first.send(&" ".repeat(MIB));
    assert_eq!(first.reply().status, 400, "blanks are no request");
    eventually("all is given back", || (held() < 1.0).then_some(()));
    drop(first);
    let mut third = gateway.client();
    third.send(&unfinished(4 * MIB, 3 * MIB));
    eventually("the body is held", || (held() > 0.0).then_some(()));
    drop(third);
    eventually("a client that is gone holds nothing", || (held() < 1.0).then_some(()));
}

#[test]
fn tiny_chunks_cost_no_more_memory_than_their_bytes() {
    let gateway = Gateway::start(&crate::support::iris());
    let resident = || gateway.metric("process_resident_memory_bytes");
    let before = resident();
    let mut client = gateway.client();
    client.send(
        "POST /v2/models/iris/infer HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    for _ in 0..200 {
        client.send(&"1\r\n \r\n".repeat(1000));
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.reply().error(), "bad_input");
    let grown = resident() - before;
    assert!(grown < 30e6, "200 000 bytes in chunks of one took {grown} bytes");
}

#[test]
fn a_head_that_does_not_end_is_a_408() {
    let backend = Backend::echo();
    let config = format!("{}[limits]\nheader_time = \"200ms\"\n", backend.as_pool());
    let gateway = Gateway::start(&config);
    let began = Instant::now();
    let mut slow = gateway.client();
    slow.send("POST /x HTTP/1.1\r\nhost:");
    let mut silent = gateway.client();
    let reply = slow.reply();
    assert_eq!((reply.status, reply.error()), (408, "header_timeout"));
    assert!(slow.is_closed());
    assert!(began.elapsed() >= Duration::from_millis(200));
    silent.send(&post("/x", "", "late"));
    assert_eq!(silent.reply().text(), "late", "an idle connection has more time");
}

#[test]
fn a_body_that_does_not_come_is_a_408() {
    let backend = Backend::echo();
    let config = format!(
        "{}[limits]\nheader_time = \"200ms\"\n",
        backend.as_pool().replace("[routes", "timeouts = { idle = \"200ms\" }\n[routes")
    );
    let gateway = Gateway::start(&config);
    for length in [10, 100_000] {
        let mut client = gateway.client();
        client.send(&format!("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\nabc"));
        let reply = client.reply();
        assert_eq!((reply.status, reply.error()), (408, "body_timeout"), "length {length}");
    }
    assert_eq!(gateway.wait_for_records(2)[1]["outcome"], "timeout");
}

#[test]
fn unused_connections_are_closed() {
    let config = format!("{}[limits]\nidle = \"200ms\"\n", Backend::echo().as_pool());
    let gateway = Gateway::start(&config);
    let mut client = gateway.client();
    client.send(&post("/x", "", "a"));
    assert_eq!(client.reply().text(), "a");
    assert!(client.is_closed());
    assert!(gateway.client().is_closed(), "one that never sent anything too");
}

#[test]
fn connections_over_the_limit_are_refused_with_a_reason() {
    let config = format!("{}[limits]\nconnections = 3\n", Backend::echo().as_pool());
    let gateway = Gateway::start(&config);
    let mut held: Vec<Client> = (0..3).map(|_| gateway.client()).collect();
    for client in &mut held {
        client.send(&post("/x", "", "a"));
        assert_eq!(client.reply().status, 200);
    }
    let reply = gateway.post("/x", "a");
    assert_eq!((reply.status, reply.error()), (503, "connection_limit"));
    gateway.metric_is("pointsman_connections_refused_total{reason=\"limit\"}", 1.0);
    drop(held);
    eventually("there is room again", || (gateway.post("/x", "a").status == 200).then_some(()));
}

#[test]
fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let backend = Backend::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n");
        for _ in 0..1000 {
            connection.send_bytes(&[b'a'; 100_000]);
        }
    });
    let config = format!("{}[limits]\nrequest_time = \"500ms\"\n", backend.as_model());
    let gateway = Gateway::start(&config);
    let mut client = gateway.client();
    client.send(&post("/v2/models/m/infer", "", "x"));
    let record = gateway.wait_for_records(1).remove(0);
    assert_eq!(record["outcome"], "timeout");
    drop(client);
    eventually("memory is given back", || {
        (gateway.metric("pointsman_connections") == 0.0).then_some(())
    });
}
