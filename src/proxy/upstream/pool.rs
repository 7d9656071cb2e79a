//! The unused connections of one worker.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use parking_lot::Mutex;

use super::link::Link;
use crate::domain::spec::{BackendAddress, KeepAlive};
use crate::snapshot::Backend;

/// Unused connections by backend, the latest used on top. Only its worker touches it, so that the
/// lock is never contended; it is never held across an await.
#[derive(Default)]
pub(in crate::proxy) struct Pool {
    #[expect(clippy::vec_box, reason = "a link is large and moves between pool and request")]
    idle: Mutex<HashMap<BackendAddress, Vec<Box<Link>>>>,
}

impl Pool {
    /// Takes a connection that is still good, the latest used first. Those found dead or too old
    /// are closed.
    pub(in crate::proxy) fn take(
        &self,
        cx: &mut Context<'_>,
        backend: &Arc<Backend>,
        keep: &KeepAlive,
        now: Instant,
    ) -> Option<Box<Link>> {
        let mut idle = self.idle.lock();
        let links = idle.get_mut(&backend.address)?;
        while let Some(mut link) = links.pop() {
            if !link.is_stale(now, keep.idle, keep.age) && link.settle(cx) {
                return Some(link);
            }
        }
        None
    }

    /// Keeps a connection for later, unless there are enough.
    pub(in crate::proxy) fn put(
        &self,
        backend: &Arc<Backend>,
        mut link: Box<Link>,
        keep: &KeepAlive,
        now: Instant,
    ) {
        link.rest(now);
        if link.is_stale(now, keep.idle, keep.age) {
            return;
        }
        let mut idle = self.idle.lock();
        let links = match idle.get_mut(&backend.address) {
            Some(links) => links,
            None => idle.entry(backend.address.clone()).or_default(),
        };
        if links.len() < keep.connections {
            links.push(link);
        }
    }

    /// Whether no connection is kept.
    pub(in crate::proxy) fn is_empty(&self) -> bool {
        self.idle.lock().is_empty()
    }

    /// Closes what has been unused for longer than `keep_of` allows, and everything of backends that
    /// are no longer known.
    pub(in crate::proxy) fn sweep(
        &self,
        now: Instant,
        keep_of: impl Fn(&BackendAddress) -> Option<KeepAlive>,
    ) {
        self.idle.lock().retain(|address, links| {
            let Some(keep) = keep_of(address) else { return false };
            links.retain(|link| !link.is_stale(now, keep.idle, keep.age));
            !links.is_empty()
        });
    }
}
