//! Counters that each worker keeps for itself: a count on the request path touches no cache line of
//! another core, and is added up when it is read.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::tally::TallyShard;
use crate::domain::record::Outcome;

/// A value on cache lines of its own; two lines, because they are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Padded<T>(pub T);

/// A counter with one part a worker.
#[derive(Debug)]
pub struct ShardedCounter {
    shards: Box<[Padded<AtomicU64>]>,
}

impl ShardedCounter {
    /// Zero, for `workers` counting parties.
    pub fn new(workers: usize) -> Self {
        Self { shards: (0..workers.max(1)).map(|_| Padded::default()).collect() }
    }

    /// Counts one.
    pub fn add(&self, worker: usize) {
        self.shards[worker % self.shards.len()].0.fetch_add(1, Ordering::Relaxed);
    }

    /// All counted so far.
    pub fn sum(&self) -> u64 {
        self.shards.iter().map(|shard| shard.0.load(Ordering::Relaxed)).sum()
    }
}

/// What one worker counts about one target.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct TargetShard {
    /// May be negative in one shard alone: a request that ends elsewhere is taken off there.
    pub(super) in_flight: AtomicI64,
    pub(super) outcomes: [AtomicU64; Outcome::ALL.len()],
    pub(super) tally: TallyShard,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_add_up() {
        let counter = ShardedCounter::new(2);
        for worker in [0, 1, 1, 5] {
            counter.add(worker);
        }
        assert_eq!(counter.sum(), 4);
    }
}
