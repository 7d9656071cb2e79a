//! The one thread that writes.
//!
//! Owns the loop (collect, append, settle), and what a failure means: records that clients wait for
//! are lost at once; the others are held and tried again, and the bounded queue decides what is lost.
//! Never touches a worker's arena for longer than it takes to swap it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::appender::{Appender, Fault};
use super::arena::Arena;
use super::cadence::{self, Cadence};
use super::files::LockGuard;
use super::gaps::{Gaps, Missing};
use super::group::Group;
use super::progress::Progress;
use super::queue::{Loss, Queue};
use super::stats::{DropReason, add};
use crate::domain::spec::LogSpec;

/// The first pause after a failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The writing side of a recorder.
pub(super) struct Writer {
    queue: Arc<Queue>,
    appender: Appender,
    progress: Arc<Progress>,
    group: Group,
    /// Receives what a failed group holds for later.
    held: Arena,
    gaps: Gaps,
    outage: Option<Outage>,
    /// How long records gather that nobody waits for.
    gather: Duration,
    /// The least time between two groups.
    interval: Duration,
    written_at: Option<Instant>,
    /// How fast records come that clients wait for.
    cadence: Cadence,
    /// Whether the last group held records that nobody waits for, so that more are likely to come.
    gathers: bool,
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
        queue: Arc<Queue>,
        appender: Appender,
        progress: Arc<Progress>,
        spec: &LogSpec,
        lock: LockGuard,
    ) -> Self {
        Self {
            group: Group::new(queue.slots()),
            queue,
            appender,
            progress,
            held: Arena::default(),
            gaps: Gaps::default(),
            outage: None,
            gather: spec.flush,
            interval: spec.commit_interval,
            written_at: None,
            cadence: Cadence::default(),
            gathers: false,
            _lock: lock,
        }
    }

    /// Has the log say that something is missing.
    pub(super) fn note_missing(&mut self, missing: Missing) {
        self.gaps.note(missing);
    }

    /// Writes until the log is closed, then seals the segment.
    pub(super) fn run(mut self) {
        self.queue.signal().attach();
        loop {
            let closing = self.queue.signal().is_closing();
            if closing {
                self.appender.end_retention();
            } else {
                self.await_work();
            }
            let dropped = self.queue.take_arenas(&mut self.group);
            self.gaps.observe(&dropped);
            self.tend(closing);
            if !self.group.is_empty() {
                self.commit(closing);
            }
            if closing {
                // Nothing can be offered once closing was seen: the inboxes were shut before. What
                // could not even be said in a gap row now is not tried for ever.
                if self.outage.is_none() {
                    self.say_last_gaps();
                }
                break;
            }
        }
        self.appender.close();
        self.appender.finish();
    }

    /// Sleeps until there is something to do, and lets more gather where nobody waits for it.
    fn await_work(&self) {
        let (queue, signal) = (&self.queue, self.queue.signal());
        if let Some(outage) = self.outage {
            signal.pause(outage.retry_at, || queue.has_promised());
        }
        let is_full = |enough| queue.queue_bytes() >= enough;
        if let Some(next) = self.written_at.map(|at| at + self.interval)
            && !self.interval.is_zero()
        {
            signal.rest(next, is_full);
        }
        // Under load clients wait a little, so that a group holds several records.
        if let Some(next) = self.cadence.next() {
            let several = |enough| is_full(enough) || queue.promised() >= cadence::ENOUGH;
            signal.rest(next, several);
        }
        let urgent_or_full = |enough| is_full(enough) || queue.has_urgent();
        // Under load the pause comes first: as long as each pause finds records, no worker ever has
        // to wake this thread.
        if self.gathers {
            signal.gather(Instant::now() + self.gather, urgent_or_full);
        }
        if !queue.has_pending() {
            signal.idle(self.next_duty(), || queue.has_pending());
            if queue.has_pending() {
                signal.gather(Instant::now() + self.gather, urgent_or_full);
            }
        }
    }

    /// When something is to be done without a record.
    fn next_duty(&self) -> Option<Instant> {
        let retry = self.outage.map(|outage| outage.retry_at);
        let work = match retry {
            Some(retry) => (self.gaps.due().is_some() || !self.group.is_empty()).then_some(retry),
            None => self.gaps.due(),
        };
        work.into_iter().chain(self.appender.age_out_at()).chain(self.appender.look_at()).min()
    }

    /// Does what is due beside the records.
    fn tend(&mut self, closing: bool) {
        let now = Instant::now();
        if self.appender.age_out_at().is_some_and(|at| at <= now) {
            self.appender.age_out();
        }
        self.appender.save_distrusted();
        if self.appender.look_at().is_some_and(|at| at <= now) {
            self.appender.retain();
        }
        self.appender.take_skipped().into_iter().for_each(|missing| self.gaps.note(missing));
        if self.is_paused(closing) {
            return;
        }
        self.gaps.encode(now, closing, self.group.gaps_mut());
    }

    /// Writes the gap rows about what the last group lost.
    fn say_last_gaps(&mut self) {
        self.gaps.encode(Instant::now(), true, self.group.gaps_mut());
        if !self.group.is_empty() {
            self.commit(true);
        }
    }

    /// Whether writing failed and is not to be tried again yet.
    fn is_paused(&self, closing: bool) -> bool {
        !closing && self.outage.is_some_and(|outage| Instant::now() < outage.retry_at)
    }

    /// Writes the group or, if that cannot be done, decides what becomes of it.
    fn commit(&mut self, closing: bool) {
        if let Some(outage) = self.outage
            && self.is_paused(closing)
        {
            return self.settle_loss(outage.reason, closing, String::new());
        }
        self.gathers = self.group.has_unpromised();
        if self.group.promised() > 0 {
            self.cadence.note(self.group.promised(), Instant::now());
        }
        let mut result = self.append();
        if let Err(fault) = &result
            && self.outage.is_none()
        {
            self.note(fault);
            result = self.append();
        }
        match result {
            Ok(()) => {
                add(&self.queue.counters().groups, 1);
                add(&self.queue.counters().group_records, self.group.frames());
                if self.outage.take().is_some() {
                    tracing::info!("the prediction log can be written again");
                }
                self.queue.set_fault(None);
                self.queue.settle(&self.group);
                add(&self.queue.counters().gap_rows, self.gaps.written());
                self.group.clear();
            }
            Err(fault) => {
                self.note(&fault);
                self.extend_outage(&fault);
                self.settle_loss(fault.reason(), closing, fault.in_words());
            }
        }
        self.written_at = Some(Instant::now());
    }

    fn append(&mut self) -> Result<(), Fault> {
        let queue = &self.queue;
        self.appender.append(&mut self.group, |group| queue.tell_written(group))
    }

    fn note(&self, fault: &Fault) {
        add(&self.queue.counters().write_errors, 1);
        self.queue.set_last_error(fault.in_words());
    }

    fn extend_outage(&mut self, fault: &Fault) {
        let pause = self.outage.map_or(PAUSE_MIN, |outage| (outage.pause * 2).min(PAUSE_MAX));
        if self.outage.is_none() {
            let error = fault.in_words();
            tracing::warn!(error, "the prediction log cannot be written, serving goes on");
        }
        let reason = fault.reason();
        self.outage = Some(Outage { reason, retry_at: Instant::now() + pause, pause });
        self.queue.set_fault(Some(reason));
    }

    /// Tells the workers that the group failed for `reason`. What clients wait for is lost, and with
    /// it its numbers; the rest is held unless the log is being closed.
    fn settle_loss(&mut self, reason: DropReason, closing: bool, detail: String) {
        self.appender.skip(self.group.doubtful());
        let loss = Loss { reason, hold: !closing };
        let lost = self.queue.settle_loss(&mut self.group, loss, &mut self.held);
        if lost > 0 {
            let first = self.appender.next_lsn();
            self.appender.skip(lost);
            if let Some(reason) = reason.gap() {
                let lsns = Some((first, first + lost - 1));
                self.gaps.note(Missing { lsns, detail, ..Missing::now(reason, lost) });
            }
        }
        if self.group.gaps_are_written() {
            add(&self.queue.counters().gap_rows, self.gaps.written());
        } else {
            self.gaps.failed();
        }
        self.group.clear();
        self.group.swap_held(&mut self.held);
    }
}

impl Drop for Writer {
    /// Leaves nobody waiting, even if this thread panics.
    fn drop(&mut self) {
        self.queue.abandon();
        self.progress.end();
    }
}
