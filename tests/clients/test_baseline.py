"""The writer for Python makes the file that `pointsman baseline` makes of the same data."""

import importlib.util
import json
import math
import subprocess

import numpy as np
import pandas as pd
import pytest
from gateway import TOP, binary

DATA = TOP / "tests" / "data" / "stats" / "columns.parquet"


def made(*arguments):
    done = subprocess.run([binary(), "baseline", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def writer(tmp_path):
    """The module that the binary prints."""
    path = tmp_path / "pointsman_baseline.py"
    path.write_text(made("--python"))
    spec = importlib.util.spec_from_file_location("pointsman_baseline", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def differences(ours, theirs, at=""):
    """Where two values of JSON differ, but for the last digits of numbers and what is absent or zero."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in ours.keys() | theirs.keys():
            yield from differences(ours.get(name), theirs.get(name), f"{at}/{name}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for place, pair in enumerate(zip(ours, theirs)):
            yield from differences(*pair, f"{at}/{place}")
    elif isinstance(ours, (int, float)) and isinstance(theirs, (int, float)):
        if not math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-12):
            yield f"{at}: {ours} is not {theirs}"
    elif (ours or None) != (theirs or None):
        yield f"{at}: {ours} is not {theirs}"


def test_the_python_writer_makes_the_same_file(writer, tmp_path):
    rows = pd.read_parquet(DATA)
    # A missing number is NaN to numpy, and missing to Parquet; the file says which.
    rows["x"] = rows["x"].fillna(0.5)
    rows.to_parquet(tmp_path / "rows.parquet", index=False)
    theirs = json.loads(made(
        "m", "v1", "--data", str(tmp_path / "rows.parquet"), "--time", "at", "--ignore", "label", "--score", "p"
    ))
    theirs.pop("created")
    rows = rows.sort_values("at", kind="stable")
    country = np.array([None if pd.isna(c) else c for c in rows["country"]], dtype=object)
    writer.write(
        tmp_path / "ours.json", "m", "v1",
        features={"x": rows["x"].to_numpy(), "zeros": rows["zeros"].to_numpy(), "code": rows["code"].to_numpy(),
                  "country": country, "flag": rows["flag"].to_numpy()},
        outputs={"p": rows["p"].to_numpy()},
        scores=["p"],
    )
    ours = json.loads((tmp_path / "ours.json").read_text())
    assert list(differences(ours, theirs)) == []
    assert [feature["kind"] for feature in ours["features"]] == [
        "numeric", "numeric", "numeric", "categorical", "boolean"
    ]


def test_gaps_of_a_pandas_frame_are_missing_as_in_a_file_of_it(writer, tmp_path):
    numbers = np.random.default_rng(4)
    size = 6000
    gap = lambda every: np.arange(size) % every == 0
    rows = pd.DataFrame({
        "amount": np.where(gap(10), np.nan, numbers.normal(40, 9, size)),
        "count": pd.array(np.where(gap(7), None, numbers.integers(0, 9, size)), dtype="Int64"),
        "country": pd.Series(np.where(gap(5), np.nan, numbers.choice(["de", "fr", "it"], size).astype(object))),
        "kind": pd.Series(np.where(gap(4), None, numbers.choice(["a", "b"], size))).astype("category"),
        "vip": pd.Series(np.where(gap(3), None, numbers.random(size) < 0.3), dtype=object),
        "new": pd.array(np.where(gap(3), None, numbers.random(size) < 0.6), dtype="boolean"),
        # Most of its names come once, and only the most frequent get one in the file; the other has a few rare ones.
        "merchant": pd.Series([f"m{k}" for k in numbers.zipf(1.5, size)], dtype=object),
        "device": pd.Series([f"d{k}" for k in numbers.zipf(2.5, size)], dtype=object),
        "p": numbers.random(size),
    })
    rows.to_parquet(tmp_path / "rows.parquet", index=False)
    theirs = json.loads(made("m", "v1", "--data", str(tmp_path / "rows.parquet"), "--score", "p"))
    theirs.pop("created")
    writer.write(tmp_path / "ours.json", "m", "v1", features=rows.drop(columns="p"), outputs=rows[["p"]], scores=["p"])
    ours = json.loads((tmp_path / "ours.json").read_text())
    assert list(differences(ours, theirs)) == []
    kinds = {one["name"]: (one["kind"], one.get("missing")) for one in ours["features"]}
    assert kinds["vip"] == kinds["new"] == ("boolean", 2000 / size)
    assert (kinds["country"], kinds["amount"]) == (("categorical", 0.2), ("numeric", 0.1))


def test_outputs_of_a_few_whole_numbers_are_classes_to_both_writers(writer, tmp_path):
    numbers = np.random.default_rng(7)
    size = 6000
    few = numbers.choice(5, size, p=[0.5, 0.3, 0.15, 0.04, 0.01])
    outputs = {
        "class": few,
        "floats": few.astype(float),
        "gaps": np.where(np.arange(size) % 10 == 0, np.nan, few),
        "negative": few - 2,
        "most": np.arange(size) % 20,
        "count": np.arange(size) % 21,
        "half": few / 2,
        "large": few + 2**24,
        "kept": few,
    }
    rows = pd.DataFrame({"x": few} | outputs)
    rows.to_parquet(tmp_path / "rows.parquet", index=False)
    asked = [word for name in outputs for word in ("--output", name)]
    theirs = json.loads(made("m", "v1", "--data", str(tmp_path / "rows.parquet"), *asked, "--numeric", "kept"))
    theirs.pop("created")
    writer.write(tmp_path / "ours.json", "m", "v1", rows[["x"]], rows[list(outputs)], numeric=["kept"])
    ours = json.loads((tmp_path / "ours.json").read_text())
    assert list(differences(ours, theirs)) == []
    kinds = {one["name"]: one["kind"] for one in ours["outputs"]}
    assert [name for name, kind in kinds.items() if kind == "categorical"] == ["class", "floats", "gaps", "negative", "most"]
    assert ours["features"][0]["kind"] == "numeric"
    assert ours["outputs"][0]["values"] == ["0", "1", "2", "3", "4"]


def test_the_golden_set_is_the_one_that_the_gateway_reads_in_its_own_tests(writer, tmp_path):
    golden = writer.write_golden(
        tmp_path / "golden.jsonl",
        inputs={"x": np.array([[1, 2.5], [np.nan, 0]], "f4"), "country": np.array([["de"], ["fr"]])},
        outputs={"label": np.array([0, 2]), "p": np.array([[0.75, 0.25, 0], [0, 0.25, 0.75]], "f4")},
        labels=["a", "c"],
    )
    assert golden == {"file": "golden.jsonl", "n": 2, "atol": 1e-4, "rtol": 1e-3}
    expected = TOP / "tests" / "data" / "golden" / "golden.jsonl"
    assert (tmp_path / "golden.jsonl").read_text() == expected.read_text()


def test_numbers_beyond_single_precision_and_none_make_a_sound_file(writer):
    strange = writer.feature("x", np.array([1e300, -1e300, np.nan, np.inf, 1.0, -0.0, 2.0] * 100))
    assert strange["min"] == -strange["max"] == pytest.approx(-3.4028234663852886e38)
    assert (strange["nan"], strange["infinite"], strange["n"]) == (1 / 7, 1 / 7, 500)
    empty = writer.feature("x", np.array([np.nan, np.nan]))
    assert (empty["n"], empty["mass"]) == (0, [0.0])
