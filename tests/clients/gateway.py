"""Starts the real binary for the tests: free ports, a directory of its own, a bounded wait until it serves.

Never waits a fixed time, and never leaves a process behind: each gateway is stopped by the fixture that
handed it out.
"""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
MODELS = TOP / "config" / "models"
COLOURS = TOP / "tests" / "data" / "models" / "colours.onnx"
START_LIMIT_S = 30
STOP_LIMIT_S = 40


def binary():
    """The binary under test: $POINTSMAN, or the debug build in cargo's target directory."""
    if named := os.environ.get("POINTSMAN"):
        return named
    target = os.environ.get("CARGO_TARGET_DIR", TOP / "target")
    return str(Path(target) / "debug" / "pointsman")


def free_port():
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def expected(model, version):
    """The cases of a model with onnxruntime's answers, as Open Inference JSON."""
    return json.loads((MODELS / model / version / "expected.json").read_text())


class Gateway:
    """One gateway in `directory`, with `body` below the three addresses in its configuration."""

    def __init__(self, directory, body, port=None):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.admin_port = free_port()
        self.config = self.directory / "pointsman.toml"
        self.config.write_text(
            f'listen = "127.0.0.1:{self.port}"\n'
            f'admin = "127.0.0.1:{self.admin_port}"\n'
            f'data_dir = "data"\n{body}'
        )
        self.process = None
        # Added to that of the tests.
        self.environment = {}

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def url(self):
        return f"http://{self.address}"

    def start(self):
        """Starts the process and waits until it serves."""
        with open(self.directory / "output", "ab") as output:
            self.process = subprocess.Popen(
                [binary(), "run", "-c", str(self.config)],
                stdout=output,
                stderr=output,
                env={**os.environ, **self.environment},
            )
        limit = time.monotonic() + START_LIMIT_S
        while not (self._ready() and self._listens()):
            assert self.process.poll() is None, f"it ended at its start:\n{self.output()}"
            assert time.monotonic() < limit, f"not ready:\n{self.output()}"
            time.sleep(0.02)
        return self

    def _ready(self):
        # On the admin address, so that the wait itself leaves nothing in the prediction log.
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/readyz", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=2).close()
            return True
        except OSError:
            return False

    def output(self):
        return (self.directory / "output").read_text(errors="replace")

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=5) as answer:
            return answer.read().decode()

    def stop(self):
        """SIGTERM; what was accepted must be finished and the exit code 0."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_LIMIT_S)
        self.process = None
        assert code == 0, f"exit code {code}:\n{self.output()}"

    def kill(self):
        """SIGKILL: no chance to finish anything."""
        self.process.kill()
        self.process.wait(STOP_LIMIT_S)
        self.process = None

    def records(self):
        """Every record of the prediction log, oldest first; a gap in it is a failure."""
        printed = subprocess.run(
            [binary(), "log", "-c", str(self.config), "tail", "-n", "1000000", "--format", "json"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert printed.returncode == 0, printed.stderr
        rows = [json.loads(line) for line in printed.stdout.splitlines()]
        strange = [row for row in rows if "record_id" not in row]
        assert not strange, f"the log has gaps: {strange}"
        return rows


# Two versions of iris and one of digits, all in the process; every record survives `kill -9`.
LOCAL_MODELS = f"""
[models.iris]
traffic = {{ v1 = "50%", v2 = "50%" }}
[models.iris.versions.v1]
onnx = "{MODELS}/iris/v1/model.onnx"
[models.iris.versions.v2]
onnx = "{MODELS}/iris/v2/model.onnx"
[models.digits.versions.v1]
onnx = "{MODELS}/digits/v1/model.onnx"
[log]
durability = "os"
"""
