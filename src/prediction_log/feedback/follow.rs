//! The thread that reads the log for the index.
//!
//! Owns the order: first what the log holds, back as far as the index reaches, then what is written.
//! Never gives up: a log that cannot be read is opened again after a pause.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::Shared;
use crate::domain::record::Entry;
use crate::prediction_log::progress::Progress;
use crate::prediction_log::reader::{Item, LogReader, ReadError};

/// How long the thread sleeps at most before it looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(500);

/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts the thread. It ends with the log, or when nobody will ask again.
pub(super) fn start(
    shared: &Arc<Shared>,
    dir: &Path,
    records: usize,
    progress: &Arc<Progress>,
) -> io::Result<()> {
    let (shared, progress) = (Arc::downgrade(shared), Arc::clone(progress));
    let dir = dir.to_owned();
    let run = move || follow(&shared, &dir, records as u64, &progress);
    thread::Builder::new().name("feedback".to_owned()).spawn(run).map(drop)
}

fn follow(shared: &Weak<Shared>, dir: &Path, records: u64, progress: &Progress) {
    let mut seen = None;
    while wanted(shared) && !progress.has_ended() {
        let opened = match seen {
            None => LogReader::open_last(dir, records),
            Some(seen) => LogReader::open_after(dir, seen),
        };
        let failed = opened.and_then(|reader| read(shared, reader, progress, &mut seen));
        if let Err(error) = failed {
            // Once a second at most: the pause below sees to it.
            tracing::warn!(error = %error, "feedback cannot be matched with the prediction log");
            // Until the log ends, or the pause is over.
            progress.wait_written(u64::MAX, PAUSE);
        }
    }
}

/// Reads on until the log ends, nobody asks any more, or reading fails.
fn read(
    shared: &Weak<Shared>,
    mut reader: LogReader,
    progress: &Progress,
    seen: &mut Option<u64>,
) -> Result<(), ReadError> {
    while let Some(held) = shared.upgrade() {
        let ended = held.ended.load(Ordering::Relaxed) || progress.has_ended();
        // What is written by now is there to be read.
        let written = progress.written();
        while let Some(item) = reader.next_item()? {
            let Item::Row(row) = item else { continue };
            match &row.entry {
                Entry::Prediction(record) => held.index.lock().saw_prediction(record),
                Entry::Feedback(record) => held.index.lock().saw_feedback(record),
                Entry::Gap(_) => {}
            }
        }
        *seen = Some(written);
        held.seen.send_replace(*seen);
        drop(held);
        if ended {
            return Ok(());
        }
        progress.wait_written(written, LOOK);
    }
    Ok(())
}

fn wanted(shared: &Weak<Shared>) -> bool {
    shared.upgrade().is_some_and(|shared| !shared.ended.load(Ordering::Relaxed))
}
