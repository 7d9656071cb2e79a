//! What the workers and the writer share.
//!
//! Owns the inbox of each worker, the bound on waiting bytes, what is dropped when it is reached, and
//! the settling of what was written. Never blocks, awaits or fails: a record is queued or dropped, and
//! both are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::arena::Arena;
use super::frame::{self, KIND_FEEDBACK, KIND_GAP, KIND_RECORD, PAYLOAD_BYTES_MAX};
use super::group::{Group, Lot};
use super::recorder::{Offer, Ticket};
use super::row::{self, Bodies};
use super::settlement::{Lost, Settlement};
use super::signal::Signal;
use super::stats::{Counters, DropReason, Dropped, LogStats, Omitted, add};
use crate::domain::record::{FeedbackRecord, GapRecord, Omission, PredictionRecord};
use crate::domain::spec::{Durability, LogSpec};

/// Waiting bytes from which on the writer does not let more gather.
const ENOUGH_BYTES: usize = 1024 * 1024;

/// Everything between an offer and the writer.
#[derive(Debug)]
pub(super) struct Queue {
    slots: Box<[Slot]>,
    /// Bytes of records that were admitted and are not settled.
    queued: AtomicUsize,
    queue_bytes_max: usize,
    /// Waiting bytes from which on no more exchanges should start that promise a record: the rest is
    /// for those that run.
    high_water: usize,
    signal: Signal,
    counters: Arc<Counters>,
    durability: Durability,
    /// Why writing fails, as 1 + [`DropReason`]; 0 while it does not.
    fault: AtomicU8,
    last_error: Mutex<Option<String>>,
    /// Held while records change from one count to another after a failure, and when counts are
    /// read, so that none is counted twice.
    ledger: Mutex<()>,
    /// When the oldest record was offered that the writer has taken and not settled. Locked before
    /// any inbox, by the writer once a group and when counts are read.
    taken_since: Mutex<Option<Instant>>,
    /// Something other than a record waits for the writer.
    attention: AtomicBool,
    /// Exchanges that wait for room, and how they hear of it.
    blocked: AtomicUsize,
    room: Notify,
}

/// One worker's side of the queue, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Slot {
    inbox: Mutex<Inbox>,
    /// Records that were queued, readable without the lock.
    offered: AtomicU64,
    /// One more than the last queued record that a client waits for.
    urgent: AtomicU64,
    settlement: Settlement,
}

impl Slot {
    /// Records that are not settled up to the last that a client waits for.
    fn promised(&self) -> u64 {
        self.urgent.load(Ordering::SeqCst).saturating_sub(self.settlement.settled())
    }
}

#[derive(Debug, Default)]
struct Inbox {
    arena: Arena,
    /// When the first record in the arena was offered.
    since: Option<Instant>,
    queued: u64,
    received: u64,
    dropped: Dropped,
    omitted: Omitted,
    shut: bool,
}

/// A place in the queue.
struct Admission {
    bodies: Bodies,
    payload_len: usize,
    /// Bytes that wait, this record included.
    waiting: usize,
}

/// What a group lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loss {
    /// Why.
    pub(super) reason: DropReason,
    /// Whether records that nobody waits for are held for a later attempt.
    pub(super) hold: bool,
}

impl Queue {
    pub(super) fn new(slots: usize, spec: &LogSpec) -> Self {
        Self {
            slots: std::iter::repeat_with(Slot::default).take(slots).collect(),
            queued: AtomicUsize::new(0),
            queue_bytes_max: spec.queue,
            high_water: spec.queue / 2,
            signal: Signal::new(ENOUGH_BYTES.min(spec.queue / 4)),
            counters: Arc::default(),
            durability: spec.recording.durability,
            fault: AtomicU8::new(0),
            taken_since: Mutex::new(None),
            last_error: Mutex::new(None),
            ledger: Mutex::new(()),
            attention: AtomicBool::new(false),
            blocked: AtomicUsize::new(0),
            room: Notify::new(),
        }
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn signal(&self) -> &Signal {
        &self.signal
    }

    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Bytes that wait.
    pub(super) fn queue_bytes(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Whether there is something to do for the writer.
    pub(super) fn has_pending(&self) -> bool {
        let pending =
            |slot: &Slot| slot.offered.load(Ordering::SeqCst) != slot.settlement.settled();
        self.attention.load(Ordering::SeqCst) || self.slots.iter().any(pending)
    }

    /// Whether there is something to do at once for the writer.
    pub(super) fn has_urgent(&self) -> bool {
        self.attention.load(Ordering::SeqCst) || self.has_promised()
    }

    /// Whether a client waits for a record that the writer has not settled.
    pub(super) fn has_promised(&self) -> bool {
        self.slots.iter().any(|slot| slot.promised() > 0)
    }

    /// Records that the writer has not settled up to the last that a client waits for.
    pub(super) fn promised(&self) -> u64 {
        self.slots.iter().map(Slot::promised).sum()
    }

    /// Makes the writer look after something other than a record.
    pub(super) fn call_attention(&self) {
        if !self.attention.swap(true, Ordering::SeqCst) {
            self.signal.nudge();
        }
    }

    pub(super) fn offer(&self, slot: usize, record: &PredictionRecord<'_>) -> Offer {
        let promise = record.durability.unwrap_or(self.durability);
        if promise == Durability::Off {
            return Offer::Off;
        }
        self.put(slot, KIND_RECORD, promise, self.admit(record), |bodies, inbox| {
            for side in [&record.request, &record.response] {
                bodies.omission(side).into_iter().for_each(|reason| inbox.omitted.add(reason));
            }
            row::encode(record, bodies, &mut inbox.arena);
        })
    }

    pub(super) fn offer_feedback(
        &self,
        slot: usize,
        record: &FeedbackRecord<'_>,
        promise: Durability,
    ) -> Offer {
        if promise == Durability::Off {
            return Offer::Off;
        }
        let admission = self.admit_plain(row::feedback_len(record));
        self.put(slot, KIND_FEEDBACK, promise, admission, |_, inbox| {
            row::encode_feedback(record, &mut inbox.arena);
        })
    }

    pub(super) fn note_gap(&self, gap: &GapRecord<'_>) {
        let admission = self.admit_plain(row::gap_len(gap));
        self.put(usize::MAX, KIND_GAP, Durability::Async, admission, |_, inbox| {
            row::encode_gap(gap, &mut inbox.arena);
        });
    }

    /// Puts an admitted row into a worker's inbox.
    #[inline]
    fn put(
        &self,
        slot: usize,
        kind: u8,
        promise: Durability,
        admission: Result<Admission, DropReason>,
        encode: impl FnOnce(Bodies, &mut Inbox),
    ) -> Offer {
        let index = slot.min(self.slots.len() - 1);
        let slot = &self.slots[index];
        let mut inbox = slot.inbox.lock();
        inbox.received += 1;
        let Admission { bodies, payload_len, waiting } = match admission {
            Ok(admission) => admission,
            Err(reason) => {
                inbox.dropped.add(reason, 1);
                drop(inbox);
                self.call_attention();
                return Offer::Dropped(reason);
            }
        };
        if inbox.shut {
            inbox.dropped.add(DropReason::Closed, 1);
            drop(inbox);
            self.release(frame::frame_len(payload_len));
            return Offer::Dropped(DropReason::Closed);
        }
        if inbox.arena.len() == 0 {
            inbox.since = Some(Instant::now());
        }
        inbox.arena.begin(payload_len);
        encode(bodies, &mut inbox);
        inbox.arena.end(kind, payload_len, promise);
        let sequence = inbox.queued;
        inbox.queued += 1;
        if promise.waits() {
            slot.urgent.store(inbox.queued, Ordering::SeqCst);
        }
        slot.offered.store(inbox.queued, Ordering::SeqCst);
        drop(inbox);
        self.signal.offered(waiting, promise.waits());
        let synced = promise == Durability::Sync;
        Offer::Queued(Ticket { slot: index as u32, synced, sequence })
    }

    /// Finds room for a record: whole, or without its bodies once the queue is fuller than seven
    /// eighths, so that the last eighth keeps room for what is known about many more exchanges.
    fn admit(&self, record: &PredictionRecord<'_>) -> Result<Admission, DropReason> {
        let whole = row::encoded_len(record, Bodies::Keep);
        let limit = self.queue_bytes_max;
        let omission = if whole > PAYLOAD_BYTES_MAX {
            Omission::Size
        } else if let Some(waiting) = self.reserve(frame::frame_len(whole), limit - limit / 8) {
            return Ok(Admission { bodies: Bodies::Keep, payload_len: whole, waiting });
        } else {
            Omission::Pressure
        };
        let bodies = Bodies::Omit(omission);
        let admission = self.admit_plain(row::encoded_len(record, bodies))?;
        Ok(Admission { bodies, ..admission })
    }

    /// Finds room for a row without bodies.
    fn admit_plain(&self, payload_len: usize) -> Result<Admission, DropReason> {
        if payload_len > PAYLOAD_BYTES_MAX {
            return Err(DropReason::TooLarge);
        }
        let waiting = self.reserve(frame::frame_len(payload_len), self.queue_bytes_max);
        let waiting = waiting.ok_or_else(|| self.full_reason())?;
        Ok(Admission { bodies: Bodies::Keep, payload_len, waiting })
    }

    /// Takes `bytes` of the queue unless it would hold more than `limit`.
    fn reserve(&self, bytes: usize, limit: usize) -> Option<usize> {
        let waiting = self.queued.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if waiting > limit {
            self.release(bytes);
            return None;
        }
        Some(waiting)
    }

    fn release(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Why the queue is full: the disk, if that is what the writer waits for.
    fn full_reason(&self) -> DropReason {
        self.fault().unwrap_or(DropReason::QueueFull)
    }

    fn fault(&self) -> Option<DropReason> {
        let code = self.fault.load(Ordering::Relaxed);
        Some(DropReason::ALL[usize::from(code.checked_sub(1)?)])
    }

    pub(super) fn set_fault(&self, reason: Option<DropReason>) {
        self.fault.store(reason.map_or(0, |reason| 1 + reason as u8), Ordering::Relaxed);
    }

    pub(super) fn set_last_error(&self, error: String) {
        *self.last_error.lock() = Some(error);
    }

    /// Whether there is room for the record of one more exchange, and the log can be written.
    pub(super) fn has_room(&self) -> bool {
        self.queue_bytes() <= self.high_water
            && self.fault.load(Ordering::Relaxed) == 0
            && !self.signal.is_closing()
    }

    /// Waits until there may be room; at once when the log is being closed.
    pub(super) async fn room(&self) {
        let _blocked = Blocked::enter(&self.blocked);
        let mut notified = std::pin::pin!(self.room.notified());
        // Registered before the look, so that a change between both is heard.
        notified.as_mut().enable();
        if !self.has_room() && !self.signal.is_closing() {
            notified.await;
        }
    }

    /// Tells those who wait for room, if there is some.
    pub(super) fn tell_room(&self) {
        if self.blocked.load(Ordering::SeqCst) > 0 && (self.has_room() || self.signal.is_closing())
        {
            self.room.notify_waiters();
        }
    }

    /// Waits for what became of a ticket.
    pub(super) async fn written(&self, ticket: Ticket) -> Result<(), Lost> {
        let slot = self.slots.get(ticket.slot as usize).ok_or(Lost)?;
        slot.settlement.wait(ticket.sequence, ticket.synced).await
    }

    /// Swaps the workers' arenas with the empty ones of `group`; returns what the workers have
    /// dropped so far.
    pub(super) fn take_arenas(&self, group: &mut Group) -> Dropped {
        self.attention.store(false, Ordering::SeqCst);
        let mut dropped = Dropped::default();
        let mut taken_since = self.taken_since.lock();
        for (slot, lot) in self.slots.iter().zip(group.slots_mut()) {
            let mut inbox = slot.inbox.lock();
            std::mem::swap(&mut inbox.arena, lot);
            *taken_since = taken_since.into_iter().chain(inbox.since.take()).min();
            dropped.add_all(&inbox.dropped);
        }
        dropped
    }

    /// Tells those who wait for the write alone that it is done; the sync comes after.
    pub(super) fn tell_written(&self, group: &Group) {
        for (index, slot) in self.slots.iter().enumerate() {
            let lot = group.slot(index);
            if lot.written > 0 {
                let to = slot.settlement.settled() + lot.written as u64;
                slot.settlement.written.settle(to, to);
            }
        }
    }

    /// Settles the records of a group that was written and, where it had to be, synced.
    pub(super) fn settle(&self, group: &Group) {
        for (index, slot) in self.slots.iter().enumerate() {
            let arena = group.slot(index).arena;
            if arena.len() > 0 {
                add(&self.counters.written, arena.len() as u64);
                self.release(arena.size());
                let end = slot.settlement.settled() + arena.len() as u64;
                // In this order, so that whoever is woken finds its record settled.
                slot.settlement.synced.settle(end, end);
                slot.settlement.written.settle(end, end);
            }
        }
        let held = group.held().arena;
        if held.len() > 0 {
            add(&self.counters.written, held.len() as u64);
            self.counters.held.fetch_sub(held.len() as u64, Ordering::Relaxed);
            self.release(held.size());
        }
        *self.taken_since.lock() = None;
        self.tell_room();
    }

    /// Settles the records of a group that could not be written, or not be synced. What was written
    /// and did not have to be synced is safe; those who wait for the rest are told, and what nobody
    /// waits for goes to `held`, which is empty, if `loss` says so. Returns how many records lost
    /// their numbers.
    pub(super) fn settle_loss(&self, group: &mut Group, loss: Loss, held: &mut Arena) -> u64 {
        let _ledger = self.ledger.lock();
        let mut unnumbered = self.settle_held(group, loss, held);
        for (index, slot) in self.slots.iter().enumerate() {
            let lot = group.slot(index);
            if lot.arena.len() == 0 {
                continue;
            }
            let from = slot.settlement.settled();
            let end = from + lot.arena.len() as u64;
            unnumbered += self.settle_lot(lot, loss, held);
            slot.settlement.synced.settle(from + lot.safe as u64, end);
            slot.settlement.written.settle(from + lot.written as u64, end);
        }
        if held.len() == 0 {
            *self.taken_since.lock() = None;
        }
        self.tell_room();
        unnumbered
    }

    /// Counts the records of one worker in a group that failed.
    fn settle_lot(&self, lot: Lot<'_>, loss: Loss, held: &mut Arena) -> u64 {
        let (arena, before) = (lot.arena, held.size());
        let doubtful = (lot.safe..lot.written).filter(|&f| arena.promise(f) == Durability::Sync);
        let doubtful = doubtful.count() as u64;
        let (mut lost, mut kept) = (0, 0);
        for frame in lot.written..arena.len() {
            if loss.hold && !arena.promise(frame).waits() {
                held.copy_frame(arena, frame);
                kept += 1;
            } else {
                lost += 1;
            }
        }
        add(&self.counters.written, lot.written as u64 - doubtful);
        add(&self.counters.held, kept);
        self.counters.lose(loss.reason, doubtful + lost);
        self.release(arena.size() - (held.size() - before));
        lost
    }

    /// Counts the records that were held already in a group that failed.
    fn settle_held(&self, group: &mut Group, loss: Loss, held: &mut Arena) -> u64 {
        let lot = group.held();
        let (written, size) = (lot.written, lot.arena.size());
        let left = (lot.arena.len() - written) as u64;
        if loss.hold && written == 0 {
            group.swap_held(held);
            return 0;
        }
        add(&self.counters.written, written as u64);
        let settled = if loss.hold { written as u64 } else { lot.arena.len() as u64 };
        self.counters.held.fetch_sub(settled, Ordering::Relaxed);
        if loss.hold {
            (written..lot.arena.len()).for_each(|frame| held.copy_frame(lot.arena, frame));
            self.release(size - held.size());
            return 0;
        }
        self.counters.lose(loss.reason, left);
        self.release(size);
        left
    }

    /// Refuses records from now on and tells the writer to finish.
    pub(super) fn shut(&self) {
        for slot in &self.slots {
            slot.inbox.lock().shut = true;
        }
        self.signal.close();
        self.tell_room();
    }

    /// Gives up whatever is not settled, when the writer ends.
    pub(super) fn abandon(&self) {
        for slot in &self.slots {
            let mut inbox = slot.inbox.lock();
            inbox.shut = true;
            let (settled, end) = (slot.settlement.settled(), inbox.queued);
            if settled < end {
                inbox.dropped.add(DropReason::Io, end - settled);
                self.release(inbox.arena.size());
                inbox.arena.clear();
                inbox.since = None;
                slot.settlement.written.settle(settled, end);
                slot.settlement.synced.settle(settled, end);
            }
        }
        self.room.notify_waiters();
    }

    pub(super) fn stats(&self) -> LogStats {
        let _ledger = self.ledger.lock();
        let mut stats = LogStats {
            durability: self.durability,
            healthy: self.fault.load(Ordering::Relaxed) == 0,
            queue_bytes: self.queue_bytes() as u64,
            last_error: self.last_error.lock().clone(),
            ..LogStats::default()
        };
        let taken_since = self.taken_since.lock();
        let mut oldest = *taken_since;
        for slot in &self.slots {
            let inbox = slot.inbox.lock();
            oldest = oldest.into_iter().chain(inbox.since).min();
            stats.received += inbox.received;
            stats.omitted.add_all(&inbox.omitted);
            stats.queue_records += inbox.queued - slot.settlement.settled();
            stats.dropped.add_all(&inbox.dropped);
        }
        drop(taken_since);
        stats.oldest_waiting = oldest.map_or(Duration::ZERO, |since| since.elapsed());
        self.counters.copy_to(&mut stats);
        stats
    }
}

/// Counts an exchange that waits for room, as long as it does.
struct Blocked<'a>(&'a AtomicUsize);

impl<'a> Blocked<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
