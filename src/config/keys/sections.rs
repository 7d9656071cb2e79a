//! The sections themselves, in the order of the documentation.
//!
//! Owns names, ranges, defaults and descriptions. Never does anything with them.

use std::time::Duration;

use super::alarms::ALARMS;
use super::discovery::{DISCOVERED, DISCOVERY};
use super::log::{FEEDBACK, LOG, RECORDING, SINK};
use super::models::MODEL;
use super::monitor::MONITOR;
use super::{Absent, Form, Key, Kind, Section};

pub(super) const MS: Duration = Duration::from_millis(1);
const TEN_MINUTES: Duration = Duration::from_secs(600);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
pub(super) const TIB: u64 = 1 << 40;

const MODELS_MAX: usize = 10_000;
const POOLS_MAX: usize = 10_000;
const ROUTES_MAX: usize = 10_000;
const SOURCES_MAX: usize = 64;
const BACKENDS_MAX: usize = 4096;
const ROUTE_HEADERS_MAX: usize = 32;
const SINKS_MAX: usize = 16;
const RANGES_MAX: usize = 1024;
const PATTERNS_MAX: usize = 64;

pub(super) const fn key(name: &'static str, kind: Kind, absent: Absent, doc: &'static str) -> Key {
    Key { name, kind, absent, doc }
}

pub(super) const fn section(
    what: &'static str,
    doc: &'static str,
    keys: &'static [Key],
) -> Section {
    Section { what, doc, keys, exactly_one: &[], at_most_one: &[] }
}

/// The top of the file.
pub(in crate::config) static TOP: Section = section(
    "the configuration",
    "The configuration of one pointsman.",
    &[
        key(
            "listen",
            Kind::Text(Form::Address),
            Absent::Error,
            "The address where predictions are served.",
        ),
        key(
            "admin",
            Kind::Text(Form::Address),
            Absent::Same("127.0.0.1:9901"),
            "The address of health, metrics and the admin API. Keep it private.",
        ),
        key(
            "data_dir",
            Kind::Text(Form::File),
            Absent::Same("data"),
            "The directory for everything that is kept, relative to this file.",
        ),
        key(
            "node",
            Kind::Text(Form::Node),
            Absent::Means("the host name"),
            "The name of this gateway in records and metrics.",
        ),
        key(
            "workers",
            Kind::Integer(1, 1024),
            Absent::Means("one for each core that this process may use"),
            "Data-plane workers; each is one thread with its own listener and connections.",
        ),
        key(
            "include",
            Kind::List(Form::Glob, 0, PATTERNS_MAX),
            Absent::Same("[]"),
            "Files to merge in, as patterns relative to this file; only the main file may include.",
        ),
        key("limits", Kind::Table(&LIMITS), Absent::Same("{}"), "What one client may ask for."),
        key(
            "forwarding",
            Kind::Table(&FORWARDING),
            Absent::Same("{}"),
            "Whose word about the client is believed, and what backends are told.",
        ),
        key(
            "protocols",
            Kind::Table(&PROTOCOLS),
            Absent::Same("{}"),
            "How prediction protocols are spoken towards clients.",
        ),
        key(
            "inference",
            Kind::Table(&INFERENCE),
            Absent::Same("{}"),
            "What loading and running models in this process may take.",
        ),
        key("log", Kind::Table(&LOG), Absent::Same("{}"), "The prediction log."),
        key(
            "sinks",
            Kind::Named(&SINK, "sink", SINKS_MAX),
            Absent::Same("{}"),
            "Where else the prediction log is delivered, by name.",
        ),
        key("feedback", Kind::Table(&FEEDBACK), Absent::Same("{}"), "Delayed ground truth."),
        key(
            "monitor",
            Kind::Table(&MONITOR),
            Absent::Same("{}"),
            "What is counted about versions, window by window.",
        ),
        key("alarms", Kind::Table(&ALARMS), Absent::Same("{}"), "What someone is called for."),
        key("drain", Kind::Table(&DRAIN), Absent::Same("{}"), "How the process ends."),
        key(
            "telemetry",
            Kind::Table(&TELEMETRY),
            Absent::Same("{}"),
            "Logging of the gateway's own doings.",
        ),
        key(
            "discovery",
            Kind::Named(&DISCOVERY, "source", SOURCES_MAX),
            Absent::Same("{}"),
            "Where versions and prediction servers are looked for, by name: `[discovery.fleet]`.",
        ),
        key(
            "models",
            Kind::Named(&MODEL, "model", MODELS_MAX),
            Absent::Same("{}"),
            "Models by name: `[models.fraud]`.",
        ),
        key(
            "pools",
            Kind::Named(&POOL, "pool", POOLS_MAX),
            Absent::Same("{}"),
            "Sets of interchangeable plain backends by name.",
        ),
        key(
            "routes",
            Kind::Named(&ROUTE, "route", ROUTES_MAX),
            Absent::Same("{}"),
            "Routing rules by name.",
        ),
    ],
);

/// `[limits]`.
pub(in crate::config) static LIMITS: Section = section(
    "the limits",
    "What one client may ask for.",
    &[
        key(
            "header_bytes",
            Kind::Size(KIB, MIB),
            Absent::Same("32KiB"),
            "Bytes of a request head; more is answered with 431.",
        ),
        key(
            "header_count",
            Kind::Integer(1, 1000),
            Absent::Same("100"),
            "Headers of a request; more is answered with 431.",
        ),
        key(
            "header_time",
            Kind::Duration(MS, HOUR),
            Absent::Same("10s"),
            "From the first byte of a request head to its end; longer is answered with 408.",
        ),
        key(
            "body",
            Kind::Size(1, TIB),
            Absent::Same("16MiB"),
            "Bytes of a request body; more is answered with 413.",
        ),
        key(
            "held_bodies",
            Kind::Size(MIB, 16 * TIB),
            Absent::Same("256MiB"),
            "Bytes of bodies that are held whole at a time, over all clients, but for the first 64KiB of each; more \
             is answered with 503.",
        ),
        key(
            "request_time",
            Kind::Duration(MS, DAY),
            Absent::Same("1m"),
            "The whole exchange, from the request head to the last byte of the response (504).",
        ),
        key(
            "idle",
            Kind::Duration(MS, DAY),
            Absent::Same("75s"),
            "How long an unused client connection is kept.",
        ),
        key(
            "connections",
            Kind::Integer(1, 1_000_000),
            Absent::Same("16384"),
            "Client connections, over all workers.",
        ),
        key(
            "streams",
            Kind::Integer(1, 10_000),
            Absent::Same("128"),
            "Requests at a time on one client connection of HTTP/2.",
        ),
    ],
);

/// `[forwarding]`.
pub(in crate::config) static FORWARDING: Section = section(
    "the forwarding",
    "The one trust rule for what a request says about where it came from.",
    &[
        key(
            "trust",
            Kind::List(Form::Cidr, 0, RANGES_MAX),
            Absent::Same("[]"),
            "Peers whose `X-Forwarded-*` headers are believed; those of others are replaced.",
        ),
        key(
            "via",
            Kind::Flag,
            Absent::Same("false"),
            "Whether `Via` is added towards backends and clients.",
        ),
    ],
);

/// `[protocols]`.
pub(in crate::config) static PROTOCOLS: Section = section(
    "the protocols",
    "How prediction protocols are spoken towards clients.",
    &[
        key(
            "strict_status",
            Kind::Word(&["sane", "triton"]),
            Absent::Same("sane"),
            "Statuses of the Open Inference Protocol: what HTTP says, or what Triton answers (500 for \
             a body that cannot be read, 400 for a model that is not ready).",
        ),
        key(
            "repository",
            Kind::Flag,
            Absent::Same("false"),
            "Whether clients may load and unload versions that run in this process, with the model \
             repository extension. Needs `repository_token`, unless `listen` is a loopback address.",
        ),
        key(
            "repository_token",
            Kind::Text(Form::Token),
            Absent::Means("none is asked for"),
            "What clients must bring to load and unload versions, as `authorization: Bearer TOKEN`.",
        ),
        key(
            "ask_interval",
            Kind::Duration(Duration::from_secs(1), DAY),
            Absent::Same("30s"),
            "How often backends with a `dialect` are asked what they speak and serve.",
        ),
    ],
);

/// `[inference]`.
pub(in crate::config) static INFERENCE: Section = section(
    "the inference",
    "What loading and running models in this process may take.",
    &[
        key(
            "threads",
            Kind::Integer(1, 1024),
            Absent::Means("one for each core that this process may use"),
            "Executor threads, for versions that are too slow for a worker.",
        ),
        key(
            "model_bytes",
            Kind::Size(1, TIB),
            Absent::Same("1GiB"),
            "Bytes of one model, with the data that it keeps in further files.",
        ),
        key(
            "memory",
            Kind::Size(1, TIB),
            Absent::Means("no limit"),
            "What all loaded models may take together, as `pointsman_model_memory_bytes` estimates it; \
             a model beyond it is not loaded.",
        ),
        key(
            "run_memory",
            Kind::Size(MIB, TIB),
            Absent::Same("1GiB"),
            "What the tensors inside of one run may take, as estimated from the graph for the sizes of the \
             request; a request beyond it is refused.",
        ),
        key(
            "isolate",
            Kind::Flag,
            Absent::Same("true"),
            "Whether a model is first looked at in a process of its own, within the bounds below.",
        ),
        key(
            "load_memory",
            Kind::Size(64 * MIB, TIB),
            Absent::Same("2GiB"),
            "What that process may allocate.",
        ),
        key(
            "load_time",
            Kind::Duration(Duration::from_secs(1), HOUR),
            Absent::Same("1m"),
            "How long that process may run.",
        ),
    ],
);

/// `[drain]`.
pub(in crate::config) static DRAIN: Section = section(
    "the drain",
    "How the process ends after SIGTERM.",
    &[
        key(
            "delay",
            Kind::Duration(Duration::ZERO, HOUR),
            Absent::Same("0s"),
            "Between readiness going off and the listeners closing, for load balancers to notice.",
        ),
        key(
            "timeout",
            Kind::Duration(Duration::ZERO, DAY),
            Absent::Same("30s"),
            "The longest wait for requests in flight after that.",
        ),
    ],
);

/// `[telemetry]`.
pub(in crate::config) static TELEMETRY: Section = section(
    "the telemetry",
    "Logging of the gateway's own doings.",
    &[
        key(
            "level",
            Kind::Text(Form::Level),
            Absent::Same("info"),
            "What is logged: a level, or levels by target as in `info,pointsman::proxy=debug`.",
        ),
        key("format", Kind::Word(&["human", "json"]), Absent::Same("human"), "How log lines look."),
    ],
);

pub(super) const RECORDING_KEY: Key = key(
    "log",
    Kind::Table(&RECORDING),
    Absent::Same("{}"),
    "What is recorded of its exchanges, where it differs from the level above: a route's word over \
     its model's, and that over `[log]`.",
);

pub(super) const BALANCE: Key = key(
    "balance",
    Kind::Word(&["round_robin", "least_in_flight"]),
    Absent::Same("round_robin"),
    "How one of several backends is chosen.",
);

pub(super) const TIMEOUTS_KEY: Key = key(
    "timeouts",
    Kind::Table(&TIMEOUTS),
    Absent::Same("{}"),
    "Limits in time towards the backends.",
);

pub(super) const KEEP_ALIVE_KEY: Key = key(
    "keep_alive",
    Kind::Table(&KEEP_ALIVE),
    Absent::Same("{}"),
    "Connections kept open to the backends between requests.",
);

pub(super) const HTTP2: Key = key(
    "http2",
    Kind::Flag,
    Absent::Same("false"),
    "Whether `backends` are spoken to over HTTP/2, without TLS. gRPC always is.",
);

pub(super) const BACKENDS: Kind = Kind::List(Form::Backend, 1, BACKENDS_MAX);

/// `timeouts = { … }`.
pub(in crate::config) static TIMEOUTS: Section = section(
    "the timeouts",
    "Limits in time towards a backend.",
    &[
        key(
            "connect",
            Kind::Duration(MS, TEN_MINUTES),
            Absent::Same("1s"),
            "Until the TCP connection stands.",
        ),
        key(
            "first_byte",
            Kind::Duration(MS, DAY),
            Absent::Same("30s"),
            "From the end of the request to the first byte of the response head.",
        ),
        key(
            "idle",
            Kind::Duration(MS, DAY),
            Absent::Same("30s"),
            "Between two pieces of a body, in either direction.",
        ),
    ],
);

/// `keep_alive = { … }`.
pub(in crate::config) static KEEP_ALIVE: Section = section(
    "the keep-alive",
    "Connections kept open to backends between requests.",
    &[
        key(
            "idle",
            Kind::Duration(MS, DAY),
            Absent::Same("1500ms"),
            "How long an unused connection is kept; keep it below the backend's own limit.",
        ),
        key("age", Kind::Duration(MS, DAY), Absent::Same("5m"), "How old a connection may become."),
        key(
            "connections",
            Kind::Integer(0, 65_536),
            Absent::Same("128"),
            "Unused connections kept for each backend and worker; 0 keeps none.",
        ),
    ],
);

/// `[pools.NAME]`.
pub(in crate::config) static POOL: Section = Section {
    what: "a pool",
    doc: "A set of interchangeable plain backends.",
    keys: &[
        key(
            "backends",
            BACKENDS,
            Absent::Means("the members are `discovered`"),
            "The members, each `http://HOST:PORT`; at least one.",
        ),
        DISCOVERED,
        HTTP2,
        BALANCE,
        TIMEOUTS_KEY,
        KEEP_ALIVE_KEY,
    ],
    exactly_one: &["backends", "discovered"],
    at_most_one: &[],
};

/// `[routes.NAME]`.
pub(in crate::config) static ROUTE: Section = Section {
    what: "a route",
    doc: "A rule that maps requests to a model or to a pool; all conditions must hold.",
    keys: &[
        key(
            "host",
            Kind::Text(Form::Host),
            Absent::Means("any host"),
            "The host name, without port.",
        ),
        key("path", Kind::Text(Form::Path), Absent::Means("any path"), "The whole path."),
        key(
            "path_prefix",
            Kind::Text(Form::PathPrefix),
            Absent::Means("any path"),
            "Leading whole segments: `/api` takes `/api` and `/api/x`, not `/apix`.",
        ),
        key(
            "method",
            Kind::Word(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]),
            Absent::Means("any method"),
            "The method.",
        ),
        key(
            "headers",
            Kind::Headers(ROUTE_HEADERS_MAX),
            Absent::Same("{}"),
            "Header names and the exact values that they must have.",
        ),
        key(
            "model",
            Kind::Text(Form::Reference),
            Absent::Means("the route leads to `pool`"),
            "The model that answers.",
        ),
        key(
            "version",
            Kind::Text(Form::Reference),
            Absent::Means("the model's split decides"),
            "The one version of the model that answers.",
        ),
        key(
            "pool",
            Kind::Text(Form::Reference),
            Absent::Means("the route leads to `model`"),
            "The pool of plain backends that answers.",
        ),
        RECORDING_KEY,
    ],
    exactly_one: &["model", "pool"],
    at_most_one: &["path", "path_prefix"],
};
