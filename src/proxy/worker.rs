//! One worker: a thread with its own listener, connections and upstream pool.
//!
//! Owns accepting and the end of accepting. Workers share nothing that is written on the request
//! path but counters.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use tokio::net::{TcpListener, TcpStream};

use super::drain::{Drain, OpenGuard};
use super::forward::TraceContext;
use super::listen::BoundSocket;
use super::problem::{Cause, Problem, raw_response};
use super::upstream::{Channels, Pool};
use super::{Gateway, connection};
use crate::domain::ids::{Entropy, RecordId};
use crate::domain::spec::{BackendAddress, KeepAlive};
use crate::snapshot::{Held, LocalReader, RuntimeKind, Snapshot};
use crate::telemetry::logging::Throttle;

/// How often unused upstream connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);
/// The pause after the system has refused to accept, as when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What a worker is made of; it starts when the server runs its service.
#[derive(Debug)]
pub struct WorkerPlan {
    name: String,
    index: usize,
    gateway: Arc<Gateway>,
    drain: Arc<Drain>,
    socket: Option<(BoundSocket, OpenGuard)>,
}

impl WorkerPlan {
    /// Worker number `index` on `socket`.
    pub fn new(
        index: usize,
        gateway: Arc<Gateway>,
        drain: Arc<Drain>,
        socket: BoundSocket,
    ) -> Self {
        let open = drain.open_listener();
        Self {
            name: format!("worker {index}"),
            index,
            gateway,
            drain,
            socket: Some((socket, open)),
        }
    }
}

#[async_trait]
impl Service for WorkerPlan {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        let Some((socket, open)) = self.socket.take() else { return };
        let (gateway, drain) = (Arc::clone(&self.gateway), Arc::clone(&self.drain));
        let worker = Arc::new(Worker::new(gateway, drain, self.index));
        let listener = socket.listen().map_err(io::Error::other).and_then(TcpListener::from_std);
        match listener {
            Ok(listener) => {
                self.gateway.readiness.listening();
                worker.run(listener).await;
            }
            Err(error) => tracing::error!(worker = self.index, %error, "a listener did not start"),
        }
        drop(open);
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}

/// The running half of a worker.
pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) gateway: Arc<Gateway>,
    pub(super) drain: Arc<Drain>,
    pub(super) pool: Pool,
    pub(super) channels: Channels,
    /// Seeded by the system; only this worker draws, so that the lock is never contended.
    random: Mutex<fastrand::Rng>,
    /// Likewise.
    snapshots: Mutex<LocalReader>,
}

impl Worker {
    /// One that has accepted nothing yet.
    pub(super) fn new(gateway: Arc<Gateway>, drain: Arc<Drain>, index: usize) -> Self {
        Self {
            index,
            drain,
            pool: Pool::default(),
            channels: Channels::default(),
            random: Mutex::new(fastrand::Rng::new()),
            snapshots: Mutex::new(gateway.snapshots.local()),
            gateway,
        }
    }

    /// Accepts connections until draining begins.
    async fn run(self: Arc<Self>, listener: TcpListener) {
        let drained = self.drain.begun();
        tokio::pin!(drained);
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = &mut drained => break,
                _ = sweep.tick() => self.sweep(),
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.admit(stream, peer),
                    Err(error) => {
                        static THROTTLE: Throttle = Throttle::new();
                        if let Some(held_back) = THROTTLE.admit() {
                            tracing::warn!(%error, held_back, "a connection could not be accepted");
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        // Connections that the kernel has accepted for this listener would be reset with it.
        while let Poll::Ready(Ok((stream, peer))) =
            std::future::poll_fn(|cx| Poll::Ready(listener.poll_accept(cx))).await
        {
            self.admit(stream, peer);
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: std::net::SocketAddr) {
        let counters = &self.gateway.counters;
        counters.connections_accepted.increment(1);
        let Some(open) = self.drain.open_connection(self.gateway.limits.connections) else {
            counters.connections_limited.increment(1);
            counters.error(Cause::Connections).increment(1);
            let problem = Problem::new(Cause::Connections, "too many connections");
            // A client that does not read its answer has lost it.
            let _not_taken = stream.try_write(&raw_response(&problem));
            return;
        };
        // An option that is refused costs latency, not correctness.
        let _slower = stream.set_nodelay(true);
        let worker = Arc::clone(self);
        tokio::spawn(async move {
            connection::serve(worker, stream, peer).await;
            drop(open);
        });
    }

    /// Closes upstream connections that were unused for too long or whose backend is gone.
    pub(super) fn sweep(&self) {
        // A worker without requests must not keep a model that was unloaded.
        drop(self.snapshot());
        if self.pool.is_empty() && self.channels.is_empty() {
            return;
        }
        let snapshot = self.gateway.snapshots.load();
        let known = keep_alives(&snapshot);
        let now = Instant::now();
        self.pool.sweep(now, |address| known.get(address).copied());
        self.channels.sweep(now, |address| known.get(address).copied());
    }

    /// The current snapshot, for one request.
    pub(super) fn snapshot(&self) -> Held {
        self.snapshots.lock().load()
    }

    /// A record id for a request at `unix_ms`, and the randomness of its decision.
    pub(super) fn mint(&self, unix_ms: u64) -> (RecordId, Entropy) {
        let mut random = self.random.lock();
        let mut bytes = [0; 10];
        let (high, low) = (random.u64(..), random.u64(..));
        bytes[..8].copy_from_slice(&high.to_le_bytes());
        bytes[8..].copy_from_slice(&low.to_le_bytes()[..2]);
        (RecordId::from_parts(unix_ms, bytes), Entropy(random.u64(..)))
    }

    /// A trace that begins here.
    pub(super) fn mint_trace(&self) -> TraceContext {
        let mut random = self.random.lock();
        // Zero means "invalid" in both fields.
        let trace_id = random.u128(1..).to_be_bytes();
        let span_id = random.u64(1..).to_be_bytes();
        TraceContext { trace_id, span_id }
    }
}

/// How long connections are kept, by backend: the longest of all targets that name it.
fn keep_alives(snapshot: &Snapshot) -> HashMap<&BackendAddress, KeepAlive> {
    let mut known: HashMap<_, KeepAlive> = HashMap::new();
    for target in &snapshot.runtime {
        let RuntimeKind::Remote(runtime) = &target.kind else { continue };
        for backend in &runtime.backends {
            let keep = known.entry(&backend.address).or_insert(runtime.keep_alive);
            keep.idle = keep.idle.max(runtime.keep_alive.idle);
        }
    }
    known
}
