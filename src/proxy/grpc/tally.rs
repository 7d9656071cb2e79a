//! What the predictions of one stream came to together.
//!
//! Owns the sums for its record, and which of its failures the record tells. Never answers.

use crate::proxy::exchange::Exchange;
use crate::proxy::problem::Problem;

/// What the predictions of a stream came to.
#[derive(Default)]
pub(super) struct Tally {
    rows: u32,
    /// In the queue, and in the model or at the backend.
    queue: Option<u32>,
    infer: Option<u32>,
    first_byte: Option<u32>,
    /// The first failure that was not the client's, else the first.
    pub(super) problem: Option<Problem>,
}

impl Tally {
    /// Adds what the message that has just been answered took.
    pub(super) fn add(&mut self, exchange: &mut Exchange) {
        self.rows = self.rows.saturating_add(exchange.batch_size().unwrap_or(0));
        let latency = exchange.latency();
        for (sum, one) in [
            (&mut self.queue, latency.t_queue),
            (&mut self.infer, latency.t_infer),
            (&mut self.first_byte, latency.t_ttfb),
        ] {
            *sum = one.map(|one| sum.unwrap_or(0).saturating_add(one)).or(*sum);
        }
    }

    /// Has the record say what all messages took together.
    pub(super) fn tell(&self, exchange: &mut Exchange) {
        exchange.set_batch_size(Some(self.rows));
        let latency = exchange.latency();
        (latency.t_queue, latency.t_infer) = (self.queue, self.infer);
        latency.t_ttfb = self.first_byte;
    }

    pub(super) fn note(&mut self, problem: &Problem) {
        let blames_client = |problem: &Problem| problem.cause.status().is_client_error();
        let worse = match &self.problem {
            None => true,
            Some(noted) => blames_client(noted) && !blames_client(problem),
        };
        if worse {
            self.problem = Some(problem.clone());
        }
    }
}
