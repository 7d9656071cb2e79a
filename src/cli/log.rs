//! `pointsman log`: the prediction log for people and for scripts.
//!
//! Owns what the commands have in common: the filter, the end of the output, notes on standard error.
//! Each command is a module. Never writes to the log, and needs no running gateway.

mod export;
mod human;
mod printer;
mod progress;
mod query;
mod replay;
mod stats;
mod tail;
#[cfg(test)]
mod tests;
mod verify;

use std::io::{self, BufWriter, Write};
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) use self::replay::ReplayArgs;
use super::Failure;
use super::args::{FilterArgs, LogCommand};
use crate::domain::spec::Intent;
use crate::prediction_log::query::filter::Filter;
use crate::prediction_log::query::{ExportError, LogError};
use crate::prediction_log::{ReadError, log_dir};

/// Bytes of output that are written together.
const OUTPUT_BYTES: usize = 64 * 1024;

/// Runs a command on the log below `data_dir`.
///
/// # Errors
/// When the log cannot be read, the output fails, or `verify` found damage.
pub(super) fn run(
    command: LogCommand,
    intent: &Intent,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let data_dir = intent.data_dir.as_path();
    let mut out = BufWriter::with_capacity(OUTPUT_BYTES, out);
    let result = match command {
        LogCommand::Tail(args) => tail::tail(data_dir, &args, &filter(&args.filter)?, &mut out),
        LogCommand::Query(args) => query::query(data_dir, &args, &filter(&args.filter)?, &mut out),
        LogCommand::Export(args) => {
            export::export(data_dir, &args, filter(&args.filter)?, &mut out)
        }
        LogCommand::Replay(args) => {
            let log_dir = log_dir(data_dir);
            return replay::replay(&log_dir, intent.listen, *args, &mut out)
                .map_err(Failure::other);
        }
        LogCommand::Verify { format } => verify::verify(data_dir, format, &mut out),
        LogCommand::Stats { breakdown, format } => {
            stats::stats(data_dir, breakdown, format, &mut out)
        }
    };
    result.and_then(|()| Ok(out.flush()?)).or_else(|error| match error {
        // Whoever read the output has seen enough.
        CommandError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        CommandError::Damaged => {
            out.flush()?;
            Err(Failure::Shown)
        }
        error => Err(Failure::other(error)),
    })
}

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Segments cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Files cannot be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The output cannot be written.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// There is damage, which was printed.
    #[error("the log is damaged")]
    Damaged,
}

fn filter(args: &FilterArgs) -> Result<Filter, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    args.filter(now_us).map_err(|error| Failure::Usage(error.to_string()))
}

/// Says something beside the data.
fn note(text: &str) {
    // Nothing is left to be done if standard error is closed.
    let _closed = writeln!(io::stderr(), "{text}");
}
