//! What a prediction costs besides the network: decoding, the model, encoding.

#![expect(clippy::expect_used, reason = "a benchmark stops at the first surprise")]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use pointsman::inference::{LoadLimits, LocalModel};
use pointsman::protocol::infer::InferResponse;
use pointsman::protocol::open_inference::{
    decode_infer_request, encode_infer_response, parse_path,
};
use pointsman::protocol::tensor::{Tensor, TensorData};

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

    let pixels: Vec<f32> = (0..150_528u32).map(|i| (i % 9973) as f32 / 255.0).collect();
    let image = tensor("image", &[1, 3, 224, 224], TensorData::Fp32(pixels));
    let image = response(vec![image]);
    let body = String::from_utf8(encode(&image)).expect("UTF-8");
    let body = body.replacen("\"outputs\"", "\"inputs\"", 1);
    group.throughput(criterion::Throughput::Bytes(body.len() as u64));
    group.bench_function("decode_image", |b| b.iter(|| decode_infer_request(body.as_bytes())));
    group.bench_function("encode_image", |b| b.iter(|| encode(&image)));
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

criterion_group!(benches, codec, infer);
criterion_main!(benches);
