//! How fast records come that clients wait for, and whether it pays to let a few of them gather.
//!
//! Owns the estimate and the time of the next group that follows from it. Pure: never looks at a clock,
//! never sleeps.
//!
//! Each group costs a wake of the writer, a write and a wake of every worker concerned, however few
//! records it holds. Where records come so fast that several come within [`REST_MAX`], groups begin
//! that far apart, and workers need not wake the writer. Where they come slower, it writes each at once.

use std::time::{Duration, Instant};

/// The longest time from the start of one group to the start of the next.
const REST_MAX: Duration = Duration::from_micros(250);
/// Records in a group from which on more save little.
pub(super) const ENOUGH: u64 = 8;
/// Records that have to be likely to come within [`REST_MAX`] for a rest to pay.
const WORTH: f64 = 3.0;
/// For how long records count in the estimate: each counts less by 1/e after that time.
const MEMORY: Duration = Duration::from_millis(4);

/// The estimate.
#[derive(Debug, Default)]
pub(super) struct Cadence {
    /// Records of late, weighted by their age.
    recent: f64,
    /// When the last group began.
    at: Option<Instant>,
}

impl Cadence {
    /// Takes note of a group with so many records that clients wait for, begun at `now`.
    pub(super) fn note(&mut self, records: u64, now: Instant) {
        let passed = self.at.replace(now).map_or(MEMORY, |at| now.saturating_duration_since(at));
        let kept = (-passed.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let records = records as f64;
        self.recent = self.recent * kept + records;
    }

    /// When the next group should begin; `None` for with its first record. A group that takes longer
    /// than the rest, as a sync does, gathers the next one by itself.
    pub(super) fn next(&self) -> Option<Instant> {
        // `recent` settles where it loses in each moment what comes: at rate times memory.
        let per_second = self.recent / MEMORY.as_secs_f64();
        if per_second * REST_MAX.as_secs_f64() < WORTH {
            return None;
        }
        let enough = Duration::try_from_secs_f64(ENOUGH as f64 / per_second);
        Some(self.at? + enough.unwrap_or(REST_MAX).min(REST_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rest after a second of groups of `records`, `every` microseconds apart.
    fn rest(
        cadence: &mut Cadence,
        start: &mut Instant,
        records: u64,
        every: u64,
    ) -> Option<Duration> {
        for _ in 0..1_000_000 / every {
            *start += Duration::from_micros(every);
            cadence.note(records, *start);
        }
        cadence.next().map(|next| next - *start)
    }

    #[test]
    fn the_writer_rests_only_where_records_come_fast() {
        let (mut cadence, mut now) = (Cadence::default(), Instant::now());
        assert_eq!(cadence.next(), None, "before anything is known");
        assert_eq!(rest(&mut cadence, &mut now, 1, 1000), None, "1000/s");
        assert_eq!(rest(&mut cadence, &mut now, 1, 125), None, "8000/s");
        assert_eq!(rest(&mut cadence, &mut now, 4, 200), Some(REST_MAX), "20 000/s");
        let fast = rest(&mut cadence, &mut now, 20, 200).expect("100 000/s");
        assert!(fast > Duration::from_micros(60) && fast < Duration::from_micros(90), "{fast:?}");
        now += MEMORY / 2;
        cadence.note(1, now);
        assert!(cadence.next().is_some(), "still likely");
        now += Duration::from_millis(100);
        cadence.note(1, now);
        assert_eq!(cadence.next(), None, "a lull is noticed with its first record");
        now += Duration::from_secs(3600);
        cadence.note(32, now);
        assert_eq!(cadence.next(), None, "one burst is no cadence");
    }
}
