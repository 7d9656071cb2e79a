"""Triton's gRPC client gets its answers from a backend that speaks TF Serving."""

import queue

import numpy
import pytest
import triton_grpc as triton
from colours_cases import GERMAN, NUMBERS, TEXTS, as_text
from iris_cases import PROBABILITIES, ROWS, assert_right
from services import services

LIMIT_S = 60


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    yield from services("tensorflow serving", tmp_path_factory.mktemp("across"))


@pytest.fixture(scope="module")
def client(service):
    with triton.InferenceServerClient(service.grpc) as client:
        yield client


def given(name, rows, datatype):
    tensor = triton.InferInput(name, list(rows.shape), datatype)
    tensor.set_data_from_numpy(rows)
    return [tensor]


def test_it_is_ready_and_described_in_the_words_of_the_client(client):
    assert client.is_model_ready("iris")
    assert not client.is_model_ready("nosuchmodel")
    metadata = client.get_model_metadata("iris")
    assert [(one.name, one.datatype, list(one.shape)) for one in metadata.inputs] == [("input", "FP32", [-1, 4])]
    assert client.get_model_config("iris").config.input[0].name == "input"


def test_numbers_are_those_of_onnxruntime(client):
    answer = client.infer("iris", given("input", ROWS, "FP32"), request_id="mine")
    assert_right(answer.as_numpy("label"), answer.as_numpy("probabilities"))
    assert answer.get_response().id == "mine"


def test_texts_arrive(client):
    answer = client.infer("colours", given("colour", TEXTS, "BYTES"))
    numpy.testing.assert_array_equal(answer.as_numpy("number"), NUMBERS)
    assert as_text(answer.as_numpy("german")) == GERMAN


def test_the_gateway_makes_the_classes_that_the_backend_does_not_have(client):
    outputs = [triton.InferRequestedOutput("probabilities", class_count=2)]
    answer = client.infer("iris", given("input", ROWS[:1], "FP32"), outputs=outputs)
    found = [text.decode().split(":") for text in answer.as_numpy("probabilities").ravel()]
    assert [int(parts[1]) for parts in found] == numpy.argsort(-PROBABILITIES[0])[:2].tolist()


def test_a_stream_is_answered_message_by_message(client):
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for i, row in enumerate(ROWS):
        client.async_stream_infer("iris", given("input", row[None], "FP32"), request_id=str(i))
    for i in range(len(ROWS)):
        result, error = answers.get(timeout=LIMIT_S)
        assert error is None
        assert result.get_response().id == str(i)
        assert_right(result.as_numpy("label"), result.as_numpy("probabilities"), i, i + 1)
    client.stop_stream()


def test_what_the_backend_refuses_is_told_with_its_status(client):
    with pytest.raises(triton.InferenceServerException, match="expects") as error:
        client.infer("iris", given("input", ROWS[:, :3].copy(), "FP32"))
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"
