//! How long a run of one row takes: the check, and the warm-up.
//!
//! Owns what is measured and what counts as too slow and as settled. Candidate and champion take turns, so that what
//! else the machine does hits both. Never chooses the rows.

use std::time::{Duration, Instant};

use super::bench::Bench;
use super::runner::RunError;
use super::{CheckError, Limits, failed, passed, skipped};
use crate::domain::lifecycle::evidence::{Check, CheckKind, Warmth};
use crate::domain::lifecycle::proof::WARM_RUNS_MIN;
use crate::domain::lifecycle::time::Steady;
use crate::protocol::tensor::Tensor;

/// Runs that are measured.
const RUNS: usize = 100;
/// Fewer runs say nothing about the slowest.
const RUNS_MIN: usize = 20;
/// Runs before anything is measured.
const FIRST_RUNS: usize = 5;
/// Medians that are closer are the same to any client.
const NOTICEABLE: Duration = Duration::from_micros(20);
/// Runs of a block whose medians are compared in a warm-up.
const BLOCK: usize = 10;
/// The most blocks of a warm-up.
const BLOCKS_MAX: usize = 40;

/// Latencies of one version.
#[derive(Debug, Default)]
struct Times(Vec<Duration>);

impl Times {
    /// The value that this share of runs does not exceed.
    fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    fn told(&self) -> String {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        format!("{:.3} ms (median {:.3} ms)", ms(self.quantile(0.99)), ms(self.quantile(0.5)))
    }
}

/// Answers come within the budget, and not much later than the champion's.
///
/// # Errors
/// When nobody is there to answer.
pub(super) async fn latency(
    bench: &mut Bench,
    champion: Option<&mut Bench>,
    row: Option<&[Tensor]>,
    limits: &Limits,
    deadline: Instant,
) -> Result<Check, CheckError> {
    const KIND: CheckKind = CheckKind::Latency;
    let Some(row) = row else {
        return Ok(skipped(KIND, "there is no row that it answers".to_owned()));
    };
    // The way to a backend is no property of a version in this process.
    let mut champion =
        champion.filter(|champion| champion.runner.is_local() == bench.runner.is_local());
    let (mut ours, mut theirs) = (Times::default(), Times::default());
    for run in 0..FIRST_RUNS + RUNS {
        if Instant::now() >= deadline {
            break;
        }
        match bench.runner.run(row, &[]).await {
            Ok(ran) if run >= FIRST_RUNS => ours.0.push(ran.took),
            Ok(_) => {}
            Err(RunError::Unreachable(why)) => return Err(CheckError::Candidate(why)),
            Err(error) => return Ok(failed(KIND, format!("run {} fails: {error}", run + 1))),
        }
        if let Some(other) = &mut champion {
            match other.runner.run(row, &[]).await {
                Ok(ran) if run >= FIRST_RUNS => theirs.0.push(ran.took),
                Ok(_) => {}
                // A champion that does not take the row is not compared with.
                Err(_) => champion = None,
            }
        }
    }
    judged(&ours, champion.map(|_| &theirs), limits).ok_or(CheckError::Time(limits.time))
}

/// The verdict; `None` where too few runs ended in time, which may be the fault of a busy machine.
fn judged(ours: &Times, theirs: Option<&Times>, limits: &Limits) -> Option<Check> {
    const KIND: CheckKind = CheckKind::Latency;
    let runs = ours.0.len();
    if runs < RUNS_MIN {
        return None;
    }
    let told = format!("p99 of {runs} runs {}", ours.told());
    if let Some((budget, share)) = limits.latency
        && ours.quantile(share) > budget
    {
        let (budget, share) = (budget.as_secs_f64() * 1000.0, 100.0 * share);
        let detail = format!("{told}, over the budget of {budget:.3} ms for {share} % of runs");
        return Some(failed(KIND, detail));
    }
    let Some(theirs) = theirs.filter(|theirs| theirs.0.len() >= RUNS_MIN) else {
        return Some(passed(KIND, told));
    };
    let told = format!("{told} against the champion's {}", theirs.told());
    let slower = |share: f64| {
        ours.quantile(share).as_secs_f64() > limits.slower * theirs.quantile(share).as_secs_f64()
    };
    let apart = ours.quantile(0.5).saturating_sub(theirs.quantile(0.5));
    if slower(0.5) && slower(0.99) && apart > NOTICEABLE {
        let detail = format!("{told}; at most {} times as long is allowed", limits.slower);
        return Some(failed(KIND, detail));
    }
    Some(passed(KIND, told))
}

/// Runs a version until its latency is steady: until the medians of two blocks of runs are within a fifth.
///
/// # Errors
/// When it does not answer.
pub(super) async fn warm(
    bench: &mut Bench,
    rows: &[&[Tensor]],
    began: Steady,
    deadline: Instant,
) -> Result<Warmth, CheckError> {
    let mut measured =
        Warmth { began, runs: 0, cold_us: 0, warm_us: 0, bytes: bench.memory(), settled: false };
    if rows.is_empty() {
        let why =
            "there is no row to warm it up with; give a `sample` in model.toml or a golden.jsonl";
        return Err(CheckError::Candidate(why.to_owned()));
    }
    let mut before: Option<Duration> = None;
    let mut rows = rows.iter().cycle();
    for block in 0..BLOCKS_MAX {
        let mut times = Times::default();
        for row in rows.by_ref().take(BLOCK) {
            let ran = bench.runner.run(row, &[]).await;
            times.0.push(ran.map_err(|error| CheckError::Candidate(error.to_string()))?.took);
            measured.runs = measured.runs.saturating_add(1);
        }
        let median = times.quantile(0.5);
        let us = u64::try_from(median.as_micros()).unwrap_or(u64::MAX);
        if block == 0 {
            measured.cold_us = us;
        }
        measured.warm_us = us;
        measured.settled = before.is_some_and(|before| is_steady(before, median));
        before = Some(median);
        if (measured.settled && measured.runs >= WARM_RUNS_MIN) || Instant::now() >= deadline {
            break;
        }
    }
    Ok(measured)
}

fn is_steady(before: Duration, now: Duration) -> bool {
    let apart = before.abs_diff(now);
    apart <= NOTICEABLE || apart.as_secs_f64() <= 0.2 * before.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lifecycle::evidence::Outcome;

    fn times(us: u64, tail_us: u64) -> Times {
        let run = |run: u64| {
            Duration::from_micros(if run.is_multiple_of(20) { tail_us } else { us + run % 3 })
        };
        Times((0..100).map(run).collect())
    }

    fn outcome(ours: &Times, theirs: Option<&Times>, budget_us: Option<u64>) -> Outcome {
        let latency = budget_us.map(|us| (Duration::from_micros(us), 0.99));
        judged(ours, theirs, &Limits { latency, ..Limits::default() }).expect("enough runs").outcome
    }

    #[test]
    fn ten_times_as_slow_fails_and_noise_does_not() {
        let champion = times(100, 300);
        assert_eq!(outcome(&times(1000, 3000), Some(&champion), None), Outcome::Failed);
        assert_eq!(outcome(&times(110, 3000), Some(&champion), None), Outcome::Passed, "one tail");
        assert_eq!(
            outcome(&times(3, 9), Some(&times(1, 3)), None),
            Outcome::Passed,
            "unnoticeable"
        );
        assert_eq!(outcome(&times(100, 300), None, Some(250)), Outcome::Failed);
        assert_eq!(outcome(&times(100, 300), None, Some(400)), Outcome::Passed);
        let few = Times(vec![Duration::ZERO; 19]);
        assert_eq!(judged(&few, None, &Limits::default()), None, "that is no verdict");
    }

    #[test]
    fn medians_within_a_fifth_are_steady() {
        let steady = |a, b| is_steady(Duration::from_micros(a), Duration::from_micros(b));
        assert!(steady(1000, 1100) && steady(5, 20) && !steady(1000, 700));
    }
}
