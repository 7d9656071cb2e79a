"""A version that is a prediction server: it answers through the gateway, and its death is told and recorded."""

import json
import urllib.error
import urllib.request

from gateway import MODELS, expected, free_port


def proxied(port):
    return f"""
[models.iris.versions.v2]
backends = ["http://127.0.0.1:{port}"]
[log]
durability = "os"
"""


SERVER = f"""
[models.iris.versions.v2]
onnx = "{MODELS}/iris/v2/model.onnx"
"""


def infer(gateway, case):
    """Status, headers and body of one prediction."""
    request = urllib.request.Request(
        f"{gateway.url}/v2/models/iris/infer",
        json.dumps({"inputs": case["inputs"]}).encode(),
        {"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.loads(error.read())


def test_a_server_answers_through_the_gateway_and_its_death_is_a_recorded_502(start_gateway):
    server = start_gateway(SERVER, "server")
    gateway = start_gateway(proxied(server.port))
    case = expected("iris", "v2")[0]

    status, headers, body = infer(gateway, case)
    assert status == 200
    assert headers["x-pointsman-version"] == "v2"
    assert body["outputs"][0]["data"] == case["outputs"][0]["data"]
    answered = headers["x-prediction-id"]

    server.kill()
    status, headers, body = infer(gateway, case)
    assert status == 502
    assert headers["x-pointsman-error"]
    assert body["error"]
    failed = headers["x-prediction-id"]

    gateway.stop()
    rows = {row["record_id"]: row for row in gateway.records()}
    assert set(rows) == {answered, failed}
    assert (rows[answered]["status"], rows[answered]["outcome"]) == (200, "ok")
    assert rows[answered]["backend"].endswith(f"127.0.0.1:{server.port}")
    assert rows[failed]["status"] == 502
    assert rows[failed]["outcome"] != "ok"
    assert rows[failed]["error_code"] == headers["x-pointsman-error"]
    for row in rows.values():
        assert (row["model"], row["model_version"]) == ("iris", "v2")


def test_headers_exist_once_and_name_the_gateways_record(start_gateway):
    """The server behind is a gateway too: its ids must not reach the client beside ours."""
    server = start_gateway(SERVER, "server")
    gateway = start_gateway(proxied(server.port))
    _, headers, _ = infer(gateway, expected("iris", "v2")[0])
    for name in ("x-prediction-id", "x-pointsman-version", "x-request-id"):
        assert len(headers.get_all(name)) == 1, name
    gateway.stop()
    assert [row["record_id"] for row in gateway.records()] == [headers["x-prediction-id"]]


def test_a_server_that_returns_is_used_again(start_gateway):
    port = free_port()
    gateway = start_gateway(proxied(port))
    case = expected("iris", "v2")[0]
    assert infer(gateway, case)[0] == 502
    server = start_gateway(SERVER, "server", port)
    assert infer(gateway, case)[0] == 200
    server.stop()
    assert infer(gateway, case)[0] == 502
