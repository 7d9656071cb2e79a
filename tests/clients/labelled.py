"""Predictions and what is said about them later: late, in any order, twice, wrong at first, taken back, or never.

Owns what was said, and what counts of it in the end; other libraries are given that.
"""

import http.client
import json
import time
import urllib.error
import urllib.request

import numpy as np


class Client:
    """Sends predictions and feedback, and keeps what was said."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)

    def post(self, path, body, headers=None):
        self.connection.request("POST", path, json.dumps(body), {"content-type": "application/json"} | (headers or {}))
        answer = self.connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return answer.headers["x-prediction-id"], json.loads(text)

    def tensor(self, model, values):
        data = {"name": "x", "datatype": "FP32", "shape": list(values.shape), "data": values.tolist()}
        name, answer = self.post(f"/v2/models/{model}/infer", {"inputs": [data]})
        # What the client has got is what counts, in the datatype of the answer.
        [output] = answer["outputs"]
        return name, np.array(output["data"], "<f4").reshape(values.shape).astype("f8")

    def echo(self, model, predictions, headers=None):
        asked = {"instances": [[0]] * len(predictions), "answer": {"predictions": predictions}}
        return self.post(f"/v1/models/{model}:predict", asked, headers)[0]

    def feed(self, items):
        statuses = [item["status"] for item in self.post("/v1/feedback", items)[1]]
        assert set(statuses) <= {"accepted", "replaced", "superseded", "pending", "duplicate", "late"}, statuses
        return statuses

    def quality(self, model, labelled, version="v1", more=""):
        """Waits until so many rows have their label, and everything in the log has been read."""
        until, path = time.monotonic() + 30, f"/api/v1/models/{model}/versions/{version}/quality{more}"
        while True:
            address = f"http://127.0.0.1:{self.gateway.admin_port}{path}"
            try:
                with urllib.request.urlopen(address, timeout=10) as answer:
                    report = json.load(answer)
            except urllib.error.HTTPError as error:
                report = {"error": error.read()}
            if "whole" in report and report["complete"] and report["whole"]["n"] == labelled:
                return report
            assert time.monotonic() < until, f"not {labelled} rows of {model}: {report.get('whole', report)}"
            time.sleep(0.05)


class Truths:
    """What is said about predictions in the course of time, and what counts of it in the end."""

    def __init__(self, rng, change):
        self.rng, self.change = rng, change
        # One list of statements for each prediction, and its final labels.
        self.statements, self.final = [], []

    def add(self, name, labels):
        fate = self.rng.choice(
            ["once", "twice", "mended", "overtaken", "taken back", "given again", "in part", "never"],
            p=[0.35, 0.1, 0.2, 0.05, 0.1, 0.1, 0.05, 0.05],
        )
        if len(labels) == 1 and fate == "in part":
            fate = "once"
        tell = lambda labels, **more: {
            "prediction_id": name, "label": labels if len(labels) > 1 else labels[0], "source": "truth", **more
        }
        wrong = [self.change(label) for label in labels]
        part = [None if at % 3 == 0 else label for at, label in enumerate(labels)]
        back = {"prediction_id": name, "source": "truth", "retract": True}
        self.statements.append({
            "once": [tell(labels)],
            "twice": [tell(labels), tell(labels)],
            "mended": [tell(wrong), tell(labels)],
            # What was found out first comes last.
            "overtaken": [
                tell(labels, observed_at="2026-02-03T00:00:00Z"),
                tell(wrong, observed_at="2026-02-02T00:00:00Z"),
            ],
            "taken back": [tell(labels), back],
            "given again": [tell(wrong), back, tell(labels, id="again")],
            "in part": [tell(wrong), tell(part)],
            "never": [],
        }[fate])
        final = {"taken back": [None] * len(labels), "never": [None] * len(labels), "in part": part}
        self.final.extend(final.get(fate, labels))

    def in_any_order(self):
        """The statements of all predictions, mixed; those of one stay in their order."""
        order = self.rng.permutation(np.repeat(np.arange(len(self.statements)), [len(s) for s in self.statements]))
        waiting = [iter(statements) for statements in self.statements]
        return [next(waiting[at]) for at in order]


def check(sheet, about, report, theirs):
    """Every metric that is told has a rival, and every one of theirs is told."""
    metrics = report["whole"]["metrics"]
    sheet.same(f"{about} metrics", sorted(metrics), sorted([*theirs["said"], *theirs["holds"]]))
    for name, value in theirs["said"].items():
        sheet.close(f"{about} {name}", metrics.get(name, {}).get("value"), value)
    for name, value in theirs["holds"].items():
        sheet.within(f"{about} {name}", metrics.get(name), value)
        # The bins hide little.
        sheet.same(f"{about} {name} is narrow", metrics[name]["upper"] - metrics[name]["lower"] < 0.02, True)
    for name, (lower, upper) in theirs["sequences"].items():
        if name in ("brier", "rmse") and "interval" not in metrics[name]:
            continue
        floor = -np.inf if name in ("bias", "reward") else 0.0
        sheet.close(f"{about} {name} from", metrics[name]["lower"], max(lower, floor))
        sheet.close(f"{about} {name} to", metrics[name]["upper"], upper)
    if "confusion" in theirs:
        ours = sorted([cell["truth"], cell["predicted"], cell["count"]] for cell in report["confusion"])
        sheet.same(f"{about} confusion", ours, sorted(theirs["confusion"]))
