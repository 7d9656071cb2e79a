use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::protocol::grpc::{FrameReader, reflection};
use crate::protocol::infer::{Parameter, RequestedOutput};
use crate::protocol::tensor::{Tensor, TensorData, arbitrary};

fn input(name: &str, datatype: &str, shape: &[i64]) -> InferTensor {
    InferTensor {
        name: name.into(),
        datatype: datatype.into(),
        shape: shape.to_vec(),
        ..InferTensor::default()
    }
}

fn typed(input: InferTensor, contents: InferTensorContents) -> InferTensor {
    InferTensor { contents: Some(contents), ..input }
}

fn message(inputs: Vec<InferTensor>, raw: &[&'static [u8]]) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "m".into(),
        inputs,
        raw_input_contents: raw.iter().map(|bytes| Bytes::from_static(bytes)).collect(),
        ..ModelInferRequest::default()
    }
}

fn call(message: ModelInferRequest) -> Result<InferCall, String> {
    decode_infer_call(message.encode_to_vec().into()).map_err(|error| error.to_string())
}

/// The one message of a frame.
fn payload(pieces: FramePieces) -> Bytes {
    let mut reader = FrameReader::new(usize::MAX);
    for piece in pieces {
        reader.push(piece);
    }
    let frame = reader.next_frame().expect("valid").expect("whole");
    assert!(!frame.compressed);
    reader.finish().expect("nothing behind it");
    frame.payload
}

#[test]
fn every_call_has_its_path_and_stands_in_the_descriptors() {
    let reflection = reflection::Reflection::new().expect("whole");
    for &method in Method::ALL {
        assert_eq!(Method::parse(&method.path()), Some(method));
        let symbol = format!("{SERVICE}.{}", method.as_str());
        let question = reflection::ReflectionQuestion::FileContainingSymbol(symbol);
        let request = reflection::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(question),
        };
        let answer = reflection.answer(request).message_response;
        assert!(matches!(answer, Some(reflection::ReflectionAnswer::Files(_))), "{method:?}");
    }
    for path in ["", "/", "/inference.GRPCInferenceService", "/other/ModelInfer"] {
        assert_eq!(Method::parse(path), None, "{path}");
    }
    assert_eq!(Method::parse("/inference.GRPCInferenceService/Modelinfer"), None);
}

#[test]
fn both_forms_of_contents_are_read() {
    let parameter = |choice| InferParameter { parameter_choice: Some(choice) };
    let mut request =
        message(vec![input("x", "FP32", &[1, 2])], &[&[0, 0, 0x80, 0x3f, 0, 0, 0, 0x40]]);
    request.id = "42".into();
    request.model_version = "7".into();
    request.parameters = BTreeMap::from([
        ("a".into(), parameter(ParameterChoice::BoolParam(true))),
        ("b".into(), parameter(ParameterChoice::Uint64Param(5))),
        ("c".into(), parameter(ParameterChoice::Uint64Param(u64::MAX))),
        ("d".into(), parameter(ParameterChoice::DoubleParam(0.5))),
        ("e".into(), parameter(ParameterChoice::StringParam("s".into()))),
    ]);
    request.outputs = vec![InferRequestedOutput { name: "y".into(), ..Default::default() }];
    let raw = call(request).expect("valid");
    assert_eq!((raw.model.as_str(), raw.version.as_deref()), ("m", Some("7")));
    assert_eq!(raw.form, ContentsForm::Raw);
    assert_eq!(raw.request.id.as_deref(), Some("42"));
    assert_eq!(raw.request.inputs[0].data(), &TensorData::Fp32(vec![1.0, 2.0]));
    assert_eq!(raw.request.outputs[0], RequestedOutput { name: "y".into(), parameters: vec![] });
    let values: Vec<_> = raw.request.parameters.into_iter().map(|(_, value)| value).collect();
    let expected = [
        Parameter::Boolean(true),
        Parameter::Integer(5),
        Parameter::Unsigned(u64::MAX),
        Parameter::Number(0.5),
        Parameter::String("s".into()),
    ];
    assert_eq!(values, expected);

    let contents = InferTensorContents { int_contents: vec![1, -2], ..Default::default() };
    let call = call(message(vec![typed(input("x", "INT8", &[2]), contents)], &[])).expect("valid");
    assert_eq!((call.form, call.version, call.request.id), (ContentsForm::Typed, None, None));
    assert_eq!(call.request.inputs[0].data(), &TensorData::Int8(vec![1, -2]));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let fp32 = || input("x", "FP32", &[1]);
    let floats = |values: &[f32]| InferTensorContents {
        fp32_contents: values.to_vec(),
        ..Default::default()
    };
    let ints = |value| InferTensorContents { int_contents: vec![value], ..Default::default() };
    let cases = [
        (
            message(vec![typed(fp32(), floats(&[1.0]))], &[&[0; 4]]),
            "contents of tensor 'x' are set beside raw contents; a message has one or the other",
        ),
        (message(vec![fp32()], &[&[0; 4], &[0; 4]]), "there are 2 raw contents for 1 tensors"),
        (message(vec![fp32()], &[&[0; 5]]), "byte size mismatch for 'x': expected 4 bytes, got 5"),
        (message(vec![fp32()], &[]), "tensor 'x': shape [1] has 1 elements but the data has 0"),
        (
            message(vec![typed(input("x", "INT8", &[1]), ints(128))], &[]),
            "contents of tensor 'x': element 0 is 128, which is out of range for INT8",
        ),
        (
            message(vec![typed(fp32(), ints(1))], &[]),
            "contents of tensor 'x': FP32 is sent in fp32_contents, but int_contents is filled",
        ),
        (
            message(vec![typed(input("x", "FP16", &[1]), floats(&[1.0]))], &[]),
            "contents of tensor 'x': FP16 is sent in raw contents only",
        ),
        (
            message(vec![input("x", "fp32", &[1])], &[]),
            "tensor 'x' has the unknown datatype 'fp32'",
        ),
        (
            message(vec![input("x", "FP32", &[-1])], &[]),
            "tensor 'x' has dimension -1; a dimension must be an integer from 0 on",
        ),
        (
            message(
                vec![InferTensor {
                    parameters: BTreeMap::from([(
                        "shared_memory_region".into(),
                        InferParameter::default(),
                    )]),
                    ..fp32()
                }],
                &[],
            ),
            "tensor 'x' is in shared memory, which does not reach across hosts; send the data in the request",
        ),
        (
            ModelInferRequest {
                parameters: BTreeMap::from([("p".into(), InferParameter::default())]),
                ..message(vec![], &[])
            },
            "parameter 'p' has no value",
        ),
        (
            ModelInferRequest {
                parameters: BTreeMap::from([("triton_x".into(), InferParameter::default())]),
                ..message(vec![], &[])
            },
            "parameter 'triton_x': keys starting with 'triton_' are reserved and should not be specified",
        ),
    ];
    for (message, expected) in cases {
        assert_eq!(call(message).expect_err(expected), expected);
    }
    assert!(matches!(decode_infer_call(Bytes::from_static(b"\xff")), Err(CallError::Decode(_))));
}

#[test]
fn what_says_how_a_tensor_came_stays_behind_and_what_has_no_value_is_passed_over_in_answers() {
    let parameter = |choice| InferParameter { parameter_choice: Some(choice) };
    let tensor = InferTensor {
        parameters: BTreeMap::from([
            ("binary_data_size".into(), parameter(ParameterChoice::Int64Param(9))),
            ("content_type".into(), parameter(ParameterChoice::StringParam("np".into()))),
            ("empty".into(), InferParameter::default()),
        ]),
        ..input("x", "FP32", &[1])
    };
    let kept = [("content_type".into(), Parameter::String("np".into()))];
    let response = ModelInferResponse {
        parameters: BTreeMap::from([("empty".into(), InferParameter::default())]),
        outputs: vec![tensor.clone()],
        raw_output_contents: vec![Bytes::from_static(&[0; 4])],
        ..ModelInferResponse::default()
    };
    let read = decode_infer_response(response.encode_to_vec().into()).expect("valid");
    assert_eq!((read.outputs[0].parameters().as_slice(), read.parameters), (&kept[..], vec![]));
    let asked = |tensor| call(message(vec![tensor], &[&[0; 4]]));
    let refused = asked(tensor.clone()).expect_err("a client's mistake");
    assert_eq!(refused, "parameter 'empty' has no value");
    let mut sound = tensor;
    sound.parameters.remove("empty");
    assert_eq!(asked(sound).expect("valid").request.inputs[0].parameters(), &kept);
}

#[test]
fn parts_are_counted_before_they_are_allocated() {
    let inputs = |count: usize| Bytes::from([0x2a, 0].repeat(count));
    assert_eq!(decode_infer_call(inputs(TENSORS_MAX + 1)), Err(CallError::TooMany));
    assert!(matches!(decode_infer_call(inputs(TENSORS_MAX)), Err(CallError::Message(_))));
    assert_eq!(decode_infer_response(inputs(TENSORS_MAX + 1)), Err(CallError::TooMany));
    let deep = message(vec![input("x", "FP32", &[1; SHAPE_RANK_MAX + 1])], &[&[0; 4]]);
    let error = decode_infer_call(deep.encode_to_vec().into()).expect_err("too many");
    assert_eq!(error.to_string(), "a shape has at most 64 dimensions");
}

#[test]
fn half_precision_is_raw_for_all_outputs() {
    let tensor = |name: &str, data| Tensor::new(name, [1].as_slice(), data).expect("agrees");
    let half = tensor("h", TensorData::Fp16(vec![half::f16::ONE]));
    let text = tensor("t", TensorData::Bytes(vec![b"a".to_vec()]));
    let response = InferResponse { outputs: vec![text, half], ..InferResponse::default() };
    let (message, raw) = response_message(response, ContentsForm::Typed).expect("short");
    assert!(message.outputs.iter().all(|output| output.contents.is_none()));
    assert_eq!(raw, [&b"\x01\0\0\0a"[..], &[0, 0x3c]]);
}

#[test]
fn models_of_both_definitions_are_read_from_a_load_request() {
    let request = |first: &str, second: &str| RepositoryModelRequest {
        repository_or_model_name: first.into(),
        model_name: second.into(),
        ..RepositoryModelRequest::default()
    };
    assert_eq!(request("m", "").model(), "m");
    assert_eq!(request("", "m").model(), "m");
    assert_eq!(request("store", "m").model(), "m");
}

fn form() -> impl Strategy<Value = ContentsForm> {
    prop_oneof![Just(ContentsForm::Raw), Just(ContentsForm::Typed)]
}

proptest! {
    #[test]
    fn encoded_requests_decode_to_themselves(
        inputs in prop::collection::vec(arbitrary::tensor(false), 0..4),
        outputs in prop::collection::vec((any::<String>(), arbitrary::parameters()), 0..3),
        parameters in arbitrary::parameters(),
        id in prop::option::of(".{1,8}"),
        version in prop::option::of(".{1,8}"),
        form in form(),
    ) {
        let outputs = outputs.into_iter().map(|(name, parameters)| RequestedOutput { name: name.into(), parameters });
        let request = InferRequest { id: id.map(Into::into), parameters, inputs, outputs: outputs.collect() };
        let pieces = encode_infer_request("model", version.as_deref(), request.clone(), form).expect("short");
        let call = decode_infer_call(payload(pieces)).expect("our own output");
        prop_assert_eq!(call.model, "model");
        prop_assert_eq!(call.version, version);
        prop_assert_eq!(call.request, request);
    }

    #[test]
    fn encoded_responses_decode_to_themselves(
        outputs in prop::collection::vec(arbitrary::tensor(false), 0..4),
        parameters in arbitrary::parameters(),
        id in prop::option::of(".{1,8}"),
        name: String,
        form in form(),
    ) {
        let response = InferResponse { id: id.map(Into::into), model_name: name.clone().into(), model_version: name.into(), parameters, outputs };
        let pieces = encode_infer_response(response.clone(), form).expect("short");
        prop_assert_eq!(decode_infer_response(payload(pieces)).expect("our own output"), response);
    }

    #[test]
    fn arbitrary_messages_never_panic(bytes: Vec<u8>) {
        let _call = decode_infer_call(bytes.clone().into());
        let _response = decode_infer_response(bytes.into());
    }
}

#[test]
fn large_contents_are_not_copied() {
    let pixels = TensorData::Fp32(vec![0.5; 150_528]);
    let image = Tensor::new("image", [1, 3, 224, 224].as_slice(), pixels).expect("agrees");
    let TensorData::Fp32(values) = image.data() else { panic!("not FP32") };
    let memory = values.as_ptr().cast::<u8>();
    let response = InferResponse { outputs: vec![image], ..InferResponse::default() };
    let pieces = encode_infer_response(response, ContentsForm::Raw).expect("short");
    assert_eq!(pieces.len(), 2);
    assert_eq!(pieces[1].as_ptr(), memory);
}
