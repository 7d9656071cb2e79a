use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::*;
use crate::domain::spec::{InputCard, ModelCard, OnnxSpec, OutputCard};

/// The resident memory of this process in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * rustix::param::page_size() as u64
}

#[test]
fn a_thousand_loads_and_unloads_leave_memory_flat() {
    let cycle = |count: usize| {
        for round in 0..count {
            let model = example(["iris/v1", "iris/v2", "digits/v1", "convnet/v1"][round % 4]);
            let inputs = model.zeros_of(1 + round % 3);
            model.infer(inputs, &[]).expect("answers");
        }
        resident()
    };
    let before = cycle(200);
    let after = cycle(800);
    assert!(after < before + 4_000_000, "{before} bytes grew to {after}");
}

impl LocalModel {
    /// Zeros for every input, with `rows` in the open dimensions.
    fn zeros_of(&self, rows: usize) -> Vec<Tensor> {
        let inputs = self.signature().inputs.iter().map(|spec| {
            let size = |dim: &i64| usize::try_from(*dim).unwrap_or(rows);
            let shape: Vec<usize> = spec.shape.iter().map(size).collect();
            fp32(&spec.name, &shape, &vec![0.0; shape.iter().product()])
        });
        inputs.collect()
    }
}

#[test]
fn a_batch_without_rows_gets_answers_without_rows() {
    for name in ["iris/v1", "digits/v1"] {
        let model = example(name);
        let outputs = model.infer(model.zeros_of(0), &[]).expect("answers");
        outputs.iter().for_each(|output| assert_eq!(output.shape()[0], 0, "{name}"));
    }
}

#[test]
fn frequent_sizes_get_a_plan_of_their_own_and_the_same_answers() {
    let model = example("convnet/v1");
    let (plans, memory) = (model.plans(), model.memory());
    assert_eq!(plans, 2, "the general one and that for a single row");
    let (inputs, wanted) =
        expected("convnet/v1").into_iter().find(|(i, _)| i[0].shape()[0] > 1).expect("rows");
    let until = Instant::now() + Duration::from_secs(20);
    while model.plans_made() == 0 {
        let outputs = model.infer(inputs.clone(), &[]).expect("answers");
        outputs.iter().zip(&wanted).for_each(|(actual, wanted)| assert_close(actual, wanted));
        assert!(Instant::now() < until, "no plan was made");
    }
    let outputs = model.infer(inputs, &[]).expect("answers");
    outputs.iter().zip(&wanted).for_each(|(actual, wanted)| assert_close(actual, wanted));
    assert_eq!((model.plans(), model.plans_made()), (3, 1));
    assert!(model.memory() > memory);
}

fn with_card(folder: &str, card: &ModelCard) -> Result<LocalModel, ArtifactError> {
    load_with(&repository(&format!("config/models/{folder}/model.onnx")), card)
}

fn load_with(path: &Path, card: &ModelCard) -> Result<LocalModel, ArtifactError> {
    let spec = OnnxSpec::new(path);
    LocalModel::read(&spec, &LoadLimits::default())?.load(&spec, Some(card), None)
}

fn card(input: InputCard, labels: &[&str]) -> ModelCard {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    ModelCard {
        interface: Some(2),
        inputs: BTreeMap::from([("input".to_owned(), input)]),
        outputs: BTreeMap::from([("probabilities".to_owned(), OutputCard { labels, unit: None })]),
        ..ModelCard::default()
    }
}

#[test]
fn the_card_scales_inputs_and_names_classes() {
    // Clients send millimetres from 10 on; the model takes centimetres.
    let input = InputCard {
        scale: vec![0.1],
        offset: vec![1.0, 1.0, 1.0, 1.0],
        sample: vec![41.0, 25.0, 4.0, -8.0],
        ..InputCard::default()
    };
    let plain = example("iris/v1");
    let scaled = with_card("iris/v1", &card(input, &["setosa", "versicolor", "virginica"]));
    let scaled = scaled.expect("fits");
    let wanted =
        plain.infer(vec![fp32("input", &[2, 4], &[5.1, 3.5, 1.4, 0.2, 6.7, 3.0, 5.2, 2.3])], &[]);
    let given = scaled
        .infer(vec![fp32("input", &[2, 4], &[41.0, 25.0, 4.0, -8.0, 57.0, 20.0, 42.0, 13.0])], &[]);
    assert_eq!(
        given.as_ref().map(|o| o[0].data().clone()),
        wanted.as_ref().map(|o| o[0].data().clone())
    );
    assert_eq!(scaled.signature().columns["probabilities"], ["setosa", "versicolor", "virginica"]);
    assert_eq!((scaled.interface(), plain.interface()), (Some(2), None));
    assert!(plain.signature().columns.is_empty());
}

#[test]
fn a_card_that_does_not_fit_says_where() {
    let input = |names: usize, scale: usize, sample: usize| InputCard {
        names: (0..names).map(|name| name.to_string()).collect(),
        scale: vec![1.0; scale],
        sample: vec![0.5; sample],
        ..InputCard::default()
    };
    let other = |name: &str| ModelCard {
        inputs: BTreeMap::from([(name.to_owned(), InputCard::default())]),
        ..ModelCard::default()
    };
    let twice = InputCard {
        names: ["a", "b", "a", "c"].map(str::to_owned).to_vec(),
        ..InputCard::default()
    };
    let huge = InputCard { scale: vec![1e300], ..InputCard::default() };
    for (card, clue) in [
        (card(twice, &[]), "`names` of input 'input' has 'a' more than once"),
        (card(huge, &[]), "`scale` of input 'input' has"),
        (other("nope"), "it describes the input 'nope', which the model does not take"),
        (card(input(3, 0, 0), &[]), "input 'input' has 4 places, but `names` has 3 entries"),
        (card(input(4, 2, 0), &[]), "input 'input' has 4 places, but `scale` has 2 entries"),
        (card(input(4, 1, 5), &[]), "a row of input 'input' has 4 values, but `sample` has 5"),
        (card(input(0, 0, 0), &["a", "b"]), "output 'probabilities' has 3 places, not 2"),
    ] {
        let refusal = with_card("iris/v1", &card).map(|_| ()).expect_err(clue).to_string();
        assert!(refusal.contains("does not fit the `model.toml` beside it"), "{refusal}");
        assert!(refusal.contains(clue), "{refusal}");
    }
    let whole = ModelCard {
        inputs: BTreeMap::from([("index".to_owned(), input(0, 1, 0))]),
        ..ModelCard::default()
    };
    let gather = repository("tests/data/models/gather.onnx");
    let refusal = load_with(&gather, &whole).map(|_| ());
    let refusal = refusal.expect_err("integers").to_string();
    assert!(refusal.contains("is INT64, and only FP32 and FP64 are scaled"), "{refusal}");
}

#[test]
fn a_model_with_its_data_beside_it_answers() {
    use tract_onnx::pb::StringStringEntryProto;
    let dir = tempfile::tempdir().expect("a folder");
    let weights: Vec<u8> = [1f32, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(dir.path().join("weights.bin"), weights).expect("written");
    let mut constant = onnx::tensor("w", onnx::FLOAT, &[2], Vec::new());
    constant.data_location = Some(1);
    let location = StringStringEntryProto { key: "location".into(), value: "weights.bin".into() };
    constant.external_data = vec![location];
    let graph = onnx::Graph::default()
        .input("x", onnx::FLOAT, &["N", "2"])
        .constant(constant)
        .node("Mul", &["x", "w"], "y")
        .output("y", onnx::FLOAT, &["N", "2"]);
    let path = dir.path().join("model.onnx");
    std::fs::write(&path, graph.encode()).expect("written");
    let model = load(&path).expect("loads");
    let outputs = model.infer(vec![fp32("x", &[1, 2], &[3.0, 4.0])], &[]).expect("answers");
    assert_eq!(outputs[0], fp32("y", &[1, 2], &[3.0, 8.0]));
    let file = std::fs::read(&path).expect("readable");
    let alone: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(file).into();
    assert_ne!(model.digest(), alone, "the weights count too");
}
