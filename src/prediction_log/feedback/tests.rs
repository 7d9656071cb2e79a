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
    assert_eq!(index.decide(&first), Decision::New { replaces: false });
    assert_eq!(index.decide(&statement(2, "a", "x")), Decision::Busy);
    index.settle(&first, false, true);
    assert_eq!(index.decide(&statement(3, "a", "x")), Decision::Duplicate(id(1)));
    assert_eq!(index.decide(&statement(4, "a", "y")), Decision::New { replaces: true });
    assert_eq!(index.decide(&statement(5, "b", "x")), Decision::New { replaces: false });
}

#[test]
fn a_statement_that_was_lost_is_taken_back_out() {
    let mut index = index(10);
    let first = statement(1, "a", "x");
    index.decide(&first);
    index.settle(&first, false, false);
    assert_eq!(index.decide(&statement(2, "a", "x")), Decision::New { replaces: false });
}

/// A, B and A again: B stands, and the client is told so, also after the log was read back.
#[test]
fn a_repetition_of_what_was_replaced_is_told_to_be_superseded() {
    let all = [statement(1, "a", "x"), statement(2, "a", "y")];
    let mut running = index(10);
    let mut again = index(10);
    for one in &all {
        let Decision::New { replaces } = running.decide(one) else { panic!("it is new") };
        running.settle(one, replaces, true);
    }
    // The thread reads what is known here already, one row after the other.
    all.iter().for_each(|one| running.saw_feedback(one));
    all.iter().for_each(|one| again.saw_feedback(one));
    for index in [&mut running, &mut again] {
        assert_eq!(index.decide(&statement(3, "a", "x")), Decision::Superseded(id(1)));
        assert_eq!(index.decide(&statement(4, "a", "y")), Decision::Duplicate(id(2)));
        // With the time of finding out it is another statement, and a repetition of that is one.
        let later = FeedbackRecord { observed_us: Some(5), ..statement(5, "a", "x") };
        assert_eq!(index.decide(&later), Decision::New { replaces: true });
        index.settle(&later, true, true);
        assert_eq!(index.decide(&later), Decision::Duplicate(id(5)));
        assert_eq!(index.decide(&statement(6, "a", "y")), Decision::Superseded(id(2)));
    }
}

#[test]
fn the_clients_own_id_says_what_is_the_same() {
    let mut index = index(10);
    let own =
        |n, id: &'static str, label| FeedbackRecord { feedback_id: id, ..statement(n, "a", label) };
    index.saw_feedback(&own(1, "one", "x"));
    assert_eq!(index.decide(&own(2, "one", "other")), Decision::Duplicate(id(1)));
    assert_eq!(index.decide(&own(3, "two", "x")), Decision::New { replaces: true });
    let other = FeedbackRecord { metric: "clicked", ..own(4, "one", "x") };
    assert_eq!(index.decide(&other), Decision::New { replaces: false });
    let taken_back = FeedbackRecord { retracted: true, ..statement(5, "a", "x") };
    assert_eq!(index.decide(&taken_back), Decision::New { replaces: true });
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
    assert!(bytes / spec.index <= 80, "{} bytes each", bytes / spec.index);
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
            wide.settle(&record, true, true);
            if let Decision::New { replaces } = small.decide(&record) {
                small.settle(&record, replaces, true);
            }
            prop_assert!(small.sizes().iter().all(|size| *size <= capacity));
        }
    }
}
