//! The gateway's own log lines.
//!
//! Owns the set-up of `tracing` and [`Throttle`], which keeps a broken peer from filling the disk.
//! Lines carry names, numbers and error chains, never bodies, header values or secrets.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::domain::spec::{LogFormat, TelemetrySpec};

/// What other crates may say: their warnings; pingora logs every start and stop of a service as
/// information.
const QUIET: [&str; 3] = ["pingora_core=warn", "hyper=warn", "tract=warn"];

/// A log level filter that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("`telemetry.level` is not a filter such as `info` or `info,pointsman::proxy=debug`")]
pub struct BadFilter(#[source] tracing_subscriber::filter::ParseError);

/// Sends log lines to standard error from now on. A second call changes nothing.
///
/// # Errors
///
/// [`BadFilter`] for a level that is not a filter.
pub fn start(spec: &TelemetrySpec) -> Result<(), BadFilter> {
    let mut filter = EnvFilter::try_new(&spec.level).map_err(BadFilter)?;
    for directive in QUIET {
        let target = directive.split('=').next().unwrap_or_default();
        if !spec.level.contains(target) {
            filter = filter.add_directive(directive.parse().map_err(BadFilter)?);
        }
    }
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let registry = tracing_subscriber::registry().with(filter);
    // An error means that a subscriber is already set, as in tests that start twice.
    let _already_set = match spec.format {
        LogFormat::Human => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    Ok(())
}

/// Sends the place of every panic to the log instead of standard error. The message stays out: a
/// model's may quote a tensor, and the request that it failed has it.
pub fn catch_panics() {
    static THROTTLE: Throttle = Throttle::new();
    std::panic::set_hook(Box::new(|panic| {
        if let Some(held_back) = THROTTLE.admit() {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
            tracing::error!(place, thread, held_back, "a panic was contained or ends its thread");
        }
    }));
}

/// An error with its sources in one line.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl fmt::Display + 'a {
    struct Chain<'a>(&'a (dyn Error + 'static));
    impl fmt::Display for Chain<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}", self.0)?;
            let mut source = self.0.source();
            while let Some(error) = source {
                write!(f, ": {error}")?;
                source = error.source();
            }
            Ok(())
        }
    }
    Chain(error)
}

/// Lets a few lines a second through and counts the rest. One static for each place that logs
/// something a peer can cause.
#[derive(Debug)]
pub struct Throttle {
    second: AtomicU64,
    spent: AtomicU32,
    held_back: AtomicU32,
}

/// Lines a second and place.
const LINES_PER_SECOND: u32 = 5;

impl Throttle {
    /// A throttle that has let nothing through yet.
    #[expect(clippy::new_without_default, reason = "it is made in statics")]
    pub const fn new() -> Self {
        Self { second: AtomicU64::new(0), spent: AtomicU32::new(0), held_back: AtomicU32::new(0) }
    }

    /// `Some(n)` if a line may be written now, after `n` that were held back.
    pub fn admit(&self) -> Option<u32> {
        self.admit_at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    fn admit_at(&self, now: Duration) -> Option<u32> {
        let second = now.as_secs();
        // Two threads may both see a new second; a few lines more do no harm.
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.spent.store(0, Ordering::Relaxed);
        }
        if self.spent.fetch_add(1, Ordering::Relaxed) < LINES_PER_SECOND {
            return Some(self.held_back.swap(0, Ordering::Relaxed));
        }
        self.held_back.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_its_size_is_told_later() {
        let throttle = Throttle::new();
        let first: Vec<_> = (0..8).map(|_| throttle.admit_at(Duration::from_secs(1))).collect();
        assert_eq!(first[..5], [Some(0); 5]);
        assert_eq!(first[5..], [None; 3]);
        assert_eq!(throttle.admit_at(Duration::from_secs(2)), Some(3));
    }
}
