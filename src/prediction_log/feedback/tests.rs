//! The index by itself: what is a repetition, what is a replacement, what is forgotten.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::record::PredictionRecord;
use crate::prediction_log::tests::sample;

const NOW: u64 = 1_700_000_000_000;

fn index(capacity: usize) -> Index {
    let window = Duration::from_secs(10);
    Index::new(&FeedbackSpec { window, index: capacity, ..FeedbackSpec::default() })
}

fn id(n: u8) -> RecordId {
    RecordId::from_parts(NOW, [n; 10])
}

fn statement<'a>(n: u8, key: &'a str, label: &'a str) -> FeedbackRecord<'a> {
    FeedbackRecord {
        record_id: id(n),
        feedback_id: "",
        ts_us: NOW * 1000,
        target: FeedbackTarget::Key(key),
        model: "",
        metric: "label",
        value: None,
        label: Some(label),
        source: "",
        observed_us: None,
        retracted: false,
    }
}

#[test]
fn a_statement_is_new_then_busy_then_a_duplicate() {
    let mut index = index(10);
    let first = statement(1, "a", "x");
    assert_eq!(index.decide(&first), Decision::New { place: Place::First });
    assert_eq!(index.decide(&statement(2, "a", "x")), Decision::Busy);
    index.settle(&first, Place::First, true);
    assert_eq!(index.decide(&statement(3, "a", "x")), Decision::Duplicate(id(1)));
    assert_eq!(index.decide(&statement(4, "a", "y")), Decision::New { place: Place::Replaces });
    assert_eq!(index.decide(&statement(5, "b", "x")), Decision::New { place: Place::First });
}

#[test]
fn a_statement_that_was_lost_is_taken_back_out() {
    let mut index = index(10);
    let first = statement(1, "a", "x");
    index.decide(&first);
    index.settle(&first, Place::First, false);
    assert_eq!(index.decide(&statement(2, "a", "x")), Decision::New { place: Place::First });
}

/// A, B and A again: B stands, and the client is told so, also after the log was read back.
#[test]
fn a_repetition_of_what_was_replaced_is_told_to_be_superseded() {
    let all = [statement(1, "a", "x"), statement(2, "a", "y")];
    let mut running = index(10);
    let mut again = index(10);
    for one in &all {
        let Decision::New { place } = running.decide(one) else { panic!("it is new") };
        running.settle(one, place, true);
    }
    // The thread reads what is known here already, one row after the other.
    all.iter().for_each(|one| running.saw_feedback(one));
    all.iter().for_each(|one| again.saw_feedback(one));
    for index in [&mut running, &mut again] {
        assert_eq!(index.decide(&statement(3, "a", "x")), Decision::Superseded(id(1)));
        assert_eq!(index.decide(&statement(4, "a", "y")), Decision::Duplicate(id(2)));
        // With the time of finding out it is another statement, and a repetition of that is one.
        let later = FeedbackRecord { observed_us: Some(5), ..statement(5, "a", "x") };
        assert_eq!(index.decide(&later), Decision::New { place: Place::Replaces });
        index.settle(&later, Place::Replaces, true);
        assert_eq!(index.decide(&later), Decision::Duplicate(id(5)));
        assert_eq!(index.decide(&statement(6, "a", "y")), Decision::Superseded(id(2)));
    }
}

/// What was found out earlier comes late: what stands counts on, and the client is told so.
#[test]
fn what_was_found_out_earlier_replaces_nothing() {
    let at = |n, label, seconds: u64| FeedbackRecord {
        observed_us: Some(seconds * 1_000_000),
        ..statement(n, "a", label)
    };
    let (stands, older) = (at(1, "x", 9), at(2, "y", 5));
    let mut running = index(10);
    assert_eq!(running.decide(&stands), Decision::New { place: Place::First });
    running.settle(&stands, Place::First, true);
    assert_eq!(running.decide(&older), Decision::New { place: Place::Behind });
    running.settle(&older, Place::Behind, true);
    let mut again = index(10);
    again.saw_feedback(&stands);
    again.saw_feedback(&older);
    for index in [&mut running, &mut again] {
        assert_eq!(index.decide(&at(3, "z", 7)), Decision::New { place: Place::Behind });
        assert_eq!(index.decide(&at(4, "z", 10)), Decision::New { place: Place::Replaces });
        // One that does not say when it was found out comes in the order of the log.
        assert_eq!(index.decide(&statement(5, "a", "z")), Decision::New { place: Place::Replaces });
    }
}

#[test]
fn the_clients_own_id_says_what_is_the_same() {
    let mut index = index(10);
    let own =
        |n, id: &'static str, label| FeedbackRecord { feedback_id: id, ..statement(n, "a", label) };
    index.saw_feedback(&own(1, "one", "x"));
    assert_eq!(index.decide(&own(2, "one", "other")), Decision::Duplicate(id(1)));
    assert_eq!(index.decide(&own(3, "two", "x")), Decision::New { place: Place::Replaces });
    let other = FeedbackRecord { metric: "clicked", ..own(4, "one", "x") };
    assert_eq!(index.decide(&other), Decision::New { place: Place::First });
    let taken_back = FeedbackRecord { retracted: true, ..statement(5, "a", "x") };
    assert_eq!(index.decide(&taken_back), Decision::New { place: Place::Replaces });
}

#[test]
fn a_target_is_known_late_pending_or_impossible() {
    let index = index(10);
    let standing = |target, now| index.standing(target, now);
    let prediction = FeedbackTarget::Prediction;
    assert_eq!(standing(prediction(id(1)), NOW), Standing::Pending);
    assert_eq!(standing(prediction(id(1)), NOW + 10_001), Standing::Late);
    assert_eq!(standing(prediction(id(1)), NOW - 60_000), Standing::Pending);
    assert_eq!(standing(prediction(id(1)), NOW - 60_001), Standing::Impossible);
    let random = RecordId::parse("f81d4fae-7dec-41d0-a765-00a0c91e6bf6").expect("version 4");
    assert_eq!(standing(prediction(random), NOW), Standing::Impossible);
    assert_eq!(standing(FeedbackTarget::Key("a"), NOW), Standing::Pending);
}

/// Names and statements of the default index fit into the memory that the documentation names.
#[test]
fn the_default_index_is_small() {
    let spec = FeedbackSpec::default();
    let mut index = Index::new(&spec);
    for n in 0..spec.index as u64 {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&n.to_be_bytes());
        let record_id = RecordId::from_parts(NOW, random);
        index.saw_prediction(&PredictionRecord {
            record_id,
            request_id: "",
            feedback_key: "",
            ..sample::record(1, b"")
        });
        let about = FeedbackTarget::Prediction(record_id);
        index.saw_feedback(&FeedbackRecord { record_id, target: about, ..statement(1, "", "x") });
    }
    assert_eq!(index.sizes(), [spec.index; 3]);
    let bytes = index.bytes();
    assert!(bytes < 40 << 20, "{bytes} bytes");
    assert!(bytes / spec.index <= 84, "{} bytes each", bytes / spec.index);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Within its bound the index tells each statement from all others, and beyond it, it never
    /// holds more than the bound.
    #[test]
    fn the_index_is_exact_and_bounded(
        statements in prop::collection::vec(("[ab]{0,2}", "[ab]{0,2}"), 1..60),
        capacity in 1usize..20,
    ) {
        let (mut wide, mut small) = (index(1000), index(capacity));
        let mut kept = std::collections::BTreeSet::new();
        for (n, (key, label)) in (0..).zip(&statements) {
            let record = statement(n, key, label);
            let new = matches!(wide.decide(&record), Decision::New { .. });
            prop_assert_eq!(new, kept.insert((key, label)));
            wide.settle(&record, Place::Replaces, true);
            if let Decision::New { place } = small.decide(&record) {
                small.settle(&record, place, true);
            }
            prop_assert!(small.sizes().iter().all(|size| *size <= capacity));
        }
    }
}
