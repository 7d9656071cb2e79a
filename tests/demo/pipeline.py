"""A training pipeline that releases by itself, and what becomes of its releases.

It trains iris with scikit-learn, exports it, writes a baseline and a golden set beside it, and publishes the folder by
renaming it. Two releases are sound and go live under load; five are not, and each must be stopped at its gate. Clients
ask all the time and may not notice anything.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

import models
from gateway import Failed, Gateway, Load, finite, main, say

CONFIG = """
[discovery.store]
directory = "models"
interval  = "200ms"
settle    = "200ms"

[models.iris.release]
steps     = ["10%", "50%"]
responses = [100, 500]
dwell     = "2s"
between   = "0s"
failures  = 100
shadow    = { pairs = 300, slower = 3, drops = "50%", limit = "2m" }

[models.iris.guard]
error_ratio = { margin = "5%" }
# Each of the labelled rows is one point: with the default of 2 % a sound version that is two rows worse by chance would
# wait for an approval.
golden_margin = "4%"
"""
NAMES = [f"input[{column}]" for column in range(4)]


class Pipeline:
    """Publishes versions of a model into a directory."""

    def __init__(self, binary, folder):
        self.store, self.work = folder / "models" / "iris", folder / "work"
        self.store.mkdir(parents=True)
        self.work.mkdir()
        self.writer = load_writer(binary, folder)

    def release(self, version, model, rows):
        work = self.work / version
        work.mkdir()
        (work / "model.onnx").write_bytes(model.SerializeToString())
        width = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
        flowers, species = models.FLOWERS[rows][:, :width], models.SPECIES[rows]
        session = onnxruntime.InferenceSession(work / "model.onnx", providers=["CPUExecutionProvider"])
        label, probabilities = session.run(None, {"input": flowers})
        golden = self.writer.write_golden(
            work / "golden.jsonl",
            inputs={"input": flowers},
            outputs={"label": label, "probabilities": probabilities},
            labels=species,
        )
        features = {name: flowers[:, column] for column, name in enumerate(NAMES[:width])}
        self.writer.write(work / "baseline.json", "iris", version, features=features, golden=golden)
        os.rename(work, self.store / version)
        return float(np.mean(label == species))


def load_writer(binary, folder):
    """The module that writes baselines, as `pointsman baseline --python` prints it."""
    file = folder / "pointsman_baseline.py"
    file.write_bytes(subprocess.run([binary, "baseline", "--python"], check=True, stdout=subprocess.PIPE).stdout)
    spec = importlib.util.spec_from_file_location("pointsman_baseline", file)
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    return writer


def flower(random_):
    """A request with a flower like those of the data."""
    row = models.FLOWERS[random_.randrange(len(models.FLOWERS))]
    data = [round(float(value) + random_.uniform(-0.05, 0.05), 2) for value in row]
    return {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 4], "data": data}]}


def is_valid(outputs):
    probabilities = outputs["probabilities"]
    return len(probabilities) == 3 and finite(probabilities) and outputs["label"][0] in (0, 1, 2)


GATES = ("quarantined", "retired", "live")
RELEASES = [
    ("v2", "trained on a few flowers more", lambda: models.sound(10), "live", ""),
    ("v3", "(a) collapsed", models.collapsed, "quarantined", "collapse"),
    ("v4", "(b) another interface", models.narrow, "quarantined", "interface"),
    ("v5", "(c) far slower", models.slow, "quarantined", "latency"),
    ("v6", "(d) five points less accurate than the first one, seven than the champion of then", models.worse, "quarantined", "golden metric"),
    ("v7", "(e) NaN for two percent of the rows", models.broken, "quarantined", ""),
    ("v8", "sound again", lambda: models.sound(20), "live", ""),
]


def show(binary):
    folder = Path(tempfile.mkdtemp(prefix="pointsman-demo-"))
    pipeline = Pipeline(binary, folder)
    gateway = Gateway(binary, folder, CONFIG)
    load = None
    try:
        say("\nv1: the first release")
        accuracy = pipeline.release("v1", models.sound(), models.healthy_rows())
        shown, _ = gateway.follow("iris", "v1", ("live", "quarantined"))
        say(f"    accuracy {accuracy:.2f}: {shown['why']}")
        gateway.wait("v1 answers", lambda: gateway.version("iris", "v1")["ready"])
        load = Load(gateway, "iris", flower, is_valid)
        for version, what, make, expected, gate in RELEASES:
            say(f"\n{version}: {what}")
            accuracy = pipeline.release(version, make(), models.healthy_rows())
            shown, stages = gateway.follow("iris", version, GATES)
            answers, wrong, by_version = load.told()
            say(f"    accuracy {accuracy:.2f}: {shown['why']}")
            say(f"    clients meanwhile: {answers} answers {by_version}, {len(wrong)} not as they should be")
            if shown["stage"] != expected or gate not in str(shown["why"]):
                raise Failed(f"{version} is {shown['stage']} and should be {expected} {gate}")
            if wrong:
                raise Failed(f"clients noticed: {wrong[:3]}")
            if expected == "quarantined" and "canary" in stages:
                raise Failed(f"{version} answered clients")
        say("\nevery release ended as it should, and no client noticed")
    finally:
        if load:
            load.stop()
        gateway.stop()
        say(f"the folder of the demonstration: {folder}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main(show)
