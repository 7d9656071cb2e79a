//! The alarms that minutes of the past would have raised.
//!
//! Owns how a change of an alarm is printed. Judge and alarms are those of a running gateway with the configuration as it
//! is now, so that a threshold can be tried on the traffic of last month. What is not in the log has no alarm here: the
//! lag of the log, and the quality that labels tell.

use std::io::{self, Write};

use serde_json::json;

use crate::cli::args::{Format, MonitorReplayArgs};
use crate::cli::printable::printable;
use crate::domain::spec::Intent;
use crate::domain::stats::alarm::Event;
use crate::domain::stats::window::Minute;
use crate::monitor::alarms::{AlarmReader, AlarmWatch, Alarms, date};
use crate::monitor::{Follower, Judge, MonitorReader, QualityReader};

/// Prints each change of an alarm in the minute of it.
pub(super) struct Alarmed<'a> {
    format: Format,
    version: Option<&'a str>,
    judge: Judge,
    watch: AlarmWatch,
    alarms: AlarmReader,
    out: &'a mut dyn Write,
    /// Whether the head of the table is printed.
    head: bool,
    pub(super) failed: Option<io::Error>,
}

impl<'a> Alarmed<'a> {
    pub(super) fn new(
        args: &'a MonitorReplayArgs,
        intent: &Intent,
        reader: MonitorReader,
        out: &'a mut dyn Write,
    ) -> Self {
        // A model that is not replayed is not silent.
        let mut intent = intent.clone();
        intent
            .models
            .retain(|name, _| args.model.as_deref().is_none_or(|own| own == name.as_str()));
        let quality = QualityReader::without_labels(reader);
        let (watch, alarms) = Alarms::rehearse(&intent, quality);
        let judge = Judge::new(&intent.monitor.drift);
        let (format, version) = (args.format, args.version.as_deref());
        Self { format, version, judge, watch, alarms, out, head: false, failed: None }
    }

    fn print(&mut self, event: &Event) -> io::Result<()> {
        let key = &event.key;
        if self.format == Format::Json {
            let line = json!({
                "at": date(event.minute),
                "change": event.change.as_str(),
                "since": date(event.since),
                "alarm": key.alarm.as_str(),
                "model": key.model,
                "version": key.version,
                "severity": event.severity.as_str(),
                "evidence": event.evidence,
            });
            return writeln!(self.out, "{line}");
        }
        if !self.head {
            self.head = true;
            writeln!(self.out, "{:<20}  {:<9} {:<16} {:<24} why", "at", "change", "alarm", "of")?;
        }
        let of = match key.version.as_str() {
            "" => key.model.clone(),
            version => format!("{}/{version}", key.model),
        };
        let why = event.evidence.as_ref().map_or_else(String::new, |evidence| {
            let first = evidence.findings.first();
            let finding =
                first.map(|first| printable(&format!("; {}: {}", first.subject, first.what)));
            let (value, limit) = (evidence.value, evidence.limit);
            format!(
                "{value:.4} (limit {limit:.4}, {} samples){}",
                evidence.samples,
                finding.unwrap_or_default()
            )
        });
        let (change, alarm) = (event.change.as_str(), key.alarm.as_str());
        writeln!(self.out, "{:<20}  {change:<9} {alarm:<16} {of:<24} {why}", date(event.minute))
    }
}

impl Follower for Alarmed<'_> {
    fn closed(&mut self, minute: Minute, reader: &MonitorReader) {
        self.judge.closed(minute, reader);
        self.watch.closed(minute, reader);
        for event in self.alarms.events_since(minute.0.into()) {
            let version = event.key.version.as_str();
            let is_wanted = self.version.is_none_or(|own| version.is_empty() || own == version);
            if is_wanted && self.failed.is_none() {
                self.failed = self.print(&event).err();
            }
        }
    }
}
