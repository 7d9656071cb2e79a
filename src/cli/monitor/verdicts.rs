//! The verdicts that windows of the past would have had.
//!
//! Owns how a judgement is printed. The judge is that of a running gateway, asked what the command line asks.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::cli::args::{Format, MonitorReplayArgs};
use crate::cli::printable::printable;
use crate::domain::spec::DriftSpec;
use crate::domain::stats::drift::Policy;
use crate::domain::stats::drift::docket::Judgement;
use crate::domain::stats::layout::Role;
use crate::domain::stats::window::{Minute, WindowLength};
use crate::monitor::{Follower, Judge, MonitorReader, VersionKey, verdicts};
use crate::prediction_log::query::text::timestamp;

/// Prints each judgement once it is made.
pub(super) struct Verdicts<'a> {
    format: Format,
    judge: Judge,
    out: &'a mut dyn Write,
    /// How many judgements of each version are printed.
    printed: BTreeMap<VersionKey, u64>,
    pub(super) failed: Option<io::Error>,
}

impl<'a> Verdicts<'a> {
    /// Judges windows of the length that is typed, by the settings of the configuration and, if it is typed,
    /// another margin.
    pub(super) fn new(args: &MonitorReplayArgs, spec: DriftSpec, out: &'a mut dyn Write) -> Self {
        let length = WindowLength::from(args.length);
        let asked = DriftSpec { window: length, ..spec }.policy();
        let policy = Policy { margin: args.margin.unwrap_or(asked.margin), ..asked };
        Self {
            format: args.format,
            judge: Judge::asking(length, policy),
            out,
            printed: BTreeMap::new(),
            failed: None,
        }
    }

    fn print(&mut self, key: &VersionKey, judgement: &Judgement) -> io::Result<()> {
        if self.format == Format::Json {
            return writeln!(self.out, "{}", verdicts::judgement(key, judgement));
        }
        if self.printed.is_empty() {
            writeln!(
                self.out,
                "{:<20}  {:<24} {:<12} {:<12} {:>8}  strongest",
                "until", "version", "inputs", "outputs", "breaches"
            )?;
        }
        let role = |wanted: Role| {
            let report = judgement.report.roles.iter().find(|report| report.role == wanted);
            report.map_or("-", |report| report.verdict.outcome.as_str())
        };
        let score = |at: usize| {
            let report = judgement.report.features.get(at);
            report.and_then(|report| report.verdict.evidence.score).unwrap_or(0.0)
        };
        let features = judgement.baseline.layout().features();
        let strongest = (0..features.len()).max_by(|a, b| score(*a).total_cmp(&score(*b)));
        let strongest = strongest.and_then(|at| {
            let (feature, report) = (features.get(at)?, judgement.report.features.get(at)?);
            Some(format!(
                "{} psi {:.4} score {:.2e}",
                printable(feature.name()),
                report.measured.psi,
                score(at)
            ))
        });
        let until = timestamp(judgement.until.start_us());
        writeln!(
            self.out,
            "{:<20}  {:<24} {:<12} {:<12} {:>8}  {}",
            until.split('.').next().unwrap_or(&until),
            key.to_string(),
            role(Role::Input),
            role(Role::Output),
            judgement.breaches(),
            strongest.unwrap_or_default(),
        )
    }
}

impl Follower for Verdicts<'_> {
    fn closed(&mut self, minute: Minute, reader: &MonitorReader) {
        self.judge.closed(minute, reader);
        for (key, judgement) in reader.judgements() {
            let is_new = self.printed.get(&key) != Some(&judgement.judged);
            if !is_new || self.failed.is_some() {
                continue;
            }
            if let Err(error) = self.print(&key, &judgement) {
                self.failed = Some(error);
                return;
            }
            self.printed.insert(key, judgement.judged);
        }
    }
}
