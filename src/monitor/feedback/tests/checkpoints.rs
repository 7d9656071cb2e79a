//! When a checkpoint is taken, and when not.

use super::*;
use crate::monitor::feedback::checkpoint::CheckpointError;

/// What is damaged, of other settings, or ahead of the log is no checkpoint.
#[test]
fn a_checkpoint_is_only_taken_when_it_is_good() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut state = state_of(classes());
    predict(&mut state, &predicted(1, "a", &[0.5, 0.3, 0.2]));
    let own = checkpoint(dir.path(), &state);
    assert!(own.read(7).expect("none is no failure").is_none());
    let bytes = own.encode(&state.saved(7)).expect("bytes");
    own.write(&bytes).expect("written");
    assert_eq!(own.read(7).expect("good").map(|saved| saved.position), Some(7));
    assert!(matches!(own.read(6), Err(CheckpointError::Ahead { knows: 7, ends: 6 })));
    let other = state_of(LabelsSpec { metric: "verdict".to_owned(), ..classes() });
    assert!(matches!(checkpoint(dir.path(), &other).read(7), Err(CheckpointError::Settings)));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        own.write(&damaged).expect("written");
        assert!(own.read(7).is_err(), "byte {at}");
        own.write(&bytes[..at]).expect("written");
        assert!(own.read(7).is_err(), "the first {at} bytes");
    }
    own.remove();
    assert!(own.read(7).expect("none is no failure").is_none());
}

/// Whoever changes what is kept must raise the number in the file's magic, or an older file would be misread.
#[test]
fn the_form_of_a_checkpoint_has_a_number() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut state = state_of(classes());
    predict(&mut state, &Predicted { key: String::new(), ..predicted(1, "a", &[0.5, 0.3, 0.2]) });
    state.feedback(10, &label(FeedbackTarget::Prediction(id(1)), "a"), u64::MAX);
    state.feedback(11, &label(FeedbackTarget::Key("k"), r#"["a", null]"#), u64::MAX);
    let bytes = checkpoint(dir.path(), &state).encode(&state.saved(7)).expect("bytes");
    // Without the settings, which hold the program's version.
    let form = [&bytes[..10], &bytes[18..bytes.len() - 4]].concat();
    assert_eq!((form.len(), crc32c::crc32c(&form)), (773, 3_761_444_565));
}
