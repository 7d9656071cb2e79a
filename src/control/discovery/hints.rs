//! The system's word that something in a folder has changed (inotify).
//!
//! Owns the watches of one source. It is a hint and nothing more: where the system does not tell, as on a
//! network file system, the rounds find it. Never says what has changed.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

/// The most folders that one source watches; further ones are left to the rounds.
const FOLDERS_MAX: usize = 8192;
/// How long a burst of changes is waited for.
const BURST: Duration = Duration::from_millis(50);
/// What is worth a look.
const WORTH: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE);

/// Folders that are watched; none at first.
#[derive(Debug, Default)]
pub(super) struct Watch {
    inotify: Option<AsyncFd<OwnedFd>>,
    /// Whether it was told that the system does not tell of all changes.
    is_told: bool,
}

impl Watch {
    /// Watches `folders`, whichever of them are there. Those that are watched already stay so; one that was
    /// replaced by another of its name is watched again.
    pub(super) fn on(&mut self, folders: &[PathBuf]) {
        if self.inotify.is_none() && !folders.is_empty() {
            match start() {
                Ok(inotify) => self.inotify = Some(inotify),
                Err(error) => self.tell(&error),
            }
        }
        let Some(inotify) = &self.inotify else { return };
        let mut failed = None;
        for folder in folders.iter().take(FOLDERS_MAX) {
            match inotify::add_watch(inotify.get_ref(), folder, WORTH) {
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            self.tell(&error.into());
        }
    }

    fn tell(&mut self, error: &io::Error) {
        if !self.is_told {
            self.is_told = true;
            tracing::warn!(%error, "the system does not tell of all changes; folders are looked at in rounds");
        }
    }

    /// Waits until something has changed, and for the end of the burst; for ever where nothing is watched.
    pub(super) async fn changed(&self) {
        let Some(inotify) = &self.inotify else { return std::future::pending().await };
        let Ok(mut ready) = inotify.readable().await else { return std::future::pending().await };
        tokio::time::sleep(BURST).await;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(inotify.get_ref(), &mut buffer);
        while events.next().is_ok() {}
        ready.clear_ready();
    }
}

fn start() -> io::Result<AsyncFd<OwnedFd>> {
    let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    #[expect(
        deprecated,
        reason = "what may lie about its descriptor must not be given to it; an `OwnedFd` cannot"
    )]
    AsyncFd::new(inotify)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_change_is_told_once_and_a_folder_that_comes_later_is_watched_then() {
        let dir = tempfile::tempdir().unwrap();
        let (later, file) = (dir.path().join("later"), dir.path().join("file"));
        let mut watch = Watch::default();
        watch.on(&[dir.path().to_owned(), later.clone()]);
        std::fs::write(&file, "1").unwrap();
        tokio::time::timeout(PATIENCE, watch.changed()).await.unwrap();
        let quiet = tokio::time::timeout(BURST, watch.changed()).await;
        assert!(quiet.is_err(), "it was told");
        std::fs::create_dir(&later).unwrap();
        tokio::time::timeout(PATIENCE, watch.changed()).await.unwrap();
        watch.on(&[dir.path().to_owned(), later.clone()]);
        std::fs::write(later.join("file"), "1").unwrap();
        tokio::time::timeout(PATIENCE, watch.changed()).await.unwrap();
    }
}
