//! What can be typed.
//!
//! Owns commands and options. Never acts on them.

mod baseline;
mod log;
mod monitor;
mod versions;

use std::io::Write;
use std::path::PathBuf;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};

pub(super) use self::baseline::BaselineArgs;
pub(super) use self::log::{
    ExportArgs, ExportFormat, FilterArgs, FormArgs, LogCommand, QueryArgs, RowFormat, TailArgs,
};

pub(super) use self::monitor::{MonitorCommand, MonitorReplayArgs};
pub(super) use self::versions::{KillArgs, ModelOrderArgs, OrderArgs, Signed, VersionsCommand};
use crate::inference::LoadLimits;

/// An edge-oriented model gateway: routes predictions, records them, and guards releases.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, max_term_width = 100)]
pub(super) struct Args {
    /// The configuration file.
    #[arg(short, long, global = true, default_value = "pointsman.toml", value_name = "FILE")]
    pub(super) config: PathBuf,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve until SIGTERM.
    Run,
    /// Say whether the configuration is sound, with every mistake in it.
    Check {
        /// Do not look at the files that it names.
        #[arg(long)]
        offline: bool,
        /// How to print.
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Say where a request would go, and why.
    Explain(Request),
    /// Ask a running gateway whether it is ready; exit code 0 if so.
    Health,
    /// Show models, versions and alarms of a running gateway.
    Top(TopArgs),
    /// Read and direct the releases of a running gateway.
    #[command(subcommand)]
    Versions(Box<VersionsCommand>),
    /// Show what the gateway has found out and decided: of releases and of sources, one sentence each.
    Events(EventsArgs),
    /// Read the prediction log, of a running gateway or a stopped one.
    #[command(subcommand)]
    Log(Box<LogCommand>),
    /// Count the exchanges of the prediction log again.
    #[command(subcommand)]
    Monitor(MonitorCommand),
    /// Show what was last concluded about the drift of a model's versions.
    Drift(DriftArgs),
    /// Show how good the predictions of a version were, as labels tell and as scores let expect.
    Quality(QualityArgs),
    /// Make a version's `baseline.json` of a pipeline's data: what its traffic is held against.
    Baseline(Box<BaselineArgs>),
    /// Look at a model file in a process of its own: what the gateway starts, not a person.
    #[command(name = crate::inference::VET_COMMAND, hide = true)]
    Vet(VetArgs),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Which events to show.
#[derive(Debug, clap::Args)]
pub(super) struct EventsArgs {
    /// About this only: a model, MODEL/VERSION, or a source.
    pub(super) about: Option<String>,
    /// Of this kind only, such as `release` or `release.stopped`.
    #[arg(long)]
    pub(super) kind: Option<String>,
    /// How many, at most: the last ones.
    #[arg(short, default_value_t = 100)]
    pub(super) n: usize,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(super) format: Format,
}

/// What to show of drift.
#[derive(Debug, clap::Args)]
pub(super) struct DriftArgs {
    /// The model.
    pub(super) model: String,
    /// This version only; otherwise all of the model.
    #[arg(long, value_name = "VERSION")]
    pub(super) of: Option<String>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(super) format: Format,
}

/// Of which version the quality is to be shown.
#[derive(Debug, clap::Args)]
pub(super) struct QualityArgs {
    /// The model.
    pub(super) model: String,
    /// The version.
    pub(super) version: String,
    /// Another version to compare it with.
    #[arg(long, value_name = "VERSION")]
    pub(super) control: Option<String>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(super) format: Format,
}

/// A model file to look at, and the bounds.
#[derive(Debug, clap::Args)]
pub(super) struct VetArgs {
    /// The model file.
    pub(super) path: PathBuf,
    /// The card beside it.
    #[arg(long)]
    pub(super) card: Option<PathBuf>,
    /// Bytes of the file and of those beside it.
    #[arg(long)]
    pub(super) file_bytes: u64,
    /// Bytes that the tensors inside of a run may take.
    #[arg(long, default_value_t = LoadLimits::default().run_bytes)]
    pub(super) run_bytes: u64,
    /// Bytes that may be allocated.
    #[arg(long)]
    pub(super) memory: u64,
    /// Seconds that it may take.
    #[arg(long)]
    pub(super) seconds: u64,
}

/// What `top` shows, and how often.
#[derive(Debug, clap::Args)]
pub(super) struct TopArgs {
    /// Show it once and end; so it does where standard output is no terminal.
    #[arg(long)]
    pub(super) once: bool,
    /// Seconds between two looks.
    #[arg(long, default_value_t = 2.0)]
    pub(super) interval: f64,
    /// Over which time: the last closed minute, hour or day.
    #[arg(long, value_enum, default_value_t = Last::Minute)]
    pub(super) last: Last,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(super) format: Format,
}

/// A span of time up to the last closed minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Last {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
}

impl Last {
    /// The word for it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// A request to explain.
#[derive(Debug, clap::Args)]
pub(super) struct Request {
    /// The method.
    pub(super) method: String,
    /// The path, with an optional query.
    pub(super) target: String,
    /// A header, `name: value`; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub(super) headers: Vec<String>,
    /// The client's address.
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) client: std::net::IpAddr,
    /// The randomness of the decision, as in the record; drawn if absent.
    #[arg(long)]
    pub(super) entropy: Option<u64>,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Human,
    /// For programs: JSON.
    Json,
}

/// Writes the completions of `shell`.
pub(super) fn completions(shell: clap_complete::Shell, out: &mut dyn Write) {
    clap_complete::generate(shell, &mut Args::command(), "pointsman", &mut { out });
}
