//! The journal on a thread of its own: however long a disk or a model takes, whoever waits for the journal waits for
//! nothing else.
//!
//! Owns the thread, which ends with the [`Writer`]. Writes one batch after the other, in the order in which they
//! came. Never decides.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::{Journal, JournalError};
use crate::domain::lifecycle::event::{Draft, Event};
use crate::domain::lifecycle::state::State;
use crate::domain::lifecycle::time::Now;

/// Batches that may wait: a writer that asks for one after the other has one.
const WAITING_MAX: usize = 4;

/// What is to be written, with its moment.
pub type Entry = (Draft, Now);

/// The thread has ended, by a panic, and the journal with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal is gone: the thread that wrote it panicked; restart the gateway")]
pub struct Gone;

/// What came of a batch.
#[derive(Debug)]
pub struct Written {
    /// One outcome for each entry, or why nothing was written.
    pub outcomes: Result<Vec<Result<Event, JournalError>>, JournalError>,
    /// The state after it.
    pub state: Arc<State>,
    /// Why the journal grows beyond its bound, if it does.
    pub trouble: Option<String>,
}

/// A batch that is being written.
pub type UnderWay = oneshot::Receiver<Written>;

/// The way to the thread.
#[derive(Debug)]
pub struct Writer {
    batches: mpsc::Sender<(Vec<Entry>, oneshot::Sender<Written>)>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub fn start(mut journal: Journal) -> io::Result<Self> {
        let (batches, mut waiting) =
            mpsc::channel::<(Vec<Entry>, oneshot::Sender<Written>)>(WAITING_MAX);
        let write = move || {
            while let Some((entries, answer)) = waiting.blocking_recv() {
                let outcomes = journal.append(&entries);
                let trouble = journal.trouble().map(ToString::to_string);
                let state = Arc::clone(journal.state());
                // Whoever asked may be gone: the state tells the next one.
                drop(answer.send(Written { outcomes, state, trouble }));
            }
        };
        thread::Builder::new().name("journal".to_owned()).spawn(write)?;
        Ok(Self { batches })
    }

    /// Begins to write a batch.
    ///
    /// # Errors
    ///
    /// [`Gone`]; also where more batches wait than anybody may have begun.
    pub fn begin(&self, entries: Vec<Entry>) -> Result<UnderWay, Gone> {
        let (answer, written) = oneshot::channel();
        self.batches.try_send((entries, answer)).map_err(|_full_or_closed| Gone)?;
        Ok(written)
    }
}
