"""Triton's HTTP client gets its answers from a backend that speaks TF Serving; the way back is in test_tensorflow_serving.py."""

import numpy
import pytest
import tritonclient.http as triton
from colours_cases import GERMAN, NUMBERS, TEXTS, as_text
from iris_cases import PROBABILITIES, ROWS, assert_right
from services import services


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    yield from services("tensorflow serving", tmp_path_factory.mktemp("across"))


@pytest.fixture(scope="module")
def client(service):
    client = triton.InferenceServerClient(service.http)
    yield client
    client.close()


def given(name, rows, datatype, binary):
    tensor = triton.InferInput(name, list(rows.shape), datatype)
    tensor.set_data_from_numpy(rows, binary_data=binary)
    return [tensor]


def test_it_is_ready_and_described_in_the_words_of_the_client(client):
    assert client.is_model_ready("iris")
    assert not client.is_model_ready("nosuchmodel")
    metadata = client.get_model_metadata("iris")
    assert metadata["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}]
    assert {output["name"]: output["datatype"] for output in metadata["outputs"]} == {
        "label": "INT64",
        "probabilities": "FP32",
    }
    assert client.get_model_config("iris")["input"][0]["data_type"] == "TYPE_FP32"


@pytest.mark.parametrize("binary_in", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("binary_out", [True, False], ids=["to binary", "to json"])
@pytest.mark.parametrize("compressed", [None, "gzip"])
def test_numbers_are_those_of_onnxruntime(client, binary_in, binary_out, compressed):
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("label", "probabilities")]
    answer = client.infer(
        "iris",
        given("input", ROWS, "FP32", binary_in),
        outputs=outputs,
        request_id="mine",
        request_compression_algorithm=compressed,
        response_compression_algorithm=compressed,
    )
    assert_right(answer.as_numpy("label"), answer.as_numpy("probabilities"))
    assert answer.as_numpy("label").dtype == numpy.int64
    assert answer.get_response()["id"] == "mine"


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_texts_arrive(client, binary):
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("number", "german")]
    answer = client.infer("colours", given("colour", TEXTS, "BYTES", binary), outputs=outputs)
    numpy.testing.assert_array_equal(answer.as_numpy("number"), NUMBERS)
    assert as_text(answer.as_numpy("german")) == GERMAN


def test_the_gateway_makes_the_classes_that_the_backend_does_not_have(client):
    outputs = [triton.InferRequestedOutput("probabilities", class_count=2)]
    answer = client.infer("iris", given("input", ROWS[:1], "FP32", True), outputs=outputs)
    found = [text.decode().split(":") for text in answer.as_numpy("probabilities").ravel()]
    assert [int(parts[1]) for parts in found] == numpy.argsort(-PROBABILITIES[0])[:2].tolist()


def test_what_the_backend_refuses_is_told_with_its_status(client):
    with pytest.raises(triton.InferenceServerException, match="expects") as error:
        client.infer("iris", given("input", ROWS[:, :3].copy(), "FP32", True))
    assert error.value.status() == "400"


def test_the_record_has_the_clients_side(client, service):
    client.infer("iris", given("input", ROWS, "FP32", True), request_id="recorded")
    row = service.gateway.records()[-1]
    assert (row["outcome"], row["status"], row["model_version"]) == ("ok", 200, "v1")
    assert row["protocol"].startswith("openinference")
