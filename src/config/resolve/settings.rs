//! The sections that stand alone: limits, forwarding, log, drain, telemetry, and the small tables
//! about backends.
//!
//! Owns which field each key sets. Never looks at another section.

use crate::config::diagnostic::{Code, Finding};
use crate::config::form;
use crate::config::reader::Fields;
use crate::domain::spec::{
    Balance, Drain, Durability, Execution, Forwarding, KeepAlive, Limits, LogFormat, LogSpec,
    Recording, TelemetrySpec, Timeouts,
};

/// Headers whose values are secrets by their nature.
const SECRET_HEADERS: [&str; 5] =
    ["authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key"];

pub(super) fn limits(fields: Fields<'_>) -> Limits {
    let default = Limits::default();
    Limits {
        header_bytes: bytes(&fields, "header_bytes", default.header_bytes),
        header_count: fields.integer("header_count").unwrap_or(default.header_count),
        header_time: fields.duration("header_time").unwrap_or(default.header_time),
        body: fields.size("body").unwrap_or(default.body),
        request_time: fields.duration("request_time").unwrap_or(default.request_time),
        idle: fields.duration("idle").unwrap_or(default.idle),
        connections: fields.integer("connections").unwrap_or(default.connections),
    }
}

pub(super) fn forwarding(fields: Fields<'_>) -> Forwarding {
    let trust = fields.list("trust", form::cidr).unwrap_or_default();
    Forwarding {
        trust: trust.into_iter().map(|range| range.value).collect(),
        via: fields.flag("via").unwrap_or_default(),
    }
}

pub(super) fn log(fields: Fields<'_>) -> LogSpec {
    let default = LogSpec::default();
    let headers = fields.list("headers", form::header_name).unwrap_or_default();
    for header in &headers {
        if SECRET_HEADERS.contains(&header.value.as_str()) {
            let message = format!("the prediction log will hold the secrets of {}", header.shown());
            fields.add(Finding::warning(Code::LogRisk, header.place, message));
        }
    }
    let recording = Recording {
        durability: fields.word("durability", Durability::from_word).unwrap_or_default(),
        body_limit: bytes(&fields, "body", default.recording.body_limit),
        headers: headers.into_iter().map(|header| header.value).collect(),
        ..Recording::default()
    };
    let log = LogSpec {
        recording,
        queue: bytes(&fields, "queue", default.queue),
        segment: fields.size("segment").unwrap_or(default.segment),
        flush: fields.duration("flush").unwrap_or(default.flush),
        retain: fields.size("retain").unwrap_or(default.retain),
        ..default
    };
    if log.retain < log.segment {
        let message = "`log.retain` is smaller than one segment";
        let place =
            fields.place(if fields.key_place("retain").is_some() { "retain" } else { "segment" });
        let finding = Finding::error(Code::OutOfRange, place, message);
        fields.add(finding.help("keep at least `log.segment`; the newest file is never deleted"));
    }
    let bodies = log.recording.body_limit.saturating_mul(2);
    if bodies > log.queue {
        let message = "a record with two bodies of `log.body` does not fit into `log.queue`";
        let place = fields.place(if fields.key_place("body").is_some() { "body" } else { "queue" });
        let finding = Finding::warning(Code::LogRisk, place, message);
        fields.add(finding.help("such records would be dropped: lower `body` or raise `queue`"));
    }
    log
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
    }
}

fn log_format(word: &str) -> Option<LogFormat> {
    match word {
        "human" => Some(LogFormat::Human),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

fn bytes(fields: &Fields<'_>, name: &str, default: usize) -> usize {
    fields.size(name).and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(default)
}
