//! `pointsman monitor …`: what is counted about versions, away from a running gateway.
//!
//! Owns what is printed. Counting is the monitor's.

mod alarmed;
mod verdicts;

use std::io::{self, Write};

use self::alarmed::Alarmed;
use self::verdicts::Verdicts;
use super::Failure;
use super::args::{Format, MonitorCommand, MonitorReplayArgs};
use crate::control::{Loader, about_local, about_remote, champion, load_models};
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::routing::TargetKind;
use crate::domain::spec::{Intent, ModelSpec, VersionSpec};
use crate::domain::stats::window::{Minute, Stage, Window, WindowLength};
use crate::monitor::replay::Replay;
use crate::monitor::{About, Follower, MonitorReader, VersionKey, show};
use crate::prediction_log::query::filter::parse_time;
use crate::prediction_log::query::text::timestamp;
use crate::snapshot::Spoken;

/// Carries out a command.
pub(super) fn run(
    command: &MonitorCommand,
    intent: &Intent,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match command {
        MonitorCommand::Replay(args) => replay(args, intent, out),
    }
}

fn replay(args: &MonitorReplayArgs, intent: &Intent, out: &mut dyn Write) -> Result<(), Failure> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = u64::try_from(now.unwrap_or_default().as_micros()).unwrap_or(u64::MAX);
    let time =
        |text: &str| parse_time(text, now).map_err(|error| Failure::Usage(error.to_string()));
    let (from, to) = (time(&args.from)?, time(&args.to)?);
    let range = (Minute::of_us(from), Minute::of_us(to).plus(1));
    if range.0 >= range.1 {
        return Err(Failure::Usage("`--from` is not before `--to`".to_owned()));
    }
    let mut replay = Replay::new(intent, versions(intent, args.model.as_deref())?);
    let reader = replay.reader();
    let wanted = |key: &VersionKey| printer_takes(args, key);
    let mut count = |follower: &mut dyn Follower| {
        replay.run(&intent.data_dir, range, &wanted, &mut [follower]).map_err(Failure::other)
    };
    let (replayed, failed) = if args.drift {
        let mut verdicts = Verdicts::new(args, intent.monitor.drift, out);
        (count(&mut verdicts)?, verdicts.failed)
    } else if args.alarms {
        let mut alarmed = Alarmed::new(args, intent, reader, out);
        (count(&mut alarmed)?, alarmed.failed)
    } else {
        let length = WindowLength::from(args.length);
        let mut printer = Printer { args, length, out, head: false, failed: None, last: range.1 };
        (count(&mut printer)?, printer.failed)
    };
    if let Some(error) = failed {
        return Err(error.into());
    }
    let mut notes = io::stderr();
    writeln!(notes, "{} exchanges counted", replayed.exchanges)?;
    if replayed.unknown > 0 {
        let what = "records of versions that are not configured, or not predictions";
        writeln!(notes, "{} {what}", replayed.unknown)?;
    }
    if replayed.gaps > 0 {
        writeln!(notes, "{} gaps in the log: some exchanges are missing", replayed.gaps)?;
    }
    Ok(())
}

fn printer_takes(args: &MonitorReplayArgs, key: &VersionKey) -> bool {
    args.model.as_deref().is_none_or(|model| model == key.model.as_str())
        && args.version.as_deref().is_none_or(|version| version == key.version.as_str())
}

/// What is known about all versions of the configuration, or of one model. Models that run in process are
/// loaded, because their inputs are read by their signature.
fn versions(intent: &Intent, model: Option<&str>) -> Result<Vec<(TargetKind, About)>, Failure> {
    let mut intent = intent.clone();
    if let Some(model) = model {
        intent.models.retain(|name, _| name.as_str() == model);
        if intent.models.is_empty() {
            return Err(Failure::Usage(format!("there is no model `{model}`")));
        }
    }
    let loaded = load_models(&intent, &Loader::new(&intent)).map_err(|mut errors| match errors
        .is_empty()
    {
        true => Failure::Usage("no model can be loaded".to_owned()),
        false => Failure::other(errors.swap_remove(0)),
    })?;
    let mut versions = Vec::new();
    for (name, model) in &intent.models {
        for (version, spec) in &model.versions {
            let kind = TargetKind::Version(name.clone(), version.clone());
            let about = match (spec, loaded.get(&kind)) {
                (VersionSpec::Onnx(onnx), Some(loaded)) => about_local(onnx, loaded),
                (VersionSpec::Onnx(_), None) => continue,
                (VersionSpec::Backends(spec), _) => about_remote(&Spoken {
                    dialect: spec.dialect.declared(),
                    extractors: spec.raw.as_ref().map(|raw| raw.extractors.clone()),
                    ..Spoken::default()
                }),
            };
            let champion = champion_of(name, version, model);
            versions.push((kind, About { champion, ..about.configured(model) }));
        }
    }
    Ok(versions)
}

fn champion_of(name: &ModelName, version: &VersionName, model: &ModelSpec) -> Option<VersionKey> {
    let champion = champion(model).filter(|champion| champion != version)?;
    Some(VersionKey { model: name.clone(), version: champion })
}

/// Prints each window once it is closed.
struct Printer<'a> {
    args: &'a MonitorReplayArgs,
    length: WindowLength,
    out: &'a mut dyn Write,
    /// Whether the head of the table is printed.
    head: bool,
    failed: Option<io::Error>,
    /// The first minute after the replay: windows that it cuts off are printed then.
    last: Minute,
}

impl Follower for Printer<'_> {
    fn closed(&mut self, minute: Minute, reader: &MonitorReader) {
        let end = minute.plus(1);
        let start = self.length.start_of(minute);
        let is_over = start.plus(self.length.minutes()) == end;
        let is_last = self.last == end;
        if !(is_over || is_last) || self.failed.is_some() {
            return;
        }
        for key in reader.versions() {
            let window = if is_over {
                reader.window(&key, self.length, start)
            } else {
                reader.filling(&key, self.length).filter(|window| window.start == start)
            };
            let Some(window) = window.filter(|_| printer_takes(self.args, &key)) else { continue };
            if let Err(error) = self.print(&key, &window, end) {
                self.failed = Some(error);
                return;
            }
        }
    }
}

impl Printer<'_> {
    fn print(&mut self, key: &VersionKey, window: &Window, open: Minute) -> io::Result<()> {
        if self.args.format == Format::Json {
            let mut shown = show::window(window, open);
            shown["model"] = key.model.as_str().into();
            shown["version"] = key.version.as_str().into();
            return writeln!(self.out, "{shown}");
        }
        if !self.head {
            self.head = true;
            writeln!(
                self.out,
                "{:<20}  {:<24} {:>10} {:>8} {:>9} {:>9} {:>9} {:>9}",
                "start", "version", "exchanges", "failed", "p50 us", "p99 us", "seen", "unseen"
            )?;
        }
        let traffic = &window.counts.traffic;
        let exchanges = traffic.exchanges();
        let failed = exchanges - traffic.outcomes.first().copied().unwrap_or(0);
        let times = traffic.latency(Stage::Total);
        let quantile = |share| times.quantile_us(share).unwrap_or(0);
        let start = timestamp(window.start.start_us());
        writeln!(
            self.out,
            "{:<20}  {:<24} {:>10} {:>8} {:>9} {:>9} {:>9} {:>9}",
            start.split('.').next().unwrap_or(&start),
            key.to_string(),
            exchanges,
            failed,
            quantile(0.5),
            quantile(0.99),
            traffic.seen,
            traffic.unseen.iter().sum::<u64>(),
        )
    }
}
