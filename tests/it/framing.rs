//! A doubtful request is refused and its connection closed, or exactly one sound request is forwarded
//! and both connections stay in step: nothing is smuggled.

use crate::support::{Backend, Gateway};

/// What a payload must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// A 4xx answer and a closed connection, and the backend sees nothing.
    Refused,
    /// One request forwarded with one framing, and nothing more on this connection.
    ForwardedOnce,
    /// One request forwarded, and the next one on the same connection too.
    Forwarded,
}

use Expected::{Forwarded, ForwardedOnce, Refused};

/// A request with these headers, and what follows them.
macro_rules! head {
    ($rest:literal) => {
        concat!("POST /a HTTP/1.1\r\nHost: a\r\n", $rest)
    };
}

/// Name, bytes, and what they must lead to.
const CASES: &[(&str, &str, Expected)] = &[
    (
        "content-length and chunked",
        head!("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ForwardedOnce,
    ),
    (
        "chunked and content-length",
        head!("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
        ForwardedOnce,
    ),
    (
        "two lengths that differ",
        head!("Content-Length: 0\r\nContent-Length: 4\r\n\r\nabcd"),
        Refused,
    ),
    (
        "two lengths that agree",
        head!("Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
        Forwarded,
    ),
    ("a list of lengths", head!("Content-Length: 4, 4\r\n\r\nabcd"), Refused),
    ("a signed length", head!("Content-Length: +4\r\n\r\nabcd"), Refused),
    ("a negative length", head!("Content-Length: -1\r\n\r\n"), Refused),
    ("a hexadecimal length", head!("Content-Length: 0x4\r\n\r\nabcd"), Refused),
    ("a length with a space", head!("Content-Length: 1 0\r\n\r\n"), Refused),
    ("an overlong length", head!("Content-Length: 99999999999999999999999\r\n\r\n"), Refused),
    ("an unknown coding", head!("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), Refused),
    ("a coding in quotes", head!("Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"), Refused),
    ("two codings", head!("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), Refused),
    (
        "chunked twice",
        head!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        Refused,
    ),
    ("chunked not last", head!("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"), Refused),
    ("identity", head!("Transfer-Encoding: identity\r\nContent-Length: 4\r\n\r\nabcd"), Refused),
    (
        "a vertical tab in the coding",
        head!("Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
        Refused,
    ),
    ("a space before the colon", head!("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), Refused),
    ("a folded header", head!("X-A: 1\r\n 2\r\nContent-Length: 0\r\n\r\n"), Refused),
    ("a header that begins with a space", "POST /a HTTP/1.1\r\n Host: a\r\n\r\n", Refused),
    ("a header without a colon", head!("garbage\r\n\r\n"), Refused),
    ("a header without a name", head!(": value\r\n\r\n"), Refused),
    ("a NUL in a value", head!("X-A: a\0b\r\n\r\n"), Refused),
    ("a bare carriage return", head!("X-A: a\rTransfer-Encoding: chunked\r\n\r\n"), Refused),
    ("two hosts", head!("Host: b\r\n\r\n"), Refused),
    ("no host", "GET /a HTTP/1.1\r\n\r\n", Refused),
    ("an empty host", "GET /a HTTP/1.1\r\nHost:\r\n\r\n", Refused),
    ("a host with a path", "GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n", Refused),
    ("a host with a user", "GET /a HTTP/1.1\r\nHost: u@a\r\n\r\n", Refused),
    ("a target that contradicts", "GET http://b/a HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
    (
        "HTTP/1.0 and chunked",
        "POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    ("HTTP/2 on HTTP/1", "GET /a HTTP/2.0\r\nHost: a\r\n\r\n", Refused),
    ("HTTP/0.9", "GET /a\r\n\r\n", Refused),
    ("a lower-case version", "GET /a http/1.1\r\nHost: a\r\n\r\n", Refused),
    ("a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
    ("a dot segment", "GET /a/../admin HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
    ("an encoded dot segment", "GET /a/%2e%2e/admin HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
    ("CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", Refused),
    ("almost an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n", Refused),
    ("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01", Refused),
    (
        "a chunk size that is no number",
        head!("Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"),
        Refused,
    ),
    ("a negative chunk", head!("Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n"), Refused),
    (
        "a chunk size that overflows",
        head!("Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
        Refused,
    ),
    (
        "a chunk longer than its size",
        head!("Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n"),
        Refused,
    ),
    ("plain", head!("Content-Length: 4\r\n\r\nabcd"), Forwarded),
    ("chunked", head!("Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"), Forwarded),
    ("CHUNKED", head!("Transfer-Encoding: CHUNKED\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"), Forwarded),
    (
        "a chunk extension",
        head!("Transfer-Encoding: chunked\r\n\r\n4;a=b\r\nabcd\r\n0\r\n\r\n"),
        Forwarded,
    ),
    (
        "a trailer",
        head!("Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\nX-T: 1\r\n\r\n"),
        Forwarded,
    ),
    ("no body", head!("\r\n"), Forwarded),
    ("an absolute target", "GET http://a/a HTTP/1.1\r\nHost: a\r\n\r\n", Forwarded),
    ("line feeds alone", "GET /a HTTP/1.1\nHost: a\n\n", Forwarded),
    ("an empty line first", "\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n", Forwarded),
];

#[test]
fn nothing_is_smuggled() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&backend.as_pool());
    for (name, payload, expected) in CASES {
        eprintln!("{name}");
        let before = backend.seen().len();
        let mut client = gateway.client();
        client.send(payload);
        match expected {
            Refused => {
                let reply = client.reply();
                assert!((400..500).contains(&reply.status), "{name}: {}", reply.status);
                assert!(!reply.error().is_empty(), "{name}: no reason in {:?}", reply.headers);
                assert!(client.is_closed(), "{name}: the connection stays open");
                // A body that goes wrong half way has begun to pass; it must not have ended.
                let passed = &backend.seen()[before..];
                assert!(passed.is_empty(), "{name}: the backend saw {passed:?}");
            }
            ForwardedOnce => {
                client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
                assert_eq!(client.reply().status, 200, "{name}");
                assert!(client.is_closed(), "{name}: the connection stays open");
                let passed = &backend.seen()[before..];
                assert_eq!(passed.len(), 1, "{name}: the backend saw {passed:?}");
                let lengths = ["content-length", "transfer-encoding"];
                let framings = lengths.iter().filter(|name| passed[0].header(name).is_some());
                assert_eq!(framings.count(), 1, "{name}: {:?}", passed[0]);
            }
            Forwarded => {
                assert_eq!(client.reply().status, 200, "{name}");
                client.send("POST /next HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nnext");
                assert_eq!(client.reply().text(), "next", "{name}: the connection is in step");
                let seen = backend.seen();
                assert_eq!(seen.len(), before + 2, "{name}");
                assert!(
                    seen[before].line().ends_with(" /a HTTP/1.1"),
                    "{name}: {:?}",
                    seen[before]
                );
                assert_eq!(seen[before + 1].body, b"next", "{name}");
            }
        }
    }
    let mut client = gateway.client();
    client.send("POST /last HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nlast");
    assert_eq!(client.reply().text(), "last", "upstream connections are in step");
}

#[test]
fn a_body_left_unread_by_an_early_answer_is_not_the_next_request() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&backend.as_pool());
    let mut client = gateway.client();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(&format!(
        "POST /v2/models/none/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    ));
    client.reply();
    assert!(backend.seen().iter().all(|request| !request.line().contains("smuggled")));
}

#[test]
fn what_a_backend_sends_beyond_its_answer_reaches_nobody() {
    let backend = Backend::script(|connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison");
        }
    });
    let gateway = Gateway::start(&backend.as_pool());
    let mut client = gateway.client();
    for _ in 0..5 {
        client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.reply().text(), "ok");
    }
}
