"""tritonclient over gRPC against models in the process: the calls that its users make."""

import queue

import grpc
import numpy as np
import pytest
import triton_grpc as triton
from tritonclient.utils import InferenceServerException

from gateway import expected

VERSION = "v1"


@pytest.fixture(scope="module")
def client(local):
    with triton.InferenceServerClient(local.address) as client:
        yield client


def inputs_of(case):
    inputs = []
    for tensor in case["inputs"]:
        array = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
        one = triton.InferInput(tensor["name"], tensor["shape"], tensor["datatype"])
        one.set_data_from_numpy(array)
        inputs.append(one)
    return inputs


def check(result, case):
    for output in case["outputs"]:
        answer = result.as_numpy(output["name"])
        wanted = np.array(output["data"]).reshape(output["shape"])
        assert answer.shape == wanted.shape
        np.testing.assert_allclose(answer, wanted, rtol=1e-5, atol=1e-6)


def test_server_and_model_answer_questions(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("iris") and client.is_model_ready("iris", "v2")
    metadata = client.get_server_metadata()
    assert metadata.name == "pointsman" and "model_configuration" in metadata.extensions
    model = client.get_model_metadata("iris", as_json=True)
    assert sorted(model["versions"]) == ["v1", "v2"]
    assert model["inputs"][0]["datatype"] == "FP32"
    config = client.get_model_config("iris").config
    assert config.input[0].name == model["inputs"][0]["name"]
    index = client.get_model_repository_index().models
    assert {(one.name, one.state) for one in index} >= {("iris", "READY"), ("digits", "READY")}


@pytest.mark.parametrize("model", ["iris", "digits"])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_answers_are_those_of_onnxruntime(client, model, compression):
    for case in expected(model, VERSION):
        result = client.infer(
            model, inputs_of(case), model_version=VERSION, compression_algorithm=compression
        )
        check(result, case)
        assert result.get_response().model_version == VERSION


def test_requested_outputs_and_classification(client):
    case = expected("iris", VERSION)[0]
    name = case["outputs"][-1]["name"]
    wanted = [triton.InferRequestedOutput(name, class_count=2)]
    result = client.infer("iris", inputs_of(case), model_version=VERSION, outputs=wanted, request_id="7")
    assert result.get_response().id == "7"
    classes = result.as_numpy(name)
    assert classes.shape[-1] == 2 and b":" in classes.flatten()[0]


def test_mistakes_are_told(client):
    with pytest.raises(InferenceServerException) as unknown:
        client.get_model_metadata("nope")
    assert unknown.value.status() == "StatusCode.NOT_FOUND"
    one = triton.InferInput("nope", [1, 4], "FP32")
    one.set_data_from_numpy(np.zeros((1, 4), np.float32))
    with pytest.raises(InferenceServerException) as bad:
        client.infer("iris", [one])
    assert bad.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_a_thousand_requests_at_once_are_answered(client):
    case = expected("iris", VERSION)[0]
    answers = queue.Queue()
    for _ in range(1000):
        client.async_infer(
            "iris", inputs_of(case), lambda result, error: answers.put((result, error)), model_version=VERSION
        )
    for _ in range(1000):
        result, error = answers.get(timeout=30)
        assert error is None, error
        check(result, case)


def test_a_stream_has_an_answer_each(client):
    case = expected("iris", VERSION)[0]
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(20):
        client.async_stream_infer("iris", inputs_of(case), model_version=VERSION, request_id=str(number))
    for number in range(20):
        result, error = answers.get(timeout=30)
        assert error is None, error
        assert result.get_response().id == str(number), "in their order"
        check(result, case)
    client.stop_stream()


def test_statistics_count(client):
    before = client.get_inference_statistics("iris", VERSION, as_json=True)
    client.infer("iris", inputs_of(expected("iris", VERSION)[0]), model_version=VERSION)
    after = client.get_inference_statistics("iris", VERSION, as_json=True)
    count = lambda answer: int(answer["model_stats"][0]["inference_stats"]["success"].get("count", 0))
    assert count(after) == count(before) + 1


def test_deadlines_are_kept(client):
    case = expected("iris", VERSION)[0]
    client.infer("iris", inputs_of(case), client_timeout=10)


def test_health_and_reflection_without_their_definitions(local):
    # One message by hand: `service` empty, and the answer `SERVING`.
    with grpc.insecure_channel(local.address) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"") == b"\x08\x01"
        listed = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        answer = next(iter(listed(iter([b"\x3a\x01*"]))))
        assert b"inference.GRPCInferenceService" in answer
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        assert next(iter(watch)) == b"\x08\x01"
        watch.cancel()
