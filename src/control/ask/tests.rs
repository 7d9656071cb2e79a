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
