//! Events of the gateway as calls: each sentence that is told of releases and sources goes out by the webhook, too.
//!
//! Owns how an event comes to the calls that wait. It is noted in memory at once and written down by the thread that
//! delivers; one that was not delivered when the process ended is told again at the next start, from the events
//! themselves. Never holds up whoever tells.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use serde::{Deserialize, Serialize};

use super::ledger::Ledger;
use crate::domain::spec::CalledEvents;

/// An event, as receivers of calls are told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Counts events, over restarts.
    pub number: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What kind, such as `release.moved`.
    pub kind: String,
    /// Whether somebody should look.
    pub is_alarm: bool,
    /// Whether somebody should look now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_critical: bool,
    /// What it is about: `MODEL/VERSION`, a model, a source or the gateway.
    pub about: String,
    /// The sentence.
    pub words: String,
}

/// The way of events to the webhook.
#[derive(Debug, Clone)]
pub struct Teller {
    ledger: Arc<Ledger>,
    wake: SyncSender<()>,
    which: CalledEvents,
}

impl Teller {
    pub(super) const fn new(
        ledger: Arc<Ledger>,
        wake: SyncSender<()>,
        which: CalledEvents,
    ) -> Self {
        Self { ledger, wake, which }
    }

    /// The last event that is known here; `None` before the first one ever.
    pub fn last(&self) -> Option<u64> {
        self.ledger.last_told()
    }

    /// Tells of an event, unless it was told or nobody wants to know. Events come in the order of their numbers.
    pub fn tell(&self, told: Told) {
        let is_wanted = match self.which {
            CalledEvents::All => true,
            CalledEvents::Alarms => told.is_alarm,
            CalledEvents::None => false,
        };
        if is_wanted && self.ledger.tell(told) {
            // A full channel wakes as well.
            let _woken = self.wake.try_send(());
        }
    }
}
