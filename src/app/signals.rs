//! How the process is asked to end, and the drain.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::control::releases::take_leave;
use crate::domain::spec::{Drain, Intent};
use crate::proxy::{DrainHandle, Gateway};

/// Waits for the end.
pub(super) struct Signals {
    gateway: Arc<Gateway>,
    drain: DrainHandle,
    spec: Drain,
    data_dir: PathBuf,
    failures: watch::Receiver<bool>,
}

impl Signals {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        drain: DrainHandle,
        intent: &Intent,
        failures: watch::Receiver<bool>,
    ) -> Self {
        let (spec, data_dir) = (intent.drain, intent.data_dir.clone());
        Self { gateway, drain, spec, data_dir, failures }
    }

    /// Waits for SIGTERM, then drains; SIGINT, a second signal or a failure ends it at once.
    async fn wait(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // Reloading is not part of this release; the default action would end the process.
        let mut hangup = signal(SignalKind::hangup())?;
        let mut failures = self.failures.clone();
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => {
                    self.gateway.readiness.end();
                    return Ok(());
                }
                _ = failures.wait_for(|failed| *failed) => return Ok(()),
                _ = hangup.recv() => tracing::warn!("SIGHUP is ignored: restart to change the configuration"),
            }
        }
        // Whoever asks for the end may not wait for all of it.
        let data_dir = self.data_dir.clone();
        drop(tokio::task::spawn_blocking(move || take_leave(&data_dir)));
        tokio::select! {
            () = self.drain() => {}
            () = either(&mut terminate, &mut interrupt) => {
                tracing::warn!(connections = self.drain.connections(), "a second signal ends the drain");
            }
        }
        Ok(())
    }

    async fn drain(&self) {
        let began = Instant::now();
        self.gateway.readiness.end();
        tracing::info!(delay = ?self.spec.delay, timeout = ?self.spec.timeout, "draining");
        tokio::time::sleep(self.spec.delay).await;
        self.drain.begin();
        let elapsed = match tokio::time::timeout(self.spec.timeout, self.drain.closed()).await {
            Ok(()) => began.elapsed(),
            Err(_elapsed) => {
                let connections = self.drain.connections();
                tracing::warn!(connections, "the drain's time is over; the rest is cut");
                began.elapsed()
            }
        };
        tracing::info!(?elapsed, "drained");
    }
}

async fn either(a: &mut Signal, b: &mut Signal) {
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        if let Err(error) = self.wait().await {
            tracing::error!(%error, "signals cannot be received");
        }
        self.drain.cut();
        // What was graceful has been done by now; the server need not wait again.
        ShutdownSignal::FastShutdown
    }
}
