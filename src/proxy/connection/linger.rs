//! The end of a connection whose client still sends a body that nobody reads.
//!
//! Owns reading and dropping the rest of it, within bounds, after the answer was written. Many clients send all of
//! their body before they look for an answer; a socket that is closed with unread bytes in it resets the connection,
//! which breaks that off and can take the answer with it (RFC 9112 section 9.6). Never writes.

use std::pin::pin;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::proxy::worker::Worker;

/// How long it is read for.
const TIME: Duration = Duration::from_secs(5);
/// How long the next bytes may take, and all of it once the gateway stops.
const IDLE: Duration = Duration::from_secs(1);
/// How much is read.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// How much is read at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// Reads what still comes, and closes. The answer has left, and the gateway's side is closed behind it.
pub(super) async fn linger(worker: &Worker, mut stream: TcpStream) {
    let counters = &worker.gateway.counters;
    // Where connections are short, they are for requests.
    let limit = worker.gateway.limits.connections;
    if worker.drain.connections() > limit - limit / 4 {
        counters.lingered_full.increment(1);
        return;
    }
    let is_over = read(worker, &mut stream).await;
    let counter = if is_over { &counters.lingered_read } else { &counters.lingered_cut };
    counter.increment(1);
}

/// Whether the client has closed its side, or is gone.
async fn read(worker: &Worker, stream: &mut TcpStream) -> bool {
    let mut stops = pin!(worker.drain.begun());
    let mut is_stopping = false;
    let mut until = Instant::now() + TIME;
    let mut left = BYTES_MAX;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let deadline = until.min(Instant::now() + IDLE);
        tokio::select! {
            read = tokio::time::timeout_at(deadline, stream.read(&mut piece)) => match read {
                Ok(Ok(0) | Err(_)) => return true,
                Ok(Ok(read)) if read < left => left -= read,
                Ok(Ok(_)) | Err(_) => return false,
            },
            () = &mut stops, if !is_stopping => {
                is_stopping = true;
                until = until.min(Instant::now() + IDLE);
            }
        }
    }
}
