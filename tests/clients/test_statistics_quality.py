"""Every metric of delayed labels, against scikit-learn on the same predictions; detectors, against river.

Predictions come from models in the process and from a backend, with one row or many. Labels come in any order,
twice, wrong at first, too late, are taken back, or never come. What counts in the end is given to the other libraries.
"""

import subprocess
import time
import urllib.request

import numpy as np
import pytest
from clock import Clock
from echo import Echo
from gateway import Gateway
from labelled import Client, Truths, check
from rivals import Sheet

ROWS = 40

CONFIG = """
workers = 1
[models.three.versions.v1]
onnx = "{folder}/three.onnx"
[models.three.labels]
classes = ["a", "b", "c"]
[models.pair.versions.v1]
onnx = "{folder}/pair.onnx"
[models.pair.labels]
classes = ["no", "yes"]
positive = "yes"
threshold = 0.35
[models.score.versions.v1]
backends = ["{backend}"]
[models.score.labels]
classes = ["bad", "good"]
positive = "bad"
probabilities = "/predictions"
[models.named.versions.v1]
backends = ["{backend}"]
[models.named.labels]
classes = ["x", "y", "z", "never"]
positive = "y"
predicted = "name"
probabilities = "shares"
[models.price.versions.v1]
backends = ["{backend}"]
[models.price.labels]
value = "/predictions"
quantile = 0.9
tolerance = 5.0
[models.ranker.versions.v1]
backends = ["{backend}"]
[models.ranker.labels]
reward = true
policy = "sum"
[log]
durability = "async"
"""


def dirichlet(rng, rows, classes):
    """Shares with ties, and with certain ones."""
    shares = np.round(rng.dirichlet(np.full(classes, 0.6), rows), 2).astype("<f4")
    shares[::17] = np.eye(classes, dtype="<f4")[rng.integers(0, classes, len(shares[::17]))]
    shares[1::17] = np.float32(1 / classes)
    return shares


@pytest.fixture(scope="module")
def serving(tmp_path_factory, rivals):
    folder = tmp_path_factory.mktemp("quality")
    for model, columns in {"three": 3, "pair": 2}.items():
        path = str(folder / f"{model}.onnx")
        rivals.ask("model", path=path, columns=columns, output="probabilities", first_only=False)
    backend = Echo()
    gateway = Gateway(folder / "gateway", CONFIG.format(folder=folder, backend=backend.address))
    try:
        yield Client(gateway.start())
        gateway.stop()
    finally:
        if gateway.process:
            gateway.kill()
        backend.stop()


def sizes(rng):
    """Rows of requests: many, and one."""
    return [ROWS] * 25 + [1] * 20 + list(rng.integers(2, 9, 10))


CLASSES = {"three": ["a", "b", "c"], "pair": ["no", "yes"], "score": ["bad", "good"], "named": ["x", "y", "z", "never"]}
POSITIVE = {"three": None, "pair": 1, "score": 0, "named": 1}


@pytest.mark.parametrize("model", CLASSES)
def test_classes_are_measured_as_scikit_learn_measures_them(serving, rivals, model):
    rng = np.random.default_rng(sum(map(ord, model)))
    names, positive = CLASSES[model], POSITIVE[model]
    truths = Truths(rng, lambda label: names[(names.index(label) + 1) % len(names)])
    shares, predicted = [], []
    for rows in sizes(rng):
        # Nobody is ever of the last class of four.
        wanted = dirichlet(rng, rows, len(names))
        if model in ("three", "pair"):
            name, got = serving.tensor(model, wanted)
            places = got.argmax(axis=1) if model == "three" else (got[:, 1] >= 0.35).astype(int)
            own = [names[at] for at in places]
        elif model == "score":
            # Doubles, and the probability of the positive class alone.
            bad = np.where(wanted[:, 0] == 1, 1.0, np.round(rng.beta(0.7, 0.9, rows), int(rng.integers(2, 15))))
            got = np.column_stack([bad, 1 - bad])
            name, own = serving.echo(model, bad.tolist()), [names[int(p < 0.5)] for p in bad]
        else:
            got = wanted.astype("f8")
            own = [names[at] for at in rng.integers(0, 3, rows)]
            answer = [{"name": own, "shares": row} for own, row in zip(own, got.tolist())]
            name = serving.echo(model, answer)
        believed = got[:, : 3 if model == "named" else None] + 0.05
        believed /= believed.sum(axis=1, keepdims=True)
        truths.add(name, [names[rng.choice(len(row), p=row)] for row in believed])
        shares.extend(got.tolist())
        predicted.extend(own)
    items = truths.in_any_order()
    for first in range(0, len(items), 30):
        serving.feed(items[first : first + 30])
    known = [at for at, label in enumerate(truths.final) if label is not None]
    report, sheet = serving.quality(model, len(known)), Sheet()
    sheet.same("predictions", report["whole"]["predictions"], len(truths.final))
    sheet.close("coverage", report["whole"]["coverage"], len(known) / len(truths.final))
    pick = lambda values: [values[at] for at in known]
    asked = {"truth": pick(truths.final), "predicted": pick(predicted), "shares": pick(shares)}
    theirs = rivals.ask("classes", **asked, names=names, positive=positive)
    check(sheet, model, report, theirs)
    if report["estimated"]:
        # Expected of all predictions, labelled or not: that each is right as often as its score says.
        all_shares = np.array(shares)
        if positive is None:
            right = all_shares.max(axis=1)
        else:
            score, threshold = all_shares[:, positive], 0.35 if model == "pair" else 0.5
            right = np.where(score >= threshold, score, 1 - score)
        sheet.within("expected accuracy", report["estimated"]["accuracy"], right.mean())
    sheet.end()


def test_numbers_are_measured_as_scikit_learn_measures_them(serving, rivals):
    rng = np.random.default_rng(5)
    truths, predicted = Truths(rng, lambda label: label + 1000), []
    for rows in sizes(rng):
        # Far from zero, so that a difference of large sums would have lost its digits.
        truth = 1e6 + rng.gamma(2, 10, rows)
        own = (truth + rng.standard_t(3, rows) * 3).tolist()
        truths.add(serving.echo("price", own), truth.tolist())
        predicted.extend(own)
    serving.feed(truths.in_any_order())
    known = [at for at, label in enumerate(truths.final) if label is not None]
    report, sheet = serving.quality("price", len(known)), Sheet()
    asked = {"truth": [truths.final[at] for at in known], "predicted": [predicted[at] for at in known]}
    check(sheet, "price", report, rivals.ask("numbers", **asked, quantile=0.9, tolerance=5.0))
    sheet.end()


def test_rewards_are_added_up(serving, rivals):
    rng = np.random.default_rng(6)
    items, sums = [], []
    for at in range(200):
        name = serving.echo("ranker", [at])
        rewards = rng.normal(0.3, 2, int(rng.integers(0, 4))).tolist()
        items += [{"prediction_id": name, "value": reward, "source": f"s{k}"} for k, reward in enumerate(rewards)]
        sums += [sum(rewards)] if rewards else []
    serving.feed(rng.permutation(np.array(items, object)).tolist())
    report, sheet = serving.quality("ranker", len(sums)), Sheet()
    said = {"reward": float(np.mean(sums)), "reward_sum": float(np.sum(sums))}
    sequences = {"reward": rivals.ask("mean", values=sums)}
    check(sheet, "ranker", report, {"said": said, "holds": {}, "sequences": sequences})
    sheet.end()


VERSIONS = """
workers = 1
[models.pair]
traffic = {{ v1 = "100%" }}
[models.pair.versions.v1]
backends = ["{backend}"]
[models.pair.versions.v2]
backends = ["{backend}"]
[models.pair.labels]
classes = ["a", "b"]
predicted = "/predictions"
[feedback]
window = "1d"
[log]
durability = "async"
"""
HOUR_S, DAY_S = 3600, 86400


def compared(report, sums, hours, theirs):
    told, sheet = report["comparison"], Sheet()
    for at, arm in enumerate(("control", "candidate")):
        sheet.same(arm, [told[arm]["errors"], told[arm]["n"]], sums[at].tolist())
    sheet.same("hours", [told["hours"], told["hours_immature"], told["hours_unmatched"]], [hours, 0, 0])
    sheet.close("evidence", told["ln_evidence_candidate_is_worse"], theirs["ln_evidence"])
    for name in ("difference", "lower", "upper"):
        sheet.close(name, told[name], theirs[name])
    sheet.end()


def test_two_versions_are_compared_as_published_and_late_labels_change_nothing(rivals, minutes, tmp_path):
    backend = Echo()
    gateway = Gateway(tmp_path / "gateway", VERSIONS.format(backend=backend.address))
    gateway.environment = minutes.environment
    rng, hours, first = np.random.default_rng(8), [], None
    # From six in the morning on, so that all hours are of one day.
    minutes.skip(DAY_S - (time.time() + minutes.ahead_s) % DAY_S + 6 * HOUR_S)
    try:
        client = Client(gateway.start())
        for rates in [(0.02, 0.02), (0.1, 0.1), (0.03, 0.09), (0.05, 0.2)]:
            hours.append([])
            for version, rate, rows in zip(("v1", "v2"), rates, rng.integers(100, 900, 2)):
                errors = rng.random(rows) < rate
                name = client.echo("pair", ["a"] * len(errors), {"x-pointsman-version": version})
                first = first or (name, len(errors))
                client.feed([{"prediction_id": name, "label": ["b" if error else "a" for error in errors]}])
                hours[-1].append((int(errors.sum()), len(errors)))
            minutes.skip(HOUR_S)
        minutes.skip(HOUR_S)
        sums, theirs = np.sum(hours, axis=0), rivals.ask("worse", hours=hours)
        ask = lambda: client.quality("pair", int(sums[1][1]), "v2", "?control=v1")
        compared(ask(), sums, len(hours), theirs)

        # A day and an hour after the first prediction, and still within the days that are kept.
        minutes.skip(20 * HOUR_S)
        (name, rows), read = first, ask()["lsn"]
        assert client.feed([{"prediction_id": name, "label": ["b"] * rows}]) == ["late"]
        until = time.monotonic() + 30
        while (report := ask())["lsn"] <= read:
            assert time.monotonic() < until, report["lsn"]
            time.sleep(0.05)
        compared(report, sums, len(hours), theirs)
        gateway.stop()
    finally:
        if gateway.process:
            gateway.kill()
        backend.stop()


DETECTORS = ["adwin", "page_hinkley", "ddm", "eddm", "hddm_a", "hddm_w", "fhddm"]


# A minute of the gateway passes in a tenth of a second.
RATE = 600


@pytest.fixture
def detecting(tmp_path):
    """Models with a detector each, on a clock that runs fast: labels are judged once they have had the time to come."""
    try:
        clock = Clock(tmp_path / "clock")
    except (RuntimeError, subprocess.CalledProcessError) as error:
        pytest.skip(f"DETECTORS OF CHANGE NOT TESTED: {error}")
    backend = Echo()
    body = "workers = 1\n" + "".join(
        f'[models.{kind}.versions.v1]\nbackends = ["{backend.address}"]\n[models.{kind}.labels]\n'
        f'classes = ["a", "b"]\npredicted = "/predictions"\ndetector = "{kind}"\n'
        for kind in DETECTORS
    )
    gateway = Gateway(tmp_path / "gateway", body + '[log]\ndurability = "os"\n')
    gateway.environment = clock.environment
    clock.set(0.0, RATE)
    try:
        yield Client(gateway.start())
        gateway.stop()
    finally:
        if gateway.process:
            gateway.kill()
        backend.stop()


def test_detectors_alarm_at_the_labels_at_which_those_of_river_do(detecting, rivals):
    """They see errors in the order of predictions, in whatever order labels come."""
    rng = np.random.default_rng(7)
    rates = np.repeat([0.15, 0.45, 0.05, 0.9, 0.3], 1000)
    errors = (rng.random(len(rates)) < rates).astype(int)
    items = []
    for first in range(0, len(errors), 500):
        part = errors[first : first + 500].tolist()
        for kind in DETECTORS:
            name = detecting.echo(kind, ["a"] * len(part))
            items.append({"prediction_id": name, "label": ["b" if error else "a" for error in part]})
    rng.shuffle(items)
    for first in range(0, len(items), 7):
        detecting.feed(items[first : first + 7])
    told, until = {}, time.monotonic() + 60
    while any(kind not in told or told[kind]["watched"] < len(errors) for kind in DETECTORS):
        assert time.monotonic() < until, {kind: detector["watched"] for kind, detector in told.items()}
        time.sleep(0.5)
        # Its minutes are those of the log.
        detecting.echo(DETECTORS[0], ["a"])
        told = {kind: detecting.quality(kind, len(errors))["detector"] for kind in DETECTORS}
    sheet = Sheet()
    for kind, detector in told.items():
        theirs = rivals.ask("changes", kind=kind, errors=errors.tolist())
        assert theirs, "nothing to compare"
        shown = (detector["kind"], detector["watched"], detector["changes"])
        sheet.same(kind, shown, (kind, len(errors), len(theirs)))
        # The last twenty are kept.
        sheet.same(f"{kind} at", [change["labels"] for change in detector["last_changes"]], theirs[-20:])
    sheet.end()
