"""Quantiles of latency that the admin API tells, against numpy on the times that the prediction log has."""

import collections
import http.client
import json
import threading
import time
import urllib.request

import numpy as np
from echo import Echo
from gateway import MODELS, Gateway
from rivals import Sheet

CONFIG = """
workers = 2
[models.far.versions.v1]
backends = ["{backend}"]
[models.iris.versions.v1]
onnx = "{models}/iris/v1/model.onnx"
[log]
durability = "os"
"""
CLIENTS, REQUESTS = 6, 80
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
IRIS = json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}]})


def bucket(us):
    """The end of the bucket of HdrHistogram that a time falls into: with two significant digits, the highest eight
    bits are kept."""
    below = max(int(us).bit_length() - 8, 0)
    return (int(us) >> below << below) + (1 << below) - 1


def stages(record):
    """What an exchange spent where, as the documentation has it."""
    parts = {"queue": record["t_queue"], "infer": record["t_infer"], "upstream": record["t_ttfb"]}
    known = {name: us for name, us in parts.items() if us is not None}
    return known | {"total": record["t_total"], "overhead": max(record["t_total"] - sum(known.values()), 0)}


def send(gateway, seed):
    rng = np.random.default_rng(seed)
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    for _ in range(REQUESTS):
        delay = float(min(rng.lognormal(0.5, 1.2), 150))
        asked = json.dumps({"instances": [[1]], "delay_ms": delay, "answer": {"predictions": [1]}})
        for path, body in (("/v1/models/far:predict", asked), ("/v2/models/iris/infer", IRIS)):
            connection.request("POST", path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()


def api(gateway, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.admin_port}/api/v1{path}", timeout=10) as answer:
        return json.load(answer)


def compare(sheet, gateway, model, records):
    until, path = time.monotonic() + 30, f"/models/{model}/versions/v1"
    while (told := api(gateway, f"{path}/monitor")["last"]["hour"])["exchanges"] < len(records):
        assert time.monotonic() < until, f"not all are counted: {told}"
        time.sleep(0.05)
    times = collections.defaultdict(list)
    for record in records:
        for stage, us in stages(record).items():
            times[stage].append(us)
    sheet.same(f"{model} stages", sorted(told["latency_us"]), sorted(times))
    windows = api(gateway, f"{path}/windows?length=minute")["windows"]
    for stage, exact in times.items():
        about, ours = f"{model} {stage}", told["latency_us"][stage]
        sheet.same(f"{about} count", ours["count"], len(exact))
        sheet.close(f"{about} mean", ours["mean"], np.mean(exact))
        for name, share in QUANTILES.items():
            theirs = np.quantile(exact, share, method="inverted_cdf")
            sheet.same(f"{about} {name}", ours[name], bucket(max(theirs, 1)))
            sheet.same(f"{about} {name} within one percent", abs(ours[name] - theirs) <= max(0.01 * theirs, 1), True)
        counted = collections.Counter()
        for window in windows:
            counted.update(dict(window["traffic"]["latency_us"].get(stage, {}).get("buckets", [])))
        sheet.same(f"{about} buckets", counted, collections.Counter(bucket(max(us, 1)) for us in exact))


def test_quantiles_are_those_of_the_times_in_the_log(minutes, tmp_path):
    backend = Echo()
    gateway = Gateway(tmp_path / "gateway", CONFIG.format(backend=backend.address, models=MODELS))
    gateway.environment = minutes.environment
    try:
        gateway.start()
        clients = [threading.Thread(target=send, args=(gateway, seed)) for seed in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        sheet, until = Sheet(), time.monotonic() + 30
        # A record may come a moment after its answer.
        while len(records := gateway.records()) < 2 * CLIENTS * REQUESTS:
            assert time.monotonic() < until, f"{len(records)} records"
        # What was counted is told once its minute is over.
        minutes.skip(120)
        for model in ("far", "iris"):
            compare(sheet, gateway, model, [record for record in records if record["model"] == model])
        sheet.end()
        gateway.stop()
    finally:
        if gateway.process:
            gateway.kill()
        backend.stop()
