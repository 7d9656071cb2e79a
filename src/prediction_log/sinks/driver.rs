//! The driver that every sink shares.
//!
//! Owns the order of things: a lot is taken from the source, delivered, divided where it is refused, and
//! only then the cursor moves. Never gives up what may pass, and never passes over a record without a
//! gap row. It runs on a thread of its own, which alone waits for the log and for the destination.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::backoff::Backoff;
use super::state::{FailureReason, SinkState};
use super::{Failure, Lot, Parcel, Sink, Source};
use crate::domain::record::{GapReason, GapRecord};
use crate::prediction_log::cursor::Cursor;
use crate::prediction_log::recorder::Recorder;

/// How fast and how patient a sink is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The longest time of one attempt.
    pub(super) timeout: Duration,
    /// The longest pause between two attempts.
    pub(super) backoff: Duration,
}

/// What ties a sink to the log and to the process.
pub(super) struct Link {
    pub(super) cursor: Cursor,
    pub(super) recorder: Arc<Recorder>,
    pub(super) state: Arc<SinkState>,
    /// Set to the end of the last attempt when the process ends.
    pub(super) stop: watch::Receiver<Option<Instant>>,
    pub(super) pace: Pace,
}

/// A sink, what it delivers, and its place in the log.
pub(super) struct Driver<S, Q> {
    sink: S,
    source: Q,
    link: Link,
}

/// What became of parcels.
enum Verdict {
    Taken,
    Refused(Failure),
    Stopped,
}

impl<S: Sink, Q: Source<Content = S::Content>> Driver<S, Q> {
    pub(super) fn new(sink: S, source: Q, link: Link) -> Self {
        Self { sink, source, link }
    }

    /// Delivers until the process ends.
    pub(super) fn run(mut self, runtime: &Runtime) {
        let mut trouble = Backoff::new(self.link.pace.backoff);
        loop {
            let stopping = self.link.stopping();
            let step = match self.source.next(stopping) {
                Ok(lot) => {
                    trouble = Backoff::new(self.link.pace.backoff);
                    let is_last = stopping && lot.parcels.is_empty();
                    let handed = runtime.block_on(self.hand_over(&lot));
                    if is_last { ControlFlow::Break(()) } else { handed }
                }
                Err(error) => {
                    let detail = crate::telemetry::logging::chain(&error).to_string();
                    self.link.note(&Failure::passing(FailureReason::Read, detail));
                    match stopping {
                        true => ControlFlow::Break(()),
                        false => runtime.block_on(self.link.pause(trouble.pause(None))),
                    }
                }
            };
            if step.is_break() {
                return;
            }
        }
    }

    /// Delivers a lot, in halves where it is refused; moves the cursor behind what is done.
    async fn hand_over(&mut self, lot: &Lot<S::Content>) -> ControlFlow<()> {
        self.link.state.took(&lot.parcels, lot.missing);
        let mut todo = Vec::new();
        if !lot.parcels.is_empty() {
            todo.push(0..lot.parcels.len());
        }
        while let Some(range) = todo.pop() {
            let parcels = &lot.parcels[range.clone()];
            match self.deliver(parcels).await {
                Verdict::Stopped => return ControlFlow::Break(()),
                Verdict::Taken => {}
                Verdict::Refused(_) if parcels.len() > 1 => {
                    let middle = range.start + parcels.len() / 2;
                    todo.push(middle..range.end);
                    todo.push(range.start..middle);
                    continue;
                }
                Verdict::Refused(failure) => self.link.bury(&parcels[0], &failure)?,
            }
            if let (Some(last), false) = (parcels.last(), todo.is_empty()) {
                self.link.advance(last.done);
            }
        }
        self.link.advance(lot.done);
        self.link.state.clear(lot.clear_to);
        ControlFlow::Continue(())
    }

    /// Sends parcels until they are taken or refused for good.
    async fn deliver(&mut self, parcels: &[Parcel<S::Content>]) -> Verdict {
        let mut backoff = Backoff::new(self.link.pace.backoff);
        loop {
            // The attempt that is made while stopping is the last one.
            let last = self.link.stopping();
            let limit = self.link.attempt_limit();
            let attempt = tokio::time::timeout(limit, self.sink.deliver(parcels));
            let result = tokio::select! {
                result = attempt => result,
                () = overdue(self.link.stop.clone()) => return Verdict::Stopped,
            };
            let failure = match result {
                Ok(Ok(())) => {
                    self.link.taken(parcels);
                    return Verdict::Taken;
                }
                Ok(Err(failure)) => failure,
                Err(_elapsed) => {
                    let detail = format!("no answer within {limit:?}");
                    Failure::passing(FailureReason::Timeout, detail)
                }
            };
            if failure.is_final {
                self.link.state.count(failure.reason);
                self.link.state.answered();
                return Verdict::Refused(failure);
            }
            self.link.note(&failure);
            if last {
                return Verdict::Stopped;
            }
            // A stop during the pause ends it: what follows is the last attempt.
            let _woken = self.link.pause(backoff.pause(failure.retry_after)).await;
            self.link.state.retried();
        }
    }
}

impl Link {
    fn stopping(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// How long an attempt that begins now may take.
    fn attempt_limit(&self) -> Duration {
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        self.stop.borrow().map_or(self.pace.timeout, |until| left(until).min(self.pace.timeout))
    }

    /// Waits, but not beyond a stop.
    async fn pause(&mut self, pause: Duration) -> ControlFlow<()> {
        if self.stopping() {
            return ControlFlow::Break(());
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => ControlFlow::Continue(()),
            _ = self.stop.changed() => ControlFlow::Break(()),
        }
    }

    fn taken<C>(&self, parcels: &[Parcel<C>]) {
        if self.state.delivered(parcels) {
            tracing::info!(sink = %self.state.name(), "the sink takes records again");
        }
    }

    /// Counts a failure that may pass; the first of a row of them is logged.
    fn note(&self, failure: &Failure) {
        if self.state.failed(failure) {
            tracing::warn!(
                sink = %self.state.name(),
                reason = failure.reason.as_str(),
                detail = failure.detail,
                "the sink takes nothing; its records wait in the log"
            );
        }
    }

    /// Passes over a parcel that the destination will never take: it stays in the log, with a gap row
    /// that names it. After the end of the log there is nowhere to write that; it is tried again at
    /// the next start.
    fn bury<C>(&self, parcel: &Parcel<C>, failure: &Failure) -> ControlFlow<()> {
        if self.recorder.progress().has_ended() {
            return ControlFlow::Break(());
        }
        self.state.rejected(parcel.records);
        tracing::warn!(
            sink = %self.state.name(),
            first_lsn = parcel.first_lsn,
            last_lsn = parcel.last_lsn,
            detail = failure.detail,
            "the sink refuses records for good"
        );
        self.recorder.note_gap(&GapRecord {
            ts_us: now_us(),
            reason: GapReason::Rejected,
            lsns: Some((parcel.first_lsn, parcel.last_lsn)),
            records: parcel.records,
            consumer: self.state.name().as_str(),
            detail: &failure.detail,
        });
        ControlFlow::Continue(())
    }

    fn advance(&self, lsn: u64) {
        if lsn <= self.cursor.position() {
            return;
        }
        if let Err(error) = self.cursor.advance(lsn) {
            self.state.count(FailureReason::Cursor);
            tracing::error!(sink = %self.state.name(), %error, "the sink's position cannot be kept");
        }
        self.state.moved(lsn);
    }
}

/// Passes when the time after a stop is over.
async fn overdue(mut stop: watch::Receiver<Option<Instant>>) {
    let until = match stop.wait_for(Option::is_some).await {
        Ok(until) => *until,
        // Nobody is left who could ask for a stop.
        Err(_closed) => return std::future::pending().await,
    };
    if let Some(until) = until {
        tokio::time::sleep_until(until.into()).await;
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
