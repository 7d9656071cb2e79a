"""Speaks TensorFlow Serving's REST API with iris and colours behind it: tensorflow_serving_models.py PORT

Written from the API's documentation, as no package of the real server can be installed from where the tests
get theirs. Knows of it what a predict client meets: rows and columns, named or not, base64, status, metadata.
"""

import base64
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy
from models import Colours, Iris

FLOAT, INT64, STRING = "DT_FLOAT", "DT_INT64", "DT_STRING"
MODELS = {
    "iris": (Iris(), {"input": (FLOAT, [-1, 4])}, {"label": (INT64, [-1]), "probabilities": (FLOAT, [-1, 3])}),
    "colours": (Colours(), {"colour": (STRING, [-1, 1])}, {"number": (INT64, [-1, 1]), "german": (STRING, [-1, 1])}),
}
PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(/metadata|:predict)?")


class Refused(Exception):
    pass


def decoded(value):
    """JSON with its base64 as bytes."""
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if isinstance(value, dict) and list(value) == ["b64"]:
        return base64.b64decode(value["b64"])
    return value


def tensors(values):
    return {name: {"dtype": kind, "tensor_shape": shape(dims), "name": f"{name}:0"} for name, (kind, dims) in values.items()}


def shape(dims):
    return {"dim": [{"size": str(size), "name": ""} for size in dims], "unknown_rank": False}


def predicted(model, body):
    running, inputs, _ = MODELS[model]
    (name, (kind, dims)), = inputs.items()
    rows = "instances" in body
    if rows == ("inputs" in body):
        raise Refused("there must be either \"instances\" or \"inputs\"")
    given = body["instances"] if rows else body["inputs"]
    if rows:
        given = [row[name] if isinstance(row, dict) and name in row else row for row in given]
    elif isinstance(given, dict):
        if list(given) != [name]:
            raise Refused(f"the inputs are {list(given)}, not {[name]}")
        given = given[name]
    array = numpy.array(decoded(given), object if kind == STRING else numpy.float32)
    if array.ndim != len(dims) or any(want not in (-1, got) for want, got in zip(dims, array.shape)):
        raise Refused(f"input {name} has shape {array.shape}, expected {dims}")
    answer = running.predict(array)
    columns = {name: [[text.decode() for text in row] for row in value] if value.dtype == object else value.tolist()
               for name, value in answer.items()}
    if not rows:
        return {"outputs": columns}
    return {"predictions": [dict(zip(columns, row)) for row in zip(*columns.values())]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handled(self, body):
        path = PATH.fullmatch(self.path)
        if path is None:
            return self.answer(404, {"error": f"Malformed request: {self.command} {self.path}"})
        model, version, rest = path.groups()
        if model not in MODELS or version not in (None, "1"):
            return self.answer(404, {"error": f"Servable not found for request: {model}"})
        if (rest == ":predict") != (body is not None):
            return self.answer(404, {"error": f"Malformed request: {self.command} {self.path}"})
        if rest == ":predict":
            try:
                return self.answer(200, predicted(model, json.loads(body)))
            except (Refused, ValueError) as error:
                return self.answer(400, {"error": str(error)})
        if rest is None:
            status = {"error_code": "OK", "error_message": ""}
            versions = [{"version": "1", "state": "AVAILABLE", "status": status}]
            return self.answer(200, {"model_version_status": versions})
        _, inputs, outputs = MODELS[model]
        signature = {"inputs": tensors(inputs), "outputs": tensors(outputs), "method_name": "tensorflow/serving/predict"}
        return self.answer(200, {
            "model_spec": {"name": model, "signature_name": "", "version": "1"},
            "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
        })

    def do_GET(self):
        self.handled(None)

    def do_POST(self):
        self.handled(self.rfile.read(int(self.headers["content-length"])))

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
