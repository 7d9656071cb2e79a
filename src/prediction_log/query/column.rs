//! The columns of a row, by name, and their values.
//!
//! Owns the list of names, which are those of the record schema, and their types. Never formats for
//! people. A row of feedback or a gap has no value in the columns of an exchange, and the reverse.

use std::borrow::Cow;

use super::json::{Headers, body};
use super::text::{hex, timestamp};
use crate::domain::record::{
    Entry, FeedbackRecord, FeedbackTarget, GapRecord, Kind, Omission, PredictionRecord, Side,
};
use crate::domain::spec::Durability;
use crate::prediction_log::Row;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Text.
    Text,
    /// A number.
    Number,
    /// A stretch of time.
    Duration,
    /// A point in time.
    Time,
    /// True or false.
    Bool,
}

impl Type {
    /// What it is, with its article.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Duration => "a duration",
            Self::Time => "a time",
            Self::Bool => "a truth value",
        }
    }
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// None.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any number.
    Float(f64),
    /// Nanoseconds.
    Duration(u64),
    /// Microseconds since the Unix epoch.
    Time(u64),
    /// Text.
    Text(Cow<'a, str>),
}

impl Value<'_> {
    /// The value as a cell of a table: empty for none, durations in microseconds, times as RFC 3339.
    pub fn cell(&self) -> Cow<'_, str> {
        match self {
            Self::Null => Cow::Borrowed(""),
            Self::Bool(is) => Cow::Borrowed(if *is { "true" } else { "false" }),
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Float(number) => Cow::Owned(number.to_string()),
            Self::Duration(ns) => Cow::Owned((ns / 1000).to_string()),
            Self::Time(us) => Cow::Owned(timestamp(*us)),
            Self::Text(text) => Cow::Borrowed(text),
        }
    }
}

macro_rules! columns {
    ($($variant:ident $name:literal $kind:ident,)+) => {
        /// A column; what it means is said at [`PredictionRecord`], [`FeedbackRecord`] and [`GapRecord`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Column { $(#[doc = concat!("`", $name, "`")] $variant,)+ }

        impl Column {
            /// All columns in the order in which they are printed.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in the record schema.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it holds.
            pub const fn kind(self) -> Type {
                match self { $(Self::$variant => Type::$kind,)+ }
            }
        }
    };
}

columns! {
    Lsn "lsn" Number,
    RecordId "record_id" Text,
    Kind "kind" Text,
    RequestId "request_id" Text,
    TraceId "trace_id" Text,
    SpanId "span_id" Text,
    ParentRecordId "parent_record_id" Text,
    Ts "ts" Time,
    ReplicaId "replica_id" Text,
    Route "route" Text,
    Protocol "protocol" Text,
    Model "model" Text,
    ModelVersion "model_version" Text,
    ModelDigest "model_digest" Text,
    Backend "backend" Text,
    DecisionReason "decision_reason" Text,
    WeightEpoch "weight_epoch" Number,
    Entropy "entropy" Number,
    Attempt "attempt" Number,
    Method "method" Text,
    Path "path" Text,
    Client "client" Text,
    ReqContentType "req_content_type" Text,
    ReqContentEncoding "req_content_encoding" Text,
    ReqHeaders "req_headers" Text,
    ReqBody "req_body" Text,
    ReqBodyEncoding "req_body_encoding" Text,
    ReqBytes "req_bytes" Number,
    ReqCaptured "req_captured" Number,
    ReqHash "req_hash" Text,
    ReqOmission "req_omission" Text,
    RespContentType "resp_content_type" Text,
    RespContentEncoding "resp_content_encoding" Text,
    RespHeaders "resp_headers" Text,
    RespBody "resp_body" Text,
    RespBodyEncoding "resp_body_encoding" Text,
    RespBytes "resp_bytes" Number,
    RespCaptured "resp_captured" Number,
    RespHash "resp_hash" Text,
    RespOmission "resp_omission" Text,
    Status "status" Number,
    GrpcStatus "grpc_status" Number,
    Outcome "outcome" Text,
    ErrorCode "error_code" Text,
    ErrorDetail "error_detail" Text,
    TTotal "t_total" Duration,
    TQueue "t_queue" Duration,
    TRoute "t_route" Duration,
    TUpstreamConnect "t_upstream_connect" Duration,
    TTtfb "t_ttfb" Duration,
    TInfer "t_infer" Duration,
    SampleRate "sample_rate" Number,
    BatchSize "batch_size" Number,
    Durability "durability" Text,
    Replayed "replayed" Bool,
    ClockStepped "clock_stepped" Bool,
    ReqRedacted "req_redacted" Number,
    ReqChunks "req_chunks" Number,
    RespRedacted "resp_redacted" Number,
    RespChunks "resp_chunks" Number,
    FeedbackKey "feedback_key" Text,
    Session "session" Text,
    SchemaVersion "schema_version" Number,
    FeedbackId "feedback_id" Text,
    TargetRecordId "target_record_id" Text,
    TargetRequestId "target_request_id" Text,
    TargetFeedbackKey "target_feedback_key" Text,
    Metric "metric" Text,
    Value "value" Number,
    Label "label" Text,
    Source "source" Text,
    Observed "observed" Time,
    Retracted "retracted" Bool,
    GapReason "gap_reason" Text,
    GapFirstLsn "gap_first_lsn" Number,
    GapLastLsn "gap_last_lsn" Number,
    GapRecords "gap_records" Number,
    GapConsumer "gap_consumer" Text,
    GapDetail "gap_detail" Text,
}

impl Column {
    /// The column of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|column| column.name() == name)
    }

    /// The column whose name is most like `name`, if one is.
    pub fn suggestion(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let alike = |column: &Self| (strsim::jaro_winkler(&name, column.name()) * 1e6) as u64;
        let nearest = Self::ALL.iter().copied().max_by_key(alike)?;
        // A part of a name, such as `version`, is nearer to the whole than any other name.
        let part = Self::ALL.iter().copied().find(|column| {
            name.len() > 3 && column.name().split('_').any(|word| word == name.as_str())
        });
        part.or_else(|| (alike(&nearest) > 800_000).then_some(nearest))
    }

    /// Whether it holds a body, or says how a body is written.
    pub const fn is_body(self) -> bool {
        matches!(
            self,
            Self::ReqBody | Self::ReqBodyEncoding | Self::RespBody | Self::RespBodyEncoding
        )
    }

    /// Its value in `row`.
    pub fn value<'a>(self, row: &'a Row<'_>) -> Value<'a> {
        match self {
            Self::Lsn => int(row.lsn),
            Self::ReplicaId => text(row.node),
            Self::SchemaVersion => int(row.schema_version),
            _ => match &row.entry {
                Entry::Prediction(record) => self.of_prediction(record),
                Entry::Feedback(feedback) => self.of_feedback(feedback),
                Entry::Gap(gap) => self.of_gap(gap),
            },
        }
    }

    fn of_prediction<'a>(self, record: &'a PredictionRecord<'_>) -> Value<'a> {
        let (decision, latency) = (&record.decision, &record.latency);
        match self {
            Self::RecordId => owned(record.record_id.to_string()),
            Self::Kind => text(record.kind.as_str()),
            Self::RequestId => text(record.request_id),
            Self::TraceId => optional(record.trace_id.map(|id| hex(&id)), owned),
            Self::SpanId => optional(record.span_id.map(|id| hex(&id)), owned),
            Self::ParentRecordId => optional(record.parent_record_id, |id| owned(id.to_string())),
            Self::Ts => Value::Time(record.ts_us),
            Self::Route => text(decision.route),
            Self::Protocol => text(decision.protocol.as_str()),
            Self::Model => text(decision.model),
            Self::ModelVersion => text(decision.model_version),
            Self::ModelDigest => optional(decision.model_digest, |digest| owned(hex(&digest))),
            Self::Backend => text(decision.backend),
            Self::DecisionReason => text(decision.reason),
            Self::WeightEpoch => int(decision.generation.0),
            Self::Entropy => int(decision.entropy.0),
            Self::Attempt => int(decision.attempt),
            Self::Method => text(record.method),
            Self::Path => text(record.path),
            Self::Client => text(record.client),
            Self::Status => int(record.status),
            Self::GrpcStatus => optional(record.grpc_status, int),
            Self::Outcome => text(record.outcome.as_str()),
            Self::ErrorCode => text(record.error_code),
            Self::ErrorDetail => text(record.error_detail),
            Self::TTotal => duration(Some(latency.t_total)),
            Self::TQueue => duration(latency.t_queue),
            Self::TRoute => duration(latency.t_route),
            Self::TUpstreamConnect => duration(latency.t_upstream_connect),
            Self::TTtfb => duration(latency.t_ttfb),
            Self::TInfer => duration(latency.t_infer),
            Self::SampleRate => Value::Float(widened(record.sample_rate)),
            Self::BatchSize => optional(record.batch_size, int),
            Self::Durability => optional(record.durability, |mode: Durability| text(mode.as_str())),
            Self::Replayed => Value::Bool(record.flags.replayed),
            Self::ClockStepped => Value::Bool(record.flags.clock_stepped),
            Self::FeedbackKey => text(record.feedback_key),
            Self::Session => text(record.session),
            _ => self.of_sides(&record.request, &record.response),
        }
    }

    fn of_sides<'a>(self, request: &'a Side<'_>, response: &'a Side<'_>) -> Value<'a> {
        match self {
            Self::ReqContentType => text(request.content_type),
            Self::ReqContentEncoding => text(request.content_encoding),
            Self::ReqHeaders => headers(request),
            Self::ReqBody => owned(body(&request.body).0),
            Self::ReqBodyEncoding => text(body(&request.body).1),
            Self::ReqBytes => int(request.bytes),
            Self::ReqCaptured => int(request.body.len() as u64),
            Self::ReqHash => owned(hex(&request.hash)),
            Self::ReqOmission => omission(request),
            Self::ReqRedacted => int(request.redacted),
            Self::ReqChunks => int(request.chunks),
            Self::RespContentType => text(response.content_type),
            Self::RespContentEncoding => text(response.content_encoding),
            Self::RespHeaders => headers(response),
            Self::RespBody => owned(body(&response.body).0),
            Self::RespBodyEncoding => text(body(&response.body).1),
            Self::RespBytes => int(response.bytes),
            Self::RespCaptured => int(response.body.len() as u64),
            Self::RespHash => owned(hex(&response.hash)),
            Self::RespOmission => omission(response),
            Self::RespRedacted => int(response.redacted),
            Self::RespChunks => int(response.chunks),
            _ => Value::Null,
        }
    }

    fn of_feedback<'a>(self, feedback: &'a FeedbackRecord<'_>) -> Value<'a> {
        match (self, feedback.target) {
            (Self::RecordId, _) => owned(feedback.record_id.to_string()),
            (Self::Kind, _) => text(Kind::Feedback.as_str()),
            (Self::Ts, _) => Value::Time(feedback.ts_us),
            (Self::Model, _) => text(feedback.model),
            (Self::FeedbackId, _) => text(feedback.feedback_id),
            (Self::TargetRecordId, FeedbackTarget::Prediction(id)) => owned(id.to_string()),
            (Self::TargetRequestId, FeedbackTarget::Request(target))
            | (Self::TargetFeedbackKey, FeedbackTarget::Key(target)) => text(target),
            (Self::Metric, _) => text(feedback.metric),
            (Self::Value, _) => optional(feedback.value, Value::Float),
            (Self::Label, _) => optional(feedback.label, |label| Value::Text(label.into())),
            (Self::Source, _) => text(feedback.source),
            (Self::Observed, _) => optional(feedback.observed_us, Value::Time),
            (Self::Retracted, _) => Value::Bool(feedback.retracted),
            _ => Value::Null,
        }
    }

    fn of_gap<'a>(self, gap: &'a GapRecord<'_>) -> Value<'a> {
        match self {
            Self::Kind => text(Kind::Gap.as_str()),
            Self::Ts => Value::Time(gap.ts_us),
            Self::GapReason => text(gap.reason.as_str()),
            Self::GapFirstLsn => optional(gap.lsns, |lsns| int(lsns.0)),
            Self::GapLastLsn => optional(gap.lsns, |lsns| int(lsns.1)),
            Self::GapRecords => int(gap.records),
            Self::GapConsumer => text(gap.consumer),
            Self::GapDetail => text(gap.detail),
            _ => Value::Null,
        }
    }
}

fn text(text: &str) -> Value<'_> {
    if text.is_empty() { Value::Null } else { Value::Text(text.into()) }
}

fn owned<'a>(text: String) -> Value<'a> {
    Value::Text(text.into())
}

fn int<'a>(number: impl Into<u64>) -> Value<'a> {
    Value::Int(number.into().into())
}

fn duration<'a>(us: Option<u32>) -> Value<'a> {
    optional(us, |us| Value::Duration(u64::from(us) * 1000))
}

fn optional<'a, T>(value: Option<T>, map: impl FnOnce(T) -> Value<'a>) -> Value<'a> {
    value.map_or(Value::Null, map)
}

fn omission<'a>(side: &Side<'_>) -> Value<'a> {
    optional(side.omission, |omission: Omission| text(omission.as_str()))
}

fn headers<'a>(side: &'a Side<'_>) -> Value<'a> {
    owned(serde_json::to_string(&Headers(&side.headers)).unwrap_or_default())
}

/// The number that was meant: 0.1 and not 0.10000000149.
fn widened(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::RecordId;
    use crate::domain::record::GapReason;
    use crate::prediction_log::tests::sample::record;

    /// Every column of every kind of row says the same as the JSON form.
    #[test]
    fn values_are_those_of_the_json_form() {
        let feedback = FeedbackRecord {
            record_id: RecordId::from_parts(5, [1; 10]),
            feedback_id: "f",
            ts_us: 5_000,
            target: FeedbackTarget::Key("order-1"),
            model: "iris",
            metric: "reward",
            value: Some(0.5),
            label: None,
            source: "app",
            observed_us: Some(7),
            retracted: false,
        };
        let gap = GapRecord {
            ts_us: 9,
            reason: GapReason::NoSpace,
            lsns: Some((3, 4)),
            records: 2,
            consumer: "lake",
            detail: "",
        };
        for entry in [
            Entry::Prediction(record(1_700_000_000_000_000, b"x")),
            Entry::Feedback(feedback),
            Entry::Gap(gap),
        ] {
            let row = Row { lsn: 7, node: "edge-1", schema_version: 1, entry };
            let mut line = Vec::new();
            super::super::json::write_row(&row, &mut line).expect("written");
            let json: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(&line).expect("an object");
            for name in json.keys() {
                let known = Column::from_name(name).is_some()
                    || ["gap_segment", "gap_offset", "gap_bytes"].contains(&name.as_str());
                assert!(known, "{name} is a column");
            }
            for column in Column::ALL {
                let value = column.value(&row);
                let Some(printed) = json.get(column.name()) else { continue };
                let printed = match printed {
                    serde_json::Value::Null => String::new(),
                    serde_json::Value::String(text) => text.clone(),
                    // 1.0 is printed as 1 in a table.
                    serde_json::Value::Number(number) => {
                        number.to_string().trim_end_matches(".0").to_owned()
                    }
                    other => other.to_string(),
                };
                assert_eq!(value.cell(), printed, "{}", column.name());
            }
        }
    }

    #[test]
    fn names_that_are_nearly_right_have_a_suggestion() {
        assert_eq!(Column::suggestion("statsu"), Some(Column::Status));
        assert_eq!(Column::suggestion("version"), Some(Column::ModelVersion));
        assert_eq!(Column::suggestion("latency_xyz"), None);
    }
}
