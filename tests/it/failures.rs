//! What a client is told when a backend fails, and what the record says.

use std::time::{Duration, Instant};

use crate::support::client::post;
use crate::support::{Backend, Gateway, nobody};

const INFER: &str = "/v2/models/m/infer";

/// Sends one prediction and returns status, reason word and the record's outcome.
fn outcome(config: &str) -> (u16, String, String) {
    let gateway = Gateway::start(config);
    let reply = gateway.post(INFER, "x");
    let record = gateway.wait_for_records(1).remove(0);
    assert_eq!(record["status"], reply.status);
    assert_eq!(record["error_code"].as_str().unwrap_or(""), reply.error());
    let error = reply.error().to_owned();
    (reply.status, error, record["outcome"].as_str().unwrap().to_owned())
}

fn expect(config: &str, status: u16, error: &str, blamed: &str) {
    assert_eq!(outcome(config), (status, error.to_owned(), blamed.to_owned()));
}

#[test]
fn a_backend_that_is_down_is_a_502() {
    let nobody = nobody();
    let config = format!("[models.m.versions.v1]\nbackends = [\"http://{}\"]\n", nobody.address);
    expect(&config, 502, "upstream_connect", "upstream_error");
}

#[test]
fn another_backend_is_asked_when_one_is_down() {
    let (nobody, backend) = (nobody(), Backend::echo());
    let gateway = Gateway::start(&format!(
        "[models.m.versions.v1]\nbackends = [\"http://{}\", \"http://{}\"]\n",
        nobody.address, backend.address
    ));
    for _ in 0..10 {
        let reply = gateway.post(INFER, "x");
        assert_eq!((reply.status, reply.text().as_str()), (200, "x"));
    }
    gateway.metric_reaches("pointsman_retries_total{reason=\"connect\"}", 4.0);
}

#[test]
fn garbage_and_broken_answers_are_502s() {
    let garbage = Backend::replying("SMTP ready\r\n\r\n");
    expect(&garbage.as_model(), 502, "upstream_protocol", "upstream_error");
    let silent = Backend::script(|connection| drop(connection.request()));
    expect(&silent.as_model(), 502, "upstream_reset", "upstream_error");
    let half = Backend::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    });
    expect(&half.as_model(), 502, "upstream_reset", "upstream_error");
    let two_lengths =
        Backend::replying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc");
    expect(&two_lengths.as_model(), 502, "upstream_protocol", "upstream_error");
}

#[test]
fn answers_that_could_be_read_in_two_ways_are_502s() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ] {
        let backend = Backend::replying(answer);
        expect(&backend.as_model(), 502, "upstream_protocol", "upstream_error");
    }
}

#[test]
fn the_version_of_a_backend_stays_behind_the_gateway() {
    let backend = Backend::replying("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let gateway = Gateway::start(&backend.as_model());
    let mut client = gateway.client();
    for _ in 0..3 {
        client.send(&post(INFER, "", "x"));
        assert_eq!(client.reply().text(), "ok", "the client's connection is kept");
    }
}

#[test]
fn the_backends_own_errors_pass_unchanged() {
    let backend =
        Backend::replying("HTTP/1.1 503 Busy\r\nretry-after: 3\r\ncontent-length: 4\r\n\r\nbusy");
    let gateway = Gateway::start(&backend.as_model());
    let reply = gateway.post(INFER, "x");
    assert_eq!((reply.status, reply.text().as_str(), reply.error()), (503, "busy", ""));
    assert_eq!(reply.header("retry-after"), Some("3"));
    assert_eq!(gateway.wait_for_records(1)[0]["outcome"], "upstream_error");
}

#[test]
fn a_long_answer_that_breaks_off_cuts_the_client_off() {
    let backend = Backend::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    });
    let gateway = Gateway::start(&backend.as_model());
    let reply = gateway.post(INFER, "x");
    assert_eq!((reply.status, reply.cut), (200, true), "the client can tell");
    let record = &gateway.wait_for_records(1)[0];
    assert_eq!(
        (&record["outcome"], &record["resp_body"]),
        (&"upstream_error".into(), &"half".into())
    );
}

#[test]
fn slow_backends_run_into_the_limit_that_they_exceed() {
    let silent = Backend::script(|connection| {
        connection.request();
        connection.wait_for_close();
    });
    let limit =
        |name: &str| format!("{}[models.m.timeouts]\n{name} = \"150ms\"\n", silent.as_model());
    let began = Instant::now();
    expect(&limit("first_byte"), 504, "upstream_timeout", "timeout");
    assert!(began.elapsed() < Duration::from_secs(10));
    let request = format!("{}[limits]\nrequest_time = \"150ms\"\n", silent.as_model());
    expect(&request, 504, "request_timeout", "timeout");
    // A machine that never answers a connection attempt: a listener whose queue is full.
    let (listener, address) = full_listener();
    let config = format!(
        "[models.m.versions.v1]\nbackends = [\"http://{address}\"]\n[models.m.timeouts]\nconnect = \"150ms\"\n"
    );
    expect(&config, 504, "upstream_connect_timeout", "timeout");
    drop(listener);
}

#[test]
fn a_stalled_body_of_an_answer_ends_the_exchange() {
    let backend = Backend::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
        connection.wait_for_close();
    });
    let idle = "[models.m.timeouts]\nidle = \"150ms\"\n";
    expect(&format!("{}{idle}", backend.as_model()), 504, "upstream_idle_timeout", "timeout");
    let backend = Backend::script(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nhalf");
        connection.wait_for_close();
    });
    let gateway = Gateway::start(&format!("{}{idle}", backend.as_model()));
    let reply = gateway.post(INFER, "x");
    assert_eq!((reply.status, reply.cut), (200, true));
    assert_eq!(gateway.wait_for_records(1)[0]["outcome"], "timeout");
}

#[test]
fn a_client_may_ask_for_less_time() {
    let silent = Backend::script(|connection| {
        connection.request();
        connection.wait_for_close();
    });
    let gateway = Gateway::start(&silent.as_model());
    let began = Instant::now();
    let reply = gateway.request(&post(INFER, "x-request-timeout-ms: 100\r\n", "x"));
    assert_eq!((reply.status, reply.error()), (504, "request_timeout"));
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// A listener whose queue of pending connections is full, so that further ones are not answered.
pub(crate) fn full_listener() -> (Vec<socket2::Socket>, std::net::SocketAddr) {
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(1).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut sockets = vec![listener];
    for _ in 0..4 {
        let filler =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        filler.set_nonblocking(true).unwrap();
        let _in_progress = filler.connect(&address.into());
        sockets.push(filler);
    }
    (sockets, address)
}
