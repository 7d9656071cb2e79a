//! Delivery of the prediction log to other places.
//!
//! Owns what a destination has to do ([`Sink`]), the threads that deliver, and their orderly end. Never
//! touches an exchange: a sink reads what is written already, at its own pace, and what it cannot
//! deliver stays in the log.
//!
//! ```text
//! log ─▶ source ─▶ batch ─▶ sink ─▶ acknowledged ─▶ cursor
//!                  ▲  ▲      │ may pass: a pause, then the same batch again
//!                  │  └──────┤
//!                  └─halves──┤ refused for good: the batch is divided
//!                 gap row ◀──┘ refused for good, and it was a single record
//! ```
//!
//! The cursor moves only after the sink's acknowledgement, so that a record is delivered at least once;
//! who receives it tells repetitions by the record's id.

mod backoff;
mod driver;
mod http;
mod post;
mod rows;
#[cfg(feature = "sink-s3")]
mod s3;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::watch;

pub use self::backoff::Backoff;
pub use self::post::{HttpPost, PostError};
pub use self::state::{FailureReason, SinkStats};

use self::driver::{Driver, Pace};
use self::state::SinkState;
use super::consumers::Consumers;
use super::cursor::Cursor;
use super::files::LocalFiles;
use super::parquet::catalog;
use super::recorder::Recorder;
use super::{segment, unix_us};
use crate::domain::ids::SinkName;
use crate::domain::record::{GapReason, GapRecord};
use crate::domain::spec::{SinkSpec, SinkTarget};

/// The kind of sinks that take Parquet files.
const FILES: &str = "s3";
/// How much longer than promised the end of a delivering thread is waited for.
const JOIN_GRACE: Duration = Duration::from_secs(2);
/// How often it is looked whether a thread has ended.
const JOIN_POLL: Duration = Duration::from_millis(5);

/// A destination: what it has to do for the driver to do the rest.
pub(super) trait Sink: Send + 'static {
    /// The form in which it takes a record, or a file of records.
    type Content: Send;

    /// Delivers all of `parcels` (at least one), or fails. Returns only once the destination has taken
    /// them over; they may come again after a failure, or after the process was killed.
    fn deliver(
        &mut self,
        parcels: &[Parcel<Self::Content>],
    ) -> impl Future<Output = Result<(), Failure>>;
}

/// What a sink delivers, in the order of the log.
pub(super) trait Source: Send + 'static {
    /// What a parcel holds.
    type Content: Send;

    /// The next lot after the last one that was handed out; waits about a second for it, and not at
    /// all when `stopping`.
    fn next(&mut self, stopping: bool) -> Result<Lot<Self::Content>, SourceError>;
}

/// Why nothing can be taken from the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error(transparent)]
    Log(#[from] super::reader::ReadError),
    #[cfg(feature = "sink-s3")]
    #[error("cannot list the Parquet files")]
    Catalog(#[source] std::io::Error),
}

/// One thing that is taken or refused as a whole: a record, or a file of records.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parcel<C> {
    /// The first record in it.
    pub(super) first_lsn: u64,
    /// The last record in it.
    pub(super) last_lsn: u64,
    /// Where the cursor stands once this parcel and all before it are delivered.
    pub(super) done: u64,
    /// How many records it holds.
    pub(super) records: u64,
    /// Its length in bytes, as delivered.
    pub(super) bytes: u64,
    /// The time of its oldest record, in microseconds since the Unix epoch.
    pub(super) ts_us: u64,
    pub(super) content: C,
}

/// What is delivered together.
#[derive(Debug)]
pub(super) struct Lot<C> {
    pub(super) parcels: Vec<Parcel<C>>,
    /// Where the cursor stands once all of it is delivered.
    pub(super) done: u64,
    /// The log up to this number holds nothing more for this sink; 0 where that is not known.
    pub(super) clear_to: u64,
    /// Records that were gone or unreadable before they could be taken.
    pub(super) missing: u64,
}

/// Why a delivery failed, and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In one word, for counting.
    pub reason: FailureReason,
    /// For people; never holds what was delivered.
    pub detail: String,
    /// Whether this will never be taken, however often it is sent.
    pub is_final: bool,
    /// What the destination asked to be left alone for.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// One that may pass.
    pub(super) fn passing(reason: FailureReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), is_final: false, retry_after: None }
    }
}

/// Why a sink does not start.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Its position cannot be read or kept.
    #[error("sink `{name}`: its cursor cannot be opened below `{path}`: make it writable")]
    Cursor {
        /// The sink.
        name: SinkName,
        /// The directory of the log.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Its URL is not one.
    #[error("sink `{name}`: `{url}` is no `http://` URL")]
    Url {
        /// The sink.
        name: SinkName,
        /// What was given.
        url: String,
    },
    /// Its authorization cannot be sent.
    #[error("sink `{name}`: the authorization has characters that a header cannot carry")]
    Authorization {
        /// The sink.
        name: SinkName,
    },
    /// Its settings are not accepted.
    #[error("sink `{name}`: {detail}")]
    Settings {
        /// The sink.
        name: SinkName,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// The operating system gives no thread.
    #[error("sink `{name}`: its thread cannot start")]
    Spawn {
        /// The sink.
        name: SinkName,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

/// Where the log of this gateway lies.
#[derive(Debug, Clone, Copy)]
pub struct LogPlace<'a> {
    /// The directory of the segments.
    pub log_dir: &'a Path,
    /// The directory of the Parquet files; `None` while none are written.
    pub parquet_dir: Option<&'a Path>,
    /// The name of the gateway.
    pub node: &'a str,
}

/// All sinks of a gateway, each with a thread of its own.
#[derive(Debug)]
pub struct Sinks {
    running: Vec<Running>,
    stop: watch::Sender<Option<Instant>>,
    /// What was gone when they started.
    gone: Vec<Gone>,
}

/// Records that were removed before a sink could take them.
#[derive(Debug)]
struct Gone {
    sink: SinkName,
    lsns: (u64, u64),
}

#[derive(Debug)]
struct Running {
    state: Arc<SinkState>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Sinks {
    /// Starts one thread for each of `specs`. Where nothing is recorded, nothing is delivered.
    ///
    /// # Errors
    /// When a sink's settings do not hold, or its cursor cannot be opened.
    pub fn start(
        specs: &BTreeMap<SinkName, SinkSpec>,
        recorder: &Arc<Recorder>,
        place: LogPlace<'_>,
    ) -> Result<Self, SinkError> {
        let (stop, _) = watch::channel(None);
        let mut sinks = Self { running: Vec::new(), stop, gone: Vec::new() };
        if !recorder.is_on() {
            return Ok(sinks);
        }
        let consumers = recorder.consumers();
        for (name, spec) in specs {
            let cursor = register(&consumers, name, spec, place)?;
            sinks.gone.extend(pass_gone(name, spec, place, &cursor));
            let running = sinks.start_one(name, spec, recorder, place, cursor)?;
            sinks.running.push(running);
        }
        Ok(sinks)
    }

    fn start_one(
        &self,
        name: &SinkName,
        spec: &SinkSpec,
        recorder: &Arc<Recorder>,
        place: LogPlace<'_>,
        cursor: Cursor,
    ) -> Result<Running, SinkError> {
        let kind = match spec.target {
            SinkTarget::Http { .. } => "http",
            SinkTarget::S3 { .. } => FILES,
        };
        let state = Arc::new(SinkState::new(name.clone(), kind, cursor.position()));
        let pace = Pace { timeout: spec.timeout, backoff: spec.backoff };
        let link = driver::Link {
            cursor,
            recorder: Arc::clone(recorder),
            state: Arc::clone(&state),
            stop: self.stop.subscribe(),
            pace,
        };
        let thread = match &spec.target {
            SinkTarget::Http { url, authorization } => {
                let sink = http::HttpSink::new(name, url, authorization.as_ref())?;
                let source = rows::Rows::new(place.log_dir, recorder, spec, &link.cursor);
                spawn(name, Driver::new(sink, source, link))?
            }
            #[cfg(feature = "sink-s3")]
            SinkTarget::S3 { .. } => {
                let (sink, source) = s3::open(name, spec, place, recorder, &link.cursor)?;
                spawn(name, Driver::new(sink, source, link))?
            }
            #[cfg(not(feature = "sink-s3"))]
            SinkTarget::S3 { .. } => {
                let detail = "this program was built without the feature `sink-s3`".to_owned();
                return Err(SinkError::Settings { name: name.clone(), detail });
            }
        };
        Ok(Running { state, thread: Mutex::new(Some(thread)) })
    }

    /// Says in the log what sinks miss because it was removed before this start. It was said when that
    /// happened, unless the process was killed before the row was written; so it may be said twice. To
    /// be called once all consumers are there, because writing may remove segments.
    pub fn say_what_is_gone(&self, recorder: &Recorder) {
        for Gone { sink, lsns } in &self.gone {
            recorder.note_gap(&GapRecord {
                ts_us: unix_us(),
                reason: GapReason::Skipped,
                lsns: Some(*lsns),
                records: lsns.1 + 1 - lsns.0,
                consumer: sink.as_str(),
                detail: "removed to make room, before this start",
            });
        }
    }

    /// The state of each sink. `written` is the number of the last record in the log.
    pub fn stats(&self, written: u64) -> Vec<SinkStats> {
        self.running.iter().map(|running| running.state.stats(written)).collect()
    }

    /// Says up to which number Parquet files may be merged or replaced: every sink that takes files
    /// has those up to there, under the names that they have now. [`u64::MAX`] without such sinks.
    pub fn merge_limit(&self) -> Box<dyn Fn() -> u64 + Send> {
        let states = self.running.iter().map(|running| &running.state);
        let takers: Vec<_> = states.filter(|state| state.kind() == FILES).cloned().collect();
        Box::new(move || takers.iter().map(|state| state.position()).min().unwrap_or(u64::MAX))
    }

    /// Ends delivery: each sink makes a last attempt, within `limit`. What it does not deliver it will
    /// find at the next start, behind its cursor. Call it after the log is closed.
    pub fn stop(&self, limit: Duration) {
        let until = Instant::now() + limit;
        self.stop.send_replace(Some(until));
        for running in &self.running {
            let Some(thread) = running.thread.lock().take() else { continue };
            while !thread.is_finished() && Instant::now() < until + JOIN_GRACE {
                std::thread::park_timeout(JOIN_POLL);
            }
            if !thread.is_finished() {
                tracing::warn!(sink = %running.state.name(), "the sink did not end in time");
            } else if thread.join().is_err() {
                tracing::error!(sink = %running.state.name(), "the sink's thread panicked");
            }
        }
    }
}

fn register(
    consumers: &Consumers,
    name: &SinkName,
    spec: &SinkSpec,
    place: LogPlace<'_>,
) -> Result<Cursor, SinkError> {
    let registered = match spec.target {
        SinkTarget::Http { .. } => consumers.register(name.as_str(), spec.required),
        SinkTarget::S3 { .. } => consumers.register_for_files(name.as_str(), spec.required),
    };
    registered.map_err(|source| SinkError::Cursor {
        name: name.clone(),
        path: place.log_dir.to_owned(),
        source,
    })
}

/// Moves a sink over what was removed before this start; returns what the sink misses for it.
fn pass_gone(
    name: &SinkName,
    spec: &SinkSpec,
    place: LogPlace<'_>,
    cursor: &Cursor,
) -> Option<Gone> {
    let oldest = match spec.target {
        SinkTarget::Http { .. } => {
            let listed = segment::list(&LocalFiles, place.log_dir).unwrap_or_default();
            listed.first().map(|oldest| oldest.first_lsn)
        }
        SinkTarget::S3 { .. } => {
            let files = place.parquet_dir.and_then(|dir| catalog(dir).ok()).unwrap_or_default();
            files.iter().map(|oldest| oldest.first_lsn).min()
        }
    };
    let (first, last) = (cursor.position() + 1, oldest?.saturating_sub(1));
    cursor.pass_over(last);
    // Before a sink was there, it missed nothing.
    let misses = !cursor.is_new() && first <= last;
    misses.then(|| Gone { sink: name.clone(), lsns: (first, last) })
}

fn spawn<S, Q>(name: &SinkName, driver: Driver<S, Q>) -> Result<JoinHandle<()>, SinkError>
where
    S: Sink,
    Q: Source<Content = S::Content>,
{
    let failed = |source| SinkError::Spawn { name: name.clone(), source };
    let runtime: Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    std::thread::Builder::new()
        .name(format!("sink-{name}"))
        .spawn(move || {
            driver.run(&runtime);
            // A name that is being resolved must not hold up the end.
            runtime.shutdown_background();
        })
        .map_err(failed)
}
