//! What a replay found out.
//!
//! Owns the counts, the quantiles, the examples and both printed forms. Never compares answers.

mod print;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::compare::{Deviation, Difference, Sameness, Verdict};
use super::recorded::{Recorded, Skip};
use super::send::{Reply, SendError};
use crate::telemetry::logging::chain;

/// The longest time that is told apart, in microseconds: one hour.
const MICROS_MAX: u64 = 3_600_000_000;
/// The most places, and pairs of versions, that are told apart in a report.
const LINES_MAX: usize = 1000;
/// What further places count as.
const ELSEWHERE: &str = "elsewhere";
/// Deviations are counted in billionths.
const DEVIATION_UNIT: f64 = 1e-9;

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
    /// All places that differ, outputs by name and `*` for other indexes.
    places: BTreeSet<String>,
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
            places: BTreeSet::new(),
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
            Verdict::Differing(difference) => {
                let Difference { pointer, recorded, replayed, places, worst: deviation } =
                    difference;
                self.places = places;
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
    /// In how many answers a place differs.
    places: BTreeMap<String, u64>,
    /// Who answered then and now, and what came of it.
    pairs: BTreeMap<Pair, PairCounts>,
    /// The largest deviation of each answer that has one.
    deviations: Histogram<u64>,
    worst: Option<Worst>,
    /// One for each place or kind of failure.
    examples: Vec<Comparison>,
    /// The first ones beside those.
    more_examples: Vec<Comparison>,
    examples_max: usize,
    recorded: Times,
    replayed: Times,
    late: Times,
    /// How it was done.
    pub(super) run: Run,
}

/// Who answered a request when it was recorded, and when it was sent again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Pair {
    model: String,
    model_version: String,
    replay_model_version: String,
}

/// What came of the requests of a [`Pair`].
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct PairCounts {
    sent: u64,
    equal: u64,
    close: u64,
    differing: u64,
    failed: u64,
    unknown: u64,
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
    /// See `--tolerance`.
    pub(super) tolerance: f64,
    /// See `--floor`.
    pub(super) floor: f64,
    /// What was not compared beside the names of requests, models and versions.
    pub(super) ignored: Vec<String>,
    /// When the first and the last request were recorded.
    pub(super) recorded_from: Option<String>,
    /// See `recorded_from`.
    pub(super) recorded_to: Option<String>,
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
            places: BTreeMap::new(),
            pairs: BTreeMap::new(),
            deviations: histogram(),
            worst: None,
            examples: Vec::new(),
            more_examples: Vec::new(),
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
        self.count_pair(line);
        self.count_places(line);
        if let (Some(deviation), Some(pointer)) = (line.deviation, &line.deviation_pointer)
            && self.worst.as_ref().is_none_or(|worst| deviation > worst.deviation)
        {
            let (pointer, record_id) = (pointer.clone(), line.record_id.clone());
            self.worst = Some(Worst { deviation, pointer, record_id });
        }
    }

    fn count_pair(&mut self, line: &Comparison) {
        let pair = Pair {
            model: line.model.clone(),
            model_version: line.model_version.clone(),
            replay_model_version: line.replay_model_version.clone().unwrap_or_default(),
        };
        if self.pairs.len() >= LINES_MAX && !self.pairs.contains_key(&pair) {
            return;
        }
        let counts = self.pairs.entry(pair).or_default();
        counts.sent += 1;
        *match line.verdict {
            "equal" => &mut counts.equal,
            "close" => &mut counts.close,
            "differing" => &mut counts.differing,
            "failed" => &mut counts.failed,
            _ => &mut counts.unknown,
        } += 1;
    }

    /// Counts where an answer differs, and keeps it as an example where it is the first of its kind.
    fn count_places(&mut self, line: &Comparison) {
        if let Some(deviation) = line.deviation {
            let billionths = (deviation / DEVIATION_UNIT).round() as u64;
            record(&mut self.deviations, billionths);
        }
        let mut is_new =
            line.verdict == "failed" && !self.examples.iter().any(|e| e.how == line.how);
        for place in &line.places {
            let known = self.places.len() < LINES_MAX || self.places.contains_key(place);
            let place = if known { place.as_str() } else { ELSEWHERE };
            is_new |= !self.places.contains_key(place);
            *self.places.entry(place.to_owned()).or_default() += 1;
        }
        let examples = if is_new { &mut self.examples } else { &mut self.more_examples };
        if line.is_bad() && examples.len() < self.examples_max {
            examples.push(line.clone());
        }
    }

    /// The examples that are shown: of as many kinds as there are, then the first.
    fn examples(&self) -> impl Iterator<Item = &Comparison> {
        self.examples.iter().chain(&self.more_examples).take(self.examples_max)
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

#[expect(clippy::expect_used, reason = "a constant that the constructor takes")]
fn histogram() -> Histogram<u64> {
    Histogram::new(2).expect("invariant: 0 to 5 significant digits are valid")
}

fn record(histogram: &mut Histogram<u64>, value: u64) {
    let recorded = histogram.record(value.clamp(1, MICROS_MAX));
    debug_assert!(recorded.is_ok(), "the histogram grows with its values");
}

impl Times {
    fn new() -> Self {
        Self(histogram())
    }

    fn record(&mut self, micros: u64) {
        record(&mut self.0, micros);
    }

    fn quantiles(&self) -> Quantiles {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Quantiles { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: self.0.max() }
    }
}
