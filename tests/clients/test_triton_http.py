"""Triton's HTTP client with all that it can do: the same answers in process, from each server, and from Triton itself."""

import concurrent.futures
import time

import numpy
import pytest
import tritonclient.http as triton
from colours_cases import GERMAN, NUMBERS, TEXTS, as_text
from iris_cases import LABELS, PROBABILITIES, ROWS, assert_right
from services import WAYS, services

REQUESTS = 1000


@pytest.fixture(scope="module", params=WAYS)
def service(request, tmp_path_factory):
    yield from services(request.param, tmp_path_factory.mktemp("http"))


@pytest.fixture(scope="module")
def client(service):
    client = triton.InferenceServerClient(service.http, concurrency=16)
    yield client
    client.close()


def given(rows, binary=True):
    tensor = triton.InferInput("input", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows, binary_data=binary)
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
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("iris")
    assert metadata["name"] == "iris"
    assert metadata["versions"] == [service.version]
    if service.way == "kserve":
        return  # This server does not know what its model takes.
    assert metadata["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}]
    outputs = {output["name"]: output for output in metadata["outputs"]}
    assert outputs["label"]["datatype"] == "INT64"
    assert outputs["probabilities"] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}


def test_the_configuration_has_what_clients_read(client, service):
    if service.way == "kserve":
        pytest.skip("this server does not know what its model takes")
    config = client.get_model_config("iris")
    assert config["name"] == "iris"
    assert config["input"][0]["name"] == "input"
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    assert {output["name"] for output in config["output"]} == {"label", "probabilities"}


@pytest.mark.parametrize("binary_in", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("binary_out", [True, False], ids=["to binary", "to json"])
def test_answers_are_those_of_onnxruntime(client, binary_in, binary_out):
    outputs = wanted("label", "probabilities", binary_data=binary_out)
    answer = client.infer("iris", given(ROWS, binary_in), outputs=outputs, request_id="mine")
    assert_answered(answer)
    assert answer.get_response()["id"] == "mine"
    found = {output["name"]: output for output in answer.get_response()["outputs"]}
    assert ("data" in found["probabilities"]) is not binary_out


def test_without_named_outputs_all_come_in_binary(client):
    answer = client.infer("iris", given(ROWS))
    assert_answered(answer)
    assert all("data" not in output for output in answer.get_response()["outputs"])


@pytest.mark.parametrize("version", [True, False], ids=["version named", "no version"])
def test_one_output_alone(client, service, version):
    named = service.version if version else ""
    answer = client.infer("iris", given(ROWS[:1]), outputs=wanted("label"), model_version=named)
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["label"]
    assert answer.get_response().get("model_version") == service.answered


@pytest.mark.parametrize("request_by", [None, "gzip", "deflate"])
@pytest.mark.parametrize("response_by", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_bodies_may_be_compressed_both_ways(client, service, request_by, response_by, binary):
    if service.way in ("mlserver", "kserve"):
        pytest.skip("codings pass untouched, and this server has none of its own")
    many = numpy.tile(ROWS, (50, 1))
    answer = client.infer(
        "iris",
        given(many, binary),
        outputs=wanted("label", "probabilities", binary_data=binary),
        request_compression_algorithm=request_by,
        response_compression_algorithm=response_by,
    )
    numpy.testing.assert_array_equal(answer.as_numpy("label").ravel(), numpy.tile(LABELS, 50))


@pytest.mark.parametrize("binary_in", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("binary_out", [True, False], ids=["to binary", "to json"])
def test_texts_are_bytes_tensors(client, binary_in, binary_out):
    tensor = triton.InferInput("colour", list(TEXTS.shape), "BYTES")
    tensor.set_data_from_numpy(TEXTS, binary_data=binary_in)
    outputs = wanted("number", "german", binary_data=binary_out)
    answer = client.infer("colours", [tensor], outputs=outputs)
    numpy.testing.assert_array_equal(answer.as_numpy("number").reshape(-1, 1), NUMBERS)
    assert as_text(answer.as_numpy("german").reshape(-1, 1)) == GERMAN


def test_the_best_classes_with_their_numbers(client):
    outputs = wanted("probabilities", class_count=2, binary_data=True)
    answer = client.infer("iris", given(ROWS[:1]), outputs=outputs)
    found = [text.decode().split(":") for text in answer.as_numpy("probabilities").ravel()]
    best = numpy.argsort(-PROBABILITIES[0])[:2]
    # Triton has no batch here (max_batch_size is 0): it takes the two best of the whole output.
    assert [int(parts[1]) for parts in found] == best.tolist()
    numpy.testing.assert_allclose([float(parts[0]) for parts in found], PROBABILITIES[0][best], atol=1e-6)


def test_a_thousand_requests_at_once(client):
    answers = [
        client.async_infer("iris", given(ROWS[i % len(ROWS)][None]), request_id=str(i)) for i in range(REQUESTS)
    ]
    for i, pending in enumerate(answers):
        answer = pending.get_result()
        assert answer.get_response()["id"] == str(i)
        row = i % len(ROWS)
        assert_answered(answer, row, row + 1)


def test_clients_on_many_threads(service):
    def ask(i):
        with triton.InferenceServerClient(service.http) as client:
            return client.infer("iris", given(ROWS)).as_numpy("label").ravel().tolist()

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert all(labels == LABELS.tolist() for labels in threads.map(ask, range(32)))


def test_statistics_count_the_requests(client, service):
    def counted():
        statistics = client.get_inference_statistics("iris")["model_stats"]
        mine = next(entry for entry in statistics if entry["version"] == service.version)
        return mine["inference_stats"]["success"]["count"], mine["inference_stats"]["fail"]["count"]

    before = counted()
    for _ in range(5):
        client.infer("iris", given(ROWS))
    after = counted()
    assert after[0] - before[0] == 5
    assert after[1] == before[1]


def states(client):
    return {(entry["name"], entry["version"]): entry.get("state") for entry in client.get_model_repository_index()}


def test_the_repository_lists_loads_and_unloads(client, service):
    assert states(client)["iris", service.version] == "READY"
    if service.gateway is None:
        name, version = "colours", service.version
    else:
        name, version = "spare", "v2"
        # What runs elsewhere, or has traffic, is not unloaded by a client.
        with pytest.raises(triton.InferenceServerException) as error:
            client.unload_model("colours")
        assert error.value.status() == "409"
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
    limit = time.monotonic() + 20
    while states(client)[name, version] != state:
        assert time.monotonic() < limit
        time.sleep(0.05)


MISTAKES = {
    "no such model": ("nosuchmodel", lambda: given(ROWS), {}),
    "no such version": ("iris", lambda: given(ROWS), {"model_version": "999"}),
    "wrong type": ("iris", lambda: typed(numpy.zeros((1, 4), numpy.int32), "INT32"), {}),
    "wrong shape": ("iris", lambda: typed(numpy.zeros((1, 3), numpy.float32), "FP32"), {}),
    "no such input": ("iris", lambda: typed(ROWS, "FP32", "other"), {}),
    "no such output": ("iris", lambda: given(ROWS), {"outputs": wanted("other")}),
}


def typed(rows, datatype, name="input"):
    tensor = triton.InferInput(name, list(rows.shape), datatype)
    tensor.set_data_from_numpy(rows)
    return [tensor]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_the_clients(client, service, mistake):
    model, inputs, options = MISTAKES[mistake]
    if service.way in ("mlserver", "kserve") and mistake not in ("no such model", "no such version"):
        pytest.skip("this model trusts its input; what it does with a wrong one is its own affair")
    with pytest.raises(triton.InferenceServerException) as error:
        client.infer(model, inputs(), **options)
    assert error.value.status() in ("400", "404")


@pytest.mark.parametrize("binary_in", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("binary_out", [True, False], ids=["to binary", "to json"])
def test_a_server_that_is_asked_over_grpc_gives_the_same_answers(client, service, binary_in, binary_out):
    model = service.over_grpc()
    outputs = wanted("label", "probabilities", binary_data=binary_out)
    answer = client.infer(model, given(ROWS, binary_in), outputs=outputs, request_id="mine", model_version="v1")
    assert_answered(answer)
    response = answer.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("mine", model, "v1")
    tensor = triton.InferInput("colour", list(TEXTS.shape), "BYTES")
    tensor.set_data_from_numpy(TEXTS, binary_data=binary_in)
    outputs = wanted("number", "german", binary_data=binary_out)
    answer = client.infer(service.over_grpc("colours"), [tensor], outputs=outputs)
    numpy.testing.assert_array_equal(answer.as_numpy("number").reshape(-1, 1), NUMBERS)
    assert as_text(answer.as_numpy("german").reshape(-1, 1)) == GERMAN


def test_a_server_that_is_asked_over_grpc_is_ready_and_described(client, service):
    model = service.over_grpc()
    assert client.is_model_ready(model)
    metadata = client.get_model_metadata(model)
    assert (metadata["name"], metadata["versions"]) == (model, ["v1"])
    same = client.get_model_metadata("iris")
    assert (metadata["inputs"], metadata["outputs"]) == (same["inputs"], same["outputs"])


def test_classes_come_from_a_server_that_is_asked_over_grpc_as_over_rest(client, service):
    outputs = wanted("probabilities", class_count=2)
    texts = [
        client.infer(model, given(ROWS[:1]), outputs=outputs).as_numpy("probabilities").ravel().tolist()
        for model in ("iris", service.over_grpc())
    ]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 2


def test_a_mistake_is_the_clients_whatever_the_server_is_asked_over(client, service):
    model = service.over_grpc()
    if service.way in ("mlserver", "kserve"):
        pytest.skip("this model trusts its input; what it does with a wrong one is its own affair")
    with pytest.raises(triton.InferenceServerException) as error:
        client.infer(model, typed(numpy.zeros((1, 3), numpy.float32), "FP32"))
    assert error.value.status() == "400"


def test_the_log_has_every_answer(service):
    if service.gateway is None:
        pytest.skip("there is no gateway between")
    rows = service.gateway.records()
    answered = [row for row in rows if row["outcome"] == "ok"]
    assert len(answered) >= REQUESTS
    assert {row["model_version"] for row in answered} == {"v1"}
