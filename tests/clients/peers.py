"""Starts prediction servers on loopback: the real Triton, MLServer and KServe's model server, and one that speaks TF Serving.

All serve the same models as the gateway itself, computed by onnxruntime. A server that cannot run on
this machine skips its tests and says why. Never leaves a process behind: the fixture that handed a server out
stops it.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from gateway import COLOURS, MODELS, free_port

HERE = Path(__file__).resolve().parent / "peers"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pointsman"
IRIS = MODELS / "iris" / "v1" / "model.onnx"
START_LIMIT_S = 90
STOP_LIMIT_S = 20


class Peer:
    """One prediction server. `version` is what it calls the version of its model, None where it knows none."""

    version = None
    # Whether it lists binary tensors among its extensions.
    binary = False
    # Whether it answers the Open Inference Protocol over gRPC.
    grpc = True
    # Where it tells that a model is ready.
    ready = "/v2/models/{}/ready"

    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True)
        self.http_port, self.grpc_port = free_port(), free_port()
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc_url(self):
        return f"http://127.0.0.1:{self.grpc_port}"

    def command(self):
        """The command, and what its environment has besides."""
        raise NotImplementedError

    def start(self):
        command, environment = self.command()
        with open(self.directory / "output", "wb") as output:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.directory,
                env={**os.environ, "IRIS_MODEL": str(IRIS), "COLOURS_MODEL": str(COLOURS), "PYTHONDONTWRITEBYTECODE": "1", **environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        limit = time.monotonic() + START_LIMIT_S
        while not self._answers():
            assert self.process.poll() is None, f"it ended at its start:\n{self.output()}"
            assert time.monotonic() < limit, f"not ready:\n{self.output()}"
            time.sleep(0.1)
        return self

    def _answers(self):
        try:
            for model in ("iris", "colours"):
                with urllib.request.urlopen(self.url + self.ready.format(model), timeout=2):
                    pass
        except OSError:
            return False
        return True

    def output(self):
        return (self.directory / "output").read_text(errors="replace")[-4000:]

    def stop(self):
        """Ends the server and whatever it started."""
        if self.process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_LIMIT_S)
        self.process = None


class KServe(Peer):
    """KServe's Python server: V1, Open Inference over REST with binary tensors, and gRPC; no versions."""

    def command(self):
        return [sys.executable, HERE / "kserve_models.py", self.http_port, self.grpc_port], {}


class MLServer(Peer):
    """MLServer: Open Inference over REST (JSON only) and gRPC; versions have any name."""

    version = "v1"

    def command(self):
        python = CACHE / "venv-mlserver" / "bin" / "python"
        if not python.exists():
            pytest.skip(f"MLServer is not installed in {python.parent.parent}: run tests/setup test")
        (self.directory / "settings.json").write_text(
            f'{{"host": "127.0.0.1", "http_port": {self.http_port}, "grpc_port": {self.grpc_port},'
            f' "metrics_port": {free_port()}, "parallel_workers": 0, "debug": false}}'
        )
        shutil.copytree(HERE / "mlserver", self.directory / "models")
        return [python, "-m", "mlserver.cli.main", "start", "."], {"PYTHONPATH": str(HERE)}


class Triton(Peer):
    """Triton with its Python backend: everything of Open Inference and its extensions; versions are numbers."""

    version = "1"
    binary = True

    def command(self):
        site = next((CACHE / "venv-triton" / "lib").glob("python3.*/site-packages"), None)
        if site is None or not (site / "pytriton").exists():
            pytest.skip(f"Triton is not installed in {CACHE / 'venv-triton'}: run tests/setup test")
        server = site / "pytriton" / "tritonserver"
        python = site.parent.name.removeprefix("python")
        stub = server / "python_backend_stubs" / python / "triton_python_backend_stub"
        backend = self.directory / "backends" / "python"
        shutil.copytree(server / "backends" / "python", backend)
        shutil.copy(stub, backend)
        libraries = {"LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs")}
        linked = subprocess.run(["ldd", stub], env={**os.environ, **libraries}, capture_output=True, text=True)
        if "not found" in linked.stdout:
            pytest.skip(f"a library of Triton's Python backend is missing: {linked.stdout}")
        repository = self.directory / "models"
        shutil.copytree(HERE / "triton", repository)
        command = [
            *(server / "bin" / "tritonserver", "--model-repository", repository),
            *("--backend-directory", backend.parent, "--model-control-mode=explicit"),
            *("--load-model=iris", "--load-model=colours"),
            *("--http-address", "127.0.0.1", "--http-port", self.http_port),
            *("--grpc-address", "127.0.0.1", "--grpc-port", self.grpc_port),
            *("--allow-metrics", "false"),
        ]
        return command, {**libraries, "MODEL_PATHS": f"{HERE}{os.pathsep}{site}"}


class TensorflowServing(Peer):
    """A server that speaks TensorFlow Serving's REST API, for clients that speak something else."""

    version = "1"
    grpc = False
    ready = "/v1/models/{}"

    def command(self):
        return [sys.executable, HERE / "tensorflow_serving_models.py", self.http_port], {}


PEERS = {"triton": Triton, "mlserver": MLServer, "kserve": KServe}
