//! The sections of the prediction log: `[log]`, what models and routes may say otherwise, sinks and
//! feedback.
//!
//! Owns names, ranges, defaults and descriptions. Never does anything with them.

use std::time::Duration;

use crate::domain::ids::Permille;

use super::sections::{DAY, GIB, HOUR, KIB, MIB, MS, TIB, key, section};
use super::{Absent, Form, Key, Kind, Section};

const HEADERS_MAX: usize = 64;
const RULES_MAX: usize = 256;
const TEN_SECONDS: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// What a model's or a route's table means where it says nothing.
const ABOVE: Absent = Absent::Means("as the level above says");

/// `[log]`.
pub(in crate::config) static LOG: Section = section(
    "the prediction log",
    "The prediction log.",
    &[
        durability(Absent::Same("async")),
        body(Absent::Same("full")),
        body_limit(Absent::Same("256KiB")),
        head(Absent::Same("1KiB")),
        headers(Absent::Same("[]")),
        opt_out(Absent::Same("false")),
        sample(Absent::Same("100%")),
        feedback_key(Absent::Means("feedback names predictions by their id or request id")),
        session(Absent::Means("no session is recorded")),
        REDACT_KEY,
        key(
            "queue",
            Kind::Size(MIB, 16 * GIB),
            Absent::Same("64MiB"),
            "Bytes of records that may wait for the writer; beyond that, records are dropped and \
             counted.",
        ),
        key(
            "block",
            Kind::Duration(Duration::ZERO, MINUTE),
            Absent::Same("250ms"),
            "How long an exchange under `os` or `sync` waits for room in the queue before \
             `when_full` applies.",
        ),
        key(
            "when_full",
            Kind::Word(&["drop", "refuse"]),
            Absent::Means("`drop` under `async`, `refuse` under `os` and `sync`"),
            "What becomes of an exchange that cannot be recorded: served and counted as dropped, \
             or refused with 503.",
        ),
        key(
            "segment",
            Kind::Size(MIB, 4 * GIB),
            Absent::Same("64MiB"),
            "The size of one file of the log.",
        ),
        key(
            "segment_age",
            Kind::Duration(Duration::from_millis(100), DAY),
            Absent::Same("15m"),
            "How long a file of the log with records stays open.",
        ),
        key(
            "flush",
            Kind::Duration(MS, TEN_SECONDS),
            Absent::Same("5ms"),
            "The longest time a record waits in memory with `durability = \"async\"`.",
        ),
        key(
            "commit_interval",
            Kind::Duration(Duration::ZERO, TEN_SECONDS),
            Absent::Same("0s"),
            "The least time between two writes: spares flash memory, and makes clients under `os` \
             and `sync` wait that long.",
        ),
        key(
            "sync_interval",
            Kind::Duration(MS, HOUR),
            Absent::Same("100ms"),
            "How often what was written under `async` and `os` is synced to the disk.",
        ),
        key(
            "retain",
            Kind::Size(MIB, 1024 * TIB),
            Absent::Same("20GiB"),
            "Bytes that the log and its Parquet files may take on disk; the oldest go first.",
        ),
        key(
            "retain_age",
            Kind::Duration(SECOND, DAY.saturating_mul(36_500)),
            Absent::Means("records do not age"),
            "How old records may become.",
        ),
        key(
            "free",
            Kind::Ratio(Permille::NONE, Permille::saturating(900)),
            Absent::Same("5%"),
            "The share of the file system that stays free: below it, the oldest records go first.",
        ),
        key(
            "parquet",
            Kind::Table(&PARQUET),
            Absent::Same("{}"),
            "Whether and how closed files of the log become Parquet files.",
        ),
    ],
);

/// `[models.NAME.log]` and `[routes.NAME.log]`.
pub(in crate::config) static RECORDING: Section = section(
    "the recording",
    "What is recorded of the exchanges of one model or route, where it differs from `[log]`.",
    &[
        durability(ABOVE),
        body(ABOVE),
        body_limit(ABOVE),
        head(ABOVE),
        headers(ABOVE),
        opt_out(ABOVE),
        sample(ABOVE),
        feedback_key(ABOVE),
        session(ABOVE),
        REDACT_KEY,
    ],
);

const fn durability(absent: Absent) -> Key {
    key(
        "durability",
        Kind::Word(&["off", "async", "os", "sync"]),
        absent,
        "What a record survives once its response is out: nothing is recorded (`off`), a clean \
         stop (`async`), `kill -9` (`os`), a power loss (`sync`).",
    )
}

const fn body(absent: Absent) -> Key {
    key(
        "body",
        Kind::Word(&["full", "head", "hash", "none"]),
        absent,
        "What is kept of bodies: all up to `body_limit`, the first `head` bytes, length and hash, \
         or the length alone.",
    )
}

const fn body_limit(absent: Absent) -> Key {
    key(
        "body_limit",
        Kind::Size(0, GIB),
        absent,
        "Bytes of each body that are kept with `body = \"full\"`; length and hash always cover the \
         whole body.",
    )
}

const fn head(absent: Absent) -> Key {
    key(
        "head",
        Kind::Size(1, MIB),
        absent,
        "Bytes of each body that are kept with `body = \"head\"`.",
    )
}

const fn headers(absent: Absent) -> Key {
    key(
        "headers",
        Kind::List(Form::HeaderName, 0, HEADERS_MAX),
        absent,
        "Request and response headers that are kept; all others are left out.",
    )
}

const fn opt_out(absent: Absent) -> Key {
    key(
        "opt_out",
        Kind::Flag,
        absent,
        "Whether a request may ask, with `x-pointsman-log: none`, that its bodies are left out.",
    )
}

const fn sample(absent: Absent) -> Key {
    key(
        "sample",
        Kind::Fraction,
        absent,
        "The share of exchanges that are recorded. Those that went wrong or expect feedback always \
         are.",
    )
}

const fn feedback_key(absent: Absent) -> Key {
    key(
        "feedback_key",
        Kind::Text(Form::FieldSource),
        absent,
        "Where the key is found under which feedback will refer to a prediction.",
    )
}

const fn session(absent: Absent) -> Key {
    key(
        "session",
        Kind::Text(Form::FieldSource),
        absent,
        "Where the name is found that several predictions for one task have in common.",
    )
}

const REDACT_KEY: Key = key(
    "redact",
    Kind::Table(&REDACT),
    Absent::Same("{}"),
    "What is taken out of JSON bodies before anything touches the disk. The rules of every level \
     apply, those of the level above first.",
);

/// `redact = { … }`.
pub(in crate::config) static REDACT: Section = section(
    "the redaction",
    "Which values of JSON bodies are not recorded as they are. `*` stands for every member.",
    &[
        key(
            "drop",
            Kind::List(Form::Pointer, 0, RULES_MAX),
            Absent::Same("[]"),
            "Values that are removed with their names; in an array, replaced by `null`.",
        ),
        key(
            "mask",
            Kind::List(Form::Pointer, 0, RULES_MAX),
            Absent::Same("[]"),
            "Values that are replaced by `\"***\"`.",
        ),
        key(
            "hash",
            Kind::List(Form::Pointer, 0, RULES_MAX),
            Absent::Same("[]"),
            "Values that are replaced by their keyed hash (HMAC-SHA-256): equal ones stay equal. \
             Needs `key`.",
        ),
        key(
            "key",
            Kind::Text(Form::HashKey),
            Absent::Means("the key of the level above, if it has one"),
            "The secret for `hash`, at least 16 bytes.",
        ),
    ],
);

/// `parquet = { … }`.
pub(in crate::config) static PARQUET: Section = section(
    "the Parquet files",
    "Whether and how closed files of the log become Parquet files.",
    &[
        key("enabled", Kind::Flag, Absent::Same("true"), "Whether there are Parquet files at all."),
        key(
            "cpu",
            Kind::Ratio(Permille::saturating(10), Permille::ALL),
            Absent::Same("25%"),
            "The share of one core that converting may take while the log does not fall behind.",
        ),
        key(
            "file",
            Kind::Size(MIB, 4 * GIB),
            Absent::Same("128MiB"),
            "Small files of an hour that is over are merged up to this size.",
        ),
        key(
            "level",
            Kind::Integer(1, 19),
            Absent::Same("1"),
            "The level of zstd: higher is smaller and slower.",
        ),
    ],
);

/// `[sinks.NAME]`.
pub(in crate::config) static SINK: Section = Section {
    what: "a sink",
    doc: "A place to which the prediction log is delivered: at least once, in order.",
    keys: &[
        key(
            "http",
            Kind::Text(Form::SinkUrl),
            Absent::Means("the sink is `s3`"),
            "The URL to which batches of CloudEvents are posted.",
        ),
        key(
            "s3",
            Kind::Text(Form::Bucket),
            Absent::Means("the sink is `http`"),
            "The bucket and the prefix below which Parquet files are put. Needs a build with the \
             cargo feature `sink-s3`.",
        ),
        key(
            "required",
            Kind::Flag,
            Absent::Same("false"),
            "Whether the log waits for it. Otherwise it is skipped forward when room is needed, \
             and a gap says so.",
        ),
        key(
            "batch",
            Kind::Integer(1, 1_000_000),
            Absent::Means("100 for `http`, 50000 for `s3`"),
            "The most records of one delivery.",
        ),
        key(
            "batch_bytes",
            Kind::Size(KIB, GIB),
            Absent::Means("1MiB for `http`, 32MiB for `s3`"),
            "About how many bytes one delivery has at most.",
        ),
        key(
            "linger",
            Kind::Duration(Duration::ZERO, HOUR),
            Absent::Means("1s for `http`, 1m for `s3`"),
            "How long a delivery waits to become full.",
        ),
        key(
            "timeout",
            Kind::Duration(MS, HOUR),
            Absent::Same("10s"),
            "How long one attempt takes.",
        ),
        key(
            "backoff",
            Kind::Duration(MS, HOUR),
            Absent::Same("1m"),
            "The longest pause between two attempts.",
        ),
        key(
            "authorization",
            Kind::Text(Form::Secret),
            Absent::Means("no such header"),
            "The value of the header `authorization`, for `http`.",
        ),
        key(
            "endpoint",
            Kind::Text(Form::Endpoint),
            Absent::Means("AWS"),
            "The server, for an `s3` that is not AWS.",
        ),
        key("region", Kind::Text(Form::Region), Absent::Same("us-east-1"), "The region, for `s3`."),
        key(
            "access_key_id",
            Kind::Text(Form::Secret),
            Absent::Means("the credentials of the environment"),
            "The id of the access key, for `s3`.",
        ),
        key(
            "secret_access_key",
            Kind::Text(Form::Secret),
            Absent::Means("the credentials of the environment"),
            "The access key itself, for `s3`.",
        ),
    ],
    exactly_one: &["http", "s3"],
    at_most_one: &[],
};

/// `[feedback]`.
pub(in crate::config) static FEEDBACK: Section = section(
    "the feedback",
    "Delayed ground truth, taken at `POST /v1/feedback`.",
    &[
        key(
            "window",
            Kind::Duration(MS, DAY.saturating_mul(3650)),
            Absent::Same("7d"),
            "How long after a prediction its feedback is joined; later feedback is kept and \
             answered `late`.",
        ),
        key(
            "index",
            Kind::Integer(1, 50_000_000),
            Absent::Same("500000"),
            "Names of predictions, and as many statements, that are remembered for the answer; about \
             84 bytes for one of each.",
        ),
        key(
            "body",
            Kind::Size(KIB, GIB),
            Absent::Same("8MiB"),
            "Bytes of one request, unless `limits.body` is less; more is answered with 413.",
        ),
        key(
            "memory",
            Kind::Size(MIB, 256 * GIB),
            Absent::Same("64MiB"),
            "Bytes of predictions that may still get or change a label, and of what is counted about \
             quality, for models with `labels`. The oldest go first, and are counted.",
        ),
    ],
);
