//! The one thread that writes.
//!
//! Owns the loop (collect, append, settle), and what a failure means: under `os` and `sync` the
//! records of a failed group are lost at once, because clients wait for them; under `async` they are
//! held and tried again, and the bounded queue decides what is lost. Never touches a worker's arena
//! for longer than it takes to swap it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::appender::{Appender, Fault};
use super::files::LockGuard;
use super::group::Group;
use super::recorder::Core;
use super::stats::{DropReason, add};

/// The first pause after a failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The writing side of a recorder.
pub(super) struct Writer {
    core: Arc<Core>,
    appender: Appender,
    group: Group,
    outage: Option<Outage>,
    /// How long records gather before they are written; zero when clients wait for them.
    gather: Duration,
    /// Whether records are held when writing fails.
    holds: bool,
    /// Keeps other gateways out as long as this one may write.
    _lock: LockGuard,
}

/// Writing fails, and when it is tried again.
#[derive(Debug, Clone, Copy)]
struct Outage {
    reason: DropReason,
    retry_at: Instant,
    pause: Duration,
}

impl Writer {
    pub(super) fn new(
        core: Arc<Core>,
        appender: Appender,
        gather: Option<Duration>,
        lock: LockGuard,
    ) -> Self {
        let group = Group::new(core.slots().len());
        let holds = gather.is_some();
        let gather = gather.unwrap_or_default();
        Self { core, appender, group, outage: None, gather, holds, _lock: lock }
    }

    /// Writes until the log is closed, then seals the segment.
    pub(super) fn run(mut self) {
        self.core.signal().attach();
        loop {
            if self.group.is_empty() {
                let closing = self.core.signal().is_closing();
                if !closing {
                    self.await_records();
                }
                self.core.take_arenas(&mut self.group);
                if self.group.is_empty() {
                    // Nothing can be offered once closing was seen: the inboxes were shut before.
                    if closing {
                        break;
                    }
                    continue;
                }
            }
            self.commit();
        }
        self.appender.close();
    }

    /// Sleeps until there is something to write, and lets more gather where nobody waits for it.
    fn await_records(&self) {
        let (core, signal) = (&self.core, self.core.signal());
        if self.gather.is_zero() {
            if !core.has_pending() {
                signal.idle(|| core.has_pending());
            }
            return;
        }
        // Under load the pause comes first: as long as each pause finds records, no worker ever has
        // to wake this thread.
        signal.gather(Instant::now() + self.gather, || core.queue_bytes());
        if !core.has_pending() {
            signal.idle(|| core.has_pending());
            signal.gather(Instant::now() + self.gather, || core.queue_bytes());
        }
    }

    /// Writes the group or, if that cannot be done, decides what becomes of it.
    fn commit(&mut self) {
        if let Some(outage) = self.outage
            && Instant::now() < outage.retry_at
            && !self.core.signal().is_closing()
        {
            if !self.holds {
                return self.settle(outage.reason);
            }
            self.core.signal().pause(outage.retry_at);
        }
        let closing = self.core.signal().is_closing();
        let mut result = self.appender.append(&mut self.group);
        if let Err(fault) = &result
            && self.outage.is_none()
        {
            self.note(fault);
            result = self.appender.append(&mut self.group);
        }
        match result {
            Ok(()) => {
                add(&self.core.counters().groups, 1);
                if self.outage.take().is_some() {
                    tracing::info!("the prediction log can be written again");
                }
                self.core.set_fault(None);
                self.settle(DropReason::Io);
            }
            Err(fault) => {
                let reason = fault.reason();
                self.note(&fault);
                self.extend_outage(reason, &fault);
                if !self.holds || closing {
                    self.settle(reason);
                }
            }
        }
    }

    fn note(&self, fault: &Fault) {
        add(&self.core.counters().write_errors, 1);
        self.core.set_last_error(fault.in_words());
    }

    fn extend_outage(&mut self, reason: DropReason, fault: &Fault) {
        let pause = self.outage.map_or(PAUSE_MIN, |outage| (outage.pause * 2).min(PAUSE_MAX));
        if self.outage.is_none() {
            let error = fault.in_words();
            tracing::warn!(error, "the prediction log cannot be written, serving goes on");
        }
        self.outage = Some(Outage { reason, retry_at: Instant::now() + pause, pause });
        self.core.set_fault(Some(reason));
    }

    /// Tells the workers what became of the group: what is not written is lost for `reason`.
    fn settle(&mut self, reason: DropReason) {
        self.appender.skip(self.group.left());
        self.core.settle(&self.group, reason);
        self.group.clear();
    }
}

impl Drop for Writer {
    /// Leaves nobody waiting, even if this thread panics.
    fn drop(&mut self) {
        self.core.abandon();
    }
}
