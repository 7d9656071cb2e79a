"""What the REST schema promises holds for requests that nobody thought of: schemathesis finds no 500 and no violation."""

import subprocess

import pytest
from gateway import LOCAL_MODELS, TOP
from peers import CACHE

SCHEMA = TOP / "src" / "protocol" / "open_inference" / "openapi.json"
PROGRAM = CACHE / "venv-schemathesis" / "bin" / "schemathesis"
LIMIT_S = 300

# All but one: that every request that fits the schema is accepted. Which tensors a model takes, no schema tells.
NOT_PROMISED = "positive_data_acceptance"


def test_no_500_and_no_answer_outside_the_schema(start_gateway, tmp_path):
    if not PROGRAM.exists():
        pytest.skip(f"there is no {PROGRAM}: run tests/setup test")
    gateway = start_gateway(LOCAL_MODELS + "[protocols]\nrepository = true\n")
    command = [
        *(PROGRAM, "run", SCHEMA, "--url", gateway.url),
        *("--exclude-checks", NOT_PROMISED, "--max-examples", "30", "--seed", "1", "--no-color"),
    ]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S)
    assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-2000:]
    gateway.stop()
