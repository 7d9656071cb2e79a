//! The binary tensor data extension from body to body.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::protocol::infer::{InferRequest, InferResponse, Parameter};
use crate::protocol::json::DecodeErrorKind;
use crate::protocol::tensor::{Datatype, Tensor, TensorData, TensorSpec, arbitrary};

fn body(head: &str, tail: &[u8]) -> Body {
    let whole = [head.as_bytes(), tail].concat();
    let length = head.len().to_string();
    Body::new([Bytes::from(whole)], Some(length.as_bytes())).expect("within the body")
}

/// As a server receives what `encoded` says, cut at `cuts`.
fn received(encoded: Encoded, cuts: &[usize]) -> Body {
    let length = encoded.head_length().map(|length| length.to_string());
    let whole = Bytes::from(encoded.into_pieces().collect::<Vec<_>>().concat());
    let mut cuts: Vec<usize> = cuts.iter().map(|&cut| cut.min(whole.len())).collect();
    cuts.extend([0, whole.len()]);
    cuts.sort_unstable();
    let pieces: Vec<Bytes> = cuts.windows(2).map(|pair| whole.slice(pair[0]..pair[1])).collect();
    Body::new(pieces, length.as_deref().map(str::as_bytes)).expect("our own output")
}

const TWO: &str = r#"{"inputs":[{"name":"X","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}},
    {"name":"S","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}},
    {"name":"J","shape":[1],"datatype":"INT8","data":[7]}]}"#;

#[test]
fn tensors_are_taken_in_the_order_of_the_json() {
    let tail = b"\0\0\x80\x3f\0\0\0\x40\x03\0\0\0abc\0\0\0\0";
    let body = body(TWO, tail);
    let request = body.decode_request().expect("valid");
    let inputs: Vec<&TensorData> = request.inputs.iter().map(Tensor::data).collect();
    assert_eq!(
        inputs,
        [
            &TensorData::Fp32(vec![1.0, 2.0]),
            &TensorData::Bytes(vec![b"abc".to_vec(), vec![]]),
            &TensorData::Int8(vec![7]),
        ]
    );
    assert!(!body.is_raw());
}

#[test]
fn sizes_must_be_exact() {
    let message = |head: &str, tail: &[u8]| {
        body(head, tail).decode_request().expect_err("a wrong size").to_string()
    };
    let one = |size: &str| {
        format!(
            r#"{{"inputs":[{{"name":"X","shape":[1,3],"datatype":"FP32","parameters":{{"binary_data_size":{size}}}}}]}}"#
        )
    };
    assert_eq!(
        message(&one("8"), &[0; 8]),
        "invalid request at /inputs/0: byte size mismatch for 'X': expected 12 bytes, got 8 (byte 11)"
    );
    assert_eq!(
        message(&one("12"), &[0; 8]),
        "invalid request at /inputs/0: unexpected size for 'X': binary_data_size is 12, but 8 bytes are \
         left behind the JSON (is the header Inference-Header-Content-Length right?) (byte 11)"
    );
    let error = body(&one("12"), &[0; 13]).decode_request().expect_err("one too many");
    assert_eq!(error.kind(), &DecodeErrorKind::BinaryLeft { left: 1 });
    assert!(message(&one("-1"), &[0; 12]).contains("must be a number of bytes"));
    assert!(message(&one("18446744073709551615"), &[0; 12]).contains("must be a number of bytes"));
    assert!(
        message(TWO, b"\0\0\x80\x3f\0\0\0\x40\x08\0\0\0abc\0\0\0\0")
            .contains("element 0 goes beyond")
    );
    let json = Body::json(Bytes::from(one("12")));
    let error = json.decode_request().expect_err("no header");
    assert!(error.to_string().contains("0 bytes are left behind the JSON"), "{error}");
}

#[test]
fn the_head_length_must_be_a_number_within_the_body() {
    let cut = |value: &[u8]| {
        Body::new([Bytes::from_static(b"{}")], Some(value)).map(|body| body.is_raw())
    };
    assert_eq!(cut(b"2"), Ok(false));
    assert_eq!(cut(b"0"), Ok(true));
    assert_eq!(cut(b" 1 "), Ok(false));
    let error = cut(b"999").expect_err("beyond");
    assert_eq!(error.to_string(), "inference header size should be in range (0, 2), got: 999");
    for value in ["abc", "", "-1", "1.0", "99999999999999999999", "+1x"] {
        assert_eq!(cut(value.as_bytes()), Err(BodyError::NotANumber), "{value}");
    }
    assert_eq!(cut(b"\xff"), Err(BodyError::NotANumber));
}

#[test]
fn a_raw_request_takes_its_shape_from_the_model() {
    let spec = |datatype, shape: &[i64]| TensorSpec {
        name: "X".into(),
        datatype,
        shape: shape.into(),
        places: Vec::new(),
        ordered: true,
    };
    let raw = |bytes: &'static [u8], spec: &TensorSpec| {
        let body = Body::new([Bytes::from_static(bytes)], Some(b"0")).expect("raw");
        let request: Result<InferRequest<'static>, _> = body.decode_raw_request(spec);
        request.map(|mut request| request.inputs.remove(0)).map_err(|error| error.to_string())
    };
    let tensor = raw(&[0; 24], &spec(Datatype::Fp32, &[-1, 3])).expect("two rows");
    assert_eq!((tensor.shape(), tensor.name()), ([2, 3].as_slice(), "X"));
    let tensor = raw(b"any bytes", &spec(Datatype::Bytes, &[1])).expect("one element");
    assert_eq!(tensor.data(), &TensorData::Bytes(vec![b"any bytes".to_vec()]));
    let tensor = raw(b"", &spec(Datatype::Bytes, &[-1])).expect("one empty element");
    assert_eq!(tensor.data(), &TensorData::Bytes(vec![vec![]]));
    assert_eq!(raw(&[0; 12], &spec(Datatype::Fp32, &[3])).expect("fixed").shape(), [3]);
    let error = raw(&[0; 25], &spec(Datatype::Fp32, &[-1, 3])).expect_err("a byte more");
    assert!(error.contains("byte size mismatch for 'X': expected 24 bytes, got 25"), "{error}");
    let error = raw(&[0; 24], &spec(Datatype::Fp32, &[-1, -1])).expect_err("two open");
    assert!(error.contains("2 of its dimensions are open"), "{error}");
    assert!(raw(&[0; 4], &spec(Datatype::Fp32, &[-1, 0])).is_err());
    let tensor = raw(b"", &spec(Datatype::Fp32, &[-1, 0])).expect("nothing");
    assert_eq!(tensor.shape(), [0, 0]);
}

#[test]
fn an_answer_is_binary_where_the_client_wants_it() {
    let tensor = |name: &str, data| Tensor::new(name, [2].as_slice(), data).expect("agrees");
    let outputs = vec![
        tensor("a", TensorData::Fp32(vec![1.0, 2.0])),
        tensor("b", TensorData::Int8(vec![1, 2])),
        tensor("c", TensorData::Bf16(vec![half::bf16::ONE; 2])),
    ];
    let response = InferResponse {
        id: Some("1".into()),
        model_name: "m".into(),
        model_version: "3".into(),
        outputs,
        ..InferResponse::default()
    };
    let request = br#"{"parameters":{"binary_data_output":true},"inputs":[],"outputs":[{"name":"a"},{"name":"b","parameters":{"binary_data":false}},{"name":"c"}]}"#;
    let request = decode_infer_request(request).expect("valid");
    let forms = OutputForms::of(&request).expect("sound");
    let encoded = encode_infer_response_as(response.clone(), &forms).expect("has a form");
    assert_eq!(
        encoded.head,
        r#"{"id":"1","model_name":"m","model_version":"3","outputs":[{"name":"a","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":8}},{"name":"b","datatype":"INT8","shape":[2],"data":[1,2]},{"name":"c","datatype":"BF16","shape":[2],"parameters":{"binary_data_size":4}}]}"#
    );
    assert_eq!(encoded.head_length(), Some(encoded.head.len()));
    assert_eq!(encoded.content_type(), "application/octet-stream");
    assert_eq!(encoded.body_len(), encoded.head.len() + 12);
    assert_eq!(received(encoded, &[]).decode_response(), Ok(response.clone()));

    let json = encode_infer_response_as(response, &OutputForms::default());
    let no_form = EncodeError::NoJsonForm { tensor: "c".into(), datatype: Datatype::Bf16 };
    assert_eq!(json, Err(no_form));
}

#[test]
fn numbers_leave_without_a_copy() {
    let image =
        Tensor::new("image", [512].as_slice(), TensorData::Fp32(vec![0.5; 512])).expect("agrees");
    let TensorData::Fp32(values) = image.data() else { panic!("not FP32") };
    let memory = values.as_ptr().cast::<u8>();
    let response = InferResponse { outputs: vec![image], ..InferResponse::default() };
    let encoded = encode_infer_response_as(response, &OutputForms::binary()).expect("has a form");
    assert_eq!(encoded.tensors[0].as_ptr(), memory);
}

#[test]
fn a_request_for_a_backend_says_what_this_hop_wants() {
    let body = br#"{"id":"7","parameters":{"binary_data_output":false,"priority":2},"inputs":[{"name":"x","shape":[1],"datatype":"INT64","data":[5]}],"outputs":[{"name":"y","parameters":{"binary_data":true,"classification":2}},{"name":"z"}]}"#;
    let request = decode_infer_request(body).expect("valid");
    let json = encode_infer_request(request.clone(), false).expect("has a form");
    assert_eq!(json.head_length(), None);
    assert_eq!(
        json.head,
        r#"{"id":"7","parameters":{"priority":2},"inputs":[{"name":"x","datatype":"INT64","shape":[1],"data":[5]}],"outputs":[{"name":"y","parameters":{"classification":2}},{"name":"z"}]}"#
    );
    let binary = encode_infer_request(request, true).expect("has a form");
    assert_eq!(&*binary.tensors, [5i64.to_le_bytes().as_slice()]);
    let again = received(binary, &[]);
    let again = again.decode_request().expect("our own output");
    let wanted = ("binary_data_output".into(), Parameter::Boolean(true));
    assert!(again.parameters.contains(&wanted));
}

proptest! {
    #[test]
    fn any_tensors_survive_binary_requests_and_responses_in_any_pieces(
        tensors in prop::collection::vec(arbitrary::tensor(false), 0..4),
        id in prop::option::of(any::<String>()),
        cuts in prop::collection::vec(0usize..600, 0..5),
    ) {
        let request = InferRequest { id: id.clone().map(Into::into), inputs: tensors.clone(), ..InferRequest::default() };
        let body = received(encode_infer_request(request, true).expect("has a form"), &cuts);
        let again = body.decode_request().expect("our own output");
        prop_assert_eq!(&again.inputs, &tensors);
        prop_assert_eq!(&again.id, &id.clone().map(Into::into));

        let response = InferResponse { id: id.map(Into::into), outputs: tensors, ..InferResponse::default() };
        let encoded = encode_infer_response_as(response.clone(), &OutputForms::binary()).expect("has a form");
        let body = received(encoded, &cuts);
        prop_assert_eq!(body.decode_response().expect("our own output"), response);
    }

    #[test]
    fn json_responses_read_back(tensors in prop::collection::vec(arbitrary::json_tensor(), 0..4), name: String) {
        let response = InferResponse { model_name: name.into(), outputs: tensors, ..InferResponse::default() };
        let encoded = encode_infer_response_as(response.clone(), &OutputForms::default()).expect("has a form");
        prop_assert!(encoded.tensors.is_empty() && encoded.head_length().is_none());
        let body = received(encoded, &[]);
        prop_assert_eq!(body.decode_response().expect("our own output"), response);
    }

    #[test]
    fn changed_bodies_never_panic(at in 0usize..400, byte: u8, cut in 0usize..400, length in 0usize..400) {
        let mut whole = [TWO.as_bytes(), b"\0\0\x80\x3f\0\0\0\x40\x03\0\0\0abc\0\0\0\0"].concat();
        let size = whole.len();
        whole[at % size] = byte;
        crate::protocol::fuzz_binary_request(&[&u16::try_from(length).expect("small").to_le_bytes()[..], &whole[..cut.min(size)]].concat());
    }
}
