"""Triton's own load generator runs unchanged against iris in the process, over REST and gRPC.

It asks for the server's extensions, the model's metadata and configuration, and for statistics around its
measurement, before it believes a number. Speed is for benches/: here all requests must succeed.
"""

import csv
import os
import re
import subprocess

import pytest
from gateway import Gateway
from peers import CACHE
from services import COMMON, IN_PROCESS

# The program reads versions as numbers.
MODELS = (COMMON + IN_PROCESS).replace("versions.v1", "versions.1").replace("v1 =", "1 =")

REQUESTS = 2000
CONCURRENCY = 4
LIMIT_S = 120
# Which of its libraries are nowhere but in Triton's package, and under which names.
LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d*", "libcudart.so.12": "libcudart-*.so.12*"}

WAYS = {
    "rest binary": ["-i", "http"],
    "rest json": ["-i", "http", "--input-tensor-format", "json", "--output-tensor-format", "json"],
    "grpc": ["-i", "grpc"],
    "grpc stream": ["-i", "grpc", "--streaming", "--async"],
}


@pytest.fixture(scope="module")
def analyzer(tmp_path_factory):
    """The program, and the environment that it runs in."""
    program = CACHE / "venv-perf" / "bin" / "perf_analyzer"
    if not program.exists():
        pytest.skip(f"perf_analyzer is not installed at {program}: run tests/setup test")
    links = tmp_path_factory.mktemp("libraries")
    for name, pattern in LIBRARIES.items():
        found = list((CACHE / "venv-triton").glob(f"lib/python3.*/site-packages/nvidia_pytriton.libs/{pattern}"))
        if found:
            (links / name).symlink_to(found[0])
    environment = {**os.environ, "LD_LIBRARY_PATH": str(links)}
    linked = subprocess.run(["ldd", program], env=environment, capture_output=True, text=True)
    if "not found" in linked.stdout or linked.returncode:
        pytest.skip(f"a library of perf_analyzer is missing: {linked.stdout}{linked.stderr}")
    return program, environment


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), MODELS)
    try:
        yield gateway.start()
        gateway.stop()
    finally:
        if gateway.process:
            gateway.kill()


@pytest.mark.parametrize("way", WAYS)
def test_it_measures(analyzer, gateway, way, tmp_path):
    program, environment = analyzer
    report = tmp_path / "report.csv"
    done = subprocess.run(
        [
            *(program, "-m", "iris", "-u", gateway.address, *WAYS[way], "-f", report),
            *("--concurrency-range", str(CONCURRENCY), "--request-count", str(REQUESTS), "--max-threads", "4"),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    with open(report) as file:
        row = next(csv.DictReader(file))
    assert float(row["Inferences/Second"]) > 0
    # What the server counted is what the program sent, but for those under way when it asked.
    counted = int(re.search(r"Inference count: (\d+)", done.stdout)[1])
    assert counted >= REQUESTS - 2 * CONCURRENCY, done.stdout


def test_texts_are_sent_too(analyzer, gateway, tmp_path):
    program, environment = analyzer
    done = subprocess.run(
        [
            *(program, "-m", "colours", "-u", gateway.address, "-i", "grpc", "--string-data", "red"),
            *("--concurrency-range", "1", "--request-count", "100"),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
