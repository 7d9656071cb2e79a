//! What is believed, over any answers.

use proptest::prelude::*;

use super::*;
use crate::domain::ids::SourceName;
use std::sync::Arc;

const POLICY: Policy = Policy { shrink_after_ms: 60_000, confirm_ms: 1000 };

fn address(port: u16) -> BackendAddress {
    BackendAddress { host: "10.0.0.1".into(), port }
}

fn thing(port: u16) -> Thing {
    Thing::Backend(address(port))
}

fn release(model: &str, version: &str) -> Release {
    (ModelName::new(model), VersionName::new(version))
}

fn listing(ports: impl IntoIterator<Item = u16>) -> Listing {
    let mut listing = Listing::default();
    ports.into_iter().for_each(|port| listing.backend(address(port), Endpoint::default()));
    listing
}

fn whole(ports: impl IntoIterator<Item = u16>) -> Answer {
    Answer::Whole(listing(ports))
}

fn ports(keeper: &Keeper) -> Vec<u16> {
    keeper.members(None).into_iter().map(|(address, _)| address.port).collect()
}

/// A keeper that has seen `ports`.
fn keeping(ports: impl IntoIterator<Item = u16>) -> Keeper {
    let mut keeper = Keeper::new(POLICY);
    keeper.observe(0, whole(ports));
    keeper
}

#[test]
fn answers_that_are_empty_failed_partial_or_shrunken_take_nothing_away() {
    for (answer, word) in [
        (whole([]), "empty"),
        (whole([1]), "shrunken"),
        (Answer::Failed("status 500".into()), "failed"),
        (Answer::Part(listing([1]), "cut off".into()), "partial"),
    ] {
        let mut keeper = keeping(1..=4);
        for now in (10_000..50_000).step_by(10_000) {
            let changes = keeper.observe(now, answer.clone());
            assert!(changes.gone.is_empty(), "{changes:?}");
            let said = matches!(&changes.turn, Some(Turn::Doubted { why, kept: 4, .. }) if why.as_str() == word);
            assert_eq!(said, now == 10_000, "{word} is said once: {changes:?}");
        }
        assert_eq!(ports(&keeper), [1, 2, 3, 4], "{word}");
        assert!(
            matches!(&keeper.health().standing, Standing::Stale(10_000, why) if why.as_str() == word)
        );
        let changes = keeper.observe(50_000, whole(1..=4));
        assert_eq!(changes.turn, Some(Turn::Recovered { after_ms: 40_000 }));
    }
}

#[test]
fn what_a_doubted_answer_lists_is_added() {
    let mut keeper = keeping(1..=4);
    let changes = keeper.observe(10, whole([9]));
    assert_eq!(changes.appeared, [thing(9)]);
    assert_eq!(ports(&keeper), [1, 2, 3, 4, 9]);
}

#[test]
fn a_thing_is_absent_after_two_trusted_answers_in_a_row_some_time_apart() {
    let mut keeper = keeping(1..=4);
    assert!(keeper.observe(1000, whole(1..=3)).gone.is_empty());
    assert!(keeper.awaits_confirmation());
    assert!(keeper.observe(1001, whole(1..=3)).gone.is_empty(), "a burst is one answer");
    keeper.observe(1500, Answer::Failed("timeout".into()));
    assert!(keeper.observe(3000, whole(1..=3)).gone.is_empty(), "not in a row");
    assert_eq!(keeper.observe(4000, whole(1..=3)).gone, [thing(4)]);
    assert_eq!(keeper.things()[&thing(4)].absent_since_ms, Some(3000));
    assert_eq!(ports(&keeper), [1, 2, 3]);
    assert!(!keeper.awaits_confirmation());
    let changes = keeper.observe(5000, whole(1..=4));
    assert_eq!((changes.returned, changes.appeared), (vec![thing(4)], vec![]));
    assert_eq!(ports(&keeper), [1, 2, 3, 4]);
}

#[test]
fn a_set_that_stays_small_for_long_is_believed_and_an_empty_one_never() {
    let mut keeper = keeping(1..=4);
    for now in (1000..61_000).step_by(10_000) {
        keeper.observe(now, whole([1]));
    }
    assert_eq!(ports(&keeper).len(), 4);
    let changes = keeper.observe(61_000, whole([1]));
    assert_eq!(changes.turn, Some(Turn::Believed { after_ms: 60_000, listed: 1, kept: 4 }));
    let changes = keeper.observe(62_000, whole([1]));
    assert_eq!((changes.gone.len(), changes.turn), (3, None));
    assert_eq!(ports(&keeper), [1]);
    for now in (70_000..10_000_000).step_by(100_000) {
        assert!(keeper.observe(now, whole([])).gone.is_empty());
    }
    assert_eq!(ports(&keeper), [1]);
}

#[test]
fn the_last_member_stays_even_when_it_says_that_it_goes() {
    let mut keeper = keeping([1, 2]);
    assert_eq!(keeper.observe(10, Answer::Gone(thing(1))).gone, [thing(1)]);
    assert_eq!(ports(&keeper), [2]);
    keeper.observe(20, Answer::Gone(thing(2)));
    assert_eq!(ports(&keeper), [2], "the one that went last");
    assert!(keeper.observe(30, Answer::Gone(thing(2))).gone.is_empty(), "said once");
    assert!(keeper.observe(30, Answer::Gone(thing(7))).gone.is_empty());
}

#[test]
fn what_comes_and_goes_is_not_used_until_it_rests_unless_nothing_else_is_there() {
    let mut keeper = keeping([1, 2]);
    let mut damped = Vec::new();
    for round in 1..=3 {
        keeper.observe(round * 100, Answer::Gone(thing(1)));
        damped.extend(keeper.observe(round * 100 + 50, whole([1, 2])).damped);
    }
    assert_eq!(damped, [thing(1)]);
    assert_eq!(ports(&keeper), [2]);
    keeper.observe(400, Answer::Gone(thing(2)));
    assert_eq!(ports(&keeper), [1], "better than none");
    let changes = keeper.observe(200_000, whole([1, 2]));
    assert_eq!(changes.steady, [thing(1)]);
    assert_eq!(ports(&keeper), [1, 2]);
}

#[test]
fn only_endpoints_that_fit_are_members_and_those_that_say_nothing_fit() {
    let mut answer = listing([1]);
    let serving = |model: &str, version: &str| Endpoint {
        serves: BTreeSet::from([release(model, version)]),
        ..Endpoint::default()
    };
    answer.backend(address(2), serving("fraud", "v1"));
    answer.backend(address(2), serving("fraud", "v2"));
    answer.backend(address(3), serving("iris", "v1"));
    let mut keeper = Keeper::new(POLICY);
    keeper.observe(0, Answer::Whole(answer));
    let ports = |release: &Release| -> Vec<u16> {
        keeper.members(Some(release)).into_iter().map(|(address, _)| address.port).collect()
    };
    assert_eq!(ports(&release("fraud", "v2")), [1, 2]);
    assert_eq!(ports(&release("iris", "v1")), [1, 3]);
    assert_eq!(ports(&release("iris", "v9")), [1]);
}

#[test]
fn an_address_that_no_server_of_another_machine_has_is_left_out_and_the_answer_is_not_whole() {
    let at = |host: &str| BackendAddress { host: host.to_owned(), port: 80 };
    for bad in [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
    ] {
        let why = unusable(&at(bad)).expect(bad);
        assert!(why.contains("must be listed in the configuration"), "{why}");
        let mut keeper = Keeper::new(POLICY);
        keeper.observe(0, whole([1, 2]));
        let mut answer = listing([1]);
        answer.backend(at(bad), Endpoint::default());
        keeper.observe(10, Answer::Whole(answer.clone()));
        let changes = keeper.observe(20_000, Answer::Whole(answer));
        assert_eq!(changes.gone, [], "{bad}: it is no answer to go by");
        assert_eq!(keeper.members(None).len(), 2, "{bad}");
        let standing = &keeper.health().standing;
        assert!(matches!(standing, Standing::Stale(_, Why::Partial(_))), "{bad}: {standing:?}");
    }
    for good in ["127.0.0.1", "::1", "10.0.0.1", "fd00::1", "predictor.internal", "2001:db8::1"] {
        assert_eq!(unusable(&at(good)), None, "{good}");
    }
    let mut named = Listing::default();
    named.declared(at("169.254.1.1"), Endpoint::default());
    assert_eq!((named.len(), named.refused()), (1, None), "an operator's word");
}

#[test]
fn a_listing_beyond_the_bound_is_cut_and_the_longest_gone_are_forgotten() {
    let many = u16::try_from(LISTED_MAX).expect("small") + 10;
    let mut keeper = Keeper::new(POLICY);
    let changes = keeper.observe(0, whole(1..=many));
    assert_eq!((changes.left_out, changes.appeared.len()), (10, LISTED_MAX));
    assert_eq!(keeper.health().left_out, 10);
    // Another fleet each time: what is kept stays within its bound.
    for round in 1..4_u16 {
        let first = round * 10_000;
        for step in 0..2 {
            keeper.observe(u64::from(round) * 10_000 + step * 2000, whole(first..first + many));
        }
        assert!(keeper.things().len() <= KEPT_MAX);
        assert_eq!(keeper.members(None).len(), LISTED_MAX);
    }
    assert!(keeper.health().forgotten > 0);
}

fn seen(keepers: &[(&str, &Keeper)]) -> Seen {
    let sources =
        keepers.iter().map(|(name, keeper)| (SourceName::new(*name), Arc::new((*keeper).clone())));
    Seen::merge(1, 9, sources.collect())
}

#[test]
fn a_version_is_absent_when_every_source_that_saw_it_says_so() {
    let serving = |port: u16| {
        let mut listing = Listing::default();
        let serves = BTreeSet::from([release("fraud", "v1")]);
        listing.backend(address(port), Endpoint { serves, ..Endpoint::default() });
        listing
    };
    let mut dns = Keeper::new(POLICY);
    let mut file = Keeper::new(POLICY);
    dns.observe(5, Answer::Whole(serving(1)));
    file.observe(7, Answer::Whole(serving(2)));
    let view = seen(&[("dns", &dns), ("file", &file)]);
    let sighting = &view.versions[&release("fraud", "v1")];
    assert_eq!((sighting.first_seen_ms, sighting.last_seen_ms), (5, 7));
    assert_eq!(sighting.sources.len(), 2);
    assert!(sighting.trusted && view.is_trusted());
    let at = |addresses: BTreeSet<_>| What::Backends {
        addresses,
        dialect: None,
        provenance: Provenance::default(),
    };
    assert_eq!(sighting.what, at(BTreeSet::from([address(1), address(2)])));
    dns.observe(10, Answer::Gone(thing(1)));
    let view = seen(&[("dns", &dns), ("file", &file)]);
    let sighting = &view.versions[&release("fraud", "v1")];
    assert_eq!(sighting.absent_since_ms, None);
    assert_eq!(sighting.what, at(BTreeSet::from([address(2)])));
    file.observe(11, Answer::Failed("gone".into()));
    file.observe(12, Answer::Gone(thing(2)));
    let view = seen(&[("dns", &dns), ("file", &file)]);
    let sighting = &view.versions[&release("fraud", "v1")];
    assert_eq!((sighting.absent_since_ms, sighting.trusted), (Some(12), false));
    assert!(!view.is_trusted());
}

#[test]
fn what_servers_say_of_one_version_adds_up_and_is_not_said_of_another() {
    let says = |version: &str, publisher: Option<&str>, trained_ms: Option<u64>| {
        let publisher = publisher.map(str::to_owned);
        let release = release("fraud", version);
        Endpoint {
            serves: BTreeSet::from([release.clone()]),
            dialect: None,
            provenance: [(release, Provenance { publisher, trained_ms })].into(),
        }
    };
    let mut answer = Listing::default();
    answer.backend(address(1), says("v1", Some("nightly"), None));
    answer.backend(address(1), says("v2", None, Some(7)));
    answer.backend(address(2), says("v1", Some("other"), Some(5)));
    let mut keeper = Keeper::new(POLICY);
    keeper.observe(0, Answer::Whole(answer));
    let view = seen(&[("fleet", &keeper)]);
    let said = |version: &str| match &view.versions[&release("fraud", version)].what {
        What::Backends { provenance, .. } => provenance.clone(),
        What::Artifact(_) => panic!("it is at servers"),
    };
    let first = Provenance { publisher: Some("nightly".to_owned()), trained_ms: Some(5) };
    assert_eq!(said("v1"), first, "the first word stands");
    assert_eq!(said("v2"), Provenance { publisher: None, trained_ms: Some(7) });
}

#[test]
fn of_two_artifacts_for_one_version_the_first_stands_and_the_other_is_named() {
    let artifact = |folder: &str| Artifact { folder: folder.into(), ..Artifact::default() };
    let keeper = |now: u64, folder: &str| {
        let mut listing = Listing::default();
        listing.artifact(ModelName::new("iris"), VersionName::new("v1"), artifact(folder));
        let mut keeper = Keeper::new(POLICY);
        keeper.observe(now, Answer::Whole(listing));
        keeper
    };
    let (early, late) = (keeper(1, "/a"), keeper(2, "/b"));
    for pair in [[("x", &early), ("y", &late)], [("y", &late), ("x", &early)]] {
        let sighting = &seen(&pair).versions[&release("iris", "v1")];
        assert_eq!(sighting.what, What::Artifact(artifact("/a")));
        assert_eq!(sighting.disputed_by, Some(SourceName::new("y")));
    }
    let same = seen(&[("x", &early), ("z", &keeper(3, "/a"))]);
    assert_eq!(same.versions[&release("iris", "v1")].disputed_by, None);
    assert_eq!(same.versions[&release("iris", "v1")].sources.len(), 2);
}

/// A few endpoints, as a set of bits.
fn of(bits: u8) -> impl Iterator<Item = u16> {
    (0..8).filter(move |bit| bits & (1 << bit) != 0)
}

fn answers() -> impl Strategy<Value = Vec<(u64, Answer)>> {
    let answer = prop_oneof![
        6 => any::<u8>().prop_map(|bits| whole(of(bits))),
        1 => any::<u8>().prop_map(|bits| Answer::Part(listing(of(bits)), "cut".into())),
        1 => Just(Answer::Failed("status 500".into())),
        1 => Just(whole([])),
    ];
    proptest::collection::vec((0_u64..5000, answer), 0..60)
}

proptest! {
    #[test]
    fn a_set_that_had_members_keeps_some_and_nothing_vanishes(
        answers in answers(),
        gone in proptest::collection::vec((0_usize..60, 0_u16..8), 0..30),
    ) {
        let mut keeper = Keeper::new(POLICY);
        let (mut now, mut ever) = (0, BTreeSet::new());
        for (at, (step, answer)) in answers.into_iter().enumerate() {
            now += step;
            if let Answer::Whole(listing) | Answer::Part(listing, _) = &answer {
                ever.extend(listing.backends().map(|(address, _)| address.port));
            }
            keeper.observe(now, answer);
            for (_, port) in gone.iter().filter(|(when, _)| *when == at) {
                keeper.observe(now, Answer::Gone(thing(*port)));
            }
            prop_assert_eq!(keeper.things().len(), ever.len());
            prop_assert_eq!(keeper.members(None).is_empty(), ever.is_empty());
        }
    }

    #[test]
    fn what_every_answer_lists_is_never_absent(answers in answers()) {
        let mut keeper = keeping([0]);
        let mut now = 0;
        for (step, answer) in answers {
            now += step;
            let answer = match answer {
                Answer::Whole(mut listing) => {
                    listing.backend(address(0), Endpoint::default());
                    Answer::Whole(listing)
                }
                other => other,
            };
            let changes = keeper.observe(now, answer);
            prop_assert!(!changes.gone.contains(&thing(0)));
            prop_assert!(ports(&keeper).contains(&0));
        }
    }

    /// The rule, said in another way: a thing goes only when this answer and the last are trusted and lack
    /// it, and no answer that takes more than half goes before its time.
    #[test]
    fn a_thing_goes_only_by_two_trusted_answers_in_a_row(answers in answers()) {
        let mut keeper = Keeper::new(POLICY);
        let (mut now, mut last) = (0, None::<BTreeSet<u16>>);
        for (step, answer) in answers {
            now += step;
            let listed = match &answer {
                Answer::Whole(listing) => Some(listing.backends().map(|(a, _)| a.port).collect::<BTreeSet<_>>()),
                _ => None,
            };
            let before = keeper.things().values().filter(|kept| kept.is_present()).count();
            let changes = keeper.observe(now, answer);
            let fresh = keeper.health().standing == Standing::Fresh;
            for gone in &changes.gone {
                let Thing::Backend(address) = gone else { unreachable!("only endpoints are listed") };
                prop_assert!(fresh);
                prop_assert!(listed.as_ref().is_some_and(|listed| !listed.contains(&address.port)));
                prop_assert!(last.as_ref().is_some_and(|last| !last.contains(&address.port)));
            }
            let small = listed.as_ref().is_none_or(|listed| listed.len() * 2 < before);
            if small && now < POLICY.shrink_after_ms {
                prop_assert!(changes.gone.is_empty());
            }
            last = listed.filter(|_| fresh);
        }
    }
}
