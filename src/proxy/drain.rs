//! The end of the data plane: no new connections, then no old ones.
//!
//! Owns the signal that draining has begun and the count of what is still open. Never decides when:
//! the composition root does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Shared by all workers.
#[derive(Debug, Default)]
pub struct Drain {
    begun: AtomicBool,
    /// The time is over: what is still open is cut.
    cut: AtomicBool,
    /// Listeners and connections that are open.
    open: AtomicUsize,
    connections: AtomicUsize,
    changed: Notify,
    closed: Notify,
}

impl Drain {
    /// A drain that has not begun, with the handle that begins it.
    pub fn new() -> (Arc<Self>, DrainHandle) {
        let drain = Arc::new(Self::default());
        (Arc::clone(&drain), DrainHandle { drain })
    }

    /// Open client connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    pub(super) fn is_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Ends when draining has begun.
    pub(super) fn begun(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<> {
        let drain = Arc::clone(self);
        async move {
            let changed = drain.changed.notified();
            if !drain.is_begun() {
                changed.await;
            }
        }
    }

    /// Counts a listener until the guard is dropped.
    pub(super) fn open_listener(self: &Arc<Self>) -> OpenGuard {
        self.open.fetch_add(1, Ordering::AcqRel);
        OpenGuard { drain: Arc::clone(self), is_connection: false }
    }

    /// Counts a connection until the guard is dropped; `None` when there are `limit` already.
    pub(super) fn open_connection(self: &Arc<Self>, limit: usize) -> Option<OpenGuard> {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= limit {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        self.open.fetch_add(1, Ordering::AcqRel);
        Some(OpenGuard { drain: Arc::clone(self), is_connection: true })
    }
}

/// Something that is open.
#[derive(Debug)]
pub(super) struct OpenGuard {
    drain: Arc<Drain>,
    is_connection: bool,
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        if self.is_connection {
            self.drain.connections.fetch_sub(1, Ordering::Relaxed);
        }
        if self.drain.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.drain.closed.notify_waiters();
        }
    }
}

/// Begins the drain and waits for its end; there is one.
#[derive(Debug)]
pub struct DrainHandle {
    drain: Arc<Drain>,
}

impl DrainHandle {
    /// Closes the listeners, and every connection after its current request.
    pub fn begin(&self) {
        self.drain.begun.store(true, Ordering::Release);
        self.drain.changed.notify_waiters();
    }

    /// Says that what is still open will be cut, so that it is recorded as what it is.
    pub fn cut(&self) {
        self.drain.cut.store(true, Ordering::Release);
    }

    /// Ends when nothing is open.
    pub async fn closed(&self) {
        loop {
            let closed = self.drain.closed.notified();
            if self.drain.open.load(Ordering::Acquire) == 0 {
                return;
            }
            closed.await;
        }
    }

    /// Client connections that are still open.
    pub fn connections(&self) -> usize {
        self.drain.connections()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_ends_when_the_last_thing_closes() {
        let (drain, handle) = Drain::new();
        let listener = drain.open_listener();
        let connection = drain.open_connection(1).expect("below the limit");
        assert!(drain.open_connection(1).is_none(), "the limit holds");
        let begun = tokio::spawn(drain.begun());
        tokio::task::yield_now().await;
        handle.begin();
        begun.await.unwrap();
        drain.begun().await;
        drop(listener);
        let closed = tokio::spawn(async move { handle.closed().await });
        tokio::task::yield_now().await;
        assert!(!closed.is_finished());
        drop(connection);
        closed.await.unwrap();
    }
}
