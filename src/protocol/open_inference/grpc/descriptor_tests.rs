//! Holds the messages that are written by hand against the descriptors that reflection hands out.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

use super::super::*;
use super::*;
use crate::protocol::grpc::reflection::{
    Reflection, ReflectionAnswer, ReflectionQuestion, ServerReflectionRequest,
};

/// The part of `google/protobuf/descriptor.proto` that says which fields a message has.
#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(message, repeated, tag = "4")]
    message_type: Vec<Type>,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    field: Vec<Field>,
    #[prost(message, repeated, tag = "3")]
    nested_type: Vec<Self>,
}

#[derive(Clone, PartialEq, Message)]
struct Field {
    #[prost(uint32, tag = "3")]
    number: u32,
    #[prost(int32, tag = "4")]
    label: i32,
    #[prost(int32, tag = "5")]
    kind: i32,
}

impl Field {
    /// How the field looks on the wire; lists of numbers are packed.
    fn wire_type(&self) -> WireType {
        const REPEATED: i32 = 3;
        match self.kind {
            9 | 11 | 12 => WireType::LengthDelimited,
            _ if self.label == REPEATED => WireType::LengthDelimited,
            1 | 6 | 16 => WireType::SixtyFourBit,
            2 | 7 | 15 => WireType::ThirtyTwoBit,
            _ => WireType::Varint,
        }
    }
}

/// The fields of every message of the service by its name.
fn declared() -> BTreeMap<String, BTreeSet<(u32, u8)>> {
    let question = ReflectionQuestion::FileContainingSymbol(SERVICE.to_owned());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let answer = Reflection::new().expect("whole").answer(request).message_response;
    let Some(ReflectionAnswer::Files(files)) = answer else { panic!("no file") };
    let file = File::decode(&*files.file_descriptor_proto[0]).expect("a descriptor");
    let mut all = BTreeMap::new();
    let mut waiting = file.message_type;
    while let Some(message) = waiting.pop() {
        let fields = message.field.iter().map(|field| (field.number, field.wire_type() as u8));
        all.insert(message.name, fields.collect());
        waiting.extend(message.nested_type);
    }
    all
}

/// The fields that stand in an encoded message.
fn written(message: &impl Message) -> BTreeSet<(u32, u8)> {
    let bytes = message.encode_to_vec();
    let mut rest = bytes.as_slice();
    let mut fields = BTreeSet::new();
    while !rest.is_empty() {
        let (number, wire_type) = decode_key(&mut rest).expect("ours");
        fields.insert((number, wire_type as u8));
        skip_field(wire_type, number, &mut rest, DecodeContext::default()).expect("ours");
    }
    fields
}

fn infer_messages() -> Vec<(&'static str, BTreeSet<(u32, u8)>)> {
    let text = || "x".to_owned();
    let parameter = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
    let parameters = BTreeMap::from([(text(), parameter)]);
    let contents = InferTensorContents {
        bool_contents: vec![true],
        int_contents: vec![1],
        int64_contents: vec![1],
        uint_contents: vec![1],
        uint64_contents: vec![1],
        fp32_contents: vec![1.0],
        fp64_contents: vec![1.0],
        bytes_contents: vec![vec![1]],
    };
    let tensor = InferTensor {
        name: text(),
        datatype: text(),
        shape: vec![1],
        parameters: parameters.clone(),
        contents: Some(contents.clone()),
    };
    let output = InferRequestedOutput { name: text(), parameters: parameters.clone() };
    let response = ModelInferResponse {
        model_name: text(),
        model_version: text(),
        id: text(),
        parameters: parameters.clone(),
        outputs: vec![tensor.clone()],
        raw_output_contents: vec![Bytes::from_static(b"x")],
    };
    let request = ModelInferRequest {
        model_name: text(),
        model_version: text(),
        id: text(),
        parameters,
        inputs: vec![tensor.clone()],
        outputs: vec![output.clone()],
        raw_input_contents: vec![Bytes::from_static(b"x")],
    };
    vec![
        ("InferTensorContents", written(&contents)),
        ("InferInputTensor", written(&tensor)),
        ("InferOutputTensor", written(&tensor)),
        ("InferRequestedOutputTensor", written(&output)),
        ("ModelInferRequest", written(&request)),
        ("ModelInferResponse", written(&response)),
        (
            "ModelStreamInferResponse",
            written(&ModelStreamInferResponse {
                error_message: text(),
                infer_response: Some(response),
            }),
        ),
    ]
}

fn statistics_messages() -> Vec<(&'static str, BTreeSet<(u32, u8)>)> {
    let text = || "x".to_owned();
    let one = StatisticDuration { count: 1, ns: 1 };
    let duration = Some(one);
    let requests = InferStatistics {
        success: duration,
        fail: duration,
        queue: duration,
        compute_input: duration,
        compute_infer: duration,
        compute_output: duration,
        cache_hit: duration,
        cache_miss: duration,
    };
    let batch = InferBatchStatistics {
        batch_size: 1,
        compute_input: duration,
        compute_infer: duration,
        compute_output: duration,
    };
    let memory = MemoryUsage { r#type: text(), id: 1, byte_size: 1 };
    let statistics = ModelStatistics {
        name: text(),
        version: text(),
        last_inference: 1,
        inference_count: 1,
        execution_count: 1,
        inference_stats: Some(requests),
        batch_stats: vec![batch],
        memory_usage: vec![memory.clone()],
        response_stats: BTreeMap::from([(text(), InferResponseStatistics::default())]),
    };
    vec![
        ("StatisticDuration", written(&one)),
        ("InferStatistics", written(&requests)),
        ("InferBatchStatistics", written(&batch)),
        ("MemoryUsage", written(&memory)),
        ("ModelStatistics", written(&statistics)),
    ]
}

fn model_messages() -> Vec<(&'static str, BTreeSet<(u32, u8)>)> {
    let text = || "x".to_owned();
    let input = ModelInput { name: text(), data_type: 1, dims: vec![1], optional: true };
    let output = ModelOutput { name: text(), data_type: 1, dims: vec![1], label_filename: text() };
    let batching =
        ModelDynamicBatching { preferred_batch_size: vec![1], max_queue_delay_microseconds: 1 };
    let config = ModelConfig {
        name: text(),
        platform: text(),
        backend: text(),
        version_policy: Some(ModelVersionPolicy::default()),
        max_batch_size: 1,
        input: vec![input.clone()],
        output: vec![output.clone()],
        dynamic_batching: Some(batching.clone()),
        parameters: BTreeMap::from([(text(), ModelParameter::default())]),
        model_transaction_policy: Some(ModelTransactionPolicy::default()),
        response_cache: Some(ModelResponseCache::default()),
    };
    let metadata = ModelMetadataResponse {
        name: text(),
        versions: vec![text()],
        platform: text(),
        inputs: vec![TensorMetadata::default()],
        outputs: vec![TensorMetadata::default()],
        properties: BTreeMap::from([(text(), text())]),
    };
    let tensor = TensorMetadata { name: text(), datatype: text(), shape: vec![1] };
    let index = ModelIndex { name: text(), version: text(), state: text(), reason: text() };
    let repository = RepositoryModelRequest {
        repository_or_model_name: text(),
        model_name: text(),
        parameters: BTreeMap::from([(text(), ModelRepositoryParameter::default())]),
    };
    let done = RepositoryModelResponse { model_name: text(), done: true };
    let model = ModelRequest { name: text(), version: text() };
    let index_request = RepositoryIndexRequest { repository_name: text(), ready: true };
    let server = ServerMetadataResponse { name: text(), version: text(), extensions: vec![text()] };
    vec![
        ("ModelInput", written(&input)),
        ("ModelOutput", written(&output)),
        ("ModelDynamicBatching", written(&batching)),
        ("ModelConfig", written(&config)),
        ("ModelMetadataResponse", written(&metadata)),
        ("TensorMetadata", written(&tensor)),
        ("ModelIndex", written(&index)),
        ("RepositoryIndexRequest", written(&index_request)),
        ("RepositoryModelLoadRequest", written(&repository)),
        ("RepositoryModelUnloadRequest", written(&repository)),
        ("RepositoryModelLoadResponse", written(&done)),
        ("RepositoryModelUnloadResponse", written(&done)),
        ("ModelReadyRequest", written(&model)),
        ("ModelMetadataRequest", written(&model)),
        ("ModelConfigRequest", written(&model)),
        ("ModelStatisticsRequest", written(&model)),
        ("ServerMetadataResponse", written(&server)),
        ("ServerLiveResponse", written(&ServerLiveResponse { live: true })),
        ("ServerReadyResponse", written(&ReadyResponse { ready: true })),
        ("ModelReadyResponse", written(&ReadyResponse { ready: true })),
    ]
}

#[test]
fn messages_have_the_fields_that_the_descriptors_declare() {
    let declared = declared();
    let messages = [infer_messages(), statistics_messages(), model_messages()].concat();
    for (name, fields) in messages {
        assert_eq!(declared.get(name), Some(&fields), "{name}");
    }
}

#[test]
fn parameters_have_the_choices_that_the_descriptors_declare() {
    let choices = [
        ParameterChoice::BoolParam(true),
        ParameterChoice::Int64Param(1),
        ParameterChoice::StringParam("x".into()),
        ParameterChoice::DoubleParam(1.0),
        ParameterChoice::Uint64Param(1),
    ];
    let parameter = |choice| written(&InferParameter { parameter_choice: Some(choice) });
    let fields: BTreeSet<_> = choices.into_iter().flat_map(parameter).collect();
    assert_eq!(declared().get("InferParameter"), Some(&fields));
    let choices = [
        RepositoryParameterChoice::BoolParam(true),
        RepositoryParameterChoice::Int64Param(1),
        RepositoryParameterChoice::StringParam("x".into()),
        RepositoryParameterChoice::BytesParam(Bytes::from_static(b"x")),
    ];
    let parameter = |choice| written(&ModelRepositoryParameter { parameter_choice: Some(choice) });
    let fields: BTreeSet<_> = choices.into_iter().flat_map(parameter).collect();
    assert_eq!(declared().get("ModelRepositoryParameter"), Some(&fields));
}
