//! The command line.
//!
//! Owns arguments, exit codes and what is printed. Data goes to standard output, everything else to
//! standard error. Each command is a function of its own module.

mod admin_client;
mod args;
mod baseline;
mod check;
mod drift;
mod events;
mod explain;
mod health;
mod log;
mod monitor;
mod printable;
mod quality;
mod run;
mod schema;
mod top;
mod versions;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use self::args::{Args, Command};
use crate::config::{self, Checks};
use crate::domain::spec::Intent;
use crate::inference::{Assignment, LoadLimits, VetLimits, vet_here};
use crate::telemetry::logging::chain;

/// The exit code for a configuration that is not sound (`EX_CONFIG` of sysexits.h).
const BAD_CONFIG: u8 = 78;
/// The exit code for arguments that cannot be understood, as clap has it.
const WRONG_USAGE: u8 = 2;
/// The exit code for everything else that fails.
const FAILED: u8 = 1;

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let mut out = io::stdout().lock();
    let result = dispatch(args, &mut out).and_then(|()| Ok(out.flush()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough, as with `| head`.
        Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(text) = failure.text() {
                // Nothing is left to be done if standard error is closed too.
                let _closed = writeln!(io::stderr(), "{text}");
            }
            ExitCode::from(failure.code())
        }
    }
}

fn dispatch(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let config = args.config.as_path();
    match args.command {
        Command::Run => run::run(load(config, Checks::Full)?),
        Command::Check { offline, format } => {
            let color = io::IsTerminal::is_terminal(&io::stderr());
            show(&check::run(config, offline, format, color), out)
        }
        Command::Schema => Ok(out.write_all(schema::run().as_bytes())?),
        Command::Explain(request) => {
            explain::explain(&load(config, Checks::Offline)?, &request, out)
        }
        Command::Health => health::health(&load(config, Checks::Offline)?),
        Command::Top(args) => top::top(&load(config, Checks::Offline)?, &args, out),
        Command::Versions(command) => versions::run(&command, &load(config, Checks::Offline)?, out),
        Command::Events(args) => events::events(&load(config, Checks::Offline)?, &args, out),
        Command::Log(command) => {
            let intent = load(config, Checks::Offline)?;
            log::run(*command, &intent, out)
        }
        Command::Monitor(command) => {
            let intent = load(config, Checks::Offline)?;
            monitor::run(&command, &intent, out)
        }
        Command::Quality(args) => quality::quality(&load(config, Checks::Offline)?, &args, out),
        Command::Drift(args) => drift::drift(&load(config, Checks::Offline)?, &args, out),
        Command::Baseline(args) => baseline::baseline(&args, out),
        Command::Vet(vet) => {
            let limits = VetLimits { memory: vet.memory, time: Duration::from_secs(vet.seconds) };
            let load = LoadLimits { file_bytes: vet.file_bytes, run_bytes: vet.run_bytes };
            let card = vet.card.map(|card| config::load_card(&card)).transpose();
            let card = card.map_err(Failure::Config)?;
            Ok(vet_here(&Assignment { path: vet.path, card, load, limits }, out)?)
        }
        Command::Completions { shell } => {
            args::completions(shell, out);
            Ok(())
        }
    }
}

/// Prints what a check found.
fn show(output: &check::Output, out: &mut dyn Write) -> Result<(), Failure> {
    out.write_all(output.stdout.as_bytes())?;
    io::stderr().write_all(output.stderr.as_bytes())?;
    if output.code == 0 { Ok(()) } else { Err(Failure::ConfigShown) }
}

/// Loads a configuration; its mistakes are the failure.
fn load(path: &Path, checks: Checks) -> Result<Intent, Failure> {
    let loaded = config::load(path, checks).map_err(Failure::Config)?;
    Ok(loaded.intent)
}

/// Why a command did not succeed.
#[derive(Debug)]
enum Failure {
    /// The configuration is not sound.
    Config(config::Diagnostics),
    /// The mistakes have been printed already.
    ConfigShown,
    /// Output cannot be written.
    Io(io::Error),
    /// What was found has been printed already.
    Shown,
    /// What was typed cannot be understood.
    Usage(String),
    /// Anything else, as a sentence.
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl Failure {
    fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }

    const fn code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::ConfigShown => BAD_CONFIG,
            Self::Usage(_) => WRONG_USAGE,
            Self::Shown | Self::Io(_) | Self::Other(_) => FAILED,
        }
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Config(diagnostics) => {
                let color = io::IsTerminal::is_terminal(&io::stderr());
                Some(diagnostics.render_human(color).trim_end().to_owned())
            }
            Self::ConfigShown | Self::Shown => None,
            Self::Usage(message) => Some(format!("error: {message}")),
            Self::Io(error) => Some(format!("error: {error}")),
            Self::Other(error) => Some(format!("error: {}", chain(error.as_ref()))),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
