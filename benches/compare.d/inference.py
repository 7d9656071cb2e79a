"""Models in the process against onnxruntime on one thread.

Owns the two processes that run the models, the turns they take, and the table. Both get the same rows.
A call of onnxruntime from Python costs microseconds whatever the model is; how many, the model `identity`
shows, and the column `less calls` is the ratio of what the models cost beyond that on either side.
"""

import array
import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path

from load import table
from servers import PARTS, die_with_parent, left_out, say

BATCHES = (1, 64, 1024)
WIDTH = 20
SHAPES = {"convnet": (3, 64, 64), "transformer": (32, 128)}
NETS = ("convnet", "transformer")
REQUIREMENTS = PARTS / "inference_requirements.txt"


class Runner:
    """One side: a process that times one task at a time."""

    def __init__(self, command, cwd=None):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env=environment,
            preexec_fn=die_with_parent,
        )

    def ask(self, **task):
        print(json.dumps(task), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a runner ended on {task}")
        return json.loads(line)

    def stop(self):
        self.process.stdin.close()
        self.process.wait(30)


def python():
    """A Python with onnxruntime and what makes the models, installed on first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pointsman"
    venv, wanted = cache / "venv-inference", REQUIREMENTS.read_text()
    stamp = venv / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        say(f"Installing onnxruntime, scikit-learn and LightGBM into {venv}")
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(venv)],
            [str(venv / "bin" / "pip"), "install", "-q", "-r", str(REQUIREMENTS)],
        ):
            if subprocess.run(command, stdin=subprocess.DEVNULL, timeout=900).returncode:
                return None
        stamp.write_text(wanted)
    return venv / "bin" / "python"


def models(program):
    """The folder of models, made on first use: about three minutes."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pointsman"
    folder = cache / "inference-models"
    say(f"Models in {folder}")
    done = subprocess.run([str(program), str(PARTS / "inference_models.py"), str(folder)], stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit("the models could not be made")
    return folder


def rows_file(folder, width, count):
    """Random rows, spread wide enough to visit all of a tree."""
    path = folder / f"rows-{width}-{count}.f32"
    if not path.exists():
        draw = random.Random(width)
        numbers = array.array("f", (draw.gauss(0, 2) for _ in range(width * count)))
        with open(path, "wb") as file:
            numbers.tofile(file)
    return path


def tasks(folder):
    """What is timed: name, batch, and the task for both sides."""
    for path in sorted(folder.glob("*.onnx")):
        shape = SHAPES.get(path.stem, (WIDTH,))
        width = 1
        for size in shape:
            width *= size
        batches = (1, 8) if path.stem in NETS else BATCHES
        count = 16 if path.stem in NETS else 4096
        for batch in batches:
            task = {
                "model": str(path),
                "input": "x",
                "shape": [batch, *shape],
                "rows": str(rows_file(folder, width, count)),
            }
            yield path.stem, batch, task


def agree(name, batch, ours, theirs):
    """The share of numbers that differ by more than 1e-4 of the larger of itself and 1."""
    far = count = 0
    for mine, other in zip(ours, theirs):
        for a, b in zip(mine, other):
            count += 1
            far += abs(a - b) > 1e-4 * max(abs(b), 1)
    if far or len(ours) != len(theirs):
        raise SystemExit(f"{name}, batch {batch}: {far} of {count} numbers differ")


def inference(bench):
    program = python()
    if program is None:
        left_out("onnxruntime: its packages can't be installed (Python with venv and a package index)")
        return
    folder = Path(bench.options.models) if bench.options.models else models(program)
    command = ["cargo", "bench", "--locked", "--bench", "inference"]
    runner = [bench.options.runner] if bench.options.runner else command
    ours = Runner(runner, PARTS.parent.parent)
    theirs = Runner([program, PARTS / "inference_rival.py"])
    results = {}
    for name, batch, task in tasks(folder):
        agree(name, batch, ours.ask(**task, ms=0)["outputs"], theirs.ask(**task, ms=0)["outputs"])
        runs = []
        for turn in range(max(bench.options.rounds, 3)):
            sides = [ours, theirs] if turn % 2 else [theirs, ours]
            times = {side: side.ask(**task, ms=60)["ns"] / 1e3 for side in sides}
            runs.append((times[ours], times[theirs]))
        results[name, batch] = runs
    ours.stop()
    theirs.stop()
    report(bench, results)


def report(bench, results):
    middle = {key: [statistics.median(side) for side in zip(*runs)] for key, runs in results.items()}
    rows = []
    for (name, batch), (mine, other) in middle.items():
        call = middle.get(("identity", batch), (0, 0))
        net = [max(other - call[1], 0), max(mine - call[0], 0.01)]
        less = f"{net[0] / net[1]:.2f}" if name not in (*NETS, "identity") else "-"
        rows.append([name, batch, f"{mine:.2f}", f"{other:.2f}", f"{other / mine:.2f}", less])
    header = ["", "batch", "pointsman us", "onnxruntime us", "ratio", "less calls"]
    table("One run of a model in the process (medians of turns)", header, rows)
    for (name, batch), runs in results.items():
        if name == "identity":
            continue
        bound = (1 if batch == 1 else None) if name not in NETS else 1 / 1.3
        bench.ratio(f"inference_{name}_{batch}", [other / mine for mine, other in runs], bound)
