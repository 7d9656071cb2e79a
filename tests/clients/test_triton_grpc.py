"""Triton's gRPC client with all that it can do: the same answers in process, from each server, and from Triton itself."""

import queue
import sys
import threading
import time

import numpy
import pytest

if "kserve" in sys.modules:
    reason = "the messages of KServe's and of Triton's client have the same names: run this file by itself"
    pytest.skip(reason, allow_module_level=True)

import tritonclient.grpc as triton
from colours_cases import GERMAN, NUMBERS, TEXTS, as_text
from iris_cases import LABELS, PROBABILITIES, ROWS, assert_right
from services import WAYS, services

REQUESTS = 1000
LIMIT_S = 60


@pytest.fixture(scope="module", params=WAYS)
def service(request, tmp_path_factory):
    yield from services(request.param, tmp_path_factory.mktemp("grpc"))


@pytest.fixture(scope="module")
def client(service):
    client = triton.InferenceServerClient(service.grpc)
    yield client
    client.close()


def given(rows):
    tensor = triton.InferInput("input", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    return [tensor]


def wanted(*names, **options):
    return [triton.InferRequestedOutput(name, **options) for name in names]


def assert_answered(answer, first=0, last=None):
    assert_right(answer.as_numpy("label"), answer.as_numpy("probabilities"), first, last)


def test_it_is_live_ready_and_described(client, service):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("iris")
    assert client.is_model_ready("iris", service.version)
    assert not client.is_model_ready("nosuchmodel")
    assert client.get_server_metadata().name
    metadata = client.get_model_metadata("iris")
    assert (metadata.name, list(metadata.versions)) == ("iris", [service.version])
    if service.way == "kserve":
        return  # This server does not know what its model takes.
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs] == [
        ("input", "FP32", [-1, 4])
    ]
    assert {tensor.name for tensor in metadata.outputs} == {"label", "probabilities"}


def test_the_configuration_has_what_clients_read(client, service):
    if service.way == "kserve":
        pytest.skip("this server does not know what its model takes")
    config = client.get_model_config("iris").config
    assert config.name == "iris"
    assert [tensor.name for tensor in config.input] == ["input"]
    assert {tensor.name for tensor in config.output} == {"label", "probabilities"}


def test_answers_are_those_of_onnxruntime(client, service):
    answer = client.infer("iris", given(ROWS), request_id="mine", model_version=service.version)
    assert_answered(answer)
    assert answer.get_response().id == "mine"
    assert answer.get_response().model_version == service.version


def test_one_output_alone(client):
    answer = client.infer("iris", given(ROWS[:1]), outputs=wanted("label"))
    assert [output.name for output in answer.get_response().outputs] == ["label"]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_messages_may_be_compressed(client, algorithm):
    many = numpy.tile(ROWS, (50, 1))
    answer = client.infer("iris", given(many), compression_algorithm=algorithm)
    numpy.testing.assert_array_equal(answer.as_numpy("label").ravel(), numpy.tile(LABELS, 50))


def test_texts_are_bytes_tensors(client):
    tensor = triton.InferInput("colour", list(TEXTS.shape), "BYTES")
    tensor.set_data_from_numpy(TEXTS)
    answer = client.infer("colours", [tensor], outputs=wanted("number", "german"))
    numpy.testing.assert_array_equal(answer.as_numpy("number").reshape(-1, 1), NUMBERS)
    assert as_text(answer.as_numpy("german").reshape(-1, 1)) == GERMAN


def test_the_best_classes_with_their_numbers(client):
    answer = client.infer("iris", given(ROWS[:1]), outputs=wanted("probabilities", class_count=2))
    found = [text.decode().split(":") for text in answer.as_numpy("probabilities").ravel()]
    best = numpy.argsort(-PROBABILITIES[0])[:2]
    assert [int(parts[1]) for parts in found] == best.tolist()


def test_a_thousand_requests_at_once(client):
    done = queue.Queue()
    for i in range(REQUESTS):
        row = ROWS[i % len(ROWS)][None]
        client.async_infer("iris", given(row), lambda result, error: done.put((result, error)), request_id=str(i))
    seen = set()
    for _ in range(REQUESTS):
        result, error = done.get(timeout=LIMIT_S)
        assert error is None
        i = int(result.get_response().id)
        seen.add(i)
        assert_answered(result, i % len(ROWS), i % len(ROWS) + 1)
    assert len(seen) == REQUESTS


def test_a_stream_answers_in_order_and_tells_of_mistakes(service):
    answers = queue.Queue()
    with triton.InferenceServerClient(service.grpc) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for i in range(20):
            client.async_stream_infer("iris", given(ROWS[i % len(ROWS)][None]), request_id=str(i))
        for i in range(20):
            result, error = answers.get(timeout=LIMIT_S)
            assert error is None
            assert result.get_response().id == str(i)
            assert_answered(result, i % len(ROWS), i % len(ROWS) + 1)
        client.async_stream_infer("nosuchmodel", given(ROWS))
        result, error = answers.get(timeout=LIMIT_S)
        assert result is None
        assert error is not None
        # A mistake ends its request only.
        client.async_stream_infer("iris", given(ROWS), request_id="after")
        result, error = answers.get(timeout=LIMIT_S)
        assert error is None
        assert_answered(result)
        client.stop_stream()


def test_statistics_count_the_requests(client, service):
    def counted():
        statistics = client.get_inference_statistics("iris").model_stats
        return next(entry for entry in statistics if entry.version == service.version).inference_stats.success.count

    before = counted()
    for _ in range(5):
        client.infer("iris", given(ROWS))
    assert counted() - before == 5


def states(client):
    return {(entry.name, entry.version): entry.state for entry in client.get_model_repository_index().models}


def test_the_repository_lists_loads_and_unloads(client, service):
    assert states(client)["iris", service.version] == "READY"
    if service.gateway is None:
        name, version = "colours", service.version
    else:
        name, version = "spare", "v2"
        # What runs elsewhere, or has traffic, is not unloaded by a client.
        with pytest.raises(triton.InferenceServerException) as error:
            client.unload_model("colours")
        assert error.value.status() == "StatusCode.FAILED_PRECONDITION"
    client.unload_model(name)
    await_state(client, name, version, "UNAVAILABLE")
    assert not client.is_model_ready(name, version)
    client.load_model(name)
    assert states(client)[name, version] == "READY"
    assert client.is_model_ready(name, version)
    with pytest.raises(triton.InferenceServerException):
        client.load_model("nosuchmodel")


def await_state(client, name, version, state):
    """Waits for it: Triton unloads after it has answered."""
    limit = time.monotonic() + LIMIT_S
    while states(client)[name, version] != state:
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_mistakes_have_their_codes(client, service):
    with pytest.raises(triton.InferenceServerException) as error:
        client.infer("nosuchmodel", given(ROWS))
    assert error.value.status() == "StatusCode.NOT_FOUND"
    if service.way in ("mlserver", "kserve"):
        return  # This model trusts its input; what it does with a wrong one is its own affair.
    wrong = triton.InferInput("input", [1, 3], "FP32")
    wrong.set_data_from_numpy(numpy.zeros((1, 3), numpy.float32))
    with pytest.raises(triton.InferenceServerException) as error:
        client.infer("iris", [wrong])
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_many_connections(service):
    failures = []

    def ask():
        with triton.InferenceServerClient(service.grpc) as client:
            for _ in range(10):
                if client.infer("iris", given(ROWS)).as_numpy("label").ravel().tolist() != LABELS.tolist():
                    failures.append("wrong labels")

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert not failures


def test_a_server_that_is_asked_over_grpc_too_gives_the_same_answers(client, service):
    answer = client.infer(service.over_grpc(), given(ROWS), request_id="mine")
    assert_answered(answer)
    assert answer.get_response().id == "mine"
    tensor = triton.InferInput("colour", list(TEXTS.shape), "BYTES")
    tensor.set_data_from_numpy(TEXTS)
    answer = client.infer(service.over_grpc("colours"), [tensor], outputs=wanted("number", "german"))
    numpy.testing.assert_array_equal(answer.as_numpy("number").reshape(-1, 1), NUMBERS)
    assert as_text(answer.as_numpy("german").reshape(-1, 1)) == GERMAN


def test_a_server_that_is_asked_over_grpc_too_is_ready_and_described(client, service):
    model = service.over_grpc()
    assert client.is_model_ready(model)
    metadata, same = client.get_model_metadata(model), client.get_model_metadata("iris")
    assert (metadata.name, list(metadata.versions)) == (model, ["v1"])
    assert (list(metadata.inputs), list(metadata.outputs)) == (list(same.inputs), list(same.outputs))


def test_classes_come_from_a_server_over_grpc_whether_or_not_it_makes_any(client, service):
    answer = client.infer(service.over_grpc(), given(ROWS[:1]), outputs=wanted("probabilities", class_count=2))
    found = [text.decode().split(":") for text in answer.as_numpy("probabilities").ravel()]
    assert [int(parts[1]) for parts in found] == numpy.argsort(-PROBABILITIES[0])[:2].tolist()
    numpy.testing.assert_allclose([float(parts[0]) for parts in found], -numpy.sort(-PROBABILITIES[0])[:2], atol=1e-6)


def test_a_stream_to_a_server_over_grpc(service):
    model = service.over_grpc()
    answers = queue.Queue()
    with triton.InferenceServerClient(service.grpc) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for i, row in enumerate(ROWS):
            client.async_stream_infer(model, given(row[None]), request_id=str(i))
        for i in range(len(ROWS)):
            result, error = answers.get(timeout=LIMIT_S)
            assert error is None
            assert result.get_response().id == str(i)
            assert_answered(result, i, i + 1)
        client.stop_stream()


def test_the_log_has_every_answer(service):
    if service.gateway is None:
        pytest.skip("there is no gateway between")
    answered = [row for row in service.gateway.records() if row["outcome"] == "ok"]
    assert len(answered) >= REQUESTS
    assert {row["model_version"] for row in answered} == {"v1"}
