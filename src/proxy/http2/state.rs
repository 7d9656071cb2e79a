//! What a connection's parts know together: its streams, and frames that are not complete.
//!
//! Owns the counts from which idle limits, slow heads and abuse follow. The parts run in several tasks
//! of one worker; the atomics only make it `Send`.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::CLOSING_TIME;

/// Resets that are never counted against a client.
const RESETS_FREE: u32 = 200;

/// The state of one connection.
pub(super) struct ConnState {
    base: Instant,
    header_time: Duration,
    idle: Duration,
    /// Streams that are open now.
    streams: AtomicU32,
    /// When the last stream ended.
    idle_since_us: AtomicU64,
    /// When the frame that is not complete began; 0 for none.
    frame_began_us: AtomicU64,
    heads: AtomicU32,
    resets: AtomicU32,
    abused: AtomicBool,
}

/// What happens next if nothing comes, and when.
pub(super) enum Due {
    /// The connection has carried nothing for long enough.
    Idle(Instant),
    /// A head has taken too long.
    Head(Instant),
    /// The client was told to go and has nothing open.
    Gone(Instant),
    /// Nothing: time to look again.
    Look(Instant),
}

impl Due {
    pub(super) fn at(&self) -> Instant {
        match self {
            Self::Idle(at) | Self::Head(at) | Self::Gone(at) | Self::Look(at) => *at,
        }
    }
}

impl ConnState {
    pub(super) fn new(now: Instant, header_time: Duration, idle: Duration) -> Self {
        Self {
            base: now,
            header_time,
            idle,
            streams: AtomicU32::new(0),
            idle_since_us: AtomicU64::new(0),
            frame_began_us: AtomicU64::new(0),
            heads: AtomicU32::new(0),
            resets: AtomicU32::new(0),
            abused: AtomicBool::new(false),
        }
    }

    /// A stream is open from now on.
    pub(super) fn enter(&self) {
        self.streams.fetch_add(1, Relaxed);
    }

    /// A stream has ended.
    pub(super) fn leave(&self) {
        if self.streams.fetch_sub(1, Relaxed) == 1 {
            self.idle_since_us.store(self.micros(Instant::now()), Relaxed);
        }
    }

    /// Notes whether a frame other than `DATA`, or a head of several frames, is not complete.
    pub(super) fn note_frame(&self, incomplete: bool) {
        let began = self.frame_began_us.load(Relaxed);
        if incomplete && began == 0 {
            self.frame_began_us.store(self.micros(Instant::now()).max(1), Relaxed);
        } else if !incomplete && began != 0 {
            self.frame_began_us.store(0, Relaxed);
        }
    }

    /// Counts a head.
    pub(super) fn note_head(&self) {
        self.heads.fetch_add(1, Relaxed);
    }

    /// Counts a stream that its client reset. Clients do that when a deadline passes; one that does it
    /// to most of its streams makes the gateway work for nothing.
    pub(super) fn note_reset(&self) {
        let resets = self.resets.fetch_add(1, Relaxed) + 1;
        if resets > RESETS_FREE && resets > self.heads.load(Relaxed) / 2 {
            self.abused.store(true, Relaxed);
        }
    }

    /// Heads, resets, and whether a frame is not complete.
    pub(super) fn seen(&self) -> (u32, u32, bool) {
        let incomplete = self.frame_began_us.load(Relaxed) != 0;
        (self.heads.load(Relaxed), self.resets.load(Relaxed), incomplete)
    }

    /// Whether the client resets more streams than a sound one does.
    pub(super) fn is_abused(&self) -> bool {
        self.abused.load(Relaxed)
    }

    /// What is due next; `closing` is when the client was told to go, if it was.
    pub(super) fn due(&self, now: Instant, closing: Option<Instant>) -> Due {
        let idle_since = self.at(self.idle_since_us.load(Relaxed));
        let is_idle = self.streams.load(Relaxed) == 0;
        let base = match (is_idle, closing) {
            (true, Some(told)) => Due::Gone(idle_since.max(told) + CLOSING_TIME),
            (true, None) => Due::Idle(idle_since + self.idle),
            (false, Some(_)) => Due::Look(now + CLOSING_TIME),
            (false, None) => Due::Look(now + self.idle),
        };
        match self.frame_began_us.load(Relaxed) {
            0 => base,
            began => {
                let head = self.at(began) + self.header_time;
                if head < base.at() { Due::Head(head) } else { base }
            }
        }
    }

    fn at(&self, micros: u64) -> Instant {
        self.base + Duration::from_micros(micros)
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(75);

    #[test]
    fn a_head_that_is_not_complete_is_due_before_the_idle_limit() {
        let now = Instant::now();
        let state = ConnState::new(now, HEADER, IDLE);
        assert!(matches!(state.due(now, None), Due::Idle(at) if at == now + IDLE));
        state.note_frame(true);
        assert!(matches!(state.due(now, None), Due::Head(at) if at < now + HEADER * 2));
        state.note_frame(false);
        state.enter();
        assert!(matches!(state.due(now, None), Due::Look(_)));
        state.leave();
        assert!(matches!(state.due(now, Some(now)), Due::Gone(_)));
    }

    #[test]
    fn only_clients_that_reset_most_of_their_streams_are_cut_off() {
        let sound = ConnState::new(Instant::now(), HEADER, IDLE);
        for _ in 0..RESETS_FREE * 10 {
            (0..3).for_each(|_| sound.note_head());
            sound.note_reset();
        }
        assert!(!sound.is_abused());
        let abusive = ConnState::new(Instant::now(), HEADER, IDLE);
        for _ in 0..=RESETS_FREE {
            abusive.note_head();
            assert!(!abusive.is_abused());
            abusive.note_reset();
        }
        assert!(abusive.is_abused());
    }
}
