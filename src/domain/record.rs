//! The schema of one row of the prediction log, version 1: predictions, feedback and gaps.
//!
//! Owns the fields, their meaning and units, and the words for outcomes and flags. Never decides how
//! a row is stored: the prediction log frames it, the command line prints it. A row borrows its
//! fields, so that neither writing nor reading one needs an allocation.

/// Declares an enum whose variants are stored as a number and printed as a word.
macro_rules! word_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $code,)+ }

        impl $name {
            /// All variants, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word in printed rows, columns and metric labels.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The stored number.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The variant of this word.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|variant| variant.as_str() == word)
            }

            /// Reads a stored number back; `None` for one from a later version.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

mod feedback;
mod gap;

pub use self::feedback::{FeedbackRecord, FeedbackTarget};
pub use self::gap::{GapReason, GapRecord};
use super::ids::{Entropy, Generation, RecordId};
use super::spec::Durability;

/// The version of this schema, stored in every row.
pub const SCHEMA_VERSION: u16 = 1;

/// The most bytes of [`PredictionRecord::error_detail`] that are kept.
pub const ERROR_DETAIL_BYTES_MAX: usize = 1024;

/// What a row of the log is.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one at a time on the stack, never collected")]
pub enum Entry<'a> {
    /// An exchange.
    Prediction(PredictionRecord<'a>),
    /// Delayed ground truth about an earlier prediction.
    Feedback(FeedbackRecord<'a>),
    /// Records that are known to be missing.
    Gap(GapRecord<'a>),
}

/// One exchange: a request, what was decided about it, and its response.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictionRecord<'a> {
    /// Ours and unique; the client reads it in `x-prediction-id`.
    pub record_id: RecordId,
    /// What kind of row this is.
    pub kind: Kind,
    /// The client's `x-request-id`, or the one minted for it. Data, never a key.
    pub request_id: &'a str,
    /// The W3C trace id, when the request took part in a trace or one was minted.
    pub trace_id: Option<[u8; 16]>,
    /// The W3C span id that the backend was given as parent.
    pub span_id: Option<[u8; 8]>,
    /// The row that this one belongs to: of a retry or a shadow, the client's own exchange.
    pub parent_record_id: Option<RecordId>,
    /// First byte of the request, in microseconds since the Unix epoch.
    pub ts_us: u64,
    /// What was decided.
    pub decision: DecisionRow<'a>,
    /// The method.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The client's address, after the trust rule.
    pub client: &'a str,
    /// What the client sent.
    pub request: Side<'a>,
    /// What the client was sent.
    pub response: Side<'a>,
    /// The status that the client was sent; 0 when it was gone before there was one.
    pub status: u16,
    /// The status of gRPC that the client was sent; `None` where it speaks something else.
    pub grpc_status: Option<u8>,
    /// How the exchange ended.
    pub outcome: Outcome,
    /// The reason word of `x-pointsman-error`, empty when the gateway had nothing to complain of.
    pub error_code: &'a str,
    /// What went wrong, at most [`ERROR_DETAIL_BYTES_MAX`] bytes.
    pub error_detail: &'a str,
    /// Where the time went.
    pub latency: Latency,
    /// The chance that this exchange had to be recorded, 1.0 for certain: the weight of a row in an
    /// estimate is its reciprocal.
    pub sample_rate: f32,
    /// Predictions in the request, where the gateway looked inside.
    pub batch_size: Option<u32>,
    /// What the client was promised; `None` in rows of the first release.
    pub durability: Option<Durability>,
    /// What else is to be known about the row.
    pub flags: Flags,
    /// The key under which ground truth refers to this prediction, empty for none.
    pub feedback_key: &'a str,
    /// What several predictions for one task have in common, empty for none.
    pub session: &'a str,
}

/// What is to be known about a row, beside its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// The request was sent again by `pointsman log replay`.
    pub replayed: bool,
    /// The wall clock jumped while the exchange ran, against the clock that measures durations: `ts`
    /// may be wrong, the times are right.
    pub clock_stepped: bool,
}

/// The routing decision in a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecisionRow<'a> {
    /// The route's name, empty where the built-in paths decided.
    pub route: &'a str,
    /// The wire protocol.
    pub protocol: Protocol,
    /// The model's name, empty for plain pools and refusals.
    pub model: &'a str,
    /// The version's name, empty where none was chosen.
    pub model_version: &'a str,
    /// The sha256 of the artifact, for versions that run in process.
    pub model_digest: Option<[u8; 32]>,
    /// `local`, the pool's or backend's `http://HOST:PORT`, or empty.
    pub backend: &'a str,
    /// Why this version, one of the words of [`super::routing::Reason`]; empty for refusals.
    pub reason: &'a str,
    /// The snapshot that decided.
    pub generation: Generation,
    /// The randomness that decided.
    pub entropy: Entropy,
    /// Which attempt answered, 1 for the first; 0 when no backend was asked.
    pub attempt: u8,
}

/// One side of an exchange: headers and body.
#[derive(Debug, Clone, PartialEq)]
pub struct Side<'a> {
    /// `content-type`, empty when absent.
    pub content_type: &'a str,
    /// `content-encoding`, empty when absent.
    pub content_encoding: &'a str,
    /// The headers on the allow-list, in the order of the message.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The captured part of the body.
    pub body: Payload<'a>,
    /// The length of the whole body in bytes, as far as it was seen.
    pub bytes: u64,
    /// XXH3-128 (big-endian) of the whole body, as far as it was seen.
    pub hash: [u8; 16],
    /// Why `body` is not the whole body, if it is not.
    pub omission: Option<Omission>,
    /// Values that were taken out of `body` or made unreadable in it.
    pub redacted: u16,
    /// Pieces in which the body arrived.
    pub chunks: u32,
}

impl Side<'_> {
    /// A side with nothing in it.
    pub const EMPTY: Self = Self {
        content_type: "",
        content_encoding: "",
        headers: Vec::new(),
        body: Payload::Slice(&[]),
        bytes: 0,
        hash: [0; 16],
        omission: None,
        redacted: 0,
        chunks: 0,
    };
}

/// The bytes of a body: in one piece when read, in the pieces in which they arrived when written.
#[derive(Debug, Clone, Copy)]
pub enum Payload<'a> {
    /// One piece.
    Slice(&'a [u8]),
    /// Reference-counted pieces; long ones are kept without a copy.
    Chunks(&'a [bytes::Bytes]),
}

impl Payload<'_> {
    /// The pieces in order.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (slice, chunks) = match self {
            Self::Slice(slice) => (Some(*slice), [].as_slice()),
            Self::Chunks(chunks) => (None, *chunks),
        };
        slice.into_iter().chain(chunks.iter().map(|chunk| chunk.as_ref()))
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.pieces().map(<[u8]>::len).sum()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl PartialEq for Payload<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.pieces().flatten().eq(other.pieces().flatten())
    }
}

word_enum!(
    /// What kind of row a record is.
    Kind {
        /// A client's request.
        Inference = 1 "inference",
        /// A copy sent to a version on trial.
        Shadow = 2 "shadow",
        /// An attempt at a backend that failed and was followed by another; the exchange's own row
        /// tells of the last one.
        Retry = 3 "retry",
        /// A request for an explanation of a prediction.
        Explain = 4 "explain",
        /// Delayed ground truth.
        Feedback = 5 "feedback",
        /// Rows that are known to be missing.
        Gap = 6 "gap",
    }
);

word_enum!(
    /// The wire protocol of an exchange.
    Protocol {
        /// Bytes that the gateway passes through.
        Raw = 1 "raw",
        /// Open Inference Protocol v2 over REST.
        OpenInferenceRest = 2 "openinference-v2-rest",
        /// Open Inference Protocol v2 over gRPC.
        OpenInferenceGrpc = 3 "openinference-v2-grpc",
        /// The first protocol of KServe.
        KserveV1 = 4 "kserve-v1",
        /// TensorFlow Serving's REST API.
        TensorflowServing = 5 "tensorflow-serving-rest",
        /// TorchServe's inference API.
        Torchserve = 6 "torchserve",
        /// A SageMaker container or MLflow's scoring server.
        Sagemaker = 7 "sagemaker",
    }
);

word_enum!(
    /// How an exchange ended, sorted by who is to blame.
    Outcome {
        /// The client has its answer.
        Ok = 1 "ok",
        /// A model that runs in process failed on this input.
        ModelError = 2 "model_error",
        /// A backend was down, broke off, or answered with a 5xx status.
        UpstreamError = 3 "upstream_error",
        /// A time limit passed.
        Timeout = 4 "timeout",
        /// The client went away before its answer was complete.
        ClientCancel = 5 "client_cancel",
        /// The request was at fault.
        Rejected = 6 "rejected",
        /// The gateway had no capacity or no ready version.
        Shed = 7 "shed",
    }
);

word_enum!(
    /// Why a row does not hold a whole body.
    Omission {
        /// Longer than the configured limit; the head is kept.
        Size = 1 "size",
        /// The configuration says so.
        Policy = 2 "policy",
        /// The log was falling behind.
        Pressure = 3 "pressure",
        /// The caller asked for it.
        OptOut = 4 "opt_out",
        /// There are redaction rules, and the body could not be read as JSON in full.
        Unredactable = 5 "unredactable",
    }
);

/// Where the time went, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    /// First byte of the request to the last byte of the response, as far as the gateway saw it.
    pub t_total: u32,
    /// Waiting for an executor thread.
    pub t_queue: Option<u32>,
    /// Deciding.
    pub t_route: Option<u32>,
    /// Connecting to a backend; absent where a kept connection was used.
    pub t_upstream_connect: Option<u32>,
    /// From the request being sent to the head of the backend's response.
    pub t_ttfb: Option<u32>,
    /// Running the model in process.
    pub t_infer: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_words_are_unique_and_read_back() {
        fn check<T: Copy + PartialEq + std::fmt::Debug>(
            all: &[T],
            code: fn(T) -> u8,
            from: fn(u8) -> Option<T>,
        ) {
            for &variant in all {
                assert_eq!(from(code(variant)), Some(variant));
            }
            assert_eq!(from(0), None);
        }
        check(Kind::ALL, Kind::code, Kind::from_code);
        check(Protocol::ALL, Protocol::code, Protocol::from_code);
        check(Outcome::ALL, Outcome::code, Outcome::from_code);
        check(Omission::ALL, Omission::code, Omission::from_code);
        check(GapReason::ALL, GapReason::code, GapReason::from_code);
    }

    #[test]
    fn payloads_compare_by_content() {
        let chunks = [bytes::Bytes::from_static(b"ab"), bytes::Bytes::from_static(b"c")];
        assert_eq!(Payload::Chunks(&chunks), Payload::Slice(b"abc"));
        assert_ne!(Payload::Chunks(&chunks), Payload::Slice(b"abd"));
        assert_eq!(Payload::Chunks(&chunks).len(), 3);
    }
}
