//! The sections of discovery.
//!
//! Owns names, ranges, defaults and descriptions. Never does anything with them.

use std::time::Duration;

use super::sections::{DAY, HOUR, MS, key, section};
use super::{Absent, Form, Key, Kind, Section};

const SECOND: Duration = Duration::from_secs(1);

/// Which source a version or a pool takes its members from.
pub(super) const DISCOVERED: Key = key(
    "discovered",
    Kind::Text(Form::Reference),
    Absent::Means("the members are listed in `backends`"),
    "The source of discovery, `[discovery.NAME]`, whose servers are the members, live: one that appears is \
     used, one that goes is not. The last good set is kept, and it never shrinks to nothing.",
);

/// `[discovery.NAME]`.
pub(in crate::config) static DISCOVERY: Section = Section {
    what: "a source",
    doc: "A place where versions of models, or prediction servers, are looked for.",
    keys: &[
        key(
            "directory",
            Kind::Text(Form::File),
            Absent::Means("the source is another one"),
            "A directory of models, relative to this file: `MODEL/VERSION/model.onnx`.",
        ),
        key(
            "file",
            Kind::Text(Form::File),
            Absent::Means("the source is another one"),
            "A JSON or TOML file that lists prediction servers, relative to this file.",
        ),
        key(
            "dns",
            Kind::Text(Form::HostPort),
            Absent::Means("the source is another one"),
            "A host name and a port: each of its A and AAAA records is a prediction server.",
        ),
        key(
            "srv",
            Kind::Text(Form::Host),
            Absent::Means("the source is another one"),
            "A service name such as `_predict._tcp.example.org`: each of its SRV records is a prediction \
             server.",
        ),
        key(
            "lease",
            Kind::Duration(SECOND, DAY),
            Absent::Means("the source is another one"),
            "Prediction servers register themselves over the admin API, and renew within this time.",
        ),
        key(
            "catalogue",
            Kind::Text(Form::SinkUrl),
            Absent::Means("the source is another one"),
            "A URL that lists prediction servers, in the format of `file`. It is asked with the ETag of its \
             last answer.",
        ),
        key(
            "kubernetes",
            Kind::Table(&KUBERNETES),
            Absent::Means("the source is another one"),
            "The EndpointSlices of a Kubernetes cluster that have a label.",
        ),
        key(
            "environment",
            Kind::Text(Form::Node),
            Absent::Means("the source is another one"),
            "Environment variables that start so, such as `SERVICE_`: `SERVICE_IRIS=10.0.0.1:8000` is a \
             prediction server of the model `iris`.",
        ),
        key(
            "model",
            Kind::Text(Form::Name),
            Absent::Means("as is said there"),
            "The model of what is found, where that is not said there.",
        ),
        key(
            "version",
            Kind::Text(Form::Name),
            Absent::Means("as is said there; `v1` for `environment`"),
            "The version of what is found, where that is not said there.",
        ),
        key(
            "ask",
            Kind::Flag,
            Absent::Same("false"),
            "Whether prediction servers of which that is not said are asked, in the Open Inference \
             Protocol, which models and versions they have.",
        ),
        key(
            "interval",
            Kind::Duration(MS, HOUR),
            Absent::Same("30s"),
            "How often is looked, at least. A change of a file is seen at once where the system tells; DNS \
             is asked again when the time to live of its answer is over.",
        ),
        key(
            "shrink_after",
            Kind::Duration(Duration::ZERO, DAY),
            Absent::Same("10m"),
            "For how long the source must lack more than half of what was there before it is believed. An \
             empty answer never is.",
        ),
        key(
            "server",
            Kind::Text(Form::Address),
            Absent::Means("those of the system"),
            "The name server for `dns` and `srv`.",
        ),
        key(
            "ready",
            Kind::Flag,
            Absent::Same("false"),
            "Whether a folder of `directory` is complete only when it has a `READY`.",
        ),
        key(
            "settle",
            Kind::Duration(Duration::ZERO, HOUR),
            Absent::Same("5s"),
            "How long a folder of `directory` that has no `READY` must stay as it is before it is taken to \
             be complete.",
        ),
        key(
            "signature",
            Kind::Text(Form::PublicKey),
            Absent::Means("no signature is asked for"),
            "The public key that must have signed the digest of each version in `directory`, in a file \
             `model.onnx.sig` beside it. One without is quarantined.",
        ),
        key(
            "registrations",
            Kind::Integer(1, 4096),
            Absent::Same("1024"),
            "The most registrations of `lease`; more are refused.",
        ),
    ],
    exactly_one: &[
        "directory",
        "file",
        "dns",
        "srv",
        "lease",
        "catalogue",
        "kubernetes",
        "environment",
    ],
    at_most_one: &[],
};

/// `kubernetes = { … }`.
pub(in crate::config) static KUBERNETES: Section = section(
    "the cluster",
    "Which EndpointSlices are watched, and where.",
    &[
        key(
            "api",
            Kind::Text(Form::Backend),
            Absent::Error,
            "The API server over plain HTTP: as a rule a `kubectl proxy` beside the gateway.",
        ),
        key(
            "selector",
            Kind::Text(Form::Prose),
            Absent::Error,
            "The labels of the EndpointSlices, such as `kubernetes.io/service-name=fraud`.",
        ),
        key("namespace", Kind::Text(Form::Name), Absent::Same("default"), "Their namespace."),
        key(
            "port",
            Kind::Text(Form::Name),
            Absent::Means("the first port"),
            "The name of the port that predicts.",
        ),
        key(
            "token_file",
            Kind::Text(Form::File),
            Absent::Means("no token is sent"),
            "The file with the token for the API server. It is read for each request.",
        ),
    ],
);
