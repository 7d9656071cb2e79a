//! What a prediction costs besides the network: decoding, the model, encoding.

#![expect(clippy::expect_used, reason = "a benchmark stops at the first surprise")]

use std::hint::black_box;
use std::path::Path;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pointsman::inference::{LoadLimits, LocalModel};
use pointsman::protocol::dialect;
use pointsman::protocol::grpc::PREFIX_BYTES;
use pointsman::protocol::infer::{InferRequest, InferResponse};
use pointsman::protocol::open_inference::grpc::{
    ContentsForm, decode_infer_call, encode_infer_request, encode_infer_response as encode_call,
};
use pointsman::protocol::open_inference::{
    Body, OutputForms, decode_infer_request, encode_infer_request as encode_rest_request,
    encode_infer_response, encode_infer_response_as, parse_path,
};
use pointsman::protocol::tensor::{Datatype, Tensor, TensorData, TensorSpec};
use pointsman::protocol::tensorflow_serving::{
    Form, decode_predict, encode_predict, encode_predictions,
};

const IRIS: &[u8] =
    br#"{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP32","data":[[5.1,3.5,1.4,0.2]]}]}"#;

fn model(folder: &str) -> LocalModel {
    let path = format!("{}/config/models/{folder}/model.onnx", env!("CARGO_MANIFEST_DIR"));
    LocalModel::load(Path::new(&path), &LoadLimits::default()).expect("the example model loads")
}

fn encode(response: &InferResponse<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    encode_infer_response(response, &mut body).expect("no BYTES");
    body
}

fn response(outputs: Vec<Tensor>) -> InferResponse<'static> {
    let (model_name, model_version) = ("iris".into(), "v1".into());
    InferResponse { model_name, model_version, outputs, ..InferResponse::default() }
}

fn codec(c: &mut Criterion) {
    let tensor = |name, shape: &[usize], data| Tensor::new(name, shape, data).expect("agrees");
    let outputs = response(vec![
        tensor("label", &[1], TensorData::Int64(vec![0])),
        tensor(
            "probabilities",
            &[1, 3],
            TensorData::Fp32(vec![0.981_656_85, 0.018_343_149, 1.4e-8]),
        ),
    ]);
    let mut group = c.benchmark_group("open_inference");
    group.bench_function("path", |b| b.iter(|| parse_path(black_box("/v2/models/iris/infer"))));
    group.bench_function("decode_iris", |b| b.iter(|| decode_infer_request(black_box(IRIS))));
    group.bench_function("encode_iris", |b| b.iter(|| encode(black_box(&outputs))));
    group.bench_function("decode_and_encode_iris", |b| {
        b.iter(|| (decode_infer_request(black_box(IRIS)), encode(black_box(&outputs))));
    });
    group.finish();
}

/// A request as a client of a tabular model sends it.
const FEATURES: &[u8] = br#"{"id":"8f14e45f","inputs":[{"name":"input","shape":[1,8],"datatype":"FP32","data":[0.1257302,-0.13210486,0.64042264,0.10490012,-0.5356694,0.3615951,1.3040001,0.94708097]}]}"#;

fn features(c: &mut Criterion) {
    let tensor = |name, shape: &[usize], data| Tensor::new(name, shape, data).expect("agrees");
    let outputs = response(vec![
        tensor("label", &[1], TensorData::Int64(vec![1])),
        tensor("probabilities", &[1, 2], TensorData::Fp32(vec![0.018_343_149, 0.981_656_85])),
    ]);
    let mut group = c.benchmark_group("features_8");
    group.bench_function("json_decode_and_encode", |b| {
        b.iter(|| (decode_infer_request(black_box(FEATURES)), encode(black_box(&outputs))));
    });
    let request = || decode_infer_request(FEATURES).expect("valid");
    let frame = encode_infer_request("model", None, request(), ContentsForm::Raw).expect("short");
    let message = Bytes::from(frame.concat()).slice(PREFIX_BYTES..);
    group.bench_function("grpc_decode_and_encode", |b| {
        b.iter_batched(
            || outputs.clone(),
            |outputs| {
                let call = decode_infer_call(black_box(message.clone()));
                (call, encode_call(outputs, ContentsForm::Raw))
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// Tensors of about a megabyte as each dialect carries them; throughput is that of the tensor in binary
/// form for binary and gRPC, and of the text for JSON.
fn tensors(c: &mut Criterion) {
    const COUNT: u32 = 150_528;
    let shape = [1, 3, 224, 224];
    let tensor = |data| Tensor::new("image", shape.as_slice(), data).expect("agrees");
    let pixel = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0;
    let floats = || TensorData::Fp32((0..COUNT).map(pixel).collect());
    let request = |data| InferRequest { inputs: vec![tensor(data)], ..InferRequest::default() };

    let mut group = c.benchmark_group("tensor");
    let wide = TensorData::Fp64((0..COUNT).map(|i| f64::from(pixel(i)) * 0.7).collect());
    let integers = TensorData::Int64((0..COUNT).map(|i| i64::from(i) * 7919).collect());
    let whole: Vec<f32> = (0..COUNT).map(|i| (i % 256) as f32).collect();
    let cases = [
        ("fp32", floats()),
        ("fp64", wide),
        ("int64", integers),
        ("fp32_whole", TensorData::Fp32(whole)),
    ];
    for (name, data) in cases {
        let encoded = encode_rest_request(request(data), false).expect("has a form").head;
        group.throughput(Throughput::Bytes(encoded.len() as u64));
        group.bench_function(format!("json_decode_{name}"), |b| {
            b.iter(|| decode_infer_request(black_box(&encoded)).expect("valid"));
        });
    }
    // What Python's json prints for a list of 32-bit floats: the digits of the 64-bit ones.
    let doubled = TensorData::Fp64((0..COUNT).map(|i| f64::from(pixel(i))).collect());
    let doubled = encode_rest_request(request(doubled), false).expect("has a form").head;
    let doubled = String::from_utf8(doubled.to_vec()).expect("text").replace("FP64", "FP32");
    group.throughput(Throughput::Bytes(doubled.len() as u64));
    group.bench_function("json_decode_fp32_as_python_prints", |b| {
        b.iter(|| decode_infer_request(black_box(doubled.as_bytes())).expect("valid"));
    });
    let answer = response(vec![tensor(floats())]);
    group.throughput(Throughput::Bytes(encode(&answer).len() as u64));
    group.bench_function("json_encode_fp32", |b| b.iter(|| encode(black_box(&answer))));

    group.throughput(Throughput::Bytes(u64::from(COUNT) * 4));
    let binary = encode_rest_request(request(floats()), true).expect("has a form");
    let length = binary.head.len().to_string();
    let whole = Bytes::from(binary.into_pieces().collect::<Vec<_>>().concat());
    // As hyper hands it over: pieces of what one read of the socket gives.
    let pieces: Vec<Bytes> = (0..whole.len())
        .step_by(65_536)
        .map(|at| whole.slice(at..whole.len().min(at + 65_536)))
        .collect();
    for (name, pieces) in [("one_piece", vec![whole]), ("pieces", pieces)] {
        group.bench_function(format!("binary_decode_{name}"), |b| {
            b.iter(|| {
                let body = Body::new(pieces.iter().cloned(), Some(length.as_bytes()));
                let body = body.expect("within the body");
                body.decode_request().expect("valid").inputs.len()
            });
        });
    }
    group.bench_function("binary_encode", |b| {
        b.iter_batched(
            || response(vec![tensor(floats())]),
            |response| encode_infer_response_as(response, &OutputForms::binary()),
            BatchSize::LargeInput,
        );
    });
    let frame = encode_infer_request("model", None, request(floats()), ContentsForm::Raw);
    let message = Bytes::from(frame.expect("short").concat()).slice(PREFIX_BYTES..);
    group.bench_function("grpc_decode", |b| {
        b.iter(|| decode_infer_call(message.clone()).expect("valid").request.inputs.len());
    });
    group.bench_function("grpc_encode", |b| {
        b.iter_batched(
            || response(vec![tensor(floats())]),
            |response| encode_call(response, ContentsForm::Raw),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// Values without types: eight features and an image, as TensorFlow Serving's clients send them.
fn untyped(c: &mut Criterion) {
    const ROWS: &[u8] = br#"{"instances":[[5.1,3.5,1.4,0.2,6.7,3.0,5.2,2.3]]}"#;
    let spec = |shape: &[i64]| TensorSpec {
        name: "x".to_owned(),
        datatype: Datatype::Fp32,
        shape: shape.into(),
        places: Vec::new(),
        ordered: true,
    };
    let features = [spec(&[-1, 8])];
    let probabilities =
        [Tensor::new("y", [1, 3].as_slice(), TensorData::Fp32(vec![0.98, 0.018, 1.4e-8]))
            .expect("agrees")];
    let encode = |form, outputs: &[Tensor]| {
        let mut body = Vec::new();
        encode_predictions(form, outputs, &mut body).expect("rows");
        body
    };
    let mut group = c.benchmark_group("untyped");
    group.bench_function("path", |b| {
        b.iter(|| dialect::parse_path(black_box("/v1/models/m:predict")));
    });
    group.bench_function("decode_features", |b| {
        b.iter(|| decode_predict(black_box(ROWS), Some(&features), true));
    });
    group.bench_function("guess_features", |b| {
        b.iter(|| decode_predict(black_box(ROWS), None, true));
    });
    group.bench_function("decode_and_encode_features", |b| {
        b.iter(|| {
            let request = decode_predict(black_box(ROWS), Some(&features), true);
            (request, encode(Form::Rows, black_box(&probabilities)))
        });
    });
    let pixels: Vec<f32> = (0..150_528u32).map(|i| (i % 9973) as f32 / 255.0).collect();
    let image = Tensor::new("x", [1, 3, 224, 224].as_slice(), TensorData::Fp32(pixels));
    let image = [image.expect("agrees")];
    let request = InferRequest { inputs: image.to_vec(), ..InferRequest::default() };
    let mut body = Vec::new();
    encode_predict(&request, &mut body).expect("columns");
    let signature = [spec(&[-1, 3, 224, 224])];
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("decode_image", |b| {
        b.iter(|| decode_predict(&body, Some(&signature), false));
    });
    group.bench_function("encode_image", |b| b.iter(|| encode(Form::Columns, &image)));
    group.finish();
}

fn infer(c: &mut Criterion) {
    let mut group = c.benchmark_group("infer");
    let cases = [
        ("iris/v1", vec![4]),
        ("iris/v2", vec![4]),
        ("digits/v1", vec![64]),
        ("convnet/v1", vec![1, 8, 8]),
    ];
    for (folder, features) in cases {
        let model = model(folder);
        for batch in [1, 32] {
            let mut shape = vec![batch];
            shape.extend(&features);
            let count = shape.iter().product();
            let data = TensorData::Fp32(vec![0.5; count]);
            let input = Tensor::new("input", shape.as_slice(), data).expect("agrees");
            group.bench_function(format!("{folder}/batch_{batch}"), |b| {
                b.iter(|| model.infer(vec![input.clone()], &[]));
            });
        }
    }
    let iris = model("iris/v1");
    group.bench_function("iris/v1/from_body_to_body", |b| {
        b.iter(|| {
            let request = decode_infer_request(black_box(IRIS)).expect("valid");
            encode(&response(iris.infer(request.inputs, &[]).expect("answers")))
        });
    });
    group.finish();
}

criterion_group!(benches, codec, features, tensors, untyped, infer);
criterion_main!(benches);
