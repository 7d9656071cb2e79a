use std::os::unix::fs::symlink;

use super::*;
use crate::inference::tests::onnx::{FLOAT, Graph, tensor};

/// A model in a folder of its own that adds a constant of two floats, which lies elsewhere.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().expect("a directory") };
        std::fs::create_dir_all(bench.path("fraud/v1/parts")).expect("a folder");
        let floats: Vec<u8> =
            [9f32, 1.0, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        for place in ["fraud/v1/weights.bin", "fraud/v1/parts/weights.bin", "outside.bin"] {
            std::fs::write(bench.path(place), &floats).expect("written");
        }
        bench
    }

    fn path(&self, place: &str) -> PathBuf {
        self.dir.path().join(place)
    }

    /// What taking in the data at `entries` gives: the constant, or the refusal.
    fn take(&self, entries: &[(&str, &str)], limit: u64) -> Result<Vec<u8>, String> {
        let mut constant = tensor("w", FLOAT, &[2], Vec::new());
        constant.data_location = Some(DataLocation::External as i32);
        constant.external_data = entries
            .iter()
            .map(|(key, value)| StringStringEntryProto {
                key: (*key).to_owned(),
                value: (*value).to_owned(),
            })
            .collect();
        let graph = Graph::default().constant(constant);
        let mut model = ModelProto { graph: Some(graph.0), ..ModelProto::default() };
        let further = take_in(&mut model, &self.path("fraud/v1/model.onnx"), limit)
            .map_err(|error| error.to_string())?;
        let tensor = &model.graph.as_ref().expect("a graph").initializer[0];
        assert_eq!((tensor.data_location, tensor.external_data.len()), (None, 0));
        let (name, digest) = further.iter().next().expect("a file");
        let whole = std::fs::read(self.path("fraud/v1").join(name)).expect("a file");
        assert_eq!(*digest, <[u8; 32]>::from(Sha256::digest(whole)));
        Ok(tensor.raw_data.clone())
    }
}

#[test]
fn data_in_the_folder_and_below_is_taken_in() {
    let bench = Bench::new();
    let floats: Vec<u8> = [1f32, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    symlink("parts/weights.bin", bench.path("fraud/v1/inner")).expect("a link");
    for location in ["weights.bin", "./weights.bin", "parts/weights.bin", "inner"] {
        let taken = bench.take(&[("location", location), ("offset", "4"), ("length", "8")], 100);
        assert_eq!(taken.as_deref(), Ok(&*floats), "{location}");
    }
    let taken = bench.take(&[("location", "weights.bin"), ("offset", "4")], 12);
    assert_eq!(taken.as_deref(), Ok(&*floats), "the shape says how long it is");
}

#[test]
fn whatever_leads_out_of_the_folder_or_beyond_the_file_is_refused() {
    let bench = Bench::new();
    let outside = bench.path("outside.bin");
    symlink(&outside, bench.path("fraud/v1/link")).expect("a link");
    symlink("../..", bench.path("fraud/v1/up")).expect("a link");
    let fifo = rustix::fs::CWD;
    rustix::fs::mkfifoat(fifo, bench.path("fraud/v1/pipe"), 0o600.into()).expect("a pipe");
    let absolute = outside.display().to_string();
    let cases: [(&[(&str, &str)], &str); 13] = [
        (&[("location", "../../outside.bin")], "only files in the model's folder"),
        (&[("location", "parts/../../../outside.bin")], "only files in the model's folder"),
        (&[("location", &absolute)], "only files in the model's folder"),
        (&[("location", "")], "only files in the model's folder"),
        (&[("location", "link")], "it leads out of the model's folder"),
        (&[("location", "up/outside.bin")], "it leads out of the model's folder"),
        (&[("location", "parts")], "it is not a regular file"),
        (&[("location", "pipe")], "it is not a regular file"),
        (&[("location", "absent.bin")], "it cannot be opened"),
        (&[("location", "weights.bin"), ("offset", "5")], "bytes 5 to 13 lie beyond its end at 12"),
        (&[("location", "weights.bin"), ("offset", "18446744073709551615")], "lie beyond its end"),
        (&[("location", "weights.bin"), ("length", "12")], "its shape needs 8 bytes"),
        (&[("location", "weights.bin"), ("offset", "-1")], "its offset is '-1'"),
    ];
    for (entries, reason) in cases {
        let refusal = bench.take(entries, 100).expect_err(reason);
        assert!(refusal.contains("keeps the data of 'w' in"), "{refusal}");
        assert!(refusal.contains(reason), "{entries:?}: {refusal}");
    }
    let refusal = bench.take(&[], 100).expect_err("no location");
    assert!(refusal.contains("it names no file"), "{refusal}");
    let refusal = bench.take(&[("location", "weights.bin")], 7).expect_err("too much");
    assert!(refusal.contains("more than the limit of 7"), "{refusal}");
    let refusal = bench.take(&[("location", "weights.bin")], 11).expect_err("too long a file");
    assert!(refusal.contains("has 12 bytes, more than the limit of 11"), "{refusal}");
}

#[test]
fn tensors_in_any_order_and_on_the_same_bytes_come_out_of_one_reading() {
    let bench = Bench::new();
    let bytes: Vec<u8> = (0..3 * PIECE_BYTES + 77).map(|at| (at * 31 / 8) as u8).collect();
    std::fs::write(bench.path("fraud/v1/weights.bin"), &bytes).expect("written");
    let ranges = [
        (2 * PIECE_BYTES - 3, 11),
        (0, 3 * PIECE_BYTES),
        (5, 0),
        (PIECE_BYTES, PIECE_BYTES),
        (3 * PIECE_BYTES + 70, 7),
        (0, 1),
    ];
    let mut graph = Graph::default();
    for (number, (start, length)) in ranges.iter().enumerate() {
        let shape = i64::try_from(*length).expect("small");
        let mut constant =
            tensor(&format!("w{number}"), DataType::Uint8 as i32, &[shape], Vec::new());
        constant.data_location = Some(DataLocation::External as i32);
        let entry =
            |key: &str, value: String| StringStringEntryProto { key: key.to_owned(), value };
        constant.external_data =
            vec![entry("location", "weights.bin".to_owned()), entry("offset", start.to_string())];
        graph = graph.constant(constant);
    }
    let mut model = ModelProto { graph: Some(graph.0), ..ModelProto::default() };
    let further = take_in(&mut model, &bench.path("fraud/v1/model.onnx"), 1 << 30).expect("taken");
    assert_eq!(further["weights.bin"], <[u8; 32]>::from(Sha256::digest(&bytes)));
    let taken = &model.graph.as_ref().expect("a graph").initializer;
    for (tensor, (start, length)) in taken.iter().zip(ranges) {
        assert!(tensor.raw_data == bytes[start..start + length], "{start} {length}");
    }
}
