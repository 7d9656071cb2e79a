//! Replays the fuzz corpora with the stable compiler: what a fuzzer once found stays fixed, and the
//! entry points that the fuzz targets use stay in place.

use std::fs;
use std::path::{Path, PathBuf};

use pointsman::config::{Checks, load, load_card};
use pointsman::inference::{fuzz_artifact, fuzz_graph, fuzz_operator};
use pointsman::prediction_log::query::expression::fuzz_expression;
use pointsman::prediction_log::{fuzz_parquet_rows, fuzz_segment};
use pointsman::protocol::dialect::{fuzz_answer, fuzz_request};
use pointsman::protocol::{
    fuzz_binary_request, fuzz_grpc_body, fuzz_grpc_messages, fuzz_infer_request, fuzz_raw_request,
    fuzz_reflection, fuzz_small_bodies,
};
use pointsman::proxy::{fuzz_coding, fuzz_http2_frames, fuzz_redact};

#[test]
fn no_request_of_the_corpus_panics() {
    for (_, bytes) in corpus("infer_request") {
        fuzz_infer_request(&bytes);
    }
}

#[test]
fn no_body_of_the_corpus_breaks_a_codec() {
    replay("binary_request", fuzz_binary_request);
    replay("grpc_body", fuzz_grpc_body);
    replay("small_bodies", fuzz_small_bodies);
    replay("reflection", fuzz_reflection);
    replay("dialect_request", fuzz_request);
    replay("dialect_answer", fuzz_answer);
    replay("raw_request", fuzz_raw_request);
    replay("grpc_messages", fuzz_grpc_messages);
    replay("http2_frames", fuzz_http2_frames);
    replay("coding", fuzz_coding);
    replay("artifact_files", fuzz_artifact);
}

fn replay(target: &str, decode: fn(&[u8])) {
    for (_, bytes) in corpus(target) {
        decode(&bytes);
    }
}

#[test]
fn every_graph_of_the_corpus_is_checked_without_a_panic() {
    for (path, bytes) in corpus("graph") {
        let sound = fuzz_graph(&bytes);
        let wanted =
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("sound_"));
        assert_eq!(sound, wanted, "{}", path.display());
    }
}

#[test]
fn no_graph_of_the_corpus_panics_when_a_byte_is_flipped_or_it_is_cut() {
    for (_, bytes) in corpus("graph") {
        for at in 0..bytes.len() {
            for mask in [0x01, 0x55, 0x80, 0xff] {
                let mut flipped = bytes.clone();
                flipped[at] ^= mask;
                fuzz_graph(&flipped);
            }
            fuzz_graph(&bytes[..at]);
        }
    }
}

#[test]
fn every_operator_of_the_corpus_is_read_or_refused_and_keeps_its_promise() {
    let mut sound = 0;
    for (path, bytes) in corpus("operator") {
        let read = fuzz_operator(&bytes);
        let name = path.file_name().unwrap().to_string_lossy();
        assert_eq!(read, !name.starts_with("refused_"), "{}", path.display());
        sound += usize::from(read);
        for at in 0..bytes.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut flipped = bytes.clone();
                flipped[at] ^= mask;
                fuzz_operator(&flipped);
            }
        }
    }
    assert!(sound >= 17, "one of each operator");
}

#[test]
fn every_model_card_of_the_corpus_loads_or_says_why_not() {
    for (path, _) in corpus("model_card") {
        let sound = path.file_name().unwrap().to_string_lossy().starts_with("sound_");
        match load_card(&path) {
            Ok(_card) => assert!(sound, "{}", path.display()),
            Err(mistakes) => assert!(!sound && !mistakes.to_string().is_empty(), "{mistakes}"),
        }
    }
}

#[test]
fn no_segment_of_the_corpus_panics_and_the_whole_one_is_read() {
    for (path, bytes) in corpus("log_segment") {
        let rows = fuzz_segment(&bytes);
        let whole = path.file_name().is_some_and(|name| name == "three_records");
        assert!(!whole || rows == 3, "{}: {rows} rows", path.display());
    }
}

#[test]
fn no_segment_of_the_corpus_panics_on_its_way_to_parquet() {
    for (path, bytes) in corpus("parquet_rows") {
        let rows = fuzz_parquet_rows(&bytes);
        let whole = path.file_name().is_some_and(|name| name == "three_records");
        assert!(!whole || rows >= 3, "{}: {rows} rows", path.display());
    }
}

#[test]
fn no_body_of_the_corpus_breaks_redaction() {
    for (_, bytes) in corpus("redact") {
        fuzz_redact(&bytes);
    }
}

#[test]
fn expressions_of_the_corpus_read_back_or_say_where_they_are_wrong() {
    for (path, bytes) in corpus("where_expression") {
        let is_expression = fuzz_expression(&bytes);
        let good = ["manual", "lists", "times", "nots"];
        let wanted = path.file_name().is_some_and(|name| good.iter().any(|good| name == *good));
        assert_eq!(is_expression, wanted, "{}", path.display());
    }
}

#[test]
fn every_configuration_of_the_corpus_loads_or_says_why_not() {
    for (path, _) in corpus("config_text") {
        if let Err(mistakes) = load(&path, Checks::Offline) {
            assert!(!mistakes.to_string().is_empty(), "{}", path.display());
        }
    }
}

/// The files of one target's corpus.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap();
    let files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}
