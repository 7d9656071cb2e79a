use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;

fn sealed(bench: &tempfile::TempDir) -> (OnnxSpec, [u8; 32]) {
    let path = bench.path().join("model.onnx");
    std::fs::write(&path, b"a model").expect("written");
    (OnnxSpec::new(path), Sha256::digest(b"a model").into())
}

fn refusal(spec: &OnnxSpec, digest: [u8; 32]) -> String {
    check(spec, digest, &Further::new(), digest).expect_err("refused").to_string()
}

#[test]
fn a_digest_that_is_asked_for_must_be_the_artifacts() {
    let bench = tempfile::tempdir().expect("a directory");
    let (mut spec, digest) = sealed(&bench);
    spec.digest = Some(digest);
    check(&spec, digest, &Further::new(), digest).expect("it is");
    spec.digest = Some([0; 32]);
    let words = refusal(&spec, digest);
    assert!(words.contains(&format!("has the digest sha256:{}", hex(&digest))), "{words}");
    assert!(words.contains(&format!("asks for sha256:{}", "0".repeat(64))), "{words}");
}

#[test]
fn the_digest_of_several_files_is_that_of_what_sha256sum_prints() {
    let further = Further::from([("b.bin".to_owned(), [2; 32]), ("a.bin".to_owned(), [1; 32])]);
    let path = Path::new("/models/m/v1/model.onnx");
    assert_eq!(version_digest(path, [9; 32], &Further::new()), [9; 32]);
    let lines = format!(
        "{}  model.onnx\n{}  a.bin\n{}  b.bin\n",
        "09".repeat(32),
        "01".repeat(32),
        "02".repeat(32)
    );
    let expected: [u8; 32] = Sha256::digest(lines).into();
    assert_eq!(version_digest(path, [9; 32], &further), expected);
}

#[test]
fn only_the_key_of_the_configuration_signs() {
    let bench = tempfile::tempdir().expect("a directory");
    let (mut spec, digest) = sealed(&bench);
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).expect("a key");
    spec.signature = pair.public_key().as_ref().try_into().ok();
    assert!(spec.signature.is_some());
    assert!(refusal(&spec, digest).contains("its signature cannot be read"));
    let write = |bytes: &[u8]| {
        std::fs::write(bench.path().join("model.onnx.sig"), bytes).expect("written");
    };
    let signature = pair.sign(&digest);
    write(signature.as_ref());
    check(&spec, digest, &Further::new(), digest).expect("64 bytes");
    write(format!("{}\n", BASE64.encode(signature.as_ref())).as_bytes());
    check(&spec, digest, &Further::new(), digest).expect("base64");
    let mut changed = digest;
    changed[0] ^= 1;
    assert!(refusal(&spec, changed).contains("its signature is for something else"));
    write(other.sign(&digest).as_ref());
    assert!(refusal(&spec, digest).contains("its signature is for something else"));
    for bad in [&b""[..], b"no base64 !", &[b'A'; 100], &vec![b'A'; 70_000]] {
        write(bad);
        let words = refusal(&spec, digest);
        assert!(words.contains("is not signed by the key of the configuration"), "{words}");
    }
}

#[test]
fn ready_must_be_there_if_asked_for_and_true_if_there() {
    let bench = tempfile::tempdir().expect("a directory");
    let (mut spec, digest) = sealed(&bench);
    check(&spec, digest, &Further::new(), digest).expect("not asked for");
    spec.ready = true;
    assert!(refusal(&spec, digest).contains("is not released: there is no `READY`"));
    let write = |text: String| std::fs::write(bench.path().join("READY"), text).expect("written");
    for good in [
        String::new(),
        "2026-11-26 by the pipeline\n".to_owned(),
        format!("{}  model.onnx\n", hex(&digest)),
        format!("{} *model.onnx\n", hex(&digest).to_uppercase()),
        format!("{}  ./model.onnx\n{}  other.onnx\n", hex(&digest), "0".repeat(64)),
        format!("SHA256 (model.onnx) = {}\n", hex(&digest)),
    ] {
        write(good.clone());
        check(&spec, digest, &Further::new(), digest)
            .unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    spec.ready = false;
    let folder = bench.path().file_name().expect("a name").to_string_lossy();
    for name in ["model.onnx", "./model.onnx", &format!("{folder}/model.onnx"), "other.onnx"] {
        write(format!("{}  {name}\n", "0".repeat(64)));
        let words = refusal(&spec, digest);
        assert!(words.contains("is not what `READY` beside it says"), "{name}: {words}");
    }
    write(format!("{}  other.onnx\n", hex(&digest)));
    assert!(refusal(&spec, digest).contains("READY has digests, but none of model.onnx"));
}

#[test]
fn ready_must_be_true_about_the_data_beside_the_model_too() {
    let path = Path::new("/models/m/v1/model.onnx");
    let further = Further::from([("parts/w.bin".to_owned(), [1; 32])]);
    let ready = |name: &str, digest: u8| {
        let text = format!("{}  model.onnx\n{}  {name}\n", "00".repeat(32), hex(&[digest; 32]));
        agree(text.as_bytes(), path, [0; 32], &further)
    };
    for name in ["parts/w.bin", "./parts/w.bin", "v1/parts/w.bin"] {
        assert_eq!(ready(name, 1), Ok(()), "{name}");
        assert!(ready(name, 2).is_err(), "{name}");
    }
    assert_eq!(ready("else/w.bin", 2), Ok(()), "another file");
}
