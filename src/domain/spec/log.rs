//! The settings of the prediction log: what is recorded of an exchange, how long it is kept, and
//! where it is delivered.

use std::fmt;
use std::time::Duration;

use super::pointer::JsonPointer;
use crate::domain::ids::Permille;

const MIB: u64 = 1024 * 1024;

/// What a record in the prediction log survives, once its response has been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Durability {
    /// Nothing is recorded.
    Off = 1,
    /// Written soon after the response; a killed process loses what was still in memory.
    #[default]
    Async = 2,
    /// Written to the operating system before the last byte of the response: survives `kill -9`.
    Os = 3,
    /// Synced to the disk before the last byte of the response: survives a power loss.
    Sync = 4,
}

impl Durability {
    /// All modes, weakest first.
    pub const ALL: [Self; 4] = [Self::Off, Self::Async, Self::Os, Self::Sync];

    /// The word in the configuration and in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Async => "async",
            Self::Os => "os",
            Self::Sync => "sync",
        }
    }

    /// The mode of this name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == word)
    }

    /// The stored number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Reads a stored number back.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.code() == code)
    }

    /// Whether the last byte of a response waits for its record.
    pub const fn waits(self) -> bool {
        matches!(self, Self::Os | Self::Sync)
    }
}

/// The prediction log of one gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSpec {
    /// What is recorded where neither the route nor the model says otherwise.
    pub recording: Recording,
    /// Bytes of records that may wait for the writer.
    pub queue: usize,
    /// How long an exchange under `os` or `sync` waits for room before it is refused or goes
    /// unrecorded, as `when_full` says.
    pub block: Duration,
    /// What becomes of an exchange that cannot be recorded; `None` for the mode's own way: `Drop`
    /// under `async`, `Refuse` under `os` and `sync`.
    pub when_full: Option<WhenFull>,
    /// The size of a segment file in bytes.
    pub segment: u64,
    /// How long a segment with records stays open.
    pub segment_age: Duration,
    /// The longest time a record waits in memory under [`Durability::Async`].
    pub flush: Duration,
    /// The least time between two groups: spares flash memory, and makes clients wait that long.
    pub commit_interval: Duration,
    /// How often what was written under `async` and `os` is synced to the disk.
    pub sync_interval: Duration,
    /// Bytes that segments and Parquet files may take together; the oldest go first.
    pub retain: u64,
    /// How old records may become.
    pub retain_age: Option<Duration>,
    /// The share of the file system that stays free: below it, the oldest go first.
    pub free: Permille,
    /// Whether and how closed segments become Parquet files.
    pub parquet: ParquetSpec,
}

impl Default for LogSpec {
    fn default() -> Self {
        Self {
            recording: Recording::default(),
            queue: 64 * MIB as usize,
            block: Duration::from_millis(250),
            when_full: None,
            segment: 64 * MIB,
            segment_age: Duration::from_secs(15 * 60),
            flush: Duration::from_millis(5),
            commit_interval: Duration::ZERO,
            sync_interval: Duration::from_millis(100),
            retain: 20 * 1024 * MIB,
            retain_age: None,
            free: Permille::saturating(50),
            parquet: ParquetSpec::default(),
        }
    }
}

/// What becomes of an exchange that cannot be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It is served, and counted as dropped.
    Drop,
    /// Its client gets 503.
    Refuse,
}

/// What is recorded of an exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// What a record survives.
    pub durability: Durability,
    /// What is kept of bodies.
    pub body: BodyPolicy,
    /// Bytes of each body that are kept under [`BodyPolicy::Full`].
    pub body_limit: usize,
    /// Bytes of each body that are kept under [`BodyPolicy::Head`].
    pub head: usize,
    /// Request and response headers that are kept, lower case; all others are left out.
    pub headers: Vec<String>,
    /// Whether a request may ask, with `x-pointsman-log: none`, that its bodies are left out.
    pub opt_out: bool,
    /// What is taken out of bodies before anything touches the disk.
    pub redact: Redaction,
    /// The share of exchanges that are recorded, above 0 and up to 1. Exchanges that went wrong and
    /// those that expect feedback are always recorded.
    pub sample: f32,
    /// The key under which ground truth will refer to a prediction.
    pub feedback_key: Option<FieldSource>,
    /// What several predictions for one task have in common.
    pub session: Option<FieldSource>,
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            body: BodyPolicy::default(),
            body_limit: 256 * 1024,
            head: 1024,
            headers: Vec::new(),
            opt_out: false,
            redact: Redaction::default(),
            sample: 1.0,
            feedback_key: None,
            session: None,
        }
    }
}

impl Recording {
    /// Bytes of each body that are captured.
    pub fn captured(&self) -> usize {
        match self.body {
            BodyPolicy::Full => self.body_limit,
            BodyPolicy::Head => self.head,
            BodyPolicy::Hash | BodyPolicy::None => 0,
        }
    }
}

/// What is kept of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyPolicy {
    /// All of it, up to the limit.
    #[default]
    Full,
    /// Its beginning.
    Head,
    /// Its length and hash.
    Hash,
    /// Its length.
    None,
}

impl BodyPolicy {
    /// All policies.
    pub const ALL: [Self; 4] = [Self::Full, Self::Head, Self::Hash, Self::None];

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Head => "head",
            Self::Hash => "hash",
            Self::None => "none",
        }
    }
}

/// What is taken out of JSON bodies. A body that has rules and cannot be read as JSON in full (cut,
/// compressed, not JSON) is left out whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Redaction {
    /// The rules; a value that several match meets the first.
    pub rules: Vec<RedactRule>,
    /// The key for [`RedactionKind::Hash`].
    pub key: Option<Secret>,
}

/// One rule of a redaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedactRule {
    /// Which values, in request and response bodies.
    pub pointer: JsonPointer,
    /// What becomes of them.
    pub kind: RedactionKind,
}

/// What becomes of a redacted value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedactionKind {
    /// Removed with its name; in an array, replaced by `null`.
    Drop,
    /// Replaced by `"***"`.
    Mask,
    /// Replaced by `"hmac:…"`, its HMAC-SHA-256 (RFC 2104) in hexadecimal: equal values stay equal.
    Hash,
}

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Where a field of a record is found in an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldSource {
    /// The value of a request header, lower case.
    Header(String),
    /// A text or a number in the request's JSON body.
    Request(JsonPointer),
    /// A text or a number in the response's JSON body.
    Response(JsonPointer),
}

/// Parquet files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParquetSpec {
    /// Whether closed segments become Parquet files.
    pub enabled: bool,
    /// The share of one core that converting may take while the log does not fall behind.
    pub cpu: Permille,
    /// Small files of an hour that is over are merged up to this size in bytes.
    pub file: u64,
    /// The level of zstd.
    pub level: i32,
}

impl Default for ParquetSpec {
    fn default() -> Self {
        Self { enabled: true, cpu: Permille::saturating(250), file: 128 * MIB, level: 1 }
    }
}

/// A place to which the prediction log is delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkSpec {
    /// What takes it.
    pub target: SinkTarget,
    /// Whether segments wait for it; otherwise it is skipped forward when room is needed, and a gap
    /// row says so.
    pub required: bool,
    /// Records of one delivery.
    pub batch: usize,
    /// Bytes of one delivery.
    pub batch_bytes: usize,
    /// How long a delivery waits to become full.
    pub linger: Duration,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// The longest pause between two attempts.
    pub backoff: Duration,
}

/// What takes deliveries.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkTarget {
    /// CloudEvents batches (`application/cloudevents-batch+json`) by POST to this `http://` URL.
    Http {
        /// Where to.
        url: String,
        /// The value of `authorization`.
        authorization: Option<Secret>,
    },
    /// Parquet files in a bucket of S3 or of what speaks its protocol.
    S3 {
        /// The bucket.
        bucket: String,
        /// What the names of all objects start with.
        prefix: String,
        /// `http://HOST:PORT` of a server other than AWS.
        endpoint: Option<String>,
        /// The region.
        region: String,
        /// The access key's id; without it, the environment's credentials are used.
        access_key_id: Option<Secret>,
        /// The access key itself.
        secret_access_key: Option<Secret>,
    },
}

/// Delayed ground truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedbackSpec {
    /// How long after a prediction its feedback is joined; later feedback is kept and answered `late`.
    pub window: Duration,
    /// Names of predictions, and as many statements, that are remembered for the answer to feedback.
    pub index: usize,
    /// Bytes of one request.
    pub body: u64,
    /// Bytes of predictions that may still get or change a label, and of what is counted about their quality.
    pub memory: u64,
}

impl Default for FeedbackSpec {
    fn default() -> Self {
        let window = Duration::from_secs(7 * 24 * 3600);
        Self { window, index: 500_000, body: 8 * MIB, memory: 64 * MIB }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_codes_read_back_and_secrets_stay_secret() {
        for mode in Durability::ALL {
            assert_eq!(Durability::from_word(mode.as_str()), Some(mode));
            assert_eq!(Durability::from_code(mode.code()), Some(mode));
        }
        assert_eq!(Durability::from_code(0), None);
        assert!(!format!("{:?}", Secret::new("hunter2")).contains("hunter2"));
    }
}
