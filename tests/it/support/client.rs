//! A client that says exactly what a test wants it to say.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// A connection and what was read from it beyond the last reply.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// One response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The connection ended before the body was complete.
    pub(crate) cut: bool,
}

impl Reply {
    /// The first value of a header, by lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {}", self.text()))
    }

    pub(crate) fn error(&self) -> &str {
        self.header("x-pointsman-error").unwrap_or("")
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|| panic!("nobody listens on {address}"))
    }

    pub(crate) fn try_connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Some(Self { stream, buffer: Vec::new() })
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    /// Sends; a connection that is closed against it is found when the reply is read.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let _closed = self.stream.write_all(bytes);
    }

    /// Reads one final response; 1xx are skipped.
    pub(crate) fn reply(&mut self) -> Reply {
        self.reply_to("POST")
    }

    /// Reads the response to a request with this method.
    pub(crate) fn reply_to(&mut self, method: &str) -> Reply {
        self.try_reply(method)
            .unwrap_or_else(|| panic!("the connection was closed without a reply"))
    }

    /// `None` when the connection ends before a head.
    pub(crate) fn try_reply(&mut self, method: &str) -> Option<Reply> {
        loop {
            let (status, headers) = self.head()?;
            if !(100..200).contains(&status) {
                return Some(self.body(method, status, headers));
            }
        }
    }

    /// Reads one head, of a 1xx response too.
    pub(crate) fn head(&mut self) -> Option<(u16, Vec<(String, String)>)> {
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            if !self.fill() {
                return None;
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Some((status, headers))
    }

    fn body(&mut self, method: &str, status: u16, headers: Vec<(String, String)>) -> Reply {
        let mut reply = Reply { status, headers, body: Vec::new(), cut: false };
        if method == "HEAD" || matches!(status, 204 | 304) {
            return reply;
        }
        if reply.header("transfer-encoding") == Some("chunked") {
            loop {
                let Some(chunk) = self.chunk() else {
                    reply.cut = true;
                    return reply;
                };
                if chunk.is_empty() {
                    return reply;
                }
                reply.body.extend(chunk);
            }
        }
        let length = reply.header("content-length").map(|text| text.parse::<usize>().unwrap());
        loop {
            if length.is_some_and(|length| self.buffer.len() >= length) {
                reply.body = self.buffer.drain(..length.unwrap()).collect();
                return reply;
            }
            if !self.fill() {
                reply.cut = length.is_some();
                reply.body = std::mem::take(&mut self.buffer);
                return reply;
            }
        }
    }

    /// Reads one chunk of a chunked body.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                break end;
            }
            if !self.fill() {
                return None;
            }
        };
        let size = std::str::from_utf8(&self.buffer[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        while self.buffer.len() < end + 2 + size + 2 {
            if !self.fill() {
                return None;
            }
        }
        let chunk = self.buffer[end + 2..end + 2 + size].to_vec();
        self.buffer.drain(..end + 2 + size + 2);
        Some(chunk)
    }

    /// Reads so many bytes that are no HTTP/1.1.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill(), "the connection was closed");
        }
        self.buffer.drain(..count).collect()
    }

    /// Reads until the other side closes.
    pub(crate) fn read_to_end(&mut self) {
        while self.fill() {}
    }

    /// Ends the sending side and goes.
    pub(crate) fn close(self) {
        let _closed = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Whether the other side has closed, now or within the patience.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.fill()
    }

    fn fill(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(n) => {
                self.buffer.extend_from_slice(&piece[..n]);
                true
            }
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                false
            }
            Err(error) => {
                panic!("no answer: {error}; so far {:?}", String::from_utf8_lossy(&self.buffer))
            }
        }
    }
}

/// A POST with a body of known length; `headers` are whole lines with their line ends.
pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: gateway.test\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
