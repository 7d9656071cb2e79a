"""KServe's own gRPC client and its REST client in both protocols: the same answers in process and from each server."""

import asyncio

import grpc
import numpy
import pytest
from iris_cases import LABELS, ROWS, assert_right
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from services import WAYS, services

# Not Triton alone: this client asks for health bodies that only KServe and the gateway give.
OURS = [way for way in WAYS if way != "triton itself"]


@pytest.fixture(scope="module", params=OURS)
def service(request, tmp_path_factory):
    yield from services(request.param, tmp_path_factory.mktemp("kserve"))


def over_grpc(service, question):
    async def run():
        client = InferenceGRPCClient(service.grpc, timeout=20)
        try:
            return await question(client)
        finally:
            await client.close()

    return asyncio.run(run())


def over_rest(protocol, question):
    async def run():
        async with InferenceRESTClient(RESTConfig(protocol=protocol, timeout=20)) as client:
            return await question(client)

    return asyncio.run(run())


def request(binary, model="iris"):
    tensor = InferInput("input", list(ROWS.shape), "FP32")
    tensor.set_data_from_numpy(ROWS, binary_data=binary)
    return InferRequest(model, [tensor], request_id="mine")


def arrays(answer):
    return {output.name: output.as_numpy() for output in answer.outputs}


def test_grpc_says_live_ready_and_not(service):
    assert over_grpc(service, lambda client: client.is_server_live()) is True
    assert over_grpc(service, lambda client: client.is_server_ready()) is True
    assert over_grpc(service, lambda client: client.is_model_ready("iris")) is True


@pytest.mark.parametrize("binary", [True, False], ids=["raw", "contents"])
def test_grpc_answers_are_those_of_onnxruntime(service, binary):
    answer = over_grpc(service, lambda client: client.infer(request(binary)))
    assert answer.id == "mine"
    found = arrays(answer)
    assert_right(found["label"], found["probabilities"].reshape(-1, 3))


def test_grpc_mistakes_have_their_codes(service):
    async def ask(client):
        wrong = request(True)
        wrong.model_name = "nosuchmodel"
        return await client.infer(wrong)

    with pytest.raises(grpc.RpcError) as error:
        over_grpc(service, ask)
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_rest_v2_answers_are_those_of_onnxruntime(service, binary):
    url = f"http://{service.http}"
    answer = over_rest("v2", lambda client: client.infer(url, request(binary), model_name="iris"))
    found = arrays(answer)
    assert_right(found["label"], numpy.reshape(found["probabilities"], (-1, 3)))


def test_rest_v1_predicts(service):
    url = f"http://{service.http}"
    body = {"instances": ROWS.tolist()}
    assert over_rest("v1", lambda client: client.is_model_ready(url, "iris")) is True
    answer = over_rest("v1", lambda client: client.infer(url, body, model_name="iris"))
    rows = answer["predictions"]
    # A server that speaks V1 itself is passed through and answers in its own form: labels alone.
    labels = [row["label"] if isinstance(row, dict) else row for row in rows]
    assert numpy.ravel(labels).tolist() == LABELS.tolist()  # MLServer has a column of them


@pytest.mark.parametrize("binary", [True, False], ids=["raw", "contents"])
def test_a_server_that_is_asked_over_grpc_answers_both_clients_alike(service, binary):
    model = service.over_grpc()
    assert over_grpc(service, lambda client: client.is_model_ready(model)) is True
    answer = over_grpc(service, lambda client: client.infer(request(binary, model)))
    found = arrays(answer)
    assert_right(found["label"], found["probabilities"].reshape(-1, 3))
    url = f"http://{service.http}"
    answer = over_rest("v2", lambda client: client.infer(url, request(binary, model), model_name=model))
    found = arrays(answer)
    assert_right(found["label"], numpy.reshape(found["probabilities"], (-1, 3)))


def test_rest_v1_predicts_at_a_server_that_is_asked_over_grpc(service):
    model, url = service.over_grpc(), f"http://{service.http}"
    body = {"instances": ROWS.tolist()}
    assert over_rest("v1", lambda client: client.is_model_ready(url, model)) is True
    answer = over_rest("v1", lambda client: client.infer(url, body, model_name=model))
    labels = [row["label"] for row in answer["predictions"]]
    assert numpy.ravel(labels).tolist() == LABELS.tolist()
