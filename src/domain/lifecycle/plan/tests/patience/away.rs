//! A live version that cannot answer: who is told, and who answers meanwhile.

use super::deaths::tried;
use super::*;
use crate::domain::lifecycle::event::Scope;
use crate::domain::lifecycle::explain::explain;
use crate::domain::lifecycle::exposure::{Candidate, exposure};

impl Bench {
    pub(super) fn goes_away(&mut self, name: &str) {
        let now = self.now.steady;
        self.sees(name, |seen| seen.note_ready(false, Some(now), now));
    }

    pub(super) fn comes_back(&mut self, name: &str) {
        let now = self.now.steady;
        self.sees(name, |seen| seen.note_ready(true, None, now));
    }

    fn routes(&self) -> Exposure {
        let ready = |name: &VersionName| {
            self.observed.version(&model(), name).is_some_and(|seen| seen.ready)
        };
        exposure(&self.state, &model(), ready)
    }

    /// The condition as it is told next.
    fn alerted(&self) -> Option<String> {
        let planned = plan(&self.state, &self.observed, &self.policies, self.now);
        planned.drafts.into_iter().find_map(|draft| match draft.what {
            What::Alerted { alert: alert @ Alert::NotReady(_), on, detail, .. } => {
                assert!(alert.is_critical());
                Some(format!("{on}: {alert}: {detail}"))
            }
            _ => None,
        })
    }
}

#[test]
fn a_live_version_that_cannot_answer_is_told_of_after_ten_seconds_and_when_it_can() {
    let mut bench = Bench::live();
    bench.settle();
    bench.goes_away("v2");
    bench.passes(9 * SECOND);
    assert_eq!(bench.alerted(), None, "it may be back at once");
    bench.sees("v2", |seen| seen.trouble = Some("its copy is damaged".to_owned()));
    bench.passes(SECOND);
    let told = "true: v2 is live and cannot answer: for 10s now, as its copy is damaged; v1 answers in its place";
    assert_eq!(bench.alerted().as_deref(), Some(told));
    bench.goes_away("v1");
    let told = bench.alerted().expect("nobody is there");
    assert!(told.ends_with("nobody answers in its place"), "{told}");
    let all = (&bench.state, &bench.observed, &bench.policies);
    let why = explain(all.0, all.1, all.2, bench.now, &model(), &version("v2"));
    let why = why.expect("it is there").to_string();
    assert!(why.contains("unable to answer for 10s: its copy is damaged"), "{why}");
    bench.settle();
    assert_eq!(bench.alerted(), None, "told once");
    let known = std::mem::take(&mut bench.observed);
    assert_eq!(bench.alerted(), None, "a process that knows nothing yet has not seen it answer");
    bench.goes_away("v2");
    assert_eq!(bench.alerted(), None, "nor has one that has just begun to wait for it");
    bench.observed = known;
    bench.comes_back("v2");
    assert_eq!(bench.alerted(), None, "one that comes and goes is told once");
    bench.passes(29 * SECOND);
    bench.goes_away("v2");
    bench.comes_back("v2");
    bench.passes(29 * SECOND);
    assert_eq!(bench.alerted(), None, "it was away again");
    bench.passes(SECOND);
    let told = bench.alerted().expect("that it is over");
    assert!(told.starts_with("false: v2 is live and cannot answer"), "{told}");
}

#[test]
fn a_live_version_that_is_cut_off_is_not_to_answer() {
    let mut bench = Bench::live();
    bench.goes_away("v2");
    let scope = Scope::Version(model(), version("v2"));
    bench.orders(Command::Kill(scope, true));
    bench.passes(MINUTE);
    assert_eq!(bench.alerted(), None);
}

#[test]
fn a_candidate_keeps_its_share_while_its_champion_is_away_and_goes_no_further() {
    let mut bench = tried("canary");
    let before = bench.routes();
    let Some(Candidate { share, salt, is_compared: true, .. }) = before.candidate.clone() else {
        panic!("{before:?}")
    };
    assert_eq!(before.champion, Some(version("v1")));
    bench.goes_away("v1");
    let alone = bench.routes();
    let kept =
        Candidate { version: version("v2"), share, salt, is_compared: false, stands_in: true };
    assert_eq!(alone, Exposure { candidate: Some(kept), ..Exposure::default() });
    assert_eq!(alone.share_of(&version("v2")), share, "and no more");
    bench.publish("v3");
    assert_eq!(
        (bench.stage("v2"), bench.stage("v3")),
        ("canary", "staged"),
        "nothing newer ends it"
    );
    for _ in 0..50 {
        bench.passes(60 * MINUTE);
        bench.settle();
    }
    assert_eq!(bench.stage("v2"), "canary", "nobody else answers its callers");
    assert_eq!(bench.routes().candidate.map(|it| it.share), Some(share));
    bench.comes_back("v1");
    assert_eq!(bench.routes(), before);
    bench.settle();
    assert_eq!(bench.stage("v3"), "validating", "the newer one has its turn");
}

#[test]
fn a_candidate_gets_nothing_where_its_champion_is_cut_off_and_copies_need_the_champion() {
    let mut bench = tried("canary");
    let scope = Scope::Version(model(), version("v1"));
    bench.orders(Command::Kill(scope, true));
    assert_eq!(bench.routes(), Exposure::default(), "nothing is tried where something is wrong");
    let mut bench = tried("shadow");
    assert_eq!(bench.routes().shadow, Some(version("v2")));
    bench.goes_away("v1");
    assert_eq!(bench.routes(), Exposure::default());
}
