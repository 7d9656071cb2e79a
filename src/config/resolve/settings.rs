//! The sections that stand alone: limits, forwarding, log, feedback, drain, telemetry, and the small
//! tables about backends.
//!
//! Owns which field each key sets. Never looks at another section.

use crate::config::diagnostic::{Code, Finding};
use crate::config::form;
use crate::config::reader::Fields;
use crate::domain::spec::{
    Balance, BatchSpec, ContainerForm, Drain, DriftSpec, Execution, Extractors, FeedbackSpec,
    Forwarding, InferenceSpec, KeepAlive, Limits, LogFormat, LogSpec, ModelMonitorSpec,
    MonitorSpec, ParquetSpec, ProtocolSpec, RawSpec, Recording, StrictStatus, TelemetrySpec,
    Timeouts, WhenFull,
};
use crate::domain::stats::window::WindowLength;

use super::recording::{self, Above, Level};

pub(super) fn limits(fields: Fields<'_>) -> Limits {
    let default = Limits::default();
    let limits = Limits {
        header_bytes: bytes(&fields, "header_bytes", default.header_bytes),
        header_count: fields.integer("header_count").unwrap_or(default.header_count),
        header_time: fields.duration("header_time").unwrap_or(default.header_time),
        body: fields.size("body").unwrap_or(default.body),
        held_bodies: fields.size("held_bodies").unwrap_or(default.held_bodies),
        request_time: fields.duration("request_time").unwrap_or(default.request_time),
        idle: fields.duration("idle").unwrap_or(default.idle),
        connections: fields.integer("connections").unwrap_or(default.connections),
        streams: fields
            .integer("streams")
            .and_then(|streams| u32::try_from(streams).ok())
            .unwrap_or(default.streams),
    };
    if limits.held_bodies < limits.body {
        let message = "`limits.held_bodies` is smaller than the longest body";
        let key = if fields.key_place("held_bodies").is_some() { "held_bodies" } else { "body" };
        let finding = Finding::error(Code::OutOfRange, fields.place(key), message);
        fields.add(finding.help("allow at least `limits.body`, better several times as much"));
    }
    limits
}

pub(super) fn forwarding(fields: Fields<'_>) -> Forwarding {
    let trust = fields.list("trust", form::cidr).unwrap_or_default();
    Forwarding {
        trust: trust.into_iter().map(|range| range.value).collect(),
        via: fields.flag("via").unwrap_or_default(),
    }
}

/// Reads `[log]`; `feedback` says whether the file has `[feedback]`.
pub(super) fn log(fields: &Fields<'_>, feedback: bool) -> (LogSpec, Level) {
    let default = LogSpec::default();
    let queue = bytes(fields, "queue", default.queue);
    let above = Above { recording: &Recording::default(), queue, feedback };
    let level = recording::level(fields, above);
    let log = LogSpec {
        recording: level.recording.clone(),
        queue,
        block: fields.duration("block").unwrap_or(default.block),
        when_full: fields.word("when_full", when_full),
        segment: fields.size("segment").unwrap_or(default.segment),
        segment_age: fields.duration("segment_age").unwrap_or(default.segment_age),
        flush: fields.duration("flush").unwrap_or(default.flush),
        commit_interval: fields.duration("commit_interval").unwrap_or(default.commit_interval),
        sync_interval: fields.duration("sync_interval").unwrap_or(default.sync_interval),
        retain: fields.size("retain").unwrap_or(default.retain),
        retain_age: fields.duration("retain_age"),
        free: fields.ratio("free").unwrap_or(default.free),
        parquet: fields.table("parquet", parquet).unwrap_or_default(),
    };
    if log.retain < log.segment {
        let message = "`log.retain` is smaller than one segment";
        let place =
            fields.place(if fields.key_place("retain").is_some() { "retain" } else { "segment" });
        let finding = Finding::error(Code::OutOfRange, place, message);
        fields.add(finding.help("keep at least `log.segment`; the newest file is never deleted"));
    }
    (log, level)
}

fn parquet(fields: Fields<'_>) -> ParquetSpec {
    let default = ParquetSpec::default();
    let level = fields.integer("level").and_then(|level| i32::try_from(level).ok());
    ParquetSpec {
        enabled: fields.flag("enabled").unwrap_or(default.enabled),
        cpu: fields.ratio("cpu").unwrap_or(default.cpu),
        file: fields.size("file").unwrap_or(default.file),
        level: level.unwrap_or(default.level),
    }
}

pub(super) fn feedback(fields: Fields<'_>) -> FeedbackSpec {
    let default = FeedbackSpec::default();
    FeedbackSpec {
        window: fields.duration("window").unwrap_or(default.window),
        index: fields.integer("index").unwrap_or(default.index),
        body: fields.size("body").unwrap_or(default.body),
        memory: fields.size("memory").unwrap_or(default.memory),
    }
}

pub(super) fn monitor(fields: Fields<'_>) -> MonitorSpec {
    let default = MonitorSpec::default();
    MonitorSpec {
        enabled: fields.flag("enabled").unwrap_or(default.enabled),
        memory: fields.size("memory").unwrap_or(default.memory),
        queue: fields.size("queue").unwrap_or(default.queue),
        cpu: fields.ratio("cpu").unwrap_or(default.cpu),
        drift: fields.table("drift", drift).unwrap_or_default(),
    }
}

fn drift(fields: Fields<'_>) -> DriftSpec {
    let default = DriftSpec::default();
    DriftSpec {
        window: fields.word("window", WindowLength::from_word).unwrap_or(default.window),
        margin: fields.ratio("margin").unwrap_or(default.margin),
        quiet: fields.duration("quiet").unwrap_or(default.quiet),
    }
}

pub(super) fn model_monitor(fields: Fields<'_>) -> ModelMonitorSpec {
    ModelMonitorSpec {
        enabled: fields.flag("enabled").unwrap_or(true),
        features: fields.pointers("features"),
        outputs: fields.pointers("outputs"),
    }
}

pub(super) fn raw(fields: Fields<'_>) -> RawSpec {
    let pointer = |name: &str| fields.parse(name, form::pointer).map(|at| at.value);
    RawSpec {
        path: fields.parse("path", form::path).map(|at| at.value),
        extractors: Extractors {
            rows: pointer("rows"),
            prediction: pointer("prediction"),
            label: pointer("label"),
        },
    }
}

pub(super) fn container(fields: Fields<'_>) -> ContainerForm {
    let form = |word: &str| match word {
        "json" => Some(ContainerForm::Json),
        "csv" => Some(ContainerForm::Csv),
        "jsonlines" => Some(ContainerForm::JsonLines),
        "open_inference" => Some(ContainerForm::OpenInference),
        _ => None,
    };
    fields.word("form", form).unwrap_or_default()
}

/// `is_private` where only this machine reaches the data listener.
pub(super) fn protocols(fields: Fields<'_>, is_private: bool) -> ProtocolSpec {
    let default = ProtocolSpec::default();
    let repository = fields.flag("repository").unwrap_or_default();
    let repository_token = fields.secret("repository_token", form::token);
    if repository
        && !is_private
        && let (Some(place), None) =
            (fields.key_place("repository"), fields.key_place("repository_token"))
    {
        let message = "everybody who reaches `listen` could load and unload versions";
        let finding = Finding::error(Code::Missing, place, message);
        fields.add(finding.help("add repository_token = \"${env:NAME}\" next to `repository`"));
    }
    let strict = |word: &str| match word {
        "sane" => Some(StrictStatus::Sane),
        "triton" => Some(StrictStatus::Triton),
        _ => None,
    };
    ProtocolSpec {
        strict_status: fields.word("strict_status", strict).unwrap_or_default(),
        repository,
        repository_token,
        ask_interval: fields.duration("ask_interval").unwrap_or(default.ask_interval),
    }
}

pub(super) fn drain(fields: Fields<'_>) -> Drain {
    let default = Drain::default();
    Drain {
        delay: fields.duration("delay").unwrap_or(default.delay),
        timeout: fields.duration("timeout").unwrap_or(default.timeout),
    }
}

pub(super) fn telemetry(fields: Fields<'_>) -> TelemetrySpec {
    let default = TelemetrySpec::default();
    TelemetrySpec {
        level: fields.parse("level", form::level).map_or(default.level, |at| at.value),
        format: fields.word("format", log_format).unwrap_or(default.format),
    }
}

pub(super) fn balance(fields: &Fields<'_>) -> Balance {
    let pick = |word: &str| match word {
        "round_robin" => Some(Balance::RoundRobin),
        "least_in_flight" => Some(Balance::LeastInFlight),
        _ => None,
    };
    fields.word("balance", pick).unwrap_or_default()
}

pub(super) fn timeouts(fields: Fields<'_>) -> Timeouts {
    let default = Timeouts::default();
    Timeouts {
        connect: fields.duration("connect").unwrap_or(default.connect),
        first_byte: fields.duration("first_byte").unwrap_or(default.first_byte),
        idle: fields.duration("idle").unwrap_or(default.idle),
    }
}

pub(super) fn keep_alive(fields: Fields<'_>) -> KeepAlive {
    let default = KeepAlive::default();
    KeepAlive {
        idle: fields.duration("idle").unwrap_or(default.idle),
        age: fields.duration("age").unwrap_or(default.age),
        connections: fields.integer("connections").unwrap_or(default.connections),
    }
}

pub(super) fn execution(fields: Fields<'_>) -> Execution {
    let default = Execution::default();
    Execution {
        inline_below: fields.duration("inline_below").unwrap_or(default.inline_below),
        queue: fields.integer("queue").unwrap_or(default.queue),
        queue_time: fields.duration("queue_time").unwrap_or(default.queue_time),
        concurrency: fields.integer("concurrency"),
    }
}

pub(super) fn inference(fields: Fields<'_>) -> InferenceSpec {
    let default = InferenceSpec::default();
    InferenceSpec {
        threads: fields.integer("threads"),
        model_bytes: fields.size("model_bytes").unwrap_or(default.model_bytes),
        memory: fields.size("memory"),
        run_memory: fields.size("run_memory").unwrap_or(default.run_memory),
        isolate: fields.flag("isolate").unwrap_or(default.isolate),
        load_memory: fields.size("load_memory").unwrap_or(default.load_memory),
        load_time: fields.duration("load_time").unwrap_or(default.load_time),
    }
}

pub(super) fn batch(fields: Fields<'_>) -> BatchSpec {
    let default = BatchSpec::default();
    BatchSpec {
        max_size: fields.integer("max_size").unwrap_or(default.max_size),
        max_delay: fields.duration("max_delay").unwrap_or(default.max_delay),
    }
}

fn log_format(word: &str) -> Option<LogFormat> {
    match word {
        "human" => Some(LogFormat::Human),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

fn when_full(word: &str) -> Option<WhenFull> {
    match word {
        "drop" => Some(WhenFull::Drop),
        "refuse" => Some(WhenFull::Refuse),
        _ => None,
    }
}

/// A size as a number of bytes in memory.
pub(super) fn bytes(fields: &Fields<'_>, name: &str, default: usize) -> usize {
    fields.size(name).and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(default)
}
