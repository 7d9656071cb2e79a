use super::*;
use crate::control::releases::tests::{intent, kill, open};
use crate::domain::lifecycle::event::Scope;
use crate::snapshot::Reader;

const CONFIG: &str = "[models.m.versions.v1]\nbackends = [\"http://127.0.0.1:2\"]\n";

/// A controller that has begun, the way to its life cycle, and what it publishes.
async fn begun(
    intent: &Arc<Intent>,
) -> (Residents, super::super::releases::ReleasesHandle, Reader) {
    let (releases, handle, discovery, controller, reader) = open(intent);
    let loader = Arc::new(Loader::new(intent));
    let (seen, watch) = watch::channel(releases.seen());
    // Nobody looks for anything in these tests.
    drop((seen, discovery));
    let sight = (watch, releases);
    let mut residents =
        Residents::new(Arc::clone(intent), controller, loader, LoadedModels::new(), sight);
    residents.begin().await.unwrap();
    (residents, handle, reader)
}

fn is_killed(residents: &Residents) -> bool {
    residents.effective.models[&ModelName::new("m")].killed.is_some()
}

#[tokio::test]
async fn a_kill_switch_waits_for_no_load() {
    let dir = tempfile::tempdir().unwrap();
    let intent = intent(dir.path(), CONFIG);
    let (mut residents, handle, reader) = begun(&intent).await;
    let (answer, mut loading) = oneshot::channel();
    let target = TargetKind::Version(ModelName::new("m"), VersionName::new("v2"));
    let model = Box::pin(std::future::pending());
    residents.loading = Some(Loading { target, model, rest: VecDeque::new(), answer });
    let before = reader.load().generation;
    let (_repository, mut orders) = mpsc::channel(1);
    let order = handle.order(kill(Scope::Model(ModelName::new("m")), true));
    let done = tokio::select! {
        done = order => done,
        () = residents.serve(&mut orders) => panic!("it serves for ever"),
        () = tokio::time::sleep(Duration::from_secs(30)) => panic!("the kill switch waits"),
    };
    assert_eq!(done.unwrap().unwritten, None);
    assert!(is_killed(&residents) && reader.load().generation > before);
    assert!(loading.try_recv().is_err(), "the load is still under way");
}

#[tokio::test]
async fn an_order_that_is_not_published_says_so_and_is_published_later() {
    let dir = tempfile::tempdir().unwrap();
    let good = intent(dir.path(), CONFIG);
    let (mut residents, handle, reader) = begun(&good).await;
    // A name that no header can say: nothing with it can be published.
    let mut bad = Intent::clone(&good);
    let spec = bad.models[&ModelName::new("m")].clone();
    let versions = bad.models.get_mut(&ModelName::new("m")).unwrap();
    versions
        .versions
        .insert(VersionName::new("v\n2"), spec.versions.values().next().unwrap().clone());
    residents.releases.want(Arc::new(bad));
    let before = reader.load().generation;
    let (_repository, mut orders) = mpsc::channel(1);
    let order = handle.order(kill(Scope::Model(ModelName::new("m")), true));
    let done = tokio::select! {
        done = order => done,
        () = residents.serve(&mut orders) => panic!("it serves for ever"),
    };
    assert!(matches!(done, Err(NotCarriedOut::NotPublished(_))), "{done:?}");
    assert_eq!(reader.load().generation, before);
    residents.releases.want(good);
    residents.unsettled = true;
    residents.turn().await;
    assert!(reader.load().generation > before && is_killed(&residents));
}
