//! What is fetched: signed where that is asked for, and what it was when it is loaded again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sha2::{Digest as _, Sha256};

use super::*;

fn signer() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

#[test]
fn an_unsigned_version_of_a_signed_directory_is_quarantined_and_says_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("models")).unwrap();
    let key = BASE64.encode(signer().public_key().as_ref());
    let config =
        format!("{QUICK}signature = \"ed25519:{key}\"\n[models.m.release]\nbetween = \"0s\"\n");
    let store = Store { gateway: Gateway::start_in(dir, &config), config };
    store.publish_sum("m/v1", 2.0);
    let stopped = store.wait_for("v1", "quarantined");
    let why = stopped["why"].as_str().unwrap();
    assert!(why.contains("stopped at admission: identity: it is not signed by the key"), "{why}");
    assert!(why.contains("model.onnx.sig"), "{why}");
    // Signed by somebody else.
    let (model, golden) = (sum_times(3.0), golden(3.0));
    let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
    let digest: [u8; 32] = Sha256::digest(&model).into();
    let publish = |version: &str, signature: &[u8]| {
        let files: [(&str, &[u8]); 3] = [
            ("model.onnx", &model),
            ("golden.jsonl", golden.as_bytes()),
            ("model.onnx.sig", signature),
        ];
        store.publish(version, &files);
    };
    publish("m/v2", other.sign(&digest).as_ref());
    let stopped = store.wait_for("v2", "quarantined");
    let why = stopped["why"].as_str().unwrap();
    assert!(why.contains("its signature is for something else"), "{why}");
    // The signature is mended where the version lies: it is tried again by order.
    let signature = signer().sign(&digest);
    std::fs::write(store.folder("m/v2").join("model.onnx.sig"), signature.as_ref()).unwrap();
    eventually("it is restored and goes live", || {
        let version = store.version("v2")?;
        if version["stage"] == "quarantined" {
            store.order("models/m/versions/v2/restore", &json!({ "who": "ann", "why": "signed" }));
        }
        (version["stage"] == "live").then_some(())
    });
    assert_eq!(store.predict(), (200, Some(30.0), "v2".to_owned()));
}

/// The model file of the only copy of `v1`.
fn copy_of_v1(store: &Store) -> PathBuf {
    let copies = store.gateway.dir.path().join("data/models/m/v1");
    let content = std::fs::read_dir(copies).unwrap().next().unwrap().unwrap();
    content.path().join("model.onnx")
}

#[test]
fn a_stored_version_that_was_changed_never_answers_and_is_fetched_again() {
    let store = Store::start("[models.m.release]\n");
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    std::fs::write(copy_of_v1(&store), sum_times(9.0)).unwrap();
    let store = store.killed_and_started_again();
    eventually("it answers", || (store.predict().0 == 200).then_some(()));
    assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
    // Without its source there is nothing to mend it with.
    std::fs::rename(store.folder("m"), store.gateway.dir.path().join("elsewhere")).unwrap();
    std::fs::write(copy_of_v1(&store), sum_times(9.0)).unwrap();
    let store = store.killed_and_started_again();
    eventually("it is told", || {
        store.gateway.log().contains("is not what was fetched").then_some(())
    });
    assert_ne!(store.predict().1, Some(90.0));
}

#[test]
fn a_version_that_is_here_comes_back_without_its_source() {
    let store = Store::start("[models.m.release]\nbetween = \"0s\"\n");
    store.publish("m/v1", &[("model.onnx", &sum_times(2.0))]);
    store.wait_for_words("v1", "an operator's approval");
    store.ordered("models/m/versions/v1/reject");
    store.wait_for("v1", "quarantined");
    std::fs::rename(store.folder("m"), store.gateway.dir.path().join("elsewhere")).unwrap();
    // Whoever restores it lets it go on.
    store.ordered("models/m/versions/v1/restore");
    store.wait_for("v1", "live");
    assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
}
