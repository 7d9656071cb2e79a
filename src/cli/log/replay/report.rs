//! What a replay found out.
//!
//! Owns the counts, the quantiles, the examples and both printed forms. Never compares answers.

mod print;

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::compare::{Deviation, Difference, Sameness, Verdict};
use super::recorded::{Recorded, Skip};
use super::send::{Reply, SendError};
use crate::telemetry::logging::chain;

/// The longest time that is told apart, in microseconds: one hour.
const MICROS_MAX: u64 = 3_600_000_000;

/// One comparison: a line of `--out`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Comparison {
    record_id: String,
    replay_record_id: Option<String>,
    request_id: String,
    model: String,
    model_version: String,
    replay_model_version: Option<String>,
    /// `equal`, `close`, `differing`, `failed` or `unknown`.
    verdict: &'static str,
    /// Of `equal`, `bytes` or `json`; of `failed`, what failed.
    how: Option<&'static str>,
    status: u16,
    replay_status: Option<u16>,
    /// Where the first difference is.
    pointer: Option<String>,
    recorded: Option<String>,
    replayed: Option<String>,
    /// The largest deviation of two numbers, and where it is.
    deviation: Option<f64>,
    deviation_pointer: Option<String>,
    error: Option<String>,
    t_total: u32,
    replay_t_total: Option<u64>,
    /// How much later than planned the request was sent, in microseconds.
    late: u64,
}

impl Comparison {
    /// What `verdict` says about an answer.
    pub(super) fn new(
        recorded: &Recorded,
        late: Duration,
        reply: &Result<Reply, SendError>,
        verdict: Option<Verdict>,
    ) -> Self {
        let answer = reply.as_ref().ok();
        let mut line = Self {
            record_id: recorded.record_id.to_string(),
            replay_record_id: answer.and_then(|reply| reply.record_id.clone()),
            request_id: recorded.request_id.clone(),
            model: recorded.model.clone(),
            model_version: recorded.model_version.clone(),
            replay_model_version: answer.and_then(|reply| reply.version.clone()),
            verdict: "failed",
            how: None,
            status: recorded.status(),
            replay_status: answer.map(|reply| reply.status),
            pointer: None,
            recorded: None,
            replayed: None,
            deviation: None,
            deviation_pointer: None,
            error: None,
            t_total: recorded.t_total,
            replay_t_total: answer.map(|reply| micros(reply.took)),
            late: micros(late),
        };
        match (reply, verdict) {
            (Err(error), _) => {
                line.how = Some(error.word());
                line.error = Some(chain(error).to_string());
            }
            (Ok(_), Some(verdict)) => line.judge(verdict),
            (Ok(_), None) => {}
        }
        line
    }

    fn judge(&mut self, verdict: Verdict) {
        let worst = |line: &mut Self, deviation: Option<Deviation>| {
            line.deviation = deviation.as_ref().map(|deviation| deviation.amount);
            line.deviation_pointer = deviation.map(|deviation| deviation.pointer);
        };
        match verdict {
            Verdict::Equal(sameness) => {
                self.verdict = "equal";
                self.how = Some(match sameness {
                    Sameness::Bytes => "bytes",
                    Sameness::Json => "json",
                });
            }
            Verdict::Close(deviation) => {
                self.verdict = "close";
                worst(self, Some(deviation));
            }
            Verdict::Differing(Difference { pointer, recorded, replayed, worst: deviation }) => {
                self.verdict = "differing";
                self.pointer = Some(pointer);
                self.recorded = Some(recorded);
                self.replayed = Some(replayed);
                worst(self, deviation);
            }
            Verdict::StatusClass => self.how = Some("status"),
            Verdict::Unknown => self.verdict = "unknown",
        }
    }

    fn is_bad(&self) -> bool {
        matches!(self.verdict, "differing" | "failed")
    }
}

/// All comparisons of a replay, added up.
#[derive(Debug)]
pub(super) struct Report {
    /// Verdicts with their `how`, and how often.
    verdicts: BTreeMap<(&'static str, Option<&'static str>), u64>,
    skipped: BTreeMap<&'static str, u64>,
    gaps: u64,
    worst: Option<Worst>,
    examples: Vec<Comparison>,
    examples_max: usize,
    recorded: Times,
    replayed: Times,
    late: Times,
    /// How it was done.
    pub(super) run: Run,
}

/// How a replay was done.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Run {
    /// Where requests were sent.
    pub(super) target: String,
    /// The model that was asked instead.
    pub(super) to_model: Option<String>,
    /// The version that was asked.
    pub(super) to_version: Option<String>,
    /// The speed.
    pub(super) speed: String,
    /// From the first request to the last answer, in seconds.
    pub(super) seconds: f64,
    /// From the first to the last recorded request, in seconds.
    pub(super) recorded_seconds: f64,
    /// Whether it was ended before the last request.
    pub(super) interrupted: bool,
}

/// The largest deviation of all, and the exchange that has it.
#[derive(Debug, Clone, Serialize)]
struct Worst {
    deviation: f64,
    pointer: String,
    record_id: String,
}

impl Report {
    /// Nothing yet. Names at most `examples_max` differing or failed answers.
    pub(super) fn new(run: Run, examples_max: usize) -> Self {
        Self {
            verdicts: BTreeMap::new(),
            skipped: BTreeMap::new(),
            gaps: 0,
            worst: None,
            examples: Vec::new(),
            examples_max,
            recorded: Times::new(),
            replayed: Times::new(),
            late: Times::new(),
            run,
        }
    }

    /// Adds a comparison.
    pub(super) fn add(&mut self, line: &Comparison) {
        *self.verdicts.entry((line.verdict, line.how)).or_default() += 1;
        self.late.record(line.late);
        if let Some(took) = line.replay_t_total {
            // Only pairs, so that the two lines of quantiles are about the same requests.
            self.recorded.record(line.t_total.into());
            self.replayed.record(took);
        }
        if let (Some(deviation), Some(pointer)) = (line.deviation, &line.deviation_pointer)
            && self.worst.as_ref().is_none_or(|worst| deviation > worst.deviation)
        {
            let (pointer, record_id) = (pointer.clone(), line.record_id.clone());
            self.worst = Some(Worst { deviation, pointer, record_id });
        }
        if line.is_bad() && self.examples.len() < self.examples_max {
            self.examples.push(line.clone());
        }
    }

    /// Adds a request that was not sent.
    pub(super) fn skip(&mut self, skip: Skip) {
        *self.skipped.entry(skip.0).or_default() += 1;
    }

    /// Adds a place where records are missing.
    pub(super) fn gap(&mut self) {
        self.gaps += 1;
    }

    /// Requests that were sent.
    pub(super) fn sent(&self) -> u64 {
        self.verdicts.values().sum()
    }

    /// Answers that differ or failed.
    pub(super) fn bad(&self) -> u64 {
        self.count("differing") + self.count("failed")
    }

    fn count(&self, verdict: &str) -> u64 {
        self.verdicts.iter().filter(|((name, _), _)| *name == verdict).map(|(_, count)| count).sum()
    }

    /// The kinds of a verdict, and how often.
    fn kinds(&self, verdict: &str) -> impl Iterator<Item = (&'static str, u64)> {
        let of = self.verdicts.iter().filter(move |((name, _), _)| *name == verdict);
        of.filter_map(|((_, how), count)| how.map(|how| (how, *count)))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(MICROS_MAX)
}

/// Durations in microseconds, from 1 µs to an hour, within 1 %.
#[derive(Debug)]
struct Times(Histogram<u64>);

/// Quantiles in microseconds.
#[derive(Debug, Serialize)]
struct Quantiles {
    p50: u64,
    p95: u64,
    p99: u64,
    max: u64,
}

impl Times {
    #[expect(clippy::expect_used, reason = "a constant that the constructor takes")]
    fn new() -> Self {
        Self(Histogram::new(2).expect("invariant: 0 to 5 significant digits are valid"))
    }

    fn record(&mut self, micros: u64) {
        let recorded = self.0.record(micros.clamp(1, MICROS_MAX));
        debug_assert!(recorded.is_ok(), "the histogram grows with its values");
    }

    fn quantiles(&self) -> Quantiles {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Quantiles { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: self.0.max() }
    }
}
