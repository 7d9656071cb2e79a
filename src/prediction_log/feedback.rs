//! What the gateway knows of its own log, to answer feedback: which predictions there are, and which
//! statements about them are kept already.
//!
//! Owns the bounded index and the one thread that fills it. The thread reads back over what the log
//! holds and then follows it, so that the answers survive a restart; it starts with the first feedback, and
//! a gateway without feedback pays nothing. Never writes to the log: who reserves a statement here offers it
//! to the recorder and settles the reservation.
//!
//! ```text
//!             decide ─▶ reserved ─┬─ settle(kept) ─▶ kept ─▶ every repetition is a duplicate
//!                                 └─ settle(lost) ─▶ forgotten
//! the log ─▶ thread ─▶ names of predictions, statements
//! ```

mod follow;
mod index;
mod memory;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use self::index::Index;
pub use self::index::{Decision, Place};
use super::progress::Progress;
use crate::domain::ids::RecordId;
use crate::domain::record::{FeedbackRecord, FeedbackTarget};
use crate::domain::spec::FeedbackSpec;

/// Whether the prediction that a statement is about is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is recorded, and within the window.
    Known,
    /// It is older than the window.
    Late,
    /// It is not recorded yet, or lies beyond what is remembered.
    Pending,
    /// This gateway cannot have given such an id.
    Impossible,
}

/// The knowledge about one log. Cheap until [`Feedback::start`].
pub struct Feedback {
    shared: Arc<Shared>,
    data_dir: PathBuf,
    spec: FeedbackSpec,
    progress: Arc<Progress>,
    started: Mutex<bool>,
}

/// What the thread and those who ask share.
struct Shared {
    /// Held for a few lookups at a time; only feedback and the one thread take it.
    index: Mutex<Index>,
    /// Everything up to this record is in the index; `None` while the log is read back.
    seen: watch::Sender<Option<u64>>,
    /// A reservation was settled.
    settled: Notify,
    /// Nobody will ask again.
    ended: AtomicBool,
}

impl std::fmt::Debug for Feedback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feedback").field("data_dir", &self.data_dir).finish_non_exhaustive()
    }
}

impl Feedback {
    /// Knows nothing yet of the log below `data_dir`.
    pub fn new(data_dir: &Path, spec: FeedbackSpec, progress: Arc<Progress>) -> Self {
        let shared = Shared {
            index: Mutex::new(Index::new(&spec)),
            seen: watch::Sender::new(None),
            settled: Notify::new(),
            ended: AtomicBool::new(false),
        };
        let (shared, data_dir) = (Arc::new(shared), data_dir.to_owned());
        Self { shared, data_dir, spec, progress, started: Mutex::new(false) }
    }

    /// Bytes of one request.
    pub fn body_bytes_max(&self) -> u64 {
        self.spec.body
    }

    /// Begins to read the log, unless that has begun.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(&self) -> io::Result<()> {
        // Contended by nobody: it is held while the first feedback starts the thread.
        let mut started = self.started.lock();
        if !*started {
            follow::start(&self.shared, &self.data_dir, &self.spec, &self.progress)?;
            *started = true;
        }
        Ok(())
    }

    /// Waits until the log has been read back. To be bounded by the caller.
    pub async fn loaded(&self) {
        self.seen(0).await;
    }

    /// Waits until every record that is written by now is known. To be bounded by the caller.
    pub async fn caught_up(&self) {
        self.seen(self.progress.written()).await;
    }

    async fn seen(&self, lsn: u64) {
        let mut seen = self.shared.seen.subscribe();
        // The sender lives as long as `self`, so that this ends with what was waited for.
        let _closed = seen.wait_for(|seen| seen.is_some_and(|seen| seen >= lsn)).await.is_err();
    }

    /// Decides about a statement, and reserves it when it is new: [`Self::settle`] must follow.
    pub fn decide(&self, record: &FeedbackRecord<'_>) -> Decision {
        self.shared.index.lock().decide(record)
    }

    /// Waits until the statement is reserved by nobody else, then decides. To be bounded by the caller.
    pub async fn decide_later(&self, record: &FeedbackRecord<'_>) -> Decision {
        loop {
            let mut settled = std::pin::pin!(self.shared.settled.notified());
            // From here on no settlement is missed.
            settled.as_mut().enable();
            match self.decide(record) {
                Decision::Busy => settled.await,
                decision => return decision,
            }
        }
    }

    /// Says what became of a statement that [`Self::decide`] reserved as [`Decision::New`].
    pub fn settle(&self, record: &FeedbackRecord<'_>, place: Place, kept: bool) {
        self.shared.index.lock().settle(record, place, kept);
        self.shared.settled.notify_waiters();
    }

    /// Whether the prediction is known, at `now_ms` since the Unix epoch.
    pub fn standing(&self, target: FeedbackTarget<'_>, now_ms: u64) -> Standing {
        self.shared.index.lock().standing(target, now_ms)
    }

    /// When the prediction was made, in milliseconds since the Unix epoch, if that is known.
    pub fn made_ms(&self, target: FeedbackTarget<'_>) -> Option<u64> {
        self.shared.index.lock().made_ms(target)
    }

    /// Names of predictions that are remembered.
    pub fn names(&self) -> usize {
        self.shared.index.lock().names()
    }
}

impl Drop for Feedback {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

/// Whether an id can be one of ours: a UUID of version 7 (RFC 9562 section 5.7).
fn is_ours(id: RecordId) -> bool {
    id.as_bytes()[6] >> 4 == 7 && id.as_bytes()[8] >> 6 == 0b10
}

/// How far the clock of another machine that shares an id may be ahead.
const AHEAD_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
