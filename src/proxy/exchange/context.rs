//! What stays the same for all exchanges of one connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderValue;

use crate::proxy::clock::ConnClock;
use crate::proxy::worker::Worker;

/// What an exchange is served with.
#[derive(Clone)]
pub(in crate::proxy) struct Context {
    pub(in crate::proxy) worker: Arc<Worker>,
    pub(in crate::proxy) clock: Arc<ConnClock>,
    pub(in crate::proxy) peer: Arc<Peer>,
}

/// The other end of a client connection, written once for all its requests.
pub(in crate::proxy) struct Peer {
    pub(in crate::proxy) ip: IpAddr,
    text: String,
    /// For `X-Forwarded-For`.
    pub(in crate::proxy) header: Option<HeaderValue>,
}

impl Peer {
    /// The address as text.
    pub(in crate::proxy) fn text(&self) -> &str {
        &self.text
    }

    pub(in crate::proxy) fn new(address: SocketAddr) -> Self {
        let ip = address.ip().to_canonical();
        let text = ip.to_string();
        let header = HeaderValue::from_str(&text).ok();
        Self { ip, text, header }
    }
}
