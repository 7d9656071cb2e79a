//! The statistics extension: what each version of a model has done.
//!
//! Owns the form of the counts in JSON and in gRPC, which is one set of types. Never counts anything.
//! Written to Triton 2.51; clients such as `perf_analyzer` read the difference between two answers.

use std::collections::BTreeMap;

use prost::Message;

use super::encode::separated;
use crate::protocol::json::{write_integer, write_string};

/// The answer to `ModelStatistics` and to `GET …/stats`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ModelStatisticsResponse {
    /// One entry a version.
    #[prost(message, repeated, tag = "1")]
    pub model_stats: Vec<ModelStatistics>,
}

/// What one version has done since it was loaded.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ModelStatistics {
    /// The model.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// When the last request was answered, in milliseconds since 1970; 0 before the first.
    #[prost(uint64, tag = "3")]
    pub last_inference: u64,
    /// The predictions: a request with a batch of 8 counts 8.
    #[prost(uint64, tag = "4")]
    pub inference_count: u64,
    /// The runs of the model: several requests in one batch count 1.
    #[prost(uint64, tag = "5")]
    pub execution_count: u64,
    /// Requests, by what they spent time with.
    #[prost(message, optional, tag = "6")]
    pub inference_stats: Option<InferStatistics>,
    /// Runs by their size.
    #[prost(message, repeated, tag = "7")]
    pub batch_stats: Vec<InferBatchStatistics>,
    /// Memory that the version holds.
    #[prost(message, repeated, tag = "8")]
    pub memory_usage: Vec<MemoryUsage>,
    /// Responses by their number within a request, for models that give several.
    #[prost(btree_map = "string, message", tag = "9")]
    pub response_stats: BTreeMap<String, InferResponseStatistics>,
}

/// A count and the time that all of them took together.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct StatisticDuration {
    /// How many.
    #[prost(uint64, tag = "1")]
    pub count: u64,
    /// Nanoseconds.
    #[prost(uint64, tag = "2")]
    pub ns: u64,
}

/// Requests, by what they spent time with.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct InferStatistics {
    /// From the arrival to the answer.
    #[prost(message, optional, tag = "1")]
    pub success: Option<StatisticDuration>,
    /// From the arrival to the failure.
    #[prost(message, optional, tag = "2")]
    pub fail: Option<StatisticDuration>,
    /// Waiting for the model.
    #[prost(message, optional, tag = "3")]
    pub queue: Option<StatisticDuration>,
    /// Decoding.
    #[prost(message, optional, tag = "4")]
    pub compute_input: Option<StatisticDuration>,
    /// In the model.
    #[prost(message, optional, tag = "5")]
    pub compute_infer: Option<StatisticDuration>,
    /// Encoding.
    #[prost(message, optional, tag = "6")]
    pub compute_output: Option<StatisticDuration>,
    /// Answered from a cache.
    #[prost(message, optional, tag = "7")]
    pub cache_hit: Option<StatisticDuration>,
    /// Looked for in a cache and not found.
    #[prost(message, optional, tag = "8")]
    pub cache_miss: Option<StatisticDuration>,
}

/// Runs with one number of predictions.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct InferBatchStatistics {
    /// The number.
    #[prost(uint64, tag = "1")]
    pub batch_size: u64,
    /// Decoding.
    #[prost(message, optional, tag = "2")]
    pub compute_input: Option<StatisticDuration>,
    /// In the model.
    #[prost(message, optional, tag = "3")]
    pub compute_infer: Option<StatisticDuration>,
    /// Encoding.
    #[prost(message, optional, tag = "4")]
    pub compute_output: Option<StatisticDuration>,
}

/// Responses with one number within their request.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct InferResponseStatistics {
    /// In the model.
    #[prost(message, optional, tag = "1")]
    pub compute_infer: Option<StatisticDuration>,
    /// Encoding.
    #[prost(message, optional, tag = "2")]
    pub compute_output: Option<StatisticDuration>,
    /// Responses that were given.
    #[prost(message, optional, tag = "3")]
    pub success: Option<StatisticDuration>,
    /// Responses that failed.
    #[prost(message, optional, tag = "4")]
    pub fail: Option<StatisticDuration>,
    /// Responses without outputs.
    #[prost(message, optional, tag = "5")]
    pub empty_response: Option<StatisticDuration>,
    /// Responses that the client gave up on.
    #[prost(message, optional, tag = "6")]
    pub cancel: Option<StatisticDuration>,
}

/// Memory of one kind.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MemoryUsage {
    /// The kind, such as `CPU`.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// Which of its kind.
    #[prost(int64, tag = "2")]
    pub id: i64,
    /// Its size.
    #[prost(uint64, tag = "3")]
    pub byte_size: u64,
}

/// A duration under its name.
type Named = (&'static str, Option<StatisticDuration>);

/// Encodes the answer to `GET …/stats`.
pub fn encode_statistics(statistics: &ModelStatisticsResponse) -> Vec<u8> {
    let mut out = b"{\"model_stats\":[".to_vec();
    separated(&mut out, statistics.model_stats.iter(), write_model);
    out.extend_from_slice(b"]}");
    out
}

fn write_model(out: &mut Vec<u8>, model: &ModelStatistics) {
    out.extend_from_slice(b"{\"name\":");
    write_string(out, &model.name);
    out.extend_from_slice(b",\"version\":");
    write_string(out, &model.version);
    for (name, value) in [
        ("last_inference", model.last_inference),
        ("inference_count", model.inference_count),
        ("execution_count", model.execution_count),
    ] {
        out.push(b',');
        write_string(out, name);
        out.push(b':');
        write_integer(out, value);
    }
    let requests = model.inference_stats.unwrap_or_default();
    out.extend_from_slice(b",\"inference_stats\":{");
    let durations: [Named; 8] = [
        ("success", requests.success),
        ("fail", requests.fail),
        ("queue", requests.queue),
        ("compute_input", requests.compute_input),
        ("compute_infer", requests.compute_infer),
        ("compute_output", requests.compute_output),
        ("cache_hit", requests.cache_hit),
        ("cache_miss", requests.cache_miss),
    ];
    separated(out, durations.into_iter(), write_duration);
    out.extend_from_slice(b"},\"response_stats\":{");
    separated(out, model.response_stats.iter(), |out, (number, responses)| {
        write_string(out, number);
        out.extend_from_slice(b":{");
        let durations: [Named; 6] = [
            ("compute_infer", responses.compute_infer),
            ("compute_output", responses.compute_output),
            ("success", responses.success),
            ("fail", responses.fail),
            ("empty_response", responses.empty_response),
            ("cancel", responses.cancel),
        ];
        separated(out, durations.into_iter(), write_duration);
        out.push(b'}');
    });
    out.extend_from_slice(b"},\"batch_stats\":[");
    separated(out, model.batch_stats.iter(), |out, batch| {
        out.extend_from_slice(b"{\"batch_size\":");
        write_integer(out, batch.batch_size);
        let durations: [Named; 3] = [
            ("compute_input", batch.compute_input),
            ("compute_infer", batch.compute_infer),
            ("compute_output", batch.compute_output),
        ];
        for duration in durations {
            out.push(b',');
            write_duration(out, duration);
        }
        out.push(b'}');
    });
    out.extend_from_slice(b"],\"memory_usage\":[");
    separated(out, model.memory_usage.iter(), |out, memory| {
        out.extend_from_slice(b"{\"type\":");
        write_string(out, &memory.r#type);
        out.extend_from_slice(b",\"id\":");
        write_integer(out, memory.id);
        out.extend_from_slice(b",\"byte_size\":");
        write_integer(out, memory.byte_size);
        out.push(b'}');
    });
    out.extend_from_slice(b"]}");
}

fn write_duration(out: &mut Vec<u8>, (name, duration): Named) {
    let duration = duration.unwrap_or_default();
    write_string(out, name);
    out.extend_from_slice(b":{\"count\":");
    write_integer(out, duration.count);
    out.extend_from_slice(b",\"ns\":");
    write_integer(out, duration.ns);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body that Triton 2.51.0 sent.
    #[test]
    fn statistics_are_byte_for_byte_those_of_triton() {
        let version = |version: &str| ModelStatistics {
            name: "ident".into(),
            version: version.into(),
            ..ModelStatistics::default()
        };
        let statistics = ModelStatisticsResponse { model_stats: vec![version("1"), version("3")] };
        let zeros = r#""inference_stats":{"success":{"count":0,"ns":0},"fail":{"count":0,"ns":0},"queue":{"count":0,"ns":0},"compute_input":{"count":0,"ns":0},"compute_infer":{"count":0,"ns":0},"compute_output":{"count":0,"ns":0},"cache_hit":{"count":0,"ns":0},"cache_miss":{"count":0,"ns":0}},"response_stats":{},"batch_stats":[],"memory_usage":[]}"#;
        let expected = format!(
            r#"{{"model_stats":[{{"name":"ident","version":"1","last_inference":0,"inference_count":0,"execution_count":0,{zeros},{{"name":"ident","version":"3","last_inference":0,"inference_count":0,"execution_count":0,{zeros}]}}"#
        );
        assert_eq!(String::from_utf8(encode_statistics(&statistics)), Ok(expected));
    }

    #[test]
    fn every_list_is_valid_json() {
        let duration = Some(StatisticDuration { count: 2, ns: u64::MAX });
        let responses = InferResponseStatistics { cancel: duration, ..Default::default() };
        let model = ModelStatistics {
            name: "a \"b\"".into(),
            batch_stats: vec![
                InferBatchStatistics {
                    batch_size: 1,
                    compute_infer: duration,
                    ..Default::default()
                },
                InferBatchStatistics { batch_size: 8, ..Default::default() },
            ],
            memory_usage: vec![MemoryUsage { r#type: "CPU".into(), id: 0, byte_size: 5 }],
            response_stats: BTreeMap::from([("0".into(), responses), ("1".into(), responses)]),
            inference_stats: Some(InferStatistics { queue: duration, ..Default::default() }),
            ..Default::default()
        };
        let body = encode_statistics(&ModelStatisticsResponse { model_stats: vec![model] });
        let json: serde_json::Value = serde_json::from_slice(&body).expect("valid JSON");
        let model = &json["model_stats"][0];
        assert_eq!(model["inference_stats"]["queue"]["ns"], u64::MAX);
        assert_eq!(model["batch_stats"][1]["batch_size"], 8);
        assert_eq!(model["response_stats"]["1"]["cancel"]["count"], 2);
        assert_eq!(model["memory_usage"][0]["type"], "CPU");
    }
}
