//! What an answer has changed, as events: one sentence each, with its numbers.
//!
//! Owns the words. Never judges.

use std::fmt::Write as _;

use crate::control::events::{Events, Weight};
use crate::domain::discovery::{Changes, Facts, Keeper, LISTED_MAX, Standing, Thing, Turn, Why};
use crate::domain::ids::SourceName;

/// Names that a sentence lists.
const NAMED_MAX: usize = 5;

/// Tells what an answer of `source` has changed.
pub(super) fn announce(
    events: &Events,
    now_ms: u64,
    source: &SourceName,
    keeper: &Keeper,
    changes: &Changes,
) {
    let tell = |kind: &str, weight: Weight, words: &str| {
        events.tell(now_ms, kind, weight, source.as_str(), words);
    };
    if let Some(turn) = &changes.turn {
        let (kind, weight, words) = turned(turn);
        tell(kind, weight, &words);
    }
    let groups = [
        ("discovery.appeared", Weight::Info, &changes.appeared, "appeared"),
        ("discovery.returned", Weight::Info, &changes.returned, "came back"),
        ("discovery.changed", Weight::Info, &changes.changed, "changed"),
        (
            "discovery.gone",
            Weight::Info,
            &changes.gone,
            "gone, by two trusted answers or their own word",
        ),
        (
            "discovery.damped",
            Weight::Alarm,
            &changes.damped,
            "coming and going: not used until steady, unless nothing else is there",
        ),
        ("discovery.steady", Weight::Info, &changes.steady, "steady again, and used"),
        (
            "discovery.forgotten",
            Weight::Alarm,
            &changes.forgotten,
            "forgotten, to keep within bounds",
        ),
    ];
    for (kind, weight, things, what) in groups {
        if !things.is_empty() {
            tell(kind, weight, &format!("{}: {}", what, named(things, keeper)));
        }
    }
    if changes.left_out > 0 {
        let words = format!(
            "{} of the things listed are left out: more than {LISTED_MAX}",
            changes.left_out
        );
        tell("discovery.left_out", Weight::Alarm, &words);
    }
}

/// A source whose last answer is not trusted, in words; `None` for one that is.
pub fn standing(keeper: &Keeper) -> Option<String> {
    match &keeper.health().standing {
        Standing::Unasked => Some("it has not answered in this run".to_owned()),
        Standing::Fresh => None,
        Standing::Stale(_, why) => Some(reason(why)),
    }
}

fn reason(why: &Why) -> String {
    match why {
        Why::Empty => "the answer is empty".to_owned(),
        Why::Shrunken => "the answer lacks more than half of what was there".to_owned(),
        Why::Partial(why) => format!("the answer is not whole: {why}"),
        Why::Failed(why) => why.clone(),
    }
}

fn turned(turn: &Turn) -> (&'static str, Weight, String) {
    match turn {
        Turn::Doubted { why, listed, kept } => {
            let words =
                format!("{}; {listed} listed, the {kept} that are known are kept", reason(why));
            ("discovery.doubted", Weight::Alarm, words)
        }
        Turn::Recovered { after_ms } => {
            let words = format!("answers are trusted again, after {}", seconds(*after_ms));
            ("discovery.recovered", Weight::Info, words)
        }
        Turn::Believed { after_ms, listed, kept } => {
            let words = format!(
                "for {} no more than half of the {kept} that are known were listed; now it is believed, {listed} are left",
                seconds(*after_ms)
            );
            ("discovery.believed", Weight::Alarm, words)
        }
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

fn named(things: &[Thing], keeper: &Keeper) -> String {
    let mut words = String::new();
    for thing in things.iter().take(NAMED_MAX) {
        let lead = if words.is_empty() { "" } else { ", " };
        // Writing into a `String` cannot fail.
        write!(words, "{lead}{thing}").unwrap_or_default();
        match keeper.things().get(thing).map(|kept| &kept.facts) {
            Some(Facts::Artifact(artifact)) => {
                if let Some(waits_for) = &artifact.waits_for {
                    write!(words, " (incomplete: {waits_for})").unwrap_or_default();
                }
            }
            Some(Facts::Backend(endpoint)) => {
                for (model, version) in endpoint.serves.iter().take(NAMED_MAX) {
                    write!(words, " ({model}/{version})").unwrap_or_default();
                }
            }
            None => {}
        }
    }
    if things.len() > NAMED_MAX {
        write!(words, " and {} more", things.len() - NAMED_MAX).unwrap_or_default();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::discovery::{Answer, Endpoint, Listing, Policy};
    use crate::domain::spec::BackendAddress;

    fn answer(count: u16) -> Answer {
        let mut listing = Listing::default();
        for port in 1..=count {
            listing.backend(BackendAddress { host: "a".into(), port }, Endpoint::default());
        }
        Answer::Whole(listing)
    }

    #[test]
    fn each_change_is_one_sentence_with_its_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::open(dir.path());
        let mut keeper = Keeper::new(Policy { shrink_after_ms: 60_000, confirm_ms: 0 });
        let source = SourceName::new("fleet");
        for (now_ms, answer) in [(0, answer(7)), (1, answer(0)), (2500, answer(7))] {
            let changes = keeper.observe(now_ms, answer);
            announce(&events, now_ms, &source, &keeper, &changes);
        }
        let told: Vec<_> = events.after(None, 9).into_iter().map(|e| (e.kind, e.words)).collect();
        let expected = [
            ("discovery.appeared", "appeared: a:1, a:2, a:3, a:4, a:5 and 2 more"),
            ("discovery.doubted", "the answer is empty; 0 listed, the 7 that are known are kept"),
            ("discovery.recovered", "answers are trusted again, after 2.4 s"),
        ];
        assert_eq!(told, expected.map(|(kind, words)| (kind.to_owned(), words.to_owned())));
    }
}
