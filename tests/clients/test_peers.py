"""Prediction servers of other projects answer through the gateway as they answer themselves."""

import json
import urllib.request

import numpy
import pytest
import tritonclient.http as triton
from gateway import expected


@pytest.fixture(scope="module")
def through(peer, tmp_path_factory):
    """A gateway in front of the server."""
    from gateway import Gateway

    gateway = Gateway(
        tmp_path_factory.mktemp("through"),
        f'[models.iris.versions.v1]\nbackends = ["{peer.url}"]\n[log]\ndurability = "os"\n',
    )
    try:
        yield gateway.start()
        gateway.stop()
    finally:
        if gateway.process:
            gateway.kill()


@pytest.fixture
def client(through):
    client = triton.InferenceServerClient(through.address)
    yield client
    client.close()


def test_answers_are_those_of_onnxruntime(client):
    for case in expected("iris", "v1"):
        tensor = case["inputs"][0]
        given = triton.InferInput(tensor["name"], tensor["shape"], tensor["datatype"])
        rows = numpy.array(tensor["data"], numpy.float32).reshape(tensor["shape"])
        given.set_data_from_numpy(rows, binary_data=False)
        wanted = [triton.InferRequestedOutput(output["name"], binary_data=False) for output in case["outputs"]]
        # KServe takes a body without a content type for binary, and this client sends none with JSON.
        json_type = {"content-type": "application/json"}
        answer = client.infer("iris", [given], outputs=wanted, headers=json_type)
        for output in case["outputs"]:
            found = answer.as_numpy(output["name"]).reshape(-1)
            numpy.testing.assert_allclose(found, numpy.ravel(output["data"]), rtol=1e-5, atol=1e-6)


def test_the_server_is_asked_without_the_gateways_version(through):
    """The name `v1` is the gateway's; a server that knows no versions, or only numbers, must not see it."""
    case = expected("iris", "v1")[0]
    request = urllib.request.Request(
        f"{through.url}/v2/models/iris/versions/v1/infer",
        json.dumps({"inputs": case["inputs"]}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.headers["x-pointsman-version"] == "v1"
        outputs = {output["name"]: output for output in json.load(answer)["outputs"]}
    assert outputs["label"]["data"] == next(o["data"] for o in case["outputs"] if o["name"] == "label")
