//! Asking a running gateway over its admin API.
//!
//! Owns one request and its answer. Never asks again.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::Failure;

/// The longest wait for each step.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Where a listener on any address can be reached from this machine.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The JSON at a path.
pub(super) fn get(admin: SocketAddr, path: &str) -> Result<Value, Failure> {
    exchange(admin, "GET", path, "")
}

/// The JSON that answers what was posted.
pub(super) fn post(admin: SocketAddr, path: &str, body: &Value) -> Result<Value, Failure> {
    exchange(admin, "POST", path, &body.to_string())
}

fn exchange(admin: SocketAddr, method: &str, path: &str, body: &str) -> Result<Value, Failure> {
    let address = reachable(admin);
    let answer = ask(address, method, path, body)
        .map_err(|error| Failure::other(format!("no gateway answers at {address}: {error}")))?;
    let strange = |what: &str| Failure::other(format!("the gateway at {address} {what}"));
    let (head, body) = split(&answer).ok_or_else(|| strange("sends no answer of HTTP"))?;
    let status = head.split_ascii_whitespace().nth(1).unwrap_or_default().to_owned();
    let value: Value = serde_json::from_slice(body)
        .map_err(|_invalid| strange(&format!("answers {status} without JSON")))?;
    match (status.as_str(), value.get("error").and_then(Value::as_str)) {
        ("200", _) => Ok(value),
        (_, Some(error)) => Err(strange(&format!("answers {status}: {error}"))),
        (_, None) => Err(strange(&format!("answers {status}"))),
    }
}

/// The whole answer. HTTP/1.0 ends it with the connection, so that its body is not in chunks.
fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The first line, and the body.
fn split(answer: &[u8]) -> Option<(&str, &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (answer.get(..end)?, answer.get(end + 4..)?);
    let line = head.split(|byte| *byte == b'\r').next()?;
    Some((std::str::from_utf8(line).ok()?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_first_line_and_its_body() {
        let answer = b"HTTP/1.0 404 Not Found\r\na: b\r\n\r\n{\"x\":1}\r\n\r\n";
        assert_eq!(split(answer), Some(("HTTP/1.0 404 Not Found", &b"{\"x\":1}\r\n\r\n"[..])));
        assert_eq!(split(b"HTTP/1.0 200 OK\r\n"), None);
    }
}
