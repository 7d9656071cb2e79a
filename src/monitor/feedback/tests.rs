//! The join by itself: rows of the log in, labels and quality out, in any order and any number of times.

mod answers;
mod changes;
mod checkpoints;
mod looks;

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use self::changes::shown;
use super::checkpoint::Checkpoint;
use super::report::ALPHA;
use super::series::Cell;
use super::state::{Fate, State};
use super::store::WAITING_MAX;
use crate::domain::ids::{Entropy, Generation, ModelName, RecordId};
use crate::domain::record::{
    DecisionRow, FeedbackRecord, FeedbackTarget, Flags, Kind, Latency, Omission, Outcome, Payload,
    PredictionRecord, Protocol, Side,
};
use crate::domain::spec::{
    FeedbackSpec, FieldSource, JsonPointer, LabelPolicy, LabelTask, LabelsSpec, OutputRef,
    SliceSource,
};
use crate::domain::stats::window::WindowLength;
use crate::monitor::about::About;

/// Noon of a day, in microseconds since the Unix epoch.
const NOON: u64 = 1_767_268_800_000_000;
const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3600 * SECOND;

fn spec(task: LabelTask) -> LabelsSpec {
    LabelsSpec {
        task,
        metric: "label".to_owned(),
        source: None,
        policy: LabelPolicy::Latest,
        slice: None,
        slices: 2,
        detector: Default::default(),
    }
}

/// The classes a, b and c, by the outputs that have as many values.
fn classes() -> LabelsSpec {
    let names = ["a", "b", "c"].map(str::to_owned).to_vec();
    spec(LabelTask::Classes {
        names,
        predicted: None,
        probabilities: None,
        positive: None,
        threshold: 0.5,
    })
}

fn pointer(text: &str) -> OutputRef {
    OutputRef::Pointer(JsonPointer::parse(text).expect("a pointer"))
}

fn state_of(labels: LabelsSpec) -> State {
    State::new([(ModelName::new("m"), labels)], &FeedbackSpec::default())
}

fn id(n: u64) -> RecordId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&n.to_be_bytes());
    RecordId::from_parts(NOON / 1000, random)
}

/// Prediction `n`, made `n` seconds after noon.
struct Predicted {
    n: u64,
    version: &'static str,
    body: String,
    request: String,
    key: String,
}

fn predicted(n: u64, class: &str, shares: &[f64]) -> Predicted {
    let body = json!({
        "model_name": "m",
        "outputs": [
            { "name": "label", "shape": [1], "datatype": "BYTES", "data": [class] },
            { "name": "p", "shape": [1, shares.len()], "datatype": "FP64", "data": shares },
        ],
    });
    Predicted {
        n,
        version: "v1",
        body: body.to_string(),
        request: format!("r{n}"),
        key: format!("k{n}"),
    }
}

impl Predicted {
    fn record(&self) -> PredictionRecord<'_> {
        PredictionRecord {
            record_id: id(self.n),
            kind: Kind::Inference,
            request_id: &self.request,
            trace_id: None,
            span_id: None,
            parent_record_id: None,
            ts_us: NOON + self.n * SECOND,
            decision: DecisionRow {
                route: "",
                protocol: Protocol::OpenInferenceRest,
                model: "m",
                model_version: self.version,
                model_digest: None,
                backend: "local",
                reason: "weight",
                generation: Generation(1),
                entropy: Entropy(0),
                attempt: 1,
            },
            method: "POST",
            path: "/v2/models/m/infer",
            client: "127.0.0.1",
            request: Side { headers: vec![("x-region", "north")], ..Side::EMPTY },
            response: Side {
                content_type: "application/json",
                body: Payload::Slice(self.body.as_bytes()),
                ..Side::EMPTY
            },
            status: 200,
            grpc_status: None,
            outcome: Outcome::Ok,
            error_code: "",
            error_detail: "",
            latency: Latency { t_total: 1000, ..Latency::default() },
            sample_rate: 1.0,
            batch_size: Some(1),
            durability: None,
            flags: Flags::default(),
            feedback_key: &self.key,
            session: "",
        }
    }
}

fn label<'a>(target: FeedbackTarget<'a>, label: &'a str) -> FeedbackRecord<'a> {
    FeedbackRecord {
        record_id: id(0),
        feedback_id: "",
        ts_us: NOON + HOUR,
        target,
        model: "",
        metric: "label",
        value: None,
        label: Some(label),
        source: "",
        observed_us: None,
        retracted: false,
    }
}

fn whole(state: &State) -> Cell {
    let model = &state.models[0];
    let mut whole = Cell::new(&model.measure);
    for version in &model.versions {
        let days = version.slice(0).into_iter().flat_map(|series| series.of(WindowLength::Day));
        days.for_each(|(_, day)| whole.merge(day));
    }
    whole
}

fn metric(state: &State, name: &str) -> f64 {
    let metrics = whole(state).quality.metrics(&state.models[0].measure, ALPHA);
    metrics.iter().find(|metric| metric.name == name).expect(name).value
}

fn fate(state: &State, fate: Fate) -> u64 {
    state.models[0].fates.get(&fate).copied().unwrap_or_default()
}

fn predict(state: &mut State, predicted: &Predicted) {
    state.prediction(&predicted.record(), &About::default(), u64::MAX);
}

#[test]
fn labels_find_their_prediction_by_each_of_its_names() {
    let mut state = state_of(classes());
    for n in 0..3 {
        predict(&mut state, &predicted(n, "a", &[0.5, 0.3, 0.2]));
    }
    let targets = [
        FeedbackTarget::Prediction(id(0)),
        FeedbackTarget::Request("r1"),
        FeedbackTarget::Key("k2"),
    ];
    for (lsn, (target, truth)) in (10..).zip(targets.into_iter().zip(["a", "b", "a"])) {
        state.feedback(lsn, &label(target, truth), u64::MAX);
    }
    assert_eq!(fate(&state, Fate::Joined), 3);
    assert_eq!(metric(&state, "accuracy"), 2.0 / 3.0);
    let cohort = whole(&state).cohort;
    assert_eq!((cohort.predicted(), cohort.labelled()), (3, 3));
    // The curve knows that the labels took an hour.
    assert_eq!(cohort.coverage(), Some(1.0));
}

#[test]
fn a_label_that_is_corrected_or_taken_back_leaves_no_trace() {
    let mut state = state_of(classes());
    predict(&mut state, &predicted(1, "a", &[0.5, 0.3, 0.2]));
    let about = FeedbackTarget::Prediction(id(1));
    state.feedback(10, &label(about, "a"), u64::MAX);
    assert_eq!(metric(&state, "accuracy"), 1.0);
    state.feedback(11, &label(about, "b"), u64::MAX);
    state.feedback(12, &label(about, "b"), u64::MAX);
    assert_eq!((metric(&state, "accuracy"), metric(&state, "log_loss")), (0.0, -(0.3f64.ln())));
    let retraction = FeedbackRecord { label: None, retracted: true, ..label(about, "") };
    state.feedback(13, &retraction, u64::MAX);
    let mut untouched = state_of(classes());
    predict(&mut untouched, &predicted(1, "a", &[0.5, 0.3, 0.2]));
    assert_eq!(whole(&state).quality, whole(&untouched).quality);
    assert_eq!(whole(&state).cohort, whole(&untouched).cohort);
    let fates = [Fate::Joined, Fate::Replaced, Fate::Retracted, Fate::Unchanged];
    assert_eq!(fates.map(|one| fate(&state, one)), [1, 1, 1, 1]);
}

#[test]
fn a_label_may_come_before_its_prediction_but_not_for_ever() {
    let mut state = state_of(classes());
    state.feedback(1, &label(FeedbackTarget::Key("k1"), "a"), u64::MAX);
    state.feedback(2, &label(FeedbackTarget::Request("r1"), "b"), u64::MAX);
    state.feedback(3, &label(FeedbackTarget::Key("nobody's"), "b"), u64::MAX);
    assert_eq!(state.store.waiting(), 3);
    predict(&mut state, &predicted(1, "a", &[0.5, 0.3, 0.2]));
    assert_eq!((state.store.waiting(), state.unmatched), (1, 0));
    // The later of the two counts.
    assert_eq!(metric(&state, "accuracy"), 0.0);
    let much_later =
        FeedbackRecord { ts_us: NOON + 2 * HOUR, ..label(FeedbackTarget::Key("x"), "a") };
    state.feedback(4, &much_later, u64::MAX);
    assert_eq!((state.store.waiting(), state.unmatched), (1, 1));
}

#[test]
fn a_flood_of_unknown_labels_is_bounded_and_counted() {
    let mut state = state_of(classes());
    for n in 0..WAITING_MAX as u64 + 500 {
        let key = format!("flood-{n}");
        state.feedback(n, &label(FeedbackTarget::Key(&key), "a"), u64::MAX);
    }
    let (waiting, gone) = (state.store.waiting() as u64, state.unmatched);
    assert!(waiting <= WAITING_MAX as u64 + 1 && waiting + gone == WAITING_MAX as u64 + 500);
}

/// Labels of 60 KiB for predictions that never come take an eighth of the memory, not the place of predictions.
#[test]
fn a_flood_of_long_labels_is_bounded_by_bytes() {
    let mut state = State::new(
        [(ModelName::new("m"), classes())],
        &FeedbackSpec { memory: 8 << 20, ..FeedbackSpec::default() },
    );
    predict(&mut state, &predicted(1, "a", &[0.5, 0.3, 0.2]));
    let long = "x".repeat(60 << 10);
    for n in 0..1000 {
        let key = format!("flood-{n}");
        state.feedback(n, &label(FeedbackTarget::Key(&key), &long), u64::MAX);
    }
    let (waiting, bytes) = (state.store.waiting() as u64, state.store.bytes());
    assert!(waiting > 5 && bytes <= (1 << 20) + (128 << 10), "{waiting} wait, {bytes} bytes");
    assert_eq!((waiting + state.unmatched, state.store.len()), (1000, 1));
}

/// To return to an earlier value it is enough to say when that was found out.
#[test]
fn a_label_may_come_back_when_it_is_said_when() {
    let mut state = state_of(classes());
    predict(&mut state, &predicted(1, "a", &[0.5, 0.3, 0.2]));
    let about = FeedbackTarget::Prediction(id(1));
    for (lsn, (text, hours)) in (10..).zip([("a", 1), ("b", 2), ("a", 3), ("b", 0)]) {
        let observed_us = Some(NOON + hours * HOUR);
        state.feedback(lsn, &FeedbackRecord { observed_us, ..label(about, text) }, u64::MAX);
    }
    assert_eq!((metric(&state, "accuracy"), whole(&state).quality.n()), (1.0, 1));
    assert_eq!(fate(&state, Fate::Replaced), 2, "the last one was found out first");
}

#[test]
fn labels_count_within_the_join_window_by_prediction_time() {
    let mut state = State::new(
        [(ModelName::new("m"), classes())],
        &FeedbackSpec { window: Duration::from_secs(7200), ..FeedbackSpec::default() },
    );
    predict(&mut state, &predicted(0, "a", &[0.5, 0.3, 0.2]));
    predict(&mut state, &predicted(1, "a", &[0.5, 0.3, 0.2]));
    let about = |n| FeedbackTarget::Prediction(id(n));
    let at = |n, ts_us| FeedbackRecord { ts_us, ..label(about(n), "a") };
    state.feedback(10, &at(0, NOON + 2 * HOUR), u64::MAX);
    state.feedback(11, &at(1, NOON + 2 * HOUR + 2 * SECOND), u64::MAX);
    assert_eq!((fate(&state, Fate::Joined), fate(&state, Fate::Late)), (1, 1));
}

/// Other metrics and sources are none of its business.
#[test]
fn only_the_declared_metric_and_source_count() {
    let (metric, source) = ("verdict".to_owned(), Some("audit".to_owned()));
    let mut state = state_of(LabelsSpec { metric, source, ..classes() });
    predict(&mut state, &predicted(1, "a", &[0.5, 0.3, 0.2]));
    let about = FeedbackTarget::Prediction(id(1));
    let mut lsn = 10;
    for (metric, source) in [("label", "audit"), ("verdict", ""), ("verdict", "audit")] {
        lsn += 1;
        state.feedback(lsn, &FeedbackRecord { metric, source, ..label(about, "a") }, u64::MAX);
    }
    assert_eq!((fate(&state, Fate::Joined), state.store.waiting()), (1, 0));
}

#[test]
fn slices_are_bounded_and_add_up() {
    let slice = Some(SliceSource::Field(FieldSource::Header("x-region".to_owned())));
    let mut state = state_of(LabelsSpec { slice, ..classes() });
    for n in 0..40u64 {
        let one = predicted(n, "a", &[0.5, 0.3, 0.2]);
        let region = format!("region-{}", n % 5);
        let request = Side { headers: vec![("x-region", region.as_str())], ..Side::EMPTY };
        state.prediction(
            &PredictionRecord { request, ..one.record() },
            &About::default(),
            u64::MAX,
        );
    }
    let model = &state.models[0];
    assert_eq!(model.slices, ["all", "region-0", "region-1", "other"]);
    let of = |slice| -> u64 {
        let series = model.versions[0].slice(slice).expect("there");
        series.of(WindowLength::Day).map(|(_, cell)| cell.cohort.predicted()).sum()
    };
    assert_eq!([0, 1, 2, 3].map(of), [40, 8, 8, 24]);
}

/// Memory is bounded: the oldest predictions go, and what was counted of them stays.
#[test]
fn the_store_drops_the_oldest_when_memory_is_full() {
    let mut state = State::new(
        [(ModelName::new("m"), classes())],
        &FeedbackSpec { memory: 1 << 20, ..FeedbackSpec::default() },
    );
    for n in 0..20_000 {
        predict(&mut state, &predicted(n, "a", &[0.5, 0.3, 0.2]));
    }
    let (bytes, most) = state.bytes();
    assert!(bytes <= most && state.store.len() > 1000, "{bytes} bytes, {}", state.store.len());
    assert_eq!(state.dropped + state.store.len() as u64, 20_000);
    assert!(
        state.store.bytes() / state.store.len() < 600,
        "bytes of one with two names and three classes"
    );
    assert_eq!(whole(&state).cohort.predicted(), 20_000);
}

/// A row from the future does not throw away what is there.
#[test]
fn a_wrong_clock_moves_nothing() {
    let mut state = state_of(classes());
    predict(&mut state, &predicted(1, "a", &[0.5, 0.3, 0.2]));
    let future = predicted(400 * 24 * 3600, "a", &[0.5, 0.3, 0.2]);
    state.prediction(&future.record(), &About::default(), NOON + HOUR);
    assert_eq!(state.store.len(), 2);
    state.feedback(9, &label(FeedbackTarget::Prediction(id(1)), "a"), NOON + HOUR);
    assert_eq!(fate(&state, Fate::Joined), 1);
}

fn checkpoint(dir: &std::path::Path, state: &State) -> Checkpoint {
    let models = state.models.iter().map(|model| (&model.name, &model.spec));
    Checkpoint::new(dir, models, state.window_us)
}

/// What is sent about each of a few predictions.
fn deliveries() -> impl Strategy<Value = Vec<(u64, Option<&'static str>, u32)>> {
    let truth =
        prop_oneof![4 => prop::sample::select(vec!["a", "b", "c"]).prop_map(Some), 1 => Just(None)];
    prop::collection::vec((0u64..12, truth, any::<u32>()), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// However labels come (doubled, before the prediction, mixed with others), the quality is that of the labels
    /// that count in the end, and a stop and a checkpoint in the middle change nothing.
    #[test]
    fn quality_is_that_of_the_labels_that_count(deliveries in deliveries(), early in 0u64..12, stop in 100u64..160) {
        let dir = tempfile::tempdir().expect("a directory");
        let run = |stop: Option<u64>| {
            let mut state = state_of(classes());
            let prediction = |n: u64| predicted(n, ["a", "b", "c"][n as usize % 3], &[0.5, 0.25, 0.25]);
            for n in early..12 {
                predict(&mut state, &prediction(n));
            }
            for (lsn, (n, truth, salt)) in (100u64..).zip(&deliveries) {
                let own = format!("{lsn}");
                let record = FeedbackRecord {
                    feedback_id: &own,
                    label: *truth,
                    retracted: truth.is_none(),
                    ts_us: NOON + HOUR / 10 + u64::from(salt % 100),
                    ..label(FeedbackTarget::Prediction(id(*n)), "")
                };
                state.feedback(lsn, &record, u64::MAX);
                if stop == Some(lsn) {
                    let own = checkpoint(dir.path(), &state);
                    own.write(&own.encode(&state.saved(lsn)).expect("bytes")).expect("written");
                    state = state_of(classes());
                    state.restore(own.read(lsn).expect("good").expect("there"));
                }
                if salt % 3 == 0 {
                    state.feedback(lsn + 1000, &record, u64::MAX);
                }
            }
            for n in 0..early {
                predict(&mut state, &prediction(n));
            }
            state
        };
        let (state, again) = (run(None), run(Some(stop)));
        let mut truths = [None; 12];
        for (n, truth, _) in &deliveries {
            truths[*n as usize] = *truth;
        }
        let labelled = truths.iter().flatten().count() as u64;
        let correct = (0..).zip(&truths).filter(|(n, truth)| **truth == Some(["a", "b", "c"][n % 3])).count();
        let cell = whole(&state);
        prop_assert_eq!((cell.quality.n(), cell.cohort.labelled(), cell.cohort.predicted()), (labelled, labelled, 12));
        if labelled > 0 {
            prop_assert_eq!(metric(&state, "accuracy"), correct as f64 / labelled as f64);
        }
        let other = whole(&again);
        prop_assert_eq!((&cell.quality, &cell.cohort, &cell.scores), (&other.quality, &other.cohort, &other.scores));
        prop_assert_eq!(&state.models[0].fates, &again.models[0].fates);
        prop_assert_eq!(shown(&state), shown(&again));
        prop_assert_eq!((state.store.bytes(), state.store.waiting()), (again.store.bytes(), again.store.waiting()));
        // Windows of every length agree.
        let version = &state.models[0].versions[0];
        for length in WindowLength::ALL {
            let series = version.slice(0).expect("all");
            let n: u64 = series.of(length).map(|(_, cell)| cell.quality.n()).sum();
            prop_assert_eq!(n, labelled, "{:?}", length);
        }
    }
}
