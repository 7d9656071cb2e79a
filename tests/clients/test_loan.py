"""A stream with a published change, as requests to the real binary: the alarm comes after it, and not before.

NannyML's synthetic car loans change at row 25,000 of their analysis part. A logistic regression that was fitted on
the reference part runs in the gateway; the rows from 15,000 to 35,000 go to it, a thousand in each of its minutes.
"""

import calendar
import http.client
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from gateway import Gateway, binary

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kill_matrix"))

from clock import Clock  # noqa: E402

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pointsman"
PYTHON = CACHE / "venv-loan" / "bin" / "python"
WHEEL = CACHE / "data" / "nannyml-0.13.1-py3-none-any.whl"
MAKER = Path(__file__).with_name("peers") / "loan.py"

# A minute of the gateway passes in three seconds.
RATE = 20
WINDOW, REQUEST = 1000, 100
# What changes, by the documentation of the data.
CHANGED = {"car_value", "salary_range", "loan_length", "repaid_loan_on_prev_car"}

CONFIG = """
workers = 1
[models.loan.versions.v1]
onnx = "{folder}/model.onnx"
[log]
durability = "async"
[monitor.drift]
window = "minute"
"""


def made(folder):
    """The model with its card and its baseline, and the rows."""
    for needed in (PYTHON, WHEEL):
        if not needed.exists():
            pytest.skip(f"CAR LOAN TEST NOT RUN: {needed} is missing; tests/setup test makes it")
    subprocess.run([PYTHON, MAKER, WHEEL, folder], check=True, timeout=300)
    subprocess.run(
        [binary(), "baseline", "loan", "v1", "--data", folder / "reference.csv"]
        + ["--artifact", folder / "model.onnx", "--out", folder / "baseline.json"],
        check=True,
        timeout=300,
    )
    return json.loads((folder / "rows.json").read_text())


def api(gateway, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.admin_port}{path}", timeout=5) as answer:
        return json.load(answer)


def test_the_drift_alarm_comes_within_two_windows_after_the_change_and_not_before(tmp_path):
    stream = made(tmp_path / "model")
    try:
        clock = Clock(tmp_path / "clock")
    except (RuntimeError, subprocess.CalledProcessError) as error:
        pytest.skip(f"CAR LOAN TEST NOT RUN: {error}")
    gateway = Gateway(tmp_path / "gateway", CONFIG.format(folder=tmp_path / "model"))
    gateway.environment = clock.environment
    since = time.time()
    clock.set(0.0, RATE)
    # The minute of the gateway's clock, with its part.
    minute = lambda: (since + (time.time() - since) * RATE) / 60

    def drift():
        events = api(gateway, "/api/v1/alarms")["events"]
        return [event for event in events if event["alarm"] == "drift" and event["change"] == "started"]

    gateway.start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)

        def send(rows):
            body = {"name": "X", "datatype": "FP32", "shape": [len(rows), len(rows[0])], "data": rows}
            connection.request("POST", "/v2/models/loan/infer", json.dumps({"inputs": [body]}))
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text

        # Each window from the beginning of a minute on.
        next_minute = int(minute()) + 2
        sent = []
        rows, change = stream["rows"], stream["change"]
        for first in range(0, len(rows), WINDOW):
            while minute() < next_minute + 0.02:
                time.sleep(0.01)
            for at in range(first, first + WINDOW, REQUEST):
                send(rows[at : at + REQUEST])
            assert minute() < next_minute + 1, "a window took longer than a minute"
            sent.append((first, next_minute))
            if first + WINDOW <= change:
                assert drift() == [], f"no drift in the first {first + WINDOW} rows"
            next_minute += 1
        until = time.monotonic() + 30
        while not drift() and time.monotonic() < until:
            time.sleep(0.1)
        # Inputs are one alarm of the model, outputs one of the version.
        alarms = sorted(drift(), key=lambda event: event["at"])
        alarm = alarms[0]
        at = calendar.timegm(time.strptime(alarm["at"], "%Y-%m-%dT%H:%M:%SZ"))
        begun = next(minute for first, minute in sent if first >= change)
        windows = int(at // 60) - begun + 1
        assert 1 <= windows <= 2, f"noticed {windows} windows after the change"
        found = {finding["subject"] for alarm in alarms for finding in alarm["evidence"]["findings"]}
        assert found and found <= CHANGED, found
        # The last minutes are closed a little later.
        seen = lambda: api(gateway, "/api/v1/models/loan/versions/v1/monitor")["last"]["hour"]
        while seen()["predictions"] < len(rows) and time.monotonic() < until:
            time.sleep(0.1)
        assert seen()["predictions"] == len(rows) and seen()["share_seen"] == 1
        gateway.stop()
    finally:
        if gateway.process:
            gateway.kill()
