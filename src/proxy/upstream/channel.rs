//! Connections of HTTP/2 to backends, each shared by the requests of one worker.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::link::{HEAD_BYTES_MAX, Link, connect};
use crate::domain::spec::{BackendAddress, KeepAlive};
use crate::proxy::body::RequestBody;
use crate::snapshot::Backend;

/// The most streams at a time on one connection. Where a backend allows fewer, the others wait for their
/// turn on it.
const STREAMS_MAX: u32 = 100;
/// What a backend may send beyond what has been read, of one stream and of all.
const STREAM_WINDOW: u32 = 512 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// How often a connection in use is asked for a sign of life, and how long that may take.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIME: Duration = Duration::from_secs(20);

/// One connection.
struct Channel {
    sender: SendRequest<RequestBody>,
    load: Arc<Load>,
}

/// What a connection carries and has carried.
struct Load {
    opened: Instant,
    streams: AtomicU32,
    requests: AtomicU32,
    /// Microseconds from the opening to the end of the last stream.
    idle_since_us: AtomicU64,
}

/// A share in a connection, given back when dropped.
pub(super) struct Lease(Arc<Load>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
        let since = self.0.opened.elapsed().as_micros();
        self.0.idle_since_us.store(u64::try_from(since).unwrap_or(u64::MAX), Relaxed);
    }
}

impl Channel {
    fn lease(&self) -> Box<Link> {
        self.load.streams.fetch_add(1, Relaxed);
        let before = self.load.requests.fetch_add(1, Relaxed);
        Link::stream(self.sender.clone(), Lease(Arc::clone(&self.load)), before)
    }

    /// Whether another request may go this way.
    fn has_room(&self, now: Instant, keep: &KeepAlive) -> bool {
        self.sender.is_ready()
            && self.load.streams.load(Relaxed) < STREAMS_MAX
            && now.duration_since(self.load.opened) < keep.age
    }

    /// Whether it is closed, or unused for too long.
    fn is_over(&self, now: Instant, keep: &KeepAlive) -> bool {
        let idle_since = Duration::from_micros(self.load.idle_since_us.load(Relaxed));
        let unused = now.duration_since(self.load.opened).saturating_sub(idle_since);
        let idle = self.load.streams.load(Relaxed) == 0;
        self.sender.is_closed()
            || (idle && (unused >= keep.idle || now.duration_since(self.load.opened) >= keep.age))
    }
}

/// The HTTP/2 connections of one worker. Only its worker touches it, so that the lock is never
/// contended; it is never held across an await.
#[derive(Default)]
pub(in crate::proxy) struct Channels {
    open: Mutex<HashMap<BackendAddress, Vec<Channel>>>,
    /// Whose turn it is to open a connection.
    turns: Mutex<HashMap<BackendAddress, Arc<Semaphore>>>,
}

fn one_turn() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(1))
}

impl Channels {
    /// A stream of a connection that is open and has room.
    pub(in crate::proxy) fn take(
        &self,
        backend: &Arc<Backend>,
        keep: &KeepAlive,
        now: Instant,
    ) -> Option<Box<Link>> {
        let open = self.open.lock();
        let channels = open.get(&backend.address)?;
        channels.iter().find(|channel| channel.has_room(now, keep)).map(Channel::lease)
    }

    /// A stream of a connection that was opened since the call began: one by one, so that requests that
    /// come together share what the first of them opens.
    ///
    /// # Errors
    ///
    /// The system's, or a backend that does not speak HTTP/2.
    pub(in crate::proxy) async fn join(
        &self,
        address: &BackendAddress,
        keep: &KeepAlive,
    ) -> io::Result<Box<Link>> {
        let began = Instant::now();
        let turn = Arc::clone(self.turns.lock().entry(address.clone()).or_insert_with(one_turn));
        let _turn = turn.acquire().await.map_err(io::Error::other)?;
        let now = Instant::now();
        let opened = {
            let open = self.open.lock();
            let mut channels = open.get(address).into_iter().flatten();
            let new = |channel: &&Channel| channel.load.opened >= began;
            channels.find(|channel| new(channel) && channel.has_room(now, keep)).map(Channel::lease)
        };
        match opened {
            Some(link) => Ok(link),
            None => self.open(address).await,
        }
    }

    /// A stream of a new connection. Its task ends with the last stream after the channel is dropped.
    async fn open(&self, address: &BackendAddress) -> io::Result<Box<Link>> {
        let stream = connect(address).await?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_BYTES_MAX)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIME)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(async move {
            // Whoever has a stream on it learns of the error there.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP/2 connection to a backend ended");
            }
        });
        let load = Load {
            opened: Instant::now(),
            streams: AtomicU32::new(0),
            requests: AtomicU32::new(0),
            idle_since_us: AtomicU64::new(0),
        };
        let channel = Channel { sender, load: Arc::new(load) };
        let link = channel.lease();
        self.open.lock().entry(address.clone()).or_default().push(channel);
        Ok(link)
    }

    /// Lets go of what is closed or unused for longer than `keep_of` allows, and of backends that are no
    /// longer known.
    pub(in crate::proxy) fn sweep(
        &self,
        now: Instant,
        keep_of: impl Fn(&BackendAddress) -> Option<KeepAlive>,
    ) {
        self.turns.lock().retain(|_, turn| Arc::strong_count(turn) > 1);
        self.open.lock().retain(|address, channels| {
            let Some(keep) = keep_of(address) else { return false };
            channels.retain(|channel| !channel.is_over(now, &keep));
            !channels.is_empty()
        });
    }

    /// Whether no connection is kept.
    pub(in crate::proxy) fn is_empty(&self) -> bool {
        self.open.lock().is_empty() && self.turns.lock().is_empty()
    }
}
