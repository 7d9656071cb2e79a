//! What is known about a sink from outside: counters, lag, and whether it takes anything.
//!
//! Owns the numbers. Written by the sink's own thread, read by whoever asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::{Failure, Parcel};
use crate::domain::ids::SinkName;

/// Declares the reasons with their words.
macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident $word:literal,)+) => {
        /// Why an attempt of a sink failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum FailureReason { $($(#[$doc])* $variant,)+ }

        impl FailureReason {
            /// All reasons.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word in metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

reasons! {
    /// No connection, or it broke.
    Connect "connect",
    /// The attempt took longer than `timeout`.
    Timeout "timeout",
    /// The destination asked for patience: 408, 425, 429 or 503.
    Busy "busy",
    /// It takes nothing from this gateway: 401, 403, 404 and the like. A setting is wrong.
    Denied "denied",
    /// It will not take this: any other 4xx.
    Refused "refused",
    /// It failed: 5xx, or an answer that makes no sense.
    Failed "failed",
    /// The log or a file of it could not be read.
    Read "read",
    /// The position could not be kept; what follows it may be delivered again.
    Cursor "cursor",
}

/// The state of a sink at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkStats {
    /// Its name.
    pub name: SinkName,
    /// `http` or `s3`.
    pub kind: &'static str,
    /// The last record up to which everything is delivered.
    pub position: u64,
    /// Records behind it; rows that are not delivered (feedback, gaps) count too.
    pub lag_records: u64,
    /// Bytes behind it: an estimate, from the mean length of what it took.
    pub lag_bytes: u64,
    /// The age of the oldest record that is not delivered, as far as it is known.
    pub lag: Duration,
    /// Records delivered, those delivered again included.
    pub delivered: u64,
    /// Deliveries that were acknowledged.
    pub batches: u64,
    /// Attempts after a failed one.
    pub retries: u64,
    /// Failed attempts, in the order of [`FailureReason::ALL`].
    pub failures: [u64; FailureReason::ALL.len()],
    /// Records that the destination refused for good.
    pub rejected: u64,
    /// Records that were gone or unreadable before they could be delivered.
    pub missing: u64,
    /// Whether the last attempt succeeded; true before the first one.
    pub up: bool,
    /// What the last failure said, until an attempt succeeds.
    pub last_error: Option<String>,
}

/// The counters behind [`SinkStats`].
#[derive(Debug)]
pub(super) struct SinkState {
    name: SinkName,
    kind: &'static str,
    position: AtomicU64,
    clear_to: AtomicU64,
    oldest_us: AtomicU64,
    delivered: AtomicU64,
    /// Records that were taken from the log, and their bytes: for the mean length.
    taken: AtomicU64,
    taken_bytes: AtomicU64,
    batches: AtomicU64,
    retries: AtomicU64,
    failures: [AtomicU64; FailureReason::ALL.len()],
    rejected: AtomicU64,
    missing: AtomicU64,
    up: AtomicBool,
    /// Taken once per failure and per reading of the metrics.
    last_error: Mutex<Option<String>>,
}

impl SinkState {
    pub(super) fn new(name: SinkName, kind: &'static str, position: u64) -> Self {
        Self {
            name,
            kind,
            position: AtomicU64::new(position),
            clear_to: AtomicU64::new(0),
            oldest_us: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            taken_bytes: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            failures: Default::default(),
            rejected: AtomicU64::new(0),
            missing: AtomicU64::new(0),
            up: AtomicBool::new(true),
            last_error: Mutex::new(None),
        }
    }

    pub(super) fn name(&self) -> &SinkName {
        &self.name
    }

    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(super) fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// A lot was taken from the log.
    pub(super) fn took<C>(&self, parcels: &[Parcel<C>], missing: u64) {
        if let Some(first) = parcels.first() {
            self.oldest_us.store(first.ts_us, Ordering::Relaxed);
        }
        self.taken.fetch_add(sum(parcels, |parcel| parcel.records), Ordering::Relaxed);
        self.taken_bytes.fetch_add(sum(parcels, |parcel| parcel.bytes), Ordering::Relaxed);
        self.missing.fetch_add(missing, Ordering::Relaxed);
    }

    /// Parcels were acknowledged. Returns whether the sink was down before.
    pub(super) fn delivered<C>(&self, parcels: &[Parcel<C>]) -> bool {
        self.delivered.fetch_add(sum(parcels, |parcel| parcel.records), Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        if let Some(last) = parcels.last() {
            self.oldest_us.store(last.ts_us, Ordering::Relaxed);
        }
        self.answered()
    }

    /// The destination works, whatever it said. Returns whether it was down before.
    pub(super) fn answered(&self) -> bool {
        let was_down = !self.up.swap(true, Ordering::Relaxed);
        if was_down {
            *self.last_error.lock() = None;
        }
        was_down
    }

    /// An attempt failed. Returns whether the sink was up before.
    pub(super) fn failed(&self, failure: &Failure) -> bool {
        self.count(failure.reason);
        *self.last_error.lock() = Some(failure.detail.clone());
        self.up.swap(false, Ordering::Relaxed)
    }

    pub(super) fn count(&self, reason: FailureReason) {
        self.failures[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rejected(&self, records: u64) {
        self.rejected.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn moved(&self, position: u64) {
        self.position.store(position, Ordering::Relaxed);
    }

    /// Nothing up to `lsn` is left for this sink.
    pub(super) fn clear(&self, lsn: u64) {
        self.clear_to.fetch_max(lsn, Ordering::Relaxed);
    }

    pub(super) fn stats(&self, written: u64) -> SinkStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let position = of(&self.position);
        let lag_records = written.saturating_sub(position.max(of(&self.clear_to)));
        let (delivered, oldest_us) = (of(&self.delivered), of(&self.oldest_us));
        let mean = of(&self.taken_bytes).checked_div(of(&self.taken)).unwrap_or(0);
        let lag = match lag_records {
            0 => Duration::ZERO,
            _ if oldest_us == 0 => Duration::ZERO,
            _ => age(oldest_us),
        };
        SinkStats {
            name: self.name.clone(),
            kind: self.kind,
            position,
            lag_records,
            lag_bytes: lag_records.saturating_mul(mean),
            lag,
            delivered,
            batches: of(&self.batches),
            retries: of(&self.retries),
            failures: std::array::from_fn(|index| of(&self.failures[index])),
            rejected: of(&self.rejected),
            missing: of(&self.missing),
            up: self.up.load(Ordering::Relaxed),
            last_error: self.last_error.lock().clone(),
        }
    }
}

fn sum<C>(parcels: &[Parcel<C>], of: impl Fn(&Parcel<C>) -> u64) -> u64 {
    parcels.iter().map(of).sum()
}

/// How long ago `ts_us` was; nothing for the future.
fn age(ts_us: u64) -> Duration {
    let then = UNIX_EPOCH + Duration::from_micros(ts_us);
    SystemTime::now().duration_since(then).unwrap_or_default()
}
