//! What the tests share: a gateway process, scripted backends, a raw client.

pub(crate) mod backend;
pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod gateway;
pub(crate) mod http2;
pub(crate) mod in_process;
pub(crate) mod onnx;
pub(crate) mod server;

pub(crate) use self::backend::Backend;
pub(crate) use self::client::{Client, Reply};
pub(crate) use self::clock::Clock;
pub(crate) use self::gateway::Gateway;
pub(crate) use self::http2::{Http2, Http2Backend, Http2Reply};
pub(crate) use self::server::{Mood, Server};

/// The longest wait of any test for anything.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// Waits until `condition` gives something, and fails the test when it never does.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(std::time::Instant::now() < until, "timed out: {what}");
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
}

/// A port that nobody listens on, and that nobody else gets while this lives: connections to it are refused.
pub(crate) struct Nobody {
    _bound: tokio::net::TcpSocket,
    pub(crate) address: std::net::SocketAddr,
}

impl Nobody {
    /// Lets go of the port, for a server that starts now.
    pub(crate) fn leave(self) -> std::net::SocketAddr {
        self.address
    }
}

/// A port to be refused on. A listener that was dropped would not do: another test's server may be given its port.
pub(crate) fn nobody() -> Nobody {
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr().unwrap();
    Nobody { _bound: bound, address }
}

/// A path in the repository.
pub(crate) fn repository(path: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The configuration of an in-process iris model.
pub(crate) fn iris() -> String {
    let path = repository("config/models/iris/v1/model.onnx");
    format!("[models.iris.versions.v1]\nonnx = {:?}\n", path.display().to_string())
}

/// A body that the iris model answers.
pub(crate) const IRIS_BODY: &str =
    r#"{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"#;
