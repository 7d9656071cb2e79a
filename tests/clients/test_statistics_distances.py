"""Every distance that the admin API publishes, against scipy on the same values.

Baselines are made by `pointsman baseline`; traffic comes as tensors to models in the process, and as JSON to a
backend. The other side is computed here and now, from the raw values: bins, groups, margins and all.
"""

import http.client
import json
import subprocess
import time
import urllib.request
from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from echo import Echo
from gateway import Gateway, binary
from rivals import Sheet

# What definitions here and there may differ by: rounding.
SLACK = 1e-9
# Tails of the non-central law, of two implementations.
TAIL_SLACK = 1e-6
MARGIN = 0.02
BASELINE_ROWS, ROWS, REQUEST = 6000, 3000, 500
# Of the seed: nothing changes, a little, everything.
SHIFTS = {"m1": 0.0, "m2": 0.3, "m3": 9.0}
COLUMNS = ["normal", "constant", "ties", "zeros", "code", "flag"]
COUNTRIES = ["de", "fr", "it", "Österreich", "", "日本"]


def draw(seed, rows, shift):
    """Columns of all sorts; None is missing."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(100 + shift, 1.5 if shift else 1.0, rows)
    normal[rng.random(rows) < 0.02 + shift / 100] = np.nan
    normal[rng.random(rows) < 0.01] = np.inf
    normal[rng.random(rows) < 0.005] = -np.inf
    # Some values on the very edge of a tenth, and negative zeros.
    zeros = np.where(rng.random(rows) < 0.4, -0.0, rng.gamma(2.0, 1.0 + shift, rows))
    shares = np.array([0.5, 0.3, 0.15, 0.005, 0.03, 0.015])
    shares = np.roll(shares, int(shift > 1))
    country = rng.choice(np.array(COUNTRIES, object), rows, p=shares)
    country[rng.random(rows) < 0.01] = None
    flag = (rng.random(rows) < 0.3 + shift / 20).astype(object)
    return {
        "normal": normal,
        "constant": np.full(rows, 7.25),
        "ties": rng.binomial(6, 0.5 - min(shift, 1) / 10, rows).astype(float),
        "zeros": zeros,
        # A long tail of names, of which some are rare.
        "code": np.minimum(rng.geometric(0.12 - min(shift, 1) / 20, rows), 60).astype(float),
        "flag": flag,
        "country": country,
    }


def parquet(path, columns):
    """NaN stays NaN; None is missing."""
    arrays = {name: pyarrow.array(values.tolist(), from_pandas=False) for name, values in columns.items()}
    pyarrow.parquet.write_table(pyarrow.table(arrays), path)


def made(folder, model, columns, *more):
    folder.mkdir(parents=True, exist_ok=True)
    parquet(folder / "rows.parquet", columns)
    command = [binary(), "baseline", model, "v1", "--data", folder / "rows.parquet", "--out", folder / "baseline.json"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "baseline.json").read_text())


def api(gateway, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.admin_port}/api/v1{path}", timeout=10) as answer:
        return json.load(answer)


def post(connection, path, body, headers):
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == 200, text


def seen(gateway, model, rows):
    """Waits until the values of all rows are counted."""
    until = time.monotonic() + 30
    while True:
        last = api(gateway, f"/models/{model}/versions/v1/monitor")["last"]["hour"]
        table = api(gateway, f"/models/{model}/versions/v1/features?last=hour")["features"]
        if table and "n" in table[0] and last["values_seen"] == rows // REQUEST:
            return
        assert time.monotonic() < until, f"not all rows are seen: {last}"
        time.sleep(0.05)


def compare(sheet, rivals, gateway, model, file, features):
    """One model: `features` maps a name to its two sides. What the whole log gives offline must be the same."""
    seen(gateway, model, ROWS)
    told = {}
    for feature in file["features"] + file.get("outputs", []):
        name = feature["name"]
        shown = api(gateway, f"/models/{model}/versions/v1/features/{name}?last=hour")
        about, (baseline, current) = f"{model} {name}", features[name]
        sheet.same(f"{about} seen", shown["seen"], len(current))
        if feature["kind"] == "numeric":
            theirs = numeric(sheet, rivals, about, shown, feature, baseline, current)
        else:
            values = feature["values"] if feature["kind"] == "categorical" else ["false", "true"]
            theirs = rivals.ask(
                "categorical", baseline=baseline, current=current, values=values, margin=MARGIN,
                noise=feature.get("noise"), boolean=feature["kind"] == "boolean",
            )
            nothing = shown["guards"]["missing"] + shown["guards"]["nan"]
            sheet.close(f"{about} missing", nothing, sum(value is None for value in current) / len(current))
        sheet.same(f"{about} counts", shown["counts"], theirs["counts"])
        sheet.same(f"{about} baseline", [round(c) for c in shown["baseline"]["counts"]], theirs["baseline_counts"])
        distances(sheet, about, shown["distances"], theirs)
        told[name] = (shown, theirs)
    return told


def numeric(sheet, rivals, about, shown, feature, baseline, current):
    known = lambda values: [value for value in values if value is not None]
    edges, points = feature.get("edges", []), feature.get("point_masses", [])
    if not feature["name"].startswith("score"):
        sheet.same(f"{about} edges", [edges, points], rivals.ask("quantile_edges", values=known(baseline)))
    theirs = rivals.ask(
        "numeric", baseline=known(baseline), current=known(current), edges=edges, points=points, margin=MARGIN,
        noise=feature.get("noise"),
    )
    sheet.close(f"{about} mean", shown["mean"], theirs["mean"])
    for guard in ("nan", "infinite"):
        sheet.close(f"{about} {guard}", shown["guards"][guard], theirs[guard] * len(known(current)) / len(current))
    sheet.close(f"{about} missing", shown["guards"]["missing"], sum(value is None for value in current) / len(current))
    ks, work = (shown["distances"][name]["value"] for name in ("kolmogorov_smirnov", "wasserstein"))
    sheet.within(f"{about} ks", ks, theirs["ks"])
    sheet.close(f"{about} ks at edges", ks["lower"], theirs["ks_at_edges"])
    sheet.same(f"{about} ks width", ks["upper"] - ks["lower"] <= theirs["widest_bin"] + SLACK, True)
    sheet.within(f"{about} wasserstein", work, theirs["wasserstein"])
    # Where nearly all values lie in one bin, nothing narrow can be said.
    narrow = work["upper"] - work["lower"] <= 0.1 * theirs["spread"] + SLACK
    sheet.same(f"{about} wasserstein width", narrow or theirs["widest_bin"] > 0.3, True)
    return theirs


def distances(sheet, about, ours, theirs):
    for name in ("psi", "jensen_shannon", "hellinger", "l_infinity"):
        sheet.close(f"{about} {name}", ours[name]["value"], theirs[name])
        n, m = sum(theirs["counts"]), sum(theirs["baseline_counts"])
        sheet.same(f"{about} {name} n, m", [ours[name]["n"], round(ours[name]["m"])], [n, m])
    sheet.same(f"{about} groups", ours["psi"]["bins"], theirs["groups"])
    statistic, df, p = theirs["chi_squared"]
    sheet.close(f"{about} chi-squared", ours["chi_squared"]["value"], statistic)
    sheet.same(f"{about} df", ours["chi_squared"]["df"], df)
    sheet.relative(f"{about} p of chi-squared", ours["chi_squared"]["p"], p, SLACK)
    test = theirs.get("margin_test")
    sheet.same(f"{about} is judged", ours["margin_test"]["p"] is not None, test is not None)
    if test:
        sheet.close(f"{about} margin", ours["margin_test"]["margin"], test["margin"])
        sheet.close(f"{about} dispersion", ours["margin_test"].get("dispersion"), test["dispersion"])
        sheet.relative(f"{about} p at the margin", ours["margin_test"]["p"], test["p"], TAIL_SLACK)


def judged(sheet, rivals, gateway, since, told):
    """The verdicts of the same traffic, counted again from the log as a minute."""
    to = since + timedelta(minutes=10)
    replay = [binary(), "monitor", "-c", gateway.config, "replay", "--drift", "--format", "json", "--length", "minute"]
    done = subprocess.run(
        [*replay, "--from", since.isoformat(), "--to", to.isoformat()], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    whole = [line for line in lines if all(feature["seen"] == ROWS for feature in line["features"])]
    sheet.same("judged", {line["model"] for line in lines}, set(told))
    # A machine that is very busy may need more than one for the requests of a model.
    sheet.same("judged whole", len(whole) >= len(told) - 1, True)
    for line in whole:
        verdicts(sheet, rivals, line, told[line["model"]])


def verdicts(sheet, rivals, line, of):
    sheet.same(f"{line['model']} judged", {feature["name"] for feature in line["features"]}, set(of))
    known = {feature["name"]: feature["verdict"].get("p") for feature in line["features"]}
    known = {name: p for name, p in known.items() if p is not None}
    marked = dict(zip(known, rivals.ask("discoveries", ps=list(known.values()))))
    for feature in line["features"]:
        about, (shown, theirs) = f"{line['model']} {feature['name']} again", of[feature["name"]]
        for name in ("psi", "jensen_shannon", "hellinger", "l_infinity"):
            sheet.same(f"{about} {name}", feature[name], shown["distances"][name]["value"])
        verdict, test = feature["verdict"], theirs.get("margin_test")
        sheet.same(f"{about} discovery", feature["discovery"], marked.get(feature["name"], False))
        if not test:
            sheet.same(f"{about} outcome", verdict["outcome"], "insufficient")
            continue
        # The first window: the score is its e-value.
        e = 0.5 / max(test["p"], 1e-300) ** 0.5
        sheet.close(f"{about} margin", verdict["margin"], test["margin"])
        sheet.relative(f"{about} e", verdict["e_value"], e, TAIL_SLACK)
        sheet.relative(f"{about} score", verdict["score"], e, TAIL_SLACK)
        # Minutes of 90 days, a fifth more; two fifths of the budget for the features, divided among them.
        threshold = 90 * 24 * 60 * 1.2 * 2.5 * len(of)
        sheet.close(f"{about} threshold", verdict["threshold"], threshold)
        sheet.same(f"{about} outcome", verdict["outcome"], "breach" if e >= threshold else "pass")


def test_distances_of_tensors_are_those_of_scipy(rivals, minutes, tmp_path):
    body, files, sides = "", {}, {}
    for seed, (model, shift) in enumerate(SHIFTS.items()):
        baseline, current = draw(seed, BASELINE_ROWS, 0.0), draw(100 + seed, ROWS, shift)
        current["code"][:40], current["code"][40:50], current["flag"][:30] = 99, 1.5, 2
        folder = tmp_path / model
        folder.mkdir()
        rivals.ask("model", path=str(folder / "model.onnx"), columns=len(COLUMNS), output="y", first_only=True)
        names = ", ".join(f'"{column}"' for column in COLUMNS)
        (folder / "model.toml").write_text(f"[inputs.x]\nnames = [{names}]\n")
        del baseline["country"]
        stored = baseline | {
            "y": baseline["normal"], "code": baseline["code"].astype(int), "flag": baseline["flag"].astype(bool)
        }
        more = ["--output", "y", "--categorical", "code", "--chunk", "500", "--artifact", folder / "model.onnx"]
        files[model] = made(folder, model, stored, *more)
        tensor = np.column_stack([current[column].astype(float) for column in COLUMNS]).astype("<f4")
        text = lambda value: None if np.isnan(value) else str(int(value)) if value == int(value) else "?"
        truth = lambda value: {0: "false", 1: "true"}.get(int(value), "?")
        sides[model] = {name: (baseline[name].tolist(), current[name].tolist()) for name in COLUMNS[:4]} | {
            "y": (baseline["normal"].tolist(), current["normal"].tolist()),
            "code": tuple([text(value) for value in side["code"]] for side in (baseline, current)),
            "flag": tuple([truth(value) for value in side["flag"]] for side in (baseline, current)),
            "tensor": tensor,
        }
        body += f'[models.{model}.versions.v1]\nonnx = "{folder}/model.onnx"\n'
    gateway = Gateway(tmp_path / "gateway", f'workers = 1\n{body}[log]\ndurability = "async"\n')
    gateway.environment = minutes.environment
    since = datetime.now(timezone.utc)
    gateway.start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        for model in SHIFTS:
            tensor = sides[model].pop("tensor")
            for first in range(0, ROWS, REQUEST):
                part = tensor[first : first + REQUEST]
                data = {"name": "x", "datatype": "FP32", "shape": list(part.shape)}
                data["parameters"] = {"binary_data_size": part.nbytes}
                head = json.dumps({"inputs": [data], "parameters": {"binary_data_output": True}}).encode()
                headers = {"inference-header-content-length": str(len(head))}
                post(connection, f"/v2/models/{model}/infer", head + part.tobytes(), headers)
        minutes.skip(120)
        sheet = Sheet()
        told = {model: compare(sheet, rivals, gateway, model, files[model], sides[model]) for model in SHIFTS}
        gateway.stop()
        judged(sheet, rivals, gateway, since, told)
        sheet.end()
    finally:
        if gateway.process:
            gateway.kill()


def test_distances_of_json_are_those_of_scipy(rivals, minutes, tmp_path):
    backend = Echo()
    body = "".join(f'[models.{model}.versions.v1]\nbackends = ["{backend.address}"]\n' for model in SHIFTS)
    body += '[monitor]\ncpu = "100%"\n[log]\ndurability = "async"\n'
    gateway = Gateway(tmp_path / "gateway", f"workers = 1\n{body}")
    gateway.environment = minutes.environment
    since = datetime.now(timezone.utc)
    gateway.start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        sheet, sent = Sheet(), {}
        for seed, (model, shift) in enumerate(SHIFTS.items(), start=10):
            baseline, current = draw(seed, BASELINE_ROWS, 0.0), draw(100 + seed, ROWS, shift)
            for side in (baseline, current):
                side["score"] = np.random.default_rng(seed).beta(2, 3 + shift, len(side["country"]))
                # JSON has no other numbers.
                normal = side["normal"]
                side["normal"] = np.array([v if np.isfinite(v) else None for v in normal.tolist()], object)
                side["flag"] = side["flag"].astype(bool).astype(object)
                side["flag"][::50] = None
            current["country"][:20] = "Atlantis"
            features = {name: baseline[name] for name in ("normal", "ties", "zeros", "country", "flag", "score")}
            file = made(tmp_path / model, model, features, "--score", "score", "--chunk", "1500")
            put = urllib.request.Request(
                f"http://127.0.0.1:{gateway.admin_port}/api/v1/models/{model}/versions/v1/baseline",
                json.dumps(file).encode(),
                method="PUT",
            )
            urllib.request.urlopen(put, timeout=10).close()
            names = ("normal", "ties", "zeros", "country", "flag")
            for first in range(0, ROWS, REQUEST):
                part = slice(first, first + REQUEST)
                rows = list(zip(*(current[name][part].tolist() for name in names)))
                answer = {"predictions": [{"score": score} for score in current["score"][part].tolist()]}
                asked = {"instances": [dict(zip(names, row)) for row in rows], "answer": answer}
                headers = {"content-type": "application/json"}
                post(connection, f"/v1/models/{model}:predict", json.dumps(asked), headers)
            truth = lambda value: None if value is None else str(value).lower()
            sides = {name: (baseline[name].tolist(), current[name].tolist()) for name in features} | {
                "flag": tuple([truth(value) for value in side["flag"]] for side in (baseline, current))
            }
            sent[model] = (file, sides)
        minutes.skip(120)
        told = {model: compare(sheet, rivals, gateway, model, *sent[model]) for model in SHIFTS}
        gateway.stop()
        judged(sheet, rivals, gateway, since, told)
        sheet.end()
    finally:
        if gateway.process:
            gateway.kill()
        backend.stop()
