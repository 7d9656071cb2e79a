//! The thread that reads the log for the index.
//!
//! Owns how far back it reads: as far as index and window reach.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;

use super::Shared;
use crate::domain::record::Entry;
use crate::domain::spec::FeedbackSpec;
use crate::prediction_log::follow::{LogFollower, Start, follow};
use crate::prediction_log::progress::Progress;
use crate::prediction_log::reader::Row;
use crate::prediction_log::unix_us;

/// Starts the thread. It ends with the log, or when nobody will ask again.
pub(super) fn start(
    shared: &Arc<Shared>,
    data_dir: &Path,
    spec: &FeedbackSpec,
    progress: &Arc<Progress>,
) -> io::Result<()> {
    let window_us = u64::try_from(spec.window.as_micros()).unwrap_or(u64::MAX);
    let start = Start {
        // Each row brings at least one name or statement, so that more would be forgotten again.
        position: progress.written().saturating_sub(spec.index as u64),
        since_us: unix_us().saturating_sub(window_us),
        names_only: true,
    };
    let mut follower = Follower(Arc::downgrade(shared));
    let (data_dir, progress) = (data_dir.to_owned(), Arc::clone(progress));
    thread::Builder::new()
        .name("feedback".to_owned())
        .spawn(move || follow(&data_dir, &progress, start, &mut follower))
        .map(drop)
}

struct Follower(Weak<Shared>);

impl LogFollower for Follower {
    fn name(&self) -> &'static str {
        "answers to feedback"
    }

    fn is_wanted(&self) -> bool {
        self.0.upgrade().is_some_and(|shared| !shared.ended.load(Ordering::Relaxed))
    }

    fn take(&mut self, row: &Row<'_>) {
        let Some(shared) = self.0.upgrade() else { return };
        match &row.entry {
            Entry::Prediction(record) => shared.index.lock().saw_prediction(record),
            Entry::Feedback(record) => shared.index.lock().saw_feedback(record),
            Entry::Gap(_) => {}
        }
    }

    fn reached(&mut self, lsn: u64) {
        if let Some(shared) = self.0.upgrade() {
            shared.seen.send_replace(Some(lsn));
        }
    }
}
