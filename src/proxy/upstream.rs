//! Connections to backends.
//!
//! Owns the client side of HTTP. Over HTTP/1.1 one [`Link`] is one connection, polled by the request
//! that uses it, so that an answer wakes one task and a client that leaves takes its connection with
//! it; a [`Pool`] keeps unused links of one worker. Over HTTP/2 a link is one stream of a connection
//! that [`Channels`] shares among the requests of one worker. Never chooses a backend and never
//! retries.

mod channel;
mod link;
mod pool;
mod stream;

pub(super) use self::channel::Channels;
pub(super) use self::link::{Link, LinkError};
pub(super) use self::pool::Pool;
