//! Ending an exchange: what is counted, and what of it goes to the log.
//!
//! Owns the one record of an exchange: redaction, join keys, sampling, and the offer. Never waits for
//! the log: [`super::promise`] does.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::row::{Extras, SideNotes, text};
use super::{Exchange, Recording, micros};
use crate::domain::ids::Entropy;
use crate::domain::record::{Latency, Omission, Outcome};
use crate::domain::spec::Durability;
use crate::domain::stats::window::{Minute, Stage};
use crate::monitor::{Observation, Waiting};
use crate::prediction_log::Offer;
use crate::proxy::redact::find;
use crate::snapshot::{Keep, KeySource, RecordingPolicy, RuntimeKind};
use crate::telemetry::Ended;

/// Asks, where the policy allows it, that both bodies are left out of the record.
const LOG: HeaderName = HeaderName::from_static("x-pointsman-log");
/// Marks a request that `pointsman log replay` sends again.
pub(in crate::proxy) const REPLAY: HeaderName = HeaderName::from_static("x-pointsman-replay");

/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 256;
/// The longest mark of a replay, in bytes.
const REPLAY_BYTES_MAX: usize = 64;
/// How far the two clocks may drift apart during an exchange.
const STEP_MAX: Duration = Duration::from_millis(500);

/// Join keys that stand in request headers.
#[derive(Default)]
pub(super) struct HeaderKeys {
    feedback: Option<HeaderValue>,
    session: Option<HeaderValue>,
}

impl Exchange {
    /// Notes the request under the policy that was found for it.
    pub(in crate::proxy) fn note_request(&mut self, headers: &HeaderMap) {
        if self.decision.is_none() {
            self.note_time();
        }
        self.noted_at = Some(self.now);
        let policy = self.snapshot.policy(self.policy);
        self.durability = policy.durability;
        let opted_out =
            policy.opt_out && headers.get(&LOG).is_some_and(|value| value.as_bytes() == b"none");
        self.keep = if opted_out { Keep::nothing(Omission::OptOut) } else { policy.keep };
        self.request = SideNotes::of(headers, policy, self.keep);
        let key = |source: &Option<KeySource>| match source {
            Some(KeySource::Header(name)) => headers.get(name).cloned(),
            Some(KeySource::Request(_) | KeySource::Response(_)) | None => None,
        };
        self.keys.feedback = key(&policy.feedback_key);
        self.keys.session = key(&policy.session);
        self.replayed = headers.get(&REPLAY).is_some_and(is_mark);
    }

    /// Notes the request anew, under the policy of the target that a stream has found at last: of what came before, and
    /// of the answers to it, the record has nothing.
    pub(in crate::proxy) fn note_request_again(&mut self, headers: &HeaderMap, answer: &HeaderMap) {
        self.note_request(headers);
        self.response = SideNotes::of(answer, self.snapshot.policy(self.policy), self.keep);
    }

    /// What is recorded of this exchange.
    pub(super) fn policy(&self) -> &RecordingPolicy {
        self.snapshot.policy(self.policy)
    }

    /// Whether a record will be offered, unless sampling leaves it out.
    pub(super) fn is_recorded(&self) -> bool {
        self.recording == Recording::Owed && self.durability != Durability::Off
    }

    /// Counts the exchange and offers its record, once. `None` where there is no record to wait for.
    pub(super) fn record(&mut self) -> Option<Offer> {
        if self.recording == Recording::Done {
            return None;
        }
        let recorded = self.is_recorded();
        let owed = std::mem::replace(&mut self.recording, Recording::Done) == Recording::Owed;
        let total = self.note_time().duration_since(self.began);
        self.latency.t_total = micros(total);
        let worker = &self.context.worker;
        let is_copy = self.is_copy();
        if let Some(target) = self.target().filter(|_| !is_copy) {
            let metrics = &target.metrics;
            metrics.leave(worker.index);
            if owed {
                metrics.ended(worker.index, self.outcome);
                metrics.duration.record(worker.index, total);
                let stages = [
                    (&metrics.queue, self.latency.t_queue),
                    (&metrics.infer, self.latency.t_infer),
                    (&metrics.upstream, self.latency.t_ttfb),
                    (&metrics.overhead, Stage::Overhead.of(&self.latency)),
                ];
                for (shards, time) in stages {
                    if let Some(us) = time {
                        shards.record(worker.index, Duration::from_micros(us.into()));
                    }
                }
                // The messages of a stream have counted for themselves.
                if !self.told_apart {
                    metrics.tell(worker.index, &self.ended(total));
                }
            }
        }
        if owed && !is_copy {
            self.count_for_trial(total);
        }
        let (offer, hash) = if recorded { self.offer_sampled() } else { None }.unzip();
        if owed && !is_copy {
            self.observe(recorded, hash);
            self.finish_copy();
        }
        offer
    }

    /// Hands the exchange to the monitor, as it is in its record. `hash` is that of the body of the request,
    /// zero where there was none to be hashed.
    fn observe(&mut self, recorded: bool, hash: Option<[u8; 16]>) {
        // A stream has several messages and one record.
        let values = self.values.take().filter(|_| !self.told_apart);
        if self.target().is_none_or(|target| target.monitor.is_none()) {
            return;
        }
        let is_local =
            self.target().is_some_and(|target| matches!(target.kind, RuntimeKind::Local(_)));
        if !recorded && !is_local {
            self.seal();
        }
        let Some(monitor) = self.target().and_then(|target| target.monitor.as_ref()) else {
            return;
        };
        let worker = self.context.worker.index;
        let observation = Observation {
            minute: Minute::of_exchange(self.ts_us, self.latency.t_total),
            outcome: self.outcome,
            status: self.status,
            rows: self.batch_size,
            input: hash
                .map(u128::from_be_bytes)
                .filter(|hash| *hash != 0 && self.request.capture.bytes() > 0),
            latency: &self.latency,
        };
        if is_local {
            monitor.record(worker, &observation, values.map(|values| *values));
            return;
        }
        let minute = observation.minute;
        monitor.record_later(worker, &observation, self.id, || {
            Ok(Waiting {
                minute,
                protocol: self.protocol,
                path: self.uri.path().into(),
                request: self.request.content()?,
                response: self.response.content()?,
            })
        });
    }

    /// Forgets what the message before took.
    pub(in crate::proxy) fn begin_message(&mut self) {
        self.batch_size = None;
        self.codec_times = (None, None);
        let Latency { t_queue, t_infer, t_ttfb, .. } = &mut self.latency;
        (*t_queue, *t_infer, *t_ttfb) = (None, None, None);
    }

    /// Counts one message of a stream, which began at `began`, as a request of its own in the statistics.
    pub(in crate::proxy) fn tell_message(&mut self, began: Instant, ok: bool) {
        self.told_apart = true;
        let Some(target) = self.target() else { return };
        let total = began.elapsed();
        let since = u64::try_from(began.duration_since(self.began).as_millis()).unwrap_or(u64::MAX);
        let unix_ms = (self.ts_us / 1000).saturating_add(since);
        let ended = Ended { ok, total, unix_ms, ..self.ended(total) };
        target.metrics.tell(self.context.worker.index, &ended);
    }

    /// What the statistics count of it.
    pub(super) fn ended(&self, total: Duration) -> Ended {
        let time = |us: Option<u32>| us.map(|us| Duration::from_micros(us.into()));
        let (input, output) = self.codec_times;
        Ended {
            ok: self.outcome == Outcome::Ok,
            total,
            queue: time(self.latency.t_queue),
            input,
            infer: time(self.latency.t_infer.or(self.latency.t_ttfb)),
            output,
            rows: self.batch_size,
            unix_ms: (self.ts_us + u64::from(self.latency.t_total)) / 1000,
        }
    }

    /// Makes the bodies ready and offers the record, unless its share is drawn out.
    fn offer_sampled(&mut self) -> Option<(Offer, [u8; 16])> {
        self.seal();
        let policy = self.policy();
        let feedback_key = self.key(policy.feedback_key.as_ref(), self.keys.feedback.as_ref());
        let certain =
            policy.sample >= 1.0 || self.outcome != Outcome::Ok || !feedback_key.is_empty();
        if !certain && !is_drawn(self.entropy, policy.sample) {
            let worker = &self.context.worker;
            worker.gateway.sampled_out.add(worker.index);
            return None;
        }
        let extras = Extras {
            sample_rate: if certain { 1.0 } else { policy.sample },
            feedback_key: &feedback_key,
            session: &self.key(policy.session.as_ref(), self.keys.session.as_ref()),
            clock_stepped: self.clock_stepped(),
        };
        Some(self.offer(&extras))
    }

    /// Makes both bodies what the record may hold.
    fn seal(&mut self) {
        if let Some(upload) = &self.upload {
            let seen = &mut upload.state().capture;
            std::mem::swap(&mut self.request.capture, seen);
        }
        self.request.capture.seal();
        self.response.capture.seal();
        let policy = self.snapshot.policy(self.policy);
        if policy.redacts() {
            self.request.redact(policy);
            if self.problem.as_ref().is_some_and(|problem| problem.cause.may_quote()) {
                self.response.capture.leave_out(Omission::Unredactable);
            } else {
                self.response.redact(policy);
            }
        }
    }

    /// A join key: noted from a header, or found in a body as it will be recorded, so that a value
    /// that was redacted there is redacted here. Empty for none.
    fn key<'a>(&self, source: Option<&KeySource>, header: Option<&'a HeaderValue>) -> Cow<'a, str> {
        let (side, pointer) = match source {
            None => return Cow::Borrowed(""),
            Some(KeySource::Header(_)) => {
                let value = header.filter(|value| value.len() <= KEY_BYTES_MAX);
                return Cow::Borrowed(text(value));
            }
            Some(KeySource::Request(pointer)) => (&self.request, pointer),
            Some(KeySource::Response(pointer)) => (&self.response, pointer),
        };
        if side.capture.omission().is_some() {
            return Cow::Borrowed("");
        }
        Cow::Owned(find(&side.capture.joined(), pointer, KEY_BYTES_MAX).unwrap_or_default())
    }

    /// Whether the wall clock went another way than the one that measures durations.
    fn clock_stepped(&self) -> bool {
        let Some(noted_at) = self.noted_at else { return false };
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let expected = Duration::from_micros(self.ts_us) + self.now.duration_since(noted_at);
        wall.abs_diff(expected) > STEP_MAX
    }
}

/// Whether an exchange belongs to the recorded share: a function of its entropy, so that it can be
/// repeated, and independent of the split, which hashes the entropy with other seeds. The mixer is
/// the last step of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
fn is_drawn(entropy: Entropy, share: f32) -> bool {
    let mut bits = entropy.0 ^ 0x9e37_79b9_7f4a_7c15;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    // The upper 32 bits as a number from 0 up to 1.
    let drawn = f64::from((bits >> 32) as u32) / 4_294_967_296.0;
    drawn < f64::from(share)
}

/// Whether a header marks a replay: short visible ASCII.
fn is_mark(value: &HeaderValue) -> bool {
    (1..=REPLAY_BYTES_MAX).contains(&value.len())
        && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawn_share_is_the_one_asked_for_and_does_not_change() {
        let mut random = fastrand::Rng::with_seed(7);
        for share in [0.01f32, 0.1, 0.5, 0.9] {
            let drawn = (0..100_000).filter(|_| is_drawn(Entropy(random.u64(..)), share)).count();
            let error = (drawn as f64 / 100_000.0 - f64::from(share)).abs();
            assert!(error < 0.01, "{share}: {drawn}");
        }
        // Entropies that differ little are told apart as well.
        let drawn = (0..10_000).filter(|&n| is_drawn(Entropy(n), 0.5)).count();
        assert!((4800..5200).contains(&drawn), "{drawn}");
        assert!((0..1000).all(|n| is_drawn(Entropy(n), 1.0)));
        let kept: Vec<u64> = (0..20).filter(|&n| is_drawn(Entropy(n), 0.3)).collect();
        let lower: Vec<u64> = (0..20).filter(|&n| is_drawn(Entropy(n), 0.2)).collect();
        assert!(lower.iter().all(|n| kept.contains(n)), "a smaller share is a part of a larger");
    }
}
