//! Whether the process before this one took its leave.
//!
//! Owns the mark `state/running`, which lies there from the moment at which requests are answered until the process is
//! asked to end. Whoever finds it at a start knows that the one before died: it crashed, was killed, or the power
//! failed. A death before the first answer leaves none, so that a gateway that cannot start counts against nobody.
//! Never knows what it died of.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::control::store::{self, STATE_DIR};

/// The file below `state/`.
const MARK: &str = "running";

/// The mark of one gateway.
#[derive(Debug)]
pub(super) struct Farewell {
    path: PathBuf,
}

impl Farewell {
    pub(super) fn of(data_dir: &Path) -> Self {
        Self { path: data_dir.join(STATE_DIR).join(MARK) }
    }

    /// Whether the process before has ended without one. Blocks.
    pub(super) fn is_missing(&self) -> bool {
        self.path.exists()
    }

    /// Notes that from now on there has to be one. Blocks.
    pub(super) fn owe(&self) {
        let pid = std::process::id().to_string();
        if let Err(error) = store::replace(&self.path, pid.as_bytes()) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "if this process dies, no version on trial is blamed");
        }
    }

    /// Takes leave: what ends now does so in good order. Blocks.
    pub(super) fn take(&self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "the next start takes this end for a death");
                return;
            }
            Ok(()) => {}
        }
        // A loss of power after it must not bring the mark back.
        let folder = self.path.parent().map_or(Ok(()), store::sync_folder);
        if let Err(error) = folder {
            tracing::warn!(%error, "that the mark of a running process is gone may not be on the disk");
        }
    }
}

/// Notes that the gateway with this `data_dir` ends because it was asked to. Blocks.
pub fn take_leave(data_dir: &Path) {
    Farewell::of(data_dir).take();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_farewell_is_missing_only_after_a_process_that_served_and_took_none() {
        let dir = tempfile::tempdir().unwrap();
        let farewell = Farewell::of(dir.path());
        assert!(!farewell.is_missing(), "nobody has served yet");
        take_leave(dir.path());
        farewell.owe();
        farewell.owe();
        assert!(Farewell::of(dir.path()).is_missing());
        take_leave(dir.path());
        assert!(!Farewell::of(dir.path()).is_missing());
    }

    #[test]
    fn a_disk_that_takes_no_mark_keeps_nobody_from_serving() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(STATE_DIR), "a file").unwrap();
        let farewell = Farewell::of(dir.path());
        farewell.owe();
        assert!(!farewell.is_missing());
        farewell.take();
    }
}
