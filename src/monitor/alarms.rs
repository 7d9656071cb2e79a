//! Alarms: what someone is called for.
//!
//! Owns the looks, one at each minute that is closed, the alarms that follow from them, and that those
//! who are to know are told: as a log line, in metrics, by a webhook, and as events that outlast the
//! process. Never touches an exchange, and acts on nothing by itself: whoever acts reads the active
//! alarms with their evidence ([`AlarmReader`]).
//!
//! ```text
//! minute is closed ─▶ watch: a reading for all that is watched ─▶ board: who is called? ─▶ ledger ─▶ disk
//!                                                                                     │
//! events of releases ─────────────────────────────────────────┐                       │
//!                          webhook, with patience ◀── calls not delivered ◀───────────┤
//!                          log line, metric, event ◀──────────────────────────────────┘
//! ```
//!
//! What is decided lies in [`crate::domain::stats::alarm`] and [`crate::domain::stats::rate_band`].

mod call;
mod classes;
mod file;
mod labelled;
mod ledger;
mod log_lag;
mod lost_labels;
mod rejections;
#[cfg(test)]
mod simulation;
mod told;
mod traffic;
mod values;
mod watch;
mod webhook;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use self::call::date;
use self::ledger::Ledger;
pub use self::ledger::{AlarmReader, AlarmStats, CallStats};
pub use self::log_lag::LogSight;
pub use self::told::{Teller, Told};
pub use self::watch::AlarmWatch;
use self::webhook::Webhook;
use crate::domain::spec::{CalledEvents, Intent};
use crate::monitor::QualityReader;
use crate::prediction_log::PostError;

/// How long the end of the process waits for the call that is being delivered.
const LAST_CALL: Duration = Duration::from_secs(2);
/// How often it is looked whether the thread has ended.
const JOIN_POLL: Duration = Duration::from_millis(5);

/// Why alarms do not start.
#[derive(Debug, thiserror::Error)]
pub enum AlarmsError {
    /// The URL of the webhook, or its authorization.
    #[error("`alarms.webhook`: `{url}` cannot be posted to")]
    Webhook {
        /// What was given.
        url: String,
        /// What is wrong with it.
        #[source]
        source: PostError,
    },
    /// The operating system gives no thread.
    #[error("the thread that delivers calls cannot start")]
    Spawn(#[source] std::io::Error),
}

/// The alarms of a process.
#[derive(Debug)]
pub struct Alarms {
    ledger: Arc<Ledger>,
    /// The thread that delivers calls, where there is a webhook.
    thread: Mutex<Option<(SyncSender<()>, JoinHandle<()>)>>,
    wake: Option<SyncSender<()>>,
    /// Which events are calls.
    events: CalledEvents,
}

impl Alarms {
    /// Takes up where the last process ended, and starts to deliver calls that it left.
    ///
    /// # Errors
    /// When calls cannot be delivered at all.
    pub fn start(intent: &Intent) -> Result<Self, AlarmsError> {
        let webhook = intent.alarms.webhook.as_ref();
        let ledger = Arc::new(Ledger::open(&state_dir(&intent.data_dir), webhook));
        let Some(spec) = webhook else {
            let (thread, events) = (Mutex::new(None), CalledEvents::None);
            return Ok(Self { ledger, thread, wake: None, events });
        };
        let (wake, woken) = sync_channel(1);
        let webhook = Webhook::new(spec, &intent.node, Arc::clone(&ledger))
            .map_err(|source| AlarmsError::Webhook { url: spec.url.clone(), source })?;
        let thread = webhook.spawn(woken).map_err(AlarmsError::Spawn)?;
        let thread = Mutex::new(Some((wake.clone(), thread)));
        Ok(Self { ledger, thread, wake: Some(wake), events: spec.events })
    }

    /// Tells events to the webhook; `None` without one.
    pub fn teller(&self) -> Option<Teller> {
        let wake = self.wake.clone()?;
        Some(Teller::new(Arc::clone(&self.ledger), wake, self.events))
    }

    /// Looks at each minute that the monitor closes.
    pub fn watch(&self, intent: &Intent, log: LogSight, quality: QualityReader) -> AlarmWatch {
        AlarmWatch::new(intent, Arc::clone(&self.ledger), self.wake.clone(), (log, quality))
    }

    /// Alarms that nobody is called for, and that keep nothing: for minutes of the past.
    pub fn rehearse(intent: &Intent, quality: QualityReader) -> (AlarmWatch, AlarmReader) {
        let ledger = Arc::new(Ledger::blank());
        let watch =
            AlarmWatch::new(intent, Arc::clone(&ledger), None, (LogSight::default(), quality));
        (watch, AlarmReader::new(ledger))
    }

    /// Reads the alarms.
    pub fn reader(&self) -> AlarmReader {
        AlarmReader::new(Arc::clone(&self.ledger))
    }

    /// Writes everything down. Calls that are not delivered are delivered after the next start. The
    /// monitor must have ended.
    pub fn close(&self) {
        self.ledger.save_all();
        let Some((wake, thread)) = self.thread.lock().take() else { return };
        self.ledger.stop();
        // A full channel wakes as well.
        let _woken = wake.try_send(());
        let until = Instant::now() + LAST_CALL;
        while !thread.is_finished() && Instant::now() < until {
            std::thread::park_timeout(JOIN_POLL);
        }
        if thread.is_finished() && thread.join().is_err() {
            tracing::error!("the thread that delivers calls panicked");
        }
    }
}

/// Where the state of alarms is kept.
fn state_dir(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("state").join("alarms")
}
