//! `log replay`: recorded requests are sent again and their answers compared.
//!
//! Owns the run: what is sent when, how much at a time, and what becomes of the answers. Never writes
//! to the log; the gateway that answers records these requests like all others, flagged as replayed.

mod compare;
mod options;
mod pace;
mod recorded;
mod report;
mod send;
mod source;
mod target;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::compare::{Answer, Body, Rules, compare};
pub(in crate::cli) use self::options::ReplayArgs;
use self::pace::Schedule;
use self::recorded::{Recorded, Redirect};
use self::report::{Comparison, Report, Run};
use self::send::{Link, Reply, SendError, send};
use self::source::{Found, Source};
use self::target::Target;
use super::super::args::Format;
use crate::domain::spec::JsonPointer;
use crate::prediction_log::query::LogError;
use crate::prediction_log::query::filter::Filter;
use crate::prediction_log::query::text::timestamp;

/// What names a request, a model or a version in an answer, and is never compared.
const NAMES: [&str; 3] = ["/id", "/model_name", "/model_version"];

/// Why a replay did not succeed.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ReplayError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] LogError),
    /// It is not known where to send to.
    #[error("{0}")]
    Target(String),
    /// The file of `--out` cannot be written.
    #[error("cannot write `{path}`")]
    Out {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The report cannot be printed, or the run cannot be started.
    #[error("cannot replay")]
    Io(#[from] io::Error),
    /// Nothing was sent.
    #[error("no recorded request was sent: none was selected that can be sent again")]
    Nothing,
    /// Answers differ or failed.
    #[error("{bad} of {sent} answers differ or failed")]
    Differing {
        /// How many.
        bad: u64,
        /// Of how many.
        sent: u64,
    },
}

/// Sends the requests of the log below the data directory `dir` that `filter` takes again, by default
/// to the gateway that listens on `listen`, and prints a report.
///
/// # Errors
/// When that cannot be done, nothing could be sent, or more answers differ or fail than allowed.
pub(in crate::cli) fn replay(
    dir: &Path,
    listen: SocketAddr,
    args: &ReplayArgs,
    filter: Filter,
    out: &mut dyn Write,
) -> Result<(), ReplayError> {
    let target = match &args.url {
        Some(target) => target.clone(),
        None => Target::gateway(listen).map_err(ReplayError::Target)?,
    };
    let lines = args.out.clone().map(Lines::create).transpose()?;
    let redirect = Redirect { model: args.to_model.clone(), version: args.to_version.clone() };
    let source = Source::start(dir, filter, args.limit, redirect)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(Replay::new(target, args, lines).run(source))?;
    // What was under way when the replay was interrupted is not waited for.
    runtime.shutdown_background();
    let mut text = match args.format {
        Format::Human => report.human().into_bytes(),
        Format::Json => report.json().map_err(io::Error::from)?,
    };
    if args.format == Format::Json {
        text.push(b'\n');
    }
    out.write_all(&text)?;
    out.flush()?;
    let (bad, sent) = (report.bad(), report.sent());
    if sent == 0 {
        return Err(ReplayError::Nothing);
    }
    if bad as f64 > args.allow_differing * sent as f64 {
        return Err(ReplayError::Differing { bad, sent });
    }
    Ok(())
}

/// A replay while it runs: one task owns all of it, and only the requests are tasks of their own.
struct Replay {
    target: Arc<Target>,
    rules: Rules,
    schedule: Schedule,
    timeout: Duration,
    concurrency: usize,
    report: Report,
    lines: Option<Lines>,
    bar: ProgressBar,
    /// Connections that carry nothing.
    idle: Vec<Link>,
    under_way: JoinSet<Done>,
    /// The first and the last time of the requests that were sent, in microseconds.
    recorded_us: Option<(u64, u64)>,
}

/// A request that waits for its time.
struct Waiting {
    recorded: Box<Recorded>,
    /// `None` for as soon as possible.
    due: Option<Instant>,
}

/// A request that is over.
struct Done {
    recorded: Box<Recorded>,
    late: Duration,
    reply: Result<Reply, SendError>,
    link: Option<Link>,
}

impl Replay {
    fn new(target: Target, args: &ReplayArgs, lines: Option<Lines>) -> Self {
        let names = NAMES.iter().filter_map(|name| JsonPointer::parse(name).ok());
        let run = Run {
            target: target.to_string(),
            to_model: args.to_model.clone(),
            to_version: args.to_version.clone(),
            speed: args.speed.to_string(),
            tolerance: args.tolerance,
            floor: args.floor,
            ignored: args.ignore.iter().map(ToString::to_string).collect(),
            recorded_from: None,
            recorded_to: None,
            seconds: 0.0,
            recorded_seconds: 0.0,
            interrupted: false,
        };
        Self {
            target: Arc::new(target),
            rules: Rules {
                ignore: names.chain(args.ignore.iter().cloned()).collect(),
                tolerance: args.tolerance,
                floor: args.floor,
            },
            schedule: Schedule::new(args.speed),
            timeout: args.timeout,
            concurrency: usize::from(args.concurrency),
            report: Report::new(run, args.examples),
            lines,
            bar: ProgressBar::hidden(),
            idle: Vec::new(),
            under_way: JoinSet::new(),
            recorded_us: None,
        }
    }

    /// Sends everything that `source` finds and takes in the answers, until all are in or the user
    /// has had enough.
    async fn run(mut self, mut source: Source) -> Result<Report, ReplayError> {
        self.bar = progress_bar();
        let mut first_lsn = None;
        let start = Instant::now();
        let mut waiting: Option<Waiting> = None;
        let mut ended = false;
        let mut interrupted = pin!(tokio::signal::ctrl_c());
        while !(ended && waiting.is_none() && self.under_way.is_empty()) {
            let has_room = self.under_way.len() < self.concurrency;
            let due = waiting.as_ref().and_then(|waiting| waiting.due).unwrap_or(start);
            tokio::select! {
                biased;
                signal = &mut interrupted => {
                    signal?;
                    self.report.run.interrupted = true;
                    break;
                }
                Some(done) = self.under_way.join_next() => self.take(done)?,
                () = tokio::time::sleep_until(due), if waiting.is_some() && has_room => {
                    waiting.take().into_iter().for_each(|waiting| self.begin(waiting));
                }
                found = source.found.recv(), if waiting.is_none() && !ended => match found {
                    None => ended = true,
                    Some((lsn, found)) => {
                        let first = *first_lsn.get_or_insert(lsn);
                        self.bar.set_length(source.last_lsn.saturating_sub(first));
                        self.bar.set_position(lsn.saturating_sub(first));
                        waiting = self.look_at(found, start)?;
                    }
                },
            }
        }
        source.end();
        self.bar.finish_and_clear();
        self.report.run.seconds = start.elapsed().as_secs_f64();
        if let Some((first, last)) = self.recorded_us {
            self.report.run.recorded_seconds = (last - first) as f64 / 1e6;
            self.report.run.recorded_from = Some(timestamp(first));
            self.report.run.recorded_to = Some(timestamp(last));
        }
        if let Some(lines) = self.lines {
            lines.end()?;
        }
        Ok(self.report)
    }

    /// A request that is to be sent, if that is what was found.
    fn look_at(&mut self, found: Found, start: Instant) -> Result<Option<Waiting>, ReplayError> {
        match found {
            Found::Request(recorded) => {
                let due = self.schedule.due(recorded.ts_us).map(|due| start + due);
                return Ok(Some(Waiting { recorded, due }));
            }
            Found::Skipped(skip) => self.report.skip(skip),
            Found::Gap => self.report.gap(),
            Found::Failed(error) => return Err(error.into()),
        }
        Ok(None)
    }

    fn begin(&mut self, waiting: Waiting) {
        let Waiting { recorded, due } = waiting;
        let late = due.map_or(Duration::ZERO, |due| due.elapsed());
        let ts = recorded.ts_us;
        let (first, last) = self.recorded_us.unwrap_or((ts, ts));
        self.recorded_us = Some((first.min(ts), last.max(ts)));
        let (target, timeout, link) = (Arc::clone(&self.target), self.timeout, self.idle.pop());
        self.under_way.spawn(async move {
            let (reply, link) = send(link, &target, &recorded, timeout).await;
            Done { recorded, late, reply, link }
        });
    }

    fn take(&mut self, done: Result<Done, tokio::task::JoinError>) -> Result<(), ReplayError> {
        let Done { recorded, late, reply, link } = done.map_err(io::Error::other)?;
        self.idle.extend(link);
        let verdict = reply.as_ref().ok().map(|reply| {
            let (status, encoding) = (reply.status, reply.encoding.as_str());
            let body = Body::Whole(&reply.body);
            compare(recorded.answer(), Answer { status, encoding, body }, &self.rules)
        });
        let line = Comparison::new(&recorded, late, &reply, verdict);
        self.report.add(&line);
        self.bar.set_message(format!("{} sent, {} bad", self.report.sent(), self.report.bad()));
        match &mut self.lines {
            Some(lines) => lines.write(&line),
            None => Ok(()),
        }
    }
}

/// A bar over the numbers of the log; hidden when standard error is no terminal.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
    let style =
        ProgressStyle::with_template("{bar:30} {percent:>3} %  {elapsed}  {msg}  (eta {eta})");
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The file of `--out`.
struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Lines {
    fn create(path: PathBuf) -> Result<Self, ReplayError> {
        match File::create(&path) {
            Ok(file) => Ok(Self { path, file: BufWriter::new(file) }),
            Err(source) => Err(ReplayError::Out { path, source }),
        }
    }

    fn write(&mut self, line: &Comparison) -> Result<(), ReplayError> {
        let written = serde_json::to_writer(&mut self.file, line).map_err(io::Error::from);
        let written = written.and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|source| ReplayError::Out { path: self.path.clone(), source })
    }

    fn end(mut self) -> Result<(), ReplayError> {
        self.file.flush().map_err(|source| ReplayError::Out { path: self.path, source })
    }
}
