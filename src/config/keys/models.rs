//! The sections of models and their versions.
//!
//! Owns names, ranges, defaults and descriptions. Never does anything with them.

use std::time::Duration;

use super::alarms::MODEL_ALARMS;
use super::discovery::DISCOVERED;
use super::labels::LABELS;
use super::monitor::MODEL_MONITOR;
use super::releases::{EVICT, GUARD, RELEASE};
use super::sections::{
    BACKENDS, BALANCE, HOUR, HTTP2, KEEP_ALIVE_KEY, MS, RECORDING_KEY, TIMEOUTS_KEY, key, section,
};
use super::{Absent, Form, Kind, Section};

const VERSIONS_MAX: usize = 1000;
const ALIASES_MAX: usize = 1000;

/// `[models.NAME]`.
pub(in crate::config) static MODEL: Section = section(
    "a model",
    "A prediction contract that clients call, and its releases.",
    &[
        key(
            "versions",
            Kind::Named(&VERSION, "version", VERSIONS_MAX),
            Absent::Means("with `release`, those that are discovered"),
            "The releases by name: `[models.fraud.versions.v7]`; without `release` at least one. With it, \
             one that stands here counts as approved.",
        ),
        key(
            "traffic",
            Kind::Shares,
            Absent::Means("everything to the only version"),
            "The share of each version; must add up to 100 %. Needed with more than one version. With \
             `release`, evidence decides, and it must not be there.",
        ),
        key(
            "aliases",
            Kind::Aliases(ALIASES_MAX),
            Absent::Same("{}"),
            "Other names by which clients may ask for a version: `aliases = { prod = \"v3\" }`. TF \
             Serving calls them labels.",
        ),
        key(
            "sticky",
            Kind::Text(Form::Sticky),
            Absent::Means("every request is decided on its own"),
            "What keeps one caller on one version.",
        ),
        BALANCE,
        TIMEOUTS_KEY,
        KEEP_ALIVE_KEY,
        key(
            "execution",
            Kind::Table(&EXECUTION),
            Absent::Same("{}"),
            "How versions that run in this process are run.",
        ),
        RECORDING_KEY,
        key("monitor", Kind::Table(&MODEL_MONITOR), Absent::Same("{}"), "How it is monitored."),
        key(
            "alarms",
            Kind::Table(&MODEL_ALARMS),
            Absent::Same("{}"),
            "What someone is called for about it.",
        ),
        key(
            "labels",
            Kind::Table(&LABELS),
            Absent::Means("the quality of its predictions is not measured"),
            "What feedback says about its predictions.",
        ),
        key(
            "release",
            Kind::Table(&RELEASE),
            Absent::Means("versions and their shares are those of the configuration"),
            "How versions are released: the life cycle decides which of them answer, and not `traffic`.",
        ),
        key(
            "evict",
            Kind::Table(&EVICT),
            Absent::Means("with `release`, the defaults"),
            "When versions go; needs `release`.",
        ),
        key(
            "guard",
            Kind::Table(&GUARD),
            Absent::Means("with `release`, the defaults"),
            "What counts as broken; needs `release`.",
        ),
    ],
);

/// `[models.NAME.versions.VERSION]`.
pub(in crate::config) static VERSION: Section = Section {
    what: "a version",
    doc: "One release of a model: an ONNX file or prediction servers.",
    keys: &[
        key(
            "onnx",
            Kind::Text(Form::File),
            Absent::Means("the version is served by `backends` or `discovered`"),
            "An ONNX file that runs in this process, relative to this file.",
        ),
        key(
            "backends",
            BACKENDS,
            Absent::Means("the version is in `onnx` or `discovered`"),
            "Prediction servers, each `http://HOST:PORT`.",
        ),
        DISCOVERED,
        key(
            "dialect",
            Kind::Word(&[
                "ask",
                "open_inference",
                "open_inference_grpc",
                "kserve_v1",
                "tensorflow_serving",
                "torchserve",
                "sagemaker",
                "raw",
            ]),
            Absent::Means("what the client speaks: bytes pass as they are"),
            "What `backends` speak; with \"ask\" they are asked. A client that speaks something else is \
             translated.",
        ),
        HTTP2,
        key(
            "remote_model",
            Kind::Text(Form::RemoteName),
            Absent::Means("the same as here"),
            "The name of the model at `backends`.",
        ),
        key(
            "remote_version",
            Kind::Text(Form::RemoteName),
            Absent::Means("the backends are not told a version"),
            "The name of the version at `backends`, such as `3` for a Triton.",
        ),
        key(
            "raw",
            Kind::Table(&RAW),
            Absent::Means("the backends speak a dialect that is known"),
            "Where bodies of `backends` that speak the raw dialect have what.",
        ),
        key(
            "sagemaker",
            Kind::Table(&CONTAINER),
            Absent::Means("a container takes rows of JSON"),
            "What a SageMaker container takes, with `dialect = \"sagemaker\"` or `\"ask\"`.",
        ),
        key(
            "digest",
            Kind::Text(Form::Digest),
            Absent::Means("any content will do"),
            "The digest that the artifact of `onnx` must have.",
        ),
        key(
            "signature",
            Kind::Text(Form::PublicKey),
            Absent::Means("no signature is asked for"),
            "The public key that must have signed the artifact's digest, in a file `….onnx.sig`.",
        ),
        key(
            "ready",
            Kind::Flag,
            Absent::Same("false"),
            "Whether the file is only loaded when there is a `READY` beside it.",
        ),
        key(
            "batch",
            Kind::Table(&BATCH),
            Absent::Means("every request runs by itself"),
            "Requests that wait for an executor thread are run together, a row or more of each.",
        ),
    ],
    exactly_one: &["onnx", "backends", "discovered"],
    at_most_one: &[],
};

/// `raw = { … }`.
pub(in crate::config) static RAW: Section = section(
    "the raw dialect",
    "Where the bodies of a service that speaks no known dialect have what, as JSON pointers.",
    &[
        key(
            "path",
            Kind::Text(Form::Path),
            Absent::Same("/"),
            "The path to which predictions are posted.",
        ),
        key(
            "rows",
            Kind::Text(Form::Pointer),
            Absent::Means("the whole body is one row"),
            "The rows of a request.",
        ),
        key(
            "prediction",
            Kind::Text(Form::Pointer),
            Absent::Means("the whole body is the prediction"),
            "The prediction in a response.",
        ),
        key(
            "label",
            Kind::Text(Form::Pointer),
            Absent::Means("responses have no label"),
            "The label in a response.",
        ),
    ],
);

/// `sagemaker = { … }`.
pub(in crate::config) static CONTAINER: Section = section(
    "the container",
    "How a SageMaker container is asked for what its client says in other words.",
    &[key(
        "form",
        Kind::Word(&["json", "csv", "jsonlines", "open_inference"]),
        Absent::Same("json"),
        "The form of what is translated for it: rows of JSON under `instances`, a line of CSV or of JSON for each row, \
         or the Open Inference Protocol with binary tensors, as Triton's container takes it.",
    )],
);

/// `batch = { … }`.
pub(in crate::config) static BATCH: Section = section(
    "the batches",
    "How requests of one version are put together.",
    &[
        key(
            "max_size",
            Kind::Integer(1, 65_536),
            Absent::Same("32"),
            "The most rows of one run. A request that has more runs by itself.",
        ),
        key(
            "max_delay",
            Kind::Duration(Duration::ZERO, Duration::from_secs(1)),
            Absent::Same("0s"),
            "How long a request waits for others; with 0s for nothing but a free thread.",
        ),
    ],
);

/// `execution = { … }`.
pub(in crate::config) static EXECUTION: Section = section(
    "the execution",
    "How versions that run in this process are run.",
    &[
        key(
            "inline_below",
            Kind::Duration(Duration::ZERO, Duration::from_secs(1)),
            Absent::Same("200us"),
            "A version that was measured below this runs on the worker that received the request.",
        ),
        key(
            "queue",
            Kind::Integer(1, 1_000_000),
            Absent::Same("256"),
            "Requests that may wait for an executor thread.",
        ),
        key(
            "queue_time",
            Kind::Duration(MS, HOUR),
            Absent::Same("5s"),
            "How long a request may wait before it is refused.",
        ),
        key(
            "concurrency",
            Kind::Integer(1, 1024),
            Absent::Means("every executor thread"),
            "Executor threads that may run one version at once, so that others find some free.",
        ),
    ],
);
