//! Whether the prediction log, and its delivery, keep up.
//!
//! Owns what of their state is a lag: a record that waits too long, records that were dropped, a log that
//! cannot write, a sink that is too far behind. Never touches either.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::stats::alarm::{Evidence, FINDINGS_MAX, Finding, Reading};
use crate::prediction_log::{Recorder, Sinks};

/// Sees the log and the sinks of this process.
#[derive(Debug, Default)]
pub struct LogSight {
    seen: Option<(Arc<Recorder>, Arc<Sinks>)>,
    /// Records dropped up to the last look.
    dropped: u64,
}

/// What was seen.
#[derive(Debug, Default)]
struct Facts {
    /// What the last write said, where it failed.
    error: Option<String>,
    /// How long the oldest record has waited.
    waiting: Duration,
    /// Records dropped since the last look.
    dropped: u64,
    /// How far each sink is behind.
    sinks: Vec<(String, Duration)>,
    records: u64,
}

impl LogSight {
    /// Of a process that records.
    pub fn new(recorder: Arc<Recorder>, sinks: Arc<Sinks>) -> Self {
        Self { seen: Some((recorder, sinks)), dropped: 0 }
    }

    /// Looks; `limit` is how old what waits may be. `None` where nothing is recorded.
    pub(super) fn look(&mut self, minute: u64, limit: Duration) -> Option<Reading> {
        let (recorder, sinks) = self.seen.as_ref().filter(|(recorder, _)| recorder.is_on())?;
        let stats = recorder.stats();
        let dropped = stats.dropped.total();
        let facts = Facts {
            error: (!stats.healthy).then(|| stats.last_error.clone().unwrap_or_default()),
            waiting: stats.oldest_waiting,
            dropped: dropped.saturating_sub(self.dropped),
            sinks: sinks
                .stats(stats.written_lsn)
                .into_iter()
                .map(|s| (s.name.to_string(), s.lag))
                .collect(),
            records: stats.received,
        };
        self.dropped = dropped;
        Some(read(facts, minute, limit))
    }
}

fn read(facts: Facts, minute: u64, limit: Duration) -> Reading {
    let mut findings = Vec::new();
    let mut find = |subject: &str, what: String, value: f64, limit: f64| {
        findings.push(Finding { subject: subject.to_owned(), what, value, limit });
    };
    if let Some(error) = facts.error {
        find("log", format!("cannot be written: {error}"), 1.0, 0.0);
    }
    if facts.dropped > 0 {
        #[expect(clippy::cast_precision_loss, reason = "a number for people")]
        let dropped = facts.dropped as f64;
        find("log", format!("{} records were dropped in this minute", facts.dropped), dropped, 0.0);
    }
    let waiting = std::iter::once(("log".to_owned(), facts.waiting));
    let mut late: Vec<_> = waiting.chain(facts.sinks).filter(|(_, lag)| *lag > limit).collect();
    late.sort_by_key(|(_, lag)| std::cmp::Reverse(*lag));
    for (subject, lag) in late {
        let what = format!("{} s behind", lag.as_secs());
        find(&subject, what, lag.as_secs_f64(), limit.as_secs_f64());
    }
    findings.truncate(FINDINGS_MAX);
    let Some(worst) = findings.first() else { return Reading::Good };
    Reading::Bad(Evidence {
        definition: "the log or its delivery is behind (seconds, or records)".to_owned(),
        value: worst.value,
        limit: worst.limit,
        samples: facts.records,
        minutes: (minute, minute + 1),
        p: None,
        findings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn subjects(facts: Facts) -> Vec<String> {
        match read(facts, 5, LIMIT) {
            Reading::Bad(evidence) => evidence
                .findings
                .into_iter()
                .map(|it| format!("{}: {}", it.subject, it.what))
                .collect(),
            Reading::Noted(_) | Reading::Good | Reading::Insufficient => Vec::new(),
        }
    }

    #[test]
    fn whatever_is_behind_is_named_the_worst_first() {
        assert_eq!(subjects(Facts::default()), [""; 0]);
        let seconds = Duration::from_secs;
        let facts = Facts {
            error: Some("no space".to_owned()),
            waiting: seconds(61),
            dropped: 3,
            sinks: vec![("lake".to_owned(), seconds(600)), ("tap".to_owned(), seconds(60))],
            records: 10,
        };
        let expected = [
            "log: cannot be written: no space",
            "log: 3 records were dropped in this minute",
            "lake: 600 s behind",
            "log: 61 s behind",
        ];
        assert_eq!(subjects(facts), expected);
    }
}
