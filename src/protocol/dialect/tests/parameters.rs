//! What a tensor's sender says about it, on its way between dialects.

use super::*;
use crate::protocol::infer::{Parameter, Parameters};

#[test]
fn parameters_of_tensors_go_wherever_the_protocol_has_a_place_for_them() {
    let given: Parameters<'static> = vec![
        ("content_type".into(), Parameter::String("np".into())),
        ("scale".into(), Parameter::Number(0.5)),
    ];
    let sent = tensor("x", &[1], TensorData::Fp32(vec![1.0])).with_parameters(given.clone());
    let request = InferRequest { inputs: vec![sent], ..InferRequest::default() };
    let specs = [spec("x", Datatype::Fp32, &[-1])];
    for (dialect, container, binary) in ECHOES {
        let mut target = Target::new(dialect, "m", Release::Any);
        (target.container, target.binary) = (container, binary);
        target.terms.signature = Some(Signature { inputs: &specs, outputs: &specs });
        let answered = echoed(&target, &request);
        let has_place = matches!(dialect, Dialect::OpenInference | Dialect::OpenInferenceGrpc)
            || container == ContainerForm::OpenInference;
        let expected = if has_place { given.as_slice() } else { &[] };
        assert_eq!(answered[0].parameters(), expected, "{dialect} {container:?} {binary}");
    }
}

/// An answer of a backend that says how its bytes come, for clients that get them in another form.
#[test]
fn what_says_how_bytes_came_is_not_told_to_who_gets_them_otherwise() {
    let head = r#"{"model_name":"m","model_version":"1","outputs":[{"name":"y","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4,"content_type":"np"}}]}"#;
    let mut headers = headers("application/octet-stream");
    headers.insert("inference-header-content-length", HeaderValue::from(head.len()));
    let pieces = [Bytes::from_static(head.as_bytes()), Bytes::from_static(&[0, 0, 0x80, 0x3f])];
    let answer = Body::new(Dialect::OpenInference, &headers, pieces).unwrap();
    let target = Target::new(Dialect::OpenInference, "m", Release::Any);
    let asked = Asked::default();
    let read =
        || decode_response(&target, Operation::Infer, &asked, StatusCode::OK, &answer).unwrap();
    let call = call("/v2/models/m/infer");
    let sent = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#;
    let sent = body(Dialect::OpenInference, "", sent);
    let form = decode_request(&call, &HeaderMap::new(), &sent, &Terms::default()).unwrap().form;
    let told = encode_response(&form, read(), no_labels).unwrap().body().concat();
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains(r#""parameters":{"content_type":"np"},"data":[1.0]"#), "{told}");
    // Classes are other values than those that the parameters are about.
    let classes = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}],"outputs":[{"name":"y","parameters":{"classification":1}}]}"#;
    let classes = body(Dialect::OpenInference, "", classes);
    let form = decode_request(&call, &HeaderMap::new(), &classes, &Terms::default()).unwrap().form;
    let told = encode_response(&form, read(), no_labels).unwrap().body().concat();
    assert!(!String::from_utf8(told).unwrap().contains("content_type"));
}
