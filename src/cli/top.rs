//! `pointsman top`: what a running gateway is doing, in the terminal.
//!
//! Owns the loop: ask, draw, wait. Shows what the admin API tells; counts nothing itself.

mod view;

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use super::args::{Format, TopArgs};
use super::{Failure, admin_client};
use crate::domain::spec::Intent;

/// Moves to the first line; each line is cleared as it is drawn, so that nothing flickers.
const HOME: &str = "\x1b[H";
/// Clears from here to the end of the line.
const CLEAR_LINE: &str = "\x1b[K";
/// Clears from here to the end of the screen.
const CLEAR_REST: &str = "\x1b[J";

/// Shows models, versions and alarms until interrupted, or once.
pub(super) fn top(intent: &Intent, args: &TopArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let path = format!("/api/v1/monitor?last={}", args.last.as_str());
    let is_terminal = io::stdout().is_terminal();
    let once = args.once || !is_terminal;
    loop {
        let overview = match admin_client::get(intent.admin, &path) {
            Ok(overview) => overview,
            Err(failure) if once => return Err(failure),
            // A gateway that restarts comes back.
            Err(failure) => {
                let text = failure.text().unwrap_or_default();
                draw(out, &[text])?;
                std::thread::park_timeout(args.interval());
                continue;
            }
        };
        match (args.format, once) {
            (Format::Json, _) => writeln!(out, "{overview}")?,
            (Format::Human, true) => {
                for line in view::lines(&overview, is_terminal) {
                    writeln!(out, "{line}")?;
                }
            }
            (Format::Human, false) => draw(out, &view::lines(&overview, true))?,
        }
        out.flush()?;
        if once {
            return Ok(());
        }
        std::thread::park_timeout(args.interval());
    }
}

fn draw(out: &mut dyn Write, lines: &[String]) -> Result<(), Failure> {
    let mut screen = HOME.to_owned();
    for line in lines {
        screen.push_str(line);
        screen.push_str(CLEAR_LINE);
        screen.push('\n');
    }
    screen.push_str(CLEAR_REST);
    out.write_all(screen.as_bytes())?;
    Ok(out.flush()?)
}

impl TopArgs {
    fn interval(&self) -> Duration {
        Duration::from_secs_f64(self.interval.clamp(0.2, 3600.0))
    }
}
