//! The data plane: from a client's bytes to its answer.
//!
//! Owns listeners, workers, exchanges, upstream connections, capture, and the one status table
//! (`problem`). Never decides which versions exist or how traffic divides: it follows the
//! snapshot. It and the controller never meet but there, and in the records it leaves.
//!
//! ```text
//! listen ─▶ worker ─▶ connection ─▶ exchange: admit ─▶ decide ─┬─▶ local  ─┬─▶ record ─▶ reply
//!                         └ http2: one exchange a stream       │           │
//!                                                              └─▶ remote ─┘└─▶ shadow, off the way
//!                                                                   └ balance ─ upstream (pool, link)
//! ```

mod admit;
mod asked;
mod balance;
mod body;
mod builtin;
mod capture;
mod clock;
mod coding;
mod connection;
mod drain;
mod exchange;
mod extensions;
mod feedback;
mod forward;
mod grpc;
mod held;
mod http2;
mod listen;
mod local;
mod names;
mod offload;
mod problem;
mod redact;
mod remote;
mod repository;
mod shadow;
mod translate;
mod upstream;
mod whole;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use metrics::Counter;
use parking_lot::Mutex;

pub use self::drain::{Drain, DrainHandle};
pub use self::listen::{BoundSocket, BoundSockets, ListenError, bind};
use self::problem::Cause;
pub use self::shadow::ShadowThread;
pub use self::worker::WorkerPlan;
use crate::domain::spec::{Forwarding, Intent, Limits, ProtocolSpec};
use crate::inference::{Executor, ExecutorStats};
use crate::prediction_log::Recorder;
use crate::protocol::grpc::reflection::Reflection;
use crate::snapshot::{Reader, Replays, Repository};
use crate::telemetry::{Registry, ShardedCounter};

/// What all workers share. Nothing in it is locked on the request path.
pub struct Gateway {
    pub(crate) snapshots: Reader,
    pub(crate) repository: Repository,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) executor: Arc<Executor>,
    pub(crate) readiness: Arc<Readiness>,
    limits: Limits,
    held_bodies: Arc<held::HeldBodies>,
    codec: offload::Codec,
    forwarding: Forwarding,
    desk: feedback::Desk,
    /// How long an exchange waits for room in the log.
    log_block: Duration,
    counters: Counters,
    pub(crate) upstream_reuses: ShardedCounter,
    pub(crate) sampled_out: ShardedCounter,
    protocols: ProtocolSpec,
    /// The definitions of the services of gRPC.
    reflection: Option<Reflection>,
    copies: shadow::Copies,
    replays: Replays,
    /// Who makes copies takes them.
    copies_ahead: Mutex<Option<shadow::Ahead>>,
    /// What counts beside the workers has this number.
    aside: usize,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl Gateway {
    /// Puts together what the workers share.
    pub fn new(
        intent: &Intent,
        (snapshots, repository): (Reader, Repository),
        recorder: Arc<Recorder>,
        (executor, codec): (Arc<Executor>, Executor),
        readiness: Arc<Readiness>,
        registry: &Registry,
    ) -> Self {
        let (copies, replays, ahead) = shadow::channels();
        Self {
            snapshots,
            repository,
            executor,
            readiness,
            limits: intent.limits,
            held_bodies: Arc::new(held::HeldBodies::new(intent.limits.held_bodies)),
            codec: offload::Codec::new(codec),
            forwarding: intent.forwarding.clone(),
            desk: feedback::Desk::new(intent, &recorder, registry),
            log_block: intent.log.block,
            counters: Counters::new(registry),
            recorder,
            upstream_reuses: ShardedCounter::new(registry.workers()),
            sampled_out: ShardedCounter::new(registry.workers()),
            protocols: intent.protocols.clone(),
            reflection: Reflection::new().ok(),
            copies,
            replays,
            copies_ahead: Mutex::new(Some(ahead)),
            aside: registry.workers(),
        }
    }

    /// What the threads for long bodies do and have done.
    pub fn codec_stats(&self) -> ExecutorStats {
        self.codec.stats()
    }

    /// Orders logged requests to be replayed through a version that gets copies.
    pub fn replays(&self) -> &Replays {
        &self.replays
    }

    /// Bytes of bodies that are held whole now, but for the first 64 KiB of each exchange.
    pub fn held_body_bytes(&self) -> u64 {
        self.held_bodies.taken()
    }

    /// Says where it is told before when predictions are not joined with labels any more, in milliseconds since the Unix
    /// epoch, so that feedback about them is answered by that.
    pub fn follow_join(&self, since_ms: Arc<AtomicU64>) {
        self.desk.follow_join(since_ms);
    }

    /// Names of predictions that are remembered for the answer to feedback.
    pub fn feedback_names(&self) -> usize {
        self.desk.feedback.names()
    }
}

/// Redacts arbitrary bytes as every format of body, for fuzzing: must not panic.
#[doc(hidden)]
pub fn fuzz_redact(bytes: &[u8]) {
    redact::fuzz(bytes);
}

/// Follows arbitrary bytes as the frames of an HTTP/2 connection, for fuzzing: however they are cut, the same
/// is seen.
#[doc(hidden)]
pub fn fuzz_http2_frames(bytes: &[u8]) {
    http2::fuzz_frames(bytes);
}

/// Inflates arbitrary bytes within a bound and reads them as headers about codings, for fuzzing.
#[doc(hidden)]
pub fn fuzz_coding(bytes: &[u8]) {
    coding::fuzz(bytes);
}

/// Whether the gateway takes traffic: it is wanted, and every worker listens.
#[derive(Debug)]
pub struct Readiness {
    /// 0 before the start, 1 while traffic is wanted, 2 for good after that.
    stage: AtomicU8,
    not_listening: AtomicUsize,
}

impl Readiness {
    /// Not ready, with `workers` that do not listen yet.
    pub fn new(workers: usize) -> Self {
        Self { stage: AtomicU8::new(0), not_listening: AtomicUsize::new(workers) }
    }

    /// Whether `/readyz` answers 200.
    pub fn is_ready(&self) -> bool {
        self.stage.load(Ordering::Relaxed) == 1 && self.not_listening.load(Ordering::Acquire) == 0
    }

    /// Traffic is wanted from now on, unless the end has come already.
    pub fn begin(&self) {
        // An error means that the end came first, which is final.
        let _ended = self.stage.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// No more traffic is wanted.
    pub fn end(&self) {
        self.stage.store(2, Ordering::Relaxed);
    }

    /// Whether answers tell their clients to come back on another connection.
    fn is_ending(&self) -> bool {
        self.stage.load(Ordering::Relaxed) == 2
    }

    fn listening(&self) {
        self.not_listening.fetch_sub(1, Ordering::Release);
    }
}

/// The counters of the data plane that belong to no target.
struct Counters {
    errors: Vec<Counter>,
    connections_accepted: Counter,
    connections_limited: Counter,
    connections_malformed: Counter,
    connections_resets: Counter,
    lingered_read: Counter,
    lingered_cut: Counter,
    lingered_full: Counter,
    http2_connections: Counter,
    http2_streams: Counter,
    upstream_connects: Counter,
    upstream_connects_failed: Counter,
    retries_connect: Counter,
    retries_stale: Counter,
    retries_fallback: Counter,
}

impl Counters {
    fn new(registry: &Registry) -> Self {
        let refused = "pointsman_connections_refused_total";
        let lingered = "pointsman_connections_lingered_total";
        let connects = "pointsman_upstream_connects_total";
        let retries = "pointsman_retries_total";
        let error = |cause: &Cause| {
            registry.counter(crate::telemetry::metrics::ERRORS, &[("reason", cause.reason())])
        };
        Self {
            errors: Cause::ALL.iter().map(error).collect(),
            connections_accepted: registry.counter("pointsman_connections_accepted_total", &[]),
            connections_limited: registry.counter(refused, &[("reason", "limit")]),
            connections_malformed: registry.counter(refused, &[("reason", "malformed")]),
            connections_resets: registry.counter(refused, &[("reason", "resets")]),
            lingered_read: registry.counter(lingered, &[("end", "read")]),
            lingered_cut: registry.counter(lingered, &[("end", "cut")]),
            lingered_full: registry.counter(lingered, &[("end", "full")]),
            http2_connections: registry.counter("pointsman_http2_connections_total", &[]),
            http2_streams: registry.counter("pointsman_http2_streams_total", &[]),
            upstream_connects: registry.counter(connects, &[("result", "ok")]),
            upstream_connects_failed: registry.counter(connects, &[("result", "failed")]),
            retries_connect: registry.counter(retries, &[("reason", "connect")]),
            retries_stale: registry.counter(retries, &[("reason", "stale")]),
            retries_fallback: registry.counter(retries, &[("reason", "fallback")]),
        }
    }

    fn error(&self, cause: Cause) -> &Counter {
        &self.errors[cause as usize]
    }
}
