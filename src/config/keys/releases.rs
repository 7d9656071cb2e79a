//! The sections of a model's releases: how versions are tried, when they go, what counts as broken.
//!
//! Owns names, ranges, defaults and descriptions. Never does anything with them.

use std::time::Duration;

use super::sections::{DAY, HOUR, MIB, MS, TIB, key, section};
use super::{Absent, Form, Kind, Section};
use crate::domain::ids::Permille;

const SECOND: Duration = Duration::from_secs(1);
const MONTH: Duration = Duration::from_secs(30 * 86_400);
const CENTURY: Duration = DAY.saturating_mul(36_500);
/// The most steps of a canary.
const STEPS_MAX: usize = 16;

/// `[models.NAME.release]`.
pub(in crate::config) static RELEASE: Section = section(
    "the releases",
    "How versions of a model come to answer clients: found, checked, tried and promoted by evidence.",
    &[
        key(
            "mode",
            Kind::Word(&["automatic", "manual"]),
            Absent::Same("automatic"),
            "Who lets a version answer clients for the first time: the evidence, or the evidence and \
             an operator's `versions approve`.",
        ),
        key("shadow", Kind::Table(&SHADOW), Absent::Same("{}"), "The trial on copies of requests."),
        key(
            "steps",
            Kind::List(Form::Share, 1, STEPS_MAX),
            Absent::Same("[\"1%\", \"5%\", \"20%\", \"50%\"]"),
            "The shares of the requests that a candidate answers, one step after the other; an equal \
             part of the champion's is compared with it, so that half of them is the most.",
        ),
        key(
            "responses",
            Kind::Numbers(STEPS_MAX),
            Absent::Means("200 for a step below 5 %, 500 below 20 %, 1000 below 50 %, then 2000"),
            "The responses of the candidate that each step must have seen, as many numbers as `steps`.",
        ),
        key(
            "dwell",
            Kind::Duration(Duration::ZERO, MONTH),
            Absent::Same("10m"),
            "The shortest stay on a step.",
        ),
        key(
            "patience",
            Kind::Integer(1, 1000),
            Absent::Same("3"),
            "The longest stay on a step, in dwells. Then it gets as much again, once, and then it is \
             rolled back.",
        ),
        key(
            "required",
            Kind::List(Form::Check, 0, 10),
            Absent::Same("[\"identity\", \"interface\", \"probes\", \"determinism\", \"latency\"]"),
            "The checks before any traffic that must have run and passed. Any other may be left out for \
             want of what it needs, but none may fail.",
        ),
        key(
            "golden",
            Kind::Text(Form::File),
            Absent::Means("none: only the probe rows are asked of them"),
            "The golden set of versions at prediction servers, which have no folder for one: a file like \
             `golden.jsonl`. Its `labels` are the truth for every version; with `outputs` every version must \
             give these answers, so that they are left out where versions are trained anew.",
        ),
        key(
            "validating",
            Kind::Duration(SECOND, DAY),
            Absent::Same("5m"),
            "How long the checks may take.",
        ),
        key(
            "warming",
            Kind::Duration(SECOND, DAY),
            Absent::Same("5m"),
            "How long loading and the warm-up may take.",
        ),
        key(
            "unproven",
            Kind::Flag,
            Absent::Same("false"),
            "Whether a version may live without golden answers, and without enough copies of requests.",
        ),
        key(
            "proving",
            Kind::Duration(Duration::ZERO, CENTURY),
            Absent::Same("1d"),
            "How long a version that had no trial must have lived soundly to count as proven.",
        ),
        key(
            "absence",
            Kind::Duration(Duration::ZERO, MONTH),
            Absent::Same("5m"),
            "How long the champion must have given no answer, with no earlier one in its place, before a version in \
             shadow or canary takes its place, unproven, if a fresh look finds it sound and nothing speaks against it. \
             0 for never.",
        ),
        key(
            "undo",
            Kind::Duration(Duration::ZERO, CENTURY),
            Absent::Same("1d"),
            "How long the earlier champion stays loaded after a promotion, ready to come back.",
        ),
        key(
            "standbys",
            Kind::Integer(1, 16),
            Absent::Same("2"),
            "The most earlier champions that the undo window protects.",
        ),
        key(
            "between",
            Kind::Duration(Duration::ZERO, MONTH),
            Absent::Same("10m"),
            "The shortest time between the beginnings of two rollouts.",
        ),
        key(
            "daily",
            Kind::Integer(1, 256),
            Absent::Same("24"),
            "The most rollouts that begin within a day.",
        ),
        key(
            "superseded",
            Kind::Integer(0, 1000),
            Absent::Same("3"),
            "How often in a row a newer release may take the place of one on trial; after that, the \
             trial ends first.",
        ),
        key(
            "protected",
            Kind::Ratio(Permille::NONE, Permille::ALL),
            Absent::Same("50%"),
            "From this share on a candidate is not superseded any more.",
        ),
        key(
            "failures",
            Kind::Integer(1, 1000),
            Absent::Same("2"),
            "Failures in a row after which further releases of a publisher wait for an operator.",
        ),
        key(
            "deaths",
            Kind::Integer(1, 1000),
            Absent::Same("2"),
            "How often the gateway may end without a farewell (a crash, a SIGKILL, a loss of power), a day or less \
             apart, while a version is on trial, before that version is stopped.",
        ),
        key(
            "incomplete",
            Kind::Duration(SECOND, MONTH),
            Absent::Same("10m"),
            "How long a version may be incomplete before an event says so.",
        ),
        key(
            "fetch_attempts",
            Kind::Integer(1, 100),
            Absent::Same("3"),
            "How often, and for two minutes at least, it is tried to fetch an artifact before it is given up.",
        ),
    ],
);

/// `shadow = { … }` of `[models.NAME.release]`.
pub(in crate::config) static SHADOW: Section = section(
    "the shadow",
    "The trial on copies of requests: the candidate's answers are compared with the champion's, and no client \
     gets them.",
    &[
        key(
            "pairs",
            Kind::Integer(0, 1_000_000_000),
            Absent::Same("500"),
            "Pairs of answers that are compared; 0 leaves the trial out. The bound on latency takes about 550.",
        ),
        key(
            "agreement",
            Kind::Ratio(Permille::NONE, Permille::ALL),
            Absent::Same("80%"),
            "The least agreement with the champion, as a lower confidence bound.",
        ),
        key(
            "shift",
            Kind::Ratio(Permille::NONE, Permille::ALL),
            Absent::Same("10%"),
            "By how much more or less often than the champion it may give an answer to the same requests, as a \
             lower confidence bound.",
        ),
        key(
            "slower",
            Kind::Number(0.1, 1000.0),
            Absent::Same("1.5"),
            "By how much the 99th percentile of latency may grow, as a factor and an upper confidence \
             bound.",
        ),
        key(
            "drops",
            Kind::Ratio(Permille::NONE, Permille::ALL),
            Absent::Same("5%"),
            "The largest share of copies that may be dropped under load.",
        ),
        key(
            "limit",
            Kind::Duration(SECOND, MONTH),
            Absent::Same("1h"),
            "The longest stay. Then it gets as much again, once.",
        ),
    ],
);

/// `[models.NAME.evict]`.
pub(in crate::config) static EVICT: Section = section(
    "the evictions",
    "When versions of a model go. Whatever the reason, one that is in use, pinned, standby in its window, the \
     last one loaded or the last proven one stays.",
    &[
        key(
            "ttl",
            Kind::Duration(SECOND, CENTURY),
            Absent::Means("versions do not age"),
            "The age since its release after which a version that does not answer goes. A champion that is \
             older stays, and is overdue.",
        ),
        key(
            "max_age",
            Kind::Duration(SECOND, CENTURY),
            Absent::Means("training data does not age"),
            "The age of its training data after which a version is out of date.",
        ),
        key(
            "idle",
            Kind::Duration(SECOND, CENTURY),
            Absent::Means("as long as nothing takes its place"),
            "How long a standby that nobody asks for stays loaded after its undo window.",
        ),
        key(
            "keep_proven",
            Kind::Integer(1, 10_000),
            Absent::Same("2"),
            "Proven versions that are kept on disk whatever their age.",
        ),
        key(
            "quarantine",
            Kind::Duration(SECOND, CENTURY),
            Absent::Same("7d"),
            "How long the artifact of a version in quarantine is kept.",
        ),
        key(
            "grace",
            Kind::Duration(Duration::ZERO, CENTURY),
            Absent::Same("1d"),
            "How long an evicted version can still be restored.",
        ),
        key(
            "disk",
            Kind::Size(MIB, 1024 * TIB),
            Absent::Means("no limit"),
            "Bytes that the artifacts of the model may take below `data_dir`.",
        ),
        key(
            "memory",
            Kind::Size(MIB, 1024 * TIB),
            Absent::Means("no limit"),
            "Bytes that the loaded versions of the model may take, as estimated.",
        ),
        key(
            "cool_down",
            Kind::Duration(Duration::ZERO, MONTH),
            Absent::Same("1m"),
            "The shortest time between two evictions of the model.",
        ),
        key(
            "hourly",
            Kind::Integer(0, 1024),
            Absent::Same("20"),
            "No version of the model is evicted while the gateway has evicted so many within an hour.",
        ),
        key("dry_run", Kind::Flag, Absent::Same("false"), "Whether it is only told what would go."),
    ],
);

/// `[models.NAME.guard]`.
pub(in crate::config) static GUARD: Section = section(
    "the guard",
    "What counts as broken, and how sure that must be.",
    &[
        key(
            "error_ratio",
            Kind::Table(&ERROR_RATIO),
            Absent::Same("{}"),
            "How candidate and control are compared by their rates of errors, invalid outputs and slow \
             responses.",
        ),
        key(
            "latency",
            Kind::Table(&LATENCY),
            Absent::Means("slow responses are not counted"),
            "What counts as a slow response.",
        ),
        key(
            "required",
            Kind::List(Form::Metric, 0, 4),
            Absent::Same("[\"errors\"]"),
            "Rates without which nothing is promoted. Any other speaks against a version where it is \
             there.",
        ),
        key(
            "first_failures",
            Kind::Integer(1, 1_000_000),
            Absent::Same("5"),
            "First responses of a candidate that all failed: it is broken, if the control is not.",
        ),
        key(
            "sample_ratio",
            Kind::Number(0.0, 0.5),
            Absent::Same("0.0001"),
            "Below this chance the counts of candidate and control do not fit their shares, and nothing \
             follows from them.",
        ),
        key(
            "fresh",
            Kind::Duration(SECOND, MONTH),
            Absent::Same("10m"),
            "How old the evidence may be that a version is healthy now.",
        ),
        key(
            "golden",
            Kind::Duration(SECOND, MONTH),
            Absent::Same("1h"),
            "How often the golden answers of loaded versions are asked for again.",
        ),
        key(
            "golden_margin",
            Kind::Ratio(Permille::NONE, Permille::ALL),
            Absent::Same("2%"),
            "By how much the metric on labelled golden rows may be worse than the champion's: a difference of \
             accuracies, or a share of the champion's mean error. A version that is worse by more waits for an \
             approval where the rows are too few to prove it.",
        ),
        key(
            "samples",
            Kind::Integer(1, 1_000_000_000),
            Absent::Same("100"),
            "The fewest responses from which a version is called degraded.",
        ),
        key(
            "standby_copies",
            Kind::Ratio(Permille::NONE, Permille::ALL),
            Absent::Same("0.1%"),
            "The share of the requests of which the latest standby gets copies, ten a second at most, and one each ten \
             seconds whatever the share, so that it is known to answer, and whether the champion still agrees with it. \
             0 for none.",
        ),
    ],
);

/// `error_ratio = { … }` of `[models.NAME.guard]`.
pub(in crate::config) static ERROR_RATIO: Section = section(
    "the error ratio",
    "How candidate and control are compared by their rates.",
    &[
        key(
            "alpha",
            Kind::Number(0.0001, 0.5),
            Absent::Same("0.01"),
            "The chance that a rollout of an equal version is rolled back, over all of it.",
        ),
        key(
            "margin",
            Kind::Ratio(Permille::NONE, Permille::ALL),
            Absent::Same("2%"),
            "By how much a rate of a version may be worse for its promotion, as an upper confidence bound \
             on the difference.",
        ),
    ],
);

/// `latency = { … }` of `[models.NAME.guard]`.
pub(in crate::config) static LATENCY: Section = section(
    "the latency",
    "How fast responses are to be.",
    &[
        key(
            "slo",
            Kind::Duration(MS, HOUR),
            Absent::Error,
            "A response that takes longer is slow.",
        ),
        key(
            "target",
            Kind::Ratio(Permille::saturating(1), Permille::saturating(999)),
            Absent::Same("99%"),
            "The share of responses that must not be slow.",
        ),
    ],
);
