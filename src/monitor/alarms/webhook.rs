//! Delivery of calls by HTTP.
//!
//! Owns one thread, its patience, and what a failure means: one that may pass is tried again, after pauses
//! that grow; one that will not is given up and counted. Calls go out one after the other, in order.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::call;
use super::ledger::{Call, CallWhat, Ledger};
use crate::domain::spec::WebhookSpec;
use crate::prediction_log::{Backoff, Failure, FailureReason, HttpPost, PostError};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Delivers calls.
#[derive(Debug)]
pub(super) struct Webhook {
    post: HttpPost,
    spec: WebhookSpec,
    node: String,
    ledger: Arc<Ledger>,
}

impl Webhook {
    pub(super) fn new(
        spec: &WebhookSpec,
        node: &str,
        ledger: Arc<Ledger>,
    ) -> Result<Self, PostError> {
        let post = HttpPost::new(&spec.url, JSON, spec.authorization.as_ref())?;
        Ok(Self { post, spec: spec.clone(), node: node.to_owned(), ledger })
    }

    /// Starts the thread. It looks for calls when woken, and ends once the ledger is stopped.
    pub(super) fn spawn(mut self, woken: Receiver<()>) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("alarms".to_owned()).spawn(move || {
            loop {
                self.deliver(&runtime, &woken);
                if self.ledger.is_stopped() || woken.recv().is_err() {
                    break;
                }
            }
            // A name that is being resolved must not hold up the end.
            runtime.shutdown_background();
        })
    }

    /// Delivers what waits.
    fn deliver(&mut self, runtime: &tokio::runtime::Runtime, woken: &Receiver<()>) {
        let mut backoff = Backoff::new(self.spec.backoff);
        while let Some(next) = self.ledger.next_call() {
            if self.ledger.is_stopped() {
                return;
            }
            match runtime.block_on(self.attempt(&next)) {
                Ok(()) => {
                    self.ledger.delivered(next.number);
                    backoff = Backoff::new(self.spec.backoff);
                }
                Err(failure) => {
                    let Failure { reason, detail, is_final, retry_after } = failure;
                    tracing::warn!(reason = reason.as_str(), detail, "a call was not delivered");
                    self.ledger.failed(reason, detail);
                    if is_final {
                        self.ledger.refused(next.number);
                    } else {
                        self.pause(backoff.pause(retry_after), woken);
                    }
                }
            }
        }
    }

    async fn attempt(&mut self, next: &Call) -> Result<(), Failure> {
        let body = match &next.what {
            CallWhat::Notice(notice) => call::body(notice, &self.node),
            CallWhat::Event(told) => call::event_body(told, &self.node),
        };
        let body = body.to_string();
        let sent = tokio::time::timeout(self.spec.timeout, self.post.post(body.into())).await;
        sent.unwrap_or_else(|_elapsed| {
            let detail = format!("no answer within {:?}", self.spec.timeout);
            Err(Failure {
                reason: FailureReason::Timeout,
                detail,
                is_final: false,
                retry_after: None,
            })
        })
    }

    /// Waits, unless the end begins. Being woken for another call does not shorten it.
    fn pause(&self, pause: Duration, woken: &Receiver<()>) {
        let until = Instant::now() + pause;
        while !self.ledger.is_stopped() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || woken.recv_timeout(left) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
    }
}
