//! `pointsman health`

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Failure;
use super::admin_client::reachable;
use crate::domain::spec::Intent;

/// The longest wait for each step.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most bytes of the answer that are read.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Succeeds if the gateway of this configuration is ready.
pub(super) fn health(intent: &Intent) -> Result<(), Failure> {
    let address = reachable(intent.admin);
    let status = ask(address)
        .map_err(|error| Failure::other(format!("no gateway answers at {address}: {error}")))?;
    if status.starts_with("HTTP/1.1 200") {
        return Ok(());
    }
    Err(Failure::other(format!("the gateway at {address} is not ready: {}", status.trim_end())))
}

/// The status line of `/readyz`.
fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(
        format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).into_owned())
}
