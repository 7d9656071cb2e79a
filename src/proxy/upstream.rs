//! Connections to backends.
//!
//! Owns the HTTP/1.1 client side: one [`Link`] is one connection, polled by the request that uses
//! it, so that an answer wakes one task and a client that leaves takes its connection with it; a
//! [`Pool`] keeps unused links of one worker. Never chooses a backend and never retries.

mod link;
mod pool;

pub(super) use self::link::{Link, LinkError};
pub(super) use self::pool::Pool;
