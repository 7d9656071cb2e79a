//! What is counted about one target for the statistics that clients ask for: how often, and how long it
//! took together.
//!
//! Owns the counts of each worker, so that counting touches no cache line of another core, and their
//! sum. The metrics have distributions; these have sums in nanoseconds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// One exchange that has ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ended {
    /// Whether the client has its answer.
    pub ok: bool,
    /// From the first byte to the last.
    pub total: Duration,
    /// Waiting for a thread, where it waited.
    pub queue: Option<Duration>,
    /// Reading the request, where a model runs in process.
    pub input: Option<Duration>,
    /// Running the model, or waiting for the backend.
    pub infer: Option<Duration>,
    /// Writing the answer.
    pub output: Option<Duration>,
    /// Rows in the request, where the gateway looked inside.
    pub rows: Option<u32>,
    /// When, in milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

/// How often, and how long together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// How often.
    pub count: u64,
    /// Nanoseconds.
    pub ns: u64,
}

/// All counts of one target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Exchanges whose client has its answer.
    pub success: Sum,
    /// All others.
    pub fail: Sum,
    /// See [`Ended::queue`].
    pub queue: Sum,
    /// See [`Ended::input`].
    pub input: Sum,
    /// See [`Ended::infer`].
    pub infer: Sum,
    /// See [`Ended::output`].
    pub output: Sum,
    /// Rows of the exchanges that succeeded; one for each where the gateway did not look inside.
    pub rows: u64,
    /// When the last exchange ended, in milliseconds since the Unix epoch; 0 for never.
    pub last_ms: u64,
}

/// The counts of one worker.
#[derive(Debug, Default)]
pub(super) struct TallyShard {
    sums: [SumShard; 6],
    rows: AtomicU64,
    last_ms: AtomicU64,
}

#[derive(Debug, Default)]
struct SumShard {
    count: AtomicU64,
    ns: AtomicU64,
}

impl SumShard {
    fn add(&self, time: Duration) {
        self.count.fetch_add(1, Relaxed);
        self.ns.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    fn add_to(&self, sum: &mut Sum) {
        sum.count += self.count.load(Relaxed);
        sum.ns = sum.ns.saturating_add(self.ns.load(Relaxed));
    }
}

impl TallyShard {
    /// Counts an exchange.
    pub(super) fn add(&self, ended: &Ended) {
        let [success, fail, queue, input, infer, output] = &self.sums;
        let whole = if ended.ok { success } else { fail };
        whole.add(ended.total);
        let parts = [
            (queue, ended.queue),
            (input, ended.input),
            (infer, ended.infer),
            (output, ended.output),
        ];
        for (sum, time) in parts {
            if let Some(time) = time {
                sum.add(time);
            }
        }
        if ended.ok {
            self.rows.fetch_add(ended.rows.unwrap_or(1).into(), Relaxed);
        }
        self.last_ms.fetch_max(ended.unix_ms, Relaxed);
    }

    /// Adds the counts to `tally`.
    pub(super) fn add_to(&self, tally: &mut Tally) {
        let [success, fail, queue, input, infer, output] = &self.sums;
        success.add_to(&mut tally.success);
        fail.add_to(&mut tally.fail);
        queue.add_to(&mut tally.queue);
        input.add_to(&mut tally.input);
        infer.add_to(&mut tally.infer);
        output.add_to(&mut tally.output);
        tally.rows += self.rows.load(Relaxed);
        tally.last_ms = tally.last_ms.max(self.last_ms.load(Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_workers_add_up() {
        let shards = [TallyShard::default(), TallyShard::default()];
        let ms = Duration::from_millis;
        let ok =
            Ended { ok: true, total: ms(3), infer: Some(ms(1)), rows: Some(4), ..Ended::default() };
        shards[0].add(&Ended { unix_ms: 7, ..ok });
        shards[1].add(&Ended { unix_ms: 5, rows: None, ..ok });
        shards[1].add(&Ended { total: ms(2), unix_ms: 6, ..Ended::default() });
        let mut tally = Tally::default();
        shards.iter().for_each(|shard| shard.add_to(&mut tally));
        assert_eq!(tally.success, Sum { count: 2, ns: 6_000_000 });
        assert_eq!(tally.fail, Sum { count: 1, ns: 2_000_000 });
        assert_eq!(tally.infer, Sum { count: 2, ns: 2_000_000 });
        assert_eq!((tally.queue, tally.rows, tally.last_ms), (Sum::default(), 5, 7));
    }
}
