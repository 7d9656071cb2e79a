//! Which share of the exchanges of proxied versions is looked into.
//!
//! Owns the rate: all, a half, a quarter, …, fixed for a whole minute, and the choice by the id of the
//! record, so that whoever counts the minute again takes the same exchanges. Never measures anything.

use std::sync::atomic::{AtomicU64, Ordering};

use twox_hash::XxHash3_64;

use crate::domain::ids::RecordId;
use crate::domain::stats::window::Minute;

/// The smallest share is one of 2 to the power of this.
pub(super) const HALVINGS_MAX: u8 = 12;

/// The rate of now, and of the minute from which another one holds.
#[derive(Debug, Default)]
pub(super) struct Sampling {
    /// From the most significant bits: the minute, how often the share is halved before it, and from it on.
    rates: AtomicU64,
}

impl Sampling {
    /// Whether an exchange that ended in `minute` is looked into.
    pub(super) fn takes(&self, minute: Minute, id: RecordId) -> bool {
        is_taken(id, self.halvings(minute))
    }

    /// How often the share is halved in `minute`.
    pub(super) fn halvings(&self, minute: Minute) -> u8 {
        let rates = self.rates.load(Ordering::Relaxed);
        let [.., before, after] = rates.to_be_bytes();
        if (u64::from(minute.0) << 16) >= (rates & !0xffff) { after } else { before }
    }

    /// Halves the share so often from `minute` on.
    pub(super) fn change(&self, minute: Minute, halvings: u8) {
        let before = self.halvings(Minute(minute.0.saturating_sub(1)));
        let rates = (u64::from(minute.0) << 16) | (u64::from(before) << 8) | u64::from(halvings);
        self.rates.store(rates, Ordering::Relaxed);
    }
}

/// Whether an exchange belongs to the share that is halved so often. A smaller share is a part of a
/// larger one.
pub(super) fn is_taken(id: RecordId, halvings: u8) -> bool {
    let mask = (1u64 << halvings.min(HALVINGS_MAX)) - 1;
    XxHash3_64::oneshot(id.as_bytes()) & mask == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> RecordId {
        let mut bytes = [0; 10];
        bytes[2..].copy_from_slice(&number.to_be_bytes());
        RecordId::from_parts(1_700_000_000_000, bytes)
    }

    #[test]
    fn shares_are_halves_of_each_other() {
        for halvings in 0..=6 {
            let taken = (0..64_000).filter(|n| is_taken(id(*n), halvings)).count();
            let expected = 64_000 >> halvings;
            assert!(taken.abs_diff(expected) < expected / 5 + 1, "{halvings}: {taken}");
            assert!((0..1000).all(|n| !is_taken(id(n), halvings + 1) || is_taken(id(n), halvings)));
        }
    }

    #[test]
    fn a_rate_holds_from_the_minute_that_it_was_set_for() {
        let sampling = Sampling::default();
        assert_eq!(sampling.halvings(Minute(9)), 0);
        sampling.change(Minute(10), 2);
        assert_eq!((sampling.halvings(Minute(9)), sampling.halvings(Minute(10))), (0, 2));
        sampling.change(Minute(11), 1);
        assert_eq!((sampling.halvings(Minute(10)), sampling.halvings(Minute(12))), (2, 1));
    }
}
