//! A bound on the bodies that are held whole, over all clients.
//!
//! Owns the budget of the process (`limits.held_bodies`) and what each exchange has taken of it. The first
//! [`WHOLE_BYTES_MAX`] bytes of an exchange are free, so that short bodies, which connections and streams
//! bound, share nothing between workers. The answer of a model in this process, or a translated one, counts until its
//! last byte has left, and what the tensors of a request take beyond the length of its body until that is written. What no client waits for, as copies for a version on trial, never takes the half that is left.
//! Never counts bodies that stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;

use super::body::WHOLE_BYTES_MAX;
use super::exchange::Exchange;
use super::problem::{Cause, Problem};

/// What is taken at a time.
const UNIT_BYTES: u64 = 64 * 1024;

/// The budget of the process.
#[derive(Debug)]
pub(super) struct HeldBodies {
    taken: AtomicU64,
    limit: u64,
}

impl HeldBodies {
    pub(super) const fn new(limit: u64) -> Self {
        Self { taken: AtomicU64::new(0), limit }
    }

    /// What exchanges have taken, in bytes.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// Takes `bytes` where no more than `limit` are taken then.
    fn take(&self, bytes: u64, limit: u64) -> bool {
        let more = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= limit);
        self.taken.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// How much may be taken where what nobody waits for takes more: the rest is for clients.
    const fn spare_limit(&self) -> u64 {
        self.limit / 2
    }

    /// Whether so much of one body could be taken of what is spare now.
    pub(super) fn has_spare(&self, bytes: u64) -> bool {
        cost(bytes) == 0 || self.taken().saturating_add(cost(bytes)) <= self.spare_limit()
    }
}

/// What one exchange holds; given back when it ends.
#[derive(Debug, Default)]
pub(super) struct Holding {
    bytes: u64,
    taken: u64,
    /// The budget, once something was taken of it.
    budget: Option<Arc<HeldBodies>>,
}

impl Holding {
    /// Counts `bytes` more; whether there was room for them.
    pub(super) fn add(&mut self, budget: &Arc<HeldBodies>, bytes: u64) -> bool {
        self.add_within(budget, bytes, budget.limit)
    }

    /// The same for what no client waits for: half of the budget stays free for those who do.
    pub(super) fn add_spare(&mut self, budget: &Arc<HeldBodies>, bytes: u64) -> bool {
        self.add_within(budget, bytes, budget.spare_limit())
    }

    fn add_within(&mut self, budget: &Arc<HeldBodies>, bytes: u64, limit: u64) -> bool {
        let held = self.bytes.saturating_add(bytes);
        let more = cost(held).saturating_sub(self.taken);
        if more > 0 {
            if !budget.take(more, limit) {
                return false;
            }
            self.taken += more;
            self.budget.get_or_insert_with(|| Arc::clone(budget));
        }
        self.bytes = held;
        true
    }

    /// Gives back what is beyond `bytes`.
    fn keep(&mut self, bytes: u64) {
        self.bytes = self.bytes.min(bytes);
        let back = self.taken.saturating_sub(cost(self.bytes));
        if let Some(budget) = &self.budget {
            budget.taken.fetch_sub(back, Relaxed);
            self.taken -= back;
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.keep(0);
    }
}

/// What is taken of the budget for so many bytes of one exchange.
const fn cost(bytes: u64) -> u64 {
    bytes.saturating_sub(WHOLE_BYTES_MAX).div_ceil(UNIT_BYTES).saturating_mul(UNIT_BYTES)
}

/// An answer with its room.
struct HeldAnswer {
    answer: Bytes,
    _holding: Holding,
}

impl AsRef<[u8]> for HeldAnswer {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

fn no_room() -> Problem {
    let detail =
        "the gateway holds as many bytes of bodies as `limits.held_bodies` allows; try again";
    Problem::new(Cause::Overloaded, detail)
}

/// Where the tensors of one request find room, on whichever thread they are read.
#[derive(Debug, Clone)]
pub(super) struct Room {
    budget: Arc<HeldBodies>,
    /// No client waits for them.
    is_spare: bool,
}

impl Room {
    /// Makes room for what tensors take beyond the length of their body, for as long as the holding is kept.
    pub(super) fn take(&self, bytes: usize) -> Result<Holding, Problem> {
        let (bytes, limit) = (bytes as u64, self.budget.limit);
        if cost(bytes) > limit {
            let detail = format!(
                "the elements of the body are so short that in memory they take about {bytes} bytes more than there, \
                 and `limits.held_bodies` allows {limit}; send them in several requests"
            );
            return Err(Problem::new(Cause::BodyTooLarge, detail));
        }
        let mut holding = Holding::default();
        let limit = if self.is_spare { self.budget.spare_limit() } else { limit };
        if holding.add_within(&self.budget, bytes, limit) { Ok(holding) } else { Err(no_room()) }
    }
}

impl Exchange {
    /// Where the tensors of its request find room.
    pub(super) fn room(&self) -> Room {
        let budget = Arc::clone(&self.context.worker.gateway.held_bodies);
        Room { budget, is_spare: self.is_copy() }
    }

    /// Makes room for `bytes` more of what is held whole.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        let budget = &self.context.worker.gateway.held_bodies;
        if self.holding.add(budget, bytes as u64) { Ok(()) } else { Err(no_room()) }
    }

    /// Makes room for an answer until the last of it has left, which may be long after the exchange.
    pub(super) fn hold_answer(&self, answer: Bytes) -> Result<Bytes, Problem> {
        let mut holding = Holding::default();
        if !holding.add(&self.context.worker.gateway.held_bodies, answer.len() as u64) {
            return Err(no_room());
        }
        Ok(match holding.taken {
            0 => answer,
            _ => Bytes::from_owner(HeldAnswer { answer, _holding: holding }),
        })
    }

    /// Notes that no more than `bytes` are held any longer.
    pub(super) fn hold_only(&mut self, bytes: usize) {
        self.holding.keep(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FREE: u64 = WHOLE_BYTES_MAX;

    #[test]
    fn short_bodies_take_nothing_and_long_ones_only_up_to_the_limit() {
        let budget = Arc::new(HeldBodies::new(4 * UNIT_BYTES));
        let mut short = Holding::default();
        assert!(short.add(&budget, FREE));
        assert_eq!(budget.taken(), 0);
        let mut long = Holding::default();
        assert!(long.add(&budget, FREE + 3 * UNIT_BYTES + 1));
        assert_eq!(budget.taken(), 4 * UNIT_BYTES);
        assert!(!short.add(&budget, 1), "there is no room");
        assert!(long.add(&budget, UNIT_BYTES - 1), "that was paid for");
        assert!(!long.add(&budget, 1));
        drop(long);
        assert_eq!(budget.taken(), 0);
        assert!(short.add(&budget, 1));
        short.keep(FREE);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn what_nobody_waits_for_leaves_half_to_clients() {
        let budget = Arc::new(HeldBodies::new(4 * UNIT_BYTES));
        assert!(budget.has_spare(FREE + 2 * UNIT_BYTES));
        assert!(!budget.has_spare(FREE + 2 * UNIT_BYTES + 1));
        let (mut copy, mut client) = (Holding::default(), Holding::default());
        assert!(copy.add_spare(&budget, FREE + 2 * UNIT_BYTES));
        assert!(!copy.add_spare(&budget, 1), "the other half is not for it");
        assert!(client.add(&budget, FREE + 2 * UNIT_BYTES), "it is for clients");
        drop(copy);
        let mut late = Holding::default();
        assert!(late.add_spare(&budget, FREE), "short ones are free");
        assert!(!late.add_spare(&budget, 1), "clients have taken half already");
        assert!(budget.has_spare(FREE) && !budget.has_spare(FREE + 1));
        drop((late, client));
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn tensors_find_room_or_it_is_told_that_they_never_will() {
        let budget = Arc::new(HeldBodies::new(4 * UNIT_BYTES));
        let room = |is_spare| Room { budget: Arc::clone(&budget), is_spare };
        let most = usize::try_from(FREE + 4 * UNIT_BYTES).unwrap();
        let all = room(false).take(most).unwrap();
        assert_eq!(budget.taken(), 4 * UNIT_BYTES);
        let later = room(false).take(most).unwrap_err();
        assert_eq!(later.cause, Cause::Overloaded, "another time");
        drop(all);
        let never = room(false).take(most + 1).unwrap_err();
        assert_eq!(never.cause, Cause::BodyTooLarge);
        assert!(never.detail.contains("in several requests"), "{}", never.detail);
        assert_eq!(
            room(true).take(most).unwrap_err().cause,
            Cause::Overloaded,
            "half is for clients"
        );
        assert_eq!(budget.taken(), 0);
    }

    proptest! {
        /// Whatever exchanges take and give back, the sum stays within the limit and ends at nothing.
        #[test]
        fn nothing_is_lost_and_nothing_exceeds_the_limit(
            steps in prop::collection::vec((0usize..3, 0u64..400_000, any::<bool>()), 0..60),
        ) {
            let budget = Arc::new(HeldBodies::new(500_000));
            let mut exchanges = [Holding::default(), Holding::default(), Holding::default()];
            for (which, bytes, gives_back) in steps {
                let exchange = &mut exchanges[which];
                let before = exchange.bytes;
                if gives_back {
                    exchange.keep(bytes);
                    prop_assert_eq!(exchange.bytes, before.min(bytes));
                } else {
                    let fits = exchange.add(&budget, bytes);
                    prop_assert_eq!(exchange.bytes, if fits { before + bytes } else { before });
                }
                let sum: u64 = exchanges.iter().map(|exchange| cost(exchange.bytes)).sum();
                prop_assert_eq!(budget.taken(), sum);
                prop_assert!(sum <= 500_000);
            }
            drop(exchanges);
            prop_assert_eq!(budget.taken(), 0);
        }
    }
}
