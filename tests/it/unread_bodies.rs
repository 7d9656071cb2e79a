//! Answers that come before the end of the request's body: a client that sends all of it first finds them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::client::post as short;
use crate::support::{Backend, Gateway, IRIS_BODY, PATIENCE, iris};

/// What a client gets that sends all of its request before it looks for an answer.
fn blocking(gateway: &Gateway, head: &str, pieces: &[&[u8]]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(gateway.data)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(head.as_bytes())?;
    for piece in pieces {
        stream.write_all(piece)?;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn post(path: &str, headers: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\n{headers}content-length: {length}\r\n\r\n")
}

#[test]
fn a_refusal_reaches_a_client_that_sends_all_of_its_body_first() {
    let limited = |limit: &str| format!("{}[limits]\nbody = \"{limit}\"\n", iris());
    let (wide, narrow) = (Gateway::start(&limited("64MiB")), Gateway::start(&limited("1MiB")));
    // More than the sockets between them hold.
    let long = vec![b'1'; 24 << 20];
    for (gateway, path, headers, status) in [
        (&wide, "/v2/models/nope/infer", "", "404"),
        (&wide, "/v2/models/iris/versions/nope/infer", "", "404"),
        (&wide, "/v2/models/iris/infer", "content-encoding: br\r\n", "415"),
        (&wide, "/v2/models/iris/infer", "x-pointsman-version: nope\r\n", "404"),
        (&wide, "/nowhere", "", "404"),
        (&narrow, "/v2/models/iris/infer", "", "413"),
    ] {
        let head = post(path, headers, long.len());
        for _ in 0..3 {
            let answer = blocking(gateway, &head, &[&long]);
            let answer = answer.unwrap_or_else(|error| panic!("{path} {headers}: {error}"));
            let is_told = answer.starts_with(&format!("HTTP/1.1 {status} "));
            assert!(is_told && answer.contains("connection: close\r\n"), "{path}: {answer}");
        }
    }
    let lingered = |gateway: &Gateway, end: &str, count: f64| {
        gateway.metric_reaches(
            &format!("pointsman_connections_lingered_total{{end=\"{end}\"}}"),
            count,
        );
    };
    lingered(&wide, "read", 15.0);
    lingered(&narrow, "read", 3.0);
    wide.metric_is("pointsman_connections_lingered_total{end=\"cut\"}", 0.0);
}

#[test]
fn a_body_that_follows_its_head_is_refused_and_not_reset() {
    let gateway = Gateway::start(&iris());
    let head = "POST /v2/models/iris/infer HTTP/1.1\r\nhost: a\r\ncontent-encoding: br\r\n\
                transfer-encoding: chunked\r\n\r\n";
    let mut stream = TcpStream::connect(gateway.data).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // The answer is there before the body, which is sent nevertheless.
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 415");
    for _ in 0..64 {
        stream.write_all(format!("1000\r\n{}\r\n", "1".repeat(0x1000)).as_bytes()).unwrap();
    }
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("x-pointsman-error: unsupported_encoding"), "{rest}");
}

#[test]
fn who_goes_on_sending_is_cut_off() {
    let gateway = Gateway::start(&iris());
    let head = post("/v2/models/nope/infer", "", 1 << 40);
    // Without an end.
    let piece = vec![b'1'; 1 << 20];
    let endless: Vec<&[u8]> = std::iter::repeat_n(&*piece, 400).collect();
    blocking(&gateway, &head, &endless).expect_err("400 MiB are not read");
    gateway.metric_is("pointsman_connections_lingered_total{end=\"cut\"}", 1.0);
    // Slowly: it is waited for a second, and five in all.
    let mut stream = TcpStream::connect(gateway.data).unwrap();
    let began = Instant::now();
    stream.write_all(head.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    while stream.write_all(b"1").is_ok() && began.elapsed() < PATIENCE {
        let _answer = stream.read(&mut [0; 4096]);
        std::thread::park_timeout(Duration::from_millis(100));
    }
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    gateway.metric_is("pointsman_connections_lingered_total{end=\"cut\"}", 2.0);
}

#[test]
fn a_gateway_that_stops_does_not_wait_long_for_bodies_that_nobody_reads() {
    let gateway = Gateway::start(&iris());
    let mut stream = TcpStream::connect(gateway.data).unwrap();
    stream.write_all(post("/v2/models/nope/infer", "", 10 << 20).as_bytes()).unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 404");
    let began = Instant::now();
    drop(gateway.stop());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// A backend that refuses at the head, and then reads the rest, or closes at once.
fn refusing(reads_the_rest: bool) -> Backend {
    Backend::script(move |connection| {
        let mut head = [0; 512];
        let _some = connection.stream.read(&mut head);
        connection.send(
            "HTTP/1.1 413 Payload Too Large\r\nconnection: close\r\ncontent-length: 4\r\n\r\nlong",
        );
        if reads_the_rest {
            let _closed = connection.stream.shutdown(std::net::Shutdown::Write);
            while connection.stream.read(&mut [0; 65536]).is_ok_and(|read| read > 0) {}
        }
    })
}

#[test]
fn an_early_answer_of_a_backend_reaches_the_client() {
    for reads_the_rest in [true, false] {
        let backend = refusing(reads_the_rest);
        for dialect in ["", "dialect = \"kserve_v1\"\n"] {
            let gateway = Gateway::start(&format!("{}{dialect}", backend.as_model()));
            for length in [100_000, 4 << 20] {
                let body = format!(
                    r#"{{"inputs":[{{"name":"x","shape":[{length}],"datatype":"INT64","data":[{}1]}}]}}"#,
                    "1,".repeat(length - 1)
                );
                let head = post("/v2/models/m/infer", "connection: close\r\n", body.len());
                for _ in 0..3 {
                    let answer = blocking(&gateway, &head, &[body.as_bytes()]);
                    let is_told =
                        answer.as_ref().is_ok_and(|answer| answer.starts_with("HTTP/1.1 413 "));
                    assert!(is_told, "{reads_the_rest} {dialect:?} {length}: {answer:?}");
                    if !dialect.is_empty() {
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn a_connection_is_kept_where_the_body_was_read() {
    let gateway = Gateway::start(&iris());
    let mut client = gateway.client();
    let br = "content-encoding: br\r\n";
    for (path, headers, body, status) in [
        ("/v2/models/iris/infer", "", IRIS_BODY, 200),
        ("/v2/models/iris/infer", br, IRIS_BODY, 415),
        ("/v2/models/nope/infer", "", IRIS_BODY, 404),
        ("/v1/models/iris:predict", "", "{\"instances\":[[5.1,3.5,1.4,0.2]]}", 200),
        ("/v2/repository/index", "", "{}", 200),
        ("/v1/feedback", "content-type: application/json\r\n", "{", 400),
        ("/v2/models/iris/infer", "", IRIS_BODY, 200),
    ] {
        client.send(&short(path, headers, body));
        let reply = client.reply();
        assert_eq!(reply.status, status, "{path} {headers}: {}", reply.text());
        assert_eq!(reply.header("connection"), None, "{path} {headers}");
    }
}
