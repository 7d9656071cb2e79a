"""The same as `servers.py` with real MLServers: each a process of its own that loads an ONNX model by a runtime and registers
itself. The last one has another model than it registers.
"""

import json
import os
import sys
from pathlib import Path

from gateway import free_port, main
from servers import Fleet, story

HERE = Path(__file__).resolve().parent
TENSORS = {
    "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
    ],
}


class MlServers(Fleet):
    """MLServer processes by version."""

    def start(self, version, model, wrong=False):
        folder, port = self.folder / version, free_port()
        settings = folder / "models" / "model"
        settings.mkdir(parents=True)
        file = folder / "model.onnx"
        file.write_bytes(model.SerializeToString())
        write(folder / "settings.json", {
            "host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_port": free_port(),
            "parallel_workers": 0, "debug": False,
        })
        write(settings / "model-settings.json", {
            "name": "lily" if wrong else "iris", "implementation": "mlserver_runtime.OnnxRuntime",
            "parameters": {"version": version, "uri": str(file)}, "platform": "onnxruntime", **TENSORS,
        })
        me = {"address": f"http://127.0.0.1:{port}", "model": "iris", "version": version, "dialect": "open_inference"}
        environment = {
            **os.environ, "PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1", "DEMO_ME": json.dumps(me),
            "DEMO_ADMIN": f"http://127.0.0.1:{self.gateway.admin}",
        }
        command = [os.environ["MLSERVER_PYTHON"], "-m", "mlserver.cli.main", "start", "."]
        self.run(version, command, cwd=folder, env=environment)


def write(path, content):
    path.write_text(json.dumps(content))


def show(binary):
    story(binary, MlServers, "has another model than it registers", "the model is not ready there")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main(show)
