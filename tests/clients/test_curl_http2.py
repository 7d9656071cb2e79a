"""curl with HTTP/2 and prior knowledge: one request a connection, as curl 7.88 fails to reuse one, with nginx too."""

import json
import subprocess

from gateway import expected


def curl(*arguments):
    command = ["curl", "-sS", "--http2-prior-knowledge", "-w", "\n%{http_version} %{http_code}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    body, _, line = done.stdout.rpartition("\n")
    return body, line


def test_a_prediction_over_http2(local):
    case = expected("iris", "v1")[0]
    url = f"{local.url}/v2/models/iris/versions/v1/infer"
    body, line = curl("-d", json.dumps({"inputs": case["inputs"]}), url)
    assert line == "2 200", body
    assert json.loads(body)["model_version"] == "v1"


def test_a_refusal_over_http2(local):
    body, line = curl(f"{local.url}/nowhere")
    assert line == "2 404" and "error" in json.loads(body)
