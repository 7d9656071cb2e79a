"""What a trial on requests of clients tells of its two arms, against scipy on the counts of the prediction log."""

import collections
import http.client
import json
import time
import urllib.error
import urllib.request

from gateway import Gateway
from rivals import Sheet

CONFIG = """
workers = 2
[discovery.store]
directory = "{store}"
[models.m.release]
between = "0s"
unproven = true
shadow = {{ pairs = 0 }}
steps = ["50%"]
responses = [1000000]
dwell = "1d"
[log]
durability = "os"
"""
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]}]})
REQUESTS_MAX, PORTION = 2000, 40


def known(gateway, version):
    address = f"http://127.0.0.1:{gateway.admin_port}/api/v1/models/m/versions/{version}"
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError:
        return {}


def wait(what, condition, limit_s=60):
    until = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < until, f"never happened: {what}"
        time.sleep(0.05)
    return found


def publish(rivals, store, version):
    folder = store / "m" / version
    aside = store.parent / f"{version}.onnx"
    rivals.ask("model", path=str(aside), columns=2, output="y", first_only=False)
    folder.mkdir(parents=True)
    aside.rename(folder / "model.onnx")


def test_counts_and_bounds_of_both_arms_are_those_of_scipy(rivals, tmp_path):
    store = tmp_path / "store"
    publish(rivals, store, "v1")
    gateway = Gateway(tmp_path / "gateway", CONFIG.format(store=store))
    try:
        gateway.start()
        wait("v1 is live", lambda: known(gateway, "v1").get("stage") == "live")
        publish(rivals, store, "v2")
        wait("v2 is a canary", lambda: known(gateway, "v2").get("stage") == "canary")
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        arms, sheet, looks = collections.Counter(), Sheet(), 0
        # Until chance has made the arms unlike: a ratio of one would say little.
        while sum(arms.values()) < REQUESTS_MAX:
            for _ in range(PORTION):
                connection.request("POST", "/v2/models/m/infer", BODY, {"content-type": "application/json"})
                answer = connection.getresponse()
                assert answer.status == 200, answer.read()
                answer.read()
                arms[answer.headers["x-pointsman-version"]] += 1
            expected = rivals.ask("sample_ratio", counts=[arms["v2"], arms["v1"]])
            looks += 1
            if expected < 0.9 and looks >= 5:
                break
        sent = sum(arms.values())
        counted = lambda: (told := known(gateway, "v2").get("canary")) and told["rates"] and sum(
            told["rates"][0][name] for name in ("n", "control_n")
        ) == sent and told
        told = wait("all are counted", counted)
        sheet.close("sample ratio", told["sample_ratio"], expected)
        rates = {rate["metric"]: rate for rate in told["rates"]}
        for metric in ("errors", "invalid"):
            rate = rates[metric]
            sheet.same(f"{metric} n", [rate["n"], rate["control_n"]], [arms["v2"], arms["v1"]])
            sheet.same(f"{metric} bad", [rate["bad"], rate["control_bad"]], [0, 0])
            upper = rivals.ask("rate", successes=0, n=arms["v2"], alpha=0.025)[1]
            lower = rivals.ask("rate", successes=0, n=arms["v1"], alpha=0.025)[0]
            sheet.close(f"{metric} bound", rate["excess_high"], upper - lower)
        gateway.stop()
        reasons = collections.Counter(record["decision_reason"] for record in gateway.records())
        sheet.same("reasons", [reasons["candidate"], reasons["control"]], [arms["v2"], arms["v1"]])
        sheet.end()
    finally:
        if gateway.process:
            gateway.kill()
