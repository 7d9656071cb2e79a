use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::domain::dialect::Dialect;
use crate::domain::spec::BackendAddress;

/// A backend that accepts connections and says `answer` to every question, or nothing.
async fn backend(answer: Option<&'static str>) -> BackendAddress {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some(answer) = answer {
                let mut head = [0; 4096];
                let _read = stream.read(&mut head).await;
                let _written = stream.write_all(answer.as_bytes()).await;
            }
            kept.push(stream);
        }
    });
    BackendAddress { host: "127.0.0.1".into(), port }
}

const TRITON: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 68\r\n\r\n\
    {\"name\":\"m\",\"versions\":[\"1\"],\"platform\":\"\",\"inputs\":[],\"outputs\":[]}";

async fn asked(backends: Vec<BackendAddress>) -> (Known, Duration) {
    let spec = BackendsSpec { dialect: SpokenDialect::Asked, ..BackendsSpec::new(backends) };
    let began = Instant::now();
    (ask(&spec, "m").await.0, began.elapsed())
}

#[tokio::test]
async fn a_silent_backend_does_not_keep_another_from_telling() {
    let silent = (backend(None).await, backend(None).await);
    let (known, took) = asked(vec![silent.0, silent.1, backend(Some(TRITON)).await]).await;
    assert_eq!(known.dialect, Some(Dialect::OpenInference));
    assert!(took < ANSWER_TIME, "{took:?}");
}

#[tokio::test]
async fn silent_backends_are_given_up_within_the_bound_of_the_version() {
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(backend(None).await);
    }
    let (known, took) = asked(silent).await;
    assert_eq!(known, Known::default());
    assert!(took < VERSION_TIME + PATIENCE, "{took:?}");
}

#[tokio::test]
async fn what_is_no_http_or_refuses_connections_is_asked_no_longer_than_it_takes() {
    // Held, so that nobody else gets the port, but not listening.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = held.local_addr().unwrap().port();
    let closed = BackendAddress { host: "127.0.0.1".into(), port };
    let (known, took) = asked(vec![closed, backend(Some("garbage\r\n\r\n")).await]).await;
    assert_eq!(known, Known::default());
    assert!(took < ANSWER_TIME, "{took:?}");
}

#[tokio::test]
async fn an_answer_that_describes_nothing_is_told_from_a_model_that_is_being_loaded() {
    const HEAD: &str = "\r\nconnection: close\r\n";
    let dialect = Dialect::TensorflowServing;
    for (answer, heard) in [
        (None, Heard::Silence),
        (Some("HTTP/1.1 404 Not Found"), Heard::Nonsense),
        (Some("HTTP/1.1 501 Not Implemented"), Heard::Nonsense),
        (Some("HTTP/1.1 503 Service Unavailable"), Heard::NotYet),
    ] {
        let answer: Option<&'static str> =
            answer.map(|status| &*format!("{status}{HEAD}content-length: 0\r\n\r\n").leak());
        let spec = BackendsSpec {
            dialect: SpokenDialect::Declared(dialect),
            ..BackendsSpec::new(vec![backend(answer).await])
        };
        assert_eq!(ask(&spec, "m").await, (Known::declared(&spec), heard), "{answer:?}");
    }
    for (state, heard) in [("LOADING", Heard::NotYet), ("AVAILABLE", Heard::Nonsense)] {
        let body = format!(r#"{{"model_version_status":[{{"version":"1","state":"{state}"}}]}}"#);
        let answer = format!("HTTP/1.1 200 OK{HEAD}content-length: {}\r\n\r\n{body}", body.len());
        let spec = BackendsSpec {
            dialect: SpokenDialect::Declared(dialect),
            // One that says that it loads is believed before one that knows nothing.
            ..BackendsSpec::new(vec![
                backend(Some("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")).await,
                backend(Some(answer.leak())).await,
            ])
        };
        assert_eq!(ask(&spec, "m").await.1, heard, "{state}");
    }
}

#[tokio::test]
async fn extensions_are_known_also_where_nobody_describes_the_model() {
    let body = r#"{"extensions":["binary_tensor_data"]}"#;
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).leak();
    let spec = BackendsSpec {
        dialect: SpokenDialect::Declared(Dialect::OpenInference),
        ..BackendsSpec::new(vec![backend(Some(answer)).await])
    };
    let (known, heard) = ask(&spec, "m").await;
    assert!(known.extensions.is_some_and(|known| known.binary_tensors && !known.classification));
    assert_eq!((known.description, heard), (None, Heard::Nonsense));
}
