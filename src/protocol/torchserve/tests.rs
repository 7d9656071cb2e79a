use smallvec::SmallVec;

use super::*;
use crate::protocol::tensor::Datatype;

fn spec(name: &str, datatype: Datatype, shape: &[i64]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        datatype,
        shape: SmallVec::from_slice(shape),
        places: Vec::new(),
        ordered: true,
    }
}

fn floats(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(name, shape, TensorData::Fp32(values.to_vec())).unwrap()
}

#[test]
fn every_path_of_the_protocol_is_known() {
    let call = |path| parse_path(path).unwrap().unwrap();
    assert_eq!(call("/ping").operation, Operation::Ready);
    let predict = call("/predictions/resnet/1.0");
    assert_eq!(predict.model.as_deref(), Some("resnet"));
    assert_eq!(predict.release, Release::Version("1.0".into()));
    assert_eq!(call("/predictions/a%20b").model.as_deref(), Some("a b"));
    assert_eq!(call("/explanations/m").operation, Operation::Explain);
    for path in ["/predictions", "/predictions/", "/predictions/m/", "/predictions/m/1/x", "/ping/"]
    {
        assert_eq!(parse_path(path), Ok(None), "{path}");
    }
}

#[test]
fn rows_come_as_json_and_bytes_as_they_are() {
    let x = [spec("x", Datatype::Fp32, &[-1, 2])];
    let cases = [
        (r#"{"instances":[[1,2]]}"#, "application/json", Form::Envelope),
        (r#"{"data":[[1,2]]}"#, "application/json", Form::Rows),
        ("[[1,2]]", "application/x-www-form-urlencoded", Form::Rows),
        ("[1,2]", "", Form::Rows),
    ];
    for (body, content_type, form) in cases {
        let (request, read) = decode_predict(body.as_bytes(), content_type, Some(&x)).expect(body);
        assert_eq!(request.inputs, [floats("x", &[1, 2], &[1.0, 2.0])], "{body}");
        assert_eq!(read, form, "{body}");
    }
    let image = [spec("image", Datatype::Bytes, &[-1, 1])];
    let element = TensorData::Bytes(vec![vec![0xff, 0xd8]]);
    let expected = Tensor::new("image", [1, 1].as_slice(), element).unwrap();
    let (request, form) = decode_predict(&[0xff, 0xd8], "image/jpeg", Some(&image)).unwrap();
    assert_eq!((&request.inputs[0], form), (&expected, Form::Bytes));
    let form_body =
        b"--X\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\n\xff\xd8\r\n--X--";
    let (request, _) =
        decode_predict(form_body, "multipart/form-data; boundary=X", Some(&image)).unwrap();
    assert_eq!(request.inputs[0], expected);
    let error = decode_predict(&[0xff], "image/jpeg", Some(&x)).unwrap_err().to_string();
    assert!(error.contains("bytes that are not JSON, but the model takes 'x'"), "{error}");
    assert!(decode_predict(b"x", "multipart/form-data; boundary=X", None).is_err());
}

#[test]
fn answers_mirror_the_request() {
    let outputs = [floats("y", &[1, 2], &[0.5, 1.0])];
    let written = |form, outputs: &[Tensor]| {
        let mut out = b"before".to_vec();
        encode_predictions(form, outputs, &mut out).unwrap();
        String::from_utf8(out.split_off(6)).unwrap()
    };
    assert_eq!(written(Form::Envelope, &outputs), r#"{"predictions":[[0.5,1.0]]}"#);
    assert_eq!(written(Form::Rows, &outputs), "[[0.5,1.0]]");
    assert_eq!(written(Form::Bytes, &outputs), "[0.5,1.0]");
    let two = [floats("y", &[2], &[0.5, 1.0])];
    assert_eq!(written(Form::Bytes, &two), "[0.5,1.0]");
}

#[test]
fn a_server_is_sent_bytes_or_rows_and_its_answers_are_read() {
    let request = |input| InferRequest { inputs: vec![input], ..InferRequest::default() };
    let image = Tensor::new("i", [1].as_slice(), TensorData::Bytes(vec![vec![0xff]])).unwrap();
    let mut out = Vec::new();
    assert_eq!(encode_predict(&request(image), &mut out), Ok("application/octet-stream"));
    assert_eq!(out, [0xff]);
    let mut out = Vec::new();
    let rows = request(floats("x", &[1, 2], &[1.0, 2.0]));
    assert_eq!(encode_predict(&rows, &mut out), Ok("application/json"));
    assert_eq!(out, br#"{"instances":[[1.0,2.0]]}"#);

    let named = decode_answer(br#"{"tabby":0.5,"tiger_cat":0.25}"#, "", None).unwrap();
    assert_eq!((named[1].name(), named[1].data()), ("tiger_cat", &TensorData::Fp64(vec![0.25])));
    let rows = decode_answer(br#"{"predictions":[1,2]}"#, "application/json", None).unwrap();
    assert_eq!(rows[0].data(), &TensorData::Int64(vec![1, 2]));
    let text = decode_answer(b"a cat", "text/plain", None).unwrap();
    assert_eq!(text[0].data(), &TensorData::Bytes(vec![b"a cat".to_vec()]));
    let number = decode_answer(b"7", "application/json", None).unwrap();
    assert_eq!(number[0].data(), &TensorData::Int64(vec![7]));
    assert!(decode_answer(b"[1,", "", None).is_err());
}

#[test]
fn errors_have_their_code_and_type() {
    let error = String::from_utf8(encode_error(404, "Model not found: m")).unwrap();
    assert_eq!(
        error,
        r#"{"code":404,"type":"ModelNotFoundException","message":"Model not found: m"}"#
    );
    assert!(String::from_utf8(encode_error(422, "")).unwrap().contains("BadRequestException"));
    assert!(String::from_utf8(encode_error(504, "")).unwrap().contains("InternalServerException"));
}
