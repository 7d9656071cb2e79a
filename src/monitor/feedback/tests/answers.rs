//! What is read out of responses, in every form and row by row.

use prost::Message as _;

use super::*;
use crate::protocol::open_inference::grpc::{InferTensor, ModelInferResponse};

#[test]
fn what_cannot_be_scored_is_counted_with_the_reason() {
    let mut state = state_of(classes());
    let failed = predicted(1, "a", &[0.5, 0.3, 0.2]);
    state.prediction(
        &PredictionRecord { status: 500, ..failed.record() },
        &About::default(),
        u64::MAX,
    );
    let cut = predicted(2, "a", &[0.5, 0.3, 0.2]);
    let response = Side { omission: Some(Omission::Size), ..cut.record().response };
    state.prediction(&PredictionRecord { response, ..cut.record() }, &About::default(), u64::MAX);
    predict(&mut state, &predicted(3, "unheard of", &[0.5, 0.3, 0.2]));
    predict(&mut state, &Predicted { body: "no JSON".to_owned(), ..predicted(4, "a", &[]) });
    let rows = predicted(5, "a", &[0.5, 0.3, 0.2]);
    state.prediction(
        &PredictionRecord { batch_size: Some(2), ..rows.record() },
        &About::default(),
        u64::MAX,
    );
    predict(&mut state, &predicted(6, "a", &[0.5, 3.0, 0.2]));
    let reasons: Vec<(&str, u64)> =
        state.models[0].versions[0].unscored.iter().map(|(why, n)| (why.as_str(), *n)).collect();
    let wanted = ["failed", "omitted", "output", "rows", "class", "probabilities"];
    assert_eq!(reasons, wanted.map(|why| (why, 1)));
    state.feedback(10, &label(FeedbackTarget::Prediction(id(1)), "a"), u64::MAX);
    predict(&mut state, &predicted(7, "a", &[0.5, 0.3, 0.2]));
    state.feedback(11, &label(FeedbackTarget::Prediction(id(7)), "never heard"), u64::MAX);
    assert_eq!((fate(&state, Fate::Unscorable), fate(&state, Fate::Invalid)), (1, 1));
}

#[test]
fn numbers_pointers_and_rewards_are_read_as_declared() {
    let scored = |labels: LabelsSpec, body: Value, truth: f64| {
        let mut state = state_of(labels);
        predict(&mut state, &Predicted { body: body.to_string(), ..predicted(1, "a", &[]) });
        let about = FeedbackTarget::Prediction(id(1));
        let record = FeedbackRecord { value: Some(truth), label: None, ..label(about, "") };
        state.feedback(10, &record, u64::MAX);
        state
    };
    let body = json!({ "scores": { "list": [{ "p": 0.25 }] }, "class": 1 });
    let output = pointer("/scores/list/0/p");
    let value = LabelTask::Value { output: output.clone(), quantile: None, tolerance: Some(1.0) };
    let number = scored(spec(value), body.clone(), 2.0);
    assert_eq!((metric(&number, "mae"), metric(&number, "within_tolerance")), (1.75, 0.0));
    let task = |names: &[&str], predicted, probabilities, positive| LabelTask::Classes {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        predicted,
        probabilities,
        positive,
        threshold: 0.5,
    };
    let class = task(&["a", "b", "c"], Some(pointer("/class")), None, None);
    assert_eq!(metric(&scored(spec(class), body.clone(), 1.0), "accuracy"), 1.0);
    let binary = scored(spec(task(&["no", "yes"], None, Some(output), Some(1))), body.clone(), 1.0);
    assert_eq!((metric(&binary, "recall"), metric(&binary, "brier")), (0.0, 0.5625));
    let reward = LabelsSpec { policy: LabelPolicy::Sum, ..spec(LabelTask::Reward) };
    assert_eq!(metric(&scored(reward, body, 3.5), "reward"), 3.5);
}

/// A prediction of three rows, and what is said about them, row by row.
#[test]
fn each_row_of_a_prediction_has_its_label() {
    let mut state = state_of(classes());
    let body = json!({ "outputs": [
        { "name": "label", "shape": [3], "datatype": "BYTES", "data": ["a", "b", "unheard of"] },
        { "name": "p", "shape": [3, 3], "datatype": "FP64",
          "data": [0.5, 0.3, 0.2, 0.25, 0.5, 0.25, 0.1, 0.1, 0.8] },
    ]});
    let rows = Predicted { body: body.to_string(), ..predicted(1, "", &[]) };
    let record = PredictionRecord { batch_size: Some(3), ..rows.record() };
    state.prediction(&record, &About::default(), u64::MAX);
    let unscored = &state.models[0].versions[0].unscored;
    assert_eq!(unscored.iter().map(|(why, n)| (why.as_str(), *n)).next(), Some(("class", 1)));
    let about = FeedbackTarget::Prediction(id(1));
    let mut lsn = 10;
    let mut say = |state: &mut State, text: &str| {
        lsn += 1;
        state.feedback(lsn, &label(about, text), u64::MAX);
        let cohort = whole(state).cohort;
        (cohort.predicted(), cohort.labelled(), fate(state, Fate::Invalid))
    };
    assert_eq!(say(&mut state, r#"["a", null, "c"]"#), (2, 1, 0), "the third cannot be scored");
    assert_eq!(say(&mut state, r#"["a", "a", "c"]"#), (2, 2, 0));
    assert_eq!((metric(&state, "accuracy"), fate(&state, Fate::Replaced)), (0.5, 1));
    assert_eq!(say(&mut state, r#"["b", null, null]"#), (2, 1, 0), "the second is taken back");
    assert_eq!(metric(&state, "accuracy"), 0.0);
    for not_three in ["a", r#"["a", "b"]"#, r#"["a", "b", ["c"]]"#, r#"["a", "b", "x"]"#] {
        say(&mut state, not_three);
    }
    assert_eq!((whole(&state).cohort.labelled(), fate(&state, Fate::Invalid)), (1, 4));
    let retraction = FeedbackRecord { label: None, retracted: true, ..label(about, "") };
    state.feedback(99, &retraction, u64::MAX);
    assert_eq!((whole(&state).cohort.labelled(), whole(&state).quality.n()), (0, 0));
}

/// The same answer in every form that the monitor reads: each is scored.
#[test]
fn answers_in_every_form_that_the_monitor_reads_are_scored() {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    let json = predicted(1, "b", &[0.25, 0.5, 0.25]).body.into_bytes();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&json).expect("memory");
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::default());
    deflate.write_all(&json).expect("memory");
    let mut binary = json!({ "outputs": [
        { "name": "p", "shape": [2, 3], "datatype": "FP32", "parameters": { "binary_data_size": 24 } },
    ]})
    .to_string()
    .into_bytes();
    let shares = [0.25f32, 0.5, 0.25, 0.5, 0.25, 0.25];
    binary.extend(shares.iter().flat_map(|share| share.to_le_bytes()));
    let message = ModelInferResponse {
        outputs: vec![InferTensor {
            name: "p".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![2, 3],
            ..InferTensor::default()
        }],
        raw_output_contents: vec![binary[binary.len() - 24..].to_vec().into()],
        ..ModelInferResponse::default()
    }
    .encode_to_vec();
    let mut grpc = vec![0];
    grpc.extend(u32::try_from(message.len()).expect("short").to_be_bytes());
    grpc.extend(&message);
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&message).expect("memory");
    let packed = packed.finish().expect("memory");
    let mut grpc_gzip = vec![1];
    grpc_gzip.extend(u32::try_from(packed.len()).expect("short").to_be_bytes());
    grpc_gzip.extend(packed);
    let v1 = br#"{"predictions": [{"class": "b", "p": [0.25, 0.5, 0.25]}]}"#.to_vec();

    let rest = Protocol::OpenInferenceRest;
    let cases = [
        ("gzip", rest, gzip.finish().expect("memory"), r#"["b"]"#),
        ("deflate", rest, deflate.finish().expect("memory"), "b"),
        ("", rest, binary, r#"["b", "a"]"#),
        ("", Protocol::OpenInferenceGrpc, grpc, r#"["b", "a"]"#),
        ("", Protocol::OpenInferenceGrpc, grpc_gzip, r#"["b", "a"]"#),
        ("", Protocol::KserveV1, v1, "1"),
    ];
    for (content_encoding, protocol, body, truth) in cases {
        let mut state = state_of(classes());
        let one = predicted(1, "", &[]);
        let record = one.record();
        let side =
            Side { content_encoding, body: Payload::Slice(&body), ..record.response.clone() };
        let decision = DecisionRow { protocol, ..record.decision };
        let record = PredictionRecord { response: side, decision, batch_size: None, ..record };
        state.prediction(&record, &About::default(), u64::MAX);
        state.feedback(9, &label(FeedbackTarget::Prediction(id(1)), truth), u64::MAX);
        let what =
            format!("{protocol:?} {content_encoding} {:?}", state.models[0].versions[0].unscored);
        assert_eq!(fate(&state, Fate::Joined), 1, "{what}");
        assert_eq!(metric(&state, "accuracy"), 1.0, "{what}");
        assert!(metric(&state, "log_loss") > 0.6, "{what}");
    }
}

/// What a pointer leads to is not taken for classes as well, and an even number of rows not for pairs.
#[test]
fn probabilities_of_one_class_are_found_by_pointer_row_by_row() {
    let task = LabelTask::Classes {
        names: vec!["no".to_owned(), "yes".to_owned()],
        predicted: None,
        probabilities: Some(pointer("/predictions")),
        positive: Some(1),
        threshold: 0.5,
    };
    for (body, truth, brier) in [
        (r#"{"predictions": [1.0, 0.25, 0.75, 0.0]}"#, r#"["yes", "no", "no", "no"]"#, 0.15625),
        (r#"{"predictions": [0.75]}"#, "yes", 0.0625),
        (r#"{"predictions": [[0.25, 0.75]]}"#, "yes", 0.0625),
        (r#"{"predictions": [[0.25, 0.75], [1.0, 0.0]]}"#, r#"["yes", "no"]"#, 0.03125),
    ] {
        let mut state = state_of(spec(task.clone()));
        let one = Predicted { body: body.to_owned(), ..predicted(1, "", &[]) };
        let record = one.record();
        let decision = DecisionRow { protocol: Protocol::KserveV1, ..record.decision };
        let record = PredictionRecord { decision, batch_size: None, ..record };
        state.prediction(&record, &About::default(), u64::MAX);
        state.feedback(9, &label(FeedbackTarget::Prediction(id(1)), truth), u64::MAX);
        assert_eq!(fate(&state, Fate::Joined), 1, "{body}");
        assert_eq!(metric(&state, "brier"), brier, "{body}");
    }
}

/// A service of its own form: rows by the pointers that the configuration has for the monitor.
#[test]
fn outputs_that_the_monitor_has_pointers_for_are_found_by_name() {
    let names = ["no", "yes"].map(str::to_owned).to_vec();
    let mut state = state_of(spec(LabelTask::Classes {
        names,
        predicted: None,
        probabilities: Some(OutputRef::Name("score".to_owned())),
        positive: Some(1),
        threshold: 0.5,
    }));
    let score = JsonPointer::parse("/results/*/score").expect("a pointer");
    let about = About {
        predictions: [("score".to_owned(), score)].into_iter().collect(),
        ..About::default()
    };
    let body = r#"{"results": [{"score": 0.75}, {"score": 0.25}, {"score": 0.5}]}"#;
    let one = Predicted { body: body.to_owned(), ..predicted(1, "", &[]) };
    let record = one.record();
    let decision = DecisionRow { protocol: Protocol::Raw, ..record.decision };
    state.prediction(&PredictionRecord { decision, batch_size: None, ..record }, &about, u64::MAX);
    state.feedback(9, &label(FeedbackTarget::Key("k1"), r#"["yes", "no", "no"]"#), u64::MAX);
    assert_eq!((whole(&state).quality.n(), metric(&state, "accuracy")), (3, 2.0 / 3.0));
}
