"""curl, and what it can be made to send: Expect, chunked bodies, HEAD, HTTP/1.0, several on one connection."""

import json
import subprocess

import pytest
from gateway import expected

# Rows for a body of at least 200 kB; curl asks "Expect: 100-continue" beyond 1 MB by itself.
ROWS = 12_000


def curl(*arguments, body=None):
    """Runs curl; returns what it printed, headers included."""
    done = subprocess.run(
        ["curl", "-sS", "-m", "20", *arguments], input=body, capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def answer(printed):
    """The status line, the headers and the body of the last answer in what curl -i printed."""
    head, _, body = printed.partition(b"\r\n\r\n")
    while head.startswith((b"HTTP/1.1 100", b"HTTP/1.0 100")):
        head, _, body = body.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return status, headers, body


@pytest.fixture
def large():
    rows = [5.0999999, 3.5, 1.39999998, 0.200000003] * ROWS
    tensor = {"name": "input", "datatype": "FP32", "shape": [ROWS, 4], "data": rows}
    body = json.dumps({"inputs": [tensor]}).encode()
    assert len(body) > 200_000
    return body


def infer_url(gateway, version="v1"):
    return f"{gateway.url}/v2/models/iris/versions/{version}/infer"


@pytest.mark.parametrize(
    "how",
    [
        ("-H", "Expect: 100-continue"),
        ("-H", "Expect:"),
        ("-H", "Transfer-Encoding: chunked"),
        ("-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue"),
    ],
    ids=["expect", "length", "chunked", "chunked-expect"],
)
def test_a_large_body_is_answered(local, large, how):
    status, headers, body = answer(curl("-i", *how, "--data-binary", "@-", infer_url(local), body=large))
    assert status == "HTTP/1.1 200 OK"
    assert headers["x-pointsman-version"] == "v1"
    label = json.loads(body)["outputs"][0]
    assert label["shape"] == [ROWS]
    assert set(label["data"]) == {0}


def test_100_continue_is_sent_when_asked_for(local, large):
    printed = curl("-i", "-H", "Expect: 100-continue", "--data-binary", "@-", infer_url(local), body=large)
    assert printed.startswith(b"HTTP/1.1 100")


def test_head_has_the_headers_of_get_and_no_body(local):
    url = f"{local.url}/v2/models/iris"
    _, of_get, body = answer(curl("-i", url))
    status, of_head, nothing = answer(curl("--head", url))
    assert status == "HTTP/1.1 200 OK"
    assert nothing == b""
    assert of_head["content-length"] == of_get["content-length"] == str(len(body))


def test_http_1_0_is_answered_and_closed(local):
    body = json.dumps({"inputs": expected("iris", "v1")[0]["inputs"]}).encode()
    status, headers, found = answer(curl("-i", "--http1.0", "--data-binary", "@-", infer_url(local), body=body))
    assert status == "HTTP/1.0 200 OK"
    assert "transfer-encoding" not in headers
    assert json.loads(found)["model_version"] == "v1"


def test_one_connection_carries_many_requests(local):
    url = f"{local.url}/v2/models/iris"
    printed = curl(*["-o/dev/null"] * 5, "-w", "%{num_connects} %{http_code}\n", *[url] * 5)
    assert printed.decode().split("\n") == ["1 200", "0 200", "0 200", "0 200", "0 200", ""]


def test_the_request_id_of_the_client_comes_back(local):
    body = json.dumps({"inputs": expected("iris", "v1")[0]["inputs"]}).encode()
    _, headers, _ = answer(
        curl("-i", "-H", "x-request-id: of-the-client", "--data-binary", "@-", infer_url(local), body=body)
    )
    assert headers["x-request-id"] == "of-the-client"
    assert headers["x-prediction-id"]
