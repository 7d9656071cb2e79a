"""KServe's own REST client, protocol v2, gets from the gateway what onnxruntime computed."""

import asyncio

import httpx
import numpy
import pytest
from gateway import expected
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


def ask(question):
    """Runs `question(client)` with a client of its own."""

    async def run():
        async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=10)) as client:
            return await question(client)

    return asyncio.run(run())


def request(case, model="iris"):
    made = [
        InferInput(tensor["name"], tensor["shape"], tensor["datatype"], tensor["data"]) for tensor in case["inputs"]
    ]
    return InferRequest(model, made, request_id="mine")


def test_server_and_model_are_live_and_ready(local):
    assert ask(lambda client: client.is_server_live(local.url)) is True
    assert ask(lambda client: client.is_server_ready(local.url)) is True
    assert ask(lambda client: client.is_model_ready(local.url, "iris")) is True
    assert ask(lambda client: client.is_model_ready(local.url, "nosuchmodel")) is False


def test_the_client_of_v1_sees_that_server_and_model_live(local):
    async def run(question):
        async with InferenceRESTClient(RESTConfig(protocol="v1", timeout=10)) as client:
            return await question(client)

    assert asyncio.run(run(lambda client: client.is_server_live(local.url))) is True
    assert asyncio.run(run(lambda client: client.is_model_ready(local.url, "iris"))) is True


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_answers_are_those_of_onnxruntime(local, version):
    for case in expected("iris", version):
        headers = {}
        answer = ask(
            lambda client, case=case, headers=headers: client.infer(
                local.url,
                request(case),
                model_name="iris",
                headers={"x-pointsman-version": version},
                response_headers=headers,
            )
        )
        assert headers["x-pointsman-version"] == version
        # This client does not take over the version of an answer, so that only the header tells it.
        assert (answer.model_name, answer.id) == ("iris", "mine")
        found = {output.name: output for output in answer.outputs}
        for tensor in case["outputs"]:
            assert list(found[tensor["name"]].shape) == tensor["shape"]
            numpy.testing.assert_allclose(found[tensor["name"]].data, tensor["data"], rtol=1e-4, atol=1e-6)


def test_mistakes_are_told_to_the_client(local):
    case = expected("iris", "v1")[0]
    with pytest.raises(httpx.HTTPStatusError, match="no model of this name"):
        ask(lambda client: client.infer(local.url, request(case), model_name="nosuchmodel"))
