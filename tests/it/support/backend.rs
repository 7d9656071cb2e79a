//! A backend that does what a test's script says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use parking_lot::Mutex;

use super::PATIENCE;

/// What TensorFlow Serving says of such a model.
pub(crate) const DESCRIPTION: &str = concat!(
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 324\r\n\r\n",
    r#"{"model_spec":{"name":"m","signature_name":"","version":"7"},"metadata":{"signature_def":{"signature_def":{"#,
    r#""serving_default":{"inputs":{"x":{"dtype":"DT_FLOAT","tensor_shape":{"dim":[{"size":"-1"}]}}},"#,
    r#""outputs":{"y":{"dtype":"DT_FLOAT","tensor_shape":{"dim":[{"size":"-1"}]}}},"#,
    r#""method_name":"tensorflow/serving/predict"}}}}}"#,
);

/// A listening backend; each connection runs the script in a thread of its own.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Incoming>>>,
    connections: Arc<Mutex<usize>>,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    /// Request line and headers, without the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Incoming {
    /// The first value of a header, by name in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }

    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }
}

/// One connection of a backend.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    seen: Arc<Mutex<Vec<Incoming>>>,
    buffer: Vec<u8>,
}

impl Backend {
    /// Runs `script` for every connection.
    pub(crate) fn script(script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        Self::listening(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    /// The same at an address that was free a moment ago.
    pub(crate) fn script_at(
        address: SocketAddr,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Self {
        Self::listening(TcpListener::bind(address).unwrap(), script)
    }

    fn listening(
        listener: TcpListener,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let (script, all, count) = (Arc::new(script), Arc::clone(&seen), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                *count.lock() += 1;
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_nodelay(true).unwrap();
                let (script, seen) = (Arc::clone(&script), Arc::clone(&all));
                std::thread::spawn(move || {
                    script(&mut Connection { stream, seen, buffer: Vec::new() });
                });
            }
        });
        Self { address, seen, connections }
    }

    /// Answers every request with `response` (a whole message) and keeps the connection.
    pub(crate) fn replying(response: &'static str) -> Self {
        Self::replying_at("127.0.0.1:0".parse().unwrap(), response)
    }

    /// The same at an address that was free a moment ago.
    pub(crate) fn replying_at(address: SocketAddr, response: &'static str) -> Self {
        Self::script_at(address, move |connection| {
            while connection.request().is_some() {
                connection.send(response);
            }
        })
    }

    /// Describes a model of TensorFlow Serving with one input `x` and one output `y`, lists of FP32, and answers all
    /// else with `response`.
    pub(crate) fn serving(response: String) -> Self {
        Self::script(move |connection| {
            while let Some(request) = connection.request() {
                let asked = request.line().contains("/metadata ");
                connection.send(if asked { DESCRIPTION } else { &response });
            }
        })
    }

    /// Answers every request with 200 and its own body.
    pub(crate) fn echo() -> Self {
        Self::script(|connection| {
            while let Some(request) = connection.request() {
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
                    request.body.len()
                );
                connection.send(&head);
                if !request.line().starts_with("HEAD") {
                    connection.send_bytes(&request.body);
                }
            }
        })
    }

    /// The configuration of model `m` whose version `v1` is this backend.
    pub(crate) fn as_model(&self) -> String {
        format!("[models.m.versions.v1]\nbackends = [\"http://{}\"]\n", self.address)
    }

    /// The configuration of a route that sends everything to a pool of this backend.
    pub(crate) fn as_pool(&self) -> String {
        format!(
            "[pools.p]\nbackends = [\"http://{}\"]\n[routes.all]\npath_prefix = \"/\"\npool = \"p\"\n",
            self.address
        )
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Incoming> {
        self.seen.lock().clone()
    }

    /// The connections so far.
    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock()
    }
}

impl Connection {
    /// Reads one request; `None` at the end of the connection.
    pub(crate) fn request(&mut self) -> Option<Incoming> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            self.fill()?;
        };
        let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
        let mut request = Incoming { head: head.trim_end().to_owned(), body: Vec::new() };
        if request.header("transfer-encoding").is_some() {
            request.body = self.chunks()?;
        } else if let Some(length) = request.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length {
                self.fill()?;
            }
            request.body = self.buffer.drain(..length).collect();
        }
        self.seen.lock().push(request.clone());
        Some(request)
    }

    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                    break end;
                }
                self.fill()?;
            };
            let size = std::str::from_utf8(&self.buffer[..end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            while self.buffer.len() < end + 2 + size + 2 {
                self.fill()?;
            }
            body.extend_from_slice(&self.buffer[end + 2..end + 2 + size]);
            self.buffer.drain(..end + 2 + size + 2);
            if size == 0 {
                return Some(body);
            }
        }
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let _closed = self.stream.write_all(bytes);
    }

    /// Waits until the other side closes.
    pub(crate) fn wait_for_close(&mut self) {
        while self.fill().is_some() {}
    }

    fn fill(&mut self) -> Option<()> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) | Err(_) => None,
            Ok(n) => {
                self.buffer.extend_from_slice(&piece[..n]);
                Some(())
            }
        }
    }
}
